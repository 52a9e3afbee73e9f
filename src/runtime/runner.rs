//! The state machine that a relay and a stream share: run, fail, wait, try again, pause, go on.
//!
//! ```text
//!            resume                      done
//!  paused ◀────────── pausing     ┌───────────────▶ finished
//!    │  ▲ drained ▲──────┘ pause  │
//!    └──┴───────▶ running ────────┤ passing error       next try, or retry
//!      resume        ▲            ├───────────────▶ waiting ───┐
//!                    ├────────────│────────────────────────────┘
//!                    │    retry   └───────────────▶ failed
//!                    └──────────────────────────────────┘  error for the operator
//! ```
//!
//! What runs is asked to stop by its token and then drains: a pause is nothing but that, and going on
//! is nothing but running again from the checkpoint.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::control::{Reply, Stop};
use crate::model::{Decision, Error, ErrorKind, Finding, RetryFigure, Stage, Timestamp};

use super::clock;
use super::retry::{Retry, backoff, policy};
use super::supervisor::Supervisor;

/// What the runner runs.
pub(super) trait Work: Send + Sync + 'static {
    /// Runs until all is done, until `stop` is cancelled and everything in hand is drained, or until
    /// something fails.
    fn run(
        self: Arc<Self>,
        stop: CancellationToken,
    ) -> Pin<Box<dyn Future<Output = Result<End, Box<Failure>>> + Send>>;

    /// Grows as work gets done: a failure after some of it starts the count of tries anew.
    fn progress(&self) -> u64;

    /// For log lines and error texts.
    fn name(&self) -> String;

    /// Whether the run at hand has yet to pass what the checks of its start find.
    fn is_before_start(&self) -> bool {
        false
    }

    /// Takes what the operator decided for the event at which it stands; `false`: it stands at none.
    fn decide(&self, _decision: Decision) -> bool {
        false
    }
}

/// How work ended without an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// There is no more to do.
    Finished,
    /// It was asked to stop.
    Stopped,
}

/// How work failed.
#[derive(Debug)]
pub(super) struct Failure {
    /// What the policy goes by.
    pub(super) error: Error,
    /// What the screen shows, where the operator must look.
    pub(super) stop: Stop,
}

/// What the operator asks of a runner.
#[derive(Debug)]
pub(super) enum Request {
    /// Drain and stand still.
    Pause,
    /// Go on, from wherever it stands.
    Resume,
    /// Try again at once; only what waits or failed can.
    Retry {
        /// The stop that is meant.
        stop_id: Option<String>,
    },
    /// Go on with what was decided for the event at which it stands.
    Decide(Box<Decision>),
}

/// A runner as others see it. Locked for moments, never over an await.
#[derive(Debug)]
pub(super) struct State {
    inner: Mutex<Inner>,
}

/// The parts of [`State`].
#[derive(Clone, Debug)]
pub(super) struct Inner {
    /// The stage.
    pub(super) stage: Stage,
    /// Why it stands, or why it waits.
    pub(super) stop: Option<Stop>,
    /// When the next try is.
    pub(super) next_try_at: Option<Timestamp>,
    /// Tries since the last success.
    pub(super) tries: u32,
    /// Failures that were answered by trying again.
    pub(super) retries: RetryFigure,
    /// Whether the retry limit is what made it fail.
    pub(super) has_lost_contact: bool,
}

impl State {
    /// A runner that has not begun.
    pub(super) fn new() -> Self {
        Self {
            inner: Mutex::new(Inner {
                stage: Stage::Waiting,
                stop: None,
                next_try_at: None,
                tries: 0,
                retries: RetryFigure::default(),
                has_lost_contact: false,
            }),
        }
    }

    /// A copy of it.
    pub(super) fn read(&self) -> Inner {
        self.lock().clone()
    }

    /// The stage alone.
    pub(super) fn stage(&self) -> Stage {
        self.lock().stage
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Plain data: a panic while it was held left nothing half done.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it stands at what the checks found before its start.
    fn stands_at_findings(&self) -> bool {
        let inner = self.lock();
        let stop = inner.stop.as_ref();
        matches!(inner.stage, Stage::Failed | Stage::Waiting)
            && stop.is_some_and(|stop| !stop.findings.is_empty())
    }

    fn set(&self, change: impl FnOnce(&mut Inner)) {
        change(&mut self.lock());
    }
}

/// A request with the way back for its reply.
pub(super) type Ask = (Request, tokio::sync::oneshot::Sender<Reply>);

/// Runs `work` as its runner until everything stops.
pub(super) struct Runner<W> {
    pub(super) work: Arc<W>,
    pub(super) state: Arc<State>,
    pub(super) requests: mpsc::Receiver<Ask>,
    pub(super) supervisor: Supervisor,
    pub(super) retry_limit: Duration,
    /// Whether it begins by itself.
    pub(super) is_autostart: bool,
    /// When it looks again by itself at what stopped it, where that can be mended elsewhere.
    pub(super) look_again: fn(ErrorKind, u32) -> Option<Duration>,
    /// How often it has done so.
    pub(super) looks: u32,
    /// Whether the operator asked for the run at hand: its failure is told even if it is the same again.
    pub(super) is_asked: bool,
}

/// A run that has lasted this long without a failure no longer shows what stopped the one before.
const SETTLED: Duration = Duration::from_secs(5);

/// A run that has lasted this long was a success, even if there was nothing to do: the retry limit is
/// counted anew. Longer than any wait for a connection or a lock.
const HEALTHY: Duration = Duration::from_mins(10);

/// What the machine does next.
enum Next {
    Run,
    /// Stand in this stage until a request comes.
    Stand(Stage),
    /// Stand in this stage until a request comes, or until then: what is wrong may be mended elsewhere.
    StandUntil(Stage, Instant),
    /// Try again then.
    Wait(Instant),
    End,
}

impl<W: Work> Runner<W> {
    /// The machine. Ends when the supervisor's token is cancelled and the work has drained.
    pub(super) async fn drive(mut self) {
        let mut next = if self.is_autostart {
            Next::Run
        } else {
            Next::Stand(Stage::Stopped)
        };
        let mut failing_since: Option<Instant> = None;
        let mut progress_at_failure = 0;
        loop {
            next = match next {
                Next::Run => {
                    let begun = Instant::now();
                    match self.run_once().await {
                        Outcome::Ended(End::Finished) => Next::Stand(Stage::Finished),
                        Outcome::Ended(End::Stopped) => Next::End,
                        Outcome::Paused => Next::Stand(Stage::Paused),
                        Outcome::Failed(failure) => {
                            let progress = self.work.progress();
                            if failing_since.is_none()
                                || progress != progress_at_failure
                                || begun.elapsed() >= HEALTHY
                            {
                                failing_since = Some(Instant::now());
                                self.state.set(|s| s.tries = 0);
                            }
                            progress_at_failure = progress;
                            self.failed(*failure, failing_since.unwrap_or_else(Instant::now))
                        }
                    }
                }
                Next::Stand(stage) => {
                    self.state.set(|s| {
                        s.stage = stage;
                        s.next_try_at = None;
                    });
                    if matches!(stage, Stage::Paused | Stage::Finished | Stage::Stopped) {
                        self.state.set(|s| s.stop = None);
                    }
                    failing_since = None;
                    self.looks = 0;
                    self.stand(None).await
                }
                Next::StandUntil(stage, until) => {
                    let left = until.saturating_duration_since(Instant::now());
                    self.state.set(|s| {
                        s.stage = stage;
                        s.next_try_at = Some(clock::later(left));
                    });
                    failing_since = None;
                    self.stand(Some(until)).await
                }
                Next::Wait(until) => self.wait(until).await,
                Next::End => break,
            };
        }
        // A stream that had failed still says so at the end.
        self.state.set(|s| {
            if !matches!(s.stage, Stage::Failed | Stage::Finished) {
                s.stage = Stage::Stopped;
            }
        });
    }

    /// Runs the work as a task of its own and answers requests meanwhile.
    async fn run_once(&mut self) -> Outcome {
        let stop = self.supervisor.stop().child_token();
        // A look by itself at what keeps it from beginning changes nothing for who reads that.
        let mut is_looking = !self.is_asked && self.state.stands_at_findings();
        self.state.set(|s| {
            if !is_looking {
                s.stage = Stage::Running;
            }
            s.next_try_at = None;
        });
        let before = self.work.progress();
        let name = self.work.name();
        let mut task = self
            .supervisor
            .spawn(name, Arc::clone(&self.work).run(stop.clone()));
        let mut is_pausing = false;
        // What stopped it last is shown until there is progress again, or it has run for a while.
        let mut look = tokio::time::interval(Duration::from_millis(200));
        let begun = Instant::now();
        let joined = loop {
            tokio::select! {
                joined = task.join() => break joined,
                Some((request, reply)) = self.requests.recv() => {
                    let answer = match request {
                        Request::Pause => {
                            is_pausing = true;
                            stop.cancel();
                            self.state.set(|s| s.stage = Stage::Pausing);
                            done("pausing at the end of the transaction in hand")
                        }
                        Request::Resume if is_pausing => {
                            refused("it is still pausing", "ask again once it is paused")
                        }
                        Request::Resume | Request::Retry { .. } => done("it is running"),
                        Request::Decide(_) => gone_on(),
                    };
                    let _ = reply.send(answer);
                }
                _ = look.tick() => {
                    let is_before_start = self.work.is_before_start();
                    if is_looking && !is_before_start {
                        is_looking = false;
                        if !is_pausing {
                            self.state.set(|s| s.stage = Stage::Running);
                        }
                    }
                    let is_settled = begun.elapsed() > SETTLED && !is_before_start;
                    if self.work.progress() != before || is_settled {
                        self.state.set(|s| {
                            s.stop = None;
                            s.tries = 0;
                        });
                    }
                }
            }
        };
        match joined {
            Ok(Ok(End::Finished)) => Outcome::Ended(End::Finished),
            Ok(Ok(End::Stopped)) if self.supervisor.stop().is_cancelled() => {
                Outcome::Ended(End::Stopped)
            }
            Ok(Ok(End::Stopped)) => Outcome::Paused,
            // What would be tried again stands all the same if that was asked for: the work goes on
            // from its checkpoint.
            Ok(Err(failure))
                if is_pausing && policy(failure.error.kind()).retry != Retry::Operator =>
            {
                let name = self.work.name();
                tracing::warn!("{name}: {} while it was pausing", failure.error.message());
                Outcome::Paused
            }
            Ok(Err(failure)) => Outcome::Failed(failure),
            Err(error) => {
                let stop = super::stops::plain(&error);
                Outcome::Failed(Box::new(Failure { error, stop }))
            }
        }
    }

    /// Decides by the error's policy.
    fn failed(&mut self, failure: Failure, since: Instant) -> Next {
        let Failure { error, stop } = failure;
        let name = self.work.name();
        let before = self.state.read().stop;
        // The same again is the same stop: who has looked at it need not look again.
        let is_new = !before.as_ref().is_some_and(|before| {
            if error.kind() == ErrorKind::Checks {
                // Its text has the figures, which move.
                return Finding::are_alike(&before.findings, &stop.findings);
            }
            before.error == stop.error && before.position == stop.position
        });
        let stop = match before {
            Some(before) if !is_new && stop.event.is_none() => Stop {
                stop_id: before.stop_id,
                at: before.at,
                ..stop
            },
            _ => stop,
        };
        let tries = self.state.read().tries.saturating_add(1);
        let policy = policy(error.kind());
        let limit = match policy.retry {
            Retry::Timed => self.retry_limit,
            Retry::Patient => Duration::MAX,
            Retry::Operator => Duration::ZERO,
        };
        let may_retry = since.elapsed() < limit && !self.supervisor.stop().is_cancelled();
        let pause = backoff(tries);
        let what = super::stops::for_log(&error, &stop);
        if may_retry {
            tracing::warn!(
                unit = %stop.unit,
                "{name}: {what}; try {tries} again in {} s", pause.as_secs()
            );
        } else if is_new || self.is_asked {
            if stop.asks() {
                tracing::warn!(unit = %stop.unit, "{name}: {what}");
            } else {
                tracing::error!(unit = %stop.unit, "{name}: {what}");
            }
        }
        self.is_asked = false;
        let standing = if stop.asks() {
            Stage::Waiting
        } else {
            Stage::Failed
        };
        let lost = policy.retry == Retry::Timed && !may_retry && error.kind() == ErrorKind::Connect;
        self.state.set(|s| {
            s.tries = tries;
            s.stop = Some(stop);
            s.has_lost_contact = lost;
        });
        if !may_retry {
            let again = (self.look_again)(error.kind(), self.looks);
            return again.map_or(Next::Stand(standing), |pause| {
                Next::StandUntil(standing, Instant::now() + pause)
            });
        }
        self.state.set(|s| {
            s.retries.add(&error, clock::now());
            s.stage = Stage::Waiting;
            s.next_try_at = Some(clock::later(pause));
        });
        Next::Wait(Instant::now() + pause)
    }

    /// Stands still until the operator says otherwise.
    async fn stand(&mut self, until: Option<Instant>) -> Next {
        loop {
            let stage = self.state.stage();
            let due = async {
                match until {
                    Some(until) => tokio::time::sleep_until(until.into()).await,
                    None => std::future::pending().await,
                }
            };
            let (request, reply) = tokio::select! {
                () = self.supervisor.stop().cancelled() => return Next::End,
                () = due => {
                    self.looks = self.looks.saturating_add(1);
                    return Next::Run;
                }
                asked = self.requests.recv() => match asked {
                    Some(asked) => asked,
                    None => return Next::End,
                },
            };
            let (answer, next) = match (request, stage) {
                (Request::Decide(decision), Stage::Failed) => {
                    match self.wrong_stop(Some(decision.stop_id.clone())) {
                        Some(answer) => (answer, None),
                        None if self.work.decide(*decision) => (done("decided"), Some(Next::Run)),
                        None => (
                            refused("it stands at no event", "`retry` tries again"),
                            None,
                        ),
                    }
                }
                (Request::Decide(_), _) => (gone_on(), None),
                (_, Stage::Finished) => (
                    refused("it is finished", "there is nothing left to do"),
                    None,
                ),
                (Request::Pause, Stage::Failed) => {
                    (refused("it has failed", "`retry` tries again"), None)
                }
                // It waits for an answer.
                (Request::Pause, Stage::Waiting) => {
                    (done("paused"), Some(Next::Stand(Stage::Paused)))
                }
                (Request::Pause, _) => (done("it stands already"), None),
                (Request::Retry { stop_id }, Stage::Failed | Stage::Waiting) => {
                    match self.wrong_stop(stop_id) {
                        Some(answer) => (answer, None),
                        None => (done("trying again"), Some(Next::Run)),
                    }
                }
                (Request::Retry { .. }, _) => {
                    (refused("nothing has failed", "`resume` goes on"), None)
                }
                (Request::Resume, _) => (done("going on"), Some(Next::Run)),
            };
            let _ = reply.send(answer);
            if let Some(next) = next {
                self.state.set(|s| s.tries = 0);
                self.looks = 0;
                self.is_asked = true;
                return next;
            }
        }
    }

    /// Waits for the next try; the operator can shorten or end the wait.
    async fn wait(&mut self, until: Instant) -> Next {
        loop {
            let (request, reply) = tokio::select! {
                () = self.supervisor.stop().cancelled() => return Next::End,
                () = tokio::time::sleep_until(until.into()) => return Next::Run,
                asked = self.requests.recv() => match asked {
                    Some(asked) => asked,
                    None => return Next::End,
                },
            };
            let (answer, next) = match request {
                Request::Pause => (done("paused"), Some(Next::Stand(Stage::Paused))),
                Request::Resume => (done("trying again"), Some(Next::Run)),
                Request::Decide(_) => (gone_on(), None),
                Request::Retry { stop_id } => match self.wrong_stop(stop_id) {
                    Some(answer) => (answer, None),
                    None => (done("trying again"), Some(Next::Run)),
                },
            };
            let _ = reply.send(answer);
            if let Some(next) = next {
                return next;
            }
        }
    }

    /// Refuses an answer that was meant for another stop.
    fn wrong_stop(&self, stop_id: Option<String>) -> Option<Reply> {
        let asked = stop_id?;
        let state = self.state.read();
        let now = state.stop.as_ref().map_or("", |stop| stop.stop_id.as_str());
        (asked != now).then(|| {
            refused(
                "it stands at another stop by now",
                "look at it again, then decide",
            )
        })
    }
}

/// How one run came out.
enum Outcome {
    Ended(End),
    Paused,
    Failed(Box<Failure>),
}

/// The reply to a decision that came too late.
fn gone_on() -> Reply {
    refused(
        "it no longer stands at that stop",
        "somebody else has decided, or retried: look at it again",
    )
}

/// A reply that says it is done.
pub(super) fn done(message: impl Into<String>) -> Reply {
    Reply::Done {
        message: message.into(),
    }
}

/// A reply that says it is not.
pub(super) fn refused(message: impl Into<String>, fix: impl Into<String>) -> Reply {
    Reply::Refused {
        message: message.into(),
        fix: Some(fix.into()),
    }
}

#[cfg(test)]
#[path = "runner_tests.rs"]
mod tests;
