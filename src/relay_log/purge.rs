//! Taking old files out of a relay log: always the oldest first, so that what is left has no gap.

use std::fs;
use std::io::ErrorKind as IoKind;
use std::time::{Duration, SystemTime};

use super::{FolderEntry, Index, RelayLog};
use crate::model::position::compare_files;
use crate::model::{Error, ErrorKind, GtidSet, Place, RelayFileFigure, Result};

/// Which of the files that nothing needs are to go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PurgeRule {
    /// Those that were last written longer ago than this.
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
}

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
    fn at(&self, folder: &str) -> Option<usize> {
        self.folders.iter().position(|f| f.about.name == folder)
    }

    /// The oldest file, unless it is the one that is written.
    fn oldest(&self) -> Option<(usize, RelayFileFigure)> {
        let at = self.folders.iter().position(|f| !f.files.is_empty())?;
        let folder = self.folders.get(at)?;
        if at + 1 == self.folders.len() && folder.files.len() == 1 {
            return None;
        }
        let file = folder.files.first()?;
        Some((
            at,
            RelayFileFigure {
                folder: folder.about.name.clone(),
                name: file.name.clone(),
                size_bytes: file.size,
            },
        ))
    }
}

impl FolderEntry {
    /// Whether a reader at one of these places must begin with the sub-folder's first file, to know
    /// what it has from the server before.
    fn is_needed_whole(&self, needed: &[Place]) -> bool {
        // MySQL's sets tell each transaction by itself.
        matches!(self.received, Some(GtidSet::MariaDB(_)))
            && needed
                .iter()
                .filter(|place| place.folder == self.about.name)
                .any(|place| {
                    self.received_until
                        .as_ref()
                        .is_none_or(|until| place.position < *until)
                })
    }
}

impl RelayLog {
    /// Removes the files that `rule` names and that are before everything in `needed`. The file that
    /// is written stays in any case.
    pub fn purge(&self, rule: &PurgeRule, needed: &[Place], now: SystemTime) -> Result<Purged> {
        if let PurgeRule::Before(name) = rule {
            self.find_file(name)?;
        }
        let mut purged = Purged::default();
        loop {
            let mut index = self.index();
            let Some((at, file)) = index.oldest() else {
                return Ok(purged);
            };
            if !self.is_named(rule, &index, &file, now)? {
                return Ok(purged);
            }
            let is_needed = needed.iter().any(|place| match index.at(&place.folder) {
                // Where it would be nobody can say.
                None => true,
                Some(folder) => {
                    folder < at
                        || (folder == at && compare_files(&place.position.file, &file.name).is_le())
                }
            });
            let is_needed = is_needed
                || index
                    .folders
                    .get(at)
                    .is_some_and(|folder| folder.is_needed_whole(needed));
            if is_needed {
                purged.is_held = true;
                return Ok(purged);
            }
            self.remove(&mut index, at, &file)?;
            purged.files.push(file);
        }
    }

    /// Removes a file and those before it, whoever needs them.
    pub fn purge_forced(&self, name: &str) -> Result<Purged> {
        let (folder, file) = self.find_file(name)?;
        if self.complete_file(&folder, &file).is_none() {
            return Err(stays(&folder, &file));
        }
        let mut purged = Purged::default();
        loop {
            let mut index = self.index();
            let last = purged.files.last();
            if last.is_some_and(|last: &RelayFileFigure| last.folder == folder && last.name == file)
            {
                return Ok(purged);
            }
            let Some((at, oldest)) = index.oldest() else {
                return Err(stays(&folder, &file));
            };
            self.remove(&mut index, at, &oldest)?;
            purged.files.push(oldest);
        }
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

    fn is_named(
        &self,
        rule: &PurgeRule,
        index: &Index,
        file: &RelayFileFigure,
        now: SystemTime,
    ) -> Result<bool> {
        match rule {
            PurgeRule::OlderThan(age) => {
                let path = self.folder.join(&file.folder).join(&file.name);
                let written = fs::metadata(&path)
                    .and_then(|about| about.modified())
                    .map_err(|e| Error::file("look at", &path, e))?;
                // One of the future, by a clock that jumped, is young.
                Ok(now.duration_since(written).is_ok_and(|since| since > *age))
            }
            PurgeRule::Before(name) => {
                let (folder, name) = match name.split_once('/') {
                    Some((folder, name)) => (Some(folder), name),
                    None => (None, name.as_str()),
                };
                let is_of = |f: &&FolderEntry| f.files.iter().any(|file| file.name == name);
                let mut matching = index.folders.iter().rev().filter(is_of);
                let limit = matching.find(|f| folder.is_none_or(|folder| f.about.name == folder));
                let Some(limit) = limit else { return Ok(false) };
                let (here, there) = (index.at(&file.folder), index.at(&limit.about.name));
                Ok(here < there || (here == there && compare_files(&file.name, name).is_lt()))
            }
            PurgeRule::KeepFree(bytes) => {
                let room = rustix::fs::statvfs(&self.folder)
                    .map_err(|e| Error::file("look at", &self.folder, e.into()))?;
                Ok(room.f_bavail.saturating_mul(room.f_frsize) < *bytes)
            }
        }
    }

    fn remove(&self, index: &mut Index, at: usize, file: &RelayFileFigure) -> Result<()> {
        let folder = self.folder.join(&file.folder);
        let path = folder.join(&file.name);
        match fs::remove_file(&path) {
            Err(e) if e.kind() != IoKind::NotFound => return Err(Error::file("remove", &path, e)),
            _ => {}
        }
        tracing::info!(file = %path.display(), "relay file purged");
        let Some(entry) = index.folders.get_mut(at) else {
            return Ok(());
        };
        entry.files.retain(|have| have.name != file.name);
        if entry.files.is_empty() && at + 1 < index.folders.len() {
            index.folders.remove(at);
            // An empty folder that stays is no harm: it is found empty at the next start.
            if let Err(e) = fs::remove_dir_all(&folder) {
                tracing::warn!(folder = %folder.display(), "an empty relay folder stays: {e}");
            }
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
            let name = log.add_folder(identity, Flavor::MariaDB).unwrap();
            for number in 1..=3 {
                let file = format!("bin.00000{number}");
                fs::write(folder.join(&name).join(&file), MAGIC).unwrap();
                let mut index = log.index();
                index
                    .folders
                    .last_mut()
                    .unwrap()
                    .files
                    .push(super::super::FileEntry {
                        name: file,
                        size: 4,
                    });
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
        let purged = log.purge(&old, &needed, SystemTime::now()).unwrap();
        assert_eq!(purged, Purged::default());
        let purged = log.purge(&old, &needed, later()).unwrap();
        assert_eq!((names(&purged), purged.is_held), (vec!["bin.000001"], true));
        // A place that is nowhere in the log holds everything.
        let unknown = [Place::new("9.1", Position::new("bin.000009", 4))];
        assert_eq!(oldest_needed(&log, &unknown), None);
        let purged = log.purge(&old, &unknown, later()).unwrap();
        assert_eq!((names(&purged), purged.is_held), (vec![], true));
        // Nobody needs anything: the file that is written stays.
        let purged = log.purge(&old, &[], later()).unwrap();
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
        assert_eq!(log.purge(&old, &[], back).unwrap(), Purged::default());
        // Set forward: every file is old, but what a stream needs stays.
        let needed = [Place::new(&first, Position::new("bin.000003", 4))];
        let purged = log.purge(&old, &needed, SystemTime::now() + years).unwrap();
        assert_eq!(names(&purged), ["bin.000001", "bin.000002"]);
        // The next sub-folder's number is behind the last one's, whatever the clock says.
        let far = super::super::files::next_number(Some(9_000_000_000));
        assert_eq!(far, 9_000_000_001);
    }

    #[test]
    fn by_name_and_by_force() {
        let folder = tempfile::tempdir().unwrap();
        let (log, [first, second]) = log(folder.path());
        let needed = [Place::new(&first, Position::new("bin.000003", 4))];
        let before = PurgeRule::Before(format!("{first}/bin.000002"));
        assert_eq!(
            names(&log.purge(&before, &needed, later()).unwrap()),
            ["bin.000001"]
        );
        let before = PurgeRule::Before("bin.000002".into());
        let purged = log.purge(&before, &needed, later()).unwrap();
        assert_eq!((names(&purged), purged.is_held), (vec!["bin.000002"], true));
        assert!(
            log.purge(&PurgeRule::Before("bin.9".into()), &[], later())
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
