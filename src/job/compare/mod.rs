//! The compare job: every table of a task, source and target row by row, in both directions.
//!
//! For data at rest: what changes meanwhile shows as a difference. Both sides are read in the order
//! of the row key and merged as they stream, so memory does not grow with the tables, and every
//! value is compared, not a checksum of it. Tables without a key are compared as multisets, by a
//! SHA-256 of each row. Several source tables that go into one target table are compared as their
//! union.
//!
//! Values count as equal if their stored bytes are: floats to the last bit, times in UTC, ENUM and
//! SET by their numbers. Where the two sides have different character sets, text is compared in
//! UTF-8; where one has JSON as a document and the other as text, by what the document says.

mod rows;

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::config::{ServerConfig, SourceConfig, TargetConfig, TaskConfig};
use crate::connect::Session;
use crate::job::compare::rows::{Layout, Merged, merge};
use crate::model::{Error, Result, TableName};
use crate::schema::Structure;
use crate::source::snapshot::{catalogue_setup, reader_setup};
use crate::source::{read_structures, read_structures_of};
use crate::target::checkpoint::Tables;
use crate::target::text::literal;

/// What is to be compared.
#[derive(Clone, Debug)]
pub struct CompareJob {
    /// The task.
    pub task: TaskConfig,
    /// Its sources.
    pub sources: Vec<SourceConfig>,
    /// Its target.
    pub target: TargetConfig,
    /// The schema of our own tables on the target.
    pub meta_schema: String,
    /// How many differing rows are listed for each table.
    pub rows_listed: usize,
}

/// The result for one task; serialized, it is what `compare --json` prints.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CompareReport {
    /// The version of this form, 1.
    pub version: u32,
    /// The task.
    pub task: String,
    /// Whether everything is equal.
    pub equal: bool,
    /// Whether all tables were looked at: false after a stop.
    pub complete: bool,
    /// The tables, by their names on the target.
    pub tables: Vec<TableReport>,
}

/// The result for one table of the target.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct TableReport {
    /// The table on the target, `schema.name`.
    pub target: String,
    /// The tables that go into it, `source:schema.name`.
    pub sources: Vec<String>,
    /// Whether it is equal.
    pub equal: bool,
    /// Rows of all the sources.
    pub source_rows: u64,
    /// Rows of the target.
    pub target_rows: u64,
    /// Rows that only the sources have.
    pub missing: u64,
    /// Rows that only the target has.
    pub extra: u64,
    /// Rows with the same key and other values.
    pub differing: u64,
    /// Why the tables cannot be compared: missing on one side, or with other columns.
    pub problem: Option<String>,
    /// The first of the differing rows.
    pub rows: Vec<RowDifference>,
}

/// A row that is not the same on both sides.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RowDifference {
    /// `missing` on the target, `extra` there, or `differs`.
    pub kind: &'static str,
    /// Its key, or the hash of a row without one.
    pub key: String,
    /// The columns that differ.
    pub columns: Vec<ColumnDifference>,
}

/// A value that is not the same on both sides; `None` is NULL.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ColumnDifference {
    /// The column.
    pub name: String,
    /// The source's value, as text or in hex.
    pub source: Option<String>,
    /// The target's value.
    pub target: Option<String>,
}

/// Compares all tables of a task. `progress` is told each table as it is done; a stop ends the job
/// with what was found so far.
pub async fn run(
    job: &CompareJob,
    progress: impl Fn(&TableReport),
    stop: &CancellationToken,
) -> Result<CompareReport> {
    let mut report = CompareReport {
        version: 1,
        task: job.task.name.clone(),
        equal: true,
        complete: true,
        tables: Vec::new(),
    };
    let ended = tokio::select! {
        biased;
        () = stop.cancelled() => None,
        ended = compare_all(job, &mut report.tables, &progress) => Some(ended),
    };
    match ended {
        Some(result) => {
            result.map_err(|error| error.at(|c| c.task = Some(job.task.name.clone())))?;
        }
        None => report.complete = false,
    }
    report.equal = report.tables.iter().all(|table| table.equal);
    Ok(report)
}

/// A source table: which of the job's sources has it, and its structure there.
struct Part {
    source: usize,
    structure: Structure,
}

async fn compare_all(
    job: &CompareJob,
    reports: &mut Vec<TableReport>,
    progress: &impl Fn(&TableReport),
) -> Result<()> {
    let mut parts: BTreeMap<TableName, Vec<Part>> = BTreeMap::new();
    for (index, source) in job.sources.iter().enumerate() {
        let at = |error: Error| error.at(|c| c.source = Some(source.server.name.clone()));
        let mut session = Session::open(&source.server, &catalogue_setup())
            .await
            .map_err(at)?;
        let structures = read_structures(&mut session, |table| job.task.selection.takes(table))
            .await
            .map_err(at)?;
        session.close().await;
        for structure in structures {
            parts
                .entry(job.task.routes.target(&structure.table))
                .or_default()
                .push(Part {
                    source: index,
                    structure,
                });
        }
    }
    let at = |error: Error| error.at(|c| c.target = Some(job.target.server.name.clone()));
    let mut session = Session::open(&job.target.server, &catalogue_setup())
        .await
        .map_err(at)?;
    let owned = owned_tables(job, &mut session).await.map_err(at)?;
    let names: BTreeSet<TableName> = parts.keys().cloned().chain(owned).collect();
    let names: Vec<TableName> = names.into_iter().collect();
    let mut there: BTreeMap<TableName, Structure> = read_structures_of(&mut session, &names)
        .await
        .map_err(at)?
        .into_iter()
        .map(|structure| (structure.table.clone(), structure))
        .collect();
    session.close().await;
    let mut sessions = Sessions::new(job);
    for name in names {
        let parts = parts.remove(&name).unwrap_or_default();
        let existing = there.remove(&name);
        if parts.is_empty() && existing.is_none() {
            // Written by the task once, and gone on both sides.
            continue;
        }
        let report = compare_table(job, &mut sessions, &name, &parts, existing.as_ref())
            .await
            .map_err(|error| error.at(|c| c.table = Some(name.clone())))?;
        progress(&report);
        reports.push(report);
    }
    sessions.close().await;
    Ok(())
}

/// The target's tables that this task has written, so that one whose source is gone is not missed.
/// None where there is no checkpoint to say so.
async fn owned_tables(job: &CompareJob, session: &mut Session) -> Result<Vec<TableName>> {
    let sql = format!(
        "SELECT DISTINCT `target_schema`, `target_table` FROM {} WHERE `task` = {}",
        Tables::new(&job.meta_schema).owner,
        literal(&job.task.name)
    );
    match session.names(&sql).await {
        // No such database or table, or none that the account may see.
        Err(error)
            if error
                .server()
                .is_some_and(|e| matches!(e.number, 1044 | 1049 | 1142 | 1146)) =>
        {
            Ok(Vec::new())
        }
        other => other,
    }
}

async fn compare_table(
    job: &CompareJob,
    sessions: &mut Sessions,
    name: &TableName,
    parts: &[Part],
    existing: Option<&Structure>,
) -> Result<TableReport> {
    let source_name = |part: &Part| {
        job.sources
            .get(part.source)
            .map_or("", |source| source.server.name.as_str())
    };
    let mut report = TableReport {
        target: name.to_string(),
        sources: parts
            .iter()
            .map(|part| format!("{}:{}", source_name(part), part.structure.table))
            .collect(),
        ..TableReport::default()
    };
    let (Some(first), Some(existing)) = (parts.first(), existing) else {
        report.problem = Some(if parts.is_empty() {
            "no source has it any more".into()
        } else {
            "it is missing on the target".into()
        });
        return Ok(report);
    };
    for part in parts {
        let problem = column_problem(&part.structure, existing)
            .or_else(|| column_problem(&part.structure, &first.structure));
        if problem.is_some() {
            report.problem = problem;
            return Ok(report);
        }
    }
    let structures: Vec<&Structure> = parts.iter().map(|part| &part.structure).collect();
    let layout = Layout::new(&structures, existing);
    let mut readers = Vec::new();
    for part in parts {
        readers.push((
            sessions.take(part.source).await?,
            part.structure.table.clone(),
        ));
    }
    let target = (sessions.take_target().await?, name.clone());
    let (merged, readers, target) = merge(&layout, readers, target, job.rows_listed).await?;
    for (part, reader) in parts.iter().zip(readers) {
        sessions.put(part.source, reader);
    }
    sessions.put_target(target);
    let Merged {
        source_rows,
        target_rows,
        missing,
        extra,
        differing,
        rows,
    } = merged;
    Ok(TableReport {
        equal: missing + extra + differing == 0,
        source_rows,
        target_rows,
        missing,
        extra,
        differing,
        rows,
        ..report
    })
}

/// Says how the columns' names differ, whatever their order.
fn column_problem(one: &Structure, other: &Structure) -> Option<String> {
    let lacks = |a: &Structure, b: &Structure| {
        a.columns
            .iter()
            .find(|column| b.column_index(&column.name).is_none())
            .map(|column| {
                format!(
                    "{} has a column `{}`, {} has not",
                    a.table, column.name, b.table
                )
            })
    };
    lacks(one, other).or_else(|| lacks(other, one))
}

/// Sessions kept for the next table: by source, and the target's.
struct Sessions {
    servers: Vec<ServerConfig>,
    target: ServerConfig,
    idle: Vec<Vec<Session>>,
    idle_target: Vec<Session>,
}

impl Sessions {
    fn new(job: &CompareJob) -> Self {
        Self {
            servers: job.sources.iter().map(|s| s.server.clone()).collect(),
            target: job.target.server.clone(),
            idle: job.sources.iter().map(|_| Vec::new()).collect(),
            idle_target: Vec::new(),
        }
    }

    async fn take(&mut self, source: usize) -> Result<Session> {
        if let Some(session) = self.idle.get_mut(source).and_then(Vec::pop) {
            return Ok(session);
        }
        let server = self.servers.get(source).ok_or_else(|| {
            Error::new(
                crate::model::ErrorKind::Internal,
                "a table of a source that is not compared",
            )
        })?;
        open(server).await
    }

    async fn take_target(&mut self) -> Result<Session> {
        match self.idle_target.pop() {
            Some(session) => Ok(session),
            None => open(&self.target).await,
        }
    }

    fn put(&mut self, source: usize, session: Session) {
        if let Some(idle) = self.idle.get_mut(source) {
            idle.push(session);
        }
    }

    fn put_target(&mut self, session: Session) {
        self.idle_target.push(session);
    }

    async fn close(self) {
        for session in self.idle.into_iter().flatten().chain(self.idle_target) {
            session.close().await;
        }
    }
}

async fn open(server: &ServerConfig) -> Result<Session> {
    let mut setup = reader_setup();
    // A key has at most 3,072 bytes, and all of them must count.
    setup
        .statements
        .push("SET SESSION max_sort_length = 4096".into());
    Session::open(server, &setup).await
}
