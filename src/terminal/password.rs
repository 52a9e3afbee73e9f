//! Asks for a password at the terminal, without showing it.

use std::fs::{File, OpenOptions};
use std::io::{BufRead as _, BufReader, Error, ErrorKind, Result, Write as _};

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

use crate::model::Secret;

/// Turns the echo on again, however the asking ends.
struct Echo<'a> {
    terminal: &'a File,
    before: Termios,
}

impl Drop for Echo<'_> {
    fn drop(&mut self) {
        // A terminal that is gone needs no echo.
        let _ = tcsetattr(self.terminal, OptionalActions::Flush, &self.before);
    }
}

/// Asks at the controlling terminal, whatever stdin and stdout are.
///
/// # Errors
///
/// There is no terminal, or it was closed.
pub fn ask_password(prompt: &str) -> Result<Secret> {
    let mut terminal = OpenOptions::new().read(true).write(true).open("/dev/tty")?;
    terminal.write_all(prompt.as_bytes())?;
    terminal.flush()?;
    let before = tcgetattr(&terminal)?;
    let mut silent = before.clone();
    silent.local_modes.remove(LocalModes::ECHO);
    let echo = Echo {
        terminal: &terminal,
        before,
    };
    tcsetattr(&terminal, OptionalActions::Flush, &silent)?;
    let mut line = String::new();
    let read = BufReader::new(&terminal).read_line(&mut line);
    drop(echo);
    (&terminal).write_all(b"\n")?;
    if read? == 0 {
        return Err(Error::new(
            ErrorKind::UnexpectedEof,
            "the terminal was closed",
        ));
    }
    Ok(Secret::new(line.trim_end_matches(['\r', '\n'])))
}
