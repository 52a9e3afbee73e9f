//! The corpus of statements on real servers: each runs at a source, follows its routes to a target,
//! and in the end the structures that the stream kept are those of the source's catalogue, and the
//! target's tables are the source's under their new names.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use tideway::config::{Address, ServerConfig, TlsConfig};
use tideway::connect::{Session, Setup};
use tideway::model::{Secret, TableName};
use tideway::schema::{Ddl, DdlKind, SqlMode, Structure, StructureSet};
use tideway::source::{read_structure_set, read_structures, read_structures_of};

use crate::support::compare::assert_tables_equal;
use crate::support::ddl_corpus::{Entry, entries, on_target};
use crate::support::server::PASSWORD;
use crate::support::{Client, Flavor, Server, Task, Tideway};

/// The databases of the corpus; on the target `d` is `r`.
const SCHEMAS: [&str; 5] = ["d", "e", "l", "n", "n 2"];

fn major(flavor: Flavor) -> u32 {
    match flavor {
        Flavor::MariaDb1011 => 10,
        Flavor::MariaDb118 => 11,
        Flavor::MySql97 => 9,
    }
}

/// The statements that a server takes.
fn for_server(flavor: Flavor) -> impl Iterator<Item = Entry> {
    entries()
        .into_iter()
        .filter(move |entry| entry.is_for(flavor.is_mariadb(), major(flavor)) && !entry.has("read"))
}

fn mode_text(entry: &Entry) -> String {
    let mut modes = vec!["STRICT_TRANS_TABLES"];
    for (flag, mode) in [
        ("ansi", "ANSI_QUOTES"),
        ("nbe", "NO_BACKSLASH_ESCAPES"),
        ("real", "REAL_AS_FLOAT"),
    ] {
        if entry.has(flag) {
            modes.push(mode);
        }
    }
    modes.join(",")
}

/// The statements that put a session into the state an entry wants.
fn surroundings(entry: &Entry) -> String {
    let database = match entry.default_schema() {
        // A session loses its default database only with that database.
        "" => "CREATE DATABASE gone; USE gone; DROP DATABASE gone".to_owned(),
        name => format!("USE `{name}`"),
    };
    format!("SET sql_mode = '{}'; {database}", mode_text(entry))
}

async fn session(server: &Server) -> Session {
    let config = ServerConfig {
        name: "server".into(),
        address: Address::Tcp {
            host: "127.0.0.1".into(),
            port: server.port(),
        },
        user: "reader".into(),
        password: Some(Secret::new(PASSWORD.to_owned())),
        password_file: None,
        tls: TlsConfig::default(),
    };
    Session::open(&config, &Setup::default()).await.unwrap()
}

fn prepare(server: &Server) {
    server.run(
        "SET sql_log_bin = 0; CREATE DATABASE d CHARACTER SET utf8mb4; CREATE DATABASE e CHARACTER SET utf8mb4; \
         CREATE DATABASE l CHARACTER SET latin1",
    );
    server.account("reader", &[("ALL", "*.*")]);
}

fn lines(structures: &[Structure]) -> Vec<String> {
    structures
        .iter()
        .flat_map(|s| {
            let t = &s.table;
            let mut lines = vec![format!(
                "{t}: {} {} {} {}",
                s.engine, s.charset, s.collation, s.versioned
            )];
            lines.extend(s.columns.iter().map(|c| format!("{t}: {c:?}")));
            lines.extend(s.keys.iter().map(|k| format!("{t}: {k:?}")));
            lines.extend(s.foreign_keys.iter().map(|k| format!("{t}: {k:?}")));
            lines
        })
        .collect()
}

fn difference(left: (&str, &[Structure]), right: (&str, &[Structure])) -> String {
    let (mut text, first, second) = (String::new(), lines(left.1), lines(right.1));
    for line in first.iter().filter(|line| !second.contains(line)) {
        let _ = writeln!(text, "  {}: {line}", left.0);
    }
    for line in second.iter().filter(|line| !first.contains(line)) {
        let _ = writeln!(text, "  {}: {line}", right.0);
    }
    text
}

/// Each statement by itself: what the tracker makes of it is what the server has then.
async fn follow(flavor: Flavor) {
    let server = Server::start(flavor);
    prepare(&server);
    let mut session = session(&server).await;
    let family = session.version().flavor;
    let mut client = server.client();
    let mut set: StructureSet = read_structure_set(&mut session).await.unwrap();
    let mut wrong = Vec::new();
    for entry in for_server(flavor) {
        client.run(&surroundings(&entry));
        if let Err(error) = client.try_run(&entry.sql) {
            wrong.push(format!(
                "line {}: {}\n  the server: {error}",
                entry.line, entry.sql
            ));
            continue;
        }
        if entry.kind == "rows" {
            continue;
        }
        let mode = SqlMode {
            ansi_quotes: entry.has("ansi"),
            no_backslash_escapes: entry.has("nbe"),
            real_as_float: entry.has("real"),
        };
        let ddl = Ddl::read(entry.sql.as_bytes(), entry.default_schema(), mode, family);
        let followed = set.apply(&ddl);
        // Most statements concern the tables they name; a new name also concerns foreign keys to it.
        let is_wide = !matches!(
            ddl.kind,
            DdlKind::CreateTable | DdlKind::CreateIndex | DdlKind::DropIndex
        );
        let names: BTreeSet<TableName> = ddl.changed_tables().cloned().collect();
        let is_meant = |table: &TableName| is_wide || names.contains(table);
        let real = if is_wide {
            read_structures(&mut session, |_| true).await.unwrap()
        } else {
            let names: Vec<TableName> = names.iter().cloned().collect();
            read_structures_of(&mut session, &names).await.unwrap()
        };
        let mut carried: Vec<Structure> = set.iter().filter(|s| is_meant(&s.table)).collect();
        carried.sort_by(|a, b| a.table.cmp(&b.table));
        if ddl.selects && !ddl.temporary {
            // It comes as columns and rows from a binlog.
            assert!(followed.is_err(), "{}", entry.sql);
        } else if let Err(error) = followed {
            wrong.push(format!(
                "line {}: {}\n  {}",
                entry.line,
                entry.sql,
                error.report()
            ));
        } else if real != carried {
            let found = difference(("server", &real), ("tracker", &carried));
            wrong.push(format!("line {}: {}\n{found}", entry.line, entry.sql));
        } else {
            continue;
        }
        // Each statement is judged by itself.
        set = read_structure_set(&mut session).await.unwrap();
    }
    assert!(
        wrong.is_empty(),
        "{} differ:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    session.close().await;
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

/// All of them through a stream with routes.
async fn through_a_stream(from: Flavor, to: Flavor) {
    let [source, target] = Server::start_all([from, to]);
    prepare(&source);
    source.run("CREATE TABLE d.base (id INT PRIMARY KEY)");
    source.source_account(&SCHEMAS);
    target.account("reader", &[("ALL", "*.*")]);
    target.target_account(&["r", "e", "l", "n", "n 2"]);
    target.run(
        "CREATE DATABASE r CHARACTER SET utf8mb4; CREATE DATABASE e CHARACTER SET utf8mb4; \
         CREATE DATABASE l CHARACTER SET latin1",
    );
    let task = Task::new(
        "t",
        &["a"],
        "copy",
        &["d.*", "e.*", "l.*", "n.*", "`n 2`.*"],
    )
    .route("d.ren", "r.renamed")
    .route("e.keep", "e.kept")
    .route("d.*", "r.*");
    let mut tideway = Tideway::new()
        .source("a", &source)
        .target("copy", &target)
        .task(&task);
    tideway.start();
    tideway.await_streams("sync", "running");
    tideway.terminate();
    let mut client = source.client();
    let mut count = 0;
    for entry in for_server(from).filter(|entry| !entry.has("tracked")) {
        client.run(&surroundings(&entry));
        client.run(&entry.sql);
        count += 1;
    }
    tideway.catch_up();
    println!("{count} statements");
    assert!(count > 200, "{count}");

    let mut session = session(&source).await;
    let there = |table: &TableName| SCHEMAS.contains(&table.schema.as_str());
    let real = read_structures(&mut session, there).await.unwrap();
    session.close().await;
    let kept = kept_structures(&mut target.client());
    assert!(
        real == kept,
        "what the stream keeps is not what the source has:\n{}",
        difference(("source", &real), ("kept", &kept))
    );
    let mut session = self::session(&target).await;
    let there = |table: &TableName| ["r", "e", "l", "n", "n 2"].contains(&table.schema.as_str());
    let mut copied = read_structures(&mut session, there).await.unwrap();
    session.close().await;
    let mut wanted: Vec<Structure> = real.iter().map(routed).collect();
    for structure in copied.iter_mut().chain(&mut wanted) {
        plain(structure);
    }
    wanted.sort_by(|a, b| a.table.cmp(&b.table));
    assert!(
        wanted == copied,
        "the target's tables are not the source's:\n{}",
        difference(("source", &wanted), ("target", &copied))
    );
    for structure in &real {
        let (schema, name) = on_target(&structure.table.schema, &structure.table.name);
        if structure.table.name.contains('.') {
            continue;
        }
        assert_tables_equal(
            &source,
            &target,
            &structure.table.to_string(),
            &format!("{schema}.{name}"),
        );
    }
}

/// What the checkpoint says of the source's tables.
fn kept_structures(client: &mut Client) -> Vec<Structure> {
    let rows = client.texts(
        "SELECT schema_name, table_name, definition FROM tideway.structure \
         WHERE table_name <> '' ORDER BY structures",
    );
    let mut newest = BTreeMap::new();
    for row in rows {
        let structure = (row[2] != "NULL").then(|| serde_json::from_str(&row[2]).unwrap());
        newest.insert((row[0].clone(), row[1].clone()), structure);
    }
    newest.into_values().flatten().collect()
}

/// A structure under the names of the target.
fn routed(structure: &Structure) -> Structure {
    let route = |table: &TableName| {
        let (schema, name) = on_target(&table.schema, &table.name);
        TableName::new(schema, name)
    };
    let mut structure = structure.clone();
    structure.table = route(&structure.table);
    for key in &mut structure.foreign_keys {
        key.parent = route(&key.parent);
    }
    structure
}

/// Other engines become InnoDB on the way.
fn plain(structure: &mut Structure) {
    structure.engine.clear();
}

#[tokio::test]
async fn a_stream_carries_them_to_mysql() {
    through_a_stream(Flavor::MySql97, Flavor::MySql97).await;
}

#[tokio::test]
async fn a_stream_carries_them_to_mariadb() {
    through_a_stream(Flavor::MariaDb118, Flavor::MariaDb118).await;
}
