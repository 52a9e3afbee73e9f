//! The operator's decisions for a stream, from the moment they are accepted until the target has them.
//!
//! A decision waits here until its transaction is applied. It is used in that transaction, and written
//! beside the checkpoint with it; so after a lost answer, or a crash, the target says whether it took
//! effect. What became of each is reported once, and a report is on disk before anything goes on.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::transaction::{RowsPart, Statement, Transaction};
use crate::model::{
    Choice, Decision, DecisionOutcome, Error, ErrorKind, EventPlace, Gtid, Place, Reach, Result,
};
use crate::target::PartDone;

/// Where the fate of a decision is written down, by its id; it is there for good when this returns,
/// which may block.
pub type Report = Arc<dyn Fn(&str, &DecisionOutcome) -> Result<()> + Send + Sync>;

/// A stream's decisions.
pub struct Hand {
    book: Mutex<Book>,
    report: Report,
}

#[derive(Debug, Default)]
struct Book {
    waiting: Vec<Waiting>,
    /// Ids of decisions of a former process, of which the journal does not know what became.
    unsettled: Vec<String>,
    /// What became of some, not written down yet.
    untold: Vec<(String, DecisionOutcome)>,
}

#[derive(Clone, Debug)]
struct Waiting {
    decision: Arc<Decision>,
    /// Whether a transaction is under way that uses it: it cannot be taken back now.
    is_taken: bool,
    /// Whether the target has it, because a part of its transaction is committed.
    is_recorded: bool,
}

impl Waiting {
    /// Whether it can still be taken back.
    fn is_free(&self) -> bool {
        !self.is_taken && !self.is_recorded
    }
}

impl fmt::Debug for Hand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hand").finish_non_exhaustive()
    }
}

impl Hand {
    /// No decision yet; `unsettled` are those of a former process.
    pub fn new(report: Report, unsettled: Vec<String>) -> Self {
        Self {
            book: Mutex::new(Book {
                waiting: Vec::new(),
                unsettled,
                untold: Vec::new(),
            }),
            report,
        }
    }

    /// For a stream that nobody decides anything for.
    pub fn idle() -> Arc<Self> {
        Arc::new(Self::new(Arc::new(|_, _| Ok(())), Vec::new()))
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        // Plain data: a panic while it was held left nothing half done.
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a decision. Those that wait for a part of what it reaches give way to it.
    pub fn decide(&self, decision: Decision) {
        let mut book = self.book();
        let why = format!("{} covers it", decision.id);
        let (gone, kept): (Vec<_>, Vec<_>) = std::mem::take(&mut book.waiting)
            .into_iter()
            .partition(|waiting| waiting.is_free() && decision.covers(&waiting.decision));
        book.waiting = kept;
        book.waiting.push(Waiting {
            decision: Arc::new(decision),
            is_taken: false,
            is_recorded: false,
        });
        let gone = gone.into_iter().map(|waiting| {
            let why = why.clone();
            (
                waiting.decision.id.clone(),
                DecisionOutcome::Withdrawn { why },
            )
        });
        book.untold.extend(gone);
    }

    /// Takes a decision back; `None`: none of that name waits, or it is under way.
    pub fn withdraw(&self, id: &str) -> Option<Arc<Decision>> {
        let mut book = self.book();
        let at = book
            .waiting
            .iter()
            .position(|waiting| waiting.is_free() && waiting.decision.id == id)?;
        Some(book.waiting.remove(at).decision)
    }

    /// Those that wait, oldest first.
    pub fn waiting(&self) -> Vec<Arc<Decision>> {
        let book = self.book();
        book.waiting
            .iter()
            .map(|waiting| Arc::clone(&waiting.decision))
            .collect()
    }

    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.book().waiting.is_empty()
    }

    /// Every id of which only the target knows what became: those that wait may be in it too, because
    /// the answer to a COMMIT was lost.
    pub(super) fn in_question(&self) -> Vec<String> {
        let book = self.book();
        let waiting = book
            .waiting
            .iter()
            .map(|waiting| waiting.decision.id.clone());
        waiting.chain(book.unsettled.iter().cloned()).collect()
    }

    /// Takes in which of those the target has, where it stands at `part`: what it has is done, unless its
    /// transaction is in the target in part only; what a former process left and it has not, is not
    /// done; the rest waits on.
    pub(super) async fn resolve(
        &self,
        found: Vec<Decision>,
        part: Option<&PartDone>,
    ) -> Result<()> {
        let outcomes = {
            let mut book = self.book();
            let mut outcomes = std::mem::take(&mut book.untold);
            for id in std::mem::take(&mut book.unsettled) {
                if !found.iter().any(|decision| decision.id == id) {
                    let why = "the process ended before it took effect".to_owned();
                    outcomes.push((id, DecisionOutcome::NotDone { why }));
                }
            }
            for waiting in &mut book.waiting {
                waiting.is_taken = false;
            }
            for decision in found {
                let is_half = part.is_some_and(|part| part.begin == decision.begin);
                let known = |waiting: &Waiting| waiting.decision.id == decision.id;
                let at = book.waiting.iter().position(known);
                match (is_half, at.and_then(|at| book.waiting.get_mut(at))) {
                    (true, Some(waiting)) => waiting.is_recorded = true,
                    (true, None) => book.waiting.push(Waiting {
                        decision: Arc::new(decision),
                        is_taken: false,
                        is_recorded: true,
                    }),
                    (false, _) => {
                        outcomes.push((decision.id, DecisionOutcome::Done));
                        at.map(|at| book.waiting.remove(at));
                    }
                }
            }
            outcomes
        };
        self.tell(outcomes).await
    }

    /// Whether the target has the decision already.
    pub(super) fn is_recorded(&self, id: &str) -> bool {
        let book = self.book();
        let known = book.waiting.iter().find(|of| of.decision.id == id);
        known.is_some_and(|waiting| waiting.is_recorded)
    }

    /// A part of their transaction has committed with these in it.
    pub(super) fn recorded(&self, used: &[Arc<Decision>]) {
        for waiting in &mut self.book().waiting {
            waiting.is_recorded |= used.iter().any(|used| used.id == waiting.decision.id);
        }
    }

    /// The decisions for a transaction, which is under way now.
    pub(super) fn take_for(&self, begin: &Place, gtid: Option<&Gtid>) -> Orders {
        let mut book = self.book();
        if book.waiting.is_empty() {
            return Orders::default();
        }
        let gtid = gtid.map(ToString::to_string);
        let mut orders = Vec::new();
        for waiting in &mut book.waiting {
            if waiting.decision.is_for(begin, gtid.as_deref()) {
                waiting.is_taken = true;
                orders.push(Arc::clone(&waiting.decision));
            }
        }
        // The narrowest first: a row that was decided by itself stays so.
        orders.sort_by_key(|decision| decision.scope);
        Orders(orders)
    }

    /// Whether there is a decision for the transaction.
    pub(super) fn has_for(&self, transaction: &Transaction) -> bool {
        let book = self.book();
        if book.waiting.is_empty() {
            return false;
        }
        let gtid = transaction.gtid.as_ref().map(ToString::to_string);
        book.waiting
            .iter()
            .any(|waiting| waiting.decision.is_for(&transaction.begin, gtid.as_deref()))
    }

    /// The decision for an event that the reader meets, of a transaction that begins at `begin`.
    pub(super) fn of_event(
        &self,
        begin: &Place,
        gtid: Option<&Gtid>,
        at: &EventPlace,
    ) -> Option<Arc<Decision>> {
        let book = self.book();
        if book.waiting.is_empty() {
            return None;
        }
        let gtid = gtid.map(ToString::to_string);
        let found = book.waiting.iter().find(|waiting| {
            let decision = &waiting.decision;
            decision.is_for(begin, gtid.as_deref())
                && decision.takes_event(at.place.position.offset, at.inner)
        });
        found.map(|waiting| Arc::clone(&waiting.decision))
    }

    /// The decision for a statement, which is under way now.
    pub(super) fn take_for_statement(&self, statement: &Statement) -> Option<Arc<Decision>> {
        let at = &statement.place;
        self.take_for(&statement.begin, statement.gtid.as_ref())
            .0
            .into_iter()
            .find(|decision| decision.takes_event(at.place.position.offset, at.inner))
    }

    /// A transaction has committed with these in it; others that wait for it can never be used.
    pub(super) async fn used(
        &self,
        used: &[Arc<Decision>],
        begin: &Place,
        gtid: Option<&Gtid>,
    ) -> Result<()> {
        let gtid = gtid.map(ToString::to_string);
        let mut outcomes = Vec::new();
        self.book().waiting.retain(|waiting| {
            let decision = &waiting.decision;
            if waiting.is_recorded || used.iter().any(|used| used.id == decision.id) {
                outcomes.push((decision.id.clone(), DecisionOutcome::Done));
                return false;
            }
            if decision.is_for(begin, gtid.as_deref()) {
                let why = "its transaction has no such event".to_owned();
                outcomes.push((decision.id.clone(), DecisionOutcome::NotDone { why }));
                return false;
            }
            true
        });
        self.tell(outcomes).await
    }

    /// The stream stops at a place again: the decision that is for this very place has failed; those for
    /// other places of the transaction wait on.
    pub(super) async fn failed_at(
        &self,
        begin: &Place,
        gtid: Option<&str>,
        at: &EventPlace,
        error: &Error,
    ) -> Result<()> {
        let mut outcomes = Vec::new();
        self.book().waiting.retain_mut(|waiting| {
            waiting.is_taken = false;
            let decision = &waiting.decision;
            let (offset, inner) = (at.place.position.offset, at.inner);
            // What is in the target in part cannot be called not done.
            let is_meant = !waiting.is_recorded
                && decision.is_for(begin, gtid)
                && match at.row {
                    Some(row) => decision.reaches_row(offset, inner, row),
                    None => decision.reaches_event(offset, inner),
                };
            if is_meant {
                let why = match error.cause() {
                    Some(cause) => format!("{}: {cause}", error.message()),
                    None => error.message().to_owned(),
                };
                outcomes.push((decision.id.clone(), DecisionOutcome::NotDone { why }));
            }
            !is_meant
        });
        self.tell(outcomes).await
    }

    /// Nothing is under way any more.
    pub(super) fn release(&self) {
        for waiting in &mut self.book().waiting {
            waiting.is_taken = false;
        }
    }

    /// Reports outcomes. One that cannot be written stays in question for the next start.
    async fn tell(&self, outcomes: Vec<(String, DecisionOutcome)>) -> Result<()> {
        if outcomes.is_empty() {
            return Ok(());
        }
        let report = Arc::clone(&self.report);
        let told = tokio::task::spawn_blocking(move || {
            outcomes
                .iter()
                .try_for_each(|(id, outcome)| report(id, outcome))
        });
        told.await.map_err(|why| {
            Error::new(
                ErrorKind::Panicked,
                "writing down what became of a decision failed",
            )
            .with_source(why)
        })?
    }
}

/// The decisions for one transaction, the narrowest first.
#[derive(Clone, Debug, Default)]
pub(super) struct Orders(Vec<Arc<Decision>>);

impl Orders {
    /// Whether the transaction goes as it is.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What is done with a row instead of applying it.
    pub(super) fn of_row(&self, event: &RowsPart, row: u32) -> Option<&Arc<Decision>> {
        self.0
            .iter()
            .find(|decision| decision.reaches_row(event.offset, event.inner, row))
    }

    /// The decision to which rows belong whose table map is left out with it.
    pub(super) fn skips_unread(&self) -> Option<&Arc<Decision>> {
        self.0
            .iter()
            .find(|decision| decision.choice == Choice::Skip && decision.scope != Reach::Row)
    }

    /// Whether nothing of an event is applied, whatever it holds.
    pub(super) fn skips_event(&self, offset: u64, inner: Option<u32>) -> Option<&Arc<Decision>> {
        self.0
            .iter()
            .find(|decision| decision.choice == Choice::Skip && decision.takes_event(offset, inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{DECISION_VERSION, LaterRows, Position, Timestamp};

    type Told = Arc<Mutex<Vec<(String, DecisionOutcome)>>>;

    fn hand(unsettled: &[&str]) -> (Hand, Told) {
        let told = Told::default();
        let report = {
            let told = Arc::clone(&told);
            move |id: &str, outcome: &DecisionOutcome| {
                told.lock().unwrap().push((id.to_owned(), outcome.clone()));
                Ok(())
            }
        };
        let unsettled = unsettled.iter().map(ToString::to_string).collect();
        (Hand::new(Arc::new(report), unsettled), told)
    }

    fn begin() -> Place {
        Place::new("7.1", Position::new("bin.000001", 4))
    }

    fn at(offset: u64, row: Option<u32>) -> EventPlace {
        EventPlace {
            place: Place::new("7.1", Position::new("bin.000001", offset)),
            inner: None,
            row,
        }
    }

    fn decision(id: &str, scope: Reach, at: EventPlace) -> Decision {
        Decision {
            version: DECISION_VERSION,
            id: id.into(),
            task: "t".into(),
            source: "a".into(),
            choice: Choice::Skip,
            scope,
            at,
            begin: begin(),
            gtid: None,
            stop_id: "s".into(),
            later_rows: LaterRows::Source,
            reason: String::new(),
            made_at: Timestamp::default(),
            by: "console".into(),
        }
    }

    fn ids(told: &Told) -> Vec<String> {
        let told = told.lock().unwrap();
        told.iter()
            .map(|(id, outcome)| format!("{id} {}", outcome.text()))
            .collect()
    }

    #[tokio::test]
    async fn the_target_says_what_became_of_those_in_question() {
        let (hand, told) = hand(&["old", "lost"]);
        hand.decide(decision("new", Reach::Row, at(80, Some(1))));
        hand.decide(decision("sent", Reach::Row, at(80, Some(2))));
        assert_eq!(hand.in_question(), ["new", "sent", "old", "lost"]);
        let found = vec![
            decision("old", Reach::Event, at(80, None)),
            decision("sent", Reach::Row, at(80, Some(2))),
        ];
        hand.resolve(found, None).await.unwrap();
        assert_eq!(
            ids(&told),
            [
                "lost not done: the process ended before it took effect",
                "old done",
                "sent done"
            ]
        );
        assert_eq!(hand.in_question(), ["new"]);
    }

    #[tokio::test]
    async fn one_whose_transaction_is_in_the_target_in_part_goes_on() {
        let (hand, told) = hand(&["half"]);
        let part = PartDone {
            begin: begin(),
            offset: 80,
            inner: None,
            gtid: None,
        };
        let found = vec![decision("half", Reach::Transaction, at(80, None))];
        hand.resolve(found, Some(&part)).await.unwrap();
        assert!(ids(&told).is_empty());
        assert!(hand.is_recorded("half"));
        assert!(hand.withdraw("half").is_none(), "a part of it is done");
        let orders = hand.take_for(&begin(), None);
        assert!(orders.skips_event(900, Some(3)).is_some());
        // The last part has nothing more for it to do.
        hand.used(&[], &begin(), None).await.unwrap();
        assert_eq!(ids(&told), ["half done"]);
        assert!(hand.is_empty());
    }

    #[tokio::test]
    async fn a_wider_decision_takes_the_place_of_a_narrower_one() {
        let (hand, told) = hand(&[]);
        hand.decide(decision("row", Reach::Row, at(80, Some(1))));
        hand.decide(decision("other", Reach::Row, at(90, Some(1))));
        hand.decide(decision("event", Reach::Event, at(80, Some(2))));
        assert_eq!(hand.in_question(), ["other", "event"]);
        hand.resolve(Vec::new(), None).await.unwrap();
        assert_eq!(ids(&told), ["row withdrawn: event covers it"]);
    }

    #[tokio::test]
    async fn a_failure_ends_the_decision_for_its_place_alone() {
        let (hand, told) = hand(&[]);
        hand.decide(decision("first", Reach::Row, at(80, Some(1))));
        hand.decide(decision("second", Reach::Row, at(80, Some(5))));
        let error = Error::new(ErrorKind::Target, "refused");
        let row = at(80, Some(5));
        // Under way, it cannot be taken back; once it stands again, it can.
        assert!(!hand.take_for(&begin(), None).is_empty());
        assert!(hand.withdraw("first").is_none());
        hand.failed_at(&begin(), None, &row, &error).await.unwrap();
        assert_eq!(ids(&told), ["second not done: refused"]);
        assert!(hand.withdraw("first").is_some());
        assert!(hand.is_empty());
    }

    #[test]
    fn another_transaction_at_the_place_is_not_meant() {
        let (hand, _) = hand(&[]);
        hand.decide(decision("one", Reach::Event, at(80, None)));
        let gtid = Gtid::MariaDB {
            domain: 0,
            server: 7,
            sequence: 5,
        };
        assert!(hand.take_for(&begin(), Some(&gtid)).is_empty());
        assert!(hand.of_event(&begin(), None, &at(80, None)).is_some());
        assert!(hand.of_event(&begin(), None, &at(81, None)).is_none());
    }
}
