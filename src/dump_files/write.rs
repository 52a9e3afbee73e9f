//! Writes the files of a dump.
//!
//! Files are 0600 and folders 0700: they hold people's data. A file counts only once it is whole and
//! on disk, which is when [`FileWriter::finish`] gives its entry for the manifest.

use std::path::{Path, PathBuf};

use tokio::fs;
use tokio::io::AsyncWriteExt as _;

use super::manifest::{DumpFile, Manifest};
use super::names;
use crate::model::{Error, Flavor, Result, TableName};

/// What every file of rows starts with. Text is written with its character set beside it, so the
/// connection's own does not matter; TIMESTAMPs are in UTC.
const PREAMBLE: &str = "/*!40101 SET NAMES utf8mb4*/;\n/*!40014 SET FOREIGN_KEY_CHECKS=0*/;\n\
                        /*!40103 SET TIME_ZONE='+00:00' */;\n\
                        /*!40101 SET SQL_MODE='NO_AUTO_VALUE_ON_ZERO'*/;\n";

/// The folder of a dump being written.
#[derive(Clone, Debug)]
pub struct DumpFolder {
    path: PathBuf,
}

impl DumpFolder {
    /// An empty folder at `path`: what an unfinished dump left there is removed first, its manifest
    /// before all else.
    pub async fn create(path: &Path) -> Result<Self> {
        remove(path).await?;
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true).mode(0o700);
        builder
            .create(path)
            .await
            .map_err(|error| Error::file("create", path, error))?;
        Ok(Self {
            path: path.to_owned(),
        })
    }

    /// The folder of a dump that goes on.
    pub fn again(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes the statement that creates a database.
    pub async fn write_schema(&self, schema: &str, create: &str) -> Result<()> {
        self.write_whole(&names::schema_file(schema), &format!("{create};\n"))
            .await
    }

    /// Writes the statement that creates a table.
    pub async fn write_table(&self, table: &TableName, create: &str) -> Result<()> {
        let text = format!(
            "/*!40101 SET NAMES utf8mb4*/;\n/*!40014 SET FOREIGN_KEY_CHECKS=0*/;\n{create};\n"
        );
        self.write_whole(&names::table_file(table), &text).await
    }

    /// Starts a file with rows of `table`.
    pub async fn rows_file(&self, table: &TableName, number: u32) -> Result<FileWriter> {
        let name = names::data_file(table, number);
        let mut writer = FileWriter::create(self.path.join(&name), name).await?;
        writer.write(PREAMBLE.as_bytes(), 0).await?;
        Ok(writer)
    }

    /// Writes `metadata` for other loaders, and last the manifest, which makes the dump count.
    pub async fn finish(&self, manifest: Manifest) -> Result<Manifest> {
        self.write_whole(names::METADATA, &metadata(&manifest))
            .await?;
        let path = self.path.clone();
        tokio::task::spawn_blocking(move || manifest.write(&path).map(|()| manifest))
            .await
            .map_err(|error| {
                Error::new(
                    crate::model::ErrorKind::Internal,
                    "the writer of the manifest did not end",
                )
                .with_source(error)
            })?
    }

    async fn write_whole(&self, name: &str, text: &str) -> Result<()> {
        let mut file = FileWriter::create(self.path.join(name), name.to_owned()).await?;
        file.write(text.as_bytes(), 0).await?;
        file.finish().await.map(drop)
    }
}

/// Removes a dump's folder and all in it; fine if there is none. The manifest goes first, so that an
/// interrupted removal leaves nothing that counts.
pub async fn remove(path: &Path) -> Result<()> {
    for gone in [
        fs::remove_file(path.join(names::MANIFEST)).await,
        fs::remove_dir_all(path).await,
    ] {
        match gone {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(Error::file("remove", path, error)),
        }
    }
    Ok(())
}

/// The `metadata` file in mydumper's older form, which loaders and people read.
fn metadata(manifest: &Manifest) -> String {
    use std::fmt::Write as _;
    let header = &manifest.header;
    let clock = |time: crate::model::Timestamp| {
        let text = time.to_string().replace('T', " ");
        text.get(..19).unwrap_or(&text).to_owned()
    };
    let mut text = format!("Started dump at: {}\n", clock(header.consistent_at));
    if let Some(position) = &header.position {
        let _ = write!(
            text,
            "SHOW MASTER STATUS:\n\tLog: {}\n\tPos: {}\n\tGTID:{}\n\n",
            position.file,
            position.offset,
            header
                .gtid_set
                .as_ref()
                .map(ToString::to_string)
                .unwrap_or_default()
        );
    }
    let _ = writeln!(text, "Finished dump at: {}", clock(header.finished_at));
    debug_assert!(header.flavor != Flavor::TiDB, "TiDB is no source");
    text
}

/// A file being written, with its checksum.
#[derive(Debug)]
pub struct FileWriter {
    file: fs::File,
    path: PathBuf,
    name: String,
    rows: u64,
    bytes: u64,
    crc: crc32fast::Hasher,
}

impl FileWriter {
    async fn create(path: PathBuf, name: String) -> Result<Self> {
        // Two tables whose names come to one file would be a defect of `names`; it must not pass.
        let file = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .await
            .map_err(|error| Error::file("create", &path, error))?;
        Ok(Self {
            file,
            path,
            name,
            rows: 0,
            bytes: 0,
            crc: crc32fast::Hasher::new(),
        })
    }

    /// Adds `text`, which has `rows` rows in it. Best called with some hundred kilobytes.
    pub async fn write(&mut self, text: &[u8], rows: u64) -> Result<()> {
        self.file
            .write_all(text)
            .await
            .map_err(|error| Error::file("write", &self.path, error))?;
        self.crc.update(text);
        self.bytes += text.len() as u64;
        self.rows += rows;
        Ok(())
    }

    /// The bytes so far.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Brings the file to disk; its entry for the manifest.
    pub async fn finish(mut self) -> Result<DumpFile> {
        let failed = |error| Error::file("write", &self.path, error);
        self.file.flush().await.map_err(failed)?;
        self.file.sync_data().await.map_err(failed)?;
        Ok(DumpFile {
            name: self.name,
            rows: self.rows,
            bytes: self.bytes,
            crc32: self.crc.finalize(),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[tokio::test]
    async fn files_are_private_and_what_was_there_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("dump");
        std::fs::create_dir(&path).unwrap();
        std::fs::write(path.join("old.sql"), "x").unwrap();
        let dump = DumpFolder::create(&path).await.unwrap();
        let table = TableName::new("shop", "a.b");
        let mut file = dump.rows_file(&table, 1).await.unwrap();
        file.write(b"INSERT;\n", 2).await.unwrap();
        let entry = file.finish().await.unwrap();
        let text = std::fs::read(path.join(&entry.name)).unwrap();
        assert_eq!((entry.rows, entry.bytes), (2, text.len() as u64));
        assert_eq!(entry.crc32, crc32fast::hash(&text));
        assert!(!path.join("old.sql").exists());
        let mode = |p: &Path| std::fs::metadata(p).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(&path.join(&entry.name))), (0o700, 0o600));
        assert!(
            dump.rows_file(&table, 1).await.is_err(),
            "a file is never written twice"
        );
    }
}
