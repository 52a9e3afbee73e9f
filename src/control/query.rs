//! What is too big for a snapshot: asked for, answered in pages.

use serde::{Deserialize, Serialize};

use crate::model::TableLoad;

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
    /// The question could not be answered.
    Failed {
        /// Why.
        message: String,
    },
}
