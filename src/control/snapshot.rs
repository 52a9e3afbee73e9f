//! One consistent picture of the whole runtime, for a screen or a script.
//!
//! Its core is the stable JSON of `tideway status --json`: fields may be added, never changed.
//! Durations are in seconds, sizes in bytes, times RFC 3339.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::model::{
    CheckProgress, CheckReport, CheckState, ErrorKind, EventView, Finding, Flavor, Place,
    RelayFigure, RetryFigure, Stage, TableName, TargetRow, Timestamp, TransactionView,
    TransferFigure, Unit,
};

/// The version of the JSON form.
pub const VERSION: u32 = 1;

/// The whole runtime at one moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// The version of this form, [`VERSION`].
    pub version: u32,
    /// Grows with each snapshot that is published.
    pub revision: u64,
    /// When it was taken.
    pub taken_at: Timestamp,
    /// When the process started.
    pub started_at: Timestamp,
    /// Whether commands that change something are refused.
    pub read_only: bool,
    /// The configuration file's path.
    pub config_path: String,
    /// The process's memory.
    pub memory: MemoryFigure,
    /// One for each source.
    pub sources: Vec<SourceSnapshot>,
    /// One for each target.
    pub targets: Vec<TargetSnapshot>,
    /// One for each task and source.
    pub streams: Vec<StreamSnapshot>,
    /// The newest result of the checks, once there is one.
    pub check: Option<Arc<CheckReport>>,
    /// What the checks would find with another setting, while somebody wants to see that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub supposed: Option<Arc<SupposedCheck>>,
    /// How far the checks are, while they run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checking: Option<CheckProgress>,
    /// What needs the operator, oldest first.
    pub problems: Vec<Problem>,
    /// The newest log lines, oldest first; shared, as they rarely change.
    pub log: Arc<Vec<LogLine>>,
    /// Log lines that were dropped because the ring was full before it was read.
    pub log_dropped: u64,
}

/// The checks as they would be with another setting.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SupposedCheck {
    /// The `task.dump.consistency` that is supposed of all tasks.
    pub consistency: String,
    /// What would be found.
    pub report: CheckReport,
}

/// Memory of the process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryFigure {
    /// Resident, in bytes.
    pub resident_bytes: u64,
    /// The queues' bound (`worker.memory`).
    pub limit_bytes: u64,
}

/// A source and its worker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SourceSnapshot {
    /// The name in the configuration.
    pub name: String,
    /// `host:port`, or the socket's path.
    pub address: String,
    /// The account's name.
    pub user: String,
    /// The stage of its worker: that of the relay.
    pub stage: Stage,
    /// The family, once connected.
    pub flavor: Option<Flavor>,
    /// The version's text, once connected.
    pub server_version: Option<String>,
    /// The source's own uuid or server_id, once connected.
    pub server_identity: Option<String>,
    /// The id we use as a replica.
    pub server_id: Option<u32>,
    /// `TLSv1.3`, `none`, …, once connected.
    pub tls: Option<String>,
    /// `@@binlog_format`, once connected.
    pub binlog_format: Option<String>,
    /// `@@binlog_row_image`, once connected.
    pub row_image: Option<String>,
    /// `@@binlog_row_metadata`, once connected.
    pub row_metadata: Option<String>,
    /// `ON`, `OFF`, …; MariaDB: `always`.
    pub gtid_mode: Option<String>,
    /// Its relay; `None` where it is not enabled.
    pub relay: Option<RelayFigure>,
    /// The worker's error, if it has one.
    pub error: Option<StopError>,
    /// When the next try is, while one is waited for.
    pub next_try_at: Option<Timestamp>,
    /// Tries since the last success.
    pub tries: u32,
}

/// A target.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TargetSnapshot {
    /// The name in the configuration.
    pub name: String,
    /// `host:port`, or the socket's path.
    pub address: String,
    /// The account's name.
    pub user: String,
    /// The family, once connected.
    pub flavor: Option<Flavor>,
    /// The version's text, once connected.
    pub server_version: Option<String>,
    /// `TLSv1.3`, `none`, …, once connected.
    pub tls: Option<String>,
}

/// A stream: one task on one source.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StreamSnapshot {
    /// The task's name.
    pub task: String,
    /// The source's name.
    pub source: String,
    /// The target's name.
    pub target: String,
    /// The unit at work, or the one that would be: dump, load or sync.
    pub unit: Unit,
    /// The stage.
    pub stage: Stage,
    /// The low-water mark: everything before it is applied.
    pub position: Option<StreamPosition>,
    /// From commit on the source to commit on the target; `None` while not known.
    pub lag_seconds: Option<f64>,
    /// How fine the lag can be told, in seconds.
    pub lag_resolution: f64,
    /// Whether there is nothing to apply just now.
    pub idle: bool,
    /// Transactions applied beyond the low-water mark.
    pub ahead: u64,
    /// Bytes of relay log not yet read.
    pub behind_bytes: Option<u64>,
    /// Rows applied by sync since the process started.
    pub rows_applied: u64,
    /// Transactions applied by sync since the process started.
    pub transactions_applied: u64,
    /// DDL statements applied by sync since the process started.
    pub ddl_applied: u64,
    /// Events passed over by rule or because no table of the task is concerned.
    pub passed_over: u64,
    /// Rows a second in the last 10 s: loaded, or applied.
    pub rows_per_second: f64,
    /// Transactions a second in the last 10 s.
    pub transactions_per_second: f64,
    /// Lag samples, one a second, oldest first, at most 600; `None` where it was not known.
    pub lag_history: Arc<Vec<Option<f32>>>,
    /// When the checkpoint was last committed.
    pub checkpoint_at: Option<Timestamp>,
    /// The dump, once begun.
    pub dump: Option<TransferFigure>,
    /// The load, once begun.
    pub load: Option<TransferFigure>,
    /// What the dump chose and why, and what was adapted: sentences for the operator.
    pub notes: Vec<String>,
    /// Rows that `on_drift = "warn"` left out since the process started.
    #[serde(default)]
    pub drift_skipped: u64,
    /// Rows that `on_drift = "repair"` made what the source says, since the process started.
    #[serde(default)]
    pub drift_repaired: u64,
    /// Events skipped by hand and not applied since.
    pub skipped_events: u64,
    /// What the operator decided and has not taken effect, oldest first.
    #[serde(default)]
    pub decisions: Vec<DecisionFigure>,
    /// Why it stands, where an event or an error stopped it.
    pub stop: Option<Stop>,
    /// When the next try is, while one is waited for.
    pub next_try_at: Option<Timestamp>,
    /// Tries since the last success.
    pub tries: u32,
    /// What was answered by trying again since the process started.
    #[serde(default)]
    pub retries: RetryFigure,
}

impl StreamSnapshot {
    /// Whether it waits for the operator's answer to what the checks found before its start.
    pub fn asks(&self) -> bool {
        self.stage == Stage::Waiting && self.stop.as_ref().is_some_and(Stop::asks)
    }

    /// The unit at work; `None` while it is not known yet: a dump is only what a stream begins with if
    /// the target has no checkpoint of it.
    pub fn known_unit(&self) -> Option<Unit> {
        let is_supposed = self.unit == Unit::Dump && self.dump.is_none() && self.load.is_none();
        (!is_supposed).then_some(self.unit)
    }
}

/// A decision that waits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DecisionFigure {
    /// Its id.
    pub id: String,
    /// `skip event at bin.000001:4`.
    pub title: String,
    /// When it was made.
    pub made_at: Timestamp,
}

/// A stream's position.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamPosition {
    /// Where, in the relay log.
    #[serde(flatten)]
    pub place: Place,
    /// The transactions applied, as the flavor writes it.
    pub gtid_set: Option<String>,
}

/// Why a stream stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Stop {
    /// Names this stop; a decision must quote it.
    pub stop_id: String,
    /// When it came to it.
    pub at: Timestamp,
    /// The unit that stopped.
    pub unit: Unit,
    /// The event, where one is concerned.
    pub position: Option<StopPosition>,
    /// Its transaction's id.
    pub gtid: Option<String>,
    /// The event, decoded.
    pub event: Option<Box<EventView>>,
    /// The transaction around it.
    #[serde(default)]
    pub transaction: Option<TransactionView>,
    /// The table concerned, as the source names it.
    pub table: Option<TableName>,
    /// The rows that the target has in the place of the one that was met.
    #[serde(default)]
    pub target_rows: Vec<TargetRow>,
    /// Transactions behind this event that are applied already.
    pub later_applied: u64,
    /// What went wrong.
    pub error: StopError,
    /// A guess at the reason, marked as one.
    pub hint: Option<String>,
    /// The statement that failed, if there is one.
    pub statement: Option<String>,
    /// What a repair of the row would run.
    #[serde(default)]
    pub repair: Option<String>,
    /// What can be chosen: the names of `tideway ctl`.
    pub choices: Vec<String>,
    /// What the checks found, where that keeps the stream from beginning.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<Finding>,
}

impl Stop {
    /// Whether it waits for an answer alone: the checks found warnings, and nothing that fails.
    pub fn asks(&self) -> bool {
        let mut findings = self.findings.iter();
        !self.findings.is_empty() && findings.all(|finding| finding.state != CheckState::Fail)
    }

    /// Whether it stands at a statement that may change how later rows are to be read.
    pub fn changes_structure(&self) -> bool {
        let transaction = self.transaction.as_ref();
        transaction.is_some_and(|transaction| transaction.is_statement)
    }
}

/// The event at which a stream stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StopPosition {
    /// The relay sub-folder.
    pub folder: String,
    /// The file.
    pub file: String,
    /// Where the event starts.
    pub offset: u64,
    /// Where the event ends.
    pub end_offset: u64,
    /// Its number within a compressed transaction.
    pub inner: Option<u32>,
    /// The row within it.
    pub row: Option<u32>,
}

/// An error, for a screen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StopError {
    /// The kind.
    pub kind: ErrorKind,
    /// The server's error number, where a server refused something; else 0.
    pub number: u16,
    /// The SQLSTATE, or the empty text.
    pub sqlstate: String,
    /// What failed, in one line.
    pub message: String,
    /// The cause, in one line.
    pub cause: Option<String>,
    /// How to mend it.
    pub fix: Option<String>,
    /// What was refused for want of a privilege.
    #[serde(default)]
    pub refused: Option<Refused>,
}

/// What a server refused for want of a privilege.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// The privileges that the server names: all of them are wanted, or any of them.
    pub privileges: Vec<String>,
    /// Whether one of them does.
    pub any_of: bool,
    /// On what, as a `GRANT` names it; `None` where the server does not say.
    pub object: Option<String>,
    /// What does as well, where that is no privilege.
    pub instead: Option<String>,
    /// What the unit needs it for; `None` until the checks have run.
    pub purpose: Option<String>,
    /// The statements that give what is missing; none until the checks have run.
    pub grants: Vec<String>,
}

impl From<&crate::model::Error> for StopError {
    fn from(error: &crate::model::Error) -> Self {
        Self {
            kind: error.kind(),
            number: error.server().map_or(0, |server| server.number),
            sqlstate: error
                .server()
                .map_or_else(String::new, |server| server.sqlstate.clone()),
            message: error.message().to_owned(),
            cause: error.cause(),
            fix: error.fix().map(str::to_owned),
            refused: None,
        }
    }
}

/// Something that needs the operator.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Problem {
    /// Since when.
    pub since: Timestamp,
    /// Where: `TASK/SOURCE`, `source NAME`, or `check`.
    pub scope: String,
    /// The stream's task, if it concerns one.
    pub task: Option<String>,
    /// The source, if it concerns one.
    pub source: Option<String>,
    /// Whether something stands because of it; else it is a warning.
    pub is_failure: bool,
    /// What, in one line.
    pub text: String,
}

/// A line of the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// Counts from 1, without gaps but for dropped lines.
    pub number: u64,
    /// When.
    pub at: Timestamp,
    /// `ERROR`, `WARN`, `INFO`, `DEBUG` or `TRACE`.
    pub level: String,
    /// The source concerned.
    pub source: Option<String>,
    /// The task concerned.
    pub task: Option<String>,
    /// The unit or module it comes from.
    pub unit: String,
    /// The text.
    pub text: String,
}
