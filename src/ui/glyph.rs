//! The glyphs that differ between a terminal that shows Unicode and one that shows ASCII alone.

use ratatui::symbols::border;

/// A set of glyphs. Each takes one column.
#[derive(Clone, Copy, Debug)]
pub struct Glyphs {
    /// Where a text was cut.
    pub cut: &'static str,
    /// The done part of a gauge.
    pub full: char,
    /// The rest of a gauge.
    pub rest: char,
    /// Heights of a bar within one row, lowest first.
    pub bars: &'static [char],
    /// A sample that is not known.
    pub unknown: char,
    /// From one name to another.
    pub arrow: &'static str,
    /// A vertical rule.
    pub rule: char,
    /// A horizontal rule.
    pub base: char,
    /// The borders of a pane.
    pub border: border::Set<'static>,
}

/// Box drawing and blocks; no braille, which costs a third more bytes.
pub const UNICODE: Glyphs = Glyphs {
    cut: "…",
    full: '█',
    rest: '░',
    bars: &['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'],
    unknown: '?',
    arrow: "→",
    rule: '│',
    base: '─',
    border: border::PLAIN,
};

/// ASCII alone.
pub const ASCII: Glyphs = Glyphs {
    cut: "~",
    full: '#',
    rest: '.',
    bars: &['.', ':', '|'],
    unknown: '?',
    arrow: "->",
    rule: '|',
    base: '-',
    border: border::Set {
        top_left: "+",
        top_right: "+",
        bottom_left: "+",
        bottom_right: "+",
        vertical_left: "|",
        vertical_right: "|",
        horizontal_top: "-",
        horizontal_bottom: "-",
    },
};
