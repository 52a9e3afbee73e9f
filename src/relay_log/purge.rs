//! Taking old files out of a relay log: always the oldest first, so that what is left has no gap.

use std::fs::{self, OpenOptions};
use std::io::ErrorKind as IoKind;
use std::path::PathBuf;
use std::sync::{MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use super::{FileEntry, FolderEntry, Index, RelayLog};
use crate::model::position::compare_files;
use crate::model::{Error, ErrorKind, GtidSet, Place, RelayFileFigure, Result};

/// Which of the files that nothing needs are to go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PurgeRule {
    /// Those that were last written, and last needed, longer ago than this.
    OlderThan(Duration),
    /// Those before this one: `bin.000007`, or with its sub-folder.
    Before(String),
    /// As many as it takes to have this much free.
    KeepFree(u64),
}

/// What came of a purge.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Purged {
    /// The files that went, oldest first.
    pub files: Vec<RelayFileFigure>,
    /// Whether a further one would have gone, were it not needed.
    pub is_held: bool,
    /// Whether that is because it was needed until a moment ago.
    pub is_recent: bool,
}

/// For so long files stay behind the streams' need of them, whatever room that takes: a target that
/// fails over to a replica which lags takes its streams back a bit.
const RECENT: Duration = Duration::from_mins(5);

/// The oldest of the places that are needed, by their order in the log; `None` where one of them is not
/// in the log at all, so that nothing can be said.
pub fn oldest_needed<'a>(log: &RelayLog, needed: &'a [Place]) -> Option<&'a Place> {
    let index = log.index();
    let mut oldest: Option<(usize, &Place)> = None;
    for place in needed {
        let at = index.at(&place.folder)?;
        if oldest.is_none_or(|(have, before)| {
            at < have || (at == have && place.position < before.position)
        }) {
            oldest = Some((at, place));
        }
    }
    oldest.map(|(_, place)| place)
}

impl Index {
    pub(super) fn folder_mut(&mut self, name: &str) -> Option<&mut FolderEntry> {
        self.folders.iter_mut().find(|f| f.about.name == name)
    }

    fn at(&self, folder: &str) -> Option<usize> {
        self.folders.iter().position(|f| f.about.name == folder)
    }

    /// The oldest file, unless it is the one that is written.
    fn oldest(&self) -> Option<RelayFileFigure> {
        let at = self.folders.iter().position(|f| !f.files.is_empty())?;
        let folder = self.folders.get(at)?;
        if at + 1 == self.folders.len() && folder.files.len() == 1 {
            return None;
        }
        let file = folder.files.first()?;
        Some(RelayFileFigure {
            folder: folder.about.name.clone(),
            name: file.name.clone(),
            size_bytes: file.size,
        })
    }

    /// Whether a file stands before another, given by sub-folder and name.
    fn is_before(&self, file: &RelayFileFigure, (folder, name): &(String, String)) -> bool {
        let (here, there) = (self.at(&file.folder), self.at(folder));
        here < there || (here == there && compare_files(&file.name, name).is_lt())
    }

    /// Whether the oldest file is needed by a reader at one of these places.
    fn is_needed(&self, file: &RelayFileFigure, needed: &[Place]) -> bool {
        let Some(at) = self.at(&file.folder) else {
            return true;
        };
        let is_here = |place: &Place| match self.at(&place.folder) {
            // Where it would be nobody can say.
            None => true,
            Some(folder) => {
                folder < at
                    || (folder == at && compare_files(&place.position.file, &file.name).is_le())
            }
        };
        let folder = self.folders.get(at);
        needed.iter().any(is_here) || folder.is_some_and(|of| of.is_needed_whole(needed))
    }
}

impl FolderEntry {
    /// Whether a reader at one of these places must begin with the sub-folder's first file, to know
    /// what it has from the server before.
    fn is_needed_whole(&self, needed: &[Place]) -> bool {
        // MySQL's sets tell each transaction by itself.
        matches!(self.state.received, Some(GtidSet::MariaDB(_)))
            && needed
                .iter()
                .filter(|place| place.folder == self.about.name)
                .any(|place| {
                    self.state
                        .received_until
                        .as_ref()
                        .is_none_or(|until| place.position < *until)
                })
    }
}

impl RelayLog {
    /// Removes the files that `rule` names and that are before everything in `needed`; where that is
    /// `None`, nobody can say what is needed, and all stay. So does the file that is written.
    ///
    /// Removing a file of gigabytes takes its time: the index is not locked meanwhile, and readers and
    /// the writer go on.
    pub fn purge(
        &self,
        rule: &PurgeRule,
        needed: Option<&[Place]>,
        now: SystemTime,
    ) -> Result<Purged> {
        let _alone = self.purging();
        let limit = match rule {
            PurgeRule::Before(name) => Some(self.find_file(name)?),
            PurgeRule::OlderThan(_) | PurgeRule::KeepFree(_) => None,
        };
        let mut purged = Purged::default();
        loop {
            // Nobody else takes a file out, so what is found stays the oldest.
            let Some(file) = self.index().oldest() else {
                return Ok(purged);
            };
            let is_named = match (rule, &limit) {
                (PurgeRule::OlderThan(age), _) => self.is_older(&file, *age, now)?,
                (PurgeRule::KeepFree(bytes), _) => self.disk()?.free_bytes < *bytes,
                (PurgeRule::Before(_), limit) => {
                    let limit = limit.as_ref();
                    limit.is_some_and(|limit| self.index().is_before(&file, limit))
                }
            };
            if !is_named {
                return Ok(purged);
            }
            if matches!(rule, PurgeRule::KeepFree(_)) && !self.is_older(&file, RECENT, now)? {
                purged.is_held = true;
                purged.is_recent = true;
                return Ok(purged);
            }
            if needed.is_none_or(|needed| self.index().is_needed(&file, needed)) {
                purged.is_held = true;
                return Ok(purged);
            }
            self.remove(&file)?;
            purged.files.push(file);
        }
    }

    /// Notes what is needed now. A file that no longer is begins to age: the moment is kept as that of its
    /// last change, so that it survives a restart.
    pub fn note_needs(&self, needed: &[Place], now: SystemTime) -> Result<()> {
        let _alone = self.purging();
        let left: Vec<PathBuf> = {
            let mut index = self.index();
            let mut left = Vec::new();
            let all: Vec<(usize, usize, bool)> = index
                .folders
                .iter()
                .enumerate()
                .flat_map(|(at, folder)| {
                    let about = &folder.about.name;
                    let index = &index;
                    folder.files.iter().enumerate().map(move |(n, file)| {
                        let figure = RelayFileFigure {
                            folder: about.clone(),
                            name: file.name.clone(),
                            size_bytes: file.size,
                        };
                        (at, n, index.is_needed(&figure, needed))
                    })
                })
                .collect();
            for (at, n, is_needed) in all {
                let Some(folder) = index.folders.get_mut(at) else {
                    continue;
                };
                let path = self.folder.join(&folder.about.name);
                let Some(file) = folder.files.get_mut(n) else {
                    continue;
                };
                if file.was_needed && !is_needed {
                    left.push(path.join(&file.name));
                }
                file.was_needed = is_needed;
            }
            left
        };
        for path in left {
            let noted = OpenOptions::new()
                .write(true)
                .open(&path)
                .and_then(|file| file.set_modified(now));
            match noted {
                Err(e) if e.kind() != IoKind::NotFound => {
                    return Err(Error::file("touch", &path, e));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Removes a file and those before it, whoever needs them.
    pub fn purge_forced(&self, name: &str) -> Result<Purged> {
        let _alone = self.purging();
        let (folder, file) = self.find_file(name)?;
        if self.complete_file(&folder, &file).is_none() {
            return Err(stays(&folder, &file));
        }
        let mut purged = Purged::default();
        loop {
            let last = purged.files.last();
            if last.is_some_and(|last: &RelayFileFigure| last.folder == folder && last.name == file)
            {
                return Ok(purged);
            }
            let oldest = self.index().oldest();
            let Some(oldest) = oldest else {
                return Err(stays(&folder, &file));
            };
            self.remove(&oldest)?;
            purged.files.push(oldest);
        }
    }

    /// Held for as long as files are taken out: one purge at a time.
    fn purging(&self) -> MutexGuard<'_, ()> {
        self.purging.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The sub-folder and the name of a file of the log; with the same name in several sub-folders the
    /// newest is meant, unless the sub-folder is given.
    pub fn find_file(&self, name: &str) -> Result<(String, String)> {
        let files = self.files();
        let found = files.iter().rev().find(|file| match name.split_once('/') {
            Some((folder, name)) => file.folder == folder && file.name == name,
            None => file.name == name,
        });
        found
            .map(|file| (file.folder.clone(), file.name.clone()))
            .ok_or_else(|| {
                let span = match (files.first(), files.last()) {
                    (Some(first), Some(last)) => {
                        format!("; it has `{}` to `{}`", first.name, last.name)
                    }
                    _ => String::new(),
                };
                Error::new(
                    ErrorKind::Refused,
                    format!("the relay log has no file `{name}`{span}"),
                )
                .with_fix("see the files with `tideway relay list`")
            })
    }

    /// Whether a file was last written, or needed, longer than `age` ago.
    fn is_older(&self, file: &RelayFileFigure, age: Duration, now: SystemTime) -> Result<bool> {
        let path = self.folder.join(&file.folder).join(&file.name);
        let written = fs::metadata(&path)
            .and_then(|about| about.modified())
            .map_err(|e| Error::file("look at", &path, e))?;
        // One of the future, by a clock that jumped, is young.
        Ok(now.duration_since(written).is_ok_and(|since| since > age))
    }

    /// Takes the oldest file out, and its sub-folder with the last of its files. Readers are told that
    /// it is gone before it is.
    fn remove(&self, file: &RelayFileFigure) -> Result<()> {
        let folder = self.folder.join(&file.folder);
        let path = folder.join(&file.name);
        if let Some(entry) = self.index().folder_mut(&file.folder) {
            entry.files.retain(|have| have.name != file.name);
            entry.state.sizes.remove(&file.name);
        }
        match fs::remove_file(&path) {
            Err(e) if e.kind() != IoKind::NotFound => {
                if let Some(entry) = self.index().folder_mut(&file.folder) {
                    let name = file.name.clone();
                    entry.state.sizes.insert(name.clone(), file.size_bytes);
                    entry.files.insert(0, FileEntry::new(name, file.size_bytes));
                }
                return Err(Error::file("remove", &path, e));
            }
            _ => {}
        }
        tracing::info!(unit = "relay", file = %path.display(), "relay file purged");
        let is_empty = {
            let mut index = self.index();
            let newest = index.folders.len().saturating_sub(1);
            let at = index.at(&file.folder).filter(|at| *at < newest);
            let at = at.filter(|at| index.folders.get(*at).is_some_and(|of| of.files.is_empty()));
            at.map(|at| index.folders.remove(at)).is_some()
        };
        if is_empty {
            self.note_purged(&file.folder)?;
        }
        // An empty folder that stays is no harm: it is found empty at the next start.
        if is_empty && let Err(e) = fs::remove_dir_all(&folder) {
            tracing::warn!(unit = "relay", folder = %folder.display(), "an empty relay folder stays: {e}");
        }
        Ok(())
    }
}

fn stays(folder: &str, file: &str) -> Error {
    Error::new(
        ErrorKind::Refused,
        format!("`{folder}/{file}` is the file that is being written: it stays"),
    )
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::binlog::MAGIC;
    use crate::model::{Flavor, Position};

    /// Two sub-folders with files of 4 bytes; the last of the second is written.
    fn log(folder: &std::path::Path) -> (Arc<RelayLog>, [String; 2]) {
        let log = RelayLog::open(folder).unwrap();
        let names = ["7", "8"].map(|identity| {
            let name = log.add_folder(identity, Flavor::MariaDB, None).unwrap();
            for number in 1..=3 {
                let file = format!("bin.00000{number}");
                fs::write(folder.join(&name).join(&file), MAGIC).unwrap();
                let mut index = log.index();
                let files = &mut index.folders.last_mut().unwrap().files;
                files.push(FileEntry::new(file, 4));
            }
            name
        });
        (log, names)
    }

    fn names(purged: &Purged) -> Vec<&str> {
        purged.files.iter().map(|file| file.name.as_str()).collect()
    }

    fn later() -> SystemTime {
        SystemTime::now() + Duration::from_hours(2)
    }

    #[test]
    fn what_a_stream_needs_stays() {
        let folder = tempfile::tempdir().unwrap();
        let (log, [first, second]) = log(folder.path());
        let old = PurgeRule::OlderThan(Duration::from_hours(1));
        let needed = [
            Place::new(&second, Position::new("bin.000002", 4)),
            Place::new(&first, Position::new("bin.000002", 900)),
        ];
        assert_eq!(oldest_needed(&log, &needed).unwrap().folder, first);
        let purged = log.purge(&old, Some(&needed), SystemTime::now()).unwrap();
        assert_eq!(purged, Purged::default());
        let purged = log.purge(&old, Some(&needed), later()).unwrap();
        assert_eq!((names(&purged), purged.is_held), (vec!["bin.000001"], true));
        // A place that is nowhere in the log holds everything.
        let unknown = [Place::new("9.1", Position::new("bin.000009", 4))];
        assert_eq!(oldest_needed(&log, &unknown), None);
        let purged = log.purge(&old, Some(&unknown), later()).unwrap();
        assert_eq!((names(&purged), purged.is_held), (vec![], true));
        // So does a stream that has not said what it needs.
        let purged = log.purge(&old, None, later()).unwrap();
        assert_eq!((names(&purged), purged.is_held), (vec![], true));
        let young = PurgeRule::OlderThan(Duration::from_hours(24));
        assert_eq!(log.purge(&young, None, later()).unwrap(), Purged::default());
        // Nobody needs anything: the file that is written stays.
        let purged = log.purge(&old, Some(&[]), later()).unwrap();
        assert_eq!(purged.files.len(), 4);
        assert!(!folder.path().join(&first).exists());
        assert_eq!(log.files().len(), 1);
    }

    #[test]
    fn a_clock_that_jumps_takes_nothing_that_is_needed() {
        let folder = tempfile::tempdir().unwrap();
        let (log, [first, _]) = log(folder.path());
        let old = PurgeRule::OlderThan(Duration::from_hours(1));
        let years = Duration::from_hours(24 * 3650);
        // Set back: every file is of the future, and young.
        let back = SystemTime::now() - years;
        assert_eq!(log.purge(&old, Some(&[]), back).unwrap(), Purged::default());
        // Set forward: every file is old, but what a stream needs stays.
        let needed = [Place::new(&first, Position::new("bin.000003", 4))];
        let purged = log
            .purge(&old, Some(&needed), SystemTime::now() + years)
            .unwrap();
        assert_eq!(names(&purged), ["bin.000001", "bin.000002"]);
        // The next sub-folder's number is behind the last one's, whatever the clock says.
        let far = super::super::files::next_number(Some(u64::MAX / 2));
        assert_eq!(far, u64::MAX / 2 + 1);
    }

    #[test]
    fn a_file_ages_from_when_it_was_last_needed() {
        let folder = tempfile::tempdir().unwrap();
        let (log, [first, second]) = log(folder.path());
        let hours = |n| SystemTime::now() + Duration::from_hours(n);
        let age = PurgeRule::OlderThan(Duration::from_hours(24));
        let at = |folder: &str, file| [Place::new(folder, Position::new(file, 4))];
        // A stream that is two days behind leaves the first file.
        let mut needed = at(&first, "bin.000001");
        log.note_needs(&needed, hours(48)).unwrap();
        needed = at(&first, "bin.000002");
        log.note_needs(&needed, hours(48)).unwrap();
        let purged = log.purge(&age, Some(&needed), hours(49)).unwrap();
        assert_eq!((names(&purged), purged.is_held), (vec![], false));
        // The target failed over to a replica that lags: what it needs is here.
        log.note_needs(&at(&first, "bin.000001"), hours(49))
            .unwrap();
        log.note_needs(&needed, hours(50)).unwrap();
        let purged = log.purge(&age, Some(&needed), hours(73)).unwrap();
        assert_eq!(names(&purged), Vec::<&str>::new());
        let purged = log.purge(&age, Some(&needed), hours(75)).unwrap();
        assert_eq!((names(&purged), purged.is_held), (vec!["bin.000001"], true));
        // For room as well, but not for long.
        let room = PurgeRule::KeepFree(u64::MAX);
        let minutes = |n| hours(76) + Duration::from_mins(n);
        needed = at(&second, "bin.000001");
        log.note_needs(&needed, minutes(0)).unwrap();
        let purged = log.purge(&room, Some(&needed), minutes(1)).unwrap();
        let held = (names(&purged), purged.is_held, purged.is_recent);
        assert_eq!(held, (vec![], true, true));
        let purged = log.purge(&room, Some(&needed), minutes(6)).unwrap();
        let held = (names(&purged), purged.is_held, purged.is_recent);
        assert_eq!(held, (vec!["bin.000002", "bin.000003"], true, false));
        assert!(!folder.path().join(&first).exists());
        // There is room, or what there is is needed.
        let purged = log.purge(&PurgeRule::KeepFree(0), Some(&[]), minutes(9));
        assert_eq!(purged.unwrap(), Purged::default());
        assert_eq!(log.files().len(), 3);
    }

    #[test]
    fn by_name_and_by_force() {
        let folder = tempfile::tempdir().unwrap();
        let (log, [first, second]) = log(folder.path());
        let needed = [Place::new(&first, Position::new("bin.000003", 4))];
        let before = PurgeRule::Before(format!("{first}/bin.000002"));
        assert_eq!(
            names(&log.purge(&before, Some(&needed), later()).unwrap()),
            ["bin.000001"]
        );
        let before = PurgeRule::Before("bin.000002".into());
        let purged = log.purge(&before, Some(&needed), later()).unwrap();
        assert_eq!((names(&purged), purged.is_held), (vec!["bin.000002"], true));
        assert!(
            log.purge(&PurgeRule::Before("bin.9".into()), Some(&[]), later())
                .is_err()
        );
        assert_eq!(
            names(&log.purge_forced("bin.000001").unwrap()),
            ["bin.000003", "bin.000001"]
        );
        assert_eq!(log.oldest().unwrap().folder, second);
        assert_eq!(
            log.purge_forced("bin.000003").unwrap_err().kind(),
            ErrorKind::Refused
        );
    }
}
