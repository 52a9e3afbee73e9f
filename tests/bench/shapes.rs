//! What dumps and loads are measured on: servers, tables of several shapes, and the two programs that
//! are compared.

use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use clap::Args;

use crate::measure::{Cost, cpu_of, load_average};
use crate::report::{Table, median, spread};
use crate::support::server::PASSWORD;
use crate::support::{Flavor, Server, ServerSpec};

/// How long a server may go on with what it was given, and how little of a core it may use to count as
/// quiet.
const SETTLE: Duration = Duration::from_secs(20);
const LOOK: Duration = Duration::from_millis(500);
const QUIET: f64 = 0.015;

/// What can be chosen.
#[derive(Clone, Debug, Args)]
pub(crate) struct Options {
    /// Hundredths of the full sizes: 1 M rows of sysbench's shape, 100,000 of 200 columns, 200,000 with
    /// a text key, 2,000 of 256 KB, 2,000 tables.
    #[arg(long, default_value_t = 10)]
    pub(crate) size: u64,
    /// How many rounds of A, B, B, A.
    #[arg(long, default_value_t = 1)]
    pub(crate) rounds: usize,
    /// Threads of each dump and each load.
    #[arg(long, default_value_t = 2)]
    pub(crate) threads: usize,
    /// Only these shapes, of `SWPBN`.
    #[arg(long, default_value = "SWPBN")]
    pub(crate) shapes: String,
    /// The servers: `mariadb-10.11`, `mariadb-11.8` or `mysql-9.7`.
    #[arg(long, default_value = "mariadb-10.11")]
    pub(crate) server: String,
    /// Lets `mydumper` cut tables into chunks of so many rows; without it, it writes a file a table.
    #[arg(long)]
    pub(crate) their_rows: Option<u64>,
}

impl Options {
    /// The servers' kind.
    pub(crate) fn flavor(&self) -> Flavor {
        match self.server.as_str() {
            "mariadb-10.11" => Flavor::MariaDb1011,
            "mariadb-11.8" => Flavor::MariaDb118,
            "mysql-9.7" => Flavor::MySql97,
            other => panic!("no such server: `{other}`"),
        }
    }

    /// A source and a target. The source has a binlog, the target that is being filled has none; redo
    /// is flushed once a second; all of the data fits into memory.
    pub(crate) fn servers(&self) -> [Server; 2] {
        let spec = || {
            ServerSpec::new(self.flavor())
                .option("--innodb-flush-log-at-trx-commit=2")
                .option("--innodb-buffer-pool-size=1G")
                .option("--max-allowed-packet=64M")
        };
        let servers = Server::start_all([spec(), spec().option("--skip-log-bin")]);
        for server in &servers {
            server.account("tideway", &[("ALL", "*.*")]);
        }
        servers
    }
}

/// One of the other program's tools, with what reaches the server.
pub(crate) fn their_tool(name: &str, server: &Server, options: &Options) -> Command {
    let mut command = Command::new(name);
    command
        .args(["--host=127.0.0.1", "--user=tideway"])
        .arg(format!("--port={}", server.port()))
        .arg(format!("--password={PASSWORD}"))
        .arg(format!("--threads={}", options.threads))
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command
}

/// A `mydumper` of `bench` into `folder`.
pub(crate) fn mydumper(source: &Server, options: &Options, folder: &Path) -> Command {
    let mut command = their_tool("mydumper", source, options);
    command
        .arg("--database=bench")
        .arg(format!("--outputdir={}", folder.display()));
    if let Some(rows) = options.their_rows {
        command.arg(format!("--rows={rows}"));
    }
    command
}

/// A `myloader` of what is in `folder`.
pub(crate) fn myloader(target: &Server, options: &Options, folder: &Path) -> Command {
    let mut command = their_tool("myloader", target, options);
    command.arg(format!("--directory={}", folder.display()));
    command
}

/// What one piece of work took.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Taken {
    /// Of the program, or programs.
    pub(crate) client: Cost,
    /// The source's CPU seconds.
    pub(crate) source: f64,
    /// The target's.
    pub(crate) target: f64,
}

impl Taken {
    /// Measures `work` and what the servers do for it, until they are quiet again.
    pub(crate) fn of(
        source: Option<&Server>,
        target: Option<&Server>,
        work: impl FnOnce() -> Cost,
    ) -> Self {
        let servers = [source, target];
        servers.into_iter().flatten().for_each(settle);
        let cpu = |server: Option<&Server>| server.map_or(0.0, |server| cpu_of(server.id()));
        let before = servers.map(cpu);
        let client = work();
        servers.into_iter().flatten().for_each(settle);
        let [from, to] = servers.map(cpu);
        Self {
            client,
            source: from - before[0],
            target: to - before[1],
        }
    }

    /// The most memory of the program, in MiB.
    pub(crate) fn peak_mib(&self) -> f64 {
        self.client.peak as f64 / f64::from(1 << 20)
    }

    /// All CPU seconds.
    pub(crate) fn cpu(&self) -> f64 {
        self.client.cpu + self.source + self.target
    }
}

/// Waits until a server has done what it puts off: purging, flushing.
fn settle(server: &Server) {
    let end = Instant::now() + SETTLE;
    let mut before = cpu_of(server.id());
    while Instant::now() < end {
        sleep(LOOK);
        let now = cpu_of(server.id());
        if now - before < QUIET {
            return;
        }
        before = now;
    }
}

/// Ours and theirs in the order A, B, B, A, and what the load average was at the beginning of each.
#[derive(Debug, Default)]
pub(crate) struct Rounds {
    /// Ours.
    pub(crate) ours: Vec<Taken>,
    /// Theirs.
    pub(crate) theirs: Vec<Taken>,
    loads: Vec<f64>,
}

impl Rounds {
    /// Takes them.
    pub(crate) fn take(
        rounds: usize,
        mut ours: impl FnMut() -> Taken,
        mut theirs: impl FnMut() -> Taken,
    ) -> Self {
        let mut taken = Self::default();
        for _ in 0..rounds.max(1) {
            for is_ours in [true, false, false, true] {
                taken.loads.push(load_average());
                if is_ours {
                    taken.ours.push(ours());
                } else {
                    taken.theirs.push(theirs());
                }
            }
        }
        taken
    }

    /// The medians of a figure: ours, theirs, with so many digits.
    pub(crate) fn both(&self, figure: impl Fn(&Taken) -> f64, digits: usize) -> [String; 2] {
        [&self.ours, &self.theirs].map(|taken| {
            let figures: Vec<f64> = taken.iter().map(&figure).collect();
            format!("{:.digits$}", median(&figures))
        })
    }

    /// Ours in parts of theirs: `0.83 (0.80 to 0.91)`.
    pub(crate) fn ratio(&self, figure: impl Fn(&Taken) -> f64) -> String {
        let pairs = self.ours.iter().zip(&self.theirs);
        spread(pairs.map(|(a, b)| figure(a) / figure(b).max(f64::EPSILON)))
    }

    /// How many times as fast ours is.
    pub(crate) fn speedup(&self) -> String {
        let pairs = self.ours.iter().zip(&self.theirs);
        spread(pairs.map(|(a, b)| b.client.wall / a.client.wall.max(f64::EPSILON)))
    }

    /// `load 2.1 to 4.0`.
    pub(crate) fn load(&self) -> String {
        let smallest = self.loads.iter().copied().fold(f64::INFINITY, f64::min);
        let largest = self.loads.iter().copied().fold(0.0, f64::max);
        format!("{smallest:.1} to {largest:.1}")
    }
}

/// A table whose columns are pairs, ours and theirs.
#[derive(Debug)]
pub(crate) struct Figures {
    table: Table,
}

impl Figures {
    /// A table with these headings.
    pub(crate) fn new(headings: &[&str]) -> Self {
        Self {
            table: Table::new(headings),
        }
    }

    /// Adds a row, and shows the whole: a benchmark takes long, and may be ended.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.table.row(cells);
        self.table.print();
    }
}

/// Fails unless both hold the same tables with the same rows.
pub(crate) fn expect_same(source: &Server, target: &Server) {
    let names = "SELECT CONCAT('CHECKSUM TABLE ', GROUP_CONCAT(CONCAT('bench.', TABLE_NAME) \
                 ORDER BY TABLE_NAME)) FROM information_schema.TABLES WHERE TABLE_SCHEMA = 'bench'";
    let keys = "SELECT TABLE_NAME, INDEX_NAME, SEQ_IN_INDEX, COLUMN_NAME, NON_UNIQUE \
                FROM information_schema.STATISTICS WHERE TABLE_SCHEMA = 'bench' ORDER BY 1, 2, 3";
    let found = |server: &Server| {
        let mut client = server.client();
        client.run("SET SESSION group_concat_max_len = 1000000");
        let statement = client.value(names);
        (client.texts(&statement), client.texts(keys))
    };
    assert_eq!(found(source), found(target), "the copy is not equal");
}

/// The target as it was at first.
pub(crate) fn clear(target: &Server) {
    target.run("DROP DATABASE IF EXISTS bench; DROP DATABASE IF EXISTS tideway");
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
    client.run(
        "DROP DATABASE IF EXISTS bench; CREATE DATABASE bench CHARACTER SET utf8mb4; USE bench",
    );
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
