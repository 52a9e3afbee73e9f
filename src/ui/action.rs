//! The one table of what keys can do. Dispatch, the key line, the help and the check of
//! `[console.keys]` are all made from it, so none of them can say what another does not do.

use crate::model::{Choice, Reach};

/// A screen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Screen {
    /// All streams, and what matters of the selected one.
    #[default]
    Overview,
    /// The sources and targets.
    Sources,
    /// A source's relay.
    Relay,
    /// A stream's dump and load.
    Load,
    /// A stream's sync.
    Sync,
    /// The event at which a stream stands.
    Events,
    /// Privileges and checks.
    Grants,
    /// The log.
    Log,
}

impl Screen {
    /// All, in the order of the tabs.
    pub const ALL: [Self; 8] = [
        Self::Overview,
        Self::Sources,
        Self::Relay,
        Self::Load,
        Self::Sync,
        Self::Events,
        Self::Grants,
        Self::Log,
    ];

    /// The word on the tab.
    pub fn title(self) -> &'static str {
        match self {
            Self::Overview => "Overview",
            Self::Sources => "Sources",
            Self::Relay => "Relay",
            Self::Load => "Load",
            Self::Sync => "Sync",
            Self::Events => "Events",
            Self::Grants => "Grants",
            Self::Log => "Log",
        }
    }
}

/// What a key does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Action {
    /// Goes to a screen.
    Go(Screen),
    /// Focuses the next pane.
    NextPane,
    /// Focuses the pane before.
    PreviousPane,
    /// One line up.
    Up,
    /// One line down.
    Down,
    /// The stream, source or server before.
    Left,
    /// The next stream, source or server.
    Right,
    /// To the first line.
    First,
    /// To the last line.
    Last,
    /// Half a screen up.
    PageUp,
    /// Half a screen down.
    PageDown,
    /// Opens what is selected.
    Open,
    /// Closes what is open.
    Back,
    /// Types a filter.
    Filter,
    /// To the next line that the filter left.
    NextMatch,
    /// To the line before.
    PreviousMatch,
    /// Opens the help.
    Help,
    /// Opens the next problem.
    NextProblem,
    /// Gives the focused pane the whole screen.
    Zoom,
    /// Holds the display still.
    Freeze,
    /// Pauses or resumes.
    Pause,
    /// Tries again at once.
    Retry,
    /// Opens the dialog in which something is decided for an event.
    Decide(Choice, Reach),
    /// Opens the dialog in which the checks' findings before a start are accepted.
    Accept,
    /// Opens the journal.
    Journal,
    /// Takes back the newest decision that waits.
    Revert,
    /// Runs the checks again.
    Check,
    /// Runs them as if another setting were made.
    Suppose,
    /// Copies what is focused.
    Copy,
    /// Opens the choice of what is copied.
    CopyAs,
    /// The next server of the grants.
    NextServer,
    /// The least level of log lines shown.
    Level,
    /// Draws all anew.
    Redraw,
    /// Leaves.
    Leave,
    /// In the dialog that asks before leaving: stops and leaves.
    Stop,
}

/// Where an entry holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// On every screen.
    Everywhere,
    /// On these screens.
    On(&'static [Screen]),
    /// In the dialog that asks before leaving.
    Leaving,
}

impl Place {
    /// Whether it holds on `screen`.
    pub fn covers(self, screen: Screen) -> bool {
        match self {
            Self::Everywhere => true,
            Self::On(screens) => screens.contains(&screen),
            Self::Leaving => false,
        }
    }
}

/// A line of the table.
#[derive(Debug)]
pub struct Entry {
    /// What it does.
    pub action: Action,
    /// Its name in `[console.keys]`.
    pub name: &'static str,
    /// Its keys; a binding in the configuration takes the place of the first.
    pub keys: &'static [&'static str],
    /// Where it holds.
    pub place: Place,
    /// For the key line; empty: not there.
    pub label: &'static str,
    /// For the help.
    pub help: &'static str,
    /// Whether it changes what the runtime does: refused when read-only.
    pub changes: bool,
}

const fn entry(
    action: Action,
    name: &'static str,
    keys: &'static [&'static str],
    place: Place,
    label: &'static str,
    help: &'static str,
) -> Entry {
    Entry {
        action,
        name,
        keys,
        place,
        label,
        help,
        changes: false,
    }
}

const fn changing(mut entry: Entry) -> Entry {
    entry.changes = true;
    entry
}

/// Where `retry` and `pause` concern the selected stream or source.
const WORK: &[Screen] = &[
    Screen::Overview,
    Screen::Sources,
    Screen::Relay,
    Screen::Load,
    Screen::Sync,
    Screen::Events,
];

/// Where something is decided for the event at which a stream stands.
const STOPS: &[Screen] = &[Screen::Events];

/// Where a stream is seen that the checks keep from beginning.
const ASKED: &[Screen] = &[
    Screen::Overview,
    Screen::Load,
    Screen::Sync,
    Screen::Events,
    Screen::Grants,
];

/// Where there is a list to filter.
const LISTS: &[Screen] = &[
    Screen::Overview,
    Screen::Sources,
    Screen::Load,
    Screen::Sync,
    Screen::Grants,
    Screen::Log,
];

// One line an entry: it is read as a table.
#[rustfmt::skip]
/// The table. Its order is that of the key line and of the help.
pub static TABLE: &[Entry] = &[
    entry(Action::Stop, "stop", &["s"], Place::Leaving, "stop cleanly", "in the dialog before leaving: write the checkpoints, stop, leave"),
    entry(Action::Open, "open", &["enter"], Place::On(&[Screen::Overview, Screen::Sources, Screen::Sync]), "open", "open what is selected"),
    changing(entry(Action::Retry, "retry", &["r"], Place::On(WORK), "retry", "try again at once what failed: the selected stream, or the source's relay")),
    changing(entry(Action::Accept, "accept", &["a"], Place::On(ASKED), "accept", "begin in spite of what the checks found for the selected stream; asks first")),
    changing(entry(Action::Pause, "pause", &["p"], Place::On(WORK), "pause", "pause at the end of the transaction in hand, or go on: the selected stream, or the source's relay")),
    changing(entry(Action::Decide(Choice::Skip, Reach::Event), "skip", &["s"], Place::On(STOPS), "skip", "leave out the event at which the stream stands; asks first")),
    changing(entry(Action::Decide(Choice::Skip, Reach::Row), "skip-row", &["x"], Place::On(STOPS), "skip row", "leave out the one row that was met; asks first")),
    changing(entry(Action::Decide(Choice::Skip, Reach::Transaction), "skip-transaction", &["T"], Place::On(STOPS), "skip trx", "leave out the whole transaction; asks first")),
    changing(entry(Action::Decide(Choice::Repair, Reach::Event), "repair", &["m"], Place::On(STOPS), "repair", "make the rows of the event what the source says they are; asks first")),
    changing(entry(Action::Decide(Choice::Repair, Reach::Row), "repair-row", &["X"], Place::On(STOPS), "", "make the one row that was met what the source says it is; asks first")),
    changing(entry(Action::Decide(Choice::Repair, Reach::Transaction), "repair-transaction", &["M"], Place::On(STOPS), "", "make every row of the transaction what the source says; asks first")),
    changing(entry(Action::Revert, "revert", &["u"], Place::On(STOPS), "", "take back the newest decision that has not taken effect")),
    entry(Action::Check, "check", &["r"], Place::On(&[Screen::Grants]), "check again", "run the checks and read the grants again"),
    entry(Action::Level, "level", &["v"], Place::On(&[Screen::Log]), "level", "show only lines of this level and above"),
    entry(Action::Copy, "copy", &["y"], Place::Everywhere, "copy", "copy what the focused pane is about (grants, statement, position, line) to the clipboard and to a file"),
    entry(Action::CopyAs, "copy-as", &["Y"], Place::On(&[Screen::Grants]), "part", "copy the GRANT of one cell, of one unit, of this server, of all servers, or the documented minimum"),
    entry(Action::NextServer, "next-server", &["d"], Place::On(&[Screen::Grants]), "next server", "the grants of the next server"),
    entry(Action::Suppose, "suppose", &["c"], Place::On(&[Screen::Grants]), "as if", "what would be needed and found with the next `consistency` of a dump; behind the last: with what is set"),
    entry(Action::Journal, "journal", &["J"], Place::Everywhere, "", "what was asked and decided, with what became of it; apply later what was left out"),
    entry(Action::NextProblem, "next-problem", &["!"], Place::Everywhere, "next problem", "go to the next problem, oldest first"),
    entry(Action::Filter, "filter", &["/"], Place::On(LISTS), "filter", "show only lines that contain a text; enter keeps it, esc removes it"),
    entry(Action::Left, "left", &["h", "left"], Place::Everywhere, "", "the stream or source before; in the grants the unit before"),
    entry(Action::Right, "right", &["l", "right"], Place::Everywhere, "", "the next stream or source; in the grants the next unit"),
    entry(Action::NextPane, "next-pane", &["tab"], Place::Everywhere, "pane", "focus the next pane"),
    entry(Action::Zoom, "zoom", &["z"], Place::Everywhere, "zoom", "give the focused pane the whole screen, or take it back"),
    entry(Action::Freeze, "freeze", &["space"], Place::Everywhere, "freeze", "hold the display still; the work goes on"),
    entry(Action::Help, "help", &["?"], Place::Everywhere, "help", "this list"),
    entry(Action::Leave, "quit", &["q", "ctrl-c"], Place::Everywhere, "quit", "leave; asks while work is running"),
    entry(Action::PreviousPane, "previous-pane", &["shift-tab"], Place::Everywhere, "", "focus the pane before"),
    entry(Action::Up, "up", &["k", "up"], Place::Everywhere, "", "one line up"),
    entry(Action::Down, "down", &["j", "down"], Place::Everywhere, "", "one line down"),
    entry(Action::First, "first", &["g", "home"], Place::Everywhere, "", "to the first line"),
    entry(Action::Last, "last", &["G", "end"], Place::Everywhere, "", "to the last line; in the log: follow new lines"),
    entry(Action::PageUp, "page-up", &["ctrl-u", "pageup"], Place::Everywhere, "", "half a screen up"),
    entry(Action::PageDown, "page-down", &["ctrl-d", "pagedown"], Place::Everywhere, "", "half a screen down"),
    entry(Action::NextMatch, "next-match", &["n"], Place::On(LISTS), "", "to the next line that the filter left"),
    entry(Action::PreviousMatch, "previous-match", &["N"], Place::On(LISTS), "", "to the line before that the filter left"),
    entry(Action::Back, "back", &["esc"], Place::Everywhere, "", "close what is open; take back zoom, filter, or screen"),
    entry(Action::Redraw, "redraw", &["ctrl-l"], Place::Everywhere, "", "draw everything anew"),
    entry(Action::Go(Screen::Overview), "overview", &["1"], Place::Everywhere, "", "all streams, and what matters of the selected one"),
    entry(Action::Go(Screen::Sources), "sources", &["2"], Place::Everywhere, "", "the sources and targets: version, settings, connection"),
    entry(Action::Go(Screen::Relay), "relay", &["3"], Place::Everywhere, "", "how far the local copy of the source's binlog is"),
    entry(Action::Go(Screen::Load), "load", &["4"], Place::Everywhere, "", "how far the dump and the load are"),
    entry(Action::Go(Screen::Sync), "sync", &["5"], Place::Everywhere, "", "lag, position and rates of replication"),
    entry(Action::Go(Screen::Events), "events", &["6"], Place::Everywhere, "", "the event at which the selected stream stands"),
    entry(Action::Go(Screen::Grants), "grants", &["7"], Place::Everywhere, "", "which privileges are there, which are missing"),
    entry(Action::Go(Screen::Log), "log", &["8"], Place::Everywhere, "", "the log"),
];

/// The table's line for `action`.
pub fn find(action: Action) -> Option<&'static Entry> {
    TABLE.iter().find(|entry| entry.action == action)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique() {
        let mut names: Vec<_> = TABLE.iter().map(|entry| entry.name).collect();
        names.sort_unstable();
        let before = names.len();
        names.dedup();
        assert_eq!(names.len(), before);
        assert!(TABLE.iter().all(|entry| !entry.keys.is_empty()));
    }
}
