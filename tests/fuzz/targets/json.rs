//! A JSON document and a list of its changes: the first two bytes say where the one ends.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tideway::binlog::{json, json_diff};

fuzz_target!(|input: &[u8]| {
    let Some((length, rest)) = input.split_first_chunk::<2>() else {
        return;
    };
    let at = usize::from(u16::from_le_bytes(*length)).min(rest.len());
    let (document, changes) = rest.split_at(at);
    let _ = json::to_text(document, &mut Vec::new());
    if let Ok(document) = json_diff::apply_diffs(document, changes) {
        // What is changed may hold the same bytes many times, but no more often than it has entries.
        assert!(
            document.len() <= 1024 + input.len() * input.len(),
            "a document that grows by itself"
        );
    }
});
