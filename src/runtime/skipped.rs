//! The changes that sync left out under `on_drift = "warn"`, one JSON object a line, a file per task.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use crate::model::{Error, EventPlace, Result, Timestamp};
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
    /// The events that were skipped by hand and not applied since.
    open: BTreeSet<Skipped>,
}

impl SkippedFile {
    /// The file of a task; it is made with the first change.
    pub(super) fn new(path: PathBuf) -> Self {
        Self {
            path,
            state: Mutex::default(),
        }
    }

    /// How many events of a source were skipped by hand and not applied since.
    pub(super) fn open_events(&self, source: &str) -> u64 {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let of_source = state.open.iter().filter(|skipped| skipped.source == source);
        let events: BTreeSet<&str> = of_source.map(|skipped| skipped.event.as_str()).collect();
        events.len() as u64
    }

    /// The changes that a decision left out, in their order. May block.
    pub(super) fn of(&self, id: &str) -> Result<Vec<SkippedChange>> {
        // Nothing is written while it is read.
        let _state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let mut found = Vec::new();
        let mut wrong = None;
        each_line(&self.path, |bytes| {
            let is_meant = serde_json::from_slice::<Line>(bytes)
                .is_ok_and(|line| line.reapplied.is_none() && line.decision.as_deref() == Some(id));
            if is_meant {
                match serde_json::from_slice(bytes) {
                    Ok(change) => found.push(change),
                    Err(why) => wrong = Some(why),
                }
            }
        })
        .map_err(|error| Error::file("read the skipped changes in", &self.path, error))?;
        match wrong {
            Some(why) => Err(Error::file(
                "read the skipped changes in",
                &self.path,
                why.into(),
            )),
            None => Ok(found),
        }
    }

    /// Notes that what a decision left out is applied. May block.
    pub(super) fn reapplied(&self, id: &str, at: Timestamp) -> Result<()> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        self.load_into(&mut state)?;
        let failed = |error| Error::file("write the skipped changes to", &self.path, error);
        let line = Line {
            id: format!("reapplied/{id}"),
            at: Some(at),
            reapplied: Some(id.to_owned()),
            ..Line::default()
        };
        let mut bytes = serde_json::to_vec(&line).map_err(|error| failed(error.into()))?;
        bytes.push(b'\n');
        let mut file = open(&self.path).map_err(failed)?;
        file.write_all(&bytes)
            .and_then(|()| file.sync_data())
            .map_err(failed)?;
        state.open.retain(|skipped| skipped.decision != id);
        Ok(())
    }

    /// Reads what was kept before, which may block.
    pub(super) fn load(&self) -> Result<()> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        self.load_into(&mut state)
    }

    fn load_into(&self, state: &mut State) -> Result<()> {
        if state.ids.is_some() {
            return Ok(());
        }
        let failed = |error| Error::file("read the skipped changes in", &self.path, error);
        let mut ids = HashSet::new();
        let mut open = BTreeSet::new();
        read(&self.path, |line| {
            ids.insert(hash(&line.id));
            if let Some(id) = &line.reapplied {
                open.retain(|skipped: &Skipped| skipped.decision != *id);
            }
            open.extend(line.event());
        })
        .map_err(failed)?;
        close_torn(&self.path).map_err(failed)?;
        state.ids = Some(ids);
        state.open = open;
        Ok(())
    }

    /// Adds changes. They are on disk when this returns, which may block.
    pub(super) fn keep(&self, changes: &[SkippedChange]) -> Result<()> {
        // Plain data: a panic while it was held left nothing that the next reading does not see.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let failed = |error| Error::file("write the skipped changes to", &self.path, error);
        self.load_into(&mut state)?;
        if state.file.is_none() {
            state.file = Some(open(&self.path).map_err(failed)?);
        }
        let State {
            file: Some(file),
            ids: Some(ids),
            open,
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
                new.push((id, event_of(change)));
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
        for (id, event) in new {
            ids.insert(id);
            open.extend(event);
        }
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

/// How many changes each decision left out, and whether they were applied since, over the files of all
/// tasks in `folder`. May block.
pub(super) fn counts(folder: &Path) -> Result<BTreeMap<String, (u64, bool)>> {
    let mut counts: BTreeMap<String, (u64, bool)> = BTreeMap::new();
    let failed = |error| Error::file("read the skipped changes in", folder, error);
    let files = match std::fs::read_dir(folder) {
        Ok(files) => files,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(counts),
        Err(error) => return Err(failed(error)),
    };
    for file in files {
        let path = file.map_err(failed)?.path();
        let mut seen = HashSet::new();
        read(&path, |line| {
            if let Some(id) = line.reapplied {
                counts.entry(id).or_default().1 = true;
            } else if let Some(id) = line.decision
                && seen.insert(hash(&line.id))
            {
                counts.entry(id).or_default().0 += 1;
            }
        })
        .map_err(failed)?;
    }
    Ok(counts)
}

/// An event that was skipped by hand.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Skipped {
    source: String,
    event: String,
    decision: String,
}

/// What is needed of a line; or a line that says that something was applied later.
#[derive(Default, serde::Deserialize, serde::Serialize)]
struct Line {
    id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    source: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    decision: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    place: Option<EventPlace>,
    /// The decision whose changes were applied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reapplied: Option<String>,
}

impl Line {
    /// The event that was skipped by hand, if one was.
    fn event(&self) -> Option<Skipped> {
        Some(Skipped {
            source: self.source.clone(),
            event: event_name(self.place.as_ref()?),
            decision: self.decision.clone()?,
        })
    }
}

/// The event that was skipped by hand, if one was.
fn event_of(change: &SkippedChange) -> Option<Skipped> {
    Some(Skipped {
        source: change.source.clone(),
        event: event_name(&change.place),
        decision: change.decision.clone()?,
    })
}

fn event_name(place: &EventPlace) -> String {
    let whole = EventPlace {
        row: None,
        ..place.clone()
    };
    whole.to_string()
}

/// Closes a last line that a crash cut off, so that the next begins a new one. For the writer alone.
fn close_torn(path: &Path) -> std::io::Result<()> {
    use std::io::{Read as _, Seek as _, SeekFrom};
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    let end = file.seek(SeekFrom::End(0))?;
    let mut last = [b'\n'];
    if end > 0 {
        file.seek(SeekFrom::Start(end - 1))?;
        file.read_exact(&mut last)?;
    }
    if last != *b"\n" {
        open(path)?.write_all(b"\n")?;
    }
    Ok(())
}

/// Reads a file; a last line without its end, cut off by a crash or being written, is none.
fn read(path: &Path, mut take: impl FnMut(Line)) -> std::io::Result<()> {
    each_line(path, |bytes| {
        if let Ok(line) = serde_json::from_slice::<Line>(bytes) {
            take(line);
        }
    })
}

fn each_line(path: &Path, mut take: impl FnMut(&[u8])) -> std::io::Result<()> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    let mut reader = BufReader::new(file);
    let mut line = Vec::new();
    while reader.read_until(b'\n', &mut line)? > 0 {
        if line.last() == Some(&b'\n') {
            take(&line);
        }
        line.clear();
    }
    Ok(())
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
    use crate::model::{Place, Position, TableName};

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
            decision: None,
            unread: None,
            raw: None,
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

    #[test]
    fn events_skipped_by_hand_count_until_they_are_applied() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("skipped/t.jsonl");
        let by_hand = |offset, row, decision: &str| {
            let mut change = change(offset);
            change.place.row = Some(row);
            change.id = format!("a/{}", change.place);
            change.decision = Some(decision.into());
            change
        };
        let file = SkippedFile::new(path.clone());
        // One is drift; two rows of an event are one event.
        let kept = [
            change(4),
            by_hand(8, 0, "d1"),
            by_hand(8, 1, "d1"),
            by_hand(12, 0, "d2"),
        ];
        file.keep(&kept).unwrap();
        assert_eq!((file.open_events("a"), file.open_events("b")), (2, 0));
        assert_eq!(file.of("d1").unwrap(), kept[1..3]);
        assert!(file.of(&kept[0].id).unwrap().is_empty());
        file.reapplied("d1", Timestamp::from_seconds(2)).unwrap();
        assert_eq!(file.open_events("a"), 1);
        drop(file);
        let file = SkippedFile::new(path);
        file.load().unwrap();
        assert_eq!(file.open_events("a"), 1);
        assert_eq!(file.of("d1").unwrap().len(), 2);
    }
}
