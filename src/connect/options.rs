//! A server's configuration, as the options of the drivers.

use std::time::Duration;

use mysql_async::{ClientIdentity, Opts, OptsBuilder, SslOpts};
use sqlx::mysql::{MySqlConnectOptions, MySqlSslMode};

use crate::config::{Address, ServerConfig, TlsMode};
use crate::model::{Error, ErrorKind, Result, Secret};

use super::tls;

/// How often the kernel asks whether the other end of an idle connection is still there.
pub(super) const KEEPALIVE: Duration = Duration::from_secs(15);

/// Stands for the host's name where only the chain is to be checked, `verify-ca`.
///
/// The driver passes a wrong name over by finding this word in the error's text, where newer versions
/// of the TLS library write the name that was expected instead. The name is looked at only after the
/// chain was found right, so nothing else is passed over with it; should either side change, such a
/// certificate is refused, never accepted wrongly.
const NAME_THAT_IS_PASSED_OVER: &str = "NotValidForName";

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

/// Options of the bulk client, with TLS or without.
pub(super) fn bulk(server: &ServerConfig, found_rows: bool, with_tls: bool) -> Result<Opts> {
    let password = password(server)?;
    let mut options = OptsBuilder::default()
        .user(Some(server.user.clone()))
        .pass((!password.is_empty()).then(|| password.expose().to_owned()))
        // Else a loopback connection moves to the server's socket: other account, no TLS.
        .prefer_socket(false)
        .tcp_nodelay(true)
        .tcp_keepalive(Some(KEEPALIVE))
        .client_found_rows(found_rows)
        .stmt_cache_size(0);
    options = match &server.address {
        Address::Tcp { host, port } => options.ip_or_hostname(host.clone()).tcp_port(*port),
        Address::Socket(path) => options.socket(Some(path.to_string_lossy().into_owned())),
    };
    if with_tls {
        let mode = server.tls.mode;
        let is_unchecked = matches!(mode, TlsMode::Preferred | TlsMode::Required);
        let mut tls_options = SslOpts::default()
            .with_danger_accept_invalid_certs(is_unchecked)
            .with_danger_skip_domain_validation(mode != TlsMode::VerifyIdentity);
        if mode == TlsMode::VerifyCa {
            tls_options =
                tls_options.with_danger_tls_hostname_override(Some(NAME_THAT_IS_PASSED_OVER));
        }
        if let Some(ca) = &server.tls.ca {
            tls_options = tls_options
                .with_root_certs(vec![ca.clone().into()])
                // A configured authority is the only one that counts, but a verifier must not be
                // built on none at all, even where nothing is verified.
                .with_disable_built_in_roots(!is_unchecked);
        } else if !is_unchecked {
            let roots = tls::native_roots().into_iter();
            tls_options = tls_options
                .with_root_certs(roots.map(|root| root.to_vec().into()).collect())
                .with_disable_built_in_roots(true);
        }
        if let (Some(cert), Some(key)) = (&server.tls.cert, &server.tls.key) {
            tls_options = tls_options.with_client_identity(Some(ClientIdentity::new(
                cert.clone().into(),
                key.clone().into(),
            )));
        }
        options = options.ssl_opts(tls_options);
    }
    Ok(options.into())
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
