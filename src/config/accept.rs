//! `[[task.accept]]`: a finding that the operator knows of and goes on with.

use super::keys::nearest;
use super::reader::{Problems, Section};

/// What can be accepted: the names of `tideway check`'s rows, and of what a start asks about.
pub const ACCEPTABLE: &[&str] = &[
    "account",
    "binlog-expiry",
    "binlog-filter",
    "binlog-format",
    "binlog-row-image",
    "binlog-row-metadata",
    "binlog-row-value-options",
    "binlog-start",
    "binlog-storage-engine",
    "circle",
    "clock",
    "collations",
    "connections",
    "data-dir",
    "disk",
    "engine",
    "engines",
    "gtid",
    "keys",
    "left-out",
    "log-bin",
    "long-transactions",
    "max-allowed-packet",
    "merged-tables",
    "name-case",
    "online-ddl",
    "privileges",
    "programs",
    "read-only",
    "relay-log-differs",
    "relay-log-lost",
    "relay-log-refilled",
    "replica-updates",
    "running-ddl",
    "selection",
    "server-id",
    "sql-mode",
    "structures",
    "system-versioned",
    "tables",
    "target-adapted",
    "target-dialect",
    "target-engine",
    "target-owner",
    "target-rows",
    "target-structure",
    "target-tables",
    "target-triggers",
    "time-zone",
    "tls",
    "version",
];

/// One finding that was accepted beforehand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acceptance {
    /// The finding's name, one of [`ACCEPTABLE`].
    pub name: String,
    /// Only where it is about this source or target; `None`: wherever.
    pub server: Option<String>,
    /// Only while what was found has this text in it; `None`: whatever was found. So a finding that
    /// has changed since is asked about again.
    pub found: Option<String>,
    /// Why, in the operator's words: it is shown and recorded.
    pub reason: String,
}

impl Acceptance {
    /// Whether it is about the finding `name` of `server`, in the words of `found`.
    pub fn is_for(&self, name: &str, server: Option<&str>, found: &str) -> bool {
        self.name == name
            && self
                .server
                .as_deref()
                .is_none_or(|wanted| server == Some(wanted))
            && self
                .found
                .as_deref()
                .is_none_or(|text| found.contains(text))
    }

    pub(super) fn read(section: &Section<'_>, problems: &Problems<'_>) -> Option<Self> {
        let name = section.required_text("name");
        let reason = section.required_text("reason");
        let server = section.text("server").map(|text| text.value);
        let found = section.text("found").map(|text| text.value);
        let name = name?;
        if !ACCEPTABLE.contains(&name.value.as_str()) {
            problems.add(
                &name.at,
                name.key.clone(),
                format!("`{}` is not the name of a check", name.value),
                nearest(&name.value, ACCEPTABLE.iter().copied()),
                Some("`tideway check` prints the names in its third column".to_owned()),
            );
            return None;
        }
        Some(Self {
            name: name.value,
            server,
            found,
            reason: reason?.value,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_acceptance_is_as_narrow_as_it_says() {
        let mut accept = Acceptance {
            name: "keys".into(),
            server: None,
            found: None,
            reason: "known".into(),
        };
        assert!(accept.is_for("keys", Some("a"), "2 without: x, y"));
        assert!(!accept.is_for("engines", Some("a"), "2 without: x, y"));
        accept.server = Some("b".into());
        assert!(!accept.is_for("keys", Some("a"), "2 without: x, y"));
        assert!(!accept.is_for("keys", None, "2 without: x, y"));
        accept.server = Some("a".into());
        accept.found = Some("1 without".into());
        assert!(!accept.is_for("keys", Some("a"), "2 without: x, y"));
        assert!(accept.is_for("keys", Some("a"), "1 without: x"));
    }

    #[test]
    fn names_are_in_order_and_once() {
        assert!(ACCEPTABLE.windows(2).all(|pair| pair[0] < pair[1]));
    }
}
