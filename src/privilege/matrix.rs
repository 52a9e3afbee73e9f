//! The verdict on each cell of the matrix of units and privileges.

use crate::model::{Flavor, GrantState, PrivilegeFigure, ServerVersion};

use super::grants::{GrantLine, Granted, Grants, Level, Line};
use super::name::{ALL, is_in_all, shown};
use super::requirement::{Object, Requirement, Want};
use super::statement::{account_name, activate_roles, grant, object_text};

/// An account, as the server knows it, and what it is allowed.
#[derive(Clone, Debug)]
pub struct Account {
    /// `CURRENT_USER()`: the entry that matched, which need not be the one meant.
    pub current_user: String,
    /// The server's version.
    pub version: ServerVersion,
    /// What the session may do: `SHOW GRANTS`.
    pub grants: Grants,
    /// What it could do with every role it was granted; `None` where that is the same or cannot be seen.
    pub with_roles: Option<Grants>,
    /// Whether MySQL's partial revokes are on: database names are literal then.
    pub has_partial_revokes: bool,
    /// Whether names of databases and tables compare without case.
    pub is_case_folded: bool,
}

/// How a privilege is covered.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Cover {
    /// By this.
    Yes(String),
    /// It could be, but how the server decides is not certain.
    Doubtful(String),
    /// Not; with what is to be said about it.
    No(Option<String>),
}

/// The cell of one requirement. `server` is `source:NAME` or `target:NAME`.
pub fn figure(requirement: &Requirement, account: &Account, server: &str) -> PrivilegeFigure {
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
    let (state, evidence, mend) = match covered(requirement, &account.grants, account) {
        Cover::Yes(evidence) => (GrantState::Have, evidence, String::new()),
        cover => {
            let with_roles = account
                .with_roles
                .as_ref()
                .map(|grants| covered(requirement, grants, account));
            if let Some(reason) = &requirement.not_needed {
                (GrantState::NotNeeded, reason.clone(), String::new())
            } else if let Some(Cover::Yes(evidence)) = with_roles {
                (
                    GrantState::Inactive,
                    format!("granted to a role that is not active: {evidence}"),
                    activate_roles(
                        &account.grants.roles(),
                        &account.current_user,
                        &account.version,
                    ),
                )
            } else if let Cover::Doubtful(evidence) = cover {
                (GrantState::Unknown, evidence, statement())
            } else if let Cover::No(Some(evidence)) = cover {
                (GrantState::Missing, evidence, statement())
            } else if let Some(line) = account.grants.not_understood() {
                (
                    GrantState::Unknown,
                    format!("a line of `SHOW GRANTS` is not understood: {line}"),
                    statement(),
                )
            } else {
                (
                    GrantState::Missing,
                    "no line of `SHOW GRANTS` gives it".to_owned(),
                    statement(),
                )
            }
        }
    };
    PrivilegeFigure {
        server: server.to_owned(),
        account: account_name(&account.current_user),
        unit: requirement.unit,
        privilege: shown(want.privilege, &account.version),
        object: object_text(&want.object, true),
        state: match (&requirement.not_needed, state) {
            (Some(_), GrantState::Have) => GrantState::Have,
            (Some(_), _) => GrantState::NotNeeded,
            (None, state) => state,
        },
        evidence,
        why: requirement.why.clone(),
        grant: mend,
    }
}

fn covered(requirement: &Requirement, grants: &Grants, account: &Account) -> Cover {
    let first = cover(&requirement.want, grants, account);
    if matches!(first, Cover::Yes(_)) {
        return first;
    }
    for group in &requirement.others {
        let covers: Vec<Cover> = group
            .iter()
            .map(|want| cover(want, grants, account))
            .collect();
        let evidence: Vec<&str> = covers
            .iter()
            .filter_map(|cover| match cover {
                Cover::Yes(evidence) => Some(evidence.as_str()),
                _ => None,
            })
            .collect();
        if !group.is_empty() && evidence.len() == group.len() {
            return Cover::Yes(evidence.join("; "));
        }
    }
    first
}

fn cover(want: &Want, grants: &Grants, account: &Account) -> Cover {
    let global = on_all(want.privilege, grants, account);
    match &want.object {
        Object::Global => global.map_or(Cover::No(None), |line| Cover::Yes(line.text.clone())),
        Object::Schema { name, tables } => {
            let whole = on_schema(want.privilege, name, global, grants, account);
            if matches!(whole, Cover::Yes(_)) || tables.is_empty() {
                return whole;
            }
            let all_tables = tables.iter().all(|table| {
                on_table(want.privilege, &table.schema, &table.name, grants, account).is_some()
            });
            if all_tables {
                Cover::Yes(format!("granted on each of {} tables", tables.len()))
            } else {
                whole
            }
        }
        Object::Table(table) => {
            let whole = on_schema(want.privilege, &table.schema, global, grants, account);
            if matches!(whole, Cover::Yes(_)) {
                return whole;
            }
            match on_table(want.privilege, &table.schema, &table.name, grants, account) {
                Some(line) => Cover::Yes(line.text.clone()),
                None => on_columns(want.privilege, &table.schema, &table.name, grants, account)
                    .map_or(whole, |line| {
                        Cover::Doubtful(format!("granted on some columns alone: {}", line.text))
                    }),
            }
        }
    }
}

/// The line that gives `privilege` on `*.*`.
fn on_all<'a>(privilege: &str, grants: &'a Grants, account: &Account) -> Option<&'a GrantLine> {
    grants.lines().iter().find(|line| match &line.line {
        Line::Grant {
            granted,
            level: Level::Global,
        } => granted.iter().any(|g| {
            g.name == privilege || (g.name == ALL && is_in_all(privilege, &account.version))
        }),
        _ => false,
    })
}

fn on_schema(
    privilege: &str,
    schema: &str,
    global: Option<&GrantLine>,
    grants: &Grants,
    account: &Account,
) -> Cover {
    if let Some(line) = global {
        let Some(revoked) = revoked(privilege, schema, grants, account) else {
            return Cover::Yes(line.text.clone());
        };
        // What was revoked on a database may still be granted on that database.
        let below = by_pattern(privilege, schema, grants, account);
        return match below {
            Cover::No(_) => Cover::No(Some(format!("granted, but taken back by {}", revoked.text))),
            other => other,
        };
    }
    by_pattern(privilege, schema, grants, account)
}

fn revoked<'a>(
    privilege: &str,
    schema: &str,
    grants: &'a Grants,
    account: &Account,
) -> Option<&'a GrantLine> {
    grants.lines().iter().find(|line| match &line.line {
        Line::Revoke {
            granted,
            level: Level::Schema(name),
        } => same(name, schema, account) && has(granted, privilege),
        _ => false,
    })
}

/// Lines for databases. Where several patterns of one grantee match a name, the servers take the most
/// specific line alone, and do not add them up (MariaDB 10.11 and 11.8 and MySQL 9.7 were asked). MySQL
/// merges the lines of active roles into the account's, and then it cannot be told which was whose.
fn by_pattern(privilege: &str, schema: &str, grants: &Grants, account: &Account) -> Cover {
    let mut matching: Vec<(&GrantLine, &[Granted], usize)> = grants
        .lines()
        .iter()
        .filter_map(|line| match &line.line {
            Line::Grant {
                granted,
                level: Level::Schema(pattern),
            } if schema_matches(pattern, schema, account) => {
                Some((line, granted.as_slice(), specificity(pattern, account)))
            }
            _ => None,
        })
        .collect();
    matching.sort_by_key(|(_, _, specificity)| std::cmp::Reverse(*specificity));
    let may_be_a_roles = account.version.flavor != Flavor::MariaDB && !grants.roles().is_empty();
    let mut shadowed = None;
    for (line, granted, own) in &matching {
        if !has(granted, privilege) {
            continue;
        }
        let rival = matching
            .iter()
            .find(|(other, _, specificity)| other.grantee == line.grantee && specificity > own);
        match rival {
            None => return Cover::Yes(line.text.clone()),
            Some((rival, _, _)) => {
                shadowed.get_or_insert_with(|| {
                    format!(
                        "{} gives it, but the server goes by {} alone, which is more specific",
                        line.text, rival.text
                    )
                });
            }
        }
    }
    match shadowed {
        Some(evidence) if may_be_a_roles => Cover::Doubtful(evidence),
        shadowed => Cover::No(shadowed),
    }
}

fn on_table<'a>(
    privilege: &str,
    schema: &str,
    name: &str,
    grants: &'a Grants,
    account: &Account,
) -> Option<&'a GrantLine> {
    table_lines(schema, name, grants, account)
        .find(|(_, granted)| has(granted, privilege))
        .map(|(line, _)| line)
}

fn on_columns<'a>(
    privilege: &str,
    schema: &str,
    name: &str,
    grants: &'a Grants,
    account: &Account,
) -> Option<&'a GrantLine> {
    table_lines(schema, name, grants, account)
        .find(|(_, granted)| {
            granted
                .iter()
                .any(|g| g.name == privilege && !g.columns.is_empty())
        })
        .map(|(line, _)| line)
}

fn table_lines<'a>(
    schema: &str,
    name: &str,
    grants: &'a Grants,
    account: &Account,
) -> impl Iterator<Item = (&'a GrantLine, &'a [Granted])> {
    grants
        .lines()
        .iter()
        .filter_map(move |line| match &line.line {
            Line::Grant {
                granted,
                level:
                    Level::Table {
                        schema: in_schema,
                        name: of_table,
                    },
            } if same(in_schema, schema, account) && same(of_table, name, account) => {
                Some((line, granted.as_slice()))
            }
            _ => None,
        })
}

/// Whether a database's or table's line has the privilege, on all columns.
fn has(granted: &[Granted], privilege: &str) -> bool {
    granted
        .iter()
        .any(|g| (g.name == privilege || g.name == ALL) && g.columns.is_empty())
}

fn same(a: &str, b: &str, account: &Account) -> bool {
    if account.is_case_folded {
        a.to_lowercase() == b.to_lowercase()
    } else {
        a == b
    }
}

/// Whether a database's line is for `schema`: a pattern with `%`, `_` and `\`, or a literal name where
/// MySQL's partial revokes are on.
fn schema_matches(pattern: &str, schema: &str, account: &Account) -> bool {
    if account.has_partial_revokes && account.version.flavor == Flavor::MySQL {
        return same(pattern, schema, account);
    }
    let fold = |text: &str| -> Vec<char> {
        if account.is_case_folded {
            text.to_lowercase().chars().collect()
        } else {
            text.chars().collect()
        }
    };
    like(&fold(pattern), &fold(schema))
}

fn like(pattern: &[char], name: &[char]) -> bool {
    match pattern {
        [] => name.is_empty(),
        ['%', rest @ ..] => (0..=name.len()).any(|at| like(rest, &name[at..])),
        ['_', rest @ ..] => !name.is_empty() && like(rest, &name[1..]),
        ['\\', escaped, rest @ ..] => name.first() == Some(escaped) && like(rest, &name[1..]),
        [c, rest @ ..] => name.first() == Some(c) && like(rest, &name[1..]),
    }
}

/// How specific a pattern is: the letters before its first wildcard; a name without one is the most.
fn specificity(pattern: &str, account: &Account) -> usize {
    if account.has_partial_revokes && account.version.flavor == Flavor::MySQL {
        return usize::MAX;
    }
    let mut letters = 0;
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        match c {
            '%' | '_' => return letters,
            '\\' => {
                chars.next();
            }
            _ => {}
        }
        letters += 1;
    }
    usize::MAX
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{TableName, Unit};

    fn account(version: &str, lines: &[&str]) -> Account {
        Account {
            current_user: "u@%".into(),
            version: ServerVersion::parse(version),
            grants: Grants::parse(lines.iter().copied()),
            with_roles: None,
            has_partial_revokes: false,
            is_case_folded: false,
        }
    }

    fn need(privilege: &'static str, object: Object) -> Requirement {
        Requirement {
            unit: Unit::Dump,
            want: Want { privilege, object },
            others: Vec::new(),
            why: String::new(),
            not_needed: None,
        }
    }

    fn schema(name: &str) -> Object {
        Object::Schema {
            name: name.into(),
            tables: Vec::new(),
        }
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
        inactive.with_roles = Some(Grants::parse(["GRANT SELECT ON `shop`.* TO `u`@`%`"]));
        let cell = figure(&need("SELECT", schema("shop")), &inactive, "source:a");
        assert_eq!(cell.state, GrantState::Inactive);
        assert_eq!(cell.grant, "SET DEFAULT ROLE ALL TO 'u'@'%';");
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
}
