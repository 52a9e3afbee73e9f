//! A dump without a lock: each chunk is of a moment of its own, and what is done is written down, so
//! that a dump that was stopped or killed goes on chunk by chunk.
//!
//! Sync makes the rows those of one moment: from the dump's beginning up to the moment of a table's
//! last chunk it applies the table's changes so that it does not matter whether they are in already.
//! A table without a key is read in one piece, at a moment whose place is known exactly.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::connect::Session;
use crate::dump_files::{DoneChunk, DumpFile, ProgressWriter, StrictFrom};
use crate::model::{Error, ErrorKind, Flavor, Position, Result, ServerVersion, TableName};
use crate::schema::Structure;
use crate::source::snapshot::moving::Moments;

use super::chunk::Chunk;
use super::plan::TablePlan;

/// What the readers of a dump without a lock share.
#[derive(Debug)]
pub(super) struct Moving {
    pub(super) moments: Moments,
    progress: tokio::sync::Mutex<ProgressWriter>,
    /// Up to where the tables' rows may have something, so far.
    strict_from: Mutex<BTreeMap<TableName, StrictFrom>>,
}

impl Moving {
    /// Goes on where `done` ends.
    pub(super) fn new(moments: Moments, progress: ProgressWriter, done: &[DoneChunk]) -> Self {
        let moving = Self {
            moments,
            progress: tokio::sync::Mutex::new(progress),
            strict_from: Mutex::default(),
        };
        for chunk in done {
            moving.note(&chunk.table, &chunk.until);
        }
        moving
    }

    /// Begins a reader's transaction for these chunks; gives the place behind which they have nothing.
    pub(super) async fn begin(
        &self,
        reader: &mut Session,
        chunks: &[(Arc<TablePlan>, Chunk)],
    ) -> Result<Position> {
        if chunks.iter().any(|(plan, _)| plan.needs_exact_moment()) {
            let tables: Vec<&TableName> = chunks.iter().map(|(plan, _)| plan.table()).collect();
            return self.moments.begin_exactly(reader, &tables).await;
        }
        self.moments.begin(reader).await
    }

    /// Writes down chunks that were found, before any of them is read.
    pub(super) async fn found(&self, table: &TableName, chunks: &[Chunk]) -> Result<()> {
        let ranges = chunks.iter().map(Chunk::range).collect();
        self.progress.lock().await.found(table, ranges).await
    }

    /// Ends a reader's transaction, and writes down what it has read.
    pub(super) async fn done(
        &self,
        reader: &mut Session,
        chunks: &[(Arc<TablePlan>, Chunk)],
        files: &[Vec<DumpFile>],
        until: Position,
    ) -> Result<()> {
        self.moments.end(reader).await?;
        let done: Vec<DoneChunk> = chunks
            .iter()
            .zip(files)
            .map(|((plan, chunk), files)| DoneChunk {
                table: plan.table().clone(),
                range: chunk.range(),
                files: files.clone(),
                until: until.clone(),
            })
            .collect();
        self.progress.lock().await.done(done).await?;
        for (plan, _) in chunks {
            self.note(plan.table(), &until);
        }
        Ok(())
    }

    fn note(&self, table: &TableName, until: &Position) {
        let mut all = self.lock();
        let entry = all.entry(table.clone()).or_insert_with(|| StrictFrom {
            position: until.clone(),
            is_exact: false,
            is_tied: false,
        });
        if entry.position < *until {
            entry.position = until.clone();
        }
    }

    /// Where each table's part of the span ends. `keyless` says which tables have nothing that tells
    /// their rows apart, `tied` which are of one moment with others: both were read at an exact one.
    pub(super) fn strict_from(
        &self,
        keyless: impl Fn(&TableName) -> bool,
        tied: impl Fn(&TableName) -> bool,
    ) -> BTreeMap<TableName, StrictFrom> {
        let mut all = std::mem::take(&mut *self.lock());
        for (table, strict_from) in &mut all {
            strict_from.is_tied = tied(table);
            strict_from.is_exact = strict_from.is_tied || keyless(table);
        }
        all
    }

    /// The whole is on disk under its manifest.
    pub(super) async fn finish(self) -> Result<()> {
        self.progress.into_inner().remove().await
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<TableName, StrictFrom>> {
        // Plain data: a panic while it was held left nothing half done.
        self.strict_from
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Fails if the engine of a table shows no moment.
pub(super) fn expect_versioned<'a>(
    tables: impl IntoIterator<Item = &'a Structure>,
    is_unversioned: impl Fn(&Structure) -> bool,
) -> Result<()> {
    let Some(structure) = tables
        .into_iter()
        .find(|structure| is_unversioned(structure))
    else {
        return Ok(());
    };
    let table = &structure.table;
    Err(Error::new(
        ErrorKind::Unsupported,
        format!(
            "{table} cannot be dumped without a lock: it is of the engine {}, which knows no snapshots",
            structure.engine
        ),
    )
    .with_fix(format!(
        "use `consistency = \"flush\"`, or `ALTER TABLE {} ENGINE = InnoDB`",
        table.quoted()
    ))
    .at(|c| c.table = Some(table.clone())))
}

/// Whether the server logs what its foreign keys do to the rows of children.
pub(super) fn logs_cascades(version: &ServerVersion) -> bool {
    version.flavor == Flavor::MySQL && version.at_least(9, 6, 0)
}
