//! Values as literals of a statement, exact in type and character set.
//!
//! The session is one with `NAMES utf8mb4` and `time_zone = '+00:00'`; no literal depends on the
//! rest of it: not on `NO_BACKSLASH_ESCAPES`, because text with a backslash is written in hex, and
//! not on the collation, because a literal gives way to the column it meets.

use std::borrow::Cow;

use crate::binlog::{json, text};
use crate::model::value::Value;
use crate::model::{Error, ErrorKind, Result};
use crate::schema::{Column, ColumnKind, json_decimals};

/// Appends a value of `column` as the binlog has it.
pub fn write_value(out: &mut Vec<u8>, value: &Value<'_>, column: &Column) -> Result<()> {
    match value {
        Value::Null => out.extend_from_slice(b"NULL"),
        Value::Int(number) => text::write_int(out, *number),
        Value::UInt(number) => text::write_uint(out, *number),
        // Written as the double of the same value: every digit of it, so that it is stored without
        // a second rounding, is never above the largest FLOAT, and is equal when compared.
        Value::Float(number) => write_double(out, f64::from(*number), column)?,
        Value::Double(number) => write_double(out, *number, column)?,
        Value::Decimal(decimal) => text::write_decimal(out, decimal)?,
        Value::Date(date) => quoted(out, |out| text::write_date(out, date)),
        Value::Time(time) => quoted(out, |out| text::write_time(out, time)),
        Value::DateTime(date, time) => quoted(out, |out| {
            text::write_date(out, date);
            out.push(b' ');
            text::write_time(out, time);
        }),
        Value::UnixTime(time) => quoted(out, |out| text::write_unix_time(out, time)),
        // The text, because the number 0 could be read as the year 2000's last digits.
        Value::Year(year) => quoted(out, |out| write_year(out, *year)),
        Value::Bit(bits) => text::write_uint(out, bits_number(bits, column)?),
        Value::Enum(index) => write_enum(out, *index, column)?,
        Value::Set(members) => write_set(out, *members, column)?,
        Value::Bytes(bytes) => write_bytes(out, bytes, column)?,
        Value::Json(document) => {
            let mut shown = Vec::with_capacity(document.len());
            json::to_text(document, &mut shown)?;
            write_json(out, &shown);
        }
        Value::JsonDiff(_) => {
            return Err(Error::new(
                ErrorKind::Setting,
                format!(
                    "column `{}` was updated by changes to its document, without the document",
                    column.name
                ),
            )
            .with_fix(
                "`SET GLOBAL binlog_row_value_options = ''` at the source, and reconnect its \
                 clients; then this table must be dumped again",
            ));
        }
    }
    Ok(())
}

/// Appends a value of `column` as the text protocol has it: the bytes that a session with
/// `character_set_results = NULL` and `time_zone = '+00:00'` gets (text in the column's own character
/// set). FLOAT columns must be read as DOUBLE (`col + 0e0`, or a cast): the servers leave digits out.
pub fn write_text_value(out: &mut Vec<u8>, bytes: Option<&[u8]>, column: &Column) -> Result<()> {
    let Some(bytes) = bytes else {
        out.extend_from_slice(b"NULL");
        return Ok(());
    };
    match &column.kind {
        ColumnKind::Integer { .. } | ColumnKind::Decimal { .. } => write_number(out, bytes, column),
        ColumnKind::Float | ColumnKind::Double => {
            write_number(out, bytes, column)?;
            // Without an exponent the server would read a DECIMAL, whose digits end at 65.
            if !bytes.contains(&b'e') && !bytes.contains(&b'E') {
                out.extend_from_slice(b"e0");
            }
            Ok(())
        }
        ColumnKind::Bit { .. } => {
            text::write_uint(out, bits_number(bytes, column)?);
            Ok(())
        }
        ColumnKind::Year
        | ColumnKind::Date
        | ColumnKind::Time { .. }
        | ColumnKind::DateTime { .. }
        | ColumnKind::Timestamp { .. }
        | ColumnKind::Uuid
        | ColumnKind::Inet4
        | ColumnKind::Inet6 => {
            write_text(out, bytes, "utf8mb4");
            Ok(())
        }
        ColumnKind::Json => {
            write_json(out, bytes);
            Ok(())
        }
        // The text protocol cannot tell the invalid member from the empty one; a column that has no
        // empty member can only mean the invalid one.
        ColumnKind::Enum { members } if bytes.is_empty() && !has_empty(members) => {
            out.push(b'0');
            Ok(())
        }
        ColumnKind::Text { .. } | ColumnKind::Enum { .. } | ColumnKind::Set { .. } => {
            write_column_text(out, bytes, column);
            Ok(())
        }
        ColumnKind::FixedBinary { .. }
        | ColumnKind::Binary { .. }
        | ColumnKind::Geometry
        | ColumnKind::Vector => {
            write_hex(out, bytes);
            Ok(())
        }
    }
}

/// A value as text for people, without quotes; NULL is for the caller to show.
pub fn display_value(value: &Value<'_>, column: &Column) -> String {
    let mut out = Vec::new();
    match value {
        Value::Null => out.extend_from_slice(b"NULL"),
        Value::Float(number) => return number.to_string(),
        Value::Double(number) => return number.to_string(),
        Value::Decimal(decimal) => {
            if text::write_decimal(&mut out, decimal).is_err() {
                return shown_hex(decimal.bytes);
            }
        }
        Value::Date(date) => text::write_date(&mut out, date),
        Value::Time(time) => text::write_time(&mut out, time),
        Value::DateTime(date, time) => {
            text::write_date(&mut out, date);
            out.push(b' ');
            text::write_time(&mut out, time);
        }
        Value::UnixTime(time) => text::write_unix_time(&mut out, time),
        Value::Year(year) => write_year(&mut out, *year),
        Value::Bit(bits) => {
            return bits.iter().fold("b".to_owned(), |shown, byte| {
                if shown.len() == 1 {
                    format!("b{byte:b}")
                } else {
                    format!("{shown}{byte:08b}")
                }
            });
        }
        Value::Int(number) => return number.to_string(),
        Value::UInt(number) => return number.to_string(),
        Value::Enum(index) => {
            return match member(&column.kind, usize::from(*index)) {
                Some(name) => name.to_owned(),
                None if *index == 0 => String::new(),
                None => format!("#{index}"),
            };
        }
        Value::Set(bits) => {
            return selected(&column.kind, *bits)
                .map_or_else(|| format!("#{bits}"), |names| names.join(","));
        }
        Value::Bytes(bytes) => return display_bytes(bytes, column),
        Value::Json(document) => {
            if json::to_text(document, &mut out).is_err() {
                return shown_hex(document);
            }
        }
        Value::JsonDiff(changes) => return format!("({} bytes of changes)", changes.len()),
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn write_double(out: &mut Vec<u8>, number: f64, column: &Column) -> Result<()> {
    use std::io::Write as _;
    if !number.is_finite() {
        return Err(Error::new(
            ErrorKind::Damaged,
            format!(
                "column `{}` holds {number}, which no server stores",
                column.name
            ),
        ));
    }
    // Writing to a vector cannot fail.
    let _ = write!(out, "{number:e}");
    Ok(())
}

fn write_year(out: &mut Vec<u8>, year: u16) {
    if year == 0 {
        out.extend_from_slice(b"0000");
    } else {
        text::write_uint(out, u64::from(year));
    }
}

/// Bits as a number: the literal that stores and compares alike on every server.
fn bits_number(bits: &[u8], column: &Column) -> Result<u64> {
    if bits.len() > 8 {
        return Err(Error::new(
            ErrorKind::Damaged,
            format!(
                "column `{}` holds {} bytes of bits",
                column.name,
                bits.len()
            ),
        ));
    }
    Ok(bits
        .iter()
        .fold(0, |number, byte| (number << 8) | u64::from(*byte)))
}

fn members(kind: &ColumnKind) -> Option<&[String]> {
    match kind {
        ColumnKind::Enum { members } | ColumnKind::Set { members } => Some(members),
        _ => None,
    }
}

fn has_empty(members: &[String]) -> bool {
    members.iter().any(String::is_empty)
}

/// An ENUM's member by its index, which counts from 1.
fn member(kind: &ColumnKind, index: usize) -> Option<&str> {
    let members = members(kind)?;
    members.get(index.checked_sub(1)?).map(String::as_str)
}

/// A SET's members; `None` if a bit stands for none.
fn selected(kind: &ColumnKind, bits: u64) -> Option<Vec<&str>> {
    let members = members(kind)?;
    if bits.checked_shr(members.len() as u32).unwrap_or(0) != 0 {
        return None;
    }
    let chosen = |index: usize| bits & (1 << index) != 0;
    let names = members.iter().enumerate().filter(|(i, _)| chosen(*i));
    Some(names.map(|(_, name)| name.as_str()).collect())
}

/// By the member's name, which holds where the target's list is another one. Index 0, the invalid
/// value, as the number: `''` could be a member.
fn write_enum(out: &mut Vec<u8>, index: u16, column: &Column) -> Result<()> {
    if index == 0 {
        out.push(b'0');
        return Ok(());
    }
    let name = member(&column.kind, usize::from(index)).ok_or_else(|| no_member(column, index))?;
    write_text(out, name.as_bytes(), "utf8mb4");
    Ok(())
}

fn write_set(out: &mut Vec<u8>, bits: u64, column: &Column) -> Result<()> {
    let names = selected(&column.kind, bits).ok_or_else(|| no_member(column, bits))?;
    if names.iter().any(|name| name.is_empty()) {
        // The empty member cannot be named in a list.
        text::write_uint(out, bits);
    } else {
        write_text(out, names.join(",").as_bytes(), "utf8mb4");
    }
    Ok(())
}

fn no_member(column: &Column, value: impl std::fmt::Display) -> Error {
    Error::new(
        ErrorKind::Structure,
        format!(
            "column `{}` is {} in the structure, but the binlog has member {value} in it",
            column.name, column.type_text
        ),
    )
}

fn write_bytes(out: &mut Vec<u8>, bytes: &[u8], column: &Column) -> Result<()> {
    match &column.kind {
        ColumnKind::Text { .. } => write_column_text(out, bytes, column),
        ColumnKind::Uuid | ColumnKind::Inet4 | ColumnKind::Inet6 => {
            let shown = address(bytes, &column.kind).ok_or_else(|| {
                Error::new(
                    ErrorKind::Damaged,
                    format!("column `{}` holds {} bytes", column.name, bytes.len()),
                )
            })?;
            quoted(out, |out| out.extend_from_slice(shown.as_bytes()));
        }
        ColumnKind::FixedBinary { length } if bytes.len() < *length as usize => {
            let mut padded = bytes.to_vec();
            padded.resize(*length as usize, 0);
            write_hex(out, &padded);
        }
        _ => write_hex(out, bytes),
    }
    Ok(())
}

/// The text of a UUID, an INET4 or an INET6.
fn address(bytes: &[u8], kind: &ColumnKind) -> Option<String> {
    Some(match kind {
        ColumnKind::Inet4 => std::net::Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?).to_string(),
        ColumnKind::Inet6 => {
            std::net::Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?).to_string()
        }
        _ => {
            use std::fmt::Write as _;
            let bytes = <[u8; 16]>::try_from(bytes).ok()?;
            let mut shown = String::with_capacity(36);
            for (index, byte) in bytes.iter().enumerate() {
                if matches!(index, 4 | 6 | 8 | 10) {
                    shown.push('-');
                }
                let _ = write!(shown, "{byte:02x}");
            }
            shown
        }
    })
}

fn write_column_text(out: &mut Vec<u8>, bytes: &[u8], column: &Column) {
    match column.charset.as_deref() {
        Some(charset) => write_text(out, bytes, charset),
        None => write_hex(out, bytes),
    }
}

fn is_utf8(charset: &str) -> bool {
    matches!(charset, "utf8mb4" | "utf8mb3" | "utf8" | "ascii")
}

/// Character sets in which a byte below 128 is always the ASCII character.
fn extends_ascii(charset: &str) -> bool {
    matches!(
        charset,
        "latin1"
            | "latin2"
            | "latin5"
            | "latin7"
            | "cp1250"
            | "cp1251"
            | "cp1256"
            | "cp1257"
            | "cp850"
            | "cp852"
            | "cp866"
            | "koi8r"
            | "koi8u"
            | "greek"
            | "hebrew"
            | "gb2312"
            | "gbk"
            | "gb18030"
            | "big5"
            | "euckr"
            | "geostd8"
            | "armscii8"
            | "macroman"
            | "macce"
            | "keybcs2"
            | "tis620"
            | "dec8"
            | "hp8"
    )
}

/// The character set to name in front of bytes of `charset`: MySQL warns at each mention of those it
/// means to drop, and a warning stops a row. What takes their place reads these bytes the same.
fn introducer<'a>(bytes: &[u8], charset: &'a str) -> &'a str {
    let is_surrogate = |unit: &[u8]| unit.first().is_some_and(|high| high & 0xf8 == 0xd8);
    match charset {
        "utf8" | "utf8mb3" => "utf8mb4",
        "ucs2" if bytes.len().is_multiple_of(2) && !bytes.chunks(2).any(is_surrogate) => "utf16",
        other => other,
    }
}

/// Text in `charset`: plain where the session reads it as such, else in hex behind an introducer.
fn write_text(out: &mut Vec<u8>, bytes: &[u8], charset: &str) {
    let plain = !bytes.contains(&b'\\')
        && (bytes.is_empty()
            || (is_utf8(charset) && std::str::from_utf8(bytes).is_ok())
            || (extends_ascii(charset) && bytes.is_ascii()));
    if !plain {
        out.push(b'_');
        out.extend_from_slice(introducer(bytes, charset).as_bytes());
        out.push(b' ');
        write_hex(out, bytes);
        return;
    }
    out.push(b'\'');
    let mut rest = bytes;
    while let Some(at) = memchr::memchr(b'\'', rest) {
        let (head, tail) = rest.split_at(at + 1);
        out.extend_from_slice(head);
        out.push(b'\'');
        rest = tail;
    }
    out.extend_from_slice(rest);
    out.push(b'\'');
}

fn write_json(out: &mut Vec<u8>, document: &[u8]) {
    json_decimals::write(out, document, |out, text| write_text(out, text, "utf8mb4"));
}

/// Bytes as `x'…'`.
pub(crate) fn write_hex(out: &mut Vec<u8>, bytes: &[u8]) {
    out.reserve(bytes.len() * 2 + 3);
    out.extend_from_slice(b"x'");
    push_hex(out, bytes);
    out.push(b'\'');
}

fn push_hex(out: &mut Vec<u8>, bytes: &[u8]) {
    // Both digits of a byte, by the byte: blobs are long.
    static PAIRS: [[u8; 2]; 256] = {
        const HEX: &[u8; 16] = b"0123456789ABCDEF";
        let mut pairs = [[0; 2]; 256];
        let mut byte = 0;
        while byte < 256 {
            pairs[byte] = [HEX[byte >> 4], HEX[byte & 15]];
            byte += 1;
        }
        pairs
    };
    let begin = out.len();
    out.resize(begin + 2 * bytes.len(), 0);
    let (pairs, _) = out
        .get_mut(begin..)
        .unwrap_or_default()
        .as_chunks_mut::<2>();
    for (place, byte) in pairs.iter_mut().zip(bytes) {
        *place = PAIRS[usize::from(*byte)];
    }
}

fn quoted(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    out.push(b'\'');
    write(out);
    out.push(b'\'');
}

/// Digits as they came, if they are nothing but a number.
fn write_number(out: &mut Vec<u8>, bytes: &[u8], column: &Column) -> Result<()> {
    let is_number = bytes.iter().any(u8::is_ascii_digit)
        && bytes
            .iter()
            .all(|byte| byte.is_ascii_digit() || matches!(byte, b'+' | b'-' | b'.' | b'e' | b'E'));
    if !is_number {
        return Err(Error::new(
            ErrorKind::Structure,
            format!(
                "column `{}` is {} in the structure, but `{}` is no number",
                column.name,
                column.type_text,
                String::from_utf8_lossy(bytes).escape_debug()
            ),
        ));
    }
    out.extend_from_slice(bytes);
    Ok(())
}

fn shown_hex(bytes: &[u8]) -> String {
    let mut shown = b"0x".to_vec();
    push_hex(&mut shown, bytes);
    String::from_utf8_lossy(&shown).into_owned()
}

/// Text of the common character sets as such, all else in hex.
fn display_bytes(bytes: &[u8], column: &Column) -> String {
    if let Some(shown) = address_if_any(bytes, &column.kind) {
        return shown;
    }
    let charset = column.charset.as_deref().unwrap_or("");
    let decoded: Option<Cow<'_, str>> = match charset {
        _ if is_utf8(charset) => std::str::from_utf8(bytes).ok().map(Cow::Borrowed),
        _ if extends_ascii(charset) && bytes.is_ascii() => {
            std::str::from_utf8(bytes).ok().map(Cow::Borrowed)
        }
        // The bytes of latin1 that are characters in ISO 8859-1 as well.
        "latin1" if !bytes.iter().any(|byte| (0x80..0xa0).contains(byte)) => {
            Some(bytes.iter().map(|byte| char::from(*byte)).collect())
        }
        "utf16" | "ucs2" if bytes.len().is_multiple_of(2) => {
            let units: Vec<u16> = bytes
                .chunks_exact(2)
                .map(|pair| {
                    pair.iter()
                        .fold(0, |unit, byte| unit << 8 | u16::from(*byte))
                })
                .collect();
            String::from_utf16(&units).ok().map(Cow::Owned)
        }
        _ => None,
    };
    decoded.map_or_else(|| shown_hex(bytes), Cow::into_owned)
}

fn address_if_any(bytes: &[u8], kind: &ColumnKind) -> Option<String> {
    match kind {
        ColumnKind::Uuid | ColumnKind::Inet4 | ColumnKind::Inet6 => address(bytes, kind),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::Generated;

    fn column(kind: ColumnKind, charset: Option<&str>) -> Column {
        Column {
            name: "c".into(),
            type_text: "some type".into(),
            kind,
            nullable: true,
            charset: charset.map(str::to_owned),
            collation: None,
            generated: Generated::No,
            invisible: false,
            auto_increment: false,
            auto_update: false,
        }
    }

    fn text_column(charset: &str) -> Column {
        let kind = ColumnKind::Text {
            fixed: false,
            compressed: false,
        };
        column(kind, Some(charset))
    }

    fn literal(value: &Value<'_>, column: &Column) -> String {
        let mut out = Vec::new();
        write_value(&mut out, value, column).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn text_keeps_its_bytes() {
        for (charset, bytes, expected) in [
            ("utf8mb4", &b"it's"[..], "'it''s'"),
            ("utf8mb4", "Ã©".as_bytes(), "'Ã©'"),
            ("utf8mb4", b"a\\b", "_utf8mb4 x'615C62'"),
            ("utf8mb4", b"\xff", "_utf8mb4 x'FF'"),
            ("latin1", b"\xc3\xa9", "_latin1 x'C3A9'"),
            ("latin1", b"plain", "'plain'"),
            ("sjis", b"plain", "_sjis x'706C61696E'"),
            ("utf16", b"", "''"),
            ("utf16", b"\0a", "_utf16 x'0061'"),
        ] {
            let value = Value::Bytes(bytes.into());
            assert_eq!(
                literal(&value, &text_column(charset)),
                expected,
                "{charset}"
            );
        }
    }

    #[test]
    fn numbers_keep_every_digit() {
        let plain = column(ColumnKind::Double, None);
        assert_eq!(
            literal(&Value::Float(f32::MAX), &plain),
            "3.4028234663852886e38"
        );
        assert_eq!(
            literal(&Value::Double(-f64::MAX), &plain),
            "-1.7976931348623157e308"
        );
        assert_eq!(literal(&Value::Double(0.1), &plain), "1e-1");
        assert!(write_value(&mut Vec::new(), &Value::Double(f64::NAN), &plain).is_err());
    }

    #[test]
    fn members_by_name() {
        let names = vec!["a".to_owned(), "it's".to_owned()];
        let list = column(
            ColumnKind::Enum {
                members: names.clone(),
            },
            Some("utf8mb4"),
        );
        assert_eq!(literal(&Value::Enum(2), &list), "'it''s'");
        assert_eq!(literal(&Value::Enum(0), &list), "0");
        assert!(write_value(&mut Vec::new(), &Value::Enum(3), &list).is_err());
        let set = column(ColumnKind::Set { members: names }, Some("utf8mb4"));
        assert_eq!(literal(&Value::Set(3), &set), "'a,it''s'");
        assert_eq!(literal(&Value::Set(0), &set), "''");
        assert!(write_value(&mut Vec::new(), &Value::Set(4), &set).is_err());
    }

    #[test]
    fn text_protocol() {
        let check = |kind: ColumnKind, charset: Option<&str>, bytes: &[u8], expected: &str| {
            let mut out = Vec::new();
            write_text_value(&mut out, Some(bytes), &column(kind, charset)).unwrap();
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        };
        let integer = ColumnKind::Integer {
            width: 4,
            unsigned: false,
        };
        check(integer.clone(), None, b"-12", "-12");
        check(ColumnKind::Double, None, b"0.5", "0.5e0");
        check(ColumnKind::Double, None, b"1e300", "1e300");
        check(ColumnKind::Bit { bits: 9 }, None, &[1, 1], "257");
        check(
            ColumnKind::Binary { compressed: false },
            None,
            &[0, 255],
            "x'00FF'",
        );
        check(ColumnKind::Date, None, b"0000-00-00", "'0000-00-00'");
        let wrong = write_text_value(&mut Vec::new(), Some(b"1; DROP"), &column(integer, None));
        assert!(wrong.is_err());
    }
}
