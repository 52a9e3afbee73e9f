//! Tables of every column type, with the values at which types go wrong.

use crate::support::Flavor;

/// A table to try: its columns, and rows as value lists, all but the `id` they get.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) columns: String,
    /// The names that the rows give values for.
    pub(crate) inserted: String,
    pub(crate) rows: Vec<String>,
}

fn case(name: &'static str, columns: &[(&str, &str)], rows: &[&str]) -> Case {
    Case {
        name,
        columns: columns.iter().fold(String::new(), |list, (name, kind)| {
            list + ", " + name + " " + kind
        }),
        inserted: columns
            .iter()
            .filter(|(_, kind)| !kind.contains(" AS ("))
            .map(|(name, _)| *name)
            .collect::<Vec<_>>()
            .join(", "),
        rows: rows.iter().map(|row| (*row).to_owned()).collect(),
    }
}

pub(crate) fn numbers() -> Case {
    case(
        "numbers",
        &[
            ("ti", "TINYINT"),
            ("tu", "TINYINT UNSIGNED"),
            ("si", "SMALLINT"),
            ("su", "SMALLINT UNSIGNED"),
            ("mi", "MEDIUMINT"),
            ("mu", "MEDIUMINT UNSIGNED"),
            ("i", "INT"),
            ("iu", "INT UNSIGNED"),
            ("bi", "BIGINT"),
            ("bu", "BIGINT UNSIGNED"),
            ("y", "YEAR"),
            ("d1", "DECIMAL(65,30)"),
            ("d2", "DECIMAL(10,0)"),
            ("d3", "DECIMAL(5,5)"),
            ("d4", "DECIMAL(19,9) UNSIGNED"),
            ("f", "FLOAT"),
            ("db", "DOUBLE"),
            ("b1", "BIT(1)"),
            ("b9", "BIT(9)"),
            ("b64", "BIT(64)"),
            ("bl", "BOOLEAN"),
        ],
        &[
            "-128, 255, -32768, 65535, -8388608, 16777215, -2147483648, 4294967295, \
             -9223372036854775808, 18446744073709551615, 0, \
             -99999999999999999999999999999999999.999999999999999999999999999999, -9999999999, \
             -0.99999, 9999999999.999999999, -3.402823466e38, -1.7976931348623157e308, 1, \
             b'100000001', 18446744073709551615, true",
            "127, 0, 32767, 0, 8388607, 0, 2147483647, 0, 9223372036854775807, 0, 1901, \
             99999999999999999999999999999999999.999999999999999999999999999999, 9999999999, \
             0.99999, 0, 3.402823466e38, 1.7976931348623157e308, 0, 0, 0, false",
            "-1, 128, -1, 32768, -1, 8388608, -1, 2147483648, -1, 9223372036854775808, 2155, \
             -0.000000000000000000000000000001, -1, -0.00001, 0.000000001, 1.1, 0.1, 1, 255, \
             9223372036854775808, true",
            "0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 2024, 0, 0, 0, 123456789.987654321, -1.17549435e-38, \
             2.2250738585072014e-308, 0, 256, 1, false",
            "1, 2, 3, 4, -2, 6, 7, 8, 9, 10, 2000, 1.5, 1, 0.1, 1, 16777217, 5e-324, 1, 2, 3, true",
            "NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, \
             NULL, 1e-45, -0.1, NULL, NULL, NULL, NULL",
        ],
    )
}

/// One of each temporal type with each number of digits.
pub(crate) fn times(name: &'static str) -> Case {
    let mut columns = vec![("d".to_owned(), "DATE".to_owned())];
    for digits in 0..=6 {
        columns.push((format!("t{digits}"), format!("TIME({digits})")));
        columns.push((format!("dt{digits}"), format!("DATETIME({digits})")));
        columns.push((
            format!("ts{digits}"),
            format!("TIMESTAMP({digits}) NULL DEFAULT NULL"),
        ));
    }
    let row = |date: &str, time: &str, datetime: &str, timestamp: &str| {
        let mut values = vec![format!("'{date}'")];
        for digits in 0..=6 {
            for value in [time, datetime, timestamp] {
                // Cut rather than rounded, so that nothing goes over its type's end.
                let cut = value.find('.').map_or(value, |dot| {
                    let end = if digits == 0 { dot } else { dot + 1 + digits };
                    &value[..end.min(value.len())]
                });
                values.push(format!("'{cut}'"));
            }
        }
        values.join(", ")
    };
    let rows = [
        row(
            "0000-00-00",
            "-838:59:59",
            "0000-00-00 00:00:00",
            "0000-00-00 00:00:00",
        ),
        row(
            "9999-12-31",
            "838:59:59",
            "9999-12-31 23:59:59.999999",
            "2038-01-19 03:14:07.999999",
        ),
        row(
            "2024-02-30",
            "-01:02:03.456789",
            "2024-02-30 01:02:03.456789",
            "1970-01-01 00:00:01.000001",
        ),
        row(
            "2024-00-07",
            "-00:00:00.123456",
            "2024-00-00 00:00:00.000001",
            "2024-02-29 12:34:56.987654",
        ),
        row(
            "1000-01-01",
            "-00:00:01.999999",
            "1000-01-01 00:00:00",
            "2001-09-09 01:46:40",
        ),
        row(
            "2024-02-29",
            "00:00:00.000001",
            "1969-12-31 23:59:59.900000",
            "1999-12-31 23:59:59.100000",
        ),
        row(
            "0001-01-01",
            "-837:00:00.000001",
            "0001-01-01 00:00:00.5",
            "2024-06-30 23:59:59.5",
        ),
        std::iter::repeat_n("NULL", columns.len())
            .collect::<Vec<_>>()
            .join(", "),
    ];
    let columns: Vec<(&str, &str)> = columns
        .iter()
        .map(|(a, b)| (a.as_str(), b.as_str()))
        .collect();
    let rows: Vec<&str> = rows.iter().map(String::as_str).collect();
    case(name, &columns, &rows)
}

pub(crate) fn texts() -> Case {
    let members: Vec<String> = (0..300).map(|i| format!("'m{i}'")).collect();
    let big_enum = format!("ENUM({}) CHARACTER SET utf8mb4", members.join(","));
    let big_set = format!("SET({}) CHARACTER SET utf8mb4", members[..64].join(","));
    case(
        "texts",
        &[
            ("c1", "CHAR(10) CHARACTER SET latin1"),
            ("v1", "VARCHAR(40) CHARACTER SET latin1"),
            ("vg", "VARCHAR(40) CHARACTER SET gbk"),
            ("vs", "VARCHAR(40) CHARACTER SET sjis"),
            ("v16", "VARCHAR(40) CHARACTER SET utf16"),
            ("vu", "VARCHAR(40) CHARACTER SET ucs2"),
            ("v32", "VARCHAR(40) CHARACTER SET utf32"),
            ("v3", "VARCHAR(40) CHARACTER SET utf8mb3"),
            ("v8", "VARCHAR(300) CHARACTER SET utf8mb4"),
            ("c8", "CHAR(255) CHARACTER SET utf8mb4"),
            ("cb", "CHAR(9) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin"),
            ("t1", "TEXT CHARACTER SET latin1"),
            ("tt", "TINYTEXT CHARACTER SET utf8mb4"),
            ("tm", "MEDIUMTEXT CHARACTER SET utf8mb4"),
            ("tl", "LONGTEXT CHARACTER SET utf16"),
            ("bn", "BINARY(8)"),
            ("bw", "BINARY(255)"),
            ("vb", "VARBINARY(300)"),
            ("xt", "TINYBLOB"),
            ("xb", "BLOB"),
            ("xm", "MEDIUMBLOB"),
            ("xl", "LONGBLOB"),
            (
                "e1",
                "ENUM('a','it''s','\u{e9}','back\\\\slash') CHARACTER SET latin1",
            ),
            ("e2", "ENUM('x','') CHARACTER SET utf8mb4"),
            ("e3", &big_enum),
            ("s1", "SET('a','it''s','\u{e9}') CHARACTER SET latin1"),
            ("s2", &big_set),
        ],
        &[
            "_latin1 x'C3A9', _latin1 x'C3A9', _gbk x'D6D0B5A7', _sjis x'835C', _utf16 x'0061D83DDE00', \
             _ucs2 x'00E90061', _utf32 x'0001F600', '\u{e9}\u{4e2d}', '\u{1f600} it''s \\\\ back', \
             REPEAT('\u{1f600}', 255), 'z', _latin1 x'80FF', '\u{e9}', REPEAT('y', 70000), 'long', \
             x'4100', x'00', x'00FF00', x'', x'00', REPEAT(x'FE', 70000), x'0A0D27225C00', \
             '\u{e9}', 'x', 'm299', 'a,\u{e9}', 'm0,m63'",
            "'', '', '', '', '', '', '', '', '', '', '', '', '', '', '', '', '', '', '', '', '', '', \
             'it''s', '', 'm0', '', ''",
            "'abc ', 'abc ', 'abc ', 'abc\\\\', 'abc ', 'abc ', 'abc ', 'abc ', 'abc\\0def', 'abc ', 'abc ', \
             'a\\\\b', 'a\\nb', 'a\\rb', '\\Z', x'0000000000000000', x'FF', REPEAT(x'00', 300), \
             REPEAT('a', 255), 'a''b', 'a', 'a', 'back\\\\slash', '', 'm255', 'it''s', 'm1,m2,m3'",
            "'x', 'x', 'x', 'x', 'x', 'x', 'x', 'x', 'x', 'x', 'x', 'x', 'x', 'x', 'x', x'01', x'01', x'01', \
             x'01', x'01', x'01', x'01', 0, 0, 0, '', ''",
            "NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, \
             NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL",
        ],
    )
}

pub(crate) fn shapes() -> Case {
    let wide: Vec<(String, &str)> = (0..70).map(|i| (format!("n{i}"), "INT")).collect();
    let mut columns = vec![
        ("g", "GEOMETRY"),
        ("p", "POINT"),
        ("gv", "INT AS (n0 + 1) VIRTUAL"),
        ("gs", "VARCHAR(20) AS (CONCAT('n', n0)) STORED"),
        ("hidden", "INT INVISIBLE"),
    ];
    columns.extend(wide.iter().map(|(name, kind)| (name.as_str(), *kind)));
    let many = |value: &str| {
        std::iter::repeat_n(value, 70)
            .collect::<Vec<_>>()
            .join(", ")
    };
    let rows = [
        format!(
            "ST_GeomFromText('POLYGON((0 0,0 1,1 1,0 0))'), ST_GeomFromText('POINT(1 -2.5)', 4326), 5, {}",
            many("7")
        ),
        format!(
            "ST_GeomFromText('GEOMETRYCOLLECTION(POINT(0 0))'), NULL, NULL, {}",
            many("NULL")
        ),
    ];
    case("shapes", &columns, &[&rows[0], &rows[1]])
}

/// The types of one flavor only.
pub(crate) fn own(flavor: Flavor) -> Vec<Case> {
    if flavor == Flavor::MySql97 {
        let documents = [
            "NULL",
            "'null'",
            "'true'",
            "'-1'",
            "'18446744073709551615'",
            "'-9223372036854775808'",
            "'32768'",
            "'4294967296'",
            "'0.1'",
            "'1e300'",
            "'1e-20'",
            "'123456789012345680000'",
            "'1.0'",
            "'\"it''s \\\\\\\\ \\\\\"q\\\\\" \\\\n \\\\u0001 \u{1f600}\"'",
            "'{}'",
            "'[]'",
            "'{\"b\": [1, 2, {\"c\": null}], \"a\": {\"deep\": [[[]]]}, \"\": false}'",
            "JSON_ARRAY(CAST('2024-02-29' AS DATE), CAST('-12:00:00.5' AS TIME(1)), \
             CAST('2024-02-29 01:02:03.456789' AS DATETIME(6)))",
            "JSON_ARRAY(CAST(REPEAT('x', 100) AS BINARY), x'0102', CAST(1.5 AS DECIMAL(5, 1)), 1e15, \
             123456789012345e0, 1e-15, 1e-16, 1.5e-14, -0e0)",
            "JSON_OBJECT('k', REPEAT('x', 70000), 'n', 1)",
            "JSON_OBJECT('a\"b', JSON_ARRAY(1, 1.50, -0.10), 'long', CAST('12345678901234567890.1234567890' AS DECIMAL(30,10)), \
             'whole', CAST('123456789012345678901234567890' AS DECIMAL(30, 0)), '', 1.5)",
            "CAST(CAST('0.30000000000000000001' AS DECIMAL(30, 20)) AS JSON)",
        ];
        let rows: Vec<String> = documents
            .iter()
            .map(|document| format!("{document}, NULL"))
            .chain(["NULL, STRING_TO_VECTOR('[1,-2.5,3e10]')".to_owned()])
            .collect();
        let rows: Vec<&str> = rows.iter().map(String::as_str).collect();
        return vec![
            case("documents", &[("j", "JSON"), ("v", "VECTOR(3)")], &rows),
            case(
                "indexed",
                &[
                    ("j", "JSON"),
                    (
                        "a",
                        "VARCHAR(20), KEY k1 ((LOWER(a))), KEY k2 ((CAST(j->'$.t' AS UNSIGNED ARRAY)))",
                    ),
                ],
                &["'{\"t\": [1, 2]}', 'Abc'", "NULL, NULL"],
            ),
        ];
    }
    let mut cases = vec![
        case(
            "addresses",
            &[
                ("i6", "INET6"),
                ("i4", "INET4"),
                ("j", "JSON"),
                ("u", "UUID"),
            ],
            &[
                "'::1', '1.2.3.4', '{\"a\":  1}', '550e8400-e29b-41d4-a716-446655440000'",
                "'::ffff:1.2.3.4', '1.2.3.0', '[]', '018f3b2e-7c3a-7abc-8def-0123456789ab'",
                "'2001:db8::', '0.0.0.0', '1', '00000000-0000-0000-0000-000000000000'",
                "NULL, NULL, NULL, NULL",
            ],
        ),
        case(
            "compressed",
            &[
                ("v", "VARCHAR(1000) COMPRESSED CHARACTER SET latin1"),
                ("t", "TEXT COMPRESSED CHARACTER SET utf8mb4"),
                ("b", "BLOB COMPRESSED"),
                ("w", "VARBINARY(500) COMPRESSED"),
            ],
            &[
                "REPEAT('ab', 400), REPEAT('\u{e9}', 3000), REPEAT(x'00', 3000), REPEAT(x'FF', 400)",
                "'', '', '', ''",
                "'short', 'short', x'01', x'00'",
                "NULL, NULL, NULL, NULL",
            ],
        ),
        case(
            "hashed",
            &[
                ("t", "TEXT UNIQUE"),
                ("n", "INT"),
                ("b", "BLOB, UNIQUE KEY two (b, n)"),
            ],
            &["'a', 1, 'x'", "'b', 2, 'x'", "NULL, NULL, NULL"],
        ),
    ];
    if flavor == Flavor::MariaDb118 {
        cases.push(case(
            "vectors",
            &[("v", "VECTOR(3)"), ("ts", "TIMESTAMP(6) NULL")],
            &[
                "VEC_FromText('[1,-2.5,3e10]'), '2106-02-07 06:28:15.999999'",
                "NULL, NULL",
            ],
        ));
    }
    cases
}
