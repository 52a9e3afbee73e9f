//! The manifest of a dump: what it holds, where it stands in the source's binlog, and how that is
//! known.
//!
//! JSON, a record a line, so that it can be looked at and grows with the dump, not with memory twice
//! over. It is written to a temporary name, synced and renamed once all files are on disk; its last
//! record counts the others, so a copy cut short is noticed.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::names;
use super::programs::DumpProgram;
use crate::model::{Error, ErrorKind, Flavor, GtidSet, Position, Result, TableName, Timestamp};
use crate::schema::SchemaDefaults;
use crate::schema::structure::Structure;

/// The version of the form that this program writes: 2 has packed files, views and files of others, 3
/// has triggers, routines and events; each is the one before it in all else.
const VERSION: u32 = 3;

/// What a whole dump holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Manifest {
    /// Where it comes from and where it stands.
    pub header: DumpHeader,
    /// The databases with the statements that create them.
    pub schemas: BTreeMap<String, String>,
    /// The tables, by name.
    pub tables: BTreeMap<TableName, DumpTable>,
    /// The views, by name.
    pub views: BTreeMap<TableName, DumpView>,
    /// Triggers, routines and events, in the order in which they are to be created.
    pub programs: Vec<DumpProgram>,
}

/// Where a dump comes from and where in the source's history it stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DumpHeader {
    /// The version of the manifest's form.
    pub version: u32,
    /// A name of this one dump; a load's checkpoint refers to it.
    pub dump_id: String,
    /// The task it was made for.
    pub task: String,
    /// The source's name in the configuration.
    pub source: String,
    /// The source's own identity: MySQL's server uuid, MariaDB's server id.
    pub source_identity: String,
    /// Which tables were asked for, as the task's patterns; empty in older manifests.
    #[serde(default)]
    pub selection: String,
    /// The relay log that keeps what the source wrote since; `None` where there was none.
    #[serde(default)]
    pub relay: Option<String>,
    /// The folder of the files, where that is not the manifest's own: of a dump that another tool made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files_in: Option<PathBuf>,
    /// The source's family.
    pub flavor: Flavor,
    /// The source's version, as it says it.
    pub server_version: String,
    /// The place in the binlog that all rows belong to; `None` where the account may not ask for it.
    pub position: Option<Position>,
    /// The transactions that are in the rows, where the source counts them.
    pub gtid_set: Option<GtidSet>,
    /// Only of a dump without a lock, whose rows are of different moments: what they are spread over.
    /// `position` and `gtid_set` are its beginning then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub span: Option<DumpSpan>,
    /// The default character set and collation of each database there; empty in older manifests, and of
    /// another tool's dump.
    #[serde(default, skip_serializing_if = "SchemaDefaults::is_empty")]
    pub schema_defaults: SchemaDefaults,
    /// How the rows were made consistent, by its configured name.
    pub consistency: String,
    /// What was chosen and why, how it is known to be exact, and what was left out.
    pub notes: Vec<String>,
    /// When the rows were as they are here, by the clock of this machine.
    pub consistent_at: Timestamp,
    /// When the dump ended.
    pub finished_at: Timestamp,
}

/// The stretch of the source's history that a dump without a lock is spread over.
///
/// Each chunk is of one moment within it. No selected table was altered between the two ends: a dump
/// during which one was is made anew. Sync begins at `from`; it applies a table's changes so that it
/// does not matter whether they are in the rows already, up to [`DumpTable::strict_from`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DumpSpan {
    /// Every transaction before it is in the rows of every table.
    pub from: Position,
    /// The transactions before `from`, where the source counts them.
    pub from_gtid_set: Option<GtidSet>,
    /// No row has anything of a transaction behind it.
    pub until: Position,
}

/// From where on a table's changes are not in its rows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StrictFrom {
    /// No row of the table has anything of a transaction that ends behind it.
    pub position: Position,
    /// Whether also everything before it is in the rows, so that the table's changes up to there can be
    /// passed over: it was read at one moment, whose place is known exactly.
    pub is_exact: bool,
    /// Whether all tables that foreign keys lead to from here were read at the same moment, so that
    /// their keys hold from there on.
    #[serde(default)]
    pub is_tied: bool,
}

/// A table of a dump.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DumpTable {
    /// Its structure at the dump's position.
    pub structure: Structure,
    /// The statement that creates it, as the source writes it.
    pub create: String,
    /// The files with its rows; none where it has no rows.
    pub files: Vec<DumpFile>,
    /// Only in a dump without a lock: where the table's part of the span ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strict_from: Option<StrictFrom>,
}

impl DumpTable {
    /// Its rows.
    pub fn rows(&self) -> u64 {
        self.files.iter().map(|file| file.rows).sum()
    }

    /// The size of its files.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }
}

/// A view of a dump.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DumpView {
    /// The statement that creates it, as the source writes it.
    pub create: String,
    /// The names of its columns; none where they are not known.
    pub columns: Vec<String>,
}

/// A file with rows of one table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DumpFile {
    /// Its name in the folder.
    pub name: String,
    /// The rows in it.
    pub rows: u64,
    /// The size of its text.
    pub bytes: u64,
    /// The CRC32 of its text.
    pub crc32: u32,
    /// The file itself, where its text is packed; its name's end tells how.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub packed: Option<Packed>,
}

/// A packed file as it lies on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Packed {
    /// Its size.
    pub bytes: u64,
    /// The CRC32 of its bytes.
    pub crc32: u32,
}

impl DumpFile {
    /// The size and the CRC32 of the file as it lies on the disk.
    pub fn on_disk(&self) -> (u64, u32) {
        match self.packed {
            Some(packed) => (packed.bytes, packed.crc32),
            None => (self.bytes, self.crc32),
        }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "record", rename_all = "kebab-case")]
enum Record {
    Dump(Box<DumpHeader>),
    Schema {
        name: String,
        create: String,
    },
    Table(Box<DumpTable>),
    View {
        name: TableName,
        view: DumpView,
    },
    Program(Box<DumpProgram>),
    Complete {
        schemas: usize,
        tables: usize,
        #[serde(default)]
        views: usize,
        #[serde(default)]
        programs: usize,
        files: usize,
        rows: u64,
        bytes: u64,
    },
}

/// Where a manifest is written before it counts.
const TEMPORARY: &str = ".manifest.json.new";

impl Manifest {
    /// All rows.
    pub fn rows(&self) -> u64 {
        self.tables.values().map(DumpTable::rows).sum()
    }

    /// The size of all files with rows.
    pub fn bytes(&self) -> u64 {
        self.tables.values().map(DumpTable::bytes).sum()
    }

    fn closing(&self) -> Record {
        Record::Complete {
            schemas: self.schemas.len(),
            tables: self.tables.len(),
            views: self.views.len(),
            programs: self.programs.len(),
            files: self.tables.values().map(|table| table.files.len()).sum(),
            rows: self.rows(),
            bytes: self.bytes(),
        }
    }

    /// The version that this program writes.
    pub fn version() -> u32 {
        VERSION
    }

    /// Writes it into `folder`, all or nothing. Every file it names must be on disk already.
    pub fn write(&self, folder: &Path) -> Result<()> {
        self.write_aside(folder)?;
        Self::put_in_place(folder)?;
        Self::sync_folder(folder)
    }

    /// Writes it beside its place in `folder`, where it does not count yet.
    pub(super) fn write_aside(&self, folder: &Path) -> Result<()> {
        let temporary = folder.join(TEMPORARY);
        let mut text = Vec::new();
        let mut add = |record: &Record| -> Result<()> {
            serde_json::to_writer(&mut text, record).map_err(|error| {
                Error::new(ErrorKind::Internal, "cannot write the manifest as JSON")
                    .with_source(error)
            })?;
            text.push(b'\n');
            Ok(())
        };
        add(&Record::Dump(Box::new(self.header.clone())))?;
        for (name, create) in &self.schemas {
            add(&Record::Schema {
                name: name.clone(),
                create: create.clone(),
            })?;
        }
        for table in self.tables.values() {
            add(&Record::Table(Box::new(table.clone())))?;
        }
        for (name, view) in &self.views {
            add(&Record::View {
                name: name.clone(),
                view: view.clone(),
            })?;
        }
        for program in &self.programs {
            add(&Record::Program(Box::new(program.clone())))?;
        }
        add(&self.closing())?;
        let failed = |error| Error::file("write", &temporary, error);
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&temporary)
            .map_err(failed)?;
        file.write_all(&text).map_err(failed)?;
        file.sync_all().map_err(failed)
    }

    /// Makes the one that was written aside count: at once, without waiting for the disk.
    pub(super) fn put_in_place(folder: &Path) -> Result<()> {
        let temporary = folder.join(TEMPORARY);
        fs::rename(&temporary, folder.join(names::MANIFEST))
            .map_err(|error| Error::file("rename", &temporary, error))
    }

    /// Makes that survive a power cut, and with it the names of all files before it.
    pub(super) fn sync_folder(folder: &Path) -> Result<()> {
        fs::File::open(folder)
            .and_then(|folder| folder.sync_all())
            .map_err(|error| Error::file("sync", folder, error))
    }

    /// Reads the manifest in `folder`; `None` where there is none: no dump, or one not finished.
    pub fn find(folder: &Path) -> Result<Option<Self>> {
        let path = folder.join(names::MANIFEST);
        match fs::read(&path) {
            Ok(text) => Self::parse(&text)
                .map(Some)
                .map_err(|error| error.at(|c| c.path = Some(path.display().to_string()))),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::file("read", &path, error)),
        }
    }

    fn parse(text: &[u8]) -> Result<Self> {
        let damaged = |what: String| {
            Error::new(
                ErrorKind::Damaged,
                format!("the manifest of the dump {what}"),
            )
            .with_fix("remove the dump's folder, so that the dump is made again")
        };
        let mut header: Option<DumpHeader> = None;
        let mut schemas = BTreeMap::new();
        let mut tables = BTreeMap::new();
        let mut views = BTreeMap::new();
        let mut programs = Vec::new();
        let mut closing = None;
        for (number, line) in text.split(|byte| *byte == b'\n').enumerate() {
            if line.is_empty() {
                continue;
            }
            // The version is looked at first: a newer form may not parse as ours.
            if header.is_none() {
                #[derive(Deserialize)]
                struct Versioned {
                    version: u32,
                }
                let Versioned { version } = serde_json::from_slice(line)
                    .map_err(|error| damaged("has no version".into()).with_source(error))?;
                if version > VERSION {
                    return Err(Error::new(
                        ErrorKind::Checkpoint,
                        format!(
                            "the dump was written by a newer tideway (manifest version {version}, \
                             this one reads up to {VERSION})"
                        ),
                    )
                    .with_fix("use the newer tideway, or remove the dump's folder"));
                }
            }
            if closing.is_some() {
                return Err(damaged(format!(
                    "goes on behind its end, in line {}",
                    number + 1
                )));
            }
            let record: Record = serde_json::from_slice(line).map_err(|error| {
                damaged(format!("cannot be read in line {}", number + 1)).with_source(error)
            })?;
            match record {
                Record::Dump(record) => header = Some(*record),
                Record::Schema { name, create } => {
                    schemas.insert(name, create);
                }
                Record::Table(table) => {
                    tables.insert(table.structure.table.clone(), *table);
                }
                Record::View { name, view } => {
                    views.insert(name, view);
                }
                Record::Program(program) => programs.push(*program),
                complete @ Record::Complete { .. } => closing = Some(complete),
            }
        }
        let (Some(header), Some(closing)) = (header, closing) else {
            return Err(damaged("is cut short".into()));
        };
        let manifest = Self {
            header,
            schemas,
            tables,
            views,
            programs,
        };
        let same =
            serde_json::to_value(&closing).ok() == serde_json::to_value(manifest.closing()).ok();
        if !same {
            return Err(damaged("does not hold what its end says".into()));
        }
        Ok(manifest)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::dump_files::ProgramKind;

    pub(in crate::dump_files) fn manifest() -> Manifest {
        let table = TableName::new("shop", "orders");
        Manifest {
            header: DumpHeader {
                version: VERSION,
                dump_id: "d1".into(),
                task: "t".into(),
                source: "s".into(),
                source_identity: "1".into(),
                selection: "take shop.*".into(),
                relay: None,
                files_in: None,
                flavor: Flavor::MariaDB,
                server_version: "10.11".into(),
                position: Some(Position::new("bin.000001", 4)),
                gtid_set: Some(GtidSet::parse(Flavor::MariaDB, "0-1-5").unwrap()),
                span: Some(DumpSpan {
                    from: Position::new("bin.000001", 4),
                    from_gtid_set: None,
                    until: Position::new("bin.000001", 400),
                }),
                schema_defaults: [("shop".into(), ("utf8mb4".into(), "utf8mb4_bin".into()))].into(),
                consistency: "flush".into(),
                notes: vec!["a note".into()],
                consistent_at: Timestamp::from_seconds(1),
                finished_at: Timestamp::from_seconds(2),
            },
            schemas: [("shop".to_owned(), "CREATE DATABASE `shop`".to_owned())].into(),
            tables: [(
                table.clone(),
                DumpTable {
                    structure: Structure {
                        table,
                        columns: Vec::new(),
                        keys: Vec::new(),
                        foreign_keys: Vec::new(),
                        engine: "InnoDB".into(),
                        charset: "utf8mb4".into(),
                        collation: "utf8mb4_general_ci".into(),
                        versioned: false,
                    },
                    create: "CREATE TABLE".into(),
                    files: vec![DumpFile {
                        name: "f".into(),
                        rows: 3,
                        bytes: 9,
                        crc32: 7,
                        packed: None,
                    }],
                    strict_from: Some(StrictFrom {
                        position: Position::new("bin.000001", 300),
                        is_exact: true,
                        is_tied: false,
                    }),
                },
            )]
            .into(),
            views: [(
                TableName::new("shop", "v"),
                DumpView {
                    create: "CREATE VIEW".into(),
                    columns: vec!["a".into()],
                },
            )]
            .into(),
            programs: vec![DumpProgram {
                kind: ProgramKind::Trigger,
                name: TableName::new("shop", "g"),
                table: Some(TableName::new("shop", "orders")),
                sql_mode: String::new(),
                collation: "utf8mb4_bin".into(),
                time_zone: None,
                create: "CREATE TRIGGER".into(),
            }],
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let folder = tempfile::tempdir().unwrap();
        assert!(Manifest::find(folder.path()).unwrap().is_none());
        manifest().write(folder.path()).unwrap();
        assert_eq!(Manifest::find(folder.path()).unwrap(), Some(manifest()));
    }

    #[test]
    fn a_damaged_or_newer_one_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        manifest().write(folder.path()).unwrap();
        let path = folder.path().join(names::MANIFEST);
        let text = fs::read_to_string(&path).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        let cut = lines[..lines.len() - 1].join("\n");
        let fewer = [&lines[..1], &lines[2..]].concat().join("\n");
        for (wrong, kind) in [
            (cut, ErrorKind::Damaged),
            (fewer, ErrorKind::Damaged),
            (
                text.replace("\"version\":3", "\"version\":4"),
                ErrorKind::Checkpoint,
            ),
            (String::new(), ErrorKind::Damaged),
        ] {
            fs::write(&path, wrong).unwrap();
            assert_eq!(Manifest::find(folder.path()).unwrap_err().kind(), kind);
        }
    }
}
