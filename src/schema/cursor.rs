//! A walk over a statement's significant tokens, shared by everything that reads statements.

use std::ops::Range;

use super::tokens::{SqlMode, Token, TokenKind};

/// A place among the significant tokens of a statement.
#[derive(Clone)]
pub(crate) struct Cursor<'a> {
    pub(crate) statement: &'a [u8],
    pub(crate) mode: SqlMode,
    tokens: &'a [Token],
    at: usize,
}

impl<'a> Cursor<'a> {
    /// A walk from the first of `tokens`, which are significant ones of `statement`.
    pub(crate) fn new(statement: &'a [u8], mode: SqlMode, tokens: &'a [Token]) -> Self {
        Self {
            statement,
            mode,
            tokens,
            at: 0,
        }
    }

    /// The index of the next token.
    pub(crate) fn at(&self) -> usize {
        self.at
    }

    /// Goes to a token by its index.
    pub(crate) fn go_to(&mut self, at: usize) {
        self.at = at;
    }

    pub(crate) fn is_done(&self) -> bool {
        self.at >= self.tokens.len()
    }

    pub(crate) fn peek(&self) -> Option<Token> {
        self.peek_at(0)
    }

    pub(crate) fn peek_at(&self, ahead: usize) -> Option<Token> {
        self.tokens.get(self.at + ahead).copied()
    }

    pub(crate) fn advance(&mut self) -> Option<Token> {
        let token = self.peek()?;
        self.at += 1;
        Some(token)
    }

    /// Whether the next token is the bare word `word` (lower case).
    pub(crate) fn is(&self, word: &str) -> bool {
        self.is_at(0, word)
    }

    pub(crate) fn is_at(&self, ahead: usize, word: &str) -> bool {
        self.peek_at(ahead)
            .is_some_and(|token| token.is_word(self.statement, word))
    }

    pub(crate) fn is_any(&self, words: &[&str]) -> bool {
        words.iter().any(|word| self.is(word))
    }

    /// Takes the words if they all come next.
    pub(crate) fn eat(&mut self, words: &[&str]) -> bool {
        let all = words
            .iter()
            .enumerate()
            .all(|(ahead, word)| self.is_at(ahead, word));
        if all {
            self.at += words.len();
        }
        all
    }

    pub(crate) fn eat_any(&mut self, words: &[&str]) -> bool {
        let any = self.is_any(words);
        if any {
            self.at += 1;
        }
        any
    }

    pub(crate) fn is_punctuation(&self, byte: u8) -> bool {
        self.is_punctuation_at(0, byte)
    }

    pub(crate) fn is_punctuation_at(&self, ahead: usize, byte: u8) -> bool {
        self.peek_at(ahead)
            .is_some_and(|token| token.kind == TokenKind::Punctuation(byte))
    }

    pub(crate) fn eat_punctuation(&mut self, byte: u8) -> bool {
        let found = self.is_punctuation(byte);
        if found {
            self.at += 1;
        }
        found
    }

    /// Takes a name, quoted or bare, with its place.
    pub(crate) fn name(&mut self) -> Option<(String, Range<usize>)> {
        let token = self.peek()?;
        let name = token.name(self.statement)?.into_owned();
        self.at += 1;
        Some((name, token.span()))
    }

    /// Takes a string; adjacent strings are one, as in SQL.
    pub(crate) fn string(&mut self) -> Option<String> {
        if self.peek()?.kind == TokenKind::Introducer {
            self.at += 1;
        }
        let mut value = self.peek()?.string(self.statement, self.mode)?;
        self.at += 1;
        while let Some(more) = self
            .peek()
            .and_then(|token| token.string(self.statement, self.mode))
        {
            value.push_str(&more);
            self.at += 1;
        }
        Some(value)
    }

    /// Takes a whole number.
    pub(crate) fn number(&mut self) -> Option<u64> {
        let token = self.peek()?;
        if token.kind != TokenKind::Number {
            return None;
        }
        let value = std::str::from_utf8(token.bytes(self.statement))
            .ok()?
            .parse()
            .ok()?;
        self.at += 1;
        Some(value)
    }

    /// Takes a name or a string where either may stand (character sets, engines).
    pub(crate) fn name_or_string(&mut self) -> Option<String> {
        match self.peek()?.kind {
            TokenKind::String => self.string(),
            _ => self.name().map(|(name, _)| name),
        }
    }

    /// Passes over a group in round brackets; the cursor stands at its `(`. Gives the indexes of the
    /// tokens inside. A group that is never closed ends with the statement.
    pub(crate) fn group(&mut self) -> Option<Range<usize>> {
        if !self.eat_punctuation(b'(') {
            return None;
        }
        let start = self.at;
        let mut depth = 1u32;
        while let Some(token) = self.advance() {
            match token.kind {
                TokenKind::Punctuation(b'(') => depth += 1,
                TokenKind::Punctuation(b')') => {
                    depth -= 1;
                    if depth == 0 {
                        return Some(start..self.at - 1);
                    }
                }
                _ => {}
            }
        }
        Some(start..self.at)
    }

    /// Cuts the tokens of `range` at the commas outside brackets.
    pub(crate) fn split_at_commas(&self, range: Range<usize>) -> Vec<Range<usize>> {
        let mut parts = Vec::new();
        let mut start = range.start;
        let mut depth = 0u32;
        for at in range.clone() {
            match self.tokens.get(at).map(|token| token.kind) {
                Some(TokenKind::Punctuation(b'(')) => depth += 1,
                Some(TokenKind::Punctuation(b')')) => depth = depth.saturating_sub(1),
                Some(TokenKind::Punctuation(b',')) if depth == 0 => {
                    parts.push(start..at);
                    start = at + 1;
                }
                _ => {}
            }
        }
        if start < range.end {
            parts.push(start..range.end);
        }
        parts
    }

    /// A walk over the tokens of `range` alone.
    pub(crate) fn within(&self, range: Range<usize>) -> Cursor<'a> {
        let end = range.end.min(self.tokens.len());
        Cursor {
            statement: self.statement,
            mode: self.mode,
            tokens: self.tokens.get(..end).unwrap_or_default(),
            at: range.start,
        }
    }

    /// How many tokens there are.
    pub(crate) fn len(&self) -> usize {
        self.tokens.len()
    }

    /// The text of the tokens of `range` as written, for messages.
    pub(crate) fn text(&self, range: Range<usize>) -> String {
        let start = self.tokens.get(range.start).map_or(0, |token| token.start);
        let end = range
            .end
            .checked_sub(1)
            .and_then(|last| self.tokens.get(last))
            .map_or(start, |token| token.end);
        String::from_utf8_lossy(self.statement.get(start..end).unwrap_or_default()).into_owned()
    }
}
