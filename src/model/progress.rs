//! Figures of work under way: relay, dump and load.

use serde::{Deserialize, Serialize};

use super::{TableName, Timestamp};

/// A relay.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RelayFigure {
    /// The sub-folder being written.
    pub folder: String,
    /// The file being written.
    pub file: String,
    /// The end of the last whole event in it.
    pub offset: u64,
    /// All transactions relayed, as the flavor writes it.
    pub gtid_set: Option<String>,
    /// What the source has and the relay has not; `None` while not known.
    pub behind_bytes: Option<u64>,
    /// The source's newest position, as last asked.
    pub source_file: Option<String>,
    /// The offset in `source_file`.
    pub source_offset: Option<u64>,
    /// When the source was last heard of (an event or a heartbeat).
    pub heard_at: Option<Timestamp>,
    /// Whether the connection stands.
    pub connected: bool,
    /// Bytes a second, over the last 10 s.
    pub bytes_per_second: f64,
    /// Bytes received since the start.
    pub bytes_total: u64,
    /// Events received since the start.
    pub events_total: u64,
    /// How many files there are locally.
    pub file_count: u64,
    /// Their size together.
    pub disk_bytes: u64,
    /// Free space on their file system.
    pub disk_free_bytes: u64,
    /// The oldest file still there.
    pub oldest_file: Option<String>,
    /// Who needs the oldest files; `None` where no stream needs any.
    #[serde(default)]
    pub held_by: Option<RelayHold>,
    /// The files, newest last; at most the newest 64.
    pub files: Vec<RelayFileFigure>,
    /// Seconds until the source may purge a file that is not wholly here yet, by its own setting;
    /// `None` while nothing is at risk or the source keeps its binlog for good.
    #[serde(default)]
    pub source_purges_in_seconds: Option<u64>,
    /// What the operator should know though nothing has failed.
    #[serde(default)]
    pub warnings: Vec<String>,
    /// The relay's error in one line, if it has one.
    pub error: Option<String>,
}

/// A stream that is furthest back in a relay log, so that no file behind it may go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RelayHold {
    /// Its task.
    pub task: String,
    /// From which file on it needs them; `None` where it has not said, and all stay.
    pub file: Option<String>,
}

/// A relay file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RelayFileFigure {
    /// The sub-folder.
    pub folder: String,
    /// The name.
    pub name: String,
    /// The size.
    pub size_bytes: u64,
}

/// How far a dump or a load is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TransferFigure {
    /// Rows done.
    pub rows_done: u64,
    /// Rows in all, estimated.
    pub rows_estimated: u64,
    /// Bytes done.
    pub bytes_done: u64,
    /// Bytes in all, estimated.
    pub bytes_estimated: u64,
    /// Tables done.
    pub tables_done: u64,
    /// Tables in all.
    pub tables_total: u64,
    /// Rows a second in the last 10 s.
    pub rows_per_second: f64,
    /// Bytes a second in the last 10 s.
    pub bytes_per_second: f64,
    /// Rows a second since this process began with it.
    #[serde(default)]
    pub rows_per_second_overall: f64,
    /// Bytes a second since this process began with it.
    #[serde(default)]
    pub bytes_per_second_overall: f64,
    /// Chunks, or files, done.
    #[serde(default)]
    pub chunks_done: u64,
    /// Chunks in all, as far as they are known.
    #[serde(default)]
    pub chunks_total: u64,
    /// Chunks at work now: as many threads are busy.
    #[serde(default)]
    pub threads_busy: u64,
    /// What holds it back now, if anything does: a limit, or a busy source.
    #[serde(default)]
    pub throttled: Option<String>,
    /// When it began.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// The time that is left, smoothed.
    pub eta_seconds: Option<f64>,
    /// What it does: `waiting`, then as for a table.
    #[serde(default)]
    pub phase: String,
    /// Those at work now and the biggest unfinished, at most 64; all of them by
    /// a query.
    pub tables: Vec<TableLoad>,
}

/// What was answered by trying again, since the process started.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetryFigure {
    /// How often.
    pub count: u64,
    /// When it was last.
    pub last_at: Option<Timestamp>,
    /// The error it was then, in one line.
    pub last_error: Option<String>,
}

impl RetryFigure {
    /// Counts a try that followed an error.
    pub fn add(&mut self, error: &super::Error, at: Timestamp) {
        self.count += 1;
        self.last_at = Some(at);
        self.last_error = Some(match error.cause() {
            Some(cause) => format!("{}: {cause}", error.message()),
            None => error.message().to_owned(),
        });
    }

    /// Both together; the later error is the last.
    #[must_use]
    pub fn with(self, other: Self) -> Self {
        let count = self.count + other.count;
        let last = if other.last_at > self.last_at {
            other
        } else {
            self
        };
        Self { count, ..last }
    }
}

/// How far one table's dump or load is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TableLoad {
    /// The table, as the source names it.
    pub table: TableName,
    /// Rows done.
    pub rows_done: u64,
    /// Rows in all, estimated.
    pub rows_estimated: u64,
    /// Bytes done.
    pub bytes_done: u64,
    /// Bytes in all, estimated.
    pub bytes_estimated: u64,
    /// Chunks done.
    pub chunks_done: u64,
    /// Chunks in all.
    pub chunks_total: u64,
    /// `waiting`, `dumping`, `dumped`, `loading` or `loaded`.
    pub phase: String,
}
