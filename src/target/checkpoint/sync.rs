//! The checkpoint while the binlog is applied.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Cells, Claim, Mark, Phase, STREAM, VERSION, tables};
use crate::connect::Session;
use crate::model::{Error, ErrorKind, Place, Result, TableName};
use crate::schema::Structure;
use crate::target::execute::{self, Packet, Part};
use crate::target::text::{literal, literal_or_null};

/// A DDL statement about to run, written before it does: a crash in between is resolved by it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Intent {
    /// The event's start.
    pub place: Place,
    /// The connection that runs it.
    pub connection_id: u32,
    /// The exact text that runs.
    pub statement: String,
    /// The target's tables it concerns, as they are before; `None`: not there.
    pub before: Vec<(TableName, Option<Structure>)>,
    /// The same tables as they should be after.
    pub after: Vec<(TableName, Option<Structure>)>,
    /// The same tables' `SHOW CREATE TABLE` before: what the structures do not tell.
    #[serde(default)]
    pub definitions: Vec<(TableName, Option<String>)>,
    /// Which step of the event's statement it is, from 0: some run in several.
    #[serde(default)]
    pub step: usize,
    /// It has run, although the mark is still before it: its rows follow in the same transaction.
    #[serde(default)]
    pub is_done: bool,
}

/// What a DDL statement does to a source table.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// The table.
    pub table: TableName,
    /// As it is now; `None`: gone.
    pub structure: Option<Structure>,
}

impl Claim {
    /// The fence of a packet of changes: writes the mark if the epoch is still ours.
    pub fn sync_fence(&self, packet: &mut Packet, mark: &Mark) {
        packet.push(
            Part::Fence,
            format!(
                "UPDATE {} SET `revision` = `revision` + 1, {}, `updated_at` = UTC_TIMESTAMP(6) \
                 WHERE {}",
                self.tables.checkpoint,
                mark_assignments(mark),
                self.fence_condition()
            ),
        );
        packet.push_guard(Part::Fence, 1);
    }

    /// Writes the mark alone: when nothing was to be applied on the way to it.
    pub async fn write_mark(&self, session: &mut Session, mark: &Mark) -> Result<()> {
        let mut packet = Packet::new();
        packet.push(Part::Frame, "BEGIN");
        self.sync_fence(&mut packet, mark);
        packet.push(Part::Frame, "COMMIT");
        self.settle(execute::run(session, &packet).await)
    }

    /// Writes down the DDL statement that is about to run; `None`: that the last one has not.
    pub async fn write_intent(&self, session: &mut Session, intent: Option<&Intent>) -> Result<()> {
        let text = intent.map(intent_text).transpose()?;
        let mut packet = Packet::new();
        packet.push(Part::Frame, "BEGIN");
        packet.push(
            Part::Fence,
            format!(
                "UPDATE {} SET `revision` = `revision` + 1, `intent` = {}, \
                 `updated_at` = UTC_TIMESTAMP(6) WHERE {}",
                self.tables.checkpoint,
                literal_or_null(text.as_deref()),
                self.fence_condition()
            ),
        );
        packet.push_guard(Part::Fence, 1);
        packet.push(Part::Frame, "COMMIT");
        self.settle(execute::run(session, &packet).await)
    }

    /// Writes a DDL statement's outcome: mark and structures together, and no intent any more.
    pub async fn write_outcome(
        &mut self,
        session: &mut Session,
        mark: &Mark,
        changes: &[Change],
    ) -> Result<()> {
        self.write_done(session, mark, changes, None).await
    }

    /// Writes the outcome of a DDL statement whose transaction goes on behind it: the mark stays
    /// before it, and `done` says that it has run.
    pub async fn write_done(
        &mut self,
        session: &mut Session,
        mark: &Mark,
        changes: &[Change],
        done: Option<&Intent>,
    ) -> Result<()> {
        let version = self.structures + 1;
        let intent = done.map(intent_text).transpose()?;
        let mut packet = Packet::new();
        packet.push(Part::Frame, "BEGIN");
        packet.push(
            Part::Fence,
            format!(
                "UPDATE {} SET `revision` = `revision` + 1, {}, `structures` = {version}, \
                 `intent` = {}, `updated_at` = UTC_TIMESTAMP(6) WHERE {}",
                self.tables.checkpoint,
                mark_assignments(mark),
                literal_or_null(intent.as_deref()),
                self.fence_condition()
            ),
        );
        packet.push_guard(Part::Fence, 1);
        for change in changes {
            packet.push(
                Part::Frame,
                format!(
                    "DELETE FROM {} WHERE {} AND `schema_name` = {} AND `table_name` = {}",
                    self.tables.structure,
                    self.stream(),
                    literal(&change.table.schema),
                    literal(&change.table.name)
                ),
            );
            if let Some(structure) = &change.structure {
                let row = self.structure_row(version, &change.table, Some(structure))?;
                packet.push(Part::Frame, row);
            }
        }
        packet.push(Part::Frame, "COMMIT");
        self.settle(execute::run(session, &packet).await)?;
        self.structures = version;
        Ok(())
    }

    pub(super) fn fence_condition(&self) -> String {
        format!(
            "{} AND `slot` = 0 AND `epoch` = {}",
            self.stream(),
            self.epoch
        )
    }

    /// Inserts one table's structure under a version.
    pub(super) fn structure_row(
        &self,
        version: u64,
        table: &TableName,
        structure: Option<&Structure>,
    ) -> Result<String> {
        let definition = structure
            .map(serde_json::to_string)
            .transpose()
            .map_err(|why| {
                Error::new(
                    ErrorKind::Internal,
                    format!("the structure of {table} cannot be written"),
                )
                .with_source(why)
            })?;
        Ok(format!(
            "INSERT INTO {} ({STREAM}, `schema_name`, `table_name`, `structures`, `version`, `definition`) \
             VALUES ({}, {}, {}, {version}, {VERSION}, {})",
            self.tables.structure,
            self.stream_values(),
            literal(&table.schema),
            literal(&table.name),
            literal_or_null(definition.as_deref())
        ))
    }

    pub(super) async fn read_structures(&self, session: &mut Session) -> Result<Vec<Structure>> {
        let rows = session
            .rows(&format!(
                "SELECT `schema_name`, `table_name`, `version`, `definition` FROM {} WHERE {} \
                 AND `structures` <= {} ORDER BY `schema_name`, `table_name`, `structures`",
                self.tables.structure,
                self.stream(),
                self.structures
            ))
            .await?;
        let mut newest: BTreeMap<TableName, Option<Structure>> = BTreeMap::new();
        for row in &rows {
            let cells = Cells(row);
            tables::check_version(&self.tables, "a structure", cells.number(2)?)?;
            let table = TableName::new(cells.text(0)?, cells.text(1)?);
            let structure = cells
                .optional(3)?
                .map(|text| serde_json::from_str(&text))
                .transpose()
                .map_err(|why| self.unreadable(&format!("structure of {table}: {why}")))?;
            newest.insert(table, structure);
        }
        Ok(newest.into_values().flatten().collect())
    }

    /// The mark as the claim read it, if the stream is in sync.
    pub fn mark(&self) -> Option<&Mark> {
        match &self.phase {
            Phase::Sync(mark) => Some(mark),
            Phase::New | Phase::Load(..) => None,
        }
    }
}

pub(super) fn intent_text(intent: &Intent) -> Result<String> {
    serde_json::to_string(intent).map_err(|why| {
        Error::new(
            ErrorKind::Internal,
            "a DDL statement's intent cannot be written",
        )
        .with_source(why)
    })
}

fn mark_assignments(mark: &Mark) -> String {
    let gtid_set = mark.gtid_set.as_ref().map(ToString::to_string);
    format!(
        "`folder` = {}, `binlog_file` = {}, `binlog_offset` = {}, `gtid_set` = {}, `prepared` = {}, \
         `part` = {}",
        literal(&mark.place.folder),
        literal(&mark.place.position.file),
        mark.place.position.offset,
        literal_or_null(gtid_set.as_deref()),
        literal_or_null(prepared_text(mark).as_deref()),
        super::part::stored(mark)
    )
}

/// The mark's prepared XA transactions as they are stored; `None` if there are none.
#[expect(
    clippy::expect_used,
    reason = "texts and numbers under names: nothing of it can fail to be JSON"
)]
pub(super) fn prepared_text(mark: &Mark) -> Option<String> {
    (!mark.prepared.is_empty())
        .then(|| serde_json::to_string(&mark.prepared).expect("it is plain data"))
}
