//! The console on a real migration: what it shows, how it leaves, and that a lost terminal costs
//! nothing.

use std::path::PathBuf;
use std::time::Duration;

use crate::screen::Terminal;
use crate::support::fixture::create_shop;
use crate::support::{Flavor, Server, Task, Tideway, Traffic, assert_equal};

/// Leaves the alternate screen, and shows the cursor again.
const GIVEN_BACK: [&str; 2] = ["\x1b[?1049l", "\x1b[?25h"];

/// What the checks find of the servers here, which a console would ask about.
const ACCEPTED: &str = "\
    [[task.accept]]\nname = \"binlog-row-metadata\"\nreason = \"test\"\n\
    [[task.accept]]\nname = \"disk\"\nreason = \"test\"\n\
    [[task.accept]]\nname = \"keys\"\nreason = \"test\"\n\
    [[task.accept]]\nname = \"programs\"\nreason = \"test\"\n";

/// A shop on its way to a target: the servers, the configuration, and its path.
fn shop() -> (Server, Server, Tideway, PathBuf) {
    let [source, target] = Server::start_all([Flavor::MariaDb1011, Flavor::MariaDb1011]);
    create_shop(&mut source.client(), "shop", 500, 1000);
    source.source_account(&["shop"]);
    target.target_account(&["shop"]);
    let tideway = Tideway::new()
        .source("a", &source)
        .target("copy", &target)
        .task(&Task::new("shop", &["a"], "copy", &["shop.*"]).with(ACCEPTED));
    // Writes the file.
    let _ = tideway.command(&[]);
    let config = tideway.folder().join("tideway.toml");
    (source, target, tideway, config)
}

fn assert_given_back(terminal: &Terminal) {
    // The last bytes may still be on their way through the terminal.
    std::thread::sleep(Duration::from_millis(200));
    let bytes = terminal.bytes();
    let text = String::from_utf8_lossy(&bytes);
    for sequence in GIVEN_BACK {
        let tail: String = text
            .chars()
            .rev()
            .take(400)
            .collect::<Vec<_>>()
            .into_iter()
            .rev()
            .collect();
        assert!(
            tail.contains(sequence),
            "{sequence:?} is not among the last bytes: {tail:?}"
        );
    }
}

#[test]
fn the_console_shows_a_migration_and_gives_the_terminal_back() {
    let (source, target, mut tideway, config) = shop();
    let traffic = Traffic::start(&source, "shop", 1000, 61);
    let mut terminal = Terminal::start(&config, 80, 24);
    terminal.await_text(&["Overview", "shop", "sync"]);
    for (key, texts) in [
        ("2", ["Sources", "10.11"]),
        ("3", ["Relay", "bin.0"]),
        ("4", ["Load", "shop"]),
        ("5", ["Sync", "shop"]),
        ("7", ["Grants", "REPLICATION"]),
        ("8", ["Log", "shop"]),
        ("1", ["Overview", "shop"]),
    ] {
        terminal.press(key);
        let screen = terminal.await_text(&texts);
        assert_eq!(screen.matches("s3cret").count(), 0);
    }
    // What another setting would ask for.
    terminal.press("7");
    for way in ["auto", "flush"] {
        terminal.press("c");
        terminal.await_text(&[&format!("AS IF consistency = {way}")]);
    }
    terminal.press("r");
    terminal.await_text(&["Grants", "in the minimum"]);
    terminal.press("1");
    terminal.await_text(&["Overview", "shop"]);
    // Any size, and one where one pane fits.
    for (columns, rows) in [(160, 45), (20, 5), (1, 1), (300, 100), (79, 24)] {
        terminal.resize(columns, rows);
        std::thread::sleep(Duration::from_millis(60));
    }
    terminal.await_text(&["[1 Overview]", "2  3  4"]);
    terminal.resize(80, 24);
    terminal.await_text(&["Overview", "shop"]);
    traffic.stop();
    terminal.press("q");
    terminal.await_text(&["leave?"]);
    terminal.press("s");
    let (took, status) = terminal.await_end(Duration::from_secs(15));
    println!("leaving took {took:?}");
    assert!(status.success(), "{status}\n{}", terminal.text());
    assert_given_back(&terminal);
    tideway.catch_up();
    assert_equal(&source, &target, &[("shop", "shop")]);
}

#[test]
fn a_lost_terminal_ends_it_within_two_seconds_with_nothing_lost() {
    let (source, target, mut tideway, config) = shop();
    let traffic = Traffic::start(&source, "shop", 1000, 62);
    let mut terminal = Terminal::start(&config, 120, 40);
    terminal.await_text(&["Overview", "sync  RUN"]);
    traffic.await_more(50);
    let id = terminal.id();
    terminal.hang_up();
    let (took, _) = terminal.await_end(Duration::from_secs(10));
    assert!(
        took < Duration::from_secs(2),
        "it took {took:?} after the terminal was lost"
    );
    assert!(!std::path::Path::new(&format!("/proc/{id}")).exists());
    traffic.stop();
    tideway.catch_up();
    assert_equal(&source, &target, &[("shop", "shop")]);
}

#[test]
fn a_paused_stream_is_resumed_by_a_key() {
    let (source, target, mut tideway, config) = shop();
    let mut terminal = Terminal::start(&config, 100, 30);
    // Only a stream in sync is idle.
    terminal.await_text(&["Overview", "RUN", "idle"]);
    tideway.ctl(&["pause", "--task", "shop", "--source", "a"]);
    terminal.await_text(&["PAUSED"]);
    source.run("INSERT INTO shop.visit VALUES (NOW(), '/late', 1)");
    terminal.press("p");
    let there = || {
        target
            .client()
            .value("SELECT COUNT(*) FROM shop.visit WHERE page = '/late'")
    };
    let end = std::time::Instant::now() + Duration::from_secs(20);
    while there() != "1" {
        assert!(
            std::time::Instant::now() < end,
            "not resumed:\n{}",
            terminal.text()
        );
        std::thread::sleep(Duration::from_millis(50));
    }
    // Ctrl-C asks, as `q` does: it does not end the worker by itself.
    terminal.press("\x03");
    terminal.await_text(&["leave?"]);
    terminal.press("\x1b");
    terminal.await_text(&["Overview"]);
    terminal.press("q");
    terminal.await_text(&["leave?"]);
    terminal.press("s");
    terminal.await_end(Duration::from_secs(15));
    assert_given_back(&terminal);
    tideway.catch_up();
    assert_equal(&source, &target, &[("shop", "shop")]);
}

#[test]
fn warnings_are_asked_about_before_the_start() {
    let [source, target] = Server::start_all([Flavor::MariaDb1011, Flavor::MariaDb1011]);
    source.run("CREATE DATABASE shop; CREATE TABLE shop.log (text VARCHAR(20)); INSERT INTO shop.log VALUES ('x')");
    source.source_account(&["shop"]);
    target.target_account(&["shop"]);
    let mut tideway = Tideway::new()
        .source("a", &source)
        .target("copy", &target)
        .task(&Task::new("shop", &["a"], "copy", &["shop.*"]));
    let _ = tideway.command(&[]);
    let config = tideway.folder().join("tideway.toml");
    let mut terminal = Terminal::start(&config, 80, 24);
    terminal.await_text(&["1 ASKS", "ASKS ??", "the checks ask before the start"]);
    terminal.press("!");
    terminal.await_text(&["not begun: shop/a", "warn  keys", "a accept"]);
    terminal.press("a");
    terminal.await_text(&["begin in spite of this?", "keep standing"]);
    // What was typed ahead accepts nothing.
    std::thread::sleep(Duration::from_millis(400));
    terminal.press("a");
    terminal.press("1");
    terminal.await_text(&["Overview", "sync", "idle"]);
    terminal.press("q");
    terminal.await_text(&["leave?"]);
    terminal.press("s");
    let (_, status) = terminal.await_end(Duration::from_secs(15));
    assert!(status.success(), "{status}");
    tideway.catch_up();
    assert_equal(&source, &target, &[("shop", "shop")]);
}
