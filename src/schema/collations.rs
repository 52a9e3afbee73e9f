//! Which collations and character sets a target has, and the nearest for those that it lacks.

use crate::model::{Flavor, ServerVersion};

/// Whether the target has the character set.
pub(super) fn supports_charset(charset: &str, to: &ServerVersion) -> bool {
    match to.flavor {
        Flavor::MySQL => true,
        Flavor::MariaDB => charset != "gb18030",
        Flavor::TiDB => matches!(
            charset,
            "utf8mb4" | "utf8" | "latin1" | "ascii" | "binary" | "gbk" | "default"
        ),
    }
}

/// The collation on the target that is, or comes nearest to, the source's.
pub(super) fn for_target(name: &str, from: &ServerVersion, to: &ServerVersion) -> String {
    let name = name.to_ascii_lowercase();
    if name == "default" || name == "binary" {
        return name;
    }
    // MariaDB's short names belong to whatever character set stands beside; utf8mb4 is meant.
    let full = if name.starts_with("uca1400_") && to.flavor != Flavor::MariaDB {
        format!("utf8mb4_{name}")
    } else {
        name
    };
    match to.flavor {
        Flavor::MariaDB => for_mariadb(&full, to),
        Flavor::MySQL => for_mysql(&full, from, to),
        Flavor::TiDB => for_tidb(&full, to),
    }
}

/// MySQL's languages of the 0900 collations and MariaDB's names for them.
const LANGUAGES: &[(&str, &str)] = &[
    ("cs", "czech"),
    ("da", "danish"),
    ("de_pb", "german2"),
    ("eo", "esperanto"),
    ("es", "spanish"),
    ("es_trad", "spanish2"),
    ("et", "estonian"),
    ("hr", "croatian"),
    ("hu", "hungarian"),
    ("is", "icelandic"),
    ("la", "roman"),
    ("lt", "lithuanian"),
    ("lv", "latvian"),
    ("pl", "polish"),
    ("ro", "romanian"),
    ("sk", "slovak"),
    ("sl", "slovenian"),
    ("sv", "swedish"),
    ("tr", "turkish"),
    ("vi", "vietnamese"),
];

fn for_mariadb(name: &str, to: &ServerVersion) -> String {
    let has_uca1400 = to.at_least(10, 10, 1);
    if name == "utf8mb4_0900_bin" {
        return "utf8mb4_nopad_bin".to_owned();
    }
    if name == "gb18030_chinese_ci" || name == "gb18030_unicode_520_ci" {
        return "utf8mb4_unicode_520_ci".to_owned();
    }
    if name == "gb18030_bin" {
        return "utf8mb4_bin".to_owned();
    }
    // `utf8mb4_0900_ai_ci`, `utf8mb4_sv_0900_as_cs`: all of them compare without padding.
    if let Some((head, strength)) = name.split_once("0900_") {
        if !has_uca1400 {
            return if strength.ends_with("cs") {
                "utf8mb4_nopad_bin".to_owned()
            } else {
                "utf8mb4_unicode_520_nopad_ci".to_owned()
            };
        }
        let language = head
            .strip_prefix("utf8mb4_")
            .unwrap_or("")
            .trim_end_matches('_');
        let language = LANGUAGES
            .iter()
            .find(|(theirs, _)| *theirs == language)
            .map_or(String::new(), |(_, ours)| format!("{ours}_"));
        let strength = match strength {
            "as_cs" | "as_cs_ks" => "as_cs",
            "as_ci" => "as_ci",
            _ => "ai_ci",
        };
        return format!("utf8mb4_uca1400_{language}nopad_{strength}");
    }
    if name.contains("uca1400_") && !has_uca1400 {
        let charset = name.split('_').next().unwrap_or("utf8mb4");
        let pad = if name.contains("_nopad_") {
            "nopad_"
        } else {
            ""
        };
        return if name.ends_with("cs") {
            format!("{charset}_{pad}bin")
        } else {
            format!("{charset}_unicode_520_{pad}ci")
        };
    }
    if let Some(rest) = name.strip_prefix("utf8mb3_")
        && !to.at_least(10, 6, 0)
    {
        return format!("utf8_{rest}");
    }
    name.to_owned()
}

fn for_mysql(name: &str, from: &ServerVersion, to: &ServerVersion) -> String {
    let has_0900 = to.at_least(8, 0, 17);
    let charset = name.split('_').next().unwrap_or("utf8mb4");
    if let Some((_, rest)) = name.split_once("uca1400_") {
        let sensitive = rest.ends_with("cs");
        let accents = rest.contains("as_");
        if charset != "utf8mb4" || !has_0900 {
            return if sensitive {
                format!("{charset}_bin")
            } else {
                format!("{charset}_unicode_520_ci")
            };
        }
        let strength = match (accents, sensitive) {
            (_, true) => "as_cs",
            (true, false) => "as_ci",
            (false, false) => "ai_ci",
        };
        let language = LANGUAGES
            .iter()
            .find(|(_, ours)| rest.split('_').next() == Some(*ours))
            .map_or(String::new(), |(theirs, _)| format!("{theirs}_"));
        return format!("utf8mb4_{language}0900_{strength}");
    }
    if name.contains("0900_") && !has_0900 {
        return if name.ends_with("cs") || name.ends_with("bin") {
            "utf8mb4_bin".to_owned()
        } else {
            "utf8mb4_unicode_520_ci".to_owned()
        };
    }
    let name = if from.flavor == Flavor::MariaDB {
        let plain = name.replace("_nopad_", "_");
        if plain.ends_with("general1400_as_ci") {
            format!("{charset}_general_ci")
        } else if plain.ends_with("thai_520_w2") {
            format!("{charset}_unicode_520_ci")
        } else if plain.ends_with("croatian_mysql561_ci") {
            format!("{charset}_croatian_ci")
        } else if plain.ends_with("myanmar_ci") {
            format!("{charset}_unicode_ci")
        } else if name == "utf8mb4_nopad_bin" && has_0900 {
            "utf8mb4_0900_bin".to_owned()
        } else {
            plain
        }
    } else {
        name.to_owned()
    };
    match (name.strip_prefix("utf8mb3_"), name.strip_prefix("utf8_")) {
        (Some(rest), _) if !to.at_least(8, 0, 30) => format!("utf8_{rest}"),
        (_, Some(rest)) if to.at_least(8, 0, 30) => format!("utf8mb3_{rest}"),
        _ => name,
    }
}

fn for_tidb(name: &str, to: &ServerVersion) -> String {
    let name = name
        .strip_prefix("utf8mb3_")
        .map_or(name.to_owned(), |rest| format!("utf8_{rest}"));
    let known = matches!(
        name.as_str(),
        "utf8mb4_bin"
            | "utf8mb4_general_ci"
            | "utf8mb4_unicode_ci"
            | "utf8_bin"
            | "utf8_general_ci"
            | "utf8_unicode_ci"
            | "latin1_bin"
            | "ascii_bin"
            | "gbk_bin"
            | "gbk_chinese_ci"
    );
    let has_0900 = to.at_least(7, 4, 0);
    if known || (has_0900 && matches!(name.as_str(), "utf8mb4_0900_ai_ci" | "utf8mb4_0900_bin")) {
        return name;
    }
    let charset = name.split('_').next().unwrap_or("utf8mb4");
    match charset {
        "latin1" | "ascii" => format!("{charset}_bin"),
        "gbk" => "gbk_chinese_ci".to_owned(),
        "utf8" if name.ends_with("_ci") => "utf8_unicode_ci".to_owned(),
        "utf8" => "utf8_bin".to_owned(),
        _ if !name.ends_with("_ci") => "utf8mb4_bin".to_owned(),
        _ if has_0900 && (name.contains("0900") || name.contains("uca1400")) => {
            "utf8mb4_0900_ai_ci".to_owned()
        }
        _ => "utf8mb4_unicode_ci".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn collations_find_their_nearest() {
        let mysql = ServerVersion::parse("9.7.4");
        let mysql57 = ServerVersion::parse("5.7.44");
        let maria10 = ServerVersion::parse("10.11.19-MariaDB");
        let maria5 = ServerVersion::parse("10.5.20-MariaDB");
        let tidb = ServerVersion::parse("8.0.11-TiDB-v8.5.1");
        for (name, from, to, expected) in [
            (
                "utf8mb4_0900_ai_ci",
                &mysql,
                &maria10,
                "utf8mb4_uca1400_nopad_ai_ci",
            ),
            (
                "utf8mb4_0900_as_cs",
                &mysql,
                &maria10,
                "utf8mb4_uca1400_nopad_as_cs",
            ),
            (
                "utf8mb4_sv_0900_ai_ci",
                &mysql,
                &maria10,
                "utf8mb4_uca1400_swedish_nopad_ai_ci",
            ),
            ("utf8mb4_0900_bin", &mysql, &maria10, "utf8mb4_nopad_bin"),
            (
                "utf8mb4_0900_ai_ci",
                &mysql,
                &maria5,
                "utf8mb4_unicode_520_nopad_ci",
            ),
            ("utf8mb3_general_ci", &mysql, &maria5, "utf8_general_ci"),
            ("latin1_swedish_ci", &mysql, &maria10, "latin1_swedish_ci"),
            (
                "utf8mb4_uca1400_ai_ci",
                &maria10,
                &mysql,
                "utf8mb4_0900_ai_ci",
            ),
            ("uca1400_as_cs", &maria10, &mysql, "utf8mb4_0900_as_cs"),
            (
                "utf8mb4_uca1400_swedish_as_ci",
                &maria10,
                &mysql,
                "utf8mb4_sv_0900_as_ci",
            ),
            (
                "utf8mb3_uca1400_ai_ci",
                &maria10,
                &mysql,
                "utf8mb3_unicode_520_ci",
            ),
            (
                "utf8mb4_general_nopad_ci",
                &maria10,
                &mysql,
                "utf8mb4_general_ci",
            ),
            ("utf8mb4_nopad_bin", &maria10, &mysql, "utf8mb4_0900_bin"),
            ("utf8_general_ci", &maria5, &mysql, "utf8mb3_general_ci"),
            (
                "utf8mb4_0900_ai_ci",
                &mysql,
                &mysql57,
                "utf8mb4_unicode_520_ci",
            ),
            ("utf8mb4_0900_ai_ci", &mysql, &tidb, "utf8mb4_0900_ai_ci"),
            ("utf8mb4_sv_0900_ai_ci", &mysql, &tidb, "utf8mb4_0900_ai_ci"),
            ("latin1_swedish_ci", &mysql, &tidb, "latin1_bin"),
            ("utf8mb3_general_ci", &mysql, &tidb, "utf8_general_ci"),
            ("utf8mb4_0900_as_cs", &mysql, &tidb, "utf8mb4_bin"),
        ] {
            assert_eq!(for_target(name, from, to), expected, "{name} on {to}");
        }
    }
}
