//! How a table is read: which columns, in which form, in which chunks.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::model::{Error, ErrorKind, Result, TableName, table::quote_name};
use crate::schema::{Column, ColumnKind, Generated, Structure};

use super::catalogue::Described;

/// The most chunks that one table is cut into.
const MOST_CHUNKS: u64 = 10_000;

/// A part of a table's rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Chunk {
    /// All of them.
    Whole,
    /// Those whose key is in this range, both ends included.
    Range { low: i128, high: i128 },
}

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
    pub(super) chunks: Vec<Chunk>,
    /// Estimated.
    pub(super) rows: u64,
    /// Estimated.
    pub(super) bytes: u64,
    pub(super) is_unversioned: bool,
    /// A file ends once it has this many bytes.
    pub(super) file_bytes: u64,
    files: AtomicU32,
}

impl TablePlan {
    pub(super) fn new(described: &Described, file_bytes: u64) -> Result<Self> {
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
        Ok(Self {
            structure: structure.clone(),
            columns,
            chunks: vec![Chunk::Whole],
            rows: described.rows,
            bytes: described.bytes,
            is_unversioned: described.is_unversioned(),
            file_bytes: file_bytes.max(1),
            files: AtomicU32::new(0),
        })
    }

    /// The number of the table's next file, from 1.
    pub(super) fn next_file_number(&self) -> u32 {
        self.files.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub(super) fn table(&self) -> &TableName {
        &self.structure.table
    }

    /// The column by whose ranges the table can be cut: the whole of its row key, and an integer.
    pub(super) fn range_column(&self) -> Option<&str> {
        let [part] = self.structure.row_key()?.parts.as_slice() else {
            return None;
        };
        let name = part.column.as_deref()?;
        let (column, _) = self
            .columns
            .iter()
            .find(|(column, _)| column.name.eq_ignore_ascii_case(name))?;
        matches!(column.kind, ColumnKind::Integer { .. }).then_some(column.name.as_str())
    }

    /// How many chunks of about a file's size it has.
    pub(super) fn chunk_count(&self) -> u64 {
        self.bytes.div_ceil(self.file_bytes).clamp(1, MOST_CHUNKS)
    }

    /// The query for a chunk's rows.
    pub(super) fn select(&self, chunk: &Chunk) -> String {
        let list: Vec<String> = self
            .columns
            .iter()
            .map(|(column, form)| select_item(column, form))
            .collect();
        let mut text = format!("SELECT {} FROM {}", list.join(", "), self.table().quoted());
        if let (Chunk::Range { low, high }, Some(column)) = (chunk, self.range_column()) {
            let column = quote_name(column);
            let _ = write!(text, " WHERE {column} BETWEEN {low} AND {high}");
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

fn select_item(column: &Column, form: &Form) -> String {
    let name = quote_name(&column.name);
    match (&column.kind, form) {
        // The text protocol gives six digits of a FLOAT, and as many behind the point as the type
        // says of either; as a product it is a DOUBLE with all the digits that tell it from others.
        // Unlike a sum, the product keeps the sign of a zero.
        (ColumnKind::Float | ColumnKind::Double, _) => format!("{name} * 1e0"),
        (_, Form::EnumIndex) => format!("{name} + 0"),
        _ => name,
    }
}

/// Cuts `low..=high` into `count` ranges, or fewer where there are not as many numbers.
pub(super) fn ranges(low: i128, high: i128, count: u64) -> Vec<Chunk> {
    let span = high - low + 1;
    let count = i128::from(count).clamp(1, span.max(1));
    (0..count)
        .map(|index| Chunk::Range {
            low: low + span * index / count,
            high: low + span * (index + 1) / count - 1,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_cover_all_without_overlap() {
        for (low, high, count) in [
            (0, 9, 3),
            (-5, 5, 4),
            (7, 7, 5),
            (i128::from(i64::MIN), i128::from(u64::MAX), 10_000),
        ] {
            let mut next = low;
            for chunk in ranges(low, high, count) {
                let Chunk::Range { low, high } = chunk else {
                    panic!("not a range")
                };
                assert_eq!(low, next);
                assert!(low <= high);
                next = high + 1;
            }
            assert_eq!(next, high + 1);
        }
    }
}
