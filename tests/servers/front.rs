//! A target that answers as TiDB does: what it refuses, limits, and takes back at a commit.
//!
//! The front stands before a real MySQL, which does the work; see [`crate::support::front`].

use std::time::Duration;

use serde_json::Value;

use crate::support::fixture::create_shop;
use crate::support::front::{At, Front};
use crate::support::tideway::streams;
use crate::support::{Flavor, Server, ServerSpec, Task, Tideway, Traffic, assert_equal};

/// A source, a MySQL, and TiDB's front before it; the task `t` takes the schema `d`.
struct Pair {
    source: Server,
    target: Server,
    front: Front,
    tideway: Tideway,
}

impl Pair {
    fn start(source: impl Into<ServerSpec>, tables: &str, worker: &str, task: &str) -> Self {
        let [source, target] = Server::start_all([source.into(), Flavor::MySql97.into()]);
        source.run(&format!("CREATE DATABASE d; USE d; {tables}"));
        source.source_account(&["d"]);
        target.target_account(&["d"]);
        let front = Front::before(&target);
        let mut tideway = Tideway::new()
            .with(worker)
            .source("a", &source)
            .target_with("tidb", &target, &format!("port = {}", front.port()))
            .task(&Task::new("t", &["a"], "tidb", &["d.*"]).with(task));
        tideway.start();
        tideway.await_streams("sync", "running");
        Self {
            source,
            target,
            front,
            tideway,
        }
    }

    fn await_idle(&mut self, what: &str) -> Value {
        let status = self
            .tideway
            .await_status(what, |status| status["streams"][0]["idle"] == true);
        streams(&status)[0].clone()
    }

    fn settle(mut self) {
        assert!(
            self.tideway.terminate().success(),
            "{}",
            self.tideway.story()
        );
        self.tideway.catch_up();
        assert_equal(&self.source, &self.target, &[("d", "d")]);
    }
}

/// Dump, load and sync with changes of structure, through conflicts at commits and a crash.
fn main_job(from: Flavor, seed: u64) {
    let [source, target] = Server::start_all([from, Flavor::MySql97]);
    create_shop(&mut source.client(), "shop", 1500, 1000);
    source.run(
        // TiDB has no spatial types: the table that has one is left out, one without takes its place.
        "CREATE TABLE shop.sorts LIKE shop.kinds; INSERT INTO shop.sorts SELECT * FROM shop.kinds; \
         ALTER TABLE shop.sorts DROP COLUMN g; \
         CREATE TRIGGER shop.counts AFTER INSERT ON shop.visit FOR EACH ROW SET @n = 1; \
         CREATE PROCEDURE shop.nothing() SELECT 1; \
         CREATE TABLE shop.texts (id INT PRIMARY KEY, w VARCHAR(50) CHARACTER SET latin1, t TEXT, FULLTEXT KEY words (t)) DEFAULT CHARSET=utf8mb4; \
         INSERT INTO shop.texts VALUES (1, 'caf\u{e9}', 'some text'), (2, NULL, NULL)",
    );
    source.source_account(&["shop"]);
    target.target_account(&["shop"]);
    let front = Front::before(&target);
    let mut tideway = Tideway::new()
        .source("a", &source)
        .target_with("tidb", &target, &format!("port = {}", front.port()))
        .task(&Task::new(
            "shop",
            &["a"],
            "tidb",
            &["shop.*", "!shop.kinds"],
        ));
    let traffic = Traffic::start(&source, "shop", 1000, seed);
    traffic.await_more(30);
    tideway.start();
    tideway.await_streams("sync", "running");
    traffic.stop();
    let status = tideway.status().expect("it runs");
    assert_eq!(status["targets"][0]["flavor"], "TiDB", "{status}");
    assert!(
        streams(&status)[0]["notes"].to_string().contains("words"),
        "the index that was left out is told: {status}"
    );

    let traffic = Traffic::start_with_ddl(&source, "shop", 1000, seed + 1);
    for (number, at) in [(9007, At::Commit), (8028, At::Change), (8022, At::Commit)] {
        front.inject(number, at, 2);
        traffic.await_more(40);
    }
    source.run(
        "ALTER TABLE shop.texts ADD COLUMN a INT, ADD COLUMN b INT DEFAULT 7, ADD KEY by_b (b), DROP KEY words; \
         CREATE TRIGGER shop.more AFTER UPDATE ON shop.visit FOR EACH ROW SET @n = 2; DROP PROCEDURE shop.nothing; \
         INSERT INTO shop.texts (id, t) VALUES (3, 'after')",
    );
    tideway.kill9();
    traffic.await_more(60);
    tideway.start();
    tideway.await_streams("sync", "running");
    traffic.await_structures(3);
    traffic.stop();
    assert!(tideway.terminate().success(), "{}", tideway.story());
    tideway.catch_up();
    source.run("DROP TABLE shop.kinds");
    assert_equal(&source, &target, &[("shop", "shop")]);
    for number in [8200, 8108, 1273, 1115, 8004, 8025] {
        assert_eq!(front.refused(number), 0, "{number}: {:?}", front.ddl());
    }
    let clauses: Vec<String> = front
        .ddl()
        .into_iter()
        .filter(|text| text.contains("ALTER TABLE") && text.contains("texts"))
        .collect();
    assert!(
        clauses.len() >= 4,
        "each clause is a statement: {clauses:?}"
    );
    assert!(
        front
            .settings()
            .iter()
            .any(|set| set.contains("'pessimistic'")),
        "{:?}",
        front.settings()
    );
}

#[test]
fn the_main_job_from_mysql() {
    main_job(Flavor::MySql97, 71);
}

#[test]
fn the_main_job_from_mariadb() {
    main_job(Flavor::MariaDb118, 72);
}

/// `check` reads what TiDB shows of the account and itself.
#[test]
fn the_check_passes_with_the_documented_minimum() {
    let [source, target] = Server::start_all([Flavor::MariaDb1011, Flavor::MySql97]);
    source.run("CREATE DATABASE d; CREATE TABLE d.t (a INT PRIMARY KEY) DEFAULT CHARSET=utf8mb4");
    source.source_account(&["d"]);
    target.target_account(&["d"]);
    let front = Front::before(&target);
    let tideway = Tideway::new()
        .source("a", &source)
        .target_with("tidb", &target, &format!("port = {}", front.port()))
        .task(&Task::new("t", &["a"], "tidb", &["d.*"]));
    let output = tideway.output(&["check", "--json"]);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["ok"], true, "{report:#}");
    let missing: Vec<&Value> = report["privileges"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|cell| cell["state"] == "missing")
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
    let of_names = |report: &Value| -> Vec<Value> {
        let checks = report["checks"].as_array().unwrap().iter();
        checks
            .filter(|check| check["id"] == "name-case")
            .cloned()
            .collect()
    };
    let told = of_names(&report);
    assert!(
        told.iter().any(|check| check["state"] == "warn"
            && check["found"]
                .to_string()
                .contains("is 0 on `a` and 2 on `tidb`")),
        "{told:?}"
    );
    // There two names that differ by case alone are one.
    source.run("CREATE TABLE d.Twin (a INT PRIMARY KEY); CREATE TABLE d.twin (a INT PRIMARY KEY)");
    let output = tideway.output(&["check", "--json"]);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["ok"], false, "{report:#}");
    let told = of_names(&report);
    assert!(
        told.iter().any(|check| check["state"] == "fail"
            && check["found"].to_string().contains("d.Twin")
            && check["mend"].to_string().contains("route such tables")),
        "{told:?}"
    );
}

/// Each code that may pass: the stream goes on by itself, each change is there once, and what was tried
/// again is shown.
#[test]
fn what_may_pass_is_tried_again_and_shown() {
    let mut pair = Pair::start(
        Flavor::MariaDb1011,
        "CREATE TABLE heap (n INT, v VARCHAR(20)) DEFAULT CHARSET=utf8mb4; INSERT INTO heap VALUES (0, 'first')",
        "",
        "",
    );
    let mut client = pair.source.client();
    let codes = [
        8002, 8005, 8022, 8027, 8028, 9001, 9002, 9003, 9004, 9005, 9007, 1205, 1213,
    ];
    for (index, number) in codes.into_iter().enumerate() {
        // Both places in turn: within the transaction, and at its end, where it may be in.
        let at = if index % 2 == 0 {
            At::Commit
        } else {
            At::Change
        };
        pair.front.inject(number, at, 1);
        client.run(&format!(
            "INSERT INTO d.heap VALUES ({number}, 'x'), ({number}, 'x')"
        ));
        let wanted = index as u64 + 1;
        let status = pair.tideway.await_status("it went on by itself", |status| {
            let stream = &status["streams"][0];
            stream["retries"]["count"].as_u64() >= Some(wanted) && stream["idle"] == true
        });
        let retries = &streams(&status)[0]["retries"];
        assert!(
            retries["last_error"]
                .as_str()
                .unwrap_or_default()
                .contains(&number.to_string()),
            "{number}: {retries}"
        );
        assert_eq!(pair.front.left(), 0);
        assert_eq!(pair.front.refused(number), 1, "{number}");
    }
    pair.await_idle("all of it");
    pair.settle();
}

/// What does not pass is given up at the limit, with the event; the stream beside it goes on.
#[test]
fn retries_end_at_the_limit_and_others_go_on() {
    let [source, target] = Server::start_all([Flavor::MariaDb1011, Flavor::MySql97]);
    source.run(
        "CREATE DATABASE d; CREATE TABLE d.t (a INT PRIMARY KEY) DEFAULT CHARSET=utf8mb4; \
         CREATE DATABASE e; CREATE TABLE e.t (a INT PRIMARY KEY) DEFAULT CHARSET=utf8mb4",
    );
    source.source_account(&["d", "e"]);
    target.target_account(&["d", "e"]);
    let front = Front::before(&target);
    let mut tideway = Tideway::new()
        .with("retry_limit = \"4s\"")
        .source("a", &source)
        .target_with("tidb", &target, &format!("port = {}", front.port()))
        .target("plain", &target)
        .task(&Task::new("t", &["a"], "tidb", &["d.*"]))
        .task(&Task::new("other", &["a"], "plain", &["e.*"]));
    tideway.start();
    tideway.await_streams("sync", "running");
    front.inject(9007, At::Change, u32::MAX);
    source.run("INSERT INTO d.t VALUES (1)");
    let waiting = tideway.await_stream("t", "a", "waiting");
    assert!(waiting["next_try_at"].is_string(), "{waiting}");
    assert!(waiting["tries"].as_u64() >= Some(1), "{waiting}");
    assert!(waiting["retries"]["count"].as_u64() >= Some(1), "{waiting}");
    let failed = tideway.await_stream("t", "a", "failed");
    let stop = &failed["stop"];
    assert_eq!(stop["error"]["number"], 9007, "{stop}");
    assert_eq!(stop["error"]["kind"], "target-busy", "{stop}");
    assert!(
        stop["hint"].to_string().contains("write conflict"),
        "{stop}"
    );
    assert!(stop["event"]["columns"].is_array(), "the event: {stop}");
    // A row of `d.t` is at the event, one of `e.t` goes through.
    source.run("INSERT INTO e.t VALUES (1), (2)");
    target.await_value("SELECT COUNT(*) FROM e.t", "2");
    front.inject(9007, At::Change, 0);
    tideway.ctl(&["retry", "--task", "t", "--source", "a"]);
    target.await_value("SELECT COUNT(*) FROM d.t", "1");
    tideway.terminate();
    tideway.catch_up();
    assert_equal(&source, &target, &[("d", "d"), ("e", "e")]);
}

/// Larger than TiDB takes as one: parts commit on their own, through kills, and each row is in once.
#[test]
fn a_transaction_beyond_the_limit_commits_in_parts() {
    let mut pair = Pair::start(
        Flavor::MySql97,
        "CREATE TABLE heap (n INT, b VARBINARY(2000)); CREATE TABLE small (a INT PRIMARY KEY)",
        "",
        "",
    );
    // The limit is less than what is supposed of it: found out by being refused, too.
    pair.front.limit(600_000, 6 << 20);
    let mut client = pair.source.client();
    client.run("SET SESSION cte_max_recursion_depth = 100000; USE d; INSERT INTO small VALUES (1)");
    for compression in ["OFF", "ON"] {
        client.run(&format!(
            "SET SESSION binlog_transaction_compression = {compression}; BEGIN; INSERT INTO small VALUES (10 + (SELECT COUNT(*) FROM small s)); \
             INSERT INTO heap WITH RECURSIVE s (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < 3000) \
             SELECT n % 50, RANDOM_BYTES(1000) FROM s; UPDATE heap SET n = n + 1 WHERE n = 7; COMMIT"
        ));
    }
    let parts = "SELECT COUNT(*) FROM tideway.checkpoint WHERE part IS NOT NULL";
    for _ in 0..2 {
        let end = std::time::Instant::now() + Duration::from_mins(1);
        while pair.target.client().number(parts) == 0 && std::time::Instant::now() < end {
            std::thread::sleep(Duration::from_millis(5));
        }
        pair.tideway.kill9();
        pair.tideway.start();
    }
    client.run("INSERT INTO small VALUES (2)");
    let stream = pair.await_idle("all of it");
    assert!(
        stream["notes"].to_string().contains("committed one by one"),
        "{stream}"
    );
    assert_eq!(pair.target.client().number(parts), 0);
    pair.settle();
}

/// A row that TiDB can never take stops the stream at the row, and says what to raise.
#[test]
fn a_row_beyond_the_limit_stops_with_the_remedy() {
    let mut pair = Pair::start(
        Flavor::MariaDb1011,
        "CREATE TABLE t (a INT PRIMARY KEY, b MEDIUMTEXT) DEFAULT CHARSET=utf8mb4",
        "",
        "",
    );
    pair.front.limit(100 << 20, 1 << 20);
    pair.source.run(
        "INSERT INTO d.t VALUES (1, 'small'); INSERT INTO d.t VALUES (2, REPEAT('y', 1500000))",
    );
    let stopped = pair.tideway.await_stream("t", "a", "failed");
    let stop = &stopped["stop"];
    assert_eq!(stop["error"]["number"], 8025, "{stop}");
    assert!(
        stop["error"]["fix"]
            .to_string()
            .contains("txn-entry-size-limit"),
        "{stop}"
    );
    assert_eq!(stop["table"]["name"], "t", "{stop}");
    pair.front.limit(100 << 20, 6 << 20);
    pair.tideway.ctl(&["retry", "--task", "t", "--source", "a"]);
    pair.await_idle("the row");
    pair.settle();
}

/// Statements that TiDB refuses whichever way they are put: the stream stands at the statement, which
/// is shown, and goes on once its like was done by hand.
#[test]
fn a_refused_statement_pauses_with_it_shown() {
    let mut pair = Pair::start(
        Flavor::MySql97,
        "CREATE TABLE t (a INT NOT NULL, b INT NOT NULL, PRIMARY KEY (a)) DEFAULT CHARSET=utf8mb4",
        "",
        "",
    );
    pair.source
        .run("INSERT INTO d.t VALUES (1, 2); ALTER TABLE d.t DROP PRIMARY KEY");
    let stopped = pair.tideway.await_stream("t", "a", "failed");
    let stop = &stopped["stop"];
    assert_eq!(stop["error"]["number"], 8200, "{stop}");
    assert!(
        stop["statement"].to_string().contains("DROP PRIMARY KEY"),
        "{stop}"
    );
    assert!(
        stop["error"]["fix"].to_string().contains("by hand"),
        "{stop}"
    );
    assert_eq!(pair.target.client().number("SELECT COUNT(*) FROM d.t"), 1);
    assert!(
        pair.front
            .ddl()
            .iter()
            .all(|text| !text.contains("DROP PRIMARY")),
        "{:?}",
        pair.front.ddl()
    );
}
