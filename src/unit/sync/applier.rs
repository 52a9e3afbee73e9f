//! Writes to the target: batches of whole transactions with the mark, long transactions in parts, and
//! statements.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::SystemTime;

use super::cascade::Graph;
use super::failure::{FailedEvent, Failure, stop_id};
use super::hand::Hand;
use super::join::Join;
use super::meter::{Lag, Meter};
use super::order::{Order, Ties};
use super::plan::Plan;
use super::skipped::Skipper;
use super::span::Way;
use super::split::{Cut, TooLarge, end_of, is_size};
use super::statement::{Finished, Origin, Style, Writer};
use super::step::{ByHand, Mended};
use super::transaction::{CommitTime, Passed, RowsPart, SourceTable, Transaction};
use super::view;
use crate::config::DriftPolicy;
use crate::connect::Session;
use crate::model::{Error, ErrorKind, Place, Result, TableName, Timestamp};
use crate::schema::Structure;
use crate::source::structure::read_structures_of;
use crate::target::execute::{self, STRICT};
use crate::target::text::literal;
use crate::target::{Claim, Mark, Outcome, Packet, Part};

/// Why applying ended.
#[derive(Debug)]
pub(super) enum End {
    /// The stream stops and shows it.
    Failed(Box<Failure>),
    /// The target was busy or lost: from the checkpoint again.
    Again(Box<Failure>),
    /// The long transaction that begins there is to be applied row by row.
    Careful(Place),
    /// The target takes no transaction of that size: from the checkpoint again, in smaller parts.
    TooLarge(TooLarge),
}

impl From<Error> for End {
    /// What may pass is tried again; all else is shown.
    fn from(error: Error) -> Self {
        match error.kind() {
            ErrorKind::TargetBusy | ErrorKind::Connect => Self::Again(Box::new(error.into())),
            _ => Self::Failed(Box::new(error.into())),
        }
    }
}

/// Plans are kept for this many table maps.
const PLANS: usize = 4096;

/// The target's end of a stream.
pub(super) struct Applier {
    pub(super) session: Session,
    pub(super) claim: Claim,
    pub(super) meter: Arc<Meter>,
    /// Everything up to here is applied or passed.
    pub(super) mark: Mark,
    /// Whether the checkpoint lacks the mark.
    pub(super) is_unwritten: bool,
    /// The source's clock minus ours, in microseconds.
    pub(super) clock_offset_micros: i64,
    pub(super) verifies_all: bool,
    pub(super) packet_bytes: usize,
    /// No further transaction is put into a target transaction of this many rows.
    pub(super) batch_rows: u64,
    /// What is done where the target's rows are not what the binlog says.
    pub(super) on_drift: DriftPolicy,
    /// Where changes go that are left out.
    pub(super) skipper: Skipper,
    /// What the operator decided.
    pub(super) hand: Arc<Hand>,
    /// What of the transaction that is applied row by row was dealt with so far.
    pub(super) mended: Mended,
    /// The longest statement that the target takes.
    pub(super) statement_bytes: usize,
    /// A long transaction that begins here is applied row by row.
    pub(super) careful: Option<Place>,
    /// Whether a long transaction is open on the target.
    pub(super) is_split: bool,
    /// Which transactions commit in parts.
    pub(super) cut: Cut,
    targets: HashMap<TableName, Arc<Structure>>,
    /// The foreign keys of the target that change children; read when first needed.
    pub(super) target_graph: Option<Graph>,
    /// The task's tables on the target, as far as they were there at the start.
    pub(super) tables: HashSet<TableName>,
    /// The foreign keys of the tables that were met.
    ties: Ties,
    /// By the address of the source table, which is kept along so that it stays its own.
    plans: HashMap<usize, (Arc<SourceTable>, Arc<Plan>)>,
}

impl Applier {
    /// An applier that goes on at `mark`.
    pub(super) fn new(
        session: Session,
        claim: Claim,
        meter: Arc<Meter>,
        mark: Mark,
        settings: Settings,
    ) -> Self {
        Self {
            session,
            claim,
            meter,
            mark,
            is_unwritten: false,
            clock_offset_micros: settings.clock_offset_micros,
            verifies_all: settings.verifies_all,
            packet_bytes: settings.packet_bytes,
            batch_rows: settings.batch_rows,
            on_drift: settings.on_drift,
            skipper: settings.skipper,
            hand: settings.hand,
            mended: Mended::default(),
            statement_bytes: settings.statement_bytes,
            careful: settings.careful,
            is_split: false,
            cut: settings.cut,
            targets: HashMap::new(),
            target_graph: None,
            tables: settings.tables,
            ties: Ties::default(),
            plans: HashMap::new(),
        }
    }

    /// The target's tables may look different now.
    pub(super) fn forget_structures(&mut self) {
        self.targets.clear();
        self.plans.clear();
        self.ties = Ties::default();
        self.target_graph = None;
    }

    /// Nothing of the task up to there.
    pub(super) fn pass(&mut self, passed: Passed) {
        self.mark.advance(passed.end, passed.gtid.as_ref());
        if let Some(change) = &passed.xa {
            self.mark.settle_xa(change);
        }
        self.is_unwritten = true;
        self.meter.passed_over(passed.events);
    }

    /// Writes the mark, if the checkpoint lacks it; never within a long transaction, whose open part a
    /// BEGIN would commit.
    pub(super) async fn flush(&mut self) -> Result<(), End> {
        if !self.is_unwritten || self.is_split {
            return Ok(());
        }
        self.claim.write_mark(&mut self.session, &self.mark).await?;
        self.is_unwritten = false;
        self.meter.marked(&self.mark);
        Ok(())
    }

    /// Applies whole transactions in as few target transactions as `batch_rows` allows.
    pub(super) async fn apply(&mut self, batch: &[Transaction]) -> Result<(), End> {
        let mut rest = batch;
        while !rest.is_empty() {
            let taken = self.apply_some(rest).await?;
            rest = rest.get(taken.max(1)..).unwrap_or_default();
        }
        Ok(())
    }

    /// Applies the first transactions of a batch as one target transaction; if that fails, one after
    /// the other. Gives how many they were.
    async fn apply_some(&mut self, batch: &[Transaction]) -> Result<usize, End> {
        let batch = match self.first_decided(batch) {
            Some((transaction, [])) => {
                self.apply_stepwise(transaction).await?;
                return Ok(1);
            }
            Some((_, before)) => before,
            None => batch,
        };
        let Built {
            packed,
            taken,
            refused,
        } = self.build(batch).await?;
        let batch = batch.get(..taken).unwrap_or(batch);
        let outcome = self.send(&packed.packets).await;
        if let Outcome::Committed = outcome
            && refused.is_none()
        {
            self.committed(batch, packed.rows);
            self.cut.singles = self.cut.singles.saturating_sub(taken);
            return Ok(taken);
        }
        if let Outcome::Refused { part, error } = &outcome {
            self.reset().await?;
            if *part == Part::Fence {
                return Err(self.refusal(outcome));
            }
            let part = *part;
            if is_passing(error) || is_size(error) {
                let met = part.number().and_then(|number| packed.event(batch, number));
                let Outcome::Refused { error, .. } = outcome else {
                    return Err(self.refusal(outcome));
                };
                return Err(end_of(batch, error, |error| match met {
                    Some((transaction, event)) => failed_event(transaction, event, None, error),
                    None => self.refusal(Outcome::Refused { part, error }),
                }));
            }
        } else if let Outcome::Unknown { error } = outcome {
            return Err(end_of(batch, error, |error| {
                self.refusal(Outcome::Unknown { error })
            }));
        } else {
            // All before the transaction that cannot be decoded is in.
            let done = refused.as_ref().map_or(batch.len(), |(index, _)| *index);
            self.committed(batch.get(..done).unwrap_or(batch), packed.rows);
            return match refused {
                Some((_, failure)) => Err(End::Failed(failure)),
                None => Ok(taken),
            };
        }
        for transaction in batch {
            self.apply_stepwise(transaction).await?;
        }
        Ok(taken)
    }

    /// How many rows a target transaction may have before no further transaction is put into it; 0:
    /// each transaction stands alone, whatever it has.
    fn rows_limit(&self) -> u64 {
        if self.cut.singles > 0 {
            0
        } else {
            self.batch_rows
        }
    }

    /// Whether a part of a transaction begins a target transaction, and whether it ends one.
    pub(super) fn frame(&self, part: &Transaction) -> (bool, bool) {
        let is_cut = self.cut.applies_to(part) || self.mark.part.is_some();
        (part.is_first || is_cut, part.is_last || is_cut)
    }

    /// A writer of statements as the target takes them.
    pub(super) fn writer(&self, style: Style, head: Packet) -> Writer {
        Writer::new(style, head, self.packet_bytes, self.statement_bytes)
    }

    /// A transaction, or a part that commits, was applied row by row.
    pub(super) fn stepped(&mut self, part: &Transaction, mark: Mark, rows: u64) {
        self.is_split = false;
        if part.is_last {
            self.careful = None;
        }
        self.mark = mark;
        self.is_unwritten = false;
        let mended = std::mem::take(&mut self.mended);
        let ByHand { skipped, repaired } = mended.by_hand;
        self.meter.mended(
            (mended.skipped.len() as u64).saturating_sub(skipped),
            mended.repaired.saturating_sub(repaired),
        );
        self.meter.passed_over(part.passed);
        self.meter.marked(&self.mark);
        self.meter.applied(u64::from(part.is_last), rows);
        self.show_lag(part.committed);
    }

    /// Applies a part of a long transaction; the last one commits.
    pub(super) async fn apply_part(&mut self, part: &Transaction) -> Result<(), End> {
        if self.careful.as_ref() == Some(&part.begin) || self.is_decided(part) {
            return self.apply_stepwise(part).await;
        }
        let (opens, closes) = self.frame(part);
        if !part.is_last && closes {
            self.meter.cut(part);
        }
        let mut head = Packet::new();
        if opens {
            head.push(Part::Frame, "BEGIN");
            // Locks the row and proves the epoch; the mark moves with the COMMIT.
            self.claim.sync_fence(&mut head, &self.mark);
            self.is_split = true;
        }
        self.meet(std::slice::from_ref(part)).await;
        let mut writer = self.writer(Style::Merged, head);
        if let Err(failure) = self.write_transaction(&mut writer, part, 0).await {
            self.reset().await?;
            return Err(failure);
        }
        let mut mark = self.mark.clone();
        let packed = if closes {
            part.advance(&mut mark);
            let claim = &self.claim;
            writer.with_packet(|packet| claim.sync_fence(packet, &mark));
            writer.finish()
        } else {
            writer.pause()
        };
        match self.send(&packed.packets).await {
            Outcome::Committed => {
                self.meter.passed_over(part.passed);
                if closes {
                    self.is_split = false;
                    self.mark = mark;
                    self.is_unwritten = false;
                    self.meter.marked(&self.mark);
                }
                if part.is_last {
                    self.careful = None;
                }
                self.meter.applied(u64::from(part.is_last), packed.rows);
                self.show_lag(part.committed);
                Ok(())
            }
            Outcome::Refused { part: place, error } => {
                self.is_split = false;
                self.reset().await?;
                let met = place
                    .number()
                    .and_then(|number| packed.event(std::slice::from_ref(part), number));
                Err(end_of(
                    std::slice::from_ref(part),
                    error,
                    |error| match met {
                        Some((transaction, event)) if is_passing(&error) => {
                            failed_event(transaction, event, None, error)
                        }
                        Some(_) => End::Careful(part.begin.clone()),
                        None => self.refusal(Outcome::Refused { part: place, error }),
                    },
                ))
            }
            Outcome::Unknown { error } => Err(end_of(std::slice::from_ref(part), error, |error| {
                self.refusal(Outcome::Unknown { error })
            })),
        }
    }

    /// Takes back the parts of a long transaction that the source never committed.
    pub(super) async fn abandon(&mut self, begin: &Place) -> Result<(), End> {
        if self
            .mark
            .part
            .as_ref()
            .is_some_and(|part| part.begin == *begin)
        {
            return Err(End::from(
                Error::new(
                    ErrorKind::Damaged,
                    format!(
                        "the transaction at {begin} is in the target in part, and the source never \
                         committed it"
                    ),
                )
                .with_fix("compare its tables with the source, mend them, then start them anew"),
            ));
        }
        if self.careful.as_ref() == Some(begin) {
            self.careful = None;
        }
        self.reset().await
    }

    /// The statements of a batch behind BEGIN and fence. Where a transaction cannot be decoded, those
    /// before it, and the failure. Once there are enough rows, no further transaction is taken.
    async fn build(&mut self, batch: &[Transaction]) -> Result<Built, End> {
        self.meet(batch).await;
        let mut good = batch.len();
        let mut refused = None;
        let rows_limit = self.rows_limit();
        loop {
            let mut mark = self.mark.clone();
            let mut head = Packet::new();
            let taken = batch.get(..good).unwrap_or(batch);
            for transaction in taken {
                transaction.advance(&mut mark);
            }
            head.push(Part::Frame, "BEGIN");
            self.claim.sync_fence(&mut head, &mark);
            let mut writer = self.writer(Style::Merged, head);
            let mut failed = None;
            for (number, transaction) in taken.iter().enumerate() {
                match self
                    .write_transaction(&mut writer, transaction, number)
                    .await
                {
                    Ok(()) if writer.rows() < rows_limit || number + 1 == taken.len() => {}
                    Ok(()) => {
                        // The fence in front has written the mark behind all of them.
                        let mut mark = self.mark.clone();
                        let taken = taken.get(..=number).unwrap_or(taken);
                        for transaction in taken {
                            transaction.advance(&mut mark);
                        }
                        let claim = &self.claim;
                        writer.with_packet(|packet| claim.sync_fence(packet, &mark));
                        return Ok(Built {
                            packed: writer.finish(),
                            taken: taken.len(),
                            refused: None,
                        });
                    }
                    Err(End::Failed(failure)) => {
                        failed = Some((number, failure));
                        break;
                    }
                    Err(other) => return Err(other),
                }
            }
            match failed {
                None => {
                    return Ok(Built {
                        packed: writer.finish(),
                        taken: batch.len(),
                        refused,
                    });
                }
                Some((number, failure)) => {
                    good = number;
                    refused = Some((number, failure));
                }
            }
        }
    }

    async fn write_transaction(
        &mut self,
        writer: &mut Writer,
        transaction: &Transaction,
        number: usize,
    ) -> Result<(), End> {
        for (at, part) in transaction.events.iter().enumerate() {
            let mut row = 0;
            let known = self.ties.version;
            let (plan, way) = self.plan_and_way(transaction, part).await?;
            if self.ties.version != known {
                // What is gathered was put in order without them.
                writer.close();
            }
            write_event(writer, &plan, way, part, number, at, &mut row)
                .map_err(|error| failed_event(transaction, part, Some(row), error))?;
        }
        Ok(())
    }

    /// Meets all tables of a batch before its first change is written: a table that comes up later may
    /// be tied to an earlier one. What fails here fails again, and is told, where it is needed.
    async fn meet(&mut self, batch: &[Transaction]) {
        loop {
            let before = self.ties.version;
            for event in batch.iter().flat_map(|transaction| &transaction.events) {
                if self.plan(&event.table).await.is_err() {
                    return;
                }
            }
            if self.ties.version == before {
                return;
            }
        }
    }

    /// Takes up the foreign keys of a table, and of those that it depends on.
    async fn tie(&mut self, structure: &Arc<Structure>) -> Result<()> {
        let before = self.ties.version;
        let mut waiting = vec![Arc::clone(structure)];
        while let Some(structure) = waiting.pop() {
            if self.ties.knows(&structure.table) {
                continue;
            }
            self.ties.add(&structure.table, &structure.foreign_keys);
            for key in &structure.foreign_keys {
                if self.ties.knows(&key.parent) {
                    continue;
                }
                let parent = [key.parent.clone()];
                match read_structures_of(&mut self.session, &parent).await?.pop() {
                    Some(parent) => waiting.push(Arc::new(parent)),
                    // It is not there, or not ours to see: nothing is written to it.
                    None => self.ties.add(&key.parent, &[]),
                }
            }
        }
        if self.ties.version != before {
            // Other tables may be its parents.
            self.plans.clear();
        }
        Ok(())
    }

    /// Onto what, and how, the rows of an event are written.
    pub(super) async fn plan_and_way(
        &mut self,
        transaction: &Transaction,
        part: &RowsPart,
    ) -> Result<(Arc<Plan>, Way), End> {
        let found = match self.plan(&part.table).await {
            Ok(plan) => self.way(transaction, part, &plan).map(|way| (plan, way)),
            Err(error) => Err(error),
        };
        found.map_err(|error| failed_event(transaction, part, None, error))
    }

    /// How a source table's rows are written; reads the target's structure the first time.
    pub(super) async fn plan(&mut self, table: &Arc<SourceTable>) -> Result<Arc<Plan>> {
        let address = Arc::as_ptr(table) as usize;
        if let Some((_, plan)) = self.plans.get(&address) {
            return Ok(Arc::clone(plan));
        }
        let target = self.target_structure(&table.target).await?;
        self.tie(&target).await?;
        let mut plan = Plan::new(&table.structure, &target, self.verifies_all)?
            .on(self.session.version().flavor);
        plan.order = Order::new(&table.structure, &target, &self.ties);
        plan.join = Join::of(&plan, &target, self.session.version());
        if let Some(cascades) = &table.cascades {
            plan.unmatched = self
                .unmatched(cascades, &table.structure, &table.target)
                .await?;
        }
        let plan = Arc::new(plan);
        if self.plans.len() >= PLANS {
            self.plans.clear();
        }
        self.plans
            .insert(address, (Arc::clone(table), Arc::clone(&plan)));
        Ok(plan)
    }

    pub(super) async fn target_structure(&mut self, table: &TableName) -> Result<Arc<Structure>> {
        if let Some(structure) = self.targets.get(table) {
            return Ok(Arc::clone(structure));
        }
        let found = read_structures_of(&mut self.session, std::slice::from_ref(table)).await?;
        let Some(structure) = found.into_iter().next() else {
            return Err(Error::new(
                ErrorKind::Structure,
                format!("the target has no table {table}"),
            )
            .with_fix(
                "make the table on the target and copy its rows, or leave it out of the task",
            ));
        };
        self.note_triggers(table).await?;
        let structure = Arc::new(structure);
        self.targets.insert(table.clone(), Arc::clone(&structure));
        Ok(structure)
    }

    /// Tells of the triggers of a table of the target, as far as the account may see them: they run for
    /// each change, and what the source's did comes as rows besides.
    async fn note_triggers(&mut self, table: &TableName) -> Result<()> {
        let found = self
            .session
            .rows(&format!(
                "SELECT TRIGGER_NAME FROM information_schema.TRIGGERS WHERE TRIGGER_SCHEMA = {} AND \
                 EVENT_OBJECT_TABLE = {} ORDER BY TRIGGER_NAME",
                literal(&table.schema),
                literal(&table.name)
            ))
            .await?;
        let names: Vec<String> = found
            .iter()
            .filter_map(|row| row.first()?.as_deref())
            .map(|name| format!("`{}`", String::from_utf8_lossy(name)))
            .collect();
        if names.is_empty() {
            return Ok(());
        }
        self.meter.note(format!(
            "{table} has triggers on the target, which run for each change: {}; what the source's did comes \
             as rows, so drop them until the cut-over unless they are meant",
            names.join(", ")
        ));
        Ok(())
    }

    /// Sends packets one after the other's answer.
    async fn send(&mut self, packets: &[Packet]) -> Outcome {
        for packet in packets {
            match execute::run(&mut self.session, packet).await {
                Outcome::Committed => {}
                other => return other,
            }
        }
        Outcome::Committed
    }

    /// After a refusal the session may be left with checks off.
    pub(super) async fn reset(&mut self) -> Result<(), End> {
        self.is_split = false;
        if self.session.is_broken() {
            return Ok(());
        }
        self.session.execute(b"ROLLBACK").await?;
        self.session
            .execute(b"SET SESSION foreign_key_checks = 1, unique_checks = 1")
            .await?;
        self.session.execute(STRICT.as_bytes()).await?;
        Ok(())
    }

    pub(super) fn refusal(&self, outcome: Outcome) -> End {
        let is_unknown = matches!(outcome, Outcome::Unknown { .. });
        match self.claim.settle(outcome) {
            Ok(()) => End::from(Error::new(
                ErrorKind::Internal,
                "a committed packet was refused",
            )),
            // Whatever it was: the checkpoint says whether the batch is in.
            Err(error) if is_unknown => End::Again(Box::new(error.into())),
            Err(error) => End::from(error),
        }
    }

    fn committed(&mut self, batch: &[Transaction], rows: u64) {
        let Some(last) = batch.last() else { return };
        let mut passed = 0;
        for transaction in batch {
            transaction.advance(&mut self.mark);
            passed += transaction.passed;
        }
        self.is_unwritten = false;
        self.meter.passed_over(passed);
        self.meter.applied(batch.len() as u64, rows);
        self.meter.marked(&self.mark);
        self.show_lag(last.committed);
    }

    /// What was committed then at the source is at work now: there is nothing older to apply.
    pub(super) fn begins(&self, committed: CommitTime) {
        self.meter.set_lag(Lag::Since {
            committed,
            clock_offset_micros: self.clock_offset_micros,
        });
    }

    /// The lag of what was committed just now.
    pub(super) fn show_lag(&self, committed: CommitTime) {
        let now = Timestamp::from(SystemTime::now());
        self.meter
            .set_lag(Lag::since(committed, now, self.clock_offset_micros));
    }
}

/// A target transaction, ready to be sent.
struct Built {
    packed: Finished,
    /// How many transactions of the batch it is for; of these, those that can be decoded are in it.
    taken: usize,
    /// The first that cannot be, by its number, and why.
    refused: Option<(usize, Box<Failure>)>,
}

/// What an applier is told.
#[derive(Debug)]
pub(super) struct Settings {
    pub(super) clock_offset_micros: i64,
    pub(super) verifies_all: bool,
    pub(super) packet_bytes: usize,
    pub(super) batch_rows: u64,
    pub(super) on_drift: DriftPolicy,
    pub(super) skipper: Skipper,
    pub(super) hand: Arc<Hand>,
    pub(super) statement_bytes: usize,
    pub(super) tables: HashSet<TableName>,
    pub(super) careful: Option<Place>,
    pub(super) cut: Cut,
}

/// Whether the same may succeed a moment later.
pub(super) fn is_passing(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::TargetBusy | ErrorKind::Connect)
}

fn write_event(
    writer: &mut Writer,
    plan: &Arc<Plan>,
    way: Way,
    part: &RowsPart,
    transaction: usize,
    event: usize,
    row: &mut u32,
) -> Result<()> {
    let rows_event = part.rows_event()?;
    for change in rows_event.rows(&part.table.shape)? {
        let origin = Origin {
            transaction,
            event,
            row: *row,
        };
        way.write(writer, plan, part.checks, &change?, origin)?;
        *row += 1;
    }
    Ok(())
}

/// The end at an event: shown with it, and tried again where the error may pass.
pub(super) fn failed_event(
    transaction: &Transaction,
    part: &RowsPart,
    row: Option<u32>,
    error: Error,
) -> End {
    let is_passing = is_passing(&error);
    let place = transaction.place_of(part, row);
    let error = error.at(|c| {
        c.place = Some(place.place.clone());
        c.table = Some(part.table.map.table.clone());
    });
    let failure = Box::new(Failure {
        event: Some(Box::new(FailedEvent {
            stop_id: stop_id(&place),
            view: view::of_rows(transaction, part, row.unwrap_or(0) as usize),
            transaction: view::of_transaction(transaction, part),
            table: Some(part.table.map.table.clone()),
            statement: None,
            repair: None,
            target_rows: Vec::new(),
            later_applied: 0,
            place,
        })),
        error,
    });
    if is_passing {
        End::Again(failure)
    } else {
        End::Failed(failure)
    }
}
