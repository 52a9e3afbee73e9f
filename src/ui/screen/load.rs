//! A stream's full copy: dump and load, as a whole and by table.

use ratatui::layout::{Constraint, Rect};
use ratatui::text::Line;

use crate::control::{TableLoad, TransferFigure};
use crate::model::Stage;
use crate::ui::format;
use crate::ui::layout::{Pane, stack};
use crate::ui::state::State;
use crate::ui::theme::Role;
use crate::ui::view::View;
use crate::ui::widget::gauge;
use crate::ui::widget::pane::{Content, Window, list_width, text_width};
use crate::ui::widget::table::{self, Cell, Column, figure, text};

/// Totals, tables, and what was chosen and adapted if there is anything.
pub fn layout(state: &State, body: Rect) -> Vec<(Pane, Rect)> {
    let notes = state.stream().map_or(0, |stream| stream.notes.len());
    let stop = state.stream().and_then(|stream| stream.stop.as_ref());
    let below = if notes == 0 {
        0
    } else if stop.is_some() {
        4
    } else {
        u16::try_from(notes)
            .unwrap_or(u16::MAX)
            .saturating_add(2)
            .clamp(4, 8)
    };
    // What it stands for is told with what is to be done about it.
    let totals = if stop.is_some() { 11 } else { 8 };
    let [totals, tables, notes] = stack(
        body,
        [
            Constraint::Length(totals),
            Constraint::Min(5),
            Constraint::Length(below),
        ],
    );
    let mut panes = vec![(Pane::Totals, totals), (Pane::Tables, tables)];
    if below > 0 {
        panes.push((Pane::Notes, notes));
    }
    panes
}

/// How much is done, by bytes where they are known, else by rows. 100 only at the end.
pub(super) fn percent(figure: &TransferFigure) -> Option<u64> {
    if figure.finished_at.is_some() {
        return Some(100);
    }
    let percent = format::percent(figure.bytes_done, figure.bytes_estimated)
        .or_else(|| format::percent(figure.rows_done, figure.rows_estimated))?;
    Some(percent.min(99))
}

/// `62%`, `?` while nothing is estimated, `>est` when there is more than was estimated.
pub(super) fn percent_text(figure: &TransferFigure) -> String {
    let is_over = figure.finished_at.is_none()
        && figure.bytes_estimated > 0
        && figure.bytes_done > figure.bytes_estimated;
    match percent(figure) {
        _ if is_over => ">est".into(),
        Some(percent) => format!("{percent}%"),
        None => format::UNKNOWN.into(),
    }
}

/// `in 12m` once finished, else `eta ~26m`.
pub(super) fn rest_text(view: &View<'_>, figure: &TransferFigure) -> String {
    if let (Some(started), Some(finished)) = (figure.started_at, figure.finished_at) {
        return format!("in {}", format::duration(finished.since(started)));
    }
    if figure.finished_at.is_some() {
        return "finished".into();
    }
    if stands(view) {
        return "stands".into();
    }
    match figure.eta_seconds {
        Some(eta) if eta.is_finite() && eta >= 0.0 => {
            let eta = std::time::Duration::from_secs(eta.min(1e10) as u64);
            format!("eta ~{}", format::duration(eta))
        }
        _ => match figure.started_at {
            Some(at) => format!("for {}, eta ?", format::ago(view.state.now, at)),
            None => "eta ?".into(),
        },
    }
}

/// Whether the stream is not at work: then its last rates say nothing about the end.
fn stands(view: &View<'_>) -> bool {
    view.state.stream().is_some_and(|stream| {
        matches!(
            stream.stage,
            Stage::Paused | Stage::Failed | Stage::Stopped | Stage::Waiting
        )
    })
}

/// `117.9 GiB of ~190.1 GiB`; the estimate is of no interest any more at the end.
fn bytes_text(figure: &TransferFigure) -> String {
    let done = format::bytes(figure.bytes_done);
    match figure.bytes_estimated {
        _ if figure.finished_at.is_some() => done,
        0 => format!("{done} of ?"),
        estimated => format!("{done} of ~{}", format::bytes(estimated)),
    }
}

/// Two lines a transfer: bar and tables, then bytes, rows and rates.
fn transfer(
    view: &View<'_>,
    name: &str,
    figure: Option<&TransferFigure>,
    width: usize,
) -> Vec<Line<'static>> {
    let Some(figure) = figure else {
        let text = "not begun in this run";
        return vec![super::labelled(
            view,
            name,
            vec![view.span(Role::Dim, text)],
        )];
    };
    let after = format!(
        " {:>4}  {}/{} tables  {}",
        percent_text(figure),
        format::count(figure.tables_done),
        format::count(figure.tables_total),
        rest_text(view, figure)
    );
    let bar = width.saturating_sub(9 + format::width(&after)).clamp(8, 52);
    let mut spans = gauge::spans(view, percent(figure), bar);
    spans.push(view.span(Role::Text, after));
    // What matters less is left out whole where there is no room for it.
    let mut details = bytes_text(figure);
    let mut more = vec![format!("{} rows", format::short(figure.rows_done))];
    if figure.finished_at.is_none() && !stands(view) {
        more.insert(
            0,
            format!("{} rows/s", format::per_second(figure.rows_per_second)),
        );
        more.insert(0, format::bytes_per_second(figure.bytes_per_second));
    }
    for part in more {
        if 9 + format::width(&details) + 2 + format::width(&part) <= width {
            details.push_str("  ");
            details.push_str(&part);
        }
    }
    let mut second = vec![view.span(Role::Dim, details)];
    if let Some(throttled) = &figure.throttled {
        // It comes first: it is why the figures behind it are small.
        second.insert(0, view.span(Role::StateWait, format!("{throttled}  ")));
    }
    vec![
        super::labelled(view, name, spans),
        super::labelled(view, "", second),
    ]
}

/// Dump and load as a whole.
pub fn totals(view: &View<'_>, area: Rect) -> Content {
    let width = text_width(area.width);
    let Some(stream) = view.state.stream() else {
        return super::nothing(view, "dump and load", "no stream is selected");
    };
    let title = format!("dump and load {}", super::selected_name(view));
    let (stage, role) = super::streams::stage_of(stream);
    let mut lines = vec![super::labelled(
        view,
        "stage",
        vec![
            view.span(role, stage),
            view.span(Role::Text, format!("  unit {}", stream.unit)),
            view.span(Role::Dim, format!("  {} ", view.looks.glyphs.arrow)),
            view.foreign(Role::Text, &stream.target),
        ],
    )];
    if let Some(stop) = &stream.stop {
        let error = &stop.error;
        let why = match &error.cause {
            Some(cause) => format!("{}: {cause}", error.message),
            None => error.message.clone(),
        };
        lines.extend(few(view, "why", Role::StateFailed, &why, width));
        if let Some(fix) = &error.fix {
            lines.extend(few(view, "fix", Role::Text, fix, width));
        }
    }
    lines.extend(transfer(view, "dump", stream.dump.as_ref(), width));
    lines.extend(transfer(view, "load", stream.load.as_ref(), width));
    if stream.stop.is_none() && (stream.dump.is_some() || stream.load.is_some()) {
        lines.push(Line::from(view.span(
            Role::Dim,
            "~ is an estimate of the source; percent is by bytes",
        )));
    }
    Content::new(title, lines).window(Window::From(view.state.cursor(Pane::Totals)))
}

/// The first two lines of a foreign text; the events screen has all of it.
fn few(
    view: &View<'_>,
    label: &str,
    role: Role,
    text: &str,
    width: usize,
) -> impl Iterator<Item = Line<'static>> {
    super::labelled_text(view, label, role, text, width)
        .into_iter()
        .take(2)
}

/// The overview's pane: totals, then the tables at work.
pub fn copy(view: &View<'_>, area: Rect) -> Content {
    let width = text_width(area.width);
    let title = format!("dump and load {}", super::selected_name(view));
    let Some(stream) = view.state.stream() else {
        return super::nothing(view, title, "no stream is selected");
    };
    if stream.dump.is_none() && stream.load.is_none() {
        return super::nothing(view, title, "not in this run");
    }
    let mut lines = transfer(view, "dump", stream.dump.as_ref(), width);
    lines.extend(transfer(view, "load", stream.load.as_ref(), width));
    let (_, tables) = table_lines(view, width, &shown_tables(view));
    lines.extend(tables);
    Content::new(title, lines).window(Window::From(view.state.cursor(Pane::Copy)))
}

/// The tables of the load once it has begun, else of the dump.
fn at_work<'a>(view: &View<'a>) -> Option<(&'static str, &'a TransferFigure)> {
    let stream = view.state.stream()?;
    let load = stream.load.as_ref().map(|figure| ("load", figure));
    load.or_else(|| stream.dump.as_ref().map(|figure| ("dump", figure)))
}

fn shown_tables<'a>(view: &View<'a>) -> Vec<&'a TableLoad> {
    at_work(view).map_or_else(Vec::new, |(_, figure)| {
        let tables = figure.tables.iter();
        tables
            .filter(|table| {
                view.state
                    .passes(&[&table.table.schema, &table.table.name, &table.phase])
            })
            .collect()
    })
}

/// `~18.0 GiB`; nothing estimated is not known, not zero.
fn estimate(size: u64) -> String {
    match size {
        0 => format::UNKNOWN.into(),
        size => format!("~{}", format::bytes(size)),
    }
}

const COLUMNS: [Column; 7] = [
    text("table", 20, 48, 0),
    text("state", 7, 8, 0),
    figure("done", 4, 0),
    figure("bytes", 10, 2),
    figure("of", 11, 3),
    figure("rows", 6, 5),
    figure("chunks", 9, 4),
];

fn table_lines(
    view: &View<'_>,
    width: usize,
    tables: &[&TableLoad],
) -> (Line<'static>, Vec<Line<'static>>) {
    let plain = view.style(Role::Text);
    let cells: Vec<Vec<Cell>> = tables
        .iter()
        .map(|table| {
            let is_done = matches!(table.phase.as_str(), "dumped" | "loaded");
            let percent = format::percent(table.bytes_done, table.bytes_estimated);
            let done = match percent {
                _ if is_done => "100%".into(),
                Some(_) if table.bytes_done > table.bytes_estimated => ">est".into(),
                Some(percent) => format!("{}%", percent.min(99)),
                None => format::UNKNOWN.into(),
            };
            let role = if is_done { Role::Dim } else { Role::Text };
            vec![
                Cell::new(&table.table.to_string(), view.style(role)),
                Cell::new(&table.phase, view.style(role)),
                Cell::new(&done, plain),
                Cell::new(&format::bytes(table.bytes_done), plain),
                Cell::new(&estimate(table.bytes_estimated), view.style(Role::Dim)),
                Cell::new(&format::short(table.rows_done), plain),
                Cell::new(
                    &format!("{}/{}", table.chunks_done, table.chunks_total),
                    plain,
                ),
            ]
        })
        .collect();
    table::lines(&COLUMNS, &cells, width, view.style(Role::Dim), view.cut())
}

/// Dump or load by table.
pub fn tables(view: &View<'_>, area: Rect) -> Content {
    let Some((unit, figure)) = at_work(view) else {
        return super::nothing(view, "tables", "none: no dump or load in this run");
    };
    let tables = shown_tables(view);
    let (header, lines) = table_lines(view, list_width(area.width), &tables);
    let all = figure.tables.len();
    let note = if !view.state.filter().is_empty() {
        super::streams::filter_note(view, tables.len(), all)
    } else if (all as u64) < figure.tables_total {
        format!(
            "{all} of {}: those at work and the biggest",
            format::count(figure.tables_total)
        )
    } else {
        String::new()
    };
    let cursor = view.state.cursor(Pane::Tables);
    Content::new(format!("{unit} by table"), lines)
        .header(header)
        .note(note)
        .window(Window::Around(cursor.min(tables.len().saturating_sub(1))))
}

/// What the dump chose and why, and what was adapted.
pub fn notes(view: &View<'_>, area: Rect) -> Content {
    let width = text_width(area.width);
    let notes = view.state.stream().map_or(&[][..], |stream| &stream.notes);
    let lines = notes
        .iter()
        .flat_map(|note| super::wrapped(view, Role::Text, note, width))
        .collect();
    Content::new("chosen and adapted", lines).window(Window::From(view.state.cursor(Pane::Notes)))
}
