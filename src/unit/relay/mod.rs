//! The relay: keeps a source's binlog here, byte for byte, as it is written there.
//!
//! It always asks for a file by name and takes it from its first byte, or from the start of the last
//! whole transaction that is here, which must come again as it is. A GTID never decides which bytes
//! are written. Trying again after a lost connection is for the runtime; every run finds its place by
//! itself.

mod meter;
mod stream;

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

pub use meter::{Meter, SourceEnd};

use crate::config::SourceConfig;
use crate::connect::{Session, Setup};
use crate::model::position::FIRST_OFFSET;
use crate::model::{Error, ErrorKind, Position, Result, Unit};
use crate::relay_log::RelayLog;
use crate::source::{self, ServerInfo};

/// The questions of this unit are answered from memory.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// What a relay is to do.
#[derive(Clone, Debug)]
pub struct RelayJob {
    /// The source.
    pub source: SourceConfig,
    /// Our number among its replicas.
    pub server_id: u32,
    /// Where the binlog is kept.
    pub log: Arc<RelayLog>,
    /// Where to begin while nothing is kept yet.
    pub begin: Begin,
}

/// Where a relay begins while nothing is kept yet: always at a file's first byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Begin {
    /// The file the source is writing.
    Now,
    /// The oldest file the source has.
    Oldest,
    /// This file.
    File(String),
}

/// Runs the relay until it is told to stop, or fails. What has arrived by then is kept.
pub async fn run(job: RelayJob, meter: Arc<Meter>, stop: CancellationToken) -> Result<()> {
    let name = job.source.server.name.clone();
    // An event that arrived damaged may be whole at the source: it is asked for once more.
    let mut may_repeat = true;
    loop {
        let received = meter.bytes_total();
        let result = Box::pin(once(&job, &meter, &stop)).await;
        meter.set_connected(false);
        match result {
            Err(error) if error.kind() == ErrorKind::Damaged && may_repeat => {
                tracing::warn!(source = %name, "{error}: asked for again");
                may_repeat = meter.bytes_total() > received + (1 << 20);
            }
            result => {
                return result.map_err(|e| {
                    e.at(|c| {
                        c.source = Some(name);
                        c.unit = Some(Unit::Relay);
                    })
                });
            }
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
    meter.set_server(&info, session.tls());
    check_settings(&info, job.server_id)?;
    settle_folder(job, &info)?;
    let writer = job.log.writer()?;
    let position = match writer.resume_position() {
        Some(position) => position,
        None => begin_position(&job.begin, &mut session).await?,
    };
    tracing::info!(source = %job.source.server.name, "binlog asked for from {position}");
    match stream::pull(job, meter, stop, writer, &position, &setup).await {
        Err(error) if error.kind() == ErrorKind::Purged => {
            Err(explain_purged(error, &position, &mut session).await)
        }
        result => result,
    }
}

/// Whether the source's settings allow for a relay at all.
fn check_settings(info: &ServerInfo, server_id: u32) -> Result<()> {
    let wrong = |message: String, fix: &str| {
        Err(Error::new(ErrorKind::Setting, message).with_fix(fix.to_owned()))
    };
    if !info.log_bin {
        return wrong(
            "the source writes no binlog".into(),
            "set `log_bin` and `binlog_format = ROW` in the source's configuration and restart it",
        );
    }
    if !matches!(info.binlog_format.as_str(), "ROW" | "") {
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
    if info.server_id == server_id {
        return Err(Error::new(
            ErrorKind::ServerId,
            format!("our `server_id` {server_id} is the source's own"),
        )
        .with_fix("set another `server_id` for this source in the configuration"));
    }
    Ok(())
}

/// Makes sure that the newest sub-folder is this server's.
fn settle_folder(job: &RelayJob, info: &ServerInfo) -> Result<()> {
    let Some(newest) = job.log.newest_folder() else {
        job.log.add_folder(&info.identity, info.flavor())?;
        return Ok(());
    };
    if newest.identity == info.identity && newest.flavor == info.flavor() {
        return Ok(());
    }
    if job.log.oldest().is_none() {
        job.log.add_folder(&info.identity, info.flavor())?;
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::History,
        format!(
            "another server answers at {}: `{}` ({}), but the relay log is of `{}` ({})",
            job.source.server.address,
            info.identity,
            info.flavor(),
            newest.identity,
            newest.flavor
        ),
    )
    .with_fix(
        "point the configuration at the server the relay log is of; or, to replicate from this \
         one, move the relay log's folder away and start its tasks anew from a full copy",
    ))
}

async fn begin_position(begin: &Begin, session: &mut Session) -> Result<Position> {
    let file = match begin {
        Begin::File(name) => name.clone(),
        Begin::Now => {
            source::binlog_position(session)
                .await
                .map_err(name_privilege)?
                .file
        }
        Begin::Oldest => source::binary_logs(session)
            .await
            .map_err(name_privilege)?
            .into_iter()
            .next()
            .map(|file| file.name)
            .ok_or_else(|| Error::new(ErrorKind::Purged, "the source lists no binlog file"))?,
    };
    Ok(Position::new(file, FIRST_OFFSET))
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
async fn explain_purged(error: Error, asked: &Position, session: &mut Session) -> Error {
    let Ok(files) = source::binary_logs(session).await else {
        // The error as it is says enough; this was to say more.
        return error;
    };
    let Some(oldest) = files.first() else {
        return error;
    };
    let message = format!(
        "the source no longer has `{}`; its oldest binlog file is `{}`",
        asked.file, oldest.name
    );
    let explained = Error::new(ErrorKind::Purged, message).with_fix(
        "what is missing cannot be had any more: move the relay log's folder away and start its \
         tasks anew from a full copy; let the source keep its binlog longer \
         (`binlog_expire_logs_seconds`)",
    );
    match error.server() {
        Some(server) => explained.with_server(server.clone()),
        None => explained.with_source(error),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::model::{Flavor, ServerVersion};

    fn info() -> ServerInfo {
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
        check_settings(&info(), 4101).unwrap();
        let kind = |change: &dyn Fn(&mut ServerInfo)| {
            let mut info = info();
            change(&mut info);
            let error = check_settings(&info, 4101).unwrap_err();
            assert!(error.fix().is_some());
            error.kind()
        };
        assert_eq!(kind(&|i| i.log_bin = false), ErrorKind::Setting);
        assert_eq!(
            kind(&|i| i.binlog_format = "MIXED".into()),
            ErrorKind::Setting
        );
        assert_eq!(kind(&|i| i.server_id = 4101), ErrorKind::ServerId);
        let engine = ("binlog_storage_engine".to_owned(), "innodb".to_owned());
        assert_eq!(
            kind(&|i| i.settings.extend([engine.clone()])),
            ErrorKind::Unsupported
        );
    }

    #[test]
    fn another_server_is_not_taken_for_the_first() {
        let folder = tempfile::tempdir().unwrap();
        let log = RelayLog::open(folder.path()).unwrap();
        let job = RelayJob {
            source: source(),
            server_id: 4101,
            log,
            begin: Begin::Now,
        };
        settle_folder(&job, &info()).unwrap();
        settle_folder(&job, &info()).unwrap();
        assert_eq!(job.log.newest_folder().unwrap().name, "7.000001");
        // Nothing was written yet: the other server simply gets a sub-folder of its own.
        let mut other = info();
        other.identity = "8".into();
        settle_folder(&job, &other).unwrap();
        assert_eq!(job.log.newest_folder().unwrap().name, "8.000002");
        let path = folder.path().join("8.000002/bin.000001");
        std::fs::write(path, crate::binlog::MAGIC).unwrap();
        assert_eq!(job.log.newest_folder().unwrap().flavor, Flavor::MariaDB);
    }

    fn source() -> SourceConfig {
        use crate::config::{Address, RelayConfig, RelayStart, ServerConfig, TlsConfig};

        SourceConfig {
            server: ServerConfig {
                name: "a".into(),
                address: Address::Tcp {
                    host: "127.0.0.1".into(),
                    port: 3306,
                },
                user: "tideway".into(),
                password: None,
                tls: TlsConfig::default(),
            },
            server_id: None,
            relay: RelayConfig {
                is_enabled: true,
                start: RelayStart::Auto,
                purge_after: Duration::from_hours(1),
                keep_free_bytes: 0,
                heartbeat: Duration::from_secs(5),
            },
            heartbeat: None,
        }
    }
}
