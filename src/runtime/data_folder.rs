//! The data folder: made, locked, and its parts named.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{Read as _, Seek as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use crate::config::{dump_folder, relay_folder};
use crate::model::{Error, ErrorKind, Result};

/// A locked data folder; the lock ends with the value, or with the process however it ends.
#[derive(Debug)]
pub struct DataFolder {
    path: PathBuf,
    // Held for its lock alone.
    _lock: File,
}

impl DataFolder {
    /// Makes the folder where it is missing, and locks it.
    pub fn open(path: &Path) -> Result<Self> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .map_err(|error| Error::file("make the data folder", path, error))?;
        let lock_path = path.join("lock");
        let mut lock = OpenOptions::new()
            .create(true)
            .read(true)
            .write(true)
            .truncate(false)
            .mode(0o600)
            .open(&lock_path)
            .map_err(|error| Error::file("open the lock", &lock_path, error))?;
        if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
            let mut owner = String::new();
            let _ = lock.read_to_string(&mut owner);
            let owner = owner.trim();
            let who = if owner.is_empty() {
                String::new()
            } else {
                format!(" (process {owner})")
            };
            return Err(Error::new(
                ErrorKind::Fenced,
                format!(
                    "the data folder `{}` is in use by another tideway{who}",
                    path.display()
                ),
            )
            .with_fix("stop that one, or give this configuration a `worker.data_dir` of its own"));
        }
        let written = lock
            .set_len(0)
            .and_then(|()| lock.rewind())
            .and_then(|()| writeln!(lock, "{}", std::process::id()));
        written.map_err(|error| Error::file("write the lock", &lock_path, error))?;
        Ok(Self {
            path: path.to_owned(),
            _lock: lock,
        })
    }

    /// The folder.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Where a source's relay log is.
    pub(super) fn relay(&self, source: &str) -> PathBuf {
        relay_folder(&self.path, source)
    }

    /// Where a stream's dump is.
    pub(super) fn dump(&self, task: &str, source: &str) -> PathBuf {
        dump_folder(&self.path, task, source)
    }

    /// Where the changes are kept that sync left out of a task.
    pub(super) fn skipped(&self, task: &str) -> PathBuf {
        self.path.join("skipped").join(format!("{task}.jsonl"))
    }

    /// The id this process uses as a replica of `source`: the configured one, else a random one that
    /// is kept in the folder.
    pub(super) fn server_id(&self, source: &str, configured: Option<u32>) -> Result<u32> {
        if let Some(id) = configured {
            return Ok(id);
        }
        let folder = self.path.join("server_id");
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&folder)
            .map_err(|error| Error::file("make the folder", &folder, error))?;
        let path = folder.join(source);
        if let Ok(text) = std::fs::read_to_string(&path)
            && let Ok(id) = text.trim().parse()
            && id != 0
        {
            return Ok(id);
        }
        // Far from the small numbers that people give their servers.
        let id = 0x4000_0000 | (random_u32()? & 0x3fff_ffff);
        let kept = OpenOptions::new()
            .create(true)
            .write(true)
            .truncate(true)
            .mode(0o600)
            .open(&path)
            .and_then(|mut file| {
                writeln!(file, "{id}")?;
                file.sync_all()
            });
        kept.map_err(|error| Error::file("write the server id", &path, error))?;
        Ok(id)
    }
}

/// Four random bytes from the system.
fn random_u32() -> Result<u32> {
    let path = Path::new("/dev/urandom");
    let mut bytes = [0; 4];
    File::open(path)
        .and_then(|mut file| file.read_exact(&mut bytes))
        .map_err(|error| Error::file("read", path, error))?;
    Ok(u32::from_ne_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_owner_is_refused_and_told_the_first() {
        let folder = tempfile::tempdir().unwrap();
        let first = DataFolder::open(folder.path()).unwrap();
        let error = DataFolder::open(folder.path()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Fenced);
        assert!(error.message().contains(&std::process::id().to_string()));
        drop(first);
        DataFolder::open(folder.path()).unwrap();
    }

    #[test]
    fn a_random_server_id_stays_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let data = DataFolder::open(folder.path()).unwrap();
        let id = data.server_id("a", None).unwrap();
        assert_eq!(data.server_id("a", None).unwrap(), id);
        assert_eq!(data.server_id("a", Some(7)).unwrap(), 7);
    }
}
