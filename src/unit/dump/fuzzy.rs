//! Makes a dump without a lock, or goes on with one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::SystemTime;

use tokio::sync::Mutex;

use crate::connect::Session;
use crate::dump_files::{
    Begun, DumpFolder, DumpSpan, FeedWriter, Left, Manifest, ProgressWriter, Range, progress, write,
};
use crate::model::{Result, TableName, Timestamp};
use crate::route::EventFilter;
use crate::source::ServerInfo;
use crate::source::snapshot::catalogue_setup;
use crate::source::snapshot::moving::{Moments, open_moving};

use super::catalogue::{Catalogue, Described, Found};
use super::chunk::Chunk;
use super::make::{self, BegunAt, Files};
use super::moving::{Moving, expect_versioned, logs_cascades};
use super::plan::TablePlan;
use super::throttle::Throttle;
use super::tied;
use super::work::{How, Todo, Work};
use super::{DumpJob, Meter, changed, selection_text};

/// How often the beginning is looked for anew because a table changed meanwhile.
const TRIES: u32 = 5;

/// What a dump goes on from.
struct Start {
    plan: Manifest,
    found: Found,
    progress: ProgressWriter,
    left: Left,
}

pub(super) async fn dump(
    job: &DumpJob,
    feed: &FeedWriter,
    meter: &Arc<Meter>,
    throttle: &Arc<Throttle>,
) -> Result<Manifest> {
    let mut session = Session::open(&job.source.server, &catalogue_setup()).await?;
    let info = ServerInfo::read(&mut session).await?;
    let mut catalogue = Catalogue::new(session, job.task.selection.clone(), job.task.dump.programs);
    let mut notes = Vec::new();
    let moments = Moments::open(&job.source.server, &mut notes).await?;
    let start = match Left::find(&job.folder).await? {
        Some(left) => again(job, &info, &mut catalogue, left).await?,
        None => begin(job, &info, &mut catalogue, &moments, notes, meter).await?,
    };
    let Start {
        plan,
        found,
        progress,
        left,
    } = start;

    EventFilter::expect_all_changes(&job.task.filters, plan.tables.keys())?;
    let readers = job.task.dump.threads;
    let described: BTreeMap<&TableName, &Described> = found
        .tables
        .iter()
        .map(|table| (&table.structure.table, table))
        .collect();
    let tied = tied_tables(&plan, &info);
    let mut todo = Vec::new();
    for name in plan.tables.keys() {
        if let Some(described) = described.get(name) {
            let mut table = TablePlan::new(described, job.task.dump.chunk_bytes, readers)?;
            table.tied = tied.iter().position(|group| group.contains(name));
            todo.push(rest(table, &left));
        }
    }
    make::begin_figures(meter, todo.iter().map(|todo| &todo.plan));
    for note in plan.header.notes.iter().chain(&found.left_out) {
        meter.note(note.clone());
    }
    for group in &tied {
        let names: Vec<String> = group.iter().map(ToString::to_string).collect();
        meter.note(format!(
            "read at one moment by one session, as foreign keys change rows of theirs and the source \
             does not log that: {}",
            names.join(", ")
        ));
    }
    feed.open(make::opening(&plan, todo.iter().map(|todo| &todo.plan)));
    let mut files = Files::new();
    for chunk in &left.done {
        for file in &chunk.files {
            meter.resume(&chunk.table, file.rows, file.bytes);
            feed.file(&chunk.table, file);
            files
                .entry(chunk.table.clone())
                .or_default()
                .push(file.clone());
        }
        meter.finish_chunk(&chunk.table);
    }
    for (table, found) in &left.found {
        meter.set_chunks(table, found.len() as u64);
    }

    let moving = Arc::new(Moving::new(moments, progress, &left.done));
    let folder = DumpFolder::again(&job.folder).packed_as(job.task.dump.packing);
    let work = Work {
        folder: folder.clone(),
        catalogue: Arc::new(Mutex::new(catalogue)),
        feed: Some(feed.clone()),
        meter: Arc::clone(meter),
        throttle: Arc::clone(throttle),
        how: How::Moving(Arc::clone(&moving)),
    };
    let mut sessions = open_moving(&job.source.server, readers).await?;
    work.read_all(todo, &mut sessions, &mut files).await?;
    for session in sessions {
        session.close().await;
    }
    expect_same(&work, &plan).await?;
    drop(work);

    let mut plan = plan;
    let ends = moving.strict_from(
        |table| {
            let table = plan.tables.get(table);
            table.is_some_and(|table| table.structure.row_key().is_none())
        },
        |table| tied.iter().any(|group| group.contains(table)),
    );
    if let Some(span) = &mut plan.header.span {
        let last = ends.values().map(|end| &end.position).max();
        span.until = last.unwrap_or(&span.from).clone();
        meter.note(format!(
            "the rows are of moments from {} to {}; replication makes them those of one",
            span.from, span.until
        ));
    }
    for (table, end) in ends {
        if let Some(table) = plan.tables.get_mut(&table) {
            table.strict_from = Some(end);
        }
    }
    let manifest = make::finish(&folder, meter, plan, files).await?;
    if let Some(moving) = Arc::into_inner(moving) {
        moving.finish().await?;
    }
    feed.complete(&manifest);
    meter.finish();
    Ok(manifest)
}

/// Begins between two equal readings of the catalogue.
async fn begin(
    job: &DumpJob,
    info: &ServerInfo,
    catalogue: &mut Catalogue,
    moments: &Moments,
    notes: Vec<String>,
    meter: &Meter,
) -> Result<Start> {
    DumpFolder::create(&job.folder).await?;
    let mut before = catalogue.read().await?;
    for _ in 0..TRIES {
        let mut notes = notes.clone();
        let beginning = moments.beginning(&mut notes).await?;
        let mut after = catalogue.read().await?;
        if !after.is_same(&before) {
            before = after;
            continue;
        }
        make::expect_followed(job, Some(&beginning.position))?;
        catalogue.read_rest(&mut after).await?;
        before.left_out = std::mem::take(&mut after.left_out);
        let structures = before.tables.iter().map(|table| &table.structure);
        let unversioned: Vec<&TableName> = before
            .tables
            .iter()
            .filter(|table| table.is_unversioned())
            .map(|table| &table.structure.table)
            .collect();
        let is_unversioned = |table: &crate::schema::Structure| unversioned.contains(&&table.table);
        expect_versioned(structures, is_unversioned)?;
        meter.note(format!(
            "consistency by `fuzzy`: no lock, from {} on; each chunk is of a moment of its own",
            beginning.position
        ));
        for note in notes {
            meter.note(note);
        }
        let span = DumpSpan {
            from: beginning.position.clone(),
            from_gtid_set: beginning.gtid_set.clone(),
            until: beginning.position.clone(),
        };
        let begun = BegunAt {
            position: Some(beginning.position),
            gtid_set: beginning.gtid_set,
            span: Some(span),
            consistency: "fuzzy",
            at: Timestamp::from(SystemTime::now()),
        };
        let plan = make::plan(job, info, meter, begun, &mut after);
        let begun = Begun::new(&plan);
        let progress = ProgressWriter::begin(&job.folder, begun.clone()).await?;
        return Ok(Start {
            plan,
            found: before,
            progress,
            left: Left {
                begun,
                found: BTreeMap::new(),
                done: Vec::new(),
            },
        });
    }
    Err(changed(
        "tables were created, altered or dropped each time the dump was to begin",
    ))
}

/// Goes on with what is left of a dump, if it is still one of the same tables.
async fn again(
    job: &DumpJob,
    info: &ServerInfo,
    catalogue: &mut Catalogue,
    mut left: Left,
) -> Result<Start> {
    let mut plan = left.begun.plan();
    let mut now = catalogue.read().await?;
    if let Some(why) = why_not(job, info, &plan, &now) {
        // A load of it may have begun: what it has loaded is taken back before the next dump.
        write::remove(&job.folder).await?;
        return Err(changed(format!(
            "the unfinished dump in the folder cannot be gone on with: {why}"
        )));
    }
    catalogue.read_rest(&mut now).await?;
    // Of tables that are of one moment, all are done or none.
    for group in tied_tables(&plan, info) {
        let done = left.done.iter().map(|chunk| &chunk.table);
        if !group.is_subset(&done.cloned().collect()) {
            left.done.retain(|chunk| !group.contains(&chunk.table));
        }
    }
    let before = done_at_one_moment(&plan, info, &left);
    let progress = ProgressWriter::resume(&job.folder, &mut left).await?;
    // Read again at another moment, they would be in the target twice, or not fit the others.
    if done_at_one_moment(&plan, info, &left) != before {
        write::remove(&job.folder).await?;
        return Err(changed(
            "files of the unfinished dump in the folder are missing, of tables that were read at one \
             moment",
        ));
    }
    plan.header.notes.push(format!(
        "goes on with the dump begun at {}: {} chunks are done",
        plan.header.consistent_at,
        left.done.len()
    ));
    Ok(Start {
        plan,
        found: now,
        progress,
        left,
    })
}

fn why_not(job: &DumpJob, info: &ServerInfo, plan: &Manifest, now: &Found) -> Option<String> {
    let header = &plan.header;
    if (&header.task, &header.source) != (&job.task.name, &job.source.server.name) {
        return Some("it is of another task".into());
    }
    if header.source_identity != info.identity {
        return Some("it is of another server".into());
    }
    if header.selection != selection_text(&job.task) {
        return Some("it was begun for other tables".into());
    }
    if header.relay != job.relay {
        return Some("the relay log is not the one that was kept with it".into());
    }
    if job.relay_from.as_ref() > header.position.as_ref() {
        return Some("the relay log does not go back to it".into());
    }
    let tables = plan.tables.values();
    now.changed_since(tables.map(|table| (&table.structure, table.create.as_str())))
        .map(|table| format!("{table} was altered or dropped since"))
}

/// The groups of a dump's tables that must be read at one moment.
fn tied_tables(plan: &Manifest, info: &ServerInfo) -> Vec<BTreeSet<TableName>> {
    if logs_cascades(&info.version) {
        return Vec::new();
    }
    tied::groups(plan.tables.values().map(|table| &table.structure))
}

/// The tables that were read at one moment whose place is known exactly.
fn done_at_one_moment(plan: &Manifest, info: &ServerInfo, left: &Left) -> BTreeSet<TableName> {
    let tied = tied_tables(plan, info);
    let is_exact = |table: &TableName| {
        let keyless = plan
            .tables
            .get(table)
            .is_some_and(|table| table.structure.row_key().is_none());
        keyless || tied.iter().any(|group| group.contains(table))
    };
    let done = left.done.iter().map(|chunk| &chunk.table);
    done.filter(|table| is_exact(table)).cloned().collect()
}

/// What is left to be read of a table.
fn rest(mut plan: TablePlan, left: &Left) -> Todo {
    let table = plan.table().clone();
    let done: Vec<&Range> = left
        .done
        .iter()
        .filter(|chunk| chunk.table == table)
        .map(|chunk| &chunk.range)
        .collect();
    let number = left
        .done
        .iter()
        .filter(|chunk| chunk.table == table)
        .flat_map(|chunk| &chunk.files)
        .filter_map(|file| progress::file_number(&table, &file.name))
        .max();
    plan.files_go_on_behind(number.unwrap_or(0));
    let Some(found) = left.found.get(&table) else {
        // It was, or is to be, read in one piece.
        return Todo {
            plan,
            chunks: Vec::new(),
            is_open: done.is_empty(),
        };
    };
    let last = found.last().and_then(|range| range.until.clone());
    let is_open = last.is_some();
    plan.cut_from = last.map(Into::into);
    let chunks: Vec<Chunk> = found
        .iter()
        .filter(|range| !done.contains(range))
        .cloned()
        .map(Chunk::from)
        .collect();
    Todo {
        plan,
        chunks,
        is_open,
    }
}

/// Fails if a table is another now than when the dump began: its chunks may be of both. New ones are
/// no matter: replication brings them.
async fn expect_same(work: &Work, plan: &Manifest) -> Result<()> {
    let now = work.catalogue.lock().await.read().await?;
    let tables = plan.tables.values();
    match now.changed_since(tables.map(|table| (&table.structure, table.create.as_str()))) {
        None => Ok(()),
        Some(table) => Err(changed(format!(
            "{table} was altered, renamed or dropped while it was dumped without a lock"
        ))
        .at(|c| c.table = Some(table.clone()))),
    }
}
