//! `tideway run`.

use std::io::Write as _;

use crate::app::{self, Until};
use crate::config::Config;
use crate::control::Snapshot;
use crate::model::{ErrorKind, Result, Stage};

use super::{FINE, LOST, PROBLEM};

/// Runs the worker alone, and says at the end what stands.
pub(super) fn run(config: Config, until_caught_up: bool, json: bool) -> Result<u8> {
    let until = if until_caught_up {
        Until::CaughtUp
    } else {
        Until::Stopped
    };
    let last = app::headless(config, until)?;
    if json {
        super::print_json(&*last)?;
    }
    report_stops(&last);
    Ok(exit_code(&last))
}

/// Each stop and each source's error on stderr, in the form of all errors.
fn report_stops(last: &Snapshot) {
    let mut err = std::io::stderr().lock();
    let mut report = |scope: String, error: &crate::control::StopError, position: String| {
        // Nobody is left to be told of a closed stderr.
        let _ = writeln!(err, "error: {scope}: {}{position}", error.message);
        for (label, text) in [("cause", &error.cause), ("fix", &error.fix)] {
            if let Some(text) = text {
                let _ = writeln!(err, "{label}: {text}");
            }
        }
    };
    for source in &last.sources {
        if let Some(error) = &source.error {
            report(format!("source `{}`", source.name), error, String::new());
        }
    }
    for stream in &last.streams {
        if let Some(stop) = &stream.stop {
            let position = stop.position.as_ref().map_or_else(String::new, |position| {
                format!(
                    " (at {}/{}:{})",
                    position.folder, position.file, position.offset
                )
            });
            let scope = format!(
                "task `{}` on source `{}`, {}",
                stream.task, stream.source, stop.unit
            );
            report(scope, &stop.error, position);
        }
    }
}

/// 0 when nothing stands; 3 when all that stands is for want of a server; else 1.
fn exit_code(last: &Snapshot) -> u8 {
    let failed_streams = last
        .streams
        .iter()
        .filter(|stream| stream.stage == Stage::Failed)
        .filter_map(|stream| stream.stop.as_ref().map(|stop| stop.error.kind));
    let failed_sources = last
        .sources
        .iter()
        .filter(|source| source.stage == Stage::Failed)
        .filter_map(|source| source.error.as_ref().map(|error| error.kind));
    let kinds: Vec<ErrorKind> = failed_streams.chain(failed_sources).collect();
    if kinds.is_empty() {
        FINE
    } else if kinds.iter().all(|kind| *kind == ErrorKind::Connect) {
        LOST
    } else {
        PROBLEM
    }
}
