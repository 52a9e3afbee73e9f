//! Binlog events, decoded for people.

use serde::{Deserialize, Serialize};

use super::{Place, TableName, Timestamp};

/// A binlog event, decoded for people.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EventView {
    /// Where it starts.
    #[serde(flatten)]
    pub place: Place,
    /// Where it ends.
    pub end_offset: u64,
    /// Its number within a compressed transaction.
    pub inner: Option<u32>,
    /// Its transaction's id.
    pub gtid: Option<String>,
    /// When the source wrote it.
    pub time: Timestamp,
    /// `WRITE_ROWS`, `QUERY`, …
    pub kind: String,
    /// The table, where it concerns one.
    pub table: Option<TableName>,
    /// How many rows it has.
    pub rows: u64,
    /// The statement: a query event's own, or the one that wrote the rows where that is logged.
    pub statement: Option<String>,
    /// The session in which a statement ran, as far as that bears on its meaning: settings with their
    /// values. Only a stop at a statement tells it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub session: Vec<(String, String)>,
    /// The table's column names, with `true` for those of its key.
    pub columns: Vec<(String, bool)>,
    /// Its first rows, at most 20 where no other number was asked for.
    pub images: Vec<EventRow>,
    /// Why it, or its rows from some on, cannot be decoded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undecoded: Option<String>,
    /// The columns of which nobody says the sign or the character set: they are shown as signed and as
    /// UTF-8.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub assumed: Vec<String>,
}

/// A row of an event, each value as text for people; `None` is NULL. Long values are shortened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventRow {
    /// The row before; missing for an insert.
    pub before: Option<Vec<Option<String>>>,
    /// The row after; missing for a delete.
    pub after: Option<Vec<Option<String>>>,
}

/// A row that the target has where a change met something else than the binlog says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetRow {
    /// The key under which it was found.
    pub key: String,
    /// Its values, in the order of the event's columns; `None` is NULL. Long values are shortened.
    pub values: Vec<Option<String>>,
    /// The columns in which it is not what the source had.
    pub differs: Vec<String>,
}

/// The transaction around an event at which a stream stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransactionView {
    /// Where it begins.
    pub begin: Place,
    /// Which of its events on tables of the task it is, from 1; 0: none of those counted.
    pub number: u64,
    /// How many events on tables of the task it has.
    pub events: u64,
    /// How many rows these have.
    pub rows: u64,
    /// The same, table by table.
    pub tables: Vec<TableChanges>,
    /// Whether this is all of it; else it is at least so much.
    pub is_whole: bool,
    /// Whether the event is a statement that may change how later rows are read.
    #[serde(default)]
    pub is_statement: bool,
    /// Whether the event could be read: an event that could not can be skipped, but what it would have
    /// changed is not known.
    pub is_understood: bool,
}

/// What a transaction changes in a table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableChanges {
    /// The table, as the source names it.
    pub table: TableName,
    /// Rows inserted.
    pub inserts: u64,
    /// Rows updated.
    pub updates: u64,
    /// Rows deleted.
    pub deletes: u64,
}
