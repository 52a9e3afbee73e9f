//! TABLE_MAP: the table of the rows events behind it, and its columns' types.

use super::cursor::{self, Cursor};
use super::format::{Event, FormatDescription};
use super::{damaged, unsupported};
use crate::model::{Flavor, Result, TableName};

/// A column's type in the binlog, with what its metadata says.
/// Source of the numbers: the servers' `enum_field_types`; 140 and 141 are MariaDB's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColumnType {
    /// TINYINT, also BOOL.
    Tiny,
    /// SMALLINT.
    Short,
    /// MEDIUMINT.
    Int24,
    /// INT.
    Long,
    /// BIGINT.
    LongLong,
    /// FLOAT.
    Float,
    /// DOUBLE.
    Double,
    /// DECIMAL.
    Decimal {
        /// Digits in all.
        precision: u8,
        /// Digits behind the point.
        scale: u8,
    },
    /// NULL, a column that has no other value.
    Null,
    /// DATE.
    Date,
    /// YEAR.
    Year,
    /// TIME of MySQL before 5.6 and of MariaDB's own form, the fraction not told.
    OldTime,
    /// DATETIME of these.
    OldDateTime,
    /// TIMESTAMP of these.
    OldTimestamp,
    /// TIME.
    Time {
        /// Digits of the fraction.
        digits: u8,
    },
    /// DATETIME.
    DateTime {
        /// Digits of the fraction.
        digits: u8,
    },
    /// TIMESTAMP.
    Timestamp {
        /// Digits of the fraction.
        digits: u8,
    },
    /// VARCHAR and VARBINARY.
    VarChar {
        /// The most bytes of a value.
        length: u16,
        /// MariaDB's COMPRESSED.
        compressed: bool,
    },
    /// CHAR, BINARY and MariaDB's UUID and INET.
    Char {
        /// The most bytes of a value.
        length: u16,
    },
    /// ENUM.
    Enum {
        /// Bytes of a value, 1 or 2.
        width: u8,
    },
    /// SET.
    Set {
        /// Bytes of a value, 1 to 8.
        width: u8,
    },
    /// BIT.
    Bit {
        /// 1 to 64.
        bits: u8,
    },
    /// The TEXTs and BLOBs.
    Blob {
        /// Bytes of a value's length, 1 to 4.
        width: u8,
        /// MariaDB's COMPRESSED.
        compressed: bool,
    },
    /// MySQL's JSON.
    Json {
        /// Bytes of a value's length.
        width: u8,
    },
    /// GEOMETRY and its kinds.
    Geometry {
        /// Bytes of a value's length.
        width: u8,
    },
    /// MySQL's VECTOR.
    Vector {
        /// Bytes of a value's length.
        width: u8,
    },
    /// The hidden column of a multi-valued index: it is in no row image.
    TypedArray,
}

impl ColumnType {
    /// Whether the optional metadata has a sign for it. YEAR has one on both flavors.
    fn has_sign(self) -> bool {
        matches!(
            self,
            Self::Tiny
                | Self::Short
                | Self::Int24
                | Self::Long
                | Self::LongLong
                | Self::Float
                | Self::Double
                | Self::Decimal { .. }
                | Self::Year
        )
    }

    /// Whether the optional metadata has a character set for it.
    fn has_charset(self, flavor: Flavor) -> bool {
        match self {
            Self::VarChar { .. } | Self::Char { .. } | Self::Blob { .. } => true,
            // MariaDB's geometries are BLOBs underneath, and are counted as such.
            Self::Geometry { .. } => flavor == Flavor::MariaDB,
            _ => false,
        }
    }

    fn is_enum_or_set(self) -> bool {
        matches!(self, Self::Enum { .. } | Self::Set { .. })
    }
}

/// A column as the table map has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MappedColumn {
    /// Its type.
    pub kind: ColumnType,
    /// Whether it takes NULL.
    pub nullable: bool,
}

/// What `binlog_row_metadata` adds. Each list is empty where the event does not have it; lists that
/// are not empty have an entry for each column of the table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OptionalMetadata {
    /// Whether a number is UNSIGNED; `None` for columns that are no numbers.
    pub unsigned: Vec<Option<bool>>,
    /// The collation's number of text, ENUM and SET columns; 63 is `binary`.
    pub collations: Vec<Option<u16>>,
    /// The names.
    pub names: Vec<String>,
    /// The members of ENUM and SET columns, in the column's character set.
    pub members: Vec<Vec<Vec<u8>>>,
    /// The kind of GEOMETRY columns.
    pub geometry_types: Vec<Option<u64>>,
    /// The primary key: column and prefix length, 0 for the whole column.
    pub primary_key: Vec<(usize, u64)>,
    /// Whether a column is visible.
    pub visible: Vec<bool>,
    /// The dimensions of VECTOR columns.
    pub dimensions: Vec<Option<u64>>,
}

/// TABLE_MAP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableMap {
    /// The number by which rows events name it, valid to the end of their statement.
    pub table_id: u64,
    /// The table.
    pub table: TableName,
    /// Its columns, generated and invisible ones too.
    pub columns: Vec<MappedColumn>,
    /// What `binlog_row_metadata` adds.
    pub metadata: OptionalMetadata,
    /// The family of the server that wrote it.
    pub flavor: Flavor,
    /// The flags.
    pub flags: u16,
}

/// Post-headers of this length have table ids of four bytes (MySQL 5.1's).
const SHORT_POST_HEADER: u8 = 6;

/// Reads a table's number as TABLE_MAP and rows events have it.
pub(crate) fn table_id(
    cursor: &mut Cursor<'_>,
    event: &Event<'_>,
    format: &FormatDescription,
) -> Result<u64> {
    let short = format.post_header_length(event.header.kind) == Some(SHORT_POST_HEADER);
    cursor.uint_le(if short { 4 } else { 6 })
}

impl TableMap {
    /// Reads the body.
    pub fn parse(event: &Event<'_>, format: &FormatDescription) -> Result<Self> {
        let mut cursor = Cursor::new(event.body);
        let table_id = table_id(&mut cursor, event, format)?;
        let flags = cursor.u16()?;
        let schema = name(&mut cursor)?;
        let table = name(&mut cursor)?;
        let count = cursor.lenenc_len()?;
        let types = cursor.take(count)?;
        let mut metadata = Cursor::new(cursor.lenenc_bytes()?);
        let nulls = cursor.take(count.div_ceil(8))?;
        let mut columns = Vec::with_capacity(count);
        for (index, number) in types.iter().enumerate() {
            columns.push(MappedColumn {
                kind: column_type(*number, &mut metadata)?,
                nullable: cursor::bit(nulls, index),
            });
        }
        if !metadata.is_empty() {
            return Err(damaged(format!(
                "TABLE_MAP of {schema}.{table} has {} bytes of metadata too many",
                metadata.len()
            )));
        }
        let metadata = OptionalMetadata::parse(cursor.rest(), &columns, format.flavor())?;
        Ok(Self {
            table_id,
            table: TableName::new(schema, table),
            columns,
            metadata,
            flavor: format.flavor(),
            flags,
        })
    }
}

/// A name: length, bytes, a zero byte.
fn name(cursor: &mut Cursor<'_>) -> Result<String> {
    let bytes = cursor.lenenc_bytes()?;
    cursor.u8()?;
    utf8(bytes)
}

fn utf8(bytes: &[u8]) -> Result<String> {
    let text = std::str::from_utf8(bytes);
    Ok(text
        .map_err(|_| damaged("TABLE_MAP has a name that is not UTF-8"))?
        .to_owned())
}

/// The number of the hidden column of a multi-valued index.
const TYPED_ARRAY: u8 = 20;

/// Reads a type's metadata.
fn column_type(number: u8, metadata: &mut Cursor<'_>) -> Result<ColumnType> {
    Ok(match number {
        1 => ColumnType::Tiny,
        2 => ColumnType::Short,
        3 => ColumnType::Long,
        4 => sized(metadata, 4, ColumnType::Float)?,
        5 => sized(metadata, 8, ColumnType::Double)?,
        6 => ColumnType::Null,
        7 => ColumnType::OldTimestamp,
        8 => ColumnType::LongLong,
        9 => ColumnType::Int24,
        10 | 14 => ColumnType::Date,
        11 => ColumnType::OldTime,
        12 => ColumnType::OldDateTime,
        13 => ColumnType::Year,
        15 | 253 => ColumnType::VarChar {
            length: metadata.u16()?,
            compressed: false,
        },
        16 => {
            let (odd, whole) = (metadata.u8()?, metadata.u8()?);
            let bits = u16::from(whole) * 8 + u16::from(odd);
            if odd > 7 || bits == 0 || bits > 64 {
                return Err(damaged(format!("a BIT column of {bits} bits")));
            }
            ColumnType::Bit { bits: bits as u8 }
        }
        17 => ColumnType::Timestamp {
            digits: digits(metadata)?,
        },
        18 => ColumnType::DateTime {
            digits: digits(metadata)?,
        },
        19 => ColumnType::Time {
            digits: digits(metadata)?,
        },
        TYPED_ARRAY => typed_array(metadata)?,
        140 | 252 => ColumnType::Blob {
            width: width(metadata)?,
            compressed: number == 140,
        },
        141 => ColumnType::VarChar {
            length: metadata.u16()?,
            compressed: true,
        },
        242 => ColumnType::Vector {
            width: width(metadata)?,
        },
        245 => ColumnType::Json {
            width: width(metadata)?,
        },
        246 => {
            let (precision, scale) = (metadata.u8()?, metadata.u8()?);
            if precision == 0 || precision > 65 || scale > precision {
                return Err(damaged(format!("a DECIMAL({precision},{scale}) column")));
            }
            ColumnType::Decimal { precision, scale }
        }
        247 | 248 | 254 => string_type(metadata.u8()?, metadata.u8()?)?,
        255 => ColumnType::Geometry {
            width: width(metadata)?,
        },
        other => {
            return Err(unsupported(format!(
                "the binlog has a column of type {other}, which this program does not know"
            )));
        }
    })
}

/// CHAR, ENUM and SET share a number: their metadata tells them apart. CHAR columns above 255 bytes
/// have the two upper bits of their length inverted in the type's byte.
fn string_type(kind: u8, length: u8) -> Result<ColumnType> {
    const ENUM: u8 = 247;
    const SET: u8 = 248;
    const CHARS: u8 = 254;
    const HIGH_BITS: u8 = 0x30;
    match (kind, length) {
        (ENUM, 1 | 2) => Ok(ColumnType::Enum { width: length }),
        (SET, 1..=8) => Ok(ColumnType::Set { width: length }),
        (ENUM | SET, _) => Err(damaged(format!("an ENUM or SET of {length} bytes"))),
        _ if kind | HIGH_BITS == CHARS => Ok(ColumnType::Char {
            length: u16::from(length) | u16::from((kind & HIGH_BITS) ^ HIGH_BITS) << 4,
        }),
        _ => Err(unsupported(format!(
            "the binlog has a string column of type {kind}, which this program does not know"
        ))),
    }
}

fn sized(metadata: &mut Cursor<'_>, size: u8, kind: ColumnType) -> Result<ColumnType> {
    let found = metadata.u8()?;
    if found == size {
        Ok(kind)
    } else {
        Err(damaged(format!("a {kind:?} column of {found} bytes")))
    }
}

fn digits(metadata: &mut Cursor<'_>) -> Result<u8> {
    let digits = metadata.u8()?;
    if digits <= 6 {
        Ok(digits)
    } else {
        Err(damaged(format!(
            "a time with {digits} digits behind the second"
        )))
    }
}

fn width(metadata: &mut Cursor<'_>) -> Result<u8> {
    let width = metadata.u8()?;
    if (1..=4).contains(&width) {
        Ok(width)
    } else {
        Err(damaged(format!("a BLOB with a length of {width} bytes")))
    }
}

/// The element's type and its metadata, which nobody needs.
fn typed_array(metadata: &mut Cursor<'_>) -> Result<ColumnType> {
    let element = metadata.u8()?;
    // VARCHAR's length has three bytes here.
    match element {
        // Arrays of arrays do not exist; endless ones would end the stack.
        TYPED_ARRAY => return Err(damaged("an array of arrays")),
        15 => {
            metadata.take(3)?;
        }
        _ => {
            column_type(element, metadata)?;
        }
    }
    Ok(ColumnType::TypedArray)
}

/// The numbers of the optional fields.
mod field {
    pub(super) const SIGNEDNESS: u8 = 1;
    pub(super) const DEFAULT_CHARSET: u8 = 2;
    pub(super) const COLUMN_CHARSET: u8 = 3;
    pub(super) const COLUMN_NAME: u8 = 4;
    pub(super) const SET_MEMBERS: u8 = 5;
    pub(super) const ENUM_MEMBERS: u8 = 6;
    pub(super) const GEOMETRY_TYPE: u8 = 7;
    pub(super) const SIMPLE_PRIMARY_KEY: u8 = 8;
    pub(super) const PRIMARY_KEY_WITH_PREFIX: u8 = 9;
    pub(super) const ENUM_SET_DEFAULT_CHARSET: u8 = 10;
    pub(super) const ENUM_SET_COLUMN_CHARSET: u8 = 11;
    pub(super) const VISIBILITY: u8 = 12;
    pub(super) const DIMENSIONS: u8 = 13;
}

impl OptionalMetadata {
    fn parse(block: &[u8], columns: &[MappedColumn], flavor: Flavor) -> Result<Self> {
        let mut all = Self::default();
        let mut cursor = Cursor::new(block);
        let is_text = |column: &MappedColumn| column.kind.has_charset(flavor);
        let is_listed = |column: &MappedColumn| column.kind.is_enum_or_set();
        while !cursor.is_empty() {
            let field = cursor.u8()?;
            let mut value = Cursor::new(cursor.lenenc_bytes()?);
            match field {
                field::SIGNEDNESS => {
                    let bits = value.rest();
                    let mut index = 0;
                    all.unsigned = each(
                        columns,
                        |c| c.kind.has_sign(),
                        || {
                            index += 1;
                            Ok(cursor::bit_from_top(bits, index - 1))
                        },
                    )?;
                }
                field::DEFAULT_CHARSET => {
                    let found = default_charset(&mut value, columns, is_text)?;
                    all.add_collations(columns, found);
                }
                field::COLUMN_CHARSET => {
                    let found = each(columns, is_text, || collation(&mut value))?;
                    all.add_collations(columns, found);
                }
                field::ENUM_SET_DEFAULT_CHARSET => {
                    let found = default_charset(&mut value, columns, is_listed)?;
                    all.add_collations(columns, found);
                }
                field::ENUM_SET_COLUMN_CHARSET => {
                    let found = each(columns, is_listed, || collation(&mut value))?;
                    all.add_collations(columns, found);
                }
                field::COLUMN_NAME => {
                    all.names = columns
                        .iter()
                        .map(|_| utf8(value.lenenc_bytes()?))
                        .collect::<Result<_>>()?;
                }
                field::SET_MEMBERS => {
                    let found = each(
                        columns,
                        |c| matches!(c.kind, ColumnType::Set { .. }),
                        || members(&mut value),
                    )?;
                    all.add_members(columns, found);
                }
                field::ENUM_MEMBERS => {
                    let found = each(
                        columns,
                        |c| matches!(c.kind, ColumnType::Enum { .. }),
                        || members(&mut value),
                    )?;
                    all.add_members(columns, found);
                }
                field::GEOMETRY_TYPE => {
                    all.geometry_types = each(
                        columns,
                        |c| matches!(c.kind, ColumnType::Geometry { .. }),
                        || value.lenenc(),
                    )?;
                }
                field::SIMPLE_PRIMARY_KEY => {
                    while !value.is_empty() {
                        all.primary_key.push((value.lenenc_len()?, 0));
                    }
                }
                field::PRIMARY_KEY_WITH_PREFIX => {
                    while !value.is_empty() {
                        all.primary_key.push((value.lenenc_len()?, value.lenenc()?));
                    }
                }
                field::VISIBILITY => {
                    let bits = value.rest();
                    all.visible = (0..columns.len())
                        .map(|index| cursor::bit_from_top(bits, index))
                        .collect();
                }
                field::DIMENSIONS => {
                    all.dimensions = each(
                        columns,
                        |c| matches!(c.kind, ColumnType::Vector { .. }),
                        || value.lenenc(),
                    )?;
                }
                // A field to come: it says its length, and what it adds is optional by its nature.
                _ => {}
            }
        }
        if all
            .primary_key
            .iter()
            .any(|(index, _)| *index >= columns.len())
        {
            return Err(damaged("TABLE_MAP names a key column that is not there"));
        }
        Ok(all)
    }

    fn add_collations(&mut self, columns: &[MappedColumn], found: Vec<Option<u16>>) {
        self.collations.resize(columns.len(), None);
        for (collation, new) in self.collations.iter_mut().zip(found) {
            *collation = new.or(*collation);
        }
    }

    fn add_members(&mut self, columns: &[MappedColumn], found: Vec<Option<Vec<Vec<u8>>>>) {
        self.members.resize(columns.len(), Vec::new());
        for (members, new) in self.members.iter_mut().zip(found) {
            if let Some(new) = new {
                *members = new;
            }
        }
    }
}

/// Takes a value for each column that `has` one.
fn each<T>(
    columns: &[MappedColumn],
    has: impl Fn(&MappedColumn) -> bool,
    mut next: impl FnMut() -> Result<T>,
) -> Result<Vec<Option<T>>> {
    columns
        .iter()
        .map(|column| has(column).then(&mut next).transpose())
        .collect()
}

fn collation(value: &mut Cursor<'_>) -> Result<u16> {
    let number = value.lenenc()?;
    u16::try_from(number).map_err(|_| damaged(format!("a collation of the number {number}")))
}

/// A collation for all, then pairs of a column's place among those concerned and its own.
fn default_charset(
    value: &mut Cursor<'_>,
    columns: &[MappedColumn],
    has: impl Fn(&MappedColumn) -> bool,
) -> Result<Vec<Option<u16>>> {
    let default = collation(value)?;
    let mut found: Vec<Option<u16>> = columns.iter().map(|c| has(c).then_some(default)).collect();
    while !value.is_empty() {
        let index = value.lenenc_len()?;
        let own = collation(value)?;
        match found.iter_mut().flatten().nth(index) {
            Some(slot) => *slot = own,
            None => {
                return Err(damaged(format!(
                    "TABLE_MAP has a character set for text column {index}, which is not there"
                )));
            }
        }
    }
    Ok(found)
}

fn members(value: &mut Cursor<'_>) -> Result<Vec<Vec<u8>>> {
    let count = value.lenenc_len()?;
    // A member takes a byte at least, so a wrong count ends with the bytes.
    (0..count)
        .map(|_| Ok(value.lenenc_bytes()?.to_vec()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_char_columns() {
        assert_eq!(
            string_type(254, 40).unwrap(),
            ColumnType::Char { length: 40 }
        );
        assert_eq!(
            string_type(0xee, 0xfc).unwrap(),
            ColumnType::Char { length: 0x1fc }
        );
        assert_eq!(
            string_type(0xce, 0xfc).unwrap(),
            ColumnType::Char { length: 0x3fc }
        );
        assert_eq!(string_type(247, 1).unwrap(), ColumnType::Enum { width: 1 });
        assert!(string_type(248, 9).is_err());
        assert!(string_type(1, 1).is_err());
    }

    #[test]
    fn impossible_types_are_refused() {
        assert!(column_type(TYPED_ARRAY, &mut Cursor::new(&[TYPED_ARRAY; 9])).is_err());
        for (number, metadata) in [
            (16u8, [3u8, 9]),
            (246, [66, 0]),
            (246, [3, 4]),
            (252, [5, 0]),
            (99, [0, 0]),
        ] {
            assert!(
                column_type(number, &mut Cursor::new(&metadata)).is_err(),
                "{number}"
            );
        }
    }
}
