//! Private database servers: real ones, each in a temporary folder, on a free port.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tempfile::TempDir;

use super::client::Client;
use super::process::Process;
use super::slots::{self, Slot};

/// The password of every account that the tests make: looked for in all outputs.
pub(crate) const PASSWORD: &str = "s3cret-Pa55 \"w'ord";

/// How long a server may take to answer.
const START_LIMIT: Duration = Duration::from_mins(1);

/// Which server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flavor {
    /// Debian's own.
    MariaDb1011,
    /// Unpacked from the next Debian.
    MariaDb118,
    /// Unpacked from Debian's unstable suite.
    MySql97,
}

impl Flavor {
    /// Its name for `servers.sh`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::MariaDb1011 => "mariadb-system",
            Self::MariaDb118 => "mariadb-11",
            Self::MySql97 => "mysql-9",
        }
    }

    /// Whether it is one of MariaDB's.
    pub(crate) fn is_mariadb(self) -> bool {
        self != Self::MySql97
    }
}

/// What to start.
#[derive(Clone, Debug)]
pub(crate) struct ServerSpec {
    flavor: Flavor,
    options: Vec<String>,
    encrypts: bool,
}

impl ServerSpec {
    /// A server with the usual options: binlog on, row format, GTID on MySQL.
    pub(crate) fn new(flavor: Flavor) -> Self {
        Self {
            flavor,
            options: Vec::new(),
            encrypts: false,
        }
    }

    /// Has it keep its binlog encrypted, with a key of its own.
    pub(crate) fn encrypted(mut self) -> Self {
        self.encrypts = true;
        self
    }

    /// Adds an option, such as `--binlog-format=MIXED`; the last one counts.
    pub(crate) fn option(mut self, option: &str) -> Self {
        self.options.push(option.to_owned());
        self
    }
}

impl From<Flavor> for ServerSpec {
    fn from(flavor: Flavor) -> Self {
        Self::new(flavor)
    }
}

/// A running server; it ends, and its folder is removed, when this is dropped.
#[derive(Debug)]
pub(crate) struct Server {
    // Dropped in this order: the process, then its folder, then the right to run it.
    process: Process,
    folder: TempDir,
    slot: Slot,
    flavor: Flavor,
    options: Vec<String>,
    port: u16,
}

impl Server {
    /// Starts one. A test that needs several takes them in one call: [`Server::start_all`].
    pub(crate) fn start(spec: impl Into<ServerSpec>) -> Self {
        let [server] = Self::start_all([spec.into()]);
        server
    }

    /// Starts several, together.
    pub(crate) fn start_all<const N: usize>(specs: [impl Into<ServerSpec>; N]) -> [Self; N] {
        let mut slots = slots::take(N);
        let mut servers = specs.map(|spec| {
            let slot = slots.pop().expect("as many slots as servers were taken");
            Self::launch(spec.into(), slot)
        });
        for server in &mut servers {
            server.await_answer();
        }
        servers
    }

    /// Waits until a query's one value is `wanted`; its table may still be to come.
    pub(crate) fn await_value(&self, sql: &str, wanted: &str) {
        let mut last = String::from("nothing");
        for _ in 0..600 {
            let mut client = self.client();
            if client.try_run(sql).is_ok() {
                last = client.value(sql);
                if last == wanted {
                    return;
                }
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("`{sql}` stays {last}, not {wanted}");
    }

    fn launch(spec: ServerSpec, slot: Slot) -> Self {
        // A socket's path holds 107 bytes: the name is short.
        let folder = tempfile::Builder::new()
            .prefix("tideway-")
            .tempdir()
            .expect("cannot make a temporary folder");
        let made = Command::new(script())
            .args(["create", spec.flavor.name()])
            .arg(folder.path().join("data"))
            .output()
            .expect("cannot run servers.sh");
        assert!(
            made.status.success(),
            "cannot make a data folder: {}",
            String::from_utf8_lossy(&made.stderr)
        );
        let mut options = vec![format!("--server-id={}", next_server_id())];
        if spec.encrypts {
            options.extend(encryption(spec.flavor, folder.path()));
        }
        options.extend(spec.options);
        let port = free_port();
        let process = spawn(folder.path(), spec.flavor, port, &options);
        Self {
            process,
            folder,
            slot,
            flavor: spec.flavor,
            options,
            port,
        }
    }

    /// Waits until it answers; one whose port was taken meanwhile gets another.
    fn await_answer(&mut self) {
        let end = Instant::now() + START_LIMIT;
        let mut tries = 0;
        loop {
            if Client::root(&self.socket()).is_ok() {
                return;
            }
            if !self.process.is_running() {
                tries += 1;
                let log = self.log();
                assert!(
                    tries < 4 && log.contains("Address already in use"),
                    "the server ended at its start:\n{log}"
                );
                self.port = free_port();
                self.spawn();
            }
            assert!(
                Instant::now() < end,
                "no answer from the server after {START_LIMIT:?}:\n{}",
                self.log()
            );
            std::thread::sleep(Duration::from_millis(30));
        }
    }

    fn spawn(&mut self) {
        self.process = spawn(self.folder.path(), self.flavor, self.port, &self.options);
    }

    /// Which it is.
    pub(crate) fn flavor(&self) -> Flavor {
        self.flavor
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.process.id().cast_unsigned()
    }

    /// Its TCP port on 127.0.0.1.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Its Unix socket.
    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.path().join("s")
    }

    /// Its data folder, with the binlog files `bin.000001`, ….
    pub(crate) fn data_folder(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// What it wrote to its log.
    pub(crate) fn log(&self) -> String {
        let bytes = std::fs::read(self.folder.path().join("log")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// A new connection as root.
    pub(crate) fn client(&self) -> Client {
        Client::root(&self.socket())
            .unwrap_or_else(|error| panic!("cannot connect as root: {error}\n{}", self.log()))
    }

    /// Runs statements as root.
    pub(crate) fn run(&self, sql: &str) {
        self.client().run(sql);
    }

    /// Ends it as a crash would.
    pub(crate) fn kill9(&mut self) {
        self.process.kill9();
    }

    /// Ends it cleanly.
    pub(crate) fn stop(&mut self) {
        self.process.signal(Signal::TERM);
        assert!(
            self.process.wait(START_LIMIT).is_some(),
            "the server does not stop:\n{}",
            self.log()
        );
    }

    /// Starts it again, on the same port, after it was ended or ends it first.
    pub(crate) fn restart(&mut self) {
        if self.process.is_running() {
            self.stop();
        }
        self.spawn();
        self.await_answer();
    }

    /// Adds an option for the next [`Server::restart`].
    pub(crate) fn set_option(&mut self, option: &str) {
        self.options.push(option.to_owned());
    }

    /// Freezes it (`SIGSTOP`): connections stay open and silent.
    pub(crate) fn freeze(&mut self) {
        self.process.signal(Signal::STOP);
    }

    /// Lets it go on after [`Server::freeze`].
    pub(crate) fn thaw(&mut self) {
        self.process.signal(Signal::CONT);
    }

    /// Makes an account with [`PASSWORD`] and exactly these grants: `("SELECT", "shop.*")`.
    pub(crate) fn account(&self, name: &str, grants: &[(&str, &str)]) {
        let mut client = self.client();
        // Not into the binlog: there the password would stand as it is, and a relay keeps every byte.
        client.run(&format!(
            "SET sql_log_bin = 0; DROP USER IF EXISTS '{name}'@'%'; CREATE USER '{name}'@'%' IDENTIFIED BY '{}'",
            PASSWORD.replace('\'', "''")
        ));
        for (privileges, object) in grants {
            client.run(&format!("GRANT {privileges} ON {object} TO '{name}'@'%'"));
        }
    }

    /// The account `tideway` with the documented minimum of a source: relay, dump and sync.
    pub(crate) fn source_account(&self, schemas: &[&str]) {
        let mut grants = vec![(
            "RELOAD, REPLICATION SLAVE, REPLICATION CLIENT",
            "*.*".to_owned(),
        )];
        grants.extend(schemas.iter().map(|schema| ("SELECT", object(schema))));
        self.account("tideway", &borrowed(&grants));
    }

    /// The account `tideway` with the documented minimum of a target: load and sync, foreign keys too.
    pub(crate) fn target_account(&self, schemas: &[&str]) {
        let mut grants = vec![(
            "SELECT, INSERT, UPDATE, DELETE, CREATE, DROP, ALTER, INDEX",
            object("tideway"),
        )];
        grants.extend(schemas.iter().map(|schema| {
            (
                "SELECT, INSERT, UPDATE, DELETE, CREATE, DROP, ALTER, INDEX, REFERENCES",
                object(schema),
            )
        }));
        self.account("tideway", &borrowed(&grants));
    }
}

fn object(schema: &str) -> String {
    // `_` and `%` are patterns in a database-level grant.
    let literal = schema.replace('_', "\\_").replace('%', "\\%");
    format!("`{literal}`.*")
}

fn borrowed<'a>(grants: &'a [(&'a str, String)]) -> Vec<(&'a str, &'a str)> {
    grants
        .iter()
        .map(|(privileges, object)| (*privileges, object.as_str()))
        .collect()
}

fn spawn(folder: &Path, flavor: Flavor, port: u16, options: &[String]) -> Process {
    let mut command = Command::new(script());
    command
        .args(["run", flavor.name()])
        .arg(folder.join("data"))
        .arg(folder.join("s"))
        .arg(port.to_string())
        .args(options);
    Process::start(&command, &folder.join("log"), folder)
}

/// MySQL's component that keeps keys in a file.
const KEYRING: &str = "component_keyring_file";

/// What a server needs to encrypt its binlog: a key in `folder`, which holds its data folder.
fn encryption(flavor: Flavor, folder: &Path) -> Vec<String> {
    if flavor.is_mariadb() {
        let keys = folder.join("keys");
        std::fs::write(&keys, format!("1;{}\n", "0123456789abcdef".repeat(2)))
            .expect("cannot write a key");
        return vec![
            "--plugin-load-add=file_key_management".into(),
            format!("--file-key-management-filename={}", keys.display()),
            "--encrypt-binlog=ON".into(),
        ];
    }
    // The keyring is a component, which looks for its settings beside itself.
    let plugins = folder.join("plugins");
    let program = Command::new(script())
        .args(["plugins", flavor.name()])
        .output()
        .expect("cannot run servers.sh");
    let theirs = String::from_utf8_lossy(&program.stdout).trim().to_owned();
    let library = format!("{KEYRING}.so");
    let settings = format!(
        "{{\"path\": \"{}/keyring\", \"read_only\": false}}",
        folder.display()
    );
    let manifest = format!("{{\"components\": \"file://{KEYRING}\"}}");
    std::fs::create_dir(&plugins)
        .and_then(|()| {
            std::os::unix::fs::symlink(Path::new(&theirs).join(&library), plugins.join(&library))
        })
        .and_then(|()| std::fs::write(plugins.join(format!("{KEYRING}.cnf")), settings))
        .and_then(|()| std::fs::write(folder.join("data/mysqld.my"), manifest))
        .expect("cannot make a keyring");
    vec![
        format!("--plugin-dir={}", plugins.display()),
        "--binlog-encryption=ON".into(),
    ]
}

fn script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/servers.sh")
}

/// A port that was free a moment ago. The system hands out others for a while before this one again.
fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("no free port");
    listener.local_addr().expect("it is bound").port()
}

/// Unlike those of other test processes, too: replication refuses two of one id.
fn next_server_id() -> u32 {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    (std::process::id() % 10_000_000) * 100 + NEXT.fetch_add(1, Ordering::Relaxed)
}
