//! The writer, the readers and recovery, over a binlog made here byte by byte.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::PermissionsExt as _;

use super::*;
use crate::binlog::EventKind;

/// A MariaDB binlog under construction.
pub(super) struct Binlog {
    pub(super) bytes: Vec<u8>,
    pub(super) events: Vec<Vec<u8>>,
    /// How much of the file is before these bytes.
    before: u64,
}

impl Binlog {
    pub(super) fn new() -> Self {
        let mut binlog = Self {
            bytes: crate::binlog::MAGIC.to_vec(),
            events: Vec::new(),
            before: 0,
        };
        let mut body = 4u16.to_le_bytes().to_vec();
        let mut version = b"10.11.19-MariaDB-log".to_vec();
        version.resize(50, 0);
        body.extend(version);
        body.extend(0u32.to_le_bytes());
        body.push(19);
        body.extend([0; 171]);
        // CRC32.
        body.push(1);
        binlog.event(EventKind::FORMAT_DESCRIPTION, &body);
        binlog
    }

    fn event(&mut self, kind: EventKind, body: &[u8]) {
        let size = 19 + body.len() + 4;
        let mut event = 0u32.to_le_bytes().to_vec();
        event.push(kind.0);
        event.extend(1u32.to_le_bytes());
        event.extend((size as u32).to_le_bytes());
        // As MariaDB 11.8 writes it: not within a transaction.
        let end = match kind {
            EventKind::WRITE_ROWS_V1 => 0,
            _ => (self.before + (self.bytes.len() + size) as u64) as u32,
        };
        event.extend(end.to_le_bytes());
        event.extend(0u16.to_le_bytes());
        event.extend(body);
        event.extend(crc32fast::hash(&event).to_le_bytes());
        self.bytes.extend(&event);
        self.events.push(event);
    }

    pub(super) fn transaction(&mut self, sequence: u64, rows: &[u8]) {
        let mut gtid = sequence.to_le_bytes().to_vec();
        gtid.extend(0u32.to_le_bytes());
        gtid.push(0);
        gtid.extend([0; 6]);
        self.event(EventKind::MARIADB_GTID, &gtid);
        self.event(EventKind::WRITE_ROWS_V1, rows);
        self.event(EventKind::XID, &sequence.to_le_bytes());
    }

    /// The head of a file behind the transactions up to this one.
    pub(super) fn gtid_list_of(&mut self, sequence: u64) {
        if sequence == 0 {
            return self.gtid_list();
        }
        let mut body = 1u32.to_le_bytes().to_vec();
        body.extend(0u32.to_le_bytes());
        body.extend(1u32.to_le_bytes());
        body.extend(sequence.to_le_bytes());
        self.event(EventKind::GTID_LIST, &body);
    }

    pub(super) fn gtid_list(&mut self) {
        self.event(EventKind::GTID_LIST, &0u32.to_le_bytes());
    }
}

pub(super) fn at(file: &str, offset: u64) -> Position {
    Position::new(file, offset)
}

pub(super) async fn write(log: &Arc<RelayLog>, from: Position, events: &[Vec<u8>]) -> Result<()> {
    let mut writer = log.writer()?;
    writer.begin_file(&from).await?;
    for event in events {
        writer.append(event).await?;
    }
    writer.flush().await
}

fn tip(log: &RelayLog) -> (u64, String) {
    let tip = log.tip.borrow().clone();
    (
        tip.place.unwrap().position.offset,
        tip.gtid_set.map(|set| set.to_string()).unwrap_or_default(),
    )
}

#[tokio::test]
async fn readers_see_whole_transactions_alone() {
    let folder = tempfile::tempdir().unwrap();
    let log = RelayLog::open(folder.path()).unwrap();
    let name = log.add_folder("7", Flavor::MariaDB, None).unwrap();
    let mut binlog = Binlog::new();
    binlog.gtid_list();
    binlog.transaction(1, b"one");
    let whole = binlog.bytes.len() as u64;
    binlog.transaction(2, b"two");
    let upto = binlog.events.len() - 1;
    write(&log, at("bin.000001", 4), &binlog.events[..upto])
        .await
        .unwrap();
    assert_eq!(tip(&log), (whole, "0-1-1".into()));

    let from = Place::new(name, at("bin.000001", 4));
    assert!(log.covers(&from));
    let mut reader = log.reader(&from).unwrap();
    for event in &binlog.events[..5] {
        assert_eq!(reader.next().await.unwrap().bytes, event);
    }
    assert!(reader.is_at_tip());
    let waiting = tokio::time::timeout(std::time::Duration::from_millis(20), reader.next());
    assert!(waiting.await.is_err(), "an open transaction was given");

    // The last transaction comes again, and its end with it; the waiting reader goes on.
    let resume = log.writer().unwrap().resume_position().unwrap();
    let first = binlog.events.len() - 6;
    write(&log, resume, &binlog.events[first..]).await.unwrap();
    for event in &binlog.events[5..] {
        assert_eq!(reader.next().await.unwrap().bytes, event);
    }
    assert_eq!(tip(&log), (binlog.bytes.len() as u64, "0-1-2".into()));
    let path = log.path_of(&from);
    assert_eq!(fs::read(&path).unwrap(), binlog.bytes);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
}

#[tokio::test]
async fn a_torn_end_is_cut_back_to_the_last_whole_event() {
    let mut binlog = Binlog::new();
    binlog.gtid_list();
    binlog.transaction(1, &[b'x'; 100]);
    let first_end = binlog.bytes.len() as u64;
    binlog.transaction(2, &vec![b'y'; 3 << 20]);
    let rows_end = binlog.bytes.len() - binlog.events.last().unwrap().len();
    let mut flipped = binlog.bytes.clone();
    flipped[rows_end - 1000] ^= 1;
    let gtid_end = rows_end - (3 << 20) - 23;
    for (bytes, kept) in [
        (binlog.bytes[..binlog.bytes.len() - 1].to_vec(), rows_end),
        (binlog.bytes[..rows_end + 5].to_vec(), rows_end),
        (binlog.bytes[..rows_end - 1].to_vec(), gtid_end),
        (flipped, gtid_end),
        ([&binlog.bytes[..rows_end], &[0; 400]].concat(), rows_end),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let log = RelayLog::open(folder.path()).unwrap();
        let name = log.add_folder("7", Flavor::MariaDB, None).unwrap();
        let path = log.path_of(&Place::new(name, at("bin.000001", 4)));
        drop(log);
        fs::write(&path, &bytes).unwrap();
        let log = RelayLog::open(folder.path()).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().len(), kept as u64);
        assert_eq!(tip(&log), (first_end, "0-1-1".into()));
        let resume = log.writer().unwrap().resume_position().unwrap();
        let again = binlog.events.len() - 6;
        write(&log, resume, &binlog.events[again..]).await.unwrap();
        assert_eq!(fs::read(&path).unwrap(), binlog.bytes);
        assert_eq!(tip(&log).1, "0-1-2");
    }
}

#[tokio::test]
async fn readers_go_on_in_the_next_file_and_folder() {
    let folder = tempfile::tempdir().unwrap();
    let log = RelayLog::open(folder.path()).unwrap();
    let first = log.add_folder("7", Flavor::MariaDB, None).unwrap();
    let mut binlog = Binlog::new();
    binlog.transaction(1, b"one");
    write(&log, at("bin.000009", 4), &binlog.events)
        .await
        .unwrap();
    write(&log, at("bin.000010", 4), &binlog.events)
        .await
        .unwrap();
    let second = log.add_folder("8", Flavor::MariaDB, None).unwrap();
    assert!(second.starts_with("8."), "{second}");
    write(&log, at("bin.000001", 4), &binlog.events)
        .await
        .unwrap();

    let from = Place::new(first, at("bin.000009", 4));
    let total = 3 * (binlog.bytes.len() as u64 - 4);
    assert_eq!(log.bytes_after(&from), Some(total));
    let mut reader = log.reader(&from).unwrap();
    let mut seen = Vec::new();
    for _ in 0..3 {
        for event in &binlog.events {
            let read = reader.next().await.unwrap();
            assert_eq!(read.bytes, event);
            seen.push((read.folder.to_owned(), read.file.to_owned()));
        }
    }
    seen.dedup();
    let names: Vec<String> = seen.iter().map(|(a, b)| format!("{a}/{b}")).collect();
    assert_eq!(
        names,
        [
            format!("{}/bin.000009", from.folder),
            format!("{}/bin.000010", from.folder),
            format!("{second}/bin.000001")
        ]
    );
    assert_eq!(log.files().len(), 3);
    let gone = Place::new(from.folder.clone(), at("bin.000008", 4));
    assert!(!log.covers(&gone));
    let error = log.reader(&gone).unwrap().next().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Purged);
}

#[tokio::test]
async fn another_history_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let log = RelayLog::open(folder.path()).unwrap();
    log.add_folder("7", Flavor::MariaDB, None).unwrap();
    let mut mine = Binlog::new();
    mine.transaction(1, b"one");
    let mut theirs = Binlog::new();
    theirs.transaction(1, b"uno");
    write(&log, at("bin.000001", 4), &mine.events)
        .await
        .unwrap();
    let resume = log.writer().unwrap().resume_position().unwrap();
    let error = write(&log, resume, &theirs.events[1..]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::History);
    // A gap is as bad.
    mine.transaction(2, b"two");
    mine.transaction(3, b"three");
    let events: Vec<Vec<u8>> = [&mine.events[1..4], &mine.events[7..]].concat();
    let resume = log.writer().unwrap().resume_position().unwrap();
    let error = write(&log, resume, &events).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::History);
}

#[tokio::test]
async fn what_was_damaged_on_the_way_is_no_other_history() {
    let folder = tempfile::tempdir().unwrap();
    let log = RelayLog::open(folder.path()).unwrap();
    log.add_folder("7", Flavor::MariaDB, None).unwrap();
    let mut mine = Binlog::new();
    mine.transaction(1, &vec![b'z'; 3 << 20]);
    let mut theirs = Binlog::new();
    theirs.transaction(1, &vec![b'y'; 3 << 20]);
    write(&log, at("bin.000001", 4), &mine.events)
        .await
        .unwrap();
    let end = tip(&log).0;
    let mut damaged = mine.events.clone();
    for event in &mut damaged {
        let middle = event.len() / 2;
        if event.len() > 1 << 20 {
            event[middle] ^= 1;
        }
    }
    for (events, kind) in [
        (&damaged, ErrorKind::Damaged),
        (&theirs.events, ErrorKind::History),
    ] {
        let mut writer = log.writer().unwrap();
        writer.begin_file(&at("bin.000001", 4)).await.unwrap();
        let mut result = Ok(());
        for piece in events.iter().flat_map(|event| event.chunks(1_000_000)) {
            result = result.and(writer.append(piece).await.map(|_| ()));
        }
        assert_eq!(result.unwrap_err().kind(), kind);
        drop(writer);
        assert_eq!(tip(&log).0, end, "nothing is changed");
    }
    let path = log.path_of(&log.oldest().unwrap());
    assert_eq!(std::fs::read(path).unwrap(), mine.bytes);
}

#[tokio::test]
async fn a_damaged_event_never_reaches_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let log = RelayLog::open(folder.path()).unwrap();
    log.add_folder("7", Flavor::MariaDB, None).unwrap();
    let mut binlog = Binlog::new();
    binlog.transaction(1, b"one");
    let end = binlog.bytes.len();
    binlog.transaction(2, &vec![b'z'; 5 << 20]);
    let mut writer = log.writer().unwrap();
    writer.begin_file(&at("bin.000001", 4)).await.unwrap();
    for event in &binlog.events[..5] {
        writer.append(event).await.unwrap();
    }
    let rows = &mut binlog.events[5];
    rows[4 << 20] ^= 1;
    let mut result = Ok(false);
    for piece in rows.chunks(100_000) {
        result = writer.append(piece).await;
    }
    assert_eq!(result.unwrap_err().kind(), ErrorKind::Damaged);
    drop(writer);
    assert_eq!(tip(&log).0, end as u64);
    let log = RelayLog::open(folder.path()).unwrap();
    assert_eq!(tip(&log).0, end as u64);
}

#[tokio::test]
async fn durable_places_and_the_state_file() {
    let folder = tempfile::tempdir().unwrap();
    let log = RelayLog::open(folder.path()).unwrap();
    let name = log.add_folder("7", Flavor::MariaDB, None).unwrap();
    let mut binlog = Binlog::new();
    binlog.gtid_list();
    binlog.transaction(1, b"one");
    let mut writer = log.writer().unwrap();
    assert!(log.writer().is_err(), "two writers");
    writer.begin_file(&at("bin.000001", 4)).await.unwrap();
    for event in &binlog.events {
        writer.append(event).await.unwrap();
    }
    writer.flush().await.unwrap();
    writer.save().await.unwrap();
    let state = State::load(&folder.path().join(&name)).unwrap().unwrap();
    assert_eq!(state.offset, binlog.bytes.len() as u64);
    assert_eq!(state.gtid_set.unwrap().to_string(), "0-1-1");
    let end = Place::new(name, at("bin.000001", state.offset));
    log.make_durable(&end).await.unwrap();
    assert_eq!(log.index().durable.as_ref(), Some(&end));
    assert!(log.disk().unwrap().free_bytes > 0);
}

#[tokio::test]
async fn a_file_grows_past_what_the_position_field_can_say() {
    let folder = tempfile::tempdir().unwrap();
    let log = RelayLog::open(folder.path()).unwrap();
    let name = log.add_folder("7", Flavor::MariaDB, None).unwrap();
    let mut binlog = Binlog::new();
    binlog.gtid_list();
    binlog.transaction(1, b"one");
    let head = binlog.events.len();
    write(&log, at("bin.000001", 4), &binlog.events)
        .await
        .unwrap();
    // As if transactions of almost 4 GiB had come, the last of which ends here.
    let start = (1 << 32) - 60;
    let path = folder.path().join(&name).join("bin.000001");
    let file = OpenOptions::new().write(true).open(&path).unwrap();
    file.set_len(start).unwrap();
    {
        let mut index = log.index();
        index.newest.event_end = start;
        index.newest.group_end = start;
        index.newest.resume_start = start;
        let files = &mut index.folders.last_mut().unwrap().files;
        files.last_mut().unwrap().size = start;
    }
    binlog.before = start - binlog.bytes.len() as u64;
    binlog.transaction(2, b"over the edge");
    binlog.transaction(3, b"behind it");
    let events = &binlog.events[head..];
    let sum = |events: &[Vec<u8>]| events.iter().map(|event| event.len() as u64).sum::<u64>();
    let (third, end) = (start + sum(&events[..3]), start + sum(events));
    assert!(third > u64::from(u32::MAX));
    // The source is asked from the last transaction it can name, however often; the rest comes again.
    for _ in 0..2 {
        write(&log, at("bin.000001", start), events).await.unwrap();
        assert_eq!(tip(&log), (end, "0-1-3".into()));
        assert_eq!(fs::metadata(&path).unwrap().len(), end);
        let resume = log.writer().unwrap().resume_position();
        assert_eq!(resume, Some(at("bin.000001", start)));
    }
    let mut reader = log
        .reader(&Place::new(&name, at("bin.000001", third)))
        .unwrap();
    for event in &events[3..] {
        let raw = reader.next().await.unwrap();
        assert!(raw.offset >= third && raw.bytes == event);
    }
    assert_eq!(reader.place().position.offset, end);
    // What is missing before an event is noticed there as well.
    binlog.before += 1;
    binlog.transaction(4, b"a byte too far");
    let again: Vec<Vec<u8>> = [&binlog.events[head..head + 6], &binlog.events[head + 6..]].concat();
    let error = write(&log, at("bin.000001", start), &again)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::History);
    assert_eq!(tip(&log).0, end);
}

/// The write wakes the reader: the figures are for an idle machine, the bound is for any.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_at_the_end_is_woken_by_the_write() {
    const COUNT: u64 = 500;
    let folder = tempfile::tempdir().unwrap();
    let log = RelayLog::open(folder.path()).unwrap();
    let name = log.add_folder("7", Flavor::MariaDB, None).unwrap();
    let mut binlog = Binlog::new();
    binlog.gtid_list();
    let head = binlog.events.len();
    for sequence in 1..=COUNT {
        binlog.transaction(sequence, b"some rows");
    }
    let mut writer = log.writer().unwrap();
    writer.begin_file(&at("bin.000001", 4)).await.unwrap();
    let mut reader = log.reader(&Place::new(name, at("bin.000001", 4))).unwrap();
    let (written, mut read) = tokio::sync::mpsc::channel(1);
    let (seen, mut go_on) = tokio::sync::mpsc::channel(1);
    let writing = async {
        for event in &binlog.events[..head] {
            writer.append(event).await.unwrap();
        }
        for transaction in binlog.events[head..].chunks(3) {
            for event in transaction {
                writer.append(event).await.unwrap();
            }
            written.send(std::time::Instant::now()).await.unwrap();
            writer.flush().await.unwrap();
            go_on.recv().await.unwrap();
        }
    };
    let reading = async {
        let mut took = Vec::new();
        while took.len() < COUNT as usize {
            let raw = reader.next().await.unwrap();
            if raw.event.header.kind == EventKind::XID {
                took.push(read.recv().await.unwrap().elapsed());
                seen.send(()).await.unwrap();
            }
        }
        took.sort();
        took
    };
    let ((), took) = tokio::join!(writing, reading);
    let (middle, late) = (took[took.len() / 2], took[took.len() * 99 / 100]);
    println!("from the write to the reader: median {middle:?}, p99 {late:?}");
    assert!(
        middle < std::time::Duration::from_millis(50),
        "{middle:?}: it polls"
    );
}
