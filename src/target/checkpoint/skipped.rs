//! Changes that were left out, kept in the target until they are in the task's file: they commit with
//! the transaction that goes on without them, so that there is a record of each, and of nothing else.

use std::collections::BTreeMap;

use super::{Cells, Claim, STREAM, VERSION};
use crate::connect::Session;
use crate::model::Result;
use crate::target::execute::{self, Packet, Part};
use crate::target::text::literal;

/// A record is cut into pieces of this size, so that each fits into a statement and an entry.
const PIECE_BYTES: usize = 256 << 10;

/// A change that was left out: its name, and all of it as text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SkippedRecord {
    /// Names it among those of its stream, the older before the newer.
    pub id: String,
    /// The record, JSON.
    pub record: String,
}

impl Claim {
    /// The statements that keep a record, in pieces; they belong into the transaction that goes on
    /// without the change.
    pub fn keep_skipped(&self, record: &SkippedRecord) -> Vec<String> {
        pieces(&record.record)
            .into_iter()
            .enumerate()
            .map(|(number, piece)| {
                format!(
                    "INSERT INTO {} ({STREAM}, `id`, `piece`, `version`, `record`) \
                     VALUES ({}, {}, {number}, {VERSION}, {})",
                    self.tables.skipped,
                    self.stream_values(),
                    literal(&record.id),
                    literal(piece)
                )
            })
            .collect()
    }

    /// The records that were not seen to be in the task's file yet, in the order of their names.
    pub async fn skipped(&self, session: &mut Session) -> Result<Vec<SkippedRecord>> {
        let rows = session
            .rows(&format!(
                "SELECT `id`, `record` FROM {} WHERE {} ORDER BY `id`, `piece`",
                self.tables.skipped,
                self.stream()
            ))
            .await?;
        let mut records: BTreeMap<String, String> = BTreeMap::new();
        for row in &rows {
            let cells = Cells(row);
            let whole = records.entry(cells.text(0)?).or_default();
            whole.push_str(&cells.text(1)?);
        }
        Ok(records
            .into_iter()
            .map(|(id, record)| SkippedRecord { id, record })
            .collect())
    }

    /// Forgets all records of the stream: they are in the task's file.
    pub async fn forget_skipped(&self, session: &mut Session) -> Result<()> {
        let mut packet = Packet::new();
        packet.push(Part::Frame, "BEGIN");
        // Whoever has taken the stream over has read them, or will.
        self.revision_fence(&mut packet, "");
        packet.push(
            Part::Frame,
            format!(
                "DELETE FROM {} WHERE {}",
                self.tables.skipped,
                self.stream()
            ),
        );
        packet.push(Part::Frame, "COMMIT");
        self.settle(execute::run(session, &packet).await)
    }
}

/// Cuts a text at the borders of characters.
fn pieces(text: &str) -> Vec<&str> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while rest.len() > PIECE_BYTES {
        let mut at = PIECE_BYTES;
        while !rest.is_char_boundary(at) {
            at -= 1;
        }
        let (piece, behind) = rest.split_at(at);
        pieces.push(piece);
        rest = behind;
    }
    pieces.push(rest);
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_record_is_cut_between_characters() {
        let text = format!("a{}", "é".repeat(PIECE_BYTES));
        let cut = pieces(&text);
        assert!(cut.len() > 2 && cut.iter().all(|piece| piece.len() <= PIECE_BYTES));
        assert_eq!(cut.concat(), text);
        assert_eq!(pieces("short"), ["short"]);
    }
}
