//! What users' tables do to a stream, each in a schema and a task of its own: the cases of
//! `tests/fixtures/sync_odd.sql`, on every pair of servers. A case ends with equal rows on both sides, or
//! in the stop that it names; the others go on beside it.

use std::collections::BTreeMap;

use crate::support::compare::differences;
use crate::support::tideway::streams;
use crate::support::{Flavor, Server, ServerSpec, Task, Tideway};

const CASES: &str = include_str!("../fixtures/sync_odd.sql");

/// One case, which is a schema of its name.
struct Case {
    name: String,
    /// Words that say where it is tried: `from=mariadb`, `to=mysql`, `families=two`.
    only: Vec<(String, String)>,
    /// What the stream must stop with.
    stops: Option<String>,
    /// The same, where source and target are of two families.
    stops_between: Option<String>,
    /// Before the worker starts.
    before: Vec<String>,
    /// On the target, once the stream is in sync.
    there: Vec<String>,
    /// At the source, once the stream is in sync.
    changes: Vec<String>,
}

/// `== name from=… to=…`, then `stops: text`, or `stops other: text` if it does so only between servers of
/// two families; statements, one a line, in three parts: what is there before, behind `-- there` what is done on the target, behind `--` the changes.
fn cases() -> Vec<Case> {
    let text = std::env::var("TIDEWAY_ODD_CASES").map_or_else(
        |_| CASES.to_owned(),
        |path| std::fs::read_to_string(path).expect("the cases can be read"),
    );
    let mut cases: Vec<Case> = Vec::new();
    let mut part = 0;
    for line in text.lines() {
        if let Some(head) = line.strip_prefix("== ") {
            let mut words = head.split_whitespace();
            cases.push(Case {
                name: words.next().expect("a case has a name").to_owned(),
                only: words
                    .filter_map(|word| word.split_once('='))
                    .map(|(key, value)| (key.to_owned(), value.to_owned()))
                    .collect(),
                stops: None,
                stops_between: None,
                before: Vec::new(),
                there: Vec::new(),
                changes: Vec::new(),
            });
            part = 0;
            continue;
        }
        let Some(case) = cases.last_mut() else {
            continue;
        };
        if line.is_empty() || line.starts_with("# ") {
            continue;
        }
        if let Some(told) = line.strip_prefix("stops: ") {
            case.stops = Some(told.to_owned());
            continue;
        }
        if let Some(told) = line.strip_prefix("stops other: ") {
            case.stops_between = Some(told.to_owned());
            continue;
        }
        match (line, part) {
            ("-- there", _) => part = 1,
            ("--", _) => part = 2,
            (_, 0) => case.before.push(line.to_owned()),
            (_, 1) => case.there.push(line.to_owned()),
            _ => case.changes.push(line.to_owned()),
        }
    }
    cases
}

fn family(flavor: Flavor) -> &'static str {
    if flavor.is_mariadb() {
        "mariadb"
    } else {
        "mysql"
    }
}

impl Case {
    fn is_for(&self, from: Flavor, to: Flavor) -> bool {
        self.only.iter().all(|(key, value)| {
            if key == "families" {
                return (value == "two") == (family(from) != family(to));
            }
            let (family, name) = match key.as_str() {
                "from" => (family(from), from.name()),
                _ => (family(to), to.name()),
            };
            value == family || value == name
        })
    }

    /// What its stream must stop with.
    fn stop(&self, from: Flavor, to: Flavor) -> Option<&str> {
        let between = self.stops_between.as_deref();
        between
            .filter(|_| family(from) != family(to))
            .or(self.stops.as_deref())
    }
}

/// `is_routed`: on the target the schemas have other names.
fn odd(from: Flavor, to: Flavor, is_routed: bool) {
    let only = std::env::var("TIDEWAY_ODD_ONLY").unwrap_or_default();
    let cases: Vec<Case> = cases()
        .into_iter()
        .filter(|case| case.is_for(from, to))
        .filter(|case| only.is_empty() || only.split(',').any(|name| name == case.name))
        .collect();
    assert!(!cases.is_empty());
    let [source, target] = Server::start_all([
        ServerSpec::new(from).option("--log-bin-trust-function-creators=1"),
        ServerSpec::new(to),
    ]);
    let there = |name: &str| {
        if is_routed {
            format!("{name} there")
        } else {
            name.to_owned()
        }
    };
    let names: Vec<&str> = cases.iter().map(|case| case.name.as_str()).collect();
    source.source_account(&names);
    let theirs: Vec<String> = names.iter().map(|name| there(name)).collect();
    target.target_account(&theirs.iter().map(String::as_str).collect::<Vec<_>>());
    let mut tideway = Tideway::new().source("a", &source).target("copy", &target);
    let mut faults: Vec<String> = Vec::new();
    for case in &cases {
        let name = &case.name;
        let mut client = source.client();
        client.run(&format!(
            "CREATE DATABASE {name} CHARACTER SET utf8mb4; USE {name}; CREATE TABLE first (a INT PRIMARY KEY)"
        ));
        for sql in &case.before {
            if let Err(error) = client.try_run(sql) {
                faults.push(format!("{name}: the source refuses `{sql}`: {error}"));
            }
        }
        let tables = [format!("{name}.*"), format!("!{name}.outside*")];
        let mut task = Task::new(name, &["a"], "copy", &[&tables[0], &tables[1]]);
        if is_routed {
            task = task.route(&tables[0], &format!("`{}`.*", there(name)));
        }
        tideway = tideway.task(&task);
    }
    tideway.start();
    tideway.await_streams("sync", "running");
    for case in &cases {
        if !case.there.is_empty() {
            let mut client = target.client();
            client.run(&format!("USE `{}`", there(&case.name)));
            for sql in &case.there {
                client.run(sql);
            }
        }
        let mut client = source.client();
        client.run(&format!("USE {}", case.name));
        for sql in &case.changes {
            if let Err(error) = client.try_run(sql) {
                faults.push(format!(
                    "{}: the source refuses `{sql}`: {error}",
                    case.name
                ));
            }
        }
        // The last change of each: what is before it is applied, or has stopped the stream.
        client.run(&format!("INSERT INTO {}.first VALUES (77)", case.name));
    }
    let stops = tideway.await_status("each is applied, or stands", |status| {
        streams(status)
            .iter()
            .all(|stream| stream["stage"] == "failed" || stream["idle"] == true)
    });
    let stops: BTreeMap<String, String> = streams(&stops)
        .iter()
        .filter(|stream| stream["stage"] == "failed")
        .map(|stream| {
            let task = stream["task"].as_str().unwrap_or_default().to_owned();
            let stop = &stream["stop"];
            (task, format!("{} {}", stop["error"], stop["statement"]))
        })
        .collect();
    // Its exit tells of the streams that stand.
    let _ = tideway.terminate();
    for case in &cases {
        let name = case.name.as_str();
        match (case.stop(from, to), stops.get(name)) {
            (None, None) => {
                let found = differences(&source, &target, &[(name, &there(name))]);
                faults.extend(found.into_iter().map(|found| format!("{name}: {found}")));
            }
            (None, Some(stop)) => faults.push(format!("{name} stopped: {stop:.700}")),
            (Some(told), None) => faults.push(format!("{name} did not stop with `{told}`")),
            (Some(told), Some(stop)) if !stop.contains(told) => {
                faults.push(format!("{name}: `{told}` is not in {stop}"));
            }
            (Some(_), Some(_)) => {}
        }
    }
    assert!(
        faults.is_empty(),
        "{from:?} to {to:?}:\n{}",
        faults.join("\n")
    );
}

#[test]
fn odd_cases_from_mysql_to_itself() {
    odd(Flavor::MySql97, Flavor::MySql97, false);
}

#[test]
fn odd_cases_from_mysql_to_mariadb() {
    odd(Flavor::MySql97, Flavor::MariaDb1011, true);
}

#[test]
fn odd_cases_from_mariadb_to_mysql() {
    odd(Flavor::MariaDb118, Flavor::MySql97, true);
}

#[test]
fn odd_cases_from_mariadb_to_itself() {
    odd(Flavor::MariaDb1011, Flavor::MariaDb118, false);
}
