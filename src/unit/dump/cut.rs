//! Cuts a big table into chunks, as the table is in a reader's snapshot.
//!
//! Where the key is one integer, its values are counted out, and the server's own estimates say which
//! stretches are crowded and which are empty. Every other key is walked along: each chunk ends at the
//! key of the row so many places further on. Estimates and moments decide about the sizes of chunks
//! only; that they hold each row once follows from how they touch (see [`super::chunk`]).

use std::sync::Arc;

use crate::connect::Session;
use crate::model::{Error, ErrorKind, Result, table::quote_name};

use super::chunk::{Bound, Chunk, ChunkKey, literal};
use super::plan::{TablePlan, select_item};

/// `ER_INVALID_CHARACTER_STRING`: a literal's bytes are no text of its character set.
const INVALID_TEXT: u16 = 1300;

/// The most ranges that a stretch of integers is cut into before the estimates are asked again.
const FAN: i128 = 32;

/// The most questions for estimates about one table.
const MOST_ESTIMATES: usize = 20_000;

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
        if !std::mem::replace(&mut self.is_begun, true) && key.integer().is_some() {
            let bounds = integer_bounds(reader, self.plan, key, self.in_transaction).await;
            let_go(reader, self.in_transaction).await?;
            if let Some(bounds) = bounds? {
                let mut chunks: Vec<Chunk> = bounds
                    .into_iter()
                    .map(|bound| self.take(Some(Arc::from([bound.to_string()]))))
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

/// Where the chunks of an integer key begin, but for the first, in order; `None` where the server's
/// estimates do not add up to the table, so that they say nothing.
async fn integer_bounds(
    reader: &mut Session,
    plan: &TablePlan,
    key: &ChunkKey,
    in_transaction: bool,
) -> Result<Option<Vec<i128>>> {
    let list = key.list();
    let sql = format!(
        "SELECT MIN({list}), MAX({list}) FROM {}",
        plan.table().quoted()
    );
    let rows = reader
        .rows(&sql)
        .await
        .map_err(|error| super::gone(error, plan.table()))?;
    let mut ends = rows
        .into_iter()
        .flatten()
        .map(|cell| cell.and_then(|bytes| String::from_utf8(bytes).ok()?.parse::<i128>().ok()));
    let (Some(low), Some(high)) = (ends.next().flatten(), ends.next().flatten()) else {
        return Ok(Some(Vec::new()));
    };
    let most = plan.chunk_rows.max(1);
    let mut stack = vec![(low, high, plan.rows.max(most + 1))];
    let mut bounds = Vec::new();
    let mut asked = 0;
    // The rows of the chunk in hand: neighbours with few rows are joined.
    let mut in_hand = 0;
    while let Some((low, high, rows)) = stack.pop() {
        let crowded = rows > most + most / 2 && low < high && asked < MOST_ESTIMATES;
        if !crowded {
            if in_hand > 0 && in_hand + rows > most + most / 4 {
                bounds.push(low);
                in_hand = 0;
            }
            in_hand += rows;
            continue;
        }
        let parts = i128::from(rows.div_ceil(most)).clamp(2, FAN);
        let mut found = Vec::new();
        for (low, high) in parts_of(low, high, parts) {
            found.push((low, high, estimate(reader, plan, key, low, high).await?));
            asked += 1;
        }
        // A table may need thousands of estimates: DDL that waits for it goes first.
        let_go(reader, in_transaction).await?;
        let total: u64 = found.iter().map(|(.., rows)| rows).sum();
        if total < rows / 2 {
            return Ok(None);
        }
        stack.extend(found.into_iter().rev());
    }
    Ok(Some(bounds))
}

/// `low..=high` in `count` parts of about equal length, or fewer where there are not as many numbers.
fn parts_of(low: i128, high: i128, count: i128) -> impl Iterator<Item = (i128, i128)> {
    let span = high - low + 1;
    let count = count.clamp(1, span.max(1));
    (0..count).map(move |index| {
        (
            low + span * index / count,
            low + span * (index + 1) / count - 1,
        )
    })
}

/// About how many rows the server expects in a range.
async fn estimate(
    reader: &mut Session,
    plan: &TablePlan,
    key: &ChunkKey,
    low: i128,
    high: i128,
) -> Result<u64> {
    let sql = format!(
        "EXPLAIN FORMAT=TRADITIONAL SELECT 1 FROM {} FORCE INDEX ({}) WHERE {} BETWEEN {low} AND {high}",
        plan.table().quoted(),
        quote_name(&key.index),
        key.list()
    );
    let mut stream = reader
        .stream(&sql)
        .await
        .map_err(|error| super::gone(error, plan.table()))?;
    let rows = stream
        .column_names()
        .iter()
        .position(|name| name.eq_ignore_ascii_case("rows"));
    let mut estimate = None;
    while let Some(row) = stream.next().await? {
        let cell = rows.and_then(|rows| row.get(rows));
        let number = cell.and_then(|cell| std::str::from_utf8(cell).ok()?.parse().ok());
        estimate = estimate.or(number);
    }
    // Nothing where the server sees at once that there are none.
    Ok(estimate.unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_cover_all_without_overlap() {
        for (low, high, count) in [
            (0, 9, 3),
            (-5, 5, 4),
            (7, 7, 5),
            (i128::from(i64::MIN), i128::from(u64::MAX), 32),
        ] {
            let mut next = low;
            for (low, high) in parts_of(low, high, count) {
                assert_eq!(low, next);
                assert!(low <= high);
                next = high + 1;
            }
            assert_eq!(next, high + 1);
        }
    }
}
