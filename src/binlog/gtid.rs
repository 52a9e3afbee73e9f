//! The events that open a transaction and carry its id.

use super::cursor::Cursor;
use super::format::{Event, FormatDescription};
use super::simple::Xid;
use super::tagged::{self, Message};
use super::{EventKind, damaged, unsupported};
use crate::model::{Gtid, Result, Timestamp};

/// The opening of a transaction, of either flavor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GtidEvent<'a> {
    /// MySQL's.
    MySql(MySqlGtid),
    /// MariaDB's.
    MariaDb(MariaDbGtid<'a>),
}

impl<'a> GtidEvent<'a> {
    /// Reads an event of one of the GTID kinds.
    pub fn parse(event: &Event<'a>) -> Result<Self> {
        match event.header.kind {
            EventKind::GTID => MySqlGtid::parse(event.body, false).map(Self::MySql),
            EventKind::ANONYMOUS_GTID => MySqlGtid::parse(event.body, true).map(Self::MySql),
            EventKind::GTID_TAGGED => MySqlGtid::parse_tagged(event.body).map(Self::MySql),
            EventKind::MARIADB_GTID => {
                MariaDbGtid::parse(event.body, event.header.server_id).map(Self::MariaDb)
            }
            other => Err(damaged(format!("{other} is no GTID event"))),
        }
    }

    /// The transaction's id; an anonymous one has none.
    pub fn gtid(&self) -> Option<Gtid> {
        match self {
            Self::MySql(event) => event.gtid.clone(),
            Self::MariaDb(event) => Some(event.gtid()),
        }
    }

    /// When the server where the transaction was first written committed it, where that is known to
    /// the microsecond (MySQL 8.0.1 and later).
    pub fn committed_at(&self) -> Option<Timestamp> {
        match self {
            Self::MySql(event) => event.original_commit,
            Self::MariaDb(_) => None,
        }
    }
}

/// MySQL's GTID, ANONYMOUS_GTID and GTID_TAGGED events.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MySqlGtid {
    /// The id; `None` in an anonymous event.
    pub gtid: Option<Gtid>,
    /// Whether it may hold statements in place of rows.
    pub may_have_statements: bool,
    /// The logical clock: the last transaction that must be committed before this one begins.
    pub last_committed: i64,
    /// The logical clock: this transaction's own number in the file.
    pub sequence_number: i64,
    /// When the server we read from committed it.
    pub immediate_commit: Option<Timestamp>,
    /// When the server where it was first written committed it.
    pub original_commit: Option<Timestamp>,
    /// The bytes of the whole transaction with this event; 0 where the event does not tell.
    pub transaction_length: u64,
    /// The version of the server we read from, such as 90704; 0 where it is not told.
    pub immediate_server_version: u32,
    /// The version of the server where it was first written; 0 where it is not told.
    pub original_server_version: u32,
}

/// The flag of transactions that may hold statements.
const MAY_HAVE_STATEMENTS: u8 = 1;
/// The type code before the two numbers of the logical clock.
const LOGICAL_CLOCK: u8 = 2;
/// Set in the immediate commit time when the original one follows.
const HAS_ORIGINAL_COMMIT: u64 = 1 << 55;
/// Set in the immediate server version when the original one follows.
const HAS_ORIGINAL_VERSION: u32 = 1 << 31;
/// "Not known", where MySQL writes a version.
const UNKNOWN_VERSION: u32 = 999_999;

/// The numbers of GTID_TAGGED's fields.
/// Source: MySQL's documentation of `Gtid_event`.
mod field {
    pub(super) const FLAGS: u64 = 0;
    pub(super) const UUID: u64 = 1;
    pub(super) const NUMBER: u64 = 2;
    pub(super) const TAG: u64 = 3;
    pub(super) const LAST_COMMITTED: u64 = 4;
    pub(super) const SEQUENCE_NUMBER: u64 = 5;
    pub(super) const IMMEDIATE_COMMIT: u64 = 6;
    pub(super) const ORIGINAL_COMMIT: u64 = 7;
    pub(super) const TRANSACTION_LENGTH: u64 = 8;
    pub(super) const IMMEDIATE_VERSION: u64 = 9;
    pub(super) const ORIGINAL_VERSION: u64 = 10;
    pub(super) const COMMIT_GROUP_TICKET: u64 = 11;
}

impl MySqlGtid {
    fn parse(body: &[u8], anonymous: bool) -> Result<Self> {
        let mut cursor = Cursor::new(body);
        let flags = cursor.u8()?;
        let uuid = cursor.array::<16>()?;
        let number = cursor.u64()?;
        let mut event = Self {
            gtid: if anonymous {
                None
            } else {
                Some(mysql_gtid(uuid, String::new(), number)?)
            },
            may_have_statements: flags & MAY_HAVE_STATEMENTS != 0,
            ..Self::default()
        };
        // Each part below came with a later version, and only what is before it tells it is there.
        if cursor.is_empty() || cursor.u8()? != LOGICAL_CLOCK {
            return Ok(event);
        }
        event.last_committed = cursor.u64()? as i64;
        event.sequence_number = cursor.u64()? as i64;
        if cursor.is_empty() {
            return Ok(event);
        }
        let immediate = cursor.uint_le(7)?;
        let original = if immediate & HAS_ORIGINAL_COMMIT == 0 {
            immediate
        } else {
            cursor.uint_le(7)?
        };
        event.immediate_commit = commit_time(immediate & !HAS_ORIGINAL_COMMIT);
        event.original_commit = commit_time(original);
        if cursor.is_empty() {
            return Ok(event);
        }
        event.transaction_length = cursor.lenenc()?;
        if cursor.is_empty() {
            return Ok(event);
        }
        let immediate = cursor.u32()?;
        let original = if immediate & HAS_ORIGINAL_VERSION == 0 {
            immediate
        } else {
            cursor.u32()?
        };
        event.immediate_server_version = known_version(immediate & !HAS_ORIGINAL_VERSION);
        event.original_server_version = known_version(original);
        // A commit group ticket may follow, which concerns the source alone.
        Ok(event)
    }

    fn parse_tagged(body: &[u8]) -> Result<Self> {
        let mut message = Message::parse(body)?;
        let mut event = Self::default();
        let mut uuid = None;
        let mut number = 0;
        let mut tag = String::new();
        let (mut original_commit, mut original_version) = (None, None);
        while let Some(id) = message.field()? {
            let ignorable = message.may_ignore(id);
            let values = message.values();
            match id {
                field::FLAGS => {
                    event.may_have_statements =
                        tagged::uint(values)? & u64::from(MAY_HAVE_STATEMENTS) != 0;
                }
                field::UUID => {
                    let mut bytes = [0; 16];
                    for byte in &mut bytes {
                        *byte = u8::try_from(tagged::uint(values)?)
                            .map_err(|_| damaged("a uuid with a number above 255 in it"))?;
                    }
                    uuid = Some(bytes);
                }
                field::NUMBER => number = tagged::int(values)?,
                field::TAG => {
                    let length = usize::try_from(tagged::uint(values)?).unwrap_or(usize::MAX);
                    std::str::from_utf8(values.take(length)?)
                        .map_err(|_| damaged("a GTID's tag that is not UTF-8"))?
                        .clone_into(&mut tag);
                }
                field::LAST_COMMITTED => event.last_committed = tagged::int(values)?,
                field::SEQUENCE_NUMBER => event.sequence_number = tagged::int(values)?,
                field::IMMEDIATE_COMMIT => {
                    event.immediate_commit = commit_time(tagged::uint(values)?);
                }
                field::ORIGINAL_COMMIT => original_commit = commit_time(tagged::uint(values)?),
                field::TRANSACTION_LENGTH => event.transaction_length = tagged::uint(values)?,
                field::IMMEDIATE_VERSION => {
                    event.immediate_server_version = known_version(tagged::uint(values)? as u32);
                }
                field::ORIGINAL_VERSION => {
                    original_version = Some(known_version(tagged::uint(values)? as u32));
                }
                field::COMMIT_GROUP_TICKET => {
                    tagged::uint(values)?;
                }
                // The fields are in rising order, so all that follow may be passed over too.
                _ if ignorable => break,
                other => {
                    return Err(unsupported(format!(
                        "GTID_TAGGED holds field {other}, which this program does not know"
                    )));
                }
            }
        }
        let uuid = uuid.ok_or_else(|| damaged("GTID_TAGGED without a uuid"))?;
        let number =
            u64::try_from(number).map_err(|_| damaged("GTID_TAGGED with a negative number"))?;
        event.gtid = Some(mysql_gtid(uuid, tag, number)?);
        event.original_commit = original_commit.or(event.immediate_commit);
        event.original_server_version = original_version.unwrap_or(event.immediate_server_version);
        Ok(event)
    }
}

fn mysql_gtid(uuid: [u8; 16], tag: String, number: u64) -> Result<Gtid> {
    if number == 0 || number > i64::MAX as u64 {
        return Err(damaged(format!("a GTID with the number {number}")));
    }
    Ok(Gtid::MySQL { uuid, tag, number })
}

/// A commit time in microseconds; 0 stands for "not known".
fn commit_time(micros: u64) -> Option<Timestamp> {
    (micros != 0).then_some(Timestamp(micros))
}

fn known_version(version: u32) -> u32 {
    if version == UNKNOWN_VERSION {
        0
    } else {
        version
    }
}

/// MariaDB's GTID event. Where it does not stand alone it is the transaction's BEGIN too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MariaDbGtid<'a> {
    /// The replication domain.
    pub domain: u32,
    /// The server that wrote it first: the header's.
    pub server: u32,
    /// The number within the domain.
    pub sequence: u64,
    /// The flags, to be asked for by the methods.
    pub flags: u8,
    /// Transactions of one group commit share this number.
    pub commit_id: Option<u64>,
    /// The XA transaction that is prepared or completed.
    pub xid: Option<Xid<'a>>,
    /// Which part of a two-phase ALTER this is.
    pub alter: Option<AlterPhase>,
    /// The connection that wrote it (MariaDB 11.5 and later).
    pub thread_id: Option<u32>,
}

/// A part of a two-phase ALTER (`binlog_alter_two_phase`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AlterPhase {
    /// It begins; its own sequence number is its name.
    Start,
    /// It took effect.
    Commit {
        /// The sequence number of its start.
        start: u64,
    },
    /// It was given up.
    Rollback {
        /// The sequence number of its start.
        start: u64,
    },
}

/// One statement, without an end event of its own.
const STANDALONE: u8 = 0x01;
const GROUP_COMMIT: u8 = 0x02;
const TRANSACTIONAL: u8 = 0x04;
const ALLOW_PARALLEL: u8 = 0x08;
const WAITED: u8 = 0x10;
const DDL: u8 = 0x20;
const PREPARED_XA: u8 = 0x40;
const COMPLETED_XA: u8 = 0x80;

/// More engines than one took part; their number follows.
const EXTRA_ENGINES: u8 = 0x01;
const EXTRA_START_ALTER: u8 = 0x02;
const EXTRA_COMMIT_ALTER: u8 = 0x04;
const EXTRA_ROLLBACK_ALTER: u8 = 0x08;
const EXTRA_THREAD_ID: u8 = 0x10;
const EXTRA_KNOWN: u8 = 0x1f;

impl<'a> MariaDbGtid<'a> {
    fn parse(body: &'a [u8], server: u32) -> Result<Self> {
        let mut cursor = Cursor::new(body);
        let sequence = cursor.u64()?;
        let domain = cursor.u32()?;
        let flags = cursor.u8()?;
        let mut event = Self {
            domain,
            server,
            sequence,
            flags,
            commit_id: None,
            xid: None,
            alter: None,
            thread_id: None,
        };
        if flags & GROUP_COMMIT != 0 {
            event.commit_id = Some(cursor.u64()?);
        }
        if flags & (PREPARED_XA | COMPLETED_XA) != 0 {
            let format = cursor.u32()?;
            let global_len = usize::from(cursor.u8()?);
            let branch_len = usize::from(cursor.u8()?);
            let name = cursor.take(global_len + branch_len)?;
            event.xid = Some(Xid::new(format, global_len, name)?);
        }
        // Short events are filled up with zero bytes, which read as no extra flags.
        let extra = if cursor.is_empty() { 0 } else { cursor.u8()? };
        if extra & !EXTRA_KNOWN != 0 {
            return Err(unsupported(format!(
                "the GTID event of {domain}-{server}-{sequence} has the flags {extra:#04x}, \
                 which this program does not know"
            )));
        }
        if extra & EXTRA_ENGINES != 0 {
            cursor.u8()?;
        }
        if extra & EXTRA_START_ALTER != 0 {
            event.alter = Some(AlterPhase::Start);
        }
        if extra & (EXTRA_COMMIT_ALTER | EXTRA_ROLLBACK_ALTER) != 0 {
            let start = cursor.u64()?;
            event.alter = Some(if extra & EXTRA_COMMIT_ALTER != 0 {
                AlterPhase::Commit { start }
            } else {
                AlterPhase::Rollback { start }
            });
        }
        if extra & EXTRA_THREAD_ID != 0 {
            event.thread_id = Some(cursor.u32()?);
        }
        Ok(event)
    }

    /// The id.
    pub fn gtid(&self) -> Gtid {
        Gtid::MariaDB {
            domain: self.domain,
            server: self.server,
            sequence: self.sequence,
        }
    }

    /// Whether the transaction is the one statement that follows, with no XID or COMMIT at its end.
    pub fn is_standalone(&self) -> bool {
        self.flags & STANDALONE != 0
    }

    /// Whether all engines concerned can roll it back.
    pub fn is_transactional(&self) -> bool {
        self.flags & TRANSACTIONAL != 0
    }

    /// Whether replicas may apply it beside others.
    pub fn allows_parallel(&self) -> bool {
        self.flags & ALLOW_PARALLEL != 0
    }

    /// Whether it waited for a row lock of another transaction.
    pub fn has_waited(&self) -> bool {
        self.flags & WAITED != 0
    }

    /// Whether it is a DDL statement.
    pub fn is_ddl(&self) -> bool {
        self.flags & DDL != 0
    }

    /// Whether it ends with an XA PREPARE.
    pub fn is_prepared_xa(&self) -> bool {
        self.flags & PREPARED_XA != 0
    }

    /// Whether it is the XA COMMIT or XA ROLLBACK of one prepared before.
    pub fn is_completed_xa(&self) -> bool {
        self.flags & COMPLETED_XA != 0
    }
}

/// The GTID of a whole GTID event's bytes, `None` for events of other kinds and anonymous ones.
pub fn gtid_of(format: &FormatDescription, event: &[u8]) -> Result<Option<Gtid>> {
    let event = format.open(event)?;
    if event.header.kind.is_gtid() {
        Ok(GtidEvent::parse(&event)?.gtid())
    } else {
        Ok(None)
    }
}
