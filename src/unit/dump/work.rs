//! What the readers of a dump share, and what each of them does: it takes the next piece of work,
//! reads it into files, and sees that the tables were those that the dump knows.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::connect::Session;
use crate::dump_files::feed::FeedWriter;
use crate::dump_files::{DumpFile, DumpFolder};
use crate::model::{Error, ErrorKind, Result, TableName};

use super::catalogue::Catalogue;
use super::chunk::Chunk;
use super::cut::{Cutter, let_go};
use super::moving::Moving;
use super::plan::TablePlan;
use super::throttle::Throttle;
use super::{Meter, gone, rows};

/// Small tables are read several at a time, so that they are looked up together: up to this many …
const TABLES_AT_ONCE: usize = 64;

/// … and this many bytes by estimate, so that metadata locks are not kept for long.
const BYTES_AT_ONCE: u64 = 1 << 20;

/// A file with rows, and whose they are.
pub(super) type Done = (TableName, DumpFile);

/// How the readers read.
#[derive(Clone)]
pub(super) enum How {
    /// Within the transactions of a snapshot, whose savepoint lets go of metadata locks.
    Snapshot,
    /// In no transaction, under a lock that keeps everybody from writing.
    Locked,
    /// Each chunk at a moment of its own.
    Moving(Arc<Moving>),
}

impl How {
    fn is_snapshot(&self) -> bool {
        matches!(self, Self::Snapshot)
    }
}

/// What the readers share.
#[derive(Clone)]
pub(super) struct Work {
    pub(super) folder: DumpFolder,
    pub(super) catalogue: Arc<tokio::sync::Mutex<Catalogue>>,
    /// Who hears of files; nobody does before the dump is open.
    pub(super) feed: Option<FeedWriter>,
    pub(super) meter: Arc<Meter>,
    pub(super) throttle: Arc<Throttle>,
    pub(super) how: How,
}

/// What is to be read of a table.
pub(super) struct Todo {
    pub(super) plan: TablePlan,
    /// Chunks that are known already.
    pub(super) chunks: Vec<Chunk>,
    /// Whether there are more, which are not known.
    pub(super) is_open: bool,
}

impl Todo {
    /// All of it.
    pub(super) fn all(plan: TablePlan) -> Self {
        Self {
            plan,
            chunks: Vec::new(),
            is_open: true,
        }
    }
}

/// Something to do for one reader.
enum Job {
    /// To find a table's chunks, which others read meanwhile.
    Cut(Arc<TablePlan>),
    /// To read a chunk, or several small tables.
    Read(Vec<(Arc<TablePlan>, Chunk)>),
}

/// What no reader has taken yet.
struct Queue {
    state: Mutex<State>,
    more: Notify,
}

struct State {
    /// The biggest first, so that none is left over at the end.
    tables: VecDeque<Arc<TablePlan>>,
    /// Tables that must be read at one moment.
    tied: BTreeMap<usize, Vec<Arc<TablePlan>>>,
    chunks: VecDeque<(Arc<TablePlan>, Chunk)>,
    /// How many readers are finding chunks.
    cutting: usize,
    /// Whether a table whose rows nothing tells apart is read by itself.
    alone: bool,
}

impl Queue {
    /// `alone`: a table whose rows nothing tells apart is read by itself.
    fn new(mut todo: Vec<Todo>, alone: bool) -> Self {
        todo.sort_by_key(|todo| std::cmp::Reverse(todo.plan.bytes));
        let mut tables = VecDeque::new();
        let mut chunks = VecDeque::new();
        let mut tied: BTreeMap<usize, Vec<Arc<TablePlan>>> = BTreeMap::new();
        for table in todo {
            let plan = Arc::new(table.plan);
            let known = table.chunks.into_iter();
            chunks.extend(known.map(|chunk| (Arc::clone(&plan), chunk)));
            if let (true, Some(group)) = (table.is_open, plan.tied) {
                tied.entry(group).or_default().push(plan);
            } else if table.is_open {
                tables.push_back(plan);
            }
        }
        Self {
            state: Mutex::new(State {
                tables,
                tied,
                chunks,
                cutting: 0,
                alone,
            }),
            more: Notify::new(),
        }
    }

    /// The next piece of work; waits while others may still find some.
    async fn next(&self) -> Option<Job> {
        loop {
            let notified = self.more.notified();
            tokio::pin!(notified);
            // From here on no wake-up is missed.
            notified.as_mut().enable();
            {
                let mut state = self.lock();
                if let Some(job) = state.next() {
                    return Some(job);
                }
                if state.cutting == 0 {
                    return None;
                }
            }
            notified.await;
        }
    }

    fn found(&self, plan: &Arc<TablePlan>, chunk: Chunk) {
        self.lock().chunks.push_back((Arc::clone(plan), chunk));
        self.more.notify_one();
    }

    fn has_cut(&self) {
        self.lock().cutting -= 1;
        self.more.notify_waiters();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Plain data: a panic while it was held left nothing half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn next(&mut self) -> Option<Job> {
        // Nobody can help with these, so they are not left for the end.
        if let Some((_, group)) = self.tied.pop_first() {
            let whole = group.into_iter().map(|plan| (plan, Chunk::whole()));
            return Some(Job::Read(whole.collect()));
        }
        if let Some(chunk) = self.chunks.pop_front() {
            return Some(Job::Read(vec![chunk]));
        }
        let first = self.tables.pop_front()?;
        if first.is_big() {
            self.cutting += 1;
            return Some(Job::Cut(first));
        }
        let mut bytes = first.bytes;
        let is_alone = |plan: &TablePlan| self.alone && plan.is_keyless();
        let most = if is_alone(&first) { 1 } else { TABLES_AT_ONCE };
        let mut several = vec![(first, Chunk::whole())];
        while several.len() < most
            && let Some(next) = self.tables.front()
            && !next.is_big()
            && !is_alone(next)
            && bytes + next.bytes <= BYTES_AT_ONCE
            && let Some(next) = self.tables.pop_front()
        {
            bytes += next.bytes;
            several.push((next, Chunk::whole()));
        }
        Some(Job::Read(several))
    }
}

impl Work {
    /// Reads tables with all readers; the files are added by table.
    pub(super) async fn read_all(
        &self,
        todo: Vec<Todo>,
        readers: &mut Vec<Session>,
        files: &mut BTreeMap<TableName, Vec<DumpFile>>,
    ) -> Result<()> {
        let alone = matches!(self.how, How::Moving(_));
        let queue = Arc::new(Queue::new(todo, alone));
        let mut tasks = JoinSet::new();
        for reader in std::mem::take(readers) {
            tasks.spawn(self.clone().read_some(reader, Arc::clone(&queue)));
        }
        while let Some(ended) = tasks.join_next().await {
            let (reader, done) = ended.map_err(|error| {
                Error::new(ErrorKind::Panicked, "a reader of the dump ended").with_source(error)
            })??;
            readers.push(reader);
            for (table, file) in done {
                files.entry(table).or_default().push(file);
            }
        }
        Ok(())
    }

    /// One reader: takes one piece of work after the other until none is left.
    async fn read_some(
        self,
        mut reader: Session,
        queue: Arc<Queue>,
    ) -> Result<(Session, Vec<Done>)> {
        let mut done = Vec::new();
        while let Some(job) = queue.next().await {
            match job {
                Job::Cut(plan) => {
                    self.cut(&mut reader, &plan, &queue).await?;
                    queue.has_cut();
                }
                Job::Read(chunks) => done.extend(self.read(&mut reader, chunks).await?),
            }
        }
        Ok((reader, done))
    }

    async fn cut(&self, reader: &mut Session, plan: &Arc<TablePlan>, queue: &Queue) -> Result<()> {
        let known = self.meter.chunks_known(plan.table());
        let mut count = if plan.cut_from.is_some() { known } else { 0 };
        let expected = plan.chunks_expected();
        let mut cutter = Cutter::new(plan, self.how.is_snapshot());
        while !cutter.is_done() {
            let chunks = cutter.next(reader).await?;
            count += chunks.len() as u64;
            // More than are known, until they all are: the last one makes the estimates exact.
            let total = if cutter.is_done() {
                count
            } else {
                expected.max(count + 1)
            };
            if let How::Moving(moving) = &self.how {
                moving.found(plan.table(), &chunks).await?;
            }
            self.meter.set_chunks(plan.table(), total);
            for chunk in chunks {
                queue.found(plan, chunk);
            }
        }
        Ok(())
    }

    /// Reads chunks into files that may be kept.
    async fn read(
        &self,
        reader: &mut Session,
        chunks: Vec<(Arc<TablePlan>, Chunk)>,
    ) -> Result<Vec<Done>> {
        let moment = match &self.how {
            How::Moving(moving) => Some(moving.begin(reader, &chunks).await?),
            How::Snapshot | How::Locked => None,
        };
        // What is done is written down only where it is on disk: one big file by itself, many small ones
        // together.
        let is_one = chunks.len() == 1;
        let mut by_chunk = Vec::with_capacity(chunks.len());
        for (plan, chunk) in &chunks {
            self.meter.begin_table(plan.table());
            let files = rows::read(reader, plan, chunk, self, is_one && moment.is_some())
                .await
                .map_err(|error| gone(error, plan.table()))?;
            by_chunk.push(files);
            if plan.tied.is_some() {
                // The others are of the same moment without its metadata lock, too.
                self.expect_unchanged(&[(Arc::clone(plan), chunk.clone())])
                    .await?;
                let_go(reader, true).await?;
            }
        }
        self.expect_unchanged(&chunks).await?;
        match (&self.how, moment) {
            (How::Moving(moving), Some(moment)) => {
                if !is_one {
                    self.folder.sync().await?;
                }
                moving.done(reader, &chunks, &by_chunk, moment).await?;
            }
            (how, _) => let_go(reader, how.is_snapshot()).await?,
        }
        let mut done = Vec::new();
        for ((plan, _), files) in chunks.iter().zip(by_chunk) {
            self.meter.finish_chunk(plan.table());
            for file in files {
                if let Some(feed) = &self.feed {
                    feed.file(plan.table(), &file);
                }
                done.push((plan.table().clone(), file));
            }
        }
        Ok(done)
    }

    /// Fails if a table is not the one that was just read. Its metadata lock is still ours: what the
    /// catalogue says now is what was read. Where it was let go of, that was looked at before.
    async fn expect_unchanged(&self, chunks: &[(Arc<TablePlan>, Chunk)]) -> Result<()> {
        let read: Vec<(&TableName, &str)> = chunks
            .iter()
            .map(|(plan, _)| (plan.table(), plan.fingerprint.as_str()))
            .collect();
        self.catalogue.lock().await.expect_unchanged(&read).await
    }
}
