//! Runs the units: a worker for each source, a stream for each task on a source; obeys commands and
//! publishes snapshots.
//!
//! The director is one task that owns the journal and answers the door. Each relay and each stream
//! is a [`runner::Runner`] of its own, so none waits for another.

mod added;
mod beginning;
mod caught_up;
mod clock;
mod data_folder;
mod deciding;
mod director;
mod gate;
mod given_dump;
mod history;
pub mod journal;
pub mod journal_view;
mod meter;
mod needs;
mod publish;
mod purging;
mod refilled;
mod refusals;
mod regain;
mod relay_work;
mod retry;
mod runner;
mod skipped;
mod stops;
mod stream_work;
mod supervisor;

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::config::{Config, Mode, SourceConfig, TaskConfig};
use crate::control::{Handle, Snapshot};
use crate::log::LogRing;
use crate::model::{DecisionOutcome, Result};
use crate::relay_log::RelayLog;
use crate::unit::sync::Hand;

pub use data_folder::DataFolder;
use director::Director;
use gate::Gate;
use journal::Journal;
use publish::Publisher;
use purging::Purging;
use relay_work::RelayWork;
use runner::{Ask, Runner, State, Work};
use skipped::SkippedFile;
use stream_work::{Controls, StreamWork};
use supervisor::{Supervised, Supervisor};

/// Requests that may wait for a runner; it answers each within a moment.
const REQUESTS: usize = 8;
/// How long a stop waits for everything to drain.
const DRAIN: Duration = Duration::from_secs(10);
/// Envelopes that may wait for the director.
const ENVELOPES: usize = 32;

/// How the runtime behaves.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Whether an operator sits before it: then nothing but a command ends it.
    pub has_console: bool,
    /// Start every stream, also those with `autostart = false`, and end once each has applied what
    /// its source had.
    pub ends_when_caught_up: bool,
}

/// Everything at work. [`Runtime::stop`] ends it; dropping it without leaves its tasks to the end of
/// the process.
#[derive(Debug)]
pub struct Runtime {
    snapshots: watch::Receiver<Arc<Snapshot>>,
    envelopes: mpsc::Sender<crate::control::Envelope>,
    supervisor: Supervisor,
    ended: CancellationToken,
    director: Supervised<()>,
    director_stop: CancellationToken,
}

/// A source's worker, as the director holds it.
#[derive(Debug)]
struct Worker {
    work: Arc<RelayWork>,
    state: Arc<State>,
    requests: mpsc::Sender<Ask>,
}

/// A stream, as the director holds it.
#[derive(Debug)]
struct Stream {
    work: Arc<StreamWork>,
    state: Arc<State>,
    requests: mpsc::Sender<Ask>,
}

impl Runtime {
    /// Opens the relay logs and the journal, and starts every worker and
    /// stream. Servers that cannot be reached are no error here: each stream tells of its own.
    pub async fn start(
        config: Arc<Config>,
        folder: DataFolder,
        log: Arc<LogRing>,
        options: Options,
    ) -> Result<Self> {
        let journal = Arc::new(Journal::open(folder.path())?);
        let supervisor = Supervisor::default();

        // Shared by the streams of a task, which write to it in turn.
        let skipped: BTreeMap<&str, Arc<SkippedFile>> = config
            .tasks
            .iter()
            .map(|task| {
                let file = SkippedFile::new(folder.skipped(&task.name));
                (task.name.as_str(), Arc::new(file))
            })
            .collect();
        skipped.values().try_for_each(|file| file.load())?;
        let mut workers = Vec::new();
        let mut streams = Vec::new();
        // One after the other they would take as long as all the newest files together. What is wrong with
        // one is told by its worker and its streams, which try again; the others are not kept from work.
        let mut opening = Vec::new();
        for source in &config.sources {
            let log = RelayLog::unopened(&folder.relay(&source.server.name));
            let open = Arc::clone(&log);
            let task = tokio::task::spawn_blocking(move || open.open_now());
            opening.push((log, supervisor.spawn("relay log", task)));
        }
        for (source, (log, mut opened)) in config.sources.iter().zip(opening) {
            let _told_by_the_worker = opened.join().await;
            let tasks: Vec<&TaskConfig> = config
                .tasks
                .iter()
                .filter(|task| task.sources.contains(&source.server.name))
                .collect();
            let worker = start_worker(&config, &folder, &supervisor, source, &tasks, log)?;
            for task in tasks {
                // `Config` holds only tasks whose target is known.
                let (Some(target), Some(skipped)) =
                    (config.target(&task.target), skipped.get(task.name.as_str()))
                else {
                    continue;
                };
                let work = Arc::new(StreamWork::new(
                    &config,
                    task,
                    target,
                    Arc::clone(&worker.work),
                    folder.dump(&task.name, &source.server.name),
                    Controls {
                        skipped: Arc::clone(skipped),
                        hand: hand(&journal, &task.name, &source.server.name),
                        gate: gate(&config, &journal, options, task, &source.server.name),
                    },
                ));
                let is_autostart = task.is_autostart || options.ends_when_caught_up;
                let (state, requests) = start_runner(&config, &supervisor, &work, is_autostart);
                streams.push(Stream {
                    work,
                    state,
                    requests,
                });
            }
            workers.push(worker);
        }

        let purging = start_purging(&supervisor, &workers, &streams);
        let (envelopes, receive) = mpsc::channel(ENVELOPES);
        let publisher = Publisher::new(&config, log);
        let (sender, snapshots) = watch::channel(Arc::new(Snapshot::default()));
        let ended = CancellationToken::new();
        let director_stop = CancellationToken::new();
        let director = Director {
            config,
            options,
            journal,
            workers,
            streams,
            purging,
            envelopes: receive,
            publisher,
            snapshots: sender,
            supervisor: supervisor.clone(),
            ended: ended.clone(),
            stop: director_stop.clone(),
            folder,
        };
        // Not one of the supervisor's own: it shows the others' end.
        let director = Supervisor::default().spawn("director", director.run());
        Ok(Self {
            snapshots,
            envelopes,
            supervisor,
            ended,
            director,
            director_stop,
        })
    }

    /// A handle for whoever `origin` names in the journal.
    pub fn handle(&self, origin: &str) -> Handle {
        Handle::new(self.snapshots.clone(), self.envelopes.clone(), origin)
    }

    /// Waits until a command, or the end of all work, asks the process to end.
    pub async fn ended(&self) {
        self.ended.cancelled().await;
    }

    /// Drains every stream, writes the checkpoints, ends all tasks, and gives the last snapshot.
    ///
    /// What has not drained after [`DRAIN`], or when `hurry` is done, is left: its target transaction
    /// is undone by the server, and the next start goes on from the checkpoint before it.
    pub async fn stop(mut self, hurry: impl Future<Output = ()>) -> Arc<Snapshot> {
        let is_drained = tokio::select! {
            () = self.supervisor.shut_down() => true,
            () = hurry => false,
            () = tokio::time::sleep(DRAIN) => false,
        };
        if !is_drained {
            tracing::warn!(
                unit = "runtime",
                "not everything had drained; what was under way is undone, nothing is lost"
            );
        }
        self.director_stop.cancel();
        // A panic of the director is in the log already.
        let _ = self.director.join().await;
        Arc::clone(&self.snapshots.borrow())
    }
}

/// The operator's decisions for a stream, with those of a former process that are in question.
fn hand(journal: &Arc<Journal>, task: &str, source: &str) -> Arc<Hand> {
    let unsettled = journal.in_question(task, source);
    let journal = Arc::clone(journal);
    let report = move |id: &str, outcome: &DecisionOutcome| journal.settled(id, outcome);
    Arc::new(Hand::new(Arc::new(report), unsettled))
}

/// What must be in order before a stream begins.
fn gate(
    config: &Config,
    journal: &Journal,
    options: Options,
    task: &TaskConfig,
    source: &str,
) -> Gate {
    let accepted = journal.accepted(&task.name, source);
    Gate::new(config, task, source, options.has_console, accepted)
}

/// Starts a source's worker.
fn start_worker(
    config: &Config,
    folder: &DataFolder,
    supervisor: &Supervisor,
    source: &SourceConfig,
    tasks: &[&TaskConfig],
    log: Arc<RelayLog>,
) -> Result<Worker> {
    let name = &source.server.name;
    let needs_relay = tasks.iter().any(|task| task.mode != Mode::Full);
    let server_id = folder.server_id(name, source.server_id)?;
    let work = Arc::new(RelayWork::new(source.clone(), server_id, log, tasks.len()));
    let is_autostart = source.relay.is_enabled && needs_relay;
    let (state, requests) = start_runner(config, supervisor, &work, is_autostart);
    Ok(Worker {
        work,
        state,
        requests,
    })
}

/// Keeps the relay logs within their bounds.
fn start_purging(
    supervisor: &Supervisor,
    workers: &[Worker],
    streams: &[Stream],
) -> Vec<Arc<Purging>> {
    let mut all = Vec::new();
    for worker in workers {
        let of = |stream: &&Stream| stream.work.source_name() == worker.work.source_name();
        let purging = Arc::new(Purging {
            relay: Arc::clone(&worker.work),
            streams: RwLock::new(
                streams
                    .iter()
                    .filter(of)
                    .map(|s| Arc::clone(&s.work))
                    .collect(),
            ),
        });
        let run = Arc::clone(&purging).run(supervisor.stop().child_token());
        let _runs_until_the_supervisor_ends = supervisor.spawn("purging", run);
        all.push(purging);
    }
    all
}

/// Starts a runner for `work`.
fn start_runner<W: Work>(
    config: &Config,
    supervisor: &Supervisor,
    work: &Arc<W>,
    is_autostart: bool,
) -> (Arc<State>, mpsc::Sender<Ask>) {
    let state = Arc::new(State::new());
    let (requests, receive) = mpsc::channel(REQUESTS);
    let runner = Runner {
        work: Arc::clone(work),
        state: Arc::clone(&state),
        requests: receive,
        supervisor: supervisor.clone(),
        retry_limit: config.worker.retry_limit,
        is_autostart,
        look_again: retry::look_again,
        looks: 0,
        is_asked: false,
    };
    let _runs_until_the_supervisor_ends = supervisor.spawn(work.name(), runner.drive());
    (state, requests)
}
