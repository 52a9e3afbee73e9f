//! Column types, from their text: as people write them in DDL, and as the servers write them in
//! `information_schema`.

use super::charset;
use super::cursor::Cursor;
use super::structure::ColumnKind;
use super::tokens::{SqlMode, Token, TokenKind, tokenize};
use crate::model::{Error, ErrorKind, Flavor, Result, ServerVersion};

/// Reads the type text of `information_schema.columns.column_type` or of a CREATE TABLE:
/// `int(10) unsigned`, `enum('a','b')`, `varchar(20)`. A text type without a character set counts as
/// text; only `binary` types do not.
pub fn parse_type(text: &str, flavor: Flavor) -> Result<ColumnKind> {
    let mode = SqlMode::default();
    let tokens: Vec<Token> = tokenize(text.as_bytes(), mode, flavor)
        .into_iter()
        .filter(|token| token.kind.is_significant())
        .collect();
    let mut cursor = Cursor::new(text.as_bytes(), mode, &tokens);
    let version = ServerVersion {
        flavor,
        number: (0, 0, 0),
        text: String::new(),
    };
    let mut spec = TypeSpec::read(&mut cursor, &version).ok_or_else(|| unknown_type(text))?;
    if cursor.eat(&["compressed"]) {
        spec.compress();
    }
    if !cursor.is_done() {
        return Err(unknown_type(text));
    }
    // Where no character set stands with it, any that is not `binary` does.
    Ok(spec.resolve("latin1", &version).kind)
}

fn unknown_type(text: &str) -> Error {
    Error::new(ErrorKind::Structure, format!("cannot read the column type `{text}`")).with_fix(
        "this program does not know the type; leave the table out of the task, or report it with the \
         server's version",
    )
}

/// A type as it is written, before the character set is known that decides about the rest.
#[derive(Clone, Debug)]
pub(crate) struct TypeSpec {
    base: Base,
    /// The character set that the type itself names.
    pub(crate) charset: Option<String>,
    /// The attribute BINARY: the character set's `_bin` collation.
    pub(crate) binary_collation: bool,
    /// SERIAL stands for more than its type: NOT NULL, AUTO_INCREMENT, UNIQUE.
    pub(crate) serial: bool,
}

#[derive(Clone, Debug)]
enum Base {
    /// The character set changes nothing.
    Plain {
        kind: ColumnKind,
        text: String,
    },
    Char {
        length: u64,
    },
    Varchar {
        length: u64,
        compressed: bool,
    },
    /// TINYTEXT to LONGTEXT.
    Text {
        class: usize,
        compressed: bool,
    },
    /// TEXT(n): the smallest class that holds `n` characters.
    SizedText {
        characters: u64,
        compressed: bool,
    },
    Members {
        set: bool,
        members: Vec<String>,
    },
}

/// A type with its character set known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ResolvedType {
    pub(crate) kind: ColumnKind,
    /// As the server writes it.
    pub(crate) text: String,
    /// Whether it has a character set and a collation.
    pub(crate) has_charset: bool,
}

const TEXTS: [&str; 4] = ["tinytext", "text", "mediumtext", "longtext"];
const BLOBS: [&str; 4] = ["tinyblob", "blob", "mediumblob", "longblob"];
const LIMITS: [u64; 4] = [0xff, 0xffff, 0xff_ffff, 0xffff_ffff];

fn class_for(bytes: u64) -> usize {
    LIMITS
        .iter()
        .position(|limit| bytes <= *limit)
        .unwrap_or(LIMITS.len() - 1)
}

impl TypeSpec {
    fn plain(kind: ColumnKind, text: impl Into<String>) -> Self {
        Self::of(Base::Plain {
            kind,
            text: text.into(),
        })
    }

    fn of(base: Base) -> Self {
        Self {
            base,
            charset: None,
            binary_collation: false,
            serial: false,
        }
    }

    /// Marks it with MariaDB's COMPRESSED.
    pub(crate) fn compress(&mut self) {
        match &mut self.base {
            Base::Varchar { compressed, .. }
            | Base::Text { compressed, .. }
            | Base::SizedText { compressed, .. } => *compressed = true,
            Base::Plain { kind, text } => {
                if let ColumnKind::Binary { compressed } = kind {
                    *compressed = true;
                    text.push_str(COMPRESSED);
                }
            }
            Base::Char { .. } | Base::Members { .. } => {}
        }
    }

    /// The type in a column whose character set is `charset`. A text type in `binary` is a binary one.
    pub(crate) fn resolve(&self, charset: &str, version: &ServerVersion) -> ResolvedType {
        let binary = charset == "binary";
        let width = charset::max_bytes(charset);
        let (kind, text) = match &self.base {
            Base::Plain { kind, text } => {
                return ResolvedType {
                    kind: kind.clone(),
                    text: text.clone(),
                    has_charset: false,
                };
            }
            Base::Char { length } if binary => (
                ColumnKind::FixedBinary {
                    length: u32::try_from(*length).unwrap_or(u32::MAX),
                },
                format!("binary({length})"),
            ),
            Base::Char { length } => (text_kind(true, false), format!("char({length})")),
            Base::Varchar { length, compressed } if binary => (
                ColumnKind::Binary {
                    compressed: *compressed,
                },
                format!("varbinary({length})"),
            ),
            Base::Varchar { length, compressed } => {
                (text_kind(false, *compressed), format!("varchar({length})"))
            }
            Base::Text { class, compressed } => large(*class, binary, *compressed),
            Base::SizedText {
                characters,
                compressed,
            } => large(
                class_for(characters.saturating_mul(width)),
                binary,
                *compressed,
            ),
            Base::Members { set, members } => {
                let mut text = String::from(if *set { "set(" } else { "enum(" });
                for (index, member) in members.iter().enumerate() {
                    if index > 0 {
                        text.push(',');
                    }
                    push_member(&mut text, member, version);
                }
                text.push(')');
                let members = members.clone();
                let kind = if *set {
                    ColumnKind::Set { members }
                } else {
                    ColumnKind::Enum { members }
                };
                return ResolvedType {
                    kind,
                    text,
                    has_charset: !binary,
                };
            }
        };
        let compressed = matches!(
            kind,
            ColumnKind::Text {
                compressed: true,
                ..
            } | ColumnKind::Binary { compressed: true }
        );
        ResolvedType {
            kind,
            text: if compressed { text + COMPRESSED } else { text },
            has_charset: !binary,
        }
    }

    /// Reads a type with the attributes that belong to it: signs, widths, character set.
    pub(crate) fn read(c: &mut Cursor<'_>, version: &ServerVersion) -> Option<Self> {
        let token = c.peek()?;
        if token.kind != TokenKind::Word {
            return None;
        }
        let word = token.name(c.statement)?.to_ascii_lowercase();
        c.advance();
        let mariadb = version.flavor == Flavor::MariaDB;
        let mut spec = match word.as_str() {
            "bool" | "boolean" => Self::plain(
                ColumnKind::Integer {
                    width: 1,
                    unsigned: false,
                },
                "tinyint(1)",
            ),
            "serial" => {
                let mut spec = integer(8, None, true, false, version);
                spec.serial = true;
                spec
            }
            "tinyint" | "int1" => read_integer(c, 1, version),
            "smallint" | "int2" => read_integer(c, 2, version),
            "mediumint" | "int3" | "middleint" => read_integer(c, 3, version),
            "int" | "integer" | "int4" => read_integer(c, 4, version),
            "bigint" | "int8" => read_integer(c, 8, version),
            "decimal" | "dec" | "numeric" | "fixed" => read_decimal(c),
            "number" if mariadb => {
                if c.is_punctuation(b'(') {
                    read_decimal(c)
                } else {
                    read_float(c, "double")
                }
            }
            "float" | "float4" => read_float(c, "float"),
            "double" | "float8" => {
                c.eat(&["precision"]);
                read_float(c, "double")
            }
            "real" => {
                let name = if c.mode.real_as_float {
                    "float"
                } else {
                    "double"
                };
                read_float(c, name)
            }
            "bit" => {
                let bits = length(c).unwrap_or(1);
                Self::plain(
                    ColumnKind::Bit {
                        bits: u8::try_from(bits).ok()?,
                    },
                    format!("bit({bits})"),
                )
            }
            "year" => {
                length(c);
                let text = if writes_widths(version) {
                    "year(4)"
                } else {
                    "year"
                };
                let spec = Self::plain(ColumnKind::Year, text);
                while c.eat_any(&["unsigned", "zerofill", "signed"]) {}
                spec
            }
            "date" => Self::plain(ColumnKind::Date, "date"),
            "time" => fractional(c, "time", |digits| ColumnKind::Time { digits })?,
            "datetime" => fractional(c, "datetime", |digits| ColumnKind::DateTime { digits })?,
            "timestamp" => fractional(c, "timestamp", |digits| ColumnKind::Timestamp { digits })?,
            "char" | "character" | "nchar" | "national" => read_char(c, &word)?,
            "varchar" | "varcharacter" | "nvarchar" | "varchar2" => {
                let mut spec = Self::of(Base::Varchar {
                    length: length(c)?,
                    compressed: false,
                });
                if word == "nvarchar" {
                    spec.charset = Some("utf8".to_owned());
                }
                spec
            }
            "tinytext" => text(0),
            "text" => match length(c) {
                // TEXT(0) is plain TEXT.
                None | Some(0) => text(1),
                Some(characters) => Self::of(Base::SizedText {
                    characters,
                    compressed: false,
                }),
            },
            "mediumtext" => text(2),
            "longtext" => text(3),
            "clob" if mariadb => text(3),
            "long" => {
                if c.eat(&["varbinary"]) {
                    blob(2)
                } else {
                    let _ = c.eat(&["char", "varying"]) || c.eat_any(&["varchar", "varcharacter"]);
                    text(2)
                }
            }
            "binary" => {
                let bytes = length(c).unwrap_or(1);
                Self::plain(
                    ColumnKind::FixedBinary {
                        length: u32::try_from(bytes).ok()?,
                    },
                    format!("binary({bytes})"),
                )
            }
            "varbinary" | "raw" => {
                let bytes = length(c)?;
                Self::plain(
                    ColumnKind::Binary { compressed: false },
                    format!("varbinary({bytes})"),
                )
            }
            "tinyblob" => blob(0),
            "blob" => blob(match length(c) {
                None | Some(0) => 1,
                Some(bytes) => class_for(bytes),
            }),
            "mediumblob" => blob(2),
            "longblob" => blob(3),
            "enum" | "set" => {
                let members = read_members(c)?;
                Self::of(Base::Members {
                    set: word == "set",
                    members,
                })
            }
            // MariaDB's JSON is a LONGTEXT with a check; its collation is utf8mb4_bin.
            "json" if mariadb => {
                let mut spec = text(3);
                spec.charset = Some("utf8mb4".to_owned());
                spec.binary_collation = true;
                spec
            }
            "json" => Self::plain(ColumnKind::Json, "json"),
            "geometrycollection" | "geomcollection" => Self::plain(
                ColumnKind::Geometry,
                if version.flavor == Flavor::MySQL && version.at_least(8, 0, 11) {
                    "geomcollection"
                } else {
                    "geometrycollection"
                },
            ),
            "geometry" | "point" | "linestring" | "polygon" | "multipoint" | "multilinestring"
            | "multipolygon" => {
                length(c);
                Self::plain(ColumnKind::Geometry, word)
            }
            "vector" => {
                let dimensions = length(c).unwrap_or(2048);
                Self::plain(ColumnKind::Vector, format!("vector({dimensions})"))
            }
            "uuid" if mariadb => Self::plain(ColumnKind::Uuid, "uuid"),
            "inet4" if mariadb => Self::plain(ColumnKind::Inet4, "inet4"),
            "inet6" if mariadb => Self::plain(ColumnKind::Inet6, "inet6"),
            _ => return None,
        };
        spec.read_charset(c);
        Some(spec)
    }

    /// Reads what may follow a text type: CHARACTER SET, ASCII, UNICODE, BYTE, BINARY, in any order.
    /// Reads the character set, which may stand behind COMPRESSED too.
    pub(crate) fn read_charset(&mut self, c: &mut Cursor<'_>) {
        if matches!(self.base, Base::Plain { .. }) {
            return;
        }
        loop {
            if c.eat(&["character", "set"]) || c.eat(&["char", "set"]) || c.eat_any(&["charset"]) {
                self.charset = c.name_or_string();
            } else if c.eat(&["ascii"]) {
                self.charset = Some("latin1".to_owned());
            } else if c.eat(&["unicode"]) {
                self.charset = Some("ucs2".to_owned());
            } else if c.eat(&["byte"]) {
                self.charset = Some("binary".to_owned());
            } else if c.eat(&["binary"]) {
                self.binary_collation = true;
            } else {
                return;
            }
        }
    }
}

/// MariaDB's mark behind a compressed column's type.
const COMPRESSED: &str = " /*M!100301 COMPRESSED*/";

fn text_kind(fixed: bool, compressed: bool) -> ColumnKind {
    ColumnKind::Text { fixed, compressed }
}

fn large(class: usize, binary: bool, compressed: bool) -> (ColumnKind, String) {
    if binary {
        let name = BLOBS.get(class).copied().unwrap_or("longblob");
        (ColumnKind::Binary { compressed }, name.to_owned())
    } else {
        let name = TEXTS.get(class).copied().unwrap_or("longtext");
        (text_kind(false, compressed), name.to_owned())
    }
}

/// The type that CONVERT TO CHARACTER SET makes of a text column: a TEXT grows to hold as many
/// characters as before, everything else keeps its form.
pub(crate) fn converted_text(type_text: &str, from: &str, to: &str) -> Option<&'static str> {
    let class = TEXTS.iter().position(|name| *name == type_text)?;
    let characters = LIMITS.get(class)? / charset::max_bytes(from);
    let needed = class_for(characters.saturating_mul(charset::max_bytes(to)));
    TEXTS.get(needed.max(class)).copied()
}

/// The TEXT that a BLOB becomes in a character set other than `binary`.
fn text(class: usize) -> TypeSpec {
    TypeSpec::of(Base::Text {
        class,
        compressed: false,
    })
}

fn blob(class: usize) -> TypeSpec {
    TypeSpec::plain(
        ColumnKind::Binary { compressed: false },
        BLOBS.get(class).copied().unwrap_or("longblob"),
    )
}

/// MySQL 8.0.19 stopped writing display widths.
fn writes_widths(version: &ServerVersion) -> bool {
    version.flavor != Flavor::MySQL || !version.at_least(8, 0, 19)
}

fn read_integer(c: &mut Cursor<'_>, width: u8, version: &ServerVersion) -> TypeSpec {
    let display = length(c);
    let (unsigned, zerofill) = read_sign(c);
    integer(width, display, unsigned, zerofill, version)
}

fn integer(
    width: u8,
    display: Option<u64>,
    unsigned: bool,
    zerofill: bool,
    version: &ServerVersion,
) -> TypeSpec {
    let (name, signed_width, unsigned_width) = match width {
        1 => ("tinyint", 4, 3),
        2 => ("smallint", 6, 5),
        3 => ("mediumint", 9, 8),
        4 => ("int", 11, 10),
        _ => ("bigint", 20, 20),
    };
    let shown = display.unwrap_or(if unsigned {
        unsigned_width
    } else {
        signed_width
    });
    // One width still means something: clients take `tinyint(1)` for a boolean.
    let keeps = writes_widths(version) || zerofill || (width == 1 && shown == 1 && !unsigned);
    let mut text = if keeps {
        format!("{name}({shown})")
    } else {
        name.to_owned()
    };
    push_sign(&mut text, unsigned, zerofill);
    TypeSpec::plain(ColumnKind::Integer { width, unsigned }, text)
}

fn read_decimal(c: &mut Cursor<'_>) -> TypeSpec {
    let (precision, scale) = match two_lengths(c) {
        // DECIMAL(0) is DECIMAL(10).
        None | Some((0, None | Some(0))) => (10, 0),
        Some((precision, scale)) => (precision, scale.unwrap_or(0)),
    };
    let (unsigned, zerofill) = read_sign(c);
    let mut text = format!("decimal({precision},{scale})");
    push_sign(&mut text, unsigned, zerofill);
    TypeSpec::plain(
        ColumnKind::Decimal {
            precision: u8::try_from(precision).unwrap_or(u8::MAX),
            scale: u8::try_from(scale).unwrap_or(u8::MAX),
            unsigned,
        },
        text,
    )
}

fn read_float(c: &mut Cursor<'_>, name: &str) -> TypeSpec {
    let lengths = two_lengths(c);
    let (unsigned, zerofill) = read_sign(c);
    // FLOAT(p) with more than 24 bits is a DOUBLE, and neither keeps its p.
    let double = name == "double" || matches!(lengths, Some((bits, None)) if bits > 24);
    let mut text = String::from(if double { "double" } else { "float" });
    if let Some((digits, Some(scale))) = lengths {
        text = format!("{text}({digits},{scale})");
    }
    push_sign(&mut text, unsigned, zerofill);
    let kind = if double {
        ColumnKind::Double
    } else {
        ColumnKind::Float
    };
    TypeSpec::plain(kind, text)
}

fn read_sign(c: &mut Cursor<'_>) -> (bool, bool) {
    let (mut unsigned, mut zerofill) = (false, false);
    loop {
        if c.eat(&["unsigned"]) {
            unsigned = true;
        } else if c.eat(&["zerofill"]) {
            // ZEROFILL makes a column UNSIGNED.
            (unsigned, zerofill) = (true, true);
        } else if !c.eat(&["signed"]) {
            return (unsigned, zerofill);
        }
    }
}

fn push_sign(text: &mut String, unsigned: bool, zerofill: bool) {
    if unsigned {
        text.push_str(" unsigned");
    }
    if zerofill {
        text.push_str(" zerofill");
    }
}

fn fractional(c: &mut Cursor<'_>, name: &str, kind: impl Fn(u8) -> ColumnKind) -> Option<TypeSpec> {
    let digits = u8::try_from(length(c).unwrap_or(0)).ok()?;
    let text = if digits == 0 {
        name.to_owned()
    } else {
        format!("{name}({digits})")
    };
    Some(TypeSpec::plain(kind(digits), text))
}

fn read_char(c: &mut Cursor<'_>, word: &str) -> Option<TypeSpec> {
    let mut varying = false;
    let national = matches!(word, "national" | "nchar");
    if word == "national" {
        varying = c.eat_any(&["varchar", "varcharacter"]);
        if !varying && !c.eat_any(&["char", "character"]) {
            return None;
        }
    }
    varying |=
        c.eat_any(&["varying"]) || (word == "nchar" && c.eat_any(&["varchar", "varcharacter"]));
    let length = length(c);
    let mut spec = TypeSpec::of(if varying {
        Base::Varchar {
            length: length?,
            compressed: false,
        }
    } else {
        Base::Char {
            length: length.unwrap_or(1),
        }
    });
    if national {
        spec.charset = Some("utf8".to_owned());
    }
    Some(spec)
}

fn length(c: &mut Cursor<'_>) -> Option<u64> {
    let mut ahead = c.clone();
    if !ahead.eat_punctuation(b'(') {
        return None;
    }
    let number = ahead.number()?;
    if !ahead.eat_punctuation(b')') {
        return None;
    }
    c.go_to(ahead.at());
    Some(number)
}

/// `(10)` or `(10,2)`.
fn two_lengths(c: &mut Cursor<'_>) -> Option<(u64, Option<u64>)> {
    let mut ahead = c.clone();
    if !ahead.eat_punctuation(b'(') {
        return None;
    }
    let first = ahead.number()?;
    let second = if ahead.eat_punctuation(b',') {
        Some(ahead.number()?)
    } else {
        None
    };
    if !ahead.eat_punctuation(b')') {
        return None;
    }
    c.go_to(ahead.at());
    Some((first, second))
}

fn read_members(c: &mut Cursor<'_>) -> Option<Vec<String>> {
    if !c.eat_punctuation(b'(') {
        return None;
    }
    let mut members = Vec::new();
    loop {
        // The server cuts trailing spaces off.
        members.push(c.string()?.trim_end_matches(' ').to_owned());
        if c.eat_punctuation(b')') {
            return Some(members);
        }
        if !c.eat_punctuation(b',') {
            return None;
        }
    }
}

/// Writes a member as the servers do: quotes doubled, and what cannot be seen escaped.
fn push_member(text: &mut String, member: &str, _version: &ServerVersion) {
    text.push('\'');
    for c in member.chars() {
        match c {
            '\'' => text.push_str("''"),
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            '\0' => text.push_str("\\0"),
            c => text.push(c),
        }
    }
    text.push('\'');
}

#[cfg(test)]
#[path = "column_type_tests.rs"]
mod tests;
