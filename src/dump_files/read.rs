//! Reads the files of a dump, statement by statement, in bounded memory.

use std::path::{Path, PathBuf};

use tokio::fs;
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};

use super::manifest::DumpFile;
use super::statement::{Splitter, Statement};
use crate::model::{Error, ErrorKind, Result};

/// How much is read at once.
const BLOCK: usize = 256 << 10;

/// Reads a whole file and compares its length and checksum with what the manifest says.
pub async fn verify(folder: &Path, entry: &DumpFile) -> Result<()> {
    let path = folder.join(&entry.name);
    let mut file = open(&path).await?;
    let mut crc = crc32fast::Hasher::new();
    let mut bytes = 0;
    let mut block = vec![0; BLOCK];
    loop {
        let count = file
            .read(&mut block)
            .await
            .map_err(|error| Error::file("read", &path, error))?;
        let Some(read) = block.get(..count).filter(|read| !read.is_empty()) else {
            break;
        };
        crc.update(read);
        bytes += count as u64;
    }
    let crc = crc.finalize();
    if (bytes, crc) == (entry.bytes, entry.crc32) {
        return Ok(());
    }
    let found = if bytes == entry.bytes {
        format!("its checksum is {crc:08x}, not {:08x}", entry.crc32)
    } else {
        format!("it has {bytes} bytes, not {}", entry.bytes)
    };
    Err(Error::new(
        ErrorKind::Damaged,
        format!("the dump file `{}` is damaged: {found}", path.display()),
    )
    .with_fix("put the file back as it was, or remove the dump's folder so that it is made again")
    .at(|c| c.path = Some(path.display().to_string())))
}

async fn open(path: &Path) -> Result<fs::File> {
    fs::File::open(path).await.map_err(|error| {
        let missing = error.kind() == std::io::ErrorKind::NotFound;
        let made = Error::file("open", path, error);
        if missing {
            made.with_kind(ErrorKind::Damaged)
                .with_fix("put the file back, or remove the dump's folder so that it is made again")
        } else {
            made
        }
    })
}

/// The statements of one file.
#[derive(Debug)]
pub struct StatementReader {
    file: fs::File,
    path: PathBuf,
    splitter: Splitter,
    block: Vec<u8>,
}

impl StatementReader {
    /// Opens the file; reading starts at `offset`, which must be behind a statement's semicolon.
    pub async fn open(path: &Path, offset: u64) -> Result<Self> {
        let mut file = open(path).await?;
        file.seek(std::io::SeekFrom::Start(offset))
            .await
            .map_err(|error| Error::file("read", path, error))?;
        Ok(Self {
            file,
            path: path.to_owned(),
            splitter: Splitter::at(offset),
            block: vec![0; BLOCK],
        })
    }

    /// The next statement; `None` at the file's end.
    pub async fn next_statement(&mut self) -> Result<Option<Statement<'_>>> {
        while !self.splitter.has_statement() {
            let count = self
                .file
                .read(&mut self.block)
                .await
                .map_err(|error| Error::file("read", &self.path, error))?;
            let Some(read) = self.block.get(..count).filter(|read| !read.is_empty()) else {
                if self.splitter.is_at_end() {
                    return Ok(None);
                }
                return Err(Error::new(
                    ErrorKind::Damaged,
                    format!(
                        "the dump file `{}` ends within a statement",
                        self.path.display()
                    ),
                )
                .with_fix("put the file back as it was, or remove the dump's folder so that it is made again")
                .at(|c| c.path = Some(self.path.display().to_string())));
            };
            self.splitter.push(read)?;
        }
        Ok(self.splitter.next_statement())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn reading_goes_on_behind_a_statement() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f.sql");
        let long = "x".repeat(2 * BLOCK);
        std::fs::write(&path, format!("A '{long};';\nB;\nC;\n")).unwrap();
        let mut reader = StatementReader::open(&path, 0).await.unwrap();
        let first = reader.next_statement().await.unwrap().unwrap();
        assert_eq!(first.text.len(), long.len() + 5);
        let offset = first.end;
        let mut again = StatementReader::open(&path, offset).await.unwrap();
        for text in [&b"B"[..], b"C"] {
            let statement = again.next_statement().await.unwrap().unwrap();
            assert_eq!(statement.text.trim_ascii(), text);
        }
        assert!(again.next_statement().await.unwrap().is_none());
    }

    #[tokio::test]
    async fn damage_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let text = b"INSERT INTO t VALUES (1);";
        let entry = DumpFile {
            name: "f.sql".into(),
            rows: 1,
            bytes: text.len() as u64,
            crc32: crc32fast::hash(text),
        };
        let path = folder.path().join("f.sql");
        assert_eq!(
            verify(folder.path(), &entry).await.unwrap_err().kind(),
            ErrorKind::Damaged
        );
        std::fs::write(&path, text).unwrap();
        verify(folder.path(), &entry).await.unwrap();
        std::fs::write(&path, b"INSERT INTO t VALUES (2);").unwrap();
        let error = verify(folder.path(), &entry).await.unwrap_err();
        assert!(error.message().contains("f.sql"), "{error}");
        std::fs::write(&path, b"INSERT INTO t VALUES ('").unwrap();
        let mut reader = StatementReader::open(&path, 0).await.unwrap();
        assert!(reader.next_statement().await.is_err());
    }
}
