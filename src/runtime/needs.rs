//! What the streams of a source need of its relay log, and who holds what is left of it.

use std::sync::Arc;

use crate::model::{Place, RelayHold};
use crate::relay_log::{RelayLog, oldest_needed};

use super::stream_work::{Needed, StreamWork};

/// What each of a source's streams needs, of those that read its binlog.
pub(super) struct Needs {
    places: Vec<Place>,
    /// Of each place its stream: the task's name, and its name for messages.
    holders: Vec<(String, String)>,
    /// A stream that has not said.
    unknown: Option<(String, String)>,
}

impl Needs {
    /// What these streams need now.
    pub(super) fn of<'s>(streams: impl Iterator<Item = &'s Arc<StreamWork>>) -> Self {
        let mut needs = Self {
            places: Vec::new(),
            holders: Vec::new(),
            unknown: None,
        };
        for stream in streams {
            let names = || (stream.task_name().to_owned(), stream.label());
            match stream.needs() {
                Needed::Nothing => {}
                Needed::From(place) => {
                    needs.places.push(place);
                    needs.holders.push(names());
                }
                Needed::Unknown => needs.unknown = needs.unknown.or_else(|| Some(names())),
            }
        }
        needs
    }

    /// The places from which on something is needed; `None` where nobody can say.
    pub(super) fn known(&self) -> Option<&[Place]> {
        self.unknown.is_none().then_some(&self.places)
    }

    /// The stream that is furthest back, and what it needs.
    fn furthest(&self, log: &RelayLog) -> Option<(&(String, String), &Place)> {
        let place = oldest_needed(log, &self.places)?;
        let at = self.places.iter().position(|have| have == place)?;
        Some((self.holders.get(at)?, place))
    }

    /// Who holds the oldest files, for the snapshot; `None` where nobody needs any.
    pub(super) fn hold(&self, log: &RelayLog) -> Option<RelayHold> {
        if let Some((task, _)) = &self.unknown {
            return Some(RelayHold {
                task: task.clone(),
                file: None,
            });
        }
        if let Some(((task, _), place)) = self.furthest(log) {
            return Some(RelayHold {
                task: task.clone(),
                file: Some(place.position.file.clone()),
            });
        }
        // One whose place is not in the log holds all of it.
        let (task, _) = self.holders.first()?;
        Some(RelayHold {
            task: task.clone(),
            file: None,
        })
    }

    /// Who holds what is left, for a message.
    pub(super) fn held_by(&self, log: &RelayLog) -> String {
        if let Some((_, label)) = &self.unknown {
            return format!(
                "the task {label} has no checkpoint yet, so it may need all that is here"
            );
        }
        match self.furthest(log) {
            Some(((_, label), place)) => {
                format!("the task {label} still needs `{}`", place.position.file)
            }
            None if self.places.is_empty() => "the newest file always stays".to_owned(),
            None => "a stream's checkpoint is not in the relay log".to_owned(),
        }
    }
}
