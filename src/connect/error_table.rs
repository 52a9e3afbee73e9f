//! The servers' error numbers in one table: what each means, what follows from it, how to mend it.
//!
//! Each number stands in it once. The families share most of them; where two give one number a
//! different meaning, the one that a statement of ours can meet is here. A number that is not in the
//! table is a refusal for a reason in the data: it pauses.
//!
//! Sources: `mysqld_error.h` of MySQL 9.7, `mysqld_error.h` of MariaDB 11.8, TiDB's `pkg/errno` and its
//! page of error codes.

use crate::model::{ErrorKind, Flavor};

/// What follows from an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// It may pass: tried again by itself, with growing waits, up to `worker.retry_limit`.
    Retry,
    /// It stays until something is mended on a server: the stream stands, at the event where one is
    /// concerned, and the operator's `retry` goes on.
    Pause,
    /// The session cannot be had at all: the account, the password, the encryption. Nothing of the data
    /// is concerned, so no event is shown.
    Fatal,
}

/// One line of the table.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// The numbers it is about.
    pub numbers: &'static [u16],
    /// The families that give them.
    pub of: &'static [Flavor],
    /// What follows.
    pub class: Class,
    /// The kind of failure.
    pub kind: ErrorKind,
    /// What it means, in one sentence without a full stop.
    pub meaning: &'static str,
    /// How to mend it.
    pub remedy: &'static str,
}

const ALL: &[Flavor] = &[Flavor::MySQL, Flavor::MariaDB, Flavor::TiDB];
const SERVERS: &[Flavor] = &[Flavor::MySQL, Flavor::MariaDB];
const MYSQL: &[Flavor] = &[Flavor::MySQL];
const MYSQL_TIDB: &[Flavor] = &[Flavor::MySQL, Flavor::TiDB];
const MARIADB: &[Flavor] = &[Flavor::MariaDB];
const TIDB: &[Flavor] = &[Flavor::TiDB];

const fn retry(
    numbers: &'static [u16],
    of: &'static [Flavor],
    kind: ErrorKind,
    meaning: &'static str,
    remedy: &'static str,
) -> Entry {
    entry_of(Class::Retry, numbers, of, kind, meaning, remedy)
}

const fn pause(
    numbers: &'static [u16],
    of: &'static [Flavor],
    kind: ErrorKind,
    meaning: &'static str,
    remedy: &'static str,
) -> Entry {
    entry_of(Class::Pause, numbers, of, kind, meaning, remedy)
}

const fn fatal(
    numbers: &'static [u16],
    of: &'static [Flavor],
    kind: ErrorKind,
    meaning: &'static str,
    remedy: &'static str,
) -> Entry {
    entry_of(Class::Fatal, numbers, of, kind, meaning, remedy)
}

const fn entry_of(
    class: Class,
    numbers: &'static [u16],
    of: &'static [Flavor],
    kind: ErrorKind,
    meaning: &'static str,
    remedy: &'static str,
) -> Entry {
    Entry {
        numbers,
        of,
        class,
        kind,
        meaning,
        remedy,
    }
}

use ErrorKind::{Auth, Connect, Privilege, Setting, Target, TargetBusy, Tls};

const GRANT: &str =
    "grant the account what the server's message names; `tideway check` has the statement";
const PLUGIN: &str = "give the account an authentication plugin that is supported: \
                      `caching_sha2_password`, `mysql_native_password`, `ed25519` or `parsec`";
const WRITABLE: &str =
    "the server is read-only: make it writable, or point the configuration at the one that is";

/// All of them, by class.
#[rustfmt::skip]
pub static TABLE: &[Entry] = &[
    // Locks and conflicts between sessions.
    retry(&[1205], ALL, TargetBusy, "a lock that another session holds was waited for too long",
        "end the transaction that holds it (`SHOW PROCESSLIST`, `information_schema.INNODB_TRX`), or wait"),
    retry(&[1213], ALL, TargetBusy, "a deadlock with another session, which was let win",
        "nothing, if it passes; else stop what writes to the same rows of the target"),
    retry(&[1020], SERVERS, TargetBusy, "another session changed the row meanwhile",
        "stop what writes to the same rows of the target"),
    retry(&[1614], SERVERS, TargetBusy, "a deadlock of an XA transaction on the target",
        "nothing, if it passes; else stop what writes to the same rows of the target"),
    retry(&[1637], SERVERS, TargetBusy, "the target runs too many transactions at once",
        "wait, or end some of them"),
    retry(&[1689, 3572], ALL, TargetBusy, "a lock was not to be had at once",
        "wait, or end the transaction that holds it"),
    retry(&[3058], MYSQL_TIDB, TargetBusy, "a deadlock on a user's lock", "wait, or end the session that holds it"),
    retry(&[3101], MYSQL, TargetBusy, "the group's certification rolled the transaction back",
        "write to one member of the group only"),
    retry(&[1206], SERVERS, TargetBusy, "the lock table is full",
        "raise `innodb_buffer_pool_size` on the target, or lower `batch_rows`"),
    retry(&[1317], ALL, TargetBusy, "somebody ended the statement (`KILL QUERY`)",
        "see who kills the statements of this account"),
    retry(&[1969, 3024], ALL, TargetBusy, "the statement took longer than the target allows",
        "raise `max_statement_time` (MariaDB) or `max_execution_time` (MySQL, TiDB) for the account"),
    retry(&[1412], ALL, TargetBusy, "a table's definition changed within the transaction", "let the DDL on the server end"),
    // Room.
    retry(&[1021], ALL, TargetBusy, "the server's disk is full",
        "free some space on the server's disk; work goes on by itself then"),
    retry(&[1114], ALL, TargetBusy, "the table is full: the server's disk, or a limit of its tablespace",
        "free some space on the server's disk, or let the tablespace grow; work goes on by itself then"),
    retry(&[1041, 1135], ALL, TargetBusy, "the server is out of memory or threads",
        "give the server more memory, or close other connections"),
    // TiDB: transactions.
    retry(&[8002, 8005, 9007], TIDB, TargetBusy, "a write conflict: another client changed the same rows",
        "nothing, if it passes; else stop what writes to the same rows of the target"),
    retry(&[8022], TIDB, TargetBusy, "the commit failed and may be run again", "nothing, if it passes"),
    retry(&[8023, 8024], TIDB, TargetBusy, "the transaction is no longer valid in TiDB", "nothing, if it passes"),
    retry(&[8027], TIDB, TargetBusy, "the TiDB server lost touch with the cluster's schema",
        "see that it reaches PD, and that its clock is right"),
    retry(&[8028, 8113], TIDB, TargetBusy, "the schema changed during the transaction",
        "let the DDL on the target end"),
    retry(&[8055, 9006], TIDB, TargetBusy, "the transaction was older than TiDB keeps versions for",
        "raise `tidb_gc_life_time`, or make the batches smaller (`batch_rows`)"),
    retry(&[8229], TIDB, TargetBusy, "the transaction held its locks for too long",
        "make the batches smaller (`batch_rows`), or raise `performance.max-txn-ttl`"),
    retry(&[8001, 8175, 8176], TIDB, TargetBusy, "the statement needed more memory than TiDB allows",
        "raise `tidb_mem_quota_query`, or make the batches smaller (`batch_rows`, `batch_bytes`)"),
    retry(&[8252], TIDB, TargetBusy, "the account's resource group is throttled",
        "give the resource group more request units (`ALTER RESOURCE GROUP`)"),
    retry(&[8253, 8254], TIDB, TargetBusy, "the resource group's rule for runaway queries stopped it",
        "exempt the account from the rule (`ALTER RESOURCE GROUP … QUERY_LIMIT=NULL`)"),
    // TiDB: the cluster.
    retry(&[8120, 9001, 9011], TIDB, TargetBusy, "PD did not answer in time",
        "see PD's state, its log and the network to it"),
    retry(&[9002], TIDB, TargetBusy, "TiKV did not answer in time", "see TiKV's state, its log and the network to it"),
    retry(&[9003, 9008], TIDB, TargetBusy, "TiKV is too busy", "see TiKV's load, and hot regions"),
    retry(&[9004], TIDB, TargetBusy, "a lock could not be resolved in time", "stop what writes to the same rows of the target"),
    retry(&[9005, 9010], TIDB, TargetBusy, "a region is not available",
        "see that enough TiKV stores are up (`information_schema.TIKV_STORE_STATUS`)"),
    retry(&[9012, 9013], TIDB, TargetBusy, "TiFlash did not answer in time or is too busy", "see TiFlash's state and log"),
    // Connections.
    retry(&[1040], ALL, Connect, "the server has no connection left",
        "raise `max_connections` on the server, or close other connections"),
    retry(&[1203, 1226], ALL, Connect, "the account has used up its limits", "raise the account's limits on the server"),
    retry(&[1053, 1077, 1078, 1079], ALL, Connect, "the server is shutting down", "start the server again"),
    retry(&[1927, 3169, 1080], ALL, Connect, "somebody ended the connection (`KILL`)",
        "see who kills the connections of this account"),
    retry(&[1152, 1154, 1155, 1156, 1157, 1158, 1159, 1160, 1161, 1184], ALL, Connect,
        "the server lost the connection on its side", "check the network, and the server's `net_read_timeout`"),
    retry(&[2002, 2003, 2006, 2013], ALL, Connect, "the server cannot be reached", "start the server, or check the network"),
    retry(&[4031], MYSQL, Connect, "the server closed a connection that was idle for too long", "nothing: it is made anew"),
    // The server's settings.
    pause(&[1290, 1836], ALL, Setting, "the target is read-only", WRITABLE),
    pause(&[1792, 3989], SERVERS, Setting, "the session may only read", "set `transaction_read_only = OFF` on the target"),
    pause(&[1381], SERVERS, Setting, "the server writes no binlog",
        "switch the binlog on with `log_bin` and restart the server"),
    pause(&[8130], TIDB, Setting, "several statements in one packet are switched off",
        "`SET GLOBAL tidb_multi_statement_mode = 'ON'` on the target"),
    pause(&[8220], TIDB, Setting, "the session reads a snapshot and cannot write", "unset `tidb_snapshot` for the account"),
    // Rights, behind the log-in.
    pause(&[1044, 1095, 1142, 1143, 1227, 1370, 1419, 3530, 8121], ALL, Privilege, "a privilege is missing", GRANT),
    // Rows that are there, or are not.
    pause(&[1022, 1062, 1586], ALL, Target,
        "the row, or its unique value, is on the target already: somebody else writes to the table, or the \
         target has a unique key that the source lacks",
        "take the row or the key away on the target, then retry"),
    pause(&[8147], TIDB, Target, "a unique value is there twice, which TiDB noticed late",
        "`SET GLOBAL tidb_constraint_check_in_place_pessimistic = ON`; see which row of the target is in the way"),
    pause(&[1216, 1217, 1451, 1452], ALL, Target,
        "a foreign key of the target is in the way: a parent or child row differs there",
        "make the parent's or child's row what the source has, then retry"),
    pause(&[3819, 4025], ALL, Target, "a CHECK of the target does not hold for the row",
        "drop the check on the target, or make it the source's"),
    pause(&[1644, 1643], ALL, Target, "a trigger or a routine of the target refused the row (`SIGNAL`)",
        "drop the triggers of this table on the target: their work is in the source's binlog already"),
    pause(&[1442, 1235, 1415, 1422], SERVERS, Target, "a trigger of the target cannot run here",
        "drop the triggers of this table on the target: their work is in the source's binlog already"),
    pause(&[1526, 1748, 1863], ALL, Target, "no partition of the target takes the row",
        "give the target's table the partitions of the source's"),
    pause(&[1471, 1573], ALL, Target, "the target's table cannot be written to", "name a base table of the target, not a view"),
    // Values.
    pause(&[1264, 1690, 1916], ALL, Target, "a value is out of the range of the target's column",
        "make the target's column as wide as the source's, sign and digits included, then retry"),
    pause(&[1406, 1265, 1366, 1292, 1411, 3854], ALL, Target,
        "the target's column is narrower than the source's, or of another character set",
        "make the target's column the source's, then retry"),
    pause(&[1048, 1364], ALL, Target, "a column of the target must not be NULL, or has no default",
        "make the column nullable on the target, or give it a default, then retry"),
    pause(&[3140, 4038], ALL, Target, "the target cannot read the JSON document", "make the target's column the source's, then retry"),
    pause(&[1267, 1273, 1115], ALL, Target, "the target does not have the collation or the character set",
        "choose another one for this table on the target"),
    // Structure.
    pause(&[1054, 1136, 1110], ALL, Target, "the target's columns are not the source's",
        "make both structures agree, then retry"),
    pause(&[1146, 1051], ALL, Target, "the table is not on the target: it was dropped there, or never loaded",
        "make the table on the target and copy its rows, or leave it out of the task"),
    pause(&[1049], ALL, Target, "the database is not there", "create the database, or mend the name in the configuration"),
    pause(&[1050, 1007, 1060, 1061, 1826], ALL, Target, "the target has something of that name already",
        "see whether somebody else made it there; drop or rename it, then retry"),
    pause(&[1091, 1008, 1176, 1072], ALL, Target, "the target has nothing of that name",
        "see whether somebody else dropped it there, then retry"),
    pause(&[1064, 1149], ALL, Target, "the target does not read the statement",
        "run its like on the target by hand, then skip the event"),
    pause(&[1286, 3161, 1726, 1178], ALL, Target, "the target does not have the engine, or forbids it", "choose InnoDB for the table"),
    pause(&[1071, 1118, 1709], ALL, Target, "a key or a row is longer than the target allows",
        "shorten the key or the columns on the target, then retry"),
    pause(&[8200, 8108, 8214, 8231, 8242], TIDB, Target, "TiDB does not take this statement",
        "run its like on the target by hand, in steps if need be, then skip the event"),
    pause(&[8020], TIDB, Target, "the table is locked on the target (`LOCK TABLES`)", "unlock it, then retry"),
    pause(&[1845, 1846], ALL, Target, "the target cannot change the table this way",
        "run its like on the target by hand (another `ALGORITHM`), then skip the event"),
    // Size.
    pause(&[1153, 1301], ALL, Target, "a statement is longer than the target takes",
        "raise `max_allowed_packet` on the server"),
    pause(&[1197, 1534, 1705], SERVERS, Target, "the transaction is larger than the target's binlog takes",
        "raise `max_binlog_cache_size` on the target"),
    pause(&[8004], TIDB, Target, "the transaction is larger than TiDB takes",
        "raise `performance.txn-total-size-limit` on the target"),
    pause(&[8025], TIDB, Target, "the row is larger than TiDB takes",
        "raise `performance.txn-entry-size-limit` (up to 120 MiB), or `tidb_txn_entry_size_limit`, on the target"),
    // Damage on the target.
    pause(&[8003, 8133, 8134, 8138, 8139, 8140, 8141, 8223], TIDB, Target, "rows and indexes of the target disagree",
        "`ADMIN CHECK TABLE` on the target; it is damaged there"),
    pause(&[1030, 1034, 1194, 1195, 1712, 1877], SERVERS, Target, "the target's table is damaged",
        "see the target's error log; mend the table (`CHECK TABLE`), then retry"),
    pause(&[1105, 1815], ALL, Target, "the server has no number of its own for it: its text says what",
        "see the server's text and its log, then retry"),
    // The log-in.
    fatal(&[1045, 1698], ALL, Auth, "user or password is wrong, or the account does not allow this host",
        "check `user` and the password, and that the account allows this host; a `password_file` is read again at each \
         try, a new `password` or `password_env` takes a restart of the worker"),
    fatal(&[1130], ALL, Auth, "the server does not allow this host", "create the account for the host this program connects from"),
    fatal(&[1251, 1275, 1524], ALL, Auth, "the account logs in by a plugin that is not supported", PLUGIN),
    fatal(&[1820, 1862], ALL, Auth, "the password has expired", "set a new password for the account: the old one has expired"),
    fatal(&[3118, 4151, 3955], ALL, Auth, "the account is locked", "unlock the account: `ALTER USER … ACCOUNT UNLOCK`"),
    fatal(&[3159], MYSQL_TIDB, Tls, "the server takes encrypted connections only",
        "use `tls = \"required\"` or stricter for this server"),
    fatal(&[1129], MARIADB, Auth, "the server has blocked this host after too many failed connections",
        "`FLUSH HOSTS` on the server"),
];

/// The line of a number.
pub fn entry(number: u16) -> Option<&'static Entry> {
    TABLE.iter().find(|entry| entry.numbers.contains(&number))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_number_stands_once_and_says_what_to_do() {
        let mut seen = BTreeSet::new();
        for entry in TABLE {
            assert!(!entry.numbers.is_empty() && !entry.of.is_empty());
            assert!(!entry.remedy.is_empty() && !entry.meaning.ends_with('.'));
            for number in entry.numbers {
                assert!(seen.insert(*number), "{number} stands twice");
            }
        }
        assert!(entry(65_000).is_none());
    }

    #[test]
    fn what_may_pass_is_told_from_what_does_not() {
        for (number, class) in [
            (1205, Class::Retry),
            (1213, Class::Retry),
            (8022, Class::Retry),
            (8028, Class::Retry),
            (9001, Class::Retry),
            (9002, Class::Retry),
            (9003, Class::Retry),
            (9004, Class::Retry),
            (9005, Class::Retry),
            (9007, Class::Retry),
            (1290, Class::Pause),
            (1836, Class::Pause),
            (1062, Class::Pause),
            (1264, Class::Pause),
            (8004, Class::Pause),
            (8141, Class::Pause),
            (8200, Class::Pause),
            (1045, Class::Fatal),
        ] {
            assert_eq!(entry(number).unwrap().class, class, "{number}");
        }
    }

    /// A number of TiDB's own is of nobody else.
    #[test]
    fn tidbs_own_numbers_are_marked() {
        for entry in TABLE {
            let own =
                |number: &u16| (8000..=8999).contains(number) || (9000..=9999).contains(number);
            if entry.of == TIDB {
                assert!(entry.numbers.iter().all(own), "{:?}", entry.numbers);
            }
        }
    }
}
