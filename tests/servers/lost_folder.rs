//! The worker's data folder is lost, or another machine takes over: the checkpoint is in the target,
//! and the stream goes on from it as far as it is proved that the source's place is the same one.

use crate::support::{Flavor, Server, ServerSpec, Task, Tideway, assert_equal};

fn pair(source: ServerSpec) -> [Server; 2] {
    let [source, target] = Server::start_all([source, Flavor::MariaDb1011.into()]);
    source.run(
        "CREATE DATABASE shop; CREATE TABLE shop.t (id INT PRIMARY KEY, a VARCHAR(200)); \
         INSERT INTO shop.t VALUES (1, 'one'), (2, 'two')",
    );
    source.source_account(&["shop"]);
    target.target_account(&["shop"]);
    [source, target]
}

fn tideway(source: &Server, target: &Server, task: &str) -> Tideway {
    Tideway::new()
        .source("a", source)
        .target("copy", target)
        .task(&Task::new("shop", &["a"], "copy", &["shop.*"]).with(task))
}

/// Copies, follows for a while, and is killed with something left to apply.
fn run_and_lose(source: &Server, target: &Server) {
    let mut tideway = tideway(source, target, "");
    tideway.start();
    tideway.await_streams("sync", "running");
    source.run("INSERT INTO shop.t VALUES (3, 'three'); FLUSH BINARY LOGS");
    source.run("INSERT INTO shop.t VALUES (4, 'four')");
    target.await_value("SELECT COUNT(*) FROM shop.t", "4");
    tideway.kill9();
    // Its folder goes with it.
    drop(tideway);
    source
        .run("UPDATE shop.t SET a = 'changed' WHERE id < 3; INSERT INTO shop.t VALUES (5, 'five')");
}

#[test]
fn another_machine_goes_on_where_gtids_prove_the_place() {
    // MySQL 9.7 has GTIDs on where nothing is said.
    for flavor in [Flavor::MySql97, Flavor::MariaDb1011] {
        let [source, target] = pair(flavor.into());
        run_and_lose(&source, &target);
        let mut second = tideway(&source, &target, "");
        second.catch_up();
        assert!(
            second.story().contains("the stream goes on in"),
            "{}",
            second.story()
        );
        assert_equal(&source, &target, &[("shop", "shop")]);
    }
}

#[test]
fn without_gtids_the_operator_says_whether_the_place_is_the_same() {
    let [source, target] = pair(ServerSpec::new(Flavor::MySql97).option("--gtid-mode=OFF"));
    run_and_lose(&source, &target);
    let mut second = tideway(&source, &target, "");
    second.start();
    let status = second.await_status("the stream stands", |status| {
        status["streams"][0]["stage"] == "failed"
    });
    let stop = &status["streams"][0]["stop"]["error"];
    let text = stop["fix"].as_str().unwrap();
    assert!(text.contains("relay-log-lost"), "{stop}");
    let found = text.split("found = \"").nth(1).unwrap();
    let found = &found[..found.find('"').unwrap()];
    second.terminate();
    drop(second);
    assert_eq!(target.client().value("SELECT COUNT(*) FROM shop.t"), "4");

    let accept = format!(
        "[[task.accept]]\nname = \"relay-log-lost\"\nfound = \"{found}\"\nreason = \"the host was lost\""
    );
    let mut third = tideway(&source, &target, &accept);
    third.catch_up();
    assert_equal(&source, &target, &[("shop", "shop")]);
}

#[test]
fn another_history_at_the_same_place_is_not_taken_for_it() {
    let [source, target] = pair(Flavor::MySql97.into());
    run_and_lose(&source, &target);
    assert_eq!(target.client().value("SELECT COUNT(*) FROM shop.t"), "4");
    source.run("RESET BINARY LOGS AND GTIDS; FLUSH BINARY LOGS");
    for id in 10..40 {
        source.run(&format!(
            "INSERT INTO shop.t VALUES ({id}, REPEAT('n', 150))"
        ));
    }
    let mut second = tideway(&source, &target, "");
    second.start();
    let status = second.await_status("the stream stands", |status| {
        status["streams"][0]["stage"] == "failed" || status["sources"][0]["stage"] == "failed"
    });
    assert_eq!(status["streams"][0]["rows_applied"], 0, "{status}");
    assert_eq!(target.client().value("SELECT COUNT(*) FROM shop.t"), "4");
}

#[test]
fn a_start_without_gtids_proves_nothing_later() {
    let [source, target] = pair(ServerSpec::new(Flavor::MySql97).option("--gtid-mode=OFF"));
    target.run("CREATE DATABASE shop; CREATE TABLE shop.t (id INT PRIMARY KEY, a VARCHAR(200))");
    source.run("TRUNCATE shop.t");
    let mode = "mode = \"incremental\"\nstart = \"now\"";
    let mut first = tideway(&source, &target, mode);
    first.start();
    first.await_status("it has begun", |status| {
        status["streams"][0]["behind_bytes"] == 0
    });
    source.run("INSERT INTO shop.t VALUES (3, 'three')");
    target.await_value("SELECT COUNT(*) FROM shop.t", "1");
    first.kill9();
    drop(first);
    let mut second = tideway(&source, &target, mode);
    second.start();
    let status = second.await_status("the stream stands", |status| {
        status["streams"][0]["stage"] == "failed"
    });
    let fix = status["streams"][0]["stop"]["error"]["fix"].to_string();
    assert!(fix.contains("relay-log-lost"), "{status}");
    second.terminate();
    assert_equal(&source, &target, &[("shop", "shop")]);
}

#[test]
fn what_came_with_the_copy_that_a_source_was_made_from_is_in_no_binlog() {
    const BASE: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562:1-77";
    let [source, target] = pair(Flavor::MySql97.into());
    source.run("RESET BINARY LOGS AND GTIDS");
    source.run(&format!("SET GLOBAL gtid_purged = '{BASE}'"));
    source.run("UPDATE shop.t SET a = 'more' WHERE id = 2");
    // The copy's checkpoint counts all that was executed.
    run_and_lose(&source, &target);
    let mut second = tideway(&source, &target, "");
    second.catch_up();
    assert_equal(&source, &target, &[("shop", "shop")]);
    // And so may a start.
    source.run("CREATE DATABASE other; CREATE TABLE other.t (id INT PRIMARY KEY)");
    target.run("CREATE DATABASE other; CREATE TABLE other.t (id INT PRIMARY KEY)");
    source.source_account(&["shop", "other"]);
    target.target_account(&["shop", "other"]);
    let executed = source.client().value("SELECT @@global.gtid_executed");
    let executed = executed.replace('\n', "");
    assert!(executed.contains("1-77"), "{executed}");
    source.run("INSERT INTO other.t VALUES (1), (2)");
    let mut third = Tideway::new()
        .source("a", &source)
        .target("copy", &target)
        .task(
            &Task::new("other", &["a"], "copy", &["other.*"])
                .with(&format!("mode = \"incremental\"\nstart = \"{executed}\"")),
        );
    third.catch_up();
    assert_equal(&source, &target, &[("other", "other")]);
}

#[test]
fn relay_files_that_are_gone_come_again_and_are_proved() {
    for options in [&[][..], &["--gtid-mode=OFF"]] {
        let spec = ServerSpec::new(Flavor::MySql97);
        let spec = options
            .iter()
            .fold(spec, |spec, option| spec.option(option));
        let [source, target] = pair(spec);
        let mut tideway = tideway(&source, &target, "");
        tideway.catch_up();
        source.run("INSERT INTO shop.t VALUES (3, 'three')");
        tideway.catch_up();
        // The folder and its state file stay.
        let folder = std::fs::read_dir(tideway.data_folder().join("relay/a")).unwrap();
        let folder = folder.map(|entry| entry.unwrap().path());
        for folder in folder.filter(|path| path.is_dir()) {
            for file in std::fs::read_dir(folder).unwrap() {
                let file = file.unwrap().path();
                if file
                    .file_name()
                    .unwrap()
                    .to_str()
                    .unwrap()
                    .starts_with("bin.")
                {
                    std::fs::remove_file(file).unwrap();
                }
            }
        }
        source.run("INSERT INTO shop.t VALUES (4, 'four')");
        if options.is_empty() {
            tideway.catch_up();
        } else {
            tideway.start();
            let status = tideway.await_status("the stream stands", |status| {
                status["streams"][0]["stage"] == "failed"
            });
            let fix = status["streams"][0]["stop"]["error"]["fix"].to_string();
            assert!(fix.contains("relay-log-refilled"), "{status}");
            assert_eq!(target.client().value("SELECT COUNT(*) FROM shop.t"), "3");
            tideway.terminate();
            source.run("DELETE FROM shop.t WHERE id = 4");
        }
        assert_equal(&source, &target, &[("shop", "shop")]);
    }
}
