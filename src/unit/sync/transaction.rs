//! What the reader hands on: whole transactions, statements that stand alone, and places passed.

use std::sync::Arc;

use super::cascade::Cascade;
use super::failure::Failure;
use super::statement::Checks;
use crate::binlog::FormatDescription;
use crate::binlog::{Event, EventHeader, RowShape, RowsEvent, TableMap};
use crate::model::{EventPlace, Flavor, Gtid, Place, Position, Result, TableName, Timestamp};
use crate::schema::{ClientCharset, Ddl, SessionDefaults, Structure};
use crate::target::checkpoint::{Change, Mark, PartDone, SchemaChange, XaChange};

/// A source table at a version of its structure, with how its rows are read.
#[derive(Debug)]
pub(super) struct SourceTable {
    /// The table map.
    pub(super) map: TableMap,
    /// Its structure at the position.
    pub(super) structure: Arc<Structure>,
    /// How its rows are read.
    pub(super) shape: RowShape,
    /// What it is called on the target.
    pub(super) target: TableName,
    /// What the source does to other tables along with it, and does not log; `None`: it logs it.
    pub(super) cascades: Option<Vec<Cascade>>,
    /// Whether filters leave out some kinds of its row changes: a row may then be there that the source
    /// has no more, or be missing, and that is no drift.
    pub(super) is_partial: bool,
}

/// One step of the stream.
#[derive(Debug)]
pub(super) enum Item {
    /// Row changes of selected tables.
    Rows(Box<Transaction>),
    /// A statement that runs on the target, or changes what is known of the source's tables.
    Statement(Box<Statement>),
    /// Nothing of the task up to here.
    Passed(Box<Passed>),
    /// The long transaction that began there, of which parts were handed on, was cut off by a crash of
    /// the source and never committed.
    Abandoned(Place),
    /// Something that the operator should know.
    Note(String),
    /// The reader cannot go on.
    Failed(Box<Failure>),
}

/// A stretch of the binlog that does not concern the task.
#[derive(Debug)]
pub(super) struct Passed {
    /// Its end.
    pub(super) end: Place,
    /// The transaction's id, if it was one.
    pub(super) gtid: Option<Gtid>,
    /// How many events were passed over by rule.
    pub(super) events: u64,
    /// What it does to the prepared XA transactions.
    pub(super) xa: Option<XaChange>,
}

/// When a transaction was committed, and how exactly that is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct CommitTime {
    /// The moment, by the source's clock.
    pub(super) at: Timestamp,
    /// How fine, in microseconds.
    pub(super) resolution_micros: u64,
}

/// A transaction's row changes on selected tables, or a part of a long one's.
#[derive(Debug)]
pub(super) struct Transaction {
    /// Where it starts.
    pub(super) begin: Place,
    /// Where it ends; of a part that is not the last: where the part ends.
    pub(super) end: Place,
    /// Its id.
    pub(super) gtid: Option<Gtid>,
    /// When it was committed.
    pub(super) committed: CommitTime,
    /// The rows events, in order.
    pub(super) events: Vec<RowsPart>,
    /// Events that could not be read, and are left out by decision.
    pub(super) unread: Vec<Unread>,
    /// Events passed over by rule.
    pub(super) passed: u64,
    /// Bytes held.
    pub(super) bytes: usize,
    /// Whether it is the first part.
    pub(super) is_first: bool,
    /// Whether it is the last part.
    pub(super) is_last: bool,
    /// The name of the prepared XA transaction that it commits.
    pub(super) xa: Option<String>,
}

impl Transaction {
    /// Moves a mark behind it. Behind a part that commits and is not the last one, the mark stays where
    /// the transaction starts, and says how far it is.
    pub(super) fn advance(&self, mark: &mut Mark) {
        if !self.is_last {
            if let Some(event) = self.events.last() {
                mark.part = Some(PartDone {
                    begin: self.begin.clone(),
                    offset: event.offset,
                    inner: event.inner,
                    gtid: self.gtid.as_ref().map(ToString::to_string),
                });
            }
            return;
        }
        mark.advance(self.end.clone(), self.gtid.as_ref());
        if let Some(name) = &self.xa {
            mark.settle_xa(&XaChange::Ended(name.clone()));
        }
    }

    /// The name of a row of one of its events.
    pub(super) fn place_of(&self, event: &RowsPart, row: Option<u32>) -> EventPlace {
        EventPlace {
            place: Place::new(
                self.begin.folder.clone(),
                Position::new(self.begin.position.file.clone(), event.offset),
            ),
            inner: event.inner,
            row,
        }
    }
}

/// An event that could not be read, and is left out because the operator said so.
#[derive(Clone, Debug)]
pub(super) struct Unread {
    /// Where it starts in the transaction's file.
    pub(super) offset: u64,
    /// Its number within a compressed transaction.
    pub(super) inner: Option<u32>,
    /// `QUERY`, `TABLE_MAP`, …
    pub(super) kind: String,
    /// The table, where it is known.
    pub(super) table: Option<TableName>,
    /// The statement, where it is one.
    pub(super) statement: Option<String>,
    /// Why it could not be read.
    pub(super) why: String,
    /// What is between header and checksum, unless it is too long to be kept.
    pub(super) body: Option<Vec<u8>>,
}

/// A rows event, undecoded.
#[derive(Debug)]
pub(super) struct RowsPart {
    /// Where it starts in the transaction's file.
    pub(super) offset: u64,
    /// Where it ends.
    pub(super) end_offset: u64,
    /// Its number within a compressed transaction.
    pub(super) inner: Option<u32>,
    /// Its header.
    pub(super) header: EventHeader,
    /// What is between header and checksum.
    pub(super) body: Vec<u8>,
    /// The table.
    pub(super) table: Arc<SourceTable>,
    /// How the file's events are framed.
    pub(super) format: Arc<FormatDescription>,
    /// Checks that were off at the source.
    pub(super) checks: Checks,
    /// The statement that wrote the rows, where the source logs it.
    pub(super) annotation: Option<Arc<str>>,
}

impl RowsPart {
    /// The event, taken apart.
    pub(super) fn rows_event(&self) -> Result<RowsEvent<'_>> {
        let event = Event {
            header: self.header,
            body: &self.body,
        };
        RowsEvent::parse(&event, &self.format)
    }
}

/// A statement of the binlog that is a barrier.
#[derive(Clone, Debug)]
pub(super) struct Statement {
    /// Where its event starts.
    pub(super) place: EventPlace,
    /// Where its transaction begins.
    pub(super) begin: Place,
    /// Where its transaction ends.
    pub(super) end: Place,
    /// Its id.
    pub(super) gtid: Option<Gtid>,
    /// When it was committed.
    pub(super) committed: CommitTime,
    /// Its event's header.
    pub(super) header: EventHeader,
    /// The statement, read.
    pub(super) ddl: Ddl,
    /// The session it ran in.
    pub(super) session: SourceSession,
    /// The same for people.
    pub(super) shown_session: Vec<(String, String)>,
    /// What it does to what is known of the source's tables.
    pub(super) changes: Vec<Change>,
    /// What it does to what is known of the source's databases.
    pub(super) schemas: Vec<SchemaChange>,
    /// The tables that it changes, as they were known before it.
    pub(super) before: Vec<Arc<Structure>>,
    /// Whether it runs on the target; else it only changes what is known.
    pub(super) runs: bool,
    /// Whether its transaction goes on behind it, with the new table's rows.
    pub(super) opens: bool,
    /// Whether the reader took it for one that a decision passes over.
    pub(super) is_decided: bool,
}

impl Statement {
    /// The same DROP TABLE for these of its tables alone.
    pub(super) fn dropping(&self, tables: &[TableName], flavor: Flavor) -> Self {
        let names: Vec<String> = tables.iter().map(TableName::quoted).collect();
        let if_exists = if self.ddl.if_exists { "IF EXISTS " } else { "" };
        let text = format!("DROP TABLE {if_exists}{}", names.join(", "));
        let mut narrowed = self.clone();
        narrowed.ddl = Ddl::read(
            text.as_bytes(),
            self.ddl.default_schema(),
            self.ddl.mode(),
            flavor,
        );
        narrowed
            .changes
            .retain(|change| tables.contains(&change.table));
        narrowed
            .before
            .retain(|before| tables.contains(&before.table));
        narrowed
    }
}

/// The session a statement ran in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct SourceSession {
    /// `sql_mode`, as bits.
    pub(super) sql_mode: u64,
    /// `character_set_client`, `collation_connection` and `collation_server`, as numbers.
    pub(super) charset: Option<(u16, u16, u16)>,
    /// `time_zone`.
    pub(super) time_zone: Option<String>,
    /// The statement's time, in microseconds since 1970.
    pub(super) timestamp: Timestamp,
    /// Checks that were off.
    pub(super) checks: Checks,
    /// `auto_increment_increment` and `_offset`.
    pub(super) auto_increment: Option<(u16, u16)>,
    /// The character set that its client sent it in, where it was decoded from that.
    pub(super) client: Option<ClientCharset>,
    /// What decides how the statement's words are meant.
    pub(super) defaults: SessionDefaults,
    /// MariaDB's `sql_if_exists`: IF EXISTS is meant where it is not said.
    pub(super) if_exists: bool,
    /// MariaDB's `check_constraint_checks = 0`.
    pub(super) no_constraint_checks: bool,
}
