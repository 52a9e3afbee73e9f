//! What is wrong with a configuration: every problem, each with its place.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::model::{Error, ErrorKind};

/// One problem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The configuration file.
    pub file: PathBuf,
    /// The line and column, both from 1, where the file could be read that far.
    pub place: Option<(usize, usize)>,
    /// The key concerned, such as `source.relay.start`; empty where none is.
    pub key: String,
    /// What is wrong.
    pub message: String,
    /// The known name that comes nearest to the one written.
    pub nearest: Option<String>,
    /// What to do about it, where the message does not say.
    pub fix: Option<String>,
}

impl Problem {
    /// What to do about it, the nearest name included.
    pub fn advice(&self) -> Option<String> {
        match (&self.nearest, &self.fix) {
            (Some(nearest), None) => Some(format!("write `{nearest}`, if that is meant")),
            (Some(nearest), Some(fix)) => {
                Some(format!("write `{nearest}`, if that is meant; {fix}"))
            }
            (None, fix) => fix.clone(),
        }
    }

    /// `FILE:LINE:COLUMN: MESSAGE`.
    pub fn headline(&self) -> String {
        match self.place {
            Some((line, column)) => {
                format!("{}:{line}:{column}: {}", self.file.display(), self.message)
            }
            None => format!("{}: {}", self.file.display(), self.message),
        }
    }
}

/// The form of the command line: an `error:` line, and a `fix:` line where there is advice.
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", self.headline())?;
        if let Some(advice) = self.advice() {
            write!(f, "\nfix: {advice}")?;
        }
        Ok(())
    }
}

/// Every problem of a configuration, in the file's order; never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigErrors {
    problems: Vec<Problem>,
}

impl ConfigErrors {
    /// Puts the problems in the file's order.
    pub(super) fn new(mut problems: Vec<Problem>) -> Self {
        problems.sort_by_key(|problem| problem.place);
        problems.dedup();
        Self { problems }
    }

    /// The one problem of a file that cannot be read.
    pub(super) fn unreadable(path: &Path, error: &std::io::Error) -> Self {
        let missing = error.kind() == std::io::ErrorKind::NotFound;
        Self {
            problems: vec![Problem {
                file: path.to_owned(),
                place: None,
                key: String::new(),
                message: if missing {
                    "there is no such configuration file".to_owned()
                } else {
                    format!("the configuration file cannot be read: {error}")
                },
                nearest: None,
                fix: Some(if missing {
                    "name another with `--config`, or write one".to_owned()
                } else {
                    "make it a file that this account may read".to_owned()
                }),
            }],
        }
    }

    /// The problems.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }
}

/// The problems one after the other, as on the command line.
impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

/// One error of kind `Config`. Its report prints all the problems, as [`ConfigErrors`] does.
impl From<ConfigErrors> for Error {
    fn from(errors: ConfigErrors) -> Self {
        let text = errors.to_string();
        let message = text.strip_prefix("error: ").unwrap_or(&text);
        Self::new(ErrorKind::Config, message)
    }
}
