//! MariaDB's way to compress the statement or the rows of an event (`log_bin_compress`).

use std::io::Read;

use super::cursor::Cursor;
use super::{damaged, unsupported};
use crate::model::Result;

/// The top bit of the first byte, always set.
const MARK: u8 = 0x80;
/// How many bytes of length follow.
const LENGTH_MASK: u8 = 0x07;
/// The algorithm; zlib is 0, and there is no other.
const ALGORITHM_MASK: u8 = 0x70;
/// No event is larger than the largest packet of the protocol: 1 GiB.
const MAX_LEN: u64 = 1 << 30;

/// Decompresses `bytes`: a mark, the length, a zlib stream.
pub(crate) fn decompress(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut cursor = Cursor::new(bytes);
    let mark = cursor.u8()?;
    if mark & MARK == 0 {
        return Err(damaged("a compressed event without its mark"));
    }
    if mark & ALGORITHM_MASK != 0 {
        return Err(unsupported(format!(
            "an event compressed by algorithm {}, which is not known",
            (mark & ALGORITHM_MASK) >> 4
        ))
        .with_fix("set `log_bin_compress = OFF` on the source"));
    }
    let length = cursor.uint_be(usize::from(mark & LENGTH_MASK))?;
    inflate(cursor.rest(), length, true)
}

/// Inflates a stream that must give exactly `length` bytes.
pub(crate) fn inflate(stream: &[u8], length: u64, zlib_head: bool) -> Result<Vec<u8>> {
    if length > MAX_LEN {
        return Err(damaged(format!(
            "compressed bytes that say they are {length} bytes long"
        )));
    }
    // What the bytes claim is not taken in advance: a wrong length must not cost memory.
    let mut plain = Vec::with_capacity((length as usize).min(stream.len().saturating_mul(8)));
    let limit = length + 1;
    let read = if zlib_head {
        flate2::read::ZlibDecoder::new(stream)
            .take(limit)
            .read_to_end(&mut plain)
    } else {
        flate2::read::DeflateDecoder::new(stream)
            .take(limit)
            .read_to_end(&mut plain)
    };
    read.map_err(|error| damaged("compressed bytes do not decompress").with_source(error))?;
    if plain.len() as u64 != length {
        return Err(damaged(format!(
            "compressed bytes gave {} bytes in place of {length}",
            plain.len()
        )));
    }
    Ok(plain)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn length_must_fit() {
        let mut encoder =
            flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(b"abcabcabc").unwrap();
        let stream = encoder.finish().unwrap();
        let event = |length: u8| [&[0x81, length], &stream[..]].concat();
        assert_eq!(decompress(&event(9)).unwrap(), b"abcabcabc");
        assert!(decompress(&event(8)).is_err());
        assert!(decompress(&event(10)).is_err());
        assert!(decompress(&[0x81, 9, 1, 2]).is_err());
        assert!(decompress(&[]).is_err());
    }
}
