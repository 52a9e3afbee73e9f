//! The machine of a runner, on work that fails as it is told.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::sync::oneshot;

use super::*;
use crate::model::CheckState;
use crate::runtime::stops;

/// Fails as often as told, then runs until it is stopped.
struct Fake {
    runs: AtomicU64,
    failures: u64,
    kind: ErrorKind,
    panics: bool,
    fails_at_stop: bool,
    is_through: AtomicBool,
}

fn warning(found: &str) -> Finding {
    Finding {
        name: "disk".into(),
        scope: "worker".into(),
        state: CheckState::Warn,
        found: found.into(),
        why: String::new(),
        mend: String::new(),
    }
}

impl Work for Fake {
    fn run(
        self: Arc<Self>,
        stop: CancellationToken,
    ) -> Pin<Box<dyn Future<Output = Result<End, Box<Failure>>> + Send>> {
        Box::pin(async move {
            let run = self.runs.fetch_add(1, Ordering::SeqCst);
            assert!(!self.panics, "a defect");
            if run < self.failures {
                let error = Error::new(self.kind, "no luck");
                let mut found = stops::plain(&error);
                if self.kind == ErrorKind::Checks {
                    // Looking takes its time, and figures move.
                    tokio::select! {
                        () = stop.cancelled() => return Ok(End::Stopped),
                        () = tokio::time::sleep(Duration::from_millis(400)) => {}
                    }
                    found.findings = vec![warning(&format!("{run} MiB free"))];
                }
                let stop = found;
                return Err(Box::new(Failure { error, stop }));
            }
            self.is_through.store(true, Ordering::SeqCst);
            stop.cancelled().await;
            if self.fails_at_stop {
                let error = Error::new(self.kind, "lost while draining");
                let stop = stops::plain(&error);
                return Err(Box::new(Failure { error, stop }));
            }
            Ok(End::Stopped)
        })
    }

    fn progress(&self) -> u64 {
        0
    }

    fn name(&self) -> String {
        "fake".into()
    }

    fn is_before_start(&self) -> bool {
        self.kind == ErrorKind::Checks && !self.is_through.load(Ordering::SeqCst)
    }
}

struct Rig {
    state: Arc<State>,
    ask: mpsc::Sender<Ask>,
    supervisor: Supervisor,
    work: Arc<Fake>,
}

impl Rig {
    fn start(failures: u64, kind: ErrorKind, panics: bool, is_autostart: bool) -> Self {
        let work = Fake {
            runs: AtomicU64::new(0),
            failures,
            kind,
            panics,
            fails_at_stop: false,
            is_through: AtomicBool::new(false),
        };
        Self::start_work(work, is_autostart)
    }

    fn start_work(work: Fake, is_autostart: bool) -> Self {
        let work = Arc::new(work);
        let state = Arc::new(State::new());
        let (ask, requests) = mpsc::channel(4);
        let supervisor = Supervisor::default();
        let runner = Runner {
            work: Arc::clone(&work),
            state: Arc::clone(&state),
            requests,
            supervisor: supervisor.clone(),
            retry_limit: Duration::from_secs(10),
            is_autostart,
            look_again: |kind, _| (kind == ErrorKind::Checks).then_some(Duration::from_millis(50)),
            looks: 0,
            is_asked: false,
        };
        let _task = supervisor.spawn("runner", runner.drive());
        Self {
            state,
            ask,
            supervisor,
            work,
        }
    }

    async fn ask(&self, request: Request) -> Reply {
        let (reply, receive) = oneshot::channel();
        self.ask.send((request, reply)).await.unwrap();
        receive.await.unwrap()
    }

    async fn until(&self, stage: Stage) {
        while self.state.stage() != stage {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn until_it_asks(&self) {
        let asks = || {
            let state = self.state.read();
            state.stage == Stage::Waiting && state.stop.is_some_and(|stop| stop.asks())
        };
        while !asks() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    fn runs(&self) -> u64 {
        self.work.runs.load(Ordering::SeqCst)
    }
}

#[tokio::test]
async fn passing_errors_are_tried_again_and_shown_meanwhile() {
    let rig = Rig::start(1, ErrorKind::Connect, false, true);
    while rig.state.read().next_try_at.is_none() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let state = rig.state.read();
    assert_eq!(state.stage, Stage::Waiting);
    assert_eq!(state.stop.unwrap().error.message, "no luck");
    while rig.runs() < 2 {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    rig.until(Stage::Running).await;
    rig.supervisor.shut_down().await;
    assert_eq!(rig.state.stage(), Stage::Stopped);
}

#[tokio::test]
async fn errors_in_the_data_wait_for_the_operator() {
    let rig = Rig::start(1, ErrorKind::Target, false, true);
    rig.until(Stage::Failed).await;
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(rig.runs(), 1);
    let stop_id = rig.state.read().stop.unwrap().stop_id;
    let wrong = rig
        .ask(Request::Retry {
            stop_id: Some("another".into()),
        })
        .await;
    assert!(matches!(wrong, Reply::Refused { .. }));
    let right = rig
        .ask(Request::Retry {
            stop_id: Some(stop_id),
        })
        .await;
    assert!(matches!(right, Reply::Done { .. }));
    rig.until(Stage::Running).await;
}

#[tokio::test]
async fn pause_drains_and_resume_goes_on() {
    let rig = Rig::start(0, ErrorKind::Connect, false, true);
    rig.until(Stage::Running).await;
    rig.ask(Request::Pause).await;
    rig.until(Stage::Paused).await;
    rig.ask(Request::Resume).await;
    rig.until(Stage::Running).await;
    assert_eq!(rig.runs(), 2);
}

#[tokio::test]
async fn a_pause_holds_even_if_a_server_is_lost_on_the_way() {
    let work = Fake {
        runs: AtomicU64::new(0),
        failures: 0,
        kind: ErrorKind::Connect,
        panics: false,
        fails_at_stop: true,
        is_through: AtomicBool::new(false),
    };
    let rig = Rig::start_work(work, true);
    rig.until(Stage::Running).await;
    rig.ask(Request::Pause).await;
    rig.until(Stage::Paused).await;
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!((rig.state.stage(), rig.runs()), (Stage::Paused, 1));
}

#[tokio::test]
async fn warnings_wait_for_an_answer_and_are_looked_at_meanwhile() {
    let rig = Rig::start(4, ErrorKind::Checks, false, true);
    rig.until_it_asks().await;
    let first = rig.state.read().stop.unwrap().stop_id;
    // While it looks again, who reads what was found goes on reading.
    while !rig.work.is_through.load(Ordering::SeqCst) {
        let state = rig.state.read();
        if !rig.work.is_through.load(Ordering::SeqCst) {
            assert_eq!(state.stage, Stage::Waiting);
            assert_eq!(state.stop.unwrap().stop_id, first);
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    rig.until(Stage::Running).await;
    assert_eq!(rig.runs(), 5);
}

#[tokio::test]
async fn what_waits_for_an_answer_can_be_paused_and_tried() {
    let rig = Rig::start(100, ErrorKind::Checks, false, true);
    rig.until_it_asks().await;
    rig.ask(Request::Pause).await;
    rig.until(Stage::Paused).await;
    assert!(rig.state.read().stop.is_none());
    rig.ask(Request::Resume).await;
    // Asked for, it is at work while it looks.
    rig.until(Stage::Running).await;
    rig.until_it_asks().await;
    rig.ask(Request::Retry { stop_id: None }).await;
    rig.until(Stage::Running).await;
}

#[tokio::test]
async fn a_panic_is_a_failure_of_this_stream_alone() {
    let rig = Rig::start(0, ErrorKind::Connect, true, true);
    rig.until(Stage::Failed).await;
    assert_eq!(
        rig.state.read().stop.unwrap().error.kind,
        ErrorKind::Panicked
    );
}

#[tokio::test]
async fn without_autostart_it_stands_until_resumed() {
    let rig = Rig::start(0, ErrorKind::Connect, false, false);
    rig.until(Stage::Stopped).await;
    assert_eq!(rig.runs(), 0);
    rig.ask(Request::Resume).await;
    rig.until(Stage::Running).await;
}
