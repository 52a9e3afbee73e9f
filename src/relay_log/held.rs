//! The very transactions that a MariaDB relay log holds.
//!
//! A set of MariaDB's names only the last one of each domain, and numbers within a domain need not
//! rise. When another server takes over, what came from the former one is told by what is in the files.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read as _};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::binlog::parse_gtid_list;
use crate::binlog::{EventHeader, EventKind, FormatDescription, GtidEvent, HEADER_LEN, MAGIC};
use crate::model::position::FIRST_OFFSET;
use crate::model::{Error, ErrorKind, Flavor, Gtid, Place, Position, Result};

use super::RelayLog;

/// A domain, and a server that wrote to it.
type Writer = (u32, u32);

/// The last number that each writer had reached.
type Heads = BTreeMap<Writer, u64>;

/// The transactions of one file: half-open intervals of numbers, in the order they were met.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Spans(BTreeMap<Writer, Vec<(u64, u64)>>);

impl Spans {
    fn insert(&mut self, writer: Writer, sequence: u64) {
        let all = self.0.entry(writer).or_default();
        match all.last_mut() {
            Some(last) if last.1 == sequence => last.1 += 1,
            _ => all.push((sequence, sequence.saturating_add(1))),
        }
    }

    fn has(&self, writer: Writer, sequence: u64) -> bool {
        let all = self.0.get(&writer).map_or(&[][..], Vec::as_slice);
        all.iter()
            .any(|(from, to)| *from <= sequence && sequence < *to)
    }
}

/// The transactions of the log's MariaDB servers. A file is read when a question needs it, the newest
/// first, and then kept in mind.
#[derive(Debug)]
pub struct Held {
    log: Arc<RelayLog>,
    files: Vec<HeldFile>,
}

#[derive(Debug)]
struct HeldFile {
    path: PathBuf,
    place: Place,
    /// How much of it counts: a transaction that has not come whole is not here.
    end: u64,
    /// More may come to it.
    is_newest: bool,
    /// What its head says that was before it; `None` where nothing can be told.
    before: Option<Heads>,
    spans: Option<Arc<Spans>>,
}

impl Held {
    /// Whether the transaction came, or was before the log began. May read a file, and so blocks.
    ///
    /// # Errors
    ///
    /// A file that has to be read is damaged, or cannot be read.
    pub fn has(&mut self, gtid: &Gtid) -> Result<bool> {
        let Gtid::MariaDB {
            domain,
            server,
            sequence,
        } = *gtid
        else {
            return Ok(false);
        };
        let writer = (domain, server);
        for at in (0..self.files.len()).rev() {
            if self.is_idle(at, writer) {
                continue;
            }
            let Some(file) = self.files.get_mut(at) else {
                break;
            };
            if file.spans(&self.log)?.has(writer, sequence) {
                return Ok(true);
            }
        }
        let before = self.files.iter().find_map(|file| file.before.as_ref());
        let last = before.and_then(|before| before.get(&writer));
        Ok(last.is_some_and(|last| sequence <= *last))
    }

    /// Whether nothing of `writer` is in the file, as it had come as far before as behind it.
    fn is_idle(&self, at: usize, writer: Writer) -> bool {
        let (Some(file), Some(next)) = (self.files.get(at), self.files.get(at + 1)) else {
            return false;
        };
        let (Some(before), Some(behind)) = (&file.before, &next.before) else {
            return false;
        };
        file.place.folder == next.place.folder && before.get(&writer) == behind.get(&writer)
    }
}

impl HeldFile {
    fn spans(&mut self, log: &RelayLog) -> Result<Arc<Spans>> {
        if let Some(spans) = &self.spans {
            return Ok(Arc::clone(spans));
        }
        let mut spans = Spans::default();
        read(&self.path, self.end, |found| {
            if let Found::Transaction(writer, sequence) = found {
                spans.insert(writer, sequence);
            }
            ControlFlow::Continue(())
        })
        .map_err(|e| e.at(|c| c.place = Some(self.place.clone())))?;
        let spans = Arc::new(spans);
        if !self.is_newest {
            log.keep_spans(&self.place, &spans);
        }
        self.spans = Some(Arc::clone(&spans));
        Ok(spans)
    }
}

enum Found {
    Head(Heads),
    Transaction(Writer, u64),
}

/// What the head of a file says that was before it; `None` where it cannot be read, as whoever needs
/// the file itself then finds out.
fn head(path: &Path, end: u64) -> Option<Heads> {
    let mut heads = None;
    let result = read(path, end, |found| {
        if let Found::Head(found) = found {
            heads = Some(found);
        }
        ControlFlow::Break(())
    });
    result.ok().and(heads)
}

/// Takes the heads of a file's events up to `end`; bodies are read where they tell transactions.
fn read(path: &Path, end: u64, mut take: impl FnMut(Found) -> ControlFlow<()>) -> Result<()> {
    let failed = |e| Error::file("read", path, e);
    // No more memory is taken than there is file, whatever a damaged length says.
    if std::fs::metadata(path).map_err(failed)?.len() < end {
        return Err(Error::new(
            ErrorKind::Damaged,
            "the relay file has lost its end",
        ));
    }
    let mut reader = BufReader::with_capacity(1 << 20, File::open(path).map_err(failed)?);
    let mut magic = [0; MAGIC.len()];
    reader.read_exact(&mut magic).map_err(failed)?;
    if magic != MAGIC {
        return Err(Error::new(
            ErrorKind::Damaged,
            "the relay file does not begin as a binlog file does",
        ));
    }
    let mut at = FIRST_OFFSET;
    let mut format: Option<FormatDescription> = None;
    let mut bytes = vec![0; HEADER_LEN];
    while at < end {
        bytes.resize(HEADER_LEN, 0);
        reader.read_exact(&mut bytes).map_err(failed)?;
        let header = EventHeader::parse(&bytes)?;
        let size = header.event_size as usize;
        at += size as u64;
        if at > end {
            return Err(Error::new(
                ErrorKind::Damaged,
                format!("{} does not end within the relay file", header.kind),
            ));
        }
        let kind = header.kind;
        let is_head = matches!(kind, EventKind::FORMAT_DESCRIPTION | EventKind::GTID_LIST);
        if !is_head && !kind.is_gtid() {
            let rest = i64::from(header.event_size) - HEADER_LEN as i64;
            reader.seek_relative(rest).map_err(failed)?;
            continue;
        }
        bytes.resize(size, 0);
        reader
            .read_exact(bytes.get_mut(HEADER_LEN..).unwrap_or_default())
            .map_err(failed)?;
        if kind == EventKind::FORMAT_DESCRIPTION {
            format = Some(FormatDescription::parse(&bytes)?);
            continue;
        }
        let Some(format) = &format else { continue };
        let event = format.open(&bytes)?;
        let found = if kind == EventKind::GTID_LIST {
            let list = parse_gtid_list(event.body)?;
            Found::Head(list.iter().filter_map(writer_of).collect())
        } else if let Some((writer, sequence)) = GtidEvent::parse(&event)?
            .gtid()
            .as_ref()
            .and_then(writer_of)
        {
            Found::Transaction(writer, sequence)
        } else {
            continue;
        };
        if take(found).is_break() {
            break;
        }
    }
    Ok(())
}

fn writer_of(gtid: &Gtid) -> Option<(Writer, u64)> {
    match gtid {
        Gtid::MariaDB {
            domain,
            server,
            sequence,
        } => Some(((*domain, *server), *sequence)),
        Gtid::MySQL { .. } => None,
    }
}

impl RelayLog {
    /// What the log holds of MariaDB's transactions. Reads the head of each file, and so blocks.
    pub fn held(self: &Arc<Self>) -> Held {
        let index = self.index();
        let mut files = Vec::new();
        for folder in &index.folders {
            if folder.about.flavor != Flavor::MariaDB {
                continue;
            }
            let path = self.folder.join(&folder.about.name);
            files.extend(folder.files.iter().map(|file| HeldFile {
                path: path.join(&file.name),
                place: Place::new(
                    folder.about.name.clone(),
                    Position::new(file.name.clone(), FIRST_OFFSET),
                ),
                end: file.size,
                is_newest: false,
                before: None,
                spans: file.held.clone(),
            }));
        }
        if index.newest_folder().is_some_and(|of| !of.files.is_empty())
            && let Some(newest) = files.last_mut()
        {
            newest.end = index.newest.group_end;
            newest.is_newest = true;
        }
        drop(index);
        for file in &mut files {
            file.before = head(&file.path, file.end);
        }
        Held {
            log: Arc::clone(self),
            files,
        }
    }

    fn keep_spans(&self, place: &Place, spans: &Arc<Spans>) {
        let mut index = self.index();
        let files = index.folder_mut(&place.folder).map(|of| &mut of.files);
        let mut files = files.into_iter().flatten();
        if let Some(file) = files.find(|file| file.name == place.position.file) {
            file.held = Some(Arc::clone(spans));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::relay_log::tests::{Binlog, at, write};

    fn of(server: u32, sequence: u64) -> Gtid {
        Gtid::MariaDB {
            domain: 0,
            server,
            sequence,
        }
    }

    fn found(held: &mut Held) -> Vec<u64> {
        (0..12).filter(|n| held.has(&of(1, *n)).unwrap()).collect()
    }

    #[tokio::test]
    async fn exactly_what_is_in_the_files_is_held() {
        let folder = tempfile::tempdir().unwrap();
        let log = RelayLog::open(folder.path()).unwrap();
        log.add_folder("7", Flavor::MariaDB, None).unwrap();
        let mut binlog = Binlog::new();
        binlog.gtid_list();
        for sequence in [5, 6, 9, 7] {
            binlog.transaction(sequence, b"rows");
        }
        let whole = binlog.events.len();
        binlog.transaction(8, b"rows");
        // The last one has not come whole.
        write(&log, at("bin.000001", 4), &binlog.events[..whole + 2])
            .await
            .unwrap();
        assert_eq!(found(&mut log.held()), [5, 6, 7, 9]);
    }

    #[tokio::test]
    async fn only_files_that_may_hold_it_are_read_and_once() {
        let folder = tempfile::tempdir().unwrap();
        let log = RelayLog::open(folder.path()).unwrap();
        let name = log.add_folder("7", Flavor::MariaDB, None).unwrap();
        let mut writer = log.writer().unwrap();
        for (file, sequences) in [("bin.000001", [2, 3]), ("bin.000002", [4, 6])] {
            let mut binlog = Binlog::new();
            binlog.gtid_list_of(sequences[0] - 1);
            for sequence in sequences {
                binlog.transaction(sequence, b"rows");
            }
            writer.begin_file(&at(file, 4)).await.unwrap();
            for event in &binlog.events {
                writer.append(event).await.unwrap();
            }
        }
        writer.flush().await.unwrap();
        drop(writer);
        let mut held = log.held();
        assert_eq!(found(&mut held), [0, 1, 2, 3, 4, 6], "1 was before the log");
        // The last event of the first file is gone.
        let first = folder.path().join(&name).join("bin.000001");
        let mut bytes = std::fs::read(&first).unwrap();
        let end = bytes.len();
        bytes[end - 31..].fill(0);
        std::fs::write(&first, bytes).unwrap();
        assert_eq!(found(&mut log.held()), [0, 1, 2, 3, 4, 6], "kept in mind");
        let log = RelayLog::open(folder.path()).unwrap();
        let mut held = log.held();
        assert!(held.has(&of(1, 6)).unwrap(), "the newest is asked first");
        assert!(
            !held.has(&of(2, 6)).unwrap(),
            "a writer of which no head tells"
        );
        let error = held.has(&of(1, 5)).unwrap_err();
        assert_eq!(
            error.context().place,
            Some(Place::new(name, at("bin.000001", 4)))
        );
    }
}
