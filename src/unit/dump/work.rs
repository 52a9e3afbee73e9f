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
use super::cut::{cut, let_go};
use super::plan::TablePlan;
use super::{Meter, gone, rows};

/// Small tables are read several at a time, so that they are looked up together: up to this many …
const TABLES_AT_ONCE: usize = 64;

/// … and this many bytes by estimate, so that metadata locks are not kept for long.
const BYTES_AT_ONCE: u64 = 1 << 20;

/// A file with rows, and whose they are.
pub(super) type Done = (TableName, DumpFile);

/// What the readers share.
#[derive(Clone)]
pub(super) struct Work {
    pub(super) folder: DumpFolder,
    pub(super) catalogue: Arc<tokio::sync::Mutex<Catalogue>>,
    pub(super) feed: FeedWriter,
    pub(super) meter: Arc<Meter>,
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
    chunks: VecDeque<(Arc<TablePlan>, Chunk)>,
    /// How many readers are finding chunks.
    cutting: usize,
}

impl Queue {
    fn new(mut plans: Vec<TablePlan>) -> Self {
        plans.sort_by_key(|plan| std::cmp::Reverse(plan.bytes));
        Self {
            state: Mutex::new(State {
                tables: plans.into_iter().map(Arc::new).collect(),
                chunks: VecDeque::new(),
                cutting: 0,
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
        if let Some(chunk) = self.chunks.pop_front() {
            return Some(Job::Read(vec![chunk]));
        }
        let first = self.tables.pop_front()?;
        if first.is_big() {
            self.cutting += 1;
            return Some(Job::Cut(first));
        }
        let mut bytes = first.bytes;
        let mut several = vec![(first, Chunk::whole())];
        while several.len() < TABLES_AT_ONCE
            && let Some(next) = self.tables.front()
            && !next.is_big()
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
    /// Reads tables with all readers; the files are added by table. The readers are in a transaction
    /// with the savepoint that a snapshot has, or in none.
    pub(super) async fn read_all(
        &self,
        plans: Vec<TablePlan>,
        readers: &mut Vec<Session>,
        in_transaction: bool,
        files: &mut BTreeMap<TableName, Vec<DumpFile>>,
    ) -> Result<()> {
        let queue = Arc::new(Queue::new(plans));
        let mut tasks = JoinSet::new();
        for reader in std::mem::take(readers) {
            tasks.spawn(
                self.clone()
                    .read_some(reader, in_transaction, Arc::clone(&queue)),
            );
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
        in_transaction: bool,
        queue: Arc<Queue>,
    ) -> Result<(Session, Vec<Done>)> {
        let mut done = Vec::new();
        while let Some(job) = queue.next().await {
            match job {
                Job::Cut(plan) => {
                    self.cut(&mut reader, &plan, in_transaction, &queue).await?;
                    queue.has_cut();
                }
                Job::Read(chunks) => {
                    done.extend(self.read(&mut reader, chunks, in_transaction).await?);
                }
            }
        }
        Ok((reader, done))
    }

    async fn cut(
        &self,
        reader: &mut Session,
        plan: &Arc<TablePlan>,
        in_transaction: bool,
        queue: &Queue,
    ) -> Result<()> {
        let mut count = 0;
        let expected = plan.chunks_expected();
        cut(reader, plan, in_transaction, |chunk, is_last| {
            count += 1;
            // More than are known, until they all are: the last one makes the estimates exact.
            let total = if is_last {
                count
            } else {
                expected.max(count + 1)
            };
            self.meter.set_chunks(plan.table(), total);
            queue.found(plan, chunk);
        })
        .await
    }

    /// Reads chunks into files that may be kept.
    async fn read(
        &self,
        reader: &mut Session,
        chunks: Vec<(Arc<TablePlan>, Chunk)>,
        in_transaction: bool,
    ) -> Result<Vec<Done>> {
        let mut done = Vec::new();
        for (plan, chunk) in &chunks {
            self.meter.begin_table(plan.table());
            let files = rows::read(reader, plan, chunk, &self.folder, &self.meter)
                .await
                .map_err(|error| gone(error, plan.table()))?;
            done.extend(files.into_iter().map(|file| (plan.table().clone(), file)));
        }
        // The tables' metadata locks are still ours: what the catalogue says now is what was read.
        self.catalogue
            .lock()
            .await
            .expect_unchanged(chunks.iter().map(|(plan, _)| &plan.structure))
            .await?;
        let_go(reader, in_transaction).await?;
        for (plan, _) in &chunks {
            self.meter.finish_chunk(plan.table());
        }
        for (table, file) in &done {
            self.feed.file(table, file);
        }
        Ok(done)
    }
}
