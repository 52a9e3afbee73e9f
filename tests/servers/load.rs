//! Loading while the dump is made, through kills, cuts and dumps that come to nothing.
//!
//! `TIDEWAY_LOAD_KILLS` and `TIDEWAY_SEED` make the campaign longer, or repeat one.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::compare::{assert_equal, assert_merged};
use crate::support::fixture::create_shop;
use crate::support::proxy::Proxy;
use crate::support::tideway::{Task, Tideway, streams};
use crate::support::{Client, Flavor, Server};

/// What a load needs on its target, by the documentation; REFERENCES for MySQL's foreign keys.
const LEAST: &str = "SELECT, CREATE, INSERT, DELETE, REFERENCES";

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

/// Numbers that look random, the same for the same seed.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}

/// A full copy of the shop, in small chunks, through these ports.
fn copy(from: &Server, source_port: u16, to: &Server, target_port: u16) -> Tideway {
    Tideway::new()
        .source_with("s", from, &format!("port = {source_port}"))
        .target_with("t", to, &format!("port = {target_port}"))
        .task(
            &Task::new("copy", &["s"], "t", &["shop.*"])
                .with("mode = \"full\"\n[task.dump]\nthreads = 2\nchunk_size = \"64KiB\""),
        )
}

fn rows_loaded(status: &Value) -> u64 {
    streams(status)
        .first()
        .and_then(|stream| stream["load"]["rows_done"].as_u64())
        .unwrap_or(0)
}

fn unit(status: &Value) -> String {
    streams(status)
        .first()
        .and_then(|stream| stream["unit"].as_str())
        .unwrap_or_default()
        .to_owned()
}

/// The phase that the target's checkpoint has.
fn phase(target: &Server) -> String {
    let mut client = target.client();
    let there = "SELECT COUNT(*) FROM information_schema.TABLES \
                 WHERE TABLE_SCHEMA = 'tideway' AND TABLE_NAME = 'checkpoint'";
    if client.number(there) == 0 {
        return "none".into();
    }
    let rows = client.texts("SELECT phase FROM tideway.checkpoint WHERE slot = 0");
    rows.into_iter()
        .flatten()
        .next()
        .unwrap_or_else(|| "none".into())
}

/// Waits until the copy is there.
fn ends(tideway: &mut Tideway) {
    let status = tideway.wait(Duration::from_mins(3));
    assert!(status.success(), "{status}\n{}", tideway.story());
}

#[test]
fn a_copy_killed_at_random_moments_ends_equal() {
    let kills = number("TIDEWAY_LOAD_KILLS", 6);
    let seed = number("TIDEWAY_SEED", 20_261_123);
    println!("{kills} kills, seed {seed}");
    let mut random = Random(seed.max(1));
    let [source, target] = Server::start_all([Flavor::MariaDb1011, Flavor::MySql97]);
    create_shop(&mut source.client(), "shop", 20_000, 1);
    source.source_account(&["shop"]);
    target.account("tideway", &[(LEAST, "`tideway`.*"), (LEAST, "`shop`.*")]);
    let (slow, line) = (Proxy::to(source.port()), Proxy::to(target.port()));
    let mut phases = std::collections::BTreeMap::<String, u64>::new();
    let mut killed = 0;
    while killed < kills {
        // Slow at first, so that it is killed while the dump is made; then quick, to come beyond it.
        slow.throttle(Some(2 << 20));
        line.throttle(Some(3 << 20));
        let mut tideway = copy(&source, slow.port(), &target, line.port());
        for try_number in 0..6 {
            if try_number >= 2 {
                slow.throttle(None);
            }
            tideway.start_with(&["run", "--until", "caught-up"]);
            // One in five falls wherever it falls, the others once so many parts have come in.
            if random.below(5) == 0 {
                std::thread::sleep(Duration::from_millis(300 + random.below(2500)));
            } else {
                await_parts(&target, &mut tideway, 1 + random.below(10));
                std::thread::sleep(Duration::from_millis(random.below(60)));
            }
            if killed >= kills || !tideway.is_running() {
                break;
            }
            tideway.kill9();
            killed += 1;
            *phases.entry(phase(&target)).or_default() += 1;
        }
        slow.throttle(None);
        line.throttle(None);
        if !tideway.is_running() {
            tideway.start_with(&["run", "--until", "caught-up"]);
        }
        ends(&mut tideway);
        assert_equal(&source, &target, &[("shop", "shop")]);
        assert_eq!(phase(&target), "sync");
        target.run("DROP DATABASE shop; DROP DATABASE tideway");
    }
    println!("killed in the phases {phases:?}");
    let within: u64 = ["overlap", "load", "discard"]
        .iter()
        .filter_map(|phase| phases.get(*phase))
        .sum();
    assert!(
        within * 2 >= kills,
        "most kills fell outside of the load: {phases:?}"
    );
}

/// Waits until so many more parts of files are in the target, or the program has ended.
fn await_parts(target: &Server, tideway: &mut Tideway, wanted: u64) {
    let mut client = target.client();
    let there = "SELECT COUNT(*) FROM information_schema.TABLES \
                 WHERE TABLE_SCHEMA = 'tideway' AND TABLE_NAME = 'loaded'";
    let parts = |client: &mut Client| {
        if client.number(there) == 0 {
            return 0;
        }
        client.number("SELECT COUNT(*) FROM tideway.loaded WHERE end_offset > 0") as u64
    };
    let (mut before, mut come) = (parts(&mut client), 0);
    let end = Instant::now() + Duration::from_secs(30);
    while come < wanted && tideway.is_running() && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(15));
        // What is taken out again makes them fewer.
        let now = parts(&mut client);
        come += now.saturating_sub(before);
        before = now;
    }
}

#[test]
fn what_was_loaded_of_a_dump_that_failed_is_taken_out() {
    for rights in [LEAST, "ALL"] {
        let [source, target] = Server::start_all([Flavor::MariaDb1011, Flavor::MariaDb1011]);
        create_shop(&mut source.client(), "shop", 20_000, 1);
        // Small tables are read together; these must count as big.
        source.run("ANALYZE TABLE shop.customer, shop.orders, shop.order_line, shop.visit");
        source.source_account(&["shop"]);
        target.account("tideway", &[(rights, "`tideway`.*"), (rights, "`shop`.*")]);
        let slow = Proxy::to(source.port());
        slow.throttle(Some(512 << 10));
        let mut tideway = copy(&source, slow.port(), &target, target.port());
        tideway.start();
        tideway.await_status("rows loaded while it dumps", |status| {
            unit(status) == "dump" && rows_loaded(status) > 0
        });
        // What is in by now is of no dump: the next one is of another moment.
        slow.refuse(true);
        slow.cut();
        source.run(
            "SET foreign_key_checks = 0; \
             DELETE FROM shop.customer WHERE id % 3 = 0; DELETE FROM shop.visit LIMIT 100; \
             DELETE FROM shop.orders WHERE id % 2 = 0; DELETE FROM shop.stock; \
             UPDATE shop.product SET title = 'of the second dump'",
        );
        slow.throttle(None);
        slow.refuse(false);
        ends(&mut tideway);
        assert!(
            tideway.log().contains("is taken out of the target"),
            "{}",
            tideway.story()
        );
        assert_equal(&source, &target, &[("shop", "shop")]);
    }
}

#[test]
fn a_target_that_is_cut_off_and_killed_gets_every_row_once() {
    let [source, mut target] = Server::start_all([Flavor::MariaDb1011, Flavor::MariaDb1011]);
    create_shop(&mut source.client(), "shop", 20_000, 1);
    source.source_account(&["shop"]);
    target.account("tideway", &[("ALL", "*.*")]);
    let line = Proxy::to(target.port());
    line.throttle(Some(4 << 20));
    let mut tideway = copy(&source, source.port(), &target, line.port());
    tideway.start();
    let mut random = Random(number("TIDEWAY_SEED", 7).max(1));
    for cut in 0..5 {
        std::thread::sleep(Duration::from_millis(200 + random.below(900)));
        if cut == 3 {
            target.kill9();
            target.restart();
            line.lead_to(target.port());
        }
        line.cut();
    }
    line.throttle(None);
    ends(&mut tideway);
    assert_equal(&source, &target, &[("shop", "shop")]);
}

#[test]
fn merged_tables_wait_for_their_neighbors() {
    let [a, b, target] = Server::start_all([Flavor::MariaDb1011; 3]);
    create_shop(&mut a.client(), "shop", 4000, 1);
    create_shop(&mut b.client(), "shop", 4000, 1_000_000);
    a.source_account(&["shop"]);
    b.source_account(&["shop"]);
    target.target_account(&["shop"]);
    let slow = Proxy::to(a.port());
    slow.throttle(Some(256 << 10));
    let mut tideway = Tideway::new()
        .source_with("a", &a, &format!("port = {}", slow.port()))
        .source("b", &b)
        .target("t", &target)
        .task(
            &Task::new(
                "merge",
                &["a", "b"],
                "t",
                &["shop.*", "!shop.visit", "!shop.kinds"],
            )
            .with("mode = \"full\"\n[task.dump]\nchunk_size = \"32KiB\""),
        );
    tideway.start();
    // Cut once on the way: what `b` has loaded must survive that `a` begins anew.
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(3) && tideway.is_running() {
        std::thread::sleep(Duration::from_millis(100));
    }
    slow.cut();
    slow.throttle(None);
    ends(&mut tideway);
    assert_merged(&[&a, &b], &target, "shop.customer", "shop.customer");
    assert_merged(&[&a, &b], &target, "shop.orders", "shop.orders");
}
