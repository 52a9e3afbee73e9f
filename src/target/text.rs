//! Literals and names in statements of our own.

use std::fmt::Write as _;

/// A text literal that reads the same whether or not backslashes escape: text with one is written as
/// hexadecimal.
pub fn literal(text: &str) -> String {
    if text.contains('\\') || text.contains('\0') {
        let mut out = String::with_capacity(text.len() * 2 + 12);
        out.push_str("_utf8mb4 x'");
        for byte in text.bytes() {
            let _ = write!(out, "{byte:02x}");
        }
        out.push('\'');
        out
    } else {
        format!("'{}'", text.replace('\'', "''"))
    }
}

/// A text literal, or `NULL`.
pub fn literal_or_null(text: Option<&str>) -> String {
    text.map_or_else(|| "NULL".to_owned(), literal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_do_not_depend_on_the_mode() {
        assert_eq!(literal("it's"), "'it''s'");
        assert_eq!(literal(r"a\b"), "_utf8mb4 x'615c62'");
        assert_eq!(literal_or_null(None), "NULL");
    }
}
