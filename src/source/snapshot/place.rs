//! Where a source's log stands, and what of it is certain to be seen by whoever begins to read.
//!
//! MySQL writes a transaction to the binlog before the engine commits it, and adds it to
//! `gtid_executed` after: neither says what a reader sees. What lies between the two is in
//! `gtid_owned`. A transaction takes its GTID before it is written and gives it back once it can be
//! seen; so after an end of the log was read, and none of those that were owned then is owned any
//! more, everything before that end is seen by every reader that begins from there on. If the log
//! still ends at the same place when the readers have begun, they see just that, and nothing else.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde::Deserialize;

use crate::connect::Session;
use crate::model::{Error, ErrorKind, Flavor, GtidSet, Position, Result};
use crate::source::server_info::{ServerInfo, binlog_end};

/// How long it may take until what is being committed can be seen.
const DRAIN: Duration = Duration::from_secs(2);

/// How often a moment without a commit is looked for.
const STILL_TRIES: u32 = 40;

/// A place in the history of a source.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Found {
    /// In the binlog; `None` where the account may not ask, or there is none.
    pub(super) position: Option<Position>,
    /// The transactions before it, where the source counts them.
    pub(super) gtid_set: Option<GtidSet>,
}

impl Found {
    pub(super) const NOTHING: Self = Self {
        position: None,
        gtid_set: None,
    };
}

/// The binlog position that a MariaDB session's own snapshot belongs to.
pub(super) async fn own_position(reader: &mut Session) -> Result<Option<Position>> {
    let rows = reader
        .rows(
            "SHOW SESSION STATUS WHERE Variable_name IN ('binlog_snapshot_file', 'binlog_snapshot_position')",
        )
        .await?;
    let mut file = String::new();
    let mut offset = 0;
    for row in rows {
        let mut cells = row.into_iter().flatten();
        let (Some(name), Some(value)) = (cells.next(), cells.next()) else {
            continue;
        };
        let value = String::from_utf8_lossy(&value).into_owned();
        if name.eq_ignore_ascii_case(b"binlog_snapshot_file") {
            file = value;
        } else {
            offset = value.parse().unwrap_or(0);
        }
    }
    // Both are empty on a server without a binlog.
    Ok((!file.is_empty() && offset > 0).then(|| Position::new(file, offset)))
}

/// The GTID set at a position of MariaDB's binlog.
pub(super) async fn gtid_set_at(
    session: &mut Session,
    position: Option<&Position>,
) -> Result<Option<GtidSet>> {
    let Some(position) = position else {
        return Ok(None);
    };
    let file = position.file.replace('\\', "\\\\").replace('\'', "''");
    let text = single(
        session,
        &format!("SELECT BINLOG_GTID_POS('{file}', {})", position.offset),
    )
    .await?;
    text.map(|text| parse(Flavor::MariaDB, &text)).transpose()
}

/// How a MySQL server says where its log ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asking {
    /// `SHOW BINARY LOG STATUS`, which needs REPLICATION CLIENT.
    Status,
    /// `performance_schema.log_status`, which needs BACKUP_ADMIN.
    LogStatus,
    /// `@@gtid_executed` alone, which needs nothing.
    Gtids,
    /// Not at all.
    Nothing,
}

/// A MySQL server's log, asked in the way that the account may.
#[derive(Clone, Copy, Debug)]
pub(super) struct MySqlLog {
    asking: Asking,
    has_gtids: bool,
    logs_all: bool,
}

impl MySqlLog {
    /// Finds the way.
    pub(super) async fn find(
        session: &mut Session,
        info: &ServerInfo,
        notes: &mut Vec<String>,
    ) -> Result<Self> {
        let has_gtids = info.has_gtids();
        // What a replica applies and does not log moves no position.
        let logs_all = !["log_replica_updates", "log_slave_updates"]
            .iter()
            .filter_map(|name| info.settings.get(*name))
            .any(|value| matches!(value.as_str(), "OFF" | "0"));
        let asking = match binlog_end(session).await {
            Ok(_) => Asking::Status,
            Err(error) if error.kind() == ErrorKind::Setting => {
                notes.push("no binlog position: the source writes no binlog".into());
                Asking::Nothing
            }
            Err(error) if error.server().is_some() => match log_status(session).await {
                Ok(_) => {
                    notes.push(
                        "the binlog position is from `performance_schema.log_status` (BACKUP_ADMIN)"
                            .into(),
                    );
                    Asking::LogStatus
                }
                Err(other) if other.server().is_some() => {
                    notes.push(
                        "no binlog position: the account lacks REPLICATION CLIENT (or BACKUP_ADMIN and \
                         SELECT on `performance_schema.log_status`), so nothing can be replicated \
                         behind this dump"
                            .into(),
                    );
                    if has_gtids {
                        Asking::Gtids
                    } else {
                        Asking::Nothing
                    }
                }
                Err(other) => return Err(other),
            },
            Err(error) => return Err(error),
        };
        Ok(Self {
            asking,
            has_gtids,
            logs_all,
        })
    }

    /// Whether it can be known what a reader sees without a lock.
    pub(super) fn has_proof(self) -> bool {
        self.has_gtids && self.logs_all && self.asking != Asking::Nothing
    }

    /// Whether positions can be had.
    pub(super) fn has_positions(self) -> bool {
        matches!(self.asking, Asking::Status | Asking::LogStatus)
    }

    /// Where the log ends now. The set may lack transactions that are before the position and none
    /// that is in it is behind.
    pub(super) async fn end(&self, session: &mut Session) -> Result<Found> {
        Ok(match self.asking {
            Asking::Status => {
                let (position, gtid_set) = binlog_end(session).await?;
                Found {
                    position: Some(position),
                    // Without GTID mode the set is empty, and says nothing.
                    gtid_set: gtid_set.filter(|_| self.has_gtids),
                }
            }
            Asking::LogStatus => {
                let (position, gtid_set) = log_status(session).await?;
                Found {
                    position: Some(position),
                    gtid_set: Some(gtid_set).filter(|_| self.has_gtids),
                }
            }
            Asking::Gtids => Found {
                position: None,
                gtid_set: Some(executed(session).await?),
            },
            Asking::Nothing => Found::NOTHING,
        })
    }

    /// Runs `begin` so that all who begin to read in it see one moment, whose place is given; `None`
    /// if the log moved meanwhile, or what was being committed did not come to an end.
    pub(super) async fn proved<T>(
        &self,
        session: &mut Session,
        begin: impl AsyncFnOnce() -> Result<T>,
    ) -> Result<(T, Option<Found>)> {
        let first = self.end(session).await?;
        let is_drained = drain(session, first.position.is_none()).await?;
        let before = self.end(session).await?;
        let begun = begin().await?;
        // Without positions a commit that has begun shows in nothing else.
        let is_quiet = first.position.is_some() || owned(session).await?.is_empty();
        let after = self.end(session).await?;
        let is_same = before == after && (first.position == after.position);
        Ok((begun, (is_drained && is_quiet && is_same).then_some(after)))
    }

    /// Where the log ends now, without waiting for anything: its set is known if nothing is being
    /// committed.
    pub(super) async fn end_at_once(&self, session: &mut Session) -> Result<Found> {
        let before = self.end(session).await?;
        if !self.has_proof() || self.asking == Asking::LogStatus {
            return Ok(before);
        }
        let is_quiet = owned(session).await?.is_empty();
        let mut after = self.end(session).await?;
        if !is_quiet || before.position != after.position {
            after.gtid_set = None;
        }
        Ok(after)
    }

    /// A place, everything before which is seen by all who begin to read from now on. Its set is
    /// known if there was a moment without a commit, or the server says both at once.
    pub(super) async fn lower_bound(&self, session: &mut Session) -> Result<Found> {
        let mut found = Found::NOTHING;
        for _ in 0..STILL_TRIES {
            let ((), still) = self.proved(session, async || Ok(())).await?;
            if let Some(still) = still {
                return Ok(still);
            }
            found = self.end(session).await?;
            if !drain(session, false).await? {
                continue;
            }
            if self.asking == Asking::LogStatus {
                return Ok(found);
            }
        }
        if drain(session, false).await? {
            found.gtid_set = None;
            return Ok(found);
        }
        Err(Error::new(
            ErrorKind::TargetBusy,
            "what is being committed on the source does not come to an end",
        )
        .with_fix("see what holds commits up at the source; the dump is tried again by itself"))
    }
}

/// Waits until what is being committed now can be seen; or, `all`, until nothing is. `false` if that
/// takes too long.
async fn drain(session: &mut Session, all: bool) -> Result<bool> {
    let begun = Instant::now();
    let mut waiting = owned(session).await?;
    while !waiting.is_empty() {
        if begun.elapsed() > DRAIN {
            return Ok(false);
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
        let now = owned(session).await?;
        if all {
            waiting = now;
        } else {
            waiting.retain(|gtid| now.contains(gtid));
        }
    }
    Ok(true)
}

/// The GTIDs of transactions that are being committed.
async fn owned(session: &mut Session) -> Result<BTreeSet<String>> {
    let text = single(session, "SELECT @@GLOBAL.gtid_owned").await?;
    Ok(parse_owned(&text.unwrap_or_default()))
}

/// `uuid:1#5:2#6,uuid:tag:1#7`: numbers with their owners, by server and tag.
fn parse_owned(text: &str) -> BTreeSet<String> {
    let mut gtids = BTreeSet::new();
    for part in text.split(',').map(str::trim) {
        let mut name = String::new();
        for piece in part.split(':') {
            match piece.split_once('#') {
                Some((number, _)) => {
                    gtids.insert(format!("{name}:{number}"));
                }
                // A server's name begins, or its tag follows.
                None if name.contains('-') && piece.contains('-') => piece.clone_into(&mut name),
                None if name.is_empty() => piece.clone_into(&mut name),
                None => name = format!("{}:{piece}", name.split(':').next().unwrap_or_default()),
            }
        }
    }
    gtids
}

async fn executed(session: &mut Session) -> Result<GtidSet> {
    let text = single(session, "SELECT @@GLOBAL.gtid_executed").await?;
    parse(Flavor::MySQL, &text.unwrap_or_default())
}

/// Position and GTID set at one moment: the server stops its logs for just that long.
async fn log_status(session: &mut Session) -> Result<(Position, GtidSet)> {
    #[derive(Deserialize)]
    struct Local {
        gtid_executed: String,
        binary_log_file: String,
        binary_log_position: u64,
    }
    let text = single(
        session,
        "SELECT CAST(LOCAL AS CHAR) FROM performance_schema.log_status",
    )
    .await?
    .unwrap_or_default();
    let local: Local = serde_json::from_str(&text).map_err(|error| {
        Error::new(
            ErrorKind::Unsupported,
            "`performance_schema.log_status` has not the form that is known",
        )
        .with_source(error)
    })?;
    Ok((
        Position::new(local.binary_log_file, local.binary_log_position),
        parse(Flavor::MySQL, &local.gtid_executed)?,
    ))
}

fn parse(flavor: Flavor, text: &str) -> Result<GtidSet> {
    GtidSet::parse(flavor, text).map_err(|wrong| Error::new(ErrorKind::Unsupported, wrong))
}

/// The first cell of the first row, as text.
async fn single(session: &mut Session, sql: &str) -> Result<Option<String>> {
    let rows = session.rows(sql).await?;
    Ok(rows
        .into_iter()
        .flatten()
        .flatten()
        .next()
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_are_read() {
        let text = "3e11fa47-71ca-11e1-9e33-c80aa9429562:4#12:5#13#14,\n\
                    4e11fa47-71ca-11e1-9e33-c80aa9429562:tag:7#9";
        let expected: Vec<String> = [
            "3e11fa47-71ca-11e1-9e33-c80aa9429562:4",
            "3e11fa47-71ca-11e1-9e33-c80aa9429562:5",
            "4e11fa47-71ca-11e1-9e33-c80aa9429562:tag:7",
        ]
        .map(str::to_owned)
        .into();
        assert_eq!(parse_owned(text).into_iter().collect::<Vec<_>>(), expected);
        assert!(parse_owned("").is_empty());
    }
}
