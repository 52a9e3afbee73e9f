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

mod files;
mod follow;
mod group;
mod progress;
mod scan;
mod survey;
mod writer;

use std::fmt;
use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

pub use follow::{RawEvent, Reader};
pub use writer::Writer;

use crate::model::position::{FIRST_OFFSET, compare_files};
use crate::model::{Error, ErrorKind, Flavor, GtidSet, Place, Position, RelayFileFigure, Result};
use files::{FileEntry, State};
use progress::Progress;

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
    tip: watch::Sender<Tip>,
    index: Mutex<Index>,
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
}

#[derive(Debug)]
struct FolderEntry {
    about: SubFolder,
    files: Vec<FileEntry>,
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
            let about = describe(&path, &name, &files)?;
            index.folders.push(FolderEntry { about, files });
        }
        let mut tip = Tip::default();
        if let Some(newest) = index.folders.last_mut() {
            let path = folder.join(&newest.about.name);
            index.newest = recover(&path, &mut newest.files)?;
            tip.gtid_set.clone_from(&index.newest.gtid_set);
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
        Ok(Arc::new(Self {
            folder: folder.to_owned(),
            tip: watch::Sender::new(tip),
            index: Mutex::new(index),
        }))
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

    /// Whose binlog the sub-folder `name` holds.
    pub fn sub_folder(&self, name: &str) -> Option<SubFolder> {
        let index = self.index();
        index.folder(name).map(|folder| folder.about.clone())
    }

    /// Makes a new sub-folder for another server's binlog; its name is given back.
    pub fn add_folder(&self, identity: &str, flavor: Flavor) -> Result<String> {
        let mut index = self.index();
        let number = index
            .newest_folder()
            .and_then(|folder| files::split_folder(&folder.about.name))
            .map_or(1, |(_, number)| number + 1);
        let name = files::folder_name(identity, number);
        let path = self.folder.join(&name);
        files::make_folder(&path)?;
        State::new(identity, flavor).save(&path)?;
        index.folders.push(FolderEntry {
            about: SubFolder {
                name: name.clone(),
                identity: identity.to_owned(),
                flavor,
            },
            files: Vec::new(),
        });
        index.newest = Progress::default();
        Ok(name)
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
                // Earlier sub-folders and files were synced when they were left.
                durable.folder != place.folder || place.position <= durable.position
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
    fn file_after(&self, folder: &str, file: &str) -> Option<(String, String)> {
        let index = self.index();
        let at = index
            .folders
            .iter()
            .position(|entry| entry.about.name == folder)?;
        let here = index.folders.get(at)?;
        if let Some(next) = here
            .files
            .iter()
            .find(|next| compare_files(&next.name, file).is_gt())
        {
            return Some((folder.to_owned(), next.name.clone()));
        }
        let next = index.folders.get(at + 1..)?.iter();
        let mut next = next.filter_map(|entry| {
            Some((entry.about.name.clone(), entry.files.first()?.name.clone()))
        });
        next.next()
    }
}

/// Runs file work that may block where it may block.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|e| Error::new(ErrorKind::Panicked, "file work was broken off").with_source(e))
}

/// Whose binlog a sub-folder holds: from its state file, or if that is gone from its name and files.
fn describe(path: &Path, name: &str, files: &[FileEntry]) -> Result<SubFolder> {
    if let Some(state) = State::load(path)? {
        return Ok(SubFolder {
            name: name.to_owned(),
            identity: state.identity,
            flavor: state.flavor,
        });
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
    State::new(identity, flavor).save(path)?;
    Ok(SubFolder {
        name: name.to_owned(),
        identity: identity.to_owned(),
        flavor,
    })
}

/// Cuts the newest file back to its last whole event; a file without even one is removed.
fn recover(folder: &Path, files: &mut Vec<FileEntry>) -> Result<Progress> {
    while let Some(newest) = files.last_mut() {
        let path = folder.join(&newest.name);
        let found = scan::scan(&path)?;
        let end = found.progress.event_end;
        if let Some(why) = found.cut {
            tracing::warn!(
                file = %path.display(),
                size = newest.size,
                kept = end,
                "the relay file's end is cut off: {why}"
            );
        }
        if end <= FIRST_OFFSET {
            std::fs::remove_file(&path).map_err(|e| Error::file("remove", &path, e))?;
            files.pop();
            continue;
        }
        if end < newest.size {
            let cut = || -> std::io::Result<()> {
                let file = OpenOptions::new().write(true).open(&path)?;
                file.set_len(end)?;
                file.sync_all()
            };
            cut().map_err(|e| Error::file("cut", &path, e))?;
            newest.size = end;
        }
        return Ok(found.progress);
    }
    Ok(Progress::default())
}

#[cfg(test)]
mod tests;
