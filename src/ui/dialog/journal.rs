//! Draws the journal: the entries, newest first, and the selected one in full below.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::Line;

use crate::control::JournalEntry;
use crate::ui::format;
use crate::ui::journal::JournalPane;
use crate::ui::theme::Role;
use crate::ui::view::View;
use crate::ui::widget::pane::Content;
use crate::ui::widget::status_line;

/// The columns of the box, at the most.
const COLUMNS: u16 = 130;
/// Lines of the selected entry.
const DETAIL: usize = 9;

/// Draws the journal.
pub fn draw(view: &View<'_>, area: Rect, buffer: &mut Buffer) {
    let Some(pane) = &view.state.journal else {
        return;
    };
    let width = usize::from(COLUMNS.min(area.width)).saturating_sub(2);
    let height = usize::from(area.height).saturating_sub(2);
    let mut detail = detail(view, pane, width);
    detail.truncate(DETAIL.min(height / 2));
    let room = height.saturating_sub(detail.len() + 1);
    let mut lines = list(view, pane, width, room);
    lines.resize(room, Line::default());
    lines.push(Line::from(
        view.span(Role::Dim, view.looks.glyphs.base.to_string().repeat(width)),
    ));
    lines.append(&mut detail);
    let title = match (&pane.entries, pane.total) {
        (None, _) => "journal".to_owned(),
        (Some(entries), total) if entries.len() < total => {
            format!("journal: the newest {} of {total}", entries.len())
        }
        (Some(_), total) => format!("journal ({total})"),
    };
    let rows = u16::try_from(lines.len())
        .unwrap_or(u16::MAX)
        .saturating_add(2);
    let content = Content::new(title, lines).note("a apply what was left out   esc closes");
    super::draw_box(view, &content, (COLUMNS, rows), area, buffer);
}

fn list(view: &View<'_>, pane: &JournalPane, width: usize, room: usize) -> Vec<Line<'static>> {
    if let Some(why) = &pane.failed {
        return vec![Line::from(view.foreign(Role::Error, why))];
    }
    let Some(entries) = &pane.entries else {
        return vec![Line::from(
            view.span(Role::Dim, "asked; waiting for the worker"),
        )];
    };
    if entries.is_empty() {
        return vec![Line::from(
            view.span(Role::Dim, "nothing was asked or decided yet"),
        )];
    }
    let first = pane.at.saturating_sub(room.saturating_sub(1));
    entries
        .iter()
        .enumerate()
        .skip(first)
        .take(room)
        .map(|(at, entry)| {
            let mark = if at == pane.at { ">" } else { " " };
            let open = match (entry.skipped, entry.reapplied) {
                (0, _) => String::new(),
                (count, true) => format!("  {count} applied since"),
                (count, false) => format!("  {count} left out"),
            };
            let time = entry.at.to_string();
            let time = time.get(..19).unwrap_or(&time).replace('T', " ");
            let stream = entry.stream.as_deref().unwrap_or_default();
            let text = format!(
                "{mark}{time}  {}  {stream}{open}  {}",
                entry.what,
                outcome(entry)
            );
            let role = if at == pane.at {
                Role::Title
            } else {
                Role::Text
            };
            let text = format::cut(&format::clean(&text), width, view.cut());
            Line::from(view.span(role, text))
        })
        .collect()
}

fn outcome(entry: &JournalEntry) -> &str {
    match (&entry.outcome, &entry.decision) {
        (Some(outcome), _) => outcome,
        (None, Some(_)) => "waits, or in question",
        (None, None) => "no outcome",
    }
}

fn detail(view: &View<'_>, pane: &JournalPane, width: usize) -> Vec<Line<'static>> {
    let Some(entry) = pane.selected() else {
        return Vec::new();
    };
    let mut lines = Vec::new();
    if let (Some(input), Some(_)) = (&pane.typed, pane.guard()) {
        let question = format!(
            "apply its {} changes now, where the rows are as before them? type the last four of {}: ",
            entry.skipped, entry.id
        );
        let parts = format::wrap(&question, width.saturating_sub(6));
        let last = parts.len().saturating_sub(1);
        for (at, part) in parts.into_iter().enumerate() {
            let mut spans = vec![view.span(Role::Key, part)];
            if at == last {
                spans.push(view.span(Role::Key, " "));
                spans.extend(status_line::typed(view, input.value(), input.cursor(), 5));
            }
            lines.push(Line::from(spans));
        }
    }
    let mut put = |label: &str, text: &str| {
        let room = width.saturating_sub(9).max(10);
        for (at, part) in format::wrap(&format::clean(text), room)
            .into_iter()
            .enumerate()
        {
            let label = if at == 0 { label } else { "" };
            lines.push(Line::from(vec![
                view.label(label),
                view.span(Role::Text, part),
            ]));
        }
    };
    let from = entry
        .ssh_connection
        .as_ref()
        .map_or_else(String::new, |from| format!(" from {from}"));
    put(
        "by",
        &format!("{} through {}{from}", entry.user, entry.origin),
    );
    put("outcome", outcome(entry));
    if let Some(decision) = &entry.decision {
        put("id", &entry.id);
        if !decision.reason.is_empty() {
            put("reason", &decision.reason);
        }
        put("at", &decision.at.to_string());
        if let Some(gtid) = &decision.gtid {
            put("gtid", gtid);
        }
    }
    lines
}
