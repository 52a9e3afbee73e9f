//! A server's configuration, as the options of the drivers.

use std::time::Duration;

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
