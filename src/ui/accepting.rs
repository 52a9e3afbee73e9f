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
    /// Whether something else is found than when it was opened.
    pub has_changed: bool,
    /// Since when this is what is shown.
    shown_at: Timestamp,
}

impl Accepting {
    /// Whether what was typed confirms.
    pub fn is_confirmed(&self) -> bool {
        let guard = self.guard.as_deref();
        guard.is_some_and(|guard| self.typed.value() == guard)
    }

    /// Takes over what is found now; where that is something else, it is to be read, and answered, anew.
    fn take_over(&mut self, findings: &[Finding], now: Timestamp) {
        if !Finding::are_alike(&self.findings, findings) {
            self.guard = guard(&self.scope, findings);
            self.typed = Input::default();
            self.is_hasty = false;
            self.has_changed = true;
            self.shown_at = now;
        }
        findings.clone_into(&mut self.findings);
    }

    fn command(self) -> Command {
        let names = self.findings.iter().map(|one| one.name.clone());
        let mut names: Vec<String> = names.collect();
        names.sort_unstable();
        names.dedup();
        Command::Accept {
            scope: self.scope,
            names,
            findings: self.findings,
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
    let scope = Scope {
        task: Some(stream.task.clone()),
        source: Some(stream.source.clone()),
        relay: false,
    };
    let accepting = Accepting {
        guard: guard(&scope, &stop.findings),
        scope,
        findings: stop.findings.clone(),
        typed: Input::default(),
        is_hasty: false,
        has_changed: false,
        shown_at: state.now,
    };
    state.accepting = Some(accepting);
    state.dialog = Some(Dialog::Accept);
    Ok(())
}

/// What must be typed: failures are accepted by the source's name.
fn guard(scope: &Scope, findings: &[Finding]) -> Option<String> {
    let mut findings = findings.iter();
    let has_failures = findings.any(|finding| finding.state == CheckState::Fail);
    scope.source.clone().filter(|_| has_failures)
}

/// Follows what the checks find, which are run again meanwhile; closes the question if they keep the
/// stream from beginning no longer, and says whether it did.
pub fn follow(state: &mut State) -> bool {
    let Some(accepting) = &mut state.accepting else {
        return false;
    };
    let found = state.newest.streams.iter().find_map(|stream| {
        let is_it = Some(&stream.task) == accepting.scope.task.as_ref()
            && Some(&stream.source) == accepting.scope.source.as_ref();
        let stop = stream.stop.as_ref().filter(|_| is_it)?;
        Some(&stop.findings).filter(|findings| !findings.is_empty())
    });
    if let Some(findings) = found {
        accepting.take_over(findings, state.now);
        return false;
    }
    close(state);
    true
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
    if now.0.saturating_sub(accepting.shown_at.0) < DEAF || key.is_alt() {
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
