//! The relay over real servers: where it begins, what it does when the line or the server goes away,
//! what it keeps, and what it lets go.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::support::fixture;
use crate::support::proxy::Proxy;
use crate::support::traffic::Random;
use crate::support::{Flavor, Server, ServerSpec, Task, Tideway, Traffic, assert_equal};

const FLAVORS: [Flavor; 3] = [Flavor::MariaDb1011, Flavor::MariaDb118, Flavor::MySql97];

pub(crate) fn pair(source: impl Into<ServerSpec>) -> [Server; 2] {
    let [source, target] = Server::start_all([source.into(), Flavor::MariaDb1011.into()]);
    source.run("CREATE DATABASE shop");
    source.run("CREATE TABLE shop.t (id INT PRIMARY KEY, a VARCHAR(200))");
    source.source_account(&["shop"]);
    target.target_account(&["shop"]);
    [source, target]
}

/// The target's table as the source has it, for streams that begin without a copy.
pub(crate) fn prepare(target: &Server) {
    target.run("CREATE DATABASE shop");
    target.run("CREATE TABLE shop.t (id INT PRIMARY KEY, a VARCHAR(200))");
}

pub(crate) fn tideway(source: &Server, target: &Server, relay: &str, task: &str) -> Tideway {
    Tideway::new()
        .source_with("a", source, relay)
        .target("copy", target)
        .task(&Task::new("shop", &["a"], "copy", &["shop.*"]).with(task))
}

pub(crate) fn status_statement(server: &Server) -> &'static str {
    match server.flavor() {
        Flavor::MySql97 => "SHOW BINARY LOG STATUS",
        _ => "SHOW MASTER STATUS",
    }
}

/// The end of the source's binlog, as `start` has it.
pub(crate) fn end(source: &Server) -> String {
    let rows = source.client().texts(status_statement(source));
    format!("{}:{}", rows[0][0], rows[0][1])
}

fn gtid_set(source: &Server) -> String {
    source.client().value(match source.flavor() {
        Flavor::MySql97 => "SELECT @@global.gtid_executed",
        _ => "SELECT @@global.gtid_binlog_pos",
    })
}

/// The relay files of source `a`, oldest first.
pub(crate) fn relay_files(tideway: &Tideway) -> Vec<PathBuf> {
    let folder = tideway.data_folder().join("relay/a");
    let mut found = Vec::new();
    let folders = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    for sub in folders.filter(|path| path.is_dir()) {
        for file in fs::read_dir(sub).unwrap() {
            let path = file.unwrap().path();
            if path.file_name().unwrap().to_str().unwrap().contains("bin.") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// Every relay file that the source has closed is the source's own, byte for byte.
pub(crate) fn assert_same_files(source: &Server, tideway: &Tideway) -> usize {
    let files = relay_files(tideway);
    let mut compared = 0;
    for ours in files.iter().take(files.len().saturating_sub(1)) {
        let theirs = source.data_folder().join(ours.file_name().unwrap());
        assert_same(ours, &theirs);
        compared += 1;
    }
    compared
}

pub(crate) fn assert_same(ours: &Path, theirs: &Path) {
    let (ours_bytes, mut bytes) = (fs::read(ours).unwrap(), fs::read(theirs).unwrap());
    // The in-use flag of the format description stays in a file whose server was killed.
    if let (Some(flag), Some(mine)) = (bytes.get_mut(21), ours_bytes.get(21)) {
        *flag = *mine;
    }
    assert!(
        ours_bytes == bytes,
        "{} is not {}",
        ours.display(),
        theirs.display()
    );
}

pub(crate) fn relay(status: &Value) -> &Value {
    &status["sources"][0]["relay"]
}

#[test]
fn begins_where_it_is_told_by_gtid_and_by_time() {
    for flavor in FLAVORS {
        let [source, target] = pair(ServerSpec::new(flavor).option("--max-binlog-size=4096"));
        prepare(&target);
        source.run("INSERT INTO shop.t VALUES (1, 'before')");
        target.run("INSERT INTO shop.t VALUES (1, 'before')");
        let set = gtid_set(&source);
        for id in 2..40 {
            source.run(&format!(
                "INSERT INTO shop.t VALUES ({id}, REPEAT('x', 180))"
            ));
        }
        let start = format!("mode = \"incremental\"\nstart = \"{set}\"");
        let mut by_set = tideway(&source, &target, "", &start);
        by_set.catch_up();
        assert_equal(&source, &target, &[("shop", "shop")]);
        assert!(assert_same_files(&source, &by_set) >= 1);

        std::thread::sleep(Duration::from_millis(1200));
        let time = source
            .client()
            .value("SELECT DATE_FORMAT(UTC_TIMESTAMP(), '%Y-%m-%dT%H:%i:%sZ')");
        std::thread::sleep(Duration::from_millis(1200));
        for id in 100..140 {
            source.run(&format!(
                "INSERT INTO shop.t VALUES ({id}, REPEAT('y', 180))"
            ));
        }
        target.run("DROP DATABASE tideway");
        let start = format!("mode = \"incremental\"\nstart = \"{time}\"");
        let mut by_time = tideway(&source, &target, "", &start);
        by_time.catch_up();
        assert_equal(&source, &target, &[("shop", "shop")]);
        // Found by the files' heads: the first ones were not fetched.
        let first = relay_files(&by_time)[0].clone();
        assert!(!first.ends_with("bin.000001"), "{first:?}");
    }
}

#[test]
fn a_start_within_an_event_is_refused_and_the_nearest_are_named() {
    let [source, target] = pair(Flavor::MariaDb1011);
    prepare(&target);
    let start = end(&source);
    source.run("INSERT INTO shop.t VALUES (1, 'x')");
    let (file, offset) = start.split_once(':').unwrap();
    let wrong = format!("{file}:{}", offset.parse::<u64>().unwrap() + 3);
    let task = format!("mode = \"incremental\"\nstart = \"{wrong}\"");
    let mut refused = tideway(&source, &target, "", &task);
    refused.start_with(&["run", "--until", "caught-up"]);
    assert_eq!(refused.wait(Duration::from_mins(1)).code(), Some(1));
    let log = refused.log();
    assert!(log.contains("where no event starts"), "{log}");
    assert!(log.contains(&format!("`{start}`")), "{log}");

    let task = "mode = \"incremental\"\nstart = \"0-77-900\"";
    let mut unknown = tideway(&source, &target, "", task);
    unknown.start_with(&["run", "--until", "caught-up"]);
    assert_eq!(
        unknown.wait(Duration::from_mins(1)).code(),
        Some(1),
        "{}",
        unknown.log()
    );
}

#[test]
fn a_bad_line_loses_nothing() {
    for flavor in [Flavor::MariaDb1011, Flavor::MySql97] {
        let [source, target] = pair(ServerSpec::new(flavor).option("--max-binlog-size=262144"));
        let proxy = Proxy::to(source.port());
        let mut tideway = Tideway::new()
            .source_with(
                "a",
                &source,
                &format!(
                    "port = {}\ntls = \"disabled\"\n[source.relay]\nheartbeat = \"1s\"",
                    proxy.port()
                ),
            )
            .target("copy", &target)
            .task(&Task::new("shop", &["a"], "copy", &["shop.*"]));
        tideway.start();
        tideway.await_streams("sync", "running");
        let mut rng = Random::new(7);
        let mut id = 0;
        let mut write = |rows: u32| {
            for _ in 0..rows {
                id += 1;
                source.run(&format!(
                    "INSERT INTO shop.t VALUES ({id}, REPEAT('x', 150))"
                ));
            }
        };
        for _ in 0..3 {
            // Within an event, and again before it had come whole.
            proxy.cut_stream_after(200 + rng.below(900));
            write(40);
            proxy.garble_stream_after(100 + rng.below(900), 3);
            write(40);
        }
        // Silent, with the connection standing: noticed by the missing heartbeats.
        proxy.stall(true);
        write(10);
        tideway.await_status("the silent line is noticed", |status| {
            relay(status)["connected"] == false
        });
        proxy.stall(false);
        write(10);
        tideway.await_status("the line is redone", |status| {
            relay(status)["connected"] == true
        });
        // Slow, so that an event takes longer than a silence may: it is waited for all the same.
        source.run("CREATE TABLE shop.slow (id INT PRIMARY KEY, a MEDIUMTEXT)");
        target.await_value("SELECT COUNT(*) FROM shop.slow", "0");
        proxy.throttle(Some(30_000));
        source.run("INSERT INTO shop.slow VALUES (1, REPEAT('s', 190000))");
        target.await_value("SELECT SUM(LENGTH(a)) FROM shop.slow", "190000");
        proxy.throttle(None);
        tideway.terminate();
        source.run("FLUSH BINARY LOGS");
        tideway.catch_up();
        assert_equal(&source, &target, &[("shop", "shop")]);
        assert!(assert_same_files(&source, &tideway) >= 1);
    }
}

#[test]
fn a_source_that_is_killed_and_restarted_is_followed_to_the_byte() {
    for flavor in FLAVORS {
        let [mut source, target] = pair(flavor);
        let mut tideway = tideway(&source, &target, "[source.relay]\nheartbeat = \"1s\"", "");
        tideway.start();
        tideway.await_streams("sync", "running");
        for round in 0..3 {
            for id in 0..30 {
                let id = round * 100 + id;
                source.run(&format!(
                    "INSERT INTO shop.t VALUES ({id}, REPEAT('k', 150))"
                ));
            }
            if round == 1 {
                source.stop();
            } else {
                source.kill9();
            }
            source.restart();
        }
        source.run("INSERT INTO shop.t VALUES (900, 'last')");
        source.run("FLUSH BINARY LOGS");
        target.await_value("SELECT COUNT(*) FROM shop.t", "91");
        tideway.terminate();
        tideway.catch_up();
        assert_equal(&source, &target, &[("shop", "shop")]);
        assert!(assert_same_files(&source, &tideway) >= 3);
    }
}

#[test]
fn a_damaged_file_is_found_named_and_fetched_again() {
    for flavor in [Flavor::MariaDb1011, Flavor::MySql97] {
        let [mut source, target] = pair(flavor);
        let mut tideway = tideway(&source, &target, "", "");
        // The relay gets it while the stream stands.
        tideway.start();
        tideway.await_streams("sync", "running");
        tideway.ctl(&["pause"]);
        tideway.await_stream("shop", "a", "paused");
        source.run("FLUSH BINARY LOGS");
        for id in 1..200 {
            source.run(&format!(
                "INSERT INTO shop.t VALUES ({id}, REPEAT('x', 150))"
            ));
        }
        source.run("FLUSH BINARY LOGS");
        tideway.await_status("all of it is here", |status| {
            relay(status)["behind_bytes"] == 0 && relay(status)["file_count"].as_u64() > Some(2)
        });
        let files = relay_files(&tideway);
        let victim = &files[files.len() - 2];
        let good = fs::read(victim).unwrap();
        let flip = |at: usize| {
            let mut bytes = good.clone();
            bytes[at] ^= 4;
            fs::write(victim, bytes).unwrap();
        };
        flip(good.len() / 2);
        let output = tideway.output(&["relay", "verify", "--source", "a"]);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(text.contains("damaged at"), "{text}");
        assert!(
            text.contains(victim.file_name().unwrap().to_str().unwrap()),
            "{text}"
        );
        let output = tideway.output(&["relay", "verify", "--mend"]);
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        assert!(fs::read(victim).unwrap() == good);
        let status = tideway.status().unwrap();
        let hold = &relay(&status)["held_by"];
        assert_eq!(hold["task"], "shop");
        assert!(hold["file"].as_str() < victim.file_name().unwrap().to_str());

        // While the source is out of reach that is what one is told, by a code of its own.
        flip(good.len() / 2);
        source.stop();
        let output = tideway.output(&["relay", "verify", "--mend", "--json"]);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(output.status.code(), Some(3), "{text}");
        let last = text.lines().last().unwrap_or_default();
        let last: serde_json::Value = serde_json::from_str(last).unwrap();
        assert_eq!(
            (&last["reply"], &last["kind"]),
            (&"failed".into(), &"connect".into())
        );
        assert_eq!(last["name"], victim.file_name().unwrap().to_str().unwrap());
        source.restart();

        // And when a stream meets it, by itself.
        flip(good.len() / 2 + 40);
        if tideway.status().unwrap()["streams"][0]["stage"] == "paused" {
            tideway.ctl(&["resume"]);
        }
        tideway.await_status("the stream is past it", |status| {
            status["streams"][0]["behind_bytes"] == 0
        });
        assert!(fs::read(victim).unwrap() == good);
        assert!(tideway.log().contains("fetched again"), "{}", tideway.log());
        tideway.terminate();
        tideway.catch_up();
        assert_equal(&source, &target, &[("shop", "shop")]);
        assert_same_files(&source, &tideway);
    }
}

#[test]
fn purges_what_nobody_needs_and_nothing_else() {
    let [source, target] = pair(Flavor::MariaDb1011);
    let mut tideway = tideway(&source, &target, "", "");
    tideway.start();
    tideway.await_streams("sync", "running");
    let fill = |from: u32| {
        for id in from..from + 3 {
            source.run(&format!("INSERT INTO shop.t VALUES ({id}, 'x')"));
            source.run("FLUSH BINARY LOGS");
        }
    };
    fill(1);
    tideway.await_status("applied", |status| {
        relay(status)["file_count"].as_u64() >= Some(4) && status["streams"][0]["behind_bytes"] == 0
    });
    tideway.ctl(&["pause"]);
    tideway.await_stream("shop", "a", "paused");
    let needed = tideway.status().unwrap()["streams"][0]["position"]["file"].clone();
    fill(10);
    tideway.await_status("received", |status| {
        relay(status)["file_count"].as_u64() >= Some(7)
    });
    let names = |tideway: &Tideway| -> Vec<String> {
        let files = relay_files(tideway);
        files
            .iter()
            .map(|path| path.file_name().unwrap().to_str().unwrap().to_owned())
            .collect()
    };
    let newest = names(&tideway).last().unwrap().clone();
    let output = tideway.output(&["relay", "purge", "--source", "a", "--before", &newest]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(text.contains("still needs"), "{text}");
    assert_eq!(names(&tideway)[0], needed.as_str().unwrap(), "{text}");
    // Once more there is nothing: it says who holds it.
    let output = tideway.output(&["relay", "purge", "--source", "a", "--older-than", "0s"]);
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(text.contains("`shop` on `a`"), "{text}");
    tideway.ctl(&["resume"]);
    tideway.await_status("applied", |status| {
        status["streams"][0]["behind_bytes"] == 0
            && status["streams"][0]["position"]["file"] != needed
    });
    tideway.terminate();
    // By age, without being asked.
    let data = tideway.data_folder();
    let mut tideway = Tideway::new()
        .data_in(&data)
        .source_with("a", &source, "[source.relay]\npurge_after = \"1s\"")
        .target("copy", &target)
        .task(&Task::new("shop", &["a"], "copy", &["shop.*"]));
    tideway.start();
    tideway.await_status("purged by age", |status| relay(status)["file_count"] == 1);
    tideway.terminate();
    tideway.catch_up();
    assert_equal(&source, &target, &[("shop", "shop")]);
}

#[test]
fn what_is_here_is_applied_while_the_source_is_down() {
    for flavor in [Flavor::MariaDb1011, Flavor::MySql97] {
        let [mut source, target] = pair(flavor);
        let mut tideway = tideway(&source, &target, "", "");
        tideway.start();
        tideway.await_streams("sync", "running");
        tideway.ctl(&["pause"]);
        tideway.await_stream("shop", "a", "paused");
        source.run("INSERT INTO shop.t VALUES (1, 'x'), (2, 'y')");
        tideway.await_status("received", |status| {
            relay(status)["behind_bytes"] == 0
                && status["streams"][0]["behind_bytes"].as_u64() > Some(0)
        });
        tideway.kill9();
        source.stop();
        tideway.start();
        tideway.await_status("applied without the source", |status| {
            status["streams"][0]["behind_bytes"] == 0
                && status["streams"][0]["rows_applied"].as_u64() == Some(2)
        });
        let status = tideway.status().unwrap();
        // How far the target is behind cannot be known now.
        assert!(status["streams"][0]["lag_seconds"].is_null(), "{status}");
        assert_eq!(target.client().value("SELECT COUNT(*) FROM shop.t"), "2");
        tideway.terminate();
        source.restart();
        source.run("INSERT INTO shop.t VALUES (3, 'z')");
        tideway.catch_up();
        assert_equal(&source, &target, &[("shop", "shop")]);
    }
}

#[test]
fn a_purged_binlog_is_told_with_what_is_missing() {
    for flavor in [Flavor::MariaDb1011, Flavor::MySql97] {
        let [source, target] = pair(flavor);
        let mut tideway = tideway(&source, &target, "", "");
        tideway.catch_up();
        for _ in 0..3 {
            source.run("FLUSH BINARY LOGS");
        }
        let newest = source.client().texts(status_statement(&source))[0][0].clone();
        // Not a file that a dump thread still reads: that of the process before takes a moment to end.
        for _ in 0..100 {
            source.run(&format!("PURGE BINARY LOGS TO '{newest}'"));
            if source.client().texts("SHOW BINARY LOGS").len() == 1 {
                break;
            }
            std::thread::sleep(Duration::from_millis(200));
        }
        tideway.start();
        let status = tideway.await_status("the relay stands", |status| {
            status["sources"][0]["stage"] == "failed"
        });
        let text = status["sources"][0]["error"].to_string();
        for part in ["no longer has", &newest, "files from", "missing"] {
            assert!(text.contains(part), "`{part}` is not in {text}");
        }
        tideway.terminate();
        assert_equal(&source, &target, &[("shop", "shop")]);
    }
}

#[test]
fn another_history_under_the_same_names_is_found() {
    for flavor in [Flavor::MariaDb1011, Flavor::MySql97] {
        let [source, target] = pair(flavor);
        let mut tideway = tideway(&source, &target, "", "");
        source.run("INSERT INTO shop.t VALUES (1, 'x')");
        tideway.catch_up();
        assert_equal(&source, &target, &[("shop", "shop")]);
        source.run(match flavor {
            Flavor::MySql97 => "RESET BINARY LOGS AND GTIDS",
            _ => "RESET MASTER",
        });
        // The new history grows past where the old one was left.
        for id in 10..60 {
            source.run(&format!(
                "INSERT INTO shop.t VALUES ({id}, REPEAT('n', 150))"
            ));
        }
        tideway.start();
        let status = tideway.await_status("the relay stands", |status| {
            status["sources"][0]["stage"] == "failed"
        });
        let text = status["sources"][0]["error"].to_string();
        assert!(
            text.contains("\"history\"") || text.contains("histor"),
            "{text}"
        );
        tideway.terminate();
        // The relay log is moved away, but the checkpoint stays: its place is not believed.
        fs::remove_dir_all(tideway.data_folder().join("relay")).unwrap();
        tideway.start();
        let status = tideway.await_status("the stream stands", |status| {
            status["streams"][0]["stage"] == "failed"
        });
        assert_eq!(status["streams"][0]["rows_applied"], 0, "{status}");
        assert_eq!(target.client().value("SELECT COUNT(*) FROM shop.t"), "1");
        tideway.terminate();
    }
}

/// A primary with a replica that writes a binlog of its own.
pub(crate) fn primary_and_replica(flavor: Flavor) -> [Server; 2] {
    let spec = |flavor| {
        let spec = ServerSpec::new(flavor).option("--log-slave-updates=ON");
        match flavor {
            Flavor::MySql97 => spec
                .option("--gtid-mode=ON")
                .option("--enforce-gtid-consistency=ON"),
            _ => spec.option("--gtid-strict-mode=ON"),
        }
    };
    let servers = Server::start_all([spec(flavor), spec(flavor)]);
    let [primary, replica] = &servers;
    // What set the servers up is not replicated.
    for server in [primary, replica] {
        server.run(match flavor {
            Flavor::MySql97 => "RESET BINARY LOGS AND GTIDS",
            _ => "RESET MASTER",
        });
    }
    follow(replica, primary);
    servers
}

/// Has `replica` follow `primary` by GTID, over root's account.
pub(crate) fn follow(replica: &Server, primary: &Server) {
    primary.run(
        "SET sql_log_bin = 0; CREATE USER IF NOT EXISTS r@'%' IDENTIFIED BY 'r'; \
         GRANT REPLICATION SLAVE ON *.* TO r@'%'; SET sql_log_bin = 1",
    );
    let port = primary.port();
    replica.run(&if primary.flavor() == Flavor::MySql97 {
        format!(
            "CHANGE REPLICATION SOURCE TO SOURCE_HOST = '127.0.0.1', SOURCE_PORT = {port}, \
             SOURCE_USER = 'r', SOURCE_PASSWORD = 'r', SOURCE_AUTO_POSITION = 1, \
             GET_SOURCE_PUBLIC_KEY = 1; START REPLICA"
        )
    } else {
        format!(
            "CHANGE MASTER TO MASTER_HOST = '127.0.0.1', MASTER_PORT = {port}, MASTER_USER = 'r', \
             MASTER_PASSWORD = 'r', MASTER_USE_GTID = slave_pos; START SLAVE"
        )
    });
}

#[test]
fn a_failover_goes_on_with_the_new_server_by_gtid() {
    for flavor in [Flavor::MariaDb1011, Flavor::MySql97] {
        let [mut primary, replica] = primary_and_replica(flavor);
        if flavor == Flavor::MySql97 {
            // Both were made from one backup, whose transactions are in no binlog.
            for server in [&replica, &primary] {
                server.run("SET GLOBAL gtid_purged = '+3e11fa47-71ca-11e1-9e33-c80aa9429562:1-77'");
            }
        }
        let target = Server::start(Flavor::MariaDb1011);
        target.target_account(&["shop"]);
        primary.run("CREATE DATABASE shop");
        primary.run("CREATE TABLE shop.t (id INT PRIMARY KEY, a VARCHAR(200))");
        primary.run("CREATE TABLE shop.keyless (a VARCHAR(200))");
        for server in [&primary, &replica] {
            server.source_account(&["shop"]);
        }
        let proxy = Proxy::to(primary.port());
        let mut tideway = Tideway::new()
            .source_with(
                "a",
                &primary,
                &format!("port = {}\ntls = \"disabled\"", proxy.port()),
            )
            .target("copy", &target)
            .task(&Task::new("shop", &["a"], "copy", &["shop.*"]));
        tideway.start();
        tideway.await_streams("sync", "running");
        for id in 1..30 {
            primary.run(&format!("INSERT INTO shop.t VALUES ({id}, 'x')"));
            primary.run("INSERT INTO shop.keyless VALUES ('same'), ('same')");
        }
        replica.await_value("SELECT COUNT(*) FROM shop.keyless", "58");
        target.await_value("SELECT COUNT(*) FROM shop.keyless", "58");
        let before = tideway.status().unwrap()["sources"][0]["relay"]["folder"].clone();
        primary.kill9();
        replica.run(match flavor {
            Flavor::MySql97 => "STOP REPLICA",
            _ => "STOP SLAVE",
        });
        proxy.lead_to(replica.port());
        proxy.cut();
        for id in 100..130 {
            replica.run(&format!("INSERT INTO shop.t VALUES ({id}, 'after')"));
            replica.run("INSERT INTO shop.keyless VALUES ('same')");
        }
        tideway.await_status("it goes on in a new folder", |status| {
            relay(status)["folder"] != before && status["streams"][0]["behind_bytes"] == 0
        });
        target.await_value("SELECT COUNT(*) FROM shop.keyless", "88");
        // And a new process finds its checkpoint all the same.
        tideway.kill9();
        replica.run("UPDATE shop.t SET a = 'again' WHERE id > 100");
        tideway.catch_up();
        assert_equal(&replica, &target, &[("shop", "shop")]);
    }
}

#[test]
fn a_full_disk_pauses_and_goes_on_by_itself() {
    let folder = tempfile::tempdir().unwrap();
    let mount = |action: &[&str]| {
        assert!(
            Command::new(action[0])
                .args(&action[1..])
                .status()
                .unwrap()
                .success()
        );
    };
    let path = folder.path().to_str().unwrap().to_owned();
    mount(&["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", &path]);
    let unmount = Unmount(path.clone());
    let [source, target] = pair(Flavor::MariaDb1011);
    let mut tideway = Tideway::new()
        .data_in(&Path::new(&path).join("data"))
        .source("a", &source)
        .target("copy", &target)
        .task(&Task::new("shop", &["a"], "copy", &["shop.*"]));
    tideway.start();
    tideway.await_streams("sync", "running");
    for id in 0..24_000 / 200 {
        let rows: Vec<String> = (0..200)
            .map(|row| format!("({}, REPEAT('f', 190))", id * 200 + row))
            .collect();
        source.run(&format!("INSERT INTO shop.t VALUES {}", rows.join(",")));
    }
    let status = tideway.await_status("the relay waits for room", |status| {
        status["sources"][0]["error"]
            .to_string()
            .contains("disk_full")
            || status["sources"][0]["error"]
                .to_string()
                .contains("disk-full")
    });
    assert_eq!(status["sources"][0]["stage"], "waiting", "{status}");
    mount(&["mount", "-o", "remount,size=64m", &path]);
    tideway.await_status("it goes on by itself", |status| {
        relay(status)["behind_bytes"] == 0 && status["streams"][0]["behind_bytes"] == 0
    });
    tideway.terminate();
    source.run("FLUSH BINARY LOGS");
    tideway.catch_up();
    assert_equal(&source, &target, &[("shop", "shop")]);
    let ours = fs::read_dir(Path::new(&path).join("data/relay/a")).unwrap();
    let sub = ours
        .map(|entry| entry.unwrap().path())
        .find(|path| path.is_dir())
        .unwrap();
    assert_same(
        &sub.join("bin.000001"),
        &source.data_folder().join("bin.000001"),
    );
    drop(tideway);
    drop(unmount);
}

struct Unmount(String);

impl Drop for Unmount {
    fn drop(&mut self) {
        let _ = Command::new("umount").args(["-l", &self.0]).status();
    }
}

/// Kills at random moments under load; `TIDEWAY_KILLS` and `TIDEWAY_SEED` for more of them.
#[test]
fn killed_at_any_moment_it_ends_with_the_source_s_files() {
    let number = |name: &str, usual: u64| {
        std::env::var(name)
            .ok()
            .and_then(|text| text.parse().ok())
            .unwrap_or(usual)
    };
    let kills = number("TIDEWAY_KILLS", 9);
    let seed = number("TIDEWAY_SEED", 20_261_123);
    println!("{kills} kills, seed {seed}");
    let mut rng = Random::new(seed);
    for flavor in FLAVORS {
        let spec = ServerSpec::new(flavor).option("--max-binlog-size=1048576");
        let [source, target] = Server::start_all([spec, Flavor::MariaDb1011.into()]);
        fixture::create_shop(&mut source.client(), "shop", 1500, 1000);
        source.source_account(&["shop"]);
        target.target_account(&["shop"]);
        let mut tideway = tideway(&source, &target, "", "");
        let traffic = Traffic::start(&source, "shop", 1000, rng.next());
        for _ in 0..kills.div_ceil(FLAVORS.len() as u64) {
            tideway.start();
            std::thread::sleep(Duration::from_millis(50 + rng.below(1500)));
            tideway.kill9();
        }
        traffic.stop();
        source.run("FLUSH BINARY LOGS");
        tideway.catch_up();
        assert_equal(&source, &target, &[("shop", "shop")]);
        let compared = assert_same_files(&source, &tideway);
        println!("{}: {compared} files equal", flavor.name());
        let verified = tideway.output(&["relay", "verify"]);
        assert!(
            verified.status.success(),
            "{}",
            String::from_utf8_lossy(&verified.stdout)
        );
    }
}
