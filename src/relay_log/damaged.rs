//! A newest file that is damaged in its middle, not torn at its end.
//!
//! The source may have purged the file meanwhile. So what is whole behind the damage is not thrown
//! away before it has come again: the file stays beside the one that is written, under another name,
//! where the servers' own programs can read it.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind as IoKind, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use crc32fast::Hasher;

use crate::binlog::checksum::{CHECKSUM_LEN, ChecksumAlgorithm};
use crate::binlog::{EventHeader, HEADER_LEN};
use crate::model::position::{FIRST_OFFSET, compare_files, file_number};
use crate::model::{Error, Place, Position, Result};

use super::RelayLog;
use super::progress::Progress;

/// No binlog file can be called so, as the name does not end in digits.
const SUFFIX: &str = ".damaged";
const CHUNK: usize = 1 << 20;

/// What the operator should know of a damaged file that is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptFile {
    /// Where it is.
    pub path: PathBuf,
    /// Whether the same server is to send all of it again. Where another one took over meanwhile, the
    /// file stays as long as its sub-folder does.
    pub is_awaited: bool,
}

/// A damaged file that is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Damaged {
    path: PathBuf,
    /// The end of what it had.
    end: Place,
}

/// The name under which the file `name` is kept.
pub(super) fn name_of(name: &str) -> String {
    format!("{name}{SUFFIX}")
}

/// The files that are kept in a sub-folder.
pub(super) fn list(path: &Path, folder: &str) -> Result<Vec<Damaged>> {
    let failed = |e| Error::file("list", path, e);
    let mut found = Vec::new();
    for entry in fs::read_dir(path).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name();
        let name = name.to_str().and_then(|name| name.strip_suffix(SUFFIX));
        let Some(name) = name.filter(|name| file_number(name).is_some()) else {
            continue;
        };
        let size = entry.metadata().map_err(failed)?.len();
        found.push(Damaged {
            path: entry.path(),
            end: Place::new(folder, Position::new(name, size)),
        });
    }
    Ok(found)
}

/// Keeps a file, as it is, under its other name. Of two that are kept the longer one has more.
pub(super) fn keep(path: &Path) -> Result<()> {
    let kept = path.with_file_name(name_of(
        path.file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default(),
    ));
    let keep = || -> std::io::Result<()> {
        match fs::metadata(&kept) {
            Ok(before) if before.len() >= fs::metadata(path)?.len() => return Ok(()),
            Ok(_) => fs::remove_file(&kept)?,
            Err(e) if e.kind() == IoKind::NotFound => {}
            Err(e) => return Err(e),
        }
        // Where a file system has no links, it is copied.
        fs::hard_link(path, &kept).or_else(|_| fs::copy(path, &kept).map(drop))?;
        File::open(&kept)?.sync_all()
    };
    keep().map_err(|e| Error::file("keep", &kept, e))
}

/// Takes everything from `end` on out of a file, but not out of what is kept of it.
pub(super) fn cut(path: &Path, end: u64) -> Result<()> {
    let cut = || -> std::io::Result<()> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        if file.metadata()?.nlink() == 1 {
            file.set_len(end)?;
            return file.sync_all();
        }
        let mut part = path.as_os_str().to_owned();
        part.push(".cut");
        let part = PathBuf::from(part);
        let mut copy = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&part)?;
        std::io::copy(&mut file.take(end), &mut copy)?;
        copy.sync_all()?;
        fs::rename(&part, path)?;
        path.parent()
            .map_or(Ok(()), |folder| File::open(folder)?.sync_all())
    };
    cut().map_err(|e| Error::file("cut", path, e))
}

/// Where the next whole event starts behind the first that is missing or wrong; `None` where there is
/// none, as behind a write that was cut off, or that is under way. What is behind `size` does not count.
pub(super) fn whole_event_behind(path: &Path, whole: &Progress, size: u64) -> Result<Option<u64>> {
    let checksum = whole.format.as_ref().map(|format| format.checksum);
    let find = || -> std::io::Result<Option<u64>> {
        let mut file = File::open(path)?;
        let size = file.metadata()?.len().min(size);
        // Damage in the magic bytes leaves even the first event whole.
        let mut at = if whole.event_end < FIRST_OFFSET {
            FIRST_OFFSET
        } else {
            whole.event_end + 1
        };
        let mut chunk = Vec::with_capacity(CHUNK);
        while at + HEADER_LEN as u64 <= size {
            chunk.clear();
            file.seek(SeekFrom::Start(at))?;
            (&mut file).take(CHUNK as u64).read_to_end(&mut chunk)?;
            for (n, head) in chunk.windows(HEADER_LEN).enumerate() {
                let start = at + n as u64;
                if let Some(end) = claimed_end(head, start, size)
                    && is_whole(&file, start, end, size, checksum)?
                {
                    return Ok(Some(start));
                }
            }
            at += (chunk.len() + 1).saturating_sub(HEADER_LEN) as u64;
        }
        Ok(None)
    };
    find().map_err(|e| Error::file("read", path, e))
}

/// Where an event at `start` ends, if these bytes can be its header: it says so twice, by its length
/// and by its place.
fn claimed_end(head: &[u8], start: u64, size: u64) -> Option<u64> {
    let header = EventHeader::parse(head).ok()?;
    let end = start + u64::from(header.event_size);
    (end <= size && header.log_pos == end as u32).then_some(end)
}

/// Whether the event is what it was: by its checksum, or where there are none by what follows it.
fn is_whole(
    file: &File,
    start: u64,
    end: u64,
    size: u64,
    checksum: Option<ChecksumAlgorithm>,
) -> std::io::Result<bool> {
    if !checksum.is_some_and(ChecksumAlgorithm::is_off) && has_right_sum(file, start, end)? {
        return Ok(true);
    }
    if checksum == Some(ChecksumAlgorithm::Crc32) {
        return Ok(false);
    }
    if end == size {
        return Ok(true);
    }
    let mut head = [0; HEADER_LEN];
    if size - end < HEADER_LEN as u64 {
        return Ok(false);
    }
    file.read_exact_at(&mut head, end)?;
    Ok(claimed_end(&head, end, size).is_some())
}

pub(super) fn has_right_sum(file: &File, start: u64, end: u64) -> std::io::Result<bool> {
    let Some(body_end) = end.checked_sub(CHECKSUM_LEN as u64).filter(|e| *e > start) else {
        return Ok(false);
    };
    let mut hasher = Hasher::new();
    let mut buffer = vec![0; CHUNK.min(usize::try_from(body_end - start).unwrap_or(CHUNK))];
    let mut at = start;
    while at < body_end {
        let length = usize::try_from(body_end - at).map_or(buffer.len(), |l| l.min(buffer.len()));
        let Some(part) = buffer.get_mut(..length) else {
            return Ok(false);
        };
        file.read_exact_at(part, at)?;
        hasher.update(part);
        at += length as u64;
    }
    let mut stored = [0; CHECKSUM_LEN];
    file.read_exact_at(&mut stored, body_end)?;
    Ok(hasher.finalize() == u32::from_le_bytes(stored))
}

impl RelayLog {
    /// What is kept of damaged files: the one that is awaited, if there is one.
    pub fn kept_damaged(&self) -> Option<KeptFile> {
        let index = self.index();
        let newest = index.newest_folder().map(|of| of.about.name.as_str());
        let is_awaited = |kept: &&Damaged| Some(kept.end.folder.as_str()) == newest;
        let mut all = index.damaged.iter();
        let kept = all.clone().find(is_awaited).or(all.next())?;
        Some(KeptFile {
            path: kept.path.clone(),
            is_awaited: is_awaited(&kept),
        })
    }

    /// Removes what was kept of damaged files that have come whole again by now.
    pub(super) fn drop_mended(&self) {
        let mended: Vec<PathBuf> = {
            let mut index = self.index();
            if index.damaged.is_empty() {
                return;
            }
            let damaged = std::mem::take(&mut index.damaged);
            let (open, mended) = damaged
                .into_iter()
                .partition(|kept| !index.is_filled(&kept.end));
            index.damaged = open;
            let mended: Vec<Damaged> = mended;
            mended.into_iter().map(|kept| kept.path).collect()
        };
        for path in mended {
            match fs::remove_file(&path) {
                Ok(()) => {
                    tracing::info!(unit = "relay", file = %path.display(), "all of the damaged file has come again");
                }
                // It went with its sub-folder, or by hand.
                Err(error) if error.kind() == IoKind::NotFound => {}
                // It is tried again at the next start.
                Err(error) => {
                    tracing::warn!(unit = "relay", file = %path.display(), "cannot remove it: {error}");
                }
            }
        }
    }
}

impl super::Index {
    /// Whether everything before `end` is in the log, or was purged from it.
    fn is_filled(&self, end: &Place) -> bool {
        let Some(folder) = self.folder(&end.folder) else {
            return true;
        };
        let Some(last) = folder.files.last() else {
            return false;
        };
        match compare_files(&last.name, &end.position.file) {
            std::cmp::Ordering::Greater => true,
            std::cmp::Ordering::Equal => last.size >= end.position.offset,
            std::cmp::Ordering::Less => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Flavor;
    use crate::relay_log::tests::{Binlog, at, write};

    /// A relay log with one file; gives the sub-folder's path too.
    async fn log_of(folder: &Path, binlog: &Binlog) -> PathBuf {
        let log = RelayLog::open(folder).unwrap();
        let name = log.add_folder("7", Flavor::MariaDB, None).unwrap();
        write(&log, at("bin.000001", 4), &binlog.events)
            .await
            .unwrap();
        folder.join(name)
    }

    fn binlog() -> Binlog {
        let mut binlog = Binlog::new();
        binlog.gtid_list();
        for sequence in 1..5 {
            binlog.transaction(sequence, b"some rows");
        }
        binlog
    }

    #[tokio::test]
    async fn what_is_whole_behind_damage_is_kept_until_it_has_come_again() {
        let binlog = binlog();
        for at_byte in [0, 30, binlog.bytes.len() / 2] {
            let folder = tempfile::tempdir().unwrap();
            let sub = log_of(folder.path(), &binlog).await;
            let path = sub.join("bin.000001");
            let mut bytes = binlog.bytes.clone();
            bytes[at_byte] ^= 1;
            fs::write(&path, &bytes).unwrap();
            let kept = sub.join("bin.000001.damaged");
            for _ in 0..2 {
                // However often it is opened before the source answers.
                let log = RelayLog::open(folder.path()).unwrap();
                let kept = KeptFile {
                    path: kept.clone(),
                    is_awaited: true,
                };
                assert_eq!(log.kept_damaged().as_ref(), Some(&kept));
                let place = log.published().borrow().place.clone();
                let end = place.map_or(0, |place| place.position.offset);
                assert!(end <= at_byte as u64);
                assert_eq!(fs::read(&kept.path).unwrap(), bytes);
            }
            let log = RelayLog::open(folder.path()).unwrap();
            write(&log, at("bin.000001", 4), &binlog.events[..4])
                .await
                .unwrap();
            assert!(kept.exists());
            let mut writer = log.writer().unwrap();
            writer.begin_file(&at("bin.000001", 4)).await.unwrap();
            for event in &binlog.events {
                writer.append(event).await.unwrap();
            }
            writer.flush().await.unwrap();
            writer.save().await.unwrap();
            assert!(!kept.exists());
            assert_eq!(log.kept_damaged(), None);
            assert_eq!(fs::read(&path).unwrap(), binlog.bytes);
        }
    }

    #[tokio::test]
    async fn behind_a_takeover_it_stays_as_long_as_its_sub_folder() {
        let binlog = binlog();
        let folder = tempfile::tempdir().unwrap();
        let sub = log_of(folder.path(), &binlog).await;
        let path = sub.join("bin.000001");
        let mut bytes = binlog.bytes.clone();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(&path, &bytes).unwrap();
        let log = RelayLog::open(folder.path()).unwrap();
        log.go_on_in("8", Flavor::MariaDB, crate::relay_log::Errant::new(), None)
            .unwrap();
        write(&log, at("bin.000001", 4), &binlog.events)
            .await
            .unwrap();
        let kept = log.kept_damaged().unwrap();
        assert!(!kept.is_awaited && kept.path.exists());
        log.purge_forced("bin.000001").unwrap_err();
        let name = sub.file_name().unwrap().to_str().unwrap();
        log.purge_forced(&format!("{name}/bin.000001")).unwrap();
        assert!(!sub.exists());
        log.drop_mended();
        assert_eq!(log.kept_damaged(), None);
    }

    #[tokio::test]
    async fn a_torn_end_is_cut_and_nothing_is_kept() {
        let binlog = binlog();
        let folder = tempfile::tempdir().unwrap();
        let sub = log_of(folder.path(), &binlog).await;
        let path = sub.join("bin.000001");
        let whole = binlog.bytes.len();
        for length in whole - 30..whole {
            fs::write(&path, &binlog.bytes[..length]).unwrap();
            let log = RelayLog::open(folder.path()).unwrap();
            assert_eq!(log.kept_damaged(), None, "{length}");
        }
        // Power that fails leaves zeros, or what was there before.
        let mut bytes = binlog.bytes[..whole - 40].to_vec();
        bytes.extend([0; 200]);
        fs::write(&path, &bytes).unwrap();
        let log = RelayLog::open(folder.path()).unwrap();
        assert_eq!(log.kept_damaged(), None);
        assert_eq!(fs::read_dir(&sub).unwrap().count(), 2, "state and file");
    }
}
