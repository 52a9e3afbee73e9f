//! The two channels of the door, in one value that the console, the socket and tests all hold.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot, watch};

use super::{Answer, Command, Query, Reply, Snapshot};

/// What comes through the door, with the way back.
#[derive(Debug)]
pub enum Envelope {
    /// A command, and who sent it (`console`, `socket uid 0`, …) for the journal.
    Command {
        /// The request.
        command: Command,
        /// Who asks.
        origin: String,
        /// Where the answer goes.
        reply: oneshot::Sender<Reply>,
    },
    /// A query.
    Query {
        /// The question.
        query: Query,
        /// Where the answer goes.
        answer: oneshot::Sender<Answer>,
    },
}

/// A holder's end of the door. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Handle {
    snapshots: watch::Receiver<Arc<Snapshot>>,
    // Bounded: whoever sends more than the runtime answers waits.
    envelopes: mpsc::Sender<Envelope>,
    origin: String,
}

impl Handle {
    /// A handle on the runtime's ends of the two channels.
    pub fn new(
        snapshots: watch::Receiver<Arc<Snapshot>>,
        envelopes: mpsc::Sender<Envelope>,
        origin: impl Into<String>,
    ) -> Self {
        Self {
            snapshots,
            envelopes,
            origin: origin.into(),
        }
    }

    /// The same door for somebody else.
    #[must_use]
    pub fn for_origin(&self, origin: impl Into<String>) -> Self {
        Self {
            origin: origin.into(),
            ..self.clone()
        }
    }

    /// The newest snapshot.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.snapshots.borrow())
    }

    /// To wait for snapshots: the latest wins, at most ten a second.
    pub fn snapshots(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.snapshots.clone()
    }

    /// Sends a command and waits for its reply; a runtime that is gone refuses.
    pub async fn command(&self, command: Command) -> Reply {
        let (reply, receive) = oneshot::channel();
        let envelope = Envelope::Command {
            command,
            origin: self.origin.clone(),
            reply,
        };
        let gone = || Reply::Refused {
            message: "the worker has ended".into(),
            fix: None,
        };
        if self.envelopes.send(envelope).await.is_err() {
            return gone();
        }
        receive.await.unwrap_or_else(|_| gone())
    }

    /// Sends a query and waits for its answer.
    pub async fn query(&self, query: Query) -> Answer {
        let (answer, receive) = oneshot::channel();
        let gone = || Answer::Failed {
            message: "the worker has ended".into(),
        };
        if self
            .envelopes
            .send(Envelope::Query { query, answer })
            .await
            .is_err()
        {
            return gone();
        }
        receive.await.unwrap_or_else(|_| gone())
    }
}
