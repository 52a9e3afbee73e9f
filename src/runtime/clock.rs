//! The clock and the process's own figures.

use std::time::SystemTime;

use crate::model::Timestamp;

/// The time of day.
pub(crate) fn now() -> Timestamp {
    Timestamp::from(SystemTime::now())
}

/// The resident memory of this process in bytes; 0 where the system does not tell.
/// Source: `proc_pid_statm(5)`, second field, in pages.
pub(crate) fn resident_bytes() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm")
        .ok()
        .and_then(|text| text.split_whitespace().nth(1)?.parse::<u64>().ok())
        .unwrap_or(0);
    pages * rustix::param::page_size() as u64
}

/// The time of day after `pause`.
pub(crate) fn later(pause: std::time::Duration) -> Timestamp {
    let micros = u64::try_from(pause.as_micros()).unwrap_or(u64::MAX);
    Timestamp(now().0.saturating_add(micros))
}
