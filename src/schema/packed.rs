//! Structures of many tables in little memory: a source may have 50,000 tables, of which a stream meets a
//! few at a time. Each is kept as a run of bytes, about a tenth of what it takes unpacked.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use super::structure::{Column, ColumnKind, ForeignKey, Generated, Key, KeyPart, Structure};
use crate::model::TableName;

/// A structure as a run of bytes. Copies share it.
#[derive(Clone, PartialEq, Eq)]
pub struct Packed {
    bytes: Arc<[u8]>,
    has_foreign_keys: bool,
}

/// Structures of many tables, in the order in which they came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Structures {
    list: Vec<Packed>,
}

impl Structures {
    /// Takes one up.
    pub fn push(&mut self, structure: &Structure) {
        self.list.push(Packed::new(structure));
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Each of them, unpacked while it is looked at.
    pub fn iter(&self) -> impl Iterator<Item = Structure> + Send {
        self.list.iter().map(Packed::unpack)
    }

    /// The tables' names.
    pub fn tables(&self) -> impl Iterator<Item = TableName> {
        self.list.iter().map(Packed::table)
    }

    /// The runs of bytes.
    pub(super) fn into_packed(self) -> impl Iterator<Item = Packed> {
        self.list.into_iter()
    }
}

impl FromIterator<Structure> for Structures {
    fn from_iter<T: IntoIterator<Item = Structure>>(structures: T) -> Self {
        let mut list = Self::default();
        for structure in structures {
            list.push(&structure);
        }
        list.list.shrink_to_fit();
        list
    }
}

impl fmt::Debug for Packed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Packed({})", self.table())
    }
}

impl Packed {
    /// Packs a structure.
    pub(super) fn new(structure: &Structure) -> Self {
        let mut writer = Writer::default();
        writer.structure(structure);
        Self {
            bytes: writer.bytes.into(),
            has_foreign_keys: !structure.foreign_keys.is_empty(),
        }
    }

    /// The structure as it was.
    #[expect(
        clippy::expect_used,
        reason = "the bytes are what `new` has written, and nothing changes them"
    )]
    pub(super) fn unpack(&self) -> Structure {
        Reader::new(&self.bytes)
            .structure()
            .expect("it was packed here")
    }

    /// The table's name, without unpacking the rest.
    #[expect(
        clippy::expect_used,
        reason = "the bytes are what `new` has written, and nothing changes them"
    )]
    pub(super) fn table(&self) -> TableName {
        Reader::new(&self.bytes)
            .table()
            .expect("it was packed here")
    }

    /// Whether the table is the child of any other.
    pub(super) fn has_foreign_keys(&self) -> bool {
        self.has_foreign_keys
    }
}

const NULLABLE: u64 = 1;
const INVISIBLE: u64 = 2;
const AUTO_INCREMENT: u64 = 4;
const AUTO_UPDATE: u64 = 8;
const HAS_CHARSET: u64 = 16;
const HAS_COLLATION: u64 = 32;
const VIRTUAL: u64 = 64;
const STORED: u64 = 128;

/// Numbers have seven bits a byte, the lowest first; a text that came before in the same structure is
/// its number among the texts.
#[derive(Default)]
struct Writer<'a> {
    bytes: Vec<u8>,
    /// An ENUM may have 65,535 members.
    texts: HashMap<&'a str, u64>,
}

impl<'a> Writer<'a> {
    fn number(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.bytes.push((number & 0x7f) as u8 | 0x80);
            number >>= 7;
        }
        self.bytes.push(number as u8);
    }

    fn text(&mut self, text: &'a str) {
        if let Some(known) = self.texts.get(text).copied() {
            self.number(known);
            return;
        }
        self.number(0);
        self.number(text.len() as u64);
        self.bytes.extend_from_slice(text.as_bytes());
        let number = self.texts.len() as u64 + 1;
        self.texts.insert(text, number);
    }

    fn list<T>(&mut self, list: &'a [T], write: impl Fn(&mut Self, &'a T)) {
        self.number(list.len() as u64);
        for item in list {
            write(self, item);
        }
    }

    fn texts(&mut self, list: &'a [String]) {
        self.list(list, |writer, text| writer.text(text));
    }

    fn table(&mut self, table: &'a TableName) {
        self.text(&table.schema);
        self.text(&table.name);
    }

    fn structure(&mut self, structure: &'a Structure) {
        self.table(&structure.table);
        self.text(&structure.engine);
        self.text(&structure.charset);
        self.text(&structure.collation);
        self.number(u64::from(structure.versioned));
        self.list(&structure.columns, Self::column);
        self.list(&structure.keys, |writer, key| {
            writer.text(&key.name);
            writer.number(u64::from(key.unique));
            writer.list(&key.parts, Self::part);
        });
        self.list(&structure.foreign_keys, |writer, key| {
            writer.text(&key.name);
            writer.texts(&key.columns);
            writer.table(&key.parent);
            writer.texts(&key.parent_columns);
            writer.text(&key.on_delete);
            writer.text(&key.on_update);
        });
    }

    fn column(&mut self, column: &'a Column) {
        let flags = [
            (column.nullable, NULLABLE),
            (column.invisible, INVISIBLE),
            (column.auto_increment, AUTO_INCREMENT),
            (column.auto_update, AUTO_UPDATE),
            (column.charset.is_some(), HAS_CHARSET),
            (column.collation.is_some(), HAS_COLLATION),
            (column.generated == Generated::Virtual, VIRTUAL),
            (column.generated == Generated::Stored, STORED),
        ];
        let flags = flags.into_iter().filter(|(is_set, _)| *is_set);
        self.number(flags.map(|(_, bit)| bit).sum());
        self.text(&column.name);
        self.text(&column.type_text);
        if let Some(charset) = &column.charset {
            self.text(charset);
        }
        if let Some(collation) = &column.collation {
            self.text(collation);
        }
        self.kind(&column.kind);
    }

    fn part(&mut self, part: &'a KeyPart) {
        let has = (part.column.is_some(), part.prefix.is_some());
        self.number(u64::from(has.0) | u64::from(has.1) << 1);
        if let Some(column) = &part.column {
            self.text(column);
        }
        if let Some(prefix) = part.prefix {
            self.number(u64::from(prefix));
        }
    }

    fn kind(&mut self, kind: &'a ColumnKind) {
        use ColumnKind as K;
        let numbers: &[u64] = match kind {
            K::Integer { width, unsigned } => &[0, u64::from(*width), u64::from(*unsigned)],
            K::Decimal {
                precision,
                scale,
                unsigned,
            } => &[
                1,
                u64::from(*precision),
                u64::from(*scale),
                u64::from(*unsigned),
            ],
            K::Float => &[2],
            K::Double => &[3],
            K::Bit { bits } => &[4, u64::from(*bits)],
            K::Year => &[5],
            K::Date => &[6],
            K::Time { digits } => &[7, u64::from(*digits)],
            K::DateTime { digits } => &[8, u64::from(*digits)],
            K::Timestamp { digits } => &[9, u64::from(*digits)],
            K::Text { fixed, compressed } => &[10, u64::from(*fixed), u64::from(*compressed)],
            K::FixedBinary { length } => &[11, u64::from(*length)],
            K::Binary { compressed } => &[12, u64::from(*compressed)],
            K::Enum { members } => {
                self.number(13);
                return self.texts(members);
            }
            K::Set { members } => {
                self.number(14);
                return self.texts(members);
            }
            K::Json => &[15],
            K::Geometry => &[16],
            K::Vector => &[17],
            K::Uuid => &[18],
            K::Inet4 => &[19],
            K::Inet6 => &[20],
        };
        for number in numbers {
            self.number(*number);
        }
    }
}

/// Reads what [`Writer`] wrote; `None` would be a defect of one of the two.
struct Reader<'a> {
    rest: &'a [u8],
    texts: Vec<&'a str>,
}

impl<'a> Reader<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Self {
            rest: bytes,
            texts: Vec::new(),
        }
    }

    fn number(&mut self) -> Option<u64> {
        let (mut number, mut shift) = (0, 0);
        loop {
            let (byte, rest) = self.rest.split_first()?;
            self.rest = rest;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(number);
            }
            shift += 7;
        }
    }

    fn small(&mut self) -> Option<u8> {
        u8::try_from(self.number()?).ok()
    }

    fn flag(&mut self) -> Option<bool> {
        Some(self.number()? != 0)
    }

    fn text(&mut self) -> Option<String> {
        let known = usize::try_from(self.number()?).ok()?;
        if known > 0 {
            return self.texts.get(known - 1).map(|text| (*text).to_owned());
        }
        let length = usize::try_from(self.number()?).ok()?;
        let (text, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        let text = std::str::from_utf8(text).ok()?;
        self.texts.push(text);
        Some(text.to_owned())
    }

    fn list<T>(&mut self, mut read: impl FnMut(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        let length = usize::try_from(self.number()?).ok()?;
        (0..length).map(|_| read(self)).collect()
    }

    fn table(&mut self) -> Option<TableName> {
        Some(TableName {
            schema: self.text()?,
            name: self.text()?,
        })
    }

    fn structure(&mut self) -> Option<Structure> {
        Some(Structure {
            table: self.table()?,
            engine: self.text()?,
            charset: self.text()?,
            collation: self.text()?,
            versioned: self.flag()?,
            columns: self.list(Self::column)?,
            keys: self.list(|reader| {
                Some(Key {
                    name: reader.text()?,
                    unique: reader.flag()?,
                    parts: reader.list(Self::part)?,
                })
            })?,
            foreign_keys: self.list(|reader| {
                Some(ForeignKey {
                    name: reader.text()?,
                    columns: reader.list(Self::text)?,
                    parent: reader.table()?,
                    parent_columns: reader.list(Self::text)?,
                    on_delete: reader.text()?,
                    on_update: reader.text()?,
                })
            })?,
        })
    }

    fn column(&mut self) -> Option<Column> {
        let flags = self.number()?;
        let has = |bit| flags & bit != 0;
        let (name, type_text) = (self.text()?, self.text()?);
        let mut charset = None;
        if has(HAS_CHARSET) {
            charset = Some(self.text()?);
        }
        let mut collation = None;
        if has(HAS_COLLATION) {
            collation = Some(self.text()?);
        }
        Some(Column {
            name,
            type_text,
            charset,
            collation,
            kind: self.kind()?,
            nullable: has(NULLABLE),
            generated: match (has(VIRTUAL), has(STORED)) {
                (true, _) => Generated::Virtual,
                (_, true) => Generated::Stored,
                _ => Generated::No,
            },
            invisible: has(INVISIBLE),
            auto_increment: has(AUTO_INCREMENT),
            auto_update: has(AUTO_UPDATE),
        })
    }

    fn part(&mut self) -> Option<KeyPart> {
        let has = self.number()?;
        let mut part = KeyPart {
            column: None,
            prefix: None,
        };
        if has & 1 != 0 {
            part.column = Some(self.text()?);
        }
        if has & 2 != 0 {
            part.prefix = Some(u32::try_from(self.number()?).ok()?);
        }
        Some(part)
    }

    fn kind(&mut self) -> Option<ColumnKind> {
        use ColumnKind as K;
        Some(match self.number()? {
            0 => K::Integer {
                width: self.small()?,
                unsigned: self.flag()?,
            },
            1 => K::Decimal {
                precision: self.small()?,
                scale: self.small()?,
                unsigned: self.flag()?,
            },
            2 => K::Float,
            3 => K::Double,
            4 => K::Bit {
                bits: self.small()?,
            },
            5 => K::Year,
            6 => K::Date,
            7 => K::Time {
                digits: self.small()?,
            },
            8 => K::DateTime {
                digits: self.small()?,
            },
            9 => K::Timestamp {
                digits: self.small()?,
            },
            10 => K::Text {
                fixed: self.flag()?,
                compressed: self.flag()?,
            },
            11 => K::FixedBinary {
                length: u32::try_from(self.number()?).ok()?,
            },
            12 => K::Binary {
                compressed: self.flag()?,
            },
            13 => K::Enum {
                members: self.list(Self::text)?,
            },
            14 => K::Set {
                members: self.list(Self::text)?,
            },
            15 => K::Json,
            16 => K::Geometry,
            17 => K::Vector,
            18 => K::Uuid,
            19 => K::Inet4,
            20 => K::Inet6,
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Flavor, ServerVersion};
    use crate::schema::{Ddl, ServerDefaults, SqlMode, structure_of};

    fn created(sql: &str, version: &str) -> Structure {
        let version = ServerVersion::parse(version);
        let ddl = Ddl::read(sql.as_bytes(), "d", SqlMode::default(), version.flavor);
        let defaults = ServerDefaults {
            version,
            folds_names: false,
            charset: "utf8mb4".into(),
            collation: "utf8mb4_general_ci".into(),
            explicit_timestamps: true,
            charset_collations: Vec::new(),
            collations: Arc::default(),
        };
        structure_of(&ddl, &defaults, ("latin1".into(), "latin1_bin".into())).unwrap()
    }

    fn everything() -> Vec<Structure> {
        let columns: Vec<String> = (0..300).map(|n| format!("c{n} INT")).collect();
        let wide = columns.join(", ");
        vec![
            created(
                "CREATE TABLE d.`é` (a TINYINT, b BIGINT UNSIGNED AUTO_INCREMENT, c DECIMAL(65,30) UNSIGNED, f FLOAT, g DOUBLE, \
                 h BIT(64), i YEAR, j DATE, k TIME(6), l DATETIME(3), m TIMESTAMP(1) DEFAULT CURRENT_TIMESTAMP(1) ON UPDATE CURRENT_TIMESTAMP(1), \
                 n CHAR(9) CHARACTER SET gbk, o VARCHAR(300) COLLATE utf8mb4_bin NOT NULL, p LONGTEXT, q BINARY(255), r BLOB, \
                 s ENUM('', 'a''b', 'ü'), t SET('x','y'), u JSON, v GEOMETRY, w VECTOR(3), x INT AS (a + 1) STORED, y INT AS (a) VIRTUAL INVISIBLE, \
                 PRIMARY KEY (b), UNIQUE KEY (o(10), a), KEY ((a + 1)))",
                "9.7.0",
            ),
            created(
                "CREATE TABLE t (a UUID, b INET4, c INET6, d VARCHAR(9) COMPRESSED, e BLOB COMPRESSED, p INT, \
                 FOREIGN KEY own (p) REFERENCES other.parent (id) ON DELETE CASCADE ON UPDATE SET NULL) WITH SYSTEM VERSIONING ENGINE=Aria",
                "11.8.2-MariaDB",
            ),
            created(
                &format!("CREATE TABLE wide (id INT PRIMARY KEY, {wide})"),
                "9.7.0",
            ),
        ]
    }

    #[test]
    fn every_structure_comes_back_as_it_was() {
        assert_eq!(
            Flavor::MariaDB,
            ServerVersion::parse("11.8.2-MariaDB").flavor
        );
        let all = everything();
        let packed: Structures = all.iter().cloned().collect();
        assert_eq!(packed.iter().collect::<Vec<_>>(), all);
        assert_eq!(packed.len(), 3);
        let names: Vec<TableName> = all.iter().map(|one| one.table.clone()).collect();
        assert_eq!(packed.tables().collect::<Vec<_>>(), names);
        let children: Vec<bool> = packed.list.iter().map(Packed::has_foreign_keys).collect();
        assert_eq!(children, [false, true, false]);
        // Equal ones have equal bytes: what was read twice can be compared so.
        assert_eq!(packed, everything().into_iter().collect());
        let mut other = everything();
        other[2].columns[17].nullable = false;
        assert_ne!(packed, other.into_iter().collect());
    }

    #[test]
    fn a_table_takes_little() {
        let one = created(
            "CREATE TABLE d.orders (id BIGINT UNSIGNED NOT NULL PRIMARY KEY, a INT, b INT, c VARCHAR(100), d DATETIME, KEY (a, b))",
            "10.11.6-MariaDB",
        );
        let bytes = Packed::new(&one).bytes.len();
        assert!(bytes < 250, "{bytes} bytes");
    }
}
