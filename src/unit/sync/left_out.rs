//! Events that the reader leaves out because the operator said so: those that it cannot read, and
//! statements whose tables are to be read by another structure afterwards.

use std::sync::Arc;

use super::decoder::{Resolved, Tables};
use super::reader::{At, Collector};
use super::transaction::{Item, SourceSession, Statement, Unread};
use crate::binlog::{Event, EventKind, QueryEvent};
use crate::model::{Choice, Decision, Error, ErrorKind, LaterRows, Place, Result, TableName};
use crate::schema::{Ddl, DdlKind, SessionDefaults, SqlMode};
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
        let query = match kind {
            EventKind::QUERY | EventKind::QUERY_COMPRESSED => QueryEvent::parse(event).ok(),
            _ => None,
        };
        let is_inside = self.open.as_ref().is_some_and(|open| open.has_begun);
        if let Some(query) = &query
            && !is_inside
        {
            let schema = String::from_utf8_lossy(query.schema);
            let mode = SqlMode::from_bits(query.status.sql_mode.unwrap_or(0));
            let ddl = Ddl::read(&query.statement, &schema, mode, self.tables.flavor());
            return self.put_in_place(at, event, ddl, &decision);
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
        self.open_at(at).unread.push(unread);
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
            LaterRows::Source | LaterRows::Keep => Vec::new(),
            LaterRows::Typed(texts) => {
                // What is typed without a schema is the table at hand, whatever the session stood in.
                let table = ddl.changed_tables().next();
                let schema = table.map_or(ddl.default_schema(), |table| table.schema.as_str());
                self.tables.take_typed(texts, schema)?
            }
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
        });
        Ok(())
    }
}

impl Tables {
    /// Takes tables as `CREATE TABLE` statements say, in place of what was known of them.
    fn take_typed(&mut self, texts: &[String], schema: &str) -> Result<Vec<Change>> {
        let mut changes = Vec::new();
        for text in texts {
            let ddl = Ddl::read(text.as_bytes(), schema, SqlMode::default(), self.flavor());
            let table = ddl.changed_tables().next().cloned();
            let (DdlKind::CreateTable, Some(table)) = (ddl.kind, table) else {
                return Err(wrong_text(text, "it is no CREATE TABLE"));
            };
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
