//! Triggers, events and routines: what is not moved, and what would act twice on the target.

use std::collections::BTreeMap;

use crate::config::TaskConfig;
use crate::connect::Session;
use crate::model::TableName;

use super::facts::{SourceFacts, TargetFacts};
use super::rows::{Scope, some};

/// The programs of a server, as far as the account may see them: each kind is listed only to accounts
/// that hold a privilege on it, and no error says otherwise.
#[derive(Debug, Default)]
pub(super) struct Objects {
    /// Tables with triggers, and how many each has.
    triggers: BTreeMap<TableName, usize>,
    /// Events, by database.
    events: BTreeMap<String, usize>,
    /// Functions and procedures, by database.
    routines: BTreeMap<String, usize>,
}

impl Objects {
    /// Looks. A server that has no such list has none of them.
    pub(super) async fn read(session: &mut Session) -> Self {
        let mut objects = Self {
            triggers: triggers(session).await,
            ..Self::default()
        };
        for (query, counts) in [
            (
                "SELECT EVENT_SCHEMA, EVENT_NAME FROM information_schema.EVENTS",
                &mut objects.events,
            ),
            (
                "SELECT ROUTINE_SCHEMA, ROUTINE_NAME FROM information_schema.ROUTINES",
                &mut objects.routines,
            ),
        ] {
            for name in session.names(query).await.into_iter().flatten() {
                *counts.entry(name.schema).or_default() += 1;
            }
        }
        objects
    }
}

/// The tables with triggers that the account may see, and how many each has.
pub(super) async fn triggers(session: &mut Session) -> BTreeMap<TableName, usize> {
    let of_tables = session
        .names("SELECT EVENT_OBJECT_SCHEMA, EVENT_OBJECT_TABLE FROM information_schema.TRIGGERS")
        .await;
    let mut triggers = BTreeMap::new();
    for table in of_tables.into_iter().flatten() {
        *triggers.entry(table).or_default() += 1;
    }
    triggers
}

/// What the task leaves behind at a source.
pub(super) fn left(rows: &mut Scope<'_>, task: &TaskConfig, name: &str, facts: &SourceFacts) {
    let objects = &facts.objects;
    let triggers: usize = objects
        .triggers
        .iter()
        .filter(|(table, _)| task.selection.takes(table))
        .map(|(_, count)| count)
        .sum();
    let mut schemas: Vec<&str> = facts
        .taken(task)
        .map(|table| table.name.schema.as_str())
        .collect();
    schemas.dedup();
    let of_schemas = |counts: &BTreeMap<String, usize>| -> usize {
        schemas
            .iter()
            .filter_map(|schema| counts.get(*schema))
            .sum()
    };
    let counted: Vec<String> = [
        (triggers, "triggers"),
        (of_schemas(&objects.events), "events"),
        (of_schemas(&objects.routines), "routines"),
    ]
    .into_iter()
    .filter(|(count, _)| *count > 0)
    .map(|(count, what)| format!("{count} {what}"))
    .collect();
    if !counted.is_empty() {
        rows.warn(
            "programs",
            format!("of `{name}`, as far as the account sees them: {}", counted.join(", ")),
            "triggers, events and routines are not moved: what triggers did at the source comes as rows",
            "create them on the target at cut-over, from `mysqldump --no-data --triggers --events --routines`",
        );
    }
}

/// Triggers on the target's tables.
pub(super) fn on_target(
    rows: &mut Scope<'_>,
    task: &TaskConfig,
    sources: &[(&str, &SourceFacts)],
    target: &TargetFacts,
) {
    let mut tables: Vec<TableName> = sources
        .iter()
        .flat_map(|(_, facts)| facts.taken(task))
        .map(|table| task.routes.target(&table.name))
        .filter(|table| target.triggers.contains_key(table))
        .collect();
    tables.sort();
    tables.dedup();
    let why =
        "what triggers did at the source comes as rows: a trigger on the target does it once more";
    if tables.is_empty() {
        rows.pass(
            "target-triggers",
            "none that the account sees; it sees those of tables on which it holds TRIGGER",
            why,
        );
    } else {
        rows.warn(
            "target-triggers",
            format!("{} on `{}`: {}", tables.len(), task.target, some(&tables)),
            why,
            tables.first().map_or_else(String::new, |table| {
                format!(
                    "SHOW TRIGGERS FROM {} LIKE '{}'; -- drop them until cut-over",
                    crate::model::table::quote_name(&table.schema),
                    table.name.replace('\'', "''")
                )
            }),
        );
    }
}
