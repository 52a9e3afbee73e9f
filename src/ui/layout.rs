//! Which panes a screen has at a size, and where. Pure: used for drawing and for moving the focus.
//!
//! ```text
//! line 1      state
//! line 2      tabs
//! ...         the screen's panes
//! last but 1  attention: the oldest problem, or the newest message
//! last        keys
//! ```

use ratatui::layout::{Constraint, Layout, Rect};

use super::action::Screen;
use super::screen;
use super::state::State;

/// The least size that everything is shown at.
pub const LEAST: (u16, u16) = (80, 24);

/// A part of a screen with a border of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Pane {
    /// All streams.
    Streams,
    /// What needs the operator.
    Problems,
    /// The selected stream's lag.
    Lag,
    /// Dump, load, relay and grants in a few lines.
    Summary,
    /// The selected stream's dump and load.
    Copy,
    /// Where source, relay and sync are.
    Marks,
    /// What is missing, in a few lines.
    Missing,
    /// The newest log lines.
    LogTail,
    /// All sources.
    Sources,
    /// The selected source's settings.
    Settings,
    /// All targets.
    Targets,
    /// The relay's files.
    Files,
    /// Dump and load as a whole.
    Totals,
    /// Dump and load by table.
    Tables,
    /// What was chosen and adapted.
    Notes,
    /// Sync's figures.
    Figures,
    /// The error at which the stream stands.
    Error,
    /// The event's rows.
    Rows,
    /// The statement that failed.
    Statement,
    /// What can be done.
    Choices,
    /// Privilege by unit.
    Matrix,
    /// The selected privilege, and the statements that give what is missing.
    Statements,
    /// Settings and connections that were checked.
    Checks,
    /// The log.
    Lines,
}

/// How much there is room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Room {
    /// From 80x24: the reference.
    Reference,
    /// From 100x30: two columns.
    Columns,
    /// From 160x45: the dashboard.
    Dashboard,
}

/// The room in a body of this size (the frame's four lines are taken off already).
pub fn room(body: Rect) -> Room {
    match (body.width, body.height) {
        (160.., 41..) => Room::Dashboard,
        (100.., 26..) => Room::Columns,
        _ => Room::Reference,
    }
}

/// The frame's parts.
#[derive(Clone, Copy, Debug)]
pub struct Parts {
    /// Line 1.
    pub state: Rect,
    /// Line 2.
    pub tabs: Rect,
    /// The panes.
    pub body: Rect,
    /// The last line but one.
    pub attention: Rect,
    /// The last line.
    pub keys: Rect,
}

/// Takes the frame off `area`, which is at least [`LEAST`].
pub fn parts(area: Rect) -> Parts {
    let [state, tabs, body, attention, keys] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Fill(1),
        Constraint::Length(1),
        Constraint::Length(1),
    ])
    .areas(area);
    Parts {
        state,
        tabs,
        body,
        attention,
        keys,
    }
}

/// Whether `size` is too small for the whole console.
pub fn is_too_small((columns, rows): (u16, u16)) -> bool {
    columns < LEAST.0 || rows < LEAST.1
}

/// The panes of the screen in front, in the order of the focus.
pub fn panes(state: &State, body: Rect) -> Vec<(Pane, Rect)> {
    let all = match state.screen {
        Screen::Overview => screen::overview::layout(state, body),
        Screen::Sources => screen::sources::layout(state, body),
        Screen::Relay => screen::relay::layout(body),
        Screen::Load => screen::load::layout(state, body),
        Screen::Sync => screen::sync::layout(state, body),
        Screen::Events => screen::events::layout(state, body),
        Screen::Grants => screen::grants::layout(state, body),
        Screen::Log => vec![(Pane::Lines, body)],
    };
    if state.is_zoomed {
        let focused = focused(state, &all);
        return focused.map(|pane| (pane, body)).into_iter().collect();
    }
    all
}

/// The focused one of `panes`: the last focused on this screen, if it is there at this size.
pub fn focused(state: &State, panes: &[(Pane, Rect)]) -> Option<Pane> {
    let last = state.focus.get(&state.screen);
    panes
        .iter()
        .map(|(pane, _)| *pane)
        .find(|pane| Some(pane) == last)
        .or_else(|| panes.first().map(|(pane, _)| *pane))
}

/// The panes and the focused one for the state's own size.
pub fn current(state: &State) -> (Vec<(Pane, Rect)>, Option<Pane>) {
    let area = Rect::new(0, 0, state.size.0, state.size.1);
    let panes = panes(state, parts(area).body);
    let focused = focused(state, &panes);
    (panes, focused)
}

/// Rows one under the other.
pub fn stack<const N: usize>(area: Rect, constraints: [Constraint; N]) -> [Rect; N] {
    Layout::vertical(constraints).areas(area)
}

/// Columns side by side.
pub fn beside<const N: usize>(area: Rect, constraints: [Constraint; N]) -> [Rect; N] {
    Layout::horizontal(constraints).areas(area)
}

/// The height of a table's pane with `rows` rows: border and heading added, within bounds.
pub fn table_height(rows: usize, least: u16, most: u16) -> u16 {
    u16::try_from(rows)
        .unwrap_or(u16::MAX)
        .saturating_add(3)
        .clamp(least, most.max(least))
}
