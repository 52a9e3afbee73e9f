//! The screens: which panes each has at a size, and what stands in them.
//!
//! A pane is lines of text made from the state and its snapshot; nothing here draws or changes
//! anything.

pub mod events;
pub mod grants;
pub mod load;
pub mod log;
pub mod overview;
pub mod relay;
pub mod sources;
pub mod streams;
pub mod sync;

use std::fmt::Write as _;

use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

use crate::control::StopError;
use crate::model::Timestamp;

use super::format;
use super::layout::Pane;
use super::theme::Role;
use super::view::View;
use super::widget::pane::Content;

/// What `pane` shows in `area`.
pub fn content(view: &View<'_>, pane: Pane, area: Rect) -> Content {
    match pane {
        Pane::Streams => streams::table(view, area),
        Pane::Problems => overview::problems(view, area),
        Pane::Lag => sync::lag(view, area),
        Pane::Summary => overview::summary(view, area),
        Pane::Copy => load::copy(view, area),
        Pane::Marks => relay::marks(view, area),
        Pane::Missing => grants::missing(view, area),
        Pane::LogTail => log::tail(view, area),
        Pane::Sources => sources::list(view, area),
        Pane::Settings => sources::settings(view, area),
        Pane::Targets => sources::targets(view, area),
        Pane::Files => relay::files(view, area),
        Pane::Totals => load::totals(view, area),
        Pane::Tables => load::tables(view, area),
        Pane::Notes => load::notes(view, area),
        Pane::Figures => sync::figures(view, area),
        Pane::Error => events::error(view, area),
        Pane::Rows => events::rows(view, area),
        Pane::Statement => events::statement(view, area),
        Pane::Choices => events::choices(view, area),
        Pane::Matrix => grants::matrix(view, area),
        Pane::Statements => grants::statements(view, area),
        Pane::Checks => grants::checks(view, area),
        Pane::Lines => log::lines(view, area),
    }
}

/// A line of a label and what follows.
fn labelled(view: &View<'_>, label: &str, rest: Vec<Span<'static>>) -> Line<'static> {
    let mut spans = vec![view.label(label)];
    spans.extend(rest);
    Line::from(spans)
}

/// Foreign `text` in lines of `width`.
fn wrapped(view: &View<'_>, role: Role, text: &str, width: usize) -> Vec<Line<'static>> {
    format::wrap(&format::clean(text), width)
        .into_iter()
        .map(|line| Line::from(view.span(role, line)))
        .collect()
}

/// Foreign `text` behind a label, its further lines indented.
fn labelled_text(
    view: &View<'_>,
    label: &str,
    role: Role,
    text: &str,
    width: usize,
) -> Vec<Line<'static>> {
    let room = width.saturating_sub(9).max(10);
    format::wrap(&format::clean(text), room)
        .into_iter()
        .enumerate()
        .map(|(at, line)| {
            let label = if at == 0 { label } else { "" };
            labelled(view, label, vec![view.span(role, line)])
        })
        .collect()
}

/// An error in the lines of the command line: number, message, cause, fix.
fn error_lines(view: &View<'_>, error: &StopError, width: usize) -> Vec<Line<'static>> {
    let mut head = String::new();
    if error.number != 0 {
        head.push_str(&error.number.to_string());
        if !error.sqlstate.is_empty() {
            let _ = write!(head, " ({})", error.sqlstate);
        }
        head.push(' ');
    }
    head.push_str(&error.message);
    let mut lines = wrapped(view, Role::Error, &head, width);
    if let Some(cause) = &error.cause {
        lines.extend(labelled_text(view, "cause", Role::Text, cause, width));
    }
    let refused = error.refused.as_ref();
    if let Some(purpose) = refused.and_then(|refused| refused.purpose.as_ref()) {
        lines.extend(labelled_text(view, "what for", Role::Text, purpose, width));
    }
    if let Some(fix) = &error.fix {
        lines.extend(labelled_text(view, "fix", Role::Ok, fix, width));
    }
    lines
}

/// An error in one line.
fn error_line(error: &StopError) -> String {
    if error.number == 0 {
        error.message.clone()
    } else {
        format!("{} {}", error.number, error.message)
    }
}

/// `next try in 4s (3 tries)`.
fn next_try(view: &View<'_>, at: Option<Timestamp>, tries: u32) -> Option<String> {
    let tried = match tries {
        0 => String::new(),
        1 => " (1 try so far)".to_owned(),
        tries => format!(" ({tries} tries so far)"),
    };
    match at {
        Some(at) if at > view.state.now => Some(format!(
            "next try in {}{tried}",
            format::duration(at.since(view.state.now))
        )),
        Some(_) => Some(format!("trying again{tried}")),
        None => None,
    }
}

/// A single dim line.
fn nothing(view: &View<'_>, title: impl Into<String>, text: &str) -> Content {
    Content::new(title, vec![Line::from(view.span(Role::Dim, text))])
}

/// `task/source`, or the source alone.
fn selected_name(view: &View<'_>) -> String {
    match (view.state.task.as_deref(), view.state.source.as_deref()) {
        (Some(task), Some(source)) => {
            format!("{}/{}", format::clean(task), format::clean(source))
        }
        (None, Some(source)) => format::clean(source).into_owned(),
        _ => "nothing selected".into(),
    }
}
