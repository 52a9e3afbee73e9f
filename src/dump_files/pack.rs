//! Packed files: gzip and zstd, in bounded memory.
//!
//! Packing and unpacking are work for a processor, not for a thread that serves connections: both are
//! done on threads for blocking work.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

use tokio::sync::mpsc;

use crate::model::Packing;

/// How much unpacked text is handed over at once.
const BLOCK: usize = 256 << 10;

/// How many blocks may wait to be taken.
const WAITING: usize = 2;

/// The quickest level that packs well: a dump must not wait for it.
const ZSTD_LEVEL: i32 = 3;

/// Packs a file's text, piece by piece.
pub(super) enum Packer {
    Gzip(flate2::write::GzEncoder<Vec<u8>>),
    Zstd(zstd::stream::write::Encoder<'static, Vec<u8>>),
}

impl Packer {
    /// `None` for a file that is written as it is.
    pub(super) fn new(packing: Packing) -> io::Result<Option<Self>> {
        Ok(match packing {
            Packing::None => None,
            Packing::Gzip => Some(Self::Gzip(flate2::write::GzEncoder::new(
                Vec::new(),
                flate2::Compression::fast(),
            ))),
            Packing::Zstd => {
                let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), ZSTD_LEVEL)?;
                // So that a damaged file is noticed wherever it is unpacked.
                encoder.include_checksum(true)?;
                Some(Self::Zstd(encoder))
            }
        })
    }

    /// Takes `text`; gives what is packed by now.
    pub(super) fn push(&mut self, text: &[u8]) -> io::Result<Vec<u8>> {
        Ok(std::mem::take(match self {
            Self::Gzip(encoder) => {
                encoder.write_all(text)?;
                encoder.get_mut()
            }
            Self::Zstd(encoder) => {
                encoder.write_all(text)?;
                encoder.get_mut()
            }
        }))
    }

    /// The rest.
    pub(super) fn finish(self) -> io::Result<Vec<u8>> {
        match self {
            Self::Gzip(encoder) => encoder.finish(),
            Self::Zstd(encoder) => encoder.finish(),
        }
    }
}

impl std::fmt::Debug for Packer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Gzip(_) => "Packer::Gzip",
            Self::Zstd(_) => "Packer::Zstd",
        })
    }
}

/// The text of a packed file, block by block; it is unpacked as it is taken, and no further once the
/// receiver is dropped.
pub(super) fn unpack(path: &Path, packing: Packing) -> mpsc::Receiver<io::Result<Vec<u8>>> {
    let (sender, receiver) = mpsc::channel(WAITING);
    let path = path.to_owned();
    tokio::task::spawn_blocking(move || {
        let mut reader = match open(&path, packing) {
            Ok(reader) => reader,
            Err(error) => {
                // Nobody to tell is nobody who asks.
                let _ = sender.blocking_send(Err(error));
                return;
            }
        };
        loop {
            let mut block = Vec::with_capacity(BLOCK);
            let read = reader.by_ref().take(BLOCK as u64).read_to_end(&mut block);
            match read {
                Ok(0) => return,
                Ok(_) if sender.blocking_send(Ok(block)).is_ok() => {}
                Ok(_) => return,
                // A decoder is of no use behind its first error: some never end then.
                Err(error) => {
                    let _ = sender.blocking_send(Err(error));
                    return;
                }
            }
        }
    });
    receiver
}

fn open(path: &Path, packing: Packing) -> io::Result<Box<dyn Read>> {
    let file = File::open(path)?;
    Ok(match packing {
        Packing::None => Box::new(file),
        // Several members, one behind the other, are one file.
        Packing::Gzip => Box::new(flate2::read::MultiGzDecoder::new(io::BufReader::new(file))),
        Packing::Zstd => Box::new(zstd::stream::read::Decoder::new(file)?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_packed_is_unpacked_and_damage_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let text: Vec<u8> = (0..900_000u32)
            .flat_map(|n| n.to_string().into_bytes())
            .collect();
        for packing in [Packing::Gzip, Packing::Zstd] {
            let mut packer = Packer::new(packing).unwrap().unwrap();
            let mut packed = Vec::new();
            for piece in text.chunks(100_000) {
                packed.extend(packer.push(piece).unwrap());
            }
            packed.extend(packer.finish().unwrap());
            assert!(packed.len() < text.len() / 2);
            let path = folder.path().join(format!("f{}", packing.suffix()));
            std::fs::write(&path, &packed).unwrap();
            let mut blocks = unpack(&path, packing);
            let mut found = Vec::new();
            while let Some(block) = blocks.recv().await {
                let block = block.unwrap();
                assert!(block.len() <= BLOCK);
                found.extend(block);
            }
            assert!(found == text);
            for wrong in [packed[..packed.len() - 9].to_vec(), {
                let mut flipped = packed.clone();
                let middle = flipped.len() / 2;
                flipped[middle] ^= 16;
                flipped
            }] {
                std::fs::write(&path, wrong).unwrap();
                let mut blocks = unpack(&path, packing);
                let mut failed = false;
                while let Some(block) = blocks.recv().await {
                    failed |= block.is_err();
                    if failed {
                        break;
                    }
                }
                assert!(failed, "{packing:?}");
            }
        }
    }
}
