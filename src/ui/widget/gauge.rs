//! A bar that shows how much of something is done.

use ratatui::text::Span;

use crate::ui::theme::Role;
use crate::ui::view::View;

/// `[####....]` of `columns` in all; `None`: not known, drawn empty.
pub fn spans(view: &View<'_>, percent: Option<u64>, columns: usize) -> Vec<Span<'static>> {
    let inner = columns.saturating_sub(2);
    let percent = percent.unwrap_or(0).min(100) as usize;
    let full = inner * percent / 100;
    let glyphs = &view.looks.glyphs;
    let repeat = |glyph: char, count: usize| std::iter::repeat_n(glyph, count).collect::<String>();
    vec![
        view.span(Role::Dim, "["),
        view.span(Role::Gauge, repeat(glyphs.full, full)),
        view.span(Role::GaugeRest, repeat(glyphs.rest, inner - full)),
        view.span(Role::Dim, "]"),
    ]
}
