//! The real binary, with a configuration in a temporary folder.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Output};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use super::process::Process;
use super::server::{PASSWORD, Server};

/// How long a test waits for a state, unless it says otherwise.
const LIMIT: Duration = Duration::from_secs(90);

/// A `[[task]]` to be.
#[derive(Clone, Debug)]
pub(crate) struct Task {
    text: String,
}

impl Task {
    /// A task that moves `tables` from `sources` to `target`.
    pub(crate) fn new(name: &str, sources: &[&str], target: &str, tables: &[&str]) -> Self {
        Self {
            text: format!(
                "[[task]]\nname = \"{name}\"\nsources = {sources:?}\ntarget = \"{target}\"\ntables = {tables:?}\n"
            ),
        }
    }

    /// Adds lines: keys first, then sub-tables.
    pub(crate) fn with(mut self, lines: &str) -> Self {
        self.text.push_str(lines);
        self.text.push('\n');
        self
    }

    /// Adds a route.
    pub(crate) fn route(self, from: &str, to: &str) -> Self {
        self.with(&format!("[[task.route]]\nfrom = \"{from}\"\nto = \"{to}\""))
    }
}

/// A task's text with the workers and the order of `TIDEWAY_TEST_WORKERS` (`1`, `16`, `16 strict`), unless
/// it has its own: so that the same tests try each way of applying.
fn with_workers(text: &str) -> String {
    let Ok(wanted) = std::env::var("TIDEWAY_TEST_WORKERS") else {
        return text.to_owned();
    };
    if text.contains("\nworkers = ") {
        return text.to_owned();
    }
    let (workers, order) = wanted.split_once(' ').unwrap_or((&wanted, "transactions"));
    let lines = format!("[task.sync]\nworkers = {workers}\norder = \"{order}\"\n");
    if text.contains("[task.sync]\n") {
        text.replace("[task.sync]\n", &lines)
    } else {
        format!("{text}{lines}")
    }
}

/// The program and its folder: `tideway.toml`, `data/`, `log`.
#[derive(Debug)]
pub(crate) struct Tideway {
    process: Option<Process>,
    folder: TempDir,
    config: String,
    data: PathBuf,
}

impl Default for Tideway {
    fn default() -> Self {
        Self::new()
    }
}

impl Tideway {
    /// An empty configuration: add sources, targets and tasks to it.
    pub(crate) fn new() -> Self {
        let folder = tempfile::Builder::new()
            .prefix("tideway-")
            .tempdir()
            .expect("cannot make a temporary folder");
        let secret = folder.path().join("password");
        fs::write(&secret, format!("{PASSWORD}\n")).expect("cannot write the password file");
        fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).expect("cannot chmod");
        Self {
            process: None,
            config: format!(
                "[worker]\ndata_dir = \"{}\"\n",
                folder.path().join("data").display()
            ),
            data: folder.path().join("data"),
            folder,
        }
    }

    /// Keeps its data in `folder` instead: on a small disk, or where another one left it.
    pub(crate) fn data_in(mut self, folder: &Path) -> Self {
        let usual = self.data.display().to_string();
        self.config = self.config.replace(&usual, &folder.display().to_string());
        folder.clone_into(&mut self.data);
        self
    }

    /// Adds text to the configuration as it is.
    pub(crate) fn with(mut self, text: &str) -> Self {
        self.config.push_str(text);
        self.config.push('\n');
        self
    }

    /// Adds `server` as a source, by the account `tideway` over TCP.
    pub(crate) fn source(self, name: &str, server: &Server) -> Self {
        self.source_with(name, server, "")
    }

    /// Adds a source with more lines; a key given there replaces the usual one.
    pub(crate) fn source_with(self, name: &str, server: &Server, lines: &str) -> Self {
        self.server("source", name, server.port(), lines)
    }

    /// Adds `server` as a target, by the account `tideway` over TCP.
    pub(crate) fn target(self, name: &str, server: &Server) -> Self {
        self.server("target", name, server.port(), "")
    }

    /// Adds a target with more lines; a key given there replaces the usual one.
    pub(crate) fn target_with(self, name: &str, server: &Server, lines: &str) -> Self {
        self.server("target", name, server.port(), lines)
    }

    fn server(mut self, kind: &str, name: &str, port: u16, lines: &str) -> Self {
        let _ = writeln!(self.config, "[[{kind}]]\nname = \"{name}\"");
        for (key, value) in [
            ("host", "\"127.0.0.1\"".to_owned()),
            ("port", port.to_string()),
            ("user", "\"tideway\"".to_owned()),
            ("password_file", "\"password\"".to_owned()),
        ] {
            let replaced = |line: &str| {
                let given = line.split('=').next().unwrap_or_default().trim();
                given == key || (key == "password_file" && given.starts_with("password"))
            };
            if !lines.lines().any(replaced) {
                let _ = writeln!(self.config, "{key} = {value}");
            }
        }
        self.config.push_str(lines);
        self.config.push('\n');
        self
    }

    /// Adds a task.
    pub(crate) fn task(mut self, task: &Task) -> Self {
        self.config.push_str(&with_workers(&task.text));
        self
    }

    /// Its folder.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// `worker.data_dir`.
    pub(crate) fn data_folder(&self) -> PathBuf {
        self.data.clone()
    }

    /// What all runs so far printed.
    pub(crate) fn log(&self) -> String {
        let bytes = fs::read(self.folder.path().join("log")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The program with `arguments` and the configuration as it is now.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let path = self.folder.path().join("tideway.toml");
        // A program just started may be reading it: it is never written while it is right.
        if fs::read_to_string(&path).ok().as_ref() != Some(&self.config) {
            fs::write(&path, &self.config).expect("cannot write the configuration");
        }
        let mut command = Command::new(env!("CARGO_BIN_EXE_tideway"));
        command
            .arg("--config")
            .arg(path)
            .args(arguments)
            .current_dir(self.folder.path());
        command
    }

    /// Runs the program to its end.
    pub(crate) fn output(&self, arguments: &[&str]) -> Output {
        self.command(arguments)
            .output()
            .expect("cannot start tideway")
    }

    /// Starts `tideway run`.
    pub(crate) fn start(&mut self) {
        self.start_with(&["run"]);
    }

    /// Starts it with other arguments.
    pub(crate) fn start_with(&mut self, arguments: &[&str]) {
        assert!(!self.is_running(), "it runs already");
        let command = self.command(arguments);
        let log = self.folder.path().join("log");
        self.process = Some(Process::start(&command, &log, self.folder.path()));
    }

    /// Whether it runs.
    pub(crate) fn is_running(&mut self) -> bool {
        self.process.as_mut().is_some_and(Process::is_running)
    }

    /// The process id of what was started.
    pub(crate) fn id(&self) -> i32 {
        self.process.as_ref().expect("it was started").id()
    }

    /// Ends it as a crash would.
    pub(crate) fn kill9(&mut self) {
        self.process.take().expect("it was started").kill9();
    }

    /// Freezes it (`SIGSTOP`): it does nothing, and its connections stay open.
    pub(crate) fn freeze(&mut self) {
        let process = self.process.as_mut().expect("it was started");
        process.signal(Signal::STOP);
    }

    /// Lets it go on after [`Tideway::freeze`].
    pub(crate) fn thaw(&mut self) {
        let process = self.process.as_mut().expect("it was started");
        process.signal(Signal::CONT);
    }

    /// Asks it to end, and waits.
    pub(crate) fn terminate(&mut self) -> ExitStatus {
        let mut process = self.process.take().expect("it was started");
        process.signal(Signal::TERM);
        let Some(status) = process.wait(Duration::from_secs(30)) else {
            panic!(
                "it does not end within 30 s after SIGTERM\n{}",
                self.story()
            );
        };
        status
    }

    /// Waits for its own end.
    pub(crate) fn wait(&mut self, limit: Duration) -> ExitStatus {
        let mut process = self.process.take().expect("it was started");
        let Some(status) = process.wait(limit) else {
            self.process = Some(process);
            panic!("it does not end within {limit:?}\n{}", self.story());
        };
        status
    }

    /// Waits for its own end for as long as it gets on: a busy machine may be far behind, and is not stuck.
    fn wait_while_it_gets_on(&mut self) -> ExitStatus {
        let mut before = Vec::new();
        loop {
            let mut process = self.process.take().expect("it was started");
            if let Some(status) = process.wait(Duration::from_mins(2)) {
                return status;
            }
            self.process = Some(process);
            let now: Vec<(Value, Value)> = self
                .status()
                .iter()
                .flat_map(streams)
                .map(|stream| (stream["position"].clone(), stream["rows_applied"].clone()))
                .collect();
            assert!(now != before, "it gets no further\n{}", self.story());
            before = now;
        }
    }

    /// `run --until caught-up`: everything loaded and applied; fails the test otherwise.
    pub(crate) fn catch_up(&mut self) {
        self.start_with(&["run", "--until", "caught-up"]);
        let status = self.wait_while_it_gets_on();
        assert!(
            status.success(),
            "`run --until caught-up`: {status}\n{}",
            self.story()
        );
    }

    /// `status --json`; `None` while nobody answers.
    pub(crate) fn status(&self) -> Option<Value> {
        let output = self.output(&["status", "--json"]);
        if !output.status.success() {
            return None;
        }
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        Some(
            serde_json::from_str(&text)
                .unwrap_or_else(|error| panic!("`status --json` is no JSON: {error}\n{text}")),
        )
    }

    /// `ctl`; fails the test unless it succeeds.
    pub(crate) fn ctl(&self, arguments: &[&str]) -> String {
        let output = self.output(&[&["ctl"], arguments].concat());
        assert!(
            output.status.success(),
            "`ctl {}` failed: {}\n{}",
            arguments.join(" "),
            String::from_utf8_lossy(&output.stderr),
            self.story()
        );
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Waits until `reached` holds of the status; prints status and log if it does not in time.
    pub(crate) fn await_status(&mut self, what: &str, reached: impl Fn(&Value) -> bool) -> Value {
        let end = Instant::now() + LIMIT;
        loop {
            let status = self.status();
            if let Some(status) = status.filter(&reached) {
                return status;
            }
            assert!(
                self.is_running(),
                "it ended while the test waited for: {what}\n{}",
                self.story()
            );
            assert!(
                Instant::now() < end,
                "not within {LIMIT:?}: {what}\n{}",
                self.story()
            );
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Waits until every stream is in `unit` and `stage`.
    pub(crate) fn await_streams(&mut self, unit: &str, stage: &str) -> Value {
        self.await_status(&format!("all streams in {unit}, {stage}"), |status| {
            let streams = streams(status);
            !streams.is_empty()
                && streams
                    .iter()
                    .all(|stream| stream["unit"] == unit && stream["stage"] == stage)
        })
    }

    /// Waits until the stream of `task` and `source` is in `stage`.
    pub(crate) fn await_stream(&mut self, task: &str, source: &str, stage: &str) -> Value {
        let of = |status: &Value| {
            streams(status)
                .iter()
                .find(|stream| stream["task"] == task && stream["source"] == source)
                .cloned()
        };
        let status = self.await_status(&format!("{task}/{source} {stage}"), |status| {
            of(status).is_some_and(|stream| stream["stage"] == stage)
        });
        of(&status).expect("it was there a moment ago")
    }

    /// Status and log, for a failure.
    pub(crate) fn story(&self) -> String {
        let status = self.output(&["status", "--json"]);
        let log = self.log();
        let tail: Vec<&str> = log.lines().rev().take(60).collect();
        let mut text = format!(
            "--- status: {}{}\n--- log, newest last:\n",
            String::from_utf8_lossy(&status.stdout),
            String::from_utf8_lossy(&status.stderr)
        );
        for line in tail.into_iter().rev() {
            text.push_str(line);
            text.push('\n');
        }
        text
    }
}

/// The `streams` of a status.
pub(crate) fn streams(status: &Value) -> &[Value] {
    status["streams"].as_array().map_or(&[], Vec::as_slice)
}
