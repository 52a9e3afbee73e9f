//! Reads the files of a dump, statement by statement, in bounded memory.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use tokio::sync::mpsc;

use super::manifest::DumpFile;
use super::pack::unpack;
use super::statement::{Splitter, Statement};
use crate::model::{Error, ErrorKind, Packing, Result};

/// How much is read at once.
const BLOCK: usize = 512 << 10;

/// Reads a whole file, as it lies on the disk, and compares its length and checksum with what the
/// manifest says.
pub async fn verify(folder: &Path, entry: &DumpFile) -> Result<()> {
    let path = folder.join(&entry.name);
    let (bytes, crc) = sum(&path).await?;
    let expected = entry.on_disk();
    if (bytes, crc) == expected {
        return Ok(());
    }
    let found = if bytes == expected.0 {
        format!("its checksum is {crc:08x}, not {:08x}", expected.1)
    } else {
        format!("it has {bytes} bytes, not {}", expected.0)
    };
    Err(damaged(&path, &format!("is damaged: {found}")))
}

/// The size and the CRC32 of a file as it lies on the disk.
pub(super) async fn sum(path: &Path) -> Result<(u64, u32)> {
    let mut file = open(path).await?;
    let summed = aside(move || {
        let mut crc = crc32fast::Hasher::new();
        let mut bytes = 0;
        let mut block = vec![0; BLOCK];
        loop {
            let count = file.read(&mut block)?;
            let Some(read) = block.get(..count).filter(|read| !read.is_empty()) else {
                return Ok((bytes, crc.finalize()));
            };
            crc.update(read);
            bytes += count as u64;
        }
    });
    summed
        .await?
        .map_err(|error| Error::file("read", path, error))
}

/// Runs work with a disk where it keeps nobody waiting.
async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(|error| {
        Error::new(ErrorKind::Internal, "the reader of a dump file did not end").with_source(error)
    })
}

/// The error of a dump file that is not what it should be.
pub fn damaged(path: &Path, what: &str) -> Error {
    Error::new(
        ErrorKind::Damaged,
        format!("the dump file `{}` {what}", path.display()),
    )
    .with_fix("put the file back as it was, or remove the dump's folder so that it is made again")
    .at(|c| c.path = Some(path.display().to_string()))
}

async fn open(path: &Path) -> Result<File> {
    let of = path.to_owned();
    aside(move || File::open(of)).await?.map_err(|error| {
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
    text: Text,
    path: PathBuf,
    splitter: Splitter,
    bytes: u64,
    crc: Option<crc32fast::Hasher>,
}

/// Where the text comes from.
#[derive(Debug)]
enum Text {
    /// The file and room for a block; away while they are being read.
    Plain(Option<(File, Vec<u8>)>),
    Packed(mpsc::Receiver<std::io::Result<Vec<u8>>>),
}

impl StatementReader {
    /// Opens the file, whose name tells how it is packed.
    pub async fn open(path: &Path) -> Result<Self> {
        let name = path.file_name().and_then(|name| name.to_str());
        let (packing, _) = Packing::of_name(name.unwrap_or_default());
        // Also of a packed one: a missing file is told alike.
        let file = open(path).await?;
        Ok(Self {
            text: match packing {
                Packing::None => Text::Plain(Some((file, vec![0; BLOCK]))),
                _ => Text::Packed(unpack(path, packing)),
            },
            path: path.to_owned(),
            splitter: Splitter::default(),
            bytes: 0,
            crc: None,
        })
    }

    /// The same, with a checksum of its text.
    #[must_use]
    pub(super) fn with_checksum(self) -> Self {
        Self {
            crc: Some(crc32fast::Hasher::new()),
            ..self
        }
    }

    /// The CRC32 of the text that was read, if it was asked for.
    pub(super) fn checksum(&self) -> u32 {
        self.crc.clone().map_or(0, crc32fast::Hasher::finalize)
    }

    /// How many bytes of text were read.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Adds the next block to the splitter; `false` at the end.
    async fn read(&mut self) -> Result<bool> {
        let unreadable = |error: std::io::Error| match error.kind() {
            std::io::ErrorKind::InvalidData
            | std::io::ErrorKind::InvalidInput
            | std::io::ErrorKind::UnexpectedEof
            | std::io::ErrorKind::Other => {
                damaged(&self.path, "is damaged: it cannot be unpacked").with_source(error)
            }
            _ => Error::file("read", &self.path, error),
        };
        let count = match &mut self.text {
            Text::Plain(source) => {
                // Gone behind an error or a read that nobody waited for.
                let Some((mut file, mut block)) = source.take() else {
                    return Err(unreadable(std::io::ErrorKind::Interrupted.into()));
                };
                let read = aside(move || {
                    let count = file.read(&mut block);
                    (count, file, block)
                });
                let (count, file, block) = read.await?;
                let count = count.map_err(|error| Error::file("read", &self.path, error))?;
                let read = block.get(..count).unwrap_or_default();
                if let Some(crc) = &mut self.crc {
                    crc.update(read);
                }
                self.splitter.push(read)?;
                *source = Some((file, block));
                count
            }
            Text::Packed(blocks) => match blocks.recv().await {
                Some(block) => {
                    let block = block.map_err(unreadable)?;
                    if let Some(crc) = &mut self.crc {
                        crc.update(&block);
                    }
                    self.splitter.push(&block)?;
                    block.len()
                }
                None => 0,
            },
        };
        self.bytes += count as u64;
        Ok(count > 0)
    }

    /// The next statement; `None` at the file's end.
    pub async fn next_statement(&mut self) -> Result<Option<Statement<'_>>> {
        while !self.splitter.has_statement() {
            if !self.read().await? {
                if self.splitter.is_at_end() {
                    return Ok(None);
                }
                return Err(damaged(&self.path, "ends within a statement"));
            }
        }
        Ok(self.splitter.next_statement())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn statements_longer_than_a_block_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f.sql");
        let long = "x".repeat(2 * BLOCK);
        std::fs::write(&path, format!("A '{long};';\nB;\nC;\n")).unwrap();
        let mut reader = StatementReader::open(&path).await.unwrap();
        let first = reader.next_statement().await.unwrap().unwrap();
        assert_eq!(first.text.len(), long.len() + 5);
        assert_eq!((first.start, first.end), (0, long.len() as u64 + 6));
        let mut start = first.end;
        for text in [&b"B"[..], b"C"] {
            let statement = reader.next_statement().await.unwrap().unwrap();
            assert_eq!(statement.text.trim_ascii(), text);
            assert_eq!(statement.start, start);
            start = statement.end;
        }
        assert!(reader.next_statement().await.unwrap().is_none());
        assert_eq!(reader.bytes(), start + 1);
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
            packed: None,
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
        let mut reader = StatementReader::open(&path).await.unwrap();
        assert!(reader.next_statement().await.is_err());
    }
}
