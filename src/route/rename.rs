//! What tables are called on the target.

/// Rename rules; the first that matches a table decides.
#[derive(Clone, Debug, Default)]
pub struct Routes {}
