//! Fetching a relay file once more, when what is kept of it is found damaged.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::fs::OpenOptions;
use tokio::io::AsyncWriteExt as _;

use crate::binlog::{EventHeader, EventKind, MAGIC};
use crate::config::SourceConfig;
use crate::connect::replication::{DumpRequest, ReplicationClient};
use crate::connect::{Session, Setup};
use crate::model::position::FIRST_OFFSET;
use crate::model::{Error, ErrorKind, Position, Result};
use crate::relay_log::RelayLog;
use crate::source::ServerInfo;

use super::stream::rotate_name;

/// How long each answer to a question may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// What is to be fetched.
#[derive(Clone, Copy, Debug)]
enum Extent {
    /// A complete file of which it is known how many bytes it has.
    Complete(u64),
    /// A complete file that lost its end, nobody knows how much of it.
    Unknown,
    /// As much of the file that is being written as readers may see.
    Newest(u64),
}

impl Extent {
    fn size(self) -> Option<u64> {
        match self {
            Self::Complete(size) | Self::Newest(size) => Some(size),
            Self::Unknown => None,
        }
    }
}

/// Fetches `folder/name` from the source again, and puts it in the place of the damaged one if it is
/// whole there; what is damaged of the file that is being written is mended in it. `false` if the relay
/// log has no such file.
///
/// The connection has no number among the replicas: the server would take it for the relay's own, and
/// end that one.
pub async fn refetch(
    source: &SourceConfig,
    log: &Arc<RelayLog>,
    folder: &str,
    name: &str,
) -> Result<bool> {
    // Asked first: what is the newest file now may be complete a moment later, not the other way round.
    let newest = log.newest_file(folder, name);
    let (path, extent) = match (newest, log.complete_file(folder, name)) {
        (Some((path, size)), _) => (path, Extent::Newest(size)),
        (None, Some((path, Some(size)))) => (path, Extent::Complete(size)),
        (None, Some((path, None))) => (path, Extent::Unknown),
        (None, None) => return Ok(false),
    };
    let setup = Setup {
        read_timeout: Some(ANSWER_TIMEOUT),
        ..Setup::default()
    };
    let mut session = Session::open(&source.server, &setup).await?;
    let answers = ServerInfo::read(&mut session).await?.identity;
    session.close().await;
    if log
        .sub_folder(folder)
        .is_none_or(|of| of.identity != answers)
    {
        return Err(Error::new(
            ErrorKind::History,
            format!("`{folder}/{name}` is of another server than `{answers}`, which answers now"),
        ));
    }
    // Not taken for a relay file by its name.
    let copy = path.with_file_name(format!("{name}.again"));
    let fetched = Box::pin(fetch(source, name, extent, &copy)).await;
    let replaced = match fetched {
        Ok(()) => {
            let (log, folder) = (Arc::clone(log), folder.to_owned());
            let (name, copy) = (name.to_owned(), copy.clone());
            // A whole file is read through.
            let put = tokio::task::spawn_blocking(move || match extent {
                Extent::Newest(size) => log.mend_file(&folder, &name, size, &copy),
                Extent::Complete(_) | Extent::Unknown => log.replace_file(&folder, &name, &copy),
            });
            put.await.unwrap_or_else(|panic| {
                Err(Error::new(
                    ErrorKind::Panicked,
                    "replacing a relay file ended by a defect",
                )
                .with_source(panic))
            })
        }
        Err(error) => Err(error),
    };
    // Where it was renamed it is gone; else it is made anew the next time, and what counts is why.
    let _ = std::fs::remove_file(&copy);
    replaced.map(|()| true)
}

async fn fetch(source: &SourceConfig, name: &str, extent: Extent, copy: &Path) -> Result<()> {
    let failed = |e| Error::file("write", copy, e);
    let mut client = ReplicationClient::connect(&source.server).await?;
    let request = DumpRequest {
        server_id: 0,
        position: Position::new(name, FIRST_OFFSET),
        heartbeat: source.relay.heartbeat,
    };
    client.dump(&request).await?;
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(copy)
        .await
        .map_err(failed)?;
    file.write_all(&MAGIC).await.map_err(failed)?;
    let mut have = FIRST_OFFSET;
    let mut is_kept = true;
    while extent.size().is_none_or(|size| have < size) {
        let piece = client.next().await?;
        if piece.is_first {
            let header = EventHeader::parse(piece.bytes)?;
            let is_beat = matches!(header.kind, EventKind::HEARTBEAT | EventKind::HEARTBEAT_V2);
            is_kept = !is_beat && !header.is_artificial();
            if header.is_artificial()
                && header.kind == EventKind::ROTATE
                && rotate_name(piece.bytes)? != name
            {
                let Some(size) = extent.size() else {
                    // The source has more files: all of this one has come.
                    break;
                };
                return Err(Error::new(
                    ErrorKind::History,
                    format!("the source's `{name}` ends at {have}, the relay's at {size}"),
                )
                .with_fix("the source's history is another one: see the relay's own state"));
            }
        }
        if is_kept {
            file.write_all(piece.bytes).await.map_err(failed)?;
            have += piece.bytes.len() as u64;
        }
    }
    file.flush().await.map_err(failed)
}
