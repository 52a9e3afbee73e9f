//! A relay log that ends before a stream's checkpoint.
//!
//! The target may have committed what the relay log had not yet brought to the disk when the power
//! failed. The source sends it again; but a source that lost its own end as well has gone on with
//! other transactions, and the checkpoint's place would be somewhere among them.

use tokio_util::sync::CancellationToken;

use super::beginning::reach;
use super::relay_work::RelayWork;
use crate::model::{Error, ErrorKind, Result};
use crate::target::checkpoint::Mark;

/// How many bytes the relay log lacks up to the mark, as far as that can be told; `None` where it has
/// all of them, or where the mark is not in the newest server's part of it. `is_first`: whether the
/// mark is of a process before this one; the relay may have sent some of it again by now.
fn missing(source: &RelayWork, mark: &Mark, is_first: bool) -> Option<u64> {
    let log = source.log();
    let newest = log.newest_folder()?;
    let tip = if is_first {
        log.opened_at().cloned()?
    } else {
        log.published().borrow().place.clone()?
    };
    if newest.name != mark.place.folder || tip.folder != newest.name {
        return None;
    }
    let (tip, mark) = (&tip.position, &mark.place.position);
    if tip >= mark {
        return None;
    }
    let from = if tip.file == mark.file { tip.offset } else { 0 };
    Some(mark.offset.saturating_sub(from))
}

/// Where the relay log ends before the mark: waits until it has come there again, and sees that it is
/// the history the mark is of; `false` if it was asked to stop. What it waits for goes to `tell`.
pub(super) async fn wait(
    source: &RelayWork,
    mark: &Mark,
    is_first: bool,
    tell: impl Fn(String),
    stop: &CancellationToken,
) -> Result<bool> {
    let Some(missing) = missing(source, mark, is_first) else {
        return Ok(true);
    };
    tell(format!(
        "the relay log ended {missing} bytes before the checkpoint: the source is waited for to send that \
         again"
    ));
    let place = &mark.place;
    tokio::select! {
        () = stop.cancelled() => return Ok(false),
        reached = reach(source, place) => reached?,
    }
    let other = |found: String| {
        Error::new(
            ErrorKind::History,
            format!(
                "the relay log ended before the checkpoint's place {place} and was filled again from the \
                 source, but {found}: the source has lost the end of its binlog as well, and gone on with \
                 another one"
            ),
        )
        .with_fix(
            "the target has transactions that the source lost: settle that by hand, or copy the tables \
             anew",
        )
    };
    if !source.log().covers(place) {
        return Err(other(format!(
            "`{}` has come to its end before it",
            place.position.file
        )));
    }
    let looking = source.log().survey(place, &place.position, |_| Ok(()));
    let stretch = tokio::select! {
        () = stop.cancelled() => return Ok(false),
        stretch = looking => stretch?,
    };
    if !stretch.is_event || !stretch.is_boundary {
        return Err(other("no transaction ends there".into()));
    }
    // Fewer are a fork as well as others are: what cannot be explained stops the stream.
    if let (Some(here), Some(applied)) = (&stretch.gtid_set, &mark.gtid_set)
        && here != applied
    {
        return Err(other(format!(
            "has the transactions `{here}` before it, and the checkpoint has `{applied}`"
        )));
    }
    Ok(true)
}
