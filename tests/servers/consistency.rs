//! Every way of making a dump consistent, on every source, under live writes: dump, load and sync end
//! with the source's rows, and what the dump says of its place is so.
//!
//! `TIDEWAY_CONSISTENCY_RUNS` is how often each way is run (1), `TIDEWAY_SEED` what the writes follow.

use serde_json::Value;
use tideway::model::{Flavor as Family, GtidSet, Position};

use crate::dump_job::Copy;
use crate::support::fixture::create_shop;
use crate::support::tideway::streams;
use crate::support::{Flavor, Server, ServerSpec, Task, Tideway, Traffic, assert_equal};

/// A way of making a dump consistent.
struct Way {
    name: &'static str,
    mode: &'static str,
    /// On `*.*` beside REPLICATION SLAVE, and on the tables' database.
    grants: (&'static str, &'static str),
    /// What the notes of the stream must say.
    told: &'static [&'static str],
}

const MARIADB: &[Way] = &[
    Way {
        name: "flush",
        mode: "flush",
        grants: ("REPLICATION CLIENT, RELOAD", "SELECT"),
        told: &[
            "consistency by `flush`",
            "BACKUP STAGE",
            "proof:",
            "kept waiting for",
        ],
    },
    Way {
        name: "snapshot",
        mode: "snapshot",
        grants: ("REPLICATION CLIENT", "SELECT"),
        told: &["consistency by `snapshot`", "proof:"],
    },
    Way {
        name: "auto without RELOAD",
        mode: "auto",
        grants: ("REPLICATION CLIENT", "SELECT"),
        told: &[
            "may not take the global read lock",
            "consistency by `snapshot`",
            "proof:",
        ],
    },
    Way {
        name: "fuzzy",
        mode: "fuzzy",
        grants: ("REPLICATION CLIENT", "SELECT"),
        told: &[
            "consistency by `fuzzy`",
            "proof:",
            "every table is at one moment again",
        ],
    },
];

const MYSQL: &[Way] = &[
    Way {
        name: "flush",
        mode: "flush",
        grants: ("REPLICATION CLIENT, RELOAD", "SELECT"),
        told: &[
            "consistency by `flush`",
            "global read lock",
            "proof:",
            "kept waiting for",
        ],
    },
    Way {
        name: "auto with FLUSH_TABLES",
        mode: "auto",
        grants: ("REPLICATION CLIENT, FLUSH_TABLES", "SELECT"),
        told: &["consistency by `flush`", "proof:", "kept waiting for"],
    },
    Way {
        name: "snapshot by GTIDs",
        mode: "snapshot",
        grants: ("REPLICATION CLIENT", "SELECT"),
        told: &["consistency by `snapshot`", "without a lock", "proof:"],
    },
    Way {
        name: "auto without RELOAD",
        mode: "auto",
        grants: ("REPLICATION CLIENT", "SELECT, LOCK TABLES"),
        told: &[
            "may not take the global read lock",
            "consistency by `snapshot`",
            "proof:",
        ],
    },
    Way {
        name: "fuzzy",
        mode: "fuzzy",
        grants: ("REPLICATION CLIENT", "SELECT"),
        told: &[
            "consistency by `fuzzy`",
            "proof:",
            "every table is at one moment again",
        ],
    },
];

/// Of a server without GTIDs.
const MYSQL_PLAIN: &[Way] = &[
    Way {
        name: "flush without GTIDs",
        mode: "flush",
        grants: ("REPLICATION CLIENT, RELOAD", "SELECT"),
        told: &["consistency by `flush`", "proof:", "kept waiting for"],
    },
    Way {
        name: "auto without RELOAD and GTIDs",
        mode: "auto",
        grants: ("REPLICATION CLIENT", "SELECT, LOCK TABLES"),
        told: &[
            "may not take the global read lock",
            "sessions began under a read lock on the 8 selected tables",
            "proof:",
            "kept waiting for",
        ],
    },
];

/// A number from the environment.
pub(crate) fn number(name: &str, default: u64) -> u64 {
    std::env::var(name)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(default)
}

/// The notes of all streams.
pub(crate) fn notes(status: &Value) -> String {
    let mut text = String::new();
    for stream in streams(status) {
        for note in stream["notes"].as_array().into_iter().flatten() {
            text.push_str(note.as_str().unwrap_or_default());
            text.push('\n');
        }
    }
    text
}

/// One source through all its ways, again and again.
fn ends_equal(spec: impl Into<ServerSpec>, flavor: Flavor, ways: &[Way]) {
    let runs = number("TIDEWAY_CONSISTENCY_RUNS", 1);
    let seed = number("TIDEWAY_SEED", 20_261_123);
    // Of its own family: the collations of unique keys must be the same for a dump without a lock.
    let to = if flavor.is_mariadb() {
        Flavor::MariaDb1011
    } else {
        Flavor::MySql97
    };
    let [source, target] = Server::start_all([spec.into(), to.into()]);
    create_shop(&mut source.client(), "shop", 4000, 1000);
    // Big enough to be read in several chunks while the writes go on.
    source.run(
        "INSERT INTO shop.visit SELECT NOW(), CONCAT('/page/', id % 7), id FROM shop.customer",
    );
    for run in 0..runs {
        for (index, way) in ways.iter().enumerate() {
            let what = format!("{flavor:?}, {}, run {run}", way.name);
            println!("{what}");
            let everywhere = format!("REPLICATION SLAVE, {}", way.grants.0);
            source.account(
                "tideway",
                &[(everywhere.as_str(), "*.*"), (way.grants.1, "`shop`.*")],
            );
            target.run("DROP DATABASE IF EXISTS shop; DROP DATABASE IF EXISTS tideway");
            target.target_account(&["shop"]);
            let dump = format!(
                "[task.dump]\nconsistency = \"{}\"\nthreads = 3\nchunk_size = \"64KiB\"",
                way.mode
            );
            let mut tideway = Tideway::new()
                .source("a", &source)
                .target("copy", &target)
                .task(&Task::new("shop", &["a"], "copy", &["shop.*"]).with(&dump));
            let traffic = Traffic::start(&source, "shop", 1000, seed + run * 100 + index as u64);
            traffic.await_more(30);
            tideway.start();
            let status = tideway.await_streams("sync", "running");
            let mut told = notes(&status);
            traffic.await_more(30);
            traffic.stop();
            if way.mode == "fuzzy" {
                let status = tideway.await_status("the span's end", |status| {
                    notes(status).contains("every table is at one moment again")
                });
                told = notes(&status);
            }
            for wanted in way.told {
                assert!(told.contains(wanted), "{what}: no `{wanted}` in\n{told}");
            }
            let _ = tideway.terminate();
            tideway.catch_up();
            assert_equal(&source, &target, &[("shop", "shop")]);
            if runs > 1 {
                println!(
                    "{}",
                    told.lines()
                        .filter(|line| line.contains("kept waiting") || line.contains("sessions"))
                        .collect::<Vec<_>>()
                        .join("; ")
                );
            }
        }
    }
}

#[test]
fn mariadb_10_11_ends_equal_in_every_way() {
    ends_equal(Flavor::MariaDb1011, Flavor::MariaDb1011, MARIADB);
}

#[test]
fn mariadb_11_8_ends_equal_in_every_way() {
    ends_equal(Flavor::MariaDb118, Flavor::MariaDb118, MARIADB);
}

#[test]
fn mysql_9_7_ends_equal_in_every_way() {
    ends_equal(Flavor::MySql97, Flavor::MySql97, MYSQL);
}

#[test]
fn mysql_9_7_without_gtids_ends_equal_in_the_ways_it_has() {
    let plain = ServerSpec::new(Flavor::MySql97)
        .option("--gtid-mode=OFF")
        .option("--enforce-gtid-consistency=OFF");
    ends_equal(plain, Flavor::MySql97, MYSQL_PLAIN);
}

/// The transactions in a MySQL source's binlog before a place, as the server lists them.
fn logged_before(server: &Server, place: &Position) -> GtidSet {
    let mut text = String::new();
    // Log_name, Pos, Event_type, Server_id, End_log_pos, Info.
    for event in server
        .client()
        .texts(&format!("SHOW BINLOG EVENTS IN '{}'", place.file))
    {
        let is_before = event[1].parse::<u64>().unwrap() < place.offset;
        match event[2].as_str() {
            "Previous_gtids" => text.push_str(&event[5]),
            "Gtid" if is_before => text.push_str(event[5].split('\'').nth(1).unwrap()),
            _ => continue,
        }
        text.push(',');
    }
    GtidSet::parse(Family::MySQL, &text).unwrap()
}

/// However the place is asked for, under writes: the GTIDs told with it are those before it.
#[tokio::test(flavor = "multi_thread")]
async fn the_gtids_of_a_snapshot_are_those_before_its_place() {
    let server = Server::start(Flavor::MySql97);
    create_shop(&mut server.client(), "shop", 1500, 1000);
    let log_status = ("SELECT", "performance_schema.log_status");
    for (mode, grants, told) in [
        (
            "snapshot",
            vec![("REPLICATION CLIENT", "*.*")],
            "without a lock",
        ),
        (
            "snapshot",
            vec![("BACKUP_ADMIN", "*.*"), log_status],
            "log_status",
        ),
        ("snapshot", vec![], "`gtid_executed` was the same"),
        (
            "flush",
            vec![("FLUSH_TABLES, REPLICATION CLIENT", "*.*")],
            "global read lock",
        ),
    ] {
        let mut grants = grants;
        grants.push(("SELECT", "`shop`.*"));
        server.account("tideway", &grants);
        let traffic = Traffic::start(&server, "shop", 1000, 7);
        traffic.await_more(20);
        let dump = format!("threads = 3\nconsistency = \"{mode}\"");
        let copy = Copy::new(&server, &server, &["shop.*"], &dump);
        let folder = tempfile::tempdir().unwrap();
        let (manifest, _) = copy.dump(&folder.path().join("dump")).await.unwrap();
        traffic.await_more(5);
        traffic.stop();
        let header = &manifest.header;
        let notes = header.notes.join("\n");
        assert!(notes.contains(told), "no `{told}` in\n{notes}");
        assert!(notes.contains("proof:"), "{notes}");
        assert_eq!(header.position.is_some(), grants.len() > 1, "{notes}");
        let set = header
            .gtid_set
            .as_ref()
            .expect("GTIDs may always be asked for");
        if let Some(place) = &header.position {
            assert_eq!(*set, logged_before(&server, place), "{notes}");
        }
    }
}
