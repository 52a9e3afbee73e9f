//! What the console is started with, checked as a whole before anything is drawn.

use std::path::PathBuf;

use crate::config::console::{Color, ConsoleConfig, Glyphs};
use crate::model::{Error, ErrorKind, Result};
use crate::terminal::{ColorDepth, color};

use super::glyph;
use super::keymap;
use super::theme::Theme;
use super::view::Looks;

/// What the console is started with.
#[derive(Clone, Debug)]
pub struct Options {
    /// Theme, glyphs, keys.
    pub looks: Looks,
    /// Whether the mouse is captured.
    pub is_mouse_on: bool,
    /// Where copied texts are also written: its sub-folder `copied`.
    pub data_dir: PathBuf,
}

impl Options {
    /// Checks keys and theme. The error, of kind `Config`, names every problem, one a line.
    pub fn new(config: &ConsoleConfig, data_dir: PathBuf) -> Result<Self> {
        let environment = |name: &str| std::env::var(name).ok();
        let depth = match config.color {
            Color::Auto => color::detect(environment),
            Color::Never => ColorDepth::None,
            Color::Ansi16 => ColorDepth::Ansi16,
            Color::Ansi256 => ColorDepth::Ansi256,
            Color::Rgb => ColorDepth::Rgb,
        };
        let auto = if color::is_utf8(environment) {
            glyph::UNICODE
        } else {
            glyph::ASCII
        };
        let glyphs = match config.glyphs {
            Glyphs::Ascii => glyph::ASCII,
            Glyphs::Unicode => glyph::UNICODE,
            Glyphs::Auto => auto,
        };
        let keymap = keymap::build(&config.keys)
            .map_err(|problems| Error::new(ErrorKind::Config, problems.join("\n")));
        let theme = Theme::load(&config.theme, depth);
        let (keymap, theme) = match (keymap, theme) {
            (Ok(keymap), Ok(theme)) => (keymap, theme),
            (Err(keys), Err(theme)) => {
                let both = format!("{}\n{}", keys.message(), theme.message());
                return Err(Error::new(ErrorKind::Config, both));
            }
            (Err(error), _) | (_, Err(error)) => return Err(error),
        };
        Ok(Self {
            looks: Looks {
                theme,
                glyphs,
                keymap,
                is_read_only: config.is_read_only,
            },
            is_mouse_on: config.is_mouse_on,
            data_dir,
        })
    }
}
