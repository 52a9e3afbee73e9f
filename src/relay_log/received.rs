//! What of a sub-folder was received already, from the server before.
//!
//! When a source is replaced, the new server's binlog is taken from the first byte of a file, so its
//! beginning repeats transactions of the old one. They are told by their exact GTIDs. MariaDB's set
//! names only the last transaction of each domain: everything of the domain was received up to where
//! that very transaction stands, and what is behind it was not, whatever its number. What the new
//! server wrote by itself before that place was found out when it took over.

use std::collections::BTreeSet;

use crate::binlog::{Event, EventKind, GtidEvent, parse_gtid_list, parse_previous_gtids};
use crate::model::{Error, ErrorKind, Gtid, GtidSet, Result};

use super::group::{Groups, Step};

/// Transactions of MariaDB's: domain, server and number.
pub type Errant = BTreeSet<(u32, u32, u64)>;

/// Tells the transactions that were received already.
#[derive(Clone, Debug)]
pub(super) struct Received {
    set: GtidSet,
    errant: Errant,
    /// MariaDB: the domains whose last transaction was not met yet.
    pending: BTreeSet<u32>,
    groups: Groups,
    /// MySQL: a file begins behind all of them.
    is_behind: bool,
    is_inside: bool,
    closes: Option<u32>,
}

/// What an event's transaction is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// It is new.
    Fresh,
    /// It was received, and goes on behind this event.
    Within,
    /// It was received, and ends here.
    Ends,
}

impl Received {
    pub(super) fn new(set: GtidSet, errant: Errant) -> Self {
        let pending = match &set {
            GtidSet::MariaDB(map) => map.keys().copied().collect(),
            GtidSet::MySQL(_) => BTreeSet::new(),
        };
        Self {
            set,
            errant,
            pending,
            groups: Groups::default(),
            is_behind: false,
            is_inside: false,
            closes: None,
        }
    }

    /// Whether nothing behind can have been received.
    pub(super) fn is_past(&self) -> bool {
        match self.set {
            GtidSet::MariaDB(_) => self.is_met(),
            GtidSet::MySQL(_) => self.is_behind,
        }
    }

    /// Whether the last transaction of each domain has come, where the set names only those.
    pub(super) fn is_met(&self) -> bool {
        self.pending.is_empty() && !self.is_inside
    }

    /// Whether it must be fed from the sub-folder's first event to be right.
    pub(super) fn needs_beginning(&self) -> bool {
        matches!(self.set, GtidSet::MariaDB(_))
    }

    /// Takes the next event of the sub-folder.
    pub(super) fn step(&mut self, offset: u64, event: &Event<'_>) -> Result<Seen> {
        let kind = event.header.kind;
        if kind == EventKind::GTID_LIST {
            self.take_list(event)?;
        }
        if kind == EventKind::PREVIOUS_GTIDS {
            self.is_behind = parse_previous_gtids(event.body)?.is_superset(&self.set);
        }
        if kind.is_gtid() {
            let gtid = GtidEvent::parse(event)?.gtid();
            self.is_inside = match gtid {
                Some(gtid) => self.has(&gtid)?,
                None => false,
            };
        }
        let step = self.groups.step(offset, event)?;
        if !self.is_inside {
            return Ok(Seen::Fresh);
        }
        if matches!(step, Step::Inside) {
            return Ok(Seen::Within);
        }
        self.is_inside = false;
        if let Some(domain) = self.closes.take() {
            self.pending.remove(&domain);
        }
        Ok(Seen::Ends)
    }

    /// A list at a file's head that ends with the very transaction closes its domain.
    fn take_list(&mut self, event: &Event<'_>) -> Result<()> {
        let GtidSet::MariaDB(set) = &self.set else {
            return Ok(());
        };
        for gtid in parse_gtid_list(event.body)? {
            if let Gtid::MariaDB {
                domain,
                server,
                sequence,
            } = gtid
                && set.get(&domain) == Some(&(server, sequence))
            {
                self.pending.remove(&domain);
            }
        }
        Ok(())
    }

    fn has(&mut self, gtid: &Gtid) -> Result<bool> {
        let Gtid::MariaDB {
            domain,
            server,
            sequence,
        } = gtid
        else {
            return Ok(self.set.contains(gtid));
        };
        let is_errant = self.errant.contains(&(*domain, *server, *sequence));
        if is_errant || !self.pending.contains(domain) {
            return Ok(false);
        }
        let last = match &self.set {
            GtidSet::MariaDB(map) => map.get(domain).copied(),
            GtidSet::MySQL(_) => None,
        };
        let Some(last) = last else { return Ok(false) };
        if last == (*server, *sequence) {
            self.closes = Some(*domain);
        } else if *sequence > last.1 {
            return Err(Error::new(
                ErrorKind::History,
                format!(
                    "{gtid} comes in the new source's binlog where {domain}-{}-{} should have come \
                     first, which was received from the former one",
                    last.0, last.1
                ),
            )
            .with_fix(
                "the two servers' histories differ: copy the tables anew from the server that is right",
            ));
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::binlog::EventHeader;
    use crate::model::Flavor;

    fn event(kind: EventKind, body: &[u8]) -> Event<'_> {
        let header = EventHeader {
            timestamp: 0,
            kind,
            server_id: 1,
            event_size: 0,
            log_pos: 0,
            flags: 0,
        };
        Event { header, body }
    }

    fn maria(sequence: u64, domain: u32) -> Vec<u8> {
        let mut body = sequence.to_le_bytes().to_vec();
        body.extend(domain.to_le_bytes());
        body.push(0);
        body.extend([0; 6]);
        body
    }

    fn verdicts(received: &mut Received, transactions: &[(u64, u32)]) -> Vec<Seen> {
        let mut seen = Vec::new();
        for (sequence, domain) in transactions {
            let gtid = maria(*sequence, *domain);
            for event in [
                event(EventKind::MARIADB_GTID, &gtid),
                event(EventKind::XID, &[]),
            ] {
                seen.push(received.step(4, &event).unwrap());
            }
        }
        seen.into_iter().skip(1).step_by(2).collect()
    }

    #[test]
    fn a_domain_is_past_behind_its_very_transaction() {
        // The events here are of server 1.
        let set = GtidSet::parse(Flavor::MariaDB, "0-1-5,1-1-7").unwrap();
        let mut received = Received::new(set, Errant::new());
        assert_eq!(
            verdicts(&mut received, &[(4, 0), (5, 0), (6, 0), (7, 1)]),
            [Seen::Ends, Seen::Ends, Seen::Fresh, Seen::Ends]
        );
        // Numbers that go back are new all the same.
        assert_eq!(verdicts(&mut received, &[(3, 0), (2, 1)]), [Seen::Fresh; 2]);
        assert!(received.is_past());
    }

    #[test]
    fn what_the_new_server_wrote_by_itself_is_new() {
        let set = GtidSet::parse(Flavor::MariaDB, "0-1-5").unwrap();
        // One with a higher number stands before the last that was received, one with a lower too.
        let mut received = Received::new(set, Errant::from([(0, 1, 2), (0, 1, 9)]));
        assert_eq!(
            verdicts(&mut received, &[(2, 0), (4, 0), (9, 0), (5, 0), (6, 0)]),
            [
                Seen::Fresh,
                Seen::Ends,
                Seen::Fresh,
                Seen::Ends,
                Seen::Fresh
            ]
        );
    }

    #[test]
    fn a_domain_whose_transaction_never_comes_is_another_history() {
        let set = GtidSet::parse(Flavor::MariaDB, "0-2-5").unwrap();
        let mut received = Received::new(set, Errant::new());
        assert_eq!(verdicts(&mut received, &[(5, 0)]), [Seen::Ends]);
        let gtid = maria(6, 0);
        let error = received
            .step(4, &event(EventKind::MARIADB_GTID, &gtid))
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::History);
    }

    #[test]
    fn a_list_that_ends_with_the_transaction_leaves_nothing_to_pass_over() {
        let set = GtidSet::parse(Flavor::MariaDB, "0-1-5").unwrap();
        let mut received = Received::new(set, Errant::new());
        let mut list = 1u32.to_le_bytes().to_vec();
        list.extend(0u32.to_le_bytes());
        list.extend(1u32.to_le_bytes());
        list.extend(5u64.to_le_bytes());
        let seen = received.step(4, &event(EventKind::GTID_LIST, &list));
        assert_eq!(seen.unwrap(), Seen::Fresh);
        assert!(received.is_past());
    }
}
