//! Sync on real servers: a source's binlog from its first statement on, applied to an empty target.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tideway::config::{
    Address, Consistency, DriftPolicy, DumpConfig, LoadConfig, Mode, OnDuplicate, RelayStart,
    ServerConfig, SyncConfig, TargetConfig, TaskConfig, TlsConfig,
};
use tideway::connect::{Session, Setup};
use tideway::model::{ErrorKind, Place, Position, Secret, TableName};
use tideway::relay_log::RelayLog;
use tideway::route::{Routes, Selection};
use tideway::schema::Structures;
use tideway::source::ServerInfo;
use tideway::source::structure::{read_defaults, read_schema_defaults, read_structures_of};
use tideway::target::{Mark, Span, Spans};
use tideway::unit::sync::{Failure, Hand, Meter, SyncJob, run};
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
        password_file: None,
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
            packing: tideway::model::Packing::None,
            programs: tideway::config::Programs::default(),
            consistency: Consistency::Auto,
            ..DumpConfig::default()
        },
        load: LoadConfig {
            from: None,
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
        .add_folder(identity, flavor, None)
        .unwrap();
    // The same each time, as in a relay log that has grown.
    let fixed = format!("{identity}.000001");
    std::fs::rename(folder.join(&name), folder.join(&fixed)).unwrap();
    let name = fixed;
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
    let schemas = read_schema_defaults(&mut session).await.unwrap();
    SyncJob {
        task: Arc::new(task(tables)),
        source_name: "s".into(),
        source_identity: info.identity.clone(),
        flavor: info.flavor(),
        system_zone: "+00:00".into(),
        defaults: read_defaults(&mut session).await.unwrap(),
        schemas: schemas.clone(),
        target: TargetConfig {
            server: config(target),
        },
        meta_schema: "tideway".into(),
        log,
        memory_bytes: 64 << 20,
        clock_offset_micros: info.clock_offset_micros,
        relay_is_current: Arc::new(|| true),
        keep: Arc::new(|_| Ok(())),
        hand: Hand::idle(),
        begin: Some((begin, Structures::default(), schemas)),
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

fn servers(source: impl Into<ServerSpec>, target: impl Into<ServerSpec>) -> [Server; 2] {
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
        retries += meter.figure().retries.count;
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

/// The values of a row of the target, and the columns in which it differs.
type ShownRow = (Vec<Option<String>>, Vec<String>);

/// What a stop is expected to have: the message, and the target's rows with what differs in them.
fn shown(failure: &Failure) -> (String, Vec<ShownRow>) {
    let event = failure.event.as_ref().expect("it stopped at an event");
    let rows = event
        .target_rows
        .iter()
        .map(|row| (row.values.clone(), row.differs.clone()))
        .collect();
    (failure.error.message().to_owned(), rows)
}

fn texts(values: &[&str]) -> Vec<Option<String>> {
    values
        .iter()
        .map(|value| Some((*value).to_owned()))
        .collect()
}

const DRIFTS: &str = "CREATE DATABASE d; \
    CREATE TABLE d.t (a INT PRIMARY KEY, b VARCHAR(20), c FLOAT, u INT UNIQUE) DEFAULT CHARSET=utf8mb4; \
    CREATE TABLE d.heap (n INT, f FLOAT, t VARCHAR(20)) DEFAULT CHARSET=utf8mb4; \
    INSERT INTO d.t VALUES (1, 'one', 0.1, 1), (2, 'two', 0.2, 2), (3, 'three', 0.3, 3), (4, 'four', 0.4, 4); \
    INSERT INTO d.heap VALUES (1, 0.1, 'x'), (1, 0.1, 'x'), (2, 0.2, 'y')";

/// Changes on the target that no source made.
const DRIFT_ON_THE_TARGET: &str = "DELETE FROM d.t WHERE a = 2; UPDATE d.t SET b = 'mine' WHERE a = 3; \
    INSERT INTO d.t VALUES (9, 'nine', 0.9, 99), (10, 'ten', 1, 10); DELETE FROM d.heap WHERE n = 2";

/// What the source then does to those rows, in transactions that have good rows around them.
const CHANGES: &str = "UPDATE d.t SET b = 'zwei' WHERE a = 2; \
    BEGIN; INSERT INTO d.t VALUES (5, 'five', 0.5, 5); INSERT INTO d.t VALUES (9, 'neun', 0.09, 9); \
    INSERT INTO d.t VALUES (6, 'six', 0.6, 10); UPDATE d.t SET b = 'drei', c = 3.3 WHERE a = 3; COMMIT; \
    UPDATE d.heap SET f = f + 1 WHERE n = 2; DELETE FROM d.heap WHERE n = 1 LIMIT 1; DELETE FROM d.t WHERE a = 2";

/// Both sides as `DRIFTS` makes them, the drift there, and a job that is to meet it.
async fn drifted(
    source: &Server,
    target: &Server,
    policy: DriftPolicy,
) -> (SyncJob, tempfile::TempDir) {
    source.run(DRIFTS);
    let folder = tempfile::tempdir().unwrap();
    let first = job(source, target, folder.path(), "d.*").await;
    run_until_idle(&first).await.0.unwrap();
    target.run(DRIFT_ON_THE_TARGET);
    source.run(CHANGES);
    let folder = tempfile::tempdir().unwrap();
    let mut second = job(source, target, folder.path(), "d.*").await;
    Arc::make_mut(&mut second.task).sync.on_drift = policy;
    (second, folder)
}

#[tokio::test(flavor = "multi_thread")]
async fn drift_is_repaired_row_by_row() {
    for (from, to) in [
        (Flavor::MariaDb1011, Flavor::MySql97),
        (Flavor::MySql97, Flavor::MariaDb1011),
    ] {
        let [source, target] = servers(from, to);
        let (job, _folder) = drifted(&source, &target, DriftPolicy::Repair).await;
        // A row that holds a unique value which the source gave to another one is not taken away.
        let (result, meter) = run_until_idle(&job).await;
        let failure = result.unwrap_err();
        let text = failure.error.report();
        assert!(
            text.contains("another row of the target holds a unique value"),
            "{text}"
        );
        assert!(failure.event.is_some(), "{text}");
        let here = "SELECT COUNT(*) FROM d.t WHERE a = 10";
        assert_eq!(target.client().value(here), "1");
        let repaired = meter.figure().drift_repaired;
        target.run("DELETE FROM d.t WHERE a = 10");
        // Nor is it guessed which row of a table without a key is meant.
        let (result, meter) = run_until_idle(&job).await;
        let text = result.unwrap_err().error.report();
        assert!(text.contains("without a key on both sides"), "{text}");
        let repaired = repaired + meter.figure().drift_repaired;
        target.run("INSERT INTO d.heap VALUES (2, 0.2, 'y')");
        let (result, meter) = run_until_idle(&job).await;
        if let Err(failure) = result {
            panic!("{}\n{:#?}", failure.error.report(), failure.event);
        }
        assert_eq!(meter.figure().drift_skipped, 0);
        assert!(
            repaired + meter.figure().drift_repaired >= 1,
            "{:?}",
            meter.figure()
        );
        assert_equal(&source, &target, &[("d", "d")]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn drift_that_is_left_out_is_counted_and_kept() {
    let [source, target] = servers(Flavor::MariaDb1011, Flavor::MariaDb1011);
    let (mut job, _folder) = drifted(&source, &target, DriftPolicy::Warn).await;
    let kept = Arc::new(std::sync::Mutex::new(Vec::new()));
    job.keep = {
        let kept = Arc::clone(&kept);
        Arc::new(move |changes| {
            kept.lock().unwrap().extend(changes);
            Ok(())
        })
    };
    let (result, meter) = run_until_idle(&job).await;
    result.unwrap();
    let mut client = target.client();
    assert_eq!(
        client.value("SELECT GROUP_CONCAT(a, b ORDER BY a SEPARATOR ' ') FROM d.t"),
        "1one 3drei 4four 5five 9nine 10ten",
        "good rows are applied, the target's own stay as they are"
    );
    let kept = kept.lock().unwrap().clone();
    assert_eq!(meter.figure().drift_skipped, kept.len() as u64);
    let met: Vec<(&str, &str)> = kept
        .iter()
        .map(|change| (change.met.as_str(), change.sql.split(' ').next().unwrap()))
        .collect();
    assert_eq!(
        met,
        [
            ("missing", "UPDATE"),
            ("collides", "INSERT"),
            ("collides", "INSERT"),
            ("missing", "UPDATE"),
            ("missing", "DELETE"),
        ]
    );
    assert!(kept[0].id.starts_with("s/"), "{}", kept[0].id);
    // What is kept can be run: once the row is what the source had, it does what the source did.
    client.run("DELETE FROM d.t WHERE a IN (9, 10); SET time_zone = '+00:00'");
    for change in &kept[1..3] {
        client.run(&change.sql);
    }
    assert_eq!(client.value("SELECT b FROM d.t WHERE u = 10"), "six");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_shows_the_rows_of_the_target() {
    let [source, target] = servers(Flavor::MySql97, Flavor::MariaDb1011);
    let (mut job, _folder) = drifted(&source, &target, DriftPolicy::Pause).await;
    Arc::make_mut(&mut job.task).sync.is_before_image_verified = true;
    let failure = run_until_idle(&job).await.0.unwrap_err();
    let (message, rows) = shown(&failure);
    assert!(
        message.contains("an UPDATE of d.t found no row with a = 2"),
        "{message}"
    );
    assert!(rows.is_empty());
    target.run("INSERT INTO d.t VALUES (2, 'two', 0.2, 2)");

    let failure = run_until_idle(&job).await.0.unwrap_err();
    let (message, rows) = shown(&failure);
    assert!(
        message.contains("collides with a row that is there on the key PRIMARY"),
        "{message}"
    );
    assert_eq!(
        rows,
        [(
            texts(&["9", "nine", "0.9", "99"]),
            vec!["b".into(), "c".into(), "u".into()]
        )]
    );
    assert_eq!(failure.event.as_ref().unwrap().place.row, Some(0));
    target.run("DELETE FROM d.t WHERE a = 9");

    let failure = run_until_idle(&job).await.0.unwrap_err();
    let (message, rows) = shown(&failure);
    assert!(message.contains("on the key u (a = 6)"), "{message}");
    assert_eq!(rows[0].0, texts(&["10", "ten", "1", "10"]));
    target.run("DELETE FROM d.t WHERE a = 10");

    // The key alone would have found it; the whole row before does not.
    let failure = run_until_idle(&job).await.0.unwrap_err();
    let (message, rows) = shown(&failure);
    assert!(
        message.contains("found the row with a = 3, but it differs in b"),
        "{message}"
    );
    assert_eq!(
        rows,
        [(texts(&["3", "mine", "0.3", "3"]), vec!["b".into()])]
    );
    target.run("UPDATE d.t SET b = 'three' WHERE a = 3");

    let failure = run_until_idle(&job).await.0.unwrap_err();
    assert_eq!(failure.error.kind(), ErrorKind::Drift);
    assert!(
        shown(&failure).0.contains("d.heap"),
        "{}",
        failure.error.message()
    );
    target.run("INSERT INTO d.heap VALUES (2, 0.2, 'y')");
    run_until_idle(&job).await.0.unwrap();
    assert_equal(&source, &target, &[("d", "d")]);
}

/// A long transaction meets drift near its end; everything of it is one transaction all the same.
#[tokio::test(flavor = "multi_thread")]
async fn drift_in_a_long_transaction() {
    let [source, target] = servers(Flavor::MariaDb1011, Flavor::MariaDb1011);
    source.run(
        "SET max_recursive_iterations = 100000; CREATE DATABASE d; \
         CREATE TABLE d.t (a INT PRIMARY KEY, b VARCHAR(200)); \
         INSERT INTO d.t WITH RECURSIVE n AS (SELECT 1 a UNION ALL SELECT a + 1 FROM n WHERE a < 9000) \
         SELECT a, REPEAT('x', 150) FROM n",
    );
    let folder = tempfile::tempdir().unwrap();
    let mut first = job(&source, &target, folder.path(), "d.*").await;
    first.memory_bytes = 1 << 20;
    run_until_idle(&first).await.0.unwrap();
    target.run("DELETE FROM d.t WHERE a IN (17, 8999); UPDATE d.t SET a = 20000 WHERE a = 30");
    source.run("UPDATE d.t SET b = CONCAT('y', b); INSERT INTO d.t VALUES (20000, 'z')");
    let folder = tempfile::tempdir().unwrap();
    let mut second = job(&source, &target, folder.path(), "d.*").await;
    second.memory_bytes = 1 << 20;
    Arc::make_mut(&mut second.task).sync.on_drift = DriftPolicy::Repair;
    let (result, meter) = run_until_idle(&second).await;
    if let Err(failure) = result {
        panic!("{}", failure.error.report());
    }
    assert_eq!(meter.figure().drift_repaired, 4);
    assert_equal(&source, &target, &[("d", "d")]);
}

/// Copies the rows of a table as they are now, those for which `condition` holds.
fn copy_now(source: &Server, target: &Server, table: &str, condition: &str) {
    let mut there = target.client();
    for row in source
        .client()
        .texts(&format!("SELECT * FROM {table} WHERE {condition}"))
    {
        let values: Vec<String> = row
            .iter()
            .map(|cell| {
                if cell == "NULL" {
                    cell.clone()
                } else {
                    format!("'{cell}'")
                }
            })
            .collect();
        // As a load without a lock does: what is there already is older.
        there.run(&format!(
            "REPLACE INTO {table} VALUES ({})",
            values.join(", ")
        ));
    }
}

/// The end of the source's binlog.
fn end_of(source: &Server) -> Position {
    let show = if source.flavor().is_mariadb() {
        "SHOW MASTER STATUS"
    } else {
        "SHOW BINARY LOG STATUS"
    };
    let row = source.client().texts(show).remove(0);
    Position::new(row[0].clone(), row[1].parse().unwrap())
}

/// Rows read at moments apart, as a dump without a lock reads them: sync brings them together, and is
/// strict behind the dump's end.
#[tokio::test(flavor = "multi_thread")]
async fn a_dump_without_a_lock_is_brought_to_one_moment() {
    for (from, to) in [
        (Flavor::MariaDb1011, Flavor::MySql97),
        (Flavor::MySql97, Flavor::MariaDb1011),
    ] {
        let [source, target] = servers(from, to);
        let tables = "CREATE DATABASE d; CREATE TABLE d.t (id INT PRIMARY KEY, u INT UNIQUE, v VARCHAR(40)) DEFAULT CHARSET=utf8mb4; \
            CREATE TABLE d.heap (n INT, v VARCHAR(40)) DEFAULT CHARSET=utf8mb4";
        source.run(tables);
        target.run(tables);
        source.run("INSERT INTO d.t VALUES (1, 1, 'a'), (2, 2, 'b'), (3, 3, 'c'), (4, 4, 'd'), (5, 5, 'e'), (6, 6, 'f'); \
            INSERT INTO d.heap VALUES (1, 'x'), (1, 'x'), (2, 'y')");
        let begin = end_of(&source);
        source.run("UPDATE d.t SET v = 'A' WHERE id = 1; DELETE FROM d.t WHERE id = 2; INSERT INTO d.t VALUES (7, 2, 'seven'); INSERT INTO d.heap VALUES (3, 'z')");
        copy_now(&source, &target, "d.t", "id % 2 = 1");
        // Unique values wander between rows that are read at different moments; a key changes twice.
        source.run("UPDATE d.t SET u = 100 WHERE id = 3; UPDATE d.t SET u = 3 WHERE id = 4; UPDATE d.t SET id = 30 WHERE id = 3; \
            INSERT INTO d.t VALUES (2, 200, 'again'); DELETE FROM d.t WHERE id = 7; INSERT INTO d.t VALUES (9, 2, 'nine'); DELETE FROM d.heap WHERE n = 1 LIMIT 1");
        let exact = end_of(&source);
        copy_now(&source, &target, "d.heap", "TRUE");
        source.run("INSERT INTO d.heap VALUES (1, 'x'); UPDATE d.t SET v = CONCAT(v, '!') WHERE id > 3; DELETE FROM d.t WHERE id = 6; INSERT INTO d.t VALUES (6, 66, 'back')");
        copy_now(&source, &target, "d.t", "id % 2 = 0");
        source.run(
            "UPDATE d.t SET id = 31, u = 6 WHERE id = 30; UPDATE d.t SET v = NULL WHERE id = 5",
        );
        let until = end_of(&source);
        source.run("UPDATE d.t SET v = 'strict' WHERE id = 31; DELETE FROM d.heap WHERE n = 2; INSERT INTO d.t VALUES (10, 10, 'ten')");

        let folder = tempfile::tempdir().unwrap();
        let mut job = job(&source, &target, folder.path(), "d.*").await;
        let relay = job.log.newest_folder().unwrap().name;
        let span = |position: &Position, is_exact| Span {
            until: Place::new(&relay, position.clone()),
            is_exact,
            is_tied: false,
        };
        let names = [TableName::new("d", "t"), TableName::new("d", "heap")];
        let spans: Spans = [
            (names[0].clone(), span(&until, false)),
            (names[1].clone(), span(&exact, true)),
        ]
        .into();
        let mut session = Session::open(&config(&source), &Setup::default())
            .await
            .unwrap();
        let structures = read_structures_of(&mut session, &names).await.unwrap();
        let mark = Mark::new(Place::new(&relay, begin), None).with_spans(spans);
        let schemas = job.schemas.clone();
        job.begin = Some((mark, structures.into_iter().collect(), schemas));
        let (result, meter) = run_until_idle(&job).await;
        if let Err(failure) = result {
            panic!("{}\n{:#?}", failure.error.report(), failure.event);
        }
        assert!(
            meter
                .figure()
                .notes
                .iter()
                .any(|note| note.contains("without a lock"))
        );
        assert_equal(&source, &target, &[("d", "d")]);

        // Behind the dump's end a row that is not there is drift again, from the next start on too.
        target.run("DELETE FROM d.t WHERE id = 10");
        source.run("UPDATE d.t SET v = 'gone' WHERE id = 10");
        let folder = tempfile::tempdir().unwrap();
        let job = self::job(&source, &target, folder.path(), "d.*").await;
        let failure = run_until_idle(&job).await.0.unwrap_err();
        assert_eq!(
            failure.error.kind(),
            ErrorKind::Drift,
            "{}",
            failure.error.report()
        );
        let spans = "SELECT COALESCE(spans, 'none') FROM tideway.checkpoint WHERE slot = 0";
        assert_eq!(target.client().value(spans), "none");
    }
}

/// A transaction within the span of a dump without a lock that is larger than the target takes: its
/// parts commit one by one, each whatever of it is there already, and what is behind the span is strict.
#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_within_a_span_commits_in_parts() {
    let small_cache = ServerSpec::new(Flavor::MariaDb1011)
        .option("--max-binlog-cache-size=262144")
        .option("--binlog-cache-size=32768");
    let [source, target] = servers(Flavor::MariaDb1011, small_cache);
    let tables =
        "CREATE DATABASE d; CREATE TABLE d.t (id INT PRIMARY KEY, u INT UNIQUE, v VARBINARY(2000))";
    source.run(tables);
    target.run(tables);
    let begin = end_of(&source);
    source.run(
        "USE d; BEGIN; INSERT INTO d.t SELECT seq, seq, REPEAT('x', 2000) FROM seq_1_to_900; \
         UPDATE d.t SET u = -u, v = REPEAT('y', 1900) WHERE id % 3 = 0; DELETE FROM d.t WHERE id % 10 = 0; COMMIT",
    );
    // Some of its rows were read after it, others before.
    copy_now(&source, &target, "d.t", "id % 4 = 1");
    let until = end_of(&source);
    source.run("UPDATE d.t SET v = 'strict' WHERE id = 7");
    let folder = tempfile::tempdir().unwrap();
    let mut job = job(&source, &target, folder.path(), "d.*").await;
    let relay = job.log.newest_folder().unwrap().name;
    let name = TableName::new("d", "t");
    let span = Span {
        until: Place::new(&relay, until),
        is_exact: false,
        is_tied: false,
    };
    let mut session = Session::open(&config(&source), &Setup::default())
        .await
        .unwrap();
    let structures = read_structures_of(&mut session, std::slice::from_ref(&name))
        .await
        .unwrap();
    let mark = Mark::new(Place::new(&relay, begin), None).with_spans([(name, span)].into());
    let schemas = job.schemas.clone();
    job.begin = Some((mark, structures.into_iter().collect(), schemas));
    let (result, meter) = run_until_idle(&job).await;
    if let Err(failure) = result {
        panic!("{}\n{:#?}", failure.error.report(), failure.event);
    }
    assert!(meter.figure().split > 0, "{:?}", meter.figure());
    assert_equal(&source, &target, &[("d", "d")]);
    // The next start finds the span behind it.
    run_until_idle(&job).await.0.unwrap();
    let state = "SELECT COALESCE(spans, part, 'none') FROM tideway.checkpoint WHERE slot = 0";
    assert_eq!(target.client().value(state), "none");
}
