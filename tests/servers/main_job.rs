//! The main job: dump, load and sync under live writes, on every pair of servers, through pauses,
//! crashes and restarts, with every row compared at the end.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::support::compare::{assert_merged, assert_tables_equal};
use crate::support::fixture::create_shop;
use crate::support::server::PASSWORD;
use crate::support::tideway::streams;
use crate::support::{Flavor, Server, Task, Tideway, Traffic, assert_equal};

/// What may stand in a log of the password: nothing, not even its beginning.
const SECRET: &str = "s3cret-Pa55";

/// The worker's own memory must stay below this.
const MEMORY_LIMIT_KIB: u64 = 200 * 1024;

#[test]
fn mariadb_10_11_to_mariadb_10_11() {
    moves(Flavor::MariaDb1011, Flavor::MariaDb1011, 11);
}

#[test]
fn mariadb_10_11_to_mysql_9_7() {
    moves(Flavor::MariaDb1011, Flavor::MySql97, 12);
}

#[test]
fn mariadb_11_8_to_mariadb_10_11() {
    moves(Flavor::MariaDb118, Flavor::MariaDb1011, 13);
}

#[test]
fn mariadb_11_8_to_mysql_9_7() {
    moves(Flavor::MariaDb118, Flavor::MySql97, 14);
}

#[test]
fn mysql_9_7_to_mariadb_10_11() {
    moves(Flavor::MySql97, Flavor::MariaDb1011, 15);
}

#[test]
fn mysql_9_7_to_mysql_9_7() {
    moves(Flavor::MySql97, Flavor::MySql97, 16);
}

/// One pair of servers through everything.
fn moves(from: Flavor, to: Flavor, seed: u64) {
    let [source, target] = Server::start_all([from, to]);
    create_shop(&mut source.client(), "shop", 1500, 1000);
    source.source_account(&["shop"]);
    target.target_account(&["shop"]);
    let mut tideway = Tideway::new()
        .source("a", &source)
        .target("copy", &target)
        .task(&Task::new("shop", &["a"], "copy", &["shop.*"]));

    // Dump and load under live writes.
    let traffic = Traffic::start(&source, "shop", 1000, seed);
    traffic.await_more(50);
    tideway.start();
    tideway.await_streams("sync", "running");
    traffic.stop();

    // Sync, with changes of structure.
    let traffic = Traffic::start_with_ddl(&source, "shop", 1000, seed + 100);
    traffic.await_structures(5);

    pauses_and_resumes(&mut tideway, &traffic);

    // A crash in the middle, and on from the checkpoint.
    tideway.kill9();
    traffic.await_more(100);
    tideway.start();
    tideway.await_streams("sync", "running");
    let status = tideway.await_status("transactions after the crash", |status| {
        first(status)["transactions_applied"].as_u64() > Some(50)
    });
    assert!(status["sources"][0]["flavor"].is_string());
    keeps_its_memory_small(&tideway);
    keeps_its_command_line_clean(&tideway);

    // A clean end, and on again.
    traffic.await_more(100);
    let ended = tideway.terminate();
    assert!(ended.success(), "SIGTERM: {ended}\n{}", tideway.story());
    traffic.await_more(50);
    traffic.stop();
    tideway.catch_up();
    assert_equal(&source, &target, &[("shop", "shop")]);

    compares_as_we_do(&tideway, &target);
    keeps_the_secret(&tideway);
}

fn first(status: &Value) -> &Value {
    streams(status).first().unwrap_or(&Value::Null)
}

fn pauses_and_resumes(tideway: &mut Tideway, traffic: &Traffic) {
    tideway.ctl(&["pause", "--task", "shop", "--source", "a"]);
    let paused = tideway.await_stream("shop", "a", "paused");
    traffic.await_more(60);
    let later = tideway.await_stream("shop", "a", "paused");
    assert_eq!(
        paused["position"], later["position"],
        "a paused stream went on"
    );
    tideway.ctl(&["resume", "--task", "shop", "--source", "a"]);
    tideway.await_status("progress after the pause", |status| {
        let stream = first(status);
        stream["stage"] == "running" && stream["position"] != paused["position"]
    });
}

fn keeps_its_memory_small(tideway: &Tideway) {
    let status = std::fs::read_to_string(format!("/proc/{}/status", tideway.id())).unwrap();
    let peak: u64 = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .and_then(|value| value.trim().trim_end_matches(" kB").parse().ok())
        .expect("the kernel tells the peak of resident memory");
    println!("peak of resident memory: {} MiB", peak / 1024);
    assert!(peak < MEMORY_LIMIT_KIB, "{peak} KiB of memory");
}

fn keeps_its_command_line_clean(tideway: &Tideway) {
    for name in ["cmdline", "environ"] {
        let bytes = std::fs::read(format!("/proc/{}/{name}", tideway.id())).unwrap();
        assert!(
            !contains(&bytes, SECRET),
            "the password is in /proc/…/{name}"
        );
    }
}

/// `tideway compare` says what our own comparison says: on equal data, and on one changed row.
fn compares_as_we_do(tideway: &Tideway, target: &Server) {
    let equal = tideway.output(&["compare"]);
    let text = String::from_utf8_lossy(&equal.stdout).into_owned();
    assert!(
        equal.status.success(),
        "`compare` of equal data: {}\n{text}\n{}",
        equal.status,
        String::from_utf8_lossy(&equal.stderr)
    );
    target.run("UPDATE shop.stock SET amount = -77777 LIMIT 1; DELETE FROM shop.visit LIMIT 1");
    let differing = tideway.output(&["compare", "--json"]);
    let text = String::from_utf8_lossy(&differing.stdout).into_owned();
    assert_eq!(
        differing.status.code(),
        Some(1),
        "`compare` of differing data\n{text}"
    );
    for part in ["stock", "visit", "-77777"] {
        assert!(
            text.contains(part),
            "`compare` does not name `{part}`:\n{text}"
        );
    }
}

/// Looks for the password in everything that was written or printed, but for its own file.
fn keeps_the_secret(tideway: &Tideway) {
    // Not vacuous: the accounts do have that password.
    assert!(PASSWORD.starts_with(SECRET));
    for arguments in [
        &["status", "--json"] as &[&str],
        &["status"],
        &["check"],
        &["check", "--json"],
        &["run", "--no-such-option"],
    ] {
        let output = tideway.output(arguments);
        for bytes in [&output.stdout, &output.stderr] {
            assert!(
                !contains(bytes, SECRET),
                "the password is in the output of {arguments:?}"
            );
        }
    }
    search(tideway.folder());
}

fn search(folder: &Path) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            search(&path);
        } else if path.is_file() && path.file_name().is_some_and(|name| name != "password") {
            let bytes = std::fs::read(&path).unwrap();
            assert!(
                !contains(&bytes, SECRET),
                "the password is in `{}`",
                path.display()
            );
        }
    }
}

fn contains(bytes: &[u8], text: &str) -> bool {
    memchr::memmem::find(bytes, text.as_bytes()).is_some()
}

#[test]
fn one_source_into_two_targets() {
    let [source, one, two] =
        Server::start_all([Flavor::MySql97, Flavor::MariaDb1011, Flavor::MySql97]);
    create_shop(&mut source.client(), "shop", 1000, 1000);
    source.source_account(&["shop"]);
    one.target_account(&["shop"]);
    two.target_account(&["part"]);
    let mut tideway = Tideway::new()
        .source("a", &source)
        .target("one", &one)
        .target("two", &two)
        .task(&Task::new("whole", &["a"], "one", &["shop.*"]))
        .task(
            &Task::new("part", &["a"], "two", &["shop.*", "!shop.visit"])
                .route("shop.stock", "part.amounts")
                .route("shop.*", "part.*"),
        );
    let traffic = Traffic::start(&source, "shop", 1000, 21);
    tideway.start();
    tideway.await_streams("sync", "running");
    // One stream stands, the other goes on from the same relay log.
    tideway.ctl(&["pause", "--task", "part", "--source", "a"]);
    let paused = tideway.await_stream("part", "a", "paused");
    let before = tideway.await_stream("whole", "a", "running");
    traffic.await_more(100);
    tideway.await_status("the other stream goes on", |status| {
        streams(status)
            .iter()
            .any(|stream| stream["task"] == "whole" && stream["position"] != before["position"])
    });
    let still = tideway.await_stream("part", "a", "paused");
    assert_eq!(paused["position"], still["position"]);
    tideway.ctl(&["resume", "--task", "part", "--source", "a"]);
    tideway.await_stream("part", "a", "running");
    traffic.stop();
    assert!(tideway.terminate().success(), "{}", tideway.story());
    tideway.catch_up();

    assert_equal(&source, &one, &[("shop", "shop")]);
    for table in [
        "customer",
        "orders",
        "order_line",
        "product",
        "kinds",
        "odd `name",
    ] {
        assert_tables_equal(
            &source,
            &two,
            &format!("shop.{table}"),
            &format!("part.{table}"),
        );
    }
    assert_tables_equal(&source, &two, "shop.stock", "part.amounts");
    let tables = two.client().value(
        "SELECT COUNT(*) FROM information_schema.TABLES WHERE TABLE_SCHEMA = 'part' AND TABLE_NAME IN ('visit', 'stock')",
    );
    assert_eq!(
        tables, "0",
        "what is not selected, or is renamed, must not be there"
    );
}

#[test]
fn two_sources_into_one_target_merged_and_apart() {
    let [left, right, target] =
        Server::start_all([Flavor::MariaDb1011, Flavor::MariaDb1011, Flavor::MySql97]);
    let merged = ["customer", "product", "stock", "orders", "order_line"];
    for (server, first_id) in [(&left, 1000), (&right, 5_000_000)] {
        create_shop(&mut server.client(), "shop", 800, first_id);
        server.source_account(&["shop"]);
    }
    target.target_account(&["merged", "kinds_left", "kinds_right"]);
    let tables = merged.map(|table| format!("shop.{table}"));
    let tables: Vec<&str> = tables.iter().map(String::as_str).collect();
    let mut tideway = Tideway::new()
        .source("left", &left)
        .source("right", &right)
        .target("copy", &target)
        .task(&Task::new("merge", &["left", "right"], "copy", &tables).route("shop.*", "merged.*"))
        .task(
            &Task::new(
                "kinds-left",
                &["left"],
                "copy",
                &["shop.kinds", "shop.visit"],
            )
            .route("shop.*", "kinds_left.*"),
        )
        .task(
            &Task::new(
                "kinds-right",
                &["right"],
                "copy",
                &["shop.kinds", "shop.visit"],
            )
            .route("shop.*", "kinds_right.*"),
        );
    let traffic = [
        Traffic::start(&left, "shop", 1000, 31),
        Traffic::start(&right, "shop", 5_000_000, 32),
    ];
    tideway.start();
    tideway.await_streams("sync", "running");
    for traffic in &traffic {
        traffic.await_more(100);
    }
    tideway.kill9();
    tideway.start();
    tideway.await_streams("sync", "running");
    for traffic in traffic {
        traffic.stop();
    }
    assert!(tideway.terminate().success(), "{}", tideway.story());
    tideway.catch_up();

    for table in merged {
        let (from, to) = (format!("shop.{table}"), format!("merged.{table}"));
        assert_merged(&[&left, &right], &target, &from, &to);
    }
    for (server, schema) in [(&left, "kinds_left"), (&right, "kinds_right")] {
        for table in ["kinds", "visit"] {
            let (from, to) = (format!("shop.{table}"), format!("{schema}.{table}"));
            assert_tables_equal(server, &target, &from, &to);
        }
    }
}

/// Killed again and again at moments that the seed chooses, in dump, load and sync alike.
#[test]
fn kills_at_any_moment_lose_and_double_nothing() {
    let seed = 77_u64;
    println!("kills: seed {seed}");
    let [source, target] = Server::start_all([Flavor::MariaDb1011, Flavor::MariaDb1011]);
    create_shop(&mut source.client(), "shop", 20_000, 1000);
    source.source_account(&["shop"]);
    target.target_account(&["shop"]);
    let mut tideway = Tideway::new()
        .source("a", &source)
        .target("copy", &target)
        .task(
            &Task::new("shop", &["a"], "copy", &["shop.*"])
                .with("[task.dump]\nchunk_size = \"64KiB\""),
        );
    let traffic = Traffic::start(&source, "shop", 1000, seed);
    let mut random = seed;
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..8 {
        tideway.start();
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        std::thread::sleep(Duration::from_millis(400 + (random >> 33) % 1500));
        if let Some(status) = tideway.status() {
            seen.insert(first(&status)["unit"].to_string());
        }
        tideway.kill9();
    }
    println!("killed in: {seen:?}");
    traffic.stop();
    tideway.catch_up();
    assert_equal(&source, &target, &[("shop", "shop")]);
}

/// The relay's files are the source's own, byte for byte.
#[test]
fn relay_files_are_the_sources_own_bytes() {
    for flavor in [Flavor::MariaDb1011, Flavor::MySql97] {
        let [source, target] = Server::start_all([flavor, Flavor::MariaDb1011]);
        create_shop(&mut source.client(), "shop", 200, 1000);
        source.source_account(&["shop"]);
        target.target_account(&["shop"]);
        let mut tideway = Tideway::new()
            .source("a", &source)
            .target("copy", &target)
            .task(&Task::new("shop", &["a"], "copy", &["shop.*"]));
        tideway.start();
        tideway.await_streams("sync", "running");
        let traffic = Traffic::start(&source, "shop", 1000, 41);
        for _ in 0..3 {
            traffic.await_more(50);
            source.run("FLUSH BINARY LOGS");
        }
        traffic.stop();
        assert!(tideway.terminate().success(), "{}", tideway.story());
        tideway.catch_up();
        let relay = tideway.data_folder().join("relay/a");
        let listing = Command::new("find")
            .arg(&relay)
            .args(["-name", "bin.0*"])
            .output()
            .unwrap();
        let listing = String::from_utf8(listing.stdout).unwrap();
        let mut files: Vec<&Path> = listing.lines().map(Path::new).collect();
        files.sort();
        assert!(files.len() >= 3, "relay files of {flavor:?}: {listing}");
        // The newest is still being written at the source, which marks it as in use.
        files.pop();
        for ours in files {
            let theirs = source.data_folder().join(ours.file_name().unwrap());
            let (a, b) = (
                std::fs::read(ours).unwrap(),
                std::fs::read(&theirs).unwrap(),
            );
            assert!(
                a == b,
                "`{}` differs from the source's file ({flavor:?})",
                ours.display()
            );
        }
    }
}
