//! Statements in another server's words.

use std::collections::BTreeMap;

use super::charset;
use super::ddl::Ddl;
use super::dialect::*;
use super::meaning::Meaning;
use super::tokens::SqlMode;
use super::tracker::{ServerDefaults, SessionDefaults, StructureSet};
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

fn settings(version: &str, explicit_timestamps: bool) -> ServerDefaults {
    let version = ServerVersion::parse(version);
    ServerDefaults {
        collation: charset::default_collation("utf8mb4", &version),
        version,
        folds_names: false,
        charset: "utf8mb4".into(),
        explicit_timestamps,
        charset_collations: Vec::new(),
        collations: [
            (45, "utf8mb4_general_ci".to_owned()),
            (8, "latin1_swedish_ci".to_owned()),
        ]
        .into_iter()
        .collect::<BTreeMap<_, _>>()
        .into(),
    }
}

/// The statement, run at `source` in such a session, as `target` gets it.
fn meant(
    sql: &str,
    source: &ServerDefaults,
    session: &SessionDefaults,
    target: &ServerDefaults,
) -> String {
    let mode = SqlMode::default();
    let source = source.in_session(session);
    let ddl = Ddl::read(sql.as_bytes(), "d", mode, source.version.flavor);
    let schemas = BTreeMap::from([(
        "d".to_owned(),
        ("utf8mb4".to_owned(), "utf8mb4_0900_ai_ci".to_owned()),
    )]);
    let mut set = StructureSet::new(source.clone(), [], schemas);
    let before = b"CREATE TABLE t (i INT, x TIMESTAMP NULL, c TEXT)";
    set.apply(&Ddl::read(before, "d", mode, source.version.flavor))
        .unwrap();
    set.apply(&ddl).unwrap();
    let after = ddl.tables.first().and_then(|table| set.get(&table.name));
    let meaning = Meaning {
        source: &source,
        target,
        after: after.as_deref(),
    };
    let adapted = adapt_ddl(
        sql.as_bytes(),
        mode,
        &source.version,
        &target.version,
        Some(meaning),
    )
    .unwrap();
    String::from_utf8(adapted.sql).unwrap()
}

#[test]
fn the_sources_default_is_written_down() {
    let (from, to) = (settings(MYSQL, true), settings(MARIADB, true));
    assert_eq!(
        meant(
            "CREATE TABLE u (a TEXT) PARTITION BY KEY (a)",
            &from,
            &SessionDefaults::default(),
            &to
        ),
        "CREATE TABLE u (a TEXT) DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_uca1400_nopad_ai_ci PARTITION BY KEY (a)"
    );
}

/// What a session can set only with a privilege is written into the text, and nothing is where both
/// sides mean the same.
#[test]
fn what_a_session_means_is_written_down() {
    let (explicit, implicit) = (settings(MYSQL, true), settings(MYSQL, false));
    let plain = SessionDefaults::default();
    let general = SessionDefaults {
        utf8mb4_collation: Some(45),
        ..plain.clone()
    };
    let latin = SessionDefaults {
        collation_server: Some(8),
        ..plain.clone()
    };
    let off = SessionDefaults {
        explicit_timestamps: Some(false),
        ..plain.clone()
    };
    for (sql, source, session, target, expected) in [
        (
            "ALTER TABLE t ADD a TIMESTAMP",
            &explicit,
            &plain,
            &explicit,
            "ALTER TABLE t ADD a TIMESTAMP",
        ),
        (
            "CREATE TABLE u (a TIMESTAMP(3), b TIMESTAMP, c TIMESTAMP NULL, d TIMESTAMP DEFAULT NOW()) CHARSET latin1",
            &explicit,
            &off,
            &explicit,
            "CREATE TABLE u (a TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP(3) ON UPDATE CURRENT_TIMESTAMP(3), \
             b TIMESTAMP NOT NULL DEFAULT '0000-00-00 00:00:00', c TIMESTAMP NULL, d TIMESTAMP NOT NULL DEFAULT NOW()) CHARSET latin1",
        ),
        (
            "ALTER TABLE t ADD COLUMN (a TIMESTAMP, b INT), MODIFY x TIMESTAMP(6) COMMENT 'null', CHANGE i j TIMESTAMP NOT NULL",
            &explicit,
            &plain,
            &implicit,
            "ALTER TABLE t ADD COLUMN (a TIMESTAMP NULL, b INT), MODIFY x TIMESTAMP(6) NULL COMMENT 'null', CHANGE i j TIMESTAMP NOT NULL",
        ),
        (
            "ALTER TABLE t ADD a TEXT CHARACTER SET utf8mb4, ADD b TEXT CHARSET utf8mb4 COLLATE utf8mb4_bin",
            &explicit,
            &general,
            &explicit,
            "ALTER TABLE t ADD a TEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci, ADD b TEXT CHARSET utf8mb4 COLLATE utf8mb4_bin",
        ),
        (
            "ALTER TABLE t CONVERT TO CHARACTER SET DEFAULT",
            &explicit,
            &plain,
            &explicit,
            "ALTER TABLE t CONVERT TO CHARACTER SET utf8mb4 COLLATE utf8mb4_0900_ai_ci",
        ),
        (
            "CREATE DATABASE IF NOT EXISTS n /* c */",
            &explicit,
            &latin,
            &explicit,
            "CREATE DATABASE IF NOT EXISTS n DEFAULT CHARACTER SET latin1 COLLATE latin1_swedish_ci /* c */",
        ),
        (
            "CREATE DATABASE n COLLATE utf8mb4_bin",
            &explicit,
            &latin,
            &explicit,
            "CREATE DATABASE n COLLATE utf8mb4_bin",
        ),
    ] {
        assert_eq!(meant(sql, source, session, target), expected);
    }
}

/// MariaDB's types and defaults in an ALTER TABLE, not only in a CREATE TABLE.
#[test]
fn columns_that_are_added_are_adapted() {
    let (from, to) = (settings(MARIADB, true), settings(MYSQL, true));
    assert_eq!(
        meant(
            "ALTER TABLE t ADD COLUMN IF NOT EXISTS u UUID DEFAULT uuid(), ADD (i4 INET4, n TEXT DEFAULT 'x'), MODIFY c TEXT DEFAULT 'y'",
            &from,
            &SessionDefaults::default(),
            &to
        ),
        "ALTER TABLE t ADD COLUMN  u char(36) CHARACTER SET ascii DEFAULT (uuid()), \
         ADD (i4 varchar(15) CHARACTER SET ascii, n TEXT DEFAULT ('x')), MODIFY c TEXT DEFAULT ('y')"
    );
}
