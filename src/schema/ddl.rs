//! What a statement of the binlog does and to which tables, with the place of each name in its text:
//! enough to filter it, to rename tables in it, and to leave every other byte alone.
//!
//! `sync` reads each query event with it; `tracker` goes on from here to the column clauses.

use std::ops::Range;

use super::cursor::Cursor;
use super::tokens::{SqlMode, Token, TokenKind, tokenize};
use crate::model::{Error, ErrorKind, Flavor, Result, TableName, table::quote_name};

pub use super::ddl_kind::{DdlClass, DdlKind};

/// What a statement does with a table that it names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TableRole {
    /// The table, view or sequence that is created, altered, dropped, truncated or written; of a
    /// trigger, the table it is on. In RENAME TABLE, the old name.
    Subject,
    /// The name that the subject before it gets.
    NewName,
    /// CREATE TABLE … LIKE it.
    Like,
    /// Read by a query.
    Source,
    /// The parent of a foreign key.
    Parent,
    /// Exchanged with a partition, made of one, or turned into one.
    Exchange,
    /// Merged: an element of the MERGE engine's UNION.
    Union,
    /// Not a table: the name of a trigger, routine, event or package.
    Object,
}

/// A table that a statement names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableRef {
    /// The table; its schema comes from the statement, else from where the server takes it.
    pub name: TableName,
    /// What happens to it.
    pub role: TableRole,
    /// Where the schema stands in the statement; `None` if it is not written there.
    pub schema_span: Option<Range<usize>>,
    /// Where the name stands.
    pub name_span: Range<usize>,
    /// Whether the statement writes the name in another case than the server holds it in.
    pub respelled: bool,
}

/// A database that a statement is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SchemaRef {
    /// Its name.
    pub name: String,
    /// Where it stands; `None` if the default database is meant.
    pub span: Option<Range<usize>>,
    /// Whether the statement writes it in another case than the server holds it in.
    pub respelled: bool,
}

/// A statement, read.
#[derive(Clone, Debug)]
pub struct Ddl {
    /// What kind of statement it is.
    pub kind: DdlKind,
    /// The tables it names, in their order.
    pub tables: Vec<TableRef>,
    /// The database that a statement on databases is about.
    pub schema: Option<SchemaRef>,
    /// TEMPORARY.
    pub temporary: bool,
    /// IF EXISTS, of the tables or databases themselves.
    pub if_exists: bool,
    /// IF NOT EXISTS, of the table or database itself.
    pub if_not_exists: bool,
    /// OR REPLACE.
    pub or_replace: bool,
    /// CREATE TABLE … SELECT, or … LIKE's kin that read rows.
    pub selects: bool,
    /// Whether `tables` has every name that the statement could mean, with its place. It does not
    /// where queries and bodies are part of the statement.
    pub complete: bool,
    /// MySQL's `START TRANSACTION` behind a CREATE TABLE … SELECT in the binlog: it keeps the
    /// statement open for the rows that follow. `rewrite` leaves it out.
    pub start_transaction: Option<Range<usize>>,
    /// A name that is not UTF-8 stands in it.
    pub garbled: bool,
    folds_names: bool,
    statement: Vec<u8>,
    default_schema: String,
    mode: SqlMode,
    tokens: Vec<Token>,
    /// The first token behind the head: of a CREATE or ALTER TABLE, behind the table's name.
    body: usize,
}

impl Ddl {
    /// Reads a statement. `default_schema` is the event's, empty for none; `flavor` the source's.
    pub fn read(statement: &[u8], default_schema: &str, mode: SqlMode, flavor: Flavor) -> Self {
        let tokens: Vec<Token> = tokenize(statement, mode, flavor)
            .into_iter()
            .filter(|token| token.kind.is_significant())
            .collect();
        let garbled = tokens.iter().any(|token| {
            matches!(token.kind, TokenKind::Word | TokenKind::QuotedName)
                && token.name(statement).is_none()
        });
        let mut ddl = Self {
            kind: DdlKind::Unknown,
            tables: Vec::new(),
            schema: None,
            temporary: false,
            if_exists: false,
            if_not_exists: false,
            or_replace: false,
            selects: false,
            complete: true,
            start_transaction: None,
            garbled,
            folds_names: false,
            statement: statement.to_vec(),
            default_schema: default_schema.to_owned(),
            mode,
            tokens: Vec::new(),
            body: 0,
        };
        let kind = super::ddl_read::read(&mut ddl, Cursor::new(statement, mode, &tokens));
        ddl.kind = kind.unwrap_or(DdlKind::Unknown);
        ddl.complete &= kind.is_some() && !garbled;
        ddl.tokens = tokens;
        ddl
    }

    /// Takes the names as a server without case holds them: in lower case, however they are written.
    pub fn fold_names(&mut self) {
        self.folds_names = true;
        for table in &mut self.tables {
            let folded = TableName::new(
                table.name.schema.to_lowercase(),
                table.name.name.to_lowercase(),
            );
            table.respelled |= folded != table.name;
            table.name = folded;
        }
        if let Some(schema) = &mut self.schema {
            let folded = schema.name.to_lowercase();
            schema.respelled |= folded != schema.name;
            schema.name = folded;
        }
        self.default_schema = self.default_schema.to_lowercase();
    }

    fn folded(&self, name: String) -> String {
        if self.folds_names {
            name.to_lowercase()
        } else {
            name
        }
    }

    /// What it is about.
    pub fn class(&self) -> DdlClass {
        self.kind.class()
    }

    /// The statement as it was read.
    pub fn statement(&self) -> &[u8] {
        &self.statement
    }

    /// The event's default database.
    pub fn default_schema(&self) -> &str {
        &self.default_schema
    }

    /// The `sql_mode` it was read under.
    pub fn mode(&self) -> SqlMode {
        self.mode
    }

    /// The tables it changes: created, altered, dropped, truncated, renamed from and to, exchanged.
    pub fn changed_tables(&self) -> impl Iterator<Item = &TableName> {
        self.tables
            .iter()
            .filter(|table| {
                matches!(
                    table.role,
                    TableRole::Subject | TableRole::NewName | TableRole::Exchange
                )
            })
            .map(|table| &table.name)
    }

    /// Whether any name in it, read as a table's, is one that `is_wanted` knows. For statements that
    /// are not understood: it errs towards yes.
    pub fn mentions(&self, is_wanted: impl Fn(&TableName) -> bool) -> bool {
        if self.garbled {
            return true;
        }
        if self.tables.iter().any(|table| is_wanted(&table.name)) {
            return true;
        }
        let mut cursor = self.cursor();
        while !cursor.is_done() {
            let Some((first, _)) = cursor.name() else {
                cursor.advance();
                continue;
            };
            let first = self.folded(first);
            if is_wanted(&TableName::new(
                self.default_schema.as_str(),
                first.as_str(),
            )) {
                return true;
            }
            // Of `a.b.c` both `a.b` and, in the round after, `b.c` are asked for.
            let mut ahead = cursor.clone();
            if ahead.eat_punctuation(b'.')
                && let Some((second, _)) = ahead.name()
                && is_wanted(&TableName::new(first, self.folded(second)))
            {
                return true;
            }
        }
        false
    }

    /// The statement with its tables renamed: `rename` gives a table's name on the target, or `None`
    /// to leave it. A name without its schema gets one only where the schema changes. Every other
    /// byte stays, but for `start_transaction`.
    ///
    /// Fails if a table is to be renamed in a statement whose names are not all known by place.
    pub fn rewrite(&self, rename: impl Fn(&TableName) -> Option<TableName>) -> Result<Vec<u8>> {
        self.rewrite_with(rename, false)
    }

    /// Like `rewrite`, but every name gets its schema, for a session whose default database is not
    /// the event's.
    pub fn rewrite_qualified(
        &self,
        rename: impl Fn(&TableName) -> Option<TableName>,
    ) -> Result<Vec<u8>> {
        self.rewrite_with(rename, true)
    }

    fn rewrite_with(
        &self,
        rename: impl Fn(&TableName) -> Option<TableName>,
        qualify: bool,
    ) -> Result<Vec<u8>> {
        let renamed = |name: &TableName| rename(name).unwrap_or_else(|| name.clone());
        let mut edits: Vec<(Range<usize>, String)> = Vec::new();
        if let Some(span) = &self.start_transaction {
            edits.push((span.clone(), String::new()));
        }
        let subject = self
            .tables
            .iter()
            .find(|table| table.role == TableRole::Subject)
            .map(|table| (&table.name, renamed(&table.name)));
        for table in &self.tables {
            let new = renamed(&table.name);
            if !self.complete && new != table.name {
                return Err(self.cannot_rename(&table.name, &new));
            }
            if let Some(span) = &table.schema_span {
                if new.schema != table.name.schema || table.respelled {
                    edits.push((span.clone(), quote_name(&new.schema)));
                }
                // Behind a quoted schema, the dot of `.1e5` is a decimal point to the servers.
                let is_bare_number = new.schema != table.name.schema
                    && self
                        .statement
                        .get(table.name_span.start)
                        .is_some_and(u8::is_ascii_digit);
                if new.name != table.name.name || table.respelled || is_bare_number {
                    edits.push((table.name_span.clone(), quote_name(&new.name)));
                }
                continue;
            }
            // The server looks for a parent named without a schema beside the child, for all others
            // in the default database.
            let implied = match (&subject, table.role) {
                (Some((_, target)), TableRole::Parent) => target.schema.as_str(),
                _ => table.name.schema.as_str(),
            };
            let needs_schema = new.schema != implied
                || (qualify && !matches!(table.role, TableRole::Parent) && !new.schema.is_empty());
            if needs_schema {
                edits.push((table.name_span.clone(), new.quoted()));
            } else if new.name != table.name.name || table.respelled {
                edits.push((table.name_span.clone(), quote_name(&new.name)));
            }
        }
        if !self.complete && self.mentions(|name| rename(name).is_some_and(|new| new != *name)) {
            let name = TableName::new(self.default_schema.as_str(), "…");
            return Err(self.cannot_rename(&name, &name));
        }
        Ok(apply_edits(&self.statement, edits))
    }

    /// The statement on a database with that database renamed.
    pub fn rewrite_schema(&self, rename: impl Fn(&str) -> Option<String>) -> Vec<u8> {
        let mut edits = Vec::new();
        if let Some(schema) = &self.schema {
            let new = rename(&schema.name).unwrap_or_else(|| schema.name.clone());
            match &schema.span {
                Some(_) if new == schema.name && !schema.respelled => {}
                Some(span) => edits.push((span.clone(), quote_name(&new))),
                // `ALTER DATABASE CHARACTER SET …` means the event's default one, which the session on
                // the target does not have: its name goes in behind.
                None => {
                    if let Some(token) = self.tokens.get(1) {
                        edits.push((token.end..token.end, format!(" {}", quote_name(&new))));
                    }
                }
            }
        }
        apply_edits(&self.statement, edits)
    }

    fn cannot_rename(&self, from: &TableName, to: &TableName) -> Error {
        let what = if from == to {
            format!("cannot rename the tables of this `{}` statement", self.kind)
        } else {
            format!(
                "cannot rename `{from}` to `{to}` in this `{}` statement",
                self.kind
            )
        };
        Error::new(ErrorKind::Unsupported, what)
            .with_fix(
                "a query or a body in it may name tables in ways that cannot be told: write it for the \
                 target by hand (replace the event), or skip the event",
            )
            .at(|c| {
                c.table = (from != to).then(|| from.clone());
                c.statement = Some(String::from_utf8_lossy(&self.statement).into_owned());
            })
    }

    pub(crate) fn cursor(&self) -> Cursor<'_> {
        Cursor::new(&self.statement, self.mode, &self.tokens)
    }

    /// A walk from behind the table's name in a CREATE TABLE or ALTER TABLE.
    pub(crate) fn body(&self) -> Cursor<'_> {
        let mut cursor = self.cursor();
        cursor.go_to(self.body);
        cursor
    }

    pub(super) fn set_body(&mut self, at: usize) {
        self.body = at;
    }
}

/// Puts `edits` (which do not overlap) into `statement`.
pub(crate) fn apply_edits(statement: &[u8], mut edits: Vec<(Range<usize>, String)>) -> Vec<u8> {
    edits.sort_by_key(|(span, _)| (span.start, span.end));
    let mut out = Vec::with_capacity(statement.len() + 32 * edits.len());
    let mut at = 0;
    for (span, text) in edits {
        if span.start < at {
            continue;
        }
        out.extend_from_slice(statement.get(at..span.start).unwrap_or_default());
        out.extend_from_slice(text.as_bytes());
        at = span.end;
    }
    out.extend_from_slice(statement.get(at..).unwrap_or_default());
    out
}
