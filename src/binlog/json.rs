//! MySQL's binary JSON, as the text that the server itself makes of it.
//!
//! Source of the layout: MySQL's documentation of `json_binary.h`. A document is a byte for its type
//! and a value; objects and arrays have tables of offsets from their own start.

use base64::Engine as _;

use super::cursor::Cursor;
use super::text;
use super::{damaged, unsupported};
use crate::model::Result;
use crate::model::value::{Date, Decimal, Time};

/// Appends the text of a document.
pub fn to_text(document: &[u8], out: &mut Vec<u8>) -> Result<()> {
    let Some((kind, value)) = document.split_first() else {
        // What the server leaves where it could not convert a value.
        out.extend_from_slice(b"null");
        return Ok(());
    };
    let mut writer = Writer {
        out,
        budget: document.len(),
    };
    writer.value(*kind, value, 0)
}

/// The server takes no document that is nested deeper.
const MAX_DEPTH: u32 = 100;

/// The server breaks base64 into lines, and then escapes the line ends.
const BASE64_LINE: usize = 76;

/// The types of values.
pub(super) mod kind {
    pub(in crate::binlog) const SMALL_OBJECT: u8 = 0;
    pub(in crate::binlog) const LARGE_OBJECT: u8 = 1;
    pub(in crate::binlog) const SMALL_ARRAY: u8 = 2;
    pub(in crate::binlog) const LARGE_ARRAY: u8 = 3;
    pub(in crate::binlog) const LITERAL: u8 = 4;
    pub(in crate::binlog) const INT16: u8 = 5;
    pub(in crate::binlog) const UINT16: u8 = 6;
    pub(in crate::binlog) const INT32: u8 = 7;
    pub(in crate::binlog) const UINT32: u8 = 8;
    pub(in crate::binlog) const INT64: u8 = 9;
    pub(in crate::binlog) const UINT64: u8 = 10;
    pub(in crate::binlog) const DOUBLE: u8 = 11;
    pub(in crate::binlog) const STRING: u8 = 12;
    pub(in crate::binlog) const OPAQUE: u8 = 15;

    /// Whether values of the type stand in the table of a container whose offsets have `width` bytes,
    /// in place of an offset.
    pub(in crate::binlog) fn is_inline(kind: u8, width: usize) -> bool {
        match kind {
            LITERAL | INT16 | UINT16 => true,
            INT32 | UINT32 => width == 4,
            _ => false,
        }
    }
}

/// Column types that a document may hold as such.
mod column {
    pub(super) const TIMESTAMP: u8 = 7;
    pub(super) const DATE: u8 = 10;
    pub(super) const TIME: u8 = 11;
    pub(super) const DATETIME: u8 = 12;
    pub(super) const DECIMAL: u8 = 246;
}

struct Writer<'o> {
    out: &'o mut Vec<u8>,
    /// What may still be read. Each value has bytes of its own in a document that is right; in one
    /// that is not, many could name the same ones, and a small document could grow without end.
    budget: usize,
}

impl Writer<'_> {
    fn spend(&mut self, bytes: usize) -> Result<()> {
        self.budget = self
            .budget
            .checked_sub(bytes)
            .ok_or_else(|| damaged("a JSON document whose values overlap"))?;
        Ok(())
    }

    fn value(&mut self, kind: u8, bytes: &[u8], depth: u32) -> Result<()> {
        let mut cursor = Cursor::new(bytes);
        match kind {
            kind::SMALL_OBJECT => self.container(bytes, 2, true, depth),
            kind::LARGE_OBJECT => self.container(bytes, 4, true, depth),
            kind::SMALL_ARRAY => self.container(bytes, 2, false, depth),
            kind::LARGE_ARRAY => self.container(bytes, 4, false, depth),
            kind::STRING => {
                let length = variable_length(&mut cursor)?;
                self.string(cursor.take(length)?)
            }
            kind::OPAQUE => {
                let column = cursor.u8()?;
                let length = variable_length(&mut cursor)?;
                self.opaque(column, cursor.take(length)?)
            }
            _ => self.scalar(kind, &mut cursor),
        }
    }

    fn scalar(&mut self, kind: u8, cursor: &mut Cursor<'_>) -> Result<()> {
        match kind {
            kind::LITERAL => {
                let text: &[u8] = match cursor.u8()? {
                    0 => b"null",
                    1 => b"true",
                    2 => b"false",
                    other => return Err(damaged(format!("the JSON literal {other}"))),
                };
                self.out.extend_from_slice(text);
            }
            kind::INT16 => text::write_int(self.out, i64::from(cursor.u16()? as i16)),
            kind::UINT16 => text::write_uint(self.out, u64::from(cursor.u16()?)),
            kind::INT32 => text::write_int(self.out, i64::from(cursor.u32()? as i32)),
            kind::UINT32 => text::write_uint(self.out, u64::from(cursor.u32()?)),
            kind::INT64 => text::write_int(self.out, cursor.u64()? as i64),
            kind::UINT64 => text::write_uint(self.out, cursor.u64()?),
            kind::DOUBLE => {
                let number = f64::from_le_bytes(cursor.array()?);
                if !number.is_finite() {
                    return Err(damaged("a JSON number that is not finite"));
                }
                text::write_json_double(self.out, number);
            }
            other => {
                return Err(unsupported(format!(
                    "a JSON value of type {other}, which this program does not know"
                )));
            }
        }
        Ok(())
    }

    /// An object or an array, whose offsets have `width` bytes and count from `bytes`' start.
    fn container(&mut self, bytes: &[u8], width: usize, keyed: bool, depth: u32) -> Result<()> {
        if depth >= MAX_DEPTH {
            return Err(damaged("a JSON document nested too deeply"));
        }
        let mut cursor = Cursor::new(bytes);
        let count = cursor.uint_le(width)? as usize;
        let size = cursor.uint_le(width)? as usize;
        let bytes = bytes
            .get(..size)
            .ok_or_else(|| damaged("a JSON document that is cut off"))?;
        let mut keys = cursor;
        if keyed {
            let table = count.checked_mul(width + 2);
            cursor.take(table.ok_or_else(|| damaged("a JSON object of impossible size"))?)?;
        }
        self.out.push(if keyed { b'{' } else { b'[' });
        for index in 0..count {
            if index > 0 {
                self.out.extend_from_slice(b", ");
            }
            self.spend(1 + width)?;
            if keyed {
                let offset = keys.uint_le(width)? as usize;
                let length = usize::from(keys.u16()?);
                let mut key = Cursor::new(bytes.get(offset..).unwrap_or_default());
                self.string(key.take(length)?)?;
                self.out.extend_from_slice(b": ");
            }
            let kind = cursor.u8()?;
            let entry = cursor.take(width)?;
            if kind::is_inline(kind, width) {
                self.scalar(kind, &mut Cursor::new(entry))?;
            } else {
                let offset = Cursor::new(entry).uint_le(width)? as usize;
                let value = bytes.get(offset..).unwrap_or_default();
                self.value(kind, value, depth + 1)?;
            }
        }
        self.out.push(if keyed { b'}' } else { b']' });
        Ok(())
    }

    fn string(&mut self, text: &[u8]) -> Result<()> {
        self.spend(text.len())?;
        write_quoted(self.out, text);
        Ok(())
    }

    /// A value of a column type that JSON itself does not have.
    fn opaque(&mut self, column: u8, bytes: &[u8]) -> Result<()> {
        self.spend(bytes.len())?;
        match column {
            column::DECIMAL => {
                let mut cursor = Cursor::new(bytes);
                let (precision, scale) = (cursor.u8()?, cursor.u8()?);
                if precision == 0 || precision > 65 || scale > precision {
                    return Err(damaged("a DECIMAL of impossible size in a JSON document"));
                }
                let value = Decimal {
                    precision,
                    scale,
                    bytes: cursor.rest(),
                };
                return text::write_decimal(self.out, &value);
            }
            column::DATE | column::DATETIME | column::TIMESTAMP | column::TIME => {
                let packed = Cursor::new(bytes).u64()? as i64;
                self.out.push(b'"');
                self.temporal(column, packed);
                self.out.push(b'"');
            }
            other => {
                self.out.extend_from_slice(b"\"base64:type");
                text::write_uint(self.out, u64::from(other));
                self.out.push(b':');
                let encoded = base64::engine::general_purpose::STANDARD.encode(bytes);
                for (index, line) in encoded.as_bytes().chunks(BASE64_LINE).enumerate() {
                    if index > 0 {
                        self.out.extend_from_slice(b"\\n");
                    }
                    self.out.extend_from_slice(line);
                }
                self.out.push(b'"');
            }
        }
        Ok(())
    }

    fn temporal(&mut self, column: u8, packed: i64) {
        let size = packed.unsigned_abs();
        let whole = size >> 24;
        let months = whole >> 22;
        let date = Date {
            year: (months / 13) as u16,
            month: (months % 13) as u8,
            day: (whole >> 17 & 31) as u8,
        };
        let mut time = Time {
            negative: packed < 0,
            hours: (whole >> 12 & 31) as u16,
            minutes: (whole >> 6 & 63) as u8,
            seconds: (whole & 63) as u8,
            micros: (size & 0xff_ffff) as u32,
            digits: 6,
        };
        if column == column::TIME {
            time.hours = (whole >> 12 & 0x3ff) as u16;
            text::write_time(self.out, &time);
            return;
        }
        text::write_date(self.out, &date);
        if column != column::DATE {
            self.out.push(b' ');
            text::write_time(self.out, &time);
        }
    }
}

/// A length of seven bits a byte, the top bit set in all but the last.
pub(super) fn variable_length(cursor: &mut Cursor<'_>) -> Result<usize> {
    let mut length = 0u64;
    for shift in [0, 7, 14, 21, 28] {
        let byte = cursor.u8()?;
        length |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return u32::try_from(length)
                .map(|length| length as usize)
                .map_err(|_| damaged("a JSON text of impossible length"));
        }
    }
    Err(damaged("a JSON text whose length does not end"))
}

/// Appends a text in double quotes, escaped as the server does.
fn write_quoted(out: &mut Vec<u8>, text: &[u8]) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    out.push(b'"');
    for byte in text {
        let escape = match byte {
            b'"' => b'"',
            b'\\' => b'\\',
            0x08 => b'b',
            0x0c => b'f',
            b'\n' => b'n',
            b'\r' => b'r',
            b'\t' => b't',
            0..=0x1f => {
                let digit = |nibble: u8| HEX.get(usize::from(nibble)).copied().unwrap_or(b'0');
                out.extend_from_slice(b"\\u00");
                out.push(digit(byte >> 4));
                out.push(digit(byte & 15));
                continue;
            }
            plain => {
                out.push(*plain);
                continue;
            }
        };
        out.extend_from_slice(&[b'\\', escape]);
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(document: &[u8]) -> Result<String> {
        let mut out = Vec::new();
        to_text(document, &mut out)?;
        Ok(String::from_utf8(out).unwrap())
    }

    #[test]
    fn scalars() {
        assert_eq!(text(&[]).unwrap(), "null");
        assert_eq!(text(&[4, 1]).unwrap(), "true");
        assert_eq!(text(&[5, 0xff, 0xff]).unwrap(), "-1");
        assert_eq!(text(b"\x0c\x04a\"\n\x01").unwrap(), r#""a\"\n\u0001""#);
        assert!(text(&[13, 0]).is_err());
        assert!(text(b"\x0c\x05abc").is_err());
    }

    #[test]
    fn object() {
        // {"a": 1, "b": [null]}
        let document = [
            0, 2, 0, 28, 0, 18, 0, 1, 0, 19, 0, 1, 0, 5, 1, 0, 2, 20, 0, b'a', b'b', 1, 0, 7, 0, 4,
            0, 0, 0,
        ];
        assert_eq!(text(&document).unwrap(), r#"{"a": 1, "b": [null]}"#);
    }

    #[test]
    fn a_document_that_names_itself_ends() {
        // An array whose two values are the array.
        let document = [2, 2, 0, 10, 0, 2, 0, 0, 2, 0, 0];
        assert!(text(&document).is_err());
    }
}
