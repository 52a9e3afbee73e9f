//! Row changes as the statements of a packet, each with a guard that counts its rows.
//!
//! Like changes of one table share a statement, as far as the order of the others allows. In the careful
//! style every row has a statement of its own, so that the one that fails is known by name.

use std::sync::Arc;

use super::group::{Groups, Limits, Shape};
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
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
    groups: Groups,
    /// The first row of each statement, by the statement's number.
    origins: Vec<Origin>,
    rows: u64,
}

/// A statement of several rows is closed at this size: servers parse long ones no faster.
const STATEMENT_BYTES: usize = 512 * 1024;

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
            groups: Groups::default(),
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
        self.rows += 1;
        let Some(shape) = self.shape(plan, change)? else {
            return Ok(());
        };
        let limits = Limits {
            bytes: STATEMENT_BYTES.min(self.packet_bytes / 2),
            longest: self.statement_bytes,
        };
        let length = self
            .groups
            .add((shape, plan, checks), change, origin, limits)?;
        self.check_length(length)?;
        if self.style == Style::Careful || self.groups.is_full() {
            self.close();
        }
        Ok(())
    }

    /// In what kind of statement a change is written; `None`: it changes nothing.
    fn shape(&self, plan: &Plan, change: &RowChange<'_>) -> Result<Option<Shape>> {
        let is_merged = self.style == Style::Merged;
        let alone = |before, after| Shape::Alone(plan.invalid_members(before, after));
        Ok(Some(match change {
            RowChange::Insert { after } => match alone(None, after) {
                Shape::Alone(0) => Shape::Insert,
                loose => loose,
            },
            RowChange::Delete { .. } if is_merged && plan.shares_deletes() => Shape::Delete,
            RowChange::Delete { .. } => Shape::Alone(0),
            RowChange::Update { before, after } => {
                if plan.is_idle(before, after)? {
                    return Ok(None);
                }
                let shape = alone(Some(before), after);
                match plan.joins(before, after)? {
                    Some(columns) if is_merged && shape == Shape::Alone(0) => {
                        Shape::Update(columns)
                    }
                    _ => shape,
                }
            }
        }))
    }

    /// Whether more than so many bytes are written.
    pub(super) fn is_over(&self, bytes: usize) -> bool {
        !self.packets.is_empty() || self.packet.len() > bytes
    }

    /// Refuses a statement that the target would answer by closing the connection.
    fn check_length(&self, length: usize) -> Result<()> {
        if length <= self.statement_bytes {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Target,
            format!(
                "the statement for one row is {length} bytes long; the target takes {} at most",
                self.statement_bytes
            ),
        )
        .with_fix(format!(
            "`SET GLOBAL max_allowed_packet = {}` on the target, also in its configuration file, then retry",
            (length + (1 << 20)).next_power_of_two()
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
        self.check_length(insert.len())?;
        if invalid > 0 {
            self.push_loose(&insert, invalid, origin);
        } else {
            self.push(&insert, 1, origin);
        }
        Ok(())
    }

    /// A statement that may concern any number of rows.
    fn push_any(&mut self, statement: &[u8], origin: Origin) -> Result<()> {
        self.check_length(statement.len())?;
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

    /// Writes what is gathered: what comes next stays behind it.
    pub(super) fn close(&mut self) {
        for mut group in self.groups.take() {
            self.set_checks(group.checks);
            let (rows, origin) = (group.rows, group.origin);
            match group.shape {
                Shape::Alone(invalid @ 1..) => self.push_loose(group.finish(), invalid, origin),
                _ => self.push(group.finish(), rows, origin),
            }
        }
    }

    fn push(&mut self, statement: &[u8], rows: u64, origin: Origin) {
        let number = self.push_change(statement, origin);
        self.packet.push_guard(Part::Guard(number), rows);
    }

    /// A statement for one row that writes `invalid` invalid members of ENUMs: each is a warning.
    fn push_loose(&mut self, statement: &[u8], invalid: usize, origin: Origin) {
        self.packet.push(Part::Frame, LOOSE);
        let number = self.push_change(statement, origin);
        self.packet
            .push_guard_with_warnings(Part::Guard(number), 1, invalid);
        self.packet.push(Part::Frame, STRICT);
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
