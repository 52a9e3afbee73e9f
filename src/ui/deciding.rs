//! A decision being made: what the operator has typed so far, and what a key does to it.
//!
//! Nothing is sent before what tells this event from any other was typed by hand: keys that were typed
//! ahead, a paste, or enter alone decide nothing.

use crossterm::event::KeyCode;
use tui_input::{Input, InputRequest};

use crate::control::{Command, LaterRowsFrom, Scope, Stop};
use crate::model::{Choice, Reach, Timestamp, TypedPlace};
use crate::model::{EventPlace, Place, Position};

use super::effect::Effect;
use super::keymap::Key;
use super::state::{Dialog, State};

/// Keys that come this soon after the dialog has opened were meant for something else.
pub(super) const DEAF: u64 = 300_000;
/// The most that a reason has.
const REASON_CHARS: usize = 200;

/// What the keys go to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// What confirms.
    Guard,
    /// Why.
    Reason,
    /// How later rows are read.
    LaterRows,
}

/// What must be typed to confirm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Guard {
    /// The last four digits of the event's position.
    Digits(String),
    /// The source's name.
    Name(String),
}

impl Guard {
    /// The text that confirms.
    pub fn text(&self) -> &str {
        match self {
            Self::Digits(text) | Self::Name(text) => text,
        }
    }
}

/// A decision being made.
#[derive(Clone, Debug)]
pub struct Deciding {
    /// What.
    pub choice: Choice,
    /// How far it reaches.
    pub reach: Reach,
    /// The stream.
    pub scope: Scope,
    /// The stop, as it was when the dialog opened.
    pub stop: Box<Stop>,
    /// What must be typed.
    pub guard: Guard,
    /// What was typed of it.
    pub typed: Input,
    /// Why.
    pub reason: Input,
    /// What the keys go to.
    pub field: Field,
    /// Whether enter was pressed before the guard was right.
    pub is_hasty: bool,
    opened_at: Timestamp,
}

impl Deciding {
    /// Whether what was typed confirms.
    pub fn is_confirmed(&self) -> bool {
        self.typed.value() == self.guard.text()
    }

    /// The event, as `--at` takes it.
    pub fn place(&self) -> Option<TypedPlace> {
        let position = self.stop.position.as_ref()?;
        let place = EventPlace {
            place: Place::new(
                position.folder.clone(),
                Position::new(position.file.clone(), position.offset),
            ),
            inner: position.inner,
            row: position.row,
        };
        Some(TypedPlace::from(&place))
    }

    fn command(&self, later_rows: Option<LaterRowsFrom>) -> Option<Command> {
        Some(Command::Decide {
            scope: self.scope.clone(),
            choice: self.choice,
            reach: self.reach,
            at: self.place()?,
            stop_id: Some(self.stop.stop_id.clone()),
            later_rows,
            reason: self.reason.value().trim().to_owned(),
        })
    }

    fn asks_later_rows(&self) -> bool {
        self.choice == Choice::Skip && self.reach != Reach::Row && self.stop.changes_structure()
    }
}

/// Opens the dialog for a choice at the selected stream's stop; the text says why it does not open.
pub fn open(state: &mut State, choice: Choice, reach: Reach) -> Result<(), &'static str> {
    let Some(stream) = state.stream() else {
        return Err("no stream is selected");
    };
    let Some(stop) = &stream.stop else {
        return Err("this stream does not stand at an event: there is nothing to decide");
    };
    let Some(position) = &stop.position else {
        return Err("what stopped it is not an event: mend the cause, then retry");
    };
    let name = crate::control::choice_name(choice, reach);
    if !stop.choices.contains(&name) {
        return Err("this is no choice for this event");
    }
    let guard = match (choice, reach) {
        (Choice::Skip, Reach::Transaction) => Guard::Name(stream.source.clone()),
        _ => Guard::Digits(format!("{:04}", position.offset % 10_000)),
    };
    let deciding = Deciding {
        choice,
        reach,
        scope: Scope {
            task: Some(stream.task.clone()),
            source: Some(stream.source.clone()),
            relay: false,
        },
        stop: Box::new(stop.clone()),
        guard,
        typed: Input::default(),
        reason: Input::default(),
        field: Field::Guard,
        is_hasty: false,
        opened_at: state.now,
    };
    state.deciding = Some(deciding);
    state.dialog = Some(Dialog::Decide);
    Ok(())
}

/// Closes the dialog if the stream no longer stands at the stop it is about; whether it did.
pub fn close_if_gone(state: &mut State) -> bool {
    let Some(deciding) = &state.deciding else {
        return false;
    };
    let still_stands = state.newest.streams.iter().any(|stream| {
        Some(&stream.task) == deciding.scope.task.as_ref()
            && Some(&stream.source) == deciding.scope.source.as_ref()
            && stream
                .stop
                .as_ref()
                .is_some_and(|stop| stop.stop_id == deciding.stop.stop_id)
    });
    if !still_stands {
        close(state);
    }
    !still_stands
}

fn close(state: &mut State) {
    state.deciding = None;
    state.dialog = None;
}

/// Takes in a key.
pub fn on_key(state: &mut State, key: Key) -> Vec<Effect> {
    let now = state.now;
    let Some(deciding) = &mut state.deciding else {
        state.dialog = None;
        return Vec::new();
    };
    let is_plain = !key.is_ctrl() && !key.is_alt();
    if key.code() == KeyCode::Esc || (key.is_ctrl() && key.code() == KeyCode::Char('c')) {
        close(state);
        return Vec::new();
    }
    if now.0.saturating_sub(deciding.opened_at.0) < DEAF {
        return Vec::new();
    }
    match (deciding.field, key.code()) {
        (Field::LaterRows, KeyCode::Char(c)) if is_plain => {
            let from = match c {
                's' => LaterRowsFrom::Source,
                'd' => LaterRowsFrom::Target,
                'k' => LaterRowsFrom::Keep,
                _ => return Vec::new(),
            };
            return send(state, Some(from));
        }
        (Field::LaterRows, _) => {}
        (field, KeyCode::Tab | KeyCode::BackTab) => {
            deciding.field = match field {
                Field::Guard => Field::Reason,
                _ => Field::Guard,
            };
        }
        (_, KeyCode::Enter) if !deciding.is_confirmed() => {
            deciding.is_hasty = true;
            deciding.field = Field::Guard;
        }
        (_, KeyCode::Enter) if deciding.asks_later_rows() => {
            deciding.field = Field::LaterRows;
            // Nor is the answer to this one typed ahead.
            deciding.opened_at = now;
        }
        (_, KeyCode::Enter) => return send(state, None),
        (Field::Guard, code) => {
            let most = deciding.guard.text().chars().count();
            edit(&mut deciding.typed, key, code, most);
        }
        (Field::Reason, code) => edit(&mut deciding.reason, key, code, REASON_CHARS),
    }
    Vec::new()
}

fn edit(input: &mut Input, key: Key, code: KeyCode, most: usize) {
    let request = match code {
        KeyCode::Char('u') if key.is_ctrl() => InputRequest::DeleteLine,
        KeyCode::Char(c) if !key.is_ctrl() && !key.is_alt() => {
            if input.value().chars().count() >= most {
                return;
            }
            InputRequest::InsertChar(c)
        }
        KeyCode::Backspace => InputRequest::DeletePrevChar,
        KeyCode::Delete => InputRequest::DeleteNextChar,
        KeyCode::Left => InputRequest::GoToPrevChar,
        KeyCode::Right => InputRequest::GoToNextChar,
        KeyCode::Home => InputRequest::GoToStart,
        KeyCode::End => InputRequest::GoToEnd,
        _ => return,
    };
    input.handle(request);
}

/// Takes in a pasted text: into the reason alone, never into what confirms.
pub fn on_paste(state: &mut State, text: &str) {
    if let Some(deciding) = &mut state.deciding
        && deciding.field == Field::Reason
    {
        let room = REASON_CHARS.saturating_sub(deciding.reason.value().chars().count());
        for c in text.chars().filter(|c| !c.is_control()).take(room) {
            deciding.reason.handle(InputRequest::InsertChar(c));
        }
    }
}

fn send(state: &mut State, later_rows: Option<LaterRowsFrom>) -> Vec<Effect> {
    let command = state
        .deciding
        .as_ref()
        .and_then(|deciding| deciding.command(later_rows));
    close(state);
    let Some(command) = command else {
        return Vec::new();
    };
    state.pending += 1;
    state.message = None;
    vec![Effect::Send(command)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guard_is_typed_whole() {
        let guard = Guard::Digits("0042".into());
        let mut input = Input::default();
        for c in "00425".chars() {
            let key: Key = c.to_string().parse().unwrap();
            edit(&mut input, key, key.code(), guard.text().len());
        }
        assert_eq!(input.value(), "0042");
    }
}
