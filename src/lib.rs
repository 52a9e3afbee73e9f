//! Tideway moves MySQL and MariaDB databases into TiDB, or any MySQL-protocol server, and keeps them
//! in step until cut-over.
//!
//! ```text
//!         main.rs  ->  cli, app         app puts the parts together and starts them
//!                       |
//!       ui               remote         know: control, model (ui also the theme and key settings)
//!         \                /
//!       +-------------------------+
//!       | control                 |   Snapshot, Command, Query, Handle: plain types, the only door
//!       +-------------------------+
//!       | runtime                 |   supervisor, worker, stream, journal: builds Snapshots
//!       +-------------------------+
//!       | unit  dump load relay sync      job  check compare   |   none knows another
//!       +-------------------------+
//!       | source  target          |   the statements each side understands
//!       | relay_log  dump_files   |   the two stores that units and jobs share
//!       +-------------------------+
//!       | connect                 |   TLS, auth, session, flavor, version: one for all clients
//!       +-------------------------+
//!       | binlog schema privilege route   |   rules and parsing, no I/O
//!       +-------------------------+
//!       | model                   |   values: no I/O, no async
//!       +-------------------------+
//! ```
//!
//! # Invariants
//!
//! 1. Uses point downwards in the drawing; `tests/architecture.rs` enforces it.
//! 2. `ui` never waits for the network or for a lock that the runtime holds; the runtime never waits
//!    for `ui`.
//! 3. Only `connect` opens connections. Files are written only by `relay_log`, `dump_files`,
//!    `runtime` and `log`; and by `ui`, what the operator copies.
//! 4. Drawing takes the state and a snapshot by shared reference: it changes nothing.
//! 5. Every task belongs to a `JoinSet` and watches a `CancellationToken`; `tokio::spawn` occurs in
//!    `runtime::supervisor` only.
//! 6. Rows and the checkpoint that covers them commit in one target transaction, behind a fence that
//!    a foreign epoch cannot pass.
//! 7. What the code cannot explain stops the stream; nothing is skipped on a guess.
//! 8. Secrets are `model::Secret` from the configuration to the handshake and are never formatted.

pub mod app;
pub mod binlog;
pub mod cli;
pub mod config;
pub mod connect;
pub mod control;
pub mod dump_files;
pub mod job;
pub mod log;
pub mod model;
pub mod privilege;
pub mod relay_log;
pub mod remote;
pub mod route;
pub mod runtime;
pub mod schema;
pub mod source;
pub mod target;
pub mod terminal;
pub mod ui;
pub mod unit;
