//! The very transactions that a MariaDB relay log holds.
//!
//! A set of MariaDB's names only the last one of each domain, and numbers within a domain need not
//! rise. When another server takes over, what came from the former one is told by what is in the files.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read as _};
use std::path::Path;
use std::sync::Arc;

use crate::binlog::parse_gtid_list;
use crate::binlog::{EventHeader, EventKind, FormatDescription, GtidEvent, HEADER_LEN, MAGIC};
use crate::model::position::FIRST_OFFSET;
use crate::model::{Error, ErrorKind, Flavor, Gtid, Place, Position, Result};

use super::RelayLog;

/// A domain, and a server that wrote to it.
type Writer = (u32, u32);

/// The transactions of the log's MariaDB servers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// What was before the oldest file, by its head: up to this number.
    before: BTreeMap<Writer, u64>,
    /// Half-open intervals of numbers, in the order they were met.
    here: BTreeMap<Writer, Vec<(u64, u64)>>,
    is_begun: bool,
}

impl Held {
    /// Whether the transaction came, or was before the log began.
    pub fn has(&self, gtid: &Gtid) -> bool {
        let Gtid::MariaDB {
            domain,
            server,
            sequence,
        } = gtid
        else {
            return false;
        };
        let writer = (*domain, *server);
        let is_in = |(from, to): &(u64, u64)| from <= sequence && sequence < to;
        self.before
            .get(&writer)
            .is_some_and(|last| sequence <= last)
            || self
                .here
                .get(&writer)
                .is_some_and(|all| all.iter().any(is_in))
    }

    fn insert(&mut self, gtid: &Gtid) {
        if let Gtid::MariaDB {
            domain,
            server,
            sequence,
        } = gtid
        {
            let all = self.here.entry((*domain, *server)).or_default();
            match all.last_mut() {
                Some(last) if last.1 == *sequence => last.1 += 1,
                _ => all.push((*sequence, sequence.saturating_add(1))),
            }
        }
    }

    /// Takes what the next file has.
    fn add(&mut self, file: &Self) {
        if file.is_begun && !self.is_begun {
            self.is_begun = true;
            self.before.clone_from(&file.before);
        }
        for (writer, spans) in &file.here {
            let all = self.here.entry(*writer).or_default();
            for (from, to) in spans {
                match all.last_mut() {
                    Some(last) if last.1 == *from => last.1 = *to,
                    _ => all.push((*from, *to)),
                }
            }
        }
    }

    /// Takes the heads of a file's events up to `end`; bodies are read where they tell transactions.
    fn read(&mut self, path: &Path, end: u64) -> Result<()> {
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
            if kind == EventKind::GTID_LIST {
                if !self.is_begun {
                    self.begin(&parse_gtid_list(event.body)?);
                }
            } else if let Some(gtid) = GtidEvent::parse(&event)?.gtid() {
                self.insert(&gtid);
            }
        }
        Ok(())
    }

    fn begin(&mut self, list: &[Gtid]) {
        self.is_begun = true;
        for gtid in list {
            if let Gtid::MariaDB {
                domain,
                server,
                sequence,
            } = gtid
            {
                self.before.insert((*domain, *server), *sequence);
            }
        }
    }
}

impl RelayLog {
    /// What the log holds of MariaDB's transactions. Reads through all of its files, so this blocks; what
    /// complete ones have is kept, so that another look reads the newest alone.
    pub fn held(&self) -> Result<Held> {
        let (files, end) = {
            let index = self.index();
            let mut files = Vec::new();
            for folder in &index.folders {
                if folder.about.flavor == Flavor::MariaDB {
                    let path = self.folder.join(&folder.about.name);
                    let all = folder.files.iter();
                    files.extend(all.map(|file| {
                        let place = Place::new(
                            folder.about.name.clone(),
                            Position::new(file.name.clone(), FIRST_OFFSET),
                        );
                        (path.join(&file.name), file.size, place)
                    }));
                }
            }
            let has_newest = index.newest_folder().is_some_and(|f| !f.files.is_empty());
            (files, has_newest.then_some(index.newest.group_end))
        };
        let mut held = Held::default();
        let newest = files.len().saturating_sub(1);
        for (at, (path, size, place)) in files.into_iter().enumerate() {
            // A transaction that has not come whole is not here.
            let end = end.filter(|_| at == newest);
            if let Some(known) = self.kept_held(&place) {
                held.add(&known);
                continue;
            }
            let mut part = Held::default();
            part.read(&path, end.unwrap_or(size))
                .map_err(|e| e.at(|c| c.place = Some(place.clone())))?;
            held.add(&part);
            if end.is_none() {
                self.keep_held(&place, part);
            }
        }
        Ok(held)
    }
}

impl RelayLog {
    fn kept_held(&self, place: &Place) -> Option<Arc<Held>> {
        let index = self.index();
        let folder = index.folder(&place.folder)?;
        let mut files = folder.files.iter();
        files
            .find(|file| file.name == place.position.file)?
            .held
            .clone()
    }

    fn keep_held(&self, place: &Place, held: Held) {
        let mut index = self.index();
        let files = index.folder_mut(&place.folder).map(|of| &mut of.files);
        let mut files = files.into_iter().flatten();
        if let Some(file) = files.find(|file| file.name == place.position.file) {
            file.held = Some(Arc::new(held));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::relay_log::tests::{Binlog, at, write};

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
        let held = log.held().unwrap();
        let has = |sequence| {
            held.has(&Gtid::MariaDB {
                domain: 0,
                server: 1,
                sequence,
            })
        };
        let found: Vec<u64> = (0..12).filter(|n| has(*n)).collect();
        assert_eq!(found, [5, 6, 7, 9]);
    }

    #[tokio::test]
    async fn complete_files_are_read_once() {
        let folder = tempfile::tempdir().unwrap();
        let log = RelayLog::open(folder.path()).unwrap();
        let name = log.add_folder("7", Flavor::MariaDB, None).unwrap();
        let mut writer = log.writer().unwrap();
        for (file, sequences) in [("bin.000001", [1, 2]), ("bin.000002", [3, 5])] {
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
        let held = log.held().unwrap();
        assert_eq!(held.here[&(0, 1)], [(1, 4), (5, 6)]);
        let first = folder.path().join(&name).join("bin.000001");
        let size = std::fs::metadata(&first).unwrap().len();
        std::fs::write(&first, vec![0; usize::try_from(size).unwrap()]).unwrap();
        assert_eq!(log.held().unwrap(), held);
        drop(writer);
        let log = RelayLog::open(folder.path()).unwrap();
        let place = Place::new(name, at("bin.000001", 4));
        assert_eq!(log.held().unwrap_err().context().place, Some(place));
    }
}
