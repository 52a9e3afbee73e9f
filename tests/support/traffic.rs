//! Live writes on a source: inserts, updates, deletes and transactions over several tables.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::client::Client;
use super::server::Server;

/// The time between two transactions of one thread.
const PACE: Duration = Duration::from_millis(4);
/// The time between two DDL statements, where there are any.
const DDL_PACE: Duration = Duration::from_millis(900);

/// Threads that write to a shop made by [`super::fixture::create_shop`]; they end when dropped.
#[derive(Debug)]
pub(crate) struct Traffic {
    stop: Arc<AtomicBool>,
    committed: Arc<AtomicU64>,
    structures: Arc<AtomicU64>,
    threads: Vec<JoinHandle<()>>,
}

/// What a writer needs to know about the shop.
#[derive(Clone)]
struct Shop {
    schema: String,
    first_id: u64,
    /// Counts the changes of structure; `None` for a writer that makes none.
    structures: Option<Arc<AtomicU64>>,
}

impl Traffic {
    /// Two writers. The seed is printed: the same seed makes the same statements of each writer.
    pub(crate) fn start(server: &Server, schema: &str, first_id: u32, seed: u64) -> Self {
        Self::launch(server, schema, first_id, seed, false)
    }

    /// Two writers, one of which also changes structures now and then.
    pub(crate) fn start_with_ddl(server: &Server, schema: &str, first_id: u32, seed: u64) -> Self {
        Self::launch(server, schema, first_id, seed, true)
    }

    fn launch(server: &Server, schema: &str, first_id: u32, seed: u64, with_ddl: bool) -> Self {
        println!(
            "traffic on {:?}, schema {schema}: seed {seed}",
            server.flavor()
        );
        let stop = Arc::new(AtomicBool::new(false));
        let committed = Arc::new(AtomicU64::new(0));
        let structures = Arc::new(AtomicU64::new(0));
        let threads = (0..2)
            .map(|n| {
                let (stop, committed) = (Arc::clone(&stop), Arc::clone(&committed));
                let shop = Shop {
                    schema: schema.to_owned(),
                    first_id: u64::from(first_id),
                    structures: (with_ddl && n == 0).then(|| Arc::clone(&structures)),
                };
                let client = server.client();
                let random = Random(seed.wrapping_mul(31).wrapping_add(n + 1));
                std::thread::spawn(move || {
                    Writer::new(client, shop, random).work(&stop, &committed);
                })
            })
            .collect();
        Self {
            stop,
            committed,
            structures,
            threads,
        }
    }

    /// Transactions committed so far.
    pub(crate) fn committed(&self) -> u64 {
        self.committed.load(Ordering::Relaxed)
    }

    /// Waits until `count` more transactions are committed: something is under way then.
    pub(crate) fn await_more(&self, count: u64) {
        self.await_count(&self.committed, count);
    }

    /// Waits until `count` more changes of structure are made; five are one of each kind.
    pub(crate) fn await_structures(&self, count: u64) {
        self.await_count(&self.structures, count);
    }

    fn await_count(&self, counter: &AtomicU64, count: u64) {
        let goal = counter.load(Ordering::Relaxed) + count;
        let end = Instant::now() + Duration::from_mins(1);
        while counter.load(Ordering::Relaxed) < goal {
            assert!(Instant::now() < end, "the traffic does not flow");
            assert!(
                !self.threads.iter().any(JoinHandle::is_finished),
                "a writer has failed"
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Ends the writers; a writer that failed fails the test. Returns the transactions committed.
    pub(crate) fn stop(mut self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            if let Err(panic) = thread.join() {
                std::panic::resume_unwind(panic);
            }
        }
        self.committed()
    }
}

impl Drop for Traffic {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// splitmix64: small, and the same everywhere.
pub(crate) struct Random(u64);

impl Random {
    /// The same numbers for the same seed.
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Any number.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Below `bound`.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// A text with quotes, backslashes and characters of several lengths in it.
    pub(crate) fn text(&mut self) -> String {
        const PIECES: [&str; 8] = ["plain", "it''s", "\\\\", "é", "🚢", "\\n", "ÿ", "\\0"];
        let count = self.below(6);
        (0..count).map(|_| PIECES[self.below(8) as usize]).collect()
    }
}

struct Writer {
    client: Client,
    shop: Shop,
    random: Random,
}

impl Writer {
    fn new(mut client: Client, shop: Shop, random: Random) -> Self {
        client.run(&format!(
            "USE {}; SET SESSION innodb_lock_wait_timeout = 2, sql_mode = 'STRICT_ALL_TABLES'",
            shop.schema
        ));
        Self {
            client,
            shop,
            random,
        }
    }

    fn work(mut self, stop: &AtomicBool, committed: &AtomicU64) {
        let mut next_ddl = Instant::now() + DDL_PACE;
        while !stop.load(Ordering::Relaxed) {
            if let Some(structures) = self.shop.structures.clone()
                && Instant::now() >= next_ddl
            {
                self.change_structure(structures.load(Ordering::Relaxed));
                structures.fetch_add(1, Ordering::Relaxed);
                next_ddl = Instant::now() + DDL_PACE;
            }
            let statements = self.transaction();
            match self.client.try_run(&statements) {
                Ok(()) => {
                    committed.fetch_add(1, Ordering::Relaxed);
                }
                Err(error) => self.undo(&error, &statements),
            }
            std::thread::sleep(PACE);
        }
    }

    /// Two writers at the same rows: duplicates, deadlocks and lock waits are part of the traffic.
    fn undo(&mut self, error: &mysql_async::Error, statements: &str) {
        let number = match error {
            mysql_async::Error::Server(server) => server.code,
            _ => 0,
        };
        assert!(
            matches!(
                number,
                1062 | 1205 | 1213 | 1451 | 1452 | 1020 | 1412 | 1637 | 3572
            ),
            "{error}\nstatement: {statements}"
        );
        self.client.run("ROLLBACK");
    }

    /// An id that is probably there.
    fn id(&mut self) -> u64 {
        self.shop.first_id + self.random.below(400)
    }

    fn sku(&mut self) -> String {
        format!("SKU-{}-{}", self.shop.first_id, self.random.below(50))
    }

    fn transaction(&mut self) -> String {
        match self.random.below(16) {
            0..=3 => self.place_order(),
            4 => self.cancel_order(),
            5 | 6 => self.edit_customer(),
            7 => self.move_unique_values(),
            8 | 9 => self.visit(),
            10..=12 => self.kinds(),
            13 => self.stock(),
            14 => self.new_customer(),
            _ => self.partly_undone(),
        }
    }

    fn place_order(&mut self) -> String {
        let (customer, total) = (self.id(), self.random.below(100_000));
        let mut sql = format!(
            "BEGIN; INSERT INTO orders (customer_id, placed, total) VALUES ({customer}, NOW(3), {total}.{:04}); \
             SET @o = LAST_INSERT_ID();",
            self.random.below(10_000)
        );
        for line in 1..=self.random.below(4) + 1 {
            let (sku, amount) = (self.sku(), self.random.below(9) + 1);
            let _ = write!(
                sql,
                "INSERT INTO order_line (order_id, line_no, sku, amount, price) VALUES (@o, {line}, '{sku}', {amount}, {total}.5); \
                 UPDATE stock SET amount = amount - {amount} WHERE sku = '{sku}';"
            );
        }
        let _ = write!(
            sql,
            "UPDATE customer SET is_vip = NOT is_vip WHERE id = {customer}; COMMIT"
        );
        sql
    }

    fn cancel_order(&mut self) -> String {
        let id = self.id();
        format!(
            "BEGIN; DELETE FROM order_line WHERE order_id = {id}; DELETE FROM orders WHERE id = {id}; COMMIT"
        )
    }

    fn edit_customer(&mut self) -> String {
        let (id, text) = (self.id(), self.random.text());
        match self.random.below(3) {
            0 => {
                format!("UPDATE customer SET note = '{text}', name = 'N{id}{text}' WHERE id = {id}")
            }
            1 => format!(
                "UPDATE customer SET is_vip = NOT is_vip WHERE id BETWEEN {id} AND {id} + 20"
            ),
            _ => format!(
                "UPDATE customer SET born = NULL, note = REPEAT('{text}x', 500) WHERE id = {id}"
            ),
        }
    }

    /// A unique value goes from one row to another within a transaction, and a swap.
    fn move_unique_values(&mut self) -> String {
        let (a, b) = (self.id(), self.id());
        format!(
            "BEGIN; SELECT email INTO @a FROM customer WHERE id = {a}; \
             SELECT email INTO @b FROM customer WHERE id = {b}; \
             UPDATE customer SET email = CONCAT('moving', CONNECTION_ID()) WHERE id = {a} AND {a} <> {b}; \
             UPDATE customer SET email = @a WHERE id = {b} AND {a} <> {b}; \
             UPDATE customer SET email = @b WHERE id = {a} AND {a} <> {b}; COMMIT"
        )
    }

    fn visit(&mut self) -> String {
        let page = self.random.below(7);
        match self.random.below(4) {
            0 => format!(
                "UPDATE visit SET seconds = seconds + 0.1 WHERE page = '/page/{page}' LIMIT 3"
            ),
            1 => format!("DELETE FROM visit WHERE page = '/page/{page}' LIMIT 1"),
            // Twice the same row: there is no key to tell them apart.
            _ => format!(
                "INSERT INTO visit (at, page, seconds) VALUES (NOW(), '/page/{page}', {page}.3), (NOW(), '/page/{page}', {page}.3)"
            ),
        }
    }

    fn kinds(&mut self) -> String {
        let r = self.random.next();
        let text = self.random.text();
        let signed = r.cast_signed();
        let first = self.shop.first_id;
        match r % 4 {
            0 => format!("DELETE FROM kinds WHERE id > {first} + 10 ORDER BY id LIMIT 1"),
            1 => format!(
                "UPDATE kinds SET m = {}, tm2 = '-00:00:01.{:02}', f = {}, d = {}e{}, j = '{{\"n\": {r}, \"t\": [\"{}\"]}}', \
                 vbin = x'{r:016X}', e = 3, bits = {} ORDER BY id DESC LIMIT 3",
                signed % 8_388_607,
                r % 100,
                (r % 1_000_000) as f64 / 7.0,
                (r % 1_000_003) as f64 / 3.0,
                signed % 200,
                r % 77,
                r % 2048
            ),
            _ => format!(
                "INSERT INTO kinds (t, tu, s, m, mu, i, b, bu, f, d, dec1, bits, yr, dt, tm6, dtm6, ts3, c, v, latin, bin, vbin, mb, lt, e, st, j, g) \
                 VALUES ({}, {}, {}, {}, {}, {}, {signed}, {r}, {}, {}, -{}.{:018}, {}, {}, DATE '2000-01-01' + INTERVAL {} DAY, \
                 '-{}:59:59.{:06}', '2024-02-29 12:34:56.{:06}', FROM_UNIXTIME({}.123), 'c{}', '{text}', 'é{}', x'{r:032X}', x'{:04X}', \
                 REPEAT(x'{r:016X}', {}), REPEAT('{text}', 30), {}, {}, '[{r}, {{\"k\": \"v{}\"}}]', ST_GeomFromText('POINT({} -{})'))",
                signed % 128,
                r % 256,
                signed % 32768,
                signed % 8_388_608,
                r % 16_777_216,
                signed % 2_147_483_648,
                (r % 99_991) as f64 / 13.0,
                signed as f64 / 1e7,
                r % 1_000_000,
                r % 1_000_000_000_000_000_000,
                r % 2048,
                1901 + r % 250,
                r % 9000,
                r % 838,
                r % 1_000_000,
                r % 1_000_000,
                1 + r % 2_000_000_000,
                r % 1000,
                r % 1000,
                r % 65536,
                r % 300,
                r % 3 + 1,
                r % 8,
                r % 9,
                r % 180,
                r % 90
            ),
        }
    }

    /// A primary key changes, and changes back.
    fn stock(&mut self) -> String {
        let (sku, w) = (self.sku(), self.shop.first_id);
        match self.random.below(3) {
            0 => format!(
                "BEGIN; UPDATE stock SET warehouse = {w} + 2 WHERE warehouse = {w} + 1 AND sku = '{sku}'; \
                 UPDATE stock SET warehouse = {w} + 1, amount = amount + 1 WHERE warehouse = {w} + 2 AND sku = '{sku}'; COMMIT"
            ),
            1 => format!("UPDATE stock SET amount = amount + 1 WHERE warehouse = {w}"),
            _ => format!("REPLACE INTO stock VALUES ({w} + 1, '{sku}', 7)"),
        }
    }

    fn new_customer(&mut self) -> String {
        let (n, text) = (self.random.next(), self.random.text());
        format!(
            "INSERT INTO customer (email, name, note) VALUES ('n{n}@example.org', '{text}', NULL) \
             ON DUPLICATE KEY UPDATE note = 'again'"
        )
    }

    fn partly_undone(&mut self) -> String {
        let id = self.id();
        format!(
            "BEGIN; UPDATE customer SET note = 'kept' WHERE id = {id}; SAVEPOINT s; \
             DELETE FROM visit LIMIT 5; ROLLBACK TO s; UPDATE product SET price = price + 0.01, tags = tags ^ 1 \
             WHERE sku = 'SKU-{}-3'; COMMIT",
            self.shop.first_id
        )
    }

    fn change_structure(&mut self, n: u64) {
        let sql = match n % 5 {
            0 => format!("ALTER TABLE customer ADD COLUMN extra{n} INT NOT NULL DEFAULT {n}"),
            1 => format!("CREATE INDEX extra{n} ON orders (placed, total)"),
            2 => format!(
                "CREATE TABLE extra{n} (id INT PRIMARY KEY, t VARCHAR(20)) DEFAULT CHARSET=utf8mb4; \
                 INSERT INTO extra{n} VALUES ({n}, 'new'), (-{n}, 'ü')"
            ),
            3 => format!("ALTER TABLE visit ADD COLUMN extra{n} VARCHAR(10) DEFAULT 'x' AFTER at"),
            _ => format!("ALTER TABLE visit DROP COLUMN extra{}", n - 1),
        };
        if let Err(error) = self.client.try_run(&sql) {
            self.undo(&error, &sql);
        }
    }
}
