//! A server's configuration, as the options of the drivers.

use std::time::Duration;

use sqlx::mysql::{MySqlConnectOptions, MySqlSslMode};

use crate::config::{Address, ServerConfig, TlsMode};
use crate::model::{Error, ErrorKind, Result, Secret};

/// How often the kernel asks whether the other end of an idle connection is still there.
pub(super) const KEEPALIVE: Duration = Duration::from_secs(15);

/// The password to send. None at this point means that nobody gave one.
pub(super) fn password(server: &ServerConfig) -> Result<&Secret> {
    server.password.as_ref().ok_or_else(|| {
        Error::new(
            ErrorKind::Config,
            format!("no password for `{}` (`{}`)", server.user, server.name),
        )
        .with_fix(
            "set `password_file` or `password_env` for this server, or start in a terminal, which \
             is then asked; `password = \"\"` stands for an account without one",
        )
    })
}

/// What an error calls this server.
pub(super) fn label(server: &ServerConfig) -> String {
    format!("`{}` at `{}`", server.name, server.address)
}

/// Whether TLS is to be tried: never over a Unix socket, which does not leave the machine.
pub(super) fn wants_tls(server: &ServerConfig) -> bool {
    server.tls.mode != TlsMode::Disabled && matches!(server.address, Address::Tcp { .. })
}

/// Options of the catalogue client; none of its own session changes.
pub(super) fn catalogue(server: &ServerConfig) -> Result<MySqlConnectOptions> {
    use sqlx::ConnectOptions as _;

    let mut options = MySqlConnectOptions::new()
        .username(&server.user)
        .pipes_as_concat(false)
        .no_engine_substitution(false)
        .timezone(None)
        .set_names(false)
        .statement_cache_capacity(0)
        // Its log lines would carry whole statements.
        .disable_statement_logging();
    let password = password(server)?;
    if !password.is_empty() {
        options = options.password(password.expose());
    }
    options = match &server.address {
        Address::Tcp { host, port } => options.host(host).port(*port),
        Address::Socket(path) => options.socket(path),
    };
    options = options.ssl_mode(match server.tls.mode {
        _ if !wants_tls(server) => MySqlSslMode::Disabled,
        TlsMode::Disabled => MySqlSslMode::Disabled,
        TlsMode::Preferred => MySqlSslMode::Preferred,
        TlsMode::Required => MySqlSslMode::Required,
        TlsMode::VerifyCa => MySqlSslMode::VerifyCa,
        TlsMode::VerifyIdentity => MySqlSslMode::VerifyIdentity,
    });
    if let Some(ca) = &server.tls.ca {
        options = options.ssl_ca(ca);
    }
    if let (Some(cert), Some(key)) = (&server.tls.cert, &server.tls.key) {
        options = options.ssl_client_cert(cert).ssl_client_key(key);
    }
    Ok(options)
}
