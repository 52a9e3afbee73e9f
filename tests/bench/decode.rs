//! Relay files read back to typed rows, on one core: beside the servers' own text, and against the
//! number of allocations.

use std::collections::HashMap;
use std::fs;
use std::hint::black_box;
use std::process::{Command, Stdio};
use std::sync::Arc;

use clap::Args;
use tideway::binlog::{EventKind, RowShape, RowsEvent, TableMap};
use tideway::model::value::{RowChange, Value};
use tideway::model::{Flavor as Family, Place, Position};
use tideway::relay_log::RelayLog;

use crate::measure::{Cost, here, run_well};
use crate::report::{Pairs, Table, median_of};
use crate::support::{Flavor, Server, ServerSpec};

/// What can be chosen.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Thousands of rows of four columns; a fifth as many of 61.
    #[arg(long, default_value_t = 1000)]
    rows: u64,
    /// How many rounds of A, B, B, A.
    #[arg(long, default_value_t = 2)]
    rounds: usize,
}

/// A table to read.
struct Case {
    name: &'static str,
    columns: u64,
    table: String,
    row: fn(u64) -> String,
    rows: u64,
}

/// Runs the benchmark.
pub(crate) fn run(options: &Options) {
    let rows = options.rows * 1000;
    let cases = [
        Case {
            name: "4 columns: INT, BIGINT, CHAR(120), VARCHAR(60)",
            columns: 4,
            table: "id INT NOT NULL, k BIGINT NOT NULL, c CHAR(120) NOT NULL, pad VARCHAR(60)"
                .into(),
            row: |id| {
                format!(
                    "({id}, -{id}, REPEAT('{}', 20), 'pad of {id}')",
                    id % 100_000
                )
            },
            rows,
        },
        Case {
            name: "61 columns: BIGINT and 60 of INT",
            columns: 61,
            table: wide(),
            row: |id| format!("({id}{})", format!(", {}", id % 65_536).repeat(60)),
            rows: rows / 5,
        },
    ];
    let mut table = Table::new(&[
        "table",
        "M rows/s",
        "of CPU",
        "our CPU-s/GB",
        "theirs",
        "ratio by CPU",
        "allocations a row",
        "a value",
    ]);
    let mut notes = Vec::new();
    for case in &cases {
        let folder = tempfile::tempdir().expect("cannot make a folder");
        let log = record(case, folder.path());
        let bytes: u64 = log.files().iter().map(|file| file.size_bytes).sum();
        let file = folder
            .path()
            .join(&log.files()[0].folder)
            .join("bin.000001");
        let mut found = Found::default();
        let mut allocations = allocation_counter::AllocationInfo::default();
        let pairs = Pairs::take(
            options.rounds,
            || {
                let ((), cost) = here(|| {
                    allocations = allocation_counter::measure(|| found = read(&log));
                });
                assert_eq!(found.rows, case.rows, "every row is read");
                assert_eq!(
                    found.values,
                    case.rows * case.columns,
                    "every value is read"
                );
                cost
            },
            || {
                run_well(
                    Command::new("mariadb-binlog")
                        .args(["--base64-output=decode-rows", "--verbose"])
                        .arg(&file)
                        .stdout(Stdio::null()),
                )
            },
        );
        let gb = bytes as f64 / 1e9;
        let millions = case.rows as f64 / 1e6;
        let per_gb = |costs: &[Cost]| format!("{:.2}", median_of(costs, |cost| cost.cpu / gb));
        let count = allocations.count_total as f64;
        table.row([
            case.name.to_owned(),
            format!("{:.2}", median_of(&pairs.ours, |cost| millions / cost.wall)),
            format!("{:.2}", median_of(&pairs.ours, |cost| millions / cost.cpu)),
            per_gb(&pairs.ours),
            per_gb(&pairs.theirs),
            pairs.ratio(),
            format!("{:.3}", count / found.rows as f64),
            format!("{:.4}", count / found.values as f64),
        ]);
        notes.push(pairs.load());
    }
    println!(
        "\nRelay files read back to typed rows, checksums verified, files in the page cache; theirs is\n\
         `mariadb-binlog --base64-output=decode-rows --verbose` into /dev/null.\n"
    );
    table.print();
    println!("{}", notes.join("; "));
}

fn wide() -> String {
    let columns: Vec<String> = (1..=60).map(|n| format!("c{n} INT NOT NULL")).collect();
    format!("id BIGINT NOT NULL, {}", columns.join(", "))
}

/// Has a server write the rows, and takes its binlog as a relay log.
fn record(case: &Case, folder: &std::path::Path) -> Arc<RelayLog> {
    const BATCH: u64 = 2000;
    let spec = ServerSpec::new(Flavor::MariaDb1011)
        .option("--binlog-row-metadata=FULL")
        .option("--binlog-annotate-row-events=OFF")
        .option("--max-binlog-size=1G");
    let server = Server::start(spec);
    let mut client = server.client();
    client.run("CREATE DATABASE b");
    client.run(&format!(
        "CREATE TABLE b.t ({}) ENGINE=MyISAM DEFAULT CHARSET=latin1",
        case.table
    ));
    for first in (0..case.rows).step_by(BATCH as usize) {
        let rows: Vec<String> = (first..case.rows.min(first + BATCH))
            .map(case.row)
            .collect();
        client.run(&format!("INSERT INTO b.t VALUES {}", rows.join(", ")));
    }
    client.run("FLUSH BINARY LOGS");
    let log = RelayLog::open(folder).unwrap();
    let name = log.add_folder("1", Family::MariaDB, None).unwrap();
    fs::copy(
        server.data_folder().join("bin.000001"),
        folder.join(name).join("bin.000001"),
    )
    .unwrap();
    drop(log);
    RelayLog::open(folder).unwrap()
}

#[derive(Debug, Default)]
struct Found {
    rows: u64,
    values: u64,
}

/// Reads the log through, every value of every row.
fn read(log: &Arc<RelayLog>) -> Found {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("cannot start the runtime");
    let folder = log.newest_folder().expect("there is one").name;
    let from = Place::new(folder, Position::new("bin.000001", 4));
    runtime.block_on(async {
        let mut reader = log.reader(&from).unwrap();
        // As sync does it: a table map that was seen is not read again.
        let mut shapes: HashMap<Vec<u8>, RowShape> = HashMap::new();
        let mut map = Vec::new();
        let mut found = Found::default();
        while !reader.is_at_tip() {
            let raw = reader.next().await.unwrap();
            let kind = raw.event.header.kind;
            if kind == EventKind::TABLE_MAP {
                if !shapes.contains_key(raw.event.body) {
                    let map = TableMap::parse(&raw.event, raw.format).unwrap();
                    let shape = RowShape::for_display(&map).unwrap();
                    shapes.insert(raw.event.body.to_vec(), shape);
                }
                map.clear();
                map.extend_from_slice(raw.event.body);
            } else if kind.is_rows() {
                let event = RowsEvent::parse(&raw.event, raw.format).unwrap();
                let shape = &shapes[&map];
                for change in event.rows(shape).unwrap() {
                    count(&change.unwrap(), &mut found);
                }
            }
        }
        found
    })
}

/// Looks at every value, so that none is left undone.
fn count(change: &RowChange<'_>, found: &mut Found) {
    let RowChange::Insert { after } = change else {
        panic!("only rows that are new were written");
    };
    found.rows += 1;
    for value in after.iter().flatten() {
        found.values += u64::from(!matches!(black_box(value), Value::Null));
    }
}
