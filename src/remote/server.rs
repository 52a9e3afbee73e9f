//! The worker's end of the socket.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::control::Handle;
use crate::model::{Error, Result};

use super::wire::{Ask, REQUEST_LIMIT, Request, Response, VERSION, read_line};

/// Connections at a time; more wait in the system's queue.
const CONNECTIONS: usize = 32;

/// How long replies under way may take at the end.
const LAST_REPLIES: Duration = Duration::from_millis(500);

/// A bound socket. Its file goes when this is dropped.
#[derive(Debug)]
pub struct Server {
    listener: UnixListener,
    path: PathBuf,
}

impl Server {
    /// Binds the socket in the data folder. The caller holds the folder's lock, so a socket that is
    /// there already is a dead one's.
    pub fn bind(data_dir: &Path) -> Result<Self> {
        let (path, _folder) = super::socket_path(data_dir)?;
        let failed = |error| Error::file("open the control socket", &path, error);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(failed(error));
            }
            _ => {}
        }
        let listener = UnixListener::bind(&path).map_err(failed)?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).map_err(failed)?;
        Ok(Self {
            listener,
            path: data_dir.join(super::SOCKET),
        })
    }

    /// Answers until `stop` is cancelled.
    pub async fn serve(self, handle: Handle, stop: CancellationToken) {
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                Some(_) = connections.join_next() => {}
                accepted = self.listener.accept(), if connections.len() < CONNECTIONS => {
                    match accepted {
                        Ok((stream, _)) => {
                            let uid = stream.peer_cred().map_or(u32::MAX, |peer| peer.uid());
                            let handle = handle.for_origin(format!("socket uid {uid}"));
                            connections.spawn(answer(stream, handle, stop.clone()));
                        }
                        Err(error) => {
                            tracing::warn!(unit = "remote", "control socket: {error}");
                            // Out of descriptors, most likely: the loop must not spin.
                            tokio::time::sleep(std::time::Duration::from_secs(1)).await;
                        }
                    }
                }
            }
        }
        // Replies under way, such as that to the command that ended all this, still go out.
        let all = async { while connections.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(LAST_REPLIES, all).await;
        connections.shutdown().await;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Nothing can be done about a failure, and the next start removes it too.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Serves one connection; a peer that goes away ends it, and so does `stop` between two requests.
async fn answer(stream: UnixStream, handle: Handle, stop: CancellationToken) {
    let (read, mut write) = stream.into_split();
    let mut read = BufReader::new(read);
    loop {
        let line = tokio::select! {
            // A request that is there already is answered first.
            biased;
            line = read_line(&mut read, REQUEST_LIMIT) => line,
            () = stop.cancelled() => return,
        };
        let Ok(Some(line)) = line else { return };
        let response = match serde_json::from_str::<Request>(&line) {
            Ok(request) if request.version != VERSION => Response::Error(format!(
                "the worker speaks version {VERSION} of the control protocol, not {}",
                request.version
            )),
            Ok(Request {
                ask: Ask::Snapshot { watch: true },
                ..
            }) => {
                let mut snapshots = handle.snapshots();
                loop {
                    let snapshot = Arc::clone(&snapshots.borrow_and_update());
                    let response = Response::Snapshot(Box::new((*snapshot).clone()));
                    if send(&mut write, &response).await.is_err() {
                        return;
                    }
                    tokio::select! {
                        changed = snapshots.changed() => if changed.is_err() { return },
                        () = stop.cancelled() => return,
                    }
                }
            }
            Ok(Request {
                ask: Ask::Snapshot { watch: false },
                ..
            }) => Response::Snapshot(Box::new((*handle.snapshot()).clone())),
            Ok(Request {
                ask: Ask::Command { order },
                ..
            }) => Response::Reply(handle.command(order).await),
            Ok(Request {
                ask: Ask::Query { question },
                ..
            }) => Response::Answer(handle.query(question).await),
            Err(error) => Response::Error(format!("not a request: {error}")),
        };
        if send(&mut write, &response).await.is_err() {
            return;
        }
    }
}

async fn send(
    write: &mut (impl tokio::io::AsyncWrite + Unpin),
    response: &Response,
) -> std::io::Result<()> {
    let mut line = serde_json::to_vec(response)?;
    line.push(b'\n');
    write.write_all(&line).await
}

#[cfg(test)]
mod tests {
    use tokio::sync::{mpsc, watch};

    use super::*;
    use crate::control::{Command, Envelope, Reply, Snapshot};
    use crate::remote::Client;

    #[tokio::test]
    async fn status_and_commands_go_through_the_socket() {
        // Longer than a socket's path may be.
        let folder = tempfile::tempdir().unwrap();
        let deep = folder.path().join("d".repeat(120));
        std::fs::create_dir(&deep).unwrap();

        let (snapshots, receive) = watch::channel(Arc::new(Snapshot {
            version: 1,
            revision: 7,
            ..Snapshot::default()
        }));
        let (envelopes, mut asked) = mpsc::channel(1);
        let stop = CancellationToken::new();
        let server = Server::bind(&deep).unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(server.serve(Handle::new(receive, envelopes, "test"), stop.clone()));
        tasks.spawn(async move {
            let Some(Envelope::Command {
                command,
                origin,
                reply,
            }) = asked.recv().await
            else {
                panic!("no command")
            };
            assert_eq!(command, Command::Check);
            assert!(origin.starts_with("socket uid "));
            reply
                .send(Reply::Done {
                    message: "checking".into(),
                })
                .unwrap();
        });

        let mut client = Client::connect(&deep).await.unwrap();
        assert_eq!(client.snapshot().await.unwrap().revision, 7);
        let reply = client.command(Command::Check).await.unwrap();
        assert_eq!(
            reply,
            Reply::Done {
                message: "checking".into()
            }
        );

        let mut watcher = Client::connect(&deep).await.unwrap();
        watcher.watch().await.unwrap();
        assert_eq!(watcher.next_snapshot().await.unwrap().unwrap().revision, 7);
        snapshots.send_modify(|s| Arc::make_mut(s).revision = 8);
        assert_eq!(watcher.next_snapshot().await.unwrap().unwrap().revision, 8);

        stop.cancel();
        while let Some(ended) = tasks.join_next().await {
            ended.unwrap();
        }
        assert!(!deep.join("control.sock").exists());
        assert!(Client::connect(&deep).await.is_err());
    }
}
