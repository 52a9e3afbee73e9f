//! Rates over the last ten seconds, and the history of lag: what a screen shows is computed here.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The window of a rate.
const WINDOW: Duration = Duration::from_secs(10);

/// A counter's rate over the last ten seconds.
#[derive(Debug, Default)]
pub(crate) struct Rate {
    samples: VecDeque<(Instant, u64)>,
}

impl Rate {
    /// Takes the counter's value at `now` and gives the rate a second. A counter that went back
    /// (a unit started again) begins anew.
    pub(crate) fn sample(&mut self, now: Instant, count: u64) -> f64 {
        if self.samples.back().is_some_and(|(_, last)| count < *last) {
            self.samples.clear();
        }
        // Four samples a second are enough for a window of ten.
        if self
            .samples
            .back()
            .is_none_or(|(at, _)| now.duration_since(*at).as_millis() >= 250)
        {
            self.samples.push_back((now, count));
        }
        while self
            .samples
            .get(1)
            .is_some_and(|(at, _)| now.duration_since(*at) >= WINDOW)
        {
            self.samples.pop_front();
        }
        let Some((at, first)) = self.samples.front() else {
            return 0.0;
        };
        let seconds = now.duration_since(*at).as_secs_f64();
        if seconds < 0.2 {
            0.0
        } else {
            count.saturating_sub(*first) as f64 / seconds
        }
    }
}

/// Lag, a sample a second for ten minutes.
#[derive(Debug, Default)]
pub(crate) struct LagHistory {
    samples: VecDeque<Option<f32>>,
    last: Option<Instant>,
    shared: Arc<Vec<Option<f32>>>,
}

/// Samples kept.
const HISTORY: usize = 600;

impl LagHistory {
    /// Takes a sample, if a second has passed since the last, and gives the history.
    pub(crate) fn sample(&mut self, now: Instant, lag: Option<f64>) -> Arc<Vec<Option<f32>>> {
        if self
            .last
            .is_none_or(|last| now.duration_since(last) >= Duration::from_secs(1))
        {
            self.last = Some(now);
            self.samples.push_back(lag.map(|seconds| seconds as f32));
            if self.samples.len() > HISTORY {
                self.samples.pop_front();
            }
            self.shared = Arc::new(self.samples.iter().copied().collect());
        }
        Arc::clone(&self.shared)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rate_is_of_the_last_ten_seconds() {
        let start = Instant::now();
        let mut rate = Rate::default();
        let mut last = 0.0;
        for tick in 0..200_u64 {
            // A thousand a second for ten seconds, then nothing.
            let count = tick.min(100) * 100;
            last = rate.sample(start + Duration::from_millis(tick * 100), count);
            if tick == 100 {
                assert!((last - 1000.0).abs() < 1.0, "{last}");
            }
        }
        assert!(last < 60.0, "{last}");
    }

    #[test]
    fn a_counter_that_starts_again_is_no_negative_rate() {
        let start = Instant::now();
        let mut rate = Rate::default();
        rate.sample(start, 500);
        assert!(rate.sample(start + Duration::from_secs(1), 3).abs() < f64::EPSILON);
        let now = rate.sample(start + Duration::from_secs(2), 13);
        assert!((now - 10.0).abs() < 0.1, "{now}");
    }
}
