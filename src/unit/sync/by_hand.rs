//! Applies transactions for which the operator decided something: what is skipped is kept as a
//! statement, what is repaired is made what the source says; and the decision commits with it.

use std::sync::Arc;
use std::time::SystemTime;

use super::applier::{Applier, End, failed_event};
use super::ddl_run::failed_statement;
use super::explain::{Met, MetRow};
use super::hand::Orders;
use super::plan::Plan;
use super::skipped::{BY_HAND, SkippedChange};
use super::span::Way;
use super::statement::{Origin, Writer};
use super::step::{Next, Reached, SKIPPED_BYTES, STRETCH_BYTES};
use super::transaction::{RowsPart, SourceTable, Statement, Transaction, Unread};
use crate::model::value::RowChange;
use crate::model::{Choice, Decision, Error, ErrorKind, Result, Timestamp};
use crate::target::{Intent, Packet, Part};

/// A change that a decision leaves out, not taken yet: the stretch it is in may still fail before it.
#[derive(Debug)]
pub(super) struct Left {
    at: Next,
    change: SkippedChange,
    decision: Arc<Decision>,
}

impl Applier {
    /// The first transaction of a batch for which something was decided, and those before it.
    pub(super) fn first_decided<'b>(
        &self,
        batch: &'b [Transaction],
    ) -> Option<(&'b Transaction, &'b [Transaction])> {
        let is_quiet = self.hand.is_empty();
        let at = batch.iter().position(|transaction| {
            !transaction.unread.is_empty() || (!is_quiet && self.hand.has_for(transaction))
        })?;
        Some((batch.get(at)?, batch.get(..at)?))
    }

    /// Whether a part of a long transaction goes row by row because something was decided for it.
    pub(super) fn is_decided(&mut self, part: &Transaction) -> bool {
        let is_decided = !part.unread.is_empty() || self.hand.has_for(part);
        if is_decided {
            self.careful = Some(part.begin.clone());
        }
        is_decided
    }

    /// Takes down the events that could not be read.
    pub(super) fn leave_unread(&mut self, part: &Transaction, orders: &Orders) -> Result<(), End> {
        for event in &part.unread {
            let Some(decision) = orders.skips_event(event.offset, event.inner) else {
                // A table map that was left out takes the rows behind it along.
                let Some(decision) = orders.skips_unread() else {
                    return Err(End::from(withdrawn(event)));
                };
                self.keep_unread(part, event, decision)?;
                continue;
            };
            self.keep_unread(part, event, decision)?;
        }
        Ok(())
    }

    fn keep_unread(
        &mut self,
        part: &Transaction,
        event: &Unread,
        decision: &Arc<Decision>,
    ) -> Result<(), End> {
        let at = Timestamp::from(SystemTime::now());
        let change = self.skipper.unread(part, event, decision, at);
        self.keep_left(change, decision).map_err(End::from)
    }

    fn keep_left(&mut self, change: SkippedChange, decision: &Arc<Decision>) -> Result<()> {
        self.mended.skipped_bytes += change.sql.len() + change.raw.as_ref().map_or(0, String::len);
        if self.mended.skipped_bytes > SKIPPED_BYTES {
            return Err(Error::new(
                ErrorKind::Refused,
                format!(
                    "what is skipped of one transaction is more than can be kept: over {} MiB of \
                     statements",
                    SKIPPED_BYTES >> 20
                ),
            )
            .with_fix("skip its events one by one, or copy its tables anew"));
        }
        self.mended.skipped.push(change);
        self.mended.by_hand.skipped += 1;
        self.use_decision(decision);
        Ok(())
    }

    fn use_decision(&mut self, decision: &Arc<Decision>) {
        let used = &mut self.mended.used;
        if !used.iter().any(|known| known.id == decision.id) {
            used.push(Arc::clone(decision));
        }
    }

    /// Takes what a stretch left out, as far as it came.
    pub(super) fn take_left(
        &mut self,
        part: &Transaction,
        left: Vec<Left>,
        behind: Option<Next>,
    ) -> Result<(), End> {
        for Left {
            at,
            change,
            decision,
        } in left
        {
            if behind.is_some_and(|behind| at >= behind) {
                break;
            }
            let kept = self.keep_left(change, &decision);
            if let Err(error) = kept {
                return Err(match part.events.get(at.event) {
                    Some(event) => failed_event(part, event, Some(at.row), error),
                    None => End::from(error),
                });
            }
        }
        Ok(())
    }

    /// Leaves out all rows of an event, also where they, or their table on the target, cannot be read.
    pub(super) async fn leave_event(
        &mut self,
        transaction: &Transaction,
        number: usize,
        decision: &Arc<Decision>,
        left: &mut Vec<Left>,
    ) -> Result<(), End> {
        let Some(event) = transaction.events.get(number) else {
            return Ok(());
        };
        if !self.mark.spans.is_empty()
            && let Ok(plan) = self.plan(&event.table).await
            && matches!(self.way(transaction, event, &plan), Ok(Way::Not))
        {
            // The target has it already, from the dump.
            return Ok(());
        }
        let before = left.len();
        if let Err(error) = self
            .leave_rows(transaction, event, number, decision, left)
            .await
        {
            if matches!(error.kind(), ErrorKind::Connect | ErrorKind::TargetBusy) {
                return Err(failed_event(transaction, event, None, error));
            }
            left.truncate(before);
            let unread = Unread {
                offset: event.offset,
                inner: event.inner,
                kind: event.header.kind.to_string(),
                table: Some(event.table.map.table.clone()),
                statement: None,
                why: error.message().to_owned(),
                body: Some(event.body.clone()),
            };
            let at = Timestamp::from(SystemTime::now());
            left.push(Left {
                at: Next {
                    event: number,
                    row: 0,
                },
                change: self.skipper.unread(transaction, &unread, decision, at),
                decision: Arc::clone(decision),
            });
        }
        Ok(())
    }

    async fn leave_rows(
        &mut self,
        transaction: &Transaction,
        event: &RowsPart,
        number: usize,
        decision: &Arc<Decision>,
        left: &mut Vec<Left>,
    ) -> Result<()> {
        let plan = self.plan_to_keep(&event.table).await?;
        let rows = event.rows_event()?;
        for (row, change) in rows.rows(&event.table.shape)?.enumerate() {
            let row = u32::try_from(row).unwrap_or(u32::MAX);
            let change = change?;
            let found = found(transaction, event, number, row, &plan, &change);
            left.push(self.left(&found, decision)?);
        }
        Ok(())
    }

    /// How the table's changes are written down. Where the target's table is not one that they fit, as
    /// the source's own table takes them.
    async fn plan_to_keep(&mut self, table: &Arc<SourceTable>) -> Result<Arc<Plan>> {
        match self.plan(table).await {
            Ok(plan) => Ok(plan),
            Err(error) if matches!(error.kind(), ErrorKind::Connect | ErrorKind::TargetBusy) => {
                Err(error)
            }
            Err(_) => {
                let mut target = (*table.structure).clone();
                target.table = table.target.clone();
                Ok(Arc::new(Plan::new(&table.structure, &target, true)?))
            }
        }
    }

    fn left(&self, found: &MetRow<'_, '_>, decision: &Arc<Decision>) -> Result<Left> {
        let at = Timestamp::from(SystemTime::now());
        let row = found.origin.row;
        let sql = found.kept()?;
        let mut change =
            self.skipper
                .change(found.transaction, found.event, row, BY_HAND, &sql, at);
        change.decision = Some(decision.id.clone());
        Ok(Left {
            at: Next {
                event: found.origin.event,
                row,
            },
            change,
            decision: Arc::clone(decision),
        })
    }

    /// Writes an event's rows from `row` on, without those that are skipped; ends at one that is to be
    /// dealt with by itself.
    pub(super) fn write_decided(
        &self,
        (writer, way, plan): (&mut Writer, Way, &Arc<Plan>),
        transaction: &Transaction,
        number: usize,
        row: &mut u32,
        orders: &Orders,
        left: &mut Vec<Left>,
    ) -> Result<Option<Reached>> {
        let Some(event) = transaction.events.get(number) else {
            return Ok(None);
        };
        let rows_event = event.rows_event()?;
        for change in rows_event.rows(&event.table.shape)?.skip(*row as usize) {
            let change = change?;
            let next = Next {
                event: number,
                row: *row,
            };
            // What the target has already, from the dump, is neither skipped nor repaired.
            let order = orders.of_row(event, *row).filter(|_| way != Way::Not);
            match order {
                Some(decision) if decision.choice == Choice::Skip => {
                    let found = found(transaction, event, number, *row, plan, &change);
                    left.push(self.left(&found, decision)?);
                }
                Some(_) => return Ok(Some(Reached::Decided(next))),
                None => {
                    let origin = origin(number, *row);
                    way.write(writer, plan, event.checks, &change, origin)?;
                }
            }
            *row += 1;
            if writer.is_over(STRETCH_BYTES) {
                let next = Next {
                    event: number,
                    row: *row,
                };
                return Ok(Some(Reached::Full(next)));
            }
        }
        Ok(None)
    }

    /// Deals with a row by decision, everything before it being in the open transaction; where to go on.
    pub(super) async fn row_by_hand(
        &mut self,
        transaction: &Transaction,
        at: Next,
        orders: &Orders,
    ) -> Result<Next, End> {
        let behind = Next {
            event: at.event,
            row: at.row + 1,
        };
        let Some(event) = transaction.events.get(at.event) else {
            return Ok(behind);
        };
        let located = |error| failed_event(transaction, event, Some(at.row), error);
        let Some(decision) = orders.of_row(event, at.row) else {
            return Ok(behind);
        };
        let plan = match self.plan(&event.table).await {
            Ok(plan) => plan,
            Err(error) => return Err(located(error)),
        };
        let rows = event.rows_event().map_err(located)?;
        let change = rows
            .rows(&event.table.shape)
            .map_err(located)?
            .nth(at.row as usize)
            .ok_or_else(|| located(Error::new(ErrorKind::Internal, "a row that is not there")))?
            .map_err(located)?;
        self.repair(&plan, event, &change)
            .await
            .map_err(|end| match end {
                // A repair that the target refuses stops at the row, like the change itself.
                End::Failed(failure) => located(failure.error),
                other => other,
            })?;
        self.mended.by_hand.repaired += 1;
        self.use_decision(decision);
        Ok(behind)
    }

    /// Writes the decisions that were used into the packet that commits, unless the target has them.
    pub(super) fn record_used(&self, packet: &mut Packet) -> Result<(), End> {
        for decision in &self.mended.used {
            if !self.hand.is_recorded(&decision.id) {
                packet.push(Part::Frame, self.claim.record_decision(decision)?);
            }
        }
        Ok(())
    }

    /// Passes over a statement by decision; its record, the decision and the mark commit together.
    pub(super) async fn statement_by_hand(
        &mut self,
        statement: &Statement,
        decision: &Arc<Decision>,
    ) -> Result<(), End> {
        let located = |error| failed_statement(statement, error);
        let at = Timestamp::from(SystemTime::now());
        let change = self.skipper.statement(statement, decision, at);
        let stored = change.stored(0).map_err(located)?;
        let mut also = self.claim.keep_skipped(&stored);
        also.push(self.claim.record_decision(decision).map_err(located)?);
        let mut mark = self.mark.clone();
        let mut done = None;
        if statement.opens {
            // Its rows follow in the same transaction.
            done = Some(Intent {
                place: statement.place.place.clone(),
                connection_id: 0,
                statement: super::view::shorten(&change.sql, 1000),
                before: Vec::new(),
                after: Vec::new(),
                definitions: Vec::new(),
                step: 0,
                is_done: true,
            });
        } else {
            mark.advance(statement.end.clone(), statement.gtid.as_ref());
        }
        self.claim
            .write_done(
                &mut self.session,
                &mark,
                &statement.changes,
                &statement.schemas,
                done.as_ref(),
                &also,
            )
            .await?;
        self.mark = mark;
        self.is_unwritten = false;
        self.meter.marked(&self.mark);
        self.meter.passed_over(1);
        self.forget_structures();
        self.hand_over_skipped().await?;
        let used = [Arc::clone(decision)];
        self.hand
            .used(&used, &statement.begin, statement.gtid.as_ref())
            .await?;
        Ok(())
    }
}

fn origin(event: usize, row: u32) -> Origin {
    Origin {
        transaction: 0,
        event,
        row,
    }
}

fn found<'a, 'v>(
    transaction: &'a Transaction,
    event: &'a RowsPart,
    number: usize,
    row: u32,
    plan: &'a Plan,
    change: &'a RowChange<'v>,
) -> MetRow<'a, 'v> {
    MetRow {
        transaction,
        event,
        origin: origin(number, row),
        plan,
        change,
        met: Met::Refused,
    }
}

fn withdrawn(event: &Unread) -> Error {
    taken_back(&event.why)
}

/// The error for what was read as skipped, and is not to be skipped any more.
pub(super) fn taken_back(why: &str) -> Error {
    Error::new(
        ErrorKind::Refused,
        format!("an event was to be skipped, and the decision was taken back meanwhile: {why}"),
    )
    .with_fix("retry, then decide again")
}
