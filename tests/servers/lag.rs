//! The lag is honest: by the source's own clock, also within a long transaction, and never zero where it
//! is not known.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::proxy::Proxy;
use crate::support::{Flavor, Server, ServerSpec, Task, Tideway, assert_equal};

fn lag(status: &Value) -> Option<f64> {
    status["streams"][0]["lag_seconds"].as_f64()
}

/// The highest lag that is shown within a time.
fn highest(tideway: &Tideway, time: Duration) -> f64 {
    let end = Instant::now() + time;
    let mut highest = 0.0_f64;
    while Instant::now() < end {
        if let Some(seconds) = tideway.status().as_ref().and_then(lag) {
            highest = highest.max(seconds);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    highest
}

/// A source whose clock is 90 s off, either way: what is applied a few seconds after its commit is a few
/// seconds behind, not ninety, and not zero.
#[test]
fn a_clock_that_is_off_does_not_show() {
    for ahead in [90_i32, -90] {
        let shifted = format!("SET timestamp = UNIX_TIMESTAMP(SYSDATE(6)) + ({ahead})");
        let [source, target] = Server::start_all([
            // What is asked of this server's clock, and what it writes into its binlog, is shifted.
            ServerSpec::new(Flavor::MariaDb1011)
                .option("--sysdate-is-now")
                .option(&format!("--init-connect={shifted}")),
            ServerSpec::new(Flavor::MySql97),
        ]);
        source.run("CREATE DATABASE d; CREATE TABLE d.t (a INT PRIMARY KEY)");
        source.source_account(&["d"]);
        target.target_account(&["d"]);
        let line = Proxy::to(target.port());
        let mut tideway = Tideway::new()
            .source("a", &source)
            .target_with("copy", &target, &format!("port = {}", line.port()))
            .task(&Task::new("t", &["a"], "copy", &["d.*"]));
        tideway.start();
        tideway.await_streams("sync", "running");
        line.delay(Duration::from_millis(700));
        let is_done = AtomicBool::new(false);
        let writing = std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut client = source.client();
                for n in 0..600 {
                    if is_done.load(Ordering::Relaxed) {
                        break;
                    }
                    // As root it is not shifted by itself.
                    client.run(&format!(
                        "SET timestamp = DEFAULT; SET timestamp = UNIX_TIMESTAMP(NOW(6)) + ({ahead}); INSERT INTO d.t VALUES ({n})"
                    ));
                    std::thread::sleep(Duration::from_millis(100));
                }
            });
            // On a busy machine the first of them take a while.
            let end = Instant::now() + Duration::from_mins(1);
            let mut highest_seen = 0.0_f64;
            while highest_seen < 1.0 && Instant::now() < end {
                highest_seen = highest(&tideway, Duration::from_secs(7));
            }
            is_done.store(true, Ordering::Relaxed);
            highest_seen
        });
        println!("{ahead} s off: a lag of {writing} s");
        // 1.4 s of the line, a second of the source's resolution, and a busy machine.
        assert!(
            (1.0..45.0).contains(&writing),
            "{ahead}: {writing}\n{}",
            tideway.story()
        );
        line.delay(Duration::ZERO);
        tideway.await_status("idle", |status| status["streams"][0]["idle"] == true);
        assert!(tideway.terminate().success(), "{}", tideway.story());
        tideway.catch_up();
        assert_equal(&source, &target, &[("d", "d")]);
    }
}

/// While a long transaction is applied the lag is known and grows; a relay that is stopped makes it
/// unknown, and it is known again afterwards.
#[test]
fn a_long_transaction_and_a_relay_that_is_stopped() {
    let [source, target] = Server::start_all([Flavor::MariaDb1011, Flavor::MariaDb1011]);
    source.run("CREATE DATABASE d; CREATE TABLE d.t (id INT AUTO_INCREMENT PRIMARY KEY, b VARBINARY(4000))");
    source.source_account(&["d"]);
    target.target_account(&["d"]);
    let line = Proxy::to(target.port());
    let binlog = Proxy::to(source.port());
    let mut tideway = Tideway::new()
        .with("memory = \"16MiB\"")
        .source_with(
            "a",
            &source,
            &format!(
                "port = {}\ntls = \"disabled\"\n[source.relay]\nheartbeat = \"1s\"",
                binlog.port()
            ),
        )
        .target_with("copy", &target, &format!("port = {}", line.port()))
        .task(&Task::new("t", &["a"], "copy", &["d.*"]));
    tideway.start();
    tideway.await_streams("sync", "running");
    // Slow enough that it is under way for some seconds.
    line.throttle(Some(3 << 20));
    source
        .run("USE d; INSERT INTO d.t (b) SELECT REPEAT(CHAR(seq % 256), 4000) FROM seq_1_to_5000");
    tideway.await_status("behind within the transaction", |status| {
        lag(status).is_some_and(|seconds| seconds >= 2.0)
            && status["streams"][0]["transactions_applied"] == 0
    });
    line.throttle(None);
    tideway.await_status("nothing left", |status| lag(status) == Some(0.0));
    binlog.refuse(true);
    binlog.cut();
    tideway.await_status("the relay is stopped: unknown", |status| {
        lag(status).is_none() && status["streams"][0]["idle"] == false
    });
    binlog.refuse(false);
    source.run("INSERT INTO d.t (b) VALUES ('last')");
    tideway.await_status("known again", |status| {
        lag(status) == Some(0.0) && status["streams"][0]["rows_applied"].as_u64() > Some(5000)
    });
    assert!(tideway.terminate().success(), "{}", tideway.story());
    tideway.catch_up();
    assert_equal(&source, &target, &[("d", "d")]);
}
