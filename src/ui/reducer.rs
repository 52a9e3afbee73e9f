//! From a key, a snapshot or the clock to the next state and what is to be done: pure.

use std::sync::Arc;

use crossterm::event::KeyCode;
use ratatui::layout::Rect;
use tui_input::{Input, InputRequest};

use crate::control::{Command, Reply, Scope, Snapshot};
use crate::model::{Choice, Reach, Stage, Timestamp};

use super::accepting;
use super::action::{Action, Entry, Screen};
use super::deciding;
use super::dialog;
use super::effect::{Copied, Effect};
use super::journal;
use super::keymap::Key;
use super::layout::{self, Pane};
use super::screen;
use super::screen::grants::Part;
use super::state::{Dialog, Message, State};
use super::view::{Looks, View};
use super::widget::pane::Window;

/// Takes in a key.
pub fn on_key(state: &mut State, key: Key, looks: &Looks) -> Vec<Effect> {
    if state.is_typing {
        type_filter(state, key);
        return Vec::new();
    }
    if state.dialog == Some(Dialog::Decide) {
        return deciding::on_key(state, key);
    }
    if state.dialog == Some(Dialog::CopyAs) {
        return copy_as(state, key);
    }
    if state.dialog == Some(Dialog::Accept) {
        return accepting::on_key(state, key);
    }
    if state.dialog == Some(Dialog::Journal) {
        let is_read_only = View { state, looks }.is_read_only();
        return journal::on_key(state, key, is_read_only);
    }
    let entry = match state.dialog {
        Some(Dialog::Leave) => looks.keymap.when_leaving(key),
        _ => looks.keymap.on_screen(state.screen, key),
    };
    entry.map_or_else(Vec::new, |entry| on_action(state, entry, looks))
}

/// Takes in a newer snapshot.
pub fn on_snapshot(state: &mut State, snapshot: Arc<Snapshot>, now: Timestamp) {
    state.now = now;
    state.newest = Arc::clone(&snapshot);
    if deciding::close_if_gone(state) {
        let text = "nothing was decided: the stream no longer stands at that event";
        say(state, text, true, now);
    }
    if accepting::follow(state) {
        let text = "nothing was accepted: the checks keep the stream from nothing any more";
        say(state, text, true, now);
    }
    if !state.is_frozen {
        let before = stop_id(state);
        state.shown = snapshot;
        state.select_something();
        if state.screen == Screen::Grants && state.server.is_none() {
            face_what_is_missing(state);
        }
        if stop_id(state) != before {
            // Another event is read from its first line on, however far the last one was scrolled.
            for pane in [Pane::Error, Pane::Rows, Pane::Statement, Pane::Choices] {
                state.cursors.remove(&pane);
            }
        }
    }
}

/// The stop of the selected stream.
fn stop_id(state: &State) -> Option<String> {
    Some(state.stream()?.stop.as_ref()?.stop_id.clone())
}

/// Takes in a command's reply.
pub fn on_reply(state: &mut State, reply: Reply, now: Timestamp) {
    state.pending = state.pending.saturating_sub(1);
    let (text, is_refusal) = match reply {
        Reply::Done { message } => (message, false),
        Reply::Refused { message, fix: None } => (format!("refused: {message}"), true),
        Reply::Refused {
            message,
            fix: Some(fix),
        } => (format!("refused: {message}; {fix}"), true),
        Reply::Failed { message, fix, .. } => {
            let fix = fix.map_or_else(String::new, |fix| format!("; {fix}"));
            (format!("failed: {message}{fix}"), true)
        }
    };
    say(state, text, is_refusal, now);
}

/// Shows a message.
pub fn say(state: &mut State, text: impl Into<String>, is_refusal: bool, now: Timestamp) {
    state.message = Some(Message {
        text: text.into(),
        is_refusal,
        at: now,
    });
}

fn refuse(state: &mut State, text: &str) -> Vec<Effect> {
    let now = state.now;
    say(state, text, true, now);
    Vec::new()
}

/// Takes in an action.
pub fn on_action(state: &mut State, entry: &Entry, looks: &Looks) -> Vec<Effect> {
    if let Some(dialog) = state.dialog {
        return in_dialog(state, dialog, entry.action, looks);
    }
    let view = View { state, looks };
    if entry.changes && view.is_read_only() {
        return refuse(state, "refused: read-only");
    }
    match entry.action {
        Action::Go(screen) => go(state, screen),
        Action::NextPane => move_focus(state, true),
        Action::PreviousPane => move_focus(state, false),
        Action::Up | Action::PreviousMatch => move_by(state, looks, -1),
        Action::Down | Action::NextMatch => move_by(state, looks, 1),
        Action::PageUp => move_by(state, looks, -half_page(state)),
        Action::PageDown => move_by(state, looks, half_page(state)),
        Action::First => move_by(state, looks, isize::MIN),
        Action::Last => move_by(state, looks, isize::MAX),
        Action::Left => move_across(state, false),
        Action::Right => move_across(state, true),
        Action::Open => open(state),
        Action::Back => back(state),
        Action::Filter => {
            state.filters.entry(state.screen).or_default();
            state.is_typing = true;
        }
        Action::Help => state.dialog = Some(Dialog::Help(0)),
        Action::NextProblem => return next_problem(state),
        Action::Zoom => state.is_zoomed = !state.is_zoomed,
        Action::Freeze => {
            state.is_frozen = !state.is_frozen;
            if !state.is_frozen {
                state.shown = Arc::clone(&state.newest);
                state.select_something();
            }
        }
        Action::Pause => return pause(state),
        Action::Retry => return retry(state),
        Action::Decide(choice, reach) => return decide(state, choice, reach),
        Action::Accept => return accept(state),
        Action::Revert => return revert(state),
        Action::Journal => return journal::open(state),
        Action::Check => return send(state, Command::Check),
        Action::Suppose => return send(state, screen::grants::suppose_next(state)),
        Action::Copy => return copy(state, looks),
        Action::CopyAs => state.dialog = Some(Dialog::CopyAs),
        Action::NextServer => next_server(state),
        Action::Level => {
            state.level = state.level.next();
            state.is_following = true;
        }
        Action::Redraw => return vec![Effect::Redraw],
        Action::Leave => {
            if !state.is_working() {
                return vec![Effect::Leave];
            }
            state.dialog = Some(Dialog::Leave);
        }
        // Known to its dialog alone.
        Action::Stop => {}
    }
    Vec::new()
}

fn in_dialog(state: &mut State, dialog: Dialog, action: Action, looks: &Looks) -> Vec<Effect> {
    match (dialog, action) {
        (_, Action::Redraw) => return vec![Effect::Redraw],
        (_, Action::Back) | (Dialog::Help(_), Action::Help) => state.dialog = None,
        (Dialog::Leave, Action::Stop) => return vec![Effect::Leave],
        (Dialog::Help(_), Action::Leave) => {
            state.dialog = None;
            if !state.is_working() {
                return vec![Effect::Leave];
            }
            state.dialog = Some(Dialog::Leave);
        }
        (Dialog::Help(from), action) => {
            let view = View { state, looks };
            let height = usize::from(state.size.1.saturating_sub(6));
            let last = super::dialog::help::lines(&view)
                .len()
                .saturating_sub(height);
            let to = match action {
                Action::Up => from.saturating_sub(1),
                Action::Down => from + 1,
                Action::PageUp => from.saturating_sub(height / 2),
                Action::PageDown => from + height / 2,
                Action::First => 0,
                Action::Last => last,
                _ => from,
            };
            state.dialog = Some(Dialog::Help(to.min(last)));
        }
        (Dialog::Leave | Dialog::Decide | Dialog::Accept | Dialog::CopyAs | Dialog::Journal, _) => {
        }
    }
    Vec::new()
}

fn type_filter(state: &mut State, key: Key) {
    let Some(input) = state.filters.get_mut(&state.screen) else {
        state.is_typing = false;
        return;
    };
    let request = match key.code() {
        KeyCode::Enter | KeyCode::Tab => {
            state.is_typing = false;
            return;
        }
        KeyCode::Esc => {
            state.is_typing = false;
            input.reset();
            return;
        }
        KeyCode::Char('c') if key.is_ctrl() => {
            state.is_typing = false;
            input.reset();
            return;
        }
        KeyCode::Char('u') if key.is_ctrl() => InputRequest::DeleteLine,
        KeyCode::Char('w') if key.is_ctrl() => InputRequest::DeletePrevWord,
        KeyCode::Char('a') if key.is_ctrl() => InputRequest::GoToStart,
        KeyCode::Char('e') if key.is_ctrl() => InputRequest::GoToEnd,
        KeyCode::Char(c) if !key.is_ctrl() && !key.is_alt() => InputRequest::InsertChar(c),
        KeyCode::Backspace => InputRequest::DeletePrevChar,
        KeyCode::Delete => InputRequest::DeleteNextChar,
        KeyCode::Left => InputRequest::GoToPrevChar,
        KeyCode::Right => InputRequest::GoToNextChar,
        KeyCode::Home => InputRequest::GoToStart,
        KeyCode::End => InputRequest::GoToEnd,
        _ => return,
    };
    // A filter longer than any name only costs time.
    if matches!(request, InputRequest::InsertChar(_)) && input.value().len() > 200 {
        return;
    }
    input.handle(request);
    // What the cursor was on may be gone.
    for pane in [Pane::Tables, Pane::Matrix, Pane::Lines] {
        state.cursors.remove(&pane);
    }
}

/// Takes in a text that was pasted: into the filter alone, never as keys.
pub fn on_paste(state: &mut State, text: &str) {
    deciding::on_paste(state, text);
    if !state.is_typing {
        return;
    }
    if let Some(input) = state.filters.get_mut(&state.screen) {
        let room = 200usize.saturating_sub(input.value().chars().count());
        for c in text.chars().filter(|c| !c.is_control()).take(room) {
            input.handle(InputRequest::InsertChar(c));
        }
    }
}

fn go(state: &mut State, screen: Screen) {
    state.screen = screen;
    state.is_zoomed = false;
    if screen == Screen::Grants {
        face_what_is_missing(state);
    }
}

/// Has the grants open at a server that lacks something, at the first that it lacks; where the one in
/// front does, at that one. A server that was chosen stays in front from then on.
fn face_what_is_missing(state: &mut State) {
    let Some(report) = state.shown.check.clone() else {
        return;
    };
    let lacks = |server: &str| report.missing().iter().any(|cell| cell.server == server);
    let Some(front) = state.server().map(str::to_owned) else {
        return;
    };
    let first = state.servers().into_iter().find(|server| lacks(server));
    let to = match first {
        Some(first) if !lacks(&front) => first.to_owned(),
        _ => front.clone(),
    };
    let is_new = state.server.is_none() || to != front;
    state.server = Some(to);
    if is_new {
        state.unit = None;
        let rows = screen::grants::matrix_rows(state);
        let lacking = rows.iter().position(screen::grants::MatrixRow::lacks);
        state.cursors.insert(Pane::Matrix, lacking.unwrap_or(0));
        state.cursors.remove(&Pane::Statements);
    }
}

fn move_focus(state: &mut State, forward: bool) {
    let (panes, focused) = layout::choice(state);
    let count = panes.len();
    let Some(at) = panes.iter().position(|(pane, _)| Some(*pane) == focused) else {
        return;
    };
    let to = if forward { at + 1 } else { at + count - 1 } % count;
    if let Some((pane, _)) = panes.get(to) {
        state.focus.insert(state.screen, *pane);
    }
}

fn half_page(state: &State) -> isize {
    let (panes, focused) = layout::current(state);
    let height = panes
        .iter()
        .find(|(pane, _)| Some(*pane) == focused)
        .map_or(2, |(_, area)| area.height.saturating_sub(2));
    isize::try_from((height / 2).max(1)).unwrap_or(1)
}

/// `at` moved by `step` within `len` lines.
fn moved(at: usize, step: isize, len: usize) -> usize {
    let last = len.saturating_sub(1);
    let to = if step < 0 {
        at.min(last).saturating_sub(step.unsigned_abs())
    } else {
        at.saturating_add(step.unsigned_abs())
    };
    to.min(last)
}

fn move_by(state: &mut State, looks: &Looks, step: isize) {
    let (panes, focused) = layout::current(state);
    let Some((pane, area)) = panes
        .iter()
        .find(|(pane, _)| Some(*pane) == focused)
        .copied()
    else {
        return;
    };
    match pane {
        Pane::Streams => {
            let rows = state.rows();
            let at = rows.iter().position(|row| {
                row.task() == state.task.as_deref() && Some(row.source()) == state.source.as_deref()
            });
            let to = at.map_or(0, |at| moved(at, step, rows.len()));
            let chosen = rows
                .get(to)
                .map(|row| (row.task().map(str::to_owned), row.source().to_owned()));
            if let Some((task, source)) = chosen {
                state.task = task;
                state.source = Some(source);
            }
        }
        Pane::Sources => {
            let sources = state.sources();
            let at = sources
                .iter()
                .position(|source| Some(source.name.as_str()) == state.source.as_deref());
            let to = at.map_or(0, |at| moved(at, step, sources.len()));
            let chosen = sources.get(to).map(|source| source.name.clone());
            if let Some(source) = chosen {
                select_source(state, source);
            }
        }
        Pane::Lines => {
            let len = screen::log::shown(state).len();
            let last = len.saturating_sub(1);
            let at = if state.is_following {
                last
            } else {
                state.cursor(Pane::Lines)
            };
            let to = moved(at, step, len);
            state.cursors.insert(Pane::Lines, to);
            state.is_following = to == last;
        }
        _ => {
            let content = screen::content(&View { state, looks }, pane, area);
            let header = u16::from(content.header.is_some());
            let height = usize::from(area.height.saturating_sub(2 + header));
            let (at, len) = match content.window {
                Window::Around(at) => (at, content.lines.len()),
                // A text is moved so far only that its end is at the pane's end.
                Window::From(_) | Window::Start | Window::End => {
                    let last = content.lines.len().saturating_sub(height);
                    (state.cursor(pane).min(last), last + 1)
                }
            };
            state.cursors.insert(pane, moved(at, step, len));
        }
    }
}

/// Selects a source, and its first stream where the selected one is another's.
fn select_source(state: &mut State, source: String) {
    if state.source.as_deref() != Some(&source) {
        let first = state.shown.streams.iter().find(|s| s.source == source);
        state.task = first.map(|stream| stream.task.clone());
        state.source = Some(source);
        state.cursors.clear();
    }
}

/// The one before or after `at` in a ring of `len`.
fn around(at: Option<usize>, len: usize, forward: bool) -> Option<usize> {
    let last = len.checked_sub(1)?;
    Some(match (at, forward) {
        (None, _) => 0,
        (Some(at), true) if at >= last => 0,
        (Some(at), true) => at + 1,
        (Some(0), false) => last,
        (Some(at), false) => at - 1,
    })
}

fn move_across(state: &mut State, forward: bool) {
    match state.screen {
        Screen::Grants => {
            let units = screen::grants::units(state);
            // From nowhere it goes to the cell that is explained.
            let shown = screen::grants::selected(state).map(|figure| figure.unit);
            let to = match state.unit {
                None => shown.or(units.first().copied()),
                Some(unit) => {
                    let at = units.iter().position(|one| *one == unit);
                    around(at, units.len(), forward).and_then(|to| units.get(to).copied())
                }
            };
            state.unit = to;
            state.cursors.remove(&Pane::Statements);
        }
        Screen::Sources | Screen::Relay => {
            let sources = &state.shown.sources;
            let at = sources
                .iter()
                .position(|source| Some(source.name.as_str()) == state.source.as_deref());
            let to = around(at, sources.len(), forward).and_then(|to| sources.get(to));
            if let Some(source) = to.map(|source| source.name.clone()) {
                select_source(state, source);
            }
        }
        _ => {
            let rows = state.all_rows();
            let at = rows.iter().position(|row| {
                row.task() == state.task.as_deref() && Some(row.source()) == state.source.as_deref()
            });
            let to = around(at, rows.len(), forward).and_then(|to| rows.get(to));
            let chosen = to.map(|row| (row.task().map(str::to_owned), row.source().to_owned()));
            if let Some((task, source)) = chosen {
                state.task = task;
                state.source = Some(source);
                let log = state.cursors.remove(&Pane::Lines);
                state.cursors.clear();
                state.cursors.extend(log.map(|at| (Pane::Lines, at)));
            }
        }
    }
}

/// Opens the screen that says most about the selected stream or source.
fn open(state: &mut State) {
    use crate::model::Unit::{Dump, Load, Relay, Sync};
    let screen = match (state.screen, state.stream()) {
        (Screen::Sources, _) | (_, None) => Screen::Relay,
        (_, Some(stream)) if stream.stop.is_some() => Screen::Events,
        (Screen::Sync, Some(_)) => Screen::Events,
        (_, Some(stream)) => match stream.unit {
            Dump | Load => Screen::Load,
            Sync => Screen::Sync,
            Relay => Screen::Relay,
        },
    };
    go(state, screen);
}

/// One step back: zoom, then the filter, then the overview.
fn back(state: &mut State) {
    if state.is_zoomed {
        state.is_zoomed = false;
    } else if !state.filter().is_empty() {
        if let Some(input) = state.filters.get_mut(&state.screen) {
            Input::reset(input);
        }
    } else {
        go(state, Screen::Overview);
    }
}

/// Goes to the problem after the one last gone to, where it can be dealt with.
fn next_problem(state: &mut State) -> Vec<Effect> {
    let count = state.shown.problems.len();
    let Some(to) = around(state.problem, count, true) else {
        state.problem = None;
        let now = state.now;
        say(state, "no problems", false, now);
        return Vec::new();
    };
    state.problem = Some(to);
    let snapshot = Arc::clone(&state.shown);
    let Some(problem) = snapshot.problems.get(to) else {
        return Vec::new();
    };
    let screen = match (&problem.task, &problem.source) {
        (Some(task), Some(source)) => {
            state.task = Some(task.clone());
            state.source = Some(source.clone());
            Screen::Events
        }
        (_, Some(source)) => {
            select_source(state, source.clone());
            Screen::Sources
        }
        _ => Screen::Grants,
    };
    let text = format!(
        "problem {} of {count}: {}: {}",
        to + 1,
        problem.scope,
        problem.text
    );
    let now = state.now;
    say(state, text, false, now);
    go(state, screen);
    Vec::new()
}

/// What pause and retry are for: the relay on the screens of sources, else the selected stream.
fn scope(state: &State) -> Option<(Scope, Stage)> {
    let is_relay = matches!(state.screen, Screen::Sources | Screen::Relay);
    if let (false, Some(stream)) = (is_relay, state.stream()) {
        let scope = Scope {
            task: Some(stream.task.clone()),
            source: Some(stream.source.clone()),
            relay: false,
        };
        return Some((scope, stream.stage));
    }
    let source = state.selected_source()?;
    let scope = Scope {
        task: None,
        source: Some(source.name.clone()),
        relay: true,
    };
    Some((scope, source.stage))
}

fn send(state: &mut State, command: Command) -> Vec<Effect> {
    state.pending += 1;
    state.message = None;
    vec![Effect::Send(command)]
}

fn pause(state: &mut State) -> Vec<Effect> {
    let Some((scope, stage)) = scope(state) else {
        return refuse(state, "nothing is selected");
    };
    let command = match stage {
        Stage::Paused | Stage::Pausing | Stage::Stopped => Command::Resume { scope },
        Stage::Running | Stage::Waiting => Command::Pause { scope },
        Stage::Failed => {
            return refuse(state, "it has failed: retry it, there is nothing to pause");
        }
        Stage::Finished => return refuse(state, "it has finished: there is nothing to pause"),
    };
    send(state, command)
}

fn retry(state: &mut State) -> Vec<Effect> {
    let Some((scope, _)) = scope(state) else {
        return refuse(state, "nothing is selected");
    };
    let stop = state.stream().filter(|_| !scope.relay);
    let stop_id = stop.and_then(|stream| stream.stop.as_ref().map(|stop| stop.stop_id.clone()));
    send(state, Command::Retry { scope, stop_id })
}

/// Opens the dialog of a choice.
fn decide(state: &mut State, choice: Choice, reach: Reach) -> Vec<Effect> {
    if layout::class(state.size) == layout::Class::Line {
        return refuse(
            state,
            "refused: the terminal is too small to show what it does",
        );
    }
    match deciding::open(state, choice, reach) {
        Ok(()) => Vec::new(),
        Err(why) => refuse(state, why),
    }
}

/// Opens the question whether the stream may begin in spite of what was found.
fn accept(state: &mut State) -> Vec<Effect> {
    if layout::class(state.size) == layout::Class::Line {
        return refuse(
            state,
            "refused: the terminal is too small to show what was found",
        );
    }
    match accepting::open(state) {
        Ok(()) => Vec::new(),
        Err(why) => refuse(state, why),
    }
}

fn revert(state: &mut State) -> Vec<Effect> {
    let Some((scope, _)) = scope(state).filter(|(scope, _)| !scope.relay) else {
        return refuse(state, "no stream is selected");
    };
    let waiting = state.stream().and_then(|stream| stream.decisions.last());
    let Some(id) = waiting.map(|decision| decision.id.clone()) else {
        return refuse(state, "no decision waits: there is nothing to take back");
    };
    send(
        state,
        Command::Revert {
            scope,
            id: Some(id),
        },
    )
}

/// What the focused pane is about.
fn copy(state: &mut State, looks: &Looks) -> Vec<Effect> {
    let (panes, focused) = layout::current(state);
    let Some((pane, area)) = panes
        .iter()
        .find(|(pane, _)| Some(*pane) == focused)
        .copied()
    else {
        return Vec::new();
    };
    let copied = match pane {
        Pane::Matrix | Pane::Statements => copy_grants(state),
        Pane::Checks => copy_mends(&screen::grants::mends(state)),
        Pane::Error | Pane::Statement | Pane::Choices => {
            copy_statement(state).or_else(|| copy_mends(&screen::events::mends(state)))
        }
        Pane::Streams | Pane::Lag | Pane::Figures => copy_position(state),
        Pane::Lines => copy_log_line(state),
        _ => None,
    };
    let copied = copied.unwrap_or_else(|| copy_pane(state, looks, pane, area));
    vec![Effect::Copy(copied)]
}

fn copy_grants(state: &State) -> Option<Copied> {
    let server = state.server()?;
    let grants = screen::grants::missing_grants(state, server);
    if grants.is_empty() {
        return None;
    }
    Some(Copied {
        what: format!("{} statements for {server}", grants.len()),
        file_name: format!("grants-{}.sql", file_part(server)),
        text: format!("{}\n", grants.join("\n")),
    })
}

fn next_server(state: &mut State) {
    let servers = state.servers();
    let at = servers
        .iter()
        .position(|name| Some(*name) == state.server());
    let to = around(at, servers.len(), true).and_then(|to| servers.get(to));
    state.server = to.map(|name| (*name).to_owned());
    state.unit = None;
    state.cursors.remove(&Pane::Matrix);
    state.cursors.remove(&Pane::Statements);
}

/// Takes in a key of the choice of what is copied.
fn copy_as(state: &mut State, key: Key) -> Vec<Effect> {
    state.dialog = None;
    let chosen = dialog::copy_as::CHOICES
        .iter()
        .find(|(choice, ..)| key.code() == KeyCode::Char(*choice));
    let Some((_, part, what)) = chosen.filter(|_| !key.is_ctrl() && !key.is_alt()) else {
        return Vec::new();
    };
    let statements = screen::grants::statements_of(state, *part);
    if statements.is_empty() {
        return refuse(state, &format!("nothing to copy: {what} lacks nothing"));
    }
    let server = state.server().unwrap_or_default().to_owned();
    let name = match part {
        Part::All => "grants-all.sql".to_owned(),
        Part::Minimum => format!("grants-minimum-{}.sql", file_part(&server)),
        _ => format!("grants-{}.sql", file_part(&server)),
    };
    vec![Effect::Copy(Copied {
        what: format!("the statements of {what}"),
        file_name: name,
        text: format!("{}\n", statements.join("\n")),
    })]
}

fn copy_mends(script: &str) -> Option<Copied> {
    (!script.is_empty()).then(|| Copied {
        what: "what mends the findings".into(),
        file_name: "mend.sql".into(),
        text: script.to_owned(),
    })
}

fn copy_statement(state: &State) -> Option<Copied> {
    let (what, text) = screen::events::statement_text(state)?;
    Some(Copied {
        what: format!("the {what}"),
        file_name: "statement.sql".into(),
        text: text.to_owned(),
    })
}

fn copy_position(state: &State) -> Option<Copied> {
    let stream = state.stream()?;
    let position = stream.position.as_ref()?;
    let mut text = position.place.position.to_string();
    if let Some(set) = &position.gtid_set {
        text.push('\n');
        text.push_str(set);
    }
    Some(Copied {
        what: format!("the position of {}/{}", stream.task, stream.source),
        file_name: "position.txt".into(),
        text,
    })
}

fn copy_log_line(state: &State) -> Option<Copied> {
    let lines = screen::log::shown(state);
    let last = lines.len().checked_sub(1)?;
    let at = if state.is_following {
        last
    } else {
        state.cursor(Pane::Lines).min(last)
    };
    Some(Copied {
        what: "the log line".into(),
        file_name: "log-line.txt".into(),
        text: lines.get(at).map(|line| screen::log::text_of(line))?,
    })
}

/// The pane's own text.
fn copy_pane(state: &State, looks: &Looks, pane: Pane, area: Rect) -> Copied {
    let content = screen::content(&View { state, looks }, pane, area);
    let lines = content.header.iter().chain(&content.lines);
    let text: Vec<String> = lines
        .map(|line| {
            let whole: String = line
                .spans
                .iter()
                .map(|span| span.content.as_ref())
                .collect();
            whole.trim_end().to_owned()
        })
        .collect();
    Copied {
        what: format!("the pane \"{}\"", content.title),
        file_name: "pane.txt".into(),
        text: format!("{}\n", text.join("\n")),
    }
}

/// A name as part of a file's name.
fn file_part(name: &str) -> String {
    name.chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || c == '-' {
                c
            } else {
                '-'
            }
        })
        .collect()
}
