//! Makes what a screen shows of a failure.

use std::fmt::Write as _;

use crate::config::{Address, ServerConfig, TlsMode};
use crate::connect::error_table::entry;
use crate::control::{Stop, StopError, StopPosition, choice_name};
use crate::model::{Choice, Error, ErrorKind, EventView, Reach, TransactionView, Unit};
use crate::unit::sync;

use super::clock;
use super::retry::policy;

/// A stop of an error that concerns no single event.
pub(super) fn plain(error: &Error) -> Stop {
    let at = clock::now();
    let context = error.context();
    let mut shown = StopError::from(error);
    shown.refused = super::refusals::read(error);
    if shown.fix.is_none() {
        shown.fix = Some(policy(error.kind()).advice.to_owned());
    }
    Stop {
        // Names this stop alone: the moment, in microseconds.
        stop_id: format!("{:x}", at.0),
        at,
        unit: context.unit.unwrap_or(Unit::Sync),
        position: context.place.as_ref().map(|place| StopPosition {
            folder: place.folder.clone(),
            file: place.position.file.clone(),
            offset: place.position.offset,
            end_offset: place.position.offset,
            inner: None,
            row: None,
        }),
        gtid: None,
        event: None,
        transaction: None,
        table: context.table.clone(),
        target_rows: Vec::new(),
        later_applied: 0,
        hint: hint(error),
        statement: context.statement.clone(),
        repair: None,
        error: shown,
        choices: vec!["retry".to_owned()],
        findings: Vec::new(),
    }
}

/// A failure in one line of the log: with its table, place and stop, and without row values. The
/// texts of what the data ran into quote keys and rows, so of these the log has the kind and the
/// server's number alone; the screen and `tideway status` have the rest.
pub(super) fn for_log(error: &Error, stop: &Stop) -> String {
    let mut text = match error.kind() {
        ErrorKind::Drift => "the target's rows are not what the binlog says was there".to_owned(),
        ErrorKind::Target => match error.server() {
            Some(server) => {
                format!(
                    "the target refused it with error {} ({})",
                    server.number, server.sqlstate
                )
            }
            None => error.message().to_owned(),
        },
        _ => match error.cause() {
            Some(cause) => format!("{}: {cause}", error.message()),
            None => error.message().to_owned(),
        },
    };
    // Writing to a `String` cannot fail.
    if let Some(table) = &stop.table {
        let _ = write!(text, "; table {table}");
    }
    if let Some(position) = &stop.position {
        let _ = write!(
            text,
            "; at {}/{}:{}",
            position.folder, position.file, position.offset
        );
        let _ = write!(text, "; stop {}", stop.stop_id);
    }
    text
}

/// Tells, once, that a connection is not encrypted although it could have been.
pub(super) fn warn_of_plain(server: &ServerConfig) {
    if server.tls.mode != TlsMode::Disabled && matches!(server.address, Address::Tcp { .. }) {
        tracing::warn!(
            unit = "connect",
            "`{}` at {} offers no TLS: data and statements travel in the clear",
            server.name,
            server.address
        );
    }
}

/// What the error means, where its number tells it; the screen marks it as a guess.
pub(super) fn hint(error: &Error) -> Option<String> {
    if let Some(entry) = error.server().and_then(|server| entry(server.number)) {
        return Some(entry.meaning.to_owned());
    }
    (error.kind() == ErrorKind::Drift).then(|| {
        "the row on the target is not what the source had before this change: somebody else writes to \
         the table, or a change was skipped"
            .to_owned()
    })
}

/// The stop of an error in sync, with the event at which it stands.
pub(super) fn at_event(error: &Error, event: Option<Box<sync::FailedEvent>>) -> Stop {
    let mut stop = plain(error);
    let Some(event) = event else {
        return stop;
    };
    let view = event.view;
    stop.stop_id = event.stop_id;
    stop.position = Some(StopPosition {
        folder: view.place.folder.clone(),
        file: view.place.position.file.clone(),
        offset: view.place.position.offset,
        end_offset: view.end_offset,
        inner: view.inner,
        row: event.place.row,
    });
    stop.gtid.clone_from(&view.gtid);
    stop.table = event.table.or(view.table.clone()).or(stop.table.take());
    stop.statement = event.statement.or(stop.statement.take());
    stop.repair = event.repair;
    stop.target_rows = event.target_rows;
    stop.later_applied = event.later_applied;
    stop.choices = choices(&view, event.place.row, &event.transaction);
    stop.transaction = Some(event.transaction);
    stop.event = Some(Box::new(view));
    stop
}

/// What can be chosen for an event, as `tideway ctl` names it.
fn choices(view: &EventView, row: Option<u32>, transaction: &TransactionView) -> Vec<String> {
    let mut choices = vec!["retry".to_owned()];
    let is_rows = view.rows > 0 && transaction.is_understood;
    for choice in [Choice::Repair, Choice::Skip] {
        if choice == Choice::Repair && !is_rows {
            continue;
        }
        if is_rows && row.is_some() && view.rows > 1 {
            choices.push(choice_name(choice, Reach::Row));
        }
        choices.push(choice_name(choice, Reach::Event));
        // A statement is a transaction by itself.
        if is_rows || !transaction.is_understood {
            choices.push(choice_name(choice, Reach::Transaction));
        }
    }
    choices
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ServerError;

    #[test]
    fn the_log_has_no_row_values() {
        let refused = Error::new(ErrorKind::Target, "an INSERT failed").with_server(ServerError {
            number: 1062,
            sqlstate: "23000".into(),
            message: "Duplicate entry '111-22-3333' for key 'ssn'".into(),
        });
        let drift = Error::new(ErrorKind::Drift, "no row with email = 'ann@secret.example'");
        for error in [refused, drift] {
            let text = for_log(&error, &plain(&error));
            assert!(
                !text.contains("111-22") && !text.contains("secret"),
                "{text}"
            );
        }
    }
}
