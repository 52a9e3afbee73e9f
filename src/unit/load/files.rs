//! The files of a load: which come next, which must wait, and the writers that take them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use crate::connect::Session;
use crate::dump_files::{Announcement, DumpFile, FeedReader, Manifest};
use crate::model::{Error, ErrorKind, Result, TableName};
use crate::source::ServerInfo;
use crate::target::Claim;
use crate::target::checkpoint::{LoadStage, LoadState};

use super::fields::Lines;
use super::fuzzy::Room;
use super::pieces::Limits;
use super::settings::Settings;
use super::writer::{self, Writer};
use super::{Beginning, LoadJob, Meter, Work};

/// How often it is looked whether a neighbor still loads early into a table of ours.
const NEIGHBOR_LOOK: Duration = Duration::from_secs(1);

/// What the loading of files needs.
pub(super) struct Files<'a> {
    /// What takes out a row that is in another's way, where the rows are of different moments, so that
    /// two may have one unique value.
    pub(super) room: Option<Arc<Room>>,
    pub(super) job: &'a LoadJob,
    pub(super) info: &'a ServerInfo,
    pub(super) state: LoadState,
    /// The target tables that others write too.
    pub(super) merged: BTreeSet<TableName>,
    pub(super) meter: &'a Arc<Meter>,
    pub(super) claim: &'a mut Claim,
    pub(super) session: &'a mut Session,
    pub(super) threads: usize,
    /// The folder of the files.
    pub(super) folder: PathBuf,
    /// The tables whose rows go in as lines.
    pub(super) ways: Arc<BTreeMap<TableName, Lines>>,
}

/// What is to be loaded, as far as it is known.
#[derive(Default)]
struct Queue {
    /// Can be taken now.
    ready: VecDeque<Work>,
    /// Rows of merged tables: only of a whole dump, and only once no neighbor loads early.
    held: Vec<Work>,
    /// What was announced, by the file's name.
    announced: BTreeMap<String, DumpFile>,
    /// The dump, once it is whole.
    manifest: Option<Arc<Manifest>>,
}

impl Files<'_> {
    /// Loads all files; `None` if the dump ended before it was whole.
    pub(super) async fn load(&mut self, beginning: Beginning) -> Result<Option<Arc<Manifest>>> {
        self.begin_figures(&beginning);
        let mut queue = Queue::default();
        let mut feed = match beginning {
            Beginning::Early(_, feed) => Some(feed),
            Beginning::Whole(manifest) => {
                self.complete(&mut queue, &manifest)?;
                None
            }
        };
        let (sender, receiver) = mpsc::channel(1);
        let mut sender = Some(sender);
        let mut looks = tokio::time::interval(NEIGHBOR_LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut writers = self.start_writers(receiver).await?;
        loop {
            let is_all_known = queue.manifest.is_some() && queue.held.is_empty();
            if is_all_known && queue.ready.is_empty() {
                // The writers end once they have done what they hold.
                sender = None;
            }
            tokio::select! {
                ended = writers.join_next() => match ended {
                    Some(ended) => ended.map_err(|error| {
                        Error::new(ErrorKind::Panicked, "a writer of the load ended")
                            .with_source(error)
                    })??,
                    None => return Ok(queue.manifest),
                },
                Some(permit) = room(sender.as_ref()), if !queue.ready.is_empty() => {
                    if let Some(work) = queue.ready.pop_front() {
                        permit.send(work);
                    }
                }
                next = announced(feed.as_mut()), if feed.is_some() => match next {
                    Announcement::Opened(_) => {}
                    Announcement::File(table, file) => self.take(&mut queue, &table, file)?,
                    Announcement::Abandoned => return Ok(None),
                    Announcement::Complete(manifest) => {
                        feed = None;
                        self.complete(&mut queue, &manifest)?;
                        self.claim.enter_stage(self.session, LoadStage::Whole).await?;
                    }
                },
                _ = looks.tick(), if is_waiting(&queue) => {
                    self.release(&mut queue).await?;
                }
            }
        }
    }

    /// Figures from estimates, or exact ones of a whole dump, with what is in already.
    fn begin_figures(&self, beginning: &Beginning) {
        let meter = self.meter;
        match beginning {
            Beginning::Whole(manifest) => {
                meter.begin(manifest.tables.iter().map(|(name, table)| {
                    let chunks = table.files.len() as u64;
                    (name.clone(), table.rows(), table.bytes(), chunks)
                }));
            }
            Beginning::Early(opening, _) => {
                meter.begin_open(opening.plan.tables.keys().map(|name| {
                    let (rows, bytes) = opening.estimates.get(name).copied().unwrap_or_default();
                    (name.clone(), rows, bytes)
                }));
            }
        }
        for note in &beginning.plan().header.notes {
            meter.note(note.clone());
        }
    }

    /// The dump is whole: what was announced must be in it, and what was not is to be loaded too.
    fn complete(&self, queue: &mut Queue, manifest: &Arc<Manifest>) -> Result<()> {
        let mut missing = queue.announced.clone();
        let mut late = Vec::new();
        queue.manifest = Some(Arc::clone(manifest));
        for (name, table) in &manifest.tables {
            self.meter.set_exact(name, table.rows(), table.bytes());
            self.meter.set_chunks(name, table.files.len() as u64);
            for file in &table.files {
                match missing.remove(&file.name) {
                    Some(announced) if announced == *file => {}
                    Some(_) => return Err(not_as_announced(&file.name)),
                    None => late.push((name, file.clone())),
                }
            }
        }
        if let Some((name, _)) = missing.first_key_value() {
            return Err(not_as_announced(name));
        }
        // The biggest first, so that none is left over at the end.
        late.sort_by_key(|(_, file)| std::cmp::Reverse(file.bytes));
        for (table, file) in late {
            self.take(queue, table, file)?;
        }
        Ok(())
    }

    /// Adds a file to the queue, from where it is in.
    fn take(&self, queue: &mut Queue, table: &TableName, file: DumpFile) -> Result<()> {
        if queue.manifest.is_none() {
            self.meter.add_chunk(table);
        }
        queue.announced.insert(file.name.clone(), file.clone());
        let mut work = Work {
            table: table.clone(),
            target: self.job.task.routes.target(table),
            file,
            rows_in: 0,
            from: 0,
        };
        for part in self.state.parts.get(&work.file.name).into_iter().flatten() {
            if part.begin != work.from {
                return Err(Error::new(
                    ErrorKind::Checkpoint,
                    format!(
                        "the checkpoint of the load has a gap: `{}` is in up to byte {}, then \
                         from {}",
                        work.file.name, work.from, part.begin
                    ),
                ));
            }
            work.from = part.end;
            work.rows_in += part.rows;
        }
        if work.from > 0 {
            self.meter.resume(table, work.rows_in, work.from);
        }
        if work.from > 0 && work.rows_in == work.file.rows {
            // All of it is in: it need not be there any more.
            self.meter.finish_chunk(table);
            return Ok(());
        }
        if self.merged.contains(&work.target) {
            queue.held.push(work);
        } else {
            queue.ready.push_back(work);
        }
        Ok(())
    }

    /// Lets the rows of merged tables go, if no neighbor loads early into one of them.
    async fn release(&mut self, queue: &mut Queue) -> Result<()> {
        match self.claim.unproved_neighbor(self.session).await? {
            Some(neighbor) => self.meter.note(format!(
                "waits with merged tables until the dump of {neighbor} is whole"
            )),
            None => queue.ready.extend(queue.held.drain(..)),
        }
        Ok(())
    }

    async fn start_writers(&self, works: mpsc::Receiver<Work>) -> Result<JoinSet<Result<()>>> {
        let works = Arc::new(Mutex::new(works));
        let claim = Arc::new(self.claim.clone());
        let mut tasks = JoinSet::new();
        for slot in 1..=self.threads {
            let works = Arc::clone(&works);
            let mut writer = Writer {
                session: writer::open(&self.job.target.server).await?,
                server: self.job.target.server.clone(),
                claim: Arc::clone(&claim),
                slot: slot as u32,
                on_duplicate: self.job.task.load.on_duplicate,
                room: self.room.clone(),
                limits: Limits::of(self.info),
                folder: self.folder.clone(),
                meter: Arc::clone(self.meter),
                settings: Settings::default(),
                ways: Arc::clone(&self.ways),
            };
            tasks.spawn(async move {
                loop {
                    // The lock is held while this writer waits its turn: the others wait behind it.
                    let next = works.lock().await.recv().await;
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
        Ok(tasks)
    }
}

/// Whether the dump is whole and merged tables still wait.
fn is_waiting(queue: &Queue) -> bool {
    queue.manifest.is_some() && !queue.held.is_empty()
}

/// Room for one more work; never where all are handed out.
async fn room(sender: Option<&mpsc::Sender<Work>>) -> Option<mpsc::Permit<'_, Work>> {
    match sender {
        // Closed, it has no reader left: their errors tell more.
        Some(sender) => match sender.reserve().await {
            Ok(permit) => Some(permit),
            Err(_) => std::future::pending().await,
        },
        None => std::future::pending().await,
    }
}

async fn announced(feed: Option<&mut FeedReader>) -> Announcement {
    match feed {
        Some(feed) => feed.next().await,
        None => std::future::pending().await,
    }
}

fn not_as_announced(name: &str) -> Error {
    Error::new(
        ErrorKind::Damaged,
        format!("the dump file `{name}` is not in the manifest as the dump announced it"),
    )
    .with_fix("remove the dump's folder, so that the dump is made again")
}
