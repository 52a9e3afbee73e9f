//! Runs a DDL statement of the source on the target, so that a crash at any moment is resolved.
//!
//! Before it runs, an intent says what it is and what the target's tables look like before and should
//! look like after; afterwards mark and structures are written together, and the intent is gone. A
//! start that finds an intent waits until the statement has ended, and compares.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use super::applier::{Applier, End, is_passing};
use super::by_hand::taken_back;
use super::ddl_gate::Gate;
use super::ddl_resume::{Looks, Ran, differences, is_alike, with_if_exists};
use super::ddl_step::{Step, steps};
use super::failure::{FailedEvent, Failure, stop_id};
use super::job::SyncJob;
use super::session::event_session;
use super::span::Over;
use super::transaction::Statement;
use super::view;
use crate::connect::Session;
use crate::model::{Error, ErrorKind, Result, TableName};
use crate::schema::dialect::{Adapted, adapt_ddl};
use crate::schema::meaning::Meaning;
use crate::schema::tracker::StructureSet;
use crate::schema::{Ddl, DdlClass, DdlKind, TableRole};
use crate::source::structure::{read_defaults, read_schema_defaults};
use crate::target::Intent;
use crate::target::checkpoint::Ownership;

/// There is nothing of that name to drop.
const KEY_MISSING: u16 = 1091;
/// The database is there already; it is gone already.
const DATABASE_EXISTS: u16 = 1007;
const DATABASE_MISSING: u16 = 1008;
const TABLE_EXISTS: u16 = 1050;
/// No such table: what DROP, most statements, and an older RENAME say.
const TABLE_MISSING: u16 = 1051;
const NO_TABLE: u16 = 1146;
const NO_FILE: u16 = 1017;

impl Applier {
    /// Runs a statement, or records what it changes in the structures.
    pub(super) async fn apply_statement(
        &mut self,
        job: &SyncJob,
        statement: &Statement,
        intent: Option<Intent>,
    ) -> Result<(), End> {
        let intent = intent.filter(|intent| intent.place == statement.place.place);
        if intent.as_ref().is_some_and(|intent| intent.is_done) {
            // Only its rows are missing.
            self.forget_structures();
            return Ok(());
        }
        self.flush().await?;
        if let Some(decision) = self.hand.take_for_statement(statement) {
            return self.statement_by_hand(statement, &decision).await;
        }
        if statement.is_decided {
            // Its effect on the structures was read otherwise than it says.
            let error = taken_back("the statement runs as it is at the next try");
            return Err(failed_statement(statement, error));
        }
        let over = self
            .over(statement)
            .map_err(|error| failed_statement(statement, error))?;
        let runs = statement.runs && over != Over::All;
        if runs {
            let narrowed;
            let what = match &over {
                Over::AllBut(tables) => {
                    narrowed = statement.dropping(tables, job.flavor);
                    &narrowed
                }
                Over::Nothing | Over::All => statement,
            };
            let done = match self.own_new(job, what).await {
                Ok(()) => self.run_statement(job, what, intent).await,
                Err(error) => Err(error),
            };
            if let Err(error) = done {
                return Err(failed_statement(statement, error));
            }
        }
        if statement.opens {
            let done = Intent {
                place: statement.place.place.clone(),
                connection_id: 0,
                statement: view::shorten(&String::from_utf8_lossy(statement.ddl.statement()), 1000),
                before: Vec::new(),
                after: Vec::new(),
                definitions: Vec::new(),
                step: 0,
                is_done: true,
            };
            self.claim
                .write_done(
                    &mut self.session,
                    &self.mark,
                    &statement.changes,
                    &statement.schemas,
                    Some(&done),
                    &[],
                )
                .await?;
        } else {
            let mut mark = self.mark.clone();
            mark.advance(statement.end.clone(), statement.gtid.as_ref());
            self.claim
                .write_outcome(
                    &mut self.session,
                    &mark,
                    &statement.changes,
                    &statement.schemas,
                )
                .await?;
            self.mark = mark;
            self.is_unwritten = false;
            self.meter.marked(&self.mark);
        }
        if runs {
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
        // What was begun is settled first.
        if intent.is_none() && self.gate(job, statement).await? == Gate::There {
            return Ok(());
        }
        let adapted = self.adapt(job, statement).await?;
        let flavor = self.session.version().flavor;
        let mut session = event_session(job, &self.session, statement).await?;
        self.take_turn(job, &mut session).await?;
        let whole = Ddl::read(&adapted.sql, "", statement.ddl.mode(), flavor);
        let looks_same = whole.kind == DdlKind::RenameTable
            && match &intent {
                // It was cut, or not, when it was begun.
                Some(intent) => intent.step > 0 || intent.before.len() == 2,
                None => self.looks_same(&whole).await?,
            };
        let mut steps = steps(whole, flavor, looks_same);
        let begun = intent.as_ref().map_or(0, |intent| intent.step);
        if let (Some(intent), [_]) = (&intent, steps.as_slice())
            && intent.step > 0
        {
            return Err(Error::new(
                ErrorKind::Structure,
                format!(
                    "`{}` was begun in steps, and is one step now",
                    view::shorten(&intent.statement, 300)
                ),
            )
            .with_fix("finish it on the target by hand, then skip the event"));
        }
        let mut intent = intent;
        for (number, step) in steps.iter_mut().enumerate().skip(begun) {
            let earlier = intent.take();
            let done = self
                .run_step(&mut session, statement, step, number, earlier)
                .await;
            if let Err(error) = done {
                if error.server().is_some() && self.was_overtaken(job, statement).await? {
                    break;
                }
                return Err(error);
            }
        }
        session.close().await;
        for note in adapted.notes {
            self.meter.note(note);
        }
        self.compare_structures(job, statement).await
    }

    /// Runs a step, unless it has run.
    async fn run_step(
        &mut self,
        session: &mut Session,
        statement: &Statement,
        step: &mut Step,
        number: usize,
        earlier: Option<Intent>,
    ) -> Result<()> {
        if let Some(intent) = earlier {
            match self.resolve(&intent, step).await? {
                Ran::Yes => {
                    tracing::info!(statement = %intent.statement, "a statement had run before the restart");
                    return Ok(());
                }
                Ran::Partly => step.text = with_if_exists(step),
                Ran::No => {}
            }
        }
        let tables = step.tables();
        let before = self.look_at(&tables).await?;
        let definitions = self.definitions(&before).await?;
        let after = self.expect(&step.ddl, &before).await?;
        let intent = Intent {
            place: statement.place.place.clone(),
            connection_id: session.connection_id(),
            statement: step.shown(),
            before,
            after,
            definitions,
            step: number,
            is_done: false,
        };
        self.claim
            .write_intent(&mut self.session, Some(&intent))
            .await?;
        let sent = in_its_charset(statement, &step.text)?;
        let Err(error) = session.execute(&sent).await else {
            return Ok(());
        };
        let shown = view::shorten(&step.shown(), 1000);
        let refusal = error.server().map(|server| server.number);
        // Views and sequences can be dropped and renamed as tables; they are not moved, and no table of
        // the source was known under the name.
        let names_no_table = matches!(refusal, Some(TABLE_MISSING | NO_TABLE | NO_FILE))
            && matches!(step.ddl.kind, DdlKind::DropTable | DdlKind::RenameTable)
            && statement.before.is_empty();
        let is_there = refusal == Some(DATABASE_EXISTS)
            || (refusal == Some(DATABASE_MISSING) && step.ddl.class() == DdlClass::Database)
            // One that the target's dialect does not have was left out when it was made.
            || (refusal == Some(KEY_MISSING) && step.drops_index())
            || names_no_table;
        if is_there {
            self.meter.note(format!(
                "`{}` had nothing to do on the target",
                view::shorten(&shown, 200)
            ));
            return Ok(());
        }
        let stray = error
            .server()
            .zip(tables.first())
            .filter(|(server, _)| server.number == TABLE_EXISTS)
            .and_then(|(server, table)| stray_partition(table, &server.message));
        let error = match stray {
            Some(fix) => error.with_fix(fix),
            None => error,
        };
        let is_clean = !session.is_broken()
            && refusal.is_some()
            && !matches!(error.kind(), ErrorKind::Connect | ErrorKind::TargetBusy)
            && number == 0
            && step.ddl.tables.len() == 1;
        if is_clean {
            // The target refused it and did nothing: a retry begins anew, whatever was mended.
            self.claim.write_intent(&mut self.session, None).await?;
        }
        Err(error.at(|c| c.statement = Some(shown)))
    }

    /// Whether a statement leaves its tables looking as before.
    async fn looks_same(&mut self, ddl: &Ddl) -> Result<bool> {
        let mut tables: Vec<TableName> = ddl.changed_tables().cloned().collect();
        tables.sort();
        tables.dedup();
        if tables.len() < 2 {
            return Ok(false);
        }
        let before = self.look_at(&tables).await?;
        let after = self.expect(ddl, &before).await?;
        Ok(is_alike(&before, &after))
    }

    /// Notes what the tables have otherwise than the source's.
    async fn compare_structures(&mut self, job: &SyncJob, statement: &Statement) -> Result<()> {
        let wanted: Vec<_> = statement
            .changes
            .iter()
            .filter_map(|change| change.structure.as_ref())
            .filter(|structure| job.task.selection.takes(&structure.table))
            .collect();
        let targets: Vec<TableName> = wanted
            .iter()
            .map(|structure| job.task.routes.target(&structure.table))
            .collect();
        let looks = self.look_at(&targets).await?;
        for (source, (table, look)) in wanted.iter().zip(&looks) {
            let found = match look {
                Some(look) => differences(source, look),
                None => vec![format!("{table} is not there after the source's statement")],
            };
            for difference in found {
                tracing::warn!(%difference, "source and target differ after a DDL statement");
                self.meter.note(difference);
            }
        }
        Ok(())
    }

    /// The statement with the target's names, in its dialect, saying what the source's settings mean.
    async fn adapt(&mut self, job: &SyncJob, statement: &Statement) -> Result<Adapted> {
        let text = target_text(job, &statement.ddl)?;
        let source = job.defaults.in_session(&statement.session.defaults);
        let target = read_defaults(&mut self.session).await?;
        let after = statement
            .changes
            .iter()
            .filter_map(|change| change.structure.as_ref())
            .find(|made| {
                statement
                    .ddl
                    .changed_tables()
                    .any(|table| *table == made.table)
            });
        adapt_ddl(
            &text,
            statement.ddl.mode(),
            &job.defaults.version,
            self.session.version(),
            Some(Meaning {
                source: &source,
                target: &target,
                after,
            }),
        )
    }

    /// The target's tables as the statement should leave them; none if that cannot be told.
    async fn expect(&mut self, ddl: &Ddl, before: &Looks) -> Result<Looks> {
        let defaults = read_defaults(&mut self.session).await?;
        let schemas: BTreeMap<_, _> = read_schema_defaults(&mut self.session).await?;
        // A table that another is made after is none that changes.
        let models: Vec<TableName> = ddl
            .tables
            .iter()
            .filter(|table| table.role == TableRole::Like)
            .map(|table| table.name.clone())
            .collect();
        let models = self.look_at(&models).await?;
        let known = before
            .iter()
            .chain(&models)
            .filter_map(|(_, structure)| structure.clone());
        let mut set = StructureSet::new(defaults, known, schemas);
        if let Err(error) = set.apply(ddl) {
            // Only a crash in the middle of the statement would have needed it.
            tracing::debug!(%error, "what a statement leaves on the target cannot be told beforehand");
            return Ok(Vec::new());
        }
        Ok(before
            .iter()
            .map(|(table, _)| {
                let structure = set.get(table).map(Arc::unwrap_or_clone);
                (table.clone(), structure)
            })
            .collect())
    }
}

/// A statement's text as the source's client would have sent it.
fn in_its_charset<'a>(statement: &Statement, text: &'a [u8]) -> Result<Cow<'a, [u8]>> {
    let Some(client) = statement.session.client else {
        return Ok(Cow::Borrowed(text));
    };
    let encoded = std::str::from_utf8(text)
        .ok()
        .and_then(|text| client.encode(text));
    encoded.map(Cow::Owned).ok_or_else(|| {
        Error::new(
            ErrorKind::Unsupported,
            "a name of the target cannot be written in the character set of the statement's client",
        )
        .with_fix("run the statement on the target by hand, in UTF-8, then skip the event")
    })
}

/// The statement with the names its tables have on the target, each with its schema.
fn target_text(job: &SyncJob, ddl: &Ddl) -> Result<Vec<u8>> {
    let routes = &job.task.routes;
    if ddl.class() == DdlClass::Database {
        return Ok(ddl.rewrite_schema(|schema| Some(routes.target_schema(schema))));
    }
    ddl.rewrite_qualified(|table| Some(routes.target(table)))
}

/// A MariaDB that goes down while it makes a partitioned table keeps partitions of a table that is not
/// there, and refuses the table ever after: the remedy, if the refusal tells of one.
fn stray_partition(table: &TableName, message: &str) -> Option<String> {
    let (_, rest) = message.split_once("/* Partition `")?;
    let (partition, end) = rest.split_once('`')?;
    // Others have names of their own as files.
    let is_plain = |name: &str| {
        name.bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    };
    if !end.starts_with(" */")
        || ![&table.schema, &table.name, partition]
            .into_iter()
            .all(is_plain)
    {
        return None;
    }
    let stray = format!("#mysql50#{}#P#{partition}", table.name);
    let stray = TableName::new(table.schema.clone(), stray);
    Some(format!(
        "the target went down while it made the table, and kept a partition of it: \
         `DROP TABLE {}` there, then retry; so for each that is told",
        stray.quoted()
    ))
}

pub(super) fn failed_statement(statement: &Statement, error: Error) -> End {
    let place = statement.place.clone();
    let shown = error.context().statement.clone();
    let error = error.at(|c| c.place = Some(place.place.clone()));
    let is_passing = is_passing(&error);
    let failure = Box::new(Failure {
        event: Some(Box::new(FailedEvent {
            stop_id: stop_id(&place),
            view: view::of_statement(statement),
            transaction: view::around_statement(statement),
            table: statement.ddl.changed_tables().next().cloned(),
            statement: shown,
            repair: None,
            target_rows: Vec::new(),
            later_applied: 0,
            place,
        })),
        error,
    });
    if is_passing {
        End::Again(failure)
    } else {
        End::Failed(failure)
    }
}
