//! The verdict on each cell of the matrix of units and privileges.

use crate::model::{Flavor, GrantState, PrivilegeFigure, ServerVersion};

use super::account::{Account, Outcome, Probe, Role};
use super::cover::{By, Cover, covered};
use super::grants::Grants;
use super::name::shown;
use super::need::{Requirement, Want};
use super::statement::{account_name, activate_role, grant, object_text};

/// A verdict, before it is put into a cell.
struct Verdict {
    state: GrantState,
    /// In a few words, for a narrow column.
    how: String,
    evidence: String,
    mend: String,
}

/// The cell of one requirement. `server` is `source:NAME` or `target:NAME`.
pub fn figure(requirement: &Requirement, account: &Account, server: &str) -> PrivilegeFigure {
    let want = &requirement.want;
    let found = verdict(requirement, account);
    let verdict = match (&requirement.not_needed, found.state) {
        (None, _) | (Some(_), GrantState::Have) => found,
        (Some(reason), _) => Verdict {
            state: GrantState::NotNeeded,
            how: "not needed here".to_owned(),
            evidence: reason.clone(),
            mend: String::new(),
        },
    };
    PrivilegeFigure {
        server: server.to_owned(),
        account: account_name(&account.current_user),
        unit: requirement.unit,
        privilege: shown(want.privilege, &account.version),
        object: object_text(&want.object, true),
        state: verdict.state,
        how: verdict.how,
        evidence: verdict.evidence,
        why: requirement.why.clone(),
        in_minimum: requirement.in_minimum,
        instead: instead(requirement, account),
        grant: verdict.mend,
        streams: Vec::new(),
        accepted: None,
    }
}

fn verdict(requirement: &Requirement, account: &Account) -> Verdict {
    let want = &requirement.want;
    let statement = || {
        grant(
            &[want.privilege],
            &want.object,
            &account.current_user,
            &account.version,
            account.has_partial_revokes,
        )
    };
    let cover = covered(want, &requirement.others, &account.grants, account);
    // What the server does counts for more than what is read into its words.
    let probe = account.probed(want);
    match (probe, &cover) {
        (
            Some(Probe {
                outcome: Outcome::Denied { number, message },
                statement: probe,
                ..
            }),
            Cover::Yes(_) | Cover::Doubtful(_),
        ) => {
            return Verdict {
                state: GrantState::Missing,
                how: format!("probe: {number}"),
                evidence: format!("`{probe}` was refused: {number}: {message}"),
                mend: statement(),
            };
        }
        (
            Some(Probe {
                outcome: Outcome::Allowed,
                statement: probe,
                ..
            }),
            Cover::No(_) | Cover::Doubtful(_),
        ) => {
            return Verdict {
                state: GrantState::Have,
                how: "probe".to_owned(),
                evidence: format!("`{probe}` was allowed"),
                mend: String::new(),
            };
        }
        _ => {}
    }
    match cover {
        Cover::Yes(by) => had(&by, probe, account),
        cover => lacking(requirement, cover, account, probe, &statement),
    }
}

fn had(by: &By, probe: Option<&Probe>, account: &Account) -> Verdict {
    let mut how = match by.grantee.as_str() {
        "" => "grant".to_owned(),
        "PUBLIC" => "grant to PUBLIC".to_owned(),
        grantee if same_account(grantee, &account.current_user) => "grant".to_owned(),
        role => format!("role {role}"),
    };
    let mut evidence = by.evidence.clone();
    if let Some(probe) = probe.filter(|probe| probe.outcome == Outcome::Allowed) {
        how.push_str(" + probe");
        evidence = format!("{evidence}; `{}` was allowed", probe.statement);
    }
    Verdict {
        state: GrantState::Have,
        how,
        evidence,
        mend: String::new(),
    }
}

/// Whether a line's grantee is the account: MariaDB prints it as the entry stands.
fn same_account(grantee: &str, current_user: &str) -> bool {
    grantee == current_user || current_user.strip_suffix("@%") == Some(grantee)
}

fn lacking(
    requirement: &Requirement,
    cover: Cover,
    account: &Account,
    probe: Option<&Probe>,
    statement: &dyn Fn() -> String,
) -> Verdict {
    if let Some((role, by)) = idle_role(requirement, account) {
        return Verdict {
            state: GrantState::Inactive,
            how: format!("inactive role {}", role.name),
            evidence: format!(
                "role {} has it and is not active: {}",
                role.name, by.evidence
            ),
            mend: activate_role(account, &role.name).unwrap_or_else(statement),
        };
    }
    let denied = probe.and_then(|probe| match &probe.outcome {
        Outcome::Denied { number, .. } => Some((probe, number)),
        _ => None,
    });
    let (state, how, evidence) = if let Some((probe, number)) = denied {
        (
            GrantState::Missing,
            format!("probe: {number}"),
            format!(
                "no line of `SHOW GRANTS` gives it, and `{}` was refused",
                probe.statement
            ),
        )
    } else if let Cover::Doubtful(evidence) = cover {
        (GrantState::Unknown, "not certain".to_owned(), evidence)
    } else if let Cover::No(Some(evidence)) = cover {
        (GrantState::Missing, "taken back".to_owned(), evidence)
    } else if let Some(line) = account.grants.not_understood() {
        (
            GrantState::Unknown,
            "line not understood".to_owned(),
            format!("a line of `SHOW GRANTS` is not understood: {line}"),
        )
    } else if let Some((role, reason)) = account.unreadable_roles.first() {
        (
            GrantState::Unknown,
            format!("role {role} unreadable"),
            format!(
                "no line of `SHOW GRANTS` gives it, and role {role} cannot be looked into: {reason}"
            ),
        )
    } else {
        (
            GrantState::Missing,
            "no grant".to_owned(),
            "no line of `SHOW GRANTS` gives it".to_owned(),
        )
    };
    Verdict {
        state,
        how,
        evidence,
        mend: statement(),
    }
}

/// The first role that would give it, once active.
fn idle_role<'a>(requirement: &Requirement, account: &'a Account) -> Option<(&'a Role, By)> {
    account.idle_roles.iter().find_map(|role| {
        let all: Grants = account.grants.with(&role.grants);
        match covered(&requirement.want, &requirement.others, &all, account) {
            Cover::Yes(by) => Some((role, by)),
            Cover::Doubtful(_) | Cover::No(_) => None,
        }
    })
}

/// What does as well, in words.
fn instead(requirement: &Requirement, account: &Account) -> String {
    let one = |want: &Want| {
        format!(
            "{} on {}",
            shown(want.privilege, &account.version),
            object_text(&want.object, true)
        )
    };
    let lists: Vec<String> = requirement
        .others
        .iter()
        .map(|group| group.iter().map(one).collect::<Vec<_>>().join(" and "))
        .collect();
    lists.join("; or ")
}

/// Whether the server is one whose grants were tried; the others rest on grants that were written down
/// from manuals.
pub fn is_tried(version: &ServerVersion) -> bool {
    match version.flavor {
        Flavor::MySQL => version.at_least(9, 0, 0),
        Flavor::MariaDB => version.at_least(10, 11, 0),
        Flavor::TiDB => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{TableName, Unit};
    use crate::privilege::need::Object;

    fn account(version: &str, lines: &[&str]) -> Account {
        Account {
            current_user: "u@%".into(),
            version: ServerVersion::parse(version),
            grants: Grants::parse(lines.iter().copied()),
            active_roles: Vec::new(),
            idle_roles: Vec::new(),
            unreadable_roles: Vec::new(),
            probes: Vec::new(),
            has_partial_revokes: false,
            is_case_folded: false,
        }
    }

    fn need(privilege: &'static str, object: Object) -> Requirement {
        Requirement::beyond(Unit::Dump, Want::on(privilege, object), "")
    }

    fn schema(name: &str) -> Object {
        Object::schema(name)
    }

    fn state(account: &Account, privilege: &'static str, object: Object) -> GrantState {
        figure(&need(privilege, object), account, "source:a").state
    }

    const MYSQL: &str = "9.7.4";
    const MARIADB: &str = "10.11.19-MariaDB";

    #[test]
    fn levels() {
        let a = account(
            MYSQL,
            &[
                "GRANT RELOAD ON *.* TO `u`@`%`",
                "GRANT SELECT ON `shop`.* TO `u`@`%`",
                "GRANT INSERT ON `crm`.`t` TO `u`@`%`",
            ],
        );
        assert_eq!(state(&a, "RELOAD", Object::Global), GrantState::Have);
        assert_eq!(state(&a, "SELECT", schema("shop")), GrantState::Have);
        assert_eq!(state(&a, "SELECT", schema("crm")), GrantState::Missing);
        assert_eq!(state(&a, "SELECT", Object::Global), GrantState::Missing);
        let t = TableName::new("crm", "t");
        assert_eq!(
            state(&a, "INSERT", Object::Table(t.clone())),
            GrantState::Have
        );
        let both = |tables: Vec<TableName>| Object::Schema {
            name: "crm".into(),
            tables,
        };
        assert_eq!(state(&a, "INSERT", both(vec![t.clone()])), GrantState::Have);
        assert_eq!(
            state(&a, "INSERT", both(vec![t, TableName::new("crm", "v")])),
            GrantState::Missing
        );
    }

    #[test]
    fn patterns_of_databases() {
        for (pattern, name, expected) in [
            ("db\\_1", "db_1", GrantState::Have),
            ("db\\_1", "dbx1", GrantState::Missing),
            ("db_1", "dbx1", GrantState::Have),
            ("db%", "db_anything", GrantState::Have),
            ("%", "x", GrantState::Have),
            ("DB%", "db1", GrantState::Missing),
        ] {
            let line = format!("GRANT SELECT ON `{pattern}`.* TO `u`@`%`");
            let a = account(MARIADB, &[&line]);
            assert_eq!(
                state(&a, "SELECT", schema(name)),
                expected,
                "{pattern} {name}"
            );
        }
        let mut folded = account(MARIADB, &["GRANT SELECT ON `DB%`.* TO `u`@`%`"]);
        folded.is_case_folded = true;
        assert_eq!(state(&folded, "SELECT", schema("db1")), GrantState::Have);
    }

    #[test]
    fn the_more_specific_pattern_rules() {
        let a = account(
            MARIADB,
            &[
                "GRANT SELECT ON `shop%`.* TO `u`@`%`",
                "GRANT INSERT ON `shop`.* TO `u`@`%`",
            ],
        );
        assert_eq!(state(&a, "INSERT", schema("shop")), GrantState::Have);
        assert_eq!(state(&a, "SELECT", schema("shop")), GrantState::Missing);
        assert_eq!(state(&a, "SELECT", schema("shop2")), GrantState::Have);
    }

    #[test]
    fn partial_revokes_change_what_a_name_means() {
        let lines = ["GRANT SELECT ON `db\\_1`.* TO `u`@`%`"];
        let mut a = account(MYSQL, &lines);
        assert_eq!(state(&a, "SELECT", schema("db_1")), GrantState::Have);
        a.has_partial_revokes = true;
        assert_eq!(state(&a, "SELECT", schema("db_1")), GrantState::Missing);
        let cell = figure(&need("SELECT", schema("db_1")), &a, "source:a");
        assert_eq!(cell.grant, "GRANT SELECT ON `db_1`.* TO 'u'@'%';");
        let mut b = account(
            MYSQL,
            &[
                "GRANT SELECT, INSERT ON *.* TO `u`@`%`",
                "REVOKE SELECT ON `hr`.* FROM `u`@`%`",
            ],
        );
        b.has_partial_revokes = true;
        assert_eq!(state(&b, "SELECT", schema("shop")), GrantState::Have);
        assert_eq!(state(&b, "SELECT", schema("hr")), GrantState::Missing);
        assert_eq!(state(&b, "INSERT", schema("hr")), GrantState::Have);
    }

    #[test]
    fn all_privileges() {
        let maria = account(MARIADB, &["GRANT ALL PRIVILEGES ON *.* TO `u`@`%`"]);
        assert_eq!(state(&maria, "RELOAD", Object::Global), GrantState::Have);
        assert_eq!(state(&maria, "INDEX", schema("x")), GrantState::Have);
        let db = account(MYSQL, &["GRANT ALL PRIVILEGES ON `x`.* TO `u`@`%`"]);
        assert_eq!(state(&db, "INDEX", schema("x")), GrantState::Have);
        assert_eq!(state(&db, "RELOAD", Object::Global), GrantState::Missing);
        let mysql = account(MYSQL, &["GRANT ALL PRIVILEGES ON *.* TO `u`@`%`"]);
        assert_eq!(
            state(&mysql, "FLUSH_TABLES", Object::Global),
            GrantState::Missing
        );
    }

    #[test]
    fn roles_and_public() {
        let a = account(
            MARIADB,
            &[
                "GRANT `r1` TO `u`@`%`",
                "GRANT USAGE ON *.* TO `u`@`%`",
                "GRANT SELECT ON `shop`.* TO `r1`",
                "GRANT INSERT ON `test%`.* TO PUBLIC",
            ],
        );
        assert_eq!(state(&a, "SELECT", schema("shop")), GrantState::Have);
        assert_eq!(state(&a, "INSERT", schema("test1")), GrantState::Have);
        let mut inactive = account(
            MYSQL,
            &["GRANT USAGE ON *.* TO `u`@`%`", "GRANT `r1`@`%` TO `u`@`%`"],
        );
        assert_eq!(
            state(&inactive, "SELECT", schema("shop")),
            GrantState::Missing
        );
        inactive.idle_roles.push(Role {
            name: "r1@%".into(),
            grants: Grants::parse(["GRANT SELECT ON `shop`.* TO `u`@`%`"]),
        });
        let cell = figure(&need("SELECT", schema("shop")), &inactive, "source:a");
        assert_eq!(cell.state, GrantState::Inactive);
        assert_eq!(cell.grant, "SET DEFAULT ROLE 'r1'@'%' TO 'u'@'%';");
    }

    #[test]
    fn columns_are_not_the_table() {
        let a = account(MYSQL, &["GRANT SELECT (`id`) ON `db`.`t` TO `u`@`%`"]);
        let t = Object::Table(TableName::new("db", "t"));
        assert_eq!(state(&a, "SELECT", t), GrantState::Unknown);
    }

    #[test]
    fn a_line_not_understood_is_never_have() {
        let a = account(MYSQL, &["BESTOW SELECT UPON `shop`.* TO `u`@`%`"]);
        assert_eq!(state(&a, "SELECT", schema("shop")), GrantState::Unknown);
    }

    #[test]
    fn alternatives_and_what_is_not_needed() {
        let mut lock = need("RELOAD", Object::Global);
        lock.others.push(vec![Want {
            privilege: "FLUSH_TABLES",
            object: Object::Global,
        }]);
        let a = account(MYSQL, &["GRANT FLUSH_TABLES ON *.* TO `u`@`%`"]);
        assert_eq!(figure(&lock, &a, "s").state, GrantState::Have);
        let none = account(MYSQL, &["GRANT USAGE ON *.* TO `u`@`%`"]);
        assert_eq!(figure(&lock, &none, "s").state, GrantState::Missing);
        lock.not_needed = Some("reads in one session".into());
        let cell = figure(&lock, &none, "s");
        assert_eq!(cell.state, GrantState::NotNeeded);
        assert!(cell.grant.is_empty());
        let client = account(MARIADB, &["GRANT BINLOG MONITOR ON *.* TO `u`@`%`"]);
        let cell = figure(&need("REPLICATION CLIENT", Object::Global), &client, "s");
        assert_eq!(
            (cell.state, cell.privilege.as_str()),
            (GrantState::Have, "BINLOG MONITOR")
        );
    }

    #[test]
    fn a_probe_counts_for_more_than_words() {
        let t = Object::Table(TableName::new("db", "t"));
        let probe = |outcome| Probe {
            privilege: "SELECT",
            object: t.clone(),
            statement: "SELECT * FROM `db`.`t` LIMIT 0".into(),
            outcome,
        };
        let mut a = account(MYSQL, &["GRANT SELECT (`id`) ON `db`.`t` TO `u`@`%`"]);
        a.probes.push(probe(Outcome::Allowed));
        let cell = figure(&need("SELECT", t.clone()), &a, "source:a");
        assert_eq!((cell.state, cell.how.as_str()), (GrantState::Have, "probe"));
        let mut b = account(MYSQL, &["GRANT SELECT ON `db`.* TO `u`@`%`"]);
        b.probes.push(probe(Outcome::Denied {
            number: 1142,
            message: "denied".into(),
        }));
        let whole = Object::Schema {
            name: "db".into(),
            tables: vec![TableName::new("db", "t")],
        };
        for object in [t.clone(), whole] {
            let cell = figure(&need("SELECT", object), &b, "source:a");
            assert_eq!(
                (cell.state, cell.how.as_str()),
                (GrantState::Missing, "probe: 1142")
            );
        }
        b.probes[0].outcome = Outcome::Untold;
        let cell = figure(&need("SELECT", t.clone()), &b, "source:a");
        assert_eq!((cell.state, cell.how.as_str()), (GrantState::Have, "grant"));
    }

    #[test]
    fn a_role_that_cannot_be_looked_into_is_no_refusal() {
        let mut a = account(MYSQL, &["GRANT `gone`@`%` TO `u`@`%`"]);
        a.unreadable_roles
            .push(("gone@%".into(), "it was dropped".into()));
        assert_eq!(state(&a, "SELECT", schema("shop")), GrantState::Unknown);
    }

    #[test]
    fn partial_revokes_and_everything() {
        let a = account(
            MYSQL,
            &[
                "GRANT SELECT, RELOAD ON *.* TO `u`@`%`",
                "REVOKE SELECT ON `hr`.* FROM `u`@`%`",
            ],
        );
        assert_eq!(state(&a, "SELECT", Object::Global), GrantState::Unknown);
        assert_eq!(state(&a, "RELOAD", Object::Global), GrantState::Have);
    }
}
