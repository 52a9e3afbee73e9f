//! Keeps a dump from asking too much of the source: a limit on its rate, and pauses while the source
//! is busy.
//!
//! Readers come by between two statements of a file, so a limit holds within a chunk too. What the
//! source says is asked for each second by a session of its own; while it cannot be asked, nothing is
//! held back.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::config::{BackOff, DumpConfig, ServerConfig};
use crate::connect::Session;
use crate::model::Result;
use crate::source::load::{replica_lag, threads_running};
use crate::source::snapshot::catalogue_setup;

use super::Meter;

/// How often the source is asked.
const LOOK: Duration = Duration::from_secs(1);

/// A reader in the middle of a chunk is let go on now and then, so that the server does not take its
/// connection for dead.
const LONGEST: Duration = Duration::from_mins(1);

/// How far ahead of the limit a burst may be.
const BURST: Duration = Duration::from_millis(500);

/// What all readers pass.
#[derive(Debug)]
pub(super) struct Throttle {
    rate: Option<u64>,
    /// Until when what has passed is paid for.
    paid: Mutex<Instant>,
    back_off: BackOff,
    /// Why reading pauses.
    pause: watch::Sender<Option<String>>,
    meter: Arc<Meter>,
}

impl Throttle {
    pub(super) fn new(config: &DumpConfig, meter: &Arc<Meter>) -> Self {
        Self {
            rate: config.rate_limit,
            paid: Mutex::new(Instant::now()),
            back_off: config.back_off,
            pause: watch::channel(None).0,
            meter: Arc::clone(meter),
        }
    }

    /// Waits until `bytes` more may be read.
    pub(super) async fn pass(&self, bytes: usize) {
        let mut pause = self.pause.subscribe();
        if pause.borrow_and_update().is_some() {
            // An error is the sender's end, which is ours.
            let _ = tokio::time::timeout(LONGEST, pause.wait_for(Option::is_none)).await;
        }
        if let Some(wait) = self.rate.and_then(|rate| self.pay(rate, bytes)) {
            self.show(true);
            tokio::time::sleep(wait).await;
        }
    }

    /// How long `bytes` must wait.
    fn pay(&self, rate: u64, bytes: usize) -> Option<Duration> {
        let cost = Duration::from_secs_f64(bytes as f64 / rate.max(1) as f64);
        let now = Instant::now();
        let mut paid = self.paid.lock().unwrap_or_else(PoisonError::into_inner);
        // What was not used is not saved up.
        let from = (*paid).max(now.checked_sub(BURST).unwrap_or(now));
        *paid = from + cost;
        let wait = paid.saturating_duration_since(now);
        Some(wait).filter(|wait| !wait.is_zero())
    }

    /// Tells the operator what holds the dump back.
    fn show(&self, is_limited: bool) {
        let pause = self.pause.borrow().clone();
        let limit = self
            .rate
            .filter(|_| is_limited)
            .map(|rate| format!("held at {} KiB/s by `rate_limit`", rate.div_ceil(1024)));
        self.meter.set_throttled(pause.or(limit));
    }

    /// Looks after the source until it is dropped. It never ends by itself.
    pub(super) async fn watch(&self, server: &ServerConfig) {
        if !self.back_off.is_set() {
            return std::future::pending().await;
        }
        let mut session = None;
        loop {
            let why = match self.look(&mut session, server).await {
                Ok(why) => why,
                Err(error) => {
                    session = None;
                    self.meter.note(format!(
                        "`back_off` has no effect: the source does not say how busy it is ({error})"
                    ));
                    None
                }
            };
            let is_news = *self.pause.borrow() != why;
            if is_news {
                if let Some(why) = &why {
                    tracing::info!(unit = "dumping", "reading pauses: {why}");
                } else {
                    tracing::info!(unit = "dumping", "reading goes on");
                }
                self.pause.send_replace(why);
                self.show(false);
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Why reading should pause; `None` if it need not.
    async fn look(
        &self,
        session: &mut Option<Session>,
        server: &ServerConfig,
    ) -> Result<Option<String>> {
        let session = match session {
            Some(session) if !session.is_broken() => session,
            none => none.insert(Session::open(server, &catalogue_setup()).await?),
        };
        if let Some(limit) = self.back_off.threads_running {
            // Our own are not what makes the source busy; this session is one of them.
            let own = self.meter.threads_busy() + 1;
            let running = threads_running(session).await?.saturating_sub(own);
            if running > limit {
                return Ok(Some(format!(
                    "pauses: {running} threads run at the source, `back_off` is at {limit}"
                )));
            }
        }
        if let Some(limit) = self.back_off.replica_lag {
            let lag = replica_lag(session).await?;
            if let Some(lag) = lag
                && lag > limit
            {
                return Ok(Some(format!(
                    "pauses: the source is {} s behind its own source, `back_off` is at {} s",
                    lag.as_secs(),
                    limit.as_secs()
                )));
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_rate_is_held_over_all_readers() {
        let config = DumpConfig {
            rate_limit: Some(1_000_000),
            ..DumpConfig::default()
        };
        let meter = Arc::new(super::super::meter());
        let throttle = Throttle::new(&config, &meter);
        let begun = Instant::now();
        let readers = (0..3).map(|_| async {
            for _ in 0..5 {
                throttle.pass(100_000).await;
            }
        });
        futures_util::future::join_all(readers).await;
        let took = begun.elapsed().as_secs_f64();
        // 1.5 s, less the burst at the beginning.
        assert!((0.9..1.6).contains(&took), "{took}");
        let told = meter.figure().throttled;
        assert_eq!(told.as_deref(), Some("held at 977 KiB/s by `rate_limit`"));
    }

    #[tokio::test]
    async fn readers_wait_while_the_source_is_busy() {
        let meter = Arc::new(super::super::meter());
        let throttle = Throttle::new(&DumpConfig::default(), &meter);
        throttle.pass(1 << 30).await;
        throttle.pause.send_replace(Some("busy".into()));
        let waits = tokio::time::timeout(Duration::from_millis(50), throttle.pass(1));
        assert!(waits.await.is_err());
        throttle.pause.send_replace(None);
        throttle.pass(1).await;
    }
}
