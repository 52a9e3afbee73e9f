//! A reader over the bytes of an event that cannot run past their end.

use super::damaged;
use crate::model::Result;

/// What is left to read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(crate) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    pub(crate) fn len(&self) -> usize {
        self.rest.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next `count` bytes.
    #[inline]
    pub(crate) fn take(&mut self, count: usize) -> Result<&'a [u8]> {
        match self.rest.split_at_checked(count) {
            Some((head, tail)) => {
                self.rest = tail;
                Ok(head)
            }
            None => Err(short(count, self.rest.len())),
        }
    }

    #[inline]
    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        match self.rest.split_first_chunk::<N>() {
            Some((head, tail)) => {
                self.rest = tail;
                Ok(*head)
            }
            None => Err(short(N, self.rest.len())),
        }
    }

    #[inline]
    pub(crate) fn u8(&mut self) -> Result<u8> {
        Ok(u8::from_le_bytes(self.array()?))
    }

    #[inline]
    pub(crate) fn u16(&mut self) -> Result<u16> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    #[inline]
    pub(crate) fn u32(&mut self) -> Result<u32> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    #[inline]
    pub(crate) fn u64(&mut self) -> Result<u64> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    /// An unsigned number of `width` bytes (at most 8), the least significant first.
    #[inline]
    pub(crate) fn uint_le(&mut self, width: usize) -> Result<u64> {
        // One load for each of the usual widths: most of a row's values are read here.
        Ok(match width {
            1 => u64::from(self.u8()?),
            2 => u64::from(self.u16()?),
            4 => u64::from(self.u32()?),
            8 => self.u64()?,
            _ => {
                let bytes = self.take(width.min(8))?;
                let number = bytes.iter().rev();
                number.fold(0, |number, byte| (number << 8) | u64::from(*byte))
            }
        })
    }

    /// An unsigned number of `width` bytes (at most 8), the most significant first.
    #[inline]
    pub(crate) fn uint_be(&mut self, width: usize) -> Result<u64> {
        let bytes = self.take(width.min(8))?;
        Ok(bytes
            .iter()
            .fold(0, |number, byte| (number << 8) | u64::from(*byte)))
    }

    /// A length-encoded integer of the client protocol.
    #[inline]
    pub(crate) fn lenenc(&mut self) -> Result<u64> {
        match self.u8()? {
            small @ 0..=250 => Ok(u64::from(small)),
            0xfc => self.uint_le(2),
            0xfd => self.uint_le(3),
            0xfe => self.u64(),
            other => Err(damaged(format!(
                "`{other:#04x}` does not begin a length-encoded number"
            ))),
        }
    }

    /// A length-encoded number that counts things in memory.
    #[inline]
    pub(crate) fn lenenc_len(&mut self) -> Result<usize> {
        let number = self.lenenc()?;
        usize::try_from(number).map_err(|_| damaged(format!("the length {number} is impossible")))
    }

    /// Bytes behind a length-encoded length.
    #[inline]
    pub(crate) fn lenenc_bytes(&mut self) -> Result<&'a [u8]> {
        let length = self.lenenc_len()?;
        self.take(length)
    }

    /// Bytes behind a one-byte length.
    pub(crate) fn short_bytes(&mut self) -> Result<&'a [u8]> {
        let length = self.u8()?;
        self.take(usize::from(length))
    }

    /// Bytes up to the next zero byte, which is passed over.
    pub(crate) fn zero_terminated(&mut self) -> Result<&'a [u8]> {
        let end = memchr::memchr(0, self.rest)
            .ok_or_else(|| damaged("a text without its closing zero byte"))?;
        let text = self.take(end)?;
        self.u8()?;
        Ok(text)
    }
}

#[cold]
fn short(wanted: usize, have: usize) -> crate::model::Error {
    damaged(format!(
        "the event ends too early: {wanted} more bytes wanted, {have} left"
    ))
}

/// Whether bit `index` is set, the least significant bit of the first byte being bit 0.
#[inline]
pub(crate) fn bit(bits: &[u8], index: usize) -> bool {
    bits.get(index / 8)
        .is_some_and(|byte| byte & (1 << (index % 8)) != 0)
}

/// Whether bit `index` is set, the most significant bit of the first byte being bit 0.
#[inline]
pub(crate) fn bit_from_top(bits: &[u8], index: usize) -> bool {
    bits.get(index / 8)
        .is_some_and(|byte| byte & (0x80 >> (index % 8)) != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_all_widths() {
        let bytes = [1, 2, 3, 4, 5, 6, 7, 8];
        assert_eq!(Cursor::new(&bytes).u16().unwrap(), 0x0201);
        assert_eq!(Cursor::new(&bytes).uint_le(3).unwrap(), 0x03_0201);
        assert_eq!(Cursor::new(&bytes).uint_be(3).unwrap(), 0x01_0203);
        assert_eq!(Cursor::new(&bytes).u64().unwrap(), 0x0807_0605_0403_0201);
        assert_eq!(Cursor::new(&[0xfc, 1, 1]).lenenc().unwrap(), 257);
        assert!(Cursor::new(&[0xff, 1, 1]).lenenc().is_err());
        assert!(Cursor::new(&bytes).take(9).is_err());
    }

    #[test]
    fn bits_from_both_ends() {
        assert!(bit(&[0b1], 0) && bit(&[0, 0b10], 9) && !bit(&[0b1], 8));
        assert!(bit_from_top(&[0x80], 0) && bit_from_top(&[0, 0x40], 9));
    }
}
