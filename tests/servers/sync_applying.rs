//! Everything that a source logs as rows, through sync on every pair of servers: each column type with
//! its edge values inserted, updated and deleted, and the ways in which servers log changes.

use crate::column_types::{Case, numbers, own, shapes, texts, times};
use crate::support::compare::differences;
use crate::support::{Client, Flavor, Server, ServerSpec, Task, Tideway, assert_equal};

/// A source and a target in sync, the schema `t` selected.
struct Pair {
    source: Server,
    target: Server,
    tideway: Tideway,
}

impl Pair {
    fn start(source: impl Into<ServerSpec>, target: impl Into<ServerSpec>, sync: &str) -> Self {
        let [source, target] = Server::start_all([source.into(), target.into()]);
        source.run("CREATE DATABASE t; CREATE TABLE t.first (a INT PRIMARY KEY)");
        source.source_account(&["t"]);
        target.target_account(&["t"]);
        let tideway = Tideway::new()
            .source("a", &source)
            .target("copy", &target)
            .task(&Task::new("t", &["a"], "copy", &["t.*"]).with(&format!("[task.sync]\n{sync}")));
        let mut pair = Self {
            source,
            target,
            tideway,
        };
        pair.tideway.start();
        pair.tideway.await_streams("sync", "running");
        pair
    }

    /// Applies the rest, and compares every row.
    fn settle(&mut self) {
        assert!(
            self.tideway.terminate().success(),
            "{}",
            self.tideway.story()
        );
        self.tideway.catch_up();
        assert_equal(&self.source, &self.target, &[("t", "t")]);
    }
}

/// A session that takes every value that a server of this kind can hold.
fn lenient(server: &Server) -> Client {
    let mut client = server.client();
    client.run("SET SESSION sql_mode = 'ALLOW_INVALID_DATES,NO_ENGINE_SUBSTITUTION'; USE t");
    client
}

/// Every type of the source with its edge values, in tables with and without a key.
fn every_type(from: Flavor, to: Flavor) {
    let mut pair = Pair::start(from, to, "");
    let mut client = lenient(&pair.source);
    let mut there = pair.target.client();
    let failed = counter(&mut there, "Com_rollback");
    let lists = counter(&mut there, "Com_update_multi");
    let mut cases = vec![numbers(), times("times"), texts()];
    if from.is_mariadb() == to.is_mariadb() {
        cases.push(shapes());
        // What the older server lacks it cannot be given.
        if from == to || from == Flavor::MariaDb1011 {
            cases.extend(own(from));
        }
    }
    for case in &cases {
        write_case(&mut client, case);
    }
    for case in &cases {
        rotate_values(&mut client, case);
    }
    drop(client);
    pair.tideway
        .await_status("applied", |status| status["streams"][0]["idle"] == true);
    // What shares statements is right at once: nothing was undone and done again row by row.
    assert_eq!(counter(&mut there, "Com_rollback"), failed);
    assert!(
        counter(&mut there, "Com_update_multi") - lists > 20,
        "no list of values was applied"
    );
    drop(there);
    pair.settle();
    // Nothing was compared with nothing.
    let rows: i64 = cases
        .iter()
        .map(|case| {
            let sql = format!("SELECT COUNT(*) FROM t.{}", case.name);
            pair.target.client().number(&sql)
        })
        .sum();
    assert!(
        rows as usize >= cases.len() * 2,
        "{rows} rows of {} tables",
        cases.len()
    );
}

/// What the server has done so often.
fn counter(client: &mut Client, name: &str) -> i64 {
    let sql = format!("SHOW GLOBAL STATUS LIKE '{name}'");
    client.texts(&sql)[0][1].parse().unwrap()
}

/// Every row takes its neighbour's value, a column at a time: many values of a type in one list, with
/// NULL among them.
fn rotate_values(client: &mut Client, case: &Case) {
    let name = case.name;
    client.run(&format!(
        "CREATE TABLE many_{name} (id INT PRIMARY KEY{})",
        case.columns
    ));
    let count = case.rows.len();
    for (number, row) in case.rows.iter().cycle().take(count * 2).enumerate() {
        // Where a case has unique values, they are there once.
        let _ = client.try_run(&format!(
            "INSERT INTO many_{name} (id, {}) VALUES ({number}, {row})",
            case.inserted
        ));
    }
    for column in case.inserted.split(", ") {
        // A column that must be unique, or not NULL, refuses some.
        let _ = client.try_run(&format!(
            "UPDATE many_{name} a JOIN many_{name} b ON b.id = (a.id + 1) % {count} SET a.{column} = b.{column}"
        ));
    }
}

fn write_case(client: &mut Client, case: &Case) {
    let Case {
        name,
        columns,
        inserted,
        rows,
    } = case;
    let plain: String = columns.clone();
    client.run(&format!(
        "CREATE TABLE {name} (id INT PRIMARY KEY AUTO_INCREMENT{plain})"
    ));
    client.run(&format!("CREATE TABLE heap_{name} (id INT{plain})"));
    for table in [name.to_string(), format!("heap_{name}")] {
        // Unique values, where a case has some, are there once.
        for (number, row) in rows.iter().enumerate() {
            client.run(&format!(
                "INSERT INTO {table} (id, {inserted}) VALUES ({}, {row})",
                number + 1
            ));
        }
        // Each row takes the values of each other one, and goes: as a change of every column at once.
        for (number, row) in rows.iter().enumerate() {
            let id = 1000 + number;
            client.run(&format!(
                "BEGIN; DELETE FROM {table} WHERE id = {}; INSERT INTO {table} (id, {inserted}) VALUES ({id}, {row}); \
                 UPDATE {table} SET id = id + 1000 WHERE id = {id}; COMMIT",
                number + 1
            ));
        }
        client.run(&format!("DELETE FROM {table} WHERE id = 2000"));
    }
    let columns: Vec<&str> = inserted.split(", ").collect();
    for column in columns {
        // A column alone: the rest of the row is only looked for.
        let sql = format!("UPDATE heap_{name} SET {column} = NULL ORDER BY id LIMIT 1");
        if client.try_run(&sql).is_err() {
            client.run(&format!(
                "UPDATE heap_{name} SET id = id - 1 ORDER BY id LIMIT 1"
            ));
        }
    }
    client.run(&format!("DELETE FROM heap_{name} ORDER BY id DESC LIMIT 1"));
}

#[test]
fn every_type_from_mariadb_10_11_to_itself() {
    every_type(Flavor::MariaDb1011, Flavor::MariaDb1011);
}

#[test]
fn every_type_from_mariadb_10_11_to_mysql() {
    every_type(Flavor::MariaDb1011, Flavor::MySql97);
}

#[test]
fn every_type_from_mariadb_11_8_to_mariadb_10_11() {
    every_type(Flavor::MariaDb118, Flavor::MariaDb1011);
}

#[test]
fn every_type_from_mariadb_11_8_to_itself() {
    every_type(Flavor::MariaDb118, Flavor::MariaDb118);
}

#[test]
fn every_type_from_mariadb_11_8_to_mysql() {
    every_type(Flavor::MariaDb118, Flavor::MySql97);
}

#[test]
fn every_type_from_mysql_to_mariadb() {
    every_type(Flavor::MySql97, Flavor::MariaDb1011);
}

#[test]
fn every_type_from_mysql_to_itself() {
    every_type(Flavor::MySql97, Flavor::MySql97);
}

/// The ways in which changes are logged, besides plain statements.
#[test]
fn every_way_to_change_rows() {
    for (from, to) in [
        (Flavor::MariaDb1011, Flavor::MySql97),
        (Flavor::MySql97, Flavor::MariaDb1011),
    ] {
        let spec = ServerSpec::new(from);
        let spec = match from {
            // Compressed events, and rows with just what changed behind the row before.
            Flavor::MariaDb1011 | Flavor::MariaDb118 => spec
                .option("--log-bin-compress=ON")
                .option("--log-bin-compress-min-len=10"),
            Flavor::MySql97 => spec
                .option("--binlog-transaction-compression=ON")
                .option("--binlog-row-value-options=PARTIAL_JSON"),
        };
        let mut pair = Pair::start(spec, ServerSpec::new(to), "batch_rows = 7");
        let mut client = pair.source.client();
        client.run("USE t; CREATE TABLE a (id INT PRIMARY KEY, n INT, t TEXT, KEY (n)) DEFAULT CHARSET=utf8mb4; \
            CREATE TABLE b LIKE a; CREATE TABLE old (id INT PRIMARY KEY, n INT) ENGINE=MyISAM; \
            CREATE TABLE heap (n INT, t VARCHAR(100)) DEFAULT CHARSET=utf8mb4; \
            CREATE TABLE j (id INT PRIMARY KEY, d JSON) DEFAULT CHARSET=utf8mb4");
        client.run("INSERT INTO a VALUES (1, 1, REPEAT('long ', 300)), (2, 2, 'b'), (3, 3, NULL)");
        client.run("INSERT INTO b SELECT id + 10, n, t FROM a; INSERT INTO b SELECT id + 100, n + 1, t FROM b ON DUPLICATE KEY UPDATE n = 0");
        client.run("REPLACE INTO a VALUES (2, 22, 'replaced'), (4, 4, 'new'); INSERT IGNORE INTO a VALUES (1, 0, ''), (5, 5, 'five')");
        client.run("UPDATE a JOIN b ON b.id = a.id + 10 SET a.n = b.n + 100, b.t = 'joined'; DELETE a, b FROM a JOIN b ON b.id = a.id + 10 WHERE a.id = 3");
        // Tables that cannot roll back, alone and in one transaction with one that can.
        client.run("INSERT INTO old VALUES (1, 1), (2, 2); UPDATE old SET n = n + 1; DELETE FROM old WHERE id = 1");
        if from.is_mariadb() {
            // MySQL with GTIDs refuses it.
            client.run(
                "BEGIN; INSERT INTO a VALUES (6, 6, 'mixed'); INSERT INTO old VALUES (3, 3); \
                UPDATE a SET n = 66 WHERE id = 6; COMMIT",
            );
        }
        client.run("CREATE TEMPORARY TABLE passing (x INT); INSERT INTO passing VALUES (7), (7); \
            INSERT INTO heap SELECT x, 'from a temporary table' FROM passing; DROP TEMPORARY TABLE passing");
        client.run("BEGIN; INSERT INTO heap VALUES (1, 'kept'); SAVEPOINT s; INSERT INTO heap VALUES (2, 'undone'); ROLLBACK TO s; COMMIT");
        client.run("CREATE PROCEDURE fill() BEGIN DECLARE i INT DEFAULT 0; WHILE i < 20 DO INSERT INTO heap VALUES (i, UUID()); SET i = i + 1; END WHILE; END; \
            CALL fill(); CREATE TRIGGER after_a AFTER UPDATE ON a FOR EACH ROW INSERT INTO heap VALUES (NEW.id, 'by a trigger'); UPDATE a SET n = n + 1");
        client.run("INSERT INTO j VALUES (1, '{\"a\": [1, 2, 3], \"b\": \"text\", \"long\": \"0123456789012345678901234567890123456789\"}'), (2, NULL); \
            UPDATE j SET d = JSON_SET(d, '$.a[1]', 'new', '$.b', 5) WHERE id = 1; UPDATE j SET d = JSON_REMOVE(d, '$.a[0]') WHERE id = 1; \
            UPDATE j SET d = JSON_REPLACE(d, '$.b', JSON_OBJECT('x', 1.50)) WHERE id = 1");
        let file = pair.source.data_folder().join("rows.txt");
        std::fs::write(&file, "7\tseven\n8\tit's \\N eight\n8\t\\N\n").unwrap();
        let load = format!("LOAD DATA INFILE '{}' INTO TABLE heap", file.display());
        if let Err(error) = client.try_run(&load) {
            // MySQL's private servers take no file at all; the rows come as they would have.
            assert_eq!(from, Flavor::MySql97, "{error}");
            client.run("INSERT INTO heap VALUES (7, 'seven'), (8, NULL), (8, NULL)");
        }
        client.run("TRUNCATE TABLE b; INSERT INTO b VALUES (1, 1, 'after the truncation')");
        pair.settle();
        assert!(
            pair.target.client().number("SELECT COUNT(*) FROM t.heap") > 25
                && pair.target.client().number("SELECT COUNT(*) FROM t.b") == 1
        );
        let engine = pair.target.client().value(
            "SELECT ENGINE FROM information_schema.TABLES WHERE TABLE_SCHEMA = 't' AND TABLE_NAME = 'old'",
        );
        assert_eq!(
            engine, "InnoDB",
            "what cannot roll back is not made on a target"
        );
    }
}

/// A session that logs statements, on a source that logs rows: the stop names the likely cause.
#[test]
fn changes_logged_as_statements_stop_the_stream() {
    for flavor in [Flavor::MariaDb1011, Flavor::MySql97] {
        let mut pair = Pair::start(flavor, Flavor::MariaDb1011, "");
        let mut client = pair.source.client();
        client.run("SET SESSION binlog_format = STATEMENT; SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ; \
            INSERT INTO t.first VALUES (7)");
        let stopped = pair.tideway.await_stream("t", "a", "failed");
        let error = &stopped["stop"]["error"];
        assert!(
            error["message"]
                .as_str()
                .unwrap_or_default()
                .contains("as a statement, not as rows"),
            "{stopped}"
        );
        assert!(
            error["fix"]
                .as_str()
                .unwrap_or_default()
                .contains("binlog_format = ROW"),
            "{stopped}"
        );
        assert!(
            stopped["stop"]["statement"]
                .as_str()
                .unwrap_or_default()
                .contains("VALUES (7)"),
            "{stopped}"
        );
        assert!(!differences(&pair.source, &pair.target, &[("t", "t")]).is_empty());
    }
}

/// A function that writes, logged by its call alone: nothing tells which tables it wrote.
#[test]
fn a_function_logged_by_its_call_stops_the_stream() {
    for flavor in [Flavor::MariaDb1011, Flavor::MySql97] {
        let spec = ServerSpec::new(flavor).option("--log-bin-trust-function-creators=1");
        let mut pair = Pair::start(spec, Flavor::MariaDb1011, "");
        let mut client = pair.source.client();
        client.run(
            "CREATE DATABASE other; CREATE FUNCTION other.f (n INT) RETURNS INT MODIFIES SQL DATA DETERMINISTIC \
             BEGIN INSERT INTO t.first VALUES (n); RETURN n; END; \
             USE other; SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ; SET SESSION binlog_format = STATEMENT; \
             SELECT f(5)",
        );
        assert_eq!(client.number("SELECT COUNT(*) FROM t.first"), 1);
        let stopped = pair.tideway.await_stream("t", "a", "failed");
        let error = stopped["stop"]["error"]["message"].to_string();
        assert!(error.contains("a function that wrote rows"), "{stopped}");
        assert!(
            stopped["stop"]["statement"].to_string().contains("`f`(5)"),
            "{stopped}"
        );
    }
}
