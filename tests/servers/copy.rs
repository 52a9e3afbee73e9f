//! The full copy on real servers: dump, load and compare.

use std::path::Path;
use std::sync::Arc;

use tideway::config::{
    Address, Consistency, DumpConfig, LoadConfig, Mode, RelayConfig, RelayStart, ServerConfig,
    SourceConfig, SyncConfig, TargetConfig, TaskConfig, TlsConfig,
};
use tideway::dump_files::Manifest;
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
            purge_after: std::time::Duration::from_secs(3600),
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
        start: RelayStart::Auto,
        is_autostart: true,
        dump: DumpConfig {
            threads: 3,
            chunk_bytes: 256 << 10,
            consistency: Consistency::Auto,
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
    };
    match dump::run(job, Arc::new(dump::meter()), CancellationToken::new()).await? {
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
    };
    match load::run(job, Arc::new(load::meter()), CancellationToken::new()).await? {
        LoadOutcome::Complete(_) => Ok(()),
        LoadOutcome::Stopped => panic!("nobody stopped it"),
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

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_within_a_family_is_equal() {
    for (from, to) in [
        (Flavor::MariaDb1011, Flavor::MariaDb118),
        (Flavor::MySql97, Flavor::MySql97),
    ] {
        let (source, target) = copied(from, to).await;
        assert_equal(&source, &target, &[("shop", "shop")]);
    }
}
