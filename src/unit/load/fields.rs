//! Rows as the lines that LOAD DATA reads, which cost the target less than the same rows in a statement:
//! nothing is parsed but tabs and line ends.
//!
//! The lines are bytes without a character set, so a table can be loaded this way only where every
//! column of the target stores the bytes of the source's column just as they are. What a literal of
//! ours stands for is known by the column it is in; any other form of it is left to an INSERT.

use std::collections::BTreeMap;

use crate::dump_files::Manifest;
use crate::model::table::quote_name;
use crate::model::{Flavor, TableName};
use crate::schema::{Column, ColumnKind, Generated, Structure};

/// What the literals of a column look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// `-12.5e0`.
    Number,
    /// A number that stands for bits, stored in so many bytes.
    Bits(usize),
    /// `'2024-02-29'`, plain text.
    Quoted,
    /// `'text'`, or `_charset x'…'`: the bytes in the column's character set.
    Text,
    /// `x'…'`.
    Hex,
}

/// How the rows of a table become lines.
#[derive(Clone, Debug)]
pub(super) struct Lines {
    forms: Vec<Form>,
    /// `` (`a`,`b`) ``, as our own files name the columns.
    columns: Vec<u8>,
}

impl Lines {
    /// The tables of a dump whose rows can be written as lines, given the target's tables.
    pub(super) fn of(
        manifest: &Manifest,
        target_of: impl Fn(&TableName) -> TableName,
        there: &BTreeMap<TableName, Structure>,
    ) -> BTreeMap<TableName, Self> {
        let tables = manifest.tables.iter();
        tables
            .filter_map(|(name, table)| {
                let target = there.get(&target_of(name))?;
                Some((name.clone(), Self::new(&table.structure, target)?))
            })
            .collect()
    }

    fn new(source: &Structure, target: &Structure) -> Option<Self> {
        let written: Vec<&Column> = source
            .columns
            .iter()
            .filter(|column| column.generated == Generated::No)
            .collect();
        let mut forms = Vec::with_capacity(written.len());
        for column in &written {
            let there = target.columns.get(target.column_index(&column.name)?)?;
            forms.push(form(column, there)?);
        }
        let names: Vec<String> = written
            .iter()
            .map(|column| quote_name(&column.name))
            .collect();
        Some(Self {
            forms,
            columns: format!("({})", names.join(",")).into_bytes(),
        })
    }

    /// Whether a statement of a file names the columns that these lines are made for.
    pub(super) fn are_for(&self, columns: &[u8]) -> bool {
        columns == self.columns
    }

    /// The statement that reads the lines.
    pub(super) fn statement(&self, target: &TableName) -> Vec<u8> {
        [
            b"LOAD DATA LOCAL INFILE 'tideway' INTO TABLE ".as_slice(),
            target.quoted().as_bytes(),
            b" CHARACTER SET binary FIELDS TERMINATED BY '\\t' ESCAPED BY '\\\\' LINES TERMINATED BY \
              '\\n' ",
            &self.columns,
        ]
        .concat()
    }

    /// Appends a row of a statement, with its brackets, as a line; `false`, and nothing is appended,
    /// if one of its values is not what is known.
    pub(super) fn append(&self, out: &mut Vec<u8>, row: &[u8]) -> bool {
        let length = out.len();
        let is_done = self.try_append(out, row).is_some();
        if !is_done {
            out.truncate(length);
        }
        is_done
    }

    fn try_append(&self, out: &mut Vec<u8>, row: &[u8]) -> Option<()> {
        let mut rest = row.strip_prefix(b"(")?;
        for (index, form) in self.forms.iter().enumerate() {
            if index > 0 {
                rest = rest.strip_prefix(b",")?;
                out.push(b'\t');
            }
            rest = if let Some(behind) = rest.strip_prefix(b"NULL") {
                out.extend_from_slice(b"\\N");
                behind
            } else {
                form.append(out, rest)?
            };
        }
        out.push(b'\n');
        (rest == b")").then_some(())
    }
}

impl Form {
    /// Appends the value of the literal that `text` begins with; gives what is behind it.
    fn append<'a>(self, out: &mut Vec<u8>, text: &'a [u8]) -> Option<&'a [u8]> {
        match self {
            Self::Number => {
                let (number, behind) = number(text)?;
                out.extend_from_slice(number);
                Some(behind)
            }
            Self::Bits(bytes) => {
                let (number, behind) = number(text)?;
                let bits: u64 = std::str::from_utf8(number).ok()?.parse().ok()?;
                let all = bits.to_be_bytes();
                let (high, low) = all.split_at_checked(all.len().checked_sub(bytes)?)?;
                if high.iter().any(|&byte| byte != 0) {
                    return None;
                }
                append_bytes(out, low);
                Some(behind)
            }
            Self::Quoted => append_quoted(out, text),
            Self::Hex => append_hex(out, text),
            Self::Text => match text.first()? {
                b'\'' => append_quoted(out, text),
                b'_' => {
                    let at = memchr::memchr(b' ', text)?;
                    append_hex(out, text.get(at + 1..)?)
                }
                _ => None,
            },
        }
    }
}

/// What a column's literals look like, if the target's column stores their bytes as the source's does.
fn form(source: &Column, target: &Column) -> Option<Form> {
    if source.kind != target.kind || source.charset != target.charset {
        return None;
    }
    Some(match &source.kind {
        ColumnKind::Integer { .. }
        | ColumnKind::Decimal { .. }
        | ColumnKind::Float
        | ColumnKind::Double => Form::Number,
        ColumnKind::Bit { bits } => Form::Bits(usize::from(bits.div_ceil(8))),
        ColumnKind::Year
        | ColumnKind::Date
        | ColumnKind::Time { .. }
        | ColumnKind::DateTime { .. }
        | ColumnKind::Timestamp { .. } => Form::Quoted,
        ColumnKind::Text { .. } | ColumnKind::Enum { .. } | ColumnKind::Set { .. } => Form::Text,
        ColumnKind::FixedBinary { .. } | ColumnKind::Binary { .. } => Form::Hex,
        // These read text and bytes each in a way of their own.
        ColumnKind::Json
        | ColumnKind::Geometry
        | ColumnKind::Vector
        | ColumnKind::Uuid
        | ColumnKind::Inet4
        | ColumnKind::Inet6 => return None,
    })
}

/// Whether a target may be asked to read lines at all; else why not.
pub(super) fn is_possible(
    flavor: Flavor,
    logs: bool,
    log_format: &str,
) -> Result<(), &'static str> {
    if flavor == Flavor::TiDB {
        return Err("it is TiDB");
    }
    if logs && !log_format.eq_ignore_ascii_case("ROW") {
        return Err("its binlog is not of format ROW");
    }
    Ok(())
}

fn number(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let is_part = |byte: &u8| matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E');
    let length = text
        .iter()
        .position(|byte| !is_part(byte))
        .unwrap_or(text.len());
    (length > 0)
        .then(|| text.split_at_checked(length))
        .flatten()
}

/// A string without a backslash, in which quotes are doubled.
fn append_quoted<'a>(out: &mut Vec<u8>, text: &'a [u8]) -> Option<&'a [u8]> {
    let mut rest = text.strip_prefix(b"'")?;
    loop {
        let at = memchr::memchr2(b'\'', b'\\', rest)?;
        if rest.get(at) == Some(&b'\\') {
            return None;
        }
        append_bytes(out, rest.get(..at)?);
        rest = rest.get(at + 1..)?;
        match rest.strip_prefix(b"'") {
            Some(more) => {
                out.push(b'\'');
                rest = more;
            }
            None => return Some(rest),
        }
    }
}

fn append_hex<'a>(out: &mut Vec<u8>, text: &'a [u8]) -> Option<&'a [u8]> {
    let digits = text.strip_prefix(b"x'")?;
    let length = memchr::memchr(b'\'', digits)?;
    let (digits, behind) = digits.split_at_checked(length)?;
    out.reserve(length / 2);
    let (pairs, rest) = digits.as_chunks::<2>();
    for [high, low] in pairs {
        let byte = digit(*high)? << 4 | digit(*low)?;
        append_byte(out, byte);
    }
    rest.is_empty().then(|| behind.get(1..)).flatten()
}

fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    }
}

/// Bytes that mean themselves only behind a backslash.
fn append_bytes(out: &mut Vec<u8>, mut bytes: &[u8]) {
    while let Some(at) = memchr::memchr3(b'\\', b'\t', b'\n', bytes) {
        let (plain, rest) = bytes.split_at(at);
        out.extend_from_slice(plain);
        if let Some((&byte, rest)) = rest.split_first() {
            append_byte(out, byte);
            bytes = rest;
        }
    }
    out.extend_from_slice(bytes);
}

fn append_byte(out: &mut Vec<u8>, byte: u8) {
    match byte {
        b'\\' => out.extend_from_slice(b"\\\\"),
        b'\t' => out.extend_from_slice(b"\\t"),
        b'\n' => out.extend_from_slice(b"\\n"),
        byte => out.push(byte),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(forms: &[Form]) -> Lines {
        Lines {
            forms: forms.to_vec(),
            columns: b"(`a`)".to_vec(),
        }
    }

    #[test]
    fn rows_become_lines() {
        let lines = lines(&[
            Form::Number,
            Form::Text,
            Form::Text,
            Form::Hex,
            Form::Bits(2),
            Form::Quoted,
        ]);
        let mut out = Vec::new();
        assert!(lines.append(
            &mut out,
            b"(-1.5e0,'it''s a\ttab\nNULL',_latin1 x'5C09E9',x'000A5C5C',258,'2024-02-29')"
        ));
        assert!(lines.append(&mut out, b"(NULL,'',NULL,x'',NULL,NULL)"));
        assert_eq!(
            out,
            b"-1.5e0\tit's a\\ttab\\nNULL\t\\\\\\t\xe9\t\0\\n\\\\\\\\\t\x01\x02\t2024-02-29\n\
              \\N\t\t\\N\t\t\\N\t\\N\n"
        );
    }

    #[test]
    fn other_forms_are_left_alone() {
        for (form, row) in [
            (Form::Text, "(1)"),
            (Form::Text, "('a\\'b')"),
            (Form::Text, "('a'"),
            (Form::Text, "('a',1)"),
            (Form::Text, "(_utf8mb4'a')"),
            (Form::Hex, "('a')"),
            (Form::Hex, "(x'0')"),
            (Form::Hex, "(x'0G')"),
            (Form::Number, "('1')"),
            (Form::Number, "(CAST('1' AS JSON))"),
            (Form::Quoted, "(20240229)"),
            (Form::Bits(1), "(256)"),
            (Form::Bits(1), "(b'1')"),
        ] {
            let mut out = b"kept".to_vec();
            assert!(!lines(&[form]).append(&mut out, row.as_bytes()), "{row}");
            assert_eq!(out, b"kept", "{row}");
        }
    }

    #[test]
    fn only_equal_columns_take_bytes_as_they_are() {
        let column = |charset: Option<&str>, kind: ColumnKind| Column {
            name: "c".into(),
            type_text: String::new(),
            kind,
            nullable: true,
            charset: charset.map(str::to_owned),
            collation: None,
            generated: Generated::No,
            invisible: false,
            auto_increment: false,
            auto_update: false,
        };
        let text = || ColumnKind::Text {
            fixed: false,
            compressed: false,
        };
        let utf8 = column(Some("utf8mb4"), text());
        assert_eq!(form(&utf8, &utf8), Some(Form::Text));
        assert_eq!(form(&utf8, &column(Some("latin1"), text())), None);
        let json = column(None, ColumnKind::Json);
        assert_eq!(form(&json, &json), None);
        let bits = column(None, ColumnKind::Bit { bits: 9 });
        assert_eq!(form(&bits, &bits), Some(Form::Bits(2)));
    }
}
