//! A relay log that ends before a stream's checkpoint.
//!
//! The target may have committed what the relay log had not yet brought to the disk when the power
//! failed. The source sends it again; but a source that lost its own end as well has gone on with
//! other transactions, and the checkpoint's place would be somewhere among them.

use tokio_util::sync::CancellationToken;

use super::beginning::reach;
use super::history::{self, Proof};
use super::relay_work::RelayWork;
use crate::config::TaskConfig;
use crate::model::position::FIRST_OFFSET;
use crate::model::{Error, ErrorKind, Place, Result};
use crate::target::checkpoint::Mark;

/// The name by which the operator accepts a file that came anew as a whole.
const FINDING: &str = "relay-log-refilled";

const ANEW: &str = "the target may have transactions that the source lost: settle that by hand, or copy the tables anew";

/// What a mark needs that the relay log did not have.
#[derive(Clone, Copy, Debug)]
struct Missing {
    /// Bytes of the mark's file.
    bytes: u64,
    /// Whether the file's beginning was there: what came again was compared with it. A server that
    /// loses its end begins another file, so the rest of this one is the same history.
    is_known_file: bool,
}

/// What the relay log lacks up to the mark, as far as that can be told; `None` where it has all of it,
/// or where the mark is not in the newest server's part of it. `is_first`: whether the mark is of a
/// process before this one; the relay may have sent some of it again by now.
fn missing(source: &RelayWork, mark: &Mark, is_first: bool) -> Option<Missing> {
    let log = source.log();
    let newest = log.newest_folder()?;
    if newest.name != mark.place.folder {
        return None;
    }
    let tip = if is_first {
        log.opened_at().cloned()
    } else {
        log.published().borrow().place.clone()
    };
    let mark = &mark.place.position;
    // Nothing at all of the newest sub-folder may have been left.
    let tip = tip.filter(|tip| tip.folder == newest.name);
    let tip = tip.map(|tip| tip.position);
    if tip.as_ref().is_some_and(|tip| tip >= mark) {
        return None;
    }
    let from = tip.filter(|tip| tip.file == mark.file);
    Some(Missing {
        bytes: mark
            .offset
            .saturating_sub(from.as_ref().map_or(0, |tip| tip.offset)),
        is_known_file: from.is_some_and(|tip| tip.offset > FIRST_OFFSET),
    })
}

/// Where the relay log ends before the mark: waits until it has come there again, and sees that it is
/// the history the mark is of; `false` if it was asked to stop. What it waits for goes to `tell`.
pub(super) async fn wait(
    source: &RelayWork,
    task: &TaskConfig,
    mark: &Mark,
    is_first: bool,
    tell: impl Fn(String),
    stop: &CancellationToken,
) -> Result<bool> {
    let Some(missing) = missing(source, mark, is_first) else {
        return Ok(true);
    };
    tell(format!(
        "the relay log ended {} bytes before the checkpoint: the source is waited for to send that again",
        missing.bytes
    ));
    let place = &mark.place;
    tokio::select! {
        () = stop.cancelled() => return Ok(false),
        reached = reach(source, place) => reached?,
    }
    if !source.log().covers(place) {
        return Err(other_history(
            place,
            &format!("`{}` has come to its end before it", place.position.file),
        ));
    }
    let looking = source.log().survey(place, &place.position, |_| Ok(()));
    let stretch = tokio::select! {
        () = stop.cancelled() => return Ok(false),
        stretch = looking => stretch?,
    };
    if !stretch.is_event || !stretch.is_boundary {
        return Err(other_history(place, "no transaction ends there"));
    }
    // Fewer are a fork as well as others are: what cannot be explained stops the stream.
    match history::prove(source, place, &stretch, mark.gtid_set.as_ref()).await? {
        Proof::Same => {}
        Proof::Other { here, applied } => {
            let found = history::difference(place, &here, &applied);
            let name = source.source_name();
            history::accepted(task, name, history::DIFFERS, place, &found).map_err(|accept| {
                let error = other_history(place, &Proof::difference(&here, &applied));
                history::with_accept(error, ANEW, &accept)
            })?;
        }
        Proof::None if missing.is_known_file => {}
        Proof::None => {
            let found = place.position.to_string();
            let name = source.source_name();
            history::accepted(task, name, FINDING, place, &found).map_err(|accept| {
                let error = Error::new(
                    ErrorKind::Checkpoint,
                    format!(
                        "the relay log had nothing of the file of the checkpoint's place {place} and was \
                         filled again from the source; without GTIDs nothing shows that it is the same \
                         file"
                    ),
                );
                history::with_accept(error, ANEW, &accept)
            })?;
        }
    }
    Ok(true)
}

fn other_history(place: &Place, why: &str) -> Error {
    Error::new(
        ErrorKind::History,
        format!(
            "the relay log ended before the checkpoint's place {place} and was filled again from the \
             source, but {why}: the source has lost the end of its binlog as well, and gone on with \
             another one"
        ),
    )
    .with_fix(ANEW)
}
