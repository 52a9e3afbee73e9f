//! Rows about this machine: the data folder and its disk.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access, statvfs};

use crate::config::{Config, Mode, RelayStart};
use crate::model::Result;

use super::facts::{SourceFacts, tasks_of_source};
use super::rows::Scope;

/// Whether the data folder can be written to, and has room for the dumps.
pub(super) fn folder(rows: &mut Scope<'_>, config: &Config, sources: &[Result<SourceFacts>]) {
    let folder = &config.worker.data_dir;
    let why = "relay logs, dumps and the journal are kept there";
    let there = nearest_ancestor(folder);
    let wanted = Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK;
    if !there.is_dir() {
        rows.fail(
            "data-dir",
            format!("`{}` is not a folder", there.display()),
            why,
            "name another folder as `worker.data_dir`",
        );
        return;
    }
    if let Err(error) = access(&there, wanted) {
        rows.fail(
            "data-dir",
            format!("`{}` cannot be written to: {error}", there.display()),
            why,
            format!(
                "chown {} '{}'",
                rustix::process::getuid().as_raw(),
                there.display()
            ),
        );
        return;
    }
    let found = if there == *folder {
        format!("`{}`", folder.display())
    } else {
        format!("`{}`, which will be made", folder.display())
    };
    rows.pass("data-dir", found, why);
    space(rows, config, &there, sources);
}

fn space(rows: &mut Scope<'_>, config: &Config, folder: &Path, sources: &[Result<SourceFacts>]) {
    let why =
        "a dump is whole on disk before it is loaded, and a relay pauses when the disk is full";
    let free = match statvfs(folder) {
        Ok(figures) => figures.f_bavail.saturating_mul(figures.f_frsize),
        Err(error) => {
            rows.warn(
                "disk",
                format!(
                    "the free space of `{}` cannot be told: {error}",
                    folder.display()
                ),
                why,
                "look at it with `df`",
            );
            return;
        }
    };
    let keep = config
        .sources
        .iter()
        .filter(|source| source.relay.is_enabled)
        .map(|source| source.relay.keep_free_bytes)
        .max()
        .unwrap_or(0);
    let dumps = dump_bytes(config, sources);
    let relays = relay_bytes(config, sources);
    let mut found = format!(
        "{} MiB free; the dumps take about {} MiB, and {} MiB are to stay free",
        free >> 20,
        dumps.div_ceil(1 << 20),
        keep >> 20
    );
    if relays > 0 {
        let _ = write!(
            found,
            "; the binlogs from where the relays begin have {} MiB",
            relays.div_ceil(1 << 20)
        );
    }
    if free < dumps.saturating_add(keep).saturating_add(relays) {
        rows.warn(
            "disk",
            found,
            why,
            "name a folder on a bigger disk as `worker.data_dir`, or lower `source.relay.keep_free`",
        );
    } else {
        rows.pass("disk", found, why);
    }
}

/// What the tables to be dumped take on the servers, by their own estimate.
fn dump_bytes(config: &Config, sources: &[Result<SourceFacts>]) -> u64 {
    let mut bytes = 0_u64;
    for task in config
        .tasks
        .iter()
        .filter(|task| task.mode != Mode::Incremental)
    {
        for (source, facts) in config.sources.iter().zip(sources) {
            if let Ok(facts) = facts
                && task.sources.contains(&source.server.name)
            {
                bytes = facts
                    .taken(task)
                    .fold(bytes, |sum, table| sum.saturating_add(table.data_bytes));
            }
        }
    }
    bytes
}

/// What relays that begin in the past fetch at once, as far as it is known. Those that are begun already
/// have their share of the disk.
fn relay_bytes(config: &Config, sources: &[Result<SourceFacts>]) -> u64 {
    let all = config.sources.iter().zip(sources);
    all.filter(|(source, _)| source.relay.is_enabled)
        .filter(|(source, _)| {
            let folder = config.worker.data_dir.join("relay");
            !folder.join(&source.server.name).exists()
        })
        .filter_map(|(source, facts)| {
            let binlog = facts.as_ref().ok()?.binlog.as_ref().ok()?;
            let of_tasks = tasks_of_source(config, source)
                .filter(|task| task.mode == Mode::Incremental)
                .map(|task| &task.start);
            of_tasks
                .chain([&source.relay.start])
                .map(|start| match start {
                    RelayStart::Auto | RelayStart::Now => 0,
                    RelayStart::Position(place) => binlog.bytes_from(Some(place)),
                    // Where that is shows when it begins; it is no more than all.
                    RelayStart::GtidSet(_) | RelayStart::Time(_) => binlog.bytes_from(None),
                })
                .max()
        })
        .fold(0, u64::saturating_add)
}

/// The folder itself, or the nearest above it that is there.
fn nearest_ancestor(folder: &Path) -> PathBuf {
    folder
        .ancestors()
        .find(|path| path.exists())
        .unwrap_or(folder)
        .to_owned()
}
