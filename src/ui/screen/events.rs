//! The event at which the selected stream stands: the error, the rows, the statement, the choices.

use std::fmt::Write as _;

use ratatui::layout::{Constraint, Rect};
use ratatui::text::Line;

use crate::control::{CheckState, Stop, choice_name, effect};
use crate::model::{Choice, EventRow, Reach};
use crate::ui::action::Action;
use crate::ui::format;
use crate::ui::layout::{Class, Pane, Room, beside, class, room, stack};
use crate::ui::state::State;
use crate::ui::theme::Role;
use crate::ui::view::View;
use crate::ui::widget::pane::{Content, Window, text_width};
use crate::ui::widget::table::{self, Cell, Column, text};

/// The error over the rows over the statement; the choices beside the error where there is room.
pub fn layout(state: &State, body: Rect) -> Vec<(Pane, Rect)> {
    if stop_of(state).is_none_or(|stop| !stop.findings.is_empty()) {
        return vec![(Pane::Error, body)];
    }
    match room(body) {
        Room::Reference => {
            let [error, rows, statement] = stack(
                body,
                [
                    Constraint::Fill(4),
                    Constraint::Fill(3),
                    Constraint::Length(4),
                ],
            );
            vec![
                (Pane::Error, error),
                (Pane::Rows, rows),
                (Pane::Statement, statement),
            ]
        }
        Room::Columns | Room::Dashboard => {
            let [top, rows, statement] = stack(
                body,
                [
                    Constraint::Length(13),
                    Constraint::Fill(2),
                    Constraint::Fill(1),
                ],
            );
            let [error, choices] = beside(top, [Constraint::Fill(5), Constraint::Fill(2)]);
            vec![
                (Pane::Error, error),
                (Pane::Choices, choices),
                (Pane::Rows, rows),
                (Pane::Statement, statement),
            ]
        }
    }
}

/// How many rows of the target the stop shows.
const TARGET_ROWS: usize = 3;

fn stop_of(state: &State) -> Option<&Stop> {
    state.stream()?.stop.as_ref()
}

fn no_stop(view: &View<'_>) -> Content {
    let title = format!("event {}", super::selected_name(view));
    let Some(stream) = view.state.stream() else {
        return super::nothing(view, title, "no stream is selected");
    };
    let mut lines = vec![Line::from(view.span(
        Role::Ok,
        "this stream does not stand at an event: there is nothing to decide",
    ))];
    let (stage, role) = super::streams::stage_of(stream);
    lines.push(super::labelled(
        view,
        "stage",
        vec![
            view.span(role, stage),
            view.span(Role::Text, format!("  unit {}", stream.unit)),
        ],
    ));
    if let Some(position) = super::streams::position(stream) {
        let spans = vec![view.foreign(Role::Text, &position)];
        lines.push(super::labelled(view, "position", spans));
    }
    if let Some(text) = super::next_try(view, stream.next_try_at, stream.tries) {
        lines.push(super::labelled(
            view,
            "retry",
            vec![view.span(Role::Warn, text)],
        ));
    }
    let standing: Vec<String> = view
        .state
        .shown
        .streams
        .iter()
        .filter(|stream| stream.stop.is_some())
        .map(|stream| {
            format!(
                "{}/{}",
                format::clean(&stream.task),
                format::clean(&stream.source)
            )
        })
        .collect();
    if !standing.is_empty() {
        let key = view.looks.keymap.key(Action::NextProblem);
        lines.push(super::labelled(
            view,
            "standing",
            vec![view.span(Role::Error, format!("{}  (key {key})", standing.join(", ")))],
        ));
    }
    Content::new(title, lines)
}

/// The error, and where in the binlog.
pub fn error(view: &View<'_>, area: Rect) -> Content {
    let (Some(stream), Some(stop)) = (view.state.stream(), stop_of(view.state)) else {
        return no_stop(view);
    };
    let width = text_width(area.width);
    let now = view.state.now;
    if !stop.findings.is_empty() {
        return before_the_start(view, stop, width);
    }
    let mut lines = super::error_lines(view, &stop.error, width);
    let mut place = vec![view.span(Role::Text, format!("unit {}", stop.unit))];
    if let Some(table) = &stop.table {
        place.push(view.span(Role::Dim, "  table "));
        place.push(view.foreign(Role::Text, &table.to_string()));
    }
    if let Some(event) = &stop.event {
        place.push(view.span(Role::Dim, "  event "));
        place.push(view.foreign(Role::Text, &event.kind));
        if event.rows > 0 {
            place.push(view.span(
                Role::Text,
                format!(", {}", format::counted(event.rows, "row")),
            ));
        }
    }
    place.push(view.span(Role::Dim, format!("  {} ", view.looks.glyphs.arrow)));
    place.push(view.foreign(Role::Text, &stream.target));
    lines.push(super::labelled(view, "where", place));
    if let Some(position) = &stop.position {
        let mut text = format!(
            "{}:{}..{}",
            position.file, position.offset, position.end_offset
        );
        if let Some(inner) = position.inner {
            let _ = write!(text, "  event {inner} of the compressed transaction");
        }
        if let Some(row) = position.row {
            let _ = write!(text, "  row {}", row.saturating_add(1));
        }
        lines.push(super::labelled(
            view,
            "position",
            vec![view.foreign(Role::Text, &text)],
        ));
    }
    if let Some(gtid) = &stop.gtid {
        lines.push(super::labelled(
            view,
            "gtid",
            vec![view.foreign(Role::Text, gtid)],
        ));
    }
    for row in stop.target_rows.iter().take(TARGET_ROWS) {
        let names = stop.event.iter().flat_map(|event| &event.columns);
        let values: Vec<String> = names
            .zip(&row.values)
            .map(|((name, _), value)| match value {
                Some(value) => format!("{name} {value}"),
                None => format!("{name} NULL"),
            })
            .collect();
        let mut text = format!("has by {}: {}", row.key, values.join(", "));
        if !row.differs.is_empty() {
            let _ = write!(text, "; differs in {}", row.differs.join(", "));
        }
        lines.extend(super::labelled_text(
            view,
            "target",
            Role::Warn,
            &text,
            width,
        ));
    }
    let mut time = match &stop.event {
        Some(event) => format!(
            "{} on the source, {} ago; ",
            event.time,
            format::ago(now, event.time)
        ),
        None => String::new(),
    };
    let _ = write!(time, "stopped {} ago", format::ago(now, stop.at));
    lines.push(super::labelled(
        view,
        "time",
        vec![view.span(Role::Text, time)],
    ));
    if stop.later_applied > 0 {
        let text = format!(
            "{} transactions behind it are applied already",
            format::count(stop.later_applied)
        );
        lines.push(super::labelled(
            view,
            "later",
            vec![view.span(Role::Warn, text)],
        ));
    }
    if let Some(text) = super::next_try(view, stream.next_try_at, stream.tries) {
        lines.push(super::labelled(
            view,
            "retry",
            vec![view.span(Role::Warn, text)],
        ));
    }
    if let Some(hint) = &stop.hint {
        let text = format!("(a guess) {hint}");
        lines.extend(super::labelled_text(view, "hint", Role::Dim, &text, width));
    }
    if let Some(around) = &stop.transaction
        && around.events > 1
    {
        let least = if around.is_whole { "" } else { "at least " };
        let text = format!(
            "event {} of {least}{} of the transaction, {} in all, which begins at :{}",
            around.number,
            around.events,
            format::counted(around.rows, "row"),
            around.begin.position.offset
        );
        lines.extend(super::labelled_text(
            view,
            "around",
            Role::Text,
            &text,
            width,
        ));
    }
    for decision in &stream.decisions {
        let key = view.looks.keymap.key(Action::Revert);
        let text = format!(
            "{} waits for the rest of its transaction ({key} takes it back)",
            decision.title
        );
        lines.extend(super::labelled_text(
            view,
            "decided",
            Role::Ok,
            &text,
            width,
        ));
    }
    if room_is_small(view) {
        lines.extend(choice_lines(view, stop, width));
    }
    Content::new(format!("stopped: {}", super::selected_name(view)), lines)
        .window(Window::From(view.state.cursor(Pane::Error)))
}

/// What the checks found that keeps the stream from beginning.
fn before_the_start(view: &View<'_>, stop: &Stop, width: usize) -> Content {
    let role = if stop.asks() { Role::Warn } else { Role::Error };
    let mut lines = super::wrapped(view, role, &stop.error.message, width);
    lines.extend(choice_lines(view, stop, width));
    if let Some(stream) = view.state.stream()
        && let Some(text) = super::next_try(view, stream.next_try_at, 0)
    {
        let text = format!("looks again by itself: {text}");
        lines.extend(super::labelled_text(view, "retry", Role::Dim, &text, width));
    }
    for finding in &stop.findings {
        let (word, role) = match finding.state {
            CheckState::Fail => ("FAIL", Role::Error),
            CheckState::Pass | CheckState::Warn => ("warn", Role::Warn),
        };
        lines.push(Line::default());
        lines.push(Line::from(vec![
            view.span(role, format!("{word}  ")),
            view.foreign(Role::Title, &finding.name),
            view.span(Role::Dim, "  "),
            view.foreign(Role::Dim, &finding.scope),
        ]));
        lines.extend(super::labelled_text(
            view,
            "found",
            Role::Text,
            &finding.found,
            width,
        ));
        if !finding.why.is_empty() {
            lines.extend(super::labelled_text(
                view,
                "why",
                Role::Dim,
                &finding.why,
                width,
            ));
        }
        if !finding.mend.is_empty() {
            lines.extend(super::labelled_text(
                view,
                "fix",
                Role::Ok,
                &finding.mend,
                width,
            ));
        }
    }
    Content::new(format!("not begun: {}", super::selected_name(view)), lines)
        .window(Window::From(view.state.cursor(Pane::Error)))
}

/// Whether there is no pane of its own for the choices.
fn room_is_small(view: &View<'_>) -> bool {
    let area = Rect::new(0, 0, view.state.size.0, view.state.size.1);
    room(crate::ui::layout::parts(area).body) == Room::Reference
        || class(view.state.size) < Class::Whole
}

/// The choices of a stop, each with its action.
fn choices_of(stop: &Stop) -> Vec<(Action, Option<(Choice, Reach)>)> {
    let all = [Choice::Repair, Choice::Skip]
        .into_iter()
        .flat_map(|choice| {
            [Reach::Row, Reach::Event, Reach::Transaction].map(|reach| (choice, reach))
        });
    let mut found = Vec::new();
    if stop.choices.iter().any(|choice| choice == "retry") {
        found.push((Action::Retry, None));
    }
    if !stop.findings.is_empty() {
        found.push((Action::Accept, None));
    }
    for (choice, reach) in all {
        if stop.choices.contains(&choice_name(choice, reach)) {
            found.push((Action::Decide(choice, reach), Some((choice, reach))));
        }
    }
    found
}

fn choice_word(of: Option<(Choice, Reach)>) -> String {
    match of {
        None => "retry".to_owned(),
        Some((choice, Reach::Event)) => choice.to_string(),
        Some((choice, reach)) => choice_name(choice, reach),
    }
}

/// All choices in few lines.
fn choice_lines(view: &View<'_>, stop: &Stop, width: usize) -> Vec<Line<'static>> {
    let choices = choices_of(stop);
    let (role, text) = if choices.is_empty() {
        (Role::Dim, "none: mend the cause, then retry".to_owned())
    } else if view.is_read_only() {
        (Role::Dim, "refused: read-only".to_owned())
    } else {
        let words: Vec<String> = choices
            .iter()
            .map(|(action, of)| {
                let word = match action {
                    Action::Accept => "accept and begin".to_owned(),
                    _ => choice_word(*of),
                };
                format!("{} {word}", view.looks.keymap.key(*action))
            })
            .collect();
        (Role::Text, words.join("   "))
    };
    super::labelled_text(view, "choices", role, &text, width)
}

/// What can be done.
pub fn choices(view: &View<'_>, area: Rect) -> Content {
    let Some(stop) = stop_of(view.state) else {
        return no_stop(view);
    };
    let width = text_width(area.width);
    let mut lines = Vec::new();
    for (action, of) in choices_of(stop) {
        let key = view.looks.keymap.key(action);
        let does = match of {
            None => "the same event again; nothing is changed".to_owned(),
            Some((choice, reach)) => effect(stop, choice, reach),
        };
        let refused = if view.is_read_only() {
            " (refused: read-only)"
        } else {
            ""
        };
        let head = format!("{key}  {}{refused}: ", choice_word(of));
        let role = if view.is_read_only() {
            Role::Dim
        } else {
            Role::Text
        };
        let text = format!("{head}{does}");
        for (at, part) in format::wrap(&format::clean(&text), width.saturating_sub(3))
            .into_iter()
            .enumerate()
        {
            let indent = if at == 0 { "" } else { "   " };
            lines.push(Line::from(view.span(role, format!("{indent}{part}"))));
        }
    }
    lines.push(Line::default());
    let text = "Nothing is written while the stream stands. Its relay and the other streams go on.";
    lines.extend(super::wrapped(view, Role::Dim, text, width));
    Content::new("what can be done", lines).window(Window::From(view.state.cursor(Pane::Choices)))
}

const COLUMNS: [Column; 5] = [
    text("column", 12, 32, 0),
    text("before", 10, 60, 0),
    text("after", 10, 60, 0),
    text("target now", 10, 60, 0),
    text("", 7, 7, 1),
];

/// The same where nothing of the target is known.
const WITHOUT_TARGET: [Column; 4] = [
    text("column", 16, 32, 0),
    text("before", 10, 60, 0),
    text("after", 10, 60, 0),
    text("", 7, 7, 1),
];

/// The event's rows, column by column, before and after.
pub fn rows(view: &View<'_>, area: Rect) -> Content {
    let Some(event) = stop_of(view.state).and_then(|stop| stop.event.as_ref()) else {
        return super::nothing(view, "rows", "the failure is not in an event with rows");
    };
    if event.images.is_empty() {
        return super::nothing(view, "rows", "this event has no rows");
    }
    let plain = view.style(Role::Text);
    let dim = view.style(Role::Dim);
    let mut cells: Vec<Vec<Cell>> = Vec::new();
    // Headings of rows, and before which line of the table each stands.
    let mut headings: Vec<(usize, Line<'static>)> = Vec::new();
    let failing = stop_of(view.state)
        .and_then(|stop| stop.position.as_ref())
        .and_then(|position| position.row);
    // What the target has in the place of the row that failed.
    let there = stop_of(view.state).and_then(|stop| stop.target_rows.first());
    let is_known = there.is_some();
    for (number, image) in event.images.iter().enumerate() {
        // The images begin with the row that failed.
        let there = there.filter(|_| number == 0);
        if event.images.len() > 1 {
            let mark = if failing.is_some() && number == 0 {
                "  <- failed"
            } else {
                ""
            };
            let text = format!(
                "row {} of {}{mark}",
                failing.map_or(0, |row| row as usize) + number + 1,
                format::count(event.rows)
            );
            headings.push((cells.len(), Line::from(view.span(Role::Title, text))));
        }
        for at in 0..columns_of(image) {
            let (name, is_key) = match event.columns.get(at) {
                Some((name, is_key)) => (name.clone(), *is_key),
                None => (format!("@{}", at + 1), false),
            };
            let name = if is_key { format!("{name} PK") } else { name };
            let value = |side: &Option<Vec<Option<String>>>| {
                side.as_ref().map(|row| row.get(at).cloned().flatten())
            };
            let (before, after) = (value(&image.before), value(&image.after));
            let is_changed = matches!((&before, &after), (Some(b), Some(a)) if a != b);
            let cell = |side: &Option<Option<String>>, role: Role| match side {
                None => Cell::new(format::NONE, dim),
                Some(None) => Cell::new("NULL", dim),
                Some(Some(text)) => Cell::new(text, view.style(role)),
            };
            let (mark, before_role, after_role) = if is_changed {
                ("changed", Role::DiffBefore, Role::DiffAfter)
            } else {
                ("", Role::Text, Role::Text)
            };
            let differs = there.is_some_and(|row| {
                let name = event.columns.get(at).map(|(name, _)| name);
                name.is_some_and(|name| row.differs.contains(name))
            });
            let mark = if differs { "differs" } else { mark };
            let mut line = vec![
                Cell::new(&name, plain),
                cell(&before, before_role),
                cell(&after, after_role),
                Cell::new(mark, view.style(Role::DiffChanged)),
            ];
            if is_known {
                let now = there.map(|row| row.values.get(at).cloned().flatten());
                let role = if differs { Role::Warn } else { Role::Text };
                line.insert(3, cell(&now, role));
            }
            cells.push(line);
        }
    }
    let columns: &[Column] = if is_known { &COLUMNS } else { &WITHOUT_TARGET };
    let (header, mut lines) =
        table::lines(columns, &cells, text_width(area.width), dim, view.cut());
    for (at, heading) in headings.into_iter().rev() {
        lines.insert(at.min(lines.len()), heading);
    }
    let shown = event.images.len() as u64;
    let note = if shown < event.rows {
        format!("the first {shown} of {} rows", format::count(event.rows))
    } else {
        String::new()
    };
    let title = match event.rows {
        1 => "row as the binlog has it".to_owned(),
        count => format!("{} rows as the binlog has them", format::count(count)),
    };
    Content::new(title, lines)
        .header(header)
        .note(note)
        .window(Window::From(view.state.cursor(Pane::Rows)))
}

fn columns_of(image: &EventRow) -> usize {
    let count = |side: &Option<Vec<Option<String>>>| side.as_ref().map_or(0, Vec::len);
    count(&image.before).max(count(&image.after))
}

/// The statement that failed, else the one the source logged.
pub fn statement_text(state: &State) -> Option<(&'static str, &str)> {
    let stop = stop_of(state)?;
    let failed = stop
        .statement
        .as_deref()
        .map(|text| ("statement that failed", text));
    let logged = || {
        let text = stop.event.as_ref()?.statement.as_deref()?;
        Some(("statement on the source", text))
    };
    failed.or_else(logged)
}

/// What mends the findings at which the selected stream stands, to be copied; empty: it stands at none.
pub fn mends(state: &State) -> String {
    let findings = stop_of(state).into_iter().flat_map(|stop| &stop.findings);
    super::grants::as_script(findings.map(|one| [&one.scope, &one.name, &one.found, &one.mend]))
}

/// The statement.
pub fn statement(view: &View<'_>, area: Rect) -> Content {
    let Some((title, text)) = statement_text(view.state) else {
        return super::nothing(view, "statement", "no statement was sent");
    };
    let width = text_width(area.width);
    let mut lines: Vec<_> = text
        .lines()
        .flat_map(|line| super::wrapped(view, Role::Text, line, width))
        .collect();
    let session = stop_of(view.state)
        .and_then(|stop| stop.event.as_ref())
        .map(|event| event.session.as_slice())
        .unwrap_or_default();
    if !session.is_empty() {
        let settings: Vec<String> = session
            .iter()
            .map(|(name, value)| format!("{name} = '{value}'"))
            .collect();
        let line = format!("its session: {}", settings.join(", "));
        lines.extend(super::wrapped(view, Role::Dim, &line, width));
    }
    let key = view.looks.keymap.key(Action::Copy);
    Content::new(title, lines)
        .note(format!("{key} copies"))
        .window(Window::From(view.state.cursor(Pane::Statement)))
}
