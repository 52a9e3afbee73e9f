//! The units of work and the stages they can be in.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A processing unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Unit {
    /// Keeps a local copy of the source's binlog.
    Relay,
    /// Reads the full copy from the source.
    Dump,
    /// Writes the full copy to the target.
    Load,
    /// Applies the relay log to the target.
    Sync,
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Relay => "relay",
            Self::Dump => "dump",
            Self::Load => "load",
            Self::Sync => "sync",
        })
    }
}

/// The stage of a worker (one source's runtime) or of a stream (one task on one source).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// Not at work yet: for the operator, for another unit, or for the next try.
    Waiting,
    /// At work.
    Running,
    /// Asked to pause; finishing the transaction in hand.
    Pausing,
    /// Paused by the operator at a transaction's end; the checkpoint is there.
    Paused,
    /// Stopped by an error that needs the operator.
    Failed,
    /// All that was asked for is done.
    Finished,
    /// Ended, with the process or by the operator.
    Stopped,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Waiting => "waiting",
            Self::Running => "running",
            Self::Pausing => "pausing",
            Self::Paused => "paused",
            Self::Failed => "failed",
            Self::Finished => "finished",
            Self::Stopped => "stopped",
        })
    }
}
