//! How long the source still keeps what the relay has not read: by the age of its files, and by what
//! all of them may take.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::model::Place;
use crate::model::position::compare_files;
use crate::source::ServerInfo;

use super::meter::{SourceEnd, behind};

/// Below this share of what the source allows, or below [`ALWAYS_NEAR`], what is left is a warning.
const NEAR_SHARE: u64 = 4;
/// Less than this in seconds is near, however short the source keeps its files.
const ALWAYS_NEAR: u64 = 3600;
/// A relay that is behind for less than this in seconds is no news.
const NO_NEWS: u64 = 60;
/// The rate is that of so many samples, so far apart.
const SAMPLES: usize = 20;
const SAMPLE_EVERY: Duration = Duration::from_secs(30);

/// What is left, and whether the operator should hear of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Left {
    pub(super) seconds: u64,
    pub(super) is_near: bool,
}

impl Left {
    /// The earlier of two.
    pub(super) fn earlier(one: Option<Self>, other: Option<Self>) -> Option<Self> {
        match (one, other) {
            (Some(one), Some(other)) => Some(Self {
                seconds: one.seconds.min(other.seconds),
                is_near: one.is_near || other.is_near,
            }),
            (one, other) => one.or(other),
        }
    }
}

/// What is left to a file that has aged for `age` seconds at a source that keeps files for `expiry`.
pub(super) fn by_age(expiry: u64, age: u64, is_connected: bool) -> Left {
    let seconds = expiry.saturating_sub(age);
    let is_near = seconds < expiry / NEAR_SHARE || seconds < ALWAYS_NEAR;
    let is_news = !is_connected || age > NO_NEWS;
    Left {
        seconds,
        is_near: is_near && is_news,
    }
}

/// How the source's binlog grows, and how much of it begins with the file the relay is in.
#[derive(Debug, Default)]
pub(super) struct Growth {
    ends: VecDeque<(Instant, Place)>,
    bytes_per_second: f64,
    /// When it was looked last, and the size of the relay's file and all behind it.
    since_file: Option<(Instant, u64)>,
}

impl Growth {
    /// Takes where the source's binlog ends now; its files must be known. `file` is the relay's.
    pub(super) fn take(&mut self, now: Instant, file: &str, end: &SourceEnd) {
        while let Some((at, place)) = self.ends.front() {
            let Some(bytes) = behind(place, end) else {
                // That file was purged, or is another server's.
                self.ends.pop_front();
                continue;
            };
            let seconds = now.duration_since(*at).as_secs_f64();
            if seconds >= 1.0 {
                self.bytes_per_second = bytes as f64 / seconds;
            }
            break;
        }
        let is_due = self
            .ends
            .back()
            .is_none_or(|(at, _)| now.duration_since(*at) >= SAMPLE_EVERY);
        if is_due {
            self.ends.push_back((now, end.place.clone()));
            if self.ends.len() > SAMPLES {
                self.ends.pop_front();
            }
        }
        let newest = &end.place.position;
        let bytes = end
            .files
            .iter()
            .filter(|of| compare_files(&of.name, file).is_ge())
            .map(|of| {
                if of.name == newest.file {
                    newest.offset
                } else {
                    of.size_bytes
                }
            })
            .sum();
        self.since_file = Some((now, bytes));
    }

    /// What is left to the relay's file at a source that keeps `limit` bytes of binlog; `None` where
    /// nothing is known of its growth.
    pub(super) fn left(&self, now: Instant, limit: u64) -> Option<Left> {
        let (at, bytes) = self.since_file?;
        if self.bytes_per_second < 1.0 {
            return None;
        }
        // While the source is out of reach, it is taken to grow as before.
        let grown = now.duration_since(at).as_secs_f64() * self.bytes_per_second;
        let left = limit.saturating_sub(bytes) as f64 - grown;
        let seconds = (left / self.bytes_per_second).max(0.0) as u64;
        Some(Left {
            seconds,
            is_near: seconds < ALWAYS_NEAR || left < (limit / NEAR_SHARE) as f64,
        })
    }
}

/// What the source lets all of its binlog files take: MariaDB's `max_binlog_total_size` since 11.4.
pub(super) fn size_limit(server: &ServerInfo) -> Option<u64> {
    let limit = server.settings.get("max_binlog_total_size")?;
    limit.parse().ok().filter(|limit| *limit > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Position, Timestamp};
    use crate::source::BinlogFile;

    fn end(file: u32, offset: u64) -> SourceEnd {
        let files = (1..=file).map(|number| BinlogFile {
            name: format!("bin.{number:06}"),
            size_bytes: if number == file { offset } else { 1000 },
        });
        SourceEnd {
            place: Place::new("7.000001", Position::new(format!("bin.{file:06}"), offset)),
            asked_at: Timestamp(1),
            files: files.collect(),
        }
    }

    #[test]
    fn what_age_leaves_is_near_in_its_last_quarter_or_hour() {
        let day = 86_400;
        assert_eq!(
            by_age(10 * day, day, true),
            Left {
                seconds: 9 * day,
                is_near: false
            }
        );
        assert!(by_age(10 * day, 8 * day, true).is_near);
        assert!(by_age(7200, 4000, false).is_near);
        // Merely slow for a moment.
        assert!(!by_age(1800, 30, true).is_near);
        assert_eq!(by_age(day, 2 * day, false).seconds, 0);
    }

    #[test]
    fn what_the_total_size_leaves_goes_by_how_the_binlog_grows() {
        let mut growth = Growth::default();
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        growth.take(start, "bin.000002", &end(3, 200));
        assert_eq!(growth.left(start, 10_000), None, "no rate yet");
        // 800 bytes of that file, 996 of the next one, 400 of the newest: 2,196 in 100 s.
        growth.take(after(100), "bin.000002", &end(5, 404));
        let left = growth.left(after(100), 100_000).unwrap();
        // The relay's file and those behind it have 3,404 bytes.
        assert_eq!(left.seconds, (96_596.0 / 21.96) as u64);
        assert!(!left.is_near);
        // It is cut off, and the source goes on.
        let later = growth.left(after(2100), 100_000).unwrap();
        assert_eq!(later.seconds, (96_596.0 / 21.96) as u64 - 2000);
        assert!(later.is_near, "under an hour");
        assert_eq!(growth.left(after(20_000), 100_000).unwrap().seconds, 0);
        // Another server's places say nothing of this one's rate.
        let mut other = end(1, 900);
        other.place.folder = "8.000002".into();
        growth.take(after(200), "bin.000001", &other);
        assert_eq!(growth.ends.len(), 1);
    }
}
