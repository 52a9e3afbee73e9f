//! What drivers and servers report, turned into the one error type.
//!
//! The kind follows from the server's number alone ([`super::error_table`]), so that the same refusal
//! means the same thing whichever client met it. Texts never hold more of a statement than the caller puts in.

use super::error_table::entry;
use crate::model::{Error, ErrorKind, ServerError};

const TLS_FIX: &str = "check `tls`, `tls_ca`, `tls_cert` and `tls_key` of this server; `tls = \"required\"` \
                       encrypts without checking the certificate";

/// The library behind the checks looks at the host's name also for `verify-ca`.
const TLS_NAME_FIX: &str = "the certificate does not name this host: give the server one that does (a \
                            `subjectAltName`), or use `tls = \"required\"`, which does not check it";

fn tls_fix(cause: &str) -> &'static str {
    if cause.contains("not valid for") {
        TLS_NAME_FIX
    } else {
        TLS_FIX
    }
}

/// A handshake or a certificate that failed.
pub(crate) fn tls_failed(
    cause: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    doing: &str,
) -> Error {
    let cause = cause.into();
    let fix = tls_fix(&cause.to_string());
    Error::new(ErrorKind::Tls, format!("cannot {doing}: TLS failed"))
        .with_source(cause)
        .with_fix(fix)
}

/// A TLS handshake that came to nothing: a connection that broke during it is tried again.
pub(crate) fn handshake_failed(error: std::io::Error, doing: &str) -> Error {
    if is_tls(&error) {
        tls_failed(error, doing)
    } else {
        lost(error, doing)
    }
}

/// The TLS library hands its errors on as I/O errors.
fn is_tls(error: &std::io::Error) -> bool {
    error
        .get_ref()
        .is_some_and(<dyn std::error::Error + Send + Sync>::is::<rustls::Error>)
}

/// A connection that broke, or could not be made.
pub(crate) fn lost(error: std::io::Error, doing: &str) -> Error {
    let fix = match error.kind() {
        std::io::ErrorKind::ConnectionRefused => {
            Some("start the server, or mend `host` and `port`")
        }
        std::io::ErrorKind::NotFound => Some("start the server, or mend `socket`"),
        std::io::ErrorKind::PermissionDenied => {
            Some("let this user reach the server's socket, or use `host` and `port`")
        }
        std::io::ErrorKind::HostUnreachable | std::io::ErrorKind::NetworkUnreachable => {
            Some("check the network and `host`")
        }
        _ => None,
    };
    let (kind, fix) = if is_tls(&error) {
        (ErrorKind::Tls, Some(tls_fix(&error.to_string())))
    } else {
        (ErrorKind::Connect, fix)
    };
    let made = Error::new(kind, format!("cannot {doing}")).with_source(error);
    match fix {
        Some(fix) => made.with_fix(fix),
        None => made,
    }
}

/// No answer within the time allowed.
pub(crate) fn silent(doing: &str, after: std::time::Duration) -> Error {
    Error::new(
        ErrorKind::Connect,
        format!(
            "cannot {doing}: no answer within {}",
            humantime::format_duration(after)
        ),
    )
    .with_fix("check the network and whether the server is overloaded")
}

/// A server's refusal; the kind and the fix follow from its number.
pub fn refused(server: ServerError, doing: &str) -> Error {
    let made = Error::new(kind_of(server.number), format!("cannot {doing}"));
    let made = match entry(server.number) {
        Some(entry) => made.with_fix(entry.remedy),
        None => made,
    };
    made.with_server(server)
}

/// What kind of failure a server's error number is; one that is not known is a reason in the data.
pub fn kind_of(number: u16) -> ErrorKind {
    entry(number).map_or(ErrorKind::Target, |entry| entry.kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from_server(number: u16) -> Error {
        refused(
            ServerError {
                number,
                message: "Access denied for user 'tideway'@'localhost'".into(),
                sqlstate: "28000".into(),
            },
            "connect to `a` at `db:3306`",
        )
    }

    #[test]
    fn kinds_follow_the_number() {
        for (number, kind) in [
            (1045, ErrorKind::Auth),
            (1698, ErrorKind::Auth),
            (1142, ErrorKind::Privilege),
            (1227, ErrorKind::Privilege),
            (1205, ErrorKind::TargetBusy),
            (1213, ErrorKind::TargetBusy),
            (8028, ErrorKind::TargetBusy),
            (9007, ErrorKind::TargetBusy),
            (1053, ErrorKind::Connect),
            (1927, ErrorKind::Connect),
            (1062, ErrorKind::Target),
            (1690, ErrorKind::Target),
        ] {
            assert_eq!(from_server(number).kind(), kind, "{number}");
        }
    }

    #[test]
    fn a_refusal_says_what_why_and_how_to_mend_it() {
        let report = from_server(1045).report();
        assert!(
            report.starts_with("error: cannot connect to `a` at `db:3306`\ncause: 1045 (28000): "),
            "{report}"
        );
        assert!(report.contains("\nfix: check `user`"), "{report}");
    }

    #[test]
    fn a_lost_connection_is_not_a_refusal() {
        let gone = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
        let error = lost(gone, "connect");
        assert_eq!(error.kind(), ErrorKind::Connect);
        assert!(error.fix().is_some());
    }
}
