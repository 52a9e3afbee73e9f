//! The result of the checks: settings, connections, folders and privileges.

use serde::{Deserialize, Serialize};

use super::{Timestamp, Unit};

/// The result of the checks.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CheckReport {
    /// The version of this form, 1.
    pub version: u32,
    /// When it was made.
    pub at: Timestamp,
    /// Whether nothing failed and nothing is missing.
    pub ok: bool,
    /// Settings, connections and folders.
    pub checks: Vec<CheckFigure>,
    /// Privileges, by server and unit.
    pub privileges: Vec<PrivilegeFigure>,
}

/// One check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckFigure {
    /// Its name, such as `binlog-format`.
    pub id: String,
    /// `source:NAME`, `target:NAME`, `task:NAME` or `worker`.
    pub scope: String,
    /// The verdict.
    pub state: CheckState,
    /// What was found.
    pub found: String,
    /// Why it matters.
    pub why: String,
    /// How to mend it; a statement to copy where there is one.
    pub mend: String,
}

/// A check's verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CheckState {
    /// All right.
    Pass,
    /// Not a hindrance, but worth knowing.
    Warn,
    /// The task cannot run like this.
    Fail,
}

/// One privilege that a unit may need on a server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PrivilegeFigure {
    /// `source:NAME` or `target:NAME`.
    pub server: String,
    /// The account the server matched (`CURRENT_USER()`), quoted; empty while not connected.
    pub account: String,
    /// The unit that needs it.
    pub unit: Unit,
    /// The privilege, as this server names it.
    pub privilege: String,
    /// On what: `*.*`, `` `shop`.* ``, `` `shop`.`orders` ``.
    pub object: String,
    /// The verdict.
    pub state: GrantState,
    /// How it is known, in a few words: `grant`, `role ops`, `grant + probe`, `probe: 1227`.
    #[serde(default)]
    pub how: String,
    /// What it rests on: the grant's line, a probe, an error.
    pub evidence: String,
    /// Why it is needed.
    pub why: String,
    /// Whether it is in the unit's documented minimum, which suffices everywhere.
    #[serde(default)]
    pub in_minimum: bool,
    /// What does as well.
    #[serde(default)]
    pub instead: String,
    /// The statement that gives it; empty where nothing is missing.
    pub grant: String,
}

/// Whether an account has a privilege.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GrantState {
    /// It has.
    Have,
    /// It has not.
    Missing,
    /// Granted through a role that is not active.
    Inactive,
    /// This unit does not need it here.
    NotNeeded,
    /// Cannot be told.
    Unknown,
}
