//! What the console remembers between two frames: which snapshot it shows and where the operator is
//! in it. Changed by the reducer only; drawing reads it.

use std::collections::BTreeMap;
use std::sync::Arc;

use tui_input::Input;

use crate::control::{CheckReport, Snapshot, SourceSnapshot, StreamSnapshot};
use crate::model::{Timestamp, Unit};

use super::accepting::Accepting;
use super::action::Screen;
use super::deciding::Deciding;
use super::journal::JournalPane;
use super::layout::Pane;

/// Data older than this is marked, in seconds.
pub const STALE_AFTER: u64 = 3;

/// A message is shown before the problems for this long, in seconds.
pub const MESSAGE_SECONDS: u64 = 8;

/// The console's state.
#[derive(Clone, Debug)]
pub struct State {
    /// The newest snapshot.
    pub newest: Arc<Snapshot>,
    /// The one on screen: the newest, unless the display is frozen.
    pub shown: Arc<Snapshot>,
    /// The wall clock, set once a second and with each snapshot.
    pub now: Timestamp,
    /// Whether the display is held still.
    pub is_frozen: bool,
    /// The terminal's size, columns and rows.
    pub size: (u16, u16),
    /// The screen in front.
    pub screen: Screen,
    /// The focused pane of each screen visited.
    pub focus: BTreeMap<Screen, Pane>,
    /// Whether the focused pane has the whole screen.
    pub is_zoomed: bool,
    /// The selected task; `None`: the source has no stream, or nothing is selected yet.
    pub task: Option<String>,
    /// The selected source.
    pub source: Option<String>,
    /// The selected server of the grants.
    pub server: Option<String>,
    /// The selected column of the grants; `None`: the one that matters most in a row.
    pub unit: Option<Unit>,
    /// The selected or topmost line of each pane.
    pub cursors: BTreeMap<Pane, usize>,
    /// The filter of each screen that has one.
    pub filters: BTreeMap<Screen, Input>,
    /// Whether the filter is being typed.
    pub is_typing: bool,
    /// Whether the log shows its newest lines.
    pub is_following: bool,
    /// The least level of log lines shown.
    pub level: Level,
    /// What is open above the screen.
    pub dialog: Option<Dialog>,
    /// The journal, while it is open.
    pub journal: Option<JournalPane>,
    /// The decision that is being made.
    pub deciding: Option<Deciding>,
    /// What is being accepted of the checks' findings.
    pub accepting: Option<Accepting>,
    /// The newest message: a command's reply, what was copied.
    pub message: Option<Message>,
    /// Commands without a reply yet.
    pub pending: usize,
    /// The problem last gone to.
    pub problem: Option<usize>,
}

/// A dialog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialog {
    /// The list of keys, scrolled to a line.
    Help(usize),
    /// Asks before leaving.
    Leave,
    /// The journal: [`State::journal`].
    Journal,
    /// Asks for what confirms a decision: [`State::deciding`].
    Decide,
    /// Asks which of the grants' statements are copied.
    CopyAs,
    /// Asks whether a stream may begin in spite of findings: [`State::accepting`].
    Accept,
}

/// A line for the operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The text.
    pub text: String,
    /// Whether something was not done.
    pub is_refusal: bool,
    /// When it came.
    pub at: Timestamp,
}

/// The least level of log lines shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Errors alone.
    Error,
    /// Warnings too.
    Warn,
    /// What happens.
    #[default]
    Info,
    /// Everything.
    All,
}

impl Level {
    /// Whether a line of `level` is shown.
    pub fn shows(self, level: &str) -> bool {
        let of_line = match level {
            "ERROR" => Self::Error,
            "WARN" => Self::Warn,
            "INFO" => Self::Info,
            _ => Self::All,
        };
        of_line <= self
    }

    /// The next one, in a ring.
    #[must_use]
    pub fn next(self) -> Self {
        match self {
            Self::Error => Self::Warn,
            Self::Warn => Self::Info,
            Self::Info => Self::All,
            Self::All => Self::Error,
        }
    }

    /// For a title.
    pub fn word(self) -> &'static str {
        match self {
            Self::Error => "errors",
            Self::Warn => "warn and above",
            Self::Info => "info and above",
            Self::All => "all levels",
        }
    }
}

/// A line of the table of streams.
#[derive(Clone, Copy, Debug)]
pub enum StreamRow<'a> {
    /// A stream.
    Stream(&'a StreamSnapshot),
    /// A source without one: its relay alone.
    Source(&'a SourceSnapshot),
}

impl StreamRow<'_> {
    /// The task, if it is a stream.
    pub fn task(&self) -> Option<&str> {
        match self {
            Self::Stream(stream) => Some(&stream.task),
            Self::Source(_) => None,
        }
    }

    /// The source.
    pub fn source(&self) -> &str {
        match self {
            Self::Stream(stream) => &stream.source,
            Self::Source(source) => &source.name,
        }
    }
}

impl State {
    /// The state at the start, on `snapshot`.
    pub fn new(snapshot: Arc<Snapshot>, now: Timestamp, size: (u16, u16)) -> Self {
        let mut state = Self {
            newest: Arc::clone(&snapshot),
            shown: snapshot,
            now,
            is_frozen: false,
            size,
            screen: Screen::Overview,
            focus: BTreeMap::new(),
            is_zoomed: false,
            task: None,
            source: None,
            server: None,
            unit: None,
            cursors: BTreeMap::new(),
            filters: BTreeMap::new(),
            is_typing: false,
            is_following: true,
            level: Level::default(),
            dialog: None,
            journal: None,
            deciding: None,
            accepting: None,
            message: None,
            pending: 0,
            problem: None,
        };
        state.select_something();
        state
    }

    /// Selects the first stream where nothing is selected, or what was selected is gone.
    pub(super) fn select_something(&mut self) {
        let is_there = self.all_rows().iter().any(|row| {
            row.task() == self.task.as_deref() && Some(row.source()) == self.source.as_deref()
        });
        if is_there {
            return;
        }
        let first = self
            .all_rows()
            .first()
            .map(|row| (row.task().map(str::to_owned), row.source().to_owned()));
        if let Some((task, source)) = first {
            self.task = task;
            self.source = Some(source);
        }
    }

    /// All streams, then the sources that have none.
    pub fn all_rows(&self) -> Vec<StreamRow<'_>> {
        let streams = self.shown.streams.iter().map(StreamRow::Stream);
        let alone = self.shown.sources.iter().filter(|source| {
            !self
                .shown
                .streams
                .iter()
                .any(|stream| stream.source == source.name)
        });
        streams.chain(alone.map(StreamRow::Source)).collect()
    }

    /// Those that the filter of the screen in front leaves.
    pub fn rows(&self) -> Vec<StreamRow<'_>> {
        let mut rows = self.all_rows();
        rows.retain(|row| self.passes(&[row.task().unwrap_or_default(), row.source()]));
        rows
    }

    /// The sources that the filter leaves.
    pub fn sources(&self) -> Vec<&SourceSnapshot> {
        let sources = self.shown.sources.iter();
        sources
            .filter(|source| self.passes(&[&source.name, &source.address]))
            .collect()
    }

    /// The selected stream.
    pub fn stream(&self) -> Option<&StreamSnapshot> {
        let (task, source) = (self.task.as_deref()?, self.source.as_deref()?);
        self.shown
            .streams
            .iter()
            .find(|stream| stream.task == task && stream.source == source)
    }

    /// The selected source.
    pub fn selected_source(&self) -> Option<&SourceSnapshot> {
        let name = self.source.as_deref()?;
        self.shown.sources.iter().find(|source| source.name == name)
    }

    /// The filter's text on the screen in front.
    pub fn filter(&self) -> &str {
        self.filters
            .get(&self.screen)
            .map_or("", tui_input::Input::value)
    }

    /// Whether one of `texts` contains the filter, case apart.
    pub fn passes(&self, texts: &[&str]) -> bool {
        let filter = self.filter();
        if filter.is_empty() {
            return true;
        }
        let filter = filter.to_lowercase();
        texts
            .iter()
            .any(|text| text.to_lowercase().contains(&filter))
    }

    /// The report that the grants show: the one of another setting, while that is looked at.
    pub fn report(&self) -> Option<&CheckReport> {
        let supposed = self.shown.supposed.as_ref();
        supposed
            .map(|supposed| &supposed.report)
            .or(self.shown.check.as_deref())
    }

    /// The servers of the grants, in the report's order.
    pub fn servers(&self) -> Vec<&str> {
        let mut servers: Vec<&str> = Vec::new();
        if let Some(report) = self.report() {
            for figure in &report.privileges {
                if !servers.contains(&figure.server.as_str()) {
                    servers.push(&figure.server);
                }
            }
        }
        servers
    }

    /// The server whose grants are shown: the selected one, else that of the selected source.
    pub fn server(&self) -> Option<&str> {
        let servers = self.servers();
        let has = |name: &str| servers.iter().copied().find(|server| *server == name);
        self.server
            .as_deref()
            .and_then(has)
            .or_else(|| has(&format!("source:{}", self.source.as_deref()?)))
            .or_else(|| servers.first().copied())
    }

    /// How old the data on screen is, if it is too old.
    pub fn stale_seconds(&self) -> Option<u64> {
        if self.shown.taken_at == Timestamp::default() {
            return None;
        }
        let age = self.now.since(self.shown.taken_at).as_secs();
        (age > STALE_AFTER).then_some(age)
    }

    /// Whether leaving would stop work.
    pub fn is_working(&self) -> bool {
        use crate::model::Stage::{Finished, Paused, Stopped};
        let rests = |stage| matches!(stage, Finished | Paused | Stopped);
        let newest = &self.newest;
        newest.streams.iter().any(|stream| !rests(stream.stage))
            || newest
                .sources
                .iter()
                .any(|source| source.relay.is_some() && !rests(source.stage))
    }

    /// The cursor of `pane`.
    pub fn cursor(&self, pane: Pane) -> usize {
        self.cursors.get(&pane).copied().unwrap_or(0)
    }
}
