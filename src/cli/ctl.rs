//! `tideway ctl`.

use std::path::Path;

use crate::control::{Command, Reply, Scope};
use crate::model::{Error, ErrorKind, Result};
use crate::remote::Client;

use super::{FINE, Order, PROBLEM, Selector};

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
        Reply::Refused { .. } if json => Ok(PROBLEM),
        Reply::Refused { message, fix } => {
            let error = Error::new(ErrorKind::Refused, message);
            Err(match fix {
                Some(fix) => error.with_fix(fix),
                None => error,
            })
        }
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
