//! Whether relay files are still what the source sent, and putting a good copy in the place of one that
//! is not.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::ErrorKind as IoKind;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::files::State;
use super::progress::Progress;
use super::{RelayLog, damaged, files, scan};
use crate::binlog::{EventHeader, EventKind, HEADER_LEN};
use crate::model::position::FIRST_OFFSET;
use crate::model::{Error, ErrorKind, Place, Position, RelayFileFigure, Result};

/// What is wrong with a relay file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Damage {
    /// Where the first event starts that is not whole.
    pub offset: u64,
    /// What is wrong with it.
    pub what: String,
}

/// What a look through a relay file found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FileReport {
    /// The file.
    #[serde(flatten)]
    pub file: RelayFileFigure,
    /// Whether it is the newest one, whose end may just be written.
    pub is_newest: bool,
    /// What is wrong with it, if anything is.
    pub damage: Option<Damage>,
    /// Of the newest one: where its whole events end, if there is more of it.
    pub whole_to: Option<u64>,
}

/// The relay files in `folder`, oldest first; nothing is opened or changed.
pub fn list(folder: &Path) -> Result<Vec<RelayFileFigure>> {
    let mut all = Vec::new();
    for name in files::list_folders(folder)? {
        for entry in files::list_files(&folder.join(&name))? {
            all.push(RelayFileFigure {
                folder: name.clone(),
                name: entry.name,
                size_bytes: entry.size,
            });
        }
    }
    Ok(all)
}

/// Reads every file of the relay log in `folder` through, frames and checksums, and changes nothing; a
/// worker may be writing meanwhile. `seen` gets each file's report as it is known.
pub fn verify(folder: &Path, mut seen: impl FnMut(FileReport) -> Result<()>) -> Result<()> {
    let mut noted: BTreeMap<String, BTreeMap<String, u64>> = BTreeMap::new();
    let mut all = Vec::new();
    for name in files::list_folders(folder)? {
        let path = folder.join(&name);
        let sizes = State::load(&path)?.map(|state| state.sizes);
        let sizes = sizes.unwrap_or_default();
        for entry in files::with_gone(files::list_files(&path)?, &sizes) {
            let figure = RelayFileFigure {
                folder: name.clone(),
                name: entry.name,
                size_bytes: entry.size,
            };
            all.push((figure, entry.is_gone.then_some(entry.is_cut)));
        }
        noted.insert(name, sizes);
    }
    let newest = all.len().saturating_sub(1);
    let mut before: Option<PathBuf> = None;
    for (at, (file, gone)) in all.into_iter().enumerate() {
        let is_newest = at == newest;
        let path = folder.join(&file.folder).join(&file.name);
        if let Some(is_unknown) = gone {
            // The worker purges the oldest first: where that is gone too, nothing is missing.
            if !path.exists() && before.as_ref().is_some_and(|before| before.exists()) {
                let what = if is_unknown {
                    "the file is gone".to_owned()
                } else {
                    format!("the file is gone, and had {} bytes", file.size_bytes)
                };
                seen(FileReport {
                    file,
                    is_newest,
                    damage: Some(Damage {
                        offset: FIRST_OFFSET,
                        what,
                    }),
                    whole_to: None,
                })?;
            }
            continue;
        }
        before = Some(path.clone());
        let report = match report(&path, is_newest) {
            Ok(report) => report,
            // The worker purged it meanwhile.
            Err(_) if !path.exists() => continue,
            Err(error) => return Err(error),
        };
        let (mut damage, end) = report;
        let had = noted
            .get(&file.folder)
            .and_then(|sizes| sizes.get(&file.name));
        if let Some(had) = had.filter(|had| !is_newest && **had != end)
            && damage.is_none()
        {
            let what = if end < *had {
                format!("it ends there, and had {had} bytes when it was complete")
            } else {
                format!("it had {had} bytes when it was complete, and has {end}")
            };
            damage = Some(Damage {
                offset: end.min(*had),
                what,
            });
        }
        let is_torn = damage.is_none() && end < file.size_bytes;
        seen(FileReport {
            whole_to: (is_newest && is_torn).then_some(end),
            file,
            is_newest,
            damage,
        })?;
    }
    Ok(())
}

/// What is wrong with a file, if anything is, and how far it is whole. The end of the newest one may
/// just be written: what is not whole there is no damage, unless whole events stand behind it.
fn report(path: &Path, is_newest: bool) -> Result<(Option<Damage>, u64)> {
    let found = scan::scan(path)?;
    let end = found.progress.event_end.max(FIRST_OFFSET);
    let Some(what) = found.cut else {
        return Ok((None, end));
    };
    if is_newest && damaged::whole_event_behind(path, &found.progress, found.size)?.is_none() {
        return Ok((None, end));
    }
    Ok((Some(Damage { offset: end, what }), end))
}

impl RelayLog {
    /// The path of a file that is complete, and the size it must have, where that is known; `None` for the
    /// one that is being written.
    pub fn complete_file(&self, folder: &str, name: &str) -> Option<(PathBuf, Option<u64>)> {
        let index = self.index();
        let at = index.folders.iter().position(|f| f.about.name == folder)?;
        let files = &index.folders.get(at)?.files;
        let file = files.iter().find(|file| file.name == name)?;
        let is_newest = at + 1 == index.folders.len() && files.last() == Some(file);
        let size = (!file.is_cut).then_some(file.size);
        (!is_newest).then(|| (self.folder.join(folder).join(name), size))
    }

    /// The path of the file that is being written, if it is this one, and how far readers may read it.
    pub fn newest_file(&self, folder: &str, name: &str) -> Option<(PathBuf, u64)> {
        let tip = self.tip.borrow().place.clone()?;
        let is_it = tip.folder == folder && tip.position.file == name;
        is_it.then(|| (self.path_of(&tip), tip.position.offset))
    }

    /// Puts `copy` in the place of a complete file, if it is whole and as long. Readers that have the
    /// old one open go on in that.
    pub fn replace_file(&self, folder: &str, name: &str, copy: &Path) -> Result<()> {
        let Some((path, size)) = self.complete_file(folder, name) else {
            return Err(Error::new(
                ErrorKind::Internal,
                format!("`{folder}/{name}` is no complete relay file"),
            ));
        };
        let end = check_copy(folder, name, copy, size)?.event_end;
        let put = || -> std::io::Result<()> {
            File::open(copy)?.sync_all()?;
            fs::rename(copy, &path)?;
            path.parent()
                .map_or(Ok(()), |folder| File::open(folder)?.sync_all())
        };
        put().map_err(|e| Error::file("replace", &path, e))?;
        if size.is_some() {
            return Ok(());
        }
        if let Some(entry) = self.index().folder_mut(folder) {
            entry.state.sizes.insert(name.to_owned(), end);
            if let Some(file) = entry.files.iter_mut().find(|file| file.name == name) {
                file.size = end;
                file.is_cut = false;
                file.is_gone = false;
                file.held = None;
            }
        }
        self.save_state(folder)
    }

    /// Mends the first `size` bytes of the file that is, or was, being written: where `copy` differs from
    /// it, its bytes are put there. They go into the same file, so the writer, which only adds to it, and
    /// readers need not know of it. Refused where what differs is not damaged here: then the source has
    /// another history.
    pub fn mend_file(&self, folder: &str, name: &str, size: u64, copy: &Path) -> Result<()> {
        let whole = check_copy(folder, name, copy, Some(size))?;
        let path = self.folder.join(folder).join(name);
        let has_sums = whole.format.is_some_and(|format| !format.checksum.is_off());
        let put = || -> std::io::Result<Option<u64>> {
            let good = File::open(copy)?;
            let file = OpenOptions::new().read(true).write(true).open(&path)?;
            let mut at = FIRST_OFFSET;
            mend_part(&file, &good, 0, at)?;
            while at < size {
                let mut head = [0; HEADER_LEN];
                good.read_exact_at(&mut head, at)?;
                // The copy was read through: this is an event.
                let header = EventHeader::parse(&head).map_err(|_| IoKind::InvalidData)?;
                let end = at + u64::from(header.event_size);
                if !is_same(&file, &good, at, end)? {
                    let is_format = header.kind == EventKind::FORMAT_DESCRIPTION;
                    let is_there = file.metadata()?.len() >= end;
                    if has_sums && !is_format && is_there && damaged::has_right_sum(&file, at, end)?
                    {
                        return Ok(Some(at));
                    }
                    mend_part(&file, &good, at, end)?;
                }
                at = end;
            }
            file.sync_data()?;
            Ok(None)
        };
        match put().map_err(|e| Error::file("mend", &path, e))? {
            None => Ok(()),
            Some(at) => Err(Error::new(
                ErrorKind::History,
                format!("the source's `{name}` has another event at {at} than the relay's"),
            )
            .at(|c| c.place = Some(Place::new(folder, Position::new(name, at))))),
        }
    }
}

/// Reads a copy through, which must be whole and as long as it should be.
fn check_copy(folder: &str, name: &str, copy: &Path, size: Option<u64>) -> Result<Progress> {
    let place = || Place::new(folder, Position::new(name, FIRST_OFFSET));
    let found = scan::scan(copy)?;
    if let Some(what) = found.cut {
        return Err(Error::new(
            ErrorKind::Damaged,
            format!("the source's own copy of `{name}` is damaged: {what}"),
        )
        .at(|c| c.place = Some(place())));
    }
    let end = found.progress.event_end;
    if let Some(size) = size.filter(|size| *size != end) {
        return Err(Error::new(
            ErrorKind::History,
            format!(
                "the source's `{name}` has {end} bytes, the relay's has {size}: it is another file"
            ),
        )
        .at(|c| c.place = Some(place())));
    }
    Ok(found.progress)
}

/// So much is compared or copied at once.
const PIECE: u64 = 256 << 10;

fn read_part(file: &File, at: u64, end: u64) -> std::io::Result<Vec<u8>> {
    let length = usize::try_from((end - at).min(PIECE)).unwrap_or_default();
    let mut bytes = vec![0; length];
    file.read_exact_at(&mut bytes, at)?;
    Ok(bytes)
}

/// Whether two files have the same bytes from `at` up to `end`; where one is shorter, they do not.
fn is_same(file: &File, good: &File, mut at: u64, end: u64) -> std::io::Result<bool> {
    while at < end {
        let wanted = read_part(good, at, end)?;
        match read_part(file, at, end) {
            Ok(have) if have == wanted => {}
            Ok(_) => return Ok(false),
            Err(e) if e.kind() == IoKind::UnexpectedEof => return Ok(false),
            Err(e) => return Err(e),
        }
        at += wanted.len() as u64;
    }
    Ok(true)
}

/// Puts the bytes of `good` from `at` up to `end` into `file`.
fn mend_part(file: &File, good: &File, mut at: u64, end: u64) -> std::io::Result<()> {
    while at < end {
        let bytes = read_part(good, at, end)?;
        file.write_all_at(&bytes, at)?;
        at += bytes.len() as u64;
    }
    Ok(())
}
