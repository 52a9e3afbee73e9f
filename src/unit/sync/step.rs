//! A transaction row by row: what is done when it failed as a whole, or as a part of a batch.
//!
//! Rows go in stretches, each with a statement and a guard of its own, so the row that meets something
//! else is known, and everything before it is in the open transaction. There it is looked at, and by
//! `on_drift` the stream stops, or the row is left out, or made what the source says; then the next
//! stretch begins behind it.

use std::sync::Arc;
use std::time::SystemTime;

use super::applier::{Applier, End, failed_event, is_passing};
use super::by_hand::Left;
use super::explain::{Met, MetRow};
use super::hand::Orders;
use super::plan::Plan;
use super::skipped::SkippedChange;
use super::span::Way;
use super::split::{end_of, is_size};
use super::statement::{Finished, Origin, Style, Writer};
use super::transaction::{RowsPart, Transaction};
use crate::config::DriftPolicy;
use crate::model::value::RowChange;
use crate::model::{Decision, Error, ErrorKind, Result, Timestamp};
use crate::target::execute::{self, LOOSE, STRICT, Step, is_guard_failure};
use crate::target::{Outcome, Packet, Part};

/// A stretch is closed at this size: what is behind a row that fails is built again.
pub(super) const STRETCH_BYTES: usize = 256 << 10;
/// What one transaction may leave out, in bytes of statements.
pub(super) const SKIPPED_BYTES: usize = 64 << 20;

/// Where the next stretch begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Next {
    pub(super) event: usize,
    pub(super) row: u32,
}

/// Why a stretch ended.
#[derive(Clone, Copy, Debug)]
pub(super) enum Reached {
    /// There is no further row.
    End,
    /// It is large enough.
    Full(Next),
    /// The row there is dealt with by decision, within the transaction.
    Decided(Next),
}

/// What of a transaction was not as the binlog says, and was dealt with.
#[derive(Debug, Default)]
pub(super) struct Mended {
    pub(super) skipped: Vec<SkippedChange>,
    pub(super) skipped_bytes: usize,
    pub(super) repaired: u64,
    /// The operator's decisions that were used.
    pub(super) used: Vec<Arc<Decision>>,
    /// How many of what was left out, or made, was so by decision.
    pub(super) by_hand: ByHand,
}

/// What was done by decision, counted apart from what `on_drift` does.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ByHand {
    pub(super) skipped: u64,
    pub(super) repaired: u64,
}

impl Applier {
    /// Applies a transaction, or a part of a long one, row by row. On an error the transaction is
    /// rolled back.
    pub(super) async fn apply_stepwise(&mut self, part: &Transaction) -> Result<(), End> {
        match self.steps(part).await {
            Ok(()) => Ok(()),
            Err(end) => {
                // The stop is known; a connection that is lost meanwhile undoes the rest itself.
                if let Err(lost) = self.reset().await {
                    tracing::debug!(?lost, "the connection was lost after a stop");
                }
                Err(end)
            }
        }
    }

    async fn steps(&mut self, part: &Transaction) -> Result<(), End> {
        let (opens, closes) = self.frame(part);
        let mut head = Packet::new();
        if opens {
            head.push(Part::Frame, "BEGIN");
            self.claim.sync_fence(&mut head, &self.mark);
            self.mended = Mended::default();
            self.is_split = !closes;
        }
        let mut mark = self.mark.clone();
        if closes {
            part.advance(&mut mark);
        }
        let orders = self.hand.take_for(&part.begin, part.gtid.as_ref());
        self.leave_unread(part, &orders)?;
        let mut next = Some(Next::default());
        let mut rows = 0;
        while let Some(from) = next {
            let mut writer = self.writer(Style::Careful, std::mem::take(&mut head));
            let mut left = Vec::new();
            let reached = self
                .stretch(&mut writer, part, from, &orders, &mut left)
                .await?;
            let stretch = writer.pause();
            match self.step_through(&stretch.packets).await {
                Step::Ran => {
                    rows += stretch.rows;
                    self.take_left(part, left, None)?;
                    next = match reached {
                        Reached::End => None,
                        Reached::Full(next) => Some(next),
                        Reached::Decided(at) => Some(self.row_by_hand(part, at, &orders).await?),
                    };
                }
                Step::Unknown { error } => return Err(End::Again(Box::new(error.into()))),
                Step::Stopped {
                    part: place,
                    error,
                    before,
                } => {
                    let met = Met::of(place, &error, before);
                    let behind = self.stopped(part, &stretch, place, met, error).await?;
                    rows += rows_before(&stretch, place);
                    // What is behind it is gone through once more.
                    self.take_left(part, left, Some(behind))?;
                    next = Some(behind);
                }
            }
        }
        if closes {
            self.write_skipped().await?;
            let mut tail = Packet::new();
            self.record_used(&mut tail)?;
            self.claim.sync_fence(&mut tail, &mark);
            tail.push(Part::Frame, "COMMIT");
            let alone = std::slice::from_ref(part);
            match execute::run(&mut self.session, &tail).await {
                Outcome::Committed => {}
                Outcome::Refused { part, error } => {
                    return Err(end_of(alone, error, |error| {
                        self.refusal(Outcome::Refused { part, error })
                    }));
                }
                Outcome::Unknown { error } => {
                    return Err(end_of(alone, error, |error| {
                        self.refusal(Outcome::Unknown { error })
                    }));
                }
            }
            let has_skipped = !self.mended.skipped.is_empty();
            let used = std::mem::take(&mut self.mended.used);
            self.stepped(part, mark, rows);
            if has_skipped {
                self.hand_over_skipped().await?;
            }
            if part.is_last && !orders.is_empty() {
                let gtid = part.gtid.as_ref();
                self.hand.used(&used, &part.begin, gtid).await?;
            } else {
                self.hand.recorded(&used);
            }
        } else {
            self.meter.passed_over(part.passed);
            self.meter.applied(0, rows);
            self.show_lag(part.committed);
        }
        Ok(())
    }

    /// Writes rows from `from` on, as many as a stretch takes; where the next one begins, if there is one.
    async fn stretch(
        &mut self,
        writer: &mut Writer,
        transaction: &Transaction,
        from: Next,
        orders: &Orders,
        left: &mut Vec<Left>,
    ) -> Result<Reached, End> {
        for (number, event) in transaction.events.iter().enumerate().skip(from.event) {
            let first = if number == from.event { from.row } else { 0 };
            if let Some(decision) = orders.skips_event(event.offset, event.inner) {
                self.leave_event(transaction, number, decision, left)
                    .await?;
                continue;
            }
            let mut row = first;
            let (plan, way) = self.plan_and_way(transaction, event).await?;
            if orders.is_empty() {
                let is_full = write_rows(writer, &plan, way, event, number, &mut row)
                    .map_err(|error| failed_event(transaction, event, Some(row), error))?;
                if is_full {
                    return Ok(Reached::Full(Next { event: number, row }));
                }
                continue;
            }
            let into = (&mut *writer, way, &plan);
            match self.write_decided(into, transaction, number, &mut row, orders, left) {
                Ok(None) => {}
                Ok(Some(reached)) => return Ok(reached),
                Err(error) => return Err(failed_event(transaction, event, Some(row), error)),
            }
        }
        Ok(Reached::End)
    }

    async fn step_through(&mut self, packets: &[Packet]) -> Step {
        for packet in packets {
            match execute::step(&mut self.session, packet).await {
                Step::Ran => {}
                other => return other,
            }
        }
        Step::Ran
    }

    /// Deals with the row at which a stretch stopped; where to go on.
    async fn stopped(
        &mut self,
        transaction: &Transaction,
        stretch: &Finished,
        place: Part,
        met: Met,
        error: Error,
    ) -> Result<Next, End> {
        let origin = place.number().and_then(|number| stretch.origin(number));
        let Some(origin) = origin else {
            return Err(self.refusal(Outcome::Refused { part: place, error }));
        };
        let Some(event) = transaction.events.get(origin.event) else {
            return Err(End::from(error));
        };
        if is_passing(&error) || is_size(&error) {
            return Err(end_of(std::slice::from_ref(transaction), error, |error| {
                failed_event(transaction, event, Some(origin.row), error)
            }));
        }
        // The stretch may have left the checks of its last event.
        self.set_checks_back().await?;
        let plan = match self.plan(&event.table).await {
            Ok(plan) => plan,
            Err(error) => return Err(failed_event(transaction, event, Some(origin.row), error)),
        };
        let located = |error| failed_event(transaction, event, Some(origin.row), error);
        let rows_event = event.rows_event().map_err(located)?;
        let change = rows_event
            .rows(&event.table.shape)
            .map_err(located)?
            .nth(origin.row as usize)
            .ok_or_else(|| located(Error::new(ErrorKind::Internal, "a row that is not there")))?
            .map_err(located)?;
        let found = MetRow {
            transaction,
            event,
            origin,
            plan: &plan,
            change: &change,
            met,
        };
        let is_upsert = self.upserts(event, &plan, met).await?;
        let policy = if is_upsert {
            DriftPolicy::Repair
        } else {
            self.on_drift
        };
        if met == Met::Collides
            && policy != DriftPolicy::Pause
            && let Some(both) = self.folded(&plan).await?
        {
            return Err(self.explain_folded(found, error, &both).await);
        }
        match policy {
            DriftPolicy::Warn if met.is_drift() => self.leave_out(&found)?,
            DriftPolicy::Repair if met.is_drift() => {
                self.repair(&plan, event, &change)
                    .await
                    .map_err(|end| match end {
                        // A repair that the target refuses stops at the row, like the change itself.
                        End::Failed(failure) => found.failed(failure.error),
                        other => other,
                    })?;
                if !is_upsert {
                    self.mended.repaired += 1;
                }
            }
            _ => return Err(self.explain(found, error).await),
        }
        Ok(Next {
            event: origin.event,
            row: origin.row + 1,
        })
    }

    async fn set_checks_back(&mut self) -> Result<(), End> {
        self.session
            .execute(b"SET SESSION foreign_key_checks = 1, unique_checks = 1")
            .await?;
        self.session.execute(STRICT.as_bytes()).await?;
        Ok(())
    }

    /// Whether a row that is not as the binlog says is so because filters leave out others of the table's
    /// changes: then it is made what the source says, whatever `on_drift` is. A target table that takes
    /// rows of other tables too may have that row from them.
    async fn upserts(&mut self, event: &RowsPart, plan: &Plan, met: Met) -> Result<bool, End> {
        let table = &event.table;
        if !table.is_partial || !met.is_drift() || !plan.has_key() {
            return Ok(false);
        }
        let pair = (table.map.table.clone(), table.target.clone());
        let is_shared = self.claim.is_shared(&mut self.session, &pair).await?;
        Ok(!is_shared)
    }

    /// `on_drift = "warn"`: the target's row stays as it is.
    fn leave_out(&mut self, found: &MetRow<'_, '_>) -> Result<(), End> {
        let sql = found.statement().map_err(|error| found.failed(error))?;
        let at = Timestamp::from(SystemTime::now());
        let change = self.skipper.change(
            found.transaction,
            found.event,
            found.origin.row,
            found.met.name(),
            &sql,
            at,
        );
        self.mended.skipped_bytes += change.sql.len();
        self.mended.skipped.push(change);
        if self.mended.skipped_bytes > SKIPPED_BYTES {
            return Err(found.failed(
                Error::new(
                    ErrorKind::Drift,
                    "one transaction has more rows that differ on the target than can be kept apart",
                )
                .with_fix("copy the table anew: its rows on the target are not those of the source"),
            ));
        }
        Ok(())
    }

    /// `on_drift = "repair"`: makes the row what the source says. What cannot be made so without
    /// changing other rows, or without knowing which row is meant, stops at the row.
    pub(super) async fn repair(
        &mut self,
        plan: &Arc<Plan>,
        event: &RowsPart,
        change: &RowChange<'_>,
    ) -> Result<(), End> {
        let changes_old = !matches!(change, RowChange::Insert { .. });
        let cascades = event
            .table
            .cascades
            .as_ref()
            .is_some_and(|of| !of.is_empty());
        if changes_old && cascades {
            return Err(End::from(
                Error::new(
                    ErrorKind::Drift,
                    "the row has rows of other tables behind it, which a repair would leave as they are",
                )
                .with_fix("make the row and those behind it what the source has by hand, then retry"),
            ));
        }
        if changes_old && !plan.has_key() {
            return Err(End::from(
                Error::new(
                    ErrorKind::Drift,
                    "without a key on both sides nothing tells which row of the target to repair",
                )
                .with_fix("make the row what it was on the source by hand, then retry"),
            ));
        }
        self.session
            .execute(b"SET SESSION foreign_key_checks = 0")
            .await?;
        match change {
            RowChange::Insert { after } => self.make(plan, after, after).await?,
            RowChange::Update { before, after } => self.make(plan, before, after).await?,
            RowChange::Delete { before } => {
                // Without a key it is gone already: all of it was looked for.
                if let Some(delete) = plan.write_delete_by_key(before)? {
                    self.write(&delete, 0).await?;
                }
            }
        }
        self.set_checks_back().await
    }

    /// Makes the row under the key of `old` what `new` is, whatever was there.
    async fn make(
        &mut self,
        plan: &Plan,
        old: &crate::model::value::Row<'_>,
        new: &crate::model::value::Row<'_>,
    ) -> Result<(), End> {
        for select in plan.select_in_the_way(new, old)? {
            if !self.session.rows(&select).await?.is_empty() {
                return Err(End::from(
                    Error::new(
                        ErrorKind::Drift,
                        "another row of the target holds a unique value of this one, and a repair does \
                         not take rows away",
                    )
                    .with_fix("change or delete that row by hand, then retry"),
                ));
            }
        }
        let invalid = plan.invalid_members(None, new);
        if invalid > 0 {
            self.session.execute(LOOSE.as_bytes()).await?;
        }
        if let Some(update) = plan.write_make(old, new)?
            && self.write(&update, invalid).await? > 0
        {
            return Ok(());
        }
        let mut insert = Vec::new();
        plan.begin_insert(&mut insert);
        plan.write_row(&mut insert, new)?;
        self.write(&insert, invalid).await?;
        Ok(())
    }

    /// Runs a statement of a repair, which may change any number of rows but no value: it raises a
    /// warning for each invalid member of an ENUM, and no more.
    async fn write(&mut self, statement: &[u8], invalid: usize) -> Result<u64, End> {
        let done = self.session.execute(statement).await?;
        if usize::from(done.warnings) > invalid {
            return Err(End::from(super::explain::altered(done.warnings)));
        }
        Ok(done.affected)
    }

    /// Writes what was left out into the open transaction, so that it is there if that commits.
    async fn write_skipped(&mut self) -> Result<(), End> {
        let mut packet = Packet::new();
        for (number, change) in self.mended.skipped.iter().enumerate() {
            for statement in self.claim.keep_skipped(&change.stored(number)?) {
                if !packet.is_empty() && packet.len() + statement.len() > self.packet_bytes {
                    let full = std::mem::take(&mut packet);
                    settled(execute::step(&mut self.session, &full).await)?;
                }
                packet.push(Part::Frame, statement);
            }
        }
        if packet.is_empty() {
            return Ok(());
        }
        settled(execute::step(&mut self.session, &packet).await)
    }

    /// Hands over what was left out, and is committed so, to the task's file. What is in the target
    /// still, because this was cut off, is handed over at the next start.
    pub(super) async fn hand_over_skipped(&mut self) -> Result<(), End> {
        let records = self.claim.skipped(&mut self.session).await?;
        if records.is_empty() {
            return Ok(());
        }
        let changes = records
            .iter()
            .map(SkippedChange::read)
            .collect::<Result<Vec<_>>>()?;
        let keep = Arc::clone(&self.skipper.keep);
        match tokio::task::spawn_blocking(move || keep(changes)).await {
            Ok(kept) => kept?,
            Err(why) => {
                return Err(End::from(
                    Error::new(ErrorKind::Panicked, "keeping the skipped changes failed")
                        .with_source(why),
                ));
            }
        }
        self.claim.forget_skipped(&mut self.session).await?;
        Ok(())
    }
}

fn settled(step: Step) -> Result<(), End> {
    match step {
        Step::Ran => Ok(()),
        Step::Stopped { error, .. } => Err(End::from(error)),
        Step::Unknown { error } => Err(End::Again(Box::new(error.into()))),
    }
}

/// Writes an event's rows from `row` on; whether the stretch is full before its end.
fn write_rows(
    writer: &mut Writer,
    plan: &Arc<Plan>,
    way: Way,
    event: &RowsPart,
    number: usize,
    row: &mut u32,
) -> Result<bool> {
    let rows_event = event.rows_event()?;
    for change in rows_event.rows(&event.table.shape)?.skip(*row as usize) {
        let origin = Origin {
            transaction: 0,
            event: number,
            row: *row,
        };
        way.write(writer, plan, event.checks, &change?, origin)?;
        *row += 1;
        if writer.is_over(STRETCH_BYTES) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// How many rows of a stretch are in the transaction when it stopped there.
fn rows_before(stretch: &Finished, place: Part) -> u64 {
    match place {
        Part::Change(number) | Part::Guard(number) => number as u64,
        Part::Frame | Part::Fence => stretch.rows,
    }
}

impl Met {
    /// What a stretch met where it stopped.
    fn of(place: Part, error: &Error, before: crate::connect::Done) -> Self {
        match place {
            Part::Guard(_) if is_guard_failure(error) => match (before.affected, before.warnings) {
                (_, warnings @ 1..) => Self::Altered(warnings),
                (0, _) => Self::Missing,
                _ => Self::Several(before.affected),
            },
            Part::Change(_) if super::explain::is_duplicate(error) => Self::Collides,
            _ => Self::Refused,
        }
    }
}
