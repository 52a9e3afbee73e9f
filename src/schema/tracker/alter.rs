//! ALTER TABLE, CREATE INDEX, DROP INDEX: what they make of a structure.
//!
//! The servers do not go from clause to clause. They walk the old columns, leaving out, replacing and
//! keeping; only then come the new ones and those that are moved. So does this.

use std::collections::HashMap;

use super::column::ColumnDefinition;
use super::table::{self, Element, NewForeignKey, NewKey, Options};
use super::{Changes, StructureSet, unreadable};
use crate::model::{Flavor, Result, ServerVersion, TableName};
use crate::schema::charset;
use crate::schema::column_type::{TypeSpec, converted_text};
use crate::schema::cursor::Cursor;
use crate::schema::ddl::{Ddl, TableRole};
use crate::schema::structure::{Column, ColumnKind, Structure};
use crate::schema::tokens::{SqlMode, Token, tokenize};

/// Where a new column goes.
enum Place {
    /// Where it was; at the end if it is new.
    Same,
    First,
    After(String),
}

/// A column that is added, or put in an old one's place.
struct NewColumn {
    old: Option<String>,
    column: Column,
    place: Place,
    is_bare_timestamp: bool,
}

/// All that an ALTER TABLE asks for.
#[derive(Default)]
struct Plan {
    columns: Vec<NewColumn>,
    dropped_columns: Vec<String>,
    visibility: Vec<(String, bool)>,
    keys: Vec<NewKey>,
    foreign_keys: Vec<NewForeignKey>,
    dropped_keys: Vec<String>,
    dropped_foreign_keys: Vec<String>,
    dropped_constraints: Vec<String>,
    renamed_keys: Vec<(String, String)>,
    convert: Option<(String, String)>,
    versioned: Option<bool>,
    /// The columns of periods that are added.
    not_null: Vec<String>,
}

pub(super) fn alter_table(set: &mut StructureSet, ddl: &Ddl, changes: &mut Changes) -> Result<()> {
    let Some(subject) = ddl.tables.first().map(|table| table.name.clone()) else {
        return Err(unreadable(ddl, "it names no table"));
    };
    let Some(old) = set.get(&subject) else {
        if ddl.if_exists {
            return Ok(());
        }
        return Err(unreadable(
            ddl,
            "the table's structure before it is not known",
        ));
    };
    let mut structure = Structure::clone(&old);
    let fail = |why: String| unreadable(ddl, &why);
    let c = ddl.body();
    let clauses = c.split_at_commas(c.at()..c.len());
    let (options, convert) = read_defaults(set, ddl.default_schema(), &c, &clauses, &structure);
    if let Some(engine) = &options.engine {
        structure.engine = table::engine_name(engine);
    }
    if let Some((charset, collation)) = convert
        .clone()
        .or_else(|| table::table_default(set, &options))
    {
        (structure.charset, structure.collation) = (charset, collation);
    }
    let mut plan = Plan {
        convert,
        ..Plan::default()
    };
    for clause in clauses {
        let mut c = c.within(clause);
        match read_clause(set, &mut c, &structure, &mut plan).map_err(fail)? {
            Next::Clause => {}
            Next::Nothing => break,
        }
    }
    let renames = carry_out(set, &mut structure, plan).map_err(fail)?;
    structure.table = subject.clone();
    let keeps_changed = *old != structure;
    set.insert(&structure);
    if keeps_changed {
        changes.changed.push(subject.clone());
    }
    if !renames.is_empty() {
        set.parents_changed(changes, |parent, columns| {
            if *parent == subject {
                for column in columns {
                    if let Some(new) = renames.get(&column.to_lowercase()) {
                        column.clone_from(new);
                    }
                }
            }
        });
    }
    exchange(set, ddl, &subject, changes);
    let new_name = ddl
        .tables
        .iter()
        .find(|table| table.role == TableRole::NewName);
    if let Some(new_name) = new_name {
        set.rename(&subject, &new_name.name, changes);
    }
    Ok(())
}

/// MariaDB makes tables of partitions and partitions of tables.
fn exchange(set: &mut StructureSet, ddl: &Ddl, subject: &TableName, changes: &mut Changes) {
    let other = ddl
        .tables
        .iter()
        .find(|table| table.role == TableRole::Exchange);
    let c = ddl.body();
    let (Some(other), true) = (other, c.is("convert")) else {
        return;
    };
    if c.is_at(1, "table") {
        if set.remove(&other.name).is_some() {
            changes.dropped.push(other.name.clone());
        }
    } else if let Some(structure) = set
        .get(subject)
        .map(|structure| Structure::clone(&structure))
    {
        set.insert(&Structure {
            table: other.name.clone(),
            foreign_keys: Vec::new(),
            ..structure
        });
        changes.changed.push(other.name.clone());
    }
}

/// Finds the table's new defaults first: columns that the same statement adds take them.
fn read_defaults(
    set: &StructureSet,
    default_schema: &str,
    c: &Cursor<'_>,
    clauses: &[std::ops::Range<usize>],
    structure: &Structure,
) -> (Options, Option<(String, String)>) {
    let mut all = Options::default();
    let mut convert = None;
    for clause in clauses {
        let mut c = c.within(clause.clone());
        if c.eat(&["convert", "to"]) {
            let is_default = c.is_at(2, "default") || c.is_at(1, "default");
            let options = table::read_options(&mut c);
            convert = table::table_default(set, &options);
            if convert.is_none() && is_default {
                // MySQL takes the session's database here, not the table's.
                let schema = match set.defaults.version.flavor {
                    Flavor::MariaDB => structure.table.schema.as_str(),
                    Flavor::MySQL | Flavor::TiDB => default_schema,
                };
                convert = set.schemas.get(&set.folded(schema)).cloned();
                // MariaDB takes the collation that the set has by itself here, whatever the
                // database and `character_set_collations` say.
                if set.defaults.version.flavor == Flavor::MariaDB
                    && let Some((charset, collation)) = &mut convert
                {
                    let plain = ServerVersion {
                        number: (0, 0, 0),
                        ..set.defaults.version.clone()
                    };
                    *collation = charset::default_collation(charset, &plain);
                }
            }
        } else if is_option(&c) {
            let options = table::read_options(&mut c);
            all.charset = options.charset.or(all.charset);
            all.collation = options.collation.or(all.collation);
            all.engine = options.engine.or(all.engine);
        }
    }
    (all, convert)
}

/// Words that begin a table option.
const OPTIONS: &[&str] = &[
    "engine",
    "default",
    "character",
    "charset",
    "collate",
    "comment",
    "auto_increment",
    "row_format",
    "key_block_size",
    "avg_row_length",
    "max_rows",
    "min_rows",
    "checksum",
    "table_checksum",
    "delay_key_write",
    "pack_keys",
    "stats_persistent",
    "stats_auto_recalc",
    "stats_sample_pages",
    "compression",
    "encryption",
    "tablespace",
    "insert_method",
    "union",
    "data",
    "index",
    "connection",
    "password",
    "page_checksum",
    "transactional",
    "sequence",
    "autoextend_size",
    "engine_attribute",
    "secondary_engine_attribute",
    "secondary_engine",
    "page_compressed",
    "page_compression_level",
    "encrypted",
    "encryption_key_id",
    "ietf_quotes",
    "type",
    "raid_type",
    "storage",
];

fn is_option(c: &Cursor<'_>) -> bool {
    c.is_any(OPTIONS)
}

enum Next {
    /// The next clause.
    Clause,
    /// What follows belongs to this one: lists of partitions and of columns to order by.
    Nothing,
}

fn read_clause(
    set: &StructureSet,
    c: &mut Cursor<'_>,
    structure: &Structure,
    plan: &mut Plan,
) -> Result<Next, String> {
    let whole = c.at();
    if c.is_done() || c.is_punctuation(b';') {
        return Ok(Next::Clause);
    }
    if c.eat(&["add"]) {
        if c.is("partition") {
            return Ok(Next::Nothing);
        }
        if c.eat(&["system", "versioning"]) {
            plan.versioned = Some(true);
            return Ok(Next::Clause);
        }
        return add(set, c, structure, plan).map(|()| Next::Clause);
    }
    if c.eat(&["drop"]) {
        return drop(c, structure, plan);
    }
    let is_change = c.is("change");
    if c.eat_any(&["modify", "change"]) {
        c.eat(&["column"]);
        let if_exists = c.eat(&["if", "exists"]);
        let old = if is_change {
            c.name().ok_or("a column's name is missing")?.0
        } else {
            c.clone().name().ok_or("a column's name is missing")?.0
        };
        if if_exists && structure.column_index(&old).is_none() {
            return Ok(Next::Clause);
        }
        let definition = read_column(set, c, structure)?;
        let place = read_place(c)?;
        add_column(set, plan, definition, Some(old), place);
        return rest_is_known(c, whole);
    }
    if c.eat(&["rename"]) {
        if c.eat(&["column"]) {
            let if_exists = c.eat(&["if", "exists"]);
            let old = c.name().ok_or("a column's name is missing")?.0;
            c.eat(&["to"]);
            let new = c.name().ok_or("a column's name is missing")?.0;
            let Some(column) = structure
                .column_index(&old)
                .and_then(|index| structure.columns.get(index))
            else {
                if if_exists {
                    return Ok(Next::Clause);
                }
                return Err(format!("the table has no column `{old}`"));
            };
            plan.columns.push(NewColumn {
                old: Some(old),
                column: Column {
                    name: new,
                    ..column.clone()
                },
                place: Place::Same,
                is_bare_timestamp: false,
            });
        } else if c.eat_any(&["index", "key"]) {
            let _ = c.eat(&["if", "exists"]);
            let old = c.name().ok_or("an index's name is missing")?.0;
            c.eat(&["to"]);
            let new = c.name().ok_or("an index's name is missing")?.0;
            plan.renamed_keys.push((old, new));
        }
        return Ok(Next::Clause);
    }
    if c.eat(&["alter"]) {
        if c.eat_any(&["index", "key", "check", "constraint"]) {
            return Ok(Next::Clause);
        }
        c.eat(&["column"]);
        let _ = c.eat(&["if", "exists"]);
        let column = c.name().ok_or("a column's name is missing")?.0;
        if c.eat(&["set", "invisible"]) {
            plan.visibility.push((column, true));
        } else if c.eat(&["set", "visible"]) {
            plan.visibility.push((column, false));
        } else if !(c.eat(&["set", "default"]) || c.eat(&["drop", "default"])) {
            return Err("an ALTER COLUMN clause is not understood".to_owned());
        }
        return Ok(Next::Clause);
    }
    // Partitions: no matter to columns and keys. Their lists have commas of their own.
    if c.is_any(&[
        "partition",
        "reorganize",
        "truncate",
        "exchange",
        "coalesce",
        "rebuild",
        "analyze",
        "optimize",
        "repair",
        "check",
        "remove",
        "upgrade",
        "discard",
        "import",
    ]) || (c.is("convert") && !c.is_at(1, "to"))
        || c.is("order")
    {
        return Ok(Next::Nothing);
    }
    if c.is_any(&[
        "convert",
        "force",
        "algorithm",
        "lock",
        "enable",
        "disable",
        "with",
        "without",
        "secondary_load",
        "secondary_unload",
        "nowait",
        "wait",
        "online",
    ]) || is_option(c)
    {
        return Ok(Next::Clause);
    }
    Err(format!(
        "the clause `{}` is not understood",
        c.text(c.at()..c.len())
    ))
}

/// Whether what is left of a clause is of no bearing: partitioning may follow the last one.
fn rest_is_known(c: &Cursor<'_>, whole: usize) -> Result<Next, String> {
    if c.is_done() || c.is_any(&["partition", "remove"]) || c.is_punctuation(b';') {
        Ok(Next::Clause)
    } else {
        Err(format!(
            "the clause `{}` is not understood",
            c.text(whole..c.len())
        ))
    }
}

fn add(
    set: &StructureSet,
    c: &mut Cursor<'_>,
    structure: &Structure,
    plan: &mut Plan,
) -> Result<(), String> {
    let whole = c.at();
    let default = (structure.charset.as_str(), structure.collation.as_str());
    let schema = structure.table.schema.as_str();
    let is_column = c.eat(&["column"]);
    let if_not_exists = c.eat(&["if", "not", "exists"]);
    let taken = |plan: &Plan, name: &str| {
        structure.column_index(name).is_some()
            || plan
                .columns
                .iter()
                .any(|new| new.column.name.eq_ignore_ascii_case(name))
    };
    if c.is_punctuation(b'(') {
        let group = c.group().unwrap_or(0..0);
        for part in c.split_at_commas(group) {
            let mut c = c.within(part);
            match table::read_element(set, &mut c, default, schema)? {
                Element::Column(definition) => {
                    if !(if_not_exists && taken(plan, &definition.column.name)) {
                        add_column(set, plan, *definition, None, Place::Same);
                    }
                }
                Element::Key(key) => plan.keys.push(key),
                Element::ForeignKey(key) => plan.foreign_keys.push(key),
                Element::Period(_, columns) => plan.not_null.extend(columns),
                Element::Other => {}
            }
        }
        return rest_is_known(c, whole).map(|_| ());
    }
    if is_column || if_not_exists {
        let definition = read_column(set, c, structure)?;
        let place = read_place(c)?;
        if !(if_not_exists && taken(plan, &definition.column.name)) {
            add_column(set, plan, definition, None, place);
        }
        return rest_is_known(c, whole).map(|_| ());
    }
    match table::read_element(set, c, default, schema)? {
        Element::Column(definition) => {
            let place = read_place(c)?;
            add_column(set, plan, *definition, None, place);
        }
        Element::Key(key) => plan.keys.push(key),
        Element::ForeignKey(key) => plan.foreign_keys.push(key),
        Element::Period(_, columns) => plan.not_null.extend(columns),
        Element::Other => {}
    }
    rest_is_known(c, whole).map(|_| ())
}

fn drop(c: &mut Cursor<'_>, structure: &Structure, plan: &mut Plan) -> Result<Next, String> {
    if c.is("partition") {
        return Ok(Next::Nothing);
    }
    if c.eat(&["system", "versioning"]) {
        plan.versioned = Some(false);
        return Ok(Next::Clause);
    }
    if c.eat(&["period", "for"]) {
        return Ok(Next::Clause);
    }
    if c.eat(&["primary", "key"]) {
        plan.dropped_keys.push("PRIMARY".to_owned());
        return Ok(Next::Clause);
    }
    let list = if c.eat_any(&["index", "key"]) {
        &mut plan.dropped_keys
    } else if c.eat(&["foreign", "key"]) {
        &mut plan.dropped_foreign_keys
    } else if c.eat(&["constraint"]) {
        &mut plan.dropped_constraints
    } else if c.eat(&["check"]) {
        return Ok(Next::Clause);
    } else {
        c.eat(&["column"]);
        let if_exists = c.eat(&["if", "exists"]);
        let name = c.name().ok_or("a column's name is missing")?.0;
        if structure.column_index(&name).is_some() {
            plan.dropped_columns.push(name);
        } else if !if_exists {
            return Err(format!("the table has no column `{name}`"));
        }
        return Ok(Next::Clause);
    };
    let _ = c.eat(&["if", "exists"]);
    list.push(c.name().ok_or("a name is missing")?.0);
    Ok(Next::Clause)
}

fn read_column(
    set: &StructureSet,
    c: &mut Cursor<'_>,
    structure: &Structure,
) -> Result<ColumnDefinition, String> {
    let default = (structure.charset.as_str(), structure.collation.as_str());
    super::column::read(set, c, default, &structure.table.schema)
}

fn read_place(c: &mut Cursor<'_>) -> Result<Place, String> {
    if c.eat(&["first"]) {
        Ok(Place::First)
    } else if c.eat(&["after"]) {
        Ok(Place::After(
            c.name().ok_or("a column's name is missing")?.0,
        ))
    } else {
        Ok(Place::Same)
    }
}

fn add_column(
    set: &StructureSet,
    plan: &mut Plan,
    definition: ColumnDefinition,
    old: Option<String>,
    place: Place,
) {
    let is_bare_timestamp = definition.is_bare_timestamp;
    let column = table::inline(set, definition, &mut plan.keys, &mut plan.foreign_keys);
    plan.columns.push(NewColumn {
        old,
        column,
        place,
        is_bare_timestamp,
    });
}

/// Makes the new structure; gives the columns that have another name now (old, in lower case, to new).
fn carry_out(
    set: &StructureSet,
    structure: &mut Structure,
    mut plan: Plan,
) -> Result<HashMap<String, String>, String> {
    for name in std::mem::take(&mut plan.dropped_constraints) {
        let is_foreign = structure
            .foreign_keys
            .iter()
            .any(|key| key.name.eq_ignore_ascii_case(&name));
        // What is neither a foreign key nor a key is a check.
        if is_foreign {
            plan.dropped_foreign_keys.push(name);
        } else {
            plan.dropped_keys.push(name);
        }
    }
    let names =
        |list: &[String], name: &str| list.iter().any(|other| other.eq_ignore_ascii_case(name));
    structure
        .foreign_keys
        .retain(|key| !names(&plan.dropped_foreign_keys, &key.name));
    structure
        .keys
        .retain(|key| !names(&plan.dropped_keys, &key.name));

    if let Some((to, collation)) = &plan.convert {
        for column in &mut structure.columns {
            convert(set, column, to, collation)?;
        }
    }
    let mut renames = HashMap::new();
    let mut columns: Vec<(Column, bool)> = Vec::with_capacity(structure.columns.len() + 4);
    for old in std::mem::take(&mut structure.columns) {
        if names(&plan.dropped_columns, &old.name) {
            continue;
        }
        let change = plan.columns.iter_mut().find(|new| {
            new.old
                .as_deref()
                .is_some_and(|name| name.eq_ignore_ascii_case(&old.name))
        });
        let Some(new) = change else {
            columns.push((old, false));
            continue;
        };
        if new.column.name != old.name {
            renames.insert(old.name.to_lowercase(), new.column.name.clone());
        }
        new.old = Some(String::new());
        if matches!(new.place, Place::Same) {
            columns.push((new.column.clone(), new.is_bare_timestamp));
        }
    }
    for new in plan.columns {
        // An empty name marks an old column that was found.
        if new.old.as_deref().is_some_and(|name| !name.is_empty()) {
            return Err(format!(
                "the table has no column `{}`",
                new.old.unwrap_or_default()
            ));
        }
        let entry = (new.column, new.is_bare_timestamp);
        match (new.place, new.old) {
            (Place::Same, Some(_)) => {}
            (Place::Same, None) => columns.push(entry),
            (Place::First, _) => columns.insert(0, entry),
            (Place::After(name), _) => {
                let at = columns
                    .iter()
                    .position(|(column, _)| column.name.eq_ignore_ascii_case(&name))
                    .ok_or_else(|| format!("the table has no column `{name}`"))?;
                columns.insert(at + 1, entry);
            }
        }
    }
    for (name, invisible) in plan.visibility {
        for (column, _) in &mut columns {
            if column.name.eq_ignore_ascii_case(&name) {
                column.invisible = invisible;
            }
        }
    }
    let first_timestamp = columns
        .iter_mut()
        .find(|(column, _)| matches!(column.kind, ColumnKind::Timestamp { .. }));
    if let Some((column, true)) = first_timestamp {
        column.auto_update = true;
    }
    structure.columns = columns.into_iter().map(|(column, _)| column).collect();
    structure.versioned = plan.versioned.unwrap_or(structure.versioned);
    table::set_not_null(structure, &plan.not_null);
    follow_keys(structure, &renames, &plan.renamed_keys);
    table::add_keys(set, structure, plan.keys, plan.foreign_keys)?;
    Ok(renames)
}

/// Carries the old keys over to the new columns.
fn follow_keys(
    structure: &mut Structure,
    renames: &HashMap<String, String>,
    renamed_keys: &[(String, String)],
) {
    let columns = &structure.columns;
    let find = |name: &str| {
        columns
            .iter()
            .find(|column| column.name.eq_ignore_ascii_case(name))
    };
    for key in &mut structure.keys {
        let is_primary = key.name == "PRIMARY";
        key.parts.retain_mut(|part| {
            let Some(name) = &part.column else {
                return true;
            };
            let new = renames.get(&name.to_lowercase()).unwrap_or(name);
            let Some(column) = find(new) else {
                return false;
            };
            if part
                .prefix
                .is_some_and(|prefix| table::covers(&column.type_text, prefix))
            {
                part.prefix = None;
            }
            part.column = Some(column.name.clone());
            true
        });
        if !is_primary
            && let Some((_, new)) = renamed_keys
                .iter()
                .find(|(old, _)| old.eq_ignore_ascii_case(&key.name))
        {
            key.name.clone_from(new);
        }
    }
    structure.keys.retain(|key| !key.parts.is_empty());
    for key in &mut structure.foreign_keys {
        for column in &mut key.columns {
            if let Some(new) = renames.get(&column.to_lowercase()) {
                column.clone_from(new);
            }
        }
    }
    // A primary key's columns take no NULL, whatever their new definition leaves unsaid.
    let primary: Vec<String> = structure
        .keys
        .iter()
        .filter(|key| key.name == "PRIMARY")
        .flat_map(|key| key.parts.iter().filter_map(|part| part.column.clone()))
        .collect();
    for column in &mut structure.columns {
        if primary.contains(&column.name) {
            column.nullable = false;
        }
    }
}

/// CONVERT TO CHARACTER SET, for one column.
fn convert(
    set: &StructureSet,
    column: &mut Column,
    to: &str,
    collation: &str,
) -> Result<(), String> {
    let Some(from) = column.charset.clone() else {
        return Ok(());
    };
    // The servers keep the bytes of ENUM and SET members, which are then other characters, or none.
    if let ColumnKind::Enum { members } | ColumnKind::Set { members } = &column.kind
        && !members.iter().all(|member| member.is_ascii())
        && !(from.starts_with("utf8") && to.starts_with("utf8"))
    {
        return Err(format!(
            "what becomes of the members of `{}` is not known",
            column.name
        ));
    }
    if let Some(grown) = converted_text(&column.type_text, &from, to) {
        grown.clone_into(&mut column.type_text);
    }
    if to == "binary" {
        // The type becomes a binary one.
        let mode = SqlMode::default();
        let version = &set.defaults.version;
        let tokens: Vec<Token> = tokenize(column.type_text.as_bytes(), mode, version.flavor)
            .into_iter()
            .filter(|token| token.kind.is_significant())
            .collect();
        let mut cursor = Cursor::new(column.type_text.as_bytes(), mode, &tokens);
        if let Some(spec) = TypeSpec::read(&mut cursor, version) {
            let resolved = spec.resolve("binary", version);
            (column.kind, column.type_text) = (resolved.kind, resolved.text);
        }
        (column.charset, column.collation) = (None, None);
    } else {
        column.charset = Some(charset::charset_name(to, &set.defaults.version));
        column.collation = Some(collation.to_owned());
    }
    Ok(())
}

pub(super) fn create_index(set: &mut StructureSet, ddl: &Ddl, changes: &mut Changes) -> Result<()> {
    let mut structure = subject_of(set, ddl)?;
    let mut c = ddl.cursor();
    let body = ddl.body().at();
    let unique = (0..body).any(|at| {
        let mut c = c.clone();
        c.go_to(at);
        c.is("unique")
    });
    c.go_to(body);
    let if_not_exists = c.eat(&["if", "not", "exists"]);
    let name = c.name().map(|(name, _)| name);
    while !c.is_done() && !c.is_punctuation(b'(') {
        c.advance();
    }
    let parts = table::read_parts(&mut c).map_err(|why| unreadable(ddl, &why))?;
    if ddl.or_replace {
        structure.keys.retain(|key| {
            name.as_deref()
                .is_none_or(|name| !key.name.eq_ignore_ascii_case(name))
        });
    }
    let key = NewKey {
        name,
        primary: false,
        unique,
        parts,
        if_not_exists,
    };
    table::add_keys(set, &mut structure, vec![key], Vec::new())
        .map_err(|why| unreadable(ddl, &why))?;
    changes.changed.push(structure.table.clone());
    set.insert(&structure);
    Ok(())
}

pub(super) fn drop_index(set: &mut StructureSet, ddl: &Ddl, changes: &mut Changes) -> Result<()> {
    let mut structure = subject_of(set, ddl)?;
    let mut c = ddl.body();
    c.eat(&["if", "exists"]);
    let Some((name, _)) = c.name() else {
        return Err(unreadable(ddl, "it names no index"));
    };
    structure
        .keys
        .retain(|key| !key.name.eq_ignore_ascii_case(&name));
    changes.changed.push(structure.table.clone());
    set.insert(&structure);
    Ok(())
}

fn subject_of(set: &StructureSet, ddl: &Ddl) -> Result<Structure> {
    ddl.tables
        .first()
        .and_then(|table| set.get(&table.name))
        .map(|structure| Structure::clone(&structure))
        .ok_or_else(|| unreadable(ddl, "the table's structure before it is not known"))
}
