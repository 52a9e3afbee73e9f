//! Whether relay files are still what the source sent, and putting a good copy in the place of one that
//! is not.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::{RelayLog, files, scan};
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
    let all = list(folder)?;
    let newest = all.len().saturating_sub(1);
    for (at, file) in all.into_iter().enumerate() {
        let is_newest = at == newest;
        let path = folder.join(&file.folder).join(&file.name);
        let found = match scan::scan(&path) {
            Ok(found) => found,
            // The worker purged it meanwhile.
            Err(_) if !path.exists() => continue,
            Err(error) => return Err(error),
        };
        let damage = found.cut.map(|what| Damage {
            offset: found.progress.event_end.max(FIRST_OFFSET),
            what,
        });
        seen(FileReport {
            file,
            is_newest,
            damage,
        })?;
    }
    Ok(())
}

impl RelayLog {
    /// The path of a file that is complete, and its size; `None` for the one that is being written, which
    /// is mended when the log is opened.
    pub fn complete_file(&self, folder: &str, name: &str) -> Option<(PathBuf, u64)> {
        let index = self.index();
        let at = index.folders.iter().position(|f| f.about.name == folder)?;
        let files = &index.folders.get(at)?.files;
        let file = files.iter().find(|file| file.name == name)?;
        let is_newest = at + 1 == index.folders.len() && files.last() == Some(file);
        (!is_newest).then(|| (self.folder.join(folder).join(name), file.size))
    }

    /// Puts `copy` in the place of a complete file, if it is whole and as long. Readers that have the
    /// old one open go on in that.
    pub fn replace_file(&self, folder: &str, name: &str, copy: &Path) -> Result<()> {
        let place = || Place::new(folder, Position::new(name, FIRST_OFFSET));
        let Some((path, size)) = self.complete_file(folder, name) else {
            return Err(Error::new(
                ErrorKind::Internal,
                format!("`{folder}/{name}` is no complete relay file"),
            ));
        };
        let found = scan::scan(copy)?;
        if let Some(what) = found.cut {
            return Err(Error::new(
                ErrorKind::Damaged,
                format!("the source's own copy of `{name}` is damaged: {what}"),
            )
            .at(|c| c.place = Some(place())));
        }
        if found.progress.event_end != size {
            return Err(Error::new(
                ErrorKind::History,
                format!(
                    "the source's `{name}` has {} bytes, the relay's has {size}: it is another file",
                    found.progress.event_end
                ),
            )
            .at(|c| c.place = Some(place())));
        }
        let put = || -> std::io::Result<()> {
            File::open(copy)?.sync_all()?;
            fs::rename(copy, &path)?;
            path.parent()
                .map_or(Ok(()), |folder| File::open(folder)?.sync_all())
        };
        put().map_err(|e| Error::file("replace", &path, e))
    }
}
