//! Each change of the source reaches the target once, whatever is killed, cut or started twice.
//!
//! The strictest check: a table without a key, where a doubled row shows, and triggers on the target
//! that count every write, so that a change that was done, undone and done again in another
//! transaction, or done twice with the same result, shows even where the rows look right. The source
//! counts the same writes by the same triggers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::support::proxy::Proxy;
use crate::support::{Flavor, Server, Task, Tideway, assert_equal};

/// The tables whose writes are counted.
const LEDGER: &str = "CREATE DATABASE ledger; \
    CREATE TABLE ledger.heap (n BIGINT, w INT, f FLOAT, t VARCHAR(60)) DEFAULT CHARSET=utf8mb4; \
    CREATE TABLE ledger.keyed (id INT PRIMARY KEY, n BIGINT NOT NULL, u INT NULL UNIQUE, t TEXT) DEFAULT CHARSET=utf8mb4; \
    INSERT INTO ledger.heap VALUES (1, 1, 0.1, 'first'), (1, 1, 0.1, 'first'), (2, NULL, NULL, NULL); \
    INSERT INTO ledger.keyed VALUES (1, 1, 1, 'x'), (2, 1, NULL, NULL)";

/// Makes the triggers that count, each write with its kind.
fn count_writes(server: &Server) {
    let mut client = server.client();
    client.run(
        "CREATE DATABASE counted; \
         CREATE TABLE counted.writes (what VARCHAR(20) PRIMARY KEY, times BIGINT NOT NULL)",
    );
    for table in ["heap", "keyed"] {
        for action in ["INSERT", "UPDATE", "DELETE"] {
            client.run(&format!(
                "INSERT INTO counted.writes VALUES ('{action} {table}', 0)"
            ));
            client.run(&format!(
                "CREATE TRIGGER ledger.{table}_{action} AFTER {action} ON ledger.{table} FOR EACH ROW \
                 UPDATE counted.writes SET times = times + 1 WHERE what = '{action} {table}'"
            ));
        }
    }
}

fn counts(server: &Server) -> Vec<Vec<String>> {
    server
        .client()
        .texts("SELECT what, times FROM counted.writes ORDER BY what")
}

/// splitmix64: small, and the same everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

/// A thread that changes the ledger; every statement that finds a row changes it.
struct Bookkeeper {
    stop: Arc<AtomicBool>,
    committed: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Bookkeeper {
    fn start(server: &Server, seed: u64) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let committed = Arc::new(AtomicU64::new(0));
        let mut client = server.client();
        let thread = {
            let (stop, committed) = (Arc::clone(&stop), Arc::clone(&committed));
            std::thread::spawn(move || {
                let mut random = Random(seed);
                let mut next = 10;
                while !stop.load(Ordering::Relaxed) {
                    client.run(&transaction(&mut random, &mut next));
                    committed.fetch_add(1, Ordering::Relaxed);
                    std::thread::sleep(Duration::from_millis(2));
                }
            })
        };
        Self {
            stop,
            committed,
            thread: Some(thread),
        }
    }

    fn end(mut self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(Err(panic)) = self.thread.take().map(JoinHandle::join) {
            std::panic::resume_unwind(panic);
        }
        self.committed.load(Ordering::Relaxed)
    }
}

impl Drop for Bookkeeper {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn transaction(random: &mut Random, next: &mut u64) -> String {
    let n = random.below(40);
    let k = random.below(200);
    match random.below(9) {
        // Twice the same row: only their number tells them apart.
        0 | 1 => format!(
            "INSERT INTO ledger.heap VALUES ({n}, {k}, {n}.1, 'it''s {n}'), ({n}, {k}, {n}.1, 'it''s {n}'), ({n}, NULL, NULL, NULL)"
        ),
        2 => format!("UPDATE ledger.heap SET w = IFNULL(w, 0) + 1 WHERE n = {n} LIMIT 4"),
        3 => format!("DELETE FROM ledger.heap WHERE n = {n} LIMIT 2"),
        4 | 5 => {
            *next += 1;
            format!(
                "BEGIN; INSERT INTO ledger.keyed VALUES ({next}, {n}, {next}, REPEAT('y', {k})); \
                 UPDATE ledger.keyed SET n = n + 1 WHERE id BETWEEN {next} - 3 AND {next}; \
                 INSERT INTO ledger.heap VALUES ({next}, 0, 0.5, NULL); COMMIT"
            )
        }
        6 => format!(
            "BEGIN; UPDATE ledger.keyed SET u = -u WHERE u IS NOT NULL AND id % 7 = {n} % 7 AND id > {next} - 40; \
             DELETE FROM ledger.keyed WHERE id = {next} - 20; COMMIT"
        ),
        7 => format!(
            "UPDATE ledger.keyed SET n = n + 1 WHERE id % 11 = {n} % 11 AND id > {next} - 50"
        ),
        _ => format!(
            "BEGIN; UPDATE ledger.heap SET f = IFNULL(f, 0) + 0.5 WHERE n = {n} LIMIT 3; SAVEPOINT s; \
             DELETE FROM ledger.keyed; ROLLBACK TO s; UPDATE ledger.keyed SET n = n + 1 WHERE id = 1; COMMIT"
        ),
    }
}

/// A source and a target in sync, both counting.
struct Pair {
    source: Server,
    target: Server,
    tideway: Tideway,
}

impl Pair {
    /// `through` is where the worker finds the target: itself, or a proxy to it.
    fn start(from: Flavor, to: Flavor, through: impl FnOnce(&Server) -> u16) -> Self {
        let [source, target] = Server::start_all([from, to]);
        source.run(LEDGER);
        source.source_account(&["ledger"]);
        target.target_account(&["ledger"]);
        let port = through(&target);
        let tideway = Tideway::new()
            .with("retry_limit = \"1h\"")
            .source("a", &source)
            .target_with("copy", &target, &format!("port = {port}"))
            .task(
                &Task::new("t", &["a"], "copy", &["ledger.*"]).with("[task.sync]\nbatch_rows = 50"),
            );
        let mut pair = Self {
            source,
            target,
            tideway,
        };
        pair.tideway.start();
        pair.tideway.await_streams("sync", "running");
        count_writes(&pair.source);
        count_writes(&pair.target);
        pair
    }

    /// The mark's offset, by the target itself.
    fn mark(&self) -> String {
        self.target.client().value(
            "SELECT CONCAT(binlog_file, ':', binlog_offset) FROM tideway.checkpoint WHERE slot = 0",
        )
    }

    /// Waits until something is applied.
    fn await_progress(&mut self) {
        let before = self.mark();
        let end = Instant::now() + Duration::from_mins(1);
        while self.mark() == before {
            assert!(
                Instant::now() < end,
                "nothing is applied\n{}",
                self.tideway.story()
            );
            std::thread::sleep(Duration::from_millis(15));
        }
    }

    /// Applies the rest; both sides must hold the same rows, and have counted the same writes.
    fn settle(mut self) {
        if self.tideway.is_running() {
            assert!(
                self.tideway.terminate().success(),
                "{}",
                self.tideway.story()
            );
        }
        self.tideway.catch_up();
        assert_equal(&self.source, &self.target, &[("ledger", "ledger")]);
        assert_eq!(counts(&self.source), counts(&self.target));
    }
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name)
        .ok()
        .and_then(|value| value.parse().ok())
        .unwrap_or(default)
}

/// Kills of the worker, the target and their connections, at moments that the seed chooses.
/// `TIDEWAY_KILLS` says how many, `TIDEWAY_SEED` which.
fn killed_at_random(from: Flavor, to: Flavor, default_seed: u64) {
    let (kills, seed) = (
        setting("TIDEWAY_KILLS", 7),
        setting("TIDEWAY_SEED", default_seed),
    );
    println!("{from:?} to {to:?}: {kills} kills, seed {seed}");
    let mut random = Random(seed);
    let mut pair = Pair::start(from, to, Server::port);
    let traffic = Bookkeeper::start(&pair.source, seed);
    let (mut workers, mut targets, mut connections) = (0, 0, 0);
    for kill in 0..kills {
        if !pair.tideway.is_running() {
            pair.tideway.start();
        }
        // Most while changes are applied, some while the worker or the target still begins.
        if random.below(4) != 0 {
            pair.await_progress();
        }
        std::thread::sleep(Duration::from_millis(random.below(400)));
        // The first three are one of each.
        match if kill < 3 { kill * 5 } else { random.below(12) } {
            0..=4 | 11 => {
                pair.tideway.kill9();
                workers += 1;
            }
            5..=7 => {
                pair.target.kill9();
                std::thread::sleep(Duration::from_millis(random.below(600)));
                pair.target.restart();
                targets += 1;
            }
            _ => {
                let mut client = pair.target.client();
                for id in client
                    .texts("SELECT ID FROM information_schema.PROCESSLIST WHERE USER = 'tideway'")
                {
                    // It may have ended by itself.
                    if client.try_run(&format!("KILL {}", id[0])).is_ok() {
                        connections += 1;
                    }
                }
            }
        }
    }
    let committed = traffic.end();
    println!(
        "{workers} workers, {targets} targets, {connections} connections killed; {committed} transactions"
    );
    pair.settle();
}

#[test]
fn killed_at_random_from_mariadb_to_mariadb() {
    killed_at_random(Flavor::MariaDb1011, Flavor::MariaDb1011, 61);
}

#[test]
fn killed_at_random_from_mysql_to_mysql() {
    killed_at_random(Flavor::MySql97, Flavor::MySql97, 62);
}

/// The line is cut again and again while packets with their COMMIT are under way, in either direction:
/// whether one is in is read from the checkpoint, never guessed.
#[test]
fn cut_between_commit_and_its_answer() {
    let cuts = setting("TIDEWAY_CUTS", 6);
    let seed = setting("TIDEWAY_SEED", 63);
    println!("{cuts} cuts, seed {seed}");
    let mut proxy = None;
    let mut pair = Pair::start(Flavor::MariaDb1011, Flavor::MariaDb1011, |target| {
        proxy.insert(Proxy::to(target.port())).port()
    });
    let proxy = proxy.expect("it was made");
    // The answer is under way for so long that most cuts fall between it and the COMMIT.
    proxy.delay(Duration::from_millis(15));
    let mut random = Random(seed);
    let traffic = Bookkeeper::start(&pair.source, seed);
    for _ in 0..cuts {
        pair.await_progress();
        std::thread::sleep(Duration::from_millis(random.below(60)));
        proxy.cut();
    }
    proxy.delay(Duration::ZERO);
    traffic.end();
    pair.settle();
}

/// The first process stands still in the middle of its work, and its packets with it; a second one
/// with the same task takes the stream. When the first goes on it must find that out, and write no more.
#[test]
fn a_second_process_takes_the_stream() {
    let mut pair = Pair::start(Flavor::MySql97, Flavor::MariaDb1011, Server::port);
    let traffic = Bookkeeper::start(&pair.source, 64);
    let mut second = Tideway::new()
        .source("a", &pair.source)
        .target("copy", &pair.target)
        .task(&Task::new("t", &["a"], "copy", &["ledger.*"]));
    pair.await_progress();
    // Whatever it was about to commit stays open on the target, with its locks, until it goes on.
    pair.tideway.freeze();
    second.start();
    std::thread::sleep(Duration::from_millis(1500));
    pair.tideway.thaw();
    second.await_streams("sync", "running");
    let fenced = pair.tideway.await_stream("t", "a", "failed");
    let message = fenced["stop"]["error"]["message"]
        .as_str()
        .unwrap_or_default();
    assert!(message.contains("another process"), "{fenced}");
    pair.await_progress();
    traffic.end();
    assert!(second.terminate().success(), "{}", second.story());
    // The first may take it back once it is asked to.
    pair.tideway.kill9();
    pair.settle();
}

/// The target fails over to a replica that lags: rows and checkpoint are of the same, earlier moment.
/// The stream goes back to it, with all that it has in memory.
#[test]
fn a_checkpoint_behind_memory_is_followed_back() {
    let mut pair = Pair::start(Flavor::MariaDb1011, Flavor::MySql97, Server::port);
    let traffic = Bookkeeper::start(&pair.source, 65);
    pair.await_progress();
    let tables = [
        "ledger.heap",
        "ledger.keyed",
        "counted.writes",
        "tideway.checkpoint",
    ];
    let mut client = pair.target.client();
    client.run("CREATE DATABASE replica; SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ");
    for table in tables {
        let name = table.replace('.', "_");
        client.run(&format!("CREATE TABLE replica.{name} LIKE {table}"));
    }
    // One moment of all of them.
    let copies: Vec<String> = tables
        .iter()
        .map(|table| {
            format!(
                "INSERT INTO replica.{} SELECT * FROM {table}",
                table.replace('.', "_")
            )
        })
        .collect();
    client.run(&format!(
        "START TRANSACTION WITH CONSISTENT SNAPSHOT; {}; COMMIT",
        copies.join("; ")
    ));
    let before = client.value(
        "SELECT CONCAT(binlog_file, ':', binlog_offset) FROM replica.tideway_checkpoint WHERE slot = 0",
    );
    for _ in 0..5 {
        pair.await_progress();
    }
    // The worker's connections end, and what they find next is the replica's state.
    for trigger in ["heap", "keyed"].iter().flat_map(|table| {
        ["INSERT", "UPDATE", "DELETE"].map(|action| format!("ledger.{table}_{action}"))
    }) {
        client.run(&format!("DROP TRIGGER {trigger}"));
    }
    client
        .run("UPDATE mysql.user SET account_locked = 'Y' WHERE User = 'tideway'; FLUSH PRIVILEGES");
    for id in client.texts("SELECT ID FROM information_schema.PROCESSLIST WHERE USER = 'tideway'") {
        let _ = client.try_run(&format!("KILL {}", id[0]));
    }
    std::thread::sleep(Duration::from_millis(300));
    let mut back = vec!["BEGIN".to_owned()];
    for table in tables {
        back.push(format!("DELETE FROM {table}"));
        back.push(format!(
            "INSERT INTO {table} SELECT * FROM replica.{}",
            table.replace('.', "_")
        ));
    }
    client.run(&format!("{}; COMMIT", back.join("; ")));
    assert_eq!(pair.mark(), before);
    drop(client);
    let mut client = pair.target.client();
    for table in ["heap", "keyed"] {
        for action in ["INSERT", "UPDATE", "DELETE"] {
            client.run(&format!(
                "CREATE TRIGGER ledger.{table}_{action} AFTER {action} ON ledger.{table} FOR EACH ROW \
                 UPDATE counted.writes SET times = times + 1 WHERE what = '{action} {table}'"
            ));
        }
    }
    client
        .run("UPDATE mysql.user SET account_locked = 'N' WHERE User = 'tideway'; FLUSH PRIVILEGES");
    if let Some(stage) = pair
        .tideway
        .status()
        .map(|status| status["streams"][0]["stage"].clone())
        && stage != "running"
    {
        pair.tideway
            .ctl(&["resume", "--task", "t", "--source", "a"]);
    }
    pair.await_progress();
    traffic.end();
    pair.settle();
}
