//! The sources and targets: what they are, how we are connected, and what they are set to.

use ratatui::layout::{Constraint, Rect};
use ratatui::text::Line;

use crate::ui::format;
use crate::ui::layout::{Pane, Room, beside, room, stack, table_height};
use crate::ui::state::State;
use crate::ui::theme::Role;
use crate::ui::view::View;
use crate::ui::widget::pane::{Content, Window, list_width, text_width};
use crate::ui::widget::table::{self, Cell, Column, figure, text};

/// The list above, the selected source's settings and the targets below.
pub fn layout(state: &State, body: Rect) -> Vec<(Pane, Rect)> {
    let rows = state.shown.sources.len();
    let targets = table_height(state.shown.targets.len(), 4, 7);
    if room(body) == Room::Reference {
        let [list, settings, below] = stack(
            body,
            [
                Constraint::Length(table_height(rows, 5, 8)),
                Constraint::Min(6),
                Constraint::Length(targets.min(5)),
            ],
        );
        return vec![
            (Pane::Sources, list),
            (Pane::Settings, settings),
            (Pane::Targets, below),
        ];
    }
    let [list, below] = stack(
        body,
        [
            Constraint::Length(table_height(rows, 6, 16)),
            Constraint::Min(10),
        ],
    );
    let [settings, below] = beside(below, [Constraint::Fill(1), Constraint::Fill(1)]);
    vec![
        (Pane::Sources, list),
        (Pane::Settings, settings),
        (Pane::Targets, below),
    ]
}

const COLUMNS: [Column; 8] = [
    text("source", 14, 24, 0),
    text("address", 21, 40, 2),
    text("server", 16, 28, 1),
    text("worker", 8, 8, 0),
    text("format", 9, 9, 4),
    text("image", 7, 7, 5),
    text("gtid", 6, 14, 6),
    figure("streams", 7, 3),
];

/// All sources, the selected one marked.
pub fn list(view: &View<'_>, area: Rect) -> Content {
    let state = view.state;
    let sources = state.sources();
    let all = state.shown.sources.len();
    let title = format!("sources ({all})");
    if all == 0 {
        return super::nothing(view, title, "no sources yet: the worker is starting");
    }
    let plain = view.style(Role::Text);
    let known = |text: Option<&String>| match text {
        Some(text) => Cell::new(text, plain),
        None => Cell::new(format::UNKNOWN, view.style(Role::Dim)),
    };
    let cells: Vec<Vec<Cell>> = sources
        .iter()
        .map(|source| {
            let streams = state.shown.streams.iter();
            let count = streams.filter(|s| s.source == source.name).count();
            vec![
                Cell::new(&source.name, plain),
                Cell::new(&source.address, plain),
                known(server_text(source.flavor, source.server_version.as_deref()).as_ref()),
                super::streams::stage_cell(view, source.stage),
                known(source.binlog_format.as_ref()),
                known(source.row_image.as_ref()),
                known(source.gtid_mode.as_ref()),
                Cell::new(&count.to_string(), plain),
            ]
        })
        .collect();
    let (header, lines) = table::lines(
        &COLUMNS,
        &cells,
        list_width(area.width),
        view.style(Role::Dim),
        view.cut(),
    );
    let selected = sources
        .iter()
        .position(|source| Some(source.name.as_str()) == state.source.as_deref());
    Content::new(title, lines)
        .header(header)
        .note(super::streams::filter_note(view, sources.len(), all))
        .window(Window::Around(selected.unwrap_or(usize::MAX)))
}

/// `MySQL 9.7.4`: the flavor is said once.
fn server_text(flavor: Option<crate::model::Flavor>, version: Option<&str>) -> Option<String> {
    let short = version.map(|version| {
        let end = version.find("-MariaDB").unwrap_or(version.len());
        version[..end].trim_start_matches("5.5.5-").to_owned()
    });
    match (flavor, short) {
        (Some(flavor), Some(version)) => Some(format!("{flavor} {version}")),
        (Some(flavor), None) => Some(flavor.to_string()),
        (None, version) => version,
    }
}

/// The selected source's settings, connection and error.
pub fn settings(view: &View<'_>, area: Rect) -> Content {
    let width = text_width(area.width);
    let Some(source) = view.state.selected_source() else {
        return super::nothing(view, "source", "no source is selected");
    };
    let known = |text: Option<&str>| match text {
        Some(text) => view.foreign(Role::Text, text),
        None => view.span(Role::Dim, "? (not connected yet)"),
    };
    let mut lines = Vec::new();
    if let Some(error) = &source.error {
        lines.extend(super::error_lines(view, error, width));
    }
    if let Some(text) = super::next_try(view, source.next_try_at, source.tries) {
        lines.push(Line::from(view.span(Role::Warn, text)));
    }
    lines.push(super::labelled(
        view,
        "account",
        vec![
            view.foreign(Role::Text, &source.user),
            view.span(Role::Dim, " at "),
            view.foreign(Role::Text, &source.address),
        ],
    ));
    lines.push(super::labelled(
        view,
        "server",
        vec![
            known(source.server_version.as_deref()),
            view.span(Role::Dim, "  identity "),
            known(source.server_identity.as_deref()),
        ],
    ));
    lines.push(super::labelled(
        view,
        "tls",
        vec![
            match source.tls.as_deref() {
                Some("none") => view.span(Role::Warn, "none: not encrypted"),
                other => known(other),
            },
            view.span(Role::Dim, "  our server_id "),
            match source.server_id {
                Some(id) => view.span(Role::Text, id.to_string()),
                None => view.span(Role::Dim, format::UNKNOWN),
            },
        ],
    ));
    lines.push(super::labelled(
        view,
        "binlog",
        vec![
            view.span(Role::Dim, "format "),
            known(source.binlog_format.as_deref()),
            view.span(Role::Dim, "  image "),
            known(source.row_image.as_deref()),
            view.span(Role::Dim, "  metadata "),
            known(source.row_metadata.as_deref()),
            view.span(Role::Dim, "  gtid "),
            known(source.gtid_mode.as_deref()),
        ],
    ));
    lines.push(super::labelled(
        view,
        "relay",
        match &source.relay {
            None => vec![view.span(Role::Dim, "not enabled")],
            Some(relay) if relay.connected => vec![view.span(Role::Ok, "connected")],
            Some(_) => vec![view.span(Role::Warn, "not connected")],
        },
    ));
    Content::new(format!("source {}", format::clean(&source.name)), lines)
        .window(Window::From(view.state.cursor(Pane::Settings)))
}

const TARGETS: [Column; 5] = [
    text("target", 14, 24, 0),
    text("address", 21, 40, 1),
    text("server", 16, 32, 0),
    text("tls", 8, 12, 2),
    text("account", 10, 24, 3),
];

/// All targets.
pub fn targets(view: &View<'_>, area: Rect) -> Content {
    let plain = view.style(Role::Text);
    let known = |text: Option<String>| match text {
        Some(text) => Cell::new(&text, plain),
        None => Cell::new(format::UNKNOWN, view.style(Role::Dim)),
    };
    let cells: Vec<Vec<Cell>> = view
        .state
        .shown
        .targets
        .iter()
        .map(|target| {
            vec![
                Cell::new(&target.name, plain),
                Cell::new(&target.address, plain),
                known(server_text(target.flavor, target.server_version.as_deref())),
                known(target.tls.clone()),
                Cell::new(&target.user, plain),
            ]
        })
        .collect();
    let (header, lines) = table::lines(
        &TARGETS,
        &cells,
        text_width(area.width),
        view.style(Role::Dim),
        view.cut(),
    );
    Content::new(format!("targets ({})", cells.len()), lines)
        .header(header)
        .window(Window::From(view.state.cursor(Pane::Targets)))
}
