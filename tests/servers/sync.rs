//! Sync on real servers: a source's binlog from its first statement on, applied to an empty target.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tideway::config::{
    Address, Consistency, DriftPolicy, DumpConfig, LoadConfig, Mode, OnDuplicate, RelayStart,
    ServerConfig, SyncConfig, TargetConfig, TaskConfig, TlsConfig,
};
use tideway::connect::{Session, Setup};
use tideway::model::{ErrorKind, Place, Position, Secret};
use tideway::relay_log::RelayLog;
use tideway::route::{Routes, Selection};
use tideway::source::ServerInfo;
use tideway::source::structure::{read_defaults, read_schema_defaults};
use tideway::target::Mark;
use tideway::unit::sync::{Failure, Meter, SyncJob, run};
use tokio_util::sync::CancellationToken;

use crate::support::compare::assert_equal;
use crate::support::fixture::create_shop;
use crate::support::server::PASSWORD;
use crate::support::traffic::Traffic;
use crate::support::{Flavor, Server, ServerSpec};

fn config(server: &Server) -> ServerConfig {
    ServerConfig {
        name: "server".into(),
        address: Address::Tcp {
            host: "127.0.0.1".into(),
            port: server.port(),
        },
        user: "tideway".into(),
        password: Some(Secret::new(PASSWORD)),
        tls: TlsConfig::default(),
    }
}

fn task(tables: &str) -> TaskConfig {
    TaskConfig {
        name: "t".into(),
        sources: vec!["s".into()],
        target: "server".into(),
        mode: Mode::Incremental,
        selection: Selection::parse(&[tables.to_owned()]).unwrap(),
        routes: Routes::default(),
        filters: Vec::new(),
        accepted: Vec::new(),
        start: RelayStart::Auto,
        is_autostart: true,
        dump: DumpConfig {
            threads: 1,
            chunk_bytes: 1 << 20,
            consistency: Consistency::Auto,
        },
        load: LoadConfig {
            threads: 1,
            on_duplicate: OnDuplicate::Error,
        },
        sync: SyncConfig {
            workers: 1,
            is_strict_order: false,
            on_drift: DriftPolicy::Pause,
            is_before_image_verified: false,
            batch_rows: 5000,
            batch_bytes: 8 << 20,
        },
    }
}

/// The source's binlog so far as a relay log.
fn relay_log(source: &Server, identity: &str, folder: &Path) -> Arc<RelayLog> {
    let flavor = if source.flavor().is_mariadb() {
        tideway::model::Flavor::MariaDB
    } else {
        tideway::model::Flavor::MySQL
    };
    source.run("FLUSH BINARY LOGS");
    let name = RelayLog::open(folder)
        .unwrap()
        .add_folder(identity, flavor)
        .unwrap();
    let mut files: Vec<String> = std::fs::read_dir(source.data_folder())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| {
            name.strip_prefix("bin.")
                .is_some_and(|number| number.bytes().all(|b| b.is_ascii_digit()))
        })
        .collect();
    files.sort();
    for file in files {
        std::fs::copy(
            source.data_folder().join(&file),
            folder.join(&name).join(&file),
        )
        .unwrap();
    }
    RelayLog::open(folder).unwrap()
}

async fn job(source: &Server, target: &Server, folder: &Path, tables: &str) -> SyncJob {
    let mut session = Session::open(&config(source), &Setup::default())
        .await
        .unwrap();
    let info = ServerInfo::read(&mut session).await.unwrap();
    let log = relay_log(source, &info.identity, folder);
    let begin = Mark::new(
        Place::new(
            log.newest_folder().unwrap().name,
            Position::new("bin.000001", 4),
        ),
        Some(tideway::model::GtidSet::empty(info.flavor())),
    );
    SyncJob {
        task: Arc::new(task(tables)),
        source_name: "s".into(),
        source_identity: info.identity.clone(),
        flavor: info.flavor(),
        system_zone: "+00:00".into(),
        defaults: read_defaults(&mut session).await.unwrap(),
        schemas: read_schema_defaults(&mut session).await.unwrap(),
        target: TargetConfig {
            server: config(target),
        },
        meta_schema: "tideway".into(),
        log,
        memory_bytes: 64 << 20,
        clock_offset_micros: info.clock_offset_micros,
        relay_is_current: Arc::new(|| true),
        keep: Arc::new(|_| Ok(())),
        begin: Some((begin, Vec::new())),
    }
}

/// Runs until there is nothing left to apply.
async fn run_until_idle(job: &SyncJob) -> (Result<(), Failure>, Arc<Meter>) {
    let meter = Arc::new(Meter::default());
    let stop = CancellationToken::new();
    let watch = {
        let (meter, stop) = (Arc::clone(&meter), stop.clone());
        async move {
            let begun = Instant::now();
            while !meter.figure().idle {
                assert!(
                    begun.elapsed() < Duration::from_mins(2),
                    "not idle: {:?}",
                    meter.figure()
                );
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            stop.cancel();
        }
    };
    let mut watch = Box::pin(watch);
    let mut run = Box::pin(run(job.clone(), Arc::clone(&meter), stop));
    let result = tokio::select! {
        result = &mut run => result,
        () = &mut watch => run.await,
    };
    (result, meter)
}

fn servers(source: impl Into<ServerSpec>, target: Flavor) -> [Server; 2] {
    let servers = Server::start_all([source.into(), target.into()]);
    for server in &servers {
        server.account("tideway", &[("ALL", "*.*")]);
    }
    servers
}

async fn mixed_traffic(source: Flavor, target: Flavor, batch_rows: usize) {
    let [source, target] = servers(source, target);
    create_shop(&mut source.client(), "shop", 400, 1);
    let traffic = Traffic::start_with_ddl(&source, "shop", 1, 7);
    traffic.await_more(300);
    traffic.await_structures(5);
    traffic.stop();
    let folder = tempfile::tempdir().unwrap();
    let mut job = job(&source, &target, folder.path(), "shop.*").await;
    Arc::make_mut(&mut job.task).sync.batch_rows = batch_rows;
    let begun = Instant::now();
    let (result, meter) = run_until_idle(&job).await;
    if let Err(failure) = result {
        panic!("{}\n{:#?}", failure.error.report(), failure.event);
    }
    println!("{:?}: {:?}", begun.elapsed(), meter.figure());
    assert_equal(&source, &target, &[("shop", "shop")]);
    // From the checkpoint there is nothing left to do.
    let (result, meter) = run_until_idle(&job).await;
    result.unwrap();
    assert_eq!(meter.figure().rows, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn from_mariadb_to_mariadb() {
    mixed_traffic(Flavor::MariaDb1011, Flavor::MariaDb1011, 5000).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn from_mysql_to_mariadb() {
    mixed_traffic(Flavor::MySql97, Flavor::MariaDb1011, 20).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn from_mariadb_to_mysql() {
    mixed_traffic(Flavor::MariaDb1011, Flavor::MySql97, 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn drift_stops_with_the_row_shown() {
    let [source, target] = servers(Flavor::MariaDb1011, Flavor::MariaDb1011);
    source.run(
        "CREATE DATABASE d; CREATE TABLE d.t (a INT PRIMARY KEY, b VARCHAR(9)); \
         INSERT INTO d.t VALUES (1, 'one'), (2, 'two')",
    );
    let folder = tempfile::tempdir().unwrap();
    let first = job(&source, &target, folder.path(), "d.*").await;
    run_until_idle(&first).await.0.unwrap();
    target.run("DELETE FROM d.t WHERE a = 2; INSERT INTO d.t VALUES (5, 'mine')");
    source.run("INSERT INTO d.t VALUES (3, 'three'); UPDATE d.t SET b = 'zwei' WHERE a = 2; INSERT INTO d.t VALUES (5, 'five')");

    let folder = tempfile::tempdir().unwrap();
    let second = job(&source, &target, folder.path(), "d.*").await;
    let failure = run_until_idle(&second).await.0.unwrap_err();
    assert_eq!(failure.error.kind(), ErrorKind::Drift);
    assert!(
        failure
            .error
            .message()
            .contains("an UPDATE of d.t found no row with a = 2"),
        "{}",
        failure.error.message()
    );
    let event = failure.event.unwrap();
    assert_eq!(
        event.view.images[0].after.as_ref().unwrap()[1].as_deref(),
        Some("zwei")
    );
    assert!(
        event
            .statement
            .unwrap()
            .starts_with("UPDATE `d`.`t` SET `b` = ")
    );
    // What is before the event is in, nothing behind it.
    assert_eq!(
        target
            .client()
            .value("SELECT GROUP_CONCAT(a, b ORDER BY a) FROM d.t"),
        "1one,3three,5mine"
    );
    target.run("INSERT INTO d.t VALUES (2, 'two')");
    let failure = run_until_idle(&second).await.0.unwrap_err();
    assert!(
        failure.error.message().contains("collides"),
        "{}",
        failure.error.message()
    );
    target.run("DELETE FROM d.t WHERE a = 5");
    run_until_idle(&second).await.0.unwrap();
    assert_equal(&source, &target, &[("d", "d")]);
}

/// A table without a key: what is applied twice, or not at all, shows.
const LOG: &str = "CREATE DATABASE d; CREATE TABLE d.log (n INT, f FLOAT, t VARCHAR(400))";

#[tokio::test(flavor = "multi_thread")]
async fn lost_connections_neither_lose_nor_double() {
    let [source, target] = servers(Flavor::MariaDb1011, Flavor::MariaDb1011);
    let mut client = source.client();
    client.run(LOG);
    for n in 0..600 {
        client.run(&format!(
            "INSERT INTO d.log VALUES ({n}, {n} / 7, NULL), ({}, 0.1, 'x ')",
            n % 10
        ));
        if n % 5 == 4 {
            client.run("UPDATE d.log SET t = CONCAT(IFNULL(t, 'a'), 'b') WHERE n = 3 LIMIT 1");
            client.run("DELETE FROM d.log WHERE n = 7 LIMIT 1");
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let mut job = job(&source, &target, folder.path(), "d.*").await;
    let mut task = task("d.*");
    task.sync.batch_rows = 4;
    job.task = Arc::new(task);

    let is_over = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let killer = {
        let is_over = Arc::clone(&is_over);
        let mut client = target.client();
        std::thread::spawn(move || {
            let mut kills = 0;
            while !is_over.load(std::sync::atomic::Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(40 + kills % 7 * 20));
                let ids = client
                    .texts("SELECT ID FROM information_schema.PROCESSLIST WHERE USER = 'tideway'");
                for id in ids {
                    // It may have ended by itself.
                    if client.try_run(&format!("KILL {}", id[0])).is_ok() {
                        kills += 1;
                    }
                }
            }
            kills
        })
    };
    let begun = Instant::now();
    let mut retries = 0;
    loop {
        let (result, meter) = run_until_idle(&job).await;
        retries += meter.figure().retries;
        match result {
            Ok(()) => break,
            Err(failure) => {
                assert_eq!(
                    failure.error.kind(),
                    ErrorKind::Connect,
                    "{}",
                    failure.error.report()
                );
                assert!(begun.elapsed() < Duration::from_secs(90));
            }
        }
    }
    is_over.store(true, std::sync::atomic::Ordering::Relaxed);
    let kills = killer.join().unwrap();
    println!("{kills} connections killed, {retries} times from the checkpoint");
    assert!(retries > 2, "{kills} kills, {retries} retries");
    assert_equal(&source, &target, &[("d", "d")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_transaction_stays_one() {
    let [source, target] = servers(Flavor::MariaDb1011, Flavor::MySql97);
    source.run(
        "SET max_recursive_iterations = 100000; \
         CREATE DATABASE d; CREATE TABLE d.t (a INT PRIMARY KEY, b VARCHAR(200)); \
         CREATE TABLE d.small (a INT PRIMARY KEY); INSERT INTO d.small VALUES (1); \
         INSERT INTO d.t WITH RECURSIVE n AS (SELECT 1 a UNION ALL SELECT a + 1 FROM n WHERE a < 12000) \
         SELECT a, REPEAT('x', 150) FROM n; \
         UPDATE d.t SET b = CONCAT(b, a); DELETE FROM d.t WHERE a % 3 = 0",
    );
    let folder = tempfile::tempdir().unwrap();
    let mut job = job(&source, &target, folder.path(), "d.*").await;
    job.memory_bytes = 1 << 20;
    let (result, _) = run_until_idle(&job).await;
    if let Err(failure) = result {
        panic!("{}", failure.error.report());
    }
    assert_equal(&source, &target, &[("d", "d")]);

    // One that fails near its end leaves nothing behind, and names its row.
    target.run("DELETE FROM d.t WHERE a = 11999");
    source.run("BEGIN; INSERT INTO d.small VALUES (2); UPDATE d.t SET b = CONCAT('y', b); COMMIT");
    let folder = tempfile::tempdir().unwrap();
    let mut job = self::job(&source, &target, folder.path(), "d.*").await;
    job.memory_bytes = 1 << 20;
    let failure = run_until_idle(&job).await.0.unwrap_err();
    assert!(
        failure.error.message().contains("no row with a = 11999"),
        "{}",
        failure.error.report()
    );
    assert_eq!(
        target.client().value("SELECT GROUP_CONCAT(a) FROM d.small"),
        "1"
    );
    assert_eq!(
        target
            .client()
            .number("SELECT COUNT(*) FROM d.t WHERE b LIKE 'y%'"),
        0
    );
}
