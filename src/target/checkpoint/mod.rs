//! What of each stream is in the target, kept in the target itself, beside the rows.
//!
//! A stream's rows are found by task, source, the source server's identity and a slot: slot 0 has the
//! state and the mark, each parallel writer has a slot of its own. Every row carries an *epoch*. A
//! start, and every reconnect, locks the rows, raises the epoch, and only then reads them; every
//! packet first writes its slot's row on the condition that the epoch is still its own. So a packet
//! that outlives its process is either waited for and then read as committed, or fails as a whole.
//!
//! Everything up to the end of a load uses SELECT, INSERT and DELETE alone, so that an account for
//! loading needs no more; sync also uses UPDATE.

mod decision;
mod load;
mod moved;
mod owner;
mod part;
mod selection;
mod skipped;
mod span;
mod sync;
mod tables;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::config::TaskConfig;
use crate::connect::Session;
use crate::model::{Error, ErrorKind, Flavor, Gtid, GtidSet, Place, Position, Result, TableName};
use crate::schema::{SchemaDefaults, Structures};
use crate::target::execute::{self, Outcome, Packet, Part};
use crate::target::text::{literal, literal_or_null};

pub use decision::{Reapplied, Reapply, reapply};
pub use owner::Ownership;
pub use part::PartDone;
pub use selection::take_up_selection;
pub use skipped::SkippedRecord;
pub use span::{Span, Spans};
pub use sync::{Change, Intent, SchemaChange};
pub use tables::{Tables, VERSION, prepare, table_names};

/// How often a claim is tried when others claim the same stream at the same moment.
const TRIES: usize = 8;

/// What tells one stream from all others on a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamKey {
    /// The task's name.
    pub task: String,
    /// The source's name.
    pub source: String,
    /// The source server itself: MySQL's uuid, MariaDB's server_id.
    pub server: String,
    /// The source's family: GTID sets are read as it writes them.
    pub flavor: Flavor,
}

/// A place in a source's binlog up to which everything is in the target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// The end of the last transaction.
    pub place: Place,
    /// All transactions up to there, where the source has GTIDs.
    pub gtid_set: Option<GtidSet>,
    /// XA transactions that were prepared before the place and are neither committed nor rolled back:
    /// their changes are not in the target. Oldest first.
    pub prepared: Vec<PreparedXa>,
    /// Tables that were loaded without a lock, while the place is before the end of the dump.
    pub spans: Arc<Spans>,
    /// How far the transaction behind the place is, if parts of it are committed already.
    pub part: Option<PartDone>,
}

impl Mark {
    /// A mark before which nothing is held back.
    pub fn new(place: Place, gtid_set: Option<GtidSet>) -> Self {
        Self {
            place,
            gtid_set,
            prepared: Vec::new(),
            spans: Arc::default(),
            part: None,
        }
    }

    /// From where on the stream still needs the relay log: the changes of a prepared XA transaction
    /// are read again when it is committed.
    pub fn needed_from(&self) -> &Place {
        match self.prepared.first() {
            Some(oldest) => &oldest.begin,
            None => &self.place,
        }
    }

    /// Moves behind a transaction that ends at `end`.
    pub fn advance(&mut self, end: Place, gtid: Option<&Gtid>) {
        self.part = None;
        self.place = end;
        if let (Some(set), Some(gtid)) = (&mut self.gtid_set, gtid) {
            set.insert(gtid);
        }
    }

    /// Takes up, or forgets, a prepared XA transaction.
    pub fn settle_xa(&mut self, change: &XaChange) {
        let name = match change {
            XaChange::Prepared(prepared) => &prepared.name,
            XaChange::Ended(name) => name,
        };
        self.prepared.retain(|known| known.name != *name);
        if let XaChange::Prepared(prepared) = change {
            self.prepared.push(prepared.clone());
        }
    }
}

/// An XA transaction that was prepared at the source, and waits there for its end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PreparedXa {
    /// Its name as statements of the binlog write it: `X'61',X'',1`.
    pub name: String,
    /// Where it starts in the relay log.
    pub begin: Place,
    /// Where its XA PREPARE ends.
    pub end: Place,
    /// The tables of the task that it changes, as the source names them; none: it does not matter.
    pub tables: Vec<TableName>,
}

/// What a transaction of the binlog does to those that are prepared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum XaChange {
    /// One more is prepared.
    Prepared(PreparedXa),
    /// The one of that name was committed or rolled back.
    Ended(String),
}

/// How far a stream is.
#[derive(Clone, Debug, PartialEq)]
pub enum State {
    /// A dump is being loaded.
    Load(LoadState),
    /// The dump is in, or there was none to load: the binlog is applied from the mark on.
    Sync(Box<SyncState>),
}

/// How far a load is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadState {
    /// The dump it loads.
    pub dump_id: String,
    /// How much that dump is worth.
    pub stage: LoadStage,
    /// The parts of its files that are in, in the order of their starts.
    pub parts: BTreeMap<String, Vec<LoadedPart>>,
}

/// How much the dump that is being loaded is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoadStage {
    /// It is still being made: should it fail, what is in the target is taken out again.
    Overlap,
    /// It is whole.
    Whole,
    /// It came to nothing, and what was loaded of it is being taken out.
    Discard,
}

impl LoadStage {
    fn phase(self) -> &'static str {
        match self {
            Self::Overlap => "overlap",
            Self::Whole => "load",
            Self::Discard => "discard",
        }
    }
}

/// A part of a dump file that is in the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoadedPart {
    /// Where it starts in the file.
    pub begin: u64,
    /// Where it ends.
    pub end: u64,
    /// How many rows it has.
    pub rows: u64,
}

/// How far sync is.
#[derive(Clone, Debug, PartialEq)]
pub struct SyncState {
    /// Everything before it is applied, nothing after.
    pub mark: Mark,
    /// The version of the structures.
    pub version: u64,
    /// The source's tables as they are at the mark.
    pub structures: Structures,
    /// The default character set and collation of each database of the source at the mark; empty in
    /// what an older version wrote, and behind another tool's dump.
    pub schemas: SchemaDefaults,
    /// The DDL statement that was under way when the stream ended.
    pub intent: Option<Intent>,
}

/// A stream taken by this process: what it writes is fenced by the claim's epoch.
#[derive(Clone, Debug)]
pub struct Claim {
    tables: Tables,
    key: StreamKey,
    epoch: u64,
    configuration: String,
    claimed_by: String,
    phase: Phase,
    /// Slots 1 to this one are there for parallel writers.
    writers: u32,
    structures: u64,
}

/// What the row of slot 0 says.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Phase {
    New,
    Load(String, LoadStage),
    Sync(Mark),
}

impl Phase {
    fn name(&self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Load(_, stage) => stage.phase(),
            Self::Sync(_) => "sync",
        }
    }
}

/// The columns that say which stream a row belongs to.
const STREAM: &str = "`task`, `source`, `server`";

/// All columns of a checkpoint row, in the order of [`Claim::row`].
const COLUMNS: &str = "`task`, `source`, `server`, `slot`, `version`, `epoch`, `revision`, `phase`, \
     `dump_id`, `folder`, `binlog_file`, `binlog_offset`, `gtid_set`, `prepared`, `spans`, `part`, `structures`, \
     `configuration`, `intent`, `claimed_by`, `updated_at`";

impl Claim {
    /// Takes the stream: waits for a packet of an earlier process that still runs, raises the epoch,
    /// and reads how far the stream is. `None`: nothing of it is in this target yet.
    ///
    /// `configuration` is the text of the stream's tables, routes and filters; one that differs from
    /// what the checkpoint was made with is refused. `writers` slots are made for parallel writers.
    pub async fn take(
        session: &mut Session,
        meta_schema: &str,
        key: StreamKey,
        configuration: &str,
        writers: u32,
    ) -> Result<(Self, Option<State>)> {
        let mut claim = Self {
            tables: Tables::new(meta_schema),
            key,
            epoch: 0,
            configuration: configuration.to_owned(),
            claimed_by: format!(
                "process {}, connection {}",
                std::process::id(),
                session.connection_id()
            ),
            phase: Phase::New,
            writers,
            structures: 0,
        };
        for _ in 0..TRIES {
            session.execute(b"BEGIN").await?;
            match claim.try_take(session).await {
                Ok(Some(state)) => return Ok((claim, state)),
                Ok(None) => {
                    session.execute(b"ROLLBACK").await?;
                }
                Err(error) => {
                    if !session.is_broken() {
                        session.execute(b"ROLLBACK").await?;
                    }
                    return Err(claim.locate(error));
                }
            }
        }
        Err(Error::new(
            ErrorKind::TargetBusy,
            format!("other processes keep taking {}", claim.name()),
        )
        .with_fix("run this task in one process only"))
    }

    /// One try, within a transaction. The outer `None`: another process was first.
    async fn try_take(&mut self, session: &mut Session) -> Result<Option<Option<State>>> {
        let rows = session
            .rows(&format!(
                "SELECT `slot`, `version`, `epoch`, `phase`, `dump_id`, `folder`, `binlog_file`, \
                 `binlog_offset`, `gtid_set`, `structures`, `configuration`, `intent`, `prepared`, `spans`, \
                 `part` FROM {} \
                 WHERE {} ORDER BY `slot` FOR UPDATE",
                self.tables.checkpoint,
                self.stream()
            ))
            .await?;
        let mut intent = None;
        let mut before = None;
        self.epoch = 0;
        for row in &rows {
            let cells = Cells(row);
            tables::check_version(&self.tables, "a checkpoint", cells.number(1)?)?;
            self.epoch = self.epoch.max(cells.number(2)?);
            if cells.number(0)? == 0 {
                before = Some(cells.text(10)?);
                self.structures = cells.number(9)?;
                self.phase = self.read_phase(&cells)?;
                if let Phase::Sync(mark) = &mut self.phase
                    && mark.is_behind_spans()
                {
                    mark.spans = Arc::default();
                }
                intent = cells.optional(11)?;
            }
        }
        if rows.is_empty() {
            self.refuse_other_server(session).await?;
        } else if before.is_none() {
            return Err(self.unreadable("it has no row for slot 0"));
        }
        if let Some(before) = before
            && self.phase != Phase::New
            && before != self.configuration
        {
            return Err(self.changed_configuration(&before));
        }
        self.epoch += 1;
        if !rows.is_empty() {
            let delete = format!(
                "DELETE FROM {} WHERE {}",
                self.tables.checkpoint,
                self.stream()
            );
            session.execute(delete.as_bytes()).await?;
        }
        let slots: Vec<String> = (0..=self.writers)
            .map(|slot| self.row(slot, intent.as_deref()))
            .collect();
        let insert = format!(
            "INSERT INTO {} ({COLUMNS}) VALUES {}",
            self.tables.checkpoint,
            slots.join(", ")
        );
        match session.execute(insert.as_bytes()).await {
            Ok(_) => {}
            Err(error) if error.server().is_some_and(|e| e.number == 1062) => return Ok(None),
            Err(error) => return Err(error),
        }
        let state = self.read_state(session, intent).await?;
        session.execute(b"COMMIT").await?;
        Ok(Some(state))
    }

    fn read_phase(&self, cells: &Cells<'_, Vec<u8>>) -> Result<Phase> {
        match cells.text(3)?.as_str() {
            "new" => Ok(Phase::New),
            "load" => Ok(Phase::Load(cells.text(4)?, LoadStage::Whole)),
            "overlap" => Ok(Phase::Load(cells.text(4)?, LoadStage::Overlap)),
            "discard" => Ok(Phase::Load(cells.text(4)?, LoadStage::Discard)),
            "sync" => {
                let gtid_set = cells
                    .optional(8)?
                    .map(|text| GtidSet::parse(self.key.flavor, &text))
                    .transpose()
                    .map_err(|why| self.unreadable(&why))?;
                let part = cells
                    .optional(14)?
                    .map(|text| serde_json::from_str(&text))
                    .transpose()
                    .map_err(|why| self.unreadable(&format!("its part: {why}")))?;
                let position = Position::new(cells.text(6)?, cells.number(7)?);
                let prepared = cells
                    .optional(12)?
                    .map(|text| serde_json::from_str(&text))
                    .transpose()
                    .map_err(|why| self.unreadable(&format!("its XA transactions: {why}")))?;
                let spans = cells
                    .optional(13)?
                    .map(|text| span::read(&text))
                    .transpose()
                    .map_err(|why| self.unreadable(&format!("its spans: {why}")))?;
                Ok(Phase::Sync(Mark {
                    place: Place::new(cells.text(5)?, position),
                    gtid_set,
                    prepared: prepared.unwrap_or_default(),
                    spans: spans.unwrap_or_default().into(),
                    part,
                }))
            }
            other => Err(self.unreadable(&format!("its phase is `{other}`"))),
        }
    }

    async fn read_state(
        &self,
        session: &mut Session,
        intent: Option<String>,
    ) -> Result<Option<State>> {
        match &self.phase {
            Phase::New => Ok(None),
            Phase::Load(dump_id, stage) => Ok(Some(State::Load(LoadState {
                dump_id: dump_id.clone(),
                stage: *stage,
                parts: self.read_parts(session).await?,
            }))),
            Phase::Sync(mark) => {
                let intent = intent
                    .map(|text| serde_json::from_str(&text))
                    .transpose()
                    .map_err(|why| self.unreadable(&why.to_string()))?;
                let (structures, schemas) = self.read_structures(session).await?;
                Ok(Some(State::Sync(Box::new(SyncState {
                    mark: mark.clone(),
                    version: self.structures,
                    structures,
                    schemas,
                    intent,
                }))))
            }
        }
    }

    /// A stream that was made from another server must not go on with this one: places of one server
    /// mean nothing on the other.
    async fn refuse_other_server(&self, session: &mut Session) -> Result<()> {
        let others = session
            .rows(&format!(
                "SELECT DISTINCT `server` FROM {} WHERE `task` = {} AND `source` = {} AND `phase` <> 'new'",
                self.tables.checkpoint,
                literal(&self.key.task),
                literal(&self.key.source)
            ))
            .await?;
        let Some(row) = others.first() else {
            return Ok(());
        };
        let other = Cells(row).text(0)?;
        Err(Error::new(
            ErrorKind::History,
            format!(
                "the target has a checkpoint of {} made from the server `{other}`, the source is now the server `{}`",
                self.name(),
                self.key.server
            ),
        )
        .with_fix(format!(
            "connect to the former server, or start over: {}, and empty the target's tables",
            self.start_over()
        )))
    }

    fn changed_configuration(&self, before: &str) -> Error {
        Error::new(
            ErrorKind::Checkpoint,
            format!(
                "tables, routes or filters of {} are not those its checkpoint was made with; then: {}; now: {}",
                self.name(),
                one_line(before),
                one_line(&self.configuration)
            ),
        )
        .with_fix(format!(
            "put the configuration back, or start over: {}, and empty the target's tables",
            self.start_over()
        ))
    }

    /// The statement that makes the stream a new one.
    fn start_over(&self) -> String {
        format!(
            "`DELETE FROM {} WHERE task = {} AND source = {}`",
            self.tables.checkpoint,
            literal(&self.key.task),
            literal(&self.key.source)
        )
    }

    fn unreadable(&self, why: &str) -> Error {
        Error::new(
            ErrorKind::Checkpoint,
            format!("the checkpoint of {} cannot be read: {why}", self.name()),
        )
        .with_fix(format!(
            "start over: {}, and empty the target's tables",
            self.start_over()
        ))
    }

    /// `task `t` on source `s``, for messages.
    fn name(&self) -> String {
        format!("task `{}` on source `{}`", self.key.task, self.key.source)
    }

    fn locate(&self, error: Error) -> Error {
        error.at(|c| {
            c.task = Some(self.key.task.clone());
            c.source = Some(self.key.source.clone());
        })
    }

    /// The condition for the stream's rows.
    fn stream(&self) -> String {
        format!(
            "`task` = {} AND `source` = {} AND `server` = {}",
            literal(&self.key.task),
            literal(&self.key.source),
            literal(&self.key.server)
        )
    }

    /// The stream's columns as values.
    fn stream_values(&self) -> String {
        format!(
            "{}, {}, {}",
            literal(&self.key.task),
            literal(&self.key.source),
            literal(&self.key.server)
        )
    }

    /// A whole row of `slot`, as values.
    fn row(&self, slot: u32, intent: Option<&str>) -> String {
        let (dump_id, mark) = match &self.phase {
            _ if slot != 0 => (None, None),
            Phase::New => (None, None),
            Phase::Load(dump_id, _) => (Some(dump_id.as_str()), None),
            Phase::Sync(mark) => (None, Some(mark)),
        };
        let place = mark.map_or_else(
            || "NULL, NULL, NULL, NULL, NULL, NULL, NULL".to_owned(),
            |mark| {
                format!(
                    "{}, {}, {}, {}, {}, {}, {}",
                    literal(&mark.place.folder),
                    literal(&mark.place.position.file),
                    mark.place.position.offset,
                    literal_or_null(mark.gtid_set.as_ref().map(ToString::to_string).as_deref()),
                    literal_or_null(sync::prepared_text(mark).as_deref()),
                    span::stored(mark),
                    part::stored(mark)
                )
            },
        );
        format!(
            "({}, {slot}, {VERSION}, {}, 0, '{}', {}, {place}, {}, {}, {}, {}, UTC_TIMESTAMP(6))",
            self.stream_values(),
            self.epoch,
            self.phase.name(),
            literal_or_null(dump_id),
            self.structures,
            literal(if slot == 0 { &self.configuration } else { "" }),
            literal_or_null(if slot == 0 { intent } else { None }),
            literal(&self.claimed_by),
        )
    }

    /// Fences with the rights of a load: the slot's row is taken out, if its epoch is ours, and put
    /// back as it is now in the claim.
    fn replace_row(&self, packet: &mut Packet, slot: u32) {
        packet.push(
            Part::Fence,
            format!(
                "DELETE FROM {} WHERE {} AND `slot` = {slot} AND `epoch` = {}",
                self.tables.checkpoint,
                self.stream(),
                self.epoch
            ),
        );
        packet.push_guard(Part::Fence, 1);
        packet.push(
            Part::Fence,
            format!(
                "INSERT INTO {} ({COLUMNS}) VALUES {}",
                self.tables.checkpoint,
                self.row(slot, None)
            ),
        );
    }

    /// The epoch: higher than that of every earlier claim of the stream.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The stream.
    pub fn key(&self) -> &StreamKey {
        &self.key
    }

    /// What an outcome means for a packet that must go in as it is.
    pub fn settle(&self, outcome: Outcome) -> Result<()> {
        match outcome {
            Outcome::Committed => Ok(()),
            Outcome::Refused {
                part: Part::Fence,
                error,
            } if execute::is_guard_failure(&error) => {
                Err(self.locate(execute::fenced(&self.name())))
            }
            Outcome::Refused { error, .. } | Outcome::Unknown { error } => Err(self.locate(error)),
        }
    }
}

/// The text of what decides which changes of a source reach which tables of the target.
pub fn configuration_text(task: &TaskConfig) -> String {
    let mut lines: Vec<String> = task
        .selection
        .lines()
        .map(|line| format!("table {line}"))
        .collect();
    lines.extend(task.routes.lines().map(|line| format!("route {line}")));
    lines.extend(
        task.filters
            .iter()
            .map(|filter| format!("filter {}", filter.line())),
    );
    lines.join("\n")
}

/// Settings on one line, for a message.
fn one_line(text: &str) -> String {
    text.lines().map(str::trim).collect::<Vec<_>>().join("; ")
}

/// The cells of a row of our own tables.
struct Cells<'a, T>(&'a [Option<T>]);

impl<T: AsRef<[u8]>> Cells<'_, T> {
    fn optional(&self, index: usize) -> Result<Option<String>> {
        let Some(cell) = self.0.get(index).and_then(Option::as_ref) else {
            return Ok(None);
        };
        String::from_utf8(cell.as_ref().to_vec())
            .map(Some)
            .map_err(|why| wrong_cell(index, &why.to_string()))
    }

    fn text(&self, index: usize) -> Result<String> {
        self.optional(index)?
            .ok_or_else(|| wrong_cell(index, "it is NULL"))
    }

    fn number(&self, index: usize) -> Result<u64> {
        let text = self.text(index)?;
        text.parse()
            .map_err(|_| wrong_cell(index, &format!("`{text}` is not a number")))
    }
}

fn wrong_cell(index: usize, why: &str) -> Error {
    Error::new(
        ErrorKind::Checkpoint,
        format!(
            "column {} of a row in the meta schema cannot be read: {why}",
            index + 1
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn claim(phase: Phase) -> Claim {
        Claim {
            tables: Tables::new("tideway"),
            key: StreamKey {
                task: "it's".into(),
                source: "a".into(),
                server: "7".into(),
                flavor: Flavor::MariaDB,
            },
            epoch: 3,
            configuration: "tables = x".into(),
            claimed_by: "process 1, connection 2".into(),
            phase,
            writers: 2,
            structures: 4,
        }
    }

    #[test]
    fn rows_have_as_many_values_as_columns() {
        let mark = Mark::new(
            Place::new("7.1", Position::new("bin.000001", 4)),
            GtidSet::parse(Flavor::MariaDB, "0-1-2").ok(),
        );
        assert_eq!(COLUMNS.split(',').count(), 21);
        assert_eq!(
            claim(Phase::Sync(mark)).row(0, None),
            "('it''s', 'a', '7', 0, 2, 3, 0, 'sync', NULL, '7.1', 'bin.000001', 4, '0-1-2', NULL, NULL, NULL, 4, \
             'tables = x', NULL, 'process 1, connection 2', UTC_TIMESTAMP(6))"
        );
        assert_eq!(
            claim(Phase::Load("d1".into(), LoadStage::Whole)).row(1, None),
            "('it''s', 'a', '7', 1, 2, 3, 0, 'load', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 4, '', NULL, \
             'process 1, connection 2', UTC_TIMESTAMP(6))"
        );
    }

    #[test]
    fn a_difference_shows_both_sides_and_the_way_out() {
        let error = claim(Phase::New).changed_configuration("tables = y\nroute = z");
        assert_eq!(error.kind(), ErrorKind::Checkpoint);
        assert!(
            error
                .message()
                .contains("then: tables = y; route = z; now: tables = x")
        );
        assert!(
            error
                .fix()
                .unwrap()
                .contains("DELETE FROM `tideway`.`checkpoint`")
        );
    }
}
