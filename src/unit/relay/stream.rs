//! One connection's worth of binlog: from the source into the relay log.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio_util::sync::CancellationToken;

use super::meter::{Meter, SourceEnd};
use super::peek::Peek;
use super::{RelayJob, name_privilege};
use crate::binlog::checksum::{CHECKSUM_LEN, verify_crc32};
use crate::binlog::{EventHeader, EventKind, HEADER_LEN, RotateEvent};
use crate::connect::replication::{DumpRequest, EventPiece, ReplicationClient};
use crate::connect::{Session, Setup};
use crate::model::position::FIRST_OFFSET;
use crate::model::{Error, ErrorKind, Place, Position, Result, Timestamp};
use crate::relay_log::Writer;
use crate::source::{self, BinlogFile};

/// A source that sent more than this without a pause sends a backlog.
const BURST: u64 = 1 << 20;
/// A pause of a backlog; shorter ones do not send readers what has come.
const MOMENT: Duration = Duration::from_millis(1);
/// How often the source is asked where its binlog ends.
const ASK_EVERY: Duration = Duration::from_secs(2);

/// Pulls the binlog from `position` on until told to stop, or the connection fails.
pub(super) async fn pull(
    job: &RelayJob,
    meter: &Arc<Meter>,
    stop: &CancellationToken,
    mut writer: Writer,
    position: &Position,
    setup: &Setup,
) -> Result<()> {
    writer.begin_file(position).await?;
    let connecting = async {
        let mut client = ReplicationClient::connect(&job.source.server).await?;
        let request = DumpRequest {
            server_id: job.server_id,
            position: position.clone(),
            heartbeat: job.source.relay.heartbeat,
        };
        client.dump(&request).await?;
        Ok::<_, Error>(client)
    };
    let mut client = tokio::select! {
        () = stop.cancelled() => return Ok(()),
        connected = connecting => connected?,
    };
    meter.heard();
    meter.set_connected(true);
    let result = tokio::select! {
        result = receive(&mut client, &mut writer, meter, stop) => result,
        never = ask(job, meter, setup) => match never {},
    };
    // What has arrived is kept, however the connection ended.
    let kept = async {
        writer.flush().await?;
        writer.save().await
    };
    match (result, kept.await) {
        (Err(error), Err(kept)) => {
            tracing::error!(
                unit = "relay",
                source = %job.source.server.name,
                "what had arrived cannot be kept: {}",
                kept.report().replace('\n', "; ")
            );
            Err(error)
        }
        (result, kept) => result.and(kept),
    }
}

async fn receive(
    client: &mut ReplicationClient,
    writer: &mut Writer,
    meter: &Meter,
    stop: &CancellationToken,
) -> Result<()> {
    // What has come since the source last had nothing for a moment.
    let mut burst = 0;
    loop {
        // Events come by the million: what can be done once for all that have come together is.
        let mut taken = Taken::default();
        while client.has_more() {
            take(client.next().await?, writer, &mut taken).await?;
        }
        meter.heard();
        meter.count(taken.bytes, taken.events);
        if taken.has_beat {
            meter.stood();
        }
        if let (Some(file), Some(offset)) = (writer.file(), writer.offset()) {
            meter.set_received(file, offset);
        }
        burst += taken.bytes;
        if stop.is_cancelled() {
            return Ok(());
        }
        if burst > BURST {
            // More is on its way: it is written out together. The pieces of a fast line are small.
            tokio::select! {
                biased;
                more = client.wait() => {
                    more?;
                    continue;
                }
                () = tokio::time::sleep(MOMENT) => {}
                () = stop.cancelled() => return Ok(()),
            }
        }
        // The source has no more just now: readers are not kept waiting.
        burst = 0;
        writer.flush().await?;
        tokio::select! {
            biased;
            more = client.wait() => more?,
            () = stop.cancelled() => return Ok(()),
        }
    }
}

/// What was written since it was last counted.
#[derive(Default)]
struct Taken {
    bytes: u64,
    events: u64,
    has_beat: bool,
}

/// Takes a piece of the stream: into the file what is in the source's file, and nothing else.
async fn take(piece: EventPiece<'_>, writer: &mut Writer, taken: &mut Taken) -> Result<()> {
    let bytes = piece.bytes;
    if piece.is_first == writer.is_within_event() {
        // A packet is an event: one that is too short or too long tells of another fault.
        return Err(Error::new(
            ErrorKind::Damaged,
            if piece.is_first {
                "the source began an event before the one before it had come whole"
            } else {
                "the source sent more bytes than the event has"
            },
        ));
    }
    if !piece.is_first {
        return append(bytes, writer, taken).await;
    }
    let header = EventHeader::parse(bytes)?;
    if matches!(header.kind, EventKind::HEARTBEAT | EventKind::HEARTBEAT_V2) {
        taken.has_beat = true;
        return Ok(());
    }
    if header.is_artificial() {
        // Made up by the dump thread; the one that matters names the file that begins.
        if header.kind == EventKind::ROTATE {
            let name = rotate_name(bytes)?;
            if writer.file() != Some(name) {
                let position = Position::new(name, FIRST_OFFSET);
                writer.begin_file(&position).await?;
            }
        }
        return Ok(());
    }
    if header.kind == EventKind::FORMAT_DESCRIPTION && writer.offset() != Some(FIRST_OFFSET) {
        // It goes before a stream from the middle of a file; a file has one, at its start.
        return Ok(());
    }
    if header.kind == EventKind::START_ENCRYPTION && header.log_pos == 0 {
        // Likewise: where it is sent out of its place, the server takes the place out of it.
        return Ok(());
    }
    append(bytes, writer, taken).await
}

async fn append(bytes: &[u8], writer: &mut Writer, taken: &mut Taken) -> Result<()> {
    let is_whole = writer.append(bytes).await?;
    taken.bytes += bytes.len() as u64;
    taken.events += u64::from(is_whole);
    Ok(())
}

/// The file an artificial rotate names. Whether it carries a checksum depends on the server and on
/// what came before it, so the bytes decide: a name does not end in its own checksum.
pub(super) fn rotate_name(event: &[u8]) -> Result<&str> {
    let body = event.get(HEADER_LEN..).unwrap_or_default();
    let body = if verify_crc32(event).is_ok() {
        body.get(..body.len().saturating_sub(CHECKSUM_LEN))
            .unwrap_or_default()
    } else {
        body
    };
    Ok(RotateEvent::parse(body)?.file)
}

enum Never {}

/// Asks the source, over a connection of its own, where its binlog ends.
async fn ask(job: &RelayJob, meter: &Meter, setup: &Setup) -> Never {
    let name = &job.source.server.name;
    let mut session: Option<Session> = None;
    loop {
        let asking = async {
            let open = match session.take().filter(|session| !session.is_broken()) {
                Some(open) => open,
                None => Session::open(&job.source.server, setup).await?,
            };
            let open = session.insert(open);
            let position = source::binlog_position(open)
                .await
                .map_err(name_privilege)?;
            let is_far = {
                let tip = job.log.published();
                let tip = tip.borrow();
                tip.place
                    .as_ref()
                    .is_none_or(|place| place.position.file != position.file)
            };
            let files = if is_far || meter.is_bounded() {
                source::binary_logs(open).await.map_err(name_privilege)?
            } else {
                Vec::new()
            };
            Ok::<_, Error>((position, files))
        };
        match Box::pin(asking).await {
            Ok((position, files)) => {
                if let Some(place) = meter.unknown_age(&position)
                    && let Err(error) = ask_age(job, meter, &place, &files).await
                {
                    tracing::debug!(unit = "relay", source = %name, "{error}");
                }
                if let Some(place) = job.log.place_of(&position) {
                    meter.set_source_end(SourceEnd {
                        place,
                        asked_at: Timestamp::from(SystemTime::now()),
                        files,
                    });
                }
            }
            Err(error) if error.kind() == ErrorKind::Privilege => {
                tracing::warn!(
                    unit = "relay",
                    source = %name,
                    "how far the relay is behind cannot be told: {}",
                    error.report().replace('\n', "; ")
                );
                std::future::pending::<()>().await;
            }
            // The stream's own connection decides whether the source is lost.
            Err(error) => tracing::debug!(unit = "relay", source = %name, "{error}"),
        }
        tokio::time::sleep(ASK_EVERY).await;
    }
}

/// Asks when the source closed the file of `place`, which is when it began the one behind.
async fn ask_age(job: &RelayJob, meter: &Meter, place: &Place, files: &[BinlogFile]) -> Result<()> {
    let next = files
        .iter()
        .position(|of| of.name == place.position.file)
        .and_then(|at| files.get(at + 1));
    if let Some(next) = next {
        // Without a number among the replicas: the server would take it for the relay's own.
        let peek = Peek {
            source: &job.source,
            server_id: 0,
        };
        let head = peek.head(&next.name).await?;
        meter.set_closed(place, head.begun_at);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rotate(body: &[u8], with_checksum: bool) -> Vec<u8> {
        let mut event = vec![0; 4];
        event.push(EventKind::ROTATE.0);
        event.extend([0; 14]);
        event.extend(4u64.to_le_bytes());
        event.extend(body);
        if with_checksum {
            event.extend(crc32fast::hash(&event).to_le_bytes());
        }
        event
    }

    #[test]
    fn the_first_rotate_names_its_file_with_or_without_a_checksum() {
        assert_eq!(
            rotate_name(&rotate(b"bin.000007", false)).unwrap(),
            "bin.000007"
        );
        assert_eq!(
            rotate_name(&rotate(b"bin.000007", true)).unwrap(),
            "bin.000007"
        );
        assert!(rotate_name(&rotate(b"../bin.000007", true)).is_err());
    }
}
