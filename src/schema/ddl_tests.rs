//! Statements through `Ddl::read`: what each is, which tables it names, and that renaming leaves the rest alone.

use proptest::prelude::*;

use super::ddl::*;
use super::tokens::SqlMode;
use crate::model::{Flavor, TableName};

fn read(sql: &str, flavor: Flavor) -> Ddl {
    Ddl::read(sql.as_bytes(), "d", SqlMode::default(), flavor)
}

/// The tables as `role:schema.name`, the subject without its role.
fn shown(ddl: &Ddl) -> String {
    let mut parts: Vec<String> = ddl
        .tables
        .iter()
        .map(|table| match table.role {
            TableRole::Subject => table.name.to_string(),
            role => format!("{role:?}:{}", table.name),
        })
        .collect();
    parts.extend(
        ddl.schema
            .iter()
            .map(|schema| format!("schema:{}", schema.name)),
    );
    parts.join(" ")
}

#[test]
fn statements_are_read() {
    use DdlKind as K;
    let cases: &[(&str, DdlKind, &str)] = &[
        ("CREATE TABLE t (a INT)", K::CreateTable, "d.t"),
        (
            "create table `a b`.`c``d` (a int)",
            K::CreateTable,
            "a b.c`d",
        ),
        (
            "CREATE TABLE IF NOT EXISTS e.t (id INT PRIMARY KEY) ENGINE=InnoDB",
            K::CreateTable,
            "e.t",
        ),
        ("CREATE TEMPORARY TABLE t (a INT)", K::CreateTable, "d.t"),
        ("CREATE TABLE t LIKE e.u", K::CreateTable, "d.t Like:e.u"),
        ("CREATE TABLE t (LIKE u)", K::CreateTable, "d.t Like:d.u"),
        (
            "CREATE TABLE t SELECT * FROM u",
            K::CreateTable,
            "d.t Source:d.u",
        ),
        (
            "CREATE TABLE t AS SELECT a FROM u JOIN e.v USING (a)",
            K::CreateTable,
            "d.t Source:d.u Source:e.v",
        ),
        (
            "CREATE TABLE t (a INT) IGNORE SELECT 1 AS a",
            K::CreateTable,
            "d.t",
        ),
        (
            "CREATE TABLE t (a INT, KEY (a)) AS (SELECT a FROM u)",
            K::CreateTable,
            "d.t Source:d.u",
        ),
        (
            "CREATE TABLE t (SELECT a FROM u, v WHERE u.a = v.a)",
            K::CreateTable,
            "d.t Source:d.u Source:d.v",
        ),
        (
            "CREATE TABLE t AS WITH c AS (SELECT 1) SELECT * FROM c",
            K::CreateTable,
            "d.t Source:d.c",
        ),
        (
            "CREATE TABLE c (p INT, FOREIGN KEY (p) REFERENCES p (id) ON DELETE CASCADE)",
            K::CreateTable,
            "d.c Parent:d.p",
        ),
        (
            "CREATE TABLE e.c (p INT REFERENCES p (id), q INT, CONSTRAINT fk FOREIGN KEY (q) REFERENCES f.q (id))",
            K::CreateTable,
            "e.c Parent:e.p Parent:f.q",
        ),
        (
            "CREATE TABLE t (a INT, b INT GENERATED ALWAYS AS (a + 1) VIRTUAL, c INT AS (a * 2) STORED)",
            K::CreateTable,
            "d.t",
        ),
        (
            "CREATE TABLE t (a INT CHECK (a > 0), CONSTRAINT c CHECK (a < 10) NOT ENFORCED)",
            K::CreateTable,
            "d.t",
        ),
        (
            "CREATE TABLE t (a INT INVISIBLE, b INT, KEY k (b) INVISIBLE)",
            K::CreateTable,
            "d.t",
        ),
        (
            "CREATE TABLE t (a JSON, KEY k ((CAST(a->'$.x' AS UNSIGNED ARRAY))))",
            K::CreateTable,
            "d.t",
        ),
        (
            "CREATE TABLE t (a INT) PARTITION BY RANGE (a) (PARTITION p0 VALUES LESS THAN (10), PARTITION p1 VALUES LESS THAN MAXVALUE)",
            K::CreateTable,
            "d.t",
        ),
        (
            "CREATE TABLE t (a INT) PARTITION BY LIST (a) (PARTITION p0 VALUES IN (1,2))",
            K::CreateTable,
            "d.t",
        ),
        (
            "CREATE TABLE t (a INT) PARTITION BY HASH (a) PARTITIONS 4",
            K::CreateTable,
            "d.t",
        ),
        (
            "CREATE TABLE t (a INT) PARTITION BY KEY () PARTITIONS 4",
            K::CreateTable,
            "d.t",
        ),
        (
            "CREATE TABLE t (a INT) ENGINE=MERGE UNION=(u,e.v) INSERT_METHOD=LAST",
            K::CreateTable,
            "d.t Union:d.u Union:e.v",
        ),
        (
            "CREATE TABLE t (a INT) COMMENT='DROP TABLE x; SELECT' DEFAULT CHARSET=utf8mb4",
            K::CreateTable,
            "d.t",
        ),
        (
            "CREATE TABLE t (a VARCHAR(10) DEFAULT 'REFERENCES z') /* REFERENCES y */",
            K::CreateTable,
            "d.t",
        ),
        ("CREATE TABLE t /*!50100 (a INT) */", K::CreateTable, "d.t"),
        ("CREATE TABLE/**/t(a INT)", K::CreateTable, "d.t"),
        (
            "CREATE TABLE `select` (`from` INT, `references` INT)",
            K::CreateTable,
            "d.select",
        ),
        ("CREATE OR REPLACE TABLE t (a INT)", K::CreateTable, "d.t"),
        (
            "CREATE TABLE t (a INT) WITH SYSTEM VERSIONING",
            K::CreateTable,
            "d.t",
        ),
        (
            "CREATE TABLE t (a INT, s TIMESTAMP(6) GENERATED ALWAYS AS ROW START, e TIMESTAMP(6) GENERATED ALWAYS AS ROW END, PERIOD FOR SYSTEM_TIME (s, e)) WITH SYSTEM VERSIONING",
            K::CreateTable,
            "d.t",
        ),
        (
            "CREATE TABLE t (a ENUM('x','y(','z)') NOT NULL, b SET('a,b','c'))",
            K::CreateTable,
            "d.t",
        ),
        (
            "CREATE TABLE t (a DOUBLE DEFAULT (RAND()), b BINARY(16) DEFAULT (UUID_TO_BIN(UUID())))",
            K::CreateTable,
            "d.t",
        ),
        ("CREATE TABLE 1st (a INT)", K::CreateTable, "d.1st"),
        ("CREATE TABLE d.1st (a INT)", K::CreateTable, "d.1st"),
        ("CREATE TABLE .t (a INT)", K::CreateTable, "d.t"),
        ("CREATE TABLE größe (ä INT)", K::CreateTable, "d.größe"),
        (
            "CREATE TABLE t (a INT) START TRANSACTION",
            K::CreateTable,
            "d.t",
        ),
        (
            "CREATE TABLE t (a INT) AUTO_INCREMENT=5 ROW_FORMAT=DYNAMIC KEY_BLOCK_SIZE=8 TABLESPACE ts",
            K::CreateTable,
            "d.t",
        ),
        (
            "CREATE TABLE t (a INT) VALUES (1), (2)",
            K::CreateTable,
            "d.t",
        ),
        ("ALTER TABLE t ADD COLUMN b INT", K::AlterTable, "d.t"),
        (
            "ALTER TABLE e.t ADD b INT FIRST, DROP c, MODIFY d BIGINT AFTER b",
            K::AlterTable,
            "e.t",
        ),
        (
            "ALTER TABLE t ADD COLUMN (b INT, c INT)",
            K::AlterTable,
            "d.t",
        ),
        (
            "ALTER TABLE t CHANGE a b VARCHAR(20) CHARACTER SET latin1 COLLATE latin1_bin NOT NULL",
            K::AlterTable,
            "d.t",
        ),
        (
            "ALTER TABLE t RENAME TO u",
            K::AlterTable,
            "d.t NewName:d.u",
        ),
        (
            "ALTER TABLE t RENAME AS e.u",
            K::AlterTable,
            "d.t NewName:e.u",
        ),
        ("ALTER TABLE t RENAME u", K::AlterTable, "d.t NewName:d.u"),
        ("ALTER TABLE t RENAME = u", K::AlterTable, "d.t NewName:d.u"),
        (
            "ALTER TABLE t ADD b INT, RENAME TO u",
            K::AlterTable,
            "d.t NewName:d.u",
        ),
        ("ALTER TABLE t RENAME COLUMN a TO b", K::AlterTable, "d.t"),
        (
            "ALTER TABLE t RENAME INDEX a TO b, RENAME KEY c TO d",
            K::AlterTable,
            "d.t",
        ),
        (
            "ALTER TABLE t ADD INDEX k (a, b(10) DESC), ADD UNIQUE KEY u (c)",
            K::AlterTable,
            "d.t",
        ),
        (
            "ALTER TABLE t ADD FULLTEXT INDEX f (a) WITH PARSER ngram",
            K::AlterTable,
            "d.t",
        ),
        (
            "ALTER TABLE t ADD CONSTRAINT fk FOREIGN KEY (a) REFERENCES p (id)",
            K::AlterTable,
            "d.t Parent:d.p",
        ),
        (
            "ALTER TABLE e.t ADD COLUMN a INT REFERENCES p (id), ADD FOREIGN KEY (b) REFERENCES f.q (id)",
            K::AlterTable,
            "e.t Parent:e.p Parent:f.q",
        ),
        (
            "ALTER TABLE t DROP FOREIGN KEY fk, DROP PRIMARY KEY, DROP INDEX k",
            K::AlterTable,
            "d.t",
        ),
        (
            "ALTER TABLE t CONVERT TO CHARACTER SET utf8mb4 COLLATE utf8mb4_bin",
            K::AlterTable,
            "d.t",
        ),
        (
            "ALTER TABLE t DEFAULT CHARACTER SET = latin1",
            K::AlterTable,
            "d.t",
        ),
        (
            "ALTER TABLE t ENGINE = InnoDB, ALGORITHM = INPLACE, LOCK = NONE",
            K::AlterTable,
            "d.t",
        ),
        (
            "ALTER TABLE t ALTER COLUMN a SET DEFAULT 5, ALTER b DROP DEFAULT, ALTER c SET INVISIBLE",
            K::AlterTable,
            "d.t",
        ),
        (
            "ALTER TABLE t ALTER INDEX k INVISIBLE",
            K::AlterTable,
            "d.t",
        ),
        ("ALTER TABLE t ALTER INDEX k IGNORED", K::AlterTable, "d.t"),
        (
            "ALTER TABLE t ADD CONSTRAINT c CHECK (a > 0), DROP CHECK d, DROP CONSTRAINT e",
            K::AlterTable,
            "d.t",
        ),
        ("ALTER TABLE t ORDER BY a DESC, b", K::AlterTable, "d.t"),
        (
            "ALTER TABLE t ADD PARTITION (PARTITION p2 VALUES LESS THAN (30))",
            K::AlterTable,
            "d.t",
        ),
        ("ALTER TABLE t DROP PARTITION p0, p1", K::AlterTable, "d.t"),
        ("ALTER TABLE t TRUNCATE PARTITION ALL", K::AlterTable, "d.t"),
        (
            "ALTER TABLE t REORGANIZE PARTITION p0 INTO (PARTITION a VALUES LESS THAN (5), PARTITION b VALUES LESS THAN (10))",
            K::AlterTable,
            "d.t",
        ),
        (
            "ALTER TABLE t EXCHANGE PARTITION p WITH TABLE e.u WITHOUT VALIDATION",
            K::AlterTable,
            "d.t Exchange:e.u",
        ),
        (
            "ALTER TABLE t CONVERT PARTITION p TO TABLE u",
            K::AlterTable,
            "d.t Exchange:d.u",
        ),
        (
            "ALTER TABLE t CONVERT TABLE u TO PARTITION p VALUES LESS THAN (5)",
            K::AlterTable,
            "d.t Exchange:d.u",
        ),
        ("ALTER TABLE t REMOVE PARTITIONING", K::AlterTable, "d.t"),
        ("ALTER TABLE t COALESCE PARTITION 2", K::AlterTable, "d.t"),
        ("ALTER TABLE t DISABLE KEYS", K::AlterTable, "d.t"),
        ("ALTER TABLE t DISCARD TABLESPACE", K::AlterTable, "d.t"),
        ("ALTER TABLE t ADD SYSTEM VERSIONING", K::AlterTable, "d.t"),
        ("ALTER TABLE t FORCE", K::AlterTable, "d.t"),
        ("ALTER IGNORE TABLE t ADD UNIQUE (a)", K::AlterTable, "d.t"),
        ("ALTER ONLINE TABLE t ADD a INT", K::AlterTable, "d.t"),
        (
            "ALTER TABLE IF EXISTS t ADD COLUMN IF NOT EXISTS a INT",
            K::AlterTable,
            "d.t",
        ),
        ("ALTER TABLE t WAIT 5 ADD a INT", K::AlterTable, "d.t"),
        ("ALTER TABLE t NOWAIT ADD a INT", K::AlterTable, "d.t"),
        (
            "ALTER TABLE t ADD a INT, ALGORITHM=INSTANT",
            K::AlterTable,
            "d.t",
        ),
        (
            "ALTER TABLE t UNION=(u, v)",
            K::AlterTable,
            "d.t Union:d.u Union:d.v",
        ),
        (
            "ALTER TABLE t COMMENT = 'RENAME TO u'",
            K::AlterTable,
            "d.t",
        ),
        ("DROP TABLE t", K::DropTable, "d.t"),
        (
            "DROP TABLE IF EXISTS t, e.u, `v` CASCADE",
            K::DropTable,
            "d.t e.u d.v",
        ),
        (
            "DROP TABLE `t` /* generated by server */",
            K::DropTable,
            "d.t",
        ),
        (
            "DROP TEMPORARY TABLE IF EXISTS `e`.`t`",
            K::DropTable,
            "e.t",
        ),
        ("DROP TABLES t, u", K::DropTable, "d.t d.u"),
        ("DROP TABLE IF EXISTS t WAIT 3", K::DropTable, "d.t"),
        ("RENAME TABLE t TO u", K::RenameTable, "d.t NewName:d.u"),
        (
            "RENAME TABLE t TO e.u, f.v TO w",
            K::RenameTable,
            "d.t NewName:e.u f.v NewName:d.w",
        ),
        (
            "RENAME TABLE t TO tmp, u TO t, tmp TO u",
            K::RenameTable,
            "d.t NewName:d.tmp d.u NewName:d.t d.tmp NewName:d.u",
        ),
        ("RENAME TABLES t TO u", K::RenameTable, "d.t NewName:d.u"),
        (
            "RENAME TABLE IF EXISTS t WAIT 5 TO u",
            K::RenameTable,
            "d.t NewName:d.u",
        ),
        ("RENAME USER a TO b", K::Account, ""),
        ("TRUNCATE t", K::TruncateTable, "d.t"),
        ("TRUNCATE TABLE e.t", K::TruncateTable, "e.t"),
        ("TRUNCATE TABLE t NOWAIT", K::TruncateTable, "d.t"),
        ("CREATE INDEX k ON t (a)", K::CreateIndex, "d.t"),
        (
            "CREATE UNIQUE INDEX k USING BTREE ON e.t (a(10), b DESC)",
            K::CreateIndex,
            "e.t",
        ),
        (
            "CREATE FULLTEXT INDEX k ON t (a) WITH PARSER ngram",
            K::CreateIndex,
            "d.t",
        ),
        ("CREATE SPATIAL INDEX k ON t (g)", K::CreateIndex, "d.t"),
        ("CREATE VECTOR INDEX k ON t (v)", K::CreateIndex, "d.t"),
        ("CREATE OR REPLACE INDEX k ON t (a)", K::CreateIndex, "d.t"),
        (
            "CREATE INDEX IF NOT EXISTS k ON t (a) ALGORITHM=INPLACE",
            K::CreateIndex,
            "d.t",
        ),
        (
            "CREATE INDEX k ON t ((a + b)) INVISIBLE",
            K::CreateIndex,
            "d.t",
        ),
        ("DROP INDEX k ON t", K::DropIndex, "d.t"),
        (
            "DROP INDEX IF EXISTS k ON e.t LOCK=NONE",
            K::DropIndex,
            "e.t",
        ),
        ("DROP INDEX `PRIMARY` ON t", K::DropIndex, "d.t"),
        ("CREATE DATABASE x", K::CreateDatabase, "schema:x"),
        (
            "CREATE SCHEMA IF NOT EXISTS `x` DEFAULT CHARACTER SET utf8mb4",
            K::CreateDatabase,
            "schema:x",
        ),
        (
            "CREATE OR REPLACE DATABASE x",
            K::CreateDatabase,
            "schema:x",
        ),
        (
            "CREATE DATABASE x /*!40100 DEFAULT CHARACTER SET latin1 */ /*!80016 DEFAULT ENCRYPTION='N' */",
            K::CreateDatabase,
            "schema:x",
        ),
        (
            "ALTER DATABASE x COLLATE utf8mb4_bin",
            K::AlterDatabase,
            "schema:x",
        ),
        (
            "ALTER DATABASE CHARACTER SET = latin1",
            K::AlterDatabase,
            "schema:d",
        ),
        (
            "ALTER SCHEMA DEFAULT COLLATE latin1_bin",
            K::AlterDatabase,
            "schema:d",
        ),
        (
            "ALTER DATABASE x READ ONLY = 1",
            K::AlterDatabase,
            "schema:x",
        ),
        ("DROP DATABASE IF EXISTS x", K::DropDatabase, "schema:x"),
        ("DROP SCHEMA `x`", K::DropDatabase, "schema:x"),
        (
            "CREATE VIEW v AS SELECT a FROM t",
            K::CreateView,
            "d.v Source:d.t",
        ),
        (
            "CREATE OR REPLACE ALGORITHM=MERGE DEFINER=`root`@`localhost` SQL SECURITY DEFINER VIEW e.v (a) AS SELECT a FROM t, u WITH CHECK OPTION",
            K::CreateView,
            "e.v Source:d.t Source:d.u",
        ),
        (
            "CREATE DEFINER=CURRENT_USER() VIEW v AS SELECT 1",
            K::CreateView,
            "d.v",
        ),
        (
            "CREATE DEFINER=root@'%' VIEW v AS SELECT 1",
            K::CreateView,
            "d.v",
        ),
        ("ALTER VIEW v AS SELECT 2", K::AlterView, "d.v"),
        (
            "DROP VIEW IF EXISTS v, e.w RESTRICT",
            K::DropView,
            "d.v e.w",
        ),
        (
            "CREATE TRIGGER g BEFORE INSERT ON t FOR EACH ROW SET NEW.a = 1",
            K::CreateTrigger,
            "Object:d.g d.t",
        ),
        (
            "CREATE DEFINER=`a`@`b` TRIGGER e.g AFTER UPDATE ON t FOR EACH ROW FOLLOWS h BEGIN INSERT INTO log (x) VALUES (1); END",
            K::CreateTrigger,
            "Object:e.g e.t Source:d.log",
        ),
        (
            "CREATE TRIGGER IF NOT EXISTS g AFTER DELETE ON e.t FOR EACH ROW DELETE FROM u WHERE id = OLD.id",
            K::CreateTrigger,
            "Object:d.g e.t Source:d.u",
        ),
        ("DROP TRIGGER IF EXISTS e.g", K::DropTrigger, "Object:e.g"),
        (
            "CREATE PROCEDURE p (IN a INT) BEGIN UPDATE t SET b = a; END",
            K::CreateProcedure,
            "Object:d.p Source:d.t",
        ),
        (
            "CREATE DEFINER=`a`@`%` PROCEDURE e.p () SELECT 1",
            K::CreateProcedure,
            "Object:e.p",
        ),
        (
            "ALTER PROCEDURE p SQL SECURITY INVOKER",
            K::AlterProcedure,
            "Object:d.p",
        ),
        ("DROP PROCEDURE IF EXISTS p", K::DropProcedure, "Object:d.p"),
        (
            "CREATE FUNCTION f (a INT) RETURNS INT DETERMINISTIC RETURN a",
            K::CreateFunction,
            "Object:d.f",
        ),
        (
            "CREATE AGGREGATE FUNCTION f RETURNS INTEGER SONAME 'f.so'",
            K::CreateFunction,
            "Object:d.f",
        ),
        (
            "ALTER FUNCTION f COMMENT 'x'",
            K::AlterFunction,
            "Object:d.f",
        ),
        ("DROP FUNCTION f", K::DropFunction, "Object:d.f"),
        (
            "CREATE PACKAGE BODY p AS END",
            K::CreatePackage,
            "Object:d.p",
        ),
        ("DROP PACKAGE p", K::DropPackage, "Object:d.p"),
        (
            "CREATE EVENT ev ON SCHEDULE EVERY 1 DAY DO DELETE FROM t",
            K::CreateEvent,
            "Object:d.ev Source:d.t",
        ),
        ("ALTER EVENT ev DISABLE", K::AlterEvent, "Object:d.ev"),
        ("DROP EVENT IF EXISTS ev", K::DropEvent, "Object:d.ev"),
        (
            "CREATE SEQUENCE s START WITH 1 INCREMENT BY 1",
            K::CreateSequence,
            "d.s",
        ),
        (
            "ALTER SEQUENCE IF EXISTS s RESTART 50",
            K::AlterSequence,
            "d.s",
        ),
        ("DROP SEQUENCE IF EXISTS s, e.u", K::DropSequence, "d.s e.u"),
        ("CREATE USER 'u'@'%' IDENTIFIED BY 'x'", K::Account, ""),
        ("CREATE ROLE IF NOT EXISTS r", K::Account, ""),
        ("ALTER USER u ACCOUNT LOCK", K::Account, ""),
        ("DROP USER IF EXISTS 'u'@'h', v", K::Account, ""),
        ("DROP ROLE r", K::Account, ""),
        ("GRANT SELECT ON d.t TO u", K::Account, ""),
        ("REVOKE ALL PRIVILEGES ON *.* FROM u", K::Account, ""),
        ("SET PASSWORD FOR u = 'x'", K::Account, ""),
        ("SET DEFAULT ROLE r TO u", K::Account, ""),
        ("FLUSH PRIVILEGES", K::Maintenance, ""),
        ("FLUSH TABLES t WITH READ LOCK", K::Maintenance, ""),
        ("ANALYZE TABLE t", K::Maintenance, ""),
        ("OPTIMIZE NO_WRITE_TO_BINLOG TABLE t", K::Maintenance, ""),
        ("REPAIR TABLE t", K::Maintenance, ""),
        ("CACHE INDEX t IN hot", K::Maintenance, ""),
        ("INSTALL PLUGIN p SONAME 'p.so'", K::Maintenance, ""),
        (
            "CREATE SERVER s FOREIGN DATA WRAPPER mysql OPTIONS (HOST 'h')",
            K::Maintenance,
            "",
        ),
        (
            "CREATE TABLESPACE ts ADD DATAFILE 'x.ibd'",
            K::Maintenance,
            "",
        ),
        (
            "CREATE SPATIAL REFERENCE SYSTEM 4120 NAME 'x' DEFINITION 'y'",
            K::Maintenance,
            "",
        ),
        (
            "ALTER INSTANCE ROTATE INNODB MASTER KEY",
            K::Maintenance,
            "",
        ),
        ("CREATE RESOURCE GROUP g TYPE = USER", K::Maintenance, ""),
        ("SET GLOBAL x = 1", K::Maintenance, ""),
        (
            "SET STATEMENT max_statement_time = 5 FOR DROP TABLE t",
            K::DropTable,
            "d.t",
        ),
        ("BEGIN", K::Begin, ""),
        ("START TRANSACTION WITH CONSISTENT SNAPSHOT", K::Begin, ""),
        ("BEGIN NOT ATOMIC SELECT 1; END", K::Unknown, ""),
        ("COMMIT", K::Commit, ""),
        ("ROLLBACK TO SAVEPOINT a", K::Rollback, ""),
        ("SAVEPOINT `a`", K::Savepoint, ""),
        ("RELEASE SAVEPOINT a", K::Savepoint, ""),
        ("XA START X'31',X'',1", K::Xa, ""),
        ("XA PREPARE 'x'", K::Xa, ""),
        (
            "INSERT INTO t (a, b) VALUES (1, 2)",
            K::Insert,
            "Source:d.t",
        ),
        ("INSERT IGNORE e.t VALUES (1)", K::Insert, "e.t"),
        ("UPDATE t SET a = 1", K::Update, "d.t"),
        ("DELETE FROM t WHERE a = 1", K::Delete, "Source:d.t"),
        (
            "REPLACE INTO t SELECT * FROM u",
            K::Replace,
            "Source:d.t Source:d.u",
        ),
        (
            "LOAD DATA LOCAL INFILE 'x' INTO TABLE t",
            K::LoadData,
            "Source:d.t",
        ),
        ("CALL p(1)", K::OtherDml, ""),
        ("/* nothing */", K::Empty, ""),
        ("-- nothing", K::Empty, ""),
        (";", K::Empty, ""),
        ("FROBNICATE t", K::Unknown, ""),
        ("CREATE FROB t", K::Unknown, ""),
        ("DROP TABLE", K::Unknown, ""),
        ("RENAME TABLE t u", K::Unknown, "d.t"),
        ("ALTER TABLE t EXCHANGE PARTITION p u", K::Unknown, "d.t"),
    ];
    for (sql, kind, tables) in cases {
        for flavor in [Flavor::MySQL, Flavor::MariaDB] {
            let ddl = read(sql, flavor);
            assert_eq!(ddl.kind, *kind, "{flavor}: {sql}");
            assert_eq!(shown(&ddl), *tables, "{flavor}: {sql}");
        }
    }
    assert!(cases.len() >= 150, "{}", cases.len());
}

#[test]
fn ansi_quotes_make_names() {
    let mode = SqlMode {
        ansi_quotes: true,
        ..SqlMode::default()
    };
    let ddl = Ddl::read(br#"DROP TABLE "a"."b""c""#, "d", mode, Flavor::MySQL);
    assert_eq!(shown(&ddl), "a.b\"c");
}

#[test]
fn flags_are_seen() {
    let ddl = read(
        "CREATE OR REPLACE TEMPORARY TABLE IF NOT EXISTS t (a INT)",
        Flavor::MariaDB,
    );
    assert!(ddl.or_replace && ddl.temporary && ddl.if_not_exists && ddl.complete);
    let ddl = read("CREATE TABLE t (a INT) START TRANSACTION", Flavor::MySQL);
    assert_eq!(
        ddl.rewrite(|_| None).unwrap(),
        b"CREATE TABLE t (a INT) ".to_vec()
    );
    let ddl = read(
        "CREATE TABLE t (a INT) WITH SYSTEM VERSIONING SELECT 1 a",
        Flavor::MariaDB,
    );
    assert!(ddl.selects && !ddl.complete);
    let ddl = read(
        "CREATE TABLE t (a INT) PARTITION BY RANGE (a) (PARTITION p VALUES LESS THAN (1))",
        Flavor::MySQL,
    );
    assert!(!ddl.selects && ddl.complete);
}

#[test]
fn tables_are_renamed_in_place() {
    let rename = |name: &TableName| match (name.schema.as_str(), name.name.as_str()) {
        ("d", "t") => Some(TableName::new("x", "u")),
        ("d", "p") => Some(TableName::new("x", "p")),
        ("d", "same") => Some(TableName::new("d", "other")),
        ("e", _) => Some(TableName::new("e2", name.name.as_str())),
        _ => None,
    };
    for (sql, expected) in [
        ("DROP TABLE t -- t", "DROP TABLE `x`.`u` -- t"),
        (
            "DROP TABLE same, `e`.`t`/*t*/,z",
            "DROP TABLE `other`, `e2`.`t`/*t*/,z",
        ),
        (
            "ALTER TABLE d.t ADD t INT COMMENT 'd.t'",
            "ALTER TABLE `x`.`u` ADD t INT COMMENT 'd.t'",
        ),
        (
            "RENAME TABLE t TO e.t, z TO same",
            "RENAME TABLE `x`.`u` TO `e2`.t, z TO `other`",
        ),
        (
            "CREATE TABLE t (a INT REFERENCES p (a), b INT REFERENCES z (b))",
            "CREATE TABLE `x`.`u` (a INT REFERENCES p (a), b INT REFERENCES `d`.`z` (b))",
        ),
        (
            "CREATE TABLE z (a INT REFERENCES p (a))",
            "CREATE TABLE z (a INT REFERENCES `x`.`p` (a))",
        ),
        ("CREATE INDEX t ON t (t)", "CREATE INDEX t ON `x`.`u` (t)"),
        ("CREATE TABLE z LIKE e . t", "CREATE TABLE z LIKE `e2` . t"),
    ] {
        let new = read(sql, Flavor::MySQL).rewrite(rename).unwrap();
        assert_eq!(String::from_utf8(new).unwrap(), expected, "{sql}");
    }
    let new = read("DROP TABLE z, e.t", Flavor::MySQL)
        .rewrite_qualified(rename)
        .unwrap();
    assert_eq!(new, b"DROP TABLE `d`.`z`, `e2`.t".to_vec());
    assert!(
        read("CREATE VIEW v AS SELECT t.a FROM t", Flavor::MySQL)
            .rewrite(rename)
            .is_err()
    );
    assert!(
        read("CREATE VIEW v AS SELECT 1", Flavor::MySQL)
            .rewrite(rename)
            .is_ok()
    );
}

#[test]
fn databases_are_renamed() {
    let to = |name: &str| (name == "d").then(|| "x".to_owned());
    for (sql, expected) in [
        (
            "CREATE DATABASE IF NOT EXISTS `d` COLLATE utf8mb4_bin",
            "CREATE DATABASE IF NOT EXISTS `x` COLLATE utf8mb4_bin",
        ),
        (
            "ALTER DATABASE CHARACTER SET latin1",
            "ALTER DATABASE `x` CHARACTER SET latin1",
        ),
        ("DROP DATABASE e", "DROP DATABASE e"),
    ] {
        let new = read(sql, Flavor::MySQL).rewrite_schema(to);
        assert_eq!(String::from_utf8(new).unwrap(), expected);
    }
}

#[test]
fn unknown_statements_mention_tables() {
    let ddl = read("FROBNICATE TABLE d.t WITH 'x'", Flavor::MySQL);
    assert_eq!(ddl.kind, DdlKind::Unknown);
    assert!(ddl.mentions(|name| *name == TableName::new("d", "t")));
    assert!(!ddl.mentions(|name| name.schema == "other"));
    // Bytes that are no UTF-8 may be any table's name.
    let ddl = Ddl::read(b"FROBNICATE \xe4", "d", SqlMode::default(), Flavor::MySQL);
    assert!(ddl.mentions(|_| false));
}

proptest! {
    #[test]
    fn anything_can_be_read_and_nothing_else_changes(
        sql in "(CREATE|ALTER|DROP|RENAME) (TABLE|INDEX|VIEW) [a-c`'\"(),.; ]{0,40}( TO | LIKE | REFERENCES )?[a-c`.]{0,9}",
    ) {
        let ddl = read(&sql, Flavor::MySQL);
        prop_assert_eq!(ddl.rewrite(|name| Some(name.clone())).unwrap(), sql.as_bytes());
        let _ = ddl.mentions(|_| false);
        // Each name that is given a new one is replaced, and the rest is as it was.
        if let Ok(new) = ddl.rewrite(|name| Some(TableName::new(name.schema.as_str(), "ZZ"))) {
            let kept = String::from_utf8(new).unwrap();
            prop_assert_eq!(kept.matches("`ZZ`").count(), ddl.tables.len());
        }
    }

    #[test]
    fn any_bytes_can_be_read(bytes in proptest::collection::vec(any::<u8>(), 0..120)) {
        let ddl = Ddl::read(&bytes, "d", SqlMode::default(), Flavor::MariaDB);
        // With a name that is no UTF-8 it cannot be known what is renamed.
        prop_assert_eq!(ddl.rewrite(|_| None).is_err(), ddl.garbled);
    }
}
