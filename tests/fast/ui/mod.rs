//! The console on snapshots of a runtime, without a terminal: what every screen shows, at the sizes
//! that it is made for; and that nothing makes it panic.

mod accepting;
mod deciding;
mod fixtures;
mod robust;
mod screens;

use std::collections::BTreeMap;
use std::sync::Arc;

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use tideway::control::Snapshot;
use tideway::terminal::ColorDepth;
use tideway::ui::effect::Effect;
use tideway::ui::keymap::{self, Key};
use tideway::ui::state::State;
use tideway::ui::view::{Looks, View};
use tideway::ui::{Theme, draw, glyph, reducer};

/// How things look in these tests.
fn looks(glyphs: glyph::Glyphs) -> Looks {
    Looks {
        theme: Theme::load("default", ColorDepth::Rgb).unwrap(),
        glyphs,
        keymap: keymap::build(&BTreeMap::new()).unwrap(),
        is_read_only: false,
    }
}

/// A console without a terminal.
struct Console {
    state: State,
    looks: Looks,
}

impl Console {
    fn new(snapshot: Snapshot, size: (u16, u16)) -> Self {
        Self {
            state: State::new(Arc::new(snapshot), fixtures::now(), size),
            looks: looks(glyph::UNICODE),
        }
    }

    /// Presses keys, written with blanks in between.
    fn press(&mut self, keys: &str) -> Vec<Effect> {
        let mut effects = Vec::new();
        for text in keys.split_whitespace() {
            let key: Key = text.parse().unwrap();
            effects.extend(reducer::on_key(&mut self.state, key, &self.looks));
        }
        effects
    }

    fn buffer(&self) -> Buffer {
        let (columns, rows) = self.state.size;
        let mut buffer = Buffer::empty(Rect::new(0, 0, columns, rows));
        let view = View {
            state: &self.state,
            looks: &self.looks,
        };
        draw::draw(&view, &mut buffer);
        buffer
    }

    /// What is on screen, line by line, without blanks at the ends.
    fn text(&self) -> String {
        let buffer = self.buffer();
        let area = buffer.area;
        let mut out = String::new();
        for y in 0..area.height {
            let mut line = String::new();
            let mut skip = 0;
            for x in 0..area.width {
                let symbol = buffer[(x, y)].symbol();
                if skip > 0 {
                    skip -= 1;
                    continue;
                }
                skip = unicode_width::UnicodeWidthStr::width(symbol).saturating_sub(1);
                line.push_str(symbol);
            }
            out.push_str(line.trim_end());
            out.push('\n');
        }
        out
    }
}
