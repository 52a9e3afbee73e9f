//! Our own client for the binlog stream: log-in, short queries, registration, dump.
//!
//! It hands on the events' bytes as the server sends them, in pieces where they are long, so that a
//! copy can be exact and an event of any size needs no memory. What the events mean is for others.

use std::fmt;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::time::Duration;

use tokio::time::timeout;

use crate::config::ServerConfig;
use crate::model::{
    Error, ErrorKind, Flavor, GtidSet, Position, Result, ServerError, ServerVersion,
};

use super::packets::{COM_QUERY, ERR, Fields, OK, garbage, is_end, parse_error};
use super::wire::Wire;
use super::{CONNECT_TIMEOUT, error, login, options};

const COM_BINLOG_DUMP: u8 = 0x12;
const COM_REGISTER_SLAVE: u8 = 0x15;
/// MariaDB sends ANNOTATE_ROWS only to those who ask for it.
const SEND_ANNOTATE_ROWS: u16 = 2;
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
        let opened = Box::pin(login::open(server, 0, &doing));
        let opened = match timeout(CONNECT_TIMEOUT, opened).await {
            Ok(result) => result?,
            Err(_) => return Err(error::silent(&doing, CONNECT_TIMEOUT)),
        };
        if opened.tls.is_none() && options::wants_tls(server) {
            tracing::warn!(server = %server.name, "no TLS: the server does not offer it");
        }
        Ok(Self {
            wire: opened.wire,
            label: options::label(server),
            version: opened.version,
            tls: opened.tls,
            silence: CONNECT_TIMEOUT,
        })
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
            if is_end(&packet) {
                return Ok(rows);
            }
            let mut fields = Fields(&packet);
            let cells = (0..columns).map(|_| Some(fields.cell()?.map(<[u8]>::to_vec)));
            let row: Option<Vec<_>> = cells.collect();
            rows.push(row.ok_or_else(|| garbage(doing))?);
        }
    }

    /// Prepares the session as a replica does, and registers.
    async fn register(&mut self, server_id: u32, heartbeat: Duration) -> Result<()> {
        let nanos = heartbeat.as_nanos();
        let uuid = if server_id == 0 {
            look_uuid()
        } else {
            replica_uuid(server_id)
        };
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
        let answer = timeout(CONNECT_TIMEOUT, async {
            self.command(COM_REGISTER_SLAVE, &registration(server_id), &doing)
                .await?;
            self.receive(&doing).await
        });
        match answer.await {
            Ok(answer) => answer.map_err(not_a_replica)?,
            Err(_) => return Err(error::silent(&doing, CONNECT_TIMEOUT)),
        };
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
        // From here on it is the stream that may not be silent.
        match timeout(
            CONNECT_TIMEOUT,
            self.command(COM_BINLOG_DUMP, &body, &doing),
        )
        .await
        {
            Ok(sent) => sent,
            Err(_) => Err(error::silent(&doing, CONNECT_TIMEOUT)),
        }
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
            bytes if is_end(bytes) => Err(Error::new(
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

/// What MySQL tells the dumps of those apart by who have no `server_id`. It ends the older of two of the
/// same uuid, and of two without any; so each has another one.
fn look_uuid() -> String {
    // Each of these has other keys.
    let number = || RandomState::new().build_hasher().finish();
    let (head, tail) = (number(), number());
    format!(
        "{:08x}-{:04x}-4{:03x}-8{:03x}-{:012x}",
        head >> 32,
        (head >> 16) & 0xffff,
        head & 0xfff,
        tail >> 52,
        tail & 0xffff_ffff_ffff
    )
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
            "the source no longer has that binlog: start its tasks anew from a full copy (README, \
             \"Starting anew\")",
        )
    } else if has("position > file size") || has("impossible position") {
        (
            ErrorKind::History,
            "the source's binlog is shorter than the relay log: it was reset, restored or lost its \
             end; start its tasks anew from a full copy (README, \"Starting anew\")",
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
             `mysqlbinlog` what is behind, and start its tasks anew from a full \
             copy (README, \"Starting anew\")",
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
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    /// One that logs us in, answers statements, and then never says anything again.
    #[tokio::test]
    async fn a_server_that_hangs_is_not_waited_for_for_ever() {
        let (ours, mut theirs) = tokio::io::duplex(1 << 16);
        let mut client = ReplicationClient {
            wire: Wire::new(Box::new(ours)),
            label: "`a`".into(),
            version: ServerVersion::parse("9.7.4"),
            tls: None,
            silence: CONNECT_TIMEOUT,
        };
        let server = async {
            let mut head = [0; 4];
            let mut body = vec![COM_QUERY];
            while body.first() == Some(&COM_QUERY) {
                theirs.read_exact(&mut head).await.unwrap();
                body.resize(usize::from(u16::from_le_bytes([head[0], head[1]])), 0);
                theirs.read_exact(&mut body).await.unwrap();
                if body.first() == Some(&COM_QUERY) {
                    let ok = [7, 0, 0, 1, OK, 0, 0, 2, 0, 0, 0];
                    theirs.write_all(&ok).await.unwrap();
                }
            }
            std::future::pending::<()>().await;
        };
        let request = DumpRequest {
            server_id: 7,
            position: Position::new("bin.000001", 4),
            heartbeat: Duration::from_secs(10),
        };
        let asked = tokio::select! {
            asked = client.dump(&request) => asked,
            () = server => Ok(()),
        };
        let error = asked.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Connect, "{error}");
    }

    #[test]
    fn looks_are_told_apart() {
        let (one, other) = (look_uuid(), look_uuid());
        assert_ne!(one, other);
        let lengths: Vec<usize> = one.split('-').map(str::len).collect();
        assert_eq!(lengths, [8, 4, 4, 4, 12]);
        assert_eq!(replica_uuid(7), replica_uuid(7));
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
}
