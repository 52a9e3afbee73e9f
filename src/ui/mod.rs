//! The console: turns snapshots and keys into frames and commands. Runs on a thread of its own, so
//! that no load on the runtime delays a key and no stuck terminal delays a row.
//!
//! Knows `control` and `model`, its own settings, and `terminal`. Everything on screen comes from the
//! [`Snapshot`](crate::control::Snapshot); it computes no rates and waits for nobody.
//!
//! ```text
//! key ──▶ keymap ──▶ reducer(state) ──▶ effects ──▶ commands, clipboard
//! snapshot, clock ──▶ reducer(state)
//! state ──▶ screens: panes of lines ──▶ draw ──▶ buffer ──▶ difference ──▶ one write
//! ```

pub mod accepting;
pub mod action;
pub mod deciding;
pub mod dialog;
pub mod draw;
pub mod effect;
pub mod format;
pub mod glyph;
pub mod journal;
pub mod keymap;
pub mod layout;
pub mod options;
pub mod reducer;
pub mod run;
pub mod screen;
pub mod state;
pub mod theme;
pub mod view;
pub mod widget;

pub use keymap::Keymap;
pub use options::Options;
pub use run::{Ended, run};
pub use theme::Theme;
