//! Statements that must not run on the target as they are, although they could: those that would give
//! its rows other values than the source's have, and those that would touch rows of other sources.
//!
//! Each has a way on: once the target's tables have what the statement does, whoever saw to it, the
//! statement counts as run.

use super::applier::Applier;
use super::job::SyncJob;
use super::transaction::Statement;
use super::view;
use crate::model::{Error, ErrorKind, Result, TableName};
use crate::schema::cursor::Cursor;
use crate::schema::fit::is_there;
use crate::schema::{Ddl, DdlKind, Structure, TableRole};
use crate::target::text::literal;

/// Functions whose value is not the same for each row, or not the same on another server.
const VOLATILE: &[&str] = &[
    "uuid",
    "uuid_v4",
    "uuid_v7",
    "uuid_short",
    "sys_guid",
    "rand",
    "random_bytes",
    "sysdate",
    "connection_id",
    "last_insert_id",
    "nextval",
    "lastval",
    "user",
    "current_user",
    "session_user",
    "system_user",
    "current_role",
    "version",
    "database",
    "schema",
    "found_rows",
    "row_count",
    "get_lock",
    "benchmark",
    "load_file",
    "ps_current_thread_id",
    "pseudo_thread_id",
];

/// What is to become of a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gate {
    /// It runs.
    Open,
    /// The target has already what it does.
    There,
}

impl Applier {
    /// Whether a statement runs on the target; an error says why it must not.
    pub(super) async fn gate(&mut self, job: &SyncJob, statement: &Statement) -> Result<Gate> {
        let ddl = &statement.ddl;
        if moves_files(ddl) {
            return Err(pause(
                statement,
                "the table's rows come from files of the source's machine, not from its binlog",
                "leave the table out of the task's `tables`; or copy the rows by hand and leave \
                 the statement out by a filter",
            ));
        }
        if let Some(method) = self.places_otherwise(job, statement).await? {
            return Err(pause(
                statement,
                &format!(
                    "the target's table is partitioned by {method}, whose rows it may have in other \
                     partitions than the source: others than the source's would go"
                ),
                "skip the event, and take away or move the rows on the target by hand: by the key, those \
                 that the source's partition had",
            ));
        }
        if let Some(other) = self.shared_with(job, ddl).await? {
            if self.is_there(job, statement).await? {
                return Ok(self.was_there(statement, "another source's statement was first"));
            }
            if !is_additive(ddl) {
                let (table, target) = (&other.0, &other.1);
                return Err(pause(
                    statement,
                    &format!(
                        "{target} has rows of other tables than {table} too, whose structure this would change, or which it would take away"
                    ),
                    "if all of them are to change, bring the target's table to what this source's table is \
                     now, then resume: a statement whose columns and keys are there counts as run; \
                     else leave it out by a filter",
                ));
            }
            return Ok(Gate::Open);
        }
        if let Some(why) = self.guesses(job, statement).await? {
            if self.is_there(job, statement).await? {
                return Ok(self.was_there(statement, "it was run by hand"));
            }
            return Err(pause(
                statement,
                &why,
                "run it on the target by hand, copy the new column's values from the source by the \
                 table's key, then resume: the statement then counts as run",
            ));
        }
        Ok(Gate::Open)
    }

    /// Whether a refusal means that the target has it after all: a neighbour's statement was quicker, or
    /// it was run by hand, as MySQL refuses some of them also for an empty table.
    pub(super) async fn was_overtaken(
        &mut self,
        job: &SyncJob,
        statement: &Statement,
    ) -> Result<bool> {
        let may_be = guesses(&statement.ddl).is_some()
            || self.shared_with(job, &statement.ddl).await?.is_some();
        Ok(may_be && self.is_there(job, statement).await?)
    }

    fn was_there(&self, statement: &Statement, why: &str) -> Gate {
        let shown = view::shorten(&String::from_utf8_lossy(statement.ddl.statement()), 200);
        self.meter
            .note(format!("`{shown}` was there already: {why}"));
        Gate::There
    }

    /// The first of a statement's tables whose target table takes rows of others too.
    async fn shared_with(
        &mut self,
        job: &SyncJob,
        ddl: &Ddl,
    ) -> Result<Option<(TableName, TableName)>> {
        for table in ddl.changed_tables() {
            let target = job.task.routes.target(table);
            let is_shared = self
                .claim
                .is_shared(&mut self.session, &(table.clone(), target.clone()))
                .await?;
            if is_shared {
                return Ok(Some((table.clone(), target)));
            }
        }
        Ok(None)
    }

    /// By what the target's table is partitioned, if the statement takes away or moves the rows of a
    /// partition, and the two servers may not agree on which rows those are.
    async fn places_otherwise(
        &mut self,
        job: &SyncJob,
        statement: &Statement,
    ) -> Result<Option<String>> {
        let Some(table) = statement.ddl.changed_tables().next() else {
            return Ok(None);
        };
        if !moves_partitions(&statement.ddl) {
            return Ok(None);
        }
        let target = job.task.routes.target(table);
        let rows = self
            .session
            .rows(&format!(
                "SELECT DISTINCT PARTITION_METHOD, PARTITION_EXPRESSION, SUBPARTITION_METHOD, \
                 SUBPARTITION_EXPRESSION FROM information_schema.PARTITIONS WHERE TABLE_SCHEMA = {} AND \
                 TABLE_NAME = {} AND PARTITION_NAME IS NOT NULL",
                literal(&target.schema),
                literal(&target.name)
            ))
            .await?;
        let looks = self.look_at(std::slice::from_ref(&target)).await?;
        let there = looks.first().and_then(|(_, look)| look.as_ref());
        let here = statement
            .before
            .iter()
            .find(|before| before.table == *table);
        let (Some(there), Some(here)) = (there, here) else {
            return Ok(None);
        };
        let is_other_server = job.defaults.version.flavor != self.session.version().flavor;
        let found = rows.iter().flat_map(|row| row.chunks(2)).find_map(|pair| {
            let [method, expression] = pair else {
                return None;
            };
            let method = String::from_utf8_lossy(method.as_deref()?);
            let expression = expression.as_deref().unwrap_or_default();
            let columns = String::from_utf8_lossy(expression);
            places_otherwise(&method, &columns, is_other_server, here, there)
                .then(|| method.into_owned())
        });
        Ok(found)
    }

    /// Whether the target's tables have what the statement does.
    async fn is_there(&mut self, job: &SyncJob, statement: &Statement) -> Result<bool> {
        let made: Vec<_> = statement
            .changes
            .iter()
            .filter_map(|change| change.structure.as_ref())
            .collect();
        let is_one_table = matches!(
            statement.ddl.kind,
            DdlKind::CreateTable | DdlKind::AlterTable | DdlKind::CreateIndex | DdlKind::DropIndex
        );
        if made.is_empty() || made.len() != statement.changes.len() || !is_one_table {
            return Ok(false);
        }
        let targets: Vec<TableName> = made
            .iter()
            .map(|structure| job.task.routes.target(&structure.table))
            .collect();
        let looks = self.look_at(&targets).await?;
        Ok(made.iter().zip(&looks).all(|(after, (_, look))| {
            let before = statement
                .before
                .iter()
                .find(|before| before.table == after.table);
            look.as_ref()
                .is_some_and(|there| is_there(before.map(AsRef::as_ref), after, there))
        }))
    }

    /// Why the rows of the target would get other values than the source's, if they would.
    async fn guesses(&mut self, job: &SyncJob, statement: &Statement) -> Result<Option<String>> {
        let Some(why) = guesses(&statement.ddl) else {
            return Ok(None);
        };
        let Some(table) = statement.ddl.changed_tables().next() else {
            return Ok(None);
        };
        let target = job.task.routes.target(table).quoted();
        let rows = self
            .session
            .rows(&format!("SELECT 1 FROM {target} LIMIT 1"))
            .await?;
        // Nothing to guess at in an empty table.
        Ok((!rows.is_empty()).then_some(why))
    }
}

/// DISCARD and IMPORT TABLESPACE.
fn moves_files(ddl: &Ddl) -> bool {
    clauses(ddl).iter().any(|c| {
        c.is_any(&["discard", "import"]) && (c.is_at(1, "tablespace") || c.is_at(1, "partition"))
    })
}

/// Whether rows go, or go elsewhere, by the partition that they are in.
fn moves_partitions(ddl: &Ddl) -> bool {
    clauses(ddl).iter().any(|c| {
        c.is_any(&["truncate", "drop", "exchange", "convert"]) && c.is_at(1, "partition")
            || c.is("convert") && c.is_at(1, "table")
    })
}

/// Whether two servers may have a row in partitions of different names. KEY is a hash of each family's own,
/// of the values as their collation has them; lists and ranges of texts go by their collation.
fn places_otherwise(
    method: &str,
    expression: &str,
    is_other_server: bool,
    here: &Structure,
    there: &Structure,
) -> bool {
    let is_key = method.ends_with("KEY");
    if is_key && is_other_server {
        return true;
    }
    if !is_key && !method.ends_with("COLUMNS") {
        // Numbers.
        return false;
    }
    let expression = expression.to_lowercase();
    there.columns.iter().any(|column| {
        // KEY () means the primary key.
        let is_named = expression.is_empty() || expression.contains(&column.name.to_lowercase());
        let of_source = here
            .column_index(&column.name)
            .and_then(|index| here.columns.get(index));
        is_named && of_source.is_none_or(|of_source| of_source.collation != column.collation)
    })
}

fn clauses(ddl: &Ddl) -> Vec<Cursor<'_>> {
    if ddl.kind != DdlKind::AlterTable {
        return Vec::new();
    }
    let body = ddl.body();
    body.split_at_commas(body.at()..body.len())
        .into_iter()
        .map(|clause| body.within(clause))
        .collect()
}

/// Whether a statement gives existing rows values that only its own server knows.
fn guesses(ddl: &Ddl) -> Option<String> {
    let mut head = ddl.cursor();
    head.advance();
    if ddl.kind == DdlKind::AlterTable && (head.is("ignore") || head.is_at(1, "ignore")) {
        return Some(
            "`ALTER IGNORE` keeps one of several equal rows, and which one is not told".into(),
        );
    }
    for mut c in clauses(ddl) {
        let is_new = c.eat(&["add"]);
        if !is_new && !c.is_any(&["modify", "change"]) {
            continue;
        }
        let mut follows_default = false;
        while let Some(token) = c.peek() {
            if c.is("auto_increment") || c.is("serial") {
                return Some(
                    "it numbers the rows that are there, in an order that is not told".into(),
                );
            }
            follows_default |= c.is("default");
            let word = token
                .name(ddl.statement())
                .map(|name| name.to_ascii_lowercase())
                .unwrap_or_default();
            let is_call = VOLATILE.contains(&word.as_str())
                && (c.is_punctuation_at(1, b'(') || word.starts_with("current_"));
            let is_sequence = (c.is("next") || c.is("previous")) && c.is_at(1, "value");
            if is_new && follows_default && (is_call || is_sequence) {
                return Some(format!(
                    "`{}` gives each row a value of its own, which is not in the binlog",
                    if is_call { word.as_str() } else { "NEXT VALUE" }
                ));
            }
            c.advance();
        }
    }
    None
}

/// Whether a statement only adds to a table, so that it may run while other sources' tables lack it.
fn is_additive(ddl: &Ddl) -> bool {
    match ddl.kind {
        DdlKind::CreateTable | DdlKind::CreateIndex => !ddl.or_replace,
        DdlKind::AlterTable => {
            let is_alone = ddl
                .tables
                .iter()
                .all(|table| matches!(table.role, TableRole::Subject | TableRole::Parent));
            is_alone
                && clauses(ddl).iter().all(|c| {
                    (c.is("add") && !c.is_at(1, "partition") && !c.is_at(1, "system"))
                        || (c.is("alter") && !c.is_at(1, "check") && !c.is_at(1, "constraint"))
                        || c.is_any(&["algorithm", "lock", "comment"])
                })
        }
        _ => false,
    }
}

fn pause(statement: &Statement, why: &str, fix: &str) -> Error {
    Error::new(
        ErrorKind::Unsupported,
        format!(
            "this `{}` statement cannot run on the target as it is: {why}",
            statement.ddl.kind
        ),
    )
    .with_fix(fix)
    .at(|c| {
        c.table = statement.ddl.changed_tables().next().cloned();
        c.statement = Some(view::shorten(
            &String::from_utf8_lossy(statement.ddl.statement()),
            1000,
        ));
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Flavor;
    use crate::schema::SqlMode;

    fn read(sql: &str) -> Ddl {
        Ddl::read(sql.as_bytes(), "d", SqlMode::default(), Flavor::MariaDB)
    }

    #[test]
    fn values_that_only_one_server_knows() {
        for sql in [
            "ALTER TABLE t ADD COLUMN u CHAR(36) DEFAULT (UUID())",
            "ALTER TABLE t ADD u CHAR(36) DEFAULT uuid(), ADD b INT",
            "ALTER TABLE t ADD COLUMN (a INT, r DOUBLE DEFAULT (1 + RAND()))",
            "ALTER TABLE t ADD id INT AUTO_INCREMENT PRIMARY KEY",
            "ALTER TABLE t ADD id SERIAL FIRST",
            "ALTER TABLE t MODIFY id INT AUTO_INCREMENT",
            "ALTER TABLE t ADD n INT DEFAULT NEXT VALUE FOR s",
            "ALTER TABLE t ADD w VARCHAR(99) DEFAULT CURRENT_USER",
            "ALTER IGNORE TABLE t ADD UNIQUE (a)",
            "ALTER ONLINE IGNORE TABLE t ADD UNIQUE (a)",
        ] {
            assert!(guesses(&read(sql)).is_some(), "{sql}");
        }
        for sql in [
            "ALTER TABLE t ADD a DATETIME DEFAULT NOW(), ADD b TIMESTAMP DEFAULT CURRENT_TIMESTAMP",
            "ALTER TABLE t ADD user VARCHAR(9), ADD KEY (user(3)), ADD version INT DEFAULT 3",
            "ALTER TABLE t MODIFY u CHAR(36) DEFAULT (UUID())",
            "ALTER TABLE t ALTER u SET DEFAULT (UUID())",
            "ALTER TABLE t AUTO_INCREMENT = 5",
            "ALTER TABLE t ADD c VARCHAR(9) DEFAULT 'uuid()'",
            "CREATE TABLE t (u CHAR(36) DEFAULT (UUID()), id SERIAL)",
        ] {
            assert_eq!(guesses(&read(sql)), None, "{sql}");
        }
    }

    #[test]
    fn what_only_adds() {
        for (sql, expected) in [
            (
                "ALTER TABLE t ADD a INT, ADD KEY (a), ALGORITHM=INPLACE",
                true,
            ),
            (
                "ALTER TABLE t ALTER COLUMN a SET DEFAULT 3, COMMENT 'x'",
                true,
            ),
            ("CREATE INDEX i ON t (a)", true),
            ("CREATE TABLE t (a INT)", true),
            ("CREATE OR REPLACE TABLE t (a INT)", false),
            ("ALTER TABLE t ADD a INT, DROP b", false),
            ("ALTER TABLE t MODIFY a BIGINT", false),
            ("ALTER TABLE t RENAME COLUMN a TO b", false),
            ("ALTER TABLE t ADD a INT, RENAME TO u", false),
            (
                "ALTER TABLE t ADD PARTITION (PARTITION p VALUES IN (1))",
                false,
            ),
            ("ALTER TABLE t CONVERT TO CHARACTER SET latin1", false),
            ("DROP INDEX i ON t", false),
            ("TRUNCATE t", false),
            ("DROP TABLE t", false),
        ] {
            assert_eq!(is_additive(&read(sql)), expected, "{sql}");
        }
        for (sql, expected) in [
            ("ALTER TABLE t TRUNCATE PARTITION p0, p1", true),
            ("ALTER TABLE t DROP PARTITION p0", true),
            ("ALTER TABLE t EXCHANGE PARTITION p0 WITH TABLE u", true),
            ("ALTER TABLE t CONVERT PARTITION p0 TO TABLE u", true),
            (
                "ALTER TABLE t CONVERT TABLE u TO PARTITION p0 VALUES LESS THAN (5)",
                true,
            ),
            (
                "ALTER TABLE t ADD PARTITION (PARTITION p VALUES IN (1))",
                false,
            ),
            ("ALTER TABLE t COALESCE PARTITION 2", false),
            ("ALTER TABLE t DROP `partition`, DROP COLUMN p", false),
            ("ALTER TABLE t CONVERT TO CHARACTER SET latin1", false),
        ] {
            assert_eq!(moves_partitions(&read(sql)), expected, "{sql}");
        }
        assert!(moves_files(&read("ALTER TABLE t DISCARD TABLESPACE")));
        assert!(moves_files(&read(
            "ALTER TABLE t IMPORT PARTITION p TABLESPACE"
        )));
        assert!(!moves_files(&read("ALTER TABLE t ADD discard INT")));
    }
}
