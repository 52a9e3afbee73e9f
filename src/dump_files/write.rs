//! Writes the files of a dump.
//!
//! Files are 0600 and folders 0700: they hold people's data. A file counts only once it is whole and
//! on disk, which is when [`FileWriter::finish`] gives its entry for the manifest.

use std::path::{Path, PathBuf};

use tokio::fs;
use tokio::io::AsyncWriteExt as _;

use super::manifest::{DumpFile, DumpView, Manifest, Packed};
use super::names;
use super::pack::Packer;
use crate::model::table::quote_name;
use crate::model::{Error, ErrorKind, Flavor, Packing, Result, TableName};

/// What every file of rows starts with. Text is written with its character set beside it, so the
/// connection's own does not matter; TIMESTAMPs are in UTC, and dates that are none stay as they are.
const PREAMBLE: &str = "/*!40101 SET NAMES utf8mb4*/;\n/*!40014 SET FOREIGN_KEY_CHECKS=0*/;\n\
                        /*!40103 SET TIME_ZONE='+00:00' */;\n\
                        /*!40101 SET SQL_MODE='NO_AUTO_VALUE_ON_ZERO,ALLOW_INVALID_DATES'*/;\n";

/// The folder of a dump being written.
#[derive(Clone, Debug)]
pub struct DumpFolder {
    path: PathBuf,
    packing: Packing,
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
            packing: Packing::None,
        })
    }

    /// The folder of a dump that goes on.
    pub fn again(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            packing: Packing::None,
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The same, with the files of rows packed.
    #[must_use]
    pub fn packed_as(self, packing: Packing) -> Self {
        Self { packing, ..self }
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

    /// Writes the statement that creates a view; and, as other loaders expect it, a table with columns
    /// of these names that takes the view's place until then.
    pub async fn write_view(&self, name: &TableName, view: &DumpView) -> Result<()> {
        let quoted = quote_name(&name.name);
        let columns: Vec<String> = view
            .columns
            .iter()
            .map(|column| format!("{} int", quote_name(column)))
            .collect();
        let place = format!(
            "CREATE TABLE IF NOT EXISTS {quoted} ({});\n",
            columns.join(", ")
        );
        self.write_whole(&names::table_file(name), &place).await?;
        let text = format!(
            "/*!40101 SET NAMES utf8mb4*/;\nDROP TABLE IF EXISTS {quoted};\nDROP VIEW IF EXISTS \
             {quoted};\n{};\n",
            view.create
        );
        self.write_whole(&names::view_file(name), &text).await
    }

    /// Starts a file with rows of `table`.
    pub async fn rows_file(&self, table: &TableName, number: u32) -> Result<FileWriter> {
        let name = names::data_file(table, number, self.packing);
        let mut writer = FileWriter::create(self.path.join(&name), name, self.packing).await?;
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
                    ErrorKind::Internal,
                    "the writer of the manifest did not end",
                )
                .with_source(error)
            })?
    }

    async fn write_whole(&self, name: &str, text: &str) -> Result<()> {
        let mut file =
            FileWriter::create(self.path.join(name), name.to_owned(), Packing::None).await?;
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
    /// Taken out while it works on another thread.
    packer: Option<Packer>,
    packed: Packed,
    packed_crc: crc32fast::Hasher,
}

impl FileWriter {
    async fn create(path: PathBuf, name: String, packing: Packing) -> Result<Self> {
        // Two tables whose names come to one file would be a defect of `names`; it must not pass.
        let file = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .await
            .map_err(|error| Error::file("create", &path, error))?;
        let packer = Packer::new(packing).map_err(|error| Error::file("pack", &path, error))?;
        Ok(Self {
            file,
            packer,
            packed: Packed { bytes: 0, crc32: 0 },
            packed_crc: crc32fast::Hasher::new(),
            path,
            name,
            rows: 0,
            bytes: 0,
            crc: crc32fast::Hasher::new(),
        })
    }

    /// Adds `text`, which has `rows` rows in it. Best called with some hundred kilobytes.
    pub async fn write(&mut self, text: &[u8], rows: u64) -> Result<()> {
        if let Some(packer) = self.packer.take() {
            let text = text.to_vec();
            let packed = self
                .pack(move || {
                    let mut packer = packer;
                    packer.push(&text).map(|packed| (Some(packer), packed))
                })
                .await?;
            self.put(&packed).await?;
        } else {
            self.put(text).await?;
        }
        self.crc.update(text);
        self.bytes += text.len() as u64;
        self.rows += rows;
        Ok(())
    }

    /// Runs the packer where it keeps nobody waiting.
    async fn pack(
        &mut self,
        work: impl FnOnce() -> std::io::Result<(Option<Packer>, Vec<u8>)> + Send + 'static,
    ) -> Result<Vec<u8>> {
        let done = tokio::task::spawn_blocking(work).await.map_err(|error| {
            Error::new(ErrorKind::Internal, "the packer of a dump file did not end")
                .with_source(error)
        })?;
        let (packer, packed) = done.map_err(|error| Error::file("pack", &self.path, error))?;
        self.packer = packer;
        self.packed_crc.update(&packed);
        self.packed.bytes += packed.len() as u64;
        Ok(packed)
    }

    async fn put(&mut self, bytes: &[u8]) -> Result<()> {
        self.file
            .write_all(bytes)
            .await
            .map_err(|error| Error::file("write", &self.path, error))
    }

    /// The bytes of text so far.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Brings the file to disk; its entry for the manifest.
    pub async fn finish(mut self) -> Result<DumpFile> {
        let is_packed = self.packer.is_some();
        if let Some(packer) = self.packer.take() {
            let rest = self
                .pack(move || packer.finish().map(|rest| (None, rest)))
                .await?;
            self.put(&rest).await?;
        }
        let failed = |error| Error::file("write", &self.path, error);
        self.file.flush().await.map_err(failed)?;
        self.file.sync_data().await.map_err(failed)?;
        Ok(DumpFile {
            name: self.name,
            rows: self.rows,
            bytes: self.bytes,
            crc32: self.crc.finalize(),
            packed: is_packed.then(|| Packed {
                bytes: self.packed.bytes,
                crc32: self.packed_crc.finalize(),
            }),
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
