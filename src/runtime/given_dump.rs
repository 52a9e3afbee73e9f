//! A dump that the operator names (`task.load.from`), in place of one that is made here.
//!
//! One of our own, made elsewhere or kept, has its manifest; one of another tool is read whole, and gets
//! one. Either way the manifest goes into the stream's own folder, and says where the files are: these
//! are read only, and never removed.

use std::path::Path;
use std::time::SystemTime;

use tokio_util::sync::CancellationToken;

use crate::config::{Mode, TaskConfig};
use crate::dump_files::{DumpFolder, DumpHeader, Manifest, foreign};
use crate::model::{Error, ErrorKind, Flavor, Position, Result, Timestamp};
use crate::route::is_system_schema;

use super::relay_work::{Facts, Need, RelayWork};
use crate::schema::SchemaDefaults;

/// What the stream is of, and from where on its relay log has everything.
pub(super) struct Taker<'a> {
    task: &'a TaskConfig,
    source: &'a RelayWork,
    facts: Facts,
    relay_from: Option<Position>,
}

impl<'a> Taker<'a> {
    /// Asks the source what it is.
    pub(super) async fn new(
        task: &'a TaskConfig,
        source: &'a RelayWork,
        relay_from: Option<Position>,
    ) -> Result<Self> {
        Ok(Self {
            task,
            source,
            facts: source.known().await?,
            relay_from,
        })
    }

    /// Takes the dump in `from` for the stream's own, with its manifest in `folder`; `false` if it was
    /// asked to stop.
    pub(super) async fn take(
        &self,
        from: &Path,
        folder: &Path,
        stop: &CancellationToken,
    ) -> Result<bool> {
        tokio::select! {
            biased;
            () = stop.cancelled() => Ok(false),
            taken = take(from, folder, self) => taken.map(|()| true),
        }
    }
}

/// From where on the relay log is needed: from where the dump in the folder stands, if there is one
/// that says so. What is wrong with it is told when it is taken.
pub(super) fn need(from: Option<&Path>, flavor: Flavor) -> Need {
    let position = from.and_then(|from| match Manifest::find(from) {
        Ok(Some(manifest)) => manifest.header.position,
        _ => foreign::metadata(from, flavor).ok()?.position,
    });
    position.map_or(Need::Anywhere, Need::From)
}

async fn take(from: &Path, folder: &Path, taker: &Taker<'_>) -> Result<()> {
    let mut manifest = match Manifest::find(from)? {
        Some(manifest) => ours(manifest, from, taker)?,
        None => others(from, taker).await?,
    };
    let header = &mut manifest.header;
    header.relay = taker.source.log().token();
    if taker.task.mode == Mode::All {
        let position = header.position.as_ref().ok_or_else(|| {
            Error::new(
                ErrorKind::Refused,
                format!(
                    "the dump in `{}` does not say where in the source's binlog it stands, so no \
                     changes could follow it",
                    from.display()
                ),
            )
            .with_fix("use `mode = \"full\"`, or put its file `metadata` back")
        })?;
        if let Some(relay_from) = &taker.relay_from
            && position < relay_from
        {
            return Err(Error::new(
                ErrorKind::History,
                format!(
                    "the dump in `{}` stands at {position}, and the relay log only begins at \
                     {relay_from}",
                    from.display()
                ),
            )
            .with_fix(format!(
                "set `start = \"{position}\"` in `[source.relay]` and remove the relay log of this \
                 source, if the source still has that file"
            )));
        }
    }
    DumpFolder::create(folder).await?;
    let folder = folder.to_owned();
    tokio::task::spawn_blocking(move || manifest.write(&folder))
        .await
        .map_err(|error| {
            Error::new(
                ErrorKind::Internal,
                "the writer of the manifest did not end",
            )
            .with_source(error)
        })?
}

/// A dump of this program.
fn ours(mut manifest: Manifest, from: &Path, taker: &Taker<'_>) -> Result<Manifest> {
    let identity = &taker.facts.info.identity;
    let header = &mut manifest.header;
    if header.source_identity != *identity {
        return Err(Error::new(
            ErrorKind::History,
            format!(
                "the dump in `{}` is of the server `{}`, and the source is `{identity}`",
                from.display(),
                header.source_identity
            ),
        )
        .with_fix("name a dump of this source in `task.load.from`"));
    }
    if header.span.is_some() {
        return Err(Error::new(
            ErrorKind::Unsupported,
            format!(
                "the dump in `{}` was made without a lock, and only the stream that made it can bring \
                 its tables to one moment",
                from.display()
            ),
        )
        .with_fix("name one that was made with `consistency = \"flush\"` or `\"snapshot\"`"));
    }
    taker.task.name.clone_into(&mut header.task);
    taker.source.source_name().clone_into(&mut header.source);
    if header.files_in.is_none() {
        header.files_in = Some(from.to_owned());
    }
    let takes = |table: &crate::model::TableName| taker.task.selection.takes(table);
    manifest.tables.retain(|table, _| takes(table));
    manifest.views.retain(|view, _| takes(view));
    Ok(manifest)
}

/// A dump of another tool, or files like its.
async fn others(from: &Path, taker: &Taker<'_>) -> Result<Manifest> {
    let facts = &taker.facts;
    let flavor = facts.info.flavor();
    let wanted = |table: &crate::model::TableName| {
        !is_system_schema(&table.schema) && taker.task.selection.takes(table)
    };
    let found = foreign::survey(from, flavor, &facts.defaults, wanted).await?;
    let now = Timestamp::from(SystemTime::now());
    let metadata = found.metadata;
    let mut notes = vec![format!(
        "the dump in `{}` is another tool's: its values are as that one wrote them, and that it is of \
         this source is for you to know",
        from.display()
    )];
    notes.extend(found.notes);
    let selection = taker.task.selection.lines().collect::<Vec<_>>();
    Ok(Manifest {
        header: DumpHeader {
            version: Manifest::version(),
            dump_id: format!("given-{:x}-{:x}", now.0, std::process::id()),
            task: taker.task.name.clone(),
            source: taker.source.source_name().to_owned(),
            source_identity: facts.info.identity.clone(),
            selection: selection.join("\n"),
            relay: None,
            files_in: Some(from.to_owned()),
            flavor,
            server_version: facts.info.version.text.clone(),
            position: metadata.position,
            gtid_set: metadata.gtid_set,
            span: None,
            schema_defaults: SchemaDefaults::new(),
            consistency: "given".to_owned(),
            notes,
            consistent_at: metadata.started_at.unwrap_or(now),
            finished_at: now,
        },
        schemas: found.schemas,
        tables: found.tables,
        views: found.views,
        programs: Vec::new(),
    })
}
