//! Statements in another server's words.

use super::dialect::*;
use super::tokens::SqlMode;
use crate::model::ServerVersion;

fn adapted(sql: &str, from: &str, to: &str) -> String {
    let (from, to) = (ServerVersion::parse(from), ServerVersion::parse(to));
    let adapted = adapt_create_table(sql.as_bytes(), &from, &to).expect(sql);
    assert_eq!(
        adapted.notes.is_empty(),
        adapted.sql == sql.as_bytes(),
        "{sql}"
    );
    String::from_utf8(adapted.sql).unwrap()
}

const MYSQL: &str = "9.7.4";
const MARIADB: &str = "10.11.19-MariaDB";
const TIDB: &str = "8.0.11-TiDB-v8.5.1";

#[test]
fn what_the_target_lacks_is_written_otherwise() {
    for (sql, from, to, expected) in [
        (
            "CREATE TABLE t (a INT) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_0900_ai_ci",
            MYSQL,
            MARIADB,
            "CREATE TABLE t (a INT) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_uca1400_nopad_ai_ci",
        ),
        (
            "CREATE TABLE t (a INT) ENGINE=MyISAM DEFAULT CHARSET=latin1",
            MYSQL,
            MARIADB,
            "CREATE TABLE t (a INT) ENGINE=InnoDB DEFAULT CHARSET=latin1",
        ),
        (
            "CREATE TABLE t (a INT) CHARSET=utf8mb4",
            MARIADB,
            MYSQL,
            "CREATE TABLE t (a INT) CHARSET=utf8mb4 COLLATE utf8mb4_general_ci",
        ),
        (
            "CREATE TABLE t (a INT /*!80023 INVISIBLE */, KEY k (a) /*!80000 INVISIBLE */)",
            MYSQL,
            MARIADB,
            "CREATE TABLE t (a INT  INVISIBLE , KEY k (a)  IGNORED )",
        ),
        (
            "CREATE TABLE t (a INT, KEY k ((a + 1)), KEY l (a), CHECK (a > 1) /*!80016 NOT ENFORCED */)",
            MYSQL,
            MARIADB,
            "CREATE TABLE t (a INT, KEY l (a))",
        ),
        (
            "CREATE TABLE t (u uuid NOT NULL, i inet6, j text DEFAULT 'x', d datetime DEFAULT current_timestamp(), r double DEFAULT rand(), n text DEFAULT NULL) ENGINE=Aria PAGE_CHECKSUM=1 `PAGE_COMPRESSED`='ON'",
            MARIADB,
            MYSQL,
            "CREATE TABLE t (u char(36) CHARACTER SET ascii NOT NULL, i varchar(39) CHARACTER SET ascii, j text DEFAULT ('x'), d datetime DEFAULT current_timestamp(), r double DEFAULT (rand()), n text DEFAULT NULL) ENGINE=InnoDB  ",
        ),
        (
            "ALTER TABLE t ADD COLUMN IF NOT EXISTS a INT, ADD KEY k (a) IGNORED",
            MARIADB,
            MYSQL,
            "ALTER TABLE t ADD COLUMN  a INT, ADD KEY k (a) INVISIBLE",
        ),
        (
            "CREATE TABLE t (`engine` INT, `collate` INT, c VARCHAR(9) COLLATE latin1_swedish_ci COMMENT 'ENGINE=MyISAM', FULLTEXT KEY f (c))",
            MYSQL,
            TIDB,
            "CREATE TABLE t (`engine` INT, `collate` INT, c VARCHAR(9) COLLATE latin1_bin COMMENT 'ENGINE=MyISAM')",
        ),
        (
            "CREATE TABLE t (a INT) DATA DIRECTORY='/x' ROW_FORMAT=COMPRESSED",
            MARIADB,
            MARIADB,
            "CREATE TABLE t (a INT)  ROW_FORMAT=COMPRESSED",
        ),
        (
            "INSERT INTO t VALUES (1) -- ENGINE=MyISAM",
            MYSQL,
            MARIADB,
            "INSERT INTO t VALUES (1) -- ENGINE=MyISAM",
        ),
        (
            "CREATE TABLE t (a INT) ENGINE=InnoDB",
            MYSQL,
            MYSQL,
            "CREATE TABLE t (a INT) ENGINE=InnoDB",
        ),
    ] {
        assert_eq!(adapted(sql, from, to), expected, "{sql}");
    }
}

#[test]
fn what_cannot_be_said_is_refused() {
    for (sql, from, to) in [
        (
            "CREATE TABLE t (a INT) WITH SYSTEM VERSIONING",
            MARIADB,
            MYSQL,
        ),
        ("CREATE OR REPLACE TABLE t (a INT)", MARIADB, MYSQL),
        ("CREATE TABLE t (a POINT)", MYSQL, TIDB),
        ("CREATE TABLE t (a VECTOR(3))", MYSQL, MARIADB),
        (
            "CREATE TABLE t (a INT) ENGINE=MERGE UNION=(u)",
            MYSQL,
            MYSQL,
        ),
    ] {
        let (from, to) = (ServerVersion::parse(from), ServerVersion::parse(to));
        let error = adapt_create_table(sql.as_bytes(), &from, &to).expect_err(sql);
        assert!(error.fix().is_some());
    }
}

#[test]
fn the_sources_default_is_written_down() {
    let (from, to) = (ServerVersion::parse(MYSQL), ServerVersion::parse(MARIADB));
    let default = Some(("utf8mb4", "utf8mb4_0900_ai_ci"));
    let sql = b"CREATE TABLE t (a TEXT) PARTITION BY KEY (a)";
    let adapted = adapt_ddl(sql, SqlMode::default(), &from, &to, default).unwrap();
    assert_eq!(
        String::from_utf8(adapted.sql).unwrap(),
        "CREATE TABLE t (a TEXT) DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_uca1400_nopad_ai_ci PARTITION BY KEY (a)"
    );
}
