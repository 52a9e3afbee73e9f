//! Asks whether a stream may begin in spite of what the checks found.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::Line;

use crate::control::CheckState;
use crate::ui::action::Action;
use crate::ui::format;
use crate::ui::theme::Role;
use crate::ui::view::View;
use crate::ui::widget::pane::Content;
use crate::ui::widget::status_line;

/// The columns of the box.
const COLUMNS: u16 = 74;

/// Draws the question.
pub fn draw(view: &View<'_>, area: Rect, buffer: &mut Buffer) {
    let Some(accepting) = &view.state.accepting else {
        return;
    };
    let width = usize::from(COLUMNS.min(area.width)).saturating_sub(2);
    let mut lines = Vec::new();
    if accepting.has_changed {
        let text = "The checks were run again, and find something else than before:";
        lines.extend(
            format::wrap(text, width)
                .into_iter()
                .map(|part| Line::from(view.span(Role::Warn, part))),
        );
    }
    for finding in &accepting.findings {
        let (word, role) = match finding.state {
            CheckState::Fail => ("FAIL", Role::Error),
            CheckState::Pass | CheckState::Warn => ("warn", Role::Warn),
        };
        lines.push(Line::from(vec![
            view.span(role, format!("{word}  ")),
            view.foreign(Role::Title, &finding.name),
            view.span(Role::Dim, "  "),
            view.foreign(Role::Dim, &finding.scope),
        ]));
        for part in format::wrap(&format::clean(&finding.found), width.saturating_sub(6)) {
            lines.push(Line::from(view.span(Role::Text, format!("      {part}"))));
        }
    }
    let back = view.looks.keymap.key(Action::Back);
    let mut answers = Vec::new();
    if accepting.guard.is_none() {
        let text = format!("a accept: it begins, and the journal has it   {back} keep standing");
        answers.push(Line::from(view.span(Role::Key, text)));
    } else {
        let question = "type the source's name: ";
        let room = width.saturating_sub(question.len() + 1);
        let (value, cursor) = (accepting.typed.value(), accepting.typed.cursor());
        let mut line = vec![view.span(Role::Key, question)];
        line.extend(status_line::typed(view, value, cursor, room));
        answers.push(Line::from(line));
        let (role, text) = if accepting.is_confirmed() {
            let text = format!("{back} keep standing   enter accept: it begins all the same");
            (Role::Key, text)
        } else if accepting.is_hasty {
            let text = format!("not yet: that is not the name   {back} keep standing");
            (Role::Warn, text)
        } else {
            (Role::Dim, format!("{back} keep standing"))
        };
        answers.push(Line::from(view.span(role, text)));
    }
    // Where not all of it fits, what can be answered must.
    let room = usize::from(area.height).saturating_sub(2);
    let left = room.saturating_sub(answers.len() + 1);
    if lines.len() > left {
        lines.truncate(left.saturating_sub(1));
        lines.push(Line::from(
            view.span(Role::Dim, "… the rest is on the screens Events and Grants"),
        ));
    }
    if lines.len() + answers.len() < room {
        lines.push(Line::default());
    }
    lines.append(&mut answers);
    let rows = u16::try_from(lines.len())
        .unwrap_or(u16::MAX)
        .saturating_add(2);
    let content = Content::new("begin in spite of this?", lines);
    super::draw_box(view, &content, (COLUMNS, rows), area, buffer);
}
