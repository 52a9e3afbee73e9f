//! The dump unit: reads a consistent full copy from a source into files.
//!
//! The runtime starts it; the load unit reads what it leaves. It reads structures before and after
//! the snapshot is taken, and a table's again while each of its chunks is read: what cannot be shown
//! to be of the snapshot's moment is not kept. A dump that stops or fails leaves nothing behind that
//! could be loaded, and starts anew.

mod catalogue;
mod chunk;
mod cut;
mod plan;
mod rows;
mod work;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use crate::config::{SourceConfig, TaskConfig};
use crate::connect::Session;
use crate::dump_files::{DumpFolder, DumpHeader, DumpTable, FeedWriter, Manifest, Opening, write};
use crate::model::{Error, ErrorKind, Position, Result, TableName, Timestamp, Unit};
use crate::source::ServerInfo;
use crate::source::snapshot::{ConsistentSnapshot, Request, catalogue_setup};
use crate::unit::transfer::{self, Phases};

use catalogue::{Catalogue, Found};
use plan::TablePlan;
use work::Work;

/// The dump's figures.
pub type Meter = transfer::Meter;

/// A meter for a dump.
pub fn meter() -> Meter {
    Meter::new(Phases {
        at_work: "dumping",
        done: "dumped",
    })
}

/// How often the snapshot is taken anew because a table changed while it was taken.
const SNAPSHOT_TRIES: u32 = 5;

/// Tables of engines without snapshots are read under the lock, up to this size together.
const UNVERSIONED_BYTES: u64 = 16 << 20;

/// What is to be dumped, and where to.
#[derive(Clone, Debug)]
pub struct DumpJob {
    /// The source.
    pub source: SourceConfig,
    /// The task.
    pub task: TaskConfig,
    /// The folder of this task's dump of this source.
    pub folder: PathBuf,
    /// Where the relay log begins: the dump's position must not be before it.
    pub relay_from: Option<Position>,
    /// What tells this relay log from every other of the source.
    pub relay: Option<String>,
    /// The dump that this process has made for the task and source.
    pub made_here: Option<String>,
}

/// How a dump ended, unless it failed.
#[derive(Clone, Debug)]
pub enum DumpOutcome {
    /// It is whole, and can be loaded.
    Complete(Box<Manifest>),
    /// It was stopped, and starts anew next time.
    Stopped,
}

/// Dumps. A whole dump that is there already is taken as it is if all that happened since is sure to
/// follow it (see [`why_not`]); every other one, and what is left of one that was not finished, is
/// removed first.
///
/// `feed` hears of each file as it is complete, and of the whole dump. It is let go of when this ends.
pub async fn run(
    job: DumpJob,
    feed: FeedWriter,
    meter: Arc<Meter>,
    stop: CancellationToken,
) -> Result<DumpOutcome> {
    let at = |error: Error| {
        error.at(|c| {
            c.source = Some(job.source.server.name.clone());
            c.task = Some(job.task.name.clone());
            c.unit = Some(Unit::Dump);
        })
    };
    if let Some(manifest) = Manifest::find(&job.folder).map_err(at)? {
        let header = &manifest.header;
        if (&header.task, &header.source) != (&job.task.name, &job.source.server.name) {
            return Err(at(Error::new(
                ErrorKind::Refused,
                format!(
                    "`{}` holds a dump of task `{}` on source `{}`",
                    job.folder.display(),
                    header.task,
                    header.source
                ),
            )
            .with_fix("move that folder away, or remove it")));
        }
        let asking = async {
            let mut session = Session::open(&job.source.server, &catalogue_setup()).await?;
            let info = ServerInfo::read(&mut session).await?;
            session.close().await;
            Ok::<_, Error>(info.identity)
        };
        let identity = tokio::select! {
            biased;
            () = stop.cancelled() => return Ok(DumpOutcome::Stopped),
            identity = asking => identity.map_err(at)?,
        };
        let Some(why) = why_not(&job, header, &identity) else {
            show_complete(&manifest, &meter);
            feed.complete(&manifest);
            return Ok(DumpOutcome::Complete(Box::new(manifest)));
        };
        meter.note(format!(
            "the dump of {} in the folder was removed: {why}",
            header.consistent_at
        ));
        write::remove(&job.folder).await.map_err(at)?;
    }
    let outcome = tokio::select! {
        biased;
        () = stop.cancelled() => Ok(DumpOutcome::Stopped),
        made = dump(&job, &feed, &meter) => made.map(|manifest| DumpOutcome::Complete(Box::new(manifest))),
    };
    if !matches!(outcome, Ok(DumpOutcome::Complete(_))) {
        // Also gives back the room that a full disk lacks. The error that led here counts more than
        // one of this; without a manifest nothing that is left will be loaded.
        let _ = write::remove(&job.folder).await;
    }
    outcome.map_err(at)
}

/// The patterns of the tables that a task takes.
fn selection_text(task: &TaskConfig) -> String {
    task.selection.lines().collect::<Vec<_>>().join("\n")
}

/// Why a whole dump that was found cannot be loaded; `None` if it can.
///
/// One of an earlier process is good only if the relay log has followed the source without a break
/// since before the dump's moment: then sync brings the rest. Without a relay nothing does.
fn why_not(job: &DumpJob, header: &DumpHeader, identity: &str) -> Option<&'static str> {
    if header.source_identity != identity {
        return Some("it is of another server");
    }
    if header.selection != selection_text(&job.task) {
        return Some("it was made for other tables");
    }
    if let Some(from) = &job.relay_from
        && header
            .position
            .as_ref()
            .is_none_or(|position| position < from)
    {
        return Some("the relay log does not go back to it");
    }
    if job.made_here.as_ref() == Some(&header.dump_id) {
        return None;
    }
    if job.relay_from.is_none() {
        return Some("nothing has followed the source since");
    }
    (job.relay.is_none() || header.relay != job.relay)
        .then_some("the relay log is not the one that was kept with it")
}

/// The figures and notes of a dump made earlier.
fn show_complete(manifest: &Manifest, meter: &Meter) {
    meter.begin(
        manifest
            .tables
            .iter()
            .map(|(name, table)| (name.clone(), table.rows(), table.bytes(), 1)),
    );
    for (name, table) in &manifest.tables {
        meter.add(name, table.rows(), table.bytes());
        meter.finish_chunk(name);
    }
    for note in &manifest.header.notes {
        meter.note(note.clone());
    }
    meter.finish();
}

async fn dump(job: &DumpJob, feed: &FeedWriter, meter: &Arc<Meter>) -> Result<Manifest> {
    let folder = DumpFolder::create(&job.folder).await?;
    let mut session = Session::open(&job.source.server, &catalogue_setup()).await?;
    let info = ServerInfo::read(&mut session).await?;
    let mut catalogue = Catalogue::new(session, job.task.selection.clone());
    let (mut found, mut snapshot) = take_snapshot(job, &mut catalogue).await?;
    if job.relay_from.is_some() && snapshot.position.is_none() {
        return Err(Error::new(
            ErrorKind::Privilege,
            "the account may not ask where the source's binlog stands, so no changes could follow \
             the dump",
        )
        .with_fix(
            "grant the account REPLICATION CLIENT on *.* (MariaDB 10.5 and later: BINLOG MONITOR)",
        ));
    }
    if let (Some(position), Some(relay_from)) = (&snapshot.position, &job.relay_from)
        && position < relay_from
    {
        return Err(Error::new(
            ErrorKind::History,
            format!("the dump stands at {position}, and the relay log only begins at {relay_from}"),
        )
        .with_fix("remove the relay log of this source, so that it begins anew"));
    }
    let mut plans = Vec::with_capacity(found.tables.len());
    for described in &found.tables {
        plans.push(TablePlan::new(
            described,
            job.task.dump.chunk_bytes,
            snapshot.readers.len(),
        )?);
    }
    meter.begin(plans.iter().map(|plan| {
        (
            plan.table().clone(),
            plan.rows,
            plan.bytes,
            plan.chunks_expected(),
        )
    }));
    for note in snapshot.notes.iter().chain(&found.left_out) {
        meter.note(note.clone());
    }

    // Fixed but for its files and its end from here on: a load may begin.
    let mut manifest = Manifest {
        header: DumpHeader {
            version: Manifest::version(),
            dump_id: dump_id(),
            task: job.task.name.clone(),
            source: job.source.server.name.clone(),
            source_identity: info.identity.clone(),
            selection: selection_text(&job.task),
            relay: job.relay.clone(),
            flavor: info.flavor(),
            server_version: info.version.text.clone(),
            position: snapshot.position.clone(),
            gtid_set: snapshot.gtid_set.clone(),
            span: None,
            consistency: snapshot.method.to_owned(),
            notes: meter.notes(),
            consistent_at: snapshot.at,
            finished_at: snapshot.at,
        },
        schemas: std::mem::take(&mut found.schemas),
        tables: std::mem::take(&mut found.tables)
            .into_iter()
            .map(|described| {
                let table = DumpTable {
                    structure: described.structure,
                    create: described.create,
                    files: Vec::new(),
                    strict_from: None,
                };
                (table.structure.table.clone(), table)
            })
            .collect(),
    };
    feed.open(Opening {
        plan: manifest.clone(),
        estimates: plans
            .iter()
            .map(|plan| (plan.table().clone(), (plan.rows, plan.bytes)))
            .collect(),
    });

    let work = Work {
        folder: folder.clone(),
        catalogue: Arc::new(Mutex::new(catalogue)),
        feed: feed.clone(),
        meter: Arc::clone(meter),
    };
    let mut files = BTreeMap::new();
    let (unversioned, versioned): (Vec<_>, Vec<_>) =
        plans.into_iter().partition(|plan| plan.is_unversioned);
    if !unversioned.is_empty() {
        work.read_all(unversioned, &mut snapshot.readers, false, &mut files)
            .await?;
    }
    snapshot.release().await?;
    for note in &snapshot.notes {
        meter.note(note.clone());
    }
    work.read_all(versioned, &mut snapshot.readers, true, &mut files)
        .await?;

    for reader in std::mem::take(&mut snapshot.readers) {
        reader.close().await;
    }
    manifest.header.position = snapshot.position.clone();
    manifest.header.gtid_set = snapshot.gtid_set.clone();
    manifest.header.notes = meter.notes();
    manifest.header.finished_at = Timestamp::from(SystemTime::now());
    for (schema, create) in &manifest.schemas {
        folder.write_schema(schema, create).await?;
    }
    for (name, table) in &mut manifest.tables {
        folder.write_table(name, &table.create).await?;
        table.files = files.remove(name).unwrap_or_default();
        table.files.sort_by(|a, b| a.name.cmp(&b.name));
    }
    let manifest = folder.finish(manifest).await?;
    feed.complete(&manifest);
    meter.finish();
    Ok(manifest)
}

/// Takes the snapshot between two equal readings of the catalogue: what is the same before and after
/// it was the same at its moment.
async fn take_snapshot(
    job: &DumpJob,
    catalogue: &mut Catalogue,
) -> Result<(Found, ConsistentSnapshot)> {
    let mut before = catalogue.read().await?;
    for _ in 0..SNAPSHOT_TRIES {
        let tables: Vec<TableName> = before.names().cloned().collect();
        let unversioned = unversioned(&before)?;
        let snapshot = ConsistentSnapshot::open(Request {
            server: &job.source.server,
            consistency: job.task.dump.consistency,
            readers: job.task.dump.threads,
            tables: &tables,
            unversioned: &unversioned,
        })
        .await?;
        let after = catalogue.read().await?;
        if after.is_same(&before) {
            return Ok((after, snapshot));
        }
        before = after;
        // Dropping the snapshot closes its sessions, which lets go of a lock still held.
    }
    Err(changed(
        "tables were created, altered or dropped each time a snapshot was taken",
    ))
}

/// The tables whose engine knows no snapshots, if they are few enough to be read under the lock.
fn unversioned(found: &Found) -> Result<Vec<TableName>> {
    let tables: Vec<_> = found.tables.iter().filter(|t| t.is_unversioned()).collect();
    let bytes: u64 = tables.iter().map(|table| table.bytes).sum();
    if let Some(biggest) = tables.iter().max_by_key(|table| table.bytes)
        && bytes > UNVERSIONED_BYTES
    {
        let name = &biggest.structure.table;
        return Err(Error::new(
            ErrorKind::Unsupported,
            format!(
                "{} tables of engines without snapshots hold {} MiB, the biggest is {name} ({}): \
                 reading them would lock the source for too long",
                tables.len(),
                bytes >> 20,
                biggest.structure.engine
            ),
        )
        .with_fix(format!(
            "`ALTER TABLE {} ENGINE = InnoDB`, or leave the table out",
            name.quoted()
        ))
        .at(|c| c.table = Some(name.clone())));
    }
    Ok(tables
        .into_iter()
        .map(|table| table.structure.table.clone())
        .collect())
}

/// A dump that cannot be of one moment any more.
fn changed(what: impl Into<String>) -> Error {
    Error::new(ErrorKind::Changed, what)
        .with_fix("the dump starts anew by itself; hold DDL on the selected tables back meanwhile")
}

/// Names what it means when the server says that a table is not what the snapshot knows.
/// Numbers: no such table or database, unknown column, definition changed, engine's own refusal.
fn gone(error: Error, table: &TableName) -> Error {
    let number = error.server().map_or(0, |server| server.number);
    if matches!(number, 1146 | 1049 | 1054 | 1412 | 1932) {
        changed(format!(
            "{table} was dropped, truncated, renamed or altered while it was dumped"
        ))
        .with_source(error)
        .at(|c| c.table = Some(table.clone()))
    } else {
        error.at(|c| c.table = Some(table.clone()))
    }
}

/// A name that no other dump has: the time, and the process.
fn dump_id() -> String {
    let now = Timestamp::from(SystemTime::now());
    format!("{:x}-{:x}", now.0, std::process::id())
}
