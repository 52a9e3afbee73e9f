//! How the rows of a table are read: built once per table map, used for all its rows.
//!
//! A table map alone does not say everything (the sign, on MariaDB's default; the fraction of old
//! temporal types; how long a BINARY is). The table's structure says the rest, and the two must
//! agree: a structure that does not fit is an error that names both sides, never a guess.

use super::decode::Decoder;
use super::table_map::{ColumnType, MappedColumn, TableMap};
use crate::model::{Error, ErrorKind, Flavor, Result};
use crate::schema::charset::charset_of_number;
use crate::schema::{Column, ColumnKind, Structure};

/// How the rows of one table map are read.
#[derive(Clone, Debug)]
pub struct RowShape {
    pub(super) decoders: Vec<Decoder>,
    /// How many of the columns are the table's own; hidden ones stand behind them.
    pub(super) visible: usize,
}

/// The number of the collation `binary`.
pub(super) const BINARY_COLLATION: u16 = 63;

impl RowShape {
    /// The shape of `map`'s rows, by the structure that the table had when they were written.
    pub fn new(map: &TableMap, structure: &Structure) -> Result<Self> {
        let mismatch = |what: String| {
            Error::new(
                ErrorKind::Structure,
                format!(
                    "the structure of {} does not fit the binlog: {what}; the rows tell {}",
                    map.table,
                    told(map)
                ),
            )
            .with_fix(
                "the structure is not the one the table had when these rows were written: \
                 set the structure of that time, or dump the table again",
            )
            .at(|c| c.table = Some(map.table.clone()))
        };
        let visible = structure.columns.len();
        if map.columns.len() != visible && !has_hidden_hashes(map, structure) {
            return Err(mismatch(format!(
                "the rows have {} columns, the structure has {}",
                map.columns.len(),
                structure.columns.len()
            )));
        }
        let mut decoders = Vec::with_capacity(map.columns.len());
        for (index, (mapped, column)) in map.columns.iter().zip(&structure.columns).enumerate() {
            check_metadata(map, index, column).map_err(&mismatch)?;
            let decoder = decoder(*mapped, &column.kind).ok_or_else(|| {
                mismatch(format!(
                    "column `{}` is {} in the structure, but {:?} in the rows",
                    column.name, column.type_text, mapped.kind
                ))
            })?;
            decoders.push(decoder);
        }
        let hidden = map.columns.len() - visible;
        decoders.extend(std::iter::repeat_n(Decoder::integer(8, true), hidden));
        Ok(Self { decoders, visible })
    }

    /// The shape of `map`'s rows by the table map alone, for screens: a number whose sign is not
    /// told is taken as signed. `None` where the table map is not enough to find the columns' ends.
    pub fn for_display(map: &TableMap) -> Option<Self> {
        let decoders = map
            .columns
            .iter()
            .enumerate()
            .map(|(index, mapped)| {
                let told = map.metadata.unsigned.get(index).copied().flatten();
                let collation = map.metadata.collations.get(index).copied().flatten();
                let decoder = match integer_width(mapped.kind) {
                    Some(width) => Decoder::integer(width, told.unwrap_or(false)),
                    None => plain(mapped.kind, collation == Some(BINARY_COLLATION))?,
                };
                // MySQL's old temporal types never have a fraction; MariaDB's may.
                let old = matches!(
                    mapped.kind,
                    ColumnType::OldTime | ColumnType::OldDateTime | ColumnType::OldTimestamp
                );
                (!old || map.flavor != Flavor::MariaDB).then_some(decoder)
            })
            .collect::<Option<Vec<_>>>()?;
        let visible = decoders.len();
        Some(Self { decoders, visible })
    }

    /// The columns, by their number, of whose values the table map alone does not say what they mean: a
    /// number's sign, a text's character set.
    pub fn untold(map: &TableMap) -> Vec<usize> {
        let is_untold = |(index, mapped): (usize, &MappedColumn)| {
            let is_number = integer_width(mapped.kind).is_some();
            let is_text = matches!(
                mapped.kind,
                ColumnType::VarChar { .. } | ColumnType::Char { .. } | ColumnType::Blob { .. }
            );
            let sign = map.metadata.unsigned.get(index).copied().flatten();
            let collation = map.metadata.collations.get(index).copied().flatten();
            let is_untold = (is_number && sign.is_none()) || (is_text && collation.is_none());
            is_untold.then_some(index)
        };
        map.columns
            .iter()
            .enumerate()
            .filter_map(is_untold)
            .collect()
    }

    /// How many columns the decoded rows have: those of the structure.
    pub fn column_count(&self) -> usize {
        self.visible
    }
}

/// By what a table map can be compared with a structure.
fn told(map: &TableMap) -> &'static str {
    if map.metadata.names.is_empty() {
        "their columns' number and types, and no names (`binlog_row_metadata` is not FULL)"
    } else {
        "their columns' number, types and names"
    }
}

/// Whether the columns that the structure lacks can be those in which MariaDB keeps the hash of a
/// unique key that is too long for an index: at the end, BIGINT, one for each such key at most. The
/// server shows them nowhere, but logs them in every row.
fn has_hidden_hashes(map: &TableMap, structure: &Structure) -> bool {
    let is_long = |name: &str| {
        structure
            .column_index(name)
            .and_then(|index| structure.columns.get(index))
            .is_some_and(|column| {
                matches!(
                    column.kind,
                    ColumnKind::Text { .. } | ColumnKind::Binary { .. }
                )
            })
    };
    let long_keys = structure.keys.iter().filter(|key| {
        let mut columns = key.parts.iter().filter_map(|part| part.column.as_deref());
        key.unique && columns.any(is_long)
    });
    let hidden = map.columns.get(structure.columns.len()..).unwrap_or(&[]);
    map.flavor == Flavor::MariaDB
        && !hidden.is_empty()
        && hidden.len() <= long_keys.count()
        && hidden
            .iter()
            .all(|column| column.kind == ColumnType::LongLong)
}

/// What the optional metadata says must be what the structure says.
fn check_metadata(map: &TableMap, index: usize, column: &Column) -> Result<(), String> {
    let metadata = &map.metadata;
    if let Some(name) = metadata.names.get(index)
        && !same_name(name, &column.name)
    {
        return Err(format!(
            "column {} is `{}` in the structure, but `{name}` in the rows",
            index + 1,
            column.name
        ));
    }
    if let Some(Some(unsigned)) = metadata.unsigned.get(index)
        && let ColumnKind::Integer { unsigned: ours, .. } = column.kind
        && *unsigned != ours
    {
        return Err(format!(
            "column `{}` is {} in the structure, but {} in the rows",
            column.name,
            column.type_text,
            if *unsigned { "unsigned" } else { "signed" }
        ));
    }
    if let Some(Some(collation)) = metadata.collations.get(index) {
        let binary = *collation == BINARY_COLLATION;
        let is_text = matches!(column.kind, ColumnKind::Text { .. });
        let is_bytes = matches!(
            column.kind,
            ColumnKind::Binary { .. } | ColumnKind::FixedBinary { .. }
        );
        if (is_text && binary) || (is_bytes && !binary) {
            return Err(format!(
                "column `{}` is {} in the structure, but {} in the rows",
                column.name,
                column.type_text,
                if binary { "binary" } else { "text" }
            ));
        }
        let ours = match column.charset.as_deref() {
            Some("utf8") => Some("utf8mb3"),
            ours => ours,
        };
        if is_text
            && let (Some(ours), Some(theirs)) = (ours, charset_of_number(*collation))
            && ours != theirs
        {
            return Err(format!(
                "column `{}` is in {ours} in the structure, but in {theirs} in the rows",
                column.name
            ));
        }
    }
    Ok(())
}

/// Names compare without regard to case, as the servers do.
fn same_name(a: &str, b: &str) -> bool {
    a.eq_ignore_ascii_case(b) || a.to_lowercase() == b.to_lowercase()
}

fn integer_width(kind: ColumnType) -> Option<u8> {
    match kind {
        ColumnType::Tiny => Some(1),
        ColumnType::Short => Some(2),
        ColumnType::Int24 => Some(3),
        ColumnType::Long => Some(4),
        ColumnType::LongLong => Some(8),
        _ => None,
    }
}

/// The decoder of a column of the structure's kind; `None` if the rows hold something else.
fn decoder(mapped: MappedColumn, kind: &ColumnKind) -> Option<Decoder> {
    use ColumnType as T;
    let fits = match (kind, mapped.kind) {
        (ColumnKind::Integer { width, unsigned }, found) => {
            return (integer_width(found) == Some(*width))
                .then(|| Decoder::integer(*width, *unsigned));
        }
        (ColumnKind::Time { digits }, T::OldTime) => {
            return Some(Decoder::OldTime { digits: *digits });
        }
        (ColumnKind::DateTime { digits }, T::OldDateTime) => {
            return Some(Decoder::OldDateTime { digits: *digits });
        }
        (ColumnKind::Timestamp { digits }, T::OldTimestamp) => {
            return Some(Decoder::OldTimestamp { digits: *digits });
        }
        (
            ColumnKind::Decimal {
                precision, scale, ..
            },
            T::Decimal {
                precision: p,
                scale: s,
            },
        ) => *precision == p && *scale == s,
        (ColumnKind::Bit { bits }, T::Bit { bits: found }) => *bits == found,
        (ColumnKind::Time { digits }, T::Time { digits: found })
        | (ColumnKind::DateTime { digits }, T::DateTime { digits: found })
        | (ColumnKind::Timestamp { digits }, T::Timestamp { digits: found }) => *digits == found,
        (
            ColumnKind::Text {
                fixed: false,
                compressed,
            }
            | ColumnKind::Binary { compressed },
            T::VarChar {
                compressed: found, ..
            }
            | T::Blob {
                compressed: found, ..
            },
        ) => *compressed == found,
        (ColumnKind::FixedBinary { length }, T::Char { length: found }) => {
            return (*length == u32::from(found)).then(|| Decoder::padded(found));
        }
        (ColumnKind::Uuid | ColumnKind::Inet6, T::Char { length: 16 }) => {
            return Some(Decoder::padded(16));
        }
        (ColumnKind::Inet4, T::Char { length: 4 }) => return Some(Decoder::padded(4)),
        (ColumnKind::Enum { members }, T::Enum { width }) => (members.len() > 255) == (width > 1),
        (ColumnKind::Set { members }, T::Set { width }) => members.len() <= usize::from(width) * 8,
        (ColumnKind::Text { fixed: true, .. }, T::Char { .. })
        | (ColumnKind::Float, T::Float)
        | (ColumnKind::Double, T::Double)
        | (ColumnKind::Year, T::Year)
        | (ColumnKind::Date, T::Date)
        | (ColumnKind::Json, T::Json { .. })
        | (ColumnKind::Geometry, T::Geometry { .. })
        // MariaDB's VECTOR is a VARBINARY underneath.
        | (
            ColumnKind::Vector,
            T::Vector { .. }
            | T::VarChar {
                compressed: false, ..
            },
        ) => true,
        _ => false,
    };
    if fits {
        plain(mapped.kind, false)
    } else {
        None
    }
}

/// The decoder of a type that needs no more than its metadata; `None` for what no row image has.
fn plain(kind: ColumnType, pad: bool) -> Option<Decoder> {
    Some(match kind {
        ColumnType::Tiny
        | ColumnType::Short
        | ColumnType::Int24
        | ColumnType::Long
        | ColumnType::LongLong
        | ColumnType::TypedArray => return None,
        ColumnType::Float => Decoder::Float,
        ColumnType::Double => Decoder::Double,
        ColumnType::Decimal { precision, scale } => Decoder::decimal(precision, scale),
        ColumnType::Null => Decoder::Null,
        ColumnType::Date => Decoder::Date,
        ColumnType::Year => Decoder::Year,
        ColumnType::OldTime => Decoder::OldTime { digits: 0 },
        ColumnType::OldDateTime => Decoder::OldDateTime { digits: 0 },
        ColumnType::OldTimestamp => Decoder::OldTimestamp { digits: 0 },
        ColumnType::Time { digits } => Decoder::Time { digits },
        ColumnType::DateTime { digits } => Decoder::DateTime { digits },
        ColumnType::Timestamp { digits } => Decoder::Timestamp { digits },
        ColumnType::VarChar { length, compressed } => {
            let width = length_width(length);
            if compressed {
                Decoder::Compressed { width }
            } else {
                Decoder::Bytes { width }
            }
        }
        ColumnType::Char { length } if pad => Decoder::padded(length),
        ColumnType::Char { length } => Decoder::Bytes {
            width: length_width(length),
        },
        ColumnType::Enum { width } => Decoder::Enum { width },
        ColumnType::Set { width } => Decoder::Set { width },
        ColumnType::Bit { bits } => Decoder::Bit {
            width: bits.div_ceil(8),
        },
        ColumnType::Blob { width, compressed } if compressed => Decoder::Compressed { width },
        ColumnType::Blob { width, .. }
        | ColumnType::Geometry { width }
        | ColumnType::Vector { width } => Decoder::Bytes { width },
        ColumnType::Json { width } => Decoder::Json { width },
    })
}

/// How many bytes of length stand before a value of a column of at most `length` bytes.
pub(super) fn length_width(length: u16) -> u8 {
    if length > 255 { 2 } else { 1 }
}
