//! Character sets and collations as the servers relate them: defaults, widths, names by version.

use crate::model::{Flavor, ServerVersion};

/// The most bytes that a character of the set takes.
pub fn max_bytes(charset: &str) -> u64 {
    match charset {
        "utf8mb4" | "utf16" | "utf16le" | "utf32" | "gb18030" => 4,
        "utf8" | "utf8mb3" | "ujis" | "eucjpms" => 3,
        "ucs2" | "gbk" | "sjis" | "cp932" | "big5" | "euckr" | "gb2312" => 2,
        _ => 1,
    }
}

/// A character set's name as a server of `version` holds it: `utf8` became `utf8mb3`.
pub fn charset_name(name: &str, version: &ServerVersion) -> String {
    let name = name.to_ascii_lowercase();
    if name == "utf8" && says_utf8mb3(version) {
        "utf8mb3".to_owned()
    } else {
        name
    }
}

/// A collation's full name as a server of `version` holds it. MariaDB's `uca1400_…` come without
/// their character set: it is `charset`.
pub fn collation_name(name: &str, charset: &str, version: &ServerVersion) -> String {
    let name = name.to_ascii_lowercase();
    if name.starts_with("uca1400_") {
        format!("{charset}_{name}")
    } else if let Some(rest) = name.strip_prefix("utf8_")
        && says_utf8mb3(version)
    {
        format!("utf8mb3_{rest}")
    } else {
        name
    }
}

/// The character set that a collation belongs to; `None` for MariaDB's short names.
pub fn charset_of(collation: &str, version: &ServerVersion) -> Option<String> {
    let collation = collation.to_ascii_lowercase();
    if collation.starts_with("uca1400_") {
        return None;
    }
    let charset = collation.split('_').next().unwrap_or(&collation);
    Some(charset_name(charset, version))
}

/// The character set of a collation's number, for the common ones; `utf8mb3` is called so.
/// Source: `information_schema.COLLATIONS`; MySQL and MariaDB number alike what both have.
pub fn charset_of_number(collation: u16) -> Option<&'static str> {
    Some(match collation {
        5 | 8 | 15 | 31 | 47..=49 | 94 => "latin1",
        2 | 9 | 21 | 27 | 77 => "latin2",
        11 | 65 => "ascii",
        14 | 23 | 50..=52 => "cp1251",
        26 | 34 | 44 | 66 | 99 => "cp1250",
        28 | 87 => "gbk",
        33 | 76 | 83 | 192..=215 | 223 => "utf8mb3",
        35 | 90 | 128..=151 => "ucs2",
        45 | 46 | 224..=247 | 255..=323 => "utf8mb4",
        54 | 55 | 101..=124 => "utf16",
        60 | 61 | 160..=183 => "utf32",
        63 => "binary",
        95 | 96 => "cp932",
        13 | 88 => "sjis",
        1 | 84 => "big5",
        248..=250 => "gb18030",
        _ => return None,
    })
}

/// The collation that a character set has where none is named, as long as nobody changed it.
pub fn default_collation(charset: &str, version: &ServerVersion) -> String {
    let uca_default = version.flavor == Flavor::MariaDB && version.at_least(11, 5, 0);
    match charset {
        "binary" => "binary".to_owned(),
        "utf8mb4" if version.flavor == Flavor::MySQL && version.at_least(8, 0, 1) => {
            "utf8mb4_0900_ai_ci".to_owned()
        }
        "utf8mb4" | "utf8" | "utf8mb3" | "ascii" | "latin1" if version.flavor == Flavor::TiDB => {
            format!("{charset}_bin")
        }
        "utf8mb4" | "utf8mb3" | "ucs2" | "utf16" | "utf32" if uca_default => {
            format!("{charset}_uca1400_ai_ci")
        }
        "latin1" | "swe7" | "dec8" => format!("{charset}_swedish_ci"),
        "hp8" => "hp8_english_ci".to_owned(),
        "latin5" => "latin5_turkish_ci".to_owned(),
        "tis620" => "tis620_thai_ci".to_owned(),
        "gbk" | "big5" | "gb2312" | "gb18030" => format!("{charset}_chinese_ci"),
        "sjis" | "cp932" | "ujis" | "eucjpms" => format!("{charset}_japanese_ci"),
        "euckr" => "euckr_korean_ci".to_owned(),
        _ => format!("{charset}_general_ci"),
    }
}

/// Whether the server says `utf8mb3` where older ones say `utf8`.
fn says_utf8mb3(version: &ServerVersion) -> bool {
    match version.flavor {
        Flavor::MySQL => version.at_least(8, 0, 29),
        Flavor::MariaDB => version.at_least(10, 6, 0),
        Flavor::TiDB => false,
    }
}
