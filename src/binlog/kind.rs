//! The kinds of binlog events, of both flavors, by the number in the event's header.

use std::fmt;

/// An event's kind. Numbers that are not known here are kept as they are.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct EventKind(pub u8);

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $number:literal;)*) => {
        impl EventKind {
            $($(#[$doc])* pub const $name: Self = Self($number);)*

            /// The kind's name, `UNKNOWN` for a number that is not known.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$name => stringify!($name),)*
                    _ => "UNKNOWN",
                }
            }

            /// Whether this program knows what events of this kind are.
            pub fn is_known(self) -> bool {
                matches!(self, $(Self::$name)|*)
            }
        }
    };
}

kinds! {
    /// A statement.
    QUERY = 2;
    /// The server stopped.
    STOP = 3;
    /// The next binlog file.
    ROTATE = 4;
    /// `LAST_INSERT_ID` or `INSERT_ID` of the statement that follows.
    INTVAR = 5;
    /// A block of a file of a LOAD DATA statement.
    APPEND_BLOCK = 9;
    /// The end of an abandoned LOAD DATA statement.
    DELETE_FILE = 11;
    /// The random seed of the statement that follows.
    RAND = 13;
    /// A user variable of the statement that follows.
    USER_VAR = 14;
    /// What the events of this file look like.
    FORMAT_DESCRIPTION = 15;
    /// A commit of a transactional engine.
    XID = 16;
    /// The first block of a file of a LOAD DATA statement.
    BEGIN_LOAD_QUERY = 17;
    /// A LOAD DATA statement.
    EXECUTE_LOAD_QUERY = 18;
    /// The table of the rows events that follow.
    TABLE_MAP = 19;
    /// New rows (version 1).
    WRITE_ROWS_V1 = 23;
    /// Changed rows (version 1).
    UPDATE_ROWS_V1 = 24;
    /// Removed rows (version 1).
    DELETE_ROWS_V1 = 25;
    /// Something happened on the source that its binlog does not hold.
    INCIDENT = 26;
    /// The source is idle, or skips events.
    HEARTBEAT = 27;
    /// An event for those who know it.
    IGNORABLE = 28;
    /// MySQL: the statement that wrote the rows that follow.
    ROWS_QUERY = 29;
    /// New rows.
    WRITE_ROWS = 30;
    /// Changed rows.
    UPDATE_ROWS = 31;
    /// Removed rows.
    DELETE_ROWS = 32;
    /// MySQL: the id of the transaction that follows.
    GTID = 33;
    /// MySQL: a transaction without an id follows.
    ANONYMOUS_GTID = 34;
    /// MySQL: all ids of the files before.
    PREVIOUS_GTIDS = 35;
    /// MySQL: group replication's certification data.
    TRANSACTION_CONTEXT = 36;
    /// MySQL: group replication's change of members.
    VIEW_CHANGE = 37;
    /// A prepared XA transaction ends here.
    XA_PREPARE = 38;
    /// MySQL: changed rows, JSON documents as changes.
    PARTIAL_UPDATE_ROWS = 39;
    /// MySQL: a whole compressed transaction.
    TRANSACTION_PAYLOAD = 40;
    /// MySQL: a heartbeat with offsets beyond 4 GiB.
    HEARTBEAT_V2 = 41;
    /// MySQL: the tagged id of the transaction that follows.
    GTID_TAGGED = 42;
    /// MariaDB: the statement that wrote the rows that follow.
    ANNOTATE_ROWS = 160;
    /// MariaDB: the oldest file that its recovery needs.
    BINLOG_CHECKPOINT = 161;
    /// MariaDB: the id of the transaction or statement that follows; it stands for BEGIN too.
    MARIADB_GTID = 162;
    /// MariaDB: the last id of each domain and server in the files before.
    GTID_LIST = 163;
    /// MariaDB: the file on the source's disk is encrypted from here on.
    START_ENCRYPTION = 164;
    /// MariaDB: a compressed statement.
    QUERY_COMPRESSED = 165;
    /// MariaDB: new rows (version 1), compressed.
    WRITE_ROWS_COMPRESSED_V1 = 166;
    /// MariaDB: changed rows (version 1), compressed.
    UPDATE_ROWS_COMPRESSED_V1 = 167;
    /// MariaDB: removed rows (version 1), compressed.
    DELETE_ROWS_COMPRESSED_V1 = 168;
    /// MariaDB: new rows, compressed.
    WRITE_ROWS_COMPRESSED = 169;
    /// MariaDB: changed rows, compressed.
    UPDATE_ROWS_COMPRESSED = 170;
    /// MariaDB: removed rows, compressed.
    DELETE_ROWS_COMPRESSED = 171;
}

impl EventKind {
    /// Whether its events hold rows of a table.
    pub fn is_rows(self) -> bool {
        matches!(self.0, 23..=25 | 30..=32 | 39 | 166..=171)
    }

    /// Whether it opens a transaction: the GTID events of both flavors.
    pub fn is_gtid(self) -> bool {
        matches!(
            self,
            Self::GTID | Self::ANONYMOUS_GTID | Self::GTID_TAGGED | Self::MARIADB_GTID
        )
    }

    /// Whether its body is compressed the way MariaDB does it.
    pub fn is_compressed(self) -> bool {
        matches!(self.0, 165..=171)
    }
}

impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            "UNKNOWN" => write!(f, "UNKNOWN({})", self.0),
            name => f.write_str(name),
        }
    }
}

impl fmt::Debug for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        assert_eq!(EventKind(30).to_string(), "WRITE_ROWS");
        assert_eq!(EventKind(200).to_string(), "UNKNOWN(200)");
        assert!(!EventKind(200).is_known() && EventKind::GTID_LIST.is_known());
    }
}
