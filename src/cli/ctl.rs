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
    let reply = super::small_runtime()?
        .block_on(async { Client::connect(data_dir).await?.command(command).await })?;
    if json {
        super::print_json(&reply)?;
    }
    match reply {
        Reply::Done { message } => {
            if !json {
                super::print(&message)?;
            }
            Ok(FINE)
        }
        Reply::Refused { message, fix } => failed(ErrorKind::Refused, message, fix, json),
        Reply::Failed { kind, message, fix } => failed(kind, message, fix, json),
    }
}

/// What was not done, as an error; where the reply is printed already, its exit code alone.
fn failed(kind: ErrorKind, message: String, fix: Option<String>, json: bool) -> Result<u8> {
    let error = Error::new(kind, message);
    let error = match fix {
        Some(fix) => error.with_fix(fix),
        None => error,
    };
    if json {
        Ok(super::exit_code(&error))
    } else {
        Err(error)
    }
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
