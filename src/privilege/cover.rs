//! Whether the lines of `SHOW GRANTS` cover a privilege on an object.

use crate::model::Flavor;

use super::account::Account;
use super::grants::{GrantLine, Granted, Grants, Level, Line};
use super::name::{ALL, is_in_all};
use super::need::{Object, Want};

/// How a privilege is covered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Cover {
    /// By this.
    Yes(By),
    /// It could be, but how the server decides is not certain.
    Doubtful(String),
    /// Not; with what is to be said about it.
    No(Option<String>),
}

/// What covers it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct By {
    /// The line, or what is to be said.
    pub(super) evidence: String,
    /// Whom the line is for: the account, a role, `PUBLIC`; empty where it is several.
    pub(super) grantee: String,
}

impl By {
    fn line(line: &GrantLine) -> Self {
        Self {
            evidence: line.text.clone(),
            grantee: line.grantee.clone(),
        }
    }
}

/// Whether the lines cover `want`, or one of the lists that do as well.
pub(super) fn covered(
    want: &Want,
    others: &[Vec<Want>],
    grants: &Grants,
    account: &Account,
) -> Cover {
    let first = cover(want, grants, account);
    if matches!(first, Cover::Yes(_)) {
        return first;
    }
    for group in others {
        let by: Vec<By> = group
            .iter()
            .filter_map(|want| match cover(want, grants, account) {
                Cover::Yes(by) => Some(by),
                Cover::Doubtful(_) | Cover::No(_) => None,
            })
            .collect();
        if !group.is_empty() && by.len() == group.len() {
            let evidence: Vec<&str> = by.iter().map(|by| by.evidence.as_str()).collect();
            return Cover::Yes(By {
                evidence: evidence.join("; "),
                grantee: by
                    .into_iter()
                    .next()
                    .map_or_else(String::new, |by| by.grantee),
            });
        }
    }
    first
}

fn cover(want: &Want, grants: &Grants, account: &Account) -> Cover {
    let global = on_all(want.privilege, grants, account);
    match &want.object {
        Object::Global => match (global, taken_back(want.privilege, grants)) {
            (None, _) => Cover::No(None),
            (Some(line), None) => Cover::Yes(By::line(line)),
            (Some(line), Some(revoke)) => Cover::Doubtful(format!(
                "{}, but {} takes it back in places",
                line.text, revoke.text
            )),
        },
        Object::Schema { name, tables } => {
            let whole = on_schema(want.privilege, name, global, grants, account);
            if matches!(whole, Cover::Yes(_)) || tables.is_empty() {
                return whole;
            }
            let all_tables = tables.iter().all(|table| {
                on_table(want.privilege, &table.schema, &table.name, grants, account).is_some()
            });
            if all_tables {
                Cover::Yes(By {
                    evidence: format!(
                        "granted on each of {} tables; a table that is made later is not among them",
                        tables.len()
                    ),
                    grantee: String::new(),
                })
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
                Some(line) => Cover::Yes(By::line(line)),
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
            return Cover::Yes(By::line(line));
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

/// A line that takes `privilege` back on some database, whichever.
fn taken_back<'a>(privilege: &str, grants: &'a Grants) -> Option<&'a GrantLine> {
    grants.lines().iter().find(|line| match &line.line {
        Line::Revoke { granted, .. } => has(granted, privilege),
        _ => false,
    })
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
            None => return Cover::Yes(By::line(line)),
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

/// `LIKE` as the servers match names of databases.
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
