//! The part of a stream before sync: dump and load, side by side.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::StreamWork;
use crate::config::{Consistency, Mode};
use crate::dump_files::feed::{self, Feed};
use crate::dump_files::{Left, Manifest};
use crate::model::{Result, Unit};
use crate::runtime::given_dump::Taker;
use crate::runtime::retry::{Retry, backoff, policy};
use crate::target::checkpoint::{LoadStage, LoadState, StreamKey};
use crate::unit::dump::{self, DumpJob, DumpOutcome};
use crate::unit::load::{self, LoadJob, LoadOutcome};

impl StreamWork {
    /// Dumps, and loads meanwhile; `false` if it was asked to stop.
    pub(super) async fn copy(&self, stop: &CancellationToken) -> Result<bool> {
        let mut relay_from = None;
        if self.task.mode == Mode::All {
            if self.wait_for_relay(stop).await.is_none() {
                return Ok(false);
            }
            self.source.check_history().await?;
            relay_from = self.source.log().oldest_of_newest();
        }
        if let Some(from) = &self.task.load.from {
            self.enter(Unit::Load);
            let taker = Taker::new(&self.task, &self.source, relay_from).await?;
            return Ok(taker.take(from, &self.dump_folder, stop).await? && self.load(stop).await?);
        }
        let job = DumpJob {
            source: self.source.config().clone(),
            task: self.task.clone(),
            folder: self.dump_folder.clone(),
            relay_from,
            relay: self.source.log().token(),
            made_here: self.shown().made_here.clone(),
        };
        let (writer, feed) = feed::feed();
        // Also cancelled by a load that cannot begin: it would be a dump for nothing.
        let both = stop.child_token();
        let dumping = async {
            let outcome = dump::run(job, writer, Arc::clone(&self.dump), both.clone()).await?;
            Ok(match outcome {
                DumpOutcome::Complete(manifest) => {
                    self.shown().made_here = Some(manifest.header.dump_id);
                    self.enter(Unit::Load);
                    true
                }
                DumpOutcome::Stopped => false,
            })
        };
        let (dumped, loaded) = tokio::join!(dumping, self.load_beside(&feed, &both));
        match (dumped, loaded) {
            // What the load lacks in the end is why the dump was given up.
            (Ok(_), Err(error)) | (Err(error), _) => Err(error),
            (Ok(true), Ok(LoadOutcome::Complete(_))) => Ok(true),
            (Ok(_), Ok(_)) => Ok(false),
        }
    }

    /// Loads what the dump announces. A passing error is not the dump's: the load begins again, where
    /// it was. Any other stops the dump too, unless rows are in already: then the dump is brought to
    /// its end, so that nothing of it has to be done twice.
    async fn load_beside(&self, feed: &Feed, both: &CancellationToken) -> Result<LoadOutcome> {
        let mut failures = 0;
        loop {
            let job = self.load_job();
            let reader = Some(feed.reader());
            let loaded = load::run(job, reader, Arc::clone(&self.load), both.clone()).await;
            let Err(error) = loaded else {
                return loaded;
            };
            if feed.has_ended() {
                return Err(error);
            }
            if policy(error.kind()).retry == Retry::Operator {
                if self.load.figure().bytes_done == 0 {
                    both.cancel();
                } else {
                    self.note(format!("the dump goes on, the load stands: {error}"));
                    feed.ended().await;
                }
                return Err(error);
            }
            failures += 1;
            self.note(format!(
                "the load is tried again, the dump goes on: {error}"
            ));
            tokio::select! {
                () = both.cancelled() => return Ok(LoadOutcome::Stopped),
                () = feed.ended() => {}
                () = tokio::time::sleep(backoff(failures)) => {}
            }
        }
    }

    fn load_job(&self) -> LoadJob {
        LoadJob {
            folder: self.dump_folder.clone(),
            task: self.task.clone(),
            target: self.target.clone(),
            meta_schema: self.meta_schema.clone(),
            source_name: self.source_name().to_owned(),
            relay_folder: (self.task.mode == Mode::All).then(|| self.relay_folder()),
            took_over: self.took_over(),
        }
    }

    /// Whether what is in the target is of a dump that came to nothing.
    pub(super) fn is_unfounded(&self, load: &LoadState) -> Result<bool> {
        Ok(match load.stage {
            LoadStage::Whole => false,
            LoadStage::Discard => true,
            LoadStage::Overlap => Manifest::find(&self.dump_folder)?
                .is_none_or(|manifest| manifest.header.dump_id != load.dump_id),
        })
    }

    /// Whether what is in the target is of a dump that was not finished and goes on.
    pub(super) async fn can_go_on(&self, load: &LoadState) -> Result<bool> {
        if load.stage != LoadStage::Overlap
            || self.task.dump.consistency != Consistency::Fuzzy
            || Manifest::find(&self.dump_folder)?.is_some()
        {
            return Ok(false);
        }
        let left = Left::dump_in(&self.dump_folder).await?;
        Ok(left.is_some_and(|(dump_id, _)| dump_id == load.dump_id))
    }

    /// Takes out of the target what is of no dump; `false` if it was asked to stop.
    pub(super) async fn discard(&self, key: &StreamKey, stop: &CancellationToken) -> Result<bool> {
        let job = self.load_job();
        tokio::select! {
            biased;
            () = stop.cancelled() => Ok(false),
            done = load::discard(&job, key.clone(), &self.load) => done.map(|()| true),
        }
    }

    /// Loads a whole dump; `false` if it was asked to stop.
    pub(super) async fn load(&self, stop: &CancellationToken) -> Result<bool> {
        let job = self.load_job();
        let outcome = load::run(job, None, Arc::clone(&self.load), stop.clone()).await?;
        Ok(matches!(outcome, LoadOutcome::Complete(_)))
    }

    fn relay_folder(&self) -> String {
        let newest = self.source.log().newest_folder();
        newest.map_or_else(String::new, |folder| folder.name)
    }

    /// The server the relay log is of now and the one it was first of, where a relay is at work.
    fn took_over(&self) -> Option<(String, String)> {
        if self.task.mode != Mode::All {
            return None;
        }
        let log = self.source.log();
        Some((log.newest_folder()?.identity, log.origin()?.0))
    }
}
