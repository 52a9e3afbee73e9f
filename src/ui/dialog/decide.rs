//! Asks for what confirms a decision, and says in a sentence with numbers what it will do.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::Line;

use crate::control::effect;
use crate::model::{Choice, Reach};
use crate::ui::action::Action;
use crate::ui::deciding::{Deciding, Field, Guard};
use crate::ui::format;
use crate::ui::theme::Role;
use crate::ui::view::View;
use crate::ui::widget::pane::Content;
use crate::ui::widget::status_line;

/// The columns of the box.
const COLUMNS: u16 = 74;

/// Draws the dialog.
pub fn draw(view: &View<'_>, area: Rect, buffer: &mut Buffer) {
    let Some(deciding) = &view.state.deciding else {
        return;
    };
    let width = usize::from(COLUMNS.min(area.width)).saturating_sub(2);
    let mut lines = about(view, deciding, width);
    let mut answers = match deciding.field {
        Field::LaterRows => later_rows(view, width),
        Field::Guard | Field::Reason => confirm(view, deciding, width),
    };
    // Where not all of it fits, what can be answered must.
    let room = usize::from(area.height).saturating_sub(2);
    lines.truncate(room.saturating_sub(answers.len() + 1));
    if lines.len() + answers.len() < room {
        lines.push(Line::default());
    }
    lines.append(&mut answers);
    let rows = u16::try_from(lines.len())
        .unwrap_or(u16::MAX)
        .saturating_add(2);
    let content = Content::new(title(deciding), lines);
    super::draw_box(view, &content, (COLUMNS, rows), area, buffer);
}

fn title(deciding: &Deciding) -> String {
    let what = match deciding.reach {
        Reach::Row => "one row",
        Reach::Event => "this event",
        Reach::Transaction => "the whole transaction",
    };
    let lost = match deciding.choice {
        Choice::Skip => ": the target will lack what it does",
        Choice::Repair => ": the target's rows are overwritten",
    };
    format!("{} {what}{lost}", deciding.choice)
}

/// What it is about, and what it does.
fn about(view: &View<'_>, deciding: &Deciding, width: usize) -> Vec<Line<'static>> {
    let stop = &deciding.stop;
    let mut lines = Vec::new();
    let mut put = |label: &str, role: Role, text: &str| {
        let room = width.saturating_sub(9).max(10);
        for (at, part) in format::wrap(&format::clean(text), room)
            .into_iter()
            .enumerate()
        {
            let label = if at == 0 { label } else { "" };
            lines.push(Line::from(vec![view.label(label), view.span(role, part)]));
        }
    };
    let table = stop
        .table
        .as_ref()
        .map_or_else(String::new, |table| format!("   table {table}"));
    let source = deciding.scope.source.as_deref().unwrap_or_default();
    put("source", Role::Text, &format!("{source}{table}"));
    if let (Some(position), Some(event)) = (&stop.position, &stop.event) {
        let rows = match event.rows {
            0 => String::new(),
            rows => format!(", {}", format::counted(rows, "row")),
        };
        let row = position
            .row
            .filter(|_| deciding.reach == Reach::Row)
            .map_or_else(String::new, |row| {
                format!(", row {}", row.saturating_add(1))
            });
        let text = format!(
            "{}:{}  {}{rows}{row}",
            position.file, position.offset, event.kind
        );
        put("event", Role::Text, &text);
    }
    if let Some(row) = stop.target_rows.first()
        && deciding.reach != Reach::Transaction
    {
        let columns = stop.event.iter().flat_map(|event| &event.columns);
        let differing: Vec<String> = columns
            .zip(&row.values)
            .filter(|((name, _), _)| row.differs.contains(name))
            .map(|((name, _), value)| format!("{name} {}", value.as_deref().unwrap_or("NULL")))
            .collect();
        let text = format!("has by {}: {}", row.key, differing.join(", "));
        put("target", Role::Warn, &text);
    }
    let sentence = effect(stop, deciding.choice, deciding.reach);
    put("effect", Role::Warn, &sentence);
    if let (Choice::Repair, Some(statement)) = (deciding.choice, &stop.repair) {
        put("runs", Role::Text, statement);
    }
    let undo = match deciding.choice {
        Choice::Skip => "what is skipped is kept as SQL with its rows, and can be applied later",
        Choice::Repair => "none, once it has committed",
    };
    put("undo", Role::Dim, undo);
    lines
}

/// The fields and the keys.
fn confirm(view: &View<'_>, deciding: &Deciding, width: usize) -> Vec<Line<'static>> {
    let mut lines = Vec::new();
    let is_typing_reason = deciding.field == Field::Reason;
    let mut reason = vec![view.label("reason")];
    if is_typing_reason {
        let (value, cursor) = (deciding.reason.value(), deciding.reason.cursor());
        reason.extend(status_line::typed(
            view,
            value,
            cursor,
            width.saturating_sub(10),
        ));
    } else if deciding.reason.value().is_empty() {
        reason.push(view.span(Role::Dim, "(tab) may be empty"));
    } else {
        reason.push(view.foreign(Role::Text, deciding.reason.value()));
    }
    lines.push(Line::from(reason));
    let question = match &deciding.guard {
        Guard::Digits(_) => "type the last four digits of the position: ".to_owned(),
        Guard::Name(_) => "type the source's name: ".to_owned(),
    };
    let room = width.saturating_sub(question.len() + 1);
    let mut guard = vec![view.span(Role::Key, question)];
    if is_typing_reason {
        guard.push(view.foreign(Role::Text, deciding.typed.value()));
    } else {
        let (value, cursor) = (deciding.typed.value(), deciding.typed.cursor());
        guard.extend(status_line::typed(view, value, cursor, room));
    }
    lines.push(Line::from(guard));
    let back = view.looks.keymap.key(Action::Back);
    let (role, text) = if deciding.is_confirmed() {
        (
            Role::Key,
            format!("{back} keep standing   enter {}", deciding.choice),
        )
    } else if deciding.is_hasty {
        (
            Role::Warn,
            format!("not yet: that is not what must be typed   {back} keep standing"),
        )
    } else {
        (Role::Dim, format!("{back} keep standing   tab reason"))
    };
    lines.push(Line::from(view.span(role, text)));
    lines
}

/// The question how later rows are read.
fn later_rows(view: &View<'_>, width: usize) -> Vec<Line<'static>> {
    let mut lines = Vec::new();
    let text = "The statement changes a table. By which structure are its later rows read?";
    for part in format::wrap(text, width) {
        lines.push(Line::from(view.span(Role::Text, part)));
    }
    for (key, what) in [
        ("s", "the source's, as the statement left the table there"),
        ("d", "the target's, as the table is there now"),
        ("k", "keep the one from before the statement"),
    ] {
        lines.push(Line::from(vec![
            view.span(Role::Key, format!("{key}  ")),
            view.span(Role::Text, what),
        ]));
    }
    let back = view.looks.keymap.key(Action::Back);
    lines.push(Line::from(view.span(
        Role::Dim,
        format!("{back} keep standing: nothing is decided yet"),
    )));
    lines
}
