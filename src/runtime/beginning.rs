//! Where a stream begins that has neither a dump nor a checkpoint, with the source's structures there.
//!
//! Structures can only be read as they are now. They serve a place of the binlog if the relay log shows
//! that no statement between that place and now has changed a table of the task, whichever of the two
//! the source did first: write the binlog, or make the change visible.

use tokio_util::sync::CancellationToken;

use super::clock;
use super::relay_work::RelayWork;
use crate::binlog::{Event, EventKind, FormatDescription, Payload, QueryEvent};
use crate::config::{RelayStart, TaskConfig};
use crate::model::{Error, ErrorKind, Flavor, GtidSet, Place, Position, Result};
use crate::relay_log::{Found, Tip, no_event_start, set_of};
use crate::route::is_system_schema;
use crate::schema::{Ddl, DdlClass, SchemaDefaults, SqlMode, Structure, Structures};
use crate::source::{self, ServerInfo, read_schema_defaults, read_structures};
use crate::target::checkpoint::Mark;

/// The place, the source's structures and the defaults of its databases there.
pub(super) type Beginning = (Mark, Structures, SchemaDefaults);

/// How often the structures are read anew because they changed meanwhile.
const TRIES: u32 = 5;

/// The place and the structures there; `None` if it was asked to stop. The relay log has begun.
pub(super) async fn find(
    source: &RelayWork,
    task: &TaskConfig,
    stop: &CancellationToken,
) -> Result<Option<Beginning>> {
    let log = source.log();
    for _ in 0..TRIES {
        let mut session = source.session().await?;
        let (before, at_end) = source::binlog_end(&mut session).await?;
        source::expect_visible(&mut session, task.selection.exact_schemas()).await?;
        // All tables are tracked, selected or not: a RENAME may bring one in.
        let wanted = |table: &crate::model::TableName| !is_system_schema(&table.schema);
        let schemas = read_schema_defaults(&mut session).await?;
        let structures = packed(read_structures(&mut session, wanted).await?);
        let again = packed(read_structures(&mut session, wanted).await?);
        let schemas_again = read_schema_defaults(&mut session).await?;
        let (end, _) = source::binlog_end(&mut session).await?;
        let flavor = session.version().flavor;
        let info = ServerInfo::read(&mut session).await?;
        let unlogged = match flavor {
            Flavor::MySQL | Flavor::TiDB => source::gtid_purged(&mut session).await?,
            Flavor::MariaDB => GtidSet::empty(flavor),
        };
        session.close().await;
        let server = &info.identity;
        if structures != again || schemas != schemas_again {
            continue;
        }
        if log
            .newest_folder()
            .is_none_or(|newest| newest.identity != *server)
        {
            return Err(Error::new(
                ErrorKind::Changed,
                format!("the server `{server}` answers, but the relay log is not of that one yet"),
            )
            .with_fix("the start waits for the relay to settle that; see the relay's own state"));
        }
        let asked = tokio::select! {
            () = stop.cancelled() => return Ok(None),
            asked = asked_place(source, task, &unlogged, flavor, &before) => asked?,
        };
        let is_asked = asked.is_some();
        let found = match asked {
            Some(found) => found,
            None => Found {
                place: place_of(source, &before)?,
                gtid_set: None,
            },
        };
        let place = found.place;
        let looking = changed_between(source, task, flavor, &place, &end);
        let looked = tokio::select! {
            () = stop.cancelled() => return Ok(None),
            looked = looking => looked?,
        };
        match looked.change {
            None => {}
            // The next reading begins behind it.
            Some(_) if !is_asked => continue,
            Some((at, statement)) => return Err(changed(&place.position, &at, &statement)),
        }
        // As the binlog has it, which is exact: the server's own account may be behind. Without GTIDs
        // a set is empty, and would prove nothing.
        let gtid_set = looked.gtid_set.filter(|_| info.has_gtids());
        let mark = Mark::new(place, gtid_set);
        if let Some(repeated) = log.repeated_in(&mark.place.folder)
            && !mark
                .gtid_set
                .as_ref()
                .is_some_and(|set| is_behind(set, &repeated, &unlogged, at_end.as_ref()))
        {
            // The first part of that sub-folder was received from the server before it, and readers
            // pass over it; this stream has applied none of it.
            return Err(Error::new(
                ErrorKind::Checkpoint,
                format!(
                    "`start` is {}, before where the source's present server took over",
                    mark.place.position
                ),
            )
            .with_fix("start behind the takeover, or copy the tables with `mode = \"all\"`"));
        }
        if log.sub_folder(&mark.place.folder).is_none() {
            // The relay went on in another sub-folder meanwhile.
            continue;
        }
        return Ok(Some((mark, structures, schemas)));
    }
    Err(Error::new(
        ErrorKind::Changed,
        "tables were created, altered or dropped each time the structures were read",
    )
    .with_fix("hold DDL on the source back for a moment; it is tried again by itself"))
}

/// Whether `set` has all that a sub-folder repeats from the server before. What is in no binlog of the
/// present one is not repeated: MySQL's `unlogged`, and the domains of MariaDB's that it does not have
/// at its end either.
fn is_behind(
    set: &GtidSet,
    repeated: &GtidSet,
    unlogged: &GtidSet,
    at_end: Option<&GtidSet>,
) -> bool {
    let (GtidSet::MariaDB(have), GtidSet::MariaDB(former), Some(GtidSet::MariaDB(end))) =
        (set, repeated, at_end)
    else {
        return set.is_superset(&repeated.without(unlogged));
    };
    former
        .iter()
        .all(|(domain, (_, last))| match have.get(domain) {
            Some((_, reached)) => reached >= last,
            None => !end.contains_key(domain),
        })
}

fn packed(structures: Vec<Structure>) -> Structures {
    structures.into_iter().collect()
}

fn place_of(source: &RelayWork, position: &Position) -> Result<Place> {
    source
        .log()
        .place_of(position)
        .ok_or_else(|| Error::new(ErrorKind::Internal, "the relay log has not begun"))
}

/// The place that `start` asks for; `None` for the source's end. `end` is where that is now.
async fn asked_place(
    source: &RelayWork,
    task: &TaskConfig,
    unlogged: &GtidSet,
    flavor: Flavor,
    end: &Position,
) -> Result<Option<Found>> {
    let log = source.log();
    let beyond = |what: &dyn std::fmt::Display| {
        Error::new(
            ErrorKind::Checkpoint,
            format!("`start` is {what}, but the source's binlog ends at {end}"),
        )
        .with_fix("give a `start` that the source has written, or `start = \"now\"`")
    };
    match &task.start {
        RelayStart::Now => Ok(None),
        RelayStart::Position(position) if position > end => Err(beyond(position)),
        RelayStart::Position(position) => Ok(Some(Found {
            place: place_of(source, position)?,
            gtid_set: None,
        })),
        RelayStart::GtidSet(text) => {
            let set = set_of(flavor, text)?;
            let to = place_of(source, end)?;
            reach(source, &to).await?;
            let finding = Box::pin(log.find_gtids(&to.folder, &set, unlogged, end));
            finding.await.map(Some)
        }
        RelayStart::Time(time) => {
            if *time > clock::now() {
                return Err(Error::new(
                    ErrorKind::Checkpoint,
                    format!("`start` is {time}, which is still to come"),
                )
                .with_fix("give a time that has passed, or `start = \"now\"`"));
            }
            let to = place_of(source, end)?;
            reach(source, &to).await?;
            let finding = Box::pin(log.find_time(&to.folder, *time, end));
            finding.await.map(Some)
        }
        RelayStart::Auto => Err(Error::new(
            ErrorKind::Checkpoint,
            "`mode = \"incremental\"` finds no checkpoint on the target",
        )
        .with_fix(
            "say where to begin: `start = \"now\"`, a position such as `\"bin.000123:4\"`, a GTID set, or a \
             time such as `\"2026-11-23T10:41:07Z\"`",
        )),
    }
}

/// Waits until the relay log has everything before `place`.
pub(super) async fn reach(source: &RelayWork, place: &Place) -> Result<()> {
    let mut published = source.log().published();
    let is_left = |tip: &Tip| {
        let newest = source.log().newest_folder();
        newest.is_some_and(|newest| newest.name != place.folder)
            && tip
                .place
                .as_ref()
                .is_none_or(|tip| tip.folder != place.folder)
    };
    let reached = published.wait_for(|tip| {
        let is_there = tip
            .place
            .as_ref()
            .is_some_and(|tip| tip.folder == place.folder && tip.position >= place.position);
        is_there || is_left(tip)
    });
    match reached.await {
        Ok(tip) if is_left(&tip) => Err(Error::new(
            ErrorKind::Changed,
            "another server took over the source while the start was looked for",
        )),
        Ok(_) => Ok(()),
        Err(_) => Err(Error::new(ErrorKind::Internal, "the relay log is gone")),
    }
}

/// What was found between a beginning and the source's end.
struct Looked {
    change: Option<(Place, String)>,
    gtid_set: Option<GtidSet>,
}

/// The first statement from `from` up to `end` that changes a table of the task, and its place.
async fn changed_between(
    source: &RelayWork,
    task: &TaskConfig,
    flavor: Flavor,
    from: &Place,
    end: &Position,
) -> Result<Looked> {
    let log = source.log();
    reach(source, &Place::new(from.folder.clone(), end.clone())).await?;
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
    let stretch = log
        .survey(from, end, |raw| {
            if found.is_none()
                && let Some(statement) = change(&raw.event, raw.format, task, flavor)?
            {
                found = Some((raw.place(), statement));
            }
            Ok(())
        })
        .await?;
    if !stretch.is_event {
        return Err(no_event_start(
            &from.position,
            stretch.before,
            stretch.after,
        ));
    }
    if !stretch.is_boundary {
        return Err(Error::new(
            ErrorKind::Checkpoint,
            format!("`start` is {}, where no transaction ends", from.position),
        )
        .with_fix("give the end of a transaction, or the beginning of a file: `bin.000123:4`"));
    }
    Ok(Looked {
        change: found,
        gtid_set: stretch.gtid_set,
    })
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
