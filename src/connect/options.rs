//! A server's configuration, as the options of the drivers.

use std::time::Duration;

use crate::config::{Address, ServerConfig, TlsMode, read_password_file};
use crate::model::{Error, ErrorKind, Result, Secret};

/// How often the kernel asks whether the other end of an idle connection is still there.
pub(super) const KEEPALIVE: Duration = Duration::from_secs(15);

/// The password to send. None at this point means that nobody gave one.
///
/// One in a file is read anew: it may have been changed since. A file that is gone by now, as those
/// of a start's credentials may be, is no reason to stop: what it had at the start still holds.
pub(super) async fn password(server: &ServerConfig) -> Result<Secret> {
    if let Some(path) = server.password_file.clone() {
        let read = tokio::task::spawn_blocking(move || read_password_file(&path)).await;
        match read.unwrap_or_else(|error| Err(std::io::Error::other(error))) {
            // An empty one is being written at this moment, unless it was empty at the start.
            Ok(password) if password.expose().is_empty() => {}
            Ok(password) => return Ok(password),
            Err(error) => tracing::warn!(
                "the password file of `{}` cannot be read any more: {error}; the password it had \
                 before is used",
                server.name
            ),
        }
    }
    server.password.clone().ok_or_else(|| {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::TlsConfig;

    #[tokio::test]
    async fn a_password_file_is_read_at_each_log_in() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("password");
        let server = ServerConfig {
            name: "a".into(),
            address: Address::Socket("/nowhere".into()),
            user: "u".into(),
            password: Some(Secret::new("first")),
            password_file: Some(path.clone()),
            tls: TlsConfig::default(),
        };
        for written in ["second\n", "third"] {
            std::fs::write(&path, written).unwrap();
            let read = password(&server).await.unwrap();
            assert_eq!(read.expose(), written.trim_end());
        }
        std::fs::write(&path, "").unwrap();
        assert_eq!(password(&server).await.unwrap().expose(), "first");
        std::fs::remove_file(&path).unwrap();
        assert_eq!(password(&server).await.unwrap().expose(), "first");
    }
}
