//! Transactions out of events made by hand.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::decoder::Tables;
use super::reader::{At, Collector};
use super::statement_tests::{structure, task};
use super::transaction::Item;
use crate::binlog::header::FLAG_IGNORABLE;
use crate::binlog::{ChecksumAlgorithm, Event, EventHeader, EventKind, FormatDescription};
use crate::model::{Error, ErrorKind, Flavor, Place, Position, ServerVersion, TableName};
use crate::schema::tracker::{ServerDefaults, StructureSet};
use crate::target::{Mark, PartDone, XaChange};

/// Events one behind the other, each a hundred bytes long.
struct Stream {
    collector: Collector,
    format: FormatDescription,
    offset: u64,
}

impl Stream {
    fn new(version: &str, part_bytes: usize) -> Self {
        let mark = Mark::new(Place::new("7.1", Position::new("bin.000001", 4)), None);
        Self::after(version, part_bytes, &mark)
    }

    fn after(version: &str, part_bytes: usize, mark: &Mark) -> Self {
        let version = ServerVersion::parse(version);
        let defaults = ServerDefaults {
            version: version.clone(),
            folds_names: false,
            charset: "utf8mb4".into(),
            collation: "utf8mb4_general_ci".into(),
            explicit_timestamps: true,
            charset_collations: Vec::new(),
            collations: Arc::default(),
        };
        let tracker = StructureSet::new(defaults, [structure("d", "t")], BTreeMap::new());
        let tables = Tables::new(Arc::new(task("d.*")), version.flavor, tracker);
        Self {
            collector: Collector::new(tables, part_bytes, mark, crate::unit::sync::Hand::idle()),
            format: FormatDescription::before_first(version, ChecksumAlgorithm::Off),
            offset: 100,
        }
    }

    fn push(&mut self, kind: EventKind, body: &[u8]) -> Result<Vec<Item>, ErrorKind> {
        self.push_with(kind, 0, body).map_err(|error| error.kind())
    }

    fn push_with(&mut self, kind: EventKind, flags: u16, body: &[u8]) -> Result<Vec<Item>, Error> {
        let header = EventHeader {
            timestamp: 1_700_000_000,
            kind,
            server_id: 7,
            event_size: 19 + body.len() as u32,
            log_pos: 0,
            flags,
        };
        let at = At {
            folder: "7.000001",
            file: "bin.000001",
            offset: self.offset,
            end_offset: self.offset + 100,
            inner: None,
        };
        self.offset += 100;
        let event = Event { header, body };
        self.collector
            .push(at, &event, &self.format)
            .map_err(|failure| {
                assert!(failure.event.is_some());
                failure.error
            })?;
        Ok(self.collector.take_items())
    }

    fn good(&mut self, kind: EventKind, body: &[u8]) -> Vec<Item> {
        self.push(kind, body).unwrap()
    }

    fn mariadb_gtid(&mut self, sequence: u64, flags: u8) -> Vec<Item> {
        let mut body = sequence.to_le_bytes().to_vec();
        body.extend_from_slice(&[0, 0, 0, 0, flags, 0, 0, 0, 0, 0, 0]);
        self.good(EventKind::MARIADB_GTID, &body)
    }

    fn anonymous(&mut self) -> Vec<Item> {
        self.good(EventKind::ANONYMOUS_GTID, &[0; 25])
    }

    fn query(&mut self, statement: &str) -> Result<Vec<Item>, ErrorKind> {
        let mut body = vec![0; 13];
        body[8] = 1;
        body.extend_from_slice(b"d\0");
        body.extend_from_slice(statement.as_bytes());
        self.push(EventKind::QUERY, &body)
    }

    fn map(&mut self, schema: &str) -> Vec<Item> {
        let mut body = vec![9, 0, 0, 0, 0, 0, 1, 0, schema.len() as u8];
        body.extend_from_slice(schema.as_bytes());
        body.extend_from_slice(&[0, 1, b't', 0, 2, 3, 3, 0, 0]);
        self.good(EventKind::TABLE_MAP, &body)
    }

    fn insert(&mut self) -> Vec<Item> {
        self.try_insert().unwrap()
    }

    fn try_insert(&mut self) -> Result<Vec<Item>, ErrorKind> {
        let mut body = vec![9, 0, 0, 0, 0, 0, 1, 0, 2, 3];
        body.extend_from_slice(&[0xfc, 1, 0, 0, 0, 2, 0, 0, 0]);
        self.push(EventKind::WRITE_ROWS_V1, &body)
    }

    fn xid(&mut self) -> Vec<Item> {
        self.good(EventKind::XID, &[1, 0, 0, 0, 0, 0, 0, 0])
    }
}

const MARIADB: &str = "10.11.6-MariaDB";
const MYSQL: &str = "8.0.36";
const STANDALONE: u8 = 1;

#[test]
fn mariadbs_gtid_begins_and_xid_ends() {
    let mut stream = Stream::new(MARIADB, 1 << 20);
    assert!(stream.mariadb_gtid(5, 0).is_empty());
    assert!(stream.map("d").is_empty() && stream.insert().is_empty());
    assert!(stream.insert().is_empty() && stream.collector.is_inside());
    let items = stream.xid();
    let [Item::Rows(transaction)] = items.as_slice() else {
        panic!("{items:?}")
    };
    assert_eq!(transaction.begin.position.offset, 100);
    assert_eq!(transaction.end.position.offset, 600);
    assert_eq!(transaction.events.len(), 2);
    assert_eq!(transaction.gtid.as_ref().unwrap().to_string(), "0-7-5");
    assert!(transaction.is_first && transaction.is_last && !stream.collector.is_inside());
}

#[test]
fn mysqls_begin_and_commit() {
    let mut stream = Stream::new(MYSQL, 1 << 20);
    for end in ["COMMIT", "commit"] {
        stream.anonymous();
        assert!(stream.query("BEGIN").unwrap().is_empty());
        stream.map("d");
        stream.insert();
        let items = stream.query(end).unwrap();
        assert!(
            matches!(items.as_slice(), [Item::Rows(rows)] if rows.gtid.is_none()),
            "{items:?}"
        );
    }
}

#[test]
fn tables_outside_the_task_leave_just_a_place() {
    let mut stream = Stream::new(MARIADB, 1 << 20);
    stream.mariadb_gtid(5, 0);
    stream.map("other");
    stream.insert();
    let items = stream.xid();
    let [Item::Passed(passed)] = items.as_slice() else {
        panic!("{items:?}")
    };
    assert_eq!((passed.end.position.offset, passed.events), (500, 1));
    assert!(passed.gtid.is_some());
}

#[test]
fn statements_of_their_own() {
    let mut stream = Stream::new(MARIADB, 1 << 20);
    stream.mariadb_gtid(5, STANDALONE);
    let items = stream.query("ALTER TABLE t ADD c INT").unwrap();
    let [Item::Statement(statement)] = items.as_slice() else {
        panic!("{items:?}")
    };
    assert!(statement.runs);
    assert_eq!(statement.changes.len(), 1);
    let columns = &statement.changes[0].structure.as_ref().unwrap().columns;
    assert_eq!(columns.len(), 3);

    stream.mariadb_gtid(6, STANDALONE);
    let items = stream.query("CREATE USER x").unwrap();
    assert!(matches!(items.as_slice(), [Item::Passed(p)] if p.events == 1));
    stream.mariadb_gtid(7, STANDALONE);
    let items = stream.query("DROP TABLE other.t").unwrap();
    assert!(matches!(items.as_slice(), [Item::Passed(_)]), "{items:?}");
}

#[test]
fn rows_after_a_ddl_are_read_by_the_new_structure() {
    let mut stream = Stream::new(MARIADB, 1 << 20);
    let mut body = vec![9, 0, 0, 0, 0, 0, 1, 0, 1, b'd', 0, 1, b't', 0];
    body.extend_from_slice(&[2, 3, 3, 0, 0]);
    stream.mariadb_gtid(4, 0);
    assert!(stream.good(EventKind::TABLE_MAP, &body).is_empty());
    stream.xid();
    stream.mariadb_gtid(5, STANDALONE);
    stream.query("ALTER TABLE t DROP COLUMN b").unwrap();
    stream.mariadb_gtid(6, 0);
    // The very same map: two columns, and one in the structure by now.
    assert_eq!(
        stream.push(EventKind::TABLE_MAP, &body).unwrap_err(),
        ErrorKind::Structure
    );
}

#[test]
fn what_cannot_be_applied_stops() {
    let mut stream = Stream::new(MYSQL, 1 << 20);
    stream.anonymous();
    stream.query("BEGIN").unwrap();
    let kind = stream.query("INSERT INTO t VALUES (1, 2)").unwrap_err();
    assert_eq!(kind, ErrorKind::Setting);

    for (kind, body) in [
        (EventKind::INCIDENT, &[1, 0, 0][..]),
        (EventKind(200), &[]),
        (EventKind::EXECUTE_LOAD_QUERY, &[]),
    ] {
        let mut stream = Stream::new(MYSQL, 1 << 20);
        assert!(stream.push(kind, body).is_err(), "{kind}");
    }
}

#[test]
fn unknown_events_are_passed_over_if_their_flag_allows_it() {
    let unknown = EventKind(200);
    let mut stream = Stream::new(MARIADB, 1 << 20);
    let passed = |items: &[Item]| match items {
        [Item::Passed(passed)] => (passed.end.position.offset, passed.events),
        other => panic!("{other:?}"),
    };
    let items = stream.push_with(unknown, FLAG_IGNORABLE, b"new").unwrap();
    assert_eq!(passed(&items), (200, 1));

    // Within a transaction, its rows stay together.
    stream.mariadb_gtid(5, 0);
    stream.map("d");
    let inside = stream.push_with(unknown, FLAG_IGNORABLE, b"").unwrap();
    assert!(inside.is_empty());
    stream.insert();
    let items = stream.xid();
    let [Item::Rows(transaction)] = items.as_slice() else {
        panic!("{items:?}")
    };
    assert_eq!((transaction.events.len(), transaction.passed), (1, 1));

    // Other flags do not make it less needed.
    for flags in [0, !FLAG_IGNORABLE] {
        let mut stream = Stream::new(MARIADB, 1 << 20);
        stream.mariadb_gtid(5, 0);
        let error = stream.push_with(unknown, flags, b"").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        let place = error.context().place.as_ref().unwrap();
        assert_eq!(place.position.offset, 200);
        assert!(error.message().contains("UNKNOWN(200)"), "{error}");
    }
}

const XA_X: [u8; 14] = [0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, b'x'];

#[test]
fn a_prepared_transaction_is_read_again_at_its_commit() {
    let mut stream = Stream::new(MARIADB, 1 << 20);
    stream.mariadb_gtid(5, 0x40);
    stream.map("d");
    assert!(stream.insert().is_empty());
    let items = stream.good(EventKind::XA_PREPARE, &XA_X);
    let [Item::Passed(passed)] = items.as_slice() else {
        panic!("{items:?}")
    };
    let Some(XaChange::Prepared(prepared)) = &passed.xa else {
        panic!("{passed:?}")
    };
    assert_eq!(prepared.name, "X'78',X'',1");
    assert_eq!(prepared.begin.position.offset, 100);
    assert_eq!(prepared.tables, [TableName::new("d", "t")]);

    // A statement that would change how its rows are read.
    let altered = Stream::new(MARIADB, 1 << 20);
    let mut altered = Stream {
        collector: {
            let mut collector = altered.collector;
            collector.prepared = vec![prepared.clone()];
            collector
        },
        ..altered
    };
    altered.mariadb_gtid(6, STANDALONE);
    assert_eq!(
        altered.query("ALTER TABLE t ADD c INT").unwrap_err(),
        ErrorKind::Unsupported
    );

    stream.mariadb_gtid(6, STANDALONE | 0x80);
    assert!(stream.query("XA COMMIT X'78',X'',1").unwrap().is_empty());
    let end = stream.offset;
    let replay = stream.collector.take_replay().unwrap();
    assert_eq!(replay.begin, prepared.begin);
    stream.collector.begin_replay(replay);
    stream.mariadb_gtid(5, 0x40);
    stream.map("d");
    stream.insert();
    assert!(stream.collector.is_replaying());
    let items = stream.good(EventKind::XA_PREPARE, &XA_X);
    let [Item::Rows(transaction)] = items.as_slice() else {
        panic!("{items:?}")
    };
    assert!(!stream.collector.is_replaying());
    assert_eq!(transaction.events.len(), 1);
    assert_eq!(transaction.end.position.offset, end);
    assert_eq!(transaction.gtid.as_ref().unwrap().to_string(), "0-7-6");
    assert_eq!(transaction.xa.as_deref(), Some("X'78',X'',1"));
}

/// Each part of it takes effect where it is committed, however long ago it was prepared: else a part
/// would count as one of a span, or as late as its PREPARE.
#[test]
fn parts_of_a_prepared_transaction_are_those_of_its_commit() {
    let mut stream = Stream::new(MARIADB, 1);
    stream.mariadb_gtid(5, 0x40);
    stream.map("d");
    stream.insert();
    stream.good(EventKind::XA_PREPARE, &XA_X);
    stream.mariadb_gtid(6, STANDALONE | 0x80);
    stream.query("XA COMMIT X'78',X'',1").unwrap();
    let end = stream.offset;
    let replay = stream.collector.take_replay().unwrap();
    stream.collector.begin_replay(replay);
    stream.mariadb_gtid(5, 0x40);
    stream.map("d");
    let items = stream.insert();
    let [Item::Rows(part)] = items.as_slice() else {
        panic!("{items:?}")
    };
    assert!(part.is_first && !part.is_last);
    assert_eq!(part.end.position.offset, end);
    assert_eq!(part.xa.as_deref(), Some("X'78',X'',1"));
}

/// What is committed of a transaction is not handed on again, and what is behind it is a part.
#[test]
fn committed_parts_are_passed_over() {
    let mut whole = Stream::new(MARIADB, 1 << 20);
    whole.mariadb_gtid(5, 0);
    whole.map("d");
    let first = whole.offset;
    whole.insert();
    whole.insert();
    let items = whole.xid();
    let [Item::Rows(transaction)] = items.as_slice() else {
        panic!("{items:?}")
    };
    assert_eq!(transaction.events.len(), 2);

    let mut mark = Mark::new(Place::new("7.1", Position::new("bin.000001", 4)), None);
    mark.part = Some(PartDone {
        begin: transaction.begin.clone(),
        offset: first,
        inner: None,
        gtid: transaction.gtid.as_ref().map(ToString::to_string),
    });
    let mut again = Stream::after(MARIADB, 1 << 20, &mark);
    again.mariadb_gtid(5, 0);
    again.map("d");
    again.insert();
    again.insert();
    let items = again.xid();
    let [Item::Rows(rest)] = items.as_slice() else {
        panic!("{items:?}")
    };
    assert_eq!(
        (rest.events.len(), rest.is_first, rest.is_last),
        (1, false, true)
    );
    // The next transaction is whole.
    again.mariadb_gtid(6, 0);
    again.map("d");
    again.insert();
    let items = again.xid();
    assert!(matches!(items.as_slice(), [Item::Rows(next)] if next.is_first && next.is_last));
    // Another transaction at the place is not taken for the one of which a part is in.
    let mut forked = Stream::after(MARIADB, 1 << 20, &mark);
    forked.mariadb_gtid(9, 0);
    forked.map("d");
    let error = forked.try_insert().unwrap_err();
    assert_eq!(error, ErrorKind::History);
}

#[test]
fn a_rolled_back_xa_transaction_leaves_nothing() {
    let mut stream = Stream::new(MYSQL, 1 << 20);
    stream.anonymous();
    stream.query("XA START X'78',X'',1").unwrap();
    stream.map("d");
    stream.insert();
    stream.query("XA END X'78',X'',1").unwrap();
    stream.good(EventKind::XA_PREPARE, &XA_X);
    stream.anonymous();
    let items = stream.query("XA ROLLBACK X'78',X'',1").unwrap();
    let [Item::Passed(passed)] = items.as_slice() else {
        panic!("{items:?}")
    };
    assert_eq!(passed.xa, Some(XaChange::Ended("X'78',X'',1".into())));
    assert!(stream.collector.take_replay().is_none());
}

#[test]
fn xa_outside_the_task_is_passed_and_remembered() {
    let mut stream = Stream::new(MARIADB, 1 << 20);
    stream.mariadb_gtid(5, 0x40);
    stream.map("other");
    stream.insert();
    let items = stream.good(EventKind::XA_PREPARE, &XA_X);
    assert!(matches!(items.as_slice(), [Item::Passed(_)]));
    stream.mariadb_gtid(6, STANDALONE | 0x80);
    assert!(stream.query("XA COMMIT X'78',X'',1").is_ok());
    stream.mariadb_gtid(7, STANDALONE | 0x80);
    let again = stream.query("XA COMMIT X'78',X'',1").unwrap_err();
    assert_eq!(again, ErrorKind::Unsupported);
}

#[test]
fn a_long_transaction_comes_in_parts() {
    let mut stream = Stream::new(MARIADB, 1);
    stream.mariadb_gtid(5, 0);
    stream.map("d");
    let first = stream.insert();
    let second = stream.insert();
    let last = stream.xid();
    let flags = |items: &[Item]| match items {
        [Item::Rows(part)] => (part.is_first, part.is_last, part.events.len()),
        _ => panic!("{items:?}"),
    };
    assert_eq!(flags(&first), (true, false, 1));
    assert_eq!(flags(&second), (false, false, 1));
    assert_eq!(flags(&last), (false, true, 0));
}

#[test]
fn a_transaction_cut_off_by_a_crash_is_dropped() {
    let mut stream = Stream::new(MARIADB, 1 << 20);
    stream.mariadb_gtid(5, 0);
    stream.map("d");
    stream.insert();
    let items = stream.good(EventKind::STOP, &[]);
    assert!(matches!(items.as_slice(), [Item::Passed(p)] if p.gtid.is_none()));

    // Parts that were handed on are taken back.
    let mut stream = Stream::new(MARIADB, 10);
    stream.mariadb_gtid(5, 0);
    stream.map("d");
    assert!(matches!(stream.insert().as_slice(), [Item::Rows(part)] if !part.is_last));
    let items = stream.good(EventKind::FORMAT_DESCRIPTION, &[]);
    let [Item::Abandoned(begin), Item::Passed(_)] = items.as_slice() else {
        panic!("{items:?}");
    };
    assert_eq!(begin.position.offset, 100);

    // Nothing but a new file says that: a transaction within one is never taken for undone.
    let mut stream = Stream::new(MARIADB, 1 << 20);
    stream.mariadb_gtid(5, 0);
    stream.map("d");
    stream.insert();
    let gtid = [6, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let refused = stream.push(EventKind::MARIADB_GTID, &gtid);
    assert_eq!(refused.map(|items| items.len()), Err(ErrorKind::Damaged));
    assert_eq!(ServerVersion::parse(MARIADB).flavor, Flavor::MariaDB);
}
