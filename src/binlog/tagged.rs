//! The numbers and messages of MySQL's serialization library, in which tagged GTIDs are written.
//!
//! A number's first byte says by its trailing one bits how many bytes follow; the bits above the
//! first zero and the bytes behind are the number, least significant first.
//! Source: MySQL's documentation of `libs/mysql/serialization`.

use super::cursor::Cursor;
use super::{damaged, unsupported};
use crate::model::Result;

/// The only version of the library's format.
const VERSION: u64 = 1;

/// An unsigned number.
pub(crate) fn uint(cursor: &mut Cursor<'_>) -> Result<u64> {
    let first = cursor.u8()?;
    let more = first.trailing_ones();
    if more >= 8 {
        return cursor.u64();
    }
    let high = cursor.uint_le(more as usize)?;
    // With seven bytes more, the first byte has no bit left for the number: the shift gives 0.
    let low = u64::from(first) >> (more + 1);
    Ok(low | high << (7 - more))
}

/// A signed number: the lowest bit is the sign, and a negative number's other bits are inverted.
pub(crate) fn int(cursor: &mut Cursor<'_>) -> Result<i64> {
    let number = uint(cursor)?;
    let magnitude = (number >> 1) as i64;
    Ok(if number & 1 == 0 {
        magnitude
    } else {
        !magnitude
    })
}

/// A message: fields, each behind its number, in rising order.
pub(crate) struct Message<'a> {
    cursor: Cursor<'a>,
    last_needed: u64,
}

impl<'a> Message<'a> {
    /// Reads the message's head and leaves its fields.
    pub(crate) fn parse(bytes: &'a [u8]) -> Result<Self> {
        let mut cursor = Cursor::new(bytes);
        let version = uint(&mut cursor)?;
        if version != VERSION {
            return Err(unsupported(format!(
                "version {version} of MySQL's serialization format is not known"
            )));
        }
        let length = uint(&mut cursor)?;
        // The length counts from the message's first byte.
        let consumed = bytes.len() - cursor.len();
        let rest = usize::try_from(length)
            .ok()
            .and_then(|length| length.checked_sub(consumed))
            .ok_or_else(|| damaged(format!("a message of the impossible length {length}")))?;
        let mut cursor = Cursor::new(cursor.take(rest)?);
        let last_needed = uint(&mut cursor)?;
        Ok(Self {
            cursor,
            last_needed,
        })
    }

    /// The next field's number, at the end `None`.
    pub(crate) fn field(&mut self) -> Result<Option<u64>> {
        if self.cursor.is_empty() {
            return Ok(None);
        }
        uint(&mut self.cursor).map(Some)
    }

    /// Whether a field that is not known may be passed over, with all behind it.
    pub(crate) fn may_ignore(&self, field: u64) -> bool {
        field > self.last_needed
    }

    pub(crate) fn values(&mut self) -> &mut Cursor<'a> {
        &mut self.cursor
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        for (bytes, number) in [
            (&[0b1010_1010][..], 0b101_0101),
            (&[0b01, 0b10], 0b1000_0000),
            (&[0b1111_1101, 0xff], 0x3fff),
            (&[0x7f, 1, 0, 0, 0, 0, 0, 0], 1),
            (&[0xff, 1, 0, 0, 0, 0, 0, 0, 0x80], 0x8000_0000_0000_0001),
        ] {
            let mut cursor = Cursor::new(bytes);
            assert_eq!(uint(&mut cursor).unwrap(), number, "{bytes:?}");
            assert!(cursor.is_empty());
        }
        assert_eq!(int(&mut Cursor::new(&[0b1000])).unwrap(), 2);
        assert_eq!(int(&mut Cursor::new(&[0b10])).unwrap(), -1);
    }
}
