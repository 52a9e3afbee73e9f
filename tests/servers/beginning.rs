//! Where streams begin and what they are allowed to begin with: no checkpoint, a stale dump, a source
//! whose binlog ends in events that are no transaction.

use std::fs;
use std::time::Duration;

use crate::support::{Flavor, Server, Task, Tideway, assert_equal};

fn pair(flavor: Flavor) -> [Server; 2] {
    let [source, target] = Server::start_all([flavor, Flavor::MariaDb1011]);
    source.run("CREATE DATABASE shop");
    source.run("CREATE TABLE shop.t (id INT PRIMARY KEY, a VARCHAR(20))");
    source.source_account(&["shop"]);
    target.target_account(&["shop"]);
    [source, target]
}

fn tideway(source: &Server, target: &Server, lines: &str) -> Tideway {
    Tideway::new()
        .source("a", source)
        .target("copy", target)
        .task(&Task::new("shop", &["a"], "copy", &["shop.*"]).with(lines))
}

/// The end of the source's binlog, as `start` has it.
fn end(source: &Server) -> String {
    let statement = match source.flavor() {
        Flavor::MySql97 => "SHOW BINARY LOG STATUS",
        _ => "SHOW MASTER STATUS",
    };
    let rows = source.client().texts(statement);
    format!("{}:{}", rows[0][0], rows[0][1])
}

#[test]
fn incremental_begins_at_a_place_whose_structures_are_known() {
    for flavor in [Flavor::MariaDb1011, Flavor::MySql97] {
        let [source, target] = pair(flavor);
        target.run("CREATE DATABASE shop");
        target.run("CREATE TABLE shop.t (id INT PRIMARY KEY, a VARCHAR(20))");
        let start = end(&source);
        source.run("INSERT INTO shop.t VALUES (1, 'x'), (2, 'y')");
        let after_insert = end(&source);
        // The relay finds the place in a file before the one that is written now.
        source.run("FLUSH BINARY LOGS");
        source.run("UPDATE shop.t SET a = 'z' WHERE id = 2");
        let mut tideway = tideway(
            &source,
            &target,
            &format!("mode = \"incremental\"\nstart = \"{start}\""),
        );
        tideway.catch_up();
        assert_equal(&source, &target, &[("shop", "shop")]);
        assert_ne!(start, after_insert);
    }
}

#[test]
fn incremental_does_not_begin_before_a_change_of_structure() {
    let [source, target] = pair(Flavor::MariaDb1011);
    let start = end(&source);
    source.run("INSERT INTO shop.t VALUES (1, 'x')");
    source.run("ALTER TABLE shop.t ADD COLUMN b INT FIRST");
    let mut first = tideway(
        &source,
        &target,
        &format!("mode = \"incremental\"\nstart = \"{start}\""),
    );
    first.start();
    let status = first.await_stream("shop", "a", "failed");
    let shown = status.to_string();
    assert!(shown.contains("ADD COLUMN b INT FIRST"), "{shown}");
    drop(first);

    // Nor within a transaction.
    let at = source
        .client()
        .texts("SHOW BINLOG EVENTS")
        .into_iter()
        .find(|event| event[2].starts_with("Write_rows") || event[2].starts_with("Table_map"))
        .map(|event| event[1].clone())
        .unwrap();
    let file = start.split(':').next().unwrap().to_owned();
    let mut second = tideway(
        &source,
        &target,
        &format!("mode = \"incremental\"\nstart = \"{file}:{at}\""),
    );
    second.start();
    let shown = second.await_stream("shop", "a", "failed").to_string();
    assert!(shown.contains("where no transaction ends"), "{shown}");
}

#[test]
fn a_flush_of_the_binlog_on_an_idle_source_is_caught_up_with() {
    for flavor in [Flavor::MariaDb1011, Flavor::MySql97] {
        let [source, target] = pair(flavor);
        source.run("INSERT INTO shop.t VALUES (1, 'x')");
        let mut tideway = tideway(&source, &target, "");
        tideway.catch_up();
        source.run("FLUSH BINARY LOGS");
        source.run("FLUSH BINARY LOGS");
        tideway.catch_up();
        assert_equal(&source, &target, &[("shop", "shop")]);
    }
}

#[test]
fn a_dump_without_the_relay_log_that_followed_it_is_made_anew() {
    let [source, target] = pair(Flavor::MariaDb1011);
    source.run("INSERT INTO shop.t VALUES (1, 'x')");
    let mut tideway = tideway(&source, &target, "");
    tideway.catch_up();
    // As the advice for a source that was reset says: everything anew, but the dump is still there.
    source.run("INSERT INTO shop.t VALUES (2, 'y')");
    source.run("RESET MASTER");
    source.run("INSERT INTO shop.t VALUES (3, 'z')");
    fs::rename(
        tideway.data_folder().join("relay"),
        tideway.folder().join("relay-before"),
    )
    .unwrap();
    target.run("DELETE FROM tideway.checkpoint");
    target.run("DELETE FROM shop.t");
    tideway.catch_up();
    assert_equal(&source, &target, &[("shop", "shop")]);
}

#[test]
fn a_relay_that_cannot_go_on_ends_the_wait() {
    let [source, target] = pair(Flavor::MariaDb1011);
    source.run("INSERT INTO shop.t VALUES (1, 'x')");
    let mut tideway = tideway(&source, &target, "");
    tideway.catch_up();
    source.run("RESET MASTER; INSERT INTO shop.t VALUES (2, 'of another history')");
    tideway.start_with(&["run", "--until", "caught-up"]);
    let ended = tideway.wait(Duration::from_mins(1));
    assert!(!ended.success(), "{ended}");
    assert!(
        tideway.log().contains("impossible position"),
        "{}",
        tideway.story()
    );
}
