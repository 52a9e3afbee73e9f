//! Nothing that is typed, and no size, makes the console panic or write what it should not.

use std::sync::Arc;

use tideway::model::Timestamp;
use tideway::ui::effect::Effect;
use tideway::ui::keymap::Key;
use tideway::ui::reducer;
use tideway::ui::state::{Dialog, State};

use super::{Console, fixtures};

/// Keys that mean something somewhere, and some that do not.
const KEYS: &str = "1 2 3 4 5 6 7 8 tab shift-tab up down left right h j k l g G ctrl-u ctrl-d enter \
                    esc / n N ? ! z space p r y v ctrl-l q ctrl-c s a b 表 é backspace delete home \
                    end pageup pagedown ctrl-z f5 ctrl-w ctrl-a";

/// Two in three random keys move or change something.
struct Random(u64);

impl Random {
    /// xorshift64*.
    fn next(&mut self, below: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % below
    }
}

fn assert_harmless(console: &Console, what: &str) {
    for cell in console.buffer().content() {
        assert!(
            !cell.symbol().chars().any(char::is_control),
            "{what}: {:?}",
            cell.symbol()
        );
    }
}

fn is_full_sweep() -> bool {
    std::env::var_os("TIDEWAY_SWEEP").is_some()
}

/// The sizes at which a layout changes, and those just below, and steps in between;
/// `TIDEWAY_SWEEP=1` takes every one up to 200x60.
fn sizes(edges: &[u16], most: u16, step: u16) -> Vec<u16> {
    let step = if is_full_sweep() { 1 } else { step };
    let mut sizes: Vec<u16> = (0..=most).step_by(usize::from(step)).collect();
    sizes.extend([1, 2, most]);
    sizes.extend(edges.iter().flat_map(|edge| [edge - 1, *edge]));
    sizes.sort_unstable();
    sizes.dedup();
    sizes
}

#[test]
fn every_size_of_every_screen_draws() {
    let columns = sizes(&[40, 60, 80, 100, 160], 200, 100);
    let rows = sizes(&[10, 15, 24, 30, 45], 60, 30);
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    // Every so-manieth width each, so that all have as many of the big ones.
    let drawn: usize = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|first| {
                let (columns, rows) = (&columns, &rows);
                scope.spawn(move || {
                    let mine = columns.iter().skip(first).step_by(threads);
                    mine.map(|columns| draw_all(*columns, rows)).sum::<usize>()
                })
            })
            .collect();
        workers.into_iter().map(|one| one.join().unwrap()).sum()
    });
    println!(
        "{drawn} screens drawn at {} sizes",
        columns.len() * rows.len()
    );
    assert_eq!(drawn, columns.len() * rows.len() * 40);
}

/// Draws every screen, with what opens above it, at these sizes.
fn draw_all(columns: u16, rows: &[u16]) -> usize {
    let hostile = fixtures::hostile();
    let failing = fixtures::failing();
    let mut drawn = 0;
    for &rows in rows {
        for screen in 1..=8 {
            let is_hostile = (columns + rows + screen).is_multiple_of(4);
            let snapshot = if is_hostile { &hostile } else { &failing };
            let mut console = Console::new(snapshot.clone(), (columns, rows));
            console.press(&screen.to_string());
            for keys in ["", "tab", "z", "z ?", "esc q"] {
                console.press(keys);
                assert_harmless(&console, &format!("{columns}x{rows} screen {screen}"));
                drawn += 1;
            }
        }
    }
    drawn
}

/// Fails on an effect that a single key must not have: leaving while work is running takes the
/// question and its own answer.
fn assert_asked(before: &State, key: Key, effects: &[Effect]) {
    if effects.contains(&Effect::Leave) && before.is_working() {
        assert_eq!(before.dialog, Some(Dialog::Leave), "{key:?} left unasked");
        assert_eq!(key, "s".parse().unwrap());
    }
    if before.dialog.is_some() || before.is_typing {
        let is_command = effects
            .iter()
            .any(|effect| matches!(effect, Effect::Send(_)));
        assert!(!is_command, "{key:?} reached what is behind: {effects:?}");
    }
}

#[test]
fn random_keys_and_sizes_do_no_harm() {
    let seed = std::env::var("TIDEWAY_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or(0x5eed_0001_u64);
    println!("seed {seed}; another one by TIDEWAY_SEED");
    let keys: Vec<Key> = KEYS
        .split_whitespace()
        .map(|key| key.parse().unwrap())
        .collect();
    let snapshots: Vec<Arc<_>> = fixtures::all()
        .into_iter()
        .map(|(_, snapshot)| Arc::new(snapshot))
        .collect();
    let mut random = Random(seed | 1);
    let mut console = Console::new(fixtures::calm(), (80, 24));
    let mut revision = 0;
    // 10,000 unless said otherwise.
    let events = std::env::var("TIDEWAY_EVENTS")
        .ok()
        .and_then(|events| events.parse().ok())
        .unwrap_or(10_000_u32);
    let mut asked = 0;
    for step in 0..events {
        match random.next(40) {
            0 => console.state.size = (random.next(200) as u16, random.next(60) as u16),
            1 => {
                let mut snapshot = (*snapshots[random.next(snapshots.len())]).clone();
                revision += 1;
                snapshot.revision = revision;
                reducer::on_snapshot(&mut console.state, Arc::new(snapshot), fixtures::now());
            }
            2 => console.state.now = Timestamp(fixtures::now().0 + random.next(20_000_000) as u64),
            3 => reducer::on_paste(&mut console.state, "日本\u{1b}[2J q\n"),
            _ => {
                let key = keys[random.next(keys.len())];
                let before = console.state.clone();
                let effects = reducer::on_key(&mut console.state, key, &console.looks);
                assert_asked(&before, key, &effects);
                asked += u32::from(console.state.dialog == Some(Dialog::Leave));
            }
        }
        if step % 4 == 0 {
            assert_harmless(&console, &format!("seed {seed} step {step}"));
        }
    }
    println!("{events} events; before {asked} of them the question was open");
    assert!(asked > 0);
}

#[test]
fn read_only_changes_nothing() {
    let keys: Vec<Key> = KEYS
        .split_whitespace()
        .map(|key| key.parse().unwrap())
        .collect();
    let mut console = Console::new(fixtures::failing(), (80, 24));
    console.looks.is_read_only = true;
    let mut random = Random(7);
    for _ in 0..5_000 {
        let key = keys[random.next(keys.len())];
        for effect in reducer::on_key(&mut console.state, key, &console.looks) {
            use tideway::control::Command;
            use tideway::ui::effect::Effect;
            let is_change = matches!(&effect, Effect::Send(command) if !matches!(command, Command::Check | Command::CheckAs { .. }));
            assert!(!is_change, "{effect:?}");
        }
    }
}
