//! What a target takes of a source's statements, and what has to be written otherwise for it.
//!
//! Works on tokens: only what the target would refuse, or read as something else, is touched; each
//! change is named in the notes. What cannot be said in the target's words is an error with the reason.

use std::fmt::Write as _;
use std::ops::Range;

use super::charset;
use super::collations::{self, supports_charset};
use super::cursor::Cursor;
use super::ddl::{Ddl, DdlClass, DdlKind, apply_edits};
use super::meaning::Meaning;
use super::tokens::{SqlMode, Token, TokenKind, tokenize};
use crate::model::{Error, ErrorKind, Flavor, Result, ServerVersion};

/// A statement in the target's dialect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Adapted {
    /// The statement.
    pub sql: Vec<u8>,
    /// What was changed, for people; empty if nothing was.
    pub notes: Vec<String>,
}

/// Adapts what SHOW CREATE TABLE of a server `from` gave for a server `to`.
pub fn adapt_create_table(sql: &[u8], from: &ServerVersion, to: &ServerVersion) -> Result<Adapted> {
    adapt_ddl(sql, SqlMode::default(), from, to, None)
}

/// Adapts a statement of the binlog of a server `from` for a server `to`: what it leaves to a setting
/// that the two have otherwise is written into it.
///
/// Statements on anything but tables and databases come back as they are.
pub fn adapt_ddl(
    sql: &[u8],
    mode: SqlMode,
    from: &ServerVersion,
    to: &ServerVersion,
    meaning: Option<Meaning<'_>>,
) -> Result<Adapted> {
    let ddl = Ddl::read(sql, "", mode, from.flavor);
    if !matches!(ddl.class(), DdlClass::Table | DdlClass::Database) {
        return Ok(Adapted {
            sql: sql.to_vec(),
            notes: Vec::new(),
        });
    }
    let mut adapter = Adapter {
        from,
        to,
        meaning,
        sql,
        all: tokenize(sql, mode, from.flavor),
        edits: Vec::new(),
        notes: Vec::new(),
        removed: Vec::new(),
    };
    let columns = column_list(&ddl);
    if ddl.or_replace && to.flavor != Flavor::MariaDB {
        return Err(adapter.refuse(
            "`OR REPLACE` is MariaDB's own",
            "replace the event with a DROP TABLE IF EXISTS and a CREATE TABLE",
        ));
    }
    adapter.comments();
    if let Some(list) = &columns {
        adapter.elements(&ddl, list.clone())?;
    }
    adapter.words(&ddl, columns.as_ref())?;
    if ddl.kind == DdlKind::AlterTable {
        adapter.clauses(&ddl)?;
    }
    if let Some(meaning) = meaning {
        let made = meaning.after.filter(|_| !ddl.selects);
        if let (Some(list), Some(made)) = (&columns, made) {
            adapter.table_default(&ddl, list, (&made.charset, &made.collation));
        }
        if ddl.kind == DdlKind::CreateDatabase {
            adapter.database_default(&ddl, meaning.source);
        }
    }
    adapter
        .edits
        .sort_by_key(|(span, _)| (span.start, span.end));
    let removed = std::mem::take(&mut adapter.removed);
    adapter.edits.retain(|(span, text)| {
        !removed.iter().any(|gone| {
            gone.start <= span.start && span.end <= gone.end && !(text.is_empty() && *gone == *span)
        })
    });
    Ok(Adapted {
        sql: apply_edits(sql, adapter.edits),
        notes: adapter.notes,
    })
}

/// The tokens of a CREATE TABLE's column list, without its brackets.
fn column_list(ddl: &Ddl) -> Option<Range<usize>> {
    if ddl.kind != DdlKind::CreateTable {
        return None;
    }
    let mut c = ddl.body();
    if c.is_at(1, "like") {
        return None;
    }
    c.group()
}

pub(super) struct Adapter<'a> {
    pub(super) from: &'a ServerVersion,
    pub(super) to: &'a ServerVersion,
    pub(super) meaning: Option<Meaning<'a>>,
    sql: &'a [u8],
    /// All tokens, those that are no part of the grammar too.
    all: Vec<Token>,
    pub(super) edits: Vec<(Range<usize>, String)>,
    notes: Vec<String>,
    /// What was taken out as a whole; other edits in there are void.
    removed: Vec<Range<usize>>,
}

/// Options of tables that only MariaDB knows.
const MARIADB_OPTIONS: &[&str] = &[
    "page_checksum",
    "transactional",
    "page_compressed",
    "page_compression_level",
    "encrypted",
    "encryption_key_id",
    "ietf_quotes",
    "sequence",
];

/// Options of tables that MariaDB does not know.
const MYSQL_OPTIONS: &[&str] = &[
    "encryption",
    "compression",
    "autoextend_size",
    "secondary_engine",
    "engine_attribute",
    "secondary_engine_attribute",
    "tablespace",
];

/// Types that hold longer values, whose DEFAULT MySQL wants in brackets.
const LONG_TYPES: &[&str] = &[
    "tinytext",
    "text",
    "mediumtext",
    "longtext",
    "tinyblob",
    "blob",
    "mediumblob",
    "longblob",
    "json",
];

impl Adapter<'_> {
    fn to_mariadb(&self) -> bool {
        self.to.flavor == Flavor::MariaDB && self.from.flavor != Flavor::MariaDB
    }

    fn is_from_mariadb(&self) -> bool {
        self.from.flavor == Flavor::MariaDB && self.to.flavor != Flavor::MariaDB
    }

    fn refuse(&self, why: &str, fix: &str) -> Error {
        Error::new(
            ErrorKind::Unsupported,
            format!("the target ({}) cannot take this statement: {why}", self.to),
        )
        .with_fix(fix)
        .at(|c| c.statement = Some(String::from_utf8_lossy(self.sql).into_owned()))
    }

    pub(super) fn note(&mut self, note: impl Into<String>) {
        let note = note.into();
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }

    fn replace(&mut self, span: Range<usize>, text: impl Into<String>, note: impl Into<String>) {
        self.edits.push((span, text.into()));
        self.note(note);
    }

    /// Executable comments that the target reads otherwise than the source.
    fn comments(&mut self) {
        if !self.to_mariadb() {
            return;
        }
        let mut opened = None;
        for index in 0..self.all.len() {
            let Some(token) = self.all.get(index).copied() else {
                break;
            };
            match token.kind {
                TokenKind::CodeOpen => opened = Some((index, token)),
                TokenKind::CodeClose => {
                    let Some((at, open)) = opened.take() else {
                        continue;
                    };
                    let words: Vec<String> = self
                        .all
                        .get(at + 1..index)
                        .unwrap_or_default()
                        .iter()
                        .filter(|token| token.kind.is_significant())
                        .map(|token| {
                            String::from_utf8_lossy(token.bytes(self.sql)).to_ascii_lowercase()
                        })
                        .collect();
                    let words: Vec<&str> = words.iter().map(String::as_str).collect();
                    let passed_over = self.passes_over(open);
                    match words.as_slice() {
                        // A column's or an index's; `words` tells which and what it becomes.
                        ["invisible"] if passed_over => {
                            self.edits.push((open.span(), String::new()));
                            self.edits.push((token.span(), String::new()));
                        }
                        ["column_format" | "storage", ..] if !passed_over => {
                            self.removed.push(open.start..token.end);
                            self.replace(
                                open.start..token.end,
                                "",
                                "left out COLUMN_FORMAT and STORAGE, which MariaDB does not know",
                            );
                        }
                        _ => {}
                    }
                }
                _ => {}
            }
        }
    }

    /// Whether MariaDB passes over an executable comment of MySQL's.
    fn passes_over(&self, open: Token) -> bool {
        let text = String::from_utf8_lossy(open.bytes(self.sql)).into_owned();
        text.trim_start_matches("/*!")
            .parse::<u32>()
            .is_ok_and(|version| (50_700..=99_999).contains(&version))
    }

    /// Elements of a column list that the target cannot have as they are.
    fn elements(&mut self, ddl: &Ddl, list: Range<usize>) -> Result<()> {
        let whole = ddl.cursor();
        let parts = whole.split_at_commas(list);
        for (index, part) in parts.iter().enumerate() {
            let c = whole.within(part.clone());
            let reason = self.unfit(&c);
            if let Some(reason) = reason {
                let start = if index == 0 {
                    part.start
                } else {
                    part.start - 1
                };
                let end = if index == 0 && parts.len() > 1 {
                    part.end
                } else {
                    part.end - 1
                };
                let span = self.with_closing_mark(span_of(&whole, start, end));
                self.removed.push(span.clone());
                self.replace(span, "", reason);
                continue;
            }
            self.column(&c)?;
        }
        Ok(())
    }

    /// Takes in the end of an executable comment that begins within `span`.
    fn with_closing_mark(&self, mut span: Range<usize>) -> Range<usize> {
        let mut open = 0u32;
        for token in self.all.iter().filter(|token| token.start >= span.start) {
            if token.start >= span.end && open == 0 {
                break;
            }
            match token.kind {
                TokenKind::CodeOpen => open += 1,
                TokenKind::CodeClose if open > 0 => {
                    open -= 1;
                    span.end = span.end.max(token.end);
                }
                _ => {}
            }
        }
        span
    }

    /// Why an element is left out, if it is.
    fn unfit(&self, c: &Cursor<'_>) -> Option<String> {
        let mut c = c.clone();
        let text = c.text(c.at()..c.len());
        if c.eat(&["constraint"]) && !c.is_any(&["primary", "unique", "foreign", "check"]) {
            c.name();
        }
        let is_key = c.is_any(&["key", "index", "unique", "fulltext", "spatial"])
            || (c.is("vector") && (c.is_at(1, "key") || c.is_at(1, "index")));
        if c.is("check") && self.to.flavor == Flavor::MariaDB {
            c.advance();
            c.group();
            if c.is("not") && c.is_at(1, "enforced") {
                return Some(format!(
                    "left out the check `{text}`: MariaDB would enforce it"
                ));
            }
            return None;
        }
        if c.is("period") && c.is_at(1, "for") {
            return None;
        }
        if !is_key {
            return None;
        }
        if c.is("vector") && self.to.flavor != Flavor::MariaDB {
            return Some(format!(
                "left out the index `{text}`: the target has no vector indexes"
            ));
        }
        if self.to.flavor == Flavor::TiDB && c.is_any(&["fulltext", "spatial"]) {
            return Some(format!(
                "left out the index `{text}`: TiDB has no such indexes"
            ));
        }
        while !c.is_done() && !c.is_punctuation(b'(') {
            c.advance();
        }
        let group = c.group()?;
        let functional = c
            .split_at_commas(group)
            .into_iter()
            .any(|part| c.within(part).is_punctuation(b'('));
        (functional && self.to.flavor == Flavor::MariaDB)
            .then(|| format!("left out the index `{text}`: MariaDB has no indexes on expressions"))
    }

    /// One column's definition.
    pub(super) fn column(&mut self, c: &Cursor<'_>) -> Result<()> {
        let mut c = c.clone();
        if c.is_any(&[
            "constraint",
            "primary",
            "unique",
            "key",
            "index",
            "foreign",
            "check",
            "fulltext",
            "spatial",
        ]) || (c.is("vector") && (c.is_at(1, "key") || c.is_at(1, "index")))
        {
            return Ok(());
        }
        if c.is("period") && c.is_at(1, "for") {
            if self.to.flavor == Flavor::MariaDB {
                return Ok(());
            }
            return Err(self.refuse(
                "it has a period",
                "leave the table out of the task, or create it on the target by hand",
            ));
        }
        let name = c.name().map(|(name, _)| name).unwrap_or_default();
        self.column_type(&c)?;
        self.timestamp(&c, &name);
        let is_long = c.is_any(LONG_TYPES);
        c.advance();
        while !c.is_done() {
            if c.is("default") && self.to.flavor == Flavor::MySQL {
                c.advance();
                self.default_value(&mut c, is_long);
            } else if c.is_punctuation(b'(') {
                c.group();
            } else {
                c.advance();
            }
        }
        Ok(())
    }

    /// A type that the target does not have; the cursor stands at it.
    fn column_type(&mut self, c: &Cursor<'_>) -> Result<()> {
        let Some(token) = c.peek().filter(|token| token.kind == TokenKind::Word) else {
            return Ok(());
        };
        let word = String::from_utf8_lossy(token.bytes(self.sql)).to_ascii_lowercase();
        let instead = match word.as_str() {
            "uuid" if self.is_from_mariadb() => "char(36) CHARACTER SET ascii",
            "inet6" if self.is_from_mariadb() => "varchar(39) CHARACTER SET ascii",
            "inet4" if self.is_from_mariadb() => "varchar(15) CHARACTER SET ascii",
            "geomcollection" if self.to.flavor != Flavor::MySQL => "geometrycollection",
            "vector"
                if self.to.flavor == Flavor::MariaDB && !self.to.at_least(11, 7, 0)
                    || self.to.flavor == Flavor::MySQL && !self.to.at_least(9, 0, 0) =>
            {
                return Err(self.refuse(
                    "it has no type VECTOR",
                    "leave the table out of the task, or take a newer target",
                ));
            }
            "geometry" | "point" | "linestring" | "polygon" | "multipoint" | "multilinestring"
            | "multipolygon" | "geometrycollection"
                if self.to.flavor == Flavor::TiDB =>
            {
                return Err(self.refuse(
                    "TiDB has no spatial types",
                    "leave the table out of the task",
                ));
            }
            _ => return Ok(()),
        };
        self.replace(
            token.span(),
            instead,
            format!(
                "wrote `{instead}` for `{word}`, which {} does not have",
                self.to.flavor
            ),
        );
        Ok(())
    }

    /// A default that MySQL takes in brackets only; the cursor stands behind DEFAULT.
    fn default_value(&mut self, c: &mut Cursor<'_>, is_long: bool) {
        let Some(first) = c.peek() else { return };
        if first.kind == TokenKind::Punctuation(b'(') || c.is("null") {
            return;
        }
        let start = c.at();
        let is_now = c.is_any(&["current_timestamp", "now", "localtime", "localtimestamp"]);
        let is_call = first.kind == TokenKind::Word
            && !is_now
            && (c.is_punctuation_at(1, b'(')
                || c.is_any(&[
                    "current_date",
                    "current_time",
                    "current_user",
                    "utc_date",
                    "utc_time",
                    "utc_timestamp",
                ]));
        c.advance();
        if first.kind == TokenKind::Introducer {
            c.advance();
        }
        if c.is_punctuation(b'(') {
            c.group();
        }
        if is_call || (is_long && !is_now) {
            let span = span_of(c, start, c.at() - 1);
            self.edits.push((span.start..span.start, "(".to_owned()));
            self.edits.push((span.end..span.end, ")".to_owned()));
            self.note("put a DEFAULT in brackets, as MySQL wants expressions and long values");
        }
    }

    /// Words anywhere: collations, character sets, engines, options, attributes.
    fn words(&mut self, ddl: &Ddl, columns: Option<&Range<usize>>) -> Result<()> {
        let mut c = ddl.cursor();
        c.go_to(ddl.body().at().min(c.len()));
        let in_columns = |at: usize| columns.is_some_and(|list| list.contains(&at));
        let mut element_is_key = false;
        while let Some(token) = c.peek() {
            let at = c.at();
            if c.is_punctuation(b',') || at == columns.map_or(usize::MAX, |list| list.start) {
                let mut ahead = c.clone();
                ahead.eat_punctuation(b',');
                let _ = ahead.eat(&["add"]);
                element_is_key =
                    ahead.is_any(&["key", "index", "unique", "fulltext", "spatial", "primary"]);
            }
            let option = token
                .name(self.sql)
                .map(|name| name.to_ascii_lowercase())
                .unwrap_or_default();
            let has_value = c.is_punctuation_at(1, b'=');
            if c.eat(&["collate"]) {
                c.eat_punctuation(b'=');
                self.collation(&mut c);
            } else if c.eat(&["character", "set"]) || c.eat(&["char", "set"]) || c.eat(&["charset"])
            {
                c.eat_punctuation(b'=');
                self.charset(&mut c);
            } else if c.is("engine") && !in_columns(at) || c.is("engine") && has_value {
                c.advance();
                c.eat_punctuation(b'=');
                self.engine(&mut c)?;
            } else if !in_columns(at)
                && matches!(token.kind, TokenKind::Word | TokenKind::QuotedName)
                && (has_value || option == "tablespace")
                && ((self.is_from_mariadb() && MARIADB_OPTIONS.contains(&option.as_str()))
                    || (self.to_mariadb() && MYSQL_OPTIONS.contains(&option.as_str()))
                    || (self.from.flavor != self.to.flavor && option == "tablespace"))
            {
                let last = if has_value { at + 2 } else { at + 1 };
                let span = span_of(&c, at, last);
                self.replace(
                    span,
                    "",
                    format!("left out the option {}", option.to_ascii_uppercase()),
                );
                c.go_to(last + 1);
            } else if (c.is("data") || c.is("index")) && c.is_at(1, "directory") {
                let value = if c.is_punctuation_at(2, b'=') {
                    at + 3
                } else {
                    at + 2
                };
                let span = span_of(&c, at, value);
                self.replace(span, "", "left out a DIRECTORY of the source's machine");
                c.go_to(value + 1);
            } else if c.is("with")
                && c.is_at(1, "system")
                && c.is_at(2, "versioning")
                && self.is_from_mariadb()
            {
                return Err(self.refuse(
                    "it makes a system-versioned table",
                    "leave the table out of the task, or create it on the target by hand",
                ));
            } else if self.to_mariadb() && c.is("visible") {
                self.replace(
                    token.span(),
                    "",
                    "left out VISIBLE, which MariaDB does not know",
                );
                c.advance();
            } else if self.to_mariadb()
                && c.is("invisible")
                && (element_is_key || ddl.kind == DdlKind::CreateIndex)
            {
                self.replace(
                    token.span(),
                    "IGNORED",
                    "wrote IGNORED for an index that is INVISIBLE",
                );
                c.advance();
            } else if self.to_mariadb() && c.is("srid") {
                let span = span_of(&c, at, at + 1);
                self.replace(span, "", "left out SRID, which MariaDB does not know");
                c.go_to(at + 2);
            } else if self.is_from_mariadb() && c.is("ignored") {
                self.replace(
                    token.span(),
                    "INVISIBLE",
                    "wrote INVISIBLE for an index that is IGNORED",
                );
                c.advance();
            } else if self.is_from_mariadb() && c.is("persistent") && in_columns(at) {
                self.replace(token.span(), "STORED", "wrote STORED for PERSISTENT");
                c.advance();
            } else if self.is_from_mariadb() && c.is("compressed") && !previous_is_option(&c, at) {
                let last = if has_value { at + 2 } else { at };
                let span = span_of(&c, at, last);
                self.replace(
                    span,
                    "",
                    "left out COMPRESSED: the values stay what they are",
                );
                c.go_to(last + 1);
            } else if self.is_from_mariadb() && c.is("without") && c.is_at(1, "overlaps") {
                return Err(self.refuse(
                    "it has a key WITHOUT OVERLAPS",
                    "leave the table out of the task",
                ));
            } else if self.to.flavor == Flavor::MySQL
                && self.is_from_mariadb()
                && ddl.kind == DdlKind::AlterTable
                && c.is("if")
            {
                let words = if c.is_at(1, "not") { 3 } else { 2 };
                let span = span_of(&c, at, at + words - 1);
                self.replace(
                    span,
                    "",
                    "left out IF [NOT] EXISTS, which MySQL does not know there",
                );
                c.go_to(at + words);
            } else {
                c.advance();
            }
        }
        Ok(())
    }

    fn collation(&mut self, c: &mut Cursor<'_>) {
        let Some(token) = c.peek() else { return };
        let Some(name) = c.name_or_string() else {
            return;
        };
        let new = collations::for_target(&name, self.from, self.to);
        if !new.eq_ignore_ascii_case(&name) {
            let note = format!("wrote the collation `{new}` for `{name}`, which the target lacks");
            self.replace(token.span(), new, note);
        }
    }

    fn charset(&mut self, c: &mut Cursor<'_>) {
        let Some(token) = c.peek() else { return };
        let Some(name) = c.name_or_string() else {
            return;
        };
        let lower = name.to_ascii_lowercase();
        let mut used = lower.clone();
        if !supports_charset(&lower, self.to) {
            let instead = if lower == "utf8mb3" {
                "utf8"
            } else {
                "utf8mb4"
            };
            instead.clone_into(&mut used);
            self.replace(
                token.span(),
                instead,
                format!(
                    "wrote the character set `{instead}` for `{lower}`, which the target lacks"
                ),
            );
        }
        // The same character set has another default collation there: say the source's.
        if lower == "default" {
            // Whose default is meant, and what it is, the source decided.
            if let Some(after) = self.meaning.and_then(|meaning| meaning.after) {
                let collation = collations::for_target(&after.collation, self.from, self.to);
                let mut text = if supports_charset(&after.charset, self.to) {
                    after.charset.clone()
                } else {
                    "utf8mb4".to_owned()
                };
                if !c.is("collate") {
                    let _ = write!(text, " COLLATE {collation}");
                }
                let note = format!("wrote the character set `{text}` for DEFAULT");
                self.replace(token.span(), text, note);
            }
            return;
        }
        if c.is("collate") || c.is_punctuation(b';') && c.is_at(1, "collate") {
            return;
        }
        if c.is("binary") || c.is("default") && c.is_at(1, "collate") {
            return;
        }
        let here = charset::charset_name(&lower, self.from);
        let there = charset::charset_name(&used, self.to);
        let (meant, there) = match self.meaning {
            Some(meaning) => (
                meaning.source.collation_of(&here),
                meaning.target.collation_of(&there),
            ),
            None => (
                charset::default_collation(&here, self.from),
                charset::default_collation(&there, self.to),
            ),
        };
        let mapped = collations::for_target(&meant, self.from, self.to);
        if mapped != there {
            self.edits
                .push((token.end..token.end, format!(" COLLATE {mapped}")));
            self.note(format!("wrote COLLATE `{mapped}` beside the character set `{used}`: the target's default is another"));
        }
    }

    fn engine(&mut self, c: &mut Cursor<'_>) -> Result<()> {
        let Some(token) = c.peek() else { return Ok(()) };
        let Some(name) = c.name_or_string() else {
            return Ok(());
        };
        if name.eq_ignore_ascii_case("innodb") {
            return Ok(());
        }
        if [
            "merge",
            "mrg_myisam",
            "federated",
            "connect",
            "spider",
            "sequence",
        ]
        .iter()
        .any(|other| name.eq_ignore_ascii_case(other))
        {
            return Err(self.refuse(
                &format!("the rows of a table in the engine `{name}` are elsewhere"),
                "leave the table out of the task",
            ));
        }
        self.replace(
            token.span(),
            "InnoDB",
            format!("wrote the engine InnoDB for `{name}`: only transactional engines are exact"),
        );
        Ok(())
    }
}

/// `ROW_FORMAT=COMPRESSED` is an option's value, not a column's attribute.
fn previous_is_option(c: &Cursor<'_>, at: usize) -> bool {
    let mut before = c.clone();
    before.go_to(at.saturating_sub(1));
    before.is_punctuation(b'=') || before.is("row_format")
}

/// The bytes from the first of these tokens to the last.
pub(super) fn span_of(c: &Cursor<'_>, first: usize, last: usize) -> Range<usize> {
    let mut walk = c.clone();
    walk.go_to(first);
    let start = walk.peek().map_or(c.statement.len(), |token| token.start);
    walk.go_to(last);
    let end = walk.peek().map_or(c.statement.len(), |token| token.end);
    start..end.max(start)
}
