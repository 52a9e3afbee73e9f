//! Tables whose rows are of other moments than the mark: loaded from a dump that took no lock.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Claim, Mark};
use crate::connect::Session;
use crate::model::{Place, Result, TableName};
use crate::target::execute::{self, Packet, Part};
use crate::target::text::literal;

/// Up to where a table's rows may have, or do have, what the binlog says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    /// No row of the table has anything of a transaction behind it.
    pub until: Place,
    /// Whether every row has everything before it: then the table's changes up to there are passed
    /// over. Else they are applied so that it does not matter whether they are in.
    pub is_exact: bool,
    /// Whether the foreign keys hold from its end on: all that they lead to has the same one.
    #[serde(default)]
    pub is_tied: bool,
}

/// The tables that have one, as the source names them.
pub type Spans = BTreeMap<TableName, Span>;

impl Mark {
    /// The same with these spans.
    #[must_use]
    pub fn with_spans(mut self, spans: Spans) -> Self {
        self.spans = spans.into();
        self
    }

    /// Whether the place is behind all spans, so that every table is like any other again.
    pub fn is_behind_spans(&self) -> bool {
        self.spans.values().all(|span| {
            span.until.folder == self.place.folder && span.until.position <= self.place.position
        })
    }
}

impl Claim {
    /// Forgets the spans, which the mark has passed.
    pub async fn end_spans(&self, session: &mut Session) -> Result<()> {
        let mut packet = Packet::new();
        packet.push(Part::Frame, "BEGIN");
        self.revision_fence(&mut packet, ", `spans` = NULL");
        packet.push(Part::Frame, "COMMIT");
        self.settle(execute::run(session, &packet).await)
    }
}

/// The spans as they are stored.
#[expect(
    clippy::expect_used,
    reason = "texts and numbers under names: nothing of it can fail to be JSON"
)]
pub(super) fn stored(mark: &Mark) -> String {
    if mark.spans.is_empty() {
        return "NULL".to_owned();
    }
    // A table's name is no text, so they are stored as a list.
    let list: Vec<(&TableName, &Span)> = mark.spans.iter().collect();
    literal(&serde_json::to_string(&list).expect("it is plain data"))
}

/// Reads what [`stored`] wrote.
pub(super) fn read(text: &str) -> Result<Spans, serde_json::Error> {
    let list: Vec<(TableName, Span)> = serde_json::from_str(text)?;
    Ok(list.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Position;

    #[test]
    fn spans_come_back_and_end() {
        let at = |offset| Place::new("7.1", Position::new("bin.000001", offset));
        let span = Span {
            until: at(500),
            is_exact: false,
            is_tied: false,
        };
        let spans: Spans = [(TableName::new("d", "t"), span)].into();
        let mark = Mark::new(at(4), None).with_spans(spans.clone());
        let text = stored(&mark);
        assert_eq!(read(text.trim_matches('\'')).unwrap(), spans);
        assert!(!mark.is_behind_spans());
        let mut later = mark.clone();
        later.place = at(500);
        assert!(later.is_behind_spans());
        // Another server's places say nothing about it.
        later.place = Place::new("8.1", Position::new("bin.000009", 4));
        assert!(!later.is_behind_spans());
    }
}
