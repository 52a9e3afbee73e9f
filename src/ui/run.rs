//! The loop: input first, then snapshots, then the clock; one write a frame; never waiting for the
//! terminal or the runtime.

use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crossterm::event::{Event, MouseEventKind};
use futures_util::StreamExt as _;
use futures_util::future::LocalBoxFuture;
use futures_util::stream::FuturesUnordered;
use ratatui::backend::{Backend as _, CrosstermBackend};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::control::{Answer, Handle, Reply};
use crate::model::{Error, ErrorKind, Result, Timestamp};
use crate::terminal::clipboard;
use crate::terminal::setup::size;
use crate::terminal::watch::Watch;
use crate::terminal::{Guard, Output, Reader, Signal, Signals};

use super::action::Action;
use super::draw::draw;
use super::effect::{Copied, Effect};
use super::keymap::Key;
use super::options::Options;
use super::reducer;
use super::state::State;
use super::view::{Looks, View};

/// The least time between two frames after keys.
const KEY_INTERVAL: Duration = Duration::from_millis(33);
/// The least time between two frames after data, on a fast terminal and on the slowest.
const DATA_INTERVAL: Duration = Duration::from_millis(250);
const SLOWEST_INTERVAL: Duration = Duration::from_secs(1);
/// A frame that takes the terminal longer than this halves the rate.
const SLOW_FRAME: Duration = Duration::from_millis(100);
/// Commands that may wait for a reply at once.
const MAX_PENDING: usize = 16;

/// Why the console ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The operator, or a signal, asked for a clean stop.
    Leave,
    /// The terminal is gone.
    TerminalLost,
    /// The worker ended by itself, or the caller asked the console to end.
    WorkerEnded,
}

/// Runs the console on the calling thread until it ends; the terminal is given back then.
///
/// Cancelling `lost` or `end` ends it; it cancels `lost` itself when it notices the loss. It does not
/// stop the worker: that is for the caller.
pub fn run(
    handle: Handle,
    options: &Options,
    lost: CancellationToken,
    end: CancellationToken,
) -> Result<Ended> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| {
            Error::new(ErrorKind::Internal, "cannot start the console").with_source(error)
        })?;
    // Declared last: a panic below gives the terminal back before the runtime is dropped.
    let guard = Guard::take(options.is_mouse_on)?;
    let ended = runtime.block_on(async {
        let mut console = Console::start(handle, options, lost, end)?;
        Ok(console.run().await)
    });
    drop(guard);
    ended
}

struct Console<'a> {
    options: &'a Options,
    handle: Handle,
    lost: CancellationToken,
    end: CancellationToken,
    state: State,
    screen: Screen,
    output: Output,
    reader: Reader,
    signals: Signals,
    _watch: Watch,
    replies: FuturesUnordered<LocalBoxFuture<'static, Reply>>,
    answers: FuturesUnordered<LocalBoxFuture<'static, Answer>>,
    pace: Pace,
}

/// When the next frame is due.
struct Pace {
    after_key: bool,
    after_data: bool,
    last: Option<Instant>,
    interval: Duration,
}

impl Pace {
    fn due(&self) -> Option<Instant> {
        let interval = if self.after_key {
            KEY_INTERVAL
        } else if self.after_data {
            self.interval
        } else {
            return None;
        };
        Some(self.last.map_or_else(Instant::now, |last| last + interval))
    }

    /// A frame was taken by the terminal in `took`.
    fn took(&mut self, took: Duration) {
        self.interval = if took > SLOW_FRAME {
            (self.interval * 2).min(SLOWEST_INTERVAL)
        } else {
            (self.interval / 2).max(DATA_INTERVAL)
        };
    }
}

enum Step {
    Input(Option<Event>),
    Signal(Signal),
    Reply(Reply),
    Answer(Answer),
    Snapshot(bool),
    Drained(io::Result<()>),
    Draw,
    Clock,
    Ended(Ended),
}

fn now() -> Timestamp {
    SystemTime::now().into()
}

impl<'a> Console<'a> {
    fn start(
        handle: Handle,
        options: &'a Options,
        lost: CancellationToken,
        end: CancellationToken,
    ) -> Result<Self> {
        let size = size().unwrap_or((0, 0));
        Ok(Self {
            options,
            state: State::new(handle.snapshot(), now(), size),
            screen: Screen::default(),
            output: Output::open()?,
            reader: Reader::start(lost.clone())?,
            signals: Signals::listen()?,
            _watch: Watch::start(lost.clone())?,
            replies: FuturesUnordered::new(),
            answers: FuturesUnordered::new(),
            pace: Pace {
                after_key: true,
                after_data: false,
                last: None,
                interval: DATA_INTERVAL,
            },
            handle,
            lost,
            end,
        })
    }

    async fn run(&mut self) -> Ended {
        let mut snapshots = self.handle.snapshots();
        let mut clock = tokio::time::interval(Duration::from_secs(1));
        clock.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let is_clear = self.output.is_clear();
            let due = self.pace.due().filter(|_| is_clear);
            let step = tokio::select! {
                biased;
                () = self.lost.cancelled() => Step::Ended(Ended::TerminalLost),
                () = self.end.cancelled() => Step::Ended(Ended::WorkerEnded),
                event = self.reader.next() => Step::Input(event),
                signal = self.signals.next() => Step::Signal(signal),
                result = self.output.drain(), if !is_clear => Step::Drained(result),
                () = sleep_until(due), if due.is_some() => Step::Draw,
                Some(reply) = self.replies.next() => Step::Reply(reply),
                Some(answer) = self.answers.next() => Step::Answer(answer),
                changed = snapshots.changed() => Step::Snapshot(changed.is_ok()),
                _ = clock.tick() => Step::Clock,
            };
            let ended = match step {
                Step::Ended(ended) => Some(ended),
                Step::Input(Some(event)) => self.on_input(event),
                Step::Signal(Signal::End) => Some(Ended::Leave),
                Step::Signal(Signal::Resize) => {
                    self.on_resize();
                    None
                }
                Step::Drained(Ok(())) => {
                    if self.output.is_clear() {
                        self.pace.took(self.output.last_took());
                    }
                    None
                }
                Step::Input(None) | Step::Signal(Signal::Hangup) | Step::Drained(Err(_)) => {
                    Some(Ended::TerminalLost)
                }
                Step::Draw => self.draw(),
                Step::Reply(reply) => {
                    reducer::on_reply(&mut self.state, reply, now());
                    self.pace.after_key = true;
                    let effects = super::journal::after_reply(&self.state);
                    effects
                        .into_iter()
                        .find_map(|effect| self.carry_out(effect))
                }
                Step::Answer(answer) => {
                    super::journal::on_answer(&mut self.state, answer);
                    self.pace.after_key = true;
                    None
                }
                Step::Snapshot(false) => Some(Ended::WorkerEnded),
                Step::Snapshot(true) => {
                    let snapshot = Arc::clone(&snapshots.borrow_and_update());
                    if snapshot.revision != self.state.newest.revision {
                        reducer::on_snapshot(&mut self.state, snapshot, now());
                        self.pace.after_data = true;
                    }
                    None
                }
                Step::Clock => {
                    self.state.now = now();
                    self.pace.after_data = true;
                    // A size that changed without a signal is noticed here.
                    self.on_resize();
                    None
                }
            };
            if let Some(ended) = ended {
                if ended == Ended::TerminalLost {
                    self.lost.cancel();
                }
                return ended;
            }
        }
    }

    /// Takes in `event` and all that wait behind it.
    fn on_input(&mut self, event: Event) -> Option<Ended> {
        let mut next = Some(event);
        while let Some(event) = next {
            let effects = match event {
                Event::Key(event) => {
                    // How long a dialog has been open decides whether a key was meant for it.
                    self.state.now = now();
                    let key = Key::of(event);
                    let looks = &self.options.looks;
                    key.map(|key| reducer::on_key(&mut self.state, key, looks))
                }
                Event::Paste(text) => {
                    reducer::on_paste(&mut self.state, &text);
                    None
                }
                Event::Mouse(event) => {
                    let action = match event.kind {
                        MouseEventKind::ScrollUp => Some(Action::Up),
                        MouseEventKind::ScrollDown => Some(Action::Down),
                        _ => None,
                    };
                    let entry = action.and_then(super::action::find);
                    let looks = &self.options.looks;
                    entry.map(|entry| reducer::on_action(&mut self.state, entry, looks))
                }
                Event::Resize(..) => {
                    self.on_resize();
                    None
                }
                Event::FocusGained | Event::FocusLost => None,
            };
            self.pace.after_key = true;
            for effect in effects.unwrap_or_default() {
                if let Some(ended) = self.carry_out(effect) {
                    return Some(ended);
                }
            }
            next = self.reader.take();
        }
        None
    }

    fn on_resize(&mut self) {
        if let Some(size) = size()
            && size != self.state.size
        {
            self.state.size = size;
            self.pace.after_key = true;
        }
    }

    fn carry_out(&mut self, effect: Effect) -> Option<Ended> {
        match effect {
            Effect::Leave => return Some(Ended::Leave),
            Effect::Redraw => self.screen = Screen::default(),
            Effect::Send(_) if self.replies.len() >= MAX_PENDING => {
                self.state.pending = self.replies.len();
                let text = "refused: the worker has not answered the commands before";
                reducer::say(&mut self.state, text, true, now());
            }
            Effect::Send(command) => {
                let handle = self.handle.clone();
                self.replies
                    .push(Box::pin(async move { handle.command(command).await }));
            }
            Effect::Ask(query) => {
                let handle = self.handle.clone();
                self.answers
                    .push(Box::pin(async move { handle.query(query).await }));
            }
            Effect::Copy(copied) => return self.copy(&copied),
        }
        None
    }

    /// To the clipboard, and to a file, as a clipboard may fail without a word.
    fn copy(&mut self, copied: &Copied) -> Option<Ended> {
        let wrapping = clipboard::wrapping(|name| std::env::var(name).ok());
        let sequence = clipboard::sequence(&copied.text, wrapping);
        let file = save(&self.options.data_dir, copied);
        let (mut text, mut is_refusal) = match sequence {
            Some(_) => (format!("copied {}", copied.what), false),
            None => (
                format!("{} is too long for the clipboard", copied.what),
                true,
            ),
        };
        match file {
            Ok(path) => {
                let _ = write!(text, "; also in {}", path.display());
            }
            Err(error) => {
                let _ = write!(text, "; no file: {error}");
                is_refusal = true;
            }
        }
        reducer::say(&mut self.state, text, is_refusal, now());
        let sent = sequence.map_or(Ok(()), |sequence| self.output.send(&sequence));
        sent.err().map(|_| Ended::TerminalLost)
    }

    fn draw(&mut self) -> Option<Ended> {
        self.pace.after_key = false;
        self.pace.after_data = false;
        self.pace.last = Some(Instant::now());
        let frame = match self.screen.frame(&self.state, &self.options.looks) {
            Ok(frame) => frame,
            Err(error) => {
                tracing::error!(%error, "a frame could not be made");
                return Some(Ended::TerminalLost);
            }
        };
        if frame.is_empty() {
            return None;
        }
        if self.output.send(&frame).is_err() {
            return Some(Ended::TerminalLost);
        }
        if self.output.is_clear() {
            self.pace.took(self.output.last_took());
        }
        None
    }
}

async fn sleep_until(at: Option<Instant>) {
    if let Some(at) = at {
        tokio::time::sleep_until(at).await;
    }
}

/// What the terminal shows, to send only what differs.
#[derive(Debug, Default)]
struct Screen {
    // `None`: not known; everything is sent.
    shown: Option<Buffer>,
}

impl Screen {
    /// The bytes that make the terminal show `state`; empty where it does already.
    fn frame(&mut self, state: &State, looks: &Looks) -> io::Result<Vec<u8>> {
        let area = Rect::new(0, 0, state.size.0, state.size.1);
        let mut next = Buffer::empty(area);
        draw(&View { state, looks }, &mut next);
        let mut out = Vec::new();
        let before = match self.shown.take() {
            Some(before) if before.area == area => before,
            _ => {
                out.extend_from_slice(b"\x1b[0m\x1b[2J");
                Buffer::empty(area)
            }
        };
        let difference = before.diff(&next);
        if !difference.is_empty() {
            CrosstermBackend::new(&mut out).draw(difference.into_iter())?;
        }
        self.shown = Some(next);
        if out.is_empty() {
            return Ok(out);
        }
        let mut frame = Vec::with_capacity(out.len() + 16);
        frame.extend_from_slice(b"\x1b[?2026h");
        frame.extend_from_slice(&out);
        frame.extend_from_slice(b"\x1b[?2026l");
        Ok(frame)
    }
}

/// Writes what was copied into `copied/` of the data folder, readable by its owner alone.
fn save(data_dir: &Path, copied: &Copied) -> io::Result<PathBuf> {
    use std::io::Write as _;
    use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
    let folder = data_dir.join("copied");
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&folder)?;
    let path = folder.join(&copied.file_name);
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&path)?;
    file.write_all(copied.text.as_bytes())?;
    Ok(path)
}
