//! The relay log: a local copy of a source's binlog, written by one, followed by many.
//!
//! ```text
//! <folder>/<identity>.000001/bin.000007     the source's own files, byte for byte
//!                            bin.000008  <- the newest one grows
//!                            state.json     whose binlog it is, and how far it is on the disk
//! ```
//!
//! The writer appends bytes as they arrive and publishes a [`Tip`]: the end of the last whole, checked
//! transaction. Readers see nothing beyond it. A crash may leave more in the newest file: when the log
//! is opened again, that file is read from its start, checked, and cut back to its last whole event.
//! Where whole events stand behind what is wrong, it is no crash's doing: the file is then kept beside
//! the cut one until the source has sent all of it again.

mod browse;
mod damaged;
mod files;
mod follow;
mod group;
mod held;
mod open;
mod progress;
mod purge;
mod received;
mod scan;
mod survey;
mod verify;
mod writer;

use std::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use tokio::sync::watch;

pub use browse::{Browsed, Browser};
pub use damaged::KeptFile;
pub use follow::{RawEvent, Reader};
pub use held::Held;
pub use purge::{PurgeRule, Purged, oldest_needed};
pub use received::Errant;
pub use survey::{FileHead, Found, Halving, Stretch, no_event_start, set_of};
pub use verify::{Damage, FileReport, list, verify};
pub use writer::Writer;

use crate::model::position::{FIRST_OFFSET, compare_files, file_number};
use crate::model::{Error, ErrorKind, Flavor, GtidSet, Place, Position, RelayFileFigure, Result};
use damaged::Damaged;
use files::{FileEntry, State};
use progress::Progress;
use received::Received;

/// The end of what readers may see.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tip {
    /// The end of the last whole transaction; `None` while there is not even a file.
    pub place: Option<Place>,
    /// The transactions up to there, as far as the source tells.
    pub gtid_set: Option<GtidSet>,
}

/// Whose binlog a sub-folder holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubFolder {
    /// Its name, as in a [`Place`].
    pub name: String,
    /// The source server's uuid or `server_id`.
    pub identity: String,
    /// Its family.
    pub flavor: Flavor,
}

/// The room on the relay log's file system.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DiskFigure {
    /// The relay files' size together.
    pub used_bytes: u64,
    /// What is free for this user.
    pub free_bytes: u64,
}

/// The relay log of one source. Shared; see the module's documentation.
pub struct RelayLog {
    folder: PathBuf,
    /// Set once it is open: where it ended then.
    opened: OnceLock<Option<Place>>,
    tip: watch::Sender<Tip>,
    index: Mutex<Index>,
    /// Held by whoever opens it or writes a state file; before the index, never within it.
    saving: Mutex<()>,
    /// Held by whoever takes files out; before the index, never within it.
    purging: Mutex<()>,
}

impl fmt::Debug for RelayLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RelayLog")
            .field("folder", &self.folder)
            .finish_non_exhaustive()
    }
}

#[derive(Debug, Default)]
struct Index {
    folders: Vec<FolderEntry>,
    /// What is known of the newest file, as far as it is written out.
    newest: Progress,
    /// The end of what is known to be on the disk, not just with the system.
    durable: Option<Place>,
    has_writer: bool,
    /// Newest files that were damaged in their middle, and have not come whole again.
    damaged: Vec<Damaged>,
}

#[derive(Debug)]
struct FolderEntry {
    about: SubFolder,
    files: Vec<FileEntry>,
    /// What its state file says, or will when it is written next.
    state: State,
}

impl Index {
    fn newest_folder(&self) -> Option<&FolderEntry> {
        self.folders.last()
    }

    fn newest_place(&self, offset: u64) -> Option<Place> {
        let folder = self.newest_folder()?;
        let file = folder.files.last()?;
        Some(Place::new(
            folder.about.name.clone(),
            Position::new(file.name.clone(), offset),
        ))
    }

    fn folder(&self, name: &str) -> Option<&FolderEntry> {
        self.folders.iter().find(|folder| folder.about.name == name)
    }
}

impl RelayLog {
    /// Opens the relay log in `folder`, making it if there is none. The newest file is read through
    /// and cut back to its last whole event, so this blocks for as long as that takes.
    pub fn open(folder: &Path) -> Result<Arc<Self>> {
        let log = Self::unopened(folder);
        log.open_now()?;
        Ok(log)
    }

    /// A relay log in `folder` that is still to be opened: until then it has nothing, and neither
    /// readers nor a writer.
    pub fn unopened(folder: &Path) -> Arc<Self> {
        Arc::new(Self {
            folder: folder.to_owned(),
            opened: OnceLock::new(),
            tip: watch::Sender::new(Tip::default()),
            index: Mutex::default(),
            saving: Mutex::new(()),
            purging: Mutex::new(()),
        })
    }

    /// Opens it, as [`RelayLog::open`] does; one that is open already stays as it is.
    pub fn open_now(&self) -> Result<()> {
        {
            let _alone = self.saving();
            if self.opened.get().is_some() {
                return Ok(());
            }
            let (index, tip) = open::read(&self.folder)?;
            *self.index() = index;
            let _set_once = self.opened.set(tip.place.clone());
            self.tip.send_replace(tip);
        }
        self.drop_mended();
        Ok(())
    }

    /// Where it ended when it was opened.
    pub fn opened_at(&self) -> Option<&Place> {
        self.opened.get()?.as_ref()
    }

    /// Refuses what would take a log that was not opened for an empty one.
    fn check_open(&self) -> Result<()> {
        match self.opened.get() {
            Some(_) => Ok(()),
            None => Err(Error::new(ErrorKind::Internal, "the relay log is not open")),
        }
    }

    /// The folder it is in.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The end of what readers may see, now and whenever it moves.
    pub fn published(&self) -> watch::Receiver<Tip> {
        self.tip.subscribe()
    }

    /// A reader of everything from `from` on, which must be an event's start. The place may lie beyond
    /// the tip: the reader waits until the log gets there.
    pub fn reader(self: &Arc<Self>, from: &Place) -> Result<Reader> {
        self.check_open()?;
        Reader::new(Arc::clone(self), from)
    }

    /// The one writer, for the newest sub-folder.
    pub fn writer(self: &Arc<Self>) -> Result<Writer> {
        self.check_open()?;
        Writer::new(Arc::clone(self))
    }

    /// Whose binlog the newest sub-folder holds; `None` if there is no sub-folder yet.
    pub fn newest_folder(&self) -> Option<SubFolder> {
        let index = self.index();
        index.newest_folder().map(|folder| folder.about.clone())
    }

    /// The server that the history in the newest sub-folder began with, which stays the same when
    /// another one takes over, and its family: checkpoints go by it. `None` if there is no sub-folder.
    pub fn origin(&self) -> Option<(String, Flavor)> {
        let index = self.index();
        index.newest_folder().map(|folder| {
            let about = &folder.about;
            let origin = folder.state.origin.clone();
            (
                origin.unwrap_or_else(|| about.identity.clone()),
                about.flavor,
            )
        })
    }

    /// The transactions that the sub-folder `name` repeats from the server before it.
    pub fn repeated_in(&self, name: &str) -> Option<GtidSet> {
        let index = self.index();
        index
            .folder(name)
            .and_then(|folder| folder.state.received.clone())
    }

    /// The transactions that the sub-folder `name` repeats from the server before it, and those that
    /// its server wrote by itself before it had them; `None` if there is no such sub-folder.
    pub fn received_in(&self, name: &str) -> Option<(Option<GtidSet>, Errant)> {
        let index = self.index();
        let folder = index.folder(name)?;
        Some((folder.state.received.clone(), folder.state.errant.clone()))
    }

    /// Whose binlog the sub-folder `name` holds.
    pub fn sub_folder(&self, name: &str) -> Option<SubFolder> {
        let index = self.index();
        index.folder(name).map(|folder| folder.about.clone())
    }

    /// Makes a new sub-folder for another server's binlog, which has nothing to do with what is there
    /// already; its name is given back. `purged` are the transactions that the server has executed and
    /// that are in none of its files, where it tells them.
    pub fn add_folder(
        &self,
        identity: &str,
        flavor: Flavor,
        purged: Option<GtidSet>,
    ) -> Result<String> {
        self.push_folder(State {
            purged,
            ..State::new(identity, flavor)
        })
    }

    /// Makes a new sub-folder for a server that took over from the one before, with the transactions
    /// that came from that one; readers are told which of the new ones they are. A transaction that
    /// had not come whole is cut off. Of MariaDB's, `errant` are those that the new server wrote by
    /// itself before it had all of them. `purged` are those of which it has no file any more, or never
    /// had one.
    pub fn go_on_in(
        &self,
        identity: &str,
        flavor: Flavor,
        errant: Errant,
        purged: Option<GtidSet>,
    ) -> Result<String> {
        let (mut received, origin, newest) = {
            let index = self.index();
            let before = index.newest_folder();
            let origin = before.map(|of| {
                let origin = of.state.origin.clone();
                origin.unwrap_or_else(|| of.about.identity.clone())
            });
            let end = index.newest.group_end;
            let newest = index.newest_place(end);
            (self.received_in_all(&index), origin, newest)
        };
        if let Some(end) = newest {
            // Nobody writes to it any more.
            let path = self.path_of(&end);
            damaged::cut(&path, end.position.offset)?;
            let mut index = self.index();
            index.newest.rewind(end.position.offset);
            if let Some(file) = index.folders.last_mut().and_then(|of| of.files.last_mut()) {
                file.size = end.position.offset;
            }
        }
        // Readers need not wait for what cannot come.
        if let (Some(received), Some(purged)) = (&mut received, &purged) {
            *received = received.without(purged);
        }
        self.push_folder(State {
            received,
            purged,
            errant,
            origin,
            ..State::new(identity, flavor)
        })
    }

    /// All transactions that came, from the newest server and those before it.
    pub fn received(&self) -> Option<GtidSet> {
        self.received_in_all(&self.index())
    }

    fn received_in_all(&self, index: &Index) -> Option<GtidSet> {
        let here = self.tip.borrow().gtid_set.clone();
        // The new server's beginning repeats what came from the old one: it may not be through yet, or
        // not even have begun.
        let state = index.newest_folder().map(|folder| &folder.state);
        let before = state.and_then(|state| state.received.clone());
        let purged = state.and_then(|state| state.purged.clone());
        // What a server without GTIDs had before it was given them makes no set of what came.
        let is_told = here.is_some() || before.is_some();
        let sets = [here, before, purged].into_iter().flatten();
        is_told.then(|| {
            sets.reduce(|mut all, set| {
                all.unite(&set);
                all
            })
        })?
    }

    /// Leaves the newest sub-folder, if there is one, and makes one behind it.
    fn push_folder(&self, state: State) -> Result<String> {
        let last = self.newest_folder().map(|folder| folder.name);
        if let Some(last) = &last {
            self.leave_newest_file(last)?;
        }
        let number = last.as_deref().and_then(files::split_folder);
        let name = files::folder_name(
            &state.identity,
            files::next_number(number.map(|(_, number)| number)),
        );
        let path = self.folder.join(&name);
        files::make_folder(&path)?;
        state.save(&path)?;
        let mut index = self.index();
        index.folders.push(FolderEntry {
            about: SubFolder {
                name: name.clone(),
                identity: state.identity.clone(),
                flavor: state.flavor,
            },
            files: Vec::new(),
            state,
        });
        index.newest = Progress::default();
        Ok(name)
    }

    /// Brings the newest file to the disk, and notes how many bytes it has: no more are to come.
    fn leave_newest_file(&self, folder: &str) -> Result<()> {
        let newest = {
            let mut index = self.index();
            let newest = index.newest_place(index.newest.event_end);
            if let (Some(newest), Some(entry)) = (&newest, index.folders.last_mut()) {
                let (file, size) = (newest.position.file.clone(), newest.position.offset);
                entry.state.sizes.insert(file, size);
            }
            newest
        };
        let Some(newest) = newest else {
            return Ok(());
        };
        sync(&self.path_of(&newest))?;
        self.save_state(folder)
    }

    /// Writes a sub-folder's state file.
    fn save_state(&self, folder: &str) -> Result<()> {
        let _alone = self.saving();
        let state = self.index().folder(folder).map(|of| of.state.clone());
        match state {
            Some(state) => state.save(&self.folder.join(folder)),
            // It was purged.
            None => Ok(()),
        }
    }

    fn saving(&self) -> MutexGuard<'_, ()> {
        self.saving.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that a sub-folder was purged.
    fn note_purged(&self, folder: &str) -> Result<()> {
        open::note_purged(&self.folder, folder)
    }

    /// The sub-folders, oldest first.
    pub fn sub_folders(&self) -> Vec<SubFolder> {
        let index = self.index();
        index.folders.iter().map(|f| f.about.clone()).collect()
    }

    /// What a reader that begins at `from` must tell apart, and the place from which on it must read
    /// to be able to.
    fn received_from(&self, from: &Place) -> (Option<Received>, Option<Position>) {
        let index = self.index();
        let Some(folder) = index.folder(&from.folder) else {
            return (None, None);
        };
        let is_past = folder
            .state
            .received_until
            .as_ref()
            .is_some_and(|until| *until <= from.position);
        let Some(received) = folder.state.received.clone().filter(|_| !is_past) else {
            return (None, None);
        };
        let received = Received::new(received, folder.state.errant.clone());
        let first = received
            .needs_beginning()
            .then(|| folder.files.first())
            .flatten()
            .map(|file| Position::new(file.name.clone(), FIRST_OFFSET));
        (Some(received), first)
    }

    fn set_received_until(&self, folder: &str, position: Position) {
        let mut index = self.index();
        if let Some(entry) = index.folders.iter_mut().find(|f| f.about.name == folder) {
            entry.state.received_until = Some(position);
        }
    }

    /// Whether everything from `from` up to the tip is here, so that a reader can start there.
    pub fn covers(&self, from: &Place) -> bool {
        let tip = self.tip.borrow().place.clone();
        let Some(tip) = tip else { return false };
        let index = self.index();
        let Some(folder) = index.folder(&from.folder) else {
            return false;
        };
        let is_here = folder
            .files
            .iter()
            .any(|file| file.name == from.position.file && from.position.offset <= file.size);
        is_here && (from.folder != tip.folder || from.position <= tip.position)
    }

    /// The place of a position that a source of the newest sub-folder gave, whether the log has come
    /// as far or not; `None` while there is no sub-folder.
    pub fn place_of(&self, position: &Position) -> Option<Place> {
        let index = self.index();
        let folder = index.newest_folder()?;
        Some(Place::new(folder.about.name.clone(), position.clone()))
    }

    /// The place of the oldest event that is here.
    pub fn oldest(&self) -> Option<Place> {
        let index = self.index();
        let (folder, file) = index
            .folders
            .iter()
            .find_map(|folder| Some((folder, folder.files.first()?)))?;
        Some(Place::new(
            folder.about.name.clone(),
            Position::new(file.name.clone(), FIRST_OFFSET),
        ))
    }

    /// The first position of the newest sub-folder that is here: positions of other servers do not
    /// compare with it.
    pub fn oldest_of_newest(&self) -> Option<Position> {
        let index = self.index();
        let file = index.newest_folder()?.files.first()?;
        Some(Position::new(file.name.clone(), FIRST_OFFSET))
    }

    /// What tells the newest sub-folder from every other, also from one of the same name that was here
    /// before: its name and when it was made. `None` where the file system does not say.
    pub fn token(&self) -> Option<String> {
        let name = self.newest_folder()?.name;
        let made = std::fs::metadata(self.folder.join(&name)).ok()?.created();
        let since = made.ok()?.duration_since(std::time::UNIX_EPOCH).ok()?;
        Some(format!(
            "{name} of {}.{:09}",
            since.as_secs(),
            since.subsec_nanos()
        ))
    }

    /// All files, oldest first.
    pub fn files(&self) -> Vec<RelayFileFigure> {
        let index = self.index();
        let figures = index.folders.iter().flat_map(|folder| {
            folder.files.iter().map(|file| RelayFileFigure {
                folder: folder.about.name.clone(),
                name: file.name.clone(),
                size_bytes: file.size,
            })
        });
        figures.collect()
    }

    /// The bytes of relay log between `from` and the tip; `None` where `from` is not in the log.
    pub fn bytes_after(&self, from: &Place) -> Option<u64> {
        let tip = self.tip.borrow().place.clone()?;
        let index = self.index();
        let mut total: u64 = 0;
        let mut is_past = false;
        for folder in &index.folders {
            for file in &folder.files {
                let is_from = folder.about.name == from.folder && file.name == from.position.file;
                let is_tip = folder.about.name == tip.folder && file.name == tip.position.file;
                let end = if is_tip {
                    tip.position.offset
                } else {
                    file.size
                };
                if is_from {
                    is_past = true;
                    total = end.saturating_sub(from.position.offset);
                } else if is_past {
                    total += end.saturating_sub(FIRST_OFFSET);
                }
                if is_tip {
                    return is_past.then_some(total);
                }
            }
        }
        None
    }

    /// The room it takes and the room there is.
    pub fn disk(&self) -> Result<DiskFigure> {
        let used_bytes = self.files().iter().map(|file| file.size_bytes).sum();
        let room = rustix::fs::statvfs(&self.folder)
            .map_err(|e| Error::file("look at", &self.folder, e.into()))?;
        Ok(DiskFigure {
            used_bytes,
            free_bytes: room.f_bavail.saturating_mul(room.f_frsize),
        })
    }

    /// Brings everything before `place` to the disk, so that not even a power failure takes it away.
    pub async fn make_durable(&self, place: &Place) -> Result<()> {
        let Some((path, reached)) = self.not_durable(place) else {
            return Ok(());
        };
        blocking(move || sync(&path)).await??;
        self.index().durable = Some(reached);
        Ok(())
    }

    /// The file to be synced so that everything before `place` is on the disk, and how far it is then;
    /// `None` where it is.
    fn not_durable(&self, place: &Place) -> Option<(PathBuf, Place)> {
        let index = self.index();
        let is_there = index.durable.as_ref().is_some_and(|durable| {
            if durable.folder == place.folder {
                return place.position <= durable.position;
            }
            // Earlier sub-folders and files were synced when they were left.
            index
                .newest_folder()
                .is_none_or(|newest| newest.about.name != place.folder)
        });
        if is_there {
            return None;
        }
        let newest = index.newest_place(index.newest.group_end)?;
        Some((self.path_of(&newest), newest))
    }

    /// Brings everything before `end` to the disk, and what is to be kept beside it.
    fn keep(&self, end: &Place) -> Result<()> {
        if let Some((path, reached)) = self.not_durable(end) {
            sync(&path)?;
            self.index().durable = Some(reached);
        }
        self.save_state(&end.folder)?;
        self.drop_mended();
        Ok(())
    }

    fn path_of(&self, place: &Place) -> PathBuf {
        self.folder.join(&place.folder).join(&place.position.file)
    }

    /// The lock is held for look-ups alone, never over I/O that may block for long or an await.
    fn index(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where to go on behind a file that was read to its end.
    fn file_after(&self, folder: &str, file: &str) -> Result<Option<(String, String)>> {
        let index = self.index();
        let mut folders = index
            .folders
            .iter()
            .skip_while(|entry| entry.about.name != folder);
        let Some(here) = folders.next() else {
            return Ok(None);
        };
        let behind = |next: &&FileEntry| compare_files(&next.name, file).is_gt();
        if let Some(next) = here.files.iter().find(behind) {
            let number = |name| file_number(name).map(|(_, number)| number);
            if number(&next.name) != number(file).map(|number| number + 1) {
                return Err(Error::new(
                    ErrorKind::Purged,
                    format!(
                        "the relay log has `{folder}/{}` behind `{file}`: a file between them is gone",
                        next.name
                    ),
                )
                .with_fix(
                    "put it back where it was, then retry; else start the task anew from a full copy",
                ));
            }
            return Ok(Some((folder.to_owned(), next.name.clone())));
        }
        let mut next = folders.filter_map(|entry| {
            Some((entry.about.name.clone(), entry.files.first()?.name.clone()))
        });
        Ok(next.next())
    }
}

/// Runs file work that may block where it may block.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|e| Error::new(ErrorKind::Panicked, "file work was broken off").with_source(e))
}

/// Brings a file to the disk. Opened for reading, as a file system that is read-only has no objection to
/// that.
fn sync(path: &Path) -> Result<()> {
    File::open(path)
        .and_then(|file| file.sync_data())
        .map_err(|e| Error::file("sync", path, e))
}

#[cfg(test)]
mod damage_tests;
#[cfg(test)]
mod tests;
