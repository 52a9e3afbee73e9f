//! A whole copy, dump and load at once: this program beside `mydumper`, then `myloader`.
//!
//! The source's CPU is the dump's cost, the target's the load's; both tools use as many threads and
//! the same two servers, and both copies are compared by their tables' checksums before they count.

use std::path::PathBuf;
use std::process::Command;

use clap::Args;

use crate::measure::{Cost, cpu_of, load_average, run_well};
use crate::report::{Table, median};
use crate::support::server::PASSWORD;
use crate::support::tideway::{Task, Tideway};
use crate::support::{Flavor, Server, ServerSpec};

/// What can be chosen.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Hundredths of the full sizes: 1 M rows of sysbench's shape, 100,000 of 200 columns, 200,000 with
    /// a text key, 2,000 of 256 KB, 2,000 tables.
    #[arg(long, default_value_t = 10)]
    size: u64,
    /// How many rounds of A, B, B, A.
    #[arg(long, default_value_t = 1)]
    rounds: usize,
    /// Threads of each dump and each load.
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Only these shapes, of `SWPBN`.
    #[arg(long, default_value = "SWPBN")]
    shapes: String,
}

/// What one copy took.
#[derive(Clone, Copy, Debug)]
struct Taken {
    client: Cost,
    source: f64,
    target: f64,
}

/// Runs the benchmark.
pub(crate) fn run(options: &Options) {
    // Durability as on a target that is being filled: redo once a second, no binlog.
    let spec = || ServerSpec::new(Flavor::MariaDb1011).option("--innodb-flush-log-at-trx-commit=2");
    let [source, target] = Server::start_all([spec(), spec().option("--skip-log-bin")]);
    source.account("tideway", &[("ALL", "*.*")]);
    target.account("tideway", &[("ALL", "*.*")]);
    let mut table = Table::new(&[
        "shape",
        "rows",
        "MB",
        "our s",
        "theirs",
        "theirs / ours",
        "our CPU-s",
        "theirs",
        "source's",
        "theirs",
        "target's",
        "theirs",
        "target ratio",
        "our MiB",
        "theirs",
    ]);
    for shape in options.shapes.chars() {
        let rows = fill(&source, shape, options.size);
        let mut ours = Vec::new();
        let mut theirs = Vec::new();
        for _ in 0..options.rounds.max(1) {
            ours.push(our_copy(options, &source, &target));
            theirs.push(their_copy(options, &source, &target));
            theirs.push(their_copy(options, &source, &target));
            ours.push(our_copy(options, &source, &target));
        }
        let bytes = source.client().number(
            "SELECT CAST(SUM(DATA_LENGTH) AS SIGNED) FROM information_schema.TABLES \
             WHERE TABLE_SCHEMA = 'bench'",
        );
        let ratio = |figure: fn(&Taken) -> f64, inverse: bool| {
            let pairs = ours.iter().zip(&theirs);
            let ratios: Vec<f64> = pairs
                .map(|(a, b)| {
                    let (a, b) = (figure(a), figure(b).max(f64::EPSILON));
                    if inverse { b / a } else { a / b }
                })
                .collect();
            let smallest = ratios.iter().copied().fold(f64::INFINITY, f64::min);
            let largest = ratios.iter().copied().fold(0.0, f64::max);
            format!("{:.2} ({smallest:.2} to {largest:.2})", median(&ratios))
        };
        let of = |taken: &[Taken], figure: fn(&Taken) -> f64| {
            median(&taken.iter().map(figure).collect::<Vec<_>>())
        };
        let peak = |taken: &Taken| taken.client.peak as f64 / f64::from(1 << 20);
        table.row([
            shape.to_string(),
            rows.to_string(),
            format!("{:.0}", bytes as f64 / 1e6),
            format!("{:.2}", of(&ours, |t| t.client.wall)),
            format!("{:.2}", of(&theirs, |t| t.client.wall)),
            ratio(|t| t.client.wall, true),
            format!("{:.2}", of(&ours, |t| t.client.cpu)),
            format!("{:.2}", of(&theirs, |t| t.client.cpu)),
            format!("{:.2}", of(&ours, |t| t.source)),
            format!("{:.2}", of(&theirs, |t| t.source)),
            format!("{:.2}", of(&ours, |t| t.target)),
            format!("{:.2}", of(&theirs, |t| t.target)),
            ratio(|t| t.target, false),
            format!("{:.0}", of(&ours, peak)),
            format!("{:.0}", of(&theirs, peak)),
        ]);
    }
    println!(
        "\nMariaDB 10.11 to MariaDB 10.11, {} threads, redo flushed once a second, the target without a \
         binlog; theirs is mydumper, then myloader. Load average {:.1}.\n",
        options.threads,
        load_average()
    );
    table.print();
}

/// The columns of a wide table, taken in turn, and what each holds; `#` is the column's number.
const WIDE: [(&str, &str); 8] = [
    ("INT", "seq * #"),
    (
        "VARCHAR(40) CHARACTER SET utf8mb4",
        "CONCAT('it''s value ', seq, ' of #')",
    ),
    ("BIGINT UNSIGNED", "seq * 1000003 + #"),
    ("DECIMAL(12,2)", "seq / (# + 3)"),
    ("DATETIME(3)", "FROM_UNIXTIME(1.7e9 + seq + # / 8)"),
    ("DOUBLE", "SQRT(seq + #)"),
    ("VARBINARY(16)", "UNHEX(MD5(seq + #))"),
    ("TINYINT", "IF(seq % 5 = 0, NULL, seq % 100)"),
];

/// Makes the shape in the source's `bench`; how many rows it has.
pub(crate) fn fill(source: &Server, shape: char, size: u64) -> u64 {
    let mut client = source.client();
    client.run("DROP DATABASE IF EXISTS bench; CREATE DATABASE bench; USE bench");
    let rows = match shape {
        'S' => 10_000 * size,
        'W' => 1000 * size,
        'P' => 2000 * size,
        'B' => 20 * size,
        'N' => 20 * size * 100,
        other => panic!("no such shape: `{other}`"),
    };
    match shape {
        'S' => {
            client.run(
                "CREATE TABLE t (id INT NOT NULL AUTO_INCREMENT PRIMARY KEY, k INT NOT NULL, \
                 c CHAR(120) NOT NULL, pad CHAR(60) NOT NULL, KEY k_1 (k))",
            );
            client.run(&format!(
                "INSERT INTO t SELECT seq, FLOOR(RAND(seq) * {rows}), \
                 CONCAT(SHA2(seq, 224), SHA2(-seq, 224)), SHA2(seq, 224) FROM seq_1_to_{rows}"
            ));
        }
        'W' => {
            let (columns, values): (Vec<String>, Vec<String>) = (0..200)
                .map(|number| {
                    let (kind, value) = WIDE[number % WIDE.len()];
                    let value = value.replace('#', &number.to_string());
                    (format!("c{number} {kind}"), value)
                })
                .unzip();
            client.run(&format!(
                "CREATE TABLE t (id INT NOT NULL PRIMARY KEY, {}) ROW_FORMAT=DYNAMIC",
                columns.join(", ")
            ));
            client.run(&format!(
                "INSERT INTO t SELECT seq, {} FROM seq_1_to_{rows}",
                values.join(", ")
            ));
        }
        'P' => {
            client.run(
                "CREATE TABLE t (a VARCHAR(40) NOT NULL, b INT NOT NULL, v DECIMAL(12,2), \
                 note VARCHAR(200), PRIMARY KEY (a, b))",
            );
            client.run(&format!(
                "INSERT INTO t SELECT MD5(seq), seq % 7, seq / 7, REPEAT('note ', seq % 20) \
                 FROM seq_1_to_{rows}"
            ));
        }
        'B' => {
            client.run("CREATE TABLE t (id INT NOT NULL PRIMARY KEY, body LONGBLOB)");
            client.run(&format!(
                "INSERT INTO t SELECT seq, REPEAT(UNHEX(SHA2(seq, 256)), 8192) FROM seq_1_to_{rows}"
            ));
        }
        _ => {
            for number in 0..20 * size {
                client.run(&format!(
                    "CREATE TABLE t{number} (id INT NOT NULL PRIMARY KEY, v VARCHAR(100)); \
                     INSERT INTO t{number} SELECT seq, REPEAT('v', seq) FROM seq_1_to_100"
                ));
            }
        }
    }
    rows
}

/// The process of a server.
pub(crate) fn process(server: &Server) -> u32 {
    let file = server.client().value("SELECT @@global.pid_file");
    let mut path = PathBuf::from(file);
    if path.is_relative() {
        path = server.data_folder().join(path);
    }
    let text = std::fs::read_to_string(path).expect("the server has written its id");
    text.trim().parse().expect("an id")
}

/// Empties the target, copies, compares.
fn taken(source: &Server, target: &Server, copy: impl FnOnce() -> Cost) -> Taken {
    target.run("DROP DATABASE IF EXISTS bench; DROP DATABASE IF EXISTS tideway");
    let (from, to) = (process(source), process(target));
    let before = (cpu_of(from), cpu_of(to));
    let client = copy();
    let taken = Taken {
        client,
        source: cpu_of(from) - before.0,
        target: cpu_of(to) - before.1,
    };
    let names = "SELECT CONCAT('CHECKSUM TABLE ', GROUP_CONCAT(CONCAT('bench.', TABLE_NAME) \
                 ORDER BY TABLE_NAME)) FROM information_schema.TABLES WHERE TABLE_SCHEMA = 'bench'";
    let sums = |server: &Server| {
        let mut client = server.client();
        client.run("SET SESSION group_concat_max_len = 1000000");
        let statement = client.value(names);
        client.texts(&statement)
    };
    assert_eq!(sums(source), sums(target), "the copy is not equal");
    taken
}

fn our_copy(options: &Options, source: &Server, target: &Server) -> Taken {
    let threads = options.threads;
    let tideway =
        Tideway::new()
            .source("s", source)
            .target("t", target)
            .task(&Task::new("copy", &["s"], "t", &["bench.*"]).with(&format!(
            "mode = \"full\"\n[task.dump]\nthreads = {threads}\n[task.load]\nthreads = {threads}"
        )));
    taken(source, target, || {
        let mut command = tideway.command(&["run", "--until", "caught-up"]);
        run_well(
            command
                .stdout(std::process::Stdio::null())
                .stderr(std::process::Stdio::null()),
        )
    })
}

fn their_copy(options: &Options, source: &Server, target: &Server) -> Taken {
    let folder = tempfile::tempdir().expect("cannot make a folder");
    let tool = |name: &str, server: &Server| {
        let mut command = Command::new(name);
        command
            .args(["--host=127.0.0.1", "--user=tideway"])
            .arg(format!("--port={}", server.port()))
            .arg(format!("--password={PASSWORD}"))
            .arg(format!("--threads={}", options.threads));
        command
    };
    taken(source, target, || {
        let out = format!("--outputdir={}", folder.path().display());
        let dump = run_well(tool("mydumper", source).arg("--database=bench").arg(out));
        let from = format!("--directory={}", folder.path().display());
        let load = run_well(tool("myloader", target).arg(from));
        Cost {
            cpu: dump.cpu + load.cpu,
            wall: dump.wall + load.wall,
            peak: dump.peak.max(load.peak),
        }
    })
}
