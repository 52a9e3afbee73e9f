//! Statements in the binlog, with the session they ran in.

use std::borrow::Cow;

use super::cursor::Cursor;
use super::format::Event;
use super::{EventKind, compressed, damaged};
use crate::model::Result;

/// QUERY and QUERY_COMPRESSED.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueryEvent<'a> {
    /// The connection that ran it.
    pub thread_id: u32,
    /// How many seconds it took.
    pub exec_seconds: u32,
    /// The error it ended with on the source; 0 for none.
    pub error_code: u16,
    /// The current database, in UTF-8; empty for none.
    pub schema: &'a [u8],
    /// The statement, in the character set of [`StatusVariables::charset`].
    pub statement: Cow<'a, [u8]>,
    /// The session.
    pub status: StatusVariables<'a>,
}

/// The session variables that a statement depends on, as far as the event has them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StatusVariables<'a> {
    /// The flags, to be asked for by the methods.
    pub flags2: Option<u32>,
    /// `sql_mode`, as the server's bits.
    pub sql_mode: Option<u64>,
    /// The catalog, `std` where there is one.
    pub catalog: Option<&'a [u8]>,
    /// `auto_increment_increment` and `auto_increment_offset`; missing means 1 and 1.
    pub auto_increment: Option<(u16, u16)>,
    /// The session's character set and collations.
    pub charset: Option<SessionCharset>,
    /// `time_zone`.
    pub time_zone: Option<&'a [u8]>,
    /// `lc_time_names`, by number.
    pub lc_time_names: Option<u16>,
    /// The current database's collation, by number.
    pub database_collation: Option<u16>,
    /// Tables that a multi-table UPDATE changes.
    pub table_map_for_update: Option<u64>,
    /// The account that a `DEFINER` defaults to: user and host.
    pub invoker: Option<(&'a [u8], &'a [u8])>,
    /// The databases concerned; `None` also where there are too many to name.
    pub updated_schemas: Option<Vec<&'a [u8]>>,
    /// The microseconds of the statement's time; the seconds are in the header.
    pub microseconds: Option<u32>,
    /// `explicit_defaults_for_timestamp`.
    pub explicit_defaults_for_timestamp: Option<bool>,
    /// The transaction's number in the engines: an atomic DDL statement.
    pub ddl_xid: Option<u64>,
    /// `default_collation_for_utf8mb4`, by number.
    pub default_collation_for_utf8mb4: Option<u16>,
    /// `sql_require_primary_key`.
    pub sql_require_primary_key: Option<bool>,
    /// `default_table_encryption`.
    pub default_table_encryption: Option<bool>,
    /// MariaDB: `character_set_collations`, pairs of a character set's and a collation's number.
    pub character_set_collations: Option<Vec<(u16, u16)>>,
    /// MariaDB: the GTID event's extra flags once more, with the start of a two-phase ALTER.
    pub gtid_flags: Option<(u8, Option<u64>)>,
    /// What is behind a variable that is not known: its length is not known either, so nothing
    /// behind it can be read. Empty where all was read.
    pub unknown: &'a [u8],
}

/// A session's character set and collations, by the numbers of `information_schema.COLLATIONS`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionCharset {
    /// `character_set_client`.
    pub client: u16,
    /// `collation_connection`.
    pub connection: u16,
    /// `collation_server`.
    pub server: u16,
}

const AUTO_IS_NULL: u32 = 1 << 14;
const NOT_AUTOCOMMIT: u32 = 1 << 19;
/// MariaDB's; MySQL does not write these three bits.
const NO_CONSTRAINT_CHECKS: u32 = 1 << 15;
const EXPLICIT_TIMESTAMPS: u32 = 1 << 24;
const IF_EXISTS: u32 = 1 << 28;
const NO_FOREIGN_KEY_CHECKS: u32 = 1 << 26;
const RELAXED_UNIQUE_CHECKS: u32 = 1 << 27;

impl StatusVariables<'_> {
    /// `sql_auto_is_null`.
    pub fn auto_is_null(&self) -> bool {
        self.flag(AUTO_IS_NULL)
    }

    /// `autocommit = 0`.
    pub fn not_autocommit(&self) -> bool {
        self.flag(NOT_AUTOCOMMIT)
    }

    /// `foreign_key_checks = 0`.
    pub fn no_foreign_key_checks(&self) -> bool {
        self.flag(NO_FOREIGN_KEY_CHECKS)
    }

    /// `unique_checks = 0`.
    pub fn relaxed_unique_checks(&self) -> bool {
        self.flag(RELAXED_UNIQUE_CHECKS)
    }

    /// MariaDB: `check_constraint_checks = 0`.
    pub fn no_constraint_checks(&self) -> bool {
        self.flag(NO_CONSTRAINT_CHECKS)
    }

    /// MariaDB: `sql_if_exists`, which makes ALTER, DROP and RENAME mean IF EXISTS.
    pub fn if_exists(&self) -> bool {
        self.flag(IF_EXISTS)
    }

    /// MariaDB from 10.11 on: `explicit_defaults_for_timestamp`. Older versions never set the bit.
    pub fn has_explicit_timestamps(&self) -> bool {
        self.flag(EXPLICIT_TIMESTAMPS)
    }

    fn flag(&self, bit: u32) -> bool {
        self.flags2.is_some_and(|flags| flags & bit != 0)
    }
}

/// In place of a count of databases: too many to name.
const TOO_MANY_SCHEMAS: u8 = 254;
/// The extra GTID flags that are followed by the number of a two-phase ALTER's start.
const ALTER_ENDS: u8 = 0x04 | 0x08;

impl<'a> QueryEvent<'a> {
    /// Reads the body.
    pub fn parse(event: &Event<'a>) -> Result<Self> {
        let mut cursor = Cursor::new(event.body);
        let thread_id = cursor.u32()?;
        let exec_seconds = cursor.u32()?;
        let schema_len = usize::from(cursor.u8()?);
        let error_code = cursor.u16()?;
        let status_len = usize::from(cursor.u16()?);
        let status = StatusVariables::parse(cursor.take(status_len)?)?;
        let schema = cursor.take(schema_len)?;
        if cursor.u8()? != 0 {
            return Err(damaged(
                "QUERY without a zero byte behind the database's name",
            ));
        }
        let statement = if event.header.kind == EventKind::QUERY_COMPRESSED {
            Cow::Owned(compressed::decompress(cursor.rest())?)
        } else {
            Cow::Borrowed(cursor.rest())
        };
        Ok(Self {
            thread_id,
            exec_seconds,
            error_code,
            schema,
            statement,
            status,
        })
    }
}

impl<'a> StatusVariables<'a> {
    /// Reads the block. Source of the numbers: the servers' `Query_event` documentation; those from
    /// 128 on are MariaDB's.
    fn parse(block: &'a [u8]) -> Result<Self> {
        let mut cursor = Cursor::new(block);
        let mut v = Self::default();
        while !cursor.is_empty() {
            let before = cursor.rest();
            match cursor.u8()? {
                0 => v.flags2 = Some(cursor.u32()?),
                1 => v.sql_mode = Some(cursor.u64()?),
                2 => {
                    v.catalog = Some(cursor.short_bytes()?);
                    cursor.u8()?;
                }
                3 => v.auto_increment = Some((cursor.u16()?, cursor.u16()?)),
                4 => {
                    v.charset = Some(SessionCharset {
                        client: cursor.u16()?,
                        connection: cursor.u16()?,
                        server: cursor.u16()?,
                    });
                }
                5 => v.time_zone = Some(cursor.short_bytes()?),
                6 => v.catalog = Some(cursor.short_bytes()?),
                7 => v.lc_time_names = Some(cursor.u16()?),
                8 => v.database_collation = Some(cursor.u16()?),
                9 => v.table_map_for_update = Some(cursor.u64()?),
                // How much of the event the source had read: of no use to others.
                10 => {
                    cursor.u32()?;
                }
                11 => v.invoker = Some((cursor.short_bytes()?, cursor.short_bytes()?)),
                12 => {
                    let count = cursor.u8()?;
                    if count != TOO_MANY_SCHEMAS {
                        let names = (0..count).map(|_| cursor.zero_terminated());
                        v.updated_schemas = Some(names.collect::<Result<_>>()?);
                    }
                }
                13 | 128 => v.microseconds = Some(cursor.uint_le(3)? as u32),
                16 => v.explicit_defaults_for_timestamp = Some(cursor.u8()? != 0),
                17 | 129 => v.ddl_xid = Some(cursor.u64()?),
                18 => v.default_collation_for_utf8mb4 = Some(cursor.u16()?),
                19 => v.sql_require_primary_key = Some(cursor.u8()? != 0),
                20 => v.default_table_encryption = Some(cursor.u8()? != 0),
                130 => {
                    let flags = cursor.u8()?;
                    let start = (flags & ALTER_ENDS != 0)
                        .then(|| cursor.u64())
                        .transpose()?;
                    v.gtid_flags = Some((flags, start));
                }
                131 => {
                    let count = cursor.u8()?;
                    let pairs = (0..count).map(|_| Ok((cursor.u16()?, cursor.u16()?)));
                    v.character_set_collations = Some(pairs.collect::<Result<_>>()?);
                }
                _ => {
                    v.unknown = before;
                    break;
                }
            }
        }
        Ok(v)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables() {
        let mut block = vec![0];
        block.extend((NO_FOREIGN_KEY_CHECKS | NOT_AUTOCOMMIT).to_le_bytes());
        block.extend(b"\x06\x03std\x05\x06+02:00\x0c\x02a\0b\0\x0d\x01\x02\x00");
        block.extend([200, 1, 2]);
        let v = StatusVariables::parse(&block).unwrap();
        assert!(v.no_foreign_key_checks() && v.not_autocommit() && !v.relaxed_unique_checks());
        assert_eq!(v.time_zone, Some(&b"+02:00"[..]));
        assert_eq!(v.updated_schemas, Some(vec![&b"a"[..], b"b"]));
        assert_eq!(v.microseconds, Some(513));
        assert_eq!(v.unknown, [200, 1, 2]);
        assert!(StatusVariables::parse(&[5, 9, b'x']).is_err());
    }
}
