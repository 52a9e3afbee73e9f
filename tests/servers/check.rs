//! The checks, against real servers and accounts that lack something.

use std::path::Path;
use std::time::Duration;

use tideway::config::Config;
use tideway::job::check;
use tideway::model::{CheckReport, CheckState, GrantState};
use tokio_util::sync::CancellationToken;

use crate::support::server::PASSWORD;
use crate::support::{Flavor, Server, ServerSpec};

/// The configuration of one task from `source` to `target`, and of what `more` adds to it.
fn config(source: u16, target: u16, more: &str) -> Config {
    let folder = std::env::temp_dir();
    let text = format!(
        r#"
[worker]
data_dir = "tideway-check-data"
[[source]]
name = "a"
host = "127.0.0.1"
port = {source}
user = "tideway"
password = '''{PASSWORD}'''
relay = {{ keep_free = 0 }}
[[target]]
name = "t"
host = "127.0.0.1"
port = {target}
user = "tideway"
password = '''{PASSWORD}'''
[[task]]
name = "shop"
sources = ["a"]
target = "t"
tables = ["my_shop.*"]
{more}"#
    );
    Config::parse(&text, &folder.join("tideway.toml")).unwrap_or_else(|errors| panic!("{errors}"))
}

fn run(config: &Config) -> CheckReport {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        tokio::time::timeout(
            Duration::from_mins(1),
            check::run(config, &CancellationToken::new()),
        )
        .await
        .unwrap()
    })
}

fn state_of(report: &CheckReport, scope: &str, id: &str) -> CheckState {
    report
        .checks
        .iter()
        .find(|check| check.scope == scope && check.id == id)
        .unwrap_or_else(|| panic!("no row `{id}` of `{scope}` in {report:#?}"))
        .state
}

/// What stands in the way, for the message of a test that fails.
fn obstacles(report: &CheckReport) -> String {
    let checks = report
        .checks
        .iter()
        .filter(|check| check.state == CheckState::Fail)
        .map(|check| format!("{} {}: {}\n", check.scope, check.id, check.found));
    let cells = report
        .privileges
        .iter()
        .filter(|cell| !matches!(cell.state, GrantState::Have | GrantState::NotNeeded))
        .map(|cell| {
            format!(
                "{} {} {} on {}: {:?}, {}\n",
                cell.server, cell.unit, cell.privilege, cell.object, cell.state, cell.evidence
            )
        });
    checks.chain(cells).collect()
}

const TABLES: &str = "CREATE DATABASE my_shop; \
    CREATE TABLE my_shop.parent (id INT PRIMARY KEY) ENGINE=InnoDB; \
    CREATE TABLE my_shop.child (id INT PRIMARY KEY, p INT, FOREIGN KEY (p) REFERENCES my_shop.parent (id)) ENGINE=InnoDB; \
    CREATE TABLE my_shop.log (text VARCHAR(100)) ENGINE=InnoDB;";

/// With the documented minimum nothing is missing; without any one privilege of it the check names that
/// one, and the statement it prints mends it.
fn each_privilege_matters(source: Flavor, target: Flavor) {
    let [source, target] = Server::start_all([source, target]);
    source.run(TABLES);
    source.source_account(&["my_shop"]);
    target.target_account(&["my_shop"]);
    let whole = config(
        source.port(),
        target.port(),
        "[task.dump]\nconsistency = \"flush\"\n",
    );
    let report = run(&whole);
    assert!(report.ok, "{}", obstacles(&report));
    assert_eq!(state_of(&report, "task:shop", "keys"), CheckState::Warn);
    assert_eq!(state_of(&report, "task:shop", "tables"), CheckState::Pass);

    let on_source = [
        ("RELOAD", "*.*"),
        ("REPLICATION SLAVE", "*.*"),
        ("REPLICATION CLIENT", "*.*"),
        ("SELECT", r"`my\_shop`.*"),
    ];
    let on_schema = [
        "SELECT",
        "INSERT",
        "UPDATE",
        "DELETE",
        "CREATE",
        "DROP",
        "ALTER",
        "INDEX",
        "REFERENCES",
    ]
    .into_iter()
    // MariaDB creates foreign keys without it.
    .filter(|privilege| *privilege != "REFERENCES" || !target.flavor().is_mariadb())
    .map(|privilege| (privilege, r"`my\_shop`.*"));
    let on_meta = ["SELECT", "INSERT", "UPDATE", "DELETE", "CREATE"]
        .map(|privilege| (privilege, "`tideway`.*"));
    let on_target: Vec<_> = on_schema.chain(on_meta).collect();
    for (server, scope, list) in [
        (&source, "source:a", on_source.as_slice()),
        (&target, "target:t", &on_target),
    ] {
        for (privilege, object) in list {
            let what = format!("{privilege} on {object} of {scope}");
            server.run(&format!("REVOKE {privilege} ON {object} FROM tideway@'%'"));
            let report = run(&whole);
            assert!(!report.ok, "{what} is not missed");
            let missing: Vec<_> = report
                .privileges
                .iter()
                .filter(|cell| cell.state == GrantState::Missing)
                .collect();
            assert!(!missing.is_empty(), "{what}: {}", obstacles(&report));
            for cell in &missing {
                assert_eq!(cell.server, scope, "{what}");
                assert_eq!(cell.account, "'tideway'@'%'");
                let named = cell
                    .privilege
                    .replace("BINLOG MONITOR", "REPLICATION CLIENT");
                assert_eq!(named, *privilege, "{what}");
            }
            server.run(&missing[0].grant);
            let report = run(&whole);
            assert!(
                report.ok,
                "{what}: {} does not mend it: {}",
                missing[0].grant,
                obstacles(&report)
            );
        }
    }
    let text = serde_json::to_string(&run(&whole)).unwrap();
    assert!(
        !text.contains("s3cret") && !text.contains("IDENTIFIED"),
        "{text}"
    );
}

#[test]
fn each_privilege_matters_on_mariadb() {
    each_privilege_matters(Flavor::MariaDb1011, Flavor::MariaDb118);
}

#[test]
fn each_privilege_matters_on_mariadb_the_other_way() {
    each_privilege_matters(Flavor::MariaDb118, Flavor::MariaDb1011);
}

#[test]
fn each_privilege_matters_on_mysql() {
    each_privilege_matters(Flavor::MySql97, Flavor::MySql97);
}

#[test]
fn settings_that_make_replication_impossible_are_named() {
    let [off, mixed] = Server::start_all([
        ServerSpec::new(Flavor::MariaDb1011).option("--skip-log-bin"),
        ServerSpec::new(Flavor::MariaDb1011)
            .option("--binlog-format=MIXED")
            .option("--binlog-row-image=MINIMAL"),
    ]);
    for server in [&off, &mixed] {
        server.run(TABLES);
        server.source_account(&["my_shop"]);
    }
    let report = run(&config(off.port(), mixed.port(), ""));
    assert_eq!(state_of(&report, "source:a", "log-bin"), CheckState::Fail);
    let mixed_config = config(mixed.port(), off.port(), "");
    let report = run(&mixed_config);
    assert_eq!(state_of(&report, "source:a", "log-bin"), CheckState::Pass);
    for id in ["binlog-format", "binlog-row-image"] {
        assert_eq!(state_of(&report, "source:a", id), CheckState::Fail);
        let row = report.checks.iter().find(|check| check.id == id).unwrap();
        let statement = row.mend.split(" -- ").next().unwrap();
        mixed.run(statement);
    }
    let report = run(&mixed_config);
    for id in ["binlog-format", "binlog-row-image"] {
        assert_eq!(state_of(&report, "source:a", id), CheckState::Pass);
    }
    // A copy alone needs no binlog.
    let copy = config(off.port(), mixed.port(), "mode = \"full\"\n");
    assert_eq!(
        state_of(&run(&copy), "source:a", "log-bin"),
        CheckState::Warn
    );
}

#[test]
fn servers_that_do_not_answer_are_rows() {
    let server = Server::start(Flavor::MariaDb1011);
    server.run(TABLES);
    server.source_account(&["my_shop"]);
    server.run("ALTER USER tideway@'%' IDENTIFIED BY 'another'; SET GLOBAL read_only = ON");
    // Port 1 is not listened at: the connection is refused.
    let report = run(&config(server.port(), 1, ""));
    assert!(!report.ok);
    assert_eq!(
        state_of(&report, "source:a", "connection"),
        CheckState::Fail
    );
    assert_eq!(
        state_of(&report, "target:t", "connection"),
        CheckState::Fail
    );
    assert!(
        report
            .privileges
            .iter()
            .all(|cell| cell.state == GrantState::Unknown)
    );
    assert!(
        report
            .privileges
            .iter()
            .any(|cell| cell.object == "`my_shop`.*")
    );
    let found = &report.checks[0].found;
    assert!(found.contains("1045"), "{found}");

    server.source_account(&["my_shop"]);
    let report = run(&config(
        server.port(),
        server.port(),
        "[[task.route]]\nfrom = \"my_shop.*\"\nto = \"copy.*\"\n",
    ));
    assert_eq!(state_of(&report, "target:t", "read-only"), CheckState::Fail);
    assert!(report.checks.iter().all(|check| check.id != "circle"));
}

#[test]
fn roles_that_are_not_active_are_seen() {
    let [mariadb, mysql] = Server::start_all([Flavor::MariaDb1011, Flavor::MySql97]);
    for (server, role) in [(&mariadb, "mover"), (&mysql, "'mover'@'%'")] {
        server.run(TABLES);
        server.source_account(&["my_shop"]);
        server.run(&format!(
            "CREATE ROLE {role}; GRANT SELECT ON `my\\_shop`.* TO {role}; GRANT {role} TO tideway@'%'; \
             REVOKE SELECT ON `my\\_shop`.* FROM tideway@'%'"
        ));
        let config = config(server.port(), 1, "");
        let cells = |report: &CheckReport| -> Vec<GrantState> {
            report
                .privileges
                .iter()
                .filter(|cell| cell.privilege == "SELECT" && cell.object == "`my_shop`.*")
                .filter(|cell| cell.server == "source:a")
                .map(|cell| cell.state)
                .collect()
        };
        let report = run(&config);
        assert_eq!(
            cells(&report),
            [GrantState::Inactive; 2],
            "{}",
            obstacles(&report)
        );
        let mend = report
            .privileges
            .iter()
            .find(|cell| cell.state == GrantState::Inactive)
            .map(|cell| cell.grant.clone())
            .unwrap();
        server.run(&mend);
        let report = run(&config);
        assert_eq!(
            cells(&report),
            [GrantState::Have; 2],
            "{}",
            obstacles(&report)
        );
    }
}

#[test]
fn a_folder_that_cannot_be_made_is_a_row() {
    let mut config = config(1, 2, "");
    config.worker.data_dir = Path::new("Cargo.toml/data").to_owned();
    assert_eq!(
        state_of(&run(&config), "worker", "data-dir"),
        CheckState::Fail
    );
}

/// A mount or a link within the data folder is another place than the folder itself.
#[test]
fn the_folders_within_are_looked_at_each() {
    let folder = tempfile::tempdir().unwrap();
    let elsewhere = tempfile::tempdir_in("/dev/shm").unwrap();
    let mut config = config(1, 2, "");
    config.worker.data_dir = folder.path().to_owned();
    let report = run(&config);
    assert_eq!(state_of(&report, "worker", "data-dir"), CheckState::Pass);
    assert!(
        report
            .checks
            .iter()
            .all(|check| !check.id.ends_with("-dir") || check.id == "data-dir")
    );
    assert_eq!(
        report
            .checks
            .iter()
            .filter(|check| check.id == "disk")
            .count(),
        1
    );
    for (place, scope, id) in [
        ("relay", "source:a", "relay-dir"),
        ("dump/shop", "task:shop", "dump-dir"),
        ("log", "worker", "data-dir"),
    ] {
        let path = folder.path().join(place);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, "in the way").unwrap();
        let report = run(&config);
        assert!(!report.ok);
        let mut rows = report.checks.iter();
        let row = rows
            .find(|row| row.id == id && row.state == CheckState::Fail)
            .unwrap();
        assert!(
            row.scope == scope && row.found.ends_with("is not a folder"),
            "{row:?}"
        );
        assert!(row.streams == ["shop/a"] && !row.mend.is_empty(), "{row:?}");
        std::fs::remove_file(&path).unwrap();
    }
    std::os::unix::fs::symlink(elsewhere.path(), folder.path().join("relay")).unwrap();
    config.sources[0].relay.keep_free_bytes = 1 << 60;
    let report = run(&config);
    let disks: Vec<_> = report
        .checks
        .iter()
        .filter(|check| check.id == "disk")
        .collect();
    assert_eq!(disks.len(), 2, "{disks:?}");
    for disk in disks {
        let is_of_relay = disk
            .found
            .starts_with(&format!("`{}/relay", folder.path().display()));
        let expected = if is_of_relay {
            CheckState::Warn
        } else {
            CheckState::Pass
        };
        assert_eq!(disk.state, expected, "{disk:?}");
    }
}

#[test]
fn a_finding_that_is_accepted_is_shown_so() {
    let [source, target] = Server::start_all([Flavor::MariaDb1011, Flavor::MariaDb1011]);
    source.source_account(&["my_shop"]);
    target.target_account(&["my_shop"]);
    let found = |accept: &str| {
        let report = run(&config(source.port(), target.port(), accept));
        let of = |row: &&tideway::model::CheckFigure| row.id == "binlog-row-metadata";
        let row = report.checks.iter().find(of).unwrap().clone();
        (row.state, row.found)
    };
    let (state, text) = found("");
    assert_eq!(state, CheckState::Warn, "{text}");
    let accept = "[[task.accept]]\nname = \"binlog-row-metadata\"\nreason = \"known since May\"\n";
    let (state, text) = found(accept);
    assert_eq!(state, CheckState::Pass);
    assert!(text.ends_with("accepted: known since May"), "{text}");
    // One of another server is none.
    let (state, _) = found(&format!("{accept}server = \"t\"\n"));
    assert_eq!(state, CheckState::Warn);
}

/// The row `id` of `scope`, in words; panics where there is none.
fn row(report: &CheckReport, scope: &str, id: &str) -> (CheckState, String) {
    let state = state_of(report, scope, id);
    let of = |check: &&tideway::model::CheckFigure| check.scope == scope && check.id == id;
    let found = report.checks.iter().find(of).unwrap().found.clone();
    (state, found)
}

/// Whether the report has such a row, with these words in it.
fn expect(report: &CheckReport, scope: &str, id: &str, state: CheckState, words: &[&str]) {
    let (found, text) = row(report, scope, id);
    assert_eq!(found, state, "{id}: {text}");
    for word in words {
        assert!(
            text.contains(word),
            "`{word}` is not in the row `{id}`: {text}"
        );
    }
}

#[test]
fn what_is_on_the_target_already_is_compared() {
    let [source, target] = Server::start_all([
        ServerSpec::new(Flavor::MariaDb118),
        ServerSpec::new(Flavor::MariaDb1011)
            .option("--default-time-zone=+05:00")
            .option("--sql-mode=ANSI_QUOTES,STRICT_TRANS_TABLES"),
    ]);
    source.run(TABLES);
    source.run(
        "CREATE TABLE my_shop._log_gho (text VARCHAR(100)); \
         CREATE TABLE my_shop.fresh (id INT PRIMARY KEY, v VECTOR(3) NOT NULL); \
         CREATE TRIGGER my_shop.tr BEFORE INSERT ON my_shop.log FOR EACH ROW SET NEW.text = 'x'; \
         CREATE EVENT my_shop.ev ON SCHEDULE EVERY 1 YEAR DO DO 1; \
         CREATE PROCEDURE my_shop.pr() DO 1",
    );
    source.source_account(&["my_shop"]);
    target.run(TABLES);
    target.run(
        "DROP TABLE my_shop.child; ALTER TABLE my_shop.parent MODIFY id VARCHAR(20) NOT NULL; INSERT INTO my_shop.log VALUES ('y'); \
         CREATE TRIGGER my_shop.tr BEFORE INSERT ON my_shop.log FOR EACH ROW SET NEW.text = 'x'",
    );
    target.target_account(&["my_shop"]);
    // What an account may not see is not told of; these may.
    source.run("GRANT TRIGGER, EVENT, PROCESS ON *.* TO tideway@'%'; GRANT SELECT ON mysql.proc TO tideway@'%'");
    target.run("GRANT TRIGGER ON my_shop.* TO tideway@'%'");
    let config = config(source.port(), target.port(), "");

    let mut slow = source.client();
    let slow = std::thread::spawn(move || {
        slow.run("CREATE TABLE my_shop.made_slowly AS SELECT SLEEP(600) AS a");
    });
    let running = "FROM information_schema.PROCESSLIST WHERE INFO LIKE 'CREATE TABLE%SLEEP%'";
    source.await_value(&format!("SELECT COUNT(*) {running}"), "1");
    let id = source.client().value(&format!("SELECT ID {running}"));
    let report = run(&config);
    source.run(&format!("KILL {id}"));
    assert!(slow.join().is_err(), "it was not killed");

    assert!(!report.ok, "{report:#?}");
    let (fail, warn) = (CheckState::Fail, CheckState::Warn);
    let task = "task:shop";
    expect(
        &report,
        task,
        "target-structure",
        fail,
        &["my_shop.parent", "varchar(20)"],
    );
    expect(
        &report,
        task,
        "target-rows",
        fail,
        &["1 on `t`: my_shop.log"],
    );
    expect(&report, task, "target-triggers", warn, &["my_shop.log"]);
    expect(
        &report,
        task,
        "programs",
        warn,
        &["1 triggers, 1 events, 1 routines"],
    );
    expect(
        &report,
        task,
        "target-dialect",
        fail,
        &["my_shop.fresh", "VECTOR"],
    );
    expect(&report, task, "time-zone", warn, &["+05:00 on `t`"]);
    expect(&report, task, "sql-mode", warn, &["ANSI_QUOTES"]);
    expect(
        &report,
        "source:a",
        "online-ddl",
        warn,
        &["my_shop._log_gho (of my_shop.log)"],
    );
    expect(&report, "source:a", "running-ddl", warn, &["of `root`"]);

    // Mended, nothing of it is left.
    target.run("DROP DATABASE my_shop");
    source.run(
        "DROP TABLE my_shop._log_gho, my_shop.fresh; DROP TRIGGER my_shop.tr; DROP EVENT my_shop.ev; DROP PROCEDURE my_shop.pr",
    );
    let report = run(&config);
    assert!(report.ok, "{}", obstacles(&report));
    expect(
        &report,
        task,
        "target-triggers",
        CheckState::Pass,
        &["none"],
    );
    for id in ["target-rows", "programs"] {
        assert!(report.checks.iter().all(|check| check.id != id), "{id}");
    }
    let pass = CheckState::Pass;
    expect(&report, task, "target-structure", pass, &[]);
    expect(&report, "source:a", "running-ddl", pass, &["none"]);
    expect(&report, "source:a", "long-transactions", pass, &["none"]);
}

#[test]
fn what_tables_have_to_do_with_each_other_is_told() {
    let [source, target] = Server::start_all([
        ServerSpec::new(Flavor::MySql97).option("--binlog-expire-logs-seconds=7200"),
        ServerSpec::new(Flavor::MySql97).option("--max-binlog-cache-size=1048576"),
    ]);
    source.run(TABLES);
    source.run(
        "CREATE DATABASE other; CREATE TABLE other.parent (id INT PRIMARY KEY); \
         CREATE TABLE my_shop.lost (id INT PRIMARY KEY, p INT, \
             FOREIGN KEY (p) REFERENCES other.parent (id) ON DELETE CASCADE); \
         CREATE VIEW my_shop.v_parent AS SELECT id FROM my_shop.parent; \
         CREATE TABLE my_shop.s1 (id INT AUTO_INCREMENT PRIMARY KEY, a INT); \
         CREATE TABLE my_shop.s2 LIKE my_shop.s1; CREATE TABLE my_shop.s3 LIKE my_shop.s1; \
         INSERT INTO my_shop.s1 VALUES (1, 1), (9, 9); INSERT INTO my_shop.s2 VALUES (10, 1), (20, 9)",
    );
    source.source_account(&["my_shop"]);
    target.target_account(&["my_shop"]);
    source.run("CREATE PROCEDURE my_shop.pr() DO 1; CREATE EVENT my_shop.ev ON SCHEDULE EVERY 1 YEAR DO DO 1");
    source.run("GRANT EVENT ON *.* TO tideway@'%'; GRANT SHOW_ROUTINE ON *.* TO tideway@'%'");
    let routes = "[[task.route]]\nfrom = \"my_shop.s*\"\nto = \"my_shop.all\"\n\
                  [task.dump]\nprograms = [\"routines\"]\n";
    let config = config(source.port(), target.port(), routes);
    let (warn, pass) = (CheckState::Warn, CheckState::Pass);
    let report = run(&config);
    let task = "task:shop";
    expect(
        &report,
        task,
        "foreign-keys",
        warn,
        &[
            "1 of `a`",
            "my_shop.lost to other.parent (ON DELETE CASCADE)",
        ],
    );
    expect(
        &report,
        task,
        "merged-tables",
        warn,
        &["my_shop.all from 3"],
    );
    let (_, found) = row(&report, task, "merged-tables");
    assert!(!found.contains("values of one key"), "{found}");
    expect(&report, "source:a", "binlog-expiry", warn, &["kept for 2h"]);
    expect(
        &report,
        "target:t",
        "transaction-size",
        warn,
        &["`max_binlog_cache_size` is 1024 KiB"],
    );
    expect(&report, "source:a", "clock", pass, &["within"]);
    expect(
        &report,
        task,
        "views",
        warn,
        &["my_shop.v_parent", "SHOW VIEW on `a`, CREATE VIEW on `t`"],
    );
    expect(&report, task, "programs", warn, &["1 events"]);
    let may_not = ["1 routines", "may not create them on `t`"];
    expect(&report, task, "programs-copied", warn, &may_not);
    let mend_of = |id: &str| {
        let of = |check: &&tideway::model::CheckFigure| check.id == id;
        report.checks.iter().find(of).unwrap().mend.clone()
    };
    target.run(&mend_of("programs-copied"));
    let mend = mend_of("views");
    for (server, statement) in [&source, &target].into_iter().zip(mend.lines()) {
        server.run(statement.split(" -- ").next().unwrap());
    }
    for (server, scope, id) in [
        (&source, "source:a", "binlog-expiry"),
        (&target, "target:t", "transaction-size"),
    ] {
        let of = |check: &&tideway::model::CheckFigure| check.scope == scope && check.id == id;
        server.run(&report.checks.iter().find(of).unwrap().mend);
    }
    source.run("INSERT INTO my_shop.s3 VALUES (15, 1); DROP TABLE my_shop.lost");
    let report = run(&config);
    expect(
        &report,
        task,
        "merged-tables",
        warn,
        &["`id` of a:my_shop.s2 10..20 and a:my_shop.s3 15..15"],
    );
    expect(&report, task, "foreign-keys", pass, &["1 of `a`"]);
    expect(&report, task, "programs-copied", pass, &["1 routines"]);
    expect(
        &report,
        task,
        "views",
        pass,
        &["1 of `a`: my_shop.v_parent"],
    );
    expect(&report, "source:a", "binlog-expiry", pass, &["7days"]);
    expect(
        &report,
        "target:t",
        "transaction-size",
        pass,
        &["65536 KiB"],
    );
}

#[test]
fn what_the_binlog_lacks_is_told() {
    let [source, target] = Server::start_all([
        ServerSpec::new(Flavor::MySql97)
            .option("--binlog-ignore-db=my_shop")
            .option("--log-replica-updates=OFF"),
        ServerSpec::new(Flavor::MySql97),
    ]);
    for server in [&source, &target] {
        server.run(TABLES);
    }
    source.source_account(&["my_shop"]);
    target.target_account(&["my_shop"]);
    target.run("ALTER USER tideway@'%' WITH MAX_USER_CONNECTIONS 2; DROP TABLE my_shop.log");
    let begun = "mode = \"incremental\"\nstart = \"bin.000099:4\"\n";
    let report = run(&config(source.port(), target.port(), begun));
    let (fail, warn) = (CheckState::Fail, CheckState::Warn);
    expect(&report, "source:a", "binlog-filter", fail, &["my_shop"]);
    expect(
        &report,
        "source:a",
        "binlog-start",
        fail,
        &["bin.000099:4", "bin.000001"],
    );
    expect(
        &report,
        "source:a",
        "replica-updates",
        CheckState::Pass,
        &["no replica"],
    );
    expect(
        &report,
        "source:a",
        "running-ddl",
        CheckState::Pass,
        &["not knowable"],
    );
    expect(
        &report,
        "target:t",
        "connections",
        warn,
        &["`max_user_connections` is 2"],
    );

    // It becomes a replica, of whomever.
    source.run(
        "CHANGE REPLICATION SOURCE TO SOURCE_HOST = '127.0.0.1', SOURCE_PORT = 1, SOURCE_USER = 'x'",
    );
    let begun = "mode = \"incremental\"\nstart = \"bin.000001:4\"\n";
    let report = run(&config(source.port(), target.port(), begun));
    expect(
        &report,
        "source:a",
        "replica-updates",
        fail,
        &["`log_replica_updates`"],
    );
    expect(
        &report,
        "source:a",
        "binlog-start",
        CheckState::Pass,
        &["bin.000001:4"],
    );
}
