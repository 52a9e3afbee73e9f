//! Row changes as the statements of a packet, each with a guard that counts its rows.
//!
//! Like changes that follow each other on one table share a statement: nothing stands between them,
//! so the source's order is kept. In the careful style every row has a statement of its own, so that
//! the one that fails is known by name.

use std::sync::Arc;

use super::plan::Plan;
use super::transaction::{RowsPart, Transaction};
use crate::model::value::RowChange;
use crate::model::{Error, ErrorKind, Result};
use crate::target::execute::{LOOSE, STRICT};
use crate::target::{Packet, Part};

/// How rows become statements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    /// Like changes share a statement.
    Merged,
    /// A statement a row.
    Careful,
}

/// Checks that the source's session had switched off for a rows event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Checks {
    /// `foreign_key_checks = 0`.
    pub(super) no_foreign_keys: bool,
    /// `unique_checks = 0`.
    pub(super) relaxed_unique: bool,
}

/// Which row of which event of which transaction of the batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Origin {
    /// The transaction's number in the batch.
    pub(super) transaction: usize,
    /// The event's number in the transaction.
    pub(super) event: usize,
    /// The row's number in the event.
    pub(super) row: u32,
}

/// Statements of a target transaction, in packets the target takes.
#[derive(Debug)]
pub(super) struct Writer {
    style: Style,
    packet_bytes: usize,
    statement_bytes: usize,
    packets: Vec<Packet>,
    packet: Packet,
    checks: Checks,
    open: Option<Open>,
    /// The first row of each statement, by the statement's number.
    origins: Vec<Origin>,
    rows: u64,
}

#[derive(Debug)]
struct Open {
    kind: Kind,
    plan: Arc<Plan>,
    statement: Vec<u8>,
    rows: u64,
    origin: Origin,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Insert,
    Delete,
}

/// A statement of several rows is closed at this size: servers parse long ones no faster.
const STATEMENT_BYTES: usize = 512 * 1024;
const STATEMENT_ROWS: u64 = 1000;

impl Writer {
    /// Goes on with `packet`, which has the fence. Packets are closed at about `packet_bytes`; the
    /// target takes no statement longer than `statement_bytes`.
    pub(super) fn new(
        style: Style,
        packet: Packet,
        packet_bytes: usize,
        statement_bytes: usize,
    ) -> Self {
        Self {
            style,
            packet_bytes,
            statement_bytes,
            packets: Vec::new(),
            packet,
            checks: Checks::default(),
            open: None,
            origins: Vec::new(),
            rows: 0,
        }
    }

    /// Adds a row's change.
    pub(super) fn write(
        &mut self,
        plan: &Arc<Plan>,
        checks: Checks,
        change: &RowChange<'_>,
        origin: Origin,
    ) -> Result<()> {
        if !checks.no_foreign_keys {
            for key in &plan.unmatched {
                key.check(change, &plan.source, &plan.target)?;
            }
        }
        if checks != self.checks {
            self.close();
            self.set_checks(checks);
        }
        self.rows += 1;
        match change {
            RowChange::Insert { after } if plan.invalid_members(None, after) > 0 => {
                self.close();
                let mut statement = Vec::new();
                plan.begin_insert(&mut statement);
                plan.write_row(&mut statement, after)?;
                self.push_loose(&statement, plan.invalid_members(None, after), origin)?;
            }
            RowChange::Insert { after } => {
                self.open(Kind::Insert, plan, origin);
                if let Some(open) = &mut self.open {
                    if open.rows == 0 {
                        plan.begin_insert(&mut open.statement);
                    } else {
                        open.statement.extend_from_slice(b", ");
                    }
                    plan.write_row(&mut open.statement, after)?;
                    open.rows += 1;
                }
                self.close_if_full()?;
            }
            RowChange::Delete { before }
                if self.style == Style::Merged && plan.shares_deletes() =>
            {
                self.open(Kind::Delete, plan, origin);
                if let Some(open) = &mut self.open {
                    if open.rows == 0 {
                        plan.begin_delete(&mut open.statement);
                    } else {
                        open.statement.extend_from_slice(b", ");
                    }
                    plan.write_key(&mut open.statement, before)?;
                    open.rows += 1;
                }
                self.close_if_full()?;
            }
            RowChange::Delete { before } => {
                self.close();
                let mut statement = Vec::new();
                plan.write_delete(&mut statement, before)?;
                self.check_length(&statement)?;
                self.push(&statement, 1, origin);
            }
            RowChange::Update { before, after } => {
                self.close();
                let mut statement = Vec::new();
                if plan.write_update(&mut statement, before, after)? {
                    let invalid = plan.invalid_members(Some(before), after);
                    if invalid > 0 {
                        return self.push_loose(&statement, invalid, origin);
                    }
                    self.check_length(&statement)?;
                    self.push(&statement, 1, origin);
                }
            }
        }
        Ok(())
    }

    /// Whether more than so many bytes are written.
    pub(super) fn is_over(&self, bytes: usize) -> bool {
        !self.packets.is_empty() || self.packet.len() > bytes
    }

    /// Refuses a statement that the target would answer by closing the connection.
    fn check_length(&self, statement: &[u8]) -> Result<()> {
        if statement.len() <= self.statement_bytes {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Target,
            format!(
                "the statement for one row is {} bytes long; the target takes {} at most",
                statement.len(),
                self.statement_bytes
            ),
        )
        .with_fix(format!(
            "`SET GLOBAL max_allowed_packet = {}` on the target, also in its configuration file, then retry",
            (statement.len() + (1 << 20)).next_power_of_two()
        )))
    }

    /// Adds a row's change so that it does not matter whether it is in the target already: what is
    /// under the old key and under the new one's unique values goes, and the new row comes.
    pub(super) fn write_anyway(
        &mut self,
        plan: &Arc<Plan>,
        checks: Checks,
        change: &RowChange<'_>,
        origin: Origin,
    ) -> Result<()> {
        self.close();
        // A parent may be missing, or still there, until its own table is at the same moment.
        self.set_checks(Checks {
            no_foreign_keys: true,
            ..checks
        });
        self.rows += 1;
        let (before, after) = match change {
            RowChange::Insert { after } => (None, Some(after)),
            RowChange::Update { before, after } => (Some(before), Some(after)),
            RowChange::Delete { before } => (Some(before), None),
        };
        if let Some(delete) = before
            .map(|row| plan.write_delete_by_key(row))
            .transpose()?
            .flatten()
        {
            self.push_any(&delete, origin)?;
        }
        let Some(after) = after else { return Ok(()) };
        for delete in plan.write_room_in_span(after)? {
            self.push_any(&delete, origin)?;
        }
        let mut insert = Vec::new();
        plan.begin_insert(&mut insert);
        plan.write_row(&mut insert, after)?;
        let invalid = plan.invalid_members(None, after);
        if invalid > 0 {
            return self.push_loose(&insert, invalid, origin);
        }
        self.check_length(&insert)?;
        self.push(&insert, 1, origin);
        Ok(())
    }

    /// A statement that may concern any number of rows.
    fn push_any(&mut self, statement: &[u8], origin: Origin) -> Result<()> {
        self.check_length(statement)?;
        let number = self.push_change(statement, origin);
        self.packet.push_guard_of_warnings(Part::Guard(number));
        Ok(())
    }

    /// Rows taken so far.
    pub(super) fn rows(&self) -> u64 {
        self.rows
    }

    /// Closes what is open and sets the checks back; the transaction stays open.
    pub(super) fn pause(mut self) -> Finished {
        self.close();
        self.set_checks(Checks::default());
        self.into_finished()
    }

    /// Closes what is open, sets the checks back and commits.
    pub(super) fn finish(mut self) -> Finished {
        self.close();
        self.set_checks(Checks::default());
        self.packet.push(Part::Frame, "COMMIT");
        self.into_finished()
    }

    fn into_finished(mut self) -> Finished {
        if !self.packet.is_empty() {
            self.packets.push(self.packet);
        }
        Finished {
            packets: self.packets,
            origins: self.origins,
            rows: self.rows,
        }
    }

    /// Adds a statement of the checkpoint in front of the COMMIT.
    pub(super) fn with_packet(&mut self, add: impl FnOnce(&mut Packet)) {
        self.close();
        add(&mut self.packet);
    }

    fn open(&mut self, kind: Kind, plan: &Arc<Plan>, origin: Origin) {
        let goes_on = self.style == Style::Merged
            && self
                .open
                .as_ref()
                .is_some_and(|open| open.kind == kind && Arc::ptr_eq(&open.plan, plan));
        if !goes_on {
            self.close();
            self.open = Some(Open {
                kind,
                plan: Arc::clone(plan),
                statement: Vec::new(),
                rows: 0,
                origin,
            });
        }
    }

    fn close_if_full(&mut self) -> Result<()> {
        if let Some(open) = &self.open {
            self.check_length(&open.statement)?;
        }
        if self.open.as_ref().is_some_and(|open| {
            open.statement.len() >= STATEMENT_BYTES.min(self.packet_bytes / 2)
                || open.rows >= STATEMENT_ROWS
        }) {
            self.close();
        }
        Ok(())
    }

    fn close(&mut self) {
        if let Some(mut open) = self.open.take() {
            if open.kind == Kind::Delete {
                open.statement.push(b')');
            }
            self.push(&open.statement, open.rows, open.origin);
        }
    }

    fn push(&mut self, statement: &[u8], rows: u64, origin: Origin) {
        let number = self.push_change(statement, origin);
        self.packet.push_guard(Part::Guard(number), rows);
    }

    /// A statement for one row that writes `invalid` invalid members of ENUMs: each is a warning.
    fn push_loose(&mut self, statement: &[u8], invalid: usize, origin: Origin) -> Result<()> {
        self.check_length(statement)?;
        self.packet.push(Part::Frame, LOOSE);
        let number = self.push_change(statement, origin);
        self.packet
            .push_guard_with_warnings(Part::Guard(number), 1, invalid);
        self.packet.push(Part::Frame, STRICT);
        Ok(())
    }

    fn push_change(&mut self, statement: &[u8], origin: Origin) -> usize {
        if !self.packet.is_empty() && self.packet.len() + statement.len() > self.packet_bytes {
            self.packets.push(std::mem::take(&mut self.packet));
        }
        let number = self.origins.len();
        self.origins.push(origin);
        self.packet.push(Part::Change(number), statement);
        number
    }

    fn set_checks(&mut self, checks: Checks) {
        if checks == self.checks {
            return;
        }
        self.packet.push(
            Part::Frame,
            format!(
                "SET SESSION foreign_key_checks = {}, unique_checks = {}",
                u8::from(!checks.no_foreign_keys),
                u8::from(!checks.relaxed_unique)
            ),
        );
        self.checks = checks;
    }
}

/// A whole target transaction.
#[derive(Debug)]
pub(super) struct Finished {
    /// What is sent, one after the other's answer.
    pub(super) packets: Vec<Packet>,
    origins: Vec<Origin>,
    /// Rows changed.
    pub(super) rows: u64,
}

impl Finished {
    /// The first row of the statement of that number.
    pub(super) fn origin(&self, statement: usize) -> Option<Origin> {
        self.origins.get(statement).copied()
    }

    /// The event that the statement of that number is of.
    pub(super) fn event<'a>(
        &self,
        batch: &'a [Transaction],
        statement: usize,
    ) -> Option<(&'a Transaction, &'a RowsPart)> {
        let origin = self.origin(statement)?;
        let transaction = batch.get(origin.transaction)?;
        Some((transaction, transaction.events.get(origin.event)?))
    }
}
