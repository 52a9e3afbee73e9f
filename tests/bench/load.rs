//! A load alone, of a whole dump: each program loads its own dump of the same rows.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;

use clap::Args;
use tideway::unit::load::{self, LoadJob, LoadOutcome};
use tokio_util::sync::CancellationToken;

use crate::dump::{self, Dumped};
use crate::measure::{Cost, run_well};
use crate::shapes::{
    Figures, Options, Rounds, Taken, clear, expect_same, fill, mydumper, myloader,
};
use crate::support::Server;

/// One load, by a process of its own so that it can be measured.
#[derive(Debug, Args)]
pub(crate) struct Once {
    config: PathBuf,
    folder: PathBuf,
}

/// Runs the benchmark.
pub(crate) fn run(options: &Options) {
    let [source, target] = options.servers();
    let mut figures = Figures::new(&[
        "shape",
        "rows",
        "our s",
        "theirs",
        "times as fast",
        "our rows/s",
        "our CPU-s/M rows",
        "theirs",
        "server's",
        "theirs",
        "server's ratio",
        "our MiB",
        "theirs",
        "load",
    ]);
    println!(
        "\n{}, {} threads, redo flushed once a second, no binlog; theirs is myloader.\n",
        options.server, options.threads,
    );
    for shape in options.shapes.chars() {
        let rows = fill(&source, shape, options.size);
        let dumped = dump::ours(options, &source, &target);
        let folder = tempfile::tempdir().expect("cannot make a folder");
        let theirs = folder.path().join("dump");
        run_well(&mut mydumper(&source, options, &theirs));
        let taken = |load: &dyn Fn() -> Cost| {
            clear(&target);
            let taken = Taken::of(None, Some(&target), load);
            expect_same(&source, &target);
            taken
        };
        let rounds = Rounds::take(
            options.rounds,
            || taken(&|| load_ours(&dumped, &target)),
            || taken(&|| run_well(&mut myloader(&target, options, &theirs))),
        );
        let millions = rows as f64 / 1e6;
        let [our_wall, their_wall] = rounds.both(|t| t.client.wall, 2);
        let [our_cpu, their_cpu] = rounds.both(|t| t.client.cpu / millions, 2);
        let [our_server, their_server] = rounds.both(|t| t.target / millions, 2);
        let [our_peak, their_peak] = rounds.both(Taken::peak_mib, 0);
        let [our_rate, _] = rounds.both(|t| rows as f64 / t.client.wall, 0);
        figures.row([
            shape.to_string(),
            rows.to_string(),
            our_wall,
            their_wall,
            rounds.speedup(),
            our_rate,
            our_cpu,
            their_cpu,
            our_server,
            their_server,
            rounds.ratio(|t| t.target),
            our_peak,
            their_peak,
            rounds.load(),
        ]);
    }
}

/// Loads one of our dumps.
pub(crate) fn load_ours(dumped: &Dumped, target: &Server) -> Cost {
    clear(target);
    let program = std::env::current_exe().expect("a program knows its file");
    run_well(
        Command::new(program)
            .arg("load-once")
            .args([dumped.config(), dumped.files()])
            .stderr(Stdio::null()),
    )
}

/// Makes one load.
pub(crate) fn once(once: &Once) {
    let (config, runtime) = dump::setup(&once.config);
    let job = LoadJob {
        folder: once.folder.clone(),
        task: config.tasks[0].clone(),
        source_name: config.sources[0].server.name.clone(),
        target: config.targets[0].clone(),
        meta_schema: config.worker.meta_schema.clone(),
        relay_folder: None,
        took_over: None,
    };
    let ended = runtime.block_on(load::run(
        job,
        None,
        Arc::new(load::meter()),
        CancellationToken::new(),
    ));
    assert!(
        matches!(ended, Ok(LoadOutcome::Complete(_))),
        "the load did not succeed: {ended:?}"
    );
}
