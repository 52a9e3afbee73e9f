//! The log, filtered by text and level.

use ratatui::layout::Rect;
use ratatui::text::Line;

use crate::control::LogLine;
use crate::ui::format;
use crate::ui::layout::Pane;
use crate::ui::state::{Level, State};
use crate::ui::theme::Role;
use crate::ui::view::View;
use crate::ui::widget::pane::{Content, Window, text_width};

/// The lines that level and filter leave, oldest first.
pub fn shown(state: &State) -> Vec<&LogLine> {
    let lines = state.shown.log.iter();
    lines
        .filter(|line| state.level.shows(&line.level))
        .filter(|line| {
            state.passes(&[
                &line.text,
                &line.unit,
                line.source.as_deref().unwrap_or_default(),
                line.task.as_deref().unwrap_or_default(),
            ])
        })
        .collect()
}

/// The log line as one text, for copying.
pub fn text_of(line: &LogLine) -> String {
    format!(
        "{} {:<5} {} {}",
        line.at,
        line.level,
        origin(line),
        line.text
    )
}

fn origin(line: &LogLine) -> String {
    let mut text = String::new();
    for part in [line.task.as_deref(), line.source.as_deref()]
        .into_iter()
        .flatten()
    {
        text.push_str(part);
        text.push(' ');
    }
    text.push_str(&line.unit);
    text
}

fn rendered(view: &View<'_>, line: &LogLine) -> Line<'static> {
    let role = match line.level.as_str() {
        "ERROR" => Role::Error,
        "WARN" => Role::Warn,
        "INFO" => Role::Text,
        _ => Role::Dim,
    };
    Line::from(vec![
        view.span(Role::Dim, format!("{} ", line.at.clock())),
        view.foreign(role, &format!("{:<5} ", line.level)),
        view.foreign(Role::Dim, &format!("{} ", origin(line))),
        view.foreign(Role::Text, &line.text),
    ])
}

/// The whole log.
pub fn lines(view: &View<'_>, area: Rect) -> Content {
    let state = view.state;
    let shown = shown(state);
    let mut note = if state.is_following {
        "following".to_owned()
    } else {
        let key = view.looks.keymap.key(crate::ui::action::Action::Last);
        format!("{key} follows")
    };
    if state.shown.log_dropped > 0 {
        note = format!("{} dropped  {note}", format::count(state.shown.log_dropped));
    }
    let all = state.shown.log.len();
    let title = format!("log, {} ({} of {all})", state.level.word(), shown.len());
    if shown.is_empty() {
        return super::nothing(view, title, "no lines at this level and filter")
            .note(super::streams::filter_note(view, 0, all));
    }
    // Only what can be seen is rendered: there may be thousands of lines.
    let last = shown.len() - 1;
    let marked = if state.is_following {
        last
    } else {
        state.cursor(Pane::Lines).min(last)
    };
    let height = usize::from(area.height.saturating_sub(2));
    let first = marked.saturating_sub(height).min(shown.len());
    let until = (marked + height + 1).min(shown.len());
    let mut lines: Vec<Line<'static>> = vec![Line::default(); shown.len()];
    for (at, line) in shown.iter().enumerate().take(until).skip(first) {
        if let Some(slot) = lines.get_mut(at) {
            *slot = rendered(view, line);
        }
    }
    let filter = state.filter();
    if !filter.is_empty() {
        note = format!("match \"{}\"  {note}", format::clean(filter));
    }
    Content::new(title, lines)
        .note(note)
        .window(Window::Around(marked))
}

/// The overview's pane: the newest lines that matter.
pub fn tail(view: &View<'_>, area: Rect) -> Content {
    let height = usize::from(area.height.saturating_sub(2));
    let log = &view.state.shown.log;
    let matters = |level: Level| {
        log.iter()
            .rev()
            .filter(move |line| level.shows(&line.level))
    };
    let mut newest: Vec<&LogLine> = matters(Level::Info).take(height).collect();
    newest.reverse();
    if newest.is_empty() {
        return super::nothing(view, "log", "nothing yet");
    }
    let width = text_width(area.width);
    let marked = newest.iter().map(|line| rendered(view, line));
    let lines = marked.collect();
    let warnings = matters(Level::Warn).count();
    let note = if width > 40 {
        format!(
            "{warnings} of the last {} are warnings or errors",
            log.len()
        )
    } else {
        String::new()
    };
    Content::new("log (info and above)", lines)
        .note(note)
        .window(Window::End)
}
