//! What the checks found before a stream's start, being accepted: warnings by a second key, failures by
//! the source's name typed by hand.

use crossterm::event::KeyCode;
use tui_input::{Input, InputRequest};

use crate::control::{CheckState, Command, Finding, Scope};
use crate::model::Timestamp;

use super::deciding::DEAF;
use super::effect::Effect;
use super::keymap::Key;
use super::state::{Dialog, State};

/// The question.
#[derive(Clone, Debug)]
pub struct Accepting {
    /// The stream.
    pub scope: Scope,
    /// What was found, failures first.
    pub findings: Vec<Finding>,
    /// What must be typed where failures are among it: the source's name.
    pub guard: Option<String>,
    /// What was typed of it.
    pub typed: Input,
    /// Whether enter was pressed before it was right.
    pub is_hasty: bool,
    stop_id: String,
    opened_at: Timestamp,
}

impl Accepting {
    /// Whether what was typed confirms.
    pub fn is_confirmed(&self) -> bool {
        let guard = self.guard.as_deref();
        guard.is_some_and(|guard| self.typed.value() == guard)
    }

    fn command(self) -> Command {
        let mut names: Vec<String> = self.findings.into_iter().map(|one| one.name).collect();
        names.sort_unstable();
        names.dedup();
        Command::Accept {
            scope: self.scope,
            names,
            findings: Vec::new(),
            reason: String::new(),
        }
    }
}

/// Opens the question for the selected stream; the text says why it does not open.
pub fn open(state: &mut State) -> Result<(), &'static str> {
    let Some(stream) = state.stream() else {
        return Err("no stream is selected");
    };
    let Some(stop) = stream.stop.as_ref().filter(|s| !s.findings.is_empty()) else {
        return Err("the checks keep this stream from nothing: there is nothing to accept");
    };
    let has_failures = stop
        .findings
        .iter()
        .any(|finding| finding.state == CheckState::Fail);
    let accepting = Accepting {
        scope: Scope {
            task: Some(stream.task.clone()),
            source: Some(stream.source.clone()),
            relay: false,
        },
        findings: stop.findings.clone(),
        guard: has_failures.then(|| stream.source.clone()),
        typed: Input::default(),
        is_hasty: false,
        stop_id: stop.stop_id.clone(),
        opened_at: state.now,
    };
    state.accepting = Some(accepting);
    state.dialog = Some(Dialog::Accept);
    Ok(())
}

/// Closes the question if the stream no longer stands at it; whether it did.
pub fn close_if_gone(state: &mut State) -> bool {
    let Some(accepting) = &state.accepting else {
        return false;
    };
    let still_stands = state.newest.streams.iter().any(|stream| {
        Some(&stream.task) == accepting.scope.task.as_ref()
            && Some(&stream.source) == accepting.scope.source.as_ref()
            && stream.stop.as_ref().is_some_and(|stop| {
                stop.stop_id == accepting.stop_id && stop.findings == accepting.findings
            })
    });
    if !still_stands {
        close(state);
    }
    !still_stands
}

fn close(state: &mut State) {
    state.accepting = None;
    state.dialog = None;
}

/// Takes in a key.
pub fn on_key(state: &mut State, key: Key) -> Vec<Effect> {
    let now = state.now;
    let Some(accepting) = &mut state.accepting else {
        state.dialog = None;
        return Vec::new();
    };
    if key.code() == KeyCode::Esc || (key.is_ctrl() && key.code() == KeyCode::Char('c')) {
        close(state);
        return Vec::new();
    }
    if now.0.saturating_sub(accepting.opened_at.0) < DEAF || key.is_alt() {
        return Vec::new();
    }
    let most = accepting.guard.as_ref().map(|guard| guard.chars().count());
    let request = match (most, key.code()) {
        (None, KeyCode::Char('a')) if !key.is_ctrl() => return send(state),
        (Some(_), KeyCode::Enter) if accepting.is_confirmed() => return send(state),
        (Some(_), KeyCode::Enter) => {
            accepting.is_hasty = true;
            return Vec::new();
        }
        (Some(_), KeyCode::Char('u')) if key.is_ctrl() => InputRequest::DeleteLine,
        (Some(most), KeyCode::Char(c))
            if !key.is_ctrl() && accepting.typed.value().chars().count() < most =>
        {
            InputRequest::InsertChar(c)
        }
        (Some(_), KeyCode::Backspace) => InputRequest::DeletePrevChar,
        _ => return Vec::new(),
    };
    accepting.typed.handle(request);
    Vec::new()
}

fn send(state: &mut State) -> Vec<Effect> {
    let command = state.accepting.take().map(Accepting::command);
    close(state);
    let Some(command) = command else {
        return Vec::new();
    };
    state.pending += 1;
    state.message = None;
    vec![Effect::Send(command)]
}
