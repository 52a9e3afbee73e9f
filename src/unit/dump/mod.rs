//! The dump unit: reads a consistent full copy from a source into files.
//!
//! The runtime starts it; the load unit reads what it leaves. It reads structures before and after
//! the snapshot is taken, and a table's again while each of its chunks is read: what cannot be shown
//! to be of the snapshot's moment is not kept. A dump that stops or fails leaves nothing behind that
//! could be loaded, and starts anew; but one without a lock goes on chunk by chunk.

mod catalogue;
mod chunk;
mod cut;
mod fuzzy;
mod make;
mod moving;
mod plan;
mod programs;
mod rows;
mod stretch;
mod throttle;
mod tied;
mod work;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use tokio_util::sync::CancellationToken;

use crate::config::{Consistency, SourceConfig, TaskConfig};
use crate::connect::Session;
use crate::dump_files::{DumpHeader, FeedWriter, Left, Manifest, write};
use crate::model::{Error, ErrorKind, Position, Result, TableName, Timestamp, Unit};
use crate::source::ServerInfo;
use crate::source::snapshot::catalogue_setup;
use crate::unit::transfer::{self, Phases};

use throttle::Throttle;

/// The dump's figures.
pub type Meter = transfer::Meter;

/// A meter for a dump.
pub fn meter() -> Meter {
    Meter::new(Phases {
        at_work: "dumping",
        done: "dumped",
    })
}

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
    /// It was stopped. It starts anew next time; one without a lock goes on.
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
        let is_there = write::has_files(&job.folder, &manifest).await.map_err(at)?;
        let missing = (!is_there).then_some("its files are not all there");
        let Some(why) = why_not(&job, header, &identity).or(missing) else {
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
    let throttle = Arc::new(Throttle::new(&job.task.dump, &meter));
    let outcome = tokio::select! {
        biased;
        () = stop.cancelled() => Ok(DumpOutcome::Stopped),
        made = dump(&job, &feed, &meter, &throttle) => {
            made.map(|manifest| DumpOutcome::Complete(Box::new(manifest)))
        }
        () = throttle.watch(&job.source.server) => Ok(DumpOutcome::Stopped),
    };
    meter.set_throttled(None);
    if !matches!(outcome, Ok(DumpOutcome::Complete(_))) && !can_go_on(&job, &outcome).await {
        // Also gives back the room that a full disk lacks. The error that led here counts more than
        // one of this; without a manifest nothing that is left will be loaded.
        let _ = write::remove(&job.folder).await;
    }
    outcome.map_err(at)
}

async fn dump(
    job: &DumpJob,
    feed: &FeedWriter,
    meter: &Arc<Meter>,
    throttle: &Arc<Throttle>,
) -> Result<Manifest> {
    if job.task.dump.consistency == Consistency::Fuzzy {
        fuzzy::dump(job, feed, meter, throttle).await
    } else {
        make::dump(job, feed, meter, throttle).await
    }
}

/// Whether a dump that ended so is gone on with. One whose tables changed is of no more use, and what
/// cannot be read is not either.
async fn can_go_on(job: &DumpJob, outcome: &Result<DumpOutcome>) -> bool {
    let is_worth_it = match outcome {
        Ok(_) => true,
        Err(error) => !matches!(error.kind(), ErrorKind::Changed | ErrorKind::Damaged),
    };
    is_worth_it && matches!(Left::find(&job.folder).await, Ok(Some(_)))
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
