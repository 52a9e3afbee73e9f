//! A table cut into chunks is dumped with each row exactly once, whatever its key.
//!
//! The keys are random ones at which orders and comparisons go wrong: trailing spaces, case, accents,
//! contractions, foreign character sets, zero and impossible dates, negative times, crowded and empty
//! stretches of numbers. `TIDEWAY_CHUNK_ROWS` and `TIDEWAY_SEED` make it a longer run.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use tideway::dump_files::{Insert, StatementReader};
use tideway::model::TableName;

use crate::consistency::number;
use crate::dump_job::Copy;
use crate::support::traffic::Random;
use crate::support::{Flavor, Server};

fn pick<'a, T: ?Sized>(random: &mut Random, from: &[&'a T]) -> &'a T {
    from[random.below(from.len() as u64) as usize]
}

/// How a key's column gets its values.
#[derive(Clone, Copy)]
enum Make {
    Signed(u32),
    Unsigned(u32),
    Few,
    Decimal,
    Float,
    Date,
    DateTime,
    Timestamp,
    Time,
    Year,
    Text,
    Bytes,
    Uuid,
    Inet6,
    Inet4,
    Member,
}

fn value(random: &mut Random, make: Make) -> String {
    match make {
        // Crowded around some places, with nothing for long stretches, and the ends.
        Make::Unsigned(bits) => {
            let top = if bits == 64 {
                u64::MAX
            } else {
                (1 << bits) - 1
            };
            let wide = random.next();
            let number = match random.below(8) {
                0 => wide,
                1 => top - random.below(50),
                2 | 3 => random.below(60),
                4 => random.below(2000),
                _ => (top / 3).wrapping_add(random.below(1500)),
            };
            (number & top).to_string()
        }
        Make::Signed(bits) => {
            let top = (1_i128 << (bits - 1)) - 1;
            let span = 2 * top + 2;
            let number = match random.below(6) {
                0 => i128::from(random.next()) % span - top - 1,
                1 => -top - 1 + i128::from(random.below(40)),
                2 => top - i128::from(random.below(40)),
                _ => i128::from(random.below(1200)) - 600,
            };
            number.clamp(-top - 1, top).to_string()
        }
        Make::Few => random.below(5).to_string(),
        Make::Decimal => format!(
            "{}{}.{:05}",
            if random.below(2) == 0 { "-" } else { "" },
            random.below(300),
            random.below(100_000)
        ),
        Make::Float => {
            let number = match random.below(3) {
                0 => f64::from(random.below(1000) as u32) / 8.0 - 60.0,
                1 => f64::from(random.next() as u32) * 1e-12,
                _ => -f64::from(random.next() as u32) * 1e20,
            };
            format!("{number:e}")
        }
        Make::Date => match random.below(12) {
            0 => "'0000-00-00'".into(),
            1 => format!("'2024-00-{:02}'", random.below(32)),
            2 => format!("'2024-{:02}-00'", random.below(13)),
            3 => format!("'{:04}-02-30'", random.below(10_000)),
            _ => format!(
                "'{:04}-{:02}-{:02}'",
                random.below(10_000),
                random.below(12) + 1,
                random.below(31) + 1
            ),
        },
        Make::DateTime => {
            let date = value(random, Make::Date);
            format!(
                "'{} {:02}:{:02}:{:02}.{:06}'",
                date.trim_matches('\''),
                random.below(24),
                random.below(60),
                random.below(60),
                random.below(1_000_000)
            )
        }
        Make::Timestamp => match random.below(20) {
            0 => "'0000-00-00 00:00:00'".into(),
            _ => format!(
                "FROM_UNIXTIME({}.{:03})",
                random.below(2_147_483_000) + 1,
                random.below(1000)
            ),
        },
        Make::Time => format!(
            "'{}{:02}:{:02}:{:02}.{:06}'",
            if random.below(2) == 0 { "-" } else { "" },
            random.below(838),
            random.below(60),
            random.below(60),
            random.below(1_000_000)
        ),
        Make::Year => match random.below(30) {
            0 => "'0000'".into(),
            _ => (1901 + random.below(255)).to_string(),
        },
        Make::Text => {
            let mut text = String::new();
            for _ in 0..random.below(5) {
                text.push_str(pick(
                    random,
                    &[
                        "a", "A", "b", "B", "á", "Á", "ä", "e", "é", "E", "ss", "ß", "aa", "AA",
                        "Aa", "ae", "æ", "ch", "Ch", "cz", "ij", "ll", "ñ", "n", "o", "ö", "œ",
                        "oe", "i", "İ", "ı", " ", "  ", "\\t", "\\0", "\\Z", "\\n", "''", "\\\\",
                        "%", "_", "0", "9", "中", "文", "丂", "ソ", "か", "が", "カ", "ｶ", "한",
                        "ไ", "ก", "א", "ж", "Ж", "😀", "\u{301}", "\u{ad}",
                    ],
                ));
            }
            format!("'{text}'")
        }
        Make::Bytes => {
            let mut text = "x'".to_owned();
            for _ in 0..random.below(7) {
                let byte = match random.below(4) {
                    0 => 0,
                    1 => 0x20,
                    2 => 0xff,
                    _ => random.below(256),
                };
                let _ = write!(text, "{byte:02x}");
            }
            text + "'"
        }
        Make::Uuid => {
            let (a, b) = (random.next(), random.next());
            let version = random.below(8);
            format!(
                "'{:08x}-{:04x}-{version}{:03x}-{:04x}-{:012x}'",
                a >> 32,
                (a >> 16) & 0xffff,
                a & 0xfff,
                0x8000 | ((b >> 48) & 0x3fff),
                b & 0xffff_ffff_ffff
            )
        }
        Make::Inet6 => format!("'2001:{:x}::{:x}'", random.below(40), random.below(65_536)),
        Make::Inet4 => format!("'{}.0.{}.7'", random.below(256), random.below(256)),
        Make::Member => format!("{}", random.below(4) + 1),
    }
}

struct Case {
    name: String,
    columns: Vec<(String, Make)>,
    key: String,
    /// Whether it must come in several chunks.
    is_cut: bool,
}

fn cases(flavor: Flavor) -> Vec<Case> {
    let mut cases = Vec::new();
    let mut single = |kind: &str, make: Make| {
        cases.push(Case {
            name: kind.to_owned(),
            columns: vec![(kind.to_owned(), make)],
            key: "PRIMARY KEY (k0)".to_owned(),
            is_cut: true,
        });
    };
    single("INT", Make::Signed(32));
    single("BIGINT", Make::Signed(64));
    single("BIGINT UNSIGNED", Make::Unsigned(64));
    single("MEDIUMINT UNSIGNED", Make::Unsigned(24));
    single("SMALLINT", Make::Signed(16));
    single("DECIMAL(20,5)", Make::Decimal);
    single("FLOAT", Make::Float);
    single("DOUBLE", Make::Float);
    single("DATE", Make::Date);
    single("DATETIME(6)", Make::DateTime);
    single("DATETIME", Make::DateTime);
    single("TIMESTAMP(3)", Make::Timestamp);
    single("TIME(6)", Make::Time);
    single("YEAR", Make::Year);
    single("BIT(40)", Make::Unsigned(40));
    single("BINARY(6)", Make::Bytes);
    single("VARBINARY(20)", Make::Bytes);
    let mut collations = vec![
        "latin1_swedish_ci",
        "latin1_german2_ci",
        "latin1_bin",
        "cp1250_czech_cs",
        "latin2_czech_cs",
        "utf8mb4_general_ci",
        "utf8mb4_bin",
        "utf8mb4_unicode_ci",
        "utf8mb4_unicode_520_ci",
        "utf8mb4_danish_ci",
        "utf8mb4_german2_ci",
        "utf8mb4_spanish2_ci",
        "utf8mb3_general_ci",
        "utf8mb3_unicode_ci",
        "gbk_chinese_ci",
        "gbk_bin",
        "big5_chinese_ci",
        "gb2312_chinese_ci",
        "sjis_japanese_ci",
        "cp932_japanese_ci",
        "ujis_japanese_ci",
        "euckr_korean_ci",
        "tis620_thai_ci",
        "utf16_general_ci",
        "utf16_bin",
        "utf16le_general_ci",
        "ucs2_unicode_ci",
        "utf32_general_ci",
        "hebrew_general_ci",
        "swe7_swedish_ci",
        "ascii_general_ci",
    ];
    if flavor == Flavor::MySql97 {
        collations.extend([
            "utf8mb4_0900_ai_ci",
            "utf8mb4_0900_as_cs",
            "utf8mb4_0900_bin",
            "utf8mb4_da_0900_ai_ci",
            "utf8mb4_ja_0900_as_cs_ks",
            "utf8mb4_zh_0900_as_cs",
            "utf8mb4_hu_0900_ai_ci",
            "gb18030_chinese_ci",
        ]);
    } else {
        single("UUID", Make::Uuid);
        single("INET6", Make::Inet6);
        single("INET4", Make::Inet4);
        collations.extend([
            "utf8mb4_nopad_bin",
            "utf8mb4_unicode_nopad_ci",
            "latin1_swedish_nopad_ci",
            "gbk_chinese_nopad_ci",
            "utf16_general_nopad_ci",
            "utf8mb4_uca1400_ai_ci",
            "utf8mb4_uca1400_nopad_as_cs",
            "utf8mb4_uca1400_danish_ai_ci",
        ]);
    }
    for collation in &collations {
        single(&format!("VARCHAR(40) COLLATE {collation}"), Make::Text);
    }
    for collation in [
        "utf8mb4_general_ci",
        "latin1_swedish_ci",
        "gbk_bin",
        "utf16_bin",
    ] {
        single(&format!("CHAR(20) COLLATE {collation}"), Make::Text);
    }
    if flavor == Flavor::MySql97 {
        single("CHAR(20) COLLATE utf8mb4_0900_ai_ci", Make::Text);
    }
    let mut several = |columns: &[(&str, Make)], key: &str, is_cut: bool| {
        cases.push(Case {
            name: format!(
                "{key} of {:?}",
                columns.iter().map(|c| c.0).collect::<Vec<_>>()
            ),
            columns: columns.iter().map(|c| (c.0.to_owned(), c.1)).collect(),
            key: key.to_owned(),
            is_cut,
        });
    };
    let text = "VARCHAR(40) COLLATE utf8mb4_unicode_ci";
    several(
        &[
            ("INT", Make::Few),
            (text, Make::Text),
            ("DATETIME", Make::DateTime),
        ],
        "PRIMARY KEY (k0, k1, k2)",
        true,
    );
    several(
        &[
            (text, Make::Text),
            ("TINYINT", Make::Few),
            ("BIGINT", Make::Signed(64)),
        ],
        "PRIMARY KEY (k0, k1, k2)",
        true,
    );
    several(
        &[("INT", Make::Few), ("BIGINT UNSIGNED", Make::Unsigned(64))],
        "UNIQUE KEY `odd ``name` (k0, k1)",
        true,
    );
    several(
        &[
            ("SMALLINT", Make::Signed(16)),
            ("ENUM('z','y','b','a')", Make::Member),
            ("INT", Make::Signed(32)),
        ],
        "PRIMARY KEY (k0, k1, k2)",
        true,
    );
    several(&[("INT", Make::Signed(32))], "PRIMARY KEY (k0 DESC)", true);
    several(
        &[(text, Make::Text), ("INT", Make::Signed(32))],
        "PRIMARY KEY (k0 DESC, k1)",
        true,
    );
    several(
        &[
            ("ENUM('z','y','b','a')", Make::Member),
            ("INT", Make::Signed(32)),
        ],
        "PRIMARY KEY (k0, k1)",
        false,
    );
    several(&[(text, Make::Text)], "KEY (k0)", false);
    cases
}

async fn each_row_is_in_one_chunk(flavor: Flavor) {
    let (rows, seed) = (number("TIDEWAY_CHUNK_ROWS", 600), number("TIDEWAY_SEED", 7));
    println!("seed {seed}, {rows} rows");
    let server = Server::start(flavor);
    let mut random = Random::new(seed);
    let mut client = server.client();
    client.run(
        "CREATE DATABASE keyed CHARACTER SET utf8mb4; USE keyed; \
         SET sql_mode = 'ALLOW_INVALID_DATES,NO_AUTO_VALUE_ON_ZERO'",
    );
    let cases = cases(flavor);
    for (index, case) in cases.iter().enumerate() {
        let columns: String = case
            .columns
            .iter()
            .enumerate()
            .map(|(at, (kind, _))| ["k", &at.to_string(), " ", kind, " NOT NULL, "].concat())
            .collect();
        // An index on the row's number would be a better key than one that is not unique.
        client.run(&format!(
            "CREATE TABLE t{index} ({columns}n INT NOT NULL, filler CHAR(30) NOT NULL DEFAULT 'x', {})",
            case.key
        ));
        let values: Vec<String> = (0..rows)
            .map(|n| {
                let keys: String = case
                    .columns
                    .iter()
                    .map(|(_, make)| value(&mut random, *make) + ", ")
                    .collect();
                format!("({keys}{n}, DEFAULT)")
            })
            .collect();
        client.run(&format!(
            "INSERT IGNORE INTO t{index} VALUES {}; ANALYZE TABLE t{index}",
            values.join(", ")
        ));
    }
    server.account("tideway", &[("SELECT, RELOAD, REPLICATION CLIENT", "*.*")]);
    let mut copy = Copy::new(&server, &server, &["keyed.*"], "threads = 3");
    copy.task.dump.chunk_bytes = 1500;
    let folder = tempfile::tempdir().unwrap();
    let (manifest, _) = match copy.dump(folder.path()).await {
        Ok(dumped) => dumped,
        Err(error) => panic!("{}", error.report()),
    };
    let mut wrong = Vec::new();
    for (index, case) in cases.iter().enumerate() {
        let table = TableName::new("keyed", format!("t{index}"));
        let mut found: BTreeMap<i64, u32> = BTreeMap::new();
        for file in &manifest.tables[&table].files {
            let path = folder.path().join(&file.name);
            let mut reader = StatementReader::open(&path).await.unwrap();
            while let Some(statement) = reader.next_statement().await.unwrap() {
                let Some(insert) = Insert::parse(&statement) else {
                    continue;
                };
                for row in 0..insert.row_count() {
                    let row = String::from_utf8_lossy(insert.row(row).unwrap());
                    let number = row.rsplit(',').nth(1).unwrap();
                    *found.entry(number.parse().unwrap()).or_default() += 1;
                }
            }
        }
        let there: Vec<i64> = client
            .texts(&format!("SELECT n FROM keyed.t{index} ORDER BY n"))
            .into_iter()
            .map(|row| row[0].parse().unwrap())
            .collect();
        assert!(there.len() > 10, "{}: {} rows", case.name, there.len());
        let missing = there.iter().filter(|n| !found.contains_key(n)).count();
        let twice = found.values().filter(|count| **count > 1).count();
        if missing + twice > 0 || found.len() != there.len() {
            wrong.push(format!(
                "{}: {missing} missing, {twice} twice of {}",
                case.name,
                there.len()
            ));
        }
        // Each chunk has a file of its own.
        let files = manifest.tables[&table].files.len();
        if (files > 3) != case.is_cut {
            let estimates = client.texts(&format!(
                "SELECT TABLE_ROWS, DATA_LENGTH FROM information_schema.TABLES WHERE TABLE_NAME = 't{index}'"
            ));
            wrong.push(format!(
                "{}: {files} files of {} rows; {estimates:?}",
                case.name,
                there.len()
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn each_row_is_in_one_chunk_on_mariadb_10_11() {
    Box::pin(each_row_is_in_one_chunk(Flavor::MariaDb1011)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_row_is_in_one_chunk_on_mariadb_11_8() {
    Box::pin(each_row_is_in_one_chunk(Flavor::MariaDb118)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_row_is_in_one_chunk_on_mysql_9_7() {
    Box::pin(each_row_is_in_one_chunk(Flavor::MySql97)).await;
}
