//! An account less any one of the privileges that the checks have computed: the unit that needs it
//! fails, alone, says what for, and the statement it shows mends it; the stream then goes on.
//!
//! `TIDEWAY_REFUSALS` is how many of the pairs of a server and a privilege are tried on each pair of
//! servers (0: all of them), `TIDEWAY_SEED` which; `TIDEWAY_PRIVILEGE` names the only one to try.

use serde_json::Value;

use crate::support::{Flavor, Server, Task, Tideway, assert_equal};

const TABLES: &str = "CREATE DATABASE shop; \
    CREATE TABLE shop.parent (id INT PRIMARY KEY) ENGINE=InnoDB; \
    CREATE TABLE shop.child (id INT PRIMARY KEY, p INT, FOREIGN KEY (p) REFERENCES shop.parent (id)) ENGINE=InnoDB; \
    CREATE TABLE shop.t (id INT PRIMARY KEY, a VARCHAR(20)) ENGINE=InnoDB; \
    INSERT INTO shop.parent VALUES (1); INSERT INTO shop.child VALUES (1, 1); \
    INSERT INTO shop.t VALUES (1, 'one'), (2, 'two')";

/// Each needs another privilege of sync at the target.
const CHANGES: &str = "INSERT INTO shop.t VALUES (10, 'ten'); \
    UPDATE shop.t SET a = 'changed' WHERE id = 1; DELETE FROM shop.t WHERE id = 2; \
    CREATE TABLE shop.made (id INT PRIMARY KEY); ALTER TABLE shop.t ADD COLUMN b INT; \
    CREATE INDEX by_a ON shop.t (a); DROP TABLE shop.made";

/// A privilege on an object of a server, and the units that need it.
#[derive(Debug)]
struct Pair {
    is_source: bool,
    privilege: String,
    object: String,
    units: Vec<String>,
}

fn tideway(source: &Server, target: &Server) -> Tideway {
    let accepted = ["privileges", "tables"].map(|name| {
        format!("[[task.accept]]\nname = \"{name}\"\nreason = \"to see it refused\"\n")
    });
    let lines = format!(
        "[task.dump]\nconsistency = \"flush\"\n{}",
        accepted.concat()
    );
    Tideway::new()
        .source("a", source)
        .target("copy", target)
        .task(&Task::new("t", &["a"], "copy", &["shop.*"]).with(&lines))
}

/// What the checks have computed, each once.
fn computed(tideway: &Tideway) -> Vec<Pair> {
    let output = tideway.output(&["check", "--json"]);
    let report: Value = serde_json::from_slice(&output.stdout).expect("no JSON");
    let mut pairs: Vec<Pair> = Vec::new();
    for cell in report["privileges"].as_array().expect("a list") {
        if cell["state"] == "not-needed" || cell["streams"].as_array().is_none_or(Vec::is_empty) {
            continue;
        }
        assert_eq!(cell["state"], "have", "{cell}");
        let text = |name: &str| cell[name].as_str().expect("a text").to_owned();
        let is_source = text("server") == "source:a";
        let same = pairs.iter_mut().find(|pair| {
            pair.is_source == is_source
                && pair.privilege == cell["privilege"]
                && pair.object == cell["object"]
        });
        match same {
            Some(pair) => pair.units.push(text("unit")),
            None => pairs.push(Pair {
                is_source,
                privilege: text("privilege"),
                object: text("object"),
                units: vec![text("unit")],
            }),
        }
    }
    pairs
}

/// The statements that the unit in trouble shows, and which unit that is.
fn shown(status: &Value) -> Option<(String, Vec<String>)> {
    let stream = &status["streams"][0];
    let of_relay = &status["sources"][0]["error"];
    let (unit, error) = if stream["stage"] == "failed" {
        (stream["stop"]["unit"].as_str()?, &stream["stop"]["error"])
    } else if status["sources"][0]["stage"] == "failed" {
        ("relay", of_relay)
    } else {
        return None;
    };
    let refused = &error["refused"];
    let grants = refused["grants"].as_array()?.iter();
    let grants: Vec<String> = grants
        .filter_map(|g| Some(g.as_str()?.to_owned()))
        .collect();
    (!grants.is_empty() && refused["purpose"].is_string()).then(|| (unit.to_owned(), grants))
}

fn is_idle(status: &Value) -> bool {
    let stream = &status["streams"][0];
    stream["stage"] == "running" && stream["unit"] == "sync" && stream["idle"] == true
}

/// One pair: the server's account lacks it from before the start.
fn misses(source: &Server, target: &Server, pair: &Pair) {
    let what = format!("{pair:?}");
    println!("{what}");
    let server = if pair.is_source { source } else { target };
    server.run(&format!(
        "REVOKE {} ON {} FROM tideway@'%'",
        pair.privilege, pair.object
    ));
    let mut tideway = tideway(source, target);
    tideway.start();
    let reached = |status: &Value| shown(status).is_some() || is_idle(status);
    let mut status = tideway.await_status(&what, reached);
    let mut are_made = false;
    if shown(&status).is_none() {
        // It is wanted for changes alone.
        source.run(CHANGES);
        are_made = true;
        status = tideway.await_status(&what, |status| shown(status).is_some());
    }
    let (unit, grants) = shown(&status).expect("just seen");
    assert!(pair.units.contains(&unit), "{what}: {unit} fails: {status}");
    for grant in &grants {
        assert!(
            grant.contains(&pair.privilege) && grant.contains(&pair.object),
            "{what}: {grant}"
        );
        server.run(grant);
    }
    // A key press; whichever of the two it was.
    tideway.output(&["ctl", "retry", "--task", "t"]);
    tideway.output(&["ctl", "retry", "--relay", "--source", "a"]);
    tideway.await_status(&what, is_idle);
    if !are_made {
        source.run(CHANGES);
    }
    assert!(tideway.terminate().success(), "{what}: {}", tideway.story());
    tideway.catch_up();
    assert_equal(source, target, &[("shop", "shop")]);
    source.run("DROP TABLE shop.t; CREATE TABLE shop.t (id INT PRIMARY KEY, a VARCHAR(20)) ENGINE=InnoDB; INSERT INTO shop.t VALUES (1, 'one'), (2, 'two')");
    target.run("DROP DATABASE shop; DROP DATABASE tideway");
}

fn each_is_missed(from: Flavor, to: Flavor) {
    let number = |name: &str, usual: usize| -> usize {
        let given = std::env::var(name).ok();
        given.map_or(usual, |text| text.parse().expect("a number"))
    };
    let share = number("TIDEWAY_REFUSALS", 2);
    let seed = number("TIDEWAY_SEED", 20_261_123);
    println!("TIDEWAY_REFUSALS={share} TIDEWAY_SEED={seed}");
    let [source, target] = Server::start_all([from, to]);
    source.run(TABLES);
    source.source_account(&["shop"]);
    target.target_account(&["shop"]);
    let mut pairs = computed(&tideway(&source, &target));
    assert!(pairs.len() >= 14, "{pairs:#?}");
    if let Ok(only) = std::env::var("TIDEWAY_PRIVILEGE") {
        pairs.retain(|pair| pair.privilege == only);
    }
    if share > 0 {
        let at = seed % pairs.len();
        pairs.rotate_left(at);
        let step = pairs.len().div_ceil(share).max(1);
        pairs = pairs.into_iter().step_by(step).collect();
    }
    for pair in &pairs {
        misses(&source, &target, pair);
    }
    println!("{} pairs", pairs.len());
}

#[test]
fn each_is_missed_by_its_unit_on_mariadb() {
    each_is_missed(Flavor::MariaDb1011, Flavor::MariaDb118);
}

#[test]
fn each_is_missed_by_its_unit_on_mariadb_the_other_way() {
    each_is_missed(Flavor::MariaDb118, Flavor::MariaDb1011);
}

#[test]
fn each_is_missed_by_its_unit_on_mysql() {
    each_is_missed(Flavor::MySql97, Flavor::MySql97);
}
