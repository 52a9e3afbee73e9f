//! A short lock against all commits, under which all sessions begin. Needs RELOAD (MySQL: or
//! FLUSH_TABLES).
//!
//! MariaDB's backup stages keep commits and DDL waiting and nothing else; they are asked for where all
//! tables have versions. `FLUSH TABLES WITH READ LOCK` also waits for every statement that has begun.

use crate::connect::Session;
use crate::model::{Error, ErrorKind, Flavor, Result};
use crate::source::server_info::ServerInfo;

use super::lock::{Kind, Lock};
use super::place::{Found, MySqlLog, gtid_set_at, own_position};
use super::session::{begin, catalogue_setup, open_readers};
use super::{ConsistentSnapshot, Request, xa};

pub(super) async fn take(request: Request<'_>) -> Result<ConsistentSnapshot> {
    let mut locker = Lock::session(request.server).await?;
    let mut readers = open_readers(request.server, request.readers).await?;
    let mut notes = Vec::new();
    let mut log = None;
    if locker.version().flavor != Flavor::MariaDB {
        let info = ServerInfo::read(&mut locker).await?;
        log = Some(MySqlLog::find(&mut locker, &info, &mut notes).await?);
    }
    let has_stages = log.is_none() && locker.version().at_least(10, 4, 2);
    let (kind, what) = if has_stages && request.unversioned.is_empty() {
        (
            Kind {
                statements: &["BACKUP STAGE START", "BACKUP STAGE BLOCK_COMMIT"],
                unlock: "BACKUP STAGE END",
                waits_for_statements: false,
            },
            "while commits were kept waiting (`BACKUP STAGE BLOCK_COMMIT`)",
        )
    } else {
        (
            Kind {
                statements: &["FLUSH TABLES WITH READ LOCK"],
                unlock: "UNLOCK TABLES",
                waits_for_statements: true,
            },
            "under the global read lock",
        )
    };
    let mut lock = Lock::take(locker, kind, &mut notes).await?;
    let found = match under_lock(&mut lock.session, &mut readers, log, &mut notes).await {
        Ok(found) => found,
        Err(error) => {
            lock.give_up().await;
            return Err(error);
        }
    };
    let count = readers.len();
    notes.insert(
        0,
        format!("consistency by `flush`: {count} sessions began {what}"),
    );
    let mut snapshot = ConsistentSnapshot::new(readers, found, "flush", notes, Some(lock));
    if request.unversioned.is_empty() {
        snapshot.release().await?;
    }
    if log.is_none() {
        // What is before a place stays so: it need not be asked while writers wait.
        let mut beside = Session::open(request.server, &catalogue_setup()).await?;
        snapshot.gtid_set = gtid_set_at(&mut beside, snapshot.position.as_ref()).await?;
        beside.close().await;
    }
    Ok(snapshot)
}

/// Begins the readers' transactions and reads the position while nothing can be committed.
async fn under_lock(
    locker: &mut Session,
    readers: &mut [Session],
    log: Option<MySqlLog>,
    notes: &mut Vec<String>,
) -> Result<Found> {
    let Some(log) = log else {
        // Each round trip keeps writers waiting, so what does not need the other's answer goes together.
        let (begun, none) = tokio::join!(begin(readers), xa::expect_none(locker, notes));
        begun?;
        none?;
        let own = futures_util::future::try_join_all(readers.iter_mut().map(own_position)).await?;
        let position = own.first().cloned().flatten();
        if own.iter().any(|own| *own != position) {
            return Err(not_one_moment());
        }
        notes.push(match &position {
            Some(position) => format!(
                "proof: every session's own binlog position is {position}, asked while nothing could be \
                 committed"
            ),
            None => "no binlog position: the source writes no binlog".into(),
        });
        return Ok(Found {
            position,
            gtid_set: None,
        });
    };
    let before = log.end(locker).await?;
    let (begun, none) = tokio::join!(begin(readers), xa::expect_none(locker, notes));
    begun?;
    none?;
    let after = log.end(locker).await?;
    if before != after {
        return Err(not_one_moment());
    }
    if let Some(position) = &after.position {
        notes.push(format!(
            "proof: the binlog ended at {position} before and after the sessions began, and nothing \
             could be committed"
        ));
    }
    Ok(after)
}

fn not_one_moment() -> Error {
    Error::new(
        ErrorKind::Changed,
        "the binlog moved under the global read lock, so the sessions may see different moments",
    )
    .with_fix("the dump is tried again by itself")
}
