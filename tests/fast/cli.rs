//! The command line with nothing behind it: exit codes, and errors that say what, where and how to
//! mend it.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use tempfile::TempDir;

const SOUND: &str = r#"
[[source]]
name = "a"
host = "127.0.0.1"
port = 1
user = "tideway"
password = "s3cret"

[[target]]
name = "copy"
host = "127.0.0.1"
port = 1
user = "tideway"
password = "s3cret"

[[task]]
name = "shop"
sources = ["a"]
target = "copy"
tables = ["shop.*"]
"#;

fn tideway(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tideway"))
        .args(arguments)
        .current_dir(folder)
        .output()
        .unwrap()
}

/// Runs `check` on a configuration; stderr must hold these parts, and the exit code must be 2.
fn assert_refused(config: &str, parts: &[&str]) {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("tideway.toml"), config).unwrap();
    for command in ["check", "run", "compare"] {
        assert_told(&tideway(folder.path(), &[command]), 2, parts);
    }
}

fn assert_told(output: &Output, code: i32, parts: &[&str]) {
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "stderr: {text}");
    for part in parts {
        assert!(text.contains(part), "`{part}` is not told in:\n{text}");
    }
    assert!(!text.contains("panicked"), "{text}");
    assert!(!text.contains("s3cret"), "{text}");
}

#[test]
fn a_missing_configuration_is_told() {
    let folder = TempDir::new().unwrap();
    let output = tideway(folder.path(), &["check"]);
    assert_told(&output, 2, &["error:", "tideway.toml", "fix:"]);
    let output = tideway(folder.path(), &["--config", "elsewhere.toml", "run"]);
    assert_told(&output, 2, &["error:", "elsewhere.toml", "fix:"]);
}

#[test]
fn an_unreadable_configuration_is_told() {
    let folder = TempDir::new().unwrap();
    fs::create_dir(folder.path().join("tideway.toml")).unwrap();
    assert_told(
        &tideway(folder.path(), &["check"]),
        2,
        &["error:", "tideway.toml"],
    );
    fs::write(
        folder.path().join("bytes.toml"),
        b"[worker]\nx = \"\xFF\xFE\"\n",
    )
    .unwrap();
    let output = tideway(folder.path(), &["--config", "bytes.toml", "check"]);
    assert_told(&output, 2, &["error:", "bytes.toml"]);
}

#[test]
fn an_unknown_key_names_its_place_and_the_nearest_one() {
    let config = SOUND.replace("tables = ", "tabels = ");
    assert_refused(&config, &["tideway.toml:20:1", "`tabels`", "`tables`"]);
}

#[test]
fn a_wrong_type_names_its_place() {
    let config = SOUND.replacen("port = 1", "port = \"one\"", 1);
    assert_refused(&config, &["tideway.toml:5:8", "port"]);
}

#[test]
fn two_tasks_of_one_name_are_refused() {
    let task = &SOUND[SOUND.find("[[task]]").unwrap()..];
    assert_refused(&format!("{SOUND}\n{task}"), &["`shop`", "tideway.toml:23"]);
}

#[test]
fn all_problems_are_told_at_once() {
    let config = SOUND
        .replace("tables = ", "tabels = ")
        .replace("target = \"copy\"", "target = \"nowhere\"")
        .replacen("port = 1", "port = 99999", 1);
    assert_refused(&config, &["tabels", "nowhere", "99999"]);
}

#[test]
fn what_comes_later_is_refused_with_a_plain_word() {
    let config = format!("[worker]\nmetrics = \"127.0.0.1:9099\"\n{SOUND}");
    assert_refused(&config, &["metrics", "not yet"]);
}

#[test]
fn usage_errors_exit_with_2() {
    let folder = TempDir::new().unwrap();
    assert_told(
        &tideway(folder.path(), &["--no-such-option"]),
        2,
        &["error:", "--no-such-option"],
    );
    assert_told(
        &tideway(folder.path(), &["no-such-command"]),
        2,
        &["error:", "no-such-command"],
    );
}

#[test]
fn without_a_terminal_the_console_and_a_missing_password_are_errors() {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("tideway.toml"), SOUND).unwrap();
    assert_told(
        &tideway(folder.path(), &[]),
        2,
        &["error:", "terminal", "fix:"],
    );
    let config = SOUND.replacen("password = \"s3cret\"\n", "", 1);
    assert_refused(&config, &["password", "fix:"]);
}

#[test]
fn nobody_to_ask_is_told() {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("tideway.toml"), SOUND).unwrap();
    assert_told(
        &tideway(folder.path(), &["status", "--json"]),
        1,
        &["error:", "fix:", "tideway run"],
    );
    let output = tideway(
        folder.path(),
        &["ctl", "pause", "--task", "shop", "--source", "a"],
    );
    assert_told(&output, 1, &["error:", "fix:"]);
}

#[test]
fn the_version_names_the_commit() {
    let output = tideway(Path::new("."), &["--version"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        text.starts_with(&format!("tideway {}", env!("CARGO_PKG_VERSION"))),
        "{text}"
    );
    let commit = Command::new("git")
        .args(["rev-parse", "--short=7", "HEAD"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output();
    // Outside a checkout there is no commit to name.
    if let Ok(commit) = commit
        && commit.status.success()
    {
        let commit = String::from_utf8(commit.stdout).unwrap();
        assert!(text.contains(commit.trim()), "{text}, not {commit}");
    }
}
