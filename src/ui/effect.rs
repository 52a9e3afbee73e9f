//! What the reducer asks the loop to do: the only way from a key to the world.

use crate::control::{Command, Query};

/// Something to be done outside the state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Send this to the runtime; its reply comes back as a message.
    Send(Command),
    /// Ask the runtime this; its answer goes to what asked.
    Ask(Query),
    /// Put this on the clipboard and into a file.
    Copy(Copied),
    /// Draw everything anew.
    Redraw,
    /// Leave; the worker is stopped cleanly.
    Leave,
}

/// What is copied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copied {
    /// What it is, for the message: `the grants of source:orders-a`.
    pub what: String,
    /// The file's name.
    pub file_name: String,
    /// The text itself.
    pub text: String,
}
