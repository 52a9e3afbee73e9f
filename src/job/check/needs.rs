//! What the configuration asks of each server, on which objects: the input of `privilege`.

use std::collections::{BTreeMap, BTreeSet};

use crate::config::{Config, Consistency, Mode, SourceConfig, TargetConfig, TaskConfig};
use crate::model::{Result, TableName};
use crate::privilege::{DumpNeeds, Object, SourceNeeds, TargetNeeds};

use super::facts::{SourceFacts, tasks_of_source};

/// Single tables are named up to this many in a database; beyond, the database is.
const SINGLE_TABLES: usize = 8;

/// The schemas that matter, each with the tables that do.
#[derive(Debug, Default)]
struct Scope {
    schemas: BTreeMap<String, BTreeSet<TableName>>,
    /// Schemas of which tables are meant that are not there yet.
    open: BTreeSet<String>,
    /// A pattern for any schema, of which none was found.
    is_global: bool,
}

impl Scope {
    fn into_objects(self) -> Vec<Object> {
        if self.is_global && self.schemas.is_empty() {
            return vec![Object::Global];
        }
        let mut objects = Vec::new();
        for (name, tables) in self.schemas {
            if !self.open.contains(&name) && (1..=SINGLE_TABLES).contains(&tables.len()) {
                objects.extend(tables.into_iter().map(Object::Table));
            } else {
                objects.push(Object::Schema {
                    name,
                    tables: tables.into_iter().collect(),
                });
            }
        }
        objects
    }
}

/// What is done at a source.
pub(super) fn of_source(
    config: &Config,
    source: &SourceConfig,
    facts: Option<&SourceFacts>,
) -> SourceNeeds {
    let dumps: Vec<&TaskConfig> = tasks_of_source(config, source)
        .filter(|task| task.mode != Mode::Incremental)
        .collect();
    let syncs: Vec<&TaskConfig> = tasks_of_source(config, source)
        .filter(|task| task.mode != Mode::Full)
        .collect();
    let objects = |tasks: &[&TaskConfig]| {
        let mut scope = Scope::default();
        for task in tasks {
            add_source(&mut scope, task, facts);
        }
        scope.into_objects()
    };
    let unversioned = facts.is_some_and(|facts| {
        dumps.iter().any(|task| {
            facts
                .taken(task)
                .any(|table| !is_transactional(&table.engine))
        })
    });
    SourceNeeds {
        has_relay: source.relay.is_enabled,
        dump: (!dumps.is_empty()).then(|| DumpNeeds {
            objects: objects(&dumps),
            may_lock_all: dumps
                .iter()
                .any(|task| task.dump.consistency != Consistency::Snapshot),
            may_go_without: dumps
                .iter()
                .all(|task| task.dump.consistency != Consistency::Flush),
            unversioned,
        }),
        sync: (!syncs.is_empty()).then(|| objects(&syncs)),
    }
}

/// What is done at a target.
pub(super) fn of_target(
    config: &Config,
    target: &TargetConfig,
    sources: &[Result<SourceFacts>],
) -> TargetNeeds {
    let tasks = |is_meant: fn(Mode) -> bool| -> Vec<&TaskConfig> {
        config
            .tasks
            .iter()
            .filter(|task| task.target == target.server.name && is_meant(task.mode))
            .collect()
    };
    let loads = tasks(|mode| mode != Mode::Incremental);
    let syncs = tasks(|mode| mode != Mode::Full);
    let mut has_foreign_keys = false;
    let mut objects = |tasks: &[&TaskConfig]| {
        let mut scope = Scope::default();
        for task in tasks {
            for (source, facts) in config.sources.iter().zip(sources) {
                if task.sources.contains(&source.server.name) {
                    let facts = facts.as_ref().ok();
                    add_target(&mut scope, task, facts);
                    has_foreign_keys |= facts.is_some_and(|facts| {
                        facts.taken(task).any(|table| {
                            facts
                                .brief(&table.name)
                                .is_some_and(|brief| brief.has_foreign_keys)
                        })
                    });
                }
            }
        }
        // A table may have to be created, so it is the databases that count.
        let open = scope.schemas.keys().cloned().collect();
        Scope { open, ..scope }.into_objects()
    };
    let load = (!loads.is_empty()).then(|| objects(&loads));
    let sync = (!syncs.is_empty()).then(|| objects(&syncs));
    TargetNeeds {
        meta_schema: config.worker.meta_schema.clone(),
        load,
        sync,
        has_foreign_keys,
    }
}

/// Whether an engine keeps rows as of a moment.
pub(super) fn is_transactional(engine: &str) -> bool {
    ["InnoDB", "RocksDB", "TokuDB", "ndbcluster"]
        .iter()
        .any(|known| known.eq_ignore_ascii_case(engine))
}

fn add_source(scope: &mut Scope, task: &TaskConfig, facts: Option<&SourceFacts>) {
    for (pattern, _) in task.selection.rules().filter(|(_, takes)| *takes) {
        match (pattern.exact(), pattern.exact_schema()) {
            (Some(table), _) => {
                if task.selection.takes(&table) {
                    scope
                        .schemas
                        .entry(table.schema.clone())
                        .or_default()
                        .insert(table);
                }
            }
            (None, Some(schema)) => {
                scope.schemas.entry(schema.to_owned()).or_default();
                scope.open.insert(schema.to_owned());
            }
            (None, None) => scope.is_global = true,
        }
    }
    for table in facts.iter().flat_map(|facts| facts.taken(task)) {
        let schema = &table.name.schema;
        let is_new = !scope.schemas.contains_key(schema);
        scope
            .schemas
            .entry(schema.clone())
            .or_default()
            .insert(table.name.clone());
        if is_new {
            scope.open.insert(schema.clone());
        }
    }
}

fn add_target(scope: &mut Scope, task: &TaskConfig, facts: Option<&SourceFacts>) {
    let mut source = Scope::default();
    add_source(&mut source, task, facts);
    for (schema, tables) in source.schemas {
        let mut targets: BTreeSet<TableName> = BTreeSet::new();
        for table in &tables {
            targets.insert(task.routes.target(table));
        }
        if tables.is_empty() {
            scope
                .schemas
                .entry(task.routes.target_schema(&schema))
                .or_default();
        }
        for table in targets {
            scope
                .schemas
                .entry(table.schema.clone())
                .or_default()
                .insert(table);
        }
    }
    // Rules that name a schema name one that is written to, whatever is found.
    if source.is_global && scope.schemas.is_empty() {
        let routed: Vec<&str> = task
            .routes
            .iter()
            .filter_map(|route| route.schema())
            .collect();
        scope.is_global = routed.is_empty();
        for schema in routed {
            scope.schemas.entry(schema.to_owned()).or_default();
        }
    }
}
