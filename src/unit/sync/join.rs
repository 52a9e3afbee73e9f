//! One UPDATE for many rows: a join of the table with a list of keys and values.
//!
//! Only what comes out of such a list exactly as it would out of a statement of its own is joined: the
//! list's columns get the type of all their values together, so each holds values of one kind, and
//! text is compared in the collation of the table's own key. The list stands in front, so that the
//! rows are found by their key, and the server counts those that it found.

use std::fmt::Write as _;

use super::plan::{Plan, is_same};
use crate::model::value::Row;
use crate::model::{Flavor, Result, ServerVersion};
use crate::schema::{Column, ColumnKind, Generated, Structure};

/// Rows whose values are longer than this have statements of their own: the servers would write a list
/// of them to disk.
const ROW_BYTES: usize = 2048;
/// The columns of a table that can be told apart in a mask.
const COLUMNS: usize = 128;

/// How a table's rows are updated by a list.
#[derive(Debug)]
pub(super) struct Join {
    flavor: Flavor,
    /// `t.`id` = v.k0`, for each column of the key.
    on: String,
    /// The columns that may be set by it.
    settable: u128,
}

impl Join {
    /// How the rows of `plan` on `target`; `None` where a list would not do the very same.
    pub(super) fn of(plan: &Plan, target: &Structure, version: &ServerVersion) -> Option<Self> {
        let is_simple = plan.shares_deletes()
            && plan.columns().len() <= COLUMNS
            && target
                .columns
                .iter()
                .all(|column| column.generated == Generated::No);
        if !is_simple || !has_lists(version) {
            return None;
        }
        let mut on = String::new();
        for (number, (name, source)) in plan.key_columns().enumerate() {
            let there = target.columns.get(target.column_index(&source.name)?)?;
            let collation = comparable(source, there)?;
            let and = if number > 0 { " AND " } else { "" };
            let _ = write!(on, "{and}t.{name} = v.k{number}{collation}");
        }
        let mut settable = 0;
        for (index, placed) in plan.columns().iter().enumerate() {
            let there = target.column_index(&placed.source.name);
            let there = there.and_then(|at| target.columns.get(at));
            let is_listed = there.is_some_and(|there| is_listed(&placed.source, there));
            if is_listed && !plan.order.is_of_key(index) {
                settable |= 1 << index;
            }
        }
        Some(Self {
            flavor: version.flavor,
            on,
            settable,
        })
    }
}

/// Whether the server takes a list of values for a table; TiDB does not.
fn has_lists(version: &ServerVersion) -> bool {
    match version.flavor {
        Flavor::MySQL => version.number >= (8, 0, 19),
        Flavor::MariaDB => version.number >= (10, 3, 3),
        Flavor::TiDB => false,
    }
}

/// What is behind a value of the list where it is compared with the key's column; `None` if it cannot be
/// so that the key is used.
fn comparable(source: &Column, there: &Column) -> Option<String> {
    match (&source.kind, &there.kind) {
        (ColumnKind::Integer { .. }, ColumnKind::Integer { .. })
        | (
            ColumnKind::Binary { .. } | ColumnKind::FixedBinary { .. },
            ColumnKind::Binary { .. } | ColumnKind::FixedBinary { .. },
        ) => Some(String::new()),
        (ColumnKind::Text { .. }, ColumnKind::Text { .. })
            if is_utf8(source) && there.charset.as_deref() == Some("utf8mb4") =>
        {
            Some(format!(" COLLATE {}", there.collation.as_deref()?))
        }
        _ => None,
    }
}

fn is_utf8(column: &Column) -> bool {
    matches!(
        column.charset.as_deref(),
        Some("utf8mb4" | "utf8mb3" | "utf8" | "ascii")
    )
}

/// Whether a list's column of such values has them all as they are: numbers of one kind, or text that
/// is UTF-8 on the way.
fn is_listed(source: &Column, there: &Column) -> bool {
    match (&source.kind, &there.kind) {
        (ColumnKind::Integer { .. }, ColumnKind::Integer { .. })
        | (
            ColumnKind::Binary { .. } | ColumnKind::FixedBinary { .. },
            ColumnKind::Binary { .. } | ColumnKind::FixedBinary { .. },
        ) => true,
        (ColumnKind::Text { .. }, ColumnKind::Text { .. }) => {
            let is_read = is_utf8(source) || source.charset.as_deref() == Some("latin1");
            is_read && (is_utf8(there) || there.charset.as_deref() == Some("latin1"))
        }
        (
            ColumnKind::Decimal { .. }
            | ColumnKind::Double
            | ColumnKind::Float
            | ColumnKind::Year
            | ColumnKind::Date
            | ColumnKind::Time { .. }
            | ColumnKind::DateTime { .. }
            | ColumnKind::Timestamp { .. }
            | ColumnKind::Enum { .. },
            _,
        ) => source.kind == there.kind,
        _ => false,
    }
}

impl Plan {
    /// The columns that an UPDATE sets, as a mask, if it can be one of a list; `None` for a statement of
    /// its own.
    pub(super) fn joins(&self, before: &Row<'_>, after: &Row<'_>) -> Result<Option<u128>> {
        let Some(join) = &self.join else {
            return Ok(None);
        };
        let mut mask = 0_u128;
        let mut bytes = 0;
        for (index, (_, value)) in self.zip(after)?.enumerate() {
            let (_, old) = self.at(index, before)?;
            if self.is_set_always(index) || !is_same(old, value) {
                mask |= 1 << index;
                bytes += size(value);
            }
        }
        let is_whole = mask & !join.settable == 0;
        Ok((is_whole && bytes <= ROW_BYTES).then_some(mask))
    }

    /// A row of the list: its key as it was, and what it is set to.
    pub(super) fn write_joined(
        &self,
        out: &mut Vec<u8>,
        columns: u128,
        before: &Row<'_>,
        after: &Row<'_>,
    ) -> Result<()> {
        let is_mysql = self
            .join
            .as_ref()
            .is_some_and(|join| join.flavor == Flavor::MySQL);
        out.extend_from_slice(if is_mysql { b"ROW(" } else { b"(" });
        self.write_key_values(out, before)?;
        for index in members(columns) {
            let (column, value) = self.at(index, after)?;
            out.extend_from_slice(b", ");
            column.write(out, value)?;
        }
        out.push(b')');
        Ok(())
    }

    /// What is in front of a row of the list.
    pub(super) fn begin_joined(&self, out: &mut Vec<u8>, columns: u128, is_first: bool) {
        let Some(join) = self.join.as_ref().filter(|_| is_first) else {
            out.extend_from_slice(b", ");
            return;
        };
        if join.flavor == Flavor::MySQL {
            out.extend_from_slice(b"UPDATE (VALUES ");
            return;
        }
        // Names for the columns, of which MariaDB lets a list have none.
        out.extend_from_slice(b"UPDATE (SELECT ");
        let mut text = String::new();
        for (number, name) in self.list_names(columns).enumerate() {
            let comma = if number > 0 { ", " } else { "" };
            let _ = write!(text, "{comma}NULL AS {name}");
        }
        out.extend_from_slice(text.as_bytes());
        out.extend_from_slice(b" FROM DUAL WHERE FALSE UNION ALL VALUES ");
    }

    /// What is behind the list.
    pub(super) fn end_joined(&self, out: &mut Vec<u8>, columns: u128) {
        let Some(join) = &self.join else { return };
        let mut text = ") v".to_owned();
        if join.flavor == Flavor::MySQL {
            let names: Vec<String> = self.list_names(columns).collect();
            let _ = write!(text, " ({})", names.join(", "));
        }
        let _ = write!(text, " STRAIGHT_JOIN {} t ON {} SET ", self.quoted, join.on);
        for (number, index) in members(columns).enumerate() {
            let name = self.columns().get(index).and_then(|c| c.name.as_deref());
            let comma = if number > 0 { ", " } else { "" };
            let _ = write!(text, "{comma}t.{} = v.c{index}", name.unwrap_or_default());
        }
        out.extend_from_slice(text.as_bytes());
    }

    fn list_names(&self, columns: u128) -> impl Iterator<Item = String> {
        let keys = (0..self.key_columns().count()).map(|number| format!("k{number}"));
        keys.chain(members(columns).map(|index| format!("c{index}")))
    }
}

/// The places in a mask.
fn members(columns: u128) -> impl Iterator<Item = usize> {
    (0..COLUMNS).filter(move |index| columns & (1 << index) != 0)
}

/// About how long a value is as text.
fn size(value: &crate::model::value::Value<'_>) -> usize {
    use crate::model::value::Value;
    match value {
        Value::Bytes(bytes) | Value::Json(bytes) => bytes.len(),
        _ => 16,
    }
}
