//! The statements a target understands: how changes and the checkpoint are written together.
//!
//! A target transaction is one packet of statements: `BEGIN`, the fence, the changes, each with a
//! guard behind it where its count matters, `COMMIT`. So the fence and the counts cost no round
//! trip, and what a foreign epoch or a wrong count finds is undone as a whole.

pub mod checkpoint;
pub mod execute;
pub mod text;

pub use checkpoint::{
    Claim, Intent, LoadStage, LoadState, Mark, PartDone, PreparedXa, SkippedRecord, Span, Spans,
    State, StreamKey, SyncState, XaChange,
};
pub use execute::{Outcome, Packet, Part};
