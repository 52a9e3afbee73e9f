//! A lossless tokenizer for the servers' SQL: every byte of a statement belongs to exactly one token,
//! and no input makes it fail. What a token means is for `ddl` and `tracker` to say; what lies
//! between two tokens that they understand is passed on byte for byte.

use std::borrow::Cow;
use std::ops::Range;

use crate::model::Flavor;

/// The parts of a session's `sql_mode` that change how a statement is cut into tokens or read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SqlMode {
    /// ANSI_QUOTES: `"x"` is a name, not a string.
    pub ansi_quotes: bool,
    /// NO_BACKSLASH_ESCAPES: a backslash in a string is a plain character.
    pub no_backslash_escapes: bool,
    /// REAL_AS_FLOAT: REAL is FLOAT, not DOUBLE.
    pub real_as_float: bool,
}

impl SqlMode {
    /// The mode from the bits of a query event's status variables; both flavors share these.
    pub fn from_bits(bits: u64) -> Self {
        Self {
            real_as_float: bits & 0x1 != 0,
            ansi_quotes: bits & 0x4 != 0,
            no_backslash_escapes: bits & 0x10_0000 != 0,
        }
    }
}

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenKind {
    /// White space.
    Space,
    /// A comment, with its marks; also an executable comment that this flavor does not run.
    Comment,
    /// The opening mark of an executable comment, with its version: `/*!50100`. What follows it are
    /// tokens like any others.
    CodeOpen,
    /// The closing mark of an executable comment.
    CodeClose,
    /// A bare word: a keyword or a name.
    Word,
    /// A name in back quotes, or in double quotes under ANSI_QUOTES.
    QuotedName,
    /// A string in single or double quotes.
    String,
    /// A character set introducer that stands right before its string: `_utf8mb4`.
    Introducer,
    /// A number.
    Number,
    /// `x'…'` or `0x…`.
    Hex,
    /// `b'…'` or `0b…`.
    Bit,
    /// `?`.
    Parameter,
    /// One byte of punctuation.
    Punctuation(u8),
    /// Bytes that stand for nothing in SQL.
    Other,
}

impl TokenKind {
    /// Whether the server's grammar sees it.
    pub fn is_significant(self) -> bool {
        !matches!(
            self,
            Self::Space | Self::Comment | Self::CodeOpen | Self::CodeClose
        )
    }
}

/// A token: its kind and where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token {
    /// What it is.
    pub kind: TokenKind,
    /// Its first byte.
    pub start: usize,
    /// The byte behind its last.
    pub end: usize,
}

impl Token {
    /// Its place in the statement.
    pub fn span(&self) -> Range<usize> {
        self.start..self.end
    }

    /// Its bytes, within the statement it was cut from.
    pub fn bytes<'a>(&self, statement: &'a [u8]) -> &'a [u8] {
        statement.get(self.span()).unwrap_or_default()
    }

    /// Whether it is the bare word `word` (given in lower case), in any case.
    pub fn is_word(&self, statement: &[u8], word: &str) -> bool {
        self.kind == TokenKind::Word && self.bytes(statement).eq_ignore_ascii_case(word.as_bytes())
    }

    /// The name it stands for, unquoted; `None` if it is none, or not UTF-8.
    pub fn name<'a>(&self, statement: &'a [u8]) -> Option<Cow<'a, str>> {
        let bytes = self.bytes(statement);
        match self.kind {
            TokenKind::Word => std::str::from_utf8(bytes).ok().map(Cow::Borrowed),
            TokenKind::QuotedName => unquote_name(bytes),
            _ => None,
        }
    }

    /// The value of a string token, its escapes undone; `None` for other kinds, or if not UTF-8.
    pub fn string(&self, statement: &[u8], mode: SqlMode) -> Option<String> {
        if self.kind != TokenKind::String {
            return None;
        }
        String::from_utf8(unquote_string(self.bytes(statement), mode)).ok()
    }
}

/// Cuts `statement` into tokens, the way a server of `flavor` would.
pub fn tokenize(statement: &[u8], mode: SqlMode, flavor: Flavor) -> Vec<Token> {
    let mut scanner = Scanner {
        bytes: statement,
        at: 0,
        mode,
        flavor,
        open_code: 0,
        after_name: false,
        after_dot: false,
    };
    let mut tokens = Vec::with_capacity(statement.len() / 4 + 1);
    while scanner.at < statement.len() {
        let start = scanner.at;
        let kind = scanner.next_kind();
        // A rule that consumes nothing would never end; no rule does, but nothing rests on it.
        scanner.at = scanner.at.clamp(start + 1, statement.len());
        if kind.is_significant() {
            scanner.after_dot = kind == TokenKind::Punctuation(b'.');
        }
        scanner.after_name = matches!(kind, TokenKind::Word | TokenKind::QuotedName);
        tokens.push(Token {
            kind,
            start,
            end: scanner.at,
        });
    }
    tokens
}

struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
    mode: SqlMode,
    flavor: Flavor,
    /// Executable comments that are open; their `*/` is a token of its own.
    open_code: u32,
    /// Whether the token right before is a name: a `.` then is never a decimal point.
    after_name: bool,
    /// Whether the last significant token is a dot: a name may then begin with digits (`db.1st`).
    after_dot: bool,
}

impl Scanner<'_> {
    fn peek(&self, ahead: usize) -> Option<u8> {
        self.bytes.get(self.at + ahead).copied()
    }

    fn skip_while(&mut self, keep: impl Fn(u8) -> bool) {
        while self.peek(0).is_some_and(&keep) {
            self.at += 1;
        }
    }

    fn next_kind(&mut self) -> TokenKind {
        let Some(byte) = self.peek(0) else {
            return TokenKind::Other;
        };
        match byte {
            b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c => {
                self.skip_while(|b| matches!(b, b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c));
                TokenKind::Space
            }
            b'`' => {
                self.quoted(b'`', false);
                TokenKind::QuotedName
            }
            b'"' if self.mode.ansi_quotes => {
                self.quoted(b'"', false);
                TokenKind::QuotedName
            }
            b'"' | b'\'' => {
                self.quoted(byte, !self.mode.no_backslash_escapes);
                TokenKind::String
            }
            b'#' => self.line_comment(),
            // Two dashes begin a comment only before white space or a control character, or at the end.
            b'-' if self.peek(1) == Some(b'-')
                && self.peek(2).is_none_or(|b| b <= b' ' || b == 0x7f) =>
            {
                self.line_comment()
            }
            b'/' if self.peek(1) == Some(b'*') => self.block_comment(),
            b'*' if self.open_code > 0 && self.peek(1) == Some(b'/') => {
                self.at += 2;
                self.open_code -= 1;
                TokenKind::CodeClose
            }
            b'?' => {
                self.at += 1;
                TokenKind::Parameter
            }
            b'.' if !self.after_name && self.peek(1).is_some_and(|b| b.is_ascii_digit()) => {
                self.number()
            }
            b'0'..=b'9' if !self.after_dot => self.number(),
            b'x' | b'X' if self.peek(1) == Some(b'\'') => {
                self.at += 1;
                self.quoted(b'\'', false);
                TokenKind::Hex
            }
            b'b' | b'B' if self.peek(1) == Some(b'\'') => {
                self.at += 1;
                self.quoted(b'\'', false);
                TokenKind::Bit
            }
            _ if is_name_byte(byte) => {
                self.skip_while(is_name_byte);
                let string_follows = match self.peek(0) {
                    Some(b'\'') => true,
                    Some(b'"') => !self.mode.ansi_quotes,
                    _ => false,
                };
                if byte == b'_' && string_follows && !self.after_dot {
                    TokenKind::Introducer
                } else {
                    TokenKind::Word
                }
            }
            _ if byte.is_ascii_punctuation() => {
                self.at += 1;
                TokenKind::Punctuation(byte)
            }
            _ => {
                self.at += 1;
                TokenKind::Other
            }
        }
    }

    /// Passes over what is quoted, from the opening quote to behind the closing one, or to the end.
    fn quoted(&mut self, quote: u8, backslash: bool) {
        self.at += 1;
        while let Some(byte) = self.peek(0) {
            self.at += 1;
            if byte == b'\\' && backslash {
                self.at += 1;
            } else if byte == quote {
                if self.peek(0) != Some(quote) {
                    return;
                }
                self.at += 1;
            }
        }
    }

    fn line_comment(&mut self) -> TokenKind {
        self.skip_while(|b| b != b'\n');
        TokenKind::Comment
    }

    fn block_comment(&mut self) -> TokenKind {
        if let Some(mark) = self.executable_mark() {
            self.at += mark;
            self.open_code += 1;
            return TokenKind::CodeOpen;
        }
        // The servers let a plain comment stand inside an executable one that they pass over.
        let nests = self.peek(2) == Some(b'!')
            || (self.peek(2) == Some(b'M') && self.peek(3) == Some(b'!'));
        self.at += 2;
        let mut depth = 1;
        while self.at < self.bytes.len() {
            match (self.peek(0), self.peek(1)) {
                (Some(b'*'), Some(b'/')) => {
                    self.at += 2;
                    depth -= 1;
                    if depth == 0 {
                        break;
                    }
                }
                (Some(b'/'), Some(b'*')) if nests && depth == 1 => {
                    self.at += 2;
                    depth += 1;
                }
                _ => self.at += 1,
            }
        }
        TokenKind::Comment
    }

    /// The length of the opening mark, if the flavor runs the comment that begins here.
    fn executable_mark(&self) -> Option<usize> {
        let rest = self.bytes.get(self.at..)?;
        let (mark, for_mariadb) = if rest.starts_with(b"/*!") {
            (3, false)
        } else if rest.starts_with(b"/*M!") && self.flavor == Flavor::MariaDB {
            (4, true)
        } else if rest.starts_with(b"/*T!") && self.flavor == Flavor::TiDB {
            // TiDB names a feature in brackets: `/*T![auto_rand] … */`.
            let feature = match rest.get(4) {
                Some(b'[') => rest.iter().position(|&b| b == b']').map_or(0, |at| at - 3),
                _ => 0,
            };
            return Some(4 + feature);
        } else {
            return None;
        };
        let digits = rest
            .iter()
            .skip(mark)
            .take(6)
            .take_while(|b| b.is_ascii_digit())
            .count();
        // Five digits up to MySQL 9, six for MariaDB 10 and later; fewer are no version.
        let digits = if digits >= 5 { digits } else { 0 };
        let version = rest
            .get(mark..mark + digits)
            .and_then(|text| std::str::from_utf8(text).ok())
            .and_then(|text| text.parse::<u32>().ok());
        let runs = match (self.flavor, version) {
            (_, None) => true,
            // MariaDB takes 5.7 to 9.x to be MySQL's own.
            (Flavor::MariaDB, Some(version)) => {
                for_mariadb || !(50_700..=99_999).contains(&version)
            }
            // 99999 is the idiom for "never".
            (Flavor::MySQL | Flavor::TiDB, Some(version)) => version < 99_999,
        };
        runs.then_some(mark + digits)
    }

    /// A number; or a bare name that begins with digits, which the servers allow.
    fn number(&mut self) -> TokenKind {
        let start = self.at;
        if self.peek(0) == Some(b'0') {
            let (kind, is_digit): (_, fn(u8) -> bool) = match self.peek(1) {
                Some(b'x') => (TokenKind::Hex, |b| b.is_ascii_hexdigit()),
                Some(b'b') => (TokenKind::Bit, |b| matches!(b, b'0' | b'1')),
                _ => (TokenKind::Number, |_| false),
            };
            if kind != TokenKind::Number && self.peek(2).is_some_and(is_digit) {
                self.at += 2;
                self.skip_while(is_digit);
                if !self.peek(0).is_some_and(is_name_byte) {
                    return kind;
                }
                self.skip_while(is_name_byte);
                return TokenKind::Word;
            }
        }
        self.skip_while(|b| b.is_ascii_digit());
        if self.peek(0) == Some(b'.') {
            self.at += 1;
            self.skip_while(|b| b.is_ascii_digit());
            self.exponent();
            return TokenKind::Number;
        }
        if self.exponent() && !self.peek(0).is_some_and(is_name_byte) {
            return TokenKind::Number;
        }
        if self.peek(0).is_some_and(is_name_byte) {
            self.at = start;
            self.skip_while(is_name_byte);
            return TokenKind::Word;
        }
        TokenKind::Number
    }

    /// Passes over `e+10`; `1e5x` and `1else` are left to the caller.
    fn exponent(&mut self) -> bool {
        if !matches!(self.peek(0), Some(b'e' | b'E')) {
            return false;
        }
        let sign = usize::from(matches!(self.peek(1), Some(b'+' | b'-')));
        if !self.peek(1 + sign).is_some_and(|b| b.is_ascii_digit()) {
            return false;
        }
        self.at += 1 + sign;
        self.skip_while(|b| b.is_ascii_digit());
        true
    }
}

/// Whether a bare name may contain the byte. All beyond ASCII may: which characters those are is
/// for the character set to say.
fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$') || byte >= 0x80
}

/// Takes the quotes off a name and makes doubled ones single.
fn unquote_name(bytes: &[u8]) -> Option<Cow<'_, str>> {
    let text = std::str::from_utf8(bytes).ok()?;
    let quote = text.chars().next()?;
    let inner = text.strip_prefix(quote)?;
    let inner = inner.strip_suffix(quote).unwrap_or(inner);
    if inner.contains(quote) {
        let doubled: String = [quote, quote].iter().collect();
        Some(Cow::Owned(inner.replace(&doubled, &quote.to_string())))
    } else {
        Some(Cow::Borrowed(inner))
    }
}

/// Takes the quotes off a string and undoes its escapes.
fn unquote_string(bytes: &[u8], mode: SqlMode) -> Vec<u8> {
    let Some((&quote, inner)) = bytes.split_first() else {
        return Vec::new();
    };
    let inner = inner.strip_suffix(&[quote]).unwrap_or(inner);
    let mut value = Vec::with_capacity(inner.len());
    let mut rest = inner.iter().copied().peekable();
    while let Some(byte) = rest.next() {
        if byte == b'\\' && !mode.no_backslash_escapes {
            match rest.next() {
                Some(b'n') => value.push(b'\n'),
                Some(b't') => value.push(b'\t'),
                Some(b'r') => value.push(b'\r'),
                Some(b'b') => value.push(0x08),
                Some(b'0') => value.push(0),
                Some(b'Z') => value.push(0x1a),
                // These two keep their backslash, for LIKE.
                Some(escaped @ (b'%' | b'_')) => value.extend([b'\\', escaped]),
                Some(escaped) => value.push(escaped),
                None => {}
            }
        } else {
            if byte == quote && rest.peek() == Some(&quote) {
                rest.next();
            }
            value.push(byte);
        }
    }
    value
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The significant tokens of `sql`, each as written.
    fn cut(sql: &str, mode: SqlMode, flavor: Flavor) -> Vec<&str> {
        tokenize(sql.as_bytes(), mode, flavor)
            .iter()
            .filter(|token| token.kind.is_significant())
            .filter_map(|token| sql.get(token.span()))
            .collect()
    }

    #[test]
    fn statements_are_cut_as_the_server_does() {
        let ansi = SqlMode {
            ansi_quotes: true,
            ..SqlMode::default()
        };
        let plain_backslash = SqlMode {
            no_backslash_escapes: true,
            ..SqlMode::default()
        };
        let cases: &[(&str, SqlMode, Flavor, &[&str])] = &[
            ("a.b", SqlMode::default(), Flavor::MySQL, &["a", ".", "b"]),
            (
                "`a``b`.c",
                SqlMode::default(),
                Flavor::MySQL,
                &["`a``b`", ".", "c"],
            ),
            (
                "db.1st",
                SqlMode::default(),
                Flavor::MySQL,
                &["db", ".", "1st"],
            ),
            (
                "1st.2e5",
                SqlMode::default(),
                Flavor::MySQL,
                &["1st", ".", "2e5"],
            ),
            (
                "1.5+.5-1e-3",
                SqlMode::default(),
                Flavor::MySQL,
                &["1.5", "+", ".5", "-", "1e-3"],
            ),
            (
                "x'41' X'4' 0x1F b'01' 0b11 0xzz",
                SqlMode::default(),
                Flavor::MySQL,
                &["x'41'", "X'4'", "0x1F", "b'01'", "0b11", "0xzz"],
            ),
            (
                r"'a\'b' 'c''d'",
                SqlMode::default(),
                Flavor::MySQL,
                &[r"'a\'b'", "'c''d'"],
            ),
            (r"'a\' b", plain_backslash, Flavor::MySQL, &[r"'a\'", "b"]),
            (r#""a""b" 'c'"#, ansi, Flavor::MySQL, &[r#""a""b""#, "'c'"]),
            (
                "_latin1'x' _x y",
                SqlMode::default(),
                Flavor::MySQL,
                &["_latin1", "'x'", "_x", "y"],
            ),
            (
                "a--1",
                SqlMode::default(),
                Flavor::MySQL,
                &["a", "-", "-", "1"],
            ),
            (
                "a-- 1\nb#c\nd /* e */ f",
                SqlMode::default(),
                Flavor::MySQL,
                &["a", "b", "d", "f"],
            ),
            (
                "a /*!50100 b /* c */ d */ e",
                SqlMode::default(),
                Flavor::MySQL,
                &["a", "b", "d", "e"],
            ),
            (
                "a /*!80016 b */ c",
                SqlMode::default(),
                Flavor::MySQL,
                &["a", "b", "c"],
            ),
            (
                "a /*!80016 b */ c",
                SqlMode::default(),
                Flavor::MariaDB,
                &["a", "c"],
            ),
            (
                "a /*!99999 b /* x */ */ c",
                SqlMode::default(),
                Flavor::MySQL,
                &["a", "c"],
            ),
            (
                "a /*!100301 b */ c",
                SqlMode::default(),
                Flavor::MariaDB,
                &["a", "b", "c"],
            ),
            (
                "a /*M!100301 b */ c",
                SqlMode::default(),
                Flavor::MariaDB,
                &["a", "b", "c"],
            ),
            (
                "a /*M!100301 b */ c",
                SqlMode::default(),
                Flavor::MySQL,
                &["a", "c"],
            ),
            (
                "a /*T![auto_rand] b */ c",
                SqlMode::default(),
                Flavor::TiDB,
                &["a", "b", "c"],
            ),
            (
                "a /*!b*/ c*/d",
                SqlMode::default(),
                Flavor::MySQL,
                &["a", "b", "c", "*", "/", "d"],
            ),
            ("'open", SqlMode::default(), Flavor::MySQL, &["'open"]),
            (
                "größe ?;",
                SqlMode::default(),
                Flavor::MySQL,
                &["größe", "?", ";"],
            ),
        ];
        for (sql, mode, flavor, expected) in cases {
            assert_eq!(&cut(sql, *mode, *flavor), expected, "{sql}");
        }
    }

    #[test]
    fn names_and_strings_are_unquoted() {
        let sql = br"`a``b` 'it''s\n\\' plain";
        let tokens = tokenize(sql, SqlMode::default(), Flavor::MySQL);
        assert_eq!(tokens[0].name(sql).as_deref(), Some("a`b"));
        assert_eq!(
            tokens[2].string(sql, SqlMode::default()).as_deref(),
            Some("it's\n\\")
        );
        assert_eq!(tokens[4].name(sql).as_deref(), Some("plain"));
    }

    proptest! {
        #[test]
        fn every_byte_is_in_one_token(
            bytes in prop_oneof![
                proptest::collection::vec(any::<u8>(), 0..200),
                "[a1 `'\"/*!M#.\\-\n@?x0]{0,80}".prop_map(String::into_bytes),
            ],
            ansi in any::<bool>(),
            escapes in any::<bool>(),
            flavor in prop_oneof![Just(Flavor::MySQL), Just(Flavor::MariaDB), Just(Flavor::TiDB)],
        ) {
            let mode = SqlMode { ansi_quotes: ansi, no_backslash_escapes: escapes, real_as_float: false };
            let mut at = 0;
            for token in tokenize(&bytes, mode, flavor) {
                prop_assert_eq!(token.start, at);
                prop_assert!(token.end > token.start);
                at = token.end;
            }
            prop_assert_eq!(at, bytes.len());
        }
    }
}
