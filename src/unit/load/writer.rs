//! One writer of a load: files in, committed batches out.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::config::{OnDuplicate, ServerConfig};
use crate::connect::Session;
use crate::dump_files::read::{self, StatementReader};
use crate::dump_files::statement::{Insert, Statement, without_comments};
use crate::model::{Error, ErrorKind, Result, TableName};
use crate::target::checkpoint::Claim;
use crate::target::execute::{self, Outcome, Packet, Part};

use super::fields::Lines;
use super::fuzzy::Room;
use super::pieces::{Batch, Change, Limits};
use super::settings::Settings;
use super::{Meter, Work};

/// How often a batch is tried that was refused for a passing reason.
const TRIES: u32 = 8;

/// `ER_DUP_ENTRY`, `ER_DUP_ENTRY_WITH_KEY_NAME`.
const COLLISION: [u16; 2] = [1062, 1586];

/// MySQL warns of character sets and syntax that it means to drop, and of bytes that stand for no
/// character of an 8-bit set, which it stores as they are: nothing is altered by any of these.
const HARMLESS: [&str; 3] = ["1287", "3719", "1300"];

/// What rows are written in.
const STRICT: &str =
    "STRICT_ALL_TABLES,NO_AUTO_VALUE_ON_ZERO,ALLOW_INVALID_DATES,NO_ENGINE_SUBSTITUTION";

/// The one relaxation, for ENUM values of index 0; each must be accounted for by a warning.
const NOT_STRICT: &str = "NO_AUTO_VALUE_ON_ZERO,ALLOW_INVALID_DATES,NO_ENGINE_SUBSTITUTION";

/// How much of the lines goes into one packet.
const LINES_PIECE: usize = 256 << 10;

/// A place in a file between two rows.
struct Behind {
    /// The offset.
    begin: u64,
    /// The rows before it.
    before: u64,
}

/// Opens a session for rows: children may come before their parents.
pub(super) async fn open(server: &ServerConfig) -> Result<Session> {
    let mut session = execute::open(server).await?;
    session
        .execute(b"SET SESSION foreign_key_checks = 0")
        .await?;
    Ok(session)
}

/// A session with its slot of the checkpoint.
#[derive(Debug)]
pub(super) struct Writer {
    pub(super) session: Session,
    pub(super) server: ServerConfig,
    pub(super) claim: Arc<Claim>,
    pub(super) slot: u32,
    pub(super) on_duplicate: OnDuplicate,
    /// Where the rows are of different moments: what takes out one that is in another's way.
    pub(super) room: Option<Arc<Room>>,
    pub(super) limits: Limits,
    pub(super) folder: PathBuf,
    pub(super) meter: Arc<Meter>,
    /// What the session reads statements by now.
    pub(super) settings: Settings,
    /// The tables whose rows go in as lines.
    pub(super) ways: Arc<BTreeMap<TableName, Lines>>,
}

impl Writer {
    /// Loads a file from where it is in.
    pub(super) async fn load(&mut self, work: &Work) -> Result<()> {
        self.meter.begin_table(&work.table);
        // The whole of it, before anything of it is written.
        read::verify(&self.folder, &work.file).await?;
        let mut work = work.clone();
        let ways = Arc::clone(&self.ways);
        let mut lines = ways.get(&work.table);
        // What the target does not take as lines is tried as statements, which also say why.
        while let Some(part) = self.load_rest(&work, lines).await? {
            (work.from, work.rows_in) = (part.begin, part.before);
            lines = None;
        }
        self.meter.finish_chunk(&work.table);
        Ok(())
    }

    /// Loads what is not in of a file. With `lines`, rows go in as lines; gives the part that the target
    /// did not take so, where loading is to go on.
    async fn load_rest(&mut self, work: &Work, lines: Option<&Lines>) -> Result<Option<Behind>> {
        let path = self.folder.join(&work.file.name);
        let mut reader = StatementReader::open(&path).await?;
        self.use_settings(Settings::default()).await?;
        let mut rows = work.rows_in;
        let mut batch = Batch::at(work.from);
        while let Some(statement) = reader.next_statement().await? {
            let Some(insert) = Insert::parse(&statement) else {
                let settings = self.settings_after(&statement, work)?;
                if settings != self.settings {
                    if let Some(part) = self.commit_all(work, &mut batch, rows, lines).await? {
                        return Ok(Some(part));
                    }
                    self.use_settings(settings).await?;
                }
                continue;
            };
            let head = self.head(&insert, work)?;
            let count = insert.row_count();
            let end_of = |row: usize| statement.start + insert.row_end(row).unwrap_or(0) as u64;
            let behind = |to: usize| {
                if to == count {
                    statement.end
                } else {
                    end_of(to - 1)
                }
            };
            // What is in already; a part may end within a statement.
            let mut from = if statement.end <= work.from {
                count
            } else {
                (0..count)
                    .take_while(|&row| end_of(row) <= work.from)
                    .count()
            };
            // Invalid ENUMs stand for themselves in statements only.
            let as_lines =
                lines.filter(|lines| insert.invalid_enums == 0 && lines.are_for(insert.columns));
            while from < count {
                let row = insert.row(from).unwrap_or_default();
                if let Some(lines) = as_lines
                    && batch.push_line(lines, row)
                {
                    rows += 1;
                    from += 1;
                    batch.part.end = behind(from);
                } else {
                    if !batch.lines.is_empty()
                        && let Some(part) = self.commit_all(work, &mut batch, rows, lines).await?
                    {
                        return Ok(Some(part));
                    }
                    let (change, to) = self.limits.cut(&head, &insert, from, work)?;
                    rows += change.rows;
                    batch.push(change);
                    batch.part.end = behind(to);
                    from = to;
                }
                let is_full = batch.bytes >= self.limits.batch;
                // Statements are followed by lines again in a batch of their own.
                let is_over = as_lines.is_some() && !batch.changes.is_empty() && from == count;
                if (is_full || is_over)
                    && let Some(part) = self.commit_all(work, &mut batch, rows, lines).await?
                {
                    return Ok(Some(part));
                }
            }
        }
        if let Some(part) = self.commit_all(work, &mut batch, rows, lines).await? {
            return Ok(Some(part));
        }
        if rows != work.file.rows || reader.bytes() != work.file.bytes {
            return Err(read::damaged(
                &path,
                &format!(
                    "has {rows} rows and {} bytes of text, the manifest says {} and {}",
                    reader.bytes(),
                    work.file.rows,
                    work.file.bytes
                ),
            ));
        }
        Ok(None)
    }

    /// Commits the batch and begins the next one behind it. Gives the batch's place where the target did
    /// not take its lines.
    async fn commit_all(
        &mut self,
        work: &Work,
        batch: &mut Batch,
        rows: u64,
        lines: Option<&Lines>,
    ) -> Result<Option<Behind>> {
        let next = Batch::at(batch.part.end);
        let mut batch = std::mem::replace(batch, next);
        if let Some(lines) = lines
            && !batch.lines.is_empty()
        {
            let behind = Behind {
                begin: batch.part.begin,
                before: rows - batch.part.rows,
            };
            let text = std::mem::take(&mut batch.lines);
            let is_in = self.commit_lines(work, lines, &batch, text).await?;
            return Ok((!is_in).then_some(behind));
        }
        self.commit(work, batch).await.map(|()| None)
    }

    /// Commits rows as lines, with their part of the checkpoint. `false`: the target has taken none of
    /// them, because it does not take all of them as they are, or takes no lines.
    async fn commit_lines(
        &mut self,
        work: &Work,
        lines: &Lines,
        batch: &Batch,
        text: Vec<u8>,
    ) -> Result<bool> {
        let mut packet = Packet::new();
        self.claim.load_fence(&mut packet, self.slot);
        match execute::run(&mut self.session, &packet).await {
            Outcome::Committed => {}
            Outcome::Refused { error, part } if error.kind() != ErrorKind::TargetBusy => {
                return self
                    .claim
                    .settle(Outcome::Refused { part, error })
                    .map(|()| false);
            }
            Outcome::Refused { .. } => return Ok(false),
            Outcome::Unknown { error } => return Err(error),
        }
        let piece = LINES_PIECE.min(self.limits.packet);
        let sql = lines.statement(&work.target);
        let done = self.session.load_data(&sql, text.into(), piece).await;
        let refusal = match done {
            Ok(done) if done.affected == batch.part.rows && done.warnings == 0 => None,
            Ok(done) => Some(format!(
                "{} of {} rows, {} warnings",
                done.affected, batch.part.rows, done.warnings
            )),
            // Nothing of it is in without the COMMIT.
            Err(error) if self.session.is_broken() => return Err(error),
            Err(error) => Some(error.to_string()),
        };
        if let Some(why) = refusal {
            tracing::debug!(table = %work.table, file = work.file.name, why, "lines were refused");
            self.meter.note(format!(
                "{}: some rows go in by INSERT, as `LOAD DATA` does not take them as they are",
                work.table
            ));
            // Leaves the transaction behind, and all that it did.
            self.reopen().await?;
            return Ok(false);
        }
        let mut packet = Packet::new();
        self.claim
            .record_loaded(&mut packet, &work.file.name, &batch.part);
        packet.push(Part::Frame, "COMMIT");
        self.claim
            .settle(execute::run(&mut self.session, &packet).await)?;
        let bytes = batch.part.end - batch.part.begin;
        self.meter.add(&work.table, batch.part.rows, bytes);
        Ok(true)
    }

    /// What the session is to be like behind a statement of the file that is no INSERT.
    fn settings_after(&self, statement: &Statement<'_>, work: &Work) -> Result<Settings> {
        let text = statement.text.trim_ascii();
        let mut settings = self.settings.clone();
        let is_setting = settings.take(without_comments(text)).map_err(|error| {
            Error::new(
                error.kind(),
                format!(
                    "the dump file `{}` cannot be loaded: {}",
                    work.file.name,
                    error.message()
                ),
            )
            .with_fix(error.fix().unwrap_or_default())
        })?;
        if is_setting {
            return Ok(settings);
        }
        let shown = String::from_utf8_lossy(text.get(..60).unwrap_or(text)).into_owned();
        Err(Error::new(
            ErrorKind::Unsupported,
            format!(
                "the dump file `{}` has a statement that is no INSERT of rows, before byte {}: \
                 `{shown}`",
                work.file.name, statement.end
            ),
        ))
    }

    async fn use_settings(&mut self, settings: Settings) -> Result<()> {
        if settings != self.settings {
            self.session
                .execute(settings.statement().as_bytes())
                .await?;
            self.settings = settings;
        }
        Ok(())
    }

    /// What stands before the rows of a statement for the target.
    fn head(&self, insert: &Insert<'_>, work: &Work) -> Result<Arc<[u8]>> {
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
        Ok([
            verb.as_bytes(),
            work.target.quoted().as_bytes(),
            insert.columns,
            b" VALUES ",
        ]
        .concat()
        .into())
    }

    /// Commits a batch with its part of the checkpoint.
    async fn commit(&mut self, work: &Work, mut batch: Batch) -> Result<()> {
        if batch.changes.is_empty() {
            return Ok(());
        }
        let mut tries = 0;
        let mut room = self.room.clone();
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
                    if is_collision(&error) && self.room.is_some() && tries < TRIES {
                        // Another writer may put a row in the way once more, so it is tried again.
                        if let Some(room) = room.take() {
                            self.make_way(&room, work, &mut batch);
                        }
                    } else if error.kind() == ErrorKind::TargetBusy && tries < TRIES {
                        tokio::time::sleep(Duration::from_millis(50 << tries.min(6))).await;
                    } else if execute::is_guard_failure(&error) {
                        if let Some(room) = room.take() {
                            room.make(work, &mut batch);
                        }
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

    /// Sees to it that rows of another moment are not in the way of a batch.
    fn make_way(&self, room: &Room, work: &Work, batch: &mut Batch) {
        room.make(work, batch);
        self.meter.note(format!(
            "{}: a unique value moved from row to row while the dump was made; rows in the way of others \
             are taken out, and replication brings them back",
            work.target
        ));
    }

    /// Sends a batch in as few packets as the target takes; the transaction spans them all.
    async fn send(&mut self, work: &Work, batch: &Batch) -> Outcome {
        let mut packet = self.opening(work, batch);
        for (index, change) in batch.changes.iter().enumerate() {
            for statement in &change.before {
                if let Err(outcome) = self.make_room(&mut packet, statement.len()).await {
                    return outcome;
                }
                packet.push(Part::Change(index), statement);
            }
            let text = change.statement();
            if let Err(outcome) = self.make_room(&mut packet, text.len()).await {
                return outcome;
            }
            if change.invalid_enums > 0 {
                packet.push(Part::Frame, set_mode(NOT_STRICT));
            }
            packet.push(Part::Change(index), &text);
            packet.push(Part::Guard(index), self.guard(change));
            if change.invalid_enums > 0 {
                packet.push(Part::Frame, set_mode(STRICT));
            }
            if let Some(after) = &change.after {
                packet.push(Part::Frame, after);
            }
        }
        packet.push(Part::Frame, "COMMIT");
        execute::run(&mut self.session, &packet).await
    }

    /// Sends what the packet has where `bytes` more do not fit in.
    async fn make_room(&mut self, packet: &mut Packet, bytes: usize) -> Result<(), Outcome> {
        if packet.is_empty() || packet.len() + bytes <= self.limits.packet {
            return Ok(());
        }
        match execute::run(&mut self.session, packet).await {
            Outcome::Committed => {
                *packet = Packet::new();
                Ok(())
            }
            other => Err(other),
        }
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
            for statement in &change.before {
                self.session
                    .execute(statement)
                    .await
                    .map_err(|error| explain(error, work))?;
            }
            if change.invalid_enums > 0 {
                self.session
                    .execute(set_mode(NOT_STRICT).as_bytes())
                    .await?;
            }
            let done = self
                .session
                .execute(&change.statement())
                .await
                .map_err(|error| explain(error, work))?;
            self.account(work, change, done.affected, done.warnings)
                .await?;
            if change.invalid_enums > 0 {
                self.session.execute(set_mode(STRICT).as_bytes()).await?;
            }
            if let Some(after) = &change.after {
                self.session.execute(after).await?;
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
                code if HARMLESS.contains(&code) => {}
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
        let settings = std::mem::take(&mut self.settings);
        self.use_settings(settings).await
    }
}

fn set_mode(mode: &str) -> String {
    format!("SET SESSION sql_mode = '{mode}'")
}

/// Whether a row is refused for another that has its key.
fn is_collision(error: &Error) -> bool {
    error
        .server()
        .is_some_and(|server| COLLISION.contains(&server.number))
}

/// The character set that a literal in the server's message names: `_gb18030 x'…`.
fn introducer(message: &str) -> Option<&str> {
    message.split('_').skip(1).find_map(|rest| {
        let (name, literal) = rest.split_once(' ')?;
        let is_name = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric());
        (is_name && literal.starts_with("x'")).then_some(name)
    })
}

/// Says what a refusal means for a load.
fn explain(error: Error, work: &Work) -> Error {
    match error.server().map(|server| server.number) {
        Some(number) if COLLISION.contains(&number) => Error::new(
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
        Some(1300 | 1366) => {
            let cause = error.cause().unwrap_or_default();
            Error::new(
                ErrorKind::Target,
                format!(
                    "{} does not take a text of {} (in `{}`) that is not valid in its character \
                     set: no statement can write such bytes",
                    work.target, work.table, work.file.name
                ),
            )
            .with_source(std::io::Error::other(cause))
            .with_fix(
                "mend that text at the source, or make the column a binary one there and on the \
                 target; then start the copy anew",
            )
        }
        // MariaDB takes the unknown introducer for a column's name.
        Some(1064 | 1115) => {
            let cause = error.cause().unwrap_or_default();
            let Some(charset) = introducer(&cause) else {
                return error;
            };
            Error::new(
                ErrorKind::Unsupported,
                format!(
                    "{} has texts in the character set `{charset}` (in `{}`), which the target does \
                     not have",
                    work.table, work.file.name
                ),
            )
            .with_source(std::io::Error::other(cause))
            .with_fix(format!(
                "`ALTER TABLE {} CONVERT TO CHARACTER SET utf8mb4` at the source, or leave the table \
                 out; then start the copy anew",
                work.table.quoted()
            ))
        }
        // TiDB: one entry, or all of a transaction, beyond its limits.
        Some(8025 | 8004) => error.with_fix(
            "raise `txn-entry-size-limit` and `txn-total-size-limit` in the target's configuration: \
             the row alone is larger than they allow",
        ),
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_character_set_of_a_literal_is_found() {
        let message =
            "1064 (42000): syntax to use near 'x'815B',_gb18030 x'815B',a_b 'c' at line 1";
        assert_eq!(introducer(message), Some("gb18030"));
        assert_eq!(introducer("near 'a_b c' at line 1"), None);
    }
}
