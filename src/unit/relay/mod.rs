//! The relay: keeps a source's binlog here, byte for byte, as it is written there.
//!
//! It always asks for a file by name and takes it from its first byte, or from the start of the last
//! whole transaction that is here, which must come again as it is. A GTID never decides which bytes
//! are written. Trying again after a lost connection is for the runtime; every run finds its place by
//! itself.

mod begin;
mod forecast;
mod meter;
mod peek;
mod refetch;
mod stream;
mod takeover;

use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

pub use begin::Begin;
pub use meter::{Heard, Meter, SourceEnd};
pub use refetch::refetch;

use crate::config::SourceConfig;
use crate::connect::{Session, Setup};
use crate::model::position::FIRST_OFFSET;
use crate::model::{Error, ErrorKind, Flavor, Position, Result, Unit};
use crate::relay_log::RelayLog;
use crate::source::{self, ServerInfo};

/// The questions of this unit are answered from memory.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// Said of a source whose binlog files are encrypted.
const DECRYPTED: &str = "the source encrypts its binlog files and sends them decrypted: those of the relay \
                         log are not encrypted, and not the source's byte for byte; keep `data_dir` from \
                         other eyes";

/// What a relay is to do.
#[derive(Clone, Debug)]
pub struct RelayJob {
    /// The source.
    pub source: SourceConfig,
    /// Our number among its replicas.
    pub server_id: u32,
    /// Where the binlog is kept.
    pub log: Arc<RelayLog>,
    /// Where to begin while nothing is kept yet: at the earliest of these.
    pub begin: Vec<Begin>,
}

/// Runs the relay until it is told to stop, or fails. What has arrived by then is kept.
///
/// It has a thread of its own: a write that waits for the disk holds up nothing else, and what arrives
/// is checked and written on one core, from its cache.
pub async fn run(job: RelayJob, meter: Arc<Meter>, stop: CancellationToken) -> Result<()> {
    let stop = stop.child_token();
    let _ends_with_this = stop.clone().drop_guard();
    let (answer, result) = oneshot::channel();
    let work = move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        let result = match runtime {
            Ok(runtime) => runtime.block_on(run_here(job, meter, stop)),
            Err(e) => Err(no_thread(e)),
        };
        // Nobody waits for it any more if the relay was given up.
        let _ = answer.send(result);
    };
    thread::Builder::new()
        .name("relay".into())
        .spawn(work)
        .map_err(no_thread)?;
    result.await.unwrap_or_else(|_| {
        Err(Error::new(
            ErrorKind::Panicked,
            "the relay's thread was broken off",
        ))
    })
}

fn no_thread(e: std::io::Error) -> Error {
    Error::new(ErrorKind::Internal, "cannot start the relay's thread")
        .with_source(e)
        .with_fix("the system is short of threads, memory or open files: see `ulimit -a`")
}

async fn run_here(job: RelayJob, meter: Arc<Meter>, stop: CancellationToken) -> Result<()> {
    let name = job.source.server.name.clone();
    // An event that arrived damaged may be whole at the source: it is asked for once more.
    let mut repeated_at = None;
    let at = |error: Error| {
        error.at(|c| {
            c.source = Some(name.clone());
            c.unit = Some(Unit::Relay);
        })
    };
    loop {
        let result = Box::pin(once(&job, &meter, &stop)).await;
        meter.set_connected(false);
        match result {
            Err(error) if error.kind() == ErrorKind::Damaged => {
                // Twice at one place, it is not the line.
                let reached = job.log.published().borrow().place.clone();
                if repeated_at.as_ref() == Some(&reached) {
                    return Err(at(error));
                }
                tracing::warn!(unit = "relay", source = %name, "{error}: asked for again");
                repeated_at = Some(reached);
            }
            result => return result.map_err(at),
        }
    }
}

async fn once(job: &RelayJob, meter: &Arc<Meter>, stop: &CancellationToken) -> Result<()> {
    let setup = Setup {
        read_timeout: Some(ANSWER_TIMEOUT),
        ..Setup::default()
    };
    let connecting = async {
        let mut session = Session::open(&job.source.server, &setup).await?;
        let info = ServerInfo::read(&mut session).await?;
        Ok::<_, Error>((session, info))
    };
    let (mut session, info) = tokio::select! {
        () = stop.cancelled() => return Ok(()),
        connected = connecting => connected?,
    };
    if info.encrypts_binlog() && !meter.server().is_some_and(|was| was.encrypts_binlog()) {
        tracing::warn!(unit = "relay", source = %job.source.server.name, "{DECRYPTED}");
    }
    meter.set_server(&info, session.tls());
    let is_begun = job.log.oldest().is_some();
    if is_begun && !logs_rows(&info.binlog_format) {
        tracing::warn!(unit = "relay", source = %job.source.server.name, "{}", not_rows(&info.binlog_format));
    }
    check_settings(&info, job.server_id, is_begun)?;
    let settling = Box::pin(settle(job, &info, &mut session));
    let begin = tokio::select! {
        () = stop.cancelled() => return Ok(()),
        begin = settling => begin?,
    };
    let writer = job.log.writer()?;
    let Some(position) = writer.resume_position().or(begin) else {
        return Err(Error::new(
            ErrorKind::Internal,
            "nobody said where the relay begins",
        ));
    };
    let source = &job.source.server.name;
    tracing::info!(unit = "relay", %source, "binlog asked for from {position}");
    let mut result = stream::pull(job, meter, stop, writer, &position, &setup).await;
    if let Err(error) = &result
        && position.offset > FIRST_OFFSET
        && is_doubtful(error)
    {
        // A file of that name from another history is garbage from the middle on. Asked for from its
        // start, the first event that differs tells.
        tracing::warn!(unit = "relay", %source, "{error}: compared from the start of `{}`", position.file);
        meter.set_connected(false);
        let start = Position::new(position.file.clone(), FIRST_OFFSET);
        result = stream::pull(job, meter, stop, job.log.writer()?, &start, &setup).await;
    }
    match result {
        Err(error) if error.kind() == ErrorKind::Purged => {
            let kept = job.log.kept_damaged().filter(|kept| kept.is_awaited);
            let kept = kept.map(|kept| kept.path);
            // It may have come a good way since.
            let reached = job.log.published().borrow().place.clone();
            let reached = reached.map(|place| place.position);
            let asked = reached.filter(|reached| job.log.place_of(reached).is_some());
            let asked = asked.map_or_else(|| position.clone(), |asked| asked.max(position.clone()));
            Err(explain_purged(error, &asked, kept.as_deref(), &mut session).await)
        }
        result => result,
    }
}

/// Whether the error may come of asking another file than the one that is kept, by the same name.
fn is_doubtful(error: &Error) -> bool {
    let is_refusal = error.server().is_some_and(|server| server.number == 1236);
    error.kind() == ErrorKind::Damaged || (is_refusal && error.kind() == ErrorKind::Setting)
}

/// Whether that `binlog_format` is one of rows; where the server does not say, the events do.
fn logs_rows(format: &str) -> bool {
    matches!(format, "ROW" | "")
}

/// Said of a source that does not log rows.
fn not_rows(format: &str) -> String {
    format!("the source's `binlog_format` is `{format}`: a stream stops where it meets a statement")
}

/// Whether the source's settings allow for a relay at all. One that was begun goes on with any
/// `binlog_format`: the source purges what is not here, and a stream stops at the first statement.
fn check_settings(info: &ServerInfo, server_id: u32, is_begun: bool) -> Result<()> {
    let wrong = |message: String, fix: &str| {
        Err(Error::new(ErrorKind::Setting, message).with_fix(fix.to_owned()))
    };
    if !info.log_bin {
        return wrong(
            "the source writes no binlog".into(),
            "set `log_bin` and `binlog_format = ROW` in the source's configuration and restart it",
        );
    }
    if !is_begun && !logs_rows(&info.binlog_format) {
        return wrong(
            format!("the source's `binlog_format` is `{}`", info.binlog_format),
            "run `SET GLOBAL binlog_format = 'ROW'` on the source, put it into its configuration, and \
             let the applications reconnect: sessions keep the format they began with",
        );
    }
    if info.server_id == 0 {
        return wrong(
            "the source's `server_id` is 0: it takes no replicas".into(),
            "set `server_id` in the source's configuration",
        );
    }
    if let Some(engine) = info.settings.get("binlog_storage_engine")
        && !engine.is_empty()
    {
        return Err(Error::new(
            ErrorKind::Unsupported,
            format!("the source keeps its binlog in `{engine}` (`binlog_storage_engine`)"),
        )
        .with_fix("take `binlog_storage_engine` out of the source's configuration"));
    }
    if info
        .settings
        .get("innodb_native_foreign_keys")
        .is_some_and(|set| set == "ON")
    {
        return wrong(
            "the source's `innodb_native_foreign_keys` is ON: what its cascades change is not in its \
             binlog, though a server of this version is expected to log it"
                .into(),
            "set `innodb_native_foreign_keys = OFF` in the source's configuration and restart it",
        );
    }
    if info.server_id == server_id {
        return Err(Error::new(
            ErrorKind::ServerId,
            format!("our `server_id` {server_id} is the source's own"),
        )
        .with_fix("set another `server_id` for this source in the configuration"));
    }
    Ok(())
}

/// Makes sure that the newest sub-folder is this server's. Gives where its binlog begins there, if
/// there is no file yet.
async fn settle(
    job: &RelayJob,
    info: &ServerInfo,
    session: &mut Session,
) -> Result<Option<Position>> {
    let newest = job.log.newest_folder();
    let is_same = newest
        .as_ref()
        .is_some_and(|f| f.identity == info.identity && f.flavor == info.flavor());
    let has_file = job.log.oldest().is_some();
    let files = job.log.files();
    let is_begun = newest
        .as_ref()
        .is_some_and(|newest| files.iter().any(|file| file.folder == newest.name));
    if is_same && is_begun {
        return Ok(None);
    }
    if !has_file {
        // Asked first: all of that is before the oldest file there is then.
        let purged = match info.flavor() {
            Flavor::MySQL if info.has_gtids() => Some(source::gtid_purged(session).await?),
            _ => None,
        };
        let position = begin::position(job, session).await?;
        if !is_same {
            job.log.add_folder(&info.identity, info.flavor(), purged)?;
        }
        return Ok(Some(position));
    }
    // Another server has taken over, just now or when the last run was cut off.
    let folders = job.log.sub_folders();
    let before = folders
        .iter()
        .rev()
        .find(|folder| files.iter().any(|file| file.folder == folder.name));
    let Some(before) = before else {
        return Ok(None);
    };
    let takeover = takeover::find(job, before, info, session).await?;
    if !is_same {
        let (errant, purged) = (takeover.errant, takeover.purged);
        job.log
            .go_on_in(&info.identity, info.flavor(), errant, purged)?;
    }
    Ok(Some(takeover.position))
}

/// A refusal of the questions about the binlog's end.
fn name_privilege(error: Error) -> Error {
    if error.kind() != ErrorKind::Privilege {
        return error;
    }
    error.with_fix(
        "grant the account REPLICATION CLIENT on *.* (MariaDB 10.5 and later: BINLOG MONITOR)",
    )
}

/// Says what was asked for and what the source still has.
async fn explain_purged(
    error: Error,
    asked: &Position,
    kept: Option<&Path>,
    session: &mut Session,
) -> Error {
    let explained = match source::binary_logs(session).await {
        Ok(files) => begin::purged(asked, kept, &files),
        // The error as it is says enough; this was to say more.
        Err(_) => None,
    };
    let Some(explained) = explained else {
        return error;
    };
    match error.server() {
        Some(server) => explained.with_server(server.clone()),
        None => explained.with_source(error),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::model::ServerVersion;

    pub(super) fn info() -> ServerInfo {
        ServerInfo {
            version: ServerVersion::parse("10.11.19-MariaDB"),
            server_id: 7,
            identity: "7".into(),
            log_bin: true,
            binlog_format: "ROW".into(),
            row_image: "FULL".into(),
            row_metadata: "NO_LOG".into(),
            row_value_options: String::new(),
            gtid_mode: "always".into(),
            checksum: "CRC32".into(),
            max_allowed_packet: 1 << 24,
            lower_case_table_names: 0,
            clock_offset_micros: 0,
            settings: BTreeMap::new(),
        }
    }

    #[test]
    fn settings_that_make_replication_impossible_are_named() {
        check_settings(&info(), 4101, false).unwrap();
        let kind = |change: &dyn Fn(&mut ServerInfo)| {
            let mut info = info();
            change(&mut info);
            let error = check_settings(&info, 4101, false).unwrap_err();
            assert!(error.fix().is_some());
            error.kind()
        };
        assert_eq!(kind(&|i| i.log_bin = false), ErrorKind::Setting);
        assert_eq!(
            kind(&|i| i.binlog_format = "MIXED".into()),
            ErrorKind::Setting
        );
        // One that was begun goes on: the source purges meanwhile.
        let mut mixed = info();
        mixed.binlog_format = "MIXED".into();
        check_settings(&mixed, 4101, true).unwrap();
        assert_eq!(kind(&|i| i.server_id = 4101), ErrorKind::ServerId);
        let engine = ("binlog_storage_engine".to_owned(), "innodb".to_owned());
        assert_eq!(
            kind(&|i| i.settings.extend([engine.clone()])),
            ErrorKind::Unsupported
        );
    }
}
