//! MySQL's partial updates of JSON documents: after each statement the document that we make of the one
//! before and the logged changes must be the one that the server then shows.

use std::collections::BTreeMap;

use tideway::binlog::{EventKind, RowShape, RowsEvent, TableMap, json, json_diff};
use tideway::model::value::{Row, RowChange, Value};

use crate::binlog_files;
use crate::support::traffic::Random;
use crate::support::{Client, Flavor, Server, ServerSpec};

/// Statements that are made for certain; more are made at random.
const FIXED: &[&str] = &[
    "JSON_SET(j, '$.a', 1)",
    "JSON_REPLACE(j, '$.a', 'a longer text in place of a number')",
    "JSON_REPLACE(j, '$.a', CAST('2024-02-29 01:02:03.456789' AS DATETIME(6)))",
    "JSON_SET(j, '$.d', CAST('-838:59:59' AS TIME), '$.e', CAST('1000-01-01' AS DATE), '$.f', TIMESTAMP '2001-02-03 04:05:06')",
    "JSON_SET(j, '$.n', CAST(-12345678901234567890.123456789 AS DECIMAL(40,9)), '$.bits', b'1010', '$.bytes', x'00ff10')",
    "JSON_SET(j, '$.big', 18446744073709551615, '$.small', -9223372036854775808, '$.i', 65536, '$.u', 4000000000)",
    "JSON_SET(j, '$.real', 1e300, '$.tiny', -2.5e-300, '$.zero', 0.0)",
    "JSON_SET(j, '$.t', true, '$.f', false, '$.null', CAST('null' AS JSON))",
    "JSON_SET(j, '$.list', JSON_ARRAY(1, 'two', JSON_OBJECT('three', 3), JSON_ARRAY(4)))",
    "JSON_SET(j, '$.list[1]', JSON_ARRAY('x', JSON_OBJECT()))",
    "JSON_SET(j, '$.list[10]', 'behind the end')",
    "JSON_SET(j, '$.list[last]', 'the last', '$.list[last-1]', 'the one before')",
    "JSON_REPLACE(j, '$.list[2].three', JSON_OBJECT('deep', JSON_ARRAY(1, 2, 3)))",
    "JSON_SET(j, '$.list[2].three.deep[1]', -1, '$.list[2].three.deeper', JSON_OBJECT('k', NULL))",
    "JSON_REMOVE(j, '$.list[0]', '$.list[2]')",
    "JSON_REMOVE(j, '$.a', '$.list[0][0]')",
    "JSON_SET(j, '$.\"a b\"', 1, '$.\"\\\"quoted\\\"\"', 2, '$.\"é\"', 3, '$.\"\"', 4, '$.\"c.d[0]\"', 5, '$.$x', 6, '$._y1', 7)",
    "JSON_REPLACE(j, '$.\"a b\"', 'one', '$.\"\\\"quoted\\\"\"', 'two', '$.\"é\"', 'three', '$.\"\"', 'four', '$.\"c.d[0]\"', 'five')",
    "JSON_REMOVE(j, '$.\"a b\"', '$.\"\\\"quoted\\\"\"', '$.\"c.d[0]\"')",
    "JSON_SET(j, '$.\"\\\\\\\\ \\\\n\"', 'a backslash and a line end')",
    "JSON_SET(j, '$.t[0]', 'in place of a scalar', '$.i[1]', 'makes an array of it')",
    "JSON_SET(j, '$.long', REPEAT('x', 300))",
    "JSON_SET(j, '$.long', REPEAT('y', 70000))",
    "JSON_SET(j, '$.list[0]', 'in a large document', '$.u', 7, '$.i', -3)",
    "JSON_REPLACE(j, '$.long', 'short again')",
    "JSON_REMOVE(j, '$.long')",
    "JSON_SET(j, '$.m', 1, '$.m', 2, '$.m', JSON_ARRAY(), '$.m[0]', 3)",
    "JSON_REPLACE(j, '$.absent', 1)",
    "JSON_REMOVE(j, '$.absent')",
    "JSON_SET(j, '$.wide', CAST(CONCAT('[', REPEAT('1,', 40000), '1]') AS JSON))",
    "JSON_SET(j, '$.wide[39999]', 'x', '$.wide[0]', CAST(70000 AS SIGNED), '$.wide[1]', CAST(70000 AS UNSIGNED))",
    "JSON_REMOVE(j, '$.wide[20000]')",
    "JSON_REMOVE(j, '$.wide')",
    "JSON_SET(j, '$.point', CAST(ST_GeomFromText('POINT(1 2)') AS JSON))",
    "JSON_SET(JSON_REMOVE(j, '$.m'), '$.o', JSON_OBJECT('p', JSON_OBJECT('q', JSON_OBJECT('r', 1))))",
    "JSON_SET(JSON_REPLACE(j, '$.o.p.q.r', 'text'), '$.o.p.q.s', JSON_ARRAY(NULL))",
];

#[test]
fn partial_updates_give_the_servers_own_documents() {
    let count = std::env::var("TIDEWAY_JSON_STATEMENTS");
    let count: u64 = count.map_or(400, |n| n.parse().expect("a number"));
    let seed = std::env::var("TIDEWAY_SEED").map_or(11, |n| n.parse().expect("a number"));
    println!("TIDEWAY_JSON_STATEMENTS={count} TIDEWAY_SEED={seed}");
    let server = Server::start(
        ServerSpec::new(Flavor::MySql97).option("--binlog-row-value-options=PARTIAL_JSON"),
    );
    let mut client = server.client();
    client.run(
        "CREATE DATABASE d; \
         CREATE TABLE d.whole (id INT PRIMARY KEY, n INT, j JSON, k JSON, text VARCHAR(9)); \
         CREATE TABLE d.part LIKE d.whole; \
         INSERT INTO d.whole VALUES (1, 0, '{}', '[]', 't'); INSERT INTO d.part TABLE d.whole",
    );
    let mut statements: Vec<String> = FIXED.iter().map(|&text| text.to_owned()).collect();
    let mut random = Random::new(seed);
    statements.extend((0..count).map(|_| any_statement(&mut random)));
    let mut shown = BTreeMap::new();
    for (n, statement) in (1i64..).zip(&statements) {
        let set = format!(
            "SET n = {n}, j = {statement}, k = JSON_SET(k, '$[{}]', {n})",
            n % 9
        );
        client.run("SET binlog_row_image = 'FULL'");
        run(&mut client, &format!("UPDATE d.whole {set}"), statement);
        client.run("SET binlog_row_image = 'MINIMAL'");
        run(&mut client, &format!("UPDATE d.part {set}"), statement);
        let texts = client.texts("SELECT n, j FROM d.whole").remove(0);
        shown.insert(texts[0].parse::<i64>().unwrap(), texts[1].clone());
    }
    let mut seen = Seen::default();
    for file in binlog_files::complete(&server) {
        read(&file, &shown, &mut seen);
    }
    assert_eq!(
        seen.whole,
        statements.len(),
        "updates with the row as it was"
    );
    assert_eq!(seen.part, statements.len(), "updates without it");
    println!("{} documents from changes alone", seen.by_changes);
    assert!(
        seen.by_changes > FIXED.len(),
        "the server logged documents, not changes"
    );
}

/// A statement that the server refuses leaves the document; its number is counted on.
fn run(client: &mut Client, sql: &str, statement: &str) {
    if let Err(error) = client.try_run(sql) {
        let text = sql.replace(&format!("j = {statement}"), "j = j");
        assert_ne!(text, sql, "{error}");
        client.run(&text);
    }
}

#[derive(Default)]
struct Seen {
    whole: usize,
    part: usize,
    by_changes: usize,
    /// The document of the table whose updates come without the row as it was.
    document: Vec<u8>,
}

fn read(file: &std::path::Path, shown: &BTreeMap<i64, String>, seen: &mut Seen) {
    let mut map: Option<TableMap> = None;
    binlog_files::read(file, |event, format| {
        if event.header.kind == EventKind::TABLE_MAP {
            map = Some(TableMap::parse(event, format).unwrap());
        }
        if !event.header.kind.is_rows() {
            return;
        }
        let map = map.as_ref().expect("a table map comes first");
        let is_whole = map.table.name == "whole";
        if map.table.schema != "d" {
            return;
        }
        let rows = RowsEvent::parse(event, format).unwrap();
        let shape = RowShape::for_display(map).unwrap();
        for change in rows.rows(&shape).unwrap() {
            match change.unwrap() {
                RowChange::Insert { after } => {
                    seen.document = document(&after, 2).expect("a new row is whole");
                }
                RowChange::Update { after, .. } => {
                    let n = number(&after);
                    let found = if is_whole {
                        seen.whole += 1;
                        document(&after, 2).expect("made of the row as it was")
                    } else {
                        seen.part += 1;
                        follow(&after, seen);
                        seen.document.clone()
                    };
                    let mut text = Vec::new();
                    json::to_text(&found, &mut text).unwrap();
                    assert_eq!(String::from_utf8(text).unwrap(), shown[&n], "statement {n}");
                    // The second JSON column is changed by every statement.
                    if is_whole {
                        assert!(document(&after, 3).is_some(), "statement {n}");
                    }
                }
                RowChange::Delete { .. } => panic!("no row was deleted"),
            }
        }
    });
}

fn follow(after: &Row<'_>, seen: &mut Seen) {
    match &after[2] {
        // `j = j`: nothing of it is logged.
        None => {}
        Some(Value::JsonDiff(changes)) => {
            seen.by_changes += 1;
            seen.document = json_diff::apply_diffs(&seen.document, changes).unwrap();
        }
        Some(Value::Json(document)) => seen.document = document.to_vec(),
        other => panic!("no document: {other:?}"),
    }
}

fn document(row: &Row<'_>, column: usize) -> Option<Vec<u8>> {
    match &row[column] {
        Some(Value::Json(document)) => Some(document.to_vec()),
        _ => None,
    }
}

fn number(row: &Row<'_>) -> i64 {
    match row[1] {
        Some(Value::Int(n)) => n,
        ref other => panic!("`n` is {other:?}"),
    }
}

/// A few changes at places that documents made of the same few names are likely to have.
fn any_statement(random: &mut Random) -> String {
    let changes = 1 + random.below(3);
    let list = |random: &mut Random, with_values: bool| -> String {
        (0..changes)
            .map(|_| {
                let path = any_path(random);
                if with_values {
                    format!(", '{path}', {}", any_value(random, 0))
                } else {
                    format!(", '{path}'")
                }
            })
            .collect()
    };
    match random.below(10) {
        0..=4 => format!("JSON_SET(j{})", list(random, true)),
        5..=7 => format!("JSON_REPLACE(j{})", list(random, true)),
        _ => format!("JSON_REMOVE(j{})", list(random, false)),
    }
}

fn any_path(random: &mut Random) -> String {
    const NAMES: [&str; 6] = ["a", "b", "c", "list", "\"k y\"", "\"é\""];
    let mut path = "$".to_owned();
    for depth in 0..=random.below(3) {
        if depth > 0 && random.below(2) == 0 {
            path.extend(["[", &random.below(4).to_string(), "]"]);
        } else {
            path.push('.');
            path.push_str(NAMES[random.below(NAMES.len() as u64) as usize]);
        }
    }
    path
}

fn any_value(random: &mut Random, depth: u32) -> String {
    let n = random.next();
    match random.below(if depth > 2 { 13 } else { 18 }) {
        0 => "NULL".into(),
        1 => "true".into(),
        2 => (n % 100).to_string(),
        3 => format!("-{}", n % 100_000),
        4 => n.to_string(),
        5 => format!("-{}", n >> 1),
        6 => format!("{}e{}", n.cast_signed(), n % 200),
        7 => format!(
            "CAST({}.{} AS DECIMAL(30,10))",
            n.cast_signed(),
            n % 1_000_000
        ),
        8 => format!("'{}'", random.text()),
        9 => format!("REPEAT('{}', {})", random.text(), n % 400),
        10 => format!(
            "TIMESTAMP '20{:02}-02-03 04:05:{:02}.{:06}'",
            n % 100,
            n % 60,
            n % 1_000_000
        ),
        11 => format!("x'{n:016x}'"),
        12 if n.is_multiple_of(20) => format!("REPEAT('z', {})", 60_000 + n % 20_000),
        12 => "TIME '-12:34:56.5'".into(),
        13..=15 => {
            let inner: Vec<String> = (0..random.below(5))
                .map(|_| any_value(random, depth + 1))
                .collect();
            format!("JSON_ARRAY({})", inner.join(", "))
        }
        _ => {
            let names = ["a", "b", "c", "list", "k y", "é"];
            let count = random.below(5) as usize;
            let inner: Vec<String> = names[..count]
                .iter()
                .map(|name| format!("'{name}', {}", any_value(random, depth + 1)))
                .collect();
            format!("JSON_OBJECT({})", inner.join(", "))
        }
    }
}
