//! Cuts the statements of a dump into what the target takes at once.

use std::sync::Arc;

use crate::dump_files::statement::Insert;
use crate::model::{Error, ErrorKind, Result};
use crate::source::ServerInfo;
use crate::target::checkpoint::LoadedPart;

use super::Work;
use super::fields::Lines;
use super::long_row::{self, LongRow};

/// A transaction is committed once its statements have this many bytes: far within what a target with
/// limits on transactions takes (TiDB: 100 MiB by default).
const BATCH_BYTES: usize = 4 << 20;

/// How much the target takes at once.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// In one packet.
    pub(super) packet: usize,
    /// In one transaction, about; a row that is longer stands alone in its own.
    pub(super) batch: usize,
}

impl Limits {
    pub(super) fn of(info: &ServerInfo) -> Self {
        Self::from_packet(info.max_allowed_packet)
    }

    fn from_packet(max_allowed_packet: u64) -> Self {
        // A part of the packet is left for the fence and the guards.
        let packet = usize::try_from(max_allowed_packet)
            .unwrap_or(usize::MAX)
            .saturating_sub(64 << 10)
            .max(64 << 10);
        Self {
            packet,
            batch: BATCH_BYTES.min(packet / 2),
        }
    }
}

/// A statement for the target.
#[derive(Debug)]
pub(super) struct Change {
    /// What each row of the file's statement stands behind.
    pub(super) head: Arc<[u8]>,
    /// The rows.
    pub(super) text: Vec<u8>,
    pub(super) rows: u64,
    pub(super) invalid_enums: u64,
    /// Of a row with long values: what runs before it.
    pub(super) before: Vec<Vec<u8>>,
    /// And what runs behind it.
    pub(super) after: Option<Vec<u8>>,
}

impl Change {
    fn len(&self) -> usize {
        let before: usize = self.before.iter().map(Vec::len).sum();
        self.head.len() + self.text.len() + before
    }

    /// The whole statement.
    pub(super) fn statement(&self) -> Vec<u8> {
        [self.head.as_ref(), &self.text].concat()
    }
}

/// Statements that commit together.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) part: LoadedPart,
    pub(super) changes: Vec<Change>,
    /// Rows as lines, in place of changes.
    pub(super) lines: Vec<u8>,
    pub(super) bytes: usize,
}

impl Batch {
    pub(super) fn at(begin: u64) -> Self {
        Self {
            part: LoadedPart {
                begin,
                end: begin,
                rows: 0,
            },
            changes: Vec::new(),
            lines: Vec::new(),
            bytes: 0,
        }
    }

    /// Adds a row as a line; `false` if it is none, or if there are statements in the batch.
    pub(super) fn push_line(&mut self, lines: &Lines, row: &[u8]) -> bool {
        if !self.changes.is_empty() || !lines.append(&mut self.lines, row) {
            return false;
        }
        self.part.rows += 1;
        self.bytes = self.lines.len();
        true
    }

    pub(super) fn push(&mut self, change: Change) {
        self.part.rows += change.rows;
        self.bytes += change.len();
        self.changes.push(change);
    }
}

impl Limits {
    /// The rows of `insert` from `from` on that make one statement; gives it, and the row behind.
    pub(super) fn cut(
        &self,
        head: &Arc<[u8]>,
        insert: &Insert<'_>,
        from: usize,
        work: &Work,
    ) -> Result<(Change, usize)> {
        let room = self.packet.saturating_sub(head.len());
        let count = insert.row_count();
        // How many invalid ENUMs a part has cannot be told: such a statement is kept whole.
        let to = if insert.invalid_enums > 0 {
            count
        } else {
            insert.rows_within(from, room.min(self.batch))
        };
        let rows = insert.rows(from, to).unwrap_or_default();
        let mut change = Change {
            head: Arc::clone(head),
            text: Vec::new(),
            rows: (to - from) as u64,
            invalid_enums: insert.invalid_enums,
            before: Vec::new(),
            after: None,
        };
        if rows.len() <= room {
            change.text = rows.to_vec();
            return Ok((change, to));
        }
        let split = (to == from + 1).then(|| long_row::split(rows, room));
        let Some(LongRow { before, row, after }) = split.flatten() else {
            return Err(too_long(head.len() + rows.len(), work));
        };
        change.before = before;
        change.text = row;
        change.after = Some(after);
        Ok((change, to))
    }
}

fn too_long(needed: usize, work: &Work) -> Error {
    Error::new(
        ErrorKind::Target,
        format!(
            "a row in the dump file `{}` takes a statement of {needed} bytes, more than the \
             target's `max_allowed_packet` lets through",
            work.file.name
        ),
    )
    .with_fix(format!(
        "`SET GLOBAL max_allowed_packet = {}` on the target",
        (needed + (1 << 20)).next_multiple_of(1024)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_leave_room_for_the_fence() {
        let small = Limits::from_packet(1 << 20);
        assert!(small.packet < 1 << 20 && small.batch <= small.packet);
        assert_eq!(Limits::from_packet(1 << 30).batch, BATCH_BYTES);
    }
}
