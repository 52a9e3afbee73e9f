//! The client of checks, grants, catalogue look-ups, meta tables and the console's questions.
//!
//! The driver behind it stays in this file. Statements go by the text protocol, as several that
//! administration needs cannot be prepared, and values come back as the bytes the server wrote:
//! `information_schema` gives VARBINARY on one server and VARCHAR on the next.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use sqlx::mysql::{MySqlConnectOptions, MySqlDatabaseError, MySqlRow};
use sqlx::{Column as _, ConnectOptions as _, Connection as _, MySqlConnection, Row as _};

use crate::config::{Address, ServerConfig};
use crate::model::{Error, ErrorKind, Result, ServerError, ServerVersion};

use super::{CONNECT_TIMEOUT, Session, Setup, error, options};

/// No statement of this client works on rows in bulk; one that takes longer hangs.
const ANSWER_TIMEOUT: Duration = Duration::from_mins(2);

/// The session that every statement may rely on, whatever the server's defaults are.
const SESSION: &str = "SET SESSION sql_mode = '', NAMES utf8mb4";

/// A connection for questions and small changes.
pub struct Catalogue {
    conn: MySqlConnection,
    label: String,
    version: ServerVersion,
    // True while an answer is awaited: what stays true was cancelled or lost.
    is_busy: bool,
}

impl fmt::Debug for Catalogue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Catalogue")
            .field("server", &self.label)
            .finish_non_exhaustive()
    }
}

impl Catalogue {
    /// Connects and logs in.
    pub async fn open(server: &ServerConfig) -> Result<Self> {
        let label = options::label(server);
        let doing = format!("connect to {label}");
        let options = options::catalogue(server)?;
        let conn = match connect(&options, &doing).await {
            // Over a Unix socket the driver cannot show the password to `caching_sha2_password`. Where
            // another client has logged in just before, the server does not ask for it.
            Err(failed)
                if failed.kind() == ErrorKind::Connect
                    && failed.server().is_none()
                    && matches!(server.address, Address::Socket(_)) =>
            {
                Session::open(server, &Setup::default())
                    .await?
                    .close()
                    .await;
                connect(&options, &doing).await?
            }
            result => result?,
        };
        let mut catalogue = Self {
            conn,
            label,
            version: ServerVersion::parse(""),
            is_busy: false,
        };
        catalogue.run(SESSION).await?;
        let rows = catalogue.rows("SELECT VERSION() AS version").await?;
        if let Some(text) = rows.first().and_then(|row| row.text("version")) {
            catalogue.version = ServerVersion::parse(&text);
        }
        Ok(catalogue)
    }

    /// The server's version.
    pub fn version(&self) -> &ServerVersion {
        &self.version
    }

    /// Whether the connection is of no more use.
    pub fn is_broken(&self) -> bool {
        self.is_busy
    }

    /// Runs one statement and gives its rows.
    pub async fn rows(&mut self, sql: &str) -> Result<Vec<CatalogueRow>> {
        let asked = sqlx::raw_sql(sql).fetch_all(&mut self.conn);
        self.is_busy = true;
        let result = tokio::time::timeout(ANSWER_TIMEOUT, asked).await;
        let rows = self.settle(result)?;
        let mut names: Arc<[String]> = Arc::from([]);
        rows.iter()
            .map(|row| read_row(row, &mut names))
            .collect::<sqlx::Result<_>>()
            .map_err(|failed| driver_error(failed, &self.doing()))
    }

    /// Runs one or more statements; gives the rows affected, counted as found.
    pub async fn run(&mut self, sql: &str) -> Result<u64> {
        use sqlx::Executor as _;

        let asked = self.conn.execute(sqlx::raw_sql(sql));
        self.is_busy = true;
        let result = tokio::time::timeout(ANSWER_TIMEOUT, asked).await;
        self.settle(result).map(|done| done.rows_affected())
    }

    /// Says good-bye to the server; a broken connection is just dropped.
    pub async fn close(self) {
        if !self.is_busy {
            // The server may have gone first; there is nothing left to save.
            let _ = tokio::time::timeout(CONNECT_TIMEOUT, self.conn.close()).await;
        }
    }

    fn doing(&self) -> String {
        format!("run a statement on {}", self.label)
    }

    fn settle<T>(
        &mut self,
        result: Result<sqlx::Result<T>, tokio::time::error::Elapsed>,
    ) -> Result<T> {
        match result {
            Ok(Ok(value)) => {
                self.is_busy = false;
                Ok(value)
            }
            Ok(Err(failed)) => {
                // A refusal ends the answer: the connection can be used again.
                self.is_busy = !matches!(failed, sqlx::Error::Database(_));
                Err(driver_error(failed, &self.doing()))
            }
            Err(_) => Err(error::silent(&self.doing(), ANSWER_TIMEOUT)),
        }
    }
}

async fn connect(options: &MySqlConnectOptions, doing: &str) -> Result<MySqlConnection> {
    match tokio::time::timeout(CONNECT_TIMEOUT, Box::pin(options.connect())).await {
        Ok(Ok(conn)) => Ok(conn),
        Ok(Err(failed)) => Err(driver_error(failed, doing)),
        Err(_) => Err(error::silent(doing, CONNECT_TIMEOUT)),
    }
}

/// One row: columns by name, in whatever case the server writes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CatalogueRow {
    names: Arc<[String]>,
    values: Vec<Option<Vec<u8>>>,
}

impl CatalogueRow {
    /// How many columns it has.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether it has no column.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// The columns' names.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// A column's bytes; `None` is NULL, or that there is no such column.
    pub fn bytes(&self, name: &str) -> Option<&[u8]> {
        let column = self
            .names
            .iter()
            .position(|have| have.eq_ignore_ascii_case(name))?;
        self.bytes_at(column)
    }

    /// The bytes of the column at `index`; `None` is NULL, or that there is no such column.
    pub fn bytes_at(&self, index: usize) -> Option<&[u8]> {
        self.values.get(index)?.as_deref()
    }

    /// A column as text.
    pub fn text(&self, name: &str) -> Option<String> {
        self.bytes(name)
            .map(|bytes| String::from_utf8_lossy(bytes).into_owned())
    }

    /// The column at `index` as text.
    pub fn text_at(&self, index: usize) -> Option<String> {
        self.bytes_at(index)
            .map(|bytes| String::from_utf8_lossy(bytes).into_owned())
    }

    /// A column as a number; `None` also where it is not one.
    pub fn u64(&self, name: &str) -> Option<u64> {
        std::str::from_utf8(self.bytes(name)?).ok()?.parse().ok()
    }

    /// The column at `index` as a number; `None` also where it is not one.
    pub fn u64_at(&self, index: usize) -> Option<u64> {
        std::str::from_utf8(self.bytes_at(index)?)
            .ok()?
            .parse()
            .ok()
    }
}

fn read_row(row: &MySqlRow, names: &mut Arc<[String]>) -> sqlx::Result<CatalogueRow> {
    if names.is_empty() {
        *names = row
            .columns()
            .iter()
            .map(|column| column.name().to_owned())
            .collect();
    }
    let values = (0..row.len())
        .map(|index| row.try_get_unchecked::<Option<Vec<u8>>, _>(index))
        .collect::<sqlx::Result<_>>()?;
    Ok(CatalogueRow {
        names: Arc::clone(names),
        values,
    })
}

fn driver_error(failed: sqlx::Error, doing: &str) -> Error {
    match failed {
        sqlx::Error::Database(refusal) => {
            let server = match refusal.try_downcast_ref::<MySqlDatabaseError>() {
                Some(mysql) => ServerError {
                    number: mysql.number(),
                    sqlstate: mysql.code().unwrap_or("HY000").to_owned(),
                    message: mysql.message().to_owned(),
                },
                None => ServerError {
                    number: 0,
                    sqlstate: "HY000".into(),
                    message: refusal.message().to_owned(),
                },
            };
            error::refused(server, doing)
        }
        sqlx::Error::Io(io) => error::lost(io, doing),
        sqlx::Error::Tls(tls) => error::tls_failed(tls, doing),
        other if other.to_string().contains("unknown authentication plugin") => Error::new(
            ErrorKind::Auth,
            format!("cannot {doing}"),
        )
        .with_source(other)
        .with_fix(
            "the checks log in with `caching_sha2_password` or `mysql_native_password`: give \
                     the account one of these",
        ),
        other => Error::new(ErrorKind::Connect, format!("cannot {doing}")).with_source(other),
    }
}
