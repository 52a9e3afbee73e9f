//! The changes that sync left out under `on_drift = "warn"`, one JSON object a line, a file per task.

use std::collections::HashSet;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use crate::model::{Error, Result};
use crate::unit::sync::SkippedChange;

/// A task's file, with the ids of the changes in it: one that is tried again is not kept twice.
#[derive(Debug)]
pub(super) struct SkippedFile {
    path: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Open once something was written.
    file: Option<File>,
    /// Hashes of the ids; read with the file's first use.
    ids: Option<HashSet<u64>>,
}

impl SkippedFile {
    /// The file of a task; it is made with the first change.
    pub(super) fn new(path: PathBuf) -> Self {
        Self {
            path,
            state: Mutex::default(),
        }
    }

    /// Adds changes. They are on disk when this returns, which may block.
    pub(super) fn keep(&self, changes: &[SkippedChange]) -> Result<()> {
        // Plain data: a panic while it was held left nothing that the next reading does not see.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let failed = |error| Error::file("write the skipped changes to", &self.path, error);
        if state.ids.is_none() {
            state.ids = Some(read_ids(&self.path).map_err(failed)?);
        }
        if state.file.is_none() {
            state.file = Some(open(&self.path).map_err(failed)?);
        }
        let State {
            file: Some(file),
            ids: Some(ids),
        } = &mut *state
        else {
            return Ok(());
        };
        let mut lines = Vec::new();
        let mut new = Vec::new();
        for change in changes {
            let id = hash(&change.id);
            if !ids.contains(&id) {
                serde_json::to_writer(&mut lines, change).map_err(|e| failed(e.into()))?;
                lines.push(b'\n');
                new.push(id);
            }
        }
        let begin = file.metadata().map_err(failed)?.len();
        let written = file.write_all(&lines).and_then(|()| file.sync_data());
        if let Err(error) = written {
            // Half a line would swallow the next one.
            let cut = file.set_len(begin);
            state.file = None;
            state.ids = None;
            return Err(failed(cut.err().unwrap_or(error)));
        }
        ids.extend(new);
        Ok(())
    }
}

fn open(path: &Path) -> std::io::Result<File> {
    if let Some(folder) = path.parent() {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)?;
    }
    OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(path)
}

/// The ids in a file; a last line that a crash cut off is none, and is closed so that the next begins
/// a new one.
fn read_ids(path: &Path) -> std::io::Result<HashSet<u64>> {
    #[derive(serde::Deserialize)]
    struct Line {
        id: String,
    }
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(HashSet::new()),
        Err(error) => return Err(error),
    };
    let mut ids = HashSet::new();
    let mut reader = BufReader::new(file);
    let mut line = Vec::new();
    while reader.read_until(b'\n', &mut line)? > 0 {
        if line.last() != Some(&b'\n') {
            open(path)?.write_all(b"\n")?;
        } else if let Ok(read) = serde_json::from_slice::<Line>(&line) {
            ids.insert(hash(&read.id));
        }
        line.clear();
    }
    Ok(ids)
}

fn hash(id: &str) -> u64 {
    use std::hash::{DefaultHasher, Hash as _, Hasher as _};
    let mut hasher = DefaultHasher::new();
    id.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{EventPlace, Place, Position, TableName, Timestamp};

    fn change(offset: u64) -> SkippedChange {
        let place = EventPlace {
            place: Place::new("7.1", Position::new("bin.000001", offset)),
            inner: None,
            row: Some(0),
        };
        SkippedChange {
            version: 1,
            id: format!("a/{place}"),
            at: Timestamp::from_seconds(1),
            task: "t".into(),
            source: "a".into(),
            place,
            gtid: None,
            table: TableName::new("d", "t"),
            target: TableName::new("d", "t"),
            met: "missing".into(),
            sql: "DELETE FROM `d`.`t` WHERE `a` = 1".into(),
        }
    }

    #[test]
    fn a_change_is_kept_once_also_over_restarts_and_a_torn_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("skipped/t.jsonl");
        let first = SkippedFile::new(path.clone());
        first.keep(&[change(4), change(8)]).unwrap();
        first.keep(&[change(8)]).unwrap();
        drop(first);
        open(&path).unwrap().write_all(b"{\"id\":\"torn").unwrap();
        let second = SkippedFile::new(path.clone());
        second.keep(&[change(4), change(12)]).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let read: Vec<SkippedChange> = text
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect();
        assert_eq!(read, [change(4), change(8), change(12)], "{text}");
    }
}
