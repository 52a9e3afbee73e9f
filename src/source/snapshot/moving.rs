//! Reading without a lock, each chunk at a moment of its own.
//!
//! What is known of a chunk is the stretch of the binlog that it lies in: everything before the dump's
//! beginning is in its rows, and nothing behind the place told with its moment. A table without a key
//! is read at one moment whose place is known exactly, as nothing tells whether a change is in it.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::sync::Mutex;

use crate::config::ServerConfig;
use crate::connect::Session;
use crate::model::{Error, ErrorKind, Flavor, GtidSet, Position, Result, TableName};
use crate::source::server_info::ServerInfo;

use super::lock::{Kind, Lock};
use super::place::{MySqlLog, gtid_set_at, own_position};
use super::session::{begin, catalogue_setup, end, open_readers};
use super::xa;

/// How often an exact moment is looked for without a lock.
const EXACT_TRIES: u32 = 60;

/// How often a moment without an open XA transaction is looked for.
const XA_TRIES: u32 = 6;

/// Where a dump without a lock begins.
#[derive(Clone, Debug, PartialEq)]
pub struct Beginning {
    /// Every chunk has everything before it.
    pub position: Position,
    /// The transactions before it, where the source counts them and says so.
    pub gtid_set: Option<GtidSet>,
}

/// Sessions that read, in no transaction yet.
pub async fn open_moving(server: &ServerConfig, count: usize) -> Result<Vec<Session>> {
    open_readers(server, count).await
}

/// Tells readers the places of their moments.
#[derive(Debug)]
pub struct Moments {
    server: ServerConfig,
    beside: Mutex<Session>,
    /// MySQL's; MariaDB tells each reader its own place.
    log: Option<MySqlLog>,
}

impl Moments {
    /// Prepares for moments of `server`; fails where their places cannot be had.
    pub async fn open(server: &ServerConfig, notes: &mut Vec<String>) -> Result<Self> {
        let mut beside = Session::open(server, &catalogue_setup()).await?;
        let info = ServerInfo::read(&mut beside).await?;
        if !info.log_bin {
            return Err(refused("the source writes no binlog, so nothing would follow the dump")
                .with_fix("set `log_bin` on the source, or use `mode = \"full\"` with another consistency"));
        }
        let mut log = None;
        if info.flavor() != Flavor::MariaDB {
            let found = MySqlLog::find(&mut beside, &info, notes).await?;
            if !found.has_positions() {
                return Err(Error::new(
                    ErrorKind::Privilege,
                    "the account may not ask where the source's binlog stands, which a dump without a \
                     lock must know of each chunk",
                )
                .with_fix("grant the account REPLICATION CLIENT on *.*"));
            }
            if !found.has_proof() {
                return Err(refused(
                    "without GTIDs, or where a replica does not log what it applies, it cannot be known \
                     what a reader of MySQL sees unless a lock is taken",
                )
                .with_fix(
                    "set `gtid_mode = ON` and `log_replica_updates = ON` on the source, or use \
                     `consistency = \"flush\"`",
                ));
            }
            log = Some(found);
        }
        Ok(Self {
            server: server.clone(),
            beside: Mutex::new(beside),
            log,
        })
    }

    /// Where the dump begins: before the first chunk is read.
    pub async fn beginning(&self, notes: &mut Vec<String>) -> Result<Beginning> {
        let mut beside = self.beside.lock().await;
        for _ in 0..XA_TRIES {
            let ended = xa::ended(&mut beside).await?;
            let found = if let Some(log) = self.log {
                let found = log.lower_bound(&mut beside).await?;
                (found.position, found.gtid_set)
            } else {
                let mut readers = open_readers(&self.server, 1).await?;
                begin(&mut readers).await?;
                let mut position = None;
                for mut reader in readers {
                    position = own_position(&mut reader).await?;
                    reader.close().await;
                }
                let set = gtid_set_at(&mut beside, position.as_ref()).await?;
                (position, set)
            };
            // One that is prepared now has its rows in the binlog before the beginning, maybe.
            if xa::prepared(&mut beside, notes).await? == 0
                && xa::ended(&mut beside).await? == ended
            {
                let (Some(position), gtid_set) = found else {
                    return Err(refused("the source does not say where its binlog stands"));
                };
                notes.push(match self.log {
                    Some(_) => format!(
                        "proof: everything before {position} could be seen before the first chunk was \
                         read: no GTID before it was still owned by a commit"
                    ),
                    None => format!(
                        "proof: a session's own snapshot stood at {position} before the first chunk was \
                         read"
                    ),
                });
                if gtid_set.is_none() {
                    notes.push(
                        "the GTID set at the dump's beginning is not known: the source never stood \
                         still; BACKUP_ADMIN and SELECT on `performance_schema.log_status` would tell it"
                            .into(),
                    );
                }
                return Ok(Beginning { position, gtid_set });
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        Err(xa::error(xa::prepared(&mut beside, notes).await?))
    }

    /// Begins a reader's transaction. Its rows have nothing of what lies behind the place given.
    pub async fn begin(&self, reader: &mut Session) -> Result<Position> {
        begin(std::slice::from_mut(reader)).await?;
        let position = match self.log {
            Some(log) => log.end(&mut *self.beside.lock().await).await?.position,
            None => own_position(reader).await?,
        };
        position.ok_or_else(|| refused("the source does not say where its binlog stands any more"))
    }

    /// Begins a reader's transaction at a place that is known exactly: its rows of `tables` have all
    /// that is before it too.
    pub async fn begin_exactly(
        &self,
        reader: &mut Session,
        tables: &[&TableName],
    ) -> Result<Position> {
        let readers = std::slice::from_mut(reader);
        let mut beside = self.beside.lock().await;
        for try_number in 1..=EXACT_TRIES {
            let ended = xa::ended(&mut beside).await?;
            let position = if let Some(log) = self.log {
                let ((), found) = log
                    .proved(&mut beside, async || begin(readers).await)
                    .await?;
                found.and_then(|found| found.position)
            } else {
                begin(readers).await?;
                if let Some(reader) = readers.first_mut() {
                    own_position(reader).await?
                } else {
                    None
                }
            };
            let is_settled = xa::prepared(&mut beside, &mut Vec::new()).await? == 0
                && xa::ended(&mut beside).await? == ended;
            if let Some(position) = position
                && is_settled
            {
                return Ok(position);
            }
            end(readers).await?;
            tokio::time::sleep(Duration::from_millis(u64::from(try_number.min(20)))).await;
        }
        self.begin_locked(readers, &mut beside, tables).await
    }

    /// The same under a read lock on the tables, where the source never stands still.
    async fn begin_locked(
        &self,
        readers: &mut [Session],
        beside: &mut Session,
        tables: &[&TableName],
    ) -> Result<Position> {
        let no_moment = || {
            let names: Vec<String> = tables.iter().map(ToString::to_string).collect();
            let schemas: BTreeSet<String> = tables
                .iter()
                .map(|table| format!("`{}`", table.schema))
                .collect();
            let schemas: Vec<String> = schemas.into_iter().collect();
            refused(format!(
                "{} must be read at a moment whose place in the binlog is exact (a table without a key, \
                 or foreign keys that change rows and are not logged), and none was found",
                names.join(", ")
            ))
            .with_fix(format!(
                "grant LOCK TABLES on {} to the account, or use `consistency = \"flush\"`",
                schemas.join(", ")
            ))
            .at(|c| c.table = tables.first().map(|&table| table.clone()))
        };
        let Some(log) = self.log else {
            return Err(no_moment());
        };
        let session = Lock::session(&self.server).await?;
        let list: Vec<String> = tables
            .iter()
            .map(|table| format!("{} READ", table.quoted()))
            .collect();
        let statement = format!("LOCK TABLES {}", list.join(", "));
        let kind = Kind {
            statements: &[&statement],
            unlock: "UNLOCK TABLES",
            waits_for_statements: true,
        };
        let lock = Lock::take(session, kind, &mut Vec::new())
            .await
            .map_err(|error| match error.kind() {
                ErrorKind::Privilege => no_moment().with_source(error),
                _ => error,
            })?;
        let begun = async {
            begin(readers).await?;
            log.end(beside).await
        };
        let found = begun.await;
        lock.give_up().await;
        found?.position.ok_or_else(no_moment)
    }

    /// Ends a reader's transaction, and with it its metadata locks.
    pub async fn end(&self, reader: &mut Session) -> Result<()> {
        end(std::slice::from_mut(reader)).await
    }
}

fn refused(what: impl Into<String>) -> Error {
    Error::new(ErrorKind::Unsupported, what.into())
}
