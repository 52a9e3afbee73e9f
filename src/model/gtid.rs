//! Global transaction ids and sets of them, of both flavors.
//!
//! MySQL: `uuid:n`, with a tag since 8.3 `uuid:tag:n`; a set holds intervals.
//! MariaDB: `domain-server-sequence`; a set holds the last one of each domain.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::Flavor;

/// One transaction's id.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Gtid {
    /// MySQL's.
    MySQL {
        /// The server's uuid, 16 bytes.
        uuid: [u8; 16],
        /// The tag, or the empty text.
        tag: String,
        /// The number, from 1.
        number: u64,
    },
    /// MariaDB's.
    MariaDB {
        /// The replication domain.
        domain: u32,
        /// The server that wrote it first.
        server: u32,
        /// The number within the domain.
        sequence: u64,
    },
}

impl fmt::Display for Gtid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MySQL { uuid, tag, number } => {
                write_uuid(f, uuid)?;
                if !tag.is_empty() {
                    write!(f, ":{tag}")?;
                }
                write!(f, ":{number}")
            }
            Self::MariaDB {
                domain,
                server,
                sequence,
            } => write!(f, "{domain}-{server}-{sequence}"),
        }
    }
}

impl Serialize for Gtid {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

fn write_uuid(f: &mut fmt::Formatter<'_>, uuid: &[u8; 16]) -> fmt::Result {
    for (i, byte) in uuid.iter().enumerate() {
        if matches!(i, 4 | 6 | 8 | 10) {
            f.write_str("-")?;
        }
        write!(f, "{byte:02x}")?;
    }
    Ok(())
}

/// Reads `3e11fa47-71ca-11e1-9e33-c80aa9429562`, with or without the dashes.
pub fn parse_uuid(text: &str) -> Option<[u8; 16]> {
    let digits: Vec<u8> = text.bytes().filter(|b| *b != b'-').collect();
    let mut uuid = [0; 16];
    if digits.len() != 32 {
        return None;
    }
    for (byte, pair) in uuid.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(uuid)
}

/// A server's uuid.
type Uuid = [u8; 16];
/// A GTID's tag; the empty text for none.
type Tag = String;

/// A set of transactions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GtidSet {
    /// MySQL's: per server and tag, half-open intervals in order, not touching.
    MySQL(BTreeMap<(Uuid, Tag), Vec<(u64, u64)>>),
    /// MariaDB's: per domain, the server and number of its last transaction.
    MariaDB(BTreeMap<u32, (u32, u64)>),
}

impl GtidSet {
    /// The set without a transaction.
    pub fn empty(flavor: Flavor) -> Self {
        match flavor {
            Flavor::MariaDB => Self::MariaDB(BTreeMap::new()),
            Flavor::MySQL | Flavor::TiDB => Self::MySQL(BTreeMap::new()),
        }
    }

    /// Whether there is no transaction in it.
    pub fn is_empty(&self) -> bool {
        match self {
            Self::MySQL(map) => map.is_empty(),
            Self::MariaDB(map) => map.is_empty(),
        }
    }

    /// Reads a set as the flavor's server writes it; white space and line ends are passed over.
    pub fn parse(flavor: Flavor, text: &str) -> Result<Self, String> {
        let wrong = |part: &str| format!("`{part}` is not part of a {flavor} GTID set");
        let mut set = Self::empty(flavor);
        for part in text
            .split(',')
            .map(str::trim)
            .filter(|part| !part.is_empty())
        {
            match &mut set {
                Self::MariaDB(map) => {
                    let mut numbers = part.split('-');
                    let mut next = || numbers.next().and_then(|n| n.parse::<u64>().ok());
                    let (Some(domain), Some(server), Some(sequence)) = (next(), next(), next())
                    else {
                        return Err(wrong(part));
                    };
                    let (Ok(domain), Ok(server), None) =
                        (u32::try_from(domain), u32::try_from(server), numbers.next())
                    else {
                        return Err(wrong(part));
                    };
                    map.insert(domain, (server, sequence));
                }
                Self::MySQL(map) => {
                    let mut pieces = part.split(':').map(str::trim);
                    let uuid = pieces
                        .next()
                        .and_then(parse_uuid)
                        .ok_or_else(|| wrong(part))?;
                    let mut tag = String::new();
                    let mut any = false;
                    for piece in pieces {
                        let starts_as_tag =
                            piece.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
                        if starts_as_tag {
                            tag = piece.to_ascii_lowercase();
                            continue;
                        }
                        let (from, to) = piece.split_once('-').unwrap_or((piece, piece));
                        let (Ok(from), Ok(to)) = (from.trim().parse(), to.trim().parse::<u64>())
                        else {
                            return Err(wrong(part));
                        };
                        if from == 0 || to < from || to == u64::MAX {
                            return Err(wrong(part));
                        }
                        add(map.entry((uuid, tag.clone())).or_default(), from, to + 1);
                        any = true;
                    }
                    if !any {
                        return Err(wrong(part));
                    }
                }
            }
        }
        Ok(set)
    }

    /// Adds one transaction. A GTID of the other flavor is a defect of the caller and changes nothing.
    pub fn insert(&mut self, gtid: &Gtid) {
        match (self, gtid) {
            (Self::MySQL(map), Gtid::MySQL { uuid, tag, number }) => {
                let key = (*uuid, tag.clone());
                add(
                    map.entry(key).or_default(),
                    *number,
                    number.saturating_add(1),
                );
            }
            (
                Self::MariaDB(map),
                Gtid::MariaDB {
                    domain,
                    server,
                    sequence,
                },
            ) => {
                map.insert(*domain, (*server, *sequence));
            }
            _ => debug_assert!(false, "a GTID of another flavor"),
        }
    }

    /// Whether the transaction is in the set. For MariaDB: whether its domain has come as far.
    pub fn contains(&self, gtid: &Gtid) -> bool {
        match (self, gtid) {
            (Self::MySQL(map), Gtid::MySQL { uuid, tag, number }) => {
                map.get(&(*uuid, tag.clone())).is_some_and(|intervals| {
                    intervals
                        .iter()
                        .any(|(from, to)| from <= number && number < to)
                })
            }
            (
                Self::MariaDB(map),
                Gtid::MariaDB {
                    domain, sequence, ..
                },
            ) => map.get(domain).is_some_and(|(_, last)| sequence <= last),
            _ => false,
        }
    }

    /// Adds the transactions of another set of the same flavor. For MariaDB: what has come further in
    /// each domain.
    pub fn unite(&mut self, other: &Self) {
        match (self, other) {
            (Self::MySQL(mine), Self::MySQL(theirs)) => {
                for (key, intervals) in theirs {
                    let list = mine.entry(key.clone()).or_default();
                    for (from, to) in intervals {
                        add(list, *from, *to);
                    }
                }
            }
            (Self::MariaDB(mine), Self::MariaDB(theirs)) => {
                for (domain, last) in theirs {
                    let have = mine.entry(*domain).or_insert(*last);
                    if have.1 < last.1 {
                        *have = *last;
                    }
                }
            }
            _ => debug_assert!(false, "a set of another flavor"),
        }
    }

    /// What of this set is not in `other`. For MariaDB: the last transactions of those domains in which
    /// `other` has not come as far.
    #[must_use]
    pub fn without(&self, other: &Self) -> Self {
        match (self, other) {
            (Self::MySQL(mine), Self::MySQL(theirs)) => {
                let mut rest = BTreeMap::new();
                for (key, intervals) in mine {
                    let taken = theirs.get(key).map_or(&[][..], Vec::as_slice);
                    let left = subtract(intervals, taken);
                    if !left.is_empty() {
                        rest.insert(key.clone(), left);
                    }
                }
                Self::MySQL(rest)
            }
            (Self::MariaDB(mine), Self::MariaDB(theirs)) => Self::MariaDB(
                mine.iter()
                    .filter(|(domain, (_, last))| {
                        theirs.get(domain).is_none_or(|(_, have)| have < last)
                    })
                    .map(|(domain, last)| (*domain, *last))
                    .collect(),
            ),
            _ => self.clone(),
        }
    }

    /// Whether every transaction of `other` is in this set.
    pub fn is_superset(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::MySQL(mine), Self::MySQL(theirs)) => theirs.iter().all(|(key, intervals)| {
                let have = mine.get(key).map_or(&[][..], Vec::as_slice);
                intervals
                    .iter()
                    .all(|(from, to)| have.iter().any(|(start, end)| start <= from && to <= end))
            }),
            (Self::MariaDB(mine), Self::MariaDB(theirs)) => theirs
                .iter()
                .all(|(domain, (_, last))| mine.get(domain).is_some_and(|(_, have)| last <= have)),
            _ => other.is_empty(),
        }
    }
}

/// Adds the half-open interval to an ordered list, joining what touches.
fn add(intervals: &mut Vec<(u64, u64)>, mut from: u64, mut to: u64) {
    // The straight path: transactions come in order.
    if let Some(last) = intervals.last_mut()
        && last.1 == from
    {
        last.1 = to;
        return;
    }
    let first = intervals.partition_point(|(_, end)| *end < from);
    let behind = intervals.partition_point(|(start, _)| *start <= to);
    if let Some(touched) = intervals.get(first..behind)
        && let (Some(a), Some(b)) = (touched.first(), touched.last())
    {
        from = from.min(a.0);
        to = to.max(b.1);
    }
    intervals.splice(first..behind.max(first), [(from, to)]);
}

/// What of the ordered half-open intervals is in none of the others, which are ordered too.
fn subtract(intervals: &[(u64, u64)], taken: &[(u64, u64)]) -> Vec<(u64, u64)> {
    let mut left = Vec::new();
    for (from, to) in intervals {
        let mut from = *from;
        for (start, end) in taken {
            if *end <= from || *start >= *to {
                continue;
            }
            if *start > from {
                left.push((from, *start));
            }
            from = *end;
        }
        if from < *to {
            left.push((from, *to));
        }
    }
    left
}

impl fmt::Display for GtidSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut first = true;
        let mut comma = |f: &mut fmt::Formatter<'_>| {
            if std::mem::take(&mut first) {
                Ok(())
            } else {
                f.write_str(",")
            }
        };
        match self {
            Self::MySQL(map) => {
                for ((uuid, tag), intervals) in map {
                    comma(f)?;
                    write_uuid(f, uuid)?;
                    if !tag.is_empty() {
                        write!(f, ":{tag}")?;
                    }
                    for (from, to) in intervals {
                        if from + 1 == *to {
                            write!(f, ":{from}")?;
                        } else {
                            write!(f, ":{from}-{}", to - 1)?;
                        }
                    }
                }
            }
            Self::MariaDB(map) => {
                for (domain, (server, sequence)) in map {
                    comma(f)?;
                    write!(f, "{domain}-{server}-{sequence}")?;
                }
            }
        }
        Ok(())
    }
}

impl Serialize for GtidSet {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for GtidSet {
    /// The two forms cannot be mistaken for each other: only MySQL's has colons. The empty text
    /// reads as MySQL's; whoever stores a set stores the flavor beside it.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let mysql = text.is_empty() || text.contains(':');
        let flavor = if mysql {
            Flavor::MySQL
        } else {
            Flavor::MariaDB
        };
        Self::parse(flavor, &text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UUID: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562";

    fn mysql(text: &str) -> GtidSet {
        GtidSet::parse(Flavor::MySQL, text).unwrap()
    }

    #[test]
    fn text_and_back() {
        for text in [
            "",
            &format!("{UUID}:1-5:7:11-18"),
            &format!("{UUID}:2,{UUID}:tag:1-3"),
        ] {
            assert_eq!(mysql(text).to_string(), text);
        }
        let maria = GtidSet::parse(Flavor::MariaDB, "1-2-3,0-1-88").unwrap();
        assert_eq!(maria.to_string(), "0-1-88,1-2-3");
        assert_eq!(
            mysql(&format!("{UUID}:1-3:tag:5")).to_string(),
            format!("{UUID}:1-3,{UUID}:tag:5")
        );
    }

    #[test]
    fn intervals_join() {
        assert_eq!(
            mysql(&format!("{UUID}:5:1-2:3-4:9-10:7")).to_string(),
            format!("{UUID}:1-5:7:9-10")
        );
        assert_eq!(
            mysql(&format!("{UUID}:1-10:3-4")).to_string(),
            format!("{UUID}:1-10")
        );
        assert_eq!(
            mysql(&format!("{UUID}:3:8:1-20")).to_string(),
            format!("{UUID}:1-20")
        );
    }

    #[test]
    fn wrong_text_is_refused() {
        for wrong in [
            UUID,
            &format!("{UUID}:0"),
            &format!("{UUID}:5-3"),
            "0-1-5",
            "x:1",
        ] {
            assert!(GtidSet::parse(Flavor::MySQL, wrong).is_err(), "{wrong}");
        }
        for wrong in ["0-1", "0-1-2-3", "a-b-c"] {
            assert!(GtidSet::parse(Flavor::MariaDB, wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn sets_unite_and_are_subtracted() {
        let mut set = mysql(&format!("{UUID}:1-3:10"));
        set.unite(&mysql(&format!("{UUID}:3-5,{UUID}:tag:1")));
        assert_eq!(set.to_string(), format!("{UUID}:1-5:10,{UUID}:tag:1"));
        let rest = set.without(&mysql(&format!("{UUID}:2-3:5-20,{UUID}:tag:1-2")));
        assert_eq!(rest.to_string(), format!("{UUID}:1:4"));
        assert!(set.without(&set).is_empty());
        let maria = |text: &str| GtidSet::parse(Flavor::MariaDB, text).unwrap();
        let mut set = maria("0-1-5,1-1-9");
        set.unite(&maria("0-2-7,1-2-3,2-1-1"));
        assert_eq!(set.to_string(), "0-2-7,1-1-9,2-1-1");
        assert_eq!(
            set.without(&maria("0-2-7,1-1-8")).to_string(),
            "1-1-9,2-1-1"
        );
    }

    #[test]
    fn sets_compare() {
        let big = mysql(&format!("{UUID}:1-10"));
        assert!(big.is_superset(&mysql(&format!("{UUID}:2-3:9"))));
        assert!(!big.is_superset(&mysql(&format!("{UUID}:9-11"))));
        let mut grown = mysql("");
        let uuid = parse_uuid(UUID).unwrap();
        for number in [1, 2, 4, 3] {
            grown.insert(&Gtid::MySQL {
                uuid,
                tag: String::new(),
                number,
            });
        }
        assert_eq!(grown, mysql(&format!("{UUID}:1-4")));
        assert!(grown.contains(&Gtid::MySQL {
            uuid,
            tag: String::new(),
            number: 4
        }));
        assert!(!grown.contains(&Gtid::MySQL {
            uuid,
            tag: "t".into(),
            number: 4
        }));
    }
}
