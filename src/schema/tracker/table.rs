//! A table's definition: columns, keys, foreign keys, options; and the names that the server makes.

use super::column::{self, ColumnDefinition};
use super::{StructureSet, unreadable};
use crate::model::{Flavor, Result, TableName};
use crate::schema::charset;
use crate::schema::cursor::Cursor;
use crate::schema::ddl::Ddl;
use crate::schema::structure::{ColumnKind, ForeignKey, Key, KeyPart, Structure};

/// A key as it is written, its name perhaps still to be made.
pub(super) struct NewKey {
    pub(super) name: Option<String>,
    pub(super) primary: bool,
    pub(super) unique: bool,
    pub(super) parts: Vec<KeyPart>,
    pub(super) if_not_exists: bool,
}

/// A foreign key as it is written.
pub(super) struct NewForeignKey {
    pub(super) key: ForeignKey,
    /// The name for the index that the server makes where no other serves.
    index_name: Option<String>,
    pub(super) if_not_exists: bool,
}

/// What one element of a table's definition is.
pub(super) enum Element {
    Column(Box<ColumnDefinition>),
    Key(NewKey),
    ForeignKey(NewForeignKey),
    /// MariaDB's period; its two columns take no NULL.
    Period(String, Vec<String>),
    /// A check, or another thing of no bearing.
    Other,
}

/// Table options that matter.
#[derive(Default)]
pub(super) struct Options {
    pub(super) charset: Option<String>,
    pub(super) collation: Option<String>,
    pub(super) engine: Option<String>,
    pub(super) versioned: bool,
}

/// The structure that a CREATE TABLE with a column list describes.
pub(super) fn read_create(set: &StructureSet, ddl: &Ddl, table: &TableName) -> Result<Structure> {
    let mut c = ddl.body();
    if !c.is_punctuation(b'(') {
        return Err(unreadable(ddl, "it has no list of columns"));
    }
    let list = c.group().unwrap_or(0..0);
    let options = read_options(&mut c);
    let (charset, collation) = match table_default(set, &options) {
        Some(default) => default,
        None => set
            .schemas
            .get(&set.folded(&table.schema))
            .cloned()
            .ok_or_else(|| {
                unreadable(
                    ddl,
                    &format!(
                        "the default character set of `{}` is not known",
                        table.schema
                    ),
                )
            })?,
    };
    let mut structure = Structure {
        table: table.clone(),
        columns: Vec::new(),
        keys: Vec::new(),
        foreign_keys: Vec::new(),
        engine: options
            .engine
            .as_deref()
            .map_or("InnoDB".to_owned(), engine_name),
        charset,
        collation,
        versioned: options.versioned,
    };
    let (mut keys, mut foreign_keys) = (Vec::new(), Vec::new());
    let mut first_timestamp = None;
    let mut periods = Vec::new();
    for part in c.split_at_commas(list) {
        let mut c = c.within(part);
        let default = (structure.charset.as_str(), structure.collation.as_str());
        let element = read_element(set, &mut c, default, &table.schema)
            .map_err(|why| unreadable(ddl, &why))?;
        if !c.is_done() {
            let rest = c.text(c.at()..c.at() + 1);
            return Err(unreadable(ddl, &format!("`{rest}` is not understood")));
        }
        match element {
            Element::Column(definition) => {
                if matches!(definition.column.kind, ColumnKind::Timestamp { .. })
                    && first_timestamp.is_none()
                {
                    first_timestamp = Some((structure.columns.len(), definition.is_bare_timestamp));
                }
                let column = inline(set, *definition, &mut keys, &mut foreign_keys);
                structure.columns.push(column);
            }
            Element::Key(key) => keys.push(key),
            Element::ForeignKey(key) => foreign_keys.push(key),
            Element::Period(name, columns) => periods.push((name, columns)),
            Element::Other => {}
        }
    }
    if let Some((index, true)) = first_timestamp
        && let Some(column) = structure.columns.get_mut(index)
    {
        column.auto_update = true;
    }
    for (_, columns) in &periods {
        set_not_null(&mut structure, columns);
    }
    resolve_periods(&mut keys, &periods);
    add_keys(set, &mut structure, keys, foreign_keys).map_err(|why| unreadable(ddl, &why))?;
    Ok(structure)
}

/// Takes the column out of its definition, and notes the keys that stand in it.
pub(super) fn inline(
    set: &StructureSet,
    definition: ColumnDefinition,
    keys: &mut Vec<NewKey>,
    foreign_keys: &mut Vec<NewForeignKey>,
) -> crate::schema::structure::Column {
    let column = definition.column;
    for (wanted, primary) in [(definition.primary, true), (definition.unique, false)] {
        if wanted {
            keys.push(NewKey {
                name: None,
                primary,
                unique: true,
                parts: vec![KeyPart {
                    column: Some(column.name.clone()),
                    prefix: None,
                }],
                if_not_exists: false,
            });
        }
    }
    // Before these versions the servers read an inline REFERENCES and forgot it.
    let version = &set.defaults.version;
    let heeds = match version.flavor {
        Flavor::MySQL => version.at_least(9, 0, 0),
        Flavor::MariaDB => version.at_least(10, 5, 0),
        Flavor::TiDB => false,
    };
    if let Some(key) = definition.references.filter(|_| heeds) {
        foreign_keys.push(NewForeignKey {
            key,
            index_name: None,
            if_not_exists: false,
        });
    }
    column
}

/// Reads an element of a column list, or what follows ADD in an ALTER TABLE.
pub(super) fn read_element(
    set: &StructureSet,
    c: &mut Cursor<'_>,
    default: (&str, &str),
    schema: &str,
) -> Result<Element, String> {
    let mut symbol = None;
    if c.eat(&["constraint"]) {
        if c.eat(&["if", "not", "exists"]) {
            // Said again by what follows; the element is left out if its name is taken.
        }
        if !c.is_any(&["primary", "unique", "foreign", "check"]) {
            symbol = c.name().map(|(name, _)| name);
        }
    }
    if c.eat(&["check"]) {
        c.group();
        let _ = c.eat(&["not", "enforced"]) || c.eat(&["enforced"]);
        return Ok(Element::Other);
    }
    if c.is("period") && c.is_at(1, "for") {
        c.go_to(c.at() + 2);
        let name = c.name().ok_or("a period has no name")?.0;
        let group = c.group().ok_or("a period has no columns")?;
        let mut columns = Vec::new();
        for part in c.split_at_commas(group) {
            let column = c.within(part).name();
            columns.push(column.ok_or("a period has no columns")?.0);
        }
        return Ok(Element::Period(name, columns));
    }
    let special = c.is_any(&["fulltext", "spatial"])
        || (c.is("vector") && (c.is_at(1, "key") || c.is_at(1, "index")));
    let (primary, unique) = (c.is("primary"), c.is_any(&["primary", "unique"]));
    if c.eat(&["foreign", "key"]) {
        let if_not_exists = c.eat(&["if", "not", "exists"]);
        let index_name = if c.is_punctuation(b'(') {
            None
        } else {
            c.name().map(|(name, _)| name)
        };
        let group = c.group().ok_or("a foreign key has no columns")?;
        let mut columns = Vec::new();
        for part in c.split_at_commas(group) {
            columns.push(
                c.within(part)
                    .name()
                    .ok_or("a foreign key has no columns")?
                    .0,
            );
        }
        if !c.eat(&["references"]) {
            return Err("a foreign key has no REFERENCES".to_owned());
        }
        let mut key =
            column::read_references(c, schema).ok_or("a REFERENCES clause is not understood")?;
        key.columns = columns;
        key.name = symbol.unwrap_or_default();
        return Ok(Element::ForeignKey(NewForeignKey {
            key,
            index_name,
            if_not_exists,
        }));
    }
    if special || unique || c.is_any(&["key", "index"]) {
        if special || unique {
            c.advance();
        }
        let _ = c.eat_any(&["key", "index"]);
        let if_not_exists = c.eat(&["if", "not", "exists"]);
        let mut name = None;
        if !c.is_punctuation(b'(')
            && (!c.is_any(&["using", "type"]) || c.is_punctuation_at(1, b'('))
        {
            name = c.name().map(|(name, _)| name);
        }
        if c.eat_any(&["using", "type"]) {
            c.advance();
        }
        let parts = read_parts(c)?;
        skip_key_options(c);
        return Ok(Element::Key(NewKey {
            name: if primary { None } else { name.or(symbol) },
            primary,
            unique,
            parts,
            if_not_exists,
        }));
    }
    column::read(set, c, default, schema).map(|definition| Element::Column(Box::new(definition)))
}

/// What stands behind a period's name in a key, until it is known which columns those are.
const OVERLAPS: &str = " WITHOUT OVERLAPS";

/// Puts a period's columns, its end first, in the place of its name, as the server does.
fn resolve_periods(keys: &mut [NewKey], periods: &[(String, Vec<String>)]) {
    let part = |column: &String| KeyPart {
        column: Some(column.clone()),
        prefix: None,
    };
    for key in keys {
        let columns = key.parts.iter().enumerate().find_map(|(at, part)| {
            let name = part.column.as_deref()?.strip_suffix(OVERLAPS)?;
            let period = periods
                .iter()
                .find(|(period, _)| period.eq_ignore_ascii_case(name))?;
            Some((at, &period.1))
        });
        if let Some((at, columns)) = columns {
            key.parts.splice(at..=at, columns.iter().rev().map(part));
        }
    }
}

/// Reads a key's parts, in brackets.
pub(super) fn read_parts(c: &mut Cursor<'_>) -> Result<Vec<KeyPart>, String> {
    let group = c.group().ok_or("a key has no parts")?;
    let mut parts = Vec::new();
    for part in c.split_at_commas(group) {
        let mut c = c.within(part);
        if c.is_punctuation(b'(') {
            c.group();
            parts.push(KeyPart {
                column: None,
                prefix: None,
            });
        } else {
            let (column, _) = c.name().ok_or("a part of a key is not understood")?;
            let mut prefix = None;
            if c.eat_punctuation(b'(') {
                prefix = c.number().and_then(|length| u32::try_from(length).ok());
                c.eat_punctuation(b')');
            }
            let column = if c.eat(&["without", "overlaps"]) {
                format!("{column}{OVERLAPS}")
            } else {
                column
            };
            parts.push(KeyPart {
                column: Some(column),
                prefix,
            });
        }
        let _ = c.eat_any(&["asc", "desc"]);
        if !c.is_done() {
            return Err("a part of a key is not understood".to_owned());
        }
    }
    Ok(parts)
}

/// Passes over what may follow a key's parts; all of it is of no bearing.
fn skip_key_options(c: &mut Cursor<'_>) {
    loop {
        if c.eat(&["with", "parser"])
            || c.eat_any(&[
                "using",
                "type",
                "key_block_size",
                "comment",
                "engine_attribute",
                "secondary_engine_attribute",
                "clustering",
                "distance",
                "m",
            ])
        {
            c.eat_punctuation(b'=');
            c.advance();
        } else if !c.eat_any(&[
            "visible",
            "invisible",
            "ignored",
            "clustered",
            "nonclustered",
            "global",
            "local",
        ]) && !c.eat(&["not", "ignored"])
        {
            return;
        }
    }
}

/// Reads table options up to a partition clause or the end; those of no bearing are passed over.
pub(super) fn read_options(c: &mut Cursor<'_>) -> Options {
    let mut options = Options::default();
    while !c.is_done() && !c.is("partition") {
        if c.eat(&["character", "set"]) || c.eat(&["char", "set"]) || c.eat(&["charset"]) {
            c.eat_punctuation(b'=');
            options.charset = c.name_or_string();
        } else if c.eat(&["collate"]) {
            c.eat_punctuation(b'=');
            options.collation = c.name_or_string();
        } else if c.eat(&["engine"]) {
            c.eat_punctuation(b'=');
            options.engine = c.name_or_string();
        } else if c.eat(&["with", "system", "versioning"]) {
            options.versioned = true;
        } else if c.is_punctuation(b'(') {
            c.group();
        } else {
            c.advance();
        }
    }
    options
}

/// The default that options name; `None` if they name none.
pub(super) fn table_default(set: &StructureSet, options: &Options) -> Option<(String, String)> {
    let version = &set.defaults.version;
    let named = options
        .charset
        .as_deref()
        .filter(|name| !name.eq_ignore_ascii_case("default"))
        .map(|name| charset::charset_name(name, version));
    let charset = named.or_else(|| {
        options.collation.as_deref().map(|name| {
            // MariaDB's short names belong to utf8mb4 unless the character set stands beside.
            charset::charset_of(name, version).unwrap_or_else(|| "utf8mb4".to_owned())
        })
    })?;
    let collation = options.collation.as_deref().map_or_else(
        || set.defaults.collation_of(&charset),
        |name| charset::collation_name(name, &charset, version),
    );
    Some((charset, collation))
}

/// The defaults that a CREATE or ALTER DATABASE gives, where it gives any.
pub(super) fn schema_default(
    set: &StructureSet,
    ddl: &Ddl,
    old: (String, String),
) -> (String, String) {
    let options = read_options(&mut ddl.body());
    table_default(set, &options).unwrap_or(old)
}

/// An engine's name as the server spells it.
pub(super) fn engine_name(written: &str) -> String {
    let lower = written.to_ascii_lowercase();
    match lower.as_str() {
        "innodb" => "InnoDB",
        "myisam" => "MyISAM",
        "aria" => "Aria",
        "heap" => "MEMORY",
        "merge" | "mrg_myisam" => "MRG_MyISAM",
        "ndb" => "ndbcluster",
        "columnstore" => "Columnstore",
        _ => return written.to_ascii_uppercase(),
    }
    .to_owned()
}

/// Adds keys and foreign keys, with the names and the indexes that the server makes.
pub(super) fn add_keys(
    set: &StructureSet,
    structure: &mut Structure,
    keys: Vec<NewKey>,
    foreign_keys: Vec<NewForeignKey>,
) -> Result<(), String> {
    for new in keys {
        let name = if new.primary {
            "PRIMARY".to_owned()
        } else {
            match new.name {
                Some(name) => name,
                None => made_name(structure, new.parts.first()),
            }
        };
        let taken = structure
            .keys
            .iter()
            .any(|key| key.name.eq_ignore_ascii_case(&name));
        if taken && new.if_not_exists {
            continue;
        }
        let mut parts = Vec::with_capacity(new.parts.len());
        for mut part in new.parts {
            if let Some(written) = &part.column {
                let index = structure
                    .column_index(written)
                    .ok_or_else(|| format!("the key `{name}` names no column of the table"))?;
                if let Some(column) = structure.columns.get_mut(index) {
                    if new.primary {
                        column.nullable = false;
                    }
                    part.column = Some(column.name.clone());
                    if part
                        .prefix
                        .is_some_and(|prefix| covers(&column.type_text, prefix))
                    {
                        part.prefix = None;
                    }
                }
            }
            parts.push(part);
        }
        structure.keys.push(Key {
            name,
            unique: new.unique,
            parts,
        });
    }
    for new in foreign_keys {
        let mut key = new.key;
        // MariaDB lets the index's name serve for the constraint.
        if key.name.is_empty()
            && set.defaults.version.flavor == Flavor::MariaDB
            && let Some(name) = &new.index_name
        {
            key.name.clone_from(name);
        }
        let taken = structure
            .foreign_keys
            .iter()
            .any(|old| old.name.eq_ignore_ascii_case(&key.name));
        if taken && new.if_not_exists {
            continue;
        }
        if key.parent_columns.is_empty() {
            let other = set.get(&key.parent);
            let parent = if key.parent == structure.table {
                Some(&*structure)
            } else {
                other.as_deref()
            };
            key.parent_columns = parent
                .and_then(|parent| parent.keys.iter().find(|key| key.name == "PRIMARY"))
                .map(|key| {
                    key.parts
                        .iter()
                        .filter_map(|part| part.column.clone())
                        .collect()
                })
                .ok_or("the parent of a foreign key is not known")?;
        }
        let no_rule = match set.defaults.version.flavor {
            Flavor::MariaDB => "RESTRICT",
            Flavor::MySQL | Flavor::TiDB => "NO ACTION",
        };
        for rule in [&mut key.on_delete, &mut key.on_update] {
            if rule.is_empty() {
                no_rule.clone_into(rule);
            }
        }
        let served = structure
            .keys
            .iter()
            .any(|index| serves(index, &key.columns));
        if !served {
            let parts: Vec<KeyPart> = key
                .columns
                .iter()
                .map(|column| KeyPart {
                    column: Some(column.clone()),
                    prefix: None,
                })
                .collect();
            let name = Some(key.name.clone())
                .filter(|name| !name.is_empty())
                .or(new.index_name)
                .unwrap_or_else(|| made_name(structure, parts.first()));
            structure.keys.push(Key {
                name,
                unique: false,
                parts,
            });
        }
        if key.name.is_empty() {
            key.name = made_constraint(structure);
        }
        structure.foreign_keys.push(key);
    }
    sort_keys(structure);
    Ok(())
}

/// Columns of a period take no NULL.
pub(super) fn set_not_null(structure: &mut Structure, columns: &[String]) {
    for name in columns {
        if let Some(column) = structure
            .column_index(name)
            .and_then(|index| structure.columns.get_mut(index))
        {
            column.nullable = false;
        }
    }
}

/// The order of keys: the primary one, then by name, as `source::structure` reads them.
pub(super) fn sort_keys(structure: &mut Structure) {
    structure
        .keys
        .sort_by(|a, b| (a.name != "PRIMARY", &a.name).cmp(&(b.name != "PRIMARY", &b.name)));
    structure.foreign_keys.sort_by(|a, b| a.name.cmp(&b.name));
}

fn serves(index: &Key, columns: &[String]) -> bool {
    index.parts.len() >= columns.len()
        && index.parts.iter().zip(columns).all(|(part, column)| {
            part.prefix.is_none()
                && part
                    .column
                    .as_deref()
                    .is_some_and(|name| name.eq_ignore_ascii_case(column))
        })
}

/// A key without a name is called after its first column, `_2`, `_3` behind it where that is taken.
fn made_name(structure: &Structure, first: Option<&KeyPart>) -> String {
    let base = match first.and_then(|part| part.column.as_deref()) {
        Some(column) => structure
            .column_index(column)
            .and_then(|index| structure.columns.get(index))
            .map_or(column, |column| column.name.as_str()),
        None => "functional_index",
    };
    let is_free = |name: &str| {
        !structure
            .keys
            .iter()
            .any(|key| key.name.eq_ignore_ascii_case(name))
    };
    if is_free(base) && !base.eq_ignore_ascii_case("primary") {
        return base.to_owned();
    }
    (2..=u32::MAX)
        .map(|number| format!("{base}_{number}"))
        .find(|name| is_free(name))
        .unwrap_or_default()
}

/// A foreign key without a name is called `TABLE_ibfk_N`, N one above the highest there is.
fn made_constraint(structure: &Structure) -> String {
    let prefix = format!("{}_ibfk_", structure.table.name);
    let highest = structure
        .foreign_keys
        .iter()
        .filter_map(|key| key.name.strip_prefix(&prefix)?.parse::<u32>().ok())
        .max()
        .unwrap_or(0);
    format!("{prefix}{}", highest + 1)
}

/// Whether a prefix of that length is the whole of a column: the server then drops it.
pub(super) fn covers(type_text: &str, prefix: u32) -> bool {
    ["char(", "varchar(", "binary(", "varbinary("]
        .iter()
        .filter_map(|start| type_text.strip_prefix(start))
        .filter_map(|rest| rest.split(')').next()?.parse::<u32>().ok())
        .any(|length| length <= prefix)
}
