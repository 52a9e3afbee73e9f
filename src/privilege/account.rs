//! An account as its server knows it: who matched, what it is allowed, and what was tried.

use crate::model::{ServerVersion, TableName};

use super::grants::Grants;
use super::need::{Object, Want};

/// An account, as the server knows it, and what it is allowed.
#[derive(Clone, Debug)]
pub struct Account {
    /// `CURRENT_USER()`: the entry that matched, which need not be the one meant.
    pub current_user: String,
    /// The server's version.
    pub version: ServerVersion,
    /// What the session may do: `SHOW GRANTS`.
    pub grants: Grants,
    /// `CURRENT_ROLE()`: the roles that are active, as `name` or `name@host`.
    pub active_roles: Vec<String>,
    /// What each role that was granted, and is not active, would add.
    pub idle_roles: Vec<Role>,
    /// Roles that are granted, and cannot be looked into, with the reason: dropped ones, for instance.
    pub unreadable_roles: Vec<(String, String)>,
    /// Whether MySQL's partial revokes are on: database names are literal then.
    pub has_partial_revokes: bool,
    /// Whether names of databases and tables compare without case.
    pub is_case_folded: bool,
    /// What was tried.
    pub probes: Vec<Probe>,
}

/// A role, and what it is allowed.
#[derive(Clone, Debug)]
pub struct Role {
    /// `name`, or `name@host`.
    pub name: String,
    /// What `SHOW GRANTS` says with it.
    pub grants: Grants,
}

/// A harmless statement that was run to see what the account may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// The privilege it asks for.
    pub privilege: &'static str,
    /// On what.
    pub object: Object,
    /// The statement.
    pub statement: String,
    /// What came back.
    pub outcome: Outcome,
}

/// What came back of a probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The server did it.
    Allowed,
    /// The server refused it, for want of a privilege.
    Denied {
        /// The error's number.
        number: u16,
        /// Its text.
        message: String,
    },
    /// Neither: it failed for another reason.
    Untold,
}

impl Account {
    /// What the probes say of `want`: the one that was run on its very object, or on every table that
    /// matters in its database.
    pub(super) fn probed(&self, want: &Want) -> Option<&Probe> {
        let told = || {
            self.probes.iter().filter(|probe| {
                probe.privilege == want.privilege && probe.outcome != Outcome::Untold
            })
        };
        if let Some(probe) = told().find(|probe| probe.object == want.object) {
            return Some(probe);
        }
        let Object::Schema { tables, .. } = &want.object else {
            return None;
        };
        // Few are tried, and the tables may be many.
        let of = |table: &TableName| {
            told().find(|probe| matches!(&probe.object, Object::Table(tried) if tried == table))
        };
        let probes: Vec<&Probe> = tables.iter().filter_map(of).collect();
        // One refusal is enough; allowed is what is allowed on all of them.
        let denied = probes
            .iter()
            .find(|probe| matches!(probe.outcome, Outcome::Denied { .. }));
        match denied {
            Some(probe) => Some(probe),
            None if !tables.is_empty() && probes.len() == tables.len() => probes.first().copied(),
            None => None,
        }
    }
}
