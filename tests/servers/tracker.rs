//! The tracker beside the real thing: each statement runs on a server, and the structures carried
//! through it are compared with the ones that the server shows.

use std::fmt::Write as _;

use tideway::config::{Address, ServerConfig, TlsConfig};
use tideway::connect::{Session, Setup};
use tideway::model::{Secret, TableName};
use tideway::schema::{Ddl, SqlMode, Structure};
use tideway::source::{read_structure_set, read_structures, read_structures_of};

use crate::support::server::PASSWORD;
use crate::support::{Flavor, Server};

async fn session(server: &Server, user: &str) -> Session {
    let config = ServerConfig {
        name: "source".into(),
        address: Address::Tcp {
            host: "127.0.0.1".into(),
            port: server.port(),
        },
        user: user.into(),
        password: Some(Secret::new(PASSWORD.to_owned())),
        password_file: None,
        tls: TlsConfig::default(),
    };
    Session::open(&config, &Setup::default()).await.unwrap()
}

/// Statements for both families; what begins with `MY ` or `MA ` is for one alone.
const STATEMENTS: &str = include_str!("tracker.sql");

async fn follow(flavor: Flavor) {
    let server = Server::start(flavor);
    server.run("CREATE DATABASE d CHARACTER SET utf8mb4; CREATE DATABASE l CHARACTER SET latin1");
    server.account("tideway", &[("ALL", "*.*")]);
    let mut session = session(&server, "tideway").await;
    let mut set = read_structure_set(&mut session).await.unwrap();
    session.execute(b"USE d").await.unwrap();
    let (own, other) = if flavor.is_mariadb() {
        ("MA ", "MY ")
    } else {
        ("MY ", "MA ")
    };
    let mut wrong = Vec::new();
    for line in STATEMENTS.lines() {
        if line.is_empty() || line.starts_with("--") || line.starts_with(other) {
            continue;
        }
        let sql = line.strip_prefix(own).unwrap_or(line);
        if let Err(error) = session.execute(sql.as_bytes()).await {
            wrong.push(format!("{sql}\n  the server: {}", error.report()));
            continue;
        }
        let family = session.version().flavor;
        let ddl = Ddl::read(sql.as_bytes(), "d", SqlMode::default(), family);
        if let Err(error) = set.apply(&ddl) {
            wrong.push(format!("{sql}\n  {}", error.report()));
        }
        let real = read_structures(&mut session, |_| true).await.unwrap();
        let mut carried: Vec<Structure> = set.iter().collect();
        carried.sort_by(|a, b| a.table.cmp(&b.table));
        if real != carried {
            wrong.push(format!("{sql}\n{}", difference(&real, &carried)));
            // Each statement is judged by itself.
            set = read_structure_set(&mut session).await.unwrap();
        }
    }
    assert!(
        wrong.is_empty(),
        "{} differ:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    session.close().await;
}

fn difference(real: &[Structure], carried: &[Structure]) -> String {
    let lines = |structures: &[Structure]| -> Vec<String> {
        structures
            .iter()
            .flat_map(|s| {
                let t = &s.table;
                let mut lines = vec![format!("{t}: {} {} {}", s.engine, s.charset, s.collation)];
                lines.extend(s.columns.iter().map(|c| format!("{t}: {c:?}")));
                lines.extend(s.keys.iter().map(|k| format!("{t}: {k:?}")));
                lines.extend(s.foreign_keys.iter().map(|k| format!("{t}: {k:?}")));
                lines
            })
            .collect()
    };
    let (real, carried) = (lines(real), lines(carried));
    let mut text = String::new();
    for line in real.iter().filter(|line| !carried.contains(line)) {
        let _ = writeln!(text, "  server:  {line}");
    }
    for line in carried.iter().filter(|line| !real.contains(line)) {
        let _ = writeln!(text, "  tracker: {line}");
    }
    if text.is_empty() {
        text.push_str("  the order differs\n");
    }
    text
}

#[tokio::test]
async fn structures_follow_mysql() {
    follow(Flavor::MySql97).await;
}

#[tokio::test]
async fn structures_follow_mariadb() {
    follow(Flavor::MariaDb1011).await;
}

#[tokio::test]
async fn structures_follow_mariadb_11() {
    follow(Flavor::MariaDb118).await;
}

/// An account that can only read sees the rules of foreign keys too.
#[tokio::test]
async fn select_is_enough() {
    for flavor in [Flavor::MySql97, Flavor::MariaDb1011] {
        let server = Server::start(flavor);
        server.run(
            "CREATE DATABASE d; CREATE TABLE d.p (a INT PRIMARY KEY); \
             CREATE TABLE d.c (a INT, CONSTRAINT `f ON DELETE SET NULL` FOREIGN KEY (a) REFERENCES d.p (a) ON DELETE CASCADE)",
        );
        server.account("reader", &[("SELECT", "d.*")]);
        let mut session = session(&server, "reader").await;
        let table = TableName::new("d", "c");
        let read = read_structures_of(&mut session, &[table.clone(), TableName::new("d", "none")])
            .await
            .unwrap();
        assert_eq!(read.len(), 1);
        assert_eq!(read[0].table, table);
        assert_eq!(read[0].foreign_keys[0].on_delete, "CASCADE");
        assert_ne!(read[0].foreign_keys[0].on_update, "");
        session.close().await;
    }
}
