//! Writes the files of a dump.
//!
//! Files are 0600 and folders 0700: they hold people's data. What a manifest tells of is on disk before
//! the manifest is; all files of a dump are brought there at once, as each by itself would cost a wait
//! for the disk, ten thousand times over in a dump of as many tables.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::fs;
use tokio::task::JoinHandle;

use super::manifest::{DumpFile, DumpView, Manifest, Packed};
use super::names;
use super::pack::Packer;
use super::programs::DumpProgram;
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
    going: Going,
}

/// Files on their way to disk, beside what is being done.
type Going = Arc<Mutex<Vec<JoinHandle<io::Result<()>>>>>;

/// From this size on, a file is sent on its way to disk once it ends; smaller ones go together.
const BIG: u64 = 1 << 20;

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
            going: Going::default(),
        })
    }

    /// The folder of a dump that goes on.
    pub fn again(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            packing: Packing::None,
            going: Going::default(),
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

    /// Writes the statements that create triggers, routines and events.
    pub async fn write_programs(&self, programs: &[DumpProgram]) -> Result<()> {
        for (name, text) in super::programs::files(programs) {
            self.write_whole(&name, &text).await?;
        }
        Ok(())
    }

    /// Starts a file with rows of `table`.
    pub fn rows_file(&self, table: &TableName, number: u32) -> Result<FileWriter> {
        let name = names::data_file(table, number, self.packing);
        let going = Arc::clone(&self.going);
        FileWriter::new(
            self.path.join(&name),
            name,
            self.packing,
            PREAMBLE,
            Some(going),
        )
    }

    /// Brings everything that was written to disk.
    pub async fn sync(&self) -> Result<()> {
        let mut going =
            std::mem::take(&mut *self.going.lock().unwrap_or_else(PoisonError::into_inner));
        let path = self.path.clone();
        going.push(tokio::task::spawn_blocking(move || {
            let folder = File::open(&path)?;
            rustix::fs::syncfs(&folder).map_err(io::Error::from)
        }));
        for synced in going {
            let synced = synced.await.map_err(|error| {
                Error::new(ErrorKind::Internal, "bringing a dump to disk did not end")
                    .with_source(error)
            })?;
            synced.map_err(|error| Error::file("sync", &self.path, error))?;
        }
        Ok(())
    }

    /// Writes `metadata` for other loaders, and last the manifest, which makes the dump count.
    pub async fn finish(&self, manifest: Manifest) -> Result<Manifest> {
        self.write_whole(names::METADATA, &metadata(&manifest))
            .await?;
        self.sync().await?;
        let path = self.path.clone();
        let manifest = aside(move || manifest.write_aside(&path).map(|()| manifest)).await?;
        // What another thread does goes on when nobody waits for it any more. A dump that is given up,
        // and whose folder is removed just then, must not get its manifest after that: so not there.
        Manifest::put_in_place(&self.path)?;
        let path = self.path.clone();
        aside(move || Manifest::sync_folder(&path)).await?;
        Ok(manifest)
    }

    async fn write_whole(&self, name: &str, text: &str) -> Result<()> {
        let path = self.path.join(name);
        let mut file = FileWriter::new(path, name.to_owned(), Packing::None, "", None)?;
        file.write(text.as_bytes().to_vec(), 0).await?;
        file.finish(false).await.map(drop)
    }
}

/// Works with the manifest where it keeps nobody waiting.
async fn aside<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(|error| {
        Error::new(
            ErrorKind::Internal,
            "the writer of the manifest did not end",
        )
        .with_source(error)
    })?
}

/// Whether the files of a dump that lies in `folder` are there, each as long as it should be.
pub async fn has_files(folder: &Path, manifest: &Manifest) -> Result<bool> {
    let sizes = super::progress::sizes(folder).await?;
    let mut files = manifest.tables.values().flat_map(|table| &table.files);
    Ok(files.all(|file| sizes.get(&file.name) == Some(&file.on_disk().0)))
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

/// A file being written, with its checksum. It is there from the first text on.
#[derive(Debug)]
pub struct FileWriter {
    /// Taken out while it works on another thread.
    sink: Option<Sink>,
    path: PathBuf,
    name: String,
    rows: u64,
    bytes: u64,
    going: Option<Going>,
}

impl FileWriter {
    fn new(
        path: PathBuf,
        name: String,
        packing: Packing,
        begin: &'static str,
        going: Option<Going>,
    ) -> Result<Self> {
        let packer = Packer::new(packing).map_err(|error| Error::file("pack", &path, error))?;
        Ok(Self {
            sink: Some(Sink {
                path: path.clone(),
                file: None,
                begin,
                is_packed: packer.is_some(),
                packer,
                crc: crc32fast::Hasher::new(),
                packed: Packed { bytes: 0, crc32: 0 },
                packed_crc: crc32fast::Hasher::new(),
            }),
            path,
            name,
            rows: 0,
            bytes: begin.len() as u64,
            going,
        })
    }

    /// Adds `text`, which has `rows` rows in it, and gives the room it took back, empty. Best called with
    /// some hundred kilobytes.
    pub async fn write(&mut self, text: Vec<u8>, rows: u64) -> Result<Vec<u8>> {
        self.bytes += text.len() as u64;
        self.rows += rows;
        let (sink, mut text) = self
            .work(move |mut sink| {
                sink.put(&text)?;
                Ok((sink, text))
            })
            .await?;
        self.sink = Some(sink);
        text.clear();
        Ok(text)
    }

    /// Runs the work where it keeps nobody waiting.
    async fn work<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(Sink) -> io::Result<T> + Send + 'static,
    ) -> Result<T> {
        // It stays away behind an error.
        let failed = |error| Error::file("write", &self.path, error);
        let sink = self.sink.take();
        let sink = sink.ok_or_else(|| failed(io::ErrorKind::BrokenPipe.into()))?;
        let done = tokio::task::spawn_blocking(move || work(sink)).await;
        done.map_err(|error| {
            Error::new(ErrorKind::Internal, "the writer of a dump file did not end")
                .with_source(error)
        })?
        .map_err(failed)
    }

    /// The bytes of text so far.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Ends the file; its entry for the manifest. With `to_disk`, it is on disk then; else that is for
    /// [`DumpFolder::sync`].
    pub async fn finish(mut self, to_disk: bool) -> Result<DumpFile> {
        let (crc32, packed, file) = self.work(move |sink| sink.end(to_disk)).await?;
        if let (Some(going), Some(file), false) = (&self.going, file, to_disk)
            && self.bytes >= BIG
        {
            let on_its_way = tokio::task::spawn_blocking(move || file.sync_data());
            let mut going = going.lock().unwrap_or_else(PoisonError::into_inner);
            going.push(on_its_way);
        }
        Ok(DumpFile {
            name: self.name,
            rows: self.rows,
            bytes: self.bytes,
            crc32,
            packed,
        })
    }
}

/// Where a file's text goes: checksum, packer, file. It works on threads that may wait for disks.
#[derive(Debug)]
struct Sink {
    path: PathBuf,
    file: Option<File>,
    /// What the file begins with.
    begin: &'static str,
    is_packed: bool,
    packer: Option<Packer>,
    crc: crc32fast::Hasher,
    packed: Packed,
    packed_crc: crc32fast::Hasher,
}

impl Sink {
    fn put(&mut self, text: &[u8]) -> io::Result<()> {
        if self.file.is_none() {
            // Two tables whose names come to one file would be a defect of `names`; it must not pass.
            let file = OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&self.path)?;
            self.file = Some(file);
            let begin = self.begin;
            self.put_text(begin.as_bytes())?;
        }
        self.put_text(text)
    }

    fn put_text(&mut self, text: &[u8]) -> io::Result<()> {
        self.crc.update(text);
        match &mut self.packer {
            None => self.put_bytes(text),
            Some(packer) => {
                let packed = packer.push(text)?;
                self.put_packed(&packed)
            }
        }
    }

    fn put_packed(&mut self, packed: &[u8]) -> io::Result<()> {
        self.packed_crc.update(packed);
        self.packed.bytes += packed.len() as u64;
        self.put_bytes(packed)
    }

    fn put_bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.file {
            Some(file) => file.write_all(bytes),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    /// Ends the file: the checksum of its text, what it is packed, and itself.
    fn end(mut self, to_disk: bool) -> io::Result<(u32, Option<Packed>, Option<File>)> {
        // One without any text has its beginning all the same.
        self.put(&[])?;
        if let Some(packer) = self.packer.take() {
            let rest = packer.finish()?;
            self.put_packed(&rest)?;
        }
        if to_disk && let Some(file) = &self.file {
            file.sync_data()?;
        }
        let packed = self.is_packed.then(|| Packed {
            bytes: self.packed.bytes,
            crc32: self.packed_crc.finalize(),
        });
        Ok((self.crc.finalize(), packed, self.file))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::dump_files::manifest::tests::manifest;

    /// Its folder is removed then, and a manifest that came after that would name files that are gone.
    #[tokio::test]
    async fn a_dump_that_is_given_up_gets_no_manifest_later() {
        let wait = || tokio::time::sleep(std::time::Duration::from_millis(30));
        for polls in 1.. {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("dump");
            let dump = DumpFolder::create(&path).await.unwrap();
            let mut finishing = Box::pin(dump.finish(manifest()));
            let mut is_done = false;
            for poll in 1..=polls {
                is_done = futures_util::poll!(&mut finishing).is_ready();
                if is_done {
                    break;
                }
                // What was begun on another thread is over by the next one.
                if poll < polls {
                    wait().await;
                }
            }
            drop(finishing);
            let had_one = path.join(names::MANIFEST).exists();
            wait().await;
            assert_eq!(
                path.join(names::MANIFEST).exists(),
                had_one,
                "{polls} polls"
            );
            if is_done {
                assert!(had_one && polls > 2, "{polls} polls");
                break;
            }
        }
    }

    #[tokio::test]
    async fn files_that_are_missing_or_short_are_missed() {
        let folder = tempfile::tempdir().unwrap();
        let manifest = manifest();
        let files: Vec<_> = manifest
            .tables
            .values()
            .flat_map(|table| &table.files)
            .collect();
        assert!(!files.is_empty());
        for file in &files {
            assert!(!has_files(folder.path(), &manifest).await.unwrap());
            let (bytes, _) = file.on_disk();
            std::fs::write(folder.path().join(&file.name), vec![b' '; bytes as usize]).unwrap();
        }
        assert!(has_files(folder.path(), &manifest).await.unwrap());
        std::fs::write(folder.path().join(&files[0].name), "").unwrap();
        assert!(!has_files(folder.path(), &manifest).await.unwrap());
    }

    #[tokio::test]
    async fn files_are_private_and_what_was_there_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("dump");
        std::fs::create_dir(&path).unwrap();
        std::fs::write(path.join("old.sql"), "x").unwrap();
        let dump = DumpFolder::create(&path).await.unwrap();
        let table = TableName::new("shop", "a.b");
        let mut file = dump.rows_file(&table, 1).unwrap();
        let room = file.write(b"INSERT;\n".to_vec(), 2).await.unwrap();
        assert!(room.is_empty() && room.capacity() >= 8);
        let entry = file.finish(true).await.unwrap();
        dump.sync().await.unwrap();
        let text = std::fs::read(path.join(&entry.name)).unwrap();
        assert_eq!((entry.rows, entry.bytes), (2, text.len() as u64));
        assert_eq!(entry.crc32, crc32fast::hash(&text));
        assert!(!path.join("old.sql").exists());
        let mode = |p: &Path| std::fs::metadata(p).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(&path.join(&entry.name))), (0o700, 0o600));
        let again = dump.rows_file(&table, 1).unwrap();
        assert!(
            again.finish(false).await.is_err(),
            "a file is never written twice"
        );
    }
}
