//! Whether the transactions before a place of the relay log are those that a checkpoint counts.
//!
//! The same file and offset are the same place only in the same history, and only GTIDs tell that. The
//! two sets may differ though nothing is wrong: a server that was made from a copy of another one has
//! transactions that are in no binlog, and where a server took over from another, the first part of its
//! binlog repeats what came from that one.

use std::collections::BTreeSet;

use super::relay_work::RelayWork;
use crate::config::TaskConfig;
use crate::model::{Error, Flavor, GtidSet, Place, Result};
use crate::relay_log::{Errant, Stretch};
use crate::source;

/// The finding of sets that differ.
pub(super) const DIFFERS: &str = "relay-log-differs";

/// What the GTIDs say of a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Proof {
    /// The transactions before it are those of the checkpoint.
    Same,
    /// They are others.
    Other {
        /// Those before the place.
        here: String,
        /// Those of the checkpoint.
        applied: String,
    },
    /// Without GTIDs nothing is known.
    None,
}

/// Compares what a survey found before `place` with what was `applied` up to there. Asks the source
/// where the sets alone do not say it.
pub(super) async fn prove(
    source: &RelayWork,
    place: &Place,
    stretch: &Stretch,
    applied: Option<&GtidSet>,
) -> Result<Proof> {
    let none = GtidSet::empty(match applied {
        Some(GtidSet::MariaDB(_)) => Flavor::MariaDB,
        Some(GtidSet::MySQL(_)) | None => Flavor::MySQL,
    });
    let Some(applied) = applied.filter(|set| !set.is_empty()) else {
        let is_empty = stretch.gtid_set.as_ref().is_none_or(GtidSet::is_empty);
        return Ok(match &stretch.gtid_set {
            // A checkpoint of a server on which nothing had happened yet.
            Some(here) if applied.is_some() && !is_empty => other(here, &none),
            _ => Proof::None,
        });
    };
    if stretch.is_anonymous {
        return Ok(Proof::None);
    }
    let here = stretch.gtid_set.as_ref().unwrap_or(&none);
    if here == applied {
        return Ok(Proof::Same);
    }
    let log = source.log();
    let (received, errant) = log.received_in(&place.folder).unwrap_or_default();
    let is_same = match (here, applied) {
        (GtidSet::MySQL(_), GtidSet::MySQL(_)) => {
            let mut session = source.session().await?;
            let purged = source::gtid_purged(&mut session).await?;
            session.close().await;
            same_of_mysql(here, applied, received.as_ref(), &purged)
        }
        _ => same_of_mariadb(here, applied, received.as_ref(), &errant),
    };
    Ok(if is_same {
        Proof::Same
    } else {
        other(here, applied)
    })
}

fn other(here: &GtidSet, applied: &GtidSet) -> Proof {
    Proof::Other {
        here: here.to_string(),
        applied: applied.to_string(),
    }
}

/// The operator's word that sets which differ are no other history; where he did not give it, how to.
pub(super) fn accepted(
    task: &TaskConfig,
    source: &str,
    finding: &str,
    place: &Place,
    found: &str,
) -> std::result::Result<(), String> {
    if let Some(accepted) = task.acceptance(finding, Some(source), found) {
        tracing::warn!(
            source,
            task = %task.name,
            "{place} is taken for the checkpoint's place ({found}), as accepted: {}",
            accepted.reason
        );
        return Ok(());
    }
    Err(format!(
        "`[[task.accept]]` with `name = \"{finding}\"`, `found = \"{found}\"` and a `reason`"
    ))
}

/// What an acceptance of [`DIFFERS`] names.
pub(super) fn difference(place: &Place, here: &str, applied: &str) -> String {
    format!("{}: {here} in place of {applied}", place.position)
}

/// A server has executed what is purged, whether it was ever in its binlog or came with the copy that
/// the server was made from; in either case it is before the oldest file, and so before the place.
fn same_of_mysql(
    here: &GtidSet,
    applied: &GtidSet,
    received: Option<&GtidSet>,
    purged: &GtidSet,
) -> bool {
    let with_purged = |set: &GtidSet| {
        let mut set = set.clone();
        set.unite(purged);
        set
    };
    let (here, applied) = (with_purged(here), with_purged(applied));
    // Within the part that repeats what came from the former server, all of which is applied.
    let is_within = received.is_some_and(|received| !here.is_superset(received));
    here == applied || is_within && applied.is_superset(&here)
}

fn same_of_mariadb(
    here: &GtidSet,
    applied: &GtidSet,
    received: Option<&GtidSet>,
    errant: &Errant,
) -> bool {
    let (GtidSet::MariaDB(here), GtidSet::MariaDB(applied)) = (here, applied) else {
        return false;
    };
    let received = match received {
        Some(GtidSet::MariaDB(received)) => Some(received),
        _ => None,
    };
    let domains: BTreeSet<&u32> = here.keys().chain(applied.keys()).collect();
    domains.into_iter().all(|domain| {
        let former = received.and_then(|received| received.get(domain));
        match (here.get(domain), applied.get(domain), former) {
            (here, applied, _) if here == applied => true,
            // The new server has not come to the domain yet, or it was idle since before.
            (None, applied, former) => applied == former,
            // Within the part that repeats what came from the former server: all of it is applied, and
            // of what the new one wrote by itself before, what is before the place.
            (Some(here), Some(applied), Some(former)) => {
                let is_errant =
                    |(server, number): (u32, u64)| errant.contains(&(*domain, server, number));
                let is_within = here.1 <= former.1 || is_errant(*here);
                is_within && (applied == former || is_errant(*applied))
            }
            _ => false,
        }
    })
}

impl Proof {
    /// What is said of another history.
    pub(super) fn difference(here: &str, applied: &str) -> String {
        let or_none = |set: &str| {
            if set.is_empty() {
                "none".to_owned()
            } else {
                format!("`{set}`")
            }
        };
        format!(
            "the source has the transactions {} before it, the checkpoint {}",
            or_none(here),
            or_none(applied)
        )
    }
}

/// A refusal that can be overruled by [`accepted`].
pub(super) fn with_accept(error: Error, otherwise: &str, accept: &str) -> Error {
    error.with_fix(format!(
        "{otherwise}; or, where you know that it is the same history, say so: {accept}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562";
    const B: &str = "4e11fa47-71ca-11e1-9e33-c80aa9429562";

    fn mysql(text: &str) -> GtidSet {
        let text = text.replace('A', A).replace('B', B);
        GtidSet::parse(Flavor::MySQL, &text).unwrap()
    }

    fn maria(text: &str) -> GtidSet {
        GtidSet::parse(Flavor::MariaDB, text).unwrap()
    }

    #[test]
    fn what_no_binlog_holds_makes_no_other_history() {
        let same = |here: &str, applied: &str, purged: &str| {
            same_of_mysql(&mysql(here), &mysql(applied), None, &mysql(purged))
        };
        assert!(
            same("A:1-5", "A:1-5,B:1-9", "B:1-9"),
            "a server made from a copy"
        );
        assert!(same("A:1-5", "A:3-5", "A:1-2"), "and it was purged since");
        assert!(!same("A:1-5", "A:1-6", "B:1-9"), "one less");
        assert!(!same("A:1-6", "A:1-5", "B:1-9"), "one more");
        assert!(!same("A:1-5", "A:1-4,B:1", "A:1-3"), "others");
    }

    #[test]
    fn what_a_new_server_repeats_is_applied() {
        let received = mysql("A:1-9");
        let same = |here: &str, applied: &str| {
            let (here, applied) = (mysql(here), mysql(applied));
            same_of_mysql(&here, &applied, Some(&received), &mysql(""))
        };
        assert!(same("A:1-5", "A:1-9"), "within");
        assert!(same("A:1-5,B:1", "A:1-9,B:1"), "with one of its own");
        assert!(
            !same("A:1-5,B:1", "A:1-9"),
            "one of its own that was not applied"
        );
        assert!(!same("A:1-9", "A:1-9,B:1"), "behind it both must be equal");
        assert!(!same("A:1-9,B:1-2", "A:1-9,B:1"));
    }

    #[test]
    fn mariadb_s_domains_are_told_one_by_one() {
        let received = maria("0-1-39,1-1-7");
        let errant = Errant::from([(0, 2, 10), (0, 2, 50)]);
        let same = |here: &str, applied: &str| {
            same_of_mariadb(&maria(here), &maria(applied), Some(&received), &errant)
        };
        assert!(same("0-1-20", "0-1-39,1-1-7"), "within");
        assert!(
            same("0-2-41", "0-2-41,1-1-7"),
            "a domain that is idle since"
        );
        assert!(
            same("0-1-39,1-1-7", "0-2-10,1-1-7"),
            "behind one of its own"
        );
        assert!(same("0-2-50", "0-2-50,1-1-7"), "at one of its own");
        assert!(
            same("0-1-12", "0-2-50,1-1-7"),
            "before what is repeated behind it"
        );
        assert!(!same("0-2-41", "0-2-42,1-1-7"), "one less");
        assert!(!same("0-2-43", "0-2-42,1-1-7"), "one more");
        assert!(
            !same("0-2-42,1-1-7,2-2-1", "0-2-42,1-1-7"),
            "another domain"
        );
        assert!(!same("0-2-42", "0-2-42,1-1-8"), "a domain that is gone");
        let alone = |here: &str, applied: &str| {
            same_of_mariadb(&maria(here), &maria(applied), None, &Errant::new())
        };
        assert!(!alone("0-1-5", "0-1-5,1-1-2"));
        assert!(!alone("0-1-5", "0-1-6"));
    }
}
