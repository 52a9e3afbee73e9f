//! What can go wrong at the target of a load, and on our own disk: told by name, with a way to mend it,
//! and gone on from with nothing lost or twice.

use std::time::Duration;

use crate::support::compare::assert_equal;
use crate::support::disk::SmallDisk;
use crate::support::fixture::create_shop;
use crate::support::{Flavor, Server, Task, Tideway};

fn copy(source: &Server, target: &Server, lines: &str) -> Tideway {
    Tideway::new().source("s", source).target("t", target).task(
        &Task::new("copy", &["s"], "t", &["shop.*"]).with(&format!("mode = \"full\"\n{lines}")),
    )
}

/// Waits until the stream has failed, and its stop tells these parts and a fix.
fn await_stop(tideway: &mut Tideway, parts: &[&str]) {
    let stream = tideway.await_stream("copy", "s", "failed");
    let text = stream["stop"].to_string();
    for part in parts {
        assert!(
            text.contains(part),
            "`{part}` is not told in {text}\n{}",
            tideway.story()
        );
    }
    let fix = stream["stop"]["error"]["fix"].as_str().unwrap_or_default();
    assert!(!fix.is_empty(), "{text}");
}

/// The copy comes to its end, and with it the program.
fn ends(tideway: &mut Tideway) {
    let status = tideway.wait(Duration::from_mins(2));
    assert!(status.success(), "{}", tideway.story());
}

fn retry(tideway: &Tideway) {
    tideway.ctl(&["retry", "--task", "copy", "--source", "s"]);
}

#[test]
fn a_read_only_target_is_told_and_loaded_once_it_is_writable() {
    for (flavor, setting) in [
        (Flavor::MariaDb1011, "read_only"),
        (Flavor::MySql97, "super_read_only"),
    ] {
        let [source, target] = Server::start_all([Flavor::MariaDb1011, flavor]);
        create_shop(&mut source.client(), "shop", 500, 1);
        source.source_account(&["shop"]);
        target.target_account(&["shop"]);
        target.run(&format!("SET GLOBAL {setting} = ON"));
        let mut tideway = copy(&source, &target, "");
        tideway.start();
        await_stop(&mut tideway, &["read-only", "make it writable"]);
        target.run("SET GLOBAL read_only = OFF");
        retry(&tideway);
        ends(&mut tideway);
        assert_equal(&source, &target, &[("shop", "shop")]);
    }
}

/// A dump by hand with one key twice: what `on_duplicate` says is done about it.
#[test]
fn a_key_that_comes_twice_stops_the_load_or_replaces_or_is_left_out() {
    let [source, target] = Server::start_all([Flavor::MariaDb1011, Flavor::MySql97]);
    source.source_account(&["shop"]);
    target.account("tideway", &[("ALL", "*.*")]);
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(
        folder.path().join("shop.a-schema.sql"),
        "CREATE TABLE `a` (id INT PRIMARY KEY, v VARCHAR(20), UNIQUE (v)) DEFAULT CHARSET=utf8mb4;\n",
    )
    .unwrap();
    let mut rows: Vec<String> = (1..=3000).map(|id| format!("({id},'v{id}')")).collect();
    rows.push("(77,'again')".to_owned());
    std::fs::write(
        folder.path().join("shop.a.00001.sql"),
        format!(
            "SET NAMES utf8mb4;\nINSERT INTO `a` VALUES {};\n",
            rows.join(",\n")
        ),
    )
    .unwrap();
    for (choice, expected) in [
        ("error", None),
        ("ignore", Some("v77")),
        ("replace", Some("again")),
    ] {
        let mut tideway = copy(
            &source,
            &target,
            &format!(
                "[task.load]\non_duplicate = \"{choice}\"\nfrom = \"{}\"",
                folder.path().display()
            ),
        );
        tideway.start();
        let mut client = target.client();
        match expected {
            None => {
                await_stop(&mut tideway, &["shop.a", "key", "on_duplicate"]);
                assert_eq!(client.number("SELECT COUNT(*) FROM shop.a"), 0);
                tideway.terminate();
            }
            Some(value) => {
                ends(&mut tideway);
                assert_eq!(client.number("SELECT COUNT(*) FROM shop.a"), 3000);
                assert_eq!(client.value("SELECT v FROM shop.a WHERE id = 77"), value);
            }
        }
        client.run("DROP DATABASE shop; DROP DATABASE tideway");
    }
}

/// Bytes that are no text of their column's character set: no statement writes them, and they are told
/// rather than altered.
#[test]
fn invalid_text_is_told_by_name_and_never_altered() {
    let [source, target] = Server::start_all([Flavor::MariaDb1011, Flavor::MariaDb1011]);
    // Such bytes come in by files: a binary column's, under a text column's name.
    source.run(
        "CREATE DATABASE shop; USE shop; \
         CREATE TABLE bytes (id INT PRIMARY KEY, v VARBINARY(40)) ENGINE=InnoDB ROW_FORMAT=DYNAMIC; \
         INSERT INTO bytes VALUES (1, 'good'), (2, x'61FF62'); \
         CREATE TABLE texts (id INT PRIMARY KEY, v VARCHAR(40) CHARACTER SET utf8mb4) ENGINE=InnoDB ROW_FORMAT=DYNAMIC; \
         ALTER TABLE texts DISCARD TABLESPACE",
    );
    let shop = source.data_folder().join("shop");
    let mut client = source.client();
    client.run("USE shop; FLUSH TABLES bytes FOR EXPORT");
    std::fs::copy(shop.join("bytes.ibd"), shop.join("texts.ibd")).unwrap();
    client.run("UNLOCK TABLES; ALTER TABLE texts IMPORT TABLESPACE; DROP TABLE bytes");
    assert_eq!(
        client.value("SELECT HEX(v) FROM texts WHERE id = 2"),
        "61FF62"
    );
    source.source_account(&["shop"]);
    target.target_account(&["shop"]);
    let mut tideway = copy(&source, &target, "");
    tideway.start();
    await_stop(
        &mut tideway,
        &["shop.texts", "not valid in its character set", "FF62"],
    );
    assert_eq!(target.client().number("SELECT COUNT(*) FROM shop.texts"), 0);
    // Mended, it is copied.
    client.run("UPDATE texts SET v = 'mended' WHERE id = 2");
    tideway.terminate();
    target.run("DROP DATABASE shop; DROP DATABASE tideway");
    tideway.catch_up();
    assert_equal(&source, &target, &[("shop", "shop")]);
}

#[test]
fn a_disk_that_fills_during_a_copy_is_told_and_the_copy_goes_on_when_there_is_room() {
    let [source, target] = Server::start_all([Flavor::MariaDb1011, Flavor::MySql97]);
    create_shop(&mut source.client(), "shop", 20_000, 1);
    source.source_account(&["shop"]);
    target.target_account(&["shop"]);
    let mut tideway = copy(&source, &target, "[task.dump]\nchunk_size = \"256KiB\"");
    let folder = tideway.data_folder();
    let disk = SmallDisk::mount(&folder, "3m");
    tideway.start();
    tideway.await_status("the full disk is told", |status| {
        let text = status.to_string();
        text.contains("disk is full") && text.contains(&folder.display().to_string())
    });
    disk.resize("300m");
    ends(&mut tideway);
    assert_equal(&source, &target, &[("shop", "shop")]);
}

/// An existing table that is not like the source's is shown beside it, and nothing is written.
#[test]
fn a_differing_table_is_shown_side_by_side() {
    let [source, target] = Server::start_all([Flavor::MariaDb1011, Flavor::MySql97]);
    create_shop(&mut source.client(), "shop", 50, 1);
    source.source_account(&["shop"]);
    target.target_account(&["shop"]);
    target.run(
        "CREATE DATABASE shop; CREATE TABLE shop.stock (warehouse BIGINT, sku INT, other INT)",
    );
    // The checks say so before; the load does not rely on them.
    let accepted = "[[task.accept]]\nname = \"target-structure\"\nreason = \"test\"";
    let mut tideway = copy(&source, &target, accepted);
    tideway.start();
    await_stop(
        &mut tideway,
        &[
            "shop.stock on the target is not like",
            "(source | target)",
            "bigint",
            "`other`",
        ],
    );
    let tables = "SELECT COUNT(*) FROM information_schema.TABLES WHERE TABLE_SCHEMA = 'shop'";
    assert_eq!(
        target.client().number(tables),
        1,
        "nothing is made before all is looked at"
    );
    target.run("DROP TABLE shop.stock");
    retry(&tideway);
    ends(&mut tideway);
    assert_equal(&source, &target, &[("shop", "shop")]);
}

/// Views come after the tables, those beneath others first, by the names that routes give; what cannot
/// be had there is told.
#[test]
fn views_follow_their_tables() {
    let [source, target] = Server::start_all([Flavor::MariaDb1011, Flavor::MySql97]);
    source.run(
        "CREATE DATABASE a; USE a; CREATE TABLE t (id INT PRIMARY KEY, n INT); INSERT INTO t VALUES (1, 5), (2, 6); \
         CREATE TABLE unselected (id INT PRIMARY KEY); \
         CREATE VIEW z AS SELECT SUM(n) AS n FROM t; CREATE VIEW v AS SELECT n, 'a.t' AS s FROM z; \
         CREATE VIEW broken AS SELECT * FROM unselected; \
         CREATE VIEW mariadb_only AS SELECT JSON_DETAILED('[1]') AS j",
    );
    source.account(
        "tideway",
        &[("SELECT, SHOW VIEW", "a.*"), ("RELOAD", "*.*")],
    );
    target.account("tideway", &[("ALL", "*.*")]);
    let mut tideway = Tideway::new()
        .source("s", &source)
        .target("t", &target)
        .task(
            &Task::new("copy", &["s"], "t", &["a.*", "!a.unselected"])
                .with("mode = \"full\"")
                .route("a.t", "b.renamed")
                .route("a.*", "b.*"),
        );
    tideway.start();
    ends(&mut tideway);
    let notes = tideway.log();
    let mut client = target.client();
    assert_eq!(client.texts("SELECT n, s FROM b.v"), [["11", "a.t"]]);
    for left_out in [
        "left out: the view b.broken",
        "left out: the view b.mariadb_only",
        "left out DEFINER",
    ] {
        assert!(
            notes.contains(left_out),
            "`{left_out}` is not told in {notes}"
        );
    }
}

#[test]
fn a_character_set_that_the_target_lacks_is_told_by_name() {
    let [source, target] = Server::start_all([Flavor::MySql97, Flavor::MariaDb1011]);
    source.run(
        "CREATE DATABASE shop; CREATE TABLE shop.a (id INT PRIMARY KEY, u VARCHAR(9) CHARACTER SET gb18030, \
         v VARCHAR(9) CHARACTER SET gb18030); INSERT INTO shop.a VALUES (1, '\u{4e2d}', '\u{1f600}')",
    );
    source.source_account(&["shop"]);
    target.target_account(&["shop"]);
    let mut tideway = copy(&source, &target, "");
    tideway.start();
    await_stop(
        &mut tideway,
        &[
            "shop.a",
            "character set `gb18030`",
            "CONVERT TO CHARACTER SET utf8mb4",
        ],
    );
    assert_eq!(target.client().number("SELECT COUNT(*) FROM shop.a"), 0);
    tideway.terminate();
    // Converted as it says, it is copied.
    source.run("ALTER TABLE shop.a CONVERT TO CHARACTER SET utf8mb4");
    target.run("DROP DATABASE shop; DROP DATABASE tideway");
    tideway.catch_up();
    assert_equal(&source, &target, &[("shop", "shop")]);
}
