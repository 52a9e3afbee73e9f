//! Every kind of binlog there is, from real servers into relay files: each complete file must be the
//! source's own, byte for byte, and the source's own program must be able to read it.
//!
//! `TIDEWAY_HUGE_EVENT` and `TIDEWAY_HUGE_TRANSACTION` are sizes in MiB.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tideway::config::{Address, RelayConfig, ServerConfig, SourceConfig, TlsConfig};
use tideway::model::{ErrorKind, Secret};
use tideway::relay_log::RelayLog;
use tideway::unit::relay::{self, Begin, Meter, RelayJob};
use tokio_util::sync::CancellationToken;

use crate::binlog_files;
use crate::support::server::PASSWORD;
use crate::support::{Client, Flavor, Server, ServerSpec};

/// How long the relay may take to come to a file.
fn limit() -> Duration {
    let huge = mib("TIDEWAY_HUGE_EVENT", 0) + mib("TIDEWAY_HUGE_TRANSACTION", 0);
    Duration::from_mins(3) + Duration::from_millis(200 * huge)
}

/// The place of the in-use flag in a binlog file. The server sets it when it begins the file and
/// clears it when it ends it; after a crash it stays. What is sent to replicas never has it.
const IN_USE_AT: usize = 4 + 17;

/// A relay at work, over restarts of its source.
struct Relay {
    folder: TempDir,
    log: Arc<RelayLog>,
    stop: CancellationToken,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Relay {
    fn start(server: &Server) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let log = RelayLog::open(folder.path()).unwrap();
        let stop = CancellationToken::new();
        let job = RelayJob {
            source: source(server.port()),
            server_id: 3_000_000_000 + std::process::id() % 100_000_000,
            log: Arc::clone(&log),
            begin: vec![Begin::Oldest],
        };
        let thread = std::thread::spawn({
            let stop = stop.clone();
            move || pull(&job, &stop)
        });
        Self {
            folder,
            log,
            stop,
            thread: Some(thread),
        }
    }

    /// Waits until everything before the file `name` has been published.
    fn await_file(&self, name: &str) {
        let limit = limit();
        let end = Instant::now() + limit;
        let reached = || {
            let tip = self.log.published().borrow().place.clone();
            tip.is_some_and(|place| *place.position.file >= *name)
        };
        while !reached() {
            let thread = self.thread.as_ref().expect("it was started");
            assert!(!thread.is_finished(), "the relay ended before `{name}`");
            assert!(Instant::now() < end, "`{name}` not within {limit:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Ends it; gives the folder of its files.
    fn end(&mut self) -> PathBuf {
        self.stop.cancel();
        let thread = self.thread.take().expect("it was started");
        thread.join().expect("the relay failed");
        let name = self.log.newest_folder().unwrap().name;
        self.folder.path().join(name)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Relays until told to stop. A source that restarts is waited for; anything else is a failure.
fn pull(job: &RelayJob, stop: &CancellationToken) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        while !stop.is_cancelled() {
            let meter = Meter::new(Arc::clone(&job.log));
            match relay::run(job.clone(), meter, stop.clone()).await {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::Connect => {
                    println!("the relay tries again: {error}");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                Err(error) => panic!("{}", error.report()),
            }
        }
    });
}

fn source(port: u16) -> SourceConfig {
    SourceConfig {
        server: ServerConfig {
            name: "a".into(),
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

/// Compares each file that the source writes no more, and has its program read ours. Gives the kinds
/// of events that our files hold.
fn assert_same(server: &Server, relay: &Path, crashed: &[String]) -> BTreeMap<String, usize> {
    let mut kinds = BTreeMap::new();
    let files = binlog_files::ended(server);
    for theirs in &files {
        let name = theirs.file_name().unwrap().to_str().unwrap();
        let ours = relay.join(name);
        let has_flag = crashed.iter().any(|crashed| crashed == name);
        if let Some(at) = first_difference(&ours, theirs, has_flag) {
            panic!(
                "`{name}` of {:?} is not the source's: {} and {} bytes, the first that differs: {at}",
                server.flavor(),
                fs::metadata(&ours).unwrap().len(),
                fs::metadata(theirs).unwrap().len()
            );
        }
        read_by_their_program(server.flavor(), &ours);
        binlog_files::read(&ours, |event, _| {
            *kinds.entry(event.header.kind.to_string()).or_default() += 1;
        });
    }
    assert!(!files.is_empty());
    kinds
}

/// The first byte in which two files differ, the flag of a file in use left out where there is one.
fn first_difference(ours: &Path, theirs: &Path, has_flag: bool) -> Option<u64> {
    const CHUNK: usize = 1 << 20;
    let open =
        |path: &Path| fs::File::open(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let (ours, theirs) = (open(ours), open(theirs));
    let mut at = 0;
    loop {
        let [a, b] = [&ours, &theirs].map(|file| {
            let mut chunk = Vec::new();
            file.take(CHUNK as u64).read_to_end(&mut chunk).unwrap();
            if at == 0 && has_flag {
                chunk[IN_USE_AT] = 0;
            }
            chunk
        });
        if a != b {
            let same = a.iter().zip(&b).take_while(|(a, b)| a == b).count();
            return Some(at + same as u64);
        }
        if a.is_empty() {
            return None;
        }
        at += a.len() as u64;
    }
}

fn read_by_their_program(flavor: Flavor, file: &Path) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/servers.sh");
    let output = Command::new(script)
        .args(["binlog", flavor.name(), "--verify-binlog-checksum"])
        .args(["--base64-output=decode-rows", "--force-read"])
        .arg(file)
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && !errors.contains("ERROR"),
        "{flavor:?} cannot read `{}`: {errors}",
        file.display()
    );
}

fn mib(variable: &str, usual: u64) -> u64 {
    let set = std::env::var(variable);
    set.map_or(usual, |text| text.parse().expect("a number of MiB"))
}

fn begin(flavor: Flavor) -> Server {
    let mut spec = ServerSpec::new(flavor)
        .option("--max-allowed-packet=1G")
        .option("--max-binlog-stmt-cache-size=4096")
        .option("--binlog-stmt-cache-size=4096");
    if flavor.is_mariadb() {
        spec = spec.option("--log-bin-compress-min-len=10");
    }
    let server = Server::start(spec);
    server.account("tideway", &[("ALL", "*.*")]);
    let mut client = server.client();
    client.run("CREATE DATABASE d");
    client.run(
        "CREATE TABLE d.t (id INT AUTO_INCREMENT PRIMARY KEY, a VARCHAR(200), b LONGBLOB, j JSON) \
         ENGINE=InnoDB; CREATE TABLE d.loose (id INT, a TEXT) ENGINE=MyISAM; \
         CREATE TABLE d.huge (b LONGBLOB) ENGINE=InnoDB",
    );
    server
}

/// What is done while the relay runs; each step's events are in a file of their own.
fn steps(flavor: Flavor) -> Vec<(&'static str, Vec<String>)> {
    const ROWS: &str = "INSERT INTO d.t (a, b, j) VALUES ('a longer text to be compressed, to be compressed', \
                        REPEAT('x', 5000), '{\"k\": [1, 2, {\"l\": \"m\"}]}'), ('b', NULL, NULL)";
    let own = |statements: &[&str]| statements.iter().map(|&s| s.to_owned()).collect::<Vec<_>>();
    let changes = "UPDATE d.t SET j = JSON_SET(j, '$.k[0]', 'changed') WHERE j IS NOT NULL; \
                   DELETE FROM d.t WHERE a = 'b' LIMIT 1";
    let mut steps = vec![
        ("plain", own(&[ROWS, changes])),
        (
            "full metadata",
            own(&["SET GLOBAL binlog_row_metadata = FULL", ROWS, changes]),
        ),
        (
            "xa",
            own(&[
                "XA START 'one','b',7; INSERT INTO d.t (a) VALUES ('xa'); XA END 'one','b',7; XA PREPARE 'one','b',7",
                "XA COMMIT 'one','b',7",
                "XA START 'two'; INSERT INTO d.t (a) VALUES ('xa'); XA END 'two'; XA PREPARE 'two'; XA ROLLBACK 'two'",
                "XA START 'three'; INSERT INTO d.t (a) VALUES ('xa'); XA END 'three'; XA COMMIT 'three' ONE PHASE",
            ]),
        ),
        (
            "no checksums",
            own(&["SET GLOBAL binlog_checksum = NONE", ROWS, changes]),
        ),
        (
            "checksums again",
            own(&["SET GLOBAL binlog_checksum = CRC32", ROWS, changes]),
        ),
        (
            "a huge event",
            vec![format!(
                "INSERT INTO d.huge VALUES (REPEAT('huge', {} << 18))",
                mib("TIDEWAY_HUGE_EVENT", 64)
            )],
        ),
        ("a long transaction", {
            let rows = mib("TIDEWAY_HUGE_TRANSACTION", 48) / 4;
            let row = "INSERT INTO d.huge VALUES (REPEAT('long', 1 << 20))";
            [
                vec!["START TRANSACTION".to_owned()],
                vec![row.to_owned(); rows as usize],
                own(&["COMMIT"]),
            ]
            .concat()
        }),
    ];
    let mut more = match flavor {
        Flavor::MySql97 => vec![
            (
                "compressed transactions",
                own(&[
                    "SET binlog_transaction_compression = ON",
                    ROWS,
                    changes,
                    "START TRANSACTION; INSERT INTO d.t (b) VALUES (REPEAT('c', 3000000)); DELETE FROM d.t WHERE a IS NULL; COMMIT",
                    "CREATE TABLE d.u (id INT)",
                    "SET binlog_transaction_compression = OFF",
                ]),
            ),
            (
                "partial documents",
                own(&[
                    "SET binlog_row_value_options = PARTIAL_JSON, binlog_rows_query_log_events = ON",
                    ROWS,
                    changes,
                    "SET binlog_transaction_compression = ON",
                    "UPDATE d.t SET j = JSON_SET(j, '$.k[1]', 'again') WHERE j IS NOT NULL",
                    "SET binlog_row_value_options = '', binlog_transaction_compression = OFF, \
                     binlog_rows_query_log_events = OFF",
                ]),
            ),
            (
                "tagged",
                own(&[
                    "SET gtid_next = 'AUTOMATIC:a_tag'",
                    ROWS,
                    "SET gtid_next = 'AUTOMATIC'",
                ]),
            ),
            (
                "minimal images",
                own(&[
                    "SET binlog_row_image = MINIMAL",
                    ROWS,
                    changes,
                    "SET binlog_row_image = FULL",
                ]),
            ),
        ],
        _ => vec![
            (
                "compressed events",
                own(&[
                    "SET GLOBAL log_bin_compress = ON",
                    ROWS,
                    changes,
                    "CREATE TABLE d.u (id INT)",
                    "SET GLOBAL log_bin_compress = OFF",
                ]),
            ),
            (
                "two-phase alter",
                own(&[
                    "SET binlog_alter_two_phase = ON",
                    "ALTER TABLE d.t ADD COLUMN two INT, ALGORITHM=COPY",
                    "SET binlog_alter_two_phase = OFF",
                ]),
            ),
            (
                "no text of statements",
                own(&[
                    "SET binlog_annotate_row_events = OFF",
                    ROWS,
                    "SET binlog_annotate_row_events = ON",
                ]),
            ),
            (
                "a sequence",
                own(&[
                    "CREATE SEQUENCE d.s",
                    "SELECT NEXTVAL(d.s)",
                    "DROP SEQUENCE d.s",
                ]),
            ),
        ],
    };
    steps.append(&mut more);
    steps
}

/// A statement that changes a table without transactions and is too long for the log: the server
/// writes that something is missing.
fn incident(client: &mut Client) {
    let sql = format!(
        "INSERT INTO d.loose VALUES (1, 'x'), (2, '{}')",
        "y".repeat(20_000)
    );
    client
        .try_run(&sql)
        .expect_err("the statement's events are longer than its cache");
}

fn every_special_kind(flavor: Flavor) {
    let mut server = begin(flavor);
    let mut relay = Relay::start(&server);
    let mut client = server.client();
    for (name, statements) in steps(flavor) {
        println!("{flavor:?}: {name}");
        for statement in statements {
            client.run(&statement);
        }
        client.run("FLUSH BINARY LOGS");
    }
    incident(&mut client);
    client.run("INSERT INTO d.t (a) VALUES ('behind the incident')");
    drop(client);
    // Ends a file with a stop event.
    server.restart();
    server.run("INSERT INTO d.t (a) VALUES ('after a stop')");
    let crashed = binlog_files::names(&server).pop().unwrap();
    server.kill9();
    server.restart();
    server.run("INSERT INTO d.t (a) VALUES ('after a crash')");
    server.run("FLUSH BINARY LOGS");
    let newest = binlog_files::names(&server).pop().unwrap();
    relay.await_file(&newest);
    let folder = relay.end();
    let kinds = assert_same(&server, &folder, &[crashed]);
    println!("{flavor:?}: {kinds:?}");
    let needed: &[&str] = if flavor.is_mariadb() {
        &[
            "ANNOTATE_ROWS",
            "BINLOG_CHECKPOINT",
            "GTID_LIST",
            "QUERY_COMPRESSED",
            "UPDATE_ROWS_COMPRESSED_V1",
            "WRITE_ROWS_COMPRESSED_V1",
        ]
    } else {
        &[
            "GTID_TAGGED",
            "PARTIAL_UPDATE_ROWS",
            "PREVIOUS_GTIDS",
            "ROWS_QUERY",
            "TRANSACTION_PAYLOAD",
        ]
    };
    for kind in needed
        .iter()
        .chain(&["INCIDENT", "STOP", "XA_PREPARE", "ROTATE", "XID"])
    {
        assert!(kinds.contains_key(*kind), "{kind} was not seen");
    }
}

#[test]
fn every_special_kind_of_mariadb_10_11() {
    every_special_kind(Flavor::MariaDb1011);
}

#[test]
fn every_special_kind_of_mariadb_11_8() {
    every_special_kind(Flavor::MariaDb118);
}

#[test]
fn every_special_kind_of_mysql_9_7() {
    every_special_kind(Flavor::MySql97);
}

/// A source that writes no checksums now still has files with them, and the other way round.
#[test]
fn files_keep_their_checksums_whatever_the_source_writes_now() {
    for flavor in [Flavor::MariaDb1011, Flavor::MariaDb118, Flavor::MySql97] {
        for last in ["NONE", "CRC32"] {
            let server = begin(flavor);
            let mut client = server.client();
            for n in 0..4 {
                let sum = if n % 2 == 0 { "NONE" } else { "CRC32" };
                client.run(&format!("SET GLOBAL binlog_checksum = {sum}"));
                client.run("INSERT INTO d.t (a) VALUES ('x')");
            }
            client.run(&format!("SET GLOBAL binlog_checksum = {last}"));
            client.run("INSERT INTO d.t (a) VALUES ('last')");
            client.run("FLUSH BINARY LOGS");
            let newest = binlog_files::names(&server).pop().unwrap();
            let mut relay = Relay::start(&server);
            relay.await_file(&newest);
            let folder = relay.end();
            assert_same(&server, &folder, &[]);
        }
    }
}

/// A server that breaks its own file: with the statements' text in its binlog, MySQL leaves half of an
/// event before the incident, and can read no further itself. Its replicas stop there.
#[test]
fn a_file_that_the_source_itself_broke_is_named_with_the_place() {
    let server = begin(Flavor::MySql97);
    let mut client = server.client();
    client.run("SET binlog_rows_query_log_events = ON");
    incident(&mut client);
    client.run("INSERT INTO d.t (a) VALUES ('behind the incident')");
    client.run("FLUSH BINARY LOGS");
    let theirs = server.data_folder().join("bin.000001");
    let folder = tempfile::tempdir().unwrap();
    let log = RelayLog::open(folder.path()).unwrap();
    let job = RelayJob {
        source: source(server.port()),
        server_id: 3_000_000_000 + std::process::id() % 100_000_000,
        log: Arc::clone(&log),
        begin: vec![Begin::Oldest],
    };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let meter = Meter::new(Arc::clone(&log));
    let pulled = runtime.block_on(relay::run(job, meter, CancellationToken::new()));
    let error = pulled.expect_err("the server sends no more than it can read");
    assert_eq!(error.kind(), ErrorKind::Damaged, "{}", error.report());
    let report = error.report();
    for part in ["1236", "bin.000001", "its own replicas stop"] {
        assert!(report.contains(part), "`{part}` is not in {report}");
    }
    // What is whole before it is here, and nothing else.
    let name = log.newest_folder().unwrap().name;
    let ours = fs::read(folder.path().join(name).join("bin.000001")).unwrap();
    let mut theirs = fs::read(theirs).unwrap();
    theirs[IN_USE_AT] = 0;
    assert!(theirs.starts_with(&ours) && ours.len() > 200 && ours.len() < theirs.len());
}
