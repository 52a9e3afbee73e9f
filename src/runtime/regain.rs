//! A stream whose relay log is lost finds its place again in the one that was begun anew: the worker
//! moved to another machine, or its data folder is gone.
//!
//! The checkpoint names a place by sub-folder, file and offset, and a relay log begun anew has another
//! sub-folder. The same file and offset of the same server mean the same place only if it is the same
//! history: after a RESET the names and offsets begin again. So the place is taken over where the
//! binlog itself says that the very transactions of the checkpoint are those before it; else the
//! stream stands.

use tokio_util::sync::CancellationToken;

use super::beginning::reach;
use super::history::{self, Proof};
use super::relay_work::RelayWork;
use crate::config::TaskConfig;
use crate::model::{Error, ErrorKind, Place, Result};
use crate::relay_log::SubFolder;
use crate::source;
use crate::target::checkpoint::SyncState;

/// The name by which the operator accepts it.
const FINDING: &str = "relay-log-lost";

const ANEW: &str = "start the task anew from a full copy (README, \"Starting anew\"); or, if the relay log was moved, put it back";

/// The sub-folder in which the place of `state` goes on, as far as that is not the one it names;
/// `None` if there is nothing to do, or it was asked to stop.
pub(super) async fn find(
    source: &RelayWork,
    task: &TaskConfig,
    state: &SyncState,
    stop: &CancellationToken,
) -> Result<Option<String>> {
    let log = source.log();
    let lost = &state.mark.place;
    if log.sub_folder(&lost.folder).is_some() {
        return Ok(None);
    }
    let mut begun = log.published();
    tokio::select! {
        () = stop.cancelled() => return Ok(None),
        tip = begun.wait_for(|tip| tip.place.is_some()) => {
            if tip.is_err() {
                return Ok(None);
            }
        }
    }
    let Some(newest) = log.newest_folder() else {
        return Ok(None);
    };
    if newest.name == lost.folder {
        return Ok(None);
    }
    check_server(&newest, lost)?;
    let place = Place::new(newest.name.clone(), lost.position.clone());
    let mut session = source.session().await?;
    let (end, _) = source::binlog_end(&mut session).await?;
    session.close().await;
    if end < lost.position {
        return Err(other_history(
            lost,
            &format!("the source's binlog ends at {end}"),
        ));
    }
    let needed = state.mark.needed_from().position.clone();
    let stretch = tokio::select! {
        () = stop.cancelled() => return Ok(None),
        stretch = async {
            reach(source, &place).await?;
            if !log.covers(&Place::new(newest.name.clone(), needed)) {
                return Ok(None);
            }
            log.survey(&place, &place.position, |_| Ok(())).await.map(Some)
        } => stretch?,
    };
    let Some(stretch) = stretch else {
        return Err(Error::new(
            ErrorKind::Purged,
            format!(
                "the relay log was begun anew, and begins behind {}, which the checkpoint needs",
                state.mark.needed_from().position
            ),
        )
        .with_fix(
            "if the source still has that file, stop, move the relay log's folder away and start: it \
             then begins where the checkpoint needs it; else start the task anew from a full copy \
             (README, \"Starting anew\")",
        ));
    };
    if !stretch.is_boundary {
        return Err(other_history(
            lost,
            "no transaction of the source ends there",
        ));
    }
    match history::prove(source, &place, &stretch, state.mark.gtid_set.as_ref()).await? {
        Proof::Same => {}
        Proof::Other { here, applied } => {
            let found = history::difference(lost, &here, &applied);
            let name = source.source_name();
            history::accepted(task, name, history::DIFFERS, lost, &found).map_err(|accept| {
                let error = other_history(lost, &Proof::difference(&here, &applied));
                history::with_accept(error, ANEW, &accept)
            })?;
        }
        Proof::None => accepted(task, source.source_name(), lost)?,
    }
    Ok(Some(newest.name))
}

/// Without GTIDs only the operator can say that the source's binlogs were not begun again.
fn accepted(task: &TaskConfig, source: &str, lost: &Place) -> Result<()> {
    let found = lost.position.to_string();
    history::accepted(task, source, FINDING, lost, &found).map_err(|accept| {
        Error::new(
            ErrorKind::Checkpoint,
            format!(
                "the relay log of the checkpoint's place {lost} is lost, and without GTIDs nothing shows \
                 that the source's {found} is still the same place"
            ),
        )
        .with_fix(format!(
            "if the source's binlogs were neither reset nor restored since, say so: {accept}; else {ANEW}"
        ))
    })
}

/// A sub-folder's name begins with its server.
fn check_server(newest: &SubFolder, lost: &Place) -> Result<()> {
    let before = lost
        .folder
        .rsplit_once('.')
        .map_or(lost.folder.as_str(), |(server, _)| server);
    if before == newest.identity {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::History,
        format!(
            "the relay log of the checkpoint's place {lost} is lost, and the source is the server `{}` \
             now",
            newest.identity
        ),
    )
    .with_fix(ANEW))
}

fn other_history(lost: &Place, why: &str) -> Error {
    Error::new(
        ErrorKind::History,
        format!(
            "the relay log of the checkpoint's place {lost} is lost, and the source's binlog is not \
             the one it was of: {why}"
        ),
    )
    .with_fix(ANEW)
}
