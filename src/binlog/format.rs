//! The format description, which says how to read the events behind it, and the events' frame.

use super::checksum::{self, CHECKSUM_LEN, ChecksumAlgorithm};
use super::cursor::Cursor;
use super::header::{EventHeader, HEADER_LEN};
use super::{EventKind, damaged, unsupported};
use crate::model::{Flavor, Result, ServerVersion};

/// The length of the server version's field.
const VERSION_LEN: usize = 50;
/// The only version of the format since MySQL 5.0.
const FORMAT_VERSION: u16 = 4;

/// An event whose frame and checksum were found right.
#[derive(Clone, Copy, Debug)]
pub struct Event<'a> {
    /// Its header.
    pub header: EventHeader,
    /// What is between the header and the checksum.
    pub body: &'a [u8],
}

/// What a binlog file's first event says of the others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FormatDescription {
    /// The version of the server that wrote the file.
    pub server_version: ServerVersion,
    /// When the server started, in seconds since 1970, if this is its first file; else 0.
    pub created: u32,
    /// How the events are checksummed.
    pub checksum: ChecksumAlgorithm,
    /// The length of each kind's fixed part, from kind 1 on.
    post_header_lengths: Vec<u8>,
}

impl FormatDescription {
    /// What holds before the first format description has come, on a connection that has agreed on
    /// `checksum`: only rotate and heartbeat events can be read by it.
    pub fn before_first(server_version: ServerVersion, checksum: ChecksumAlgorithm) -> Self {
        Self {
            server_version,
            created: 0,
            checksum,
            post_header_lengths: Vec::new(),
        }
    }

    /// Reads a whole FORMAT_DESCRIPTION event, header and checksum included.
    pub fn parse(event: &[u8]) -> Result<Self> {
        let header = EventHeader::parse(event)?;
        if header.kind != EventKind::FORMAT_DESCRIPTION {
            return Err(damaged(format!(
                "a binlog file begins with {} in place of FORMAT_DESCRIPTION",
                header.kind
            )));
        }
        check_length(&header, event)?;
        check_sum(event)?;
        let mut cursor = Cursor::new(event);
        cursor.take(HEADER_LEN)?;
        let version = cursor.u16()?;
        if version != FORMAT_VERSION {
            return Err(unsupported(format!(
                "version {version} of the binlog format is not known"
            )));
        }
        let text = cursor.take(VERSION_LEN)?;
        let text = text.split(|byte| *byte == 0).next().unwrap_or_default();
        let server_version = ServerVersion::parse(&String::from_utf8_lossy(text));
        let created = cursor.u32()?;
        let header_length = cursor.u8()?;
        if usize::from(header_length) != HEADER_LEN {
            return Err(unsupported(format!(
                "a binlog whose event headers have {header_length} bytes"
            )));
        }
        // Every server since MySQL 5.6.1 and MariaDB 5.3 writes the algorithm and four bytes of
        // checksum here, whatever the algorithm is.
        let lengths_len = cursor
            .len()
            .checked_sub(1 + CHECKSUM_LEN)
            .ok_or_else(|| damaged("a format description without a checksum"))?;
        let post_header_lengths = cursor.take(lengths_len)?.to_vec();
        let checksum = ChecksumAlgorithm::from_number(cursor.u8()?)?;
        Ok(Self {
            server_version,
            created,
            checksum,
            post_header_lengths,
        })
    }

    /// Checks the frame and the checksum of a whole event, and takes its body out of them.
    pub fn open<'a>(&self, event: &'a [u8]) -> Result<Event<'a>> {
        let header = EventHeader::parse(event)?;
        check_length(&header, event)?;
        let tail = if header.kind == EventKind::FORMAT_DESCRIPTION {
            Self::parse(event)?;
            1 + CHECKSUM_LEN
        } else {
            if self.checksum == ChecksumAlgorithm::Crc32 {
                checksum::verify_crc32(event)?;
            }
            self.checksum.byte_count()
        };
        let body = event
            .len()
            .checked_sub(tail)
            .and_then(|end| event.get(HEADER_LEN..end))
            .ok_or_else(|| damaged(format!("{} without a body", header.kind)))?;
        Ok(Event { header, body })
    }

    /// The event of `bytes` inside a compressed transaction: it has no checksum of its own.
    pub fn open_inner<'a>(&self, event: &'a [u8]) -> Result<Event<'a>> {
        let header = EventHeader::parse(event)?;
        check_length(&header, event)?;
        let body = event.get(HEADER_LEN..).unwrap_or_default();
        Ok(Event { header, body })
    }

    /// The family of the server that wrote the file.
    pub fn flavor(&self) -> Flavor {
        self.server_version.flavor
    }

    /// The length of a kind's fixed part, where the description tells it.
    pub fn post_header_length(&self, kind: EventKind) -> Option<u8> {
        let index = usize::from(kind.0).checked_sub(1)?;
        self.post_header_lengths.get(index).copied()
    }
}

/// Checks the sum of a whole format description, where it has one.
///
/// The number that says so is covered by the sum: where it says that there is none, and the sum is right
/// with the number of one that has, it is the number that was damaged. Nothing in that file would be
/// checked any more.
fn check_sum(event: &[u8]) -> Result<()> {
    let at = event.len().checked_sub(1 + CHECKSUM_LEN);
    let Some(number) = at.and_then(|at| event.get(at)) else {
        return Err(damaged("a format description without a checksum"));
    };
    if *number == ChecksumAlgorithm::CRC32_NUMBER {
        return checksum::verify_format_crc32(event);
    }
    let mut summed = event.to_vec();
    if let Some(number) = at.and_then(|at| summed.get_mut(at)) {
        *number = ChecksumAlgorithm::CRC32_NUMBER;
    }
    if checksum::verify_format_crc32(&summed).is_ok() {
        return Err(damaged(format!(
            "the format description says that its checksums are of kind {number}, and has one of kind {}",
            ChecksumAlgorithm::CRC32_NUMBER
        )));
    }
    Ok(())
}

fn check_length(header: &EventHeader, event: &[u8]) -> Result<()> {
    if header.event_size as usize == event.len() {
        return Ok(());
    }
    Err(damaged(format!(
        "{} says that it is {} bytes long, but has {}",
        header.kind,
        header.event_size,
        event.len()
    )))
}
