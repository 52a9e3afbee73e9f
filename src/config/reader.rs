//! A TOML document read section by section, with every problem kept with its place.
//!
//! The values asked for are checked as they are read; a faulty one is noted and its default given, so
//! that one run finds all the problems. Nothing that could be a secret goes into a message.

use std::cell::RefCell;
use std::ops::{Range, RangeInclusive};
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::{ConfigErrors, Problem};
use super::keys;
use super::quantity::{parse_duration, parse_size, show_size};

/// The problems found so far in one file.
pub(super) struct Problems<'a> {
    file: &'a Path,
    text: &'a str,
    list: RefCell<Vec<Problem>>,
    reads_secrets: bool,
}

impl<'a> Problems<'a> {
    pub(super) fn new(file: &'a Path, text: &'a str) -> Self {
        Self {
            file,
            text,
            list: RefCell::new(Vec::new()),
            reads_secrets: true,
        }
    }

    /// The same, with passwords left where they are.
    pub(super) fn without_secrets(self) -> Self {
        Self {
            reads_secrets: false,
            ..self
        }
    }

    /// Notes a problem at a place in the text.
    pub(super) fn add(
        &self,
        at: &Range<usize>,
        key: impl Into<String>,
        message: impl Into<String>,
        nearest: Option<&str>,
        fix: Option<String>,
    ) {
        self.list.borrow_mut().push(Problem {
            file: self.file.to_owned(),
            place: Some(self.line_and_column(at.start)),
            key: key.into(),
            message: message.into(),
            nearest: nearest.map(str::to_owned),
            fix,
        });
    }

    /// The problems, in the file's order.
    pub(super) fn into_errors(self) -> ConfigErrors {
        ConfigErrors::new(self.list.into_inner())
    }

    /// Whether there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.list.borrow().is_empty()
    }

    fn line_and_column(&self, offset: usize) -> (usize, usize) {
        let before = self.text.get(..offset).unwrap_or(self.text);
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        let line = before.matches('\n').count() + 1;
        let column = before[line_start..].chars().count() + 1;
        (line, column)
    }
}

/// A value with the place it was read from; read again for problems that show only later.
#[derive(Clone, Debug)]
pub(super) struct Located<T> {
    pub(super) value: T,
    pub(super) at: Range<usize>,
    pub(super) key: String,
}

/// A table of the document.
#[derive(Clone)]
pub(super) struct Section<'a> {
    table: &'a DeTable<'a>,
    at: Range<usize>,
    path: String,
    problems: &'a Problems<'a>,
}

impl<'a> Section<'a> {
    /// Whether passwords are to be read from their files and variables.
    pub(super) fn reads_secrets(&self) -> bool {
        self.problems.reads_secrets
    }

    /// The whole document.
    pub(super) fn root(document: &'a Spanned<DeTable<'a>>, problems: &'a Problems<'a>) -> Self {
        Self::new(document.get_ref(), document.span(), String::new(), problems)
    }

    fn new(
        table: &'a DeTable<'a>,
        at: Range<usize>,
        path: String,
        problems: &'a Problems<'a>,
    ) -> Self {
        let section = Self {
            table,
            at,
            path,
            problems,
        };
        section.refuse_unknown_keys();
        section
    }

    fn refuse_unknown_keys(&self) {
        let Some(known) = keys::known(&self.path) else {
            return;
        };
        for key in self.table.keys() {
            let name: &str = key.get_ref();
            if known.contains(&name) {
                continue;
            }
            let nearest = keys::nearest(name, known.iter().copied());
            let home = keys::homes(name).find(|home| *home != self.path && !home.is_empty());
            let fix = match (nearest, home) {
                (None, Some(home)) => Some(format!("it belongs in `{}`", keys::header(home))),
                (None, None) => Some(format!("take it out; known here: {}", list(known))),
                _ => None,
            };
            self.problems.add(
                &key.span(),
                self.key(name),
                if self.path.is_empty() {
                    format!("unknown key `{name}`")
                } else {
                    format!("unknown key `{name}` in `{}`", keys::header(&self.path))
                },
                nearest,
                fix,
            );
        }
    }

    /// The path of one of its keys.
    pub(super) fn key(&self, key: &str) -> String {
        if self.path.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.path)
        }
    }

    /// Whether `key` is there.
    pub(super) fn has(&self, key: &str) -> bool {
        self.find(key).is_some()
    }

    /// Notes that `key` is missing, unless one stands there that is misspelt: that is told already.
    pub(super) fn missing(&self, key: &str, fix: impl Into<String>) {
        let known = keys::known(&self.path).unwrap_or_default();
        let is_misspelt = self.table.keys().any(|written| {
            let name: &str = written.get_ref();
            !known.contains(&name) && keys::nearest(name, known.iter().copied()) == Some(key)
        });
        if !is_misspelt {
            self.fault(format!("`{}` is missing", self.key(key)), Some(fix.into()));
        }
    }

    /// Notes a problem of the section itself, at its head.
    pub(super) fn fault(&self, message: impl Into<String>, fix: Option<String>) {
        self.problems
            .add(&self.at, self.path.clone(), message, None, fix);
    }

    /// Notes a problem of one key, at its value.
    pub(super) fn fault_at(&self, key: &str, message: impl Into<String>, fix: Option<String>) {
        let at = self.find(key).map_or(self.at.clone(), Spanned::span);
        self.problems.add(&at, self.key(key), message, None, fix);
    }

    /// Notes a problem of a value read before.
    pub(super) fn fault_of<T>(
        &self,
        located: &Located<T>,
        message: impl Into<String>,
        fix: Option<String>,
    ) {
        self.problems
            .add(&located.at, located.key.clone(), message, None, fix);
    }

    /// Notes that a key's value is a thing of a later version.
    pub(super) fn not_yet(&self, key: &str, what: &str) {
        self.fault_at(
            key,
            format!("not yet: {what} (`{}`)", self.key(key)),
            Some("take it out".to_owned()),
        );
    }

    fn find(&self, key: &str) -> Option<&'a Spanned<DeValue<'a>>> {
        debug_assert!(
            keys::known(&self.path).is_none_or(|known| known.contains(&key)),
            "`{}` is not in the table of keys",
            self.key(key)
        );
        self.table.get(key)
    }

    fn wrong_type(&self, key: &str, found: &Spanned<DeValue<'_>>, wanted: &str) {
        // A text is never repeated: it may be a password.
        let fix = match (wanted, found.get_ref()) {
            ("a whole number", DeValue::String(text)) => {
                Some(text.trim().parse::<u64>().map_or_else(
                    |_| "write a number, without quotes".to_owned(),
                    |number| format!("write it without quotes: `{key} = {number}`"),
                ))
            }
            ("a text in quotes", DeValue::Integer(_) | DeValue::Float(_) | DeValue::Boolean(_)) => {
                Some(format!("put it in quotes: `{key} = \"…\"`"))
            }
            _ => None,
        };
        self.problems.add(
            &found.span(),
            self.key(key),
            format!(
                "`{}` must be {wanted}, but is {}",
                self.key(key),
                type_name(found.get_ref())
            ),
            None,
            fix,
        );
    }

    /// The section `key` within this one; an empty one where it is left out.
    pub(super) fn section(&self, key: &str) -> Option<Section<'a>> {
        let value = self.find(key)?;
        if let DeValue::Table(table) = value.get_ref() {
            Some(Self::new(table, value.span(), self.key(key), self.problems))
        } else {
            let header = keys::header(&self.key(key));
            self.wrong_type(key, value, &format!("a table, `{header}`"));
            None
        }
    }

    /// The sections of a repeated `[[key]]`.
    pub(super) fn sections(&self, key: &str) -> Vec<Section<'a>> {
        let Some(value) = self.find(key) else {
            return Vec::new();
        };
        let header = format!("[[{}]]", self.key(key));
        let DeValue::Array(items) = value.get_ref() else {
            self.wrong_type(
                key,
                value,
                &format!("a list of tables, each under `{header}`"),
            );
            return Vec::new();
        };
        let mut sections = Vec::new();
        for item in items {
            if let DeValue::Table(table) = item.get_ref() {
                sections.push(Self::new(table, item.span(), self.key(key), self.problems));
            } else {
                self.wrong_type(
                    key,
                    item,
                    &format!("a list of tables, each under `{header}`"),
                );
            }
        }
        sections
    }

    /// How many `[[key]]` there are, faulty ones too.
    pub(super) fn sections_count(&self, key: &str) -> usize {
        match self.find(key).map(Spanned::get_ref) {
            Some(DeValue::Array(items)) => items.len(),
            Some(_) => 1,
            None => 0,
        }
    }

    /// A text; `None` where it is left out or is none.
    pub(super) fn text(&self, key: &str) -> Option<Located<String>> {
        let value = self.find(key)?;
        if let DeValue::String(text) = value.get_ref() {
            Some(Located {
                value: text.clone().into_owned(),
                at: value.span(),
                key: self.key(key),
            })
        } else {
            self.wrong_type(key, value, "a text in quotes");
            None
        }
    }

    /// A text that must be there and not empty.
    pub(super) fn required_text(&self, key: &str) -> Option<Located<String>> {
        if !self.has(key) {
            self.missing(key, format!("add `{key} = \"…\"` here"));
            return None;
        }
        let text = self.text(key)?;
        if text.value.trim().is_empty() {
            self.fault_of(&text, format!("`{}` is empty", text.key), None);
            return None;
        }
        Some(text)
    }

    /// A path, taken from the configuration file's folder where it is relative.
    pub(super) fn path(&self, key: &str, folder: &Path) -> Option<Located<PathBuf>> {
        let text = self.text(key)?;
        if text.value.is_empty() {
            self.fault_of(&text, format!("`{}` is empty", text.key), None);
            return None;
        }
        Some(Located {
            value: folder.join(&text.value),
            at: text.at,
            key: text.key,
        })
    }

    /// A list of texts; one text alone where `may_be_one`.
    pub(super) fn texts(&self, key: &str, may_be_one: bool) -> Option<Vec<Located<String>>> {
        let value = self.find(key)?;
        let wanted = if may_be_one {
            "a text, or a list of texts"
        } else {
            "a list of texts"
        };
        let items = match value.get_ref() {
            DeValue::Array(items) => items,
            DeValue::String(_) if may_be_one => return self.text(key).map(|text| vec![text]),
            _ => {
                self.wrong_type(key, value, wanted);
                return None;
            }
        };
        let mut texts = Vec::new();
        let mut is_whole = true;
        for item in items {
            if let DeValue::String(text) = item.get_ref() {
                texts.push(Located {
                    value: text.clone().into_owned(),
                    at: item.span(),
                    key: self.key(key),
                });
            } else {
                is_whole = false;
                self.wrong_type(key, item, wanted);
            }
        }
        is_whole.then_some(texts)
    }

    /// A text or a TOML date-time, as text.
    pub(super) fn text_or_time(&self, key: &str) -> Option<Located<String>> {
        let value = self.find(key)?;
        if let DeValue::Datetime(time) = value.get_ref() {
            return Some(Located {
                value: time.to_string(),
                at: value.span(),
                key: self.key(key),
            });
        }
        self.text(key)
    }

    /// `true` or `false`.
    pub(super) fn flag(&self, key: &str, default: bool) -> bool {
        match self.find(key) {
            None => default,
            Some(value) => value.get_ref().as_bool().unwrap_or_else(|| {
                self.wrong_type(key, value, "`true` or `false`");
                default
            }),
        }
    }

    /// One of some words.
    pub(super) fn word<T: Copy>(&self, key: &str, words: &[(&str, T)], default: T) -> T {
        let Some(text) = self.text(key) else {
            return default;
        };
        if let Some((_, value)) = words.iter().find(|(word, _)| *word == text.value) {
            return *value;
        }
        let names: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        self.problems.add(
            &text.at,
            text.key.clone(),
            format!("`{}` cannot be `{}`", text.key, text.value),
            keys::nearest(&text.value, names.iter().copied()),
            Some(format!("it is one of {}", list(&names))),
        );
        default
    }

    /// A whole number within bounds.
    pub(super) fn integer(&self, key: &str, bounds: RangeInclusive<u64>, default: u64) -> u64 {
        let Some(value) = self.find(key) else {
            return default;
        };
        let DeValue::Integer(integer) = value.get_ref() else {
            self.wrong_type(key, value, "a whole number");
            return default;
        };
        match u64::from_str_radix(integer.as_str(), integer.radix()) {
            Ok(number) if bounds.contains(&number) => number,
            _ => {
                self.fault_at(
                    key,
                    format!(
                        "`{}` must be from {} to {}, but is {integer}",
                        self.key(key),
                        bounds.start(),
                        bounds.end()
                    ),
                    None,
                );
                default
            }
        }
    }

    /// A size in bytes within bounds: a text with a unit, or a plain number.
    pub(super) fn size(&self, key: &str, bounds: RangeInclusive<u64>, default: u64) -> u64 {
        let Some(value) = self.find(key) else {
            return default;
        };
        let read = match value.get_ref() {
            DeValue::Integer(integer) => u64::from_str_radix(integer.as_str(), integer.radix())
                .map_err(|_| format!("`{integer}` is not a size such as `64MiB` or `10GiB`")),
            DeValue::String(text) => parse_size(text),
            _ => {
                self.wrong_type(key, value, "a size such as `\"64MiB\"`");
                return default;
            }
        };
        let checked = read.and_then(|bytes| {
            if bounds.contains(&bytes) {
                Ok(bytes)
            } else {
                Err(format!(
                    "`{}` must be from {} to {}",
                    self.key(key),
                    show_size(*bounds.start()),
                    show_size(*bounds.end())
                ))
            }
        });
        checked.unwrap_or_else(|message| {
            self.fault_at(key, message, None);
            default
        })
    }

    /// A size within bounds; `None` where it is missing or an empty text, which is no bound.
    pub(super) fn size_or_none(&self, key: &str, bounds: RangeInclusive<u64>) -> Option<u64> {
        let value = self.find(key)?;
        if matches!(value.get_ref(), DeValue::String(text) if text.trim().is_empty()) {
            return None;
        }
        Some(self.size(key, bounds, 0)).filter(|bytes| *bytes > 0)
    }

    /// A duration within bounds.
    pub(super) fn duration(
        &self,
        key: &str,
        bounds: RangeInclusive<Duration>,
        default: Duration,
    ) -> Duration {
        let Some(value) = self.find(key) else {
            return default;
        };
        let DeValue::String(text) = value.get_ref() else {
            self.wrong_type(key, value, "a duration such as `\"5s\"`");
            return default;
        };
        let checked = parse_duration(text).and_then(|duration| {
            if bounds.contains(&duration) {
                Ok(duration)
            } else {
                Err(format!(
                    "`{}` must be from {} to {}",
                    self.key(key),
                    humantime::format_duration(*bounds.start()),
                    humantime::format_duration(*bounds.end())
                ))
            }
        });
        checked.unwrap_or_else(|message| {
            self.fault_at(key, message, None);
            default
        })
    }

    /// The keys and texts of a section without fixed keys.
    pub(super) fn entries(&self) -> Vec<(String, Located<String>)> {
        self.table
            .keys()
            .filter_map(|key| {
                let name: &str = key.get_ref();
                self.text(name).map(|text| (name.to_owned(), text))
            })
            .collect()
    }
}

/// What a value is, without the value.
fn type_name(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date or time",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

/// `` `a`, `b` ``.
pub(super) fn list(names: &[&str]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    quoted.join(", ")
}
