//! The full copy on real servers: dump, load and compare.

use std::path::Path;
use std::sync::Arc;

use tideway::config::{
    Address, Consistency, DumpConfig, LoadConfig, Mode, RelayConfig, RelayStart, ServerConfig,
    SourceConfig, SyncConfig, TargetConfig, TaskConfig, TlsConfig,
};
use tideway::dump_files::{DumpFile, Manifest, feed};
use tideway::job::compare::{self, CompareJob, CompareReport};
use tideway::model::Secret;
use tideway::route::{Routes, Selection};
use tideway::unit::dump::{self, DumpJob, DumpOutcome};
use tideway::unit::load::{self, LoadJob, LoadOutcome};
use tokio_util::sync::CancellationToken;

use crate::support::fixture::create_shop;
use crate::support::server::PASSWORD;
use crate::support::{Flavor, Server, assert_equal};

fn server_config(server: &Server, name: &str) -> ServerConfig {
    ServerConfig {
        name: name.into(),
        address: Address::Tcp {
            host: "127.0.0.1".into(),
            port: server.port(),
        },
        user: "tideway".into(),
        password: Some(Secret::new(PASSWORD)),
        password_file: None,
        tls: TlsConfig::default(),
    }
}

fn source(server: &Server) -> SourceConfig {
    SourceConfig {
        server: server_config(server, "source"),
        server_id: None,
        relay: RelayConfig {
            is_enabled: false,
            start: RelayStart::Auto,
            purge_after: std::time::Duration::from_hours(1),
            keep_free_bytes: 0,
            heartbeat: std::time::Duration::from_secs(5),
        },
        heartbeat: None,
    }
}

fn task(tables: &[&str]) -> TaskConfig {
    let tables: Vec<String> = tables.iter().map(|&table| table.to_owned()).collect();
    TaskConfig {
        name: "copy".into(),
        sources: vec!["source".into()],
        target: "target".into(),
        mode: Mode::Full,
        selection: Selection::parse(&tables).unwrap(),
        routes: Routes::default(),
        filters: Vec::new(),
        accepted: Vec::new(),
        start: RelayStart::Auto,
        is_autostart: true,
        dump: DumpConfig {
            threads: 3,
            chunk_bytes: 256 << 10,
            packing: tideway::model::Packing::None,
            programs: tideway::config::Programs::default(),
            consistency: Consistency::Auto,
            ..DumpConfig::default()
        },
        load: LoadConfig::default(),
        sync: SyncConfig::default(),
    }
}

async fn dump(
    server: &Server,
    task: &TaskConfig,
    folder: &Path,
) -> tideway::model::Result<Manifest> {
    let job = DumpJob {
        source: source(server),
        task: task.clone(),
        folder: folder.to_owned(),
        relay_from: None,
        relay: None,
        made_here: None,
    };
    let (feed, _) = feed::feed();
    let meter = Arc::new(dump::meter());
    match dump::run(job, feed, meter, CancellationToken::new()).await? {
        DumpOutcome::Complete(manifest) => Ok(*manifest),
        DumpOutcome::Stopped => panic!("nobody stopped it"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dump_holds_every_row_and_its_place() {
    for flavor in [Flavor::MariaDb1011, Flavor::MySql97] {
        let server = Server::start(flavor);
        create_shop(&mut server.client(), "shop", 20_000, 1);
        server.account("tideway", &[("SELECT, RELOAD, REPLICATION CLIENT", "*.*")]);
        let folder = tempfile::tempdir().unwrap();
        let manifest = dump(&server, &task(&["shop.*"]), folder.path())
            .await
            .unwrap();
        for (name, table) in &manifest.tables {
            let rows = server
                .client()
                .number(&format!("SELECT COUNT(*) FROM {}", name.quoted()));
            assert_eq!(table.rows(), rows as u64, "{name}");
        }
    }
}

async fn load(server: &Server, task: &TaskConfig, folder: &Path) -> tideway::model::Result<()> {
    let job = LoadJob {
        folder: folder.to_owned(),
        task: task.clone(),
        source_name: "source".into(),
        target: TargetConfig {
            server: server_config(server, "target"),
        },
        meta_schema: "tideway".into(),
        relay_folder: None,
        took_over: None,
    };
    let meter = Arc::new(load::meter());
    match load::run(job, None, meter, CancellationToken::new()).await? {
        LoadOutcome::Complete(_) => Ok(()),
        LoadOutcome::Stopped | LoadOutcome::Abandoned => panic!("nobody stopped it"),
    }
}

/// A source with the shop and a target, each with the least rights.
async fn copied(from: Flavor, to: Flavor) -> (Server, Server) {
    let [source, target] = Server::start_all([from, to]);
    create_shop(&mut source.client(), "shop", 3000, 1);
    source.account(
        "tideway",
        &[
            ("RELOAD, REPLICATION CLIENT", "*.*"),
            ("SELECT", "`shop`.*"),
        ],
    );
    let rights = "SELECT, CREATE, INSERT, DELETE, REFERENCES";
    target.account("tideway", &[(rights, "`tideway`.*"), (rights, "`shop`.*")]);
    let folder = tempfile::tempdir().unwrap();
    let task = task(&["shop.*"]);
    dump(&source, &task, folder.path()).await.unwrap();
    if let Err(error) = load(&target, &task, folder.path()).await {
        panic!("{}", error.report());
    }
    (source, target)
}

async fn compared(from: &Server, to: &Server, task: &TaskConfig) -> CompareReport {
    // Reading is all that a comparison needs.
    let job = CompareJob {
        task: task.clone(),
        sources: vec![source(from)],
        target: TargetConfig {
            server: server_config(to, "target"),
        },
        meta_schema: "tideway".into(),
        rows_listed: 5,
    };
    match compare::run(&job, |_| {}, &CancellationToken::new()).await {
        Ok(report) => report,
        Err(error) => panic!("{}", error.report()),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_within_a_family_is_equal() {
    for (from, to) in [
        (Flavor::MariaDb1011, Flavor::MariaDb118),
        (Flavor::MySql97, Flavor::MySql97),
    ] {
        let (source, target) = copied(from, to).await;
        assert_equal(&source, &target, &[("shop", "shop")]);
        let report = compared(&source, &target, &task(&["shop.*"])).await;
        assert!(report.equal, "{report:#?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_between_the_families_is_equal() {
    for (from, to) in [
        (Flavor::MariaDb1011, Flavor::MySql97),
        (Flavor::MySql97, Flavor::MariaDb1011),
    ] {
        let (source, target) = copied(from, to).await;
        assert_equal(&source, &target, &[("shop", "shop")]);
        let report = compared(&source, &target, &task(&["shop.*"])).await;
        assert!(report.equal, "{report:#?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn planted_differences_are_found_in_both_directions() {
    let (source, target) = copied(Flavor::MariaDb1011, Flavor::MariaDb1011).await;
    target.run(
        "SET foreign_key_checks = 0; \
         DELETE FROM shop.customer WHERE id = 7; \
         UPDATE shop.customer SET note = 'x ' WHERE id = 8; \
         UPDATE shop.product SET weight = weight + 1e-12 WHERE sku = 'SKU-1-3'; \
         INSERT INTO shop.stock VALUES (99, 'SKU-1-1', 1); \
         INSERT INTO shop.visit SELECT * FROM shop.visit LIMIT 1; \
         DROP TABLE shop.orders",
    );
    source.run("SET foreign_key_checks = 0; DROP TABLE shop.order_line");
    let report = compared(&source, &target, &task(&["shop.*"])).await;
    assert!(!report.equal && report.complete);
    let table = |name: &str| {
        let full = format!("shop.{name}");
        let found = report.tables.iter().find(|table| table.target == full);
        found.unwrap_or_else(|| panic!("no {full} in {report:#?}"))
    };
    let counts = |name: &str| {
        let table = table(name);
        (table.missing, table.extra, table.differing)
    };
    assert_eq!(counts("customer"), (1, 0, 1));
    assert_eq!(counts("product"), (0, 0, 1));
    assert_eq!(counts("stock"), (0, 1, 0));
    assert_eq!(counts("visit"), (0, 1, 0));
    assert_eq!(counts("kinds"), (0, 0, 0));
    assert!(table("orders").problem.is_some() && table("order_line").problem.is_some());
    let row = &table("customer").rows[1];
    assert_eq!((row.kind, row.key.as_str()), ("differs", "id=8"));
    assert_eq!(row.columns[0].name, "note");
    assert_eq!(row.columns[0].target.as_deref(), Some("x "));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_cut_off_at_any_moment_goes_on_with_nothing_twice() {
    let [source, target] = Server::start_all([Flavor::MariaDb1011, Flavor::MySql97]);
    create_shop(&mut source.client(), "shop", 20_000, 1);
    source.account("tideway", &[("ALL", "*.*")]);
    target.account("tideway", &[("ALL", "*.*")]);
    let folder = tempfile::tempdir().unwrap();
    let task = task(&["shop.*"]);
    let manifest = dump(&source, &task, folder.path()).await.unwrap();
    let files: Vec<_> = manifest.tables.values().flat_map(|t| &t.files).collect();
    let (mut cuts, mut gone) = (0, 0);
    for wait in 0.. {
        // Dropped half-way, it sends nothing more, not even a good-bye: as a killed process does.
        let limit = std::time::Duration::from_millis(300 + 150 * wait);
        match tokio::time::timeout(limit, load(&target, &task, folder.path())).await {
            Err(_) => {
                cuts += 1;
                // What is in is not read again: it need not even be there.
                let has = "SELECT COUNT(*) FROM information_schema.TABLES \
                           WHERE TABLE_SCHEMA = 'tideway' AND TABLE_NAME = 'loaded'";
                if target.client().number(has) == 0 {
                    continue;
                }
                let rows_in = "SELECT file, SUM(row_count) FROM tideway.loaded GROUP BY file";
                for row in target.client().texts(rows_in) {
                    let is_in =
                        |file: &DumpFile| file.name == row[0] && file.rows.to_string() == row[1];
                    let path = folder.path().join(&row[0]);
                    if files.iter().any(|file| is_in(file)) && path.exists() {
                        std::fs::remove_file(path).unwrap();
                        gone += 1;
                    }
                }
            }
            Ok(Ok(())) => break,
            Ok(Err(error)) => panic!("{}", error.report()),
        }
    }
    assert!(cuts > 0, "it was never cut off");
    assert!(gone > 0, "no file was in when it was cut off");
    let report = compared(&source, &target, &task).await;
    assert!(report.equal, "{report:#?}");
    // Once more is nothing more.
    load(&target, &task, folder.path()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_must_not_be_loaded_is_refused_by_name() {
    let [source, target] = Server::start_all([Flavor::MariaDb1011, Flavor::MariaDb1011]);
    create_shop(&mut source.client(), "shop", 500, 1);
    source.account("tideway", &[("ALL", "*.*")]);
    target.account("tideway", &[("ALL", "*.*")]);
    let folder = tempfile::tempdir().unwrap();
    let task = task(&["shop.*"]);
    let manifest = dump(&source, &task, folder.path()).await.unwrap();

    target.run("CREATE DATABASE shop; CREATE TABLE shop.visit (a INT)");
    let error = load(&target, &task, folder.path()).await.unwrap_err();
    assert!(
        error
            .message()
            .contains("shop.visit on the target is not like"),
        "{error}"
    );
    target.run("DROP TABLE shop.visit; CREATE TABLE shop.stock (warehouse INT NOT NULL, \
         sku VARCHAR(32) CHARACTER SET ascii NOT NULL, amount INT NOT NULL, PRIMARY KEY (warehouse, sku)); \
         INSERT INTO shop.stock VALUES (1, 'mine', 1)");
    let error = load(&target, &task, folder.path()).await.unwrap_err();
    assert!(
        error
            .message()
            .contains("shop.stock on the target has rows"),
        "{error}"
    );
    target.run("DROP TABLE shop.stock");

    let (_, table) = manifest
        .tables
        .iter()
        .find(|(name, _)| name.name == "stock")
        .unwrap();
    let path = folder.path().join(&table.files[0].name);
    let mut text = std::fs::read(&path).unwrap();
    let last = text.len() - 5;
    text[last] ^= 1;
    std::fs::write(&path, &text).unwrap();
    let error = load(&target, &task, folder.path()).await.unwrap_err();
    assert!(error.message().contains(&table.files[0].name), "{error}");
    assert_eq!(target.client().number("SELECT COUNT(*) FROM shop.stock"), 0);
    text[last] ^= 1;
    std::fs::write(&path, &text).unwrap();
    load(&target, &task, folder.path()).await.unwrap();
    assert_equal(&source, &target, &[("shop", "shop")]);
}
