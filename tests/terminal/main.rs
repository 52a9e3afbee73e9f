//! The real binary in a pseudo-terminal.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on fails"
)]

mod console;
mod screen;
mod whole;

#[path = "../support/mod.rs"]
mod support;
