//! What the checks found before a start, accepted from the keyboard.

use tideway::control::{CheckState, Command, Finding, Snapshot, StopError};
use tideway::model::{ErrorKind, Stage, Unit};
use tideway::ui::effect::Effect;
use tideway::ui::reducer;

use super::screens::check;
use super::{Console, fixtures};

/// Other findings than those that were shown.
fn found_anew(console: &mut Console, change: impl Fn(&mut Vec<Finding>)) {
    let mut snapshot = (*console.state.newest).clone();
    for stop in snapshot.streams.iter_mut().filter_map(|s| s.stop.as_mut()) {
        change(&mut stop.findings);
        stop.stop_id.push('x');
    }
    let now = console.state.now;
    reducer::on_snapshot(&mut console.state, std::sync::Arc::new(snapshot), now);
}

/// A stream that the checks keep from beginning: by warnings alone, or by failures too.
fn snapshot(has_failures: bool) -> Snapshot {
    let mut snapshot = fixtures::failing();
    let finding = |name: &str, scope: &str, state, found: &str, mend: &str| Finding {
        name: name.into(),
        scope: scope.into(),
        state,
        found: found.into(),
        why: "rows are found by it".into(),
        mend: mend.into(),
    };
    let mut findings = Vec::new();
    if has_failures {
        findings.push(finding(
            "privileges",
            "target:tidb",
            CheckState::Fail,
            "missing: INDEX on `shop`.* (sync)",
            "GRANT INDEX ON `shop`.* TO 'tideway'@'10.%';",
        ));
    }
    findings.push(finding(
        "keys",
        "task:orders",
        CheckState::Warn,
        "1 of `mysql-01` without: shop.log",
        "ALTER TABLE `shop`.`log` ADD COLUMN id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY;",
    ));
    for stream in &mut snapshot.streams {
        if let Some(stop) = &mut stream.stop {
            if !has_failures {
                stream.stage = Stage::Waiting;
            }
            stop.unit = Unit::Dump;
            stop.position = None;
            stop.event = None;
            stop.transaction = None;
            stop.target_rows.clear();
            stop.statement = None;
            stop.error = StopError {
                kind: ErrorKind::Checks,
                number: 0,
                sqlstate: String::new(),
                message: if has_failures {
                    "the checks keep it from beginning: `privileges` (target:tidb)".into()
                } else {
                    "the checks ask before the start: `keys` (task:orders)".into()
                },
                cause: None,
                fix: None,
                refused: None,
            };
            stop.choices = vec!["retry".into(), "accept".into()];
            stop.findings.clone_from(&findings);
        }
    }
    snapshot
}

fn asked(has_failures: bool, size: (u16, u16)) -> Console {
    let mut console = Console::new(snapshot(has_failures), size);
    console.press("!");
    console
}

/// Half a second later: a person has read what opened.
fn wait(console: &mut Console) {
    console.state.now.0 += 500_000;
}

fn names(effects: &[Effect]) -> Vec<String> {
    let [Effect::Send(Command::Accept { scope, names, .. })] = effects else {
        panic!("{effects:?}");
    };
    assert_eq!(scope.task.as_deref(), Some("orders"));
    assert_eq!(scope.source.as_deref(), Some("mysql-01"));
    names.clone()
}

#[test]
fn what_was_found_is_shown_and_asked_about() {
    for size in [(80, 24), (160, 45), (60, 15)] {
        for (has_failures, name) in [(false, "warning"), (true, "failure")] {
            let mut console = asked(has_failures, size);
            check(&format!("asked-{name}"), &console);
            console.press("a");
            check(&format!("accept-{name}"), &console);
        }
    }
}

#[test]
fn warnings_are_accepted_by_a_second_key_that_was_not_typed_ahead() {
    let mut console = asked(false, (80, 24));
    assert_eq!(console.press("a a"), []);
    wait(&mut console);
    assert_eq!(console.press("enter"), []);
    assert_eq!(names(&console.press("a")), ["keys"]);
    assert!(console.state.dialog.is_none());
    console.press("a");
    console.press("esc");
    assert!(console.state.dialog.is_none());
}

#[test]
fn failures_are_accepted_by_the_sources_name() {
    let mut console = asked(true, (80, 24));
    console.press("a");
    wait(&mut console);
    assert_eq!(console.press("a enter"), []);
    reducer::on_paste(&mut console.state, "mysql-01");
    assert_eq!(console.press("enter"), []);
    console.press("backspace");
    let effects = console.press("m y s q l - 0 1 enter");
    assert_eq!(names(&effects), ["keys", "privileges"]);
}

/// The checks run again every 30 s.
#[test]
fn the_question_stays_while_the_same_is_found() {
    let mut console = asked(true, (80, 24));
    console.press("a");
    wait(&mut console);
    console.press("m y s q l");
    found_anew(&mut console, |findings| {
        // Figures move.
        findings[1].found = "2 of `mysql-01` without: shop.log".into();
    });
    assert!(console.state.dialog.is_some());
    let effects = console.press("- 0 1 enter");
    assert_eq!(names(&effects), ["keys", "privileges"]);
    let [Effect::Send(Command::Accept { findings, .. })] = effects.as_slice() else {
        panic!("{effects:?}");
    };
    assert!(findings[1].found.starts_with("2 of"), "{findings:?}");
}

#[test]
fn something_else_that_is_found_is_shown_and_asked_about_anew() {
    let mut console = asked(false, (80, 24));
    console.press("a");
    wait(&mut console);
    found_anew(&mut console, |findings| {
        let mut other = findings[0].clone();
        other.name = "disk".into();
        other.scope = "worker".into();
        other.found = "7 MiB free".into();
        findings.push(other);
    });
    check("accept-changed", &console);
    // A key that was meant for what stood there before.
    assert_eq!(console.press("a"), []);
    wait(&mut console);
    assert_eq!(names(&console.press("a")), ["disk", "keys"]);
    // A failure more: the name is asked for.
    let mut console = asked(false, (80, 24));
    console.press("a");
    wait(&mut console);
    found_anew(&mut console, |findings| {
        findings[0].state = CheckState::Fail;
    });
    wait(&mut console);
    assert_eq!(console.press("a enter"), []);
}

#[test]
fn what_mends_the_findings_is_copied_as_a_script() {
    let mut console = asked(true, (80, 24));
    let effects = console.press("y");
    let [Effect::Copy(copied)] = effects.as_slice() else {
        panic!("{effects:?}");
    };
    assert_eq!(copied.file_name, "mend.sql");
    assert_eq!(
        copied.text,
        "-- target:tidb privileges: missing: INDEX on `shop`.* (sync)\n\
         GRANT INDEX ON `shop`.* TO 'tideway'@'10.%';\n\
         -- task:orders keys: 1 of `mysql-01` without: shop.log\n\
         ALTER TABLE `shop`.`log` ADD COLUMN id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY;\n"
    );
    // The same in the pane of the checks; what is no statement is a remark.
    let mut snapshot = fixtures::grants();
    let mut report = snapshot.check.as_deref().cloned().unwrap();
    report.checks[0].state = CheckState::Warn;
    report.checks[0].mend = "restart the server; twice".into();
    snapshot.check = Some(std::sync::Arc::new(report));
    let mut console = Console::new(snapshot, (80, 24));
    let effects = console.press("7 tab tab y");
    let [Effect::Copy(copied)] = effects.as_slice() else {
        panic!("{effects:?}");
    };
    assert_eq!(
        copied.text,
        "-- source:mysql-01 binlog-format: ROW\n-- restart the server; twice\n\
         -- source:mysql-01 row-metadata: MINIMAL\nSET GLOBAL binlog_row_metadata = FULL;\n"
    );
}

#[test]
fn nothing_is_accepted_of_a_stream_that_runs() {
    let mut console = Console::new(fixtures::calm(), (80, 24));
    assert_eq!(console.press("a"), []);
    assert!(console.state.dialog.is_none());
    // One that has gone on meanwhile closes the question.
    let mut console = asked(false, (80, 24));
    console.press("a");
    let now = console.state.now;
    reducer::on_snapshot(
        &mut console.state,
        std::sync::Arc::new(fixtures::calm()),
        now,
    );
    assert!(console.state.dialog.is_none());
}
