//! What is found in a relay log's folder when it is opened: whose the sub-folders are, whether what is
//! there is what was there, and how far the newest file is whole.

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;

use super::files::{self, FileEntry, State};
use super::progress::Progress;
use super::{FolderEntry, Index, SubFolder, Tip, damaged, scan};
use crate::binlog::checksum::CHECKSUM_LEN;
use crate::binlog::{EventHeader, EventKind, HEADER_LEN};
use crate::model::position::FIRST_OFFSET;
use crate::model::{Error, ErrorKind, Flavor, GtidSet, Place, Position, Result};

/// Says that sub-folders were purged, so that the oldest one that is left need not be the first.
const PURGED: &str = "purged";

/// Reads what is in `folder`, making it if there is none. The newest file is read through, cut back to
/// its last whole event and brought to the disk, so this blocks for as long as that takes.
pub(super) fn read(folder: &Path) -> Result<(Index, Tip)> {
    files::make_folder(folder)?;
    let mut index = Index::default();
    let is_purged = folder.join(PURGED).exists();
    for name in files::list_folders(folder)? {
        let path = folder.join(&name);
        let files = files::list_files(&path)?;
        if files.is_empty() && files::is_half_made(&path) {
            continue;
        }
        files::remove_copies(&path)?;
        let is_first = index.folders.is_empty() && !is_purged;
        let state = describe(&path, &name, &files, is_first)?;
        let files = files::with_gone(files, &state.sizes);
        for gone in files.iter().filter(|file| file.is_gone) {
            tracing::warn!(
                unit = "relay",
                file = %path.join(&gone.name).display(),
                "the relay file is gone: it is fetched again when it is read"
            );
        }
        index.folders.push(FolderEntry {
            about: SubFolder {
                name,
                identity: state.identity.clone(),
                flavor: state.flavor,
            },
            files,
            state,
        });
    }
    let mut tip = Tip::default();
    if let Some(newest) = index.folders.last_mut() {
        let path = folder.join(&newest.about.name);
        index.newest = recover(&path, &mut newest.files)?;
        let set = &mut index.newest.gtid_set;
        *set = set
            .take()
            .or_else(|| set_before(&newest.state, &newest.files));
        tip.gtid_set.clone_from(&index.newest.gtid_set);
    }
    take_up(folder, &mut index)?;
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
    Ok((index, tip))
}

/// Notes that sub-folders of the relay log in `folder` were purged; `last` is the newest of them.
pub(super) fn note_purged(folder: &Path, last: &str) -> Result<()> {
    let path = folder.join(PURGED);
    let write = || -> std::io::Result<()> {
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&path)?;
        writeln!(file, "{last}")?;
        file.sync_all()?;
        File::open(folder)?.sync_all()
    };
    write().map_err(|e| Error::file("write", &path, e))
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
        unit = "relay",
        folder = name,
        "the relay's state file is missing: made anew"
    );
    let state = State::new(identity, flavor);
    state.save(path)?;
    Ok(state)
}

/// Cuts the newest file back to its last whole event; a file without even one is removed. Where more
/// whole events stand behind, all of the file is kept beside it. What is left is on the disk then.
fn recover(folder: &Path, files: &mut Vec<FileEntry>) -> Result<Progress> {
    while let Some(newest) = files.last_mut() {
        let path = folder.join(&newest.name);
        let found = scan::scan(&path)?;
        let end = found.progress.event_end;
        if let Some(why) = &found.cut {
            let behind = damaged::whole_event_behind(&path, &found.progress, found.size)?;
            if let Some(behind) = behind {
                damaged::keep(&path)?;
                tracing::warn!(
                    unit = "relay",
                    file = %path.display(),
                    size = newest.size,
                    "the relay file is damaged at {end}, with whole events from {behind} on: {why}; it is \
                     fetched again from there, and until then kept as `{}`",
                    damaged::name_of(&newest.name)
                );
            } else {
                tracing::warn!(
                    unit = "relay",
                    file = %path.display(),
                    size = newest.size,
                    kept = end,
                    "the relay file's end is cut off: {why}"
                );
            }
        }
        if end <= FIRST_OFFSET {
            fs::remove_file(&path).map_err(|e| Error::file("remove", &path, e))?;
            files.pop();
            continue;
        }
        if end < newest.size {
            damaged::cut(&path, end)?;
            newest.size = end;
        }
        // A killed process leaves what it wrote with the system, and streams rely on what is published.
        super::sync(&path)?;
        return Ok(found.progress);
    }
    Ok(Progress::default())
}

/// The transactions before a newest file of which not even the head has come: those up to where the
/// state was saved, if that is where the file before it ended.
fn set_before(state: &State, files: &[FileEntry]) -> Option<GtidSet> {
    let (newest, before) = (files.last()?, files.iter().rev().nth(1));
    let saved = state.file.as_deref()?;
    let is_end = saved == newest.name
        || before.is_some_and(|before| before.name == saved && before.size == state.offset);
    is_end.then(|| state.gtid_set.clone()).flatten()
}

/// Compares the files that were left behind with what they had then. Of those of which that was not
/// noted it is found out, and noted.
fn take_up(folder: &Path, index: &mut Index) -> Result<()> {
    let count = index.folders.len();
    for at in 0..count {
        let next = index.folders.get(at + 1);
        let received = next.and_then(|next| next.state.received.clone());
        let Some(entry) = index.folders.get_mut(at) else {
            break;
        };
        let path = folder.join(&entry.about.name);
        let complete = if at + 1 == count {
            entry.files.len().saturating_sub(1)
        } else {
            entry.files.len()
        };
        let before = entry.state.sizes.clone();
        let names: Vec<String> = entry.files.iter().map(|file| file.name.clone()).collect();
        for (at, file) in entry.files.iter_mut().enumerate().take(complete) {
            let shown = path.join(&file.name);
            if file.is_gone {
                continue;
            }
            if let Some(had) = entry.state.sizes.get(&file.name) {
                if *had != file.size {
                    tracing::warn!(
                        unit = "relay",
                        file = %shown.display(),
                        "the relay file has {} bytes and had {had} when it was complete: it is fetched again \
                         when it is read",
                        file.size
                    );
                    file.size = *had;
                }
                continue;
            }
            let next = names.get(at + 1).map(String::as_str);
            let mut after = received.clone();
            if next.is_some_and(|next| !path.join(next).exists()) {
                after = None;
            } else if let Some(next) = next {
                after = scan::head(&path.join(next))?;
            } else if let Some(set) = &mut after {
                // What came from the server before this one is in that set as well, in no file here.
                for own in [&entry.state.received, &entry.state.purged] {
                    *set = own
                        .as_ref()
                        .map_or_else(|| set.clone(), |own| set.without(own));
                }
            }
            if is_whole(&shown, file.size, next, after.as_ref())? {
                entry.state.sizes.insert(file.name.clone(), file.size);
            } else {
                tracing::error!(
                    unit = "relay",
                    file = %shown.display(),
                    "the relay file lacks transactions at its end: it is fetched again when it is read"
                );
                file.is_cut = true;
            }
        }
        // Those of files that were purged when nobody wrote the state any more.
        if let Some(oldest) = names.first() {
            let is_here = |name: &String, _: &mut u64| {
                crate::model::position::compare_files(name, oldest).is_ge()
            };
            entry.state.sizes.retain(is_here);
        }
        if entry.state.sizes != before {
            entry.state.save(&path)?;
        }
    }
    Ok(())
}

/// Whether a file that was left behind has its end: it says so itself, or what follows it begins
/// behind the same transactions.
fn is_whole(path: &Path, size: u64, next: Option<&str>, after: Option<&GtidSet>) -> Result<bool> {
    let ends = ends_by_itself(path, size, next).map_err(|e| Error::file("read", path, e))?;
    let Some(after) = after.filter(|_| !ends) else {
        // Without GTIDs nothing tells.
        return Ok(true);
    };
    let found = scan::scan(path)?;
    if found.cut.is_some() {
        // Damage is found when it is read; and what it hides cannot be compared.
        return Ok(true);
    }
    let has = found.progress.gtid_set;
    Ok(has.is_none_or(|has| has.is_superset(after)))
}

/// Whether the last event says that there is no more: the name of the next file, or the server's stop.
fn ends_by_itself(path: &Path, size: u64, next: Option<&str>) -> std::io::Result<bool> {
    let file = File::open(path)?;
    let rotate = next.map(|next| (EventKind::ROTATE, 8 + next.len()));
    for (kind, body) in rotate.into_iter().chain([(EventKind::STOP, 0)]) {
        for sum in [CHECKSUM_LEN, 0] {
            let length = HEADER_LEN + body + sum;
            let Some(start) = size.checked_sub(length as u64) else {
                continue;
            };
            let mut head = [0; HEADER_LEN];
            file.read_exact_at(&mut head, start)?;
            if let Ok(header) = EventHeader::parse(&head)
                && header.kind == kind
                && header.event_size as usize == length
                && header.log_pos == size as u32
            {
                return Ok(true);
            }
        }
    }
    Ok(false)
}
