//! `tideway ctl`.

use std::path::Path;

use crate::control::{Command, Reply, Scope};
use crate::model::{Error, ErrorKind, Result};
use crate::remote::Client;

use super::{FINE, Order, Selector};

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
        Order::Stop { json } => (Command::Stop, json),
    };
    send(data_dir, command, json)
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
