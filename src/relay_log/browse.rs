//! Relay files as they lie there, for those who only look: nothing is opened for writing, cut or
//! waited for, and a worker may be at work meanwhile.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufReader, ErrorKind as IoKind, Read};
use std::path::{Path, PathBuf};

use super::files::{self, State};
use crate::binlog::{Event, EventHeader, EventKind, FormatDescription, HEADER_LEN, MAGIC};
use crate::model::position::FIRST_OFFSET;
use crate::model::{Error, ErrorKind, Place, Position, Result};

const READ_BUFFER: usize = 1 << 20;

/// An event of a relay file.
#[derive(Clone, Debug)]
pub struct Browsed<'a> {
    /// Where it starts.
    pub place: Place,
    /// Where it ends.
    pub end_offset: u64,
    /// Its header and body.
    pub event: Event<'a>,
    /// How its file's events are read.
    pub format: &'a FormatDescription,
}

/// Goes through relay files from one on.
#[derive(Debug)]
pub struct Browser {
    /// Sub-folder, name and path of each, oldest first.
    files: Vec<(String, String, PathBuf)>,
    /// How many bytes those have that are complete, as far as that was noted.
    sizes: HashMap<PathBuf, u64>,
    at: usize,
    reader: Option<BufReader<File>>,
    offset: u64,
    format: Option<FormatDescription>,
    bytes: Vec<u8>,
}

impl Browser {
    /// Begins with the file `from`, of this sub-folder or of the newest that has one of that name; with
    /// the oldest file where nothing is asked for. `None` while there is no file at all.
    pub fn open(folder: &Path, from: Option<(Option<&str>, &str)>) -> Result<Option<Self>> {
        let mut files = Vec::new();
        let mut sizes = HashMap::new();
        if folder.exists() {
            for name in files::list_folders(folder)? {
                let path = folder.join(&name);
                // Whoever only looks does so without it as well.
                let noted = State::load(&path).ok().flatten().map(|state| state.sizes);
                let noted = noted.unwrap_or_default();
                let here = files::with_gone(files::list_files(&path)?, &noted);
                let noted = noted.into_iter();
                sizes.extend(noted.map(|(name, size)| (path.join(name), size)));
                for file in here {
                    let path = path.join(&file.name);
                    files.push((name.clone(), file.name, path));
                }
            }
        }
        let (Some(oldest), Some(newest)) = (files.first(), files.last()) else {
            return Ok(None);
        };
        let at = match from {
            None => 0,
            Some((folder, file)) => {
                let is_it = |of: &(String, String, PathBuf)| {
                    of.1 == file && folder.is_none_or(|folder| of.0 == folder)
                };
                files.iter().rposition(is_it).ok_or_else(|| {
                    let folder = folder.map_or_else(String::new, |folder| format!("{folder}/"));
                    Error::new(
                        ErrorKind::Config,
                        format!("the relay log has no file `{folder}{file}`"),
                    )
                    .with_fix(format!(
                        "it has `{}/{}` to `{}/{}`",
                        oldest.0, oldest.1, newest.0, newest.1
                    ))
                })?
            }
        };
        Ok(Some(Self {
            files,
            sizes,
            at,
            reader: None,
            offset: FIRST_OFFSET,
            format: None,
            bytes: Vec::new(),
        }))
    }

    /// Where the next event starts, if there is one.
    pub fn place(&self) -> Option<Place> {
        let (folder, name, _) = self.files.get(self.at)?;
        Some(Place::new(
            folder,
            Position::new(name.as_str(), self.offset),
        ))
    }

    /// The next event; `None` at the end of what is there. What a worker has written of an event
    /// counts when all of it is there.
    pub fn next_event(&mut self) -> Result<Option<Browsed<'_>>> {
        let size = loop {
            let Some((_, _, path)) = self.files.get(self.at) else {
                return Ok(None);
            };
            let is_newest = self.at + 1 == self.files.len();
            let read = match &mut self.reader {
                Some(reader) => read_event(reader, &mut self.bytes),
                None => match open(path) {
                    Ok(reader) => read_event(self.reader.insert(reader), &mut self.bytes),
                    Err(e) => Err(e),
                },
            };
            match read {
                Ok(Some(size)) => break size,
                Ok(None) if is_newest => return Ok(None),
                Ok(None) if self.sizes.get(path).is_some_and(|size| *size > self.offset) => {
                    return Err(self.damaged("it has lost its end"));
                }
                Ok(None) => {
                    self.at += 1;
                    self.reader = None;
                    self.format = None;
                    self.offset = FIRST_OFFSET;
                }
                Err(e) if e.kind() == IoKind::UnexpectedEof && is_newest => return Ok(None),
                Err(e) if matches!(e.kind(), IoKind::UnexpectedEof | IoKind::InvalidData) => {
                    return Err(self.damaged("it ends within an event, or is no binlog file"));
                }
                Err(e) if e.kind() == IoKind::NotFound => {
                    return Err(self.damaged("it is gone"));
                }
                Err(e) => return Err(Error::file("read", path, e)),
            }
        };
        let place = self
            .place()
            .ok_or_else(|| Error::new(ErrorKind::Internal, "an event in no file"))?;
        let at = |e: Error| {
            let place = place.clone();
            e.at(|c| c.place = Some(place))
                .with_fix("have it fetched again: `tideway relay verify --mend`")
        };
        if EventHeader::parse(&self.bytes).map_err(at)?.kind == EventKind::FORMAT_DESCRIPTION {
            self.format = Some(FormatDescription::parse(&self.bytes).map_err(at)?);
        }
        let Some(format) = &self.format else {
            return Err(self.damaged("it does not begin with a format description"));
        };
        let event = format.open(&self.bytes).map_err(at)?;
        self.offset += size;
        Ok(Some(Browsed {
            end_offset: self.offset,
            place,
            event,
            format,
        }))
    }

    fn damaged(&self, what: &str) -> Error {
        let place = self.place();
        Error::new(
            ErrorKind::Damaged,
            format!("the relay file is damaged: {what}"),
        )
        .with_fix("have it fetched again: `tideway relay verify --mend`")
        .at(|c| c.place = place)
    }
}

fn open(path: &Path) -> std::io::Result<BufReader<File>> {
    let mut reader = BufReader::with_capacity(READ_BUFFER, File::open(path)?);
    let mut magic = [0; MAGIC.len()];
    reader.read_exact(&mut magic)?;
    if magic != MAGIC {
        return Err(IoKind::InvalidData.into());
    }
    Ok(reader)
}

/// Reads an event; gives its size, `None` at the file's end.
fn read_event(reader: &mut BufReader<File>, bytes: &mut Vec<u8>) -> std::io::Result<Option<u64>> {
    bytes.clear();
    let head = reader.take(HEADER_LEN as u64).read_to_end(bytes)?;
    if head == 0 {
        return Ok(None);
    }
    if head < HEADER_LEN {
        return Err(IoKind::UnexpectedEof.into());
    }
    let header = EventHeader::parse(bytes).map_err(|_| IoKind::InvalidData)?;
    let rest = u64::from(header.event_size) - HEADER_LEN as u64;
    // Grows with what is there, not with what a damaged length says.
    if (reader.take(rest).read_to_end(bytes)? as u64) < rest {
        return Err(IoKind::UnexpectedEof.into());
    }
    Ok(Some(u64::from(header.event_size)))
}
