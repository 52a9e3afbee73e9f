//! What must be on the target before the first row: databases and tables.
//!
//! A table that is there is never emptied. It is used if it is like the source's, and empty or
//! filled by another stream of the same task (merged tables).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use crate::connect::Session;
use crate::dump_files::{DumpTable, Manifest, names};
use crate::model::{Error, ErrorKind, Result, ServerVersion, TableName, table::quote_name};
use crate::schema::dialect::adapt_create_table;
use crate::schema::{Ddl, SqlMode, Structure, engine, fit};
use crate::source::{TableType, list_tables, read_structures_of};
use crate::target::Claim;
use crate::target::checkpoint::Tables;
use crate::target::execute;
use crate::target::text::literal;

use super::{LoadJob, Meter};

/// `ER_TABLE_EXISTS_ERROR`.
const TABLE_EXISTS: u16 = 1050;

/// A further session is worth its opening for so many tables that are to be created.
const TABLES_A_SESSION: usize = 100;

/// Creates what is missing and looks at what is there; takes the tables for this stream. Gives the
/// names of the files of the tables that it created.
pub(super) async fn prepare(
    session: &mut Session,
    job: &LoadJob,
    manifest: &Manifest,
    claim: &Claim,
    meter: &Meter,
) -> Result<Vec<String>> {
    let pairs: Vec<(TableName, TableName)> = manifest
        .tables
        .keys()
        .map(|name| (name.clone(), job.task.routes.target(name)))
        .collect();
    claim.own(session, &pairs).await?;

    let mut by_target: BTreeMap<&TableName, Vec<&DumpTable>> = BTreeMap::new();
    for (source, target) in &pairs {
        by_target
            .entry(target)
            .or_default()
            .extend(manifest.tables.get(source));
    }
    refuse_views(session, &by_target).await?;
    let wanted: Vec<TableName> = by_target.keys().map(|&name| name.clone()).collect();
    let there: BTreeMap<TableName, Structure> = read_structures_of(session, &wanted)
        .await?
        .into_iter()
        .map(|structure| (structure.table.clone(), structure))
        .collect();
    let shared = shared_tables(session, job).await?;
    // Everything is looked at before anything is made.
    for (target, sources) in &by_target {
        if let Some(existing) = there.get(*target) {
            for table in sources {
                expect_alike(&table.structure, existing)?;
            }
            expect_engine(existing)?;
            if !shared.contains(*target) {
                expect_empty(session, target).await?;
            }
        } else if let Some((first, others)) = sources.split_first() {
            for other in others {
                expect_alike(&other.structure, &first.structure)?;
            }
        }
    }
    create_schemas(session, job, manifest, &pairs).await?;
    let missing = by_target
        .iter()
        .filter(|(target, _)| !there.contains_key(**target))
        .filter_map(|(_, sources)| Some((*sources.first()?, sources.len() == 1)));
    create_tables(session, job, manifest, missing.collect(), meter).await
}

/// Creates tables, several at a time where there are many: a server waits for its disk with each. Gives
/// the names of the files of those that are made of one source table alone.
async fn create_tables(
    session: &mut Session,
    job: &LoadJob,
    manifest: &Manifest,
    missing: Vec<(&DumpTable, bool)>,
    meter: &Meter,
) -> Result<Vec<String>> {
    let more = (missing.len() / TABLES_A_SESSION).min(job.task.load.threads.saturating_sub(1));
    let mut sessions = Vec::with_capacity(more);
    for _ in 0..more {
        sessions.push(execute::open(&job.target.server).await?);
    }
    let queue = Mutex::new(missing.into_iter());
    let made = sessions.iter_mut().chain([&mut *session]).map(|session| {
        let queue = &queue;
        Box::pin(async move {
            // A child may be created before its parent.
            session
                .execute(b"SET SESSION foreign_key_checks = 0")
                .await?;
            let mut created = Vec::new();
            loop {
                let next = queue.lock().unwrap_or_else(PoisonError::into_inner).next();
                let Some((table, is_alone)) = next else {
                    break;
                };
                if create_table(session, job, manifest, table, meter).await? && is_alone {
                    created.push(names::table_file(&table.structure.table));
                }
            }
            session
                .execute(b"SET SESSION foreign_key_checks = 1")
                .await?;
            Ok::<_, Error>(created)
        })
    });
    let made = futures_util::future::try_join_all(made).await?;
    for session in sessions {
        session.close().await;
    }
    Ok(made.into_iter().flatten().collect())
}

async fn create_schemas(
    session: &mut Session,
    job: &LoadJob,
    manifest: &Manifest,
    pairs: &[(TableName, TableName)],
) -> Result<()> {
    let have: BTreeSet<String> = session
        .rows("SELECT SCHEMA_NAME FROM information_schema.SCHEMATA")
        .await?
        .into_iter()
        .flatten()
        .flatten()
        .map(|name| String::from_utf8_lossy(&name).into_owned())
        .collect();
    let mut wanted: BTreeMap<&str, &str> = BTreeMap::new();
    for (source, target) in pairs {
        if !have.contains(&target.schema) {
            wanted.entry(&target.schema).or_insert(&source.schema);
        }
    }
    // Those without tables, for the tables to come; routes say nothing about a database alone.
    if job.task.routes.is_empty() {
        for schema in manifest.schemas.keys() {
            if !have.contains(schema) {
                wanted.entry(schema).or_insert(schema);
            }
        }
    }
    for (target, source) in wanted {
        // The tables have their character set in their own texts; the database's is for later ones.
        let charset = manifest
            .schemas
            .get(source)
            .and_then(|create| default_charset(create))
            .map(|charset| format!(" DEFAULT CHARACTER SET {charset}"))
            .unwrap_or_default();
        let statement = format!(
            "CREATE DATABASE IF NOT EXISTS {}{charset}",
            quote_name(target)
        );
        session
            .execute(statement.as_bytes())
            .await
            .map_err(|error| error.at(|c| c.statement = Some(statement.clone())))?;
    }
    Ok(())
}

/// The character set in the text of `SHOW CREATE DATABASE`.
fn default_charset(create: &str) -> Option<&str> {
    let rest = create.split_once("CHARACTER SET ")?.1;
    let end = rest
        .find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .unwrap_or(rest.len());
    rest.get(..end).filter(|name| !name.is_empty())
}

/// Creates a table; `false` if another stream was first.
async fn create_table(
    session: &mut Session,
    job: &LoadJob,
    manifest: &Manifest,
    table: &DumpTable,
    meter: &Meter,
) -> Result<bool> {
    let name = &table.structure.table;
    let target = job.task.routes.target(name);
    let at = |error: Error| {
        error.at(|c| {
            c.table = Some(name.clone());
            c.statement = Some(table.create.clone());
        })
    };
    let from = ServerVersion::parse(&manifest.header.server_version);
    let adapted =
        adapt_create_table(table.create.as_bytes(), &from, session.version()).map_err(at)?;
    for note in adapted.notes {
        meter.note(format!("{target}: {note}"));
    }
    let ddl = Ddl::read(
        &adapted.sql,
        &name.schema,
        SqlMode::default(),
        manifest.header.flavor,
    );
    let text = ddl
        .rewrite_qualified(|table| Some(job.task.routes.target(table)))
        .map_err(at)?;
    let Err(error) = session.execute(&text).await else {
        return Ok(true);
    };
    let number = error.server().map(|server| server.number);
    if number == Some(TABLE_EXISTS) {
        // Another stream of the task was first with a table that both go into.
        let there = read_structures_of(session, std::slice::from_ref(&target)).await?;
        if let Some(existing) = there.first() {
            expect_alike(&table.structure, existing)?;
            return expect_engine(existing).map(|()| false);
        }
    }
    let made = if number.is_some() && error.kind() == ErrorKind::Target {
        Error::new(
            ErrorKind::Structure,
            format!("the target does not create {target} as {name} is on the source"),
        )
        .with_source(std::io::Error::other(error.cause().unwrap_or_default()))
        .with_fix(format!(
            "create {} by hand in a form that the target takes, then resume",
            target.quoted()
        ))
    } else {
        error
    };
    Err(at(made))
}

async fn refuse_views(
    session: &mut Session,
    wanted: &BTreeMap<&TableName, Vec<&DumpTable>>,
) -> Result<()> {
    for info in list_tables(session).await? {
        if info.table_type != TableType::Base && wanted.contains_key(&info.name) {
            return Err(Error::new(
                ErrorKind::Structure,
                format!("{} on the target is no plain table", info.name),
            )
            .with_fix("rename or drop it, or route the source's table to another name")
            .at(|c| c.table = Some(info.name.clone())));
        }
    }
    Ok(())
}

/// The target tables that other streams of this task write too.
async fn shared_tables(session: &mut Session, job: &LoadJob) -> Result<BTreeSet<TableName>> {
    let names = session
        .names(&format!(
            "SELECT `target_schema`, `target_table` FROM {} WHERE `task` = {} AND `source` <> {}",
            Tables::new(&job.meta_schema).owner,
            literal(&job.task.name),
            literal(&job.source_name)
        ))
        .await?;
    Ok(names.into_iter().collect())
}

async fn expect_empty(session: &mut Session, table: &TableName) -> Result<()> {
    let rows = session
        .rows(&format!("SELECT 1 FROM {} LIMIT 1", table.quoted()))
        .await?;
    if rows.is_empty() {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Refused,
        format!(
            "{table} on the target has rows already, and a load does not mix its rows with others"
        ),
    )
    .with_fix(format!(
        "find out whose rows they are; then `TRUNCATE TABLE {}` or drop it, or route the source's \
         table to another name, and resume",
        table.quoted()
    ))
    .at(|c| c.table = Some(table.clone())))
}

/// Only what rolls back keeps rows and checkpoint together.
fn expect_engine(table: &Structure) -> Result<()> {
    if engine::rolls_back(&table.engine) {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Structure,
        format!(
            "{} on the target has the engine {}, which knows no transactions",
            table.table, table.engine
        ),
    )
    .with_fix(format!(
        "`ALTER TABLE {} ENGINE = InnoDB` on the target",
        table.table.quoted()
    ))
    .at(|c| c.table = Some(table.table.clone())))
}

/// Whether the existing table takes the source's rows: the same columns in the same order.
fn expect_alike(source: &Structure, existing: &Structure) -> Result<()> {
    let mut differences = fit::differences(source, existing);
    if differences.is_empty() {
        return Ok(());
    }
    let more = match differences.len() {
        0..=DIFFERENCES_SHOWN => String::new(),
        count => format!("; and {} more", count - DIFFERENCES_SHOWN),
    };
    differences.truncate(DIFFERENCES_SHOWN);
    Err(Error::new(
        ErrorKind::Structure,
        format!(
            "{} on the target is not like {} on the source (source | target): {}{more}",
            existing.table,
            source.table,
            differences.join("; ")
        ),
    )
    .with_fix(
        "drop the target's table, so that it is created like the source's, or alter it to be alike",
    )
    .at(|c| c.table = Some(source.table.clone())))
}

/// How many differing columns an error lists.
const DIFFERENCES_SHOWN: usize = 12;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_charset_of_a_database() {
        let text =
            "CREATE DATABASE `x` /*!40100 DEFAULT CHARACTER SET latin1 COLLATE latin1_bin */";
        assert_eq!(default_charset(text), Some("latin1"));
        assert_eq!(default_charset("CREATE DATABASE `x`"), None);
    }
}
