//! Answers the door: commands are written down, passed to the runners they are for, and replied to;
//! snapshots go out at most ten times a second.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use crate::config::{Config, Consistency};
use crate::control::{Answer, CONSISTENCIES, Command, Envelope, Query, Reply, Scope, Snapshot};
use crate::model::{CheckReport, ErrorKind, Finding, Stage};

use super::caught_up::CaughtUp;
use super::data_folder::DataFolder;
use super::deciding::{Table, only};
use super::gate;
use super::journal::Journal;
use super::journal_view;
use super::publish::Publisher;
use super::purging::Purging;
use super::runner::{Ask, Request, State, done, refused};
use super::supervisor::Supervisor;
use super::{Options, Stream, Worker};

/// Errands whose outcome may wait to be written down.
const ERRANDS: usize = 16;

/// Between two snapshots, at least.
const TICK: Duration = Duration::from_millis(100);
/// How long a runner may take to answer a request.
const PATIENCE: Duration = Duration::from_secs(5);

/// The one that answers the door.
pub(super) struct Director {
    pub(super) config: Arc<Config>,
    pub(super) options: Options,
    pub(super) journal: Arc<Journal>,
    pub(super) workers: Vec<Worker>,
    pub(super) streams: Vec<Stream>,
    pub(super) purging: Vec<Arc<Purging>>,
    pub(super) envelopes: mpsc::Receiver<Envelope>,
    pub(super) publisher: Publisher,
    pub(super) snapshots: watch::Sender<Arc<Snapshot>>,
    pub(super) supervisor: Supervisor,
    /// Cancelled when the process should end.
    pub(super) ended: CancellationToken,
    /// Cancelled when all runners have ended: the last snapshot is due.
    pub(super) stop: CancellationToken,
    /// Held for its lock, too.
    pub(super) folder: DataFolder,
}

/// A command under way, or done.
struct Errand {
    /// The journal's number for it.
    ///
    /// `None`: nothing was begun, and nothing written.
    id: Option<u64>,
    origin: String,
    command: Command,
    /// To whoever asked.
    asker: oneshot::Sender<Reply>,
}

/// Where the parts of the director that take their time report to.
#[derive(Clone)]
struct Reports {
    /// With the setting that was supposed, if one was.
    checks: mpsc::Sender<(Option<String>, CheckReport)>,
    errands: mpsc::Sender<(Errand, Reply)>,
}

impl Director {
    /// Runs until everything else has ended.
    pub(super) async fn run(mut self) {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let (checks, mut checked) = mpsc::channel(1);
        let (errands, mut settled) = mpsc::channel(ERRANDS);
        let reports = Reports { checks, errands };
        self.check(None, &reports);
        let mut caught_up = self.options.ends_when_caught_up.then(CaughtUp::default);
        let mut refusals = BTreeSet::new();
        let mut findings = BTreeMap::new();
        loop {
            tokio::select! {
                () = self.stop.cancelled() => break,
                Some(envelope) = self.envelopes.recv() => match envelope {
                    Envelope::Command { command, origin, reply } => {
                        self.take(command, origin, reply, &reports).await;
                    }
                    Envelope::Query { query: Query::Journal { skip, limit }, answer } => {
                        self.answer_journal(skip, limit, answer);
                    }
                    Envelope::Query { query, answer } => {
                        let _ = answer.send(self.answer(query));
                    }
                },
                Some((errand, reply)) = settled.recv() => self.settle(errand, reply),
                Some((supposed, report)) = checked.recv() => match supposed {
                    Some(consistency) => self.publisher.set_supposed(consistency, report),
                    None => self.publisher.set_check(report),
                },
                _ = tick.tick() => {
                    self.publish();
                    // Each looks, whatever the other saw.
                    let are_others = self.have_findings_changed(&mut findings);
                    if self.has_new_refusal(&mut refusals) || are_others {
                        // The Grants screen shows what is missing now, not what was at the start.
                        self.check(None, &reports);
                    }
                    if let Some(caught_up) = &mut caught_up {
                        caught_up.look(&self.workers, &self.streams, &self.supervisor);
                        if caught_up.is_done() {
                            self.ended.cancel();
                        }
                    } else if self.is_over() {
                        self.ended.cancel();
                    }
                }
            }
        }
        // The errands have ended with the supervisor.
        while let Ok((errand, reply)) = settled.try_recv() {
            self.settle(errand, reply);
        }
        self.publish();
    }

    fn publish(&mut self) {
        if let Some(snapshot) = self.publisher.build(&self.workers, &self.streams) {
            self.snapshots.send_replace(snapshot);
        }
    }

    /// Whether no stream can go on. One that stands at an event waits for the operator's hand; one
    /// that lost a server for longer than the retry limit does not, where nobody sits before it.
    fn is_over(&self) -> bool {
        !self.options.has_console
            && !self.streams.is_empty()
            && self.streams.iter().all(|stream| {
                let state = stream.state.read();
                match state.stage {
                    Stage::Finished => true,
                    Stage::Failed => state.has_lost_contact,
                    _ => false,
                }
            })
    }

    /// Whether a stream was refused something since the last look.
    fn has_new_refusal(&self, seen: &mut BTreeSet<String>) -> bool {
        let states = self.workers.iter().map(|worker| &worker.state);
        let states = states.chain(self.streams.iter().map(|stream| &stream.state));
        let mut is_new = false;
        for stop in states.filter_map(|state| state.read().stop) {
            if stop.error.kind == ErrorKind::Privilege && seen.insert(stop.stop_id) {
                is_new = true;
            }
        }
        is_new
    }

    /// Whether a stream that stood at what the checks found stands at something else, or no more: the
    /// report is older than that.
    fn have_findings_changed(&self, seen: &mut BTreeMap<String, String>) -> bool {
        let mut have_changed = false;
        for stream in &self.streams {
            let label = stream.work.label();
            let stop = stream.state.read().stop;
            let stop = stop.filter(|stop| stop.error.kind == ErrorKind::Checks);
            let before = seen.get(&label);
            have_changed |= match (before, &stop) {
                (Some(before), Some(stop)) => *before != stop.stop_id,
                (Some(_), None) => true,
                (None, _) => false,
            };
            match stop {
                Some(stop) => seen.insert(label, stop.stop_id),
                None => seen.remove(&label),
            };
        }
        have_changed
    }

    /// Starts the checks, as if all tasks had a `consistency` where one is given; their report comes by
    /// the channel.
    fn check(&mut self, supposed: Option<(String, Consistency)>, reports: &Reports) {
        let mut config = Arc::clone(&self.config);
        if let Some((_, consistency)) = &supposed {
            for task in &mut Arc::make_mut(&mut config).tasks {
                task.dump.consistency = *consistency;
            }
        }
        let progress = Arc::default();
        self.publisher.set_checking(&progress);
        let reports = reports.checks.clone();
        let stop = self.supervisor.stop().child_token();
        let _reports_by_the_channel = self.supervisor.spawn("check", async move {
            match gate::checked(config, stop, progress).await {
                // A director that has ended needs no report.
                Ok(report) => drop(reports.send((supposed.map(|(name, _)| name), report)).await),
                Err(error) => tracing::error!(unit = "check", "{}", error.report()),
            }
        });
    }

    /// Carries out a command, with its intent and outcome in the journal. What takes longer than a
    /// snapshot may wait is begun here, and settled when it is done.
    async fn take(
        &mut self,
        command: Command,
        origin: String,
        asker: oneshot::Sender<Reply>,
        reports: &Reports,
    ) {
        let is_steering = !matches!(command, Command::Check | Command::CheckAs { .. });
        let refusal = if is_steering && self.config.console.is_read_only && origin == "console" {
            Some(refused(
                "this console is read-only",
                "start it without `console.read_only`",
            ))
        } else {
            None
        };
        if let (None, Command::Decide { scope, .. }) = (&refusal, &command) {
            // It is written down once it is a decision.
            let table = self.table(scope);
            let errand = Errand {
                id: None,
                origin,
                command,
                asker,
            };
            match table {
                Ok(table) => self.decide(errand, table, reports),
                Err(refusal) => self.settle(errand, refusal),
            }
            return;
        }
        let (command, refusal) = match (refusal, self.completed(command.clone())) {
            (None, Ok(completed)) => (completed, None),
            (None, Err(refusal)) | (Some(refusal), _) => (command, Some(refusal)),
        };
        let intent = match refusal {
            Some(refusal) => Err(refusal),
            None => self.journal.intent(&origin, &command).map_err(|error| {
                refused(error.report(), "make the journal writable, then ask again")
            }),
        };
        let id = match intent {
            Ok(id) => id,
            Err(refusal) => {
                // Whoever asked may have gone.
                let _ = asker.send(refusal);
                return;
            }
        };
        let errand = Errand {
            id: Some(id),
            origin,
            command,
            asker,
        };
        let reply = match &errand.command {
            Command::Decide { .. } => refused("this is decided elsewhere", "ask again"),
            Command::Reapply { scope, id } => match only(&self.streams, scope) {
                Ok(stream) => {
                    let work = Arc::clone(&stream.work);
                    let id = id.clone();
                    self.send_away(errand, reports, "reapply", async move {
                        match work.reapply(&id).await {
                            Ok(message) => done(message),
                            // Whether it is in, the next try will tell.
                            Err(error) if error.kind() == ErrorKind::Connect => Reply::Failed {
                                kind: error.kind(),
                                message: error.message().to_owned(),
                                fix: error.fix().map(str::to_owned),
                            },
                            Err(error) => Reply::Refused {
                                message: error.message().to_owned(),
                                fix: error.fix().map(str::to_owned),
                            },
                        }
                    });
                    return;
                }
                Err(refusal) => refusal,
            },
            Command::Revert { scope, id } => match self.table(scope) {
                Ok(table) => table.revert(id.as_deref()).await,
                Err(refusal) => refusal,
            },
            Command::Accept {
                scope, findings, ..
            } => self.accept(scope, findings).await,
            Command::Pause { scope } => self.ask(scope, || Request::Pause).await,
            Command::Resume { scope } => self.ask(scope, || Request::Resume).await,
            Command::Start { scope } => self.start(scope).await,
            Command::Retry { scope, stop_id } => {
                self.ask(scope, || Request::Retry {
                    stop_id: stop_id.clone(),
                })
                .await
            }
            Command::PurgeRelay { source, .. } | Command::RefetchRelay { source, .. } => {
                match self.purging(source) {
                    Some(purging) => {
                        self.send_out(errand, purging, reports);
                        return;
                    }
                    None => unknown_source(source),
                }
            }
            Command::Check => {
                self.check(None, reports);
                done("checking again")
            }
            Command::CheckAs { consistency } => match Consistency::named(consistency) {
                Some(way) => {
                    self.check(Some((consistency.clone(), way)), reports);
                    done(format!("checking as if `consistency` were `{consistency}`"))
                }
                None => refused(
                    format!("`consistency` cannot be `{consistency}`"),
                    format!("name one of {}", CONSISTENCIES.join(", ")),
                ),
            },
            Command::Stop => {
                self.ended.cancel();
                done("draining; the process ends then")
            }
        };
        self.settle(errand, reply);
    }

    /// A command with all that the journal is to have of it.
    fn completed(&self, command: Command) -> Result<Command, Reply> {
        let Command::Accept {
            scope,
            names,
            findings: seen,
            reason,
        } = command
        else {
            return Ok(command);
        };
        let work = &only(&self.streams, &scope)?.work;
        let findings = work
            .gate()
            .named(&names, &seen)
            .map_err(|error| Reply::Refused {
                message: error.message().to_owned(),
                fix: error.fix().map(str::to_owned),
            })?;
        Ok(Command::Accept {
            scope: Scope {
                task: Some(work.task_name().to_owned()),
                source: Some(work.source_name().to_owned()),
                relay: false,
            },
            names,
            findings,
            reason,
        })
    }

    /// Takes findings as accepted, and has the stream begin where nothing else is in its way.
    async fn accept(&self, scope: &Scope, findings: &[Finding]) -> Reply {
        let stream = match only(&self.streams, scope) {
            Ok(stream) => stream,
            Err(refusal) => return refusal,
        };
        let open = stream.work.gate().accept(findings);
        let names = |list: &[Finding]| {
            let names: Vec<&str> = list.iter().map(|one| one.name.as_str()).collect();
            names.join(", ")
        };
        let accepted = format!("{}: accepted {}", stream.work.label(), names(findings));
        if !open.is_empty() {
            return done(format!("{accepted}; still in its way: {}", names(&open)));
        }
        match self.ask(scope, || Request::Retry { stop_id: None }).await {
            Reply::Done { .. } => done(format!("{accepted}; it begins")),
            // It looks again by itself.
            Reply::Refused { message, .. } | Reply::Failed { message, .. } => {
                done(format!("{accepted}; {message}"))
            }
        }
    }

    /// What is needed to decide something for the one stream that is meant.
    fn table(&self, scope: &Scope) -> Result<Table, Reply> {
        let stream = only(&self.streams, scope)?;
        Ok(Table {
            work: Arc::clone(&stream.work),
            state: Arc::clone(&stream.state),
            requests: stream.requests.clone(),
            journal: Arc::clone(&self.journal),
        })
    }

    /// Has a decision made and handed over by a task of its own: its fate takes its time.
    fn decide(&self, mut errand: Errand, table: Table, reports: &Reports) {
        let stop = self.supervisor.stop().child_token();
        let errands = reports.errands.clone();
        let work = async move {
            let (command, origin) = (errand.command.clone(), errand.origin.clone());
            let (id, reply) = tokio::select! {
                made = Box::pin(table.decide(&command, &origin)) => made,
                () = stop.cancelled() => (None, refused(
                    "the process ended before this was known to be done",
                    "start it again: the journal will say what became of it",
                )),
            };
            errand.id = id;
            // The director outlives the supervisor's tasks.
            let _ = errands.send((errand, reply)).await;
        };
        let _reports_by_the_channel = self.supervisor.spawn("decision", work);
    }

    /// Has a relay log's command done by a task of its own: files of gigabytes are removed or fetched.
    fn send_out(&self, errand: Errand, purging: Arc<Purging>, reports: &Reports) {
        let command = errand.command.clone();
        self.send_away(errand, reports, "relay command", async move {
            match &command {
                Command::PurgeRelay { which, .. } => purging.obey(which).await,
                Command::RefetchRelay { folder, file, .. } => purging.refetch(folder, file).await,
                _ => refused("this is no command for a relay log", "ask for another"),
            }
        });
    }

    /// Has a command done by a task of its own, and settled when it is.
    fn send_away(
        &self,
        errand: Errand,
        reports: &Reports,
        name: &str,
        work: impl Future<Output = Reply> + Send + 'static,
    ) {
        let stop = self.supervisor.stop().child_token();
        let errands = reports.errands.clone();
        let work = async move {
            let reply = tokio::select! {
                reply = Box::pin(work) => reply,
                () = stop.cancelled() => refused(
                    "the process ended before this was done",
                    "start it again, then ask again",
                ),
            };
            // The director outlives the supervisor's tasks.
            let _ = errands.send((errand, reply)).await;
        };
        let _reports_by_the_channel = self.supervisor.spawn(name, work);
    }

    /// Writes down what came of a command, and answers whoever asked.
    fn settle(&mut self, errand: Errand, reply: Reply) {
        let asked = one_line(&errand.command);
        let outcome = match &errand.command {
            // What a target says to a row may quote it.
            Command::Decide { .. } | Command::Reapply { .. } | Command::Revert { .. } => {
                match &reply {
                    Reply::Done { .. } => "done".to_owned(),
                    Reply::Refused { .. } => "refused".to_owned(),
                    Reply::Failed { kind, .. } => format!("failed: {kind:?}"),
                }
            }
            _ => one_line(&reply),
        };
        tracing::info!(
            unit = "runtime",
            "{} asked {asked}: {outcome}",
            errand.origin
        );
        if let Some(id) = errand.id
            && let Err(error) = self.journal.outcome(id, &errand.origin, &reply)
        {
            tracing::error!(unit = "runtime", "{}", error.report());
        }
        // Whoever asked may have gone.
        let _ = errand.asker.send(reply);
    }

    /// Nothing is in this scope: which of its names is none, and what the names are.
    fn unknown(&self, scope: &Scope) -> Reply {
        let sources: BTreeSet<&str> = self.workers.iter().map(|w| w.work.source_name()).collect();
        let tasks: BTreeSet<&str> = self.streams.iter().map(|s| s.work.task_name()).collect();
        no_match(scope, &tasks, &sources)
    }

    fn purging(&self, source: &str) -> Option<Arc<Purging>> {
        let of = |purging: &&Arc<Purging>| purging.relay.source_name() == source;
        self.purging.iter().find(of).map(Arc::clone)
    }

    /// Passes a request to each runner in its scope and sums up the replies.
    pub(super) async fn ask(&self, scope: &Scope, request: impl Fn() -> Request) -> Reply {
        let matching: Vec<(String, &mpsc::Sender<Ask>, &Arc<State>)> = if scope.relay {
            self.workers
                .iter()
                .filter(|worker| scope.source.as_deref() == Some(worker.work.source_name()))
                .map(|w| {
                    (
                        format!("relay of `{}`", w.work.source_name()),
                        &w.requests,
                        &w.state,
                    )
                })
                .collect()
        } else {
            self.streams
                .iter()
                .filter(|stream| {
                    let matches = |asked: &Option<String>, name: &str| {
                        asked.as_deref().is_none_or(|asked| asked == name)
                    };
                    matches(&scope.task, stream.work.task_name())
                        && matches(&scope.source, stream.work.source_name())
                })
                .map(|s| (s.work.label(), &s.requests, &s.state))
                .collect()
        };
        if matching.is_empty() {
            return self.unknown(scope);
        }
        let is_one = matching.len() == 1;
        let mut messages = Vec::new();
        let mut refusals = Vec::new();
        for (name, requests, state) in matching {
            // Asked of many, what needs nothing of it is passed over.
            let stage = state.stage();
            let is_of_use = match request() {
                Request::Pause => matches!(stage, Stage::Running | Stage::Waiting),
                Request::Resume => matches!(stage, Stage::Paused | Stage::Stopped),
                Request::Retry { .. } | Request::Decide(_) => {
                    matches!(stage, Stage::Failed | Stage::Waiting)
                }
            };
            if !is_of_use && !is_one {
                continue;
            }
            let (reply, receive) = oneshot::channel();
            let asked = async {
                requests.send((request(), reply)).await.ok()?;
                receive.await.ok()
            };
            match tokio::time::timeout(PATIENCE, asked).await {
                Ok(Some(Reply::Done { message })) => messages.push(format!("{name}: {message}")),
                Ok(Some(Reply::Refused { message, fix } | Reply::Failed { message, fix, .. })) => {
                    refusals.push((format!("{name}: {message}"), fix));
                }
                Ok(None) => refusals.push((format!("{name}: it has ended"), None)),
                Err(_) => refusals.push((
                    format!("{name}: no answer within {} s", PATIENCE.as_secs()),
                    Some("ask again".to_owned()),
                )),
            }
        }
        match (messages.is_empty(), refusals.pop()) {
            (false, _) => Reply::Done {
                message: messages.join("; "),
            },
            (true, Some((message, fix))) => Reply::Refused { message, fix },
            (true, None) => refused("no stream is in a stage for that", "see `tideway status`"),
        }
    }

    /// Answers for the journal, by a task of its own: its file may be long.
    fn answer_journal(&self, skip: usize, limit: usize, asker: oneshot::Sender<Answer>) {
        let path = self.folder.path().to_owned();
        let work = async move {
            let read = tokio::task::spawn_blocking(move || journal_view::entries(&path)).await;
            let answer = match read {
                Ok(Ok(entries)) => {
                    let total = entries.len();
                    let newest = entries.into_iter().rev();
                    let entries = newest.skip(skip).take(limit.min(1000)).collect();
                    Answer::Journal { entries, total }
                }
                Ok(Err(error)) => Answer::Failed {
                    message: error.report(),
                },
                Err(error) => Answer::Failed {
                    message: error.to_string(),
                },
            };
            // Whoever asked may have gone.
            let _ = asker.send(answer);
        };
        let _answers_by_the_channel = self.supervisor.spawn("journal", work);
    }

    /// Answers a query.
    fn answer(&self, query: Query) -> Answer {
        match query {
            Query::Journal { .. } => Answer::Failed {
                message: "the journal is read elsewhere".to_owned(),
            },
            Query::Tables {
                task,
                source,
                skip,
                limit,
            } => {
                let stream = self.streams.iter().find(|stream| {
                    stream.work.task_name() == task && stream.work.source_name() == source
                });
                let Some(stream) = stream else {
                    return Answer::Failed {
                        message: format!("no stream `{task}` on `{source}`"),
                    };
                };
                let tables = stream.work.tables();
                let total = tables.len();
                let tables = tables
                    .into_iter()
                    .skip(skip)
                    .take(limit.min(1000))
                    .collect();
                Answer::Tables { tables, total }
            }
        }
    }
}

/// Nothing is in the scope, of these tasks and sources.
fn no_match(scope: &Scope, tasks: &BTreeSet<&str>, sources: &BTreeSet<&str>) -> Reply {
    for (what, asked, names) in [
        ("task", &scope.task, tasks),
        ("source", &scope.source, sources),
    ] {
        if let Some(asked) = asked.as_deref().filter(|asked| !names.contains(asked)) {
            let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
            return refused(
                format!("no {what} is called `{asked}`"),
                format!("give one of: {}", names.join(", ")),
            );
        }
    }
    let message = match (&scope.task, &scope.source) {
        (Some(task), Some(source)) => format!("the task `{task}` is not on the source `{source}`"),
        (None, Some(source)) => format!("no task is on the source `{source}`"),
        (_, None) => "there is no stream".to_owned(),
    };
    refused(message, "see the streams with `tideway status`")
}

fn unknown_source(name: &str) -> Reply {
    refused(
        format!("no source is called `{name}`"),
        "see the names with `tideway status`",
    )
}

/// A command or a reply as the socket would have it, for the log.
fn one_line(value: &impl serde::Serialize) -> String {
    // These types have nothing that JSON cannot hold.
    serde_json::to_string(value).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_consistency_can_be_supposed() {
        for name in CONSISTENCIES {
            assert!(Consistency::named(name).is_some(), "{name}");
        }
    }

    #[test]
    fn an_unknown_name_is_told_with_those_there_are() {
        let (tasks, sources) = (BTreeSet::from(["shop"]), BTreeSet::from(["a", "b"]));
        let told = |task: Option<&str>, source: Option<&str>| {
            let scope = Scope {
                task: task.map(str::to_owned),
                source: source.map(str::to_owned),
                relay: false,
            };
            let Reply::Refused { message, fix } = no_match(&scope, &tasks, &sources) else {
                panic!("not refused");
            };
            (message, fix.unwrap())
        };
        let (message, fix) = told(None, Some("orders-b"));
        assert_eq!(message, "no source is called `orders-b`");
        assert_eq!(fix, "give one of: `a`, `b`");
        assert_eq!(told(Some("x"), None).0, "no task is called `x`");
        let (message, _) = told(Some("shop"), Some("b"));
        assert_eq!(message, "the task `shop` is not on the source `b`");
    }
}
