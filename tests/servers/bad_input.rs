//! What can be wrong with servers, accounts and data: each is told as what, where and how to mend
//! it; the other streams go on; nothing is lost or passed over.

use std::process::Output;
use std::time::Duration;

use serde_json::Value;

use crate::support::disk::SmallDisk;
use crate::support::fixture::create_shop;
use crate::support::server::PASSWORD;
use crate::support::tideway::streams;
use crate::support::{Flavor, Server, ServerSpec, Task, Tideway, Traffic, assert_equal};

fn small_shop(server: &Server) {
    create_shop(&mut server.client(), "shop", 50, 1000);
    server.source_account(&["shop"]);
}

fn shop_task() -> Task {
    Task::new("shop", &["a"], "copy", &["shop.*"])
}

/// The usual configuration for one source and one target.
fn tideway(source: &Server, target: &Server) -> Tideway {
    Tideway::new()
        .source("a", source)
        .target("copy", target)
        .task(&shop_task())
}

/// What the checks find, taken as known: what comes of it at run time is looked at here.
fn accept(names: &[&str]) -> String {
    let of = |name: &&str| format!("[[task.accept]]\nname = \"{name}\"\nreason = \"test\"\n");
    names.iter().map(of).collect()
}

/// The output of a command must have the form of errors and hold these parts; exit code as given.
fn assert_told(output: &Output, code: i32, parts: &[&str]) {
    let text = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert_eq!(output.status.code(), Some(code), "{text}");
    for part in parts {
        assert!(text.contains(part), "`{part}` is not told in:\n{text}");
    }
    assert!(!text.contains("panicked"), "{text}");
    assert!(!text.contains("s3cret"), "{text}");
}

/// Waits until the stream of `task` has stopped; its error holds these parts.
fn await_stop(tideway: &mut Tideway, task: &str, source: &str, parts: &[&str]) -> Value {
    let stream = tideway.await_stream(task, source, "failed");
    let text = stream["stop"].to_string();
    for part in parts {
        assert!(
            text.contains(part),
            "`{part}` is not told in the stop: {text}\n{}",
            tideway.story()
        );
    }
    let fix = stream["stop"]["error"]["fix"].as_str().unwrap_or_default();
    assert!(
        !fix.is_empty(),
        "the stop does not say how to mend it: {text}"
    );
    stream
}

/// The refusal makes the checks run anew: their report has the statement that mends it.
fn await_missing_grant(tideway: &mut Tideway, privilege: &str) {
    tideway.await_status("the statement that grants what is missing", |status| {
        let cells = status["check"]["privileges"].as_array();
        cells.is_some_and(|cells| {
            cells.iter().any(|cell| {
                cell["state"] == "missing"
                    && cell["privilege"] == privilege
                    && cell["grant"]
                        .as_str()
                        .is_some_and(|grant| grant.contains(privilege))
            })
        })
    });
}

#[test]
fn check_passes_with_the_documented_minimum_and_names_what_is_missing() {
    for flavor in [Flavor::MariaDb1011, Flavor::MySql97] {
        let [source, target] = Server::start_all([flavor, Flavor::MariaDb1011]);
        small_shop(&source);
        target.target_account(&["shop"]);
        let tideway = tideway(&source, &target);
        let output = tideway.output(&["check"]);
        assert_told(&output, 0, &[]);
        let output = tideway.output(&["check", "--json"]);
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(report["ok"], true, "{report:#}");
        assert_eq!(report["version"], 1);
        assert!(
            report["privileges"]
                .as_array()
                .is_some_and(|cells| !cells.is_empty())
        );

        // Without each of these, the check fails, names it, and has the statement that mends it.
        source.account(
            "tideway",
            &[("REPLICATION CLIENT", "*.*"), ("SELECT", "shop.*")],
        );
        let output = tideway.output(&["check"]);
        assert_told(
            &output,
            1,
            &["REPLICATION SLAVE", "GRANT", "tideway", "`a`"],
        );
        source.source_account(&["shop"]);
        target.account(
            "tideway",
            &[("SELECT, INSERT", "shop.*"), ("ALL", "tideway.*")],
        );
        let output = tideway.output(&["check"]);
        assert_told(&output, 1, &["UPDATE", "GRANT", "`copy`"]);
    }
}

#[test]
fn settings_that_make_replication_impossible_are_told() {
    for (flavor, option, parts) in [
        (
            Flavor::MariaDb1011,
            "--skip-log-bin",
            &["log_bin", "`a`"] as &[&str],
        ),
        (Flavor::MySql97, "--skip-log-bin", &["log_bin", "`a`"]),
        (
            Flavor::MariaDb1011,
            "--binlog-format=MIXED",
            &["binlog_format", "ROW", "MIXED"],
        ),
        (
            Flavor::MySql97,
            "--binlog-format=STATEMENT",
            &["binlog_format", "ROW", "STATEMENT"],
        ),
        (
            Flavor::MariaDb1011,
            "--binlog-row-image=MINIMAL",
            &["binlog_row_image", "FULL", "MINIMAL"],
        ),
        (
            Flavor::MySql97,
            "--binlog-row-image=NOBLOB",
            &["binlog_row_image", "FULL", "NOBLOB"],
        ),
    ] {
        let [source, target] = Server::start_all([
            ServerSpec::new(flavor).option(option),
            ServerSpec::new(Flavor::MariaDb1011),
        ]);
        small_shop(&source);
        target.target_account(&["shop"]);
        assert_told(&tideway(&source, &target).output(&["check"]), 1, parts);
        let accepted = accept(&["binlog-format", "binlog-row-image", "log-bin", "privileges"]);
        let mut tideway = Tideway::new()
            .source("a", &source)
            .target("copy", &target)
            .task(&shop_task().with(&accepted));
        // A run must not begin what it cannot keep in step. Images show only at the first change.
        let is_image = option.contains("row-image");
        if is_image {
            tideway.catch_up();
            source.run("UPDATE shop.customer SET name = 'x' WHERE id = 1001");
        }
        tideway.start_with(&["run", "--until", "caught-up"]);
        let status = tideway.wait(Duration::from_mins(1));
        assert_eq!(status.code(), Some(1), "{option}: {}", tideway.story());
        let log = tideway.log();
        for part in if is_image { &parts[..2] } else { parts } {
            assert!(
                log.contains(part),
                "{option}: `{part}` is not told in:\n{log}"
            );
        }
    }
}

#[test]
fn an_unreachable_server_and_a_wrong_password_are_told_and_others_go_on() {
    let [good, bad, target] =
        Server::start_all([Flavor::MariaDb1011, Flavor::MySql97, Flavor::MariaDb1011]);
    small_shop(&good);
    create_shop(&mut bad.client(), "other", 50, 1000);
    bad.source_account(&["other"]);
    target.target_account(&["shop", "other"]);
    let two = |lines: &str| {
        Tideway::new()
            .source("a", &good)
            .source_with("b", &bad, lines)
            .target("copy", &target)
            .task(&shop_task())
            .task(&Task::new("other", &["b"], "copy", &["other.*"]))
    };

    // A port where nobody listens.
    let unreachable = two("port = 1");
    assert_told(
        &unreachable.output(&["check"]),
        1,
        &["127.0.0.1:1", "`b`", "fix:"],
    );
    // A wrong password.
    let wrong = two("password_file = \"wrong\"");
    std::fs::write(wrong.folder().join("wrong"), "not it").unwrap();
    assert_told(
        &wrong.output(&["check"]),
        1,
        &["1045", "tideway", "`b`", "fix:"],
    );

    for mut tideway in [unreachable, wrong] {
        std::fs::write(tideway.folder().join("wrong"), "not it").unwrap();
        tideway.start();
        tideway.await_status(
            "the good stream is in sync, the other's error is told",
            |status| {
                let good = streams(status)
                    .iter()
                    .find(|stream| stream["task"] == "shop");
                let problem = status["problems"].to_string() + &status["sources"][1].to_string();
                good.is_some_and(|good| good["unit"] == "sync" && good["stage"] == "running")
                    && (problem.contains("127.0.0.1:1") || problem.contains("1045"))
            },
        );
        assert!(tideway.is_running());
        tideway.terminate();
        // What was copied belongs to that stream alone; the next round starts afresh.
        target.run("DROP DATABASE shop; DROP DATABASE tideway");
    }
}

#[test]
fn a_server_id_in_use_is_noticed_and_named() {
    for flavor in [Flavor::MariaDb1011, Flavor::MySql97] {
        let [source, one, two] =
            Server::start_all([flavor, Flavor::MariaDb1011, Flavor::MariaDb1011]);
        small_shop(&source);
        let mut both = [&one, &two].map(|target| {
            target.target_account(&["shop"]);
            Tideway::new()
                .source_with("a", &source, "server_id = 4242")
                .target("copy", target)
                .task(&shop_task())
        });
        for tideway in &mut both {
            tideway.start();
        }
        let traffic = Traffic::start(&source, "shop", 1000, 51);
        let [first, second] = &mut both;
        first.await_status("one of the two says that the id is in use", |status| {
            let told = |status: &Value| {
                status.to_string().contains("4242") && status.to_string().contains("server-id")
            };
            told(status) || second.status().is_some_and(|status| told(&status))
        });
        traffic.stop();
        for tideway in &mut both {
            tideway.terminate();
        }
        // One after the other, both get everything.
        for (tideway, target) in both.iter_mut().zip([&one, &two]) {
            tideway.catch_up();
            assert_equal(&source, target, &[("shop", "shop")]);
        }
    }
}

#[test]
fn a_target_without_rights_stops_its_stream_alone() {
    let [source, poor, rich] =
        Server::start_all([Flavor::MariaDb1011, Flavor::MySql97, Flavor::MariaDb1011]);
    small_shop(&source);
    poor.account("tideway", &[("SELECT", "*.*"), ("ALL", "tideway.*")]);
    rich.target_account(&["shop"]);
    let mut tideway = Tideway::new()
        .source("a", &source)
        .target("poor", &poor)
        .target("rich", &rich)
        .task(&Task::new("refused", &["a"], "poor", &["shop.*"]).with(&accept(&["privileges"])))
        .task(&Task::new("shop", &["a"], "rich", &["shop.*"]));
    tideway.start();
    await_stop(&mut tideway, "refused", "a", &["CREATE", "1044", "`shop`"]);
    await_missing_grant(&mut tideway, "CREATE");
    tideway.await_stream("shop", "a", "running");
    // Granted, and tried again: on it goes.
    poor.target_account(&["shop"]);
    tideway.ctl(&["retry", "--task", "refused", "--source", "a"]);
    tideway.await_streams("sync", "running");
    // It has all that it needs at its beginning.
    tideway.await_status("both have caught up", |status| {
        let streams = status["streams"].as_array().cloned().unwrap_or_default();
        streams.len() == 2 && streams.iter().all(|stream| stream["idle"] == true)
    });
    // A grant that is taken away later.
    poor.account(
        "tideway",
        &[("SELECT, UPDATE, DELETE", "shop.*"), ("ALL", "tideway.*")],
    );
    let mut client = poor.client();
    for id in client.texts("SELECT ID FROM information_schema.PROCESSLIST WHERE USER = 'tideway'") {
        // One that has ended by itself meanwhile is gone just the same.
        let _ = client.try_run(&format!("KILL {}", id.concat()));
    }
    source.run("INSERT INTO shop.product (sku, title, price) VALUES ('NEW', 'new', 1)");
    await_stop(&mut tideway, "refused", "a", &["INSERT", "1142", "product"]);
    await_missing_grant(&mut tideway, "INSERT");
    tideway.await_stream("shop", "a", "running");
    poor.target_account(&["shop"]);
    tideway.ctl(&["retry", "--task", "refused", "--source", "a"]);
    tideway.await_streams("sync", "running");
    tideway.terminate();
    tideway.catch_up();
    assert_equal(&source, &poor, &[("shop", "shop")]);
    assert_equal(&source, &rich, &[("shop", "shop")]);
}

#[test]
fn a_table_that_vanishes_during_the_dump_loses_nothing() {
    for flavor in [Flavor::MariaDb1011, Flavor::MySql97] {
        let [source, target] = Server::start_all([flavor, Flavor::MariaDb1011]);
        create_shop(&mut source.client(), "shop", 30_000, 1000);
        source.source_account(&["shop"]);
        target.target_account(&["shop"]);
        let mut tideway = Tideway::new()
            .source("a", &source)
            .target("copy", &target)
            .task(&shop_task().with("[task.dump]\nthreads = 1\nchunk_size = \"64KiB\""));
        tideway.start();
        tideway.await_status("rows are being dumped", |status| {
            streams(status)
                .iter()
                .any(|stream| stream["dump"]["rows_done"].as_u64() > Some(100))
        });
        source.run("DROP TABLE shop.visit; DROP TABLE shop.kinds");
        // Begun anew by itself, or stopped with the table's name and gone on after a retry.
        let status = tideway.await_status("the stream is in sync or stands", |status| {
            streams(status)
                .iter()
                .any(|stream| stream["unit"] == "sync" || stream["stage"] == "failed")
        });
        if streams(&status)[0]["stage"] == "failed" {
            await_stop(&mut tideway, "shop", "a", &["shop"]);
            tideway.ctl(&["retry", "--task", "shop", "--source", "a"]);
        }
        tideway.await_streams("sync", "running");
        tideway.terminate();
        tideway.catch_up();
        assert_equal(&source, &target, &[("shop", "shop")]);
    }
}

#[test]
fn a_statement_in_the_binlog_stops_the_stream_and_is_never_passed_over() {
    for flavor in [Flavor::MariaDb1011, Flavor::MySql97] {
        let [source, target] = Server::start_all([flavor, Flavor::MariaDb1011]);
        small_shop(&source);
        target.target_account(&["shop"]);
        let mut tideway = tideway(&source, &target);
        tideway.start();
        tideway.await_streams("sync", "running");
        source.run(
            "SET SESSION binlog_format = 'STATEMENT'; USE shop; \
             UPDATE stock SET amount = 4711 WHERE warehouse = 1000 AND sku = 'SKU-1000-1'",
        );
        source.run("INSERT INTO shop.stock VALUES (1, 'later', 1)");
        let stream = await_stop(
            &mut tideway,
            "shop",
            "a",
            &["binlog_format", "ROW", "UPDATE stock"],
        );
        assert!(
            stream["stop"]["position"]["offset"].as_u64() > Some(4),
            "{stream:#}"
        );
        let later = "SELECT COUNT(*) FROM shop.stock WHERE sku = 'later'";
        assert_eq!(
            target.client().value(later),
            "0",
            "the event was passed over"
        );
        // A retry, and a restart, stop at the same event.
        tideway.ctl(&["retry", "--task", "shop", "--source", "a"]);
        std::thread::sleep(Duration::from_secs(1));
        let again = await_stop(&mut tideway, "shop", "a", &["binlog_format"]);
        assert_eq!(stream["stop"]["position"], again["stop"]["position"]);
        tideway.kill9();
        tideway.start_with(&["run", "--until", "caught-up"]);
        let status = tideway.wait(Duration::from_mins(1));
        assert_eq!(status.code(), Some(1), "{}", tideway.story());
        assert_eq!(
            target.client().value(later),
            "0",
            "the event was passed over"
        );
    }
}

#[test]
fn a_full_data_folder_is_told_and_work_goes_on_when_there_is_room() {
    let [source, target] = Server::start_all([Flavor::MariaDb1011, Flavor::MariaDb1011]);
    small_shop(&source);
    target.target_account(&["shop"]);
    let mut tideway = tideway(&source, &target);
    let folder = tideway.data_folder();
    let disk = SmallDisk::mount(&folder, "6m");
    tideway.start();
    tideway.await_streams("sync", "running");
    // More binlog than the disk holds.
    source.run(
        "CREATE TABLE shop.big (id INT PRIMARY KEY AUTO_INCREMENT, filler LONGBLOB); \
         INSERT INTO shop.big (filler) VALUES (REPEAT('x', 900000))",
    );
    for _ in 0..10 {
        source.run("INSERT INTO shop.big (filler) VALUES (REPEAT('y', 900000))");
    }
    tideway.await_status("the full disk is told", |status| {
        let text = status.to_string();
        text.contains("disk is full") && text.contains(&folder.display().to_string())
    });
    assert!(tideway.is_running());
    disk.resize("200m");
    tideway.await_status("all has arrived", |_| {
        target.client().value("SELECT COUNT(*) FROM shop.big") == "11"
    });
    assert!(tideway.terminate().success(), "{}", tideway.story());
    tideway.catch_up();
    assert_equal(&source, &target, &[("shop", "shop")]);
}

#[test]
fn a_second_process_on_the_same_data_folder_is_refused() {
    let [source, target] = Server::start_all([Flavor::MariaDb1011, Flavor::MariaDb1011]);
    small_shop(&source);
    target.target_account(&["shop"]);
    let mut tideway = tideway(&source, &target);
    tideway.start();
    tideway.await_streams("sync", "running");
    let second = tideway.output(&["run"]);
    let id = tideway.id().to_string();
    assert!(!second.status.success());
    assert_told(
        &second,
        second.status.code().unwrap(),
        &["error:", &id, "fix:"],
    );
    assert!(tideway.is_running());
    assert!(tideway.terminate().success());
    assert!(PASSWORD.contains("s3cret"));
}
