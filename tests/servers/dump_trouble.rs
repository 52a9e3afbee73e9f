//! What can go wrong at the source while it is dumped: each is handled, or told clearly, and nothing
//! is lost.
//!
//! `TIDEWAY_DUMP_KILLS` is how often a dump without a lock is killed (3), `TIDEWAY_MANY_TABLES` how
//! many tables "many" are (300), `TIDEWAY_SEED` what the writes follow.

use std::time::{Duration, Instant};

use tideway::dump_files::Manifest;
use tideway::model::ErrorKind;

use crate::consistency::{notes, number};
use crate::dump_job::Copy;
use crate::relay::primary_and_replica;
use crate::support::fixture::create_shop;
use crate::support::tideway::streams;
use crate::support::{Flavor, Server, Task, Tideway, Traffic, assert_equal};

/// A source with a table `d.big` that is read first, and some others.
fn source(flavor: Flavor) -> Server {
    let server = Server::start(flavor);
    server.run("CREATE DATABASE d; USE d; CREATE TABLE big (id INT PRIMARY KEY, t VARCHAR(400))");
    server
}

/// Fills `d.big`: 8,000 rows of 400 bytes.
fn fill(server: &Server) {
    for from in 0..8 {
        let rows: Vec<String> = (0..1000)
            .map(|n| format!("({}, REPEAT('{}', 400))", from * 1000 + n, n % 10))
            .collect();
        server.run(&format!("INSERT INTO d.big VALUES {}", rows.join(",")));
    }
    server.run("ANALYZE TABLE d.big");
    server.account("tideway", &[("ALL", "*.*")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_altered_during_a_dump_makes_it_begin_anew() {
    for flavor in [Flavor::MariaDb1011, Flavor::MySql97] {
        let mut server = source(flavor);
        server.run("CREATE TABLE d.late (id INT PRIMARY KEY, n INT); INSERT INTO d.late VALUES (1, 1), (2, 2)");
        fill(&server);
        let copy = Copy::new(
            &server,
            &server,
            &["d.*"],
            "threads = 1\nchunk_size = \"256KiB\"\nrate_limit = \"1500KiB\"",
        );
        for ddl in [
            "TRUNCATE TABLE d.late",
            "ALTER TABLE d.late ADD COLUMN more INT NOT NULL DEFAULT 5 FIRST",
            "RENAME TABLE d.late TO d.later",
            "DROP TABLE d.later",
        ] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("dump");
            let (dumped, ()) = tokio::join!(copy.dump(&path), async {
                tokio::time::sleep(Duration::from_millis(1200)).await;
                tokio::task::block_in_place(|| server.run(ddl));
            });
            match dumped {
                // `late` was read before, at the dump's moment.
                Ok((manifest, _)) => println!("{flavor:?}, {ddl}: whole, {} rows", manifest.rows()),
                Err(error) => {
                    println!("{flavor:?}, {ddl}: {error}");
                    assert_eq!(error.kind(), ErrorKind::Changed, "{ddl}: {error}");
                    assert!(error.message().contains("d.late"), "{ddl}: {error}");
                    assert!(!path.exists(), "{ddl}: what is left could be loaded");
                }
            }
        }
        server.stop();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_connection_ends_a_dump_and_leaves_nothing_to_load() {
    let server = source(Flavor::MySql97);
    fill(&server);
    let copy = Copy::new(
        &server,
        &server,
        &["d.*"],
        "threads = 2\nrate_limit = \"500KiB\"",
    );
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("dump");
    let (dumped, ()) = tokio::join!(copy.dump(&path), async {
        tokio::time::sleep(Duration::from_millis(1500)).await;
        tokio::task::block_in_place(|| {
            let ids = server
                .client()
                .texts("SELECT ID FROM information_schema.PROCESSLIST WHERE USER = 'tideway'");
            for id in ids {
                let _ = server.client().try_run(&format!("KILL {}", id[0]));
            }
        });
    });
    let error = dumped.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Connect, "{error}");
    assert!(!path.exists());
}

/// As wide as the servers make rows, and as long.
#[tokio::test(flavor = "multi_thread")]
async fn the_widest_rows_and_the_emptiest_tables_are_dumped() {
    let [server, target] = Server::start_all([Flavor::MariaDb1011, Flavor::MySql97]);
    let columns: Vec<String> = (1..1017).map(|n| format!("c{n} INT")).collect();
    let values: Vec<String> = (1..1017).map(|n| n.to_string()).collect();
    let texts: Vec<String> = (1..190).map(|n| format!("c{n} TEXT")).collect();
    let long: Vec<String> = (1..190).map(|_| "REPEAT('ab', 32767)".to_owned()).collect();
    server.run("CREATE DATABASE d; CREATE DATABASE void; SET GLOBAL max_allowed_packet = 1 << 30");
    server.run(&format!(
        "USE d; SET SESSION innodb_strict_mode = OFF; CREATE TABLE none (id INT PRIMARY KEY, t TEXT); \
         CREATE TABLE wide (id INT PRIMARY KEY, {}) ROW_FORMAT=DYNAMIC; INSERT INTO wide VALUES (1, {}), (2, {}); \
         CREATE TABLE texts (id INT PRIMARY KEY, {}) ROW_FORMAT=DYNAMIC; INSERT INTO texts VALUES (1, {}); \
         CREATE TABLE blobs (id INT PRIMARY KEY, b LONGBLOB); INSERT INTO blobs VALUES (1, REPEAT(x'00FF', 3000000)), (2, NULL)",
        columns.join(", "),
        values.join(", "),
        values.join(", "),
        texts.join(", "),
        long.join(", "),
    ));
    server.source_account(&["d", "void"]);
    target.run("SET GLOBAL max_allowed_packet = 1 << 28");
    target.target_account(&["d", "void"]);
    let mut tideway = Tideway::new()
        .source("a", &server)
        .target("t", &target)
        .task(&Task::new("copy", &["a"], "t", &["d.*", "void.*"]));
    tokio::task::block_in_place(|| {
        tideway.catch_up();
        assert_equal(&server, &target, &[("d", "d")]);
        // What comes into the empty database later finds it.
        server
            .run("CREATE TABLE void.later (id INT PRIMARY KEY); INSERT INTO void.later VALUES (7)");
        tideway.catch_up();
        assert_equal(&server, &target, &[("void", "void")]);
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn many_tables_are_planned_quickly() {
    let many = number("TIDEWAY_MANY_TABLES", 300);
    for flavor in [Flavor::MariaDb1011, Flavor::MySql97] {
        let server = Server::start(flavor);
        server.run("CREATE DATABASE d");
        let mut client = server.client();
        for from in (0..many).step_by(100) {
            let sql: Vec<String> = (from..many.min(from + 100))
                .map(|n| format!("CREATE TABLE d.t{n} (id INT PRIMARY KEY, a VARCHAR(20), KEY (a)) COMMENT='{n}'; INSERT INTO d.t{n} VALUES ({n}, 'x')"))
                .collect();
            client.run(&sql.join("; "));
        }
        server.account("tideway", &[("ALL", "*.*")]);
        let copy = Copy::new(&server, &server, &["d.*"], "threads = 4");
        let folder = tempfile::tempdir().unwrap();
        let begun = Instant::now();
        let (manifest, _) = copy.dump(&folder.path().join("dump")).await.unwrap();
        println!("{flavor:?}: {many} tables in {:?}", begun.elapsed());
        for note in &manifest.header.notes {
            println!("  {note}");
        }
        assert_eq!(manifest.tables.len() as u64, many);
        assert_eq!(manifest.rows(), many);
    }
}

/// Writers to a table of an engine without versions, in step with one that has them.
#[tokio::test(flavor = "multi_thread")]
async fn tables_without_versions_are_of_the_same_moment() {
    for flavor in [Flavor::MariaDb1011, Flavor::MySql97] {
        let server = source(flavor);
        server.run("CREATE TABLE d.loose (id INT PRIMARY KEY) ENGINE=MyISAM; CREATE TABLE d.firm (id INT PRIMARY KEY) ENGINE=InnoDB");
        fill(&server);
        let copy = Copy::new(
            &server,
            &server,
            &["d.*"],
            "consistency = \"flush\"\nthreads = 2",
        );
        let folder = tempfile::tempdir().unwrap();
        let mut client = server.client();
        let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let ended = std::sync::Arc::clone(&stop);
        let writer = std::thread::spawn(move || {
            for id in 1.. {
                if ended.load(std::sync::atomic::Ordering::Relaxed) {
                    return id;
                }
                client.run(&format!("INSERT INTO d.firm VALUES ({id})"));
                client.run(&format!("INSERT INTO d.loose VALUES ({id})"));
            }
            0
        });
        tokio::time::sleep(Duration::from_millis(300)).await;
        let (manifest, _) = copy.dump(&folder.path().join("dump")).await.unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        let written = writer.join().unwrap();
        let rows = |name: &str| {
            let mut tables = manifest.tables.iter();
            tables
                .find(|(table, _)| table.name == name)
                .unwrap()
                .1
                .rows()
        };
        let (loose, firm) = (rows("loose"), rows("firm"));
        println!(
            "{flavor:?}: {loose} and {firm} of {written}; {:?}",
            manifest.header.notes
        );
        assert!(loose > 0 && firm < written, "nothing was written meanwhile");
        assert!(firm == loose || firm == loose + 1, "{loose} and {firm}");
        let held = manifest
            .header
            .notes
            .iter()
            .any(|n| n.contains("kept waiting for"));
        assert!(held, "{:?}", manifest.header.notes);
    }
}

#[test]
fn a_killed_dump_without_a_lock_goes_on_chunk_by_chunk() {
    let kills = number("TIDEWAY_DUMP_KILLS", 3);
    let seed = number("TIDEWAY_SEED", 20_261_123);
    for (flavor, to) in [
        (Flavor::MariaDb118, Flavor::MariaDb1011),
        (Flavor::MySql97, Flavor::MySql97),
    ] {
        println!("{flavor:?}, seed {seed}");
        let [source, target] = Server::start_all([flavor, to]);
        create_shop(&mut source.client(), "shop", 12_000, 1000);
        // Tables are cut by what the server thinks of their size; it would find out in its own time.
        source.run("ANALYZE TABLE shop.orders, shop.order_line, shop.visit, shop.customer");
        source.source_account(&["shop"]);
        target.target_account(&["shop"]);
        let dump = "[task.dump]\nconsistency = \"fuzzy\"\nthreads = 2\nchunk_size = \"128KiB\"\n\
                    rate_limit = \"400KiB\"";
        let mut tideway = Tideway::new()
            .source("a", &source)
            .target("t", &target)
            .task(&Task::new("shop", &["a"], "t", &["shop.*"]).with(dump));
        let traffic = Traffic::start(&source, "shop", 1000, seed);
        let mut done = 0;
        for kill in 0..kills {
            tideway.start();
            let status = tideway.await_status("more chunks", |status| {
                let stream = streams(status).first().cloned().unwrap_or_default();
                let chunks = stream["dump"]["chunks_done"].as_u64().unwrap_or(0);
                stream["unit"] != "dump" || chunks > done + 1
            });
            let stream = &streams(&status)[0];
            if kill > 0 && done > 0 {
                let told = notes(&status);
                assert!(told.contains("goes on with the dump begun at"), "{told}");
            }
            let throttled = stream["dump"]["throttled"].as_str().unwrap_or_default();
            println!(
                "kill {kill}: {} chunks, {} rows, `{throttled}`",
                stream["dump"]["chunks_done"], stream["dump"]["rows_done"]
            );
            tideway.kill9();
            if stream["unit"] != "dump" {
                break;
            }
            done = stream["dump"]["chunks_done"].as_u64().unwrap_or(0);
            // Some more changes that no chunk of the next process is before.
            traffic.await_more(10);
        }
        assert!(done > 0, "it was never killed in its dump");
        tideway.start();
        tideway.await_streams("sync", "running");
        traffic.await_more(20);
        traffic.stop();
        let _ = tideway.terminate();
        tideway.catch_up();
        assert_equal(&source, &target, &[("shop", "shop")]);
    }
}

/// `back_off`: while too many threads run at the source, nothing is read, and the screen says why.
#[test]
fn a_busy_source_is_not_read_from() {
    let [source, target] = Server::start_all([Flavor::MariaDb1011, Flavor::MariaDb1011]);
    create_shop(&mut source.client(), "shop", 6000, 1000);
    source.source_account(&["shop"]);
    target.target_account(&["shop"]);
    let busy: Vec<_> = (0..6)
        .map(|_| {
            let mut client = source.client();
            std::thread::spawn(move || client.run("DO SLEEP(6)"))
        })
        .collect();
    let dump = "[task.dump]\nthreads = 1\nchunk_size = \"64KiB\"\nrate_limit = \"200KiB\"\n\
                back_off = { threads_running = 4, replica_lag = \"10s\" }";
    let mut tideway = Tideway::new()
        .source("a", &source)
        .target("t", &target)
        .task(&Task::new("shop", &["a"], "t", &["shop.*"]).with(dump));
    tideway.start();
    tideway.await_status("the pause", |status| {
        let stream = streams(status).first().cloned().unwrap_or_default();
        let why = stream["dump"]["throttled"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        why.contains("threads run at the source, `back_off` is at 4")
    });
    for client in busy {
        client.join().unwrap();
    }
    tideway.await_status("the limit alone", |status| {
        let stream = streams(status).first().cloned().unwrap_or_default();
        let why = stream["dump"]["throttled"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        stream["unit"] != "dump" || why.contains("200 KiB/s by `rate_limit`")
    });
    let _ = tideway.terminate();
    tideway.catch_up();
    assert_equal(&source, &target, &[("shop", "shop")]);
    let manifest = tideway.data_folder().join("dump/shop/a");
    assert!(Manifest::find(&manifest).unwrap().is_some());
}

/// `back_off` by how far the source, itself a replica, is behind.
#[test]
fn a_replica_that_is_behind_is_not_read_from() {
    for flavor in [Flavor::MariaDb1011, Flavor::MySql97] {
        let [primary, replica] = primary_and_replica(flavor);
        let target = Server::start(Flavor::MariaDb1011);
        create_shop(&mut primary.client(), "shop", 3000, 1000);
        primary.run("CREATE DATABASE all_is_there");
        let there = |name: &str| {
            format!("SELECT COUNT(*) FROM information_schema.SCHEMATA WHERE SCHEMA_NAME = '{name}'")
        };
        replica.await_value(&there("all_is_there"), "1");
        let delay = |seconds: u32| {
            replica.run(&if flavor.is_mariadb() {
                format!("STOP SLAVE; CHANGE MASTER TO MASTER_DELAY = {seconds}; START SLAVE")
            } else {
                format!("STOP REPLICA; CHANGE REPLICATION SOURCE TO SOURCE_DELAY = {seconds}; START REPLICA")
            });
        };
        delay(900);
        primary.run("CREATE DATABASE late");
        replica.account("tideway", &[("ALL", "*.*")]);
        target.target_account(&["shop"]);
        let dump = "mode = \"full\"\n[task.dump]\nthreads = 1\nchunk_size = \"64KiB\"\nrate_limit = \"100KiB\"\n\
                    back_off = { replica_lag = \"1s\" }";
        let mut tideway = Tideway::new()
            .source("a", &replica)
            .target("t", &target)
            .task(&Task::new("shop", &["a"], "t", &["shop.*"]).with(dump));
        tideway.start();
        let throttled = |status: &serde_json::Value| {
            let stream = streams(status).first().cloned().unwrap_or_default();
            let why = stream["dump"]["throttled"].as_str().unwrap_or_default();
            why.to_owned()
        };
        let status = tideway.await_status("the pause", |status| {
            throttled(status).contains("s behind its own source, `back_off` is at 1 s")
        });
        println!("{flavor:?}: {}", throttled(&status));
        delay(0);
        assert!(
            tideway.wait(Duration::from_mins(2)).success(),
            "{}",
            tideway.story()
        );
        assert_equal(&replica, &target, &[("shop", "shop")]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_table_is_listed_as_left_out() {
    let server = source(Flavor::MariaDb1011);
    fill(&server);
    server.run(
        "USE d; CREATE TRIGGER tr BEFORE INSERT ON big FOR EACH ROW SET NEW.t = 'x'; \
         CREATE PROCEDURE p() SELECT 1; CREATE FUNCTION f() RETURNS INT DETERMINISTIC RETURN 1; \
         CREATE EVENT e ON SCHEDULE EVERY 1 DAY DO SELECT 1; CREATE SEQUENCE s",
    );
    let copy = Copy::new(&server, &server, &["d.*"], "threads = 1");
    let folder = tempfile::tempdir().unwrap();
    let (manifest, _) = copy.dump(&folder.path().join("dump")).await.unwrap();
    let notes = manifest.header.notes.join("\n");
    for told in [
        "left out: triggers d.tr",
        "left out: routines d.f, d.p",
        "left out: events d.e",
        "left out: sequences d.s",
        "take them over at the cut-over",
    ] {
        assert!(notes.contains(told), "no `{told}` in\n{notes}");
    }
    assert_eq!(manifest.tables.len(), 1);
}

/// Of one moment, a dump cannot be gone on with: it is made anew, that is told, and nothing of the
/// former one is left that could be loaded.
#[test]
fn a_killed_dump_of_one_moment_is_made_anew_and_says_so() {
    let [source, target] = Server::start_all([Flavor::MySql97, Flavor::MariaDb1011]);
    create_shop(&mut source.client(), "shop", 6000, 1000);
    source.run("ANALYZE TABLE shop.customer, shop.orders, shop.order_line");
    source.source_account(&["shop"]);
    target.target_account(&["shop"]);
    let dump = "mode = \"full\"\n[task.dump]\nconsistency = \"flush\"\nthreads = 2\nchunk_size = \"64KiB\"\n\
                rate_limit = \"400KiB\"";
    let mut tideway = Tideway::new()
        .source("a", &source)
        .target("t", &target)
        .task(&Task::new("shop", &["a"], "t", &["shop.*"]).with(dump));
    tideway.start();
    tideway.await_status("some chunks", |status| {
        let stream = streams(status).first().cloned().unwrap_or_default();
        stream["dump"]["chunks_done"].as_u64().unwrap_or(0) > 2
    });
    tideway.kill9();
    let folder = tideway.data_folder().join("dump/shop/a");
    assert!(Manifest::find(&folder).unwrap().is_none());
    let stale = folder.join("shop.gone.000000001.sql");
    std::fs::write(&stale, "INSERT INTO `gone` VALUES (1);\n").unwrap();
    // Other rows than the former one has.
    source.run("SET foreign_key_checks = 0; DELETE FROM shop.customer WHERE id % 2 = 0");
    tideway.start();
    let status = tideway.await_status("what became of it", |status| {
        notes(status).contains("is removed, and the dump made anew")
    });
    println!("{}", notes(&status));
    assert!(!stale.exists());
    assert!(
        tideway.wait(Duration::from_mins(2)).success(),
        "{}",
        tideway.story()
    );
    assert_equal(&source, &target, &[("shop", "shop")]);
}
