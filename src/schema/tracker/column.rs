//! One column's definition, with all that may stand in it.

use super::StructureSet;
use crate::schema::charset;
use crate::schema::column_type::TypeSpec;
use crate::schema::cursor::Cursor;
use crate::schema::structure::{Column, ColumnKind, ForeignKey, Generated};
use crate::schema::tokens::TokenKind;

/// A column's definition, and what it says about the table besides.
pub(super) struct ColumnDefinition {
    pub(super) column: Column,
    /// Inline PRIMARY KEY.
    pub(super) primary: bool,
    /// Inline UNIQUE.
    pub(super) unique: bool,
    /// Inline REFERENCES; its name is empty and its one column is this one.
    pub(super) references: Option<ForeignKey>,
    /// A TIMESTAMP with no word about NULL, default or update: the first such in a table updates
    /// itself where `explicit_defaults_for_timestamp` is off.
    pub(super) is_bare_timestamp: bool,
}

/// Reads a definition from the column's name on, up to what is no attribute (FIRST, AFTER, PARTITION,
/// the end). `Err` says what is not understood.
pub(super) fn read(
    set: &StructureSet,
    c: &mut Cursor<'_>,
    table_default: (&str, &str),
    schema: &str,
) -> Result<ColumnDefinition, String> {
    let (name, _) = c.name().ok_or("a column's name is missing")?;
    let version = &set.defaults.version;
    let type_at = c.at();
    let mut spec = TypeSpec::read(c, version).ok_or_else(|| {
        format!(
            "the type of `{name}`, `{}`, is not known",
            c.text(type_at..type_at + 1)
        )
    })?;
    let mut nullable: Option<bool> = None;
    let mut collation: Option<String> = None;
    let mut generated = Generated::No;
    let mut expression = false;
    let (mut invisible, mut auto_increment, mut auto_update) = (false, false, false);
    let (mut primary, mut unique, mut has_default) = (false, false, false);
    let mut references = None;
    while let Some(token) = c.peek() {
        if c.eat(&["not", "null"]) {
            nullable = Some(false);
        } else if c.eat(&["null"]) {
            nullable = Some(true);
        } else if c.eat(&["default"]) {
            has_default = true;
            skip_default(c);
        } else if c.eat(&["on", "update"]) {
            auto_update = true;
            c.advance();
            c.group();
        } else if c.eat(&["auto_increment"]) {
            auto_increment = true;
        } else if c.eat(&["serial", "default", "value"]) {
            (auto_increment, unique, nullable) = (true, true, Some(false));
        } else if c.eat(&["primary"]) {
            c.eat(&["key"]);
            primary = true;
        } else if c.eat(&["unique"]) {
            let _ = c.eat_any(&["key", "index"]);
            unique = true;
        } else if c.eat(&["key"]) {
            primary = true;
        } else if c.eat(&["comment"]) {
            c.eat_punctuation(b'=');
            c.string();
        } else if c.eat(&["collate"]) {
            c.eat_punctuation(b'=');
            collation = c.name_or_string();
        } else if c.eat(&["generated", "always", "as"]) || c.eat(&["as"]) {
            if c.eat(&["row"]) {
                // A period's bounds: the server writes them.
                let _ = c.eat_any(&["start", "end"]);
                generated = Generated::Stored;
                nullable = nullable.or(Some(false));
            } else {
                c.group().ok_or("a generated column has no expression")?;
                expression = true;
                generated = Generated::Virtual;
            }
        } else if c.eat(&["virtual"]) {
            generated = Generated::Virtual;
        } else if c.eat_any(&["stored", "persistent"]) {
            generated = Generated::Stored;
        } else if c.eat(&["invisible"]) {
            invisible = true;
        } else if c.eat(&["visible"]) {
        } else if c.eat(&["constraint"]) {
            if !c.is("check") && !c.is("references") {
                c.name();
            }
        } else if c.eat(&["check"]) {
            c.group();
        } else if c.eat(&["not", "enforced"])
            || c.eat(&["enforced"])
            || c.eat(&["not", "secondary"])
        {
        } else if c.eat(&["references"]) {
            references =
                Some(read_references(c, schema).ok_or("a REFERENCES clause is not understood")?);
        } else if c.eat(&["compressed"]) {
            spec.compress();
            if c.eat_punctuation(b'=') {
                c.advance();
            }
            spec.read_charset(c);
        } else if c.eat(&["without", "system", "versioning"])
            || c.eat(&["with", "system", "versioning"])
        {
        } else if c.eat_any(&["column_format", "storage", "srid"]) {
            c.advance();
        } else if token.kind == TokenKind::Word && c.is_punctuation_at(1, b'=') {
            // Options of engines: `REF_SYSTEM_ID=4326`, `ENGINE_ATTRIBUTE='{}'`.
            c.go_to(c.at() + 3);
        } else if c.eat_any(&["engine_attribute", "secondary_engine_attribute"]) {
            c.string();
        } else if c.is_any(&["first", "after", "partition", "remove"]) {
            break;
        } else {
            return Err(format!(
                "`{}` in the definition of `{name}` is not understood",
                c.text(c.at()..c.at() + 1)
            ));
        }
    }
    if expression && generated == Generated::No {
        generated = Generated::Virtual;
    }
    let (charset, collation) = text_set(set, &spec, collation.as_deref(), table_default);
    let resolved = spec.resolve(&charset, version);
    let is_timestamp = matches!(resolved.kind, ColumnKind::Timestamp { .. });
    let implicit = is_timestamp && !set.defaults.explicit_timestamps && generated == Generated::No;
    auto_increment |= spec.serial;
    let not_null = primary
        || spec.serial
        || auto_increment
        || nullable == Some(false)
        || (implicit && nullable.is_none());
    Ok(ColumnDefinition {
        is_bare_timestamp: implicit && nullable != Some(true) && !has_default && !auto_update,
        column: Column {
            name: name.clone(),
            type_text: resolved.text,
            kind: resolved.kind,
            nullable: !not_null,
            charset: resolved.has_charset.then_some(charset),
            collation: resolved.has_charset.then_some(collation),
            generated,
            invisible,
            auto_increment,
            auto_update,
        },
        primary,
        unique: unique || spec.serial,
        references: references.map(|mut key| {
            key.columns = vec![name];
            key
        }),
    })
}

/// The character set and collation of a text column.
fn text_set(
    set: &StructureSet,
    spec: &TypeSpec,
    collation: Option<&str>,
    table_default: (&str, &str),
) -> (String, String) {
    let version = &set.defaults.version;
    let named = spec
        .charset
        .as_deref()
        .map(|name| charset::charset_name(name, version));
    let charset = named
        .clone()
        .or_else(|| collation.and_then(|name| charset::charset_of(name, version)))
        .unwrap_or_else(|| table_default.0.to_owned());
    let collation = match collation {
        Some(name) => charset::collation_name(name, &charset, version),
        None if spec.binary_collation => format!("{charset}_bin"),
        None if named.is_none() => table_default.1.to_owned(),
        None => set.defaults.collation_of(&charset),
    };
    (charset, collation)
}

/// Passes over the value behind DEFAULT: a literal, a bracketed expression, or a call.
fn skip_default(c: &mut Cursor<'_>) {
    if c.is_punctuation(b'(') {
        c.group();
        return;
    }
    while c.eat_punctuation(b'-') || c.eat_punctuation(b'+') {}
    if c.eat(&["next", "value", "for"]) {
        c.name();
        if c.eat_punctuation(b'.') {
            c.name();
        }
        return;
    }
    let Some(token) = c.peek() else { return };
    match token.kind {
        TokenKind::String | TokenKind::Introducer => {
            if c.string().is_none() {
                // An introducer before a hexadecimal literal, or a string that is no UTF-8.
                c.advance();
            }
        }
        TokenKind::Word | TokenKind::QuotedName => {
            // `DATE '2024-01-01'`, `now()`, `db.seq.nextval`.
            c.advance();
            while c.eat_punctuation(b'.') {
                c.advance();
            }
            if c.is_punctuation(b'(') {
                c.group();
            } else if c.peek().is_some_and(|next| next.kind == TokenKind::String) {
                c.advance();
            }
        }
        _ => {
            c.advance();
        }
    }
}

/// Reads what follows REFERENCES; `schema` is the child's.
pub(super) fn read_references(c: &mut Cursor<'_>, schema: &str) -> Option<ForeignKey> {
    let (first, _) = c.name()?;
    let parent = if c.eat_punctuation(b'.') {
        crate::model::TableName::new(first, c.name()?.0)
    } else {
        crate::model::TableName::new(schema, first)
    };
    let mut parent_columns = Vec::new();
    if c.is_punctuation(b'(') {
        let group = c.group()?;
        for part in c.split_at_commas(group) {
            parent_columns.push(c.within(part).name()?.0);
        }
    }
    let (mut on_delete, mut on_update) = (String::new(), String::new());
    loop {
        if c.eat(&["match"]) {
            c.advance();
        } else if c.is("on") && c.is_at(1, "delete") {
            c.go_to(c.at() + 2);
            on_delete = read_rule(c)?;
        } else if c.is("on") && c.is_at(1, "update") {
            c.go_to(c.at() + 2);
            on_update = read_rule(c)?;
        } else {
            break;
        }
    }
    Some(ForeignKey {
        name: String::new(),
        columns: Vec::new(),
        parent,
        parent_columns,
        on_delete,
        on_update,
    })
}

fn read_rule(c: &mut Cursor<'_>) -> Option<String> {
    for (words, rule) in [
        (&["cascade"][..], "CASCADE"),
        (&["restrict"], "RESTRICT"),
        (&["no", "action"], "NO ACTION"),
        (&["set", "null"], "SET NULL"),
        (&["set", "default"], "SET DEFAULT"),
    ] {
        if c.eat(words) {
            return Some(rule.to_owned());
        }
    }
    None
}
