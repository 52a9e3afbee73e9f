//! Purging relay logs: by age and room at intervals, and by command, never what a stream needs.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use tokio_util::sync::CancellationToken;

use crate::control::{PurgeWhich, Reply};
use crate::model::position::FIRST_OFFSET;
use crate::model::{Error, ErrorKind, Place, Position, Result};
use crate::relay_log::{PurgeRule, Purged, oldest_needed};

use super::needs::Needs;
use super::relay_work::RelayWork;
use super::runner::{done, refused};
use super::stream_work::StreamWork;

/// How often is looked whether something can go.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// A source's relay log with all who read it.
#[derive(Debug)]
pub(super) struct Purging {
    pub(super) relay: Arc<RelayWork>,
    pub(super) streams: RwLock<Vec<Arc<StreamWork>>>,
}

impl Purging {
    fn readers(&self) -> Vec<Arc<StreamWork>> {
        self.streams
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// One more reads the relay log.
    pub(super) fn add(&self, stream: Arc<StreamWork>) {
        self.streams
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .push(stream);
    }

    /// Purges as configured until told to stop.
    pub(super) async fn run(self: Arc<Self>, stop: CancellationToken) {
        let mut tick = tokio::time::interval(LOOK_EVERY);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = tick.tick() => {}
            }
            let config = &self.relay.config().relay;
            let mut note = None;
            for rule in [
                PurgeRule::OlderThan(config.purge_after),
                PurgeRule::KeepFree(config.keep_free_bytes),
            ] {
                match self.purge(rule.clone()).await {
                    Ok(purged) if purged.is_held && matches!(rule, PurgeRule::KeepFree(_)) => {
                        let held_by = if purged.is_recent {
                            "files stay for some minutes after they were needed".to_owned()
                        } else {
                            self.held_by()
                        };
                        note = Some(format!(
                            "less than `keep_free` is left on the disk, and {held_by}"
                        ));
                    }
                    Ok(_) => {}
                    Err(error) => note = Some(format!("relay files cannot be purged: {error}")),
                }
            }
            self.relay.meter().set_purge_note(note);
        }
    }

    /// Carries out an operator's purge.
    pub(super) async fn obey(&self, which: &PurgeWhich) -> Reply {
        let purged = match which {
            PurgeWhich::OlderThan { seconds } => {
                self.purge(PurgeRule::OlderThan(Duration::from_secs(*seconds)))
                    .await
            }
            PurgeWhich::Before { file } => self.purge(PurgeRule::Before(file.clone())).await,
            PurgeWhich::Force { file } => {
                let (log, file) = (Arc::clone(self.relay.log()), file.clone());
                blocking(move || log.purge_forced(&file)).await
            }
        };
        match purged {
            Ok(purged) if purged.files.is_empty() && purged.is_held => refused(
                format!("no file was purged: {}", self.held_by()),
                "let the stream get past it; or name the file with `--force`, and copy that stream's \
                 tables anew",
            ),
            Ok(purged) => {
                let held = if purged.is_held {
                    format!("; the rest stays: {}", self.held_by())
                } else {
                    String::new()
                };
                done(format!("{}{held}", sum(&purged)))
            }
            Err(error) => failed(&error, "see the files with `tideway relay list`"),
        }
    }

    /// Fetches a relay file again that was found damaged.
    pub(super) async fn refetch(&self, folder: &str, file: &str) -> Reply {
        match self.relay.refetch(folder, file).await {
            Ok(true) => done(format!("`{folder}/{file}` is fetched again and whole")),
            Ok(false) => refused(
                format!("`{folder}/{file}` is no file of the relay log"),
                "see the files with `tideway relay list`",
            ),
            Err(error) if error.kind() == ErrorKind::Purged => {
                let place = Place::new(folder, Position::new(file, FIRST_OFFSET));
                let fix = if self.is_needed(&place) {
                    format!("{}: its tables must be copied anew", self.held_by())
                } else {
                    format!(
                        "no stream needs it any more: `tideway relay purge --source {}` takes it out",
                        self.relay.source_name()
                    )
                };
                Reply::Failed {
                    kind: error.kind(),
                    message: format!(
                        "`{folder}/{file}` cannot be fetched again: the source no longer has it"
                    ),
                    fix: Some(fix),
                }
            }
            Err(error) => failed(&error, "see that the source runs and still has the file"),
        }
    }

    async fn purge(&self, rule: PurgeRule) -> Result<Purged> {
        let needs = self.needs();
        let log = Arc::clone(self.relay.log());
        blocking(move || {
            let now = SystemTime::now();
            if let Some(needed) = needs.known() {
                log.note_needs(needed, now)?;
            }
            log.purge(&rule, needs.known(), now)
        })
        .await
    }

    /// Whether a stream needs the file of `place`, or may.
    fn is_needed(&self, place: &Place) -> bool {
        let log = self.relay.log();
        let needs = self.needs();
        let Some(needed) = needs.known() else {
            return true;
        };
        match oldest_needed(log, needed) {
            None => !needed.is_empty(),
            Some(needed) => {
                let both = [needed.clone(), place.clone()];
                place.position.file == needed.position.file
                    || oldest_needed(log, &both) != Some(place)
            }
        }
    }

    fn needs(&self) -> Needs {
        Needs::of(self.readers().iter())
    }

    /// Who holds what is left, for a message.
    fn held_by(&self) -> String {
        self.needs().held_by(self.relay.log())
    }
}

/// What an order that was taken up ended with.
fn failed(error: &Error, usual_fix: &str) -> Reply {
    Reply::Failed {
        kind: error.kind(),
        message: error.to_string(),
        fix: Some(error.fix().unwrap_or(usual_fix).to_owned()),
    }
}

fn sum(purged: &Purged) -> String {
    let bytes: u64 = purged.files.iter().map(|file| file.size_bytes).sum();
    match purged.files.as_slice() {
        [] => "nothing to purge".to_owned(),
        [one] => format!("purged `{}`, {bytes} bytes", one.name),
        [first, .., last] => format!(
            "purged {} files, `{}` to `{}`, {bytes} bytes",
            purged.files.len(),
            first.name,
            last.name
        ),
    }
}

/// Removing a file of gigabytes takes its time.
async fn blocking(work: impl FnOnce() -> Result<Purged> + Send + 'static) -> Result<Purged> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(panic) => {
            Err(Error::new(ErrorKind::Panicked, "purging ended by a defect").with_source(panic))
        }
    }
}
