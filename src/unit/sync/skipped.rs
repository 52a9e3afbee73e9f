//! Changes that `on_drift = "warn"` leaves out: kept as statements, to be applied later or thrown away.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::transaction::{RowsPart, Transaction};
use crate::model::{EventPlace, Result, TableName, Timestamp};

/// The version of the form.
const VERSION: u32 = 1;

/// One row's change that was not applied, because the target's row was not what the binlog says.
///
/// It is written before the transaction it belongs to commits without it; a commit that fails and is
/// tried again writes it again, under the same id.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SkippedChange {
    /// The form of this record.
    pub version: u32,
    /// Names the change for good: `SOURCE/FOLDER/FILE:OFFSET#inner.row`.
    pub id: String,
    /// When it was left out.
    pub at: Timestamp,
    /// The task.
    pub task: String,
    /// The source.
    pub source: String,
    /// Which row of which event.
    pub place: EventPlace,
    /// Its transaction's id.
    pub gtid: Option<String>,
    /// The table, as the source names it.
    pub table: TableName,
    /// The table on the target.
    pub target: TableName,
    /// What was met instead: `missing`, `collides`.
    pub met: String,
    /// The statement that would have made the change, for a session like that of sync: `NAMES
    /// utf8mb4`, `time_zone = '+00:00'`, a strict `sql_mode` with `NO_AUTO_VALUE_ON_ZERO`. It concerns
    /// exactly one row. Text with bytes that are not UTF-8 is written in hexadecimal in it.
    pub sql: String,
}

/// Where skipped changes are kept; they are there for good when it returns.
pub type Keep = Arc<dyn Fn(Vec<SkippedChange>) -> Result<()> + Send + Sync>;

/// The record of a row's change.
pub(super) struct Skipper {
    pub(super) task: String,
    pub(super) source: String,
    pub(super) keep: Keep,
}

impl fmt::Debug for Skipper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Skipper").finish_non_exhaustive()
    }
}

impl Skipper {
    /// Describes a change that is left out.
    pub(super) fn change(
        &self,
        transaction: &Transaction,
        part: &RowsPart,
        row: u32,
        met: &str,
        sql: &[u8],
        at: Timestamp,
    ) -> SkippedChange {
        let place = transaction.place_of(part, Some(row));
        SkippedChange {
            version: VERSION,
            id: format!("{}/{place}", self.source),
            at,
            task: self.task.clone(),
            source: self.source.clone(),
            gtid: transaction.gtid.as_ref().map(ToString::to_string),
            table: part.table.map.table.clone(),
            target: part.table.target.clone(),
            met: met.to_owned(),
            sql: String::from_utf8_lossy(sql).into_owned(),
            place,
        }
    }
}
