//! Writes frames without ever waiting: what the terminal does not take stays here, and the loop
//! draws nothing new until it is gone. A stuck terminal so costs frames, and nothing else.

use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use tokio::io::unix::AsyncFd;

use crate::model::{Error, ErrorKind, Result};

use super::restore::open_output;

/// The terminal, for writing.
#[derive(Debug)]
pub struct Output {
    tty: AsyncFd<OwnedFd>,
    waiting: Vec<u8>,
    sent: usize,
    since: Instant,
    last_took: Duration,
}

impl Output {
    /// Opens the terminal behind stdout; made within a tokio runtime.
    pub fn open() -> Result<Self> {
        let failed = || Error::new(ErrorKind::File, "cannot write to the terminal");
        let tty = open_output().ok_or_else(failed)?;
        #[expect(
            deprecated,
            reason = "its successor is unsafe for types that may change their descriptor; an \
                      `OwnedFd` does not"
        )]
        let tty = AsyncFd::new(tty).map_err(|error| failed().with_source(error))?;
        Ok(Self {
            tty,
            waiting: Vec::new(),
            sent: 0,
            since: Instant::now(),
            last_took: Duration::ZERO,
        })
    }

    /// Adds `bytes` and writes what the terminal takes at once. An error means that it is lost.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.is_clear() {
            self.since = Instant::now();
        }
        self.waiting.extend_from_slice(bytes);
        self.push()
    }

    /// Whether the terminal has taken all.
    pub fn is_clear(&self) -> bool {
        self.sent == self.waiting.len()
    }

    /// How long the last frame took to be taken.
    pub fn last_took(&self) -> Duration {
        self.last_took
    }

    /// Waits until the terminal takes more, and writes. Cancel-safe.
    pub async fn drain(&mut self) -> io::Result<()> {
        let mut ready = self.tty.writable().await?;
        ready.clear_ready();
        drop(ready);
        self.push()
    }

    fn push(&mut self) -> io::Result<()> {
        while let Some(rest) = self.waiting.get(self.sent..)
            && !rest.is_empty()
        {
            match rustix::io::write(self.tty.get_ref(), rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => self.sent += count,
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::AGAIN) => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
        self.last_took = self.since.elapsed();
        self.waiting.clear();
        self.sent = 0;
        Ok(())
    }
}
