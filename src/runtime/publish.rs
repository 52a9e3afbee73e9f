//! Puts snapshots together: what the units' meters say, what the runners' states are, and the rates
//! that follow from them.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use crate::config::{Config, ServerConfig};
use crate::control::{
    DecisionFigure, MemoryFigure, Problem, Snapshot, SourceSnapshot, StreamPosition,
    StreamSnapshot, SupposedCheck, TargetSnapshot, snapshot,
};
use crate::job::check::Progress;
use crate::log::LogRing;
use crate::model::{CheckReport, CheckState, Stage, Unit};

use super::clock;
use super::meter::{LagHistory, Rate};
use super::needs::Needs;
use super::{Stream, Worker, refusals};

/// Log lines in a snapshot.
const LOG_LINES: usize = 500;
/// A snapshot that changed in nothing but the time is still published after this long, so that a
/// reader can tell a calm worker from a dead one.
const AT_LEAST: Duration = Duration::from_secs(1);

/// Builds snapshots.
#[derive(Debug)]
pub(super) struct Publisher {
    log: Arc<LogRing>,
    log_mark: u64,
    last: Snapshot,
    last_at: Option<Instant>,
    limit_bytes: u64,
    meters: Vec<StreamMeter>,
    check: Option<Arc<CheckReport>>,
    supposed: Option<Arc<SupposedCheck>>,
    /// The checks that run, for as long as they do.
    checking: Weak<Progress>,
}

/// What is remembered of a stream between snapshots.
#[derive(Debug, Default)]
struct StreamMeter {
    rows: Rate,
    transactions: Rate,
    lag: LagHistory,
}

impl Publisher {
    /// A publisher that has published nothing.
    pub(super) fn new(config: &Config, log: Arc<LogRing>) -> Self {
        let last = Snapshot {
            version: snapshot::VERSION,
            started_at: clock::now(),
            read_only: config.console.is_read_only,
            config_path: config.path.display().to_string(),
            targets: config
                .targets
                .iter()
                .map(|target| blank_target(&target.server))
                .collect(),
            ..Snapshot::default()
        };
        Self {
            log,
            log_mark: 0,
            last,
            last_at: None,
            limit_bytes: config.worker.memory_bytes,
            meters: Vec::new(),
            check: None,
            supposed: None,
            checking: Weak::new(),
        }
    }

    /// One more target is written to.
    pub(super) fn add_target(&mut self, server: &ServerConfig) {
        self.last.targets.push(blank_target(server));
    }

    /// Checks have begun, and tell by this how far they are.
    pub(super) fn set_checking(&mut self, progress: &Arc<Progress>) {
        self.checking = Arc::downgrade(progress);
    }

    /// Takes a new result of the checks.
    pub(super) fn set_check(&mut self, report: CheckReport) {
        self.check = Some(Arc::new(report));
        self.supposed = None;
    }

    /// Takes what the checks would find with another setting, to be shown until there is a new result.
    pub(super) fn set_supposed(&mut self, consistency: String, report: CheckReport) {
        self.supposed = Some(Arc::new(SupposedCheck {
            consistency,
            report,
        }));
    }

    /// The snapshot of now; `None` where nothing has changed since the last.
    pub(super) fn build(
        &mut self,
        workers: &[Worker],
        streams: &[Stream],
    ) -> Option<Arc<Snapshot>> {
        let now = Instant::now();
        self.meters.resize_with(streams.len(), StreamMeter::default);
        let mut next = self.last.clone();
        next.taken_at = clock::now();
        next.check.clone_from(&self.check);
        next.supposed.clone_from(&self.supposed);
        next.checking = self.checking.upgrade().map(|progress| progress.figure());
        next.sources = workers
            .iter()
            .map(|worker| source(worker, streams))
            .collect();
        next.streams = streams
            .iter()
            .zip(&mut self.meters)
            .map(|(stream, meter)| {
                let of = |source: &&SourceSnapshot| source.name == stream.work.source_name();
                let relay = next.sources.iter().find(of).and_then(|s| s.relay.as_ref());
                let is_cut_off = relay.is_some_and(|relay| !relay.connected);
                stream_snapshot(stream, meter, now, is_cut_off)
            })
            .collect();
        for stream in streams {
            let name = stream.work.target_name();
            if let Some(facts) = stream.work.target_facts()
                && let Some(shown) = next.targets.iter_mut().find(|shown| shown.name == name)
            {
                shown.flavor = Some(facts.version.flavor);
                shown.server_version = Some(facts.version.text);
                shown.tls = Some(facts.tls.unwrap_or_else(|| "none".to_owned()));
            }
        }
        if let Some(report) = &next.check {
            for source in &mut next.sources {
                if let Some(error) = &mut source.error {
                    let server = [format!("source:{}", source.name)];
                    refusals::name_grants(error, Unit::Relay, report, &server);
                }
            }
            for stream in &mut next.streams {
                if let Some(stop) = &mut stream.stop {
                    let servers = [
                        format!("source:{}", stream.source),
                        format!("target:{}", stream.target),
                    ];
                    refusals::name_grants(&mut stop.error, stop.unit, report, &servers);
                }
            }
        }
        next.problems = problems(&next, workers);
        if self.log.last_number() != self.log_mark {
            self.log_mark = self.log.last_number();
            next.log = Arc::new(self.log.newest(LOG_LINES));
            next.log_dropped = self.log.dropped();
        }
        let resident = clock::resident_bytes();
        next.memory = MemoryFigure {
            // A figure that changes with every page would make every snapshot differ.
            resident_bytes: resident - resident % (1 << 20),
            limit_bytes: self.limit_bytes,
        };

        let is_due = self
            .last_at
            .is_none_or(|at| now.duration_since(at) >= AT_LEAST);
        let taken_at = std::mem::replace(&mut next.taken_at, self.last.taken_at);
        let is_same = next == self.last;
        next.taken_at = taken_at;
        if is_same && !is_due {
            return None;
        }
        next.revision += 1;
        self.last_at = Some(now);
        self.last = next.clone();
        Some(Arc::new(next))
    }
}

fn blank_target(server: &ServerConfig) -> TargetSnapshot {
    TargetSnapshot {
        name: server.name.clone(),
        address: server.address.to_string(),
        user: server.user.clone(),
        flavor: None,
        server_version: None,
        tls: None,
    }
}

fn source(worker: &Worker, streams: &[Stream]) -> SourceSnapshot {
    let config = worker.work.config();
    let state = worker.state.read();
    let facts = worker.work.facts();
    let info = facts.as_ref().map(|facts| &facts.info);
    let error = state.stop.as_ref().map(|stop| stop.error.clone());
    let mut relay = worker.work.figure();
    if let Some(relay) = &mut relay {
        relay.error = error.as_ref().map(|error| error.message.clone());
        let works = streams.iter().map(|stream| &stream.work);
        let of_it = works.filter(|work| work.source_name() == config.server.name);
        relay.held_by = Needs::of(of_it).hold(worker.work.log());
    }
    SourceSnapshot {
        name: config.server.name.clone(),
        address: config.server.address.to_string(),
        user: config.server.user.clone(),
        stage: state.stage,
        flavor: info.map(|info| info.version.flavor),
        server_version: info.map(|info| info.version.text.clone()),
        server_identity: info.map(|info| info.identity.clone()),
        server_id: Some(worker.work.server_id()),
        tls: facts
            .as_ref()
            .map(|f| f.tls.clone().unwrap_or_else(|| "none".to_owned())),
        binlog_format: info.map(|info| info.binlog_format.clone()),
        row_image: info.map(|info| info.row_image.clone()),
        row_metadata: info.map(|info| info.row_metadata.clone()),
        gtid_mode: info.map(|info| info.gtid_mode.clone()),
        relay,
        error,
        next_try_at: state.next_try_at,
        tries: state.tries,
    }
}

/// `is_cut_off`: what the source wrote last cannot be known.
fn stream_snapshot(
    stream: &Stream,
    meter: &mut StreamMeter,
    now: Instant,
    is_cut_off: bool,
) -> StreamSnapshot {
    let state = stream.state.read();
    let work = &stream.work;
    let unit = work.unit();
    let mut sync = work.sync_figure();
    let mark = sync.mark.take();
    let dump = work.dump_figure();
    let load = work.load_figure();
    let is_syncing = unit == Unit::Sync && state.stage == Stage::Running;
    // Without a running sync, or a source that tells, nobody knows how far behind it is.
    let lag = sync
        .lag_micros
        .filter(|_| is_syncing && !is_cut_off)
        .map(|micros| micros as f64 / 1e6);
    let rows_per_second = match unit {
        Unit::Dump => dump.as_ref().map_or(0.0, |figure| figure.rows_per_second),
        Unit::Load => load.as_ref().map_or(0.0, |figure| figure.rows_per_second),
        Unit::Relay | Unit::Sync => meter.rows.sample(now, sync.rows),
    };
    let is_stopped = matches!(state.stage, Stage::Failed | Stage::Waiting);
    // A load runs beside its dump: which of them stopped, the stop knows.
    let stop = state.stop.filter(|_| is_stopped);
    StreamSnapshot {
        task: work.task_name().to_owned(),
        source: work.source_name().to_owned(),
        target: work.target_name().to_owned(),
        unit,
        stage: state.stage,
        behind_bytes: mark
            .as_ref()
            .and_then(|mark| work.bytes_behind(&mark.place)),
        position: mark.map(|mark| StreamPosition {
            place: mark.place,
            gtid_set: mark.gtid_set.map(|set| set.to_string()),
        }),
        lag_seconds: lag,
        lag_resolution: sync.lag_resolution_micros as f64 / 1e6,
        idle: is_syncing && !is_cut_off && sync.idle,
        // One worker applies in the source's order: nothing is ahead of the mark.
        ahead: 0,
        rows_applied: sync.rows,
        transactions_applied: sync.transactions,
        ddl_applied: sync.ddl,
        passed_over: sync.passed_over,
        rows_per_second,
        transactions_per_second: meter.transactions.sample(now, sync.transactions),
        lag_history: meter.lag.sample(now, lag),
        checkpoint_at: sync.checkpoint_at,
        dump,
        load,
        notes: work.notes(),
        drift_skipped: sync.drift_skipped,
        drift_repaired: sync.drift_repaired,
        skipped_events: work.skipped_events(),
        decisions: work
            .waiting_decisions()
            .iter()
            .map(|decision| DecisionFigure {
                id: decision.id.clone(),
                title: decision.title(),
                made_at: decision.made_at,
            })
            .collect(),
        stop,
        next_try_at: state.next_try_at,
        tries: state.tries,
        retries: state.retries.with(sync.retries),
    }
}

/// What needs the operator: what stands, what is tried again, what the checks found.
fn problems(next: &Snapshot, workers: &[Worker]) -> Vec<Problem> {
    let mut problems = Vec::new();
    for worker in workers {
        let state = worker.state.read();
        if let Some(stop) = &state.stop
            && matches!(state.stage, Stage::Failed | Stage::Waiting)
        {
            let name = worker.work.source_name();
            problems.push(Problem {
                since: stop.at,
                scope: format!("source {name}"),
                task: None,
                source: Some(name.to_owned()),
                is_failure: state.stage == Stage::Failed,
                text: one_line(&stop.error),
            });
        }
    }
    for source in &next.sources {
        let warnings = source.relay.iter().flat_map(|relay| &relay.warnings);
        problems.extend(warnings.map(|text| Problem {
            since: next.started_at,
            scope: format!("source {}", source.name),
            task: None,
            source: Some(source.name.clone()),
            is_failure: false,
            text: text.clone(),
        }));
    }
    for stream in &next.streams {
        if let Some(stop) = &stream.stop {
            problems.push(Problem {
                since: stop.at,
                scope: format!("{}/{}", stream.task, stream.source),
                task: Some(stream.task.clone()),
                source: Some(stream.source.clone()),
                is_failure: stream.stage == Stage::Failed,
                text: format!("{}: {}", stop.unit, one_line(&stop.error)),
            });
        }
    }
    if let Some(check) = &next.check {
        let missing = check.missing().len();
        let failed: Vec<String> = check
            .checks
            .iter()
            .filter(|check| check.state == CheckState::Fail)
            .map(|check| format!("{} ({})", check.id, check.scope))
            .collect();
        let mut problem = |text: String| {
            problems.push(Problem {
                since: check.at,
                scope: "check".to_owned(),
                task: None,
                source: None,
                is_failure: false,
                text,
            });
        };
        if missing > 0 {
            problem(format!(
                "{missing} privileges are missing; the Grants screen has the GRANTs"
            ));
        }
        if !failed.is_empty() {
            problem(format!("checks that fail: {}", failed.join(", ")));
        }
    }
    problems.sort_by_key(|problem| (!problem.is_failure, problem.since));
    problems
}

fn one_line(error: &crate::control::StopError) -> String {
    match &error.cause {
        Some(cause) => format!("{}: {cause}", error.message),
        None => error.message.clone(),
    }
}
