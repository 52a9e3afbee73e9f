//! The tests' own foundation: a server comes up, survives a crash, and leaves nothing behind.

use std::time::Duration;

use crate::support::client::Client;
use crate::support::compare::differences;
use crate::support::fixture::create_shop;
use crate::support::server::PASSWORD;
use crate::support::{Flavor, Proxy, Server, Traffic, assert_equal};

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
    let folders = servers.each_ref().map(Server::data_folder);
    drop(servers);
    for folder in folders {
        assert!(!folder.exists(), "`{}` was left behind", folder.display());
    }
}

#[test]
fn the_shop_takes_its_traffic_on_each_flavor() {
    let servers = Server::start_all([Flavor::MariaDb1011, Flavor::MariaDb118, Flavor::MySql97]);
    for server in &servers {
        create_shop(&mut server.client(), "shop", 500, 1000);
        let before = server
            .client()
            .number("SELECT COUNT(*) FROM shop.order_line");
        let traffic = Traffic::start_with_ddl(server, "shop", 1000, 42);
        traffic.await_structures(5);
        assert!(traffic.stop() > 500);
        let mut client = server.client();
        assert_ne!(
            client.number("SELECT COUNT(*) FROM shop.order_line"),
            before
        );
        assert!(client.number("SELECT COUNT(*) FROM shop.extra2") > 0);
        assert_equal(server, server, &[("shop", "shop")]);
    }
}

#[test]
fn the_comparison_sees_what_differs_in_either_direction() {
    let [left, right] = Server::start_all([Flavor::MariaDb1011, Flavor::MySql97]);
    for server in [&left, &right] {
        create_shop(&mut server.client(), "shop", 100, 1);
        // What differs by itself: the moments of the insert, and a MariaDB that knows no collation.
        server.run("UPDATE shop.customer SET created = '2024-01-01 00:00:00', changed = NULL");
    }
    let compared = || differences(&left, &right, &[("shop", "shop")]);
    assert_eq!(compared(), Vec::<String>::new());
    for (change, back) in [
        (
            "DELETE FROM shop.visit LIMIT 1",
            "INSERT INTO shop.visit SELECT * FROM (SELECT * FROM shop.visit LIMIT 0) v",
        ),
        (
            "UPDATE shop.kinds SET f = 0.10000001 WHERE f = CAST(0.1 AS FLOAT)",
            "",
        ),
        ("UPDATE shop.kinds SET j = '{}' WHERE id = 1", ""),
        ("CREATE TABLE shop.more (a INT)", "DROP TABLE shop.more"),
        (
            "ALTER TABLE shop.stock ADD COLUMN z INT",
            "ALTER TABLE shop.stock DROP COLUMN z",
        ),
    ] {
        let before = compared();
        right.run(change);
        assert_ne!(compared(), before, "not seen: {change}");
        if !back.is_empty() {
            right.run(back);
        }
    }
}

#[test]
fn the_proxy_cuts_stalls_and_garbles() {
    use std::io::{Read as _, Write as _};
    use std::net::{TcpListener, TcpStream};

    let echo = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let proxy = Proxy::to(echo.local_addr().unwrap().port());
    std::thread::spawn(move || {
        for stream in echo.incoming().flatten() {
            std::thread::spawn(move || {
                let _ = std::io::copy(&mut &stream, &mut &stream);
            });
        }
    });
    let mut client = TcpStream::connect(("127.0.0.1", proxy.port())).unwrap();
    let mut received = [0; 5];
    let mut ask = |client: &mut TcpStream, bytes: &[u8; 5]| {
        client.write_all(bytes).unwrap();
        client.read_exact(&mut received).map(|()| received)
    };
    // As COM_BINLOG_DUMP begins.
    let command = b"\x01\0\0\0\x12";
    assert_eq!(ask(&mut client, command).unwrap(), *command);
    assert_eq!(proxy.streams(), 1);
    proxy.garble_stream_after(2, 1);
    assert_eq!(ask(&mut client, b"abcde").unwrap(), *b"ab\xc6de");
    proxy.delay(Duration::from_millis(60));
    let begun = std::time::Instant::now();
    assert_eq!(ask(&mut client, b"abcde").unwrap(), *b"abcde");
    assert!(begun.elapsed() >= Duration::from_millis(120));
    proxy.stall(true);
    client
        .set_read_timeout(Some(Duration::from_millis(300)))
        .unwrap();
    assert!(ask(&mut client, b"fghij").is_err());
    proxy.stall(false);
    client.set_read_timeout(None).unwrap();
    client.read_exact(&mut received).unwrap();
    assert_eq!(received, *b"fghij");
    proxy.cut_stream_after(3);
    let mut rest = Vec::new();
    client.write_all(b"klmno").unwrap();
    let _ = client.read_to_end(&mut rest);
    assert_eq!(rest, b"klm");
}
