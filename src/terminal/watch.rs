//! Notices that the terminal went away without a signal: a tiny thread that sleeps in `poll` until
//! the other side hangs up.
//!
//! Not left to the reading thread: a reader inside the key parser does not see a hang-up.

use std::fs::File;
use std::io::Write as _;
use std::os::fd::{AsFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, poll};
use tokio_util::sync::CancellationToken;

use crate::model::{Error, ErrorKind, Result};

/// Ends a thread that sleeps in `poll`, when dropped.
#[derive(Debug)]
pub(super) struct Waker(File);

impl Drop for Waker {
    fn drop(&mut self) {
        let _ = self.0.write_all(b".");
    }
}

/// A waker and what its sleeper must poll for input.
pub(super) fn waker() -> Result<(Waker, OwnedFd)> {
    let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)
        .map_err(|error| thread_error(std::io::Error::from(error)))?;
    Ok((Waker(File::from(write)), read))
}

/// The error of a terminal thread that could not be set up.
pub(super) fn thread_error(error: std::io::Error) -> Error {
    Error::new(ErrorKind::Internal, "cannot watch the terminal").with_source(error)
}

/// Watches the terminal until it is dropped.
#[derive(Debug)]
pub struct Watch {
    _waker: Waker,
}

impl Watch {
    /// Cancels `lost` once the terminal behind stdin hangs up.
    pub fn start(lost: CancellationToken) -> Result<Self> {
        let tty = std::io::stdin()
            .as_fd()
            .try_clone_to_owned()
            .map_err(thread_error)?;
        Self::on(tty, lost)
    }

    fn on(tty: OwnedFd, lost: CancellationToken) -> Result<Self> {
        let (waker, wake) = waker()?;
        std::thread::Builder::new()
            .name("terminal-watch".into())
            .spawn(move || {
                if sleep_until_hang_up(&tty, &wake) {
                    lost.cancel();
                }
            })
            .map_err(thread_error)?;
        Ok(Self { _waker: waker })
    }
}

/// Whether it was a hang-up; else the waker ended it.
fn sleep_until_hang_up(tty: &OwnedFd, wake: &OwnedFd) -> bool {
    loop {
        // No events asked for: hang-up and error are always told.
        let mut fds = [
            PollFd::new(tty, PollFlags::empty()),
            PollFd::new(wake, PollFlags::IN),
        ];
        match poll(&mut fds, None) {
            Err(rustix::io::Errno::INTR) => continue,
            Err(_) => return true,
            Ok(_) => {}
        }
        if !fds[1].revents().is_empty() {
            return false;
        }
        if is_gone(fds[0].revents()) {
            return true;
        }
    }
}

/// Whether `poll` says that the other side is gone.
pub(super) fn is_gone(flags: PollFlags) -> bool {
    flags.intersects(PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL)
}
