//! How far the checks are: questions answered of those that are known of.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::model::CheckProgress;

/// Counts while the checks run; read by whoever shows it.
#[derive(Debug, Default)]
pub struct Progress {
    done: AtomicU64,
    total: AtomicU64,
}

impl Progress {
    /// `count` more are to be answered.
    pub(super) fn expect(&self, count: usize) {
        self.total.fetch_add(count as u64, Ordering::Relaxed);
    }

    /// One is answered.
    pub(super) fn step(&self) {
        self.done.fetch_add(1, Ordering::Relaxed);
    }

    /// `count` of them are answered at once, or need not be asked.
    pub(super) fn steps(&self, count: usize) {
        self.done.fetch_add(count as u64, Ordering::Relaxed);
    }

    /// How far it is.
    pub fn figure(&self) -> CheckProgress {
        let total = self.total.load(Ordering::Relaxed);
        CheckProgress {
            done: self.done.load(Ordering::Relaxed).min(total),
            total,
        }
    }
}
