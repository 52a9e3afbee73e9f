//! Opens a connection of our own: TCP or a Unix socket, TLS, log-in.

use std::sync::Arc;

use rustls::pki_types::ServerName;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;

use crate::config::{Address, ServerConfig, TlsMode};
use crate::model::{Error, ErrorKind, Result, ServerVersion};

use super::auth::{Login, Reply};
use super::packets::{EOF, ERR, Fields, MORE, OK, capability, garbage, parse_error};
use super::wire::{Io, Wire};
use super::{error, options, tls};

/// `utf8mb4_general_ci`.
const COLLATION: u8 = 45;

/// A connection that is logged in.
pub(super) struct LoggedIn {
    pub(super) wire: Wire,
    /// The server's version, as it greets with it.
    pub(super) version: ServerVersion,
    /// The server's number of the connection.
    pub(super) id: u32,
    /// The TLS version in use; `None` where nothing is encrypted.
    pub(super) tls: Option<String>,
}

/// Connects and logs in; `flags` are capabilities that are asked for besides those every client needs.
pub(super) async fn open(server: &ServerConfig, flags: u32, doing: &str) -> Result<LoggedIn> {
    let lost = |e| error::lost(e, doing);
    let password = options::password(server).await?;
    let (io, host): (Box<dyn Io>, Option<&str>) = match &server.address {
        Address::Tcp { host, port } => {
            let stream = TcpStream::connect((host.as_str(), *port))
                .await
                .map_err(lost)?;
            stream.set_nodelay(true).map_err(lost)?;
            SockRef::from(&stream)
                .set_tcp_keepalive(&TcpKeepalive::new().with_time(options::KEEPALIVE))
                .map_err(lost)?;
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

    let mut flags = flags
        | capability::LONG_PASSWORD
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
            // Each connection falls back anew; the runtime warns of it once.
            tracing::debug!(server = %server.name, "no TLS: the server does not offer it");
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
    Ok(LoggedIn {
        wire,
        version: ServerVersion::parse(&greeting.version),
        id: greeting.id,
        tls: tls_version,
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
    id: u32,
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
        let id = u32::from_le_bytes(fields.take(4)?.try_into().ok()?);
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
            id,
            capabilities,
            nonce,
            plugin,
        })
    }
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
        assert_eq!((greeting.version.as_str(), greeting.id), ("9.7.4", 7));
        assert_eq!(greeting.nonce, b"ABCDEFGHIJKLMNOPQRST");
        assert_eq!(greeting.plugin, "caching_sha2_password");
        assert_ne!(greeting.capabilities & capability::SSL, 0);
        for length in 0..packet.len() - 24 {
            assert!(Greeting::parse(&packet[..length]).is_none(), "{length}");
        }
    }
}
