//! One writer for each pair of a target table and a source table.

use std::collections::BTreeMap;

use super::{Cells, Claim, VERSION, tables};
use crate::connect::Session;
use crate::model::{Error, ErrorKind, Result, TableName};
use crate::target::execute::{self, Packet, Part};
use crate::target::text::literal;

/// A source table and what it is called on the target.
pub type Ownership = (TableName, TableName);

/// How many tables one statement takes.
const ROWS: usize = 500;
/// `ER_DUP_ENTRY`.
const DUPLICATE: u16 = 1062;

impl Claim {
    /// Takes the tables for the stream's task; refused if another task writes one of the source
    /// tables into the same target table.
    pub async fn own(&self, session: &mut Session, pairs: &[Ownership]) -> Result<()> {
        match self.try_own(session, pairs).await {
            // Another stream was quicker: by now its rows say whose the tables are.
            Err(error)
                if error
                    .server()
                    .is_some_and(|server| server.number == DUPLICATE) =>
            {
                self.try_own(session, pairs).await
            }
            result => result,
        }
    }

    async fn try_own(&self, session: &mut Session, pairs: &[Ownership]) -> Result<()> {
        let rows = session
            .rows(&format!(
                "SELECT `target_schema`, `target_table`, `source_schema`, `source_table`, `task`, \
                 `version`, `source` FROM {} WHERE `server` = {}",
                self.tables.owner,
                literal(&self.key.server)
            ))
            .await?;
        let mut owners = BTreeMap::new();
        for row in &rows {
            let cells = Cells(row);
            tables::check_version(&self.tables, "an owner", cells.number(5)?)?;
            let target = TableName::new(cells.text(0)?, cells.text(1)?);
            let source = TableName::new(cells.text(2)?, cells.text(3)?);
            owners.insert((source, target), (cells.text(4)?, cells.text(6)?));
        }
        let mut missing = Vec::new();
        for pair in pairs {
            match owners.get(pair) {
                Some((task, source)) if *task == self.key.task && *source == self.key.source => {}
                Some((task, source)) if *task == self.key.task => {
                    return Err(self.same_server(pair, source));
                }
                Some((task, _)) => return Err(self.owned(pair, task)),
                None => missing.push(pair),
            }
        }
        for chunk in missing.chunks(ROWS) {
            let values: Vec<String> = chunk.iter().map(|pair| self.owner_row(pair)).collect();
            let mut packet = Packet::new();
            packet.push(Part::Frame, "BEGIN");
            packet.push(
                Part::Frame,
                format!(
                    "INSERT INTO {} (`target_schema`, `target_table`, `server`, `source_schema`, \
                     `source_table`, `version`, `task`, `source`) VALUES {}",
                    self.tables.owner,
                    values.join(", ")
                ),
            );
            packet.push(Part::Frame, "COMMIT");
            self.settle(execute::run(session, &packet).await)?;
        }
        Ok(())
    }

    /// Whether the target table of a pair takes rows of another source table too.
    pub async fn is_shared(
        &self,
        session: &mut Session,
        (source, target): &Ownership,
    ) -> Result<bool> {
        let rows = session
            .rows(&format!(
                "SELECT 1 FROM {} WHERE `target_schema` = {} AND `target_table` = {} AND NOT \
                 (`server` = {} AND `source_schema` = {} AND `source_table` = {}) LIMIT 1",
                self.tables.owner,
                literal(&target.schema),
                literal(&target.name),
                literal(&self.key.server),
                literal(&source.schema),
                literal(&source.name)
            ))
            .await?;
        Ok(!rows.is_empty())
    }

    /// What this stream has taken, each with whether another stream writes into the same target
    /// table, or another of its own tables goes there.
    pub async fn owned_tables(&self, session: &mut Session) -> Result<Vec<(Ownership, bool)>> {
        let rows = session
            .rows(&format!(
                "SELECT o.`target_schema`, o.`target_table`, o.`source_schema`, o.`source_table`, \
                 (SELECT COUNT(*) FROM {0} p WHERE p.`target_schema` = o.`target_schema` \
                 AND p.`target_table` = o.`target_table`) \
                 FROM {0} o WHERE o.`server` = {1} AND o.`task` = {2}",
                self.tables.owner,
                literal(&self.key.server),
                literal(&self.key.task)
            ))
            .await?;
        rows.iter()
            .map(|row| {
                let cells = Cells(row);
                let target = TableName::new(cells.text(0)?, cells.text(1)?);
                let source = TableName::new(cells.text(2)?, cells.text(3)?);
                Ok(((source, target), cells.number(4)? > 1))
            })
            .collect()
    }

    /// Another stream that loads a dump not yet whole, and has taken one of the target tables of this
    /// one: what it loads may have to be taken out again.
    pub async fn unproved_neighbor(&self, session: &mut Session) -> Result<Option<String>> {
        let rows = session
            .rows(&format!(
                "SELECT c.`task`, c.`source` FROM {0} c WHERE c.`slot` = 0 \
                 AND c.`phase` IN ('overlap', 'discard') \
                 AND NOT (c.`task` = {2} AND c.`source` = {3} AND c.`server` = {4}) AND EXISTS \
                 (SELECT 1 FROM {1} mine JOIN {1} theirs \
                 ON theirs.`target_schema` = mine.`target_schema` \
                 AND theirs.`target_table` = mine.`target_table` \
                 WHERE mine.`task` = {2} AND mine.`server` = {4} \
                 AND theirs.`task` = c.`task` AND theirs.`server` = c.`server`) LIMIT 1",
                self.tables.checkpoint,
                self.tables.owner,
                literal(&self.key.task),
                literal(&self.key.source),
                literal(&self.key.server)
            ))
            .await?;
        rows.first()
            .map(|row| {
                let cells = Cells(row);
                Ok(format!(
                    "task `{}` on source `{}`",
                    cells.text(0)?,
                    cells.text(1)?
                ))
            })
            .transpose()
    }

    fn owner_row(&self, (source, target): &Ownership) -> String {
        format!(
            "({}, {}, {}, {}, {}, {VERSION}, {}, {})",
            literal(&target.schema),
            literal(&target.name),
            literal(&self.key.server),
            literal(&source.schema),
            literal(&source.name),
            literal(&self.key.task),
            literal(&self.key.source)
        )
    }

    /// Two sources of the configuration are one server: each row would come twice.
    fn same_server(&self, (source, target): &Ownership, other: &str) -> Error {
        self.locate(
            Error::new(
                ErrorKind::Fenced,
                format!(
                    "the sources `{}` and `{other}` are the same server `{}`: {source} would go into \
                     {target} twice",
                    self.key.source, self.key.server
                ),
            )
            .with_fix(format!(
                "take one of the two out of the task; if `{other}` is no more, `DELETE FROM {} WHERE \
                 task = {} AND source = {}`",
                self.tables.owner,
                literal(&self.key.task),
                literal(other)
            ))
            .at(|c| c.table = Some(source.clone())),
        )
    }

    fn owned(&self, (source, target): &Ownership, task: &str) -> Error {
        self.locate(
            Error::new(
                ErrorKind::Fenced,
                format!("task `{task}` already writes {source} into {target} on this target"),
            )
            .with_fix(format!(
                "take the table out of one of the two tasks; if `{task}` is no more, \
                 `DELETE FROM {} WHERE task = {}`",
                self.tables.owner,
                literal(task)
            ))
            .at(|c| c.table = Some(source.clone())),
        )
    }
}
