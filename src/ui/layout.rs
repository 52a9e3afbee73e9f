//! Which panes a screen has at a size, and where. Pure: used for drawing and for moving the focus.
//!
//! ```text
//! line 1      state
//! line 2      tabs                                                     (from 60x15)
//! ...         the screen's panes; one at a time below 80x24
//! last but 1  attention: the oldest problem, or the newest message
//! last        keys                                                     (from 60x15)
//! ```
//!
//! No size is refused: what there is no room for is dropped, the least important first.

use ratatui::layout::{Constraint, Layout, Rect};

use super::action::Screen;
use super::screen;
use super::state::State;

/// What a terminal of a size has room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// Less than the next: a line of state, then as much of what needs the operator as fits.
    Line,
    /// From 40x10: state, one pane, attention.
    Least,
    /// From 60x15: the whole frame, and one pane.
    Single,
    /// From 80x24: all panes of a screen at once.
    Whole,
}

/// The least size of each class above [`Class::Line`].
const CLASSES: [((u16, u16), Class); 3] = [
    ((80, 24), Class::Whole),
    ((60, 15), Class::Single),
    ((40, 10), Class::Least),
];

/// What a terminal of this size has room for.
pub fn class((columns, rows): (u16, u16)) -> Class {
    CLASSES
        .iter()
        .find(|((least_columns, least_rows), _)| columns >= *least_columns && rows >= *least_rows)
        .map_or(Class::Line, |(_, class)| *class)
}

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

/// Takes the frame off `area`: four lines, or two in the smallest class with a frame.
pub fn parts(area: Rect) -> Parts {
    let outer = u16::from(class((area.width, area.height)) > Class::Least);
    let [state, tabs, body, attention, keys] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(outer),
        Constraint::Fill(1),
        Constraint::Length(1),
        Constraint::Length(outer),
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

/// The body at 80x24: which panes there are to choose from where only one is shown at a time.
const REFERENCE_BODY: Rect = Rect::new(0, 0, 80, 20);

/// All panes of the screen in front, in the order of the focus, whether or not only one of them is
/// shown.
pub fn every_pane(state: &State, body: Rect) -> Vec<(Pane, Rect)> {
    let body = if class(state.size) < Class::Whole {
        REFERENCE_BODY
    } else {
        body
    };
    match state.screen {
        Screen::Overview => screen::overview::layout(state, body),
        Screen::Sources => screen::sources::layout(state, body),
        Screen::Relay => screen::relay::layout(body),
        Screen::Load => screen::load::layout(state, body),
        Screen::Sync => screen::sync::layout(state, body),
        Screen::Events => screen::events::layout(state, body),
        Screen::Grants => screen::grants::layout(state, body),
        Screen::Log => vec![(Pane::Lines, body)],
    }
}

/// The panes that are shown: all of the screen's, or the focused one alone where it is zoomed or
/// there is no room for more.
pub fn panes(state: &State, body: Rect) -> Vec<(Pane, Rect)> {
    let all = every_pane(state, body);
    if state.is_zoomed || class(state.size) < Class::Whole {
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

/// The panes to choose from, and the focused one, for the state's own size.
pub fn choice(state: &State) -> (Vec<(Pane, Rect)>, Option<Pane>) {
    let area = Rect::new(0, 0, state.size.0, state.size.1);
    let all = every_pane(state, parts(area).body);
    let focused = focused(state, &all);
    (all, focused)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_begin_where_they_say() {
        for (size, expected) in [
            ((0, 0), Class::Line),
            ((200, 9), Class::Line),
            ((39, 60), Class::Line),
            ((40, 10), Class::Least),
            ((59, 60), Class::Least),
            ((60, 15), Class::Single),
            ((79, 60), Class::Single),
            ((200, 23), Class::Single),
            ((80, 24), Class::Whole),
        ] {
            assert_eq!(class(size), expected, "{size:?}");
        }
    }
}
