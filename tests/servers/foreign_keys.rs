//! Parents and children: order, cascades that the source logs or does not, and checks that were off.

use crate::support::{Flavor, Server, Task, Tideway, assert_equal};

const FAMILY: &str = "CREATE DATABASE f; USE f; \
    CREATE TABLE parent (id INT PRIMARY KEY, name VARCHAR(20), UNIQUE KEY (name)) DEFAULT CHARSET=utf8mb4; \
    CREATE TABLE child (id INT PRIMARY KEY, parent INT, note VARCHAR(20), \
        CONSTRAINT by_id FOREIGN KEY (parent) REFERENCES parent (id) ON DELETE CASCADE ON UPDATE CASCADE) DEFAULT CHARSET=utf8mb4; \
    CREATE TABLE namesake (id INT PRIMARY KEY, name VARCHAR(20), \
        CONSTRAINT by_name FOREIGN KEY (name) REFERENCES parent (name) ON DELETE SET NULL ON UPDATE CASCADE) DEFAULT CHARSET=utf8mb4; \
    CREATE TABLE grandchild (id INT PRIMARY KEY, child INT NOT NULL, \
        FOREIGN KEY (child) REFERENCES child (id) ON DELETE CASCADE ON UPDATE CASCADE) DEFAULT CHARSET=utf8mb4; \
    CREATE TABLE strict_child (id INT PRIMARY KEY, parent INT NOT NULL, \
        FOREIGN KEY (parent) REFERENCES parent (id) ON UPDATE CASCADE) DEFAULT CHARSET=utf8mb4; \
    CREATE TABLE tree (id INT PRIMARY KEY, above INT, \
        FOREIGN KEY (above) REFERENCES tree (id) ON DELETE CASCADE) DEFAULT CHARSET=utf8mb4; \
    INSERT INTO parent VALUES (1, 'one'), (2, 'two'), (3, 'three'), (4, 'four'), (5, NULL); \
    INSERT INTO child VALUES (10, 1, 'a'), (11, 1, 'b'), (12, 2, 'c'), (13, 3, 'd'), (14, NULL, 'e'); \
    INSERT INTO namesake VALUES (10, 'two'), (11, NULL), (12, 'one'), (13, 'three'), (14, 'four'); \
    INSERT INTO grandchild VALUES (100, 10), (101, 11), (102, 12), (103, 13); \
    INSERT INTO strict_child VALUES (1, 4), (2, 5); \
    INSERT INTO tree VALUES (1, NULL), (2, 1), (3, 2), (4, 2), (5, NULL), (6, 5)";

/// Each statement a transaction of its own, in one batch with the others.
const CHANGES: [&str; 12] = [
    "UPDATE parent SET id = 20 WHERE id = 2",
    "UPDATE parent SET name = 'TWO' WHERE id = 20",
    "INSERT INTO parent VALUES (6, 'six')",
    "INSERT INTO child VALUES (15, 6, 'f'), (16, 6, 'g'); INSERT INTO namesake VALUES (15, 'six'), (16, 'one')",
    "DELETE FROM parent WHERE id = 1",
    "UPDATE child SET id = 113 WHERE id = 13",
    "BEGIN; DELETE FROM strict_child WHERE id = 1; DELETE FROM parent WHERE id = 4; COMMIT",
    "SET foreign_key_checks = 0; INSERT INTO strict_child VALUES (9, 999); DELETE FROM parent WHERE id = 3; \
     UPDATE parent SET id = 66 WHERE id = 6; SET foreign_key_checks = 1",
    "INSERT INTO child VALUES (17, 20, 'h')",
    "DELETE FROM tree WHERE id = 2",
    "DELETE FROM tree WHERE id IN (6, 5)",
    "SET foreign_key_checks = 0; INSERT INTO parent VALUES (999, 'late'); SET foreign_key_checks = 1; DELETE FROM strict_child WHERE id = 9",
];

fn start(source: &Server, target: &Server) -> Tideway {
    source.source_account(&["f"]);
    target.target_account(&["f"]);
    let mut tideway = Tideway::new()
        .source("a", source)
        .target("copy", target)
        .task(&Task::new("t", &["a"], "copy", &["f.*"]));
    tideway.start();
    tideway.await_streams("sync", "running");
    tideway
}

fn families_stay_together(from: Flavor, to: Flavor) {
    let [source, target] = Server::start_all([from, to]);
    source.run(FAMILY);
    let mut tideway = start(&source, &target);
    // All of it is there at once, so that statements could share a batch.
    tideway.ctl(&["pause", "--task", "t", "--source", "a"]);
    tideway.await_stream("t", "a", "paused");
    let mut client = source.client();
    client.run("USE f");
    for change in CHANGES {
        client.run(change);
    }
    tideway.ctl(&["resume", "--task", "t", "--source", "a"]);
    tideway.await_stream("t", "a", "running");
    assert!(tideway.terminate().success(), "{}", tideway.story());
    tideway.catch_up();
    assert_equal(&source, &target, &[("f", "f")]);
}

#[test]
fn cascades_that_mariadb_does_not_log_happen_on_the_target() {
    families_stay_together(Flavor::MariaDb1011, Flavor::MariaDb1011);
    families_stay_together(Flavor::MariaDb1011, Flavor::MySql97);
}

#[test]
fn cascades_that_mysql_logs_happen_once() {
    families_stay_together(Flavor::MySql97, Flavor::MariaDb1011);
    families_stay_together(Flavor::MySql97, Flavor::MySql97);
}

/// Nobody would do what the source's foreign key did, or the target would do more than the source: the
/// stream stops before, and other changes go on.
#[test]
fn a_foreign_key_that_one_side_lacks_stops_what_sets_it_in_motion() {
    let [source, target] = Server::start_all([Flavor::MariaDb1011, Flavor::MariaDb1011]);
    source.run(FAMILY);
    let mut tideway = start(&source, &target);
    target.run("ALTER TABLE f.namesake DROP FOREIGN KEY by_name; \
        ALTER TABLE f.strict_child DROP FOREIGN KEY strict_child_ibfk_1; \
        ALTER TABLE f.strict_child ADD FOREIGN KEY (parent) REFERENCES f.parent (id) ON DELETE CASCADE ON UPDATE CASCADE");
    tideway.kill9();
    tideway.start();
    source.run("INSERT INTO f.parent VALUES (7, 'seven'); UPDATE f.parent SET id = 8 WHERE id = 7 AND name = 'x'; \
        UPDATE f.child SET note = 'still' WHERE id = 10; DELETE FROM f.parent WHERE id = 7");
    let stopped = tideway.await_stream("t", "a", "failed");
    let error = stopped["stop"]["error"].clone();
    let (message, fix) = (
        error["message"].as_str().unwrap_or_default(),
        error["fix"].as_str().unwrap_or_default(),
    );
    assert!(
        message.contains("whose work the source does not log")
            || message.contains("that the source has not"),
        "{stopped}"
    );
    assert_eq!(
        target
            .client()
            .value("SELECT note FROM f.child WHERE id = 10"),
        "still"
    );
    assert_eq!(
        target
            .client()
            .number("SELECT COUNT(*) FROM f.parent WHERE id = 7"),
        1
    );
    // What the message says mends it, one after the other.
    let (mut mended, mut fixes) = (0, vec![fix.to_owned()]);
    while let Some(fix) = fixes.pop() {
        mended += 1;
        assert!(mended < 5, "{fix}");
        match fix.split('`').next().filter(|_| fix.starts_with('`')) {
            Some(_) => {
                let statement = fix.trim_start_matches('`');
                let end = statement
                    .find("` on the target")
                    .expect("the fix is a statement");
                target.run(&statement[..end]);
            }
            None => target.run("ALTER TABLE f.strict_child DROP FOREIGN KEY strict_child_ibfk_1"),
        }
        tideway.kill9();
        tideway.start();
        let status = tideway.await_status("it stands or goes on", |status| {
            let stream = &status["streams"][0];
            stream["stage"] == "failed" || stream["idle"] == true
        });
        if let Some(fix) = status["streams"][0]["stop"]["error"]["fix"].as_str() {
            fixes.push(fix.to_owned());
        }
    }
    assert!(mended >= 2, "{mended} foreign keys were mended");
    target.run("SET foreign_key_checks = 0; ALTER TABLE f.strict_child ADD FOREIGN KEY (parent) REFERENCES f.parent (id) ON UPDATE CASCADE");
    assert!(tideway.terminate().success(), "{}", tideway.story());
    tideway.catch_up();
    assert_equal(&source, &target, &[("f", "f")]);
}
