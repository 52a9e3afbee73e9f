//! What the units need on each server: the documented minimum, less what this server or setting makes
//! unnecessary, each with its reason.

use crate::model::{Flavor, ServerVersion, TableName, Unit};

/// What a privilege is needed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Object {
    /// `*.*`.
    Global,
    /// A database. Where `tables` is not empty, the privilege on each of these does as well.
    Schema {
        /// Its name.
        name: String,
        /// The tables that matter in it.
        tables: Vec<TableName>,
    },
    /// One table.
    Table(TableName),
}

/// A privilege on an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Want {
    /// Its canonical name.
    pub privilege: &'static str,
    /// On what.
    pub object: Object,
}

/// Something a unit must be allowed to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requirement {
    /// The unit.
    pub unit: Unit,
    /// What is shown and, where it is missing, asked for.
    pub want: Want,
    /// What does as well: one of these lists, whole.
    pub others: Vec<Vec<Want>>,
    /// What it is needed for.
    pub why: String,
    /// Why this unit does without it here, where it does.
    pub not_needed: Option<String>,
}

/// What is done at a source.
#[derive(Clone, Debug, Default)]
pub struct SourceNeeds {
    /// Whether its binlog is relayed.
    pub has_relay: bool,
    /// What is dumped.
    pub dump: Option<DumpNeeds>,
    /// What is replicated, by the source's names.
    pub sync: Option<Vec<Object>>,
}

/// What a dump does.
#[derive(Clone, Debug)]
pub struct DumpNeeds {
    /// What is read.
    pub objects: Vec<Object>,
    /// Whether the global read lock is tried.
    pub may_lock_all: bool,
    /// Whether it may go without that lock.
    pub may_go_without: bool,
    /// Tables whose engine knows no snapshots: they can only be read under the lock.
    pub unversioned: bool,
}

/// What is done at a target.
#[derive(Clone, Debug, Default)]
pub struct TargetNeeds {
    /// The schema of our own tables.
    pub meta_schema: String,
    /// What is loaded into, by the target's names.
    pub load: Option<Vec<Object>>,
    /// What is replicated into, by the target's names.
    pub sync: Option<Vec<Object>>,
    /// Whether some of the tables have foreign keys.
    pub has_foreign_keys: bool,
}

/// What the account needs at a source.
pub fn source_requirements(needs: &SourceNeeds, version: &ServerVersion) -> Vec<Requirement> {
    let mut list = Vec::new();
    if needs.has_relay {
        list.push(replication_slave(Unit::Relay, "streams the binlog", None));
        list.push(replication_client(
            Unit::Relay,
            "reads the binlog's end and its list of files",
            None,
        ));
        list.push(unneeded(
            Unit::Relay,
            "SELECT",
            "reads settings",
            "the relay reads no table, and settings may be read by any account",
        ));
    }
    if let Some(dump) = &needs.dump {
        for object in &dump.objects {
            list.push(simple(
                Unit::Dump,
                "SELECT",
                object.clone(),
                "reads rows and table definitions",
            ));
        }
        list.push(dump_lock(dump, version));
    }
    if let Some(objects) = &needs.sync {
        for object in objects {
            list.push(simple(
                Unit::Sync,
                "SELECT",
                object.clone(),
                "reads table definitions, which the binlog does not have whole",
            ));
        }
        let by_relay = Some("sync reads the relay log; it is the relay that needs it");
        list.push(replication_slave(
            Unit::Sync,
            "reads the source's binlog",
            by_relay,
        ));
        list.push(replication_client(
            Unit::Sync,
            "compares its position with the source's",
            by_relay,
        ));
    }
    list
}

/// What the account needs at a target.
pub fn target_requirements(needs: &TargetNeeds, version: &ServerVersion) -> Vec<Requirement> {
    let meta = Object::Schema {
        name: needs.meta_schema.clone(),
        tables: Vec::new(),
    };
    let mut list = Vec::new();
    if let Some(objects) = &needs.load {
        for object in objects {
            for (privilege, why) in [
                ("SELECT", "looks at the tables that are there"),
                ("CREATE", "creates databases and tables"),
                ("INSERT", "writes rows"),
                ("DELETE", "replaces rows"),
            ] {
                list.push(on_target(Unit::Load, privilege, object, why));
            }
        }
        for (privilege, why) in [
            ("SELECT", "reads the load's checkpoint"),
            ("CREATE", "creates our own tables"),
            ("INSERT", "writes the load's checkpoint"),
            ("DELETE", "moves the load's checkpoint on"),
        ] {
            list.push(simple(Unit::Load, privilege, meta.clone(), why));
        }
    }
    if let Some(objects) = &needs.sync {
        for object in objects {
            for (privilege, why) in [
                (
                    "SELECT",
                    "finds the rows to change, and looks at the tables",
                ),
                ("INSERT", "applies inserted rows"),
                ("UPDATE", "applies updated rows"),
                ("DELETE", "applies deleted rows"),
                ("CREATE", "applies `CREATE TABLE` and `CREATE DATABASE`"),
                ("DROP", "applies `DROP TABLE` and `TRUNCATE TABLE`"),
                ("ALTER", "applies `ALTER TABLE`"),
                ("INDEX", "applies `CREATE INDEX` and `DROP INDEX`"),
            ] {
                list.push(on_target(Unit::Sync, privilege, object, why));
            }
        }
        for (privilege, why) in [
            ("SELECT", "reads the checkpoint"),
            ("INSERT", "writes the checkpoint"),
            ("UPDATE", "writes the checkpoint with each batch"),
            ("DELETE", "clears away what is done"),
            ("CREATE", "creates our own tables"),
        ] {
            list.push(simple(Unit::Sync, privilege, meta.clone(), why));
        }
    }
    if needs.has_foreign_keys {
        for (unit, objects) in [(Unit::Load, &needs.load), (Unit::Sync, &needs.sync)] {
            for object in objects.iter().flatten() {
                list.push(references(unit, object, version));
            }
        }
    }
    list
}

/// MySQL (9.7 was asked) wants REFERENCES on the parent table even with `foreign_key_checks = 0`;
/// MariaDB (10.11 and 11.8 were asked) is content with any other privilege on it.
fn references(unit: Unit, object: &Object, version: &ServerVersion) -> Requirement {
    let why = "creates foreign keys, which some of the tables have";
    Requirement {
        not_needed: (version.flavor == Flavor::MariaDB).then(|| {
            "MariaDB creates foreign keys for those who may write to the parent".to_owned()
        }),
        ..on_target(unit, "REFERENCES", object, why)
    }
}

fn simple(unit: Unit, privilege: &'static str, object: Object, why: &str) -> Requirement {
    Requirement {
        unit,
        want: Want { privilege, object },
        others: Vec::new(),
        why: why.to_owned(),
        not_needed: None,
    }
}

/// `CREATE DATABASE` asks for the privilege on the database, even where it is there already.
fn on_target(unit: Unit, privilege: &'static str, object: &Object, why: &str) -> Requirement {
    let object = match object {
        Object::Schema { name, .. } if privilege == "CREATE" => Object::Schema {
            name: name.clone(),
            tables: Vec::new(),
        },
        other => other.clone(),
    };
    simple(unit, privilege, object, why)
}

fn unneeded(unit: Unit, privilege: &'static str, why: &str, not_needed: &str) -> Requirement {
    Requirement {
        not_needed: Some(not_needed.to_owned()),
        ..simple(unit, privilege, Object::Global, why)
    }
}

fn replication_slave(unit: Unit, why: &str, not_needed: Option<&str>) -> Requirement {
    Requirement {
        not_needed: not_needed.map(str::to_owned),
        ..simple(unit, "REPLICATION SLAVE", Object::Global, why)
    }
}

fn replication_client(unit: Unit, why: &str, not_needed: Option<&str>) -> Requirement {
    Requirement {
        others: vec![vec![global("SUPER")]],
        not_needed: not_needed.map(str::to_owned),
        ..simple(unit, "REPLICATION CLIENT", Object::Global, why)
    }
}

fn global(privilege: &'static str) -> Want {
    Want {
        privilege,
        object: Object::Global,
    }
}

/// The lock of a dump: RELOAD, or what this server and the setting put in its place.
fn dump_lock(dump: &DumpNeeds, version: &ServerVersion) -> Requirement {
    let mut lock = simple(
        Unit::Dump,
        "RELOAD",
        Object::Global,
        "takes a short global read lock, under which all readers begin",
    );
    if version.flavor == Flavor::MySQL && version.at_least(8, 0, 23) {
        lock.others.push(vec![global("FLUSH_TABLES")]);
    }
    if version.flavor == Flavor::MySQL && dump.may_go_without {
        let tables = dump
            .objects
            .iter()
            .map(|object| Want {
                privilege: "LOCK TABLES",
                // A lock on a table is a privilege on its database.
                object: match object {
                    Object::Table(table) => Object::Schema {
                        name: table.schema.clone(),
                        tables: Vec::new(),
                    },
                    Object::Schema { name, .. } => Object::Schema {
                        name: name.clone(),
                        tables: Vec::new(),
                    },
                    Object::Global => Object::Global,
                },
            })
            .collect::<Vec<_>>();
        if dump.may_lock_all {
            lock.others.push(tables);
        } else if let Some(first) = tables.first().cloned() {
            lock = Requirement {
                want: first,
                others: Vec::new(),
                why: "takes a short read lock on the selected tables".to_owned(),
                ..lock
            };
        }
    }
    if version.flavor == Flavor::MariaDB && dump.may_go_without && !dump.unversioned {
        lock.not_needed = Some(
            if dump.may_lock_all {
                "without it one session reads, at a position of its own; with it, several do"
            } else {
                "`consistency = \"snapshot\"` reads in one session, at a position of its own"
            }
            .to_owned(),
        );
    }
    lock
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dump(may_lock_all: bool, may_go_without: bool) -> SourceNeeds {
        SourceNeeds {
            has_relay: false,
            dump: Some(DumpNeeds {
                objects: vec![Object::Schema {
                    name: "shop".into(),
                    tables: Vec::new(),
                }],
                may_lock_all,
                may_go_without,
                unversioned: false,
            }),
            sync: None,
        }
    }

    fn lock(needs: &SourceNeeds, version: &str) -> Requirement {
        source_requirements(needs, &ServerVersion::parse(version))
            .pop()
            .unwrap()
    }

    #[test]
    fn the_lock_depends_on_server_and_setting() {
        let mariadb = "10.11.6-MariaDB";
        assert_eq!(lock(&dump(true, false), mariadb).not_needed, None);
        assert!(lock(&dump(true, true), mariadb).not_needed.is_some());
        let mut plain = dump(true, true);
        if let Some(dump) = &mut plain.dump {
            dump.unversioned = true;
        }
        assert_eq!(lock(&plain, mariadb).not_needed, None);
        let auto = lock(&dump(true, true), "9.7.4");
        assert_eq!((auto.want.privilege, auto.others.len()), ("RELOAD", 2));
        assert_eq!(lock(&dump(true, false), "5.7.44").others.len(), 0);
        let snapshot = lock(&dump(false, true), "8.4.0");
        assert_eq!(
            (snapshot.want.privilege, snapshot.others.len()),
            ("LOCK TABLES", 0)
        );
    }

    #[test]
    fn only_some_servers_ask_for_references() {
        let needs = TargetNeeds {
            meta_schema: "tideway".into(),
            load: Some(vec![Object::Global]),
            sync: None,
            has_foreign_keys: true,
        };
        for (version, is_needed) in [
            ("9.7.4", true),
            ("11.8.3-MariaDB", false),
            ("8.0.11-TiDB-v8.5.0", true),
        ] {
            let list = target_requirements(&needs, &ServerVersion::parse(version));
            let cell = list
                .iter()
                .find(|r| r.want.privilege == "REFERENCES")
                .unwrap();
            assert_eq!(cell.not_needed.is_none(), is_needed, "{version}");
        }
    }
}
