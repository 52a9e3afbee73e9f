//! The figures of a sync at work: cheap to raise, read as plain values.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use crate::model::{Error, Place, RetryFigure, Timestamp};
use crate::target::Mark;

use super::transaction::{CommitTime, Transaction};

/// What a sync has done and where it is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Figure {
    /// Everything before it is in the target.
    pub mark: Option<Mark>,
    /// From commit on the source to commit on the target, in microseconds, of what was applied last;
    /// 0 where there is nothing to apply; `None` while it cannot be known.
    pub lag_micros: Option<u64>,
    /// How fine the source tells its commit times, in microseconds.
    pub lag_resolution_micros: u64,
    /// Whether there is nothing to apply just now.
    pub idle: bool,
    /// Rows applied since the start of the process.
    pub rows: u64,
    /// Source transactions applied.
    pub transactions: u64,
    /// Target transactions committed for them.
    pub batches: u64,
    /// DDL statements applied.
    pub ddl: u64,
    /// Events passed over by rule, or because no table of the task is concerned.
    pub passed_over: u64,
    /// Rows that `on_drift = "warn"` left out since the start of the process.
    pub drift_skipped: u64,
    /// Rows that `on_drift = "repair"` made what the source says.
    pub drift_repaired: u64,
    /// Batches that were rolled back and tried again because the target was busy or lost.
    pub retries: RetryFigure,
    /// Transactions that were committed in parts, because they are larger than the target takes.
    pub split: u64,
    /// When the checkpoint was last committed.
    pub checkpoint_at: Option<Timestamp>,
    /// What the target's dialect could not take as it was: newest last, at most 100.
    pub notes: Vec<String>,
}

impl Figure {
    /// From where on the stream still needs the relay log: its mark, or the oldest XA transaction before
    /// it that is prepared and has not ended. What purges the relay log stays behind it.
    pub fn needed_from(&self) -> Option<&Place> {
        self.mark.as_ref().map(Mark::needed_from)
    }
}

const NOTES: usize = 100;

/// Shared between a sync and whoever shows it.
#[derive(Debug, Default)]
pub struct Meter {
    rows: AtomicU64,
    transactions: AtomicU64,
    batches: AtomicU64,
    ddl: AtomicU64,
    passed_over: AtomicU64,
    drift_skipped: AtomicU64,
    drift_repaired: AtomicU64,
    split: AtomicU64,
    rest: Mutex<Rest>,
}

#[derive(Debug, Default)]
struct Rest {
    mark: Option<Mark>,
    lag: Lag,
    retries: RetryFigure,
    checkpoint_at: Option<Timestamp>,
    notes: Vec<String>,
    target: Option<String>,
}

/// What is known of the lag.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Lag {
    /// The relay is cut off, or nothing was applied yet.
    #[default]
    Unknown,
    /// There is nothing to apply.
    Idle,
    /// The oldest transaction that is not applied is at work: the lag grows for as long as it takes.
    Since {
        /// When it was committed.
        committed: CommitTime,
        /// The source's clock minus ours, in microseconds.
        clock_offset_micros: i64,
    },
    /// Of the transaction applied last.
    Behind {
        /// How much.
        micros: u64,
        /// How fine.
        resolution_micros: u64,
    },
}

impl Lag {
    /// How long ago, `now` by our clock, something was committed at the source, whose clock is
    /// `clock_offset_micros` ahead of ours.
    pub(super) fn since(committed: CommitTime, now: Timestamp, clock_offset_micros: i64) -> Self {
        let theirs = now.0.saturating_add_signed(clock_offset_micros);
        Self::Behind {
            micros: theirs.saturating_sub(committed.at.0),
            resolution_micros: committed.resolution_micros,
        }
    }
}

impl Meter {
    /// The figures now.
    pub fn figure(&self) -> Figure {
        let rest = self.rest.lock().unwrap_or_else(PoisonError::into_inner);
        let shown = match rest.lag {
            Lag::Since {
                committed,
                clock_offset_micros,
            } => {
                let now = Timestamp::from(SystemTime::now());
                Lag::since(committed, now, clock_offset_micros)
            }
            known => known,
        };
        let (lag_micros, lag_resolution_micros) = match shown {
            Lag::Unknown | Lag::Since { .. } => (None, 0),
            Lag::Idle => (Some(0), 0),
            Lag::Behind {
                micros,
                resolution_micros,
            } => (Some(micros), resolution_micros),
        };
        Figure {
            mark: rest.mark.clone(),
            lag_micros,
            lag_resolution_micros,
            idle: rest.lag == Lag::Idle,
            rows: self.rows.load(Ordering::Relaxed),
            transactions: self.transactions.load(Ordering::Relaxed),
            batches: self.batches.load(Ordering::Relaxed),
            ddl: self.ddl.load(Ordering::Relaxed),
            passed_over: self.passed_over.load(Ordering::Relaxed),
            drift_skipped: self.drift_skipped.load(Ordering::Relaxed),
            drift_repaired: self.drift_repaired.load(Ordering::Relaxed),
            split: self.split.load(Ordering::Relaxed),
            retries: rest.retries.clone(),
            checkpoint_at: rest.checkpoint_at,
            notes: rest.notes.clone(),
        }
    }

    pub(super) fn applied(&self, transactions: u64, rows: u64) {
        self.transactions.fetch_add(transactions, Ordering::Relaxed);
        self.rows.fetch_add(rows, Ordering::Relaxed);
        self.batches.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn applied_ddl(&self) {
        self.ddl.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn passed_over(&self, events: u64) {
        self.passed_over.fetch_add(events, Ordering::Relaxed);
    }

    pub(super) fn mended(&self, skipped: u64, repaired: u64) {
        self.drift_skipped.fetch_add(skipped, Ordering::Relaxed);
        self.drift_repaired.fetch_add(repaired, Ordering::Relaxed);
    }

    /// A part of a transaction commits on its own.
    pub(super) fn cut(&self, part: &Transaction) {
        if part.is_first {
            self.split.fetch_add(1, Ordering::Relaxed);
            self.note(format!(
                "the transaction at {} is larger than the target takes: its parts are committed one by one",
                part.begin
            ));
        }
    }

    pub(super) fn marked(&self, mark: &Mark) {
        self.with(|rest| {
            rest.mark = Some(mark.clone());
            rest.checkpoint_at = Some(Timestamp::from(SystemTime::now()));
        });
    }

    /// The mark was read, and the checkpoint taken with it: that commits it anew.
    pub(super) fn stands_at(&self, mark: &Mark) {
        self.marked(mark);
    }

    pub(super) fn set_lag(&self, lag: Lag) {
        self.with(|rest| rest.lag = lag);
    }

    pub(super) fn retried(&self, why: &Error) {
        let now = Timestamp::from(SystemTime::now());
        self.with(|rest| rest.retries.add(why, now));
    }

    /// Takes down which server the target is; gives which it was.
    pub(super) fn target_is(&self, identity: &str) -> Option<String> {
        let mut rest = self.rest.lock().unwrap_or_else(PoisonError::into_inner);
        rest.target.replace(identity.to_owned())
    }

    pub(super) fn note(&self, note: String) {
        self.with(|rest| {
            if rest.notes.contains(&note) {
                return;
            }
            if rest.notes.len() == NOTES {
                rest.notes.remove(0);
            }
            rest.notes.push(note);
        });
    }

    fn with(&self, change: impl FnOnce(&mut Rest)) {
        change(&mut self.rest.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lag(lag: Lag) -> (Option<u64>, bool) {
        let meter = Meter::default();
        meter.set_lag(lag);
        let figure = meter.figure();
        (figure.lag_micros, figure.idle)
    }

    #[test]
    fn lag_is_by_the_sources_clock() {
        let at = |seconds| CommitTime {
            at: Timestamp::from_seconds(seconds),
            resolution_micros: 1,
        };
        let now = Timestamp::from_seconds(1000);
        // Its clock is 90 s ahead, then 90 s behind: three seconds are three seconds.
        for (offset, committed) in [(90_000_000, 1087), (-90_000_000, 907), (0, 997)] {
            let behind = Lag::since(at(committed), now, offset);
            assert_eq!(lag(behind), (Some(3_000_000), false), "{offset}");
        }
        // What seems to come from the future is just now.
        assert_eq!(lag(Lag::since(at(1005), now, 0)).0, Some(0));
    }

    /// While the target is slow or blocked, what is at work gets older; nothing of it is idle.
    #[test]
    fn what_is_at_work_gets_older() {
        let now = Timestamp::from(SystemTime::now());
        let (micros, idle) = lag(Lag::Since {
            committed: CommitTime {
                at: Timestamp(now.0 + 90_000_000 - 5_000_000),
                resolution_micros: 1,
            },
            clock_offset_micros: 90_000_000,
        });
        assert!(!idle);
        assert!(
            (5_000_000..60_000_000).contains(&micros.unwrap()),
            "{micros:?}"
        );
    }

    #[test]
    fn what_is_not_known_is_not_zero() {
        assert_eq!(lag(Lag::Unknown), (None, false));
        assert_eq!(lag(Lag::Idle), (Some(0), true));
    }
}
