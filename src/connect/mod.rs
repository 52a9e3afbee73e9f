//! Every connection to a server is opened here: TLS, authentication, timeouts, session settings.
//!
//! Three clients for three kinds of work, all told the same way where and how to connect:
//! [`Session`] for bulk statements and reads, [`Catalogue`] for checks and meta tables,
//! [`replication`] for the binlog stream. Nothing here knows what a connection is used for.

mod auth;
mod catalogue;
mod error;
pub mod error_table;
mod line;
mod login;
mod options;
mod packets;
pub mod replication;
mod session;
mod tls;
mod wire;

pub use catalogue::{Catalogue, CatalogueRow};
pub use error::{kind_of, refused};
pub use line::{Done, TextRow};
pub use session::{PacketError, RowStream, Session, Setup};

use std::time::Duration;

/// How long opening a connection may take, name look-up, TLS and log-in included.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
