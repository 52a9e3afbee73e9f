//! Rows about what a task moves.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::config::{Config, Mode, ServerConfig, TaskConfig};
use crate::model::{Flavor, Result, TableName};
use crate::schema::engine;
use crate::source::{ServerInfo, TableInfo, TableType};

use super::facts::{SourceFacts, TargetFacts, is_table};
use super::rows::{Scope, one_line, some};
use super::{objects, relations, shape};

/// The task's tables on each of its sources, and what the target makes of them.
pub(super) fn task(
    rows: &mut Scope<'_>,
    config: &Config,
    task: &TaskConfig,
    sources: &[Result<SourceFacts>],
    targets: &[Result<TargetFacts>],
    shapes: &HashMap<shape::Key, shape::Shape>,
) {
    let target = config
        .targets
        .iter()
        .zip(targets)
        .find(|(target, _)| target.server.name == task.target)
        .and_then(|(_, facts)| facts.as_ref().ok());
    let of_task: Vec<(&str, &SourceFacts)> = config
        .sources
        .iter()
        .zip(sources)
        .filter(|(source, _)| task.sources.contains(&source.server.name))
        .filter_map(|(source, facts)| Some((source.server.name.as_str(), facts.as_ref().ok()?)))
        .collect();
    for (name, facts) in &of_task {
        rows.about(Some(name));
        selected(rows, task, name, facts);
        keys(rows, task, name, facts);
        engines(rows, task, name, facts);
        relations::foreign_keys(rows, task, name, facts);
        objects::left(rows, task, name, facts, target);
        if let Some(target) = target {
            let address = |server: Option<&ServerConfig>| server.map(|s| s.address.clone());
            let is_same_address = address(config.source(name).map(|s| &s.server))
                == address(config.target(&task.target).map(|t| &t.server));
            between(rows, task, name, facts, target, is_same_address);
            if let Some(shape) = shapes.get(&(task.name.clone(), (*name).to_owned())) {
                shape::judge(rows, task, name, target, shape);
            }
        }
    }
    rows.about(None);
    if let Some(target) = target {
        existing(rows, task, &of_task, target);
        objects::on_target(rows, task, &of_task, target);
    }
    relations::merged(rows, config, task, &of_task, shapes);
}

fn selected(rows: &mut Scope<'_>, task: &TaskConfig, name: &str, facts: &SourceFacts) {
    let why = "only what the account may see can be copied: a table without SELECT is not listed";
    let count = facts.taken(task).count();
    let missing: Vec<String> = task
        .selection
        .exact_tables()
        .into_iter()
        .filter(|table| !facts.taken(task).any(|found| found.name == *table))
        .map(
            |table| match facts.tables.iter().find(|found| found.name == table) {
                Some(found) => format!("{table} ({})", kind(found)),
                None => table.to_string(),
            },
        )
        .collect();
    if let Some(folder) = &task.load.from {
        rows.pass(
            "tables",
            format!("those of the dump in `{}`", folder.display()),
            why,
        );
    } else if !missing.is_empty() {
        rows.fail(
            "tables",
            format!(
                "not a table of `{name}`, or not to be seen: {}",
                some(&missing)
            ),
            why,
            "mend `task.tables`, or grant SELECT on it",
        );
    } else if count == 0 {
        rows.fail(
            "tables",
            format!("no table of `{name}` matches `task.tables`"),
            why,
            "mend `task.tables`, or grant SELECT on what it names",
        );
    } else {
        let bytes: u64 = facts.taken(task).map(|table| table.data_bytes).sum();
        rows.pass(
            "tables",
            format!("{count} of `{name}`, about {} MiB", bytes.div_ceil(1 << 20)),
            why,
        );
    }
    let left_out: Vec<String> = facts
        .tables
        .iter()
        .filter(|table| !is_table(table) && task.selection.takes(&table.name))
        // A copy makes the views behind the tables.
        .filter(|table| table.table_type != TableType::View || task.mode == Mode::Incremental)
        .map(|table| format!("{} ({})", table.name, kind(table)))
        .collect();
    if !left_out.is_empty() {
        rows.warn(
            "left-out",
            format!("{} of `{name}`: {}", left_out.len(), some(&left_out)),
            "these are matched by `task.tables`, but are not moved",
            "create them on the target by hand",
        );
    }
    let versioned: Vec<&TableName> = facts
        .taken(task)
        .filter(|table| table.table_type == TableType::Versioned)
        .map(|table| &table.name)
        .collect();
    if !versioned.is_empty() {
        rows.fail(
            "system-versioned",
            format!("{} of `{name}`: {}", versioned.len(), some(&versioned)),
            "rows of a table with a history are logged unlike a plain table's",
            "leave them out of `task.tables`",
        );
    }
}

fn kind(table: &TableInfo) -> &'static str {
    match table.table_type {
        TableType::Base => "a table",
        TableType::Versioned => "a system-versioned table",
        TableType::View => "a view",
        TableType::Sequence => "a sequence",
        TableType::Other => "no plain table",
    }
}

fn keys(rows: &mut Scope<'_>, task: &TaskConfig, name: &str, facts: &SourceFacts) {
    let why = "without a primary or a NOT NULL unique key a table is dumped by one reader, and a changed \
               row is found by comparing all its columns";
    if let Err(error) = &facts.structures {
        rows.warn(
            "structures",
            format!("of `{name}`: {}", one_line(error)),
            "keys and foreign keys could not be looked at",
            error.fix().unwrap_or("check again"),
        );
        return;
    }
    let without: Vec<&TableName> = facts
        .taken(task)
        .map(|table| &table.name)
        .filter(|table| facts.brief(table).is_some_and(|brief| !brief.has_row_key))
        .collect();
    if without.is_empty() {
        rows.pass("keys", format!("every table of `{name}` has one"), why);
    } else {
        rows.warn(
            "keys",
            format!("{} of `{name}` without: {}", without.len(), some(&without)),
            why,
            without.first().map_or_else(String::new, |table| {
                format!(
                    "ALTER TABLE {} ADD COLUMN id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY;",
                    table.quoted()
                )
            }),
        );
    }
}

fn engines(rows: &mut Scope<'_>, task: &TaskConfig, name: &str, facts: &SourceFacts) {
    let plain: Vec<&TableName> = facts
        .taken(task)
        .filter(|table| !engine::keeps_snapshots(&table.engine))
        .map(|table| &table.name)
        .collect();
    if !plain.is_empty() && task.mode != Mode::Incremental {
        rows.warn(
            "engines",
            format!(
                "{} of `{name}` in an engine without transactions: {}",
                plain.len(),
                some(&plain)
            ),
            "such tables are read under the global read lock, for which writers wait",
            plain.first().map_or_else(String::new, |table| {
                format!("ALTER TABLE {} ENGINE = InnoDB;", table.quoted())
            }),
        );
    }
}

/// Settings that must go together.
fn between(
    rows: &mut Scope<'_>,
    task: &TaskConfig,
    name: &str,
    source: &SourceFacts,
    target: &TargetFacts,
    is_same_address: bool,
) {
    let (from, to) = (&source.server.info, &target.server.info);
    let why = "a row that the source took must fit into one packet to the target";
    if to.max_allowed_packet < from.max_allowed_packet {
        rows.warn(
            "max-allowed-packet",
            format!(
                "{} MiB on `{name}`, {} MiB on `{}`",
                from.max_allowed_packet >> 20,
                to.max_allowed_packet >> 20,
                task.target
            ),
            why,
            format!(
                "SET GLOBAL max_allowed_packet = {}; -- on `{}`",
                from.max_allowed_packet, task.target
            ),
        );
    } else {
        rows.pass(
            "max-allowed-packet",
            format!("{} MiB on `{}`", to.max_allowed_packet >> 20, task.target),
            why,
        );
    }
    zones(rows, task, name, from, to);
    modes(rows, task, name, from, to);
    name_case(rows, task, name, source, target);
    circle(rows, task, source, target, is_same_address);
}

/// What is moved keeps its moment whatever the zones are; what applications write after cut-over may not.
fn zones(rows: &mut Scope<'_>, task: &TaskConfig, name: &str, from: &ServerInfo, to: &ServerInfo) {
    let zone = |info: &ServerInfo| {
        let of = |name: &str| info.settings.get(name).cloned().unwrap_or_default();
        match of("time_zone") {
            zone if zone == "SYSTEM" => of("system_time_zone"),
            zone => zone,
        }
    };
    let (theirs, ours) = (zone(from), zone(to));
    let why = "moments are moved as they are; but after cut-over `NOW()` and `CURRENT_TIMESTAMP` give a \
               DATETIME column the local time of the new server";
    let is_utc = |zone: &str| matches!(zone, "UTC" | "+00:00" | "GMT");
    if theirs == ours || (is_utc(&theirs) && is_utc(&ours)) {
        rows.pass("time-zone", theirs, why);
    } else {
        rows.warn(
            "time-zone",
            format!("{theirs} on `{name}`, {ours} on `{}`", task.target),
            why,
            "give both servers the same `default_time_zone` before cut-over",
        );
    }
}

/// Modes that change what a statement means or what a column takes.
const TELLING_MODES: [&str; 8] = [
    "ANSI_QUOTES",
    "PIPES_AS_CONCAT",
    "NO_BACKSLASH_ESCAPES",
    "IGNORE_SPACE",
    "REAL_AS_FLOAT",
    "PAD_CHAR_TO_FULL_LENGTH",
    "STRICT_TRANS_TABLES",
    "STRICT_ALL_TABLES",
];

/// Our own sessions set their mode; those of the applications have the server's after cut-over.
fn modes(rows: &mut Scope<'_>, task: &TaskConfig, name: &str, from: &ServerInfo, to: &ServerInfo) {
    let of = |info: &ServerInfo| -> BTreeSet<String> {
        let text = info.settings.get("sql_mode").cloned().unwrap_or_default();
        text.split(',')
            .filter(|mode| TELLING_MODES.contains(mode))
            .map(str::to_owned)
            .collect()
    };
    let (theirs, ours) = (of(from), of(to));
    let why = "what is moved does not depend on it; but after cut-over the applications' statements are read \
               by the new server's";
    let differing: Vec<&String> = theirs.symmetric_difference(&ours).collect();
    if differing.is_empty() {
        rows.pass(
            "sql-mode",
            "the same in what changes a statement's meaning",
            why,
        );
    } else {
        rows.warn(
            "sql-mode",
            format!(
                "on one of `{name}` and `{}` alone: {}",
                task.target,
                some(differing)
            ),
            why,
            "give both servers the same `sql_mode` before cut-over",
        );
    }
}

/// One server as source and target is fine while every table goes to another name; a table written onto
/// itself would be replicated in a circle. MariaDB has no id of its own to tell one server by.
fn circle(
    rows: &mut Scope<'_>,
    task: &TaskConfig,
    source: &SourceFacts,
    target: &TargetFacts,
    is_same_address: bool,
) {
    let (from, to) = (&source.server.info, &target.server.info);
    let is_same_identity = from.flavor() == Flavor::MySQL
        && to.flavor() == Flavor::MySQL
        && from.identity == to.identity
        && !from.identity.is_empty();
    let onto_itself: Vec<&TableName> = source
        .taken(task)
        .map(|table| &table.name)
        .filter(|table| task.routes.target(table) == **table)
        .collect();
    if (is_same_address || is_same_identity) && !onto_itself.is_empty() {
        rows.fail(
            "circle",
            format!(
                "source and target are one server, and go to themselves: {}",
                some(&onto_itself)
            ),
            "what is written to the target would be replicated to it again",
            "add a `[[task.route]]` that gives every table another name",
        );
    }
}

fn name_case(
    rows: &mut Scope<'_>,
    task: &TaskConfig,
    name: &str,
    source: &SourceFacts,
    target: &TargetFacts,
) {
    let (from, to) = (
        source.server.info.lower_case_table_names,
        target.server.info.lower_case_table_names,
    );
    if from == 2 {
        rows.warn(
            "name-case",
            format!("`lower_case_table_names` is 2 on `{name}`: it keeps names as they were written, and compares them without case"),
            "the same table may stand in the binlog under another case than in the catalogue",
            "write names in one case on the source, and compare the tables before the cut-over",
        );
    }
    if from == 1 {
        let upper: Vec<&str> = task
            .selection
            .rules()
            .filter_map(|(pattern, _)| pattern.exact_schema().map(|_| pattern.as_str()))
            .filter(|pattern| pattern.chars().any(char::is_uppercase))
            .collect();
        if !upper.is_empty() {
            rows.warn(
                "name-case",
                format!(
                    "`{name}` keeps names in lower case, and a pattern does not: {}",
                    some(&upper)
                ),
                "names compare letter by letter",
                "write the patterns of `task.tables` in lower case",
            );
        }
    }
    if from != to && from == 0 {
        let mut folded: BTreeMap<String, Vec<TableName>> = BTreeMap::new();
        for table in source.taken(task) {
            let routed = task.routes.target(&table.name);
            folded
                .entry(routed.to_string().to_lowercase())
                .or_default()
                .push(routed);
        }
        let clashes: Vec<String> = folded
            .into_values()
            .filter_map(|mut names| {
                names.sort();
                names.dedup();
                (names.len() > 1).then(|| some(&names))
            })
            .collect();
        rows.fail_if(
            !clashes.is_empty(),
            "name-case",
            if clashes.is_empty() {
                format!(
                    "`lower_case_table_names` is {from} on `{name}` and {to} on `{}`",
                    task.target
                )
            } else {
                format!(
                    "names that differ by case alone are one on `{}`: {}",
                    task.target,
                    some(&clashes)
                )
            },
            "the target does not tell names apart by case",
            "route such tables to names of their own",
        );
    }
}

/// Tables that are on the target already.
fn existing(
    rows: &mut Scope<'_>,
    task: &TaskConfig,
    sources: &[(&str, &SourceFacts)],
    target: &TargetFacts,
) {
    let mut wanted: Vec<TableName> = sources
        .iter()
        .flat_map(|(_, facts)| facts.taken(task))
        .map(|table| task.routes.target(&table.name))
        .collect();
    wanted.sort();
    wanted.dedup();
    let there: Vec<&TableInfo> = target
        .tables
        .iter()
        .filter(|table| wanted.binary_search(&table.name).is_ok())
        .collect();
    let plain: Vec<&TableName> = there
        .iter()
        .filter(|table| is_table(table) && !engine::rolls_back(&table.engine))
        .filter(|_| target.server.info.flavor() != Flavor::TiDB)
        .map(|table| &table.name)
        .collect();
    if !plain.is_empty() {
        rows.fail(
            "target-engine",
            format!(
                "{} without transactions on `{}`: {}",
                plain.len(),
                task.target,
                some(&plain)
            ),
            "rows and their checkpoint must commit together",
            plain.first().map_or_else(String::new, |table| {
                format!("ALTER TABLE {} ENGINE = InnoDB;", table.quoted())
            }),
        );
    }
    let odd: Vec<&TableName> = there
        .iter()
        .filter(|table| !is_table(table))
        .map(|table| &table.name)
        .collect();
    if !odd.is_empty() {
        rows.fail(
            "target-tables",
            format!(
                "under a table's name `{}` has something else: {}",
                task.target,
                some(&odd)
            ),
            "rows cannot be written there",
            "drop or rename it on the target, or route the table to another name",
        );
    }
}
