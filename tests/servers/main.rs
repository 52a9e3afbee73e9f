//! Tests against real, private servers. `tests/run` sets up what they need.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on fails"
)]

#[path = "../support/mod.rs"]
mod support;

mod accounts;
mod bad_input;
mod beginning;
mod binlog_files;
mod check;
mod checkpoint;
mod column_types;
mod consistency;
mod copy;
mod ddl;
mod ddl_cases;
mod ddl_corpus;
mod decode;
mod dialect;
mod dump_chunks;
mod dump_fuzzy;
mod dump_job;
mod dump_lock;
mod dump_matrix;
mod dump_trouble;
mod exactly_once;
mod fan;
mod foreign_dump;
mod foreign_keys;
mod front;
mod harness;
mod json_diff;
mod lag;
mod load;
mod load_trouble;
mod lost_folder;
mod main_job;
mod real_target;
mod refused;
mod relay;
mod relay_files;
mod relay_operator;
mod relay_trouble;
mod sync;
mod sync_applying;
mod sync_kept;
mod sync_limits;
mod sync_target;
mod tracker;
mod unknown_events;
mod xa;
