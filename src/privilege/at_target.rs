//! What the units need at a target.

use crate::model::{Flavor, ServerVersion, Unit};

use super::need::{Object, Requirement, Want};

/// What is done at a target.
#[derive(Clone, Debug, Default)]
pub struct TargetNeeds {
    /// The schema of our own tables.
    pub meta_schema: String,
    /// Whether our own tables are there already.
    pub has_meta_tables: bool,
    /// What is loaded into, by the target's names.
    pub load: Option<LoadNeeds>,
    /// What is replicated into, by the target's names.
    pub sync: Option<SyncNeeds>,
    /// Whether some of the tables have foreign keys.
    pub has_foreign_keys: bool,
    /// Whether the selection has views.
    pub has_views: bool,
}

/// What loads do.
#[derive(Clone, Debug, Default)]
pub struct LoadNeeds {
    /// What is written to.
    pub objects: Vec<Object>,
    /// Whether every table is there already, so that none is made.
    pub has_all_tables: bool,
    /// Whether rows that are there may be replaced: `on_duplicate`, or a dump without a lock.
    pub replaces_rows: bool,
}

/// What sync does.
#[derive(Clone, Debug, Default)]
pub struct SyncNeeds {
    /// What is written to.
    pub objects: Vec<Object>,
    /// Kinds of events that filters leave out of every table.
    pub left_out: LeftOut,
}

/// Kinds of events that never reach the target.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LeftOut {
    /// `INSERT`.
    pub inserts: bool,
    /// `UPDATE`.
    pub updates: bool,
    /// `DELETE`.
    pub deletes: bool,
    /// Every DDL statement.
    pub ddl: bool,
}

/// What the account needs at a target.
pub fn target_requirements(needs: &TargetNeeds, version: &ServerVersion) -> Vec<Requirement> {
    let mut list = Vec::new();
    if let Some(load) = &needs.load {
        data_of_load(&mut list, load);
        meta_of_load(&mut list, needs);
    }
    if let Some(sync) = &needs.sync {
        data_of_sync(&mut list, sync);
        meta_of_sync(&mut list, needs);
    }
    let objects = |unit: Unit| match unit {
        Unit::Load => needs.load.as_ref().map(|load| &load.objects),
        _ => needs.sync.as_ref().map(|sync| &sync.objects),
    };
    for unit in [Unit::Load, Unit::Sync] {
        for object in objects(unit).into_iter().flatten() {
            if needs.has_foreign_keys {
                list.push(references(unit, object, version));
            }
            if needs.has_views && unit == Unit::Load {
                list.push(
                    Requirement::beyond(
                        unit,
                        Want::on("CREATE VIEW", object.widened()),
                        "creates views behind the rows",
                    )
                    .unless(Some(
                        "a view that may not be created is left out, and named: see the check `views`",
                    )),
                );
            }
        }
    }
    list
}

fn data_of_load(list: &mut Vec<Requirement>, load: &LoadNeeds) {
    for object in &load.objects {
        let mut add = |privilege, object: Object, why: &str, unless: Option<&str>| {
            list.push(
                Requirement::minimum(Unit::Load, Want::on(privilege, object), why).unless(unless),
            );
        };
        add(
            "SELECT",
            object.clone(),
            "looks whether a table that is there is empty",
            None,
        );
        // `CREATE DATABASE` asks for it on the database, even where it is there already.
        add(
            "CREATE",
            object.widened(),
            "creates databases and tables",
            load.has_all_tables
                .then_some("every table is there already"),
        );
        add("INSERT", object.clone(), "writes rows", None);
        let why = if load.replaces_rows {
            "replaces rows that are there"
        } else {
            "takes back the rows of a dump that came to nothing"
        };
        add("DELETE", object.clone(), why, None);
    }
}

fn meta_of_load(list: &mut Vec<Requirement>, needs: &TargetNeeds) {
    let meta = Object::schema(&needs.meta_schema);
    for (privilege, why) in [
        ("SELECT", "reads the load's checkpoint"),
        ("CREATE", "creates our own tables"),
        ("INSERT", "writes the load's checkpoint"),
        ("DELETE", "moves the load's checkpoint on"),
    ] {
        list.push(
            Requirement::minimum(Unit::Load, Want::on(privilege, meta.clone()), why)
                .unless(unless_there(privilege, needs)),
        );
    }
}

fn data_of_sync(list: &mut Vec<Requirement>, sync: &SyncNeeds) {
    let left_out = sync.left_out;
    let reason = |is_left_out: bool, what: &str| {
        is_left_out.then(|| format!("`[[task.filter]]` leaves {what} out of every table"))
    };
    // Where filters leave some kinds out, a row that is there, or is not, is made what the source says by
    // an UPDATE, then an INSERT.
    let no_rows = left_out.inserts && left_out.updates;
    for object in &sync.objects {
        for (privilege, why, unless) in [
            (
                "SELECT",
                "finds the rows to change, and looks at the tables",
                None,
            ),
            (
                "INSERT",
                if left_out.inserts {
                    "makes updated rows whose insert was left out"
                } else {
                    "applies inserted rows"
                },
                reason(no_rows, "inserts and updates"),
            ),
            (
                "UPDATE",
                if left_out.updates {
                    "makes a row anew that is there because its change was left out"
                } else {
                    "applies updated rows"
                },
                reason(no_rows, "inserts and updates"),
            ),
            (
                "DELETE",
                "applies deleted rows",
                reason(left_out.deletes, "deletes"),
            ),
            (
                "CREATE",
                "applies `CREATE TABLE` and `CREATE DATABASE`",
                reason(left_out.ddl, "all DDL"),
            ),
            (
                "DROP",
                "applies `DROP TABLE` and `TRUNCATE TABLE`",
                reason(left_out.ddl, "all DDL"),
            ),
            (
                "ALTER",
                "applies `ALTER TABLE`",
                reason(left_out.ddl, "all DDL"),
            ),
            (
                "INDEX",
                "applies `CREATE INDEX` and `DROP INDEX`",
                reason(left_out.ddl, "all DDL"),
            ),
        ] {
            let object = if privilege == "CREATE" {
                object.widened()
            } else {
                object.clone()
            };
            list.push(
                Requirement::minimum(Unit::Sync, Want::on(privilege, object), why).unless(unless),
            );
        }
    }
}

fn meta_of_sync(list: &mut Vec<Requirement>, needs: &TargetNeeds) {
    let meta = Object::schema(&needs.meta_schema);
    for (privilege, why) in [
        ("SELECT", "reads the checkpoint"),
        ("INSERT", "writes the checkpoint"),
        ("UPDATE", "writes the checkpoint with each batch"),
        ("DELETE", "clears away what is done"),
        ("CREATE", "creates our own tables"),
    ] {
        list.push(
            Requirement::minimum(Unit::Sync, Want::on(privilege, meta.clone()), why)
                .unless(unless_there(privilege, needs)),
        );
    }
}

fn unless_there(privilege: &str, needs: &TargetNeeds) -> Option<&'static str> {
    (privilege == "CREATE" && needs.has_meta_tables).then_some("our own tables are there already")
}

/// MySQL (9.7 was asked) wants REFERENCES on the parent table even with `foreign_key_checks = 0`;
/// MariaDB (10.11 and 11.8 were asked) is content with any other privilege on it.
fn references(unit: Unit, object: &Object, version: &ServerVersion) -> Requirement {
    Requirement::beyond(
        unit,
        Want::on("REFERENCES", object.clone()),
        "creates foreign keys, which some of the tables have",
    )
    .unless(
        (version.flavor == Flavor::MariaDB)
            .then_some("MariaDB creates foreign keys for those who may write to the parent"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn needs() -> TargetNeeds {
        TargetNeeds {
            meta_schema: "tideway".into(),
            load: Some(LoadNeeds {
                objects: vec![Object::schema("shop")],
                ..LoadNeeds::default()
            }),
            sync: Some(SyncNeeds {
                objects: vec![Object::schema("shop")],
                ..SyncNeeds::default()
            }),
            ..TargetNeeds::default()
        }
    }

    fn needed(needs: &TargetNeeds, unit: Unit, schema: &str) -> Vec<&'static str> {
        target_requirements(needs, &ServerVersion::parse("9.7.4"))
            .into_iter()
            .filter(|r| r.unit == unit && r.not_needed.is_none())
            .filter(|r| r.want.object.schema_name() == Some(schema))
            .map(|r| r.want.privilege)
            .collect()
    }

    #[test]
    fn only_some_servers_ask_for_references() {
        let needs = TargetNeeds {
            has_foreign_keys: true,
            ..needs()
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

    #[test]
    fn settings_change_the_set() {
        let mut needs = needs();
        assert_eq!(
            needed(&needs, Unit::Load, "shop"),
            ["SELECT", "CREATE", "INSERT", "DELETE"]
        );
        assert_eq!(
            needed(&needs, Unit::Load, "tideway"),
            ["SELECT", "CREATE", "INSERT", "DELETE"]
        );
        if let (Some(load), Some(sync)) = (&mut needs.load, &mut needs.sync) {
            load.replaces_rows = true;
            load.has_all_tables = true;
            sync.left_out.deletes = true;
            sync.left_out.ddl = true;
        }
        needs.has_meta_tables = true;
        assert_eq!(
            needed(&needs, Unit::Load, "shop"),
            ["SELECT", "INSERT", "DELETE"]
        );
        assert_eq!(
            needed(&needs, Unit::Sync, "shop"),
            ["SELECT", "INSERT", "UPDATE"]
        );
        assert_eq!(
            needed(&needs, Unit::Sync, "tideway"),
            ["SELECT", "INSERT", "UPDATE", "DELETE"]
        );
    }

    #[test]
    fn the_documented_minimum_is_marked() {
        let list = target_requirements(&needs(), &ServerVersion::parse("9.7.4"));
        let minimum = |unit: Unit| -> Vec<&str> {
            list.iter()
                .filter(|r| r.unit == unit && r.in_minimum)
                .filter(|r| r.want.object.schema_name() == Some("shop"))
                .map(|r| r.want.privilege)
                .collect()
        };
        assert_eq!(
            minimum(Unit::Load),
            ["SELECT", "CREATE", "INSERT", "DELETE"]
        );
        assert_eq!(
            minimum(Unit::Sync),
            [
                "SELECT", "INSERT", "UPDATE", "DELETE", "CREATE", "DROP", "ALTER", "INDEX"
            ]
        );
    }
}
