//! How a table is read: which columns, in which form, in which chunks.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::model::{Error, ErrorKind, Result, TableName, table::quote_name};
use crate::schema::{Column, ColumnKind, Generated, Structure};

use super::catalogue::Described;
use super::chunk::{Bound, Chunk, ChunkKey};

/// A table is cut finer than files are to be, so that each reader gets some chunks of it, but not into
/// chunks below this size.
const LEAST_CHUNK: u64 = 4 << 20;

/// The most chunks that one table is cut into, about.
const MOST_CHUNKS: u64 = 10_000;

/// The chunks of a table that each reader should get, if it is big enough.
const CHUNKS_PER_READER: u64 = 4;

/// How one column's text is to be taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// As the server gives it.
    Text,
    /// An ENUM that has no member `''`: the empty text is the invalid value of index 0.
    Enum,
    /// An ENUM that has one: its index was asked for instead of its text.
    EnumIndex,
}

/// How a table is read.
#[derive(Debug)]
pub(super) struct TablePlan {
    pub(super) structure: Structure,
    /// The columns that are written: all but the computed ones.
    pub(super) columns: Vec<(Column, Form)>,
    /// The key by which it can be cut.
    pub(super) key: Option<ChunkKey>,
    /// How many rows a chunk should have.
    pub(super) chunk_rows: u64,
    /// Estimated.
    pub(super) rows: u64,
    /// Estimated.
    pub(super) bytes: u64,
    pub(super) is_unversioned: bool,
    /// Its text, by which it is seen that it is still the same.
    pub(super) fingerprint: String,
    /// The number of the group that must be read at one moment, in a dump without a lock.
    pub(super) tied: Option<usize>,
    /// Where cutting goes on, in a dump that was begun by an earlier process.
    pub(super) cut_from: Option<Bound>,
    /// A file ends once it has this many bytes.
    pub(super) file_bytes: u64,
    files: AtomicU32,
}

impl TablePlan {
    /// A plan for a table that `readers` connections read.
    pub(super) fn new(described: &Described, file_bytes: u64, readers: usize) -> Result<Self> {
        let structure = &described.structure;
        let columns: Vec<_> = structure
            .columns
            .iter()
            .filter(|column| column.generated == Generated::No)
            .map(|column| (column.clone(), form(column)))
            .collect();
        if columns.is_empty() {
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!("{} has no column that can be written", structure.table),
            )
            .with_fix("leave the table out"));
        }
        let file_bytes = file_bytes.max(1);
        let bytes = described.bytes.max(1);
        let fair = bytes / (readers.max(1) as u64 * CHUNKS_PER_READER);
        let chunk_bytes = file_bytes
            .min(fair.max(LEAST_CHUNK))
            .max(bytes / MOST_CHUNKS);
        let per_row = (bytes / described.rows.max(1)).max(1);
        Ok(Self {
            key: ChunkKey::of(structure),
            chunk_rows: (chunk_bytes / per_row).max(1),
            structure: structure.clone(),
            columns,
            rows: described.rows,
            bytes: described.bytes,
            is_unversioned: described.is_unversioned(),
            fingerprint: described.fingerprint(),
            tied: None,
            cut_from: None,
            file_bytes,
            files: AtomicU32::new(0),
        })
    }

    /// The number of the table's next file, from 1.
    pub(super) fn next_file_number(&self) -> u32 {
        self.files.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Files up to this number are there already.
    pub(super) fn files_go_on_behind(&self, number: u32) {
        self.files.store(number, Ordering::Relaxed);
    }

    /// Whether nothing tells its rows apart.
    pub(super) fn is_keyless(&self) -> bool {
        self.structure.row_key().is_none()
    }

    /// Whether it must be read at one moment whose place is known exactly.
    pub(super) fn needs_exact_moment(&self) -> bool {
        self.is_keyless() || self.tied.is_some()
    }

    pub(super) fn table(&self) -> &TableName {
        &self.structure.table
    }

    /// Whether it is worth cutting.
    pub(super) fn is_big(&self) -> bool {
        self.key.is_some()
            && !self.is_unversioned
            && self.tied.is_none()
            && (self.cut_from.is_some() || self.rows > self.chunk_rows + self.chunk_rows / 2)
    }

    /// About how many chunks it will have.
    pub(super) fn chunks_expected(&self) -> u64 {
        if self.is_big() {
            self.rows.div_ceil(self.chunk_rows)
        } else {
            1
        }
    }

    /// The query for a chunk's rows.
    pub(super) fn select(&self, chunk: &Chunk) -> String {
        let list: Vec<String> = self
            .columns
            .iter()
            .map(|(column, form)| match form {
                Form::EnumIndex => format!("{} + 0", quote_name(&column.name)),
                Form::Enum | Form::Text => select_item(column),
            })
            .collect();
        let mut text = format!("SELECT {} FROM {}", list.join(", "), self.table().quoted());
        if let Some(key) = &self.key
            && let Some(condition) = key.condition(chunk)
        {
            // Else a wide range may be read by the whole table.
            let index = quote_name(&key.index);
            let _ = write!(text, " FORCE INDEX ({index}) WHERE {condition}");
        }
        text
    }

    /// What each INSERT starts with.
    pub(super) fn insert_head(&self) -> String {
        let list: Vec<String> = self
            .columns
            .iter()
            .map(|(column, _)| quote_name(&column.name))
            .collect();
        format!(
            "INSERT INTO {} ({}) VALUES\n",
            quote_name(&self.table().name),
            list.join(",")
        )
    }
}

fn form(column: &Column) -> Form {
    match &column.kind {
        ColumnKind::Enum { members } if members.iter().any(String::is_empty) => Form::EnumIndex,
        ColumnKind::Enum { .. } => Form::Enum,
        _ => Form::Text,
    }
}

/// What a column is asked for by.
pub(super) fn select_item(column: &Column) -> String {
    let name = quote_name(&column.name);
    match column.kind {
        // The text protocol gives six digits of a FLOAT, and as many behind the point as the type
        // says of either; as a product it is a DOUBLE with all the digits that tell it from others.
        // Unlike a sum, the product keeps the sign of a zero.
        ColumnKind::Float | ColumnKind::Double => format!("{name} * 1e0"),
        _ => name,
    }
}
