//! Accounts that something is wrong with, and servers that go away: each is a row of the result.

use std::time::Duration;

use tideway::config::Config;
use tideway::job::check;
use tideway::model::{CheckFigure, CheckReport, CheckState, GrantState};
use tokio_util::sync::CancellationToken;

use crate::support::front::{At, Front};
use crate::support::proxy::Proxy;
use crate::support::server::PASSWORD;
use crate::support::{Flavor, Server, ServerSpec};

fn config(source: u16, target: u16) -> Config {
    let server = |kind: &str, name: &str, port: u16| {
        format!(
            "[[{kind}]]\nname = \"{name}\"\nhost = \"127.0.0.1\"\nport = {port}\nuser = \"tideway\"\n\
             password = '''{PASSWORD}'''\n"
        )
    };
    let text = format!(
        "[worker]\ndata_dir = \"tideway-check-data\"\n{}{}\
         [[task]]\nname = \"shop\"\nsources = [\"a\"]\ntarget = \"t\"\ntables = [\"shop.*\"]\n",
        server("source", "a", source),
        server("target", "t", target),
    );
    let path = std::env::temp_dir().join("tideway.toml");
    Config::parse(&text, &path).unwrap_or_else(|errors| panic!("{errors}"))
}

fn run(config: &Config) -> CheckReport {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let stop = CancellationToken::new();
    runtime.block_on(async {
        let checked = check::run(config, &stop);
        tokio::time::timeout(Duration::from_mins(2), checked)
            .await
            .unwrap()
    })
}

fn row<'r>(report: &'r CheckReport, scope: &str, id: &str) -> &'r CheckFigure {
    let mut of = report.checks.iter();
    of.find(|check| check.scope == scope && check.id == id)
        .unwrap_or_else(|| panic!("no row `{id}` of {scope} in {report:#?}"))
}

fn states(report: &CheckReport, server: &str) -> Vec<GrantState> {
    let cells = report.privileges.iter();
    cells
        .filter(|cell| cell.server == server)
        .map(|cell| cell.state)
        .collect()
}

const TABLES: &str = "CREATE DATABASE shop; CREATE TABLE shop.t (id INT PRIMARY KEY)";

#[test]
fn an_account_that_may_not_log_in_is_a_row() {
    for flavor in [Flavor::MySql97, Flavor::MariaDb118] {
        let server = Server::start(flavor);
        server.run(TABLES);
        for (change, words) in [
            ("ACCOUNT LOCK", "locked"),
            ("ACCOUNT UNLOCK PASSWORD EXPIRE", "expired"),
        ] {
            server.source_account(&["shop"]);
            for change in change.split_inclusive("UNLOCK ") {
                server.run(&format!("ALTER USER tideway@'%' {change}"));
            }
            let report = run(&config(server.port(), 1));
            let row = row(&report, "source:a", "connection");
            assert_eq!(row.state, CheckState::Fail, "{flavor:?} {change}");
            assert!(
                format!("{} {}", row.found, row.mend).contains(words),
                "{flavor:?} {change}: {row:?}"
            );
            assert_eq!(row.streams, ["shop/a"]);
            let cells = states(&report, "source:a");
            assert!(!cells.is_empty() && cells.iter().all(|cell| *cell == GrantState::Unknown));
        }
    }
}

/// The entry that matches is not the one that the grants were given to.
#[test]
fn another_entry_that_matches_first_is_shown() {
    for flavor in [Flavor::MySql97, Flavor::MariaDb1011] {
        let server = Server::start(flavor);
        server.run(TABLES);
        server.source_account(&["shop"]);
        let secret = PASSWORD.replace('\'', "''");
        server.run(&format!(
            "CREATE USER tideway@'127.0.0.1' IDENTIFIED BY '{secret}'; \
             CREATE USER tideway@localhost IDENTIFIED BY '{secret}'"
        ));
        let report = run(&config(server.port(), 1));
        let account = row(&report, "source:a", "account");
        assert!(
            account
                .found
                .starts_with("tideway@127.0.0.1 (asked for as ")
                || account
                    .found
                    .starts_with("tideway@localhost (asked for as "),
            "{account:?}"
        );
        let lacking: Vec<_> = report
            .privileges
            .iter()
            .filter(|cell| cell.is_lacking())
            .collect();
        assert!(!lacking.is_empty());
        for cell in lacking {
            assert!(
                cell.grant.ends_with(" TO 'tideway'@'127.0.0.1';")
                    || cell.grant.ends_with(" TO 'tideway'@'localhost';"),
                "{}",
                cell.grant
            );
            server.run(&cell.grant);
        }
        let report = run(&config(server.port(), 1));
        assert!(
            report
                .privileges
                .iter()
                .all(|cell| !cell.is_lacking() || cell.server != "source:a")
        );
    }
}

/// A role that others still name is gone.
#[test]
fn a_role_that_was_dropped_is_told_of() {
    let server = Server::start(ServerSpec::new(Flavor::MySql97).option("--mandatory-roles=mover"));
    server.run(TABLES);
    server.source_account(&["shop"]);
    server.run("REVOKE RELOAD ON *.* FROM tideway@'%'");
    let mut config = config(server.port(), 1);
    config.tasks[0].dump.consistency = tideway::config::Consistency::Flush;
    let report = run(&config);
    let reload = report
        .privileges
        .iter()
        .find(|cell| cell.privilege == "RELOAD")
        .unwrap();
    // What the role would give is not known: that is neither had nor missing.
    assert_eq!(reload.state, GrantState::Unknown, "{reload:?}");
    assert!(reload.evidence.contains("mover"), "{reload:?}");
}

#[test]
fn grants_that_are_not_shown_are_not_known() {
    let server = Server::start(Flavor::MySql97);
    server.run(TABLES);
    server.target_account(&["shop"]);
    let front = Front::before(&server);
    // An operator's session in between, or a proxy, may keep the statement to itself.
    front.inject(1227, At::Grants, 1);
    let report = run(&config(1, front.port()));
    let account = row(&report, "target:t", "account");
    assert_eq!(account.state, CheckState::Warn);
    assert!(account.found.contains("1227"), "{account:?}");
    assert_eq!(front.left(), 0);
    let cells = states(&report, "target:t");
    assert!(!cells.is_empty() && cells.iter().all(|cell| *cell == GrantState::Unknown));
}

/// Whenever the server goes, there is a report, and it says so.
#[test]
fn a_server_that_goes_away_in_the_middle_is_a_row() {
    for flavor in [Flavor::MariaDb1011, Flavor::MySql97] {
        goes_away(flavor);
    }
}

fn goes_away(flavor: Flavor) {
    let server = Server::start(flavor);
    server.run(TABLES);
    for number in 0..200 {
        server.run(&format!("CREATE TABLE shop.t{number} (id INT PRIMARY KEY)"));
    }
    server.source_account(&["shop"]);
    let proxy = Proxy::to(server.port());
    let config = config(proxy.port(), 1);
    for after in [5_u64, 20, 40, 80, 160] {
        proxy.refuse(false);
        proxy.delay(Duration::from_millis(2));
        let report = std::thread::scope(|threads| {
            let report = threads.spawn(|| run(&config));
            std::thread::sleep(Duration::from_millis(after));
            proxy.refuse(true);
            proxy.cut();
            report.join().unwrap()
        });
        assert!(!report.ok);
        // Where it went at once nothing is known; later, what was read stays.
        let connection = row(&report, "source:a", "connection");
        let cells = states(&report, "source:a");
        assert!(!cells.is_empty(), "{report:#?}");
        if connection.state == CheckState::Fail {
            assert!(cells.iter().all(|cell| *cell == GrantState::Unknown));
            assert!(!connection.mend.is_empty(), "{connection:?}");
        }
    }
}

/// Log-ins that the checks could not do before the other clients.
#[test]
fn every_way_to_log_in_serves_the_checks() {
    let server = Server::start(Flavor::MariaDb118);
    server.run(TABLES);
    server.source_account(&["shop"]);
    server.run("INSTALL SONAME 'auth_ed25519'; INSTALL SONAME 'auth_parsec'");
    let secret = PASSWORD.replace('\'', "''");
    for plugin in ["ed25519", "parsec"] {
        server.run(&format!(
            "ALTER USER tideway@'%' IDENTIFIED VIA {plugin} USING PASSWORD('{secret}')"
        ));
        let report = run(&config(server.port(), 1));
        for id in ["connection", "account"] {
            assert_eq!(
                row(&report, "source:a", id).state,
                CheckState::Pass,
                "{plugin}: {:?}",
                row(&report, "source:a", id)
            );
        }
        let cells = states(&report, "source:a");
        assert!(cells.contains(&GrantState::Have), "{plugin}: {cells:?}");
    }
}
