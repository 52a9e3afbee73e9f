//! Our own client for the binlog stream: log-in, short queries, registration, dump.
//!
//! It hands on the events' bytes as the server sends them, in pieces where they are long, so that a
//! copy can be exact and an event of any size needs no memory. What the events mean is for others.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::config::{Address, ServerConfig, TlsMode};
use crate::model::{
    Error, ErrorKind, Flavor, GtidSet, Position, Result, ServerError, ServerVersion,
};

use super::auth::{Login, Reply};
use super::wire::Wire;
use super::{CONNECT_TIMEOUT, error, options, tls};

/// Capability flags.
/// Source: MySQL's documentation of the protocol; MariaDB's has the same values.
mod capability {
    pub(super) const LONG_PASSWORD: u32 = 1;
    pub(super) const LONG_FLAG: u32 = 1 << 2;
    pub(super) const PROTOCOL_41: u32 = 1 << 9;
    pub(super) const SSL: u32 = 1 << 11;
    pub(super) const TRANSACTIONS: u32 = 1 << 13;
    pub(super) const SECURE_CONNECTION: u32 = 1 << 15;
    pub(super) const PLUGIN_AUTH: u32 = 1 << 19;
    pub(super) const PLUGIN_AUTH_LENENC: u32 = 1 << 21;
}

const COM_QUERY: u8 = 0x03;
const COM_BINLOG_DUMP: u8 = 0x12;
const COM_REGISTER_SLAVE: u8 = 0x15;
/// MariaDB sends ANNOTATE_ROWS only to those who ask for it.
const SEND_ANNOTATE_ROWS: u16 = 2;
/// `utf8mb4_general_ci`.
const COLLATION: u8 = 45;
const OK: u8 = 0x00;
const MORE: u8 = 0x01;
const EOF: u8 = 0xfe;
const ERR: u8 = 0xff;
/// The status byte before an event, and the event's header.
const EVENT_HEAD: usize = 1 + crate::binlog::HEADER_LEN;

/// How to ask for the binlog.
#[derive(Clone, Debug)]
pub struct DumpRequest {
    /// Our number among the source's replicas.
    pub server_id: u32,
    /// Where to begin.
    pub position: Position,
    /// How often an idle source is to make itself heard; one silent for three is taken for lost.
    pub heartbeat: Duration,
}

/// A piece of the binlog stream.
#[derive(Debug)]
pub struct EventPiece<'a> {
    /// Whether an event begins with it; then it has the event's header at least.
    pub is_first: bool,
    /// The bytes, as the server sent them.
    pub bytes: &'a [u8],
}

/// A connection for the binlog stream.
pub struct ReplicationClient {
    wire: Wire,
    label: String,
    version: ServerVersion,
    tls: Option<String>,
    silence: Duration,
}

impl fmt::Debug for ReplicationClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReplicationClient")
            .field("server", &self.label)
            .finish_non_exhaustive()
    }
}

impl ReplicationClient {
    /// Connects and logs in.
    pub async fn connect(server: &ServerConfig) -> Result<Self> {
        let doing = format!("connect to {}", options::label(server));
        match timeout(CONNECT_TIMEOUT, Box::pin(open(server, &doing))).await {
            Ok(result) => result,
            Err(_) => Err(error::silent(&doing, CONNECT_TIMEOUT)),
        }
    }

    /// The server's version.
    pub fn version(&self) -> &ServerVersion {
        &self.version
    }

    /// The TLS version in use; `None` where nothing is encrypted.
    pub fn tls(&self) -> Option<&str> {
        self.tls.as_deref()
    }

    /// Runs a short statement; gives its rows as the text protocol has them.
    pub async fn query(&mut self, sql: &str) -> Result<Vec<Vec<Option<Vec<u8>>>>> {
        let doing = format!("run a statement on {}", self.label);
        match timeout(CONNECT_TIMEOUT, self.ask(sql, &doing)).await {
            Ok(result) => result.map_err(|e| e.at(|c| c.statement = Some(sql.to_owned()))),
            Err(_) => Err(error::silent(&doing, CONNECT_TIMEOUT)),
        }
    }

    async fn ask(&mut self, sql: &str, doing: &str) -> Result<Vec<Vec<Option<Vec<u8>>>>> {
        self.command(COM_QUERY, sql.as_bytes(), doing).await?;
        let head = self.receive(doing).await?;
        if head.first() == Some(&OK) {
            return Ok(Vec::new());
        }
        let columns = Fields(&head).lenenc().ok_or_else(|| garbage(doing))?;
        for _ in 0..columns {
            self.receive(doing).await?;
        }
        // The end of the columns.
        self.receive(doing).await?;
        let mut rows = Vec::new();
        loop {
            let packet = self.receive(doing).await?;
            if packet.first() == Some(&EOF) && packet.len() < 9 {
                return Ok(rows);
            }
            let mut fields = Fields(&packet);
            let row: Option<Vec<_>> = (0..columns).map(|_| fields.text()).collect();
            rows.push(row.ok_or_else(|| garbage(doing))?);
        }
    }

    /// Prepares the session as a replica does, and registers.
    async fn register(&mut self, server_id: u32, heartbeat: Duration) -> Result<()> {
        let nanos = heartbeat.as_nanos();
        let uuid = replica_uuid(server_id);
        // Old and new names: each server reads those it knows.
        let mut settings = vec![
            "SET @master_binlog_checksum = @@global.binlog_checksum, \
             @source_binlog_checksum = @@global.binlog_checksum"
                .to_owned(),
            format!("SET @master_heartbeat_period = {nanos}, @source_heartbeat_period = {nanos}"),
            format!("SET @slave_uuid = '{uuid}', @replica_uuid = '{uuid}'"),
        ];
        if self.version.flavor == Flavor::MariaDB {
            // Events as they are, GTIDs and XA included.
            settings.push("SET @mariadb_slave_capability = 4".to_owned());
        }
        for setting in &settings {
            self.query(setting).await?;
        }
        let doing = format!("replicate from {}", self.label);
        self.command(COM_REGISTER_SLAVE, &registration(server_id), &doing)
            .await?;
        self.receive(&doing).await.map_err(not_a_replica)?;
        self.silence = heartbeat.saturating_mul(3);
        Ok(())
    }

    /// Registers as a replica and asks for the binlog.
    pub async fn dump(&mut self, request: &DumpRequest) -> Result<()> {
        self.register(request.server_id, request.heartbeat).await?;
        let offset = u32::try_from(request.position.offset).map_err(|_| {
            Error::new(
                ErrorKind::Internal,
                "the protocol cannot name an offset beyond 4 GiB",
            )
        })?;
        self.ask_for_binlog(offset, request.server_id, &request.position.file)
            .await
    }

    /// Asks a MariaDB server for the binlog behind these transactions. It refuses if it does not have
    /// every one of them; else the first event names the file it begins in.
    pub async fn dump_behind(
        &mut self,
        set: &GtidSet,
        server_id: u32,
        heartbeat: Duration,
    ) -> Result<()> {
        self.register(server_id, heartbeat).await?;
        for setting in [
            format!("SET @slave_connect_state = '{set}'"),
            "SET @slave_gtid_strict_mode = 1".to_owned(),
            "SET @slave_gtid_ignore_duplicates = 0".to_owned(),
        ] {
            self.query(&setting).await?;
        }
        self.ask_for_binlog(4, server_id, "").await
    }

    async fn ask_for_binlog(&mut self, offset: u32, server_id: u32, file: &str) -> Result<()> {
        let flags = match self.version.flavor {
            Flavor::MariaDB => SEND_ANNOTATE_ROWS,
            Flavor::MySQL | Flavor::TiDB => 0,
        };
        let mut body = offset.to_le_bytes().to_vec();
        body.extend(flags.to_le_bytes());
        body.extend(server_id.to_le_bytes());
        body.extend(file.as_bytes());
        let doing = format!("replicate from {}", self.label);
        self.command(COM_BINLOG_DUMP, &body, &doing).await
    }

    /// Waits until the next piece of the stream is here. Can be dropped and called again.
    pub async fn wait(&mut self) -> Result<()> {
        while !self.has_more() {
            // A slow line is not a silent one: each byte of a long event counts.
            match timeout(self.silence, self.wire.more()).await {
                Ok(Ok(())) => {}
                Ok(Err(e)) => {
                    return Err(error::lost(e, &format!("replicate from {}", self.label)));
                }
                Err(_) => {
                    return Err(Error::new(
                        ErrorKind::Connect,
                        format!(
                            "{} is silent: not even a heartbeat for {}",
                            self.label,
                            humantime::format_duration(self.silence)
                        ),
                    )
                    .with_fix("check the network and the server"));
                }
            }
        }
        Ok(())
    }

    /// The next piece of the stream. Can be dropped and called again: no byte is lost.
    pub async fn next(&mut self) -> Result<EventPiece<'_>> {
        self.wait().await?;
        let Self { wire, label, .. } = self;
        let doing = || format!("replicate from {label}");
        let piece = wire.piece(EVENT_HEAD).await;
        let piece = piece.map_err(|e| error::lost(e, &doing()))?;
        if !piece.is_first {
            return Ok(EventPiece {
                is_first: false,
                bytes: piece.bytes,
            });
        }
        match piece.bytes {
            [OK, event @ ..] if event.len() >= crate::binlog::HEADER_LEN => Ok(EventPiece {
                is_first: true,
                bytes: event,
            }),
            [ERR, _, _, ..] => Err(not_a_replica(stream_refused(
                parse_error(piece.bytes),
                &doing(),
            ))),
            [EOF, ..] if piece.bytes.len() < 9 => Err(Error::new(
                ErrorKind::Connect,
                format!("{label} ended the binlog stream"),
            )),
            _ => Err(garbage(&doing())),
        }
    }

    /// Whether the next piece has been received already.
    pub fn has_more(&self) -> bool {
        self.wire.has_piece(EVENT_HEAD)
    }

    async fn command(&mut self, command: u8, body: &[u8], doing: &str) -> Result<()> {
        let mut packet = vec![command];
        packet.extend(body);
        self.wire.restart();
        self.wire
            .send(&packet)
            .await
            .map_err(|e| error::lost(e, doing))
    }

    /// A packet that is no error.
    async fn receive(&mut self, doing: &str) -> Result<Vec<u8>> {
        let packet = self
            .wire
            .receive()
            .await
            .map_err(|e| error::lost(e, doing))?;
        match packet.first() {
            Some(&ERR) => Err(error::refused(parse_error(&packet), doing)),
            Some(_) => Ok(packet),
            None => Err(garbage(doing)),
        }
    }
}

/// What MySQL lists replicas by. It follows from the `server_id`, so that two with the same one are
/// noticed: the server then drops the older connection and says why.
fn replica_uuid(server_id: u32) -> String {
    // "tideway" in ASCII.
    format!("74696465-7761-7900-8000-0000{server_id:08x}")
}

fn registration(server_id: u32) -> Vec<u8> {
    const HOST: &[u8] = b"tideway";
    let mut body = server_id.to_le_bytes().to_vec();
    body.push(HOST.len() as u8);
    body.extend(HOST);
    // User, password, port, rank and source: not known to anyone who looks.
    body.extend([0; 2 + 2 + 4 + 4]);
    body
}

async fn open(server: &ServerConfig, doing: &str) -> Result<ReplicationClient> {
    let lost = |e| error::lost(e, doing);
    let password = options::password(server)?;
    let (io, host): (Box<dyn super::wire::Io>, Option<&str>) = match &server.address {
        Address::Tcp { host, port } => {
            let stream = TcpStream::connect((host.as_str(), *port))
                .await
                .map_err(lost)?;
            stream.set_nodelay(true).map_err(lost)?;
            (Box::new(stream), Some(host))
        }
        Address::Socket(path) => (
            Box::new(UnixStream::connect(path).await.map_err(lost)?),
            None,
        ),
    };
    let mut wire = Wire::new(io);
    let packet = wire.receive().await.map_err(lost)?;
    if packet.first() == Some(&ERR) {
        return Err(error::refused(parse_error(&packet), doing));
    }
    let greeting = Greeting::parse(&packet).ok_or_else(|| garbage(doing))?;

    let mut flags = capability::LONG_PASSWORD
        | capability::LONG_FLAG
        | capability::PROTOCOL_41
        | capability::TRANSACTIONS
        | capability::SECURE_CONNECTION
        | capability::PLUGIN_AUTH
        | (greeting.capabilities & capability::PLUGIN_AUTH_LENENC);
    let mut tls_version = None;
    if let Some(host) = host
        && options::wants_tls(server)
    {
        if greeting.capabilities & capability::SSL == 0 {
            if server.tls.mode != TlsMode::Preferred {
                return Err(Error::new(
                    ErrorKind::Tls,
                    format!("cannot {doing}: the server offers no TLS"),
                )
                .with_fix("set TLS up there, or use `tls = \"preferred\"`"));
            }
            tracing::warn!(server = %server.name, "no TLS: the server does not offer it");
        } else {
            flags |= capability::SSL;
            let (secured, version) = secure(wire, server, host, flags, doing).await?;
            wire = secured;
            tls_version = Some(version);
        }
    }

    let is_private = tls_version.is_some() || host.is_none();
    let login = Login::new(
        password.expose(),
        is_private,
        &greeting.plugin,
        &greeting.nonce,
    );
    let response = log_in(&login, &server.user, flags);
    wire.send(&response).await.map_err(lost)?;
    authenticate(&mut wire, login, doing).await?;
    Ok(ReplicationClient {
        wire,
        label: options::label(server),
        version: ServerVersion::parse(&greeting.version),
        tls: tls_version,
        silence: CONNECT_TIMEOUT,
    })
}

async fn secure(
    mut wire: Wire,
    server: &ServerConfig,
    host: &str,
    flags: u32,
    doing: &str,
) -> Result<(Wire, String)> {
    wire.send(&log_in_head(flags))
        .await
        .map_err(|e| error::lost(e, doing))?;
    let sequence = wire.sequence();
    let io = wire.into_io().map_err(|e| error::lost(e, doing))?;
    let name = ServerName::try_from(host.to_owned()).map_err(|e| error::tls_failed(e, doing))?;
    let connector = TlsConnector::from(Arc::new(tls::client_config(&server.tls)?));
    let stream = connector
        .connect(name, io)
        .await
        .map_err(|e| error::handshake_failed(e, doing))?;
    let version = stream
        .get_ref()
        .1
        .protocol_version()
        .and_then(|version| version.as_str().map(|text| text.replace('_', ".")))
        .unwrap_or_else(|| "TLS".into());
    let wire = Wire::new(Box::new(stream)).with_sequence(sequence);
    Ok((wire, version))
}

/// The log-in's beginning, which is also how TLS is asked for.
fn log_in_head(flags: u32) -> Vec<u8> {
    let mut head = flags.to_le_bytes().to_vec();
    head.extend((super::wire::PACKET_MAX as u32).to_le_bytes());
    head.push(COLLATION);
    head.extend([0; 23]);
    head
}

fn log_in(login: &Login<'_>, user: &str, flags: u32) -> Vec<u8> {
    let answer = login.first();
    let mut packet = log_in_head(flags);
    packet.extend(user.as_bytes());
    packet.push(0);
    // One byte says the length, with or without the longer form: no answer has 251 bytes.
    packet.push(answer.len() as u8);
    packet.extend(answer);
    packet.extend(login.plugin().as_bytes());
    packet.push(0);
    packet
}

async fn authenticate(wire: &mut Wire, mut login: Login<'_>, doing: &str) -> Result<()> {
    // No plugin asks as often as this.
    for _ in 0..10 {
        let packet = wire.receive().await.map_err(|e| error::lost(e, doing))?;
        let reply = match packet.as_slice() {
            [OK, ..] => return Ok(()),
            [ERR, ..] => return Err(error::refused(parse_error(&packet), doing)),
            [EOF, rest @ ..] => {
                let mut fields = Fields(rest);
                let plugin = fields.until_zero().ok_or_else(|| garbage(doing))?;
                let plugin = String::from_utf8_lossy(plugin);
                Reply::Send(login.switch(&plugin, fields.0)?)
            }
            [MORE, data @ ..] => login.more(data)?,
            // The first versions of parsec sent their salt without the mark.
            data if login.plugin() == "parsec" => login.more(data)?,
            _ => return Err(garbage(doing)),
        };
        if let Reply::Send(answer) = reply {
            wire.send(&answer)
                .await
                .map_err(|e| error::lost(e, doing))?;
        }
    }
    Err(garbage(doing))
}

/// What the server says first.
#[derive(Debug)]
struct Greeting {
    version: String,
    capabilities: u32,
    nonce: Vec<u8>,
    plugin: String,
}

impl Greeting {
    fn parse(packet: &[u8]) -> Option<Self> {
        let mut fields = Fields(packet);
        if fields.take(1)? != [10] {
            return None;
        }
        let version = String::from_utf8_lossy(fields.until_zero()?).into_owned();
        fields.take(4)?;
        let mut nonce = fields.take(8)?.to_vec();
        fields.take(1)?;
        let low = u16::from_le_bytes(fields.take(2)?.try_into().ok()?);
        fields.take(1 + 2)?;
        let high = u16::from_le_bytes(fields.take(2)?.try_into().ok()?);
        let capabilities = u32::from(low) | u32::from(high) << 16;
        let nonce_len = usize::from(*fields.take(1)?.first()?);
        fields.take(10)?;
        // The rest of the nonce with a zero behind it.
        let rest = fields.take(nonce_len.saturating_sub(8).max(13))?;
        nonce.extend(rest.strip_suffix(&[0]).unwrap_or(rest));
        let plugin = fields.until_zero().unwrap_or(fields.0);
        let plugin = if plugin.is_empty() {
            "mysql_native_password".to_owned()
        } else {
            String::from_utf8_lossy(plugin).into_owned()
        };
        Some(Self {
            version,
            capabilities,
            nonce,
            plugin,
        })
    }
}

/// Takes a packet apart.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(head)
    }

    fn until_zero(&mut self) -> Option<&'a [u8]> {
        let end = memchr::memchr(0, self.0)?;
        let text = self.take(end)?;
        self.take(1)?;
        Some(text)
    }

    fn lenenc(&mut self) -> Option<u64> {
        let width = match *self.take(1)?.first()? {
            short @ ..=0xfa => return Some(u64::from(short)),
            0xfc => 2,
            0xfd => 3,
            0xfe => 8,
            0xfb | 0xff => return None,
        };
        let bytes = self.take(width)?;
        Some(
            bytes
                .iter()
                .rev()
                .fold(0, |number, byte| number << 8 | u64::from(*byte)),
        )
    }

    /// A value of a row: the outer `None` is a broken packet, the inner NULL.
    #[expect(clippy::option_option, reason = "NULL and broken are two things")]
    fn text(&mut self) -> Option<Option<Vec<u8>>> {
        if self.0.first() == Some(&0xfb) {
            self.take(1)?;
            return Some(None);
        }
        let length = usize::try_from(self.lenenc()?).ok()?;
        self.take(length).map(|bytes| Some(bytes.to_vec()))
    }
}

fn parse_error(packet: &[u8]) -> ServerError {
    let mut fields = Fields(packet);
    fields.take(1);
    let number = fields
        .take(2)
        .and_then(|two| two.try_into().ok())
        .map_or(0, u16::from_le_bytes);
    // Errors before the log-in have no SQLSTATE.
    let sqlstate = if fields.0.first() == Some(&b'#') {
        fields.take(1);
        fields.take(5).unwrap_or_default()
    } else {
        b"HY000"
    };
    ServerError {
        number,
        sqlstate: String::from_utf8_lossy(sqlstate).into_owned(),
        message: String::from_utf8_lossy(fields.0).into_owned(),
    }
}

fn garbage(doing: &str) -> Error {
    Error::new(
        ErrorKind::Connect,
        format!("cannot {doing}: the answer is not of the MySQL protocol"),
    )
    .with_fix("check `host` and `port`: something else may be listening there")
}

/// Behind the log-in, "access denied" is about the right to replicate: both flavors answer a replica
/// without it by 1045, as if the password were wrong.
fn not_a_replica(error: Error) -> Error {
    if !matches!(error.kind(), ErrorKind::Auth | ErrorKind::Privilege) {
        return error;
    }
    error
        .with_kind(ErrorKind::Privilege)
        .with_fix("grant the account REPLICATION SLAVE on *.*")
}

/// `ER_MASTER_FATAL_ERROR_READING_BINLOG`: the stream's own error, of which only the text says what
/// it is.
const FATAL_READING_BINLOG: u16 = 1236;
/// MariaDB's own number for a replica that was dropped for another with the same `server_id`.
const SAME_SERVER_ID: u16 = 4052;

/// An error that ends the stream.
fn stream_refused(server: ServerError, doing: &str) -> Error {
    if !matches!(server.number, FATAL_READING_BINLOG | SAME_SERVER_ID) {
        return error::refused(server, doing);
    }
    let text = server.message.to_ascii_lowercase();
    let has = |part: &str| text.contains(part);
    let (kind, fix) = if server.number == SAME_SERVER_ID || has("same server_uuid") {
        (
            ErrorKind::ServerId,
            "give this source another `server_id`: a replica with the same one is connected",
        )
    } else if has("not in the master's binlog") {
        (
            ErrorKind::History,
            "the server lacks transactions that were received before: see which server is right",
        )
    } else if has("could not find first log file") || has("could not find") || has("purged") {
        (
            ErrorKind::Purged,
            "the source no longer has that binlog: start its tasks anew from a full copy",
        )
    } else if has("position > file size") || has("impossible position") {
        (
            ErrorKind::History,
            "the source's binlog is shorter than the relay log: it was reset, restored or lost its \
             end; start its tasks anew from a full copy",
        )
    } else if has("binary log is not open") {
        (
            ErrorKind::Setting,
            "switch the binlog on with `log_bin` and restart the server",
        )
    } else if has("truncated in the middle of event") {
        (
            ErrorKind::Damaged,
            "the source's own binlog file is broken there, and its own replicas stop at it too: see with \
             `mysqlbinlog` what is behind, and start its tasks anew from a full copy",
        )
    } else if has("max_allowed_packet") {
        (
            ErrorKind::Setting,
            "raise `max_allowed_packet` on the source",
        )
    } else {
        (
            ErrorKind::Damaged,
            "look at the source's error log and at its binlog with its own tools",
        )
    };
    Error::new(kind, format!("cannot {doing}"))
        .with_server(server)
        .with_fix(fix)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn greetings() {
        let mut packet = b"\x0a9.7.4\0\x07\0\0\0ABCDEFGH\0\xff\xff\xff\x02\0\xff\xdf\x15".to_vec();
        packet.extend([0; 10]);
        packet.extend(b"IJKLMNOPQRST\0caching_sha2_password\0");
        let greeting = Greeting::parse(&packet).unwrap();
        assert_eq!(greeting.version, "9.7.4");
        assert_eq!(greeting.nonce, b"ABCDEFGHIJKLMNOPQRST");
        assert_eq!(greeting.plugin, "caching_sha2_password");
        assert_ne!(greeting.capabilities & capability::SSL, 0);
        for length in 0..packet.len() - 24 {
            assert!(Greeting::parse(&packet[..length]).is_none(), "{length}");
        }
    }

    #[test]
    fn stream_errors_are_told_apart() {
        let kind = |message: &str| {
            let server = ServerError {
                number: FATAL_READING_BINLOG,
                sqlstate: "HY000".into(),
                message: message.into(),
            };
            stream_refused(server, "replicate").kind()
        };
        assert_eq!(
            kind("Could not find first log file name in binary log index file"),
            ErrorKind::Purged
        );
        assert_eq!(
            kind("A slave with the same server_uuid/server_id as this slave has connected"),
            ErrorKind::ServerId
        );
        assert_eq!(
            kind("Client requested source to start replication from position > file size"),
            ErrorKind::History
        );
    }

    #[test]
    fn rows_of_the_text_protocol() {
        let mut fields = Fields(b"\x03abc\xfb\xfc\x02\x00de\x05ab");
        assert_eq!(fields.text(), Some(Some(b"abc".to_vec())));
        assert_eq!(fields.text(), Some(None));
        assert_eq!(fields.text(), Some(Some(b"de".to_vec())));
        assert_eq!(fields.text(), None);
    }
}
