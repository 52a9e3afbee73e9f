//! The journal on screen: what was asked and decided, newest first, and applying later what was left out.

use crossterm::event::KeyCode;
use tui_input::{Input, InputRequest};

use crate::control::{Answer, Command, JournalEntry, Query, Scope};
use crate::model::Timestamp;

use super::effect::Effect;
use super::keymap::Key;
use super::state::{Dialog, State};

/// How many entries are asked for.
const PAGE: usize = 200;
/// Keys that come this soon after the question were meant for something else.
const DEAF: u64 = 300_000;
/// How many characters of the decision's name confirm.
const GUARD: usize = 4;

/// The journal, open.
#[derive(Clone, Debug, Default)]
pub struct JournalPane {
    /// The entries, newest first; `None`: not there yet.
    pub entries: Option<Vec<JournalEntry>>,
    /// How many there are in all.
    pub total: usize,
    /// Why they could not be read.
    pub failed: Option<String>,
    /// The selected one.
    pub at: usize,
    /// What is typed to have it applied.
    pub typed: Option<Input>,
    asked_at: Timestamp,
}

impl JournalPane {
    /// The selected entry.
    pub fn selected(&self) -> Option<&JournalEntry> {
        self.entries.as_ref()?.get(self.at)
    }

    /// What must be typed to have the selected entry's changes applied.
    pub fn guard(&self) -> Option<String> {
        let id = &self.selected()?.id;
        let skip = id.chars().count().saturating_sub(GUARD);
        Some(id.chars().skip(skip).collect())
    }
}

/// Opens the journal.
pub fn open(state: &mut State) -> Vec<Effect> {
    state.journal = Some(JournalPane::default());
    state.dialog = Some(Dialog::Journal);
    vec![ask()]
}

fn ask() -> Effect {
    Effect::Ask(Query::Journal {
        skip: 0,
        limit: PAGE,
    })
}

/// Takes in the answer to the question for the entries.
pub fn on_answer(state: &mut State, answer: Answer) {
    let Some(pane) = &mut state.journal else {
        return;
    };
    match answer {
        Answer::Journal { entries, total } => {
            pane.at = pane.at.min(entries.len().saturating_sub(1));
            pane.entries = Some(entries);
            pane.total = total;
            pane.failed = None;
        }
        Answer::Failed { message } => pane.failed = Some(message),
        Answer::Tables { .. } => {}
    }
}

/// Takes in a key.
pub fn on_key(state: &mut State, key: Key, is_read_only: bool) -> Vec<Effect> {
    let now = state.now;
    let Some(pane) = &mut state.journal else {
        state.dialog = None;
        return Vec::new();
    };
    let is_out = key.code() == KeyCode::Esc || (key.is_ctrl() && key.code() == KeyCode::Char('c'));
    if pane.typed.is_some() {
        if is_out {
            pane.typed = None;
            return Vec::new();
        }
        return on_typing(state, key);
    }
    let last = pane
        .entries
        .as_ref()
        .map_or(0, |entries| entries.len().saturating_sub(1));
    match key.code() {
        _ if is_out => close(state),
        KeyCode::Char('q' | 'J') => close(state),
        KeyCode::Char('k') | KeyCode::Up => pane.at = pane.at.saturating_sub(1),
        KeyCode::Char('j') | KeyCode::Down => pane.at = (pane.at + 1).min(last),
        KeyCode::Char('g') | KeyCode::Home => pane.at = 0,
        KeyCode::Char('G') | KeyCode::End => pane.at = last,
        KeyCode::PageUp => pane.at = pane.at.saturating_sub(10),
        KeyCode::PageDown => pane.at = (pane.at + 10).min(last),
        KeyCode::Char('r') => return vec![ask()],
        KeyCode::Char('a') => {
            let can = pane
                .selected()
                .is_some_and(|entry| entry.skipped > 0 && !entry.reapplied);
            if can && !is_read_only {
                pane.typed = Some(Input::default());
                pane.asked_at = now;
            } else {
                let text = if is_read_only {
                    "refused: read-only"
                } else {
                    "this entry left nothing out that could be applied"
                };
                super::reducer::say(state, text, true, now);
            }
        }
        _ => {}
    }
    Vec::new()
}

fn on_typing(state: &mut State, key: Key) -> Vec<Effect> {
    let now = state.now;
    let Some(pane) = &mut state.journal else {
        return Vec::new();
    };
    if now.0.saturating_sub(pane.asked_at.0) < DEAF {
        return Vec::new();
    }
    let guard = pane.guard();
    let entry = pane.selected().cloned();
    let Some(input) = &mut pane.typed else {
        return Vec::new();
    };
    match key.code() {
        KeyCode::Enter if Some(input.value()) == guard.as_deref() => {
            pane.typed = None;
            let Some(JournalEntry {
                id,
                decision: Some(decision),
                ..
            }) = entry
            else {
                return Vec::new();
            };
            state.pending += 1;
            state.message = None;
            let scope = Scope {
                task: Some(decision.task),
                source: Some(decision.source),
                relay: false,
            };
            return vec![Effect::Send(Command::Reapply { scope, id })];
        }
        KeyCode::Char(c)
            if !key.is_ctrl() && !key.is_alt() && input.value().chars().count() < GUARD =>
        {
            input.handle(InputRequest::InsertChar(c));
        }
        KeyCode::Backspace => {
            input.handle(InputRequest::DeletePrevChar);
        }
        _ => {}
    }
    Vec::new()
}

fn close(state: &mut State) {
    state.journal = None;
    state.dialog = None;
}

/// What to ask again once a command was answered: the journal has a line more.
pub fn after_reply(state: &State) -> Vec<Effect> {
    match state.journal {
        Some(_) => vec![ask()],
        None => Vec::new(),
    }
}
