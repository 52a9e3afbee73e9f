//! Figures, times and foreign texts as they are shown. Nothing that comes from a server reaches the
//! terminal without [`clean`].

use std::borrow::Cow;
use std::fmt::Write as _;
use std::time::Duration;

use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

use crate::model::{Stage, Timestamp};

/// Shown where a figure is not known.
pub const UNKNOWN: &str = "?";
/// Shown where a figure does not apply.
pub const NONE: &str = "-";

/// Makes `text` harmless: control characters, escape sequences and characters that turn the writing
/// direction are spelt out; joiners and variation selectors, which make the width of a text differ
/// from the sum of its characters', are left out.
pub fn clean(text: &str) -> Cow<'_, str> {
    let is_plain = |c: char| matches!(c, ' '..='~') || (c > '\u{a0}' && !is_tricky(c));
    if text.chars().all(is_plain) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match c {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\0' => out.push_str("\\0"),
            '\u{a0}' => out.push(' '),
            '\u{200c}' | '\u{200d}' | '\u{fe00}'..='\u{fe0f}' => {}
            c if is_plain(c) => out.push(c),
            c => {
                let _ = write!(out, "\\u{{{:x}}}", u32::from(c));
            }
        }
    }
    Cow::Owned(out)
}

/// Characters beyond ASCII that would move, hide or reorder what follows.
fn is_tricky(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{180e}' | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}'
            | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{1f3fb}'..='\u{1f3ff}'
            | '\u{e0000}'..='\u{e0fff}')
        || ('\u{1f1e6}'..='\u{1f1ff}').contains(&c)
}

/// Columns that `text` takes; `text` is clean.
pub fn width(text: &str) -> usize {
    text.width()
}

/// The longest beginning of `text` within `columns`, and its width.
fn head(text: &str, columns: usize) -> (&str, usize) {
    let mut used = 0;
    for (at, c) in text.char_indices() {
        let next = used + c.width().unwrap_or(0);
        if next > columns {
            return (&text[..at], used);
        }
        used = next;
    }
    (text, used)
}

/// The longest end of `text` within `columns`.
fn tail(text: &str, columns: usize) -> &str {
    let mut used = 0;
    for (at, c) in text.char_indices().rev() {
        used += c.width().unwrap_or(0);
        if used > columns {
            return &text[at + c.len_utf8()..];
        }
    }
    text
}

/// `text` within `columns`; what does not fit is cut at the end and `mark` put there.
pub fn cut(text: &str, columns: usize, mark: &str) -> String {
    if width(text) <= columns {
        return text.to_owned();
    }
    let room = columns.saturating_sub(width(mark));
    if room == 0 {
        return head(text, columns).0.to_owned();
    }
    format!("{}{mark}", head(text, room).0)
}

/// `text` within `columns`, cut in front: for positions and paths, whose end tells them apart.
pub fn cut_front(text: &str, columns: usize, mark: &str) -> String {
    if width(text) <= columns {
        return text.to_owned();
    }
    let room = columns.saturating_sub(width(mark));
    if room == 0 {
        return tail(text, columns).to_owned();
    }
    format!("{mark}{}", tail(text, room))
}

/// `text`, which fits, with blanks behind it up to `columns`.
pub fn pad(mut text: String, columns: usize) -> String {
    let missing = columns.saturating_sub(width(&text));
    text.extend(std::iter::repeat_n(' ', missing));
    text
}

/// `text`, which fits, with blanks before it up to `columns`.
pub fn pad_front(text: &str, columns: usize) -> String {
    let missing = columns.saturating_sub(width(text));
    format!("{}{text}", " ".repeat(missing))
}

/// Breaks `text` into lines of at most `columns`, at blanks where there are any.
pub fn wrap(text: &str, columns: usize) -> Vec<String> {
    let columns = columns.max(1);
    let mut lines = Vec::new();
    let mut rest = text;
    loop {
        let (fits, _) = head(rest, columns);
        if fits.len() == rest.len() {
            lines.push(rest.to_owned());
            return lines;
        }
        // A character wider than the column still has to go somewhere.
        let fits = if fits.is_empty() {
            &rest[..rest.chars().next().map_or(0, char::len_utf8)]
        } else {
            fits
        };
        let starts_blank = rest[fits.len()..].starts_with(' ');
        let at = if starts_blank {
            fits.len()
        } else {
            // A break in the first third would waste the line.
            fits.rfind(' ')
                .filter(|at| *at * 3 > fits.len())
                .unwrap_or(fits.len())
        };
        lines.push(rest[..at].trim_end().to_owned());
        rest = rest[at..].trim_start_matches(' ');
        if rest.is_empty() {
            return lines;
        }
    }
}

/// A whole number in groups of three: `11 940`.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(' ');
        }
        out.push(digit);
    }
    out
}

/// A whole number and what it counts, one or many: `1 row`, `3 rows`.
pub fn counted(number: u64, thing: &str) -> String {
    let ending = if number == 1 { "" } else { "s" };
    format!("{} {thing}{ending}", count(number))
}

/// A number in at most five columns: `940`, `4.2k`, `3.1M`.
pub fn short(number: u64) -> String {
    const STEPS: [(u64, &str); 4] = [
        (1_000_000_000_000, "T"),
        (1_000_000_000, "G"),
        (1_000_000, "M"),
        (1_000, "k"),
    ];
    for (step, letter) in STEPS {
        if number >= step {
            let scaled = number as f64 / step as f64;
            return if scaled < 99.95 {
                format!("{scaled:.1}{letter}")
            } else {
                format!("{scaled:.0}{letter}")
            };
        }
    }
    number.to_string()
}

/// A size: `0 B`, `812 KiB`, `118.4 GiB`.
pub fn bytes(size: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if size < 1024 {
        return format!("{size} B");
    }
    let mut scaled = size as f64 / 1024.0;
    let mut unit = 0;
    // 1023.95 would be written as 1024.0.
    while scaled >= 1023.95 && unit + 1 < UNITS.len() {
        scaled /= 1024.0;
        unit += 1;
    }
    format!("{scaled:.1} {}", UNITS[unit])
}

/// A rate of bytes: `84.2 MiB/s`.
pub fn bytes_per_second(rate: f64) -> String {
    format!("{}/s", bytes(whole(rate)))
}

/// A rate of anything: below ten with a digit behind the point.
pub fn per_second(rate: f64) -> String {
    if rate.is_finite() && rate > 0.0 && rate < 9.95 {
        format!("{rate:.1}")
    } else {
        count(whole(rate))
    }
}

/// A rate as a whole number; what is not a number counts as none.
pub fn whole(rate: f64) -> u64 {
    if rate.is_finite() && rate > 0.0 {
        rate.round() as u64
    } else {
        0
    }
}

/// A span in at most two parts: `41s`, `3m01s`, `12m`, `1h05m`, `2d03h`.
pub fn duration(span: Duration) -> String {
    let seconds = span.as_secs();
    match seconds {
        0..60 => format!("{seconds}s"),
        60..600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        600..3600 => format!("{}m", seconds / 60),
        3600..86_400 => format!("{}h{:02}m", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{}d{:02}h", seconds / 86_400, seconds % 86_400 / 3600),
    }
}

/// A lag at the resolution at which it is known: `<1s` where that is whole seconds, `0.04s` where it
/// is finer.
pub fn lag(seconds: f64, resolution: f64) -> String {
    if !seconds.is_finite() {
        return UNKNOWN.into();
    }
    let seconds = seconds.max(0.0);
    if seconds >= 10.0 {
        return duration(Duration::from_secs(seconds.min(1e12) as u64));
    }
    if resolution >= 1.0 {
        return if seconds < resolution {
            format!("<{resolution:.0}s")
        } else {
            format!("{seconds:.0}s")
        };
    }
    if seconds < 0.995 {
        format!("{seconds:.2}s")
    } else {
        format!("{seconds:.1}s")
    }
}

/// How long ago `then` was, at `now`.
pub fn ago(now: Timestamp, then: Timestamp) -> String {
    duration(now.since(then))
}

/// The whole percentage of `done` in `total`; `None` where the total is not known. Never 100 before
/// the end.
pub fn percent(done: u64, total: u64) -> Option<u64> {
    if total == 0 {
        return None;
    }
    if done >= total {
        return Some(100);
    }
    Some((u128::from(done) * 100 / u128::from(total)) as u64)
}

/// A stage as word and symbol, always eight columns: it reads without colour, and a change moves
/// nothing beside it.
pub fn stage(stage: Stage) -> &'static str {
    match stage {
        Stage::Waiting => "WAIT .. ",
        Stage::Running => "RUN  ok ",
        Stage::Pausing => "PAUSING ",
        Stage::Paused => "PAUSED -",
        Stage::Failed => "FAIL !! ",
        Stage::Finished => "DONE ok ",
        Stage::Stopped => "STOP -- ",
    }
}

/// The same of a stream that waits for an answer.
pub const ASKS: &str = "ASKS ?? ";

/// Its word alone.
pub const ASKS_WORD: &str = "ASKS";

/// A stage's word alone.
pub fn stage_word(stage: Stage) -> &'static str {
    match stage {
        Stage::Waiting => "WAIT",
        Stage::Running => "RUN",
        Stage::Pausing => "PAUSING",
        Stage::Paused => "PAUSED",
        Stage::Failed => "FAIL",
        Stage::Finished => "DONE",
        Stage::Stopped => "STOP",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_text_is_harmless() {
        assert_eq!(clean("shop.orders"), "shop.orders");
        assert_eq!(clean("表格 é"), "表格 é");
        assert_eq!(
            clean("a\x1b]52;c;eA==\x07b\nc\u{202e}d"),
            "a\\u{1b}]52;c;eA==\\u{7}b\\nc\\u{202e}d"
        );
        assert_eq!(clean("\u{9b}31m"), "\\u{9b}31m");
        assert_eq!(clean("👩\u{200d}👧"), "👩👧");
        for c in (0..=0x0010_ffff).filter_map(char::from_u32) {
            let text = clean(c.encode_utf8(&mut [0; 4])).into_owned();
            assert!(text.chars().all(|c| !c.is_control()), "{:x}", u32::from(c));
            let sum: usize = text.chars().map(|c| c.width().unwrap_or(0)).sum();
            assert_eq!(width(&text), sum, "{:x}", u32::from(c));
        }
    }

    #[test]
    fn cutting_keeps_to_the_columns() {
        assert_eq!(cut("mysql-bin", 6, "…"), "mysql…");
        assert_eq!(cut("表表表", 4, "…"), "表…");
        assert_eq!(cut_front("mysql-bin.000123:4", 9, "…"), "…000123:4");
        assert_eq!(cut("abc", 0, "…"), "");
        assert_eq!(cut("abc", 1, "…"), "a");
        for columns in 0..12 {
            for text in ["表表表abc", "a表b表c", "xxxxxxxxxxxxx", ""] {
                assert!(width(&cut(text, columns, "~")) <= columns);
                assert!(width(&cut_front(text, columns, "~")) <= columns);
                assert!(
                    wrap(text, columns)
                        .iter()
                        .all(|l| width(l) <= columns.max(2))
                );
            }
        }
    }

    #[test]
    fn wrapping_loses_nothing() {
        assert_eq!(wrap("a bb ccc dddd", 6), ["a bb", "ccc", "dddd"]);
        assert_eq!(wrap("abcdefghij", 4), ["abcd", "efgh", "ij"]);
        assert_eq!(wrap("", 4), [""]);
    }

    #[test]
    fn figures() {
        assert_eq!(count(0), "0");
        assert_eq!(count(1_234_567), "1 234 567");
        assert_eq!(short(4_149), "4.1k");
        assert_eq!(short(999), "999");
        assert_eq!(bytes(1023), "1023 B");
        assert_eq!(bytes(1_048_575), "1.0 MiB");
        assert_eq!(bytes(u64::MAX), "16.0 EiB");
        assert_eq!(per_second(f64::NAN), "0");
        assert_eq!(per_second(0.4), "0.4");
        assert_eq!(percent(1, 0), None);
        assert_eq!(percent(999, 1000), Some(99));
        assert_eq!(percent(2, 1), Some(100));
    }

    #[test]
    fn spans() {
        let d = |seconds| duration(Duration::from_secs(seconds));
        assert_eq!(d(0), "0s");
        assert_eq!(d(181), "3m01s");
        assert_eq!(d(720), "12m");
        assert_eq!(d(3900), "1h05m");
        assert_eq!(d(200_000), "2d07h");
        assert_eq!(lag(0.2, 1.0), "<1s");
        assert_eq!(lag(0.2, 0.000_001), "0.20s");
        assert_eq!(lag(41.3, 1.0), "41s");
        assert_eq!(lag(f64::NAN, 1.0), "?");
    }
}
