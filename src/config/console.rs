//! `[console]`.

use std::collections::BTreeMap;

use super::reader::Section;

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

impl Default for ConsoleConfig {
    fn default() -> Self {
        Self {
            theme: "default".to_owned(),
            is_mouse_on: false,
            is_read_only: false,
            color: Color::Auto,
            glyphs: Glyphs::Auto,
            keys: BTreeMap::new(),
        }
    }
}

impl ConsoleConfig {
    /// Reads `[console]` where it is there.
    pub(super) fn read(section: Option<&Section<'_>>) -> Self {
        let mut config = Self::default();
        let Some(section) = section else {
            return config;
        };
        if section.has("theme")
            && let Some(theme) = section.required_text("theme")
        {
            config.theme = theme.value;
        }
        config.is_mouse_on = section.flag("mouse", config.is_mouse_on);
        config.is_read_only = section.flag("read_only", config.is_read_only);
        config.color = section.word(
            "color",
            &[
                ("auto", Color::Auto),
                ("never", Color::Never),
                ("16", Color::Ansi16),
                ("256", Color::Ansi256),
                ("rgb", Color::Rgb),
            ],
            config.color,
        );
        config.glyphs = section.word(
            "glyphs",
            &[
                ("auto", Glyphs::Auto),
                ("unicode", Glyphs::Unicode),
                ("ascii", Glyphs::Ascii),
            ],
            config.glyphs,
        );
        if let Some(keys) = section.section("keys") {
            for (action, key) in keys.entries() {
                if key.value.is_empty() {
                    keys.fault_of(&key, format!("no key is given for `{action}`"), None);
                }
                config.keys.insert(action, key.value);
            }
        }
        config
    }
}
