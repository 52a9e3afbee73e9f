//! The events that hold rows: of both versions, compressed, and with JSON documents as changes.

use std::borrow::Cow;

use super::cursor::{self, Cursor};
use super::decode::Decoder;
use super::format::{Event, FormatDescription};
use super::shape::RowShape;
use super::{EventKind, compressed, damaged, json_diff, table_map, unsupported};
use crate::model::Result;
use crate::model::value::{Row, RowChange, Value};

/// What a rows event does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RowAction {
    /// The rows are new.
    Insert,
    /// The rows are changed.
    Update,
    /// The rows are gone.
    Delete,
}

/// A rows event, its rows not decoded yet.
#[derive(Clone, Debug)]
pub struct RowsEvent<'a> {
    /// The number of its table map.
    pub table_id: u64,
    /// What it does.
    pub action: RowAction,
    /// How many columns the rows have.
    pub column_count: usize,
    flags: u16,
    partial: bool,
    before: &'a [u8],
    after: &'a [u8],
    rows: Cow<'a, [u8]>,
}

const END_OF_STATEMENT: u16 = 0x01;
const NO_FOREIGN_KEY_CHECKS: u16 = 0x02;
const RELAXED_UNIQUE_CHECKS: u16 = 0x04;
const COMPLETE_ROWS: u16 = 0x08;
const NO_CHECK_CONSTRAINTS: u16 = 0x80;

/// The length of the extra data counts its own two bytes.
const EXTRA_LEN: usize = 2;

/// Set in a row's options when documents may be lists of changes.
const PARTIAL_JSON: u64 = 1;

impl<'a> RowsEvent<'a> {
    /// Reads the body of an event of one of the rows kinds.
    pub fn parse(event: &Event<'a>, format: &FormatDescription) -> Result<Self> {
        let kind = event.header.kind;
        let action = match kind {
            EventKind::WRITE_ROWS_V1
            | EventKind::WRITE_ROWS
            | EventKind::WRITE_ROWS_COMPRESSED_V1
            | EventKind::WRITE_ROWS_COMPRESSED => RowAction::Insert,
            EventKind::DELETE_ROWS_V1
            | EventKind::DELETE_ROWS
            | EventKind::DELETE_ROWS_COMPRESSED_V1
            | EventKind::DELETE_ROWS_COMPRESSED => RowAction::Delete,
            _ if kind.is_rows() => RowAction::Update,
            other => return Err(damaged(format!("{other} holds no rows"))),
        };
        let mut cursor = Cursor::new(event.body);
        let table_id = table_map::table_id(&mut cursor, event, format)?;
        let flags = cursor.u16()?;
        if has_extra(kind) {
            let length = usize::from(cursor.u16()?);
            let length = length
                .checked_sub(EXTRA_LEN)
                .ok_or_else(|| damaged(format!("{kind} with extra data of {length} bytes")))?;
            // What MySQL Cluster and partitioned tables add concerns the source alone.
            cursor.take(length)?;
        }
        let column_count = cursor.lenenc_len()?;
        let bitmap = column_count.div_ceil(8);
        let first = cursor.take(bitmap)?;
        let (before, after) = match action {
            RowAction::Insert => (&[][..], first),
            RowAction::Delete => (first, &[][..]),
            RowAction::Update => (first, cursor.take(bitmap)?),
        };
        let rows = if kind.is_compressed() {
            Cow::Owned(compressed::decompress(cursor.rest())?)
        } else {
            Cow::Borrowed(cursor.rest())
        };
        Ok(Self {
            table_id,
            action,
            column_count,
            flags,
            partial: kind == EventKind::PARTIAL_UPDATE_ROWS,
            before,
            after,
            rows,
        })
    }

    /// Whether the statement ends here: its table maps are valid no longer.
    pub fn ends_statement(&self) -> bool {
        self.flags & END_OF_STATEMENT != 0
    }

    /// Whether it ran with `foreign_key_checks = 0`.
    pub fn no_foreign_key_checks(&self) -> bool {
        self.flags & NO_FOREIGN_KEY_CHECKS != 0
    }

    /// Whether it ran with `unique_checks = 0`.
    pub fn relaxed_unique_checks(&self) -> bool {
        self.flags & RELAXED_UNIQUE_CHECKS != 0
    }

    /// Whether the source says that all columns are there.
    pub fn has_complete_rows(&self) -> bool {
        self.flags & COMPLETE_ROWS != 0
    }

    /// MariaDB: whether it ran with `check_constraint_checks = 0`.
    pub fn no_check_constraints(&self) -> bool {
        self.flags & NO_CHECK_CONSTRAINTS != 0
    }

    /// Whether every image has every column (`binlog_row_image = FULL`).
    pub fn is_full_image(&self) -> bool {
        let full = |bits: &[u8]| (0..self.column_count).all(|index| cursor::bit(bits, index));
        match self.action {
            RowAction::Insert => full(self.after),
            RowAction::Delete => full(self.before),
            RowAction::Update => full(self.before) && full(self.after),
        }
    }

    /// The bytes of its rows, decompressed.
    pub fn row_bytes(&self) -> usize {
        self.rows.len()
    }

    /// Its rows, decoded one by one.
    pub fn rows<'e>(&'e self, shape: &'e RowShape) -> Result<Rows<'e>> {
        if shape.decoders.len() != self.column_count {
            return Err(damaged(format!(
                "rows of {} columns behind a table map of {}",
                self.column_count,
                shape.decoders.len()
            )));
        }
        Ok(Rows {
            event: self,
            shape,
            cursor: Cursor::new(&self.rows),
            before: Image::new(self.before, self.column_count),
            after: Image::new(self.after, self.column_count),
        })
    }
}

/// Whether extra data stands behind the flags: version 2, which has MariaDB's last three too.
fn has_extra(kind: EventKind) -> bool {
    matches!(kind.0, 30..=32 | 39 | 169..=171)
}

/// Which columns an image has.
#[derive(Clone, Copy, Debug)]
struct Image<'a> {
    present: &'a [u8],
    null_bytes: usize,
    is_full: bool,
}

impl<'a> Image<'a> {
    fn new(present: &'a [u8], columns: usize) -> Self {
        let count = (0..columns)
            .filter(|index| cursor::bit(present, *index))
            .count();
        Self {
            present,
            null_bytes: count.div_ceil(8),
            is_full: count == columns,
        }
    }

    #[inline]
    fn has(&self, index: usize) -> bool {
        self.is_full || cursor::bit(self.present, index)
    }
}

/// The rows of an event. After an error there are no more.
#[derive(Clone, Debug)]
pub struct Rows<'e> {
    event: &'e RowsEvent<'e>,
    shape: &'e RowShape,
    cursor: Cursor<'e>,
    before: Image<'e>,
    after: Image<'e>,
}

impl<'e> Rows<'e> {
    fn change(&mut self) -> Result<RowChange<'e>> {
        let left = self.cursor.len();
        let change = match self.event.action {
            RowAction::Insert => RowChange::Insert {
                after: self.row(self.after)?,
            },
            RowAction::Delete => RowChange::Delete {
                before: self.row(self.before)?,
            },
            RowAction::Update => {
                let before = self.row(self.before)?;
                let mut after = if self.event.partial {
                    let mut after = self.partial_row()?;
                    apply_changes(&before, &mut after)?;
                    after
                } else {
                    self.row(self.after)?
                };
                if self.before.is_full && !self.after.is_full {
                    // MariaDB's `binlog_row_image = FULL_NODUP`: what is left out did not change.
                    for (value, old) in after.iter_mut().zip(&before) {
                        if value.is_none() {
                            value.clone_from(old);
                        }
                    }
                }
                RowChange::Update { before, after }
            }
        };
        if self.cursor.len() == left {
            return Err(damaged("rows without a column, and bytes behind them"));
        }
        Ok(change)
    }

    fn row(&mut self, image: Image<'e>) -> Result<Row<'e>> {
        let decoders = self.shape.decoders.as_slice();
        let nulls = self.cursor.take(image.null_bytes)?;
        let mut row = Row::with_capacity(decoders.len());
        if image.is_full {
            self.full_row(decoders, nulls, &mut row)?;
        } else {
            let mut position = 0;
            for (index, decoder) in decoders.iter().enumerate() {
                if !image.has(index) {
                    row.push(None);
                    continue;
                }
                let value = if cursor::bit(nulls, position) {
                    Value::Null
                } else {
                    decoder.read(&mut self.cursor)?
                };
                row.push(Some(value));
                position += 1;
            }
        }
        row.truncate(self.shape.visible);
        Ok(row)
    }

    /// A row with all its columns, as nearly all are: eight of them at a time, which are those of one
    /// byte of the bits for NULL, and most often none is set.
    fn full_row(&mut self, decoders: &[Decoder], nulls: &[u8], row: &mut Row<'e>) -> Result<()> {
        // A copy of its own stays in registers. After an error there is no next row to begin at.
        let mut cursor = self.cursor;
        for (eight, nulls) in decoders.chunks(8).zip(nulls) {
            if *nulls == 0 {
                for decoder in eight {
                    decoder.push(&mut cursor, row)?;
                }
                continue;
            }
            for (bit, decoder) in eight.iter().enumerate() {
                if nulls & (1 << bit) == 0 {
                    decoder.push(&mut cursor, row)?;
                } else {
                    row.push(Some(Value::Null));
                }
            }
        }
        self.cursor = cursor;
        Ok(())
    }

    /// An after image that may hold lists of changes in place of documents. A bit for each JSON
    /// column of the table, in the image or not, says which.
    fn partial_row(&mut self) -> Result<Row<'e>> {
        let options = self.cursor.lenenc()?;
        if options & !PARTIAL_JSON != 0 {
            return Err(unsupported(format!(
                "rows with the options {options:#x}, which this program does not know"
            ))
            .with_fix("set `binlog_row_value_options = ''` on the source"));
        }
        if options == 0 {
            return self.row(self.after);
        }
        let is_json = |decoder: &&Decoder| matches!(decoder, Decoder::Json { .. });
        let documents = self.shape.decoders.iter().filter(is_json).count();
        let partial = self.cursor.take(documents.div_ceil(8))?;
        let nulls = self.cursor.take(self.after.null_bytes)?;
        let mut row = Row::with_capacity(self.shape.decoders.len());
        let (mut position, mut document) = (0, 0);
        for (index, decoder) in self.shape.decoders.iter().enumerate() {
            let is_partial = is_json(&decoder) && {
                document += 1;
                cursor::bit(partial, document - 1)
            };
            if !self.after.has(index) {
                row.push(None);
                continue;
            }
            let value = if cursor::bit(nulls, position) {
                Value::Null
            } else {
                match decoder.read(&mut self.cursor)? {
                    Value::Json(Cow::Borrowed(bytes)) if is_partial => Value::JsonDiff(bytes),
                    value => value,
                }
            };
            row.push(Some(value));
            position += 1;
        }
        row.truncate(self.shape.visible);
        Ok(row)
    }
}

/// Puts whole documents in the place of changes, where the row as it was has the document.
fn apply_changes<'e>(before: &Row<'e>, after: &mut Row<'e>) -> Result<()> {
    for (index, (old, new)) in before.iter().zip(after).enumerate() {
        if let (Some(Value::Json(document)), Some(Value::JsonDiff(changes))) = (old, &*new) {
            let document = json_diff::apply_diffs(document, changes)
                .map_err(|e| damaged(format!("column {}: {}", index + 1, e.message())))?;
            *new = Some(Value::Json(Cow::Owned(document)));
        }
    }
    Ok(())
}

impl<'e> Iterator for Rows<'e> {
    type Item = Result<RowChange<'e>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.cursor.is_empty() {
            return None;
        }
        let change = self.change();
        if change.is_err() {
            self.cursor = Cursor::new(&[]);
        }
        Some(change)
    }
}
