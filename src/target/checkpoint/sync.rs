//! The checkpoint while the binlog is applied.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::load::PACKET_BYTES;
use super::{Cells, Claim, Mark, Phase, STREAM, VERSION, tables};
use crate::connect::Session;
use crate::model::{Error, ErrorKind, Place, Result, TableName};
use crate::schema::{Structure, Structures};
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

/// What a statement does to a database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SchemaChange {
    /// The database.
    pub schema: String,
    /// Its default character set and collation now; `None`: it is gone.
    pub default: Option<(String, String)>,
}

/// The defaults of databases as they are stored: under the name that no table has.
const SCHEMA_ITSELF: &str = "";

impl Claim {
    /// The fence of a packet of changes: writes the mark if the epoch is still ours.
    pub fn sync_fence(&self, packet: &mut Packet, mark: &Mark) {
        self.revision_fence(packet, &format!(", {}", mark_assignments(mark)));
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
        let intent = literal_or_null(text.as_deref());
        self.revision_fence(&mut packet, &format!(", `intent` = {intent}"));
        packet.push(Part::Frame, "COMMIT");
        self.settle(execute::run(session, &packet).await)
    }

    /// Writes a DDL statement's outcome: mark and structures together, and no intent any more.
    pub async fn write_outcome(
        &mut self,
        session: &mut Session,
        mark: &Mark,
        changes: &[Change],
        schemas: &[SchemaChange],
    ) -> Result<()> {
        self.write_done(session, mark, changes, schemas, None, &[])
            .await
    }

    /// Writes the outcome of a DDL statement whose transaction goes on behind it: the mark stays
    /// before it, and `done` says that it has run. The statements of `also` are in the same target
    /// transaction.
    pub async fn write_done(
        &mut self,
        session: &mut Session,
        mark: &Mark,
        changes: &[Change],
        schemas: &[SchemaChange],
        done: Option<&Intent>,
        also: &[String],
    ) -> Result<()> {
        let version = self.structures + 1;
        let intent = done.map(intent_text).transpose()?;
        let mut packet = Packet::new();
        packet.push(Part::Frame, "BEGIN");
        self.revision_fence(
            &mut packet,
            &format!(
                ", {}, `structures` = {version}, `intent` = {}",
                mark_assignments(mark),
                literal_or_null(intent.as_deref())
            ),
        );
        for change in changes {
            packet.push(Part::Frame, self.forget_structure(&change.table));
            if let Some(structure) = &change.structure {
                let row = self.structure_row(version, &change.table, Some(structure))?;
                packet.push(Part::Frame, row);
            }
        }
        for change in schemas {
            let itself = TableName::new(&change.schema, SCHEMA_ITSELF);
            packet.push(Part::Frame, self.forget_structure(&itself));
            if let Some(default) = &change.default {
                packet.push(
                    Part::Frame,
                    self.schema_row(version, &change.schema, default)?,
                );
            }
        }
        for statement in also {
            packet.push(Part::Frame, statement);
        }
        packet.push(Part::Frame, "COMMIT");
        self.settle(execute::run(session, &packet).await)?;
        self.structures = version;
        Ok(())
    }

    /// Writes the defaults of databases where the checkpoint has none: that of an older version, or of
    /// another tool's dump.
    pub async fn write_schemas(
        &self,
        session: &mut Session,
        schemas: &BTreeMap<String, (String, String)>,
    ) -> Result<()> {
        let mut packet = Packet::new();
        packet.push(Part::Frame, "BEGIN");
        self.revision_fence(&mut packet, "");
        for (schema, default) in schemas {
            let itself = TableName::new(schema, SCHEMA_ITSELF);
            packet.push(Part::Frame, self.forget_structure(&itself));
            let row = self.schema_row(self.structures, schema, default)?;
            packet.push(Part::Frame, row);
            if packet.len() > PACKET_BYTES {
                packet.push(Part::Frame, "COMMIT");
                self.settle(execute::run(session, &packet).await)?;
                packet = Packet::new();
                packet.push(Part::Frame, "BEGIN");
                self.revision_fence(&mut packet, "");
            }
        }
        packet.push(Part::Frame, "COMMIT");
        self.settle(execute::run(session, &packet).await)
    }

    fn forget_structure(&self, table: &TableName) -> String {
        format!(
            "DELETE FROM {} WHERE {} AND `schema_name` = {} AND `table_name` = {}",
            self.tables.structure,
            self.stream(),
            literal(&table.schema),
            literal(&table.name)
        )
    }

    /// The fence of a packet: slot 0 is locked and counted on, with `assignments` behind a comma, if
    /// the epoch is still ours.
    pub(super) fn revision_fence(&self, packet: &mut Packet, assignments: &str) {
        packet.push(
            Part::Fence,
            format!(
                "UPDATE {} SET `revision` = `revision` + 1{assignments}, \
                 `updated_at` = UTC_TIMESTAMP(6) WHERE {}",
                self.tables.checkpoint,
                self.fence_condition()
            ),
        );
        packet.push_guard(Part::Fence, 1);
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
            .map(|structure| json(table, structure))
            .transpose()?;
        Ok(self.row_of_structure(version, table, definition.as_deref()))
    }

    /// Inserts one database's defaults under a version.
    pub(super) fn schema_row(
        &self,
        version: u64,
        schema: &str,
        default: &(String, String),
    ) -> Result<String> {
        let itself = TableName::new(schema, SCHEMA_ITSELF);
        let definition = json(&itself, default)?;
        Ok(self.row_of_structure(version, &itself, Some(&definition)))
    }

    fn row_of_structure(
        &self,
        version: u64,
        table: &TableName,
        definition: Option<&str>,
    ) -> String {
        format!(
            "INSERT INTO {} ({STREAM}, `schema_name`, `table_name`, `structures`, `version`, `definition`) \
             VALUES ({}, {}, {}, {version}, {VERSION}, {})",
            self.tables.structure,
            self.stream_values(),
            literal(&table.schema),
            literal(&table.name),
            literal_or_null(definition)
        )
    }

    /// The source's tables and the defaults of its databases. One row at a time is in memory as it is
    /// stored, whatever their number.
    pub(super) async fn read_structures(
        &self,
        session: &mut Session,
    ) -> Result<(Structures, BTreeMap<String, (String, String)>)> {
        let sql = format!(
            "SELECT `schema_name`, `table_name`, `version`, `definition` FROM {} WHERE {} \
                 AND `structures` <= {} ORDER BY `schema_name`, `table_name`, `structures`",
            self.tables.structure,
            self.stream(),
            self.structures
        );
        let mut structures = Structures::default();
        let mut schemas = BTreeMap::new();
        // Of several versions of a table the last one counts; they follow each other.
        let mut newest: Option<(TableName, Option<Structure>)> = None;
        session
            .for_each_row(&sql, |row| {
                let cells = Cells(row);
                tables::check_version(&self.tables, "a structure", cells.number(2)?)?;
                let table = TableName::new(cells.text(0)?, cells.text(1)?);
                let definition = cells.optional(3)?;
                if table.name == SCHEMA_ITSELF {
                    match definition {
                        Some(text) => {
                            schemas.insert(table.schema.clone(), self.read(&table, &text)?)
                        }
                        None => schemas.remove(&table.schema),
                    };
                    return Ok(());
                }
                let structure = definition
                    .map(|text| self.read(&table, &text))
                    .transpose()?;
                if let Some((former, Some(structure))) = newest.replace((table, structure))
                    && newest.as_ref().is_none_or(|(table, _)| *table != former)
                {
                    structures.push(&structure);
                }
                Ok(())
            })
            .await?;
        if let Some((_, Some(structure))) = newest {
            structures.push(&structure);
        }
        Ok((structures, schemas))
    }

    fn read<T: DeserializeOwned>(&self, table: &TableName, text: &str) -> Result<T> {
        serde_json::from_str(text)
            .map_err(|why| self.unreadable(&format!("structure of {table}: {why}")))
    }

    /// The mark as the claim read it, if the stream is in sync.
    pub fn mark(&self) -> Option<&Mark> {
        match &self.phase {
            Phase::Sync(mark) => Some(mark),
            Phase::New | Phase::Load(..) => None,
        }
    }
}

fn json(table: &TableName, definition: &impl Serialize) -> Result<String> {
    serde_json::to_string(definition).map_err(|why| {
        Error::new(
            ErrorKind::Internal,
            format!("the structure of {table} cannot be written"),
        )
        .with_source(why)
    })
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
