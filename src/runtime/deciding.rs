//! From what the operator asks at a stop to a decision, and on to what becomes of it.
//!
//! The decision is made of the stop as it stands, written to the journal, and handed to the stream,
//! which takes it only if it stands at that stop still. Then its fate is waited for, for a while: the
//! stream tells it, the journal passes it on.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use crate::control::{
    Command, LaterRowsFrom, Reply, Scope, Stop, StopPosition, choice_name, effect,
};
use crate::model::{
    Choice, DECISION_VERSION, Decision, DecisionOutcome, EventPlace, LaterRows, Place, Position,
    Reach, Stage, TypedPlace,
};

use super::clock;
use super::journal::Journal;
use super::runner::{Ask, Request, State, done, refused};
use super::stream_work::StreamWork;

/// How long the fate of a decision is waited for before the asker is told that it waits.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often it is looked whether the stream stands elsewhere meanwhile.
const LOOK: Duration = Duration::from_millis(100);

/// A stream that something is decided for.
#[derive(Clone, Debug)]
pub(super) struct Table {
    pub(super) work: Arc<StreamWork>,
    pub(super) state: Arc<State>,
    pub(super) requests: mpsc::Sender<Ask>,
    pub(super) journal: Arc<Journal>,
}

/// The stream that a scope names, which must be one.
pub(super) fn only<'s>(
    streams: &'s [super::Stream],
    scope: &Scope,
) -> Result<&'s super::Stream, Reply> {
    let matches =
        |asked: &Option<String>, name: &str| asked.as_deref().is_none_or(|asked| asked == name);
    let mut found = streams.iter().filter(|stream| {
        matches(&scope.task, stream.work.task_name())
            && matches(&scope.source, stream.work.source_name())
    });
    match (found.next(), found.next()) {
        (Some(stream), None) => Ok(stream),
        (Some(_), Some(_)) => Err(refused(
            "several streams are called so",
            "name the task and the source",
        )),
        (None, _) => Err(refused(
            "no stream is called so",
            "see the names with `tideway status`",
        )),
    }
}

impl Table {
    /// Carries out a [`Command::Decide`]; the journal's number of its intent, if there is one, and the
    /// reply.
    pub(super) async fn decide(&self, command: &Command, origin: &str) -> (Option<u64>, Reply) {
        let (decision, stop) = match self.decision(command, origin).await {
            Ok(made) => made,
            Err(refusal) => return (None, refusal),
        };
        let watched = self.journal.watch(&decision.id);
        let written = {
            let journal = Arc::clone(&self.journal);
            let (origin, command) = (origin.to_owned(), command.clone());
            let decision = decision.clone();
            tokio::task::spawn_blocking(move || journal.decision(&origin, &command, &decision))
                .await
        };
        let id = match written {
            Ok(Ok(id)) => id,
            Ok(Err(error)) => {
                let fix = "make the journal writable, then ask again";
                return (None, refused(error.report(), fix));
            }
            Err(error) => return (None, refused(error.to_string(), "ask again")),
        };
        let asked = self.hand_over(decision.clone()).await;
        if let Reply::Refused { message, .. } | Reply::Failed { message, .. } = &asked {
            let why = message.clone();
            self.settle(&decision.id, DecisionOutcome::NotDone { why })
                .await;
            return (Some(id), asked);
        }
        (Some(id), self.fate(&decision, &stop, watched).await)
    }

    /// Carries out a [`Command::Revert`].
    pub(super) async fn revert(&self, id: Option<&str>) -> Reply {
        let waiting = self.work.waiting_decisions();
        let Some(id) = id.or_else(|| waiting.last().map(|decision| decision.id.as_str())) else {
            return refused(
                "no decision waits",
                "`tideway journal` shows what was decided",
            );
        };
        match self.work.hand().withdraw(id) {
            Some(decision) => {
                let why = "the operator took it back".to_owned();
                self.settle(id, DecisionOutcome::Withdrawn { why }).await;
                done(format!("{id}: {} is withdrawn", decision.title()))
            }
            None => refused(
                format!("no decision `{id}` waits, or it takes effect just now"),
                "`tideway journal` shows what became of it",
            ),
        }
    }

    async fn settle(&self, id: &str, outcome: DecisionOutcome) {
        let journal = Arc::clone(&self.journal);
        let id = id.to_owned();
        let settled = tokio::task::spawn_blocking(move || journal.settled(&id, &outcome)).await;
        match settled {
            Ok(Ok(())) => {}
            // It stays in question, and is settled at the next start.
            Ok(Err(error)) => tracing::error!(unit = "runtime", "{}", error.report()),
            Err(error) => tracing::error!(unit = "runtime", "{error}"),
        }
    }

    async fn hand_over(&self, decision: Decision) -> Reply {
        let (reply, receive) = oneshot::channel();
        let request = Request::Decide(Box::new(decision));
        let gone = || refused("the stream has ended", "start the worker again");
        if self.requests.send((request, reply)).await.is_err() {
            return gone();
        }
        receive.await.unwrap_or_else(|_| gone())
    }

    /// Waits for what becomes of a decision, or until the stream stands at another event.
    async fn fate(
        &self,
        decision: &Decision,
        stop: &Stop,
        mut watched: oneshot::Receiver<DecisionOutcome>,
    ) -> Reply {
        let id = &decision.id;
        let title = decision.title();
        let until = tokio::time::Instant::now() + PATIENCE;
        loop {
            let outcome = tokio::select! {
                outcome = &mut watched => outcome.ok(),
                () = tokio::time::sleep(LOOK) => None,
            };
            match outcome {
                Some(DecisionOutcome::Done) => {
                    return done(format!(
                        "{id}: {title} is done: {}",
                        effect(stop, decision.choice, decision.scope)
                    ));
                }
                Some(outcome) => {
                    return refused(
                        format!("{id}: {title}: {}", outcome.text()),
                        "look at the stop again, then decide",
                    );
                }
                None => {}
            }
            let state = self.state.read();
            let stands_elsewhere = state.stage == Stage::Failed
                && state
                    .stop
                    .is_some_and(|now| now.stop_id != decision.stop_id);
            let waits = self
                .work
                .waiting_decisions()
                .iter()
                .any(|waiting| waiting.id == *id);
            if stands_elsewhere && waits {
                return done(format!(
                    "{id}: {title} waits: another change of the same transaction stops the stream, and \
                     all of it commits at once"
                ));
            }
            if tokio::time::Instant::now() >= until {
                return done(format!(
                    "{id}: {title} is accepted and has not taken effect yet; the journal will say when"
                ));
            }
        }
    }

    /// Makes the decision of what was asked at the stop as it stands.
    async fn decision(&self, command: &Command, origin: &str) -> Result<(Decision, Stop), Reply> {
        let Command::Decide {
            choice,
            reach,
            at,
            stop_id,
            later_rows,
            reason,
            ..
        } = command
        else {
            return Err(refused("this decides nothing", "ask for another"));
        };
        let (choice, scope) = (*choice, *reach);
        let state = self.state.read();
        let stop = state.stop.filter(|_| state.stage == Stage::Failed);
        let Some(stop) = stop else {
            return Err(refused(
                "the stream does not stand at an event",
                "decide when it has stopped at one",
            ));
        };
        if stop_id.as_ref().is_some_and(|asked| *asked != stop.stop_id) {
            return Err(refused(
                "it stands at another stop by now",
                "look at it again, then decide",
            ));
        }
        let (Some(position), Some(transaction)) = (&stop.position, &stop.transaction) else {
            return Err(refused(
                "what stopped the stream is not an event",
                "mend the cause, then `retry`",
            ));
        };
        let place = place_of(position);
        if !at.means(&place) {
            return Err(refused(
                format!(
                    "the stream stands at `{}`, not at `{at}`",
                    TypedPlace::from(&place)
                ),
                "look at it again, then decide",
            ));
        }
        let name = choice_name(choice, scope);
        if !stop.choices.contains(&name) {
            return Err(refused(
                format!("`{name}` is no choice for this event"),
                format!("choose one of: {}", stop.choices.join(", ")),
            ));
        }
        let later_rows = self
            .ask_later_rows(choice, scope, later_rows.as_ref(), &stop)
            .await?;
        let at = match at.row {
            Some(row) if scope == Reach::Row => EventPlace {
                row: Some(row),
                ..place
            },
            _ => place,
        };
        let made_at = clock::now();
        let seed = format!(
            "{}/{}/{at}/{}",
            self.work.task_name(),
            self.work.source_name(),
            std::process::id()
        );
        let decision = Decision {
            version: DECISION_VERSION,
            id: format!(
                "{:x}-{:04x}",
                made_at.0,
                crc32fast::hash(seed.as_bytes()) & 0xffff
            ),
            task: self.work.task_name().to_owned(),
            source: self.work.source_name().to_owned(),
            choice,
            scope,
            at,
            begin: transaction.begin.clone(),
            gtid: stop.gtid.clone(),
            stop_id: stop.stop_id.clone(),
            later_rows,
            reason: reason.clone(),
            made_at,
            by: origin.to_owned(),
        };
        Ok((decision, stop))
    }

    /// How rows behind a statement that does not run are read: that must be said.
    async fn ask_later_rows(
        &self,
        choice: Choice,
        scope: Reach,
        asked: Option<&LaterRowsFrom>,
        stop: &Stop,
    ) -> Result<LaterRows, Reply> {
        let is_statement = stop.changes_structure();
        let Some(from) = asked else {
            return if is_statement && choice == Choice::Skip && scope != Reach::Row {
                Err(refused(
                    "the statement changes a table: it must be said how the rows after it are read",
                    "add `--structure source`, as the statement left the table there; or `target`, `keep`, \
                     or a file with the `CREATE TABLE`",
                ))
            } else {
                Ok(LaterRows::Source)
            };
        };
        if !is_statement {
            return Err(refused(
                "the event is no statement that changes a table",
                "leave `--structure` out",
            ));
        }
        let is_understood = stop
            .transaction
            .as_ref()
            .is_some_and(|transaction| transaction.is_understood);
        self.work
            .later_rows(from, stop.table.as_ref(), is_understood)
            .await
            .map_err(|error| Reply::Refused {
                message: error.message().to_owned(),
                fix: error.fix().map(str::to_owned),
            })
    }
}

fn place_of(position: &StopPosition) -> EventPlace {
    EventPlace {
        place: Place::new(
            position.folder.clone(),
            Position::new(position.file.clone(), position.offset),
        ),
        inner: position.inner,
        row: position.row,
    }
}
