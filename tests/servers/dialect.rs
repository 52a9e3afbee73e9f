//! Tables of one family created on the other, in its own words.

use tideway::model::ServerVersion;
use tideway::schema::adapt_create_table;

use crate::support::{Client, Flavor, Server};

const BOTH: &[&str] = &[
    "CREATE TABLE p (id INT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY, k VARCHAR(40) NOT NULL, UNIQUE KEY (k)) DEFAULT CHARSET=utf8mb4",
    "CREATE TABLE c (id BIGINT PRIMARY KEY, p INT UNSIGNED, CONSTRAINT fk FOREIGN KEY (p) REFERENCES p (id) ON DELETE CASCADE) CHARSET=latin1",
    "CREATE TABLE types (a TINYINT(1) UNSIGNED, b DECIMAL(12,4) DEFAULT 1.5, c FLOAT, d DOUBLE(8,2), e BIT(5) DEFAULT b'10', f YEAR, g DATETIME(3) DEFAULT CURRENT_TIMESTAMP(3) ON UPDATE CURRENT_TIMESTAMP(3), h TIMESTAMP NULL, i CHAR(3) CHARACTER SET ucs2, j VARCHAR(9) CHARACTER SET utf8mb3 COLLATE utf8mb3_bin, k ENUM('a','b') COLLATE utf8mb4_bin, l SET('x','y'), m BLOB, n LONGTEXT, o JSON, p GEOMETRY, q BINARY(4) DEFAULT 'ab', r TIME(6), s POINT NOT NULL, id INT PRIMARY KEY, SPATIAL KEY (s)) CHARSET=utf8mb4",
    "CREATE TABLE gen (a INT, b INT AS (a + 1) VIRTUAL, c VARCHAR(30) AS (CONCAT(a, 'x')) STORED, d INT INVISIBLE, e INT CHECK (e > 0), f DOUBLE DEFAULT (RAND()), KEY (b), KEY (c(5) DESC)) COMMENT='ENGINE=MyISAM'",
    "CREATE TABLE parts (a INT NOT NULL, b INT) PARTITION BY RANGE (a) (PARTITION p0 VALUES LESS THAN (10), PARTITION p1 VALUES LESS THAN MAXVALUE)",
    "CREATE TABLE isam (a INT, t TEXT, FULLTEXT KEY (t)) ENGINE=MyISAM ROW_FORMAT=DYNAMIC",
    "CREATE TABLE col (a VARCHAR(5) COLLATE utf8mb4_unicode_520_ci, b VARCHAR(5) CHARACTER SET gbk, c VARCHAR(5) CHARACTER SET binary) COLLATE=utf8mb4_swedish_ci",
];

const MYSQL: &[&str] = &[
    "CREATE TABLE m1 (a INT, b INT, KEY e ((a + b)), KEY h (a) INVISIBLE, CONSTRAINT ch CHECK (a > 1) NOT ENFORCED, v VARCHAR(5) COLLATE utf8mb4_sv_0900_as_cs, w VARCHAR(5) COLLATE utf8mb4_0900_bin, g GEOMETRYCOLLECTION, s POINT NOT NULL SRID 4326)",
    "CREATE TABLE m2 (a JSON DEFAULT (JSON_ARRAY()), b TEXT DEFAULT ('x'), KEY mv ((CAST(a AS UNSIGNED ARRAY))), c INT COLUMN_FORMAT FIXED STORAGE DISK) COMPRESSION='zlib'",
    "CREATE TABLE m3 (a VARCHAR(5) CHARACTER SET gb18030 COLLATE gb18030_bin)",
];

const MARIADB: &[&str] = &[
    "CREATE TABLE a1 (u UUID NOT NULL PRIMARY KEY DEFAULT uuid(), i INET6, j INET4, t TEXT DEFAULT 'x', c VARCHAR(200) COMPRESSED, d DATE DEFAULT curdate(), k INT, KEY ig (k) IGNORED)",
    "CREATE TABLE a2 (a VARCHAR(5) COLLATE uca1400_as_cs, b VARCHAR(5) COLLATE utf8mb4_general_nopad_ci, c VARCHAR(5) CHARACTER SET utf8mb3 COLLATE utf8mb3_uca1400_swedish_ai_ci) ENGINE=InnoDB PAGE_COMPRESSED=1",
    "CREATE TABLE a3 (a INT, b INT AS (a) PERSISTENT) ENGINE=Aria TRANSACTIONAL=1",
];

fn version(client: &mut Client) -> ServerVersion {
    ServerVersion::parse(&client.value("SELECT VERSION()"))
}

fn carry(from: Flavor, to: Flavor, own: &[&str]) {
    let [source, target] = Server::start_all([from, to]);
    for server in [&source, &target] {
        server.run("CREATE DATABASE d CHARACTER SET utf8mb4");
    }
    let (mut source, mut target) = (source.client(), target.client());
    source.run("USE d");
    target.run("USE d");
    let (from, to) = (version(&mut source), version(&mut target));
    let mut refused = Vec::new();
    for sql in BOTH.iter().chain(own) {
        source.run(sql);
        let name = sql.split_whitespace().nth(2).unwrap();
        let shown = source.texts(&format!("SHOW CREATE TABLE {name}"))[0][1].clone();
        let adapted = adapt_create_table(shown.as_bytes(), &from, &to).unwrap();
        let new = String::from_utf8(adapted.sql).unwrap();
        if let Err(error) = target.try_run(&new) {
            refused.push(format!("{shown}\n-> {new}\n-> {error}"));
            continue;
        }
        let columns = "SELECT GROUP_CONCAT(CONCAT(COLUMN_NAME, ' ', IS_NULLABLE) ORDER BY ORDINAL_POSITION) \
             FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = 'd' AND TABLE_NAME = ";
        let columns = format!("{columns} '{name}'");
        assert_eq!(source.value(&columns), target.value(&columns), "{name}");
    }
    assert!(
        refused.is_empty(),
        "{} -> {}:\n{}",
        from,
        to,
        refused.join("\n\n")
    );
}

#[test]
fn mysql_to_mariadb() {
    carry(Flavor::MySql97, Flavor::MariaDb1011, MYSQL);
}

#[test]
fn mysql_to_mariadb_11() {
    carry(Flavor::MySql97, Flavor::MariaDb118, MYSQL);
}

#[test]
fn mariadb_to_mysql() {
    carry(Flavor::MariaDb1011, Flavor::MySql97, MARIADB);
}

#[test]
fn mariadb_11_to_mysql() {
    carry(Flavor::MariaDb118, Flavor::MySql97, MARIADB);
}
