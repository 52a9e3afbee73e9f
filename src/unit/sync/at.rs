//! Where an event stands in the relay log.

use crate::model::{EventPlace, Place, Position};

/// Where an event stands, and how to read it.
#[derive(Clone, Copy, Debug)]
pub(super) struct At<'a> {
    /// The relay sub-folder.
    pub(super) folder: &'a str,
    /// The file.
    pub(super) file: &'a str,
    /// Where the (outer) event starts.
    pub(super) offset: u64,
    /// Where it ends.
    pub(super) end_offset: u64,
    /// Its number within a compressed transaction.
    pub(super) inner: Option<u32>,
}

impl At<'_> {
    pub(super) fn place(&self, offset: u64) -> Place {
        Place::new(self.folder, Position::new(self.file, offset))
    }

    pub(super) fn event_place(&self) -> EventPlace {
        EventPlace {
            place: self.place(self.offset),
            inner: self.inner,
            row: None,
        }
    }

    pub(super) fn end(&self) -> Place {
        self.place(self.end_offset)
    }
}
