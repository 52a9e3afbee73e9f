//! Cuts a big table into chunks, as the table is in a reader's snapshot.
//!
//! Where the values of a key's first column can be counted out, the server's own estimates say which
//! stretches of them are crowded and which are empty (see [`super::stretch`]). Every other key is walked
//! along: each chunk ends at the key of the row so many places further on. Estimates and moments decide
//! about the sizes of chunks only; that they hold each row once follows from how they touch (see
//! [`super::chunk`]).

use std::sync::Arc;

use crate::connect::Session;
use crate::model::{Error, ErrorKind, Result, table::quote_name};

use super::chunk::{Bound, Chunk, ChunkKey, literal};
use super::plan::{TablePlan, select_item};
use super::stretch;

/// `ER_INVALID_CHARACTER_STRING`: a literal's bytes are no text of its character set.
const INVALID_TEXT: u16 = 1300;

/// Finds the chunks of a table, one after the other. The reader lets go of its metadata locks in
/// between.
pub(super) struct Cutter<'a> {
    plan: &'a TablePlan,
    /// Whether the reader is in a snapshot's transaction.
    in_transaction: bool,
    /// Where the next chunk begins.
    from: Option<Bound>,
    is_begun: bool,
    is_done: bool,
}

impl<'a> Cutter<'a> {
    /// A cutter of a whole table, or of what was not cut yet.
    pub(super) fn new(plan: &'a TablePlan, in_transaction: bool) -> Self {
        Self {
            plan,
            in_transaction,
            from: plan.cut_from.clone(),
            is_begun: plan.cut_from.is_some(),
            is_done: false,
        }
    }

    /// Whether all chunks are found.
    pub(super) fn is_done(&self) -> bool {
        self.is_done
    }

    /// The next chunks; none once all are found.
    pub(super) async fn next(&mut self, reader: &mut Session) -> Result<Vec<Chunk>> {
        if self.is_done {
            return Ok(Vec::new());
        }
        let Some(key) = &self.plan.key else {
            return Ok(vec![self.take(None)]);
        };
        if !std::mem::replace(&mut self.is_begun, true) {
            let bounds = stretch::bounds(reader, self.plan, key, self.in_transaction).await;
            let_go(reader, self.in_transaction).await?;
            if let Some(bounds) = bounds? {
                let mut chunks: Vec<Chunk> = bounds
                    .into_iter()
                    .map(|bound| self.take(Some(Arc::from([bound]))))
                    .collect();
                chunks.push(self.take(None));
                return Ok(chunks);
            }
        }
        let bound = walk(reader, self.plan, key, self.from.as_deref()).await;
        let_go(reader, self.in_transaction).await?;
        // What orders below its own value cannot be cut: the rest is one chunk.
        let bound = bound?.filter(|bound| self.from.as_ref() != Some(bound));
        Ok(vec![self.take(bound)])
    }

    /// The chunk up to `until`; without it the last one.
    fn take(&mut self, until: Option<Bound>) -> Chunk {
        self.is_done = until.is_none();
        let from = std::mem::replace(&mut self.from, until.clone());
        Chunk { from, until }
    }
}

/// Lets go of the metadata locks that a statement of the reader's transaction took.
pub(super) async fn let_go(reader: &mut Session, in_transaction: bool) -> Result<()> {
    if in_transaction && !reader.is_broken() {
        reader.execute(b"ROLLBACK TO SAVEPOINT tideway").await?;
    }
    Ok(())
}

/// The key that is a chunk's rows behind `at`; `None` where no more than that is left.
async fn walk(
    reader: &mut Session,
    plan: &TablePlan,
    key: &ChunkKey,
    at: Option<&[String]>,
) -> Result<Option<Bound>> {
    let items: Vec<String> = key.columns.iter().map(select_item).collect();
    let order = key.list();
    let behind = at.map_or_else(String::new, |at| format!(" WHERE {}", key.behind(at)));
    let sql = format!(
        "SELECT {} FROM {} FORCE INDEX ({}){behind} ORDER BY {order} LIMIT 1 OFFSET {}",
        items.join(", "),
        plan.table().quoted(),
        quote_name(&key.index),
        plan.chunk_rows.max(1)
    );
    let rows = match reader.rows(&sql).await {
        // A key that is no text of its character set cannot be written down: the rest is one chunk.
        Err(error) if error.server().is_some_and(|e| e.number == INVALID_TEXT) => return Ok(None),
        rows => rows.map_err(|error| super::gone(error, plan.table()))?,
    };
    let Some(row) = rows.into_iter().next() else {
        return Ok(None);
    };
    let mut bound = Vec::with_capacity(key.columns.len());
    for (cell, column) in row.into_iter().zip(&key.columns) {
        let bytes = cell.ok_or_else(|| {
            Error::new(
                ErrorKind::Internal,
                format!("`{}` is NOT NULL and holds NULL", column.name),
            )
        })?;
        bound.push(literal(&bytes, column)?);
    }
    Ok(Some(bound.into()))
}
