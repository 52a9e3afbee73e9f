//! One value of a row.
//!
//! Source of the layouts: the servers' documentation of the binary log and of their storage of
//! temporal types, checked against both servers by writing every type back and comparing.

use std::borrow::Cow;

use super::cursor::Cursor;
use super::shape::length_width;
use super::{compressed, damaged, unsupported};
use crate::model::Result;
use crate::model::value::{Date, Decimal, Row, Time, UnixTime, Value};

/// How the values of a column are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decoder {
    Int {
        width: u8,
    },
    UInt {
        width: u8,
    },
    Float,
    Double,
    Decimal {
        precision: u8,
        scale: u8,
        length: u8,
    },
    Null,
    Date,
    Year,
    OldTime {
        digits: u8,
    },
    OldDateTime {
        digits: u8,
    },
    OldTimestamp {
        digits: u8,
    },
    Time {
        digits: u8,
    },
    DateTime {
        digits: u8,
    },
    Timestamp {
        digits: u8,
    },
    Bytes {
        width: u8,
    },
    /// The servers cut zero bytes off the end of BINARY, UUID and INET.
    Padded {
        width: u8,
        length: u16,
    },
    Compressed {
        width: u8,
    },
    Enum {
        width: u8,
    },
    Set {
        width: u8,
    },
    Bit {
        width: u8,
    },
    Json {
        width: u8,
    },
}

/// The bytes that hold a number of decimal digits, for 0 to 9 digits.
const DIGIT_BYTES: [u8; 10] = [0, 1, 1, 2, 2, 3, 3, 4, 4, 4];
/// Bytes of a fraction of a second in MariaDB's own form, for 0 to 6 digits.
const OLD_FRACTION_BYTES: [u8; 7] = [0, 1, 1, 2, 2, 3, 3];
/// Bytes of a TIME with a fraction in MariaDB's own form, for 1 to 6 digits.
const OLD_TIME_BYTES: [u8; 7] = [3, 4, 4, 5, 5, 5, 6];
/// Bytes of a DATETIME with a fraction in MariaDB's own form, for 1 to 6 digits.
const OLD_DATETIME_BYTES: [u8; 7] = [8, 6, 6, 7, 7, 7, 8];
/// A second more than the largest TIME: what MariaDB's own form adds so that none is negative.
const OLD_TIME_ZERO: u64 = 3_020_400;
const MICROS: u64 = 1_000_000;

impl Decoder {
    pub(super) fn integer(width: u8, unsigned: bool) -> Self {
        if unsigned {
            Self::UInt { width }
        } else {
            Self::Int { width }
        }
    }

    pub(super) fn decimal(precision: u8, scale: u8) -> Self {
        let half = |digits: u8| {
            let odd = DIGIT_BYTES.get(usize::from(digits % 9)).copied();
            digits / 9 * 4 + odd.unwrap_or(0)
        };
        Self::Decimal {
            precision,
            scale,
            length: half(precision.saturating_sub(scale)) + half(scale),
        }
    }

    pub(super) fn padded(length: u16) -> Self {
        Self::Padded {
            width: length_width(length),
            length,
        }
    }

    /// Appends the next value to `row`. What most rows have most of is read here, straight into its
    /// place: as a result that is handed up and moved it would cost twice the time.
    #[expect(
        clippy::inline_always,
        reason = "measured: as a call it costs more than the reading itself"
    )]
    #[inline(always)]
    pub(super) fn push<'a>(self, cursor: &mut Cursor<'a>, row: &mut Row<'a>) -> Result<()> {
        match self {
            Self::Int { width: 4 } => {
                let number = i32::from_le_bytes(cursor.array()?);
                row.push(Some(Value::Int(i64::from(number))));
            }
            Self::Int { width: 8 } => {
                row.push(Some(Value::Int(i64::from_le_bytes(cursor.array()?))));
            }
            Self::Bytes { width: 1 } => {
                let length = cursor.u8()?;
                let bytes = cursor.take(usize::from(length))?;
                row.push(Some(Value::Bytes(Cow::Borrowed(bytes))));
            }
            other => row.push(Some(other.read(cursor)?)),
        }
        Ok(())
    }

    /// The next value.
    pub(super) fn read<'a>(self, cursor: &mut Cursor<'a>) -> Result<Value<'a>> {
        Ok(match self {
            Self::Int { width } => {
                let raw = cursor.uint_le(usize::from(width))?;
                // Shifted to the top and back, so that the sign is carried on, at any width.
                let unused = 64 - 8 * u32::from(width);
                Value::Int(((raw << unused) as i64) >> unused)
            }
            Self::UInt { width } => Value::UInt(cursor.uint_le(usize::from(width))?),
            Self::Float => Value::Float(f32::from_le_bytes(cursor.array()?)),
            Self::Double => Value::Double(f64::from_le_bytes(cursor.array()?)),
            Self::Decimal {
                precision,
                scale,
                length,
            } => Value::Decimal(Decimal {
                precision,
                scale,
                bytes: cursor.take(usize::from(length))?,
            }),
            Self::Null => Value::Null,
            Self::Date => date(cursor.uint_le(3)?),
            Self::Year => match cursor.u8()? {
                0 => Value::Year(0),
                year => Value::Year(1900 + u16::from(year)),
            },
            Self::OldTime { digits } => old_time(cursor, digits)?,
            Self::OldDateTime { digits } => old_datetime(cursor, digits)?,
            Self::OldTimestamp { digits } => old_timestamp(cursor, digits)?,
            Self::Time { digits } => time(cursor, digits)?,
            Self::DateTime { digits } => datetime(cursor, digits)?,
            Self::Timestamp { digits } => Value::UnixTime(UnixTime {
                seconds: cursor.uint_be(4)?,
                micros: fraction(cursor, digits)?,
                digits,
            }),
            Self::Bytes { width } => Value::Bytes(Cow::Borrowed(sized(cursor, width)?)),
            Self::Padded { width, length } => padded(sized(cursor, width)?, length)?,
            Self::Compressed { width } => Value::Bytes(uncompressed(sized(cursor, width)?)?),
            Self::Enum { width } => Value::Enum(cursor.uint_le(usize::from(width))? as u16),
            Self::Set { width } => Value::Set(cursor.uint_le(usize::from(width))?),
            Self::Bit { width } => Value::Bit(cursor.take(usize::from(width))?),
            Self::Json { width } => Value::Json(Cow::Borrowed(sized(cursor, width)?)),
        })
    }
}

/// Bytes behind a length of `width` bytes.
#[inline]
fn sized<'a>(cursor: &mut Cursor<'a>, width: u8) -> Result<&'a [u8]> {
    let length = cursor.uint_le(usize::from(width))?;
    cursor.take(length as usize)
}

fn padded(bytes: &[u8], length: u16) -> Result<Value<'_>> {
    let length = usize::from(length);
    if bytes.len() == length {
        return Ok(Value::Bytes(Cow::Borrowed(bytes)));
    }
    if bytes.len() > length {
        return Err(damaged(format!(
            "{} bytes in a column of {length}",
            bytes.len()
        )));
    }
    let mut full = Vec::with_capacity(length);
    full.extend_from_slice(bytes);
    full.resize(length, 0);
    Ok(Value::Bytes(Cow::Owned(full)))
}

/// A value of a MariaDB COMPRESSED column: a byte that says how, the length, the bytes.
fn uncompressed(bytes: &[u8]) -> Result<Cow<'_, [u8]>> {
    /// The upper half of the first byte: the method.
    const METHOD: u8 = 0xf0;
    const STORED: u8 = 0x00;
    const ZLIB: u8 = 0x80;
    /// `column_compression_zlib_wrap` was off: a stream without zlib's head.
    const RAW: u8 = 0x08;
    const LENGTH: u8 = 0x07;

    let mut cursor = Cursor::new(bytes);
    if cursor.is_empty() {
        return Ok(Cow::Borrowed(bytes));
    }
    let head = cursor.u8()?;
    match head & METHOD {
        STORED => Ok(Cow::Borrowed(cursor.rest())),
        ZLIB => {
            let length = cursor.uint_be(usize::from(head & LENGTH))?;
            compressed::inflate(cursor.rest(), length, head & RAW == 0).map(Cow::Owned)
        }
        other => Err(unsupported(format!(
            "a COMPRESSED column uses method {}, which this program does not know",
            other >> 4
        ))),
    }
}

fn date(raw: u64) -> Value<'static> {
    Value::Date(Date {
        year: (raw >> 9) as u16,
        month: (raw >> 5 & 15) as u8,
        day: (raw & 31) as u8,
    })
}

/// The microseconds behind the second.
fn fraction(cursor: &mut Cursor<'_>, digits: u8) -> Result<u32> {
    let raw = match digits {
        0 => return Ok(0),
        1 | 2 => cursor.uint_be(1)? * 10_000,
        3 | 4 => cursor.uint_be(2)? * 100,
        _ => cursor.uint_be(3)?,
    };
    micros(raw)
}

fn micros(raw: u64) -> Result<u32> {
    if raw < MICROS {
        Ok(raw as u32)
    } else {
        Err(damaged(format!("a second with {raw} microseconds")))
    }
}

/// Whole and fraction are one big-endian number around a middle that stands for zero.
fn time<'a>(cursor: &mut Cursor<'a>, digits: u8) -> Result<Value<'a>> {
    let fraction_bytes = usize::from(digits.div_ceil(2));
    let fraction_bits = 8 * fraction_bytes as u32;
    let raw = cursor.uint_be(3 + fraction_bytes)? as i64;
    let packed = raw - (1 << (23 + fraction_bits));
    let size = packed.unsigned_abs();
    let whole = size >> fraction_bits;
    let fraction = size & ((1 << fraction_bits) - 1);
    Ok(Value::Time(Time {
        negative: packed < 0,
        hours: (whole >> 12 & 0x3ff) as u16,
        minutes: (whole >> 6 & 63) as u8,
        seconds: (whole & 63) as u8,
        micros: micros(match fraction_bytes {
            1 => fraction * 10_000,
            2 => fraction * 100,
            _ => fraction,
        })?,
        digits,
    }))
}

fn datetime<'a>(cursor: &mut Cursor<'a>, digits: u8) -> Result<Value<'a>> {
    let packed = cursor.uint_be(5)?.wrapping_sub(1 << 39);
    let months = packed >> 22 & 0x1_ffff;
    let date = Date {
        year: (months / 13) as u16,
        month: (months % 13) as u8,
        day: (packed >> 17 & 31) as u8,
    };
    let time = Time {
        negative: false,
        hours: (packed >> 12 & 31) as u16,
        minutes: (packed >> 6 & 63) as u8,
        seconds: (packed & 63) as u8,
        micros: fraction(cursor, digits)?,
        digits,
    };
    Ok(Value::DateTime(date, time))
}

/// What the last of `digits` digits behind the second stands for, in microseconds.
fn unit(digits: u8) -> u64 {
    10u64.pow(6u32.saturating_sub(u32::from(digits)))
}

fn bytes_for(table: [u8; 7], digits: u8) -> Result<usize> {
    table
        .get(usize::from(digits))
        .map(|bytes| usize::from(*bytes))
        .ok_or_else(|| damaged(format!("a time with {digits} digits behind the second")))
}

fn old_time<'a>(cursor: &mut Cursor<'a>, digits: u8) -> Result<Value<'a>> {
    if digits == 0 {
        // Decimal digits hhmmss in a signed number of 24 bits.
        let raw = cursor.uint_le(3)?;
        let number = ((raw << 40) as i64) >> 40;
        let size = number.unsigned_abs();
        return Ok(Value::Time(Time {
            negative: number < 0,
            hours: (size / 10_000) as u16,
            minutes: (size / 100 % 100) as u8,
            seconds: (size % 100) as u8,
            micros: 0,
            digits,
        }));
    }
    let raw = cursor.uint_be(bytes_for(OLD_TIME_BYTES, digits)?)? as i64;
    let zero = (OLD_TIME_ZERO * MICROS / unit(digits)) as i64;
    let packed = raw.wrapping_sub(zero);
    let size = packed
        .unsigned_abs()
        .checked_mul(unit(digits))
        .filter(|size| *size < OLD_TIME_ZERO * MICROS)
        .ok_or_else(|| damaged("a TIME beyond 838:59:59"))?;
    let whole = size / MICROS;
    Ok(Value::Time(Time {
        negative: packed < 0,
        hours: (whole / 3600) as u16,
        minutes: (whole / 60 % 60) as u8,
        seconds: (whole % 60) as u8,
        micros: (size % MICROS) as u32,
        digits,
    }))
}

fn old_datetime<'a>(cursor: &mut Cursor<'a>, digits: u8) -> Result<Value<'a>> {
    if digits == 0 {
        // Decimal digits YYYYMMDDhhmmss.
        let number = cursor.u64()?;
        let (days, clock) = (number / 1_000_000, number % 1_000_000);
        let date = Date {
            year: u16::try_from(days / 10_000)
                .map_err(|_| damaged(format!("a DATETIME of {number}")))?,
            month: (days / 100 % 100) as u8,
            day: (days % 100) as u8,
        };
        let time = Time {
            negative: false,
            hours: (clock / 10_000) as u16,
            minutes: (clock / 100 % 100) as u8,
            seconds: (clock % 100) as u8,
            micros: 0,
            digits,
        };
        return Ok(Value::DateTime(date, time));
    }
    let raw = cursor.uint_be(bytes_for(OLD_DATETIME_BYTES, digits)?)?;
    let packed = raw
        .checked_mul(unit(digits))
        .ok_or_else(|| damaged("a DATETIME beyond the year 9999"))?;
    let whole = packed / MICROS;
    let days = whole / 86_400;
    let months = days / 32;
    let date = Date {
        year: u16::try_from(months / 13).map_err(|_| damaged("a DATETIME beyond the year 9999"))?,
        month: (months % 13) as u8,
        day: (days % 32) as u8,
    };
    let time = Time {
        negative: false,
        hours: (whole / 3600 % 24) as u16,
        minutes: (whole / 60 % 60) as u8,
        seconds: (whole % 60) as u8,
        micros: (packed % MICROS) as u32,
        digits,
    };
    Ok(Value::DateTime(date, time))
}

fn old_timestamp<'a>(cursor: &mut Cursor<'a>, digits: u8) -> Result<Value<'a>> {
    let (seconds, raw) = if digits == 0 {
        (u64::from(cursor.u32()?), 0)
    } else {
        let seconds = cursor.uint_be(4)?;
        let bytes = bytes_for(OLD_FRACTION_BYTES, digits)?;
        (seconds, cursor.uint_be(bytes)? * unit(digits))
    };
    Ok(Value::UnixTime(UnixTime {
        seconds,
        micros: micros(raw)?,
        digits,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(decoder: Decoder, bytes: &[u8]) -> Value<'_> {
        let mut cursor = Cursor::new(bytes);
        let value = decoder.read(&mut cursor).unwrap();
        assert!(cursor.is_empty(), "{decoder:?} leaves bytes");
        value
    }

    #[test]
    fn signs_are_carried_at_every_width() {
        for width in [1u8, 2, 3, 4, 8] {
            let bytes = [0xff; 8];
            let bytes = bytes.get(..usize::from(width)).unwrap();
            assert_eq!(read(Decoder::Int { width }, bytes), Value::Int(-1));
        }
        assert_eq!(
            read(Decoder::Int { width: 3 }, &[0, 0, 0x80]),
            Value::Int(-8_388_608)
        );
        assert_eq!(
            read(Decoder::UInt { width: 3 }, &[0, 0, 0x80]),
            Value::UInt(8_388_608)
        );
    }

    #[test]
    fn negative_times_with_a_fraction() {
        // -01:02:03.4 in TIME(1): 0x7fef7c | 0xd8 is the middle less 01:02:03 and 40 hundredths.
        let value = read(Decoder::Time { digits: 1 }, &[0x7f, 0xef, 0x7c, 0xd8]);
        let Value::Time(time) = value else {
            panic!("{value:?}")
        };
        assert!(time.negative);
        assert_eq!(
            (time.hours, time.minutes, time.seconds, time.micros),
            (1, 2, 3, 400_000)
        );
    }

    #[test]
    fn zero_year_and_zero_padding() {
        assert_eq!(read(Decoder::Year, &[0]), Value::Year(0));
        assert_eq!(read(Decoder::Year, &[255]), Value::Year(2155));
        assert_eq!(
            read(Decoder::padded(3), &[1, 7]),
            Value::Bytes(Cow::Owned(vec![7, 0, 0]))
        );
        assert!(
            Decoder::padded(1)
                .read(&mut Cursor::new(&[2, 7, 7]))
                .is_err()
        );
    }

    #[test]
    fn mariadb_old_times() {
        // -01:02:03 as the number -10203.
        let value = read(Decoder::OldTime { digits: 0 }, &[0x25, 0xd8, 0xff]);
        assert!(
            matches!(value, Value::Time(t) if t.negative && t.hours == 1 && t.minutes == 2 && t.seconds == 3)
        );
    }
}
