//! The sets of transaction ids at the head of every binlog file.

use std::collections::BTreeMap;

use super::cursor::Cursor;
use super::{Event, EventKind, damaged, tagged, unsupported};
use crate::model::{Gtid, GtidSet, Result};

/// The bits of GTID_LIST's first field that are the count; the others are flags.
const COUNT_MASK: u32 = (1 << 28) - 1;

/// MariaDB's GTID_LIST: the last transaction of each domain and server. Where a domain has several
/// servers, the last one written stands behind the others.
pub fn parse_gtid_list(body: &[u8]) -> Result<Vec<Gtid>> {
    let mut cursor = Cursor::new(body);
    let count = (cursor.u32()? & COUNT_MASK) as usize;
    let mut list = Vec::with_capacity(count.min(cursor.len() / 16));
    for _ in 0..count {
        list.push(Gtid::MariaDB {
            domain: cursor.u32()?,
            server: cursor.u32()?,
            sequence: cursor.u64()?,
        });
    }
    Ok(list)
}

/// The set that a GTID_LIST stands for: per domain its last entry.
pub fn gtid_list_set(list: &[Gtid]) -> GtidSet {
    let mut set = GtidSet::MariaDB(BTreeMap::new());
    for gtid in list {
        set.insert(gtid);
    }
    set
}

/// The transactions before a file, where the event is the one of its head that says them.
pub fn head_set(event: &Event<'_>) -> Result<Option<GtidSet>> {
    match event.header.kind {
        EventKind::PREVIOUS_GTIDS => parse_previous_gtids(event.body).map(Some),
        EventKind::GTID_LIST => Ok(Some(gtid_list_set(&parse_gtid_list(event.body)?))),
        _ => Ok(None),
    }
}

/// The two forms of the head of PREVIOUS_GTIDS.
const PLAIN: u64 = 0;
const WITH_TAGS: u64 = 1;

/// MySQL's PREVIOUS_GTIDS: all transactions of the files before.
pub fn parse_previous_gtids(body: &[u8]) -> Result<GtidSet> {
    let mut cursor = Cursor::new(body);
    let head = cursor.u64()?;
    // The top byte is the form; with tags, the lowest byte repeats it.
    let (with_tags, count) = match head >> 56 {
        PLAIN => (false, head),
        WITH_TAGS => (true, (head >> 8) & ((1 << 48) - 1)),
        other => {
            return Err(unsupported(format!(
                "form {other} of PREVIOUS_GTIDS is not known"
            )));
        }
    };
    let mut map = BTreeMap::new();
    for _ in 0..count {
        let uuid = cursor.array::<16>()?;
        let tag = if with_tags {
            let length = usize::try_from(tagged::uint(&mut cursor)?).unwrap_or(usize::MAX);
            std::str::from_utf8(cursor.take(length)?)
                .map_err(|_| damaged("a GTID's tag that is not UTF-8"))?
                .to_owned()
        } else {
            String::new()
        };
        let intervals = cursor.u64()?;
        let list: &mut Vec<(u64, u64)> = map.entry((uuid, tag)).or_default();
        for _ in 0..intervals {
            let (from, to) = (cursor.u64()?, cursor.u64()?);
            if from == 0 || to <= from || list.last().is_some_and(|(_, end)| from <= *end) {
                return Err(damaged(format!(
                    "PREVIOUS_GTIDS holds the interval {from} to {to} out of order"
                )));
            }
            list.push((from, to));
        }
    }
    Ok(GtidSet::MySQL(map))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn previous_gtids() {
        let mut body = 1u64.to_le_bytes().to_vec();
        body.extend([7; 16]);
        body.extend(2u64.to_le_bytes());
        for number in [1u64, 5, 7, 8] {
            body.extend(number.to_le_bytes());
        }
        let set = parse_previous_gtids(&body).unwrap();
        assert_eq!(
            set.to_string(),
            "07070707-0707-0707-0707-070707070707:1-4:7"
        );
        body.pop();
        assert!(parse_previous_gtids(&body).is_err());
    }

    #[test]
    fn last_of_each_domain() {
        let mut body = 2u32.to_le_bytes().to_vec();
        for (server, sequence) in [(9u32, 4u64), (2, 8)] {
            body.extend(0u32.to_le_bytes());
            body.extend(server.to_le_bytes());
            body.extend(sequence.to_le_bytes());
        }
        let list = parse_gtid_list(&body).unwrap();
        assert_eq!(gtid_list_set(&list).to_string(), "0-2-8");
    }
}
