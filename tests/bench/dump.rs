//! A dump alone, beside `mydumper`'s: what each and the server it reads from use for a gigabyte.
//!
//! The gigabyte is one of SQL as `mydumper` writes it, for both alike. Of each shape one of our dumps is
//! loaded and compared with the source before its figures count.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use clap::Args;
use tempfile::TempDir;
use tideway::config::Config;
use tideway::dump_files::{Manifest, feed};
use tideway::unit::dump::{self, DumpJob};
use tokio_util::sync::CancellationToken;

use crate::load::load_ours;
use crate::measure::run_well;
use crate::shapes::{Figures, Options, Rounds, Taken, clear, expect_same, fill, mydumper};
use crate::support::Server;
use crate::support::server::PASSWORD;

/// One dump, by a process of its own so that it can be measured.
#[derive(Debug, Args)]
pub(crate) struct Once {
    config: PathBuf,
    folder: PathBuf,
}

/// A dump of ours, and the configuration it was made by.
pub(crate) struct Dumped {
    /// Both are in here.
    pub(crate) folder: TempDir,
    /// What it took.
    pub(crate) taken: Taken,
}

impl Dumped {
    /// The dump's own folder.
    pub(crate) fn files(&self) -> PathBuf {
        self.folder.path().join("dump")
    }

    /// The configuration's file.
    pub(crate) fn config(&self) -> PathBuf {
        self.folder.path().join("tideway.toml")
    }
}

/// Runs the benchmark.
pub(crate) fn run(options: &Options) {
    let [source, target] = options.servers();
    let mut figures = Figures::new(&[
        "shape",
        "rows",
        "our MB",
        "theirs",
        "our s",
        "theirs",
        "times as fast",
        "our rows/s",
        "our CPU-s/GB",
        "theirs",
        "server's",
        "theirs",
        "together, ratio",
        "our MiB",
        "theirs",
        "lock ms",
        "load",
    ]);
    println!(
        "\n{}, {} threads; ours are brought to disk, theirs are not.\n",
        options.server, options.threads,
    );
    for shape in options.shapes.chars() {
        let rows = fill(&source, shape, options.size);
        // Into memory, for both alike.
        let (_, their_bytes) = theirs(options, &source);
        let dumped = ours(options, &source, &target);
        let our_bytes = size_of(&dumped.files());
        load_ours(&dumped, &target);
        expect_same(&source, &target);
        clear(&target);
        let mut locks = Vec::new();
        let rounds = Rounds::take(
            options.rounds,
            || {
                let dumped = ours(options, &source, &target);
                locks.push(lock_millis(&dumped.files()));
                dumped.taken
            },
            || theirs(options, &source).0,
        );
        let gb = their_bytes / 1e9;
        let [our_wall, their_wall] = rounds.both(|t| t.client.wall, 2);
        let [our_cpu, their_cpu] = rounds.both(|t| t.client.cpu / gb, 2);
        let [our_server, their_server] = rounds.both(|t| t.source / gb, 2);
        let [our_peak, their_peak] = rounds.both(Taken::peak_mib, 0);
        let [our_rate, _] = rounds.both(|t| rows as f64 / t.client.wall, 0);
        figures.row([
            shape.to_string(),
            rows.to_string(),
            format!("{:.0}", our_bytes / 1e6),
            format!("{:.0}", their_bytes / 1e6),
            our_wall,
            their_wall,
            rounds.speedup(),
            our_rate,
            our_cpu,
            their_cpu,
            our_server,
            their_server,
            rounds.ratio(Taken::cpu),
            our_peak,
            their_peak,
            locks.join(" "),
            rounds.load(),
        ]);
    }
}

/// The bytes of a folder's files.
fn size_of(folder: &Path) -> f64 {
    let entries = fs::read_dir(folder).expect("the dump has written a folder");
    let sizes = entries.map(|entry| entry.and_then(|e| e.metadata()).map_or(0, |m| m.len()));
    sizes.sum::<u64>() as f64
}

/// How long the dump held the source's lock, as it says itself.
fn lock_millis(folder: &Path) -> String {
    let manifest = Manifest::find(folder).expect("the manifest can be read");
    let notes = manifest.expect("the dump is whole").header.notes;
    let words = notes.iter().find_map(|note| note.split_once(" ms"));
    words.map_or_else(
        || "none".to_owned(),
        |(before, _)| {
            before
                .split_whitespace()
                .last()
                .unwrap_or_default()
                .to_owned()
        },
    )
}

/// Makes one of our dumps of the source, with a configuration that can load it into the target.
pub(crate) fn ours(options: &Options, source: &Server, target: &Server) -> Dumped {
    let folder = tempfile::tempdir().expect("cannot make a folder");
    let server = |kind: &str, server: &Server| {
        format!(
            "[[{kind}]]\nname = \"{kind}\"\nhost = \"127.0.0.1\"\nport = {}\nuser = \"tideway\"\n\
             password = {PASSWORD:?}\n",
            server.port()
        )
    };
    let threads = options.threads;
    let text = format!(
        "[worker]\ndata_dir = \"{}\"\n{}{}[[task]]\nname = \"d\"\nsources = [\"source\"]\n\
         target = \"target\"\nmode = \"full\"\ntables = [\"bench.*\"]\n[task.dump]\n\
         threads = {threads}\n[task.load]\nthreads = {threads}\n",
        folder.path().join("data").display(),
        server("source", source),
        server("target", target),
    );
    let mut dumped = Dumped {
        folder,
        taken: Taken::default(),
    };
    fs::write(dumped.config(), text).expect("cannot write the configuration");
    dumped.taken = Taken::of(Some(source), None, || {
        let program = std::env::current_exe().expect("a program knows its file");
        run_well(
            Command::new(program)
                .arg("dump-once")
                .args([dumped.config(), dumped.files()])
                .stderr(Stdio::null()),
        )
    });
    dumped
}

fn theirs(options: &Options, source: &Server) -> (Taken, f64) {
    let folder = tempfile::tempdir().expect("cannot make a folder");
    let out = folder.path().join("dump");
    let taken = Taken::of(Some(source), None, || {
        run_well(&mut mydumper(source, options, &out))
    });
    (taken, size_of(&out))
}

/// Reads a configuration and makes what runs a unit.
pub(crate) fn setup(path: &Path) -> (Config, tokio::runtime::Runtime) {
    let text = fs::read_to_string(path).expect("cannot read the configuration");
    let config = Config::parse(&text, path).expect("the configuration is right");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .expect("cannot make a runtime");
    (config, runtime)
}

/// Makes one dump.
pub(crate) fn once(once: &Once) {
    let (config, runtime) = setup(&once.config);
    let job = DumpJob {
        source: config.sources[0].clone(),
        task: config.tasks[0].clone(),
        folder: once.folder.clone(),
        relay_from: None,
        relay: None,
        made_here: None,
    };
    let (writer, _feed) = feed::feed();
    let made = runtime.block_on(dump::run(
        job,
        writer,
        Arc::new(dump::meter()),
        CancellationToken::new(),
    ));
    made.expect("the dump succeeds");
}
