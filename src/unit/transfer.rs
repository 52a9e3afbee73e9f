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
///
/// Estimates are corrected as chunks finish. What is shown of them never runs backwards, and never
/// says that all is done before it is: an estimate that turns out too low is raised, at first without
/// the share that is done falling, and stays a hundredth short of the end until the end is there.
#[derive(Debug)]
pub struct Meter {
    phases: Phases,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    started_at: Option<Timestamp>,
    began: Option<Instant>,
    finished: Option<(Timestamp, Instant)>,
    tables: BTreeMap<TableName, Table>,
    rows: u64,
    bytes: u64,
    /// What an earlier process had done: part of no rate.
    resumed: (u64, u64),
    samples: VecDeque<(Instant, u64, u64)>,
    shown: Shown,
    eta: Option<f64>,
    notes: Vec<String>,
    throttled: Option<String>,
}

/// A table with what its figure is made from.
#[derive(Debug)]
struct Table {
    load: TableLoad,
    /// Rows and bytes as first estimated.
    first: (u64, u64),
    /// Whether rows and bytes are not estimated but known.
    is_exact: bool,
    /// Whether more chunks may come to be known.
    is_open: bool,
    at_work: u64,
    shown: Shown,
}

/// The greatest shares of rows and bytes that were shown as done.
#[derive(Clone, Copy, Debug, Default)]
struct Shown {
    rows: f64,
    bytes: f64,
}

/// No more than this share is shown as done until all is.
const UNFINISHED: f64 = 0.99;

/// The estimate to show beside `done`, so that the share done is at least `best`.
fn shown_estimate(done: u64, estimated: u64, is_done: bool, best: &mut f64) -> u64 {
    if is_done {
        return done;
    }
    if done == 0 {
        return estimated;
    }
    let share = (done as f64 / estimated.max(1) as f64)
        .max(*best)
        .min(UNFINISHED);
    *best = share;
    (done as f64 / share).ceil() as u64
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
        self.begin_with(tables, false);
    }

    /// Starts anew with tables whose chunks come to be known one by one: name, rows, bytes, as
    /// estimated. [`Meter::set_chunks`] says when all of a table's are known.
    pub fn begin_open(&self, tables: impl IntoIterator<Item = (TableName, u64, u64)>) {
        let tables = tables
            .into_iter()
            .map(|(table, rows, bytes)| (table, rows, bytes, 0));
        self.begin_with(tables, true);
    }

    fn begin_with(
        &self,
        tables: impl IntoIterator<Item = (TableName, u64, u64, u64)>,
        is_open: bool,
    ) {
        let mut inner = self.lock();
        let notes = std::mem::take(&mut inner.notes);
        *inner = Inner {
            started_at: Some(Timestamp::from(SystemTime::now())),
            began: Some(Instant::now()),
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
                    let entry = Table {
                        load,
                        first: (rows, bytes),
                        is_exact: false,
                        is_open,
                        at_work: 0,
                        shown: Shown::default(),
                    };
                    (table, entry)
                })
                .collect(),
            notes,
            ..Inner::default()
        };
    }

    /// The number of a table's chunks is known now.
    pub fn set_chunks(&self, table: &TableName, chunks: u64) {
        self.change(table, |entry, phases| {
            entry.load.chunks_total = chunks;
            entry.is_open = false;
            entry.settle(phases);
        });
    }

    /// How many of a table's chunks are done or known to be left.
    pub fn chunks_known(&self, table: &TableName) -> u64 {
        let inner = self.lock();
        inner
            .tables
            .get(table)
            .map_or(0, |entry| entry.load.chunks_total)
    }

    /// One more of a table's chunks is known.
    pub fn add_chunk(&self, table: &TableName) {
        self.change(table, |entry, _| entry.load.chunks_total += 1);
    }

    /// A table's rows and bytes are known now.
    pub fn set_exact(&self, table: &TableName, rows: u64, bytes: u64) {
        self.change(table, |entry, phases| {
            entry.is_exact = true;
            entry.first = (rows, bytes);
            entry.load.rows_estimated = rows.max(entry.load.rows_done);
            entry.load.bytes_estimated = bytes.max(entry.load.bytes_done);
            entry.settle(phases);
        });
    }

    /// Work on one of a table's chunks begins.
    pub fn begin_table(&self, table: &TableName) {
        self.change(table, |entry, phases| {
            entry.at_work += 1;
            phases.at_work.clone_into(&mut entry.load.phase);
        });
    }

    /// Adds what was done for a table.
    pub fn add(&self, table: &TableName, rows: u64, bytes: u64) {
        let mut inner = self.lock();
        inner.add(table, rows, bytes);
        inner.sample(Instant::now());
    }

    /// Adds what an earlier process, or an earlier try, had done for a table.
    pub fn resume(&self, table: &TableName, rows: u64, bytes: u64) {
        let mut inner = self.lock();
        inner.add(table, rows, bytes);
        inner.resumed.0 += rows;
        inner.resumed.1 += bytes;
        for (_, had_rows, had_bytes) in &mut inner.samples {
            *had_rows += rows;
            *had_bytes += bytes;
        }
    }

    /// One of a table's chunks is done, which corrects its estimates; the last one makes them exact.
    pub fn finish_chunk(&self, table: &TableName) {
        self.change(table, |entry, phases| {
            entry.at_work = entry.at_work.saturating_sub(1);
            entry.load.chunks_done += 1;
            if !entry.is_open && !entry.is_exact {
                entry.correct();
            }
            entry.settle(phases);
        });
    }

    fn change(&self, table: &TableName, change: impl FnOnce(&mut Table, Phases)) {
        if let Some(entry) = self.lock().tables.get_mut(table) {
            change(entry, self.phases);
        }
    }

    /// All is done.
    pub fn finish(&self) {
        self.lock().finished = Some((Timestamp::from(SystemTime::now()), Instant::now()));
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

    /// Says what holds the transfer back; `None`: nothing does any more.
    pub fn set_throttled(&self, why: Option<String>) {
        let mut inner = self.lock();
        if inner.throttled != why {
            inner.throttled = why;
        }
    }

    /// How many chunks are at work now.
    pub fn threads_busy(&self) -> u64 {
        self.lock().tables.values().map(|table| table.at_work).sum()
    }

    /// The sentences for the operator.
    pub fn notes(&self) -> Vec<String> {
        self.lock().notes.clone()
    }

    /// The figure of this moment: the tables at work first, then the biggest.
    pub fn figure(&self) -> TransferFigure {
        let mut inner = self.lock();
        inner.sample(Instant::now());
        let is_finished = inner.finished.is_some();
        let (rows_per_second, bytes_per_second) = if is_finished {
            (0.0, 0.0)
        } else {
            inner.rates()
        };
        let (rows_per_second_overall, bytes_per_second_overall) = inner.overall();
        let mut figure = TransferFigure {
            rows_done: inner.rows,
            bytes_done: inner.bytes,
            tables_total: inner.tables.len() as u64,
            rows_per_second,
            bytes_per_second,
            rows_per_second_overall,
            bytes_per_second_overall,
            throttled: inner.throttled.clone().filter(|_| !is_finished),
            started_at: inner.started_at,
            finished_at: inner.finished.map(|(at, _)| at),
            ..TransferFigure::default()
        };
        for entry in inner.tables.values() {
            figure.rows_estimated += entry.load.rows_estimated;
            figure.bytes_estimated += entry.load.bytes_estimated;
            figure.chunks_done += entry.load.chunks_done;
            figure.chunks_total += entry.load.chunks_total;
            figure.threads_busy += entry.at_work;
            figure.tables_done += u64::from(entry.load.phase == self.phases.done);
        }
        let mut shown = inner.shown;
        let (rows, bytes) = (figure.rows_done, figure.bytes_done);
        figure.rows_estimated =
            shown_estimate(rows, figure.rows_estimated, is_finished, &mut shown.rows);
        figure.bytes_estimated =
            shown_estimate(bytes, figure.bytes_estimated, is_finished, &mut shown.bytes);
        inner.shown = shown;
        let phase = match (is_finished, figure.threads_busy) {
            (true, _) => self.phases.done,
            (false, 0) => WAITING,
            (false, _) => self.phases.at_work,
        };
        phase.clone_into(&mut figure.phase);
        if !is_finished
            && bytes_per_second > 0.0
            && inner.has_shown_its_pace(figure.bytes_estimated)
        {
            let left = figure.bytes_estimated.saturating_sub(bytes) as f64;
            let now = left / bytes_per_second;
            // Half of the difference at each look keeps the figure from jumping about.
            let eta = inner.eta.map_or(now, |before| f64::midpoint(before, now));
            inner.eta = Some(eta);
            figure.eta_seconds = Some(eta);
        }
        figure.tables = self.sorted(&mut inner, TABLES_SHOWN);
        figure
    }

    /// All tables, those at work first, then the biggest.
    pub fn tables(&self) -> Vec<TableLoad> {
        self.sorted(&mut self.lock(), usize::MAX)
    }

    fn sorted(&self, inner: &mut Inner, limit: usize) -> Vec<TableLoad> {
        let mut tables: Vec<&mut Table> = inner.tables.values_mut().collect();
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
        tables.sort_by_key(|entry| rank(&entry.load));
        tables
            .into_iter()
            .take(limit)
            .map(|entry| entry.figure(self.phases))
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A panic elsewhere leaves at worst a figure that is a little off.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    /// Corrects the estimates by what the chunks so far had. The first estimate counts for the chunks
    /// that are left, those at work count for half.
    fn correct(&mut self) {
        let load = &mut self.load;
        let done = load.chunks_done as f64 + self.at_work as f64 / 2.0;
        let share = (done / load.chunks_total.max(1) as f64).clamp(0.0, 1.0);
        let left = 1.0 - share;
        let corrected = |done: u64, first: u64| done + (first as f64 * left) as u64;
        load.rows_estimated = corrected(load.rows_done, self.first.0);
        load.bytes_estimated = corrected(load.bytes_done, self.first.1);
    }

    /// Done, once all chunks are.
    fn settle(&mut self, phases: Phases) {
        let load = &mut self.load;
        if !self.is_open && load.chunks_done >= load.chunks_total {
            load.rows_estimated = load.rows_done;
            load.bytes_estimated = load.bytes_done;
            phases.done.clone_into(&mut load.phase);
        }
    }

    fn figure(&mut self, phases: Phases) -> TableLoad {
        let mut load = self.load.clone();
        let is_done = load.phase == phases.done;
        let shown = &mut self.shown;
        load.rows_estimated = shown_estimate(
            load.rows_done,
            load.rows_estimated,
            is_done,
            &mut shown.rows,
        );
        load.bytes_estimated = shown_estimate(
            load.bytes_done,
            load.bytes_estimated,
            is_done,
            &mut shown.bytes,
        );
        load
    }
}

impl Inner {
    fn add(&mut self, table: &TableName, rows: u64, bytes: u64) {
        self.rows += rows;
        self.bytes += bytes;
        if let Some(Table { load, .. }) = self.tables.get_mut(table) {
            load.rows_done += rows;
            load.bytes_done += bytes;
            load.rows_estimated = load.rows_estimated.max(load.rows_done);
            load.bytes_estimated = load.bytes_estimated.max(load.bytes_done);
        }
    }

    /// Whether enough is done to say from its rate when the rest will be.
    fn has_shown_its_pace(&self, estimated: u64) -> bool {
        let is_old = self
            .began
            .is_some_and(|began| began.elapsed() >= 3 * WINDOW);
        is_old || self.bytes > estimated / 100
    }

    /// Rows and bytes a second since the beginning.
    fn overall(&self) -> (f64, f64) {
        let Some(began) = self.began else {
            return (0.0, 0.0);
        };
        let end = self.finished.map_or_else(Instant::now, |(_, at)| at);
        // Less than this is no time to tell a rate from.
        let seconds = end.duration_since(began).as_secs_f64().max(0.001);
        let (rows, bytes) = self.resumed;
        (
            self.rows.saturating_sub(rows) as f64 / seconds,
            self.bytes.saturating_sub(bytes) as f64 / seconds,
        )
    }

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
        assert_eq!(figure.threads_busy, 1);
        meter.finish_chunk(&a);
        assert_eq!(meter.figure().tables_done, 0);
        meter.finish_chunk(&a);
        meter.finish_chunk(&b);
        let figure = meter.figure();
        assert_eq!((figure.tables_done, figure.tables_total), (2, 2));
        assert_eq!(figure.tables[0].bytes_estimated, 150);
        meter.finish();
        let figure = meter.figure();
        assert_eq!((figure.bytes_estimated, figure.bytes_done), (150, 150));
        assert!(figure.eta_seconds.is_none());
    }

    #[test]
    fn the_share_done_never_falls_and_ends_at_the_end() {
        let meter = Meter::new(Phases {
            at_work: "loading",
            done: "loaded",
        });
        let table = TableName::new("s", "t");
        meter.begin_open([(table.clone(), 100, 1000)]);
        let mut before = 0.0;
        // Twice as much as was estimated, in chunks that come to be known one by one.
        for chunk in 0..20 {
            meter.add_chunk(&table);
            meter.begin_table(&table);
            meter.add(&table, 10, 100);
            meter.finish_chunk(&table);
            if chunk == 15 {
                meter.set_exact(&table, 200, 2000);
            }
            let figure = meter.figure();
            let share = figure.bytes_done as f64 / figure.bytes_estimated as f64;
            assert!(share + 0.001 >= before, "{share} after {before}");
            assert!(share <= UNFINISHED, "{share}");
            assert_eq!(figure.tables[0].phase, "loading", "more may come");
            before = share;
        }
        meter.set_chunks(&table, 20);
        meter.finish();
        let figure = meter.figure();
        assert_eq!((figure.bytes_done, figure.bytes_estimated), (2000, 2000));
        assert_eq!((figure.tables_done, figure.chunks_done), (1, 20));
    }

    #[test]
    fn what_was_done_before_is_in_no_rate() {
        let meter = Meter::new(Phases {
            at_work: "loading",
            done: "loaded",
        });
        let table = TableName::new("s", "t");
        meter.begin([(table.clone(), 100, 1000, 1)]);
        meter.resume(&table, 50, 500);
        let figure = meter.figure();
        assert_eq!((figure.rows_done, figure.bytes_done), (50, 500));
        assert!(figure.rows_per_second_overall.abs() < f64::EPSILON);
    }
}
