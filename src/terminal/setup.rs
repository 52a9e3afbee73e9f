//! Taking the terminal over: raw mode, the alternate screen, no cursor.

use std::io::IsTerminal as _;

use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};

use crate::model::{Error, ErrorKind, Result};

use super::restore::{Held, hold, open_output, restore, write_briefly};

/// Alternate screen, cleared; no cursor; paste told apart from typing.
const ENTER: &str = "\x1b[?1049h\x1b[2J\x1b[?25l\x1b[?2004h";
/// Buttons and wheel, in the form without a limit of 223 columns.
const MOUSE: &str = "\x1b[?1000h\x1b[?1006h";

/// Holds the terminal; gives it back when dropped.
#[derive(Debug)]
pub struct Guard {
    // Only `take` makes one.
    _private: (),
}

impl Guard {
    /// Takes the terminal over. The calling thread is the one whose panic gives it back.
    pub fn take(is_mouse_on: bool) -> Result<Self> {
        let stdout = std::io::stdout();
        if !stdout.is_terminal() || !std::io::stdin().is_terminal() {
            return Err(
                Error::new(ErrorKind::Config, "the console needs a terminal").with_fix(
                    "start it in one, or use `tideway run` for a worker without a console",
                ),
            );
        }
        let failed = |error: rustix::io::Errno| {
            Error::new(ErrorKind::File, "cannot take over the terminal")
                .with_source(std::io::Error::from(error))
        };
        let before = tcgetattr(&stdout).map_err(failed)?;
        let mut raw = before.clone();
        raw.make_raw();
        // Noted first: whatever fails from here on is undone.
        hold(Held {
            before,
            thread: std::thread::current().id(),
        });
        let guard = Self { _private: () };
        tcsetattr(&stdout, OptionalActions::Now, &raw).map_err(failed)?;
        if let Some(tty) = open_output() {
            write_briefly(&tty, ENTER.as_bytes());
            if is_mouse_on {
                write_briefly(&tty, MOUSE.as_bytes());
            }
        }
        Ok(guard)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        restore();
    }
}

/// No terminal is bigger; a wrong size must not take all memory.
const MOST: (u16, u16) = (1000, 500);

/// The terminal's size, columns and rows; `None` if it cannot be told, as when it is gone.
pub fn size() -> Option<(u16, u16)> {
    let size = rustix::termios::tcgetwinsize(std::io::stdout()).ok()?;
    Some((size.ws_col.min(MOST.0), size.ws_row.min(MOST.1)))
}
