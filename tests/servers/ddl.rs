//! DDL of the source on the target: each statement once, through crashes of everything.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::tideway::streams;
use crate::support::{Flavor, Server, ServerSpec, Task, Tideway, assert_equal};

/// A number from the environment, for campaigns.
pub(crate) fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name)
        .ok()
        .and_then(|value| value.parse().ok())
        .unwrap_or(default)
}

/// Numbers that only look random: the same from the same seed.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % limit
    }
}

/// All kinds of statements, with rows between them; each name has the cycle's number in it.
fn cycle(n: u64) -> Vec<String> {
    let rows = "WITH RECURSIVE n AS (SELECT 1 a UNION ALL SELECT a + 1 FROM n WHERE a < 900)";
    [
        "CREATE TABLE a# (id INT PRIMARY KEY, v VARCHAR(50), k INT)".to_owned(),
        format!("INSERT INTO a# {rows} SELECT a, REPEAT('x', 40), a % 10 FROM n"),
        "ALTER TABLE a# ADD COLUMN x INT DEFAULT 7, ADD INDEX (k)".to_owned(),
        "UPDATE a# SET x = id WHERE id % 3 = 0".to_owned(),
        "CREATE TABLE b# LIKE a#".to_owned(),
        "INSERT INTO b# SELECT * FROM a# WHERE id < 400".to_owned(),
        "RENAME TABLE a# TO t#, b# TO a#, t# TO b#".to_owned(),
        "DELETE FROM a# WHERE id % 7 = 0".to_owned(),
        "CREATE TABLE s# SELECT id, v FROM a#".to_owned(),
        "ALTER TABLE a# ADD INDEX (k)".to_owned(),
        "CREATE INDEX kv# ON a# (v(10))".to_owned(),
        "DROP INDEX kv# ON a#".to_owned(),
        "ALTER TABLE a# CHANGE v w VARCHAR(80) NOT NULL, DROP COLUMN x".to_owned(),
        "TRUNCATE TABLE b#".to_owned(),
        "INSERT INTO b# (id, v, k) VALUES (1, 'é', 2), (2, NULL, NULL)".to_owned(),
        "ALTER TABLE b# ADD CHECK (id > -1)".to_owned(),
        "ALTER TABLE b# CONVERT TO CHARACTER SET latin1".to_owned(),
        "INSERT INTO b# (id, v) VALUES (3, 'ü')".to_owned(),
        "CREATE TABLE p# (id INT NOT NULL, v INT) PARTITION BY RANGE (id) (PARTITION p0 VALUES LESS THAN (10), PARTITION p1 VALUES LESS THAN (20))".to_owned(),
        "INSERT INTO p# VALUES (1, 1), (11, 1), (12, 2)".to_owned(),
        "ALTER TABLE p# ADD PARTITION (PARTITION p2 VALUES LESS THAN (300))".to_owned(),
        "ALTER TABLE p# DROP PARTITION p0".to_owned(),
        "INSERT INTO p# VALUES (250, 3)".to_owned(),
        "ALTER TABLE p# TRUNCATE PARTITION p1".to_owned(),
        "CREATE TABLE f# (id INT PRIMARY KEY, a INT, FOREIGN KEY (a) REFERENCES a# (id))".to_owned(),
        "INSERT INTO f# VALUES (1, 1), (2, NULL)".to_owned(),
        "ALTER TABLE a# COMMENT 'of cycle #'".to_owned(),
        "ALTER TABLE a# ALTER COLUMN k SET DEFAULT #".to_owned(),
        "ALTER TABLE b# RENAME TO c#".to_owned(),
        "DROP TABLE f#".to_owned(),
        "DROP TABLE s#, p#".to_owned(),
        // Some stay, to be compared.
        if n.is_multiple_of(4) { "SELECT 1".to_owned() } else { "DROP TABLE a#, c#".to_owned() },
    ]
    .into_iter()
    .map(|sql| sql.replace('#', &n.to_string()))
    .collect()
}

/// How often each DDL statement stands in a server's binlog.
fn executed(server: &Server) -> BTreeMap<String, u32> {
    let mut counts = BTreeMap::new();
    let mut client = server.client();
    for log in client.texts("SHOW BINARY LOGS") {
        for event in client.texts(&format!("SHOW BINLOG EVENTS IN '{}'", log[0])) {
            if event[2] != "Query" {
                continue;
            }
            let text = event[5].split("/* xid=").next().unwrap_or_default().trim();
            let text = text.split_once("; ").map_or(text, |(_, rest)| rest);
            let first = text.split_whitespace().next().unwrap_or_default();
            if ["CREATE", "ALTER", "DROP", "RENAME", "TRUNCATE"].contains(&first)
                && !text.contains("tideway")
            {
                *counts.entry(text.to_owned()).or_insert(0) += 1;
            }
        }
    }
    counts
}

/// Statements that set what is set already when they run again, and leave no trace.
fn is_harmless_twice(text: &str) -> bool {
    text.contains("TRUNCATE")
}

fn setup(source: impl Into<ServerSpec>, target: Flavor) -> (Server, Server, Tideway) {
    let [source, target] = Server::start_all([source.into(), target.into()]);
    source.run("CREATE DATABASE d CHARACTER SET utf8mb4; CREATE TABLE d.base (id INT PRIMARY KEY)");
    source.source_account(&["d"]);
    target.target_account(&["d"]);
    let tideway = Tideway::new()
        .source("a", &source)
        .target("copy", &target)
        .task(&Task::new("t", &["a"], "copy", &["d.*"]));
    (source, target, tideway)
}

/// Waits for a state of the stream; what a MariaDB keeps of a partitioned table that it was making when it
/// was killed is dropped as the stop says.
fn await_or_mend(tideway: &mut Tideway, target: &Server, reached: impl Fn(&Value) -> bool) {
    let mend = |status: &Value| {
        // A worker that has just begun has none yet.
        let fix = streams(status).first()?["stop"]["error"]["fix"].as_str()?;
        let (_, rest) = fix.split_once("`DROP TABLE `d`.`#mysql50#")?;
        let (file, _) = rest.split_once('`')?;
        Some(format!("DROP TABLE d.`#mysql50#{file}`"))
    };
    loop {
        let status = tideway.await_status("the state, or a partition in the way", |status| {
            let streams = streams(status);
            mend(status).is_some() || (!streams.is_empty() && streams.iter().all(&reached))
        });
        let Some(sql) = mend(&status) else { return };
        // The picture may be of the moment before it was dropped.
        let _ = target.client().try_run(&sql);
        let _ = tideway.output(&["ctl", "resume", "--task", "t", "--source", "a"]);
    }
}

/// Kills tideway, and now and then the target, at random moments while statements of all kinds go
/// through; in the end each has run once, and all tables are the same.
fn through_kills(from: Flavor, to: Flavor, kills: u64, seed: u64) {
    println!("seed {seed}, {kills} kills, {from:?} to {to:?}");
    let mut dice = Dice::new(seed);
    let (source, mut target, mut tideway) = setup(from, to);
    tideway.start();
    tideway.await_streams("sync", "running");
    let is_over = Arc::new(AtomicBool::new(false));
    let statements = Arc::new(AtomicU64::new(0));
    let cycles = {
        let (is_over, statements) = (Arc::clone(&is_over), Arc::clone(&statements));
        let mut client = source.client();
        client.run("USE d");
        std::thread::spawn(move || {
            let mut n = 0;
            while !is_over.load(Ordering::Relaxed) {
                n += 1;
                for sql in cycle(n) {
                    client.run(&sql);
                    statements.fetch_add(1, Ordering::Relaxed);
                    std::thread::sleep(Duration::from_millis(60));
                }
            }
            n
        })
    };
    let begun = Instant::now();
    for kill in 0..kills {
        std::thread::sleep(Duration::from_millis(150 + dice.below(500)));
        if dice.below(6) == 0 {
            target.kill9();
            std::thread::sleep(Duration::from_millis(dice.below(300)));
            target.restart();
        } else {
            tideway.kill9();
            tideway.start();
        }
        await_or_mend(&mut tideway, &target, |stream| {
            stream["unit"] == "sync" && stream["stage"] == "running"
        });
        if kill % 20 == 19 {
            let done = statements.load(Ordering::Relaxed);
            println!(
                "{} kills, {done} statements, {:?}",
                kill + 1,
                begun.elapsed()
            );
        }
    }
    is_over.store(true, Ordering::Relaxed);
    let cycles = cycles.join().expect("the source took all statements");
    await_or_mend(&mut tideway, &target, |stream| stream["idle"] == true);
    tideway.terminate();
    tideway.catch_up();
    assert_equal(&source, &target, &[("d", "d")]);
    let executed = executed(&target);
    let twice: Vec<_> = executed.iter().filter(|(_, count)| **count > 1).collect();
    println!(
        "{cycles} cycles, {} statements on the target, twice: {twice:#?}",
        executed.len()
    );
    for (text, count) in twice {
        assert!(is_harmless_twice(text), "{count} times: {text}");
    }
    // One cycle leaves so many statements there: the exchange of two equal tables is cut into three.
    let of_first = executed.keys().filter(|text| text.contains("a1")).count();
    assert!(of_first >= 12, "{executed:#?}");
}

#[test]
fn each_statement_runs_once_through_kills() {
    let seed = setting("TIDEWAY_SEED", u64::from(std::process::id()));
    let kills = setting("TIDEWAY_DDL_KILLS", 8);
    through_kills(Flavor::MariaDb1011, Flavor::MySql97, kills, seed);
}

#[test]
fn each_statement_runs_once_on_mariadb_too() {
    let seed = setting("TIDEWAY_SEED", u64::from(std::process::id()));
    let kills = setting("TIDEWAY_DDL_KILLS", 6);
    through_kills(Flavor::MySql97, Flavor::MariaDb1011, kills, seed);
}

/// What the source logs in two parts, or together with rows.
#[test]
fn statements_in_parts() {
    for (from, to) in [
        (Flavor::MariaDb1011, Flavor::MySql97),
        (Flavor::MySql97, Flavor::MariaDb118),
        (Flavor::MariaDb118, Flavor::MariaDb1011),
    ] {
        let mut spec = ServerSpec::new(from);
        if from.is_mariadb() {
            spec = spec.option("--binlog-alter-two-phase=ON");
        }
        let (source, target, mut tideway) = setup(spec, to);
        tideway.start();
        tideway.await_streams("sync", "running");
        let mut client = source.client();
        client.run(
            "USE d; CREATE TABLE t (a INT PRIMARY KEY, b VARCHAR(100)); INSERT INTO t VALUES (1, 'x'), (2, 'y'); \
             ALTER TABLE t ADD COLUMN c INT DEFAULT 3; INSERT INTO t VALUES (3, 'z', 4)",
        );
        // Given up: it never took effect.
        assert!(client.try_run("ALTER TABLE t ADD UNIQUE (c)").is_err() || !from.is_mariadb());
        client.run(
            "CREATE TABLE made SELECT * FROM t; INSERT INTO made (a) VALUES (9); \
             CREATE TABLE none SELECT * FROM t WHERE a > 100; CREATE TABLE base2 LIKE base; \
             ALTER TABLE made ADD PRIMARY KEY (a)",
        );
        tideway.terminate();
        tideway.catch_up();
        assert_equal(&source, &target, &[("d", "d")]);
        let log = executed(&target);
        assert!(log.values().all(|count| *count == 1), "{log:#?}");
        // MySQL's log has no word of the clause that is taken out.
        assert!(
            log.keys().all(|text| !text.contains("START TRANSACTION")) || to == Flavor::MySql97
        );
    }
}
