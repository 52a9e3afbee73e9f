//! The rows of a report, as they are made.

use crate::model::{CheckFigure, CheckState, Error};

/// All the rows so far.
#[derive(Debug, Default)]
pub(super) struct Rows {
    list: Vec<CheckFigure>,
}

/// The rows of one scope.
#[derive(Debug)]
pub(super) struct Scope<'a> {
    rows: &'a mut Rows,
    name: String,
    source: Option<String>,
}

impl Rows {
    /// Where rows of `scope` go.
    pub(super) fn of(&mut self, scope: &str) -> Scope<'_> {
        Scope {
            rows: self,
            name: scope.to_owned(),
            source: None,
        }
    }

    pub(super) fn into_list(self) -> Vec<CheckFigure> {
        self.list
    }
}

impl Scope<'_> {
    /// The rows from here on are about this one source of a task, or about all of them.
    pub(super) fn about(&mut self, source: Option<&str>) {
        self.source = source.map(str::to_owned);
    }

    /// A check that is all right.
    pub(super) fn pass(&mut self, id: &str, found: impl Into<String>, why: &str) {
        self.add(id, CheckState::Pass, found.into(), why, String::new());
    }

    /// A check that is worth knowing of.
    pub(super) fn warn(
        &mut self,
        id: &str,
        found: impl Into<String>,
        why: &str,
        mend: impl Into<String>,
    ) {
        self.add(id, CheckState::Warn, found.into(), why, mend.into());
    }

    /// A check that failed.
    pub(super) fn fail(
        &mut self,
        id: &str,
        found: impl Into<String>,
        why: &str,
        mend: impl Into<String>,
    ) {
        self.add(id, CheckState::Fail, found.into(), why, mend.into());
    }

    /// A failure where `is_needed`, else a warning.
    pub(super) fn fail_if(
        &mut self,
        is_needed: bool,
        id: &str,
        found: impl Into<String>,
        why: &str,
        mend: impl Into<String>,
    ) {
        if is_needed {
            self.fail(id, found, why, mend);
        } else {
            self.warn(id, found, why, mend);
        }
    }

    fn add(&mut self, id: &str, state: CheckState, found: String, why: &str, mend: String) {
        self.rows.list.push(CheckFigure {
            id: id.to_owned(),
            scope: self.name.clone(),
            state,
            found,
            why: why.to_owned(),
            mend,
            source: self.source.clone(),
            streams: Vec::new(),
            accepted: None,
        });
    }
}

/// An error with its cause, on one line.
pub(super) fn one_line(error: &Error) -> String {
    let text = match error.cause() {
        Some(cause) => format!("{}: {cause}", error.message()),
        None => error.message().to_owned(),
    };
    text.replace(char::is_control, " ")
}

/// The first few names, and how many more there are.
pub(super) fn some<T: ToString>(names: impl IntoIterator<Item = T>) -> String {
    const SHOWN: usize = 5;
    let names: Vec<String> = names.into_iter().map(|name| name.to_string()).collect();
    let text = names[..names.len().min(SHOWN)].join(", ");
    match names.len().saturating_sub(SHOWN) {
        0 => text,
        more => format!("{text}, and {more} more"),
    }
}
