//! The command line: arguments to actions, results to text and exit codes.

mod check;
mod compare;
mod ctl;
mod events;
mod journal;
mod relay;
mod run;
mod status;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::config::Config;
use crate::model::{Error, ErrorKind, Reach, Result, TypedPlace};

/// All fine.
pub const FINE: u8 = 0;
/// A problem was found.
pub const PROBLEM: u8 = 1;
/// The usage or the configuration is wrong.
pub const USAGE: u8 = 2;
/// A server was out of reach for longer than the retry limit.
pub const LOST: u8 = 3;

/// Migrates MySQL and MariaDB databases into TiDB, or any MySQL-protocol server, and keeps them in
/// step until cut-over. Without a command: the console, with the worker inside.
#[derive(Debug, Parser)]
#[command(name = "tideway", version = version(), max_term_width = 100)]
struct Arguments {
    /// The configuration file.
    #[arg(
        long,
        global = true,
        default_value = "tideway.toml",
        value_name = "FILE"
    )]
    config: PathBuf,
    #[command(subcommand)]
    action: Option<Action>,
}

/// The version and the commit it was built from.
fn version() -> &'static str {
    concat!(env!("CARGO_PKG_VERSION"), " (", env!("TIDEWAY_COMMIT"), ")")
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Runs the worker alone, without a console; the log goes to stderr.
    Run {
        /// End by itself: `caught-up` once everything the source had is applied.
        #[arg(long, value_name = "WHEN", value_parser = ["caught-up"])]
        until: Option<String>,
        /// Print the last snapshot as JSON at the end.
        #[arg(long)]
        json: bool,
    },
    /// Tries connections, settings and privileges; exit code 1 when something fails.
    Check {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Shows a running worker's state.
    Status {
        /// Print JSON.
        #[arg(long)]
        json: bool,
        /// Go on with each new state until the worker ends.
        #[arg(long)]
        watch: bool,
    },
    /// Steers a running worker.
    Ctl {
        #[command(subcommand)]
        order: Order,
    },
    /// Shows what was asked and decided, with what became of it, whether a worker runs or not.
    Journal {
        #[command(subcommand)]
        order: Option<JournalOrder>,
        /// Print JSON, one object an entry.
        #[arg(long)]
        json: bool,
    },
    /// Looks after the relay logs: what is there, whether it is whole, what can go.
    Relay {
        #[command(subcommand)]
        order: RelayOrder,
    },
    /// Shows decoded events of a relay log, whether a worker runs or not.
    Events {
        /// Of which source; needed where there are several.
        #[arg(long)]
        source: Option<String>,
        /// Only what concerns this task's tables; from where its stream stands, while a worker runs.
        #[arg(long)]
        task: Option<String>,
        /// From this place on: `bin.000123:4`, `FOLDER/bin.000123:4` or `bin.000123`.
        #[arg(long, value_name = "PLACE", value_parser = crate::job::browse::From::parse)]
        from: Option<crate::job::browse::From>,
        /// How many at the most; 0: all there are.
        #[arg(short = 'n', long = "count", default_value_t = 20)]
        count: u64,
        /// Show the rows too: of an event at most 20, or this many, or all.
        #[arg(
            long,
            value_name = "N|all",
            num_args = 0..=1,
            require_equals = true,
            default_missing_value = "20",
            value_parser = events::row_count
        )]
        rows: Option<usize>,
        /// Print JSON, one object an event.
        #[arg(long)]
        json: bool,
    },
    /// Compares source and target row by row, both ways, on data at rest; exit code 1 when they
    /// differ.
    Compare {
        /// Only this task.
        #[arg(long)]
        task: Option<String>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

/// What `tideway ctl` can ask.
#[derive(Debug, Subcommand)]
enum Order {
    /// Finish the transaction in hand, write the checkpoint, stand still.
    Pause(Selector),
    /// Go on from the checkpoint.
    Resume(Selector),
    /// Start what stands; also a task that was added to the configuration file since the worker runs.
    Start(Selector),
    /// Try again at once what failed or waits.
    Retry {
        #[command(flatten)]
        selector: Selector,
        /// Only if it still stands at this stop.
        #[arg(long)]
        stop_id: Option<String>,
    },
    /// Leave out the event at which a stream stands; what it would have changed is kept as SQL.
    Skip {
        #[command(flatten)]
        stop: AtStop,
        /// By which structure rows behind a skipped statement are read: `source`, as it left the table
        /// there; `target`; `keep`, as before it; or a file with the `CREATE TABLE`.
        #[arg(long, value_name = "FROM")]
        structure: Option<String>,
    },
    /// Make the rows of the event at which a stream stands what the source says they are.
    Repair {
        #[command(flatten)]
        stop: AtStop,
    },
    /// Begin in spite of what the checks found: it keeps a stream from its start, and is kept in the
    /// journal.
    Accept {
        /// The names of what was found, such as `keys` or `privileges`; none: every warning.
        #[arg(value_name = "NAME")]
        names: Vec<String>,
        /// The task; needed where there are several.
        #[arg(long)]
        task: Option<String>,
        /// The source; needed where there are several.
        #[arg(long)]
        source: Option<String>,
        /// Why, for the journal.
        #[arg(long, default_value = "")]
        reason: String,
        /// Print the reply as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Take back a decision that has not taken effect.
    Revert {
        #[command(flatten)]
        selector: Selector,
        /// Which; the newest that waits without it.
        #[arg(long)]
        id: Option<String>,
    },
    /// Drain, write the checkpoints, end the process.
    Stop {
        /// Print the reply as JSON.
        #[arg(long)]
        json: bool,
    },
}

/// What `tideway journal` can do besides showing it.
#[derive(Debug, Subcommand)]
enum JournalOrder {
    /// Have the running worker apply what a decision left out, each change only where the target's row
    /// is what the source had before it; never twice.
    Reapply {
        /// The decision.
        id: String,
        /// Its task, where the journal does not know it.
        #[arg(long)]
        task: Option<String>,
        /// Its source, where the journal does not know it.
        #[arg(long)]
        source: Option<String>,
        /// Print the reply as JSON.
        #[arg(long)]
        json: bool,
    },
}

/// What `tideway relay` can do.
#[derive(Debug, Subcommand)]
enum RelayOrder {
    /// Shows the relay files.
    List {
        /// Only this source's.
        #[arg(long)]
        source: Option<String>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Reads every relay file through and checks each event; exit code 1 when one is damaged.
    Verify {
        /// Only this source's.
        #[arg(long)]
        source: Option<String>,
        /// Have the running worker fetch what is damaged from the source again.
        #[arg(long)]
        mend: bool,
        /// Print JSON, one object a file.
        #[arg(long)]
        json: bool,
    },
    /// Removes relay files that no stream needs; asks the running worker, which knows.
    Purge {
        /// Of which source.
        #[arg(long)]
        source: String,
        #[command(flatten)]
        which: PurgeArguments,
        /// Print the reply as JSON.
        #[arg(long)]
        json: bool,
    },
}

/// Which files `tideway relay purge` is for.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct PurgeArguments {
    /// Those before this one: `bin.000007`.
    #[arg(long, value_name = "FILE")]
    before: Option<String>,
    /// Those last written longer ago: `7days`.
    #[arg(long, value_name = "AGE", value_parser = humantime::parse_duration)]
    older_than: Option<std::time::Duration>,
    /// All up to this one, even if a stream still needs them: it must then be copied anew.
    #[arg(long, value_name = "FILE")]
    force: Option<String>,
}

/// Which streams are meant.
#[derive(Debug, Args)]
struct Selector {
    /// Only this task; all tasks without it.
    #[arg(long)]
    task: Option<String>,
    /// Only this source; all sources without it.
    #[arg(long)]
    source: Option<String>,
    /// The source's relay instead of its streams.
    #[arg(long, requires = "source", conflicts_with = "task")]
    relay: bool,
    /// Print the reply as JSON.
    #[arg(long)]
    json: bool,
}

/// The event at which a stream stands, and how far what is decided reaches.
#[derive(Debug, Args)]
struct AtStop {
    /// The task; needed where there are several.
    #[arg(long)]
    task: Option<String>,
    /// The source; needed where there are several.
    #[arg(long)]
    source: Option<String>,
    /// The event, which must be where the stream stands: `[FOLDER/]FILE:OFFSET[#inner][.row]`.
    #[arg(long, value_name = "PLACE")]
    at: TypedPlace,
    /// Only if it still stands at this stop.
    #[arg(long)]
    stop_id: Option<String>,
    /// How far it reaches: `row`, `event` or `transaction`.
    #[arg(long, default_value = "event")]
    scope: Reach,
    /// Why, for the journal.
    #[arg(long, default_value = "")]
    reason: String,
    /// Print the reply as JSON.
    #[arg(long)]
    json: bool,
}

/// Runs the program; the value is the process's exit code.
pub fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            let code = if error.use_stderr() { USAGE } else { FINE };
            // A closed pipe is nobody's problem here.
            let _ = error.print();
            return ExitCode::from(code);
        }
    };
    match act(arguments) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "{}", error.report());
            ExitCode::from(exit_code(&error))
        }
    }
}

fn act(arguments: Arguments) -> Result<u8> {
    let Arguments { config, action } = arguments;
    match action {
        None => crate::app::console(load(&config)?),
        Some(Action::Run { until, json }) => run::run(load(&config)?, until.is_some(), json),
        Some(Action::Check { json }) => check::check(load(&config)?, json),
        Some(Action::Status { json, watch }) => status::status(&data_dir(&config)?, json, watch),
        Some(Action::Ctl { order }) => ctl::ctl(&data_dir(&config)?, order),
        Some(Action::Journal { order, json }) => journal::journal(&data_dir(&config)?, order, json),
        Some(Action::Relay { order }) => relay::relay(&config, order),
        Some(Action::Events {
            source,
            task,
            from,
            count,
            rows,
            json,
        }) => {
            let wanted = events::Wanted {
                source,
                task,
                from,
                count,
                rows,
                json,
            };
            events::events(&config, wanted)
        }
        Some(Action::Compare { task, json }) => {
            compare::compare(load(&config)?, task.as_deref(), json)
        }
    }
}

/// The configuration, whole.
fn load(path: &Path) -> Result<Config> {
    Ok(Config::load(path)?)
}

/// Where the worker of this configuration keeps its socket.
fn data_dir(path: &Path) -> Result<PathBuf> {
    Ok(Config::load_without_secrets(path)?.worker.data_dir)
}

/// The exit code that an error of this kind ends the program with.
fn exit_code(error: &Error) -> u8 {
    match error.kind() {
        ErrorKind::Config => USAGE,
        ErrorKind::Connect => LOST,
        _ => PROBLEM,
    }
}

/// Prints to stdout; a reader that went away ends the program quietly, as a pipe should.
fn print(text: &str) -> Result<()> {
    write_line(&mut std::io::stdout(), text).map(|_is_read| ())
}

/// Writes a line; `false` if its reader went away, and with it the reason to write more.
fn write_line(out: &mut impl std::io::Write, text: &str) -> Result<bool> {
    match writeln!(out, "{text}").and_then(|()| out.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(Error::new(ErrorKind::File, "cannot write to stdout").with_source(error)),
    }
}

/// Prints a value as JSON.
fn print_json(value: &impl serde::Serialize) -> Result<()> {
    print(&json(value)?)
}

/// A value as JSON.
fn json(value: &impl serde::Serialize) -> Result<String> {
    serde_json::to_string(value).map_err(|error| {
        Error::new(
            ErrorKind::Internal,
            "the result could not be written as JSON",
        )
        .with_source(error)
    })
}

/// A runtime for the commands that only ask something.
fn small_runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| {
            Error::new(ErrorKind::Internal, "cannot start the runtime").with_source(error)
        })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn a_reader_that_went_away_is_told() {
        let (reader, mut writer) = std::io::pipe().unwrap();
        assert!(write_line(&mut writer, "one").unwrap());
        drop(reader);
        assert!(!write_line(&mut writer, "two").unwrap());
    }

    #[test]
    fn the_command_line_is_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn commands_of_the_reference_parse() {
        for line in [
            "tideway",
            "tideway --config x.toml",
            "tideway run --until caught-up --json",
            "tideway check --json",
            "tideway status --json --watch",
            "tideway ctl pause --task t --source s",
            "tideway ctl pause --source s --relay",
            "tideway ctl resume",
            "tideway ctl retry --task t --stop-id 5 --json",
            "tideway ctl stop",
            "tideway ctl accept --task t",
            "tideway ctl accept keys privileges --task t --source s --reason r --json",
            "tideway ctl skip --task t --source s --at bin.000123:4 --stop-id 5 --scope row --reason r --json",
            "tideway ctl skip --at 7.1/bin.000123:4#2.7 --structure keep",
            "tideway ctl repair --task t --at bin.000123:4 --scope transaction",
            "tideway ctl revert --task t --id 5 --json",
            "tideway journal --json",
            "tideway journal reapply 64f-01ab --json",
            "tideway compare --task t --json",
            "tideway events --task t --from bin.000123:4 -n 5 --json",
            "tideway events --source a --from 7.1/bin.000123 --rows",
            "tideway events --rows=all --json",
            "tideway events --rows=5 --source a",
            "tideway relay list --json",
            "tideway relay verify --source s --mend",
            "tideway relay purge --source s --before bin.000007",
            "tideway relay purge --source s --older-than 7days --json",
        ] {
            assert!(Arguments::try_parse_from(line.split(' ')).is_ok(), "{line}");
        }
        for line in [
            "tideway run --until tuesday",
            "tideway ctl",
            "tideway ctl pause --relay",
            "tideway ctl skip --task t",
            "tideway ctl skip --at bin.000123 --scope event",
            "tideway ctl skip --at bin.000123:4 --scope table",
            "tideway events --rows=few",
            "tideway relay purge --source s",
            "tideway relay purge --source s --before a.1 --force a.1",
        ] {
            assert!(
                Arguments::try_parse_from(line.split(' ')).is_err(),
                "{line}"
            );
        }
    }
}
