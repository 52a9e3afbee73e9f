//! Which tables a task takes.

/// An ordered list of patterns; the last that matches a table decides.
#[derive(Clone, Debug, Default)]
pub struct Selection {}
