//! What the packets of the servers' protocol are made of.

use crate::model::{Error, ErrorKind, ServerError};

/// Capability flags.
/// Source: MySQL's documentation of the protocol; MariaDB's has the same values.
pub(super) mod capability {
    pub(in crate::connect) const LONG_PASSWORD: u32 = 1;
    pub(in crate::connect) const FOUND_ROWS: u32 = 1 << 1;
    pub(in crate::connect) const LONG_FLAG: u32 = 1 << 2;
    pub(in crate::connect) const LOCAL_FILES: u32 = 1 << 7;
    pub(in crate::connect) const PROTOCOL_41: u32 = 1 << 9;
    pub(in crate::connect) const SSL: u32 = 1 << 11;
    pub(in crate::connect) const TRANSACTIONS: u32 = 1 << 13;
    pub(in crate::connect) const SECURE_CONNECTION: u32 = 1 << 15;
    pub(in crate::connect) const MULTI_STATEMENTS: u32 = 1 << 16;
    pub(in crate::connect) const MULTI_RESULTS: u32 = 1 << 17;
    pub(in crate::connect) const PLUGIN_AUTH: u32 = 1 << 19;
    pub(in crate::connect) const PLUGIN_AUTH_LENENC: u32 = 1 << 21;
}

/// The commands.
pub(super) const COM_QUIT: u8 = 0x01;
pub(super) const COM_QUERY: u8 = 0x03;

/// What an answer begins with.
pub(super) const OK: u8 = 0x00;
pub(super) const MORE: u8 = 0x01;
/// The server wants a file.
pub(super) const FILE: u8 = 0xfb;
pub(super) const EOF: u8 = 0xfe;
pub(super) const ERR: u8 = 0xff;
/// In a row: NULL.
const NULL: u8 = 0xfb;

/// Takes a packet apart.
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl<'a> Fields<'a> {
    pub(super) fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(head)
    }

    pub(super) fn until_zero(&mut self) -> Option<&'a [u8]> {
        let end = memchr::memchr(0, self.0)?;
        let text = self.take(end)?;
        self.take(1)?;
        Some(text)
    }

    pub(super) fn lenenc(&mut self) -> Option<u64> {
        let width = match *self.take(1)?.first()? {
            short @ ..=0xfa => return Some(u64::from(short)),
            0xfc => 2,
            0xfd => 3,
            0xfe => 8,
            0xfb | 0xff => return None,
        };
        let bytes = self.take(width)?;
        Some(
            bytes
                .iter()
                .rev()
                .fold(0, |number, byte| number << 8 | u64::from(*byte)),
        )
    }

    /// Bytes with their length before them.
    pub(super) fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.lenenc()?).ok()?;
        self.take(length)
    }

    /// Two bytes as a number.
    pub(super) fn short(&mut self) -> Option<u16> {
        Some(u16::from_le_bytes(self.take(2)?.try_into().ok()?))
    }

    /// A value of a row: the outer `None` is a broken packet, the inner NULL.
    #[expect(clippy::option_option, reason = "NULL and broken are two things")]
    pub(super) fn cell(&mut self) -> Option<Option<&'a [u8]>> {
        if self.0.first() == Some(&NULL) {
            self.take(1)?;
            return Some(None);
        }
        self.bytes().map(Some)
    }
}

/// Whether a packet ends a list of columns or of rows.
pub(super) fn is_end(packet: &[u8]) -> bool {
    packet.first() == Some(&EOF) && packet.len() < 9
}

/// A server's refusal.
pub(super) fn parse_error(packet: &[u8]) -> ServerError {
    let mut fields = Fields(packet);
    fields.take(1);
    let number = fields
        .take(2)
        .and_then(|two| two.try_into().ok())
        .map_or(0, u16::from_le_bytes);
    // Errors before the log-in have no SQLSTATE.
    let sqlstate = if fields.0.first() == Some(&b'#') {
        fields.take(1);
        fields.take(5).unwrap_or_default()
    } else {
        b"HY000"
    };
    ServerError {
        number,
        sqlstate: String::from_utf8_lossy(sqlstate).into_owned(),
        message: String::from_utf8_lossy(fields.0).into_owned(),
    }
}

/// An answer that makes no sense.
pub(super) fn garbage(doing: &str) -> Error {
    Error::new(
        ErrorKind::Connect,
        format!("cannot {doing}: the answer is not of the MySQL protocol"),
    )
    .with_fix("check `host` and `port`: something else may be listening there")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_the_text_protocol() {
        let mut fields = Fields(b"\x03abc\xfb\xfc\x02\x00de\x05ab");
        assert_eq!(fields.cell(), Some(Some(b"abc".as_slice())));
        assert_eq!(fields.cell(), Some(None));
        assert_eq!(fields.cell(), Some(Some(b"de".as_slice())));
        assert_eq!(fields.cell(), None);
    }
}
