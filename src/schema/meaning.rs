//! What a statement leaves to the settings of its session, written into its text: default character
//! sets and collations, and what TIMESTAMP alone means.

use std::ops::Range;

use super::collations::{self, supports_charset};
use super::cursor::Cursor;
use super::ddl::Ddl;
use super::dialect::{Adapter, span_of};
use super::structure::Structure;
use super::tracker::ServerDefaults;
use crate::model::Result;

/// What the source makes of a statement, so that the target makes the same of it. Settings of a session
/// that need a privilege are not set on the target: what they mean is written into the statement.
#[derive(Clone, Copy, Debug)]
pub struct Meaning<'a> {
    /// The source's settings, as the statement's session had them.
    pub source: &'a ServerDefaults,
    /// The target's.
    pub target: &'a ServerDefaults,
    /// The statement's table as the source has it afterwards, where it has one.
    pub after: Option<&'a Structure>,
}

impl Adapter<'_> {
    /// The columns that an ALTER TABLE adds or changes.
    pub(super) fn clauses(&mut self, ddl: &Ddl) -> Result<()> {
        let body = ddl.body();
        for clause in body.split_at_commas(body.at()..body.len()) {
            let mut c = body.within(clause);
            let is_change = c.is("change");
            if !c.eat_any(&["add", "modify", "change"]) || c.is("partition") {
                continue;
            }
            c.eat(&["column"]);
            let _ = c.eat(&["if", "not", "exists"]) || c.eat(&["if", "exists"]);
            if is_change {
                let _ = c.name();
            }
            if c.is_punctuation(b'(') {
                let group = c.group().unwrap_or(0..0);
                for part in c.split_at_commas(group) {
                    self.column(&c.within(part))?;
                }
            } else {
                self.column(&c)?;
            }
        }
        Ok(())
    }

    /// What a TIMESTAMP leaves unsaid means something else where `explicit_defaults_for_timestamp` is
    /// set otherwise; the cursor stands at the type.
    pub(super) fn timestamp(&mut self, c: &Cursor<'_>, name: &str) {
        let Some(meaning) = self.meaning else { return };
        let (here, there) = (
            meaning.source.explicit_timestamps,
            meaning.target.explicit_timestamps,
        );
        if here == there || !c.is("timestamp") {
            return;
        }
        let mut c = c.clone();
        let Some(word) = c.advance() else { return };
        let mut digits = String::new();
        let mut end = word.end;
        if c.is_punctuation(b'(') {
            let group = c.group().unwrap_or(0..0);
            digits = format!("({})", c.text(group.clone()));
            end = span_of(&c, group.start, group.end).end;
        }
        let (mut says_null, mut has_default) = (false, false);
        while !c.is_done() {
            says_null |= c.is("null");
            has_default |= c.is("default") || (c.is("on") && c.is_at(1, "update"));
            if c.is_any(&["as", "generated"]) {
                return;
            }
            if c.is("default") && c.is_at(1, "null") {
                c.advance();
            }
            if c.group().is_none() {
                c.advance();
            }
        }
        let updates = meaning.after.is_some_and(|after| {
            after
                .column_index(name)
                .and_then(|index| after.columns.get(index))
                .is_some_and(|column| column.auto_update)
        });
        let text = match (here, says_null, has_default) {
            (true, false, _) => " NULL".to_owned(),
            (true, true, _) | (false, true, true) => return,
            (false, said, true) => if said { "" } else { " NOT NULL" }.to_owned(),
            (false, said, false) => {
                let null = if said { "" } else { " NOT NULL" };
                if updates {
                    format!(
                        "{null} DEFAULT CURRENT_TIMESTAMP{digits} ON UPDATE CURRENT_TIMESTAMP{digits}"
                    )
                } else if said {
                    return;
                } else {
                    format!("{null} DEFAULT '0000-00-00 00:00:00'")
                }
            }
        };
        self.edits.push((end..end, text));
        self.note(format!(
            "wrote what TIMESTAMP alone means at the source for column `{name}`: \
             explicit_defaults_for_timestamp is set otherwise on the target"
        ));
    }

    /// Writes the source's default character set into a CREATE TABLE that names none.
    pub(super) fn table_default(&mut self, ddl: &Ddl, list: &Range<usize>, default: (&str, &str)) {
        let mut c = ddl.cursor();
        c.go_to(list.end);
        let Some(close) = c.advance() else { return };
        while !c.is_done() && !c.is("partition") {
            if c.is_any(&["charset", "collate"]) || (c.is("character") && c.is_at(1, "set")) {
                return;
            }
            if c.is_punctuation(b'(') {
                c.group();
            } else {
                c.advance();
            }
        }
        let charset = if supports_charset(default.0, self.to) {
            default.0
        } else {
            "utf8mb4"
        };
        let collation = collations::for_target(default.1, self.from, self.to);
        self.edits.push((
            close.end..close.end,
            format!(" DEFAULT CHARSET={charset} COLLATE={collation}"),
        ));
    }

    /// Writes the source's default character set into a CREATE DATABASE that names none.
    pub(super) fn database_default(&mut self, ddl: &Ddl, source: &ServerDefaults) {
        let mut c = ddl.body();
        while !c.is_done() {
            if c.is_any(&["charset", "collate"]) || (c.is("character") && c.is_at(1, "set")) {
                return;
            }
            c.advance();
        }
        let Some(span) = ddl.schema.as_ref().and_then(|schema| schema.span.clone()) else {
            return;
        };
        let charset = if supports_charset(&source.charset, self.to) {
            source.charset.as_str()
        } else {
            "utf8mb4"
        };
        let collation = collations::for_target(&source.collation, self.from, self.to);
        self.edits.push((
            span.end..span.end,
            format!(" DEFAULT CHARACTER SET {charset} COLLATE {collation}"),
        ));
    }
}
