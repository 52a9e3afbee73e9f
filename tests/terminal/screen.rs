//! A pseudo-terminal with the real binary in it, and a screen to read.

use std::io::{Read, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use portable_pty::{Child, CommandBuilder, ExitStatus, MasterPty, PtySize, native_pty_system};

/// How long a test waits for something on the screen.
const LIMIT: Duration = Duration::from_secs(30);

/// What arrived from the program.
struct Seen {
    parser: vt100::Parser,
    bytes: Vec<u8>,
}

/// A terminal; closed, and its program ended, when dropped.
pub(crate) struct Terminal {
    // `None` once the line has dropped.
    line: Option<(Box<dyn MasterPty + Send>, Box<dyn Write + Send>)>,
    child: Box<dyn Child + Send + Sync>,
    seen: Arc<Mutex<Seen>>,
    reader: JoinHandle<()>,
    is_hanging_up: Arc<AtomicBool>,
}

impl Terminal {
    /// Starts the console on a configuration, in a terminal of this size.
    pub(crate) fn start(config: &Path, columns: u16, rows: u16) -> Self {
        let pair = native_pty_system()
            .openpty(size(columns, rows))
            .expect("no pseudo-terminal");
        let mut command = CommandBuilder::new(env!("CARGO_BIN_EXE_tideway"));
        command.arg("--config");
        command.arg(config);
        command.cwd(config.parent().expect("a file has a folder"));
        command.env("TERM", "xterm-256color");
        command.env("LANG", "C.UTF-8");
        let child = pair
            .slave
            .spawn_command(command)
            .expect("cannot start tideway");
        // Our own copy of the other end would keep the line open.
        drop(pair.slave);
        let seen = Arc::new(Mutex::new(Seen {
            parser: vt100::Parser::new(rows, columns, 0),
            bytes: Vec::new(),
        }));
        let mut reader = pair
            .master
            .try_clone_reader()
            .expect("cannot read the terminal");
        let writer = pair
            .master
            .take_writer()
            .expect("cannot write to the terminal");
        let shared = Arc::clone(&seen);
        let is_hanging_up = Arc::new(AtomicBool::new(false));
        let is_over = Arc::clone(&is_hanging_up);
        let reader = std::thread::spawn(move || {
            let mut buffer = [0; 8192];
            while let Ok(count @ 1..) = reader.read(&mut buffer) {
                let mut seen = shared.lock().unwrap_or_else(PoisonError::into_inner);
                seen.parser.process(&buffer[..count]);
                seen.bytes.extend_from_slice(&buffer[..count]);
                if is_over.load(Ordering::Relaxed) {
                    return;
                }
            }
        });
        Self {
            line: Some((pair.master, writer)),
            child,
            seen,
            reader,
            is_hanging_up,
        }
    }

    /// The screen's text, as it is now.
    pub(crate) fn text(&self) -> String {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.parser.screen().contents()
    }

    /// All bytes that the program has written.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.bytes.clone()
    }

    /// Presses keys.
    pub(crate) fn press(&mut self, keys: &str) {
        let (_, writer) = self.line.as_mut().expect("the line is up");
        writer
            .write_all(keys.as_bytes())
            .expect("cannot press a key");
        writer.flush().expect("cannot press a key");
    }

    /// Another size of the window.
    pub(crate) fn resize(&mut self, columns: u16, rows: u16) {
        let (master, _) = self.line.as_ref().expect("the line is up");
        master.resize(size(columns, rows)).expect("cannot resize");
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.parser.screen_mut().set_size(rows, columns);
    }

    /// Waits until all these texts are on the screen at once.
    pub(crate) fn await_text(&mut self, texts: &[&str]) -> String {
        let end = Instant::now() + LIMIT;
        loop {
            let screen = self.text();
            if texts.iter().all(|text| screen.contains(text)) {
                return screen;
            }
            assert!(
                Instant::now() < end,
                "{texts:?} not within {LIMIT:?} on:\n{screen}"
            );
            if let Ok(Some(status)) = self.child.try_wait() {
                panic!("it ended ({status}) while the test waited for {texts:?}:\n{screen}");
            }
            std::thread::sleep(Duration::from_millis(30));
        }
    }

    /// The line drops: the terminal is gone, as when an SSH connection is cut.
    pub(crate) fn hang_up(&mut self) {
        // The reader holds the line open until it has something to read: the help comes and goes.
        self.is_hanging_up.store(true, Ordering::Relaxed);
        while !self.reader.is_finished() {
            self.press("?");
            std::thread::sleep(Duration::from_millis(100));
        }
        self.line = None;
    }

    /// The program's process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.process_id().expect("it was started")
    }

    /// Waits for its end; how long it took, and its status.
    pub(crate) fn await_end(&mut self, limit: Duration) -> (Duration, ExitStatus) {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("cannot wait") {
                return (start.elapsed(), status);
            }
            assert!(
                start.elapsed() < limit,
                "it does not end within {limit:?}:\n{}",
                self.text()
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn size(columns: u16, rows: u16) -> PtySize {
    PtySize {
        rows,
        cols: columns,
        pixel_width: 0,
        pixel_height: 0,
    }
}
