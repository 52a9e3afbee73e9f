//! What `SHOW GRANTS` of many servers means: the answers in `tests/fixtures/grants`, each with the
//! verdicts that must come of it. Those "from a server" were printed by one that the tests can run;
//! the others are written after manuals, as no such server was at hand.

use std::collections::BTreeMap;
use std::path::Path;

use tideway::model::{GrantState, PrivilegeFigure, ServerVersion, TableName, Unit};
use tideway::privilege::{Account, Grants, Object, Requirement, Role, Want, figure};

/// One account of a file.
#[derive(Default)]
struct Case {
    name: String,
    account: String,
    lines: Vec<String>,
    roles: Vec<(String, Vec<String>)>,
    active: Vec<String>,
    unreadable: Vec<(String, String)>,
    has_partial_revokes: bool,
    /// State or `grant`, then the rest of the line.
    expected: Vec<(String, String)>,
}

struct File {
    server: String,
    from: String,
    cases: Vec<Case>,
}

fn read(path: &Path) -> File {
    let text = std::fs::read_to_string(path).unwrap();
    let mut file = File {
        server: String::new(),
        from: String::new(),
        cases: Vec::new(),
    };
    for line in text.lines() {
        let line = line.trim_end();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let Some(instruction) = line.strip_prefix("@ ") else {
            let case = file.cases.last_mut().unwrap();
            match case.roles.last_mut() {
                Some((_, lines)) => lines.push(line.to_owned()),
                None => case.lines.push(line.to_owned()),
            }
            continue;
        };
        let (word, rest) = instruction.split_once(' ').unwrap();
        let rest = rest.to_owned();
        match word {
            "server" => file.server = rest,
            "from" => file.from = rest,
            "case" => file.cases.push(Case {
                name: rest,
                ..Case::default()
            }),
            _ => {
                let case = file.cases.last_mut().unwrap();
                match word {
                    "account" => case.account = rest,
                    "role" => case.roles.push((rest, Vec::new())),
                    "active" => case.active.push(rest),
                    "partial" => case.has_partial_revokes = true,
                    "unreadable" => {
                        let (role, reason) = rest.split_once(' ').unwrap();
                        case.unreadable.push((role.into(), reason.into()));
                    }
                    _ => case.expected.push((word.into(), rest)),
                }
            }
        }
    }
    file
}

fn parse(lines: &[String]) -> Grants {
    Grants::parse(lines.iter().map(String::as_str))
}

fn account(file: &File, case: &Case) -> Account {
    Account {
        current_user: case.account.clone(),
        version: ServerVersion::parse(&file.server),
        grants: parse(&case.lines),
        active_roles: case.active.clone(),
        idle_roles: case
            .roles
            .iter()
            .map(|(name, lines)| Role {
                name: name.clone(),
                grants: parse(lines),
            })
            .collect(),
        unreadable_roles: case.unreadable.clone(),
        has_partial_revokes: case.has_partial_revokes,
        is_case_folded: false,
        probes: Vec::new(),
    }
}

/// `SELECT shop.*` or `LOCK TABLES shop.orders`, then what else is said.
fn question(text: &str) -> (Requirement, String) {
    let at = text
        .match_indices(' ')
        .map(|(at, _)| at)
        .find(|at| {
            let object = text[at + 1..].split(' ').next().unwrap();
            object.contains('.') || object == "*.*"
        })
        .unwrap_or_else(|| panic!("no object in `{text}`"));
    let (privilege, rest) = (&text[..at], &text[at + 1..]);
    let (object, tail) = rest.split_once(' ').unwrap_or((rest, ""));
    let (schema, table) = object.split_once('.').unwrap();
    let object = match (schema, table) {
        ("*", "*") => Object::Global,
        (schema, "*") => Object::schema(schema),
        (schema, table) => Object::Table(TableName::new(schema, table)),
    };
    // Requirements are made of names that the code knows; a test may leak a few more.
    let privilege: &'static str = Box::leak(privilege.to_owned().into_boxed_str());
    let requirement = Requirement {
        unit: Unit::Sync,
        want: Want { privilege, object },
        others: Vec::new(),
        why: String::new(),
        not_needed: None,
        in_minimum: false,
    };
    (requirement, tail.to_owned())
}

fn word(state: GrantState) -> &'static str {
    match state {
        GrantState::Have => "have",
        GrantState::Missing => "missing",
        GrantState::Inactive => "inactive",
        GrantState::NotNeeded => "not-needed",
        GrantState::Unknown => "unknown",
    }
}

fn judged(cell: &PrivilegeFigure, expected: &str, tail: &str) -> bool {
    match expected {
        "grant" => cell.grant == tail,
        state => word(cell.state) == state && (tail.is_empty() || cell.how == tail),
    }
}

#[test]
fn every_recorded_answer_is_understood() {
    let mut wrong = Vec::new();
    let mut verdicts: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    let mut paths: Vec<_> = std::fs::read_dir("tests/fixtures/grants")
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    for path in paths {
        let file = read(&path);
        assert!(
            ["a server", "the manual"].contains(&file.from.as_str()),
            "{path:?}"
        );
        let figures = verdicts
            .entry(format!("{} (from {})", file.server, file.from))
            .or_default();
        for case in &file.cases {
            let account = account(&file, case);
            assert!(!case.expected.is_empty(), "{path:?}: {}", case.name);
            figures.0 += 1;
            for (expected, text) in &case.expected {
                let (requirement, tail) = question(text);
                let cell = figure(&requirement, &account, "source:a");
                figures.1 += 1;
                if !judged(&cell, expected, &tail) {
                    wrong.push(format!(
                        "{}: {}: expected {expected} {text}, found {cell:#?}",
                        path.display(),
                        case.name
                    ));
                }
                let all = format!("{cell:?}{account:?}");
                for secret in ["7B9EBEED26AA52ED", "ZIgUREUg5PVgQ6"] {
                    assert!(!all.contains(secret), "{path:?}: {}", case.name);
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    for (server, (accounts, cells)) in &verdicts {
        println!("{server}: {accounts} accounts, {cells} verdicts");
    }
    assert!(verdicts.len() >= 10, "{verdicts:?}");
}

/// Whatever a line says, it is read without a panic, and what is not understood gives nothing.
#[test]
fn broken_lines_give_nothing() {
    let whole =
        "GRANT SELECT (`a`, `b`), INSERT ON `sh``op`.`ord ers` TO `u`@`%` WITH GRANT OPTION";
    for cut in 0..=whole.len() {
        if !whole.is_char_boundary(cut) {
            continue;
        }
        let Some(text) = whole.get(..cut) else {
            continue;
        };
        let grants = Grants::parse([text]);
        let is_whole = text.contains(" TO");
        let understood = grants.not_understood().is_none();
        assert_eq!(understood, is_whole, "`{text}`");
    }
}
