//! Reads what tables there are and what they look like, from `information_schema`, in a handful of
//! queries whatever the number of tables. Works on sources and on targets alike.
//!
//! SELECT on the tables is all that it needs. MariaDB keeps the rules of foreign keys from accounts
//! that can only read; those tables' own CREATE TABLE says them then.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use crate::connect::Session;
use crate::model::{Error, ErrorKind, Flavor, Result, TableName, table::quote_name};
use crate::route::select::is_system_schema;
use crate::schema::{
    Column, ColumnKind, ForeignKey, Generated, Key, KeyPart, ServerDefaults, Structure,
    StructureSet, charset, parse_type,
};

/// What kind of thing stands under a table's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TableType {
    /// A plain table.
    Base,
    /// MariaDB's table WITH SYSTEM VERSIONING.
    Versioned,
    /// A view.
    View,
    /// MariaDB's sequence.
    Sequence,
    /// Anything else that the server lists.
    Other,
}

/// A table as the server lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableInfo {
    /// Its name.
    pub name: TableName,
    /// What it is.
    pub table_type: TableType,
    /// The storage engine; empty for a view.
    pub engine: String,
    /// The default collation; empty for a view.
    pub collation: String,
    /// How many rows it has, by the server's estimate; 0 unless it was listed with its size.
    pub rows_estimated: u64,
    /// How many bytes its rows take, likewise.
    pub data_bytes: u64,
}

/// How many names stand in one query's list; beyond, whole databases are read and sorted out here.
///
/// MariaDB makes a table of a list of 1,000 (`in_predicate_conversion_threshold`), and then opens every
/// table of the server.
pub const NAMES_AT_ONCE: usize = 900;

/// Lists all tables, views and sequences outside the system's own databases, by name.
pub async fn list_tables(session: &mut Session) -> Result<Vec<TableInfo>> {
    list(session, "", NO_SIZES).await
}

/// The same with the size of each, for which MariaDB opens every table.
pub async fn list_tables_with_sizes(session: &mut Session) -> Result<Vec<TableInfo>> {
    list(session, "", "TABLE_ROWS, DATA_LENGTH").await
}

/// What stands for the size of a table that nobody asks for.
const NO_SIZES: &str = "0, 0";

/// Fails if the account may see nothing of one of these databases: the lists above are just empty then. A
/// database that is not there is none of this one's business.
pub async fn expect_visible(
    session: &mut Session,
    schemas: impl IntoIterator<Item = String>,
) -> Result<()> {
    for schema in schemas {
        // MariaDB refuses this one; `SHOW TABLES` is empty there too.
        let sql = format!("SHOW CREATE DATABASE {}", quote_name(&schema));
        match session.rows(&sql).await {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::Privilege || session.is_broken() => {
                return Err(error.at(|c| c.statement = Some(sql)));
            }
            Err(error) if error.server().is_some() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

async fn list(session: &mut Session, condition: &str, sizes: &str) -> Result<Vec<TableInfo>> {
    let mut tables = Vec::new();
    let sql = format!(
        "SELECT TABLE_SCHEMA, TABLE_NAME, TABLE_TYPE, ENGINE, TABLE_COLLATION, {sizes} \
         FROM information_schema.TABLES \
         WHERE TABLE_SCHEMA NOT IN ('mysql', 'information_schema', 'performance_schema', 'sys'){condition}"
    );
    session
        .for_each_row(&sql, |row| {
            let name = TableName::new(text(row, 0), text(row, 1));
            if !is_system_schema(&name.schema) {
                tables.push(TableInfo {
                    table_type: match text(row, 2).as_str() {
                        "BASE TABLE" => TableType::Base,
                        "SYSTEM VERSIONED" => TableType::Versioned,
                        "VIEW" => TableType::View,
                        "SEQUENCE" => TableType::Sequence,
                        _ => TableType::Other,
                    },
                    engine: text(row, 3),
                    collation: text(row, 4),
                    rows_estimated: number(row, 5).unwrap_or(0),
                    data_bytes: number(row, 6).unwrap_or(0),
                    name,
                });
            }
            Ok(())
        })
        .await?;
    tables.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(tables)
}

/// Reads the structures of all tables that `wanted` takes, by name; views and sequences have none.
pub async fn read_structures(
    session: &mut Session,
    wanted: impl Fn(&TableName) -> bool,
) -> Result<Vec<Structure>> {
    let tables = list_tables(session).await?;
    let tables = tables
        .into_iter()
        .filter(|table| is_base(table) && wanted(&table.name))
        .collect();
    read(session, tables).await
}

/// Reads the structures of these tables, by name; one that does not exist is not among the results.
pub async fn read_structures_of(
    session: &mut Session,
    names: &[TableName],
) -> Result<Vec<Structure>> {
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let wanted: HashSet<&TableName> = names.iter().collect();
    let listed = list(session, &condition("", names.iter()), NO_SIZES).await?;
    let (mut tables, others): (Vec<_>, Vec<_>) = listed
        .into_iter()
        .filter(is_base)
        .partition(|table| wanted.contains(&table.name));
    let is_found = |tables: &[TableInfo], name: &TableName| tables.iter().any(|t| t.name == *name);
    let mut respelled: HashMap<TableName, TableName> = HashMap::new();
    if !others.is_empty() && folds_names(session).await? {
        for table in others {
            let asked = names.iter().find(|name| is_same_folded(name, &table.name));
            if let Some(asked) = asked.filter(|asked| !is_found(&tables, asked)) {
                respelled.insert(table.name.clone(), asked.clone());
                tables.push(table);
            }
        }
    }
    let mut structures = read(session, tables).await?;
    for structure in &mut structures {
        if let Some(asked) = respelled.get(&structure.table) {
            structure.table = asked.clone();
        }
    }
    structures.sort_by(|a, b| a.table.cmp(&b.table));
    Ok(structures)
}

/// Whether the server holds names without case: then what it lists under another case is what was
/// asked for.
async fn folds_names(session: &mut Session) -> Result<bool> {
    let rows = session.rows("SELECT @@lower_case_table_names").await?;
    let value = rows.first().and_then(|row| row.first()?.as_deref());
    Ok(value.is_some_and(|value| value != b"0"))
}

fn is_same_folded(a: &TableName, b: &TableName) -> bool {
    a.schema.to_lowercase() == b.schema.to_lowercase()
        && a.name.to_lowercase() == b.name.to_lowercase()
}

/// Reads the structures of tables that were just listed, by name.
pub async fn read_structures_in(
    session: &mut Session,
    tables: impl IntoIterator<Item = TableInfo>,
) -> Result<Vec<Structure>> {
    read(session, tables.into_iter().filter(is_base).collect()).await
}

/// The default character set and collation of each database.
pub async fn read_schema_defaults(
    session: &mut Session,
) -> Result<BTreeMap<String, (String, String)>> {
    let mut schemas = BTreeMap::new();
    session
        .for_each_row(
            "SELECT SCHEMA_NAME, DEFAULT_CHARACTER_SET_NAME, DEFAULT_COLLATION_NAME \
             FROM information_schema.SCHEMATA",
            |row| {
                schemas.insert(text(row, 0), (text(row, 1), text(row, 2)));
                Ok(())
            },
        )
        .await?;
    Ok(schemas)
}

/// What of the server's settings decides how its DDL is meant.
pub async fn read_defaults(session: &mut Session) -> Result<ServerDefaults> {
    let mut defaults = ServerDefaults {
        version: session.version().clone(),
        folds_names: false,
        charset: String::new(),
        collation: String::new(),
        explicit_timestamps: true,
        charset_collations: Vec::new(),
        collations: Arc::default(),
    };
    let rows = session
        .rows(
            "SHOW GLOBAL VARIABLES WHERE Variable_name IN ('lower_case_table_names', \
             'character_set_server', 'collation_server', 'explicit_defaults_for_timestamp', \
             'character_set_collations', 'default_collation_for_utf8mb4')",
        )
        .await?;
    for row in rows {
        let mut cells = row.into_iter().map(|cell| lossy(&cell.unwrap_or_default()));
        let name = cells.next().unwrap_or_default();
        let value = cells.next().unwrap_or_default();
        match name.as_str() {
            "lower_case_table_names" => defaults.folds_names = value != "0",
            "character_set_server" => defaults.charset = value,
            "collation_server" => defaults.collation = value,
            "explicit_defaults_for_timestamp" => defaults.explicit_timestamps = value == "ON",
            "default_collation_for_utf8mb4" => {
                defaults
                    .charset_collations
                    .push(("utf8mb4".to_owned(), value));
            }
            "character_set_collations" => {
                for pair in value.split(',') {
                    if let Some((charset, collation)) = pair.split_once('=') {
                        let charset = charset.trim().to_owned();
                        let collation =
                            charset::collation_name(collation.trim(), &charset, &defaults.version);
                        defaults.charset_collations.push((charset, collation));
                    }
                }
            }
            _ => {}
        }
    }
    Ok(defaults)
}

/// The same of a source, with what the session of a statement in its binlog is told by: its collations
/// by number.
pub async fn read_source_defaults(session: &mut Session) -> Result<ServerDefaults> {
    let mut defaults = read_defaults(session).await?;
    defaults.collations = Arc::new(read_collations(session).await?);
    Ok(defaults)
}

/// The collations by number; MariaDB keeps the numbers of those without a character set of their own
/// in a table apart.
async fn read_collations(session: &mut Session) -> Result<BTreeMap<u16, String>> {
    let version = session.version();
    let sql = if version.flavor == Flavor::MariaDB && version.at_least(10, 10, 0) {
        "SELECT ID, FULL_COLLATION_NAME FROM information_schema.COLLATION_CHARACTER_SET_APPLICABILITY"
    } else {
        "SELECT ID, COLLATION_NAME FROM information_schema.COLLATIONS"
    };
    let mut collations = BTreeMap::new();
    session
        .for_each_row(sql, |row| {
            if let Some(id) = number(row, 0).and_then(|id| u16::try_from(id).ok()) {
                collations.insert(id, text(row, 1));
            }
            Ok(())
        })
        .await?;
    Ok(collations)
}

/// Reads all tables of the server, to be carried through its DDL from here on.
pub async fn read_structure_set(session: &mut Session) -> Result<StructureSet> {
    let defaults = read_source_defaults(session).await?;
    let schemas = read_schema_defaults(session).await?;
    let structures = read_structures(session, |_| true).await?;
    Ok(StructureSet::new(defaults, structures, schemas))
}

fn is_base(table: &TableInfo) -> bool {
    matches!(table.table_type, TableType::Base | TableType::Versioned)
}

async fn read(session: &mut Session, tables: Vec<TableInfo>) -> Result<Vec<Structure>> {
    if tables.is_empty() {
        return Ok(Vec::new());
    }
    let version = session.version().clone();
    let mut found: HashMap<TableName, Structure> = HashMap::with_capacity(tables.len());
    for table in tables {
        let structure = Structure {
            columns: Vec::new(),
            keys: Vec::new(),
            foreign_keys: Vec::new(),
            engine: table.engine,
            charset: charset::charset_of(&table.collation, &version).unwrap_or_default(),
            collation: table.collation,
            versioned: table.table_type == TableType::Versioned,
            table: table.name.clone(),
        };
        found.insert(table.name, structure);
    }
    read_columns(session, &mut found, version.flavor).await?;
    read_keys(session, &mut found).await?;
    read_foreign_keys(session, &mut found).await?;
    let mut structures: Vec<Structure> = found.into_values().collect();
    for structure in &mut structures {
        structure
            .keys
            .sort_by(|a, b| (a.name != "PRIMARY", &a.name).cmp(&(b.name != "PRIMARY", &b.name)));
        structure.foreign_keys.sort_by(|a, b| a.name.cmp(&b.name));
    }
    structures.sort_by(|a, b| a.table.cmp(&b.table));
    Ok(structures)
}

async fn read_columns(
    session: &mut Session,
    found: &mut HashMap<TableName, Structure>,
    flavor: Flavor,
) -> Result<()> {
    let sql = format!(
        "SELECT TABLE_SCHEMA, TABLE_NAME, COLUMN_NAME, COLUMN_TYPE, IS_NULLABLE, CHARACTER_SET_NAME, \
         COLLATION_NAME, EXTRA FROM information_schema.COLUMNS WHERE 1{} \
         ORDER BY TABLE_SCHEMA, TABLE_NAME, ORDINAL_POSITION",
        condition("", found.keys())
    );
    session
        .for_each_row(&sql, |row| {
            let table = TableName::new(text(row, 0), text(row, 1));
            let Some(structure) = found.get_mut(&table) else {
                return Ok(());
            };
            let type_text = text(row, 3);
            let kind = parse_type(&type_text, flavor).map_err(|error| {
                error.at(|c| {
                    c.table = Some(table.clone());
                })
            })?;
            let is_text = matches!(
                kind,
                ColumnKind::Text { .. } | ColumnKind::Enum { .. } | ColumnKind::Set { .. }
            );
            let charset = text(row, 5);
            let has_charset = is_text && !charset.is_empty() && charset != "binary";
            let extra = text(row, 7).to_ascii_lowercase();
            structure.columns.push(Column {
                name: text(row, 2),
                type_text,
                kind,
                nullable: text(row, 4) == "YES",
                charset: has_charset.then_some(charset),
                collation: has_charset.then(|| text(row, 6)),
                generated: if extra.contains("virtual generated") {
                    Generated::Virtual
                } else if extra.contains("stored generated")
                    || extra.contains("persistent generated")
                {
                    Generated::Stored
                } else {
                    Generated::No
                },
                invisible: extra.contains("invisible"),
                auto_increment: extra.contains("auto_increment"),
                auto_update: extra.contains("on update"),
            });
            Ok(())
        })
        .await?;
    Ok(())
}

async fn read_keys(session: &mut Session, found: &mut HashMap<TableName, Structure>) -> Result<()> {
    let sql = format!(
        "SELECT TABLE_SCHEMA, TABLE_NAME, INDEX_NAME, NON_UNIQUE, COLUMN_NAME, SUB_PART, INDEX_TYPE FROM information_schema.STATISTICS WHERE 1{} \
         ORDER BY TABLE_SCHEMA, TABLE_NAME, INDEX_NAME, SEQ_IN_INDEX",
        condition("", found.keys())
    );
    session
        .for_each_row(&sql, |row| {
            let table = TableName::new(text(row, 0), text(row, 1));
            let Some(structure) = found.get_mut(&table) else {
                return Ok(());
            };
            let name = text(row, 2);
            if structure.keys.last().is_none_or(|key| key.name != name) {
                structure.keys.push(Key {
                    name,
                    unique: text(row, 3) == "0",
                    parts: Vec::new(),
                });
            }
            // A spatial key says 32 bytes of its column; that is no prefix of anything.
            let spatial = text(row, 6) == "SPATIAL";
            if let Some(key) = structure.keys.last_mut() {
                key.parts.push(KeyPart {
                    column: row.get(4).copied().flatten().map(lossy),
                    prefix: number(row, 5)
                        .filter(|_| !spatial)
                        .and_then(|prefix| u32::try_from(prefix).ok()),
                });
            }
            Ok(())
        })
        .await?;
    Ok(())
}

async fn read_foreign_keys(
    session: &mut Session,
    found: &mut HashMap<TableName, Structure>,
) -> Result<()> {
    // The two views are joined here: the servers join them slowly, or not by the same account's eyes.
    let mut rules: HashMap<(TableName, String), (String, String)> = HashMap::new();
    let sql = format!(
        "SELECT CONSTRAINT_SCHEMA, TABLE_NAME, CONSTRAINT_NAME, DELETE_RULE, UPDATE_RULE \
         FROM information_schema.REFERENTIAL_CONSTRAINTS WHERE 1{}",
        condition("CONSTRAINT_SCHEMA", found.keys())
    );
    session
        .for_each_row(&sql, |row| {
            let child = TableName::new(text(row, 0), text(row, 1));
            rules.insert((child, text(row, 2)), (text(row, 3), text(row, 4)));
            Ok(())
        })
        .await?;
    let sql = format!(
        "SELECT TABLE_SCHEMA, TABLE_NAME, CONSTRAINT_NAME, COLUMN_NAME, REFERENCED_TABLE_SCHEMA, \
         REFERENCED_TABLE_NAME, REFERENCED_COLUMN_NAME FROM information_schema.KEY_COLUMN_USAGE \
         WHERE REFERENCED_TABLE_NAME IS NOT NULL{} \
         ORDER BY TABLE_SCHEMA, TABLE_NAME, CONSTRAINT_NAME, ORDINAL_POSITION",
        condition("", found.keys())
    );
    let mut without_rules: Vec<TableName> = Vec::new();
    session
        .for_each_row(&sql, |row| {
            let child = TableName::new(text(row, 0), text(row, 1));
            let Some(structure) = found.get_mut(&child) else {
                return Ok(());
            };
            let name = text(row, 2);
            if structure
                .foreign_keys
                .last()
                .is_none_or(|key| key.name != name)
            {
                let rule = rules.remove(&(child.clone(), name.clone()));
                if rule.is_none() && without_rules.last() != Some(&child) {
                    without_rules.push(child);
                }
                let (on_delete, on_update) = rule.unwrap_or_default();
                structure.foreign_keys.push(ForeignKey {
                    name,
                    columns: Vec::new(),
                    parent: TableName::new(text(row, 4), text(row, 5)),
                    parent_columns: Vec::new(),
                    on_delete,
                    on_update,
                });
            }
            if let Some(key) = structure.foreign_keys.last_mut() {
                key.columns.push(text(row, 3));
                key.parent_columns.push(text(row, 6));
            }
            Ok(())
        })
        .await?;
    for table in without_rules {
        if let Some(structure) = found.get_mut(&table) {
            read_rules(session, structure).await?;
        }
    }
    Ok(())
}

/// Takes the rules of a table's foreign keys from its CREATE TABLE.
async fn read_rules(session: &mut Session, structure: &mut Structure) -> Result<()> {
    let sql = format!("SHOW CREATE TABLE {}", structure.table.quoted());
    let rows = session.rows(&sql).await?;
    let create = rows
        .first()
        .and_then(|row| row.get(1))
        .and_then(|text| text.as_deref())
        .map(lossy)
        .unwrap_or_default();
    for key in &mut structure.foreign_keys {
        let line = create
            .lines()
            .find(|line| {
                line.trim_start()
                    .strip_prefix("CONSTRAINT ")
                    .is_some_and(|rest| rest.starts_with(&format!("{} FOREIGN KEY", quote_name(&key.name))))
            })
            .ok_or_else(|| {
                Error::new(
                    ErrorKind::Structure,
                    format!("cannot read the rules of the foreign key `{}`", key.name),
                )
                .with_fix("grant the account REFERENCES on the table, so that `information_schema` shows them")
                .at(|c| c.table = Some(structure.table.clone()))
            })?;
        key.on_delete = rule(line, " ON DELETE ");
        key.on_update = rule(line, " ON UPDATE ");
    }
    Ok(())
}

/// The rule behind `clause` at the end of a constraint's line; names before it are quoted, so the
/// last place where the clause stands is it.
fn rule(line: &str, clause: &str) -> String {
    let rest = line
        .rfind(clause)
        .map_or("", |at| &line[at + clause.len()..]);
    for known in [
        "CASCADE",
        "SET NULL",
        "SET DEFAULT",
        "NO ACTION",
        "RESTRICT",
    ] {
        if rest.starts_with(known) {
            return known.to_owned();
        }
    }
    "RESTRICT".to_owned()
}

/// ` AND …`: limits a query to the names' databases, and to the names where they are few.
fn condition<'a>(schema_column: &str, names: impl Iterator<Item = &'a TableName>) -> String {
    let schema_column = if schema_column.is_empty() {
        "TABLE_SCHEMA"
    } else {
        schema_column
    };
    let names: Vec<&TableName> = names.collect();
    let schemas: HashSet<&str> = names.iter().map(|name| name.schema.as_str()).collect();
    let mut condition = format!(" AND {schema_column} IN ({})", list_of(schemas));
    if names.len() <= NAMES_AT_ONCE {
        let tables: HashSet<&str> = names.iter().map(|name| name.name.as_str()).collect();
        condition.push_str(" AND TABLE_NAME IN (");
        condition.push_str(&list_of(tables));
        condition.push(')');
    }
    condition
}

/// Strings as hexadecimal literals: right under any `sql_mode` and with any name.
fn list_of<'a>(values: impl IntoIterator<Item = &'a str>) -> String {
    use std::fmt::Write as _;
    let mut list = String::new();
    for value in values {
        if !list.is_empty() {
            list.push(',');
        }
        list.push_str("_utf8mb4 x'");
        for byte in value.bytes() {
            let _ = write!(list, "{byte:02x}");
        }
        list.push('\'');
    }
    list
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn text(row: &[Option<&[u8]>], index: usize) -> String {
    row.get(index)
        .copied()
        .flatten()
        .map(lossy)
        .unwrap_or_default()
}

fn number(row: &[Option<&[u8]>], index: usize) -> Option<u64> {
    std::str::from_utf8(row.get(index).copied().flatten()?)
        .ok()?
        .parse()
        .ok()
}
