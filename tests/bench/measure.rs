//! What a process costs: CPU time, memory, bytes, the time on the wall.

use std::fs;
use std::process::{Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};

/// The kernel counts CPU time for `/proc` in hundredths of a second, on every architecture.
const TICKS: f64 = 100.0;
/// How often a running process is asked for its memory.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// What a piece of work took.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cost {
    /// Seconds of CPU, user and system together.
    pub(crate) cpu: f64,
    /// Seconds on the wall.
    pub(crate) wall: f64,
    /// The most memory it had at a time, in bytes.
    pub(crate) peak: u64,
}

/// Seconds of CPU that a process has used, and its children that have ended.
pub(crate) fn cpu_of(process: u32) -> f64 {
    let text = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    // The name, in brackets, may hold anything; user, system and the children's stand behind it.
    let fields = text.rsplit_once(')').map_or("", |(_, fields)| fields);
    let ticks = fields.split_whitespace().skip(11).take(4);
    ticks
        .filter_map(|ticks| ticks.parse::<f64>().ok())
        .sum::<f64>()
        / TICKS
}

/// The most memory a running process has had, in bytes; 0 of one that has ended.
pub(crate) fn peak_of(process: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok());
    kib.unwrap_or(0) << 10
}

/// Runs a program to its end and tells what it took.
pub(crate) fn run(command: &mut Command) -> (ExitStatus, Cost) {
    let begun = Instant::now();
    let mut child = command
        .stdin(Stdio::null())
        .spawn()
        .unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
    let id = child.id();
    let pid = Pid::from_raw(id.cast_signed()).expect("a process has an id");
    let mut peak = 0;
    loop {
        peak = peak.max(peak_of(id));
        // Left unwaited for: what it used stays to be read until it is waited for.
        let ended = waitid(
            WaitId::Pid(pid),
            WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT,
        );
        if ended.expect("it is our child").is_some() {
            break;
        }
        sleep(LOOK_EVERY);
    }
    let wall = begun.elapsed().as_secs_f64();
    let cpu = cpu_of(id);
    let status = child.wait().expect("it is our child");
    (status, Cost { cpu, wall, peak })
}

/// Runs a program that must succeed.
pub(crate) fn run_well(command: &mut Command) -> Cost {
    let (status, cost) = run(command);
    assert!(status.success(), "{command:?}: {status}");
    cost
}

/// Does a piece of work in this process and tells what it took. No one else may be at work.
pub(crate) fn here<T>(work: impl FnOnce() -> T) -> (T, Cost) {
    let me = std::process::id();
    let (begun, before) = (Instant::now(), cpu_of(me));
    let result = work();
    let cost = Cost {
        cpu: cpu_of(me) - before,
        wall: begun.elapsed().as_secs_f64(),
        peak: peak_of(me),
    };
    (result, cost)
}

/// How many processes wanted a core, over the last minute.
pub(crate) fn load_average() -> f64 {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let first = text.split_whitespace().next();
    first.and_then(|load| load.parse().ok()).unwrap_or(0.0)
}
