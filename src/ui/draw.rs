//! A whole frame, from the state: changes nothing.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::Line;

use super::dialog;
use super::format;
use super::layout::{Class, choice, class, panes, parts};
use super::screen;
use super::state::Dialog;
use super::theme::Role;
use super::view::View;
use super::widget::{pane, status_line};

/// Draws everything into `buffer`.
pub fn draw(view: &View<'_>, buffer: &mut Buffer) {
    let area = buffer.area;
    if area.is_empty() {
        return;
    }
    // Themes with a background of their own have it everywhere.
    buffer.set_style(area, view.style(Role::Text));
    if class((area.width, area.height)) == Class::Line {
        line_of_state(view, area, buffer);
        return;
    }
    let parts = parts(area);
    status_line::state(view, parts.state, buffer);
    status_line::tabs(view, parts.tabs, buffer);
    let panes = panes(view.state, parts.body);
    let (_, focused) = choice(view.state);
    for (name, place) in panes {
        let content = screen::content(view, name, place);
        pane::draw(view, &content, place, focused == Some(name), buffer);
    }
    status_line::attention(view, parts.attention, buffer);
    status_line::keys(view, parts.keys, buffer);
    match view.state.dialog {
        Some(Dialog::Help(from)) => dialog::help::draw(view, from, parts.body, buffer),
        Some(Dialog::Leave) => dialog::leave::draw(view, parts.body, buffer),
        Some(Dialog::Journal) => dialog::journal::draw(view, parts.body, buffer),
        Some(Dialog::CopyAs) => dialog::copy_as::draw(view, parts.body, buffer),
        Some(Dialog::Accept) => dialog::accept::draw(view, parts.body, buffer),
        Some(Dialog::Decide) => dialog::decide::draw(view, parts.body, buffer),
        None => {}
    }
}

/// The state in a line; then what is asked or typed; then the problems, as far as there is room.
fn line_of_state(view: &View<'_>, area: Rect, buffer: &mut Buffer) {
    let width = usize::from(area.width);
    let mut y = area.y;
    let mut put = |line: &Line<'_>| {
        if y < area.bottom() {
            buffer.set_line(area.x, y, line, area.width);
            y += 1;
        }
    };
    let mut first = Vec::new();
    if view.state.is_frozen {
        first.push(view.span(Role::Stale, "FROZEN  "));
    }
    first.extend(status_line::stage_spans(view));
    put(&Line::from(first));
    if let Some(Dialog::Leave) = view.state.dialog {
        let key = |action| view.looks.keymap.key(action);
        let text = format!(
            "leave? {} stops cleanly, {} stays",
            key(super::action::Action::Stop),
            key(super::action::Action::Back)
        );
        for line in format::wrap(&text, width) {
            put(&Line::from(view.span(Role::Key, line)));
        }
    }
    if view.state.is_typing {
        put(&status_line::prompt(view, width));
    }
    for problem in &view.state.shown.problems {
        let text = format!("! {}: {}", problem.scope, problem.text);
        for line in format::wrap(&format::clean(&text), width) {
            put(&Line::from(view.span(Role::Error, line)));
        }
    }
}
