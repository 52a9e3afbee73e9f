//! The relay's figures.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use serde::{Deserialize, Serialize};

use crate::model::position::{FIRST_OFFSET, compare_files};
use crate::model::{Place, Position, RelayFigure, Timestamp};
use crate::relay_log::{DiskFigure, RelayLog};
use crate::source::{BinlogFile, ServerInfo};

use super::forecast::{self, Growth, Left};

/// The span that rates are of.
const RATE_SPAN: Duration = Duration::from_secs(10);
/// Rates need no more samples than this within the span.
const SAMPLE_EVERY: Duration = Duration::from_millis(250);
/// How often the disk is asked.
const DISK_EVERY: Duration = Duration::from_secs(1);
/// How many of the files are shown.
const FILES_SHOWN: usize = 64;

/// Where the source's binlog ended when it was last asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceEnd {
    /// The end, in the sub-folder of that server.
    pub place: Place,
    /// When it was asked.
    pub asked_at: Timestamp,
    /// The source's files, where the relay was in an earlier one than the newest, or where the source
    /// bounds their size.
    pub(super) files: Vec<BinlogFile>,
}

/// When a source was last heard, and what was known then of the file that was not all here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heard {
    at: Timestamp,
    closed: Option<Closed>,
}

/// A file that the source has closed, so that it ages.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Closed {
    folder: String,
    file: String,
    /// When the source began the one behind it, by the source's clock.
    at: Timestamp,
}

/// What was known when the stream ended. Time counts from there on, not by the clock: that may be set
/// meanwhile.
#[derive(Debug)]
struct Cut {
    at: Instant,
    /// For how long the source had been silent by then.
    silent: Duration,
    /// The file that was aging then, and its age.
    aged: Option<(Closed, Duration)>,
}

/// What the relay has done; cheap to update, and read by the runtime whenever it likes.
#[derive(Debug)]
pub struct Meter {
    log: Arc<RelayLog>,
    bytes_total: AtomicU64,
    events_total: AtomicU64,
    heard_micros: AtomicU64,
    is_connected: AtomicBool,
    /// Whether this stream has shown that it stands, and how many have.
    has_stood: AtomicBool,
    stood_count: AtomicU64,
    rest: Mutex<Rest>,
}

#[derive(Debug, Default)]
struct Rest {
    received: Option<Position>,
    source_end: Option<SourceEnd>,
    server: Option<Arc<ServerInfo>>,
    tls: Option<String>,
    /// The file the relay was in when the source was last asked, if that had closed it.
    closed: Option<Closed>,
    /// How the stream that stood last ended.
    cut: Option<Cut>,
    growth: Growth,
    purge_note: Option<String>,
    samples: VecDeque<(Instant, u64)>,
    disk: Option<(Instant, DiskFigure)>,
}

impl Meter {
    /// A meter of the relay that writes `log`. It outlives single runs.
    pub fn new(log: Arc<RelayLog>) -> Arc<Self> {
        Arc::new(Self {
            log,
            bytes_total: AtomicU64::new(0),
            events_total: AtomicU64::new(0),
            heard_micros: AtomicU64::new(0),
            is_connected: AtomicBool::new(false),
            has_stood: AtomicBool::new(false),
            stood_count: AtomicU64::new(0),
            rest: Mutex::default(),
        })
    }

    /// The figures of this moment.
    pub fn figure(&self) -> RelayFigure {
        let tip = self.log.published().borrow().clone();
        let files = self.log.files();
        let heard = self.heard_micros.load(Ordering::Relaxed);
        let is_connected = self.is_connected();
        let mut rest = self.rest();
        let bytes_per_second = rest.rate(self.bytes_total());
        let disk = rest.disk(&self.log);
        let behind_bytes = tip
            .place
            .as_ref()
            .zip(rest.source_end.as_ref())
            .filter(|_| is_connected)
            .and_then(|(place, end)| behind(place, end));
        let place = tip.place.unwrap_or_else(|| {
            let folder = self.log.newest_folder().map(|folder| folder.name);
            Place::new(folder.unwrap_or_default(), Position::new("", 0))
        });
        // Within a long transaction the tip stands still, but bytes come in.
        let position = rest
            .received
            .clone()
            .filter(|received| *received > place.position)
            .unwrap_or_else(|| place.position.clone());
        // It was asked a while ago: what has come since is the source's as well.
        let source = rest.source_end.as_ref().map(|end| {
            let is_past = end.place.folder == place.folder && end.place.position < position;
            if is_past {
                &position
            } else {
                &end.place.position
            }
        });
        let (source_file, source_offset) = (
            source.map(|end| end.file.clone()),
            source.map(|end| end.offset),
        );
        let heard_at = (heard > 0).then_some(Timestamp(heard));
        let (source_purges_in_seconds, warning) =
            match rest.forecast(is_connected, &place.folder, &position) {
                Some((left, warning)) => (Some(left), warning),
                None => (None, None),
            };
        RelayFigure {
            source_purges_in_seconds,
            warnings: warning
                .into_iter()
                .chain(rest.purge_note.clone())
                .chain(rest.decrypted_note())
                .chain(rest.statements_note())
                .chain(damaged_note(&self.log))
                .collect(),
            folder: place.folder,
            file: position.file,
            offset: position.offset,
            gtid_set: tip.gtid_set.map(|set| set.to_string()),
            behind_bytes,
            source_file,
            source_offset,
            heard_at,
            connected: is_connected,
            bytes_per_second,
            bytes_total: self.bytes_total(),
            events_total: self.events_total.load(Ordering::Relaxed),
            file_count: files.len() as u64,
            disk_bytes: disk.used_bytes,
            disk_free_bytes: disk.free_bytes,
            oldest_file: files.first().map(|file| file.name.clone()),
            // Only the runtime knows the streams.
            held_by: None,
            files: files
                .get(files.len().saturating_sub(FILES_SHOWN)..)
                .unwrap_or_default()
                .to_vec(),
            error: None,
        }
    }

    /// Who the source is and how it is set, once it was asked.
    pub fn server(&self) -> Option<Arc<ServerInfo>> {
        self.rest().server.clone()
    }

    /// The TLS version of the connection; `None` where nothing is encrypted, or nothing is known yet.
    pub fn tls(&self) -> Option<String> {
        self.rest().tls.clone()
    }

    /// Whether the stream stands.
    pub fn is_connected(&self) -> bool {
        self.is_connected.load(Ordering::Relaxed)
    }

    /// Where the source's binlog ended when it was last asked.
    pub fn source_end(&self) -> Option<SourceEnd> {
        self.rest().source_end.clone()
    }

    /// Whether everything is here that the source had when it was last asked; `None` while it has not
    /// been asked on this connection.
    pub fn has_reached_end(&self) -> Option<bool> {
        if !self.is_connected() {
            return None;
        }
        let tip = self.log.published().borrow().place.clone()?;
        let rest = self.rest();
        let end = rest.source_end.as_ref()?;
        Some(tip.folder == end.place.folder && tip.position >= end.place.position)
    }

    /// What the operator should know of purging; `None` takes it back.
    pub fn set_purge_note(&self, note: Option<String>) {
        self.rest().purge_note = note;
    }

    /// Whether the source bounds what all of its files may take.
    pub(super) fn is_bounded(&self) -> bool {
        self.rest()
            .server
            .as_ref()
            .is_some_and(|server| forecast::size_limit(server).is_some())
    }

    /// The place whose file's age is to be asked: the one the relay is in, while the source is in a later
    /// one.
    pub(super) fn unknown_age(&self, end: &Position) -> Option<Place> {
        let tip = self.log.published().borrow().place.clone()?;
        let rest = self.rest();
        let is_known = rest
            .closed
            .as_ref()
            .is_some_and(|closed| closed.is(&tip.folder, &tip.position.file));
        (!is_known && tip.position.file != end.file).then_some(tip)
    }

    /// Takes when the source closed the file of `place`.
    pub(super) fn set_closed(&self, place: &Place, at: Timestamp) {
        self.rest().closed = Some(Closed {
            folder: place.folder.clone(),
            file: place.position.file.clone(),
            at,
        });
    }

    /// When the source was last heard; `None` if it never was.
    pub fn last_heard(&self) -> Option<Heard> {
        let at = self.heard_micros.load(Ordering::Relaxed);
        let closed = self.rest().closed.clone();
        (at > 0).then_some(Heard {
            at: Timestamp(at),
            closed,
        })
    }

    /// Takes what a process before this one has kept of the source, for as long as it does not answer.
    pub fn recall(&self, info: &ServerInfo, heard: &Heard) {
        let mut rest = self.rest();
        if rest.server.is_some() {
            return;
        }
        rest.server = Some(Arc::new(info.clone()));
        rest.closed.clone_from(&heard.closed);
        let now = Timestamp::from(SystemTime::now());
        let silent = Duration::from_micros(now.0.saturating_sub(heard.at.0));
        rest.cut = Some(rest.cut_now(silent));
        self.heard_micros.store(heard.at.0, Ordering::Relaxed);
    }

    /// Takes that the stream stands: the source has let it be heard while it had nothing to send.
    pub(super) fn stood(&self) {
        if !self.has_stood.swap(true, Ordering::Relaxed) {
            self.stood_count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How many streams have stood.
    pub fn stood_count(&self) -> u64 {
        self.stood_count.load(Ordering::Relaxed)
    }

    pub(super) fn bytes_total(&self) -> u64 {
        self.bytes_total.load(Ordering::Relaxed)
    }

    pub(super) fn heard(&self) {
        let now = Timestamp::from(SystemTime::now());
        self.heard_micros.store(now.0, Ordering::Relaxed);
    }

    pub(super) fn count(&self, bytes: u64, events: u64) {
        self.bytes_total.fetch_add(bytes, Ordering::Relaxed);
        self.events_total.fetch_add(events, Ordering::Relaxed);
    }

    pub(super) fn set_received(&self, file: &str, offset: u64) {
        let mut rest = self.rest();
        match &mut rest.received {
            Some(position) if position.file == file => position.offset = offset,
            received => *received = Some(Position::new(file, offset)),
        }
    }

    pub(super) fn set_connected(&self, is_connected: bool) {
        let was_connected = self.is_connected.swap(is_connected, Ordering::Relaxed);
        self.has_stood.store(false, Ordering::Relaxed);
        if !is_connected {
            let mut rest = self.rest();
            if was_connected {
                rest.cut = Some(rest.cut_now(Duration::ZERO));
            }
            rest.received = None;
            rest.source_end = None;
        }
    }

    pub(super) fn set_server(&self, info: &ServerInfo, tls: Option<&str>) {
        let mut rest = self.rest();
        rest.server = Some(Arc::new(info.clone()));
        rest.tls = tls.map(str::to_owned);
    }

    pub(super) fn set_source_end(&self, end: SourceEnd) {
        let tip = self.log.published().borrow().place.clone();
        let mut rest = self.rest();
        if let Some(tip) = tip.filter(|tip| tip.folder == end.place.folder && !end.files.is_empty())
        {
            rest.growth.take(Instant::now(), &tip.position.file, &end);
        }
        rest.source_end = Some(end);
    }

    fn rest(&self) -> MutexGuard<'_, Rest> {
        self.rest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// That a file was damaged in its middle, for as long as what it had is kept.
fn damaged_note(log: &RelayLog) -> Option<String> {
    let kept = log.kept_damaged()?;
    let path = kept.path.display();
    Some(if kept.is_awaited {
        format!(
            "a relay file was found damaged in its middle and is fetched again; until that is done, `{path}` \
             has what stood behind the damage"
        )
    } else {
        format!(
            "a relay file was found damaged in its middle, and another server took over before all of it had \
             come again; `{path}` has what stood behind the damage, and goes when its sub-folder is purged"
        )
    })
}

impl Rest {
    /// That the files here are not the source's own.
    fn decrypted_note(&self) -> Option<String> {
        let is_decrypted = self.server.as_ref()?.encrypts_binlog();
        is_decrypted.then(|| super::DECRYPTED.to_owned())
    }

    /// That streams will stop at statements.
    fn statements_note(&self) -> Option<String> {
        let format = &self.server.as_ref()?.binlog_format;
        (!super::logs_rows(format)).then(|| super::not_rows(format))
    }

    /// What is known now, as the stream ends.
    fn cut_now(&self, silent: Duration) -> Cut {
        let aged = self
            .closed
            .clone()
            .zip(self.server.as_ref())
            .map(|(closed, server)| {
                let age = closed.age(server);
                (closed, age)
            });
        Cut {
            at: Instant::now(),
            silent,
            aged,
        }
    }

    /// The seconds until the source may purge what is not here yet, with a warning if they are few.
    ///
    /// A file ages from when the source closed it, by the source's clock. While the relay is cut off, one
    /// that was not closed yet may have been as early as when the source was last heard.
    fn forecast(
        &self,
        is_connected: bool,
        folder: &str,
        position: &Position,
    ) -> Option<(u64, Option<String>)> {
        let server = self.server.as_ref()?;
        if is_connected && self.source_end.as_ref()?.place.position.file == position.file {
            return None;
        }
        let age = if is_connected {
            let closed = self.closed.as_ref();
            closed
                .filter(|closed| closed.is(folder, &position.file))
                .map(|closed| closed.age(server).as_secs())
        } else {
            self.cut.as_ref().map(|cut| {
                let aged = cut.aged.as_ref();
                let aged = aged.filter(|(closed, _)| closed.is(folder, &position.file));
                let then = aged.map_or(cut.silent, |(_, age)| *age);
                (then + cut.at.elapsed()).as_secs()
            })
        };
        let by_age = server
            .binlog_expiry_seconds()
            .zip(age)
            .map(|(expiry, age)| forecast::by_age(expiry, age, is_connected));
        let by_size =
            forecast::size_limit(server).and_then(|limit| self.growth.left(Instant::now(), limit));
        let left = Left::earlier(by_age, by_size)?;
        let warning = left.is_near.then(|| {
            let minutes = Duration::from_secs(left.seconds / 60 * 60);
            format!(
                "the source may purge `{}` in {}, and the relay does not have all of it",
                position.file,
                humantime::format_duration(minutes)
            )
        });
        Some((left.seconds, warning))
    }

    fn rate(&mut self, total: u64) -> f64 {
        let now = Instant::now();
        if self
            .samples
            .back()
            .is_none_or(|(at, _)| now - *at >= SAMPLE_EVERY)
        {
            self.samples.push_back((now, total));
        }
        // One sample from before the span is kept, to measure from.
        while self
            .samples
            .get(1)
            .is_some_and(|(at, _)| now - *at >= RATE_SPAN)
        {
            self.samples.pop_front();
        }
        let Some((at, was)) = self.samples.front() else {
            return 0.0;
        };
        let seconds = (now - *at).as_secs_f64();
        if seconds < SAMPLE_EVERY.as_secs_f64() {
            return 0.0;
        }
        total.saturating_sub(*was) as f64 / seconds
    }

    fn disk(&mut self, log: &RelayLog) -> DiskFigure {
        let now = Instant::now();
        if let Some((at, figure)) = self.disk
            && now - at < DISK_EVERY
        {
            return figure;
        }
        // A folder that cannot be looked at fails the relay itself, with the reason.
        let figure = log.disk().unwrap_or_default();
        self.disk = Some((now, figure));
        figure
    }
}

impl Closed {
    /// The files of another server have the same names.
    fn is(&self, folder: &str, file: &str) -> bool {
        self.folder == folder && self.file == file
    }

    fn age(&self, server: &ServerInfo) -> Duration {
        let now = Timestamp::from(SystemTime::now()).0;
        let now = now.saturating_add_signed(server.clock_offset_micros);
        Duration::from_micros(now.saturating_sub(self.at.0))
    }
}

/// The bytes between a place and the source's end; `None` where files in between are not known.
pub(super) fn behind(place: &Place, end: &SourceEnd) -> Option<u64> {
    if place.folder != end.place.folder {
        return None;
    }
    let (here, there) = (&place.position, &end.place.position);
    if here >= there {
        return Some(0);
    }
    if here.file == there.file {
        return Some(there.offset - here.offset);
    }
    let first = end.files.iter().find(|file| file.name == here.file)?;
    let between: u64 = end
        .files
        .iter()
        .filter(|file| {
            compare_files(&file.name, &here.file).is_gt()
                && compare_files(&file.name, &there.file).is_lt()
        })
        .map(|file| file.size_bytes.saturating_sub(FIRST_OFFSET))
        .sum();
    Some(
        first.size_bytes.saturating_sub(here.offset)
            + between
            + there.offset.saturating_sub(FIRST_OFFSET),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_behind_over_several_files() {
        let file = |name: &str, size_bytes| BinlogFile {
            name: name.into(),
            size_bytes,
        };
        let end = SourceEnd {
            place: Place::new("7.000001", Position::new("bin.000003", 500)),
            asked_at: Timestamp(1),
            files: vec![
                file("bin.000001", 1000),
                file("bin.000002", 204),
                file("bin.000003", 400),
            ],
        };
        let at =
            |file: &str, offset| behind(&Place::new("7.000001", Position::new(file, offset)), &end);
        assert_eq!(at("bin.000003", 400), Some(100));
        assert_eq!(at("bin.000003", 600), Some(0));
        assert_eq!(at("bin.000001", 900), Some(100 + 200 + 496));
        assert_eq!(at("bin.000000", 4), None);
    }

    fn rest_of(expiry_days: u64, closed_days_ago: u64) -> Rest {
        let mut info = super::super::tests::info();
        let expiry = (expiry_days * 86_400).to_string();
        let expiry = ("binlog_expire_logs_seconds".to_owned(), expiry);
        info.settings.extend([expiry]);
        let now = Timestamp::from(SystemTime::now()).0;
        Rest {
            server: Some(Arc::new(info)),
            closed: Some(Closed {
                folder: "7.000001".into(),
                file: "bin.000003".into(),
                at: Timestamp(now - closed_days_ago * 86_400 * 1_000_000),
            }),
            ..Rest::default()
        }
    }

    #[test]
    fn a_file_goes_on_aging_when_the_line_is_cut() {
        const DAY: u64 = 86_400;
        let mut rest = rest_of(7, 6);
        rest.cut = Some(rest.cut_now(Duration::ZERO));
        let here = Position::new("bin.000003", 900);
        let (left, warning) = rest.forecast(false, "7.000001", &here).unwrap();
        assert!(left <= DAY && left > DAY - 60, "{left}");
        assert!(warning.unwrap().contains("bin.000003"));
        // Another file, and another server's of that name, may have been closed since then alone.
        for (folder, file) in [("7.000001", "bin.000004"), ("8.000002", "bin.000003")] {
            let other = Position::new(file, 900);
            let (left, warning) = rest.forecast(false, folder, &other).unwrap();
            assert!(left > 7 * DAY - 60 && warning.is_none(), "{left}");
        }
    }

    #[test]
    fn what_a_process_before_this_one_heard_counts_until_the_source_answers() {
        const DAY: u64 = 86_400;
        let folder = tempfile::tempdir().unwrap();
        let meter = Meter::new(RelayLog::open(folder.path()).unwrap());
        assert_eq!(meter.last_heard(), None);
        let before = rest_of(7, 5);
        let info = before.server.clone().unwrap();
        let now = Timestamp::from(SystemTime::now()).0;
        let heard = Heard {
            at: Timestamp(now - 2 * DAY * 1_000_000),
            closed: before.closed.clone(),
        };
        let kept = serde_json::to_string(&heard).unwrap();
        meter.recall(&info, &serde_json::from_str(&kept).unwrap());
        assert_eq!(meter.last_heard().as_ref(), Some(&heard));
        let left = |file: &str| {
            let here = Position::new(file, 900);
            meter.rest().forecast(false, "7.000001", &here).unwrap().0
        };
        let (aged, silent) = (left("bin.000003"), left("bin.000004"));
        assert!(aged <= 2 * DAY && aged > 2 * DAY - 60, "{aged}");
        assert!(silent <= 5 * DAY && silent > 5 * DAY - 60, "{silent}");
        // Only where nothing newer is known.
        let other = Heard {
            at: Timestamp(1),
            closed: None,
        };
        meter.recall(&info, &other);
        assert_eq!(meter.last_heard(), Some(heard));
    }

    #[test]
    fn a_stream_stands_once_it_was_heard_while_idle() {
        let folder = tempfile::tempdir().unwrap();
        let meter = Meter::new(RelayLog::open(folder.path()).unwrap());
        for count in 1..3 {
            meter.set_connected(true);
            assert_eq!(meter.stood_count(), count - 1);
            meter.stood();
            meter.stood();
            meter.set_connected(false);
            assert_eq!(meter.stood_count(), count);
        }
    }
}
