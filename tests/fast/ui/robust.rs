//! Nothing that is typed, and no size, makes the console panic or write what it should not.

use std::sync::Arc;

use tideway::model::Timestamp;
use tideway::ui::keymap::Key;
use tideway::ui::reducer;

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

/// The sizes at which a layout changes, with their neighbours, and steps in between;
/// `TIDEWAY_SWEEP=1` takes every one up to 200x60.
fn sizes(edges: &[u16], most: u16, step: u16) -> Vec<u16> {
    let step = if std::env::var_os("TIDEWAY_SWEEP").is_some() {
        1
    } else {
        step
    };
    let mut sizes: Vec<u16> = (0..=most).step_by(usize::from(step)).collect();
    sizes.extend([1, 2, 3, most]);
    sizes.extend(edges.iter().flat_map(|edge| edge - 1..=edge + 1));
    sizes.sort_unstable();
    sizes.dedup();
    sizes
}

#[test]
fn every_size_of_every_screen_draws() {
    let hostile = fixtures::hostile();
    let failing = fixtures::failing();
    for columns in sizes(&[80, 100, 160], 200, 23) {
        for rows in sizes(&[24, 30, 45], 60, 9) {
            for screen in 1..=8 {
                let is_hostile = (columns + rows + screen) % 4 == 0;
                let snapshot = if is_hostile { &hostile } else { &failing };
                let mut console = Console::new(snapshot.clone(), (columns, rows));
                console.press(&screen.to_string());
                let steps: &[&str] = if columns < 79 || rows < 23 {
                    &["", "q"]
                } else {
                    &["", "z", "z ?", "esc q"]
                };
                for keys in steps {
                    console.press(keys);
                    assert_harmless(&console, &format!("{columns}x{rows} screen {screen}"));
                }
            }
        }
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
    for step in 0..10_000 {
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
                reducer::on_key(&mut console.state, key, &console.looks);
            }
        }
        if step % 4 == 0 {
            assert_harmless(&console, &format!("seed {seed} step {step}"));
        }
    }
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
            let is_change = matches!(&effect, Effect::Send(command) if *command != Command::Check);
            assert!(!is_change, "{effect:?}");
        }
    }
}
