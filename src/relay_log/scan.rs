//! What a relay file holds after the process, or the machine, went down in the middle of a write.

use std::fs::File;
use std::io::{BufReader, ErrorKind as IoKind, Read};
use std::path::Path;

use crate::binlog::{EventHeader, HEADER_LEN, MAGIC};
use crate::model::position::FIRST_OFFSET;
use crate::model::{Error, GtidSet, Result};

use super::progress::Progress;

/// Events up to this size are read whole.
const WHOLE: u64 = 1 << 20;
const READ_BUFFER: usize = 1 << 20;

/// What a scan found.
#[derive(Debug)]
pub(super) struct Scanned {
    /// How far the file is whole; `event_end` is below 4 if even its magic bytes are not.
    pub(super) progress: Progress,
    /// Why the scan ended before the file's end, if it did.
    pub(super) cut: Option<String>,
    /// How many bytes the file had when the scan began.
    pub(super) size: u64,
}

/// Reads a relay file from its start up to the first byte that is missing or wrong.
pub(super) fn scan(path: &Path) -> Result<Scanned> {
    let failed = |e| Error::file("read", path, e);
    let file = File::open(path).map_err(failed)?;
    let size = file.metadata().map_err(failed)?.len();
    let mut reader = BufReader::with_capacity(READ_BUFFER, file);
    let mut magic = [0; MAGIC.len()];
    let is_begun = size >= FIRST_OFFSET && {
        reader.read_exact(&mut magic).map_err(failed)?;
        magic == MAGIC
    };
    if !is_begun {
        return Ok(Scanned {
            progress: Progress::default(),
            cut: Some("it does not begin as a binlog file does".into()),
            size,
        });
    }
    let mut progress = Progress::of_new_file(None);
    let mut bytes = Vec::new();
    let cut = loop {
        let left = size - progress.event_end;
        if left == 0 {
            break None;
        }
        match next_event(&mut reader, left, &mut progress, &mut bytes) {
            Ok(()) => {}
            Err(Stop::Read(e)) => return Err(failed(e)),
            Err(Stop::Torn(why)) => break Some(why),
        }
    };
    Ok(Scanned {
        progress,
        cut,
        size,
    })
}

/// The transactions before a relay file, as far as its head says.
pub(super) fn head(path: &Path) -> Result<Option<GtidSet>> {
    /// A format description, one more event at the most, and the head.
    const EVENTS: usize = 3;
    let failed = |e| Error::file("read", path, e);
    let file = File::open(path).map_err(failed)?;
    let size = file.metadata().map_err(failed)?.len();
    let mut reader = BufReader::new(file);
    if size < FIRST_OFFSET {
        return Ok(None);
    }
    reader.seek_relative(FIRST_OFFSET as i64).map_err(failed)?;
    let mut progress = Progress::of_new_file(None);
    let mut bytes = Vec::new();
    for _ in 0..EVENTS {
        let left = size - progress.event_end;
        match next_event(&mut reader, left, &mut progress, &mut bytes) {
            Ok(()) if progress.gtid_set.is_none() => {}
            Ok(()) | Err(Stop::Torn(_)) => break,
            Err(Stop::Read(e)) => return Err(failed(e)),
        }
    }
    Ok(progress.gtid_set)
}

enum Stop {
    Read(std::io::Error),
    Torn(String),
}

impl From<std::io::Error> for Stop {
    fn from(error: std::io::Error) -> Self {
        if error.kind() == IoKind::UnexpectedEof {
            Self::Torn("it ends within an event".into())
        } else {
            Self::Read(error)
        }
    }
}

fn torn(error: &Error) -> Stop {
    Stop::Torn(error.message().to_owned())
}

fn next_event(
    reader: &mut impl Read,
    left: u64,
    progress: &mut Progress,
    bytes: &mut Vec<u8>,
) -> Result<(), Stop> {
    bytes.resize(HEADER_LEN, 0);
    reader.read_exact(bytes)?;
    let header = EventHeader::parse(bytes).map_err(|e| torn(&e))?;
    let size = u64::from(header.event_size);
    if size > left {
        return Err(Stop::Torn("it ends within an event".into()));
    }
    if size <= WHOLE {
        bytes.resize(header.event_size as usize, 0);
        reader.read_exact(bytes.get_mut(HEADER_LEN..).unwrap_or_default())?;
        let event = progress.verify(bytes).map_err(|e| torn(&e))?;
        return progress.take(&event, bytes).map_err(|e| torn(&e));
    }
    let mut partial = progress.begin_partial(header).map_err(|e| torn(&e))?;
    partial.feed(bytes);
    while partial.missing() > 0 {
        let piece = partial.missing().min(WHOLE);
        bytes.resize(usize::try_from(piece).unwrap_or(usize::MAX), 0);
        reader.read_exact(bytes)?;
        partial.feed(bytes);
    }
    let taken = progress
        .verify_partial(&partial)
        .and_then(|event| progress.take(&event, partial.head()));
    taken.map_err(|e| torn(&e))
}
