//! Takes SQL files apart into statements, and INSERT statements into head and rows.
//!
//! It knows quotes, comments and brackets and nothing else, so it reads our own files and those of
//! other dump tools alike, and copies what is between byte for byte. It holds one statement at a time.

use std::ops::Range;

use crate::model::{Error, ErrorKind, Result};

/// The longest statement it takes: no server takes a longer packet.
const LONGEST_STATEMENT: usize = 1 << 30;

/// Cuts a stream of bytes into statements.
#[derive(Debug, Default)]
pub struct Splitter {
    /// Bytes not yet done with.
    buffer: Vec<u8>,
    /// The offset in the stream of `buffer`'s first byte.
    base: u64,
    /// Where in `buffer` the statement in hand starts.
    start: usize,
    /// How far `buffer` was looked at.
    scanned: usize,
    /// What the place `scanned` is inside of.
    inside: Inside,
    /// Open round brackets.
    depth: u32,
    /// The outermost brackets of the statement in hand, relative to its start.
    groups: Vec<Range<usize>>,
    /// Those of the statement last given out.
    given: Vec<Range<usize>>,
    /// Where the statement in hand ends, once that is known.
    ready: Option<usize>,
    /// Whether the statement in hand has anything but white space and comments.
    has_text: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Inside {
    #[default]
    Text,
    Quote(u8),
    LineComment,
    /// A comment; the versioned `/*!…*/`, which servers run, counts as text.
    BlockComment {
        is_text: bool,
    },
}

/// A statement, without its semicolon.
#[derive(Clone, Copy, Debug)]
pub struct Statement<'a> {
    /// Its text, comments and white space before it included.
    pub text: &'a [u8],
    /// The offset in the stream of its text.
    pub start: u64,
    /// The offset in the stream behind its semicolon: where reading can go on.
    pub end: u64,
    groups: &'a [Range<usize>],
}

impl Splitter {
    /// Adds the next bytes of the stream.
    pub fn push(&mut self, bytes: &[u8]) -> Result<()> {
        if self.buffer.len() - self.start + bytes.len() > LONGEST_STATEMENT {
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!(
                    "the statement at byte {} is longer than 1 GiB",
                    self.base + self.start as u64
                ),
            ));
        }
        if self.start > 0 {
            self.buffer.drain(..self.start);
            self.scanned -= self.start;
            self.base += self.start as u64;
            self.start = 0;
        }
        self.buffer.extend_from_slice(bytes);
        Ok(())
    }

    /// Whether nothing is left but white space and comments: what a file must end with.
    pub fn is_at_end(&self) -> bool {
        !self.has_text && matches!(self.inside, Inside::Text | Inside::LineComment)
    }

    /// Whether a whole statement is there to be taken.
    pub fn has_statement(&mut self) -> bool {
        while self.ready.is_none() {
            let Some(end) = self.scan() else {
                return false;
            };
            self.depth = 0;
            if std::mem::take(&mut self.has_text) {
                self.ready = Some(end);
            } else {
                // A semicolon by itself.
                self.start = self.scanned;
                self.groups.clear();
            }
        }
        true
    }

    /// The next whole statement, or `None` until more bytes are pushed.
    pub fn next_statement(&mut self) -> Option<Statement<'_>> {
        if !self.has_statement() {
            return None;
        }
        let end = self.ready.take()?;
        let from = std::mem::replace(&mut self.start, self.scanned);
        self.given = std::mem::take(&mut self.groups);
        Some(Statement {
            text: self.buffer.get(from..end).unwrap_or_default(),
            start: self.base + from as u64,
            end: self.base + self.scanned as u64,
            groups: &self.given,
        })
    }

    /// Looks on until a semicolon outside of quotes and comments; its place.
    fn scan(&mut self) -> Option<usize> {
        loop {
            let rest = self.buffer.get(self.scanned..)?;
            let first = *rest.first()?;
            match self.inside {
                Inside::Quote(quote) => {
                    // Back quotes know no backslash; a doubled quote closes and opens again, which
                    // comes to the same here.
                    let found = if quote == b'`' {
                        memchr::memchr(quote, rest)
                    } else {
                        memchr::memchr2(quote, b'\\', rest)
                    };
                    match found {
                        None => {
                            self.scanned = self.buffer.len();
                            return None;
                        }
                        Some(at) if rest.get(at) == Some(&quote) => {
                            self.scanned += at + 1;
                            self.inside = Inside::Text;
                        }
                        Some(at) => {
                            // The byte behind a backslash must be there to be passed over.
                            if rest.len() < at + 2 {
                                self.scanned += at;
                                return None;
                            }
                            self.scanned += at + 2;
                        }
                    }
                }
                Inside::LineComment => {
                    let found = memchr::memchr(b'\n', rest);
                    self.scanned += found.map_or(rest.len(), |at| at + 1);
                    if found.is_some() {
                        self.inside = Inside::Text;
                    }
                }
                Inside::BlockComment { is_text } => match memchr::memmem::find(rest, b"*/") {
                    None => {
                        // The star may be there and the slash not yet.
                        self.scanned += rest.len() - usize::from(rest.ends_with(b"*"));
                        return None;
                    }
                    Some(at) => {
                        self.scanned += at + 2;
                        self.inside = Inside::Text;
                        self.has_text |= is_text;
                    }
                },
                Inside::Text if !is_mark(first) => {
                    // Most bytes mean nothing here: all up to the next that may are passed at once.
                    let length = rest.iter().position(|byte| is_mark(*byte));
                    let (plain, _) = rest.split_at(length.unwrap_or(rest.len()));
                    if !self.has_text {
                        self.has_text = plain.iter().any(|byte| !byte.is_ascii_whitespace());
                    }
                    self.scanned += plain.len();
                }
                Inside::Text => match first {
                    b';' => {
                        self.scanned += 1;
                        return Some(self.scanned - 1);
                    }
                    b'\'' | b'"' | b'`' => {
                        self.inside = Inside::Quote(first);
                        self.has_text = true;
                        self.scanned += 1;
                    }
                    b'#' => self.inside = Inside::LineComment,
                    b'-' | b'/' => {
                        // Two or three bytes decide whether a comment starts.
                        if rest.len() < 3 {
                            return None;
                        }
                        if first == b'-' && rest.get(1) == Some(&b'-') && is_space(rest.get(2)) {
                            self.inside = Inside::LineComment;
                        } else if rest.starts_with(b"/*") {
                            let is_text = matches!(rest.get(2), Some(b'!' | b'+'));
                            self.inside = Inside::BlockComment { is_text };
                            self.scanned += 2;
                        } else {
                            self.has_text = true;
                            self.scanned += 1;
                        }
                    }
                    b'(' => {
                        if self.depth == 0 {
                            let at = self.scanned - self.start;
                            self.groups.push(at..at);
                        }
                        self.depth += 1;
                        self.scanned += 1;
                    }
                    b')' => {
                        self.depth = self.depth.saturating_sub(1);
                        self.scanned += 1;
                        if self.depth == 0
                            && let Some(group) = self.groups.last_mut()
                        {
                            group.end = self.scanned - self.start;
                        }
                    }
                    _ => {
                        self.has_text |= !first.is_ascii_whitespace();
                        self.scanned += 1;
                    }
                },
            }
        }
    }
}

/// Whether a byte may mean something outside of quotes and comments.
fn is_mark(byte: u8) -> bool {
    matches!(
        byte,
        b';' | b'\'' | b'"' | b'`' | b'#' | b'-' | b'/' | b'(' | b')'
    )
}

fn is_space(byte: Option<&u8>) -> bool {
    byte.is_some_and(u8::is_ascii_whitespace)
}

/// An INSERT of literal rows, taken apart.
#[derive(Debug)]
pub struct Insert<'a> {
    /// The table's name as written, in its back quotes or bare; a database before it is left out.
    pub table: String,
    /// What stands between the table and `VALUES`: the column list with its brackets, or nothing.
    pub columns: &'a [u8],
    /// Whether a marker says that ENUM values of index 0 are in the rows, which no strict session
    /// takes, and how many.
    pub invalid_enums: u64,
    text: &'a [u8],
    rows: &'a [Range<usize>],
}

/// The marker of an INSERT with ENUM values of index 0; their number follows.
pub const INVALID_ENUM_MARK: &str = "/* tideway invalid enum values: ";

impl<'a> Insert<'a> {
    /// Takes `statement` apart; `None` if it is no `INSERT` or `REPLACE … VALUES (…), (…)` with
    /// nothing behind its rows.
    pub fn parse(statement: &Statement<'a>) -> Option<Self> {
        let text = statement.text;
        let first = statement
            .groups
            .iter()
            .position(|group| ends_with_values(text.get(..group.start).unwrap_or_default()))?;
        let rows = statement.groups.get(first..)?;
        let (head, last) = (text.get(..rows.first()?.start)?, rows.last()?);
        if !text.get(last.end..)?.iter().all(u8::is_ascii_whitespace) {
            return None;
        }
        let between = rows.windows(2).all(|pair| match pair {
            [a, b] => text
                .get(a.end..b.start)
                .is_some_and(|gap| gap.trim_ascii() == b","),
            _ => false,
        });
        if !between {
            return None;
        }
        let (invalid_enums, head) = strip_comments(head)?;
        let mut words = head;
        let verb = take_word(&mut words)?;
        if !verb.eq_ignore_ascii_case(b"insert") && !verb.eq_ignore_ascii_case(b"replace") {
            return None;
        }
        let mut word = take_word(&mut words)?;
        while word.eq_ignore_ascii_case(b"ignore") || word.eq_ignore_ascii_case(b"into") {
            word = take_word(&mut words)?;
        }
        let mut table = unquote(word)?;
        if words.first() == Some(&b'.') {
            words = words.get(1..)?;
            table = unquote(take_word(&mut words)?)?;
        }
        let columns = words.trim_ascii();
        // `VALUES` ends the head, by `ends_with_values`.
        let columns = columns.get(..columns.len().checked_sub(b"values".len())?)?;
        Some(Self {
            table,
            columns: columns.trim_ascii(),
            invalid_enums,
            text,
            rows,
        })
    }

    /// How many rows there are.
    pub fn row_count(&self) -> usize {
        self.rows.len()
    }

    /// The row `index` with its brackets.
    pub fn row(&self, index: usize) -> Option<&'a [u8]> {
        self.text.get(self.rows.get(index)?.clone())
    }

    /// Where in the statement's text the row `index` ends.
    pub fn row_end(&self, index: usize) -> Option<usize> {
        self.rows.get(index).map(|row| row.end)
    }

    /// The row behind the last of those from `from` on that have `bytes` bytes together, with the
    /// commas between; at least one is taken.
    pub fn rows_within(&self, from: usize, bytes: usize) -> usize {
        let Some(rest) = self.rows.get(from..) else {
            return self.rows.len();
        };
        let start = rest.first().map_or(0, |row| row.start);
        let fitting = rest.partition_point(|row| row.end - start <= bytes);
        from + fitting.max(1)
    }

    /// The rows `from..to` with their brackets and the commas between, as they stand.
    pub fn rows(&self, from: usize, to: usize) -> Option<&'a [u8]> {
        let start = self.rows.get(from)?.start;
        let end = self.rows.get(to.checked_sub(1)?)?.end;
        self.text.get(start..end)
    }
}

fn ends_with_values(head: &[u8]) -> bool {
    let head = head.trim_ascii_end();
    head.len()
        .checked_sub(b"values".len())
        .and_then(|at| head.get(at..))
        .is_some_and(|word| word.eq_ignore_ascii_case(b"values"))
}

/// Leaves out the comments in front of a statement; reads our own marker if it is among them.
fn strip_comments(mut text: &[u8]) -> Option<(u64, &[u8])> {
    let mut invalid = 0;
    loop {
        text = text.trim_ascii_start();
        if let Some(rest) = text.strip_prefix(INVALID_ENUM_MARK.as_bytes()) {
            let end = memchr::memmem::find(rest, b" */")?;
            invalid = std::str::from_utf8(rest.get(..end)?).ok()?.parse().ok()?;
            text = rest.get(end + 3..)?;
        } else if text.starts_with(b"/*") {
            let end = memchr::memmem::find(text, b"*/")?;
            text = text.get(end + 2..)?;
        } else if text.starts_with(b"--") || text.starts_with(b"#") {
            let end = memchr::memchr(b'\n', text)?;
            text = text.get(end + 1..)?;
        } else {
            return Some((invalid, text));
        }
    }
}

/// Leaves out the comments in front of a statement, but for those that servers run.
pub fn without_comments(mut text: &[u8]) -> &[u8] {
    loop {
        text = text.trim_ascii_start();
        let end = if text.starts_with(b"/*") && !text.starts_with(b"/*!") {
            memchr::memmem::find(text, b"*/").map(|end| end + 2)
        } else if text.starts_with(b"--") || text.starts_with(b"#") {
            memchr::memchr(b'\n', text).map(|end| end + 1)
        } else {
            return text;
        };
        text = end.and_then(|end| text.get(end..)).unwrap_or_default();
    }
}

/// Takes one word or one quoted name off the front.
fn take_word<'a>(text: &mut &'a [u8]) -> Option<&'a [u8]> {
    *text = text.trim_ascii_start();
    let length = if text.first() == Some(&b'`') {
        let mut at = 1;
        loop {
            at += memchr::memchr(b'`', text.get(at..)?)? + 1;
            if text.get(at) != Some(&b'`') {
                break at;
            }
            at += 1;
        }
    } else {
        text.iter()
            .position(|c| c.is_ascii_whitespace() || matches!(c, b'(' | b'`' | b'.'))
            .unwrap_or(text.len())
    };
    if length == 0 {
        return None;
    }
    let (word, rest) = text.split_at_checked(length)?;
    *text = rest;
    Some(word)
}

fn unquote(word: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(word).ok()?;
    Some(
        match text.strip_prefix('`').and_then(|t| t.strip_suffix('`')) {
            Some(inner) => inner.replace("``", "`"),
            None => text.to_owned(),
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All statements of `text`, pushed in pieces of `step` bytes.
    fn split(text: &[u8], step: usize) -> Vec<(String, u64)> {
        let mut splitter = Splitter::default();
        let mut found = Vec::new();
        for piece in text.chunks(step) {
            splitter.push(piece).unwrap();
            while let Some(s) = splitter.next_statement() {
                let text = String::from_utf8_lossy(s.text.trim_ascii()).into_owned();
                found.push((text, s.end));
            }
        }
        assert!(splitter.is_at_end());
        found
    }

    #[test]
    fn pieces_of_any_size_give_the_same_statements() {
        let text =
            b"/*!40101 SET NAMES utf8mb4*/;\n-- a; b\nINSERT INTO `a;b` VALUES\n('x;\\'y''z'),\
            (\"\\\\\");; # end;\n/* c; */ SELECT 1 - 2 / 3;\n";
        let whole = split(text, text.len());
        let texts: Vec<&str> = whole.iter().map(|(text, _)| text.as_str()).collect();
        assert_eq!(
            texts,
            [
                "/*!40101 SET NAMES utf8mb4*/",
                "-- a; b\nINSERT INTO `a;b` VALUES\n('x;\\'y''z'),(\"\\\\\")",
                "# end;\n/* c; */ SELECT 1 - 2 / 3",
            ]
        );
        assert_eq!(whole[0].1, 29);
        for step in 1..9 {
            assert_eq!(split(text, step), whole, "{step}");
        }
    }

    #[test]
    fn inserts_are_taken_apart() {
        let text = b"INSERT INTO `a``(`(`x)`,`b`) VALUES\n(1,'(a),(b)'),\n(f(2),NULL) ,(3,x'00');";
        let mut splitter = Splitter::default();
        splitter.push(text).unwrap();
        let statement = splitter.next_statement().unwrap();
        let insert = Insert::parse(&statement).unwrap();
        assert_eq!(insert.table, "a`(");
        assert_eq!(insert.columns, b"(`x)`,`b`)");
        assert_eq!(insert.row_count(), 3);
        assert_eq!(insert.row(1).unwrap(), b"(f(2),NULL)");
        assert_eq!(insert.rows(1, 3).unwrap(), b"(f(2),NULL) ,(3,x'00')");
        assert_eq!(insert.invalid_enums, 0);
    }

    #[test]
    fn heads_of_other_tools_are_read() {
        for (text, table, invalid) in [
            ("insert ignore into db.t values(1);", "t", 0),
            ("REPLACE INTO `d`.`t`(`a`) VALUES (1),(2);", "t", 0),
            (
                "/* tideway invalid enum values: 2 */ INSERT INTO `t` VALUES ('');",
                "t",
                2,
            ),
        ] {
            let mut splitter = Splitter::default();
            splitter.push(text.as_bytes()).unwrap();
            let statement = splitter.next_statement().unwrap();
            let insert = Insert::parse(&statement).unwrap();
            assert_eq!(
                (insert.table.as_str(), insert.invalid_enums),
                (table, invalid),
                "{text}"
            );
        }
        for text in [
            "INSERT INTO t SELECT (1);",
            "INSERT INTO t VALUES (1) ON DUPLICATE KEY UPDATE a=(2);",
            "SET a = (1);",
        ] {
            let mut splitter = Splitter::default();
            splitter.push(text.as_bytes()).unwrap();
            let statement = splitter.next_statement().unwrap();
            assert!(Insert::parse(&statement).is_none(), "{text}");
        }
    }
}
