//! The one writer of a relay log.
//!
//! Bytes go to a buffer, from there to the file, and only then is the tip moved: readers find
//! everything before it in the file. An event is checked at its last byte; one that is wrong is cut
//! off again, and nobody has seen it.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;

use crate::binlog::EventHeader;
use crate::model::position::{FIRST_OFFSET, file_number};
use crate::model::{Error, ErrorKind, Place, Position, Result};

use super::files::{self, FileEntry};
use super::progress::{Partial, Progress};
use super::{RelayLog, SubFolder, Tip, blocking};

/// The buffer goes to the file when it holds this much, or when the source has no more just now. It is
/// short enough to be in the core's cache still.
const BUFFER: usize = 128 << 10;
/// So much of the buffer is written at once. For longer writes Linux looks for memory in longer pieces,
/// and with a full page cache spends a quarter of the relay's time on making them.
const WRITE: usize = 32 << 10;
/// So much of what is here already is read back at once, to be compared with what comes again.
const COMPARE: usize = 1 << 20;
/// How often the state file is written while something happens.
const STATE_EVERY: Duration = Duration::from_secs(1);

/// Appends to the newest sub-folder. It writes on the thread it is used on, which a busy disk may hold
/// up: it wants one of its own. Its futures must be run to their end; dropping the writer between them
/// is fine: what was not written out is fetched again.
#[derive(Debug)]
pub struct Writer {
    lease: Lease,
    about: SubFolder,
    folder: PathBuf,
    current: Option<Current>,
    saved_at: Instant,
    /// What is on the disk, or will be when `saving` is done.
    saved: Option<Place>,
    saving: Option<JoinHandle<Result<()>>>,
}

/// Ends with the writer.
#[derive(Debug)]
struct Lease {
    log: Arc<RelayLog>,
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.log.index().has_writer = false;
    }
}

#[derive(Debug)]
struct Current {
    name: String,
    path: PathBuf,
    file: Arc<File>,
    progress: Progress,
    partial: Option<Partial>,
    /// Where what comes again differs from what is here, within the event that is coming.
    differs_at: Option<u64>,
    /// The file's length without the buffer.
    written: u64,
    buffer: Vec<u8>,
    /// Bytes before this are in the file already: what is received again must be equal to them.
    known_end: u64,
    known: Chunk,
}

/// A piece of the file, read back for comparison.
#[derive(Debug, Default)]
struct Chunk {
    start: u64,
    bytes: Vec<u8>,
}

impl Writer {
    pub(super) fn new(log: Arc<RelayLog>) -> Result<Self> {
        let mut index = log.index();
        if index.has_writer {
            return Err(Error::new(
                ErrorKind::Internal,
                "the relay log has a writer already",
            ));
        }
        let Some(about) = index.newest_folder().map(|folder| folder.about.clone()) else {
            return Err(Error::new(
                ErrorKind::Internal,
                "the relay log has no sub-folder to write to",
            ));
        };
        index.has_writer = true;
        drop(index);
        let folder = log.folder.join(&about.name);
        Ok(Self {
            lease: Lease { log },
            about,
            folder,
            current: None,
            saved_at: Instant::now(),
            saved: None,
            saving: None,
        })
    }

    fn log(&self) -> &Arc<RelayLog> {
        &self.lease.log
    }

    /// Where to ask the source to go on: the start of the last whole transaction here, which is then
    /// compared; `None` if the sub-folder has no file yet.
    pub fn resume_position(&self) -> Option<Position> {
        let index = self.log().index();
        let file = index.newest_folder()?.files.last()?;
        Some(Position::new(file.name.clone(), index.newest.resume_start))
    }

    /// The file being written.
    pub fn file(&self) -> Option<&str> {
        self.current.as_ref().map(|current| current.name.as_str())
    }

    /// Whether an event has begun to come and is not whole yet.
    pub fn is_within_event(&self) -> bool {
        self.current
            .as_ref()
            .is_some_and(|current| current.partial.is_some())
    }

    /// Where the next byte received belongs; `None` before the first file.
    pub fn offset(&self) -> Option<u64> {
        let current = self.current.as_ref()?;
        Some(current.progress.event_end)
    }

    /// Goes on in the newest file at `position`, or begins that file. The bytes from there on that are
    /// in it already must come again.
    pub async fn begin_file(&mut self, position: &Position) -> Result<()> {
        if let Some(current) = &mut self.current {
            // An event that the source's own crash cut off is in neither file.
            current.cut_back();
            if current.progress.event_end < current.known_end {
                return Err(current.other_history(current.progress.event_end));
            }
        }
        self.flush().await?;
        self.end_save().await?;
        let (newest, progress, gtid_set) = {
            let index = self.log().index();
            let newest = index
                .newest_folder()
                .and_then(|folder| folder.files.last())
                .map(|file| file.name.clone());
            let gtid_set = self.log().tip.borrow().gtid_set.clone();
            (newest, index.newest.clone(), gtid_set)
        };
        let path = self.folder.join(&position.file);
        if newest.as_deref() == Some(position.file.as_str()) {
            self.current = Some(Current::reopen(path, position, progress)?);
            return Ok(());
        }
        let is_older = newest.as_deref().is_some_and(|newest| {
            crate::model::position::compare_files(&position.file, newest).is_le()
        });
        if is_older || position.offset != FIRST_OFFSET {
            return Err(history(format!(
                "the source goes on at {position}, but the relay log ends in `{}`",
                newest.unwrap_or_default()
            )));
        }
        if let Some(newest) = &newest
            && !follows(&position.file, newest)
        {
            return Err(history(format!(
                "the source goes on in `{}` behind `{newest}`: what is between them is missing",
                position.file
            )));
        }
        if newest.is_some() {
            // What is left behind is complete, and noted as such before the next one is there: power may
            // fail from here on.
            self.note_end();
            let (log, folder) = (Arc::clone(self.log()), self.about.name.clone());
            blocking(move || log.leave_newest_file(&folder)).await??;
        }
        self.current = None;
        let file = files::create_file(&path)?;
        let progress = Progress::of_new_file(gtid_set);
        {
            let mut index = self.log().index();
            index.newest = progress.clone();
            if let Some(folder) = index.folders.last_mut() {
                let file = FileEntry::new(position.file.clone(), FIRST_OFFSET);
                folder.files.push(file);
            }
        }
        tracing::info!(unit = "relay", file = %position.file, folder = %self.about.name, "relay file begun");
        self.current = Some(Current {
            name: position.file.clone(),
            path,
            file: Arc::new(file),
            progress,
            partial: None,
            differs_at: None,
            written: FIRST_OFFSET,
            buffer: Vec::with_capacity(BUFFER),
            known_end: FIRST_OFFSET,
            known: Chunk::default(),
        });
        // The tip moves to the new file, so that readers leave the old one.
        self.publish();
        Ok(())
    }

    /// Takes the next bytes of the file: a whole event, or a piece of one of which the first has at
    /// least the header. Gives whether an event was completed by it.
    pub async fn append(&mut self, bytes: &[u8]) -> Result<bool> {
        let Some(current) = &mut self.current else {
            return Err(Error::new(
                ErrorKind::Damaged,
                "the source sent an event before it named the file",
            ));
        };
        match current.append(bytes).await {
            Ok(is_whole) => {
                if current.buffer.len() >= BUFFER {
                    self.flush().await?;
                }
                Ok(is_whole)
            }
            Err(error) => {
                let place = self.place();
                Err(error.at(|c| c.place = place))
            }
        }
    }

    /// Writes the buffer out and moves the tip; to be called whenever the source has no more just now.
    pub async fn flush(&mut self) -> Result<()> {
        let Some(current) = &mut self.current else {
            return Ok(());
        };
        if !current.buffer.is_empty() {
            current.write_out()?;
            self.publish();
        }
        if self.saved_at.elapsed() >= STATE_EVERY {
            self.begin_save().await?;
        }
        Ok(())
    }

    /// Begins to save, while bytes go on to come: a busy disk takes its time. One at a time.
    async fn begin_save(&mut self) -> Result<()> {
        if self
            .saving
            .as_ref()
            .is_some_and(|saving| !saving.is_finished())
        {
            return Ok(());
        }
        self.end_save().await?;
        self.saved_at = Instant::now();
        let Some(end) = self.log().tip.borrow().place.clone() else {
            return Ok(());
        };
        if self.saved.as_ref() == Some(&end) || end.folder != self.about.name {
            return Ok(());
        }
        self.note_end();
        self.saved = Some(end.clone());
        let log = Arc::clone(self.log());
        self.saving = Some(tokio::task::spawn_blocking(move || log.keep(&end)));
        Ok(())
    }

    /// Waits until what is being saved is.
    async fn end_save(&mut self) -> Result<()> {
        let Some(saving) = &mut self.saving else {
            return Ok(());
        };
        let saved = saving.await;
        self.saving = None;
        let saved = saved
            .map_err(|e| Error::new(ErrorKind::Panicked, "file work was broken off").with_source(e))
            .flatten();
        if saved.is_err() {
            self.saved = None;
        }
        saved
    }

    /// Brings what was published to the disk and writes the state file.
    pub async fn save(&mut self) -> Result<()> {
        self.end_save().await?;
        self.begin_save().await?;
        self.end_save().await
    }

    /// Puts where the log ends into what the state file is to say.
    fn note_end(&self) {
        let tip = self.log().tip.borrow().clone();
        let mut index = self.log().index();
        if let (Some(place), Some(entry)) = (tip.place, index.folders.last_mut())
            && place.folder == entry.about.name
        {
            entry.state.file = Some(place.position.file);
            entry.state.offset = place.position.offset;
            entry.state.gtid_set = tip.gtid_set;
        }
    }

    fn place(&self) -> Option<Place> {
        let current = self.current.as_ref()?;
        Some(Place::new(
            self.about.name.clone(),
            Position::new(current.name.clone(), current.progress.event_end),
        ))
    }

    /// Moves the tip to the end of the last whole transaction that is in the file.
    fn publish(&mut self) {
        let Some(current) = &mut self.current else {
            return;
        };
        let log = &self.lease.log;
        {
            let mut index = log.index();
            // While known bytes come again there is nothing new.
            if current.progress.event_end < index.newest.event_end {
                return;
            }
            index.newest = current.progress.clone();
            if let Some(file) = index
                .folders
                .last_mut()
                .and_then(|folder| folder.files.last_mut())
            {
                file.size = current.progress.event_end;
            }
        }
        let place = Place::new(
            self.about.name.clone(),
            Position::new(current.name.clone(), current.progress.group_end),
        );
        log.tip.send_if_modified(|tip| {
            if tip.place.as_ref() == Some(&place) {
                return false;
            }
            *tip = Tip {
                place: Some(place),
                gtid_set: current.progress.gtid_set.clone(),
            };
            true
        });
    }
}

impl Current {
    fn reopen(path: PathBuf, position: &Position, mut progress: Progress) -> Result<Self> {
        let known_end = progress.event_end;
        if position.offset > known_end {
            return Err(history(format!(
                "the source goes on at {position}, but the relay log ends at {known_end}"
            )));
        }
        let open = || -> std::io::Result<File> {
            let file = OpenOptions::new().read(true).write(true).open(&path)?;
            // The beginning of an event whose end never came.
            file.set_len(known_end)?;
            Ok(file)
        };
        let file = open().map_err(|e| Error::file("open", &path, e))?;
        progress.rewind(position.offset);
        Ok(Self {
            name: position.file.clone(),
            path,
            file: Arc::new(file),
            progress,
            partial: None,
            differs_at: None,
            written: known_end,
            buffer: Vec::with_capacity(BUFFER),
            known_end,
            known: Chunk::default(),
        })
    }

    async fn append(&mut self, bytes: &[u8]) -> Result<bool> {
        let start = match &self.partial {
            Some(partial) => {
                if bytes.len() as u64 > partial.missing() {
                    return Err(Error::new(
                        ErrorKind::Damaged,
                        "the source sent more bytes than the event has",
                    ));
                }
                self.progress.event_end + partial.seen()
            }
            None => self.progress.event_end,
        };
        if self.differs_at.is_some() {
            // It is still to be seen whether it came undamaged.
        } else if start < self.known_end {
            if !self.is_known(start, bytes).await? {
                self.differs_at = Some(start);
            }
        } else {
            self.buffer.extend_from_slice(bytes);
        }
        let taken = self.take(bytes);
        if taken.is_err() {
            self.cut_back();
        }
        taken
    }

    /// Checks what has come; gives whether it completed an event.
    fn take(&mut self, bytes: &[u8]) -> Result<bool> {
        if let Some(mut partial) = self.partial.take() {
            partial.feed(bytes);
            if partial.missing() > 0 {
                self.partial = Some(partial);
                return Ok(false);
            }
            let event = self.progress.verify_partial(&partial)?;
            self.check_known()?;
            self.progress.take(&event, partial.head())?;
            return Ok(true);
        }
        let header = EventHeader::parse(bytes)?;
        if u64::from(header.event_size) > bytes.len() as u64 {
            self.check_place(&header)?;
            let mut partial = self.progress.begin_partial(header)?;
            partial.feed(bytes);
            self.partial = Some(partial);
            return Ok(false);
        }
        let event = self.progress.verify(bytes)?;
        self.check_known()?;
        self.check_place(&header)?;
        self.progress.take(&event, bytes)?;
        Ok(true)
    }

    /// An event that came undamaged must be what is here, where anything is. One that was damaged on
    /// the way is no other history: it is asked for again.
    fn check_known(&self) -> Result<()> {
        match self.differs_at {
            Some(at) => Err(self.other_history(at)),
            None => Ok(()),
        }
    }

    fn other_history(&self, offset: u64) -> Error {
        history(format!(
            "the source's binlog at {}:{offset} is not what the relay log has there",
            self.name
        ))
    }

    /// The event must say that it ends where it will end in this file: nothing is missing before it.
    fn check_place(&self, header: &EventHeader) -> Result<()> {
        let start = self.progress.event_end;
        let end = start + u64::from(header.event_size);
        // The field has 32 bits and wraps in files above 4 GiB. MariaDB 11.8 leaves it 0 in the events
        // within a transaction; the GTID before and the XID behind them have it.
        let may_be_unsaid = header.log_pos == 0 && self.progress.is_inside();
        if header.log_pos == end as u32 || may_be_unsaid {
            return Ok(());
        }
        Err(history(format!(
            "{} that was expected at {}:{start} says that it ends at {}, {} bytes long",
            header.kind, self.name, header.log_pos, header.event_size
        )))
    }

    /// Whether what comes again is what is here.
    async fn is_known(&mut self, start: u64, bytes: &[u8]) -> Result<bool> {
        let end = start + bytes.len() as u64;
        if end > self.known_end {
            return Ok(false);
        }
        let chunk_end = self.known.start + self.known.bytes.len() as u64;
        if start < self.known.start || end > chunk_end {
            let length = (self.known_end - start).min((COMPARE as u64).max(bytes.len() as u64));
            let length = usize::try_from(length).unwrap_or(usize::MAX);
            let file = Arc::clone(&self.file);
            let mut buffer = std::mem::take(&mut self.known.bytes);
            let read = blocking(move || {
                buffer.resize(length, 0);
                file.read_exact_at(&mut buffer, start).map(|()| buffer)
            })
            .await?;
            self.known = Chunk {
                start,
                bytes: read.map_err(|e| Error::file("read", &self.path, e))?,
            };
        }
        let at = usize::try_from(start - self.known.start).unwrap_or(usize::MAX);
        let have = self
            .known
            .bytes
            .get(at..)
            .and_then(|from| from.get(..bytes.len()));
        Ok(have == Some(bytes))
    }

    fn write_out(&mut self) -> Result<()> {
        let (mut at, mut rest) = (self.written, self.buffer.as_slice());
        while !rest.is_empty() {
            // The pieces end where pages do.
            let room = WRITE - usize::try_from(at % WRITE as u64).unwrap_or(0);
            let (piece, behind) = rest.split_at(room.min(rest.len()));
            if let Err(e) = self.file.write_all_at(piece, at) {
                // No torn event stays, and the space of a half-written one is given back.
                let _ = self.file.set_len(self.written);
                return Err(Error::file("write", &self.path, e));
            }
            at += piece.len() as u64;
            rest = behind;
        }
        self.written = at;
        self.buffer.clear();
        Ok(())
    }

    /// Takes the bytes of an event that is wrong out of the buffer and the file.
    fn cut_back(&mut self) {
        self.partial = None;
        self.differs_at = None;
        let end = self.progress.event_end.max(self.known_end);
        let kept = usize::try_from(end.saturating_sub(self.written)).unwrap_or(usize::MAX);
        self.buffer.truncate(kept);
        // Only when an event that is longer than the buffer is wrong.
        if end < self.written {
            // If it cannot be cut now, it is when the file is opened again.
            let _ = self.file.set_len(end);
            self.written = end;
        }
    }
}

/// Whether a file is the next one behind another: servers number them without a gap.
fn follows(file: &str, before: &str) -> bool {
    match (file_number(before), file_number(file)) {
        (Some((stem, number)), Some((next, behind))) => stem == next && behind == number + 1,
        _ => false,
    }
}

fn history(message: String) -> Error {
    Error::new(ErrorKind::History, message).with_fix(
        "the source was reset, restored or replaced: move the relay log's folder away and start \
         its tasks anew from a full copy",
    )
}
