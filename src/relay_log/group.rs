//! Where transactions begin and end in a binlog: what readers may see is cut there.
//!
//! Fed with every event of a file in order. Only the statements that open and close a transaction
//! matter; what is inside is not looked at.

use crate::binlog::{Event, EventKind, GtidEvent};
use crate::model::{Gtid, Result};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// No transaction is open.
    #[default]
    Between,
    /// MySQL's GTID was read: the next statement says whether more follow it.
    Announced,
    /// One statement is to come and ends it.
    OneStatement,
    /// Open until a commit, a rollback or a prepare.
    Open,
}

/// What an event means for the transactions.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Its transaction is not complete yet.
    Inside,
    /// It stands between transactions, or is all of one: heads, rotations, stops.
    Alone,
    /// It is the last of its transaction.
    Ends {
        /// Where the transaction's first event starts.
        start: u64,
        /// The transaction's id.
        gtid: Option<Gtid>,
    },
}

/// Follows the transactions of one file.
#[derive(Clone, Debug, Default)]
pub(super) struct Groups {
    state: State,
    start: u64,
    gtid: Option<Gtid>,
}

impl Groups {
    /// Whether a transaction has begun and not ended.
    pub(super) fn is_inside(&self) -> bool {
        self.state != State::Between
    }

    /// Takes the event that starts at `offset`. Of a long statement the beginning is enough.
    pub(super) fn step(&mut self, offset: u64, event: &Event<'_>) -> Result<Step> {
        let kind = event.header.kind;
        if kind.is_gtid() {
            let gtid = GtidEvent::parse(event)?;
            self.state = match &gtid {
                GtidEvent::MySql(_) => State::Announced,
                GtidEvent::MariaDb(maria) if maria.is_standalone() => State::OneStatement,
                GtidEvent::MariaDb(_) => State::Open,
            };
            self.start = offset;
            self.gtid = gtid.gtid();
            return Ok(Step::Inside);
        }
        let next = match (kind, self.state) {
            // These stand between transactions; one that is open was abandoned by a crash.
            (
                EventKind::FORMAT_DESCRIPTION
                | EventKind::ROTATE
                | EventKind::STOP
                | EventKind::PREVIOUS_GTIDS
                | EventKind::GTID_LIST,
                _,
            ) => {
                self.gtid = None;
                self.start = offset;
                State::Between
            }
            (EventKind::QUERY, state) => after_statement(state, statement(event.body)),
            (EventKind::QUERY_COMPRESSED | EventKind::EXECUTE_LOAD_QUERY, State::Open) => {
                State::Open
            }
            (
                EventKind::XID
                | EventKind::XA_PREPARE
                | EventKind::TRANSACTION_PAYLOAD
                | EventKind::INCIDENT
                | EventKind::QUERY_COMPRESSED
                | EventKind::EXECUTE_LOAD_QUERY,
                _,
            ) => State::Between,
            (
                EventKind::INTVAR | EventKind::RAND | EventKind::USER_VAR,
                State::Between | State::Announced,
            ) => {
                if self.state == State::Between {
                    self.start = offset;
                }
                State::OneStatement
            }
            (_, state) => state,
        };
        let started = match self.state {
            State::Between => offset,
            State::Announced | State::OneStatement | State::Open => self.start,
        };
        self.start = started;
        self.state = next;
        let gtid = (next == State::Between).then(|| self.gtid.take()).flatten();
        Ok(match next {
            State::Between if started == offset => Step::Alone,
            State::Between => Step::Ends {
                start: started,
                gtid,
            },
            State::Announced | State::OneStatement | State::Open => Step::Inside,
        })
    }
}

fn after_statement(state: State, text: &[u8]) -> State {
    let text = text.trim_ascii().trim_suffix_semicolon();
    let is = |word: &str| text.eq_ignore_ascii_case(word.as_bytes());
    let begins = |words: &str| {
        text.get(..words.len())
            .is_some_and(|head| head.eq_ignore_ascii_case(words.as_bytes()))
    };
    match state {
        // MariaDB's second half of a prepared transaction is a group with XA COMMIT as its end.
        State::Open
            if !(is("COMMIT")
                || is("ROLLBACK")
                || begins("XA COMMIT")
                || begins("XA ROLLBACK")) =>
        {
            State::Open
        }
        State::Between | State::Announced if is("BEGIN") || begins("XA START") => State::Open,
        State::Open | State::OneStatement | State::Between | State::Announced => State::Between,
    }
}

trait TrimSemicolon {
    fn trim_suffix_semicolon(&self) -> &[u8];
}

impl TrimSemicolon for [u8] {
    fn trim_suffix_semicolon(&self) -> &[u8] {
        self.strip_suffix(b";").unwrap_or(self).trim_ascii_end()
    }
}

/// The statement of a QUERY event's body; empty where the body is cut off before it.
/// Layout: thread 4, seconds 4, length of the schema 1, error 2, length of the status variables 2.
fn statement(body: &[u8]) -> &[u8] {
    let (Some(schema), Some(status)) = (
        body.get(8),
        body.get(11..13)
            .and_then(|two| <[u8; 2]>::try_from(two).ok()),
    ) else {
        return &[];
    };
    let start = 13 + usize::from(u16::from_le_bytes(status)) + usize::from(*schema) + 1;
    body.get(start..).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::binlog::EventHeader;

    fn query(text: &str) -> Vec<u8> {
        let mut body = vec![0; 13];
        body[8] = 2;
        body[11] = 1;
        body.extend(b"\0db\0");
        body.extend(text.as_bytes());
        body
    }

    fn gtid_maria(flags: u8) -> Vec<u8> {
        let mut body = 7u64.to_le_bytes().to_vec();
        body.extend(0u32.to_le_bytes());
        body.push(flags);
        body.extend([0; 6]);
        body
    }

    /// Feeds events of ten bytes each; gives where transactions ended, and where they had begun.
    fn ends(events: &[(EventKind, Vec<u8>)]) -> Vec<(usize, u64)> {
        let mut groups = Groups::default();
        let mut found = Vec::new();
        for (i, (kind, body)) in events.iter().enumerate() {
            let header = EventHeader {
                timestamp: 0,
                kind: *kind,
                server_id: 1,
                event_size: 0,
                log_pos: 0,
                flags: 0,
            };
            let event = Event { header, body };
            let offset = i as u64 * 10;
            match groups.step(offset, &event).unwrap() {
                Step::Inside => {}
                Step::Alone => found.push((i, offset)),
                Step::Ends { start, .. } => {
                    assert_ne!(start, offset, "{kind} stands alone");
                    found.push((i, start));
                }
            }
        }
        found
    }

    #[test]
    fn mysql_transactions_end_at_their_commit() {
        let anonymous = vec![0; 25];
        let events = [
            (EventKind::FORMAT_DESCRIPTION, vec![]),
            (EventKind::ANONYMOUS_GTID, anonymous.clone()),
            (EventKind::QUERY, query("BEGIN")),
            (EventKind::TABLE_MAP, vec![]),
            (EventKind::WRITE_ROWS, vec![]),
            (EventKind::QUERY, query("ROLLBACK TO `sp`")),
            (EventKind::XID, vec![]),
            (EventKind::ANONYMOUS_GTID, anonymous.clone()),
            (EventKind::QUERY, query("create table t (a int)")),
            (EventKind::ANONYMOUS_GTID, anonymous.clone()),
            (EventKind::TRANSACTION_PAYLOAD, vec![]),
            (EventKind::ANONYMOUS_GTID, anonymous),
            (EventKind::QUERY, query("XA START X'61',X'',1")),
            (EventKind::QUERY, query("XA END X'61',X'',1")),
            (EventKind::XA_PREPARE, vec![]),
            (EventKind::ROTATE, vec![]),
        ];
        assert_eq!(
            ends(&events),
            [(0, 0), (6, 10), (8, 70), (10, 90), (14, 110), (15, 150)]
        );
    }

    #[test]
    fn mariadb_transactions_end_at_their_commit() {
        let events = [
            (EventKind::FORMAT_DESCRIPTION, vec![]),
            (EventKind::GTID_LIST, vec![]),
            (EventKind::BINLOG_CHECKPOINT, vec![]),
            (EventKind::MARIADB_GTID, gtid_maria(1)),
            (EventKind::QUERY, query("drop table t")),
            (EventKind::MARIADB_GTID, gtid_maria(0)),
            (EventKind::ANNOTATE_ROWS, vec![]),
            (EventKind::TABLE_MAP, vec![]),
            (EventKind::WRITE_ROWS_V1, vec![]),
            (EventKind::QUERY, query("COMMIT")),
            (EventKind::MARIADB_GTID, gtid_maria(0)),
            (EventKind::QUERY, query("XA COMMIT X'61',X'',1")),
            (EventKind::STOP, vec![]),
        ];
        assert_eq!(
            ends(&events),
            [
                (0, 0),
                (1, 10),
                (2, 20),
                (4, 30),
                (9, 50),
                (11, 100),
                (12, 120)
            ]
        );
    }
}
