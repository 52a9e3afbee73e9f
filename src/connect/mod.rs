//! Every connection to a server is opened here: TLS, authentication, timeouts, session settings.
//!
//! Two clients, both told the same way where and how to connect: [`Session`] for statements of every
//! kind, [`replication`] for the binlog stream. Nothing here knows what a connection is used for.

mod auth;
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

pub use error::{kind_of, refused};
pub use line::{Done, TextRow};
pub use session::{PacketError, RowStream, Session, Setup};

use std::time::Duration;

/// How long opening a connection may take, name look-up, TLS and log-in included.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
