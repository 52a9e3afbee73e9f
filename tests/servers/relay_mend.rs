//! What an operator has of a relay log that is damaged, cut, in the way of others or asked of twice: it
//! is mended, or it is said; and what its picture shows of it is what is there.

use std::cell::Cell;
use std::fs;
use std::os::unix::fs::{FileExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use serde_json::Value;
use tideway::config::{Address, ServerConfig, TlsConfig};
use tideway::connect::replication::{DumpRequest, ReplicationClient};
use tideway::model::{Position, Secret};

use crate::binlog_files::last_transaction_before;
use crate::relay::{assert_same_files, end, pair, relay, relay_files, tideway};
use crate::support::server::PASSWORD;
use crate::support::{Flavor, Server, ServerSpec, Task, Tideway, assert_equal};

fn text(output: &Output) -> (Option<i32>, String) {
    let out = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code(), out + &errors)
}

fn fill(source: &Server, ids: std::ops::Range<u32>) {
    for id in ids {
        source.run(&format!(
            "INSERT INTO shop.t VALUES ({id}, REPEAT('m', 150))"
        ));
    }
}

fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 4;
    // In place: the worker has it open.
    let file = fs::OpenOptions::new().write(true).open(path).unwrap();
    file.write_all_at(&bytes[at..=at], at as u64).unwrap();
}

fn all_here(tideway: &mut Tideway, files: u64) {
    tideway.await_status("all of it is here", |status| {
        relay(status)["behind_bytes"] == 0 && relay(status)["file_count"].as_u64() >= Some(files)
    });
}

/// While the worker runs: damage in the file that is being written, and an older one that lost its end
/// where a transaction ends.
#[test]
fn the_newest_file_and_one_without_its_end_are_mended_while_all_runs() {
    for flavor in [Flavor::MariaDb1011, Flavor::MySql97] {
        let [source, target] = pair(flavor);
        let mut tideway = tideway(&source, &target, "", "");
        tideway.start();
        tideway.await_streams("sync", "running");
        tideway.ctl(&["pause"]);
        tideway.await_stream("shop", "a", "paused");
        fill(&source, 1..60);
        source.run("FLUSH BINARY LOGS");
        fill(&source, 60..120);
        all_here(&mut tideway, 2);
        let files = relay_files(&tideway);
        let [older, newest] = &files[files.len() - 2..] else {
            unreachable!("two files")
        };
        let good = [older, newest].map(|path| fs::read(path).unwrap());

        flip(newest, good[1].len() / 2);
        let (code, shown) = text(&tideway.output(&["relay", "verify"]));
        assert_eq!(code, Some(1), "{shown}");
        assert!(shown.contains("damaged at"), "{shown}");
        let (code, shown) = text(&tideway.output(&["relay", "verify", "--mend"]));
        assert_eq!(code, Some(0), "{shown}");
        assert!(fs::read(newest).unwrap() == good[1], "{shown}");

        let end = last_transaction_before(older, good[0].len() as u64 * 3 / 4);
        let cut = || {
            let file = fs::OpenOptions::new().write(true).open(older).unwrap();
            file.set_len(end).unwrap();
        };
        cut();
        let (code, shown) = text(&tideway.output(&["relay", "verify"]));
        assert_eq!(code, Some(1), "{shown}");
        assert!(shown.contains("when it was complete"), "{shown}");
        let (code, shown) = text(&tideway.output(&["events", "-n", "0"]));
        assert_eq!(code, Some(1));
        assert!(shown.contains("lost its end"), "{shown}");
        let (code, shown) = text(&tideway.output(&["relay", "verify", "--mend"]));
        assert_eq!(code, Some(0), "{shown}");
        assert!(fs::read(older).unwrap() == good[0]);

        // And by a stream that meets them.
        cut();
        flip(newest, good[1].len() / 2);
        tideway.ctl(&["resume"]);
        target.await_value("SELECT COUNT(*) FROM shop.t", "119");
        assert!(fs::read(older).unwrap() == good[0]);
        assert!(fs::read(newest).unwrap().starts_with(&good[1]));
        fill(&source, 120..130);
        target.await_value("SELECT COUNT(*) FROM shop.t", "129");
        tideway.terminate();
        for path in relay_files(&tideway)
            .into_iter()
            .chain([tideway.data_folder().join("relay/a/source.json")])
        {
            let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o777;
            assert_eq!(mode, 0o600, "{}", path.display());
        }
        source.run("FLUSH BINARY LOGS");
        tideway.catch_up();
        assert_equal(&source, &target, &[("shop", "shop")]);
        assert!(assert_same_files(&source, &tideway) >= 2);
    }
}

/// A file that somebody removed from between others: while the worker runs, and when it was down.
#[test]
fn a_file_that_is_gone_is_told_and_fetched_again() {
    for flavor in [Flavor::MariaDb118, Flavor::MySql97] {
        let [source, target] = pair(flavor);
        let mut tideway = tideway(&source, &target, "", "");
        let mut rows = 0;
        for is_down in [false, true] {
            tideway.start();
            tideway.await_streams("sync", "running");
            tideway.ctl(&["pause"]);
            tideway.await_stream("shop", "a", "paused");
            for _ in 0..3 {
                fill(&source, rows..rows + 20);
                rows += 20;
                source.run("FLUSH BINARY LOGS");
            }
            all_here(&mut tideway, if is_down { 7 } else { 4 });
            let files = relay_files(&tideway);
            let gone = &files[files.len() - 3];
            let good = fs::read(gone).unwrap();

            fs::remove_file(gone).unwrap();
            let (code, shown) = text(&tideway.output(&["relay", "verify"]));
            assert_eq!(code, Some(1), "{shown}");
            assert!(
                shown.contains(&format!("the file is gone, and had {} bytes", good.len())),
                "{shown}"
            );
            let (code, shown) = text(&tideway.output(&["events", "-n", "0"]));
            assert_eq!(code, Some(1));
            assert!(shown.contains("it is gone"), "{shown}");
            let (code, shown) = text(&tideway.output(&["relay", "verify", "--mend"]));
            assert_eq!(code, Some(0), "{shown}");
            assert!(fs::read(gone).unwrap() == good);

            // And by a stream that meets it.
            fs::remove_file(gone).unwrap();
            if is_down {
                tideway.kill9();
                tideway.start();
            } else {
                tideway.ctl(&["resume"]);
            }
            target.await_value("SELECT COUNT(*) FROM shop.t", &rows.to_string());
            assert!(fs::read(gone).unwrap() == good);
            tideway.terminate();
        }
        tideway.catch_up();
        assert_equal(&source, &target, &[("shop", "shop")]);
        assert!(assert_same_files(&source, &tideway) >= 6);
    }
}

/// Of an encrypted source it comes decrypted, as it came before.
#[test]
fn a_file_of_an_encrypted_source_is_fetched_again() {
    let [source, target] = pair(ServerSpec::new(Flavor::MariaDb1011).encrypted());
    let mut tideway = tideway(&source, &target, "", "");
    fill(&source, 1..20);
    tideway.start();
    tideway.await_streams("sync", "running");
    fill(&source, 20..40);
    source.run("FLUSH BINARY LOGS");
    fill(&source, 40..60);
    target.await_value("SELECT COUNT(*) FROM shop.t", "59");
    all_here(&mut tideway, 2);
    let files = relay_files(&tideway);
    let victim = &files[files.len() - 2];
    let good = fs::read(victim).unwrap();
    flip(victim, good.len() / 2);
    let (code, shown) = text(&tideway.output(&["relay", "verify", "--mend"]));
    assert_eq!(code, Some(0), "{shown}");
    assert!(fs::read(victim).unwrap() == good);
    tideway.terminate();
}

#[test]
fn a_bad_relay_folder_keeps_no_other_source_from_work() {
    let [source, target] = pair(Flavor::MariaDb1011);
    let other = Server::start(Flavor::MariaDb1011);
    other.run("CREATE DATABASE other");
    other.run("CREATE TABLE other.t (id INT PRIMARY KEY)");
    other.source_account(&["other"]);
    target.target_account(&["shop", "other"]);
    let mut tideway = Tideway::new()
        .source("a", &source)
        .source("b", &other)
        .target("copy", &target)
        .task(&Task::new("shop", &["a"], "copy", &["shop.*"]))
        .task(&Task::new("other", &["b"], "copy", &["other.*"]));
    tideway.catch_up();
    let state = relay_files(&tideway)[0].with_file_name("state.json");
    let good = fs::read(&state).unwrap();
    fs::write(&state, "{").unwrap();
    source.run("INSERT INTO shop.t VALUES (1, 'x')");
    other.run("INSERT INTO other.t VALUES (1)");
    tideway.start();
    target.await_value("SELECT COUNT(*) FROM other.t", "1");
    let status = tideway.await_status("both are told", |status| {
        status["sources"][0]["stage"] == "failed"
            && status["streams"]
                .as_array()
                .unwrap()
                .iter()
                .any(|stream| stream["source"] == "a" && stream["stage"] == "failed")
    });
    let error = status["sources"][0]["error"].to_string();
    assert!(error.contains("state.json"), "{error}");
    assert_eq!(status["sources"][1]["stage"], "running");
    fs::write(&state, good).unwrap();
    tideway.ctl(&["retry", "--relay", "--source", "a"]);
    tideway.ctl(&["retry", "--task", "shop"]);
    target.await_value("SELECT COUNT(*) FROM shop.t", "1");
    tideway.terminate();
    tideway.catch_up();
    assert_equal(&source, &target, &[("shop", "shop")]);
    assert_equal(&other, &target, &[("other", "other")]);
}

/// MySQL ends the older of two dumps that it takes for one replica's, while it still has something to
/// send; MariaDB only does so to those with a number among the replicas.
#[test]
fn looks_at_one_source_do_not_end_each_other() {
    let source = Server::start(Flavor::MySql97);
    source.run("CREATE DATABASE d");
    source.run("CREATE TABLE d.t (b LONGBLOB)");
    for _ in 0..8 {
        // More than lies on the way until somebody reads it.
        source.run("INSERT INTO d.t VALUES (REPEAT('x', 4000000))");
    }
    source.run("INSERT INTO d.t VALUES ('the very last')");
    source.source_account(&["d"]);
    let first = source.client().texts("SHOW BINARY LOGS")[0][0].clone();
    let server = ServerConfig {
        name: "a".into(),
        address: Address::Tcp {
            host: "127.0.0.1".into(),
            port: source.port(),
        },
        user: "tideway".into(),
        password: Some(Secret::new(PASSWORD)),
        password_file: None,
        tls: TlsConfig::default(),
    };
    let request = DumpRequest {
        server_id: 0,
        position: Position::new(first, 4),
        heartbeat: Duration::from_secs(1),
    };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let mut looks = Vec::new();
        for _ in 0..3 {
            let mut client = ReplicationClient::connect(&server).await.unwrap();
            client.dump(&request).await.unwrap();
            looks.push(client);
            // It has begun: the server has looked for older ones of the same name.
            looks.last_mut().unwrap().wait().await.unwrap();
        }
        // Each gets everything.
        for (number, look) in looks.iter_mut().enumerate() {
            loop {
                let piece = look
                    .next()
                    .await
                    .unwrap_or_else(|e| panic!("look {number}: {}", e.report()));
                let is_small = piece.bytes.len() < 1000;
                if is_small && piece.bytes.windows(8).any(|part| part == b"the very") {
                    break;
                }
            }
        }
    });
}

#[test]
fn a_relay_goes_on_when_the_source_no_longer_logs_rows() {
    let [source, target] = pair(Flavor::MariaDb1011);
    let mut tideway = tideway(&source, &target, "", "");
    tideway.start();
    tideway.await_streams("sync", "running");
    source.run("SET GLOBAL binlog_format = 'MIXED'");
    tideway.ctl(&["pause", "--relay", "--source", "a"]);
    tideway.await_status("the relay stands", |status| {
        status["sources"][0]["stage"] == "paused"
    });
    source.run("SET binlog_format = 'ROW'; INSERT INTO shop.t VALUES (1, 'x')");
    tideway.ctl(&["resume", "--relay", "--source", "a"]);
    target.await_value("SELECT COUNT(*) FROM shop.t", "1");
    let status = tideway.await_status("it is told", |status| {
        relay(status)["warnings"]
            .to_string()
            .contains("`binlog_format` is `MIXED`")
    });
    assert_eq!(status["sources"][0]["stage"], "running");
    tideway.terminate();
}

/// The picture of a relay, figure by figure, and where it began.
#[test]
fn the_picture_of_a_relay_is_what_is_there() {
    for flavor in [Flavor::MariaDb118, Flavor::MySql97] {
        let [source, target] = pair(flavor);
        source.run("FLUSH BINARY LOGS");
        source.run("FLUSH BINARY LOGS");
        let begin = end(&source).split(':').next().unwrap().to_owned();
        fill(&source, 1..5);
        source.run("FLUSH BINARY LOGS");
        let lines = format!("[source.relay]\nstart = \"{begin}:4\"");
        let mut tideway = tideway(&source, &target, &lines, "");
        tideway.start();
        tideway.await_streams("sync", "running");
        let id = Cell::new(5);
        tideway.await_status("bytes come in", |status| {
            fill(&source, id.get()..id.get() + 1);
            id.set(id.get() + 1);
            relay(status)["bytes_per_second"].as_f64() > Some(0.0)
        });
        let there = end(&source);
        let (file, offset) = there.split_once(':').unwrap();
        let status = tideway.await_status("the end is here", |status| {
            let relay = relay(status);
            relay["source_offset"].as_u64() == offset.parse().ok() && relay["behind_bytes"] == 0
        });
        let files = relay_files(&tideway);
        // The disk is looked at less often; and what has come may not all have been written yet.
        tideway.await_status("the disk was looked at", |status| {
            let size = files.iter().map(|path| fs::metadata(path).unwrap().len());
            relay(status)["disk_bytes"].as_u64() == Some(size.sum())
        });
        let relay = relay(&status);
        assert_eq!(relay["source_file"], file);
        assert_eq!(
            (&relay["file"], relay["offset"].to_string()),
            (&file.into(), offset.into())
        );
        assert_eq!(relay["oldest_file"], begin.as_str());
        assert_eq!(relay["file_count"].as_u64(), Some(files.len() as u64));
        assert!(relay["disk_free_bytes"].as_u64() > Some(0));
        assert_eq!(relay["connected"], true);
        let heard = relay["heard_at"].as_str().unwrap();
        let heard = humantime::parse_rfc3339(heard).unwrap();
        let ago = std::time::SystemTime::now().duration_since(heard);
        assert!(ago.unwrap_or_default() < Duration::from_mins(1), "{relay}");
        target.await_value("SELECT COUNT(*) FROM shop.t", &(id.get() - 1).to_string());
        tideway.terminate();
        assert_equal(&source, &target, &[("shop", "shop")]);
    }
}

fn held_by(tideway: &Tideway, part: &str) {
    let output = tideway.output(&["relay", "purge", "--source", "a", "--older-than", "0s"]);
    let (code, shown) = text(&output);
    assert_eq!(code, Some(1), "{shown}");
    assert!(shown.contains(part), "{shown}");
}

/// Streams that stand hold what they need, why ever they stand; but not against the operator's word.
#[test]
fn what_streams_hold_goes_by_force_alone() {
    let [source, target] = pair(Flavor::MariaDb1011);
    let mut tideway = Tideway::new()
        .source("a", &source)
        .target("copy", &target)
        .task(&Task::new("shop", &["a"], "copy", &["shop.t"]))
        .task(&Task::new("late", &["a"], "copy", &["late.*"]).with("autostart = false"));
    source.run("CREATE DATABASE late");
    source.run("CREATE TABLE late.t (id INT PRIMARY KEY)");
    source.source_account(&["shop", "late"]);
    target.target_account(&["shop", "late"]);
    // This starts both; then the relay log is begun.
    tideway.catch_up();
    tideway.start();
    tideway.await_stream("shop", "a", "running");
    fill(&source, 1..3);
    source.run("FLUSH BINARY LOGS");
    target.await_value("SELECT COUNT(*) FROM shop.t", "2");
    all_here(&mut tideway, 2);
    // One that has not begun may need all there is.
    held_by(&tideway, "`late` on `a`");
    tideway.ctl(&["resume", "--task", "late"]);
    tideway.await_stream("late", "a", "running");
    // One that failed.
    target.run("DROP TABLE shop.t");
    fill(&source, 3..4);
    tideway.await_stream("shop", "a", "failed");
    source.run("FLUSH BINARY LOGS");
    fill(&source, 4..5);
    source.run("INSERT INTO late.t VALUES (1)");
    target.await_value("SELECT COUNT(*) FROM late.t", "1");
    tideway.await_status("the other has passed it", |status| {
        let streams = status["streams"].as_array().unwrap();
        let late = streams.iter().find(|of| of["task"] == "late").unwrap();
        late["behind_bytes"] == 0
    });
    let purge = ["relay", "purge", "--source", "a", "--older-than", "0s"];
    let (_, shown) = text(&tideway.output(&purge));
    assert!(shown.contains("`shop` on `a` still needs"), "{shown}");
    let files = relay_files(&tideway);
    let name = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().to_owned();
    let (oldest, newest) = (name(&files[0]), name(files.last().unwrap()));
    assert!(files.len() > 1);
    let force =
        |file: &str| text(&tideway.output(&["relay", "purge", "--source", "a", "--force", file]));
    let (code, shown) = force(&newest);
    assert_eq!(code, Some(1), "{shown}");
    assert!(shown.contains("is being written"), "{shown}");
    let (code, shown) = force(&oldest);
    assert_eq!(code, Some(0), "{shown}");
    assert!(!files[0].exists());
    // The stream is told what it lacks; the other goes on.
    tideway.ctl(&["retry", "--task", "shop"]);
    let status = tideway.await_status("it says what is gone", |status| {
        let streams = status["streams"].as_array().unwrap();
        streams.iter().any(|stream| {
            stream["task"] == "shop" && stream["stop"].to_string().contains("no longer has")
        })
    });
    let stage = |task: &str| -> Value {
        let streams = status["streams"].as_array().unwrap();
        streams.iter().find(|of| of["task"] == task).unwrap()["stage"].clone()
    };
    assert_eq!(stage("late"), "running");
    source.run("INSERT INTO late.t VALUES (2)");
    target.await_value("SELECT COUNT(*) FROM late.t", "2");
    tideway.terminate();
    assert_equal(&source, &target, &[("late", "late")]);
}
