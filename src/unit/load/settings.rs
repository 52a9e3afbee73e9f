//! What a file of a dump says about the session that is to read it.
//!
//! Ours say it for other loaders, in the words that every session of a load begins with. Those of other
//! tools may mean another character set or time zone, which then holds for their statements; what would
//! change how a statement is cut or what a value becomes is refused.

use crate::model::{Error, ErrorKind, Result};

/// What a session reads a file's statements by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Settings {
    /// The character set of `SET NAMES`.
    pub(super) names: String,
    /// The time zone of TIMESTAMPs.
    pub(super) time_zone: String,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            names: "utf8mb4".into(),
            time_zone: "+00:00".into(),
        }
    }
}

impl Settings {
    /// The statement that makes a session so.
    pub(super) fn statement(&self) -> String {
        format!("SET NAMES {}, time_zone = '{}'", self.names, self.time_zone)
    }

    /// Takes in a statement that is no INSERT; `false` if it is none that a file of rows may have.
    pub(super) fn take(&mut self, text: &[u8]) -> Result<bool> {
        let text = String::from_utf8_lossy(text);
        let text = inner(&text);
        let Some(rest) = word(text, "set") else {
            return Ok(is_harmless(text));
        };
        for assignment in assignments(rest) {
            self.assign(assignment.trim())?;
        }
        Ok(true)
    }

    fn assign(&mut self, text: &str) -> Result<()> {
        if let Some(names) = word(text, "names") {
            let names = names.split_whitespace().next().unwrap_or_default();
            return self.set_names(unquoted(names));
        }
        let Some((name, value)) = text.split_once('=') else {
            return Ok(());
        };
        let name = name.trim().trim_end_matches(':').to_ascii_lowercase();
        let name = name
            .trim_start_matches("session ")
            .trim_start_matches("@@")
            .trim_start_matches("session.")
            .trim();
        let value = unquoted(value.trim());
        match name {
            // A former value is put back at the end of a file; nothing is read by it.
            _ if value.starts_with('@') => Ok(()),
            "time_zone" => {
                let is_plain = value
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || "+-:/_".contains(c));
                if !is_plain || value.is_empty() {
                    return Err(refused("time_zone", value));
                }
                value.clone_into(&mut self.time_zone);
                Ok(())
            }
            "sql_mode" => {
                let value = value.to_ascii_uppercase();
                let alters = [
                    "NO_BACKSLASH_ESCAPES",
                    "ANSI",
                    "ORACLE",
                    "MSSQL",
                    "DB2",
                    "POSTGRESQL",
                ];
                if alters.iter().any(|mode| value.contains(mode)) {
                    return Err(refused("sql_mode", &value));
                }
                Ok(())
            }
            "character_set_client" | "character_set_connection" => self.set_names(value),
            _ => Ok(()),
        }
    }

    fn set_names(&mut self, names: &str) -> Result<()> {
        // What a statement is cut by must be bytes of ASCII that are never part of another character.
        let fits = ["utf8mb4", "utf8mb3", "utf8", "binary", "latin1", "ascii"];
        if !fits.iter().any(|fit| names.eq_ignore_ascii_case(fit)) {
            return Err(refused("names", names));
        }
        self.names = names.to_ascii_lowercase();
        Ok(())
    }
}

fn refused(what: &str, value: &str) -> Error {
    Error::new(
        ErrorKind::Unsupported,
        format!("it sets `{what}` to `{value}`, by which its statements cannot be read for sure"),
    )
    .with_fix("make the dump again with `SET NAMES utf8mb4` or `binary` and the usual `sql_mode`")
}

/// The text within `/*!40101 … */`, or the text as it is.
fn inner(text: &str) -> &str {
    let text = text.trim();
    match text.strip_prefix("/*!").and_then(|t| t.strip_suffix("*/")) {
        Some(inner) => inner
            .trim_start_matches(|c: char| c.is_ascii_digit())
            .trim(),
        None => text,
    }
}

/// What follows the word; `None` if another one stands there.
fn word<'a>(text: &'a str, word: &str) -> Option<&'a str> {
    let head = text.get(..word.len())?;
    let rest = text.get(word.len()..)?;
    (head.eq_ignore_ascii_case(word) && rest.starts_with(|c: char| c.is_whitespace()))
        .then(|| rest.trim_start())
}

/// The assignments of a SET, cut at commas outside of quotes.
fn assignments(text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut quote = None;
    let mut start = 0;
    for (at, c) in text.char_indices() {
        match (quote, c) {
            (None, '\'' | '"') => quote = Some(c),
            (Some(open), _) if open == c => quote = None,
            (None, ',') => {
                parts.push(text.get(start..at).unwrap_or_default());
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(text.get(start..).unwrap_or_default());
    parts
}

fn unquoted(text: &str) -> &str {
    let text = text.trim();
    ['\'', '"']
        .iter()
        .find_map(|&quote| text.strip_prefix(quote)?.strip_suffix(quote))
        .unwrap_or(text)
}

/// What other tools write around rows, and what changes nothing about them.
fn is_harmless(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    let keys = text.starts_with("alter table ")
        && (text.ends_with(" disable keys") || text.ends_with(" enable keys"));
    keys || [
        "lock tables ",
        "unlock tables",
        "start transaction",
        "begin",
        "commit",
    ]
    .iter()
    .any(|known| text.starts_with(known))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_taken_in() {
        for (text, names, zone) in [
            ("/*!40101 SET NAMES binary*/", "binary", "+00:00"),
            (
                "SET NAMES 'utf8' COLLATE x, time_zone = '+02:00'",
                "utf8",
                "+02:00",
            ),
            ("/*!40103 SET TIME_ZONE='-01:30' */", "utf8mb4", "-01:30"),
            ("SET @OLD_TIME_ZONE=@@TIME_ZONE", "utf8mb4", "+00:00"),
            (
                "set session character_set_client = latin1",
                "latin1",
                "+00:00",
            ),
            (
                "/*!40101 SET SQL_MODE='NO_AUTO_VALUE_ON_ZERO,STRICT_ALL_TABLES'*/",
                "utf8mb4",
                "+00:00",
            ),
            ("/*!40014 SET FOREIGN_KEY_CHECKS=0*/", "utf8mb4", "+00:00"),
            ("LOCK TABLES `t` WRITE", "utf8mb4", "+00:00"),
            (
                "/*!40000 ALTER TABLE `t` DISABLE KEYS */",
                "utf8mb4",
                "+00:00",
            ),
        ] {
            let mut settings = Settings::default();
            assert!(settings.take(text.as_bytes()).unwrap(), "{text}");
            assert_eq!(
                (settings.names.as_str(), settings.time_zone.as_str()),
                (names, zone)
            );
        }
    }

    #[test]
    fn what_changes_rows_is_no_setting() {
        for text in [
            "SETTLE",
            "DROP TABLE t",
            "/*!40000 DROP TABLE t */",
            "",
            "ALTER TABLE t ADD x INT",
        ] {
            assert!(
                !Settings::default().take(text.as_bytes()).unwrap(),
                "{text}"
            );
        }
        for text in [
            "SET NAMES gbk",
            "SET SQL_MODE='ANSI_QUOTES'",
            "SET time_zone = 'x'' y'",
            "SET sql_mode = 'NO_BACKSLASH_ESCAPES'",
        ] {
            assert!(Settings::default().take(text.as_bytes()).is_err(), "{text}");
        }
    }
}
