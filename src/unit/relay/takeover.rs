//! A source whose address answers as another server: whether that one can take over, and from where.
//!
//! It can if everything that came from the former one is in it, and it still has everything else.
//! MySQL's sets say so exactly; MariaDB's name the last transaction of each domain, so the new server
//! itself is asked whether it has those very ones. What it wrote by itself before it had them is told
//! by the very transactions in the relay log, as its numbers may be lower: that is new.

use std::fmt::Write as _;
use std::sync::Arc;

use crate::binlog::{EventKind, GtidEvent, TableMap};
use crate::connect::Session;
use crate::model::position::{FIRST_OFFSET, compare_files};
use crate::model::{Error, ErrorKind, Flavor, Gtid, GtidSet, Place, Position, Result};
use crate::relay_log::{Errant, FileHead, Held, SubFolder};
use crate::source::{self, ServerInfo};

use super::peek::Peek;
use super::{RelayJob, begin};

/// How many of the errant transactions are looked up.
const SHOWN: usize = 5;

/// How many transactions a server may have written by itself while it was a replica.
const ERRANT_MAX: usize = 10_000;

/// How another server takes over.
#[derive(Debug)]
pub(super) struct Takeover {
    /// Where its binlog is to be taken from: the first byte of a file.
    pub(super) position: Position,
    /// What in it stands before transactions that were received, and was not.
    pub(super) errant: Errant,
    /// MySQL: what it has executed and has in no file.
    pub(super) purged: Option<GtidSet>,
}

/// Whether and how the server of `info` takes over.
pub(super) async fn find(
    job: &RelayJob,
    before: &SubFolder,
    info: &ServerInfo,
    session: &mut Session,
) -> Result<Takeover> {
    let received = job.log.received().filter(|set| !set.is_empty());
    let (Some(received), true) = (received, info.has_gtids() && before.flavor == info.flavor())
    else {
        return Err(not_by_gtid(job, before, info));
    };
    let peek = Peek {
        source: &job.source,
        server_id: job.server_id,
    };
    let mut errant = Errant::new();
    let mut gone = None;
    let file = match info.flavor() {
        Flavor::MariaDB => {
            let file = peek
                .maria_file(&received)
                .await
                .map_err(|e| lacks(e, info, &received))?;
            let mut held = held(job).await?;
            let file = known_head(&peek, session, info, &mut held, file).await?;
            errant = peek.errant(&file, &received, &mut held, ERRANT_MAX).await?;
            file
        }
        Flavor::MySQL | Flavor::TiDB => {
            let executed = source::gtid_executed(session).await?;
            let errant = received.without(&executed);
            if !errant.is_empty() {
                return Err(diverged(job, before, info, &errant).await);
            }
            let all_purged = source::gtid_purged(session).await?;
            let purged = all_purged.without(&received);
            gone = Some(all_purged);
            if !purged.is_empty() {
                return Err(Error::new(
                    ErrorKind::Purged,
                    format!(
                        "the server `{}` that answers now has purged `{purged}`, which the relay log \
                         never got",
                        info.identity
                    ),
                )
                .with_fix(
                    "point the configuration at a server that still has it, or copy the tables anew",
                ));
            }
            let files = begin::files(session).await?;
            let fits = |head: FileHead| Ok(head.is_within(&received));
            // Everything it has purged was received, so at least its oldest file fits.
            peek.last_file(&files, fits)
                .await?
                .ok_or_else(|| not_by_gtid(job, before, info))?
                .to_owned()
        }
    };
    tracing::warn!(
        unit = "relay",
        source = %job.source.server.name,
        from = %before.identity,
        to = %info.identity,
        "another server answers; it has all that was received, so the relay goes on with its `{file}`"
    );
    if !errant.is_empty() {
        tracing::warn!(
            unit = "relay",
            source = %job.source.server.name,
            "`{}` wrote {} transactions by itself while it was a replica: they are taken as new ones",
            info.identity,
            errant.len()
        );
    }
    Ok(Takeover {
        position: Position::new(file, FIRST_OFFSET),
        errant,
        purged: gone,
    })
}

/// The transactions in the relay log. What it reads later blocks only this relay, which has a thread of
/// its own and nothing to receive yet.
async fn held(job: &RelayJob) -> Result<Held> {
    let log = Arc::clone(&job.log);
    tokio::task::spawn_blocking(move || log.held())
        .await
        .map_err(|panic| {
            Error::new(
                ErrorKind::Panicked,
                "reading the relay log ended by a defect",
            )
            .with_source(panic)
        })
}

/// The last of the new server's files, up to `file`, before which it wrote nothing that is not here.
async fn known_head(
    peek: &Peek<'_>,
    session: &mut Session,
    info: &ServerInfo,
    held: &mut Held,
    file: String,
) -> Result<String> {
    let mut unknown = |head: FileHead| -> Result<Option<Gtid>> {
        for gtid in head.gtid_list {
            if !held.has(&gtid)? {
                return Ok(Some(gtid));
            }
        }
        Ok(None)
    };
    if unknown(peek.head(&file).await?)?.is_none() {
        return Ok(file);
    }
    let mut files = begin::files(session).await?;
    files.retain(|of| compare_files(of, &file).is_le());
    let mut first = None;
    let fits = |head| {
        let found = unknown(head)?;
        let fits = found.is_none();
        first = found.or(first.take());
        Ok(fits)
    };
    if let Some(file) = peek.last_file(&files, fits).await? {
        return Ok(file.to_owned());
    }
    let first = first.map_or_else(String::new, |gtid| format!(" such as `{gtid}`"));
    Err(Error::new(
        ErrorKind::Purged,
        format!(
            "the server `{}` that answers now has purged transactions{first}, which the relay log never \
             got",
            info.identity
        ),
    )
    .with_fix(
        "see in its older binlog files, or in a backup of them, what it wrote by itself; then copy the \
         tables anew, or point the configuration at a server without it",
    ))
}

fn not_by_gtid(job: &RelayJob, before: &SubFolder, info: &ServerInfo) -> Error {
    Error::new(
        ErrorKind::History,
        format!(
            "another server answers at {}: `{}` ({}), but the relay log is of `{}` ({}); without GTIDs \
             on both, nothing tells where the one goes on with what came from the other",
            job.source.server.address,
            info.identity,
            info.flavor(),
            before.identity,
            before.flavor
        ),
    )
    .with_fix(
        "point the configuration at the server the relay log is of; or, to replicate from this one, \
         move the relay log's folder away and start its tasks anew from a full copy. With \
         `gtid_mode = ON` on both servers this goes by itself",
    )
}

/// MariaDB's refusal to go on behind our transactions.
fn lacks(error: Error, info: &ServerInfo, received: &GtidSet) -> Error {
    let kind = error.kind();
    if !matches!(kind, ErrorKind::History | ErrorKind::Purged) {
        return error;
    }
    let message = format!(
        "the server `{}` that answers now cannot go on behind `{received}`, which came from the former \
         one",
        info.identity
    );
    // A replica that was just promoted may still be at what it had received.
    let kind = match kind {
        ErrorKind::History => ErrorKind::Changed,
        kind => kind,
    };
    let explained = Error::new(kind, message).with_fix(
        "it is asked again for a while, as a replica may still catch up; if it never does, point the \
         configuration at the server that has these transactions, or copy the tables anew",
    );
    match error.server() {
        Some(server) => explained.with_server(server.clone()),
        None => explained.with_source(error),
    }
}

/// The new server lacks transactions that came from the former one, and that may be applied.
async fn diverged(
    job: &RelayJob,
    before: &SubFolder,
    info: &ServerInfo,
    errant: &GtidSet,
) -> Error {
    let mut message = format!(
        "the server `{}` that answers now lacks `{errant}`, which came from `{}`",
        info.identity, before.identity
    );
    match describe(job, before, errant).await {
        Ok(found) => message.push_str(&found),
        Err(error) => {
            tracing::warn!(unit = "relay", %error, "the errant transactions cannot be read");
        }
    }
    // A replica that was just promoted may still be at what it had received.
    Error::new(ErrorKind::Changed, message).with_fix(
        "it is asked again for a while, as a replica may still catch up. Where it never does, these \
         transactions were lost at the failover, and the targets may have them: settle that by hand, or \
         copy the tables anew",
    )
}

/// What the errant transactions of the newest relay files did.
async fn describe(job: &RelayJob, before: &SubFolder, errant: &GtidSet) -> Result<String> {
    let files: Vec<String> = job
        .log
        .files()
        .into_iter()
        .filter(|file| file.folder == before.name)
        .map(|file| file.name)
        .collect();
    let Some(file) = files.iter().rev().take(2).next_back() else {
        return Ok(String::new());
    };
    let place = Place::new(&before.name, Position::new(file.as_str(), FIRST_OFFSET));
    let mut reader = job.log.reader(&place)?;
    let mut text = String::new();
    let mut found = 0;
    let mut is_errant = false;
    while !reader.is_at_tip() {
        let raw = reader.next().await?;
        let kind = raw.event.header.kind;
        if kind.is_gtid() {
            let gtid = GtidEvent::parse(&raw.event)?.gtid();
            is_errant = gtid.as_ref().is_some_and(|gtid| errant.contains(gtid));
            if let Some(gtid) = gtid.filter(|_| is_errant) {
                found += 1;
                if found > SHOWN {
                    text.push_str("; …");
                    return Ok(text);
                }
                // Writing to a `String` cannot fail.
                let _ = write!(
                    text,
                    "; {gtid} at {}/{}:{}:",
                    raw.folder, raw.file, raw.offset
                );
            }
        } else if is_errant && kind == EventKind::TABLE_MAP {
            let map = TableMap::parse(&raw.event, raw.format)?;
            let _ = write!(text, " {}", map.table);
        } else if is_errant && kind == EventKind::QUERY {
            let query = crate::binlog::QueryEvent::parse(&raw.event)?;
            let statement = String::from_utf8_lossy(query.statement.as_ref()).into_owned();
            if !statement.eq_ignore_ascii_case("BEGIN") {
                let _ = write!(
                    text,
                    " `{}`",
                    statement.chars().take(60).collect::<String>()
                );
            }
        }
    }
    Ok(text)
}
