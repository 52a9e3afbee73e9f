//! Every statement of the corpus, read and renamed: its kind, the tables it names, and its text on
//! the target to the last byte.

use std::collections::BTreeMap;
use std::sync::Arc;

use tideway::model::{Flavor, ServerVersion, TableName};
use tideway::schema::{
    Ddl, DdlClass, ServerDefaults, SqlMode, Structure, StructureSet, TableRole, structure_of,
};

#[path = "../support/ddl_corpus.rs"]
mod statements;

use statements::{Entry, entries, on_target};

fn read(entry: &Entry, sql: &str) -> Ddl {
    let mode = SqlMode {
        ansi_quotes: entry.has("ansi"),
        no_backslash_escapes: entry.has("nbe"),
        real_as_float: entry.has("real"),
    };
    let flavor = if entry.is_mariadb() {
        Flavor::MariaDB
    } else {
        Flavor::MySQL
    };
    Ddl::read(sql.as_bytes(), entry.default_schema(), mode, flavor)
}

fn tables(ddl: &Ddl, with_sources: bool) -> Vec<(String, String, String)> {
    let mut tables: Vec<_> = ddl
        .tables
        .iter()
        .map(|table| {
            let role = match table.role {
                TableRole::NewName => "new".to_owned(),
                role => format!("{role:?}").to_lowercase(),
            };
            (role, table.name.schema.clone(), table.name.name.clone())
        })
        .filter(|(role, ..)| with_sources || role != "source")
        .collect();
    tables.extend(
        ddl.schema
            .iter()
            .map(|schema| ("schema".to_owned(), schema.name.clone(), String::new())),
    );
    tables
}

fn fault(entry: &Entry) -> Option<String> {
    if entry.kind == "rows" {
        return None;
    }
    let ddl = read(entry, &entry.sql);
    if ddl.kind.name() != entry.kind {
        return Some(format!("kind {}", ddl.kind));
    }
    if entry.kind == "unknown" {
        let is_ren = |table: &TableName| table.name == "ren";
        let may_pass = !entry.sql.contains("ren");
        return (!may_pass && !ddl.mentions(is_ren)).then(|| "is not seen to mention d.ren".into());
    }
    // What a query or a body reads is noted, but nothing rests on it.
    let is_table = ddl.class() == DdlClass::Table;
    let mut expected = entry.tables.clone();
    expected.retain(|(role, ..)| is_table || role != "source");
    if ddl.class() != DdlClass::NoBearing && tables(&ddl, is_table) != expected {
        return Some(format!(
            "tables {:?}, not {expected:?}",
            tables(&ddl, is_table)
        ));
    }
    let route = |table: &TableName| {
        let (schema, name) = on_target(&table.schema, &table.name);
        Some(TableName::new(schema, name))
    };
    let renamed = match ddl.class() {
        DdlClass::Table if ddl.selects => return rewritten_query(entry, &ddl, route),
        DdlClass::Table => ddl.rewrite_qualified(route),
        DdlClass::Database => Ok(ddl.rewrite_schema(|schema| Some(on_target(schema, "*").0))),
        _ => return None,
    };
    match renamed {
        Err(error) => Some(error.report()),
        Ok(renamed) if renamed != entry.renamed.as_bytes() => Some(format!(
            "renamed to {}\n     not {}",
            String::from_utf8_lossy(&renamed),
            entry.renamed
        )),
        Ok(_) => None,
    }
}

/// A query may name tables in ways that cannot be told: it is not renamed, but refused. The servers
/// log such a statement without its query.
fn rewritten_query(
    entry: &Entry,
    ddl: &Ddl,
    route: impl Fn(&TableName) -> Option<TableName>,
) -> Option<String> {
    let stays = entry.renamed == entry.sql;
    match ddl.rewrite_qualified(route) {
        Ok(_) if !stays => Some("a query's tables were renamed".into()),
        Err(error) if stays => Some(error.report()),
        _ => None,
    }
}

#[test]
fn every_statement_is_read_and_renamed() {
    let entries = entries();
    assert!(entries.len() >= 340, "only {} statements", entries.len());
    let faults: Vec<String> = entries
        .iter()
        .filter_map(|entry| {
            fault(entry).map(|fault| format!("line {}: {}\n  {fault}", entry.line, entry.sql))
        })
        .collect();
    assert!(
        faults.is_empty(),
        "{} of {}:\n{}",
        faults.len(),
        entries.len(),
        faults.join("\n")
    );
}

/// The same statements with other white space and comments between their words mean the same.
#[test]
fn comments_between_words_change_nothing() {
    for entry in entries() {
        let plain = read(&entry, &entry.sql);
        let spaced = if entry.sql.contains("/*") || entry.sql.contains("--") {
            entry.sql.clone()
        } else {
            entry.sql.replacen(' ', " /**/ #'\n", 1)
        };
        let sql = format!("/* d.x */\n-- `\n{spaced}\t-- '");
        let other = read(&entry, &sql);
        assert_eq!(plain.kind, other.kind, "{sql}");
        assert_eq!(tables(&plain, true), tables(&other, true), "{sql}");
    }
}

/// With no route, no byte changes, wherever a statement is cut off.
#[test]
fn without_a_route_no_byte_changes() {
    for entry in entries() {
        for (end, _) in entry.sql.char_indices() {
            let part = &entry.sql[..end];
            let ddl = read(&entry, part);
            let kept = ddl.rewrite(|table| Some(table.clone())).unwrap();
            if ddl.start_transaction.is_none() {
                assert_eq!(kept, part.as_bytes());
            }
        }
    }
}

/// What a statement costs does not grow with the number of tables there are.
#[test]
fn a_statement_costs_the_same_among_50_000_tables() {
    let cost = |count: usize| {
        let version = ServerVersion::parse("9.7.0");
        let defaults = ServerDefaults {
            version: version.clone(),
            folds_names: false,
            charset: "utf8mb4".into(),
            collation: "utf8mb4_0900_ai_ci".into(),
            explicit_timestamps: true,
            charset_collations: Vec::new(),
            collations: Arc::default(),
        };
        let utf8 = ("utf8mb4".to_owned(), "utf8mb4_0900_ai_ci".to_owned());
        let mode = SqlMode::default();
        let read = |sql: &str| Ddl::read(sql.as_bytes(), "d", mode, version.flavor);
        let one = "CREATE TABLE t (id INT PRIMARY KEY, a INT, b VARCHAR(20), KEY (a))";
        let model = structure_of(&read(one), &defaults, utf8.clone()).unwrap();
        let tables = (0..count).map(|number| Structure {
            table: TableName::new("d", format!("t{number}")),
            ..model.clone()
        });
        let mut set = StructureSet::new(
            defaults.clone(),
            tables,
            BTreeMap::from([("d".to_owned(), utf8)]),
        );
        let alter = read("ALTER TABLE t7 ADD c INT, ADD KEY (c)");
        let wrong = read("ALTER TABLE t8 ADD d INT, DROP COLUMN nothing");
        let rename = read("RENAME TABLE t9 TO u9");
        let measured = allocation_counter::measure(|| {
            set.apply(&alter).unwrap();
            set.apply(&wrong).unwrap_err();
            set.apply(&rename).unwrap();
        });
        assert_eq!(set.iter().count(), count);
        measured.bytes_max
    };
    let (few, many) = (cost(50), cost(50_000));
    assert!(
        many < few + 100_000,
        "{few} bytes at 50 tables, {many} at 50,000"
    );
}
