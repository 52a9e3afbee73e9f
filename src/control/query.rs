//! What is too big for a snapshot: asked for, answered in pages.

use serde::{Deserialize, Serialize};

use crate::model::{Decision, TableLoad, Timestamp};

/// A question.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "query", rename_all = "kebab-case")]
pub enum Query {
    /// The tables of a stream's dump and load, biggest first.
    Tables {
        /// The task.
        task: String,
        /// The source.
        source: String,
        /// How many to pass over.
        skip: usize,
        /// How many at the most.
        limit: usize,
    },
    /// What was asked and decided, newest first.
    Journal {
        /// How many to pass over.
        skip: usize,
        /// How many at the most.
        limit: usize,
    },
}

/// Something that was asked of the worker, with what became of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JournalEntry {
    /// The decision's id, or the number of the command.
    pub id: String,
    /// When it was asked.
    pub at: Timestamp,
    /// Through which door.
    pub origin: String,
    /// The user of the operating system who runs the worker.
    pub user: String,
    /// The SSH connection that the worker was started in.
    pub ssh_connection: Option<String>,
    /// What was asked, in a few words.
    pub what: String,
    /// The stream, where it is one: `TASK/SOURCE`.
    pub stream: Option<String>,
    /// The decision that was made, whole.
    pub decision: Option<Decision>,
    /// What became of it; `None`: it is not known yet.
    pub outcome: Option<String>,
    /// How many changes it left out.
    pub skipped: u64,
    /// Whether these were applied since.
    pub reapplied: bool,
}

/// The answer to a [`Query`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "kebab-case")]
pub enum Answer {
    /// To [`Query::Tables`].
    Tables {
        /// This page.
        tables: Vec<TableLoad>,
        /// How many there are in all.
        total: usize,
    },
    /// To [`Query::Journal`].
    Journal {
        /// This page.
        entries: Vec<JournalEntry>,
        /// How many there are in all.
        total: usize,
    },
    /// The question could not be answered.
    Failed {
        /// Why.
        message: String,
    },
}
