//! From the relay log's events to whole transactions.
//!
//! MariaDB's GTID event opens a transaction, or announces one statement; MySQL's is followed by
//! `BEGIN`, or by one statement. What closes it is an XID event, `COMMIT`, or the statement itself.
//! Rows of tables that are not selected are not even copied.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

pub(super) use super::at::At;
use super::ddl::{self, Verdict};
use super::decoder::{Resolved, Tables, logs_cascades};
use super::failure::{FailedEvent, Failure};
use super::hand::Hand;
use super::session::source_session;
use super::statement::Checks;
use super::transaction::{
    CommitTime, Item, Passed, RowsPart, SourceSession, Statement, Transaction, Unread,
};
use super::view;
use super::xa::Replay;
use crate::binlog::rows::RowAction;
use crate::binlog::simple::parse_rows_query;
use crate::binlog::{
    AlterPhase, Event, EventKind, FormatDescription, GtidEvent, Payload, PayloadEvents, QueryEvent,
    RowsEvent,
};
use crate::model::{Error, ErrorKind, Gtid, Place, Result, TableName, Timestamp, TransactionView};
use crate::route::FilterAction;
use crate::schema::{Ddl, DdlKind};
use crate::target::{Mark, PartDone, PreparedXa, XaChange};

/// Puts events together.
#[derive(Debug)]
pub(super) struct Collector {
    pub(super) tables: Tables,
    /// What the operator decided.
    pub(super) hand: Arc<Hand>,
    format: Option<Arc<FormatDescription>>,
    pub(super) open: Option<Open>,
    /// The tables of the current statement, by number; `None`: not selected.
    pub(super) maps: HashMap<u64, Resolved>,
    /// Those whose map could not be read and is left out by decision, with the reason.
    pub(super) unread: HashMap<u64, String>,
    annotation: Option<Arc<str>>,
    /// XA transactions that wait for their end, oldest first.
    pub(super) prepared: Vec<PreparedXa>,
    /// What must be read again before the next event.
    pub(super) wanted: Option<Replay>,
    /// What is being read again.
    pub(super) replaying: Option<Replay>,
    /// A transaction that grows beyond this is handed on in parts.
    part_bytes: usize,
    /// Of which transaction a part is in the target already, and how far.
    done: Option<PartDone>,
    pub(super) items: Vec<Item>,
}

/// A transaction under way.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) begin: Place,
    pub(super) gtid: Option<Gtid>,
    committed_at: Option<Timestamp>,
    /// Whether rows and statements belong to it until its end is read; else one statement is all.
    pub(super) has_begun: bool,
    /// Whether it is an XA transaction: whether its rows will ever count is not known yet.
    pub(super) is_xa: bool,
    /// The tables of the task that it changes, if it is one.
    pub(super) xa_tables: BTreeSet<TableName>,
    events: Vec<RowsPart>,
    pub(super) unread: Vec<Unread>,
    passed: u64,
    pub(super) bytes: usize,
    /// Whether a part of it was handed on.
    pub(super) is_split: bool,
    /// Which part of a two-phase ALTER it is.
    alter: Option<AlterPhase>,
    /// The CREATE TABLE that it begins with, whose rows follow. It is handed on before the first of
    /// them, when the transaction is known to have its end.
    opening: Option<Box<Statement>>,
}

impl Collector {
    /// Begins at a mark: between transactions, behind its prepared XA transactions, and without what is
    /// in the target of the next one. `part_bytes` bounds what is held of one.
    pub(super) fn new(tables: Tables, part_bytes: usize, mark: &Mark, hand: Arc<Hand>) -> Self {
        Self {
            tables,
            hand,
            format: None,
            open: None,
            maps: HashMap::new(),
            unread: HashMap::new(),
            annotation: None,
            prepared: mark.prepared.clone(),
            wanted: None,
            replaying: None,
            part_bytes,
            done: mark.part.clone(),
            items: Vec::new(),
        }
    }

    /// What is complete by now.
    pub(super) fn take_items(&mut self) -> Vec<Item> {
        std::mem::take(&mut self.items)
    }

    /// Whether a transaction is under way.
    pub(super) fn is_inside(&self) -> bool {
        self.open.is_some()
    }

    /// Passes over an event of a transaction that came from another server before.
    pub(super) fn pass_received(&mut self, at: At<'_>) {
        self.pass(at.end(), None, 0, None);
    }

    /// Takes the next event. After an error it takes no more.
    pub(super) fn push(
        &mut self,
        at: At<'_>,
        event: &Event<'_>,
        format: &FormatDescription,
    ) -> Result<(), Box<Failure>> {
        self.take_format(format);
        self.step(at, event, format)
            .or_else(|error| self.leave_out(at, event, error))
            .map_err(|error| Box::new(self.fail(at, event, format, error)))
    }

    fn take_format(&mut self, format: &FormatDescription) {
        if self.format.as_deref() != Some(format) {
            // Another file, maybe of a newer server.
            self.format = Some(Arc::new(format.clone()));
            self.tables.forget();
        }
    }

    /// Opens a compressed transaction, whose events are then taken one by one: so what is complete of it
    /// can be handed on before the rest is decompressed.
    pub(super) fn open_payload<'a>(
        &mut self,
        at: At<'_>,
        event: &Event<'a>,
        format: &FormatDescription,
    ) -> Result<PayloadEvents<'a>, Box<Failure>> {
        self.take_format(format);
        Payload::parse(event.body)
            .and_then(|payload| payload.events())
            .map_err(|error| Box::new(self.fail(at, event, format, error)))
    }

    /// Takes the next event of a compressed transaction; `false` behind the last.
    pub(super) fn push_inner(
        &mut self,
        at: At<'_>,
        event: &Event<'_>,
        events: &mut PayloadEvents<'_>,
        format: &FormatDescription,
    ) -> Result<bool, Box<Failure>> {
        let at = At {
            inner: Some(events.count()),
            ..at
        };
        self.step_inner(at, events, format)
            .map_err(|error| Box::new(self.fail(at, event, format, error)))
    }

    fn step_inner(
        &mut self,
        at: At<'_>,
        events: &mut PayloadEvents<'_>,
        format: &FormatDescription,
    ) -> Result<bool> {
        let Some(bytes) = events.next_event()? else {
            return Ok(false);
        };
        let inner = format.open_inner(bytes)?;
        self.step(at, &inner, format)
            .or_else(|error| self.leave_out(at, &inner, error))?;
        Ok(true)
    }

    fn fail(
        &self,
        at: At<'_>,
        event: &Event<'_>,
        format: &FormatDescription,
        error: Error,
    ) -> Failure {
        let place = at.event_place();
        let error = error.at(|c| c.place = Some(place.place.clone()));
        let gtid = self.open.as_ref().and_then(|open| open.gtid.clone());
        let mut shown = view::of_event(&place, at.end_offset, event, format);
        shown.gtid = gtid.map(|gtid| gtid.to_string());
        if matches!(
            event.header.kind,
            EventKind::QUERY | EventKind::QUERY_COMPRESSED
        ) && let Ok(query) = QueryEvent::parse(event)
        {
            let session = source_session(event, &query, format);
            shown.session = session.describe(self.collations());
        }
        Failure {
            event: Some(Box::new(FailedEvent {
                stop_id: super::failure::stop_id(&place),
                table: error
                    .context()
                    .table
                    .clone()
                    .or_else(|| shown.table.clone()),
                statement: None,
                repair: None,
                target_rows: Vec::new(),
                later_applied: 0,
                view: shown,
                transaction: TransactionView {
                    is_statement: self.is_own_statement(event),
                    ..view::transaction_so_far(&self.begin_of(at), self.open_events())
                },
                place,
            })),
            error,
        }
    }

    /// The events of the open transaction that were not handed on yet.
    fn open_events(&self) -> &[RowsPart] {
        self.open
            .as_ref()
            .map_or(&[], |open| open.events.as_slice())
    }

    fn step(&mut self, at: At<'_>, event: &Event<'_>, format: &FormatDescription) -> Result<()> {
        let kind = event.header.kind;
        match kind {
            kind if kind.is_gtid() => self.begin(at, &GtidEvent::parse(event)?),
            EventKind::QUERY | EventKind::QUERY_COMPRESSED => {
                self.query(at, event, &QueryEvent::parse(event)?, format)
            }
            EventKind::TABLE_MAP => self.table_map(event, format),
            kind if kind.is_rows() => self.rows(at, event, format),
            EventKind::XID => {
                self.commit(at, event);
                Ok(())
            }
            EventKind::XA_PREPARE => self.prepare(at, event),
            EventKind::TRANSACTION_PAYLOAD => self.payload(at, event, format),
            EventKind::ROWS_QUERY => {
                self.annotate(parse_rows_query(event.body)?);
                Ok(())
            }
            EventKind::ANNOTATE_ROWS => {
                self.annotate(event.body);
                Ok(())
            }
            EventKind::FORMAT_DESCRIPTION
            | EventKind::ROTATE
            | EventKind::STOP
            | EventKind::PREVIOUS_GTIDS
            | EventKind::GTID_LIST => {
                self.between(at);
                self.pass(at.end(), None, 0, None);
                Ok(())
            }
            EventKind::BINLOG_CHECKPOINT
            | EventKind::START_ENCRYPTION
            | EventKind::HEARTBEAT
            | EventKind::HEARTBEAT_V2
            | EventKind::IGNORABLE
            | EventKind::TRANSACTION_CONTEXT
            | EventKind::VIEW_CHANGE => {
                if self.open.is_none() {
                    self.pass(at.end(), None, 0, None);
                }
                Ok(())
            }
            // They belong to a statement that follows, which decides.
            EventKind::INTVAR
            | EventKind::RAND
            | EventKind::USER_VAR
            | EventKind::BEGIN_LOAD_QUERY
            | EventKind::APPEND_BLOCK
            | EventKind::DELETE_FILE => Ok(()),
            EventKind::EXECUTE_LOAD_QUERY => Err(ddl::statement_rows("LOAD DATA", None)),
            EventKind::INCIDENT => Err(Error::new(
                ErrorKind::Unsupported,
                "an INCIDENT event: the source lost changes that its binlog should hold",
            )
            .with_fix(
                "read the source's error log; rows changed then may be missing from every replica, \
                 so copy the tables anew",
            )),
            kind if event.header.is_ignorable() => {
                tracing::debug!(%kind, "an ignorable event is passed over");
                match &mut self.open {
                    Some(open) => open.passed += 1,
                    None => self.pass(at.end(), None, 1, None),
                }
                Ok(())
            }
            kind => Err(Error::new(
                ErrorKind::Unsupported,
                format!("event kind {kind} is not known to this program"),
            )
            .with_fix("use a version of Tideway that knows it")),
        }
    }

    fn begin(&mut self, at: At<'_>, gtid: &GtidEvent<'_>) -> Result<()> {
        if let Some(open) = &self.open
            && open.has_rows()
        {
            // A crash of the source begins a new file; within one, nothing is guessed to be undone.
            return Err(Error::new(
                ErrorKind::Damaged,
                format!(
                    "a transaction begins here before the one at {} has ended",
                    open.begin
                ),
            ));
        }
        self.between(at);
        let (mut has_begun, mut is_xa, mut alter) = (false, false, None);
        if let GtidEvent::MariaDb(event) = gtid {
            alter = event.alter;
            has_begun = !event.is_standalone();
            is_xa = event.is_prepared_xa();
        }
        let mut open = Open::new(at.place(at.offset));
        open.gtid = match &self.replaying {
            Some(replay) => replay.gtid.clone(),
            None => gtid.gtid(),
        };
        open.committed_at = gtid.committed_at();
        open.has_begun = has_begun;
        open.is_xa = is_xa && self.replaying.is_none();
        open.alter = alter;
        self.open = Some(open);
        Ok(())
    }

    /// No transaction can be open here; one that is was cut off by a crash of the source before its
    /// commit.
    fn between(&mut self, at: At<'_>) {
        self.maps.clear();
        self.unread.clear();
        self.annotation = None;
        if let Some(open) = self.open.take() {
            if open.is_split {
                self.items.push(Item::Abandoned(open.begin.clone()));
            }
            tracing::warn!(begin = %open.begin, at = %at.place(at.offset), "a transaction without its end was not committed at the source");
        }
    }

    fn query(
        &mut self,
        at: At<'_>,
        event: &Event<'_>,
        query: &QueryEvent<'_>,
        format: &FormatDescription,
    ) -> Result<()> {
        let text = query.statement.as_ref();
        let word = text.trim_ascii();
        // The straight path of MySQL's transactions needs no tokens.
        if word.eq_ignore_ascii_case(b"BEGIN") {
            self.open_at(at).has_begun = true;
            return Ok(());
        }
        if word.eq_ignore_ascii_case(b"COMMIT") {
            self.commit(at, event);
            return Ok(());
        }
        let (ddl, client) = self.tables.read(query);
        match ddl.kind {
            DdlKind::Begin => {
                self.open_at(at).has_begun = true;
                Ok(())
            }
            DdlKind::Commit => {
                self.commit(at, event);
                Ok(())
            }
            DdlKind::Rollback => self.rollback(at, word),
            DdlKind::Savepoint => Ok(()),
            DdlKind::Xa => self.xa(at, event, word),
            _ => {
                let mut session = source_session(event, query, format);
                session.client = client;
                self.statement(at, event, query, session, ddl)
            }
        }
    }

    fn collations(&self) -> &BTreeMap<u16, String> {
        &self.tables.tracker.defaults().collations
    }

    pub(super) fn open_at(&mut self, at: At<'_>) -> &mut Open {
        self.open
            .get_or_insert_with(|| Open::new(at.place(at.offset)))
    }

    fn rollback(&mut self, at: At<'_>, text: &[u8]) -> Result<()> {
        let is_whole = text.eq_ignore_ascii_case(b"ROLLBACK");
        let has_rows = self.open.as_ref().is_some_and(Open::has_rows);
        if has_rows {
            return Err(Error::new(
                ErrorKind::Unsupported,
                "a transaction that was rolled back is in the binlog, because it also changed a table \
                 whose engine cannot roll back",
            )
            .with_fix("use InnoDB for the tables of the task at the source"));
        }
        if is_whole {
            let gtid = self.open.take().and_then(|open| open.gtid);
            self.maps.clear();
            self.pass(at.end(), gtid, 1, None);
        }
        Ok(())
    }

    fn payload(&mut self, at: At<'_>, event: &Event<'_>, format: &FormatDescription) -> Result<()> {
        let mut events = Payload::parse(event.body)?.events()?;
        loop {
            let inner = Some(events.count());
            if !self.step_inner(At { inner, ..at }, &mut events, format)? {
                return Ok(());
            }
        }
    }

    fn annotate(&mut self, text: &[u8]) {
        self.annotation = Some(Arc::from(String::from_utf8_lossy(text).as_ref()));
    }

    fn table_map(&mut self, event: &Event<'_>, format: &FormatDescription) -> Result<()> {
        let (id, table) = self.tables.resolve(event, format)?;
        self.maps.insert(id, table);
        Ok(())
    }

    fn rows(&mut self, at: At<'_>, event: &Event<'_>, format: &FormatDescription) -> Result<()> {
        let rows = RowsEvent::parse(event, format)?;
        let id = rows.table_id;
        let Some(table) = self.maps.get(&id) else {
            return Err(Error::new(
                ErrorKind::Damaged,
                format!("rows of table number {id} without its table map"),
            ));
        };
        let table = match table {
            Resolved::Taken(table) => Arc::clone(table),
            Resolved::Parent(parent) => {
                if !rows.no_foreign_key_checks() {
                    parent.expect_still(&rows)?;
                }
                self.open_at(at).passed += 1;
                return Ok(());
            }
            Resolved::Other => {
                match self.unread.get(&id).cloned() {
                    Some(why) => self.keep_unread(at, event, &why, None, None),
                    None => self.open_at(at).passed += 1,
                }
                return Ok(());
            }
        };
        let kind = match rows.action {
            RowAction::Insert => crate::route::EventKind::Insert,
            RowAction::Update => crate::route::EventKind::Update,
            RowAction::Delete => crate::route::EventKind::Delete,
        };
        match self.tables.filter(&table.map.table, kind, None) {
            None => {}
            Some(FilterAction::Ignore) => {
                self.open_at(at).passed += 1;
                return Ok(());
            }
            Some(FilterAction::Error) => {
                return Err(ddl::forbidden(&table.map.table, kind.name()));
            }
        }
        let open = self
            .open
            .get_or_insert_with(|| Open::new(at.place(at.offset)));
        if open.is_xa {
            open.xa_tables.insert(table.map.table.clone());
            return Ok(());
        }
        if let Some(done) = &self.done
            && done.is_of_another(&open.begin, open.gtid.as_ref())
        {
            let was = done.gtid.as_deref().unwrap_or("none");
            return Err(Error::new(
                ErrorKind::History,
                format!(
                    "a part of the transaction at {} is in the target, but the source has another \
                     transaction there now: its GTID was {was}",
                    open.begin
                ),
            )
            .with_fix(
                "the source has lost the end of its binlog: compare the transaction's tables, settle them \
                 by hand, or copy them anew",
            ));
        }
        if let Some(done) = &self.done
            && done.covers(&open.begin, at.offset, at.inner)
        {
            // What is behind it is a part of it all the same.
            open.is_split = true;
            return Ok(());
        }
        let checks = Checks {
            // Since 9.6 MySQL logs what its cascades change, so they must not run a second time.
            no_foreign_keys: rows.no_foreign_key_checks() || logs_cascades(format),
            relaxed_unique: rows.relaxed_unique_checks(),
        };
        let ends_statement = rows.ends_statement();
        let part = RowsPart {
            offset: at.offset,
            end_offset: at.end_offset,
            inner: at.inner,
            header: event.header,
            body: event.body.to_vec(),
            table,
            format: self.format(format),
            checks,
            annotation: self.annotation.clone(),
        };
        let bytes = part.body.len() + size_of::<RowsPart>();
        let open = self.open_at(at);
        open.bytes += bytes;
        open.events.push(part);
        self.cut_if_long(at, event);
        if ends_statement {
            self.annotation = None;
        }
        Ok(())
    }

    /// Hands on what is there of a transaction that grows too long to be held.
    pub(super) fn cut_if_long(&mut self, at: At<'_>, event: &Event<'_>) {
        let limit = self.part_bytes;
        let open = self.open_at(at);
        if open.bytes > limit {
            let opening = open.opening.take();
            let mut part = open.part(at.end(), commit_time(None, event));
            if let Some(replay) = &self.replaying {
                // What was prepared takes effect where it is committed, and is as old as that.
                replay.date(&mut part);
            }
            self.items.extend(opening.map(Item::Statement));
            self.items.push(Item::Rows(Box::new(part)));
        }
    }

    fn format(&mut self, format: &FormatDescription) -> Arc<FormatDescription> {
        Arc::clone(self.format.get_or_insert_with(|| Arc::new(format.clone())))
    }

    fn statement(
        &mut self,
        at: At<'_>,
        event: &Event<'_>,
        query: &QueryEvent<'_>,
        session: SourceSession,
        mut ddl: Ddl,
    ) -> Result<()> {
        self.refuse_prepared(&ddl)?;
        if self.is_put_in_place(at, event, &ddl)? {
            return Ok(());
        }
        let open = self.open.as_ref();
        let has_begun = open.is_some_and(|open| open.has_begun);
        // A two-phase ALTER takes effect with its COMMIT, which has the whole statement once more.
        if let Some(AlterPhase::Start | AlterPhase::Rollback { .. }) =
            open.and_then(|open| open.alter)
        {
            let gtid = self.open.take().and_then(|open| open.gtid);
            self.pass(at.end(), gtid, 1, None);
            return Ok(());
        }
        // CREATE TABLE … SELECT: the table and its rows are one transaction at the source.
        let opens = has_begun
            && ddl.kind == DdlKind::CreateTable
            && open.is_some_and(|open| !open.has_rows() && open.opening.is_none());
        ddl.if_exists |= session.if_exists;
        if self.tables.tracker.defaults().folds_names {
            ddl.fold_names();
        }
        match self
            .tables
            .decide(&ddl, query, &session, has_begun && !opens)?
        {
            Verdict::Pass => {
                self.items
                    .extend(self.tables.left_out(&ddl).map(Item::Note));
                if has_begun {
                    self.open_at(at).passed += 1;
                } else {
                    let gtid = self.open.take().and_then(|open| open.gtid);
                    self.pass(at.end(), gtid, 1, None);
                }
            }
            Verdict::Barrier {
                changes,
                schemas,
                before,
                runs,
            } => {
                if has_begun && !opens {
                    return Err(ddl::inside_transaction(&ddl));
                }
                let committed = commit_time(self.open.as_ref(), event);
                self.maps.clear();
                let statement = Box::new(Statement {
                    place: at.event_place(),
                    begin: self.begin_of(at),
                    end: at.end(),
                    gtid: self.open.as_ref().and_then(|open| open.gtid.clone()),
                    committed,
                    header: event.header,
                    shown_session: session.describe(self.collations()),
                    session,
                    ddl,
                    changes,
                    schemas,
                    before,
                    runs,
                    opens,
                    is_decided: false,
                });
                if opens {
                    self.open_at(at).opening = Some(statement);
                } else {
                    self.open = None;
                    self.items.push(Item::Statement(statement));
                }
            }
        }
        Ok(())
    }

    /// Hands on what was left out of an event that is a transaction by itself.
    pub(super) fn close_unread(&mut self, at: At<'_>, event: &Event<'_>) {
        self.commit(at, event);
    }

    fn commit(&mut self, at: At<'_>, event: &Event<'_>) {
        let committed = commit_time(self.open.as_ref(), event);
        self.close(at.end(), committed, None);
    }

    /// Hands on the open transaction, whose commit ends there.
    pub(super) fn close(&mut self, end: Place, committed: CommitTime, xa: Option<String>) {
        self.maps.clear();
        self.unread.clear();
        self.annotation = None;
        let Some(mut open) = self.open.take() else {
            self.pass(end, None, 0, xa.map(XaChange::Ended));
            return;
        };
        self.items.extend(open.opening.take().map(Item::Statement));
        if !open.has_rows() {
            self.pass(end, open.gtid, open.passed, xa.map(XaChange::Ended));
            return;
        }
        self.items.push(Item::Rows(Box::new(Transaction {
            begin: open.begin,
            end,
            gtid: open.gtid,
            committed,
            events: open.events,
            unread: open.unread,
            passed: open.passed,
            bytes: open.bytes,
            is_first: !open.is_split,
            is_last: true,
            xa,
        })));
    }

    pub(super) fn pass(
        &mut self,
        end: Place,
        gtid: Option<Gtid>,
        events: u64,
        xa: Option<XaChange>,
    ) {
        if gtid.is_none()
            && xa.is_none()
            && let Some(Item::Passed(last)) = self.items.last_mut()
        {
            last.end = end;
            last.events += events;
            return;
        }
        self.items.push(Item::Passed(Box::new(Passed {
            end,
            gtid,
            events,
            xa,
        })));
    }
}

impl Open {
    fn new(begin: Place) -> Self {
        Self {
            begin,
            gtid: None,
            committed_at: None,
            has_begun: false,
            is_xa: false,
            xa_tables: BTreeSet::new(),
            events: Vec::new(),
            unread: Vec::new(),
            passed: 0,
            bytes: 0,
            is_split: false,
            alter: None,
            opening: None,
        }
    }

    /// Forgets the rows that it has.
    pub(super) fn drop_rows(&mut self) {
        self.events.clear();
        self.bytes = 0;
    }

    /// Whether it has changed anything of the task.
    pub(super) fn has_rows(&self) -> bool {
        self.is_split || !self.events.is_empty() || !self.unread.is_empty()
    }

    /// Hands on what is there of a long transaction.
    fn part(&mut self, end: Place, so_far: CommitTime) -> Transaction {
        Transaction {
            begin: self.begin.clone(),
            end,
            gtid: self.gtid.clone(),
            // It is not committed yet at the source either: at least as far behind as its rows.
            committed: so_far,
            events: std::mem::take(&mut self.events),
            unread: std::mem::take(&mut self.unread),
            passed: std::mem::take(&mut self.passed),
            bytes: std::mem::take(&mut self.bytes),
            is_first: !std::mem::replace(&mut self.is_split, true),
            is_last: false,
            xa: None,
        }
    }
}

/// MySQL 8 tells the commit to the microsecond; else the event's seconds are all there is.
pub(super) fn commit_time(open: Option<&Open>, event: &Event<'_>) -> CommitTime {
    match open.and_then(|open| open.committed_at) {
        Some(at) => CommitTime {
            at,
            resolution_micros: 1,
        },
        None => CommitTime {
            at: Timestamp::from_seconds(u64::from(event.header.timestamp)),
            resolution_micros: 1_000_000,
        },
    }
}
