//! Triggers, routines and events: listed as left out, or taken where the task asks for them.

use std::time::Duration;

use crate::support::compare::assert_equal;
use crate::support::{Flavor, Server, Task, Tideway};

fn copy(source: &Server, target: &Server, lines: &str) -> Tideway {
    Tideway::new().source("s", source).target("t", target).task(
        &Task::new("copy", &["s"], "t", &["shop.*", "!shop.audit"])
            .with(&format!("mode = \"full\"\n{lines}")),
    )
}

fn ends(tideway: &mut Tideway) -> String {
    tideway.start();
    let status = tideway.wait(Duration::from_mins(2));
    assert!(status.success(), "{}", tideway.story());
    tideway.log()
}

fn fill(source: &Server) {
    let mut client = source.client();
    client.run(
        "CREATE DATABASE shop CHARACTER SET utf8mb4; USE shop; \
         CREATE TABLE t (id INT PRIMARY KEY, n INT); CREATE TABLE seen (id INT PRIMARY KEY); \
         CREATE TABLE audit (id INT PRIMARY KEY); INSERT INTO t VALUES (1, 5), (2, 6)",
    );
    // Each in a packet of its own: they hold semicolons. The modes and quotes must be kept with them.
    for program in [
        "CREATE TRIGGER t_in AFTER INSERT ON t FOR EACH ROW BEGIN\n  INSERT INTO seen VALUES (NEW.id);\nEND",
        "CREATE TRIGGER audit_in AFTER INSERT ON audit FOR EACH ROW SET @a = 1",
        "CREATE FUNCTION greet(n INT) RETURNS VARCHAR(40) CHARSET utf8mb4 DETERMINISTIC\n\
         RETURN CONCAT('it''s \u{4e2d}: ', n)",
        "CREATE EVENT later ON SCHEDULE AT '2037-01-01 00:00:00' DO DELETE FROM seen",
    ] {
        client.run(program);
    }
    client.run("SET SESSION sql_mode = 'ANSI_QUOTES'");
    client.run("CREATE PROCEDURE \"add\"(IN n INT) BEGIN\n  INSERT INTO \"t\" VALUES (n, n);\nEND");
}

/// What is taken is the same on the target, and none of it did anything while rows came in.
fn taken(flavor: Flavor) {
    let [source, target] = Server::start_all([flavor, flavor]);
    fill(&source);
    source.account("tideway", &[("ALL", "*.*")]);
    target.account("tideway", &[("ALL", "*.*")]);
    let asked = "[task.dump]\nprograms = [\"triggers\", \"routines\", \"events\"]";
    let notes = ends(&mut copy(&source, &target, asked));
    assert!(
        notes.contains("1 triggers, 2 routines, 1 events"),
        "{notes}"
    );
    assert!(!notes.contains("are not copied"), "{notes}");
    // The trigger did not fire for rows that came in: `seen` is as it is on the source.
    target.run("CREATE TABLE shop.audit (id INT PRIMARY KEY)");
    assert_equal(&source, &target, &[("shop", "shop")]);
    let modes = "SELECT ROUTINE_NAME, SQL_MODE, ROUTINE_DEFINITION FROM information_schema.ROUTINES \
                 WHERE ROUTINE_SCHEMA = 'shop' ORDER BY 1";
    let events = "SELECT EVENT_NAME, SQL_MODE, TIME_ZONE, EXECUTE_AT, EVENT_DEFINITION, STATUS \
                  FROM information_schema.EVENTS WHERE EVENT_SCHEMA = 'shop'";
    let triggers = "SELECT TRIGGER_NAME, SQL_MODE, ACTION_STATEMENT, ACTION_TIMING \
                    FROM information_schema.TRIGGERS \
                    WHERE TRIGGER_SCHEMA = 'shop' AND TRIGGER_NAME <> 'audit_in'";
    for list in [modes, events, triggers] {
        let there = target.client().texts(list);
        assert!(!there.is_empty(), "{list}");
        assert_eq!(source.client().texts(list), there, "{list}");
    }
    // They work: the procedure by the mode it was written in, the trigger upon it.
    let mut client = target.client();
    client.run("USE shop; CALL shop.`add`(7)");
    assert_eq!(client.texts("SELECT id FROM shop.seen"), [["7"]]);
    assert_eq!(
        client.value("SELECT shop.greet(3)"),
        "it's \u{4e2d}: 3",
        "the literal keeps its text"
    );
}

#[test]
fn programs_are_taken_where_asked_for_from_mariadb() {
    taken(Flavor::MariaDb1011);
}

#[test]
fn programs_are_taken_where_asked_for_from_mysql() {
    taken(Flavor::MySql97);
}

/// Without being asked for they are listed; routed, what names tables cannot follow and is told; what
/// is there already stays.
#[test]
fn programs_that_are_not_taken_are_told() {
    let [source, target] = Server::start_all([Flavor::MariaDb1011, Flavor::MariaDb1011]);
    fill(&source);
    source.account("tideway", &[("ALL", "*.*")]);
    target.account("tideway", &[("ALL", "*.*")]);
    let notes = ends(&mut copy(&source, &target, ""));
    for left_out in [
        "left out: triggers shop.audit_in, shop.t_in",
        "left out: routines shop.add, shop.greet",
        "left out: events shop.later",
    ] {
        assert!(notes.contains(left_out), "`{left_out}` in {notes}");
    }
    target.run("DROP DATABASE shop; DROP DATABASE tideway; CREATE DATABASE shop");
    target.run("CREATE FUNCTION shop.greet() RETURNS INT DETERMINISTIC RETURN 1");
    let asked = "[task.dump]\nprograms = [\"triggers\", \"routines\"]";
    let notes = ends(&mut copy(&source, &target, asked));
    for told in [
        "the function shop.greet is on the target already",
        "left out: events shop.later",
    ] {
        assert!(notes.contains(told), "`{told}` in {notes}");
    }
    assert_eq!(target.client().number("SELECT shop.greet()"), 1);
    target.run("DROP DATABASE shop; DROP DATABASE tideway");
    let mut routed = Tideway::new()
        .source("s", &source)
        .target("t", &target)
        .task(
            &Task::new("copy", &["s"], "t", &["shop.*"])
                .with(&format!("mode = \"full\"\n{asked}"))
                .route("shop.*", "other.*"),
        );
    let notes = ends(&mut routed);
    assert!(
        notes.contains("left out: the trigger shop.t_in: its text names tables as the source does"),
        "{notes}"
    );
    assert_eq!(
        target.client().number("SELECT COUNT(*) FROM other.t"),
        2,
        "the tables are there all the same"
    );
}
