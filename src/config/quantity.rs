//! Sizes and durations as people write them.

use std::time::Duration;

/// Units of sizes; decimal ones are powers of 1000.
const UNITS: [(&str, u64); 13] = [
    ("", 1),
    ("b", 1),
    ("k", 1 << 10),
    ("kib", 1 << 10),
    ("kb", 1_000),
    ("m", 1 << 20),
    ("mib", 1 << 20),
    ("mb", 1_000_000),
    ("g", 1 << 30),
    ("gib", 1 << 30),
    ("gb", 1_000_000_000),
    ("tib", 1 << 40),
    ("tb", 1_000_000_000_000),
];

/// Reads `256MiB`, `10 GiB`, `5GB`, `1048576`.
pub(super) fn parse_size(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '_')
        .unwrap_or(text.len());
    let (digits, unit) = text.split_at(end);
    let unit = unit.trim_start().to_ascii_lowercase();
    let factor = UNITS
        .iter()
        .find(|(name, _)| *name == unit)
        .map(|(_, factor)| *factor);
    match (digits.replace('_', "").parse::<u64>(), factor) {
        (Ok(number), Some(factor)) => number
            .checked_mul(factor)
            .ok_or_else(|| format!("`{text}` is more than can be counted")),
        _ => Err(format!("`{text}` is not a size such as `64MiB` or `10GiB`")),
    }
}

/// Reads `7days`, `1h 30min`, `500ms`.
pub(super) fn parse_duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text.trim())
        .map_err(|_| format!("`{text}` is not a duration such as `5s`, `1h 30min` or `7days`"))
}

/// A size for people: in the biggest binary unit that keeps it whole.
pub(super) fn show_size(bytes: u64) -> String {
    for (unit, factor) in [
        ("TiB", 1 << 40),
        ("GiB", 1 << 30),
        ("MiB", 1 << 20),
        ("KiB", 1 << 10),
    ] {
        if bytes >= factor && bytes.is_multiple_of(factor) {
            return format!("{}{unit}", bytes / factor);
        }
    }
    format!("{bytes}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (text, bytes) in [
            ("256MiB", 256 << 20),
            ("10GiB", 10 << 30),
            ("10 gib", 10 << 30),
            ("5GB", 5_000_000_000),
            ("64k", 64 << 10),
            ("1_048_576", 1 << 20),
            ("0", 0),
        ] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        for text in ["", "MiB", "1.5GiB", "-1", "10 GiBs", "99999999999999TiB"] {
            assert!(parse_size(text).is_err(), "{text}");
        }
        assert_eq!(show_size(256 << 20), "256MiB");
        assert_eq!(show_size(1_000), "1000");
    }

    #[test]
    fn durations() {
        assert_eq!(parse_duration("7days"), Ok(Duration::from_hours(168)));
        assert_eq!(parse_duration("1h 30min"), Ok(Duration::from_mins(90)));
        assert!(parse_duration("soon").is_err());
        assert!(parse_duration("5").is_err());
    }
}
