//! The lag is honest: known within a long transaction, and never zero where it is not known.

use serde_json::Value;

use crate::support::proxy::Proxy;
use crate::support::{Flavor, Server, Task, Tideway, assert_equal};

fn lag(status: &Value) -> Option<f64> {
    status["streams"][0]["lag_seconds"].as_f64()
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
