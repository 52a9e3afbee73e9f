//! Rows of the checks that other tests do not come to: each is found on real servers, with its state.

use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use tideway::config::Config;
use tideway::job::check;
use tideway::model::{CheckFigure, CheckReport, CheckState};
use tokio_util::sync::CancellationToken;

use crate::support::server::PASSWORD;
use crate::support::{Flavor, Server, ServerSpec};

fn checked(source: u16, target: u16, keep_free: &str) -> CheckReport {
    let relay = format!("relay = {{ keep_free = \"{keep_free}\" }}\n");
    checked_as(source, target, &relay, "")
}

/// The same with lines of the source's and of the task's section.
fn checked_as(source: u16, target: u16, of_source: &str, of_task: &str) -> CheckReport {
    let server = |kind: &str, name: &str, port: u16| {
        format!(
            "[[{kind}]]\nname = \"{name}\"\nhost = \"127.0.0.1\"\nport = {port}\nuser = \"tideway\"\n\
             password = '''{PASSWORD}'''\n"
        )
    };
    let text = format!(
        "[worker]\ndata_dir = \"tideway-check-data\"\n{}{of_source}{}\
         [[task]]\nname = \"shop\"\nsources = [\"a\"]\ntarget = \"t\"\ntables = [\"shop.*\"]\n{of_task}",
        server("source", "a", source),
        server("target", "t", target),
    );
    let path = std::env::temp_dir().join("tideway.toml");
    let config = Config::parse(&text, &path).unwrap_or_else(|errors| panic!("{errors}"));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let stop = CancellationToken::new();
    runtime.block_on(async {
        let checked = check::run(&config, &stop);
        tokio::time::timeout(Duration::from_mins(1), checked)
            .await
            .unwrap()
    })
}

/// The row `id` of `scope`: it has this state, these words, and says why and how it is mended.
fn expect<'r>(
    report: &'r CheckReport,
    (scope, id): (&str, &str),
    state: CheckState,
    words: &[&str],
) -> &'r CheckFigure {
    let mut of = report.checks.iter();
    let row = of
        .find(|check| check.scope == scope && check.id == id)
        .unwrap_or_else(|| panic!("no row `{id}` of {scope} in {report:#?}"));
    assert_eq!(row.state, state, "{row:?}");
    for word in words {
        assert!(row.found.contains(word), "`{word}` is not in {row:?}");
    }
    assert!(!row.why.is_empty(), "{row:?}");
    assert!(state == CheckState::Pass || !row.mend.is_empty(), "{row:?}");
    assert!(
        state == CheckState::Pass || row.streams == ["shop/a"],
        "{row:?}"
    );
    row
}

#[test]
fn what_a_mariadb_source_and_a_mysql_target_do_not_share() {
    let [source, target] = Server::start_all([
        ServerSpec::new(Flavor::MariaDb118).option("--max-allowed-packet=128M"),
        ServerSpec::new(Flavor::MySql97)
            .option("--max-allowed-packet=16M")
            .option("--default-storage-engine=MyISAM"),
    ]);
    source.run(
        "CREATE DATABASE shop; CREATE TABLE shop.old (id INT PRIMARY KEY) ENGINE=MyISAM; \
         CREATE TABLE shop.kept (id INT PRIMARY KEY) WITH SYSTEM VERSIONING; CREATE SEQUENCE shop.seq; \
         CREATE TABLE shop.there (id INT PRIMARY KEY); CREATE TABLE shop.seen (id INT PRIMARY KEY); \
         CREATE TABLE shop.theirs (id INT PRIMARY KEY); \
         CREATE TABLE shop.text (id INT PRIMARY KEY, a TEXT) DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_uca1400_ai_ci",
    );
    source.source_account(&["shop"]);
    target.run(
        "CREATE DATABASE shop; CREATE TABLE shop.there (id INT PRIMARY KEY) ENGINE=MyISAM; \
         CREATE TABLE shop.theirs (id INT PRIMARY KEY) ENGINE=InnoDB; \
         CREATE VIEW shop.seen AS SELECT 1 AS id; CREATE DATABASE tideway; \
         CREATE TABLE tideway.owner (target_schema VARCHAR(64), target_table VARCHAR(64), task VARCHAR(64), \
             source VARCHAR(64)) ENGINE=InnoDB; \
         INSERT INTO tideway.owner VALUES ('shop', 'theirs', 'other', 'a')",
    );
    target.target_account(&["shop"]);
    let report = checked(source.port(), target.port(), "1000 TiB");
    let (fail, warn) = (CheckState::Fail, CheckState::Warn);
    let task = "task:shop";
    expect(&report, (task, "engines"), warn, &["1 of `a`", "shop.old"]);
    expect(&report, (task, "system-versioned"), fail, &["shop.kept"]);
    expect(
        &report,
        (task, "left-out"),
        warn,
        &["shop.seq (a sequence)"],
    );
    let packets = ["128 MiB on `a`", "16 MiB on `t`"];
    let row = expect(&report, (task, "max-allowed-packet"), warn, &packets);
    target.run(row.mend.split(" -- ").next().unwrap());
    expect(&report, (task, "target-adapted"), warn, &["shop.text"]);
    let row = expect(&report, (task, "target-engine"), fail, &["shop.there"]);
    target.run(&row.mend);
    expect(&report, (task, "target-tables"), fail, &["shop.seen"]);
    let theirs = ["shop.theirs (task `other`)"];
    expect(&report, (task, "target-owner"), warn, &theirs);
    let row = expect(&report, ("target:t", "engine"), fail, &["MyISAM"]);
    target.run(&row.mend);
    expect(&report, ("worker", "disk"), warn, &["are to stay free"]);

    let report = checked(source.port(), target.port(), "0");
    for place in [
        (task, "max-allowed-packet"),
        ("target:t", "engine"),
        ("worker", "disk"),
    ] {
        expect(&report, place, CheckState::Pass, &[]);
    }
    assert!(
        report
            .checks
            .iter()
            .all(|check| check.id != "target-engine")
    );
}

#[test]
fn what_a_mysql_source_has_that_mariadb_has_not() {
    let [source, target] = Server::start_all([Flavor::MySql97, Flavor::MariaDb118]);
    source.run(
        "CREATE DATABASE shop; CREATE TABLE shop.t (id INT PRIMARY KEY, a TEXT) DEFAULT CHARSET=gb18030; \
         SET GLOBAL binlog_row_value_options = 'PARTIAL_JSON', GLOBAL binlog_row_image = 'MINIMAL'",
    );
    source.source_account(&["shop"]);
    target.target_account(&["shop"]);
    let report = checked(source.port(), target.port(), "0");
    let partial = ("source:a", "binlog-row-value-options");
    let row = expect(&report, partial, CheckState::Fail, &["PARTIAL_JSON"]);
    source.run(row.mend.split(" -- ").next().unwrap());
    let other = ["`utf8mb4` for `gb18030`"];
    expect(
        &report,
        ("task:shop", "target-adapted"),
        CheckState::Warn,
        &other,
    );
    let report = checked(source.port(), target.port(), "0");
    assert!(report.checks.iter().all(|check| check.id != partial.1));
}

#[test]
fn an_anonymous_account_in_the_way_is_shown() {
    let server = Server::start(Flavor::MySql97);
    server.run("CREATE DATABASE shop; CREATE TABLE shop.t (id INT PRIMARY KEY)");
    server.source_account(&["shop"]);
    let secret = PASSWORD.replace('\'', "''");
    for host in ["127.0.0.1", "localhost"] {
        server.run(&format!("CREATE USER ''@'{host}' IDENTIFIED BY '{secret}'"));
    }
    let account = ("source:a", "account");
    for _ in 0..2 {
        let report = checked(server.port(), 1, "0");
        let mut rows = report.checks.iter();
        let row = rows.find(|row| (row.scope.as_str(), row.id.as_str()) == account);
        if row.is_some_and(|row| row.state == CheckState::Pass) {
            break;
        }
        let row = expect(&report, account, CheckState::Fail, &["anonymous"]);
        server.run(&row.mend);
    }
    let report = checked(server.port(), 1, "0");
    expect(&report, account, CheckState::Pass, &["tideway@%"]);
}

/// Leads each connection to the next of two servers, as a balancer does.
fn balancer(upstreams: [u16; 2]) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    // It ends with the test's process.
    std::thread::spawn(move || {
        for (client, upstream) in listener.incoming().zip(upstreams.into_iter().cycle()) {
            let (Ok(client), Ok(server)) = (client, TcpStream::connect(("127.0.0.1", upstream)))
            else {
                continue;
            };
            for (mut from, mut to) in [
                (client.try_clone().unwrap(), server.try_clone().unwrap()),
                (server, client),
            ] {
                std::thread::spawn(move || {
                    let _ = std::io::copy(&mut from, &mut to);
                    let _ = to.shutdown(std::net::Shutdown::Both);
                });
            }
        }
    });
    port
}

#[test]
fn a_balancer_before_two_servers_is_a_row() {
    let servers = Server::start_all([Flavor::MariaDb1011, Flavor::MariaDb1011]);
    for server in &servers {
        server.run("CREATE DATABASE shop; CREATE TABLE shop.t (id INT PRIMARY KEY)");
        server.source_account(&["shop"]);
    }
    let port = balancer([servers[0].port(), servers[1].port()]);
    let report = checked(port, 1, "0");
    let ids = servers
        .each_ref()
        .map(|server| server.client().value("SELECT @@server_id"));
    let words = ids.each_ref().map(String::as_str);
    expect(&report, ("source:a", "account"), CheckState::Fail, &words);
}

/// A server whose clock is 100 s ahead for all accounts but administrators': what was begun just now is
/// old for it.
fn ahead(flavor: Flavor) -> ServerSpec {
    ServerSpec::new(flavor)
        .option("--sysdate-is-now")
        .option("--init-connect=SET timestamp = UNIX_TIMESTAMP() + 100")
}

#[test]
fn clocks_long_transactions_and_prepared_ones_are_told() {
    let [source, target] = Server::start_all([
        ahead(Flavor::MariaDb118),
        ServerSpec::new(Flavor::MariaDb1011).option("--lower-case-table-names=1"),
    ]);
    source.run("CREATE DATABASE shop; CREATE TABLE shop.t (id INT PRIMARY KEY); CREATE TABLE shop.T (id INT PRIMARY KEY)");
    source.source_account(&["shop"]);
    source.run("GRANT PROCESS ON *.* TO tideway@'%'");
    target.target_account(&["shop"]);
    let (fail, warn) = (CheckState::Fail, CheckState::Warn);
    let mut open = source.client();
    open.run("BEGIN; INSERT INTO shop.t VALUES (1)");
    let mut prepared = source.client();
    prepared.run("XA START 'x'; INSERT INTO shop.t VALUES (2); XA END 'x'; XA PREPARE 'x'");
    let report = checked(source.port(), target.port(), "0");
    expect(&report, ("source:a", "clock"), warn, &["ahead of ours"]);
    let row = expect(
        &report,
        ("source:a", "long-transactions"),
        warn,
        &["a transaction for"],
    );
    assert!(row.why.contains("read lock"), "{row:?}");
    expect(&report, ("source:a", "prepared-xa"), warn, &["1 prepared"]);
    let clash = ["shop.T, shop.t"];
    expect(&report, ("task:shop", "name-case"), fail, &clash);
    open.run("COMMIT");
    prepared.run("XA ROLLBACK 'x'");
    source.run("DROP TABLE shop.T");
    let report = checked(source.port(), target.port(), "0");
    for id in ["long-transactions", "prepared-xa"] {
        expect(&report, ("source:a", id), CheckState::Pass, &["none"]);
    }
    expect(
        &report,
        ("task:shop", "name-case"),
        warn,
        &["0 on `a` and 1 on `t`"],
    );
}

#[test]
fn ids_of_replicas_meet() {
    let source = Server::start(Flavor::MySql97);
    source.run("CREATE DATABASE shop; CREATE TABLE shop.t (id INT PRIMARY KEY)");
    source.source_account(&["shop"]);
    let place = ("source:a", "server-id");
    let id = source.client().value("SELECT @@server_id");
    let report = checked_as(source.port(), 1, &format!("server_id = {id}\n"), "");
    expect(&report, place, CheckState::Fail, &["the source's own"]);
    source.run("SET GLOBAL server_id = 0");
    let report = checked_as(source.port(), 1, "", "");
    let row = expect(&report, place, CheckState::Fail, &["is 0"]);
    source.run(row.mend.split(" -- ").next().unwrap());
    let report = checked_as(source.port(), 1, "server_id = 7654321\n", "");
    expect(&report, place, CheckState::Pass, &["7654321"]);
    // One server on both ends, with nothing else to tell the tables by.
    source.target_account(&["shop"]);
    let report = checked_as(source.port(), source.port(), "", "");
    expect(
        &report,
        ("task:shop", "circle"),
        CheckState::Fail,
        &["shop.t"],
    );
}

#[test]
fn a_beginning_that_is_gone_and_tables_that_are_not_there() {
    for flavor in [Flavor::MySql97, Flavor::MariaDb118] {
        let [source, target] = Server::start_all([flavor, Flavor::MariaDb1011]);
        source.run("CREATE DATABASE shop; CREATE TABLE shop.t (id INT PRIMARY KEY); CREATE TABLE shop.v (id INT PRIMARY KEY)");
        source.source_account(&["shop"]);
        target.run("CREATE DATABASE shop; CREATE TABLE shop.t (id INT PRIMARY KEY)");
        target.target_account(&["shop"]);
        let now = || {
            let set = if flavor.is_mariadb() {
                "@@gtid_binlog_pos"
            } else {
                "@@gtid_executed"
            };
            source
                .client()
                .value(&format!("SELECT {set}"))
                .replace('\n', "")
        };
        let begin = |start: &str| {
            let lines = format!("mode = \"incremental\"\nstart = \"{start}\"\n");
            checked_as(source.port(), target.port(), "", &lines)
        };
        let start = ("source:a", "binlog-start");
        let early = now();
        let report = begin(&early);
        expect(&report, start, CheckState::Pass, &["is there"]);
        let missing = ("task:shop", "target-missing");
        expect(&report, missing, CheckState::Warn, &["1 on `t`: shop.v"]);
        source.run("INSERT INTO shop.t VALUES (1); FLUSH BINARY LOGS; INSERT INTO shop.t VALUES (2); FLUSH BINARY LOGS");
        let late = now();
        let newest = source.client().texts("SHOW BINARY LOGS").pop().unwrap();
        // MariaDB keeps a file until its engines have written what it has.
        for _ in 0..100 {
            source.run(&format!("PURGE BINARY LOGS TO '{}'", newest[0]));
            if source.client().texts("SHOW BINARY LOGS").len() == 1 {
                break;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        let report = begin(&early);
        expect(
            &report,
            start,
            CheckState::Fail,
            &["older than the source's oldest"],
        );
        target.run("CREATE TABLE shop.v (id INT PRIMARY KEY)");
        let report = begin(&late);
        expect(&report, start, CheckState::Pass, &["is there"]);
        assert!(report.checks.iter().all(|check| check.id != missing.1));
    }
}
