//! A consistent snapshot of a source: sessions that all see one moment, and the place of that moment
//! in the binlog; or sessions whose every chunk is of a moment of its own ([`moving`]).
//!
//! Whichever way it is had, that all sessions see the same moment and that the position is that
//! moment's is proved, not assumed, and the proof is told in a note. The source is never frozen: a lock
//! that is not granted within two seconds is given up and tried again.

mod flush;
mod lock;
mod mariadb;
pub mod moving;
mod mysql;
mod place;
mod session;
mod xa;

use std::time::SystemTime;

use crate::config::{Consistency, ServerConfig};
use crate::connect::Session;
use crate::model::{Error, ErrorKind, Flavor, GtidSet, Position, Result, TableName, Timestamp};

use lock::Lock;
use place::Found;
pub use session::{catalogue_setup, reader_setup};

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The source.
    pub server: &'a ServerConfig,
    /// How.
    pub consistency: Consistency,
    /// How many sessions; fewer are given where only one can be exact.
    pub readers: usize,
    /// The tables that will be read.
    pub tables: &'a [TableName],
    /// Those of them whose engine knows no snapshots: the lock is kept until they are read.
    pub unversioned: &'a [TableName],
}

/// Sessions that see one moment.
#[derive(Debug)]
pub struct ConsistentSnapshot {
    /// The sessions, each within its transaction.
    pub readers: Vec<Session>,
    /// The moment's place in the binlog; `None` where the account may not ask for it, or where the
    /// source has no binlog.
    pub position: Option<Position>,
    /// The transactions the sessions see, where the source counts them.
    pub gtid_set: Option<GtidSet>,
    /// The way taken, by its configured name.
    pub method: &'static str,
    /// What was chosen and why, and how it is known to be exact.
    pub notes: Vec<String>,
    /// The moment, by the clock of this machine.
    pub at: Timestamp,
    lock: Option<Lock>,
}

impl ConsistentSnapshot {
    /// Takes the snapshot.
    pub async fn open(request: Request<'_>) -> Result<Self> {
        match request.consistency {
            Consistency::Flush => flush::take(request).await,
            Consistency::Snapshot => without_reload(request).await,
            Consistency::Auto => match flush::take(request).await {
                Err(error)
                    if matches!(error.kind(), ErrorKind::Privilege | ErrorKind::TargetBusy) =>
                {
                    Self::fall_back(request, error).await
                }
                other => other,
            },
            Consistency::Fuzzy => Err(Error::new(
                ErrorKind::Internal,
                "a dump without a lock has no moment that all its sessions see",
            )),
        }
    }

    /// The next best way, and why it was taken.
    async fn fall_back(request: Request<'_>, error: Error) -> Result<Self> {
        let why = if error.kind() == ErrorKind::Privilege {
            "the account may not take the global read lock (RELOAD; MySQL: or FLUSH_TABLES)"
                .to_owned()
        } else {
            format!("the global read lock cannot be had ({error})")
        };
        match without_reload(request).await {
            Ok(mut snapshot) => {
                let note = format!("consistency `auto`: {why}, so `snapshot` is used");
                snapshot.notes.insert(0, note);
                Ok(snapshot)
            }
            // What both ways lack is best given by the first one.
            Err(_) if error.kind() == ErrorKind::TargetBusy => Err(error),
            Err(other) => Err(other),
        }
    }

    fn new(
        readers: Vec<Session>,
        found: Found,
        method: &'static str,
        notes: Vec<String>,
        lock: Option<Lock>,
    ) -> Self {
        Self {
            readers,
            position: found.position,
            gtid_set: found.gtid_set,
            method,
            notes,
            at: Timestamp::from(SystemTime::now()),
            lock,
        }
    }

    /// Whether writers are kept waiting until [`ConsistentSnapshot::release`].
    pub fn is_locked(&self) -> bool {
        self.lock.is_some()
    }

    /// Lets the source's writers go on, if they were kept waiting; the sessions keep their moment.
    pub async fn release(&mut self) -> Result<()> {
        if let Some(lock) = self.lock.take() {
            self.notes.push(lock.release().await?);
        }
        Ok(())
    }
}

/// DDL on a MySQL source is kept waiting, and nothing else is. Dropping it lets go of it, too.
#[derive(Debug)]
pub struct DdlHold(Lock);

impl DdlHold {
    /// Holds DDL back, where the account may (BACKUP_ADMIN) and it is granted within two seconds.
    pub async fn take(server: &ServerConfig) -> Result<Option<Self>> {
        let session = Lock::session(server).await?;
        if session.version().flavor == Flavor::MariaDB {
            return Ok(None);
        }
        let kind = lock::Kind {
            statements: &["LOCK INSTANCE FOR BACKUP"],
            unlock: "UNLOCK INSTANCE",
            waits_for_statements: false,
        };
        match Lock::take(session, kind, &mut Vec::new()).await {
            Ok(lock) => Ok(Some(Self(lock))),
            // It would have been better; a snapshot can be had all the same.
            Err(error) if error.kind() == ErrorKind::TargetBusy || error.server().is_some() => {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Lets DDL go on; a sentence about it.
    pub async fn release(self) -> Result<String> {
        self.0.release().await.map(|_| {
            "DDL on the source was kept waiting while the snapshot was taken (`LOCK INSTANCE FOR \
             BACKUP`): tables had been altered in the first try"
                .into()
        })
    }
}

async fn without_reload(request: Request<'_>) -> Result<ConsistentSnapshot> {
    let probe = Session::open(request.server, &catalogue_setup()).await?;
    match probe.version().flavor {
        Flavor::MariaDB => mariadb::take(request, probe).await,
        Flavor::MySQL | Flavor::TiDB => mysql::take(request, probe).await,
    }
}

/// Where an engine without snapshots makes this way impossible.
fn unversioned_error(table: &TableName) -> Error {
    Error::new(
        ErrorKind::Unsupported,
        format!(
            "the engine of {table} knows no snapshots, and no lock is taken under which the table could \
             be read"
        ),
    )
    .with_fix(format!(
        "use `consistency = \"flush\"` (grant RELOAD to the account), or `ALTER TABLE {} ENGINE = InnoDB`, \
         or leave the table out",
        table.quoted()
    ))
    .at(|c| c.table = Some(table.clone()))
}
