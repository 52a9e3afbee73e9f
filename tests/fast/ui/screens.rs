//! Every screen, as text.

use tideway::control::{Command, Scope, SupposedCheck};
use tideway::ui::effect::Effect;
use tideway::ui::reducer;

use super::{Console, fixtures};

const SIZES: [(u16, u16); 5] = [(80, 24), (100, 30), (160, 45), (60, 15), (40, 10)];

pub(super) fn check(name: &str, console: &Console) {
    let (columns, rows) = console.state.size;
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("snapshots");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| {
        insta::assert_snapshot!(format!("{name}-{columns}x{rows}"), console.text());
    });
}

#[test]
fn calm() {
    for size in SIZES {
        for (key, name) in [
            ("1", "overview"),
            ("2", "sources"),
            ("3", "relay"),
            ("5", "sync"),
            ("6", "events"),
            ("7", "grants"),
            ("8", "log"),
        ] {
            let mut console = Console::new(fixtures::calm(), size);
            console.press(key);
            check(&format!("calm-{name}"), &console);
        }
    }
}

#[test]
fn loading() {
    for size in SIZES {
        for (key, name) in [("1", "overview"), ("4", "load"), ("5", "sync")] {
            let mut console = Console::new(fixtures::loading(), size);
            console.press(key);
            check(&format!("loading-{name}"), &console);
        }
        // The other stream dumps, with nothing estimated yet.
        let mut console = Console::new(fixtures::loading(), size);
        console.press("4 l");
        check("dumping-load", &console);
    }
}

#[test]
fn failing() {
    for size in SIZES {
        for (keys, name) in [
            ("1", "overview"),
            ("!", "events"),
            ("! !", "sources"),
            ("! ! 3", "relay"),
            ("5", "sync"),
        ] {
            let mut console = Console::new(fixtures::failing(), size);
            console.press(keys);
            check(&format!("failing-{name}"), &console);
        }
    }
}

#[test]
fn grants() {
    for size in SIZES {
        let mut console = Console::new(fixtures::grants(), size);
        check("grants-overview", &console);
        // It opens at the first that is missing.
        console.press("!");
        check("grants-source", &console);
        console.press("l");
        check("grants-cell", &console);
        console.press("Y");
        check("grants-copy-as", &console);
        console.press("esc d");
        check("grants-target", &console);
    }
}

#[test]
fn grants_are_copied_by_part() {
    let copied = |keys: &str| {
        let mut console = Console::new(fixtures::grants(), (80, 24));
        console.press("7");
        match console.press(keys).as_slice() {
            [Effect::Copy(copied)] => copied.text.clone(),
            other => panic!("{keys}: {other:?}"),
        }
    };
    let client = "GRANT REPLICATION CLIENT ON *.* TO `tideway`@`10.%`;\n";
    assert_eq!(copied("Y c"), client);
    // The unit beside it lacks the same; the dump lacks nothing.
    assert_eq!(copied("l Y u"), client);
    assert_eq!(copied("y"), client);
    let all = copied("Y a");
    assert!(
        all.starts_with("-- on source:mysql-01\nGRANT REPLICATION CLIENT")
            && all.contains("-- on target:tidb\nGRANT INDEX ON `shop`.*"),
        "{all}"
    );
    let minimum = copied("Y m");
    assert!(
        minimum.contains("REPLICATION SLAVE, REPLICATION CLIENT ON *.*"),
        "{minimum}"
    );
    let mut console = Console::new(fixtures::calm(), (80, 24));
    assert_eq!(console.press("7 Y c"), []);
    assert!(
        console.text().contains("nothing to copy"),
        "{}",
        console.text()
    );
}

/// A setting is tried on the screen; what is missing as it is stays counted.
#[test]
fn grants_as_if_another_setting_were_made() {
    let mut console = Console::new(fixtures::grants(), (100, 30));
    let mut shown = fixtures::grants();
    for way in ["auto", "flush", "snapshot", "fuzzy"] {
        let ask = Command::CheckAs {
            consistency: way.into(),
        };
        assert_eq!(console.press("7 c"), [Effect::Send(ask)]);
        let mut report = fixtures::calm().check.as_deref().cloned().unwrap();
        report
            .privileges
            .retain(|cell| way == "flush" || cell.privilege != "RELOAD");
        shown.supposed = Some(std::sync::Arc::new(SupposedCheck {
            consistency: way.into(),
            report,
        }));
        let now = console.state.now;
        reducer::on_snapshot(&mut console.state, std::sync::Arc::new(shown.clone()), now);
        let text = console.text();
        assert!(
            text.contains(&format!("AS IF consistency = {way}")),
            "{text}"
        );
        assert_eq!(text.contains("RELOAD"), way == "flush", "{text}");
        assert!(
            text.contains("[7 Grants!2]") && text.contains("nothing is missing on"),
            "{text}"
        );
    }
    check("grants-as-if", &console);
    assert_eq!(console.press("c"), [Effect::Send(Command::Check)]);
}

#[test]
fn many() {
    for size in SIZES {
        let mut console = Console::new(fixtures::many(), size);
        console.press("G");
        check("many-overview", &console);
        console.press("8 / 3 9 enter");
        check("many-log-filtered", &console);
    }
}

#[test]
fn hostile() {
    for (key, name) in [
        ("1", "overview"),
        ("3", "relay"),
        ("4", "load"),
        ("6", "events"),
        ("7", "grants"),
        ("8", "log"),
    ] {
        let mut console = Console::new(fixtures::hostile(), (80, 24));
        console.press(key);
        check(&format!("hostile-{name}"), &console);
    }
}

#[test]
fn dialogs_and_small() {
    let mut console = Console::new(fixtures::failing(), (80, 24));
    console.press("?");
    check("help", &console);
    console.press("esc q");
    check("leave", &console);
    console.press("esc space");
    console.state.now.0 += 12_000_000;
    check("frozen-stale", &console);
    for size in [(60, 15), (40, 10)] {
        let mut console = Console::new(fixtures::failing(), size);
        console.press("?");
        check("help", &console);
        console.press("esc q");
        check("leave", &console);
    }
    for size in [(80, 1), (12, 3), (39, 9)] {
        check("small", &Console::new(fixtures::failing(), size));
    }
    check(
        "starting",
        &Console::new(tideway::control::Snapshot::default(), (80, 24)),
    );
}

#[test]
fn ascii_alone() {
    for (name, snapshot) in [("loading", fixtures::loading()), ("calm", fixtures::calm())] {
        for key in ["1", "2", "3", "4", "5", "6", "7", "8", "?"] {
            let mut console = Console::new(snapshot.clone(), (80, 24));
            console.looks.glyphs = tideway::ui::glyph::ASCII;
            console.press(key);
            assert!(
                console.text().is_ascii(),
                "{name} {key}:\n{}",
                console.text()
            );
        }
    }
}

#[test]
fn states_differ_without_colour() {
    let mut console = Console::new(fixtures::failing(), (80, 24));
    console.press("1");
    let text = console.text();
    for word in ["FAIL !!", "PAUSED -", "WAIT ..", "1 FAIL", "1 PAUSED"] {
        assert!(text.contains(word), "{word}:\n{text}");
    }
    // The focused pane and the tab in front, too.
    assert!(text.contains("[1 Overview]"));
    assert!(text.contains(">streams"));
}

#[test]
fn the_three_jobs_take_few_keys() {
    // Why a source stopped: one key.
    let mut console = Console::new(fixtures::failing(), (80, 24));
    console.press("!");
    let text = console.text();
    for part in [
        "but it differs in",
        "mysql-bin.000455:90214711",
        "c80aa9429562:77120",
        "state",
        "paid",
        "UPDATE `shop`.`orders`",
    ] {
        assert!(text.contains(part), "{part}:\n{text}");
    }
    // Retry it: one more, and it quotes the stop.
    let effects = console.press("r");
    assert_eq!(
        effects,
        [Effect::Send(Command::Retry {
            scope: Scope {
                task: Some("orders".into()),
                source: Some("mysql-01".into()),
                relay: false,
            },
            stop_id: Some("s-000455-90214711".into()),
        })]
    );
    // The missing grants: two keys.
    let mut console = Console::new(fixtures::grants(), (80, 24));
    let effects = console.press("7 y");
    let [Effect::Copy(copied)] = effects.as_slice() else {
        panic!("{effects:?}");
    };
    assert_eq!(
        copied.text,
        "GRANT REPLICATION CLIENT ON *.* TO `tideway`@`10.%`;\n"
    );
    assert_eq!(copied.file_name, "grants-source-mysql-01.sql");
    assert_eq!(console.press("r"), [Effect::Send(Command::Check)]);
}
