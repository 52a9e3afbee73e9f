//! What the source holds: the selected tables with their structures and texts, the databases, and
//! what a dump leaves out.

use std::collections::{BTreeMap, BTreeSet};

use crate::config::Programs;
use crate::connect::Session;
use crate::dump_files::{DumpProgram, DumpView};
use crate::model::{Error, ErrorKind, Result, TableName, table::quote_name};
use crate::route::Selection;
use crate::schema::{SchemaDefaults, Structure, engine, without_counter};
use crate::source::{
    TableInfo, TableType, expect_visible, list_tables_with_sizes, read_schema_defaults,
    read_structures_in,
};

use super::{changed, programs};

/// A selected table.
#[derive(Clone, Debug)]
pub(super) struct Described {
    pub(super) structure: Structure,
    pub(super) create: String,
    /// Estimated by the server.
    pub(super) rows: u64,
    /// Estimated by the server.
    pub(super) bytes: u64,
}

impl Described {
    /// What tells it from every other form of it; counters do not matter.
    pub(super) fn fingerprint(&self) -> String {
        without_counter(&self.create)
    }

    /// Whether its engine knows no snapshots, so that it shows each moment's rows.
    pub(super) fn is_unversioned(&self) -> bool {
        !engine::keeps_snapshots(&self.structure.engine)
    }
}

/// What the catalogue holds at one reading.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub(super) tables: Vec<Described>,
    pub(super) schemas: BTreeMap<String, String>,
    /// What tables of each database get that name no character set, selected or not.
    pub(super) schema_defaults: SchemaDefaults,
    /// The selected views.
    pub(super) views: BTreeMap<TableName, DumpView>,
    /// The triggers, routines and events that were asked for.
    pub(super) programs: Vec<DumpProgram>,
    /// A sentence for each kind of object that is left out.
    pub(super) left_out: Vec<String>,
    /// What is selected and no plain table.
    others: Vec<TableInfo>,
}

impl Found {
    pub(super) fn names(&self) -> impl Iterator<Item = &TableName> {
        self.tables.iter().map(|table| &table.structure.table)
    }

    /// A table of `before` that is not there any more as it was; counters do not matter.
    pub(super) fn changed_since<'a>(
        &self,
        before: impl IntoIterator<Item = (&'a Structure, &'a str)>,
    ) -> Option<TableName> {
        let now: BTreeMap<&TableName, &Described> = self
            .tables
            .iter()
            .map(|table| (&table.structure.table, table))
            .collect();
        before
            .into_iter()
            .find(|(structure, create)| {
                !now.get(&structure.table).is_some_and(|now| {
                    now.structure == **structure
                        && without_counter(&now.create) == without_counter(create)
                })
            })
            .map(|(structure, _)| structure.table.clone())
    }

    /// Whether both readings hold the same tables; counters do not matter.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.tables.len() == other.tables.len()
            && self.tables.iter().zip(&other.tables).all(|(a, b)| {
                a.structure == b.structure
                    && without_counter(&a.create) == without_counter(&b.create)
            })
    }
}

/// Reads the catalogue of a source.
#[derive(Debug)]
pub(super) struct Catalogue {
    session: Session,
    selection: Selection,
    wanted: Programs,
}

impl Catalogue {
    pub(super) fn new(session: Session, selection: Selection, wanted: Programs) -> Self {
        Self {
            session,
            selection,
            wanted,
        }
    }

    /// The selected tables, ordered by name, and their databases: what is compared with another reading.
    /// The rest is for [`Catalogue::read_rest`].
    pub(super) async fn read(&mut self) -> Result<Found> {
        let listed: Vec<TableInfo> = list_tables_with_sizes(&mut self.session)
            .await?
            .into_iter()
            .filter(|info| self.selection.takes(&info.name))
            .collect();
        let mut unseen = self.selection.exact_schemas();
        unseen.retain(|schema| !listed.iter().any(|info| info.name.schema == *schema));
        expect_visible(&mut self.session, unseen).await?;
        if let Some(versioned) = listed.iter().find(|t| t.table_type == TableType::Versioned) {
            // Their row events are no plain table's, and a copy of the current rows loses the history.
            let name = &versioned.name;
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!("{name} is system-versioned, which cannot be copied with its history"),
            )
            .with_fix("leave the table out, or drop its system versioning")
            .at(|c| c.table = Some(name.clone())));
        }
        let base: Vec<&TableInfo> = listed
            .iter()
            .filter(|info| info.table_type == TableType::Base)
            .collect();
        let names: Vec<TableName> = base.iter().map(|info| info.name.clone()).collect();
        let mut structures: BTreeMap<TableName, Structure> =
            read_structures_in(&mut self.session, base.iter().copied().cloned())
                .await?
                .into_iter()
                .map(|structure| (structure.table.clone(), structure))
                .collect();
        let creates = self.creates(&names).await?;
        let mut tables = Vec::with_capacity(base.len());
        for (info, create) in base.into_iter().zip(creates) {
            let name = &info.name;
            let Some(structure) = structures.remove(name) else {
                return Err(changed(format!("{name} vanished while it was looked at"))
                    .at(|c| c.table = Some(name.clone())));
            };
            tables.push(Described {
                structure,
                create,
                rows: info.rows_estimated,
                bytes: info.data_bytes,
            });
        }
        let mut schemas = BTreeMap::new();
        // One that is taken whole and has no table yet will have some: they need it on the target.
        let mut wanted: BTreeSet<String> = names.iter().map(|name| name.schema.clone()).collect();
        let schema_defaults = read_schema_defaults(&mut self.session).await?;
        for schema in schema_defaults.keys() {
            if !crate::route::is_system_schema(schema) && self.selection.takes_whole_schema(schema)
            {
                wanted.insert(schema.clone());
            }
        }
        for schema in &wanted {
            let sql = format!("SHOW CREATE DATABASE {}", quote_name(schema));
            let create = second_cell(self.session.rows(&sql).await?, &sql)?;
            schemas.insert(schema.clone(), create);
        }
        Ok(Found {
            tables,
            schemas,
            schema_defaults,
            views: BTreeMap::new(),
            programs: Vec::new(),
            left_out: Vec::new(),
            others: listed
                .into_iter()
                .filter(|info| info.table_type != TableType::Base)
                .collect(),
        })
    }

    /// Reads what is selected besides tables, and what is left out.
    pub(super) async fn read_rest(&mut self, found: &mut Found) -> Result<()> {
        let others = std::mem::take(&mut found.others);
        let mut left_out = self.left_out(&others).await?;
        found.views = self.views(&others, &mut left_out).await?;
        found.programs = programs::read(
            &mut self.session,
            &self.selection,
            self.wanted,
            &mut left_out,
        )
        .await?;
        found.left_out = left_out;
        Ok(())
    }

    /// Fails if a table is not the one that its rows were just read by: its text, as
    /// [`Described::fingerprint`] has it, is another.
    pub(super) async fn expect_unchanged(&mut self, tables: &[(&TableName, &str)]) -> Result<()> {
        let names: Vec<TableName> = tables.iter().map(|(name, _)| (*name).clone()).collect();
        let creates = self.creates(&names).await?;
        for ((table, fingerprint), create) in tables.iter().zip(creates) {
            if without_counter(&create) != *fingerprint {
                return Err(changed(format!("{table} was altered while it was dumped"))
                    .at(|c| c.table = Some((*table).clone())));
            }
        }
        Ok(())
    }

    /// The texts of tables, in their order: many at a time, as each would cost a round trip.
    async fn creates(&mut self, tables: &[TableName]) -> Result<Vec<String>> {
        let mut texts = Vec::with_capacity(tables.len());
        for some in tables.chunks(CREATES_AT_ONCE) {
            let queries: Vec<String> = some
                .iter()
                .map(|table| format!("SHOW CREATE TABLE {}", table.quoted()))
                .collect();
            let results = self.session.results(&queries).await.map_err(|failed| {
                match some.get(failed.index) {
                    Some(table) => super::gone(failed.error, table),
                    None => failed.error,
                }
            })?;
            for (rows, sql) in results.into_iter().zip(&queries) {
                texts.push(second_cell(rows, sql)?);
            }
        }
        Ok(texts)
    }

    /// The texts of the selected views. One whose text the account may not see, or that cannot be
    /// shown because something beneath it is gone, is left out, and said so.
    async fn views(
        &mut self,
        listed: &[TableInfo],
        left_out: &mut Vec<String>,
    ) -> Result<BTreeMap<TableName, DumpView>> {
        let mut views = BTreeMap::new();
        for info in listed.iter().filter(|i| i.table_type == TableType::View) {
            let name = &info.name;
            let sql = format!("SHOW CREATE VIEW {}", name.quoted());
            match self.view(name, &sql).await {
                Ok(view) => {
                    views.insert(name.clone(), view);
                }
                Err(error) if error.server().is_some() && error.kind() != ErrorKind::Connect => {
                    let why = error.cause().unwrap_or_else(|| error.to_string());
                    let grant = match error.kind() {
                        ErrorKind::Privilege => "; grant the account SHOW VIEW to have it copied",
                        _ => "",
                    };
                    left_out.push(format!("left out: the view {name}: {why}{grant}"));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(views)
    }

    async fn view(&mut self, name: &TableName, show: &str) -> Result<DumpView> {
        let create = second_cell(self.session.rows(show).await?, show)?;
        let columns = self
            .session
            .rows(&format!("SHOW COLUMNS FROM {}", name.quoted()))
            .await?
            .into_iter()
            .filter_map(|row| row.into_iter().next().flatten())
            .map(|column| String::from_utf8_lossy(&column).into_owned())
            .collect();
        Ok(DumpView { create, columns })
    }

    /// Names of what is in the selected databases and not in a dump.
    async fn left_out(&mut self, listed: &[TableInfo]) -> Result<Vec<String>> {
        let mut notes = Vec::new();
        for (what, kind) in [
            ("sequences", TableType::Sequence),
            ("tables of an unknown kind", TableType::Other),
        ] {
            let names = listed.iter().filter(|info| info.table_type == kind);
            notes.extend(left_out_note(what, names.map(|info| info.name.to_string())));
        }
        let mut has_programs = false;
        for (what, is_wanted, sql) in [
            (
                "triggers",
                self.wanted.triggers,
                // The condition keeps the server from opening its own tables.
                "SELECT TRIGGER_SCHEMA, TRIGGER_NAME FROM information_schema.TRIGGERS \
                 WHERE EVENT_OBJECT_SCHEMA NOT IN ('mysql', 'information_schema', 'performance_schema', 'sys')",
            ),
            (
                "routines",
                self.wanted.routines,
                "SELECT ROUTINE_SCHEMA, ROUTINE_NAME FROM information_schema.ROUTINES",
            ),
            (
                "events",
                self.wanted.events,
                "SELECT EVENT_SCHEMA, EVENT_NAME FROM information_schema.EVENTS",
            ),
        ] {
            if is_wanted {
                continue;
            }
            let names = self.pairs(sql).await?;
            let names = names
                .into_iter()
                .filter(|n| self.selection.may_take_schema(&n.schema));
            let note = left_out_note(what, names.map(|n| n.to_string()));
            has_programs |= note.is_some();
            notes.extend(note);
        }
        if has_programs {
            notes.push(
                "these triggers, routines and events are not copied: while changes follow, they would do a \
                 second time what the source's rows have already; take them over at the cut-over, with \
                 `mysqldump --no-data --no-create-info --triggers --routines --events`, or have a copy \
                 without replication take them (`programs` in `[task.dump]`)"
                    .into(),
            );
        }
        Ok(notes)
    }

    /// A query for names of objects in databases that are not the server's own.
    async fn pairs(&mut self, sql: &str) -> Result<Vec<TableName>> {
        let names = self.session.names(sql).await?;
        Ok(names
            .into_iter()
            .filter(|name| !crate::route::is_system_schema(&name.schema))
            .collect())
    }
}

/// The second cell of the one row, which is where SHOW CREATE has the text.
fn second_cell(rows: Vec<Vec<Option<Vec<u8>>>>, sql: &str) -> Result<String> {
    rows.into_iter()
        .next()
        .and_then(|row| row.into_iter().nth(1).flatten())
        .and_then(|text| String::from_utf8(text).ok())
        .ok_or_else(|| {
            Error::new(
                ErrorKind::Unsupported,
                format!("`{sql}` gave no text in UTF-8"),
            )
        })
}

/// How many tables' texts are asked for in one packet.
const CREATES_AT_ONCE: usize = 200;

/// How many names a note lists.
const NAMES_SHOWN: usize = 5;

fn left_out_note(what: &str, names: impl Iterator<Item = String>) -> Option<String> {
    let names: Vec<String> = names.collect();
    if names.is_empty() {
        return None;
    }
    let shown: Vec<&str> = names.iter().take(NAMES_SHOWN).map(String::as_str).collect();
    let more = match names.len().saturating_sub(NAMES_SHOWN) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    Some(format!("left out: {what} {}{more}", shown.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lists_are_shortened() {
        let names = (1..=7).map(|n| format!("s.v{n}"));
        assert_eq!(
            left_out_note("views", names).unwrap(),
            "left out: views s.v1, s.v2, s.v3, s.v4, s.v5 and 2 more"
        );
        assert!(left_out_note("views", std::iter::empty()).is_none());
    }
}
