//! Events for people: what a stop shows.

use std::sync::Arc;

use super::transaction::{RowsPart, Statement, Transaction};
use crate::binlog::rows::RowAction;
use crate::binlog::{Event, EventKind, FormatDescription, QueryEvent, RowsEvent, TableMap};
use crate::model::value::{Row, RowChange};
use crate::model::{
    EventPlace, EventRow, EventView, Place, TableChanges, Timestamp, TransactionView,
};
use crate::schema::Structure;
use crate::schema::literal::display_value;

/// How many rows are shown.
const ROWS: usize = 20;
/// How many characters of a value are shown.
pub(super) const VALUE_CHARS: usize = 200;
/// How many characters of a statement are shown.
const STATEMENT_CHARS: usize = 4000;

/// A rows event of a selected table, with its rows from `first` on.
pub(super) fn of_rows(transaction: &Transaction, part: &RowsPart, first: usize) -> EventView {
    let structure = &part.table.structure;
    let mut view = EventView {
        place: transaction.place_of(part, None).place,
        end_offset: part.end_offset,
        inner: part.inner,
        gtid: transaction.gtid.as_ref().map(ToString::to_string),
        time: Timestamp::from_seconds(u64::from(part.header.timestamp)),
        kind: part.header.kind.to_string(),
        table: Some(part.table.map.table.clone()),
        rows: 0,
        statement: part
            .annotation
            .as_deref()
            .map(|text| shorten(text, STATEMENT_CHARS)),
        session: Vec::new(),
        columns: columns(structure),
        images: Vec::new(),
        undecoded: None,
        assumed: Vec::new(),
    };
    let Ok(event) = part.rows_event() else {
        return view;
    };
    let Ok(rows) = event.rows(&part.table.shape) else {
        return view;
    };
    for (number, change) in rows.enumerate() {
        view.rows += 1;
        if number >= first
            && view.images.len() < ROWS
            && let Ok(change) = change
        {
            view.images.push(image(&change, structure));
        }
    }
    view
}

/// The transaction around one of its rows events.
pub(super) fn of_transaction(transaction: &Transaction, at: &RowsPart) -> TransactionView {
    let mut view = transaction_so_far(&transaction.begin, &transaction.events);
    let number = transaction
        .events
        .iter()
        .position(|event| event.offset == at.offset && event.inner == at.inner);
    view.number = number.map_or(0, |number| number as u64 + 1);
    view.is_whole = transaction.is_first && transaction.is_last;
    view.is_understood = true;
    view
}

/// The transaction that begins there, as far as it was read when an event of it could not be.
pub(super) fn transaction_so_far(begin: &Place, events: &[RowsPart]) -> TransactionView {
    let mut view = TransactionView {
        begin: begin.clone(),
        number: 0,
        events: events.len() as u64,
        rows: 0,
        tables: Vec::new(),
        is_whole: false,
        is_statement: false,
        is_understood: false,
    };
    for event in events {
        let Ok(read) = event.rows_event() else {
            continue;
        };
        let rows = read
            .rows(&event.table.shape)
            .map_or(0, |rows| rows.take_while(Result::is_ok).count() as u64);
        let table = &event.table.map.table;
        let known = view.tables.iter_mut().position(|of| of.table == *table);
        let at = known.unwrap_or_else(|| {
            view.tables.push(TableChanges {
                table: table.clone(),
                inserts: 0,
                updates: 0,
                deletes: 0,
            });
            view.tables.len() - 1
        });
        if let Some(of) = view.tables.get_mut(at) {
            *match read.action {
                RowAction::Insert => &mut of.inserts,
                RowAction::Update => &mut of.updates,
                RowAction::Delete => &mut of.deletes,
            } += rows;
        }
        view.rows += rows;
    }
    view
}

/// The transaction of a statement, which is nothing else.
pub(super) fn around_statement(statement: &Statement) -> TransactionView {
    TransactionView {
        begin: statement.begin.clone(),
        number: 1,
        events: 1,
        rows: 0,
        tables: Vec::new(),
        is_whole: !statement.opens,
        is_statement: true,
        is_understood: true,
    }
}

/// A statement.
pub(super) fn of_statement(statement: &Statement) -> EventView {
    EventView {
        place: statement.place.place.clone(),
        end_offset: statement.end.position.offset,
        inner: statement.place.inner,
        gtid: statement.gtid.as_ref().map(ToString::to_string),
        time: Timestamp::from_seconds(u64::from(statement.header.timestamp)),
        kind: statement.header.kind.to_string(),
        table: statement.ddl.changed_tables().next().cloned(),
        rows: 0,
        statement: Some(shorten(
            &String::from_utf8_lossy(statement.ddl.statement()),
            STATEMENT_CHARS,
        )),
        session: statement.shown_session.clone(),
        columns: Vec::new(),
        images: Vec::new(),
        undecoded: None,
        assumed: Vec::new(),
    }
}

/// Any event, as far as it can be read by itself.
pub(super) fn of_event(
    place: &EventPlace,
    end_offset: u64,
    event: &Event<'_>,
    format: &FormatDescription,
) -> EventView {
    let mut view = EventView {
        place: place.place.clone(),
        end_offset,
        inner: place.inner,
        gtid: None,
        time: Timestamp::from_seconds(u64::from(event.header.timestamp)),
        kind: event.header.kind.to_string(),
        table: None,
        rows: 0,
        statement: None,
        session: Vec::new(),
        columns: Vec::new(),
        images: Vec::new(),
        undecoded: None,
        assumed: Vec::new(),
    };
    match event.header.kind {
        EventKind::QUERY | EventKind::QUERY_COMPRESSED => {
            if let Ok(query) = QueryEvent::parse(event) {
                let text = String::from_utf8_lossy(&query.statement).into_owned();
                view.statement = Some(shorten(&text, STATEMENT_CHARS));
            }
        }
        EventKind::TABLE_MAP => {
            if let Ok(map) = TableMap::parse(event, format) {
                view.columns = map
                    .metadata
                    .names
                    .iter()
                    .map(|name| (name.clone(), false))
                    .collect();
                view.table = Some(map.table);
            }
        }
        kind if kind.is_rows() => {
            view.rows = u64::from(RowsEvent::parse(event, format).is_ok());
        }
        _ => {}
    }
    view
}

/// A row as text, each value shortened.
pub(super) fn texts(row: &Row<'_>, structure: &Arc<Structure>) -> Vec<Option<String>> {
    row.iter()
        .zip(&structure.columns)
        .map(|(value, column)| match value {
            None | Some(crate::model::value::Value::Null) => None,
            Some(value) => Some(shorten(&display_value(value, column), VALUE_CHARS)),
        })
        .collect()
}

fn image(change: &RowChange<'_>, structure: &Arc<Structure>) -> EventRow {
    let (before, after) = match change {
        RowChange::Insert { after } => (None, Some(after)),
        RowChange::Update { before, after } => (Some(before), Some(after)),
        RowChange::Delete { before } => (Some(before), None),
    };
    EventRow {
        before: before.map(|row| texts(row, structure)),
        after: after.map(|row| texts(row, structure)),
    }
}

fn columns(structure: &Structure) -> Vec<(String, bool)> {
    let key = structure.row_key();
    structure
        .columns
        .iter()
        .map(|column| {
            let is_key = key.is_some_and(|key| {
                key.parts
                    .iter()
                    .any(|part| part.column.as_deref() == Some(column.name.as_str()))
            });
            (column.name.clone(), is_key)
        })
        .collect()
}

/// The text, cut off behind so many characters.
pub(super) fn shorten(text: &str, chars: usize) -> String {
    match text.char_indices().nth(chars) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}
