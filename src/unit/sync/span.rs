//! Changes of tables that a dump read without a lock: until the dump's end they may be in the target
//! already, or are for certain.

use std::sync::Arc;

use super::applier::{Applier, End};
use super::plan::Plan;
use super::statement::{Checks, Origin, Writer};
use super::transaction::{RowsPart, Statement, Transaction};
use crate::model::value::RowChange;
use crate::model::{Error, ErrorKind, Result};
use crate::schema::DdlKind;
use crate::target::Span;

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
        if self.mark.spans.is_empty() {
            return Ok(Way::Strictly);
        }
        let Some(span) = self.mark.spans.get(table) else {
            return Ok(Way::Unchecked);
        };
        if !is_within(transaction, span)? {
            return Ok(Way::Unchecked);
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
        if event.table.cascades.as_ref().is_some_and(|c| !c.is_empty()) {
            return stop("changes other tables by foreign keys whose work the source does not log");
        }
        Ok(Way::Anyway)
    }

    /// Whether a statement must not run, as the rows of its table are of a later moment for certain.
    ///
    /// Within a span only what empties a table, or makes it anew, can be run again: every row that came
    /// after it is replayed behind it. A dump is made anew if a table ends up otherwise than it began;
    /// one that was altered and altered back, or traded for another of its form, does not.
    pub(super) fn is_over(&self, statement: &Statement) -> Result<bool> {
        let mut is_over = None;
        for table in statement.ddl.changed_tables() {
            let Some(span) = self.mark.spans.get(table) else {
                continue;
            };
            if statement.end.folder != span.until.folder
                || statement.end.position > span.until.position
            {
                continue;
            }
            let is_repeatable = matches!(
                statement.ddl.kind,
                DdlKind::TruncateTable | DdlKind::DropTable | DdlKind::CreateTable
            );
            if !is_repeatable || is_over.is_some_and(|is_over| is_over != span.is_exact) {
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
            is_over = Some(span.is_exact);
        }
        Ok(is_over.unwrap_or(false))
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
