//! Asks which of the grants' statements are copied.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::Line;

use crate::ui::action::Action;
use crate::ui::format;
use crate::ui::screen::grants::{Part, statements_of};
use crate::ui::theme::Role;
use crate::ui::view::View;
use crate::ui::widget::pane::Content;

/// The columns of the box.
const COLUMNS: u16 = 60;

/// The keys, each with what it copies.
pub const CHOICES: [(char, Part, &str); 5] = [
    ('c', Part::Cell, "this cell"),
    ('u', Part::Unit, "this unit on this server"),
    ('s', Part::Server, "this server"),
    ('a', Part::All, "all servers"),
    ('m', Part::Minimum, "the unit's documented minimum"),
];

/// Draws the choice.
pub fn draw(view: &View<'_>, area: Rect, buffer: &mut Buffer) {
    let width = usize::from(COLUMNS.min(area.width)).saturating_sub(2);
    let mut lines = Vec::new();
    for (key, part, what) in CHOICES {
        let count = statements_of(view.state, part)
            .iter()
            .filter(|line| !line.starts_with("--"))
            .count();
        let role = if count == 0 { Role::Dim } else { Role::Text };
        let count = match count {
            0 => "nothing missing".to_owned(),
            count => format::counted(count as u64, "statement"),
        };
        lines.push(Line::from(vec![
            view.span(Role::Key, format!("{key}  ")),
            view.span(role, format::cut(&format!("{what:<32} {count}"), width, "")),
        ]));
    }
    lines.push(Line::default());
    let back = view.looks.keymap.key(Action::Back);
    lines.push(Line::from(
        view.span(Role::Dim, format!("{back} copies nothing")),
    ));
    let rows = u16::try_from(lines.len())
        .unwrap_or(u16::MAX)
        .saturating_add(2);
    let content = Content::new("copy the statements of", lines);
    super::draw_box(view, &content, (COLUMNS, rows), area, buffer);
}
