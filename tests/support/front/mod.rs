//! A proxy before a MySQL server that answers as TiDB does where the two differ for us.
//!
//! It reads the client's packets and passes on all of them; where TiDB would answer otherwise, it sends
//! another statement in their place (`SIGNAL` for an error), so that the server's own answers come back
//! untouched, in their order. What it knows of TiDB is in [`rules`].

mod rules;

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;

pub(crate) use rules::At;
use rules::{Rules, Transaction};

use super::server::Server;

/// What it says it is.
pub(crate) const VERSION: &str = "8.0.11-TiDB-v8.5.1";

const COM_QUERY: u8 = 0x03;
const COM_STMT_PREPARE: u8 = 0x16;
/// A packet of this length goes on in the next one.
const FULL: usize = 0xff_ffff;

/// Capabilities that it does not pass on: compression, TLS, query attributes.
const HIDDEN: u32 = 0x20 | 0x800 | 1 << 26 | 1 << 27;

/// A TiDB to be, on a port of 127.0.0.1; ends with the value.
#[derive(Debug)]
pub(crate) struct Front {
    port: u16,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    upstream: u16,
    rules: Mutex<Rules>,
    connections: Mutex<Vec<TcpStream>>,
    is_over: AtomicBool,
}

impl Front {
    /// One before `server`, for its account `tideway`, whose grants it shows as TiDB writes them.
    pub(crate) fn before(server: &Server) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("no free port");
        let port = listener.local_addr().expect("it is bound").port();
        let grants = server
            .client()
            .texts("SHOW GRANTS FOR 'tideway'@'%'")
            .into_iter()
            .map(|row| row[0].clone())
            .collect();
        let shared = Arc::new(Shared {
            upstream: server.port(),
            rules: Mutex::new(Rules::new(grants)),
            connections: Mutex::default(),
            is_over: AtomicBool::new(false),
        });
        let serving = Arc::clone(&shared);
        thread::spawn(move || serve(&listener, &serving));
        Self { port, shared }
    }

    /// Where it listens, on 127.0.0.1.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Answers the next `times` statements of that kind by this error.
    pub(crate) fn inject(&self, number: u16, at: At, times: u32) {
        self.shared.rules().inject(number, at, times);
    }

    /// How many of the injected errors are still to come.
    pub(crate) fn left(&self) -> u32 {
        self.shared.rules().left()
    }

    /// The most that a transaction and a row may hold, in bytes; TiDB's usual 100 MiB and 6 MiB at
    /// first.
    pub(crate) fn limit(&self, transaction: usize, entry: usize) {
        self.shared.rules().limit(transaction, entry);
    }

    /// How many statements were refused by an error of this number, injected or not.
    pub(crate) fn refused(&self, number: u16) -> u32 {
        self.shared.rules().refused(number)
    }

    /// The statements on tables and databases that were let through, in their order.
    pub(crate) fn ddl(&self) -> Vec<String> {
        self.shared.rules().ddl()
    }

    /// TiDB's own settings that sessions made.
    pub(crate) fn settings(&self) -> Vec<String> {
        self.shared.rules().settings()
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::SeqCst);
        for connection in self.shared.connections().drain(..) {
            let _ = connection.shutdown(Shutdown::Both);
        }
        // Wakes the one that listens.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

impl Shared {
    fn rules(&self) -> MutexGuard<'_, Rules> {
        self.rules.lock().expect("no front thread panics")
    }

    fn connections(&self) -> MutexGuard<'_, Vec<TcpStream>> {
        self.connections.lock().expect("no front thread panics")
    }
}

fn serve(listener: &TcpListener, shared: &Arc<Shared>) {
    for client in listener.incoming() {
        if shared.is_over.load(Ordering::SeqCst) {
            return;
        }
        let Ok(client) = client else { continue };
        let Ok(server) = TcpStream::connect(("127.0.0.1", shared.upstream)) else {
            continue;
        };
        let _ = client.set_nodelay(true);
        let _ = server.set_nodelay(true);
        {
            let mut connections = shared.connections();
            connections.retain(|connection| connection.peer_addr().is_ok());
            for stream in [&client, &server] {
                connections.push(stream.try_clone().expect("too many open files"));
            }
        }
        let shared = Arc::clone(shared);
        thread::spawn(move || {
            // A line that breaks is the end of both.
            let _ = join(&client, &server, &shared);
            let _ = client.shutdown(Shutdown::Both);
            let _ = server.shutdown(Shutdown::Both);
        });
    }
}

fn join(mut client: &TcpStream, mut server: &TcpStream, shared: &Shared) -> io::Result<()> {
    let (number, greeting) = read_packet(&mut server)?;
    write_packet(&mut client, number, &greeting_of_tidb(&greeting))?;
    let (from, to) = (server.try_clone()?, client.try_clone()?);
    thread::spawn(move || {
        let _ = io::copy(&mut &from, &mut &to);
        let _ = to.shutdown(Shutdown::Both);
    });
    let mut transaction = Transaction::default();
    loop {
        let (number, mut payload) = read_packet(&mut client)?;
        if number != 0 {
            // The log-in, or a file's bytes.
            write_packet(&mut server, number, &payload)?;
            continue;
        }
        let mut last = payload.len();
        while last == FULL {
            let (_, more) = read_packet(&mut client)?;
            last = more.len();
            payload.extend_from_slice(&more);
        }
        if let [command @ (COM_QUERY | COM_STMT_PREPARE), text @ ..] = payload.as_slice() {
            let mut said = vec![*command];
            said.extend(shared.rules().meet(text, &mut transaction));
            payload = said;
        }
        write_command(&mut server, &payload)?;
    }
}

fn read_packet(from: &mut &TcpStream) -> io::Result<(u8, Vec<u8>)> {
    let mut head = [0; 4];
    from.read_exact(&mut head)?;
    let length = u32::from_le_bytes([head[0], head[1], head[2], 0]) as usize;
    let mut payload = vec![0; length];
    from.read_exact(&mut payload)?;
    Ok((head[3], payload))
}

fn write_packet(to: &mut &TcpStream, number: u8, payload: &[u8]) -> io::Result<()> {
    let length = (payload.len() as u32).to_le_bytes();
    let mut packet = vec![length[0], length[1], length[2], number];
    packet.extend_from_slice(payload);
    to.write_all(&packet)
}

/// Writes a command, in as many packets as it takes.
fn write_command(to: &mut &TcpStream, payload: &[u8]) -> io::Result<()> {
    let mut number = 0_u8;
    let mut rest = payload;
    loop {
        let (piece, behind) = rest.split_at(rest.len().min(FULL));
        write_packet(to, number, piece)?;
        number = number.wrapping_add(1);
        rest = behind;
        if piece.len() < FULL {
            return Ok(());
        }
    }
}

/// The server's first packet, with another version and fewer capabilities.
fn greeting_of_tidb(greeting: &[u8]) -> Vec<u8> {
    let Some(end) = greeting.iter().skip(1).position(|byte| *byte == 0) else {
        return greeting.to_vec();
    };
    let mut rest = greeting[1 + end + 1..].to_vec();
    // Thread id, the scramble's first part and a zero come before the lower capabilities; a character
    // set and the status between those and the upper ones.
    for (at, hidden) in [(13, HIDDEN & 0xffff), (18, HIDDEN >> 16)] {
        let shown = u16::from_le_bytes([rest[at], rest[at + 1]]) & !(hidden as u16);
        rest[at..at + 2].copy_from_slice(&shown.to_le_bytes());
    }
    let mut said = vec![greeting[0]];
    said.extend_from_slice(VERSION.as_bytes());
    said.push(0);
    said.extend(rest);
    said
}
