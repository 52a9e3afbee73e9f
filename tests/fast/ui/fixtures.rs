//! Snapshots of a runtime in the states that a console must show well.

use std::sync::Arc;

use tideway::control::{
    CheckFigure, CheckReport, CheckState, EventRow, EventView, GrantState, LogLine, MemoryFigure,
    PrivilegeFigure, Problem, RelayFigure, RelayFileFigure, RelayHold, RetryFigure, Snapshot,
    SourceSnapshot, Stop, StopError, StopPosition, StreamPosition, StreamSnapshot, TableLoad,
    TargetRow, TargetSnapshot, TransferFigure,
};
use tideway::model::{
    ErrorKind, Flavor, Place, Position, Stage, TableChanges, TableName, Timestamp, TransactionView,
    Unit,
};

/// The moment at which all of them were taken.
pub(super) fn now() -> Timestamp {
    Timestamp::parse("2026-11-23T10:41:07Z").unwrap()
}

fn before(seconds: u64) -> Timestamp {
    Timestamp(now().0 - seconds * 1_000_000)
}

/// All, by name.
pub(super) fn all() -> Vec<(&'static str, Snapshot)> {
    vec![
        ("starting", Snapshot::default()),
        ("calm", calm()),
        ("loading", loading()),
        ("failing", failing()),
        ("grants", grants()),
        ("many", many()),
        ("hostile", hostile()),
    ]
}

fn folder(source: &str) -> String {
    format!("{source}-3e11fa47-71ca-11e1.1")
}

fn source(name: &str, flavor: Flavor) -> SourceSnapshot {
    let (version, gtid) = match flavor {
        Flavor::MariaDB => ("10.11.14-MariaDB-0+deb12u2-log", "always"),
        _ => ("9.7.1", "ON"),
    };
    let files = (119..=131)
        .map(|number| RelayFileFigure {
            folder: folder(name),
            name: format!("mysql-bin.{number:06}"),
            size_bytes: if number == 131 {
                71_203_344
            } else {
                1_073_741_824
            },
        })
        .collect();
    SourceSnapshot {
        name: name.into(),
        address: "10.20.0.11:3306".into(),
        user: "tideway".into(),
        stage: Stage::Running,
        flavor: Some(flavor),
        server_version: Some(version.into()),
        server_identity: Some("3e11fa47-71ca-11e1-9e33-c80aa9429562".into()),
        server_id: Some(4101),
        tls: Some("TLSv1.3".into()),
        binlog_format: Some("ROW".into()),
        row_image: Some("FULL".into()),
        row_metadata: Some("MINIMAL".into()),
        gtid_mode: Some(gtid.into()),
        relay: Some(RelayFigure {
            source_purges_in_seconds: None,
            warnings: Vec::new(),
            folder: folder(name),
            file: "mysql-bin.000131".into(),
            offset: 71_203_344,
            gtid_set: Some("3e11fa47-71ca-11e1-9e33-c80aa9429562:1-90412".into()),
            behind_bytes: Some(0),
            source_file: Some("mysql-bin.000131".into()),
            source_offset: Some(71_203_344),
            heard_at: Some(before(1)),
            connected: true,
            bytes_per_second: 3_250_000.0,
            bytes_total: 13_000_000_000,
            events_total: 48_220_114,
            file_count: 13,
            disk_bytes: 12 * 1_073_741_824 + 71_203_344,
            disk_free_bytes: 42_000_000_000,
            oldest_file: Some("mysql-bin.000119".into()),
            held_by: Some(RelayHold {
                task: "orders".into(),
                file: Some("mysql-bin.000121".into()),
            }),
            files,
            error: None,
        }),
        error: None,
        next_try_at: None,
        tries: 0,
    }
}

fn target(name: &str) -> TargetSnapshot {
    TargetSnapshot {
        name: name.into(),
        address: "10.20.0.40:4000".into(),
        user: "tideway".into(),
        flavor: Some(Flavor::TiDB),
        server_version: Some("8.0.11-TiDB-v8.5.1".into()),
        tls: Some("TLSv1.3".into()),
    }
}

fn stream(task: &str, source: &str) -> StreamSnapshot {
    let history = (0..600)
        .map(|second| match second {
            300..310 => None,
            _ => Some(((second * 7919) % 97) as f32 / 40.0 + if second > 500 { 6.0 } else { 0.0 }),
        })
        .collect();
    StreamSnapshot {
        task: task.into(),
        source: source.into(),
        target: "tidb".into(),
        unit: Unit::Sync,
        stage: Stage::Running,
        position: Some(StreamPosition {
            place: Place::new(
                folder(source),
                Position::new("mysql-bin.000129", 88_120_431),
            ),
            gtid_set: Some("3e11fa47-71ca-11e1-9e33-c80aa9429562:1-88120".into()),
        }),
        lag_seconds: Some(2.2),
        lag_resolution: 0.000_001,
        idle: false,
        ahead: 3,
        behind_bytes: Some(2_130_000_000),
        rows_applied: 88_120_431,
        transactions_applied: 1_204_003,
        ddl_applied: 12,
        passed_over: 1_044,
        rows_per_second: 3_101.4,
        transactions_per_second: 412.0,
        lag_history: Arc::new(history),
        checkpoint_at: Some(before(1)),
        dump: None,
        load: None,
        notes: Vec::new(),
        drift_skipped: 0,
        drift_repaired: 0,
        skipped_events: 0,
        decisions: Vec::new(),
        stop: None,
        next_try_at: None,
        tries: 0,
        retries: RetryFigure::default(),
    }
}

fn line(number: u64, seconds: u64, level: &str, source: &str, unit: &str, text: &str) -> LogLine {
    LogLine {
        number,
        at: before(seconds),
        level: level.into(),
        source: Some(source.into()),
        task: Some("orders".into()),
        unit: unit.into(),
        text: text.into(),
    }
}

/// Two streams in step, one source with its relay alone.
pub(super) fn calm() -> Snapshot {
    let mut idle = stream("orders", "maria-01");
    idle.idle = true;
    idle.lag_seconds = Some(0.0);
    idle.lag_resolution = 1.0;
    idle.rows_per_second = 0.0;
    idle.transactions_per_second = 0.0;
    idle.behind_bytes = Some(0);
    idle.ahead = 0;
    Snapshot {
        version: 1,
        revision: 812,
        taken_at: now(),
        started_at: before(7900),
        read_only: false,
        config_path: "tideway.toml".into(),
        memory: MemoryFigure {
            resident_bytes: 88 * 1_048_576,
            limit_bytes: 268_435_456,
        },
        sources: vec![
            source("mysql-01", Flavor::MySQL),
            source("maria-01", Flavor::MariaDB),
            source("maria-02", Flavor::MariaDB),
        ],
        targets: vec![target("tidb")],
        streams: vec![stream("orders", "mysql-01"), idle],
        check: Some(Arc::new(report(true))),
        supposed: None,
        checking: None,
        problems: Vec::new(),
        log: Arc::new(vec![
            line(
                1,
                620,
                "INFO",
                "mysql-01",
                "dump",
                "snapshot at mysql-bin.000087:4, lock held for 12 ms",
            ),
            line(
                2,
                300,
                "INFO",
                "mysql-01",
                "load",
                "loaded 66 tables, 3 104 112 rows",
            ),
            line(
                3,
                16,
                "WARN",
                "maria-01",
                "relay",
                "connection reset by peer; trying again in 4s",
            ),
            line(
                4,
                12,
                "INFO",
                "maria-01",
                "relay",
                "connected again, from mysql-bin.000131:70998111",
            ),
        ]),
        log_dropped: 0,
    }
}

fn transfer(tables_done: u64, share: f64, is_finished: bool) -> TransferFigure {
    let total = 204_117_000_000_u64;
    let table = |name: &str, done: u64, of: u64, phase: &str| TableLoad {
        table: TableName::new("shop", name),
        rows_done: done / 120,
        rows_estimated: of / 120,
        bytes_done: done,
        bytes_estimated: of,
        chunks_done: done / 268_435_456,
        chunks_total: of / 268_435_456 + 1,
        phase: phase.into(),
    };
    TransferFigure {
        rows_done: (3_104_112_000.0 * share) as u64,
        rows_estimated: 3_104_112_000,
        bytes_done: (total as f64 * share) as u64,
        bytes_estimated: total,
        tables_done,
        tables_total: 66,
        rows_per_second: 11_940.0,
        bytes_per_second: 88_300_000.0,
        rows_per_second_overall: 10_120.0,
        bytes_per_second_overall: 79_100_000.0,
        chunks_done: (762.0 * share) as u64,
        chunks_total: 762,
        threads_busy: if is_finished { 0 } else { 4 },
        phase: if is_finished { "loaded" } else { "loading" }.into(),
        throttled: None,
        started_at: Some(before(2472)),
        finished_at: is_finished.then(|| before(1748)),
        eta_seconds: (!is_finished).then_some(1560.0),
        tables: if is_finished {
            Vec::new()
        } else {
            vec![
                table("order_line", 33_285_996_544, 65_712_999_000, "loading"),
                table("orders", 10_844_792_422, 19_327_352_832, "loading"),
                table("event", 0, 12_240_656_793, "waiting"),
                table("audit", 2_362_232_012, 2_254_857_830, "loading"),
                table("contact", 6_442_450_944, 6_442_450_944, "loaded"),
                table("empty", 0, 0, "waiting"),
            ]
        },
    }
}

/// One stream that loads, one that dumps.
pub(super) fn loading() -> Snapshot {
    let mut snapshot = calm();
    let mut loads = stream("orders", "mysql-01");
    loads.unit = Unit::Load;
    loads.lag_seconds = None;
    loads.lag_history = Arc::default();
    loads.position = None;
    loads.checkpoint_at = None;
    loads.behind_bytes = None;
    loads.rows_per_second = 11_940.0;
    loads.transactions_per_second = 0.0;
    loads.dump = Some(transfer(66, 1.0, true));
    loads.load = Some(transfer(41, 0.62, false));
    loads.notes = vec![
        "consistency `flush`: a global read lock for 12 ms, the account has RELOAD".into(),
        "shop.item: the target has no FULLTEXT index; `ft_name` was left out".into(),
    ];
    let mut dumps = loads.clone();
    dumps.source = "maria-01".into();
    dumps.unit = Unit::Dump;
    let mut begun = transfer(0, 0.0, false);
    begun.bytes_estimated = 0;
    begun.rows_estimated = 0;
    begun.eta_seconds = None;
    begun.tables.clear();
    begun.rows_per_second = 0.0;
    begun.bytes_per_second = 0.0;
    dumps.rows_per_second = 0.0;
    dumps.dump = Some(begun);
    dumps.load = None;
    dumps.notes.clear();
    snapshot.streams = vec![loads, dumps];
    snapshot
}

/// A stream that stands at an update of a composite key, one paused, one that waits for its server.
pub(super) fn failing() -> Snapshot {
    let mut snapshot = calm();
    let mut failed = stream("orders", "mysql-01");
    failed.stage = Stage::Failed;
    failed.lag_seconds = Some(731.0);
    failed.rows_per_second = 0.0;
    failed.transactions_per_second = 0.0;
    failed.tries = 3;
    failed.drift_repaired = 3;
    let text = |value: &str| Some(value.to_owned());
    failed.stop = Some(Stop {
        stop_id: "s-000455-90214711".into(),
        at: before(730),
        unit: Unit::Sync,
        position: Some(StopPosition {
            folder: folder("mysql-01"),
            file: "mysql-bin.000455".into(),
            offset: 90_214_711,
            end_offset: 90_214_998,
            inner: None,
            row: Some(0),
        }),
        gtid: Some("3e11fa47-71ca-11e1-9e33-c80aa9429562:77120".into()),
        event: Some(Box::new(EventView {
            place: Place::new(
                folder("mysql-01"),
                Position::new("mysql-bin.000455", 90_214_711),
            ),
            end_offset: 90_214_998,
            inner: None,
            gtid: Some("3e11fa47-71ca-11e1-9e33-c80aa9429562:77120".into()),
            time: before(732),
            kind: "UPDATE_ROWS".into(),
            table: Some(TableName::new("shop", "orders")),
            rows: 1,
            statement: Some("UPDATE orders SET state='paid' WHERE id=88123".into()),
            session: Vec::new(),
            columns: ["id", "customer_id", "state", "total", "updated_at", "note"]
                .into_iter()
                .map(|name| (name.to_owned(), name == "id"))
                .collect(),
            images: vec![EventRow {
                before: Some(vec![
                    text("88123"),
                    text("5510"),
                    text("new"),
                    text("41.90"),
                    text("2026-11-23 10:27:02"),
                    None,
                ]),
                after: Some(vec![
                    text("88123"),
                    text("5510"),
                    text("paid"),
                    text("41.90"),
                    text("2026-11-23 10:28:55"),
                    None,
                ]),
            }],
            undecoded: None,
            assumed: Vec::new(),
        })),
        table: Some(TableName::new("shop", "orders")),
        transaction: Some(TransactionView {
            begin: Place::new(
                folder("mysql-01"),
                Position::new("mysql-bin.000455", 90_213_902),
            ),
            number: 2,
            events: 3,
            rows: 7,
            tables: vec![
                TableChanges {
                    table: TableName::new("shop", "orders"),
                    inserts: 0,
                    updates: 1,
                    deletes: 0,
                },
                TableChanges {
                    table: TableName::new("shop", "order_line"),
                    inserts: 6,
                    updates: 0,
                    deletes: 0,
                },
            ],
            is_whole: true,
            is_statement: false,
            is_understood: true,
        }),
        target_rows: vec![TargetRow {
            key: "id = 88123".into(),
            values: vec![
                text("88123"),
                text("5510"),
                text("cancelled"),
                text("41.90"),
                text("2026-11-23 10:27:40"),
                None,
            ],
            differs: vec!["state".into(), "updated_at".into()],
        }],
        later_applied: 0,
        error: StopError {
            kind: ErrorKind::Drift,
            number: 0,
            sqlstate: String::new(),
            message: "an UPDATE of shop.orders found the row with id = 88123, but it differs in \
                      state, updated_at"
                .into(),
            cause: None,
            fix: Some(
                "something else changed the row on the target: put it back as the source had it, \
                 then retry; or let `on_drift` decide"
                    .into(),
            ),
            refused: None,
        },
        hint: Some(
            "the row on the target is not what the source had before this change: somebody else \
             writes to the table, or a change was skipped"
                .into(),
        ),
        statement: Some(
            "UPDATE `shop`.`orders` SET `state` = 'paid', `updated_at` = '2026-11-23 10:28:55' \
             WHERE `id` = 88123"
                .into(),
        ),
        repair: Some(
            "UPDATE `shop`.`orders` SET `id` = 88123, `customer_id` = 5510, `state` = 'paid', `total` = 41.90, \
             `updated_at` = '2026-11-23 10:28:55', `note` = NULL WHERE `id` = 88123"
                .into(),
        ),
        choices: [
            "retry",
            "repair event",
            "repair transaction",
            "skip event",
            "skip transaction",
        ]
        .map(str::to_owned)
        .to_vec(),
        findings: Vec::new(),
    });
    let mut paused = stream("orders", "maria-01");
    paused.stage = Stage::Paused;
    paused.lag_seconds = Some(181.0);
    let mut waiting = stream("archive", "maria-02");
    waiting.stage = Stage::Waiting;
    waiting.lag_seconds = None;
    waiting.tries = 4;
    waiting.retries = RetryFigure {
        count: 6,
        last_at: Some(before(3)),
        last_error: Some(
            "cannot run a statement on `tidb` at `10.0.0.9:4000`: 9007 (HY000): Write conflict"
                .into(),
        ),
    };
    waiting.next_try_at = Some(Timestamp(now().0 + 4_000_000));
    snapshot.streams = vec![failed, paused, waiting];
    if let Some(lost) = snapshot.sources.get_mut(2) {
        lost.stage = Stage::Waiting;
        lost.server_version = None;
        lost.flavor = None;
        lost.tls = None;
        lost.error = Some(StopError {
            kind: ErrorKind::Connect,
            number: 0,
            sqlstate: String::new(),
            message: "cannot reach `10.20.0.11:3306`".into(),
            cause: Some("connection refused (os error 111)".into()),
            fix: Some("start the server, or mend `host` and `port` of source `maria-02`".into()),
            refused: None,
        });
        lost.next_try_at = Some(Timestamp(now().0 + 4_000_000));
        lost.tries = 4;
        if let Some(relay) = &mut lost.relay {
            relay.connected = false;
            relay.behind_bytes = None;
            relay.source_offset = None;
        }
    }
    snapshot.problems = vec![
        Problem {
            since: before(730),
            scope: "orders/mysql-01".into(),
            task: Some("orders".into()),
            source: Some("mysql-01".into()),
            is_failure: true,
            text: "the UPDATE of shop.orders matched no row on the target".into(),
        },
        Problem {
            since: before(40),
            scope: "source maria-02".into(),
            task: None,
            source: Some("maria-02".into()),
            is_failure: false,
            text: "cannot reach `10.20.0.11:3306`: connection refused".into(),
        },
    ];
    snapshot
}

fn report(is_ok: bool) -> CheckReport {
    use GrantState::{Have, Missing, NotNeeded, Unknown};
    let mut privileges = Vec::new();
    let mut add = |server: &str, unit: Unit, privilege: &str, object: &str, state: GrantState| {
        let is_missing = matches!(state, GrantState::Missing | GrantState::Inactive);
        privileges.push(PrivilegeFigure {
            server: server.into(),
            account: "`tideway`@`10.%`".into(),
            unit,
            privilege: privilege.into(),
            object: object.into(),
            state,
            evidence: match state {
                GrantState::Missing => "not in SHOW GRANTS; SHOW BINARY LOG STATUS: 1227".into(),
                GrantState::NotNeeded => "not needed here".into(),
                GrantState::Unknown => "performance_schema is off".into(),
                _ => format!("GRANT {privilege} ON {object}"),
            },
            how: match state {
                GrantState::Missing => "probe: 1227".into(),
                GrantState::NotNeeded => "not needed here".into(),
                GrantState::Unknown => "not certain".into(),
                GrantState::Inactive => "inactive role ops".into(),
                GrantState::Have => "grant + probe".into(),
            },
            why: "reads the rows of the full copy and the structure of the tables".into(),
            in_minimum: privilege != "REFERENCES",
            instead: if privilege == "RELOAD" {
                "FLUSH_TABLES on *.*".into()
            } else {
                String::new()
            },
            grant: if is_missing {
                format!("GRANT {privilege} ON {object} TO `tideway`@`10.%`;")
            } else {
                String::new()
            },
            streams: vec!["orders/mysql-01".into()],
            accepted: None,
        });
    };
    let lacking = if is_ok { Have } else { Missing };
    for unit in [Unit::Relay, Unit::Dump, Unit::Sync] {
        add("source:mysql-01", unit, "SELECT", "`shop`.*", Have);
    }
    add("source:mysql-01", Unit::Dump, "RELOAD", "*.*", Have);
    add(
        "source:mysql-01",
        Unit::Relay,
        "REPLICATION SLAVE",
        "*.*",
        Have,
    );
    add(
        "source:mysql-01",
        Unit::Sync,
        "REPLICATION SLAVE",
        "*.*",
        Have,
    );
    add(
        "source:mysql-01",
        Unit::Relay,
        "REPLICATION CLIENT",
        "*.*",
        lacking,
    );
    add(
        "source:mysql-01",
        Unit::Dump,
        "REPLICATION CLIENT",
        "*.*",
        NotNeeded,
    );
    add(
        "source:mysql-01",
        Unit::Sync,
        "REPLICATION CLIENT",
        "*.*",
        lacking,
    );
    if !is_ok {
        add("source:mysql-01", Unit::Dump, "PROCESS", "*.*", Unknown);
    }
    for privilege in [
        "SELECT", "INSERT", "UPDATE", "DELETE", "CREATE", "DROP", "ALTER", "INDEX",
    ] {
        add("target:tidb", Unit::Load, privilege, "`shop`.*", Have);
        let state = if privilege == "INDEX" { lacking } else { Have };
        add("target:tidb", Unit::Sync, privilege, "`shop`.*", state);
    }
    CheckReport {
        version: 1,
        at: before(9),
        ok: is_ok,
        checks: vec![
            CheckFigure {
                id: "binlog-format".into(),
                scope: "source:mysql-01".into(),
                state: CheckState::Pass,
                found: "ROW".into(),
                why: "rows can be read from the binlog".into(),
                mend: String::new(),
                source: None,
                streams: vec!["orders/mysql-01".into()],
                accepted: None,
            },
            CheckFigure {
                id: "row-metadata".into(),
                scope: "source:mysql-01".into(),
                state: if is_ok {
                    CheckState::Pass
                } else {
                    CheckState::Warn
                },
                found: "MINIMAL".into(),
                why: "column names are then in the binlog itself".into(),
                mend: "SET GLOBAL binlog_row_metadata = FULL;".into(),
                source: None,
                streams: vec!["orders/mysql-01".into()],
                accepted: None,
            },
        ],
        privileges,
    }
}

/// Privileges that are missing and not knowable.
pub(super) fn grants() -> Snapshot {
    let mut snapshot = calm();
    snapshot.check = Some(Arc::new(report(false)));
    snapshot.problems = vec![Problem {
        since: before(9),
        scope: "check".into(),
        task: None,
        source: None,
        is_failure: false,
        text:
            "2 privileges are missing: REPLICATION CLIENT on source:mysql-01, INDEX on target:tidb"
                .into(),
    }];
    snapshot
}

/// 200 sources, 400 log lines.
pub(super) fn many() -> Snapshot {
    let mut snapshot = calm();
    snapshot.sources = (0..200)
        .map(|n| source(&format!("shard-{n:03}"), Flavor::MySQL))
        .collect();
    snapshot.streams = (0..200)
        .map(|n| {
            let mut stream = stream("shards", &format!("shard-{n:03}"));
            stream.lag_seconds = Some(f64::from(n) * 3.7);
            stream
        })
        .collect();
    snapshot.log = Arc::new(
        (0..400)
            .map(|n| {
                line(
                    n + 1,
                    400 - n,
                    "INFO",
                    "shard-001",
                    "sync",
                    &format!("checkpoint {n} written"),
                )
            })
            .collect(),
    );
    snapshot.log_dropped = 17;
    snapshot
}

/// Names and values that are long, wide, or hostile.
pub(super) fn hostile() -> Snapshot {
    let mut snapshot = failing();
    let evil = "表格_\u{1b}]52;c;ZXZpbA==\u{7}\u{1b}[2J名\u{202e}前👩\u{200d}👧\n".repeat(4);
    for source in &mut snapshot.sources {
        source.name = format!("{}{evil}", source.name);
        source.address.clone_from(&evil);
        source.user.clone_from(&evil);
        source.server_version = Some(evil.clone());
        source.tls = Some(evil.clone());
        source.binlog_format = Some(evil.clone());
        if let Some(relay) = &mut source.relay {
            relay.file.clone_from(&evil);
            relay.offset = u64::MAX;
            relay.source_file = Some(evil.clone());
            relay.gtid_set = Some(evil.repeat(20));
            relay.error = Some(evil.clone());
            for file in &mut relay.files {
                file.name.clone_from(&evil);
                file.size_bytes = u64::MAX;
            }
        }
    }
    for stream in &mut snapshot.streams {
        stream.task.clone_from(&evil);
        stream.source = format!("{}{evil}", stream.source);
        stream.target.clone_from(&evil);
        stream.rows_per_second = f64::INFINITY;
        stream.lag_seconds = Some(f64::MAX);
        stream.lag_resolution = f64::NAN;
        stream.lag_history = Arc::new(vec![Some(f32::INFINITY), Some(f32::NAN), None, Some(-3.0)]);
        stream.notes = vec![evil.clone(); 30];
        stream.dump = Some(transfer(u64::MAX, 1.5, false));
        stream.behind_bytes = Some(u64::MAX);
        if let Some(load) = &mut stream.dump {
            load.eta_seconds = Some(f64::INFINITY);
            load.bytes_per_second = f64::NAN;
            for table in &mut load.tables {
                table.table = TableName::new(evil.clone(), evil.clone());
                table.phase.clone_from(&evil);
                table.bytes_done = u64::MAX;
            }
        }
        if let Some(stop) = &mut stream.stop {
            stop.error.message.clone_from(&evil);
            stop.error.number = 1062;
            stop.error.sqlstate = "23000".into();
            stop.statement = Some(evil.repeat(10));
            stop.hint = Some(evil.clone());
            stop.choices = vec![evil.clone(); 3];
            if let Some(event) = &mut stop.event {
                event.rows = 4_000_000;
                event.columns.truncate(2);
                event.kind.clone_from(&evil);
                for image in &mut event.images {
                    image.before = Some(vec![Some(evil.clone()), None]);
                    image.after = Some(vec![Some(evil.repeat(9)); 40]);
                }
                event.images = vec![event.images[0].clone(); 20];
            }
        }
    }
    let mut bad = report(false);
    for figure in &mut bad.privileges {
        figure.server.clone_from(&evil);
        figure.account.clone_from(&evil);
        figure.object.clone_from(&evil);
        figure.evidence.clone_from(&evil);
        figure.grant.clone_from(&evil);
    }
    for check in &mut bad.checks {
        check.mend.clone_from(&evil);
        check.found.clone_from(&evil);
    }
    snapshot.check = Some(Arc::new(bad));
    for problem in &mut snapshot.problems {
        problem.scope.clone_from(&evil);
        problem.text.clone_from(&evil);
    }
    snapshot.log = Arc::new(
        (0..30)
            .map(|n| line(n, 1, &evil, &evil, &evil, &evil))
            .collect(),
    );
    snapshot
}
