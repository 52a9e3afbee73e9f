//! The checkpoint while a dump is loaded, and its end.

use std::borrow::Borrow;
use std::collections::BTreeMap;

use super::{Cells, Claim, LoadStage, LoadedPart, Mark, Phase, STREAM, VERSION, tables};
use crate::connect::Session;
use crate::model::{Error, ErrorKind, Result};
use crate::schema::{SchemaDefaults, Structure};
use crate::target::execute::{self, Packet, Part};
use crate::target::text::literal;

/// Structures are stored in packets of about this size, far below every `max_allowed_packet`.
pub(super) const PACKET_BYTES: usize = 512 * 1024;

/// How many rows one statement takes.
const ROWS: usize = 500;

impl Claim {
    /// Begins the load of a dump: what was recorded of another one is forgotten. `created` are the
    /// files of the tables that this load has created itself.
    pub async fn begin_load(
        &mut self,
        session: &mut Session,
        dump_id: &str,
        stage: LoadStage,
        created: &[String],
    ) -> Result<()> {
        self.phase = Phase::Load(dump_id.to_owned(), stage);
        let mut packet = self.fenced_packet();
        packet.push(
            Part::Frame,
            format!("DELETE FROM {} WHERE {}", self.tables.loaded, self.stream()),
        );
        let nothing = LoadedPart {
            begin: 0,
            end: 0,
            rows: 0,
        };
        for files in created.chunks(ROWS) {
            let rows: Vec<_> = files.iter().map(|file| (file.as_str(), &nothing)).collect();
            packet.push(Part::Frame, self.loaded_rows(&rows));
        }
        packet.push(Part::Frame, "COMMIT");
        self.settle(execute::run(session, &packet).await)
    }

    /// From here on the load is one of a whole dump, or one that is being taken out again.
    pub async fn enter_stage(&mut self, session: &mut Session, stage: LoadStage) -> Result<()> {
        if let Phase::Load(_, at) = &mut self.phase {
            *at = stage;
        }
        let mut packet = self.fenced_packet();
        packet.push(Part::Frame, "COMMIT");
        self.settle(execute::run(session, &packet).await)
    }

    /// Runs one statement behind the fence, in a transaction of its own, or, as DDL, right behind one.
    pub async fn run_fenced(
        &self,
        session: &mut Session,
        statement: &str,
        is_ddl: bool,
    ) -> Result<()> {
        let mut packet = self.fenced_packet();
        if is_ddl {
            packet.push(Part::Frame, "COMMIT");
        }
        packet.push(Part::Change(0), statement);
        if !is_ddl {
            packet.push(Part::Frame, "COMMIT");
        }
        self.settle(execute::run(session, &packet).await)
    }

    /// Nothing of the dump is in the target any more: the stream is a new one again.
    pub async fn forget_load(&mut self, session: &mut Session) -> Result<()> {
        self.phase = Phase::New;
        let mut packet = self.fenced_packet();
        packet.push(
            Part::Frame,
            format!("DELETE FROM {} WHERE {}", self.tables.loaded, self.stream()),
        );
        packet.push(Part::Frame, "COMMIT");
        self.settle(execute::run(session, &packet).await)
    }

    /// Opens the target transaction of a writer: `BEGIN` and the fence on its slot, 1 to `writers`.
    pub fn load_fence(&self, packet: &mut Packet, slot: u32) {
        packet.push(Part::Frame, "BEGIN");
        self.replace_row(packet, slot);
    }

    /// Records, within the transaction of its rows, that a part of a file is in. A part that is in
    /// already is refused by the table's key, with everything else in the packet.
    pub fn record_loaded(&self, packet: &mut Packet, file: &str, part: &LoadedPart) {
        packet.push(Part::Fence, self.loaded_rows(&[(file, part)]));
    }

    fn loaded_rows(&self, rows: &[(&str, &LoadedPart)]) -> String {
        let stream = self.stream_values();
        let rows: Vec<String> = rows
            .iter()
            .map(|(file, part)| {
                format!(
                    "({stream}, {}, {}, {VERSION}, {}, {})",
                    literal(file),
                    part.begin,
                    part.end,
                    part.rows
                )
            })
            .collect();
        format!(
            "INSERT INTO {} ({STREAM}, `file`, `begin_offset`, `version`, `end_offset`, `row_count`) \
             VALUES {}",
            self.tables.loaded,
            rows.join(", ")
        )
    }

    /// After a COMMIT without an answer, on a new session: waits until the slot's earlier packet has
    /// ended, and says whether the part is in.
    pub async fn is_loaded(
        &self,
        session: &mut Session,
        slot: u32,
        file: &str,
        begin: u64,
    ) -> Result<bool> {
        session.execute(b"BEGIN").await?;
        let held = session
            .rows(&format!(
                "SELECT `epoch` FROM {} WHERE {} AND `slot` = {slot} FOR UPDATE",
                self.tables.checkpoint,
                self.stream()
            ))
            .await?;
        let found = session
            .rows(&format!(
                "SELECT 1 FROM {} WHERE {} AND `file` = {} AND `begin_offset` = {begin}",
                self.tables.loaded,
                self.stream(),
                literal(file)
            ))
            .await?;
        session.execute(b"ROLLBACK").await?;
        match held.first().map(|row| Cells(row).number(0)).transpose()? {
            Some(epoch) if epoch == self.epoch => Ok(!found.is_empty()),
            _ => Err(self.locate(execute::fenced(&self.name()))),
        }
    }

    /// The load is whole: from here on the stream is in sync, from the dump's own position on.
    pub async fn finish_load(
        &mut self,
        session: &mut Session,
        mark: Mark,
        structures: impl IntoIterator<Item = impl Borrow<Structure> + Send, IntoIter: Send>,
        schemas: &SchemaDefaults,
    ) -> Result<()> {
        self.begin_sync(session, mark, structures.into_iter(), schemas)
            .await
    }

    /// The stream is in sync from `mark` on without a load before it.
    pub async fn establish_sync(
        &mut self,
        session: &mut Session,
        mark: Mark,
        structures: impl IntoIterator<Item = impl Borrow<Structure> + Send, IntoIter: Send>,
        schemas: &SchemaDefaults,
    ) -> Result<()> {
        if self.phase != Phase::New {
            return Err(Error::new(
                ErrorKind::Checkpoint,
                format!("{} has a checkpoint already", self.name()),
            ));
        }
        self.begin_sync(session, mark, structures.into_iter(), schemas)
            .await
    }

    async fn begin_sync(
        &mut self,
        session: &mut Session,
        mark: Mark,
        structures: impl Iterator<Item = impl Borrow<Structure> + Send> + Send,
        schemas: &SchemaDefaults,
    ) -> Result<()> {
        // Stored under the next version, they count only once slot 0 says so in the last packet.
        let version = self.structures + 1;
        let mut packet = self.fenced_packet();
        packet.push(
            Part::Frame,
            format!(
                "DELETE FROM {} WHERE {}",
                self.tables.structure,
                self.stream()
            ),
        );
        let defaults = schemas
            .iter()
            .map(|(schema, default)| self.schema_row(version, schema, default));
        let tables = structures.map(|structure| {
            let structure: &Structure = structure.borrow();
            self.structure_row(version, &structure.table, Some(structure))
        });
        for row in defaults.chain(tables) {
            packet.push(Part::Frame, row?);
            if packet.len() > PACKET_BYTES {
                packet.push(Part::Frame, "COMMIT");
                self.settle(execute::run(session, &packet).await)?;
                packet = self.fenced_packet();
            }
        }
        packet.push(Part::Frame, "COMMIT");
        self.settle(execute::run(session, &packet).await)?;

        let before = (
            std::mem::replace(&mut self.phase, Phase::Sync(mark)),
            std::mem::replace(&mut self.structures, version),
        );
        let mut packet = self.fenced_packet();
        for (table, condition) in [
            (&self.tables.checkpoint, " AND `slot` > 0"),
            (&self.tables.loaded, ""),
        ] {
            packet.push(
                Part::Frame,
                format!("DELETE FROM {table} WHERE {}{condition}", self.stream()),
            );
        }
        packet.push(Part::Frame, "COMMIT");
        let outcome = self.settle(execute::run(session, &packet).await);
        if outcome.is_err() {
            (self.phase, self.structures) = before;
        }
        outcome
    }

    fn fenced_packet(&self) -> Packet {
        let mut packet = Packet::new();
        packet.push(Part::Frame, "BEGIN");
        self.replace_row(&mut packet, 0);
        packet
    }

    pub(super) async fn read_parts(
        &self,
        session: &mut Session,
    ) -> Result<BTreeMap<String, Vec<LoadedPart>>> {
        let rows = session
            .rows(&format!(
                "SELECT `file`, `begin_offset`, `end_offset`, `row_count`, `version` FROM {} \
                 WHERE {} ORDER BY `file`, `begin_offset`",
                self.tables.loaded,
                self.stream()
            ))
            .await?;
        let mut parts: BTreeMap<String, Vec<LoadedPart>> = BTreeMap::new();
        for row in &rows {
            let cells = Cells(row);
            tables::check_version(&self.tables, "a load's progress", cells.number(4)?)?;
            parts.entry(cells.text(0)?).or_default().push(LoadedPart {
                begin: cells.number(1)?,
                end: cells.number(2)?,
                rows: cells.number(3)?,
            });
        }
        Ok(parts)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::claim;
    use super::*;

    #[test]
    fn a_load_needs_no_update() {
        let claim = claim(Phase::Load("d".into(), LoadStage::Whole));
        let mut packet = Packet::new();
        claim.load_fence(&mut packet, 2);
        let part = LoadedPart {
            begin: 0,
            end: 10,
            rows: 1,
        };
        claim.record_loaded(&mut packet, "shop.t.000000001.sql", &part);
        let text = String::from_utf8_lossy(packet.bytes()).into_owned();
        assert!(text.starts_with(
            "BEGIN;DELETE FROM `tideway`.`checkpoint` WHERE `task` = 'it''s' AND `source` = 'a' AND \
             `server` = '7' AND `slot` = 2 AND `epoch` = 3;SELECT IF(ROW_COUNT() = 1"
        ));
        assert!(!text.contains("UPDATE"));
    }
}
