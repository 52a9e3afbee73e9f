//! Rows whose text is longer than a packet: their long values go ahead, in pieces.
//!
//! A value takes up to twice its size as text, so a row that the source sent in one packet may not fit
//! into one of the target. Its long values are put together in variables of the session first, each
//! piece in a statement of its own, and the row names the variables. What the target does not put
//! together is a value that alone is longer than its `max_allowed_packet`.

/// A row with long values, as statements that fit.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct LongRow {
    /// What must be run before it.
    pub(super) before: Vec<Vec<u8>>,
    /// The row with its brackets.
    pub(super) row: Vec<u8>,
    /// What lets the variables' room go again.
    pub(super) after: Vec<u8>,
}

/// Takes `row` apart so that no statement has more than about `room` bytes; `None` where it has no
/// values that can be cut.
pub(super) fn split(row: &[u8], room: usize) -> Option<LongRow> {
    let inner = row.strip_prefix(b"(")?.strip_suffix(b")")?;
    let values = values(inner);
    // The longest first, until the rest fits well.
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by_key(|&index| std::cmp::Reverse(values.get(index).map_or(0, |v| v.len())));
    let mut left = row.len();
    let mut cut = Vec::new();
    for index in order {
        if left <= room / 2 {
            break;
        }
        left -= values.get(index)?.len();
        cut.push(index);
    }
    if left > room {
        return None;
    }
    let mut long = LongRow {
        before: Vec::new(),
        row: vec![b'('],
        after: b"SET ".to_vec(),
    };
    for (index, value) in values.iter().enumerate() {
        if index > 0 {
            long.row.push(b',');
        }
        let Some(number) = cut.iter().position(|&at| at == index) else {
            long.row.extend_from_slice(value);
            continue;
        };
        let name = format!("@tideway_{number}");
        let reference = pieces(value.trim_ascii(), &name, room / 2, &mut long.before)?;
        long.row.extend_from_slice(reference.as_bytes());
        if long.after.len() > 4 {
            long.after.push(b',');
        }
        long.after
            .extend_from_slice(format!("{name} = NULL").as_bytes());
    }
    long.row.push(b')');
    Some(long)
}

/// Cuts a list of values at its commas.
pub(super) fn values(list: &[u8]) -> Vec<&[u8]> {
    let mut values = Vec::new();
    let (mut start, mut at, mut depth) = (0, 0, 0u32);
    while let Some(&byte) = list.get(at) {
        match byte {
            b'\'' | b'"' => at = end_of_quote(list, at),
            b'(' => depth += 1,
            b')' => depth = depth.saturating_sub(1),
            b',' if depth == 0 => {
                values.push(list.get(start..at).unwrap_or_default());
                start = at + 1;
            }
            _ => {}
        }
        at += 1;
    }
    values.push(list.get(start..).unwrap_or_default());
    values
}

/// The place of the quote that ends the string begun at `at`; a doubled one ends it and begins another,
/// which comes to the same here.
fn end_of_quote(text: &[u8], at: usize) -> usize {
    let quote = text.get(at).copied().unwrap_or(b'\'');
    let mut at = at + 1;
    while let Some(found) = text
        .get(at..)
        .and_then(|rest| memchr::memchr2(quote, b'\\', rest))
    {
        at += found;
        if text.get(at) == Some(&quote) {
            return at;
        }
        at += 2;
    }
    text.len()
}

/// Adds the statements that put `value` together in the variable; gives what to write for the value.
fn pieces(value: &[u8], name: &str, size: usize, out: &mut Vec<Vec<u8>>) -> Option<String> {
    let mut add = |piece: &[u8]| {
        let is_first = out
            .last()
            .is_none_or(|last: &Vec<u8>| !last.starts_with(format!("SET {name} = ").as_bytes()));
        let mut text = format!("SET {name} = ").into_bytes();
        if is_first {
            text.extend_from_slice(piece);
        } else {
            text.extend_from_slice(format!("CONCAT({name}, ").as_bytes());
            text.extend_from_slice(piece);
            text.push(b')');
        }
        out.push(text);
    };
    for quote in [b'\'', b'"'] {
        let Some(mut rest) = value
            .strip_prefix(&[quote])
            .and_then(|inner| inner.strip_suffix(&[quote]))
        else {
            continue;
        };
        while !rest.is_empty() {
            let end = safe_end(rest, quote, size);
            let (piece, after) = rest.split_at_checked(end)?;
            add(&[&[quote], piece, &[quote]].concat());
            rest = after;
        }
        return Some(name.to_owned());
    }
    let (charset, hex) = match value.strip_prefix(b"_") {
        Some(rest) => {
            let end = rest.iter().position(u8::is_ascii_whitespace)?;
            let (charset, hex) = rest.split_at_checked(end)?;
            (
                Some(std::str::from_utf8(charset).ok()?),
                hex.trim_ascii_start(),
            )
        }
        None => (None, value),
    };
    let digits = hex
        .strip_prefix(b"x'")
        .or_else(|| hex.strip_prefix(b"X'"))?
        .strip_suffix(b"'")?;
    for piece in digits.chunks((size & !1).max(2)) {
        add(&[b"x'", piece, b"'"].concat());
    }
    Some(match charset {
        // Bytes taken for text of that character set as they are.
        Some(charset) => format!("CONVERT({name} USING {charset})"),
        None => name.to_owned(),
    })
}

/// A place up to `size` at which the inner text of a string can be cut: between characters, and neither
/// behind a backslash nor between doubled quotes.
fn safe_end(text: &[u8], quote: u8, size: usize) -> usize {
    if text.len() <= size {
        return text.len();
    }
    let mut at = 0;
    let mut safe = 0;
    while at <= size {
        safe = at;
        at += match text.get(at) {
            Some(b'\\') => 2,
            Some(&byte) if byte == quote => 2,
            Some(_) => 1,
            None => break,
        };
        // The rest of a character of UTF-8.
        while text.get(at).is_some_and(|byte| byte & 0xc0 == 0x80) {
            at += 1;
        }
    }
    if safe == 0 { text.len() } else { safe }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(statements: &[Vec<u8>]) -> Vec<String> {
        let text = |s: &Vec<u8>| String::from_utf8(s.clone()).unwrap();
        statements.iter().map(text).collect()
    }

    #[test]
    fn long_values_go_ahead_in_pieces() {
        let long = split(
            b"(1,'it''s, (long)',x'00112233445566778899',_utf8mb4 x'C3A9C3A9',NULL)",
            32,
        )
        .unwrap();
        assert_eq!(
            texts(&long.before),
            [
                "SET @tideway_2 = 'it''s, (long)'",
                "SET @tideway_0 = x'0011223344556677'",
                "SET @tideway_0 = CONCAT(@tideway_0, x'8899')",
                "SET @tideway_1 = x'C3A9C3A9'",
            ]
        );
        assert_eq!(
            String::from_utf8(long.row).unwrap(),
            "(1,@tideway_2,@tideway_0,CONVERT(@tideway_1 USING utf8mb4),NULL)"
        );
        assert_eq!(
            String::from_utf8(long.after).unwrap(),
            "SET @tideway_2 = NULL,@tideway_0 = NULL,@tideway_1 = NULL"
        );
    }

    #[test]
    fn strings_are_cut_between_characters() {
        let inner = "é''\\'日本''x\\\\".repeat(7);
        for size in 4..40 {
            let mut out = Vec::new();
            let value = format!("'{inner}'");
            pieces(value.as_bytes(), "@v", size, &mut out).unwrap();
            let mut whole = String::new();
            for text in texts(&out) {
                let from = text.find('\'').unwrap() + 1;
                let piece = &text[from..text.rfind('\'').unwrap()];
                assert!(!piece.ends_with('\\') || piece.ends_with("\\\\"), "{piece}");
                whole.push_str(piece);
            }
            assert_eq!(whole, inner, "{size}");
        }
    }

    #[test]
    fn what_cannot_be_cut_is_told() {
        assert_eq!(
            split(b"(ST_GeomFromText('POINT(0 0)'), 1234567890123456789)", 8),
            None
        );
    }
}
