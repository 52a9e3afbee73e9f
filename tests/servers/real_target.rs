//! The whole job into a target that is not ours: `tests/run --target HOST:PORT`, a TiDB or any other.
//!
//! `TIDEWAY_TARGET` has its address, `TIDEWAY_TARGET_USER` (else `root`) and `TIDEWAY_TARGET_PASSWORD`
//! the account. Without an address a private MySQL takes its place, so that the test always runs. It
//! makes schemas of its own there, and drops them at the end.

use crate::support::fixture::create_shop;
use crate::support::server::PASSWORD;
use crate::support::{Client, Flavor, Server, Task, Tideway, Traffic};

struct Target {
    host: String,
    port: u16,
    user: String,
    password: String,
    _server: Option<Server>,
}

impl Target {
    fn find(schemas: &[&str]) -> Self {
        let setting = |name: &str| std::env::var(name).ok().filter(|text| !text.is_empty());
        let Some(address) = setting("TIDEWAY_TARGET") else {
            let server = Server::start(Flavor::MySql97);
            let grants: Vec<(&str, String)> = schemas
                .iter()
                .map(|schema| ("ALL", format!("`{}`.*", schema.replace('_', "\\_"))))
                .collect();
            let grants: Vec<(&str, &str)> = grants
                .iter()
                .map(|(what, on)| (*what, on.as_str()))
                .collect();
            server.account("tideway", &grants);
            return Self {
                host: "127.0.0.1".into(),
                port: server.port(),
                user: "tideway".into(),
                password: PASSWORD.into(),
                _server: Some(server),
            };
        };
        let (host, port) = address.rsplit_once(':').expect("HOST:PORT");
        Self {
            host: host.to_owned(),
            port: port.parse().expect("a port"),
            user: setting("TIDEWAY_TARGET_USER").unwrap_or_else(|| "root".into()),
            password: setting("TIDEWAY_TARGET_PASSWORD").unwrap_or_default(),
            _server: None,
        }
    }

    fn client(&self) -> Client {
        Client::at(&self.host, self.port, &self.user, &self.password)
            .unwrap_or_else(|error| panic!("cannot log in to {}: {error}", self.host))
    }

    fn config(&self, folder: &std::path::Path) -> String {
        let secret = folder.join("target-password");
        std::fs::write(&secret, &self.password).expect("cannot write the password");
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(&secret, mode).expect("cannot chmod");
        format!(
            "[[target]]\nname = \"there\"\nhost = \"{}\"\nport = {}\nuser = \"{}\"\npassword_file = \"target-password\"\n",
            self.host, self.port, self.user
        )
    }
}

/// Dump, load, sync with changes of structure, a crash, and every row compared by the program itself.
#[test]
fn the_whole_job_into_the_target_given() {
    let number = std::process::id();
    let (shop, meta) = (
        format!("tideway_test_{number}"),
        format!("tideway_meta_{number}"),
    );
    let source = Server::start(Flavor::MariaDb1011);
    create_shop(&mut source.client(), "shop", 1500, 1000);
    source.source_account(&["shop"]);
    let target = Target::find(&[&shop, &meta]);
    let mut there = target.client();
    let tideway = Tideway::new().with(&format!("meta_schema = \"{meta}\""));
    let config = target.config(tideway.folder());
    let mut tideway = tideway
        .source("a", &source)
        .with(&config)
        // TiDB has no spatial types.
        .task(
            &Task::new("shop", &["a"], "there", &["shop.*", "!shop.kinds"])
                .route("shop.*", &format!("{shop}.*")),
        );
    let traffic = Traffic::start_with_ddl(&source, "shop", 1000, 81);
    tideway.start();
    tideway.await_streams("sync", "running");
    traffic.await_structures(3);
    tideway.kill9();
    traffic.await_more(40);
    tideway.start();
    tideway.await_streams("sync", "running");
    traffic.stop();
    assert!(tideway.terminate().success(), "{}", tideway.story());
    tideway.catch_up();
    let compared = tideway.output(&["compare", "--json"]);
    assert!(
        compared.status.success(),
        "{}{}",
        String::from_utf8_lossy(&compared.stdout),
        String::from_utf8_lossy(&compared.stderr)
    );
    let rows = there.number(&format!("SELECT COUNT(*) FROM {shop}.order_line"));
    assert_eq!(
        rows,
        source
            .client()
            .number("SELECT COUNT(*) FROM shop.order_line")
    );
    println!(
        "{} rows of order_line in {} ({})",
        rows,
        target.host,
        there.value("SELECT VERSION()")
    );
    there.run(&format!("DROP DATABASE {shop}; DROP DATABASE {meta}"));
}
