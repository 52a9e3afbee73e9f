//! Readers of a relay log, each with its own place, file and buffer.
//!
//! A reader takes no lock while it has bytes: it asks the log only where the tip is, when it has read
//! up to the one it knew.

use std::fmt;
use std::fs::File;
use std::io::ErrorKind as IoKind;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;

use tokio::sync::watch;

use crate::binlog::{Event, EventHeader, EventKind, FormatDescription, HEADER_LEN, MAGIC};
use crate::model::position::{FIRST_OFFSET, compare_files};
use crate::model::{Error, ErrorKind, Place, Position, Result};

use super::files::FileEntry;
use super::received::{Received, Seen};
use super::{RelayLog, Tip, blocking};

/// How much is read at once.
const CHUNK: usize = 256 << 10;

/// A whole event of the relay log, its frame and checksum found right.
#[derive(Clone, Copy, Debug)]
pub struct RawEvent<'a> {
    /// The sub-folder it is in.
    pub folder: &'a str,
    /// The file it is in.
    pub file: &'a str,
    /// Where it starts.
    pub offset: u64,
    /// Where it ends.
    pub end_offset: u64,
    /// All of it, header and checksum included.
    pub bytes: &'a [u8],
    /// Its header and body.
    pub event: Event<'a>,
    /// How its file's events are read.
    pub format: &'a FormatDescription,
    /// Whether its transaction came from the server before, and with it was handed on already.
    pub was_received: bool,
    /// Whether such a transaction ends with it: only there may a reader begin again.
    pub ends_received: bool,
}

impl RawEvent<'_> {
    /// Where it starts.
    pub fn place(&self) -> Place {
        Place::new(self.folder, Position::new(self.file, self.offset))
    }

    /// Where it ends.
    pub fn end_place(&self) -> Place {
        Place::new(self.folder, Position::new(self.file, self.end_offset))
    }
}

/// Follows the relay log from a place on, across files and sub-folders.
pub struct Reader {
    log: Arc<RelayLog>,
    tip: watch::Receiver<Tip>,
    folder: String,
    name: String,
    file: Option<Arc<File>>,
    format: Option<FormatDescription>,
    /// Where the next event starts.
    offset: u64,
    /// How far this file may be read, as last asked.
    limit: u64,
    /// Whether `limit` is the file's end for good.
    is_complete: bool,
    /// Whether transactions are missing behind it.
    is_cut: bool,
    /// The file's bytes from `buffer_start` on.
    buffer: Vec<u8>,
    buffer_start: u64,
    /// What of this sub-folder is known from the one before it.
    received: Option<Received>,
    /// Where to begin; what is before it is only read to learn what was received.
    begin: Option<Position>,
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader")
            .field("place", &self.place())
            .field("limit", &self.limit)
            .finish_non_exhaustive()
    }
}

impl Reader {
    pub(super) fn new(log: Arc<RelayLog>, from: &Place) -> Result<Self> {
        if from.folder.is_empty() || from.position.file.contains('/') {
            return Err(Error::new(
                ErrorKind::Internal,
                format!("`{from}` is no place in a relay log"),
            ));
        }
        let tip = log.published();
        let (received, first) = log.received_from(from);
        let mut start = from.position.clone();
        start.offset = start.offset.max(FIRST_OFFSET);
        let mut begin = None;
        if let Some(first) = first
            && first < start
        {
            begin = Some(std::mem::replace(&mut start, first));
        }
        Ok(Self {
            log,
            tip,
            folder: from.folder.clone(),
            name: start.file,
            file: None,
            format: None,
            offset: start.offset,
            limit: 0,
            is_complete: false,
            is_cut: false,
            buffer: Vec::new(),
            buffer_start: 0,
            received,
            begin,
        })
    }

    /// Goes to another place of this sub-folder.
    fn go_to(&mut self, position: Position) {
        self.name = position.file;
        self.file = None;
        self.format = None;
        self.offset = position.offset;
        self.limit = 0;
        self.is_complete = false;
        self.is_cut = false;
    }

    /// Where the next event starts.
    pub fn place(&self) -> Place {
        Place::new(
            self.folder.clone(),
            Position::new(self.name.clone(), self.offset),
        )
    }

    /// How to read the events: the format description of the file the last event was in.
    pub fn format(&self) -> Option<&FormatDescription> {
        self.format.as_ref()
    }

    /// Whether everything published has been read.
    pub fn is_at_tip(&self) -> bool {
        let tip = self.tip.borrow();
        tip.place.as_ref().is_none_or(|place| {
            place.folder == self.folder
                && place.position.file == self.name
                && place.position.offset <= self.offset
        })
    }

    /// The next event; waits at the tip for the next transaction. May be dropped and called again at
    /// any time: no event is lost or given twice.
    pub async fn next(&mut self) -> Result<RawEvent<'_>> {
        let mut size = self.wait().await?;
        let mut seen = Seen::Fresh;
        // Only behind a replaced source.
        while self.received.is_some() {
            let is_before = self.is_before_begin();
            let learnt = self.learn(size);
            let learnt = learnt.map_err(|e| e.at(|c| c.place = Some(self.place())))?;
            if !is_before {
                seen = learnt;
                break;
            }
            self.offset += size as u64;
            if self.received.is_none()
                && let Some(begin) = self.begin.take()
            {
                self.go_to(begin);
            }
            size = self.wait().await?;
        }
        let start = self.offset;
        let place = || Place::new(self.folder.clone(), Position::new(self.name.clone(), start));
        let at = usize::try_from(start - self.buffer_start).unwrap_or(usize::MAX);
        let bytes = self
            .buffer
            .get(at..)
            .and_then(|from| from.get(..size))
            .ok_or_else(|| Error::new(ErrorKind::Internal, "an event that was not read"))?;
        let is_format = EventHeader::parse(bytes)?.kind == EventKind::FORMAT_DESCRIPTION;
        if is_format {
            let format = FormatDescription::parse(bytes);
            self.format = Some(format.map_err(|e| e.at(|c| c.place = Some(place())))?);
        }
        let Some(format) = &self.format else {
            return Err(Error::new(
                ErrorKind::Damaged,
                "a relay file does not begin with a format description",
            )
            .at(|c| c.place = Some(place())));
        };
        let event = format
            .open(bytes)
            .map_err(|e| e.at(|c| c.place = Some(place())))?;
        self.offset = start + size as u64;
        Ok(RawEvent {
            folder: &self.folder,
            file: &self.name,
            offset: start,
            end_offset: self.offset,
            bytes,
            event,
            format,
            was_received: seen != Seen::Fresh,
            ends_received: seen == Seen::Ends,
        })
    }

    /// Whether the next event is before the one to begin with.
    fn is_before_begin(&mut self) -> bool {
        let is_before = self
            .begin
            .as_ref()
            .is_some_and(|begin| self.place().position < *begin);
        if !is_before {
            self.begin = None;
        }
        is_before
    }

    /// Looks whether the next event, which is in the buffer, was received from the server before.
    fn learn(&mut self, size: usize) -> Result<Seen> {
        let at = usize::try_from(self.offset - self.buffer_start).unwrap_or(usize::MAX);
        let bytes = self.buffer.get(at..).and_then(|from| from.get(..size));
        let bytes = bytes.unwrap_or_default();
        if EventHeader::parse(bytes)?.kind == EventKind::FORMAT_DESCRIPTION {
            self.format = Some(FormatDescription::parse(bytes)?);
        }
        let (Some(format), Some(received)) = (&self.format, &mut self.received) else {
            return Ok(Seen::Fresh);
        };
        let seen = received.step(self.offset, &format.open(bytes)?)?;
        if received.is_past() {
            self.received = None;
            let end = Position::new(self.name.clone(), self.offset + size as u64);
            self.log.set_received_until(&self.folder, end);
        }
        Ok(seen)
    }

    /// Waits until the next event is in the buffer; gives its size.
    async fn wait(&mut self) -> Result<usize> {
        loop {
            if self.offset < self.limit {
                return self.load().await;
            }
            if self.look()? {
                continue;
            }
            // The sender lives as long as the log, and this holds the log.
            if self.tip.changed().await.is_err() {
                return Err(Error::new(ErrorKind::Internal, "the relay log is gone"));
            }
        }
    }

    /// Looks how far the file may be read by now, and goes on to the next one at its end; gives
    /// whether anything came of it.
    fn look(&mut self) -> Result<bool> {
        if self.is_cut && self.offset == self.limit {
            return Err(self.damaged("the relay file lacks transactions at its end"));
        }
        if self.is_complete
            && let Some((folder, name)) = self.log.file_after(&self.folder, &self.name)?
        {
            self.go_to(Position::new(name, FIRST_OFFSET));
            if folder != self.folder {
                self.folder = folder;
                self.begin = None;
                (self.received, _) = self.log.received_from(&self.place());
            }
        }
        // Seen before the index is asked, so that a change in between wakes the wait.
        let Some(tip) = self.tip.borrow_and_update().place.clone() else {
            return Ok(false);
        };
        let was = (self.limit, self.is_complete);
        if tip.folder == self.folder && tip.position.file == self.name {
            self.limit = tip.position.offset;
            self.is_complete = false;
        } else if let Some(file) = self.final_size()? {
            self.limit = file.size;
            self.is_complete = true;
            self.is_cut = file.is_cut;
        }
        if self.is_complete && self.offset > self.limit {
            return Err(Error::new(
                ErrorKind::History,
                format!(
                    "{} is beyond the end of its relay file, which has {} bytes",
                    self.place(),
                    self.limit
                ),
            ));
        }
        Ok(was != (self.limit, self.is_complete))
    }

    /// The size of this file, if the tip is beyond it; an error if the file will never come.
    fn final_size(&self) -> Result<Option<FileEntry>> {
        let index = self.log.index();
        if let Some(folder) = index.folder(&self.folder)
            && let Some(file) = folder.files.iter().find(|file| file.name == self.name)
        {
            let is_newest = index.newest_folder().is_some_and(|newest| {
                newest.about.name == self.folder
                    && newest
                        .files
                        .last()
                        .is_some_and(|last| last.name == self.name)
            });
            return Ok((!is_newest).then(|| file.clone()));
        }
        // A newest sub-folder that has no file yet waits for it.
        let is_to_come = match index.newest_folder() {
            Some(newest) if newest.about.name == self.folder => newest
                .files
                .last()
                .is_none_or(|last| compare_files(&last.name, &self.name).is_lt()),
            _ => false,
        };
        if is_to_come {
            return Ok(None);
        }
        Err(Error::new(
            ErrorKind::Purged,
            format!(
                "the relay log no longer has `{}/{}`",
                self.folder, self.name
            ),
        )
        .with_fix("start the task anew from a full copy"))
    }

    /// Reads until the event at `offset` is whole in the buffer; gives its size.
    async fn load(&mut self) -> Result<usize> {
        if self.file.is_none() {
            self.open().await?;
        }
        self.fill(HEADER_LEN).await?;
        let at = usize::try_from(self.offset - self.buffer_start).unwrap_or(usize::MAX);
        let header = EventHeader::parse(self.buffer.get(at..).unwrap_or_default())
            .map_err(|e| e.at(|c| c.place = Some(self.place())))?;
        let size = header.event_size as usize;
        self.fill(size).await?;
        Ok(size)
    }

    /// Opens the file; a reader that starts in its middle reads the format description first.
    async fn open(&mut self) -> Result<()> {
        let path = self.log.path_of(&self.place());
        let shown = path.clone();
        let wants_format = self.offset > FIRST_OFFSET;
        let opened = blocking(move || open(&path, wants_format)).await?;
        let (file, first) = match opened {
            Ok(Some(opened)) => opened,
            Ok(None) => {
                return Err(self.damaged("the relay file does not begin as a binlog file does"));
            }
            // Of one that was purged the index knows, and is asked first.
            Err(e) if e.kind() == IoKind::NotFound => {
                return Err(self.damaged("the relay file is gone"));
            }
            Err(e) => return Err(Error::file("read", &shown, e)),
        };
        if wants_format {
            let format = FormatDescription::parse(&first);
            self.format = Some(format.map_err(|e| e.at(|c| c.place = Some(self.place())))?);
        }
        self.file = Some(Arc::new(file));
        self.buffer.clear();
        self.buffer_start = self.offset;
        Ok(())
    }

    /// Makes sure that `length` bytes from `offset` on are in the buffer.
    async fn fill(&mut self, length: usize) -> Result<()> {
        let have_end = self.buffer_start + self.buffer.len() as u64;
        let need_end = self.offset + length as u64;
        if need_end <= have_end {
            return Ok(());
        }
        if need_end > self.limit {
            return Err(Error::new(
                ErrorKind::Damaged,
                format!(
                    "an event of {length} bytes does not end before {}, where a transaction ends",
                    self.limit
                ),
            )
            .at(|c| c.place = Some(self.place())));
        }
        let Some(file) = self.file.clone() else {
            return Err(Error::new(
                ErrorKind::Internal,
                "a relay file that is not open",
            ));
        };
        let wanted = (self.limit - self.offset).min((CHUNK as u64).max(length as u64));
        let wanted = usize::try_from(wanted).unwrap_or(usize::MAX);
        // What is left of the old chunk is moved, the rest is read behind it. The buffer leaves
        // `self` while the read runs: if this is dropped, the bytes are simply read again.
        let at = usize::try_from(self.offset - self.buffer_start)
            .unwrap_or(usize::MAX)
            .min(self.buffer.len());
        let mut buffer = std::mem::take(&mut self.buffer);
        self.buffer_start = self.offset;
        buffer.drain(..at);
        if wanted <= CHUNK && buffer.capacity() > 4 * CHUNK {
            // One huge event does not hold its memory for good.
            buffer.shrink_to(CHUNK);
        }
        let read_from = self.offset + buffer.len() as u64;
        let read = blocking(move || {
            let size = file.metadata()?.len();
            // Of a file that lost its end there is less to read than there should be; and no more memory
            // is taken than that.
            let there = usize::try_from(size.saturating_sub(read_from)).unwrap_or(usize::MAX);
            let have = buffer.len();
            buffer.resize(wanted.min(have.saturating_add(there)), 0);
            let rest = buffer.get_mut(have..).unwrap_or_default();
            file.read_exact_at(rest, read_from).map(|()| buffer)
        })
        .await?;
        self.buffer = match read {
            Ok(buffer) => buffer,
            // It was cut between the look and the reading.
            Err(e) if e.kind() == IoKind::UnexpectedEof => Vec::new(),
            Err(e) => {
                let path = self.log.path_of(&self.place());
                return Err(Error::file("read", &path, e));
            }
        };
        if self.buffer.len() < length {
            return Err(self.damaged("the relay file has lost its end"));
        }
        Ok(())
    }

    fn damaged(&self, what: &str) -> Error {
        Error::new(ErrorKind::Damaged, what).at(|c| c.place = Some(self.place()))
    }
}

/// Opens a relay file, with its first event where that is wanted; `None` if it does not begin as a binlog
/// file does.
fn open(path: &Path, wants_format: bool) -> std::io::Result<Option<(File, Vec<u8>)>> {
    let file = File::open(path)?;
    let size = file.metadata()?.len();
    let mut head = vec![0; MAGIC.len() + HEADER_LEN];
    if size < head.len() as u64 {
        return Ok(None);
    }
    file.read_exact_at(&mut head, 0)?;
    if !head.starts_with(&MAGIC) {
        return Ok(None);
    }
    let mut first = Vec::new();
    if wants_format {
        let header = EventHeader::parse(head.get(MAGIC.len()..).unwrap_or_default());
        // Not as long as a damaged length says, but as what is there.
        let length = header.map(|header| u64::from(header.event_size)).ok();
        let Some(length) = length.filter(|length| *length <= size - FIRST_OFFSET) else {
            return Ok(None);
        };
        first.resize(usize::try_from(length).unwrap_or(usize::MAX), 0);
        file.read_exact_at(&mut first, FIRST_OFFSET)?;
    }
    Ok(Some((file, first)))
}
