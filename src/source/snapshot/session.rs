//! The sessions of a dump: how they are set up, and how their transactions begin and end.

use crate::config::ServerConfig;
use crate::connect::{Session, Setup};
use crate::model::Result;

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

pub(super) async fn open_readers(server: &ServerConfig, count: usize) -> Result<Vec<Session>> {
    let setup = reader_setup();
    let mut readers = Vec::new();
    for _ in 0..count.max(1) {
        readers.push(Session::open(server, &setup).await?);
    }
    Ok(readers)
}

/// Begins all the readers' transactions at once.
pub(super) async fn begin(readers: &mut [Session]) -> Result<()> {
    let begun = readers.iter_mut().map(|reader| {
        // The savepoint is what a chunk goes back to, which lets go of its metadata locks.
        reader.packet(b"START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY; SAVEPOINT tideway")
    });
    for result in futures_util::future::join_all(begun).await {
        result.map_err(|failed| failed.error)?;
    }
    Ok(())
}

/// Ends all the readers' transactions.
pub(super) async fn end(readers: &mut [Session]) -> Result<()> {
    let ended = readers.iter_mut().map(|reader| reader.packet(b"ROLLBACK"));
    for result in futures_util::future::join_all(ended).await {
        result.map_err(|failed| failed.error)?;
    }
    Ok(())
}
