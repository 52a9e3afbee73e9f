//! How far a relay file is known to be whole: shared by the writer and by the scan after a crash.

use crc32fast::Hasher;

use crate::binlog::checksum::{CHECKSUM_LEN, ChecksumAlgorithm};
use crate::binlog::{Event, EventHeader, EventKind, FormatDescription, HEADER_LEN, head_set};
use crate::model::{Error, ErrorKind, GtidSet, Result};

use super::group::{Groups, Step};

/// What must be read whole is never longer than this: the head of a file with its set of GTIDs.
const HEAD_MAX: u64 = 64 << 20;
/// The first bytes of a long statement are enough to tell a transaction's ends.
const STATEMENT_KEPT: u64 = 64 << 10;

/// What is known of a relay file up to some event's end.
#[derive(Clone, Debug, Default)]
pub(super) struct Progress {
    /// The end of the last whole event.
    pub(super) event_end: u64,
    /// The start of the last whole transaction that the protocol's 32 bits can name: from there on the
    /// source is asked again, and what has come must come again.
    pub(super) resume_start: u64,
    /// The end of the last whole transaction.
    pub(super) group_end: u64,
    /// The transactions up to `group_end`, this file's predecessors included.
    pub(super) gtid_set: Option<GtidSet>,
    /// How to read the file's events.
    pub(super) format: Option<FormatDescription>,
    groups: Groups,
}

impl Progress {
    /// The start of an empty file, behind its magic bytes; the set is taken over from the file before.
    pub(super) fn of_new_file(gtid_set: Option<GtidSet>) -> Self {
        let start = crate::model::position::FIRST_OFFSET;
        Self {
            event_end: start,
            resume_start: start,
            group_end: start,
            gtid_set,
            ..Self::default()
        }
    }

    /// Whether a transaction has begun and not ended.
    pub(super) fn is_inside(&self) -> bool {
        self.groups.is_inside()
    }

    /// Goes back to a transaction's start, to read it once more.
    pub(super) fn rewind(&mut self, offset: u64) {
        self.event_end = offset;
        self.groups = Groups::default();
    }

    /// Checks a whole event's frame and checksum.
    pub(super) fn verify<'a>(&self, bytes: &'a [u8]) -> Result<Event<'a>> {
        if EventHeader::parse(bytes)?.kind == EventKind::FORMAT_DESCRIPTION {
            return FormatDescription::parse(bytes)?.open(bytes);
        }
        self.known_format()?.open(bytes)
    }

    fn known_format(&self) -> Result<&FormatDescription> {
        self.format.as_ref().ok_or_else(|| {
            Error::new(
                ErrorKind::Damaged,
                "a binlog file does not begin with a format description",
            )
        })
    }

    /// Takes a verified event into account: `bytes` is all of it, or of a long one its beginning.
    pub(super) fn take(&mut self, event: &Event<'_>, bytes: &[u8]) -> Result<()> {
        let start = self.event_end;
        let end = start + u64::from(event.header.event_size);
        if event.header.kind == EventKind::FORMAT_DESCRIPTION {
            self.format = Some(FormatDescription::parse(bytes)?);
        } else if let Some(set) = head_set(event)? {
            self.gtid_set = Some(set);
        }
        let step = self.groups.step(start, event)?;
        self.event_end = end;
        let (start, gtid) = match step {
            Step::Inside => return Ok(()),
            Step::Alone => (start, None),
            Step::Ends { start, gtid } => (start, gtid),
        };
        if u32::try_from(start).is_ok() {
            self.resume_start = start;
        }
        self.group_end = end;
        if let (Some(set), Some(gtid)) = (&mut self.gtid_set, gtid) {
            set.insert(&gtid);
        }
        Ok(())
    }

    /// Begins an event that comes in pieces.
    pub(super) fn begin_partial(&self, header: EventHeader) -> Result<Partial> {
        let checksum = if header.kind == EventKind::FORMAT_DESCRIPTION {
            // Checked as a whole, where its algorithm is known.
            ChecksumAlgorithm::Off
        } else {
            self.known_format()?.checksum
        };
        let size = u64::from(header.event_size);
        let kept = match header.kind {
            EventKind::FORMAT_DESCRIPTION
            | EventKind::PREVIOUS_GTIDS
            | EventKind::GTID_LIST
            | EventKind::ROTATE => size,
            kind if kind.is_gtid() => size,
            EventKind::QUERY => size.min(STATEMENT_KEPT),
            _ => HEADER_LEN as u64,
        };
        if kept > HEAD_MAX {
            return Err(Error::new(
                ErrorKind::Damaged,
                format!("{} says that it is {size} bytes long", header.kind),
            ));
        }
        Ok(Partial {
            header,
            kept: usize::try_from(kept).unwrap_or(usize::MAX),
            head: Vec::new(),
            seen: 0,
            checksum,
            hasher: Hasher::new(),
            stored: [0; CHECKSUM_LEN],
        })
    }

    /// Checks an event that has come in pieces; of a long one it gives the beginning.
    pub(super) fn verify_partial<'a>(&self, partial: &'a Partial) -> Result<Event<'a>> {
        let is_all = partial.head.len() as u64 == partial.size();
        if is_all {
            return self.verify(&partial.head);
        }
        if !partial.checksum.is_off() {
            let computed = partial.hasher.clone().finalize();
            let stored = u32::from_le_bytes(partial.stored);
            if computed != stored {
                return Err(Error::new(
                    ErrorKind::Damaged,
                    format!(
                        "the event's checksum is {stored:08x}, but its bytes give {computed:08x}"
                    ),
                ));
            }
        }
        Ok(Event {
            header: partial.header,
            body: partial.head.get(HEADER_LEN..).unwrap_or_default(),
        })
    }
}

/// An event that comes in pieces, with no more of it in memory than is needed.
#[derive(Debug)]
pub(super) struct Partial {
    header: EventHeader,
    kept: usize,
    head: Vec<u8>,
    seen: u64,
    checksum: ChecksumAlgorithm,
    hasher: Hasher,
    stored: [u8; CHECKSUM_LEN],
}

impl Partial {
    fn size(&self) -> u64 {
        u64::from(self.header.event_size)
    }

    /// Its first bytes.
    pub(super) fn head(&self) -> &[u8] {
        &self.head
    }

    /// How many of its bytes have come.
    pub(super) fn seen(&self) -> u64 {
        self.seen
    }

    /// How many of its bytes are still to come.
    pub(super) fn missing(&self) -> u64 {
        self.size() - self.seen
    }

    /// Takes the next bytes; there must not be more than are missing.
    pub(super) fn feed(&mut self, piece: &[u8]) {
        let room = self.kept.saturating_sub(self.head.len());
        self.head
            .extend_from_slice(piece.get(..room).unwrap_or(piece));
        if !self.checksum.is_off() {
            let covered = self.size().saturating_sub(CHECKSUM_LEN as u64);
            let hashed = usize::try_from(covered.saturating_sub(self.seen)).unwrap_or(usize::MAX);
            let (body, sum) = piece.split_at_checked(hashed).unwrap_or((piece, &[]));
            self.hasher.update(body);
            let at = usize::try_from((self.seen + body.len() as u64).saturating_sub(covered))
                .unwrap_or(usize::MAX);
            for (slot, byte) in self.stored.iter_mut().skip(at).zip(sum) {
                *slot = *byte;
            }
        }
        self.seen += piece.len() as u64;
    }
}
