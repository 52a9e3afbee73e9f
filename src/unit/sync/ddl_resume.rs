//! What became of a statement that was under way when a process, its connection or the target ended.
//!
//! One session at a time runs a stream's statements on a target: it holds a named lock of the server
//! until its connection has ended there, whatever became of its process. So whoever comes next waits
//! for a statement that still runs, and a process that was overtaken cannot run one any more. Only then
//! the tables are looked at.

use std::time::Duration;

use super::applier::Applier;
use super::ddl_step::{Step, trades_places};
use super::job::SyncJob;
use super::view;
use crate::connect::Session;
use crate::model::table::quote_name;
use crate::model::{Error, ErrorKind, Flavor, Result, TableName};
use crate::schema::{DdlKind, Structure, without_counter};
use crate::source::structure::read_structures_of;
use crate::target::Intent;
use crate::target::text::literal;

/// How long a session waits for the lock, between two looks at its holder.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// A holder that does nothing for this many looks has lost its process.
const IDLE_LOOKS: u32 = 4;
/// `ER_NO_SUCH_TABLE`.
const NO_TABLE: u16 = 1146;
/// A lock's name may have 64 characters.
const LOCK_PREFIX: &str = "tideway-ddl";

/// Tables with their structures; `None`: not there.
pub(super) type Looks = Vec<(TableName, Option<Structure>)>;

/// What became of a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ran {
    /// It has run to its end.
    Yes,
    /// It has not, or doing it again changes nothing.
    No,
    /// A DROP of several tables dropped some of them.
    Partly,
}

impl Applier {
    /// Makes `session` the only one that runs statements of the stream on the target.
    pub(super) async fn take_turn(&mut self, job: &SyncJob, session: &mut Session) -> Result<()> {
        let name = literal(&lock_name(job));
        let mut idle_looks = 0;
        loop {
            let got = match session.rows(&format!("SELECT GET_LOCK({name}, 0)")).await {
                Ok(rows) => rows,
                // An old TiDB has no such locks: its sessions end with their connections.
                Err(error) if error.server().is_some() && !session.is_broken() => {
                    tracing::debug!(%error, "the target has no named locks");
                    return Ok(());
                }
                Err(error) => return Err(error),
            };
            if cell(&got, 0).as_deref() == Some("1") {
                return Ok(());
            }
            let holder = session
                .rows(&format!(
                    "SELECT ID, COMMAND, INFO FROM information_schema.PROCESSLIST \
                     WHERE ID = IS_USED_LOCK({name})"
                ))
                .await?;
            let (id, command, running) = (cell(&holder, 0), cell(&holder, 1), cell(&holder, 2));
            match (&id, command.as_deref()) {
                (Some(id), Some("Sleep")) if idle_looks >= IDLE_LOOKS => {
                    // Its process is gone without a word; what it has not begun it must not begin.
                    tracing::info!(connection = %id, "ending the session of an earlier process");
                    session.execute(format!("KILL {id}").as_bytes()).await?;
                    idle_looks = 0;
                }
                (Some(_), Some("Sleep")) => idle_looks += 1,
                _ => {
                    idle_looks = 0;
                    let statement = view::shorten(&running.unwrap_or_default(), 300);
                    tracing::info!(%statement, "waiting for a statement from before the restart");
                }
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Waits for what TiDB's owner of DDL still does for a session that is gone.
    async fn await_jobs(&mut self, tables: &[TableName]) -> Result<()> {
        if self.session.version().flavor != Flavor::TiDB || tables.is_empty() {
            return Ok(());
        }
        let of: Vec<String> = tables
            .iter()
            .map(|table| {
                format!(
                    "(DB_NAME = {} AND TABLE_NAME = {})",
                    literal(&table.schema),
                    literal(&table.name)
                )
            })
            .collect();
        let jobs = format!(
            "SELECT JOB_ID, STATE FROM information_schema.DDL_JOBS WHERE STATE IN ('none', 'queueing', \
             'running', 'rollingback', 'cancelling', 'pausing', 'done') AND ({})",
            of.join(" OR ")
        );
        while let Some(id) = cell(&self.session.rows(&jobs).await?, 0) {
            tracing::info!(job = %id, "waiting for a DDL job of TiDB from before the restart");
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok(())
    }

    /// Whether the statement of an intent has run. Nobody runs it any more.
    pub(super) async fn resolve(&mut self, intent: &Intent, step: &Step) -> Result<Ran> {
        let tables: Vec<TableName> = intent
            .before
            .iter()
            .map(|(table, _)| table.clone())
            .collect();
        if tables.is_empty() {
            // A database: to make it or drop it again does no harm.
            return Ok(Ran::No);
        }
        self.await_jobs(&tables).await?;
        let now = self.look_at(&tables).await?;
        let definitions = self.definitions(&now).await?;
        if step.ddl.kind == DdlKind::DropTable {
            return resolve_drop(intent, &now, &definitions);
        }
        let is_unchanged = if intent.definitions.is_empty() {
            is_alike(&now, &intent.before)
        } else {
            definitions == intent.definitions
        };
        let was_told = !intent.after.is_empty();
        if is_unchanged {
            // What trades places and looks the same afterwards would be undone by a second time; all
            // else leaves a trace, or sets what is set.
            let undoes =
                trades_places(&step.ddl) && (!was_told || is_alike(&intent.before, &intent.after));
            return if undoes {
                Err(cannot_tell(
                    intent,
                    "the target's tables look the same before and after it",
                ))
            } else {
                Ok(Ran::No)
            };
        }
        if was_told && is_alike(&now, &intent.after) {
            return Ok(Ran::Yes);
        }
        Err(cannot_tell(
            intent,
            "the target's tables look neither as before it nor as after it",
        ))
    }

    /// The target's tables as they are.
    pub(super) async fn look_at(&mut self, tables: &[TableName]) -> Result<Looks> {
        let found = read_structures_of(&mut self.session, tables).await?;
        Ok(tables
            .iter()
            .map(|table| {
                let structure = found
                    .iter()
                    .find(|structure| is_named(&structure.table, table));
                (table.clone(), structure.cloned())
            })
            .collect())
    }

    /// What the target says the tables are made by: with defaults, checks, partitions and comments.
    pub(super) async fn definitions(
        &mut self,
        looks: &Looks,
    ) -> Result<Vec<(TableName, Option<String>)>> {
        let mut definitions = Vec::with_capacity(looks.len());
        for (table, look) in looks {
            let mut text = None;
            if look.is_some() {
                let show = format!("SHOW CREATE TABLE {}", table.quoted());
                text = match self.session.rows(&show).await {
                    Ok(rows) => cell(&rows, 1).map(|text| without_counter(&text)),
                    Err(error)
                        if error
                            .server()
                            .is_some_and(|server| server.number == NO_TABLE) =>
                    {
                        None
                    }
                    Err(error) => return Err(error),
                };
            }
            definitions.push((table.clone(), text));
        }
        Ok(definitions)
    }
}

/// A DROP of several tables may have dropped some: each is as it was, or gone.
fn resolve_drop(
    intent: &Intent,
    now: &Looks,
    definitions: &[(TableName, Option<String>)],
) -> Result<Ran> {
    let (mut gone, mut left) = (0, 0);
    for (table, before) in &intent.before {
        let is_there = now
            .iter()
            .any(|(name, look)| name == table && look.is_some());
        match (before, is_there) {
            (Some(_), false) => gone += 1,
            (Some(_), true) => left += 1,
            (None, false) => {}
            (None, true) => {
                return Err(cannot_tell(intent, "a table is there that was not before"));
            }
        }
    }
    let is_as_before = definitions.iter().all(|(table, text)| {
        text.is_none()
            || intent.definitions.is_empty()
            || intent.definitions.contains(&(table.clone(), text.clone()))
    });
    match (gone, left) {
        _ if !is_as_before => Err(cannot_tell(
            intent,
            "a table that it drops looks otherwise than before",
        )),
        (0, _) => Ok(Ran::No),
        (_, 0) => Ok(Ran::Yes),
        _ => Ok(Ran::Partly),
    }
}

/// The rest of a DROP of which a part was done: what is gone may be.
pub(super) fn with_if_exists(step: &Step) -> Vec<u8> {
    if step.ddl.if_exists {
        return step.text.clone();
    }
    let tables: Vec<String> = step
        .ddl
        .tables
        .iter()
        .map(|table| {
            if table.name.schema.is_empty() {
                quote_name(&table.name.name)
            } else {
                table.name.quoted()
            }
        })
        .collect();
    format!("DROP TABLE IF EXISTS {}", tables.join(", ")).into_bytes()
}

fn lock_name(job: &SyncJob) -> String {
    let stream = format!(
        "{}/{}/{}/{}",
        job.meta_schema, job.task.name, job.source_name, job.source_identity
    );
    let turned: String = stream.chars().rev().collect();
    format!(
        "{LOCK_PREFIX}-{:08x}{:08x}",
        crc32fast::hash(stream.as_bytes()),
        crc32fast::hash(turned.as_bytes())
    )
}

fn cannot_tell(intent: &Intent, why: &str) -> Error {
    Error::new(
        ErrorKind::Structure,
        format!(
            "it cannot be told whether `{}` has run: {why}",
            view::shorten(&intent.statement, 300)
        ),
    )
    .with_fix(
        "look at the tables on the target: if it has run, or has run in part, bring them to what \
         the source has now, or undo it there; then retry",
    )
}

/// Servers that fold names may give them back in another case.
fn is_named(found: &TableName, wanted: &TableName) -> bool {
    found == wanted
        || (found.schema.eq_ignore_ascii_case(&wanted.schema)
            && found.name.eq_ignore_ascii_case(&wanted.name))
}

fn cell(rows: &[Vec<Option<Vec<u8>>>], index: usize) -> Option<String> {
    let cell = rows.first()?.get(index)?.as_deref()?;
    Some(String::from_utf8_lossy(cell).into_owned())
}

/// Whether the tables are there or not in both, with the same columns and keys.
pub(super) fn is_alike(a: &Looks, b: &Looks) -> bool {
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

/// What a new or changed table has otherwise than the source's: each as a sentence for people.
pub(super) fn differences(source: &Structure, target: &Structure) -> Vec<String> {
    let mut found = Vec::new();
    for column in &source.columns {
        let there = target
            .column_index(&column.name)
            .and_then(|index| target.columns.get(index));
        let (table, name) = (&target.table, &column.name);
        match there {
            None => found.push(format!(
                "{table} has no column `{name}`, which the source has"
            )),
            Some(there) if there.nullable != column.nullable => found.push(format!(
                "column `{name}` of {table} {} NULL; at the source it {}",
                if there.nullable {
                    "takes"
                } else {
                    "does not take"
                },
                if column.nullable { "does" } else { "does not" },
            )),
            Some(_) => {}
        }
    }
    found
}
