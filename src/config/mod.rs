//! The configuration: read from TOML, checked as a whole, and given on as plain structs.
//!
//! The structs here are what the program runs by: defaults filled in, references resolved, nothing left
//! to check. `reader` walks the document, so that every problem is reported at once, with file, line,
//! column and the nearest known name; a value that only a later version knows is refused as such.
//! [`DEFAULT_TOML`] has every key with its default and its meaning.

mod keys;
mod load;
mod quantity;
mod reader;

pub mod accept;
pub mod console;
pub mod error;
pub mod server;
pub mod task;
pub mod worker;

use std::path::PathBuf;

pub use accept::{ACCEPTABLE, Acceptance};
pub use console::ConsoleConfig;
pub use error::{ConfigErrors, Problem};
pub(crate) use server::read_password_file;
pub use server::{
    Address, RelayConfig, RelayStart, ServerConfig, SourceConfig, TargetConfig, TlsConfig, TlsMode,
};
pub use task::{
    BackOff, Consistency, DriftPolicy, DumpConfig, LoadConfig, Mode, OnDuplicate, Programs,
    SyncConfig, TaskConfig,
};
pub use worker::{WorkerConfig, dump_folder, relay_folder};

/// Where the configuration is read from when the command line does not say.
pub const DEFAULT_PATH: &str = "tideway.toml";

/// Every key, with its default and its meaning; a whole, valid configuration.
pub const DEFAULT_TOML: &str = include_str!("default.toml");

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

    /// The same with one task alone, and the servers that it is about.
    #[must_use]
    pub fn of_task(&self, task: &TaskConfig) -> Self {
        let mut config = self.clone();
        config.tasks = vec![task.clone()];
        config
            .sources
            .retain(|source| task.sources.contains(&source.server.name));
        config
            .targets
            .retain(|target| target.server.name == task.target);
        config
    }

    /// The target of that name.
    pub fn target(&self, name: &str) -> Option<&TargetConfig> {
        self.targets
            .iter()
            .find(|target| target.server.name == name)
    }
}
