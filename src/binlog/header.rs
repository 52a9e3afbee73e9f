//! The 19 bytes before every event.

use super::cursor::Cursor;
use super::{EventKind, damaged};
use crate::model::Result;

/// The bytes of a header.
pub const HEADER_LEN: usize = 19;

/// Set in the format description of a file that the server still writes, or that a crash left open.
pub const FLAG_IN_USE: u16 = 0x01;
/// The dump thread made the event up: it is in no file.
pub const FLAG_ARTIFICIAL: u16 = 0x20;
/// Those who do not know the event's kind may pass over it.
pub const FLAG_IGNORABLE: u16 = 0x80;

/// An event's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventHeader {
    /// When the statement began on the source, in seconds since 1970.
    pub timestamp: u32,
    /// The event's kind.
    pub kind: EventKind,
    /// The server that wrote the event first.
    pub server_id: u32,
    /// The event's length with header and checksum.
    pub event_size: u32,
    /// Where the event ends in its file, modulo 2³²; 0 in artificial events and in those inside a
    /// compressed transaction.
    pub log_pos: u32,
    /// The flags.
    pub flags: u16,
}

impl EventHeader {
    /// Reads the header at the start of `bytes`, of which there may be more.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let mut cursor = Cursor::new(bytes);
        let header = Self {
            timestamp: cursor.u32()?,
            kind: EventKind(cursor.u8()?),
            server_id: cursor.u32()?,
            event_size: cursor.u32()?,
            log_pos: cursor.u32()?,
            flags: cursor.u16()?,
        };
        if (header.event_size as usize) < HEADER_LEN {
            return Err(damaged(format!(
                "an event says that it is {} bytes long, less than its header",
                header.event_size
            )));
        }
        Ok(header)
    }

    /// Whether the dump thread made it up; it must not reach a relay file or move a position.
    pub fn is_artificial(&self) -> bool {
        self.flags & FLAG_ARTIFICIAL != 0
    }

    /// Whether those who do not know its kind may pass over it.
    pub fn is_ignorable(&self) -> bool {
        self.flags & FLAG_IGNORABLE != 0
    }
}
