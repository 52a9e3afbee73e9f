//! Harmless statements that show what an account may do: nothing is written, locked or waited for.
//!
//! Writes are only prepared, which checks privileges and runs nothing (MySQL 9.7 and MariaDB 10.11 and
//! 11.8 were asked). What cannot be tried without effect (`FLUSH TABLES`, `DROP`, `ALTER`) is not.

use crate::connect::Session;
use crate::model::{ErrorKind, Flavor, TableName, table::quote_name};
use crate::privilege::{Account, Granted, Line, Object, Outcome, Probe, Requirement};

/// Tables that are tried on each server, at the most: a few queries, not one a table.
const TABLES: usize = 8;

/// The table that is prepared to be created, in the databases where CREATE is needed.
const NO_TABLE: &str = "tideway_probe";

/// Runs the probes that say something about `requirements`, and keeps their outcomes in `account`.
/// `existing` says which tables are there.
pub(super) async fn run(
    session: &mut Session,
    account: &mut Account,
    requirements: &[Requirement],
    existing: impl Fn(&TableName) -> bool,
) {
    let mut planned: Vec<Probe> = Vec::new();
    for requirement in requirements
        .iter()
        .filter(|requirement| requirement.not_needed.is_none())
    {
        for probe in plan(requirement, account.version.flavor, &existing) {
            if !planned
                .iter()
                .any(|have| have.privilege == probe.privilege && have.object == probe.object)
            {
                planned.push(probe);
            }
        }
    }
    for mut probe in planned {
        probe.outcome = outcome(session, &probe.statement).await;
        if probe.outcome == Outcome::Allowed && probe.privilege == "INSERT" && on_columns(account) {
            // The statement names no column, so one that may be written is enough for it; a row needs all.
            probe.outcome = Outcome::Untold;
        }
        account.probes.push(probe);
        if session.is_broken() {
            return;
        }
    }
}

/// Whether INSERT is granted on columns anywhere.
fn on_columns(account: &Account) -> bool {
    let limited = |granted: &Granted| granted.name == "INSERT" && !granted.columns.is_empty();
    account.grants.lines().iter().any(|line| match &line.line {
        Line::Grant { granted, .. } => granted.iter().any(limited),
        _ => false,
    })
}

async fn outcome(session: &mut Session, statement: &str) -> Outcome {
    let result = if statement.starts_with("SHOW BINARY LOG STATUS") {
        match session.rows(statement).await {
            // Older servers, and MariaDB, know it by another name.
            Err(error) if error.server().is_some_and(|server| server.number == 1064) => {
                session.rows("SHOW MASTER STATUS").await
            }
            other => other,
        }
    } else {
        session.rows(statement).await
    };
    let is_prepared = statement.starts_with("PREPARE");
    match result {
        Ok(_) => {
            if is_prepared {
                // It would be gone with the connection; the server keeps count of them until then.
                let _ = session.execute(b"DEALLOCATE PREPARE tideway_probe").await;
            }
            Outcome::Allowed
        }
        Err(error) => match error.server() {
            Some(server) if error.kind() == ErrorKind::Privilege => Outcome::Denied {
                number: server.number,
                message: server.message.clone(),
            },
            _ => Outcome::Untold,
        },
    }
}

fn plan(
    requirement: &Requirement,
    flavor: Flavor,
    existing: &impl Fn(&TableName) -> bool,
) -> Vec<Probe> {
    let want = &requirement.want;
    let probe = |object: Object, statement: String| Probe {
        privilege: want.privilege,
        object,
        statement,
        outcome: Outcome::Untold,
    };
    match (want.privilege, &want.object) {
        ("REPLICATION CLIENT", Object::Global) => {
            vec![probe(Object::Global, "SHOW BINARY LOG STATUS".to_owned())]
        }
        ("REPLICATION SLAVE", Object::Global) if flavor == Flavor::MySQL => {
            vec![probe(Object::Global, "SHOW REPLICAS".to_owned())]
        }
        // Whether TiDB looks at privileges when it prepares a statement was not tried.
        ("CREATE" | "INSERT" | "DELETE", _) if flavor == Flavor::TiDB => Vec::new(),
        ("CREATE", Object::Schema { name, .. }) => vec![probe(
            want.object.clone(),
            prepared(&format!(
                "CREATE TABLE {}.{} (a INT)",
                quote_name(name),
                quote_name(NO_TABLE)
            )),
        )],
        ("SELECT" | "INSERT" | "DELETE", object) => tables(object)
            .into_iter()
            .filter(|table| existing(table))
            .take(TABLES)
            .map(|table| {
                let name = table.quoted();
                let statement = match want.privilege {
                    "SELECT" => format!("SELECT * FROM {name} LIMIT 0"),
                    "INSERT" => prepared(&format!("INSERT INTO {name} () VALUES ()")),
                    _ => prepared(&format!("DELETE FROM {name}")),
                };
                probe(Object::Table(table), statement)
            })
            .collect(),
        _ => Vec::new(),
    }
}

fn prepared(statement: &str) -> String {
    format!(
        "PREPARE tideway_probe FROM '{}'",
        statement.replace('\\', "\\\\").replace('\'', "''")
    )
}

fn tables(object: &Object) -> Vec<TableName> {
    match object {
        Object::Global => Vec::new(),
        Object::Schema { tables, .. } => tables.clone(),
        Object::Table(table) => vec![table.clone()],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ServerVersion;
    use crate::privilege::{DumpMode, DumpNeeds, SourceNeeds, source_requirements};

    #[test]
    fn few_probes_however_many_tables() {
        let tables: Vec<TableName> = (0..10_000)
            .map(|n| TableName::new("shop", format!("t{n}")))
            .collect();
        let needs = SourceNeeds {
            has_relay: true,
            dump: Some(DumpNeeds {
                objects: vec![Object::Schema {
                    name: "shop".into(),
                    tables,
                }],
                modes: vec![DumpMode::Auto],
                needs_position: true,
                has_gtids: true,
                unversioned: false,
            }),
            ..SourceNeeds::default()
        };
        let list = source_requirements(&needs, &ServerVersion::parse("9.7.4"));
        let planned: Vec<Probe> = list
            .iter()
            .flat_map(|requirement| plan(requirement, Flavor::MySQL, &|_| true))
            .collect();
        assert!((3..=TABLES + 4).contains(&planned.len()), "{planned:?}");
        // Nothing that has an effect.
        for probe in planned {
            assert!(
                ["SHOW ", "SELECT ", "PREPARE "]
                    .iter()
                    .any(|harmless| probe.statement.starts_with(harmless)),
                "{probe:?}"
            );
        }
    }

    #[test]
    fn a_probe_quotes_what_it_names() {
        assert_eq!(
            prepared("DELETE FROM `it's`.`a\\b`"),
            "PREPARE tideway_probe FROM 'DELETE FROM `it''s`.`a\\\\b`'"
        );
    }
}
