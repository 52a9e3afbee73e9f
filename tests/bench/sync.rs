//! Catching up with a backlog: this program beside the database's own replica, with each number of
//! parallel workers, from the same source onto targets of the same settings.
//!
//! Both pull the backlog and apply it; the CPU time is that of the target and of our own process together.
//! Every run has a fresh target, whose rows are compared with the source's before its figure counts.

use std::thread::sleep;
use std::time::{Duration, Instant};

use clap::Args;

use crate::measure::{Cost, cpu_of, load_average, run_well};
use crate::report::{Table, median, spread};
use crate::support::proxy::Proxy;
use crate::support::server::{PASSWORD, ServerSpec};
use crate::support::{Flavor, Server, Task, Tideway, assert_equal};
use crate::sync_backlogs::{Backlog, backlog};

/// What can be chosen.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// About how many row changes each backlog has.
    #[arg(long, default_value_t = 40_000)]
    rows: u64,
    /// Which backlogs, by their letters.
    #[arg(long, default_value = "abcdef")]
    backlogs: String,
    /// How many rounds.
    #[arg(long, default_value_t = 1)]
    rounds: usize,
    /// `mariadb-10.11`, `mariadb-11.8` or `mysql-9.7`.
    #[arg(long, default_value = "mariadb-10.11")]
    server: String,
    /// The replica's numbers of workers; 0 is none beside the one that reads.
    #[arg(long, value_delimiter = ',', default_value = "0,2,4,8")]
    replica: Vec<u32>,
    /// Milliseconds that our way to the target takes, in each direction.
    #[arg(long, default_value_t = 0)]
    delay: u64,
    /// Our workers.
    #[arg(long, default_value_t = 8)]
    workers: u32,
}

/// What one run took.
#[derive(Clone, Copy, Debug)]
struct Run {
    /// CPU seconds of the target.
    target: f64,
    /// Of our own process, with its time and memory.
    own: Cost,
}

impl Run {
    fn cpu(&self) -> f64 {
        self.target + self.own.cpu
    }
}

/// Runs the benchmark.
pub(crate) fn run(options: &Options) {
    let flavor = match options.server.as_str() {
        "mariadb-10.11" => Flavor::MariaDb1011,
        "mariadb-11.8" => Flavor::MariaDb118,
        "mysql-9.7" => Flavor::MySql97,
        other => panic!("no such server: `{other}`"),
    };
    let mut table = Table::new(&[
        "backlog",
        "rows",
        "our CPU-s/M rows",
        "of it ours",
        "replica's",
        "workers",
        "ratio by CPU",
        "our rows/s",
        "replica's",
        "our MiB",
    ]);
    for letter in options.backlogs.chars() {
        let backlog = backlog(letter, options.rows);
        let source = Source::new(flavor, &backlog);
        let mut ours = Vec::new();
        let mut theirs: Vec<Vec<Run>> = vec![Vec::new(); options.replica.len()];
        for _ in 0..options.rounds.max(1) {
            ours.push(source.ours(&backlog, options));
            for (runs, workers) in theirs.iter_mut().zip(&options.replica) {
                runs.push(source.replica(&backlog, *workers));
            }
        }
        let millions = backlog.rows() / 1e6;
        let of = |runs: &[Run], figure: &dyn Fn(&Run) -> f64| {
            median(&runs.iter().map(figure).collect::<Vec<_>>())
        };
        let best = (0..theirs.len()).min_by(|a, b| {
            let cpu = |n: &usize| of(&theirs[*n], &Run::cpu);
            cpu(a).total_cmp(&cpu(b))
        });
        let fastest = theirs
            .iter()
            .map(|runs| of(runs, &|run| run.own.wall))
            .min_by(f64::total_cmp);
        let per_million = |runs: &[Run]| format!("{:.1}", of(runs, &Run::cpu) / millions);
        let ratio = best.map(|best| {
            let pairs = ours.iter().zip(&theirs[best]);
            spread(pairs.map(|(our, their)| our.cpu() / their.cpu()))
        });
        let none = || "-".to_owned();
        table.row([
            backlog.name.to_owned(),
            format!("{:.0}", backlog.rows()),
            per_million(&ours),
            format!("{:.1}", of(&ours, &|run| run.own.cpu) / millions),
            best.map_or_else(none, |best| per_million(&theirs[best])),
            best.map_or_else(none, |best| options.replica[best].to_string()),
            ratio.unwrap_or_else(none),
            format!("{:.0}", backlog.rows() / of(&ours, &|run| run.own.wall)),
            fastest.map_or_else(none, |wall| format!("{:.0}", backlog.rows() / wall)),
            format!(
                "{:.0}",
                of(&ours, &|run| run.own.peak as f64) / f64::from(1 << 20)
            ),
        ]);
        for (runs, workers) in theirs.iter().zip(&options.replica) {
            println!(
                "{}: replica with {workers} workers: {} CPU-s/M rows, {:.0} rows/s",
                backlog.name,
                per_million(runs),
                backlog.rows() / of(runs, &|run| run.own.wall)
            );
        }
    }
    println!(
        "\n{}: redo flushed each second, no binlog on the target; {} ms to our target; load average {:.1}\n\
         the ratio is to the replica with the number of workers that took least CPU; rows/s to the fastest\n",
        options.server,
        options.delay,
        load_average()
    );
    table.print();
}

/// A source with a backlog, and where that begins and ends.
struct Source {
    server: Server,
    begin: (String, String),
    end: (String, String),
}

fn target(flavor: Flavor, backlog: &Backlog) -> Server {
    let spec = ServerSpec::new(flavor)
        .option("--skip-log-bin")
        .option("--innodb-flush-log-at-trx-commit=2")
        .option("--innodb-buffer-pool-size=512M");
    let server = Server::start(spec);
    server.run(&backlog.tables);
    server.target_account(&["bench"]);
    server
}

impl Source {
    fn new(flavor: Flavor, backlog: &Backlog) -> Self {
        let spec = ServerSpec::new(flavor)
            .option("--sync-binlog=0")
            .option("--innodb-flush-log-at-trx-commit=2")
            .option("--innodb-buffer-pool-size=512M");
        let server = Server::start(spec);
        server.run(&format!("SET sql_log_bin = 0; {}", backlog.tables));
        server.source_account(&["bench"]);
        server.run(&format!(
            "SET sql_log_bin = 0; CREATE PROCEDURE bench.fill() BEGIN DECLARE i INT DEFAULT 0; \
             WHILE i < {} DO {} SET i = i + 1; END WHILE; END",
            backlog.turns, backlog.body
        ));
        let begin = place(&server);
        server.run("CALL bench.fill()");
        let end = place(&server);
        Self { server, begin, end }
    }

    /// One run of ours.
    fn ours(&self, backlog: &Backlog, options: &Options) -> Run {
        let target = target(self.server.flavor(), backlog);
        let proxy = (options.delay > 0).then(|| {
            let proxy = Proxy::to(target.port());
            proxy.delay(Duration::from_millis(options.delay));
            proxy
        });
        let port = proxy.as_ref().map_or(target.port(), Proxy::port);
        let (file, offset) = &self.begin;
        let tideway = Tideway::new()
            .source("a", &self.server)
            .target_with("copy", &target, &format!("port = {port}"))
            .task(&Task::new("t", &["a"], "copy", &["bench.*"]).with(&format!(
                "mode = \"incremental\"\nstart = \"{file}:{offset}\"\n[task.sync]\nworkers = {}",
                options.workers
            )));
        let before = cpu_of(target.id());
        let own = run_well(&mut tideway.command(&["run", "--until", "caught-up"]));
        let run = Run {
            target: cpu_of(target.id()) - before,
            own,
        };
        assert_equal(&self.server, &target, &[("bench", "bench")]);
        run
    }

    /// One run of the database's own replica.
    fn replica(&self, backlog: &Backlog, workers: u32) -> Run {
        let target = target(self.server.flavor(), backlog);
        let is_mariadb = self.server.flavor().is_mariadb();
        let (file, offset) = &self.begin;
        let password = PASSWORD.replace('\'', "''");
        let port = self.server.port();
        let mut client = target.client();
        if is_mariadb {
            client.run(&format!(
                "SET GLOBAL slave_parallel_threads = {workers}; SET GLOBAL slave_parallel_mode = optimistic; \
                 CHANGE MASTER TO MASTER_HOST = '127.0.0.1', MASTER_PORT = {port}, MASTER_USER = 'tideway', \
                 MASTER_PASSWORD = '{password}', MASTER_LOG_FILE = '{file}', MASTER_LOG_POS = {offset}, \
                 MASTER_USE_GTID = no"
            ));
        } else {
            client.run(&format!(
                "SET GLOBAL replica_parallel_workers = {}; \
                 CHANGE REPLICATION SOURCE TO SOURCE_HOST = '127.0.0.1', SOURCE_PORT = {port}, \
                 SOURCE_USER = 'tideway', SOURCE_PASSWORD = '{password}', SOURCE_LOG_FILE = '{file}', \
                 SOURCE_LOG_POS = {offset}, GET_SOURCE_PUBLIC_KEY = 1",
                workers.max(1)
            ));
        }
        let (start, show, names) = if is_mariadb {
            ("START SLAVE", "SHOW SLAVE STATUS", [9, 21])
        } else {
            ("START REPLICA", "SHOW REPLICA STATUS", [9, 21])
        };
        let before = cpu_of(target.id());
        let begun = Instant::now();
        client.run(start);
        loop {
            let rows = client.texts(show);
            let cell = |number: usize| rows[0].get(number).cloned().unwrap_or_default();
            let is_there = (cell(names[0]), cell(names[1])) == self.end;
            if is_there {
                break;
            }
            assert!(
                begun.elapsed() < Duration::from_mins(8),
                "the replica does not catch up: {rows:?}"
            );
            sleep(Duration::from_millis(10));
        }
        let run = Run {
            target: cpu_of(target.id()) - before,
            own: Cost {
                wall: begun.elapsed().as_secs_f64(),
                ..Cost::default()
            },
        };
        assert_equal(&self.server, &target, &[("bench", "bench")]);
        run
    }
}

/// The end of a server's binlog.
fn place(server: &Server) -> (String, String) {
    let show = if server.flavor().is_mariadb() {
        "SHOW MASTER STATUS"
    } else {
        "SHOW BINARY LOG STATUS"
    };
    let mut row = server.client().texts(show).swap_remove(0).into_iter();
    let mut next = || row.next().expect("the binlog is on");
    (next(), next())
}
