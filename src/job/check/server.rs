//! Rows about one server: the line to it, who we are there, and its settings.

use std::time::Duration;

use crate::config::{Address, Config, Mode, ServerConfig, SourceConfig, TargetConfig, TlsMode};
use crate::model::{Error, Flavor, ServerVersion};
use crate::privilege::{self, Account, Level, Line};
use crate::schema::engine::rolls_back;
use crate::source::ServerInfo;

use super::facts::{Room, ServerFacts, SourceFacts, TargetFacts, tasks_of_source};
use super::rows::{Scope, one_line};

/// The clocks may be this far apart before it is worth a word.
const CLOCK_TOLERANCE: Duration = Duration::from_secs(10);

/// The line, and who is at its end.
pub(super) fn connection(
    rows: &mut Scope<'_>,
    server: &ServerConfig,
    facts: Result<&ServerFacts, &Error>,
) {
    let why = "nothing works without it";
    let facts = match facts {
        Ok(facts) => facts,
        Err(error) => {
            rows.fail(
                "connection",
                one_line(error),
                why,
                error
                    .fix()
                    .unwrap_or("look at the server's log, then check again"),
            );
            return;
        }
    };
    rows.pass(
        "connection",
        format!("{} at {}", facts.info.version.text, server.address),
        why,
    );
    tls(rows, server, facts);
    account(rows, facts);
}

fn tls(rows: &mut Scope<'_>, server: &ServerConfig, facts: &ServerFacts) {
    let why = "passwords and rows cross the network";
    let is_local = match &server.address {
        Address::Socket(_) => true,
        Address::Tcp { host, .. } => {
            host == "localhost"
                || host
                    .parse::<std::net::IpAddr>()
                    .is_ok_and(|address| address.is_loopback())
        }
    };
    match (&facts.tls, server.tls.mode) {
        (Some(version), _) => rows.pass("tls", version.clone(), why),
        (None, _) if is_local => rows.pass("tls", "none, on this machine", why),
        (None, TlsMode::Disabled) => rows.warn(
            "tls",
            "none: `tls = \"disabled\"`",
            why,
            "set `tls = \"required\"` for this server",
        ),
        (None, _) => rows.warn(
            "tls",
            "none: the server offers no TLS, and `preferred` goes on without it",
            why,
            "set up TLS on the server (`ssl_cert`, `ssl_key`), then `tls = \"required\"` here",
        ),
    }
}

fn account(rows: &mut Scope<'_>, facts: &ServerFacts) {
    let why = "grants are given to the entry that matches, which need not be the one meant";
    match &facts.account {
        Err(error) => rows.warn(
            "account",
            format!("the grants cannot be read: {}", one_line(error)),
            why,
            error.fix().unwrap_or("check again"),
        ),
        Ok(_)
            if facts
                .identity
                .server_id
                .is_some_and(|id| id != u64::from(facts.info.server_id)) =>
        {
            rows.fail(
                "account",
                format!(
                    "one connection reached the server with the id {}, the next one that with {}",
                    facts.info.server_id,
                    facts.identity.server_id.unwrap_or_default()
                ),
                "something between here and there spreads connections over several servers, whose \
                 binlogs and grants differ",
                "name one server itself as `host`, not a proxy or a balancer",
            );
        }
        Ok(account) if account.current_user.starts_with('@') => rows.fail(
            "account",
            format!(
                "the anonymous account `{}` matches before `{}`",
                account.current_user, facts.identity.asked_for
            ),
            why,
            format!(
                "DROP USER {};",
                privilege::account_name(&account.current_user)
            ),
        ),
        Ok(account) => {
            let by = facts
                .identity
                .proxy_user
                .as_ref()
                .map_or_else(String::new, |proxy| {
                    format!(", through the proxy account {proxy}")
                });
            rows.pass(
                "account",
                format!(
                    "{} (asked for as {}{by})",
                    account.current_user, facts.identity.asked_for
                ),
                why,
            );
        }
    }
}

/// A source's settings.
pub(super) fn source(
    rows: &mut Scope<'_>,
    config: &Config,
    source: &SourceConfig,
    facts: &SourceFacts,
) {
    let info = &facts.server.info;
    let is_replicated = tasks_of_source(config, source).any(|task| task.mode != Mode::Full);
    version(rows, &info.version, true);
    binlog(rows, info, is_replicated);
    metadata(rows, info, is_replicated);
    gtid(rows, info);
    server_id(rows, source, facts);
    clock(rows, info);
    // Each stream has a few for the catalogue, the checks and questions beside those that read.
    let needed: usize = tasks_of_source(config, source)
        .filter(|task| task.mode != Mode::Incremental)
        .map(|task| task.dump.threads + BESIDE)
        .sum::<usize>()
        + BESIDE;
    connections(rows, facts.room, needed as u64);
}

/// A target should take transactions of this size: sources have such, and rows that come near it.
const TRANSACTION_BYTES: u64 = 64 << 20;

/// No transaction comes near a pebibyte.
const UNBOUNDED_KIB: u64 = 1 << 40;

/// Connections of a stream beside those that read or write rows.
const BESIDE: usize = 3;

fn connections(rows: &mut Scope<'_>, room: Room, needed: u64) {
    let why =
        "a server that takes no more connections stops a stream, and others of the server's users";
    match room.short_of(needed) {
        Some(found) => rows.warn(
            "connections",
            found,
            why,
            "raise `max_connections` on the server, or lower `threads` and `workers` of the tasks",
        ),
        None => rows.pass("connections", format!("up to {needed} are opened"), why),
    }
}

fn version(rows: &mut Scope<'_>, version: &ServerVersion, is_source: bool) {
    let why = "binlogs, grants and statements differ by version";
    let mut shown = version.to_string();
    if !privilege::is_tried(version) {
        shown.push_str(
            " (its grants and statements rest on its manual: no tests run on this version)",
        );
    }
    let is_known = match version.flavor {
        Flavor::MySQL => version.at_least(5, 7, 0),
        Flavor::MariaDB => version.at_least(10, 5, 0),
        Flavor::TiDB => !is_source,
    };
    if is_known {
        rows.pass("version", shown, why);
    } else if is_source && version.flavor == Flavor::TiDB {
        rows.fail(
            "version",
            format!("{shown} writes no binlog"),
            why,
            "name a MySQL or MariaDB server as the source",
        );
    } else {
        rows.fail_if(
            is_source,
            "version",
            format!("{shown} is older than what is supported"),
            why,
            "MySQL 5.7 or MariaDB 10.5 is the oldest",
        );
    }
}

fn binlog(rows: &mut Scope<'_>, info: &ServerInfo, is_needed: bool) {
    let why = "changes are taken from the binlog";
    if info.log_bin {
        rows.pass("log-bin", "on", why);
    } else {
        rows.fail_if(
            is_needed,
            "log-bin",
            "`log_bin` is off",
            why,
            "put `log_bin` and a `server_id` into the server's configuration file and restart it",
        );
        // The settings below say nothing of a binlog that is not written.
        return;
    }
    let why = "a statement's rows cannot be told from its text";
    // A later server may know no other.
    if matches!(info.binlog_format.as_str(), "ROW" | "") {
        rows.pass("binlog-format", "ROW", why);
    } else {
        rows.fail_if(
            is_needed,
            "binlog-format",
            format!("`binlog_format` is {}", info.binlog_format),
            why,
            "SET GLOBAL binlog_format = 'ROW'; -- and in the configuration file; sessions that are open keep theirs",
        );
    }
    let why = "a change is applied by the row's key, or by its whole image where it has none; both must be in the binlog";
    // Every column is there, those of the after image that did not change left out.
    let is_full = matches!(info.row_image.as_str(), "FULL" | "FULL_NODUP" | "");
    if is_full {
        let found = if info.row_image.is_empty() {
            "the server knows no other than full"
        } else {
            &info.row_image
        };
        rows.pass("binlog-row-image", found, why);
    } else {
        rows.fail_if(
            is_needed,
            "binlog-row-image",
            format!("`binlog_row_image` is {}", info.row_image),
            why,
            "SET GLOBAL binlog_row_image = 'FULL'; -- and in the configuration file; sessions that are open keep theirs",
        );
    }
    if !info.row_value_options.is_empty() {
        let found = format!("`binlog_row_value_options` is {}", info.row_value_options);
        let why = "with PARTIAL_JSON the binlog has only what changed within a JSON document: the document \
                   before it, which a full row image has, is needed to tell the one after it";
        if is_full {
            rows.pass("binlog-row-value-options", found, why);
        } else {
            rows.fail_if(
                is_needed,
                "binlog-row-value-options",
                found,
                why,
                "SET GLOBAL binlog_row_value_options = ''; -- and in the configuration file; sessions that are open keep theirs",
            );
        }
    }
    let engine = info
        .settings
        .get("binlog_storage_engine")
        .filter(|engine| !engine.is_empty());
    if let Some(engine) = engine {
        rows.fail_if(
            is_needed,
            "binlog-storage-engine",
            format!("`binlog_storage_engine` is {engine}"),
            "a binlog within an engine is not a file that can be copied",
            "set `binlog_storage_engine` to nothing and restart the server",
        );
    }
}

fn metadata(rows: &mut Scope<'_>, info: &ServerInfo, is_needed: bool) {
    if !info.log_bin || !is_needed {
        return;
    }
    let why = "with FULL the binlog itself names columns, signs and character sets, so that a table's \
               structure can be verified at each event";
    match info.row_metadata.as_str() {
        "FULL" => rows.pass("binlog-row-metadata", "FULL", why),
        "" => rows.warn(
            "binlog-row-metadata",
            "the server does not know the setting",
            why,
            "keep DDL on the source to what the migration has seen",
        ),
        other => rows.warn(
            "binlog-row-metadata",
            format!("`binlog_row_metadata` is {other}"),
            why,
            "SET GLOBAL binlog_row_metadata = 'FULL';",
        ),
    }
}

fn gtid(rows: &mut Scope<'_>, info: &ServerInfo) {
    let why = "with GTIDs a replaced source can be followed";
    if info.has_gtids() {
        let found = match info.flavor() {
            Flavor::MariaDB => "always, on MariaDB".to_owned(),
            _ => format!("gtid_mode = {}", info.gtid_mode),
        };
        rows.pass("gtid", found, why);
    } else {
        rows.pass(
            "gtid",
            "off: places in the binlog are file and offset alone",
            why,
        );
    }
}

fn server_id(rows: &mut Scope<'_>, source: &SourceConfig, facts: &SourceFacts) {
    let why = "a source sends its binlog to one replica of each id";
    let theirs = facts.server.info.server_id;
    if theirs == 0 {
        rows.fail(
            "server-id",
            "the source's own `server_id` is 0, with which it refuses replicas",
            why,
            "SET GLOBAL server_id = 1; -- a number of its own; and in the configuration file",
        );
        return;
    }
    let Some(ours) = source.server_id else {
        rows.pass(
            "server-id",
            format!("the source's is {theirs}; ours is chosen at random"),
            why,
        );
        return;
    };
    if ours == theirs {
        rows.fail(
            "server-id",
            format!("`server_id = {ours}` is the source's own"),
            why,
            "give `source.server_id` another number, or leave it out",
        );
    } else if facts
        .replica_ids
        .as_ref()
        .is_some_and(|ids| ids.contains(&ours))
    {
        rows.warn(
            "server-id",
            format!("a replica with the id {ours} is connected"),
            "it is this worker's own relay if it runs; else the two would cut each other off",
            "give `source.server_id` another number, or leave it out",
        );
    } else {
        rows.pass(
            "server-id",
            format!("the source's is {theirs}, ours {ours}"),
            why,
        );
    }
}

fn clock(rows: &mut Scope<'_>, info: &ServerInfo) {
    let why = "lag is told by commit times, with the clocks' difference taken off";
    let apart = Duration::from_micros(info.clock_offset_micros.unsigned_abs());
    if apart > CLOCK_TOLERANCE {
        let direction = if info.clock_offset_micros > 0 {
            "ahead of"
        } else {
            "behind"
        };
        rows.warn(
            "clock",
            format!(
                "the server's clock is {} {direction} ours",
                humantime::format_duration(Duration::from_secs(apart.as_secs()))
            ),
            why,
            "let both machines keep time by NTP",
        );
    } else {
        let found = format!(
            "within {} of ours",
            humantime::format_duration(CLOCK_TOLERANCE)
        );
        rows.pass("clock", found, why);
    }
}

/// A target's settings.
pub(super) fn target(
    rows: &mut Scope<'_>,
    config: &Config,
    target: &TargetConfig,
    facts: &TargetFacts,
) {
    let info = &facts.server.info;
    version(rows, &info.version, false);
    let needed: usize = config
        .tasks
        .iter()
        .filter(|task| task.target == target.server.name)
        .map(|task| task.sources.len() * (task.load.threads.max(task.sync.workers) + BESIDE))
        .sum();
    connections(rows, facts.room, needed as u64);
    let why = "rows are written to it";
    if facts.read_only.is_empty() {
        rows.pass("read-only", "off", why);
    } else {
        let is_above = facts
            .server
            .account
            .as_ref()
            .is_ok_and(|account| passes_read_only(account, &facts.read_only));
        rows.fail_if(
            !is_above,
            "read-only",
            if is_above {
                format!(
                    "{}; the account may write all the same",
                    facts.read_only.join(", ")
                )
            } else {
                facts.read_only.join(", ")
            },
            why,
            "SET GLOBAL read_only = OFF;",
        );
    }
    let why = "rows and their checkpoint must commit together";
    let engine = &facts.default_engine;
    if info.flavor() == Flavor::TiDB || rolls_back(engine) {
        let shown = if engine.is_empty() {
            "TiDB's own"
        } else {
            engine
        };
        rows.pass("engine", shown, why);
    } else {
        rows.fail(
            "engine",
            format!("`default_storage_engine` is {engine}, which has no transactions"),
            why,
            "SET GLOBAL default_storage_engine = 'InnoDB';",
        );
    }
    transaction_size(rows, facts);
    clock(rows, info);
}

/// What bounds a transaction there.
fn transaction_size(rows: &mut Scope<'_>, facts: &TargetFacts) {
    let why = "a transaction of the source that is larger commits in parts there, so that others see it half \
               done for a moment; a single row that is larger cannot be applied";
    let Some((name, bytes)) = facts
        .transaction_limits
        .iter()
        .min_by_key(|(_, bytes)| *bytes)
    else {
        rows.pass("transaction-size", "no bound is told", why);
        return;
    };
    let found = match bytes >> 10 {
        // What servers have unless they are told otherwise.
        UNBOUNDED_KIB.. => format!("`{name}` is no bound that matters"),
        kib => format!("`{name}` is {kib} KiB"),
    };
    if *bytes >= TRANSACTION_BYTES {
        rows.pass("transaction-size", found, why);
        return;
    }
    let mend = if name.contains('.') {
        format!("set `{name} = {TRANSACTION_BYTES}` in TiDB's configuration file")
    } else {
        format!("SET GLOBAL {name} = {TRANSACTION_BYTES};")
    };
    rows.warn("transaction-size", found, why, mend);
}

/// Whether the account may write to a server that is read-only for others.
fn passes_read_only(account: &Account, settings: &[String]) -> bool {
    // These two hold for everyone.
    let is_for_all = settings.iter().any(|setting| {
        setting.starts_with("super_read_only") || setting.starts_with("tidb_super_read_only")
    });
    !is_for_all
        && account.grants.lines().iter().any(|line| match &line.line {
            Line::Grant {
                granted,
                level: Level::Global,
            } => granted.iter().any(|g| {
                let has_name = matches!(
                    g.name.as_str(),
                    "READ_ONLY ADMIN" | "READ ONLY ADMIN" | "CONNECTION_ADMIN"
                );
                // MariaDB took it out of SUPER with 10.11.
                let is_super = g.name == "SUPER"
                    && !(account.version.flavor == Flavor::MariaDB
                        && account.version.at_least(10, 11, 0));
                has_name || is_super || g.name == "ALL PRIVILEGES"
            }),
            _ => false,
        })
}

#[cfg(test)]
mod tests {
    use super::super::rows::Rows;
    use super::*;
    use crate::model::CheckState;

    #[test]
    fn versions_that_are_too_old_or_have_no_binlog() {
        let judged = |text: &str, is_source: bool| {
            let mut rows = Rows::default();
            version(&mut rows.of("x"), &ServerVersion::parse(text), is_source);
            let row = rows.into_list().pop().unwrap();
            assert!(!row.why.is_empty() && (row.state == CheckState::Pass || !row.mend.is_empty()));
            (row.state, row.found)
        };
        for (text, at_source, at_target) in [
            ("5.6.51-log", CheckState::Fail, CheckState::Warn),
            ("5.7.44", CheckState::Pass, CheckState::Pass),
            ("9.7.4", CheckState::Pass, CheckState::Pass),
            ("10.4.34-MariaDB", CheckState::Fail, CheckState::Warn),
            (
                "5.5.5-10.5.8-MariaDB-log",
                CheckState::Pass,
                CheckState::Pass,
            ),
            ("8.0.11-TiDB-v8.5.0", CheckState::Fail, CheckState::Pass),
        ] {
            assert_eq!(judged(text, true).0, at_source, "{text}");
            assert_eq!(judged(text, false).0, at_target, "{text}");
        }
        // What rests on a manual is told.
        assert!(judged("8.0.36", true).1.contains("rest on its manual"));
        assert!(!judged("9.7.4", true).1.contains("manual"));
    }
}
