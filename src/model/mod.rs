//! Values and their arithmetic, ordering, parsing and display: what every other module speaks in.
//!
//! Nothing here does I/O, waits, or reads a clock.

pub mod check;
pub mod decision;
pub mod error;
pub mod event_view;
pub mod flavor;
pub mod gtid;
pub mod packing;
pub mod position;
pub mod progress;
pub mod secret;
pub mod stage;
pub mod table;
pub mod time;
pub mod value;

pub use check::{
    CheckFigure, CheckProgress, CheckReport, CheckState, Finding, GrantState, PRIVILEGES,
    PrivilegeFigure,
};
pub use decision::{
    Choice, DECISION_VERSION, Decision, DecisionOutcome, LaterRows, Reach, TypedPlace,
};
pub use error::{Context, Error, ErrorKind, Result, ServerError};
pub use event_view::{EventRow, EventView, TableChanges, TargetRow, TransactionView};
pub use flavor::{Flavor, ServerVersion};
pub use gtid::{Gtid, GtidSet};
pub use packing::Packing;
pub use position::{EventPlace, Place, Position};
pub use progress::{
    RelayFigure, RelayFileFigure, RelayHold, RetryFigure, TableLoad, TransferFigure,
};
pub use secret::Secret;
pub use stage::{Stage, Unit};
pub use table::TableName;
pub use time::Timestamp;
