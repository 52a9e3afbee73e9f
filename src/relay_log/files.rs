//! Folders, files and the state file of a relay log.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{ErrorKind as IoKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::model::position::{FIRST_OFFSET, compare_files, file_number};
use crate::model::{Error, ErrorKind, Flavor, GtidSet, Position, Result};

use super::held::Spans;
use super::received::Errant;

/// The state file's name; no binlog file can be called so, as it does not end in digits.
pub(super) const STATE: &str = "state.json";
const STATE_NEW: &str = "state.json.new";
/// The version of the state file's form.
const STATE_VERSION: u32 = 2;
/// What copies of relay files end in while they are made. No binlog file can be called so.
pub(super) const COPIES: [&str; 2] = [".again", ".cut"];

/// What is kept beside the files of a sub-folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct State {
    /// The form's version.
    pub(super) version: u32,
    /// The source server's uuid or `server_id`.
    pub(super) identity: String,
    /// Its family.
    pub(super) flavor: Flavor,
    /// The file written when this was saved.
    pub(super) file: Option<String>,
    /// The end of the last whole transaction on the disk.
    pub(super) offset: u64,
    /// The transactions up to there.
    pub(super) gtid_set: Option<GtidSet>,
    /// The transactions that the sub-folder before had, where this one goes on from it.
    #[serde(default)]
    pub(super) received: Option<GtidSet>,
    /// What its server had executed when the sub-folder was begun and none of its files had, as it was
    /// purged, or came with the copy that the server was made from.
    #[serde(default)]
    pub(super) purged: Option<GtidSet>,
    /// What its server wrote among those by itself.
    #[serde(default)]
    pub(super) errant: Errant,
    /// The server that the binlog was first of, where this sub-folder goes on from others.
    #[serde(default)]
    pub(super) origin: Option<String>,
    /// Behind this place nothing of them can come, once that is known.
    #[serde(default)]
    pub(super) received_until: Option<Position>,
    /// How many bytes the files have that were left behind: one that is shorter later has lost its end.
    /// Since version 2.
    #[serde(default)]
    pub(super) sizes: BTreeMap<String, u64>,
}

impl State {
    pub(super) fn new(identity: &str, flavor: Flavor) -> Self {
        Self {
            version: STATE_VERSION,
            identity: identity.to_owned(),
            flavor,
            file: None,
            offset: 0,
            gtid_set: None,
            received: None,
            purged: None,
            errant: Errant::new(),
            origin: None,
            received_until: None,
            sizes: BTreeMap::new(),
        }
    }

    /// Writes it so that a crash leaves the old one or the new one.
    pub(super) fn save(&self, folder: &Path) -> Result<()> {
        let text = serde_json::to_vec_pretty(self).map_err(|e| {
            Error::new(ErrorKind::Internal, "cannot write the relay's state").with_source(e)
        })?;
        let new = folder.join(STATE_NEW);
        let write = || -> std::io::Result<()> {
            let mut file = OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(&new)?;
            file.write_all(&text)?;
            file.sync_all()?;
            fs::rename(&new, folder.join(STATE))?;
            File::open(folder)?.sync_all()
        };
        write().map_err(|e| Error::file("write", &folder.join(STATE), e))
    }

    /// Reads it; `None` if there is none.
    pub(super) fn load(folder: &Path) -> Result<Option<Self>> {
        #[derive(Deserialize)]
        struct Version {
            version: u32,
        }
        let path = folder.join(STATE);
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(e) if e.kind() == IoKind::NotFound => return Ok(None),
            Err(e) => return Err(Error::file("read", &path, e)),
        };
        let wrong = |e: serde_json::Error| {
            Error::new(
                ErrorKind::Checkpoint,
                format!("`{}` is not a relay's state", path.display()),
            )
            .with_source(e)
            .with_fix("move the file away: it is made anew from the relay files")
        };
        let form: Version = serde_json::from_slice(&text).map_err(wrong)?;
        if form.version > STATE_VERSION {
            return Err(Error::new(
                ErrorKind::Checkpoint,
                format!(
                    "`{}` has version {}; this program knows {STATE_VERSION}",
                    path.display(),
                    form.version
                ),
            )
            .with_fix("use the newer program that wrote it"));
        }
        let mut state: Self = serde_json::from_slice(&text).map_err(wrong)?;
        // An older form lacks what has a default, and is written anew in this one.
        state.version = state.version.max(STATE_VERSION);
        Ok(Some(state))
    }
}

/// Makes a folder that is its owner's alone, with those above it.
pub(super) fn make_folder(path: &Path) -> Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|e| Error::file("create", path, e))
}

/// Makes a new relay file with its first bytes, safe against a crash.
pub(super) fn create_file(path: &Path) -> Result<File> {
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(|e| Error::file("create", path, e))?;
    let begun = file.write_all(&crate::binlog::MAGIC).and_then(|()| {
        path.parent()
            .map_or(Ok(()), |folder| File::open(folder)?.sync_all())
    });
    if let Err(e) = begun {
        // On a full disk it is tried again, and must not find half a file then.
        let _ = fs::remove_file(path);
        return Err(Error::file("write", path, e));
    }
    Ok(file)
}

/// Splits a sub-folder's name into the server's identity and the number.
pub(super) fn split_folder(name: &str) -> Option<(&str, u64)> {
    file_number(name)
}

/// The name of a sub-folder.
pub(super) fn folder_name(identity: &str, number: u64) -> String {
    format!("{identity}.{number:06}")
}

/// The sub-folders, in the order they were made.
pub(super) fn list_folders(path: &Path) -> Result<Vec<String>> {
    let mut found: Vec<(u64, String)> = Vec::new();
    for entry in fs::read_dir(path).map_err(|e| Error::file("list", path, e))? {
        let entry = entry.map_err(|e| Error::file("list", path, e))?;
        let is_folder = entry
            .file_type()
            .map_err(|e| Error::file("look at", &entry.path(), e))?
            .is_dir();
        if let Some(name) = entry.file_name().to_str()
            && is_folder
            && let Some((_, number)) = split_folder(name)
        {
            found.push((number, name.to_owned()));
        }
    }
    found.sort();
    Ok(found.into_iter().map(|(_, name)| name).collect())
}

/// Whether a sub-folder has no state file, as its making was cut off: it is taken away then. One with
/// anything else in it stays, and is not looked at.
pub(super) fn is_half_made(path: &Path) -> bool {
    if path.join(STATE).exists() {
        return false;
    }
    let new = path.join(STATE_NEW);
    let removed = match fs::remove_file(&new) {
        Err(e) if e.kind() != IoKind::NotFound => Err(e),
        _ => fs::remove_dir(path),
    };
    if let Err(e) = removed {
        tracing::warn!(unit = "relay", folder = %path.display(), "a relay folder without files stays: {e}");
    }
    true
}

/// The number of a new sub-folder behind `last`: the moment in microseconds, of which making one takes
/// many. So one whose relay log was moved away is never taken for the new one, in which the same
/// places are other events.
pub(super) fn next_number(last: Option<u64>) -> u64 {
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(1, |since| u64::try_from(since.as_micros()).unwrap_or(1));
    now.max(last.map_or(1, |last| last + 1))
}

/// A relay file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FileEntry {
    pub(super) name: String,
    /// How many bytes it has; of one that was left behind, how many it had then.
    pub(super) size: u64,
    /// Whether transactions are missing behind its end, nobody knows how many.
    pub(super) is_cut: bool,
    /// Whether it was not there when the folder was read, though files before and behind it were.
    pub(super) is_gone: bool,
    /// Whether somebody needed it when that was last noted.
    pub(super) was_needed: bool,
    /// MariaDB: the transactions it has, once that was looked up of a complete file.
    pub(super) held: Option<Arc<Spans>>,
}

impl FileEntry {
    pub(super) fn new(name: impl Into<String>, size: u64) -> Self {
        Self {
            name: name.into(),
            size,
            is_cut: false,
            is_gone: false,
            was_needed: false,
            held: None,
        }
    }
}

/// The binlog files of a sub-folder, oldest first.
pub(super) fn list_files(folder: &Path) -> Result<Vec<FileEntry>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(|e| Error::file("list", folder, e))? {
        let entry = entry.map_err(|e| Error::file("list", folder, e))?;
        let about = entry
            .metadata()
            .map_err(|e| Error::file("look at", &entry.path(), e))?;
        if let Some(name) = entry.file_name().to_str()
            && about.is_file()
            && file_number(name).is_some()
        {
            found.push(FileEntry::new(name, about.len()));
        }
    }
    found.sort_by(|a, b| compare_files(&a.name, &b.name));
    Ok(found)
}

/// The files of a sub-folder, with those that are gone from between others: servers number them without a
/// gap. `sizes` are those that were noted of files left behind.
pub(super) fn with_gone(found: Vec<FileEntry>, sizes: &BTreeMap<String, u64>) -> Vec<FileEntry> {
    /// More are no gap, but a file of another name's making.
    const GONE_MAX: u64 = 10_000;
    let mut all: Vec<FileEntry> = Vec::with_capacity(found.len());
    for file in found {
        if let Some((stem, before)) = all.last().and_then(|last| file_number(&last.name))
            && let Some((own, number)) = file_number(&file.name)
            && stem == own
            && number.saturating_sub(before) <= GONE_MAX
        {
            let stem = stem.to_owned();
            for gone in before + 1..number {
                let name = format!("{stem}.{gone:06}");
                let size = sizes.get(&name).copied();
                all.push(FileEntry {
                    is_cut: size.is_none(),
                    is_gone: true,
                    ..FileEntry::new(name, size.unwrap_or(FIRST_OFFSET))
                });
            }
        }
        all.push(file);
    }
    all
}

/// Removes the copies of relay files that a process did not come to finish.
pub(super) fn remove_copies(folder: &Path) -> Result<()> {
    for entry in fs::read_dir(folder).map_err(|e| Error::file("list", folder, e))? {
        let entry = entry.map_err(|e| Error::file("list", folder, e))?;
        let name = entry.file_name();
        let is_copy = |end: &str| {
            let whole = name.to_str().and_then(|name| name.strip_suffix(end));
            whole.is_some_and(|whole| file_number(whole).is_some())
        };
        if COPIES.into_iter().any(is_copy) {
            fs::remove_file(entry.path()).map_err(|e| Error::file("remove", &entry.path(), e))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn state_survives_and_a_newer_one_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(State::load(folder.path()).unwrap(), None);
        let mut state = State::new("4101", Flavor::MariaDB);
        state.file = Some("bin.000003".into());
        state.offset = 5_000_000_000;
        state.gtid_set = Some(GtidSet::parse(Flavor::MariaDB, "0-1-5").unwrap());
        state.save(folder.path()).unwrap();
        assert_eq!(State::load(folder.path()).unwrap(), Some(state.clone()));
        state.version = STATE_VERSION + 1;
        state.save(folder.path()).unwrap();
        let error = State::load(folder.path()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Checkpoint);
    }

    #[test]
    fn a_state_of_the_first_form_is_taken_up() {
        let folder = tempfile::tempdir().unwrap();
        let text = r#"{"version": 1, "identity": "7", "flavor": "mariadb", "file": "bin.000002",
            "offset": 900, "gtid_set": null}"#;
        let flavor = serde_json::to_string(&Flavor::MariaDB).unwrap();
        let text = text.replace("\"mariadb\"", &flavor);
        fs::write(folder.path().join(STATE), text).unwrap();
        let state = State::load(folder.path()).unwrap().unwrap();
        assert_eq!((state.version, state.offset), (STATE_VERSION, 900));
        assert!(state.sizes.is_empty());
    }

    #[test]
    fn a_sub_folder_whose_making_was_cut_off_is_no_hindrance() {
        let folder = tempfile::tempdir().unwrap();
        let half = folder.path().join("7.000001");
        for with_file in [false, true] {
            make_folder(&half).unwrap();
            if with_file {
                fs::write(half.join(STATE_NEW), "{").unwrap();
            }
            let log = super::super::RelayLog::open(folder.path()).unwrap();
            assert_eq!(log.newest_folder(), None);
            assert!(!half.exists());
        }
    }

    #[test]
    fn folders_and_files_are_ordered_by_number() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["b.000010", "a.000002", "stray"] {
            make_folder(&folder.path().join(name)).unwrap();
        }
        assert_eq!(
            list_folders(folder.path()).unwrap(),
            ["a.000002", "b.000010"]
        );
        let inside = folder.path().join("a.000002");
        for name in ["bin.1000000", "bin.999999"] {
            create_file(&inside.join(name)).unwrap();
        }
        State::new("a", Flavor::MySQL).save(&inside).unwrap();
        let names: Vec<String> = list_files(&inside)
            .unwrap()
            .into_iter()
            .map(|file| file.name)
            .collect();
        assert_eq!(names, ["bin.999999", "bin.1000000"]);
    }

    #[test]
    fn what_is_gone_from_between_is_told() {
        let named = |names: &[&str]| names.iter().map(|name| FileEntry::new(*name, 9)).collect();
        let sizes = BTreeMap::from([("bin.1000000".to_owned(), 77)]);
        let all = with_gone(named(&["bin.999998", "bin.1000001"]), &sizes);
        let told: Vec<_> = all
            .iter()
            .map(|file| (file.name.as_str(), file.size, file.is_gone, file.is_cut))
            .collect();
        assert_eq!(
            told,
            [
                ("bin.999998", 9, false, false),
                ("bin.999999", 4, true, true),
                ("bin.1000000", 77, true, false),
                ("bin.1000001", 9, false, false),
            ]
        );
        let apart = with_gone(named(&["bin.000001", "bin.900000"]), &sizes);
        assert_eq!(apart.len(), 2, "no gap");
    }
}
