//! A log file that rolls by size: `tideway.log`, and the older `tideway.log.1` to `tideway.log.9`.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::model::{Error, Result};

/// The bytes of one file, and how many files there are with the one being written.
const FILE_BYTES: u64 = 20_000_000;
const FILES: usize = 10;

/// The file being written.
#[derive(Debug)]
pub(super) struct RollingFile {
    path: PathBuf,
    file: File,
    size: u64,
    limit: u64,
}

impl RollingFile {
    /// Opens the log in `folder`, which is made if it is not there; goes on in a file that is there.
    pub(super) fn open(folder: &Path) -> Result<Self> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(|error| Error::file("make the folder", folder, error))?;
        let path = folder.join("tideway.log");
        let (file, size) =
            open_file(&path).map_err(|error| Error::file("open the log", &path, error))?;
        Ok(Self {
            path,
            file,
            size,
            limit: FILE_BYTES,
        })
    }

    /// Renames each file to the next number, the oldest away, and begins a new one. Where that fails the
    /// old file goes on, beyond its size: a long log is better than none.
    fn roll(&mut self) -> io::Result<()> {
        for number in (1..FILES - 1).rev() {
            let from = self.numbered(number);
            if from.exists() {
                std::fs::rename(from, self.numbered(number + 1))?;
            }
        }
        std::fs::rename(&self.path, self.numbered(1))?;
        (self.file, self.size) = open_file(&self.path)?;
        Ok(())
    }

    fn numbered(&self, number: usize) -> PathBuf {
        let mut name = self.path.as_os_str().to_owned();
        name.push(format!(".{number}"));
        PathBuf::from(name)
    }
}

/// Each call writes one whole line; a line is never split over two files.
impl Write for RollingFile {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.size > 0
            && self.size.saturating_add(line.len() as u64) > self.limit
            && self.roll().is_err()
        {
            // Tried again after as many bytes more, not at every line.
            self.size = 0;
        }
        self.file.write_all(line)?;
        self.size += line.len() as u64;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

fn open_file(path: &Path) -> io::Result<(File, u64)> {
    let file = OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(path)?;
    let size = file.metadata()?.len();
    Ok((file, size))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn rolls_and_keeps_ten_files() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let mut file = RollingFile::open(&log).unwrap();
        file.limit = 30;
        for number in 0..40 {
            file.write_all(format!("line {number:04}\n").as_bytes())
                .unwrap();
        }
        let read = |name: &str| std::fs::read_to_string(log.join(name)).unwrap();
        assert_eq!(read("tideway.log"), "line 0039\n");
        assert_eq!(read("tideway.log.1"), "line 0036\nline 0037\nline 0038\n");
        assert!(log.join("tideway.log.9").exists());
        assert!(!log.join("tideway.log.10").exists());
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&log), 0o700);
        assert_eq!(mode(&log.join("tideway.log")), 0o600);
    }

    #[test]
    fn goes_on_in_the_file_that_is_there() {
        let folder = tempfile::tempdir().unwrap();
        for _ in 0..2 {
            let mut file = RollingFile::open(folder.path()).unwrap();
            file.write_all(b"x\n").unwrap();
        }
        let text = std::fs::read_to_string(folder.path().join("tideway.log")).unwrap();
        assert_eq!(text, "x\nx\n");
    }
}
