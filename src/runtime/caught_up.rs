//! Tells when `run --until caught-up` is done: each stream has applied everything up to the position
//! its source had when the stream first had nothing left to apply.

use std::sync::{Arc, Mutex, PoisonError};

use crate::model::{Position, Stage, Unit};

use super::supervisor::Supervisor;
use super::{Stream, Worker};

/// How far each stream is, in the director's order.
#[derive(Debug, Default)]
pub(super) struct CaughtUp {
    streams: Vec<Progress>,
}

/// How far a stream is.
#[derive(Clone, Debug, Default)]
enum Progress {
    /// It still has something to do.
    #[default]
    Behind,
    /// The source is being asked for its end.
    Asking(Arc<Mutex<Asked>>),
    /// This is to be reached.
    Goal(Position),
    /// It is reached, or the stream was for a full copy alone.
    Reached,
    /// It stands, and will not go on by itself.
    Stands,
}

/// What came of asking the source.
#[derive(Debug)]
enum Asked {
    Not,
    End(Position),
    Failed,
}

impl CaughtUp {
    /// Whether no stream has anything left to do, or can go on.
    pub(super) fn is_done(&self) -> bool {
        !self.streams.is_empty()
            && self
                .streams
                .iter()
                .all(|p| matches!(p, Progress::Reached | Progress::Stands))
    }

    /// Looks at every stream; called at each tick.
    pub(super) fn look(&mut self, workers: &[Worker], streams: &[Stream], supervisor: &Supervisor) {
        self.streams.resize(streams.len(), Progress::Behind);
        for (progress, stream) in self.streams.iter_mut().zip(streams) {
            let relay_stands = workers.iter().any(|worker| {
                worker.work.source_name() == stream.work.source_name()
                    && worker.state.stage() == Stage::Failed
            });
            let next = match (stream.state.stage(), &*progress) {
                (Stage::Finished, _) => Some(Progress::Reached),
                (Stage::Failed | Stage::Stopped | Stage::Paused, _) => Some(Progress::Stands),
                // Without its relay a stream gets nothing new; what it has it still applies.
                (_, Progress::Behind | Progress::Goal(_) | Progress::Stands)
                    if relay_stands && stream.work.has_all_that_came() =>
                {
                    Some(Progress::Stands)
                }
                (_, Progress::Stands) => Some(Progress::Behind),
                (Stage::Running, Progress::Behind)
                    if stream.work.unit() == Unit::Sync && stream.work.is_idle() =>
                {
                    Some(ask(stream, supervisor))
                }
                (_, Progress::Asking(asked)) => {
                    match &*asked.lock().unwrap_or_else(PoisonError::into_inner) {
                        Asked::Not => None,
                        Asked::End(end) => Some(Progress::Goal(end.clone())),
                        Asked::Failed => Some(Progress::Behind),
                    }
                }
                (_, Progress::Goal(goal)) if stream.work.has_reached(goal) => {
                    Some(Progress::Reached)
                }
                _ => None,
            };
            if let Some(next) = next {
                *progress = next;
            }
        }
    }
}

/// Asks the stream's source where its binlog ends.
fn ask(stream: &Stream, supervisor: &Supervisor) -> Progress {
    let asked = Arc::new(Mutex::new(Asked::Not));
    let answer = Arc::clone(&asked);
    let work = Arc::clone(&stream.work);
    let _answers_by_the_mutex = supervisor.spawn("source's end", async move {
        let end = match work.source_end().await {
            Ok(end) => Asked::End(end),
            Err(error) => {
                tracing::warn!(
                    unit = "runtime",
                    "cannot ask the source for its end: {error}"
                );
                // The next look asks again; not at once.
                tokio::time::sleep(std::time::Duration::from_secs(1)).await;
                Asked::Failed
            }
        };
        *answer.lock().unwrap_or_else(PoisonError::into_inner) = end;
    });
    Progress::Asking(asked)
}
