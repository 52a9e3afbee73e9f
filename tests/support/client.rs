//! A plain synchronous client, for what a test asks of a server.
//!
//! It may be used from anywhere, also within an asynchronous test: each call runs on a thread of its
//! own.

use std::path::Path;
use std::time::Duration;

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Opts, OptsBuilder, Row, Value};
use tokio::runtime::Runtime;

/// How long a log-in may take.
const LOG_IN: Duration = Duration::from_secs(20);

/// A connection.
pub(crate) struct Client {
    runtime: OwnRuntime,
    // Taken out only while a call runs, and by the drop.
    conn: Option<Conn>,
}

impl Client {
    /// Connects as root through the socket.
    pub(crate) fn root(socket: &Path) -> Result<Self, mysql_async::Error> {
        Self::open(
            OptsBuilder::default()
                .socket(Some(socket.display().to_string()))
                .user(Some("root")),
        )
    }

    /// Connects over TCP.
    pub(crate) fn tcp(port: u16, user: &str, password: &str) -> Result<Self, mysql_async::Error> {
        Self::at("127.0.0.1", port, user, password)
    }

    /// Connects to any server.
    pub(crate) fn at(
        host: &str,
        port: u16,
        user: &str,
        password: &str,
    ) -> Result<Self, mysql_async::Error> {
        Self::open(
            OptsBuilder::default()
                .ip_or_hostname(host)
                .tcp_port(port)
                .prefer_socket(false)
                .user(Some(user))
                .pass(Some(password)),
        )
    }

    fn open(options: OptsBuilder) -> Result<Self, mysql_async::Error> {
        let runtime = OwnRuntime::new();
        // One statement after the other with ten values each must not be prepared for nothing.
        let options = Opts::from(options.stmt_cache_size(0));
        let conn = on_a_thread(|| {
            runtime.block_on(async {
                let mut conn = connect(options).await?;
                conn.query_drop("SET NAMES utf8mb4, time_zone = '+00:00'")
                    .await?;
                Ok::<_, mysql_async::Error>(conn)
            })
        })?;
        Ok(Self {
            runtime,
            conn: Some(conn),
        })
    }

    /// Runs one statement or several, and says how it went.
    pub(crate) fn try_run(&mut self, sql: &str) -> Result<(), mysql_async::Error> {
        let (runtime, conn) = (&self.runtime, self.conn.as_mut().expect("it is open"));
        on_a_thread(|| runtime.block_on(async { conn.query_drop(sql).await }))
    }

    /// Runs one statement or several; a failure fails the test.
    pub(crate) fn run(&mut self, sql: &str) {
        if let Err(error) = self.try_run(sql) {
            panic!("{error}\nstatement: {}", shortened(sql));
        }
    }

    /// All rows of a query, as the bytes the server prints; `None` is NULL.
    pub(crate) fn rows(&mut self, sql: &str) -> Vec<Vec<Option<Vec<u8>>>> {
        let (runtime, conn) = (&self.runtime, self.conn.as_mut().expect("it is open"));
        let rows: Result<Vec<Row>, _> =
            on_a_thread(|| runtime.block_on(async { conn.query(sql).await }));
        let rows = rows.unwrap_or_else(|error| panic!("{error}\nstatement: {}", shortened(sql)));
        rows.into_iter()
            .map(|row| {
                row.unwrap()
                    .into_iter()
                    .map(|value| match value {
                        Value::NULL => None,
                        Value::Bytes(bytes) => Some(bytes),
                        other => panic!("the text protocol sends only bytes, not {other:?}"),
                    })
                    .collect()
            })
            .collect()
    }

    /// All rows as text; NULL is `NULL`.
    pub(crate) fn texts(&mut self, sql: &str) -> Vec<Vec<String>> {
        let text = |value: Option<Vec<u8>>| {
            value.map_or_else(
                || "NULL".to_owned(),
                |bytes| String::from_utf8_lossy(&bytes).into_owned(),
            )
        };
        self.rows(sql)
            .into_iter()
            .map(|row| row.into_iter().map(text).collect())
            .collect()
    }

    /// The first value of the first row, as text; the empty text if there is no row.
    pub(crate) fn value(&mut self, sql: &str) -> String {
        self.texts(sql)
            .into_iter()
            .next()
            .and_then(|row| row.into_iter().next())
            .unwrap_or_default()
    }

    /// The first value of the first row, as a number.
    pub(crate) fn number(&mut self, sql: &str) -> i64 {
        let value = self.value(sql);
        value
            .parse()
            .unwrap_or_else(|_| panic!("`{value}` is no number; statement: {sql}"))
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let (runtime, conn) = (&self.runtime, self.conn.take());
        on_a_thread(|| runtime.block_on(async { drop(conn) }));
    }
}

/// Connects. Under load a log-in over the socket of a server that has just begun was seen to wait for
/// ever on both sides: it is tried again, so that a campaign does not stand still for it.
async fn connect(options: Opts) -> Result<Conn, mysql_async::Error> {
    for _ in 0..3 {
        let log_in = tokio::time::timeout(LOG_IN, Conn::new(options.clone()));
        if let Ok(done) = log_in.await {
            return done;
        }
    }
    Err(mysql_async::Error::from(std::io::Error::from(
        std::io::ErrorKind::TimedOut,
    )))
}

/// A runtime that may be dropped within another one.
struct OwnRuntime(Option<Runtime>);

impl OwnRuntime {
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("cannot make a runtime");
        Self(Some(runtime))
    }

    fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        self.0
            .as_ref()
            .expect("it is there until the drop")
            .block_on(future)
    }
}

impl Drop for OwnRuntime {
    fn drop(&mut self) {
        // A plain drop waits for the runtime's threads, which a runtime around us forbids.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// Runs `work` on another thread, so that a runtime may be entered even within a runtime.
fn on_a_thread<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| match scope.spawn(work).join() {
        Ok(value) => value,
        Err(panic) => std::panic::resume_unwind(panic),
    })
}

fn shortened(sql: &str) -> String {
    sql.chars().take(400).collect()
}
