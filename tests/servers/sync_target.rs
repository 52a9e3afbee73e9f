//! Targets that are not what the source is: what is allowed, what stops the stream and how it shows,
//! and rows and transactions of a size that hurts.

use serde_json::Value;

use crate::support::tideway::streams;
use crate::support::{Client, Flavor, Server, ServerSpec, Task, Tideway, assert_equal};

/// A stream in sync whose tables the target has as the test made them.
struct Pair {
    source: Server,
    target: Server,
    tideway: Tideway,
}

impl Pair {
    fn start(
        source: impl Into<ServerSpec>,
        target: impl Into<ServerSpec>,
        tables: &str,
        lines: &str,
    ) -> Self {
        Self::start_with(source, target, tables, lines, "")
    }

    /// The same with more of the configuration behind it.
    fn start_with(
        source: impl Into<ServerSpec>,
        target: impl Into<ServerSpec>,
        tables: &str,
        lines: &str,
        more: &str,
    ) -> Self {
        let [source, target] = Server::start_all([source.into(), target.into()]);
        source.run(&format!("CREATE DATABASE d; USE d; {tables}"));
        source.source_account(&["d", "e"]);
        target.target_account(&["d"]);
        let tideway = Tideway::new()
            .with(lines)
            .source("a", &source)
            .target("copy", &target)
            .task(&Task::new("t", &["a"], "copy", &["d.*"]))
            .with(more);
        let mut pair = Self {
            source,
            target,
            tideway,
        };
        pair.tideway.start();
        pair.tideway.await_streams("sync", "running");
        pair
    }

    /// Changes the target's tables while the stream stands.
    fn change_target(&mut self, sql: &str) {
        assert!(
            self.tideway.terminate().success(),
            "{}",
            self.tideway.story()
        );
        self.target.run(&format!("USE d; {sql}"));
        self.tideway.start();
        self.tideway.await_streams("sync", "running");
    }

    fn settle(&mut self) {
        if self.tideway.is_running() {
            self.tideway.terminate();
        }
        self.tideway.catch_up();
    }

    /// The stop, which must name all of these.
    fn stop_with(&mut self, parts: &[&str]) -> Value {
        let stopped = self.tideway.await_stream("t", "a", "failed");
        let text = stopped["stop"].to_string();
        for part in parts {
            assert!(text.contains(part), "`{part}` is not told in {text}");
        }
        assert!(
            stopped["stop"]["event"]["columns"].is_array(),
            "the event is shown: {text}"
        );
        assert!(stopped["stop"]["error"]["fix"].is_string(), "{text}");
        stopped
    }

    fn resume(&mut self) {
        self.tideway
            .ctl(&["resume", "--task", "t", "--source", "a"]);
    }
}

/// More columns, in another order, of wider types, under other keys: all that the source has fits in.
#[test]
fn a_roomier_target_takes_everything() {
    for to in [Flavor::MariaDb1011, Flavor::MySql97] {
        let mut pair = Pair::start(
            Flavor::MariaDb1011,
            to,
            "CREATE TABLE t (id INT PRIMARY KEY, n SMALLINT, v VARCHAR(10), d DECIMAL(6,2), e ENUM('a','b'), f FLOAT, \
                s INT AS (n + 1) VIRTUAL, at TIMESTAMP NULL) DEFAULT CHARSET=utf8mb4; \
             CREATE TABLE heap (n SMALLINT, v VARCHAR(10), f FLOAT, e ENUM('a','b')) DEFAULT CHARSET=utf8mb4; \
             INSERT INTO t (id, n, v, d, e, f) VALUES (1, 1, 'one', 1.25, 'a', 0.1), (2, -1, NULL, NULL, NULL, NULL); \
             INSERT INTO heap VALUES (1, 'x', 0.1, 'b'), (1, 'x', 0.1, 'b'), (2, 'y ', NULL, NULL)",
            "",
        );
        pair.change_target(
            "DROP TABLE t; CREATE TABLE t (extra INT NOT NULL DEFAULT 7, f DOUBLE, e VARCHAR(40), d DECIMAL(20,6), v TEXT, n BIGINT, \
                id BIGINT NOT NULL, more TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP, at DATETIME(6) NULL, \
                UNIQUE KEY other (id), KEY (n)) DEFAULT CHARSET=utf8mb4; \
             INSERT INTO t (id, n, v, d, e, f) VALUES (1, 1, 'one', 1.25, 'a', CAST(0.1 AS FLOAT)), (2, -1, NULL, NULL, NULL, NULL); \
             UPDATE t SET f = 0.10000000149011612 WHERE id = 1; \
             ALTER TABLE heap ADD COLUMN own BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY FIRST, MODIFY e ENUM('z','b','a')",
        );
        let mut client = pair.source.client();
        client.run("USE d; SET SESSION sql_mode = ''; INSERT INTO t (id, n, v, d, e, f, at) VALUES (3, 3, 'three', 9999.99, 'b', 3.3, '2024-02-29 12:00:00'); \
            UPDATE t SET n = n * 2, e = 'b', f = f + 1 WHERE id = 1; UPDATE t SET id = 20 WHERE id = 2; DELETE FROM t WHERE id = 20; \
            UPDATE heap SET f = f + 1 LIMIT 1; UPDATE heap SET e = 'a' WHERE n = 1; DELETE FROM heap WHERE n = 2; \
            INSERT INTO heap VALUES (5, '', 5.5, ''), (5, '', 5.5, 'a'); UPDATE heap SET v = 'z' WHERE n = 5");
        pair.settle();
        let rows = "SELECT id, n, v, d + 0, e, ROUND(f, 4), DATE_FORMAT(at, '%Y-%m-%d %T') FROM d.t ORDER BY id";
        let (mut here, mut there) = (pair.source.client(), pair.target.client());
        let trimmed = |rows: Vec<Vec<String>>| -> Vec<Vec<String>> {
            rows.into_iter()
                .map(|row| {
                    row.into_iter()
                        .map(|cell| cell.trim_end_matches('0').trim_end_matches('.').to_owned())
                        .collect()
                })
                .collect()
        };
        assert_eq!(trimmed(here.texts(rows)), trimmed(there.texts(rows)));
        assert_eq!(there.value("SELECT MIN(extra) FROM d.t"), "7");
        let rows = "SELECT n, v, f + 0e0, e, e + 0 > 0, COUNT(*) FROM d.heap GROUP BY 1, 2, 3, 4, 5 ORDER BY 1, 2, 3, 4";
        assert_eq!(here.texts(rows), there.texts(rows));
    }
}

/// Each difference that loses something stops the stream at its event; mended, it goes on from there.
#[test]
fn what_does_not_fit_stops_and_goes_on_once_mended() {
    for to in [Flavor::MariaDb1011, Flavor::MySql97] {
        let elsewhere = Server::start(Flavor::MariaDb1011);
        elsewhere.target_account(&["e"]);
        let other = format!(
            "[[target]]\nname = \"elsewhere\"\nhost = \"127.0.0.1\"\nport = {}\nuser = \"tideway\"\npassword_file = \"password\"\n\
             [[task]]\nname = \"other\"\nsources = [\"a\"]\ntarget = \"elsewhere\"\ntables = [\"e.*\"]",
            elsewhere.port()
        );
        let mut pair = Pair::start_with(
            Flavor::MySql97,
            to,
            "CREATE DATABASE e; CREATE TABLE e.x (id INT PRIMARY KEY); \
             CREATE TABLE t (id INT PRIMARY KEY, n INT, v VARCHAR(50), d DECIMAL(10,3)) DEFAULT CHARSET=utf8mb4",
            "",
            &other,
        );
        let mut client = pair.source.client();
        client.run("USE d");
        let mut others = 0;
        // While the stream stands, the worker's other one has what came after.
        let mut others_go_on = |client: &mut Client| {
            others += 1;
            client.run(&format!("INSERT INTO e.x VALUES ({others})"));
            elsewhere.await_value("SELECT COUNT(*) FROM e.x", &others.to_string());
        };
        // (the target's fault, the change that meets it, what is told, the mending)
        let faults = [
            (
                "ALTER TABLE t DROP COLUMN v",
                "INSERT INTO t VALUES (1, 1, 'one', 1)",
                "has no column `v`",
                "ALTER TABLE t ADD COLUMN v VARCHAR(50) CHARACTER SET utf8mb4",
            ),
            (
                "ALTER TABLE t MODIFY n TINYINT",
                "INSERT INTO t VALUES (2, 1000, 'two', 2)",
                "1264",
                "ALTER TABLE t MODIFY n INT",
            ),
            (
                "ALTER TABLE t MODIFY v VARCHAR(4)",
                "UPDATE t SET v = 'too long' WHERE id = 2",
                "1406",
                "ALTER TABLE t MODIFY v VARCHAR(50)",
            ),
            // The server cuts trailing spaces off with no more than a note.
            (
                "ALTER TABLE t MODIFY v VARCHAR(9)",
                "UPDATE t SET v = 'ab                  ' WHERE id = 2",
                "another value than the source has",
                "ALTER TABLE t MODIFY v VARCHAR(50)",
            ),
            (
                "ALTER TABLE t MODIFY d DECIMAL(10,1)",
                "UPDATE t SET d = 2.125 WHERE id = 2",
                "numbers would be rounded",
                "ALTER TABLE t MODIFY d DECIMAL(10,3)",
            ),
            (
                "ALTER TABLE t MODIFY v VARCHAR(50) CHARACTER SET latin1",
                "UPDATE t SET v = '\u{4e2d}' WHERE id = 2",
                "1366",
                "ALTER TABLE t MODIFY v VARCHAR(50) CHARACTER SET utf8mb4",
            ),
            (
                "ALTER TABLE t ADD UNIQUE KEY mine (n)",
                "INSERT INTO t VALUES (3, 1000, 'three', 3)",
                "on the key mine",
                "ALTER TABLE t DROP KEY mine",
            ),
            (
                "ALTER TABLE t DROP COLUMN n, ADD COLUMN n INT AS (id) VIRTUAL",
                "INSERT INTO t VALUES (4, 4, 'four', 4)",
                "is generated on the target",
                "ALTER TABLE t DROP COLUMN n, ADD COLUMN n INT; UPDATE t SET n = IF(id = 1, 1, 1000)",
            ),
            (
                "CREATE TRIGGER no BEFORE INSERT ON t FOR EACH ROW SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'not with me'",
                "INSERT INTO t VALUES (5, 5, 'five', 5)",
                "not with me",
                "DROP TRIGGER no",
            ),
            (
                "ALTER TABLE t ENGINE=MyISAM",
                "INSERT INTO t VALUES (8, 8, 'eight', 8)",
                "cannot undo a transaction",
                "ALTER TABLE t ENGINE=InnoDB",
            ),
            (
                "RENAME TABLE t TO hidden",
                "INSERT INTO t VALUES (6, 6, 'six', 6)",
                "the target has no table d.t",
                "RENAME TABLE hidden TO t",
            ),
        ];
        for (fault, change, told, mending) in faults {
            pair.change_target(fault);
            client.run(change);
            let stopped = pair.stop_with(&[told]);
            others_go_on(&mut client);
            let table = &stopped["stop"]["table"];
            assert_eq!(
                (&table["schema"], &table["name"]),
                (&"d".into(), &"t".into())
            );
            pair.target.run(&format!("USE d; {mending}"));
            pair.resume();
            pair.tideway
                .await_status(change, |status| status["streams"][0]["idle"] == true);
        }
        // A server that refuses to write refuses the checkpoint too; that is told in the same way.
        pair.target.run("SET GLOBAL read_only = 1");
        client.run("INSERT INTO t VALUES (7, 7, 'seven', 7)");
        let stopped = pair.tideway.await_stream("t", "a", "failed");
        let text = stopped["stop"].to_string();
        assert!(text.contains("1290") || text.contains("1836"), "{text}");
        others_go_on(&mut client);
        pair.target.run("SET GLOBAL read_only = 0");
        pair.resume();
        pair.tideway.await_status("the rest is applied", |status| {
            status["streams"][0]["idle"] == true
        });
        // A statement that the target refuses.
        pair.target.run("CREATE VIEW d.taken AS SELECT 1 AS a");
        client.run("CREATE TABLE taken (a INT)");
        pair.tideway
            .await_status("the statement is refused", |status| {
                status["streams"][0]["stop"].to_string().contains("1050")
            });
        others_go_on(&mut client);
        pair.target.run("DROP VIEW d.taken");
        pair.resume();
        pair.tideway.await_status("the rest is applied", |status| {
            status["streams"][0]["idle"] == true
        });
        let rows = "SELECT id, n, v, d FROM d.t ORDER BY id";
        assert_eq!(
            pair.source.client().texts(rows),
            pair.target.client().texts(rows)
        );
        // Rows of a table of whose making the binlog has no word: nothing says what they are.
        client.run("SET sql_log_bin = 0; CREATE TABLE ghost (a INT); SET sql_log_bin = 1; INSERT INTO ghost VALUES (1)");
        let stopped = pair.tideway.await_stream("t", "a", "failed");
        let text = stopped["stop"].to_string();
        assert!(
            text.contains("the structure of d.ghost") && text.contains("is not known"),
            "{text}"
        );
        others_go_on(&mut client);
    }
}

/// A row that the target's `max_allowed_packet` is too small for is told before it is sent; one of many
/// megabytes goes through where there is room for it.
#[test]
fn rows_of_many_megabytes() {
    let mut pair = Pair::start(
        ServerSpec::new(Flavor::MariaDb1011).option("--max-allowed-packet=256M"),
        ServerSpec::new(Flavor::MariaDb1011).option("--max-allowed-packet=16M"),
        "CREATE TABLE t (id INT PRIMARY KEY, b LONGBLOB)",
        "",
    );
    let megabytes = std::env::var("TIDEWAY_ROW_MB")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(24);
    let mut client: Client = pair.source.client();
    client.run("INSERT INTO d.t VALUES (1, 'small')");
    client.run(&format!(
        "INSERT INTO d.t VALUES (2, REPEAT(x'00FF', {}))",
        megabytes * (1 << 19)
    ));
    client.run("INSERT INTO d.t VALUES (3, 'behind it')");
    pair.stop_with(&["max_allowed_packet", "SET GLOBAL max_allowed_packet"]);
    assert_eq!(pair.target.client().number("SELECT COUNT(*) FROM d.t"), 1);
    pair.target.run("SET GLOBAL max_allowed_packet = 536870912");
    pair.resume();
    pair.tideway.await_status("the row is applied", |status| {
        status["streams"][0]["idle"] == true
    });
    client.run("UPDATE d.t SET b = CONCAT(b, 'more') WHERE id = 2");
    pair.settle();
    let rows = "SELECT id, LENGTH(b), CRC32(b) FROM d.t ORDER BY id";
    assert_eq!(
        pair.source.client().texts(rows),
        pair.target.client().texts(rows)
    );
}

/// A transaction far larger than the memory allowed: it is applied as one, in bounded memory.
/// `TIDEWAY_TRANSACTION_MB` says how large.
#[test]
fn a_transaction_larger_than_memory() {
    let megabytes: u64 = std::env::var("TIDEWAY_TRANSACTION_MB")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(96);
    let mut pair = Pair::start(
        ServerSpec::new(Flavor::MariaDb1011).option("--max-binlog-size=64M"),
        Flavor::MariaDb1011,
        "CREATE TABLE t (id INT AUTO_INCREMENT PRIMARY KEY, b VARBINARY(4000)); CREATE TABLE small (a INT PRIMARY KEY)",
        "memory = \"32MiB\"",
    );
    let mut client = pair.source.client();
    client.run("INSERT INTO d.small VALUES (1)");
    // 250 rows of 4,000 bytes are a megabyte.
    client.run(&format!(
        "USE d; BEGIN; INSERT INTO d.small VALUES (2); INSERT INTO d.t (b) SELECT REPEAT(CHAR(seq % 256), 4000) FROM seq_1_to_{}; \
         UPDATE d.t SET b = CONCAT('y', SUBSTR(b, 2)) WHERE id % 50 = 0; COMMIT; INSERT INTO d.small VALUES (3)",
        megabytes * 250
    ));
    pair.tideway
        .await_status("the transaction is under way", |status| {
            status["streams"][0]["rows_applied"].as_u64() > Some(2)
        });
    let mut peak = 0;
    let end = std::time::Instant::now() + std::time::Duration::from_secs(120 + megabytes);
    while pair.target.client().number("SELECT COUNT(*) FROM d.small") < 3 {
        assert!(std::time::Instant::now() < end, "{}", pair.tideway.story());
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", pair.tideway.id())).unwrap();
        peak = status
            .lines()
            .find_map(|line| line.strip_prefix("VmHWM:"))
            .and_then(|value| value.trim().trim_end_matches(" kB").parse().ok())
            .unwrap_or(peak);
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    println!(
        "{megabytes} MB in one transaction; peak of resident memory {} MiB",
        peak / 1024
    );
    assert!(peak > 0 && peak < 128 * 1024, "{peak} KiB");
    pair.settle();
    if megabytes <= 256 {
        assert_equal(&pair.source, &pair.target, &[("d", "d")]);
    } else {
        let sum = "SELECT COUNT(*), BIT_XOR(CRC32(CONCAT(id, b))) FROM d.t";
        assert_eq!(
            pair.source.client().texts(sum),
            pair.target.client().texts(sum)
        );
    }
}

/// Two names for one server: merged into one table without a key, every row would be there twice.
#[test]
fn one_server_under_two_names_is_refused() {
    let [source, target] = Server::start_all([Flavor::MariaDb1011, Flavor::MariaDb1011]);
    source
        .run("CREATE DATABASE d; CREATE TABLE d.heap (n INT); INSERT INTO d.heap VALUES (1), (2)");
    source.source_account(&["d"]);
    target.target_account(&["d"]);
    let mut tideway = Tideway::new()
        .source("a", &source)
        .source("b", &source)
        .target("copy", &target)
        .task(&Task::new("t", &["a", "b"], "copy", &["d.*"]));
    tideway.start();
    let status = tideway.await_status("one of the two is refused", |status| {
        streams(status)
            .iter()
            .any(|stream| stream["stage"] == "failed")
            && streams(status)
                .iter()
                .any(|stream| stream["unit"] == "sync" && stream["stage"] == "running")
    });
    let text = status.to_string();
    assert!(text.contains("are the same server"), "{text}");
    source.run("INSERT INTO d.heap VALUES (3)");
    for _ in 0..100 {
        if target.client().number("SELECT COUNT(*) FROM d.heap") == 3 {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    assert_equal(&source, &target, &[("d", "d")]);
}

/// A running task's selection: what it takes less is asked about, what it takes more is refused.
#[test]
fn a_selection_is_narrowed_once_it_is_accepted() {
    let mut pair = Pair::start(
        Flavor::MariaDb1011,
        Flavor::MySql97,
        "CREATE TABLE kept (a INT PRIMARY KEY); CREATE TABLE dropped (a INT PRIMARY KEY); INSERT INTO dropped VALUES (1)",
        "",
    );
    assert!(pair.tideway.terminate().success());
    let again = |tables: &[&str], lines: &str| {
        Tideway::new()
            .data_in(&pair.tideway.data_folder())
            .source("a", &pair.source)
            .target("copy", &pair.target)
            .task(&Task::new("t", &["a"], "copy", tables).with(lines))
    };
    let narrowed = ["d.*", "!d.dropped"];
    let mut asked = again(&narrowed, "");
    asked.start();
    let stopped = asked.await_stream("t", "a", "failed")["stop"].to_string();
    assert!(
        stopped.contains("left out: d.dropped") && stopped.contains("task.accept"),
        "{stopped}"
    );
    asked.kill9();

    let accept = "[[task.accept]]\nname = \"selection\"\nreason = \"it moves by itself\"";
    let mut accepted = again(&narrowed, accept);
    accepted.start();
    accepted.await_streams("sync", "running");
    pair.source
        .run("INSERT INTO d.dropped VALUES (2); INSERT INTO d.kept VALUES (2)");
    accepted.await_status("the row that is still taken", |status| {
        status["streams"][0]["rows_applied"] == 1
    });
    assert!(accepted.terminate().success(), "{}", accepted.story());
    assert_eq!(
        pair.target
            .client()
            .number("SELECT COUNT(*) FROM d.dropped"),
        1
    );
    assert_eq!(
        pair.target
            .client()
            .value("SELECT GROUP_CONCAT(source_table) FROM tideway.owner"),
        "kept",
        "another task may take what was left out"
    );

    // Back again: between then and now rows were missed.
    let mut widened = again(&["d.*"], accept);
    widened.start();
    let stopped = widened.await_stream("t", "a", "failed")["stop"].to_string();
    assert!(stopped.contains("now also takes d.dropped"), "{stopped}");
}

/// What is left out is counted in the status and kept in the task's file, over restarts too.
#[test]
fn changes_left_out_are_in_the_tasks_file() {
    let [source, target] = Server::start_all([Flavor::MariaDb1011, Flavor::MariaDb1011]);
    source.run(
        "CREATE DATABASE d; CREATE TABLE d.t (a INT PRIMARY KEY, b VARCHAR(9)); \
         INSERT INTO d.t VALUES (1, 'one'), (2, 'two')",
    );
    source.source_account(&["d"]);
    target.target_account(&["d"]);
    let mut tideway = Tideway::new()
        .source("a", &source)
        .target("copy", &target)
        .task(&Task::new("t", &["a"], "copy", &["d.*"]).with("[task.sync]\non_drift = \"warn\""));
    tideway.start();
    tideway.await_streams("sync", "running");
    target.run("DELETE FROM d.t WHERE a = 2");
    source.run("UPDATE d.t SET b = 'zwei' WHERE a = 2; UPDATE d.t SET b = 'eins' WHERE a = 1");
    let status = tideway.await_status("one row is left out", |status| {
        status["streams"][0]["drift_skipped"] == 1 && status["streams"][0]["idle"] == true
    });
    assert_eq!(status["streams"][0]["stage"], "running");
    tideway.kill9();
    let path = tideway.data_folder().join("skipped/t.jsonl");
    let text = std::fs::read_to_string(&path).unwrap();
    let kept: Value = serde_json::from_str(text.trim_end()).expect("one line");
    assert_eq!(
        (&kept["version"], &kept["source"], &kept["met"]),
        (&1.into(), &"a".into(), &"missing".into()),
        "{text}"
    );
    assert!(
        kept["sql"]
            .as_str()
            .unwrap_or_default()
            .starts_with("UPDATE `d`.`t` SET `b` = 'zwei'"),
        "{text}"
    );
    tideway.start();
    source.run("UPDATE d.t SET b = 'deux' WHERE a = 2");
    tideway.await_status("another is left out", |status| {
        status["streams"][0]["drift_skipped"] == 1
    });
    assert!(tideway.terminate().success());
    let text = std::fs::read_to_string(&path).unwrap();
    assert_eq!(text.lines().count(), 2, "{text}");
    assert_eq!(
        target.client().value("SELECT GROUP_CONCAT(a, b) FROM d.t"),
        "1eins"
    );
}

/// What a trigger of the target does besides is nobody's change of the source: it is told.
#[test]
fn triggers_of_the_target_are_told() {
    let mut pair = Pair::start(
        Flavor::MariaDb1011,
        Flavor::MySql97,
        "CREATE TABLE t (a INT PRIMARY KEY); CREATE TABLE seen (a INT)",
        "",
    );
    pair.target.run(
        "GRANT TRIGGER ON d.* TO 'tideway'@'%'; \
         CREATE TRIGGER d.once_more AFTER INSERT ON d.t FOR EACH ROW INSERT INTO d.seen VALUES (NEW.a)",
    );
    pair.source.run("INSERT INTO d.t VALUES (1)");
    let status = pair.tideway.await_status("it is told", |status| {
        let notes = status["streams"][0]["notes"].to_string();
        notes.contains("`once_more`")
    });
    assert_eq!(status["streams"][0]["stage"], "running", "{status}");
    pair.target.await_value("SELECT COUNT(*) FROM d.seen", "1");
}

/// What the target's own settings would make of the values has no say: the session that applies sets its
/// own.
#[test]
fn the_session_that_applies_is_its_own() {
    for to in [Flavor::MariaDb1011, Flavor::MySql97] {
        let target = ServerSpec::new(to)
            .option("--sql-mode=")
            .option("--default-time-zone=-03:00")
            .option("--character-set-server=latin1")
            .option("--collation-server=latin1_bin")
            .option("--transaction-isolation=SERIALIZABLE");
        let mut pair = Pair::start(
            Flavor::MariaDb1011,
            target,
            "CREATE TABLE t (id INT AUTO_INCREMENT PRIMARY KEY, at TIMESTAMP NULL, on_day DATE, v VARCHAR(20), \
                touched TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP) DEFAULT CHARSET=utf8mb4",
            "",
        );
        pair.source.run(
            "SET NAMES utf8mb4; SET sql_mode = 'NO_AUTO_VALUE_ON_ZERO,ALLOW_INVALID_DATES'; SET time_zone = '+09:00'; USE d; \
             INSERT INTO t VALUES (0, '2024-06-01 12:00:00', '2024-02-31', 'é漢😀', '2001-01-01 00:00:00'), (1, NULL, '0000-00-00', '', '2001-01-01 00:00:00'); \
             UPDATE t SET v = 'changed', touched = touched WHERE id = 0; UPDATE t SET at = '2024-12-24 00:00:00', touched = touched",
        );
        pair.settle();
        assert_equal(&pair.source, &pair.target, &[("d", "d")]);
        let moments =
            "SELECT GROUP_CONCAT(UNIX_TIMESTAMP(at), ' ', UNIX_TIMESTAMP(touched)) FROM d.t";
        assert_eq!(
            pair.source.client().value(moments),
            pair.target.client().value(moments)
        );
    }
}

/// A change of structure that the binlog does not have: the rows behind it are those of a table that
/// nobody knows, and are not guessed at.
#[test]
fn a_structure_that_is_not_the_rows_own_pauses() {
    for (from, metadata, change, parts) in [
        (
            Flavor::MariaDb1011,
            "NO_LOG",
            "ADD COLUMN extra INT FIRST",
            [
                "the rows have 3 columns, the structure has 2",
                "and no names",
            ],
        ),
        (
            Flavor::MariaDb1011,
            "NO_LOG",
            "MODIFY v INT",
            ["column `v` is varchar(20)", "number and types"],
        ),
        (
            Flavor::MySql97,
            "FULL",
            "RENAME COLUMN v TO w",
            ["`w`", "number, types and names"],
        ),
        (
            Flavor::MySql97,
            "FULL",
            "MODIFY id INT UNSIGNED",
            ["column `id`", "number, types and names"],
        ),
    ] {
        let mut pair = Pair::start(
            ServerSpec::new(from).option(&format!("--binlog-row-metadata={metadata}")),
            Flavor::MariaDb1011,
            "CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(20)) DEFAULT CHARSET=utf8mb4",
            "",
        );
        pair.source.run(&format!(
            "INSERT INTO d.t (id) VALUES (1); SET sql_log_bin = 0; ALTER TABLE d.t {change}; SET sql_log_bin = 1; INSERT INTO d.t (id) VALUES (2)"
        ));
        let stopped = pair.tideway.await_stream("t", "a", "failed");
        let text = stopped["stop"].to_string();
        assert!(text.contains("does not fit the binlog"), "{text}");
        for part in parts {
            assert!(text.contains(part), "`{part}` is not told: {text}");
        }
        assert_eq!(pair.target.client().number("SELECT COUNT(*) FROM d.t"), 1);
    }
}
