//! Short looks into the source's binlog, each over a connection of its own.

use std::collections::BTreeMap;

use crate::binlog::{
    EventHeader, EventKind, FormatDescription, GtidEvent, HEADER_LEN, parse_gtid_list,
};
use crate::config::SourceConfig;
use crate::connect::replication::{DumpRequest, ReplicationClient};
use crate::model::position::FIRST_OFFSET;
use crate::model::{Error, ErrorKind, Gtid, GtidSet, Position, Result};
use crate::relay_log::{Errant, FileHead, Halving, Held, no_event_start};

use super::stream::rotate_name;

/// The head of a file is no longer than this; a set of GTIDs can be long.
const HEAD_MAX: u32 = 64 << 20;

/// A GTID event of MariaDB's is no longer than this.
const GTID_MAX: u32 = 1 << 10;

/// Looks into a source's binlog.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peek<'a> {
    pub(super) source: &'a SourceConfig,
    pub(super) server_id: u32,
}

/// One step of a look.
enum Step {
    /// An event of the file, with its bytes where they were asked for.
    Event(EventHeader),
    /// The source goes on in this file.
    File(String),
    /// The source has no more just now.
    Idle,
}

impl Peek<'_> {
    async fn open(&self, file: &str) -> Result<ReplicationClient> {
        let mut client = ReplicationClient::connect(&self.source.server).await?;
        let request = DumpRequest {
            server_id: self.server_id,
            position: Position::new(file, FIRST_OFFSET),
            heartbeat: self.source.relay.heartbeat,
        };
        client.dump(&request).await?;
        Ok(client)
    }

    /// What the first events of a file say.
    pub(super) async fn head(&self, file: &str) -> Result<FileHead> {
        let mut client = self.open(file).await?;
        let mut head = FileHead::default();
        let mut format = None;
        let mut bytes = Vec::new();
        loop {
            let step = step(&mut client, &mut bytes, HEAD_MAX).await?;
            let Step::Event(header) = step else {
                if matches!(step, Step::Idle) {
                    return Ok(head);
                }
                continue;
            };
            if header.kind == EventKind::FORMAT_DESCRIPTION {
                format = Some(FormatDescription::parse(&bytes)?);
            }
            let Some(format) = &format else {
                return Err(Error::new(
                    ErrorKind::Damaged,
                    format!("`{file}` at the source does not begin with a format description"),
                ));
            };
            if head.take(&format.open(&bytes)?)? {
                return Ok(head);
            }
        }
    }

    /// The last of the source's files whose head fits; those that fit stand before the others.
    pub(super) async fn last_file<'f>(
        &self,
        files: &'f [String],
        mut fits: impl FnMut(FileHead) -> Result<bool>,
    ) -> Result<Option<&'f str>> {
        let mut halving = Halving::of(files.len());
        while let Some(file) = halving.ask().and_then(|at| files.get(at)) {
            halving.tell(fits(self.head(file).await?)?);
        }
        Ok(halving.last_of(files))
    }

    /// Refuses a place where no event starts, before anything is kept that would be of no use. Reads
    /// the file up to there.
    pub(super) async fn check_event_start(&self, position: &Position) -> Result<()> {
        if position.offset <= FIRST_OFFSET {
            return Ok(());
        }
        let mut client = self.open(&position.file).await?;
        let mut at = FIRST_OFFSET;
        let mut before = at;
        let mut bytes = Vec::new();
        while at < position.offset {
            match step(&mut client, &mut bytes, 0).await? {
                Step::Event(header) => {
                    before = at;
                    at += u64::from(header.event_size);
                }
                Step::File(name) if name == position.file => {}
                Step::File(_) | Step::Idle => {
                    return Err(Error::new(
                        ErrorKind::Config,
                        format!("`start` is {position}, but that file ends at {at}"),
                    )
                    .with_fix(format!(
                        "start at `{}:{at}`, or name another file",
                        position.file
                    )));
                }
            }
        }
        if at == position.offset {
            return Ok(());
        }
        Err(no_event_start(position, before, Some(at)))
    }

    /// The file in which a MariaDB source would begin for a replica that has these transactions. It
    /// refuses where it does not have every one of them, or no longer has what follows.
    pub(super) async fn maria_file(&self, set: &GtidSet) -> Result<String> {
        let mut client = ReplicationClient::connect(&self.source.server).await?;
        client
            .dump_behind(set, self.server_id, self.source.relay.heartbeat)
            .await?;
        let mut bytes = Vec::new();
        loop {
            if let Step::File(name) = step(&mut client, &mut bytes, 0).await? {
                return Ok(name);
            }
        }
    }

    /// The transactions of a MariaDB source, from `file` on, that stand before the last one of their
    /// domain in `received` and are not held. Reads the source's binlog up to there.
    pub(super) async fn errant(
        &self,
        file: &str,
        received: &GtidSet,
        held: &mut Held,
        most: usize,
    ) -> Result<Errant> {
        let mut errant = Errant::new();
        let GtidSet::MariaDB(last) = received else {
            return Ok(errant);
        };
        let mut pending = last.clone();
        let mut client = self.open(file).await?;
        let mut format: Option<FormatDescription> = None;
        let mut bytes = Vec::new();
        let mut keep = HEAD_MAX;
        while !pending.is_empty() {
            let header = match step(&mut client, &mut bytes, keep).await? {
                Step::Event(header) => header,
                Step::File(_) => {
                    keep = HEAD_MAX;
                    continue;
                }
                Step::Idle => break,
            };
            let kind = header.kind;
            if kind == EventKind::FORMAT_DESCRIPTION {
                format = Some(FormatDescription::parse(&bytes)?);
                continue;
            }
            let Some(format) = format
                .as_ref()
                .filter(|_| kind == EventKind::GTID_LIST || kind == EventKind::MARIADB_GTID)
            else {
                continue;
            };
            let event = format.open(&bytes)?;
            if kind == EventKind::GTID_LIST {
                keep = GTID_MAX;
                for gtid in parse_gtid_list(event.body)? {
                    close(&mut pending, &gtid);
                }
                continue;
            }
            let Some(gtid) = GtidEvent::parse(&event)?.gtid() else {
                continue;
            };
            if let Gtid::MariaDB {
                domain,
                server,
                sequence,
            } = gtid
                && pending.contains_key(&domain)
                && !close(&mut pending, &gtid)
                && !held.has(&gtid)?
            {
                errant.insert((domain, server, sequence));
                if errant.len() > most {
                    return Err(Error::new(
                        ErrorKind::History,
                        format!(
                            "the server that answers now wrote more than {most} transactions by itself \
                             before it had what came from the former one, the last of them {gtid}"
                        ),
                    )
                    .with_fix(
                        "the two servers' histories differ: copy the tables anew from the server that \
                         is right",
                    ));
                }
            }
        }
        Ok(errant)
    }
}

/// Takes a domain out once its last transaction is met.
fn close(pending: &mut BTreeMap<u32, (u32, u64)>, met: &Gtid) -> bool {
    let Gtid::MariaDB {
        domain,
        server,
        sequence,
    } = met
    else {
        return false;
    };
    let is_last = pending.get(domain) == Some(&(*server, *sequence));
    if is_last {
        pending.remove(domain);
    }
    is_last
}

/// The next event, without what the server makes up. Of one up to `keep` bytes all of it is put into
/// `bytes`, else its header.
async fn step(client: &mut ReplicationClient, bytes: &mut Vec<u8>, keep: u32) -> Result<Step> {
    let (header, mut missing) = {
        let piece = client.next().await?;
        let header = EventHeader::parse(piece.bytes)?;
        bytes.clear();
        let is_kept = header.event_size <= keep || header.kind == EventKind::ROTATE;
        let kept = if is_kept {
            piece.bytes
        } else {
            piece.bytes.get(..HEADER_LEN).unwrap_or_default()
        };
        bytes.extend_from_slice(kept);
        let missing = (header.event_size as usize).saturating_sub(piece.bytes.len());
        (header, missing)
    };
    while missing > 0 {
        let piece = client.next().await?;
        missing = missing.saturating_sub(piece.bytes.len());
        if header.event_size <= keep {
            bytes.extend_from_slice(piece.bytes);
        }
    }
    if matches!(header.kind, EventKind::HEARTBEAT | EventKind::HEARTBEAT_V2) {
        return Ok(Step::Idle);
    }
    if header.is_artificial() && header.kind == EventKind::ROTATE {
        return Ok(Step::File(rotate_name(bytes)?.to_owned()));
    }
    Ok(Step::Event(header))
}
