//! Every type, every character set and every odd shape of a table through dump and load, on pairs of
//! servers, compared value by value.
//!
//! `TIDEWAY_MATRIX=full` takes every code of every character set; otherwise a share of them.

use std::fmt::Write as _;

use crate::column_types::{Case, numbers, own, shapes, texts, times};
use crate::support::{Client, Flavor, Server, Task, Tideway, assert_equal};

/// A database whose name is as odd as names may be.
const ODD: &str = "odd.db \u{2764} #1";

/// How far apart the samples of a character set are.
fn step() -> usize {
    match std::env::var("TIDEWAY_MATRIX") {
        Ok(value) if value == "full" => 1,
        _ => 13,
    }
}

/// A session that takes every value that a server of this kind can hold.
fn lenient(server: &Server) -> Client {
    let mut client = server.client();
    client.run(
        "SET SESSION sql_mode = 'ALLOW_INVALID_DATES,NO_ENGINE_SUBSTITUTION,NO_AUTO_VALUE_ON_ZERO'",
    );
    client
}

/// A full copy of the databases.
fn copy(source: &Server, target: &Server, tables: &[&str]) -> Tideway {
    source.account("tideway", &[("ALL", "*.*")]);
    target.account("tideway", &[("ALL", "*.*")]);
    Tideway::new().source("s", source).target("t", target).task(
        &Task::new("copy", &["s"], "t", tables)
            .with("mode = \"full\"\n[task.dump]\nthreads = 2\nchunk_size = \"64KiB\""),
    )
}

fn write_case(client: &mut Client, case: &Case) {
    let Case {
        name,
        columns,
        inserted,
        rows,
    } = case;
    client.run(&format!(
        "CREATE TABLE {name} (id INT PRIMARY KEY AUTO_INCREMENT{columns})"
    ));
    client.run(&format!("CREATE TABLE heap_{name} (id INT{columns})"));
    for table in [name.to_string(), format!("heap_{name}")] {
        for (number, row) in rows.iter().enumerate() {
            client.run(&format!(
                "INSERT INTO {table} (id, {inserted}) VALUES ({}, {row})",
                number + 1
            ));
        }
    }
}

/// The types that both servers of a pair have.
fn cases(from: Flavor, to: Flavor) -> Vec<Case> {
    let mut cases = vec![numbers(), times("times"), texts(), shapes()];
    for mut case in own(from) {
        // Refused by name: MySQL has no unique keys over a whole TEXT.
        if case.name == "hashed" && !to.is_mariadb() {
            continue;
        }
        // MySQL's TIMESTAMPs end in 2038: a later one stops the load.
        if case.name == "vectors" && !to.is_mariadb() {
            for row in &mut case.rows {
                *row = row.replace("2106-02-07 06:28:15", "2038-01-19 03:14:07");
            }
        }
        if to == Flavor::MariaDb1011 && from != to {
            match case.name {
                "vectors" => continue,
                // It has no vectors, and keeps JSON as text.
                "documents" => {
                    case.columns = case.columns.replace(", v VECTOR(3)", ", v INT");
                    case.rows.retain(|row| !row.contains("VECTOR"));
                }
                _ => {}
            }
        }
        cases.push(case);
    }
    cases
}

/// The character sets of a server, but for `binary`.
fn charsets(client: &mut Client) -> Vec<(String, i64)> {
    client
        .texts(
            "SELECT CHARACTER_SET_NAME, MAXLEN FROM information_schema.CHARACTER_SETS \
             WHERE CHARACTER_SET_NAME <> 'binary' ORDER BY 1",
        )
        .into_iter()
        .map(|row| (row[0].clone(), row[1].parse().expect("a number")))
        .collect()
}

/// Tables of all character sets: what Unicode has, each byte, and codes that mean nothing.
fn write_charsets(client: &mut Client, to: Flavor) -> Vec<String> {
    let mut values = Vec::new();
    let blocks = (0..0x1_0000_u32)
        .step_by(64)
        .chain((0x1_f600..0x1_f680).step_by(64))
        .filter(|block| !(0xd800..0xe000).contains(block));
    for (number, block) in blocks.enumerate().step_by(step().min(5)) {
        let mut codes = String::new();
        for code in block..block + 64 {
            let _ = write!(codes, "{code:08X}");
        }
        values.push(format!("({number}, _utf32 x'{codes}')"));
    }
    client.run("CREATE TABLE c.every (id INT PRIMARY KEY, u VARCHAR(64) CHARACTER SET utf32)");
    client.run(&format!("INSERT INTO c.every VALUES {}", values.join(",")));
    let mut names = Vec::new();
    for (charset, width) in charsets(client) {
        // Told by name: see `load_trouble`.
        if charset == "gb18030" && to.is_mariadb() {
            continue;
        }
        let name = format!("cs_{charset}");
        client.run(&format!(
            "CREATE TABLE c.{name} (id INT PRIMARY KEY AUTO_INCREMENT, \
             v VARCHAR(200) CHARACTER SET {charset}, x TEXT CHARACTER SET {charset}, \
             c CHAR(8) CHARACTER SET {charset}, e ENUM('a', 'b') CHARACTER SET {charset})"
        ));
        client.run(&format!(
            "INSERT INTO c.{name} (v, x, c, e) SELECT w, w, LEFT(w, 8), 1 + id % 2 FROM \
             (SELECT id, CONVERT(u USING {charset}) w FROM c.every) d \
             WHERE REPLACE(w, '?', '') <> ''"
        ));
        // Bytes as they are, so that codes without a meaning come in where the server takes them.
        let mut codes: Vec<String> = (0..256).map(|byte| format!("(x'{byte:02X}')")).collect();
        // Halves of characters, which Unicode's own sets may have, are not text for every server.
        if width > 1 && !charset.starts_with("ut") && charset != "ucs2" {
            let pairs = (0x81_00..0xff_00_u32).step_by(7 * step());
            codes.extend(pairs.map(|code| format!("(x'{code:04X}')")));
        }
        for codes in codes.chunks(2000) {
            client.run(&format!(
                "INSERT IGNORE INTO c.{name} (v) VALUES {}",
                codes.join(",")
            ));
        }
        client.run(&format!(
            "UPDATE c.{name} SET x = v, c = LEFT(v, 8) WHERE x IS NULL"
        ));
        names.push(name);
    }
    names
}

/// Compares the tables of character sets by their bytes, or by their text where the target lacks one.
fn compare_charsets(source: &mut Client, target: &mut Client, names: &[String]) -> usize {
    let mut compared = 0;
    for name in names {
        let charset = |client: &mut Client| {
            client.value(&format!(
                "SELECT CHARACTER_SET_NAME FROM information_schema.COLUMNS \
                 WHERE TABLE_SCHEMA = 'c' AND TABLE_NAME = '{name}' AND COLUMN_NAME = 'v'"
            ))
        };
        let columns = if charset(source) == charset(target) {
            "HEX(v), HEX(x), HEX(c), e + 0, e"
        } else {
            "HEX(CONVERT(v USING utf8mb4)), HEX(CONVERT(x USING utf8mb4)), \
             HEX(CONVERT(c USING utf8mb4)), e + 0, e"
        };
        let sql = format!("SELECT id, {columns} FROM c.{name} ORDER BY id");
        let (here, there) = (source.texts(&sql), target.texts(&sql));
        assert_eq!(here.len(), there.len(), "{name}");
        for (here, there) in here.iter().zip(&there) {
            assert_eq!(here, there, "{name}");
        }
        compared += here.len();
    }
    compared
}

/// Tables of odd shapes and names.
fn write_odd(client: &mut Client, flavor: Flavor) {
    client.run(&format!(
        "CREATE DATABASE `{ODD}` DEFAULT CHARACTER SET latin1; USE `{ODD}`"
    ));
    client.run(
        "CREATE TABLE `a``b.c 'd' \"e\" \u{2764}` (`a``b` INT PRIMARY KEY, `c.d` TEXT, `select` INT, \
         ` 'e'` VARCHAR(9) DEFAULT 'it''s \"`', `\u{2764};--` INT COMMENT 'a ''comment'' /* ; */ \\\\ -- `x`', \
         KEY `an ``index``.` (`select`, ` 'e'`)) COMMENT='of ''a'' table; ENGINE=x'; \
         INSERT INTO `a``b.c 'd' \"e\" \u{2764}` VALUES (1, 'it''s; \\\\ \\n x', 2, DEFAULT, 3), \
         (2, NULL, NULL, '', NULL)",
    );
    client.run(
        "CREATE TABLE `%41` (a INT PRIMARY KEY); INSERT INTO `%41` VALUES (1); \
         CREATE TABLE `A` (a INT PRIMARY KEY); INSERT INTO `A` VALUES (2); \
         CREATE TABLE `a-schema` (a INT PRIMARY KEY); INSERT INTO `a-schema` VALUES (3); \
         CREATE TABLE `a.000000001.sql` (a INT PRIMARY KEY); INSERT INTO `a.000000001.sql` VALUES (4)",
    );
    let long = "n".repeat(64);
    client.run(&format!(
        "CREATE TABLE `{long}` (`{long}` INT PRIMARY KEY); INSERT INTO `{long}` VALUES (5)"
    ));
    client.run("CREATE TABLE nothing (a INT PRIMARY KEY, b TEXT)");
    client.run(
        "CREATE TABLE counted (id INT AUTO_INCREMENT PRIMARY KEY, v INT) AUTO_INCREMENT = 500; \
         INSERT INTO counted VALUES (0, 1), (-5, 2), (7, 3)",
    );
    client.run(
        "CREATE TABLE by_range (a INT, d DATE NOT NULL, PRIMARY KEY (a, d)) \
         PARTITION BY RANGE COLUMNS (d) (PARTITION `p 0` VALUES LESS THAN ('2024-01-01'), \
         PARTITION p1 VALUES LESS THAN (MAXVALUE)); \
         INSERT INTO by_range VALUES (1, '2020-02-02'), (2, '2024-01-01'), (3, '0000-00-00'); \
         CREATE TABLE by_list (a INT PRIMARY KEY) PARTITION BY LIST (a) \
         (PARTITION x VALUES IN (1, 2), PARTITION y VALUES IN (3)); INSERT INTO by_list VALUES (1), (3); \
         CREATE TABLE by_hash (a INT PRIMARY KEY) PARTITION BY HASH (a) PARTITIONS 5; \
         INSERT INTO by_hash VALUES (1), (2), (3), (44); \
         CREATE TABLE by_key (a INT NOT NULL, b INT NOT NULL, UNIQUE (a, b)) PARTITION BY RANGE (a) \
         SUBPARTITION BY KEY (b) SUBPARTITIONS 2 (PARTITION p VALUES LESS THAN (5), \
         PARTITION q VALUES LESS THAN MAXVALUE); INSERT INTO by_key VALUES (1, 1), (9, 9)",
    );
    client.run(
        "CREATE TABLE computed (a INT PRIMARY KEY, b INT AS (a * 2) VIRTUAL, c INT AS (a + 1) STORED, \
         d VARCHAR(20) INVISIBLE DEFAULT 'x', e INT AS (a % 3) VIRTUAL INVISIBLE, KEY (b), UNIQUE (c)); \
         INSERT INTO computed (a, d) VALUES (1, 'seen'), (2, NULL), (3, DEFAULT)",
    );
    client.run(
        "CREATE TABLE indexed (a INT, b VARCHAR(200), c TEXT, g POINT NOT NULL, KEY (a DESC), \
         KEY (b(10), a), FULLTEXT (b, c), SPATIAL KEY (g), UNIQUE u (a, b(20))); \
         INSERT INTO indexed VALUES (1, 'x', 'y', ST_GeomFromText('POINT(1 2)'))",
    );
    // Children whose names come before their parents', and a circle.
    client.run(
        "SET SESSION foreign_key_checks = 0; \
         CREATE TABLE child (id INT PRIMARY KEY, p INT, FOREIGN KEY (p) REFERENCES parent (id) ON DELETE CASCADE); \
         CREATE TABLE parent (id INT PRIMARY KEY, c INT, FOREIGN KEY (c) REFERENCES child (id)); \
         INSERT INTO child VALUES (1, 1), (2, NULL); INSERT INTO parent VALUES (1, 2); \
         SET SESSION foreign_key_checks = 1; \
         CREATE TABLE checked (a INT, CONSTRAINT `posit``ive` CHECK (a > 0)); INSERT INTO checked VALUES (1), (NULL); \
         CREATE TABLE defaults (id INT PRIMARY KEY, a DATETIME(3) DEFAULT CURRENT_TIMESTAMP(3) ON UPDATE CURRENT_TIMESTAMP(3), \
         b DOUBLE DEFAULT 0.1, c TIMESTAMP NULL, d BIT(3) DEFAULT b'101', e VARCHAR(9) DEFAULT (UPPER('x'))); \
         INSERT INTO defaults (id) VALUES (1)",
    );
    if flavor == Flavor::MySql97 {
        client.run(
            "SET SESSION sql_generate_invisible_primary_key = ON; \
             CREATE TABLE hidden_key (a INT); INSERT INTO hidden_key VALUES (7), (7)",
        );
    }
}

/// What `SHOW CREATE TABLE` says of each table.
fn creates(server: &Server, schemas: &[&str]) -> Vec<String> {
    let mut client = server.client();
    let mut creates = Vec::new();
    for schema in schemas {
        let names = client.texts(&format!(
            "SELECT TABLE_NAME FROM information_schema.TABLES WHERE TABLE_SCHEMA = '{schema}' ORDER BY 1"
        ));
        for name in names.concat() {
            let name = name.replace('`', "``");
            let row = client.texts(&format!("SHOW CREATE TABLE `{schema}`.`{name}`"));
            creates.push(row[0][1].clone());
        }
    }
    creates
}

/// Compares documents digit by digit, and that exact numbers are exact yet.
fn compare_documents(source: &mut Client, target: &mut Client, to: Flavor) {
    let texts = "SELECT id, CAST(j AS CHAR) FROM t.documents ORDER BY id";
    let (here, there) = (source.texts(texts), target.texts(texts));
    let shown = |rows: &[Vec<String>]| -> Vec<String> {
        // MariaDB keeps the text with its own spaces.
        let text = |row: &Vec<String>| row[1].replace(' ', "");
        rows.iter().map(text).collect()
    };
    assert_eq!(shown(&here), shown(&there));
    if to == Flavor::MySql97 {
        let types = "SELECT id, JSON_TYPE(j->'$.long'), JSON_TYPE(j->'$.whole') FROM t.documents \
                     WHERE JSON_TYPE(j->'$.long') = 'DECIMAL' ORDER BY id";
        let found = source.texts(types);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0][1..], ["DECIMAL", "DECIMAL"]);
        assert_eq!(found, target.texts(types));
    }
}

/// Leaves only the codes that servers of both kinds take: the target says for itself, by tables of its
/// own, which these are. What it does not take stops a load by name: see `load_trouble`.
fn keep_common(source: &mut Client, target: &mut Client, names: &[String]) {
    for name in names {
        let sql = format!("SELECT id, HEX(v) FROM c.{name}");
        let there = format!("SHOW TABLES FROM c LIKE '{name}'");
        if target.texts(&there).is_empty() {
            source.run(&format!("DELETE FROM c.{name}"));
            continue;
        }
        let theirs: std::collections::HashSet<_> = target.texts(&sql).into_iter().collect();
        let odd: Vec<String> = source
            .texts(&sql)
            .into_iter()
            .filter(|row| !theirs.contains(row))
            .map(|row| row[0].clone())
            .collect();
        if !odd.is_empty() {
            source.run(&format!(
                "DELETE FROM c.{name} WHERE id IN ({})",
                odd.join(",")
            ));
        }
    }
    target.run("DROP DATABASE c");
}

/// All types with their edge values, all character sets, odd names and shapes.
fn every_value(from: Flavor, to: Flavor) {
    let [source, target] = Server::start_all([from, to]);
    let mut client = lenient(&source);
    client.run(
        "CREATE DATABASE c DEFAULT CHARACTER SET utf8mb4; CREATE DATABASE t DEFAULT CHARACTER SET utf8mb4; USE t",
    );
    let cases = cases(from, to);
    for case in &cases {
        write_case(&mut client, case);
    }
    let charsets = write_charsets(&mut client, to);
    if from.is_mariadb() != to.is_mariadb() {
        let mut other = lenient(&target);
        other.run("CREATE DATABASE c DEFAULT CHARACTER SET utf8mb4");
        write_charsets(&mut other, to);
        keep_common(&mut client, &mut other, &charsets);
    }
    write_odd(&mut client, from);
    let mut tideway = copy(&source, &target, &["t.*", "c.*", &format!("`{ODD}`.*")]);
    tideway.catch_up();
    assert_equal(&source, &target, &[("t", "t"), (ODD, ODD)]);
    if from == Flavor::MySql97 {
        compare_documents(&mut client, &mut target.client(), to);
    }
    let values = compare_charsets(&mut client, &mut target.client(), &charsets);
    assert!(
        charsets.len() >= 38 && values > 4000,
        "{values} values of {}",
        charsets.len()
    );
    if from == to {
        assert_eq!(creates(&source, &["t", ODD]), creates(&target, &["t", ODD]));
    }
    println!("{values} values in {} character sets", charsets.len());
}

#[test]
fn every_value_from_mariadb_10_11_to_itself() {
    every_value(Flavor::MariaDb1011, Flavor::MariaDb1011);
}

#[test]
fn every_value_from_mariadb_10_11_to_mysql() {
    every_value(Flavor::MariaDb1011, Flavor::MySql97);
}

#[test]
fn every_value_from_mariadb_11_8_to_mariadb_10_11() {
    every_value(Flavor::MariaDb118, Flavor::MariaDb1011);
}

#[test]
fn every_value_from_mariadb_11_8_to_itself() {
    every_value(Flavor::MariaDb118, Flavor::MariaDb118);
}

#[test]
fn every_value_from_mariadb_11_8_to_mysql() {
    every_value(Flavor::MariaDb118, Flavor::MySql97);
}

#[test]
fn every_value_from_mysql_to_mariadb_10_11() {
    every_value(Flavor::MySql97, Flavor::MariaDb1011);
}

#[test]
fn every_value_from_mysql_to_mariadb_11_8() {
    every_value(Flavor::MySql97, Flavor::MariaDb118);
}

#[test]
fn every_value_from_mysql_to_itself() {
    every_value(Flavor::MySql97, Flavor::MySql97);
}
