//! How the rows of one source table become statements on one target table.

use super::cascade::Unmatched;
use super::equal::write_equal;
use super::join::Join;
use super::mend::Unique;
use super::order::{Order, Ties};
use crate::model::table::quote_name;
use crate::model::value::{Row, RowChange, Value};
use crate::model::{Error, ErrorKind, Flavor, Result, TableName};
use crate::schema::fit::misfit;
use crate::schema::literal::write_value;
use crate::schema::{Column, ColumnKind, Generated, Key, Structure, engine};

/// A source table at a version of its structure, laid onto the target's table.
#[derive(Debug)]
pub(super) struct Plan {
    /// The table as the source names it.
    pub(super) source: TableName,
    /// The table on the target.
    pub(super) target: TableName,
    pub(super) quoted: String,
    /// For each column of the source, in the order of row events.
    columns: Vec<Placed>,
    /// The columns of an INSERT in brackets.
    insert_columns: String,
    /// The places of the columns that tell rows apart on both sides; empty: all of them do.
    key: Vec<usize>,
    /// ENUMs on both sides, which may hold the invalid member.
    enums: Vec<usize>,
    /// Columns that the target would set by itself when a row is updated.
    auto_update: Vec<usize>,
    /// The unique keys of the target whose values a row of the source tells.
    pub(super) uniques: Vec<Unique>,
    /// Foreign keys under the table that only one side has.
    pub(super) unmatched: Vec<Unmatched>,
    /// The text columns of the key that the target compares otherwise than the source: two values that
    /// the source tells apart may be equal there.
    folded: Vec<usize>,
    /// Whether an UPDATE or DELETE must find the whole row as it was before.
    verifies_all: bool,
    /// What its changes keep their order by.
    pub(super) order: Order,
    /// How many rows are updated by one statement; `None`: each has one of its own.
    pub(super) join: Option<Join>,
}

/// Where a column of the source goes.
#[derive(Debug)]
pub(super) struct Placed {
    /// The column at the source: it says what the values are.
    pub(super) source: Column,
    /// Its quoted name on the target; `None`: the target computes it.
    pub(super) name: Option<String>,
    /// The same, also where the target computes it; `None`: the target has no such column.
    pub(super) there: Option<String>,
    /// What it is there.
    pub(super) kind: ColumnKind,
    /// Whether it is text that both sides keep in the same bytes.
    pub(super) has_same_bytes: bool,
    /// Whether the target keeps the sign of a floating zero.
    pub(super) has_signed_zeros: bool,
}

impl Plan {
    /// Lays `source` onto `target`, by the columns' names.
    pub(super) fn new(source: &Structure, target: &Structure, verifies_all: bool) -> Result<Self> {
        if !engine::rolls_back(&target.engine) {
            return Err(Error::new(
                ErrorKind::Structure,
                format!(
                    "{} on the target uses the engine {}, which cannot undo a transaction",
                    target.table, target.engine
                ),
            )
            .with_fix(format!(
                "`ALTER TABLE {} ENGINE=InnoDB` on the target, then resume",
                target.table.quoted()
            ))
            .at(|c| c.table = Some(source.table.clone())));
        }
        let mut columns = Vec::with_capacity(source.columns.len());
        let mut auto_update = Vec::new();
        for (index, column) in source.columns.iter().enumerate() {
            let place = target
                .column_index(&column.name)
                .and_then(|at| target.columns.get(at));
            let Some(place) = place else {
                if column.generated != Generated::No {
                    // What nothing stores can be missing.
                    columns.push(Placed {
                        source: column.clone(),
                        name: None,
                        there: None,
                        kind: column.kind.clone(),
                        has_same_bytes: false,
                        has_signed_zeros: false,
                    });
                    continue;
                }
                return Err(missing_column(source, target, column));
            };
            let is_computed = place.generated != Generated::No;
            if !is_computed && let Some(why) = misfit(column, place) {
                return Err(unfit_column(source, target, column, place, why));
            }
            if is_computed && column.generated == Generated::No {
                return Err(computed_column(source, target, column));
            }
            if place.auto_update && !is_computed {
                auto_update.push(index);
            }
            columns.push(Placed {
                source: column.clone(),
                name: (!is_computed).then(|| quote_name(&place.name)),
                there: Some(quote_name(&place.name)),
                kind: place.kind.clone(),
                has_same_bytes: column.charset.is_some() && column.charset == place.charset,
                has_signed_zeros: false,
            });
        }
        let names: Vec<&str> = columns
            .iter()
            .filter_map(|column| column.name.as_deref())
            .collect();
        let is_enum = |column: &Placed| {
            column.name.is_some()
                && matches!(column.source.kind, ColumnKind::Enum { .. })
                && !column.is_widened_enum()
        };
        let enums = (0..columns.len())
            .filter(|index| columns.get(*index).is_some_and(is_enum))
            .collect();
        let key = shared_key(source, target);
        let folded = key
            .iter()
            .copied()
            .filter(|index| is_folded(*index, source, target))
            .collect();
        Ok(Self {
            source: source.table.clone(),
            target: target.table.clone(),
            quoted: target.table.quoted(),
            insert_columns: format!("({})", names.join(", ")),
            key,
            folded,
            uniques: unique_keys(source, target),
            enums,
            unmatched: Vec::new(),
            columns,
            auto_update,
            verifies_all,
            order: Order::new(source, target, &Ties::default()),
            join: None,
        })
    }

    /// Takes up what its conditions must know of the target: MySQL has two zeros, MariaDB makes them one.
    pub(super) fn on(mut self, target: Flavor) -> Self {
        for column in &mut self.columns {
            column.has_signed_zeros = target == Flavor::MySQL;
        }
        self
    }

    /// For each column of the source, where it goes.
    pub(super) fn columns(&self) -> &[Placed] {
        &self.columns
    }

    /// The columns that tell rows apart: their quoted names on the target, and what they are at the source.
    pub(super) fn key_columns(&self) -> impl Iterator<Item = (&str, &Column)> {
        let places = self.key.iter().filter_map(|index| self.columns.get(*index));
        places.map(|place| (place.name.as_deref().unwrap_or_default(), &place.source))
    }

    /// Whether an UPDATE sets the column whether it changes or not.
    pub(super) fn is_set_always(&self, index: usize) -> bool {
        self.auto_update.contains(&index)
    }

    /// Whether an UPDATE changes nothing that the target stores.
    pub(super) fn is_idle(&self, before: &Row<'_>, after: &Row<'_>) -> Result<bool> {
        for (index, (column, value)) in self.zip(after)?.enumerate() {
            if column.name.is_some() && !is_same(self.at(index, before)?.1, value) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether a key tells the rows apart: then several can be named in one statement.
    pub(super) fn has_key(&self) -> bool {
        !self.key.is_empty()
    }

    /// Whether DELETEs of several rows can share a statement.
    pub(super) fn shares_deletes(&self) -> bool {
        self.has_key() && self.folded.is_empty() && !self.verifies_all
    }

    /// The key's columns that both sides compare otherwise, with both collations, for people; `None` if
    /// there are none.
    pub(super) fn describe_folded(&self, target: &Structure) -> Option<String> {
        let columns: Vec<String> = self
            .folded
            .iter()
            .filter_map(|index| {
                let source = &self.columns.get(*index)?.source;
                let there = target.columns.get(target.column_index(&source.name)?)?;
                Some(format!(
                    "`{}` is {} at the source and {} on the target",
                    source.name,
                    source.collation.as_deref().unwrap_or("binary"),
                    there.collation.as_deref().unwrap_or("binary")
                ))
            })
            .collect();
        (!columns.is_empty()).then(|| columns.join(", "))
    }

    /// The beginning of an INSERT, up to its first row.
    pub(super) fn begin_insert(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"INSERT INTO ");
        out.extend_from_slice(self.quoted.as_bytes());
        out.push(b' ');
        out.extend_from_slice(self.insert_columns.as_bytes());
        out.extend_from_slice(b" VALUES ");
    }

    /// One row of an INSERT.
    pub(super) fn write_row(&self, out: &mut Vec<u8>, row: &Row<'_>) -> Result<()> {
        out.push(b'(');
        let mut separator = Separator::new(b", ");
        for (column, value) in self.zip(row)? {
            if column.name.is_some() {
                separator.write(out);
                column.write(out, value)?;
            }
        }
        out.push(b')');
        Ok(())
    }

    /// The beginning of a DELETE of several rows by key, up to the first row's key.
    pub(super) fn begin_delete(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"DELETE FROM ");
        out.extend_from_slice(self.quoted.as_bytes());
        out.extend_from_slice(b" WHERE ");
        let bracket = self.key.len() > 1;
        if bracket {
            out.push(b'(');
        }
        let mut separator = Separator::new(b", ");
        for column in self.key.iter().filter_map(|index| self.columns.get(*index)) {
            separator.write(out);
            out.extend_from_slice(column.name.as_deref().unwrap_or_default().as_bytes());
        }
        if bracket {
            out.push(b')');
        }
        out.extend_from_slice(b" IN (");
    }

    /// One row's key for a DELETE of several.
    pub(super) fn write_key(&self, out: &mut Vec<u8>, row: &Row<'_>) -> Result<()> {
        let bracket = self.key.len() > 1;
        if bracket {
            out.push(b'(');
        }
        self.write_key_values(out, row)?;
        if bracket {
            out.push(b')');
        }
        Ok(())
    }

    /// The values of a row's key.
    pub(super) fn write_key_values(&self, out: &mut Vec<u8>, row: &Row<'_>) -> Result<()> {
        let mut separator = Separator::new(b", ");
        for index in &self.key {
            let (column, value) = self.at(*index, row)?;
            separator.write(out);
            column.write(out, value)?;
        }
        Ok(())
    }

    /// A DELETE of one row.
    pub(super) fn write_delete(&self, out: &mut Vec<u8>, row: &Row<'_>) -> Result<()> {
        out.extend_from_slice(b"DELETE FROM ");
        out.extend_from_slice(self.quoted.as_bytes());
        self.write_where(out, row)
    }

    /// An UPDATE of one row; `false` if nothing in it changes that the target stores.
    pub(super) fn write_update(
        &self,
        out: &mut Vec<u8>,
        before: &Row<'_>,
        after: &Row<'_>,
    ) -> Result<bool> {
        let begin = out.len();
        out.extend_from_slice(b"UPDATE ");
        out.extend_from_slice(self.quoted.as_bytes());
        out.extend_from_slice(b" SET ");
        let mut separator = Separator::new(b", ");
        let mut any = false;
        for (index, (column, value)) in self.zip(after)?.enumerate() {
            let Some(name) = &column.name else { continue };
            let (_, old) = self.at(index, before)?;
            let is_changed = !is_same(old, value);
            any |= is_changed;
            if is_changed || self.auto_update.contains(&index) {
                separator.write(out);
                out.extend_from_slice(name.as_bytes());
                out.extend_from_slice(b" = ");
                column.write(out, value)?;
            }
        }
        if !any {
            out.truncate(begin);
            return Ok(false);
        }
        self.write_where(out, before)?;
        Ok(true)
    }

    /// How many invalid members of ENUMs an INSERT of `row`, or an UPDATE to it from `before`, writes.
    pub(super) fn invalid_members(&self, before: Option<&Row<'_>>, row: &Row<'_>) -> usize {
        let is_zero = |row: &Row<'_>, index| matches!(row.get(index), Some(Some(Value::Enum(0))));
        self.enums
            .iter()
            .filter(|index| {
                is_zero(row, **index) && !before.is_some_and(|before| is_zero(before, **index))
            })
            .count()
    }

    /// The row's key, or what stands for it, for people: `id = 7`.
    pub(super) fn describe_key(&self, row: &Row<'_>) -> String {
        let mut out = Vec::new();
        if self.key.is_empty() || self.write_key_condition(&mut out, row).is_err() {
            return "all columns as before".to_owned();
        }
        String::from_utf8_lossy(&out).replace('`', "")
    }

    /// A change as it is kept to be applied later: whatever the task verifies, the row must then be
    /// the whole of what it was before the change.
    pub(super) fn write_kept(&self, out: &mut Vec<u8>, change: &RowChange<'_>) -> Result<()> {
        match change {
            RowChange::Insert { after } => {
                self.begin_insert(out);
                self.write_row(out, after)
            }
            RowChange::Update { before, after } => {
                if self.write_update(out, before, after)? {
                    self.write_rest(out, before)?;
                }
                Ok(())
            }
            RowChange::Delete { before } => {
                self.write_delete(out, before)?;
                self.write_rest(out, before)
            }
        }
    }

    /// The rest of the condition, where only the key is in it.
    fn write_rest(&self, out: &mut Vec<u8>, row: &Row<'_>) -> Result<()> {
        if self.has_key() && !self.verifies_all {
            out.extend_from_slice(b" AND ");
            self.write_whole_condition(out, row)?;
        }
        Ok(())
    }

    fn write_where(&self, out: &mut Vec<u8>, row: &Row<'_>) -> Result<()> {
        out.extend_from_slice(b" WHERE ");
        if self.has_key() {
            self.write_key_condition(out, row)?;
            if self.verifies_all {
                out.extend_from_slice(b" AND ");
                self.write_whole_condition(out, row)?;
            }
            return Ok(());
        }
        self.write_whole_condition(out, row)?;
        out.extend_from_slice(b" LIMIT 1");
        Ok(())
    }

    pub(super) fn write_key_condition(&self, out: &mut Vec<u8>, row: &Row<'_>) -> Result<()> {
        let mut separator = Separator::new(b" AND ");
        for index in &self.key {
            let (column, value) = self.at(*index, row)?;
            separator.write(out);
            out.extend_from_slice(column.name.as_deref().unwrap_or_default().as_bytes());
            out.extend_from_slice(b" = ");
            column.write(out, value)?;
        }
        // The key finds the row; its bytes say that it is the very one.
        for index in &self.folded {
            let (column, value) = self.at(*index, row)?;
            separator.write(out);
            write_equal(
                out,
                column.name.as_deref().unwrap_or_default(),
                column,
                value,
            )?;
        }
        Ok(())
    }

    /// All columns, NULL-safe, text as bytes, floats exactly.
    fn write_whole_condition(&self, out: &mut Vec<u8>, row: &Row<'_>) -> Result<()> {
        let mut separator = Separator::new(b" AND ");
        for (column, value) in self.zip(row)? {
            let Some(name) = &column.name else { continue };
            separator.write(out);
            write_equal(out, name, column, value)?;
        }
        Ok(())
    }

    pub(super) fn zip<'a, 'v>(
        &'a self,
        row: &'a Row<'v>,
    ) -> Result<impl Iterator<Item = (&'a Placed, &'a Value<'v>)>> {
        if row.len() != self.columns.len() || row.iter().any(Option::is_none) {
            return Err(self.partial_row(row));
        }
        Ok(self.columns.iter().zip(row.iter().flatten()))
    }

    pub(super) fn at<'a, 'v>(
        &'a self,
        index: usize,
        row: &'a Row<'v>,
    ) -> Result<(&'a Placed, &'a Value<'v>)> {
        match (self.columns.get(index), row.get(index)) {
            (Some(column), Some(Some(value))) => Ok((column, value)),
            _ => Err(self.partial_row(row)),
        }
    }

    fn partial_row(&self, row: &Row<'_>) -> Error {
        let present = row.iter().flatten().count();
        Error::new(
            ErrorKind::Setting,
            format!(
                "a row of {} has {present} of its {} columns in the binlog",
                self.source,
                self.columns.len()
            ),
        )
        .with_fix(
            "`SET GLOBAL binlog_row_image = FULL` at the source; then this table must be dumped again",
        )
        .at(|c| c.table = Some(self.source.clone()))
    }
}

impl Placed {
    /// A value as a literal for this column.
    pub(super) fn write(&self, out: &mut Vec<u8>, value: &Value<'_>) -> Result<()> {
        if self.is_widened_enum() && matches!(value, Value::Enum(0)) {
            // What the invalid member reads as; as a number it would become the text `0`.
            out.extend_from_slice(b"''");
            return Ok(());
        }
        write_value(out, value, &self.source)
    }

    /// Whether an ENUM of the source is a text on the target.
    fn is_widened_enum(&self) -> bool {
        !matches!(self.kind, ColumnKind::Enum { .. })
    }
}

/// The image that says which row is meant.
pub(super) fn identity<'a, 'v>(change: &'a RowChange<'v>) -> &'a Row<'v> {
    match change {
        RowChange::Insert { after } => after,
        RowChange::Update { before, .. } | RowChange::Delete { before } => before,
    }
}

/// Whether two values are the same to the bit: −0 and 0 are not.
pub(super) fn is_same(a: &Value<'_>, b: &Value<'_>) -> bool {
    match (a, b) {
        (Value::Float(a), Value::Float(b)) => a.to_bits() == b.to_bits(),
        (Value::Double(a), Value::Double(b)) => a.to_bits() == b.to_bits(),
        _ => a == b,
    }
}

/// The columns, by place in the source, of a key that is unique and NOT NULL on both sides.
fn shared_key(source: &Structure, target: &Structure) -> Vec<usize> {
    let usable = |key: &Key, structure: &Structure| -> Option<Vec<String>> {
        if !key.unique || key.parts.is_empty() {
            return None;
        }
        let mut names = Vec::with_capacity(key.parts.len());
        for part in &key.parts {
            let column = structure
                .columns
                .get(structure.column_index(part.column.as_deref()?)?)?;
            let is_exact = !matches!(
                column.kind,
                ColumnKind::Float | ColumnKind::Double | ColumnKind::Json
            );
            if part.prefix.is_some() || column.nullable || !is_exact {
                return None;
            }
            names.push(column.name.to_lowercase());
        }
        names.sort();
        Some(names)
    };
    let theirs: Vec<Vec<String>> = target
        .keys
        .iter()
        .filter_map(|key| usable(key, target))
        .collect();
    for key in &source.keys {
        let Some(names) = usable(key, source) else {
            continue;
        };
        if !theirs.contains(&names) {
            continue;
        }
        let places: Option<Vec<usize>> = key
            .parts
            .iter()
            .map(|part| {
                let index = source.column_index(part.column.as_deref()?)?;
                let on_target = target
                    .columns
                    .get(target.column_index(part.column.as_deref()?)?)?;
                (on_target.generated == Generated::No).then_some(index)
            })
            .collect();
        if let Some(places) = places {
            return places;
        }
    }
    Vec::new()
}

/// Whether a text column of the key has another collation on the target, so that values which differ at
/// the source may be equal there.
fn is_folded(index: usize, source: &Structure, target: &Structure) -> bool {
    let Some(here) = source.columns.get(index) else {
        return false;
    };
    let there = target
        .column_index(&here.name)
        .and_then(|at| target.columns.get(at));
    there.is_some_and(|there| {
        there
            .collation
            .as_deref()
            .is_some_and(|collation| collation != "binary")
            && here.collation != there.collation
    })
}

/// The unique keys of the target of which a row of the source has every value.
fn unique_keys(source: &Structure, target: &Structure) -> Vec<Unique> {
    let parts = |key: &Key| {
        key.parts
            .iter()
            .map(|part| Some((source.column_index(part.column.as_deref()?)?, part.prefix)))
            .collect::<Option<Vec<_>>>()
    };
    let at_source: Vec<_> = source
        .keys
        .iter()
        .filter(|key| key.unique)
        .filter_map(parts)
        .collect();
    let unique = target.keys.iter().filter(|key| key.unique);
    unique
        .filter_map(|key| {
            let parts = parts(key)?;
            let folded = parts
                .iter()
                .map(|(index, _)| *index)
                .filter(|index| is_folded(*index, source, target))
                .collect();
            Some(Unique {
                name: key.name.clone(),
                is_at_source: at_source.contains(&parts),
                folded,
                parts,
            })
        })
        .collect()
}

fn missing_column(source: &Structure, target: &Structure, column: &Column) -> Error {
    Error::new(
        ErrorKind::Structure,
        format!(
            "{} on the target has no column `{}`, which {} has at the source\nsource: {}\ntarget: {}",
            target.table,
            column.name,
            source.table,
            column_list(source),
            column_list(target)
        ),
    )
    .with_fix(format!(
        "`ALTER TABLE {} ADD COLUMN {} {}` on the target, then resume",
        target.table.quoted(),
        quote_name(&column.name),
        column.type_text
    ))
    .at(|c| c.table = Some(source.table.clone()))
}

fn unfit_column(
    source: &Structure,
    target: &Structure,
    column: &Column,
    place: &Column,
    why: &str,
) -> Error {
    Error::new(
        ErrorKind::Structure,
        format!(
            "column `{}` of {} is `{}` at the source and `{}` on the target: {why}\nsource: {}\ntarget: {}",
            column.name,
            target.table,
            column.type_text,
            place.type_text,
            column_list(source),
            column_list(target)
        ),
    )
    .with_fix(format!(
        "`ALTER TABLE {} MODIFY COLUMN {} {}` on the target, then resume",
        target.table.quoted(),
        quote_name(&place.name),
        column.type_text
    ))
    .at(|c| c.table = Some(source.table.clone()))
}

fn computed_column(source: &Structure, target: &Structure, column: &Column) -> Error {
    Error::new(
        ErrorKind::Structure,
        format!(
            "column `{}` of {} is generated on the target ({}), but stored at the source",
            column.name, source.table, target.table
        ),
    )
    .with_fix("make it a plain column on the target, then resume")
    .at(|c| c.table = Some(source.table.clone()))
}

/// Columns with their types, for an error that shows two sides.
pub(super) fn column_list(structure: &Structure) -> String {
    structure
        .columns
        .iter()
        .map(|column| format!("{} {}", column.name, column.type_text))
        .collect::<Vec<_>>()
        .join(", ")
}

/// Writes its text between things, not before the first.
pub(super) struct Separator {
    text: &'static [u8],
    is_first: bool,
}

impl Separator {
    pub(super) fn new(text: &'static [u8]) -> Self {
        Self {
            text,
            is_first: true,
        }
    }

    pub(super) fn write(&mut self, out: &mut Vec<u8>) {
        if !std::mem::take(&mut self.is_first) {
            out.extend_from_slice(self.text);
        }
    }
}
