//! What every drawing function gets: the state, and how things look.

use ratatui::style::Style;
use ratatui::text::Span;

use crate::model::Stage;

use super::format;
use super::glyph::Glyphs;
use super::keymap::Keymap;
use super::state::State;
use super::theme::{Role, Theme};

/// How things look and which keys there are; does not change while the console runs.
#[derive(Clone, Debug)]
pub struct Looks {
    /// The styles.
    pub theme: Theme,
    /// The glyphs.
    pub glyphs: Glyphs,
    /// The keys.
    pub keymap: Keymap,
    /// Whether changing commands are refused by the console's own setting.
    pub is_read_only: bool,
}

/// The state, seen in one way.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// The state.
    pub state: &'a State,
    /// The looks.
    pub looks: &'a Looks,
}

impl View<'_> {
    /// The style for `role`.
    pub fn style(&self, role: Role) -> Style {
        self.looks.theme.style(role)
    }

    /// Our own `text` in the style of `role`.
    pub fn span(&self, role: Role, text: impl Into<String>) -> Span<'static> {
        Span::styled(text.into(), self.style(role))
    }

    /// Plain text from elsewhere, made harmless.
    pub fn foreign(&self, role: Role, text: &str) -> Span<'static> {
        Span::styled(format::clean(text).into_owned(), self.style(role))
    }

    /// A label of nine columns.
    pub fn label(&self, text: &str) -> Span<'static> {
        self.span(Role::Dim, format!("{text:<9}"))
    }

    /// The mark of a cut text.
    pub fn cut(&self) -> &'static str {
        self.looks.glyphs.cut
    }

    /// The role of a stage's word.
    pub fn stage_role(stage: Stage) -> Role {
        match stage {
            Stage::Waiting => Role::StateWait,
            Stage::Running => Role::StateRun,
            Stage::Pausing | Stage::Paused => Role::StatePaused,
            Stage::Failed => Role::StateFailed,
            Stage::Finished => Role::StateDone,
            Stage::Stopped => Role::StateStopped,
        }
    }

    /// Whether commands that change something are refused, by the console or by the worker.
    pub fn is_read_only(&self) -> bool {
        self.looks.is_read_only || self.state.shown.read_only
    }
}
