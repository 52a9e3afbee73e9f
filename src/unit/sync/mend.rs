//! Statements about one row that is not on the target as the binlog says: what to look at, and how to
//! make it what the source has.

use super::equal::write_equal;
use super::plan::{Placed, Plan, Separator};
use crate::model::value::{Row, Value};
use crate::model::{Error, ErrorKind, Result};

/// How many rows of the target a stop shows for each key.
const SHOWN: usize = 3;

/// A unique key of the target.
#[derive(Debug)]
pub(super) struct Unique {
    pub(super) name: String,
    /// For each of its parts the column's place at the source, and how much of it counts.
    pub(super) parts: Vec<(usize, Option<u32>)>,
    /// Whether the source has it too: then no two of its rows hold one value at one moment.
    pub(super) is_at_source: bool,
    /// The columns of it that the target compares otherwise than the source.
    pub(super) folded: Vec<usize>,
}

impl Plan {
    /// A SELECT of the rows that the target has under the row's key: for each column its value, then
    /// whether it is the row's. `None` without a key.
    pub(super) fn select_by_key(&self, row: &Row<'_>) -> Result<Option<String>> {
        if !self.has_key() {
            return Ok(None);
        }
        let mut condition = Vec::new();
        self.write_key_condition(&mut condition, row)?;
        self.select(row, &condition).map(Some)
    }

    /// The same for the row that is most like it, for a table without a key: it has the same value in
    /// more than half of the columns.
    pub(super) fn select_nearest(&self, row: &Row<'_>) -> Result<String> {
        let mut likeness = Vec::new();
        let mut separator = Separator::new(b" + ");
        let mut columns = 0;
        for (column, value) in self.zip(row)? {
            if let Some(name) = column.stored() {
                columns += 1;
                separator.write(&mut likeness);
                likeness.push(b'(');
                write_equal(&mut likeness, name, column, value)?;
                likeness.push(b')');
            }
        }
        let mut condition = likeness.clone();
        condition.extend_from_slice(format!(" > {} ORDER BY ", columns / 2).as_bytes());
        condition.extend_from_slice(&likeness);
        condition.extend_from_slice(b" DESC");
        self.select(row, &condition)
    }

    /// The same for each unique key of the target whose value the row would take, with the key's name.
    pub(super) fn select_colliding(&self, row: &Row<'_>) -> Result<Vec<(String, String)>> {
        let mut selects = Vec::new();
        for unique in &self.uniques {
            let mut condition = Vec::new();
            if self.write_unique(&mut condition, unique, row)? {
                selects.push((unique.name.clone(), self.select(row, &condition)?));
            }
        }
        Ok(selects)
    }

    fn select(&self, row: &Row<'_>, condition: &[u8]) -> Result<String> {
        let mut out = b"SELECT ".to_vec();
        let mut separator = Separator::new(b", ");
        for (column, _) in self.zip(row)? {
            separator.write(&mut out);
            out.extend_from_slice(column.stored().unwrap_or("NULL").as_bytes());
        }
        for (column, value) in self.zip(row)? {
            separator.write(&mut out);
            match column.stored() {
                Some(name) => write_equal(&mut out, name, column, value)?,
                None => out.push(b'1'),
            }
        }
        out.extend_from_slice(b" FROM ");
        out.extend_from_slice(self.quoted.as_bytes());
        out.extend_from_slice(b" WHERE ");
        out.extend_from_slice(condition);
        out.extend_from_slice(format!(" LIMIT {SHOWN}").as_bytes());
        text_of(out)
    }

    /// The queries that find what holds a unique value of `row`, other than the row under the key of
    /// `but`.
    pub(super) fn select_in_the_way(&self, row: &Row<'_>, but: &Row<'_>) -> Result<Vec<String>> {
        let mut selects = Vec::new();
        for unique in &self.uniques {
            let mut out = b"SELECT 1 FROM ".to_vec();
            out.extend_from_slice(self.quoted.as_bytes());
            out.extend_from_slice(b" WHERE ");
            if !self.write_unique(&mut out, unique, row)? {
                continue;
            }
            if self.has_key() {
                out.extend_from_slice(b" AND NOT (");
                self.write_key_condition(&mut out, but)?;
                out.push(b')');
            }
            out.extend_from_slice(b" LIMIT 1");
            selects.push(text_of(out)?);
        }
        Ok(selects)
    }

    /// The statements that take out what has one of the row's unique values because it is of another
    /// moment: by the keys of the source alone, and only the very same values. What else is in the way
    /// has not changed, and nothing would bring it back.
    pub(super) fn write_room_in_span(&self, row: &Row<'_>) -> Result<Vec<Vec<u8>>> {
        let mut statements = Vec::new();
        for unique in self.uniques.iter().filter(|unique| unique.is_at_source) {
            let mut out = b"DELETE FROM ".to_vec();
            out.extend_from_slice(self.quoted.as_bytes());
            out.extend_from_slice(b" WHERE ");
            if !self.write_unique(&mut out, unique, row)? {
                continue;
            }
            for index in &unique.folded {
                let (column, value) = self.at(*index, row)?;
                if let Some(name) = column.stored() {
                    out.extend_from_slice(b" AND ");
                    write_equal(&mut out, name, column, value)?;
                }
            }
            statements.push(out);
        }
        Ok(statements)
    }

    /// An UPDATE that makes the row under the key of `old` the whole of `new`; `None` without a key.
    pub(super) fn write_make(&self, old: &Row<'_>, new: &Row<'_>) -> Result<Option<Vec<u8>>> {
        if !self.has_key() {
            return Ok(None);
        }
        let mut out = b"UPDATE ".to_vec();
        out.extend_from_slice(self.quoted.as_bytes());
        out.extend_from_slice(b" SET ");
        let mut separator = Separator::new(b", ");
        for (column, value) in self.zip(new)? {
            if let Some(name) = &column.name {
                separator.write(&mut out);
                out.extend_from_slice(name.as_bytes());
                out.extend_from_slice(b" = ");
                column.write(&mut out, value)?;
            }
        }
        out.extend_from_slice(b" WHERE ");
        self.write_key_condition(&mut out, old)?;
        Ok(Some(out))
    }

    /// A DELETE by the key alone, whatever else the row holds; `None` without a key.
    pub(super) fn write_delete_by_key(&self, row: &Row<'_>) -> Result<Option<Vec<u8>>> {
        if !self.has_key() {
            return Ok(None);
        }
        let mut out = b"DELETE FROM ".to_vec();
        out.extend_from_slice(self.quoted.as_bytes());
        out.extend_from_slice(b" WHERE ");
        self.write_key_condition(&mut out, row)?;
        Ok(Some(out))
    }

    /// The condition that a row holds the same value of a unique key; `false`, and nothing written, if
    /// none can: NULLs never collide.
    fn write_unique(&self, out: &mut Vec<u8>, unique: &Unique, row: &Row<'_>) -> Result<bool> {
        let begin = out.len();
        let mut separator = Separator::new(b" AND ");
        for (index, prefix) in &unique.parts {
            let (column, value) = self.at(*index, row)?;
            let Some(name) = column.stored().filter(|_| *value != Value::Null) else {
                out.truncate(begin);
                return Ok(false);
            };
            separator.write(out);
            match prefix {
                None => {
                    out.extend_from_slice(name.as_bytes());
                    out.extend_from_slice(b" = ");
                    column.write(out, value)?;
                }
                Some(length) => {
                    out.extend_from_slice(format!("LEFT({name}, {length}) = LEFT(").as_bytes());
                    column.write(out, value)?;
                    out.extend_from_slice(format!(", {length})").as_bytes());
                }
            }
        }
        Ok(out.len() > begin)
    }
}

fn text_of(query: Vec<u8>) -> Result<String> {
    String::from_utf8(query).map_err(|why| {
        Error::new(ErrorKind::Internal, "a query that is not UTF-8").with_source(why)
    })
}

impl Placed {
    /// The column's quoted name on the target, if it has the column, computed or not.
    fn stored(&self) -> Option<&str> {
        self.there.as_deref()
    }
}
