//! `[[task]]`.

use crate::route::{EventFilter, Routes, Selection};

use super::RelayStart;

/// What is moved from one or more sources into one target.
#[derive(Clone, Debug)]
pub struct TaskConfig {
    /// The name.
    pub name: String,
    /// The sources' names.
    pub sources: Vec<String>,
    /// The target's name.
    pub target: String,
    /// Which parts of the work.
    pub mode: Mode,
    /// Which tables.
    pub selection: Selection,
    /// What they are called on the target.
    pub routes: Routes,
    /// Which of their events are left out.
    pub filters: Vec<EventFilter>,
    /// Where `incremental` begins without a checkpoint.
    pub start: RelayStart,
    /// Whether its streams start by themselves.
    pub is_autostart: bool,
    /// `[task.dump]`.
    pub dump: DumpConfig,
    /// `[task.load]`.
    pub load: LoadConfig,
    /// `[task.sync]`.
    pub sync: SyncConfig,
}

/// Which parts of the work a task does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Full copy, then replication.
    All,
    /// Full copy alone.
    Full,
    /// Replication alone.
    Incremental,
}

/// `[task.dump]`.
#[derive(Clone, Debug)]
pub struct DumpConfig {
    /// Connections that read.
    pub threads: usize,
    /// The size of a dump file that is aimed at, in bytes.
    pub chunk_bytes: u64,
    /// How consistency is had.
    pub consistency: Consistency,
}

/// How a dump is made consistent (design.md, section 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Consistency {
    /// The first that the grants allow.
    Auto,
    /// A short global read lock.
    Flush,
    /// What the flavor gives without RELOAD.
    Snapshot,
    /// No lock; sync mends the span.
    Fuzzy,
}

/// `[task.load]`.
#[derive(Clone, Debug)]
pub struct LoadConfig {
    /// Connections that write.
    pub threads: usize,
    /// What to do with a row whose key is there already.
    pub on_duplicate: OnDuplicate,
}

/// What a load does with a row whose key is there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnDuplicate {
    /// Stop.
    Error,
    /// The dump's row replaces it.
    Replace,
    /// It stays.
    Ignore,
}

/// `[task.sync]`.
#[derive(Clone, Debug)]
pub struct SyncConfig {
    /// Apply workers.
    pub workers: usize,
    /// Whether commits keep the source's order even with several workers.
    pub is_strict_order: bool,
    /// What happens when the target is not what the binlog says was there.
    pub on_drift: DriftPolicy,
    /// Whether an UPDATE or DELETE must find the whole before image, not just the key.
    pub is_before_image_verified: bool,
    /// Rows in one target transaction, at most.
    pub batch_rows: usize,
    /// Bytes of statements in one target transaction, at most.
    pub batch_bytes: u64,
}

/// What happens at drift.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DriftPolicy {
    /// The stream stops and shows it.
    Pause,
    /// It is counted and kept as skipped SQL.
    Warn,
    /// The row is made what the source says.
    Repair,
}
