//! Views, triggers, events and routines: what is copied, what is not moved, and what would act twice on
//! the target.

use std::collections::BTreeMap;

use crate::config::{Mode, TaskConfig};
use crate::connect::Session;
use crate::model::check::combined;
use crate::model::{TableName, Unit};
use crate::privilege::{self, Object, Requirement, Want};
use crate::source::TableType;

use super::facts::{ServerFacts, SourceFacts, TargetFacts};
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

/// What of the kinds that are no tables a task copies from a source, and what it leaves behind there.
pub(super) fn left(
    rows: &mut Scope<'_>,
    task: &TaskConfig,
    name: &str,
    facts: &SourceFacts,
    target: Option<&TargetFacts>,
) {
    views(rows, task, name, facts, target);
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
    let wanted = task.dump.programs;
    let copies = task.mode != Mode::Incremental;
    let (copied, left): (Vec<_>, Vec<_>) = [
        (triggers, "triggers", wanted.triggers, "TRIGGER"),
        (
            of_schemas(&objects.events),
            "events",
            wanted.events,
            "EVENT",
        ),
        (
            of_schemas(&objects.routines),
            "routines",
            wanted.routines,
            "CREATE ROUTINE",
        ),
    ]
    .into_iter()
    .filter(|(count, ..)| *count > 0)
    .partition(|(_, _, is_wanted, _)| *is_wanted && copies);
    let text = |list: &[(usize, &str, bool, &str)]| {
        let words = list
            .iter()
            .map(|(count, what, ..)| format!("{count} {what}"));
        words.collect::<Vec<_>>().join(", ")
    };
    if !left.is_empty() {
        rows.warn(
            "programs",
            format!("of `{name}`, as far as the account sees them: {}", text(&left)),
            "these triggers, events and routines are not moved: what triggers did at the source comes as rows",
            "create them on the target at cut-over, from `mysqldump --no-data --triggers --events --routines`",
        );
    }
    if copied.is_empty() {
        return;
    }
    let targets = target_schemas(task, schemas.iter().copied());
    let mut grants = Vec::new();
    for (.., privilege) in &copied {
        let server = target.map(|target| &target.server);
        grants.extend(lacking(server, Unit::Load, privilege, targets.iter()));
    }
    let found = format!("of `{name}` are copied: {}", text(&copied));
    let why = "a program that the account may not create is left out, and named";
    if grants.is_empty() {
        rows.pass("programs-copied", found, why);
    } else {
        rows.warn(
            "programs-copied",
            format!(
                "{found}; the account may not create them on `{}`",
                task.target
            ),
            why,
            combined(grants.iter().map(String::as_str)).join(" "),
        );
    }
}

/// The views of the selection, which a copy makes behind the rows.
fn views(
    rows: &mut Scope<'_>,
    task: &TaskConfig,
    name: &str,
    facts: &SourceFacts,
    target: Option<&TargetFacts>,
) {
    let views: Vec<&TableName> = facts
        .tables
        .iter()
        .filter(|table| table.table_type == TableType::View && task.selection.takes(&table.name))
        .map(|table| &table.name)
        .collect();
    if views.is_empty() || !task.makes_dump() {
        return;
    }
    let mut schemas: Vec<String> = views.iter().map(|view| view.schema.clone()).collect();
    schemas.dedup();
    let targets = target_schemas(task, schemas.iter().map(String::as_str));
    let at_source = lacking(Some(&facts.server), Unit::Dump, "SHOW VIEW", schemas.iter());
    let there = target.map(|target| &target.server);
    let at_target = lacking(there, Unit::Load, "CREATE VIEW", targets.iter());
    let why = "a view that the accounts may not read or create is left out of the copy, and named; its rows \
               are those of tables";
    let found = format!("{} of `{name}`: {}", views.len(), some(&views));
    if at_source.is_empty() && at_target.is_empty() {
        rows.pass("views", found, why);
        return;
    }
    let mut lacks = Vec::new();
    let mut mend = Vec::new();
    for (grants, privilege, server) in [
        (&at_source, "SHOW VIEW", name),
        (&at_target, "CREATE VIEW", task.target.as_str()),
    ] {
        if !grants.is_empty() {
            lacks.push(format!("{privilege} on `{server}`"));
            let grants = combined(grants.iter().map(String::as_str));
            mend.push(format!("{} -- on `{server}`", grants.join(" ")));
        }
    }
    rows.warn(
        "views",
        format!("{found}; missing to copy them: {}", lacks.join(", ")),
        why,
        mend.join("\n"),
    );
}

/// What databases are called on the target.
fn target_schemas<'a>(task: &TaskConfig, schemas: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut targets: Vec<String> = schemas
        .map(|schema| task.routes.target_schema(schema))
        .collect();
    targets.sort();
    targets.dedup();
    targets
}

/// The statements that give a privilege on databases where the account does not have it. None where the
/// grants are not known: that has a row of its own.
fn lacking<'a>(
    server: Option<&ServerFacts>,
    unit: Unit,
    privilege: &'static str,
    schemas: impl Iterator<Item = &'a String>,
) -> Vec<String> {
    let Some(Ok(account)) = server.map(|server| &server.account) else {
        return Vec::new();
    };
    schemas
        .filter_map(|schema| {
            let want = Want::on(privilege, Object::schema(schema));
            let cell = privilege::figure(&Requirement::beyond(unit, want, ""), account, "");
            cell.is_lacking().then_some(cell.grant)
        })
        .collect()
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
