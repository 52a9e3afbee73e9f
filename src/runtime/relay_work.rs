//! A source's worker: its relay, and what is known of the server.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::future::Future;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::config::{RelayStart, SourceConfig};
use crate::connect::{Session, Setup};
use crate::model::position::file_number;
use crate::model::{Error, ErrorKind, Position, RelayFigure, Result, Unit};
use crate::relay_log::RelayLog;
use crate::schema::tracker::ServerDefaults;
use crate::source::structure::{read_schema_defaults, read_source_defaults};
use crate::source::{self, ServerInfo};
use crate::unit::relay::{self, Begin, Heard, RelayJob};

use super::runner::{End, Failure, Work};
use super::stops;

/// How long an empty relay log waits for the streams to say where they need it to begin.
const NEEDS_PATIENCE: Duration = Duration::from_secs(30);
/// How long the source may take to say who it is: it does so from memory.
const FACTS_PATIENCE: Duration = Duration::from_secs(30);
/// How long it may keep silent over any other question; structures of many tables take their time.
const ANSWER_PATIENCE: Duration = Duration::from_mins(5);
/// How often is kept when the source was last heard.
const KEEP_EVERY: Duration = Duration::from_mins(1);

/// What was found out about a source when it was last connected.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Facts {
    /// The server.
    pub(super) info: ServerInfo,
    /// The encryption of the connection.
    pub(super) tls: Option<String>,
    /// What of its settings decides how its DDL is meant.
    pub(super) defaults: ServerDefaults,
    /// What its system time zone is, as an offset.
    pub(super) system_zone: String,
    /// The default character set and collation of each of its databases.
    pub(super) schemas: BTreeMap<String, (String, String)>,
    /// When it was last heard; kept for the next process alone.
    #[serde(default)]
    heard: Option<Heard>,
}

/// Where a stream needs the relay log to begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Need {
    /// At the checkpoint it found on its target, or where its dump was made.
    From(Position),
    /// Where the task's `start` says.
    Start(RelayStart),
    /// Anywhere: it has no checkpoint yet.
    Anywhere,
}

/// So much is a stream that stood in what counts as progress: no bytes that came add up to it.
const STOOD: u64 = 0x9e37_79b9_7f4a_7c15;

/// A source's worker.
#[derive(Debug)]
pub(super) struct RelayWork {
    config: SourceConfig,
    server_id: u32,
    log: Arc<RelayLog>,
    meter: Arc<relay::Meter>,
    facts: Mutex<Option<Facts>>,
    /// What the streams have said they need, one for each at the most.
    needs: watch::Sender<Vec<Need>>,
    stream_count: usize,
    /// A file is fetched again by one at a time: it comes under one name.
    refetching: tokio::sync::Mutex<()>,
}

impl RelayWork {
    /// The worker of `config` with its relay log; `stream_count` streams will read it.
    pub(super) fn new(
        config: SourceConfig,
        server_id: u32,
        log: Arc<RelayLog>,
        stream_count: usize,
    ) -> Self {
        Self {
            config,
            server_id,
            meter: relay::Meter::new(Arc::clone(&log)),
            log,
            facts: Mutex::new(None),
            needs: watch::Sender::new(Vec::new()),
            stream_count,
            refetching: tokio::sync::Mutex::default(),
        }
    }

    pub(super) fn config(&self) -> &SourceConfig {
        &self.config
    }

    pub(super) fn source_name(&self) -> &str {
        &self.config.server.name
    }

    pub(super) fn server_id(&self) -> u32 {
        self.server_id
    }

    pub(super) fn log(&self) -> &Arc<RelayLog> {
        &self.log
    }

    pub(super) fn meter(&self) -> &Arc<relay::Meter> {
        &self.meter
    }

    /// The relay's figures; `None` where there is none.
    pub(super) fn figure(&self) -> Option<RelayFigure> {
        self.config.relay.is_enabled.then(|| self.meter.figure())
    }

    /// What is known of the server.
    pub(super) fn facts(&self) -> Option<Facts> {
        self.facts
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Tells the relay where a stream needs it to begin.
    pub(super) fn need(&self, need: Need) {
        self.needs.send_modify(|needs| needs.push(need));
    }

    /// A session with the source, for a question.
    pub(super) async fn session(&self) -> Result<Session> {
        self.session_within(ANSWER_PATIENCE).await
    }

    async fn session_within(&self, patience: Duration) -> Result<Session> {
        let setup = Setup {
            read_timeout: Some(patience),
            ..Setup::default()
        };
        Session::open(&self.config.server, &setup)
            .await
            .map_err(|e| self.locate(e))
    }

    /// Opens the relay log, unless it is open. Reading through the newest file takes its time.
    pub(super) async fn opened(&self) -> Result<()> {
        let log = Arc::clone(&self.log);
        let opening = tokio::task::spawn_blocking(move || log.open_now());
        let opened = opening.await.unwrap_or_else(|panic| {
            Err(Error::new(
                ErrorKind::Panicked,
                "opening the relay log ended by a defect",
            )
            .with_source(panic))
        });
        opened.map_err(|e| self.locate(e))?;
        // Until the source answers, the forecast goes by when it was last heard.
        if let Some(kept) = self.kept_facts()?
            && let Some(heard) = &kept.heard
        {
            self.meter.recall(&kept.info, heard);
        }
        Ok(())
    }

    /// Asks the server who it is.
    pub(super) async fn read_facts(&self) -> Result<Facts> {
        let mut session = self.session_within(FACTS_PATIENCE).await?;
        let info = ServerInfo::read(&mut session)
            .await
            .map_err(|e| self.locate(e))?;
        let defaults = read_source_defaults(&mut session)
            .await
            .map_err(|e| self.locate(e))?;
        let schemas = read_schema_defaults(&mut session)
            .await
            .map_err(|e| self.locate(e))?;
        let system_zone = source::server_info::system_zone(&mut session)
            .await
            .map_err(|e| self.locate(e))?;
        let facts = Facts {
            info,
            system_zone,
            tls: session.tls().map(str::to_owned),
            defaults,
            schemas,
            heard: None,
        };
        session.close().await;
        let is_plain = facts.tls.is_none();
        let before = self
            .facts
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .replace(facts.clone());
        if is_plain && before.is_none_or(|before| before.tls.is_some()) {
            stops::warn_of_plain(&self.config.server);
        }
        Ok(facts)
    }

    /// What is known of the server; it is asked if nothing is yet.
    pub(super) async fn known(&self) -> Result<Facts> {
        match self.facts() {
            Some(facts) => Ok(facts),
            None => self.read_facts().await,
        }
    }

    /// What was known when the relay log was last written, for while the server is out of reach;
    /// `None` while there is no relay log.
    pub(super) fn kept_facts(&self) -> Result<Option<Facts>> {
        let path = self.kept_path();
        if self.log.oldest().is_none() {
            return Ok(None);
        }
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(Error::file("read", &path, e)),
        };
        // One that a newer program wrote is no harm: the server says it again.
        let kept = serde_json::from_slice::<Facts>(&text).ok();
        let newest = self.log.newest_folder();
        Ok(kept.filter(|kept| newest.is_some_and(|of| of.identity == kept.info.identity)))
    }

    fn keep_facts(&self, facts: &Facts) -> Result<()> {
        let path = self.kept_path();
        let facts = Facts {
            heard: self.meter.last_heard(),
            ..facts.clone()
        };
        let text = serde_json::to_vec_pretty(&facts).map_err(|e| {
            Error::new(ErrorKind::Internal, "cannot write the source's facts").with_source(e)
        })?;
        let new = path.with_extension("new");
        OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&new)
            .and_then(|mut file| file.write_all(&text))
            .and_then(|()| std::fs::rename(&new, &path))
            .map_err(|e| Error::file("write", &path, e))
    }

    fn kept_path(&self) -> std::path::PathBuf {
        self.log.folder().join("source.json")
    }

    /// Whether the server that answers now is the one the relay log is of: a dump of another one
    /// would be followed by the wrong changes.
    pub(super) async fn check_history(&self) -> Result<()> {
        let facts = self.read_facts().await?;
        match self.log.newest_folder() {
            Some(newest) if newest.identity != facts.info.identity => Err(Error::new(
                ErrorKind::Changed,
                format!(
                    "the server `{}` answers, but the relay log is still of `{}`",
                    facts.info.identity, newest.identity
                ),
            )
            .with_fix("the dump waits for the relay to settle that; see the relay's own state")),
            _ => Ok(()),
        }
    }

    /// Fetches a damaged relay file again; `false` for the one that is being written.
    pub(super) async fn refetch(&self, folder: &str, file: &str) -> Result<bool> {
        let _turn = self.refetching.lock().await;
        relay::refetch(&self.config, &self.log, folder, file)
            .await
            .map_err(|e| self.locate(e))
    }

    fn locate(&self, error: Error) -> Error {
        error.at(|c| c.source = Some(self.config.server.name.clone()))
    }

    /// Where an empty relay log begins: at the earliest place that a stream needs, else as configured.
    async fn begin(&self) -> Vec<Begin> {
        if self.log.oldest().is_some() {
            // What is there decides.
            return Vec::new();
        }
        let mut needs = self.needs.subscribe();
        // A stream whose target is down cannot say; the relay must not wait for it for ever, as the
        // source may purge meanwhile. Such a stream then finds its place missing, and says so.
        let all_said = needs.wait_for(|needs| needs.len() >= self.stream_count);
        let _ = tokio::time::timeout(NEEDS_PATIENCE, all_said).await;
        let needs = self.needs.borrow().clone();
        let begins: Vec<Begin> = needs
            .into_iter()
            .filter_map(|need| match need {
                Need::From(position) => Some(Begin::File(position.file)),
                Need::Start(start) => begin_of(&start),
                Need::Anywhere => None,
            })
            .collect();
        if begins.is_empty() {
            return begin_of(&self.config.relay.start).into_iter().collect();
        }
        begins
    }

    async fn relay(&self, stop: CancellationToken) -> Result<()> {
        self.opened().await?;
        let facts = tokio::select! {
            facts = self.read_facts() => facts?,
            () = stop.cancelled() => return Ok(()),
        };
        let begin = tokio::select! {
            begin = self.begin() => begin,
            () = stop.cancelled() => return Ok(()),
        };
        self.keep_facts(&facts)?;
        let job = RelayJob {
            source: self.config.clone(),
            server_id: self.server_id,
            log: Arc::clone(&self.log),
            begin,
        };
        let mut running = Box::pin(relay::run(job, Arc::clone(&self.meter), stop));
        let result = loop {
            tokio::select! {
                result = &mut running => break result,
                () = tokio::time::sleep(KEEP_EVERY) => self.keep_heard(&facts),
            }
        };
        self.keep_heard(&facts);
        result
    }

    /// Keeps when the source was last heard. That it cannot be kept is for the next start to tell.
    fn keep_heard(&self, facts: &Facts) {
        if let Err(error) = self.keep_facts(facts) {
            tracing::warn!(source = self.source_name(), "{error}");
        }
    }
}

/// The relay's beginning for a configured one; `None`: where the source stands.
fn begin_of(start: &RelayStart) -> Option<Begin> {
    match start {
        RelayStart::Auto => None,
        RelayStart::Now => Some(Begin::Now),
        RelayStart::Position(position) => Some(Begin::Position(position.clone())),
        RelayStart::GtidSet(text) => Some(Begin::Behind(text.clone())),
        RelayStart::Time(time) => Some(Begin::At(*time)),
    }
}

impl Work for RelayWork {
    fn run(
        self: Arc<Self>,
        stop: CancellationToken,
    ) -> Pin<Box<dyn Future<Output = Result<End, Box<Failure>>> + Send>> {
        Box::pin(async move {
            match self.relay(stop).await {
                Ok(()) => Ok(End::Stopped),
                Err(error) => {
                    let error = self.locate(error).at(|c| c.unit = Some(Unit::Relay));
                    let stop = stops::plain(&error);
                    Err(Box::new(Failure { error, stop }))
                }
            }
        })
    }

    fn progress(&self) -> u64 {
        // What is kept, not what was received: on a full disk the same bytes come again and again.
        let tip = self.log.published();
        let tip = tip.borrow();
        let kept = tip.place.as_ref().map_or(0, |place| {
            let number = file_number(&place.position.file).map_or(0, |(_, number)| number);
            (number << 40).wrapping_add(place.position.offset)
        });
        // Of a source that has nothing to send: that the stream stood is all there can be.
        kept.wrapping_add(self.meter.stood_count().wrapping_mul(STOOD))
    }

    fn name(&self) -> String {
        format!("relay of `{}`", self.config.server.name)
    }
}
