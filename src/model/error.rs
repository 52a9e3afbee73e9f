//! The one error type of the library, and its kinds.
//!
//! A kind decides what happens next (`runtime::retry`); the message, context and server error say
//! what to tell the operator. Messages are lower case, without a full stop, literals in backticks.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Place, TableName, Unit};

/// The result of everything that can fail here.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What kind of thing failed: the retry policy and the exit code follow from it alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum ErrorKind {
    /// The configuration file, the command line or the environment is wrong.
    Config,
    /// A server cannot be reached, or the connection to it was lost.
    Connect,
    /// A server refused the account or the password.
    Auth,
    /// The TLS handshake or a certificate failed.
    Tls,
    /// A server refused a statement for want of a privilege.
    Privilege,
    /// A server's setting makes replication impossible (`log_bin`, `binlog_format`, …).
    Setting,
    /// What the checks found blocks a stream's start, or is to be accepted first.
    Checks,
    /// Another replica with our `server_id` is connected to the source.
    ServerId,
    /// A binlog event is damaged: checksum, length or framing.
    Damaged,
    /// A binlog event, type or statement that this program cannot handle.
    Unsupported,
    /// The binlog that is needed is no longer on the source.
    Purged,
    /// The source answers with another history or another identity than before.
    History,
    /// A table's structure is not known, or does not fit the event.
    Structure,
    /// A table, a database or a file changed or vanished while it was read.
    Changed,
    /// A local file cannot be read or written.
    File,
    /// The disk that holds the data folder is full.
    DiskFull,
    /// Another process holds the data folder or the stream's checkpoint.
    Fenced,
    /// A checkpoint cannot be read, is newer than this program, or does not fit the configuration.
    Checkpoint,
    /// The target refused a statement for a reason in the data.
    Target,
    /// The target refused a statement for a passing reason (deadlock, lock wait, restart).
    TargetBusy,
    /// The target's rows are not what the binlog says was there.
    Drift,
    /// The operator's request cannot be carried out as asked.
    Refused,
    /// A task of ours panicked; its backtrace is in the log.
    Panicked,
    /// A rule of our own was broken: a defect.
    Internal,
}

impl ErrorKind {
    /// The word used on screen and in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Config => "config",
            Self::Connect => "connect",
            Self::Auth => "auth",
            Self::Tls => "tls",
            Self::Privilege => "privilege",
            Self::Setting => "setting",
            Self::Checks => "checks",
            Self::ServerId => "server-id",
            Self::Damaged => "damaged",
            Self::Unsupported => "unsupported",
            Self::Purged => "purged",
            Self::History => "history",
            Self::Structure => "structure",
            Self::Changed => "changed",
            Self::File => "file",
            Self::DiskFull => "disk-full",
            Self::Fenced => "fenced",
            Self::Checkpoint => "checkpoint",
            Self::Target => "target",
            Self::TargetBusy => "target-busy",
            Self::Drift => "drift",
            Self::Refused => "refused",
            Self::Panicked => "panicked",
            Self::Internal => "internal",
        }
    }
}

/// A server's own error, its three parts kept apart.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerError {
    /// The error number, such as 1062.
    pub number: u16,
    /// The five-character SQLSTATE.
    pub sqlstate: String,
    /// The server's text.
    pub message: String,
}

impl fmt::Display for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}): {}", self.number, self.sqlstate, self.message)
    }
}

/// Where something failed, as far as is known there. Layers above fill in what they know.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Context {
    /// The source's name in the configuration.
    pub source: Option<String>,
    /// The target's name in the configuration.
    pub target: Option<String>,
    /// The task's name.
    pub task: Option<String>,
    /// The unit that was at work.
    pub unit: Option<Unit>,
    /// The table concerned, as the source names it.
    pub table: Option<TableName>,
    /// The start of the binlog event concerned.
    pub place: Option<Place>,
    /// The statement that failed, without secrets, shortened.
    pub statement: Option<String>,
    /// The file concerned.
    pub path: Option<String>,
}

/// A failure: what, where, why, and how to mend it.
#[derive(Debug)]
pub struct Error {
    inner: Box<Inner>,
}

#[derive(Debug)]
struct Inner {
    kind: ErrorKind,
    message: String,
    fix: Option<String>,
    context: Context,
    server: Option<ServerError>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// An error of `kind`; `message` says what failed.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            inner: Box::new(Inner {
                kind,
                message: message.into(),
                fix: None,
                context: Context::default(),
                server: None,
                source: None,
            }),
        }
    }

    /// Adds what the operator can do about it.
    #[must_use]
    pub fn with_fix(mut self, fix: impl Into<String>) -> Self {
        self.inner.fix = Some(fix.into());
        self
    }

    /// Adds the error that led to this one; it becomes the `cause:` line.
    #[must_use]
    pub fn with_source(
        mut self,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        self.inner.source = Some(source.into());
        self
    }

    /// Adds the server's own error.
    #[must_use]
    pub fn with_server(mut self, server: ServerError) -> Self {
        self.inner.server = Some(server);
        self
    }

    /// Changes the kind, where a layer above knows better what a failure means.
    #[must_use]
    pub fn with_kind(mut self, kind: ErrorKind) -> Self {
        self.inner.kind = kind;
        self
    }

    /// Fills in context; what is known already stays.
    #[must_use]
    pub fn at(mut self, fill: impl FnOnce(&mut Context)) -> Self {
        let mut more = Context::default();
        fill(&mut more);
        let c = &mut self.inner.context;
        c.source = c.source.take().or(more.source);
        c.target = c.target.take().or(more.target);
        c.task = c.task.take().or(more.task);
        c.unit = c.unit.take().or(more.unit);
        c.table = c.table.take().or(more.table);
        c.place = c.place.take().or(more.place);
        c.statement = c.statement.take().or(more.statement);
        c.path = c.path.take().or(more.path);
        self
    }

    /// The error of a file operation: full disks are told apart.
    pub fn file(action: &str, path: &std::path::Path, error: std::io::Error) -> Self {
        // EDQUOT is not in `std::io::ErrorKind` on every platform, so it is asked for by number too.
        let full = matches!(
            error.kind(),
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded
        );
        let shown = path.display().to_string();
        let made = if full {
            Self::new(
                ErrorKind::DiskFull,
                format!("cannot {action} `{shown}`: the disk is full"),
            )
            .with_fix("free some space on that file system; work goes on by itself then")
        } else {
            let made = Self::new(ErrorKind::File, format!("cannot {action} `{shown}`"));
            match error.kind() {
                std::io::ErrorKind::PermissionDenied => made.with_fix(
                    "give the account that this program runs as the right to it, or configure \
                     another place",
                ),
                std::io::ErrorKind::ReadOnlyFilesystem => {
                    made.with_fix("configure a place on a file system that can be written to")
                }
                _ => made,
            }
        };
        made.with_source(error).at(|c| c.path = Some(shown))
    }

    /// The kind.
    pub fn kind(&self) -> ErrorKind {
        self.inner.kind
    }

    /// What failed, one line.
    pub fn message(&self) -> &str {
        &self.inner.message
    }

    /// What can be done about it, if known.
    pub fn fix(&self) -> Option<&str> {
        self.inner.fix.as_deref()
    }

    /// Where it failed.
    pub fn context(&self) -> &Context {
        &self.inner.context
    }

    /// The server's own error, if a server answered with one.
    pub fn server(&self) -> Option<&ServerError> {
        self.inner.server.as_ref()
    }

    /// The chain of causes in one line, without the message itself; `None` if there is none.
    pub fn cause(&self) -> Option<String> {
        let mut parts = Vec::new();
        if let Some(server) = &self.inner.server {
            parts.push(server.to_string());
        }
        let mut next: Option<&(dyn std::error::Error + 'static)> =
            self.inner.source.as_deref().map(|e| e as _);
        while let Some(error) = next {
            let text = error.to_string();
            if parts.last() != Some(&text) {
                parts.push(text);
            }
            next = error.source();
        }
        if parts.is_empty() {
            None
        } else {
            Some(parts.join(": "))
        }
    }

    /// The form of the command line: `error:`, `cause:` and `fix:` lines.
    pub fn report(&self) -> String {
        use fmt::Write as _;
        let mut text = format!("error: {}", self.inner.message);
        let c = &self.inner.context;
        let mut places = Vec::new();
        if let Some(task) = &c.task {
            places.push(format!("task `{task}`"));
        }
        if let Some(source) = &c.source {
            places.push(format!("source `{source}`"));
        }
        if let Some(target) = &c.target {
            places.push(format!("target `{target}`"));
        }
        if let Some(unit) = c.unit {
            places.push(format!("unit {unit}"));
        }
        if let Some(table) = &c.table {
            places.push(format!("table {table}"));
        }
        if let Some(place) = &c.place {
            places.push(format!("at {place}"));
        }
        if !places.is_empty() {
            let _ = write!(text, " ({})", places.join(", "));
        }
        if let Some(cause) = self.cause() {
            let _ = write!(text, "\ncause: {cause}");
        }
        if let Some(fix) = &self.inner.fix {
            let _ = write!(text, "\nfix: {fix}");
        }
        text
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.inner.message)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.inner.source.as_deref().map(|e| e as _)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn report_has_the_three_lines() {
        let error = Error::new(ErrorKind::Connect, "cannot reach `db:3306`")
            .with_source(std::io::Error::other("connection refused"))
            .with_fix("start the server, or mend `host` and `port`")
            .at(|c| c.source = Some("orders-a".into()));
        assert_eq!(
            error.report(),
            "error: cannot reach `db:3306` (source `orders-a`)\ncause: connection refused\n\
             fix: start the server, or mend `host` and `port`"
        );
    }

    #[test]
    fn context_known_first_stays() {
        let error = Error::new(ErrorKind::Target, "x")
            .at(|c| c.unit = Some(Unit::Load))
            .at(|c| c.unit = Some(Unit::Sync));
        assert_eq!(error.context().unit, Some(Unit::Load));
    }
}
