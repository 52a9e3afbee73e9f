//! What the authentication plugins answer to the server's challenge.

use mysql_common::crypto;
use mysql_common::scramble::{
    create_response_for_ed25519, create_response_for_parsec, scramble_native, scramble_sha256,
};

use crate::model::{Error, ErrorKind, Result};

/// The challenge's length in the plugins with a hash.
const SCRAMBLE_LEN: usize = 20;

/// caching_sha2_password: the server knew the password.
const FAST_OK: u8 = 3;
/// caching_sha2_password: the server must see the password once.
const FULL: u8 = 4;
/// caching_sha2_password: asks for the server's RSA key.
const KEY_REQUEST: u8 = 2;

/// One log-in, through the server's questions.
pub(super) struct Login<'a> {
    password: &'a [u8],
    /// Whether the connection hides what is sent: TLS or a Unix socket.
    is_private: bool,
    plugin: String,
    nonce: Vec<u8>,
    is_key_awaited: bool,
}

/// What to do upon a question.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Reply {
    /// Send this.
    Send(Vec<u8>),
    /// Wait for the server's next packet.
    Wait,
}

impl<'a> Login<'a> {
    pub(super) fn new(password: &'a str, is_private: bool, plugin: &str, nonce: &[u8]) -> Self {
        Self {
            password: password.as_bytes(),
            is_private,
            plugin: plugin.to_owned(),
            nonce: nonce.to_vec(),
            is_key_awaited: false,
        }
    }

    pub(super) fn plugin(&self) -> &str {
        &self.plugin
    }

    /// The answer sent with the log-in. The server may have named a plugin that is not the account's:
    /// then this is empty, and the server says which one to use.
    pub(super) fn first(&self) -> Vec<u8> {
        self.answer().unwrap_or_default()
    }

    /// The server wants another plugin.
    pub(super) fn switch(&mut self, plugin: &str, data: &[u8]) -> Result<Vec<u8>> {
        plugin.clone_into(&mut self.plugin);
        self.nonce = data.strip_suffix(&[0]).unwrap_or(data).to_vec();
        if matches!(plugin, "client_ed25519" | "parsec") {
            // Their challenges are bytes that may end in zero.
            self.nonce = data.to_vec();
        }
        self.answer()
    }

    /// The server has a further question.
    pub(super) fn more(&mut self, data: &[u8]) -> Result<Reply> {
        match (self.plugin.as_str(), data) {
            ("caching_sha2_password", [FAST_OK]) => Ok(Reply::Wait),
            ("caching_sha2_password", [FULL]) if self.is_private => {
                let mut password = self.password.to_vec();
                password.push(0);
                Ok(Reply::Send(password))
            }
            ("caching_sha2_password", [FULL]) => {
                self.is_key_awaited = true;
                Ok(Reply::Send(vec![KEY_REQUEST]))
            }
            ("caching_sha2_password", key) if self.is_key_awaited => {
                self.is_key_awaited = false;
                if !key.starts_with(b"-----BEGIN PUBLIC KEY-----") {
                    return Err(self.strange());
                }
                Ok(Reply::Send(self.encrypt(key)))
            }
            ("parsec", salt) => self.parsec(salt).map(Reply::Send),
            _ => Err(self.strange()),
        }
    }

    fn answer(&self) -> Result<Vec<u8>> {
        let scramble = self.nonce.get(..SCRAMBLE_LEN).unwrap_or(&self.nonce);
        match self.plugin.as_str() {
            "mysql_native_password" => Ok(scramble_native(scramble, self.password)
                .map(|hash| hash.to_vec())
                .unwrap_or_default()),
            "caching_sha2_password" => Ok(scramble_sha256(scramble, self.password)
                .map(|hash| hash.to_vec())
                .unwrap_or_default()),
            "client_ed25519" => {
                let nonce = self.nonce.get(..32).ok_or_else(|| self.strange())?;
                Ok(create_response_for_ed25519(self.password, nonce).to_vec())
            }
            // Parsec asks first; the operating system vouches for those of the socket.
            "parsec" | "auth_socket" | "unix_socket" => Ok(Vec::new()),
            other => Err(Error::new(
                ErrorKind::Auth,
                format!("the account's authentication plugin `{other}` is not supported"),
            )
            .with_fix(
                "give the account `caching_sha2_password`, `mysql_native_password`, `ed25519` or \
                 `parsec`",
            )),
        }
    }

    /// The password under the server's RSA key, hidden by the challenge.
    fn encrypt(&self, key: &[u8]) -> Vec<u8> {
        let scramble = self.nonce.get(..SCRAMBLE_LEN).unwrap_or(&self.nonce);
        let hidden: Vec<u8> = self
            .password
            .iter()
            .chain(&[0])
            .zip(scramble.iter().cycle())
            .map(|(byte, mask)| byte ^ mask)
            .collect();
        crypto::encrypt(&hidden, key)
    }

    /// `P`, the factor of the iterations, the salt.
    fn parsec(&self, data: &[u8]) -> Result<Vec<u8>> {
        let data = data.strip_prefix(&[1]).unwrap_or(data);
        let [b'P', factor @ 0..=3, salt @ ..] = data else {
            return Err(self.strange());
        };
        let nonce = self
            .nonce
            .first_chunk::<32>()
            .ok_or_else(|| self.strange())?;
        let iterations = 1024 << *factor;
        Ok(create_response_for_parsec(self.password, nonce, iterations, salt).to_vec())
    }

    fn strange(&self) -> Error {
        Error::new(
            ErrorKind::Auth,
            format!(
                "the server's question for `{}` is not understood",
                self.plugin
            ),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONCE: &[u8] = b"01234567890123456789\0";

    #[test]
    fn an_empty_password_sends_nothing() {
        for plugin in ["mysql_native_password", "caching_sha2_password"] {
            assert_eq!(Login::new("", false, plugin, NONCE).first(), b"");
        }
    }

    #[test]
    fn the_password_goes_in_clear_over_private_lines_alone() {
        let mut login = Login::new("secret", true, "caching_sha2_password", NONCE);
        assert_eq!(login.first().len(), 32);
        assert_eq!(login.more(&[3]).unwrap(), Reply::Wait);
        assert_eq!(login.more(&[4]).unwrap(), Reply::Send(b"secret\0".to_vec()));
        let mut login = Login::new("secret", false, "caching_sha2_password", NONCE);
        assert_eq!(login.more(&[4]).unwrap(), Reply::Send(vec![2]));
        assert!(login.more(b"garbage").is_err());
    }

    #[test]
    fn an_unknown_plugin_is_named() {
        let mut login = Login::new("secret", true, "mysql_native_password", NONCE);
        let error = login.switch("dialog", NONCE).unwrap_err();
        assert!(error.message().contains("`dialog`"));
        assert_eq!(error.kind(), ErrorKind::Auth);
    }
}
