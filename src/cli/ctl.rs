//! `tideway ctl`.

use std::path::Path;

use crate::control::{Command, LaterRowsFrom, Reply, Scope};
use crate::model::{Choice, Error, ErrorKind, Result};
use crate::remote::Client;

use super::{AtStop, FINE, Order, Selector};

/// Sends the order to the running worker and prints its reply.
pub(super) fn ctl(data_dir: &Path, order: Order) -> Result<u8> {
    let (command, json) = match order {
        Order::Pause(selector) => {
            let (scope, json) = split(selector);
            (Command::Pause { scope }, json)
        }
        Order::Resume(selector) => {
            let (scope, json) = split(selector);
            (Command::Resume { scope }, json)
        }
        Order::Start(selector) => {
            let (scope, json) = split(selector);
            (Command::Start { scope }, json)
        }
        Order::Retry { selector, stop_id } => {
            let (scope, json) = split(selector);
            (Command::Retry { scope, stop_id }, json)
        }
        Order::Skip { stop, structure } => {
            let later_rows = structure.as_deref().map(later_rows).transpose()?;
            decide(Choice::Skip, stop, later_rows)
        }
        Order::Repair { stop } => decide(Choice::Repair, stop, None),
        Order::Accept {
            names,
            task,
            source,
            reason,
            json,
        } => {
            let scope = Scope {
                task,
                source,
                relay: false,
            };
            let findings = Vec::new();
            let command = Command::Accept {
                scope,
                names,
                findings,
                reason,
            };
            (command, json)
        }
        Order::Revert { selector, id } => {
            let (scope, json) = split(selector);
            (Command::Revert { scope, id }, json)
        }
        Order::Stop { json } => (Command::Stop, json),
    };
    send(data_dir, command, json)
}

/// A decision for the event at which a stream stands.
fn decide(choice: Choice, stop: AtStop, later_rows: Option<LaterRowsFrom>) -> (Command, bool) {
    let AtStop {
        task,
        source,
        at,
        stop_id,
        scope,
        reason,
        json,
    } = stop;
    let command = Command::Decide {
        scope: Scope {
            task,
            source,
            relay: false,
        },
        choice,
        reach: scope,
        at,
        stop_id,
        later_rows,
        reason,
    };
    (command, json)
}

/// `source`, `target`, `keep`, or the name of a file with a `CREATE TABLE`.
fn later_rows(given: &str) -> Result<LaterRowsFrom> {
    Ok(match given {
        "source" => LaterRowsFrom::Source,
        "target" => LaterRowsFrom::Target,
        "keep" => LaterRowsFrom::Keep,
        path => {
            let path = Path::new(path);
            let statement = std::fs::read_to_string(path)
                .map_err(|error| Error::file("read the structure in", path, error))?;
            LaterRowsFrom::Typed { statement }
        }
    })
}

/// Sends a command to the running worker and prints its reply.
pub(super) fn send(data_dir: &Path, command: Command, json: bool) -> Result<u8> {
    let reply = ask(data_dir, command)?;
    if json {
        super::print_json(&reply)?;
        return Ok(failure(reply).map_or(FINE, |error| super::exit_code(&error)));
    }
    match reply {
        Reply::Done { message } => super::print(&message).map(|()| FINE),
        reply => failure(reply).map_or(Ok(FINE), Err),
    }
}

/// Sends a command to the running worker.
pub(super) fn ask(data_dir: &Path, command: Command) -> Result<Reply> {
    super::small_runtime()?
        .block_on(async { Client::connect(data_dir).await?.command(command).await })
}

/// What was not done, as an error.
pub(super) fn failure(reply: Reply) -> Option<Error> {
    let (kind, message, fix) = match reply {
        Reply::Done { .. } => return None,
        Reply::Refused { message, fix } => (ErrorKind::Refused, message, fix),
        Reply::Failed { kind, message, fix } => (kind, message, fix),
    };
    let error = Error::new(kind, message);
    Some(match fix {
        Some(fix) => error.with_fix(fix),
        None => error,
    })
}

fn split(selector: Selector) -> (Scope, bool) {
    let Selector {
        task,
        source,
        relay,
        json,
    } = selector;
    (
        Scope {
            task,
            source,
            relay,
        },
        json,
    )
}
