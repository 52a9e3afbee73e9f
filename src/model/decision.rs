//! What the operator decides for an event at which a stream stands.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::position::write_within;
use super::{EventPlace, Place, Position, Timestamp};

/// The version of a decision's form.
pub const DECISION_VERSION: u32 = 1;

/// What is done with an event instead of applying it as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Choice {
    /// It is not applied; what it would have changed is kept as SQL.
    Skip,
    /// Its rows are made what the source says they are, whatever the target holds.
    Repair,
}

impl Choice {
    /// The name, as on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Skip => "skip",
            Self::Repair => "repair",
        }
    }
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How far a decision reaches.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum Reach {
    /// One row of a rows event.
    Row,
    /// The event.
    #[default]
    Event,
    /// The whole transaction.
    Transaction,
}

impl Reach {
    /// The name, as on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Row => "row",
            Self::Event => "event",
            Self::Transaction => "transaction",
        }
    }
}

impl fmt::Display for Reach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Reach {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        [Self::Row, Self::Event, Self::Transaction]
            .into_iter()
            .find(|reach| reach.name() == text)
            .ok_or_else(|| format!("`{text}` is none of `row`, `event`, `transaction`"))
    }
}

/// By which structure a table's later rows are read, when a statement that changes it is not run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "structure", content = "tables", rename_all = "kebab-case")]
pub enum LaterRows {
    /// As the statement left the tables at the source.
    #[default]
    Source,
    /// As they were before it.
    Keep,
    /// As these `CREATE TABLE` statements say, one for each table.
    Typed(Vec<String>),
}

/// A decision, whole: what the journal has before it acts, and the target after.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// The form of this record.
    pub version: u32,
    /// Names it for good, in the journal and on the target.
    pub id: String,
    /// The task.
    pub task: String,
    /// The source.
    pub source: String,
    /// What is done.
    pub choice: Choice,
    /// How far it reaches.
    pub scope: Reach,
    /// The event at which the stream stood, with the row where one was met.
    pub at: EventPlace,
    /// Where its transaction begins.
    pub begin: Place,
    /// Its transaction's id: another transaction at the same place is not meant.
    pub gtid: Option<String>,
    /// The stop that it answers.
    pub stop_id: String,
    /// How later rows are read, where a statement that changes a table does not run.
    #[serde(default)]
    pub later_rows: LaterRows,
    /// Why, in the operator's words; may be empty.
    pub reason: String,
    /// When it was made.
    pub made_at: Timestamp,
    /// Who made it.
    pub by: String,
}

impl Decision {
    /// Whether it is for the transaction that begins there.
    pub fn is_for(&self, begin: &Place, gtid: Option<&str>) -> bool {
        self.begin == *begin && self.gtid.as_deref() == gtid
    }

    /// Whether it reaches an event of its transaction, with any of its rows.
    pub fn reaches_event(&self, offset: u64, inner: Option<u32>) -> bool {
        self.scope == Reach::Transaction
            || (self.at.place.position.offset == offset && self.at.inner == inner)
    }

    /// Whether it reaches the whole of an event of its transaction.
    pub fn takes_event(&self, offset: u64, inner: Option<u32>) -> bool {
        self.scope != Reach::Row && self.reaches_event(offset, inner)
    }

    /// Whether it reaches a row of an event of its transaction.
    pub fn reaches_row(&self, offset: u64, inner: Option<u32>, row: u32) -> bool {
        self.reaches_event(offset, inner) && (self.scope != Reach::Row || self.at.row == Some(row))
    }

    /// Whether all that another one reaches is reached by this one too.
    pub fn covers(&self, other: &Self) -> bool {
        if !self.is_for(&other.begin, other.gtid.as_deref()) || self.scope < other.scope {
            return false;
        }
        match self.scope {
            Reach::Transaction => true,
            Reach::Event => self.reaches_event(other.at.place.position.offset, other.at.inner),
            Reach::Row => self.at == other.at,
        }
    }

    /// What it is, in a few words: `skip event at bin.000001:4`.
    pub fn title(&self) -> String {
        format!(
            "{} {} at {}",
            self.choice, self.scope, self.at.place.position
        )
    }
}

/// What became of a decision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "kebab-case")]
pub enum DecisionOutcome {
    /// It took effect; the target has it, with its effect and the checkpoint.
    Done,
    /// Nothing of it took effect.
    NotDone {
        /// Why not.
        why: String,
    },
    /// It was taken back before it took effect.
    Withdrawn {
        /// By what.
        why: String,
    },
}

impl DecisionOutcome {
    /// `done`, `not done: why`, `withdrawn: why`.
    pub fn text(&self) -> String {
        match self {
            Self::Done => "done".to_owned(),
            Self::NotDone { why } => format!("not done: {why}"),
            Self::Withdrawn { why } => format!("withdrawn: {why}"),
        }
    }
}

/// An event's place as it is typed: `[FOLDER/]FILE:OFFSET[#inner][.row]`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TypedPlace {
    /// The relay sub-folder; `None`: whichever.
    pub folder: Option<String>,
    /// File and offset.
    pub position: Position,
    /// The event's number within a compressed transaction.
    pub inner: Option<u32>,
    /// The row within the event.
    pub row: Option<u32>,
}

impl TypedPlace {
    /// Whether `place` is meant; a row that was not typed may be any.
    pub fn means(&self, place: &EventPlace) -> bool {
        self.folder
            .as_ref()
            .is_none_or(|folder| *folder == place.place.folder)
            && self.position == place.place.position
            && self.inner == place.inner
            && (self.row.is_none() || self.row == place.row)
    }
}

impl FromStr for TypedPlace {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("`{text}` is no event's place; write `[FOLDER/]FILE:OFFSET[#inner][.row]`");
        let (folder, rest) = match text.rsplit_once('/') {
            Some((folder, rest)) if !folder.is_empty() => (Some(folder.to_owned()), rest),
            Some(_) => return Err(wrong()),
            None => (None, text),
        };
        let (file, rest) = rest.rsplit_once(':').ok_or_else(wrong)?;
        let (rest, row) = match rest.split_once('.') {
            Some((rest, row)) => (rest, Some(row.parse().map_err(|_| wrong())?)),
            None => (rest, None),
        };
        let (offset, inner) = match rest.split_once('#') {
            Some((offset, inner)) => (offset, Some(inner.parse().map_err(|_| wrong())?)),
            None => (rest, None),
        };
        let position = format!("{file}:{offset}").parse().map_err(|_| wrong())?;
        Ok(Self {
            folder,
            position,
            inner,
            row,
        })
    }
}

impl TryFrom<String> for TypedPlace {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<TypedPlace> for String {
    fn from(place: TypedPlace) -> Self {
        place.to_string()
    }
}

impl From<&EventPlace> for TypedPlace {
    fn from(place: &EventPlace) -> Self {
        Self {
            folder: Some(place.place.folder.clone()),
            position: place.place.position.clone(),
            inner: place.inner,
            row: place.row,
        }
    }
}

impl fmt::Display for TypedPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(folder) = &self.folder {
            write!(f, "{folder}/")?;
        }
        write!(f, "{}", self.position)?;
        write_within(f, self.inner, self.row)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(offset: u64, row: Option<u32>) -> EventPlace {
        EventPlace {
            place: Place::new("7.1", Position::new("bin.000001", offset)),
            inner: None,
            row,
        }
    }

    fn decision(scope: Reach, at: EventPlace) -> Decision {
        Decision {
            version: DECISION_VERSION,
            id: "d".into(),
            task: "t".into(),
            source: "a".into(),
            choice: Choice::Skip,
            scope,
            begin: Place::new("7.1", Position::new("bin.000001", 4)),
            at,
            gtid: Some("0-1-2".into()),
            stop_id: "s".into(),
            later_rows: LaterRows::default(),
            reason: String::new(),
            made_at: Timestamp::default(),
            by: "console".into(),
        }
    }

    #[test]
    fn a_typed_place_and_back() {
        for text in [
            "bin.000123:5000000000",
            "7.1/bin.000123:4#2.7",
            "8b1e-77.2/mysql-bin.000001:120.0",
        ] {
            assert_eq!(text.parse::<TypedPlace>().unwrap().to_string(), text);
        }
        for wrong in ["", "bin.000123", "bin:4", "/bin.000001:4", "bin.000001:4.x"] {
            assert!(wrong.parse::<TypedPlace>().is_err(), "{wrong}");
        }
        let typed: TypedPlace = "bin.000001:80".parse().unwrap();
        assert!(typed.means(&at(80, None)) && typed.means(&at(80, Some(3))));
        assert!(!typed.means(&at(81, None)));
        let row: TypedPlace = "7.1/bin.000001:80.3".parse().unwrap();
        assert!(row.means(&at(80, Some(3))) && !row.means(&at(80, Some(2))));
        let elsewhere: TypedPlace = "7.2/bin.000001:80".parse().unwrap();
        assert!(!elsewhere.means(&at(80, None)));
    }

    #[test]
    fn a_decision_reaches_what_its_scope_says_and_no_other_transaction() {
        let row = decision(Reach::Row, at(80, Some(3)));
        let event = decision(Reach::Event, at(80, Some(3)));
        let whole = decision(Reach::Transaction, at(80, Some(3)));
        assert!(row.reaches_row(80, None, 3) && !row.reaches_row(80, None, 4));
        assert!(!row.takes_event(80, None) && event.takes_event(80, None));
        assert!(event.reaches_row(80, None, 9) && !event.reaches_row(81, None, 9));
        assert!(!event.reaches_row(80, Some(0), 9));
        assert!(whole.reaches_row(7, Some(4), 0));
        assert!(whole.covers(&event) && event.covers(&row) && !row.covers(&event));
        assert!(!event.covers(&decision(Reach::Row, at(81, Some(0)))));
        assert!(whole.is_for(&whole.begin, Some("0-1-2")));
        assert!(!whole.is_for(&whole.begin, Some("0-1-3")));
        assert!(!whole.is_for(&whole.begin, None));
    }
}
