//! MariaDB without a lock: a session that begins WITH CONSISTENT SNAPSHOT is told the binlog position
//! of its very moment. Needs no privilege.
//!
//! Several sessions see one moment if they are told one position. They are begun together until they
//! are; on a source that never stands still for so long, as many as were once told the same are kept.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::connect::Session;
use crate::model::{Error, ErrorKind, Position, Result};

use super::place::{Found, gtid_set_at, own_position};
use super::session::{begin, end, open_readers};
use super::{ConsistentSnapshot, Request, unversioned_error, xa};

/// How often all sessions are begun together.
const TRIES: u32 = 40;

/// How often a moment without an open XA transaction is looked for.
const XA_TRIES: u32 = 6;

pub(super) async fn take(request: Request<'_>, mut beside: Session) -> Result<ConsistentSnapshot> {
    if let Some(table) = request.unversioned.first() {
        return Err(unversioned_error(table));
    }
    let mut notes = Vec::new();
    let mut tries = 0;
    let (readers, position) = loop {
        let ended_before = xa::ended(&mut beside).await?;
        let begun = together(request).await?;
        // Prepared before our moment and ended after it, a transaction is in neither the rows nor the
        // binlog behind the position. It is either still prepared now, or one has ended meanwhile.
        let prepared = xa::prepared(&mut beside, &mut notes).await?;
        if prepared == 0 && xa::ended(&mut beside).await? == ended_before {
            break begun;
        }
        for reader in begun.0 {
            reader.close().await;
        }
        tries += 1;
        if tries == XA_TRIES {
            return Err(xa::error(prepared));
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    };
    let gtid_set = gtid_set_at(&mut beside, position.as_ref()).await?;
    beside.close().await;
    notes.insert(0, told(readers.len(), request.readers.max(1)));
    if let Some(position) = &position {
        notes.push(format!(
            "proof: the server says of each session's own snapshot that it stands at {position}"
        ));
    }
    let found = Found { position, gtid_set };
    Ok(ConsistentSnapshot::new(
        readers, found, "snapshot", notes, None,
    ))
}

fn told(got: usize, wanted: usize) -> String {
    match (got, wanted) {
        (1, 1) => "consistency by `snapshot`: one session, without a lock".into(),
        (got, wanted) if got == wanted => {
            format!("consistency by `snapshot`: {got} sessions began at one moment, without a lock")
        }
        (got, wanted) => format!(
            "consistency by `snapshot`: {got} of {wanted} sessions could be begun at one moment without \
             a lock; with RELOAD, or by `fuzzy`, all can read"
        ),
    }
}

/// Sessions that see one moment, and its place.
async fn together(request: Request<'_>) -> Result<(Vec<Session>, Option<Position>)> {
    let wanted = request.readers.max(1);
    let mut readers = open_readers(request.server, wanted).await?;
    for try_number in 1.. {
        begin(&mut readers).await?;
        let mut groups: BTreeMap<Option<Position>, Vec<Session>> = BTreeMap::new();
        for mut reader in std::mem::take(&mut readers) {
            let position = own_position(&mut reader).await?;
            groups.entry(position).or_default().push(reader);
        }
        // Without a binlog nothing tells one moment from another.
        if let Some(mut alike) = groups.remove(&None) {
            alike.truncate(1);
            return Ok((alike, None));
        }
        let count = groups.len();
        let is_last = try_number == TRIES;
        if count == 1 || is_last {
            let most = groups.into_iter().max_by_key(|(_, alike)| alike.len());
            let (position, alike) = most.ok_or_else(nothing_opened)?;
            return Ok((alike, position));
        }
        readers = groups.into_values().flatten().collect();
        end(&mut readers).await?;
        tokio::time::sleep(Duration::from_millis(u64::from(try_number))).await;
    }
    Err(nothing_opened())
}

fn nothing_opened() -> Error {
    Error::new(ErrorKind::Internal, "no session was opened")
}
