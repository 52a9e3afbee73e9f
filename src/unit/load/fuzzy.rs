//! Loading a dump without a lock: two of its rows may have one unique value, as each is of a moment of
//! its own. The one that is in the way is taken out by name, by its value of that very key, and sync
//! brings it back: both of the two have changed within the dump's span, and a change in the span is
//! written with the whole row.
//!
//! That is so for the unique keys of the source alone. By a key that only the target has, or one by
//! which it holds more values to be equal, rows would go that never changed, and nothing would bring
//! them back: such a row in the way stops the load, as it does in every other dump.

use std::collections::BTreeMap;

use crate::connect::Session;
use crate::dump_files::Manifest;
use crate::model::{Result, TableName, table::quote_name};
use crate::schema::{Generated, Key, Structure};
use crate::source::read_structures_of;

use super::long_row::values;
use super::pieces::{Batch, Change};
use super::{LoadJob, Work};

/// How many rows one DELETE names.
const ROWS: usize = 64;

/// The unique keys by which rows may be taken out of the target, by the source's table.
#[derive(Debug, Default)]
pub(super) struct Room {
    keys: BTreeMap<TableName, Vec<UniqueKey>>,
}

/// A unique key that both sides have.
#[derive(Debug, PartialEq, Eq)]
struct UniqueKey(Vec<Part>);

/// A column of it.
#[derive(Debug, PartialEq, Eq)]
struct Part {
    /// Its place among the values of a row of the dump.
    place: usize,
    /// Its quoted name on the target.
    name: String,
    prefix: Option<u32>,
    /// The target compares it otherwise than the source: only the very same bytes are the same value.
    is_folded: bool,
}

impl Room {
    /// Looks at the keys of a dump's tables on both sides.
    pub(super) async fn find(
        session: &mut Session,
        job: &LoadJob,
        manifest: &Manifest,
    ) -> Result<Self> {
        let targets: Vec<TableName> = manifest
            .tables
            .keys()
            .map(|table| job.task.routes.target(table))
            .collect();
        let there: BTreeMap<TableName, Structure> = read_structures_of(session, &targets)
            .await?
            .into_iter()
            .map(|structure| (structure.table.clone(), structure))
            .collect();
        let keys = manifest
            .tables
            .iter()
            .zip(&targets)
            .filter_map(|((name, table), target)| {
                let keys = shared_keys(&table.structure, there.get(target)?);
                Some((name.clone(), keys))
            })
            .collect();
        Ok(Self { keys })
    }

    /// Puts before each statement of the batch those that take out what is in the way of its rows.
    pub(super) fn make(&self, work: &Work, batch: &mut Batch) {
        for change in &mut batch.changes {
            let deletes = self.deletes(work, change);
            change.before.extend(deletes);
        }
    }

    fn deletes(&self, work: &Work, change: &Change) -> Vec<Vec<u8>> {
        let rows: Vec<Vec<&[u8]>> = values(&change.text)
            .into_iter()
            .filter_map(|row| {
                let inner = row.trim_ascii().strip_prefix(b"(")?.strip_suffix(b")")?;
                Some(values(inner))
            })
            .collect();
        let target = work.target.quoted();
        let mut deletes = Vec::new();
        for key in self.keys.get(&work.table).into_iter().flatten() {
            let conditions: Vec<Vec<u8>> =
                rows.iter().filter_map(|row| key.condition(row)).collect();
            for some in conditions.chunks(ROWS) {
                let mut text = format!("DELETE FROM {target} WHERE ").into_bytes();
                text.extend_from_slice(&some.join(&b" OR "[..]));
                deletes.push(text);
            }
        }
        deletes
    }
}

impl UniqueKey {
    /// That a row has the same value of the key; `None` if it has none: NULLs never collide.
    fn condition(&self, row: &[&[u8]]) -> Option<Vec<u8>> {
        let mut text = b"(".to_vec();
        for (index, part) in self.0.iter().enumerate() {
            let value = row.get(part.place)?.trim_ascii();
            if value.eq_ignore_ascii_case(b"NULL") {
                return None;
            }
            if index > 0 {
                text.extend_from_slice(b" AND ");
            }
            part.write(&mut text, value);
        }
        text.push(b')');
        Some(text)
    }
}

impl Part {
    fn write(&self, text: &mut Vec<u8>, value: &[u8]) {
        let name = self.name.as_bytes();
        let (before, after) = match self.prefix {
            Some(length) => (b"LEFT(".to_vec(), format!(", {length})").into_bytes()),
            None => (Vec::new(), Vec::new()),
        };
        let (of_name, of_value) = (
            [&before, name, &after].concat(),
            [&before, value, &after].concat(),
        );
        text.extend_from_slice(&[&of_name, &b" = "[..], &of_value].concat());
        if self.is_folded {
            let bytes = |of: &[u8]| {
                [
                    b"CAST(CONVERT(".as_slice(),
                    of,
                    b" USING utf8mb4) AS BINARY)",
                ]
                .concat()
            };
            text.extend_from_slice(b" AND ");
            text.extend_from_slice(&[&bytes(&of_name), &b" = "[..], &bytes(&of_value)].concat());
        }
    }
}

/// The unique keys of the source that the target has too.
fn shared_keys(source: &Structure, target: &Structure) -> Vec<UniqueKey> {
    let unique = |structure: &Structure| -> Vec<Vec<(String, Option<u32>)>> {
        let keys = structure.keys.iter().filter(|key| key.unique);
        keys.filter_map(columns).collect()
    };
    let theirs = unique(target);
    unique(source)
        .into_iter()
        .filter(|key| theirs.contains(key))
        .filter_map(|key| {
            let parts = key.iter().map(|(column, prefix)| {
                Some(Part {
                    place: place(source, column)?,
                    name: quote_name(column),
                    prefix: *prefix,
                    is_folded: collation(source, column) != collation(target, column),
                })
            });
            parts.collect::<Option<Vec<Part>>>().map(UniqueKey)
        })
        .collect()
}

/// A key's columns in lower case with their prefixes; `None` if a part is no column.
fn columns(key: &Key) -> Option<Vec<(String, Option<u32>)>> {
    let parts = key.parts.iter();
    parts
        .map(|part| Some((part.column.as_ref()?.to_lowercase(), part.prefix)))
        .collect()
}

/// Where a row of the dump has the column's value: computed ones are left out.
fn place(structure: &Structure, column: &str) -> Option<usize> {
    let mut stored = structure
        .columns
        .iter()
        .filter(|column| column.generated == Generated::No);
    stored.position(|stored| stored.name.to_lowercase() == column)
}

fn collation<'a>(structure: &'a Structure, column: &str) -> Option<&'a str> {
    let index = structure.column_index(column)?;
    structure.columns.get(index)?.collation.as_deref()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(place: usize, name: &str) -> Part {
        Part {
            place,
            name: name.to_owned(),
            prefix: None,
            is_folded: false,
        }
    }

    fn text(key: &UniqueKey, row: &str) -> Option<String> {
        let condition = key.condition(&values(row.as_bytes()))?;
        Some(String::from_utf8(condition).unwrap())
    }

    #[test]
    fn a_row_in_the_way_is_named_by_its_key() {
        let key = UniqueKey(vec![part(2, "`c`"), part(0, "`a`")]);
        assert_eq!(
            text(&key, "1,'x, (y)','it''s'").unwrap(),
            "(`c` = 'it''s' AND `a` = 1)"
        );
        assert_eq!(text(&key, "NULL,2,3"), None);
    }

    #[test]
    fn prefixes_and_other_collations_are_compared_as_they_must() {
        let key = UniqueKey(vec![Part {
            prefix: Some(3),
            is_folded: true,
            ..part(0, "`t`")
        }]);
        assert_eq!(
            text(&key, "'abcd'").unwrap(),
            "(LEFT(`t`, 3) = LEFT('abcd', 3) AND CAST(CONVERT(LEFT(`t`, 3) USING utf8mb4) AS BINARY) \
             = CAST(CONVERT(LEFT('abcd', 3) USING utf8mb4) AS BINARY))"
        );
    }
}
