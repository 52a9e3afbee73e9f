//! The frame's four lines: state, tabs, attention, keys.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

use crate::control::SourceSnapshot;
use crate::model::{Stage, Unit};
use crate::ui::action::{Action, Entry, Place, Screen};
use crate::ui::format;
use crate::ui::layout::{Class, class};
use crate::ui::screen;
use crate::ui::state::{Dialog, MESSAGE_SECONDS};
use crate::ui::theme::Role;
use crate::ui::view::View;

/// Stages in the order in which they are counted on line 1.
const STAGES: [Stage; 7] = [
    Stage::Failed,
    Stage::Running,
    Stage::Waiting,
    Stage::Pausing,
    Stage::Paused,
    Stage::Finished,
    Stage::Stopped,
];

/// `1 FAIL  3 RUN`: how many streams are in which stage.
pub fn stage_spans(view: &View<'_>) -> Vec<Span<'static>> {
    let rows = view.state.all_rows();
    let mut spans = Vec::new();
    let asks = view.state.shown.streams.iter().filter(|s| s.asks()).count();
    for stage in STAGES {
        let count = rows
            .iter()
            .filter(|row| match row {
                crate::ui::state::StreamRow::Stream(stream) => {
                    stream.stage == stage && !stream.asks()
                }
                crate::ui::state::StreamRow::Source(source) => source.stage == stage,
            })
            .count();
        if stage == Stage::Running && asks > 0 {
            // Behind what failed: it is the next that needs the operator.
            let text = format!("{asks} {}", format::ASKS_WORD);
            spans.push(view.span(Role::StateWait, text));
            spans.push(Span::raw("  "));
        }
        if count > 0 {
            let text = format!("{count} {}", format::stage_word(stage));
            spans.push(view.span(View::stage_role(stage), text));
            spans.push(Span::raw("  "));
        }
    }
    // A source that is out of reach is no stream's stage: those go on with what the relay has.
    for stage in [Stage::Failed, Stage::Waiting] {
        let is_of_it = |source: &&SourceSnapshot| source.stage == stage && is_in_trouble(source);
        let is_row = |source: &&SourceSnapshot| {
            rows.iter().any(|row| {
                matches!(row, crate::ui::state::StreamRow::Source(shown) if shown.name == source.name)
            })
        };
        let sources = view.state.shown.sources.iter();
        let count = sources.filter(is_of_it).filter(|s| !is_row(s)).count();
        if count > 0 {
            let word = format::stage_word(stage);
            let text = match count {
                1 => format!("relay {word}"),
                _ => format!("{count} relays {word}"),
            };
            spans.push(view.span(View::stage_role(stage), text));
            spans.push(Span::raw("  "));
        }
    }
    if spans.is_empty() {
        spans.push(view.span(Role::Dim, "starting  "));
    }
    spans
}

/// Whether the source's relay stands, or waits to be tried again.
fn is_in_trouble(source: &SourceSnapshot) -> bool {
    source.error.is_some() && matches!(source.stage, Stage::Failed | Stage::Waiting)
}

/// Line 1: the runtime as a whole.
pub fn state(view: &View<'_>, area: Rect, buffer: &mut Buffer) {
    let shown = &view.state.shown;
    let clock = if view.state.now.0 == 0 {
        String::new()
    } else {
        format!("{} UTC", view.state.now.clock())
    };
    let is_small = class(view.state.size) < Class::Single;
    let clock = if is_small { String::new() } else { clock };
    // Where there are no tabs the screen is named here.
    let mut parts = vec![if is_small {
        let screen = view.state.screen;
        let key = view.looks.keymap.key(Action::Go(screen));
        view.span(Role::TabActive, format!("[{key} {}] ", screen.title()))
    } else {
        view.span(Role::Title, "tideway  ")
    }];
    parts.extend(stage_spans(view));
    let mut optional = Vec::new();
    if view.state.is_frozen {
        optional.push(view.span(Role::Stale, "FROZEN"));
    }
    if view.is_read_only() {
        optional.push(view.span(Role::Warn, "READ-ONLY"));
    }
    if let Some(seconds) = view.state.stale_seconds() {
        optional.push(view.span(Role::Stale, format!("stale {seconds}s")));
    }
    let lags = shown
        .streams
        .iter()
        .filter(|stream| stream.unit == Unit::Sync)
        .filter_map(|stream| Some((stream.lag_seconds?, stream.lag_resolution)));
    if let Some((lag, resolution)) = lags.max_by(|a, b| a.0.total_cmp(&b.0)) {
        let text = format!("lag max {}", format::lag(lag, resolution));
        optional.push(view.span(Role::Text, text));
    }
    let running = shown.streams.iter().filter(|s| s.stage == Stage::Running);
    let rate: f64 = running.map(|s| s.rows_per_second).sum();
    optional.push(view.span(
        Role::Text,
        format!("{} rows/s", format::short(format::whole(rate))),
    ));
    if shown.memory.resident_bytes > 0 {
        let text = format!("mem {}", format::bytes(shown.memory.resident_bytes));
        optional.push(view.span(Role::Text, text));
    }
    let skipped: u64 = shown.streams.iter().map(|s| s.skipped_events).sum();
    if skipped > 0 {
        optional.push(view.span(Role::Warn, format!("{} skipped", format::short(skipped))));
    }
    if shown.started_at.0 > 0 {
        let text = format!("up {}", format::ago(view.state.now, shown.started_at));
        optional.push(view.span(Role::Text, text));
    }
    let room = usize::from(area.width).saturating_sub(format::width(&clock) + 2);
    let width = |spans: &[Span<'_>]| spans.iter().map(Span::width).sum::<usize>();
    for part in optional {
        if width(&parts) + part.width() + 2 <= room {
            parts.push(part);
            parts.push(Span::raw("  "));
        }
    }
    buffer.set_line(area.x, area.y, &Line::from(parts), room as u16);
    let at = area.right().saturating_sub(format::width(&clock) as u16);
    let style = view.style(Role::Dim);
    buffer.set_stringn(
        at.max(area.x),
        area.y,
        &clock,
        usize::from(area.width),
        style,
    );
}

/// Line 2: the screens; the one in front in brackets, so that it shows without colour.
pub fn tabs(view: &View<'_>, area: Rect, buffer: &mut Buffer) {
    if area.is_empty() {
        return;
    }
    let standing = view
        .state
        .shown
        .streams
        .iter()
        .filter(|s| s.stop.is_some())
        .count();
    let sources = view.state.shown.sources.iter();
    let in_trouble = sources.filter(|source| is_in_trouble(source)).count();
    let missing = screen::overview::missing_count(view).map_or(0, |(missing, _)| missing);
    let mut spans = Vec::new();
    for screen in Screen::ALL {
        let key = view.looks.keymap.key(Action::Go(screen));
        let count = match screen {
            Screen::Sources if in_trouble > 0 => format!("!{in_trouble}"),
            Screen::Events if standing > 0 => format!("!{standing}"),
            Screen::Grants if missing > 0 => format!("!{missing}"),
            _ => String::new(),
        };
        let is_front = screen == view.state.screen;
        let text = if is_front || class(view.state.size) >= Class::Whole {
            format!("{key} {}{count}", screen.title())
        } else {
            format!("{key}{count}")
        };
        spans.push(if is_front {
            view.span(Role::TabActive, format!("[{text}]"))
        } else {
            view.span(Role::Tab, format!(" {text} "))
        });
    }
    buffer.set_line(area.x, area.y, &Line::from(spans), area.width);
}

/// The last line but one: a filter being typed, a new message, the oldest problem, or calm.
pub fn attention(view: &View<'_>, area: Rect, buffer: &mut Buffer) {
    let state = view.state;
    let width = usize::from(area.width);
    let line = |role: Role, text: &str| {
        let text = format::cut(&format::clean(text), width, view.cut());
        Line::from(view.span(role, text))
    };
    if state.is_typing {
        buffer.set_line(area.x, area.y, &prompt(view, width), area.width);
        return;
    }
    let message = state.message.as_ref();
    // What was asked for is no longer "trying again" once it has failed again.
    let has_failed_since = |message: &crate::ui::state::Message| {
        let mut lines = state.shown.log.iter().rev();
        !message.is_refusal && lines.any(|line| line.at > message.at && line.level == "ERROR")
    };
    let is_fresh = |message: &&crate::ui::state::Message| {
        state.now.since(message.at).as_secs() < MESSAGE_SECONDS
            && (state.shown.problems.is_empty() || !has_failed_since(message))
    };
    let fresh = message.filter(is_fresh);
    let role = |message: &crate::ui::state::Message| {
        if message.is_refusal {
            Role::Warn
        } else {
            Role::Text
        }
    };
    let shown = if let Some(message) = fresh {
        line(role(message), &message.text)
    } else if state.pending > 0 {
        line(Role::Dim, "asked; waiting for the worker")
    } else if let Some(problem) = state.shown.problems.first() {
        let count = state.shown.problems.len();
        let key = view.looks.keymap.key(Action::NextProblem);
        let front = format!("! 1/{count} {}: ", problem.scope);
        let back = format!("   {key} opens it");
        let room = width.saturating_sub(format::width(&format::clean(&front)) + back.len());
        let text = format::cut(&format::clean(&problem.text), room, view.cut());
        line(
            if problem.is_failure {
                Role::Error
            } else {
                Role::Warn
            },
            &format!("{front}{text}{back}"),
        )
    } else if let Some(message) = message {
        line(Role::Dim, &message.text)
    } else {
        // Where there is no line of keys, how to find them is said here.
        let key = view.looks.keymap.key(Action::Help);
        if class(state.size) < Class::Single {
            line(
                Role::Dim,
                &format!("nothing needs you; {key} lists the keys"),
            )
        } else {
            line(Role::Dim, "nothing needs you")
        }
    };
    buffer.set_line(area.x, area.y, &shown, area.width);
}

/// The filter being typed, with its cursor, in `width` columns.
pub fn prompt(view: &View<'_>, width: usize) -> Line<'static> {
    let prompt = "filter: ";
    let state = view.state;
    let room = width.saturating_sub(prompt.len() + 1);
    let input = state.filters.get(&state.screen);
    let (value, cursor) = input.map_or(("", 0), |input| (input.value(), input.cursor()));
    let mut spans = vec![view.span(Role::Key, prompt)];
    spans.extend(typed(view, value, cursor, room));
    Line::from(spans)
}

/// A text being typed, in `room` columns before the cursor.
pub fn typed(view: &View<'_>, value: &str, cursor: usize, room: usize) -> Vec<Span<'static>> {
    let before: String = value.chars().take(cursor).collect();
    let at: String = value.chars().skip(cursor).take(1).collect();
    let after: String = value.chars().skip(cursor + 1).collect();
    let at = if at.is_empty() { " ".to_owned() } else { at };
    // The end of a long text is what is being typed.
    let before = format::cut_front(&format::clean(&before), room, view.cut());
    vec![
        view.span(Role::Text, before),
        Span::styled(
            format::clean(&at).into_owned(),
            view.style(Role::Text)
                .add_modifier(ratatui::style::Modifier::REVERSED),
        ),
        view.foreign(Role::Text, &after),
    ]
}

/// The last line: what the keys do here. The help and quit keys are always there.
pub fn keys(view: &View<'_>, area: Rect, buffer: &mut Buffer) {
    if area.is_empty() {
        return;
    }
    let entries = shown_entries(view);
    let width = usize::from(area.width);
    let takes = |(entry, label): &(&Entry, &str)| {
        format::width(&view.looks.keymap.key(entry.action)) + 1 + label.len() + 2
    };
    let is_kept = |entry: &Entry| matches!(entry.action, Action::Help | Action::Leave);
    let kept: usize = entries
        .iter()
        .filter(|(entry, _)| is_kept(entry))
        .map(takes)
        .sum();
    let mut left = (width + 2).saturating_sub(kept);
    let mut spans = Vec::new();
    for (entry, label) in entries {
        if !is_kept(entry) {
            let needs = takes(&(entry, label));
            if needs > left {
                continue;
            }
            left -= needs;
        }
        let is_refused = entry.changes && view.is_read_only();
        let key_role = if is_refused { Role::Dim } else { Role::Key };
        let label_role = if is_refused { Role::Dim } else { Role::Text };
        spans.push(view.span(key_role, view.looks.keymap.key(entry.action)));
        spans.push(view.span(label_role, format!(" {label}  ")));
    }
    buffer.set_line(area.x, area.y, &Line::from(spans), area.width);
}

/// The entries of the key line, each with its word there.
fn shown_entries(view: &View<'_>) -> Vec<(&'static Entry, &'static str)> {
    let state = view.state;
    if state.is_typing {
        return Vec::new();
    }
    let stop = state.stream().and_then(|stream| stream.stop.as_ref());
    let is_asked = stop.is_some_and(|stop| !stop.findings.is_empty());
    let word = |entry: &'static Entry| match (state.dialog, entry.action) {
        (Some(Dialog::Leave), Action::Back) => Some("stay"),
        (Some(Dialog::Leave), _) => (entry.place == Place::Leaving).then_some(entry.label),
        (Some(Dialog::Decide | Dialog::Accept), Action::Back) => Some("keep standing"),
        (Some(Dialog::CopyAs | Dialog::Journal | Dialog::Help(_)), Action::Back) => Some("close"),
        (Some(Dialog::Help(_)), Action::Down | Action::Up) => Some(entry.name),
        (Some(Dialog::Help(_)), Action::Leave) => Some(entry.label),
        (
            Some(
                Dialog::Decide
                | Dialog::Accept
                | Dialog::CopyAs
                | Dialog::Journal
                | Dialog::Help(_),
            ),
            _,
        ) => None,
        // It is of use while the checks keep the selected stream from beginning, and else in the way.
        (None, Action::Accept) if !is_asked => None,
        // Where nothing was begun there is no event.
        (None, Action::Decide(..)) if is_asked => None,
        (None, _) => entry.place.covers(state.screen).then_some(entry.label),
    };
    crate::ui::action::TABLE
        .iter()
        .filter_map(|entry| Some((entry, word(entry)?)))
        .filter(|(_, word)| !word.is_empty())
        .collect()
}
