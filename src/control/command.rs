//! What an operator can ask the runtime to do. A key does no more than a command does.

use serde::{Deserialize, Serialize};

use crate::model::{Choice, ErrorKind, Finding, Reach, TypedPlace};

/// Which streams or workers a command is for: those whose task and source match.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Scope {
    /// Only this task; `None`: any.
    #[serde(default)]
    pub task: Option<String>,
    /// Only this source; `None`: any.
    #[serde(default)]
    pub source: Option<String>,
    /// Only the relay of `source`, not its streams.
    #[serde(default)]
    pub relay: bool,
}

/// Which relay files a purge is for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "which", rename_all = "kebab-case")]
pub enum PurgeWhich {
    /// Those last written longer ago than this, as far as no stream needs them.
    OlderThan {
        /// In seconds.
        seconds: u64,
    },
    /// Those before this one, as far as no stream needs them.
    Before {
        /// `bin.000007`, or `SUB-FOLDER/bin.000007`.
        file: String,
    },
    /// All up to this one, whoever needs them.
    Force {
        /// `bin.000007`, or `SUB-FOLDER/bin.000007`.
        file: String,
    },
}

/// Where the structure is taken from by which a table's later rows are read, when a statement that
/// changes it is not run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "from", rename_all = "kebab-case")]
pub enum LaterRowsFrom {
    /// As the statement left the table at the source.
    Source,
    /// As the table is on the target now.
    Target,
    /// As it was before the statement.
    Keep,
    /// As this `CREATE TABLE` says.
    Typed {
        /// The statement.
        statement: String,
    },
}

/// A request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "kebab-case")]
pub enum Command {
    /// Finish the transaction in hand, write the checkpoint, and stand still.
    Pause {
        /// For whom.
        #[serde(flatten)]
        scope: Scope,
    },
    /// Go on from the checkpoint.
    Resume {
        /// For whom.
        #[serde(flatten)]
        scope: Scope,
    },
    /// Start what stands, from the checkpoint; a task that came into the configuration's file after the
    /// process had started is taken up.
    Start {
        /// For whom.
        #[serde(flatten)]
        scope: Scope,
    },
    /// Try again at once what failed.
    Retry {
        /// For whom.
        #[serde(flatten)]
        scope: Scope,
        /// The stop this answers; refused if the stream stands elsewhere by now.
        #[serde(default)]
        stop_id: Option<String>,
    },
    /// Go on from a stop with something else than the event as it is.
    Decide {
        /// Of which stream; it must be one.
        #[serde(flatten)]
        scope: Scope,
        /// What.
        choice: Choice,
        /// How far it reaches.
        #[serde(default)]
        reach: Reach,
        /// The event, which must be where the stream stands.
        at: TypedPlace,
        /// The stop this answers; refused if the stream stands elsewhere by now.
        #[serde(default)]
        stop_id: Option<String>,
        /// How rows behind a statement that does not run are read.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        later_rows: Option<LaterRowsFrom>,
        /// Why; may be empty.
        #[serde(default)]
        reason: String,
    },
    /// Begin in spite of what the checks found.
    Accept {
        /// Of which stream; it must be one.
        #[serde(flatten)]
        scope: Scope,
        /// The names of what was found; none: every warning.
        names: Vec<String>,
        /// What that was when it was looked at: refused if something else is found under these names by
        /// now. None: whatever it is. The journal has what it is.
        #[serde(default)]
        findings: Vec<Finding>,
        /// Why; may be empty.
        #[serde(default)]
        reason: String,
    },
    /// Take back a decision that has not taken effect.
    Revert {
        /// Of which stream; it must be one.
        #[serde(flatten)]
        scope: Scope,
        /// Which decision; `None`: the newest that waits.
        #[serde(default)]
        id: Option<String>,
    },
    /// Apply what a decision left out.
    Reapply {
        /// Of which stream; it must be one.
        #[serde(flatten)]
        scope: Scope,
        /// Which decision.
        id: String,
    },
    /// Remove relay files.
    PurgeRelay {
        /// Of which source.
        source: String,
        /// Which files.
        #[serde(flatten)]
        which: PurgeWhich,
    },
    /// Fetch a complete relay file from the source again.
    RefetchRelay {
        /// Of which source.
        source: String,
        /// The sub-folder.
        folder: String,
        /// The file.
        file: String,
    },
    /// Run the checks and privileges again.
    Check,
    /// Run them as if all tasks had this `task.dump.consistency`; nothing else changes.
    CheckAs {
        /// One of [`CONSISTENCIES`].
        consistency: String,
    },
    /// Drain, write the checkpoints, and end the process.
    Stop,
}

/// The values of `task.dump.consistency`.
pub const CONSISTENCIES: [&str; 4] = ["auto", "flush", "snapshot", "fuzzy"];

/// The answer to a [`Command`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "reply", rename_all = "kebab-case")]
pub enum Reply {
    /// It is done, or under way; what, in one line.
    Done {
        /// For the operator.
        message: String,
    },
    /// It was not done; why.
    Refused {
        /// What is wrong with the request.
        message: String,
        /// What can be done instead.
        fix: Option<String>,
    },
    /// It was begun, and did not come off.
    Failed {
        /// Of which kind the failure was: the exit code follows from it.
        kind: ErrorKind,
        /// What happened.
        message: String,
        /// How to mend it.
        fix: Option<String>,
    },
}
