//! How rows get into the target: by LOAD DATA where that is exact, else by INSERT; and the keys of big
//! tables behind the rows.

use std::time::{Duration, Instant};

use crate::support::compare::{assert_equal, assert_tables_equal};
use crate::support::proxy::Proxy;
use crate::support::{Flavor, Server, ServerSpec, Task, Tideway};

fn copy(source: &Server, target: &Server, port: u16) -> Tideway {
    Tideway::new()
        .source("s", source)
        .target_with("t", target, &format!("port = {port}"))
        .task(&Task::new("copy", &["s"], "t", &["d.*"]).with("mode = \"full\""))
}

/// Bytes that mean something to one of the two ways, and values at the ends of their types.
const VALUES: &str = "\
    USE d; CREATE TABLE d.texts (id INT NOT NULL AUTO_INCREMENT PRIMARY KEY, \
      u VARCHAR(200) CHARACTER SET utf8mb4, l TEXT CHARACTER SET latin1, w VARCHAR(50) CHARACTER SET utf16, \
      g VARCHAR(50) CHARACTER SET gbk, b VARBINARY(300), f BINARY(6), e ENUM('a', 'it''s', 'é'), \
      s SET('x', 'y z', 'ü')); \
    INSERT INTO d.texts (u, l, w, g, b, f, e, s) VALUES \
      ('tab\\tnew\\nline\\\\back\\0nul''quote\"', 'é\\\\\\t', 'é\\n', '縗\\\\', UNHEX('00090A0D1A275C5C4E'), \
       UNHEX('095C0A'), 'it''s', 'x,y z'), \
      ('\\\\N', 'NULL', 'NULL', '誠', UNHEX('5C4E'), UNHEX('5C4E'), 'é', 'ü'), \
      (NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL), ('', '', '', '', '', '', 'a', ''); \
    INSERT INTO d.texts (id, b) SELECT 1000 + seq, UNHEX(HEX(CHAR(seq))) FROM seq_0_to_255; \
    INSERT INTO d.texts (id, u) VALUES (-5, 'below'); \
    CREATE TABLE d.numbers (i BIGINT UNSIGNED, n DECIMAL(65,30), f FLOAT, x DOUBLE, b BIT(1), c BIT(17), \
      q BIT(64), y YEAR, d DATE, t TIME(6), m DATETIME(6), z TIMESTAMP(3) NULL, \
      g INT GENERATED ALWAYS AS (i % 7) STORED); \
    INSERT INTO d.numbers (i, n, f, x, b, c, q, y, d, t, m, z) VALUES \
      (18446744073709551615, -99999999999999999999999999999999999.999999999999999999999999999999, \
       3.402823466e38, 1.7976931348623157e308, b'1', 131071, ~0, 2155, '9999-12-31', '-838:59:59', \
       '9999-12-31 23:59:59.999999', '2038-01-19 03:14:07.999'), \
      (0, 0.000000000000000000000000000001, -1.17549435e-38, -2.2250738585072014e-308, b'0', 9, 0x0A095C, \
       0, '1000-01-01', '00:00:00.000001', '1000-01-01', '1970-01-01 00:00:01'), \
      (7, 0.1, 0.1, 0.1, NULL, 10, 92, 1901, NULL, NULL, NULL, NULL); \
    CREATE TABLE d.single (v VARCHAR(10)); INSERT INTO d.single VALUES (''), (NULL), ('a'), (''); \
    CREATE TABLE d.counter (id INT NOT NULL AUTO_INCREMENT PRIMARY KEY, v INT); \
    SET sql_mode = 'NO_AUTO_VALUE_ON_ZERO'; INSERT INTO d.counter VALUES (0, 1), (5, 2);";

#[test]
fn both_ways_bring_every_byte() {
    for (flavor, setting, told) in [
        (Flavor::MariaDb1011, "ON", "by LOAD DATA LOCAL"),
        (Flavor::MySql97, "ON", "by LOAD DATA LOCAL"),
        (Flavor::MariaDb1011, "OFF", "`local_infile` is off"),
    ] {
        let [source, target] = Server::start_all([
            ServerSpec::new(Flavor::MariaDb1011),
            ServerSpec::new(flavor).option(&format!("--local-infile={setting}")),
        ]);
        source.run("CREATE DATABASE d CHARACTER SET utf8mb4");
        source.run(VALUES);
        source.source_account(&["d"]);
        target.target_account(&["d"]);
        let mut tideway = copy(&source, &target, target.port());
        tideway.catch_up();
        assert_equal(&source, &target, &[("d", "d")]);
        let log = tideway.log();
        assert!(log.contains(told), "{told}: {}", tideway.story());
        assert!(!log.contains("does not take them"), "{}", tideway.story());
    }
}

/// LOAD DATA LOCAL makes warnings of errors, and goes on.
#[test]
fn a_row_that_is_not_taken_as_it_is_stops_the_load_all_the_same() {
    let [source, target] = Server::start_all([Flavor::MariaDb1011, Flavor::MariaDb1011]);
    source.run(
        "CREATE DATABASE d; USE d; CREATE TABLE d.t (id INT PRIMARY KEY, v VARCHAR(20), n INT); \
         INSERT INTO d.t SELECT seq, CONCAT('value ', seq), seq FROM seq_1_to_2000",
    );
    source.source_account(&["d"]);
    target.target_account(&["d"]);
    for (create, what) in [
        ("id INT PRIMARY KEY, v VARCHAR(8), n INT", "v"),
        (
            "id INT PRIMARY KEY, v VARCHAR(20), n INT, UNIQUE (n), CHECK (n <> 1999)",
            "1999",
        ),
    ] {
        target.run(&format!(
            "DROP DATABASE IF EXISTS tideway; CREATE OR REPLACE DATABASE d; CREATE TABLE d.t ({create})"
        ));
        let mut tideway = copy(&source, &target, target.port());
        tideway.start();
        let stream = tideway.await_stream("copy", "s", "failed");
        assert_eq!(stream["stop"]["table"]["name"], "t", "{what}: {stream}");
        assert!(
            tideway.log().contains("does not take them"),
            "{}",
            tideway.story()
        );
        assert_eq!(
            target.client().number("SELECT COUNT(*) FROM d.t"),
            0,
            "{what}"
        );
        tideway.terminate();
    }
}

/// The keys of a table of the target.
fn keys(server: &Server, table: &str) -> Vec<String> {
    let rows = server
        .client()
        .texts(&format!("SHOW CREATE TABLE d.{table}"));
    let text = rows.into_iter().flatten().nth(1).unwrap_or_default();
    let lines = text.lines().map(|line| line.trim().trim_end_matches(','));
    lines
        .filter(|line| line.contains("KEY "))
        .map(str::to_owned)
        .collect()
}

#[test]
fn keys_of_a_big_table_are_there_in_the_end_however_often_it_was_killed() {
    let [source, target] = Server::start_all([Flavor::MariaDb1011, Flavor::MariaDb1011]);
    source.run(
        "CREATE DATABASE d; USE d; CREATE TABLE d.big (id INT NOT NULL PRIMARY KEY, a INT, \
         `o``d, (d` VARCHAR(40), body LONGTEXT, UNIQUE KEY u (a), KEY k (a, id), \
         KEY `k``2, (` (`o``d, (d`(10), a) COMMENT 'one, ''two'' (', FULLTEXT KEY f (`o``d, (d`)); \
         INSERT INTO d.big SELECT seq, seq * 3, CONCAT('v', seq), REPEAT(MD5(seq), 8000) FROM seq_1_to_100; \
         CREATE TABLE d.small (id INT PRIMARY KEY, a INT, KEY k (a)); \
         INSERT INTO d.small SELECT seq, seq FROM seq_1_to_100; ANALYZE TABLE d.big, d.small",
    );
    source.source_account(&["d"]);
    target.target_account(&["d"]);
    let line = Proxy::to(target.port());
    line.throttle(Some(4 << 20));
    let mut tideway = copy(&source, &target, line.port());
    for _ in 0..2 {
        tideway.start_with(&["run", "--until", "caught-up"]);
        // Some rows are in, and the keys are not.
        let end = Instant::now() + Duration::from_mins(1);
        let mut client = target.client();
        loop {
            let there = client.number(
                "SELECT COUNT(*) FROM information_schema.TABLES WHERE TABLE_SCHEMA = 'd' \
                 AND TABLE_NAME = 'big'",
            );
            if there == 1 && client.number("SELECT COUNT(*) FROM d.big") > 10 {
                break;
            }
            assert!(
                tideway.is_running() && Instant::now() < end,
                "{}",
                tideway.story()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
        assert_eq!(keys(&target, "big").len(), 3, "{:?}", keys(&target, "big"));
        assert_eq!(keys(&target, "small"), keys(&source, "small"));
        tideway.kill9();
    }
    line.throttle(None);
    tideway.catch_up();
    assert_tables_equal(&source, &target, "d.big", "d.big");
    assert_eq!(keys(&target, "big"), keys(&source, "big"));
    assert!(
        tideway.log().contains("are built behind their rows"),
        "{}",
        tideway.story()
    );
}
