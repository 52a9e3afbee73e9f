//! Dumps of other tools loaded here, ours loaded by theirs, and files that are not what they should be.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::fixture::create_shop;
use crate::support::server::PASSWORD;
use crate::support::{Flavor, Proxy, Server, ServerSpec, Task, Tideway, assert_equal};

/// Runs mydumper or myloader against a server.
fn tool(name: &str, server: &Server, arguments: &[&str]) {
    let output = Command::new(name)
        .args(["--host=127.0.0.1", "--user=tideway", "--threads=2"])
        .arg(format!("--port={}", server.port()))
        .arg(format!("--password={PASSWORD}"))
        .args(arguments)
        .output()
        .unwrap_or_else(|error| {
            panic!("`tests/support/servers.sh setup` installs {name}: {error}")
        });
    assert!(
        output.status.success(),
        "{name}: {}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
}

/// A configuration that loads the dump in `from`.
fn loading(source: &Server, target: &Server, from: &Path, mode: &str) -> Tideway {
    loading_through(source, target, target.port(), from, mode)
}

fn loading_through(
    source: &Server,
    target: &Server,
    port: u16,
    from: &Path,
    mode: &str,
) -> Tideway {
    Tideway::new()
        .source("s", source)
        .target_with("t", target, &format!("port = {port}"))
        .task(
            &Task::new("copy", &["s"], "t", &["shop.*", "odd.*"]).with(&format!(
                "mode = \"{mode}\"\n[task.load]\nthreads = 2\nfrom = \"{}\"",
                from.display()
            )),
        )
}

fn accounts(servers: &[&Server]) {
    for server in servers {
        server.account("tideway", &[("ALL", "*.*")]);
    }
}

/// The shop, and a table with what tools disagree about: character sets, bytes, quotes, zero dates.
fn fill(source: &Server) {
    let mut client = source.client();
    create_shop(&mut client, "shop", 3000, 1);
    // The Debian package's mydumper does not quote a name with a back quote.
    client.run("DROP TABLE shop.`odd ``name`");
    client.run(
        "SET SESSION sql_mode = 'ALLOW_INVALID_DATES,NO_AUTO_VALUE_ON_ZERO'; CREATE DATABASE odd DEFAULT CHARACTER SET utf8mb4; USE odd; \
         CREATE TABLE `it's` (id INT PRIMARY KEY AUTO_INCREMENT, l VARCHAR(40) CHARACTER SET latin1, g VARCHAR(40) CHARACTER SET gbk, \
         u TEXT, b BLOB, d DATE, ts TIMESTAMP NULL, bits BIT(9), db DOUBLE, e ENUM('a','b'), n DECIMAL(20,5)); \
         INSERT INTO `it's` (id, l, g, u, b, d, ts, bits, db, e, n) VALUES \
         (0, _latin1 x'E9FF27', _gbk x'D6D0B55C', 'it''s \\\\ \\n \\0 \u{1f600} \"q\" `', x'00FF275C0A0D1A', '0000-00-00', '2024-02-29 01:02:03', 257, 0.1, 'a', 1.5), \
         (1, '', '', '', '', '2024-02-30', NULL, 0, -1.5e300, 'b', -0.00001), \
         (2, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL); \
         CREATE TABLE nothing (a INT PRIMARY KEY); \
         CREATE VIEW odd.totals AS SELECT COUNT(*) AS n FROM shop.customer; \
         CREATE VIEW odd.a_first AS SELECT n FROM odd.totals",
    );
}

fn assert_views(target: &Server) {
    let found = target.client().value("SELECT n FROM odd.a_first");
    assert_eq!(
        found,
        target.client().value("SELECT COUNT(*) FROM shop.customer")
    );
    assert_ne!(found, "0");
}

/// Packs each file of a dump again, as newer versions do by themselves.
fn repack_as_zstd(folder: &Path) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|end| end == "sql") {
            let text = std::fs::read(&path).unwrap();
            let packed = zstd::encode_all(text.as_slice(), 3).unwrap();
            std::fs::write(format!("{}.zst", path.display()), packed).unwrap();
            std::fs::remove_file(path).unwrap();
        }
    }
}

#[test]
fn dumps_of_mydumper_are_loaded() {
    let [source, target] = Server::start_all([Flavor::MariaDb1011, Flavor::MariaDb1011]);
    fill(&source);
    accounts(&[&source, &target]);
    for (how, arguments) in [
        ("plain", &[][..]),
        ("in chunks", &["--rows=500", "--statement-size=20000"]),
        ("gzip", &["--compress"]),
        ("zstd", &[]),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let out = format!("--outputdir={}", folder.path().display());
        let regex = "--regex=^(shop|odd)\\.";
        tool(
            "mydumper",
            &source,
            &[&[out.as_str(), regex], arguments].concat(),
        );
        if how == "zstd" {
            repack_as_zstd(folder.path());
        }
        let mut tideway = loading(&source, &target, folder.path(), "full");
        tideway.catch_up();
        assert_equal(&source, &target, &[("shop", "shop"), ("odd", "odd")]);
        assert_views(&target);
        println!("{how}: equal");
        target.run("DROP DATABASE shop; DROP DATABASE odd; DROP DATABASE tideway");
    }
}

#[test]
fn what_was_written_since_a_dump_of_mydumper_follows_it() {
    let [source, target] = Server::start_all([Flavor::MariaDb1011, Flavor::MariaDb1011]);
    fill(&source);
    accounts(&[&source, &target]);
    let folder = tempfile::tempdir().unwrap();
    let out = format!("--outputdir={}", folder.path().display());
    tool("mydumper", &source, &[&out, "--regex=^(shop|odd)\\."]);
    source.run(
        "UPDATE shop.customer SET note = 'later' WHERE id < 100; \
         INSERT INTO odd.nothing VALUES (7)",
    );
    let mut tideway = loading(&source, &target, folder.path(), "all");
    tideway.catch_up();
    assert_equal(&source, &target, &[("shop", "shop"), ("odd", "odd")]);
}

/// The folder of the dump that a copy has left.
fn kept_dump(tideway: &Tideway) -> PathBuf {
    let dumps = tideway.data_folder().join("dump");
    let mut folders = vec![dumps];
    while let Some(folder) = folders.pop() {
        if folder.join("manifest.json").exists() {
            return folder;
        }
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            }
        }
    }
    panic!("the dump is not kept");
}

#[test]
fn our_dumps_are_loaded_by_myloader_and_again_by_us_packed_or_not() {
    let [source, target, third] = Server::start_all([Flavor::MariaDb1011; 3]);
    fill(&source);
    accounts(&[&source, &target, &third]);
    for packing in ["none", "gzip", "zstd"] {
        let mut tideway = Tideway::new()
            .source("s", &source)
            .target("t", &target)
            .task(
                &Task::new("copy", &["s"], "t", &["shop.*", "odd.*"]).with(&format!(
                    "mode = \"full\"\n[task.dump]\nchunk_size = \"64KiB\"\ncompress = \"{packing}\""
                )),
            );
        tideway.catch_up();
        assert_equal(&source, &target, &[("shop", "shop"), ("odd", "odd")]);
        assert_views(&target);
        let folder = kept_dump(&tideway);
        let end = match packing {
            "gzip" => ".sql.gz",
            "zstd" => ".sql.zst",
            _ => ".sql",
        };
        let packed = std::fs::read_dir(&folder).unwrap().filter(|entry| {
            let name = entry.as_ref().unwrap().file_name();
            name.to_string_lossy().ends_with(&format!("000000001{end}"))
        });
        assert!(packed.count() > 3, "{packing}");
        // The Debian package's unpacks gzip alone.
        if packing != "zstd" {
            let from = format!("--directory={}", folder.display());
            tool("myloader", &third, &[&from]);
            assert_equal(&source, &third, &[("shop", "shop"), ("odd", "odd")]);
            assert_views(&third);
            third.run("DROP DATABASE shop; DROP DATABASE odd");
        }
        let mut again = loading(&source, &third, &folder, "full");
        again.catch_up();
        assert_equal(&source, &third, &[("shop", "shop"), ("odd", "odd")]);
        for server in [&target, &third] {
            server.run("DROP DATABASE shop; DROP DATABASE odd; DROP DATABASE tideway");
        }
    }
}

/// Runs a load that must fail, and tell these parts.
fn assert_refused(mut tideway: Tideway, parts: &[&str]) {
    tideway.start_with(&["run", "--until", "caught-up"]);
    let status = tideway.wait(std::time::Duration::from_mins(1));
    assert_eq!(status.code(), Some(1), "{}", tideway.story());
    let log = tideway.log();
    for part in parts.iter().chain(&["fix: "]) {
        assert!(log.contains(part), "`{part}` is not told in:\n{log}");
    }
}

#[test]
fn damaged_missing_and_foreign_files_are_refused_by_name() {
    let [source, target] = Server::start_all([Flavor::MariaDb1011, Flavor::MariaDb1011]);
    fill(&source);
    accounts(&[&source, &target]);
    let folder = tempfile::tempdir().unwrap();
    let (theirs, ours) = (folder.path().join("theirs"), folder.path().join("ours"));
    let out = format!("--outputdir={}", theirs.display());
    tool(
        "mydumper",
        &source,
        &[&out, "--regex=^(shop|odd)\\.", "--compress"],
    );
    let mut tideway = Tideway::new()
        .source("s", &source)
        .target("t", &target)
        .task(
            &Task::new("copy", &["s"], "t", &["shop.*", "odd.*"])
                .with("mode = \"full\"\n[task.dump]\ncompress = \"zstd\""),
        );
    tideway.catch_up();
    std::fs::rename(kept_dump(&tideway), &ours).unwrap();
    let reset = || {
        target.run("DROP DATABASE IF EXISTS shop; DROP DATABASE IF EXISTS odd; DROP DATABASE IF EXISTS tideway");
    };
    reset();
    let change = |path: &Path, change: &dyn Fn(&mut Vec<u8>)| {
        let before = std::fs::read(path).unwrap();
        let mut bytes = before.clone();
        change(&mut bytes);
        std::fs::write(path, bytes).unwrap();
        before
    };
    for (dump, name) in [
        (&theirs, "shop.customer.sql.gz"),
        (&ours, "shop.customer.000000001.sql.zst"),
    ] {
        let path = dump.join(name);
        let before = change(&path, &|bytes| {
            let middle = bytes.len() / 2;
            bytes[middle] ^= 0x40;
        });
        assert_refused(
            loading(&source, &target, dump, "full"),
            &[name, "is damaged"],
        );
        reset();
        change(&path, &|bytes| bytes.truncate(before.len() - 20));
        std::fs::write(&path, &before[..before.len() - 20]).unwrap();
        assert_refused(
            loading(&source, &target, dump, "full"),
            &[name, "is damaged"],
        );
        reset();
        std::fs::write(&path, &before).unwrap();
    }
    // A file that is gone: the manifest knows it; of another tool's, its table does.
    let away = folder.path().join("away");
    std::fs::rename(ours.join("shop.customer.000000001.sql.zst"), &away).unwrap();
    assert_refused(
        loading(&source, &target, &ours, "full"),
        &["shop.customer.000000001.sql.zst", "open"],
    );
    reset();
    std::fs::rename(theirs.join("shop.customer-schema.sql.gz"), &away).unwrap();
    assert_refused(
        loading(&source, &target, &theirs, "full"),
        &["shop.customer.sql.gz", "no table"],
    );
    std::fs::rename(&away, theirs.join("shop.customer-schema.sql.gz")).unwrap();
    // One of another table under this one's name, one with other statements, one of no dump.
    let path = theirs.join("shop.customer.sql.gz");
    let own = std::fs::read(&path).unwrap();
    std::fs::copy(theirs.join("shop.product.sql.gz"), &path).unwrap();
    assert_refused(
        loading(&source, &target, &theirs, "full"),
        &["shop.customer.sql.gz", "rows of `product`"],
    );
    std::fs::write(&path, own).unwrap();
    std::fs::write(
        theirs.join("odd.nothing.sql"),
        "INSERT INTO `nothing` VALUES (1);\nDROP TABLE x;\n",
    )
    .unwrap();
    assert_refused(
        loading(&source, &target, &theirs, "full"),
        &["odd.nothing.sql", "DROP TABLE x"],
    );
    reset();
    std::fs::write(
        theirs.join("odd.nothing.sql"),
        "SET NAMES gbk;\nINSERT INTO `nothing` VALUES (1);\n",
    )
    .unwrap();
    assert_refused(
        loading(&source, &target, &theirs, "full"),
        &["odd.nothing.sql", "`names` to `gbk`"],
    );
    reset();
    std::fs::write(
        theirs.join("odd.nothing.sql"),
        "INSERT INTO `nothing` VALUES (1",
    )
    .unwrap();
    assert_refused(
        loading(&source, &target, &theirs, "full"),
        &["odd.nothing.sql", "ends within a statement"],
    );
    std::fs::remove_file(theirs.join("odd.nothing.sql")).unwrap();
    std::fs::write(theirs.join("notes.txt"), "x").unwrap();
    assert_refused(
        loading(&source, &target, &theirs, "full"),
        &["notes.txt", "is no file of a dump"],
    );
    std::fs::remove_file(theirs.join("notes.txt")).unwrap();
    // Nothing is left of all that: the dump is good again.
    reset();
    loading(&source, &target, &theirs, "full").catch_up();
    assert_equal(&source, &target, &[("shop", "shop"), ("odd", "odd")]);
}

/// Plain SQL files of the layout, with long statements, by hand.
#[test]
fn plain_files_with_long_statements_and_rows_are_loaded_in_parts() {
    let [source, target] = Server::start_all([
        ServerSpec::new(Flavor::MariaDb1011).option("--max-allowed-packet=64M"),
        ServerSpec::new(Flavor::MySql97).option("--max-allowed-packet=1M"),
    ]);
    accounts(&[&source, &target]);
    source.run(
        "CREATE DATABASE shop DEFAULT CHARACTER SET utf8mb4; USE shop; \
         CREATE TABLE shop.long_ones (id INT PRIMARY KEY, a LONGTEXT, b LONGBLOB, c LONGTEXT CHARACTER SET latin1); \
         INSERT INTO shop.long_ones SELECT seq, REPEAT('it''s \u{1f600} ', 100), UNHEX(REPEAT(SHA2(seq, 256), 20)), 'x' FROM seq_1_to_4000; \
         INSERT INTO shop.long_ones VALUES (9001, REPEAT('\u{1f600}''\u{e9}', 100000), REPEAT(x'00FF275C', 200000), REPEAT(x'E927', 300000)), \
         (9002, REPEAT('\u{4e2d}', 300000), REPEAT(x'FF', 1000000), NULL)",
    );
    let ours = tempfile::tempdir().unwrap();
    let mut tideway = Tideway::new()
        .source("s", &source)
        .target("t", &target)
        .task(&Task::new("copy", &["s"], "t", &["shop.*"]).with("mode = \"full\""));
    // Rows that take more than a packet, in pieces.
    tideway.catch_up();
    // A row is read in one packet.
    let show = |large: bool| {
        let bytes = if large { 64 << 20 } else { 1 << 20 };
        target.run(&format!("SET GLOBAL max_allowed_packet = {bytes}"));
    };
    show(true);
    assert_equal(&source, &target, &[("shop", "shop")]);
    let parts = |name: &str| std::fs::read(kept_dump(&tideway).join(name)).unwrap();
    let mut text = parts("shop.long_ones.000000001.sql");
    // All rows in one statement, far beyond what one transaction takes.
    let inserts = "INSERT INTO `long_ones` (`id`,`a`,`b`,`c`) VALUES\n";
    let mut whole = String::from_utf8(std::mem::take(&mut text)).unwrap();
    let first = whole.find(inserts).unwrap() + inserts.len();
    let rest = whole
        .split_off(first)
        .replace(&format!(";\n{inserts}"), ",\n");
    whole.push_str(&rest);
    assert_eq!(whole.matches("INSERT INTO").count(), 1);
    std::fs::write(ours.path().join("shop.long_ones.sql"), whole).unwrap();
    std::fs::write(
        ours.path().join("shop.long_ones-schema.sql"),
        "CREATE TABLE `long_ones` (id INT PRIMARY KEY, a LONGTEXT, b LONGBLOB, c LONGTEXT CHARACTER SET latin1) DEFAULT CHARSET=utf8mb4;\n",
    )
    .unwrap();
    target.run("DROP DATABASE shop; DROP DATABASE tideway");
    show(false);
    let line = Proxy::to(target.port());
    line.throttle(Some(4 << 20));
    let mut again = loading_through(&source, &target, line.port(), ours.path(), "full");
    // Killed on the way, it goes on in the midst of the statement.
    again.start_with(&["run", "--until", "caught-up"]);
    again.await_status("some parts are in", |_| {
        let mut client = target.client();
        client
            .try_run("SELECT 1 FROM shop.long_ones LIMIT 1")
            .is_ok()
            && client.number("SELECT COUNT(*) FROM shop.long_ones") > 0
    });
    again.kill9();
    let rows = target
        .client()
        .number("SELECT COUNT(*) FROM shop.long_ones");
    assert!((1..4002).contains(&rows), "{rows} rows");
    line.throttle(None);
    again.catch_up();
    show(true);
    assert_equal(&source, &target, &[("shop", "shop")]);
}
