//! An independent comparison, row by row and in both directions.
//!
//! It shares nothing with `tideway compare`: both servers print all rows, and the two multisets must
//! be the same. No key, collation or order is relied on.

use std::collections::BTreeMap;

use super::client::Client;
use super::server::Server;

/// How many differing rows a report shows for each table and direction.
const SHOWN: usize = 5;

type Row = Vec<Option<Vec<u8>>>;

/// Fails unless the tables of each schema `(at the source, at the target)` are the same, names and
/// rows, in both directions.
pub(crate) fn assert_equal(source: &Server, target: &Server, schemas: &[(&str, &str)]) {
    let found = differences(source, target, schemas);
    assert!(
        found.is_empty(),
        "source and target differ:\n{}",
        found.join("\n")
    );
}

/// Fails unless these two tables, `schema.table`, hold the same rows.
pub(crate) fn assert_tables_equal(source: &Server, target: &Server, from: &str, to: &str) {
    let (mut left, mut right) = (source.client(), target.client());
    let found = table_differences(&mut left, &mut right, split(from), split(to));
    assert!(
        found.is_empty(),
        "source and target differ:\n{}",
        found.join("\n")
    );
}

/// Fails unless `to` on the target holds exactly the rows of `from` on all sources together.
pub(crate) fn assert_merged(sources: &[&Server], target: &Server, from: &str, to: &str) {
    let mut right = target.client();
    let there = columns(&mut right, split(to));
    let json: Vec<bool> = there.iter().map(|(_, kind)| kind == "json").collect();
    let mut rows = Vec::new();
    for source in sources {
        let mut left = source.client();
        let here = columns(&mut left, split(from));
        rows.extend(left.rows(&select(&here, split(from))));
    }
    let merged = counted(rows, &json);
    let found_there = counted(right.rows(&select(&there, split(to))), &json);
    let mut found = Vec::new();
    report(
        &mut found,
        &merged,
        &found_there,
        split(from),
        "only on a source",
    );
    report(
        &mut found,
        &found_there,
        &merged,
        split(to),
        "only on the target",
    );
    assert!(
        found.is_empty(),
        "sources and target differ:\n{}",
        found.join("\n")
    );
}

/// What differs, as sentences; empty if nothing does.
pub(crate) fn differences(
    source: &Server,
    target: &Server,
    schemas: &[(&str, &str)],
) -> Vec<String> {
    let (mut left, mut right) = (source.client(), target.client());
    let mut found = Vec::new();
    for (from, to) in schemas {
        let (here, there) = (tables(&mut left, from), tables(&mut right, to));
        assert!(
            !here.is_empty(),
            "schema `{from}` has no tables: nothing to compare"
        );
        for table in here.iter().filter(|table| !there.contains(table)) {
            found.push(format!("table `{from}`.`{table}` is not on the target"));
        }
        for table in there.iter().filter(|table| !here.contains(table)) {
            found.push(format!("table `{to}`.`{table}` is only on the target"));
        }
        for table in here.iter().filter(|table| there.contains(table)) {
            found.extend(table_differences(
                &mut left,
                &mut right,
                (from, table),
                (to, table),
            ));
        }
    }
    found
}

fn split(table: &str) -> (&str, &str) {
    table
        .split_once('.')
        .expect("a table is written `schema.table`")
}

fn tables(client: &mut Client, schema: &str) -> Vec<String> {
    let sql = format!(
        "SELECT TABLE_NAME FROM information_schema.TABLES \
         WHERE TABLE_SCHEMA = '{schema}' AND TABLE_TYPE = 'BASE TABLE' ORDER BY 1"
    );
    client
        .texts(&sql)
        .into_iter()
        .map(|mut row| row.remove(0))
        .collect()
}

/// A column's name and data type, in the table's order.
fn columns(client: &mut Client, (schema, table): (&str, &str)) -> Vec<(String, String)> {
    let sql = format!(
        "SELECT COLUMN_NAME, LOWER(DATA_TYPE) FROM information_schema.COLUMNS \
         WHERE TABLE_SCHEMA = '{schema}' AND TABLE_NAME = '{}' ORDER BY ORDINAL_POSITION",
        table.replace('\\', "\\\\").replace('\'', "''")
    );
    client
        .texts(&sql)
        .into_iter()
        .map(|row| {
            let [name, kind] = <[String; 2]>::try_from(row).expect("two columns were asked for");
            (name, kind)
        })
        .collect()
}

fn table_differences(
    left: &mut Client,
    right: &mut Client,
    from: (&str, &str),
    to: (&str, &str),
) -> Vec<String> {
    let (here, there) = (columns(left, from), columns(right, to));
    let names = |columns: &[(String, String)]| -> Vec<String> {
        columns.iter().map(|(name, _)| name.clone()).collect()
    };
    if names(&here) != names(&there) {
        return vec![format!(
            "columns of `{}`.`{}`: {:?}; on the target: {:?}",
            from.0,
            from.1,
            names(&here),
            names(&there)
        )];
    }
    // MariaDB keeps JSON as text: the two spell the same document differently.
    let json: Vec<bool> = here
        .iter()
        .zip(&there)
        .map(|((_, a), (_, b))| a == "json" || b == "json")
        .collect();
    let only_left = counted(left.rows(&select(&here, from)), &json);
    let only_right = counted(right.rows(&select(&there, to)), &json);
    let mut found = Vec::new();
    report(
        &mut found,
        &only_left,
        &only_right,
        from,
        "only on the source",
    );
    report(
        &mut found,
        &only_right,
        &only_left,
        to,
        "only on the target",
    );
    found
}

/// Text as the server prints it, but for types that print less than they hold.
fn select(columns: &[(String, String)], (schema, table): (&str, &str)) -> String {
    let list: Vec<String> = columns
        .iter()
        .map(|(name, kind)| {
            let name = format!("`{}`", name.replace('`', "``"));
            match kind.as_str() {
                // A FLOAT is printed with six digits; as a DOUBLE with all it has.
                "float" => format!("{name} + 0e0"),
                "bit" => format!("{name} + 0"),
                // The empty text may be a member or the index 0 of an invalid value.
                "enum" => format!("CONCAT({name} + 0, ':', {name})"),
                // A sum would be a floating one where the last of 64 members is set.
                "set" => format!("CONCAT({name} | 0, ':', {name})"),
                _ => name,
            }
        })
        .collect();
    format!(
        "SELECT {} FROM `{schema}`.`{}`",
        list.join(", "),
        table.replace('`', "``")
    )
}

fn counted(rows: Vec<Row>, json: &[bool]) -> BTreeMap<Row, i64> {
    let mut counts = BTreeMap::new();
    for mut row in rows {
        for (value, _) in row.iter_mut().zip(json).filter(|(_, is_json)| **is_json) {
            if let Some(bytes) = value {
                let document: serde_json::Value = serde_json::from_slice(bytes)
                    .unwrap_or_else(|error| panic!("a JSON column holds no JSON: {error}"));
                // Objects are sorted by name here, so equal documents have equal text.
                *bytes = document.to_string().into_bytes();
            }
        }
        *counts.entry(row).or_insert(0) += 1;
    }
    counts
}

fn report(
    found: &mut Vec<String>,
    these: &BTreeMap<Row, i64>,
    those: &BTreeMap<Row, i64>,
    (schema, table): (&str, &str),
    what: &str,
) {
    let mut differing = 0;
    let mut shown = Vec::new();
    for (row, count) in these {
        let surplus = count - those.get(row).copied().unwrap_or(0);
        if surplus > 0 {
            differing += surplus;
            if shown.len() < SHOWN {
                shown.push(format!("    {}", printed(row)));
            }
        }
    }
    if differing > 0 {
        found.push(format!(
            "`{schema}`.`{table}`: {differing} of {} rows {what}:\n{}",
            these.values().sum::<i64>(),
            shown.join("\n")
        ));
    }
}

fn printed(row: &Row) -> String {
    let values: Vec<String> = row
        .iter()
        .map(|value| match value {
            None => "NULL".to_owned(),
            Some(bytes) => bytes.escape_ascii().to_string().chars().take(60).collect(),
        })
        .collect();
    values.join(" | ")
}
