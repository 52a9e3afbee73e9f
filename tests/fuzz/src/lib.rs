//! What the targets share: binlog bytes as a fuzzer leaves them, made right in what it cannot hit.

use tideway::binlog::rows::RowAction;
use tideway::binlog::{
    ChecksumAlgorithm, EventHeader, EventKind, FormatDescription, HEADER_LEN, MAGIC,
};
use tideway::model::{Flavor, ServerVersion};

const CHECKSUM_LEN: usize = 4;
const FLAGS_AT: usize = 17;
const IN_USE: u8 = 1;

/// The events of a file, cut where their headers say, the last one where the bytes end. Lengths and
/// checksums are put right, for next to no change of a file would get past them.
pub fn events(file: &[u8]) -> Vec<Vec<u8>> {
    let mut rest = file.strip_prefix(&MAGIC).unwrap_or(file);
    let mut events = Vec::new();
    while rest.len() >= HEADER_LEN + CHECKSUM_LEN {
        let told = u32::from_le_bytes([rest[9], rest[10], rest[11], rest[12]]) as usize;
        let size = told.clamp(HEADER_LEN + CHECKSUM_LEN, rest.len());
        let (event, behind) = rest.split_at(size);
        let mut event = event.to_vec();
        mend(&mut event);
        events.push(event);
        rest = behind;
    }
    events
}

/// Puts the length and the checksum of an event right.
pub fn mend(event: &mut [u8]) {
    let size = (event.len() as u32).to_le_bytes();
    event[9..13].copy_from_slice(&size);
    // Of a format description the sum is that without the flag of a file in use.
    let flags = event[FLAGS_AT];
    if event[4] == EventKind::FORMAT_DESCRIPTION.0 {
        event[FLAGS_AT] &= !IN_USE;
    }
    let end = event.len() - CHECKSUM_LEN;
    let sum = crc32fast::hash(&event[..end]).to_le_bytes();
    event[FLAGS_AT] = flags;
    event[end..].copy_from_slice(&sum);
}

/// A format without checksums, of a server of this family.
pub fn format(flavor: Flavor) -> FormatDescription {
    let version = match flavor {
        Flavor::MySQL | Flavor::TiDB => "9.7.0",
        Flavor::MariaDB => "10.11.9-MariaDB",
    };
    FormatDescription::before_first(ServerVersion::parse(version), ChecksumAlgorithm::Off)
}

/// The header of an event with this kind and body.
pub fn header(kind: EventKind, body: &[u8]) -> EventHeader {
    EventHeader {
        timestamp: 0,
        kind,
        server_id: 1,
        event_size: (HEADER_LEN + body.len()) as u32,
        log_pos: 0,
        flags: 0,
    }
}

/// The kinds whose bodies the target for rows reads, by a byte of its input.
pub const ROWS: [u8; 13] = [23, 24, 25, 30, 31, 32, 39, 166, 167, 168, 169, 170, 171];

/// How many images a row of this action has.
pub fn images(action: RowAction) -> usize {
    match action {
        RowAction::Insert | RowAction::Delete => 1,
        RowAction::Update => 2,
    }
}
