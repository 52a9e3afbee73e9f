//! Runs a DDL statement of the source on the target, so that a crash at any moment is resolved.
//!
//! Before it runs, an intent says what it is and what the target's tables look like before and should
//! look like after; afterwards mark and structures are written together, and the intent is gone. A
//! start that finds an intent waits until the statement has ended, and compares.

use std::collections::BTreeMap;
use std::time::Duration;

use super::applier::{Applier, End, advance};
use super::failure::{FailedEvent, Failure, stop_id};
use super::job::SyncJob;
use super::session::event_session;
use super::transaction::Statement;
use super::view;
use crate::model::{Error, ErrorKind, Result, TableName};
use crate::schema::dialect::{Adapted, adapt_ddl};
use crate::schema::tracker::StructureSet;
use crate::schema::{Ddl, DdlClass, DdlKind, Structure, TableRole};
use crate::source::structure::{read_defaults, read_schema_defaults, read_structures_of};
use crate::target::Intent;
use crate::target::checkpoint::Ownership;
use crate::target::text::literal;

/// How long a start waits for a statement that still runs from before, between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// The database is there already; it is gone already.
const DATABASE_EXISTS: u16 = 1007;
const DATABASE_MISSING: u16 = 1008;

impl Applier {
    /// Runs a statement, or records what it changes in the structures.
    pub(super) async fn apply_statement(
        &mut self,
        job: &SyncJob,
        statement: &Statement,
        intent: Option<Intent>,
    ) -> Result<(), End> {
        self.flush().await?;
        if statement.runs {
            let done = match self.own_new(job, statement).await {
                Ok(()) => self.run_statement(job, statement, intent).await,
                Err(error) => Err(error),
            };
            if let Err(error) = done {
                if matches!(error.kind(), ErrorKind::Connect | ErrorKind::TargetBusy) {
                    return Err(End::Again(error));
                }
                return Err(failed_statement(statement, error));
            }
        }
        let mut mark = self.mark.clone();
        advance(&mut mark, statement.end.clone(), statement.gtid.as_ref());
        self.claim
            .write_outcome(&mut self.session, &mark, &statement.changes)
            .await?;
        self.mark = mark;
        self.is_unwritten = false;
        self.meter.marked(&self.mark);
        if statement.runs {
            self.meter.applied_ddl();
            self.show_lag(statement.committed);
        } else {
            self.meter.passed_over(1);
        }
        self.forget_structures();
        Ok(())
    }

    /// Takes the tables that a statement makes for the task.
    async fn own_new(&mut self, job: &SyncJob, statement: &Statement) -> Result<()> {
        let pairs: Vec<Ownership> = statement
            .changes
            .iter()
            .filter(|change| change.structure.is_some() && job.task.selection.takes(&change.table))
            .map(|change| (change.table.clone(), job.task.routes.target(&change.table)))
            .collect();
        if pairs.is_empty() {
            return Ok(());
        }
        self.claim.own(&mut self.session, &pairs).await
    }

    async fn run_statement(
        &mut self,
        job: &SyncJob,
        statement: &Statement,
        intent: Option<Intent>,
    ) -> Result<()> {
        let adapted = self.adapt(job, statement)?;
        let text = adapted.sql;
        let tables = target_tables(job, &statement.ddl);
        if let Some(intent) = intent.filter(|intent| intent.place == statement.place.place)
            && self.resolve(&intent, &statement.ddl).await?
        {
            tracing::info!(statement = %intent.statement, "a statement had run before the restart");
            return Ok(());
        }
        let before = self.look_at(&tables).await?;
        let after = self.expect(&text, &tables, &before, statement).await?;
        let mut session = event_session(job, &self.session, statement).await?;
        self.claim
            .write_intent(
                &mut self.session,
                Some(&Intent {
                    place: statement.place.place.clone(),
                    connection_id: session.connection_id(),
                    statement: String::from_utf8_lossy(&text).into_owned(),
                    before,
                    after,
                    definitions: Vec::new(),
                    step: 0,
                    is_done: false,
                }),
            )
            .await?;
        let outcome = session.execute(&text).await;
        match outcome {
            Ok(_) => {
                for note in adapted.notes {
                    self.meter.note(note);
                }
                session.close().await;
                Ok(())
            }
            Err(error) => {
                let number = error.server().map_or(0, |server| server.number);
                let is_there = number == DATABASE_EXISTS
                    || (number == DATABASE_MISSING && statement.ddl.class() == DdlClass::Database);
                if is_there {
                    self.meter.note(format!(
                        "`{}` had nothing to do on the target",
                        view::shorten(&String::from_utf8_lossy(&text), 200)
                    ));
                    return Ok(());
                }
                Err(error.at(|c| {
                    c.statement = Some(view::shorten(&String::from_utf8_lossy(&text), 1000));
                }))
            }
        }
    }

    /// The statement with the target's names, in its dialect. A new table gets the character set and
    /// collation it has at the source, whatever the target's defaults are.
    fn adapt(&self, job: &SyncJob, statement: &Statement) -> Result<Adapted> {
        let text = target_text(job, &statement.ddl)?;
        let made = statement
            .changes
            .iter()
            .filter(|_| statement.ddl.kind == DdlKind::CreateTable)
            .find_map(|change| change.structure.as_ref());
        adapt_ddl(
            &text,
            statement.ddl.mode(),
            &job.defaults.version,
            self.session.version(),
            made.map(|made| (made.charset.as_str(), made.collation.as_str())),
        )
    }

    /// Whether the statement of an intent has run. Waits for it, if it still does.
    async fn resolve(&mut self, intent: &Intent, ddl: &Ddl) -> Result<bool> {
        let running = format!(
            "SELECT 1 FROM information_schema.PROCESSLIST WHERE ID = {} AND INFO = {}",
            intent.connection_id,
            literal(&intent.statement)
        );
        while !self.session.rows(&running).await?.is_empty() {
            tracing::info!(statement = %intent.statement, "waiting for a statement from before the restart");
            tokio::time::sleep(LOOK_EVERY).await;
        }
        let tables: Vec<TableName> = intent
            .before
            .iter()
            .map(|(table, _)| table.clone())
            .collect();
        if tables.is_empty() {
            // A database: to make it or drop it again does no harm.
            return Ok(false);
        }
        let now = self.look_at(&tables).await?;
        let (is_before, is_after) = (
            is_alike(&now, &intent.before),
            is_alike(&now, &intent.after),
        );
        // Tables that trade places look the same before and after, and a second time undoes the
        // first; everything else that leaves no trace in the structure may run twice.
        let swaps = ddl.kind == DdlKind::RenameTable
            || ddl
                .tables
                .iter()
                .any(|table| table.role == TableRole::Exchange);
        if is_before && !(is_after && swaps) {
            return Ok(false);
        }
        if is_after && !is_before {
            return Ok(true);
        }
        Err(Error::new(
            ErrorKind::Structure,
            format!(
                "it cannot be told whether `{}` has run: the target's tables do not show it",
                view::shorten(&intent.statement, 300)
            ),
        )
        .with_fix(
            "look at the tables on the target: if it has run, or has run in part, bring them to what \
             the source has now, or undo it there; then retry",
        ))
    }

    async fn look_at(
        &mut self,
        tables: &[TableName],
    ) -> Result<Vec<(TableName, Option<Structure>)>> {
        let found = read_structures_of(&mut self.session, tables).await?;
        Ok(tables
            .iter()
            .map(|table| {
                let structure = found.iter().find(|structure| structure.table == *table);
                (table.clone(), structure.cloned())
            })
            .collect())
    }

    /// The target's tables as the statement should leave them.
    async fn expect(
        &mut self,
        text: &[u8],
        tables: &[TableName],
        before: &[(TableName, Option<Structure>)],
        statement: &Statement,
    ) -> Result<Vec<(TableName, Option<Structure>)>> {
        let defaults = read_defaults(&mut self.session).await?;
        let flavor = defaults.version.flavor;
        let schemas: BTreeMap<_, _> = read_schema_defaults(&mut self.session).await?;
        let known = before.iter().filter_map(|(_, structure)| structure.clone());
        let mut set = StructureSet::new(defaults, known, schemas);
        let ddl = Ddl::read(
            text,
            statement.ddl.default_schema(),
            statement.ddl.mode(),
            flavor,
        );
        if let Err(error) = set.apply(&ddl) {
            // Only a crash in the middle of the statement would have needed it.
            tracing::debug!(%error, "what a statement leaves on the target cannot be told beforehand");
            return Ok(Vec::new());
        }
        Ok(tables
            .iter()
            .map(|table| {
                let structure = set.get(table).map(|structure| (**structure).clone());
                (table.clone(), structure)
            })
            .collect())
    }
}

/// The statement with the names its tables have on the target, each with its schema.
fn target_text(job: &SyncJob, ddl: &Ddl) -> Result<Vec<u8>> {
    let routes = &job.task.routes;
    if ddl.class() == DdlClass::Database {
        return Ok(ddl.rewrite_schema(|schema| Some(routes.target_schema(schema))));
    }
    ddl.rewrite_qualified(|table| Some(routes.target(table)))
}

/// The tables of the target that a statement changes, each once.
fn target_tables(job: &SyncJob, ddl: &Ddl) -> Vec<TableName> {
    if ddl.class() == DdlClass::Database {
        return Vec::new();
    }
    let mut tables: Vec<TableName> = ddl
        .changed_tables()
        .map(|table| job.task.routes.target(table))
        .collect();
    tables.sort();
    tables.dedup();
    tables
}

/// Whether the tables are there or not in both, with the same columns and keys.
fn is_alike(a: &[(TableName, Option<Structure>)], b: &[(TableName, Option<Structure>)]) -> bool {
    a.len() == b.len()
        && a.iter().zip(b).all(|((table, left), (other, right))| {
            table == other
                && match (left, right) {
                    (None, None) => true,
                    (Some(left), Some(right)) => is_same_shape(left, right),
                    _ => false,
                }
        })
}

fn is_same_shape(a: &Structure, b: &Structure) -> bool {
    let columns = |s: &Structure| {
        s.columns
            .iter()
            .map(|c| {
                (
                    c.name.to_lowercase(),
                    c.kind.clone(),
                    c.nullable,
                    c.generated,
                )
            })
            .collect::<Vec<_>>()
    };
    let keys = |s: &Structure| {
        let mut keys: Vec<_> = s
            .keys
            .iter()
            .map(|k| (k.name.to_lowercase(), k.unique, k.parts.clone()))
            .collect();
        keys.sort_by(|a, b| a.0.cmp(&b.0));
        keys
    };
    columns(a) == columns(b) && keys(a) == keys(b)
}

fn failed_statement(statement: &Statement, error: Error) -> End {
    let place = statement.place.clone();
    let shown = error.context().statement.clone();
    let error = error.at(|c| c.place = Some(place.place.clone()));
    End::Failed(Box::new(Failure {
        event: Some(Box::new(FailedEvent {
            stop_id: stop_id(&place),
            view: view::of_statement(statement),
            table: statement.ddl.changed_tables().next().cloned(),
            statement: shown,
            target_rows: Vec::new(),
            later_applied: 0,
            place,
        })),
        error,
    }))
}
