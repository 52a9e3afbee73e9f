//! What goes over the socket.

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, AsyncReadExt as _};

use crate::control::{Answer, Command, Query, Reply, Snapshot};

/// The version of the protocol; a peer of another one is refused by name.
pub(super) const VERSION: u32 = 1;

/// A request may have this many bytes; a snapshot may be as big as it is.
pub(super) const REQUEST_LIMIT: u64 = 1 << 20;

/// A line to the worker.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Request {
    /// [`VERSION`].
    pub(super) version: u32,
    /// What is asked.
    #[serde(flatten)]
    pub(super) ask: Ask,
}

/// What is asked.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "kebab-case")]
pub(super) enum Ask {
    /// The newest snapshot; with `watch`, each new one as well, until the line is closed.
    Snapshot {
        /// Whether to go on.
        watch: bool,
    },
    /// A command.
    Command {
        /// The command.
        order: Command,
    },
    /// A query.
    Query {
        /// The query.
        question: Query,
    },
}

/// A line from the worker.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Response {
    /// A snapshot.
    Snapshot(Box<Snapshot>),
    /// A command's reply.
    Reply(Reply),
    /// A query's answer.
    Answer(Answer),
    /// The request was not understood.
    Error(String),
}

/// Reads a line of at most `limit` bytes; `None` at the end. A longer one is cut, and so will not parse.
pub(super) async fn read_line(
    from: &mut (impl AsyncBufRead + Unpin),
    limit: u64,
) -> std::io::Result<Option<String>> {
    let mut line = String::new();
    let read = from.take(limit).read_line(&mut line).await?;
    Ok((read > 0).then_some(line))
}
