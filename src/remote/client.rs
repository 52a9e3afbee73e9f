//! The other end of the socket.

use std::path::Path;

use tokio::io::{AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};

use crate::control::{Command, Reply, Snapshot};
use crate::model::{Error, ErrorKind, Result};

use super::wire::{Ask, Request, Response, VERSION, read_line};

/// A connection to a running worker.
#[derive(Debug)]
pub struct Client {
    read: BufReader<OwnedReadHalf>,
    write: OwnedWriteHalf,
}

impl Client {
    /// Connects to the worker whose data folder this is.
    pub async fn connect(data_dir: &Path) -> Result<Self> {
        let (path, _folder) = super::socket_path(data_dir)?;
        let stream = UnixStream::connect(&path).await.map_err(|error| {
            Error::new(
                ErrorKind::Refused,
                format!("no worker answers in `{}`", data_dir.display()),
            )
            .with_source(error)
            .with_fix("start one with `tideway run`, or give the configuration of the running one")
        })?;
        let (read, write) = stream.into_split();
        Ok(Self {
            read: BufReader::new(read),
            write,
        })
    }

    /// The worker's newest snapshot.
    pub async fn snapshot(&mut self) -> Result<Snapshot> {
        self.send(Ask::Snapshot { watch: false }).await?;
        match self.receive().await? {
            Some(Response::Snapshot(snapshot)) => Ok(*snapshot),
            other => Err(unexpected(other)),
        }
    }

    /// Asks for every new snapshot; they come by [`Self::next_snapshot`].
    pub async fn watch(&mut self) -> Result<()> {
        self.send(Ask::Snapshot { watch: true }).await
    }

    /// The next snapshot of a watch; `None` when the worker has ended.
    pub async fn next_snapshot(&mut self) -> Result<Option<Snapshot>> {
        match self.receive().await? {
            Some(Response::Snapshot(snapshot)) => Ok(Some(*snapshot)),
            None => Ok(None),
            other => Err(unexpected(other)),
        }
    }

    /// Has a command carried out.
    pub async fn command(&mut self, command: Command) -> Result<Reply> {
        self.send(Ask::Command { order: command }).await?;
        match self.receive().await? {
            Some(Response::Reply(reply)) => Ok(reply),
            other => Err(unexpected(other)),
        }
    }

    async fn send(&mut self, ask: Ask) -> Result<()> {
        let request = Request {
            version: VERSION,
            ask,
        };
        let mut line = serde_json::to_vec(&request).map_err(|error| {
            Error::new(ErrorKind::Internal, "a request could not be written").with_source(error)
        })?;
        line.push(b'\n');
        self.write.write_all(&line).await.map_err(lost)
    }

    async fn receive(&mut self) -> Result<Option<Response>> {
        let Some(line) = read_line(&mut self.read, u64::MAX).await.map_err(lost)? else {
            return Ok(None);
        };
        serde_json::from_str(&line).map(Some).map_err(|error| {
            Error::new(ErrorKind::Connect, "the worker's answer was not understood")
                .with_source(error)
                .with_fix("use the `tideway` of the same version as the running worker")
        })
    }
}

fn lost(error: std::io::Error) -> Error {
    Error::new(ErrorKind::Connect, "the connection to the worker was lost")
        .with_source(error)
        .with_fix("see whether it still runs, and ask again")
}

fn unexpected(response: Option<Response>) -> Error {
    match response {
        Some(Response::Error(message)) => Error::new(ErrorKind::Refused, message),
        Some(_) => Error::new(ErrorKind::Connect, "the worker answered something else"),
        None => Error::new(ErrorKind::Connect, "the worker ended before it answered"),
    }
}
