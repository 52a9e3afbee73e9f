//! The only door between the runtime and everything that shows or steers it: the console, the
//! socket, the scripts. Plain types; no logic, no I/O.

pub mod command;
pub mod effect;
pub mod handle;
pub mod query;
pub mod snapshot;

pub use command::{CONSISTENCIES, Command, LaterRowsFrom, PurgeWhich, Reply, Scope};
pub use effect::{choice_name, effect};
pub use handle::{Envelope, Handle};
pub use query::{Answer, JournalEntry, Query};
pub use snapshot::{
    DecisionFigure, LogLine, MemoryFigure, Problem, Refused, Snapshot, SourceSnapshot, Stop,
    StopError, StopPosition, StreamPosition, StreamSnapshot, SupposedCheck, TargetSnapshot,
};

pub use crate::model::{
    CheckFigure, CheckProgress, CheckReport, CheckState, EventRow, EventView, Finding, GrantState,
    PrivilegeFigure, RelayFigure, RelayFileFigure, RelayHold, RetryFigure, TableLoad, TargetRow,
    TransferFigure,
};
