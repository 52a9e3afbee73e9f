//! What a statement of the binlog means for the task: pass it over, keep its effect on the structures
//! in mind, run it, or stop.

use std::sync::Arc;

use super::decoder::{Tables, versioned};
use super::transaction::SourceSession;
use crate::binlog::QueryEvent;
use crate::model::{Error, ErrorKind, Result, TableName};
use crate::route::{EventKind, FilterAction};
use crate::schema::{Ddl, DdlClass, DdlKind, Structure, TableRole};
use crate::target::checkpoint::{Change, SchemaChange};

/// What is to be done with a statement.
#[derive(Debug)]
pub(super) enum Verdict {
    /// It does not concern the task.
    Pass,
    /// All before it must be in the target first.
    Barrier {
        /// What it does to the source's tables.
        changes: Vec<Change>,
        /// What it does to the source's databases.
        schemas: Vec<SchemaChange>,
        /// Those tables before it.
        before: Vec<Arc<Structure>>,
        /// Whether it runs on the target.
        runs: bool,
    },
}

impl Tables {
    /// Reads a statement's meaning, and carries the structures through it. `is_inside`: it stands
    /// within a transaction, where only row changes are expected.
    pub(super) fn decide(
        &mut self,
        ddl: &Ddl,
        query: &QueryEvent<'_>,
        session: &SourceSession,
        is_inside: bool,
    ) -> Result<Verdict> {
        if ddl.temporary {
            return Ok(Verdict::Pass);
        }
        match ddl.class() {
            DdlClass::NoBearing | DdlClass::Transaction => Ok(Verdict::Pass),
            DdlClass::Dml => {
                if ddl.mentions(|table| self.takes(table)) {
                    return Err(statement_rows(ddl.kind.name(), Some(ddl)));
                }
                if let Some(why) = self.writes_besides(ddl) {
                    return Err(rows_besides(&why, ddl));
                }
                Ok(Verdict::Pass)
            }
            DdlClass::Unknown => {
                if ddl.mentions(|table| self.takes(table)) {
                    return Err(not_understood(ddl));
                }
                Ok(Verdict::Pass)
            }
            DdlClass::Object => self.object(ddl),
            DdlClass::Database => self.database(ddl, session),
            DdlClass::Table => {
                let verdict = self.table(ddl, query, session)?;
                if is_inside && matches!(verdict, Verdict::Barrier { .. }) {
                    return Err(inside_transaction(ddl));
                }
                Ok(verdict)
            }
        }
    }

    /// How rows logged as a statement, on none of the task's tables, may have changed theirs all the same.
    fn writes_besides(&mut self, ddl: &Ddl) -> Option<String> {
        if ddl.kind == DdlKind::OtherDml {
            // Only a query that calls a function which writes is logged.
            return Some("a function that wrote rows, and not which".to_owned());
        }
        let parent = ddl
            .changed_tables()
            .find(|table| !self.cascades_of(table).is_empty())?;
        Some(format!(
            "a change of {parent}, whose foreign keys change tables of the task"
        ))
    }

    /// Views, triggers, routines, events and sequences hold no rows of the task: left out, unless a
    /// filter forbids them.
    fn object(&self, ddl: &Ddl) -> Result<Verdict> {
        let text = String::from_utf8_lossy(ddl.statement());
        for table in ddl.tables.iter().map(|table| &table.name) {
            if self.takes(table)
                && self.filter(table, filter_kind(ddl.kind), Some(&text))
                    == Some(FilterAction::Error)
            {
                return Err(forbidden(table, ddl.kind.name()));
            }
        }
        Ok(Verdict::Pass)
    }

    /// What to tell of a view, trigger, routine or event of the task's databases that is passed over,
    /// unless a filter says that it is not wanted. Its body would need the target's names and dialect.
    pub(super) fn left_out(&self, ddl: &Ddl) -> Option<String> {
        if ddl.class() != DdlClass::Object || ddl.temporary {
            return None;
        }
        let text = String::from_utf8_lossy(ddl.statement());
        let is_ours = if ddl.tables.is_empty() {
            ddl.mentions(|table| self.takes(table))
        } else {
            ddl.tables.iter().any(|table| self.takes(&table.name))
        };
        let is_unwanted = ddl.tables.iter().any(|table| {
            self.filter(&table.name, filter_kind(ddl.kind), Some(&text))
                .is_some()
        });
        (is_ours && !is_unwanted).then(|| {
            format!(
                "`{}` is left out, as what is no table is not carried on: do it on the target by hand \
                 before the cut-over, with the names that its tables have there",
                super::view::shorten(text.trim(), 200)
            )
        })
    }

    fn database(&mut self, ddl: &Ddl, session: &SourceSession) -> Result<Verdict> {
        let Some(name) = ddl.schema.as_ref().map(|schema| schema.name.clone()) else {
            return Err(not_understood(ddl));
        };
        let may_take = self.task.selection.may_take_schema(&name);
        if !may_take {
            return self.tracked(ddl, session, false);
        }
        let text = String::from_utf8_lossy(ddl.statement()).into_owned();
        let kind = filter_kind(ddl.kind);
        let action = self
            .task
            .filters
            .iter()
            .find_map(|filter| filter.schema_action(&name, kind, Some(&text)));
        match action {
            Some(FilterAction::Ignore) => return self.tracked(ddl, session, false),
            Some(FilterAction::Error) => {
                return Err(forbidden(&TableName::new(name, "*"), ddl.kind.name()));
            }
            None => {}
        }
        if ddl.kind == DdlKind::DropDatabase {
            let is_whole = self.task.selection.takes_whole_schema(&name);
            if !is_whole || !self.task.routes.is_empty() {
                return Err(Error::new(
                    ErrorKind::Unsupported,
                    format!(
                        "`DROP DATABASE` of `{name}` at the source: {}",
                        if is_whole {
                            "with routes, its tables on the target may hold rows of others"
                        } else {
                            "only a part of it belongs to the task"
                        }
                    ),
                )
                .with_fix("take its tables out of the task's `tables`, and drop by hand what is not needed"));
            }
        }
        self.tracked(ddl, session, true)
    }

    fn table(
        &mut self,
        ddl: &Ddl,
        query: &QueryEvent<'_>,
        session: &SourceSession,
    ) -> Result<Verdict> {
        let changed: Vec<TableName> = ddl.changed_tables().cloned().collect();
        let taken: Vec<&TableName> = changed.iter().filter(|table| self.takes(table)).collect();
        if taken.is_empty() {
            return self.tracked(ddl, session, false);
        }
        let shown = (*taken.first().unwrap_or(&&changed[0])).clone();
        let stop = |what: String, fix: &str| {
            Err(Error::new(ErrorKind::Unsupported, what)
                .with_fix(fix)
                .at(|c| c.table = Some(shown.clone())))
        };
        if query.error_code != 0 {
            return stop(
                format!(
                    "a `{}` statement failed at the source with error {}, maybe after a part of its work",
                    ddl.kind, query.error_code
                ),
                "compare the table's structure on both sides",
            );
        }
        if taken.len() < changed.len() {
            let other = changed.iter().find(|table| !self.takes(table));
            return stop(
                format!(
                    "a `{}` statement concerns {shown}, which is in the task, and {}, which is not",
                    ddl.kind,
                    other.map(ToString::to_string).unwrap_or_default()
                ),
                "put both into the task, or none; a table that was renamed into it must be copied",
            );
        }
        let text = String::from_utf8_lossy(ddl.statement()).into_owned();
        let mut is_ignored = false;
        for table in &taken {
            match self.filter(table, filter_kind(ddl.kind), Some(&text)) {
                Some(FilterAction::Error) => return Err(forbidden(table, ddl.kind.name())),
                Some(FilterAction::Ignore) => is_ignored = true,
                None => {}
            }
        }
        if is_ignored {
            return self.tracked(ddl, session, false);
        }
        if let Some(read) = ddl.tables.iter().find(|table| {
            matches!(table.role, TableRole::Like | TableRole::Union) && !self.takes(&table.name)
        }) {
            return stop(
                format!(
                    "{shown} is made after {}, which is not in the task",
                    read.name
                ),
                "put both tables into the task",
            );
        }
        if ddl.selects {
            return stop(
                "a `CREATE TABLE … SELECT` logged as a statement: its rows are not in the binlog"
                    .to_owned(),
                "`SET GLOBAL binlog_format = ROW` at the source; copy this table anew",
            );
        }
        let verdict = self.tracked(ddl, session, true)?;
        if let Verdict::Barrier { changes, .. } = &verdict
            && let Some(made) = changes
                .iter()
                .filter_map(|change| change.structure.as_ref())
                .find(|structure| structure.versioned)
        {
            return Err(versioned(&made.table));
        }
        Ok(verdict)
    }

    /// Carries the structures through the statement.
    fn tracked(&mut self, ddl: &Ddl, session: &SourceSession, runs: bool) -> Result<Verdict> {
        let before = ddl
            .changed_tables()
            .filter_map(|table| self.tracker.get(table))
            .collect();
        let done = match self.tracker.apply_in(ddl, &session.defaults) {
            Ok(done) => done,
            Err(error) if runs => return Err(error),
            Err(error) => {
                // Not a table of the task: its structure is not known any more, which matters only
                // if it comes into the task, and then stops the stream.
                tracing::warn!(%error, kind = %ddl.kind, "a table outside the task is not followed any more");
                let gone: Vec<TableName> = ddl.changed_tables().cloned().collect();
                let changes = gone
                    .into_iter()
                    .filter(|table| self.tracker.remove(table).is_some())
                    .map(|table| Change {
                        table,
                        structure: None,
                    })
                    .collect::<Vec<_>>();
                self.forget();
                return Ok(if changes.is_empty() {
                    Verdict::Pass
                } else {
                    Verdict::Barrier {
                        changes,
                        schemas: Vec::new(),
                        before,
                        runs,
                    }
                });
            }
        };
        self.forget();
        let mut changes: Vec<Change> = Vec::new();
        let gone = done
            .dropped
            .iter()
            .chain(done.renamed.iter().map(|(old, _)| old));
        for table in gone {
            changes.push(Change {
                table: table.clone(),
                structure: None,
            });
        }
        let new = done
            .changed
            .iter()
            .chain(done.renamed.iter().map(|(_, new)| new));
        for table in new {
            changes.retain(|change| change.table != *table);
            changes.push(Change {
                table: table.clone(),
                structure: self.tracker.get(table).map(Arc::unwrap_or_clone),
            });
        }
        let schemas: Vec<SchemaChange> = done
            .schemas
            .iter()
            .map(|schema| SchemaChange {
                schema: schema.clone(),
                default: self.tracker.schemas().get(schema).cloned(),
            })
            .collect();
        if changes.is_empty() && schemas.is_empty() && !runs {
            return Ok(Verdict::Pass);
        }
        Ok(Verdict::Barrier {
            changes,
            schemas,
            before,
            runs,
        })
    }
}

/// What a filter calls a statement of this kind.
fn filter_kind(kind: DdlKind) -> EventKind {
    use DdlKind as K;
    match kind {
        K::CreateTrigger | K::DropTrigger => EventKind::Trigger,
        K::CreateProcedure
        | K::AlterProcedure
        | K::DropProcedure
        | K::CreateFunction
        | K::AlterFunction
        | K::DropFunction
        | K::CreatePackage
        | K::DropPackage => EventKind::Routine,
        K::CreateEvent | K::AlterEvent | K::DropEvent => EventKind::Event,
        K::CreateSequence | K::AlterSequence | K::DropSequence => EventKind::Sequence,
        other => {
            let name = match other {
                K::TruncateTable => "truncate table",
                other => other.name(),
            };
            EventKind::from_name(name)
                .filter(|kind| !kind.is_dml())
                .unwrap_or(EventKind::OtherDdl)
        }
    }
}

/// Rows of the task that the source logged as a statement.
pub(super) fn statement_rows(kind: &str, ddl: Option<&Ddl>) -> Error {
    not_as_rows(
        format!("the source logged `{kind}` on a table of the task as a statement, not as rows"),
        ddl,
    )
}

/// Rows that a statement may have changed without naming their table.
fn rows_besides(why: &str, ddl: &Ddl) -> Error {
    not_as_rows(
        format!("the source logged as a statement, not as rows, {why}"),
        Some(ddl),
    )
}

fn not_as_rows(message: String, ddl: Option<&Ddl>) -> Error {
    let error = Error::new(ErrorKind::Setting, message).with_fix(
        "`SET GLOBAL binlog_format = ROW` at the source, and reconnect its clients; what was logged \
         as statements must be copied anew",
    );
    match ddl {
        Some(ddl) => {
            let text = String::from_utf8_lossy(ddl.statement()).into_owned();
            error.at(|c| {
                c.statement = Some(super::view::shorten(&text, 1000));
                c.table = ddl.tables.first().map(|table| table.name.clone());
            })
        }
        None => error,
    }
}

/// A filter with `action = "error"` met its event.
pub(super) fn forbidden(table: &TableName, kind: &str) -> Error {
    Error::new(
        ErrorKind::Refused,
        format!("a filter forbids `{kind}` on {table}"),
    )
    .with_fix("change the filter's `action`, or deal with the event by hand")
    .at(|c| c.table = Some(table.clone()))
}

/// A statement where only rows are expected.
pub(super) fn inside_transaction(ddl: &Ddl) -> Error {
    Error::new(
        ErrorKind::Unsupported,
        format!(
            "a `{}` statement stands within a transaction that also changes rows: the target would \
             commit at it",
            ddl.kind
        ),
    )
    .with_fix("run it on the target by hand, or leave its table out of the task's `tables`")
    .at(|c| {
        c.table = ddl.changed_tables().next().cloned();
        c.statement = Some(String::from_utf8_lossy(ddl.statement()).into_owned());
    })
}

fn not_understood(ddl: &Ddl) -> Error {
    Error::new(
        ErrorKind::Unsupported,
        "a statement that is not understood may concern a table of the task",
    )
    .with_fix("run what it does on the target by hand, or leave the table out of the task")
    .at(|c| {
        c.statement = Some(super::view::shorten(
            &String::from_utf8_lossy(ddl.statement()),
            1000,
        ));
    })
}
