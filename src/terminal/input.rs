//! Reads keys in a thread of its own, so that neither a flood of data nor a terminal that went away
//! can hold the console's loop.
//!
//! The thread asks `poll` before it lets the key parser read: the parser alone would spin at a
//! terminal that hung up (seen with crossterm 0.29). Resizes do not come this way but by signal.

use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use crossterm::event::{self, Event};
use rustix::event::{PollFd, PollFlags, poll};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::model::Result;

use super::watch::{Waker, is_gone, thread_error, waker};

/// Keys that wait while the loop is busy; the thread stops reading when it is full.
const QUEUE: usize = 256;

/// With a timeout of zero crossterm 0.29's `poll` does not look at the terminal at all
/// (feature `use-dev-tty`).
const BRIEFLY: Duration = Duration::from_millis(1);

/// Keys, as they are typed. The thread ends when this is dropped, or at a terminal's loss.
#[derive(Debug)]
pub struct Reader {
    events: mpsc::Receiver<Event>,
    _waker: Waker,
}

impl Reader {
    /// Starts to read stdin, which must be a terminal in raw mode; `lost` is cancelled when it hangs
    /// up or cannot be read.
    pub fn start(lost: CancellationToken) -> Result<Self> {
        let tty = std::io::stdin()
            .as_fd()
            .try_clone_to_owned()
            .map_err(thread_error)?;
        let (waker, wake) = waker()?;
        let (send, events) = mpsc::channel(QUEUE);
        std::thread::Builder::new()
            .name("terminal-input".into())
            .spawn(move || {
                if !read(&tty, &wake, &send) {
                    lost.cancel();
                }
            })
            .map_err(thread_error)?;
        Ok(Self {
            events,
            _waker: waker,
        })
    }

    /// The next event; `None` once the terminal is lost. Cancel-safe.
    pub async fn next(&mut self) -> Option<Event> {
        self.events.recv().await
    }

    /// An event that is there already.
    pub fn take(&mut self) -> Option<Event> {
        self.events.try_recv().ok()
    }
}

/// Reads until the waker or the receiver ends it; `false` at a loss.
fn read(tty: &OwnedFd, wake: &OwnedFd, send: &mpsc::Sender<Event>) -> bool {
    loop {
        let mut fds = [
            PollFd::new(tty, PollFlags::IN),
            PollFd::new(wake, PollFlags::IN),
        ];
        match poll(&mut fds, None) {
            Err(rustix::io::Errno::INTR) => continue,
            Err(_) => return false,
            Ok(_) => {}
        }
        if !fds[1].revents().is_empty() {
            return true;
        }
        if is_gone(fds[0].revents()) {
            return false;
        }
        loop {
            match event::poll(BRIEFLY) {
                Ok(true) => {}
                Ok(false) => break,
                Err(_) => return false,
            }
            let Ok(event) = event::read() else {
                return false;
            };
            if send.blocking_send(event).is_err() {
                return true;
            }
        }
    }
}
