//! What a choice will do to the data, in one sentence with numbers: the same words on every screen,
//! in every reply and in the journal.

use std::fmt::Write as _;

use super::Stop;
use crate::model::{Choice, Reach, TransactionView};

/// What can be chosen at a stop, as `tideway ctl` names it.
pub fn choice_name(choice: Choice, scope: Reach) -> String {
    format!("{choice} {scope}")
}

/// What the choice does.
pub fn effect(stop: &Stop, choice: Choice, scope: Reach) -> String {
    match choice {
        Choice::Skip => skipped(stop, scope),
        Choice::Repair => repaired(stop, scope),
    }
}

/// What a choice reaches: `3 rows of shop.orders`.
fn what(stop: &Stop, scope: Reach) -> String {
    let table = stop
        .table
        .as_ref()
        .map_or_else(|| "the event".to_owned(), ToString::to_string);
    let rows = rows_of(stop);
    match (scope, rows) {
        (Reach::Transaction, _) => "the whole transaction".to_owned(),
        (Reach::Row, _) => format!("one row of {table}"),
        (Reach::Event, 0) => "the statement".to_owned(),
        (Reach::Event, 1) => format!("1 row of {table}"),
        (Reach::Event, rows) => format!("{rows} rows of {table}"),
    }
}

/// The rows of the event at which it stands; 0 for a statement.
fn rows_of(stop: &Stop) -> u64 {
    stop.event.as_ref().map_or(0, |event| event.rows)
}

fn skipped(stop: &Stop, scope: Reach) -> String {
    if scope == Reach::Transaction
        && let Some(transaction) = &stop.transaction
    {
        return whole_skipped(transaction);
    }
    let is_understood = stop
        .transaction
        .as_ref()
        .is_none_or(|transaction| transaction.is_understood);
    let kind = stop.event.as_ref().map_or("", |event| event.kind.as_str());
    let what = what(stop, scope);
    let mut text = if !is_understood {
        "the event is left out unread: what it would change at the target is not known".to_owned()
    } else if kind.starts_with("WRITE_ROWS") {
        format!("{what} will not be inserted; later updates to them will be drift")
    } else if kind.starts_with("DELETE_ROWS") {
        format!("{what} will stay on the target")
    } else if kind.contains("UPDATE_ROWS") {
        format!("{what} will keep their old values; later changes to them may be drift")
    } else {
        "the statement will not run on the target; say how rows after it are read".to_owned()
    };
    let rest = rest_of(stop, scope);
    if !rest.is_empty() {
        let _ = write!(text, "; {rest}");
    }
    text
}

/// What of the transaction is applied all the same.
fn rest_of(stop: &Stop, scope: Reach) -> String {
    let rows = rows_of(stop).saturating_sub(1);
    let events = stop
        .transaction
        .as_ref()
        .filter(|transaction| transaction.is_understood)
        .map_or(0, |transaction| transaction.events.saturating_sub(1));
    let mut parts = Vec::new();
    if scope == Reach::Row && rows > 0 {
        parts.push(counted(
            rows,
            "other row of this event",
            "other rows of this event",
        ));
    }
    if scope != Reach::Transaction && events > 0 {
        parts.push(counted(
            events,
            "other event of this transaction",
            "other events of this transaction",
        ));
    }
    match parts.as_slice() {
        [] => String::new(),
        parts => format!("{} ARE applied", parts.join(" and ")),
    }
}

fn whole_skipped(transaction: &TransactionView) -> String {
    let least = if transaction.is_whole {
        ""
    } else {
        "at least "
    };
    let mut parts: Vec<String> = Vec::new();
    for table in &transaction.tables {
        let mut of = Vec::new();
        for (count, word) in [
            (table.inserts, "not inserted"),
            (table.updates, "not updated"),
            (table.deletes, "not deleted"),
        ] {
            if count > 0 {
                of.push(format!("{count} {word}"));
            }
        }
        if !of.is_empty() {
            parts.push(format!("{}: {}", table.table, of.join(", ")));
        }
    }
    let rows = counted(transaction.rows, "row change", "row changes");
    let events = counted(transaction.events, "event", "events");
    match parts.as_slice() {
        [] => "nothing of the transaction is applied".to_owned(),
        parts => format!(
            "nothing of the transaction is applied: {least}{rows} in {events} ({})",
            parts.join("; ")
        ),
    }
}

fn repaired(stop: &Stop, scope: Reach) -> String {
    match (scope, &stop.transaction) {
        (Reach::Transaction, Some(transaction)) => format!(
            "every row that the transaction changes ({}) becomes what the source says, whatever the \
             target holds",
            counted(transaction.rows, "row", "rows")
        ),
        (scope, _) => format!(
            "{} will be what the source says, whatever the target holds; no other row is touched",
            what(stop, scope)
        ),
    }
}

fn counted(count: u64, one: &str, many: &str) -> String {
    if count == 1 {
        format!("1 {one}")
    } else {
        format!("{count} {many}")
    }
}
