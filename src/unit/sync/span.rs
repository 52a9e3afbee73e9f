//! Changes of tables that a dump read without a lock: until the dump's end they may be in the target
//! already, or are for certain.

use std::sync::Arc;

use super::applier::{Applier, End};
use super::cascade::changes_rows;
use super::plan::Plan;
use super::statement::{Checks, Origin, Writer};
use super::transaction::{RowsPart, Statement, Transaction};
use crate::model::value::RowChange;
use crate::model::{Error, ErrorKind, Result, TableName};
use crate::schema::DdlKind;
use crate::target::Span;

/// What of a statement is done already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Over {
    /// It runs as it is.
    Nothing,
    /// It must not run.
    All,
    /// It runs for these tables alone.
    AllBut(Vec<TableName>),
}

/// How a table's changes are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// The target's row is what the binlog says.
    Strictly,
    /// So is this one, but other tables are not as far yet: a parent may be missing, or still there.
    Unchecked,
    /// It may be later already.
    Anyway,
    /// It is later for certain.
    Not,
}

impl Way {
    /// Writes a change this way.
    pub(super) fn write(
        self,
        writer: &mut Writer,
        plan: &Arc<Plan>,
        checks: Checks,
        change: &RowChange<'_>,
        origin: Origin,
    ) -> Result<()> {
        match self {
            Self::Strictly => writer.write(plan, checks, change, origin),
            Self::Unchecked => {
                let no_foreign_keys = true;
                let checks = Checks {
                    no_foreign_keys,
                    ..checks
                };
                writer.write(plan, checks, change, origin)
            }
            Self::Anyway => writer.write_anyway(plan, checks, change, origin),
            Self::Not => Ok(()),
        }
    }
}

impl Applier {
    /// How the changes of an event are written.
    pub(super) fn way(
        &self,
        transaction: &Transaction,
        event: &RowsPart,
        plan: &Plan,
    ) -> Result<Way> {
        let table = &event.table.map.table;
        let cascades = event.table.cascades.as_ref().is_some_and(|c| !c.is_empty());
        if self.mark.spans.is_empty() {
            return Ok(Way::Strictly);
        }
        let Some(span) = self.mark.spans.get(table) else {
            return Ok(Way::Unchecked);
        };
        if !is_within(transaction, span)? {
            return Ok(if span.is_tied {
                Way::Strictly
            } else {
                Way::Unchecked
            });
        }
        if span.is_exact {
            return Ok(Way::Not);
        }
        let stop = |what: &str| {
            Err(Error::new(
                ErrorKind::Unsupported,
                format!(
                    "{table} was dumped without a lock, up to {}, and {what}",
                    span.until
                ),
            )
            .with_fix("dump it again with `consistency = \"flush\"` or `\"snapshot\"`")
            .at(|c| c.table = Some(table.clone())))
        };
        if !plan.has_key() {
            return stop("has no key that tells whether a change is in already");
        }
        if cascades {
            return stop("changes other tables by foreign keys whose work the source does not log");
        }
        Ok(Way::Anyway)
    }

    /// What a statement must not do, as the rows of its tables are of a later moment for certain.
    ///
    /// Within a span only what empties a table, or makes it anew, can be run again: every row that came
    /// after it is replayed behind it. A dump is made anew if a table ends up otherwise than it began;
    /// one that was altered and altered back, or traded for another of its form, does not.
    pub(super) fn over(&self, statement: &Statement) -> Result<Over> {
        self.expect_no_new_child(statement)?;
        let mut over = Vec::new();
        let mut rest = Vec::new();
        for table in statement.ddl.changed_tables() {
            let span = self.mark.spans.get(table);
            let Some(span) = span.filter(|span| is_before_end(statement, span)) else {
                rest.push(table.clone());
                continue;
            };
            let is_repeatable = matches!(
                statement.ddl.kind,
                DdlKind::TruncateTable | DdlKind::DropTable | DdlKind::CreateTable
            );
            if !is_repeatable {
                return Err(Error::new(
                    ErrorKind::Unsupported,
                    format!(
                        "`{}` changed {table} while it was dumped without a lock, up to {}: its chunks \
                         may be of both forms",
                        statement.ddl.kind, span.until
                    ),
                )
                .with_fix(
                    "dump the table again: take it out of the task's `tables`, accept that, then put it \
                     in again",
                )
                .at(|c| c.table = Some(table.clone())));
            }
            if span.is_exact {
                over.push(table);
            } else {
                rest.push(table.clone());
            }
        }
        Ok(match (over.is_empty(), rest.is_empty()) {
            (true, _) => Over::Nothing,
            (false, true) => Over::All,
            // Only a DROP names several tables.
            (false, false) => Over::AllBut(rest),
        })
    }

    /// Fails if the statement makes a table whose rows change with those of one that was read at one
    /// moment: what happened before that moment is passed over, and with it what the new table's
    /// foreign key did.
    fn expect_no_new_child(&self, statement: &Statement) -> Result<()> {
        if self.mark.spans.is_empty() {
            return Ok(());
        }
        for structure in statement
            .changes
            .iter()
            .filter_map(|change| change.structure.as_ref())
        {
            let table = &structure.table;
            if self.mark.spans.contains_key(table) {
                continue;
            }
            let parent = structure.foreign_keys.iter().find(|key| {
                let span = self.mark.spans.get(&key.parent);
                span.is_some_and(|span| span.is_exact && is_before_end(statement, span))
                    && changes_rows(key)
            });
            if let Some(key) = parent {
                return Err(Error::new(
                    ErrorKind::Unsupported,
                    format!(
                        "{table} was given a foreign key by which its rows change with those of {}, while \
                         that table was dumped without a lock: what it did meanwhile is not known",
                        key.parent
                    ),
                )
                .with_fix("dump the tables of the task anew")
                .at(|c| c.table = Some(table.clone())));
            }
        }
        Ok(())
    }

    /// Once the mark is behind all spans, every table is like any other.
    pub(super) async fn end_spans(&mut self) -> Result<(), End> {
        if self.mark.spans.is_empty() || self.is_unwritten || !self.mark.is_behind_spans() {
            return Ok(());
        }
        self.claim.end_spans(&mut self.session).await?;
        self.mark.spans = Arc::default();
        self.meter.note(format!(
            "every table is at one moment again, from {} on",
            self.mark.place
        ));
        Ok(())
    }
}

/// Whether a statement ran before the end of a table's span.
fn is_before_end(statement: &Statement, span: &Span) -> bool {
    statement.end.folder == span.until.folder && statement.end.position <= span.until.position
}

/// Whether a transaction ends within a span. The span's end is between two transactions, so that the
/// beginning of one says as much as its end, which is not known yet of a long one; what is committed
/// by XA COMMIT counts from there.
fn is_within(transaction: &Transaction, span: &Span) -> Result<bool> {
    let place = if transaction.xa.is_some() {
        &transaction.end
    } else {
        &transaction.begin
    };
    if place.folder != span.until.folder {
        return Err(Error::new(
            ErrorKind::History,
            "the source was replaced before the end of a dump that took no lock was reached",
        )
        .with_fix("dump the tables again"));
    }
    Ok(if transaction.xa.is_some() {
        place.position <= span.until.position
    } else {
        place.position < span.until.position
    })
}
