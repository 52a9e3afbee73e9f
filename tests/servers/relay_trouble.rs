//! What the relay makes of sources that send nonsense, disks that fail, files that are damaged, and
//! servers that take over with something of their own.

use std::cell::RefCell;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::relay::{assert_same_files, pair, primary_and_replica, relay, relay_files, tideway};
use crate::support::proxy::Proxy;
use crate::support::{Flavor, Server, ServerSpec, Task, Tideway, assert_equal};

/// A packet of the protocol.
fn packet(number: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = (payload.len() as u32).to_le_bytes().to_vec();
    bytes[3] = number;
    bytes.extend(payload);
    bytes
}

/// An event as the stream has it, behind its status byte; `size` is what it says of its length.
fn event(kind: u8, size: u32, flags: u16, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; 5];
    bytes.push(kind);
    bytes.extend(1u32.to_le_bytes());
    bytes.extend(size.to_le_bytes());
    bytes.extend([0; 4]);
    bytes.extend(flags.to_le_bytes());
    bytes.extend(body);
    let sum = crc32fast::hash(&bytes[1..]);
    bytes.extend(sum.to_le_bytes());
    bytes
}

/// A rotation as the dump thread makes it up.
fn rotate(name: &str) -> Vec<u8> {
    const ARTIFICIAL: u16 = 0x20;
    let body = [&4u64.to_le_bytes()[..], name.as_bytes()].concat();
    event(4, 19 + body.len() as u32 + 4, ARTIFICIAL, &body)
}

/// What a source that has lost its mind may send in place of its binlog.
fn nonsense() -> Vec<(&'static str, Vec<u8>)> {
    let whole = |body: usize| event(30, 19 + body as u32 + 4, 0, &vec![7; body]);
    let mut random = 12_345_u64;
    let garbage = std::iter::repeat_with(|| {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (random >> 56) as u8
    });
    vec![
        ("garbage", garbage.take(5000).collect()),
        ("zeros", vec![0; 100_000]),
        ("half a packet", packet(1, &whole(5000))[..1000].to_vec()),
        ("half a header", vec![5, 0]),
        ("a packet out of turn", packet(9, &whole(50))),
        ("the longest packet, and no end", {
            let mut bytes = vec![0xff, 0xff, 0xff, 1];
            bytes.extend(whole(60_000));
            bytes
        }),
        (
            "a GTID of 4 GB",
            packet(1, &event(162, u32::MAX - 9, 0, &[7; 40])),
        ),
        ("rows of 4 GB", packet(1, &event(30, u32::MAX, 0, &[7; 40]))),
        ("an event within another", {
            let mut bytes = packet(1, &event(30, 5000, 0, &[7; 40]));
            bytes.extend(packet(2, &whole(50)));
            bytes
        }),
        (
            "an event shorter than its packet",
            packet(1, &event(30, 30, 0, &[7; 900])),
        ),
        (
            "an event shorter than its header",
            packet(1, &event(30, 3, 0, &[7; 40])),
        ),
        ("an empty packet", packet(1, b"")),
        ("no event", packet(1, b"\x07garbage")),
        ("half an error", packet(1, b"\xff\x01")),
        (
            "a file of another folder",
            packet(1, &rotate("../../bin.000001")),
        ),
        ("a file far ahead", packet(1, &rotate("bin.000900"))),
    ]
}

#[test]
fn nonsense_from_the_source_is_named_and_loses_nothing() {
    let [source, target] = pair(ServerSpec::new(Flavor::MariaDb1011));
    let proxy = Proxy::to(source.port());
    let through = format!(
        "port = {}\ntls = \"disabled\"\n[source.relay]\nheartbeat = \"1s\"",
        proxy.port()
    );
    let mut tideway = tideway(&source, &target, &through, "");
    tideway.start();
    tideway.await_streams("sync", "running");
    let retry = RefCell::new(tideway.command(&["ctl", "retry", "--relay", "--source", "a"]));
    let count = RefCell::new(target.client());
    for (id, (name, bytes)) in nonsense().into_iter().enumerate() {
        println!("{name}");
        proxy.script_stream(bytes);
        proxy.cut();
        tideway.await_status("it has had that", |_| !proxy.will_script());
        source.run(&format!("INSERT INTO shop.t VALUES ({id}, '{name}')"));
        // What looks like another history is for the operator to say: he lets it try again.
        tideway.await_status("it is past it", |status| {
            if status["sources"][0]["stage"] == "failed" {
                assert!(!status.to_string().contains("panicked"), "{name}: {status}");
                retry.borrow_mut().status().unwrap();
            }
            count.borrow_mut().value("SELECT COUNT(*) FROM shop.t") == (id + 1).to_string()
        });
    }
    source.run("INSERT INTO shop.t VALUES (900, 'last')");
    source.run("FLUSH BINARY LOGS");
    let rows = (nonsense().len() + 1).to_string();
    target.await_value("SELECT COUNT(*) FROM shop.t", &rows);
    tideway.terminate();
    let log = tideway.log();
    assert!(!log.contains("panicked"), "{log}");
    for part in [
        "where packet",
        "not of the MySQL protocol",
        "no binlog file",
    ] {
        assert!(log.contains(part), "`{part}` is not in {log}");
    }
    tideway.catch_up();
    assert_equal(&source, &target, &[("shop", "shop")]);
    assert!(assert_same_files(&source, &tideway) >= 1);
}

struct Mount(String);

impl Mount {
    fn run(arguments: &[&str]) {
        let done = Command::new("mount").args(arguments).status().unwrap();
        assert!(done.success(), "mount {arguments:?}: {done}");
    }

    fn at(path: &Path) -> Self {
        let path = path.to_str().unwrap().to_owned();
        Self::run(&["-t", "tmpfs", "-o", "size=64m", "tmpfs", &path]);
        Self(path)
    }

    fn set(&self, mode: &str) {
        Self::run(&["-o", &format!("remount,{mode}"), &self.0]);
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").args(["-l", &self.0]).status();
    }
}

/// A source that keeps its binlog for half an hour, and a relay that does not read it.
#[test]
fn what_the_source_will_purge_is_told_before_it_does() {
    for flavor in [Flavor::MariaDb1011, Flavor::MariaDb118, Flavor::MySql97] {
        let spec = ServerSpec::new(flavor).option("--binlog-expire-logs-seconds=1800");
        let [source, target] = pair(spec);
        let mut tideway = tideway(&source, &target, "", "");
        tideway.start();
        tideway.await_streams("sync", "running");
        tideway.ctl(&["pause", "--source", "a", "--relay"]);
        source.run("INSERT INTO shop.t VALUES (1, 'not read yet'); FLUSH BINARY LOGS");
        let is_told = |status: &serde_json::Value| {
            let warnings = relay(status)["warnings"].to_string();
            warnings.contains("the source may purge")
        };
        let status = tideway.await_status("the forecast", |status| {
            relay(status)["source_purges_in_seconds"].is_u64() && is_told(status)
        });
        let left = relay(&status)["source_purges_in_seconds"].as_u64().unwrap();
        assert!((1..=1800).contains(&left), "{left}");
        tideway.ctl(&["resume", "--source", "a", "--relay"]);
        tideway.await_status("nothing is at risk", |status| {
            relay(status)["source_purges_in_seconds"].is_null()
                && relay(status)["behind_bytes"] == 0
                && !is_told(status)
        });
        target.await_value("SELECT COUNT(*) FROM shop.t", "1");
    }
}

#[test]
fn a_relay_folder_that_cannot_be_written_to_is_named() {
    let [source, target] = pair(Flavor::MariaDb1011);
    let mut tideway = tideway(&source, &target, "", "");
    let folder = tideway.data_folder().join("relay");
    fs::create_dir_all(&folder).unwrap();
    let mount = Mount::at(&folder);
    source.run("INSERT INTO shop.t VALUES (1, 'x')");
    tideway.catch_up();
    mount.set("ro");
    source.run("INSERT INTO shop.t VALUES (2, 'y')");
    tideway.start();
    let status = tideway.await_status("the relay stands", |status| {
        status["sources"][0]["stage"] == "failed"
    });
    let error = status["sources"][0]["error"].to_string();
    assert!(error.contains("Read-only file system"), "{error}");
    assert!(error.contains(folder.to_str().unwrap()), "{error}");
    mount.set("rw");
    tideway.ctl(&["retry", "--relay", "--source", "a"]);
    target.await_value("SELECT COUNT(*) FROM shop.t", "2");
    tideway.terminate();
    source.run("FLUSH BINARY LOGS");
    tideway.catch_up();
    assert_equal(&source, &target, &[("shop", "shop")]);
    assert!(assert_same_files(&source, &tideway) >= 1);
    drop(tideway);
}

/// All files of a folder, with their bytes.
fn contents(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(contents(&path));
        } else {
            let bytes = fs::read(&path).unwrap();
            found.push((path, bytes));
        }
    }
    found.sort();
    found
}

#[test]
fn the_relay_folder_of_another_source_is_not_gone_on_in() {
    for flavor in [Flavor::MariaDb1011, Flavor::MySql97] {
        let [source, target] = pair(flavor);
        source.run("INSERT INTO shop.t VALUES (1, 'x')");
        let mut right = tideway(&source, &target, "", "");
        right.catch_up();
        assert_equal(&source, &target, &[("shop", "shop")]);
        let before = contents(&right.data_folder().join("relay/a"));
        // By mistake the same folder with another server's address.
        let [other, _] = pair(flavor);
        other.run("INSERT INTO shop.t VALUES (7, 'of another')");
        let mut wrong = Tideway::new()
            .data_in(&right.data_folder())
            .source("a", &other)
            .target("copy", &target)
            .task(&Task::new("shop", &["a"], "copy", &["shop.*"]));
        wrong.start();
        wrong.await_status("the relay does not go on", |status| {
            let source = &status["sources"][0];
            let error = source["error"].to_string();
            error.contains("that answers now") && source["stage"] != "running"
        });
        wrong.terminate();
        let files = |all: Vec<(PathBuf, Vec<u8>)>| -> Vec<(PathBuf, Vec<u8>)> {
            let is_binlog = |path: &Path| path.to_string_lossy().contains("bin.");
            all.into_iter()
                .filter(|(path, _)| is_binlog(path))
                .collect()
        };
        let after = contents(&right.data_folder().join("relay/a"));
        assert!(
            files(before) == files(after),
            "{flavor:?}: the files differ"
        );
        // The right address again, and nothing is lost.
        source.run("INSERT INTO shop.t VALUES (2, 'y')");
        right.catch_up();
        assert_equal(&source, &target, &[("shop", "shop")]);
    }
}

/// Cuts the newest relay file down, as a power failure may; gives its path and length before.
fn shorten(tideway: &Tideway, to: impl Fn(u64) -> u64) -> (PathBuf, u64) {
    let path = relay_files(tideway).pop().unwrap();
    let length = fs::metadata(&path).unwrap().len();
    let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.set_len(to(length)).unwrap();
    (path, length)
}

#[test]
fn a_relay_log_shorter_than_the_checkpoint_is_filled_from_the_source() {
    for flavor in [Flavor::MariaDb1011, Flavor::MySql97] {
        let [mut source, target] = pair(flavor);
        let mut tideway = tideway(&source, &target, "", "");
        tideway.catch_up();
        for id in 1..60 {
            source.run(&format!(
                "INSERT INTO shop.t VALUES ({id}, REPEAT('p', 150))"
            ));
        }
        tideway.catch_up();
        // The checkpoint is at the end, and the end is gone: within an event, and all but the head.
        for to in [2, 4] {
            shorten(&tideway, |length| length - length / to - 7);
            source.run(&format!("INSERT INTO shop.t VALUES (10{to}, 'meanwhile')"));
            tideway.catch_up();
            let log = tideway.log();
            assert!(log.contains("bytes before the checkpoint"), "{log}");
            assert_equal(&source, &target, &[("shop", "shop")]);
        }
        // And the source has lost its end as well, and gone on with something else.
        let (ours, length) = shorten(&tideway, |length| length / 2);
        source.stop();
        let theirs = source.data_folder().join(ours.file_name().unwrap());
        let file = fs::OpenOptions::new().write(true).open(&theirs).unwrap();
        // The end of a transaction, as the source's own recovery leaves it.
        let end = crate::binlog_files::last_transaction_before(&theirs, length * 3 / 4);
        file.set_len(end).unwrap();
        source.restart();
        source.run("INSERT INTO shop.t VALUES (200, 'another history')");
        tideway.start();
        let status = tideway.await_status("the stream stands", |status| {
            status["streams"][0]["stage"] == "failed"
        });
        let text = status["streams"][0]["stop"].to_string();
        assert!(text.contains("lost the end of its binlog"), "{text}");
        assert!(
            text.contains("relay-log-differs") || !text.contains("transactions `"),
            "{text}"
        );
        // It is no less another history when it is asked again, by which time the relay is there.
        let tries = |log: String| log.matches("the source is waited for").count();
        let before = tries(tideway.log());
        tideway.ctl(&["retry", "--task", "shop", "--source", "a"]);
        let began = Instant::now();
        while tries(tideway.log()) == before {
            assert!(
                began.elapsed() < Duration::from_mins(1),
                "{}",
                tideway.story()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
        let seen = tideway.status().unwrap()["revision"].as_u64();
        let status = tideway.await_status("it stands once more", |status| {
            status["streams"][0]["stage"] == "failed" && status["revision"].as_u64() > seen
        });
        assert_eq!(status["streams"][0]["rows_applied"], 0, "{status}");
        tideway.terminate();
    }
}

#[test]
fn damage_in_the_middle_of_the_newest_file_loses_nothing_behind_it() {
    for flavor in [Flavor::MariaDb118, Flavor::MySql97] {
        let [source, target] = pair(flavor);
        let mut tideway = tideway(&source, &target, "", "");
        tideway.catch_up();
        for id in 1..60 {
            source.run(&format!(
                "INSERT INTO shop.t VALUES ({id}, REPEAT('p', 150))"
            ));
        }
        tideway.catch_up();
        let path = relay_files(&tideway).pop().unwrap();
        let kept = path.with_file_name(format!(
            "{}.damaged",
            path.file_name().unwrap().to_str().unwrap()
        ));
        let damage = || {
            let mut bytes = fs::read(&path).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 0x10;
            fs::write(&path, &bytes).unwrap();
            bytes
        };
        damage();
        source.run("INSERT INTO shop.t VALUES (100, 'meanwhile')");
        tideway.catch_up();
        assert!(tideway.log().contains("damaged at"), "{}", tideway.log());
        assert!(!kept.exists(), "it has come whole again");
        assert_equal(&source, &target, &[("shop", "shop")]);
        // The source no longer has it: nothing of what is here goes away, and it says so.
        let bytes = damage();
        source.run("FLUSH BINARY LOGS");
        for _ in 0..100 {
            let newest = source.client().texts("SHOW BINARY LOGS");
            source.run(&format!(
                "PURGE BINARY LOGS TO '{}'",
                newest.last().unwrap()[0]
            ));
            if source.client().texts("SHOW BINARY LOGS").len() == 1 {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(200));
        }
        tideway.start();
        let status = tideway.await_status("the relay stands", |status| {
            status["sources"][0]["stage"] == "failed"
        });
        let text = status["sources"][0]["error"].to_string();
        for part in [
            "no longer has",
            "damaged in its middle",
            kept.to_str().unwrap(),
        ] {
            assert!(text.contains(part), "`{part}` is not in {text}");
        }
        tideway.terminate();
        assert!(fs::read(&kept).unwrap() == bytes);
    }
}

/// A replica that had written something by itself, with a number below those that came later.
#[test]
fn what_a_mariadb_wrote_by_itself_before_it_took_over_is_taken_as_new() {
    let [mut primary, replica] = primary_and_replica(Flavor::MariaDb1011);
    for server in [&primary, &replica] {
        server.run("SET GLOBAL gtid_strict_mode = OFF");
    }
    let target = Server::start(Flavor::MariaDb1011);
    target.target_account(&["shop"]);
    primary.run("CREATE DATABASE shop");
    primary.run("CREATE TABLE shop.t (id INT PRIMARY KEY, a VARCHAR(200))");
    for server in [&primary, &replica] {
        server.source_account(&["shop"]);
    }
    let proxy = Proxy::to(primary.port());
    let through = format!("port = {}\ntls = \"disabled\"", proxy.port());
    let mut tideway = tideway(&primary, &target, &through, "");
    tideway.start();
    tideway.await_streams("sync", "running");
    let write = |from: u32, to: u32| {
        for id in from..to {
            primary.run(&format!("INSERT INTO shop.t VALUES ({id}, 'x')"));
        }
    };
    write(1, 10);
    replica.await_value("SELECT COUNT(*) FROM shop.t", "9");
    replica.run("INSERT INTO shop.t VALUES (900, 'by itself')");
    // In another file than those that come behind it.
    replica.run("FLUSH BINARY LOGS");
    write(10, 40);
    replica.await_value("SELECT COUNT(*) FROM shop.t", "40");
    replica.run("FLUSH BINARY LOGS");
    target.await_value("SELECT COUNT(*) FROM shop.t", "39");
    let before = tideway.status().unwrap()["sources"][0]["relay"]["folder"].clone();
    primary.kill9();
    replica.run("STOP SLAVE");
    proxy.lead_to(replica.port());
    replica.run("INSERT INTO shop.t VALUES (1000, 'after')");
    tideway.await_status("it goes on in a new folder", |status| {
        relay(status)["folder"] != before && status["streams"][0]["behind_bytes"] == 0
    });
    target.await_value("SELECT COUNT(*) FROM shop.t", "41");
    tideway.kill9();
    replica.run("UPDATE shop.t SET a = 'again' WHERE id > 500");
    tideway.catch_up();
    assert_equal(&replica, &target, &[("shop", "shop")]);
    assert!(tideway.log().contains("by itself"), "{}", tideway.log());
}
