//! Deciding at a stop from the keyboard: what the dialogs say, and what they do not do.

use std::sync::Arc;

use tideway::control::{Answer, Command, JournalEntry, LaterRowsFrom, Query};
use tideway::model::{
    Choice, DECISION_VERSION, Decision, EventPlace, LaterRows, Place, Position, Reach, Timestamp,
};
use tideway::ui::effect::Effect;
use tideway::ui::{journal, reducer};

use super::screens::check;
use super::{Console, fixtures};

const SIZES: [(u16, u16); 2] = [(80, 24), (160, 45)];

/// A console at the failing stream's stop.
fn at_stop(size: (u16, u16)) -> Console {
    let mut console = Console::new(fixtures::failing(), size);
    console.press("!");
    console
}

/// Half a second later: a person has read what opened.
fn wait(console: &mut Console) {
    console.state.now.0 += 500_000;
}

#[test]
fn every_dialog_says_what_it_does() {
    for size in SIZES {
        for (key, name) in [
            ("s", "skip"),
            ("T", "skip-transaction"),
            ("m", "repair"),
            ("M", "repair-transaction"),
        ] {
            let mut console = at_stop(size);
            console.press(key);
            check(&format!("decide-{name}"), &console);
        }
        let mut console = at_stop(size);
        console.press("s");
        wait(&mut console);
        console.press("4 7 1 enter");
        check("decide-hasty", &console);
        console.press("1 tab t i c k e t tab");
        check("decide-confirmed", &console);
    }
}

#[test]
fn skipping_takes_seven_keys_and_quotes_the_stop() {
    let mut console = Console::new(fixtures::failing(), (80, 24));
    let mut effects = console.press("! s");
    wait(&mut console);
    effects.extend(console.press("4 7 1 1 enter"));
    let [
        Effect::Send(Command::Decide {
            scope,
            choice: Choice::Skip,
            reach: Reach::Event,
            at,
            stop_id,
            later_rows: None,
            reason,
            ..
        }),
    ] = effects.as_slice()
    else {
        panic!("{effects:?}");
    };
    assert_eq!(scope.task.as_deref(), Some("orders"));
    assert_eq!(scope.source.as_deref(), Some("mysql-01"));
    assert_eq!(stop_id.as_deref(), Some("s-000455-90214711"));
    assert!(
        at.to_string().ends_with("/mysql-bin.000455:90214711.0"),
        "{at}"
    );
    assert_eq!(reason, "");
    assert!(console.state.dialog.is_none());
}

#[test]
fn nothing_is_decided_by_haste_by_a_paste_or_by_enter_alone() {
    // Typed ahead, before the dialog could be read.
    let mut console = at_stop((80, 24));
    let effects = console.press("s 4 7 1 1 enter");
    assert_eq!(effects, []);
    assert!(console.state.dialog.is_some());
    wait(&mut console);
    // Enter alone, and wrong digits.
    assert_eq!(console.press("enter"), []);
    assert_eq!(console.press("4 7 1 2 enter"), []);
    console.press("backspace backspace backspace backspace");
    // A paste.
    reducer::on_paste(&mut console.state, "4711");
    assert_eq!(console.press("enter"), []);
    // A paste into the reason is a reason.
    console.press("tab");
    reducer::on_paste(&mut console.state, "ticket 4711\n");
    console.press("tab");
    let effects = console.press("4 7 1 1 enter");
    let [Effect::Send(Command::Decide { reason, .. })] = effects.as_slice() else {
        panic!("{effects:?}");
    };
    assert_eq!(reason, "ticket 4711");
}

#[test]
fn esc_decides_nothing_and_a_stop_that_is_gone_closes_the_dialog() {
    let mut console = at_stop((80, 24));
    console.press("s");
    assert_eq!(console.press("esc"), []);
    assert!(console.state.dialog.is_none());
    console.press("s");
    let now = console.state.now;
    reducer::on_snapshot(&mut console.state, Arc::new(fixtures::calm()), now);
    assert!(console.state.dialog.is_none());
    assert!(
        console.text().contains("nothing was decided"),
        "{}",
        console.text()
    );
    // What is no choice here opens nothing.
    let mut console = at_stop((80, 24));
    console.press("x");
    assert!(console.state.dialog.is_none());
    assert!(console.text().contains("no choice"), "{}", console.text());
}

#[test]
fn a_transaction_is_skipped_by_the_sources_name() {
    let mut console = at_stop((80, 24));
    console.press("T");
    wait(&mut console);
    assert_eq!(console.press("4 7 1 1 enter"), []);
    console.press("ctrl-u");
    let effects = console.press("m y s q l - 0 1 enter");
    assert!(
        matches!(
            effects.as_slice(),
            [Effect::Send(Command::Decide {
                reach: Reach::Transaction,
                ..
            })]
        ),
        "{effects:?}"
    );
}

#[test]
fn a_skipped_statement_asks_how_later_rows_are_read() {
    for size in SIZES {
        let mut snapshot = fixtures::failing();
        for stream in &mut snapshot.streams {
            if let Some(stop) = &mut stream.stop
                && let (Some(event), Some(around)) = (&mut stop.event, &mut stop.transaction)
            {
                event.kind = "QUERY".into();
                event.rows = 0;
                event.images.clear();
                stop.target_rows.clear();
                around.events = 1;
                around.rows = 0;
                around.is_statement = true;
                around.tables.clear();
                stop.choices = vec!["retry".into(), "skip event".into()];
            }
        }
        let mut console = Console::new(snapshot, size);
        console.press("! s");
        wait(&mut console);
        assert_eq!(console.press("4 7 1 1 enter"), []);
        check("decide-later-rows", &console);
        // Nor is this answer typed ahead.
        assert_eq!(console.press("k"), []);
        wait(&mut console);
        let effects = console.press("k");
        assert!(
            matches!(
                effects.as_slice(),
                [Effect::Send(Command::Decide {
                    later_rows: Some(LaterRowsFrom::Keep),
                    ..
                })]
            ),
            "{effects:?}"
        );
    }
}

fn entry(id: &str, what: &str, outcome: Option<&str>, skipped: u64) -> JournalEntry {
    let begin = Place::new("7.1", Position::new("mysql-bin.000455", 90_213_902));
    let decision = (skipped > 0).then(|| Decision {
        version: DECISION_VERSION,
        id: id.into(),
        task: "orders".into(),
        source: "mysql-01".into(),
        choice: Choice::Skip,
        scope: Reach::Event,
        at: EventPlace {
            place: begin.clone(),
            inner: None,
            row: Some(0),
        },
        begin,
        gtid: Some("3e11fa47-71ca-11e1-9e33-c80aa9429562:77120".into()),
        stop_id: "s".into(),
        later_rows: LaterRows::Source,
        reason: "ticket 88, row was fixed by hand".into(),
        made_at: Timestamp::from_seconds(1_795_430_000),
        by: "console".into(),
    });
    JournalEntry {
        id: id.into(),
        at: Timestamp::from_seconds(1_795_430_000),
        origin: "console".into(),
        user: "ana".into(),
        ssh_connection: Some("10.0.0.7 51022 10.0.0.2 22".into()),
        what: what.into(),
        stream: Some("orders/mysql-01".into()),
        decision,
        outcome: outcome.map(str::to_owned),
        skipped,
        reapplied: false,
    }
}

#[test]
fn the_journal_shows_what_was_decided_and_applies_what_was_left_out() {
    for size in SIZES {
        let mut console = at_stop(size);
        let effects = console.press("J");
        assert!(
            matches!(
                effects.as_slice(),
                [Effect::Ask(Query::Journal { skip: 0, .. })]
            ),
            "{effects:?}"
        );
        let entries = vec![
            entry("660f451a6bc43", "retry", Some("trying again"), 0),
            entry(
                "660f451a6bc42-32b6",
                "skip event at mysql-bin.000455:90213902",
                Some("done"),
                3,
            ),
        ];
        journal::on_answer(&mut console.state, Answer::Journal { entries, total: 2 });
        console.press("j");
        check("journal", &console);
        console.press("a");
        assert_eq!(console.press("3 2 b 6 enter"), []);
        wait(&mut console);
        assert_eq!(console.press("enter"), []);
        check("journal-reapply", &console);
        let effects = console.press("3 2 b 6 enter");
        assert!(
            matches!(effects.as_slice(), [Effect::Send(Command::Reapply { id, .. })]
                if id == "660f451a6bc42-32b6"),
            "{effects:?}"
        );
        // A command has left nothing out.
        console.press("k a");
        assert!(
            console.text().contains("left nothing out"),
            "{}",
            console.text()
        );
    }
}
