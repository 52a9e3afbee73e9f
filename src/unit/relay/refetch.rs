//! Fetching a complete relay file once more, when what is kept of it is found damaged.

use std::path::Path;
use std::sync::Arc;

use tokio::fs::File;
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

/// Fetches `folder/name` from the source again and puts it in the place of the damaged one, if it is
/// whole there. `false` for the file that is being written: that is mended when the log is opened.
///
/// The connection has no number among the replicas: the server would take it for the relay's own, and
/// end that one.
pub async fn refetch(
    source: &SourceConfig,
    log: &Arc<RelayLog>,
    folder: &str,
    name: &str,
) -> Result<bool> {
    let Some((path, size)) = log.complete_file(folder, name) else {
        return Ok(false);
    };
    let mut session = Session::open(&source.server, &Setup::default()).await?;
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
    let fetched = Box::pin(fetch(source, name, size, &copy)).await;
    let replaced = match fetched {
        Ok(()) => {
            let (log, folder) = (Arc::clone(log), folder.to_owned());
            let (name, copy) = (name.to_owned(), copy.clone());
            // A whole file is read through.
            let put = tokio::task::spawn_blocking(move || log.replace_file(&folder, &name, &copy));
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
    if replaced.is_err() {
        // It is made anew the next time; what counts is why it failed.
        let _ = std::fs::remove_file(&copy);
    }
    replaced.map(|()| true)
}

async fn fetch(source: &SourceConfig, name: &str, size: u64, copy: &Path) -> Result<()> {
    let failed = |e| Error::file("write", copy, e);
    let mut client = ReplicationClient::connect(&source.server).await?;
    let request = DumpRequest {
        server_id: 0,
        position: Position::new(name, FIRST_OFFSET),
        heartbeat: source.relay.heartbeat,
    };
    client.dump(&request).await?;
    let mut file = File::create(copy).await.map_err(failed)?;
    file.write_all(&MAGIC).await.map_err(failed)?;
    let mut have = FIRST_OFFSET;
    let mut is_kept = true;
    while have < size {
        let piece = client.next().await?;
        if piece.is_first {
            let header = EventHeader::parse(piece.bytes)?;
            let is_beat = matches!(header.kind, EventKind::HEARTBEAT | EventKind::HEARTBEAT_V2);
            is_kept = !is_beat && !header.is_artificial();
            if header.is_artificial()
                && header.kind == EventKind::ROTATE
                && rotate_name(piece.bytes)? != name
            {
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
