//! DDL that cannot simply run again: merged tables, values that one server alone knows, sequences,
//! versioned tables, sessions unlike the target's, filters, names without case.

use serde_json::Value;

use crate::support::compare::{assert_merged, assert_tables_equal};
use crate::support::tideway::streams;
use crate::support::{Flavor, Server, ServerSpec, Task, Tideway, assert_equal};

/// Waits for a stop that names all of these; an earlier one may still stand.
fn await_stop(tideway: &mut Tideway, source: &str, parts: &[&str]) -> Value {
    tideway.await_status(&format!("a stop with {parts:?}"), |status| {
        streams(status).iter().any(|stream| {
            let text = stream["stop"].to_string();
            stream["source"] == source
                && stream["stop"]["error"]["fix"].is_string()
                && parts.iter().all(|part| text.contains(part))
        })
    })
}

fn resume(tideway: &Tideway, source: &str) {
    tideway.ctl(&["resume", "--task", "t", "--source", source]);
}

fn settle(mut tideway: Tideway) {
    if tideway.is_running() {
        tideway.terminate();
    }
    tideway.catch_up();
}

fn pair(
    from: impl Into<ServerSpec>,
    to: impl Into<ServerSpec>,
    tables: &str,
    task: &Task,
) -> (Server, Server, Tideway) {
    let [source, target] = Server::start_all([from.into(), to.into()]);
    source.run(&format!(
        "CREATE DATABASE d CHARACTER SET utf8mb4; USE d; {tables}"
    ));
    source.source_account(&["d", "n"]);
    target.target_account(&["d", "n", "r"]);
    let mut tideway = Tideway::new()
        .source("a", &source)
        .target("copy", &target)
        .task(task);
    tideway.start();
    tideway.await_streams("sync", "running");
    (source, target, tideway)
}

fn plain_task() -> Task {
    Task::new("t", &["a"], "copy", &["d.*"])
}

/// A MariaDB that goes down while it makes a partitioned table keeps partitions of a table that is not
/// there: the stop says how to be rid of them, and then the statement runs.
#[test]
fn a_partition_that_a_crash_left_is_named() {
    let (source, mut target, mut tideway) = pair(
        Flavor::MySql97,
        Flavor::MariaDb1011,
        "CREATE TABLE first (id INT PRIMARY KEY)",
        &plain_task(),
    );
    assert!(tideway.terminate().success());
    let create = "CREATE TABLE d.p (id INT NOT NULL PRIMARY KEY) PARTITION BY RANGE (id) (PARTITION p0 VALUES LESS THAN (10), PARTITION p1 VALUES LESS THAN (20))";
    target.run(create);
    target.stop();
    for file in ["p.frm", "p.par"] {
        std::fs::remove_file(target.data_folder().join("d").join(file)).unwrap();
    }
    target.restart();
    source.run(&format!("{create}; INSERT INTO d.p VALUES (1), (11)"));
    tideway.start();
    for partition in ["p0", "p1"] {
        let drop = format!("DROP TABLE `d`.`#mysql50#p#P#{partition}`");
        await_stop(&mut tideway, "a", &[&drop]);
        target.run(&drop);
        resume(&tideway, "a");
    }
    target.await_value("SELECT COUNT(*) FROM d.p", "2");
    settle(tideway);
    assert_equal(&source, &target, &[("d", "d")]);
}

/// Tables of two servers in one: what adds runs once, whoever comes first; what takes away stops, and
/// goes on when the target has it.
#[test]
fn merged_tables_change_together() {
    let [one, two, target] =
        Server::start_all([Flavor::MariaDb1011, Flavor::MySql97, Flavor::MySql97]);
    for (source, rows) in [(&one, "(1, 'a'), (2, 'b')"), (&two, "(11, 'x'), (12, 'y')")] {
        source.run(&format!(
            "CREATE DATABASE d CHARACTER SET utf8mb4; CREATE TABLE d.t (id INT PRIMARY KEY, v VARCHAR(20)); \
             INSERT INTO d.t VALUES {rows}"
        ));
        source.source_account(&["d"]);
    }
    target.target_account(&["d"]);
    let mut tideway = Tideway::new()
        .source("one", &one)
        .source("two", &two)
        .target("copy", &target)
        .task(&Task::new("t", &["one", "two"], "copy", &["d.*"]));
    tideway.start();
    tideway.await_streams("sync", "running");
    let adds = "USE d; ALTER TABLE t ADD COLUMN n INT DEFAULT 5; UPDATE t SET n = id; ALTER TABLE t ADD KEY by_n (n); \
                CREATE TABLE late (id INT PRIMARY KEY, w INT)";
    one.run(adds);
    one.run("INSERT INTO d.t VALUES (3, 'c', 3); INSERT INTO d.late VALUES (1, 1)");
    two.run("INSERT INTO d.t VALUES (13, 'z')");
    two.run(adds);
    two.run("INSERT INTO d.late VALUES (2, 2)");
    assert!(tideway.terminate().success());
    tideway.catch_up();
    for table in ["d.t", "d.late"] {
        assert_merged(&[&one, &two], &target, table, table);
    }
    tideway.start();
    tideway.await_streams("sync", "running");
    one.run("ALTER TABLE d.t DROP COLUMN n");
    await_stop(
        &mut tideway,
        "one",
        &["alter table", "rows of other tables", "d.t"],
    );
    two.run("INSERT INTO d.t VALUES (14, 'q', 14); ALTER TABLE d.t DROP COLUMN n");
    await_stop(&mut tideway, "two", &["rows of other tables"]);
    // Both are to lose it: the operator sees to it, and both statements count as run.
    target.run("ALTER TABLE d.t DROP COLUMN n");
    resume(&tideway, "one");
    resume(&tideway, "two");
    tideway.await_streams("sync", "running");
    one.run("INSERT INTO d.t VALUES (4, 'd')");
    settle(tideway);
    assert_merged(&[&one, &two], &target, "d.t", "d.t");
}

/// A TRUNCATE would take the other's rows away.
#[test]
fn a_merged_table_is_not_emptied() {
    let task = plain_task().route("d.a*", "d.all");
    for sql in [
        "TRUNCATE d.a1",
        "DROP TABLE d.a1",
        "RENAME TABLE d.a1 TO d.b",
    ] {
        let (source, target, mut tideway) = pair(
            Flavor::MariaDb1011,
            Flavor::MariaDb1011,
            "CREATE TABLE a1 (id INT PRIMARY KEY); CREATE TABLE a2 (id INT PRIMARY KEY); INSERT INTO a1 VALUES (1); INSERT INTO a2 VALUES (2)",
            &task,
        );
        source.run(sql);
        await_stop(&mut tideway, "a", &["d.all", "rows of other tables"]);
        assert_eq!(target.client().number("SELECT COUNT(*) FROM d.`all`"), 2);
    }
}

/// Values that only the source's server knows stop the stream; moments and empty tables do not.
#[test]
fn values_of_the_source_alone() {
    for (from, to) in [
        (Flavor::MariaDb118, Flavor::MariaDb1011),
        (Flavor::MariaDb1011, Flavor::MySql97),
    ] {
        let (source, target, mut tideway) = pair(
            from,
            to,
            "CREATE TABLE t (id INT PRIMARY KEY); INSERT INTO t VALUES (1), (2); CREATE TABLE none (id INT PRIMARY KEY); \
             CREATE TABLE h (v INT); INSERT INTO h VALUES (7), (8)",
            &plain_task(),
        );
        let mut client = source.client();
        client.run(
            "USE d; SET time_zone = '+05:30'; ALTER TABLE t ADD at DATETIME(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6), ADD ts TIMESTAMP NULL DEFAULT CURRENT_TIMESTAMP; \
             ALTER TABLE none ADD u CHAR(36) DEFAULT (UUID()); INSERT INTO none (id) VALUES (1), (2); \
             CREATE TABLE made SELECT id, RAND() AS r, UUID() AS u, NOW(6) AS n FROM t",
        );
        if to == Flavor::MySql97 {
            // MySQL takes this in no way at once; what is done by hand counts.
            await_stop(&mut tideway, "a", &["1674", "ALTER TABLE none"]);
            target.run("ALTER TABLE d.none ADD u CHAR(36)");
            resume(&tideway, "a");
            tideway.await_streams("sync", "running");
        }
        client.run("ALTER TABLE t ADD u CHAR(36) DEFAULT (UUID()); INSERT INTO t (id) VALUES (3)");
        await_stop(
            &mut tideway,
            "a",
            &["uuid", "not in the binlog", "ADD u CHAR(36)"],
        );
        target.run("USE d; ALTER TABLE t ADD u CHAR(36)");
        for row in source.client().texts("SELECT id, u FROM d.t WHERE id < 3") {
            target.run(&format!(
                "UPDATE d.t SET u = '{}' WHERE id = {}",
                row[1], row[0]
            ));
        }
        resume(&tideway, "a");
        tideway.await_streams("sync", "running");
        client.run("ALTER TABLE h ADD id INT NOT NULL AUTO_INCREMENT PRIMARY KEY");
        await_stop(&mut tideway, "a", &["numbers the rows", "ALTER TABLE h"]);
        target.run("USE d; ALTER TABLE h ADD id INT NOT NULL AUTO_INCREMENT PRIMARY KEY");
        resume(&tideway, "a");
        tideway.await_streams("sync", "running");
        client.run("UPDATE h SET v = v + 1");
        settle(tideway);
        assert_equal(&source, &target, &[("d", "d")]);
    }
}

/// Sequences are passed over by name; a table with a history stops the stream by name.
#[test]
fn sequences_and_histories() {
    for from in [Flavor::MariaDb1011, Flavor::MariaDb118] {
        let spec = ServerSpec::new(from).option(if from == Flavor::MariaDb118 {
            "--binlog-row-metadata=FULL"
        } else {
            "--binlog-row-metadata=NO_LOG"
        });
        let (source, target, mut tideway) = pair(
            spec,
            Flavor::MariaDb1011,
            "CREATE SEQUENCE early; CREATE TABLE t (id INT PRIMARY KEY); DO NEXTVAL(early)",
            &plain_task(),
        );
        source.run(
            "USE d; CREATE SEQUENCE s; INSERT INTO t VALUES (NEXTVAL(s)), (NEXTVAL(early)); SELECT SETVAL(s, 500); ALTER SEQUENCE s RESTART 7; \
             RENAME TABLE s TO s2; DO NEXTVAL(s2); CREATE VIEW v AS SELECT * FROM t; RENAME TABLE v TO v2; \
             DROP TABLE s2; DROP SEQUENCE early; INSERT INTO t VALUES (77)",
        );
        tideway.await_status("the rows are there", |_| {
            target.client().number("SELECT COUNT(*) FROM d.t") == 3
        });
        source.run(
            "USE d; CREATE TABLE e.h (a INT) WITH SYSTEM VERSIONING"
                .replace("e.h", "h")
                .as_str(),
        );
        await_stop(&mut tideway, "a", &["d.h is system-versioned", "!d.h"]);
    }
}

/// A session unlike the target's own means the same there.
#[test]
fn sessions_mean_the_same() {
    for (from, to) in [
        (Flavor::MySql97, Flavor::MySql97),
        (Flavor::MariaDb1011, Flavor::MariaDb118),
        (Flavor::MySql97, Flavor::MariaDb1011),
    ] {
        let target = ServerSpec::new(to)
            .option("--character-set-server=latin1")
            .option("--collation-server=latin1_bin")
            .option("--default-time-zone=-03:00");
        let task = Task::new("t", &["a"], "copy", &["d.*", "n.*"]).route("d.*", "r.*");
        let (source, target, mut tideway) = pair(
            from,
            target,
            "CREATE TABLE t (id INT PRIMARY KEY); INSERT INTO t VALUES (1)",
            &task,
        );
        let mut client = source.client();
        client.run("USE d; SET sql_mode = 'ANSI_QUOTES'; CREATE TABLE \"quoted\" (\"a b\" INT DEFAULT 3, c VARCHAR(9) DEFAULT 'x\\\\y')");
        client.run("SET sql_mode = 'NO_BACKSLASH_ESCAPES'; ALTER TABLE quoted ADD d VARCHAR(9) DEFAULT 'back\\'");
        client.run("SET sql_mode = 'REAL_AS_FLOAT'; CREATE TABLE reals (id INT PRIMARY KEY, r REAL); INSERT INTO reals VALUES (1, 0.1)");
        client.run("SET sql_mode = ''; SET explicit_defaults_for_timestamp = 0; CREATE TABLE stamps (id INT PRIMARY KEY, a TIMESTAMP, b TIMESTAMP, c TIMESTAMP NULL); INSERT INTO stamps (id) VALUES (1)");
        client.run("ALTER TABLE stamps ADD d TIMESTAMP; SET explicit_defaults_for_timestamp = 1; ALTER TABLE stamps ADD e TIMESTAMP; INSERT INTO stamps (id) VALUES (2)");
        client.run("SET time_zone = '+09:00'; ALTER TABLE t ADD at TIMESTAMP NOT NULL DEFAULT '2024-06-01 12:00:00', ADD dt DATETIME DEFAULT '2024-06-01 12:00:00'");
        client.run("SET time_zone = 'SYSTEM'; ALTER TABLE t ADD now1 DATETIME NOT NULL DEFAULT CURRENT_TIMESTAMP; SET time_zone = '+00:00'");
        client.run("CREATE TABLE texts (id INT PRIMARY KEY, a TEXT, b VARCHAR(9) CHARACTER SET utf8mb4) CHARSET utf8mb4; INSERT INTO texts VALUES (1, 'a', 'ß')");
        if from.is_mariadb() {
            client.run(
                "SET SESSION character_set_collations = 'utf8mb4=utf8mb4_unicode_ci'"
                    .replace("SET SESSION character_set_collations", "SET @x")
                    .as_str(),
            );
        } else {
            client.run("SET SESSION default_collation_for_utf8mb4 = utf8mb4_general_ci; CREATE TABLE general (id INT PRIMARY KEY, a VARCHAR(9) CHARACTER SET utf8mb4) CHARSET utf8mb4; SET SESSION default_collation_for_utf8mb4 = utf8mb4_0900_ai_ci");
        }
        client.run("SET collation_server = utf8mb4_bin; CREATE DATABASE n; SET collation_server = DEFAULT; USE n; CREATE TABLE byte (a CHAR(3) PRIMARY KEY); ALTER TABLE byte ADD b TEXT; INSERT INTO byte VALUES ('a', 'x'), ('A', 'y')");
        client.run("SET NAMES latin1");
        client.run("SET NAMES utf8mb4; USE d; SET foreign_key_checks = 0; CREATE TABLE child (id INT PRIMARY KEY, p INT, FOREIGN KEY (p) REFERENCES missing (id)); SET foreign_key_checks = 1; CREATE TABLE missing (id INT PRIMARY KEY)");
        assert!(tideway.terminate().success(), "{}", tideway.story());
        tideway.catch_up();
        let columns = |server: &Server, database: &str| {
            server.client().texts(&format!(
                "SELECT TABLE_NAME, COLUMN_NAME, DATA_TYPE, IS_NULLABLE, CHARACTER_SET_NAME, LOWER(EXTRA) LIKE '%on update%' \
                 FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = '{database}' ORDER BY TABLE_NAME, ORDINAL_POSITION"
            ))
        };
        for (here, there) in [("d", "r"), ("n", "n")] {
            assert_eq!(
                columns(&source, here),
                columns(&target, there),
                "{from:?} to {to:?}"
            );
            let tables = source.client().texts(&format!(
                "SELECT TABLE_NAME FROM information_schema.TABLES WHERE TABLE_SCHEMA = '{here}' AND TABLE_TYPE = 'BASE TABLE'"
            ));
            for table in tables {
                assert_tables_equal(
                    &source,
                    &target,
                    &format!("{here}.{}", table[0]),
                    &format!("{there}.{}", table[0]),
                );
            }
        }
        let collation = "SELECT COLLATION_NAME FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = 'n' AND COLUMN_NAME = 'a'";
        assert_eq!(target.client().value(collation), "utf8mb4_bin");
        if from == to {
            let of = |server: &Server, database: &str| {
                server.client().texts(&format!("SELECT TABLE_NAME, COLUMN_NAME, COLLATION_NAME, COLUMN_DEFAULT FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = '{database}' AND TABLE_NAME <> 't' ORDER BY 1, 2"))
            };
            assert_eq!(of(&source, "d"), of(&target, "r"));
        }
    }
}

/// A stream that stood while its tables were changed over and over; and DDL that a filter leaves out,
/// which changes the structure all the same.
#[test]
fn structures_are_followed_where_nobody_looks() {
    let task = plain_task().with(
        "[[task.filter]]\ntables = \"d.odd\"\nevents = [\"alter table\"]\naction = \"ignore\"",
    );
    let (source, target, mut tideway) = pair(
        Flavor::MariaDb1011,
        Flavor::MySql97,
        "CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(20)); CREATE TABLE odd (id INT PRIMARY KEY, v VARCHAR(20)); INSERT INTO t VALUES (0, 'zero')",
        &task,
    );
    tideway.ctl(&["pause", "--task", "t", "--source", "a"]);
    tideway.await_stream("t", "a", "paused");
    let mut client = source.client();
    client.run("USE d");
    for n in 1..=12 {
        client.run(&format!(
            "INSERT INTO t (id, v) VALUES ({n}, 'v{n}'); ALTER TABLE t ADD c{n} INT DEFAULT {n} FIRST; INSERT INTO t (id, c{n}) VALUES (100 + {n}, 1); \
             ALTER TABLE t CHANGE v v VARCHAR({}) CHARACTER SET {} ; UPDATE t SET v = 'ü{n}' WHERE id = {n}; ALTER TABLE t MODIFY c{n} BIGINT UNSIGNED AFTER id; UPDATE t SET c{n} = 18446744073709551615 WHERE id = {n}",
            20 + n,
            if n % 2 == 0 { "latin1" } else { "utf8mb4" }
        ));
    }
    client.run("ALTER TABLE t DROP c3, DROP c4; DELETE FROM t WHERE id = 5; RENAME TABLE t TO u; INSERT INTO u (id) VALUES (500)");
    resume(&tideway, "a");
    tideway.await_streams("sync", "running");
    assert!(tideway.terminate().success(), "{}", tideway.story());
    tideway.catch_up();
    assert_equal(&source, &target, &[("d", "d")]);
    tideway.start();
    tideway.await_streams("sync", "running");
    // Left out by the filter: the rows behind it have the column all the same.
    client.run("ALTER TABLE odd ADD n INT FIRST; INSERT INTO odd VALUES (5, 1, 'one')");
    await_stop(
        &mut tideway,
        "a",
        &["no column `n`", "source: n int", "target: id int"],
    );
    target.run("ALTER TABLE d.odd ADD n INT");
    resume(&tideway, "a");
    tideway.await_streams("sync", "running");
    client.run("ALTER TABLE odd DROP v; INSERT INTO odd VALUES (6, 2)");
    settle(tideway);
    assert_eq!(
        target
            .client()
            .texts("SELECT id, v, n FROM d.odd ORDER BY id"),
        [["1", "one", "5"], ["2", "NULL", "6"]]
    );
}

/// Types whose values the target would change without a word stop the stream, with both sides shown.
#[test]
fn a_target_that_would_round_is_told() {
    let (source, target, mut tideway) = pair(
        Flavor::MySql97,
        Flavor::MariaDb1011,
        "CREATE TABLE t (id INT PRIMARY KEY, at DATETIME(6), d DOUBLE); INSERT INTO t VALUES (1, '2024-01-01 00:00:00.123456', 1.5)",
        &plain_task(),
    );
    tideway.terminate();
    target.run("ALTER TABLE d.t MODIFY at DATETIME(3), MODIFY d FLOAT");
    tideway.start();
    tideway.await_streams("sync", "running");
    source.run("INSERT INTO d.t VALUES (2, '2024-01-01 00:00:00.654321', 0.1)");
    await_stop(
        &mut tideway,
        "a",
        &["rounded", "source: id int", "target: id int", "datetime(3)"],
    );
    target.run("ALTER TABLE d.t MODIFY at DATETIME(6)");
    resume(&tideway, "a");
    await_stop(&mut tideway, "a", &["column `d`", "float"]);
    target.run("ALTER TABLE d.t MODIFY d DOUBLE; UPDATE d.t SET at = '2024-01-01 00:00:00.123456'");
    resume(&tideway, "a");
    tideway.await_streams("sync", "running");
    settle(tideway);
    assert_equal(&source, &target, &[("d", "d")]);
}

/// Names with and without case on either side.
#[test]
fn names_with_and_without_case() {
    for (here, there) in [(1, 0), (0, 1)] {
        let from = ServerSpec::new(Flavor::MariaDb1011)
            .option(&format!("--lower-case-table-names={here}"));
        let to = ServerSpec::new(Flavor::MariaDb118)
            .option(&format!("--lower-case-table-names={there}"));
        let task = plain_task().route("d.orders", "r.sold");
        let (source, target, mut tideway) = pair(
            from,
            to,
            "CREATE TABLE orders (id INT PRIMARY KEY, v INT); CREATE TABLE Plain (id INT PRIMARY KEY)",
            &task,
        );
        let (orders, plain) = if here == 1 {
            ("ORDERS", "PLAIN")
        } else {
            ("orders", "Plain")
        };
        source.run(&format!(
            "USE d; INSERT INTO {orders} VALUES (1, 1); ALTER TABLE {orders} ADD w INT; INSERT INTO {plain} VALUES (1); \
             ALTER TABLE {plain} ADD x INT; INSERT INTO {plain} VALUES (2, 2); UPDATE {orders} SET w = 5; CREATE TABLE Fresh (id INT PRIMARY KEY); \
             INSERT INTO Fresh VALUES (9); DROP TABLE IF EXISTS Nothing; RENAME TABLE Fresh TO Newer; INSERT INTO Newer VALUES (10)"
        ));
        assert!(tideway.terminate().success(), "{}", tideway.story());
        tideway.catch_up();
        assert_tables_equal(&source, &target, "d.orders", "r.sold");
        let fold = |name: &str| {
            if here == 1 {
                name.to_lowercase()
            } else {
                name.to_owned()
            }
        };
        for table in ["Plain", "Newer"] {
            let (left, right) = (
                fold(table),
                if here == 1 || there == 1 {
                    table.to_lowercase()
                } else {
                    table.to_owned()
                },
            );
            assert_tables_equal(
                &source,
                &target,
                &format!("d.{left}"),
                &format!("d.{right}"),
            );
        }
    }
}
