//! The configuration: read from TOML, checked as a whole, and given on as plain structs.
//!
//! `raw` is what the file says; the structs here are what the program runs by: defaults filled in,
//! references resolved, nothing left to check. Every problem is reported at once, with file, line,
//! column and the nearest known name.

pub mod console;
pub mod server;
pub mod task;
pub mod worker;

use std::path::PathBuf;

pub use console::ConsoleConfig;
pub use server::{
    Address, RelayConfig, RelayStart, ServerConfig, SourceConfig, TargetConfig, TlsConfig, TlsMode,
};
pub use task::{
    Consistency, DriftPolicy, DumpConfig, LoadConfig, Mode, OnDuplicate, SyncConfig, TaskConfig,
};
pub use worker::WorkerConfig;

/// A whole configuration, valid.
#[derive(Clone, Debug)]
pub struct Config {
    /// The file it came from.
    pub path: PathBuf,
    /// `[worker]`.
    pub worker: WorkerConfig,
    /// `[console]`.
    pub console: ConsoleConfig,
    /// `[[source]]`, in the file's order, names unique.
    pub sources: Vec<SourceConfig>,
    /// `[[target]]`, in the file's order, names unique.
    pub targets: Vec<TargetConfig>,
    /// `[[task]]`, in the file's order, names unique; sources and target are known ones.
    pub tasks: Vec<TaskConfig>,
}

impl Config {
    /// The source of that name.
    pub fn source(&self, name: &str) -> Option<&SourceConfig> {
        self.sources
            .iter()
            .find(|source| source.server.name == name)
    }

    /// The target of that name.
    pub fn target(&self, name: &str) -> Option<&TargetConfig> {
        self.targets
            .iter()
            .find(|target| target.server.name == name)
    }
}
