//! XA transactions: what one changes is logged at its XA PREPARE, and takes effect at its XA COMMIT.
//!
//! The rows of a prepared one are not kept. Its place is, with the checkpoint, and at XA COMMIT the
//! relay log is read again from there. So it matters neither how long one stays open, nor how big it
//! is, nor what restarts in between; and the relay log is needed from the oldest one on.
//!
//! The rows are then read by the structures at XA COMMIT. They are those at XA PREPARE too, because a
//! statement that changes a table of a prepared transaction stops the stream.

use super::reader::{At, Collector, commit_time};
use super::transaction::{CommitTime, Transaction};
use crate::binlog::{Event, XaPrepareEvent};
use crate::model::{Error, ErrorKind, Gtid, Place, Result, TableName};
use crate::schema::Ddl;
use crate::target::{PreparedXa, XaChange};

/// A transaction that was passed over, and is to be read again because it is committed now.
#[derive(Clone, Debug)]
pub(super) struct Replay {
    /// Where it starts.
    pub(super) begin: Place,
    /// Where what committed it ends.
    end: Place,
    /// The id of what committed it.
    pub(super) gtid: Option<Gtid>,
    committed: CommitTime,
    /// Its name, if it was prepared.
    name: Option<String>,
}

impl Replay {
    /// Dates a part of it by what committed it.
    pub(super) fn date(&self, part: &mut Transaction) {
        part.end = self.end.clone();
        part.committed = self.committed;
        part.xa.clone_from(&self.name);
    }
}

impl Collector {
    /// The transaction that must be read again before anything else is.
    pub(super) fn take_replay(&mut self) -> Option<Replay> {
        self.wanted.take()
    }

    /// The events that come next are those of `replay`, from its start on.
    pub(super) fn begin_replay(&mut self, replay: Replay) {
        self.replaying = Some(replay);
    }

    /// Whether the transaction that is read again has not ended yet.
    pub(super) fn is_replaying(&self) -> bool {
        self.replaying.is_some()
    }

    /// A statement that begins with `XA`.
    pub(super) fn xa(&mut self, at: At<'_>, event: &Event<'_>, text: &[u8]) -> Result<()> {
        let text = String::from_utf8_lossy(text);
        let upper = text.to_ascii_uppercase();
        if upper.starts_with("XA START") || upper.starts_with("XA BEGIN") {
            let is_held = self.replaying.is_none();
            let open = self.open_at(at);
            open.has_begun = true;
            open.is_xa = is_held;
            return Ok(());
        }
        let commits = upper.starts_with("XA COMMIT");
        let name = upper
            .strip_prefix("XA COMMIT")
            .or_else(|| upper.strip_prefix("XA ROLLBACK"));
        let Some(name) = name.map(str::trim) else {
            return Ok(());
        };
        let committed = commit_time(self.open.as_ref(), event);
        let gtid = self.open.take().and_then(|open| open.gtid);
        let Some(known) = self.prepared.iter().position(|known| known.name == name) else {
            if commits {
                return Err(Error::new(
                    ErrorKind::Unsupported,
                    format!("`{text}` commits an XA transaction whose changes were not seen"),
                )
                .with_fix("it was prepared before the stream began; copy its tables anew"));
            }
            self.pass(at.end(), gtid, 1, None);
            return Ok(());
        };
        let prepared = self.prepared.remove(known);
        if !commits || prepared.tables.is_empty() {
            self.pass(at.end(), gtid, 1, Some(XaChange::Ended(prepared.name)));
            return Ok(());
        }
        self.wanted = Some(Replay {
            begin: prepared.begin,
            end: at.end(),
            gtid,
            committed,
            name: Some(prepared.name),
        });
        Ok(())
    }

    /// XA PREPARE, or XA COMMIT in one phase.
    pub(super) fn prepare(&mut self, at: At<'_>, event: &Event<'_>) -> Result<()> {
        let prepare = XaPrepareEvent::parse(event.body)?;
        if let Some(replay) = self.replaying.take() {
            self.close(replay.end, replay.committed, replay.name);
            return Ok(());
        }
        let committed = commit_time(self.open.as_ref(), event);
        let Some(open) = self.open.take() else {
            return Err(Error::new(
                ErrorKind::Damaged,
                "an XA transaction ends that has not begun",
            ));
        };
        if open.has_rows() {
            return Err(Error::new(
                ErrorKind::Damaged,
                "an XA transaction has changes in front of its `XA START`",
            ));
        }
        self.maps.clear();
        if prepare.one_phase {
            if open.xa_tables.is_empty() {
                self.pass(at.end(), open.gtid, 1, None);
            } else {
                self.wanted = Some(Replay {
                    begin: open.begin,
                    end: at.end(),
                    gtid: open.gtid,
                    committed,
                    name: None,
                });
            }
            return Ok(());
        }
        let prepared = PreparedXa {
            name: name(&prepare),
            begin: open.begin,
            end: at.end(),
            tables: open.xa_tables.into_iter().collect(),
        };
        self.prepared.retain(|known| known.name != prepared.name);
        self.prepared.push(prepared.clone());
        self.pass(at.end(), open.gtid, 1, Some(XaChange::Prepared(prepared)));
        Ok(())
    }

    /// Refuses a statement that changes a table of a transaction that is prepared: its rows could not
    /// be read any more.
    pub(super) fn refuse_prepared(&self, ddl: &Ddl) -> Result<()> {
        let found = self.prepared.iter().find_map(|prepared| {
            let table = ddl
                .changed_tables()
                .find(|table| prepared.tables.contains(table))?;
            Some((prepared, table))
        });
        match found {
            None => Ok(()),
            Some((prepared, table)) => Err(under_way(prepared, table, ddl)),
        }
    }
}

fn under_way(prepared: &PreparedXa, table: &TableName, ddl: &Ddl) -> Error {
    Error::new(
        ErrorKind::Unsupported,
        format!(
            "a `{}` statement on {table} while the XA transaction {} with changes of it is prepared",
            ddl.kind, prepared.name
        ),
    )
    .with_fix(format!(
        "the rows prepared at {} cannot be read after it: copy the table anew",
        prepared.begin
    ))
    .at(|c| c.table = Some(table.clone()))
}

/// The name as the servers write it in statements, in capitals.
fn name(prepare: &XaPrepareEvent<'_>) -> String {
    let hex = |bytes: &[u8]| {
        bytes
            .iter()
            .fold(String::new(), |hex, byte| format!("{hex}{byte:02X}"))
    };
    format!(
        "X'{}',X'{}',{}",
        hex(prepare.xid.global),
        hex(prepare.xid.branch),
        prepare.xid.format
    )
}
