//! A dump of one moment: all readers see the same snapshot.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use tokio::sync::Mutex;

use crate::config::Consistency;
use crate::connect::Session;
use crate::dump_files::{
    DumpFile, DumpFolder, DumpHeader, DumpSpan, DumpTable, FeedWriter, Manifest, Opening,
};
use crate::model::{Error, ErrorKind, GtidSet, Position, Result, TableName, Timestamp};
use crate::source::ServerInfo;
use crate::source::snapshot::{ConsistentSnapshot, DdlHold, Request, catalogue_setup};

use super::catalogue::{Catalogue, Found};
use super::plan::TablePlan;
use super::throttle::Throttle;
use super::work::{How, Todo, Work};
use super::{DumpJob, Meter, changed, dump_id, selection_text};

/// How often the snapshot is taken anew because a table changed while it was taken.
const SNAPSHOT_TRIES: u32 = 5;

/// Tables of engines without snapshots are read under the lock, up to this size together.
const UNVERSIONED_BYTES: u64 = 16 << 20;

/// Files with rows, by table.
pub(super) type Files = BTreeMap<TableName, Vec<DumpFile>>;

/// A snapshot, what the source held at its moment, and what was read under its lock.
struct Taken {
    found: Found,
    snapshot: ConsistentSnapshot,
    files: Files,
}

pub(super) async fn dump(
    job: &DumpJob,
    feed: &FeedWriter,
    meter: &Arc<Meter>,
    throttle: &Arc<Throttle>,
) -> Result<Manifest> {
    if has_remains(&job.folder).await {
        meter.note(
            "what an earlier dump left that was not finished is removed, and the dump made anew: only \
             one by `fuzzy` is gone on with",
        );
    }
    let folder = DumpFolder::create(&job.folder)
        .await?
        .packed_as(job.task.dump.packing);
    let mut session = Session::open(&job.source.server, &catalogue_setup()).await?;
    let info = ServerInfo::read(&mut session).await?;
    let mut work = Work {
        folder: folder.clone(),
        catalogue: Arc::new(Mutex::new(Catalogue::new(
            session,
            job.task.selection.clone(),
            job.task.dump.programs,
        ))),
        feed: None,
        meter: Arc::clone(meter),
        throttle: Arc::clone(throttle),
        how: How::Locked,
    };
    let Taken {
        mut found,
        mut snapshot,
        mut files,
    } = take_snapshot(job, &work).await?;
    expect_followed(job, snapshot.position.as_ref())?;
    let mut todo = Vec::with_capacity(found.tables.len());
    for described in &found.tables {
        let plan = TablePlan::new(described, job.task.dump.chunk_bytes, snapshot.readers.len())?;
        todo.push(Todo::all(plan));
    }
    begin_figures(meter, todo.iter().map(|todo| &todo.plan));
    for note in snapshot.notes.iter().chain(&found.left_out) {
        meter.note(note.clone());
    }

    // Fixed but for its files and its end from here on: a load may begin.
    let begun = BegunAt {
        position: snapshot.position.clone(),
        gtid_set: snapshot.gtid_set.clone(),
        span: None,
        consistency: snapshot.method,
        at: snapshot.at,
    };
    let manifest = plan(job, &info, meter, begun, &mut found);
    feed.open(opening(&manifest, todo.iter().map(|todo| &todo.plan)));
    for (table, files) in &files {
        for file in files {
            meter.add(table, file.rows, file.bytes);
            feed.file(table, file);
        }
        meter.finish_chunk(table);
    }

    work.feed = Some(feed.clone());
    work.how = How::Snapshot;
    todo.retain(|todo| !todo.plan.is_unversioned);
    work.read_all(todo, &mut snapshot.readers, &mut files)
        .await?;
    for reader in std::mem::take(&mut snapshot.readers) {
        reader.close().await;
    }
    let manifest = finish(&folder, meter, manifest, files).await?;
    feed.complete(&manifest);
    meter.finish();
    Ok(manifest)
}

/// Whether there is anything in the folder.
async fn has_remains(folder: &Path) -> bool {
    match tokio::fs::read_dir(folder).await {
        Ok(mut entries) => matches!(entries.next_entry().await, Ok(Some(_))),
        Err(_) => false,
    }
}

/// Where a dump stands.
pub(super) struct BegunAt {
    pub(super) position: Option<Position>,
    pub(super) gtid_set: Option<GtidSet>,
    pub(super) span: Option<DumpSpan>,
    pub(super) consistency: &'static str,
    pub(super) at: Timestamp,
}

/// The manifest as far as it is known before the first row.
pub(super) fn plan(
    job: &DumpJob,
    info: &ServerInfo,
    meter: &Meter,
    begun: BegunAt,
    found: &mut Found,
) -> Manifest {
    Manifest {
        header: DumpHeader {
            version: Manifest::version(),
            dump_id: dump_id(),
            task: job.task.name.clone(),
            source: job.source.server.name.clone(),
            source_identity: info.identity.clone(),
            selection: selection_text(&job.task),
            relay: job.relay.clone(),
            files_in: None,
            flavor: info.flavor(),
            server_version: info.version.text.clone(),
            position: begun.position,
            gtid_set: begun.gtid_set,
            span: begun.span,
            schema_defaults: std::mem::take(&mut found.schema_defaults),
            consistency: begun.consistency.to_owned(),
            notes: meter.notes(),
            consistent_at: begun.at,
            finished_at: begun.at,
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
        views: std::mem::take(&mut found.views),
        programs: std::mem::take(&mut found.programs),
    }
}

/// Begins the figures of a dump.
pub(super) fn begin_figures<'a>(meter: &Meter, plans: impl Iterator<Item = &'a TablePlan>) {
    meter.begin(plans.map(|plan| {
        (
            plan.table().clone(),
            plan.rows,
            plan.bytes,
            plan.chunks_expected(),
        )
    }));
}

/// What a load hears first.
pub(super) fn opening<'a>(
    manifest: &Manifest,
    plans: impl Iterator<Item = &'a TablePlan>,
) -> Opening {
    Opening {
        plan: manifest.clone(),
        estimates: plans
            .map(|plan| (plan.table().clone(), (plan.rows, plan.bytes)))
            .collect(),
    }
}

/// Writes what is not rows, and last the manifest.
pub(super) async fn finish(
    folder: &DumpFolder,
    meter: &Meter,
    mut manifest: Manifest,
    mut files: Files,
) -> Result<Manifest> {
    manifest.header.notes = meter.notes();
    manifest.header.finished_at = Timestamp::from(SystemTime::now());
    for (schema, create) in &manifest.schemas {
        folder.write_schema(schema, create).await?;
    }
    for (name, view) in &manifest.views {
        folder.write_view(name, view).await?;
    }
    folder.write_programs(&manifest.programs).await?;
    for (name, table) in &mut manifest.tables {
        folder.write_table(name, &table.create).await?;
        table.files = files.remove(name).unwrap_or_default();
        table.files.sort_by(|a, b| a.name.cmp(&b.name));
    }
    folder.finish(manifest).await
}

/// Fails if the relay log could not follow a dump at that position.
pub(super) fn expect_followed(job: &DumpJob, position: Option<&Position>) -> Result<()> {
    let Some(relay_from) = &job.relay_from else {
        return Ok(());
    };
    let Some(position) = position else {
        return Err(Error::new(
            ErrorKind::Privilege,
            "the account may not ask where the source's binlog stands, so no changes could follow \
             the dump",
        )
        .with_fix(
            "grant the account REPLICATION CLIENT on *.* (MariaDB 10.5 and later: BINLOG MONITOR)",
        ));
    };
    if position < relay_from {
        return Err(Error::new(
            ErrorKind::History,
            format!("the dump stands at {position}, and the relay log only begins at {relay_from}"),
        )
        .with_fix("remove the relay log of this source, so that it begins anew"));
    }
    Ok(())
}

/// Takes the snapshot between two equal readings of the catalogue: what is the same before and after
/// it was the same at its moment. Tables without versions are read between the two, under the lock,
/// which is held for nothing else.
async fn take_snapshot(job: &DumpJob, work: &Work) -> Result<Taken> {
    let mut before = work.catalogue.lock().await.read().await?;
    let mut hold: Option<DdlHold> = None;
    for _ in 0..SNAPSHOT_TRIES {
        let tables: Vec<TableName> = before.names().cloned().collect();
        let unversioned = unversioned(&before)?;
        let mut snapshot = ConsistentSnapshot::open(Request {
            server: &job.source.server,
            consistency: match (job.task.dump.consistency, &hold) {
                (Consistency::Auto, Some(_)) => Consistency::Snapshot,
                (other, _) => other,
            },
            readers: job.task.dump.threads,
            tables: &tables,
            unversioned: &unversioned,
        })
        .await?;
        let mut files = Files::new();
        let mut is_same = true;
        if snapshot.is_locked() {
            let read = read_locked(job, work, &before, &mut snapshot, &mut files).await;
            match read {
                // Seen under the lock already.
                Err(error) if error.kind() == ErrorKind::Changed => is_same = false,
                other => other?,
            }
            snapshot.release().await?;
        }
        let mut after = work.catalogue.lock().await.read().await?;
        if is_same && after.is_same(&before) && after.schema_defaults == before.schema_defaults {
            if let Some(hold) = hold {
                snapshot.notes.push(hold.release().await?);
            }
            work.catalogue.lock().await.read_rest(&mut after).await?;
            return Ok(Taken {
                found: after,
                snapshot,
                files,
            });
        }
        if !files.is_empty() {
            DumpFolder::create(&job.folder).await?;
        }
        // What is altered all the time is not altered while it is looked at, where the server can
        // see to that. A statement that is held back keeps the global lock from being granted, so the
        // two do not go together.
        if hold.is_none() && job.task.dump.consistency != Consistency::Flush {
            hold = DdlHold::take(&job.source.server).await?;
        }
        before = if hold.is_some() {
            work.catalogue.lock().await.read().await?
        } else {
            after
        };
    }
    Err(changed(
        "tables were created, altered or dropped each time a snapshot was taken",
    ))
}

/// Reads the tables of engines without versions, while nothing can be written.
async fn read_locked(
    job: &DumpJob,
    work: &Work,
    found: &Found,
    snapshot: &mut ConsistentSnapshot,
    files: &mut Files,
) -> Result<()> {
    let mut todo = Vec::new();
    for described in found.tables.iter().filter(|table| table.is_unversioned()) {
        let plan = TablePlan::new(described, job.task.dump.chunk_bytes, snapshot.readers.len())?;
        todo.push(Todo::all(plan));
    }
    work.read_all(todo, &mut snapshot.readers, files).await
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
