//! The source's tables at the reader's position: which are selected, how their rows are read.

use std::collections::HashMap;
use std::sync::Arc;

use super::cascade::{Cascade, Graph, Parent, graph};
use super::transaction::SourceTable;
use crate::binlog::table_map::ColumnType;
use crate::binlog::{Event, FormatDescription, QueryEvent, RowShape, TableMap};
use crate::config::TaskConfig;
use crate::model::{Error, ErrorKind, Flavor, Result, TableName};
use crate::route::{EventFilter, EventKind, FilterAction};
use crate::schema::charset::{charset_of, charset_of_number};
use crate::schema::tracker::StructureSet;
use crate::schema::{ClientCharset, Ddl, SqlMode, Structure};

/// Table maps repeat for each statement; this many different ones are kept in mind.
const MAPS: usize = 4096;

/// What a table of the source is to the task.
#[derive(Clone, Debug)]
pub(super) enum Resolved {
    /// Its rows are applied.
    Taken(Arc<SourceTable>),
    /// It is not taken, and its changes change rows of tables that are.
    Parent(Arc<Parent>),
    /// Nothing.
    Other,
}

/// The source's tables at the reader's position.
#[derive(Debug)]
pub(super) struct Tables {
    pub(super) task: Arc<TaskConfig>,
    flavor: Flavor,
    pub(super) tracker: StructureSet,
    /// By the table map's body, so that a map that was seen is not read again.
    maps: HashMap<Vec<u8>, (u64, Resolved)>,
    /// The foreign keys of the task's tables that change children; made when first needed.
    cascades: Option<Graph>,
}

impl Tables {
    /// The tables as they are at the mark.
    pub(super) fn new(task: Arc<TaskConfig>, flavor: Flavor, tracker: StructureSet) -> Self {
        Self {
            task,
            flavor,
            tracker,
            maps: HashMap::new(),
            cascades: None,
        }
    }

    /// The source's family.
    pub(super) fn flavor(&self) -> Flavor {
        self.flavor
    }

    /// Reads an event's statement, from its client's character set where that is not UTF-8.
    pub(super) fn read(&self, query: &QueryEvent<'_>) -> (Ddl, Option<ClientCharset>) {
        let raw = query.statement.as_ref();
        let schema = String::from_utf8_lossy(query.schema);
        let mode = SqlMode::from_bits(query.status.sql_mode.unwrap_or(0));
        let client = query.status.charset.filter(|_| !raw.is_ascii());
        let client = client.and_then(|charset| self.charset(charset.client));
        let decoded = client.and_then(|client| Some((client.decode(raw)?, client)));
        match decoded {
            Some((text, client)) => {
                let ddl = Ddl::read(text.as_bytes(), &schema, mode, self.flavor);
                (ddl, Some(client))
            }
            None => (Ddl::read(raw, &schema, mode, self.flavor), None),
        }
    }

    /// A client's character set, by the number of one of its collations.
    fn charset(&self, collation: u16) -> Option<ClientCharset> {
        let defaults = self.tracker.defaults();
        let name = match defaults.collations.get(&collation) {
            Some(name) => charset_of(name, &defaults.version)?,
            None => charset_of_number(collation)?.to_owned(),
        };
        ClientCharset::of(&name)
    }

    /// Whether the task takes the table.
    pub(super) fn takes(&self, table: &TableName) -> bool {
        self.task.selection.takes(table)
    }

    /// What a table is called on the target.
    pub(super) fn target(&self, table: &TableName) -> TableName {
        self.task.routes.target(table)
    }

    /// What the filters do with an event.
    pub(super) fn filter(
        &self,
        table: &TableName,
        kind: EventKind,
        sql: Option<&str>,
    ) -> Option<FilterAction> {
        EventFilter::first_action(&self.task.filters, table, kind, sql)
    }

    /// Something is known otherwise now.
    pub(super) fn forget(&mut self) {
        self.maps.clear();
        self.cascades = None;
    }

    /// Reads a TABLE_MAP event: its number, and what its table is to the task.
    pub(super) fn resolve(
        &mut self,
        event: &Event<'_>,
        format: &FormatDescription,
    ) -> Result<(u64, Resolved)> {
        if let Some((id, table)) = self.maps.get(event.body) {
            return Ok((*id, table.clone()));
        }
        let map = TableMap::parse(event, format)?;
        let id = map.table_id;
        let table = if self.takes(&map.table) && !self.is_sequence(&map) {
            let cascades = (!logs_cascades(format)).then(|| self.cascades_of(&map.table));
            Resolved::Taken(Arc::new(self.source_table(map, cascades)?))
        } else if logs_cascades(format) || self.takes(&map.table) {
            Resolved::Other
        } else {
            match self.cascades_of(&map.table) {
                cascades if cascades.is_empty() => Resolved::Other,
                cascades => Resolved::Parent(Arc::new(self.parent(&map, cascades))),
            }
        };
        if self.maps.len() >= MAPS {
            self.maps.clear();
        }
        self.maps.insert(event.body.to_vec(), (id, table.clone()));
        Ok((id, table))
    }

    /// Whether the rows are those of a MariaDB sequence: a name that no table has, with just the columns
    /// that every sequence has. Sequences are not moved, so these rows are passed over.
    fn is_sequence(&self, map: &TableMap) -> bool {
        let is_one = self.flavor == Flavor::MariaDB
            && !self.tracker.knows(&map.table)
            && looks_like_sequence(map);
        if is_one {
            tracing::warn!(
                sequence = %map.table,
                "a sequence is not moved; make it on the target and set its value with SETVAL before the cut-over"
            );
        }
        is_one
    }

    /// What changes of a table do to others of the task.
    pub(super) fn cascades_of(&mut self, table: &TableName) -> Vec<Cascade> {
        let Self {
            task,
            tracker,
            cascades,
            ..
        } = self;
        let graph = cascades.get_or_insert_with(|| {
            graph(tracker.children(), |child| {
                let is_taken = task.selection.takes(child);
                is_taken.then(|| task.routes.target(child))
            })
        });
        graph.get(table).cloned().unwrap_or_default()
    }

    /// A table beside the task's that changes theirs.
    fn parent(&self, map: &TableMap, cascades: Vec<Cascade>) -> Parent {
        let structure = self.tracker.get(&map.table);
        Parent {
            table: map.table.clone(),
            cascades,
            // One that does not fit says no more than none.
            shape: structure.and_then(|structure| {
                let shape = RowShape::new(map, &structure).ok()?;
                Some((structure, shape))
            }),
        }
    }

    fn source_table(&self, map: TableMap, cascades: Option<Vec<Cascade>>) -> Result<SourceTable> {
        let structure = self.structure(&map.table)?;
        let shape = RowShape::new(&map, &structure)?;
        let target = self.target(&map.table);
        let is_partial = !EventFilter::rows_left_out(&self.task.filters, &map.table).is_empty();
        Ok(SourceTable {
            map,
            structure,
            shape,
            target,
            cascades,
            is_partial,
        })
    }

    fn structure(&self, table: &TableName) -> Result<Arc<Structure>> {
        let Some(structure) = self.tracker.get(table) else {
            return Err(Error::new(
                ErrorKind::Structure,
                format!("the structure of {table} at this place of the binlog is not known"),
            )
            .with_fix("copy the table anew, or leave it out of the task")
            .at(|c| c.table = Some(table.clone())));
        };
        if structure.versioned {
            return Err(versioned(table));
        }
        Ok(structure)
    }
}

/// `next_not_cached_value`, `minimum_value`, `maximum_value`, `start_value`, `increment`, `cache_size`,
/// `cycle_option`, `cycle_count`: the columns of a sequence, none of which takes NULL.
/// Source: MariaDB's documentation of CREATE SEQUENCE.
fn looks_like_sequence(map: &TableMap) -> bool {
    const COLUMNS: [ColumnType; 8] = [
        ColumnType::LongLong,
        ColumnType::LongLong,
        ColumnType::LongLong,
        ColumnType::LongLong,
        ColumnType::LongLong,
        ColumnType::LongLong,
        ColumnType::Tiny,
        ColumnType::LongLong,
    ];
    map.columns.len() == COLUMNS.len()
        && map
            .columns
            .iter()
            .zip(COLUMNS)
            .all(|(column, kind)| column.kind == kind && !column.nullable)
        && (map.metadata.names.is_empty()
            || map
                .metadata
                .names
                .first()
                .is_some_and(|name| name.eq_ignore_ascii_case("next_not_cached_value")))
}

/// The row events of a system-versioned table have its history in them: they are no plain table's.
pub(super) fn versioned(table: &TableName) -> Error {
    Error::new(
        ErrorKind::Unsupported,
        format!("{table} is system-versioned: its history cannot be moved, and its row events are not those of a plain table"),
    )
    .with_fix(format!(
        "leave it out of the task's `tables` (`!{table}`); or drop its system versioning at the source, \
         and copy it anew"
    ))
    .at(|c| c.table = Some(table.clone()))
}

/// Whether the source logs what its foreign keys do to children: then it must not be done a second
/// time.
pub(super) fn logs_cascades(format: &FormatDescription) -> bool {
    format.flavor() == Flavor::MySQL && format.server_version.at_least(9, 6, 0)
}
