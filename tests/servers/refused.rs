//! A privilege that is taken away while a stream runs: the unit that needs it stops, alone, and says
//! what for, what is missing, and the statement that gives it; with that it goes on.

use serde_json::Value;

use crate::support::{Flavor, Server, Task, Tideway, assert_equal};

/// A privilege of sync at the target, and what the source does that needs it.
const AT_TARGET: [(&str, &str); 7] = [
    ("INSERT", "INSERT INTO shop.t VALUES (10, 'ten')"),
    ("UPDATE", "UPDATE shop.t SET a = 'changed' WHERE id = 1"),
    ("DELETE", "DELETE FROM shop.t WHERE id = 2"),
    ("CREATE", "CREATE TABLE shop.made (id INT PRIMARY KEY)"),
    ("ALTER", "ALTER TABLE shop.t ADD COLUMN b INT"),
    ("INDEX", "CREATE INDEX by_a ON shop.t (a)"),
    ("DROP", "DROP TABLE shop.made"),
];

/// Runs the `GRANT` that an error shows, exactly as shown.
fn run_shown_grant(server: &Server, error: &Value, privilege: &str) {
    let fix = error["fix"].as_str().unwrap_or_default();
    let grant = fix
        .strip_prefix("as an administrator: ")
        .and_then(|rest| rest.strip_suffix("; then retry"))
        .unwrap_or_else(|| panic!("no statement for {privilege} in {error}"));
    assert!(
        grant.starts_with(&format!("GRANT {privilege} ON ")),
        "{grant}"
    );
    assert!(error["refused"]["purpose"].is_string(), "{error}");
    server.run(grant);
}

fn a_refusal_names_its_grant(from: Flavor, to: Flavor) {
    let [source, target] = Server::start_all([from, to]);
    source.run(
        "CREATE DATABASE shop; CREATE TABLE shop.t (id INT PRIMARY KEY, a VARCHAR(20)); \
         INSERT INTO shop.t VALUES (1, 'one'), (2, 'two')",
    );
    source.source_account(&["shop"]);
    target.target_account(&["shop"]);
    let mut tideway = Tideway::new()
        .source("a", &source)
        .target("copy", &target)
        .task(&Task::new("t", &["a"], "copy", &["shop.*"]));
    tideway.start();
    tideway.await_streams("sync", "running");
    for (privilege, change) in AT_TARGET {
        target.run(&format!("REVOKE {privilege} ON `shop`.* FROM tideway@'%'"));
        source.run(change);
        let status = tideway.await_status(privilege, |status| {
            let stop = &status["streams"][0]["stop"];
            status["streams"][0]["stage"] == "failed"
                && stop["error"]["refused"]["grants"].get(0).is_some()
        });
        let stream = &status["streams"][0];
        assert_eq!(stream["stop"]["unit"], "sync", "{stream}");
        assert_eq!(status["sources"][0]["stage"], "running", "{privilege}");
        run_shown_grant(&target, &stream["stop"]["error"], privilege);
        tideway.ctl(&["retry", "--task", "t"]);
        tideway.await_status(change, |status| {
            status["streams"][0]["stage"] == "running" && status["streams"][0]["idle"] == true
        });
    }
    // The relay's own: the stream has nothing to complain of.
    source.run("REVOKE REPLICATION SLAVE ON *.* FROM tideway@'%'");
    for id in source
        .client()
        .texts("SELECT ID FROM information_schema.PROCESSLIST WHERE COMMAND LIKE 'Binlog Dump%'")
    {
        source.run(&format!("KILL {}", id[0]));
    }
    let status = tideway.await_status("the relay is refused", |status| {
        let error = &status["sources"][0]["error"];
        status["sources"][0]["stage"] == "failed" && error["refused"]["grants"].get(0).is_some()
    });
    let error = &status["sources"][0]["error"];
    run_shown_grant(&source, error, "REPLICATION SLAVE");
    assert_eq!(status["streams"][0]["stage"], "running", "{status}");
    source.run("INSERT INTO shop.t (id, a) VALUES (11, 'eleven')");
    tideway.ctl(&["retry", "--relay", "--source", "a"]);
    target.await_value("SELECT COUNT(*) FROM shop.t WHERE id = 11", "1");
    assert!(tideway.terminate().success(), "{}", tideway.story());
    tideway.catch_up();
    assert_equal(&source, &target, &[("shop", "shop")]);
}

#[test]
fn a_refusal_names_its_grant_on_mariadb() {
    a_refusal_names_its_grant(Flavor::MariaDb118, Flavor::MariaDb1011);
}

#[test]
fn a_refusal_names_its_grant_on_mysql() {
    a_refusal_names_its_grant(Flavor::MySql97, Flavor::MySql97);
}
