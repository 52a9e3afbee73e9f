//! The table of streams, on the overview and on sync.

use ratatui::layout::Rect;
use ratatui::style::Style;

use crate::control::{SourceSnapshot, StreamSnapshot};
use crate::model::{Stage, Unit};
use crate::ui::action::Screen;
use crate::ui::format;
use crate::ui::state::StreamRow;
use crate::ui::theme::Role;
use crate::ui::view::View;
use crate::ui::widget::pane::{Content, Window, list_width};
use crate::ui::widget::table::{self, Cell, Column, figure, place, text};

const COLUMNS: [Column; 11] = [
    text("task", 10, 24, 4),
    text("source", 14, 24, 0),
    text("target", 10, 20, 9),
    text("unit", 5, 5, 1),
    text("stage", 8, 8, 0),
    place("position", 27, 48, 2),
    figure("lag", 6, 0),
    figure("behind", 9, 8),
    figure("rows/s", 7, 3),
    figure("done", 4, 3),
    figure("skipped", 5, 10),
];

/// All streams, the selected one marked.
pub fn table(view: &View<'_>, area: Rect) -> Content {
    let state = view.state;
    let rows = state.rows();
    let all = state.all_rows().len();
    let cells: Vec<Vec<Cell>> = rows
        .iter()
        .map(|row| match row {
            StreamRow::Stream(stream) => stream_cells(view, stream),
            StreamRow::Source(source) => source_cells(view, source),
        })
        .collect();
    let (header, lines) = table::lines(
        &COLUMNS,
        &cells,
        list_width(area.width),
        view.style(Role::Dim),
        view.cut(),
    );
    let selected = rows.iter().position(|row| {
        row.task() == state.task.as_deref() && Some(row.source()) == state.source.as_deref()
    });
    let title = if state.screen == Screen::Sync {
        format!("sync ({all})")
    } else {
        format!("streams ({all})")
    };
    if all == 0 {
        return super::nothing(view, title, "no streams yet: the worker is starting");
    }
    Content::new(title, lines)
        .header(header)
        .note(filter_note(view, rows.len(), all))
        .window(selected.map_or(Window::Around(usize::MAX), Window::Around))
}

/// `3 of 12 match "orders"`, or nothing.
pub(super) fn filter_note(view: &View<'_>, shown: usize, all: usize) -> String {
    let filter = view.state.filter();
    if filter.is_empty() {
        return String::new();
    }
    format!("{shown} of {all} match \"{}\"", format::clean(filter))
}

fn stream_cells(view: &View<'_>, stream: &StreamSnapshot) -> Vec<Cell> {
    let plain = view.style(Role::Text);
    let dim = view.style(Role::Dim);
    let known = |text: Option<String>| match text {
        Some(text) => Cell::new(&text, plain),
        None => Cell::new(format::NONE, dim),
    };
    let skipped = match stream.skipped_events {
        0 => Cell::new(format::NONE, dim),
        count => Cell::new(&format::short(count), view.style(Role::Warn)),
    };
    vec![
        Cell::new(&stream.task, plain),
        Cell::new(&stream.source, plain),
        Cell::new(&stream.target, plain),
        known(stream.known_unit().map(|unit| unit.to_string())),
        stream_stage_cell(view, stream),
        known(position(stream)),
        lag_cell(view, stream),
        known(stream.behind_bytes.map(format::bytes)),
        rate_cell(view, stream.rows_per_second, stream.stage),
        known(done(stream)),
        skipped,
    ]
}

fn source_cells(view: &View<'_>, source: &SourceSnapshot) -> Vec<Cell> {
    let plain = view.style(Role::Text);
    let dim = view.style(Role::Dim);
    let none = || Cell::new(format::NONE, dim);
    let position = source.relay.as_ref().and_then(relay_position);
    let behind = source.relay.as_ref().and_then(|relay| relay.behind_bytes);
    vec![
        none(),
        Cell::new(&source.name, plain),
        none(),
        Cell::new("relay", plain),
        stage_cell(view, source.stage),
        position.map_or_else(none, |position| Cell::new(&position, plain)),
        none(),
        behind.map_or_else(none, |size| Cell::new(&format::bytes(size), plain)),
        none(),
        none(),
        none(),
    ]
}

/// The file and offset of a relay; `None` before its first file.
pub(super) fn relay_position(relay: &crate::control::RelayFigure) -> Option<String> {
    (!relay.file.is_empty()).then(|| format!("{}:{}", relay.file, relay.offset))
}

/// A stage as word, symbol and colour.
pub(super) fn stage_cell(view: &View<'_>, stage: Stage) -> Cell {
    Cell::new(format::stage(stage), view.style(View::stage_role(stage)))
}

/// A stream's stage as word and symbol, and its colour.
pub(super) fn stage_of(stream: &StreamSnapshot) -> (&'static str, Role) {
    if stream.asks() {
        (format::ASKS, Role::StateWait)
    } else {
        (format::stage(stream.stage), View::stage_role(stream.stage))
    }
}

fn stream_stage_cell(view: &View<'_>, stream: &StreamSnapshot) -> Cell {
    let (text, role) = stage_of(stream);
    Cell::new(text, view.style(role))
}

/// The stream's position, file and offset.
pub(super) fn position(stream: &StreamSnapshot) -> Option<String> {
    let position = stream.position.as_ref()?;
    Some(position.place.position.to_string())
}

/// The lag as text: `0s idle` apart, as an idle source is not a growing lag.
pub(super) fn lag_text(stream: &StreamSnapshot) -> String {
    match stream.lag_seconds {
        _ if stream.unit != Unit::Sync => format::NONE.into(),
        Some(_) if stream.idle => "idle".into(),
        Some(seconds) => format::lag(seconds, stream.lag_resolution),
        None => format::UNKNOWN.into(),
    }
}

fn lag_cell(view: &View<'_>, stream: &StreamSnapshot) -> Cell {
    Cell::new(&lag_text(stream), view.style(Role::Text))
}

fn rate_cell(view: &View<'_>, rate: f64, stage: Stage) -> Cell {
    let style: Style = view.style(Role::Text);
    if matches!(stage, Stage::Running | Stage::Pausing) {
        Cell::new(&format::per_second(rate), style)
    } else {
        Cell::new(format::NONE, view.style(Role::Dim))
    }
}

/// How much of the dump or load is done.
fn done(stream: &StreamSnapshot) -> Option<String> {
    let figure = match stream.unit {
        Unit::Dump => stream.dump.as_ref()?,
        Unit::Load => stream.load.as_ref()?,
        Unit::Relay | Unit::Sync => return None,
    };
    Some(super::load::percent_text(figure))
}
