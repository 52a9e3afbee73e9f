//! Replication: how far behind each stream is, and why.

use ratatui::layout::{Constraint, Rect};
use ratatui::text::Line;

use crate::model::Unit;
use crate::ui::format;
use crate::ui::layout::{Pane, Room, room, stack, table_height};
use crate::ui::state::State;
use crate::ui::theme::Role;
use crate::ui::view::View;
use crate::ui::widget::chart;
use crate::ui::widget::pane::{Content, Window, text_width};

/// The streams, the selected one's lag, its figures.
pub fn layout(state: &State, body: Rect) -> Vec<(Pane, Rect)> {
    let rows = state.all_rows().len();
    let most = if room(body) == Room::Reference { 6 } else { 12 };
    let [streams, lag, figures] = stack(
        body,
        [
            Constraint::Length(table_height(rows, 4, most)),
            Constraint::Fill(1),
            Constraint::Length(9),
        ],
    );
    vec![
        (Pane::Streams, streams),
        (Pane::Lag, lag),
        (Pane::Figures, figures),
    ]
}

/// The lag of the last ten minutes, with its scale, and in numbers.
pub fn lag(view: &View<'_>, area: Rect) -> Content {
    let title = format!("lag {}", super::selected_name(view));
    let Some(stream) = view.state.stream() else {
        return super::nothing(view, title, "no stream is selected");
    };
    let width = text_width(area.width);
    let height = usize::from(area.height.saturating_sub(2));
    let samples = &stream.lag_history;
    let now = match stream.lag_seconds {
        _ if stream.unit != Unit::Sync => "no lag before sync".into(),
        Some(_) if stream.idle => "0s idle".into(),
        Some(seconds) => format!("now {}", format::lag(seconds, stream.lag_resolution)),
        None => "not known now".into(),
    };
    let mut lines = Vec::new();
    match chart::spread(samples) {
        None => lines.push(Line::from(vec![
            view.span(Role::Text, now),
            view.span(Role::Dim, "  no samples yet"),
        ])),
        Some(spread) => {
            let figure = |seconds: f32| format::lag(f64::from(seconds), stream.lag_resolution);
            let rows = height.saturating_sub(1).max(1);
            for row in chart::lines(samples, width, rows, &view.looks.glyphs) {
                lines.push(Line::from(view.span(Role::Sparkline, row)));
            }
            lines.push(Line::from(vec![
                view.span(Role::Title, now),
                view.span(
                    Role::Text,
                    format!(
                        "  p50 {} p99 {} max {}",
                        figure(spread.p50),
                        figure(spread.p99),
                        figure(spread.max)
                    ),
                ),
            ]));
        }
    }
    let span = std::time::Duration::from_secs(samples.len() as u64);
    let note = if samples.is_empty() {
        String::new()
    } else {
        format!("last {}", format::duration(span))
    };
    Content::new(title, lines).note(note)
}

/// Sync in numbers.
pub fn figures(view: &View<'_>, area: Rect) -> Content {
    let title = format!("figures {}", super::selected_name(view));
    let Some(stream) = view.state.stream() else {
        return super::nothing(view, title, "no stream is selected");
    };
    let width = text_width(area.width);
    let now = view.state.now;
    let unknown = || view.span(Role::Dim, format::UNKNOWN);
    let mut lines = vec![super::labelled(
        view,
        "position",
        vec![match &stream.position {
            Some(position) => view.foreign(Role::Text, &position.place.position.to_string()),
            None => unknown(),
        }],
    )];
    lines.push(super::labelled(
        view,
        "to apply",
        vec![
            match stream.behind_bytes {
                Some(size) => {
                    view.span(Role::Text, format!("{} of relay log", format::bytes(size)))
                }
                None => unknown(),
            },
            match stream.checkpoint_at {
                Some(at) => view.span(
                    Role::Text,
                    format!("  checkpoint {} ago", format::ago(now, at)),
                ),
                None => view.span(Role::Dim, "  no checkpoint yet"),
            },
            view.span(
                Role::Text,
                match stream.ahead {
                    0 => String::new(),
                    ahead => format!("  {} transactions ahead of it", format::count(ahead)),
                },
            ),
        ],
    ));
    lines.push(super::labelled(
        view,
        "rate",
        vec![view.span(
            Role::Text,
            format!(
                "{} rows/s  {} transactions/s",
                format::per_second(stream.rows_per_second),
                format::per_second(stream.transactions_per_second)
            ),
        )],
    ));
    lines.push(super::labelled(
        view,
        "applied",
        vec![view.span(
            Role::Text,
            format!(
                "{} rows  {} transactions  {} DDL  since the start",
                format::count(stream.rows_applied),
                format::count(stream.transactions_applied),
                format::count(stream.ddl_applied)
            ),
        )],
    ));
    let skipped = match stream.skipped_events {
        0 => view.span(Role::Text, "  none skipped by hand"),
        count => view.span(
            Role::Warn,
            format!("  {} skipped by hand", format::count(count)),
        ),
    };
    lines.push(super::labelled(
        view,
        "passed",
        vec![
            view.span(
                Role::Text,
                format!(
                    "{} events not of this task",
                    format::count(stream.passed_over)
                ),
            ),
            skipped,
        ],
    ));
    if stream.drift_skipped + stream.drift_repaired > 0 {
        let text = format!(
            "{} rows left out, {} repaired  since the start",
            format::count(stream.drift_skipped),
            format::count(stream.drift_repaired)
        );
        lines.push(super::labelled(
            view,
            "drift",
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
    if let (count @ 1.., Some(at)) = (stream.retries.count, stream.retries.last_at) {
        let text = format!(
            "{} since the start, the last {} ago: {}",
            format::count(count),
            format::ago(now, at),
            stream.retries.last_error.as_deref().unwrap_or_default()
        );
        lines.extend(super::labelled_text(
            view,
            "retried",
            Role::Text,
            &text,
            width,
        ));
    }
    if let Some(stop) = &stream.stop {
        let text = super::error_line(&stop.error);
        lines.extend(super::labelled_text(
            view,
            "stopped",
            Role::Error,
            &text,
            width,
        ));
    }
    if let Some(set) = stream.position.as_ref().and_then(|p| p.gtid_set.as_deref()) {
        lines.extend(super::labelled_text(
            view,
            "gtid set",
            Role::Text,
            set,
            width,
        ));
    }
    Content::new(title, lines).window(Window::From(view.state.cursor(Pane::Figures)))
}
