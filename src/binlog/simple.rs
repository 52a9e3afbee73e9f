//! Events of a field or two.

use super::cursor::Cursor;
use super::damaged;
use crate::model::Result;

/// ROTATE: the binlog goes on in another file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RotateEvent<'a> {
    /// The offset of the next event in that file.
    pub offset: u64,
    /// The file's name.
    pub file: &'a str,
}

impl<'a> RotateEvent<'a> {
    /// Reads the body. MariaDB's very first artificial rotate on a connection carries a checksum
    /// although no format description has announced one: who reads it must agree on checksums
    /// first and open the event with [`super::FormatDescription::before_first`].
    pub fn parse(body: &'a [u8]) -> Result<Self> {
        let mut cursor = Cursor::new(body);
        let offset = cursor.u64()?;
        let file = std::str::from_utf8(cursor.rest())
            .map_err(|_| damaged("ROTATE names a file whose name is not UTF-8"))?;
        if file.is_empty() || file.contains(['/', '\0']) {
            return Err(damaged(format!(
                "ROTATE names `{}`, which is no binlog file",
                file.escape_debug()
            )));
        }
        Ok(Self { offset, file })
    }
}

/// XID: the transaction's number in the source's engines.
pub fn parse_xid(body: &[u8]) -> Result<u64> {
    Cursor::new(body).u64()
}

/// An XA transaction's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Xid<'a> {
    /// Its format.
    pub format: u32,
    /// The global part.
    pub global: &'a [u8],
    /// The branch.
    pub branch: &'a [u8],
}

impl<'a> Xid<'a> {
    pub(crate) fn new(format: u32, global_len: usize, data: &'a [u8]) -> Result<Self> {
        let (global, branch) = data
            .split_at_checked(global_len)
            .ok_or_else(|| damaged("an XA transaction's name that is cut off"))?;
        Ok(Self {
            format,
            global,
            branch,
        })
    }
}

/// XA_PREPARE: the end of a prepared XA transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct XaPrepareEvent<'a> {
    /// `XA COMMIT … ONE PHASE`: committed at once.
    pub one_phase: bool,
    /// Its name.
    pub xid: Xid<'a>,
}

impl<'a> XaPrepareEvent<'a> {
    /// Reads the body.
    pub fn parse(body: &'a [u8]) -> Result<Self> {
        let mut cursor = Cursor::new(body);
        let one_phase = cursor.u8()? != 0;
        let format = cursor.u32()?;
        let global_len = cursor.u32()? as usize;
        let branch_len = cursor.u32()? as usize;
        let length = global_len
            .checked_add(branch_len)
            .ok_or_else(|| damaged("an XA transaction's name of impossible length"))?;
        let xid = Xid::new(format, global_len, cursor.take(length)?)?;
        Ok(Self { one_phase, xid })
    }
}

/// HEARTBEAT and HEARTBEAT_V2: how far the source has read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeartbeatEvent<'a> {
    /// The file.
    pub file: &'a [u8],
    /// The offset, where the event holds one of 64 bits (V2); else it is the header's `log_pos`.
    pub offset: Option<u64>,
}

/// Fields of HEARTBEAT_V2, by the number before each.
const HEARTBEAT_FILE: u64 = 1;
const HEARTBEAT_OFFSET: u64 = 2;

impl<'a> HeartbeatEvent<'a> {
    /// Reads the body of HEARTBEAT.
    pub fn parse(body: &'a [u8]) -> Self {
        Self {
            file: body,
            offset: None,
        }
    }

    /// Reads the body of HEARTBEAT_V2: fields of a number, a length and a value, 0 at the end.
    pub fn parse_v2(body: &'a [u8]) -> Result<Self> {
        let mut cursor = Cursor::new(body);
        let mut event = Self {
            file: &[],
            offset: None,
        };
        while !cursor.is_empty() {
            let field = cursor.lenenc()?;
            if field == 0 {
                break;
            }
            let value = cursor.lenenc_bytes()?;
            match field {
                HEARTBEAT_FILE => event.file = value,
                HEARTBEAT_OFFSET => event.offset = Some(Cursor::new(value).lenenc()?),
                // Fields to come may be passed over: each says its length.
                _ => {}
            }
        }
        Ok(event)
    }
}

/// INCIDENT: something happened on the source that its binlog does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IncidentEvent<'a> {
    /// 1 is LOST_EVENTS, the only one there is.
    pub number: u16,
    /// What the source says of it.
    pub message: &'a [u8],
}

impl<'a> IncidentEvent<'a> {
    /// Reads the body.
    pub fn parse(body: &'a [u8]) -> Result<Self> {
        let mut cursor = Cursor::new(body);
        Ok(Self {
            number: cursor.u16()?,
            message: cursor.short_bytes()?,
        })
    }
}

/// ROWS_QUERY: the statement. Its length byte wraps for long statements, so it goes to the end.
pub fn parse_rows_query(body: &[u8]) -> Result<&[u8]> {
    let mut cursor = Cursor::new(body);
    cursor.u8()?;
    Ok(cursor.rest())
}

/// BINLOG_CHECKPOINT: the oldest file that the source's recovery needs.
pub fn parse_binlog_checkpoint(body: &[u8]) -> Result<&[u8]> {
    let mut cursor = Cursor::new(body);
    let length = cursor.u32()? as usize;
    cursor.take(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rotate() {
        let body = [4, 0, 0, 0, 0, 0, 0, 0, b'b', b'.', b'1'];
        assert_eq!(
            RotateEvent::parse(&body).unwrap(),
            RotateEvent {
                offset: 4,
                file: "b.1"
            }
        );
        assert!(RotateEvent::parse(b"\x04\0\0\0\0\0\0\0../x").is_err());
        assert!(RotateEvent::parse(b"\x04\0\0\0\0\0\0\0").is_err());
    }

    #[test]
    fn xa_prepare_parts_are_checked() {
        let mut body = vec![0, 1, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0];
        body.extend(b"abc");
        let event = XaPrepareEvent::parse(&body).unwrap();
        assert_eq!(
            (event.xid.global, event.xid.branch),
            (&b"ab"[..], &b"c"[..])
        );
        body.pop();
        assert!(XaPrepareEvent::parse(&body).is_err());
    }

    #[test]
    fn heartbeat_v2() {
        let body = b"\x01\x03b.1\x02\x09\xfe\x00\x00\x00\x00\x01\x00\x00\x00\x00";
        let event = HeartbeatEvent::parse_v2(body).unwrap();
        assert_eq!((event.file, event.offset), (&b"b.1"[..], Some(1 << 32)));
    }
}
