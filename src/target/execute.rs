//! One target transaction as one packet, and what became of it.

use crate::config::ServerConfig;
use crate::connect::{Done, PacketError, Session, Setup};
use crate::model::{Error, ErrorKind, Flavor, Result};

/// A guard's error: `DOUBLE value is out of range in 'exp(…)'`.
const GUARD_FAILED: u16 = 1690;

/// The `sql_mode` of a session that applies: what does not fit is refused, what the source could hold is
/// not.
pub const STRICT: &str = "SET SESSION sql_mode = 'STRICT_ALL_TABLES,NO_AUTO_VALUE_ON_ZERO,\
    ALLOW_INVALID_DATES,NO_ENGINE_SUBSTITUTION'";

/// The one relaxation, for a statement that writes an ENUM's index 0, the invalid value: the servers
/// take it with a warning only, which is counted.
pub const LOOSE: &str = "SET SESSION sql_mode = 'NO_AUTO_VALUE_ON_ZERO,ALLOW_INVALID_DATES,\
    NO_ENGINE_SUBSTITUTION'";

/// What every session that writes to a target says about itself right after the login.
///
/// Rows are found counted as found even when nothing in them changes, so that a guard tells a missing
/// row from an equal one. `READ COMMITTED` saves gap locks.
pub fn apply_setup() -> Setup {
    Setup {
        statements: vec![
            STRICT.to_owned(),
            "SET NAMES utf8mb4".to_owned(),
            "SET SESSION time_zone = '+00:00'".to_owned(),
            "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED".to_owned(),
            "SET SESSION autocommit = 1".to_owned(),
            "SET SESSION foreign_key_checks = 1, unique_checks = 1".to_owned(),
        ],
        found_rows: true,
        ..Setup::default()
    }
}

/// What TiDB is told besides: locks are taken by each statement, which finds duplicates at once; what
/// fails is not run again behind our back; a statement is not cut into transactions of its own.
const TIDB_SETUP: [&str; 7] = [
    "tidb_txn_mode = 'pessimistic'",
    "tidb_disable_txn_auto_retry = ON",
    "tidb_constraint_check_in_place = ON",
    "tidb_constraint_check_in_place_pessimistic = ON",
    "tidb_batch_insert = OFF, tidb_batch_delete = OFF",
    "tidb_batch_commit = OFF",
    "tidb_dml_type = 'standard'",
];

/// `ER_UNKNOWN_SYSTEM_VARIABLE`.
const UNKNOWN_VARIABLE: u16 = 1193;

/// Opens a session that writes: [`apply_setup`], and `REPEATABLE READ` where the target logs
/// statements, because such a target refuses changes under `READ COMMITTED`.
pub async fn open(server: &ServerConfig) -> Result<Session> {
    let mut session = Session::open(server, &apply_setup()).await?;
    if session.version().flavor == Flavor::TiDB {
        for setting in TIDB_SETUP {
            let set = format!("SET SESSION {setting}");
            match session.execute(set.as_bytes()).await {
                Ok(_) => {}
                // A version that does not have the choice.
                Err(error) if error.server().is_some_and(|e| e.number == UNKNOWN_VARIABLE) => {
                    tracing::debug!(setting, "the target does not know the setting");
                }
                Err(error) => return Err(error),
            }
        }
    }
    let rows = session
        .rows("SELECT @@global.log_bin, @@session.binlog_format")
        .await?;
    let cell = |index: usize| {
        rows.first()
            .and_then(|row| row.get(index))
            .and_then(Option::as_deref)
            .unwrap_or_default()
    };
    if cell(0) != b"0" && cell(1).eq_ignore_ascii_case(b"STATEMENT") {
        session
            .execute(b"SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            .await?;
    }
    Ok(session)
}

/// What tells a target server from another one behind the same address; `None` for TiDB, of which each
/// connection may reach another node of the same database.
pub async fn identity(session: &mut Session) -> Result<Option<String>> {
    let sql = match session.version().flavor {
        Flavor::MySQL => "SELECT @@server_uuid",
        Flavor::MariaDB => "SELECT CONCAT(@@server_id, ' on ', @@hostname, ':', @@port)",
        Flavor::TiDB => return Ok(None),
    };
    let rows = session.rows(sql).await?;
    let cell = rows.first().and_then(|row| row.first()?.as_deref());
    Ok(cell.map(|cell| String::from_utf8_lossy(cell).into_owned()))
}

/// What a statement of a packet is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// `BEGIN`, `SET`, `COMMIT`.
    Frame,
    /// The checkpoint's row is locked and written, if it still has our epoch.
    Fence,
    /// The change of that number, counted by whoever built the packet.
    Change(usize),
    /// The guard behind the change of that number.
    Guard(usize),
}

impl Part {
    /// The number of the change that it is, or guards.
    pub fn number(self) -> Option<usize> {
        match self {
            Self::Change(number) | Self::Guard(number) => Some(number),
            Self::Frame | Self::Fence => None,
        }
    }
}

/// Statements that are sent at once.
#[derive(Clone, Debug, Default)]
pub struct Packet {
    bytes: Vec<u8>,
    parts: Vec<Part>,
}

impl Packet {
    /// A packet with nothing in it.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a statement, without its `;`.
    pub fn push(&mut self, part: Part, statement: impl AsRef<[u8]>) {
        if !self.parts.is_empty() {
            self.bytes.push(b';');
        }
        self.bytes.extend_from_slice(statement.as_ref());
        self.parts.push(part);
    }

    /// Adds a guard: the packet stops here unless the statement before it concerned exactly `rows`
    /// rows and raised no warning.
    pub fn push_guard(&mut self, part: Part, rows: u64) {
        self.push(part, guard(rows));
    }

    /// The same for a statement that is to raise exactly so many warnings.
    pub fn push_guard_with_warnings(&mut self, part: Part, rows: u64, warnings: usize) {
        self.push(
            part,
            guard_unless(&format!(
                "ROW_COUNT() = {rows} AND @@warning_count = {warnings}"
            )),
        );
    }

    /// Adds a guard that lets any count pass, but no warning.
    pub fn push_guard_of_warnings(&mut self, part: Part) {
        self.push(part, guard_unless("@@warning_count = 0"));
    }

    /// Its size.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether there is no statement in it.
    pub fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// What it is sent as.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// The statement that fails unless the one before it concerned exactly `rows` rows, without a warning.
pub fn guard(rows: u64) -> String {
    guard_unless(&format!("ROW_COUNT() = {rows} AND @@warning_count = 0"))
}

/// The statement that fails unless `condition` holds.
///
/// What fails must be computed only if it is asked for, on every kind of target. A subquery of two
/// rows is not: TiDB computes subqueries that depend on nothing while it plans, whichever way the IF
/// goes. EXP overflows only when it is called, and ROW_COUNT() keeps it from being called beforehand.
pub fn guard_unless(condition: &str) -> String {
    format!("SELECT IF({condition}, 1, EXP(1000 + ROW_COUNT()))")
}

/// What became of a packet.
#[derive(Debug)]
pub enum Outcome {
    /// It is in.
    Committed,
    /// Nothing of it is in: the server refused this part of it.
    Refused {
        /// Which.
        part: Part,
        /// The server's answer.
        error: Error,
    },
    /// The answer is missing: only the checkpoint can say whether it is in.
    Unknown {
        /// How the connection was lost.
        error: Error,
    },
}

impl Outcome {
    /// Whether a guard stopped the packet, and which.
    pub fn failed_guard(&self) -> Option<Part> {
        match self {
            Self::Refused { part, error } if is_guard_failure(error) => Some(*part),
            _ => None,
        }
    }
}

/// Whether the error is a guard's.
pub fn is_guard_failure(error: &Error) -> bool {
    error
        .server()
        .is_some_and(|server| server.number == GUARD_FAILED && server.message.contains("exp("))
}

/// Sends a packet and says what became of it. After a refusal the transaction is rolled back by name;
/// a session that cannot even do that is broken, and the server has undone the rest itself.
pub async fn run(session: &mut Session, packet: &Packet) -> Outcome {
    match session.packet(packet.bytes()).await {
        Ok(_) => Outcome::Committed,
        Err(PacketError { index, error, .. }) => {
            if session.is_broken() || !is_answered(&error, packet, index) {
                return Outcome::Unknown { error };
            }
            let part = packet.parts.get(index).copied().unwrap_or(Part::Frame);
            // The server answered with an error, so it runs nothing more of the packet; a connection
            // that cannot even roll back is gone, and takes the open transaction with it.
            if let Err(lost) = session.execute(b"ROLLBACK").await {
                tracing::debug!(%lost, "the connection was lost after a refusal");
            }
            Outcome::Refused { part, error }
        }
    }
}

/// How far a packet came that is a part of a transaction: what has run of it stays.
#[derive(Debug)]
pub enum Step {
    /// All of it ran.
    Ran,
    /// The server stopped at this part of it; what is before it ran, nothing behind it did.
    Stopped {
        /// Which.
        part: Part,
        /// The server's answer.
        error: Error,
        /// What the statement before did: of a guard, the change that it is for.
        before: Done,
    },
    /// The answer is missing.
    Unknown {
        /// How the connection was lost.
        error: Error,
    },
}

/// Sends a packet within a transaction, and leaves the transaction open whatever becomes of it.
pub async fn step(session: &mut Session, packet: &Packet) -> Step {
    let Err(failed) = session.packet(packet.bytes()).await else {
        return Step::Ran;
    };
    if session.is_broken() || !is_answered(&failed.error, packet, failed.index) {
        return Step::Unknown {
            error: failed.error,
        };
    }
    Step::Stopped {
        part: packet
            .parts
            .get(failed.index)
            .copied()
            .unwrap_or(Part::Frame),
        before: failed.before,
        error: failed.error,
    }
}

/// Whether the server's error says for sure that the statement had no effect. An error of the COMMIT
/// does not, whatever it is: the checkpoint tells.
fn is_answered(error: &Error, packet: &Packet, index: usize) -> bool {
    let is_last = index + 1 >= packet.parts.len();
    let is_commit = is_last && matches!(packet.parts.get(index), Some(Part::Frame) | None);
    error.server().is_some() && !is_commit
}

/// The error of a fence that a foreign epoch holds.
pub fn fenced(what: &str) -> Error {
    Error::new(
        ErrorKind::Fenced,
        format!("another process has taken over {what}"),
    )
    .with_fix("stop one of the two; then resume this one, which takes the stream back")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_is_joined_by_semicolons() {
        let mut packet = Packet::new();
        packet.push(Part::Frame, "BEGIN");
        packet.push(Part::Change(0), b"DELETE FROM `a`.`b`");
        packet.push_guard(Part::Guard(0), 2);
        packet.push(Part::Frame, "COMMIT");
        assert_eq!(
            String::from_utf8_lossy(packet.bytes()),
            "BEGIN;DELETE FROM `a`.`b`;SELECT IF(ROW_COUNT() = 2 AND @@warning_count = 0, 1, \
             EXP(1000 + ROW_COUNT()));COMMIT"
        );
        assert_eq!(packet.parts.len(), 4);
    }
}
