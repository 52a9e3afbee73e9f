//! What the target allows no more of, or compares otherwise: locks that others hold, the size of a
//! transaction, keys that are equal there alone.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::proxy::Proxy;
use crate::support::tideway::streams;
use crate::support::{Flavor, Server, ServerSpec, Task, Tideway, assert_equal};

struct Pair {
    source: Server,
    target: Server,
    tideway: Tideway,
}

impl Pair {
    fn start(target: impl Into<ServerSpec>, tables: &str, task: &str) -> Self {
        let [source, target] =
            Server::start_all([ServerSpec::new(Flavor::MariaDb1011), target.into()]);
        source.run(&format!("CREATE DATABASE d; USE d; {tables}"));
        source.source_account(&["d"]);
        target.target_account(&["d"]);
        let mut tideway = Tideway::new()
            .source("a", &source)
            .target("copy", &target)
            .task(&Task::new("t", &["a"], "copy", &["d.*"]).with(task));
        tideway.start();
        tideway.await_streams("sync", "running");
        Self {
            source,
            target,
            tideway,
        }
    }

    fn await_stream(&mut self, what: &str, reached: impl Fn(&Value) -> bool) -> Value {
        let status = self
            .tideway
            .await_status(what, |status| reached(&status["streams"][0]));
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

/// Somebody holds the row on the target: it is waited for, shown meanwhile, and applied once it is free.
#[test]
fn a_lock_that_another_holds_is_waited_for() {
    let mut pair = Pair::start(
        ServerSpec::new(Flavor::MySql97).option("--innodb-lock-wait-timeout=1"),
        "CREATE TABLE t (a INT PRIMARY KEY, b INT); INSERT INTO t VALUES (1, 1), (2, 2)",
        "",
    );
    let mut holder = pair.target.client();
    holder.run("BEGIN; UPDATE d.t SET b = b WHERE a = 1");
    pair.source.run("UPDATE d.t SET b = 7 WHERE a = 1");
    let stream = pair.await_stream("it is tried again", |stream| {
        stream["retries"]["count"].as_u64() >= Some(2)
    });
    let last = stream["retries"]["last_error"].as_str().unwrap_or_default();
    assert!(last.contains("1205"), "{stream}");
    assert!(stream["retries"]["last_at"].is_string(), "{stream}");
    holder.run("ROLLBACK");
    pair.await_stream("applied", |stream| stream["idle"] == true);
    pair.settle();
}

/// A deadlock with another session on the target is lost or won; either way each change is in once.
#[test]
fn a_deadlock_is_tried_again() {
    let mut pair = Pair::start(
        ServerSpec::new(Flavor::MySql97).option("--innodb-lock-wait-timeout=20"),
        "CREATE TABLE t (a INT PRIMARY KEY, b INT); INSERT INTO t VALUES (1, 0), (2, 0); CREATE TABLE heap (n INT)",
        "",
    );
    // The other one has changed far more, so that the stream's transaction is the cheaper victim.
    pair.target.run(
        "CREATE DATABASE o; CREATE TABLE o.w (n INT AUTO_INCREMENT PRIMARY KEY, v CHAR(200)); \
         INSERT INTO o.w (v) SELECT 'x' FROM information_schema.COLUMNS LIMIT 2000",
    );
    let mut other = pair.target.client();
    other.run("BEGIN; UPDATE o.w SET v = 'y'; UPDATE d.t SET b = b WHERE a = 2");
    pair.source.run(
        "BEGIN; INSERT INTO d.heap VALUES (5), (5); UPDATE d.t SET b = 1 WHERE a = 1; UPDATE d.t SET b = 1 WHERE a = 2; COMMIT",
    );
    pair.target.await_value(
        "SELECT COUNT(*) > 0 FROM performance_schema.data_locks WHERE OBJECT_NAME = 't' AND LOCK_STATUS = 'WAITING'",
        "1",
    );
    // It wants what the stream holds: one of the two must go.
    let _ = other.try_run("UPDATE d.t SET b = b WHERE a = 1");
    other.run("ROLLBACK");
    let stream = pair.await_stream("applied", |stream| stream["idle"] == true);
    assert!(
        stream["retries"]["last_error"]
            .as_str()
            .is_some_and(|error| error.contains("1213")),
        "{stream}"
    );
    pair.settle();
}

/// The target's binlog takes no transaction of that size: it is cut, finer until it fits.
#[test]
fn a_transaction_beyond_the_targets_binlog_cache_commits_in_parts() {
    let mut pair = Pair::start(
        ServerSpec::new(Flavor::MariaDb1011)
            .option("--max-binlog-cache-size=262144")
            .option("--binlog-cache-size=32768"),
        "CREATE TABLE heap (n INT, b VARBINARY(4000)); CREATE TABLE small (a INT PRIMARY KEY)",
        "",
    );
    pair.source.run(
        "USE d; INSERT INTO small VALUES (1); BEGIN; INSERT INTO small VALUES (2); \
         INSERT INTO heap SELECT seq, REPEAT(CHAR(seq % 256), 2000) FROM seq_1_to_1500; UPDATE heap SET n = -n WHERE n % 5 = 0; COMMIT; \
         INSERT INTO small VALUES (3)",
    );
    pair.target.await_value("SELECT COUNT(*) FROM d.small", "3");
    let stream = pair.await_stream("applied", |stream| stream["idle"] == true);
    assert!(
        stream["notes"].to_string().contains("committed one by one"),
        "{stream}"
    );
    pair.settle();
}

/// Half of a transaction that the target takes in parts alone is here: none of them is committed, also
/// not by a worker that finds it so, as the rest may never come.
#[test]
fn no_part_is_committed_before_the_end_has_come() {
    let [source, target] = Server::start_all([
        ServerSpec::new(Flavor::MariaDb1011),
        ServerSpec::new(Flavor::MariaDb1011)
            .option("--max-binlog-cache-size=262144")
            .option("--binlog-cache-size=32768"),
    ]);
    source.run("CREATE DATABASE d; CREATE TABLE d.heap (n INT, b VARBINARY(4000))");
    source.source_account(&["d"]);
    target.target_account(&["d"]);
    let line = Proxy::to(source.port());
    let mut tideway = Tideway::new()
        .source_with("a", &source, &format!("port = {}", line.port()))
        .target("copy", &target)
        .task(&Task::new("t", &["a"], "copy", &["d.*"]));
    tideway.start();
    tideway.await_status("idle", |status| status["streams"][0]["idle"] == true);
    let folder = tideway.data_folder();
    let before = bytes_in(&folder);
    line.throttle(Some(300_000));
    source.run(
        "USE d; INSERT INTO heap SELECT seq, REPEAT(CHAR(seq % 256), 2000) FROM seq_1_to_2000",
    );
    for is_new in [false, true] {
        if is_new {
            tideway.kill9();
            tideway.start();
            tideway.await_streams("sync", "running");
        }
        let enough = before + if is_new { 1_800_000 } else { 1_200_000 };
        let end = Instant::now() + Duration::from_mins(1);
        while bytes_in(&folder) < enough {
            assert!(Instant::now() < end, "{}", tideway.story());
            std::thread::sleep(Duration::from_millis(50));
        }
        assert!(bytes_in(&folder) < before + 4_000_000, "all of it has come");
        let rows = target.client().number("SELECT COUNT(*) FROM d.heap");
        assert_eq!(rows, 0, "a part was committed");
    }
    line.throttle(None);
    let freed = Instant::now();
    tideway.await_status("applied", |status| {
        status["streams"][0]["idle"] == true
            && target.client().number("SELECT COUNT(*) FROM d.heap") == 2000
    });
    println!("applied {:?} after the line was free", freed.elapsed());
    Pair {
        source,
        target,
        tideway,
    }
    .settle();
}

/// Bytes of all files under a folder.
fn bytes_in(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.metadata() {
            Ok(found) if found.is_dir() => bytes_in(&entry.path()),
            Ok(found) => found.len(),
            // It was replaced just now.
            Err(_) => 0,
        })
        .sum()
}

/// Keys that the source tells apart and the target does not: no change of the one meets the other, and
/// where both cannot be there the stream stops and shows both sides.
#[test]
fn a_key_that_only_the_target_takes_for_equal_meets_no_other_row() {
    for policy in ["warn", "repair"] {
        let mut pair = Pair::start(
            Flavor::MySql97,
            "CREATE TABLE t (k VARCHAR(20) COLLATE utf8mb4_bin PRIMARY KEY, v INT) DEFAULT CHARSET=utf8mb4; \
             INSERT INTO t VALUES ('a', 1), ('b', 1), ('c', 1), ('d', 1)",
            &format!("[task.sync]\non_drift = \"{policy}\""),
        );
        assert!(pair.tideway.terminate().success());
        // Somebody made the key another one there, and took a row away.
        pair.target.run(
            "ALTER TABLE d.t MODIFY k VARCHAR(20) CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci NOT NULL; \
             DELETE FROM d.t WHERE k IN ('a', 'c')",
        );
        pair.tideway.start();
        pair.tideway.await_streams("sync", "running");
        let key = |of: &str| format!("SELECT v FROM d.t WHERE BINARY k = '{of}'");
        // The very row is there: changed and deleted as ever.
        pair.source
            .run("UPDATE d.t SET v = 2 WHERE k = 'b'; DELETE FROM d.t WHERE k = 'd'");
        pair.target.await_value(&key("b"), "2");
        pair.target.await_value("SELECT COUNT(*) FROM d.t", "1");
        // `A` comes where `a` is missing; what then happens to `a` must leave it alone.
        pair.source.run("INSERT INTO d.t VALUES ('A', 5)");
        pair.target.await_value(&key("A"), "5");
        pair.source.run("DELETE FROM d.t WHERE k = 'a'");
        pair.await_stream("the one that is missing", |stream| {
            let dealt = if policy == "warn" {
                "drift_skipped"
            } else {
                "drift_repaired"
            };
            stream[dealt] == 1 && stream["idle"] == true
        });
        pair.target.await_value(&key("A"), "5");
        // Both cannot be there.
        pair.source.run("INSERT INTO d.t VALUES ('B', 9)");
        let stopped = pair.tideway.await_stream("t", "a", "failed");
        let text = stopped["stop"].to_string();
        for part in [
            "utf8mb4_bin at the source",
            "utf8mb4_general_ci on the target",
        ] {
            assert!(text.contains(part), "{policy}: {part} in {text}");
        }
        pair.target.await_value(&key("b"), "2");
    }
}
