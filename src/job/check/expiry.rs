//! How long a source keeps its binlog, against what is to be read of it in time: the copy, and what the
//! relay lacks.

use std::fmt::Write as _;
use std::time::{Duration, SystemTime};

use crate::config::{Config, Mode, SourceConfig, relay_folder};
use crate::model::{Flavor, ServerVersion};
use crate::relay_log;

use super::binlog::Binlog;
use super::facts::{SourceFacts, tasks_of_source};
use super::rows::Scope;

/// A binlog that is kept for less than this may be gone before a night is over.
const SHORT: Duration = Duration::from_hours(24);

/// What a copy moves in a second, taken low.
const COPY_BYTES: u64 = 10 << 20;

/// How often the expected time of the copy the binlog should be kept for: a copy may have to begin anew.
const COPIES: u32 = 2;

/// The row about it.
pub(super) fn judge(
    rows: &mut Scope<'_>,
    config: &Config,
    source: &SourceConfig,
    facts: &SourceFacts,
) {
    let info = &facts.server.info;
    if !info.log_bin {
        return;
    }
    let why = "the binlog must not be gone before the relay has it";
    let Some(kept) = info.binlog_expiry_seconds().map(Duration::from_secs) else {
        rows.pass(
            "binlog-expiry",
            "binlogs are kept until purged by hand",
            why,
        );
        return;
    };
    let bytes: u64 = tasks_of_source(config, source)
        .filter(|task| task.mode == Mode::All && task.makes_dump())
        .flat_map(|task| facts.taken(task))
        .map(|table| table.data_bytes)
        .sum();
    let copy = Duration::from_secs(bytes.div_ceil(COPY_BYTES));
    let stands = facts
        .binlog
        .as_ref()
        .ok()
        .and_then(|binlog| standing(config, source, binlog));
    let (is_short, mut needed) = is_short(kept, copy, stands);
    let mut found = format!("binlogs are kept for {}", rough(kept));
    if copy > Duration::from_mins(1) {
        let _ = write!(
            found,
            "; the copy is expected to take about {}",
            rough(copy)
        );
    }
    if let Some(stands) = stands.filter(|stands| *stands > Duration::from_hours(1)) {
        let _ = write!(
            found,
            "; the relay log has had nothing new for {}, and there is more",
            rough(stands)
        );
    }
    if is_short {
        // In whole days, as it is set.
        needed = needed.max(SHORT * 7);
        rows.warn(
            "binlog-expiry",
            found,
            why,
            statement(&info.version, needed.as_secs().div_ceil(86_400)),
        );
    } else {
        rows.pass("binlog-expiry", found, why);
    }
}

/// Whether `kept` is too short, and what would do.
fn is_short(kept: Duration, copy: Duration, stands: Option<Duration>) -> (bool, Duration) {
    let needed = SHORT.max(copy * COPIES);
    // What a relay lacks that stands for long goes next.
    let goes_soon = stands.is_some_and(|stands| kept.saturating_sub(stands) < kept / 4);
    let needed = if goes_soon {
        needed.max(kept * 2)
    } else {
        needed
    };
    (kept < needed, needed)
}

/// For how long the relay log has had nothing new though the source has more; `None` where it has all, or
/// was not begun.
fn standing(config: &Config, source: &SourceConfig, binlog: &Binlog) -> Option<Duration> {
    let folder = relay_folder(&config.worker.data_dir, &source.server.name);
    // A folder that cannot be read has a row of its own.
    let newest = relay_log::list(&folder).ok()?.pop()?;
    if binlog.ends_with(&newest.name, newest.size_bytes) {
        return None;
    }
    let path = folder.join(&newest.folder).join(&newest.name);
    let changed = path.metadata().ok()?.modified().ok()?;
    SystemTime::now().duration_since(changed).ok()
}

/// A duration in its greater units.
fn rough(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let unit = if seconds >= 86_400 {
        3_600
    } else if seconds >= 3_600 {
        60
    } else {
        1
    };
    humantime::format_duration(Duration::from_secs(seconds - seconds % unit)).to_string()
}

/// The statement that keeps binlogs for so many days: MySQL before 8.0 and MariaDB before 10.6 count in
/// days alone.
fn statement(version: &ServerVersion, days: u64) -> String {
    let knows_seconds = match version.flavor {
        Flavor::MariaDB => version.at_least(10, 6, 0),
        _ => version.at_least(8, 0, 1),
    };
    if knows_seconds {
        format!("SET GLOBAL binlog_expire_logs_seconds = {};", days * 86_400)
    } else {
        format!("SET GLOBAL expire_logs_days = {days};")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_copy_or_a_relay_that_stands_asks_for_more() {
        let hours = Duration::from_hours;
        assert!(!is_short(hours(48), hours(1), None).0);
        assert!(is_short(hours(12), hours(1), None).0);
        assert!(is_short(hours(48), hours(30), None).0);
        assert!(!is_short(hours(48), hours(1), Some(hours(30))).0);
        assert!(is_short(hours(48), hours(1), Some(hours(40))).0);
        assert!(is_short(hours(48), hours(1), Some(hours(400))).0);
    }

    #[test]
    fn each_server_is_told_in_its_own_words() {
        let of = |version: &str| statement(&ServerVersion::parse(version), 7);
        assert_eq!(of("5.7.44"), "SET GLOBAL expire_logs_days = 7;");
        assert_eq!(of("10.5.8-MariaDB"), "SET GLOBAL expire_logs_days = 7;");
        for version in ["8.0.36", "10.6.1-MariaDB"] {
            assert_eq!(
                of(version),
                "SET GLOBAL binlog_expire_logs_seconds = 604800;"
            );
        }
    }

    #[test]
    fn durations_are_rough() {
        let of = |seconds| rough(Duration::from_secs(seconds));
        assert_eq!(of(2_592_061), "30days");
        assert_eq!(of(3_725), "1h 2m");
        assert_eq!(of(75), "1m 15s");
    }
}
