//! MySQL without RELOAD: in turn, several sessions proved to see one moment, one session so, and a
//! short read lock on the selected tables.

use std::time::Duration;

use crate::connect::Session;
use crate::model::{ErrorKind, Result};
use crate::source::server_info::ServerInfo;

use super::lock::{Kind, Lock};
use super::place::{Found, MySqlLog};
use super::session::{begin, end, open_readers};
use super::{ConsistentSnapshot, Request, unversioned_error, xa};

/// How often all sessions are begun together without a lock.
const TRIES: u32 = 40;

/// How often one session alone is, after that.
const TRIES_ALONE: u32 = 20;

pub(super) async fn take(request: Request<'_>, mut beside: Session) -> Result<ConsistentSnapshot> {
    let mut notes = Vec::new();
    let info = ServerInfo::read(&mut beside).await?;
    let log = MySqlLog::find(&mut beside, &info, &mut notes).await?;
    if log.has_proof() && request.unversioned.is_empty() {
        let mut readers = open_readers(request.server, request.readers).await?;
        let wanted = readers.len();
        if let Some(found) = together(&mut beside, log, &mut readers, TRIES, &mut notes).await? {
            return done(beside, readers, wanted, found, notes).await;
        }
        // A lock on the tables lets all sessions read; without the right to it one is left.
        match lock_tables(request, log, notes.clone()).await {
            Err(error) if error.kind() == ErrorKind::Privilege => {}
            other => return other,
        }
        readers.truncate(1);
        if let Some(found) =
            together(&mut beside, log, &mut readers, TRIES_ALONE, &mut notes).await?
        {
            return done(beside, readers, wanted, found, notes).await;
        }
    }
    beside.close().await;
    lock_tables(request, log, notes).await
}

/// Begins the readers until they are proved to see one moment.
async fn together(
    beside: &mut Session,
    log: MySqlLog,
    readers: &mut [Session],
    tries: u32,
    notes: &mut Vec<String>,
) -> Result<Option<Found>> {
    for try_number in 1..=tries {
        let ended = xa::ended(beside).await?;
        let ((), found) = log.proved(beside, async || begin(readers).await).await?;
        // One that was prepared before and ended meanwhile is in neither the rows nor the binlog behind.
        if found.is_some()
            && xa::prepared(beside, notes).await? == 0
            && xa::ended(beside).await? == ended
        {
            return Ok(found);
        }
        end(readers).await?;
        tokio::time::sleep(Duration::from_millis(u64::from(try_number))).await;
    }
    Ok(None)
}

async fn done(
    beside: Session,
    readers: Vec<Session>,
    wanted: usize,
    found: Found,
    mut notes: Vec<String>,
) -> Result<ConsistentSnapshot> {
    beside.close().await;
    let count = readers.len();
    notes.insert(
        0,
        if count == wanted {
            format!("consistency by `snapshot`: {count} sessions began at one moment, without a lock")
        } else {
            format!(
                "consistency by `snapshot`: one session; the source never stood still long enough for \
                 {wanted}, and the account may not lock the tables"
            )
        },
    );
    notes.push(match &found.position {
        Some(position) => format!(
            "proof: everything before {position} could be seen before the sessions began (no GTID before \
             it was still owned by a commit), and the binlog still ended there after"
        ),
        None => "proof: no commit was under way before and after the sessions began, and \
                 `gtid_executed` was the same"
            .into(),
    });
    Ok(ConsistentSnapshot::new(
        readers, found, "snapshot", notes, None,
    ))
}

/// A short read lock on the selected tables alone. Whatever has written to one of them keeps it until
/// its commit is complete, so once the lock is granted every such transaction is in the engine and in
/// the binlog, and none can follow until it is let go.
async fn lock_tables(
    request: Request<'_>,
    log: MySqlLog,
    mut notes: Vec<String>,
) -> Result<ConsistentSnapshot> {
    let locker = Lock::session(request.server).await?;
    let mut readers = open_readers(request.server, request.readers).await?;
    let list: Vec<String> = request
        .tables
        .iter()
        .map(|table| format!("{} READ", table.quoted()))
        .collect();
    let statement = format!("LOCK TABLES {}", list.join(", "));
    let statements: &[&str] = if list.is_empty() { &[] } else { &[&statement] };
    let kind = Kind {
        statements,
        unlock: "UNLOCK TABLES",
        waits_for_statements: true,
    };
    let mut lock = Lock::take(locker, kind, &mut notes)
        .await
        .map_err(|error| match (error.kind(), request.unversioned.first()) {
            (ErrorKind::Privilege, Some(table)) => unversioned_error(table).with_source(error),
            (ErrorKind::Privilege, None) => error.with_fix(
                "grant RELOAD to the account (or FLUSH_TABLES), or LOCK TABLES on the selected databases",
            ),
            _ => error,
        })?;
    let begun = async {
        begin(&mut readers).await?;
        // A replica's applier may wait for this very lock with its GTID in hand: nothing is waited for.
        log.end_at_once(&mut lock.session).await
    };
    let found = match begun.await {
        Ok(found) => found,
        Err(error) => {
            lock.give_up().await;
            return Err(error);
        }
    };
    // A prepared transaction on a selected table keeps its lock, so ours would not have been granted.
    notes.insert(
        0,
        format!(
            "consistency by `snapshot`: {} sessions began under a read lock on the {} selected tables",
            readers.len(),
            list.len()
        ),
    );
    if let Some(position) = &found.position {
        notes.push(format!(
            "proof: no transaction on a selected table was under way when the sessions began; the \
             binlog ended at {position} then"
        ));
    }
    let mut snapshot = ConsistentSnapshot::new(readers, found, "snapshot", notes, Some(lock));
    if request.unversioned.is_empty() {
        snapshot.release().await?;
    }
    Ok(snapshot)
}
