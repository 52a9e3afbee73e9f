//! MySQL's compressed transactions: one event that holds all the others.

use std::io::Read;

use super::cursor::Cursor;
use super::header::{EventHeader, HEADER_LEN};
use super::{damaged, unsupported};
use crate::model::{Error, Result};

/// TRANSACTION_PAYLOAD.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Payload<'a> {
    /// The bytes when decompressed.
    pub uncompressed_size: u64,
    compression: Compression,
    bytes: &'a [u8],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Compression {
    Zstd,
    None,
}

/// The numbers of the fields before the payload.
mod field {
    pub(super) const END: u64 = 0;
    pub(super) const SIZE: u64 = 1;
    pub(super) const COMPRESSION: u64 = 2;
    pub(super) const UNCOMPRESSED_SIZE: u64 = 3;
}

const ZSTD: u64 = 0;
const UNCOMPRESSED: u64 = 255;

impl<'a> Payload<'a> {
    /// Reads the body.
    pub fn parse(body: &'a [u8]) -> Result<Self> {
        let mut cursor = Cursor::new(body);
        let (mut size, mut compression, mut uncompressed) = (None, None, None);
        loop {
            let field = cursor.lenenc()?;
            if field == field::END {
                break;
            }
            let mut value = Cursor::new(cursor.lenenc_bytes()?);
            match field {
                field::SIZE => size = Some(value.lenenc()?),
                field::COMPRESSION => compression = Some(value.lenenc()?),
                field::UNCOMPRESSED_SIZE => uncompressed = Some(value.lenenc()?),
                other => {
                    return Err(unsupported(format!(
                        "TRANSACTION_PAYLOAD has field {other}, which this program does not know"
                    )));
                }
            }
        }
        let bytes = cursor.rest();
        if size.is_some_and(|size| size != bytes.len() as u64) {
            return Err(damaged(format!(
                "TRANSACTION_PAYLOAD says that it holds {} bytes, but has {}",
                size.unwrap_or(0),
                bytes.len()
            )));
        }
        let compression = match compression {
            Some(ZSTD) => Compression::Zstd,
            Some(UNCOMPRESSED) => Compression::None,
            Some(other) => {
                return Err(unsupported(format!(
                    "a transaction compressed by algorithm {other}, which is not known"
                ))
                .with_fix("set `binlog_transaction_compression = OFF` on the source"));
            }
            None => return Err(damaged("TRANSACTION_PAYLOAD without its compression")),
        };
        let uncompressed_size =
            uncompressed.ok_or_else(|| damaged("TRANSACTION_PAYLOAD without its size"))?;
        Ok(Self {
            uncompressed_size,
            compression,
            bytes,
        })
    }

    /// The events inside, one after the other.
    pub fn events(&self) -> Result<PayloadEvents<'a>> {
        let stream = match self.compression {
            Compression::Zstd => Stream::Zstd(Box::new(
                zstd::stream::read::Decoder::with_buffer(self.bytes).map_err(broken)?,
            )),
            Compression::None => Stream::Plain(self.bytes),
        };
        Ok(PayloadEvents {
            stream,
            left: self.uncompressed_size,
            event: Vec::new(),
            count: 0,
        })
    }
}

enum Stream<'a> {
    Zstd(Box<zstd::stream::read::Decoder<'static, &'a [u8]>>),
    Plain(&'a [u8]),
}

impl Read for Stream<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        match self {
            Self::Zstd(decoder) => decoder.read(buffer),
            Self::Plain(bytes) => bytes.read(buffer),
        }
    }
}

/// The events of a compressed transaction, decompressed as they are asked for: in memory there is
/// never more than one of them and the decompressor's window.
pub struct PayloadEvents<'a> {
    stream: Stream<'a>,
    left: u64,
    event: Vec<u8>,
    count: u32,
}

impl PayloadEvents<'_> {
    /// The next event's bytes, to be opened by [`super::FormatDescription::open_inner`]; `None`
    /// behind the last. What ends early, goes on too long or does not decompress is an error.
    pub fn next_event(&mut self) -> Result<Option<&[u8]>> {
        if self.left == 0 {
            let mut beyond = [0];
            return match self.stream.read(&mut beyond).map_err(broken)? {
                0 => Ok(None),
                _ => Err(damaged("a compressed transaction longer than it says")),
            };
        }
        self.event.clear();
        self.fill(HEADER_LEN as u64)?;
        let header = EventHeader::parse(&self.event)?;
        self.fill(u64::from(header.event_size) - HEADER_LEN as u64)?;
        self.count = self.count.saturating_add(1);
        Ok(Some(&self.event))
    }

    /// How many events were taken.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Appends `count` bytes to the event. The memory grows with what is really there.
    fn fill(&mut self, count: u64) -> Result<()> {
        self.left = self
            .left
            .checked_sub(count)
            .ok_or_else(|| damaged("an event in a compressed transaction goes beyond its end"))?;
        let read = (&mut self.stream)
            .take(count)
            .read_to_end(&mut self.event)
            .map_err(broken)?;
        if read as u64 == count {
            Ok(())
        } else {
            Err(damaged("a compressed transaction shorter than it says"))
        }
    }
}

fn broken(error: std::io::Error) -> Error {
    damaged("a compressed transaction does not decompress").with_source(error)
}
