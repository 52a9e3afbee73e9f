//! Backlogs of binlog of a given size: a real server writes a piece, which is then repeated in as many
//! files as are needed.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use tideway::binlog::{EventHeader, EventKind, HEADER_LEN, MAGIC};

use crate::support::{Client, Flavor, Server, ServerSpec};

/// How much a server writes at most before the rest is copies of it.
const PIECE: u64 = 128 << 20;

/// What the events of a backlog look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// Small transactions of small events, about 160 bytes each.
    Small,
    /// Statements of thousands of rows: events of about 16 KB.
    Big,
}

/// A server with a backlog.
#[derive(Debug)]
pub(crate) struct Backlog {
    /// It.
    pub(crate) server: Server,
    /// The complete files of its binlog, oldest first.
    pub(crate) files: Vec<PathBuf>,
    /// Their bytes.
    pub(crate) bytes: u64,
    /// Their events.
    pub(crate) events: u64,
}

impl Backlog {
    /// Makes one of at least `size` bytes.
    pub(crate) fn new(flavor: Flavor, shape: Shape, size: u64) -> Self {
        let spec = ServerSpec::new(flavor)
            .option("--binlog-row-event-max-size=16384")
            .option("--max-binlog-size=1G");
        let mut server = Server::start(spec);
        server.account("tideway", &[("ALL", "*.*")]);
        fill(&server, shape, size.min(PIECE));
        server.run("FLUSH BINARY LOGS");
        server.stop();
        let first = server.data_folder().join("bin.000001");
        let (piece, events) = (fs::read(&first).unwrap(), events_of(&first));
        let copies = size.div_ceil(piece.len() as u64).max(1);
        let files = repeat(&server.data_folder(), &piece, copies);
        server.restart();
        Self {
            server,
            files,
            bytes: piece.len() as u64 * copies,
            events: events * copies,
        }
    }
}

/// Writes about `size` bytes of binlog.
fn fill(server: &Server, shape: Shape, size: u64) {
    let mut client = server.client();
    client.run("CREATE DATABASE b");
    client.run(
        "CREATE TABLE b.t (id INT NOT NULL PRIMARY KEY, k BIGINT NOT NULL, c CHAR(120) NOT NULL, \
         pad VARCHAR(60) NOT NULL) DEFAULT CHARSET=latin1",
    );
    match shape {
        Shape::Small => small(&mut client, size),
        Shape::Big => big(&mut client, size),
    }
}

/// Transactions as of an online shop: two updates, a row deleted, a row inserted.
fn small(client: &mut Client, size: u64) {
    const ROWS: u64 = 2000;
    // One such transaction is at least so long in the binlog of each of the servers.
    const TRANSACTION: u64 = 1500;
    client.run(
        "CREATE PROCEDURE b.fill(n INT) BEGIN DECLARE i INT DEFAULT 0; WHILE i < n DO \
         SET @a = 1 + i % 1000, @b = 1001 + i % 999, @text = REPEAT(CONCAT(i, '-'), 15); \
         START TRANSACTION; \
         UPDATE b.t SET k = k + 1 WHERE id = @a; \
         UPDATE b.t SET c = @text WHERE id = @a; \
         DELETE FROM b.t WHERE id = @b; \
         INSERT INTO b.t VALUES (@b, i, @text, 'p'); \
         COMMIT; SET i = i + 1; END WHILE; END",
    );
    let rows: Vec<String> = (1..=ROWS)
        .map(|id| format!("({id}, {id}, 'c', 'p')"))
        .collect();
    client.run(&format!("INSERT INTO b.t VALUES {}", rows.join(", ")));
    client.run(&format!("CALL b.fill({})", size / TRANSACTION));
}

/// Statements of 2,000 rows, with the text that MariaDB writes of them.
fn big(client: &mut Client, size: u64) {
    const ROWS: u64 = 2000;
    const ROW: u64 = 190;
    let text = "x".repeat(100);
    for statement in 0..size.div_ceil(ROWS * ROW) {
        let first = statement * ROWS;
        let rows: Vec<String> = (first..first + ROWS)
            .map(|id| format!("({id}, {id}, '{text}{id}', '{id} of {statement}')"))
            .collect();
        client.run(&format!("INSERT INTO b.t VALUES {}", rows.join(", ")));
    }
}

fn events_of(file: &Path) -> u64 {
    events(&fs::read(file).unwrap()).count() as u64
}

/// The events' places in a file's bytes.
fn events(file: &[u8]) -> impl Iterator<Item = (usize, EventHeader)> + '_ {
    let mut at = MAGIC.len();
    std::iter::from_fn(move || {
        let header = EventHeader::parse(file.get(at..)?).ok()?;
        let start = at;
        at += header.event_size as usize;
        Some((start, header))
    })
}

/// Writes the file again under each of the next names, each naming the next at its end, and leaves
/// out what the server had behind it.
fn repeat(folder: &Path, piece: &[u8], copies: u64) -> Vec<PathBuf> {
    let (rotate, header) = events(piece).last().expect("a file has events");
    assert_eq!(header.kind, EventKind::ROTATE, "the file is complete");
    let name_at = rotate + HEADER_LEN + 8;
    let end = piece.len();
    let mut bytes = piece.to_vec();
    let mut files = Vec::new();
    let mut index = String::new();
    for number in 1..=copies {
        let next = format!("bin.{:06}", number + 1);
        bytes[name_at..end - 4].copy_from_slice(next.as_bytes());
        let sum = crc32fast::hash(&bytes[rotate..end - 4]);
        bytes[end - 4..].copy_from_slice(&sum.to_le_bytes());
        let name = format!("bin.{number:06}");
        let path = folder.join(&name);
        fs::write(&path, &bytes).unwrap();
        files.push(path);
        let _ = writeln!(index, "./{name}");
    }
    // The server begins the next file itself when it starts.
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or("");
        let is_binlog = name
            .strip_prefix("bin.")
            .is_some_and(|n| n.parse::<u64>().is_ok());
        if is_binlog && !files.contains(&path) {
            fs::remove_file(path).unwrap();
        }
    }
    fs::write(folder.join("bin.index"), index).unwrap();
    files
}
