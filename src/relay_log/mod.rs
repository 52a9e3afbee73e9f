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
mod progress;
mod purge;
mod received;
mod scan;
mod survey;
mod verify;
mod writer;

use std::fmt;
use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

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
    opened_at: Option<Place>,
    tip: watch::Sender<Tip>,
    index: Mutex<Index>,
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
    /// What the sub-folder before had, where this one goes on from it.
    received: Option<GtidSet>,
    /// What its server wrote among those by itself.
    errant: Errant,
    /// The server that the first of the sub-folders it goes on from was of.
    origin: Option<String>,
    /// Behind this place nothing of it can come, once that is known.
    received_until: Option<Position>,
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
        files::make_folder(folder)?;
        let mut index = Index::default();
        for name in files::list_folders(folder)? {
            let path = folder.join(&name);
            let files = files::list_files(&path)?;
            if files.is_empty() && files::is_half_made(&path) {
                continue;
            }
            let state = describe(&path, &name, &files, index.folders.is_empty())?;
            index.folders.push(FolderEntry {
                about: SubFolder {
                    name,
                    identity: state.identity,
                    flavor: state.flavor,
                },
                files,
                received: state.received,
                errant: state.errant,
                origin: state.origin,
                received_until: state.received_until,
            });
        }
        let mut tip = Tip::default();
        if let Some(newest) = index.folders.last_mut() {
            let path = folder.join(&newest.about.name);
            index.newest = recover(&path, &mut newest.files)?;
            tip.gtid_set.clone_from(&index.newest.gtid_set);
        }
        for entry in &index.folders {
            let path = folder.join(&entry.about.name);
            index
                .damaged
                .extend(damaged::list(&path, &entry.about.name)?);
        }
        // A newest sub-folder without a file: readers end in the one before it.
        tip.place = index
            .folders
            .iter()
            .rev()
            .find_map(|folder| Some((folder, folder.files.last()?)))
            .map(|(folder, file)| {
                Place::new(
                    folder.about.name.clone(),
                    Position::new(file.name.clone(), file.size),
                )
            });
        if let Some(place) = index.newest_place(index.newest.group_end) {
            tip.place = Some(place);
        }
        index.durable.clone_from(&tip.place);
        let log = Self {
            folder: folder.to_owned(),
            opened_at: tip.place.clone(),
            tip: watch::Sender::new(tip),
            index: Mutex::new(index),
            purging: Mutex::new(()),
        };
        log.drop_mended();
        Ok(Arc::new(log))
    }

    /// Where it ended when it was opened.
    pub fn opened_at(&self) -> Option<&Place> {
        self.opened_at.as_ref()
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
        Reader::new(Arc::clone(self), from)
    }

    /// The one writer, for the newest sub-folder.
    pub fn writer(self: &Arc<Self>) -> Result<Writer> {
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
            let origin = folder.origin.clone();
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
            .and_then(|folder| folder.received.clone())
    }

    /// Whose binlog the sub-folder `name` holds.
    pub fn sub_folder(&self, name: &str) -> Option<SubFolder> {
        let index = self.index();
        index.folder(name).map(|folder| folder.about.clone())
    }

    /// Makes a new sub-folder for another server's binlog, which has nothing to do with what is there
    /// already; its name is given back.
    pub fn add_folder(&self, identity: &str, flavor: Flavor) -> Result<String> {
        let errant = Errant::new();
        self.push_folder(&mut self.index(), identity, flavor, None, errant, None)
    }

    /// Makes a new sub-folder for a server that took over from the one before, with the transactions
    /// that came from that one; readers are told which of the new ones they are. A transaction that
    /// had not come whole is cut off. Of MariaDB's, `errant` are those that the new server wrote by
    /// itself before it had all of them.
    pub fn go_on_in(&self, identity: &str, flavor: Flavor, errant: Errant) -> Result<String> {
        let mut index = self.index();
        let received = self.received_in_all(&index);
        let end = index.newest.group_end;
        if let Some(folder) = index.folders.last_mut()
            && let Some(file) = folder.files.last_mut()
            && end < file.size
        {
            let path = self.folder.join(&folder.about.name).join(&file.name);
            damaged::cut(&path, end)?;
            file.size = end;
        }
        let before = index.newest_folder();
        let origin = before.map(|f| f.origin.clone().unwrap_or_else(|| f.about.identity.clone()));
        self.push_folder(&mut index, identity, flavor, received, errant, origin)
    }

    /// All transactions that came, from the newest server and those before it.
    pub fn received(&self) -> Option<GtidSet> {
        self.received_in_all(&self.index())
    }

    fn received_in_all(&self, index: &Index) -> Option<GtidSet> {
        let here = self.tip.borrow().gtid_set.clone();
        // The new server's beginning repeats what came from the old one: it may not be through yet, or
        // not even have begun.
        let before = index
            .newest_folder()
            .and_then(|folder| folder.received.clone());
        let (mut set, more) = match (here, before) {
            (Some(here), before) => (here, before),
            (None, before) => (before?, None),
        };
        if let Some(more) = &more {
            set.unite(more);
        }
        Some(set)
    }

    fn push_folder(
        &self,
        index: &mut Index,
        identity: &str,
        flavor: Flavor,
        received: Option<GtidSet>,
        errant: Errant,
        origin: Option<String>,
    ) -> Result<String> {
        let last = index
            .newest_folder()
            .and_then(|folder| files::split_folder(&folder.about.name))
            .map(|(_, number)| number);
        let name = files::folder_name(identity, files::next_number(last));
        let path = self.folder.join(&name);
        files::make_folder(&path)?;
        let mut state = State::new(identity, flavor);
        state.received.clone_from(&received);
        state.errant.clone_from(&errant);
        state.origin.clone_from(&origin);
        state.save(&path)?;
        index.folders.push(FolderEntry {
            about: SubFolder {
                name: name.clone(),
                identity: identity.to_owned(),
                flavor,
            },
            files: Vec::new(),
            received,
            errant,
            origin,
            received_until: None,
        });
        index.newest = Progress::default();
        Ok(name)
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
            .received_until
            .as_ref()
            .is_some_and(|until| *until <= from.position);
        let Some(received) = folder.received.clone().filter(|_| !is_past) else {
            return (None, None);
        };
        let received = Received::new(received, folder.errant.clone());
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
            entry.received_until = Some(position);
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
        let (path, reached) = {
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
                return Ok(());
            }
            let Some(newest) = index.newest_place(index.newest.group_end) else {
                return Ok(());
            };
            (self.path_of(&newest), newest)
        };
        let shown = path.clone();
        blocking(move || {
            OpenOptions::new()
                .write(true)
                .open(&path)
                .and_then(|file| file.sync_data())
        })
        .await?
        .map_err(|e| Error::file("sync", &shown, e))?;
        self.index().durable = Some(reached);
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

/// Whose binlog a sub-folder holds: from its state file, or if that is gone from its name and files.
fn describe(path: &Path, name: &str, files: &[FileEntry], is_first: bool) -> Result<State> {
    if let Some(state) = State::load(path)? {
        return Ok(state);
    }
    if !is_first {
        // It may go on from the sub-folder before, and only the file said with what.
        return Err(Error::new(
            ErrorKind::Checkpoint,
            format!("`{}` is missing", path.join(files::STATE).display()),
        )
        .with_fix("bring the file back; or move the sub-folder away: it is fetched anew then"));
    }
    let identity = files::split_folder(name).map_or(name, |(identity, _)| identity);
    let mut flavor = None;
    for file in files.iter().rev() {
        if let Some(format) = scan::scan(&path.join(&file.name))?.progress.format {
            flavor = Some(format.flavor());
            break;
        }
    }
    let flavor = flavor.unwrap_or(if identity.contains('-') {
        Flavor::MySQL
    } else {
        Flavor::MariaDB
    });
    tracing::warn!(
        folder = name,
        "the relay's state file is missing: made anew"
    );
    let state = State::new(identity, flavor);
    state.save(path)?;
    Ok(state)
}

/// Cuts the newest file back to its last whole event; a file without even one is removed. Where more
/// whole events stand behind, all of the file is kept beside it.
fn recover(folder: &Path, files: &mut Vec<FileEntry>) -> Result<Progress> {
    while let Some(newest) = files.last_mut() {
        let path = folder.join(&newest.name);
        let found = scan::scan(&path)?;
        let end = found.progress.event_end;
        if let Some(why) = &found.cut {
            if let Some(behind) = damaged::whole_event_behind(&path, &found.progress)? {
                damaged::keep(&path)?;
                tracing::warn!(
                    file = %path.display(),
                    size = newest.size,
                    "the relay file is damaged at {end}, with whole events from {behind} on: {why}; it is \
                     fetched again from there, and until then kept as `{}`",
                    damaged::name_of(&newest.name)
                );
            } else {
                tracing::warn!(
                    file = %path.display(),
                    size = newest.size,
                    kept = end,
                    "the relay file's end is cut off: {why}"
                );
            }
        }
        if end <= FIRST_OFFSET {
            std::fs::remove_file(&path).map_err(|e| Error::file("remove", &path, e))?;
            files.pop();
            continue;
        }
        if end < newest.size {
            damaged::cut(&path, end)?;
            newest.size = end;
        }
        return Ok(found.progress);
    }
    Ok(Progress::default())
}

#[cfg(test)]
mod tests;
