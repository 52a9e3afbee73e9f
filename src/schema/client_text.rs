//! Statements of clients that do not speak UTF-8: read in UTF-8, and given on in their own bytes.
//!
//! A binlog has a statement as its client sent it. In some character sets the second byte of a character
//! may be a quote's backslash, and names and members of ENUMs must be those that the server holds. So the
//! text is decoded before it is read. What runs on the target is encoded again: the server there then
//! reads what the source's read, byte for byte, also in strings with a character set of their own.

use std::borrow::Cow;

use encoding_rs::Encoding;

/// The character set of a client that is not UTF-8.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientCharset(&'static Encoding);

impl ClientCharset {
    /// By the servers' name of it; `None` for UTF-8, and for what is not known here.
    pub fn of(charset: &str) -> Option<Self> {
        Some(Self(match charset {
            "latin1" => encoding_rs::WINDOWS_1252,
            "latin2" => encoding_rs::ISO_8859_2,
            "latin5" => encoding_rs::WINDOWS_1254,
            "latin7" => encoding_rs::ISO_8859_13,
            "greek" => encoding_rs::ISO_8859_7,
            "hebrew" => encoding_rs::ISO_8859_8,
            "cp1250" => encoding_rs::WINDOWS_1250,
            "cp1251" => encoding_rs::WINDOWS_1251,
            "cp1256" => encoding_rs::WINDOWS_1256,
            "cp1257" => encoding_rs::WINDOWS_1257,
            "cp866" => encoding_rs::IBM866,
            "koi8r" => encoding_rs::KOI8_R,
            "koi8u" => encoding_rs::KOI8_U,
            "macroman" => encoding_rs::MACINTOSH,
            "tis620" => encoding_rs::WINDOWS_874,
            "gbk" | "gb2312" => encoding_rs::GBK,
            "gb18030" => encoding_rs::GB18030,
            "big5" => encoding_rs::BIG5,
            "sjis" | "cp932" => encoding_rs::SHIFT_JIS,
            "euckr" => encoding_rs::EUC_KR,
            "ujis" | "eucjpms" => encoding_rs::EUC_JP,
            _ => return None,
        }))
    }

    /// The text in UTF-8; `None` unless every byte of it comes back by [`Self::encode`].
    pub fn decode<'a>(&self, text: &'a [u8]) -> Option<Cow<'a, str>> {
        let decoded = self
            .0
            .decode_without_bom_handling_and_without_replacement(text)?;
        (self.encode(&decoded).as_deref() == Some(text)).then_some(decoded)
    }

    /// The text as such a client sends it; `None` if it has no code for a character.
    pub fn encode(&self, text: &str) -> Option<Vec<u8>> {
        let (bytes, _, is_lossy) = self.0.encode(text);
        (!is_lossy).then(|| bytes.into_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_is_given_on_in_its_own_bytes() {
        for (charset, bytes, text) in [
            ("latin1", &b"`l\xe9` '\x80'"[..], "`lé` '€'"),
            // The second byte of these is a backslash.
            ("gbk", b"DEFAULT '\xd5\x5c'", "DEFAULT '誠'"),
            ("sjis", b"'\x95\x5c', '\\''", "'表', '\\''"),
            ("big5", b"'\xa5\x5c'", "'功'"),
            ("koi8r", b"\xd4", "т"),
        ] {
            let client = ClientCharset::of(charset).unwrap();
            assert_eq!(client.decode(bytes).as_deref(), Some(text), "{charset}");
            assert_eq!(client.encode(text).as_deref(), Some(bytes), "{charset}");
        }
    }

    #[test]
    fn what_would_not_come_back_is_not_decoded() {
        let gbk = ClientCharset::of("gbk").unwrap();
        assert_eq!(gbk.decode(b"'\xff'"), None);
        assert_eq!(gbk.decode(b"'\xa2\xe3'"), None, "another code for the euro");
        assert_eq!(ClientCharset::of("latin1").unwrap().encode("漢"), None);
        assert_eq!(ClientCharset::of("utf8mb4"), None);
    }
}
