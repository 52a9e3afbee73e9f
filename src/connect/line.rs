//! One connection of the text protocol: statements go out, answers come in, packet by packet.
//!
//! Rows stay where they were received until the next one is asked for: nothing is allocated for a value.

use std::io::Error as IoError;
use std::time::Duration;

use bytes::Bytes;

use crate::model::{Error, ErrorKind, Result, ServerError};

use super::error;
use super::packets::{COM_QUERY, COM_QUIT, ERR, FILE, Fields, OK, garbage, is_end, parse_error};
use super::wire::Wire;

/// In an answer's status: another answer follows.
const MORE_RESULTS: u16 = 0x0008;

/// What a statement did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Done {
    /// Rows affected; 0 for a statement that gives rows.
    pub affected: u64,
    /// Warnings; 0 for a statement that gives rows.
    pub warnings: u16,
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Failed {
    /// The server says no; the connection can be used again.
    Refused(ServerError),
    /// The connection broke.
    Lost(IoError),
    /// Nothing came for so long.
    Silent(Duration),
    /// What came is no answer.
    Garbage,
    /// The statement is longer than the server takes; it was not sent.
    TooLong { length: usize, most: u64 },
}

/// The beginning of an answer.
pub(super) enum Answer {
    /// All of it; and whether another one follows.
    Done(Done, bool),
    /// Rows of so many columns follow.
    Rows(usize),
}

/// What comes where a row may.
pub(super) enum Next {
    /// A row, which [`Line::packet`] has.
    Row,
    /// The end; and whether another answer follows.
    End(bool),
}

/// The connection.
pub(super) struct Line {
    wire: Wire,
    label: String,
    /// How long any one wait for the server may last.
    pub(super) wait: Option<Duration>,
    /// The longest statement that the server takes.
    pub(super) most: Option<u64>,
    /// True while an answer is awaited: what stays true was cancelled or lost.
    pub(super) is_busy: bool,
    /// The last packet, where it came in several pieces.
    long: Vec<u8>,
    is_long: bool,
    /// What the server gets if it asks for a file, in pieces of this length.
    pub(super) file: Option<(Bytes, usize)>,
}

impl Line {
    pub(super) fn new(wire: Wire, label: String, wait: Option<Duration>) -> Self {
        Self {
            wire,
            label,
            wait,
            most: None,
            is_busy: false,
            long: Vec::new(),
            is_long: false,
            file: None,
        }
    }

    pub(super) fn label(&self) -> &str {
        &self.label
    }

    /// Sends statements. From here on the connection is busy.
    pub(super) async fn ask(&mut self, statements: &[u8]) -> Result<(), Failed> {
        let length = statements.len() + 1;
        if let Some(most) = self.most
            && length as u64 > most
        {
            return Err(Failed::TooLong { length, most });
        }
        self.is_busy = true;
        self.wire.restart();
        within(self.wait, self.wire.send_command(COM_QUERY, statements)).await
    }

    /// Says good-bye.
    pub(super) async fn quit(&mut self) -> std::io::Result<()> {
        self.wire.restart();
        self.wire.send_command(COM_QUIT, &[]).await
    }

    /// The beginning of the next answer. Columns' names are added to `names` where they are wanted.
    pub(super) async fn answer(
        &mut self,
        mut names: Option<&mut Vec<String>>,
    ) -> Result<Answer, Failed> {
        self.receive().await?;
        if self.packet().first() == Some(&FILE) {
            self.send_file().await?;
            self.receive().await?;
        }
        let packet = self.packet();
        match packet.first() {
            Some(&OK) => {
                let (done, status) = parse_ok(packet).ok_or(Failed::Garbage)?;
                return Ok(Answer::Done(done, status & MORE_RESULTS != 0));
            }
            Some(&ERR) => return Err(Failed::Refused(parse_error(packet))),
            _ => {}
        }
        let count = Fields(packet).lenenc();
        let columns = count.and_then(|count| usize::try_from(count).ok());
        let columns = columns.ok_or(Failed::Garbage)?;
        for _ in 0..columns {
            self.receive().await?;
            if let Some(names) = &mut names {
                let name = column_name(self.packet()).ok_or(Failed::Garbage)?;
                names.push(String::from_utf8_lossy(name).into_owned());
            }
        }
        self.receive().await?;
        if is_end(self.packet()) {
            Ok(Answer::Rows(columns))
        } else {
            Err(Failed::Garbage)
        }
    }

    /// The next row, or the end of them.
    pub(super) async fn next(&mut self) -> Result<Next, Failed> {
        self.receive().await?;
        let packet = self.packet();
        if packet.first() == Some(&ERR) {
            return Err(Failed::Refused(parse_error(packet)));
        }
        if !is_end(packet) {
            return Ok(Next::Row);
        }
        let mut fields = Fields(packet.get(1..).unwrap_or_default());
        let status = fields.short().and_then(|_warnings| fields.short());
        let status = status.ok_or(Failed::Garbage)?;
        Ok(Next::End(status & MORE_RESULTS != 0))
    }

    /// Reads an answer's rows and drops them; whether another answer follows.
    pub(super) async fn pass_over(&mut self) -> Result<bool, Failed> {
        loop {
            if let Next::End(more) = self.next().await? {
                return Ok(more);
            }
        }
    }

    /// The packet received last.
    pub(super) fn packet(&self) -> &[u8] {
        if self.is_long {
            &self.long
        } else {
            self.wire.handed()
        }
    }

    async fn receive(&mut self) -> Result<(), Failed> {
        // What is here already needs no clock.
        let wait = self.wait.filter(|_| !self.wire.has_whole());
        self.is_long = within(wait, self.wire.receive_whole(&mut self.long)).await?;
        Ok(())
    }

    /// Answers the server, which wants the file of a `LOAD DATA LOCAL`; an empty packet ends it. A server
    /// that asks unbidden gets nothing.
    async fn send_file(&mut self) -> Result<(), Failed> {
        let Some((data, piece)) = self.file.take() else {
            return Err(Failed::Garbage);
        };
        for piece in data.chunks(piece.max(1)) {
            within(self.wait, self.wire.send(piece)).await?;
        }
        within(self.wait, self.wire.send(&[])).await
    }

    /// Turns a failure into our error. A refusal ends the answer: the connection can be used again.
    pub(super) fn settle(&mut self, failed: Failed) -> Error {
        let doing = format!("run a statement on {}", self.label);
        match failed {
            Failed::Refused(server) => {
                let error = error::refused(server, &doing);
                // A server that goes away may say so first.
                self.is_busy = error.kind() == ErrorKind::Connect;
                error
            }
            Failed::Lost(lost) => error::lost(lost, &doing),
            Failed::Silent(wait) => error::silent(&doing, wait),
            Failed::Garbage => garbage(&doing),
            Failed::TooLong { length, most } => Error::new(
                ErrorKind::Target,
                format!(
                    "cannot {doing}: it has {length} bytes, and the server takes {most} \
                     (`max_allowed_packet`)"
                ),
            )
            .with_fix("raise `max_allowed_packet` on the server"),
        }
    }
}

/// Waits for the server, at most as long as allowed.
async fn within<T>(
    wait: Option<Duration>,
    future: impl Future<Output = std::io::Result<T>>,
) -> Result<T, Failed> {
    match wait {
        None => future.await.map_err(Failed::Lost),
        Some(wait) => match tokio::time::timeout(wait, future).await {
            Ok(result) => result.map_err(Failed::Lost),
            Err(_) => Err(Failed::Silent(wait)),
        },
    }
}

/// What a statement without rows did, and the status behind it.
fn parse_ok(packet: &[u8]) -> Option<(Done, u16)> {
    let mut fields = Fields(packet.get(1..)?);
    let affected = fields.lenenc()?;
    let _last_insert_id = fields.lenenc()?;
    let status = fields.short()?;
    let warnings = fields.short()?;
    Some((Done { affected, warnings }, status))
}

/// The name in a column's description: behind its catalogue, database, table and original table.
fn column_name(packet: &[u8]) -> Option<&[u8]> {
    let mut fields = Fields(packet);
    for _ in 0..4 {
        fields.bytes()?;
    }
    fields.bytes()
}

/// Where a row's values are in its packet.
#[derive(Debug, Default)]
pub(super) struct Cells(Vec<Cell>);

/// One value's place; `None` is NULL.
type Cell = Option<(usize, usize)>;

impl Cells {
    /// Takes a row's packet apart; `None` if it is not one of so many columns.
    pub(super) fn find(&mut self, packet: &[u8], columns: usize) -> Option<()> {
        self.0.clear();
        let mut fields = Fields(packet);
        for _ in 0..columns {
            let cell = fields.cell()?;
            let end = packet.len() - fields.0.len();
            self.0.push(cell.map(|bytes| (end - bytes.len(), end)));
        }
        fields.0.is_empty().then_some(())
    }
}

/// One row, as the text protocol carries it.
#[derive(Clone, Copy, Debug)]
pub struct TextRow<'a> {
    packet: &'a [u8],
    cells: &'a [Cell],
}

impl<'a> TextRow<'a> {
    pub(super) fn new(packet: &'a [u8], cells: &'a Cells) -> Self {
        Self {
            packet,
            cells: &cells.0,
        }
    }

    /// How many columns it has.
    pub fn len(&self) -> usize {
        self.cells.len()
    }

    /// Whether it has no column.
    pub fn is_empty(&self) -> bool {
        self.cells.is_empty()
    }

    /// The value of a column; `None` is NULL, or that there is no such column.
    pub fn get(&self, column: usize) -> Option<&'a [u8]> {
        let (start, end) = (*self.cells.get(column)?)?;
        self.packet.get(start..end)
    }

    /// All values.
    pub fn values(&self) -> Vec<Option<&'a [u8]>> {
        (0..self.len()).map(|column| self.get(column)).collect()
    }

    /// All values, owned.
    pub fn into_values(self) -> Vec<Option<Vec<u8>>> {
        let cells = 0..self.len();
        cells
            .map(|column| self.get(column).map(<[u8]>::to_vec))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_taken_apart_in_place() {
        let packet = b"\x03abc\xfb\x00\xfc\x02\x00de";
        let mut cells = Cells::default();
        cells.find(packet, 4).unwrap();
        let row = TextRow::new(packet, &cells);
        let expected: Vec<Option<&[u8]>> = vec![Some(b"abc"), None, Some(b""), Some(b"de")];
        assert_eq!(row.values(), expected);
        assert_eq!((row.len(), row.get(4)), (4, None));
        for columns in [3, 5] {
            assert!(cells.find(packet, columns).is_none(), "{columns}");
        }
        for cut in 0..packet.len() {
            assert!(cells.find(&packet[..cut], 4).is_none(), "{cut}");
        }
    }

    #[test]
    fn answers_without_rows() {
        let done = Done {
            affected: 300,
            warnings: 2,
        };
        let packet = b"\x00\xfc\x2c\x01\x05\x0a\x00\x02\x00info";
        assert_eq!(parse_ok(packet), Some((done, 10)));
        assert_eq!(parse_ok(&packet[..6]), None);
    }

    #[test]
    fn names_of_columns() {
        let packet = b"\x03def\x01s\x01t\x01o\x04name\x04orig\x0c";
        assert_eq!(column_name(packet), Some(b"name".as_slice()));
        assert_eq!(column_name(&packet[..10]), None);
    }
}
