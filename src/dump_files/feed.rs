//! What a dump tells a load while it runs: which files are complete, one by one, and how it ended.
//!
//! The dump calls [`FeedWriter::open`] once it knows its tables, [`FeedWriter::file`] for each file
//! that is whole and on disk, and [`FeedWriter::complete`] behind the manifest. Whatever else becomes
//! of it, a failure, a pause, a panic, is told by dropping the writer: what was announced is then of
//! no dump, and must be taken back. A feed serves one dump: one that begins anew fails first, and gets
//! a new feed.
//!
//! The announcements are kept in a list, the one that the manifest will hold, so a load that is slower
//! than the dump never holds the dump up, and one that failed can read them again from the first.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::watch;

use super::manifest::{DumpFile, Manifest};
use crate::model::TableName;

/// What is known of a dump before its first row.
#[derive(Clone, Debug, PartialEq)]
pub struct Opening {
    /// The manifest as far as it is known: the header with the dump's id and mode, the schemas, and
    /// the tables without their files. The times and notes of its end are missing.
    pub plan: Manifest,
    /// Rows and bytes of each table, estimated.
    pub estimates: BTreeMap<TableName, (u64, u64)>,
}

/// What comes next in a feed.
#[derive(Clone, Debug, PartialEq)]
pub enum Announcement {
    /// The dump began. It is the first, unless the dump was found complete.
    Opened(Arc<Opening>),
    /// A file of the table is whole and on disk.
    File(TableName, DumpFile),
    /// The dump is whole. It is the last.
    Complete(Arc<Manifest>),
    /// The dump has failed or was stopped, and nothing that was announced holds. It is the last.
    Abandoned,
}

#[derive(Debug, Default)]
struct State {
    opening: Option<Arc<Opening>>,
    files: Vec<(TableName, DumpFile)>,
    complete: Option<Arc<Manifest>>,
}

/// The dump's end of a feed. The dump holds it, and clones of it, for as long as it runs.
#[derive(Clone, Debug)]
pub struct FeedWriter(watch::Sender<State>);

/// Where readers of a feed come from; it outlives the dump.
#[derive(Clone, Debug)]
pub struct Feed(watch::Receiver<State>);

/// A reader of a feed, from its beginning.
#[derive(Debug)]
pub struct FeedReader {
    state: watch::Receiver<State>,
    was_opened: bool,
    files: usize,
}

/// A feed for one dump.
pub fn feed() -> (FeedWriter, Feed) {
    let (sender, receiver) = watch::channel(State::default());
    (FeedWriter(sender), Feed(receiver))
}

impl FeedWriter {
    /// The dump begins.
    pub fn open(&self, opening: Opening) {
        self.0
            .send_modify(|state| state.opening = Some(Arc::new(opening)));
    }

    /// A file is whole and on disk: it will be in the manifest just so.
    pub fn file(&self, table: &TableName, file: &DumpFile) {
        self.0
            .send_modify(|state| state.files.push((table.clone(), file.clone())));
    }

    /// The manifest is written.
    pub fn complete(&self, manifest: &Manifest) {
        let manifest = Arc::new(manifest.clone());
        self.0.send_modify(|state| state.complete = Some(manifest));
    }
}

impl Feed {
    /// A reader, from the first announcement on.
    pub fn reader(&self) -> FeedReader {
        FeedReader {
            state: self.0.clone(),
            was_opened: false,
            files: 0,
        }
    }

    /// Waits until the dump has ended, in whichever way.
    pub async fn ended(&self) {
        let mut state = self.0.clone();
        // An error is the writer's end.
        let _ = state.wait_for(|state| state.complete.is_some()).await;
    }

    /// Whether the dump has ended, in whichever way.
    pub fn has_ended(&self) -> bool {
        self.0.borrow().complete.is_some() || self.0.has_changed().is_err()
    }
}

impl FeedReader {
    /// Waits for the next announcement. Dropped while it waits, it has taken nothing.
    pub async fn next(&mut self) -> Announcement {
        loop {
            // Asked first: what was announced before the end is there to be seen then.
            let is_over = self.state.has_changed().is_err();
            {
                let state = self.state.borrow_and_update();
                if !self.was_opened
                    && let Some(opening) = &state.opening
                {
                    self.was_opened = true;
                    return Announcement::Opened(Arc::clone(opening));
                }
                if let Some((table, file)) = state.files.get(self.files) {
                    self.files += 1;
                    return Announcement::File(table.clone(), file.clone());
                }
                if let Some(manifest) = &state.complete {
                    return Announcement::Complete(Arc::clone(manifest));
                }
            }
            if is_over {
                return Announcement::Abandoned;
            }
            // An error is the writer's end: the state is looked at once more.
            let _ = self.state.changed().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dump_files::manifest::tests::manifest;

    fn opening() -> Opening {
        Opening {
            plan: manifest(),
            estimates: BTreeMap::new(),
        }
    }

    fn file(name: &str) -> DumpFile {
        DumpFile {
            name: name.to_owned(),
            rows: 1,
            bytes: 2,
            crc32: 3,
            packed: None,
        }
    }

    #[tokio::test]
    async fn files_come_one_by_one_and_the_manifest_last() {
        let (writer, feed) = feed();
        let table = TableName::new("s", "t");
        let mut reader = feed.reader();
        let early = tokio::time::timeout(std::time::Duration::from_millis(5), reader.next());
        assert!(early.await.is_err(), "nothing is announced yet");
        writer.open(opening());
        writer.file(&table, &file("a"));
        assert_eq!(
            reader.next().await,
            Announcement::Opened(Arc::new(opening()))
        );
        writer.file(&table, &file("b"));
        writer.complete(&manifest());
        assert!(feed.has_ended());
        drop(writer);
        for reader in [&mut reader, &mut feed.reader()] {
            let mut last = reader.next().await;
            if matches!(last, Announcement::Opened(_)) {
                last = reader.next().await;
            }
            assert_eq!(last, Announcement::File(table.clone(), file("a")));
            assert_eq!(
                reader.next().await,
                Announcement::File(table.clone(), file("b"))
            );
            for _ in 0..2 {
                assert_eq!(
                    reader.next().await,
                    Announcement::Complete(Arc::new(manifest()))
                );
            }
        }
    }

    #[tokio::test]
    async fn a_dump_that_ends_otherwise_has_abandoned_it_all() {
        let (writer, feed) = feed();
        let mut reader = feed.reader();
        let other = writer.clone();
        drop(writer);
        assert!(!feed.has_ended(), "a clone is at work yet");
        other.file(&TableName::new("s", "t"), &file("a"));
        drop(other);
        assert!(feed.has_ended());
        assert!(matches!(reader.next().await, Announcement::File(..)));
        assert_eq!(reader.next().await, Announcement::Abandoned);
    }
}
