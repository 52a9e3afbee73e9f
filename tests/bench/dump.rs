//! A dump alone, beside `mydumper`'s: what each and the server it reads from use for a gigabyte.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use clap::Args;
use tideway::config::Config;
use tideway::dump_files::feed;
use tideway::unit::dump::{self, DumpJob};
use tokio_util::sync::CancellationToken;

use crate::copy::{fill, process};
use crate::measure::{Cost, cpu_of, load_average, run_well};
use crate::report::{Table, median};
use crate::support::server::PASSWORD;
use crate::support::{Flavor, Server, ServerSpec};

/// What can be chosen.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Hundredths of the full sizes, as for a copy.
    #[arg(long, default_value_t = 10)]
    size: u64,
    /// How many rounds of A, B, B, A.
    #[arg(long, default_value_t = 1)]
    rounds: usize,
    /// Threads of each dump.
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Only these shapes, of `SWPBN`.
    #[arg(long, default_value = "SWPBN")]
    shapes: String,
}

/// One dump, by a process of its own so that it can be measured.
#[derive(Debug, Args)]
pub(crate) struct Once {
    config: PathBuf,
    folder: PathBuf,
}

/// What one dump took, and the bytes it wrote.
#[derive(Clone, Copy, Debug)]
struct Taken {
    client: Cost,
    source: f64,
    bytes: f64,
}

impl Taken {
    fn client_per_gb(&self) -> f64 {
        self.client.cpu / self.bytes * 1e9
    }

    fn source_per_gb(&self) -> f64 {
        self.source / self.bytes * 1e9
    }

    fn both_per_gb(&self) -> f64 {
        self.client_per_gb() + self.source_per_gb()
    }
}

/// Runs the benchmark.
pub(crate) fn run(options: &Options) {
    let spec = ServerSpec::new(Flavor::MariaDb1011).option("--innodb-flush-log-at-trx-commit=2");
    let source = Server::start(spec.option("--innodb-buffer-pool-size=1G"));
    source.account("tideway", &[("ALL", "*.*")]);
    let mut table = Table::new(&[
        "shape",
        "rows",
        "MB",
        "theirs MB",
        "our s",
        "theirs",
        "our CPU-s/GB",
        "theirs",
        "server's",
        "theirs",
        "together, ours / theirs",
        "our MiB",
        "theirs",
    ]);
    for shape in options.shapes.chars() {
        let rows = fill(&source, shape, options.size);
        // Into memory, for both alike.
        source
            .client()
            .texts("SELECT COUNT(*) FROM information_schema.COLUMNS");
        let _ = theirs(options, &source);
        let (mut our, mut their) = (Vec::new(), Vec::new());
        for _ in 0..options.rounds.max(1) {
            our.push(ours(options, &source));
            their.push(theirs(options, &source));
            their.push(theirs(options, &source));
            our.push(ours(options, &source));
        }
        let of = |taken: &[Taken], figure: fn(&Taken) -> f64| {
            median(&taken.iter().map(figure).collect::<Vec<_>>())
        };
        let ratios: Vec<f64> = our
            .iter()
            .zip(&their)
            .map(|(a, b)| a.both_per_gb() / b.both_per_gb().max(f64::EPSILON))
            .collect();
        let smallest = ratios.iter().copied().fold(f64::INFINITY, f64::min);
        let largest = ratios.iter().copied().fold(0.0, f64::max);
        table.row([
            shape.to_string(),
            rows.to_string(),
            format!("{:.0}", of(&our, |t| t.bytes / 1e6)),
            format!("{:.0}", of(&their, |t| t.bytes / 1e6)),
            format!("{:.2}", of(&our, |t| t.client.wall)),
            format!("{:.2}", of(&their, |t| t.client.wall)),
            format!("{:.2}", of(&our, Taken::client_per_gb)),
            format!("{:.2}", of(&their, Taken::client_per_gb)),
            format!("{:.2}", of(&our, Taken::source_per_gb)),
            format!("{:.2}", of(&their, Taken::source_per_gb)),
            format!("{:.2} ({smallest:.2} to {largest:.2})", median(&ratios)),
            format!(
                "{:.0}",
                of(&our, |t| t.client.peak as f64 / f64::from(1 << 20))
            ),
            format!(
                "{:.0}",
                of(&their, |t| t.client.peak as f64 / f64::from(1 << 20))
            ),
        ]);
    }
    println!(
        "\nMariaDB 10.11, {} threads; a gigabyte is one of the files that each writes itself; ours are \
         brought to disk, theirs are not. Load average {:.1}.\n",
        options.threads,
        load_average()
    );
    table.print();
}

fn taken(source: &Server, folder: &Path, dump: impl FnOnce() -> Cost) -> Taken {
    let server = process(source);
    let before = cpu_of(server);
    let client = dump();
    Taken {
        client,
        source: cpu_of(server) - before,
        bytes: size_of(folder),
    }
}

/// The bytes of a folder's files.
fn size_of(folder: &Path) -> f64 {
    let entries = fs::read_dir(folder).expect("the dump has written a folder");
    let sizes = entries.map(|entry| entry.and_then(|e| e.metadata()).map_or(0, |m| m.len()));
    sizes.sum::<u64>() as f64
}

fn ours(options: &Options, source: &Server) -> Taken {
    let folder = tempfile::tempdir().expect("cannot make a folder");
    let server = |kind: &str| {
        format!(
            "[[{kind}]]\nname = \"{kind}\"\nhost = \"127.0.0.1\"\nport = {}\nuser = \"tideway\"\n\
             password = {PASSWORD:?}\n",
            source.port()
        )
    };
    let text = format!(
        "[worker]\ndata_dir = \"{}\"\n{}{}[[task]]\nname = \"d\"\nsources = [\"source\"]\n\
         target = \"target\"\nmode = \"full\"\ntables = [\"bench.*\"]\n[task.dump]\nthreads = {}\n",
        folder.path().join("data").display(),
        server("source"),
        server("target"),
        options.threads
    );
    let config = folder.path().join("tideway.toml");
    fs::write(&config, text).expect("cannot write the configuration");
    let out = folder.path().join("dump");
    taken(source, &out, || {
        let program = std::env::current_exe().expect("a program knows its file");
        run_well(
            Command::new(program)
                .arg("dump-once")
                .args([&config, &out])
                .stderr(Stdio::null()),
        )
    })
}

fn theirs(options: &Options, source: &Server) -> Taken {
    let folder = tempfile::tempdir().expect("cannot make a folder");
    let out = folder.path().join("dump");
    taken(source, &out, || {
        run_well(
            Command::new("mydumper")
                .args(["--host=127.0.0.1", "--user=tideway", "--database=bench"])
                .arg(format!("--port={}", source.port()))
                .arg(format!("--password={PASSWORD}"))
                .arg(format!("--threads={}", options.threads))
                .arg(format!("--outputdir={}", out.display()))
                .stderr(Stdio::null()),
        )
    })
}

/// Makes one dump.
pub(crate) fn once(once: &Once) {
    let text = fs::read_to_string(&once.config).expect("cannot read the configuration");
    let config = Config::parse(&text, &once.config).expect("the configuration is right");
    let job = DumpJob {
        source: config.sources[0].clone(),
        task: config.tasks[0].clone(),
        folder: once.folder.clone(),
        relay_from: None,
        relay: None,
        made_here: None,
    };
    let (writer, _feed) = feed::feed();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .expect("cannot make a runtime");
    let made = runtime.block_on(dump::run(
        job,
        writer,
        Arc::new(dump::meter()),
        CancellationToken::new(),
    ));
    made.expect("the dump succeeds");
}
