//! The values of a row, borrowed from the bytes of the binlog event that carries them.
//!
//! Nothing is turned into text here: a value keeps what the binlog holds, so that writing it as a
//! literal of a statement, showing it, or comparing it needs no copy on the way.

use std::borrow::Cow;

/// One column's value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value<'a> {
    /// SQL NULL.
    Null,
    /// A signed integer of any width.
    Int(i64),
    /// An unsigned integer of any width.
    UInt(u64),
    /// FLOAT: written with the digits that read back as the same 32 bits.
    Float(f32),
    /// DOUBLE.
    Double(f64),
    /// DECIMAL, in the servers' packed form.
    Decimal(Decimal<'a>),
    /// DATE; any part may be zero.
    Date(Date),
    /// TIME, −838:59:59.999999 to 838:59:59.999999.
    Time(Time),
    /// DATETIME; any part may be zero.
    DateTime(Date, Time),
    /// TIMESTAMP: seconds since 1970 UTC; all zero is the zero date.
    UnixTime(UnixTime),
    /// YEAR: 0 or 1901 to 2155.
    Year(u16),
    /// BIT: the bits, big-endian, right-aligned.
    Bit(&'a [u8]),
    /// ENUM: the index from 1; 0 is the invalid value `''`.
    Enum(u16),
    /// SET: the members' bits.
    Set(u64),
    /// CHAR, VARCHAR, TEXT, BINARY, BLOB, GEOMETRY, VECTOR and MariaDB's UUID and INET: the bytes as
    /// stored, in the column's own character set. Owned where the column is COMPRESSED.
    Bytes(Cow<'a, [u8]>),
    /// MySQL's JSON in its binary form. Owned where it was made from a partial update.
    Json(Cow<'a, [u8]>),
    /// MySQL's partial update of a JSON document that is not in the row: the list of its changes.
    JsonDiff(&'a [u8]),
}

/// A packed DECIMAL.
/// Source: MySQL's `strings/decimal.cc`, `decimal2bin`; nine digits in four bytes, sign in the top bit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decimal<'a> {
    /// The digits in all.
    pub precision: u8,
    /// The digits behind the point.
    pub scale: u8,
    /// The packed bytes.
    pub bytes: &'a [u8],
}

/// A calendar date, each part as stored, zero or not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Date {
    /// 0 to 9999.
    pub year: u16,
    /// 0 to 12.
    pub month: u8,
    /// 0 to 31.
    pub day: u8,
}

/// A time of day or a span.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Time {
    /// Whether it is below zero.
    pub negative: bool,
    /// 0 to 838.
    pub hours: u16,
    /// 0 to 59.
    pub minutes: u8,
    /// 0 to 59.
    pub seconds: u8,
    /// 0 to 999,999.
    pub micros: u32,
    /// How many digits of a fraction the column has, 0 to 6.
    pub digits: u8,
}

/// A moment as TIMESTAMP stores it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UnixTime {
    /// Seconds since 1970 UTC.
    pub seconds: u64,
    /// 0 to 999,999.
    pub micros: u32,
    /// How many digits of a fraction the column has, 0 to 6.
    pub digits: u8,
}

/// A row: a value for each column of the table map, in its order; `None` where the row image leaves
/// the column out (`binlog_row_image` other than FULL).
pub type Row<'a> = Vec<Option<Value<'a>>>;

/// What a rows event does to one row.
#[derive(Clone, Debug, PartialEq)]
pub enum RowChange<'a> {
    /// The row is new.
    Insert {
        /// The row.
        after: Row<'a>,
    },
    /// The row is changed.
    Update {
        /// The row as it was.
        before: Row<'a>,
        /// The row as it is now.
        after: Row<'a>,
    },
    /// The row is gone.
    Delete {
        /// The row as it was.
        before: Row<'a>,
    },
}
