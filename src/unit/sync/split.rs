//! Transactions that are larger than the target takes: they are cut, and each part commits on its own
//! with how far the transaction is, so that a restart goes on behind the last part that is in.
//!
//! TiDB has a limit for every transaction, so there each one that does not fit into a part is cut. On
//! other targets one is cut only once the target has refused it for its size, smaller each time.

use super::applier::End;
use super::failure::Failure;
use super::transaction::Transaction;
use crate::connect::Session;
use crate::model::{Error, Flavor, Place, Result};

/// TiDB's `performance.txn-total-size-limit`, unless it was changed.
const TIDB_BYTES: usize = 100 << 20;
/// What rows of the binlog may become in the target's own counting, indexes included.
const GROWTH: usize = 4;
/// A part is not made smaller than this: then it is a row that is too large.
const LEAST_BYTES: usize = 16 << 10;

/// How transactions are cut.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Cut {
    /// The most that a part holds, in bytes of rows events; `None`: what memory allows.
    pub(super) bytes: Option<usize>,
    /// Whether each transaction that is longer than a part commits in parts.
    pub(super) all: bool,
    /// The one that does, because the target refused it as a whole.
    pub(super) one: Option<Place>,
    /// So many transactions, the next ones, are target transactions of their own.
    pub(super) singles: usize,
}

/// A target transaction that was refused for its size.
#[derive(Debug)]
pub(super) struct TooLarge {
    /// Where the source's transaction begins, if it was alone; else how many they were.
    what: What,
    /// Bytes of rows events that were in it.
    bytes: usize,
    /// What the target said.
    pub(super) failure: Box<Failure>,
}

#[derive(Debug)]
enum What {
    One(Place),
    Several(usize),
}

impl Cut {
    /// What the target asks for.
    pub(super) async fn of_target(session: &mut Session) -> Result<Self> {
        if session.version().flavor != Flavor::TiDB {
            return Ok(Self::default());
        }
        // Reading it takes a privilege of its own; without it the usual value is supposed.
        let shown = session
            .rows("SHOW CONFIG WHERE TYPE = 'tidb' AND NAME = 'performance.txn-total-size-limit'")
            .await;
        let limit = shown.ok().and_then(|rows| {
            rows.first()?
                .last()?
                .as_deref()
                .and_then(|cell| std::str::from_utf8(cell).ok()?.parse::<usize>().ok())
        });
        Ok(Self {
            bytes: Some(limit.unwrap_or(TIDB_BYTES) / GROWTH),
            all: true,
            ..Self::default()
        })
    }

    /// Both together.
    #[must_use]
    pub(super) fn with(self, other: &Self) -> Self {
        let bytes = [self.bytes, other.bytes].into_iter().flatten().min();
        Self {
            bytes,
            all: self.all || other.all,
            one: other.one.clone().or(self.one),
            singles: other.singles.max(self.singles),
        }
    }

    /// A finer one, after the target refused something for its size; the failure is given back where
    /// nothing finer is left.
    pub(super) fn finer(&self, met: TooLarge) -> Result<Self, Box<Failure>> {
        let mut next = self.clone();
        match met.what {
            What::Several(count) => {
                next.singles = count;
                Ok(next)
            }
            // It was not cut yet: into parts as large as they may be.
            What::One(begin) if !self.all && self.one.as_ref() != Some(&begin) => {
                next.one = Some(begin);
                Ok(next)
            }
            What::One(begin) => {
                let bytes = met.bytes.min(self.bytes.unwrap_or(usize::MAX)) / 2;
                if bytes < LEAST_BYTES {
                    return Err(met.failure);
                }
                next.bytes = Some(bytes);
                next.one = Some(begin);
                Ok(next)
            }
        }
    }

    /// Whether a transaction, or the part of one, commits in parts.
    pub(super) fn applies_to(&self, part: &Transaction) -> bool {
        !(part.is_first && part.is_last) && (self.all || self.one.as_ref() == Some(&part.begin))
    }
}

/// Whether the target refused a transaction for its size: TiDB's limit, the binlog's cache, a group's
/// or a cluster's limit.
/// Sources: TiDB's `pkg/errno`; `ER_TRANS_CACHE_FULL`; `ER_RUN_HOOK_ERROR`; `ER_ERROR_DURING_COMMIT`.
pub(super) fn is_size(error: &Error) -> bool {
    error.server().is_some_and(|server| match server.number {
        8004 | 1197 | 3100 => true,
        // EMSGSIZE of a write set.
        1180 => server.message.contains("error 90"),
        _ => false,
    })
}

/// The end for a target transaction that was refused: for its size, or `other`.
pub(super) fn end_of(batch: &[Transaction], error: Error, other: impl FnOnce(Error) -> End) -> End {
    let Some(first) = batch.first() else {
        return other(error);
    };
    if !is_size(&error) {
        return other(error);
    }
    let what = if batch.len() == 1 {
        What::One(first.begin.clone())
    } else {
        What::Several(batch.len())
    };
    let bytes = batch.iter().map(|transaction| transaction.bytes).sum();
    let place = first.begin.clone();
    let error = error.at(|c| c.place = Some(place));
    End::TooLarge(TooLarge {
        what,
        bytes,
        failure: Box::new(error.into()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ErrorKind, Position};

    fn met(what: What, bytes: usize) -> TooLarge {
        TooLarge {
            what,
            bytes,
            failure: Box::new(Error::new(ErrorKind::Target, "too large").into()),
        }
    }

    #[test]
    fn each_refusal_makes_the_parts_smaller_until_nothing_is_left() {
        let at = |offset| Place::new("7.1", Position::new("bin.000001", offset));
        let cut = Cut::default();
        let several = cut.finer(met(What::Several(7), 1 << 20)).unwrap();
        assert_eq!((several.singles, several.one), (7, None));
        let cut = cut.finer(met(What::One(at(4)), 1 << 20)).unwrap();
        assert_eq!((cut.bytes, cut.one.clone()), (None, Some(at(4))));
        let mut cut = cut.finer(met(What::One(at(4)), 1 << 20)).unwrap();
        assert_eq!((cut.bytes, cut.one.clone()), (Some(1 << 19), Some(at(4))));
        // Another one is first cut as the last one was: it is not the parts that were too large.
        let other = cut.finer(met(What::One(at(800)), 40)).unwrap();
        assert_eq!((other.bytes, other.one), (Some(1 << 19), Some(at(800))));
        let mut halvings = 0;
        while let Ok(finer) = cut.finer(met(What::One(at(4)), 1 << 19)) {
            assert!(finer.bytes < cut.bytes);
            cut = finer;
            halvings += 1;
        }
        assert_eq!((cut.bytes, halvings), (Some(LEAST_BYTES), 5));
    }
}
