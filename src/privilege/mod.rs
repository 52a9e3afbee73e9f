//! Which privileges the units need, which an account has, and the statement that gives what is missing.
//! Rules alone: the texts come from `job::check`.
//!
//! *Needed* is a list of [`Requirement`]s, each an OR of ANDs. *Granted* is what [`Grants`] reads in the
//! server's own `SHOW GRANTS`: the tables of `information_schema` say less (managed servers) or more
//! (every account's rows) than is true. A line that is not understood makes a cell "unknown", never "have".

pub mod account;
pub mod at_source;
pub mod at_target;
mod cover;
pub mod grants;
pub mod matrix;
pub mod name;
pub mod need;
pub mod refusal;
pub mod statement;

pub use crate::model::check::combined;
pub use account::{Account, Outcome, Probe, Role};
pub use at_source::{DumpMode, DumpNeeds, SourceNeeds, source_requirements};
pub use at_target::{LeftOut, LoadNeeds, SyncNeeds, TargetNeeds, target_requirements};
pub use grants::{GrantLine, Granted, Grants, Level, Line};
pub use matrix::{figure, is_tried};
pub use need::{Object, Requirement, Want};
pub use refusal::Refusal;
pub use statement::{account_name, grant, object_text};
