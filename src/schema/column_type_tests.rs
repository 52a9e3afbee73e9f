//! Column types: their canonical text and kind, on each family of servers.

use super::*;

/// The canonical text and kind of a type in a table whose character set is `charset`.
fn read(text: &str, charset: &str, version: &str) -> (String, ColumnKind) {
    let version = ServerVersion::parse(version);
    let mode = SqlMode::default();
    let tokens: Vec<Token> = tokenize(text.as_bytes(), mode, version.flavor)
        .into_iter()
        .filter(|token| token.kind.is_significant())
        .collect();
    let mut cursor = Cursor::new(text.as_bytes(), mode, &tokens);
    let spec = TypeSpec::read(&mut cursor, &version).expect(text);
    assert!(cursor.is_done(), "{text}");
    let charset = spec.charset.clone().unwrap_or(charset.to_owned());
    let resolved = spec.resolve(&charset, &version);
    (resolved.text, resolved.kind)
}

#[test]
fn types_become_what_the_server_writes() {
    for (written, mysql, mariadb) in [
        ("INT", "int", "int(11)"),
        ("INTEGER(5) UNSIGNED", "int unsigned", "int(5) unsigned"),
        (
            "INT(5) ZEROFILL",
            "int(5) unsigned zerofill",
            "int(5) unsigned zerofill",
        ),
        ("BOOL", "tinyint(1)", "tinyint(1)"),
        ("TINYINT(1)", "tinyint(1)", "tinyint(1)"),
        (
            "TINYINT UNSIGNED",
            "tinyint unsigned",
            "tinyint(3) unsigned",
        ),
        ("INT8", "bigint", "bigint(20)"),
        ("MIDDLEINT", "mediumint", "mediumint(9)"),
        ("SERIAL", "bigint unsigned", "bigint(20) unsigned"),
        ("DEC", "decimal(10,0)", "decimal(10,0)"),
        ("NUMERIC(5)", "decimal(5,0)", "decimal(5,0)"),
        (
            "FIXED(7,3) UNSIGNED",
            "decimal(7,3) unsigned",
            "decimal(7,3) unsigned",
        ),
        ("REAL", "double", "double"),
        ("DOUBLE PRECISION(10,2)", "double(10,2)", "double(10,2)"),
        ("FLOAT(24)", "float", "float"),
        ("FLOAT(25)", "double", "double"),
        ("FLOAT(7,4)", "float(7,4)", "float(7,4)"),
        ("BIT", "bit(1)", "bit(1)"),
        ("YEAR(4)", "year", "year(4)"),
        ("DATETIME(3)", "datetime(3)", "datetime(3)"),
        ("TIMESTAMP(0)", "timestamp", "timestamp"),
        ("CHAR", "char(1)", "char(1)"),
        ("CHAR(10) BYTE", "binary(10)", "binary(10)"),
        (
            "CHARACTER VARYING(9) CHARSET latin1 BINARY",
            "varchar(9)",
            "varchar(9)",
        ),
        ("NATIONAL VARCHAR(3)", "varchar(3)", "varchar(3)"),
        (
            "VARCHAR(9) CHARACTER SET binary",
            "varbinary(9)",
            "varbinary(9)",
        ),
        ("TEXT CHARACTER SET binary", "blob", "blob"),
        ("TEXT(63)", "tinytext", "tinytext"),
        ("TEXT(64)", "text", "text"),
        ("TEXT(20000)", "mediumtext", "mediumtext"),
        ("BLOB(300)", "blob", "blob"),
        ("LONG VARCHAR", "mediumtext", "mediumtext"),
        ("LONG", "mediumtext", "mediumtext"),
        ("LONG VARBINARY", "mediumblob", "mediumblob"),
        (
            "ENUM('a ','b''c',\"d\")",
            "enum('a','b''c','d')",
            "enum('a','b''c','d')",
        ),
        ("JSON", "json", "longtext"),
        ("GEOMETRYCOLLECTION", "geomcollection", "geometrycollection"),
        ("VECTOR(3)", "vector(3)", "vector(3)"),
    ] {
        assert_eq!(read(written, "utf8mb4", "9.7.0").0, mysql, "{written}");
        assert_eq!(
            read(written, "utf8mb4", "10.11.2-MariaDB").0,
            mariadb,
            "{written}"
        );
    }
}

#[test]
fn catalogue_texts_are_taken_apart() {
    for (text, flavor, kind) in [
        (
            "bigint(20) unsigned",
            Flavor::MariaDB,
            ColumnKind::Integer {
                width: 8,
                unsigned: true,
            },
        ),
        (
            "decimal(12,4)",
            Flavor::MySQL,
            ColumnKind::Decimal {
                precision: 12,
                scale: 4,
                unsigned: false,
            },
        ),
        (
            "varchar(20) /*M!100301 COMPRESSED*/",
            Flavor::MariaDB,
            ColumnKind::Text {
                fixed: false,
                compressed: true,
            },
        ),
        (
            "blob /*M!100301 COMPRESSED*/",
            Flavor::MariaDB,
            ColumnKind::Binary { compressed: true },
        ),
        (
            "datetime /* mariadb-5.3 */",
            Flavor::MariaDB,
            ColumnKind::DateTime { digits: 0 },
        ),
        (
            r"set('a,b','c''d','e\\f')",
            Flavor::MySQL,
            ColumnKind::Set {
                members: vec!["a,b".into(), "c'd".into(), r"e\f".into()],
            },
        ),
        ("uuid", Flavor::MariaDB, ColumnKind::Uuid),
        ("inet6", Flavor::MariaDB, ColumnKind::Inet6),
        (
            "binary(16)",
            Flavor::MySQL,
            ColumnKind::FixedBinary { length: 16 },
        ),
        ("bit(64)", Flavor::MySQL, ColumnKind::Bit { bits: 64 }),
        (
            "timestamp(6)",
            Flavor::MySQL,
            ColumnKind::Timestamp { digits: 6 },
        ),
    ] {
        assert_eq!(parse_type(text, flavor).unwrap(), kind, "{text}");
    }
    assert!(parse_type("uuid", Flavor::MySQL).is_err());
    assert!(parse_type("frob(3)", Flavor::MySQL).is_err());
    assert!(parse_type("int frob", Flavor::MySQL).is_err());
}

#[test]
fn text_grows_when_converted() {
    assert_eq!(
        converted_text("text", "latin1", "utf8mb4"),
        Some("mediumtext")
    );
    assert_eq!(
        converted_text("tinytext", "utf8mb3", "utf8mb4"),
        Some("text")
    );
    assert_eq!(converted_text("text", "utf8mb4", "latin1"), Some("text"));
    assert_eq!(converted_text("varchar(5)", "latin1", "utf8mb4"), None);
}
