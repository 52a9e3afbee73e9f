//! Events that the reader leaves out because the operator said so: those that it cannot read, and
//! statements whose tables are to be read by another structure afterwards.

use std::sync::Arc;

use super::decoder::{Resolved, Tables};
use super::reader::{At, Collector};
use super::transaction::{Item, SourceSession, Statement, Unread};
use crate::binlog::{Event, EventKind, QueryEvent};
use crate::model::{Choice, Decision, Error, ErrorKind, LaterRows, Place, Result, TableName};
use crate::schema::{Ddl, DdlClass, DdlKind, SessionDefaults, SqlMode};
use crate::target::checkpoint::Change;

/// An event larger than this is not kept with the decision that leaves it out.
const KEPT_BYTES: usize = 4 << 20;

impl Collector {
    /// The decision that takes the event here out of the stream.
    fn decision(&self, at: At<'_>) -> Option<Arc<Decision>> {
        let place = at.event_place();
        let (begin, gtid) = match &self.open {
            Some(open) => (open.begin.clone(), open.gtid.as_ref()),
            None => (place.place.clone(), None),
        };
        self.hand
            .of_event(&begin, gtid, &place)
            .filter(|decision| decision.choice == Choice::Skip)
    }

    /// Where the open transaction begins, or the event here.
    pub(super) fn begin_of(&self, at: At<'_>) -> Place {
        match &self.open {
            Some(open) => open.begin.clone(),
            None => at.event_place().place,
        }
    }

    /// Leaves out an event that cannot be read, if that was decided; else the error stands.
    pub(super) fn leave_out(&mut self, at: At<'_>, event: &Event<'_>, error: Error) -> Result<()> {
        let Some(decision) = self.decision(at) else {
            return Err(error);
        };
        let kind = event.header.kind;
        if kind.is_gtid() {
            // Without it, two transactions would become one.
            return Err(error);
        }
        let query = match kind {
            EventKind::QUERY | EventKind::QUERY_COMPRESSED => QueryEvent::parse(event).ok(),
            _ => None,
        };
        let is_inside = self.open.as_ref().is_some_and(|open| open.has_begun);
        if let Some(query) = &query {
            let ddl = self.read_statement(query);
            if !is_inside && may_change_tables(&ddl) {
                return self.put_in_place(at, event, ddl, &decision);
            }
            match ddl.kind {
                DdlKind::Rollback => return self.leave_out_rollback(at, event, query, error),
                // What it ends would be left open.
                DdlKind::Xa => return Err(error),
                _ => {}
            }
        }
        if kind == EventKind::TABLE_MAP {
            // The rows that follow cannot be read either.
            let Some(id) = table_id(event.body) else {
                return Err(error);
            };
            self.maps.insert(id, Resolved::Other);
            self.unread.insert(id, error.message().to_owned());
        }
        let table = error.context().table.clone();
        let text = query.map(|query| String::from_utf8_lossy(&query.statement).into_owned());
        self.keep_unread(at, event, error.message(), text, table);
        if !is_inside {
            self.close_unread(at, event);
        }
        Ok(())
    }

    fn read_statement(&self, query: &QueryEvent<'_>) -> Ddl {
        let (mut ddl, _) = self.tables.read(query);
        if self.tables.tracker.defaults().folds_names {
            ddl.fold_names();
        }
        ddl
    }

    /// Whether the event is a statement by itself that may change how later rows are read.
    pub(super) fn is_own_statement(&self, event: &Event<'_>) -> bool {
        let is_query = matches!(
            event.header.kind,
            EventKind::QUERY | EventKind::QUERY_COMPRESSED
        );
        let is_inside = self.open.as_ref().is_some_and(|open| open.has_begun);
        is_query
            && !is_inside
            && QueryEvent::parse(event)
                .is_ok_and(|query| may_change_tables(&self.read_statement(&query)))
    }

    /// A transaction that the source rolled back, and logged because a part of it could not be: none of
    /// it is applied.
    fn leave_out_rollback(
        &mut self,
        at: At<'_>,
        event: &Event<'_>,
        query: &QueryEvent<'_>,
        error: Error,
    ) -> Result<()> {
        let is_whole = query
            .statement
            .trim_ascii()
            .eq_ignore_ascii_case(b"ROLLBACK");
        let Some(open) = self.open.as_mut().filter(|open| is_whole && !open.is_split) else {
            return Err(error);
        };
        open.drop_rows();
        let text = String::from_utf8_lossy(&query.statement).into_owned();
        self.keep_unread(at, event, error.message(), Some(text), None);
        self.close_unread(at, event);
        Ok(())
    }

    /// Takes down an event that is left out unread.
    pub(super) fn keep_unread(
        &mut self,
        at: At<'_>,
        event: &Event<'_>,
        why: &str,
        statement: Option<String>,
        table: Option<TableName>,
    ) {
        let unread = Unread {
            offset: at.offset,
            inner: at.inner,
            kind: event.header.kind.to_string(),
            table,
            statement,
            why: why.to_owned(),
            body: (event.body.len() <= KEPT_BYTES).then(|| event.body.to_vec()),
        };
        let bytes = unread.body.as_ref().map_or(0, Vec::len) + size_of::<Unread>();
        let open = self.open_at(at);
        open.bytes += bytes;
        open.unread.push(unread);
        self.cut_if_long(at, event);
    }

    /// A statement that does not run by decision, and behind which the tables are read otherwise than
    /// it says; `false` if it is to be carried through the structures as usual.
    pub(super) fn is_put_in_place(
        &mut self,
        at: At<'_>,
        event: &Event<'_>,
        ddl: &Ddl,
    ) -> Result<bool> {
        let Some(decision) = self.decision(at) else {
            return Ok(false);
        };
        // The rows behind a CREATE TABLE … SELECT are in the same transaction: that one goes on.
        let is_inside = self.open.as_ref().is_some_and(|open| open.has_begun);
        if decision.later_rows == LaterRows::Source || is_inside {
            return Ok(false);
        }
        self.put_in_place(at, event, ddl.clone(), &decision)?;
        Ok(true)
    }

    fn put_in_place(
        &mut self,
        at: At<'_>,
        event: &Event<'_>,
        ddl: Ddl,
        decision: &Decision,
    ) -> Result<()> {
        let changes = match &decision.later_rows {
            LaterRows::Source => {
                return Err(Error::new(
                    ErrorKind::Structure,
                    "what the statement made of its tables cannot be read",
                )
                .with_fix(
                    "skip it with `--structure keep`, or with a file that has the `CREATE TABLE`",
                ));
            }
            LaterRows::Keep => Vec::new(),
            LaterRows::Typed(texts) => self.tables.take_typed(texts, &ddl)?,
        };
        self.maps.clear();
        let begin = self.begin_of(at);
        let committed = super::reader::commit_time(self.open.as_ref(), event);
        let gtid = self.open.take().and_then(|open| open.gtid);
        self.push_statement(Statement {
            place: at.event_place(),
            begin,
            end: at.end(),
            gtid,
            committed,
            header: event.header,
            session: SourceSession::default(),
            shown_session: Vec::new(),
            ddl,
            changes,
            schemas: Vec::new(),
            before: Vec::new(),
            runs: false,
            opens: false,
            is_decided: true,
        });
        Ok(())
    }
}

impl Tables {
    /// Takes tables as `CREATE TABLE` statements say, in place of what was known of them.
    fn take_typed(&mut self, texts: &[String], skipped: &Ddl) -> Result<Vec<Change>> {
        // What is typed without a schema is the table at hand, whatever the session stood in.
        let first = skipped.changed_tables().next();
        let schema = first.map_or(skipped.default_schema(), |table| table.schema.as_str());
        let mut changes = Vec::new();
        for text in texts {
            let mut ddl = Ddl::read(text.as_bytes(), schema, SqlMode::default(), self.flavor());
            if self.tracker.defaults().folds_names {
                ddl.fold_names();
            }
            let table = ddl.changed_tables().next().cloned();
            let (DdlKind::CreateTable, Some(table)) = (ddl.kind, table) else {
                return Err(wrong_text(text, "it is no CREATE TABLE"));
            };
            let is_meant = skipped.changed_tables().any(|changed| *changed == table)
                || skipped.mentions(|named| *named == table);
            if !is_meant {
                return Err(wrong_text(text, "the statement does not name that table"));
            }
            let before = self.tracker.remove(&table);
            let taken = self.tracker.apply_in(&ddl, &SessionDefaults::default());
            let structure = self.tracker.get(&table).map(Arc::unwrap_or_clone);
            let failed = match (taken, structure) {
                (Ok(_), Some(structure)) => {
                    changes.push(Change {
                        table,
                        structure: Some(structure),
                    });
                    continue;
                }
                (Ok(_), None) => wrong_text(text, "it makes no table"),
                (Err(error), _) => wrong_text(text, error.message()),
            };
            if let Some(before) = before {
                self.tracker.insert(&before);
            }
            return Err(failed);
        }
        self.forget();
        Ok(changes)
    }
}

/// Whether a statement may change how later rows are read.
fn may_change_tables(ddl: &Ddl) -> bool {
    matches!(
        ddl.class(),
        DdlClass::Table | DdlClass::Database | DdlClass::Unknown
    )
}

fn wrong_text(text: &str, why: &str) -> Error {
    let shown = super::view::shorten(text, 200);
    Error::new(
        ErrorKind::Structure,
        format!("the structure given for later rows cannot be used: {why}: `{shown}`"),
    )
    .with_fix("give the `CREATE TABLE` as `SHOW CREATE TABLE` prints it at the source")
}

/// The number of the table in a table map that cannot be read.
fn table_id(body: &[u8]) -> Option<u64> {
    let bytes: [u8; 6] = body.get(..6)?.try_into().ok()?;
    Some(
        bytes
            .iter()
            .rev()
            .fold(0, |id, byte| id << 8 | u64::from(*byte)),
    )
}

impl Collector {
    fn push_statement(&mut self, statement: Statement) {
        self.items.push(Item::Statement(Box::new(statement)));
    }
}
