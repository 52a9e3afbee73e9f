//! The statements of a batch under way: like changes gather in one, wherever they stand in the batch.
//!
//! A change joins an earlier statement of its shape if nothing that it touches was touched behind that
//! statement; else it begins a new one at the end. So what is written comes out as it would in the
//! source's order, and a batch of single-row transactions on many tables is a few long statements.

use std::collections::HashMap;
use std::sync::Arc;

use super::order::{Ledger, Touched};
use super::plan::Plan;
use super::statement::{Checks, Origin};
use crate::model::Result;
use crate::model::value::RowChange;

/// What changes must have in common to share a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Shape {
    /// INSERT of several rows.
    Insert,
    /// DELETE by a list of keys.
    Delete,
    /// UPDATE of these columns by a list of values.
    Update(u128),
    /// A statement of its own, with so many invalid members of ENUMs.
    Alone(usize),
}

/// A statement under way.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) shape: Shape,
    pub(super) plan: Arc<Plan>,
    pub(super) checks: Checks,
    pub(super) statement: Vec<u8>,
    /// Of an UPDATE: the statement for its first row alone.
    pub(super) first: Vec<u8>,
    pub(super) rows: u64,
    /// Its first row.
    pub(super) origin: Origin,
}

/// How long a statement of several rows may get.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// No row is added to a statement that has so many bytes.
    pub(super) bytes: usize,
    /// No row is added that would make it longer than this.
    pub(super) longest: usize,
}

/// Servers parse long lists no faster; MariaDB makes a join of a list of 1,000 keys.
const GROUP_ROWS: u64 = 999;
/// Beyond this many values, or bytes of statements, what there is is written first: so memory stays
/// bounded, as statements that grow have room to spare.
const VALUES: usize = 1 << 16;
const BYTES: usize = 2 << 20;

/// The statements of a batch that are not written yet, in the order in which they will be.
#[derive(Debug, Default)]
pub(super) struct Groups {
    all: Vec<Group>,
    /// The last one of each plan, by its address, that may take further rows.
    open: HashMap<(usize, Checks, Shape), usize>,
    ledger: Ledger,
    touched: Touched,
    row: Vec<u8>,
    /// Bytes of all statements.
    bytes: usize,
}

impl Groups {
    /// Adds a change, whose shape is known; gives how long the statement is that it is in.
    pub(super) fn add(
        &mut self,
        (shape, plan, checks): (Shape, &Arc<Plan>, Checks),
        change: &RowChange<'_>,
        origin: Origin,
        limits: Limits,
    ) -> Result<usize> {
        let row = &mut self.row;
        row.clear();
        match (shape, change) {
            (Shape::Insert, RowChange::Insert { after }) => plan.write_row(row, after)?,
            (Shape::Delete, RowChange::Delete { before }) => plan.write_key(row, before)?,
            (Shape::Update(columns), RowChange::Update { before, after }) => {
                plan.write_joined(row, columns, before, after)?;
            }
            (_, RowChange::Insert { after }) => {
                plan.begin_insert(row);
                plan.write_row(row, after)?;
            }
            (_, RowChange::Delete { before }) => plan.write_delete(row, before)?,
            (_, RowChange::Update { before, after }) => {
                plan.write_update(row, before, after)?;
            }
        }
        plan.order.touches(change, &mut self.touched);
        let behind = self.ledger.behind(&self.touched) as usize;
        let key = (Arc::as_ptr(plan) as usize, checks, shape);
        let found = self.open.get(&key).copied().filter(|&found| {
            // The rows of an INSERT go in one by one, as they stand.
            let is_behind = found + 1 > behind || (shape == Shape::Insert && found + 1 == behind);
            let is_longest = self
                .all
                .get(found)
                .is_none_or(|group| group.statement.len() + self.row.len() > limits.longest);
            is_behind && !is_longest
        });
        let number = match found {
            Some(number) => number,
            None => self.begin(key, plan, change, origin)?,
        };
        self.ledger.enter(&self.touched, number as u32 + 1);
        let Some(group) = self.all.get_mut(number) else {
            return Ok(0);
        };
        self.bytes += self.row.len();
        group.take(&self.row);
        if group.statement.len() >= limits.bytes || group.rows >= GROUP_ROWS {
            self.open.remove(&key);
        }
        Ok(group.statement.len())
    }

    fn begin(
        &mut self,
        key: (usize, Checks, Shape),
        plan: &Arc<Plan>,
        change: &RowChange<'_>,
        origin: Origin,
    ) -> Result<usize> {
        let (_, checks, shape) = key;
        let mut first = Vec::new();
        if let (Shape::Update(_), RowChange::Update { before, after }) = (shape, change) {
            plan.write_update(&mut first, before, after)?;
        }
        let number = self.all.len();
        self.all.push(Group {
            shape,
            plan: Arc::clone(plan),
            checks,
            statement: Vec::new(),
            first,
            rows: 0,
            origin,
        });
        if !matches!(shape, Shape::Alone(_)) {
            self.open.insert(key, number);
        }
        Ok(number)
    }

    /// Whether what there is should be written before more is taken.
    pub(super) fn is_full(&self) -> bool {
        self.ledger.len() > VALUES || self.bytes > BYTES
    }

    /// Takes out what there is: what is added next stays behind all of it.
    pub(super) fn take(&mut self) -> Vec<Group> {
        self.open.clear();
        self.ledger.clear();
        self.bytes = 0;
        std::mem::take(&mut self.all)
    }
}

impl Group {
    fn take(&mut self, row: &[u8]) {
        let is_first = self.rows == 0;
        self.rows += 1;
        let out = &mut self.statement;
        match self.shape {
            Shape::Insert if is_first => self.plan.begin_insert(out),
            Shape::Delete if is_first => self.plan.begin_delete(out),
            Shape::Insert | Shape::Delete => out.extend_from_slice(b", "),
            Shape::Update(columns) => {
                self.plan.begin_joined(out, columns, is_first);
            }
            Shape::Alone(_) => {}
        }
        out.extend_from_slice(row);
    }

    /// The whole statement.
    pub(super) fn finish(&mut self) -> &[u8] {
        match self.shape {
            Shape::Update(_) if self.rows == 1 => return &self.first,
            Shape::Update(columns) => self.plan.end_joined(&mut self.statement, columns),
            Shape::Delete => self.statement.push(b')'),
            Shape::Insert | Shape::Alone(_) => {}
        }
        &self.statement
    }
}
