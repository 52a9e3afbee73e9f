//! One writer of a load: files in, committed batches out.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::config::{OnDuplicate, ServerConfig};
use crate::connect::Session;
use crate::dump_files::read::{self, StatementReader};
use crate::dump_files::statement::{Insert, Statement};
use crate::model::{Error, ErrorKind, Result};
use crate::source::ServerInfo;
use crate::target::checkpoint::{Claim, LoadedPart};
use crate::target::execute::{self, Outcome, Packet, Part};

use super::{Meter, Work};

/// A transaction is committed once its statements have this many bytes.
const BATCH_BYTES: usize = 4 << 20;

/// How often a batch is tried that was refused for a passing reason.
const TRIES: u32 = 8;

/// MySQL warns of character sets and syntax that it means to drop; nothing is altered by that.
const DEPRECATED: [&str; 2] = ["1287", "3719"];

/// What rows are written in.
const STRICT: &str =
    "STRICT_ALL_TABLES,NO_AUTO_VALUE_ON_ZERO,ALLOW_INVALID_DATES,NO_ENGINE_SUBSTITUTION";

/// The one relaxation, for ENUM values of index 0; each must be accounted for by a warning.
const NOT_STRICT: &str = "NO_AUTO_VALUE_ON_ZERO,ALLOW_INVALID_DATES,NO_ENGINE_SUBSTITUTION";

/// How much the target takes at once.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// In one packet.
    packet: usize,
    /// In one transaction, about.
    batch: usize,
}

impl Limits {
    pub(super) fn of(info: &ServerInfo) -> Self {
        Self::from_packet(info.max_allowed_packet)
    }

    fn from_packet(max_allowed_packet: u64) -> Self {
        // A part of the packet is left for the fence and the guards.
        let packet = usize::try_from(max_allowed_packet)
            .unwrap_or(usize::MAX)
            .saturating_sub(64 << 10)
            .max(64 << 10);
        Self {
            packet,
            batch: BATCH_BYTES.min(packet / 2),
        }
    }
}

/// Opens a session for rows: children may come before their parents.
pub(super) async fn open(server: &ServerConfig) -> Result<Session> {
    let mut session = execute::open(server).await?;
    session
        .execute(b"SET SESSION foreign_key_checks = 0")
        .await?;
    Ok(session)
}

/// A statement for the target.
#[derive(Debug)]
struct Change {
    text: Vec<u8>,
    rows: u64,
    invalid_enums: u64,
}

/// Statements that commit together.
#[derive(Debug)]
struct Batch {
    part: LoadedPart,
    changes: Vec<Change>,
    bytes: usize,
}

impl Batch {
    fn at(begin: u64) -> Self {
        Self {
            part: LoadedPart {
                begin,
                end: begin,
                rows: 0,
            },
            changes: Vec::new(),
            bytes: 0,
        }
    }
}

/// A session with its slot of the checkpoint.
#[derive(Debug)]
pub(super) struct Writer {
    pub(super) session: Session,
    pub(super) server: ServerConfig,
    pub(super) claim: Arc<Claim>,
    pub(super) slot: u32,
    pub(super) on_duplicate: OnDuplicate,
    pub(super) limits: Limits,
    pub(super) folder: PathBuf,
    pub(super) meter: Arc<Meter>,
}

impl Writer {
    /// Loads a file from where it is in.
    pub(super) async fn load(&mut self, work: &Work) -> Result<()> {
        self.meter.begin_table(&work.table);
        // The whole of it, before anything of it is written.
        read::verify(&self.folder, &work.file).await?;
        let path = self.folder.join(&work.file.name);
        let mut reader = StatementReader::open(&path, work.from).await?;
        let mut rows = work.rows_in;
        let mut batch = Batch::at(work.from);
        while let Some(statement) = reader.next_statement().await? {
            let changes = self.changes(&statement, work)?;
            batch.part.end = statement.end;
            for change in changes {
                batch.part.rows += change.rows;
                batch.bytes += change.text.len();
                batch.changes.push(change);
            }
            if batch.bytes >= self.limits.batch {
                rows += batch.part.rows;
                let next = Batch::at(batch.part.end);
                self.commit(work, std::mem::replace(&mut batch, next))
                    .await?;
            }
        }
        rows += batch.part.rows;
        if !batch.changes.is_empty() {
            self.commit(work, batch).await?;
        }
        if rows != work.file.rows {
            return Err(Error::new(
                ErrorKind::Damaged,
                format!(
                    "the dump file `{}` has {rows} rows, the manifest says {}",
                    work.file.name, work.file.rows
                ),
            )
            .with_fix("remove the dump's folder, so that the dump is made again"));
        }
        self.meter.finish_chunk(&work.table);
        Ok(())
    }

    /// A statement of the file as statements for the target; none for the session's settings, which
    /// are ours to make.
    fn changes(&self, statement: &Statement<'_>, work: &Work) -> Result<Vec<Change>> {
        let Some(insert) = Insert::parse(statement) else {
            let text = statement.text.trim_ascii();
            if is_setting(text) {
                return Ok(Vec::new());
            }
            let shown = String::from_utf8_lossy(text.get(..60).unwrap_or(text)).into_owned();
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!(
                    "the dump file `{}` has a statement that is no INSERT of rows, before byte {}: \
                     `{shown}`",
                    work.file.name, statement.end
                ),
            ));
        };
        if insert.table != work.table.name {
            return Err(Error::new(
                ErrorKind::Damaged,
                format!(
                    "the dump file `{}` has rows of `{}`, not of {}",
                    work.file.name, insert.table, work.table
                ),
            ));
        }
        let verb = match self.on_duplicate {
            OnDuplicate::Error => "INSERT INTO ",
            OnDuplicate::Replace => "REPLACE INTO ",
            OnDuplicate::Ignore => "INSERT IGNORE INTO ",
        };
        let head = [
            verb.as_bytes(),
            work.target.quoted().as_bytes(),
            insert.columns,
            b" VALUES ",
        ]
        .concat();
        self.split(&head, &insert, work)
    }

    /// Cuts an INSERT between rows where the target's packet is too small for it.
    fn split(&self, head: &[u8], insert: &Insert<'_>, work: &Work) -> Result<Vec<Change>> {
        let room = self.limits.packet.saturating_sub(head.len());
        let count = insert.row_count();
        let fits = |from, to| insert.rows(from, to).is_some_and(|rows| rows.len() <= room);
        let mut changes = Vec::new();
        let mut from = 0;
        while from < count {
            let mut to = count;
            // How many invalid ENUMs a part has cannot be told: such a statement is kept whole.
            if insert.invalid_enums == 0 && !fits(from, to) {
                to = from + 1;
                while to < count && fits(from, to + 1) {
                    to += 1;
                }
            }
            let rows = insert.rows(from, to).unwrap_or_default();
            if rows.len() > room {
                let needed = head.len() + rows.len();
                return Err(Error::new(
                    ErrorKind::Target,
                    format!(
                        "a row in the dump file `{}` takes a statement of {needed} bytes, more than \
                         the target's `max_allowed_packet` lets through",
                        work.file.name
                    ),
                )
                .with_fix(format!(
                    "`SET GLOBAL max_allowed_packet = {}` on the target",
                    (needed + (1 << 20)).next_multiple_of(1024)
                )));
            }
            changes.push(Change {
                text: [head, rows].concat(),
                rows: (to - from) as u64,
                invalid_enums: insert.invalid_enums,
            });
            from = to;
        }
        Ok(changes)
    }

    /// Commits a batch with its part of the checkpoint.
    async fn commit(&mut self, work: &Work, batch: Batch) -> Result<()> {
        let mut tries = 0;
        loop {
            match self.send(work, &batch).await {
                Outcome::Committed => break,
                Outcome::Refused {
                    part: Part::Fence,
                    error,
                } if error.kind() != ErrorKind::TargetBusy => {
                    // Says who holds the stream now.
                    let part = Part::Fence;
                    return self.claim.settle(Outcome::Refused { part, error });
                }
                Outcome::Refused { error, .. } => {
                    // Also sets the session's mode back, which a failed statement may have left off.
                    self.reopen().await?;
                    tries += 1;
                    if error.kind() == ErrorKind::TargetBusy && tries < TRIES {
                        tokio::time::sleep(Duration::from_millis(50 << tries.min(6))).await;
                    } else if execute::is_guard_failure(&error) {
                        self.step_through(work, &batch).await?;
                        break;
                    } else {
                        return Err(explain(error, work));
                    }
                }
                // Whether it is in is read from the checkpoint when the stream is taken again.
                Outcome::Unknown { error } => return Err(error),
            }
        }
        let bytes = batch.part.end - batch.part.begin;
        self.meter.add(&work.table, batch.part.rows, bytes);
        Ok(())
    }

    /// Sends a batch in as few packets as the target takes; the transaction spans them all.
    async fn send(&mut self, work: &Work, batch: &Batch) -> Outcome {
        let mut packet = self.opening(work, batch);
        for (index, change) in batch.changes.iter().enumerate() {
            if packet.len() + change.text.len() > self.limits.packet {
                match execute::run(&mut self.session, &packet).await {
                    Outcome::Committed => packet = Packet::new(),
                    other => return other,
                }
            }
            if change.invalid_enums > 0 {
                packet.push(Part::Frame, set_mode(NOT_STRICT));
            }
            packet.push(Part::Change(index), &change.text);
            packet.push(Part::Guard(index), self.guard(change));
            if change.invalid_enums > 0 {
                packet.push(Part::Frame, set_mode(STRICT));
            }
        }
        packet.push(Part::Frame, "COMMIT");
        execute::run(&mut self.session, &packet).await
    }

    fn opening(&self, work: &Work, batch: &Batch) -> Packet {
        let mut packet = Packet::new();
        self.claim.load_fence(&mut packet, self.slot);
        self.claim
            .record_loaded(&mut packet, &work.file.name, &batch.part);
        packet
    }

    /// The statement that stops the packet unless every row went in as it is.
    fn guard(&self, change: &Change) -> String {
        let (rows, enums) = (change.rows, change.invalid_enums);
        let condition = match self.on_duplicate {
            OnDuplicate::Error => {
                format!("ROW_COUNT() = {rows} AND @@warning_count = {enums}")
            }
            // A row that replaces another counts twice.
            OnDuplicate::Replace => format!("@@warning_count = {enums}"),
            // A row left out has one warning, a row that went in has none.
            OnDuplicate::Ignore => {
                format!("ROW_COUNT() + @@warning_count = {}", rows + enums)
            }
        };
        execute::guard_unless(&condition)
    }

    /// Sends a batch statement by statement and looks at each warning: where a guard stopped the
    /// packet, this finds out why, or that the warnings are harmless.
    async fn step_through(&mut self, work: &Work, batch: &Batch) -> Result<()> {
        let opening = self.opening(work, batch);
        self.claim
            .settle(execute::run(&mut self.session, &opening).await)?;
        for change in &batch.changes {
            if change.invalid_enums > 0 {
                self.session
                    .execute(set_mode(NOT_STRICT).as_bytes())
                    .await?;
            }
            let done = self
                .session
                .execute(&change.text)
                .await
                .map_err(|error| explain(error, work))?;
            self.account(work, change, done.affected, done.warnings)
                .await?;
            if change.invalid_enums > 0 {
                self.session.execute(set_mode(STRICT).as_bytes()).await?;
            }
        }
        let mut packet = Packet::new();
        packet.push(Part::Frame, "COMMIT");
        self.claim
            .settle(execute::run(&mut self.session, &packet).await)
    }

    /// Fails unless each row of a statement is in as it is, or left out as `on_duplicate` says.
    async fn account(
        &mut self,
        work: &Work,
        change: &Change,
        affected: u64,
        warnings: u16,
    ) -> Result<()> {
        let (mut enums, mut left_out) = (0, 0);
        let rows = if warnings > 0 {
            self.session.rows("SHOW WARNINGS").await?
        } else {
            Vec::new()
        };
        for row in rows {
            // Level, Code, Message.
            let mut cells = row
                .into_iter()
                .map(|cell| String::from_utf8_lossy(&cell.unwrap_or_default()).into_owned());
            let code = cells.nth(1).unwrap_or_default();
            let message = cells.next().unwrap_or_default();
            match code.as_str() {
                code if DEPRECATED.contains(&code) => {}
                "1265" if change.invalid_enums > 0 => enums += 1,
                "1062" if self.on_duplicate == OnDuplicate::Ignore => left_out += 1,
                _ => {
                    return Err(Error::new(
                        ErrorKind::Target,
                        format!(
                            "{} does not take a row of `{}` as it is: {message} (warning {code})",
                            work.target, work.file.name
                        ),
                    )
                    .with_fix(
                        "make the target's column take the source's values, or drop the table \
                         there so that it is created like the source's",
                    ));
                }
            }
        }
        // The list is cut at `max_error_count`: only what is accounted for in full passes.
        let is_accounted = enums == change.invalid_enums
            && match self.on_duplicate {
                OnDuplicate::Error => affected == change.rows,
                OnDuplicate::Replace => affected >= change.rows,
                OnDuplicate::Ignore => affected + left_out == change.rows,
            };
        if is_accounted {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Target,
            format!(
                "{} took {affected} of {} rows of `{}` with {warnings} warnings that cannot be \
                 accounted for",
                work.target, change.rows, work.file.name
            ),
        ))
    }

    /// Leaves the session, and with it all that was not committed, for a new one.
    async fn reopen(&mut self) -> Result<()> {
        let fresh = open(&self.server).await?;
        std::mem::replace(&mut self.session, fresh).close().await;
        Ok(())
    }
}

fn set_mode(mode: &str) -> String {
    format!("SET SESSION sql_mode = '{mode}'")
}

/// A setting at the head of a file: `/*!40101 SET …*/` or `SET …`.
fn is_setting(text: &[u8]) -> bool {
    let mut text = text;
    if let Some(inner) = text.strip_prefix(b"/*!") {
        let digits = inner.iter().take_while(|c| c.is_ascii_digit()).count();
        text = inner.get(digits..).unwrap_or_default();
    }
    text.trim_ascii_start()
        .get(..4)
        .is_some_and(|word| word.eq_ignore_ascii_case(b"set "))
}

/// Says what a refusal means for a load.
fn explain(error: Error, work: &Work) -> Error {
    match error.server().map(|server| server.number) {
        Some(1062 | 1586) => Error::new(
            ErrorKind::Target,
            format!(
                "{} has a row already with the key of a row of the dump of {}",
                work.target, work.table
            ),
        )
        .with_source(std::io::Error::other(error.cause().unwrap_or_default()))
        .with_fix(
            "find out whose row that is; then empty the target's table, or set `on_duplicate` of \
             `[task.load]` to `replace` or `ignore`",
        ),
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_told_from_other_statements() {
        for text in [
            "/*!40101 SET NAMES utf8mb4*/",
            "SET a = 1",
            "/*!40014 set x=0 */",
        ] {
            assert!(is_setting(text.as_bytes()), "{text}");
        }
        for text in ["SETTLE", "DROP TABLE t", "/*!40000 DROP TABLE t */", ""] {
            assert!(!is_setting(text.as_bytes()), "{text}");
        }
    }

    #[test]
    fn limits_leave_room_for_the_fence() {
        let small = Limits::from_packet(1 << 20);
        assert!(small.packet < 1 << 20 && small.batch <= small.packet);
        assert_eq!(Limits::from_packet(1 << 30).batch, BATCH_BYTES);
    }
}
