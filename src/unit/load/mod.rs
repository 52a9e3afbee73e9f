//! The load unit: writes a whole dump into a target.
//!
//! The runtime starts it once the dump is whole. Every batch of rows commits together with the row
//! of the checkpoint that says so, behind the stream's fence: a load that is killed at any moment
//! goes on where it was, with nothing twice and nothing missing. At the end the checkpoint turns
//! into that of sync, at the dump's own place in the binlog.

mod tables;
mod writer;

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::config::{TargetConfig, TaskConfig};
use crate::dump_files::{DumpFile, Manifest};
use crate::model::{Error, ErrorKind, Place, Position, Result, TableName, Unit};
use crate::source::ServerInfo;
use crate::target::checkpoint::{LoadState, StreamKey, configuration_text, prepare};
use crate::target::{Claim, Mark, State, execute};
use crate::unit::transfer::{self, Phases};

use writer::{Limits, Writer};

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
}

/// How a load ended, unless it failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LoadOutcome {
    /// All is in, and sync can go on from the mark.
    Complete(Mark),
    /// It was stopped; it goes on from there next time.
    Stopped,
}

/// Loads, from where an earlier load of the same dump came to. Stopped, it gives up the batches
/// under way: they are not in, and are loaded the next time.
pub async fn run(job: LoadJob, meter: Arc<Meter>, stop: CancellationToken) -> Result<LoadOutcome> {
    let outcome = tokio::select! {
        biased;
        () = stop.cancelled() => Ok(LoadOutcome::Stopped),
        mark = load(&job, &meter) => mark.map(LoadOutcome::Complete),
    };
    outcome.map_err(|error| {
        error.at(|c| {
            c.source = Some(job.source_name.clone());
            c.target = Some(job.target.server.name.clone());
            c.task = Some(job.task.name.clone());
            c.unit = Some(Unit::Load);
        })
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

async fn load(job: &LoadJob, meter: &Arc<Meter>) -> Result<Mark> {
    let manifest = Manifest::find(&job.folder)?.ok_or_else(|| {
        Error::new(
            ErrorKind::Checkpoint,
            format!("there is no whole dump in `{}`", job.folder.display()),
        )
        .with_fix(format!(
            "put the dump's files back; or start over: empty the task's tables on the target, and \
             `DELETE FROM {}.checkpoint WHERE task = '{}' AND source = '{}'`",
            job.meta_schema, job.task.name, job.source_name
        ))
    })?;
    let header = &manifest.header;
    let mut session = execute::open(&job.target.server).await?;
    let info = ServerInfo::read(&mut session).await?;
    prepare(&mut session, &job.meta_schema).await?;
    let threads = job.task.load.threads.max(1);
    let key = StreamKey {
        task: job.task.name.clone(),
        source: job.source_name.clone(),
        server: header.source_identity.clone(),
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
    let state = match state {
        Some(State::Sync(sync)) => return Ok(sync.mark),
        Some(State::Load(state)) if state.dump_id == header.dump_id => state,
        Some(State::Load(state)) => return Err(other_dump(job, &header.dump_id, &state)),
        None => {
            tables::prepare(&mut session, job, &manifest, &claim, meter).await?;
            claim.begin_load(&mut session, &header.dump_id).await?;
            LoadState {
                dump_id: header.dump_id.clone(),
                parts: BTreeMap::new(),
            }
        }
    };
    let works = plan(job, &manifest, &state, meter)?;
    load_files(job, works, &claim, &info, threads, meter).await?;
    let mark = Mark {
        place: Place::new(
            job.relay_folder.clone().unwrap_or_default(),
            header
                .position
                .clone()
                .unwrap_or_else(|| Position::new("", 0)),
        ),
        gtid_set: header.gtid_set.clone(),
    };
    let structures: Vec<_> = manifest
        .tables
        .values()
        .map(|table| table.structure.clone())
        .collect();
    claim
        .finish_load(&mut session, mark.clone(), &structures)
        .await?;
    session.close().await;
    meter.finish();
    Ok(mark)
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

/// What is left to load, the biggest files first; the figures begin with what is in.
fn plan(
    job: &LoadJob,
    manifest: &Manifest,
    state: &LoadState,
    meter: &Meter,
) -> Result<VecDeque<Work>> {
    meter.begin(manifest.tables.iter().map(|(name, table)| {
        let chunks = table.files.len() as u64;
        (name.clone(), table.rows(), table.bytes(), chunks)
    }));
    for note in &manifest.header.notes {
        meter.note(note.clone());
    }
    let mut works = Vec::new();
    for (name, table) in &manifest.tables {
        let target = job.task.routes.target(name);
        for file in &table.files {
            let mut work = Work {
                table: name.clone(),
                target: target.clone(),
                file: file.clone(),
                rows_in: 0,
                from: 0,
            };
            for part in state.parts.get(&file.name).into_iter().flatten() {
                if part.begin != work.from {
                    return Err(Error::new(
                        ErrorKind::Checkpoint,
                        format!(
                            "the checkpoint of the load has a gap: `{}` is in up to byte {}, then \
                             from {}",
                            file.name, work.from, part.begin
                        ),
                    ));
                }
                work.from = part.end;
                work.rows_in += part.rows;
            }
            if work.from > 0 {
                meter.add(name, work.rows_in, work.from);
            }
            works.push(work);
        }
        if table.files.is_empty() {
            meter.finish_chunk(name);
        }
    }
    works.sort_by_key(|work| std::cmp::Reverse(work.file.bytes));
    Ok(works.into())
}

/// Loads files with several writers at once.
async fn load_files(
    job: &LoadJob,
    works: VecDeque<Work>,
    claim: &Claim,
    info: &ServerInfo,
    threads: usize,
    meter: &Arc<Meter>,
) -> Result<()> {
    let threads = threads.min(works.len());
    let queue = Arc::new(Mutex::new(works));
    let claim = Arc::new(claim.clone());
    let mut tasks: JoinSet<Result<()>> = JoinSet::new();
    for slot in 1..=threads {
        let queue = Arc::clone(&queue);
        let mut writer = Writer {
            session: writer::open(&job.target.server).await?,
            server: job.target.server.clone(),
            claim: Arc::clone(&claim),
            slot: slot as u32,
            on_duplicate: job.task.load.on_duplicate,
            limits: Limits::of(info),
            folder: job.folder.clone(),
            meter: Arc::clone(meter),
        };
        tasks.spawn(async move {
            loop {
                let next = queue
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .pop_front();
                let Some(work) = next else {
                    writer.session.close().await;
                    return Ok(());
                };
                writer
                    .load(&work)
                    .await
                    .map_err(|error| error.at(|c| c.table = Some(work.table.clone())))?;
            }
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended.map_err(|error| {
            Error::new(ErrorKind::Panicked, "a writer of the load ended").with_source(error)
        })??;
    }
    Ok(())
}
