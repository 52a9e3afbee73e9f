//! `[console]`.

use std::collections::BTreeMap;

/// How the console looks and answers.
#[derive(Clone, Debug)]
pub struct ConsoleConfig {
    /// A theme's name or file.
    pub theme: String,
    /// Whether the mouse is captured.
    pub is_mouse_on: bool,
    /// Whether commands that change something are refused.
    pub is_read_only: bool,
    /// Colours to use.
    pub color: Color,
    /// Glyphs to use.
    pub glyphs: Glyphs,
    /// Key bindings that differ from the defaults: action to key, as written; checked by the console's
    /// own table, which knows the actions, at start-up.
    pub keys: BTreeMap<String, String>,
}

/// How many colours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Color {
    /// As the terminal says.
    #[default]
    Auto,
    /// None.
    Never,
    /// The terminal's own 16.
    Ansi16,
    /// 256.
    Ansi256,
    /// 24 bits.
    Rgb,
}

/// Which glyphs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Glyphs {
    /// As the locale says.
    #[default]
    Auto,
    /// Box drawing and blocks.
    Unicode,
    /// ASCII alone.
    Ascii,
}
