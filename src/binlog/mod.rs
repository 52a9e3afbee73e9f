//! The binlog of MySQL and MariaDB, taken apart: events, rows, values, documents.
//!
//! Everything here borrows from the bytes of one event and does no I/O. Bytes are never trusted:
//! whatever they hold, the answer is a value or an error, not a panic; what is not understood is an
//! error too, because a guess would alter data without a word.
//!
//! The way through: [`FormatDescription::open`] checks an event's frame and checksum, the parser of
//! its kind takes the body apart, and for rows a [`RowShape`] built once per table map decodes them.
#![deny(clippy::indexing_slicing)]

pub mod checksum;
mod compressed;
mod cursor;
mod decode;
pub mod format;
pub mod gtid;
pub mod gtid_list;
pub mod header;
pub mod json;
pub mod json_diff;
pub mod kind;
pub mod payload;
pub mod query;
pub mod rows;
pub mod shape;
pub mod simple;
pub mod table_map;
mod tagged;
#[cfg(test)]
mod tests;
pub mod text;
pub mod view;

pub use checksum::ChecksumAlgorithm;
pub use format::{Event, FormatDescription};
pub use gtid::{AlterPhase, GtidEvent, MariaDbGtid, MySqlGtid};
pub use gtid_list::{head_set, parse_gtid_list, parse_previous_gtids};
pub use header::{EventHeader, HEADER_LEN};
pub use kind::EventKind;
pub use payload::{Payload, PayloadEvents};
pub use query::{QueryEvent, StatusVariables};
pub use rows::{RowAction, Rows, RowsEvent};
pub use shape::RowShape;
pub use simple::{HeartbeatEvent, IncidentEvent, RotateEvent, XaPrepareEvent, Xid, parse_xid};
pub use table_map::{ColumnType, OptionalMetadata, TableMap};

use crate::model::{Error, ErrorKind};

/// The first four bytes of every binlog file.
pub const MAGIC: [u8; 4] = [0xfe, b'b', b'i', b'n'];

/// An event whose bytes contradict themselves.
pub(crate) fn damaged(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Damaged, message)
}

/// An event that is whole, but holds something this program does not know.
pub(crate) fn unsupported(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Unsupported, message)
}
