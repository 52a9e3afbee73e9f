//! What the checkpoint keeps beside the rows, what is told of what is left out, and what is done where
//! filters make the target's rows others than the source's.

use serde_json::Value;

use crate::support::{Flavor, Server, Task, Tideway, assert_equal};

fn pair(from: Flavor, to: Flavor, tables: &str, task: &Task) -> (Server, Server, Tideway) {
    let [source, target] = Server::start_all([from, to]);
    source.run(tables);
    source.source_account(&["d"]);
    target.target_account(&["d", "r"]);
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

fn stop_of(tideway: &mut Tideway, parts: &[&str]) -> Value {
    let status = tideway.await_status(&format!("a stop with {parts:?}"), |status| {
        let text = status["streams"][0]["stop"].to_string();
        status["streams"][0]["stage"] == "failed" && parts.iter().all(|part| text.contains(part))
    });
    status["streams"][0]["stop"].clone()
}

fn await_idle(tideway: &mut Tideway) -> Value {
    tideway.await_status("everything is applied", |status| {
        status["streams"][0]["idle"] == true
    })
}

/// A table whose statement names no character set has the one that its database had then, also if the
/// statement is read long after; and a checkpoint that an older version made is taken up.
#[test]
fn defaults_of_databases_are_those_at_the_mark() {
    let (source, target, mut tideway) = pair(
        Flavor::MariaDb1011,
        Flavor::MariaDb1011,
        "CREATE DATABASE d CHARACTER SET latin1; CREATE TABLE d.first (id INT PRIMARY KEY, v VARCHAR(20))",
        &plain_task(),
    );
    assert!(tideway.terminate().success(), "{}", tideway.story());
    source.run(
        "SET NAMES utf8mb4; CREATE TABLE d.old (id INT PRIMARY KEY, v VARCHAR(20)); INSERT INTO d.old VALUES (1, 'é'); \
         CREATE DATABASE made CHARACTER SET latin2; ALTER DATABASE d CHARACTER SET utf8mb4; \
         CREATE TABLE d.new (id INT PRIMARY KEY, v VARCHAR(20)); INSERT INTO d.new VALUES (1, 'é漢')",
    );
    tideway.catch_up();
    assert_equal(&source, &target, &[("d", "d")]);
    let mut there = target.client();
    let kept = |name: &str| {
        format!(
            "SELECT JSON_UNQUOTE(JSON_EXTRACT(definition, '$.charset')) FROM tideway.structure WHERE table_name = '{name}'"
        )
    };
    assert_eq!(there.value(&kept("old")), "latin1");
    assert_eq!(there.value(&kept("new")), "utf8mb4");
    assert_eq!(
        there.value(
            "SELECT GROUP_CONCAT(schema_name, JSON_EXTRACT(definition, '$[0]') ORDER BY 1) FROM tideway.structure \
             WHERE table_name = '' AND schema_name IN ('d', 'made')"
        ),
        "d\"utf8mb4\",made\"latin2\"",
        "databases outside the task are followed too"
    );

    // As an older version left it: without some columns and tables, in the first form.
    there.run(
        "USE tideway; ALTER TABLE checkpoint DROP COLUMN part, DROP COLUMN spans, DROP COLUMN prepared; \
         DROP TABLE skipped; DELETE FROM structure WHERE table_name = ''; \
         UPDATE checkpoint SET version = 1; UPDATE structure SET version = 1; UPDATE owner SET version = 1",
    );
    source.run("INSERT INTO d.old VALUES (2, 'ü'); CREATE TABLE d.third (v TEXT); INSERT INTO d.third VALUES ('ß')");
    tideway.catch_up();
    assert_equal(&source, &target, &[("d", "d")]);
    assert_eq!(
        there.value("SELECT version FROM tideway.checkpoint WHERE slot = 0"),
        "2"
    );
    assert_eq!(
        there.number(
            "SELECT COUNT(*) FROM tideway.structure WHERE table_name = '' AND schema_name = 'd'"
        ),
        1
    );
    there.run("UPDATE tideway.structure SET version = 3 WHERE table_name = 'third'");
    tideway.start();
    stop_of(&mut tideway, &["written by a newer Tideway"]);
}

/// Views, triggers, routines and events have the source's names in their bodies: none of them is carried
/// on, in whole or in part, and each is told. A stop at a statement shows the session that it ran in.
#[test]
fn what_is_no_table_is_left_out_by_name() {
    for (from, to) in [
        (Flavor::MariaDb1011, Flavor::MySql97),
        (Flavor::MySql97, Flavor::MariaDb1011),
    ] {
        let (source, target, mut tideway) = pair(
            from,
            to,
            "CREATE DATABASE d CHARACTER SET utf8mb4; CREATE DATABASE other; CREATE TABLE other.t (id INT); \
             CREATE TABLE d.t (id INT PRIMARY KEY, v VARCHAR(20)); INSERT INTO d.t VALUES (1, 'one')",
            &plain_task().route("d.t", "r.renamed"),
        );
        let mut client = source.client();
        client.run(
            "USE d; CREATE TRIGGER louder BEFORE INSERT ON t FOR EACH ROW SET NEW.v = CONCAT(NEW.v, '!'); \
             CREATE VIEW seen AS SELECT * FROM t; CREATE EVENT nightly ON SCHEDULE EVERY 1 DAY DISABLE DO DELETE FROM t; \
             CREATE PROCEDURE emptied() DELETE FROM t; CREATE TRIGGER other.theirs BEFORE INSERT ON other.t FOR EACH ROW SET @a = 1; \
             INSERT INTO t VALUES (2, 'two'); DROP TRIGGER louder; DROP VIEW seen; INSERT INTO t VALUES (3, 'three')",
        );
        target.await_value("SELECT COUNT(*) FROM r.renamed", "3");
        let parts = [
            "TRIGGER `?louder`? BEFORE INSERT",
            "VIEW `?(d`.`)?seen",
            "EVENT `?nightly",
            "PROCEDURE `?emptied",
            "DROP TRIGGER",
        ]
        .map(|part| regex::Regex::new(part).expect("a pattern"));
        let notes_of = |status: &Value| status["streams"][0]["notes"].to_string();
        let status = tideway.await_status("all that is left out is told", |status| {
            let notes = notes_of(status);
            parts.iter().all(|part| part.is_match(&notes))
        });
        let notes = notes_of(&status);
        assert!(!notes.contains("theirs"), "no table of the task: {notes}");
        let mut there = target.client();
        assert_eq!(there.value("SELECT v FROM r.renamed WHERE id = 2"), "two!");
        for list in ["TRIGGERS", "VIEWS", "EVENTS", "ROUTINES"] {
            let column = match list {
                "TRIGGERS" => "TRIGGER_SCHEMA",
                "VIEWS" => "TABLE_SCHEMA",
                "EVENTS" => "EVENT_SCHEMA",
                _ => "ROUTINE_SCHEMA",
            };
            let sql = format!(
                "SELECT COUNT(*) FROM information_schema.{list} WHERE {column} IN ('d', 'r')"
            );
            assert_eq!(there.number(&sql), 0, "{list}");
        }

        client.run(
            "SET time_zone = '+05:30', sql_mode = 'ANSI_QUOTES,NO_BACKSLASH_ESCAPES', foreign_key_checks = 0; \
             SET NAMES latin1; ALTER TABLE \"t\" ADD at TIMESTAMP NULL DEFAULT '2024-01-01 12:00:00', ADD id2 INT NOT NULL AUTO_INCREMENT UNIQUE",
        );
        let stop = stop_of(&mut tideway, &["numbers the rows"]);
        let session = stop["event"]["session"].to_string();
        for part in [
            "[\"time_zone\",\"+05:30\"]",
            "ANSI_QUOTES,NO_BACKSLASH_ESCAPES",
            "latin1_swedish_ci",
            "[\"foreign_key_checks\",\"0\"]",
            "[\"timestamp\",\"20",
        ] {
            assert!(session.contains(part), "`{part}` is not in {stop}");
        }
    }
}

/// Where a filter leaves out some kinds of a table's changes, the others find rows that are not there, or
/// are still there: with a key each of them makes the row what the source says, and nothing but that row;
/// columns that the target alone has keep their values.
#[test]
fn filtered_kinds_of_changes_make_the_others_upserts() {
    let filter = |tables: &str, kinds: &str| {
        format!("[[task.filter]]\ntables = \"{tables}\"\nevents = [{kinds}]\naction = \"ignore\"")
    };
    let task = plain_task()
        .with(&filter("d.kept", "\"delete\""))
        .with(&filter("d.late", "\"insert\""))
        .with(&filter("d.heap", "\"delete\""));
    let (source, target, mut tideway) = pair(
        Flavor::MariaDb1011,
        Flavor::MySql97,
        "CREATE DATABASE d CHARACTER SET utf8mb4; CREATE TABLE d.kept (id INT PRIMARY KEY, u INT UNIQUE, v VARCHAR(20)); \
         CREATE TABLE d.late (id INT PRIMARY KEY, v VARCHAR(20)); CREATE TABLE d.heap (n INT); \
         INSERT INTO d.kept VALUES (1, 1, 'one'), (2, 2, 'two')",
        &task,
    );
    source.run(
        "USE d; DELETE FROM kept WHERE id = 1; INSERT INTO kept VALUES (1, 10, 'again'), (3, 3, 'three'); UPDATE kept SET v = 'changed' WHERE id = 3; \
         INSERT INTO late VALUES (1, 'x'), (2, 'y'); UPDATE late SET v = 'seen' WHERE id = 2; DELETE FROM late WHERE id = 1; \
         INSERT INTO heap VALUES (1), (1); DELETE FROM heap; INSERT INTO heap VALUES (2); DELETE FROM kept WHERE id = 2",
    );
    target.await_value("SELECT COUNT(*) FROM d.heap", "3");
    await_idle(&mut tideway);
    let mut there = target.client();
    let kept = "SELECT GROUP_CONCAT(id, ':', u, v ORDER BY id) FROM d.kept";
    assert_eq!(there.value(kept), "1:10again,2:2two,3:3changed");
    assert_eq!(
        there.value("SELECT GROUP_CONCAT(id, v) FROM d.late"),
        "2seen"
    );
    // A row that is kept on purpose is not pushed out by one that takes its unique value.
    there.run("ALTER TABLE d.late ADD own INT DEFAULT 1; UPDATE d.late SET own = 7");
    source.run(
        "UPDATE d.late SET v = 'twice' WHERE id = 2; INSERT INTO d.kept VALUES (4, 2, 'four')",
    );
    stop_of(&mut tideway, &["holds a unique value of this one"]);
    assert_eq!(there.value(kept), "1:10again,2:2two,3:3changed");
    assert_eq!(there.value("SELECT CONCAT(v, own) FROM d.late"), "twice7");
}

/// The row that is in the way in a table into which two are merged is the other one's.
#[test]
fn merged_tables_take_no_upserts() {
    let task = plain_task()
        .route("d.one", "r.both")
        .route("d.two", "r.both")
        .with("[[task.filter]]\ntables = \"d.*\"\nevents = [\"delete\"]\naction = \"ignore\"");
    let (source, target, mut tideway) = pair(
        Flavor::MariaDb1011,
        Flavor::MariaDb1011,
        "CREATE DATABASE d; CREATE TABLE d.one (id INT PRIMARY KEY, v VARCHAR(9)); CREATE TABLE d.two (id INT PRIMARY KEY, v VARCHAR(9)); \
         INSERT INTO d.one VALUES (5, 'one')",
        &task,
    );
    source.run("INSERT INTO d.two VALUES (6, 'two'); INSERT INTO d.two VALUES (5, 'mine')");
    stop_of(&mut tideway, &["collides"]);
    assert_eq!(
        target
            .client()
            .value("SELECT GROUP_CONCAT(id, v ORDER BY id) FROM r.both"),
        "5one,6two"
    );
}

/// A stream that comes late to a running worker begins with what holds then, not with what held when the
/// worker connected.
#[test]
fn a_late_stream_has_the_defaults_of_its_own_moment() {
    let [source, target] = Server::start_all([Flavor::MariaDb1011, Flavor::MariaDb1011]);
    source.run("CREATE DATABASE d CHARACTER SET latin1; CREATE DATABASE calm; CREATE TABLE calm.t (id INT PRIMARY KEY)");
    source.source_account(&["d", "calm", "fresh"]);
    target.target_account(&["d", "calm", "fresh"]);
    let mut tideway = Tideway::new()
        .source("a", &source)
        .target("copy", &target)
        .task(&Task::new("calm", &["a"], "copy", &["calm.*"]));
    tideway.start();
    tideway.await_streams("sync", "running");
    source
        .run("ALTER DATABASE d CHARACTER SET utf8mb4; CREATE DATABASE fresh CHARACTER SET latin2");
    let accept = "[[task.accept]]\nname = \"tables\"\nreason = \"they are made later\"";
    let late = Task::new("late", &["a"], "copy", &["d.*", "fresh.*"]).with(accept);
    let mut tideway = tideway.task(&late);
    tideway.ctl(&["start", "--task", "late"]);
    tideway.await_stream("late", "a", "running");
    tideway.await_streams("sync", "running");
    source.run(
        "SET NAMES utf8mb4; CREATE TABLE d.t (v VARCHAR(20)); INSERT INTO d.t VALUES ('é漢'); \
         CREATE TABLE fresh.t (v VARCHAR(20)); INSERT INTO fresh.t VALUES ('ő')",
    );
    target.await_value(
        "SELECT COUNT(*) FROM information_schema.TABLES WHERE TABLE_SCHEMA = 'fresh'",
        "1",
    );
    assert!(tideway.terminate().success(), "{}", tideway.story());
    tideway.catch_up();
    assert_equal(&source, &target, &[("d", "d"), ("fresh", "fresh")]);
    let kept = "SELECT GROUP_CONCAT(schema_name, JSON_UNQUOTE(JSON_EXTRACT(definition, '$.charset')) ORDER BY schema_name) \
        FROM tideway.structure WHERE task = 'late' AND table_name = 't'";
    assert_eq!(target.client().value(kept), "dutf8mb4,freshlatin2");
}

/// Another server answers under the target's address: that is told, and its checkpoint holds.
#[test]
fn another_server_as_the_target_is_told() {
    let (source, target, mut tideway) = pair(
        Flavor::MariaDb1011,
        Flavor::MariaDb1011,
        "CREATE DATABASE d; CREATE TABLE d.t (id INT PRIMARY KEY)",
        &plain_task(),
    );
    let end = |sql: &str| {
        let mut client = target.client();
        client.run(sql);
        for id in
            client.texts("SELECT ID FROM information_schema.PROCESSLIST WHERE USER = 'tideway'")
        {
            // It may have ended by itself.
            let _ = client.try_run(&format!("KILL {}", id[0]));
        }
    };
    // The same server again is nothing to tell.
    end("SELECT 1");
    source.run("INSERT INTO d.t VALUES (1)");
    target.await_value("SELECT COUNT(*) FROM d.t", "1");
    let notes = await_idle(&mut tideway)["streams"][0]["notes"].to_string();
    assert!(!notes.contains("another server"), "{notes}");
    end("SET GLOBAL server_id = 4242");
    source.run("INSERT INTO d.t VALUES (2)");
    tideway.await_status("it is told", |status| {
        let notes = status["streams"][0]["notes"].to_string();
        notes.contains("the target is another server now, 4242 on")
    });
    target.await_value("SELECT COUNT(*) FROM d.t", "2");
}

/// A statement that brings a table into the task, takes one out of it, or makes one after a table that is
/// not in it: the rows would be missing, or be left behind. Each stops its own stream; the others go on.
#[test]
fn statements_across_the_selection_stop() {
    let [source, target] = Server::start_all([Flavor::MariaDb1011, Flavor::MySql97]);
    let statements = [
        "RENAME TABLE s#.t TO other.t#",
        "RENAME TABLE other.late TO s#.late",
        "CREATE TABLE s#.new LIKE other.t",
        "ALTER TABLE s#.parts EXCHANGE PARTITION p0 WITH TABLE other.t",
    ];
    source.run("CREATE DATABASE other; CREATE TABLE other.t (id INT PRIMARY KEY); CREATE TABLE other.late (id INT PRIMARY KEY)");
    let mut schemas = vec!["calm".to_owned()];
    schemas.extend((0..statements.len()).map(|number| format!("s{number}")));
    let mut tideway = Tideway::new().source("a", &source).target("copy", &target);
    for schema in &schemas {
        source.run(&format!(
            "CREATE DATABASE {schema}; CREATE TABLE {schema}.t (id INT PRIMARY KEY); \
             CREATE TABLE {schema}.parts (id INT PRIMARY KEY) PARTITION BY RANGE (id) (PARTITION p0 VALUES LESS THAN (10))"
        ));
        tideway = tideway.task(&Task::new(
            schema,
            &["a"],
            "copy",
            &[&format!("{schema}.*")],
        ));
    }
    let names: Vec<&str> = schemas.iter().map(String::as_str).collect();
    source.source_account(&names);
    target.target_account(&names);
    tideway.start();
    tideway.await_streams("sync", "running");
    for (number, statement) in statements.iter().enumerate() {
        source.run(&statement.replace('#', &number.to_string()));
        let stopped = tideway.await_stream(&format!("s{number}"), "a", "failed");
        let text = stopped["stop"].to_string();
        assert!(
            text.contains("not in the task") || text.contains("which is not"),
            "{statement}: {text}"
        );
        assert!(stopped["stop"]["error"]["fix"].is_string(), "{text}");
        source.run(&format!("INSERT INTO calm.t VALUES ({number})"));
        target.await_value("SELECT COUNT(*) FROM calm.t", &(number + 1).to_string());
    }
}
