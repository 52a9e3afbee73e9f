//! How far a dump without a lock has come: written beside its files, so that one that was killed goes
//! on chunk by chunk.
//!
//! JSON, a record a line. A line counts once it ends; the last one may be cut short. A chunk is done
//! once its files are on disk, so what is said to be done can be relied on; files that no line tells
//! of are of a chunk that was not finished, and are removed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tokio::fs;
use tokio::io::AsyncWriteExt as _;

use super::manifest::{DumpFile, DumpHeader, DumpTable, DumpView, Manifest};
use super::names;
use super::programs::DumpProgram;
use crate::model::{Error, ErrorKind, Position, Result, TableName};

/// The name of the file; no loader looks at such names.
const NAME: &str = ".progress.jsonl";

/// The version of the form that this program writes.
const VERSION: u32 = 1;

/// What a dump began with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Begun {
    /// The version of the form.
    pub version: u32,
    /// As the manifest will have it, with the end of the span still open.
    pub header: DumpHeader,
    /// The databases with the statements that create them.
    pub schemas: BTreeMap<String, String>,
    /// The tables, without files.
    pub tables: Vec<DumpTable>,
    /// The views.
    #[serde(default)]
    pub views: Vec<(TableName, DumpView)>,
    /// Triggers, routines and events.
    #[serde(default)]
    pub programs: Vec<DumpProgram>,
}

impl Begun {
    /// What is known before the first row.
    pub fn new(plan: &Manifest) -> Self {
        Self {
            version: VERSION,
            header: plan.header.clone(),
            schemas: plan.schemas.clone(),
            tables: plan.tables.values().cloned().collect(),
            views: plan.views.clone().into_iter().collect(),
            programs: plan.programs.clone(),
        }
    }

    /// The same as a manifest without files.
    pub fn plan(&self) -> Manifest {
        Manifest {
            header: self.header.clone(),
            schemas: self.schemas.clone(),
            tables: self
                .tables
                .iter()
                .map(|table| (table.structure.table.clone(), table.clone()))
                .collect(),
            views: self.views.iter().cloned().collect(),
            programs: self.programs.clone(),
        }
    }
}

/// A part of a table's rows by its key, as literals: from the first on, before the second.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Range {
    /// `None`: from the first row on.
    pub from: Option<Vec<String>>,
    /// `None`: up to the last row.
    pub until: Option<Vec<String>>,
}

/// A chunk whose files are whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DoneChunk {
    /// Whose rows.
    pub table: TableName,
    /// Which.
    pub range: Range,
    /// The files; none where there were no rows.
    pub files: Vec<DumpFile>,
    /// No row has anything of a transaction behind it.
    pub until: Position,
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "record", rename_all = "kebab-case")]
enum Record {
    Begun(Box<Begun>),
    Found { table: TableName, range: Range },
    Done(Box<DoneChunk>),
}

/// What a dump that was not finished has left.
#[derive(Clone, Debug)]
pub struct Left {
    /// What it began with.
    pub begun: Begun,
    /// The chunks that were found, by table, in the key's order; the last one of a table has no end.
    pub found: BTreeMap<TableName, Vec<Range>>,
    /// Those that are done.
    pub done: Vec<DoneChunk>,
}

impl Left {
    /// What is left in `folder`; `None` where there is nothing to go on with.
    pub async fn find(folder: &Path) -> Result<Option<Self>> {
        let path = folder.join(NAME);
        let text = match fs::read(&path).await {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::file("read", &path, error)),
        };
        Self::parse(&text).map_err(|error| error.at(|c| c.path = Some(path.display().to_string())))
    }

    /// The name of the dump that is left unfinished in `folder`, and where it began.
    pub async fn dump_in(folder: &Path) -> Result<Option<(String, Option<Position>)>> {
        let header = Self::find(folder).await?.map(|left| left.begun.header);
        Ok(header.map(|header| (header.dump_id, header.position)))
    }

    fn parse(text: &[u8]) -> Result<Option<Self>> {
        // What is behind the last line's end was cut short.
        let whole = text
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(&[][..], |end| text.get(..end).unwrap_or_default());
        let mut left: Option<Self> = None;
        for line in whole.split(|byte| *byte == b'\n') {
            if line.is_empty() {
                continue;
            }
            let damaged = |error| {
                Error::new(
                    ErrorKind::Damaged,
                    "the progress of the unfinished dump cannot be read",
                )
                .with_source(error)
                .with_fix("remove the dump's folder, so that the dump is made again")
            };
            if left.is_none() {
                #[derive(Deserialize)]
                struct Versioned {
                    version: u32,
                }
                let Versioned { version } = serde_json::from_slice(line).map_err(damaged)?;
                if version > VERSION {
                    return Err(Error::new(
                        ErrorKind::Checkpoint,
                        format!(
                            "the dump was begun by a newer tideway (version {version} of its progress, \
                             this one reads up to {VERSION})"
                        ),
                    )
                    .with_fix("use the newer tideway, or remove the dump's folder"));
                }
            }
            match (serde_json::from_slice(line).map_err(damaged)?, &mut left) {
                (Record::Begun(begun), _) => {
                    left = Some(Self {
                        begun: *begun,
                        found: BTreeMap::new(),
                        done: Vec::new(),
                    });
                }
                (Record::Found { table, range }, Some(left)) => {
                    left.found.entry(table).or_default().push(range);
                }
                (Record::Done(done), Some(left)) => left.done.push(*done),
                (_, None) => return Ok(None),
            }
        }
        Ok(left)
    }
}

/// Writes the progress of a dump.
#[derive(Debug)]
pub struct ProgressWriter {
    file: fs::File,
    path: PathBuf,
}

impl ProgressWriter {
    /// Begins the progress of a dump in its empty folder.
    pub async fn begin(folder: &Path, begun: Begun) -> Result<Self> {
        let mut writer = Self::open(folder, true).await?;
        writer
            .write(&[Record::Begun(Box::new(begun))], true)
            .await?;
        Ok(writer)
    }

    /// Goes on with what is left: files that no line tells of, or that are not as it says, are removed.
    /// Chunks whose files are not there any more are taken out of `left`.
    pub async fn resume(folder: &Path, left: &mut Left) -> Result<Self> {
        let sizes = sizes(folder).await?;
        left.done.retain(|chunk| {
            chunk
                .files
                .iter()
                .all(|file| sizes.get(&file.name) == Some(&file.on_disk().0))
        });
        let known: BTreeSet<&str> = left
            .done
            .iter()
            .flat_map(|chunk| &chunk.files)
            .map(|file| file.name.as_str())
            .collect();
        for name in sizes.keys() {
            if name != NAME && !known.contains(name.as_str()) {
                let path = folder.join(name);
                fs::remove_file(&path)
                    .await
                    .map_err(|error| Error::file("remove", &path, error))?;
            }
        }
        // Written anew, so that a line cut short does not swallow the next one.
        let mut records = vec![Record::Begun(Box::new(left.begun.clone()))];
        for (table, ranges) in &left.found {
            records.extend(ranges.iter().map(|range| Record::Found {
                table: table.clone(),
                range: range.clone(),
            }));
        }
        records.extend(
            left.done
                .iter()
                .map(|chunk| Record::Done(Box::new(chunk.clone()))),
        );
        let fresh = format!("{NAME}.new");
        let mut writer = Self::create(folder.join(&fresh), true).await?;
        writer.write(&records, true).await?;
        let path = folder.join(NAME);
        fs::rename(folder.join(fresh), &path)
            .await
            .map_err(|error| Error::file("rename", &path, error))?;
        writer.path = path;
        Ok(writer)
    }

    /// Chunks of a table were found.
    pub async fn found(&mut self, table: &TableName, ranges: Vec<Range>) -> Result<()> {
        let records: Vec<Record> = ranges
            .into_iter()
            .map(|range| Record::Found {
                table: table.clone(),
                range,
            })
            .collect();
        self.write(&records, false).await
    }

    /// Chunks are done; their files are on disk.
    pub async fn done(&mut self, chunks: Vec<DoneChunk>) -> Result<()> {
        let records: Vec<Record> = chunks
            .into_iter()
            .map(|chunk| Record::Done(Box::new(chunk)))
            .collect();
        self.write(&records, true).await
    }

    /// The dump is whole: its manifest says all.
    pub async fn remove(self) -> Result<()> {
        fs::remove_file(&self.path)
            .await
            .map_err(|error| Error::file("remove", &self.path, error))
    }

    async fn open(folder: &Path, is_new: bool) -> Result<Self> {
        Self::create(folder.join(NAME), is_new).await
    }

    async fn create(path: PathBuf, truncate: bool) -> Result<Self> {
        let file = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(truncate)
            .mode(0o600)
            .open(&path)
            .await
            .map_err(|error| Error::file("create", &path, error))?;
        Ok(Self { file, path })
    }

    async fn write(&mut self, records: &[Record], is_synced: bool) -> Result<()> {
        let mut text = Vec::new();
        for record in records {
            serde_json::to_writer(&mut text, record).map_err(|error| {
                Error::new(ErrorKind::Internal, "cannot write the progress as JSON")
                    .with_source(error)
            })?;
            text.push(b'\n');
        }
        let failed = |error| Error::file("write", &self.path, error);
        self.file.write_all(&text).await.map_err(failed)?;
        self.file.flush().await.map_err(failed)?;
        if is_synced {
            self.file.sync_data().await.map_err(failed)?;
        }
        Ok(())
    }
}

/// The files of a folder with their sizes.
pub(super) async fn sizes(folder: &Path) -> Result<BTreeMap<String, u64>> {
    let failed = |error| Error::file("read", folder, error);
    let mut sizes = BTreeMap::new();
    let mut entries = fs::read_dir(folder).await.map_err(failed)?;
    while let Some(entry) = entries.next_entry().await.map_err(failed)? {
        let size = entry.metadata().await.map_err(failed)?.len();
        sizes.insert(entry.file_name().to_string_lossy().into_owned(), size);
    }
    Ok(sizes)
}

/// The number of a file of rows of `table`.
pub fn file_number(table: &TableName, file: &str) -> Option<u32> {
    let digits = file.strip_prefix(&names::data_prefix(table))?;
    digits.split('.').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dump_files::manifest::tests::manifest;

    fn chunk(file: &str, bytes: u64) -> DoneChunk {
        DoneChunk {
            table: TableName::new("shop", "orders"),
            range: Range {
                from: None,
                until: Some(vec!["5".into()]),
            },
            files: vec![DumpFile {
                name: file.into(),
                rows: 1,
                bytes,
                crc32: 0,
                packed: None,
            }],
            until: Position::new("bin.000001", 400),
        }
    }

    #[tokio::test]
    async fn what_is_done_is_kept_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        assert!(Left::find(path).await.unwrap().is_none());
        let begun = Begun::new(&manifest());
        let mut writer = ProgressWriter::begin(path, begun.clone()).await.unwrap();
        let table = TableName::new("shop", "orders");
        let ranges = vec![chunk("", 0).range, Range::default()];
        writer.found(&table, ranges.clone()).await.unwrap();
        for (name, bytes) in [("whole", 3), ("short", 9)] {
            std::fs::write(path.join(name), "abc").unwrap();
            writer.done(vec![chunk(name, bytes)]).await.unwrap();
        }
        std::fs::write(path.join("unknown"), "abc").unwrap();
        drop(writer);
        // Killed in the middle of a line.
        let file = path.join(NAME);
        let mut text = std::fs::read(&file).unwrap();
        text.extend_from_slice(b"{\"record\":\"done\",\"tab");
        std::fs::write(&file, &text).unwrap();

        let mut left = Left::find(path).await.unwrap().unwrap();
        assert_eq!((left.done.len(), &left.begun), (2, &begun));
        assert_eq!(left.found[&table], ranges);
        let mut writer = ProgressWriter::resume(path, &mut left).await.unwrap();
        assert_eq!(left.done, [chunk("whole", 3)]);
        assert!(!path.join("unknown").exists() && !path.join("short").exists());
        writer.done(vec![chunk("later", 0)]).await.unwrap();
        let left = Left::find(path).await.unwrap().unwrap();
        assert_eq!(left.done.len(), 2);
        writer.remove().await.unwrap();
        assert!(Left::find(path).await.unwrap().is_none());
    }

    #[test]
    fn numbers_of_files_are_read() {
        let table = TableName::new("a", "b");
        assert_eq!(file_number(&table, "a.b.000000017.sql"), Some(17));
        assert_eq!(file_number(&table, "a.b.000000017.sql.zst"), Some(17));
        assert_eq!(file_number(&table, "a.bc.000000017.sql"), None);
    }
}
