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
    let width = usize::from(COLUMNS.min(area.width)).saturating_sub(2);
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
    let mut answers = Vec::new();
    for (action, what) in [
        (Action::Stop, "stop cleanly and leave"),
        (Action::Back, "stay"),
    ] {
        let answer = format!("{:<5} {what}", key(action));
        answers.push(Line::from(view.span(Role::Key, answer)));
    }
    // Where not all of it fits, what can be answered must.
    let is_short = usize::from(area.height) < lines.len() + answers.len() + 3;
    let (mut first, last) = if is_short {
        (answers, lines)
    } else {
        (lines, answers)
    };
    first.push(Line::default());
    first.extend(last);
    let lines = first;
    let rows = lines.len() as u16 + 2;
    let content = Content::new("leave?", lines);
    super::draw_box(view, &content, (COLUMNS, rows), area, buffer);
}
