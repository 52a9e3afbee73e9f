//! The local copy of a source's binlog: how far it is, and its files.

use std::fmt::Write as _;

use ratatui::layout::{Constraint, Rect};
use ratatui::text::Line;

use crate::model::position::compare_files;
use crate::ui::format;
use crate::ui::layout::{Pane, stack};
use crate::ui::theme::Role;
use crate::ui::view::View;
use crate::ui::widget::pane::{Content, Window, list_width, text_width};
use crate::ui::widget::table::{self, Cell, Column, figure, place, text};

/// The marks above, the files below.
pub fn layout(body: Rect) -> Vec<(Pane, Rect)> {
    let [marks, files] = stack(body, [Constraint::Length(11), Constraint::Min(5)]);
    vec![(Pane::Marks, marks), (Pane::Files, files)]
}

/// Where the source, the relay and the streams are. What matters most comes first, as the overview
/// has room for four lines.
pub fn marks(view: &View<'_>, area: Rect) -> Content {
    let state = view.state;
    let title = match state.source.as_deref() {
        Some(source) => format!("relay {}", format::clean(source)),
        None => "relay".into(),
    };
    let Some(source) = state.selected_source() else {
        return super::nothing(view, title, "no source is selected");
    };
    let Some(relay) = &source.relay else {
        return super::nothing(
            view,
            title,
            "this source has no relay (source.relay.enabled = false)",
        );
    };
    let width = text_width(area.width);
    let newest = match (&relay.source_file, relay.source_offset) {
        (Some(file), Some(offset)) => Some(format!("{file}:{offset}")),
        (Some(file), None) => Some(file.clone()),
        _ => None,
    };
    let newest_word = (Role::Dim, "  newest".to_owned());
    let mut lines = vec![position_line(view, "source", newest, newest_word, width)];
    let behind = match relay.behind_bytes {
        Some(0) => (Role::Ok, "  0 B behind".to_owned()),
        Some(size) => (Role::Warn, format!("  {} behind", format::bytes(size))),
        None => (Role::Dim, "  ? behind".to_owned()),
    };
    let position = super::streams::relay_position(relay);
    lines.push(position_line(view, "relay", position, behind, width));
    for stream in state
        .shown
        .streams
        .iter()
        .filter(|s| s.source == source.name)
    {
        let mut rest = match stream.behind_bytes {
            Some(size) => format!("  {} to apply", format::bytes(size)),
            None => "  ? to apply".to_owned(),
        };
        // The task's name tells several streams of one source apart.
        let _ = write!(
            rest,
            "  {}",
            format::cut(&format::clean(&stream.task), 20, view.cut())
        );
        let position = super::streams::position(stream);
        lines.push(position_line(
            view,
            "sync",
            position,
            (Role::Text, rest),
            width,
        ));
    }
    let heard = relay.heard_at.map_or_else(String::new, |at| {
        format!(", heard {} ago", format::ago(state.now, at))
    });
    let connection = if relay.connected {
        view.span(Role::Ok, format!("connected{heard}"))
    } else {
        view.span(Role::Warn, format!("not connected{heard}"))
    };
    lines.push(super::labelled(
        view,
        "stage",
        vec![
            view.span(View::stage_role(source.stage), format::stage(source.stage)),
            view.span(Role::Text, "  "),
            connection,
            view.span(
                Role::Text,
                format!("  {}", format::bytes_per_second(relay.bytes_per_second)),
            ),
        ],
    ));
    if let Some(error) = &source.error {
        lines.extend(super::error_lines(view, error, width));
    } else if let Some(error) = &relay.error {
        lines.extend(super::wrapped(view, Role::Error, error, width));
    }
    for warning in &relay.warnings {
        lines.extend(super::wrapped(view, Role::Warn, warning, width));
    }
    if let Some(text) = super::next_try(view, source.next_try_at, source.tries) {
        lines.push(Line::from(view.span(Role::Warn, text)));
    }
    lines.push(super::labelled(
        view,
        "disk",
        vec![view.span(
            Role::Text,
            format!(
                "{} in {} file{}, {} free",
                format::bytes(relay.disk_bytes),
                format::count(relay.file_count),
                if relay.file_count == 1 { "" } else { "s" },
                format::bytes(relay.disk_free_bytes)
            ),
        )],
    ));
    lines.push(super::labelled(
        view,
        "oldest",
        vec![view.span(Role::Text, oldest(relay))],
    ));
    lines.push(super::labelled(
        view,
        "received",
        vec![view.span(
            Role::Text,
            format!(
                "{} in {} events since the start",
                format::bytes(relay.bytes_total),
                format::count(relay.events_total)
            ),
        )],
    ));
    if let Some(set) = relay.gtid_set.as_deref().filter(|set| !set.is_empty()) {
        lines.extend(super::labelled_text(
            view,
            "gtid set",
            Role::Text,
            set,
            width,
        ));
    }
    Content::new(title, lines).window(Window::From(state.cursor(Pane::Marks)))
}

/// The oldest file, and who still needs it or one behind it.
fn oldest(relay: &crate::control::RelayFigure) -> String {
    let Some(oldest) = &relay.oldest_file else {
        return format::UNKNOWN.to_owned();
    };
    let held = match &relay.held_by {
        None => "no task needs any".to_owned(),
        Some(hold) => {
            let task = format::clean(&hold.task);
            match &hold.file {
                None => format!("{task} may need all"),
                Some(file) if file == oldest => format!("{task} needs all"),
                Some(file) => format!("{task} needs {} on", format::clean(file)),
            }
        }
    };
    format!("{}; {held}", format::clean(oldest))
}

/// A position, cut in front where there is little room, and what follows it.
fn position_line(
    view: &View<'_>,
    label: &str,
    position: Option<String>,
    (role, rest): (Role, String),
    width: usize,
) -> Line<'static> {
    let room = width.saturating_sub(9 + format::width(&rest)).max(12);
    let position = match position {
        Some(text) => {
            let text = format::cut_front(&format::clean(&text), room, view.cut());
            view.span(Role::Text, text)
        }
        None => view.span(Role::Dim, format::UNKNOWN),
    };
    super::labelled(view, label, vec![position, view.span(role, rest)])
}

const COLUMNS: [Column; 4] = [
    text("file", 16, 40, 0),
    figure("size", 10, 0),
    text("state", 13, 13, 0),
    place("folder", 12, 44, 3),
];

/// The relay's files, the newest at the bottom.
pub fn files(view: &View<'_>, area: Rect) -> Content {
    let state = view.state;
    let source = state.selected_source();
    let Some(relay) = source.and_then(|source| source.relay.as_ref()) else {
        return super::nothing(view, "files", "none");
    };
    if relay.files.is_empty() {
        return super::nothing(view, "files", "none yet");
    }
    let readers: Vec<_> = state
        .shown
        .streams
        .iter()
        .filter(|stream| Some(stream.source.as_str()) == state.source.as_deref())
        .map(|stream| stream.position.as_ref())
        .collect();
    let plain = view.style(Role::Text);
    let cells: Vec<Vec<Cell>> = relay
        .files
        .iter()
        .map(|file| {
            let word = file_state(&file.folder, &file.name, relay, &readers);
            vec![
                Cell::new(&file.name, plain),
                Cell::new(&format::bytes(file.size_bytes), plain),
                Cell::new(word, plain),
                Cell::new(&file.folder, view.style(Role::Dim)),
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
    let shown = relay.files.len();
    let title = format!("files ({})", format::count(relay.file_count));
    let note = if (shown as u64) < relay.file_count {
        format!(
            "the newest {shown}; oldest there: {}",
            relay
                .oldest_file
                .as_deref()
                .map_or(format::UNKNOWN.into(), format::clean)
        )
    } else {
        String::new()
    };
    let cursor = state.cursors.get(&Pane::Files).copied();
    Content::new(title, lines)
        .header(header)
        .note(note)
        .window(Window::Around(cursor.unwrap_or(shown - 1).min(shown - 1)))
}

/// What a file is to the relay and to those who read it; a stream without a position needs all.
fn file_state(
    folder: &str,
    name: &str,
    relay: &crate::control::RelayFigure,
    readers: &[Option<&crate::control::StreamPosition>],
) -> &'static str {
    use std::cmp::Ordering::{Equal, Greater};
    let is_written = relay.folder == folder && relay.file == name;
    let order = |reader: &&crate::control::StreamPosition| {
        // Sub-folders of one source are not ordered by name alone; only the same one is judged.
        (reader.place.folder == folder).then(|| compare_files(&reader.place.position.file, name))
    };
    let orders: Vec<_> = readers
        .iter()
        .map(|reader| reader.as_ref().and_then(order))
        .collect();
    if is_written {
        "writing"
    } else if orders.contains(&Some(Equal)) {
        "being applied"
    } else if !orders.is_empty() && orders.iter().all(|order| *order == Some(Greater)) {
        "applied"
    } else if orders.is_empty() {
        "kept"
    } else {
        "to be applied"
    }
}
