//! `[worker]`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::route::is_system_schema;

use super::reader::Section;

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

/// Where a source's relay log is in a data folder.
pub fn relay_folder(data_dir: &Path, source: &str) -> PathBuf {
    data_dir.join("relay").join(source)
}

/// Where a stream's dump is in a data folder.
pub fn dump_folder(data_dir: &Path, task: &str, source: &str) -> PathBuf {
    data_dir.join("dump").join(task).join(source)
}

impl WorkerConfig {
    /// The defaults, for a configuration file in `folder`.
    pub fn defaults(folder: &Path) -> Self {
        Self {
            data_dir: folder.join("tideway-data"),
            stop_on_hangup: false,
            meta_schema: "tideway".to_owned(),
            memory_bytes: 256 << 20,
            retry_limit: Duration::from_hours(1),
            log_level: "info".to_owned(),
            log_json: false,
        }
    }

    /// Reads `[worker]` where it is there.
    pub(super) fn read(section: Option<&Section<'_>>, folder: &Path) -> Self {
        let mut config = Self::defaults(folder);
        let Some(section) = section else {
            return config;
        };
        if let Some(path) = section.path("data_dir", folder) {
            if path.value.exists() && !path.value.is_dir() {
                section.fault_of(
                    &path,
                    format!("`{}` is not a folder", path.value.display()),
                    Some("name a folder; it is made where it does not exist".to_owned()),
                );
            }
            config.data_dir = path.value;
        }
        config.stop_on_hangup = section.word(
            "on_hangup",
            &[("keep-running", false), ("stop", true)],
            config.stop_on_hangup,
        );
        if let Some(name) = section.text("meta_schema") {
            if let Some(message) = schema_fault(&name.value) {
                section.fault_of(&name, message, None);
            } else {
                config.meta_schema = name.value;
            }
        }
        config.memory_bytes = section.size("memory", 16 << 20..=1 << 40, config.memory_bytes);
        config.retry_limit = section.duration(
            "retry_limit",
            Duration::ZERO..=Duration::from_hours(8784),
            config.retry_limit,
        );
        if section
            .text("metrics")
            .is_some_and(|text| !text.value.is_empty())
        {
            section.not_yet("metrics", "figures for Prometheus");
        }
        if let Some(log) = section.section("log") {
            let level = log.word(
                "level",
                &[
                    ("error", "error"),
                    ("warn", "warn"),
                    ("info", "info"),
                    ("debug", "debug"),
                    ("trace", "trace"),
                ],
                "info",
            );
            level.clone_into(&mut config.log_level);
            config.log_json = log.word("format", &[("text", false), ("json", true)], false);
        }
        config
    }
}

/// What is wrong with the name of a schema of our own.
fn schema_fault(name: &str) -> Option<String> {
    if name.trim().is_empty() || name.trim() != name {
        Some("a schema's name is neither empty nor begins or ends with a space".to_owned())
    } else if name.chars().count() > 64 {
        Some(format!("`{name}` is longer than 64 characters"))
    } else if name
        .chars()
        .any(|c| c.is_control() || matches!(c, '/' | '\\' | '`'))
    {
        Some(format!(
            "{name:?} has a character that a schema's name cannot have"
        ))
    } else if is_system_schema(name) {
        Some(format!("`{name}` is a schema of the server's own"))
    } else {
        None
    }
}
