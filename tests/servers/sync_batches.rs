//! Many small transactions in one of the target: like changes share statements, and what comes out is
//! what the source's order makes, whatever trades places.

use crate::support::{Client, Flavor, Server, Task, Tideway, assert_equal};

/// Unique values that wander, parents and children with and without cascades, rows that are their own
/// table's parents, keys in which letters may be equal, rows that nothing tells apart.
const TABLES: &str = "CREATE DATABASE d CHARACTER SET utf8mb4; USE d; \
    CREATE TABLE free (id INT PRIMARY KEY, u INT NULL UNIQUE, n INT, t VARCHAR(40), UNIQUE KEY (n, t)); \
    CREATE TABLE words (w VARCHAR(20) COLLATE utf8mb4_general_ci PRIMARY KEY, n INT); \
    CREATE TABLE parent (id INT PRIMARY KEY, code INT NOT NULL UNIQUE, v INT); \
    CREATE TABLE child (id INT PRIMARY KEY, code INT NULL, v INT, FOREIGN KEY (code) REFERENCES parent (code)); \
    CREATE TABLE gone (id INT PRIMARY KEY, parent INT NULL, FOREIGN KEY (parent) REFERENCES parent (id) ON DELETE CASCADE ON UPDATE CASCADE); \
    CREATE TABLE tree (id INT PRIMARY KEY, up INT NULL, v INT, FOREIGN KEY (up) REFERENCES tree (id)); \
    CREATE TABLE heap (n INT, v INT)";

/// splitmix64: small, and the same everywhere.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % bound
    }
}

/// One change; the source may refuse it, which is as good.
fn change(random: &mut Random) -> String {
    let id = random.below(25);
    let other = random.below(25);
    let value = random.below(9);
    let word = ["a", "A", "b", "\u{e4}", "ab", "a-b", "Z", "z "][random.below(8) as usize];
    match random.below(22) {
        0 | 1 => format!("INSERT INTO free VALUES ({id}, {other}, {value}, '{word}')"),
        2 => format!("DELETE FROM free WHERE id = {id}"),
        3 => format!("UPDATE free SET u = {other} WHERE id = {id}"),
        4 => format!("UPDATE free SET n = {value} WHERE id = {id}"),
        5 => format!("UPDATE free SET id = {other} WHERE id = {id}"),
        6 => format!("INSERT INTO words VALUES ('{word}', {value})"),
        7 => format!("UPDATE words SET n = n + 1 WHERE w = '{word}'"),
        8 => format!("DELETE FROM words WHERE w = '{word}'"),
        9 => format!("INSERT INTO parent VALUES ({id}, {other}, {value})"),
        10 => format!("UPDATE parent SET v = v + 1 WHERE id = {id}"),
        11 => format!("UPDATE parent SET code = {other} WHERE id = {id}"),
        12 => format!("DELETE FROM parent WHERE id = {id}"),
        13 => format!("UPDATE parent SET id = {other} WHERE id = {id}"),
        14 => format!("INSERT INTO child VALUES ({id}, {other}, {value})"),
        15 => format!("UPDATE child SET v = v + 1 WHERE id = {id}"),
        16 => format!("DELETE FROM child WHERE id = {id}"),
        17 => format!("INSERT INTO gone VALUES ({id}, {other})"),
        18 => format!("INSERT INTO tree VALUES ({id}, {other}, {value})"),
        19 => format!("UPDATE tree SET v = v + 1, up = NULL WHERE id = {id}"),
        20 => format!("DELETE FROM tree WHERE id = {id}"),
        _ => format!(
            "INSERT INTO heap VALUES ({id}, {value}); UPDATE heap SET v = v + 1 WHERE n = {other} LIMIT 1; DELETE FROM heap WHERE n = {value} LIMIT 1"
        ),
    }
}

fn counter(client: &mut Client, name: &str) -> i64 {
    let sql = format!("SHOW GLOBAL STATUS LIKE '{name}'");
    client.texts(&sql)[0][1].parse().unwrap()
}

fn trades_places(from: Flavor, to: Flavor, default_seed: u64) {
    let setting = |name: &str, default: u64| {
        std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
    };
    let count = setting("TIDEWAY_CHANGES", 3_000);
    let seed = setting("TIDEWAY_SEED", default_seed);
    println!("{from:?} to {to:?}: {count} changes, seed {seed}");
    let [source, target] = Server::start_all([from, to]);
    source.run(TABLES);
    source.source_account(&["d"]);
    target.target_account(&["d"]);
    let mut tideway = Tideway::new()
        .source("a", &source)
        .target("copy", &target)
        .task(&Task::new("t", &["a"], "copy", &["d.*"]));
    tideway.start();
    tideway.await_streams("sync", "running");
    assert!(tideway.terminate().success(), "{}", tideway.story());
    // All of it lies ready when the worker comes back.
    let mut random = Random(seed);
    let mut client = source.client();
    client.run("USE d; INSERT INTO tree VALUES (0, NULL, 0)");
    let mut done = 0;
    for _ in 0..count {
        done += i64::from(client.try_run(&change(&mut random)).is_ok());
    }
    let mut there = target.client();
    let names = ["Com_insert", "Com_update", "Com_update_multi", "Com_delete"];
    let statements =
        |client: &mut Client| -> i64 { names.iter().map(|name| counter(client, name)).sum() };
    let (before, failed) = (statements(&mut there), counter(&mut there, "Com_rollback"));
    tideway.start();
    tideway.await_status("applied", |status| status["streams"][0]["idle"] == true);
    let (made, undone) = (
        statements(&mut there) - before,
        counter(&mut there, "Com_rollback") - failed,
    );
    println!("{done} changes in {made} statements");
    assert!(undone <= 2, "{undone} batches were not right at once");
    assert!(made < done, "{done} changes took {made} statements");
    assert!(tideway.terminate().success(), "{}", tideway.story());
    tideway.catch_up();
    assert_equal(&source, &target, &[("d", "d")]);
}

#[test]
fn what_trades_places_ends_alike_from_mariadb() {
    trades_places(Flavor::MariaDb1011, Flavor::MySql97, 71);
}

#[test]
fn what_trades_places_ends_alike_from_mysql() {
    trades_places(Flavor::MySql97, Flavor::MariaDb1011, 72);
}
