//! The only door between the runtime and everything that shows or steers it: the console, the
//! socket, the scripts. Plain types; no logic, no I/O.

pub mod command;
pub mod handle;
pub mod query;
pub mod snapshot;

pub use command::{Command, PurgeWhich, Reply, Scope};
pub use handle::{Envelope, Handle};
pub use query::{Answer, Query};
pub use snapshot::{
    LogLine, MemoryFigure, Problem, Refused, Snapshot, SourceSnapshot, Stop, StopError,
    StopPosition, StreamPosition, StreamSnapshot, TargetSnapshot,
};

pub use crate::model::{
    CheckFigure, CheckReport, CheckState, EventRow, EventView, GrantState, PrivilegeFigure,
    RelayFigure, RelayFileFigure, RelayHold, RetryFigure, TableLoad, TargetRow, TransferFigure,
};
