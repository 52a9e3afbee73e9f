//! The operator's hand on the events: what stops a stream is skipped or mended by decision, and what is
//! left afterwards is just what was decided.

use std::fmt::Write as _;
use std::fs;

use serde_json::Value;

use crate::support::compare::differences;
use crate::support::{Flavor, Server, Task, Tideway, assert_equal};

/// A source and a target in sync, with the operator at the desk.
pub(crate) struct Desk {
    pub(crate) source: Server,
    pub(crate) target: Server,
    pub(crate) tideway: Tideway,
}

impl Desk {
    /// Copies schema `t`, made by `tables`, and replicates it.
    pub(crate) fn open(from: Flavor, to: Flavor, tables: &str) -> Self {
        Self::open_with(from, to, tables, "")
    }

    /// The same with more lines for the task.
    pub(crate) fn open_with(from: Flavor, to: Flavor, tables: &str, lines: &str) -> Self {
        let [source, target] = Server::start_all([from, to]);
        source.run(&format!("CREATE DATABASE t; USE t; {tables}"));
        source.source_account(&["t"]);
        target.target_account(&["t"]);
        let tideway = Tideway::new()
            .source("a", &source)
            .target("copy", &target)
            .task(&Task::new("t", &["a"], "copy", &["t.*"]).with(lines));
        let mut desk = Self {
            source,
            target,
            tideway,
        };
        desk.tideway.start();
        desk.tideway.await_streams("sync", "running");
        desk
    }

    /// Waits until the stream stands at an event, and gives the stop.
    pub(crate) fn stopped(&mut self) -> Value {
        self.tideway.await_stream("t", "a", "failed")["stop"].clone()
    }

    /// The same for another stop than this one.
    pub(crate) fn stopped_after(&mut self, last: &Value) -> Value {
        let is_new = |status: &Value| {
            let stop = &status["streams"][0]["stop"];
            status["streams"][0]["stage"] == "failed" && stop["stop_id"] != last["stop_id"]
        };
        let status = self.tideway.await_status("another stop", is_new);
        status["streams"][0]["stop"].clone()
    }

    /// Asks for something at a stop; the reply.
    pub(crate) fn ask(&self, choice: &str, stop: &Value, more: &[&str]) -> Value {
        let at = place(stop);
        let mut arguments = vec!["ctl", choice, "--json", "--task", "t", "--source", "a"];
        arguments.extend(["--at", &at]);
        arguments.extend(more);
        let output = self.tideway.output(&arguments);
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
            panic!(
                "{error}: {}{}",
                String::from_utf8_lossy(&output.stdout),
                String::from_utf8_lossy(&output.stderr)
            )
        })
    }

    /// Asks for something that is done.
    pub(crate) fn done(&self, choice: &str, stop: &Value, more: &[&str]) -> String {
        let reply = self.ask(choice, stop, more);
        assert_eq!(reply["reply"], "done", "{reply} {}", self.tideway.story());
        reply["message"].as_str().unwrap().to_owned()
    }

    /// Asks for something that is refused.
    pub(crate) fn refused(&self, choice: &str, stop: &Value, more: &[&str]) -> String {
        let reply = self.ask(choice, stop, more);
        assert_eq!(reply["reply"], "refused", "{reply}");
        format!("{} {}", reply["message"], reply["fix"])
    }

    /// The lines of a file of the data folder.
    pub(crate) fn lines(&self, file: &str) -> Vec<Value> {
        let path = self.tideway.data_folder().join(file);
        let text = fs::read_to_string(path).unwrap_or_default();
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    /// What was skipped, in the order of the places.
    pub(crate) fn skipped(&self) -> Vec<Value> {
        self.lines("skipped/t.jsonl")
    }

    /// Applies the rest, and compares every row.
    pub(crate) fn differences(&mut self) -> Vec<String> {
        assert!(
            self.tideway.terminate().success(),
            "{}",
            self.tideway.story()
        );
        self.tideway.catch_up();
        differences(&self.source, &self.target, &[("t", "t")])
    }
}

/// A stop's place as `--at` takes it.
pub(crate) fn place(stop: &Value) -> String {
    let position = &stop["position"];
    let mut text = format!(
        "{}/{}:{}",
        position["folder"].as_str().unwrap(),
        position["file"].as_str().unwrap(),
        position["offset"]
    );
    if let Some(inner) = position["inner"].as_u64() {
        write!(text, "#{inner}").unwrap();
    }
    if let Some(row) = position["row"].as_u64() {
        write!(text, ".{row}").unwrap();
    }
    text
}

const TWO_TABLES: &str = "CREATE TABLE a (id INT PRIMARY KEY, v VARCHAR(20)); \
    CREATE TABLE b (id INT PRIMARY KEY, v VARCHAR(20)); \
    INSERT INTO a VALUES (10, 'ten'), (11, 'eleven')";

fn a_row_an_event_and_a_transaction(from: Flavor, to: Flavor) {
    let mut desk = Desk::open(from, to, TWO_TABLES);
    desk.target
        .run("INSERT INTO t.a VALUES (2, 'mine'); DELETE FROM t.a WHERE id IN (10, 11)");

    // The second row of three collides.
    desk.source
        .run("INSERT INTO t.a VALUES (1, 'one'), (2, 'two'), (3, 'three')");
    let stop = desk.stopped();
    assert_eq!(stop["position"]["row"], 1, "{stop}");
    assert_eq!(stop["transaction"]["rows"], 3, "{stop}");
    let choices = stop["choices"].to_string();
    assert!(
        choices.contains("skip row") && choices.contains("repair row"),
        "{choices}"
    );
    let message = desk.refused("skip", &stop, &["--stop-id", "another"]);
    assert!(message.contains("another stop"), "{message}");
    let mut elsewhere = stop.clone();
    elsewhere["position"]["offset"] = Value::from(4);
    let message = desk.refused("skip", &elsewhere, &[]);
    assert!(message.contains("the stream stands at"), "{message}");
    let stop_id = stop["stop_id"].as_str().unwrap().to_owned();
    let why = [
        "--stop-id",
        &stop_id,
        "--scope",
        "row",
        "--reason",
        "ticket 88",
    ];
    let message = desk.done("skip", &stop, &why);
    assert!(
        message.contains("2 other rows of this event ARE applied"),
        "{message}"
    );
    // Whoever else looked at it decides nothing any more.
    let message = desk.refused("skip", &stop, &why);
    assert!(
        message.contains("does not stand") || message.contains("no longer"),
        "{message}"
    );

    // An event in the middle of a transaction: the rest of it is applied.
    desk.source.run(
        "BEGIN; INSERT INTO t.b VALUES (1, 'before'); UPDATE t.a SET v = 'X' WHERE id = 10; \
         INSERT INTO t.b VALUES (2, 'behind'); COMMIT",
    );
    let stop = desk.stopped_after(&stop);
    assert_eq!(stop["transaction"]["number"], 2, "{stop}");
    let message = desk.done("skip", &stop, &[]);
    assert!(
        message.contains("2 other events of this transaction ARE applied"),
        "{message}"
    );

    // All of a transaction.
    desk.source.run(
        "BEGIN; INSERT INTO t.b VALUES (3, 'gone'); DELETE FROM t.a WHERE id = 11; \
         INSERT INTO t.b VALUES (4, 'gone'); COMMIT",
    );
    let stop = desk.stopped_after(&stop);
    let message = desk.done("skip", &stop, &["--scope", "transaction"]);
    assert!(message.contains("3 row changes in 3 events"), "{message}");
    desk.source.run("INSERT INTO t.b VALUES (5, 'after')");
    desk.target.await_value("SELECT COUNT(*) FROM t.b", "3");
    // The picture may be a moment older than the target.
    let status = desk.tideway.await_status("five skipped events", |status| {
        status["streams"][0]["skipped_events"] == 5
    });
    // What by-hand skips leave out is no drift that somebody must be told of.
    assert_eq!(status["streams"][0]["drift_skipped"], 0, "{status}");

    let found = desk.differences();
    assert_eq!(
        desk.target
            .client()
            .texts("SELECT id, v FROM t.a ORDER BY id"),
        [["1", "one"], ["2", "mine"], ["3", "three"]]
    );
    assert_eq!(
        desk.target
            .client()
            .texts("SELECT id, v FROM t.b ORDER BY id"),
        [["1", "before"], ["2", "behind"], ["5", "after"]]
    );
    assert!(!found.is_empty());
    // It differs by just what was skipped, and that is kept as SQL with its rows.
    let skipped = desk.skipped();
    let statements: Vec<&str> = skipped
        .iter()
        .map(|of| of["sql"].as_str().unwrap())
        .collect();
    assert_eq!(skipped.len(), 5, "{statements:?}");
    for (sql, wanted) in statements
        .iter()
        .zip(["'two'", "'X'", "'gone'", "DELETE", "'gone'"])
    {
        assert!(sql.contains(wanted), "{wanted}: {sql}");
    }
    for sql in &statements {
        let applied = match sql.split_whitespace().next() {
            Some("INSERT") if sql.contains("'two'") => sql.replacen("INSERT", "REPLACE", 1),
            Some("UPDATE") => "INSERT INTO t.a VALUES (10, 'X')".to_owned(),
            _ => (*sql).to_owned(),
        };
        desk.target.run(&applied);
    }
    assert_equal(&desk.source, &desk.target, &[("t", "t")]);
    // The journal names each, and the target has it too.
    let journal = desk.lines("journal.jsonl");
    let decided: Vec<&Value> = journal
        .iter()
        .filter(|line| !line["decision"].is_null())
        .collect();
    let settled: Vec<&Value> = journal
        .iter()
        .filter(|line| line["phase"] == "settled")
        .collect();
    assert_eq!((decided.len(), settled.len()), (3, 3), "{journal:?}");
    assert_eq!(decided[0]["decision"]["reason"], "ticket 88");
    for (decided, settled) in decided.iter().zip(settled) {
        assert_eq!(decided["decision"]["id"], settled["decision_id"]);
        assert_eq!(settled["result"]["outcome"], "done");
        let id = decided["decision"]["id"].as_str().unwrap();
        assert!(skipped.iter().any(|of| of["decision"] == id), "{id}");
        desk.target.await_value(
            &format!("SELECT COUNT(*) FROM tideway.decision WHERE id = '{id}'"),
            "1",
        );
    }
}

#[test]
fn a_row_an_event_and_a_transaction_are_skipped_from_mariadb_to_mysql() {
    a_row_an_event_and_a_transaction(Flavor::MariaDb1011, Flavor::MySql97);
}

#[test]
fn a_row_an_event_and_a_transaction_are_skipped_from_mysql_to_mariadb() {
    a_row_an_event_and_a_transaction(Flavor::MySql97, Flavor::MariaDb118);
}

#[test]
fn several_rows_of_one_transaction_are_decided_one_by_one_and_commit_at_once() {
    let mut desk = Desk::open(Flavor::MariaDb1011, Flavor::MariaDb1011, TWO_TABLES);
    desk.target
        .run("INSERT INTO t.a VALUES (2, 'mine'), (4, 'mine')");
    desk.source
        .run("INSERT INTO t.a VALUES (1, '1'), (2, '2'), (3, '3'), (4, '4')");
    let first = desk.stopped();
    let message = desk.done("skip", &first, &["--scope", "row"]);
    assert!(message.contains("waits"), "{message}");
    let second = desk.stopped_after(&first);
    assert_eq!(second["position"]["row"], 3, "{second}");
    let status = desk.tideway.status().unwrap();
    let waiting = &status["streams"][0]["decisions"];
    assert_eq!(waiting.as_array().unwrap().len(), 1, "{waiting}");
    desk.target
        .await_value("SELECT COUNT(*) FROM t.a WHERE id IN (1, 3)", "0");
    // The first is taken back, and so it stops there again.
    let id = waiting[0]["id"].as_str().unwrap().to_owned();
    let reply = desk.tideway.output(&["ctl", "revert", "--id", &id]);
    assert!(
        reply.status.success(),
        "{}",
        String::from_utf8_lossy(&reply.stderr)
    );
    desk.tideway.ctl(&["retry"]);
    let again = desk.stopped_after(&second);
    assert_eq!(again["position"]["row"], 1, "{again}");
    // A repair beside a skip, in one transaction.
    desk.done("repair", &again, &["--scope", "row"]);
    let last = desk.stopped_after(&again);
    assert_eq!(last["position"]["row"], 3, "{last}");
    desk.done("skip", &last, &["--scope", "row"]);
    desk.target
        .await_value("SELECT COUNT(*) FROM t.a WHERE id < 10", "4");
    assert_eq!(
        desk.target
            .client()
            .texts("SELECT id, v FROM t.a WHERE id < 10 ORDER BY id"),
        [["1", "1"], ["2", "2"], ["3", "3"], ["4", "mine"]]
    );
    // The row that is the source's alone, and the one that is the target's alone.
    assert_eq!(desk.differences().len(), 2);
    let journal = desk.lines("journal.jsonl");
    let outcomes: Vec<&str> = journal
        .iter()
        .filter_map(|line| line["result"]["outcome"].as_str())
        .collect();
    assert_eq!(outcomes, ["withdrawn", "done", "done"]);
}

#[test]
fn a_statement_is_skipped_and_says_how_later_rows_are_read() {
    let mut desk = Desk::open(Flavor::MySql97, Flavor::MariaDb1011, TWO_TABLES);
    // What the target refuses: its rows are not unique, those of the source are.
    desk.target.run("INSERT INTO t.a VALUES (20, 'ten')");
    desk.source.run("ALTER TABLE t.a ADD UNIQUE KEY only (v)");
    let stop = desk.stopped();
    let message = desk.refused("skip", &stop, &[]);
    assert!(message.contains("--structure"), "{message}");
    desk.done("skip", &stop, &["--structure", "source"]);
    desk.source.run("INSERT INTO t.a VALUES (12, 'twelve')");
    desk.target
        .await_value("SELECT COUNT(*) FROM t.a WHERE id = 12", "1");

    // A column that the target cannot take; later rows have it. Which structure they are read by matters.
    desk.target
        .run("ALTER TABLE t.b ADD COLUMN extra TEXT NOT NULL");
    desk.source
        .run("ALTER TABLE t.b ADD COLUMN extra INT NOT NULL DEFAULT 7");
    let stop = desk.stopped_after(&stop);
    desk.done("skip", &stop, &["--structure", "source"]);
    desk.target.run("ALTER TABLE t.b MODIFY extra INT NOT NULL");
    desk.source.run("INSERT INTO t.b VALUES (1, 'one', 5)");
    desk.target
        .await_value("SELECT extra FROM t.b WHERE id = 1", "5");

    // The same again, but the structure is typed.
    let path = desk.tideway.folder().join("b.sql");
    fs::write(&path, "CREATE TABLE `b` (id INT PRIMARY KEY, v VARCHAR(20), extra INT NOT NULL DEFAULT 7, more INT)").unwrap();
    desk.target.run("ALTER TABLE t.b ADD COLUMN more INT");
    desk.source.run("ALTER TABLE t.b ADD COLUMN more INT");
    let stop = desk.stopped_after(&stop);
    desk.done("skip", &stop, &["--structure", path.to_str().unwrap()]);
    desk.source.run("INSERT INTO t.b VALUES (2, 'two', 6, 9)");
    desk.target
        .await_value("SELECT more FROM t.b WHERE id = 2", "9");

    desk.target
        .run("DELETE FROM t.a WHERE id = 20; ALTER TABLE t.a ADD UNIQUE KEY only (v)");
    assert_eq!(desk.differences(), Vec::<String>::new());
    let skipped = desk.skipped();
    assert_eq!(skipped.len(), 3, "{skipped:?}");
    assert!(
        skipped
            .iter()
            .all(|of| of["sql"].as_str().unwrap().contains("ALTER TABLE"))
    );
}

#[test]
fn a_poisoned_statement_is_skipped_and_the_rest_of_its_transaction_applied() {
    let mut desk = Desk::open(Flavor::MariaDb1011, Flavor::MySql97, TWO_TABLES);
    desk.source.run("INSERT INTO t.b VALUES (1, 'row')");
    desk.source.run(
        "SET SESSION binlog_format = 'STATEMENT'; INSERT INTO t.a VALUES (1, 'as a statement')",
    );
    let stop = desk.stopped();
    assert_eq!(stop["transaction"]["is_understood"], false, "{stop}");
    let message = desk.done("skip", &stop, &["--scope", "transaction"]);
    assert!(message.contains("nothing of the transaction"), "{message}");
    desk.source.run("INSERT INTO t.b VALUES (2, 'behind')");
    desk.target.await_value("SELECT COUNT(*) FROM t.b", "2");
    let skipped = desk.skipped();
    assert_eq!(skipped.len(), 1, "{skipped:?}");
    assert!(
        skipped[0]["sql"]
            .as_str()
            .unwrap()
            .contains("as a statement")
    );
    assert!(skipped[0]["unread"].as_str().unwrap().starts_with("QUERY"));
    assert_eq!(desk.differences().len(), 1);
    desk.target.run(skipped[0]["sql"].as_str().unwrap());
    assert_equal(&desk.source, &desk.target, &[("t", "t")]);
}

#[test]
fn rows_of_a_table_that_the_target_lacks_are_skipped_with_their_values() {
    let mut desk = Desk::open(Flavor::MariaDb118, Flavor::MariaDb1011, TWO_TABLES);
    desk.target.run("DROP TABLE t.b");
    desk.source.run(
        "BEGIN; INSERT INTO t.a VALUES (1, 'one'); INSERT INTO t.b VALUES (1, 'kept'); COMMIT",
    );
    let stop = desk.stopped();
    desk.done("skip", &stop, &[]);
    desk.target
        .await_value("SELECT COUNT(*) FROM t.a WHERE id = 1", "1");
    let skipped = desk.skipped();
    assert!(
        skipped[0]["sql"].as_str().unwrap().contains("'kept'"),
        "{skipped:?}"
    );
    desk.target
        .run("CREATE TABLE t.b (id INT PRIMARY KEY, v VARCHAR(20))");
    desk.target.run(skipped[0]["sql"].as_str().unwrap());
    assert_eq!(desk.differences(), Vec::<String>::new());
}

#[test]
fn what_was_skipped_is_applied_later_once_and_only_where_the_rows_allow_it() {
    let mut desk = Desk::open(Flavor::MariaDb1011, Flavor::MySql97, TWO_TABLES);
    desk.target
        .run("INSERT INTO t.a VALUES (2, 'mine'); DELETE FROM t.a WHERE id = 10");
    desk.source
        .run("INSERT INTO t.a VALUES (1, 'one'), (2, 'two'), (3, 'three')");
    let stop = desk.stopped();
    desk.done("skip", &stop, &["--scope", "row", "--reason", "ticket 88"]);
    desk.source.run("UPDATE t.a SET v = 'X' WHERE id = 10");
    let stop = desk.stopped_after(&stop);
    desk.done("skip", &stop, &[]);
    desk.tideway
        .await_status("two events are left out", |status| {
            status["streams"][0]["skipped_events"] == 2
        });
    let journal = |desk: &Desk| -> Vec<Value> {
        let output = desk.tideway.output(&["journal", "--json"]);
        assert!(output.status.success());
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .filter(|entry: &Value| !entry["decision"].is_null())
            .collect()
    };
    let entries = journal(&desk);
    assert_eq!(entries.len(), 2, "{entries:?}");
    assert_eq!(entries[0]["decision"]["reason"], "ticket 88");
    assert_eq!(
        (&entries[0]["skipped"], &entries[0]["outcome"]),
        (&Value::from(1), &Value::from("done"))
    );
    let reapply = |desk: &Desk, at: usize| {
        let id = entries[at]["id"].as_str().unwrap();
        let output = desk.tideway.output(&["journal", "reapply", id]);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.success(), error)
    };
    // The rows are not as before the changes: nothing happens.
    for at in [0, 1] {
        let (is_done, error) = reapply(&desk, at);
        assert!(!is_done && error.contains("nothing of"), "{error}");
    }
    assert!(desk.tideway.status().unwrap()["streams"][0]["skipped_events"] == 2);
    // Nor where the key is there, and something newer under it.
    desk.target.run("INSERT INTO t.a VALUES (10, 'newer')");
    let (is_done, error) = reapply(&desk, 1);
    assert!(!is_done && error.contains("nothing of"), "{error}");
    desk.target
        .await_value("SELECT v FROM t.a WHERE id = 10", "newer");
    desk.target
        .run("DELETE FROM t.a WHERE id = 2; UPDATE t.a SET v = 'ten' WHERE id = 10");
    for at in [0, 1] {
        let (is_done, error) = reapply(&desk, at);
        assert!(is_done, "{error}");
        // The same once more, as after a lost answer.
        let (is_done, error) = reapply(&desk, at);
        assert!(!is_done && error.contains("applied before"), "{error}");
    }
    desk.tideway.await_status("nothing is left out", |status| {
        status["streams"][0]["skipped_events"] == 0
    });
    assert!(
        journal(&desk)
            .iter()
            .all(|entry| entry["reapplied"] == true)
    );
    // Also for the next process.
    assert!(desk.tideway.terminate().success());
    desk.tideway.start();
    let status = desk.tideway.await_streams("sync", "running");
    assert_eq!(status["streams"][0]["skipped_events"], 0, "{status}");
    assert_eq!(desk.differences(), Vec::<String>::new());
}

#[test]
fn an_event_and_a_transaction_are_repaired() {
    let mut desk = Desk::open(Flavor::MySql97, Flavor::MariaDb1011, TWO_TABLES);
    // Everything at once: a row is missing, one collides, one differs.
    desk.target.run(
        "DELETE FROM t.a WHERE id = 10; UPDATE t.a SET v = 'mine' WHERE id = 11; \
         INSERT INTO t.a VALUES (1, 'mine')",
    );
    desk.source.run("UPDATE t.a SET v = CONCAT(v, '!')");
    let stop = desk.stopped();
    let repair = stop["repair"].as_str().unwrap();
    assert!(
        repair.starts_with("UPDATE") && repair.contains("'ten!'"),
        "{stop}"
    );
    let message = desk.done("repair", &stop, &[]);
    assert!(message.contains("2 rows of t.a"), "{message}");
    desk.source.run(
        "BEGIN; INSERT INTO t.b VALUES (1, 'one'); INSERT INTO t.a VALUES (1, 'one'); \
         DELETE FROM t.a WHERE id = 11; COMMIT",
    );
    let stop = desk.stopped_after(&stop);
    let message = desk.done("repair", &stop, &["--scope", "transaction"]);
    assert!(message.contains("3 rows"), "{message}");
    desk.target
        .await_value("SELECT v FROM t.a WHERE id = 1", "one");
    assert!(desk.skipped().is_empty());
    assert_eq!(desk.differences(), Vec::<String>::new());
}
