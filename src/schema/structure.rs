//! A table's structure: its columns and keys, as one server holds them at one moment.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::model::TableName;

/// The default character set and collation of each database.
pub type SchemaDefaults = BTreeMap<String, (String, String)>;

/// A table at a position of its source, or on the target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Structure {
    /// The table.
    pub table: TableName,
    /// All columns in the server's order, invisible and generated ones too: as row events have them.
    pub columns: Vec<Column>,
    /// All keys; the primary key first, if there is one.
    pub keys: Vec<Key>,
    /// Foreign keys of which this table is the child.
    pub foreign_keys: Vec<ForeignKey>,
    /// The storage engine, as the server spells it.
    pub engine: String,
    /// The table's default character set, which columns added without one take.
    pub charset: String,
    /// The table's default collation.
    pub collation: String,
    /// MariaDB's WITH SYSTEM VERSIONING: its row events carry the history too.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub versioned: bool,
}

/// A column.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Column {
    /// The name, unquoted.
    pub name: String,
    /// The type as the server writes it, lower case: `int(10) unsigned`, `enum('a','b')`.
    pub type_text: String,
    /// The type, taken apart.
    pub kind: ColumnKind,
    /// Whether it takes NULL.
    pub nullable: bool,
    /// The character set of a text column (ENUM and SET too); `None` for all others, and `binary`
    /// never stands here.
    pub charset: Option<String>,
    /// The collation of a text column.
    pub collation: Option<String>,
    /// Whether, and how, the server computes it.
    pub generated: Generated,
    /// Whether `SELECT *` leaves it out.
    pub invisible: bool,
    /// AUTO_INCREMENT.
    pub auto_increment: bool,
    /// `ON UPDATE CURRENT_TIMESTAMP` (or MySQL's implicit one): the server sets it at each UPDATE.
    pub auto_update: bool,
}

/// How a column gets its value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Generated {
    /// By what is inserted.
    #[default]
    No,
    /// Computed when read; row events carry it all the same.
    Virtual,
    /// Computed when written.
    Stored,
}

/// A column's type, as far as decoding and writing need it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ColumnKind {
    /// TINYINT to BIGINT; the width in bytes: 1, 2, 3, 4, 8.
    Integer {
        /// Bytes.
        width: u8,
        /// UNSIGNED.
        unsigned: bool,
    },
    /// DECIMAL.
    Decimal {
        /// Digits in all.
        precision: u8,
        /// Digits behind the point.
        scale: u8,
        /// UNSIGNED.
        unsigned: bool,
    },
    /// FLOAT (4 bytes).
    Float,
    /// DOUBLE (8 bytes).
    Double,
    /// BIT(n).
    Bit {
        /// 1 to 64.
        bits: u8,
    },
    /// YEAR.
    Year,
    /// DATE.
    Date,
    /// TIME(digits).
    Time {
        /// 0 to 6.
        digits: u8,
    },
    /// DATETIME(digits).
    DateTime {
        /// 0 to 6.
        digits: u8,
    },
    /// TIMESTAMP(digits).
    Timestamp {
        /// 0 to 6.
        digits: u8,
    },
    /// CHAR, VARCHAR, the TEXTs; with a character set.
    Text {
        /// CHAR(n): fixed length.
        fixed: bool,
        /// MariaDB's COMPRESSED.
        compressed: bool,
    },
    /// BINARY(n): padded with zero bytes to `length`.
    FixedBinary {
        /// Bytes.
        length: u32,
    },
    /// VARBINARY and the BLOBs.
    Binary {
        /// MariaDB's COMPRESSED.
        compressed: bool,
    },
    /// ENUM, its members in order, in UTF-8.
    Enum {
        /// The members.
        members: Vec<String>,
    },
    /// SET, its members in order, in UTF-8.
    Set {
        /// The members.
        members: Vec<String>,
    },
    /// MySQL's JSON. MariaDB's JSON is a LONGTEXT and so `Text`.
    Json,
    /// GEOMETRY and its kinds.
    Geometry,
    /// MySQL's and MariaDB's VECTOR.
    Vector,
    /// MariaDB's UUID: 16 bytes.
    Uuid,
    /// MariaDB's INET4: 4 bytes.
    Inet4,
    /// MariaDB's INET6: 16 bytes.
    Inet6,
}

/// An index.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Key {
    /// The name; `PRIMARY` for the primary key.
    pub name: String,
    /// Whether it is unique.
    pub unique: bool,
    /// Its parts in order.
    pub parts: Vec<KeyPart>,
}

/// One part of an index.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyPart {
    /// The column, unless the part is an expression.
    pub column: Option<String>,
    /// How many characters (or bytes) of it, for a prefix index.
    pub prefix: Option<u32>,
}

/// A foreign key, seen from the child.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForeignKey {
    /// The constraint's name.
    pub name: String,
    /// The child's columns.
    pub columns: Vec<String>,
    /// The parent.
    pub parent: TableName,
    /// The parent's columns.
    pub parent_columns: Vec<String>,
    /// `ON DELETE`, as the server writes it.
    pub on_delete: String,
    /// `ON UPDATE`, as the server writes it.
    pub on_update: String,
}

impl Structure {
    /// A column's place, by name; names compare without regard to ASCII case, as the servers do.
    pub fn column_index(&self, name: &str) -> Option<usize> {
        self.columns
            .iter()
            .position(|column| column.name.eq_ignore_ascii_case(name))
    }

    /// The key that tells rows apart: the primary key, else the first unique key whose columns are
    /// all NOT NULL, whole and plain. `None`: only all columns together do.
    pub fn row_key(&self) -> Option<&Key> {
        self.keys.iter().find(|key| {
            key.unique
                && !key.parts.is_empty()
                && key.parts.iter().all(|part| {
                    part.prefix.is_none()
                        && part
                            .column
                            .as_deref()
                            .and_then(|name| self.column_index(name))
                            .and_then(|index| self.columns.get(index))
                            .is_some_and(|column| !column.nullable)
                })
        })
    }
}
