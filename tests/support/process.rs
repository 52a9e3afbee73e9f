//! Child processes that end with us, whatever happens to us.
//!
//! A small shell stands between: it starts the program, and kills it when its own standard input
//! closes. That input is a pipe only this process holds, so it closes when the value is dropped, and
//! also when this process is killed.

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

/// `$1` is the file for the output, `$2` the folder to remove if we vanish; the rest is the program.
const WATCHDOG: &str = r#"
log=$1 folder=$2; shift 2
exec 3<&0
"$@" </dev/null >>"$log" 2>&1 3<&- &
program=$!
echo $program
{ read -r _ <&3; kill -KILL $program 2>/dev/null; sleep 0.3; rm -rf "$folder"; } >/dev/null 2>&1 &
watch=$!
wait $program
status=$?
kill $watch 2>/dev/null
exit $status
"#;

/// A running program behind its watchdog.
#[derive(Debug)]
pub(crate) struct Process {
    watchdog: Child,
    program: Pid,
}

impl Process {
    /// Starts `program`; its output is appended to `log`. `folder` is removed should we be killed.
    pub(crate) fn start(program: &Command, log: &Path, folder: &Path) -> Self {
        let mut command = Command::new("sh");
        command
            .args(["-c", WATCHDOG, "watchdog"])
            .arg(log)
            .arg(folder)
            .arg(program.get_program())
            .args(program.get_args());
        for (name, value) in program.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        if let Some(folder) = program.get_current_dir() {
            command.current_dir(folder);
        }
        let mut watchdog = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            // Out of the terminal's group: an interrupt ends the test, and through the pipe this.
            .process_group(0)
            .spawn()
            .expect("cannot start `sh`");
        let mut line = String::new();
        BufReader::new(watchdog.stdout.take().expect("stdout is piped"))
            .read_line(&mut line)
            .expect("cannot read the watchdog's line");
        let program = line.trim().parse().ok().and_then(Pid::from_raw);
        Self {
            watchdog,
            program: program.expect("the watchdog prints a process id"),
        }
    }

    /// The program's process id.
    pub(crate) fn id(&self) -> i32 {
        self.program.as_raw_nonzero().get()
    }

    /// Whether it runs.
    pub(crate) fn is_running(&mut self) -> bool {
        matches!(self.watchdog.try_wait(), Ok(None))
    }

    /// Sends it a signal; one that has ended already does not mind.
    pub(crate) fn signal(&mut self, signal: Signal) {
        if self.is_running() {
            let _ = kill_process(self.program, signal);
        }
    }

    /// Waits until it ends; `None` if it does not within `limit`.
    pub(crate) fn wait(&mut self, limit: Duration) -> Option<ExitStatus> {
        let end = Instant::now() + limit;
        loop {
            if let Some(status) = self.watchdog.try_wait().expect("cannot wait for a child") {
                return Some(status);
            }
            if Instant::now() >= end {
                return None;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Ends it at once, as a crash would, and waits until it is gone.
    pub(crate) fn kill9(&mut self) {
        self.signal(Signal::KILL);
        assert!(
            self.wait(Duration::from_secs(20)).is_some(),
            "process {} outlives SIGKILL",
            self.id()
        );
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.is_running() {
            let _ = kill_process(self.program, Signal::KILL);
            if self.wait(Duration::from_secs(5)).is_none()
                && let Some(group) = Pid::from_raw(self.watchdog.id().cast_signed())
            {
                let _ = kill_process_group(group, Signal::KILL);
                let _ = self.watchdog.wait();
            }
        }
    }
}
