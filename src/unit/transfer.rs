//! The figures of a transfer, a dump or a load: counted by its workers, read by whoever shows them.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use crate::model::{TableLoad, TableName, Timestamp, TransferFigure};

/// What "a second" is averaged over.
const WINDOW: Duration = Duration::from_secs(10);

/// How far apart the samples of the window are.
const SAMPLE: Duration = Duration::from_millis(250);

/// How many tables a figure carries.
const TABLES_SHOWN: usize = 64;

/// What a table's phases are called.
#[derive(Clone, Copy, Debug)]
pub struct Phases {
    /// While it is at work.
    pub at_work: &'static str,
    /// When it is done.
    pub done: &'static str,
}

/// Counts rows and bytes by table. Updates take a lock for some nanoseconds: best made every some
/// thousand rows.
#[derive(Debug)]
pub struct Meter {
    phases: Phases,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    started_at: Option<Timestamp>,
    finished_at: Option<Timestamp>,
    tables: BTreeMap<TableName, TableLoad>,
    rows: u64,
    bytes: u64,
    samples: VecDeque<(Instant, u64, u64)>,
    eta: Option<f64>,
    notes: Vec<String>,
}

const WAITING: &str = "waiting";

impl Meter {
    /// A meter that calls a table's phases like this.
    pub fn new(phases: Phases) -> Self {
        Self {
            phases,
            inner: Mutex::default(),
        }
    }

    /// Starts anew with these tables: name, rows, bytes, chunks, as estimated.
    pub fn begin(&self, tables: impl IntoIterator<Item = (TableName, u64, u64, u64)>) {
        let mut inner = self.lock();
        let notes = std::mem::take(&mut inner.notes);
        *inner = Inner {
            started_at: Some(Timestamp::from(SystemTime::now())),
            tables: tables
                .into_iter()
                .map(|(table, rows, bytes, chunks)| {
                    let load = TableLoad {
                        table: table.clone(),
                        rows_done: 0,
                        rows_estimated: rows,
                        bytes_done: 0,
                        bytes_estimated: bytes,
                        chunks_done: 0,
                        chunks_total: chunks,
                        phase: WAITING.to_owned(),
                    };
                    (table, load)
                })
                .collect(),
            notes,
            ..Inner::default()
        };
    }

    /// The number of a table's chunks is known now.
    pub fn set_chunks(&self, table: &TableName, chunks: u64) {
        if let Some(load) = self.lock().tables.get_mut(table) {
            load.chunks_total = chunks;
        }
    }

    /// A table's work begins.
    pub fn begin_table(&self, table: &TableName) {
        if let Some(load) = self.lock().tables.get_mut(table) {
            self.phases.at_work.clone_into(&mut load.phase);
        }
    }

    /// Adds what was done for a table.
    pub fn add(&self, table: &TableName, rows: u64, bytes: u64) {
        let mut inner = self.lock();
        inner.rows += rows;
        inner.bytes += bytes;
        if let Some(load) = inner.tables.get_mut(table) {
            load.rows_done += rows;
            load.bytes_done += bytes;
            load.rows_estimated = load.rows_estimated.max(load.rows_done);
            load.bytes_estimated = load.bytes_estimated.max(load.bytes_done);
        }
        inner.sample(Instant::now());
    }

    /// One of a table's chunks is done; the last one makes its estimates exact.
    pub fn finish_chunk(&self, table: &TableName) {
        let mut inner = self.lock();
        if let Some(load) = inner.tables.get_mut(table) {
            load.chunks_done += 1;
            if load.chunks_done >= load.chunks_total {
                load.rows_estimated = load.rows_done;
                load.bytes_estimated = load.bytes_done;
                self.phases.done.clone_into(&mut load.phase);
            }
        }
    }

    /// All is done.
    pub fn finish(&self) {
        self.lock().finished_at = Some(Timestamp::from(SystemTime::now()));
    }

    /// Adds a sentence for the operator, once.
    pub fn note(&self, note: impl Into<String>) {
        let note = note.into();
        let mut inner = self.lock();
        if !inner.notes.contains(&note) {
            tracing::info!(unit = self.phases.at_work, "{note}");
            inner.notes.push(note);
        }
    }

    /// The sentences for the operator.
    pub fn notes(&self) -> Vec<String> {
        self.lock().notes.clone()
    }

    /// The figure of this moment: the tables at work first, then the biggest.
    pub fn figure(&self) -> TransferFigure {
        let mut inner = self.lock();
        inner.sample(Instant::now());
        let (rows_per_second, bytes_per_second) = match inner.finished_at {
            Some(_) => (0.0, 0.0),
            None => inner.rates(),
        };
        let mut figure = TransferFigure {
            rows_done: inner.rows,
            bytes_done: inner.bytes,
            tables_total: inner.tables.len() as u64,
            rows_per_second,
            bytes_per_second,
            started_at: inner.started_at,
            finished_at: inner.finished_at,
            ..TransferFigure::default()
        };
        for load in inner.tables.values() {
            figure.rows_estimated += load.rows_estimated;
            figure.bytes_estimated += load.bytes_estimated;
            figure.tables_done += u64::from(load.phase == self.phases.done);
        }
        if inner.finished_at.is_none() && bytes_per_second > 0.0 {
            let left = figure.bytes_estimated.saturating_sub(figure.bytes_done) as f64;
            let now = left / bytes_per_second;
            // Half of the difference at each look keeps the figure from jumping about.
            let eta = inner.eta.map_or(now, |before| f64::midpoint(before, now));
            inner.eta = Some(eta);
            figure.eta_seconds = Some(eta);
        }
        figure.tables = self.sorted(&inner, TABLES_SHOWN);
        figure
    }

    /// All tables, those at work first, then the biggest.
    pub fn tables(&self) -> Vec<TableLoad> {
        let inner = self.lock();
        self.sorted(&inner, usize::MAX)
    }

    fn sorted(&self, inner: &Inner, limit: usize) -> Vec<TableLoad> {
        let mut tables: Vec<&TableLoad> = inner.tables.values().collect();
        let rank = |load: &TableLoad| {
            let order = if load.phase == self.phases.at_work {
                0
            } else if load.phase == WAITING {
                1
            } else {
                2
            };
            (order, std::cmp::Reverse(load.bytes_estimated))
        };
        tables.sort_by_key(|load| rank(load));
        tables.into_iter().take(limit).cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A panic elsewhere leaves at worst a figure that is a little off.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn sample(&mut self, now: Instant) {
        if self
            .samples
            .back()
            .is_none_or(|(at, ..)| now.duration_since(*at) >= SAMPLE)
        {
            self.samples.push_back((now, self.rows, self.bytes));
        }
        while self.samples.len() > 2
            && self
                .samples
                .get(1)
                .is_some_and(|(at, ..)| now.duration_since(*at) >= WINDOW)
        {
            self.samples.pop_front();
        }
    }

    fn rates(&self) -> (f64, f64) {
        let (Some((from, rows, bytes)), Some((to, ..))) =
            (self.samples.front(), self.samples.back())
        else {
            return (0.0, 0.0);
        };
        let seconds = to.duration_since(*from).as_secs_f64();
        if seconds < SAMPLE.as_secs_f64() {
            return (0.0, 0.0);
        }
        let newest = self.samples.back().map_or((0, 0), |(_, r, b)| (*r, *b));
        (
            newest.0.saturating_sub(*rows) as f64 / seconds,
            newest.1.saturating_sub(*bytes) as f64 / seconds,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn estimates_become_exact_and_never_fall_below_what_is_done() {
        let meter = Meter::new(Phases {
            at_work: "dumping",
            done: "dumped",
        });
        let (a, b) = (TableName::new("s", "a"), TableName::new("s", "b"));
        meter.begin([(a.clone(), 10, 100, 2), (b.clone(), 5, 1000, 1)]);
        meter.begin_table(&a);
        meter.add(&a, 20, 150);
        let figure = meter.figure();
        assert_eq!((figure.rows_done, figure.rows_estimated), (20, 25));
        assert_eq!(figure.bytes_estimated, 1150);
        assert_eq!(figure.tables[0].phase, "dumping");
        meter.finish_chunk(&a);
        assert_eq!(meter.figure().tables_done, 0);
        meter.finish_chunk(&a);
        meter.finish_chunk(&b);
        let figure = meter.figure();
        assert_eq!((figure.tables_done, figure.tables_total), (2, 2));
        assert_eq!((figure.bytes_estimated, figure.bytes_done), (150, 150));
        meter.finish();
        assert!(meter.figure().eta_seconds.is_none());
    }
}
