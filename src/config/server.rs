//! `[[source]]` and `[[target]]`.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::model::{Flavor, GtidSet, Position, Secret, Timestamp, position::FIRST_OFFSET};

use super::reader::{Located, Section};

/// The port of both families, and TiDB's gateway's too.
const DEFAULT_PORT: u64 = 3306;

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
    /// The file it was read from: it is read again at each log-in, so that a new password needs no
    /// restart.
    pub password_file: Option<PathBuf>,
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

impl Default for RelayConfig {
    fn default() -> Self {
        Self {
            is_enabled: true,
            start: RelayStart::Auto,
            purge_after: Duration::from_hours(168),
            keep_free_bytes: 10 << 30,
            heartbeat: Duration::from_secs(5),
        }
    }
}

/// A server's name as read, and where it is written.
pub(super) type Name = Located<String>;

impl SourceConfig {
    /// Reads one `[[source]]`; `None` where so much is missing that it cannot be told what it is.
    pub(super) fn read(section: &Section<'_>, folder: &Path) -> Option<(Self, Name)> {
        let server_id = section
            .has("server_id")
            .then(|| section.integer("server_id", 1..=u64::from(u32::MAX), 1))
            .and_then(|id| u32::try_from(id).ok());
        let relay = section
            .section("relay")
            .map_or_else(RelayConfig::default, |relay| RelayConfig::read(&relay));
        if section.section("heartbeat").is_some() {
            section.not_yet("heartbeat", "a heartbeat row at the source");
        }
        let (server, name) = ServerConfig::read(section, folder)?;
        let source = Self {
            server,
            server_id,
            relay,
            heartbeat: None,
        };
        Some((source, name))
    }
}

impl TargetConfig {
    /// Reads one `[[target]]`.
    pub(super) fn read(section: &Section<'_>, folder: &Path) -> Option<(Self, Name)> {
        let (server, name) = ServerConfig::read(section, folder)?;
        Some((Self { server }, name))
    }
}

impl RelayConfig {
    fn read(section: &Section<'_>) -> Self {
        let defaults = Self::default();
        Self {
            is_enabled: section.flag("enabled", defaults.is_enabled),
            start: RelayStart::read(section, "start"),
            purge_after: section.duration(
                "purge_after",
                Duration::from_secs(1)..=Duration::from_hours(87840),
                defaults.purge_after,
            ),
            keep_free_bytes: section.size("keep_free", 0..=1 << 50, defaults.keep_free_bytes),
            heartbeat: section.duration(
                "heartbeat",
                // The servers round to milliseconds; above an hour nobody would notice a dead line.
                Duration::from_millis(100)..=Duration::from_hours(1),
                defaults.heartbeat,
            ),
        }
    }
}

impl RelayStart {
    /// Reads a `start` key; [`RelayStart::Auto`] where it is left out.
    pub(super) fn read(section: &Section<'_>, key: &str) -> Self {
        let Some(text) = section.text_or_time(key) else {
            return Self::Auto;
        };
        match Self::parse(&text.value) {
            Ok(start) => start,
            Err(message) => {
                section.fault_of(
                    &text,
                    message,
                    Some(
                        "write `auto`, `now`, a position such as `bin.000123:4`, a GTID set, or a time \
                         such as `2026-11-23T10:41:07Z`"
                            .to_owned(),
                    ),
                );
                Self::Auto
            }
        }
    }

    /// Reads the forms that `start` may have.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        match text {
            "" => return Err("the start is empty".to_owned()),
            "auto" => return Ok(Self::Auto),
            "now" => return Ok(Self::Now),
            _ => {}
        }
        if let Some(time) = Timestamp::parse(text) {
            return Ok(Self::Time(time));
        }
        // Before positions: `0-1-5` is no file name, but `uuid:1` could look like one.
        for flavor in [Flavor::MariaDB, Flavor::MySQL] {
            if GtidSet::parse(flavor, text).is_ok_and(|set| !set.is_empty()) {
                return Ok(Self::GtidSet(text.to_owned()));
            }
        }
        match text.parse::<Position>() {
            Ok(position) if position.offset < FIRST_OFFSET => Err(format!(
                "`{text}` is before the first event of a file, which starts at {FIRST_OFFSET}"
            )),
            Ok(position) => Ok(Self::Position(position)),
            Err(_) => Err(format!("`{text}` is no place to start from")),
        }
    }
}

impl ServerConfig {
    fn read(section: &Section<'_>, folder: &Path) -> Option<(Self, Name)> {
        let name = read_name(section);
        let address = read_address(section, folder);
        let user = section.required_text("user");
        let password_file = password_file(section, folder);
        let password = read_password(section, password_file.as_ref());
        let tls = read_tls(section, folder, address.as_ref());
        let name = name?;
        let server = Self {
            name: name.value.clone(),
            // With one of them missing there is a problem on the list, and the configuration is not
            // used; the rest of it is still to be checked against this server's name.
            address: address.unwrap_or(Address::Socket(PathBuf::new())),
            user: user.map_or_else(String::new, |user| user.value),
            password,
            password_file: password_file.map(|file| file.value),
            tls,
        };
        Some((server, name))
    }
}

/// Reads `name`, which is also used in paths and as a key of checkpoints.
pub(super) fn read_name(section: &Section<'_>) -> Option<Name> {
    let name = section.required_text("name")?;
    let fits = name.value.len() <= 64
        && name
            .value
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
        && name
            .value
            .bytes()
            .next()
            .is_some_and(|b| b.is_ascii_alphanumeric());
    if !fits {
        section.fault_of(
            &name,
            format!("`{}` cannot be a name", name.value),
            Some(
                "use at most 64 letters, digits, `-`, `_` and `.`, beginning with a letter or digit"
                    .to_owned(),
            ),
        );
    }
    Some(name)
}

fn read_address(section: &Section<'_>, folder: &Path) -> Option<Address> {
    match (section.has("host"), section.has("socket")) {
        (true, true) => {
            section.fault_at(
                "socket",
                "`host` and `socket` are both given",
                Some("keep one of them".to_owned()),
            );
            None
        }
        (false, false) => {
            section.fault(
                "neither `host` nor `socket` is given",
                Some("add `host = \"…\"`, or `socket = \"…\"`".to_owned()),
            );
            None
        }
        (true, false) => {
            let host = section.required_text("host")?;
            let port = section.integer("port", 1..=65_535, DEFAULT_PORT);
            let is_address = host.value.parse::<std::net::Ipv6Addr>().is_ok();
            let is_name = host
                .value
                .chars()
                .all(|c| !c.is_whitespace() && !matches!(c, ':' | '/' | '[' | ']' | '@'));
            if !is_address && !is_name {
                section.fault_of(
                    &host,
                    format!("`{}` is neither a host's name nor an address", host.value),
                    Some(
                        "write the name or address alone; the port has a key of its own".to_owned(),
                    ),
                );
            }
            Some(Address::Tcp {
                host: host.value,
                port: u16::try_from(port).ok()?,
            })
        }
        (false, true) => {
            if section.has("port") {
                section.fault_at(
                    "port",
                    "`port` means nothing with `socket`",
                    Some("take one of them out".to_owned()),
                );
            }
            section
                .path("socket", folder)
                .map(|path| Address::Socket(path.value))
        }
    }
}

/// The file that has the password.
fn password_file(section: &Section<'_>, folder: &Path) -> Option<Located<PathBuf>> {
    if !section.reads_secrets() || !section.has("password_file") {
        return None;
    }
    section.path("password_file", folder)
}

/// The password in a file.
pub(crate) fn read_password_file(path: &Path) -> std::io::Result<Secret> {
    std::fs::read_to_string(path).map(|text| Secret::new(without_line_end(&text)))
}

fn read_password(section: &Section<'_>, file: Option<&Located<PathBuf>>) -> Option<Secret> {
    let given: Vec<&str> = ["password", "password_file", "password_env"]
        .into_iter()
        .filter(|key| section.has(key))
        .collect();
    if let [first, second, ..] = given[..] {
        section.fault_at(
            second,
            format!("`{first}` and `{second}` are both given"),
            Some("keep one of them".to_owned()),
        );
        return None;
    }
    if !section.reads_secrets() {
        return None;
    }
    match *given.first()? {
        "password" => section.text("password").map(|text| Secret::new(text.value)),
        "password_file" => {
            let path = file?;
            match read_password_file(&path.value) {
                Ok(password) => Some(password),
                Err(error) => {
                    section.fault_of(
                        path,
                        format!(
                            "the password file `{}` cannot be read: {error}",
                            path.value.display()
                        ),
                        Some("write the password, alone, into that file".to_owned()),
                    );
                    None
                }
            }
        }
        _ => {
            let name = section.required_text("password_env")?;
            match std::env::var(&name.value) {
                Ok(text) => Some(Secret::new(text)),
                Err(error) => {
                    let what = match error {
                        std::env::VarError::NotPresent => "is not set",
                        std::env::VarError::NotUnicode(_) => "is not UTF-8",
                    };
                    section.fault_of(
                        &name,
                        format!("the environment variable `{}` {what}", name.value),
                        Some(format!("set it, as in `export {}=…`", name.value)),
                    );
                    None
                }
            }
        }
    }
}

/// Editors end a file with a line break; a password does not have one.
fn without_line_end(text: &str) -> &str {
    let text = text.strip_suffix('\n').unwrap_or(text);
    text.strip_suffix('\r').unwrap_or(text)
}

fn read_tls(section: &Section<'_>, folder: &Path, address: Option<&Address>) -> TlsConfig {
    let mode = section.word(
        "tls",
        &[
            ("disabled", TlsMode::Disabled),
            ("preferred", TlsMode::Preferred),
            ("required", TlsMode::Required),
            ("verify-ca", TlsMode::VerifyCa),
            ("verify-identity", TlsMode::VerifyIdentity),
        ],
        TlsMode::default(),
    );
    let is_verified = matches!(mode, TlsMode::VerifyCa | TlsMode::VerifyIdentity);
    if mode == TlsMode::VerifyIdentity && matches!(address, Some(Address::Socket(_))) {
        section.fault_at(
            "tls",
            "`verify-identity` needs a `host`: a socket has no name to compare",
            Some("use `verify-ca`, or a `host`".to_owned()),
        );
    }
    let file = |key: &str| {
        let path = section.path(key, folder)?;
        if let Err(error) = std::fs::File::open(&path.value) {
            section.fault_of(
                &path,
                format!("`{}` cannot be read: {error}", path.value.display()),
                Some("name a PEM file that this account may read".to_owned()),
            );
        }
        Some(path)
    };
    let (ca, cert, key) = (file("tls_ca"), file("tls_cert"), file("tls_key"));
    if let Some(ca) = &ca
        && !is_verified
    {
        section.fault_of(
            ca,
            "`tls_ca` means nothing here: this `tls` checks no certificate",
            Some("set `tls = \"verify-ca\"` or `tls = \"verify-identity\"`".to_owned()),
        );
    }
    match (&cert, &key) {
        (Some(one), None) | (None, Some(one)) => section.fault_of(
            one,
            "`tls_cert` and `tls_key` go together, and one is missing",
            None,
        ),
        (Some(cert), Some(_)) if mode == TlsMode::Disabled => section.fault_of(
            cert,
            "`tls_cert` means nothing with `tls = \"disabled\"`",
            Some("take one of them out".to_owned()),
        ),
        _ => {}
    }
    let value = |path: Option<Located<PathBuf>>| path.map(|path| path.value);
    TlsConfig {
        mode,
        ca: value(ca),
        cert: value(cert),
        key: value(key),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn starts() {
        for (text, expected) in [
            ("auto", RelayStart::Auto),
            ("now", RelayStart::Now),
            (
                "mysql-bin.000123:4",
                RelayStart::Position(Position::new("mysql-bin.000123", 4)),
            ),
            ("0-1-5,1-2-7", RelayStart::GtidSet("0-1-5,1-2-7".into())),
            (
                "3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5",
                RelayStart::GtidSet("3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5".into()),
            ),
            (
                "1970-01-01T00:00:10Z",
                RelayStart::Time(Timestamp::from_seconds(10)),
            ),
        ] {
            assert_eq!(RelayStart::parse(text), Ok(expected), "{text}");
        }
        for text in ["", "bin.000123", "bin.000123:3", "yesterday", "0-1"] {
            assert!(RelayStart::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn passwords_lose_one_line_end() {
        assert_eq!(without_line_end("a b\n"), "a b");
        assert_eq!(without_line_end("a\r\n"), "a");
        assert_eq!(without_line_end("a\n\n"), "a\n");
    }
}
