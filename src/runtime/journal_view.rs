//! The journal as people read it: what was asked, joined with what became of it and with what it left
//! out.

use std::collections::BTreeMap;
use std::path::Path;

use crate::control::{Command, JournalEntry, Reply, Scope};
use crate::model::Result;

use super::journal::{self, Line};
use super::skipped;

/// All that was asked and decided, oldest first. May block.
pub fn entries(data_dir: &Path) -> Result<Vec<JournalEntry>> {
    let mut entries = join(journal::read(data_dir)?);
    let counts = skipped::counts(&data_dir.join("skipped"))?;
    for entry in &mut entries {
        if let Some((changes, is_reapplied)) = counts.get(&entry.id) {
            entry.skipped = *changes;
            entry.reapplied = *is_reapplied;
        }
    }
    Ok(entries)
}

fn join(lines: Vec<Line>) -> Vec<JournalEntry> {
    let mut entries: Vec<JournalEntry> = Vec::new();
    let mut by_number: BTreeMap<u64, usize> = BTreeMap::new();
    let mut by_decision: BTreeMap<String, usize> = BTreeMap::new();
    for line in lines {
        match line.phase.as_str() {
            "intent" => {
                let at = entries.len();
                by_number.insert(line.id, at);
                if let Some(decision) = &line.decision {
                    by_decision.insert(decision.id.clone(), at);
                }
                entries.push(entry(line));
            }
            "outcome" => {
                let known = by_number.get(&line.id).and_then(|at| entries.get_mut(*at));
                if let (Some(entry), Some(reply)) = (known, line.reply)
                    // What became of a decision is told by the target, not by the answer.
                    && entry.decision.is_none()
                {
                    entry.outcome = Some(match reply {
                        Reply::Done { message } => message,
                        Reply::Refused { message, .. } => format!("refused: {message}"),
                        Reply::Failed { message, .. } => format!("failed: {message}"),
                    });
                }
            }
            _ => {
                let at = line
                    .decision_id
                    .and_then(|id| by_decision.get(&id).copied());
                let known = at.and_then(|at| entries.get_mut(at));
                if let (Some(entry), Some(result)) = (known, line.result) {
                    entry.outcome = Some(result.text());
                }
            }
        }
    }
    entries
}

fn entry(line: Line) -> JournalEntry {
    let scope = line.command.as_ref().and_then(scope_of);
    let stream = match (&line.decision, scope) {
        (Some(decision), _) => Some(format!("{}/{}", decision.task, decision.source)),
        (None, Some(scope)) => match (&scope.task, &scope.source) {
            (None, None) => None,
            (task, source) => Some(format!(
                "{}/{}",
                task.as_deref().unwrap_or("*"),
                source.as_deref().unwrap_or("*")
            )),
        },
        (None, None) => None,
    };
    let (id, what) = match (&line.decision, &line.command) {
        (Some(decision), _) => (decision.id.clone(), decision.title()),
        (None, Some(command)) => (format!("{:x}", line.id), words(command)),
        (None, None) => (format!("{:x}", line.id), "?".to_owned()),
    };
    JournalEntry {
        id,
        at: line.at,
        origin: line.origin,
        user: line.user,
        ssh_connection: line.ssh_connection,
        what,
        stream,
        decision: line.decision,
        outcome: None,
        skipped: 0,
        reapplied: false,
    }
}

fn scope_of(command: &Command) -> Option<&Scope> {
    match command {
        Command::Pause { scope }
        | Command::Resume { scope }
        | Command::Start { scope }
        | Command::Retry { scope, .. }
        | Command::Decide { scope, .. }
        | Command::Accept { scope, .. }
        | Command::Revert { scope, .. }
        | Command::Reapply { scope, .. } => Some(scope),
        Command::PurgeRelay { .. }
        | Command::RefetchRelay { .. }
        | Command::Check
        | Command::CheckAs { .. }
        | Command::Stop => None,
    }
}

fn words(command: &Command) -> String {
    match command {
        Command::Pause { .. } => "pause".to_owned(),
        Command::Resume { .. } => "resume".to_owned(),
        Command::Start { .. } => "start".to_owned(),
        Command::Retry { .. } => "retry".to_owned(),
        Command::Decide {
            choice, reach, at, ..
        } => format!("{choice} {reach} at {at}"),
        Command::Accept {
            names, findings, ..
        } => {
            let found = findings.iter().map(|finding| finding.name.clone());
            let mut names: Vec<String> = names.iter().cloned().chain(found).collect();
            names.sort_unstable();
            names.dedup();
            format!("accept {}", names.join(", "))
        }
        Command::Revert { id, .. } => match id {
            Some(id) => format!("revert {id}"),
            None => "revert the newest decision".to_owned(),
        },
        Command::Reapply { id, .. } => format!("reapply {id}"),
        Command::PurgeRelay { source, .. } => format!("purge the relay of {source}"),
        Command::RefetchRelay { source, file, .. } => format!("fetch {file} of {source} again"),
        Command::Check => "check".to_owned(),
        Command::CheckAs { consistency } => format!("check as if `consistency` were {consistency}"),
        Command::Stop => "stop".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Timestamp;

    #[test]
    fn a_command_is_joined_with_its_answer() {
        let intent = Line {
            version: 1,
            id: 7,
            at: Timestamp::from_seconds(1),
            phase: "intent".into(),
            command: Some(Command::Retry {
                scope: Scope {
                    task: Some("t".into()),
                    ..Scope::default()
                },
                stop_id: None,
            }),
            ..Line::default()
        };
        let outcome = Line {
            id: 7,
            phase: "outcome".into(),
            reply: Some(Reply::Refused {
                message: "nothing has failed".into(),
                fix: None,
            }),
            ..Line::default()
        };
        let entries = join(vec![intent.clone(), outcome, Line { id: 8, ..intent }]);
        assert_eq!(entries.len(), 2);
        assert_eq!(entries[0].what, "retry");
        assert_eq!(entries[0].stream.as_deref(), Some("t/*"));
        assert_eq!(
            entries[0].outcome.as_deref(),
            Some("refused: nothing has failed")
        );
        assert_eq!(entries[1].outcome, None);
    }
}
