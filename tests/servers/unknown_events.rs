//! Events in the binlog of a real source that cannot be applied. Of a kind that no version of the servers
//! wrote so far: kept in the relay log byte for byte; passed over by sync where their flag allows it;
//! else the stream stops there. So it does at rows whose bytes make no sense, and at a statement of which
//! the source says that it failed.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tideway::binlog::header::FLAG_IGNORABLE;
use tideway::binlog::{EventHeader, EventKind, HEADER_LEN, MAGIC};

use crate::binlog_files;
use crate::support::{Flavor, Server, Task, Tideway, assert_equal};

/// Far from the numbers of both families.
const UNKNOWN: EventKind = EventKind(199);
/// How long the rest of a file may take to come.
const LIMIT: Duration = Duration::from_secs(20);
const CHECKSUM_LEN: usize = 4;
const SIZE_AT: usize = 9;
const POSITION_AT: usize = 13;

/// An event of the unknown kind as a server would write it, which `place` puts into a file.
fn unknown(flags: u16) -> Vec<u8> {
    let mut event = 1_700_000_000u32.to_le_bytes().to_vec();
    event.push(UNKNOWN.0);
    event.extend(1u32.to_le_bytes());
    event.extend([0; 8]);
    event.extend(flags.to_le_bytes());
    event.extend(b"what only a newer program knows");
    event.extend([0; CHECKSUM_LEN]);
    event
}

/// Puts an event's length, place and checksum right and appends it to the file.
fn place(file: &mut Vec<u8>, mut event: Vec<u8>) {
    let put = |event: &mut [u8], at: usize, number: usize| {
        event[at..at + 4].copy_from_slice(&(number as u32).to_le_bytes());
    };
    let length = event.len();
    put(&mut event, SIZE_AT, length);
    put(&mut event, POSITION_AT, file.len() + length);
    let end = length - CHECKSUM_LEN;
    let sum = crc32fast::hash(&event[..end]);
    put(&mut event, end, sum as usize);
    file.append(&mut event);
}

/// Puts events of the unknown kind before every event of the kinds chosen. Gives the place of the
/// first and how many there are.
fn splice(path: &Path, before: &[fn(EventKind) -> bool], flags: u16) -> (usize, usize) {
    let bytes = fs::read(path).unwrap();
    let mut rest = bytes.strip_prefix(&MAGIC).expect("a binlog file");
    let mut file = MAGIC.to_vec();
    let mut places = Vec::new();
    while !rest.is_empty() {
        let header = EventHeader::parse(rest).unwrap();
        assert!(header.event_size as usize > HEADER_LEN + CHECKSUM_LEN);
        let (event, behind) = rest.split_at(header.event_size as usize);
        rest = behind;
        if before.iter().any(|is_chosen| is_chosen(header.kind)) {
            places.push(file.len());
            place(&mut file, unknown(flags));
        }
        if header.kind == EventKind::FORMAT_DESCRIPTION {
            file.extend(event);
        } else {
            place(&mut file, event.to_vec());
        }
    }
    fs::write(path, file).unwrap();
    (*places.first().expect("one was put in"), places.len())
}

/// Changes the bytes of each event that `is_chosen`, between header and checksum, which stays right. Gives
/// how many they were.
fn alter(path: &Path, is_chosen: impl Fn(EventKind) -> bool, change: impl Fn(&mut [u8])) -> usize {
    let bytes = fs::read(path).unwrap();
    let mut rest = bytes.strip_prefix(&MAGIC).expect("a binlog file");
    let mut file = MAGIC.to_vec();
    let mut count = 0;
    while !rest.is_empty() {
        let header = EventHeader::parse(rest).unwrap();
        let (event, behind) = rest.split_at(header.event_size as usize);
        rest = behind;
        let mut event = event.to_vec();
        if is_chosen(header.kind) {
            count += 1;
            let end = event.len() - CHECKSUM_LEN;
            change(&mut event[HEADER_LEN..end]);
            place(&mut file, event);
        } else {
            file.extend(event);
        }
    }
    fs::write(path, file).unwrap();
    count
}

struct Pair {
    source: Server,
    target: Server,
    tideway: Tideway,
}

impl Pair {
    fn start(flavor: Flavor) -> Self {
        let [source, target] = Server::start_all([flavor, Flavor::MariaDb1011]);
        source.run("CREATE DATABASE t; CREATE TABLE t.a (id INT PRIMARY KEY, n INT)");
        source.source_account(&["t"]);
        target.target_account(&["t"]);
        let tideway = Tideway::new()
            .source("a", &source)
            .target("copy", &target)
            .task(&Task::new("t", &["a"], "copy", &["t.*"]));
        let mut pair = Self {
            source,
            target,
            tideway,
        };
        pair.tideway.start();
        pair.tideway.await_streams("sync", "running");
        assert!(pair.tideway.terminate().success());
        pair
    }

    /// Has the source write a file of its own while nobody reads it, and changes it before anyone
    /// does. Gives the file.
    fn write(&mut self, sql: &str, change: impl FnOnce(&Path)) -> PathBuf {
        self.source.run("FLUSH BINARY LOGS");
        self.source.run(sql);
        let file = binlog_files::complete(&self.source).pop().unwrap();
        self.source.stop();
        change(&file);
        self.source.restart();
        file
    }

    /// The file that was relayed, which must be the source's own as soon as all of it has come.
    fn assert_relayed(&self, theirs: &Path) {
        let mut folders = vec![self.tideway.data_folder()];
        let mut ours = Vec::new();
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.file_name() == theirs.file_name() {
                    ours.push(path);
                }
            }
        }
        assert_eq!(ours.len(), 1, "{ours:?}");
        let whole = fs::read(theirs).unwrap();
        let end = Instant::now() + LIMIT;
        while fs::read(&ours[0]).unwrap() != whole {
            assert!(
                Instant::now() < end,
                "`{}` is not the source's",
                ours[0].display()
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

fn kept_and_passed_over_or_refused(flavor: Flavor) {
    let mut pair = Pair::start(flavor);
    let rows = "INSERT INTO t.a VALUES (1, 1), (2, 2); UPDATE t.a SET n = n + 1; DELETE FROM t.a WHERE id = 2; \
                BEGIN; INSERT INTO t.a VALUES (3, 3); UPDATE t.a SET n = 30 WHERE id = 3; COMMIT; \
                ALTER TABLE t.a ADD c INT DEFAULT 7; INSERT INTO t.a VALUES (4, 4, 4)";
    let mut count = 0;
    // Between transactions, between a statement's table map and its rows, and before the commit.
    let file = pair.write(rows, |file| {
        let before = [EventKind::is_gtid, EventKind::is_rows, |kind| {
            kind == EventKind::XID
        }];
        count = splice(file, &before, FLAG_IGNORABLE).1;
    });
    assert!(count >= 15, "{count} events of an unknown kind");
    pair.tideway.catch_up();
    pair.assert_relayed(&file);
    assert_equal(&pair.source, &pair.target, &[("t", "t")]);

    let mut at = 0;
    let file = pair.write("INSERT INTO t.a VALUES (5, 5, 5)", |file| {
        at = splice(file, &[|kind| kind == EventKind::XID], 0).0;
    });
    pair.tideway.start();
    let stopped = pair.tideway.await_stream("t", "a", "failed");
    let stop = stopped["stop"].to_string();
    let name = file.file_name().unwrap().to_str().unwrap();
    for part in ["UNKNOWN(199)", name, &at.to_string()] {
        assert!(stop.contains(part), "`{part}` is not told in {stop}");
    }
    assert_eq!(stopped["stop"]["error"]["kind"], "unsupported", "{stop}");
    assert!(stopped["stop"]["error"]["fix"].is_string(), "{stop}");
    // The transaction it is in was not applied, not even in part.
    let sql = "SELECT COUNT(*) FROM t.a WHERE id = 5";
    assert_eq!(pair.target.client().number(sql), 0);
    // The relay does not depend on the stream.
    pair.assert_relayed(&file);
    assert!(
        !pair.tideway.terminate().success(),
        "a stream had stopped, and its exit code is that of success"
    );
}

#[test]
fn unknown_events_from_mariadb() {
    kept_and_passed_over_or_refused(Flavor::MariaDb1011);
}

#[test]
fn unknown_events_from_mysql() {
    kept_and_passed_over_or_refused(Flavor::MySql97);
}

/// The bytes of a compressed event make no sense, though its checksum is right: the stream stops, and
/// nothing of the transaction is in the target.
#[test]
fn damage_within_compressed_rows_stops_the_stream() {
    for flavor in [Flavor::MariaDb1011, Flavor::MySql97] {
        let mut pair = Pair::start(flavor);
        let compress = if flavor.is_mariadb() {
            "SET GLOBAL log_bin_compress_min_len = 10; SET GLOBAL log_bin_compress = ON"
        } else {
            "SET GLOBAL binlog_transaction_compression = ON"
        };
        let rows: Vec<String> = (0..60)
            .map(|n| format!("({n}, REPEAT('long ', {n}))"))
            .collect();
        let mut damaged = 0;
        pair.source.run(&format!(
            "{compress}; CREATE TABLE t.w (id INT PRIMARY KEY, v TEXT)"
        ));
        pair.write(
            &format!(
                "BEGIN; INSERT INTO t.w VALUES (100, 'short'); INSERT INTO t.w VALUES {}; COMMIT",
                rows.join(", ")
            ),
            |file| {
                let is_packed = |kind: EventKind| {
                    kind == EventKind::TRANSACTION_PAYLOAD || (166..=171).contains(&kind.0)
                };
                damaged = alter(file, is_packed, |body| {
                    let (middle, end) = (body.len() / 2, body.len() - 2);
                    for byte in &mut body[middle..end] {
                        *byte ^= 0x5A;
                    }
                });
            },
        );
        assert!(damaged > 0, "{flavor:?} compressed nothing");
        pair.tideway.start();
        let stopped = pair.tideway.await_stream("t", "a", "failed");
        let stop = stopped["stop"].to_string();
        assert!(
            stopped["stop"]["error"]["kind"] == "damaged",
            "{flavor:?}: {stop}"
        );
        assert_eq!(pair.target.client().number("SELECT COUNT(*) FROM t.w"), 0);
        assert!(!pair.tideway.terminate().success());
    }
}

/// A statement that the source logged with an error may be half done there: nobody can know which half.
#[test]
fn a_statement_that_failed_at_the_source_stops_the_stream() {
    /// Behind the thread's number, the seconds and the database's length.
    const ERROR_AT: usize = 4 + 4 + 1;
    let mut pair = Pair::start(Flavor::MariaDb1011);
    let mut failed = 0;
    pair.write("ALTER TABLE t.a ADD c INT", |file| {
        failed = alter(
            file,
            |kind| kind == EventKind::QUERY,
            |body| body[ERROR_AT..ERROR_AT + 2].copy_from_slice(&1317u16.to_le_bytes()),
        );
    });
    assert_eq!(failed, 1, "the statement alone");
    pair.tideway.start();
    let stopped = pair.tideway.await_stream("t", "a", "failed");
    let stop = stopped["stop"].to_string();
    for part in ["1317", "ALTER TABLE", "t.a"] {
        assert!(stop.contains(part), "`{part}` is not told in {stop}");
    }
    let columns = "SELECT COUNT(*) FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = 't' AND TABLE_NAME = 'a'";
    assert_eq!(pair.target.client().number(columns), 2);
    assert!(!pair.tideway.terminate().success());
}
