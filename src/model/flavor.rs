//! Which family of server, and which version of it.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The family of a server: what its binlog, GTIDs, statements and grants look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Flavor {
    /// MySQL and what is built from it.
    MySQL,
    /// MariaDB.
    MariaDB,
    /// TiDB: a target only.
    TiDB,
}

impl fmt::Display for Flavor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::MySQL => "MySQL",
            Self::MariaDB => "MariaDB",
            Self::TiDB => "TiDB",
        })
    }
}

/// A server's version as `SELECT VERSION()` gives it, taken apart.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerVersion {
    /// The family.
    pub flavor: Flavor,
    /// Major, minor and patch of the family's own numbering.
    pub number: (u16, u16, u16),
    /// The server's own text.
    pub text: String,
}

impl ServerVersion {
    /// Reads the text of `VERSION()`: `9.7.4`, `10.11.19-MariaDB-0+deb12u1`,
    /// `5.5.5-10.11.19-MariaDB` (the replication prefix), `8.0.11-TiDB-v8.5.0`.
    /// A part that is missing or not a number counts as 0.
    pub fn parse(text: &str) -> Self {
        let lower = text.to_ascii_lowercase();
        let (flavor, digits) = if let Some(at) = lower.find("tidb-v") {
            (Flavor::TiDB, &lower[at + "tidb-v".len()..])
        } else if lower.contains("mariadb") {
            (
                Flavor::MariaDB,
                lower.strip_prefix("5.5.5-").unwrap_or(&lower),
            )
        } else {
            (Flavor::MySQL, lower.as_str())
        };
        let mut parts = digits
            .split(|c: char| !c.is_ascii_digit() && c != '.')
            .next()
            .unwrap_or("")
            .split('.')
            .map(|part| part.parse().unwrap_or(0));
        let mut next = || parts.next().unwrap_or(0);
        let number = (next(), next(), next());
        Self {
            flavor,
            number,
            text: text.to_owned(),
        }
    }

    /// Whether the version is at least the given one of its own family.
    pub fn at_least(&self, major: u16, minor: u16, patch: u16) -> bool {
        self.number >= (major, minor, patch)
    }
}

impl fmt::Display for ServerVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (major, minor, patch) = self.number;
        write!(f, "{} {major}.{minor}.{patch}", self.flavor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_all_families() {
        for (text, flavor, number) in [
            ("9.7.4", Flavor::MySQL, (9, 7, 4)),
            ("8.0.36-28", Flavor::MySQL, (8, 0, 36)),
            (
                "10.11.19-MariaDB-0+deb12u1-log",
                Flavor::MariaDB,
                (10, 11, 19),
            ),
            ("5.5.5-11.8.3-MariaDB", Flavor::MariaDB, (11, 8, 3)),
            ("8.0.11-TiDB-v8.5.1", Flavor::TiDB, (8, 5, 1)),
            ("", Flavor::MySQL, (0, 0, 0)),
        ] {
            let version = ServerVersion::parse(text);
            assert_eq!((version.flavor, version.number), (flavor, number), "{text}");
        }
    }
}
