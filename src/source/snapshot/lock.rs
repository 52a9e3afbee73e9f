//! Locks on the source: asked for with patience, given up before writers pile up, timed.

use std::time::{Duration, Instant};

use crate::config::ServerConfig;
use crate::connect::{Session, Setup};
use crate::model::{Error, ErrorKind, Result};

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

/// A lock that is held. Dropping it closes the session, which lets go of it too.
#[derive(Debug)]
pub(super) struct Lock {
    pub(super) session: Session,
    since: Instant,
    unlock: &'static str,
}

/// How a lock is taken and let go.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kind<'a> {
    /// What takes it, one after the other.
    pub(super) statements: &'a [&'a str],
    /// What lets go of it.
    pub(super) unlock: &'static str,
    /// Whether it is granted only once statements have ended that began before.
    pub(super) waits_for_statements: bool,
}

impl Lock {
    /// The session that a lock will be taken by: it never waits for one for long.
    pub(super) async fn session(server: &ServerConfig) -> Result<Session> {
        let setup = Setup::with([format!(
            "SET SESSION lock_wait_timeout = {LOCK_WAIT_SECONDS}, time_zone = '+00:00'"
        )]);
        Session::open(server, &setup).await
    }

    /// Takes a lock.
    pub(super) async fn take(
        mut session: Session,
        kind: Kind<'_>,
        notes: &mut Vec<String>,
    ) -> Result<Self> {
        let Kind {
            statements, unlock, ..
        } = kind;
        let mut tries = 0;
        loop {
            if kind.waits_for_statements {
                wait_for_long_queries(&mut session, notes).await?;
            }
            let since = Instant::now();
            let Err(error) = run(&mut session, statements).await else {
                return Ok(Self {
                    session,
                    since,
                    unlock,
                });
            };
            // A first stage may have been reached.
            if !session.is_broken() && statements.len() > 1 {
                let _ = session.execute(unlock.as_bytes()).await;
            }
            let is_timeout = |e: &crate::model::ServerError| e.number == LOCK_WAIT_TIMEOUT;
            if !error.server().is_some_and(is_timeout) {
                return Err(error);
            }
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
                     `consistency = \"snapshot\"` or `\"fuzzy\"`",
                ));
            }
            notes.push(format!(
                "the read lock was not granted within {LOCK_WAIT_SECONDS} s and given up, try {tries} \
                 of {LOCK_TRIES}; writers went on"
            ));
            tokio::time::sleep(Duration::from_secs(1 << tries.min(4))).await;
        }
    }

    /// Lets go of it; gives a sentence that says how long it was held, from when it was asked for.
    pub(super) async fn release(mut self) -> Result<String> {
        self.session.execute(self.unlock.as_bytes()).await?;
        let held = self.since.elapsed().as_millis().max(1);
        self.session.close().await;
        Ok(format!(
            "writers on the source were kept waiting for {held} ms"
        ))
    }

    /// Lets go of it after a failure: closing the connection does, saying so is faster.
    pub(super) async fn give_up(mut self) {
        if !self.session.is_broken() {
            let _ = self.session.execute(self.unlock.as_bytes()).await;
        }
        self.session.close().await;
    }
}

async fn run(session: &mut Session, statements: &[&str]) -> Result<()> {
    for statement in statements {
        session.execute(statement.as_bytes()).await?;
    }
    Ok(())
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
        if long.is_empty() {
            return Ok(());
        }
        if begun.elapsed() > LONG_QUERY_PATIENCE {
            notes.push(format!(
                "long queries did not end within {} s, so the read lock was asked for beside them: \
                 connections {}",
                LONG_QUERY_PATIENCE.as_secs(),
                long.join(", ")
            ));
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
