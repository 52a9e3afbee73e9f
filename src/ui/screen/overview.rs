//! All streams at a glance, and what matters of the selected one.

use ratatui::layout::{Constraint, Rect};
use ratatui::text::{Line, Span};

use crate::ui::format;
use crate::ui::layout::{Pane, Room, beside, room, stack, table_height};
use crate::ui::state::State;
use crate::ui::theme::Role;
use crate::ui::view::View;
use crate::ui::widget::gauge;
use crate::ui::widget::pane::{Content, Window, text_width};

/// ```text
/// streams                     streams | problems        (dashboard)
/// lag | summary               lag     | copy
/// log                         relay   | grants
///                             log
/// ```
pub fn layout(state: &State, body: Rect) -> Vec<(Pane, Rect)> {
    let rows = state.all_rows().len();
    let half = [Constraint::Fill(1), Constraint::Fill(1)];
    match room(body) {
        Room::Reference => {
            let [streams, middle, log] = stack(
                body,
                [
                    Constraint::Length(table_height(rows, 5, 9)),
                    Constraint::Length(6),
                    Constraint::Min(4),
                ],
            );
            let [lag, summary] = beside(middle, [Constraint::Length(38), Constraint::Fill(1)]);
            vec![
                (Pane::Streams, streams),
                (Pane::Lag, lag),
                (Pane::Summary, summary),
                (Pane::LogTail, log),
            ]
        }
        Room::Columns => {
            let [streams, middle, lower, log] = stack(
                body,
                [
                    Constraint::Length(table_height(rows, 5, 10)),
                    Constraint::Length(7),
                    Constraint::Length(6),
                    Constraint::Min(4),
                ],
            );
            let [lag, copy] = beside(middle, half);
            let [marks, missing] = beside(lower, half);
            vec![
                (Pane::Streams, streams),
                (Pane::Lag, lag),
                (Pane::Copy, copy),
                (Pane::Marks, marks),
                (Pane::Missing, missing),
                (Pane::LogTail, log),
            ]
        }
        Room::Dashboard => {
            let [top, middle, lower, log] = stack(
                body,
                [
                    Constraint::Length(table_height(rows, 9, 14)),
                    Constraint::Length(11),
                    Constraint::Length(7),
                    Constraint::Min(6),
                ],
            );
            let [streams, problems] = beside(top, [Constraint::Fill(2), Constraint::Fill(1)]);
            let [lag, copy] = beside(middle, half);
            let [marks, missing] = beside(lower, half);
            vec![
                (Pane::Streams, streams),
                (Pane::Problems, problems),
                (Pane::Lag, lag),
                (Pane::Copy, copy),
                (Pane::Marks, marks),
                (Pane::Missing, missing),
                (Pane::LogTail, log),
            ]
        }
    }
}

/// What needs the operator, oldest first.
pub fn problems(view: &View<'_>, area: Rect) -> Content {
    let problems = &view.state.shown.problems;
    let title = format!("problems ({})", problems.len());
    if problems.is_empty() {
        return super::nothing(view, title, "none");
    }
    let width = text_width(area.width);
    let mut lines = Vec::new();
    for problem in problems {
        let (mark, role) = if problem.is_failure {
            ("!! ", Role::Error)
        } else {
            ("!  ", Role::Warn)
        };
        lines.push(Line::from(vec![
            view.span(role, mark),
            view.foreign(Role::Title, &problem.scope),
            view.span(
                Role::Dim,
                format!("  {} ago", format::ago(view.state.now, problem.since)),
            ),
        ]));
        for line in format::wrap(&format::clean(&problem.text), width.saturating_sub(3)) {
            lines.push(Line::from(view.span(Role::Text, format!("   {line}"))));
        }
    }
    let key = view
        .looks
        .keymap
        .key(crate::ui::action::Action::NextProblem);
    Content::new(title, lines)
        .note(format!("{key} opens the next"))
        .window(Window::From(view.state.cursor(Pane::Problems)))
}

/// Dump, load, relay and grants in four lines, for a small screen.
pub fn summary(view: &View<'_>, area: Rect) -> Content {
    let width = text_width(area.width);
    let mut lines = Vec::new();
    if let Some(stream) = view.state.stream() {
        lines.push(transfer_line(view, "dump", stream.dump.as_ref(), width));
        lines.push(transfer_line(view, "load", stream.load.as_ref(), width));
    } else {
        lines.push(label(view, "stream", vec![view.span(Role::Dim, "none")]));
    }
    lines.push(label(
        view,
        "relay",
        relay_spans(view, width.saturating_sub(7)),
    ));
    lines.push(label(view, "grants", grant_spans(view)));
    Content::new(
        format!("copy, relay, grants: {}", super::selected_name(view)),
        lines,
    )
}

fn label(view: &View<'_>, text: &str, rest: Vec<Span<'static>>) -> Line<'static> {
    let mut spans = vec![view.span(Role::Dim, format!("{text:<7}"))];
    spans.extend(rest);
    Line::from(spans)
}

fn transfer_line(
    view: &View<'_>,
    name: &str,
    figure: Option<&crate::control::TransferFigure>,
    width: usize,
) -> Line<'static> {
    let Some(figure) = figure else {
        return label(view, name, vec![view.span(Role::Dim, "not in this run")]);
    };
    let percent = super::load::percent(figure);
    let text = format!(
        " {:>4}  {}",
        super::load::percent_text(figure),
        super::load::rest_text(view, figure)
    );
    let bar = width.saturating_sub(7 + format::width(&text)).clamp(6, 14);
    let mut spans = gauge::spans(view, percent, bar);
    spans.push(view.span(Role::Text, text));
    label(view, name, spans)
}

fn relay_spans(view: &View<'_>, width: usize) -> Vec<Span<'static>> {
    let Some(relay) = view
        .state
        .selected_source()
        .and_then(|source| source.relay.as_ref())
    else {
        return vec![view.span(Role::Dim, "not enabled")];
    };
    let behind = relay
        .behind_bytes
        .map_or_else(|| format::UNKNOWN.to_owned(), format::bytes);
    let rest = if relay.connected {
        view.span(Role::Text, format!("  {behind} behind"))
    } else {
        view.span(Role::Warn, "  not connected")
    };
    let position = match super::streams::relay_position(relay) {
        Some(position) => {
            let room = width.saturating_sub(rest.width());
            let text = format::cut_front(&format::clean(&position), room, view.cut());
            view.span(Role::Text, text)
        }
        None => view.span(Role::Dim, "no file yet"),
    };
    vec![position, rest]
}

/// How many privileges are missing, and how many are not known, over all servers.
pub fn missing_count(view: &View<'_>) -> Option<(usize, usize)> {
    let report = view.state.shown.check.as_ref()?;
    Some((report.missing().len(), report.unknown().len()))
}

/// The grants in a few words.
pub(super) fn grant_spans(view: &View<'_>) -> Vec<Span<'static>> {
    let key = view.looks.keymap.key(crate::ui::action::Action::Go(
        crate::ui::action::Screen::Grants,
    ));
    match missing_count(view) {
        None => vec![view.span(Role::Dim, "not checked yet")],
        Some((0, 0)) => vec![view.span(Role::Ok, "nothing missing")],
        Some((0, unknown)) => {
            vec![view.span(Role::Warn, format!("{unknown} not verified (key {key})"))]
        }
        Some((missing, _)) => {
            vec![view.span(Role::Error, format!("{missing} missing (key {key})"))]
        }
    }
}
