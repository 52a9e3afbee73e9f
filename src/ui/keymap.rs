//! Which key does what: the defaults of the action table, with the bindings of `[console.keys]`.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::action::{Action, Entry, Place, Screen, TABLE};

/// A key as it is typed, with ctrl or alt or neither.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    code: KeyCode,
    modifiers: KeyModifiers,
}

/// Keys that have a name.
const NAMED: [(&str, KeyCode); 16] = [
    ("enter", KeyCode::Enter),
    ("esc", KeyCode::Esc),
    ("tab", KeyCode::Tab),
    ("shift-tab", KeyCode::BackTab),
    ("space", KeyCode::Char(' ')),
    ("backspace", KeyCode::Backspace),
    ("delete", KeyCode::Delete),
    ("insert", KeyCode::Insert),
    ("up", KeyCode::Up),
    ("down", KeyCode::Down),
    ("left", KeyCode::Left),
    ("right", KeyCode::Right),
    ("home", KeyCode::Home),
    ("end", KeyCode::End),
    ("pageup", KeyCode::PageUp),
    ("pagedown", KeyCode::PageDown),
];

impl Key {
    /// The key of an event; `None` for a release.
    pub fn of(event: KeyEvent) -> Option<Self> {
        if event.kind == KeyEventKind::Release {
            return None;
        }
        let modifiers = event.modifiers & (KeyModifiers::CONTROL | KeyModifiers::ALT);
        let code = match event.code {
            // Some terminals tell shift-tab as tab with shift.
            KeyCode::Tab if event.modifiers.contains(KeyModifiers::SHIFT) => KeyCode::BackTab,
            KeyCode::Char(c) if modifiers.contains(KeyModifiers::CONTROL) => {
                KeyCode::Char(c.to_ascii_lowercase())
            }
            code => code,
        };
        Some(Self { code, modifiers })
    }

    /// Its code.
    pub fn code(self) -> KeyCode {
        self.code
    }

    /// Whether ctrl is held.
    pub fn is_ctrl(self) -> bool {
        self.modifiers.contains(KeyModifiers::CONTROL)
    }

    /// Whether alt is held.
    pub fn is_alt(self) -> bool {
        self.modifiers.contains(KeyModifiers::ALT)
    }
}

impl FromStr for Key {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "`{text}` is not a key; write a character, `ctrl-x`, `alt-x`, `f1` to `f12`, or \
                 one of {}",
                NAMED.map(|(name, _)| format!("`{name}`")).join(", ")
            )
        };
        let mut modifiers = KeyModifiers::NONE;
        let mut rest = text;
        loop {
            if let Some(after) = rest.strip_prefix("ctrl-").filter(|after| !after.is_empty()) {
                modifiers |= KeyModifiers::CONTROL;
                rest = after;
            } else if let Some(after) = rest.strip_prefix("alt-").filter(|after| !after.is_empty())
            {
                modifiers |= KeyModifiers::ALT;
                rest = after;
            } else {
                break;
            }
        }
        let mut characters = rest.chars();
        let code = match (characters.next(), characters.next()) {
            (Some(c), None) if !c.is_control() && c != ' ' => {
                if modifiers.contains(KeyModifiers::CONTROL) {
                    KeyCode::Char(c.to_ascii_lowercase())
                } else {
                    KeyCode::Char(c)
                }
            }
            _ => match NAMED.iter().find(|(name, _)| *name == rest) {
                Some((_, code)) => *code,
                None => rest
                    .strip_prefix('f')
                    .and_then(|number| number.parse::<u8>().ok())
                    .filter(|number| (1..=12).contains(number))
                    .map(KeyCode::F)
                    .ok_or_else(wrong)?,
            },
        };
        Ok(Self { code, modifiers })
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_ctrl() {
            f.write_str("ctrl-")?;
        }
        if self.is_alt() {
            f.write_str("alt-")?;
        }
        if let Some((name, _)) = NAMED.iter().find(|(_, code)| *code == self.code) {
            return f.write_str(name);
        }
        match self.code {
            KeyCode::Char(c) => write!(f, "{c}"),
            KeyCode::F(number) => write!(f, "f{number}"),
            _ => f.write_str("?"),
        }
    }
}

/// The keys in force. Holds each entry of the table with its keys, in the table's order.
#[derive(Clone, Debug)]
pub struct Keymap {
    bound: Vec<(&'static Entry, Vec<Key>)>,
}

/// The keys in force with `overrides` (action to key) over the defaults; all that is wrong with them
/// otherwise.
pub fn build(overrides: &BTreeMap<String, String>) -> Result<Keymap, Vec<String>> {
    let mut problems = Vec::new();
    for name in overrides.keys() {
        if !TABLE.iter().any(|entry| entry.name == name) {
            problems.push(unknown(name));
        }
    }
    let mut bound = Vec::with_capacity(TABLE.len());
    for entry in TABLE {
        let mut texts: Vec<&str> = entry.keys.to_vec();
        if let Some(text) = overrides.get(entry.name)
            && let Some(first) = texts.first_mut()
        {
            *first = text;
        }
        let mut keys = Vec::with_capacity(texts.len());
        for text in texts {
            match text.parse::<Key>() {
                Ok(key) if key.is_ctrl() && key.code() == KeyCode::Char('z') => {
                    problems.push(format!(
                        "`console.keys.{}`: `ctrl-z` cannot be bound: elsewhere it suspends the \
                         program, which here would halt the migration",
                        entry.name
                    ));
                }
                Ok(key) if keys.contains(&key) => {}
                Ok(key) => keys.push(key),
                Err(problem) => {
                    problems.push(format!("`console.keys.{}`: {problem}", entry.name));
                }
            }
        }
        bound.push((entry, keys));
    }
    let keymap = Keymap { bound };
    problems.extend(keymap.clashes());
    if problems.is_empty() {
        Ok(keymap)
    } else {
        Err(problems)
    }
}

/// What to say of an action that is not there.
fn unknown(name: &str) -> String {
    let nearest = TABLE
        .iter()
        .map(|entry| (strsim::damerau_levenshtein(name, entry.name), entry.name))
        .min();
    match nearest {
        Some((distance, nearest)) if distance <= 3 => {
            format!("`console.keys.{name}`: there is no such action; did you mean `{nearest}`?")
        }
        _ => {
            let names: Vec<_> = TABLE.iter().map(|entry| entry.name).collect();
            format!(
                "`console.keys.{name}`: there is no such action; there are {}",
                names.join(", ")
            )
        }
    }
}

impl Keymap {
    /// What `key` does on `screen`.
    pub fn on_screen(&self, screen: Screen, key: Key) -> Option<&'static Entry> {
        self.bound
            .iter()
            .find(|(entry, keys)| entry.place.covers(screen) && keys.contains(&key))
            .map(|(entry, _)| *entry)
    }

    /// What `key` does in the dialog that asks before leaving: its own keys, then the common ones.
    pub fn when_leaving(&self, key: Key) -> Option<&'static Entry> {
        let at = |place: Place| {
            self.bound
                .iter()
                .find(|(entry, keys)| entry.place == place && keys.contains(&key))
                .map(|(entry, _)| *entry)
        };
        at(Place::Leaving).or_else(|| at(Place::Everywhere))
    }

    /// The first key of `action`, as text.
    pub fn key(&self, action: Action) -> String {
        self.bound
            .iter()
            .find(|(entry, _)| entry.action == action)
            .and_then(|(_, keys)| keys.first())
            .map(Key::to_string)
            .unwrap_or_default()
    }

    /// Each entry with its keys as text, in the table's order.
    pub fn entries(&self) -> impl Iterator<Item = (&'static Entry, String)> + '_ {
        self.bound.iter().map(|(entry, keys)| {
            let keys: Vec<_> = keys.iter().map(Key::to_string).collect();
            (*entry, keys.join(" "))
        })
    }

    /// The keys that do two things in one place.
    fn clashes(&self) -> Vec<String> {
        let mut found = Vec::new();
        for (at, (entry, keys)) in self.bound.iter().enumerate() {
            for (other, other_keys) in self.bound.iter().skip(at + 1) {
                let meet = Screen::ALL
                    .iter()
                    .any(|screen| entry.place.covers(*screen) && other.place.covers(*screen))
                    // The dialog knows esc and the common keys too.
                    || (entry.place == Place::Leaving && other.action == Action::Back);
                if !meet {
                    continue;
                }
                for key in keys.iter().filter(|key| other_keys.contains(key)) {
                    found.push(format!(
                        "`console.keys`: `{key}` would be both `{}` and `{}`; bind one of them to \
                         another key",
                        entry.name, other.name
                    ));
                }
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(pairs: &[(&str, &str)]) -> Result<Keymap, Vec<String>> {
        build(
            &pairs
                .iter()
                .map(|(name, key)| ((*name).to_owned(), (*key).to_owned()))
                .collect(),
        )
    }

    #[test]
    fn defaults_have_no_clash() {
        let keymap = with(&[]).unwrap();
        let r: Key = "r".parse().unwrap();
        let action = |screen| keymap.on_screen(screen, r).map(|entry| entry.action);
        assert_eq!(action(Screen::Events), Some(Action::Retry));
        assert_eq!(action(Screen::Grants), Some(Action::Check));
        assert_eq!(action(Screen::Log), None);
    }

    #[test]
    fn faults_are_told() {
        assert!(with(&[("puase", "x")]).unwrap_err()[0].contains("did you mean `pause`"));
        assert!(with(&[("pause", "ctrl-")]).unwrap_err()[0].contains("not a key"));
        assert!(with(&[("pause", "r")]).unwrap_err()[0].contains("both `retry` and `pause`"));
        assert!(with(&[("pause", "ctrl-z")]).unwrap_err()[0].contains("cannot be bound"));
        // All at once.
        assert_eq!(with(&[("puase", "x"), ("copy", "")]).unwrap_err().len(), 2);
    }

    #[test]
    fn a_binding_takes_the_first_key_only() {
        let keymap = with(&[("up", "ctrl-p")]).unwrap();
        let up = |text: &str| {
            keymap
                .on_screen(Screen::Log, text.parse().unwrap())
                .map(|entry| entry.action)
        };
        assert_eq!(up("ctrl-p"), Some(Action::Up));
        assert_eq!(up("up"), Some(Action::Up));
        assert_eq!(up("k"), None);
    }

    #[test]
    fn keys_read_back() {
        for text in [
            "ctrl-u",
            "G",
            "space",
            "shift-tab",
            "f12",
            "alt-x",
            "!",
            "-",
        ] {
            assert_eq!(text.parse::<Key>().unwrap().to_string(), text);
        }
    }
}
