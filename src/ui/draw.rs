//! A whole frame, from the state: changes nothing.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::Line;

use super::dialog;
use super::format;
use super::layout::{LEAST, focused, is_too_small, panes, parts};
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
    if is_too_small((area.width, area.height)) {
        too_small(view, area, buffer);
        return;
    }
    let parts = parts(area);
    status_line::state(view, parts.state, buffer);
    status_line::tabs(view, parts.tabs, buffer);
    let panes = panes(view.state, parts.body);
    let focused = focused(view.state, &panes);
    for (name, place) in panes {
        let content = screen::content(view, name, place);
        pane::draw(view, &content, place, focused == Some(name), buffer);
    }
    status_line::attention(view, parts.attention, buffer);
    status_line::keys(view, parts.keys, buffer);
    match view.state.dialog {
        Some(Dialog::Help(from)) => dialog::help::draw(view, from, parts.body, buffer),
        Some(Dialog::Leave) => dialog::leave::draw(view, parts.body, buffer),
        None => {}
    }
}

/// What matters most, and the size needed; as much as there is room for.
fn too_small(view: &View<'_>, area: Rect, buffer: &mut Buffer) {
    let width = usize::from(area.width);
    let mut y = area.y;
    let mut put = |line: &Line<'_>| {
        if y < area.bottom() {
            buffer.set_line(area.x, y, line, area.width);
            y += 1;
        }
    };
    let mut first = status_line::stage_spans(view);
    first.push(view.span(
        Role::Dim,
        format!(
            "needs {}x{}, is {}x{}",
            LEAST.0, LEAST.1, area.width, area.height
        ),
    ));
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
    for problem in &view.state.shown.problems {
        let text = format!("! {}: {}", problem.scope, problem.text);
        for line in format::wrap(&format::clean(&text), width) {
            put(&Line::from(view.span(Role::Error, line)));
        }
    }
}
