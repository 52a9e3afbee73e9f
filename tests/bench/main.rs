//! Benchmarks: what this program costs beside what one would use instead, on the same data, on the
//! same machine, in the same minutes. `tests/bench/run NAME` sets up what each needs.
//!
//! The figure that counts is CPU time for a piece of work, as a ratio of pairs taken in the order
//! A, B, B, A: on a busy machine wall time varies several times more than that.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a benchmark that cannot go on ends"
)]

#[path = "../support/mod.rs"]
mod support;

mod binlogs;
mod copy;
mod decode;
mod dump;
mod load;
mod measure;
mod relay;
mod report;
mod shapes;
mod sync;
mod sync_backlogs;

use clap::Parser;

#[derive(Debug, Parser)]
#[command(
    name = "tests/bench/run",
    about = "Benchmarks beside what one would use instead"
)]
enum Bench {
    /// Pulling a backlog of binlog: `mariadb-binlog --raw`, `mysqlbinlog --raw`.
    Relay(relay::Options),
    /// One relay, pulled by a process of its own so that it can be measured.
    #[command(hide = true)]
    Pull(relay::Pull),
    /// Reading relay files back to typed rows: `mariadb-binlog --verbose`.
    Decode(decode::Options),
    /// A dump alone: `mydumper`.
    Dump(shapes::Options),
    /// One dump, made by a process of its own so that it can be measured.
    #[command(hide = true)]
    DumpOnce(dump::Once),
    /// A whole copy: `mydumper`, then `myloader`.
    Copy(shapes::Options),
    /// A load alone: `myloader`.
    Load(shapes::Options),
    /// One load, made by a process of its own so that it can be measured.
    #[command(hide = true)]
    LoadOnce(load::Once),
    /// Applying a backlog: the database's own replica, with each number of workers.
    Sync(sync::Options),
}

fn main() {
    // `cargo bench` adds an argument of its own.
    let arguments = std::env::args_os().filter(|argument| argument != "--bench");
    match Bench::parse_from(arguments) {
        Bench::Relay(options) => relay::run(&options),
        Bench::Pull(pull) => relay::pull(&pull),
        Bench::Decode(options) => decode::run(&options),
        Bench::Dump(options) => dump::run(&options),
        Bench::DumpOnce(options) => dump::once(&options),
        Bench::Copy(options) => copy::run(&options),
        Bench::Load(options) => load::run(&options),
        Bench::LoadOnce(options) => load::once(&options),
        Bench::Sync(options) => sync::run(&options),
    }
}
