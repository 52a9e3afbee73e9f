//! Keys that are built behind the rows.
//!
//! A row that comes in finds its place in every key of its table; keys built at the end come from a
//! sort instead, at a fraction of the target's work. So the plain keys of big tables that the load has
//! created itself are taken off again while these are empty, and put back once all rows are in. What
//! decides about rows stays where it is: primary and unique keys, and keys that foreign keys stand on.
//!
//! Nothing has to be remembered for it. At its end every load compares the tables it has created with
//! the statements they were created by, and adds the keys that are missing: also one that goes on
//! after a kill, and also those that a killed load had begun to add.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::task::JoinSet;

use crate::connect::Session;
use crate::dump_files::{DumpTable, Manifest, names};
use crate::model::{Error, ErrorKind, Flavor, Result, ServerVersion, TableName};
use crate::schema::Structure;
use crate::schema::dialect::adapt_create_table;
use crate::source::read_structures_of;
use crate::target::Claim;
use crate::target::execute;

use super::{LoadJob, Meter};

/// Tables below this size keep their keys: two statements for each would cost more than they save.
pub(super) const WORTH_IT: u64 = 16 << 20;

/// `ER_DUP_KEYNAME`.
const KEY_EXISTS: u16 = 1061;

/// A key as the table's statement defines it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct PlainKey {
    name: String,
    /// `KEY name (columns) …`.
    definition: String,
}

/// A table of the target whose plain keys may be missing for a time.
#[derive(Debug)]
struct Table {
    source: TableName,
    target: TableName,
    keys: Vec<PlainKey>,
    bytes: u64,
}

/// Takes the plain keys of the big ones of the empty tables off that this load has `created`.
pub(super) async fn take_off(
    session: &mut Session,
    job: &LoadJob,
    manifest: &Manifest,
    created: &BTreeSet<String>,
    bytes_of: impl Fn(&TableName) -> u64,
    claim: &Claim,
    meter: &Meter,
) -> Result<()> {
    // TiDB fills a key row by row, whenever it is made.
    if session.version().flavor == Flavor::TiDB {
        return Ok(());
    }
    let tables = candidates(job, manifest, created, session.version(), bytes_of)?;
    let mut count = 0;
    for table in tables.iter().filter(|table| table.bytes >= WORTH_IT) {
        let drops: Vec<String> = table
            .keys
            .iter()
            .map(|key| format!("DROP KEY {}", crate::model::table::quote_name(&key.name)))
            .collect();
        let statement = format!("ALTER TABLE {} {}", table.target.quoted(), drops.join(", "));
        match claim.run_fenced(session, &statement, true).await {
            Ok(()) => count += 1,
            // A load needs no right to alter; what it cannot spare the target it does not.
            Err(error) if error.kind() == ErrorKind::Privilege => {
                meter.note(
                    "the account may not alter tables, so every row goes into all keys at once: \
                     with ALTER on the target, the keys of big tables are built behind their rows",
                );
                return Ok(());
            }
            Err(error) if error.kind() == ErrorKind::Target => {
                tracing::debug!(%error, table = %table.target, "the table keeps its keys");
            }
            Err(error) => return Err(error.at(|c| c.table = Some(table.source.clone()))),
        }
    }
    if count > 0 {
        meter.note(format!(
            "the plain keys of {count} big tables are built behind their rows"
        ));
    }
    Ok(())
}

/// Puts the keys back that the tables do not have: `threads` tables at a time, the biggest first.
pub(super) async fn put_back(
    session: &mut Session,
    job: &LoadJob,
    manifest: &Manifest,
    created: &BTreeSet<String>,
    claim: &Claim,
    meter: &Arc<Meter>,
    threads: usize,
) -> Result<()> {
    let bytes_of = |table: &TableName| manifest.tables.get(table).map_or(0, DumpTable::bytes);
    let mut tables = candidates(job, manifest, created, session.version(), bytes_of)?;
    leave_missing(session, &mut tables).await?;
    if tables.is_empty() {
        return Ok(());
    }
    // Taken from the end.
    tables.sort_by_key(|table| table.bytes);
    let count = tables.len();
    meter.note(format!("the keys of {count} tables are being built"));
    let queue = Arc::new(Mutex::new(tables));
    let mut builders: JoinSet<Result<()>> = JoinSet::new();
    for _ in 0..threads.min(count) {
        let (queue, claim, server) = (Arc::clone(&queue), claim.clone(), job.target.server.clone());
        let mut session = execute::open(&server).await?;
        builders.spawn(async move {
            loop {
                let next = queue.lock().unwrap_or_else(PoisonError::into_inner).pop();
                let Some(table) = next else {
                    session.close().await;
                    return Ok(());
                };
                let source = table.source.clone();
                build(&mut session, &claim, table)
                    .await
                    .map_err(|error| error.at(|c| c.table = Some(source)))?;
            }
        });
    }
    while let Some(ended) = builders.join_next().await {
        ended.map_err(|error| {
            Error::new(ErrorKind::Panicked, "a builder of keys ended").with_source(error)
        })??;
    }
    Ok(())
}

/// Adds a table's keys in one statement, which reads the table once.
async fn build(session: &mut Session, claim: &Claim, table: Table) -> Result<()> {
    let mut tables = vec![table];
    loop {
        let Some(table) = tables.first() else {
            return Ok(());
        };
        let adds: Vec<String> = table
            .keys
            .iter()
            .map(|key| format!("ADD {}", key.definition))
            .collect();
        let statement = format!("ALTER TABLE {} {}", table.target.quoted(), adds.join(", "));
        match claim.run_fenced(session, &statement, true).await {
            Ok(()) => return Ok(()),
            // What a killed load had begun went on in the server, and was waited for.
            Err(error) if error.server().is_some_and(|e| e.number == KEY_EXISTS) => {
                leave_missing(session, &mut tables).await?;
            }
            Err(error) => {
                let is_theirs = error.kind() == ErrorKind::Target;
                let target = &table.target;
                return Err(if is_theirs {
                    error.with_fix(format!(
                        "all rows of {target} are in, but its keys could not be built: see that \
                         the target has room for sorting them (`innodb_tmpdir`, else `tmpdir`), then \
                         resume"
                    ))
                } else {
                    error
                });
            }
        }
    }
}

/// Leaves those tables that lack keys, with the keys that they lack.
async fn leave_missing(session: &mut Session, tables: &mut Vec<Table>) -> Result<()> {
    let targets: Vec<TableName> = tables.iter().map(|table| table.target.clone()).collect();
    let there: BTreeMap<TableName, Structure> = read_structures_of(session, &targets)
        .await?
        .into_iter()
        .map(|structure| (structure.table.clone(), structure))
        .collect();
    tables.retain_mut(|table| {
        // A table that was dropped by hand is missed elsewhere.
        let Some(there) = there.get(&table.target) else {
            return false;
        };
        let has = |name: &str| there.keys.iter().any(|key| same_name(&key.name, name));
        table.keys.retain(|key| !has(&key.name));
        !table.keys.is_empty()
    });
    Ok(())
}

fn same_name(a: &str, b: &str) -> bool {
    a.to_lowercase() == b.to_lowercase()
}

/// The tables that this load has created, with the keys that rows can do without.
fn candidates(
    job: &LoadJob,
    manifest: &Manifest,
    created: &BTreeSet<String>,
    target: &ServerVersion,
    bytes_of: impl Fn(&TableName) -> u64,
) -> Result<Vec<Table>> {
    let from = ServerVersion::parse(&manifest.header.server_version);
    let parents: BTreeSet<TableName> = manifest
        .tables
        .values()
        .flat_map(|table| &table.structure.foreign_keys)
        .map(|key| key.parent.clone())
        .collect();
    let mut tables = Vec::new();
    for (name, table) in &manifest.tables {
        let stands_on_keys = !table.structure.foreign_keys.is_empty() || parents.contains(name);
        if stands_on_keys || !created.contains(&names::table_file(name)) {
            continue;
        }
        let adapted = adapt_create_table(table.create.as_bytes(), &from, target)?;
        let keys = plain_keys(&String::from_utf8_lossy(&adapted.sql), &table.structure);
        if !keys.is_empty() {
            tables.push(Table {
                source: name.clone(),
                target: job.task.routes.target(name),
                keys,
                bytes: bytes_of(name),
            });
        }
    }
    Ok(tables)
}

/// The keys that have a line of their own in the text of SHOW CREATE TABLE and that nothing else needs.
fn plain_keys(create: &str, structure: &Structure) -> Vec<PlainKey> {
    let mut keys: Vec<PlainKey> = Vec::new();
    for line in create.lines() {
        let line = line.trim();
        let line = line.strip_suffix(',').unwrap_or(line);
        let Some(rest) = line.strip_prefix("KEY ") else {
            continue;
        };
        let Some((name, rest)) = quoted_name(rest) else {
            continue;
        };
        if rest.trim_start().starts_with('(') && is_whole(line) {
            keys.push(PlainKey {
                name,
                definition: line.to_owned(),
            });
        }
    }
    // A counter must lead a key at all times, whichever it is.
    let leads_with_counter = |name: &str| {
        let key = structure.keys.iter().find(|key| same_name(&key.name, name));
        key.is_none_or(|key| {
            let first = key.parts.first().and_then(|part| part.column.as_deref());
            let column = first
                .and_then(|first| structure.column_index(first))
                .and_then(|index| structure.columns.get(index));
            column.is_some_and(|column| column.auto_increment)
        })
    };
    keys.retain(|key| !leads_with_counter(&key.name));
    keys
}

/// A quoted name at the front, and what is behind it.
fn quoted_name(text: &str) -> Option<(String, &str)> {
    let mut rest = text.strip_prefix('`')?;
    let mut name = String::new();
    loop {
        let (part, behind) = rest.split_once('`')?;
        name.push_str(part);
        match behind.strip_prefix('`') {
            Some(more) => {
                name.push('`');
                rest = more;
            }
            None => return Some((name, behind)),
        }
    }
}

/// Whether all quotes, brackets and comments that begin in the line end in it.
fn is_whole(line: &str) -> bool {
    let (mut quote, mut depth, mut escaped) = (None, 0_i32, false);
    for c in line.chars() {
        match quote {
            Some(open) => {
                if escaped {
                    escaped = false;
                } else if c == '\\' && open != '`' {
                    escaped = true;
                } else if c == open {
                    quote = None;
                }
            }
            None => match c {
                '\'' | '"' | '`' => quote = Some(c),
                '(' => depth += 1,
                ')' => depth -= 1,
                _ => {}
            },
        }
    }
    let comments = line.matches("/*").count() == line.matches("*/").count();
    quote.is_none() && depth == 0 && comments
}
