//! Dumps without a lock: rows in each other's way, foreign keys that change rows, and tables dropped
//! meanwhile. Each ends with the source's rows.
//!
//! `TIDEWAY_FUZZY_RUNS` is how often the families are copied (1; if it is given, between more pairs of
//! servers), `TIDEWAY_SEED` what the writes follow.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;

use serde_json::Value;

use crate::consistency::{notes, number};
use crate::support::tideway::streams;
use crate::support::traffic::Random;
use crate::support::{Flavor, Server, Task, Tideway, assert_equal};

/// A table that takes some seconds to read, chunk by chunk, at the rate of [`copy`].
const FILLER: &str = "CREATE TABLE f.filler (id INT PRIMARY KEY, pad VARCHAR(600)) DEFAULT CHARSET=utf8mb4; \
    INSERT INTO f.filler WITH RECURSIVE n AS (SELECT 1 AS id UNION ALL SELECT id + 1 FROM n WHERE id < 900) \
    SELECT id, REPEAT('x', 600) FROM n; ANALYZE TABLE f.filler";

fn copy(source: &Server, target: &Server, rate: &str) -> Tideway {
    source.source_account(&["f"]);
    target.target_account(&["f"]);
    let dump = format!(
        "[task.dump]\nconsistency = \"fuzzy\"\nthreads = 1\nchunk_size = \"64KiB\"\nrate_limit = \"{rate}\""
    );
    Tideway::new()
        .source("a", source)
        .target("copy", target)
        .task(&Task::new("t", &["a"], "copy", &["f.*"]).with(&dump))
}

fn stream(status: &Value) -> Value {
    streams(status).first().cloned().unwrap_or_default()
}

/// Waits until some chunks are read and others are not.
fn await_midst(tideway: &mut Tideway) {
    let status = tideway.await_status("the midst of the dump", |status| {
        let stream = stream(status);
        let is_behind = stream["unit"] == "load" || stream["unit"] == "sync";
        is_behind || stream["dump"]["chunks_done"].as_u64().unwrap_or(0) >= 2
    });
    assert_eq!(
        stream(&status)["unit"],
        "dump",
        "it was too quick: {status}"
    );
}

fn await_one_moment(tideway: &mut Tideway) -> String {
    let status = tideway.await_status("the span's end", |status| {
        notes(status).contains("every table is at one moment again")
    });
    notes(&status)
}

/// The text of the stream's stop.
fn await_stop(tideway: &mut Tideway) -> String {
    let stopped = tideway.await_stream("t", "a", "failed");
    stopped["stop"]["error"]["message"]
        .as_str()
        .unwrap_or_default()
        .to_owned()
}

fn retry(tideway: &Tideway) {
    tideway.ctl(&["retry", "--task", "t", "--source", "a"]);
}

const UNIQUE: &str = "CREATE TABLE f.u (id INT PRIMARY KEY, mail VARCHAR(40) NOT NULL, a INT, b VARCHAR(90), \
    part INT, pad VARCHAR(600), UNIQUE (mail), UNIQUE (a, b(3))) DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_general_ci; \
    INSERT INTO f.u WITH RECURSIVE n AS (SELECT 1 AS id UNION ALL SELECT id + 1 FROM n WHERE id < 900) \
    SELECT id, CONCAT('m', id), id, CONCAT('b', id), id % 7, REPEAT('x', 600) FROM n; ANALYZE TABLE f.u";

/// The pairs of servers to try: one, or all of them.
fn pairs<const N: usize>(all: [(Flavor, Flavor); N]) -> Vec<(Flavor, Flavor)> {
    let count = match number("TIDEWAY_FUZZY_RUNS", 0) {
        0 => 1,
        _ => N,
    };
    all.into_iter().take(count).collect()
}

/// Unique values that moved from rows read early to rows read late are in the dump twice.
#[test]
fn a_row_in_the_way_of_another_is_taken_out_by_name_and_comes_back() {
    for (from, to) in pairs([
        (Flavor::MariaDb118, Flavor::MySql97),
        (Flavor::MariaDb1011, Flavor::MariaDb1011),
        (Flavor::MySql97, Flavor::MariaDb1011),
    ]) {
        let [source, target] = Server::start_all([from, to]);
        source.run("CREATE DATABASE f");
        source.run(UNIQUE);
        let mut tideway = copy(&source, &target, "150KiB");
        tideway.start();
        await_midst(&mut tideway);
        source.run(
            "UPDATE f.u SET mail = CONCAT('was', id), a = -a WHERE id <= 40; \
             UPDATE f.u SET mail = CONCAT('M', 901 - id) WHERE id > 880; \
             UPDATE f.u SET a = 901 - id, b = CONCAT('b', 901 - id, 'zzz') WHERE id > 870 AND id <= 880; \
             UPDATE f.u SET a = NULL, mail = 'm1 ' WHERE id = 900; DELETE FROM f.u WHERE id = 39",
        );
        tideway.await_streams("sync", "running");
        let told = await_one_moment(&mut tideway);
        assert!(told.contains("consistency by `fuzzy`"), "{told}");
        assert!(told.contains("rows in the way of others"), "{told}");
        let _ = tideway.terminate();
        tideway.catch_up();
        assert_equal(&source, &target, &[("f", "f")]);
    }
}

/// A key that only the target has: rows that never changed are in each other's way, and none may go.
#[test]
fn rows_that_never_changed_are_not_taken_out() {
    let [source, target] = Server::start_all([Flavor::MariaDb1011, Flavor::MariaDb1011]);
    source.run("CREATE DATABASE f; CREATE TABLE f.own (id INT PRIMARY KEY, n INT, t VARCHAR(9), UNIQUE (t)) DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin; \
        INSERT INTO f.own VALUES (1, 5, 'a'), (2, 5, 'b')");
    source.run("CREATE TABLE f.fold (id INT PRIMARY KEY, t VARCHAR(9), UNIQUE (t)) DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin; \
        INSERT INTO f.fold VALUES (1, 'a'), (2, 'A')");
    target.run("CREATE DATABASE f; CREATE TABLE f.own (id INT PRIMARY KEY, n INT, t VARCHAR(9), UNIQUE (t), UNIQUE extra (n)) DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin; \
        CREATE TABLE f.fold (id INT PRIMARY KEY, t VARCHAR(9), UNIQUE (t)) DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_general_ci");
    let mut tideway = copy(&source, &target, "10MiB");
    tideway.start();
    // One is refused after the other.
    for _ in 0..2 {
        let message = await_stop(&mut tideway);
        let fix = if message.contains("f.own") {
            "ALTER TABLE f.own DROP KEY extra"
        } else {
            assert!(message.contains("f.fold"), "{message}");
            "ALTER TABLE f.fold CONVERT TO CHARACTER SET utf8mb4 COLLATE utf8mb4_bin"
        };
        assert!(
            message.contains("has a row already with the key of a row"),
            "{message}"
        );
        target.run(fix);
        retry(&tideway);
        tideway.await_status("it goes on or stops for the other", |status| {
            let stream = stream(status);
            stream["unit"] == "sync"
                || (stream["stage"] == "failed"
                    && stream["stop"]["error"]["message"] != message.as_str())
        });
    }
    tideway.await_streams("sync", "running");
    let _ = tideway.terminate();
    tideway.catch_up();
    assert_equal(&source, &target, &[("f", "f")]);
}

/// Within the span, too, a change takes no row with it that the source tells from its own.
#[test]
fn a_change_in_the_span_takes_no_other_row_with_it() {
    let [source, target] = Server::start_all([Flavor::MariaDb1011, Flavor::MariaDb1011]);
    source.run("CREATE DATABASE f");
    source.run(FILLER);
    source.run("CREATE TABLE f.fold (id INT PRIMARY KEY, t VARCHAR(9), UNIQUE (t)) DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin; \
        INSERT INTO f.fold VALUES (1, 'a'), (2, 'b')");
    target.run("CREATE DATABASE f; CREATE TABLE f.fold (id INT PRIMARY KEY, t VARCHAR(9), UNIQUE (t)) DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_general_ci");
    let mut tideway = copy(&source, &target, "150KiB");
    tideway.start();
    await_midst(&mut tideway);
    // In the dump, which reads it last, and again in the span.
    source.run("UPDATE f.fold SET t = 'A' WHERE id = 2");
    let message = await_stop(&mut tideway);
    assert!(message.contains("f.fold"), "{message}");
    target.run("ALTER TABLE f.fold CONVERT TO CHARACTER SET utf8mb4 COLLATE utf8mb4_bin");
    retry(&tideway);
    await_one_moment(&mut tideway);
    let _ = tideway.terminate();
    tideway.catch_up();
    assert_equal(&source, &target, &[("f", "f")]);
}

/// What happens to a table while its chunks are read: the dump begins anew, or it is replayed.
#[test]
fn a_table_altered_in_the_midst_of_its_chunks_ends_as_the_source_has_it() {
    let [source, target] = Server::start_all([Flavor::MySql97, Flavor::MariaDb1011]);
    for ddl in [
        "ALTER TABLE f.filler ADD COLUMN more INT NOT NULL DEFAULT 5 FIRST",
        "TRUNCATE TABLE f.filler; INSERT INTO f.filler VALUES (5, 'new'), (899, 'new')",
        "RENAME TABLE f.filler TO f.moved; CREATE TABLE f.filler LIKE f.moved",
        "DROP TABLE f.filler",
    ] {
        println!("{ddl}");
        source.run("DROP DATABASE IF EXISTS f; CREATE DATABASE f");
        target.run("DROP DATABASE IF EXISTS f; DROP DATABASE IF EXISTS tideway");
        source.run(FILLER);
        source.run("CREATE TABLE f.rest (id INT PRIMARY KEY); INSERT INTO f.rest VALUES (1)");
        let mut tideway = copy(&source, &target, "300KiB");
        tideway.start();
        await_midst(&mut tideway);
        source.run(ddl);
        tideway.await_streams("sync", "running");
        let _ = tideway.terminate();
        tideway.catch_up();
        assert_equal(&source, &target, &[("f", "f")]);
    }
}

const FAMILY: &str = "CREATE TABLE f.parent (id INT PRIMARY KEY, name VARCHAR(20), UNIQUE KEY (name)) DEFAULT CHARSET=utf8mb4; \
    CREATE TABLE f.child (id INT PRIMARY KEY, parent INT, note VARCHAR(20), \
        FOREIGN KEY (parent) REFERENCES f.parent (id) ON DELETE CASCADE ON UPDATE CASCADE) DEFAULT CHARSET=utf8mb4; \
    CREATE TABLE f.namesake (id INT PRIMARY KEY, name VARCHAR(20), \
        FOREIGN KEY (name) REFERENCES f.parent (name) ON DELETE SET NULL ON UPDATE CASCADE) DEFAULT CHARSET=utf8mb4; \
    CREATE TABLE f.grandchild (id INT PRIMARY KEY, child INT NOT NULL, \
        FOREIGN KEY (child) REFERENCES f.child (id) ON DELETE CASCADE ON UPDATE CASCADE) DEFAULT CHARSET=utf8mb4; \
    CREATE TABLE f.strict_child (id INT PRIMARY KEY, parent INT NOT NULL, \
        FOREIGN KEY (parent) REFERENCES f.parent (id)) DEFAULT CHARSET=utf8mb4; \
    CREATE TABLE f.tree (id INT PRIMARY KEY, above INT, \
        FOREIGN KEY (above) REFERENCES f.tree (id) ON DELETE CASCADE) DEFAULT CHARSET=utf8mb4; \
    INSERT INTO f.parent WITH RECURSIVE n AS (SELECT 1 AS id UNION ALL SELECT id + 1 FROM n WHERE id < 900) SELECT id, CONCAT('n', id) FROM n; \
    INSERT INTO f.child SELECT id * 10, id, 'first' FROM f.parent; INSERT INTO f.child SELECT id * 10 + 1, id, 'second' FROM f.parent; \
    INSERT INTO f.namesake SELECT id, name FROM f.parent; INSERT INTO f.grandchild SELECT id, id FROM f.child; \
    INSERT INTO f.strict_child SELECT id, id FROM f.parent WHERE id % 50 = 0; \
    SET foreign_key_checks = 0; INSERT INTO f.tree SELECT id, IF(id <= 20, NULL, id - 20) FROM f.parent; SET foreign_key_checks = 1";

/// A writer whose statements set foreign keys in motion; it ends when told to.
struct Family {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Family {
    fn start(source: &Server, seed: u64) -> Self {
        let (stop, done) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicU64::new(0)),
        );
        let mut client = source.client();
        let (ended, count) = (Arc::clone(&stop), Arc::clone(&done));
        let thread = std::thread::spawn(move || {
            let mut random = Random::new(seed);
            client.run("USE f");
            while !ended.load(Ordering::Relaxed) {
                let (id, other) = (1 + random.below(900), 1 + random.below(900));
                let statement = match random.below(8) {
                    0 => format!("DELETE FROM parent WHERE id = {id}"),
                    1 => format!("UPDATE parent SET id = {other} WHERE id = {id}"),
                    2 => format!("UPDATE parent SET name = 'n{other}' WHERE id = {id}"),
                    3 => format!("REPLACE INTO parent VALUES ({id}, 'n{other}')"),
                    4 => format!("INSERT INTO child VALUES ({id}1, {other}, 'later')"),
                    5 => format!("UPDATE child SET id = {id}2 WHERE id = {other}0"),
                    6 => format!("DELETE FROM tree WHERE id = {id}"),
                    _ => format!("INSERT INTO tree VALUES ({id}, {other})"),
                };
                // Some of them meet what is there or miss what is not: that is so at the source alone.
                let _ = client.try_run(&statement);
                count.fetch_add(1, Ordering::Relaxed);
            }
        });
        Self {
            stop,
            done,
            thread: Some(thread),
        }
    }

    fn await_more(&self, more: u64) {
        let goal = self.done.load(Ordering::Relaxed) + more;
        while self.done.load(Ordering::Relaxed) < goal {
            assert!(!self.thread.as_ref().is_none_or(JoinHandle::is_finished));
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }

    fn stop(mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

/// What foreign keys do is in no event of MariaDB: the tables they tie are of one moment.
#[test]
fn families_that_the_source_does_not_log_are_read_at_one_moment() {
    let runs = number("TIDEWAY_FUZZY_RUNS", 1);
    let seed = number("TIDEWAY_SEED", 20_261_123);
    for (from, to) in pairs([
        (Flavor::MariaDb1011, Flavor::MariaDb1011),
        (Flavor::MariaDb118, Flavor::MySql97),
    ]) {
        let [source, target] = Server::start_all([from, to]);
        for run in 0..runs {
            println!("{from:?}, run {run}, seed {}", seed + run);
            source.run("DROP DATABASE IF EXISTS f; CREATE DATABASE f");
            target.run("DROP DATABASE IF EXISTS f; DROP DATABASE IF EXISTS tideway");
            source.run(FILLER);
            source.run(FAMILY);
            let mut tideway = copy(&source, &target, "250KiB");
            let family = Family::start(&source, seed + run);
            family.await_more(30);
            tideway.start();
            await_midst(&mut tideway);
            if run % 2 == 0 {
                // They are of one moment also if the dump is killed.
                tideway.kill9();
                tideway.start();
            }
            tideway.await_streams("sync", "running");
            family.await_more(100);
            family.stop();
            let told = await_one_moment(&mut tideway);
            assert!(told.contains("read at one moment by one session"), "{told}");
            let _ = tideway.terminate();
            tideway.catch_up();
            assert_equal(&source, &target, &[("f", "f")]);
        }
    }
}

/// A DROP of a table that is of a later moment, and of another that is not.
#[test]
fn a_drop_of_several_tables_within_the_span_drops_those_it_must() {
    let [source, target] = Server::start_all([Flavor::MariaDb1011, Flavor::MySql97]);
    source.run("CREATE DATABASE f");
    source.run(FILLER);
    // Without a key, so that it is read at one moment, after the filler.
    source.run("CREATE TABLE f.loose (n INT); INSERT INTO f.loose VALUES (1), (1), (2)");
    let mut tideway = copy(&source, &target, "150KiB");
    tideway.start();
    await_midst(&mut tideway);
    source.run("CREATE TABLE f.other (id INT PRIMARY KEY); INSERT INTO f.other VALUES (1); \
        DROP TABLE f.loose, f.other; CREATE TABLE f.loose (n INT); INSERT INTO f.loose VALUES (3), (3)");
    await_one_moment(&mut tideway);
    source.run("INSERT INTO f.loose VALUES (4)");
    let _ = tideway.terminate();
    tideway.catch_up();
    assert_equal(&source, &target, &[("f", "f")]);
    assert_eq!(
        target.client().texts("SHOW TABLES IN f"),
        [["filler"], ["loose"]]
    );
}

/// Files that vanish while the dump is interrupted: a table of one moment cannot be read again at
/// another, so the dump begins anew.
#[test]
fn a_dump_whose_files_vanished_begins_anew_where_it_must() {
    let [source, target] = Server::start_all([Flavor::MariaDb1011, Flavor::MariaDb1011]);
    source.run("CREATE DATABASE f");
    source.run(FILLER);
    // Without a key, and the biggest, so that it is read first.
    source.run("CREATE TABLE f.loose SELECT id % 5 AS n, CONCAT(pad, pad) AS pad FROM f.filler; ANALYZE TABLE f.loose");
    let mut tideway = copy(&source, &target, "250KiB");
    tideway.start();
    await_midst(&mut tideway);
    tideway.kill9();
    let folder = tideway.data_folder().join("dump/t/a");
    let mut removed = 0;
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        if path.file_name().unwrap() != ".progress.jsonl" {
            std::fs::remove_file(path).unwrap();
            removed += 1;
        }
    }
    assert!(removed > 0);
    source.run("DELETE FROM f.loose WHERE n = 3; INSERT INTO f.loose VALUES (9, 'later')");
    tideway.start();
    tideway.await_status("the new beginning", |status| {
        notes(status).contains("files of the unfinished dump in the folder are missing")
            || stream(status)["unit"] == "sync"
    });
    tideway.await_streams("sync", "running");
    let _ = tideway.terminate();
    tideway.catch_up();
    assert_equal(&source, &target, &[("f", "f")]);
}

/// What a filter leaves out would be missing where rows of two moments are made those of one.
#[test]
fn a_filter_on_rows_refuses_a_dump_without_a_lock() {
    let [source, target] = Server::start_all([Flavor::MariaDb1011, Flavor::MariaDb1011]);
    source.run("CREATE DATABASE f; CREATE TABLE f.a (id INT PRIMARY KEY)");
    source.source_account(&["f"]);
    target.target_account(&["f"]);
    let lines = "[task.dump]\nconsistency = \"fuzzy\"\n[[task.filter]]\ntables = \"f.a\"\n\
                 events = [\"update\"]\naction = \"ignore\"";
    let mut tideway = Tideway::new()
        .source("a", &source)
        .target("copy", &target)
        .task(&Task::new("t", &["a"], "copy", &["f.*"]).with(lines));
    tideway.start();
    let message = await_stop(&mut tideway);
    assert!(
        message.contains("a filter leaves changes of f.a out (update)"),
        "{message}"
    );
}

/// A parent that is not copied: its DELETE takes children along, and nothing in the binlog says so.
#[test]
fn a_parent_beside_the_task_stops_the_stream_where_it_changes_children() {
    let [source, target] = Server::start_all([Flavor::MariaDb1011, Flavor::MariaDb1011]);
    source.run("CREATE DATABASE f; CREATE DATABASE g; CREATE TABLE g.parent (id INT PRIMARY KEY, note INT); \
        INSERT INTO g.parent VALUES (1, 1), (2, 2); CREATE TABLE f.child (id INT PRIMARY KEY, parent INT, \
        FOREIGN KEY (parent) REFERENCES g.parent (id) ON DELETE CASCADE); INSERT INTO f.child VALUES (1, 1), (2, 2)");
    source.source_account(&["f", "g"]);
    target.target_account(&["f"]);
    // The child as it can be without its parent.
    target.run(
        "CREATE DATABASE f; CREATE TABLE f.child (id INT PRIMARY KEY, parent INT, KEY (parent))",
    );
    let mut tideway = Tideway::new()
        .source("a", &source)
        .target("copy", &target)
        .task(&Task::new("t", &["a"], "copy", &["f.*"]));
    tideway.start();
    tideway.await_streams("sync", "running");
    source.run("INSERT INTO g.parent VALUES (3, 3); UPDATE g.parent SET note = 5 WHERE id = 1; INSERT INTO f.child VALUES (3, 3)");
    target.await_value("SELECT COUNT(*) FROM f.child", "3");
    source.run("DELETE FROM g.parent WHERE id = 2");
    let message = await_stop(&mut tideway);
    assert!(
        message.contains("a change of g.parent, which the task does not take"),
        "{message}"
    );
}
