//! Giving the terminal back: one function for every way out.
//!
//! It is called by the guard's drop, by the panic hook, on signals and on errors, possibly several
//! times and possibly while the terminal is gone or stuck. So nothing here may panic or wait long.

use std::io::IsTerminal as _;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::ThreadId;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use rustix::termios::{OptionalActions, Termios, tcsetattr};

/// What is written, in this order: end of a synchronized update, plain text, mouse off, paste plain,
/// cursor shown, first screen.
pub const SEQUENCE: &str = "\x1b[?2026l\x1b[0m\x1b[?1006l\x1b[?1003l\x1b[?1002l\x1b[?1000l\
                            \x1b[?2004l\x1b[?25h\x1b[?1049l";

/// A terminal that takes nothing for this long is given up.
const PATIENCE: Duration = Duration::from_millis(300);

/// What is held, until it is given back.
pub(super) struct Held {
    pub(super) before: Termios,
    pub(super) thread: ThreadId,
}

static IS_HELD: AtomicBool = AtomicBool::new(false);
static HELD: Mutex<Option<Held>> = Mutex::new(None);

/// Notes what there was before the terminal was taken over.
pub(super) fn hold(held: Held) {
    *HELD
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner) = Some(held);
    IS_HELD.store(true, Ordering::SeqCst);
}

/// Gives the terminal back as it was. Does nothing if it is not held.
pub fn restore() {
    if !IS_HELD.swap(false, Ordering::SeqCst) {
        return;
    }
    // A lock that is held just now belongs to the thread that panicked: the mode is lost then, the
    // screen is not.
    let held = match HELD.try_lock() {
        Ok(mut held) => held.take(),
        Err(std::sync::TryLockError::Poisoned(held)) => held.into_inner().take(),
        Err(std::sync::TryLockError::WouldBlock) => None,
    };
    if let Some(tty) = open_output() {
        write_briefly(&tty, SEQUENCE.as_bytes());
    }
    if let Some(held) = held {
        let _ = tcsetattr(std::io::stdout(), OptionalActions::Now, &held.before);
    }
}

/// Whether the terminal is held by the calling thread; `None` if it is not held at all.
fn held_by_this_thread() -> Option<bool> {
    if !IS_HELD.load(Ordering::SeqCst) {
        return None;
    }
    let held = HELD.try_lock().ok()?;
    held.as_ref()
        .map(|held| held.thread == std::thread::current().id())
}

/// Chains a panic hook: the panic is logged, the terminal is given back if the console's own thread
/// is the one that panicked, and the hook that was there before goes on.
///
/// A panic of another thread while the console is up is logged only: its task's owner reports it, and
/// a text on stderr would smear the screen.
pub fn install_panic_hook() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        let backtrace = std::backtrace::Backtrace::force_capture();
        tracing::error!(target: "panic", "{info}\n{backtrace}");
        if held_by_this_thread() == Some(false) {
            return;
        }
        restore();
        before(info);
    }));
}

/// Opens the terminal behind stdout anew, so that not waiting for it concerns this descriptor only
/// and not the shell, which shares the original.
pub(super) fn open_output() -> Option<OwnedFd> {
    let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    if !std::io::stdout().is_terminal() {
        return None;
    }
    rustix::fs::open("/proc/self/fd/1", flags, Mode::empty())
        .or_else(|_| rustix::fs::open("/dev/tty", flags, Mode::empty()))
        .ok()
}

/// Writes as much as the terminal takes within [`PATIENCE`].
pub(super) fn write_briefly(tty: impl AsFd, mut bytes: &[u8]) {
    let end = Instant::now() + PATIENCE;
    while !bytes.is_empty() {
        match rustix::io::write(&tty, bytes) {
            Ok(count) => bytes = bytes.get(count..).unwrap_or_default(),
            Err(rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::AGAIN) => {
                let left = end.saturating_duration_since(Instant::now());
                let Ok(left) = Timespec::try_from(left) else {
                    return;
                };
                let mut fds = [PollFd::new(&tty, PollFlags::OUT)];
                if !matches!(poll(&mut fds, Some(&left)), Ok(1..)) {
                    return;
                }
            }
            Err(_) => return,
        }
    }
}
