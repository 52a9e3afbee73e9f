//! Packets of the servers' protocol over a byte stream, for our own client.

use std::io::{Error as IoError, ErrorKind as IoKind, Result};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

/// The longest packet; one as long as this is continued in the next.
pub(super) const PACKET_MAX: usize = 0xff_ffff;
const HEADER_LEN: usize = 4;
/// Packets up to this are handed on whole.
const WHOLE_MAX: usize = 1 << 20;
const BUFFER: usize = 2 * WHOLE_MAX;
/// So much of a command is copied to go out together with its header.
const COPIED_MAX: usize = 16 << 10;
/// So much is read at once: what is handed on is still in the core's cache when it is checked and
/// copied.
const READ: usize = 128 << 10;
/// A rest as short as this goes to the buffer's front before each read, for the same reason.
const REST: usize = 32 << 10;
/// What begins an error, in place of anything else.
const ERR: u8 = 0xff;
/// An answer of a query is never as long as this; what says so is garbage.
const ANSWER_MAX: usize = 64 << 20;

/// A byte stream of any kind.
pub(super) trait Io: AsyncRead + AsyncWrite + Unpin + Send + Sync {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send + Sync> Io for T {}

/// A stream of packets.
pub(super) struct Wire {
    io: Box<dyn Io>,
    sequence: u8,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    /// Bytes at `start` that the caller has got and that go at the next call.
    handed: usize,
    inside: Inside,
}

/// Where in a long packet the stream stands.
#[derive(Clone, Copy, Debug, Default)]
struct Inside {
    /// What is left of this part.
    left: usize,
    /// Whether another part follows.
    is_continued: bool,
}

/// A piece of a packet.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Piece<'a> {
    /// Whether the packet begins with it. The first piece of a long packet has at least the bytes
    /// asked for.
    pub(super) is_first: bool,
    pub(super) bytes: &'a [u8],
}

impl Wire {
    pub(super) fn new(io: Box<dyn Io>) -> Self {
        Self {
            io,
            sequence: 0,
            buffer: vec![0; BUFFER],
            start: 0,
            end: 0,
            handed: 0,
            inside: Inside::default(),
        }
    }

    /// The byte stream, to put TLS around it. Nothing may have been read ahead.
    pub(super) fn into_io(self) -> Result<Box<dyn Io>> {
        if self.start + self.handed < self.end {
            return Err(IoError::new(
                IoKind::InvalidData,
                "the server sent bytes before TLS began",
            ));
        }
        Ok(self.io)
    }

    /// Goes on behind packets that were exchanged over another wire.
    pub(super) fn with_sequence(mut self, sequence: u8) -> Self {
        self.sequence = sequence;
        self
    }

    pub(super) fn sequence(&self) -> u8 {
        self.sequence
    }

    /// A new command begins.
    pub(super) fn restart(&mut self) {
        self.sequence = 0;
    }

    /// Sends one packet, shorter than [`PACKET_MAX`].
    pub(super) async fn send(&mut self, payload: &[u8]) -> Result<()> {
        if payload.len() >= PACKET_MAX {
            return Err(IoError::new(
                IoKind::InvalidInput,
                "a packet too long to send",
            ));
        }
        let [a, b, c, _] = (payload.len() as u32).to_le_bytes();
        let mut packet = Vec::with_capacity(HEADER_LEN + payload.len());
        packet.extend([a, b, c, self.sequence]);
        packet.extend(payload);
        self.sequence = self.sequence.wrapping_add(1);
        self.io.write_all(&packet).await?;
        self.io.flush().await
    }

    /// Receives one whole packet.
    pub(super) async fn receive(&mut self) -> Result<Vec<u8>> {
        let mut packet = self.piece(0).await?.bytes.to_vec();
        while !self.is_over().await? {
            if packet.len() > ANSWER_MAX {
                return Err(IoError::new(IoKind::InvalidData, "an answer too long"));
            }
            let piece = self.piece(0).await?;
            packet.extend_from_slice(piece.bytes);
        }
        Ok(packet)
    }

    /// Sends a command with a body of any length.
    pub(super) async fn send_command(&mut self, command: u8, body: &[u8]) -> Result<()> {
        let mut command = Some(command);
        let mut rest = body;
        loop {
            let head = usize::from(command.is_some());
            let (part, behind) = rest.split_at(rest.len().min(PACKET_MAX - head));
            let length = head + part.len();
            // Short ones go out at once, and long ones without being copied.
            let (near, far) = part.split_at(part.len().min(COPIED_MAX));
            let mut begin = Vec::with_capacity(HEADER_LEN + head + near.len());
            let [a, b, c, _] = (length as u32).to_le_bytes();
            begin.extend([a, b, c, self.sequence]);
            begin.extend(command.take());
            begin.extend_from_slice(near);
            self.sequence = self.sequence.wrapping_add(1);
            self.io.write_all(&begin).await?;
            if !far.is_empty() {
                self.io.write_all(far).await?;
            }
            rest = behind;
            if length < PACKET_MAX {
                return self.io.flush().await;
            }
        }
    }

    /// Receives one whole packet, of any length: into `long` where it does not come in one piece, which
    /// is told; else [`Wire::handed`] has it.
    pub(super) async fn receive_whole(&mut self, long: &mut Vec<u8>) -> Result<bool> {
        self.piece(0).await?;
        if !self.is_inside() {
            return Ok(false);
        }
        long.clear();
        long.extend_from_slice(self.handed());
        while !self.is_over().await? {
            self.piece(0).await?;
            long.extend_from_slice(self.handed());
        }
        Ok(true)
    }

    /// Whether the packet is over: with its last piece, or with an empty part behind it where its length
    /// is a multiple of the longest part's. Nothing is handed any more where it is.
    async fn is_over(&mut self) -> Result<bool> {
        if !self.is_inside() {
            return Ok(true);
        }
        if self.inside.left > 0 {
            return Ok(false);
        }
        while self.header_at(self.start + self.handed).is_none() {
            self.more().await?;
        }
        if self.header_at(self.start + self.handed) != Some(0) {
            return Ok(false);
        }
        self.start += std::mem::take(&mut self.handed);
        self.check_sequence(false)?;
        self.start += HEADER_LEN;
        self.inside = Inside::default();
        Ok(true)
    }

    /// What was handed on last.
    pub(super) fn handed(&self) -> &[u8] {
        self.buffer
            .get(self.start..self.start + self.handed)
            .unwrap_or_default()
    }

    /// Whether the next packet has been received already, whole and short enough for one piece.
    pub(super) fn has_whole(&self) -> bool {
        self.inside.left == 0 && !self.inside.is_continued && self.has_piece(self.buffer.len())
    }

    fn is_inside(&self) -> bool {
        self.inside.left > 0 || self.inside.is_continued
    }

    /// Whether the next piece is in the buffer already.
    pub(super) fn has_piece(&self, head: usize) -> bool {
        let from = self.start + self.handed;
        let have = self.end - from;
        if self.inside.left > 0 {
            return have > 0;
        }
        match self.header_at(from) {
            None => false,
            // The end of a packet whose length is a multiple of the longest part's: the next piece is
            // behind it.
            Some(0) if self.inside.is_continued => self
                .header_at(from + HEADER_LEN)
                .is_some_and(|length| have >= 2 * HEADER_LEN + wanted(length, head)),
            Some(length) if self.inside.is_continued => have >= HEADER_LEN + length.min(WHOLE_MAX),
            Some(length) => have >= HEADER_LEN + wanted(length, head),
        }
    }

    /// Reads what comes next, however little. Can be dropped and called again.
    pub(super) async fn more(&mut self) -> Result<()> {
        self.start += std::mem::take(&mut self.handed);
        self.read().await
    }

    /// The next piece of the stream: packets of moderate length come whole, longer ones as they
    /// arrive, the first piece with at least `head` bytes. Can be dropped and called again.
    pub(super) async fn piece(&mut self, head: usize) -> Result<Piece<'_>> {
        let (is_first, length) = loop {
            while !self.has_piece(head) {
                self.more().await?;
            }
            self.start += std::mem::take(&mut self.handed);
            let have = self.end - self.start;
            if self.inside.left > 0 {
                break (false, have.min(self.inside.left));
            }
            let Some(length) = self.header_at(self.start) else {
                continue;
            };
            let is_first = !self.inside.is_continued;
            self.check_sequence(is_first && length > 0)?;
            self.start += HEADER_LEN;
            self.inside = Inside {
                left: length,
                is_continued: length == PACKET_MAX,
            };
            if length == 0 && !is_first {
                // The end of a packet whose length is a multiple of the longest part's.
                continue;
            }
            break (is_first, (have - HEADER_LEN).min(length));
        };
        self.inside.left -= length;
        self.handed = length;
        let bytes = self
            .buffer
            .get(self.start..self.start + length)
            .unwrap_or_default();
        Ok(Piece { is_first, bytes })
    }

    /// The length that the header at `from` tells, if the header is there.
    fn header_at(&self, from: usize) -> Option<usize> {
        let header = self
            .buffer
            .get(from..self.end)?
            .first_chunk::<HEADER_LEN>()?;
        let [a, b, c, _] = *header;
        Some(u32::from_le_bytes([a, b, c, 0]) as usize)
    }

    /// Parts of packets are numbered: one that is missing or doubled is noticed.
    fn check_sequence(&mut self, may_be_error: bool) -> Result<()> {
        let part = self.buffer.get(self.start..self.end).unwrap_or_default();
        let (number, first) = (part.get(HEADER_LEN - 1).copied(), part.get(HEADER_LEN));
        let number = number.unwrap_or(0);
        // A server that ends the connection may say so out of turn.
        let is_error = may_be_error && first == Some(&ERR);
        if number != self.sequence && !is_error {
            return Err(IoError::new(
                IoKind::InvalidData,
                format!(
                    "packet {number} came where packet {} was due: the line loses or repeats bytes",
                    self.sequence
                ),
            ));
        }
        self.sequence = number.wrapping_add(1);
        Ok(())
    }

    async fn read(&mut self) -> Result<()> {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        } else if self.start > 0 {
            let rest = self.end - self.start;
            // A rest that grows read by read is not moved at each.
            let is_short = rest <= REST && self.start >= READ / 2;
            if is_short || self.buffer.len() - self.end < BUFFER / 4 {
                self.buffer.copy_within(self.start..self.end, 0);
                (self.start, self.end) = (0, rest);
            }
        }
        let until = self.buffer.len().min(self.end + READ);
        let room = self.buffer.get_mut(self.end..until).unwrap_or_default();
        match self.io.read(room).await? {
            0 => Err(IoError::new(
                IoKind::UnexpectedEof,
                "the server closed the connection",
            )),
            count => {
                self.end += count;
                Ok(())
            }
        }
    }
}

/// How much of a packet of this length must be there to hand its first piece on.
fn wanted(length: usize, head: usize) -> usize {
    if length <= WHOLE_MAX { length } else { head }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(payload: &[u8], sequence: &mut u8) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut rest = payload;
        loop {
            let part = &rest[..rest.len().min(PACKET_MAX)];
            bytes.extend(&(part.len() as u32).to_le_bytes()[..3]);
            bytes.push(*sequence);
            *sequence = sequence.wrapping_add(1);
            bytes.extend(part);
            rest = &rest[part.len()..];
            if part.len() < PACKET_MAX {
                return bytes;
            }
        }
    }

    #[tokio::test]
    async fn packets_come_back_as_they_were_sent() {
        let lengths = [
            0,
            1,
            19,
            WHOLE_MAX,
            WHOLE_MAX + 1,
            PACKET_MAX,
            PACKET_MAX + 5,
            7,
        ];
        let sent: Vec<Vec<u8>> = lengths
            .iter()
            .enumerate()
            .map(|(i, length)| vec![i as u8; *length])
            .collect();
        let (mut server, client) = tokio::io::duplex(60_000);
        let mut sequence = 0;
        let bytes: Vec<u8> = sent
            .iter()
            .flat_map(|payload| packet(payload, &mut sequence))
            .collect();
        let writing = async move {
            server.write_all(&bytes).await.unwrap();
            drop(server);
        };
        let reading = async move {
            let mut wire = Wire::new(Box::new(client));
            let mut received: Vec<Vec<u8>> = Vec::new();
            while let Ok(piece) = wire.piece(20).await {
                if piece.is_first {
                    assert!(piece.bytes.len() >= lengths[received.len()].min(20));
                    received.push(Vec::new());
                }
                received.last_mut().unwrap().extend(piece.bytes);
            }
            received
        };
        let ((), received) = tokio::join!(writing, reading);
        assert!(received == sent, "other packets came back");
    }

    #[tokio::test]
    async fn commands_of_any_length_arrive_whole() {
        for length in [
            0,
            3,
            COPIED_MAX,
            PACKET_MAX - 2,
            PACKET_MAX - 1,
            PACKET_MAX,
            2 * PACKET_MAX,
        ] {
            let body: Vec<u8> = (0..length).map(|i| (i % 251) as u8).collect();
            let (server, client) = tokio::io::duplex(60_000);
            let sending = async {
                let mut wire = Wire::new(Box::new(client));
                wire.send_command(3, &body).await.unwrap();
                wire.send_command(1, b"next").await.unwrap();
                wire
            };
            let receiving = async {
                let mut wire = Wire::new(Box::new(server));
                let mut long = Vec::new();
                let is_long = wire.receive_whole(&mut long).await.unwrap();
                let first = if is_long { &long } else { wire.handed() }.to_vec();
                assert!(!wire.receive_whole(&mut long).await.unwrap());
                (first, wire.handed().to_vec())
            };
            let (_open, (first, next)) = tokio::join!(sending, receiving);
            assert!(
                first.split_first() == Some((&3, body.as_slice())),
                "{length}"
            );
            assert_eq!(next, b"\x01next");
        }
    }

    #[tokio::test]
    async fn the_end_of_a_long_packet_alone_is_no_piece() {
        let (mut server, client) = tokio::io::duplex(60_000);
        let mut sequence = 0;
        let mut bytes = packet(&vec![7; PACKET_MAX], &mut sequence);
        bytes.extend(packet(b"next", &mut sequence));
        let next = bytes.len() - HEADER_LEN - 4;
        let writing = async move {
            server.write_all(&bytes[..next]).await.unwrap();
            (server, bytes)
        };
        let reading = async {
            let mut wire = Wire::new(Box::new(client));
            let mut have = 0;
            while have < PACKET_MAX {
                have += wire.piece(20).await.unwrap().bytes.len();
            }
            wire
        };
        let ((mut server, bytes), mut wire) = tokio::join!(writing, reading);
        // Its end may have been read already.
        let moment = std::time::Duration::from_millis(20);
        let _ = tokio::time::timeout(moment, wire.more()).await;
        assert!(!wire.has_piece(20), "there is nothing to hand on yet");
        server.write_all(&bytes[next..]).await.unwrap();
        while !wire.has_piece(20) {
            wire.more().await.unwrap();
        }
        assert_eq!(wire.piece(20).await.unwrap().bytes, b"next");
    }

    #[tokio::test]
    async fn parts_out_of_turn_are_refused_but_for_errors() {
        for (first_byte, is_taken) in [(7, false), (ERR, true)] {
            let (mut server, client) = tokio::io::duplex(60_000);
            let mut sequence = 0;
            let mut bytes = packet(b"one", &mut sequence);
            // One is lost on the way.
            sequence += 1;
            bytes.extend(packet(&[first_byte, 1, 2], &mut sequence));
            server.write_all(&bytes).await.unwrap();
            let mut wire = Wire::new(Box::new(client));
            assert_eq!(wire.piece(1).await.unwrap().bytes, b"one");
            let second = wire.piece(1).await;
            assert_eq!(second.is_ok(), is_taken, "{second:?}");
        }
    }
}
