//! The list of all keys, made from the action table.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::Line;

use crate::ui::action::{Place, Screen};
use crate::ui::format;
use crate::ui::theme::Role;
use crate::ui::view::View;
use crate::ui::widget::pane::{Content, Window};

/// The columns of the box, at the most: longer lines are hard to read.
const COLUMNS: u16 = 120;

/// The columns of the box on this screen.
fn columns(view: &View<'_>) -> u16 {
    view.state.size.0.min(COLUMNS)
}

/// The lines of the help.
pub fn lines(view: &View<'_>) -> Vec<Line<'static>> {
    let width = usize::from(columns(view)).saturating_sub(2);
    // What a key is called in the configuration gives way first.
    let longest = view
        .looks
        .keymap
        .entries()
        .map(|(entry, _)| entry.name.len())
        .max();
    // With a blank between the name and the text.
    let names = if width >= 70 {
        longest.unwrap_or(0) + 1
    } else {
        0
    };
    let indent = 16 + names;
    let mut lines = Vec::new();
    for (entry, keys) in view.looks.keymap.entries() {
        let place = match entry.place {
            Place::Everywhere | Place::Leaving => String::new(),
            Place::On(screens) if screens.len() > 2 => String::new(),
            Place::On(screens) => {
                let titles: Vec<_> = screens.iter().copied().map(Screen::title).collect();
                format!(" ({})", titles.join(", "))
            }
        };
        let mut text = format!("{}{place}", entry.help);
        if entry.changes && view.is_read_only() {
            text.push_str("; refused: read-only");
        }
        for (at, part) in format::wrap(&text, width.saturating_sub(indent).max(8))
            .into_iter()
            .enumerate()
        {
            let (keys, name) = if at == 0 {
                (keys.as_str(), entry.name)
            } else {
                ("", "")
            };
            lines.push(Line::from(vec![
                view.span(Role::Key, format!("{keys:<16}")),
                view.span(Role::Dim, format::pad(format::cut(name, names, ""), names)),
                view.span(Role::Text, part),
            ]));
        }
    }
    lines.push(Line::default());
    for text in [
        "The second column is the name in [console.keys] of the configuration.",
        "ctrl-z is not bound: suspending this program would halt the migration.",
        "Lag: `<1s` is below what the source's clock tells; `idle`: nothing to apply; `?`: not known.",
    ] {
        for part in format::wrap(text, width) {
            lines.push(Line::from(view.span(Role::Dim, part)));
        }
    }
    lines
}

/// Draws the list from line `from` on.
pub fn draw(view: &View<'_>, from: usize, area: Rect, buffer: &mut Buffer) {
    let lines = lines(view);
    let rows = u16::try_from(lines.len())
        .unwrap_or(u16::MAX)
        .saturating_add(2);
    let content = Content::new("help: keys", lines)
        .note("esc closes")
        .window(Window::From(from));
    super::draw_box(view, &content, (columns(view), rows), area, buffer);
}
