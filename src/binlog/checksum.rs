//! The checksum at the end of events.

use super::damaged;
use super::header::FLAG_IN_USE;
use crate::model::Result;

/// The bytes a checksum takes at the end of an event.
pub const CHECKSUM_LEN: usize = 4;

/// The place of the flags in an event's header.
const FLAGS_AT: usize = 17;

/// How the events of a file are checksummed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ChecksumAlgorithm {
    /// Not at all.
    #[default]
    Off,
    /// By CRC32.
    Crc32,
}

impl ChecksumAlgorithm {
    /// The number of CRC32 in the format description.
    pub(crate) const CRC32_NUMBER: u8 = 1;

    /// Reads the number in the format description.
    pub(crate) fn from_number(number: u8) -> Result<Self> {
        match number {
            // 255 stands for "not known to the server that wrote it": a server before checksums.
            0 | 255 => Ok(Self::Off),
            Self::CRC32_NUMBER => Ok(Self::Crc32),
            other => Err(super::unsupported(format!(
                "checksum algorithm {other} of the binlog is not known"
            ))
            .with_fix("set `binlog_checksum = CRC32` on the source")),
        }
    }

    /// How many bytes it takes at the end of each event.
    pub fn byte_count(self) -> usize {
        match self {
            Self::Off => 0,
            Self::Crc32 => CHECKSUM_LEN,
        }
    }

    /// Whether events carry none.
    pub fn is_off(self) -> bool {
        self == Self::Off
    }
}

/// Checks the CRC32 at the end of a whole event.
pub fn verify_crc32(event: &[u8]) -> Result<()> {
    let Some((body, stored)) = event.split_last_chunk::<CHECKSUM_LEN>() else {
        return Err(damaged("an event too short for its checksum"));
    };
    check(crc32fast::hash(body), u32::from_le_bytes(*stored))
}

/// Checks the CRC32 of a format description. The server sets its in-use flag in place when it opens
/// the file and clears it when it closes it, so the sum is always that of the event without it.
pub(crate) fn verify_format_crc32(event: &[u8]) -> Result<()> {
    let Some((body, stored)) = event.split_last_chunk::<CHECKSUM_LEN>() else {
        return Err(damaged("an event too short for its checksum"));
    };
    let (Some(head), Some(flags), Some(tail)) = (
        body.get(..FLAGS_AT),
        body.get(FLAGS_AT),
        body.get(FLAGS_AT + 1..),
    ) else {
        return Err(damaged("an event too short for its header"));
    };
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(head);
    hasher.update(&[flags & !(FLAG_IN_USE as u8)]);
    hasher.update(tail);
    check(hasher.finalize(), u32::from_le_bytes(*stored))
}

fn check(computed: u32, stored: u32) -> Result<()> {
    if computed == stored {
        return Ok(());
    }
    Err(damaged(format!(
        "the event's checksum is {stored:08x}, but its bytes give {computed:08x}"
    )))
}
