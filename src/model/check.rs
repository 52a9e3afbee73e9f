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

impl CheckReport {
    /// The privileges that are missing and not accepted: each once, however many units need it.
    pub fn missing(&self) -> Vec<&PrivilegeFigure> {
        self.distinct(|cell| cell.is_lacking() && cell.accepted.is_none())
    }

    /// The privileges of which is not known whether they are there, likewise.
    pub fn unknown(&self) -> Vec<&PrivilegeFigure> {
        self.distinct(|cell| cell.state == GrantState::Unknown)
    }

    fn distinct(&self, wanted: impl Fn(&PrivilegeFigure) -> bool) -> Vec<&PrivilegeFigure> {
        let mut found: Vec<&PrivilegeFigure> = Vec::new();
        for cell in self.privileges.iter().filter(|cell| wanted(cell)) {
            if !found.iter().any(|known| known.is_same_grant(cell)) {
                found.push(cell);
            }
        }
        found
    }
}

/// How far the checks are that run just now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckProgress {
    /// Questions answered.
    pub done: u64,
    /// Questions known of so far.
    pub total: u64,
}

impl CheckProgress {
    /// In whole percent.
    pub fn percent(self) -> u64 {
        self.done
            .saturating_mul(100)
            .checked_div(self.total)
            .unwrap_or(0)
    }
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
    /// The one source that a task's row is about; `None`: all that its scope says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// The streams that it is about, as `TASK/SOURCE`: a failure blocks their start, a warning is asked
    /// about before it.
    #[serde(default)]
    pub streams: Vec<String>,
    /// The operator's reason, where it is accepted by name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accepted: Option<String>,
}

/// The name under which missing privileges are accepted.
pub const PRIVILEGES: &str = "privileges";

/// What stands between a stream and its start: one check, or the privileges missing on one server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// The name by which it is accepted: the check's, or [`PRIVILEGES`].
    pub name: String,
    /// `source:NAME`, `target:NAME`, `task:NAME` or `worker`.
    pub scope: String,
    /// A failure or a warning.
    pub state: CheckState,
    /// What was found.
    pub found: String,
    /// Why it matters.
    #[serde(default)]
    pub why: String,
    /// How to mend it.
    pub mend: String,
}

impl Finding {
    /// Whether `other` is the same finding; numbers, such as free space, may differ.
    pub fn is_like(&self, other: &Self) -> bool {
        let words = |text: &str| -> String {
            let mut words = String::with_capacity(text.len());
            for c in text.chars() {
                match c {
                    '0'..='9' if words.ends_with('#') => {}
                    '0'..='9' => words.push('#'),
                    c => words.push(c),
                }
            }
            words
        };
        self.name == other.name
            && self.scope == other.scope
            && self.state == other.state
            && words(&self.found) == words(&other.found)
    }

    /// Whether two lists are of the same findings, in the same order.
    pub fn are_alike(some: &[Self], others: &[Self]) -> bool {
        some.len() == others.len()
            && some
                .iter()
                .zip(others)
                .all(|(one, other)| one.is_like(other))
    }
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
    /// The streams that need it, as `TASK/SOURCE`; their start is blocked while it is missing.
    #[serde(default)]
    pub streams: Vec<String>,
    /// The operator's reason, where going without it is accepted by name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accepted: Option<String>,
}

impl PrivilegeFigure {
    /// Whether it is needed, and the session does not have it.
    pub fn is_lacking(&self) -> bool {
        matches!(self.state, GrantState::Missing | GrantState::Inactive)
    }

    /// Whether one statement would give both.
    fn is_same_grant(&self, other: &Self) -> bool {
        self.server == other.server
            && self.privilege == other.privilege
            && self.object == other.object
    }
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

/// The same statements with those for one object and account put together: `GRANT a, b ON o TO u;`.
/// Anything that is no `GRANT` stays as it is.
pub fn combined<'a>(statements: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let mut groups: Vec<(Option<&str>, Vec<&str>)> = Vec::new();
    for statement in statements {
        let parts = statement
            .strip_prefix("GRANT ")
            .and_then(|rest| rest.split_once(" ON "));
        let (names, tail) = match parts {
            Some((names, tail)) => (names, Some(tail)),
            None => (statement, None),
        };
        let same = groups
            .iter()
            .position(|(have, list)| *have == tail && (tail.is_some() || list == &[names]));
        match same.and_then(|at| groups.get_mut(at)) {
            Some((_, list)) if list.contains(&names) => {}
            Some((_, list)) => list.push(names),
            None => groups.push((tail, vec![names])),
        }
    }
    groups
        .into_iter()
        .map(|(tail, names)| match tail {
            Some(tail) => format!("GRANT {} ON {tail}", names.join(", ")),
            None => names.concat(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_is_the_same_while_only_its_figures_move() {
        let finding = |name: &str, found: &str| Finding {
            name: name.into(),
            scope: "worker".into(),
            state: CheckState::Warn,
            found: found.into(),
            why: String::new(),
            mend: String::new(),
        };
        let disk = finding("disk", "90 MiB free; the dumps take about 2000 MiB");
        assert!(disk.is_like(&finding("disk", "7 MiB free; the dumps take about 31 MiB")));
        assert!(!disk.is_like(&finding("keys", &disk.found)));
        let keys = finding("keys", "1 of `a` without: shop.log");
        assert!(!keys.is_like(&finding("keys", "2 of `a` without: shop.log, shop.audit")));
        assert!(!finding("x", "none").is_like(&finding("x", "none 1")));
    }

    #[test]
    fn statements_for_one_object_go_together() {
        let all = [
            "GRANT SELECT ON `a`.* TO 'u'@'%';",
            "GRANT RELOAD ON *.* TO 'u'@'%';",
            "GRANT INSERT ON `a`.* TO 'u'@'%';",
            "GRANT SELECT ON `a`.* TO 'u'@'%';",
            "SET DEFAULT ROLE `r` FOR 'u'@'%';",
            "SET DEFAULT ROLE `r` FOR 'u'@'%';",
        ];
        assert_eq!(
            combined(all),
            [
                "GRANT SELECT, INSERT ON `a`.* TO 'u'@'%';",
                "GRANT RELOAD ON *.* TO 'u'@'%';",
                "SET DEFAULT ROLE `r` FOR 'u'@'%';",
            ]
        );
    }
}
