//! `[[source]]` and `[[target]]`.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use crate::model::{Position, Secret, Timestamp};

/// How to reach a server and log in: the same for sources and targets.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// The name in the configuration.
    pub name: String,
    /// Where it listens.
    pub address: Address,
    /// The account's name.
    pub user: String,
    /// The password, from wherever it was configured; `None`: to be asked at the terminal.
    pub password: Option<Secret>,
    /// Encryption.
    pub tls: TlsConfig,
}

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// TCP.
    Tcp {
        /// A name or an address.
        host: String,
        /// The port.
        port: u16,
    },
    /// A Unix socket.
    Socket(PathBuf),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
            Self::Socket(path) => write!(f, "{}", path.display()),
        }
    }
}

/// Encryption of a connection.
#[derive(Clone, Debug, Default)]
pub struct TlsConfig {
    /// How much of it is asked for.
    pub mode: TlsMode,
    /// The authorities to trust, PEM; default: the system's.
    pub ca: Option<PathBuf>,
    /// Our certificate, PEM.
    pub cert: Option<PathBuf>,
    /// Its key, PEM.
    pub key: Option<PathBuf>,
}

/// How much encryption is asked for; the names are MySQL's `--ssl-mode`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TlsMode {
    /// Never.
    Disabled,
    /// If the server has it; its certificate is not checked. A fallback is shown.
    #[default]
    Preferred,
    /// Always; the certificate is not checked.
    Required,
    /// Always; the certificate must come from a trusted authority.
    VerifyCa,
    /// Always; and it must be for the host's name.
    VerifyIdentity,
}

/// A source.
#[derive(Clone, Debug)]
pub struct SourceConfig {
    /// How to reach it.
    pub server: ServerConfig,
    /// Our id among its replicas; `None`: a random one, kept in the data folder.
    pub server_id: Option<u32>,
    /// Its relay.
    pub relay: RelayConfig,
    /// `[source.heartbeat]`: the table to write to, and how often.
    pub heartbeat: Option<(crate::model::TableName, Duration)>,
}

/// `[source.relay]`.
#[derive(Clone, Debug)]
pub struct RelayConfig {
    /// Whether there is one; sync needs it.
    pub is_enabled: bool,
    /// Where it begins when there is no relay log yet.
    pub start: RelayStart,
    /// Files older than this may go, once no stream needs them.
    pub purge_after: Duration,
    /// Free space to keep on the disk, in bytes.
    pub keep_free_bytes: u64,
    /// How often an idle source makes itself heard; a line silent for three is redone.
    pub heartbeat: Duration,
}

/// Where a relay or an incremental stream begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RelayStart {
    /// Where the streams need it: before the dump's position, or where the source stands.
    Auto,
    /// Where the source stands.
    Now,
    /// At an event's start.
    Position(Position),
    /// Behind these transactions; the text is read once the flavor is known.
    GtidSet(String),
    /// At the first transaction of this moment or later.
    Time(Timestamp),
}

/// A target.
#[derive(Clone, Debug)]
pub struct TargetConfig {
    /// How to reach it.
    pub server: ServerConfig,
}
