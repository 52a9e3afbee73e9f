//! What the configuration asks of each server, on which objects: the input of `privilege`.

use std::collections::{BTreeMap, BTreeSet};

use crate::config::{
    Config, Consistency, Mode, OnDuplicate, SourceConfig, TargetConfig, TaskConfig,
};
use crate::model::{Result, TableName};
use crate::privilege::{
    DumpMode, DumpNeeds, LeftOut, LoadNeeds, Object, SourceNeeds, SyncNeeds, TargetNeeds,
};
use crate::route::event_filter::FilterAction;
use crate::route::{EventFilter, EventKind};
use crate::schema::engine;
use crate::target::checkpoint;

use super::facts::{Brief, SourceFacts, TargetFacts, tasks_of_source};

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
    /// The databases as wholes, with the tables that matter in them.
    fn into_whole_schemas(self) -> Vec<Object> {
        let open = self.schemas.keys().cloned().collect();
        Self { open, ..self }.into_objects()
    }

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
        .filter(|task| task.makes_dump())
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
                .any(|table| !engine::keeps_snapshots(&table.engine))
        })
    });
    let mut modes: Vec<DumpMode> = Vec::new();
    for task in &dumps {
        let mode = dump_mode(task.dump.consistency);
        if !modes.contains(&mode) {
            modes.push(mode);
        }
    }
    SourceNeeds {
        has_relay: source.relay.is_enabled && !syncs.is_empty(),
        dump: (!dumps.is_empty()).then(|| DumpNeeds {
            objects: objects(&dumps),
            modes,
            needs_position: dumps.iter().any(|task| task.mode == Mode::All),
            has_gtids: facts.is_some_and(|facts| facts.server.info.has_gtids()),
            unversioned,
        }),
        sync: (!syncs.is_empty()).then(|| objects(&syncs)),
        has_views: facts
            .is_some_and(|facts| tasks_of_source(config, source).any(|task| facts.has_views(task))),
    }
}

fn dump_mode(consistency: Consistency) -> DumpMode {
    match consistency {
        Consistency::Auto => DumpMode::Auto,
        Consistency::Flush => DumpMode::Flush,
        Consistency::Snapshot => DumpMode::Snapshot,
        Consistency::Fuzzy => DumpMode::Fuzzy,
    }
}

/// What is done at a target. `target_facts` says what is there already.
pub(super) fn of_target(
    config: &Config,
    target: &TargetConfig,
    sources: &[Result<SourceFacts>],
    target_facts: Option<&TargetFacts>,
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
    let scope_of = |tasks: &[&TaskConfig]| {
        let mut scope = Scope::default();
        for task in tasks {
            for facts in facts_of_task(config, task, sources) {
                add_target(&mut scope, task, facts);
            }
        }
        scope
    };
    let any_table = |has: fn(&Brief) -> bool| {
        loads.iter().chain(&syncs).any(|task| {
            facts_of_task(config, task, sources)
                .into_iter()
                .flatten()
                .any(|facts| {
                    facts
                        .taken(task)
                        .any(|table| facts.brief(&table.name).is_some_and(has))
                })
        })
    };
    let is_there = |table: &TableName| {
        target_facts.is_some_and(|facts| {
            facts
                .tables
                .binary_search_by(|have| have.name.cmp(table))
                .is_ok()
        })
    };
    let load = (!loads.is_empty()).then(|| {
        let scope = scope_of(&loads);
        let wanted: Vec<&TableName> = scope.schemas.values().flatten().collect();
        LoadNeeds {
            has_all_tables: !wanted.is_empty() && wanted.into_iter().all(is_there),
            // A table may have to be created, so it is the databases that count.
            objects: scope.into_whole_schemas(),
            replaces_rows: loads.iter().any(|task| {
                task.load.on_duplicate == OnDuplicate::Replace
                    || task.dump.consistency == Consistency::Fuzzy
            }),
        }
    });
    let sync = (!syncs.is_empty()).then(|| SyncNeeds {
        objects: scope_of(&syncs).into_whole_schemas(),
        left_out: left_out(config, &syncs, sources),
    });
    let meta_schema = config.worker.meta_schema.clone();
    let has_meta_tables = checkpoint::table_names()
        .iter()
        .all(|name| is_there(&TableName::new(&meta_schema, *name)));
    TargetNeeds {
        has_meta_tables,
        meta_schema,
        load,
        sync,
        has_foreign_keys: any_table(|brief| !brief.parents.is_empty()),
        has_views: loads.iter().chain(&syncs).any(|task| {
            facts_of_task(config, task, sources)
                .into_iter()
                .flatten()
                .any(|facts| facts.has_views(task))
        }),
    }
}

/// What is known of each source of a task; `None` for one that did not answer.
fn facts_of_task<'a>(
    config: &Config,
    task: &TaskConfig,
    sources: &'a [Result<SourceFacts>],
) -> Vec<Option<&'a SourceFacts>> {
    config
        .sources
        .iter()
        .zip(sources)
        .filter(|(source, _)| task.sources.contains(&source.server.name))
        .map(|(_, facts)| facts.as_ref().ok())
        .collect()
}

/// Kinds of events that the tasks' filters leave out of every table that is known.
fn left_out(config: &Config, tasks: &[&TaskConfig], sources: &[Result<SourceFacts>]) -> LeftOut {
    let is_left_out = |kind: EventKind| {
        !tasks.is_empty()
            && tasks.iter().all(|task| {
                let mut has_tables = false;
                let all = facts_of_task(config, task, sources)
                    .into_iter()
                    .all(|facts| {
                        facts.is_some_and(|facts| {
                            facts.taken(task).all(|table| {
                                has_tables = true;
                                EventFilter::first_action(&task.filters, &table.name, kind, None)
                                    == Some(FilterAction::Ignore)
                            })
                        })
                    });
                all && has_tables
            })
    };
    LeftOut {
        inserts: is_left_out(EventKind::Insert),
        updates: is_left_out(EventKind::Update),
        deletes: is_left_out(EventKind::Delete),
        ddl: DDL_KINDS.iter().all(|kind| is_left_out(*kind)),
    }
}

/// DDL that would be passed on to the target.
const DDL_KINDS: [EventKind; 10] = [
    EventKind::CreateDatabase,
    EventKind::AlterDatabase,
    EventKind::DropDatabase,
    EventKind::CreateTable,
    EventKind::AlterTable,
    EventKind::DropTable,
    EventKind::TruncateTable,
    EventKind::RenameTable,
    EventKind::CreateIndex,
    EventKind::DropIndex,
];

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
