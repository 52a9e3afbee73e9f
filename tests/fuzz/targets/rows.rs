//! The body of a table map and of a rows event behind it: every value, to its text.
//!
//! The first byte says which family of servers (its top bit) and which kind of rows event; the next
//! two how long the table map is.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tideway::binlog::{Event, EventKind, RowShape, RowsEvent, TableMap, json, text};
use tideway::model::Flavor;
use tideway::model::value::{Row, RowChange, Value};
use tideway_fuzz::{ROWS, format, header, images};

fuzz_target!(|input: &[u8]| {
    let Some(([first, low, high], rest)) = input.split_first_chunk::<3>() else {
        return;
    };
    let at = usize::from(u16::from_le_bytes([*low, *high])).min(rest.len());
    let (map, rows) = rest.split_at(at);
    let format = format(if first & 0x80 == 0 {
        Flavor::MySQL
    } else {
        Flavor::MariaDB
    });
    let map = Event {
        header: header(EventKind::TABLE_MAP, map),
        body: map,
    };
    let kind = EventKind(ROWS[usize::from(first & 0x7f) % ROWS.len()]);
    let event = Event {
        header: header(kind, rows),
        body: rows,
    };
    let Ok(map) = TableMap::parse(&map, &format) else {
        return;
    };
    let (Some(shape), Ok(rows)) = (
        RowShape::for_display(&map),
        RowsEvent::parse(&event, &format),
    ) else {
        return;
    };
    let Ok(changes) = rows.rows(&shape) else {
        return;
    };
    let mut count = 0;
    for change in changes {
        match change {
            Ok(RowChange::Insert { after: row } | RowChange::Delete { before: row }) => write(&row),
            Ok(RowChange::Update { before, after }) => {
                assert_eq!(before.len(), after.len());
                write(&before);
                write(&after);
            }
            Err(_) => break,
        }
        count += images(rows.action);
    }
    // A row that takes no byte would have no end.
    assert!(count <= rows.row_bytes() * 2, "{count} rows");
});

fn write(row: &Row<'_>) {
    let mut out = Vec::new();
    for value in row.iter().flatten() {
        match value {
            Value::Decimal(decimal) => drop(text::write_decimal(&mut out, decimal)),
            Value::Date(date) => text::write_date(&mut out, date),
            Value::Time(time) | Value::DateTime(_, time) => text::write_time(&mut out, time),
            Value::UnixTime(time) => text::write_unix_time(&mut out, time),
            Value::Json(document) => drop(json::to_text(document, &mut out)),
            Value::Int(number) => text::write_int(&mut out, *number),
            Value::UInt(number) => text::write_uint(&mut out, *number),
            _ => {}
        }
    }
}
