//! The operator's decisions that took effect: each is written in the transaction that has its effect,
//! so that the target alone says, after any crash, which did.

use super::{Cells, Claim, STREAM, Tables, VERSION};
use crate::connect::Session;
use crate::model::{Decision, Error, ErrorKind, Result};
use crate::target::execute::{self, Outcome, Packet, Part};
use crate::target::text::literal;

/// `ER_DUP_ENTRY`.
const DUPLICATE: u16 = 1062;
/// A statement's packet is closed at this size.
const PACKET_BYTES: usize = 1 << 20;

/// Changes that were left out, to be applied now.
#[derive(Clone, Debug)]
pub struct Reapply<'a> {
    /// The task.
    pub task: &'a str,
    /// The source.
    pub source: &'a str,
    /// The source server itself, as far as it is known.
    pub server: &'a str,
    /// What left them out: the same name is never applied twice.
    pub id: &'a str,
    /// The first of their places.
    pub place: &'a str,
    /// The statements, each of which must concern exactly one row.
    pub statements: &'a [&'a str],
}

/// How an attempt to apply them came out.
#[derive(Debug)]
pub enum Reapplied {
    /// They are in, all at once.
    Done,
    /// They had been applied before.
    Before,
    /// Nothing of them is in: this one was refused, by its number, or met another number of rows.
    Refused {
        /// Which, from 0; `None`: none of them.
        number: Option<usize>,
        /// Why.
        error: Error,
    },
}

/// Applies changes that were left out, in one transaction with the record that they are: each must
/// concern exactly one row and raise no warning.
pub async fn reapply(
    session: &mut Session,
    meta_schema: &str,
    what: &Reapply<'_>,
) -> Result<Reapplied> {
    let tables = Tables::new(meta_schema);
    let mut packet = Packet::new();
    packet.push(Part::Frame, "BEGIN");
    packet.push(
        Part::Fence,
        format!(
            "INSERT INTO {} (`id`, `version`, {STREAM}, `place`, `kind`, `detail`, `made_at`) \
             VALUES ({}, {VERSION}, {}, {}, {}, {}, 'reapply', NULL, UTC_TIMESTAMP(6))",
            tables.decision,
            literal(&reapply_id(what.id)),
            literal(what.task),
            literal(what.source),
            literal(what.server),
            literal(what.place)
        ),
    );
    for (number, statement) in what.statements.iter().enumerate() {
        if packet.len() + statement.len() > PACKET_BYTES {
            let full = std::mem::take(&mut packet);
            if let Some(refused) = stepped(session, &full).await? {
                return Ok(refused);
            }
        }
        packet.push(Part::Change(number), statement);
        packet.push_guard(Part::Guard(number), 1);
    }
    packet.push(Part::Frame, "COMMIT");
    match execute::run(session, &packet).await {
        Outcome::Committed => Ok(Reapplied::Done),
        Outcome::Refused { part, error } => Ok(refused(part, error)),
        // Whether it is in, the next try is told by the record.
        Outcome::Unknown { error } => Err(error),
    }
}

async fn stepped(session: &mut Session, packet: &Packet) -> Result<Option<Reapplied>> {
    match execute::step(session, packet).await {
        execute::Step::Ran => Ok(None),
        execute::Step::Stopped { part, error, .. } => {
            session.execute(b"ROLLBACK").await?;
            Ok(Some(refused(part, error)))
        }
        execute::Step::Unknown { error } => Err(error),
    }
}

fn refused(part: Part, error: Error) -> Reapplied {
    let is_duplicate = error
        .server()
        .is_some_and(|server| server.number == DUPLICATE);
    if part == Part::Fence && is_duplicate {
        return Reapplied::Before;
    }
    let error = if execute::is_guard_failure(&error) {
        Error::new(
            ErrorKind::Drift,
            "the target's row is not what the source had before this change",
        )
        .with_fix("make the row what it should be by hand, or leave it")
    } else {
        error
    };
    Reapplied::Refused {
        number: part.number(),
        error,
    }
}

/// Under which name it is recorded that something was applied later.
fn reapply_id(id: &str) -> String {
    let name = format!("re-{id}");
    if name.len() <= 64 {
        return name;
    }
    // The names of single changes are long; they differ in their last part too.
    let end: String = id
        .chars()
        .rev()
        .take(40)
        .collect::<Vec<_>>()
        .into_iter()
        .rev()
        .collect();
    format!("re-{:08x}-{end}", crc32fast::hash(id.as_bytes()))
}

impl Claim {
    /// The statement that writes a decision down; it belongs into the transaction with its effect, and
    /// fails if that decision was used before.
    pub fn record_decision(&self, decision: &Decision) -> Result<String> {
        let detail = serde_json::to_string(decision).map_err(|why| {
            Error::new(ErrorKind::Internal, "a decision cannot be written").with_source(why)
        })?;
        let micros = decision.made_at.0;
        Ok(format!(
            "INSERT INTO {} (`id`, `version`, {STREAM}, `place`, `kind`, `detail`, `made_at`) \
             VALUES ({}, {VERSION}, {}, {}, {}, {}, FROM_UNIXTIME({}.{:06}))",
            self.tables.decision,
            literal(&decision.id),
            self.stream_values(),
            literal(&decision.at.to_string()),
            literal(decision.choice.name()),
            literal(&detail),
            micros / 1_000_000,
            micros % 1_000_000
        ))
    }

    /// Those of the decisions named that took effect. Asked under the claim, so no packet of an earlier
    /// process can still add to them.
    pub async fn decisions_among(
        &self,
        session: &mut Session,
        ids: &[String],
    ) -> Result<Vec<Decision>> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let names: Vec<String> = ids.iter().map(|id| literal(id)).collect();
        let rows = session
            .rows(&format!(
                "SELECT `id`, `version`, `detail` FROM {} WHERE {} AND `id` IN ({})",
                self.tables.decision,
                self.stream(),
                names.join(", ")
            ))
            .await?;
        rows.iter()
            .map(|row| {
                let cells = Cells(row);
                super::tables::check_version(&self.tables, "a decision", cells.number(1)?)?;
                let id = cells.text(0)?;
                serde_json::from_str(&cells.text(2)?).map_err(|why| {
                    Error::new(
                        ErrorKind::Checkpoint,
                        format!("the record of the decision `{id}` cannot be read"),
                    )
                    .with_source(why)
                    .with_fix("see the table `decision` beside the checkpoint on the target")
                })
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_into_their_column() {
        assert_eq!(reapply_id("64f-01ab"), "re-64f-01ab");
        let long = format!(
            "a/{}/mysql-bin.000001:120.0@1700000000000000",
            "7".repeat(40)
        );
        let other = long.replacen("a/", "b/", 1);
        assert!(reapply_id(&long).len() <= 64, "{}", reapply_id(&long));
        assert_ne!(reapply_id(&long), reapply_id(&other));
    }
}
