//! Whether a column takes another's values as they are. What a strict target refuses by itself (a text
//! too long, a number out of range) is left to it, as it then names the row; what it would change
//! without a word is told here.

use super::structure::{Column, ColumnKind, Generated, Structure};

/// Why values of `from` would become others in `to`, silently; `None`: they would not.
#[expect(
    clippy::match_same_arms,
    reason = "each pair of types stands by itself"
)]
pub fn misfit(from: &Column, to: &Column) -> Option<&'static str> {
    use ColumnKind as K;
    let digits = "digits of a second would be rounded away";
    let number = "numbers would be rounded";
    let kind = "the types do not go together";
    match (&from.kind, &to.kind) {
        (a, b) if a == b => None,
        (K::Time { digits: a }, K::Time { digits: b })
        | (
            K::DateTime { digits: a } | K::Timestamp { digits: a },
            K::DateTime { digits: b } | K::Timestamp { digits: b },
        ) => (a > b).then_some(digits),
        (K::Date, K::DateTime { .. } | K::Timestamp { .. }) => None,
        (K::DateTime { .. } | K::Timestamp { .. }, K::Date | K::Time { .. }) => {
            Some("a part of the moment would be cut off")
        }
        (K::Double, K::Float) => Some(number),
        (K::Float, K::Double) => None,
        (K::Float | K::Double, K::Integer { .. } | K::Decimal { .. }) => Some(number),
        (K::Decimal { scale, .. }, K::Integer { .. }) => (*scale > 0).then_some(number),
        (K::Decimal { scale: a, .. }, K::Decimal { scale: b, .. }) => (a > b).then_some(number),
        (K::Decimal { .. }, K::Float | K::Double) => Some(number),
        (K::Integer { width, .. }, K::Float) => (*width > 3).then_some(number),
        (K::Integer { width, .. }, K::Double) => (*width > 4).then_some(number),
        (K::Text { fixed: false, .. }, K::Text { fixed: true, .. }) => {
            Some("spaces at the end would be lost")
        }
        (K::Binary { .. } | K::FixedBinary { .. }, K::FixedBinary { .. }) => {
            Some("values would be filled up with zero bytes")
        }
        (K::Text { .. } | K::Enum { .. } | K::Set { .. }, K::Enum { .. } | K::Set { .. })
            if std::mem::discriminant(&from.kind) != std::mem::discriminant(&to.kind) =>
        {
            Some(kind)
        }
        (K::Geometry | K::Vector, _) | (_, K::Geometry | K::Vector) => Some(kind),
        (K::Text { .. }, K::Binary { .. } | K::FixedBinary { .. })
        | (
            K::Binary { .. } | K::FixedBinary { .. } | K::Bit { .. },
            K::Text { .. } | K::Json | K::Enum { .. } | K::Set { .. },
        ) => Some("bytes would be read in another character set"),
        _ => None,
    }
}

/// Where a table that is on the target already is not like the source's, column by column in their
/// order, each as `source | target`; empty: a copy may go into it.
pub fn differences(source: &Structure, existing: &Structure) -> Vec<String> {
    let longest = source.columns.len().max(existing.columns.len());
    (0..longest)
        .map(|index| (source.columns.get(index), existing.columns.get(index)))
        .filter(|pair| !matches!(pair, (Some(a), Some(b)) if is_alike(a, b)))
        .map(|(a, b)| format!("{} | {}", shown(a), shown(b)))
        .collect()
}

fn shown(column: Option<&Column>) -> String {
    column.map_or_else(
        || "nothing".to_owned(),
        |column| format!("`{}` {}", column.name, column.type_text),
    )
}

fn is_alike(source: &Column, target: &Column) -> bool {
    let same_kind = source.kind == target.kind
        || matches!(
            (&source.kind, &target.kind),
            // One family's JSON is the other's LONGTEXT.
            (ColumnKind::Json, ColumnKind::Text { .. })
                | (ColumnKind::Text { .. }, ColumnKind::Json)
        );
    source.name.eq_ignore_ascii_case(&target.name)
        && same_kind
        && (source.generated == Generated::No) == (target.generated == Generated::No)
        && (target.nullable || !source.nullable)
}

/// Whether every value that `from` can hold has room in `to`.
#[expect(
    clippy::many_single_char_names,
    reason = "the two sides of each pair, side by side"
)]
fn has_room(from: &Column, to: &Column) -> bool {
    use ColumnKind as K;
    if misfit(from, to).is_some() || (from.nullable && !to.nullable) {
        return false;
    }
    match (&from.kind, &to.kind) {
        (
            K::Integer {
                width: a,
                unsigned: x,
            },
            K::Integer {
                width: b,
                unsigned: y,
            },
        ) => (a <= b && x == y) || (a < b && *x),
        (
            K::Decimal {
                precision: a,
                scale: x,
                unsigned: u,
            },
            K::Decimal {
                precision: b,
                scale: y,
                unsigned: v,
            },
        ) => x <= y && a - x <= b - y && (u == v || *u),
        (K::Enum { members: a }, K::Enum { members: b })
        | (K::Set { members: a }, K::Set { members: b }) => {
            a.iter().all(|member| b.contains(member))
        }
        (
            K::Text { .. } | K::Binary { .. } | K::FixedBinary { .. },
            K::Text { .. } | K::Binary { .. } | K::FixedBinary { .. },
        ) => length(&from.type_text) <= length(&to.type_text),
        _ => true,
    }
}

/// How much a text type holds, in its own units; the long types are all beyond the others.
fn length(type_text: &str) -> u64 {
    let word = type_text.split(['(', ' ']).next().unwrap_or_default();
    match word {
        "tinytext" | "tinyblob" => 255,
        "text" | "blob" => 65_535,
        "mediumtext" | "mediumblob" => 16_777_215,
        "longtext" | "longblob" => u64::from(u32::MAX),
        _ => type_text
            .split(['(', ')'])
            .nth(1)
            .and_then(|length| length.parse().ok())
            .unwrap_or(1),
    }
}

/// Whether `there` has already what a statement does that makes `after` of `before`. A statement that
/// leaves no trace in columns or keys is never there.
pub fn is_there(before: Option<&Structure>, after: &Structure, there: &Structure) -> bool {
    let column_of = |structure: &Structure, name: &str| -> Option<Column> {
        let index = structure.column_index(name)?;
        structure.columns.get(index).cloned()
    };
    let parts = |structure: &Structure| -> Vec<(bool, Vec<String>)> {
        let names = |key: &super::structure::Key| {
            key.parts
                .iter()
                .map(|part| part.column.clone().unwrap_or_default().to_lowercase())
                .collect()
        };
        let keys = structure.keys.iter();
        keys.map(|key| (key.unique, names(key))).collect()
    };
    let mut is_traced = false;
    for column in &after.columns {
        let old = before.and_then(|before| column_of(before, &column.name));
        if old.as_ref() == Some(column) {
            continue;
        }
        is_traced = true;
        if !column_of(there, &column.name).is_some_and(|there| has_room(column, &there)) {
            return false;
        }
    }
    let Some(before) = before else {
        // A new table: that its columns are there is all that can be asked.
        return is_traced;
    };
    for column in &before.columns {
        if column_of(after, &column.name).is_none() {
            is_traced = true;
            if column_of(there, &column.name).is_some() {
                return false;
            }
        }
    }
    let (old, new, theirs) = (parts(before), parts(after), parts(there));
    let added: Vec<_> = new.iter().filter(|key| !old.contains(key)).collect();
    let gone: Vec<_> = old.iter().filter(|key| !new.contains(key)).collect();
    is_traced |= !added.is_empty() || !gone.is_empty();
    is_traced
        && added.iter().all(|key| theirs.contains(key))
        && !gone.iter().any(|key| theirs.contains(key))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Flavor, TableName};
    use crate::schema::parse_type;
    use crate::schema::structure::{Generated, Key, KeyPart};

    fn column(name: &str, type_text: &str) -> Column {
        Column {
            name: name.into(),
            type_text: type_text.into(),
            kind: parse_type(type_text, Flavor::MySQL).unwrap(),
            nullable: true,
            charset: None,
            collation: None,
            generated: Generated::No,
            invisible: false,
            auto_increment: false,
            auto_update: false,
        }
    }

    fn table(columns: &[(&str, &str)], keys: &[&str]) -> Structure {
        let key = |name: &&str| Key {
            name: (*name).to_owned(),
            unique: false,
            parts: vec![KeyPart {
                column: Some((*name).to_owned()),
                prefix: None,
            }],
        };
        Structure {
            table: TableName::new("d", "t"),
            columns: columns
                .iter()
                .map(|(name, text)| column(name, text))
                .collect(),
            keys: keys.iter().map(key).collect(),
            foreign_keys: Vec::new(),
            engine: "InnoDB".into(),
            charset: "utf8mb4".into(),
            collation: "utf8mb4_bin".into(),
            versioned: false,
        }
    }

    #[test]
    fn what_would_change_in_silence_is_told() {
        for (from, to, fits) in [
            ("int", "bigint", true),
            ("int", "varchar(20)", true),
            ("double", "float", false),
            ("float", "double", true),
            ("datetime(6)", "datetime(3)", false),
            ("datetime(3)", "timestamp(6)", true),
            ("time(3)", "time", false),
            ("datetime", "date", false),
            ("date", "datetime", true),
            ("decimal(10,4)", "decimal(10,2)", false),
            ("decimal(10,2)", "decimal(20,4)", true),
            ("decimal(10,2)", "double", false),
            ("decimal(10,0)", "bigint", true),
            ("bigint", "double", false),
            ("int", "double", true),
            ("int", "float", false),
            ("varchar(10)", "char(10)", false),
            ("char(10)", "varchar(10)", true),
            ("varbinary(4)", "binary(4)", false),
            ("binary(4)", "varbinary(9)", true),
            ("varchar(9)", "enum('a')", false),
            ("enum('a')", "varchar(9)", true),
            ("enum('a')", "enum('b','a')", true),
            ("set('a')", "enum('a')", false),
            ("blob", "text", false),
            ("text", "blob", false),
            ("text", "json", true),
            ("point", "blob", false),
        ] {
            let found = misfit(&column("a", from), &column("a", to));
            assert_eq!(found.is_none(), fits, "{from} to {to}: {found:?}");
        }
    }

    #[test]
    fn what_a_statement_does_may_be_there() {
        let one = table(&[("a", "int")], &["a"]);
        let two = table(&[("a", "int"), ("b", "varchar(10)")], &["a"]);
        let wide = table(
            &[("a", "int"), ("b", "varchar(99)"), ("c", "int")],
            &["a", "b"],
        );
        let keyed = table(&[("a", "int"), ("b", "varchar(10)")], &["a", "b"]);
        for (before, after, there, expected) in [
            (Some(&one), &two, &one, false),
            (Some(&one), &two, &wide, true),
            (Some(&wide), &two, &two, true),
            (Some(&two), &one, &two, false),
            (Some(&two), &wide, &two, false),
            (Some(&two), &keyed, &two, false),
            (Some(&two), &keyed, &wide, true),
            (Some(&keyed), &two, &wide, false),
            (Some(&two), &two, &two, false),
            (None, &two, &wide, true),
            (None, &wide, &two, false),
        ] {
            assert_eq!(
                is_there(before, after, there),
                expected,
                "{before:?} {after:?} {there:?}"
            );
        }
    }
}
