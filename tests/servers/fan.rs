//! One source into several targets, several sources into one, and streams that come later.

use std::time::Duration;

use serde_json::Value;

use crate::support::compare::assert_merged;
use crate::support::proxy::Proxy;
use crate::support::tideway::streams;
use crate::support::{Flavor, Server, Task, Tideway, assert_equal};

const TABLES: &str = "CREATE DATABASE d; CREATE TABLE d.t (id INT PRIMARY KEY, v VARCHAR(200)) DEFAULT CHARSET=utf8mb4; \
    CREATE TABLE d.heap (n INT, v VARCHAR(200)) DEFAULT CHARSET=utf8mb4";

fn write(server: &Server, from: u32, count: u32) {
    let mut client = server.client();
    for n in from..from + count {
        client.run(&format!(
            "BEGIN; INSERT INTO d.t VALUES ({n}, REPEAT('x', 100)); INSERT INTO d.heap VALUES ({n} % 9, 'h'), ({n} % 9, 'h'); \
             UPDATE d.t SET v = 'changed' WHERE id = {n} - 3; DELETE FROM d.heap WHERE n = {n} % 9 LIMIT 1; COMMIT"
        ));
    }
}

/// A slow target and one that cannot be reached hold up nobody else; and a target that is added later
/// gets everything, from the same relay log.
#[test]
fn three_targets_each_at_its_own_speed() {
    let [source, quick, slow, later] = Server::start_all([
        Flavor::MySql97,
        Flavor::MariaDb1011,
        Flavor::MariaDb1011,
        Flavor::MySql97,
    ]);
    source.run(TABLES);
    source.source_account(&["d"]);
    for target in [&quick, &slow, &later] {
        target.target_account(&["d"]);
    }
    let line = Proxy::to(slow.port());
    let port = format!("port = {}", line.port());
    let base = |port: &str| {
        Tideway::new()
            .source("a", &source)
            .target("quick", &quick)
            .target_with("slow", &slow, port)
            .task(&Task::new("quick", &["a"], "quick", &["d.*"]))
            .task(&Task::new("slow", &["a"], "slow", &["d.*"]).with("[task.sync]\nbatch_rows = 10"))
    };
    let mut tideway = base(&port);
    tideway.start();
    tideway.await_streams("sync", "running");
    line.delay(Duration::from_millis(60));
    write(&source, 1, 300);
    let mut there = quick.client();
    for _ in 0..600 {
        if there.number("SELECT COUNT(*) FROM d.t") == 300 {
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(there.number("SELECT COUNT(*) FROM d.t"), 300);
    let behind = slow.client().number("SELECT COUNT(*) FROM d.t");
    assert!(behind < 300, "the slow one has {behind} rows already");
    // A third stream comes into the configuration of the running worker, with a target of its own; the
    // others go on.
    let process = tideway.id();
    let refused = tideway.output(&["ctl", "start", "--task", "later"]);
    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        !refused.status.success() && told.contains("no task `later`"),
        "{told}"
    );
    let tideway = tideway.target("later", &later);
    let mut tideway = tideway.task(&Task::new("later", &["a"], "later", &["d.*"]));
    tideway.ctl(&["start", "--task", "later"]);
    let status = tideway.await_status("the third stream runs too", |status| {
        let streams = streams(status);
        let is_up = |stream: &Value| stream["unit"] == "sync" && stream["stage"] == "running";
        streams.len() == 3 && streams.iter().all(is_up)
    });
    assert_eq!(
        status["targets"].as_array().map(Vec::len),
        Some(3),
        "{status}"
    );
    assert_eq!(tideway.id(), process);
    // What stands is started by the same word.
    tideway.ctl(&["pause", "--task", "later"]);
    tideway.await_stream("later", "a", "paused");
    tideway.ctl(&["start", "--task", "later"]);
    tideway.await_streams("sync", "running");
    write(&source, 301, 50);
    line.refuse(true);
    line.cut();
    write(&source, 351, 50);
    let status = tideway.await_status("the others go on", |status| {
        streams(status)
            .iter()
            .filter(|stream| stream["idle"] == true)
            .count()
            == 2
    });
    assert!(
        streams(&status)
            .iter()
            .any(|stream| stream["task"] == "slow" && stream["idle"] != true),
        "{status}"
    );
    line.refuse(false);
    line.delay(Duration::ZERO);
    assert!(tideway.terminate().success(), "{}", tideway.story());
    tideway.catch_up();
    for target in [&quick, &slow, &later] {
        assert_equal(&source, target, &[("d", "d")]);
    }
}

/// Three sources of both kinds into the same tables; keys apart, and a table without any.
#[test]
fn three_sources_into_one_target() {
    let [one, two, three, target] = Server::start_all([
        Flavor::MariaDb1011,
        Flavor::MySql97,
        Flavor::MariaDb1011,
        Flavor::MySql97,
    ]);
    target.target_account(&["d"]);
    for (number, source) in [&one, &two, &three].into_iter().enumerate() {
        source.run(TABLES);
        source.source_account(&["d"]);
        write(source, number as u32 * 10_000 + 1, 20);
    }
    let mut tideway = Tideway::new()
        .source("one", &one)
        .source("two", &two)
        .source("three", &three)
        .target("copy", &target)
        .task(&Task::new("t", &["one", "two", "three"], "copy", &["d.*"]));
    tideway.start();
    tideway.await_streams("sync", "running");
    std::thread::scope(|scope| {
        for (number, source) in [&one, &two, &three].into_iter().enumerate() {
            scope.spawn(move || write(source, number as u32 * 10_000 + 100, 80));
        }
        std::thread::sleep(Duration::from_millis(200));
        tideway.kill9();
    });
    tideway.catch_up();
    for table in ["d.t", "d.heap"] {
        assert_merged(&[&one, &two, &three], &target, table, table);
    }
}

/// With nothing to apply the mark follows the source all the same and the lag is zero; once the source
/// says nothing any more, the lag is not known.
#[test]
fn an_idle_stream_keeps_up_and_a_silent_source_is_not_called_current() {
    let [source, target] = Server::start_all([Flavor::MariaDb1011, Flavor::MariaDb1011]);
    let mut source = source;
    source.run(&format!(
        "{TABLES}; CREATE DATABASE other; CREATE TABLE other.t (n INT)"
    ));
    source.source_account(&["d"]);
    target.target_account(&["d"]);
    let mut tideway = Tideway::new()
        .source_with("a", &source, "[source.relay]\nheartbeat = \"1s\"")
        .target("copy", &target)
        .task(&Task::new("t", &["a"], "copy", &["d.*"]));
    tideway.start();
    tideway.await_status("idle", |status| status["streams"][0]["idle"] == true);
    let mut there = target.client();
    let mark = "SELECT binlog_offset FROM tideway.checkpoint WHERE slot = 0";
    let before = there.number(mark);
    source.run("INSERT INTO other.t VALUES (1)");
    let begun = std::time::Instant::now();
    while there.number(mark) == before {
        assert!(begun.elapsed() < Duration::from_secs(5), "the mark stands");
        std::thread::sleep(Duration::from_millis(50));
    }
    let status = tideway.await_status("idle again", |status| status["streams"][0]["idle"] == true);
    assert_eq!(status["streams"][0]["lag_seconds"], 0.0, "{status}");
    source.freeze();
    tideway.await_status("the lag is unknown", |status| {
        status["streams"][0]["lag_seconds"].is_null() && status["streams"][0]["idle"] == false
    });
    source.thaw();
    tideway.await_status("known again", |status| {
        status["streams"][0]["lag_seconds"] == 0.0
    });
    assert!(tideway.terminate().success());
}
