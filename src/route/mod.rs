//! Which tables a task takes, what they are called on the target, and which of their events are
//! left out. Rules alone, no I/O.

pub mod event_filter;
pub mod rename;
pub mod select;

pub use event_filter::EventFilter;
pub use rename::Routes;
pub use select::Selection;
