//! A stream: dump, load, then sync, each begun where the target's checkpoint says.

mod copy;
mod hand;

use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

use crate::config::{Config, Mode, RelayStart, TargetConfig, TaskConfig};
use crate::connect::Session;
use crate::dump_files::{Left, Manifest};
use crate::model::{
    Decision, Error, ErrorKind, Place, Position, Result, ServerVersion, TableLoad, TransferFigure,
    Unit,
};
use crate::source;
use crate::target::checkpoint::{self, Claim, State, StreamKey, SyncState};
use crate::target::execute;
use crate::unit::dump;
use crate::unit::load;
use crate::unit::sync::{self, Hand, SyncJob};

use super::gate::{Gate, Passed};
use super::given_dump;
use super::relay_work::{Facts, Need, RelayWork};
use super::runner::{End, Failure, Work};
use super::skipped::SkippedFile;
use super::stops;
use super::{beginning, refilled, regain};

/// What was found out about a target when it was last connected.
#[derive(Clone, Debug)]
pub(super) struct TargetFacts {
    /// The version.
    pub(super) version: ServerVersion,
    /// The encryption of the connection.
    pub(super) tls: Option<String>,
}

/// What of the relay log a stream needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Needed {
    /// It replicates nothing.
    Nothing,
    /// Everything from there on.
    From(Place),
    /// Its checkpoint was not read yet, so all of it.
    Unknown,
}

/// A task on one source.
#[derive(Debug)]
pub(super) struct StreamWork {
    task: TaskConfig,
    target: TargetConfig,
    meta_schema: String,
    memory_bytes: u64,
    source: Arc<RelayWork>,
    dump_folder: PathBuf,
    skipped: Arc<SkippedFile>,
    hand: Arc<Hand>,
    gate: Gate,
    dump: Arc<dump::Meter>,
    load: Arc<load::Meter>,
    sync: Arc<sync::Meter>,
    shown: Mutex<Shown>,
}

/// What the operator's word reaches a stream by.
pub(super) struct Controls {
    /// The changes that are left out, of all streams of the task.
    pub(super) skipped: Arc<SkippedFile>,
    pub(super) hand: Arc<Hand>,
    pub(super) gate: Gate,
}

/// What others may see of a stream besides its meters.
#[derive(Debug)]
struct Shown {
    unit: Unit,
    target: Option<TargetFacts>,
    notes: Vec<String>,
    has_said_need: bool,
    /// Whether the relay log is known to lead up to the checkpoint in one history.
    is_relay_checked: bool,
    /// The dump that this process has made, or found good.
    made_here: Option<String>,
}

/// How a unit failed: with the event it stands at, or without.
enum Broken {
    Plain(Error),
    AtEvent(Box<sync::Failure>),
}

impl From<Error> for Broken {
    fn from(error: Error) -> Self {
        Self::Plain(error)
    }
}

impl StreamWork {
    /// The stream of `task` on the source of `source`.
    pub(super) fn new(
        config: &Config,
        task: &TaskConfig,
        target: &TargetConfig,
        source: Arc<RelayWork>,
        dump_folder: PathBuf,
        controls: Controls,
    ) -> Self {
        let unit = if task.mode == Mode::Incremental {
            Unit::Sync
        } else {
            Unit::Dump
        };
        Self {
            task: task.clone(),
            target: target.clone(),
            meta_schema: config.worker.meta_schema.clone(),
            // Each stream's share of the bound on all queues.
            memory_bytes: config.worker.memory_bytes / stream_count(config),
            source,
            dump_folder,
            skipped: controls.skipped,
            hand: controls.hand,
            gate: controls.gate,
            dump: Arc::new(dump::meter()),
            load: Arc::new(load::meter()),
            sync: Arc::default(),
            shown: Mutex::new(Shown {
                unit,
                target: None,
                notes: Vec::new(),
                has_said_need: false,
                is_relay_checked: false,
                made_here: None,
            }),
        }
    }

    pub(super) fn task_name(&self) -> &str {
        &self.task.name
    }

    pub(super) fn source_name(&self) -> &str {
        self.source.source_name()
    }

    pub(super) fn target_name(&self) -> &str {
        &self.task.target
    }

    /// What must be in order before it begins.
    pub(super) fn gate(&self) -> &Gate {
        &self.gate
    }

    /// The name for messages.
    pub(super) fn label(&self) -> String {
        format!("`{}` on `{}`", self.task.name, self.source_name())
    }

    /// The unit at work, or the one that would be.
    pub(super) fn unit(&self) -> Unit {
        self.shown().unit
    }

    pub(super) fn target_facts(&self) -> Option<TargetFacts> {
        self.shown().target.clone()
    }

    /// Sentences for the operator, of the units in their order.
    pub(super) fn notes(&self) -> Vec<String> {
        let mut notes = self.shown().notes.clone();
        // The load repeats what the dump it loads had noted.
        for note in [
            self.dump.notes(),
            self.load.notes(),
            self.sync.figure().notes,
        ]
        .into_iter()
        .flatten()
        {
            if !notes.contains(&note) {
                notes.push(note);
            }
        }
        notes
    }

    /// The dump's figures, once it has begun.
    pub(super) fn dump_figure(&self) -> Option<TransferFigure> {
        Some(self.dump.figure()).filter(|figure| figure.started_at.is_some())
    }

    /// The load's figures, once it has begun.
    pub(super) fn load_figure(&self) -> Option<TransferFigure> {
        Some(self.load.figure()).filter(|figure| figure.started_at.is_some())
    }

    pub(super) fn sync_figure(&self) -> sync::Figure {
        self.sync.figure()
    }

    /// Bytes of relay log behind a place; `None` where the log does not have it.
    pub(super) fn bytes_behind(&self, place: &Place) -> Option<u64> {
        self.source.log().bytes_after(place)
    }

    /// The low-water mark.
    pub(super) fn position(&self) -> Option<Place> {
        self.sync.figure().mark.map(|mark| mark.place)
    }

    /// Whether the mark is at `goal`, a position of the newest server, or behind it.
    pub(super) fn has_reached(&self, goal: &Position) -> bool {
        let newest = self.source.log().newest_folder();
        let mark = self.position();
        mark.zip(newest)
            .is_some_and(|(mark, newest)| mark.folder == newest.name && mark.position >= *goal)
    }

    /// Whether sync runs and has nothing left to apply.
    pub(super) fn is_idle(&self) -> bool {
        self.sync.figure().idle
    }

    /// Whether it waits for the relay: nothing of the relay log is left to apply, or there is none.
    pub(super) fn has_all_that_came(&self) -> bool {
        if self.task.mode == Mode::Full {
            return false;
        }
        let published = self.source.log().published();
        let Some(tip) = published.borrow().place.clone() else {
            return true;
        };
        self.unit() == Unit::Sync
            && self
                .position()
                .is_some_and(|at| at.folder == tip.folder && at.position >= tip.position)
    }

    /// All tables of the dump, or of the load once that has begun; the biggest first.
    pub(super) fn tables(&self) -> Vec<TableLoad> {
        let loaded = self.load.tables();
        if loaded.is_empty() {
            self.dump.tables()
        } else {
            loaded
        }
    }

    /// Where the source's binlog ends now.
    pub(super) async fn source_end(&self) -> Result<Position> {
        let mut session = self.source.session().await?;
        let (end, _) = source::binlog_end(&mut session).await?;
        session.close().await;
        Ok(end)
    }

    fn shown(&self) -> MutexGuard<'_, Shown> {
        // Plain data: a panic while it was held left nothing half done.
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enter(&self, unit: Unit) {
        self.shown().unit = unit;
        tracing::info!(source = self.source_name(), task = %self.task.name, %unit, "begins");
    }

    fn note(&self, text: impl Into<String>) {
        let text = text.into();
        tracing::info!(source = self.source_name(), task = %self.task.name, unit = "stream", "{text}");
        self.shown().notes.push(text);
    }

    /// Runs to the end, from wherever the checkpoint says.
    async fn advance(&self, stop: &CancellationToken) -> Result<End, Broken> {
        if self.task.mode != Mode::Full {
            // One that cannot be opened is no empty one.
            self.source.opened().await?;
        }
        let known = self.source.known().await;
        // While the source is out of reach, what is in the relay log can be applied all the same.
        let kept = match &known {
            Err(error) if error.kind() == ErrorKind::Connect => self.source.kept_facts()?,
            _ => None,
        };
        let facts = match kept {
            Some(kept) => kept,
            None => known?,
        };
        let key = self.key(&facts);
        let mut state = self.look_up(&key).await?;
        self.say_need(state.as_ref(), &key).await;
        if !matches!(state, Some(State::Sync(_))) {
            // The checkpoint that follows is of this process.
            self.shown().is_relay_checked = true;
            self.source.known().await?;
        }
        if state.is_none() {
            match self.gate.pass(stop).await? {
                Passed::Stopped => return Ok(End::Stopped),
                Passed::With(warnings) => warnings.into_iter().for_each(|text| self.note(text)),
            }
        }
        self.gate.leave();
        loop {
            if stop.is_cancelled() {
                return Ok(End::Stopped);
            }
            state = match state {
                None if self.task.mode == Mode::Incremental => {
                    self.enter(Unit::Sync);
                    let Some(begin) = self.beginning(stop).await? else {
                        return Ok(End::Stopped);
                    };
                    return Box::pin(self.sync(&key, facts, Some(begin), stop)).await;
                }
                None => {
                    self.enter(Unit::Dump);
                    if !Box::pin(self.copy(stop)).await? {
                        return Ok(End::Stopped);
                    }
                    Some(self.loaded(&key).await?)
                }
                Some(State::Load(load)) if self.can_go_on(&load).await? => {
                    self.enter(Unit::Dump);
                    if !Box::pin(self.copy(stop)).await? {
                        return Ok(End::Stopped);
                    }
                    Some(self.loaded(&key).await?)
                }
                Some(State::Load(load)) if self.is_unfounded(&load)? => {
                    self.enter(Unit::Load);
                    if !self.discard(&key, stop).await? {
                        return Ok(End::Stopped);
                    }
                    None
                }
                Some(State::Load(_)) => {
                    self.enter(Unit::Load);
                    if !self.load(stop).await? {
                        return Ok(End::Stopped);
                    }
                    Some(self.loaded(&key).await?)
                }
                Some(State::Sync(_)) if self.task.mode == Mode::Full => return Ok(End::Finished),
                Some(State::Sync(sync)) => {
                    self.enter(Unit::Sync);
                    let told = |text| self.note(text);
                    let is_first = !self.shown().is_relay_checked;
                    let (source, mark) = (&self.source, &sync.mark);
                    if !refilled::wait(source, &self.task, mark, is_first, told, stop).await?
                        || !self.regain(&key, *sync, stop).await?
                    {
                        return Ok(End::Stopped);
                    }
                    self.shown().is_relay_checked = true;
                    return Box::pin(self.sync_mending(&key, facts, stop)).await;
                }
            };
        }
    }

    /// Runs to the end. Where the relay log is damaged before a stream goes on from its checkpoint, the
    /// file is fetched again as well.
    async fn advance_mending(&self, stop: &CancellationToken) -> Result<End, Broken> {
        self.shown().notes.clear();
        let mut mended_at = None;
        loop {
            match Box::pin(self.advance(stop)).await {
                // Twice at one place, it is the source's own file.
                Err(Broken::Plain(error))
                    if error.context().place != mended_at
                        && self.mend_relay(&error, stop).await =>
                {
                    mended_at.clone_from(&error.context().place);
                }
                ended => return ended,
            }
        }
    }

    /// Syncs from the checkpoint; a damaged relay file is fetched again, if the source still has it.
    async fn sync_mending(
        &self,
        key: &StreamKey,
        facts: Facts,
        stop: &CancellationToken,
    ) -> Result<End, Broken> {
        let mut mended_at = None;
        loop {
            match Box::pin(self.sync(key, facts.clone(), None, stop)).await {
                // Twice at one place, it is the source's own file.
                Err(Broken::AtEvent(failure))
                    if failure.error.context().place != mended_at
                        && self.mend_relay(&failure.error, stop).await =>
                {
                    mended_at.clone_from(&failure.error.context().place);
                }
                ended => return ended,
            }
        }
    }

    /// What the stream's checkpoint goes by. When another server takes over the source, it stays.
    fn key(&self, facts: &Facts) -> StreamKey {
        let origin = match self.task.mode {
            Mode::Full => None,
            Mode::All | Mode::Incremental => self.source.log().origin(),
        };
        let (server, flavor) =
            origin.unwrap_or_else(|| (facts.info.identity.clone(), facts.info.version.flavor));
        StreamKey {
            task: self.task.name.clone(),
            source: self.source_name().to_owned(),
            server,
            flavor,
        }
    }

    /// Takes the checkpoint's place over into a relay log that was begun anew, where that is proved to
    /// be the same place; `false` if it was asked to stop.
    async fn regain(
        &self,
        key: &StreamKey,
        mut sync: SyncState,
        stop: &CancellationToken,
    ) -> Result<bool> {
        let Some(folder) = regain::find(&self.source, &self.task, &sync, stop).await? else {
            return Ok(!stop.is_cancelled());
        };
        let lost = sync.mark.place.clone();
        let mut session = self.target_session().await?;
        let (claim, state) = self.claim(&mut session, key).await?;
        if state != Some(State::Sync(Box::new(sync.clone()))) {
            return Err(Error::new(
                ErrorKind::Fenced,
                "another process took the stream meanwhile",
            )
            .with_fix("run this task in one process only"));
        }
        sync.rename_folder(&lost.folder, &folder);
        claim.write_places(&mut session, &sync).await?;
        session.close().await;
        self.note(format!(
            "the relay log of {lost} is lost; the source still has that place, and the stream goes on \
             in `{folder}`"
        ));
        Ok(true)
    }

    /// Reads how far the target says the stream is. It is the first that is asked of the target, for the
    /// unit that will write there.
    async fn look_up(&self, key: &StreamKey) -> Result<Option<State>> {
        let unit = match self.task.mode {
            Mode::Incremental => Unit::Sync,
            Mode::All | Mode::Full => Unit::Load,
        };
        let found = self.read_state(key).await;
        found.map_err(|error| error.at(|c| c.unit = Some(unit)))
    }

    async fn read_state(&self, key: &StreamKey) -> Result<Option<State>> {
        let mut session = self.target_session().await?;
        checkpoint::prepare(&mut session, &self.meta_schema).await?;
        let gone =
            checkpoint::take_up_selection(&mut session, &self.meta_schema, key.clone(), &self.task)
                .await?;
        for table in gone {
            self.note(format!("{table} is not followed any more, as accepted"));
        }
        let (_claim, state) = self.claim(&mut session, key).await?;
        session.close().await;
        Ok(state)
    }

    /// Takes the stream's checkpoint.
    async fn claim(
        &self,
        session: &mut Session,
        key: &StreamKey,
    ) -> Result<(Claim, Option<State>)> {
        let configuration = checkpoint::configuration_text(&self.task);
        let writers = u32::try_from(self.task.load.threads).unwrap_or(u32::MAX);
        Claim::take(
            session,
            &self.meta_schema,
            key.clone(),
            &configuration,
            writers,
        )
        .await
    }

    /// The checkpoint behind a load. The dump may be of another server than was asked first: then this
    /// stream has none, and a further dump would not change that.
    async fn loaded(&self, key: &StreamKey) -> Result<State> {
        match self.look_up(key).await? {
            Some(state @ State::Sync(_)) => Ok(state),
            Some(State::Load(_)) | None => Err(Error::new(
                ErrorKind::History,
                format!(
                    "the dump was loaded, but not as one of the server `{}`: the source was replaced \
                     by another server meanwhile",
                    key.server
                ),
            )
            .with_fix("see which server the source's address leads to, then start again")),
        }
    }

    async fn target_session(&self) -> Result<Session> {
        let session = execute::open(&self.target.server).await?;
        let facts = TargetFacts {
            version: session.version().clone(),
            tls: session.tls().map(str::to_owned),
        };
        let is_plain = facts.tls.is_none();
        let before = self.shown().target.replace(facts);
        if is_plain && before.is_none_or(|before| before.tls.is_some()) {
            stops::warn_of_plain(&self.target.server);
        }
        Ok(session)
    }

    /// Tells the relay, once, where this stream needs it to begin.
    async fn say_need(&self, state: Option<&State>, key: &StreamKey) {
        if std::mem::replace(&mut self.shown().has_said_need, true) {
            return;
        }
        // One that cannot be read is the dump's to complain of.
        let left = Left::dump_in(&self.dump_folder).await.ok().flatten();
        self.source.need(match state {
            _ if self.task.mode == Mode::Full => Need::Anywhere,
            Some(State::Sync(sync)) => Need::From(sync.mark.needed_from().position.clone()),
            Some(State::Load(_)) => {
                // A manifest that cannot be read is the load's to complain of.
                let manifest = Manifest::find(&self.dump_folder).ok().flatten();
                manifest
                    .map(|manifest| manifest.header.position)
                    .or_else(|| left.map(|(_, position)| position))
                    .flatten()
                    .map_or(Need::Anywhere, Need::From)
            }
            None => match (self.task.mode, &self.task.start) {
                (Mode::Incremental, start) if *start != RelayStart::Auto => {
                    Need::Start(start.clone())
                }
                _ => given_dump::need(self.task.load.from.as_deref(), key.flavor),
            },
        });
    }

    /// Waits until the relay log has begun; nothing else says from where on it has everything.
    async fn wait_for_relay(&self, stop: &CancellationToken) -> Option<Place> {
        let mut published = self.source.log().published();
        if published.borrow().place.is_none() {
            self.note("waits for the relay to begin, so that nothing after the dump is missed");
        }
        tokio::select! {
            () = stop.cancelled() => None,
            tip = published.wait_for(|tip| tip.place.is_some()) => tip.ok()?.place.clone(),
        }
    }

    /// Where a stream begins that has no dump and no checkpoint, with the source's structures; `None`
    /// if it was asked to stop.
    async fn beginning(&self, stop: &CancellationToken) -> Result<Option<beginning::Beginning>> {
        if self.wait_for_relay(stop).await.is_none() {
            return Ok(None);
        }
        beginning::find(&self.source, &self.task, stop).await
    }

    /// Applies the relay log until it is asked to stop.
    async fn sync(
        &self,
        key: &StreamKey,
        facts: Facts,
        begin: Option<beginning::Beginning>,
        stop: &CancellationToken,
    ) -> Result<End, Broken> {
        let relay = Arc::clone(self.source.meter());
        let job = SyncJob {
            task: Arc::new(self.task.clone()),
            source_name: key.source.clone(),
            source_identity: key.server.clone(),
            flavor: key.flavor,
            defaults: facts.defaults,
            schemas: facts.schemas,
            system_zone: facts.system_zone,
            target: self.target.clone(),
            meta_schema: self.meta_schema.clone(),
            log: Arc::clone(self.source.log()),
            memory_bytes: self.memory_bytes,
            clock_offset_micros: facts.info.clock_offset_micros,
            relay_is_current: Arc::new(move || relay.has_reached_end() == Some(true)),
            keep: {
                let skipped = Arc::clone(&self.skipped);
                Arc::new(move |changes| skipped.keep(&changes))
            },
            hand: Arc::clone(&self.hand),
            begin,
        };
        sync::run(job, Arc::clone(&self.sync), stop.clone())
            .await
            .map_err(|failure| Broken::AtEvent(Box::new(failure)))?;
        Ok(End::Stopped)
    }

    /// Fetches the relay file that was stumbled over once more; gives whether it is worth another try.
    async fn mend_relay(&self, error: &Error, stop: &CancellationToken) -> bool {
        let place = error.context().place.as_ref();
        let (ErrorKind::Damaged, Some(place)) = (error.kind(), place) else {
            return false;
        };
        let file = format!("{}/{}", place.folder, place.position.file);
        let fetched = tokio::select! {
            fetched = self.source.refetch(&place.folder, &place.position.file) => fetched,
            () = stop.cancelled() => return false,
        };
        match fetched {
            Ok(true) => {
                self.note(format!(
                    "the relay file `{file}` was damaged and is fetched again"
                ));
                true
            }
            Ok(false) => false,
            Err(error) => {
                tracing::warn!(
                    source = self.source_name(),
                    task = %self.task.name,
                    "the damaged relay file `{file}` cannot be fetched again: {error}"
                );
                false
            }
        }
    }

    /// From where on the stream needs the relay log, for as long as this process knows.
    pub(super) fn needs(&self) -> Needed {
        if self.task.mode == Mode::Full {
            return Needed::Nothing;
        }
        match self.sync.figure().mark {
            Some(mark) => Needed::From(mark.needed_from().clone()),
            None => Needed::Unknown,
        }
    }

    /// The failure as the runner and the screen want it.
    fn failure(&self, broken: Broken) -> Box<Failure> {
        let locate = |error: Error| {
            error.at(|c| {
                c.task = Some(self.task.name.clone());
                c.source = Some(self.source_name().to_owned());
                c.unit = Some(self.unit());
            })
        };
        match broken {
            Broken::Plain(error) => {
                let error = locate(error);
                let mut stop = stops::plain(&error);
                if error.kind() == ErrorKind::Checks {
                    stop.findings = self.gate.open();
                    stop.choices.push("accept".to_owned());
                }
                Box::new(Failure { error, stop })
            }
            Broken::AtEvent(failed) => {
                let sync::Failure { error, event } = *failed;
                let error = locate(error);
                let stop = stops::at_event(&error, event);
                Box::new(Failure { error, stop })
            }
        }
    }
}

/// How many streams share the memory; at least one.
fn stream_count(config: &Config) -> u64 {
    let count: usize = config.tasks.iter().map(|task| task.sources.len()).sum();
    count.max(1) as u64
}

impl Work for StreamWork {
    fn run(
        self: Arc<Self>,
        stop: CancellationToken,
    ) -> Pin<Box<dyn Future<Output = Result<End, Box<Failure>>> + Send>> {
        self.gate.shut();
        Box::pin(async move {
            Box::pin(self.advance_mending(&stop))
                .await
                .map_err(|broken| self.failure(broken))
        })
    }

    fn progress(&self) -> u64 {
        let sync = self.sync.figure();
        let dump = self.dump.figure();
        let load = self.load.figure();
        sync.transactions + sync.passed_over + dump.bytes_done + load.bytes_done
    }

    fn name(&self) -> String {
        format!("task {}", self.label())
    }

    fn is_before_start(&self) -> bool {
        self.gate.is_shut()
    }

    fn decide(&self, decision: Decision) -> bool {
        self.hand.decide(decision);
        true
    }
}
