//! The load unit: writes a dump into a target.
//!
//! It begins while the dump is still being made: a file is loaded as soon as the dump announces it.
//! Every batch of rows commits together with the row of the checkpoint that says so, behind the
//! stream's fence: a load that is killed at any moment goes on where it was, with nothing twice and
//! nothing missing. At the end the checkpoint turns into that of sync, at the dump's own place in the
//! binlog.
//!
//! # Loading what may come to nothing
//!
//! Until the dump is whole, the checkpoint's phase is `overlap`. A dump that fails, stops or is killed
//! then leaves rows in the target that belong to no dump: [`discard()`] takes them out again before
//! anything else is loaded. For that to be exact, only tables that this stream alone writes are loaded
//! so early, and these were empty when it began. Where several source tables go into one target table,
//! the rows wait until the dump is whole, and until no neighbor loads early into that table (one
//! that came first may have begun when it was alone): `Held` below.

mod discard;
mod fields;
mod files;
mod fuzzy;
mod keys;
mod long_row;
mod pieces;
mod programs;
mod settings;
mod tables;
mod views;
mod writer;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::config::{OnDuplicate, TargetConfig, TaskConfig};
use crate::connect::Session;
use crate::dump_files::{Announcement, DumpFile, DumpTable, FeedReader, Manifest, Opening, names};
use crate::model::{Error, ErrorKind, Place, Position, Result, TableName, Unit};
use crate::route::EventFilter;
use crate::source::{ServerInfo, read_structures_of};
use crate::target::checkpoint::{LoadStage, LoadState, StreamKey, configuration_text, prepare};
use crate::target::{Claim, Mark, Span, Spans, State, execute};
use crate::unit::transfer::{self, Phases};

pub use discard::discard;
use fields::Lines;
use files::Files;
use fuzzy::Room;

/// The load's figures.
pub type Meter = transfer::Meter;

/// A meter for a load.
pub fn meter() -> Meter {
    Meter::new(Phases {
        at_work: "loading",
        done: "loaded",
    })
}

/// What is to be loaded, and where to.
#[derive(Clone, Debug)]
pub struct LoadJob {
    /// The folder of the dump.
    pub folder: PathBuf,
    /// The task.
    pub task: TaskConfig,
    /// The source's name in the configuration.
    pub source_name: String,
    /// The target.
    pub target: TargetConfig,
    /// The schema of our own tables on the target.
    pub meta_schema: String,
    /// The relay folder that the dump's position is in; `None` where nothing is replicated.
    pub relay_folder: Option<String>,
    /// The server the relay log is of now, and the one its history began with, by which checkpoints
    /// go; `None` where nothing is replicated.
    pub took_over: Option<(String, String)>,
}

impl LoadJob {
    /// What the checkpoint of a dump of the server `identity` goes by.
    fn server_of(&self, identity: &str) -> String {
        match &self.took_over {
            Some((now, origin)) if now == identity => origin.clone(),
            _ => identity.to_owned(),
        }
    }
}

/// How a load ended, unless it failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LoadOutcome {
    /// All is in, and sync can go on from the mark.
    Complete(Box<Mark>),
    /// It was stopped; it goes on from there next time.
    Stopped,
    /// The dump ended before it was whole.
    Abandoned,
}

/// Loads, from where an earlier load of the same dump came to. Stopped, it gives up the batches
/// under way: they are not in, and are loaded the next time.
///
/// With a `feed`, it loads the dump that is being made; without, the whole one in the job's folder.
pub async fn run(
    job: LoadJob,
    feed: Option<FeedReader>,
    meter: Arc<Meter>,
    stop: CancellationToken,
) -> Result<LoadOutcome> {
    let outcome = tokio::select! {
        biased;
        () = stop.cancelled() => Ok(LoadOutcome::Stopped),
        outcome = load(&job, feed, &meter) => outcome,
    };
    outcome.map_err(|error| locate(&job, error))
}

fn locate(job: &LoadJob, error: Error) -> Error {
    error.at(|c| {
        c.source = Some(job.source_name.clone());
        c.target = Some(job.target.server.name.clone());
        c.task = Some(job.task.name.clone());
        c.unit = Some(Unit::Load);
    })
}

/// A file that is to be loaded.
#[derive(Clone, Debug)]
struct Work {
    table: TableName,
    target: TableName,
    file: DumpFile,
    /// The rows of it that are in.
    rows_in: u64,
    /// The offset behind them.
    from: u64,
}

/// What a load begins with.
enum Beginning {
    /// A dump that is whole.
    Whole(Arc<Manifest>),
    /// One that is being made, and where to hear of it.
    Early(Arc<Opening>, FeedReader),
}

impl Beginning {
    /// `None`: the dump has ended before it began.
    async fn find(job: &LoadJob, feed: Option<FeedReader>) -> Result<Option<Self>> {
        let Some(mut feed) = feed else {
            let manifest = Manifest::find(&job.folder)?.ok_or_else(|| no_dump(job))?;
            return Ok(Some(Self::Whole(Arc::new(manifest))));
        };
        match feed.next().await {
            Announcement::Opened(opening) => Ok(Some(Self::Early(opening, feed))),
            Announcement::Complete(manifest) => Ok(Some(Self::Whole(manifest))),
            Announcement::Abandoned => Ok(None),
            Announcement::File(..) => Err(Error::new(
                ErrorKind::Internal,
                "the dump announced a file before its tables",
            )),
        }
    }

    fn plan(&self) -> &Manifest {
        match self {
            Self::Whole(manifest) => manifest,
            Self::Early(opening, _) => &opening.plan,
        }
    }

    /// How many bytes a table has, or is estimated to have.
    fn bytes_of(&self, table: &TableName) -> u64 {
        match self {
            Self::Whole(manifest) => manifest.tables.get(table).map_or(0, DumpTable::bytes),
            Self::Early(opening, _) => opening.estimates.get(table).map_or(0, |&(_, bytes)| bytes),
        }
    }

    fn stage(&self) -> LoadStage {
        match self {
            Self::Whole(_) => LoadStage::Whole,
            Self::Early(..) => LoadStage::Overlap,
        }
    }
}

async fn load(job: &LoadJob, feed: Option<FeedReader>, meter: &Arc<Meter>) -> Result<LoadOutcome> {
    let Some(beginning) = Beginning::find(job, feed).await? else {
        return Ok(LoadOutcome::Abandoned);
    };
    let header = &beginning.plan().header;
    let mut session = execute::open(&job.target.server).await?;
    let info = ServerInfo::read(&mut session).await?;
    prepare(&mut session, &job.meta_schema).await?;
    let threads = job.task.load.threads.max(1);
    let key = StreamKey {
        task: job.task.name.clone(),
        source: job.source_name.clone(),
        server: job.server_of(&header.source_identity),
        flavor: header.flavor,
    };
    let configuration = configuration_text(&job.task);
    let (mut claim, state) = Claim::take(
        &mut session,
        &job.meta_schema,
        key,
        &configuration,
        threads as u32,
    )
    .await?;
    let mut created = BTreeSet::new();
    let state = match state {
        Some(State::Sync(sync)) => return Ok(LoadOutcome::Complete(Box::new(sync.mark))),
        Some(State::Load(state))
            if state.dump_id == header.dump_id && state.stage != LoadStage::Discard =>
        {
            if state.stage != beginning.stage() {
                claim.enter_stage(&mut session, beginning.stage()).await?;
            }
            let tables = beginning.plan().tables.keys().map(names::table_file);
            created.extend(tables.filter(|file| state.parts.contains_key(file)));
            state
        }
        Some(State::Load(state)) => return Err(other_dump(job, &header.dump_id, &state)),
        None => {
            let made = tables::prepare(&mut session, job, beginning.plan(), &claim, meter).await?;
            let (id, stage) = (&header.dump_id, beginning.stage());
            claim.begin_load(&mut session, id, stage, &made).await?;
            created.extend(made);
            let bytes_of = |table: &TableName| beginning.bytes_of(table);
            keys::take_off(
                &mut session,
                job,
                beginning.plan(),
                &created,
                bytes_of,
                &claim,
                meter,
            )
            .await?;
            LoadState {
                dump_id: header.dump_id.clone(),
                stage,
                parts: BTreeMap::new(),
            }
        }
    };
    // After the phase is there to be seen by others.
    let merged: BTreeSet<TableName> = claim
        .owned_tables(&mut session)
        .await?
        .into_iter()
        .filter(|(_, is_shared)| *is_shared)
        .map(|((_, target), _)| target)
        .collect();
    if header.span.is_some()
        && let Some(table) = merged.first()
    {
        return Err(Error::new(
            ErrorKind::Unsupported,
            format!(
                "{table} on the target takes the rows of several tables, and the dump took no lock: \
                 making its rows those of one moment could take away a neighbor's"
            ),
        )
        .with_fix("use `consistency = \"flush\"` or `\"snapshot\"` for this task")
        .at(|c| c.table = Some(table.clone())));
    }
    if header.span.is_some() {
        EventFilter::expect_all_changes(&job.task.filters, beginning.plan().tables.keys())?;
    }
    let room = match header.span {
        Some(_) => Some(Room::find(&mut session, job, beginning.plan()).await?),
        None => None,
    };
    let ways = ways(&mut session, job, &beginning, &info, meter).await?;
    let mut files = Files {
        room: room.map(Arc::new),
        job,
        info: &info,
        state,
        merged,
        meter,
        claim: &mut claim,
        session: &mut session,
        threads,
        folder: header
            .files_in
            .clone()
            .unwrap_or_else(|| job.folder.clone()),
        ways: Arc::new(ways),
    };
    let Some(manifest) = files.load(beginning).await? else {
        return Ok(LoadOutcome::Abandoned);
    };
    keys::put_back(
        &mut session,
        job,
        &manifest,
        &created,
        &claim,
        meter,
        threads,
    )
    .await?;
    views::create(&mut session, job, &manifest, meter).await?;
    programs::create(&mut session, job, &manifest, meter).await?;
    let mark = finish(job, &manifest, &mut claim, &mut session).await?;
    session.close().await;
    meter.finish();
    Ok(LoadOutcome::Complete(Box::new(mark)))
}

/// The tables whose rows go in by LOAD DATA, which costs the target less than INSERT; tells the operator
/// which way is taken.
async fn ways(
    session: &mut Session,
    job: &LoadJob,
    beginning: &Beginning,
    info: &ServerInfo,
    meter: &Meter,
) -> Result<BTreeMap<TableName, Lines>> {
    let plan = beginning.plan();
    let has_choice = plan.header.span.is_none() && job.task.load.on_duplicate == OnDuplicate::Error;
    if !has_choice {
        return Ok(BTreeMap::new());
    }
    if let Err(why) = fields::is_possible(info.flavor(), info.log_bin, &info.binlog_format) {
        meter.note(format!(
            "rows go in by INSERT: the target takes no lines exactly, {why}"
        ));
        return Ok(BTreeMap::new());
    }
    let allowed = session.rows("SELECT @@global.local_infile").await?;
    let is_allowed = allowed.first().and_then(|row| row.first()?.as_deref()) == Some(b"1");
    if !is_allowed {
        meter.note(
            "rows go in by INSERT: `local_infile` is off at the target; with \
             `SET GLOBAL local_infile = ON` there, LOAD DATA would cost it less",
        );
        return Ok(BTreeMap::new());
    }
    let targets: Vec<TableName> = plan
        .tables
        .keys()
        .map(|table| job.task.routes.target(table))
        .collect();
    let there = read_structures_of(session, &targets)
        .await?
        .into_iter()
        .map(|structure| (structure.table.clone(), structure))
        .collect();
    let mut ways = Lines::of(plan, |table| job.task.routes.target(table), &there);
    let exact = ways.len();
    let alone = one_at_a_time(session, job, beginning).await?;
    ways.retain(|table, _| !alone.contains(table));
    if let Some(table) = alone.first().filter(|_| ways.len() < exact) {
        meter.note(format!(
            "rows of {table} and big tables like it go in by INSERT: with `innodb_autoinc_lock_mode` \
             below 2, the target lets one LOAD DATA at a time into a table that counts by itself"
        ));
    }
    let (by_lines, all) = (ways.len(), plan.tables.len());
    if by_lines == all {
        meter.note("rows go in by LOAD DATA LOCAL");
    } else if exact == all {
        meter.note(format!(
            "rows of {by_lines} of {all} tables go in by LOAD DATA LOCAL"
        ));
    } else {
        meter.note(format!(
            "rows of {by_lines} of {all} tables go in by LOAD DATA LOCAL, the others by INSERT: lines \
             of text would not be exact for all of their columns"
        ));
    }
    Ok(ways)
}

/// The tables that hold up a load by lines: InnoDB locks a table that counts by itself for the whole of
/// such a statement, in its older modes, so that one writer at a time comes to it. Where a table is no
/// more than a writer's share of the work, the others have other tables meanwhile.
async fn one_at_a_time(
    session: &mut Session,
    job: &LoadJob,
    beginning: &Beginning,
) -> Result<BTreeSet<TableName>> {
    let threads = job.task.load.threads.max(1) as u64;
    let mode = session
        .rows("SHOW GLOBAL VARIABLES LIKE 'innodb_autoinc_lock_mode'")
        .await?;
    let mode = mode.first().and_then(|row| row.get(1)?.as_deref());
    if threads == 1 || !matches!(mode, Some(b"0" | b"1")) {
        return Ok(BTreeSet::new());
    }
    let tables = &beginning.plan().tables;
    let all: u64 = tables.keys().map(|table| beginning.bytes_of(table)).sum();
    let counts = |table: &DumpTable| {
        let columns = &table.structure.columns;
        columns.iter().any(|column| column.auto_increment)
    };
    Ok(tables
        .iter()
        .filter(|(name, table)| {
            let share = beginning.bytes_of(name).saturating_mul(threads);
            counts(table) && share > all && beginning.bytes_of(name) >= keys::WORTH_IT
        })
        .map(|(name, _)| name.clone())
        .collect())
}

/// Turns the checkpoint into that of sync, at the dump's place.
async fn finish(
    job: &LoadJob,
    manifest: &Manifest,
    claim: &mut Claim,
    session: &mut crate::connect::Session,
) -> Result<Mark> {
    let header = &manifest.header;
    // Where the dump was begun: another server may have taken over since, whose places are others.
    let begun_in = header
        .relay
        .as_deref()
        .and_then(|token| token.split_once(" of "));
    let folder = match begun_in {
        Some((folder, _)) => folder.to_owned(),
        None => job.relay_folder.clone().unwrap_or_default(),
    };
    let place = |position: &Position| Place::new(folder.as_str(), position.clone());
    let begin = header.position.clone();
    // Tables read without a lock are of later moments than the rest.
    let spans: Spans = manifest
        .tables
        .iter()
        .filter_map(|(name, table)| {
            let strict = table.strict_from.as_ref()?;
            let span = Span {
                until: place(&strict.position),
                is_exact: strict.is_exact,
                is_tied: strict.is_tied,
            };
            Some((name.clone(), span))
        })
        .collect();
    let mark = Mark::new(
        place(&begin.unwrap_or_else(|| Position::new("", 0))),
        header.gtid_set.clone(),
    )
    .with_spans(spans);
    let structures: Vec<_> = manifest
        .tables
        .values()
        .map(|table| table.structure.clone())
        .collect();
    claim
        .finish_load(session, mark.clone(), &structures, &header.schema_defaults)
        .await?;
    Ok(mark)
}

fn no_dump(job: &LoadJob) -> Error {
    Error::new(
        ErrorKind::Checkpoint,
        format!("there is no whole dump in `{}`", job.folder.display()),
    )
    .with_fix(format!(
        "put the dump's files back; or start over: empty the task's tables on the target, and \
         `DELETE FROM {}.checkpoint WHERE task = '{}' AND source = '{}'`",
        job.meta_schema, job.task.name, job.source_name
    ))
}

fn other_dump(job: &LoadJob, dump_id: &str, state: &LoadState) -> Error {
    Error::new(
        ErrorKind::Checkpoint,
        format!(
            "the target holds a part of another dump (`{}`), the one in `{}` is `{dump_id}`",
            state.dump_id,
            job.folder.display()
        ),
    )
    .with_fix(format!(
        "put the former dump back into that folder; or start over: empty the task's tables on the \
         target, and `DELETE FROM {}.checkpoint WHERE task = '{}' AND source = '{}'`",
        job.meta_schema, job.task.name, job.source_name
    ))
}
