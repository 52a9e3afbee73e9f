//! A consistent snapshot of a source: sessions that all see one moment, and the place of that moment
//! in the binlog.
//!
//! Whichever way it is had, that all sessions see the same moment and that the position is that
//! moment's is proved, not assumed, and the proof is told in a note. The source is never frozen for
//! longer than [`LOCK_WAIT_SECONDS`]: a lock that is not granted by then is given up and tried again.

use std::time::{Duration, Instant, SystemTime};

use crate::config::{Consistency, ServerConfig};
use crate::connect::{Session, Setup};
use crate::model::{Error, ErrorKind, Flavor, GtidSet, Position, Result, TableName, Timestamp};
use crate::source::server_info::{ServerInfo, binlog_end};

/// How long a lock may be waited for: everything that writes waits behind us meanwhile.
const LOCK_WAIT_SECONDS: u32 = 2;

/// How often a lock is tried for.
const LOCK_TRIES: u32 = 6;

/// A query that has run for so long is likely to keep a lock from being granted.
const LONG_QUERY_SECONDS: u64 = 3;

/// How long we wait for such queries to end before trying all the same.
const LONG_QUERY_PATIENCE: Duration = Duration::from_mins(1);

/// `ER_LOCK_WAIT_TIMEOUT`.
const LOCK_WAIT_TIMEOUT: u16 = 1205;

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

#[derive(Debug)]
struct Lock {
    session: Session,
    since: Instant,
}

/// The session of a reader: text arrives as the bytes that are stored, times in UTC, floats and
/// everything else untouched by modes, and however long it takes.
pub fn reader_setup() -> Setup {
    Setup::with([
        "SET NAMES utf8mb4",
        // No conversion: a text column's bytes come in the column's own character set.
        "SET SESSION character_set_results = NULL",
        // Two settings have names of their own in each family; each server skips the other's. A date
        // that is stored may stand in a condition, too, however impossible it is.
        "SET SESSION sql_mode = 'ALLOW_INVALID_DATES', time_zone = '+00:00', sql_quote_show_create = 1, \
         net_write_timeout = 3600 /*!50709 , max_execution_time = 0 */ /*M! , max_statement_time = 0 */",
        "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ",
    ])
}

/// The session of a catalogue reader beside them: names and texts arrive in UTF-8.
pub fn catalogue_setup() -> Setup {
    Setup::with([
        "SET NAMES utf8mb4",
        "SET SESSION sql_mode = '', time_zone = '+00:00', sql_quote_show_create = 1",
    ])
}

impl ConsistentSnapshot {
    /// Takes the snapshot.
    pub async fn open(request: Request<'_>) -> Result<Self> {
        match request.consistency {
            Consistency::Flush => flush(request).await,
            Consistency::Snapshot => without_reload(request).await,
            Consistency::Auto => match flush(request).await {
                Err(error) if error.kind() == ErrorKind::Privilege => {
                    let mut snapshot = without_reload(request).await?;
                    snapshot.notes.insert(
                        0,
                        "the account may not take the global read lock (RELOAD), so `snapshot` is used"
                            .into(),
                    );
                    Ok(snapshot)
                }
                other => other,
            },
            Consistency::Fuzzy => Err(Error::new(
                ErrorKind::Unsupported,
                "`consistency = \"fuzzy\"` is not there yet",
            )
            .with_fix("use `auto`, `flush` or `snapshot`")),
        }
    }

    /// Lets the source's writers go on, if they were kept waiting; the sessions keep their moment.
    pub async fn release(&mut self) -> Result<()> {
        if let Some(mut lock) = self.lock.take() {
            lock.session.execute(b"UNLOCK TABLES").await?;
            self.notes.push(held(lock.since));
            lock.session.close().await;
        }
        Ok(())
    }
}

fn held(since: Instant) -> String {
    format!(
        "writers on the source were kept waiting for {} ms",
        since.elapsed().as_millis().max(1)
    )
}

/// A short global read lock. Needs RELOAD (MySQL: or FLUSH_TABLES).
async fn flush(request: Request<'_>) -> Result<ConsistentSnapshot> {
    let mut locker = Session::open(request.server, &locker_setup()).await?;
    let mut readers = open_readers(request.server, request.readers).await?;
    let has_gtids = ServerInfo::read(&mut locker).await?.has_gtids();
    let mut notes = Vec::new();
    let since = lock(&mut locker, b"FLUSH TABLES WITH READ LOCK", &mut notes).await?;
    let found = under_lock(&mut locker, &mut readers, has_gtids, &mut notes).await;
    let found = match found {
        Ok(found) => found,
        Err(error) => {
            // Closing the connection lets go of the lock; saying so is faster.
            let _ = locker.execute(b"UNLOCK TABLES").await;
            locker.close().await;
            return Err(error);
        }
    };
    let mut snapshot = ConsistentSnapshot {
        readers,
        position: found.position,
        gtid_set: found.gtid_set,
        method: "flush",
        notes,
        at: Timestamp::from(SystemTime::now()),
        lock: Some(Lock {
            session: locker,
            since,
        }),
    };
    snapshot.notes.insert(
        0,
        format!(
            "consistency by `flush`: {} sessions began under the global read lock",
            snapshot.readers.len()
        ),
    );
    if request.unversioned.is_empty() {
        snapshot.release().await?;
    }
    Ok(snapshot)
}

async fn without_reload(request: Request<'_>) -> Result<ConsistentSnapshot> {
    let mut probe = Session::open(request.server, &catalogue_setup()).await?;
    let flavor = probe.version().flavor;
    if flavor != Flavor::MariaDB {
        probe.close().await;
        return lock_tables(request).await;
    }
    let snapshot = own_binlog_position(request, &mut probe).await;
    probe.close().await;
    snapshot
}

/// MariaDB without a lock: the one session's own binlog position. Needs no privilege.
async fn own_binlog_position(
    request: Request<'_>,
    beside: &mut Session,
) -> Result<ConsistentSnapshot> {
    if let Some(table) = request.unversioned.first() {
        return Err(Error::new(
            ErrorKind::Unsupported,
            format!(
                "the engine of {table} knows no snapshots, and the account may not take the global \
                 read lock under which the table could be read"
            ),
        )
        .with_fix(format!(
            "grant RELOAD to the account, or `ALTER TABLE {} ENGINE = InnoDB`, or leave the table out",
            table.quoted()
        ))
        .at(|c| c.table = Some(table.clone())));
    }
    let mut notes = Vec::new();
    let mut tries = 0;
    let (reader, found) = loop {
        let mut readers = open_readers(request.server, 1).await?;
        let ended_before = xa_ended(beside).await?;
        begin(&mut readers).await?;
        let Some(mut reader) = readers.pop() else {
            return Err(Error::new(ErrorKind::Internal, "no session was opened"));
        };
        let found = snapshot_position(&mut reader).await?;
        // Prepared before our moment and ended after it, a transaction is in neither the rows nor the
        // binlog behind the position. It is either still prepared now, or one has ended meanwhile.
        let prepared = prepared_transactions(beside, &mut notes).await?;
        if prepared == 0 && xa_ended(beside).await? == ended_before {
            break (reader, found);
        }
        reader.close().await;
        tries += 1;
        if tries == LOCK_TRIES {
            return Err(prepared_error(prepared));
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    };
    let gtid_set = gtid_set_at(beside, found.as_ref()).await?;
    notes.insert(
        0,
        "consistency by `snapshot`: one session, whose own binlog position the server gives; more \
         sessions would each see a moment of their own"
            .into(),
    );
    Ok(ConsistentSnapshot {
        readers: vec![reader],
        position: found,
        gtid_set,
        method: "snapshot",
        notes,
        at: Timestamp::from(SystemTime::now()),
        lock: None,
    })
}

/// MySQL without RELOAD: a short read lock on the selected tables alone. Whatever has written to one
/// of them keeps it until its commit is complete, so once the lock is granted every such transaction
/// is in the engine and in the binlog, and none can follow until it is let go.
async fn lock_tables(request: Request<'_>) -> Result<ConsistentSnapshot> {
    let mut locker = Session::open(request.server, &locker_setup()).await?;
    let mut readers = open_readers(request.server, request.readers).await?;
    let has_gtids = ServerInfo::read(&mut locker).await?.has_gtids();
    let mut notes = Vec::new();
    let list: Vec<String> = request
        .tables
        .iter()
        .map(|table| format!("{} READ", table.quoted()))
        .collect();
    let since = if list.is_empty() {
        Instant::now()
    } else {
        let statement = format!("LOCK TABLES {}", list.join(", "));
        lock(&mut locker, statement.as_bytes(), &mut notes)
            .await
            .map_err(|error| {
                if error.kind() == ErrorKind::Privilege {
                    error.with_fix(
                        "grant RELOAD to the account (or FLUSH_TABLES), or LOCK TABLES on the \
                         selected databases",
                    )
                } else {
                    error
                }
            })?
    };
    begin(&mut readers).await?;
    let found = log_end(&mut locker, has_gtids, &mut notes).await?;
    // A prepared transaction on a selected table keeps its lock, so ours would not have been granted.
    notes.insert(
        0,
        format!(
            "consistency by `snapshot`: {} sessions began under a read lock on the {} selected tables",
            readers.len(),
            list.len()
        ),
    );
    let mut snapshot = ConsistentSnapshot {
        readers,
        position: found.position,
        gtid_set: found.gtid_set,
        method: "snapshot",
        notes,
        at: Timestamp::from(SystemTime::now()),
        lock: Some(Lock {
            session: locker,
            since,
        }),
    };
    if request.unversioned.is_empty() {
        snapshot.release().await?;
    }
    Ok(snapshot)
}

#[derive(Debug, PartialEq)]
struct Found {
    position: Option<Position>,
    gtid_set: Option<GtidSet>,
}

/// Begins the readers' transactions and reads the position while nothing can be committed.
async fn under_lock(
    locker: &mut Session,
    readers: &mut [Session],
    has_gtids: bool,
    notes: &mut Vec<String>,
) -> Result<Found> {
    let prepared = prepared_transactions(locker, notes).await?;
    if prepared > 0 {
        return Err(prepared_error(prepared));
    }
    if locker.version().flavor == Flavor::MariaDB {
        begin(readers).await?;
        let mut position = None;
        for (index, reader) in readers.iter_mut().enumerate() {
            let own = snapshot_position(reader).await?;
            if index > 0 && own != position {
                return Err(not_one_moment());
            }
            position = own;
        }
        let gtid_set = gtid_set_at(locker, position.as_ref()).await?;
        if position.is_some() {
            notes.push("proof: every session's own binlog position is the same".into());
        }
        return Ok(Found { position, gtid_set });
    }
    let before = log_end(locker, has_gtids, notes).await?;
    begin(readers).await?;
    let after = log_end(locker, has_gtids, &mut Vec::new()).await?;
    if before != after {
        return Err(not_one_moment());
    }
    notes.push("proof: the binlog did not move while the sessions began".into());
    Ok(after)
}

fn not_one_moment() -> Error {
    Error::new(
        ErrorKind::Changed,
        "the binlog moved under the global read lock, so the sessions may see different moments",
    )
    .with_fix("the dump is tried again by itself")
}

async fn open_readers(server: &ServerConfig, count: usize) -> Result<Vec<Session>> {
    let setup = reader_setup();
    let mut readers = Vec::new();
    for _ in 0..count.max(1) {
        readers.push(Session::open(server, &setup).await?);
    }
    Ok(readers)
}

/// Begins all the readers' transactions at once.
async fn begin(readers: &mut [Session]) -> Result<()> {
    let begun = readers.iter_mut().map(|reader| {
        // The savepoint is what a chunk goes back to, which lets go of its metadata locks.
        reader.packet(b"START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY; SAVEPOINT tideway")
    });
    for result in futures_util::future::join_all(begun).await {
        result.map_err(|failed| failed.error)?;
    }
    Ok(())
}

fn locker_setup() -> Setup {
    Setup::with([format!(
        "SET SESSION lock_wait_timeout = {LOCK_WAIT_SECONDS}, time_zone = '+00:00'"
    )])
}

/// Takes a lock; gives when it was asked for.
async fn lock(session: &mut Session, statement: &[u8], notes: &mut Vec<String>) -> Result<Instant> {
    let mut tries = 0;
    loop {
        wait_for_long_queries(session, notes).await?;
        let since = Instant::now();
        match session.execute(statement).await {
            Ok(_) => return Ok(since),
            Err(error)
                if error
                    .server()
                    .is_some_and(|e| e.number == LOCK_WAIT_TIMEOUT) =>
            {
                tries += 1;
                if tries == LOCK_TRIES {
                    return Err(Error::new(
                        ErrorKind::TargetBusy,
                        format!(
                            "the source did not grant the read lock within {LOCK_WAIT_SECONDS} s, \
                             {LOCK_TRIES} times"
                        ),
                    )
                    .with_source(error)
                    .with_fix(
                        "look for long queries, open transactions and DDL on the source; or use \
                         `consistency = \"snapshot\"`",
                    ));
                }
                notes.push(format!(
                    "the read lock was not granted within {LOCK_WAIT_SECONDS} s and given up; tried again"
                ));
                tokio::time::sleep(Duration::from_secs(1 << tries.min(4))).await;
            }
            Err(error) => return Err(error),
        }
    }
}

/// Waits for queries that would keep the lock from being granted, as far as the account sees them.
async fn wait_for_long_queries(session: &mut Session, notes: &mut Vec<String>) -> Result<()> {
    let begun = Instant::now();
    let own = session.connection_id();
    let mut told = false;
    loop {
        let rows = session.rows("SHOW PROCESSLIST").await?;
        // Id, User, Host, db, Command, Time, State, Info: the same on all servers.
        let cell = |row: &[Option<Vec<u8>>], at: usize| {
            row.get(at)
                .and_then(Option::as_deref)
                .map(|bytes| String::from_utf8_lossy(bytes).into_owned())
                .unwrap_or_default()
        };
        let long: Vec<String> = rows
            .iter()
            .filter(|row| {
                cell(row, 0) != own.to_string()
                    && matches!(cell(row, 4).as_str(), "Query" | "Execute")
                    && cell(row, 5)
                        .parse::<u64>()
                        .is_ok_and(|s| s >= LONG_QUERY_SECONDS)
            })
            .map(|row| {
                format!(
                    "{} of `{}` ({} s)",
                    cell(row, 0),
                    cell(row, 1),
                    cell(row, 5)
                )
            })
            .collect();
        if long.is_empty() || begun.elapsed() > LONG_QUERY_PATIENCE {
            return Ok(());
        }
        if !told {
            let what = format!(
                "waited for long queries to end before asking for the read lock: connections {}",
                long.join(", ")
            );
            tracing::info!("{what}");
            notes.push(what);
            told = true;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// How many XA transactions are prepared; 0 with a note where the account may not ask.
async fn prepared_transactions(session: &mut Session, notes: &mut Vec<String>) -> Result<usize> {
    match session.rows("XA RECOVER").await {
        Ok(rows) => Ok(rows.len()),
        Err(error) if error.server().is_some() => {
            let note = "not checked: prepared XA transactions (MySQL shows them with XA_RECOVER_ADMIN \
                        only); there must be none while a dump starts";
            if !notes.iter().any(|have| have == note) {
                notes.push(note.into());
            }
            Ok(0)
        }
        Err(error) => Err(error),
    }
}

fn prepared_error(count: usize) -> Error {
    Error::new(
        ErrorKind::Changed,
        format!(
            "{count} prepared XA transactions are open on the source, or end all the time: a dump \
             could miss their rows"
        ),
    )
    .with_fix("end them with `XA COMMIT` or `XA ROLLBACK`; `XA RECOVER` lists them")
}

/// How many XA transactions were ended since the server's start.
async fn xa_ended(session: &mut Session) -> Result<Vec<Vec<Option<Vec<u8>>>>> {
    session
        .rows("SHOW GLOBAL STATUS WHERE Variable_name IN ('Com_xa_commit', 'Com_xa_rollback')")
        .await
}

/// The binlog position that a MariaDB session's own snapshot belongs to.
async fn snapshot_position(reader: &mut Session) -> Result<Option<Position>> {
    let rows = reader
        .rows(
            "SHOW SESSION STATUS WHERE Variable_name IN ('binlog_snapshot_file', 'binlog_snapshot_position')",
        )
        .await?;
    let mut file = String::new();
    let mut offset = 0;
    for row in rows {
        let mut cells = row.into_iter().flatten();
        let (Some(name), Some(value)) = (cells.next(), cells.next()) else {
            continue;
        };
        let value = String::from_utf8_lossy(&value).into_owned();
        if name.eq_ignore_ascii_case(b"binlog_snapshot_file") {
            file = value;
        } else {
            offset = value.parse().unwrap_or(0);
        }
    }
    // Both are empty on a server without a binlog.
    Ok((!file.is_empty() && offset > 0).then(|| Position::new(file, offset)))
}

/// The GTID set at a position of MariaDB's binlog.
async fn gtid_set_at(
    session: &mut Session,
    position: Option<&Position>,
) -> Result<Option<GtidSet>> {
    let Some(position) = position else {
        return Ok(None);
    };
    let file = position.file.replace('\\', "\\\\").replace('\'', "''");
    let rows = session
        .rows(&format!(
            "SELECT BINLOG_GTID_POS('{file}', {})",
            position.offset
        ))
        .await?;
    let Some(text) = rows.into_iter().flatten().flatten().next() else {
        return Ok(None);
    };
    GtidSet::parse(Flavor::MariaDB, &String::from_utf8_lossy(&text))
        .map(Some)
        .map_err(|wrong| Error::new(ErrorKind::Unsupported, wrong))
}

/// Where MySQL's binlog ends; without it where the account may not ask or there is none.
async fn log_end(session: &mut Session, has_gtids: bool, notes: &mut Vec<String>) -> Result<Found> {
    match binlog_end(session).await {
        Ok((position, gtid_set)) => {
            // Without GTID mode the set is empty, and says nothing.
            Ok(Found {
                position: Some(position),
                gtid_set: gtid_set.filter(|_| has_gtids),
            })
        }
        Err(error) if error.kind() == ErrorKind::Privilege => {
            notes.push(
                "no binlog position: the account lacks REPLICATION CLIENT, so nothing can be \
                 replicated behind this dump"
                    .into(),
            );
            Ok(Found {
                position: None,
                gtid_set: None,
            })
        }
        Err(error) if error.kind() == ErrorKind::Setting => {
            notes.push("no binlog position: the source writes no binlog".into());
            Ok(Found {
                position: None,
                gtid_set: None,
            })
        }
        Err(error) => Err(error),
    }
}
