//! Rows about this machine: the data folder, what is within it, and their disks.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access, stat, statvfs};
use rustix::io::Errno;

use crate::config::{Config, Mode, RelayStart, SourceConfig, dump_folder, relay_folder};
use crate::model::Result;

use super::facts::{SourceFacts, tasks_of_source};
use super::rows::{Rows, Scope};

/// Whether the data folder can be written to, and has room for the dumps.
pub(super) fn folder(rows: &mut Rows, config: &Config, sources: &[Result<SourceFacts>]) {
    let folder = &config.worker.data_dir;
    let why = "relay logs, dumps and the journal are kept there";
    let mut of_worker = rows.of("worker");
    if let Err(trouble) = writable(folder) {
        let mend = trouble.mend("name another folder as `worker.data_dir`");
        of_worker.fail("data-dir", trouble.found, why, mend);
        return;
    }
    let found = if folder.exists() {
        format!("`{}`", folder.display())
    } else {
        format!("`{}`, which will be made", folder.display())
    };
    of_worker.pass("data-dir", found, why);
    parts(rows, config);
    space(&mut rows.of("worker"), config, folder, sources);
}

/// What is in the way of writing into a folder.
struct Trouble {
    found: String,
    /// The statement that mends it, where one does.
    mend: Option<String>,
}

impl Trouble {
    fn mend(&self, or: &str) -> String {
        self.mend.clone().unwrap_or_else(|| or.to_owned())
    }
}

/// Whether files can be made in a folder, or the folder itself where it is not there yet.
fn writable(folder: &Path) -> std::result::Result<(), Trouble> {
    let there = nearest_ancestor(folder);
    let shown = there.display();
    if !there.is_dir() {
        return Err(Trouble {
            found: format!("`{shown}` is not a folder"),
            mend: None,
        });
    }
    let wanted = Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK;
    access(&there, wanted).map_err(|error| {
        let us = rustix::process::getuid().as_raw();
        Trouble {
            found: format!("`{shown}` cannot be written to: {error}"),
            mend: Some(if error == Errno::ROFS {
                format!("mount -o remount,rw \"$(findmnt -n -o TARGET -T '{shown}')\"")
            } else {
                format!("chown {us} '{shown}'")
            }),
        }
    })
}

/// The folders within it, each of which may be a mount or a link of its own.
fn parts(rows: &mut Rows, config: &Config) {
    let data = &config.worker.data_dir;
    let common = ["skipped", "log", "server_id"].map(|name| data.join(name));
    if let Some(trouble) = common.iter().find_map(|folder| writable(folder).err()) {
        rows.of("worker").fail(
            "data-dir",
            trouble.found.clone(),
            "the log, the changes that were skipped and our ids as replicas are kept there",
            trouble.mend("move what is in its place away"),
        );
    }
    for source in config
        .sources
        .iter()
        .filter(|source| source.relay.is_enabled)
    {
        if let Err(trouble) = writable(&relay_folder(data, &source.server.name)) {
            let mend = trouble.mend("move what is in its place away");
            rows.of(&format!("source:{}", source.server.name)).fail(
                "relay-dir",
                trouble.found,
                "the source's binlog is kept there",
                mend,
            );
        }
    }
    for task in config.tasks.iter().filter(|task| task.makes_dump()) {
        for source in &task.sources {
            if let Err(trouble) = writable(&dump_folder(data, &task.name, source)) {
                let mend = trouble.mend("move what is in its place away");
                let mut rows = rows.of(&format!("task:{}", task.name));
                rows.about(Some(source));
                rows.fail(
                    "dump-dir",
                    trouble.found,
                    "a dump is whole on disk before it is loaded",
                    mend,
                );
            }
        }
    }
}

/// What is to be written onto one disk.
#[derive(Default)]
struct Wanted {
    /// A folder on it.
    folder: PathBuf,
    dumps: u64,
    relays: u64,
    /// What is to stay free.
    keep: u64,
}

/// A row for each disk that something is written to.
fn space(rows: &mut Scope<'_>, config: &Config, folder: &Path, sources: &[Result<SourceFacts>]) {
    let mut disks: BTreeMap<u64, Wanted> = BTreeMap::new();
    let mut on = |folder: &Path, add: &dyn Fn(&mut Wanted)| {
        let there = nearest_ancestor(folder);
        // One that cannot be asked is told of below.
        let device = stat(&there).map_or(u64::MAX, |stat| stat.st_dev);
        let disk = disks.entry(device).or_default();
        if disk.folder.as_os_str().is_empty() {
            disk.folder = there;
        }
        add(disk);
    };
    on(folder, &|_| {});
    for (source, facts) in config.sources.iter().zip(sources) {
        let name = &source.server.name;
        if source.relay.is_enabled {
            let bytes = relay_bytes(config, source, facts);
            let keep = source.relay.keep_free_bytes;
            on(&relay_folder(folder, name), &|disk| {
                disk.relays = disk.relays.saturating_add(bytes);
                disk.keep = disk.keep.max(keep);
            });
        }
        let Ok(facts) = facts else { continue };
        for task in tasks_of_source(config, source).filter(|task| task.makes_dump()) {
            let bytes = facts
                .taken(task)
                .fold(0_u64, |sum, table| sum.saturating_add(table.data_bytes));
            on(&dump_folder(folder, &task.name, name), &|disk| {
                disk.dumps = disk.dumps.saturating_add(bytes);
            });
        }
    }
    let is_one = disks.len() == 1;
    for wanted in disks.into_values() {
        disk(rows, &wanted, is_one);
    }
}

fn disk(rows: &mut Scope<'_>, wanted: &Wanted, is_only: bool) {
    let why =
        "a dump is whole on disk before it is loaded, and a relay pauses when the disk is full";
    let shown = wanted.folder.display();
    let free = match statvfs(&wanted.folder) {
        Ok(figures) => figures.f_bavail.saturating_mul(figures.f_frsize),
        Err(error) => {
            rows.warn(
                "disk",
                format!("the free space of `{shown}` cannot be told: {error}"),
                why,
                "look at it with `df`",
            );
            return;
        }
    };
    let place = if is_only {
        String::new()
    } else {
        format!("`{shown}`: ")
    };
    let mut found = format!(
        "{place}{} MiB free; the dumps take about {} MiB, and {} MiB are to stay free",
        free >> 20,
        wanted.dumps.div_ceil(1 << 20),
        wanted.keep >> 20
    );
    if wanted.relays > 0 {
        let _ = write!(
            found,
            "; the binlogs from where the relays begin have {} MiB",
            wanted.relays.div_ceil(1 << 20)
        );
    }
    let needed = wanted.dumps.saturating_add(wanted.keep);
    if free < needed.saturating_add(wanted.relays) {
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

/// What a relay that begins in the past fetches at once, as far as it is known. One that is begun already
/// has its share of the disk.
fn relay_bytes(config: &Config, source: &SourceConfig, facts: &Result<SourceFacts>) -> u64 {
    let folder = relay_folder(&config.worker.data_dir, &source.server.name);
    let binlog = facts
        .as_ref()
        .ok()
        .and_then(|facts| facts.binlog.as_ref().ok());
    let Some(binlog) = binlog.filter(|_| !folder.exists()) else {
        return 0;
    };
    let of_tasks = tasks_of_source(config, source)
        .filter(|task| task.mode == Mode::Incremental)
        .map(|task| &task.start);
    let bytes = of_tasks
        .chain([&source.relay.start])
        .map(|start| match start {
            RelayStart::Auto | RelayStart::Now => 0,
            RelayStart::Position(place) => binlog.bytes_from(Some(place)),
            // Where that is shows when it begins; it is no more than all.
            RelayStart::GtidSet(_) | RelayStart::Time(_) => binlog.bytes_from(None),
        });
    bytes.max().unwrap_or(0)
}

/// The folder itself, or the nearest above it that is there.
fn nearest_ancestor(folder: &Path) -> PathBuf {
    folder
        .ancestors()
        .find(|path| path.exists())
        .unwrap_or(folder)
        .to_owned()
}
