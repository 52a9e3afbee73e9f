//! Prepared XA transactions: their rows are logged before they can be read.

use crate::connect::Session;
use crate::model::{Error, ErrorKind, Result};

/// Fails if an XA transaction is prepared; where the account may not ask, a note says so.
pub(super) async fn expect_none(session: &mut Session, notes: &mut Vec<String>) -> Result<()> {
    match prepared(session, notes).await? {
        0 => Ok(()),
        count => Err(error(count)),
    }
}

/// How many XA transactions are prepared; 0 with a note where the account may not ask.
pub(super) async fn prepared(session: &mut Session, notes: &mut Vec<String>) -> Result<usize> {
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

/// The failure where some are open.
pub(super) fn error(count: usize) -> Error {
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
pub(super) async fn ended(session: &mut Session) -> Result<Vec<Vec<Option<Vec<u8>>>>> {
    session
        .rows("SHOW GLOBAL STATUS WHERE Variable_name IN ('Com_xa_commit', 'Com_xa_rollback')")
        .await
}
