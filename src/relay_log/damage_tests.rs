//! What a relay log makes of files that lost their end, or whose bytes are not what they were.

use std::fs::{self, OpenOptions};
use std::path::PathBuf;

use super::tests::{Binlog, at, write};
use super::*;
use crate::model::Gtid;

/// A relay log of three files, and the sub-folder's name.
struct Rig {
    folder: tempfile::TempDir,
    name: String,
    binlogs: [Binlog; 3],
}

impl Rig {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let log = RelayLog::open(folder.path()).unwrap();
        let name = log.add_folder("7", Flavor::MariaDB, None).unwrap();
        let mut sequence = 0;
        let binlogs = [1, 2, 3].map(|number| {
            let mut binlog = Binlog::new();
            binlog.gtid_list_of(sequence);
            for _ in 0..3 {
                sequence += 1;
                binlog.transaction(sequence, &[number; 400]);
            }
            binlog
        });
        let mut writer = log.writer().unwrap();
        for (number, binlog) in (1..).zip(&binlogs) {
            let file = at(&format!("bin.00000{number}"), 4);
            writer.begin_file(&file).await.unwrap();
            for event in &binlog.events {
                writer.append(event).await.unwrap();
            }
        }
        writer.flush().await.unwrap();
        writer.save().await.unwrap();
        drop(writer);
        Self {
            folder,
            name,
            binlogs,
        }
    }

    fn path(&self, number: u32) -> PathBuf {
        let path = self.folder.path().join(&self.name);
        path.join(format!("bin.00000{number}"))
    }

    fn open(&self) -> Arc<RelayLog> {
        RelayLog::open(self.folder.path()).unwrap()
    }

    fn place(&self, number: u32, offset: u64) -> Place {
        Place::new(&self.name, at(&format!("bin.00000{number}"), offset))
    }

    /// Where the last transaction of a file starts: an event's end.
    fn last_transaction(&self, number: usize) -> usize {
        let binlog = &self.binlogs[number - 1];
        let last: usize = binlog.events.iter().rev().take(3).map(Vec::len).sum();
        binlog.bytes.len() - last
    }

    /// Puts the source's bytes into a file beside the relay's.
    fn copy(&self, number: usize, length: usize) -> PathBuf {
        let path = self.folder.path().join("copy");
        fs::write(&path, &self.binlogs[number - 1].bytes[..length]).unwrap();
        path
    }

    fn verified(&self) -> Vec<FileReport> {
        let mut all = Vec::new();
        verify(self.folder.path(), |report| {
            all.push(report);
            Ok(())
        })
        .unwrap();
        all
    }
}

/// Reads up to the tip; gives how many events came.
async fn read_all(log: &Arc<RelayLog>, from: &Place) -> Result<usize> {
    let mut reader = log.reader(from)?;
    let mut count = 0;
    while !reader.is_at_tip() {
        reader.next().await?;
        count += 1;
    }
    Ok(count)
}

fn cut(path: &Path, length: usize) {
    let file = OpenOptions::new().write(true).open(path).unwrap();
    file.set_len(length as u64).unwrap();
}

#[tokio::test]
async fn a_complete_file_that_lost_its_end_is_damaged_there() {
    let rig = Rig::new().await;
    let whole = rig.binlogs[1].bytes.len();
    let end = rig.last_transaction(2);
    // At an event's end, within a header, within a body.
    for length in [end, end + 7, end + 30] {
        cut(&rig.path(2), length);
        let reports = rig.verified();
        let damage = reports[1].damage.as_ref().unwrap();
        assert_eq!(damage.offset, end as u64, "{length}: {damage:?}");
        assert!(reports[0].damage.is_none() && reports[2].damage.is_none());
        let log = rig.open();
        let error = read_all(&log, &rig.place(1, 4)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Damaged, "{error}");
        assert_eq!(error.context().place, Some(rig.place(2, end as u64)));
        // It is fetched as long as it was.
        let (_, size) = log.complete_file(&rig.name, "bin.000002").unwrap();
        assert_eq!(size, Some(whole as u64));
        let short = rig.copy(2, length.min(end));
        let refused = log.replace_file(&rig.name, "bin.000002", &short);
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::History);
        let good = rig.copy(2, whole);
        log.replace_file(&rig.name, "bin.000002", &good).unwrap();
        assert_eq!(read_all(&log, &rig.place(1, 4)).await.unwrap(), 33);
        assert!(rig.verified().iter().all(|report| report.damage.is_none()));
    }
    // So does one that has more than it had.
    let mut longer = rig.binlogs[1].bytes.clone();
    longer.extend_from_slice(&rig.binlogs[1].events[2]);
    fs::write(rig.path(2), longer).unwrap();
    assert!(rig.verified()[1].damage.is_some());
    assert_eq!(read_all(&rig.open(), &rig.place(1, 4)).await.unwrap(), 33);
}

#[tokio::test]
async fn the_last_file_of_a_former_server_has_its_end_noted_as_well() {
    let rig = Rig::new().await;
    let log = rig.open();
    log.go_on_in("8", Flavor::MariaDB, Errant::new(), None)
        .unwrap();
    let mut theirs = Binlog::new();
    theirs.gtid_list_of(9);
    write(&log, at("bin.000001", 4), &theirs.events)
        .await
        .unwrap();
    drop(log);
    let end = rig.last_transaction(3);
    cut(&rig.path(3), end);
    assert_eq!(
        rig.verified()[2].damage.as_ref().unwrap().offset,
        end as u64
    );
    let error = read_all(&rig.open(), &rig.place(1, 4)).await.unwrap_err();
    assert_eq!(error.context().place, Some(rig.place(3, end as u64)));
}

#[tokio::test]
async fn sizes_that_nobody_noted_are_found_out() {
    let rig = Rig::new().await;
    let folder = rig.folder.path().join(&rig.name);
    let mut state = State::load(&folder).unwrap().unwrap();
    assert_eq!(state.sizes.len(), 2);
    let sizes = std::mem::take(&mut state.sizes);
    state.save(&folder).unwrap();
    rig.open();
    assert_eq!(State::load(&folder).unwrap().unwrap().sizes, sizes);
    // One that lost its end meanwhile: what follows tells.
    state.save(&folder).unwrap();
    let end = rig.last_transaction(1);
    cut(&rig.path(1), end);
    let log = rig.open();
    let error = read_all(&log, &rig.place(1, 4)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Damaged);
    assert_eq!(error.context().place, Some(rig.place(1, end as u64)));
    let (_, size) = log.complete_file(&rig.name, "bin.000001").unwrap();
    assert_eq!(size, None);
    let good = rig.copy(1, rig.binlogs[0].bytes.len());
    log.replace_file(&rig.name, "bin.000001", &good).unwrap();
    assert_eq!(read_all(&log, &rig.place(1, 4)).await.unwrap(), 33);
    assert_eq!(State::load(&folder).unwrap().unwrap().sizes, sizes);
}

#[tokio::test]
async fn damage_in_the_newest_file_is_told_from_writing_and_mended_in_it() {
    let rig = Rig::new().await;
    let log = rig.open();
    let good = rig.binlogs[2].bytes.clone();
    let (path, size) = log.newest_file(&rig.name, "bin.000003").unwrap();
    assert_eq!(size, good.len() as u64);
    assert!(log.complete_file(&rig.name, "bin.000003").is_none());
    // A writer has come as far as the middle of an event.
    let torn = [good.clone(), rig.binlogs[1].events[0][..25].to_vec()].concat();
    fs::write(&path, &torn).unwrap();
    let report = rig.verified().pop().unwrap();
    assert_eq!((report.whole_to, report.damage), (Some(size), None));
    // Flipped in the first event of the middle transaction.
    let middle = rig.last_transaction(3) - 200;
    let mut bytes = torn.clone();
    bytes[middle] ^= 4;
    fs::write(&path, &bytes).unwrap();
    let report = rig.verified().pop().unwrap();
    assert!(report.damage.is_some() && report.whole_to.is_none());
    let error = read_all(&log, &rig.place(3, 4)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Damaged);
    assert!(error.context().place.is_some());
    let copy = rig.copy(3, good.len());
    log.mend_file(&rig.name, "bin.000003", size, &copy).unwrap();
    assert_eq!(fs::read(&path).unwrap(), torn);
    assert_eq!(read_all(&log, &rig.place(3, 4)).await.unwrap(), 11);
    // What is whole here and differs is no damage.
    let mut other = Binlog::new();
    other.gtid_list_of(6);
    for sequence in 7..10 {
        other.transaction(sequence, &[8; 400]);
    }
    assert_eq!(other.bytes.len(), good.len());
    fs::write(&copy, &other.bytes).unwrap();
    let error = log.mend_file(&rig.name, "bin.000003", size, &copy);
    assert_eq!(error.unwrap_err().kind(), ErrorKind::History);
    assert_eq!(fs::read(&path).unwrap(), torn);
}

#[tokio::test]
async fn damage_in_a_files_first_bytes_has_a_place_and_takes_no_memory() {
    let rig = Rig::new().await;
    let good = fs::read(rig.path(1)).unwrap();
    // The magic bytes; the first event's length, which is then 4 GiB less a few bytes.
    for (byte, value) in [(1, 0), (13 + 3, 0xff)] {
        let mut bytes = good.clone();
        bytes[byte] = value;
        fs::write(rig.path(1), &bytes).unwrap();
        let log = rig.open();
        for offset in [4, rig.last_transaction(1) as u64] {
            let from = rig.place(1, offset);
            let error = read_all(&log, &from).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Damaged, "{byte}: {error}");
            assert_eq!(error.context().place, Some(from));
        }
        let first = Gtid::MariaDB {
            domain: 0,
            server: 1,
            sequence: 1,
        };
        let error = log.held().has(&first).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Damaged);
        assert_eq!(error.context().place, Some(rig.place(1, 4)));
    }
    // A length that is short of what it was, or shorter than a header.
    fs::write(rig.path(1), &good[..2]).unwrap();
    let log = rig.open();
    let error = read_all(&log, &rig.place(1, 4)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Damaged);
}

#[tokio::test]
async fn what_a_takeover_cuts_may_come_again_if_it_comes_to_nothing() {
    let rig = Rig::new().await;
    let log = rig.open();
    let mut more = Binlog::new();
    more.gtid_list_of(6);
    for sequence in 7..11 {
        more.transaction(sequence, &[3; 400]);
    }
    let resume = log.writer().unwrap().resume_position().unwrap();
    let first = more.events.len() - 6;
    // Of the last transaction two events have come.
    write(
        &log,
        resume.clone(),
        &more.events[first..more.events.len() - 1],
    )
    .await
    .unwrap();
    // The state file cannot be written.
    let hindrance = rig.folder.path().join(&rig.name).join("state.json.new");
    fs::create_dir(&hindrance).unwrap();
    let failed = log.go_on_in("8", Flavor::MariaDB, Errant::new(), None);
    fs::remove_dir(&hindrance).unwrap();
    failed.unwrap_err();
    assert_eq!(fs::read(rig.path(3)).unwrap(), rig.binlogs[2].bytes);
    let resume = log.writer().unwrap().resume_position().unwrap();
    write(&log, resume, &more.events[first..]).await.unwrap();
    assert_eq!(fs::read(rig.path(3)).unwrap(), more.bytes);
}

#[tokio::test]
async fn a_file_without_its_head_is_behind_what_the_state_says() {
    let rig = Rig::new().await;
    let log = rig.open();
    let first = Binlog::new();
    let mut writer = log.writer().unwrap();
    let resume = writer.resume_position().unwrap();
    writer.begin_file(&resume).await.unwrap();
    for event in &rig.binlogs[2].events[rig.binlogs[2].events.len() - 3..] {
        writer.append(event).await.unwrap();
    }
    writer.begin_file(&at("bin.000004", 4)).await.unwrap();
    writer.append(&first.events[0]).await.unwrap();
    writer.flush().await.unwrap();
    drop(writer);
    let received = log.received().unwrap().to_string();
    assert_eq!(received, "0-1-9");
    drop(log);
    let log = rig.open();
    assert_eq!(log.received().unwrap().to_string(), received);
    // A state that was saved earlier says too little.
    let folder = rig.folder.path().join(&rig.name);
    let mut state = State::load(&folder).unwrap().unwrap();
    state.offset -= 1;
    state.save(&folder).unwrap();
    assert_eq!(rig.open().received(), None);
}

#[tokio::test]
async fn a_state_file_that_is_gone_is_made_anew_only_for_the_first_sub_folder() {
    let rig = Rig::new().await;
    let state = rig.folder.path().join(&rig.name).join(files::STATE);
    fs::remove_file(&state).unwrap();
    rig.open();
    assert!(state.exists());
    let log = rig.open();
    let second = log
        .go_on_in("8", Flavor::MariaDB, Errant::new(), None)
        .unwrap();
    let mut theirs = Binlog::new();
    theirs.gtid_list_of(9);
    write(&log, at("bin.000001", 4), &theirs.events)
        .await
        .unwrap();
    log.purge_forced(&format!("{}/bin.000003", rig.name))
        .unwrap();
    assert!(!state.exists());
    assert_eq!(log.origin().unwrap().0, "7");
    drop(log);
    fs::remove_file(rig.folder.path().join(second).join(files::STATE)).unwrap();
    let error = RelayLog::open(rig.folder.path()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Checkpoint);
}

#[tokio::test]
async fn copies_that_were_not_finished_go() {
    let rig = Rig::new().await;
    let folder = rig.folder.path().join(&rig.name);
    let left = ["bin.000001.again", "bin.000002.cut"].map(|name| folder.join(name));
    let others = folder.join("notes.again");
    for path in left.iter().chain([&others]) {
        fs::write(path, "x").unwrap();
    }
    rig.open();
    assert!(left.iter().all(|path| !path.exists()) && others.exists());
}

/// A log that cannot be opened is no empty one, and can be opened later.
#[tokio::test]
async fn a_log_that_cannot_be_opened_gives_nobody_anything() {
    let rig = Rig::new().await;
    let state = rig.folder.path().join(&rig.name).join(files::STATE);
    let good = fs::read(&state).unwrap();
    fs::write(&state, "{").unwrap();
    let log = RelayLog::unopened(rig.folder.path());
    for _ in 0..2 {
        assert_eq!(log.open_now().unwrap_err().kind(), ErrorKind::Checkpoint);
        assert!(log.writer().is_err() && log.reader(&rig.place(1, 4)).is_err());
        assert!(log.files().is_empty());
    }
    fs::write(&state, good).unwrap();
    log.open_now().unwrap();
    assert_eq!(read_all(&log, &rig.place(1, 4)).await.unwrap(), 33);
    let end = rig.binlogs[2].bytes.len() as u64;
    assert_eq!(log.opened_at(), Some(&rig.place(3, end)));
}
