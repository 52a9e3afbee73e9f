//! Asks before leaving while work is running. No key that is easily hit leaves.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::Line;

use crate::ui::action::Action;
use crate::ui::format;
use crate::ui::theme::Role;
use crate::ui::view::View;
use crate::ui::widget::pane::Content;

/// The columns of the box.
const COLUMNS: u16 = 66;

/// Draws the question.
pub fn draw(view: &View<'_>, area: Rect, buffer: &mut Buffer) {
    let width = usize::from(COLUMNS) - 2;
    let key = |action| view.looks.keymap.key(action);
    let mut lines = Vec::new();
    let mut text = |role: Role, text: &str| {
        for line in format::wrap(text, width) {
            lines.push(Line::from(view.span(role, line)));
        }
    };
    text(
        Role::Text,
        "Leaving ends the worker too: nothing is copied or replicated until it is started again.",
    );
    text(
        Role::Text,
        "Each stream ends at a transaction's end, with its checkpoint in the target. A start goes on \
         from there; a dump that is under way begins anew.",
    );
    text(Role::Text, "");
    text(
        Role::Key,
        &format!("{:<5} stop cleanly and leave", key(Action::Stop)),
    );
    text(Role::Key, &format!("{:<5} stay", key(Action::Back)));
    let rows = lines.len() as u16 + 2;
    let content = Content::new("leave?", lines);
    super::draw_box(view, &content, (COLUMNS, rows), area, buffer);
}
