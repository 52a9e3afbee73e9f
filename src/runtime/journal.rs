//! The record of what the operator asked for: one JSON object a line, on disk before it acts.
//!
//! ```text
//! intent   id, who, the command, the decision made of it      before anything is done
//! outcome  id, the reply                                      when the command was answered
//! settled  the decision's id, what became of it               when the target has it, or never will
//! ```
//!
//! A process that ends between an intent and what became of it leaves the decision in question; the
//! target has the answer, and the next start of the stream writes it here.

use std::collections::{BTreeMap, HashMap};
use std::fs::{File, OpenOptions};
use std::io::{BufRead as _, BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use crate::control::{Command, Reply};
use crate::model::{Decision, DecisionOutcome, Error, ErrorKind, Finding, Result, Timestamp};

use super::clock;

/// The version of a line's form.
const VERSION: u32 = 1;

/// A line.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Line {
    /// The form of the line.
    pub version: u32,
    /// Joins the lines of one command; 0 where the line is a decision's alone.
    pub id: u64,
    /// When.
    pub at: Timestamp,
    /// `intent`, `outcome` or `settled`.
    pub phase: String,
    /// Through which door: `console`, `socket uid 0`.
    pub origin: String,
    /// The user of the operating system who runs the worker.
    pub user: String,
    /// The SSH connection that the worker was started in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ssh_connection: Option<String>,
    /// What was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<Command>,
    /// The decision that was made of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decision: Option<Decision>,
    /// The answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply: Option<Reply>,
    /// Which decision was settled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decision_id: Option<String>,
    /// What became of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<DecisionOutcome>,
}

/// The journal's file, open for appending. Its methods may block.
#[derive(Debug)]
pub(crate) struct Journal {
    path: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    file: File,
    next_id: u64,
    /// Decisions of which nothing became yet, by id.
    open: BTreeMap<String, Decision>,
    /// What was accepted of the checks' findings, by task and source.
    accepted: HashMap<(String, String), Vec<Finding>>,
    /// Who waits to hear what becomes of one.
    waiting: HashMap<String, oneshot::Sender<DecisionOutcome>>,
}

impl Journal {
    /// Opens `journal.jsonl` in the data folder, and reads which decisions are in question.
    pub(crate) fn open(data_dir: &Path) -> Result<Self> {
        let path = path_in(data_dir);
        let failed = |error| Error::file("open the journal", &path, error);
        let mut file = OpenOptions::new()
            .create(true)
            .append(true)
            .read(true)
            .mode(0o600)
            .open(&path)
            .map_err(failed)?;
        // A line that a crash cut off would swallow the next one.
        let end = file.seek(SeekFrom::End(0)).map_err(failed)?;
        if end > 0 {
            let mut last = [0];
            file.seek(SeekFrom::Start(end - 1)).map_err(failed)?;
            file.read_exact(&mut last).map_err(failed)?;
            if last != *b"\n" {
                file.write_all(b"\n").map_err(failed)?;
            }
        }
        let mut open = BTreeMap::new();
        let mut asked = HashMap::new();
        let mut accepted: HashMap<(String, String), Vec<Finding>> = HashMap::new();
        each_line(&path, |line| {
            match (line.command, line.reply) {
                (
                    Some(Command::Accept {
                        scope, findings, ..
                    }),
                    _,
                ) => {
                    asked.insert(line.id, (scope, findings));
                }
                (None, Some(Reply::Done { .. })) => {
                    if let Some((scope, findings)) = asked.remove(&line.id)
                        && let (Some(task), Some(source)) = (scope.task, scope.source)
                    {
                        accepted.entry((task, source)).or_default().extend(findings);
                    }
                }
                _ => {}
            }
            if let Some(decision) = line.decision {
                open.insert(decision.id.clone(), decision);
            }
            if let (Some(id), Some(_)) = (&line.decision_id, &line.result) {
                open.remove(id);
            }
        })?;
        Ok(Self {
            state: Mutex::new(State {
                file,
                // Ids need only differ within the file: microseconds since 1970 do, across restarts too.
                next_id: clock::now().0,
                open,
                accepted,
                waiting: HashMap::new(),
            }),
            path,
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic while it was held left at worst half a line, which the next reading passes over.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ids of the decisions of a stream that are in question.
    pub(crate) fn in_question(&self, task: &str, source: &str) -> Vec<String> {
        let state = self.state();
        let of_stream = |decision: &&Decision| decision.task == task && decision.source == source;
        let ids = state.open.values().filter(of_stream);
        ids.map(|decision| decision.id.clone()).collect()
    }

    /// What was accepted for a stream of what the checks had found, when the journal was opened.
    pub(crate) fn accepted(&self, task: &str, source: &str) -> Vec<Finding> {
        let state = self.state();
        let key = (task.to_owned(), source.to_owned());
        state.accepted.get(&key).cloned().unwrap_or_default()
    }

    /// Writes what is about to be done, and gives its id. On disk when this returns.
    pub(crate) fn intent(&self, origin: &str, command: &Command) -> Result<u64> {
        self.write_intent(origin, command, None)
    }

    /// The same for a command that became a decision.
    pub(crate) fn decision(
        &self,
        origin: &str,
        command: &Command,
        decision: &Decision,
    ) -> Result<u64> {
        self.write_intent(origin, command, Some(decision))
    }

    fn write_intent(
        &self,
        origin: &str,
        command: &Command,
        decision: Option<&Decision>,
    ) -> Result<u64> {
        let mut state = self.state();
        let id = state.next_id;
        state.next_id += 1;
        let line = Line {
            id,
            phase: "intent".to_owned(),
            command: Some(command.clone()),
            decision: decision.cloned(),
            ..by(origin)
        };
        self.append(&mut state, &line)?;
        if let Some(decision) = decision {
            state.open.insert(decision.id.clone(), decision.clone());
        }
        Ok(id)
    }

    /// Writes what a command was answered.
    pub(crate) fn outcome(&self, id: u64, origin: &str, reply: &Reply) -> Result<()> {
        let line = Line {
            id,
            phase: "outcome".to_owned(),
            reply: Some(reply.clone()),
            ..by(origin)
        };
        self.append(&mut self.state(), &line)
    }

    /// Writes what became of a decision, and tells whoever waits for it.
    pub(crate) fn settled(&self, id: &str, result: &DecisionOutcome) -> Result<()> {
        let line = Line {
            phase: "settled".to_owned(),
            decision_id: Some(id.to_owned()),
            result: Some(result.clone()),
            ..by("worker")
        };
        let mut state = self.state();
        self.append(&mut state, &line)?;
        state.open.remove(id);
        if let Some(waiting) = state.waiting.remove(id) {
            // Whoever asked may have gone.
            let _ = waiting.send(result.clone());
        }
        Ok(())
    }

    /// Tells what becomes of a decision, once.
    pub(crate) fn watch(&self, id: &str) -> oneshot::Receiver<DecisionOutcome> {
        let (sender, receiver) = oneshot::channel();
        self.state().waiting.insert(id.to_owned(), sender);
        receiver
    }

    fn append(&self, state: &mut State, line: &Line) -> Result<()> {
        let failed = |error| Error::file("write the journal", &self.path, error);
        let mut bytes = serde_json::to_vec(line).map_err(|e| failed(e.into()))?;
        bytes.push(b'\n');
        state.file.write_all(&bytes).map_err(failed)?;
        state.file.sync_data().map_err(failed)
    }
}

/// A line of now, by whoever runs this process.
fn by(origin: &str) -> Line {
    let uid = rustix::process::getuid().as_raw();
    Line {
        version: VERSION,
        at: clock::now(),
        origin: origin.to_owned(),
        user: std::env::var("USER").unwrap_or_else(|_| format!("uid {uid}")),
        ssh_connection: std::env::var("SSH_CONNECTION").ok(),
        ..Line::default()
    }
}

/// The journal's file in a data folder.
fn path_in(data_dir: &Path) -> PathBuf {
    data_dir.join("journal.jsonl")
}

/// All lines of the journal in a data folder, oldest first; none if there is no journal yet.
pub fn read(data_dir: &Path) -> Result<Vec<Line>> {
    let path = path_in(data_dir);
    let mut lines = Vec::new();
    if path.exists() {
        each_line(&path, |line| lines.push(line))?;
    }
    Ok(lines)
}

/// Reads a journal. A line that was cut off by a crash is none; one of a newer form is refused.
fn each_line(path: &Path, mut take: impl FnMut(Line)) -> Result<()> {
    let failed = |error| Error::file("read the journal", path, error);
    let mut reader = BufReader::new(File::open(path).map_err(failed)?);
    let mut bytes = Vec::new();
    loop {
        bytes.clear();
        if reader.read_until(b'\n', &mut bytes).map_err(failed)? == 0 {
            return Ok(());
        }
        match serde_json::from_slice::<Line>(&bytes) {
            Ok(line) => take(line),
            Err(why) => {
                let form = serde_json::from_slice::<serde_json::Value>(&bytes)
                    .ok()
                    .and_then(|line| line.get("version")?.as_u64());
                if form.is_some_and(|form| form > u64::from(VERSION)) {
                    return Err(Error::new(
                        ErrorKind::File,
                        format!("`{}` was written by a newer Tideway", path.display()),
                    )
                    .with_fix("run the newer version"));
                }
                tracing::warn!(unit = "runtime", %why, "a line of the journal cannot be read");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::Scope;
    use crate::model::{Choice, DECISION_VERSION, EventPlace, LaterRows, Place, Position, Reach};

    fn decision(id: &str) -> Decision {
        let begin = Place::new("7.1", Position::new("bin.000001", 4));
        Decision {
            version: DECISION_VERSION,
            id: id.into(),
            task: "t".into(),
            source: "a".into(),
            choice: Choice::Skip,
            scope: Reach::Event,
            at: EventPlace {
                place: begin.clone(),
                inner: None,
                row: None,
            },
            begin,
            gtid: None,
            stop_id: "s".into(),
            later_rows: LaterRows::Source,
            reason: "ticket 88".into(),
            made_at: Timestamp::from_seconds(1),
            by: "console".into(),
        }
    }

    fn pause() -> Command {
        Command::Pause {
            scope: Scope::default(),
        }
    }

    #[test]
    fn intent_and_outcome_are_lines_with_one_id() {
        let folder = tempfile::tempdir().unwrap();
        let journal = Journal::open(folder.path()).unwrap();
        let id = journal.intent("console", &pause()).unwrap();
        let reply = Reply::Done {
            message: "paused".into(),
        };
        journal.outcome(id, "console", &reply).unwrap();
        let lines = read(folder.path()).unwrap();
        assert_eq!(lines.len(), 2);
        assert_eq!((lines[0].id, lines[1].id), (id, id));
        assert_eq!(lines[0].command, Some(pause()));
        assert_eq!(lines[1].reply, Some(reply));
    }

    #[test]
    fn a_decision_stays_in_question_over_a_restart_until_it_is_settled() {
        let folder = tempfile::tempdir().unwrap();
        let journal = Journal::open(folder.path()).unwrap();
        for id in ["one", "two"] {
            journal
                .decision("console", &pause(), &decision(id))
                .unwrap();
        }
        journal.settled("one", &DecisionOutcome::Done).unwrap();
        drop(journal);
        let path = path_in(folder.path());
        let mut torn = OpenOptions::new().append(true).open(&path).unwrap();
        torn.write_all(b"{\"version\":1,\"id\":").unwrap();
        let journal = Journal::open(folder.path()).unwrap();
        assert_eq!(journal.in_question("t", "a"), ["two"]);
        assert!(journal.in_question("t", "b").is_empty());
        let mut watched = journal.watch("two");
        let why = "the process ended".to_owned();
        let outcome = DecisionOutcome::NotDone { why };
        journal.settled("two", &outcome).unwrap();
        assert_eq!(watched.try_recv().unwrap(), outcome);
        drop(journal);
        let journal = Journal::open(folder.path()).unwrap();
        assert!(journal.in_question("t", "a").is_empty());
        let lines = read(folder.path()).unwrap();
        assert_eq!(lines.len(), 4);
        assert_eq!(lines[3].result, Some(outcome));
    }

    #[test]
    fn a_journal_of_a_newer_form_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(path_in(folder.path()), "{\"version\":2,\"who\":[]}\n").unwrap();
        assert!(Journal::open(folder.path()).is_err());
    }
}
