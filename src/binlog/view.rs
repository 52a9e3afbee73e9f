//! Events decoded for people: what a screen shows of the binlog, and of the event at a stop.
//!
//! Nothing fails here: what cannot be decoded is left out of the picture, which says so, because a
//! picture of what went wrong is wanted most when something did.

use std::borrow::Cow;

use super::format::{Event, FormatDescription};
use super::gtid::GtidEvent;
use super::query::QueryEvent;
use super::rows::RowsEvent;
use super::shape::RowShape;
use super::table_map::{ColumnType, TableMap};
use super::{EventKind, simple};
use crate::model::value::{Row, RowChange, Value};
use crate::model::{EventRow, EventView, Gtid, Place, Timestamp};
use crate::schema::literal::display_value;
use crate::schema::{Column, ColumnKind, Generated, Structure};

/// How many rows of an event are shown where nobody asks for more.
pub const MAX_ROWS: usize = 20;
/// How many characters of a value are shown.
pub const MAX_VALUE: usize = 256;
/// How many characters of a statement are shown.
pub const MAX_STATEMENT: usize = 16 * 1024;
/// In place of a value that the row image leaves out.
const NOT_LOGGED: &str = "(not logged)";

/// What is known about an event beside its own bytes.
#[derive(Clone, Debug)]
pub struct Surroundings<'a> {
    /// Where the (outer) event starts.
    pub place: Place,
    /// Where it ends.
    pub end_offset: u64,
    /// Its number within a compressed transaction.
    pub inner: Option<u32>,
    /// Its transaction's id.
    pub gtid: Option<&'a Gtid>,
    /// The statement that wrote the rows, where the binlog has it.
    pub statement: Option<&'a [u8]>,
    /// The table map of a rows event.
    pub map: Option<&'a TableMap>,
    /// The table's structure at that position.
    pub structure: Option<&'a Structure>,
    /// How many of its rows are wanted.
    pub max_rows: usize,
}

/// Decodes an event for people.
pub fn view(event: &Event<'_>, format: &FormatDescription, around: &Surroundings<'_>) -> EventView {
    let kind = event.header.kind;
    let mut view = EventView {
        place: around.place.clone(),
        end_offset: around.end_offset,
        inner: around.inner,
        gtid: around.gtid.map(ToString::to_string),
        time: Timestamp::from_seconds(u64::from(event.header.timestamp)),
        kind: kind.to_string(),
        table: None,
        rows: 0,
        statement: around.statement.map(statement),
        session: Vec::new(),
        columns: Vec::new(),
        images: Vec::new(),
        undecoded: None,
        assumed: Vec::new(),
    };
    match kind {
        EventKind::QUERY | EventKind::QUERY_COMPRESSED => match QueryEvent::parse(event) {
            Ok(query) => view.statement = Some(statement(&query.statement)),
            Err(error) => view.undecoded = Some(error.message().to_owned()),
        },
        EventKind::ROWS_QUERY => {
            view.statement = simple::parse_rows_query(event.body).ok().map(statement);
        }
        EventKind::ANNOTATE_ROWS => view.statement = Some(statement(event.body)),
        EventKind::TABLE_MAP => match TableMap::parse(event, format) {
            Ok(map) => view.table = Some(map.table),
            Err(error) => view.undecoded = Some(error.message().to_owned()),
        },
        _ if kind.is_gtid() => match GtidEvent::parse(event) {
            Ok(opening) => view.gtid = opening.gtid().map(|gtid| gtid.to_string()),
            Err(error) => view.undecoded = Some(error.message().to_owned()),
        },
        _ if kind.is_rows() => {
            let added = match around.map {
                Some(map) => add_rows(&mut view, event, format, map, around),
                None if is_dummy(event, format) => Ok(()),
                None => Err("its table's map is not before it".to_owned()),
            };
            view.undecoded = added.err();
        }
        _ => {}
    }
    view
}

fn statement(bytes: &[u8]) -> String {
    shortened(&String::from_utf8_lossy(bytes), MAX_STATEMENT, bytes.len())
}

/// Whether it is the empty rows event that ends a statement of which a filter took everything else.
fn is_dummy(event: &Event<'_>, format: &FormatDescription) -> bool {
    const DUMMY: u64 = 0x00ff_ffff;
    RowsEvent::parse(event, format).is_ok_and(|rows| rows.table_id == DUMMY)
}

/// Gives what cannot be decoded.
fn add_rows(
    view: &mut EventView,
    event: &Event<'_>,
    format: &FormatDescription,
    map: &TableMap,
    around: &Surroundings<'_>,
) -> Result<(), String> {
    let structure = around.structure;
    view.table = Some(map.table.clone());
    // A structure that does not fit is told by the error beside the picture.
    let by_structure =
        structure.and_then(|s| Some((RowShape::new(map, s).ok()?, Cow::Borrowed(&*s.columns))));
    let drawn = by_structure.or_else(|| {
        Some((
            RowShape::for_display(map)?,
            Cow::Owned(assumed_columns(map)),
        ))
    });
    let Some((shape, columns)) = drawn else {
        return Err(
            "its table's map alone does not say where the values end: a column has MariaDB's old              temporal form, or one of which no more is known"
                .to_owned(),
        );
    };
    if matches!(columns, Cow::Owned(_)) {
        let name = |index: usize| columns.get(index).map(|column| column.name.clone());
        view.assumed = RowShape::untold(map).into_iter().filter_map(name).collect();
    }
    view.columns = columns
        .iter()
        .enumerate()
        .map(|(index, column)| {
            let in_key = match structure.and_then(Structure::row_key) {
                Some(key) => key
                    .parts
                    .iter()
                    .any(|part| part.column.as_deref() == Some(&column.name)),
                None => map.metadata.primary_key.iter().any(|(i, _)| *i == index),
            };
            (column.name.clone(), in_key)
        })
        .collect();
    let text = |error: crate::model::Error| error.message().to_owned();
    let rows_event = RowsEvent::parse(event, format).map_err(text)?;
    for change in rows_event.rows(&shape).map_err(text)? {
        let change = change.map_err(text)?;
        view.rows += 1;
        if view.images.len() < around.max_rows {
            view.images.push(row_view(&change, &columns));
        }
    }
    Ok(())
}

/// One changed row as text.
pub fn row_view(change: &RowChange<'_>, columns: &[Column]) -> EventRow {
    let image = |row: &Row<'_>| {
        row.iter()
            .zip(columns)
            .map(|(value, column)| match value {
                None => Some(NOT_LOGGED.to_owned()),
                Some(Value::Null) => None,
                Some(value) => Some(shown(value, column)),
            })
            .collect()
    };
    match change {
        RowChange::Insert { after } => EventRow {
            before: None,
            after: Some(image(after)),
        },
        RowChange::Update { before, after } => EventRow {
            before: Some(image(before)),
            after: Some(image(after)),
        },
        RowChange::Delete { before } => EventRow {
            before: Some(image(before)),
            after: None,
        },
    }
}

fn shown(value: &Value<'_>, column: &Column) -> String {
    /// No character has more bytes.
    const CHARACTER: usize = 4;
    if let Value::Bytes(bytes) = value
        && let Some(head) = bytes.get(..MAX_VALUE * CHARACTER)
        && bytes.len() > head.len()
    {
        // A gigabyte is not turned into text to show its first line.
        let end = match std::str::from_utf8(head) {
            Err(error) if error.error_len().is_none() => error.valid_up_to(),
            _ => head.len(),
        };
        let head = Value::Bytes(Cow::Borrowed(head.get(..end).unwrap_or(head)));
        return shortened(&display_value(&head, column), MAX_VALUE, bytes.len());
    }
    let text = display_value(value, column);
    let length = text.len();
    shortened(&text, MAX_VALUE, length)
}

/// The first `limit` characters; where that is not all, how many bytes there are.
fn shortened(text: &str, limit: usize, bytes: usize) -> String {
    match text.char_indices().nth(limit) {
        None if text.len() >= bytes => text.to_owned(),
        None => format!("{text}… ({bytes} bytes)"),
        Some((end, _)) => format!("{}… ({bytes} bytes)", text.get(..end).unwrap_or(text)),
    }
}

/// Columns as far as the table map tells them; those without a name are `@1`, `@2`, ….
fn assumed_columns(map: &TableMap) -> Vec<Column> {
    let metadata = &map.metadata;
    let members = |index: usize| -> Vec<String> {
        let list = metadata.members.get(index);
        let text = |member: &Vec<u8>| String::from_utf8_lossy(member).into_owned();
        list.map(|list| list.iter().map(text).collect())
            .unwrap_or_default()
    };
    let columns = map.columns.iter().enumerate().map(|(index, mapped)| {
        let collation = metadata.collations.get(index).copied().flatten();
        let binary = collation == Some(super::shape::BINARY_COLLATION);
        let kind = match mapped.kind {
            ColumnType::Enum { .. } => ColumnKind::Enum {
                members: members(index),
            },
            ColumnType::Set { .. } => ColumnKind::Set {
                members: members(index),
            },
            ColumnType::Geometry { .. } => ColumnKind::Geometry,
            ColumnType::Vector { .. } => ColumnKind::Vector,
            _ if binary => ColumnKind::Binary { compressed: false },
            // The values of all other types say what they are.
            _ => ColumnKind::Text {
                fixed: false,
                compressed: false,
            },
        };
        let is_text = matches!(kind, ColumnKind::Text { .. });
        Column {
            name: metadata
                .names
                .get(index)
                .cloned()
                .unwrap_or_else(|| format!("@{}", index + 1)),
            type_text: String::new(),
            kind,
            nullable: mapped.nullable,
            charset: is_text.then(|| "utf8mb4".to_owned()),
            collation: None,
            generated: Generated::No,
            invisible: false,
            auto_increment: false,
            auto_update: false,
        }
    });
    columns.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_are_cut_at_a_character() {
        assert_eq!(shortened("abc", 3, 3), "abc");
        assert_eq!(shortened("aéc", 2, 4), "aé… (4 bytes)");
        assert_eq!(shortened("ab", 9, 4000), "ab… (4000 bytes)");
    }
}
