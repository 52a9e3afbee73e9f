//! Which events are left out.

/// A rule that leaves events out, or forbids them.
#[derive(Clone, Debug)]
pub struct EventFilter {}
