//! A session for bulk work: statements as bytes, results as the text protocol's raw bytes.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;

use crate::config::ServerConfig;
use crate::model::{Error, ErrorKind, Result, ServerVersion, TableName};

use super::line::{Answer, Cells, Done, Failed, Line, Next, TextRow};
use super::packets::capability;
use super::{CONNECT_TIMEOUT, error, login, options};

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
    line: Line,
    id: u32,
    version: ServerVersion,
    tls: Option<String>,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("server", &self.line.label())
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

impl Session {
    /// Connects, logs in and runs the setup's statements.
    pub async fn open(server: &ServerConfig, setup: &Setup) -> Result<Self> {
        let label = options::label(server);
        let doing = format!("connect to {label}");
        let mut flags =
            capability::LOCAL_FILES | capability::MULTI_STATEMENTS | capability::MULTI_RESULTS;
        if setup.found_rows {
            flags |= capability::FOUND_ROWS;
        }
        let opened = Box::pin(login::open(server, flags, &doing));
        let opened = match tokio::time::timeout(CONNECT_TIMEOUT, opened).await {
            Ok(opened) => opened?,
            Err(_) => return Err(error::silent(&doing, CONNECT_TIMEOUT)),
        };
        let mut session = Self {
            // The first statements are short ones.
            line: Line::new(opened.wire, label, Some(CONNECT_TIMEOUT)),
            id: opened.id,
            version: opened.version,
            tls: opened.tls,
        };
        // What greets may be a proxy with a version of its own.
        let rows = session
            .rows("SELECT VERSION(), @@max_allowed_packet")
            .await?;
        let mut cells = rows.into_iter().flatten().map(Option::unwrap_or_default);
        let version = cells.next().unwrap_or_default();
        session.version = ServerVersion::parse(&String::from_utf8_lossy(&version));
        let most = cells.next().and_then(|most| String::from_utf8(most).ok());
        session.line.most = most.and_then(|most| most.parse().ok());
        session.line.wait = setup.read_timeout;
        for statement in &setup.statements {
            session.execute(statement.as_bytes()).await?;
        }
        Ok(session)
    }

    /// The server's number of this connection, for `KILL` and the process list.
    pub fn connection_id(&self) -> u32 {
        self.id
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
        self.line.is_busy
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
                format!("`{}` gives a name that is not UTF-8", self.line.label()),
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
        let mut names = Vec::new();
        let begun = async {
            self.line.ask(sql.as_bytes()).await?;
            self.line.answer(Some(&mut names)).await
        };
        match begun.await {
            Ok(answer) => {
                let (columns, ended) = match answer {
                    Answer::Rows(columns) => (columns, None),
                    Answer::Done(_, more) => (0, Some(more)),
                };
                Ok(RowStream {
                    line: &mut self.line,
                    names,
                    columns,
                    cells: Cells::default(),
                    ended,
                    is_over: false,
                })
            }
            Err(failed) => Err(self
                .line
                .settle(failed)
                .at(|c| c.statement = Some(shorten(sql.as_bytes())))),
        }
    }

    /// Sends several statements, joined by `;`, as one packet and reads all the answers. The server
    /// stops at the first that fails.
    pub async fn packet(&mut self, statements: &[u8]) -> Result<Vec<Done>, PacketError> {
        let mut done = Vec::new();
        match self.run(statements, &mut done).await {
            Ok(()) => {
                self.line.is_busy = false;
                Ok(done)
            }
            Err(failed) => Err(PacketError {
                index: done.len(),
                before: done.last().copied().unwrap_or_default(),
                error: self.line.settle(failed),
            }),
        }
    }

    async fn run(&mut self, statements: &[u8], done: &mut Vec<Done>) -> Result<(), Failed> {
        self.line.ask(statements).await?;
        loop {
            let (what, more) = match self.line.answer(None).await? {
                Answer::Done(what, more) => (what, more),
                Answer::Rows(_) => (Done::default(), self.line.pass_over().await?),
            };
            done.push(what);
            if !more {
                return Ok(());
            }
        }
    }

    /// Runs a `LOAD DATA LOCAL`; the server gets `data` for whichever file the statement names. `piece` is
    /// how much of it is sent in one packet.
    pub async fn load_data(&mut self, sql: &[u8], data: Bytes, piece: usize) -> Result<Done> {
        self.line.file = Some((data, piece.min(PIECE_MAX)));
        let done = self.execute(sql).await;
        self.line.file = None;
        done
    }

    /// Sends several queries, each of which gives rows, in one packet; gives the rows of each. The server
    /// stops at the first that fails, and its number is in the error: the ones before it have run.
    pub async fn results(
        &mut self,
        queries: &[String],
    ) -> Result<Vec<Vec<Vec<Option<Vec<u8>>>>>, PacketError> {
        let mut all = Vec::with_capacity(queries.len());
        if queries.is_empty() {
            return Ok(all);
        }
        match self.collect(&queries.join(";"), &mut all).await {
            Ok(()) => {
                self.line.is_busy = false;
                Ok(all)
            }
            Err(failed) => Err(PacketError {
                index: all.len(),
                before: Done::default(),
                error: self.line.settle(failed),
            }),
        }
    }

    async fn collect(
        &mut self,
        queries: &str,
        all: &mut Vec<Vec<Vec<Option<Vec<u8>>>>>,
    ) -> Result<(), Failed> {
        self.line.ask(queries.as_bytes()).await?;
        let mut cells = Cells::default();
        loop {
            let mut rows = Vec::new();
            let more = match self.line.answer(None).await? {
                Answer::Done(_, more) => more,
                Answer::Rows(columns) => loop {
                    match self.line.next().await? {
                        Next::End(more) => break more,
                        Next::Row => {
                            let packet = self.line.packet();
                            cells.find(packet, columns).ok_or(Failed::Garbage)?;
                            rows.push(TextRow::new(packet, &cells).into_values());
                        }
                    }
                },
            };
            all.push(rows);
            if !more {
                return Ok(());
            }
        }
    }

    /// Says good-bye to the server; a broken connection is just dropped.
    pub async fn close(mut self) {
        if !self.is_broken() {
            // The server may have gone first; there is nothing left to save.
            let _ = tokio::time::timeout(CONNECT_TIMEOUT, self.line.quit()).await;
        }
    }
}

/// The most of a file that goes into one packet.
const PIECE_MAX: usize = 8 << 20;

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
    line: &'a mut Line,
    names: Vec<String>,
    columns: usize,
    cells: Cells,
    /// Set where there are no more rows: whether another result follows, which there must not.
    ended: Option<bool>,
    is_over: bool,
}

impl fmt::Debug for RowStream<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RowStream")
            .field("server", &self.line.label())
            .finish_non_exhaustive()
    }
}

impl RowStream<'_> {
    /// The columns' names.
    pub fn column_names(&self) -> Vec<String> {
        self.names.clone()
    }

    /// The next row; `None` at the end.
    pub async fn next(&mut self) -> Result<Option<TextRow<'_>>> {
        if self.is_over {
            return Ok(None);
        }
        let more = match self.ended {
            Some(more) => more,
            None => match self.read().await {
                Ok(Next::Row) => {
                    return Ok(Some(TextRow::new(self.line.packet(), &self.cells)));
                }
                Ok(Next::End(more)) => more,
                Err(failed) => {
                    self.is_over = true;
                    return Err(self.line.settle(failed));
                }
            },
        };
        self.is_over = true;
        if more {
            // Left as busy: the answers to come would be taken for those of the next one.
            return Err(Error::new(
                ErrorKind::Internal,
                format!(
                    "cannot run a statement on {}: more than one result",
                    self.line.label()
                ),
            ));
        }
        self.line.is_busy = false;
        Ok(None)
    }

    async fn read(&mut self) -> Result<Next, Failed> {
        let next = self.line.next().await?;
        if matches!(next, Next::Row) {
            let found = self.cells.find(self.line.packet(), self.columns);
            found.ok_or(Failed::Garbage)?;
        }
        Ok(next)
    }
}
