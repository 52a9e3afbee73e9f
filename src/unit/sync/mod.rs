//! Applies the relay log's transactions to a target, each whole, in the source's order.
//!
//! ```text
//! relay log ─▶ reader (whole transactions) ─▶ queue ─▶ scheduler (batches) ─▶ applier (one packet)
//!                 │                                                             │
//!                 └ tracker: structures by position            rows and mark in one transaction
//! ```
//!
//! The reader carries the source's structures through each DDL statement as it meets them; so the
//! rows behind a statement are decoded by what it left, however far the target is. A DDL statement is
//! a barrier on the target's side: what is before it is applied, it runs, and only then what is
//! behind it.

mod applier;
mod at;
mod by_hand;
mod cascade;
mod ddl;
mod ddl_gate;
mod ddl_resume;
mod ddl_run;
mod ddl_step;
mod decoder;
mod equal;
mod explain;
mod failure;
mod group;
#[cfg(test)]
mod group_tests;
mod hand;
mod job;
mod join;
mod left_out;
mod mend;
mod meter;
mod order;
mod plan;
mod reader;
#[cfg(test)]
mod reader_tests;
mod session;
mod skipped;
mod span;
mod split;
mod statement;
#[cfg(test)]
mod statement_tests;
mod step;
mod transaction;
mod view;
mod xa;

pub use failure::{FailedEvent, Failure};
pub use hand::{Hand, Report};
pub use job::{SyncJob, run};
pub use meter::{Figure, Meter};
pub use skipped::{Keep, SkippedChange};
