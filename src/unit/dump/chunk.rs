//! The ranges of a key that a table is cut into.
//!
//! A range is written as comparisons of the key's columns with literals that hold a row's very bytes
//! in the column's own character set and collation, so that the server orders and compares by one
//! rule. Ranges touch: each begins where the one before it ends, the first has no beginning and the
//! last no end. So every row is in exactly one of them, whatever the collation holds equal and
//! whatever moment a range is read at.

use std::fmt::Write as _;
use std::sync::Arc;

use crate::dump_files::Range;
use crate::model::table::quote_name;
use crate::model::{Error, ErrorKind, Result};
use crate::schema::{Column, ColumnKind, Structure};

/// A place in a key's order: one literal for each of its columns.
pub(super) type Bound = Arc<[String]>;

/// A part of a table's rows: those from `from` on and before `until`; both missing is all of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Chunk {
    pub(super) from: Option<Bound>,
    pub(super) until: Option<Bound>,
}

impl Chunk {
    /// All rows.
    pub(super) fn whole() -> Self {
        Self::default()
    }

    /// As it is written down.
    pub(super) fn range(&self) -> Range {
        Range {
            from: self.from.as_deref().map(<[String]>::to_vec),
            until: self.until.as_deref().map(<[String]>::to_vec),
        }
    }
}

impl From<Range> for Chunk {
    fn from(range: Range) -> Self {
        Self {
            from: range.from.map(Arc::from),
            until: range.until.map(Arc::from),
        }
    }
}

/// The key by whose ranges a table is cut.
#[derive(Clone, Debug)]
pub(super) struct ChunkKey {
    /// The index's name.
    pub(super) index: String,
    /// Its columns; or its first ones, where the order of the next is not that of a comparison.
    pub(super) columns: Vec<Column>,
}

impl ChunkKey {
    /// The key of a table's rows, if ranges of it can be written.
    pub(super) fn of(structure: &Structure) -> Option<Self> {
        let key = structure.row_key()?;
        let columns: Vec<Column> = key
            .parts
            .iter()
            .map_while(|part| {
                let index = structure.column_index(part.column.as_deref()?)?;
                structure.columns.get(index)
            })
            .take_while(|column| is_comparable(column))
            .cloned()
            .collect();
        (!columns.is_empty()).then(|| Self {
            index: key.name.clone(),
            columns,
        })
    }

    /// The condition for a chunk's rows; `None` where it is all of them.
    pub(super) fn condition(&self, chunk: &Chunk) -> Option<String> {
        let parts: Vec<String> = [
            chunk.from.as_deref().map(|b| self.compared(b, '>', ">=")),
            chunk.until.as_deref().map(|b| self.compared(b, '<', "<")),
        ]
        .into_iter()
        .flatten()
        .collect();
        (!parts.is_empty()).then(|| parts.join(" AND "))
    }

    /// The condition for what comes behind `bound` and all that the server holds equal to it.
    pub(super) fn behind(&self, bound: &[String]) -> String {
        self.compared(bound, '>', ">")
    }

    /// The key's columns for a list.
    pub(super) fn list(&self) -> String {
        let names: Vec<String> = self.columns.iter().map(|c| quote_name(&c.name)).collect();
        names.join(", ")
    }

    /// `(a, b, c) > (x, y, z)` without row constructors, for which servers use no index:
    /// `a >= x AND (a > x OR a = x AND (b > y OR b = y AND c >= z))`.
    fn compared(&self, bound: &[String], strict: char, last: &str) -> String {
        let mut pairs = self
            .columns
            .iter()
            .map(|column| quote_name(&column.name))
            .zip(bound)
            .rev();
        let Some((name, value)) = pairs.next() else {
            return "TRUE".into();
        };
        let mut text = format!("{name} {last} {value}");
        let mut first = None;
        for (name, value) in pairs {
            text = format!("({name} {strict} {value} OR {name} = {value} AND {text})");
            first = Some(format!("{name} {strict}= {value}"));
        }
        match first {
            // Without it some versions do not see that the whole is a range of the index.
            Some(first) => format!("{first} AND {text}"),
            None => text,
        }
    }
}

/// Whether the server sorts the column's values as it compares them with a literal. The members of an
/// ENUM or SET are sorted by their numbers and compared by their names.
fn is_comparable(column: &Column) -> bool {
    match &column.kind {
        ColumnKind::Enum { .. }
        | ColumnKind::Set { .. }
        | ColumnKind::Json
        | ColumnKind::Geometry
        | ColumnKind::Vector => false,
        ColumnKind::Text { compressed, .. } => {
            !compressed && column.charset.is_some() && column.collation.is_some()
        }
        ColumnKind::Binary { compressed } => !compressed,
        _ => true,
    }
}

/// A value of a key as a literal that compares as the value itself does.
pub(super) fn literal(bytes: &[u8], column: &Column) -> Result<String> {
    let mut text = String::new();
    match (&column.kind, &column.charset, &column.collation) {
        (ColumnKind::Text { .. }, Some(charset), Some(collation)) => {
            // The old name means another character set by a setting.
            let charset = if charset == "utf8" {
                "utf8mb3"
            } else {
                charset
            };
            let _ = write!(text, "_{charset} x'");
            hex(&mut text, bytes);
            let _ = write!(text, "' COLLATE {collation}");
        }
        (ColumnKind::FixedBinary { .. } | ColumnKind::Binary { .. }, ..) => {
            text.push_str("x'");
            hex(&mut text, bytes);
            text.push('\'');
        }
        _ => {
            let mut out = Vec::new();
            crate::schema::literal::write_text_value(&mut out, Some(bytes), column)?;
            text = String::from_utf8(out).map_err(|error| {
                Error::new(
                    ErrorKind::Internal,
                    format!("a key's value of `{}` is not ASCII", column.name),
                )
                .with_source(error)
            })?;
        }
    }
    Ok(text)
}

fn hex(text: &mut String, bytes: &[u8]) {
    for byte in bytes {
        let _ = write!(text, "{byte:02X}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Flavor, TableName};
    use crate::schema::{Generated, Key, KeyPart, parse_type};

    fn column(name: &str, kind: &str, charset: Option<&str>) -> Column {
        Column {
            name: name.into(),
            type_text: kind.into(),
            kind: parse_type(kind, Flavor::MariaDB).unwrap(),
            nullable: false,
            charset: charset.map(str::to_owned),
            collation: charset.map(|charset| format!("{charset}_bin")),
            generated: Generated::No,
            invisible: false,
            auto_increment: false,
            auto_update: false,
        }
    }

    fn table(columns: Vec<Column>) -> Structure {
        let parts = columns
            .iter()
            .map(|column| KeyPart {
                column: Some(column.name.clone()),
                prefix: None,
            })
            .collect();
        Structure {
            table: TableName::new("s", "t"),
            columns,
            keys: vec![Key {
                name: "PRIMARY".into(),
                unique: true,
                parts,
            }],
            foreign_keys: Vec::new(),
            engine: "InnoDB".into(),
            charset: "utf8mb4".into(),
            collation: "utf8mb4_bin".into(),
            versioned: false,
        }
    }

    fn bound(values: &[&str]) -> Bound {
        values.iter().map(|&value| value.to_owned()).collect()
    }

    #[test]
    fn conditions_compare_column_by_column() {
        let three = ChunkKey::of(&table(vec![
            column("a", "int", None),
            column("b", "int", None),
            column("c", "int", None),
        ]))
        .unwrap();
        let chunk = Chunk {
            from: Some(bound(&["1", "2", "3"])),
            until: Some(bound(&["4", "5", "6"])),
        };
        assert_eq!(
            three.condition(&chunk).unwrap(),
            "`a` >= 1 AND (`a` > 1 OR `a` = 1 AND (`b` > 2 OR `b` = 2 AND `c` >= 3)) AND \
             `a` <= 4 AND (`a` < 4 OR `a` = 4 AND (`b` < 5 OR `b` = 5 AND `c` < 6))"
        );
        let one = ChunkKey::of(&table(vec![column("a", "int", None)])).unwrap();
        assert_eq!(one.behind(&["7".into()]), "`a` > 7");
        assert_eq!(one.condition(&Chunk::whole()), None);
    }

    #[test]
    fn a_key_ends_where_order_and_comparison_differ() {
        let columns = vec![column("a", "int", None), column("e", "enum('b','a')", None)];
        let key = ChunkKey::of(&table(columns)).unwrap();
        assert_eq!(key.columns.len(), 1);
        assert!(ChunkKey::of(&table(vec![column("e", "enum('b','a')", None)])).is_none());
    }

    #[test]
    fn literals_hold_the_bytes() {
        let text = column("t", "varchar(9)", Some("gbk"));
        assert_eq!(
            literal(b"\xd6\xd0 ", &text).unwrap(),
            "_gbk x'D6D020' COLLATE gbk_bin"
        );
        let binary = column("t", "binary(2)", None);
        assert_eq!(literal(b"\0'", &binary).unwrap(), "x'0027'");
        let number = column("t", "decimal(5,2)", None);
        assert_eq!(literal(b"-1.50", &number).unwrap(), "-1.50");
        let double = column("t", "double", None);
        assert_eq!(literal(b"0.1", &double).unwrap(), "0.1e0");
    }
}
