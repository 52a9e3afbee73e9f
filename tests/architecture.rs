//! The shape of the house, as `src/lib.rs` draws it: who may use whom, and a few plain rules.
//!
//! It reads the sources as text. Each rule is also tried on a breach of it, so that a rule that has
//! stopped to bite fails here too.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on fails"
)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use regex::Regex;

/// A module, and what of ours it may use besides itself. `unit` stands for all units.
const EDGES: &[(&str, &[&str])] = &[
    ("model", &[]),
    // Rules and parsing, one layer. A row's decoding needs the structure of its table; the literal of a
    // value needs the reading of binary JSON.
    ("schema", &["model", "binlog"]),
    ("binlog", &["model", "schema"]),
    ("route", &["model"]),
    ("privilege", &["model"]),
    // Validated plain structs; anyone from `connect` up may read them.
    ("config", &["model", "route"]),
    // Our replication client takes frames apart: events and their checksums are `binlog`'s.
    ("connect", &["model", "config", "binlog"]),
    ("relay_log", &["model", "binlog", "schema"]),
    ("dump_files", &["model", "binlog", "schema"]),
    (
        "source",
        &[
            "model",
            "config",
            "connect",
            "binlog",
            "schema",
            "route",
            "privilege",
        ],
    ),
    (
        "target",
        &[
            "model",
            "config",
            "connect",
            "binlog",
            "schema",
            "route",
            "privilege",
        ],
    ),
    // What dump and load count alike; no unit itself.
    ("unit::transfer", &["model"]),
    ("unit::relay", BELOW_UNITS),
    ("unit::dump", BELOW_UNITS),
    ("unit::load", BELOW_UNITS),
    ("unit::sync", BELOW_UNITS),
    ("job::browse", BELOW_UNITS),
    ("job::check", BELOW_UNITS),
    ("job::compare", BELOW_UNITS),
    // The only door: plain types.
    ("control", &["model"]),
    (
        "runtime",
        &[
            // The ring of newest lines, which a snapshot shows.
            "log",
            "model",
            "config",
            "connect",
            "binlog",
            "schema",
            "route",
            "privilege",
            "source",
            "target",
            "relay_log",
            "dump_files",
            "unit",
            "job",
            "control",
        ],
    ),
    // A ring of lines for the screen, in the door's form.
    ("log", &["model", "control", "config"]),
    ("remote", &["model", "control"]),
    ("ui", &["model", "control", "config::console", "terminal"]),
    // `model` for its error alone.
    ("terminal", &["model"]),
];

const BELOW_UNITS: &[&str] = &[
    "model",
    "config",
    "connect",
    "binlog",
    "schema",
    "route",
    "privilege",
    "source",
    "target",
    "relay_log",
    "dump_files",
    "unit::transfer",
];

/// The places where the parts meet: they may use everything.
const MEETING_PLACES: &[&str] = &["cli", "app", "main", "lib", "build"];

/// A crate, and the only modules that may name it (besides the meeting places).
const CRATES: &[(&str, &[&str])] = &[
    ("ratatui", &["ui"]),
    ("tui_input", &["ui"]),
    ("crossterm", &["ui", "terminal"]),
    ("rustls", &["connect"]),
    ("tokio_rustls", &["connect"]),
    ("toml", &["config", "ui"]),
];

/// Modules of rules: no sockets, no files, no tasks.
const PURE: &[&str] = &["model", "binlog", "schema", "route", "privilege"];

/// What rules must not name.
const IMPURE: &[&str] = &[
    "tokio::",
    "std::fs",
    "TcpStream",
    "TcpListener",
    "UdpSocket",
    "UnixStream",
    "std::process",
    "mysql_async::",
];

/// Where tasks are spawned.
const SUPERVISOR: &str = "src/runtime/supervisor.rs";

/// The most lines a file may have, and the files that may have more, with the reason.
const LINE_LIMIT: usize = 800;
const LONG_FILES: &[(&str, &str)] = &[];

/// Words that mean something is not finished.
const UNFINISHED: &[&str] = &[
    concat!("to", "do!("),
    concat!("unimple", "mented!("),
    concat!("d", "bg!("),
    concat!("FIX", "ME"),
    concat!("#[ig", "nore"),
];

#[test]
fn the_house_stands() {
    let files = sources();
    assert!(files.len() > 50, "only {} files were found", files.len());
    let found: Vec<String> = files
        .iter()
        .flat_map(|(path, text)| breaches(path, text))
        .collect();
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

#[test]
fn each_module_has_its_place_in_the_table() {
    let modules: BTreeSet<String> = sources()
        .iter()
        .filter(|(path, _)| path.starts_with("src/"))
        .map(|(path, _)| module(path))
        .collect();
    for known in modules {
        let is_listed = EDGES.iter().any(|(name, _)| *name == known)
            || MEETING_PLACES.contains(&known.as_str())
            || known == "unit"
            || known == "job";
        assert!(is_listed, "module `{known}` is not in the table of edges");
    }
}

#[test]
fn long_files_that_were_excused_are_still_long() {
    for (path, reason) in LONG_FILES {
        assert!(!reason.is_empty(), "{path} is excused without a reason");
        let lines = fs::read_to_string(root().join(path))
            .unwrap()
            .lines()
            .count();
        assert!(
            lines > LINE_LIMIT,
            "{path} has {lines} lines and needs no excuse"
        );
    }
}

/// The tests that the table in `tests/servers/main.rs` names for each rule on data are there.
#[test]
fn each_rule_on_data_names_tests_that_exist() {
    let files = sources();
    let has = |path: &str, test: &str| {
        let wanted = format!("fn {test}(");
        let mut files = files.iter();
        files.any(|(name, text)| name.starts_with(path) && text.contains(&wanted))
    };
    let table = fs::read_to_string(root().join("tests/servers/main.rs")).unwrap();
    let rows: Vec<&str> = table
        .lines()
        .filter_map(|line| line.strip_prefix("//! | "))
        .skip(1)
        .filter(|row| !row.starts_with("---"))
        .collect();
    assert!(rows.len() > 40, "only {} rules were found", rows.len());
    let named = Regex::new(r"`(?:(\w+)::)?(\w+)`").unwrap();
    let mut missing = Vec::new();
    for row in rows {
        let (_, tests) = row.split_once(" | ").unwrap_or((row, ""));
        let tests: Vec<_> = named.captures_iter(tests).collect();
        if tests.is_empty() {
            missing.push(format!("no test is named: {row}"));
        }
        for test in tests {
            let place = match test.get(1) {
                Some(module) => format!("tests/servers/{}.rs", module.as_str()),
                None => "src/".to_owned(),
            };
            if !has(&place, &test[2]) {
                missing.push(format!("`{}` is not in {place}: {row}", &test[2]));
            }
        }
    }
    assert!(missing.is_empty(), "\n{}", missing.join("\n"));
}

#[test]
fn each_rule_catches_its_breach() {
    let long = "x\n".repeat(LINE_LIMIT);
    let unfinished = format!("fn f() {{ {}) }}", UNFINISHED[0]);
    for (path, body, expected) in [
        (
            "src/model/a.rs",
            "use crate::binlog::Header;",
            "`model` uses `binlog`",
        ),
        (
            "src/ui/a.rs",
            "use crate::{\n    control::Handle,\n    runtime::Supervisor,\n};",
            "`ui` uses `runtime`",
        ),
        (
            "src/ui/a.rs",
            "use crate::{control::{self, Snapshot}, source};",
            "`ui` uses `source`",
        ),
        (
            "src/ui/a.rs",
            "use crate::config::TaskConfig;",
            "`ui` uses `config`",
        ),
        (
            "src/ui/a.rs",
            "fn f() { crate::unit::sync::run(); }",
            "`ui` uses `unit::sync`",
        ),
        ("src/ui/a.rs", "use tideway::target;", "`ui` uses `target`"),
        (
            "src/ui/screen/a.rs",
            "use super::super::super::runtime;",
            "`ui` uses `runtime`",
        ),
        (
            "src/unit/sync/a.rs",
            "use crate::unit::load::run;",
            "`unit::sync` uses `unit::load`",
        ),
        (
            "src/unit/sync/a.rs",
            "use crate::unit::{load, sync};",
            "`unit::sync` uses `unit::load`",
        ),
        (
            "src/unit/sync/a.rs",
            "use super::super::dump::run;",
            "`unit::sync` uses `unit::dump`",
        ),
        (
            "src/unit/load.rs",
            "use crate::job::compare;",
            "`unit::load` uses `job::compare`",
        ),
        (
            "src/job/check/a.rs",
            "use crate::job::compare;",
            "`job::check` uses `job::compare`",
        ),
        (
            "src/unit/relay/a.rs",
            "use crate::runtime::retry;",
            "`unit::relay` uses `runtime`",
        ),
        (
            "src/unit/relay/a.rs",
            "use crate::control;",
            "`unit::relay` uses `control`",
        ),
        (
            "src/remote/a.rs",
            "use crate::runtime;",
            "`remote` uses `runtime`",
        ),
        (
            "src/binlog/a.rs",
            "async fn f() { tokio::task::yield_now().await }",
            "`tokio::`",
        ),
        ("src/schema/a.rs", "use std::fs;", "`std::fs`"),
        (
            "src/runtime/stream.rs",
            "fn f() { tokio::spawn(async {}); }",
            "spawns a task",
        ),
        (
            "src/runtime/stream.rs",
            "use tokio::task::spawn;",
            "spawns a task",
        ),
        ("src/runtime/a.rs", "use ratatui::Frame;", "`ratatui`"),
        ("src/source/a.rs", "use rustls::Error;", "`rustls`"),
        (
            "src/unit/sync/a.rs",
            "fn f() { TcpStream::connect(a); }",
            "opens a connection",
        ),
        (
            "src/target/a.rs",
            "fn f() { mysql_async::Conn::new(o); }",
            "opens a connection",
        ),
        ("src/model/a.rs", &long, "lines"),
        ("src/model/a.rs", &unfinished, "unfinished"),
    ] {
        let found = breaches(path, &format!("//! A module.\n{body}\n"));
        assert!(
            found.iter().any(|breach| breach.contains(expected)),
            "not caught in {path}: {body:.80}\nfound: {found:?}"
        );
    }
    assert!(breaches("src/model/a.rs", "use std::fmt;\n")[0].contains("//!"));
    let sound = "//! See `crate::runtime`.\nuse crate::control::{Handle, Snapshot};\nuse crate::model;\nuse super::theme;\n\
                 // crate::runtime is not used\nuse crate::config::console::Color;\n";
    assert_eq!(breaches("src/ui/a.rs", sound), Vec::<String>::new());
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Every Rust file of the project: its path from the top, and its text.
fn sources() -> Vec<(String, String)> {
    let mut found = Vec::new();
    for folder in ["src", "tests"] {
        walk(&root().join(folder), &mut found);
    }
    found
}

fn walk(folder: &Path, found: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            walk(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let name = path.strip_prefix(root()).unwrap().display().to_string();
            found.push((name, fs::read_to_string(&path).unwrap()));
        }
    }
}

/// What a file does against the rules, as sentences.
fn breaches(path: &str, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    if !text.starts_with("//!") && path != "src/main.rs" {
        found.push(format!(
            "{path}: does not start with `//!` and what it is for"
        ));
    }
    let lines = text.lines().count();
    if lines > LINE_LIMIT && !LONG_FILES.iter().any(|(name, _)| *name == path) {
        found.push(format!("{path}: {lines} lines, {LINE_LIMIT} are allowed"));
    }
    let code = without_comments(text);
    for word in UNFINISHED {
        if code.contains(word) && path != "tests/architecture.rs" {
            found.push(format!("{path}: unfinished: `{word}`"));
        }
    }
    let place = module(path);
    if !path.starts_with("src/") || MEETING_PLACES.contains(&place.as_str()) {
        return found;
    }
    for used in uses(path, &code) {
        if !is_allowed(&place, &used) {
            found.push(format!("{path}: `{place}` uses `{}`", shown(&used)));
        }
    }
    // What is built for tests alone may use more of the outside world.
    let shipped = code.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
    let shipped = if path.ends_with("tests.rs") {
        ""
    } else {
        shipped
    };
    if PURE.contains(&place.as_str()) {
        for word in IMPURE.iter().filter(|word| shipped.contains(**word)) {
            found.push(format!("{path}: rules do without `{word}`"));
        }
    }
    for (name, homes) in CRATES {
        let named = Regex::new(&format!(r"\b{name}::")).unwrap();
        if named.is_match(shipped) && !homes.iter().any(|home| place.starts_with(home)) {
            found.push(format!("{path}: `{name}` belongs to {homes:?}"));
        }
    }
    let spawn =
        Regex::new(r"\btokio::spawn\b|\btask::(spawn\b|spawn_local\b|\{[^}]*\bspawn\b)").unwrap();
    if path != SUPERVISOR && spawn.is_match(shipped) {
        found.push(format!("{path}: spawns a task; only {SUPERVISOR} does"));
    }
    let open = Regex::new(r"\bTcpStream::connect\b|\bUnixStream::connect\b|\bConn::new\b").unwrap();
    if !matches!(place.as_str(), "connect" | "remote") && open.is_match(shipped) {
        found.push(format!("{path}: opens a connection; only `connect` does"));
    }
    found
}

/// The module that a file belongs to: the first name, and for units and jobs the second.
fn module(path: &str) -> String {
    let names = module_path(path);
    match names.as_slice() {
        [] => "lib".to_owned(),
        [group, name, ..] if group == "unit" || group == "job" => format!("{group}::{name}"),
        [name, ..] => name.clone(),
    }
}

/// `src/unit/sync/reader.rs` is `unit`, `sync`, `reader`.
fn module_path(path: &str) -> Vec<String> {
    let inner = path.trim_start_matches("src/").trim_end_matches(".rs");
    inner
        .split('/')
        .filter(|name| *name != "mod" && *name != "lib")
        .map(str::to_owned)
        .collect()
}

/// All paths into this crate that the code names, from its root.
fn uses(path: &str, code: &str) -> BTreeSet<Vec<String>> {
    let start = Regex::new(r"\b(crate|tideway|(?:super::)*super)::").unwrap();
    // An inline module is one level further down: there, `super` is the file's own module.
    let inline = code.find("#[cfg(test)]\nmod ").unwrap_or(code.len());
    let mut found = BTreeSet::new();
    for hit in start.captures_iter(code) {
        let (whole, head) = (hit.get(0).unwrap(), hit.get(1).unwrap().as_str());
        // A name in a text, such as a log target, is no use of the module.
        if code[..whole.start()].ends_with('"') {
            continue;
        }
        let mut base = Vec::new();
        if head.starts_with("super") {
            base = module_path(path);
            let levels = head.matches("super").count() - usize::from(whole.start() > inline);
            if levels > base.len() {
                continue;
            }
            base.truncate(base.len() - levels);
        }
        for mut tail in tree(&code[whole.end()..]) {
            let mut full = base.clone();
            full.append(&mut tail);
            found.insert(full);
        }
    }
    found
}

/// The paths of a use tree at the beginning of `text`: `a::{b, c::d}` is `a b` and `a c d`.
fn tree(text: &str) -> Vec<Vec<String>> {
    let text = text.trim_start();
    if let Some(inner) = text.strip_prefix('{') {
        let mut depth = 0;
        let mut parts = vec![String::new()];
        for letter in inner.chars() {
            match letter {
                '}' if depth == 0 => break,
                ',' if depth == 0 => {
                    parts.push(String::new());
                    continue;
                }
                '{' => depth += 1,
                '}' => depth -= 1,
                _ => {}
            }
            parts.last_mut().unwrap().push(letter);
        }
        return parts.iter().flat_map(|part| tree(part)).collect();
    }
    let name: String = text
        .chars()
        .take_while(|letter| letter.is_alphanumeric() || *letter == '_')
        .collect();
    if name.is_empty() {
        return Vec::new();
    }
    let rest = &text[name.len()..];
    let mut paths = match rest.strip_prefix("::") {
        Some(rest) => tree(rest),
        None => Vec::new(),
    };
    if paths.is_empty() {
        paths.push(Vec::new());
    }
    for path in &mut paths {
        path.insert(0, name.clone());
    }
    paths
}

fn is_allowed(place: &str, used: &[String]) -> bool {
    let Some(first) = used.first() else {
        return true;
    };
    // A macro or an item of the crate's root is not a module.
    let known = EDGES
        .iter()
        .any(|(name, _)| name.split("::").next() == Some(first));
    let own = |name: &str| shown(used) == name || used.join("::").starts_with(&format!("{name}::"));
    if !known && !MEETING_PLACES.contains(&first.as_str()) || own(place) {
        return true;
    }
    let allowed = EDGES
        .iter()
        .find(|(name, _)| *name == place)
        .map_or(&[] as &[&str], |(_, allowed)| allowed);
    allowed.iter().any(|name| own(name))
        // The console's settings are given on at the root of `config` too.
        || place == "ui" && used.len() > 1 && first == "config" && is_console_setting(&used[1])
}

fn is_console_setting(name: &str) -> bool {
    matches!(name, "console" | "ConsoleConfig")
}

/// The module of a path, as the table names it.
fn shown(used: &[String]) -> String {
    match used {
        [group, name, ..] if group == "unit" || group == "job" => format!("{group}::{name}"),
        [name, ..] => name.clone(),
        [] => String::new(),
    }
}

fn without_comments(text: &str) -> String {
    text.lines()
        .map(|line| {
            if line.trim_start().starts_with("//") {
                ""
            } else {
                line
            }
        })
        .collect::<Vec<_>>()
        .join("\n")
}
