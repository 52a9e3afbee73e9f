//! Counts out the values of a key's first column, and finds with the server's own estimates where a table
//! is to be cut: some hundred questions that cost next to nothing, where walking along the key would read
//! the whole of it.
//!
//! Integers are cut by halves and the like, bytes as the integers that their first eight are, and text
//! behind a common beginning by the next character, in the order that the server itself gives the pieces.
//! What cannot be told apart so (a few values with very many rows each, text in other alphabets) is left
//! to the walk.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::connect::Session;
use crate::model::{Flavor, Result, table::quote_name};
use crate::schema::{Column, ColumnKind};

use super::chunk::{ChunkKey, literal};
use super::cut::let_go;
use super::plan::TablePlan;

/// How many pieces a stretch of numbers is cut into before the estimates are asked again.
const FAN: i128 = 32;

/// The most questions for estimates about one table.
const MOST_ESTIMATES: usize = 20_000;

/// So much longer than it should be, a chunk is put up with where it cannot be cut.
const TOO_LONG: u64 = 6;

/// The bytes of a binary key that are counted out.
const COUNTED: usize = 8;

/// A place between two values: the literal of the first value behind it.
type Place = Option<String>;

/// What is known of the values in a stretch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Values {
    /// Numbers from the first to the last.
    Numbers(i128, i128),
    /// Texts.
    Texts,
    /// Nothing by which they could be cut.
    Unknown,
}

/// A part of the column's values.
#[derive(Debug)]
struct Stretch {
    from: Place,
    until: Place,
    values: Values,
    rows: u64,
}

/// Where the chunks of a table begin, but for the first, in the server's order; `None` where estimates do
/// not say enough.
pub(super) async fn bounds(
    reader: &mut Session,
    plan: &TablePlan,
    key: &ChunkKey,
    in_transaction: bool,
) -> Result<Option<Vec<String>>> {
    let Some(column) = key.columns.first() else {
        return Ok(None);
    };
    let Some(values) = ends(reader, plan, column).await? else {
        return Ok(None);
    };
    let asker = Asker { plan, key, column };
    let most = plan.chunk_rows.max(1);
    let mut stack = vec![Stretch {
        from: None,
        until: None,
        values,
        rows: plan.rows.max(most + 1),
    }];
    let mut bounds = Vec::new();
    let mut asked = 0;
    // The rows of the chunk in hand: neighbours with few rows are joined.
    let mut in_hand = 0;
    while let Some(stretch) = stack.pop() {
        let is_crowded = stretch.rows > most + most / 2 && asked < MOST_ESTIMATES;
        let parts = if is_crowded {
            asker.cut(reader, &stretch, most).await?
        } else {
            Vec::new()
        };
        if parts.len() < 2 {
            if stretch.rows / TOO_LONG > most {
                return Ok(None);
            }
            if let Some(from) = stretch.from
                && in_hand > 0
                && in_hand + stretch.rows > most + most / 4
            {
                bounds.push(from);
                in_hand = 0;
            }
            in_hand += stretch.rows;
            continue;
        }
        asked += parts.len();
        let found = asker.estimate(reader, parts).await?;
        // A table may need thousands of estimates: DDL that waits for it goes first.
        let_go(reader, in_transaction).await?;
        let total: u64 = found.iter().map(|part| part.rows).sum();
        if total < stretch.rows / 2 {
            return Ok(None);
        }
        stack.extend(found.into_iter().rev());
    }
    Ok(Some(bounds))
}

/// What is known of all the column's values; `None` where it is of a kind that is not counted out, or
/// where there are none.
async fn ends(reader: &mut Session, plan: &TablePlan, column: &Column) -> Result<Option<Values>> {
    let is_integer = match &column.kind {
        ColumnKind::Integer { .. } => true,
        ColumnKind::FixedBinary { .. } | ColumnKind::Binary { .. } => false,
        ColumnKind::Text { .. } if is_ascii_within(column) => return Ok(Some(Values::Texts)),
        _ => return Ok(None),
    };
    let Some((low, high)) = first_and_last(reader, plan, column, "").await? else {
        return Ok(None);
    };
    let number = |end: &[u8], filler: u8| {
        if is_integer {
            return std::str::from_utf8(end).ok()?.parse().ok();
        }
        let mut first = [filler; COUNTED];
        first.iter_mut().zip(end).for_each(|(to, from)| *to = *from);
        Some(i128::from(u64::from_be_bytes(first)))
    };
    let numbers = number(&low, 0).zip(number(&high, u8::MAX));
    Ok(numbers.map(|(low, high)| Values::Numbers(low, high)))
}

/// The first and the last value that fulfil a condition; `None` where there are none.
async fn first_and_last(
    reader: &mut Session,
    plan: &TablePlan,
    column: &Column,
    condition: &str,
) -> Result<Option<(Vec<u8>, Vec<u8>)>> {
    let name = quote_name(&column.name);
    let sql = format!(
        "SELECT MIN({name}), MAX({name}) FROM {}{condition}",
        plan.table().quoted()
    );
    let rows = reader.rows(&sql).await;
    let rows = rows.map_err(|error| super::gone(error, plan.table()))?;
    let mut ends = rows.into_iter().flatten().flatten();
    Ok(ends.next().zip(ends.next()))
}

/// Character sets in which the bytes of ASCII text are that text, whatever is around them.
fn is_ascii_within(column: &Column) -> bool {
    matches!(
        column.charset.as_deref(),
        Some("utf8mb4" | "utf8mb3" | "utf8" | "ascii" | "latin1" | "latin2" | "cp1250" | "cp1251")
    )
}

/// What is asked of the server about a table.
struct Asker<'a> {
    plan: &'a TablePlan,
    key: &'a ChunkKey,
    column: &'a Column,
}

impl Asker<'_> {
    /// The parts of a stretch, whose rows are not known yet.
    async fn cut(
        &self,
        reader: &mut Session,
        stretch: &Stretch,
        most: u64,
    ) -> Result<Vec<Stretch>> {
        match stretch.values {
            Values::Numbers(low, high) => {
                let count = i128::from(stretch.rows.div_ceil(most)).clamp(2, FAN);
                let parts = parts_of(low, high, count);
                let places = parts.map(|(low, high)| {
                    let values = Values::Numbers(low, high);
                    (self.number(low), values)
                });
                Ok(parts_at(stretch, places, true))
            }
            Values::Texts => {
                let texts = self.texts(reader, stretch).await?;
                let places = texts.into_iter().map(|text| (text, Values::Texts));
                Ok(parts_at(stretch, places, false))
            }
            Values::Unknown => Ok(Vec::new()),
        }
    }

    fn number(&self, number: i128) -> String {
        match self.column.kind {
            ColumnKind::Integer { .. } => number.to_string(),
            _ => format!("x'{number:016X}'"),
        }
    }

    /// Texts within the stretch, in the server's order: what all that are stored there begin with, and one
    /// more character; one for all that the server holds equal.
    async fn texts(&self, reader: &mut Session, stretch: &Stretch) -> Result<Vec<String>> {
        let name = quote_name(&self.column.name);
        let (from, until) = (stretch.from.as_deref(), stretch.until.as_deref());
        let stored = within(&name, from, until, ">=");
        let ends = first_and_last(reader, self.plan, self.column, &stored).await?;
        let Some((first, last)) = ends else {
            return Ok(Vec::new());
        };
        let prefix = beginning_of_both(&first, &last);
        let mut list = String::new();
        let mut literals = BTreeMap::new();
        for byte in b' '..=b'~' {
            let before = if list.is_empty() { "" } else { " UNION ALL " };
            let literal = literal(&[prefix, &[byte]].concat(), self.column)?;
            let _ = write!(list, "{before}SELECT {byte} AS n, {literal} AS c");
            literals.insert(byte.to_string().into_bytes(), literal);
        }
        let inside = within("c", from, until, ">");
        let sql =
            format!("SELECT MIN(n) FROM ({list}) AS characters{inside} GROUP BY c ORDER BY c");
        let rows = reader.rows(&sql).await?;
        let found = rows.into_iter().flatten().flatten();
        Ok(found.filter_map(|byte| literals.remove(&byte)).collect())
    }

    /// Fills in how many rows the server expects in each part.
    async fn estimate(&self, reader: &mut Session, parts: Vec<Stretch>) -> Result<Vec<Stretch>> {
        let name = quote_name(&self.column.name);
        let queries: Vec<String> = parts
            .iter()
            .map(|part| {
                format!(
                    "EXPLAIN FORMAT=TRADITIONAL SELECT 1 FROM {} FORCE INDEX ({}){}",
                    self.plan.table().quoted(),
                    quote_name(&self.key.index),
                    within(&name, part.from.as_deref(), part.until.as_deref(), ">=")
                )
            })
            .collect();
        // Where `rows` stands; MySQL has `partitions` before it.
        let place = match reader.version().flavor {
            Flavor::MariaDB => 8,
            Flavor::MySQL | Flavor::TiDB => 9,
        };
        let results = reader
            .results(&queries)
            .await
            .map_err(|failed| super::gone(failed.error, self.plan.table()))?;
        Ok(parts
            .into_iter()
            .zip(results)
            .map(|(part, rows)| {
                let row = rows.into_iter().next().unwrap_or_default();
                let cell = row.into_iter().nth(place).flatten();
                let rows = cell.and_then(|cell| std::str::from_utf8(&cell).ok()?.parse().ok());
                // Nothing where the server sees at once that there are none.
                Stretch {
                    rows: rows.unwrap_or(0),
                    ..part
                }
            })
            .collect())
    }
}

/// What both begin with, without a look at the case of letters: few collations tell them apart first.
fn beginning_of_both<'a>(a: &'a [u8], b: &[u8]) -> &'a [u8] {
    let is_same = |(a, b): &(&u8, &u8)| a.is_ascii() && a.eq_ignore_ascii_case(b);
    let length = a.iter().zip(b).take_while(is_same).count();
    a.get(..length).unwrap_or_default()
}

/// A condition for the values between two places; `behind` says whether the first one belongs to them.
fn within(name: &str, from: Option<&str>, until: Option<&str>, behind: &str) -> String {
    let parts: Vec<String> = [
        from.map(|from| format!("{name} {behind} {from}")),
        until.map(|until| format!("{name} < {until}")),
    ]
    .into_iter()
    .flatten()
    .collect();
    if parts.is_empty() {
        String::new()
    } else {
        format!(" WHERE {}", parts.join(" AND "))
    }
}

/// The parts of a stretch that begin at `places`, with what is known of each. What is before the first
/// place belongs to the first part, if that `is_first` of all; else it is a part of its own.
fn parts_at(
    stretch: &Stretch,
    places: impl Iterator<Item = (String, Values)>,
    is_first: bool,
) -> Vec<Stretch> {
    let mut parts: Vec<Stretch> = Vec::new();
    for (place, values) in places {
        let place = if parts.is_empty() && is_first {
            stretch.from.clone()
        } else {
            if parts.is_empty() {
                parts.push(Stretch {
                    from: stretch.from.clone(),
                    until: None,
                    values: Values::Unknown,
                    rows: 0,
                });
            }
            Some(place)
        };
        if let Some(before) = parts.last_mut() {
            before.until.clone_from(&place);
        }
        parts.push(Stretch {
            from: place,
            until: None,
            values,
            rows: 0,
        });
    }
    if let Some(last) = parts.last_mut() {
        last.until.clone_from(&stretch.until);
    }
    parts
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

    #[test]
    fn texts_share_a_beginning_whatever_their_case() {
        assert_eq!(beginning_of_both(b"https://A", b"HTTPS://b"), b"https://");
        assert_eq!(beginning_of_both("ä".as_bytes(), "ä".as_bytes()), b"");
        assert_eq!(beginning_of_both(b"ab", b"abc"), b"ab");
    }

    #[test]
    fn parts_touch_from_the_beginning_to_the_end_of_a_stretch() {
        let stretch = Stretch {
            from: Some("10".into()),
            until: Some("99".into()),
            values: Values::Unknown,
            rows: 5,
        };
        let places = || ["a", "b"].map(|place| (place.to_owned(), Values::Unknown));
        for (is_first, expected) in [
            (true, vec![("10", "b"), ("b", "99")]),
            (false, vec![("10", "a"), ("a", "b"), ("b", "99")]),
        ] {
            let parts = parts_at(&stretch, places().into_iter(), is_first);
            let ends: Vec<(&str, &str)> = parts
                .iter()
                .map(|part| {
                    (
                        part.from.as_deref().unwrap(),
                        part.until.as_deref().unwrap(),
                    )
                })
                .collect();
            assert_eq!(ends, expected);
        }
        assert!(parts_at(&stretch, std::iter::empty(), true).is_empty());
    }
}
