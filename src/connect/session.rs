//! A session for bulk work: statements as bytes, results as the text protocol's raw bytes.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, DriverError, QueryResult, Row, TextProtocol, Value};

use crate::config::{ServerConfig, TlsMode};
use crate::model::{Error, ErrorKind, Result, ServerVersion, TableName};

use super::{CONNECT_TIMEOUT, error, options, server_error};

/// What a session is to be like from its first statement on.
#[derive(Clone, Debug, Default)]
pub struct Setup {
    /// Statements run right after the log-in, such as `SET SESSION …`.
    pub statements: Vec<String>,
    /// Whether an UPDATE counts the rows it found rather than those it changed.
    pub found_rows: bool,
    /// How long any one wait for the server may last; `None`: as long as it takes.
    pub read_timeout: Option<Duration>,
}

impl Setup {
    /// A setup with these statements.
    pub fn with(statements: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self {
            statements: statements.into_iter().map(Into::into).collect(),
            ..Self::default()
        }
    }
}

/// What a statement did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Done {
    /// Rows affected; 0 for a statement that gives rows.
    pub affected: u64,
    /// Warnings; 0 for a statement that gives rows.
    pub warnings: u16,
}

/// A packet of several statements that failed.
#[derive(Debug)]
pub struct PacketError {
    /// Which statement of the packet failed, from 0; the ones before it have run, none after it has.
    pub index: usize,
    /// What the statement before it did.
    pub before: Done,
    /// Why.
    pub error: Error,
}

impl fmt::Display for PacketError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "statement {}: {}", self.index + 1, self.error)
    }
}

impl std::error::Error for PacketError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.error)
    }
}

/// One connection to a server.
///
/// A future of its methods that is dropped half-way leaves the connection between two packets:
/// [`Session::is_broken`] is true from then on, and so it is after a lost connection. After any
/// error of a statement the caller rolls back, or closes.
pub struct Session {
    conn: Conn,
    label: String,
    version: ServerVersion,
    tls: Option<String>,
    read_timeout: Option<Duration>,
    // True while an answer is awaited: what stays true was cancelled or lost.
    is_busy: bool,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("server", &self.label)
            .field("id", &self.conn.id())
            .finish_non_exhaustive()
    }
}

impl Session {
    /// Connects, logs in and runs the setup's statements.
    pub async fn open(server: &ServerConfig, setup: &Setup) -> Result<Self> {
        let label = options::label(server);
        let doing = format!("connect to {label}");
        let (conn, is_encrypted) =
            match tokio::time::timeout(CONNECT_TIMEOUT, connect(server, setup.found_rows)).await {
                Ok(Ok(connected)) => connected,
                Ok(Err(Failed::Ours(error))) => return Err(error),
                Ok(Err(Failed::Driver(error))) => return Err(server_error(error, &doing)),
                Err(_) => return Err(error::silent(&doing, CONNECT_TIMEOUT)),
            };
        let mut session = Self {
            conn,
            label,
            version: ServerVersion::parse(""),
            tls: None,
            // The first statements are short ones.
            read_timeout: Some(CONNECT_TIMEOUT),
            is_busy: false,
        };
        let version = session.single("SELECT VERSION()", 0).await?;
        session.version = ServerVersion::parse(&version.unwrap_or_default());
        if is_encrypted {
            let tls = session.single("SHOW SESSION STATUS LIKE 'Ssl_version'", 1);
            session.tls = Some(tls.await?.unwrap_or_else(|| "TLS".into()));
        }
        session.read_timeout = setup.read_timeout;
        for statement in &setup.statements {
            session.execute(statement.as_bytes()).await?;
        }
        Ok(session)
    }

    /// The server's number of this connection, for `KILL` and the process list.
    pub fn connection_id(&self) -> u32 {
        self.conn.id()
    }

    /// The server's version.
    pub fn version(&self) -> &ServerVersion {
        &self.version
    }

    /// The TLS version in use, such as `TLSv1.3`; `None` where nothing is encrypted.
    pub fn tls(&self) -> Option<&str> {
        self.tls.as_deref()
    }

    /// Whether the connection is of no more use: lost, or abandoned in the middle of an answer.
    pub fn is_broken(&self) -> bool {
        self.is_busy || self.conn.is_disconnected()
    }

    /// Runs one statement; rows it may give are read and dropped.
    pub async fn execute(&mut self, sql: &[u8]) -> Result<Done> {
        match self.packet(sql).await {
            Ok(done) => Ok(done.first().copied().unwrap_or_default()),
            Err(failed) => Err(failed.error),
        }
    }

    /// Runs one statement and gives all its rows: for small results.
    pub async fn rows(&mut self, sql: &str) -> Result<Vec<Vec<Option<Vec<u8>>>>> {
        let mut rows = Vec::new();
        let mut stream = self.stream(sql).await?;
        while let Some(row) = stream.next().await? {
            rows.push(row.into_values());
        }
        Ok(rows)
    }

    /// Runs a query for two columns, database and name, and gives them as names. One that is not UTF-8
    /// is an error: a name that is passed over would be an object that is.
    pub async fn names(&mut self, sql: &str) -> Result<Vec<TableName>> {
        let rows = self.rows(sql).await?;
        let names = rows.into_iter().map(|row| {
            let mut cells = row.into_iter().map(|cell| String::from_utf8(cell?).ok());
            Some(TableName::new(cells.next()??, cells.next()??))
        });
        names.collect::<Option<_>>().ok_or_else(|| {
            Error::new(
                ErrorKind::Unsupported,
                format!("`{}` gives a name that is not UTF-8", self.label),
            )
            .with_fix("rename that database or table, or leave it out of the task")
        })
    }

    /// Runs one statement and hands over its rows one by one, in bounded memory; gives their number.
    /// An error of `f` ends it; the connection is broken then, as rows are left unread.
    pub async fn for_each_row(
        &mut self,
        sql: &str,
        mut f: impl FnMut(&[Option<&[u8]>]) -> Result<()>,
    ) -> Result<u64> {
        let mut count = 0;
        let mut stream = self.stream(sql).await?;
        while let Some(row) = stream.next().await? {
            f(&row.values())?;
            count += 1;
        }
        Ok(count)
    }

    /// Runs one statement and gives its rows as they arrive. The stream must be read to its end; if
    /// it is dropped before, the connection is broken.
    pub async fn stream(&mut self, sql: &str) -> Result<RowStream<'_>> {
        let wait = self.read_timeout;
        let doing = self.doing();
        self.is_busy = true;
        match answer(wait, self.conn.query_iter(sql.to_owned())).await {
            Ok(result) => Ok(RowStream {
                result,
                wait,
                doing,
                is_busy: &mut self.is_busy,
                is_over: false,
            }),
            Err(failed) => Err(settle(failed, &mut self.is_busy, &doing)
                .at(|c| c.statement = Some(shorten(sql.as_bytes())))),
        }
    }

    /// Sends several statements, joined by `;`, as one packet and reads all the answers. The server
    /// stops at the first that fails.
    pub async fn packet(&mut self, statements: &[u8]) -> Result<Vec<Done>, PacketError> {
        let wait = self.read_timeout;
        let doing = self.doing();
        let is_busy = &mut self.is_busy;
        let mut done = Vec::new();
        *is_busy = true;
        let mut result = match answer(wait, self.conn.query_iter(statements)).await {
            Ok(result) => result,
            Err(failed) => {
                let error = settle(failed, is_busy, &doing);
                return Err(PacketError {
                    index: 0,
                    before: Done::default(),
                    error,
                });
            }
        };
        loop {
            // No columns at all: the end, or an error that waits to be read.
            let columns = result.columns();
            if columns.as_ref().is_some_and(|columns| columns.is_empty()) {
                done.push(Done {
                    affected: result.affected_rows(),
                    warnings: result.warnings(),
                });
            }
            let read = async {
                while result.next().await?.is_some() {}
                Ok(())
            };
            if let Err(failed) = answer(wait, read).await {
                let error = settle(failed, is_busy, &doing);
                return Err(PacketError {
                    index: done.len(),
                    before: done.last().copied().unwrap_or_default(),
                    error,
                });
            }
            match columns {
                None => break,
                Some(columns) if !columns.is_empty() => done.push(Done::default()),
                Some(_) => {}
            }
        }
        *is_busy = false;
        Ok(done)
    }

    /// Runs a `LOAD DATA LOCAL`; the server gets `data` for whichever file the statement names. `piece` is
    /// how much of it is sent in one packet.
    pub async fn load_data(&mut self, sql: &[u8], data: Bytes, piece: usize) -> Result<Done> {
        let piece = piece.max(1);
        let pieces: Vec<std::io::Result<Bytes>> = (0..data.len())
            .step_by(piece)
            .map(|from| Ok(data.slice(from..data.len().min(from + piece))))
            .collect();
        drop(data);
        self.conn
            .set_infile_handler(async move { Ok(futures_util::stream::iter(pieces).boxed()) });
        self.execute(sql).await
    }

    /// Sends several queries, each of which gives rows, in one packet; gives the rows of each. The server
    /// stops at the first that fails, and its number is in the error: the ones before it have run.
    pub async fn results(
        &mut self,
        queries: &[String],
    ) -> Result<Vec<Vec<Vec<Option<Vec<u8>>>>>, PacketError> {
        let wait = self.read_timeout;
        let doing = self.doing();
        let is_busy = &mut self.is_busy;
        let mut all = Vec::with_capacity(queries.len());
        if queries.is_empty() {
            return Ok(all);
        }
        let failed = |index, failed, is_busy: &mut bool| PacketError {
            index,
            before: Done::default(),
            error: settle(failed, is_busy, &doing),
        };
        *is_busy = true;
        let mut result = match answer(wait, self.conn.query_iter(queries.join(";"))).await {
            Ok(result) => result,
            Err(error) => return Err(failed(0, error, is_busy)),
        };
        // No columns at all: the end, or an error that waits to be read.
        while result.columns().is_some() || all.len() < queries.len() {
            let mut rows = Vec::new();
            let read = async {
                while let Some(row) = result.next().await? {
                    rows.push(TextRow { row }.into_values());
                }
                Ok(())
            };
            if let Err(error) = answer(wait, read).await {
                return Err(failed(all.len(), error, is_busy));
            }
            all.push(rows);
        }
        *is_busy = false;
        Ok(all)
    }

    /// Says good-bye to the server; a broken connection is just dropped.
    pub async fn close(self) {
        if !self.is_broken() {
            // The server may have gone first; there is nothing left to save.
            let _ = tokio::time::timeout(CONNECT_TIMEOUT, self.conn.disconnect()).await;
        }
    }

    fn doing(&self) -> String {
        format!("run a statement on {}", self.label)
    }

    /// One column of the first row, as text.
    async fn single(&mut self, sql: &str, column: usize) -> Result<Option<String>> {
        let rows = self.rows(sql).await?;
        let value = rows
            .into_iter()
            .next()
            .and_then(|row| row.into_iter().nth(column));
        Ok(value
            .flatten()
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
    }
}

enum Failed {
    Driver(mysql_async::Error),
    Ours(Error),
}

/// Connects, with TLS where it is wanted; `preferred` does without where the server has none.
async fn connect(server: &ServerConfig, found_rows: bool) -> Result<(Conn, bool), Failed> {
    let with_tls = options::wants_tls(server);
    let opts = options::bulk(server, found_rows, with_tls).map_err(Failed::Ours)?;
    match Conn::new(opts).await {
        Err(mysql_async::Error::Driver(DriverError::NoClientSslFlagFromServer))
            if server.tls.mode == TlsMode::Preferred =>
        {
            // Each connection falls back anew; the runtime warns of it once.
            tracing::debug!(server = %server.name, "no TLS: the server does not offer it");
            let opts = options::bulk(server, found_rows, false).map_err(Failed::Ours)?;
            let conn = Conn::new(opts).await.map_err(Failed::Driver)?;
            Ok((conn, false))
        }
        Ok(conn) => Ok((conn, with_tls)),
        Err(error) => Err(Failed::Driver(error)),
    }
}

enum NoAnswer {
    Failed(mysql_async::Error),
    Silent(Duration),
}

/// Waits for an answer, at most as long as allowed.
async fn answer<T>(
    wait: Option<Duration>,
    future: impl Future<Output = mysql_async::Result<T>>,
) -> Result<T, NoAnswer> {
    match wait {
        None => future.await.map_err(NoAnswer::Failed),
        Some(wait) => match tokio::time::timeout(wait, future).await {
            Ok(result) => result.map_err(NoAnswer::Failed),
            Err(_) => Err(NoAnswer::Silent(wait)),
        },
    }
}

/// Turns a failed wait into our error. A refusal ends the answer: the connection can be used again.
fn settle(failed: NoAnswer, is_busy: &mut bool, doing: &str) -> Error {
    match failed {
        NoAnswer::Failed(failed) => {
            let is_fatal = failed.is_fatal();
            let error = server_error(failed, doing);
            // A server that goes away may say so first.
            *is_busy = is_fatal || error.kind() == ErrorKind::Connect;
            error
        }
        NoAnswer::Silent(wait) => error::silent(doing, wait),
    }
}

const STATEMENT_SHOWN: usize = 300;

/// A statement's beginning, for an error.
fn shorten(sql: &[u8]) -> String {
    let text = String::from_utf8_lossy(sql.get(..STATEMENT_SHOWN).unwrap_or(sql));
    if sql.len() > STATEMENT_SHOWN {
        format!("{text}…")
    } else {
        text.into_owned()
    }
}

/// The rows of a statement, as they arrive.
pub struct RowStream<'a> {
    result: QueryResult<'a, 'static, TextProtocol>,
    wait: Option<Duration>,
    doing: String,
    is_busy: &'a mut bool,
    is_over: bool,
}

impl fmt::Debug for RowStream<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RowStream")
            .field("doing", &self.doing)
            .finish_non_exhaustive()
    }
}

impl RowStream<'_> {
    /// The columns' names.
    pub fn column_names(&self) -> Vec<String> {
        self.result
            .columns_ref()
            .iter()
            .map(|column| column.name_str().into_owned())
            .collect()
    }

    /// The next row; `None` at the end.
    pub async fn next(&mut self) -> Result<Option<TextRow>> {
        if self.is_over {
            return Ok(None);
        }
        match answer(self.wait, self.result.next()).await {
            Ok(Some(row)) => Ok(Some(TextRow { row })),
            Ok(None) => {
                self.is_over = true;
                if self.result.columns().is_some() {
                    // Left as busy: the answers to come would be taken for those of the next one.
                    return Err(Error::new(
                        ErrorKind::Internal,
                        format!("cannot {}: more than one result", self.doing),
                    ));
                }
                *self.is_busy = false;
                Ok(None)
            }
            Err(failed) => {
                self.is_over = true;
                Err(settle(failed, self.is_busy, &self.doing))
            }
        }
    }
}

/// One row, as the text protocol carries it.
#[derive(Debug)]
pub struct TextRow {
    row: Row,
}

impl TextRow {
    /// How many columns it has.
    pub fn len(&self) -> usize {
        self.row.len()
    }

    /// Whether it has no column.
    pub fn is_empty(&self) -> bool {
        self.row.len() == 0
    }

    /// The value of a column; `None` is NULL, or that there is no such column.
    pub fn get(&self, column: usize) -> Option<&[u8]> {
        match self.row.as_ref(column) {
            // The text protocol has bytes and NULL alone.
            Some(Value::Bytes(bytes)) => Some(bytes),
            _ => None,
        }
    }

    /// All values.
    pub fn values(&self) -> Vec<Option<&[u8]>> {
        (0..self.len()).map(|column| self.get(column)).collect()
    }

    /// All values, owned.
    pub fn into_values(self) -> Vec<Option<Vec<u8>>> {
        self.row
            .unwrap_raw()
            .into_iter()
            .map(|value| match value {
                Some(Value::Bytes(bytes)) => Some(bytes),
                _ => None,
            })
            .collect()
    }
}
