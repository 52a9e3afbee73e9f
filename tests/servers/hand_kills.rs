//! A process that is killed at any moment of a decision leaves it wholly done or not at all, and the
//! journal says which.
//!
//! `TIDEWAY_HAND_KILLS` is how many kills there are, `TIDEWAY_HAND_SEED` where they fall.

use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::hand::{Desk, place};
use crate::support::Flavor;
use crate::support::traffic::Random;

fn number(name: &str, usual: u64) -> u64 {
    std::env::var(name)
        .ok()
        .map_or(usual, |text| text.parse().unwrap())
}

/// What the target and the files say of the decisions so far, by id.
fn done_ids(desk: &Desk) -> Vec<String> {
    let rows = desk
        .target
        .client()
        .texts("SELECT id FROM tideway.decision ORDER BY made_at");
    rows.into_iter().map(|mut row| row.remove(0)).collect()
}

/// Waits until the stream has either stopped at the event or is beyond it.
fn settled(desk: &mut Desk, id: u64) -> bool {
    let target = &desk.target;
    let ledger = format!("SELECT COUNT(*) FROM t.ledger WHERE id = {id}");
    let mut is_beyond = false;
    let mut client = target.client();
    for _ in 0..900 {
        is_beyond = client.value(&ledger) == "1";
        let stands = desk
            .tideway
            .status()
            .is_some_and(|status| status["streams"][0]["stage"] == "failed");
        if is_beyond || stands {
            break;
        }
        thread::sleep(Duration::from_millis(100));
    }
    assert!(
        is_beyond || desk.tideway.status().is_some(),
        "{}",
        desk.tideway.story()
    );
    is_beyond
}

#[test]
fn a_decision_is_wholly_done_or_not_at_all_whenever_the_process_is_killed() {
    let kills = number("TIDEWAY_HAND_KILLS", 5);
    let seed = number("TIDEWAY_HAND_SEED", 20_261_123);
    eprintln!("{kills} kills, seed {seed}");
    let mut random = Random::new(seed);
    let mut desk = Desk::open(
        Flavor::MariaDb1011,
        Flavor::MariaDb1011,
        "CREATE TABLE a (id INT PRIMARY KEY, v VARCHAR(20)); \
         CREATE TABLE ledger (id INT PRIMARY KEY, v VARCHAR(20))",
    );
    let (mut killed_before, mut killed_after) = (0, 0);
    // How long a decision takes here, by one that is left alone; kills fall a little beyond it too.
    let mut takes = 0;
    for id in 1..=kills + 1 {
        // One row collides; its transaction has another that must come in once, with the decision.
        desk.target
            .run(&format!("INSERT INTO t.a VALUES ({id}, 'mine')"));
        desk.source.run(&format!(
            "BEGIN; INSERT INTO t.a VALUES ({id}, 'theirs'); INSERT INTO t.ledger VALUES ({id}, 'in'); \
             COMMIT"
        ));
        let stop = desk.stopped();
        let at = place(&stop);
        let arguments = ["ctl", "skip", "--task", "t", "--at", at.as_str(), "--json"];
        if takes == 0 {
            let begun = Instant::now();
            desk.done("skip", &stop, &[]);
            takes = begun.elapsed().as_millis() as u64 * 3 / 2 + 20;
            continue;
        }
        let mut asking = desk.tideway.command(&arguments);
        asking.stdout(std::process::Stdio::null());
        asking.stderr(std::process::Stdio::null());
        let mut asked = asking.spawn().unwrap();
        // What it takes from asking to the end, on a machine at work.
        thread::sleep(Duration::from_millis(random.below(takes)));
        desk.tideway.kill9();
        asked.wait().unwrap();
        let before = done_ids(&desk);
        desk.tideway.start();
        if settled(&mut desk, id) {
            killed_after += 1;
        } else {
            killed_before += 1;
            let stop = desk.stopped();
            desk.done("skip", &stop, &["--reason", "again"]);
        }
        // What a killed packet still did is not undone by asking again.
        let after = done_ids(&desk);
        assert!(before.iter().all(|id| after.contains(id)));
        desk.target
            .await_value(&format!("SELECT v FROM t.ledger WHERE id = {id}"), "in");
        desk.target
            .await_value(&format!("SELECT v FROM t.a WHERE id = {id}"), "mine");
        assert_eq!(after.len() as u64, id, "{after:?}");
    }
    let differences = desk.differences();
    eprintln!("killed before the effect: {killed_before}, after it: {killed_after}");
    // The rows of the source alone and those of the target alone, of the one table.
    assert_eq!(differences.len(), 2, "{differences:?}");
    assert_eq!(
        desk.target.client().number("SELECT COUNT(*) FROM t.ledger"),
        kills as i64 + 1
    );

    // Each skipped change is kept once, and by a decision that took effect.
    let ids = done_ids(&desk);
    let skipped = desk.skipped();
    assert_eq!(skipped.len() as u64, kills + 1, "{skipped:?}");
    for change in &skipped {
        assert!(ids.iter().any(|id| change["decision"] == id.as_str()));
    }
    // The journal says of each decision what became of it, and the target agrees.
    let journal = desk.lines("journal.jsonl");
    let decided = journal.iter().filter(|line| !line["decision"].is_null());
    for line in decided {
        let id = &line["decision"]["id"];
        let results: Vec<&Value> = journal
            .iter()
            .filter(|line| line["decision_id"] == *id)
            .map(|line| &line["result"]["outcome"])
            .collect();
        assert!(!results.is_empty(), "nothing is known of {id}");
        let is_done = ids.iter().any(|done| *id == done.as_str());
        let wanted = if is_done { "done" } else { "not-done" };
        assert!(results.iter().all(|of| **of == wanted), "{id}: {results:?}");
    }
}
