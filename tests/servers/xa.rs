//! XA transactions: what is prepared waits for its end, over restarts and kills.

use std::time::Duration;

use crate::support::{Client, Flavor, Server, Task, Tideway, assert_equal};

const TABLES: &str = "CREATE DATABASE d; CREATE DATABASE other; \
    CREATE TABLE d.t (a INT PRIMARY KEY, b VARCHAR(40)) DEFAULT CHARSET=utf8mb4; \
    CREATE TABLE d.heap (n INT, t VARCHAR(40)) DEFAULT CHARSET=utf8mb4; \
    CREATE TABLE other.t (a INT PRIMARY KEY); INSERT INTO d.t VALUES (1, 'one')";

/// Prepares a transaction and leaves the connection, as a coordinator that crashed does.
fn prepare(server: &Server, name: &str, changes: &str) {
    let mut client = server.client();
    client.run(&format!(
        "XA START {name}; {changes}; XA END {name}; XA PREPARE {name}"
    ));
    drop(client);
    // The server hands the transaction over to whoever ends it once it has noticed.
    std::thread::sleep(Duration::from_millis(100));
}

fn end(client: &mut Client, verb: &str, name: &str) {
    for _ in 0..100 {
        if client.try_run(&format!("XA {verb} {name}")).is_ok() {
            return;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("XA {verb} {name} is refused");
}

fn prepared_waits_for_its_end(from: Flavor, to: Flavor) {
    let [source, target] = Server::start_all([from, to]);
    source.run(TABLES);
    source.source_account(&["d"]);
    target.target_account(&["d"]);
    let mut tideway = Tideway::new()
        .source("a", &source)
        .target("copy", &target)
        .task(&Task::new("t", &["a"], "copy", &["d.*"]));
    tideway.start();
    tideway.await_streams("sync", "running");
    let mut client = source.client();
    let mut there = target.client();

    // In one phase it is a transaction like any other.
    client.run("XA START 'one'; INSERT INTO d.t VALUES (2, 'one phase'); XA END 'one'; XA COMMIT 'one' ONE PHASE");
    prepare(
        &source,
        "'x','branch',7",
        "INSERT INTO d.t VALUES (3, 'prepared'); INSERT INTO d.heap VALUES (1, 'p'), (1, 'p')",
    );
    prepare(&source, "'back'", "INSERT INTO d.t VALUES (4, 'never')");
    prepare(&source, "'foreign'", "INSERT INTO other.t VALUES (1)");
    client.run("INSERT INTO d.t VALUES (5, 'after')");
    await_value(
        &mut tideway,
        &mut there,
        "SELECT GROUP_CONCAT(a ORDER BY a) FROM d.t",
        "1,2,5",
    );

    // A crash, a clean restart, and files of the binlog that only the prepared one still needs.
    tideway.kill9();
    client.run("FLUSH BINARY LOGS; INSERT INTO d.t VALUES (6, 'more'); FLUSH BINARY LOGS");
    tideway.start();
    await_value(
        &mut tideway,
        &mut there,
        "SELECT COUNT(*) FROM d.t WHERE a = 6",
        "1",
    );
    assert_eq!(
        there.value("SELECT prepared LIKE '%\"d\"%' FROM tideway.checkpoint WHERE slot = 0"),
        "1",
        "the checkpoint names what is prepared"
    );
    // The relay keeps what is prepared, however old it is.
    let purge = ["relay", "purge", "--source", "a", "--older-than", "0s"];
    let told = String::from_utf8_lossy(&tideway.output(&purge).stderr).into_owned();
    assert!(told.contains("`t` on `a`"), "{told}");
    assert!(tideway.terminate().success(), "{}", tideway.story());
    end(&mut client, "COMMIT", "'foreign'");
    end(&mut client, "ROLLBACK", "'back'");
    end(&mut client, "COMMIT", "'x','branch',7");
    client.run("UPDATE d.t SET b = CONCAT(b, '!') WHERE a = 3");
    tideway.start();
    await_value(
        &mut tideway,
        &mut there,
        "SELECT b FROM d.t WHERE a = 3",
        "prepared!",
    );
    assert!(tideway.terminate().success(), "{}", tideway.story());
    tideway.catch_up();
    assert_equal(&source, &target, &[("d", "d")]);
    assert_eq!(
        there.value("SELECT COALESCE(prepared, 'none') FROM tideway.checkpoint WHERE slot = 0"),
        "none"
    );

    // Killed again and again while prepared ones come and go.
    for round in 0..4 {
        tideway.start();
        prepare(
            &source,
            &format!("'r{round}'"),
            &format!(
                "INSERT INTO d.heap VALUES ({round}, 'h'), ({round}, 'h'); UPDATE d.t SET b = 'r{round}' WHERE a = 1"
            ),
        );
        std::thread::sleep(Duration::from_millis(150 * round));
        tideway.kill9();
        end(
            &mut client,
            if round % 3 == 2 { "ROLLBACK" } else { "COMMIT" },
            &format!("'r{round}'"),
        );
    }
    tideway.catch_up();
    assert_equal(&source, &target, &[("d", "d")]);
}

fn await_value(tideway: &mut Tideway, client: &mut Client, sql: &str, value: &str) {
    for _ in 0..600 {
        if client.value(sql) == value {
            return;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!(
        "`{sql}` stays {}, not {value}\n{}",
        client.value(sql),
        tideway.story()
    );
}

#[test]
fn prepared_waits_for_its_end_from_mysql() {
    prepared_waits_for_its_end(Flavor::MySql97, Flavor::MariaDb1011);
}

#[test]
fn prepared_waits_for_its_end_from_mariadb() {
    prepared_waits_for_its_end(Flavor::MariaDb1011, Flavor::MySql97);
}

/// Whoever begins behind the XA PREPARE cannot know what it changed.
#[test]
fn an_unknown_xa_commit_stops() {
    let [source, target] = Server::start_all([Flavor::MySql97, Flavor::MySql97]);
    source.run(TABLES);
    prepare(&source, "'before'", "INSERT INTO d.t VALUES (3, 'before')");
    source.source_account(&["d"]);
    target.target_account(&["d"]);
    target.run("CREATE DATABASE d; CREATE TABLE d.t (a INT PRIMARY KEY, b VARCHAR(40)) DEFAULT CHARSET=utf8mb4; \
                CREATE TABLE d.heap (n INT, t VARCHAR(40)) DEFAULT CHARSET=utf8mb4; INSERT INTO d.t VALUES (1, 'one')");
    source.run("FLUSH BINARY LOGS");
    let mut tideway = Tideway::new()
        .source("a", &source)
        .target("copy", &target)
        .task(
            &Task::new("t", &["a"], "copy", &["d.*"])
                .with("mode = \"incremental\"\nstart = \"now\""),
        );
    tideway.start();
    tideway.await_status("the stream has a place", |status| {
        status["streams"][0]["position"]["offset"].is_u64()
    });
    let mut client = source.client();
    end(&mut client, "COMMIT", "'before'");
    let stopped = tideway.await_stream("t", "a", "failed");
    let message = stopped["stop"]["error"]["message"]
        .as_str()
        .unwrap_or_default();
    assert!(message.contains("whose changes were not seen"), "{stopped}");
}
