//! What the units need at a source.

use crate::model::{Flavor, ServerVersion, Unit};

use super::name::super_gives;
use super::need::{Object, Requirement, Want};

/// What is done at a source.
#[derive(Clone, Debug, Default)]
pub struct SourceNeeds {
    /// Whether its binlog is relayed.
    pub has_relay: bool,
    /// What is dumped.
    pub dump: Option<DumpNeeds>,
    /// What is replicated, by the source's names.
    pub sync: Option<Vec<Object>>,
    /// Whether the selection has views.
    pub has_views: bool,
}

/// How a dump is made consistent, as the configuration names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DumpMode {
    /// The first of the others that the grants allow.
    Auto,
    /// A short global read lock.
    Flush,
    /// What the server gives without that lock.
    Snapshot,
    /// No lock; sync mends the span.
    Fuzzy,
}

impl DumpMode {
    /// The word of the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Flush => "flush",
            Self::Snapshot => "snapshot",
            Self::Fuzzy => "fuzzy",
        }
    }
}

/// What dumps do.
#[derive(Clone, Debug)]
pub struct DumpNeeds {
    /// What is read.
    pub objects: Vec<Object>,
    /// The ways of consistency that are configured, each once.
    pub modes: Vec<DumpMode>,
    /// Whether the dump's place in the binlog matters: changes follow it.
    pub needs_position: bool,
    /// Whether the source's transactions carry GTIDs.
    pub has_gtids: bool,
    /// Tables whose engine knows no snapshots: they can only be read under a lock.
    pub unversioned: bool,
}

/// What the account needs at a source.
pub fn source_requirements(needs: &SourceNeeds, version: &ServerVersion) -> Vec<Requirement> {
    let mut list = Vec::new();
    if needs.has_relay {
        relay(&mut list, version);
    }
    if let Some(dump) = &needs.dump {
        self::dump(&mut list, dump, version);
        if needs.has_views {
            for object in &dump.objects {
                list.push(
                    Requirement::beyond(
                        Unit::Dump,
                        Want::on("SHOW VIEW", object.widened()),
                        "reads the texts of views",
                    )
                    .unless(Some(
                        "a view whose text is not shown is left out, and named: see the check `views`",
                    )),
                );
            }
        }
    }
    if let Some(objects) = &needs.sync {
        sync(&mut list, objects, version);
    }
    list
}

fn relay(list: &mut Vec<Requirement>, version: &ServerVersion) {
    list.push(Requirement::minimum(
        Unit::Relay,
        Want::global("REPLICATION SLAVE"),
        "streams the binlog",
    ));
    list.push(client(
        Unit::Relay,
        true,
        "reads the binlog's end and its list of files",
        version,
    ));
    list.push(
        Requirement::minimum(Unit::Relay, Want::global("SELECT"), "reads settings").unless(Some(
            "the relay reads no table, and settings may be read by any account",
        )),
    );
    list.push(other_replicas(version));
}

/// Asking for the ids of other replicas; done without where it is not allowed.
fn other_replicas(version: &ServerVersion) -> Requirement {
    let privilege = if version.flavor == Flavor::MariaDB && version.at_least(10, 5, 2) {
        "REPLICATION MASTER ADMIN"
    } else {
        "REPLICATION SLAVE"
    };
    Requirement::beyond(
        Unit::Relay,
        Want::global(privilege),
        "looks whether another replica has our `server_id`",
    )
    .unless(Some(
        "works without: a clash of `server_id` is noticed and named once the relay streams",
    ))
}

fn dump(list: &mut Vec<Requirement>, dump: &DumpNeeds, version: &ServerVersion) {
    for object in &dump.objects {
        list.push(Requirement::minimum(
            Unit::Dump,
            Want::on("SELECT", object.clone()),
            "reads rows and table definitions",
        ));
    }
    for mode in &dump.modes {
        list.extend(lock(*mode, dump, version));
    }
    list.push(position(dump, version));
    if version.flavor == Flavor::MySQL && version.at_least(8, 0, 0) {
        list.push(
            Requirement::beyond(
                Unit::Dump,
                Want::global("XA_RECOVER_ADMIN"),
                "looks for prepared XA transactions, whose rows a dump cannot see",
            )
            .unless(Some(
                "works without: then there must be no prepared XA transaction while a dump starts",
            )),
        );
    }
    list.push(
        Requirement::beyond(
            Unit::Dump,
            Want::global("PROCESS"),
            "sees other sessions' long queries, which would keep a lock from being granted",
        )
        .unless(Some(
            "works without: a lock that is not granted within 2 s is given up and tried again",
        )),
    );
}

/// What a mode of consistency asks for, and what this server takes in its place.
fn lock(mode: DumpMode, dump: &DumpNeeds, version: &ServerVersion) -> Vec<Requirement> {
    let mut flush = Requirement::minimum(
        Unit::Dump,
        Want::global("RELOAD"),
        format!(
            "takes a short global read lock, under which all readers begin (`consistency = \"{}\"`)",
            mode.name()
        ),
    );
    if has_flush_tables(version) {
        flush = flush.or(vec![Want::global("FLUSH_TABLES")]);
    }
    let without = |reason: String| (!dump.unversioned).then_some(reason);
    let by_gtids = dump.has_gtids && !dump.unversioned;
    let one = match (mode, version.flavor) {
        (DumpMode::Flush, _) => flush,
        (DumpMode::Auto, Flavor::MariaDB) => flush.unless(without(
            "without it one session reads, at a position of its own (`snapshot`); with it, several do"
                .to_owned(),
        )),
        (DumpMode::Snapshot | DumpMode::Fuzzy, Flavor::MariaDB) => flush.unless(without(format!(
            "`consistency = \"{}\"` goes by the binlog position that a session's own snapshot has",
            mode.name()
        ))),
        (DumpMode::Auto, _) => flush.or(lock_tables(dump)).unless(by_gtids.then_some(
            "without it the readers' one moment is proved by GTIDs (`snapshot`)",
        )),
        (DumpMode::Fuzzy, _) => flush.unless(
            dump.has_gtids
                .then_some("`consistency = \"fuzzy\"` takes no lock: GTIDs tell what each chunk has seen"),
        ),
        // Each database's lock is a grant of its own.
        (DumpMode::Snapshot, _) => {
            return lock_tables(dump)
                .into_iter()
                .map(|want| {
                    Requirement::beyond(
                        Unit::Dump,
                        want,
                        "takes a short read lock on the selected tables (`consistency = \"snapshot\"`)",
                    )
                    .unless(by_gtids.then_some(
                        "several tries without it come first: GTIDs prove the readers' one moment",
                    ))
                })
                .collect();
        }
    };
    vec![one]
}

fn has_flush_tables(version: &ServerVersion) -> bool {
    version.flavor == Flavor::MySQL && version.at_least(8, 0, 23)
}

/// A lock on a table is a privilege on its database.
fn lock_tables(dump: &DumpNeeds) -> Vec<Want> {
    let mut wants: Vec<Want> = Vec::new();
    for object in &dump.objects {
        let want = Want::on("LOCK TABLES", object.widened());
        if !wants.contains(&want) {
            wants.push(want);
        }
    }
    wants
}

/// `performance_schema.log_status`: the place of all logs at one moment, without a lock on tables.
fn log_status(version: &ServerVersion) -> Vec<Want> {
    if version.flavor != Flavor::MySQL || !version.at_least(8, 0, 11) {
        return Vec::new();
    }
    let table = crate::model::TableName::new("performance_schema", "log_status");
    vec![
        Want::global("BACKUP_ADMIN"),
        Want::on("SELECT", Object::Table(table)),
    ]
}

fn position(dump: &DumpNeeds, version: &ServerVersion) -> Requirement {
    let why = "reads the place in the binlog that the dump belongs to";
    let reason = if !dump.needs_position {
        Some("a copy alone needs no place in the binlog")
    } else if version.flavor == Flavor::MariaDB {
        Some("a session's own snapshot tells its place (`binlog_snapshot_position`)")
    } else {
        None
    };
    client(Unit::Dump, false, why, version)
        .or(log_status(version))
        .unless(reason)
}

fn sync(list: &mut Vec<Requirement>, objects: &[Object], version: &ServerVersion) {
    for object in objects {
        list.push(Requirement::minimum(
            Unit::Sync,
            Want::on("SELECT", object.clone()),
            "reads table definitions, which the binlog does not have whole",
        ));
    }
    let by_relay = Some("sync reads the relay log; it is the relay that needs it");
    list.push(
        Requirement::minimum(
            Unit::Sync,
            Want::global("REPLICATION SLAVE"),
            "reads the source's binlog",
        )
        .unless(by_relay),
    );
    list.push(
        client(
            Unit::Sync,
            true,
            "compares its position with the source's",
            version,
        )
        .unless(by_relay),
    );
}

/// REPLICATION CLIENT, or SUPER where that still has it in it.
fn client(unit: Unit, in_minimum: bool, why: &str, version: &ServerVersion) -> Requirement {
    let name = "REPLICATION CLIENT";
    let requirement = Requirement::beyond(unit, Want::global(name), why);
    let requirement = if super_gives(name, version) {
        requirement.or(vec![Want::global("SUPER")])
    } else {
        requirement
    };
    Requirement {
        in_minimum,
        ..requirement
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dump(mode: DumpMode) -> DumpNeeds {
        DumpNeeds {
            objects: vec![Object::schema("shop")],
            modes: vec![mode],
            needs_position: true,
            has_gtids: true,
            unversioned: false,
        }
    }

    fn lock_of(dump: DumpNeeds, version: &str) -> Requirement {
        let needs = SourceNeeds {
            dump: Some(dump),
            ..SourceNeeds::default()
        };
        source_requirements(&needs, &ServerVersion::parse(version))
            .into_iter()
            .find(|r| matches!(r.want.privilege, "RELOAD" | "LOCK TABLES"))
            .unwrap()
    }

    #[test]
    fn the_lock_depends_on_server_and_setting() {
        let mariadb = "10.11.6-MariaDB";
        assert_eq!(lock_of(dump(DumpMode::Flush), mariadb).not_needed, None);
        for mode in [DumpMode::Auto, DumpMode::Snapshot, DumpMode::Fuzzy] {
            assert!(
                lock_of(dump(mode), mariadb).not_needed.is_some(),
                "{mode:?}"
            );
            let plain = DumpNeeds {
                unversioned: true,
                ..dump(mode)
            };
            assert_eq!(lock_of(plain, mariadb).not_needed, None, "{mode:?}");
        }
        // FLUSH_TABLES, LOCK TABLES on the database; or GTIDs, where all tables have versions.
        let auto = lock_of(dump(DumpMode::Auto), "9.7.4");
        assert_eq!((auto.want.privilege, auto.others.len()), ("RELOAD", 2));
        assert!(auto.not_needed.is_some());
        assert_eq!(lock_of(dump(DumpMode::Flush), "5.7.44").others.len(), 0);
        assert_eq!(lock_of(dump(DumpMode::Flush), "8.0.22").others.len(), 0);
        assert_eq!(lock_of(dump(DumpMode::Flush), "8.0.23").others.len(), 1);
        let snapshot = lock_of(dump(DumpMode::Snapshot), "8.4.0");
        assert_eq!(
            (snapshot.want.privilege, snapshot.others.len()),
            ("LOCK TABLES", 0)
        );
        assert!(snapshot.not_needed.is_some());
        let plain = DumpNeeds {
            unversioned: true,
            ..dump(DumpMode::Auto)
        };
        assert!(lock_of(plain, "9.7.4").not_needed.is_none());
        assert!(lock_of(dump(DumpMode::Fuzzy), "8.4.0").not_needed.is_some());
        let no_gtids = DumpNeeds {
            has_gtids: false,
            ..dump(DumpMode::Fuzzy)
        };
        assert!(lock_of(no_gtids, "8.4.0").not_needed.is_none());
    }

    #[test]
    fn a_place_is_asked_for_where_nothing_else_tells_it() {
        let place = |dump: DumpNeeds, version: &str| {
            position(&dump, &ServerVersion::parse(version)).not_needed
        };
        assert_eq!(place(dump(DumpMode::Auto), "8.4.0"), None);
        assert!(place(dump(DumpMode::Auto), "11.8.2-MariaDB").is_some());
        let alone = DumpNeeds {
            needs_position: false,
            ..dump(DumpMode::Auto)
        };
        assert!(place(alone, "8.4.0").is_some());
    }

    #[test]
    fn super_is_worth_less_on_later_servers() {
        let others = |version: &str| {
            client(Unit::Relay, true, "x", &ServerVersion::parse(version))
                .others
                .len()
        };
        assert_eq!(others("10.11.19-MariaDB"), 1);
        assert_eq!(others("11.8.6-MariaDB"), 0);
        assert_eq!(others("9.7.4"), 1);
    }
}
