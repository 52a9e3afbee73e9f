//! The names of privileges: one for each, whatever a server calls it.

use crate::model::{Flavor, ServerVersion};

/// Names that mean another: as written, and the one used here.
const ALIASES: [(&str, &str); 8] = [
    // MariaDB 10.5.2 and later print the first.
    ("BINLOG MONITOR", "REPLICATION CLIENT"),
    ("REPLICATION REPLICA", "REPLICATION SLAVE"),
    ("REPLICA MONITOR", "SLAVE MONITOR"),
    ("REPLICATION REPLICA ADMIN", "REPLICATION SLAVE ADMIN"),
    ("DELETE VERSIONING ROWS", "DELETE HISTORY"),
    ("ALL", "ALL PRIVILEGES"),
    ("CREATE TEMPORARY TABLE", "CREATE TEMPORARY TABLES"),
    ("SHOW DATABASE", "SHOW DATABASES"),
];

/// Everything, or everything that a level knows.
pub(super) const ALL: &str = "ALL PRIVILEGES";

/// The name used here: upper case, one space between words, aliases resolved.
pub fn canonical(name: &str) -> String {
    let upper = name
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
        .to_ascii_uppercase();
    ALIASES
        .iter()
        .find(|(alias, _)| *alias == upper)
        .map_or(upper, |(_, name)| (*name).to_owned())
}

/// The name as `version` writes it.
pub fn shown(name: &str, version: &ServerVersion) -> String {
    let is_split_mariadb = version.flavor == Flavor::MariaDB && version.at_least(10, 5, 2);
    match name {
        "REPLICATION CLIENT" if is_split_mariadb => "BINLOG MONITOR".to_owned(),
        other => other.to_owned(),
    }
}

/// Whether `ALL PRIVILEGES`, found on `*.*`, has `name` in it. MySQL 8 and later write the list out
/// instead, and a name that is not on it is not had; where `ALL` stands there all the same, it is for the
/// privileges without an underscore, the static ones.
pub(super) fn is_in_all(name: &str, version: &ServerVersion) -> bool {
    match version.flavor {
        Flavor::MariaDB | Flavor::TiDB => true,
        Flavor::MySQL => !version.at_least(8, 0, 0) || !name.contains('_'),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_name_for_each() {
        assert_eq!(canonical("binlog  monitor"), "REPLICATION CLIENT");
        assert_eq!(canonical("Select"), "SELECT");
        assert_eq!(canonical("BACKUP_ADMIN"), "BACKUP_ADMIN");
        let mariadb = ServerVersion::parse("10.11.6-MariaDB");
        let mysql = ServerVersion::parse("9.7.4");
        assert_eq!(shown("REPLICATION CLIENT", &mariadb), "BINLOG MONITOR");
        assert_eq!(shown("REPLICATION CLIENT", &mysql), "REPLICATION CLIENT");
        assert!(is_in_all("BACKUP_ADMIN", &mariadb) && !is_in_all("BACKUP_ADMIN", &mysql));
    }
}
