//! A transaction that is too large for the target: it is applied in parts, each of which commits with
//! how far it is.

use serde::{Deserialize, Serialize};

use super::Mark;
use crate::model::{Gtid, Place};
use crate::target::text::literal;

/// How far a transaction is of which parts are committed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartDone {
    /// Where the transaction starts; of one that was prepared, where its changes are.
    pub begin: Place,
    /// Where the last rows event that is in the target starts, in the same file.
    pub offset: u64,
    /// That event's number within a compressed transaction.
    pub inner: Option<u32>,
    /// The transaction's GTID, where it has one: a source that lost the end of its binlog may have
    /// another transaction at the same place.
    #[serde(default)]
    pub gtid: Option<String>,
}

impl PartDone {
    /// Whether the transaction that begins at `begin` cannot be the one of the part.
    pub fn is_of_another(&self, begin: &Place, gtid: Option<&Gtid>) -> bool {
        self.begin == *begin && self.gtid != gtid.map(ToString::to_string)
    }

    /// Whether an event of the transaction that begins at `begin` is in the target already.
    pub fn covers(&self, begin: &Place, offset: u64, inner: Option<u32>) -> bool {
        self.begin == *begin && (offset, inner) <= (self.offset, self.inner)
    }
}

/// The mark's part as it is stored.
#[expect(
    clippy::expect_used,
    reason = "texts and numbers under names: nothing of it can fail to be JSON"
)]
pub(super) fn stored(mark: &Mark) -> String {
    match &mark.part {
        None => "NULL".to_owned(),
        Some(part) => literal(&serde_json::to_string(part).expect("it is plain data")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Position;

    #[test]
    fn events_up_to_the_part_are_covered_and_those_of_others_are_not() {
        let at = |offset| Place::new("7.1", Position::new("bin.000001", offset));
        let done = PartDone {
            begin: at(100),
            offset: 500,
            inner: Some(7),
            gtid: Some("0-7-5".into()),
        };
        let gtid = |number| Gtid::MariaDB {
            domain: 0,
            server: 7,
            sequence: number,
        };
        assert!(!done.is_of_another(&at(100), Some(&gtid(5))));
        assert!(done.is_of_another(&at(100), Some(&gtid(6))));
        assert!(done.is_of_another(&at(100), None));
        assert!(!done.is_of_another(&at(900), Some(&gtid(6))));
        assert!(done.covers(&at(100), 500, Some(7)));
        assert!(done.covers(&at(100), 400, None));
        assert!(!done.covers(&at(100), 500, Some(8)));
        assert!(!done.covers(&at(100), 501, None));
        assert!(!done.covers(&at(101), 400, None));
        let mut mark = Mark::new(at(100), None);
        assert_eq!(stored(&mark), "NULL");
        mark.part = Some(done.clone());
        let text = stored(&mark);
        assert_eq!(
            serde_json::from_str::<PartDone>(text.trim_matches('\'')).unwrap(),
            done
        );
    }
}
