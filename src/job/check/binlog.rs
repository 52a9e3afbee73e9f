//! Rows about a source's binlog: what is left out of it, and whether the place to begin at is still there.

use crate::config::{Config, Mode, RelayStart, SourceConfig, relay_folder};
use crate::connect::Session;
use crate::model::position::FIRST_OFFSET;
use crate::model::{Flavor, GtidSet, Position, Result};
use crate::relay_log;
use crate::source::{self, BinlogFile, ServerInfo, binary_logs, binlog_filters};

use super::facts::{SourceFacts, tasks_of_source};
use super::rows::{Scope, one_line, some};

/// The binlog as the server tells of it.
#[derive(Debug)]
pub(super) struct Binlog {
    /// Its files, oldest first.
    files: Vec<BinlogFile>,
    /// `binlog_do_db`: only these databases are logged; empty: all are.
    only: Vec<String>,
    /// `binlog_ignore_db`.
    ignored: Vec<String>,
    /// The transactions before its oldest file; `None` where the server keeps or tells none.
    before: Option<GtidSet>,
}

impl Binlog {
    /// Asks for it; needs REPLICATION CLIENT (MariaDB: BINLOG MONITOR).
    pub(super) async fn read(session: &mut Session) -> Result<Self> {
        let files = binary_logs(session).await?;
        let (only, ignored) = binlog_filters(session).await?;
        let before = match (session.version().flavor, files.first()) {
            (Flavor::MariaDB, Some(oldest)) => {
                // Where its own header ends; the list of GTIDs that follows is of what was before.
                let start = Position::new(&oldest.name, FIRST_OFFSET);
                source::gtids_at(session, &start).await.ok().flatten()
            }
            (Flavor::MySQL, _) => source::gtid_purged(session).await.ok(),
            _ => None,
        };
        Ok(Self {
            files,
            only,
            ignored,
            before,
        })
    }

    /// Whether its newest file is this one, and no longer.
    pub(super) fn ends_with(&self, name: &str, bytes: u64) -> bool {
        let newest = self.files.last();
        newest.is_some_and(|newest| newest.name == name && newest.size_bytes <= bytes)
    }

    /// The bytes from a place on; of all files where there is no place.
    pub(super) fn bytes_from(&self, place: Option<&Position>) -> u64 {
        let files = self.files.iter();
        files
            .filter_map(|have| match place {
                None => Some(have.size_bytes),
                Some(place) if have.name == place.file => {
                    Some(have.size_bytes.saturating_sub(place.offset))
                }
                // The names of one server's files end in numbers that grow.
                Some(place) => {
                    (number(&have.name) > number(&place.file)).then_some(have.size_bytes)
                }
            })
            .sum()
    }

    fn leaves_out(&self, schema: &str) -> bool {
        let is_in = |list: &[String]| list.iter().any(|name| name.eq_ignore_ascii_case(schema));
        is_in(&self.ignored) || (!self.only.is_empty() && !is_in(&self.only))
    }
}

/// Whether this server takes changes from another one; `None` where the account may not know.
///
/// MariaDB keeps the statement from accounts without REPLICA MONITOR, and tells everybody how many of its
/// replication threads run, and which GTIDs it has ever taken from elsewhere (`Slaves_running` and
/// `gtid_slave_pos` in its manual).
pub(super) async fn is_replica(session: &mut Session) -> Option<bool> {
    let mut answer = session.rows("SHOW REPLICA STATUS").await;
    if answer.is_err() {
        answer = session.rows("SHOW SLAVE STATUS").await;
    }
    if let Ok(rows) = answer {
        return Some(!rows.is_empty());
    }
    let running = value(session, "SHOW GLOBAL STATUS LIKE 'Slaves_running'").await?;
    if running != b"0" {
        return Some(true);
    }
    // One whose threads stand just now is a replica all the same.
    let taken = value(session, "SHOW GLOBAL VARIABLES LIKE 'gtid_slave_pos'").await?;
    taken.is_empty().then_some(false)
}

/// The number that a binlog file's name ends in.
fn number(file: &str) -> Option<u64> {
    file.rsplit_once('.')?.1.parse().ok()
}

/// The value of the one variable that a statement names.
async fn value(session: &mut Session, question: &str) -> Option<Vec<u8>> {
    let rows = session.rows(question).await.ok()?;
    rows.into_iter().next()?.into_iter().nth(1)?
}

/// The rows about it.
pub(super) fn judge(
    rows: &mut Scope<'_>,
    config: &Config,
    source: &SourceConfig,
    facts: &SourceFacts,
) {
    let tasks = || tasks_of_source(config, source).filter(|task| task.mode != Mode::Full);
    let info = &facts.server.info;
    if tasks().next().is_none() || !info.log_bin {
        return;
    }
    replica_updates(rows, info, facts.is_replica);
    let why = "what the source does not log cannot be replicated";
    let binlog = match &facts.binlog {
        Ok(binlog) => binlog,
        Err(error) => {
            rows.pass(
                "binlog-filter",
                format!("not knowable: {}", one_line(error)),
                why,
            );
            return;
        }
    };
    let mut lost: Vec<&str> = facts
        .tables
        .iter()
        .filter(|table| tasks().any(|task| task.selection.takes(&table.name)))
        .map(|table| table.name.schema.as_str())
        .filter(|schema| binlog.leaves_out(schema))
        .collect();
    lost.sort_unstable();
    lost.dedup();
    if lost.is_empty() {
        rows.pass("binlog-filter", "none that matters here", why);
    } else {
        rows.fail(
            "binlog-filter",
            format!(
                "`binlog_do_db` or `binlog_ignore_db` keeps databases out of the binlog: {}",
                some(&lost)
            ),
            why,
            "take the setting out of the server's configuration file and restart it",
        );
    }
    starts(rows, config, source, info, binlog);
}

fn replica_updates(rows: &mut Scope<'_>, info: &ServerInfo, is_replica: Option<bool>) {
    let why = "a replica without it logs its own writes alone, not those that it replicates";
    let logs = ["log_replica_updates", "log_slave_updates"]
        .iter()
        .filter_map(|name| info.settings.get(*name))
        .any(|value| matches!(value.as_str(), "ON" | "1"));
    match (logs, is_replica) {
        (true, _) => rows.pass("replica-updates", "replicated changes are logged too", why),
        (false, Some(false)) => {
            rows.pass("replica-updates", "the server is no replica", why);
        }
        (false, Some(true)) => rows.fail(
            "replica-updates",
            "the server is a replica, and its `log_slave_updates` (MySQL: `log_replica_updates`) is off",
            why,
            "put `log_slave_updates = ON` into the server's configuration file and restart it, or name the \
             replica's own source here",
        ),
        (false, None) => rows.warn(
            "replica-updates",
            "`log_slave_updates` (MySQL: `log_replica_updates`) is off, and whether the server is a replica \
             is not knowable without REPLICATION CLIENT (MariaDB: REPLICA MONITOR)",
            why,
            "make sure that the server is no replica, or set it ON in the configuration file and restart",
        ),
    }
}

/// Where the relay log goes on, or where the configuration says to begin, must still be at the source.
fn starts(
    rows: &mut Scope<'_>,
    config: &Config,
    source: &SourceConfig,
    info: &ServerInfo,
    binlog: &Binlog,
) {
    let why = "replication begins there, and the binlog must still have it";
    let folder = relay_folder(&config.worker.data_dir, &source.server.name);
    let listed = folder.exists().then(|| relay_log::list(&folder));
    let newest = match listed.transpose() {
        Ok(files) => files.and_then(|mut files| files.pop()),
        Err(error) => {
            rows.warn(
                "binlog-start",
                format!(
                    "where the relay log goes on cannot be told: {}",
                    one_line(&error)
                ),
                why,
                "make its folder readable, then check again",
            );
            return;
        }
    };
    if let Some(newest) = newest {
        // Once begun, what the configuration says of a beginning is over.
        let of = newest
            .folder
            .rsplit_once('.')
            .map_or("", |(server, _)| server);
        if of != info.identity {
            rows.warn(
                "binlog-start",
                format!(
                    "the relay log is of the server {of}, and {} answers now",
                    info.identity
                ),
                "another server's files tell nothing by their names: GTIDs decide whether it goes on",
                "make sure that it is the source's successor, with all that the source had",
            );
        } else if binlog.files.iter().any(|have| have.name == newest.name) {
            rows.pass(
                "binlog-start",
                format!("the relay log goes on in {}, which is there", newest.name),
                why,
            );
        } else {
            rows.fail(
                "binlog-start",
                format!(
                    "the relay log goes on in {}, which the source no longer has; its oldest is {}",
                    newest.name,
                    binlog.files.first().map_or("none", |file| &file.name)
                ),
                why,
                "what is between is lost here: begin anew at a place that is there, or make a copy anew",
            );
        }
        return;
    }
    let of_relay = source
        .relay
        .is_enabled
        .then_some(("source.relay.start", &source.relay.start));
    let of_tasks = tasks_of_source(config, source)
        .filter(|task| task.mode == Mode::Incremental)
        .map(|task| ("task.start", &task.start));
    for (key, start) in of_relay.into_iter().chain(of_tasks) {
        let (file, offset) = match start {
            RelayStart::Position(Position { file, offset }) => (file, offset),
            RelayStart::GtidSet(text) => {
                start_of_set(rows, key, text, info, binlog);
                continue;
            }
            RelayStart::Auto | RelayStart::Now | RelayStart::Time(_) => continue,
        };
        let oldest = binlog.files.first();
        match binlog.files.iter().find(|have| have.name == *file) {
            Some(have) if *offset <= have.size_bytes => {
                rows.pass("binlog-start", format!("{file}:{offset} is there"), why);
            }
            Some(have) => rows.fail(
                "binlog-start",
                format!(
                    "`{key}` is {file}:{offset}, and the file has {} bytes only",
                    have.size_bytes
                ),
                why,
                format!("mend `{key}`"),
            ),
            None => rows.fail(
                "binlog-start",
                format!(
                    "`{key}` is {file}:{offset}; the source has no such file, its oldest is {}",
                    oldest.map_or("none", |file| &file.name)
                ),
                why,
                format!("begin at a place that is there (`{key}`), or make a copy anew with `mode = \"all\"`"),
            ),
        }
    }
}

/// Whether what is behind a set of GTIDs is still there.
fn start_of_set(rows: &mut Scope<'_>, key: &str, text: &str, info: &ServerInfo, binlog: &Binlog) {
    let why =
        "replication begins behind these transactions, and the binlog must still have all others";
    let set = match GtidSet::parse(info.flavor(), text) {
        Ok(set) => set,
        Err(wrong) => {
            let mend = format!("mend `{key}`: a set of this server's own form");
            rows.fail("binlog-start", format!("`{key}`: {wrong}"), why, mend);
            return;
        }
    };
    if !info.has_gtids() {
        rows.fail(
            "binlog-start",
            format!("`{key}` is a GTID set, and the source keeps no GTIDs"),
            why,
            format!("name a file and an offset as `{key}`"),
        );
        return;
    }
    let Some(before) = &binlog.before else {
        let found =
            format!("not knowable: what was before the oldest binlog; `{key}` is a GTID set");
        rows.pass("binlog-start", found, why);
        return;
    };
    let lost = before.without(&set);
    if lost.is_empty() {
        rows.pass("binlog-start", "all behind the GTID set is there", why);
    } else {
        rows.fail(
            "binlog-start",
            format!("`{key}` lacks transactions that are older than the source's oldest binlog: {lost}"),
            why,
            format!("begin at a place that is there (`{key}`), or make a copy anew with `mode = \"all\"`"),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_to_fetch() {
        let files = [("bin.999999", 100), ("bin.1000000", 50), ("bin.1000001", 7)];
        let binlog = Binlog {
            files: files
                .map(|(name, size_bytes)| BinlogFile {
                    name: name.into(),
                    size_bytes,
                })
                .into(),
            only: Vec::new(),
            ignored: Vec::new(),
            before: None,
        };
        assert_eq!(binlog.bytes_from(None), 157);
        let place = Position::new("bin.1000000", 40);
        assert_eq!(binlog.bytes_from(Some(&place)), 17);
        assert!(binlog.ends_with("bin.1000001", 7) && !binlog.ends_with("bin.1000001", 6));
    }

    #[test]
    fn databases_that_are_not_logged() {
        let binlog = |only: &[&str], ignored: &[&str]| Binlog {
            files: Vec::new(),
            only: only.iter().map(ToString::to_string).collect(),
            ignored: ignored.iter().map(ToString::to_string).collect(),
            before: None,
        };
        assert!(!binlog(&[], &[]).leaves_out("shop"));
        assert!(binlog(&["crm"], &[]).leaves_out("shop"));
        assert!(!binlog(&["crm", "shop"], &[]).leaves_out("shop"));
        assert!(binlog(&[], &["shop"]).leaves_out("shop"));
    }
}
