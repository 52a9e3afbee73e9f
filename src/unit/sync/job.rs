//! A sync from its checkpoint to the stop: reader and applier side by side, and what is tried again.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, mpsc};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::applier::{Applier, End, Settings};
use super::decoder::Tables;
use super::failure::Failure;
use super::hand::Hand;
use super::meter::{Lag, Meter};
use super::reader::{At, Collector};
use super::skipped::{Keep, Skipper};
use super::split::Cut;
use super::transaction::{Item, Transaction};
use crate::binlog::EventKind;
use crate::config::{TargetConfig, TaskConfig};
use crate::connect::Session;
use crate::model::{Error, ErrorKind, Flavor, Place, Result, TableName};
use crate::relay_log::{RawEvent, RelayLog};
use crate::schema::tracker::{ServerDefaults, StructureSet};
use crate::schema::{SchemaDefaults, Structures};
use crate::target::checkpoint::{Ownership, configuration_text, prepare};
use crate::target::{Claim, Mark, State, StreamKey, SyncState, execute};

/// What a sync is to do.
#[derive(Clone)]
pub struct SyncJob {
    /// The task.
    pub task: Arc<TaskConfig>,
    /// The source's name in the configuration.
    pub source_name: String,
    /// The source server itself: MySQL's uuid, MariaDB's server_id.
    pub source_identity: String,
    /// The source's family.
    pub flavor: Flavor,
    /// What decides how the source's DDL is meant.
    pub defaults: ServerDefaults,
    /// The default character set and collation of each database of the source, for a checkpoint that
    /// does not have them yet.
    pub schemas: SchemaDefaults,
    /// The source's `SYSTEM` time zone as an offset, for statements that were run in it.
    pub system_zone: String,
    /// The target.
    pub target: TargetConfig,
    /// The schema of our own tables there.
    pub meta_schema: String,
    /// The source's relay log.
    pub log: Arc<RelayLog>,
    /// Bound of what is read ahead, in bytes.
    pub memory_bytes: u64,
    /// The source's clock minus ours, in microseconds.
    pub clock_offset_micros: i64,
    /// Whether the relay is connected and has all that the source has: only then is an empty queue
    /// a lag of zero.
    pub relay_is_current: Arc<dyn Fn() -> bool + Send + Sync>,
    /// Where changes go that `on_drift = "warn"` leaves out.
    pub keep: Keep,
    /// What the operator decides for the stream.
    pub hand: Arc<Hand>,
    /// Where to begin, with the source's structures and the defaults of its databases there, if the
    /// target has no checkpoint.
    pub begin: Option<(Mark, Structures, SchemaDefaults)>,
}

impl fmt::Debug for SyncJob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SyncJob")
            .field("task", &self.task.name)
            .field("source", &self.source_name)
            .finish_non_exhaustive()
    }
}

/// How often a batch is tried again at once before the error is handed on.
const QUICK_TRIES: u32 = 5;
/// The wait before the first of them; it doubles.
const QUICK_WAIT: Duration = Duration::from_millis(100);
/// The mark is written at least this often.
const MARK_EVERY: Duration = Duration::from_secs(1);
/// A connection idle for this long is tried, so that a lost one is noticed.
const PING_EVERY: Duration = Duration::from_secs(30);
/// Items that wait between reader and applier, at most; their bytes are bounded apart.
const QUEUE_ITEMS: usize = 4096;
/// The unit in which queued bytes are counted.
const BUDGET_UNIT: usize = 1024;
/// A packet's size, where the target takes it.
const PACKET_BYTES: usize = 8 << 20;
/// A packet's size where memory is short.
const PACKET_LEAST: usize = 256 << 10;
/// What is left free below the target's `max_allowed_packet`.
const PACKET_MARGIN: usize = 64 << 10;

/// Applies the relay log from the checkpoint on, until `stop` is cancelled or something stops it.
///
/// At the stop, the transaction in hand is finished and the mark is written. What the target refuses
/// for a passing reason is tried again a few times, from the checkpoint; then the error is given back.
pub async fn run(job: SyncJob, meter: Arc<Meter>, stop: CancellationToken) -> Result<(), Failure> {
    let mut ended = run_on(&job, &meter, &stop).await;
    job.hand.release();
    if let Err(failure) = &ended
        && let Err(error) = settle_failed(&job.hand, failure).await
    {
        ended = Err(locate(error.into(), &job));
    }
    // What stands may be behind by any time.
    meter.set_lag(Lag::Unknown);
    ended
}

/// What was decided for the very place at which the stream stands now has failed.
async fn settle_failed(hand: &Hand, failure: &Failure) -> Result<()> {
    let is_passing = matches!(
        failure.error.kind(),
        ErrorKind::Connect | ErrorKind::TargetBusy
    );
    match &failure.event {
        Some(event) if !is_passing => {
            let (begin, gtid) = (&event.transaction.begin, event.view.gtid.as_deref());
            hand.failed_at(begin, gtid, &event.place, &failure.error)
                .await
        }
        _ => Ok(()),
    }
}

async fn run_on(
    job: &SyncJob,
    meter: &Arc<Meter>,
    stop: &CancellationToken,
) -> Result<(), Failure> {
    let mut tries = 0;
    let mut careful = None;
    let mut last_mark: Option<Mark> = None;
    let mut cut = Cut::default();
    loop {
        let failure = match attempt(job, meter, stop, careful.take(), &cut).await {
            Ok(()) => return Ok(()),
            Err(End::Failed(failure)) => return Err(locate(*failure, job)),
            Err(End::Careful(place)) => {
                careful = Some(place);
                continue;
            }
            Err(End::TooLarge(met)) => {
                let error = &met.failure.error;
                tracing::info!(task = %job.task.name, source = %job.source_name, %error, cause = error.cause(), "the target takes no transaction of that size: in smaller parts again");
                cut = cut.finer(met).map_err(|failure| locate(*failure, job))?;
                continue;
            }
            Err(End::Again(failure)) => failure,
        };
        let mark = meter.figure().mark;
        if mark != last_mark {
            tries = 0;
            last_mark = mark;
        }
        meter.set_lag(Lag::Unknown);
        if tries == QUICK_TRIES || stop.is_cancelled() {
            return Err(locate(*failure, job));
        }
        let error = &failure.error;
        tracing::warn!(task = %job.task.name, source = %job.source_name, %error, cause = error.cause(), tries, "applying again from the checkpoint");
        meter.retried(error);
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = tokio::time::sleep(QUICK_WAIT * 2_u32.pow(tries)) => {}
        }
        tries += 1;
    }
}

fn locate(mut failure: Failure, job: &SyncJob) -> Failure {
    failure.error = failure.error.at(|c| {
        c.task = Some(job.task.name.clone());
        c.source = Some(job.source_name.clone());
        c.target = Some(job.target.server.name.clone());
        c.unit = Some(crate::model::Unit::Sync);
    });
    failure
}

/// Once from the checkpoint on.
async fn attempt(
    job: &SyncJob,
    meter: &Arc<Meter>,
    stop: &CancellationToken,
    careful: Option<Place>,
    cut: &Cut,
) -> Result<(), End> {
    let mut session = execute::open(&job.target.server).await?;
    note_target(meter, execute::identity(&mut session).await?);
    let (claim, state) = claim(job, &mut session).await?;
    let mark = state.mark.clone();
    meter.stands_at(&mark);
    let asked = job.hand.in_question();
    let found = claim.decisions_among(&mut session, &asked).await?;
    job.hand.resolve(found, mark.part.as_ref()).await?;
    if let Some(until) = mark.spans.values().map(|span| &span.until.position).max() {
        let note = format!(
            "tables that were dumped without a lock are brought to one moment, up to {until}"
        );
        if !meter.figure().notes.contains(&note) {
            meter.note(note);
        }
    }
    let pairs: Vec<Ownership> = state
        .structures
        .tables()
        .filter(|table| job.task.selection.takes(table))
        .map(|table: TableName| {
            let target = job.task.routes.target(&table);
            (table, target)
        })
        .collect();
    claim.own(&mut session, &pairs).await?;
    if let Some(neighbor) = claim.unproved_neighbor(&mut session).await? {
        // What that one loads may have to be taken out again, and with it what this one wrote.
        return Err(Error::new(
            ErrorKind::TargetBusy,
            format!("waits until the dump that {neighbor} loads into the same table is whole"),
        )
        .into());
    }
    let statement_bytes = statement_bytes(&mut session).await?;

    let tracker = StructureSet::of_packed(job.defaults.clone(), state.structures, state.schemas);
    let tables = Tables::new(Arc::clone(&job.task), job.flavor, tracker);
    let memory = usize::try_from(job.memory_bytes).unwrap_or(usize::MAX);
    let cut = Cut::of_target(&mut session).await?.with(cut);
    let part_bytes = (memory / 8).max(1 << 20);
    let part_bytes = cut.bytes.map_or(part_bytes, |bytes| bytes.min(part_bytes));
    let collector = Collector::new(tables, part_bytes, &mark, Arc::clone(&job.hand));
    let units = (memory / 2 / BUDGET_UNIT).clamp(1024, u32::MAX as usize >> 4);
    let queue = Queue {
        budget: Arc::new(Semaphore::new(units)),
        units,
        is_at_tip: AtomicBool::new(false),
    };
    let settings = Settings {
        clock_offset_micros: job.clock_offset_micros,
        verifies_all: job.task.sync.is_before_image_verified,
        // A packet is there several times over while it is sent: as text, as the driver's, on the line.
        packet_bytes: statement_bytes
            .min(PACKET_BYTES)
            .min((memory / 16).max(PACKET_LEAST)),
        statement_bytes,
        tables: pairs.into_iter().map(|(_, target)| target).collect(),
        batch_rows: job.task.sync.batch_rows as u64,
        on_drift: job.task.sync.on_drift,
        skipper: Skipper {
            task: job.task.name.clone(),
            source: job.source_name.clone(),
            keep: Arc::clone(&job.keep),
        },
        hand: Arc::clone(&job.hand),
        careful,
        cut,
    };
    let mut applier = Applier::new(session, claim, Arc::clone(meter), mark.clone(), settings);
    // What a former process committed, and did not come to hand over.
    applier.hand_over_skipped().await?;
    let intent = state.intent;
    let (sender, receiver) = mpsc::channel(QUEUE_ITEMS);
    let applied = tokio::select! {
        applied = apply(job, &mut applier, receiver, &queue, intent, stop) => applied,
        // The reader ends only after it has handed over why.
        never = read(job, &mark.place, collector, sender, &queue) => match never {},
    };
    if applied.is_ok() {
        applier.session.close().await;
    }
    applied
}

/// Tells when another server answers as the target: a failover, or an address that leads elsewhere. What
/// is applied follows that one's checkpoint.
fn note_target(meter: &Meter, identity: Option<String>) {
    let Some(now) = identity else { return };
    if let Some(before) = meter.target_is(&now)
        && before != now
    {
        meter.note(format!(
            "the target is another server now, {now}, before it was {before}: the stream goes on from the \
             checkpoint that is there"
        ));
    }
}

async fn claim(job: &SyncJob, session: &mut Session) -> Result<(Claim, SyncState)> {
    prepare(session, &job.meta_schema).await?;
    let key = StreamKey {
        task: job.task.name.clone(),
        source: job.source_name.clone(),
        server: job.source_identity.clone(),
        flavor: job.flavor,
    };
    let configuration = configuration_text(&job.task);
    let (mut claim, state) =
        Claim::take(session, &job.meta_schema, key.clone(), &configuration, 0).await?;
    match state {
        Some(State::Sync(mut state)) => {
            if state.schemas.is_empty() {
                state.schemas.clone_from(&job.schemas);
                claim.write_schemas(session, &state.schemas).await?;
            }
            Ok((claim, *state))
        }
        Some(State::Load(load)) => Err(Error::new(
            ErrorKind::Checkpoint,
            format!("the load of dump `{}` is not finished", load.dump_id),
        )
        .with_fix("let the load finish first: use `mode = \"all\"`")),
        None => {
            let Some((mark, structures, schemas)) = &job.begin else {
                return Err(Error::new(
                    ErrorKind::Checkpoint,
                    "the target has no checkpoint of this stream",
                )
                .with_fix(
                    "give the task a `start`, or copy the data first with `mode = \"all\"`",
                ));
            };
            claim
                .establish_sync(session, mark.clone(), structures.iter(), schemas)
                .await?;
            Ok((
                claim,
                SyncState {
                    mark: mark.clone(),
                    version: 1,
                    structures: structures.clone(),
                    schemas: schemas.clone(),
                    intent: None,
                },
            ))
        }
    }
}

/// How long a statement the target takes.
async fn statement_bytes(session: &mut Session) -> Result<usize> {
    let rows = session.rows("SELECT @@max_allowed_packet").await?;
    let limit = rows
        .first()
        .and_then(|row| row.first()?.as_deref())
        .and_then(|cell| std::str::from_utf8(cell).ok()?.parse::<usize>().ok())
        .unwrap_or(1 << 20);
    Ok(limit.saturating_sub(PACKET_MARGIN).max(16 << 10))
}

/// What reader and applier share beside the channel.
struct Queue {
    budget: Arc<Semaphore>,
    units: usize,
    /// Whether the reader has handed on all that the relay log has.
    is_at_tip: AtomicBool,
}

impl Queue {
    fn units_of(&self, item: &Item) -> u32 {
        let bytes = match item {
            Item::Rows(transaction) => transaction.bytes,
            Item::Statement(_)
            | Item::Passed(_)
            | Item::Abandoned(_)
            | Item::Note(_)
            | Item::Failed(_) => 0,
        };
        // What is bigger than the whole budget takes all of it.
        (bytes / BUDGET_UNIT).min(self.units) as u32
    }

    async fn reserve(&self, item: &Item) {
        let units = self.units_of(item);
        if units > 0
            && let Ok(permit) = self.budget.acquire_many(units).await
        {
            permit.forget();
        }
    }

    fn release(&self, transaction: &Transaction) {
        let units = (transaction.bytes / BUDGET_UNIT).min(self.units);
        self.budget.add_permits(units);
    }
}

/// Reads until something cannot be read; hands that over last, and waits to be dropped.
async fn read(
    job: &SyncJob,
    from: &Place,
    mut collector: Collector,
    sender: mpsc::Sender<Item>,
    queue: &Queue,
) -> std::convert::Infallible {
    let failure = match read_on(job, from, &mut collector, &sender, queue).await {
        Ok(()) => return std::future::pending().await,
        Err(failure) => failure,
    };
    // A closed channel means that the applier has ended for a reason of its own.
    if sender.send(Item::Failed(failure)).await.is_err() {
        tracing::debug!("the applier had ended before the reader");
    }
    std::future::pending().await
}

async fn read_on(
    job: &SyncJob,
    from: &Place,
    collector: &mut Collector,
    sender: &mpsc::Sender<Item>,
    queue: &Queue,
) -> Result<(), Box<Failure>> {
    let boxed = |error: Error| Box::new(Failure::from(error));
    let mut reader = job.log.reader(from).map_err(boxed)?;
    loop {
        if reader.is_at_tip() && !collector.is_inside() {
            queue.is_at_tip.store(true, Ordering::Release);
        }
        let raw = reader.next().await.map_err(boxed)?;
        queue.is_at_tip.store(false, Ordering::Release);
        if !hand_on(raw, collector, sender, queue).await? {
            return Ok(());
        }
        // All of it lies before where the reader is, so nothing here waits for the relay.
        while let Some(replay) = collector.take_replay() {
            let mut again = job.log.reader(&replay.begin).map_err(boxed)?;
            collector.begin_replay(replay);
            while collector.is_replaying() {
                let raw = again.next().await.map_err(boxed)?;
                if !hand_on(raw, collector, sender, queue).await? {
                    return Ok(());
                }
            }
        }
    }
}

/// Takes an event, and sends what it completes; `false` if nobody takes it any more.
async fn hand_on(
    raw: RawEvent<'_>,
    collector: &mut Collector,
    sender: &mpsc::Sender<Item>,
    queue: &Queue,
) -> Result<bool, Box<Failure>> {
    let at = At {
        folder: raw.folder,
        file: raw.file,
        offset: raw.offset,
        end_offset: raw.end_offset,
        inner: None,
    };
    if raw.event.header.kind == EventKind::TRANSACTION_PAYLOAD && !raw.was_received {
        return hand_on_inner(at, &raw, collector, sender, queue).await;
    }
    let pushed = if raw.was_received {
        // The former source's binlog had it, and so it is applied.
        if raw.ends_received {
            collector.pass_received(at);
        }
        Ok(())
    } else {
        collector.push(at, &raw.event, raw.format)
    };
    let taken = send_items(collector, sender, queue).await;
    pushed.map(|()| taken)
}

/// The same for a compressed transaction: what is complete of it is sent before the rest is
/// decompressed.
async fn hand_on_inner(
    at: At<'_>,
    raw: &RawEvent<'_>,
    collector: &mut Collector,
    sender: &mpsc::Sender<Item>,
    queue: &Queue,
) -> Result<bool, Box<Failure>> {
    let mut events = collector.open_payload(at, &raw.event, raw.format)?;
    loop {
        let pushed = collector.push_inner(at, &raw.event, &mut events, raw.format);
        if !send_items(collector, sender, queue).await {
            return Ok(false);
        }
        if !pushed? {
            return Ok(true);
        }
    }
}

/// Sends what is complete; `false` if nobody takes it any more.
async fn send_items(collector: &mut Collector, sender: &mpsc::Sender<Item>, queue: &Queue) -> bool {
    for item in collector.take_items() {
        queue.reserve(&item).await;
        if sender.send(item).await.is_err() {
            return false;
        }
    }
    true
}

/// Applies what the reader hands on.
async fn apply(
    job: &SyncJob,
    applier: &mut Applier,
    mut receiver: mpsc::Receiver<Item>,
    queue: &Queue,
    mut intent: Option<crate::target::Intent>,
    stop: &CancellationToken,
) -> Result<(), End> {
    let mut tick = tokio::time::interval(MARK_EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut used_at = Instant::now();
    let mut held = None;
    loop {
        let item = match held.take() {
            Some(item) if !stop.is_cancelled() => item,
            _ => tokio::select! {
                biased;
                () = stop.cancelled() => {
                    if !applier.is_split {
                        applier.flush().await?;
                    }
                    return Ok(());
                }
                item = receiver.recv() => match item {
                    Some(item) => item,
                    None => return Err(End::Failed(Box::new(
                        Error::new(ErrorKind::Internal, "the reader is gone").into(),
                    ))),
                },
                _ = tick.tick() => {
                    if applier.is_unwritten && !applier.is_split {
                        applier.flush().await?;
                        used_at = Instant::now();
                    } else if used_at.elapsed() >= PING_EVERY {
                        applier.session.execute(b"DO 0").await?;
                        used_at = Instant::now();
                    }
                    if !applier.is_split {
                        applier.end_spans().await?;
                    }
                    show_idle(job, applier, queue, receiver.is_empty());
                    continue;
                }
            },
        };
        match item {
            Item::Passed(passed) => {
                applier.pass(*passed);
                show_idle(job, applier, queue, receiver.is_empty());
                // Under a load of foreign transactions the tick would have to wait for its turn.
                if used_at.elapsed() >= MARK_EVERY && !applier.is_split {
                    applier.flush().await?;
                    used_at = Instant::now();
                }
                continue;
            }
            Item::Rows(part) if !(part.is_first && part.is_last) => {
                applier.begins(part.committed);
                applier.apply_part(&part).await?;
                queue.release(&part);
            }
            Item::Rows(first) => {
                applier.begins(first.committed);
                let mut batch = vec![*first];
                held = gather(job, &mut batch, &mut receiver);
                applier.apply(&batch).await?;
                for transaction in &batch {
                    queue.release(transaction);
                }
            }
            Item::Statement(statement) => {
                applier.begins(statement.committed);
                applier
                    .apply_statement(job, &statement, intent.take())
                    .await?;
            }
            Item::Abandoned(begin) => applier.abandon(&begin).await?,
            Item::Note(note) => applier.meter.note(note),
            Item::Failed(failure) => {
                applier.flush().await?;
                return Err(match failure.error.kind() {
                    ErrorKind::Connect | ErrorKind::TargetBusy => End::Again(failure),
                    _ => End::Failed(failure),
                });
            }
        }
        used_at = Instant::now();
        show_idle(job, applier, queue, receiver.is_empty() && held.is_none());
    }
}

/// Takes what is queued behind the first transaction, up to the batch's limits; what does not belong
/// into a batch is given back.
fn gather(
    job: &SyncJob,
    batch: &mut Vec<Transaction>,
    receiver: &mut mpsc::Receiver<Item>,
) -> Option<Item> {
    let rows_limit = job.task.sync.batch_rows;
    let bytes_limit = usize::try_from(job.task.sync.batch_bytes).unwrap_or(usize::MAX);
    let weigh = |transaction: &Transaction| (transaction.events.len(), transaction.bytes);
    let (mut events, mut bytes) = batch.first().map(weigh).unwrap_or_default();
    while events < rows_limit && bytes < bytes_limit {
        match receiver.try_recv() {
            Ok(Item::Rows(next)) if next.is_first && next.is_last => {
                let (more_events, more_bytes) = weigh(&next);
                if events + more_events > rows_limit || bytes + more_bytes > bytes_limit {
                    return Some(Item::Rows(next));
                }
                events += more_events;
                bytes += more_bytes;
                batch.push(*next);
            }
            Ok(other) => return Some(other),
            Err(_) => return None,
        }
    }
    None
}

/// With nothing to apply the lag is zero, if the relay is not behind itself.
fn show_idle(job: &SyncJob, applier: &Applier, queue: &Queue, is_empty: bool) {
    if is_empty && queue.is_at_tip.load(Ordering::Acquire) {
        let is_current = (job.relay_is_current)();
        applier
            .meter
            .set_lag(if is_current { Lag::Idle } else { Lag::Unknown });
    }
}
