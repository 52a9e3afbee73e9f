//! How busy a source is.

use std::time::Duration;

use crate::connect::Session;
use crate::model::{Error, ErrorKind, Flavor, Result};

/// How many threads run at the server, this session's among them. Needs no privilege.
pub async fn threads_running(session: &mut Session) -> Result<u64> {
    let rows = session
        .rows("SHOW GLOBAL STATUS LIKE 'Threads_running'")
        .await?;
    rows.into_iter()
        .next()
        .and_then(|row| row.into_iter().nth(1).flatten())
        .and_then(|value| String::from_utf8(value).ok()?.parse().ok())
        .ok_or_else(|| {
            Error::new(
                ErrorKind::Unsupported,
                "the server does not say how many threads run",
            )
        })
}

/// How far the server, as a replica, is behind its own source; the furthest of several. `None` where
/// it is no replica, or where its replication stands still. Needs REPLICATION CLIENT (MariaDB: SLAVE
/// MONITOR).
pub async fn replica_lag(session: &mut Session) -> Result<Option<Duration>> {
    let is_mariadb = session.version().flavor == Flavor::MariaDB;
    let is_new = !is_mariadb && session.version().at_least(8, 0, 22);
    let (statement, column) = match (is_mariadb, is_new) {
        (true, _) => ("SHOW ALL SLAVES STATUS", "Seconds_Behind_Master"),
        (_, true) => ("SHOW REPLICA STATUS", "Seconds_Behind_Source"),
        _ => ("SHOW SLAVE STATUS", "Seconds_Behind_Master"),
    };
    let mut stream = session.stream(statement).await?;
    let place = stream
        .column_names()
        .iter()
        .position(|name| name.eq_ignore_ascii_case(column));
    let mut lag = None;
    while let Some(row) = stream.next().await? {
        let seconds = place
            .and_then(|place| row.get(place))
            .and_then(|cell| std::str::from_utf8(cell).ok()?.parse().ok());
        lag = lag.max(seconds);
    }
    Ok(lag.map(Duration::from_secs))
}
