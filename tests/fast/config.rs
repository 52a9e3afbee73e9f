//! Configuration files: each in `tests/config/valid` is taken, and each in `tests/config/invalid` is
//! refused with the very text beside it.
//!
//! `TIDEWAY_BLESS=1` writes those texts anew; the difference then shows what has changed.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tideway::config::{Address, Config, ConfigErrors, DEFAULT_TOML, Mode, RelayStart, TlsMode};
use tideway::model::{Error, ErrorKind, Position, TableName};

fn fixtures(folder: &str) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = std::fs::read_dir(Path::new("tests/config").join(folder))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "toml")
        })
        .collect();
    paths.sort();
    assert!(!paths.is_empty());
    paths
}

fn load_invalid(path: &Path) -> ConfigErrors {
    match Config::load(path) {
        Ok(_) => panic!("`{}` is taken, and should not be", path.display()),
        Err(errors) => errors,
    }
}

/// The text of the errors, without what depends on where the tests are run.
fn text_of(errors: &ConfigErrors) -> String {
    let here = std::env::current_dir().unwrap();
    let mut text = errors
        .to_string()
        .replace(&format!("{}/", here.display()), "");
    text.push('\n');
    text
}

#[test]
fn invalid_files_are_refused_with_their_reason() {
    let paths = fixtures("invalid");
    assert!(paths.len() >= 30);
    let mut wrong = Vec::new();
    for path in paths {
        let found = text_of(&load_invalid(&path));
        let beside = path.with_extension("txt");
        if std::env::var_os("TIDEWAY_BLESS").is_some() {
            std::fs::write(&beside, &found).unwrap();
        }
        let expected = std::fs::read_to_string(&beside).unwrap_or_default();
        if found != expected {
            wrong.push(format!(
                "{}\nexpected:\n{expected}found:\n{found}",
                path.display()
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn each_file_has_one_fault_and_shows_its_line() {
    for path in fixtures("invalid") {
        let errors = load_invalid(&path);
        let is_many = path
            .file_stem()
            .is_some_and(|stem| stem == "several_at_once");
        let expected = if is_many { 6 } else { 1 };
        assert_eq!(
            errors.problems().len(),
            expected,
            "{}\n{errors}",
            path.display()
        );
        assert!(
            errors
                .problems()
                .iter()
                .all(|problem| problem.place.is_some())
        );
    }
}

#[test]
fn valid_files_are_taken() {
    for path in fixtures("valid") {
        if let Err(errors) = Config::load(&path) {
            panic!("{errors}");
        }
    }
}

#[test]
fn every_value_arrives() {
    let config = Config::load(Path::new("tests/config/valid/everything.toml")).unwrap();
    assert_eq!(config.worker.meta_schema, "ops_tideway");
    assert_eq!(config.worker.memory_bytes, 128 << 20);
    assert!(config.worker.stop_on_hangup && config.worker.log_json);
    assert_eq!(config.console.keys["pause"], "ctrl-p");
    let a = config.source("orders-a").unwrap();
    assert_eq!(a.server.address.to_string(), "[::1]:3307");
    assert_eq!(a.server.tls.mode, TlsMode::Required);
    assert_eq!(a.server.password.as_ref().unwrap().expose(), "pass word");
    assert_eq!(
        a.relay.start,
        RelayStart::Position(Position::new("bin.000123", 4))
    );
    assert_eq!(a.relay.purge_after, Duration::from_hours(36));
    let b = config.source("orders-b").unwrap();
    assert_eq!(
        b.server.address,
        Address::Socket("/run/mysqld/mysqld.sock".into())
    );
    assert_eq!(b.relay.start, RelayStart::Now);
    let merge = &config.tasks[0];
    assert_eq!(
        merge.routes.target(&TableName::new("shop_1", "orders_2")),
        TableName::new("shop", "orders")
    );
    assert!(merge.selection.takes(&TableName::new("odd.name", "t")));
    assert!(!merge.selection.takes(&TableName::new("shop_1", "tmp_1")));
    assert_eq!(merge.filters.len(), 2);
    assert!(!merge.is_autostart);
    let accepted = |server, found| merge.acceptance("keys", server, found);
    assert_eq!(
        accepted(Some("orders-a"), "1 without: shop_1.log").map(|a| a.reason.as_str()),
        Some("it never had one")
    );
    assert!(accepted(Some("orders-b"), "1 without: shop_1.log").is_none());
    assert!(accepted(Some("orders-a"), "1 without: shop_1.audit").is_none());
    assert_eq!(config.tasks[1].mode, Mode::Incremental);
}

#[test]
fn the_commented_file_has_the_defaults() {
    let path = Path::new("tests/config/valid/minimal.toml");
    let minimal = std::fs::read_to_string(path).unwrap();
    // What is required, or is an example, is taken over; all else must come out alike.
    let written = DEFAULT_TOML.replace(r#", "!shop.tmp_*""#, "").replace(
        "name = \"tidb\"                     # required\nhost = \"127.0.0.1\"\nport = 3306",
        "name = \"tidb\"\nhost = \"127.0.0.1\"\nport = 4000",
    );
    let written = Config::parse(&written, path).unwrap_or_else(|errors| panic!("{errors}"));
    let minimal = Config::parse(&minimal, path).unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(format!("{written:#?}"), format!("{minimal:#?}"));
}

#[test]
fn every_key_is_in_the_commented_file() {
    // The loader refuses a key it does not know, so taking out the marks of comment proves the rest too.
    for key in [
        "password_file",
        "tls_ca",
        "tls_cert",
        "server_id",
        "[source.heartbeat]",
        "back_off",
        "[[task.route]]",
        "[[task.filter]]",
        "[[task.on_event]]",
        "[[task.accept]]",
    ] {
        assert!(DEFAULT_TOML.contains(key), "{key}");
    }
}

#[test]
fn the_demos_file_is_taken() {
    let path = Path::new("demo/tideway.toml");
    // Its passwords come from the environment that `demo/run` sets.
    let text = std::fs::read_to_string(path).unwrap();
    let lines: Vec<&str> = text
        .lines()
        .filter(|line| !line.starts_with("password_env"))
        .collect();
    let text = lines.join("\n");
    Config::parse(&text, path).unwrap_or_else(|errors| panic!("{errors}"));
}

#[test]
fn a_missing_file_says_so() {
    let errors = load_invalid(Path::new("tests/config/no-such.toml"));
    assert_eq!(
        errors.to_string(),
        "error: tests/config/no-such.toml: there is no such configuration file\n\
         fix: name another with `--config`, or write one"
    );
}

#[test]
fn one_error_reports_all_problems() {
    let errors = load_invalid(Path::new("tests/config/invalid/several_at_once.toml"));
    let text = errors.to_string();
    let error = Error::from(errors);
    assert_eq!(error.kind(), ErrorKind::Config);
    assert_eq!(error.report(), text);
}

#[test]
fn no_secret_is_told() {
    let text =
        "[[source]]\nname = \"a\"\npassword = [\"hunter2\"]\npassword_env = 5\nhost = \"h\"\n";
    let errors = Config::parse(text, Path::new("x.toml")).unwrap_err();
    assert!(!errors.to_string().contains("hunter2"));
    let text = "[[source]]\nname = \"a\"\npassword = \"hunter2\nhost = \"h\"\n";
    let errors = Config::parse(text, Path::new("x.toml")).unwrap_err();
    assert!(!errors.to_string().contains("hunter2"), "{errors}");
}

#[test]
fn a_misspelt_key_is_one_problem() {
    let text = std::fs::read_to_string("tests/config/valid/minimal.toml").unwrap();
    let errors = Config::parse(&text.replace("tables", "tabels"), Path::new("x.toml")).unwrap_err();
    assert_eq!(
        errors.to_string(),
        "error: x.toml:16:1: unknown key `tabels` in `[[task]]`\n\
         fix: write `tables`, if that is meant"
    );
}

#[test]
fn steering_a_worker_needs_no_password() {
    let path = Path::new("demo/tideway.toml");
    assert!(std::env::var_os("TIDEWAY_SOURCE_PASSWORD").is_none());
    let config = Config::load_without_secrets(path).unwrap_or_else(|errors| panic!("{errors}"));
    assert!(
        config
            .sources
            .iter()
            .all(|source| source.server.password.is_none())
    );
    assert!(Config::load(path).is_err());
}
