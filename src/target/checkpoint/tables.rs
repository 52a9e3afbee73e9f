//! Our own tables on a target: what they look like, and making them.

use crate::connect::Session;
use crate::model::table::quote_name;
use crate::model::{Error, ErrorKind, Result};
use crate::target::text::literal;

/// `ER_DUP_FIELDNAME`.
const DUPLICATE_COLUMN: u16 = 1060;

/// The form of the rows that this program writes. Rows of an older form are taken up, those of a newer
/// one are refused by name. Since the second, the structures have the databases' defaults beside them.
pub const VERSION: u32 = 2;

/// The full, quoted names of our tables in one meta schema.
#[derive(Clone, Debug)]
pub struct Tables {
    /// The meta schema's name, unquoted.
    pub schema: String,
    /// Marks and epochs.
    pub checkpoint: String,
    /// Parts of dump files that are in.
    pub loaded: String,
    /// Who writes which table.
    pub owner: String,
    /// What the operator decided.
    pub decision: String,
    /// The sources' tables as they are at the mark.
    pub structure: String,
    /// Changes that were left out, on their way to the task's file.
    pub skipped: String,
}

impl Tables {
    /// The tables in `schema`.
    pub fn new(schema: &str) -> Self {
        let name = |table: &str| format!("{}.{}", quote_name(schema), quote_name(table));
        Self {
            schema: schema.to_owned(),
            checkpoint: name("checkpoint"),
            loaded: name("loaded"),
            owner: name("owner"),
            decision: name("decision"),
            structure: name("structure"),
            skipped: name("skipped"),
        }
    }
}

/// The columns by which a stream's rows are found, the same in each table that has them.
const STREAM: &str = "\
`task` VARCHAR(128) NOT NULL COMMENT 'task name in the configuration',
`source` VARCHAR(128) NOT NULL COMMENT 'source name in the configuration',
`server` VARCHAR(64) NOT NULL COMMENT 'the source server itself: its uuid, or server_id on MariaDB'";

fn definitions(tables: &Tables) -> [(&'static str, String); 6] {
    let form = "`version` INT UNSIGNED NOT NULL COMMENT 'form of this row'";
    let tail = "ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin";
    [
        (
            "checkpoint",
            format!(
                "CREATE TABLE IF NOT EXISTS {} (
{STREAM},
`slot` INT UNSIGNED NOT NULL COMMENT '0 has the mark; one for each writer',
{form},
`epoch` BIGINT UNSIGNED NOT NULL COMMENT 'raised by each start; an older one cannot write',
`revision` BIGINT UNSIGNED NOT NULL COMMENT 'raised by each write',
`phase` VARCHAR(16) NOT NULL COMMENT 'new, overlap, load, discard or sync',
`dump_id` VARCHAR(128) NULL COMMENT 'load: the dump being loaded',
`folder` VARCHAR(128) NULL COMMENT 'sync: relay folder of the mark',
`binlog_file` VARCHAR(512) NULL COMMENT 'sync: everything before this place is applied',
`binlog_offset` BIGINT UNSIGNED NULL COMMENT 'offset in binlog_file',
`gtid_set` LONGTEXT NULL COMMENT 'all transactions before the mark',
`prepared` LONGTEXT NULL COMMENT 'JSON: XA transactions before the mark that wait for XA COMMIT',
`spans` LONGTEXT NULL COMMENT 'JSON: tables loaded without a lock, and the end of their dump',
`part` TEXT NULL COMMENT 'JSON: how far the transaction behind the mark is, if it commits in parts',
`structures` BIGINT UNSIGNED NOT NULL COMMENT 'version of the structures at the mark',
`configuration` MEDIUMTEXT NOT NULL COMMENT 'tables, routes and filters of the stream',
`intent` MEDIUMTEXT NULL COMMENT 'the DDL statement under way, JSON',
`claimed_by` VARCHAR(255) NOT NULL COMMENT 'host and process of the epoch',
`updated_at` DATETIME(6) NOT NULL COMMENT 'UTC',
PRIMARY KEY (`task`, `source`, `server`, `slot`)
) {tail} COMMENT='tideway: what of each stream is in this target'",
                tables.checkpoint
            ),
        ),
        (
            "loaded",
            format!(
                "CREATE TABLE IF NOT EXISTS {} (
{STREAM},
`file` VARCHAR(255) NOT NULL COMMENT 'dump file',
`begin_offset` BIGINT UNSIGNED NOT NULL COMMENT 'start of the part of the file',
{form},
`end_offset` BIGINT UNSIGNED NOT NULL COMMENT 'end of the part of the file',
`row_count` BIGINT UNSIGNED NOT NULL COMMENT 'rows in the part',
PRIMARY KEY (`task`, `source`, `server`, `file`, `begin_offset`)
) {tail} COMMENT='tideway: parts of dump files that are in this target'",
                tables.loaded
            ),
        ),
        (
            "owner",
            format!(
                "CREATE TABLE IF NOT EXISTS {} (
`target_schema` VARCHAR(64) NOT NULL,
`target_table` VARCHAR(64) NOT NULL,
`server` VARCHAR(64) NOT NULL COMMENT 'the source server itself',
`source_schema` VARCHAR(64) NOT NULL,
`source_table` VARCHAR(64) NOT NULL,
{form},
`task` VARCHAR(128) NOT NULL COMMENT 'the only task that writes the one into the other',
`source` VARCHAR(128) NOT NULL COMMENT 'source name in the configuration',
PRIMARY KEY (`target_schema`, `target_table`, `server`, `source_schema`, `source_table`)
) {tail} COMMENT='tideway: who writes which table'",
                tables.owner
            ),
        ),
        (
            "decision",
            format!(
                "CREATE TABLE IF NOT EXISTS {} (
`id` VARCHAR(64) NOT NULL COMMENT 'the journal has the same id',
{form},
{STREAM},
`place` VARCHAR(1024) NOT NULL COMMENT 'the event it was made for',
`kind` VARCHAR(32) NOT NULL COMMENT 'skip, repair, reapply',
`detail` LONGTEXT NULL COMMENT 'JSON',
`made_at` DATETIME(6) NOT NULL COMMENT 'UTC',
PRIMARY KEY (`id`)
) {tail} COMMENT='tideway: decisions of the operator that took effect here'",
                tables.decision
            ),
        ),
        (
            "structure",
            format!(
                "CREATE TABLE IF NOT EXISTS {} (
{STREAM},
`schema_name` VARCHAR(64) NOT NULL,
`table_name` VARCHAR(64) NOT NULL COMMENT 'empty: the default character set of the database',
`structures` BIGINT UNSIGNED NOT NULL COMMENT 'holds from this version of the checkpoint on',
{form},
`definition` LONGTEXT NULL COMMENT 'JSON; NULL: the table is gone',
PRIMARY KEY (`task`, `source`, `server`, `schema_name`, `table_name`, `structures`)
) {tail} COMMENT='tideway: tables of the sources as they are at the mark'",
                tables.structure
            ),
        ),
        (
            "skipped",
            format!(
                "CREATE TABLE IF NOT EXISTS {} (
{STREAM},
`id` VARCHAR(64) NOT NULL COMMENT 'when it was left out, in microseconds, and its number',
`piece` INT UNSIGNED NOT NULL COMMENT 'a long record is in several pieces',
{form},
`record` LONGTEXT NOT NULL COMMENT 'JSON: the change, as in the file of the task',
PRIMARY KEY (`task`, `source`, `server`, `id`, `piece`)
) {tail} COMMENT='tideway: changes that were left out, until they are in the file of the task'",
                tables.skipped
            ),
        ),
    ]
}

/// The names of our own tables.
pub fn table_names() -> [&'static str; 6] {
    definitions(&Tables::new("")).map(|(name, _)| name)
}

/// Makes the meta schema and those of its tables that are missing. What is there stays as it is, so
/// that an account without CREATE can work with tables made for it.
pub async fn prepare(session: &mut Session, meta_schema: &str) -> Result<()> {
    let tables = Tables::new(meta_schema);
    let have = session
        .rows(&format!(
            "SELECT LOWER(TABLE_NAME) FROM information_schema.TABLES WHERE TABLE_SCHEMA = {}",
            literal(meta_schema)
        ))
        .await?;
    let has = |name: &str| {
        have.iter().any(|row| {
            row.first()
                .and_then(Option::as_deref)
                .is_some_and(|cell| cell == name.as_bytes())
        })
    };
    let missing: Vec<_> = definitions(&tables)
        .into_iter()
        .filter(|(name, _)| !has(name))
        .collect();
    if has("checkpoint") {
        add_columns(session, &tables).await?;
    }
    if missing.is_empty() {
        return Ok(());
    }
    let exists = session
        .rows(&format!(
            "SELECT 1 FROM information_schema.SCHEMATA WHERE SCHEMA_NAME = {}",
            literal(meta_schema)
        ))
        .await?;
    if exists.is_empty() {
        let create = format!("CREATE DATABASE IF NOT EXISTS {}", quote_name(meta_schema));
        // A refusal does not say what was wanted of the database.
        let done = session.execute(create.as_bytes()).await;
        done.map_err(|error| error.at(|c| c.statement = Some(create)))?;
    }
    for (name, create) in missing {
        session.execute(create.as_bytes()).await.map_err(|error| {
            error.at(|c| c.statement = Some(format!("CREATE TABLE {meta_schema}.{name} …")))
        })?;
    }
    Ok(())
}

/// Adds the columns that checkpoints of the first versions lack.
async fn add_columns(session: &mut Session, tables: &Tables) -> Result<()> {
    let found = session
        .rows(&format!(
            "SELECT LOWER(COLUMN_NAME) FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = {} \
             AND TABLE_NAME = 'checkpoint' AND COLUMN_NAME IN ('prepared', 'spans', 'part')",
            literal(&tables.schema)
        ))
        .await?;
    for (name, after, comment) in [
        (
            "prepared",
            "gtid_set",
            "JSON: XA transactions before the mark that wait for XA COMMIT",
        ),
        (
            "spans",
            "prepared",
            "JSON: tables loaded without a lock, and the end of their dump",
        ),
        (
            "part",
            "spans",
            "JSON: how far the transaction behind the mark is, if it commits in parts",
        ),
    ] {
        let has = found
            .iter()
            .any(|row| matches!(row.first(), Some(Some(cell)) if cell == name.as_bytes()));
        if has {
            continue;
        }
        let alter = format!(
            "ALTER TABLE {} ADD COLUMN `{name}` LONGTEXT NULL COMMENT '{comment}' AFTER `{after}`",
            tables.checkpoint
        );
        match session.execute(alter.as_bytes()).await {
            Ok(_) => {}
            // Another stream of this process was first.
            Err(error) if error.server().is_some_and(|e| e.number == DUPLICATE_COLUMN) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Refuses a row of a form that is newer than this program.
pub(super) fn check_version(tables: &Tables, what: &str, version: u64) -> Result<()> {
    if version <= u64::from(VERSION) {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Checkpoint,
        format!(
            "{what} in `{}` was written by a newer Tideway: form {version}, this one reads up to {VERSION}",
            tables.schema
        ),
    )
    .with_fix("run the newer version"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_table_has_a_version_and_a_comment() {
        for (name, create) in definitions(&Tables::new("meta`s")) {
            assert!(create.contains("`version` INT UNSIGNED"), "{name}");
            assert!(create.contains("COMMENT='tideway: "), "{name}");
            assert!(create.contains(&format!("`meta``s`.`{name}`")), "{name}");
        }
    }

    #[test]
    fn newer_forms_are_refused() {
        let tables = Tables::new("tideway");
        for older in 1..=VERSION {
            assert!(check_version(&tables, "a checkpoint", older.into()).is_ok());
        }
        let error = check_version(&tables, "a checkpoint", u64::from(VERSION) + 1).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Checkpoint);
    }
}
