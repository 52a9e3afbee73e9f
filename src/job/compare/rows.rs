//! Two sides of a table, read in the same order and merged row by row.

use std::cmp::Ordering;
use std::fmt::Write as _;

use crate::connect::{RowStream, Session, TextRow};
use crate::job::compare::{ColumnDifference, RowDifference};
use crate::model::{Result, TableName, table::quote_name};
use crate::schema::{Column, ColumnKind, Structure};

/// How much of a value is shown.
const SHOWN_BYTES: usize = 200;

/// Which expressions are read of both sides, and in which order.
#[derive(Debug)]
pub(super) struct Layout {
    items: Vec<Item>,
    /// The items that the rows are ordered by; empty: by a hash of all, which stands first.
    key: Vec<usize>,
}

#[derive(Debug)]
struct Item {
    name: String,
    expression: String,
    is_integer: bool,
    /// One side has a JSON document, the other its text.
    is_json_text: bool,
}

impl Layout {
    pub(super) fn new(sources: &[&Structure], target: &Structure) -> Self {
        let Some(first) = sources.first() else {
            return Self {
                items: Vec::new(),
                key: Vec::new(),
            };
        };
        let items: Vec<Item> = first
            .columns
            .iter()
            .map(|column| {
                let others: Vec<&Column> = sources
                    .iter()
                    .copied()
                    .chain([target])
                    .filter_map(|structure| {
                        structure
                            .column_index(&column.name)
                            .and_then(|index| structure.columns.get(index))
                    })
                    .collect();
                item(column, &others)
            })
            .collect();
        // A key of all sources: rows of one must not look like copies of each other.
        let key = first.row_key().map_or_else(Vec::new, |key| {
            key.parts
                .iter()
                .filter_map(|part| part.column.as_deref())
                .filter_map(|name| first.column_index(name))
                .collect()
        });
        Self { items, key }
    }

    /// The query for a table's rows: all items; before them, without a key, the row's hash.
    fn select(&self, table: &TableName) -> String {
        let mut list: Vec<&str> = self
            .items
            .iter()
            .map(|item| item.expression.as_str())
            .collect();
        let hash;
        let order = if self.key.is_empty() {
            let parts: Vec<String> = list
                .iter()
                .map(|expression| format!("IFNULL(SHA2({expression}, 256), '-')"))
                .collect();
            // A hash of hashes: a whole row in one text could be longer than the server allows.
            hash = format!("SHA2(CONCAT_WS(',', {}), 256)", parts.join(", "));
            list = vec![hash.as_str()];
            "1".to_owned()
        } else {
            let parts: Vec<String> = self
                .key
                .iter()
                .filter_map(|&index| self.items.get(index))
                .map(|item| {
                    if item.is_integer {
                        item.expression.clone()
                    } else {
                        // By bytes: collations order differently from server to server.
                        format!("CAST({} AS BINARY)", item.expression)
                    }
                })
                .collect();
            parts.join(", ")
        };
        format!(
            "SELECT {} FROM {} ORDER BY {order}",
            list.join(", "),
            table.quoted()
        )
    }

    fn compare(&self, a: &Row, b: &Row) -> Ordering {
        if self.key.is_empty() {
            return a.first().cmp(&b.first());
        }
        for &index in &self.key {
            let (x, y) = (cell(a, index), cell(b, index));
            let is_integer = self.items.get(index).is_some_and(|item| item.is_integer);
            let order = match (is_integer, number(x), number(y)) {
                (true, Some(x), Some(y)) => x.cmp(&y),
                _ => x.cmp(&y),
            };
            if order != Ordering::Equal {
                return order;
            }
        }
        Ordering::Equal
    }

    /// The columns in which two rows of one key differ.
    fn differences(&self, source: &Row, target: &Row) -> Vec<ColumnDifference> {
        if self.key.is_empty() {
            return Vec::new();
        }
        self.items
            .iter()
            .enumerate()
            .filter_map(|(index, item)| {
                let (a, b) = (cell(source, index), cell(target, index));
                let same = a == b || item.is_json_text && is_same_document(a, b);
                (!same).then(|| ColumnDifference {
                    name: item.name.clone(),
                    source: a.map(shown),
                    target: b.map(shown),
                })
            })
            .collect()
    }

    fn key_text(&self, row: &Row) -> String {
        if self.key.is_empty() {
            return cell(row, 0).map(shown).unwrap_or_default();
        }
        let parts: Vec<String> = self
            .key
            .iter()
            .filter_map(|&index| {
                let name = &self.items.get(index)?.name;
                Some(format!(
                    "{name}={}",
                    cell(row, index).map_or_else(|| "NULL".into(), shown)
                ))
            })
            .collect();
        parts.join(", ")
    }
}

/// The expression that gives the same bytes on each server exactly if the values are the same.
fn item(column: &Column, others: &[&Column]) -> Item {
    let name = quote_name(&column.name);
    let charset = |column: &Column| match column.charset.as_deref() {
        // One character set under its two names.
        Some("utf8") => Some("utf8mb3".to_owned()),
        other => other.map(str::to_owned),
    };
    let same_charset = others.iter().all(|other| charset(other) == charset(column));
    let same_kind = others.iter().all(|other| other.kind == column.kind);
    let is_json_text = others
        .iter()
        .chain([&column])
        .any(|column| column.kind == ColumnKind::Json)
        && !same_kind;
    let expression = match &column.kind {
        // The product is a DOUBLE with all its digits; the plain text of a FLOAT has six.
        ColumnKind::Float | ColumnKind::Double => format!("{name} * 1e0"),
        ColumnKind::Enum { .. } | ColumnKind::Set { .. } if same_kind => {
            format!("CAST({name} AS UNSIGNED)")
        }
        _ if is_json_text => format!("CONVERT({name} USING utf8mb4)"),
        _ if column.charset.is_some() && !same_charset => {
            format!("CONVERT({name} USING utf8mb4)")
        }
        _ => name,
    };
    Item {
        name: column.name.clone(),
        expression,
        is_integer: same_kind && matches!(column.kind, ColumnKind::Integer { .. }),
        is_json_text,
    }
}

type Row = Vec<Option<Vec<u8>>>;

fn cell(row: &Row, index: usize) -> Option<&[u8]> {
    row.get(index).and_then(Option::as_deref)
}

fn number(bytes: Option<&[u8]>) -> Option<i128> {
    std::str::from_utf8(bytes?).ok()?.parse().ok()
}

fn is_same_document(a: Option<&[u8]>, b: Option<&[u8]>) -> bool {
    let parse = |bytes: Option<&[u8]>| {
        serde_json::from_slice::<serde_json::Value>(bytes.unwrap_or_default()).ok()
    };
    match (parse(a), parse(b)) {
        (Some(a), Some(b)) => a == b,
        _ => false,
    }
}

/// A value for people: text as it is, other bytes in hex, long ones cut.
fn shown(bytes: &[u8]) -> String {
    let (part, more) = match bytes.get(..SHOWN_BYTES) {
        Some(part) if bytes.len() > SHOWN_BYTES => (part, "…"),
        _ => (bytes, ""),
    };
    // The cut may have gone through a character.
    let text = match std::str::from_utf8(part) {
        Ok(text) => Some(text),
        Err(error) if !more.is_empty() && error.error_len().is_none() => part
            .get(..error.valid_up_to())
            .and_then(|valid| std::str::from_utf8(valid).ok()),
        Err(_) => None,
    };
    match text {
        Some(text)
            if !text
                .chars()
                .any(|c| c.is_control() && c != '\n' && c != '\t') =>
        {
            format!("{text}{more}")
        }
        _ => {
            let mut hex = String::with_capacity(part.len() * 2 + 4);
            hex.push_str("x'");
            for byte in part {
                let _ = write!(hex, "{byte:02x}");
            }
            hex.push('\'');
            hex.push_str(more);
            hex
        }
    }
}

/// What merging found.
#[derive(Debug, Default)]
pub(super) struct Merged {
    pub(super) source_rows: u64,
    pub(super) target_rows: u64,
    pub(super) missing: u64,
    pub(super) extra: u64,
    pub(super) differing: u64,
    pub(super) rows: Vec<RowDifference>,
}

/// Reads a table of several sources and one of the target, and merges them; the sessions come back.
pub(super) async fn merge(
    layout: &Layout,
    mut sources: Vec<(Session, TableName)>,
    mut target: (Session, TableName),
    listed: usize,
) -> Result<(Merged, Vec<Session>, Session)> {
    let mut merged = Merged::default();
    {
        let mut heads = Vec::new();
        for (session, table) in &mut sources {
            heads.push(Head::open(session, &layout.select(table)).await?);
        }
        let mut there = Head::open(&mut target.0, &layout.select(&target.1)).await?;
        loop {
            let least = (0..heads.len())
                .filter(|&index| heads.get(index).is_some_and(|head| head.row.is_some()))
                .min_by(|&a, &b| match (head_row(&heads, a), head_row(&heads, b)) {
                    (Some(a), Some(b)) => layout.compare(a, b),
                    _ => Ordering::Equal,
                });
            let here = least.and_then(|index| heads.get_mut(index));
            let order = match (here.as_ref().and_then(|h| h.row.as_ref()), &there.row) {
                (None, None) => break,
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(a), Some(b)) => layout.compare(a, b),
            };
            let mut found = None;
            let from_source = match here {
                Some(head) if order != Ordering::Greater => head.advance().await?,
                _ => None,
            };
            let from_target = match order {
                Ordering::Less => None,
                _ => there.advance().await?,
            };
            merged.source_rows += u64::from(from_source.is_some());
            merged.target_rows += u64::from(from_target.is_some());
            match (&from_source, &from_target) {
                (Some(row), None) => {
                    merged.missing += 1;
                    found = Some(("missing", layout.key_text(row), Vec::new()));
                }
                (None, Some(row)) => {
                    merged.extra += 1;
                    found = Some(("extra", layout.key_text(row), Vec::new()));
                }
                (Some(a), Some(b)) => {
                    let columns = layout.differences(a, b);
                    if !columns.is_empty() {
                        merged.differing += 1;
                        found = Some(("differs", layout.key_text(a), columns));
                    }
                }
                (None, None) => {}
            }
            if let Some((kind, key, columns)) = found
                && merged.rows.len() < listed
            {
                merged.rows.push(RowDifference { kind, key, columns });
            }
        }
    }
    let sessions = sources.into_iter().map(|(session, _)| session).collect();
    Ok((merged, sessions, target.0))
}

/// A stream and its next row.
struct Head<'a> {
    stream: RowStream<'a>,
    row: Option<Row>,
}

impl<'a> Head<'a> {
    async fn open(session: &'a mut Session, sql: &str) -> Result<Self> {
        let mut head = Self {
            stream: session.stream(sql).await?,
            row: None,
        };
        head.advance().await?;
        Ok(head)
    }

    /// Gives the row, and takes the next one up.
    async fn advance(&mut self) -> Result<Option<Row>> {
        let next = self.stream.next().await?.map(TextRow::into_values);
        Ok(std::mem::replace(&mut self.row, next))
    }
}

fn head_row<'a>(heads: &'a [Head<'_>], index: usize) -> Option<&'a Row> {
    heads.get(index)?.row.as_ref()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_shown_as_text_or_hex() {
        assert_eq!(shown(b"abc"), "abc");
        assert_eq!(shown(b"\xff\x00"), "x'ff00'");
        let long = "é".repeat(SHOWN_BYTES);
        assert_eq!(shown(long.as_bytes()), format!("{}…", "é".repeat(100)));
        let odd = format!("a{long}");
        assert!(shown(odd.as_bytes()).ends_with("é…"));
    }

    #[test]
    fn documents_are_equal_by_what_they_say() {
        let same = |a: &str, b: &str| is_same_document(Some(a.as_bytes()), Some(b.as_bytes()));
        assert!(same("{\"a\":1,\"b\":[2]}", "{\"b\": [2], \"a\": 1}"));
        assert!(!same("{\"a\":1}", "{\"a\":1.5}"));
        assert!(!same("x", "y"));
    }

    #[test]
    fn integers_are_ordered_by_value() {
        let layout = Layout {
            items: vec![Item {
                name: "id".into(),
                expression: "`id`".into(),
                is_integer: true,
                is_json_text: false,
            }],
            key: vec![0],
        };
        let row = |text: &str| vec![Some(text.as_bytes().to_vec())];
        assert_eq!(layout.compare(&row("9"), &row("10")), Ordering::Less);
        assert_eq!(layout.compare(&row("-2"), &row("-10")), Ordering::Greater);
        assert_eq!(
            layout.compare(&row("18446744073709551615"), &row("-1")),
            Ordering::Greater
        );
    }
}
