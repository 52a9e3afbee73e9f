//! Why a sync ended before it was told to, and at which event.

use std::fmt;
use std::time::SystemTime;

use crate::model::{
    Error, EventPlace, EventView, TableName, TargetRow, Timestamp, TransactionView,
};

/// An error that ended a sync, with the event that met it.
#[derive(Debug)]
pub struct Failure {
    /// What failed.
    pub error: Error,
    /// The event, where one is concerned.
    pub event: Option<Box<FailedEvent>>,
}

/// The event at which a sync stopped.
#[derive(Clone, Debug)]
pub struct FailedEvent {
    /// Names this stop.
    pub stop_id: String,
    /// Where it is, with the row that failed, where one row is concerned.
    pub place: EventPlace,
    /// The transaction around it.
    pub transaction: TransactionView,
    /// The event, decoded.
    pub view: EventView,
    /// The table, as the source names it.
    pub table: Option<TableName>,
    /// The statement that failed on the target, shortened.
    pub statement: Option<String>,
    /// What a repair of the row would run, shortened.
    pub repair: Option<String>,
    /// The rows that the target has in its place.
    pub target_rows: Vec<TargetRow>,
    /// Transactions behind this one that are applied already.
    pub later_applied: u64,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self { error, event: None }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.error, f)
    }
}

impl std::error::Error for Failure {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.error)
    }
}

/// Names a stop at an event: the same event stops under another name each time.
pub(super) fn stop_id(place: &EventPlace) -> String {
    let micros = Timestamp::from(SystemTime::now()).0;
    let seed = format!("{place}@{micros}");
    format!("{:08x}", crc32fast::hash(seed.as_bytes()))
}
