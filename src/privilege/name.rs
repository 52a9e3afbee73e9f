//! The names of privileges: one for each, whatever a server calls it.

use crate::model::{Flavor, ServerVersion};

/// Names that mean another: as written, and the one used here.
const ALIASES: [(&str, &str); 10] = [
    // MariaDB 10.5.2 and later print the first.
    ("BINLOG MONITOR", "REPLICATION CLIENT"),
    ("REPLICATION REPLICA", "REPLICATION SLAVE"),
    ("REPLICA MONITOR", "SLAVE MONITOR"),
    ("REPLICATION REPLICA ADMIN", "REPLICATION SLAVE ADMIN"),
    ("DELETE VERSIONING ROWS", "DELETE HISTORY"),
    // MariaDB prints the one and takes both.
    ("READ ONLY ADMIN", "READ_ONLY ADMIN"),
    ("ALL", "ALL PRIVILEGES"),
    ("CREATE TEMPORARY TABLE", "CREATE TEMPORARY TABLES"),
    ("SHOW DATABASE", "SHOW DATABASES"),
    // The documentation of older TiDB has it in one word.
    ("ALLPRIVILEGES", "ALL PRIVILEGES"),
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
    let own = match name {
        "REPLICATION CLIENT" if is_split_mariadb => "BINLOG MONITOR",
        // Before it was split off, and on MySQL to this day.
        "SLAVE MONITOR" if version.flavor != Flavor::MariaDB || !version.at_least(10, 5, 8) => {
            "REPLICATION CLIENT"
        }
        // Before 8.0.14 the wider one was asked for.
        "SESSION_VARIABLES_ADMIN"
            if version.flavor == Flavor::MySQL && !version.at_least(8, 0, 14) =>
        {
            if version.at_least(8, 0, 0) {
                "SYSTEM_VARIABLES_ADMIN"
            } else {
                "SUPER"
            }
        }
        other => other,
    };
    own.to_owned()
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

/// Whether SUPER alone lets an account do what `name` is for. MariaDB took the replication privileges
/// out of it with 11.0 (10.11 and 11.8 were asked), MySQL never did (9.7 was asked).
pub(super) fn super_gives(name: &str, version: &ServerVersion) -> bool {
    let is_split = version.flavor == Flavor::MariaDB && version.at_least(11, 0, 0);
    let is_successor = [
        "REPLICATION CLIENT",
        "SLAVE MONITOR",
        "BINLOG ADMIN",
        "REPLICATION MASTER ADMIN",
        "SESSION_VARIABLES_ADMIN",
    ]
    .contains(&name);
    is_successor && !is_split
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_name_for_each() {
        assert_eq!(canonical("binlog  monitor"), "REPLICATION CLIENT");
        assert_eq!(canonical("Select"), "SELECT");
        assert_eq!(canonical("BACKUP_ADMIN"), "BACKUP_ADMIN");
        assert_eq!(canonical("Read Only Admin"), "READ_ONLY ADMIN");
        let mariadb = ServerVersion::parse("10.11.6-MariaDB");
        let mysql = ServerVersion::parse("9.7.4");
        assert_eq!(shown("REPLICATION CLIENT", &mariadb), "BINLOG MONITOR");
        assert_eq!(shown("REPLICATION CLIENT", &mysql), "REPLICATION CLIENT");
        let early = ServerVersion::parse("10.5.1-MariaDB");
        assert_eq!(shown("REPLICATION CLIENT", &early), "REPLICATION CLIENT");
        assert_eq!(shown("SLAVE MONITOR", &mysql), "REPLICATION CLIENT");
        assert_eq!(shown("SLAVE MONITOR", &mariadb), "SLAVE MONITOR");
        let old = ServerVersion::parse("5.7.44");
        assert_eq!(shown("SESSION_VARIABLES_ADMIN", &old), "SUPER");
        assert!(is_in_all("BACKUP_ADMIN", &mariadb) && !is_in_all("BACKUP_ADMIN", &mysql));
    }

    #[test]
    fn what_super_has_in_it() {
        for (version, has) in [
            ("10.11.19-MariaDB", true),
            ("11.8.6-MariaDB", false),
            ("9.7.4", true),
        ] {
            let version = ServerVersion::parse(version);
            assert_eq!(super_gives("REPLICATION CLIENT", &version), has);
            assert!(!super_gives("REPLICATION SLAVE", &version));
        }
    }
}
