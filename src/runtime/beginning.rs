//! Where a stream begins that has neither a dump nor a checkpoint, with the source's structures there.
//!
//! Structures can only be read as they are now. They serve a place of the binlog if the relay log shows
//! that no statement between that place and now has changed a table of the task, whichever of the two
//! the source did first: write the binlog, or make the change visible.

use tokio_util::sync::CancellationToken;

use super::relay_work::RelayWork;
use crate::binlog::{Event, EventKind, FormatDescription, Payload, QueryEvent};
use crate::config::{RelayStart, TaskConfig};
use crate::model::{Error, ErrorKind, Flavor, Place, Position, Result};
use crate::route::is_system_schema;
use crate::schema::{Ddl, DdlClass, SqlMode, Structure};
use crate::source::{self, read_structures};
use crate::target::checkpoint::Mark;

/// How often the structures are read anew because they changed meanwhile.
const TRIES: u32 = 5;

/// The place and the structures there; `None` if it was asked to stop. The relay log has begun.
pub(super) async fn find(
    source: &RelayWork,
    task: &TaskConfig,
    stop: &CancellationToken,
) -> Result<Option<(Mark, Vec<Structure>)>> {
    let asked = match &task.start {
        RelayStart::Now => None,
        RelayStart::Position(position) => Some(position),
        RelayStart::Auto | RelayStart::GtidSet(_) | RelayStart::Time(_) => {
            return Err(Error::new(
                ErrorKind::Checkpoint,
                "`mode = \"incremental\"` finds no checkpoint on the target",
            )
            .with_fix("say where to begin: `start = \"now\"` or `start = \"bin.000123:4\"`"));
        }
    };
    for _ in 0..TRIES {
        let mut session = source.session().await?;
        let (before, gtid_set) = source::binlog_end(&mut session).await?;
        // All tables are tracked, selected or not: a RENAME may bring one in.
        let wanted = |table: &crate::model::TableName| !is_system_schema(&table.schema);
        let structures = read_structures(&mut session, wanted).await?;
        let again = read_structures(&mut session, wanted).await?;
        let (end, _) = source::binlog_end(&mut session).await?;
        let flavor = session.version().flavor;
        session.close().await;
        let (position, gtid_set) = match asked {
            Some(position) if *position > before => {
                return Err(Error::new(
                    ErrorKind::Checkpoint,
                    format!("`start` is {position}, but the source's binlog ends at {before}"),
                )
                .with_fix("give a `start` that the source has written, or `start = \"now\"`"));
            }
            Some(position) => (position.clone(), None),
            None => (before, gtid_set),
        };
        let Some(place) = source.log().place_of(&position) else {
            return Err(Error::new(
                ErrorKind::Internal,
                "the relay log has not begun",
            ));
        };
        if structures != again {
            continue;
        }
        if position < end {
            let looking = changed_between(source, task, flavor, &place, &end);
            let found = tokio::select! {
                () = stop.cancelled() => return Ok(None),
                found = looking => found?,
            };
            match found {
                None => {}
                // The next reading begins behind it.
                Some(_) if asked.is_none() => continue,
                Some((at, statement)) => return Err(changed(&position, &at, &statement)),
            }
        }
        return Ok(Some((Mark::new(place, gtid_set), structures)));
    }
    Err(Error::new(
        ErrorKind::Changed,
        "tables were created, altered or dropped each time the structures were read",
    )
    .with_fix("hold DDL on the source back for a moment; it is tried again by itself"))
}

/// The first statement from `from` up to `end` that changes a table of the task, and its place.
async fn changed_between(
    source: &RelayWork,
    task: &TaskConfig,
    flavor: Flavor,
    from: &Place,
    end: &Position,
) -> Result<Option<(Place, String)>> {
    let log = source.log();
    let mut published = log.published();
    let reached = published.wait_for(|tip| {
        tip.place
            .as_ref()
            .is_some_and(|tip| tip.folder == from.folder && tip.position >= *end)
    });
    if reached.await.is_err() {
        return Err(Error::new(ErrorKind::Internal, "the relay log is gone"));
    }
    if !log.covers(from) {
        let oldest = log.oldest().map_or_else(String::new, |oldest| {
            format!("; it begins at {}", oldest.position)
        });
        return Err(Error::new(
            ErrorKind::Purged,
            format!("the relay log does not have {}{oldest}", from.position),
        )
        .with_fix(
            "give a later `start`; or, if the source still has that file, move the relay log's \
             folder away: it then begins where the task starts",
        ));
    }
    let mut found = None;
    let is_boundary = log
        .survey(from, end, |raw| {
            if found.is_none()
                && let Some(statement) = change(&raw.event, raw.format, task, flavor)?
            {
                found = Some((raw.place(), statement));
            }
            Ok(())
        })
        .await?;
    if !is_boundary {
        return Err(Error::new(
            ErrorKind::Checkpoint,
            format!("`start` is {}, where no transaction ends", from.position),
        )
        .with_fix("give the end of a transaction, or the beginning of a file: `bin.000123:4`"));
    }
    Ok(found)
}

/// The statement of an event, if it may change a table of the task.
fn change(
    event: &Event<'_>,
    format: &FormatDescription,
    task: &TaskConfig,
    flavor: Flavor,
) -> Result<Option<String>> {
    match event.header.kind {
        EventKind::QUERY | EventKind::QUERY_COMPRESSED => {}
        EventKind::TRANSACTION_PAYLOAD => {
            let payload = Payload::parse(event.body)?;
            let mut events = payload.events()?;
            while let Some(bytes) = events.next_event()? {
                let found = change(&format.open_inner(bytes)?, format, task, flavor)?;
                if found.is_some() {
                    return Ok(found);
                }
            }
            return Ok(None);
        }
        _ => return Ok(None),
    }
    let query = QueryEvent::parse(event)?;
    let schema = String::from_utf8_lossy(query.schema);
    let mode = SqlMode::from_bits(query.status.sql_mode.unwrap_or(0));
    let ddl = Ddl::read(query.statement.as_ref(), &schema, mode, flavor);
    let takes = |table: &crate::model::TableName| task.selection.takes(table);
    let may_change = !ddl.temporary
        && match ddl.class() {
            DdlClass::Table => ddl.garbled || ddl.changed_tables().any(takes),
            DdlClass::Database => ddl
                .schema
                .as_ref()
                .is_none_or(|schema| task.selection.may_take_schema(&schema.name)),
            DdlClass::Unknown => ddl.mentions(takes),
            DdlClass::Object | DdlClass::NoBearing | DdlClass::Transaction | DdlClass::Dml => false,
        };
    Ok(may_change.then(|| {
        let text = String::from_utf8_lossy(ddl.statement());
        text.chars().take(200).collect()
    }))
}

fn changed(start: &Position, at: &Place, statement: &str) -> Error {
    Error::new(
        ErrorKind::Structure,
        format!(
            "the tables' structures at {start} are not known: `{statement}` at {} has changed them \
             since",
            at.position
        ),
    )
    .with_fix("start behind that statement, or copy the tables with `mode = \"all\"`")
    .at(|c| c.place = Some(at.clone()))
}
