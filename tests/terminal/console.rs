//! The console's loop in a real pseudo-terminal, on snapshots that are played to it: how it starts,
//! follows the size, ends, and gives the terminal back.
//!
//! The console runs in a process of its own: this very test binary, started again with
//! `TIDEWAY_TEST_CONSOLE` set, which makes `console_child` play instead of return.

use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use portable_pty::{Child, CommandBuilder, MasterPty, PtySize, native_pty_system};
use tideway::config::console::{Color, ConsoleConfig, Glyphs};
use tideway::control::{Envelope, Handle, Reply, Snapshot};
use tideway::ui;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

#[path = "../fast/ui/fixtures.rs"]
#[allow(dead_code, reason = "the drawing tests use the others")]
mod fixtures;

/// What the console may take to end.
const END: Duration = Duration::from_secs(2);
/// What anything else may take, on a busy machine.
const SOON: Duration = Duration::from_secs(20);

/// A console in a terminal, and the screen that the terminal shows.
struct Terminal {
    child: Box<dyn Child + Send + Sync>,
    master: Option<Box<dyn MasterPty + Send>>,
    writer: Option<Box<dyn std::io::Write + Send>>,
    screen: Arc<Mutex<Seen>>,
    folder: tempfile::TempDir,
}

struct Seen {
    parser: vt100::Parser,
    bytes: Vec<u8>,
    // While set, nothing is read: the terminal is stuck.
    is_stuck: bool,
    // Once set, the reader lets go of the terminal.
    is_closed: bool,
}

impl Terminal {
    fn start(mode: &str, has_controlling_terminal: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let pair = native_pty_system().openpty(size(80, 24)).unwrap();
        let mut command = CommandBuilder::new(std::env::current_exe().unwrap());
        command.args(["--exact", "console::console_child", "--nocapture"]);
        command.env("TIDEWAY_TEST_CONSOLE", mode);
        command.env("TIDEWAY_TEST_FOLDER", folder.path());
        command.env("TERM", "xterm-256color");
        command.env_remove("TMUX");
        command.env_remove("STY");
        command.set_controlling_tty(has_controlling_terminal);
        let child = pair.slave.spawn_command(command).unwrap();
        drop(pair.slave);
        let screen = Arc::new(Mutex::new(Seen {
            parser: vt100::Parser::new(24, 80, 0),
            bytes: Vec::new(),
            is_stuck: false,
            is_closed: false,
        }));
        let mut reader = pair.master.try_clone_reader().unwrap();
        let seen = Arc::clone(&screen);
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            loop {
                if seen.lock().unwrap().is_stuck {
                    std::thread::sleep(Duration::from_millis(20));
                    continue;
                }
                match reader.read(&mut buffer) {
                    Ok(0) | Err(_) => return,
                    Ok(count) => {
                        let mut seen = seen.lock().unwrap();
                        seen.bytes.extend_from_slice(&buffer[..count]);
                        seen.parser.process(&buffer[..count]);
                        if seen.is_closed {
                            return;
                        }
                    }
                }
            }
        });
        let writer = pair.master.take_writer().unwrap();
        Self {
            child,
            master: Some(pair.master),
            writer: Some(writer),
            screen,
            folder,
        }
    }

    fn text(&self) -> String {
        self.screen.lock().unwrap().parser.screen().contents()
    }

    fn wait_for(&self, part: &str) {
        wait(
            SOON,
            || self.text().contains(part),
            || format!("`{part}` did not come; the screen is:\n{}", self.text()),
        );
    }

    fn press(&mut self, keys: &[u8]) {
        let writer = self.writer.as_mut().unwrap();
        writer.write_all(keys).unwrap();
        writer.flush().unwrap();
    }

    fn resize(&self, columns: u16, rows: u16) {
        let screen = &mut self.screen.lock().unwrap().parser;
        screen.screen_mut().set_size(rows, columns);
        let master = self.master.as_ref().unwrap();
        master.resize(size(columns, rows)).unwrap();
    }

    fn result(&self) -> Option<String> {
        std::fs::read_to_string(self.folder.path().join("result")).ok()
    }

    /// What the console said at its end, which must come within `patience`.
    fn ended(&self, patience: Duration) -> String {
        let start = Instant::now();
        wait(
            patience,
            || self.result().is_some(),
            || format!("it did not end; the screen is:\n{}", self.text()),
        );
        println!("ended after {:?}", start.elapsed());
        self.result().unwrap()
    }

    fn signal(&self, name: &str) {
        let id = self.child.process_id().unwrap().to_string();
        let done = std::process::Command::new("kill")
            .args([name, &id])
            .status();
        assert!(done.unwrap().success());
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

/// Looks again and again, as nothing tells when a terminal has drawn.
fn wait(patience: Duration, done: impl Fn() -> bool, otherwise: impl Fn() -> String) {
    let end = Instant::now() + patience;
    while !done() {
        assert!(Instant::now() < end, "{}", otherwise());
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn options(folder: &Path) -> ui::Options {
    let config = ConsoleConfig {
        theme: "default".into(),
        is_mouse_on: false,
        is_read_only: false,
        color: Color::Auto,
        glyphs: Glyphs::Ascii,
        keys: std::collections::BTreeMap::new(),
    };
    ui::Options::new(&config, folder.to_path_buf()).unwrap()
}

fn now() -> tideway::model::Timestamp {
    SystemTime::now().into()
}

/// Plays snapshots and answers commands until the console is gone.
fn play(mode: &str, snapshots: &watch::Sender<Arc<Snapshot>>, mut inbox: mpsc::Receiver<Envelope>) {
    let mut snapshot = fixtures::calm();
    snapshot.streams.extend(fixtures::loading().streams);
    let pause = if mode == "busy" { 10 } else { 100 };
    for step in 0_u64.. {
        while let Ok(envelope) = inbox.try_recv() {
            if let Envelope::Command { reply, .. } = envelope {
                let message = "paused at a transaction's end".into();
                let _ = reply.send(Reply::Done { message });
            }
        }
        snapshot.revision = step + 1;
        snapshot.taken_at = now();
        if mode == "busy" {
            for stream in &mut snapshot.streams {
                stream.rows_per_second = (step * 7919 % 100_000) as f64;
                if let Some(position) = &mut stream.position {
                    position.place.position.offset = step * 1_048_573;
                }
            }
        }
        if snapshots.send(Arc::new(snapshot.clone())).is_err() {
            return;
        }
        std::thread::sleep(Duration::from_millis(pause));
    }
}

/// Not a test but the process that the others look at.
#[test]
fn console_child() {
    let Ok(mode) = std::env::var("TIDEWAY_TEST_CONSOLE") else {
        return;
    };
    let folder = PathBuf::from(std::env::var_os("TIDEWAY_TEST_FOLDER").unwrap());
    if mode == "panic" {
        tideway::terminal::install_panic_hook();
        let guard = tideway::terminal::Guard::take(false).unwrap();
        print!("SCRIBBLE");
        std::io::stdout().flush().unwrap();
        let caught = std::panic::catch_unwind(|| panic!("on purpose"));
        let canonical = is_canonical();
        drop(guard);
        std::fs::write(
            folder.join("result"),
            format!("{} {canonical}", caught.is_err()),
        )
        .unwrap();
        return;
    }
    let (send, receive) = watch::channel(Arc::new(Snapshot::default()));
    let (commands, inbox) = mpsc::channel(16);
    let handle = Handle::new(receive, commands, "console");
    let player_mode = mode.clone();
    std::thread::spawn(move || play(&player_mode, &send, inbox));
    let ended = ui::run(
        handle,
        &options(&folder),
        CancellationToken::new(),
        CancellationToken::new(),
    );
    let ended = ended.unwrap();
    let temporary = folder.join("result.new");
    std::fs::write(&temporary, format!("{ended:?} {}", is_canonical())).unwrap();
    std::fs::rename(temporary, folder.join("result")).unwrap();
    std::process::exit(0);
}

/// Whether the terminal hands on whole lines again: the sign of a mode that was restored.
fn is_canonical() -> bool {
    rustix::termios::tcgetattr(std::io::stdin()).is_ok_and(|mode| {
        let flags = mode.local_modes;
        flags.contains(rustix::termios::LocalModes::ICANON | rustix::termios::LocalModes::ECHO)
    })
}

#[test]
fn starts_follows_the_size_and_leaves() {
    let mut terminal = Terminal::start("calm", true);
    terminal.wait_for("streams (5)");
    assert!(
        terminal
            .screen
            .lock()
            .unwrap()
            .parser
            .screen()
            .alternate_screen()
    );
    terminal.press(b"2");
    terminal.wait_for("targets (1)");
    terminal.press(b"1");
    terminal.resize(160, 45);
    terminal.wait_for("problems (0)");
    terminal.resize(60, 15);
    terminal.wait_for("[1 Overview] 2  3  4");
    terminal.resize(20, 3);
    terminal.wait_for("RUN");
    terminal.resize(80, 24);
    terminal.wait_for("streams (5)");
    // A command's reply reaches the attention line.
    terminal.press(b"p");
    terminal.wait_for("paused at a transaction's end");
    // Copying goes to the clipboard and to a file.
    terminal.press(b"y");
    terminal.wait_for("copied the position of orders/mysql-01");
    let copied = terminal.folder.path().join("copied/position.txt");
    let text = std::fs::read_to_string(copied).unwrap();
    assert!(text.starts_with("mysql-bin.000129:88120431\n"), "{text}");
    let bytes = terminal.screen.lock().unwrap().bytes.clone();
    assert!(contains(&bytes, b"\x1b]52;c;"));
    // Leaving asks first.
    terminal.press(b"q");
    terminal.wait_for("stop cleanly and leave");
    terminal.press(b"\x1b");
    wait(
        SOON,
        || !terminal.text().contains("leave?"),
        || terminal.text(),
    );
    terminal.press(b"\x03s");
    assert_eq!(terminal.ended(SOON), "Leave true");
    let seen = terminal.screen.lock().unwrap();
    let screen = seen.parser.screen();
    assert!(!screen.alternate_screen());
    assert!(!screen.hide_cursor());
    assert!(!screen.bracketed_paste());
    assert!(contains(
        &seen.bytes,
        tideway::terminal::restore::SEQUENCE.as_bytes()
    ));
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

#[test]
fn a_closed_terminal_ends_it() {
    // With a hang-up signal, as the terminal is its controlling one; and without.
    for has_controlling_terminal in [true, false] {
        let mut terminal = Terminal::start("busy", has_controlling_terminal);
        terminal.wait_for("streams (5)");
        terminal.writer = None;
        terminal.master = None;
        // The reader holds the terminal too, till the next frame comes: within a second.
        terminal.screen.lock().unwrap().is_closed = true;
        let said = terminal.ended(END + Duration::from_secs(1));
        assert!(said.starts_with("TerminalLost"), "{said}");
    }
}

#[test]
fn signals_end_it() {
    let terminal = Terminal::start("busy", true);
    terminal.wait_for("streams (5)");
    terminal.signal("-TERM");
    assert_eq!(terminal.ended(END), "Leave true");
    let terminal = Terminal::start("busy", true);
    terminal.wait_for("streams (5)");
    terminal.signal("-HUP");
    assert_eq!(terminal.ended(END), "TerminalLost true");
    // What it wrote last may still be read.
    let is_given_back = || {
        let seen = terminal.screen.lock().unwrap();
        !seen.parser.screen().alternate_screen()
    };
    let end = Instant::now() + SOON;
    while !is_given_back() {
        assert!(Instant::now() < end, "{}", terminal.text());
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_stuck_terminal_does_not_hold_it() {
    let mut terminal = Terminal::start("busy", true);
    terminal.wait_for("streams (5)");
    terminal.screen.lock().unwrap().is_stuck = true;
    // Long enough for the terminal's buffer to fill.
    std::thread::sleep(Duration::from_secs(3));
    terminal.press(b"q");
    terminal.press(b"s");
    assert!(terminal.ended(END).starts_with("Leave"));
}

#[test]
fn a_panic_gives_the_terminal_back() {
    let terminal = Terminal::start("panic", true);
    assert_eq!(terminal.ended(SOON), "true true");
    let has_said = || contains(&terminal.screen.lock().unwrap().bytes, b"on purpose");
    wait(SOON, has_said, || terminal.text());
    let seen = terminal.screen.lock().unwrap();
    assert!(!seen.parser.screen().alternate_screen());
    assert!(!seen.parser.screen().hide_cursor());
}

#[test]
fn idle_sends_little() {
    let terminal = Terminal::start("calm", true);
    terminal.wait_for("streams (5)");
    // The first seconds also show what has just arrived.
    std::thread::sleep(Duration::from_secs(2));
    let before = terminal.screen.lock().unwrap().bytes.len();
    std::thread::sleep(Duration::from_secs(5));
    let sent = terminal.screen.lock().unwrap().bytes.len() - before;
    println!("idle: {} bytes a second", sent / 5);
    assert!(sent / 5 <= 80, "{sent} bytes in 5 s");
}
