//! What a sync catches up with: backlogs of binlog of known shape, written at the source by procedures.

use std::fmt::Write as _;

/// A backlog: the tables it begins with, and what the source then does.
#[derive(Debug)]
pub(crate) struct Backlog {
    /// Its letter on the command line, and its name.
    pub(crate) name: &'static str,
    /// Makes the tables of `bench`, the same on every server.
    pub(crate) tables: String,
    /// The body of a procedure that does `turns` turns, the turn's number in `i`.
    pub(crate) body: String,
    /// How many turns make about as many row changes as asked for.
    pub(crate) turns: u64,
    /// Row changes of all turns, for a statement that counts them, in thousandths a turn.
    pub(crate) rows_a_thousand_turns: u64,
}

impl Backlog {
    /// How many rows change in all.
    pub(crate) fn rows(&self) -> f64 {
        (self.turns * self.rows_a_thousand_turns) as f64 / 1000.0
    }
}

/// Numbers from 0 to 99,999, as `numbers(n)`.
const NUMBERS: &str = "CREATE TABLE bench.numbers (n INT PRIMARY KEY); \
    INSERT INTO bench.numbers WITH d AS (SELECT 0 n UNION SELECT 1 UNION SELECT 2 UNION SELECT 3 UNION SELECT 4 \
    UNION SELECT 5 UNION SELECT 6 UNION SELECT 7 UNION SELECT 8 UNION SELECT 9) \
    SELECT a.n + 10 * b.n + 100 * c.n + 1000 * e.n + 10000 * f.n FROM d a, d b, d c, d e, d f; ";

/// The backlog of a letter, with about `rows` row changes.
pub(crate) fn backlog(letter: char, rows: u64) -> Backlog {
    match letter {
        'a' => small(rows),
        'b' => write_only(rows),
        'c' => bulk(rows),
        'd' => hot(rows),
        'e' => wide(rows),
        'f' => mixed(rows),
        other => panic!("no such backlog: `{other}`"),
    }
}

fn made(tables: &str) -> String {
    format!("CREATE DATABASE bench; {NUMBERS}{tables}")
}

/// Single-row transactions on 16 tables: six of eight insert, one updates, one deletes.
fn small(rows: u64) -> Backlog {
    let (mut tables, mut body) = (String::new(), String::from("CASE i % 16 "));
    for table in 0..16 {
        let _ = write!(
            tables,
            "CREATE TABLE bench.t{table} (id INT PRIMARY KEY, k INT NOT NULL, c CHAR(60) NOT NULL, KEY (k)) \
             ENGINE=InnoDB; "
        );
        let _ = write!(
            body,
            "WHEN {table} THEN CASE (i DIV 16) % 8 \
             WHEN 6 THEN UPDATE bench.t{table} SET k = k + 1 WHERE id = i - 32; \
             WHEN 7 THEN DELETE FROM bench.t{table} WHERE id = i - 64; \
             ELSE INSERT INTO bench.t{table} VALUES (i, i % 997, CONCAT('row ', i, REPEAT('x', 40))); END CASE; "
        );
    }
    body.push_str("END CASE;");
    Backlog {
        name: "(a) single rows, 16 tables",
        tables: made(&tables),
        body,
        turns: rows,
        rows_a_thousand_turns: 1000,
    }
}

/// sysbench's oltp_write_only: two UPDATEs, a DELETE and its INSERT.
fn write_only(rows: u64) -> Backlog {
    let line = "REPEAT(CONCAT(n, '-'), 118 DIV (LENGTH(n) + 1))";
    let tables = format!(
        "CREATE TABLE bench.sbtest1 (id INT PRIMARY KEY, k INT NOT NULL, c CHAR(120) NOT NULL, \
         pad CHAR(60) NOT NULL, KEY (k)) ENGINE=InnoDB; \
         INSERT INTO bench.sbtest1 SELECT n, n % 5003, {line}, 'pad' FROM bench.numbers WHERE n < 50000"
    );
    Backlog {
        name: "(b) oltp_write_only",
        tables: made(&tables),
        body: "START TRANSACTION; \
            UPDATE bench.sbtest1 SET k = k + 1 WHERE id = i * 7919 % 50000; \
            UPDATE bench.sbtest1 SET c = CONCAT(i, REPEAT('-c', 50)) WHERE id = i * 104729 % 50000; \
            DELETE FROM bench.sbtest1 WHERE id = i * 15485863 % 50000; \
            INSERT INTO bench.sbtest1 VALUES (i * 15485863 % 50000, i % 5003, CONCAT(i, REPEAT('-d', 50)), 'pad'); \
            COMMIT;"
            .into(),
        turns: rows / 4,
        rows_a_thousand_turns: 4000,
    }
}

/// INSERTs of 1,000 rows.
fn bulk(rows: u64) -> Backlog {
    Backlog {
        name: "(c) bulk inserts",
        tables: made(
            "CREATE TABLE bench.bulk (id INT PRIMARY KEY, k INT NOT NULL, c CHAR(60) NOT NULL, d DATETIME(6)) \
             ENGINE=InnoDB",
        ),
        body: "INSERT INTO bench.bulk SELECT i * 1000 + n, n * 7, CONCAT('row ', n, REPEAT('x', 40)), \
            '2026-01-02 03:04:05.678901' FROM bench.numbers WHERE n < 1000;"
            .into(),
        turns: rows.div_ceil(1000),
        rows_a_thousand_turns: 1_000_000,
    }
}

/// UPDATEs of 100 rows, again and again.
fn hot(rows: u64) -> Backlog {
    Backlog {
        name: "(d) hot rows",
        tables: made(
            "CREATE TABLE bench.hot (id INT PRIMARY KEY, n BIGINT NOT NULL, t VARCHAR(60)) ENGINE=InnoDB; \
             INSERT INTO bench.hot SELECT n, 0, '' FROM bench.numbers WHERE n < 100",
        ),
        body: "UPDATE bench.hot SET n = n + i, t = CONCAT('turn ', i) WHERE id = i * 37 % 100;"
            .into(),
        turns: rows,
        rows_a_thousand_turns: 1000,
    }
}

/// Rows of 16 KB with a JSON document; every other turn the document of an earlier one changes.
fn wide(rows: u64) -> Backlog {
    let columns: Vec<String> = (0..20).map(|n| format!("c{n} INT NOT NULL, ")).collect();
    let values: Vec<String> = (0..20).map(|n| format!("i + {n}, ")).collect();
    let (columns, values) = (columns.concat(), values.concat());
    Backlog {
        name: "(e) wide rows",
        tables: made(&format!(
            "CREATE TABLE bench.wide (id INT PRIMARY KEY, {columns} doc JSON NOT NULL, b LONGBLOB NOT NULL) \
             ENGINE=InnoDB"
        )),
        body: format!(
            "IF i % 2 = 0 THEN INSERT INTO bench.wide VALUES (i, {values} \
             JSON_OBJECT('id', i, 'name', REPEAT('n', 500), 'list', JSON_ARRAY(1, 2.5, 'x')), \
             REPEAT(CHAR(i % 256), 16000)); \
             ELSE UPDATE bench.wide SET doc = JSON_OBJECT('id', i, 'changed', TRUE), c3 = i \
             WHERE id = (i DIV 4) * 2; END IF;"
        ),
        turns: (rows / 16).max(100),
        rows_a_thousand_turns: 1000,
    }
}

/// Orders with their lines: unique and plain indexes, foreign keys.
fn mixed(rows: u64) -> Backlog {
    Backlog {
        name: "(f) mix with foreign keys",
        tables: made(
            "CREATE TABLE bench.customer (id INT PRIMARY KEY, email VARCHAR(80) NOT NULL UNIQUE, \
                 spent DECIMAL(14,2) NOT NULL, KEY (spent)) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4; \
             CREATE TABLE bench.orders (id INT PRIMARY KEY, customer_id INT NOT NULL, state VARCHAR(12) NOT NULL, \
                 placed DATETIME NOT NULL, KEY (state, placed), \
                 FOREIGN KEY (customer_id) REFERENCES customer (id)) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4; \
             CREATE TABLE bench.line (order_id INT NOT NULL, no INT NOT NULL, sku VARCHAR(20) NOT NULL, \
                 amount INT NOT NULL, PRIMARY KEY (order_id, no), KEY (sku), \
                 FOREIGN KEY (order_id) REFERENCES orders (id)) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4; \
             INSERT INTO bench.customer SELECT n, CONCAT('someone', n, '@example.com'), 0 FROM bench.numbers \
                 WHERE n < 5000",
        ),
        body: "START TRANSACTION; \
            INSERT INTO bench.orders VALUES (i, i * 7919 % 5000, 'new', '2026-01-02 03:04:05'); \
            INSERT INTO bench.line VALUES (i, 1, CONCAT('sku', i % 900), 1), (i, 2, CONCAT('sku', i % 800), 2), \
                (i, 3, CONCAT('sku', i % 700), 3); \
            UPDATE bench.customer SET spent = spent + 9.95 WHERE id = i * 7919 % 5000; \
            COMMIT; \
            IF i % 2 = 1 THEN UPDATE bench.orders SET state = 'sent' WHERE id = i - 1; END IF; \
            IF i % 10 = 9 THEN START TRANSACTION; \
                DELETE FROM bench.line WHERE order_id = i - 9; DELETE FROM bench.orders WHERE id = i - 9; \
                COMMIT; END IF;"
            .into(),
        turns: rows * 10 / 59,
        rows_a_thousand_turns: 5900,
    }
}
