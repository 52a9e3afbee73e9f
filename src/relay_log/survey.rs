//! Looking through a stretch of the relay log before something relies on it.

use std::sync::Arc;

use super::group::{Groups, Step};
use super::{RawEvent, RelayLog};
use crate::model::position::FIRST_OFFSET;
use crate::model::{Place, Position, Result};

impl RelayLog {
    /// Shows `see` every event from `from` up to `to`, which the log must have, and says whether
    /// `from` is where a transaction ends, so that nothing is cut in two by beginning there. All in
    /// one sub-folder.
    pub async fn survey(
        self: &Arc<Self>,
        from: &Place,
        to: &Position,
        mut see: impl FnMut(&RawEvent<'_>) -> Result<()> + Send,
    ) -> Result<bool> {
        let start = Position::new(from.position.file.clone(), FIRST_OFFSET);
        let mut reader = self.reader(&Place::new(from.folder.clone(), start))?;
        let mut groups = Groups::default();
        let mut is_boundary = from.position.offset <= FIRST_OFFSET;
        while reader.place().position < *to {
            let raw = reader.next().await?;
            let is_before = raw.file == from.position.file && raw.offset < from.position.offset;
            if is_before {
                let step = groups.step(raw.offset, &raw.event)?;
                if raw.end_offset == from.position.offset {
                    is_boundary = matches!(step, Step::Ends { .. });
                }
            } else {
                see(&raw)?;
            }
        }
        Ok(is_boundary)
    }
}
