//! The checkpoint on real targets: claims, fences, loads, marks and owners.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tideway::config::{Address, ServerConfig, TlsConfig};
use tideway::connect::Session;
use tideway::model::{ErrorKind, GtidSet, Place, Position, Secret, ServerVersion, TableName};
use tideway::schema::{Ddl, SchemaDefaults, ServerDefaults, SqlMode, Structure, structure_of};
use tideway::target::checkpoint::{
    Change, Claim, LoadStage, LoadedPart, Mark, State, StreamKey, prepare,
};
use tideway::target::execute::{self, Outcome, Packet, Part};

use crate::support::server::PASSWORD;
use crate::support::{Flavor, Server};

const META: &str = "tideway";

fn config(server: &Server, user: &str) -> ServerConfig {
    ServerConfig {
        name: "target".into(),
        address: Address::Tcp {
            host: "127.0.0.1".into(),
            port: server.port(),
        },
        user: user.into(),
        password: Some(Secret::new(PASSWORD.to_owned())),
        password_file: None,
        tls: TlsConfig::default(),
    }
}

fn key(task: &str) -> StreamKey {
    StreamKey {
        task: task.into(),
        source: "orders".into(),
        server: "7".into(),
        flavor: tideway::model::Flavor::MariaDB,
    }
}

fn mark(offset: u64) -> Mark {
    Mark::new(
        Place::new("7.1", Position::new("bin.000001", offset)),
        GtidSet::parse(tideway::model::Flavor::MariaDB, &format!("0-7-{offset}")).ok(),
    )
}

async fn take(session: &mut Session, task: &str) -> (Claim, Option<State>) {
    Claim::take(session, META, key(task), "table take d.*", 2)
        .await
        .unwrap()
}

/// A target with our tables, and an account that may do no more than a load needs.
async fn target(flavor: Flavor) -> (Server, ServerConfig) {
    let server = Server::start(flavor);
    server.run("CREATE DATABASE d; CREATE TABLE d.t (a INT PRIMARY KEY, b INT)");
    server.account(
        "loader",
        &[
            ("SELECT, CREATE, INSERT, DELETE", "tideway.*"),
            ("SELECT, CREATE, INSERT, DELETE", "d.*"),
        ],
    );
    server.account("tideway", &[("ALL", "*.*")]);
    let config = config(&server, "loader");
    let mut session = execute::open(&config).await.unwrap();
    prepare(&mut session, META).await.unwrap();
    prepare(&mut session, META).await.unwrap();
    session.close().await;
    (server, config)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_with_the_least_rights_becomes_sync() {
    for flavor in [Flavor::MariaDb1011, Flavor::MySql97] {
        let (server, account) = target(flavor).await;
        let mut session = execute::open(&account).await.unwrap();
        let (mut claim, state) = take(&mut session, "t").await;
        assert_eq!((claim.epoch(), state), (1, None));
        claim
            .begin_load(&mut session, "dump-1", LoadStage::Whole, &[])
            .await
            .unwrap();

        let part = LoadedPart {
            begin: 0,
            end: 100,
            rows: 1,
        };
        let chunk = |claim: &Claim, row: u32| {
            let mut packet = Packet::new();
            claim.load_fence(&mut packet, 1);
            packet.push(
                Part::Change(0),
                format!("INSERT INTO d.t VALUES ({row}, 1)"),
            );
            packet.push_guard(Part::Guard(0), 1);
            claim.record_loaded(&mut packet, "d.t.1.sql", &part);
            packet.push(Part::Frame, "COMMIT");
            packet
        };
        let outcome = execute::run(&mut session, &chunk(&claim, 1)).await;
        assert!(matches!(outcome, Outcome::Committed), "{outcome:?}");
        // The same part again is refused as a whole, although its row would go in.
        let outcome = execute::run(&mut session, &chunk(&claim, 2)).await;
        assert!(
            matches!(&outcome, Outcome::Refused { error, .. } if error.server().unwrap().number == 1062),
            "{outcome:?}"
        );
        assert_eq!(server.client().number("SELECT COUNT(*) FROM d.t"), 1);
        let is_loaded = claim.is_loaded(&mut session, 1, "d.t.1.sql", 0);
        assert!(is_loaded.await.unwrap());

        // A second process takes over: what the first one still sends has no effect.
        let mut second = execute::open(&account).await.unwrap();
        let (mut newer, state) = take(&mut second, "t").await;
        assert_eq!(newer.epoch(), 2);
        let Some(State::Load(load)) = state else {
            panic!("{state:?}")
        };
        assert_eq!(load.dump_id, "dump-1");
        assert_eq!(load.parts["d.t.1.sql"], [part]);
        let outcome = execute::run(&mut session, &chunk(&claim, 3)).await;
        assert_eq!(outcome.failed_guard(), Some(Part::Fence), "{outcome:?}");
        let error = claim.settle(outcome).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Fenced);
        assert_eq!(server.client().number("SELECT COUNT(*) FROM d.t"), 1);

        newer
            .finish_load(&mut second, mark(400), &[], &SchemaDefaults::new())
            .await
            .unwrap();
        let (_, state) = take(&mut second, "t").await;
        let Some(State::Sync(sync)) = state else {
            panic!("{state:?}")
        };
        assert_eq!(sync.mark, mark(400));
        assert_eq!(
            server
                .client()
                .number("SELECT COUNT(*) FROM tideway.loaded"),
            0
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_epoch_writes_nothing_in_sync() {
    for flavor in [Flavor::MariaDb1011, Flavor::MySql97] {
        let (server, _) = target(flavor).await;
        let account = config(&server, "tideway");
        let mut first = execute::open(&account).await.unwrap();
        let (mut old, _) = take(&mut first, "t").await;
        old.establish_sync(&mut first, mark(4), &[], &SchemaDefaults::new())
            .await
            .unwrap();

        let change = |claim: &Claim, offset: u64| {
            let mut packet = Packet::new();
            packet.push(Part::Frame, "BEGIN");
            claim.sync_fence(&mut packet, &mark(offset));
            packet.push(
                Part::Change(0),
                format!("INSERT INTO d.t VALUES ({offset}, 1)"),
            );
            packet.push_guard(Part::Guard(0), 1);
            packet.push(Part::Frame, "COMMIT");
            packet
        };
        let outcome = execute::run(&mut first, &change(&old, 10)).await;
        assert!(matches!(outcome, Outcome::Committed), "{outcome:?}");

        // A packet of the first process is under way, holding its row, while the second one starts:
        // the second waits for it and reads what it wrote.
        let mut second = execute::open(&account).await.unwrap();
        let mut slow = Packet::new();
        slow.push(Part::Frame, "BEGIN");
        old.sync_fence(&mut slow, &mark(20));
        slow.push(Part::Frame, "DO SLEEP(1.5)");
        slow.push(Part::Change(0), "INSERT INTO d.t VALUES (20, 1)");
        slow.push(Part::Frame, "COMMIT");
        let (outcome, (newer, state)) = tokio::join!(execute::run(&mut first, &slow), async {
            tokio::time::sleep(std::time::Duration::from_millis(500)).await;
            take(&mut second, "t").await
        });
        assert!(matches!(outcome, Outcome::Committed), "{outcome:?}");
        let Some(State::Sync(sync)) = state else {
            panic!("{state:?}")
        };
        assert_eq!(sync.mark, mark(20));

        let outcome = execute::run(&mut first, &change(&old, 30)).await;
        assert_eq!(outcome.failed_guard(), Some(Part::Fence));
        assert!(old.write_mark(&mut first, &mark(31)).await.is_err());
        let outcome = execute::run(&mut second, &change(&newer, 40)).await;
        assert!(matches!(outcome, Outcome::Committed), "{outcome:?}");
        assert_eq!(
            server
                .client()
                .value("SELECT GROUP_CONCAT(a ORDER BY a) FROM d.t"),
            "10,20,40"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn guards_undo_the_whole_packet() {
    let (server, _) = target(Flavor::MariaDb1011).await;
    let mut session = execute::open(&config(&server, "tideway")).await.unwrap();
    server.run("INSERT INTO d.t VALUES (1, 1)");
    let update = |key: u32, value: u32| {
        let mut packet = Packet::new();
        packet.push(Part::Frame, "BEGIN");
        packet.push(Part::Change(0), "INSERT INTO d.t VALUES (9, 9)");
        packet.push_guard(Part::Guard(0), 1);
        packet.push(
            Part::Change(1),
            format!("UPDATE d.t SET b = {value} WHERE a = {key}"),
        );
        packet.push_guard(Part::Guard(1), 1);
        packet.push(Part::Frame, "COMMIT");
        packet
    };
    let outcome = execute::run(&mut session, &update(2, 5)).await;
    assert_eq!(outcome.failed_guard(), Some(Part::Guard(1)));
    assert_eq!(server.client().number("SELECT COUNT(*) FROM d.t"), 1);
    // A row that is there, but has the value already, counts as found.
    let outcome = execute::run(&mut session, &update(1, 1)).await;
    assert!(matches!(outcome, Outcome::Committed), "{outcome:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn structures_owners_and_differences() {
    let (server, _) = target(Flavor::MySql97).await;
    let mut session = execute::open(&config(&server, "tideway")).await.unwrap();
    let (mut claim, _) = take(&mut session, "t").await;
    claim
        .establish_sync(&mut session, mark(4), &[], &SchemaDefaults::new())
        .await
        .unwrap();
    let gone = Change {
        table: TableName::new("d", "t"),
        structure: None,
    };
    claim
        .write_outcome(&mut session, &mark(5), &[gone], &[])
        .await
        .unwrap();

    let pair = (TableName::new("d", "t"), TableName::new("x", "t"));
    claim
        .own(&mut session, std::slice::from_ref(&pair))
        .await
        .unwrap();
    claim
        .own(&mut session, std::slice::from_ref(&pair))
        .await
        .unwrap();
    let (other, _) = take(&mut session, "another").await;
    let error = other.own(&mut session, &[pair]).await.unwrap_err();
    assert!(
        error
            .message()
            .contains("task `t` already writes d.t into x.t")
    );

    let error = Claim::take(&mut session, META, key("t"), "table take e.*", 0)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Checkpoint);
    assert!(error.message().contains("now: table take e.*"));
    server.run("UPDATE tideway.checkpoint SET version = 99");
    let error = Claim::take(&mut session, META, key("t"), "table take d.*", 0)
        .await
        .unwrap_err();
    assert!(error.message().contains("newer Tideway"));
}

/// As many tables as `TIDEWAY_TABLES` says: writing their structures and reading them again at a start
/// takes time and memory in proportion, not more.
#[tokio::test]
async fn many_tables_are_kept() {
    let count = crate::ddl::setting("TIDEWAY_TABLES", 3000);
    let (server, _) = target(Flavor::MariaDb1011).await;
    let mut session = execute::open(&config(&server, "tideway")).await.unwrap();
    let structures: Vec<Structure> = (0..count).map(wide_table).collect();
    let (mut claim, state) = take(&mut session, "many").await;
    assert!(state.is_none());
    let begun = Instant::now();
    claim
        .establish_sync(&mut session, mark(4), &structures, &SchemaDefaults::new())
        .await
        .unwrap();
    let written = begun.elapsed();
    let before = resident_bytes();
    let begun = Instant::now();
    let (mut claim, state) = take(&mut session, "many").await;
    let read = begun.elapsed();
    let Some(State::Sync(state)) = state else {
        panic!("no sync");
    };
    let grown = resident_bytes().saturating_sub(before);
    assert_eq!(state.structures.len(), structures.len());
    let changed = Structure {
        engine: "changed".into(),
        ..wide_table(7)
    };
    let change = Change {
        table: changed.table.clone(),
        structure: Some(changed),
    };
    let begun = Instant::now();
    claim
        .write_outcome(&mut session, &mark(5), &[change], &[])
        .await
        .unwrap();
    let one = begun.elapsed();
    println!(
        "{count} tables: written {written:?}, read {read:?} and {grown} bytes, one changed {one:?}"
    );
    let thousands = u32::try_from(count.div_ceil(1000)).unwrap();
    assert!(written < Duration::from_secs(8) * thousands, "{written:?}");
    assert!(read < Duration::from_secs(5) * thousands, "{read:?}");
    assert!(grown < count * 2000 + (30 << 20), "{grown} bytes");
    session.close().await;
}

/// Twelve columns and two keys.
fn wide_table(number: u64) -> Structure {
    let version = ServerVersion::parse("10.11.6-MariaDB");
    let sql = format!(
        "CREATE TABLE d.table_{number:06} (id BIGINT UNSIGNED NOT NULL PRIMARY KEY, a INT, b INT, c INT, d VARCHAR(100), \
         e VARCHAR(100), f DATETIME, g DATETIME, h DECIMAL(12,2), i TEXT, j TINYINT, k ENUM('new','paid','sent'), KEY by_d (d, a))"
    );
    let ddl = Ddl::read(sql.as_bytes(), "d", SqlMode::default(), version.flavor);
    let defaults = ServerDefaults {
        version,
        folds_names: false,
        charset: "utf8mb4".into(),
        collation: "utf8mb4_general_ci".into(),
        explicit_timestamps: true,
        charset_collations: Vec::new(),
        collations: Arc::default(),
    };
    structure_of(
        &ddl,
        &defaults,
        ("utf8mb4".into(), "utf8mb4_general_ci".into()),
    )
    .unwrap()
}

fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .unwrap();
    let kib: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kib * 1024
}
