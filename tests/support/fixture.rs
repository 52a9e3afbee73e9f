//! The schema that the tests move: few rows, every common column type, every kind of key.

use super::client::Client;

/// The tables of the shop, for `CREATE`, in an order that foreign keys allow.
const TABLES: &[&str] = &[
    "CREATE TABLE customer (
        id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
        email VARCHAR(120) NOT NULL UNIQUE,
        name VARCHAR(80) NOT NULL,
        born DATE NULL,
        is_vip BOOL NOT NULL DEFAULT FALSE,
        note TEXT,
        created TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6),
        changed TIMESTAMP NULL DEFAULT NULL ON UPDATE CURRENT_TIMESTAMP
     ) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4",
    "CREATE TABLE product (
        sku VARCHAR(32) CHARACTER SET ascii NOT NULL PRIMARY KEY,
        title VARCHAR(200) NOT NULL,
        price DECIMAL(12,2) NOT NULL,
        weight DOUBLE,
        state ENUM('draft','on sale','sold out') NOT NULL DEFAULT 'draft',
        tags SET('new','used','heavy','fragile') NOT NULL DEFAULT '',
        picture BLOB,
        KEY by_state (state, price)
     ) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4",
    "CREATE TABLE stock (
        warehouse INT NOT NULL,
        sku VARCHAR(32) CHARACTER SET ascii NOT NULL,
        amount INT NOT NULL,
        PRIMARY KEY (warehouse, sku)
     ) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4",
    "CREATE TABLE orders (
        id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
        customer_id BIGINT UNSIGNED NOT NULL,
        placed DATETIME(3) NOT NULL,
        total DECIMAL(14,4) NOT NULL DEFAULT 0,
        reference CHAR(12) NULL,
        UNIQUE KEY (reference),
        FOREIGN KEY (customer_id) REFERENCES customer (id)
     ) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4",
    "CREATE TABLE order_line (
        order_id BIGINT UNSIGNED NOT NULL,
        line_no SMALLINT NOT NULL,
        sku VARCHAR(32) CHARACTER SET ascii NOT NULL,
        amount INT NOT NULL,
        price DECIMAL(12,2) NOT NULL,
        value DECIMAL(16,2) GENERATED ALWAYS AS (amount * price) STORED,
        PRIMARY KEY (order_id, line_no),
        FOREIGN KEY (order_id) REFERENCES orders (id)
     ) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4",
    "CREATE TABLE visit (
        at DATETIME NOT NULL,
        page VARCHAR(100) NOT NULL,
        seconds FLOAT,
        KEY (at)
     ) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4",
    "CREATE TABLE kinds (
        id INT NOT NULL AUTO_INCREMENT PRIMARY KEY,
        t TINYINT, tu TINYINT UNSIGNED, s SMALLINT, su SMALLINT UNSIGNED,
        m MEDIUMINT, mu MEDIUMINT UNSIGNED, i INT, iu INT UNSIGNED, b BIGINT, bu BIGINT UNSIGNED,
        f FLOAT, d DOUBLE, dec1 DECIMAL(65,30), dec2 DECIMAL(5,0), bits BIT(11),
        yr YEAR, dt DATE, tm TIME, tm2 TIME(2), tm6 TIME(6), dtm DATETIME, dtm6 DATETIME(6),
        ts TIMESTAMP NULL, ts3 TIMESTAMP(3) NULL,
        c CHAR(10), v VARCHAR(300), latin VARCHAR(50) CHARACTER SET latin1, bin BINARY(16), vbin VARBINARY(64),
        tb TINYBLOB, mb MEDIUMBLOB, lt LONGTEXT, e ENUM('a','b''c','ü'), st SET('x','y','z'),
        j JSON, g GEOMETRY
     ) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4",
    "CREATE TABLE `odd ``name` (
        `select` INT NOT NULL, `a b` VARCHAR(20) NOT NULL, `ünï` VARCHAR(20),
        PRIMARY KEY (`select`, `a b`)
     ) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4",
];

/// Rows of `kinds` at the edges of each type, without the id.
const EDGES: &[&str] = &[
    "-128, 0, -32768, 0, -8388608, 0, -2147483648, 0, -9223372036854775808, 0,
     -1.17549e-38, -1.7976931348623157e308, -99999999999999999999999999999999999.999999999999999999999999999999, -99999, b'0',
     1901, '1000-01-01', '-838:59:59', '-01:02:03.45', '-00:00:00.000001', '1000-01-01 00:00:00', '1000-01-01 00:00:00.000001',
     '1970-01-01 00:00:01', '1970-01-01 00:00:01.001',
     '', '', '', x'00', x'', x'', x'', '', 'a', '', 'null', ST_GeomFromText('POINT(0 0)')",
    "127, 255, 32767, 65535, 8388607, 16777215, 2147483647, 4294967295, 9223372036854775807, 18446744073709551615,
     3.40282e38, 2.2250738585072014e-308, 99999999999999999999999999999999999.999999999999999999999999999999, 99999, b'11111111111',
     2155, '9999-12-31', '838:59:59', '01:02:03.45', '00:00:00.000001', '9999-12-31 23:59:59', '9999-12-31 23:59:59.999999',
     '2038-01-19 03:14:07', '2038-01-19 03:14:07.999',
     'end  ', 'tab\\tnew\\nline\\0nul\\\\back''quote\"', 'Ã© ÿ', x'00112233445566778899AABBCCDDEE00', x'00FF00',
     x'5C27220A0D1A00', x'DEADBEEF00', 'ünïcödé 🚢', 'ü', 'x,y,z',
     '{\"a\": [1, -2, 3.5, true, null], \"b\": {\"ü\": \"🚢\", \"deep\": [[[]]]}, \"big\": 18446744073709551615}',
     ST_GeomFromText('LINESTRING(1 2, 3.5 -4, 1e10 1e-10)')",
    "-1, 128, -1, 32768, -1, 8388608, -1, 2147483648, -1, 9223372036854775808,
     0.1, 0.1, 0.000000000000000000000000000001, 0, b'1',
     2000, '2024-02-29', '00:00:00', '00:00:00.10', '12:34:56.789012', '2024-02-29 12:34:56', '2024-02-29 12:34:56.000100',
     '2024-02-29 12:34:56', '2024-02-29 12:34:56.100',
     'mid', REPEAT('é', 300), 'café', x'FF', x'FFFE', x'01', REPEAT(x'00FF', 5000), REPEAT('long ', 20000), 'b''c', 'x,z',
     '[]', ST_GeomFromText('POLYGON((0 0, 4 0, 4 4, 0 0))')",
    "NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
     NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
     NULL, NULL, NULL, NULL",
];

/// Makes the shop in `schema`: its tables, and `customers` customers with what belongs to them.
///
/// `first_id` is where the ids start, so that two shops can be merged into one.
pub(crate) fn create_shop(client: &mut Client, schema: &str, customers: u32, first_id: u32) {
    client.run(&format!("CREATE DATABASE {schema}; USE {schema}"));
    for table in TABLES {
        client.run(table);
    }
    client.run(&format!(
        "ALTER TABLE customer AUTO_INCREMENT = {first_id}; ALTER TABLE orders AUTO_INCREMENT = {first_id}; \
         ALTER TABLE kinds AUTO_INCREMENT = {first_id}"
    ));
    for edge in EDGES {
        client.run(&format!("INSERT INTO kinds SELECT NULL, {edge}"));
    }
    client.run(&format!(
        "INSERT INTO `odd ``name` VALUES ({first_id}, 'a', NULL), ({first_id}, 'b', 'ü'), (-{first_id}, '', '')"
    ));
    let products: Vec<String> = (0..50)
        .map(|n| {
            format!(
                "('SKU-{first_id}-{n}', 'Product {n}', {n}.99, {n}.125, {}, {}, REPEAT(CHAR({n}), {n}))",
                n % 3 + 1,
                n % 16
            )
        })
        .collect();
    client.run(&format!(
        "INSERT INTO product VALUES {}",
        products.join(", ")
    ));
    client.run(&format!(
        "INSERT INTO stock SELECT {first_id}, sku, 1000 FROM product; \
         INSERT INTO stock SELECT {first_id} + 1, sku, 500 FROM product"
    ));
    let numbers: Vec<u32> = (0..customers).collect();
    for chunk in numbers.chunks(500) {
        let list = |row: &dyn Fn(u32) -> String| -> String {
            chunk
                .iter()
                .map(|n| row(n + first_id))
                .collect::<Vec<_>>()
                .join(", ")
        };
        let customers = list(&|n| {
            format!(
                "({n}, 'c{n}@example.org', 'Customer {n}', DATE '1970-01-01' + INTERVAL {} DAY, {}, NULL)",
                n % 20_000,
                n % 2
            )
        });
        let orders = list(&|n| format!("({n}, {n}, '2024-01-01 10:00:00.123', {n}.5, 'R{n:011}')"));
        let lines = list(&|n| {
            format!(
                "({n}, 1, 'SKU-{first_id}-1', 2, 1.50), ({n}, 2, 'SKU-{first_id}-2', 1, {n}.99)"
            )
        });
        let visits = list(&|n| format!("('2024-01-01 10:00:00', '/page/{}', {n}.1)", n % 7));
        client.run(&format!(
            "INSERT INTO customer (id, email, name, born, is_vip, note) VALUES {customers}; \
             INSERT INTO orders VALUES {orders}; \
             INSERT INTO order_line (order_id, line_no, sku, amount, price) VALUES {lines}; \
             INSERT INTO visit VALUES {visits}"
        ));
    }
}
