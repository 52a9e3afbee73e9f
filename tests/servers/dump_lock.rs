//! What a dump asks of its source's writers: how long they are kept waiting, what is waited for first,
//! and what is given up rather than to freeze them.
//!
//! `TIDEWAY_LOCK_RUNS` is how often the lock's time is taken (3), `TIDEWAY_MANY_TABLES` how many tables
//! there are beside it (50), `TIDEWAY_LOCK_MS` what the median may be (1000: a busy machine).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::consistency::number;
use crate::dump_job::Copy;
use crate::support::fixture::create_shop;
use crate::support::{Client, Flavor, Server, Traffic};

/// The milliseconds that writers were kept waiting, by the dump's notes.
fn held(notes: &[String]) -> u64 {
    let note = notes.iter().find(|note| note.contains("kept waiting for"));
    let mut words = note.expect("the time is told").split(' ');
    words.find_map(|word| word.parse().ok()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_global_lock_is_short_with_many_tables_too() {
    let runs = number("TIDEWAY_LOCK_RUNS", 3);
    let many = number("TIDEWAY_MANY_TABLES", 50);
    let limit = number("TIDEWAY_LOCK_MS", 1000);
    for flavor in [Flavor::MariaDb1011, Flavor::MariaDb118, Flavor::MySql97] {
        let server = Server::start(flavor);
        let mut client = server.client();
        create_shop(&mut client, "shop", 500, 1000);
        client.run("CREATE DATABASE d");
        for from in (0..many).step_by(100) {
            let sql: Vec<String> = (from..many.min(from + 100))
                .map(|n| format!("CREATE TABLE d.t{n} (id INT PRIMARY KEY, a VARCHAR(20))"))
                .collect();
            client.run(&sql.join("; "));
        }
        server.account("tideway", &[("ALL", "*.*")]);
        let traffic = Traffic::start(&server, "shop", 1000, 3);
        let mut all = Vec::new();
        for _ in 0..runs {
            let copy = Copy::new(
                &server,
                &server,
                &["shop.*", "d.*"],
                "threads = 4\nconsistency = \"flush\"",
            );
            let folder = tempfile::tempdir().unwrap();
            traffic.await_more(3);
            let (manifest, _) = copy.dump(&folder.path().join("dump")).await.unwrap();
            all.push(held(&manifest.header.notes));
        }
        traffic.stop();
        all.sort_unstable();
        println!("{flavor:?}, {many} tables and 8 written to: held for {all:?} ms");
        let median = all[all.len() / 2];
        assert!(median <= limit, "{flavor:?}: {median} ms");
    }
}

/// Something that runs beside a dump until it is told to end.
struct Beside<T> {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<T>,
}

impl<T: Send + 'static> Beside<T> {
    fn start(work: impl FnOnce(&AtomicBool) -> T + Send + 'static) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let ended = Arc::clone(&stop);
        let thread = std::thread::spawn(move || work(&ended));
        Self { stop, thread }
    }

    fn end(self) -> T {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

/// Writes one row after the other; gives the longest that one took.
fn writer(mut client: Client) -> Beside<Duration> {
    Beside::start(move |stop| {
        let mut longest = Duration::ZERO;
        while !stop.load(Ordering::Relaxed) {
            let begun = Instant::now();
            client.run("INSERT INTO d.written VALUES (NULL)");
            longest = longest.max(begun.elapsed());
            std::thread::sleep(Duration::from_millis(5));
        }
        longest
    })
}

/// Makes a change that runs for so many seconds, and waits until the server has run it for `since`.
fn long_query(server: &Server, seconds: u32, since: u32) -> JoinHandle<()> {
    let mut client = server.client();
    let thread = std::thread::spawn(move || {
        let _ = client.try_run(&format!("UPDATE d.slow SET n = SLEEP({seconds})"));
    });
    server.await_value(
        &format!(
            "SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE INFO LIKE 'UPDATE d.slow%' AND TIME >= {since}"
        ),
        "1",
    );
    thread
}

/// A server whose dump takes the global read lock: MariaDB does where a table has no versions.
fn locked(flavor: Flavor) -> Server {
    let server = Server::start(flavor);
    server.run(
        "CREATE DATABASE d; CREATE TABLE d.written (id INT AUTO_INCREMENT PRIMARY KEY); \
         CREATE TABLE d.slow (id INT PRIMARY KEY, n INT); INSERT INTO d.slow VALUES (1, 5); \
         CREATE TABLE d.old (id INT PRIMARY KEY) ENGINE=MyISAM; INSERT INTO d.old VALUES (1)",
    );
    server.account("tideway", &[("ALL", "*.*")]);
    server
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_query_is_waited_for_and_told_and_the_source_is_never_frozen() {
    let flavors = match number("TIDEWAY_LOCK_RUNS", 0) {
        0 => vec![Flavor::MySql97],
        _ => vec![Flavor::MySql97, Flavor::MariaDb1011],
    };
    for flavor in flavors {
        let server = locked(flavor);
        let copy = Copy::new(&server, &server, &["d.*"], "consistency = \"flush\"");
        let folder = tempfile::tempdir().unwrap();

        // Seen before the lock is asked for: nobody waits behind it.
        let query = long_query(&server, 6, 3);
        let beside = writer(server.client());
        let (manifest, _) = copy.dump(&folder.path().join("first")).await.unwrap();
        let (longest, notes) = (beside.end(), manifest.header.notes.join("\n"));
        query.join().unwrap();
        println!("{flavor:?}: a writer waited {longest:?} at most\n{notes}");
        let told = "waited for long queries to end before asking for the read lock: connections";
        assert!(
            notes.contains(told) && notes.contains("of `root`"),
            "{notes}"
        );
        assert!(longest < Duration::from_secs(3), "{longest:?}");

        // Not long enough to be seen: the lock is given up after two seconds, and tried again.
        let query = long_query(&server, 7, 0);
        let beside = writer(server.client());
        let (manifest, _) = copy.dump(&folder.path().join("second")).await.unwrap();
        let (longest, notes) = (beside.end(), manifest.header.notes.join("\n"));
        query.join().unwrap();
        println!("{flavor:?}: a writer waited {longest:?} at most\n{notes}");
        assert!(
            notes.contains("the read lock was not granted within 2 s and given up, try 1 of 6"),
            "{notes}"
        );
        // The two seconds, and what a busy machine adds.
        assert!(longest < Duration::from_secs(5), "{longest:?}");
    }
}

/// Tables made all the time: on MySQL an account that may holds them back while the snapshot is taken.
#[tokio::test(flavor = "multi_thread")]
async fn ddl_that_never_ends_is_held_back_where_the_account_may() {
    let server = Server::start(Flavor::MySql97);
    create_shop(&mut server.client(), "shop", 500, 1000);
    server.run("CREATE DATABASE made");
    server.account(
        "tideway",
        &[("SELECT, RELOAD, REPLICATION CLIENT, BACKUP_ADMIN", "*.*")],
    );
    let mut client = server.client();
    let beside = Beside::start(move |stop| {
        let mut made = 0;
        while !stop.load(Ordering::Relaxed) {
            made += 1;
            client.run(&format!("CREATE TABLE made.t{made} (id INT PRIMARY KEY)"));
        }
        made
    });
    let copy = Copy::new(&server, &server, &["shop.*", "made.*"], "threads = 2");
    let folder = tempfile::tempdir().unwrap();
    let (manifest, _) = copy.dump(&folder.path().join("dump")).await.unwrap();
    let made = beside.end();
    let notes = manifest.header.notes.join("\n");
    println!("{} tables of {made} made:\n{notes}", manifest.tables.len());
    assert!(notes.contains("`LOCK INSTANCE FOR BACKUP`"), "{notes}");
    // A statement that is held back would keep the global lock from being granted.
    assert!(!notes.contains("was not granted"), "{notes}");
    assert!(manifest.tables.len() > 8 && made > manifest.tables.len() - 8);
}
