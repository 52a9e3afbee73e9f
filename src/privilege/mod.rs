//! Which privileges the units need, which an account has, and the statement that gives what is missing.
//! Rules alone: the texts come from `job::check`.
//!
//! *Needed* is a list of [`Requirement`]s, each an OR of ANDs. *Granted* is what [`Grants`] reads in the
//! server's own `SHOW GRANTS`: the tables of `information_schema` say less (managed servers) or more
//! (every account's rows) than is true. A line that is not understood makes a cell "unknown", never "have".

pub mod grants;
pub mod matrix;
pub mod name;
pub mod requirement;
pub mod statement;

pub use grants::{GrantLine, Granted, Grants, Level, Line};
pub use matrix::{Account, figure};
pub use requirement::{
    DumpNeeds, Object, Requirement, SourceNeeds, TargetNeeds, Want, source_requirements,
    target_requirements,
};
pub use statement::{account_name, grant, object_text};
