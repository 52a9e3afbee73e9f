//! A whole copy, dump and load at once: this program beside `mydumper`, then `myloader`.
//!
//! The source's CPU is the dump's cost, the target's the load's; both tools use as many threads and
//! the same two servers, and every copy is compared with the source before it counts.

use std::process::Stdio;

use crate::measure::{Cost, run_well};
use crate::shapes::{
    Figures, Options, Rounds, Taken, clear, expect_same, fill, mydumper, myloader,
};
use crate::support::Server;
use crate::support::tideway::{Task, Tideway};

/// Runs the benchmark.
pub(crate) fn run(options: &Options) {
    let [source, target] = options.servers();
    let mut figures = Figures::new(&[
        "shape",
        "rows",
        "our s",
        "theirs",
        "times as fast",
        "our CPU-s",
        "theirs",
        "source's",
        "theirs",
        "target's",
        "theirs",
        "target's ratio",
        "all CPU, ratio",
        "our MiB",
        "theirs",
        "load",
    ]);
    println!(
        "\n{} to the same, {} threads, redo flushed once a second, the target without a binlog; theirs \
         is mydumper, then myloader.\n",
        options.server, options.threads,
    );
    for shape in options.shapes.chars() {
        let rows = fill(&source, shape, options.size);
        let rounds = Rounds::take(
            options.rounds,
            || ours(options, &source, &target),
            || theirs(options, &source, &target),
        );
        let [our_wall, their_wall] = rounds.both(|t| t.client.wall, 2);
        let [our_cpu, their_cpu] = rounds.both(|t| t.client.cpu, 2);
        let [our_source, their_source] = rounds.both(|t| t.source, 2);
        let [our_target, their_target] = rounds.both(|t| t.target, 2);
        let [our_peak, their_peak] = rounds.both(Taken::peak_mib, 0);
        figures.row([
            shape.to_string(),
            rows.to_string(),
            our_wall,
            their_wall,
            rounds.speedup(),
            our_cpu,
            their_cpu,
            our_source,
            their_source,
            our_target,
            their_target,
            rounds.ratio(|t| t.target),
            rounds.ratio(Taken::cpu),
            our_peak,
            their_peak,
            rounds.load(),
        ]);
    }
}

/// Empties the target, copies, compares.
fn taken(source: &Server, target: &Server, copy: impl FnOnce() -> Cost) -> Taken {
    clear(target);
    let taken = Taken::of(Some(source), Some(target), copy);
    expect_same(source, target);
    taken
}

fn ours(options: &Options, source: &Server, target: &Server) -> Taken {
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
        run_well(command.stdout(Stdio::null()).stderr(Stdio::null()))
    })
}

fn theirs(options: &Options, source: &Server, target: &Server) -> Taken {
    let folder = tempfile::tempdir().expect("cannot make a folder");
    let folder = folder.path().join("dump");
    taken(source, target, || {
        let dump = run_well(&mut mydumper(source, options, &folder));
        let load = run_well(&mut myloader(target, options, &folder));
        Cost {
            cpu: dump.cpu + load.cpu,
            wall: dump.wall + load.wall,
            peak: dump.peak.max(load.peak),
        }
    })
}
