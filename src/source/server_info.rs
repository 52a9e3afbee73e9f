//! Who a server is and how it is set up, and where its binlog ends.
//!
//! What a server can do is found by asking it, not by its version: forks and old settings differ.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::connect::Session;
use crate::model::{Error, ErrorKind, Flavor, GtidSet, Position, Result, ServerVersion};

/// `ER_PARSE_ERROR`: how a server says that it does not know a statement.
const PARSE_ERROR: u16 = 1064;

/// A server's identity and those of its settings that decide about replication.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerInfo {
    /// The version.
    pub version: ServerVersion,
    /// Its number among replicas.
    pub server_id: u32,
    /// What tells this server from any other: MySQL's uuid, MariaDB's `server_id`.
    pub identity: String,
    /// Whether it writes a binlog.
    pub log_bin: bool,
    /// `ROW`, `MIXED` or `STATEMENT`.
    pub binlog_format: String,
    /// `FULL`, `MINIMAL`, `NOBLOB`, `FULL_NODUP`.
    pub row_image: String,
    /// `NO_LOG`, `MINIMAL` or `FULL`; empty where the server does not know the setting.
    pub row_metadata: String,
    /// MySQL's `binlog_row_value_options`; empty elsewhere.
    pub row_value_options: String,
    /// MySQL's `gtid_mode`; `always` on MariaDB.
    pub gtid_mode: String,
    /// `NONE` or `CRC32`.
    pub checksum: String,
    /// The longest statement it takes, in bytes.
    pub max_allowed_packet: u64,
    /// 0: names of tables keep their case and differ by it; 1: stored in lower case; 2: kept, compared
    /// without it.
    pub lower_case_table_names: u8,
    /// Its clock minus ours, in microseconds.
    pub clock_offset_micros: i64,
    /// All the settings that were read, by name, for those who need one more.
    pub settings: BTreeMap<String, String>,
}

const SETTINGS: &[&str] = &[
    "binlog_annotate_row_events",
    "binlog_checksum",
    "binlog_expire_logs_seconds",
    "binlog_format",
    "binlog_row_image",
    "binlog_row_metadata",
    "binlog_row_value_options",
    "binlog_storage_engine",
    "binlog_transaction_compression",
    "encrypt_binlog",
    "binlog_encryption",
    "expire_logs_days",
    "gtid_mode",
    "gtid_strict_mode",
    "innodb_native_foreign_keys",
    "log_bin",
    "log_bin_compress",
    "log_replica_updates",
    "log_slave_updates",
    "lower_case_table_names",
    "max_allowed_packet",
    "max_binlog_total_size",
    "read_only",
    "server_id",
    "server_uuid",
    "sql_mode",
    "time_zone",
    "system_time_zone",
];

impl ServerInfo {
    /// How long the server keeps its binlog files, in seconds; `None`: until they are purged by hand.
    ///
    /// MariaDB's days may have a fraction; its seconds say the same, and are there since 10.6
    /// (`binlog_expire_logs_seconds`, `expire_logs_days` in both manuals).
    pub fn binlog_expiry_seconds(&self) -> Option<u64> {
        let number = |name: &str| self.settings.get(name).and_then(|v| v.parse::<f64>().ok());
        number("binlog_expire_logs_seconds")
            .filter(|seconds| *seconds > 0.0)
            .or_else(|| number("expire_logs_days").map(|days| days * 86_400.0))
            .map(|seconds| seconds as u64)
            .filter(|seconds| *seconds > 0)
    }

    /// Reads it; needs no privilege.
    pub async fn read(session: &mut Session) -> Result<Self> {
        let names: Vec<String> = SETTINGS.iter().map(|name| format!("'{name}'")).collect();
        let rows = session
            .rows(&format!(
                "SHOW GLOBAL VARIABLES WHERE Variable_name IN ({})",
                names.join(", ")
            ))
            .await?;
        let settings: BTreeMap<String, String> = rows
            .into_iter()
            .filter_map(|row| {
                let mut values = row.into_iter();
                Some((text(values.next()??), text(values.next()??)))
            })
            .map(|(name, value)| (name.to_ascii_lowercase(), value))
            .collect();
        let clock_offset_micros = clock_offset(session).await?;
        let version = session.version().clone();
        let setting = |name: &str| settings.get(name).cloned().unwrap_or_default();
        let number = |name: &str| settings.get(name).and_then(|value| value.parse().ok());
        let uuid = setting("server_uuid");
        // MariaDB 11.5 and later have a `server_uid`, which is of the data folder, not `server_uuid`.
        let identity = if version.flavor == Flavor::MariaDB || uuid.is_empty() {
            setting("server_id")
        } else {
            uuid
        };
        Ok(Self {
            server_id: number("server_id").unwrap_or(0),
            identity,
            log_bin: matches!(setting("log_bin").as_str(), "ON" | "1"),
            binlog_format: setting("binlog_format").to_ascii_uppercase(),
            row_image: setting("binlog_row_image").to_ascii_uppercase(),
            row_metadata: setting("binlog_row_metadata").to_ascii_uppercase(),
            row_value_options: setting("binlog_row_value_options").to_ascii_uppercase(),
            gtid_mode: match version.flavor {
                Flavor::MariaDB => "always".into(),
                Flavor::MySQL | Flavor::TiDB => setting("gtid_mode").to_ascii_uppercase(),
            },
            checksum: setting("binlog_checksum").to_ascii_uppercase(),
            max_allowed_packet: settings
                .get("max_allowed_packet")
                .and_then(|value| value.parse().ok())
                .unwrap_or(4 << 20),
            lower_case_table_names: settings
                .get("lower_case_table_names")
                .and_then(|value| value.parse().ok())
                .unwrap_or(0),
            clock_offset_micros,
            version,
            settings,
        })
    }

    /// The family.
    pub fn flavor(&self) -> Flavor {
        self.version.flavor
    }

    /// Whether the server's binlog files are encrypted on its disk (MariaDB's `encrypt_binlog`, MySQL's
    /// `binlog_encryption`). Replicas get them decrypted.
    pub fn encrypts_binlog(&self) -> bool {
        ["encrypt_binlog", "binlog_encryption"]
            .iter()
            .filter_map(|name| self.settings.get(*name))
            .any(|value| matches!(value.as_str(), "ON" | "1"))
    }

    /// Whether its transactions carry GTIDs.
    pub fn has_gtids(&self) -> bool {
        matches!(self.gtid_mode.as_str(), "always" | "ON")
    }
}

/// The server's clock minus ours, taking its answer as given half-way through the round trip.
async fn clock_offset(session: &mut Session) -> Result<i64> {
    let before = micros_now();
    let rows = session
        .rows("SELECT CAST(UNIX_TIMESTAMP(SYSDATE(6)) * 1000000 AS UNSIGNED)")
        .await?;
    let after = micros_now();
    let theirs: Option<i64> = first(rows).and_then(|value| value.parse().ok());
    Ok(theirs.map_or(0, |theirs| {
        theirs.saturating_sub(before + (after - before) / 2)
    }))
}

/// What the server's `SYSTEM` time zone is just now, as an offset: `+02:00`.
pub async fn system_zone(session: &mut Session) -> Result<String> {
    let rows = session
        .rows(
            "SELECT TIMESTAMPDIFF(MINUTE, UTC_TIMESTAMP(), \
             CONVERT_TZ(UTC_TIMESTAMP(), '+00:00', 'SYSTEM'))",
        )
        .await?;
    let minutes: i64 = first(rows)
        .and_then(|value| value.parse().ok())
        .ok_or_else(|| {
            Error::new(
                ErrorKind::Unsupported,
                "the server does not say what its system time zone is",
            )
            .with_fix("set `default_time_zone` to an offset such as `+00:00` on the source")
        })?;
    Ok(offset_text(minutes))
}

fn offset_text(minutes: i64) -> String {
    let sign = if minutes < 0 { '-' } else { '+' };
    let minutes = minutes.unsigned_abs();
    format!("{sign}{:02}:{:02}", minutes / 60, minutes % 60)
}

fn micros_now() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

/// Where the server's binlog ends now. Needs REPLICATION CLIENT (MariaDB: BINLOG MONITOR).
pub async fn binlog_position(session: &mut Session) -> Result<Position> {
    status(session).await.map(|(position, _)| position)
}

/// Where the server's binlog ends now, and the transactions up to that very place; `None` where the
/// server keeps no GTIDs.
///
/// On MySQL the set is `gtid_executed`, which is updated behind the binlog: it may lack transactions
/// that are before the position, and none after it is in it.
pub async fn binlog_end(session: &mut Session) -> Result<(Position, Option<GtidSet>)> {
    let (position, executed) = status(session).await?;
    let flavor = session.version().flavor;
    if flavor == Flavor::MariaDB {
        let set = gtids_at(session, &position).await?;
        return Ok((position, set));
    }
    let Some(text) = executed else {
        return Ok((position, None));
    };
    let set =
        GtidSet::parse(flavor, &text).map_err(|wrong| Error::new(ErrorKind::Unsupported, wrong))?;
    Ok((position, Some(set)))
}

/// MariaDB: the transactions before a place in its binlog; `None` where it has no such place.
pub async fn gtids_at(session: &mut Session, position: &Position) -> Result<Option<GtidSet>> {
    let file = position.file.replace('\\', "\\\\").replace('\'', "''");
    let question = format!("SELECT BINLOG_GTID_POS('{file}', {})", position.offset);
    let Some(text) = first(session.rows(&question).await?) else {
        return Ok(None);
    };
    let set = GtidSet::parse(Flavor::MariaDB, &text);
    set.map(Some)
        .map_err(|wrong| Error::new(ErrorKind::Unsupported, wrong))
}

/// MySQL: the transactions that the server has executed and that none of its binlog files has: purged
/// with older files, or never in its binlog because they came with the copy it was made from.
/// Source: MySQL's manual, `gtid_purged`.
pub async fn gtid_purged(session: &mut Session) -> Result<GtidSet> {
    gtids(session, "gtid_purged").await
}

/// MySQL: all transactions that the server has executed.
pub async fn gtid_executed(session: &mut Session) -> Result<GtidSet> {
    gtids(session, "gtid_executed").await
}

async fn gtids(session: &mut Session, variable: &str) -> Result<GtidSet> {
    let rows = session.rows(&format!("SELECT @@global.{variable}")).await?;
    GtidSet::parse(Flavor::MySQL, &first(rows).unwrap_or_default())
        .map_err(|wrong| Error::new(ErrorKind::Unsupported, wrong))
}

/// The databases that the server alone logs (`binlog_do_db`; none: all), and those that it does not log
/// (`binlog_ignore_db`). Needs REPLICATION CLIENT (MariaDB: BINLOG MONITOR).
pub async fn binlog_filters(session: &mut Session) -> Result<(Vec<String>, Vec<String>)> {
    let row = status_rows(session).await?.into_iter().next();
    // File, Position, Binlog_Do_DB, Binlog_Ignore_DB.
    let mut lists = row.into_iter().flatten().skip(2).map(|list| {
        let names = list.map(text).unwrap_or_default();
        names
            .split(',')
            .filter(|name| !name.is_empty())
            .map(str::to_owned)
            .collect()
    });
    let only = lists.next().unwrap_or_default();
    Ok((only, lists.next().unwrap_or_default()))
}

async fn status_rows(session: &mut Session) -> Result<Vec<Vec<Option<Vec<u8>>>>> {
    probe(session, "SHOW BINARY LOG STATUS", "SHOW MASTER STATUS").await
}

async fn status(session: &mut Session) -> Result<(Position, Option<String>)> {
    let rows = status_rows(session).await?;
    let off = || {
        Error::new(ErrorKind::Setting, "the server writes no binlog").with_fix(
            "set `log_bin` and `binlog_format = ROW` in the server's configuration and restart it",
        )
    };
    let mut row = rows.into_iter().next().ok_or_else(off)?.into_iter();
    let file = row.next().flatten().map(text).ok_or_else(off)?;
    let offset = row
        .next()
        .flatten()
        .and_then(|value| text(value).parse().ok())
        .ok_or_else(off)?;
    // File, Position, Binlog_Do_DB, Binlog_Ignore_DB, and on MySQL Executed_Gtid_Set.
    let executed = row.nth(2).flatten().map(text);
    Ok((Position::new(file, offset), executed))
}

/// Runs the statement of newer servers, or where it is not known the one of older servers.
async fn probe(
    session: &mut Session,
    newer: &str,
    older: &str,
) -> Result<Vec<Vec<Option<Vec<u8>>>>> {
    match session.rows(newer).await {
        Err(error) if error.server().is_some_and(|e| e.number == PARSE_ERROR) => {
            session.rows(older).await
        }
        result => result,
    }
}

/// A binlog file at the source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BinlogFile {
    /// The name.
    pub name: String,
    /// The size; that of the newest one still grows.
    pub size_bytes: u64,
}

/// The source's binlog files, oldest first. Needs REPLICATION CLIENT (MariaDB: BINLOG MONITOR).
pub async fn binary_logs(session: &mut Session) -> Result<Vec<BinlogFile>> {
    let rows = session.rows("SHOW BINARY LOGS").await?;
    Ok(rows
        .into_iter()
        .filter_map(|row| {
            let mut values = row.into_iter();
            Some(BinlogFile {
                name: text(values.next()??),
                size_bytes: text(values.next()??).parse().ok()?,
            })
        })
        .collect())
}

fn first(rows: Vec<Vec<Option<Vec<u8>>>>) -> Option<String> {
    rows.into_iter().next()?.into_iter().next()?.map(text)
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_of_time_zones() {
        assert_eq!(offset_text(0), "+00:00");
        assert_eq!(offset_text(330), "+05:30");
        assert_eq!(offset_text(-210), "-03:30");
    }
}
