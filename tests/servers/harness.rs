//! The tests' own foundation: a server comes up, survives a crash, and leaves nothing behind.

use crate::support::client::Client;
use crate::support::server::PASSWORD;
use crate::support::{Flavor, Server};

#[test]
fn each_flavor_starts_crashes_restarts_and_ends() {
    let mut servers = Server::start_all([Flavor::MariaDb1011, Flavor::MariaDb118, Flavor::MySql97]);
    for server in &mut servers {
        server.run(
            "CREATE DATABASE d; CREATE TABLE d.t (a INT PRIMARY KEY); INSERT INTO d.t VALUES (7)",
        );
        server.source_account(&["d"]);
        server.kill9();
        server.restart();
        let mut account = Client::tcp(server.port(), "tideway", PASSWORD).unwrap();
        assert_eq!(
            account.number("SELECT a FROM d.t"),
            7,
            "{:?}",
            server.flavor()
        );
        let version = account.value("SELECT VERSION()");
        assert_eq!(
            version.contains("MariaDB"),
            server.flavor().is_mariadb(),
            "{version}"
        );
        assert_eq!(account.value("SELECT @@binlog_format"), "ROW");
    }
    let folders = servers.each_ref().map(|server| server.data_folder());
    drop(servers);
    for folder in folders {
        assert!(!folder.exists(), "`{}` was left behind", folder.display());
    }
}
