//! Changes that `on_drift = "warn"` leaves out: kept as statements, to be applied later or thrown away.

use std::fmt::{self, Write as _};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::transaction::{RowsPart, Statement, Transaction, Unread};
use crate::model::{Decision, Error, ErrorKind, EventPlace, Gtid, Result, TableName, Timestamp};
use crate::target::SkippedRecord;

/// The version of the form.
const VERSION: u32 = 1;
/// What was met, where the operator left it out.
pub(super) const BY_HAND: &str = "by-hand";

/// A change that was not applied: one row's, because the target's row was not what the binlog says or
/// the operator left it out; or a statement's.
///
/// It commits with the transaction that goes on without it, in a table of the target, and goes from
/// there to the task's file; the id tells a record that is handed over twice.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SkippedChange {
    /// The form of this record.
    pub version: u32,
    /// Names the record for good: `SOURCE/FOLDER/FILE:OFFSET#inner.row@MICROSECONDS`. The same change,
    /// left out again after the task was started anew, is another record.
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
    /// What was met instead: `missing`, `collides`; `by-hand`: the operator said so.
    pub met: String,
    /// The decision that left it out, if one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decision: Option<String>,
    /// Why it could not be read, if it could not: then there is no statement for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unread: Option<String>,
    /// The event's bytes in hexadecimal, where it could not be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub raw: Option<String>,
    /// The statement that would have made the change, for a session like that of sync: `NAMES
    /// utf8mb4`, `time_zone = '+00:00'`, a strict `sql_mode` with `NO_AUTO_VALUE_ON_ZERO`. A row's
    /// concerns exactly one row. Text with bytes that are not UTF-8 is written in hexadecimal in it.
    pub sql: String,
}

impl SkippedChange {
    /// As it is kept in the target, the `number`th of its transaction.
    pub(super) fn stored(&self, number: usize) -> Result<SkippedRecord> {
        let record = serde_json::to_string(self).map_err(|why| {
            Error::new(ErrorKind::Internal, "a skipped change cannot be written").with_source(why)
        })?;
        Ok(SkippedRecord {
            id: format!("{:020}-{number:06}", self.at.0),
            record,
        })
    }

    /// Reads what was kept there.
    pub(super) fn read(stored: &SkippedRecord) -> Result<Self> {
        serde_json::from_str(&stored.record).map_err(|why| {
            Error::new(
                ErrorKind::Checkpoint,
                format!(
                    "the record of the skipped change `{}` cannot be read",
                    stored.id
                ),
            )
            .with_source(why)
            .with_fix("see the table `skipped` beside the checkpoint on the target")
        })
    }
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
        SkippedChange {
            target: part.table.target.clone(),
            met: met.to_owned(),
            sql: String::from_utf8_lossy(sql).into_owned(),
            ..self.blank(
                transaction.place_of(part, Some(row)),
                transaction.gtid.as_ref(),
                part.table.map.table.clone(),
                at,
            )
        }
    }

    /// The record of a change of `table`, which the operator left out, without what it would have done.
    fn blank(
        &self,
        place: EventPlace,
        gtid: Option<&Gtid>,
        table: TableName,
        at: Timestamp,
    ) -> SkippedChange {
        SkippedChange {
            version: VERSION,
            id: format!("{}/{place}@{}", self.source, at.0),
            at,
            task: self.task.clone(),
            source: self.source.clone(),
            place,
            gtid: gtid.map(ToString::to_string),
            target: table.clone(),
            table,
            met: BY_HAND.to_owned(),
            decision: None,
            unread: None,
            raw: None,
            sql: String::new(),
        }
    }

    /// Describes a statement that does not run.
    pub(super) fn statement(
        &self,
        statement: &Statement,
        decision: &Decision,
        at: Timestamp,
    ) -> SkippedChange {
        let ddl = &statement.ddl;
        let table = ddl.changed_tables().next().cloned();
        let table = table.unwrap_or_else(|| TableName::new(ddl.default_schema(), "*"));
        SkippedChange {
            decision: Some(decision.id.clone()),
            sql: String::from_utf8_lossy(ddl.statement()).into_owned(),
            ..self.blank(statement.place.clone(), statement.gtid.as_ref(), table, at)
        }
    }

    /// Describes an event that could not be read.
    pub(super) fn unread(
        &self,
        transaction: &Transaction,
        event: &Unread,
        decision: &Decision,
        at: Timestamp,
    ) -> SkippedChange {
        let mut place = decision.at.clone();
        place.place.position.offset = event.offset;
        place.inner = event.inner;
        place.row = None;
        let table = event.table.clone();
        let table = table.unwrap_or_else(|| TableName::new("*", "*"));
        let raw = event.body.as_ref().map(|body| {
            body.iter()
                .fold(String::with_capacity(body.len() * 2), |mut hex, byte| {
                    // Writing to a `String` cannot fail.
                    let _ = write!(hex, "{byte:02x}");
                    hex
                })
        });
        SkippedChange {
            decision: Some(decision.id.clone()),
            unread: Some(format!("{}: {}", event.kind, event.why)),
            raw,
            sql: event.statement.clone().unwrap_or_default(),
            ..self.blank(place, transaction.gtid.as_ref(), table, at)
        }
    }
}
