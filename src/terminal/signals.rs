//! The signals that concern a console.

use tokio::signal::unix::{Signal as Stream, SignalKind, signal};

use crate::model::{Error, ErrorKind, Result};

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// The terminal is gone.
    Hangup,
    /// The process should end.
    End,
    /// The terminal's size changed.
    Resize,
}

/// Listens for them; made within a tokio runtime.
#[derive(Debug)]
pub struct Signals {
    hangup: Stream,
    terminate: Stream,
    interrupt: Stream,
    resize: Stream,
}

impl Signals {
    /// Starts to listen.
    pub fn listen() -> Result<Self> {
        let listen = |kind| {
            signal(kind).map_err(|error| {
                Error::new(ErrorKind::Internal, "cannot listen for signals").with_source(error)
            })
        };
        Ok(Self {
            hangup: listen(SignalKind::hangup())?,
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
            resize: listen(SignalKind::window_change())?,
        })
    }

    /// The next one. Cancel-safe.
    pub async fn next(&mut self) -> Signal {
        tokio::select! {
            biased;
            _ = self.hangup.recv() => Signal::Hangup,
            _ = self.terminate.recv() => Signal::End,
            _ = self.interrupt.recv() => Signal::End,
            _ = self.resize.recv() => Signal::Resize,
        }
    }
}
