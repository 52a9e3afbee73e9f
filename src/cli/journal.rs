//! `tideway journal`.

use std::fmt::Write as _;
use std::path::Path;

use crate::control::{Command, JournalEntry, Scope};
use crate::model::Result;
use crate::runtime::journal_view;

use super::{FINE, JournalOrder};

/// Shows the journal, or has what a decision left out applied.
pub(super) fn journal(data_dir: &Path, order: Option<JournalOrder>, json: bool) -> Result<u8> {
    match order {
        None => show(data_dir, json),
        Some(JournalOrder::Reapply {
            id,
            task,
            source,
            json: json_too,
        }) => {
            let scope = scope_of(data_dir, &id, task, source)?;
            let command = Command::Reapply { scope, id };
            super::ctl::send(data_dir, command, json || json_too)
        }
    }
}

fn show(data_dir: &Path, json: bool) -> Result<u8> {
    for entry in journal_view::entries(data_dir)? {
        if json {
            super::print_json(&entry)?;
        } else {
            super::print(&line(&entry))?;
        }
    }
    Ok(FINE)
}

/// The stream of a decision, where it was not named.
fn scope_of(
    data_dir: &Path,
    id: &str,
    task: Option<String>,
    source: Option<String>,
) -> Result<Scope> {
    let mut scope = Scope {
        task,
        source,
        relay: false,
    };
    if scope.task.is_none() || scope.source.is_none() {
        let entries = journal_view::entries(data_dir)?;
        let known = entries.into_iter().find(|entry| entry.id == id);
        if let Some(decision) = known.and_then(|entry| entry.decision) {
            scope.task.get_or_insert(decision.task);
            scope.source.get_or_insert(decision.source);
        }
    }
    Ok(scope)
}

/// An entry for people.
fn line(entry: &JournalEntry) -> String {
    let mut text = format!("{}  {}  {}", entry.at, entry.id, entry.what);
    // Writing to a `String` cannot fail.
    if let Some(stream) = &entry.stream {
        let _ = write!(text, "  {stream}");
    }
    let _ = write!(text, "  by {} through {}", entry.user, entry.origin);
    if let Some(ssh) = &entry.ssh_connection {
        let _ = write!(text, " from {ssh}");
    }
    let outcome = match (&entry.outcome, &entry.decision) {
        (Some(outcome), _) => outcome.as_str(),
        (None, Some(_)) => "in question: the stream's next start settles it",
        (None, None) => "no outcome: the process ended",
    };
    let _ = write!(text, "\n    {outcome}");
    if let Some(reason) = entry
        .decision
        .as_ref()
        .map(|decision| decision.reason.as_str())
        .filter(|reason| !reason.is_empty())
    {
        let _ = write!(text, "\n    reason: {reason}");
    }
    match (entry.skipped, entry.reapplied) {
        (0, _) => {}
        (changes, true) => {
            let _ = write!(text, "\n    {changes} changes left out, applied since");
        }
        (changes, false) => {
            let _ = write!(
                text,
                "\n    {changes} changes left out: `tideway journal reapply {}` applies them",
                entry.id
            );
        }
    }
    text
}
