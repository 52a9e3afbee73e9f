//! A backlog of binlog, from a server over TCP into files: our relay beside the servers' own programs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use tideway::config::{Address, RelayConfig, ServerConfig, SourceConfig, TlsConfig};
use tideway::model::Secret;
use tideway::relay_log::RelayLog;
use tideway::unit::relay::{self, Begin, Meter, RelayJob};
use tokio_util::sync::CancellationToken;

use crate::binlogs::{Backlog, Shape};
use crate::measure::{Cost, run_well};
use crate::report::{Pairs, Table, median_of, peak_mib};
use crate::support::Flavor;
use crate::support::server::PASSWORD;

/// What can be chosen.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// The backlog's size in MiB.
    #[arg(long, default_value_t = 256)]
    size: u64,
    /// How many rounds of A, B, B, A.
    #[arg(long, default_value_t = 2)]
    rounds: usize,
    /// Only this server: `mariadb-10.11`, `mariadb-11.8` or `mysql-9.7`.
    #[arg(long, default_value = "mariadb-10.11")]
    server: String,
}

/// One relay.
#[derive(Debug, Args)]
pub(crate) struct Pull {
    #[arg(long)]
    port: u16,
    #[arg(long)]
    folder: PathBuf,
    /// The file that begins behind the backlog.
    #[arg(long)]
    until: String,
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
        "event B",
        "our CPU-s/GB",
        "theirs",
        "ratio by CPU",
        "our MB/s",
        "theirs",
        "our MiB",
        "theirs",
    ]);
    let mut notes = Vec::new();
    for (name, shape) in [("small events", Shape::Small), ("big events", Shape::Big)] {
        let backlog = Backlog::new(flavor, shape, options.size << 20);
        let pairs = Pairs::take(
            options.rounds,
            || ours(&backlog),
            || theirs(flavor, &backlog),
        );
        let gb = backlog.bytes as f64 / 1e9;
        let per_gb = |costs: &[Cost]| format!("{:.2}", median_of(costs, |cost| cost.cpu / gb));
        let speed =
            |costs: &[Cost]| format!("{:.0}", median_of(costs, |cost| gb * 1000.0 / cost.wall));
        table.row([
            format!("{name}, {gb:.2} GB"),
            (backlog.bytes / backlog.events).to_string(),
            per_gb(&pairs.ours),
            per_gb(&pairs.theirs),
            pairs.ratio(),
            speed(&pairs.ours),
            speed(&pairs.theirs),
            format!("{:.0}", peak_mib(&pairs.ours)),
            format!("{:.0}", peak_mib(&pairs.theirs)),
        ]);
        notes.push(format!("{name}: {}", pairs.load()));
    }
    println!(
        "\nPulling a backlog from {} over TCP; theirs is its own client with `--raw`.\n\
         Ours checks every checksum, keeps what it has received after a crash, and compares each file\n\
         with the source's at the end of each run.\n",
        options.server
    );
    table.print();
    println!("{}", notes.join("; "));
}

fn ours(backlog: &Backlog) -> Cost {
    let folder = tempfile::tempdir().expect("cannot make a folder");
    let me = std::env::current_exe().expect("this program has a path");
    let cost = run_well(
        Command::new(me)
            .arg("pull")
            .args(["--port", &backlog.server.port().to_string()])
            .args(["--until", &format!("bin.{:06}", backlog.files.len() + 1)])
            .arg("--folder")
            .arg(folder.path()),
    );
    let relay = fs::read_dir(folder.path())
        .expect("the relay has written")
        .flatten();
    let relay = relay.map(|entry| entry.path()).find(|path| path.is_dir());
    assert_same(backlog, &relay.expect("the relay made a folder"));
    cost
}

fn theirs(flavor: Flavor, backlog: &Backlog) -> Cost {
    let folder = tempfile::tempdir().expect("cannot make a folder");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/servers.sh");
    let mut command = Command::new(script);
    command
        .args([
            "binlog",
            flavor.name(),
            "--raw",
            "--read-from-remote-server",
        ])
        .args(["--host=127.0.0.1", "--protocol=tcp", "--user=tideway"])
        .arg(format!("--port={}", backlog.server.port()))
        .arg(format!("--password={PASSWORD}"))
        .arg(format!("--result-file={}/", folder.path().display()));
    command.args(backlog.files.iter().map(|file| file.file_name().unwrap()));
    let cost = run_well(&mut command);
    assert_same(backlog, folder.path());
    cost
}

fn assert_same(backlog: &Backlog, folder: &Path) {
    for file in &backlog.files {
        let copy = folder.join(file.file_name().expect("a file has a name"));
        let same = Command::new("cmp").arg("-s").arg(file).arg(&copy).status();
        assert!(
            same.expect("cannot start `cmp`").success(),
            "`{}` is not what the source has",
            copy.display()
        );
    }
}

/// Pulls until the file `until` has begun.
pub(crate) fn pull(pull: &Pull) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .expect("cannot start the runtime");
    runtime.block_on(async {
        let log = RelayLog::open(&pull.folder).unwrap();
        let job = RelayJob {
            source: source(pull.port),
            server_id: 4_000_000_000 + std::process::id() % 100_000_000,
            log: Arc::clone(&log),
            begin: vec![Begin::Oldest],
        };
        let stop = CancellationToken::new();
        let mut tip = log.published();
        let reached = async {
            let is_there = |place: &tideway::model::Place| place.position.file == pull.until;
            let reached = tip.wait_for(|tip| tip.place.as_ref().is_some_and(is_there));
            reached.await.map(|_| ()).expect("the log is there");
            stop.cancel();
        };
        let run = relay::run(job, Meter::new(Arc::clone(&log)), stop.clone());
        let (result, ()) = tokio::time::timeout(Duration::from_mins(10), async {
            tokio::join!(run, reached)
        })
        .await
        .expect("the relay does not come to the end");
        result.unwrap();
    });
}

fn source(port: u16) -> SourceConfig {
    SourceConfig {
        server: ServerConfig {
            name: "source".into(),
            address: Address::Tcp {
                host: "127.0.0.1".into(),
                port,
            },
            user: "tideway".into(),
            password: Some(Secret::new(PASSWORD)),
            password_file: None,
            tls: TlsConfig::default(),
        },
        server_id: None,
        relay: RelayConfig {
            keep_free_bytes: 0,
            ..RelayConfig::default()
        },
        heartbeat: None,
    }
}
