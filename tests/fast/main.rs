//! Tests that need no server: files in, messages and frames out.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on fails"
)]

mod cli;
mod config;
mod ddl_corpus;
mod grants;
mod ui;
