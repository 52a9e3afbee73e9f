//! `[worker]`.

use std::path::PathBuf;
use std::time::Duration;

/// What concerns the whole process.
#[derive(Clone, Debug)]
pub struct WorkerConfig {
    /// Relay logs, dumps, journal, log and socket; absolute (relative to the file's folder).
    pub data_dir: PathBuf,
    /// Whether the process ends when its terminal is lost. Until a console can attach again,
    /// `keep-running` means the same as `stop`.
    pub stop_on_hangup: bool,
    /// The schema of our own tables on each target.
    pub meta_schema: String,
    /// Bound of all queues together, in bytes.
    pub memory_bytes: u64,
    /// How long a lost server is tried again before the stream fails.
    pub retry_limit: Duration,
    /// `error`, `warn`, `info`, `debug` or `trace`.
    pub log_level: String,
    /// Whether the log file is written as JSON lines.
    pub log_json: bool,
}
