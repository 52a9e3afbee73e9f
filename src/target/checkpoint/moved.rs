//! The same places under another relay sub-folder: the relay log was lost and begun anew.

use std::sync::Arc;

use super::sync::intent_text;
use super::{Claim, Mark, SyncState, span};
use crate::connect::Session;
use crate::model::{Place, Result};
use crate::target::execute::{self, Packet, Part};
use crate::target::text::literal_or_null;

impl SyncState {
    /// Renames the sub-folder of every place in it.
    pub fn rename_folder(&mut self, from: &str, to: &str) {
        let rename = |place: &mut Place| {
            if place.folder == from {
                to.clone_into(&mut place.folder);
            }
        };
        rename_mark(&mut self.mark, rename);
        if let Some(intent) = &mut self.intent {
            rename(&mut intent.place);
        }
    }
}

fn rename_mark(mark: &mut Mark, rename: impl Fn(&mut Place)) {
    rename(&mut mark.place);
    for prepared in &mut mark.prepared {
        rename(&mut prepared.begin);
        rename(&mut prepared.end);
    }
    if let Some(part) = &mut mark.part {
        rename(&mut part.begin);
    }
    if !mark.spans.is_empty() {
        for span in Arc::make_mut(&mut mark.spans).values_mut() {
            rename(&mut span.until);
        }
    }
}

impl Claim {
    /// Writes the places of `state` anew; what is applied stays as it is.
    pub async fn write_places(&self, session: &mut Session, state: &SyncState) -> Result<()> {
        let intent = state.intent.as_ref().map(intent_text).transpose()?;
        let mut packet = Packet::new();
        packet.push(Part::Frame, "BEGIN");
        self.sync_fence(&mut packet, &state.mark);
        packet.push(
            Part::Fence,
            format!(
                "UPDATE {} SET `revision` = `revision` + 1, `spans` = {}, `intent` = {} WHERE {}",
                self.tables.checkpoint,
                span::stored(&state.mark),
                literal_or_null(intent.as_deref()),
                self.fence_condition()
            ),
        );
        packet.push_guard(Part::Fence, 1);
        packet.push(Part::Frame, "COMMIT");
        self.settle(execute::run(session, &packet).await)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Position, TableName};
    use crate::target::checkpoint::{Intent, PartDone, PreparedXa, Span, Spans};

    #[test]
    fn every_place_of_the_sub_folder_is_renamed_and_no_other() {
        let at = |folder: &str| Place::new(folder, Position::new("bin.000001", 500));
        let prepared = PreparedXa {
            name: "X'61',X'',1".into(),
            begin: at("7.1"),
            end: at("7.1"),
            tables: Vec::new(),
        };
        let span = |folder| Span {
            until: at(folder),
            is_exact: false,
            is_tied: false,
        };
        let spans: Spans = [
            (TableName::new("d", "t"), span("7.1")),
            (TableName::new("d", "u"), span("8.1")),
        ]
        .into();
        let mut mark = Mark::new(at("7.1"), None).with_spans(spans);
        mark.prepared.push(prepared);
        mark.part = Some(PartDone {
            begin: at("7.1"),
            offset: 700,
            inner: None,
            gtid: None,
        });
        let mut state = SyncState {
            mark,
            version: 1,
            structures: crate::schema::Structures::default(),
            schemas: std::collections::BTreeMap::new(),
            intent: Some(Intent {
                place: at("7.1"),
                connection_id: 1,
                statement: "DROP TABLE `7.1`".into(),
                before: Vec::new(),
                after: Vec::new(),
                definitions: Vec::new(),
                step: 0,
                is_done: false,
            }),
        };
        state.rename_folder("7.1", "7.2");
        assert_eq!(state.mark.place, at("7.2"));
        assert_eq!(state.mark.prepared[0].begin, at("7.2"));
        assert_eq!(state.mark.prepared[0].end, at("7.2"));
        assert_eq!(state.mark.part.unwrap().begin, at("7.2"));
        let until = |name| state.mark.spans[&TableName::new("d", name)].until.clone();
        assert_eq!((until("t"), until("u")), (at("7.2"), at("8.1")));
        let intent = state.intent.unwrap();
        assert_eq!(intent.place, at("7.2"));
        assert_eq!(intent.statement, "DROP TABLE `7.1`");
    }
}
