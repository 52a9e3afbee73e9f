//! A TCP proxy before a server, that does what bad networks do.
//!
//! What concerns bytes of the binlog (`*_stream_*`) acts on the connections that asked for it, which
//! it tells by the command, so only where the connection is not encrypted (`tls = "disabled"`).

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

/// How much is passed on at once.
const CHUNK: usize = 16 << 10;
/// Chunks under way in one direction: 16 MiB, which a delayed line may hold.
const UNDER_WAY: usize = 1024;
const COM_BINLOG_DUMP: u8 = 0x12;
const COM_BINLOG_DUMP_GTID: u8 = 0x1e;

/// A proxy to a port of 127.0.0.1; ends with the value.
#[derive(Debug)]
pub(crate) struct Proxy {
    port: u16,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    rules: Mutex<Rules>,
    /// A stalled line waits here.
    changed: Condvar,
    connections: Mutex<Vec<Connection>>,
    is_over: AtomicBool,
}

#[derive(Debug)]
struct Rules {
    upstream: u16,
    delay: Duration,
    bytes_per_second: Option<u64>,
    is_stalled: bool,
    is_refusing: bool,
    /// Bytes of the binlog that still pass before the connection is cut.
    cut_stream_in: Option<u64>,
    /// Bytes of the binlog that still pass whole, and how many are garbled then.
    garble_stream: Option<(u64, u64)>,
    /// What is sent in place of the binlog.
    script: Option<Vec<u8>>,
}

#[derive(Debug)]
struct Connection {
    client: TcpStream,
    server: TcpStream,
    has_binlog: Arc<AtomicBool>,
}

impl Connection {
    fn cut(&self) {
        let _ = self.client.shutdown(Shutdown::Both);
        let _ = self.server.shutdown(Shutdown::Both);
    }
}

impl Proxy {
    /// A proxy to `upstream`, a port of this machine.
    pub(crate) fn to(upstream: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("no free port");
        let port = listener.local_addr().expect("it is bound").port();
        let shared = Arc::new(Shared {
            rules: Mutex::new(Rules {
                upstream,
                delay: Duration::ZERO,
                bytes_per_second: None,
                is_stalled: false,
                is_refusing: false,
                cut_stream_in: None,
                garble_stream: None,
                script: None,
            }),
            changed: Condvar::new(),
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

    /// Leads new connections elsewhere, as an address that was moved does; the old ones are cut.
    pub(crate) fn lead_to(&self, upstream: u16) {
        self.rules(|rules| rules.upstream = upstream);
        self.cut();
    }

    /// Cuts every connection now.
    pub(crate) fn cut(&self) {
        for connection in self.shared.connections().drain(..) {
            connection.cut();
        }
    }

    /// Whether connections are closed as soon as they are made.
    pub(crate) fn refuse(&self, is_refusing: bool) {
        self.rules(|rules| rules.is_refusing = is_refusing);
    }

    /// Cuts the binlog's connection once `bytes` more of it have passed: mostly within an event.
    pub(crate) fn cut_stream_after(&self, bytes: u64) {
        self.rules(|rules| rules.cut_stream_in = Some(bytes));
    }

    /// Whether the cut that was asked for is still to come.
    pub(crate) fn will_cut(&self) -> bool {
        self.shared.rules().cut_stream_in.is_some()
    }

    /// Lets `skip` more bytes of the binlog pass, and replaces the `count` behind them by garbage.
    pub(crate) fn garble_stream_after(&self, skip: u64, count: u64) {
        self.rules(|rules| rules.garble_stream = Some((skip, count)));
    }

    /// Whether the garbage that was asked for is still to come.
    pub(crate) fn will_garble(&self) -> bool {
        self.shared.rules().garble_stream.is_some()
    }

    /// Sends `bytes` in place of the binlog to the next that asks for it, and cuts the connection then:
    /// what a server that has lost its mind would send.
    pub(crate) fn script_stream(&self, bytes: Vec<u8>) {
        self.rules(|rules| rules.script = Some(bytes));
    }

    /// Whether what was to be sent is still to come.
    pub(crate) fn will_script(&self) -> bool {
        self.shared.rules().script.is_some()
    }

    /// Passes nothing on in either direction, and closes nothing, until told otherwise: a line that
    /// was dropped silently.
    pub(crate) fn stall(&self, is_stalled: bool) {
        self.rules(|rules| rules.is_stalled = is_stalled);
    }

    /// How long each byte is under way, in each direction.
    pub(crate) fn delay(&self, delay: Duration) {
        self.rules(|rules| rules.delay = delay);
    }

    /// The most that passes in each direction of each connection; `None`: all there is.
    pub(crate) fn throttle(&self, bytes_per_second: Option<u64>) {
        self.rules(|rules| rules.bytes_per_second = bytes_per_second);
    }

    /// How many connections with the binlog are open.
    pub(crate) fn streams(&self) -> usize {
        let connections = self.shared.connections();
        connections
            .iter()
            .filter(|connection| connection.has_binlog.load(Ordering::SeqCst))
            .count()
    }

    fn rules(&self, change: impl FnOnce(&mut Rules)) {
        change(&mut self.shared.rules());
        self.shared.changed.notify_all();
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::SeqCst);
        self.shared.changed.notify_all();
        self.cut();
        // Wakes the one that listens.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

impl Shared {
    fn rules(&self) -> MutexGuard<'_, Rules> {
        self.rules.lock().expect("no proxy thread panics")
    }

    fn connections(&self) -> MutexGuard<'_, Vec<Connection>> {
        self.connections.lock().expect("no proxy thread panics")
    }

    fn is_over(&self) -> bool {
        self.is_over.load(Ordering::SeqCst)
    }

    /// Waits as long as the line is stalled.
    fn await_flow(&self) {
        let rules = self.rules();
        let _flows = self
            .changed
            .wait_while(rules, |rules| rules.is_stalled && !self.is_over())
            .expect("no proxy thread panics");
    }
}

fn serve(listener: &TcpListener, shared: &Arc<Shared>) {
    for client in listener.incoming() {
        if shared.is_over() {
            return;
        }
        let (upstream, is_refusing) = {
            let rules = shared.rules();
            (rules.upstream, rules.is_refusing)
        };
        let (false, Ok(client)) = (is_refusing, client) else {
            continue;
        };
        // A server that is down shows as a connection that closes at once.
        let Ok(server) = TcpStream::connect(("127.0.0.1", upstream)) else {
            continue;
        };
        let _ = client.set_nodelay(true);
        let _ = server.set_nodelay(true);
        join(shared, &client, &server);
    }
}

/// Passes bytes on between the two, in both directions.
fn join(shared: &Arc<Shared>, client: &TcpStream, server: &TcpStream) {
    let has_binlog = Arc::new(AtomicBool::new(false));
    let clone = |stream: &TcpStream| stream.try_clone().expect("too many open files");
    {
        let mut connections = shared.connections();
        // Those that have ended have no peer any more.
        connections.retain(|connection| connection.client.peer_addr().is_ok());
        connections.push(Connection {
            client: clone(client),
            server: clone(server),
            has_binlog: Arc::clone(&has_binlog),
        });
    }
    for (from, to, is_down) in [(client, server, false), (server, client, true)] {
        let line = Line {
            shared: Arc::clone(shared),
            has_binlog: Arc::clone(&has_binlog),
            is_down,
        };
        let writing = Line {
            shared: Arc::clone(shared),
            has_binlog: Arc::clone(&has_binlog),
            is_down,
        };
        let (sender, receiver) = sync_channel(UNDER_WAY);
        let (from, to) = (clone(from), clone(to));
        thread::spawn(move || line.read(from, &sender));
        thread::spawn(move || writing.write(to, &receiver));
    }
}

/// One direction of a connection.
struct Line {
    shared: Arc<Shared>,
    has_binlog: Arc<AtomicBool>,
    is_down: bool,
}

impl Line {
    fn read(&self, mut from: TcpStream, sender: &SyncSender<(Instant, Vec<u8>)>) {
        let mut chunk = vec![0; CHUNK];
        while let Ok(length) = from.read(&mut chunk) {
            if length == 0 {
                break;
            }
            let bytes = chunk[..length].to_vec();
            if !self.is_down && asks_for_binlog(&bytes) {
                self.has_binlog.store(true, Ordering::SeqCst);
            }
            if sender.send((Instant::now(), bytes)).is_err() {
                break;
            }
        }
    }

    fn write(&self, mut to: TcpStream, receiver: &Receiver<(Instant, Vec<u8>)>) {
        for (read_at, mut bytes) in receiver {
            let (delay, rate) = {
                let rules = self.shared.rules();
                (rules.delay, rules.bytes_per_second)
            };
            thread::sleep((read_at + delay).saturating_duration_since(Instant::now()));
            self.shared.await_flow();
            let is_cut = self.is_down && self.meddle(&mut bytes);
            let begun = Instant::now();
            if to.write_all(&bytes).is_err() || is_cut {
                break;
            }
            if let Some(rate) = rate {
                let due = Duration::from_secs_f64(bytes.len() as f64 / rate as f64);
                thread::sleep(due.saturating_sub(begun.elapsed()));
            }
        }
        let _ = to.shutdown(Shutdown::Both);
        self.has_binlog.store(false, Ordering::SeqCst);
    }

    /// Garbles and shortens bytes of the binlog as the rules say; gives whether the line is cut.
    fn meddle(&self, bytes: &mut Vec<u8>) -> bool {
        if !self.has_binlog.load(Ordering::SeqCst) {
            return false;
        }
        let mut rules = self.shared.rules();
        if let Some(script) = rules.script.take() {
            *bytes = script;
            return true;
        }
        if let Some((skip, count)) = &mut rules.garble_stream {
            let from = (*skip).min(bytes.len() as u64);
            *skip -= from;
            let garbled = (*count).min(bytes.len() as u64 - from);
            *count -= garbled;
            for byte in &mut bytes[from as usize..(from + garbled) as usize] {
                *byte ^= 0xa5;
            }
            if *count == 0 {
                rules.garble_stream = None;
            }
        }
        if let Some(left) = &mut rules.cut_stream_in {
            if *left <= bytes.len() as u64 {
                bytes.truncate(*left as usize);
                rules.cut_stream_in = None;
                return true;
            }
            *left -= bytes.len() as u64;
        }
        false
    }
}

/// A command is a packet of its own: length 3, number 0, the command.
fn asks_for_binlog(bytes: &[u8]) -> bool {
    matches!(
        bytes,
        [_, _, _, 0, COM_BINLOG_DUMP | COM_BINLOG_DUMP_GTID, ..]
    )
}
