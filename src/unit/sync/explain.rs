//! The stop for a row that the target does not take: what was met, with the rows that are there.

use super::applier::{Applier, End, failed_event};
use super::plan::{Plan, identity};
use super::statement::Origin;
use super::transaction::{RowsPart, Transaction};
use super::view;
use crate::model::value::{Row, RowChange};
use crate::model::{Error, ErrorKind, Result, TargetRow};

/// How many bytes of a statement a stop shows.
const STATEMENT_SHOWN: usize = 4000;

/// What a row's statement met on the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Met {
    /// No row to change.
    Missing,
    /// More than one.
    Several(u64),
    /// A row that holds the same unique value.
    Collides,
    /// The target warned, so it would have stored something else.
    Altered(u16),
    /// Any other refusal.
    Refused,
}

impl Met {
    /// Whether the target's rows are to blame, so that `on_drift` decides.
    pub(super) fn is_drift(self) -> bool {
        matches!(self, Self::Missing | Self::Collides)
    }

    /// The word for a record.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Several(_) => "several",
            Self::Collides => "collides",
            Self::Altered(_) => "altered",
            Self::Refused => "refused",
        }
    }
}

/// Whether the error is that of a unique value that is there already.
pub(super) fn is_duplicate(error: &Error) -> bool {
    error
        .server()
        .is_some_and(|server| matches!(server.number, 1022 | 1062 | 1586))
}

/// The error of a statement at which the target warned.
pub(super) fn altered(warnings: u16) -> Error {
    Error::new(
        ErrorKind::Target,
        format!("the target would store another value than the source has ({warnings} warnings)"),
    )
    .with_fix(
        "make the target's columns as wide and as exact as the source's (digits, length, members), \
         then retry",
    )
}

/// A row, and what its statement met.
pub(super) struct MetRow<'a, 'v> {
    pub(super) transaction: &'a Transaction,
    pub(super) event: &'a RowsPart,
    pub(super) origin: Origin,
    pub(super) plan: &'a Plan,
    pub(super) change: &'a RowChange<'v>,
    pub(super) met: Met,
}

impl MetRow<'_, '_> {
    /// The statement that makes the change.
    pub(super) fn statement(&self) -> Result<Vec<u8>> {
        let mut out = Vec::new();
        match self.change {
            RowChange::Insert { after } => {
                self.plan.begin_insert(&mut out);
                self.plan.write_row(&mut out, after)?;
            }
            RowChange::Update { before, after } => {
                self.plan.write_update(&mut out, before, after)?;
            }
            RowChange::Delete { before } => self.plan.write_delete(&mut out, before)?,
        }
        Ok(out)
    }

    /// The statement as it is kept, to be applied later.
    pub(super) fn kept(&self) -> Result<Vec<u8>> {
        let mut out = Vec::new();
        self.plan.write_kept(&mut out, self.change)?;
        Ok(out)
    }

    /// The statement with which a repair begins; where it finds no row, the new one is inserted.
    fn repair(&self) -> Result<Option<Vec<u8>>> {
        match self.change {
            RowChange::Insert { after } => self.plan.write_make(after, after),
            RowChange::Update { before, after } => self.plan.write_make(before, after),
            RowChange::Delete { before } => self.plan.write_delete_by_key(before),
        }
    }

    /// The stop at this row, for this reason.
    pub(super) fn failed(&self, error: Error) -> End {
        failed_event(self.transaction, self.event, Some(self.origin.row), error)
    }

    /// The row that the source had, as far as the target should have it before the change.
    fn expected(&self) -> &Row<'_> {
        match (self.met, self.change) {
            (Met::Collides, RowChange::Update { after, .. }) => after,
            _ => identity(self.change),
        }
    }
}

impl Applier {
    /// The stop for a row, with what the target has in its place. Called within the transaction, so
    /// what is seen is what the statement met.
    pub(super) async fn explain(&mut self, found: MetRow<'_, '_>, error: Error) -> End {
        let target_rows = self.look_at_target(&found).await;
        let mut described = describe(&found, &target_rows, &error);
        if let Met::Altered(_) = found.met
            && let Some(warnings) = self.warnings(&found).await
        {
            described = described.with_source(warnings);
        }
        let statement = match found.statement() {
            Ok(text) => view::shorten(&String::from_utf8_lossy(&text), STATEMENT_SHOWN),
            Err(error) => error.message().to_owned(),
        };
        let repair = found
            .repair()
            .ok()
            .flatten()
            .map(|text| view::shorten(&String::from_utf8_lossy(&text), STATEMENT_SHOWN));
        match found.failed(described) {
            End::Failed(mut failure) => {
                if let Some(event) = &mut failure.event {
                    event.statement = Some(statement);
                    event.repair = repair;
                    event.target_rows = target_rows;
                }
                End::Failed(failure)
            }
            other => other,
        }
    }

    /// How the key of a plan is compared on both sides, where that differs.
    pub(super) async fn folded(&mut self, plan: &Plan) -> Result<Option<String>> {
        let target = self.target_structure(&plan.target).await?;
        Ok(plan.describe_folded(&target))
    }

    /// The stop for a row that collides on a key which both sides compare otherwise: whether the row
    /// that is there is the one that is meant cannot be told by `on_drift`.
    pub(super) async fn explain_folded(
        &mut self,
        found: MetRow<'_, '_>,
        error: Error,
        both: &str,
    ) -> End {
        match self.explain(found, error).await {
            End::Failed(mut failure) => {
                let message = format!("{}; {both}", failure.error.message());
                let context = failure.error.context().clone();
                let shown = Error::new(ErrorKind::Drift, message)
                    .with_fix(
                        "give the key on the target a collation that tells apart what the source's does \
                         (a binary one does), then retry",
                    )
                    .at(|c| *c = context);
                failure.error = match failure.error.server() {
                    Some(server) => shown.with_server(server.clone()),
                    None => shown,
                };
                End::Failed(failure)
            }
            other => other,
        }
    }

    /// What the target says to the statement. The transaction is lost by it, as it is anyhow.
    async fn warnings(&mut self, found: &MetRow<'_, '_>) -> Option<String> {
        let statement = found.statement().ok()?;
        self.reset().await.ok()?;
        self.session.execute(b"BEGIN").await.ok()?;
        // It may fail for want of what was before it in its transaction; it may have warned by then.
        let _ = self.session.execute(&statement).await;
        let warnings = self.session.rows("SHOW WARNINGS LIMIT 3").await.ok()?;
        let texts: Vec<String> = warnings
            .iter()
            .filter_map(|row| shown(row.get(2)?.as_deref()))
            .collect();
        (!texts.is_empty()).then(|| texts.join("; "))
    }

    /// The target's rows under the keys of the row.
    async fn look_at_target(&mut self, found: &MetRow<'_, '_>) -> Vec<TargetRow> {
        let row = found.expected();
        let selects = match found.met {
            Met::Collides => found.plan.select_colliding(row),
            Met::Altered(_) | Met::Refused => return Vec::new(),
            Met::Missing if !found.plan.has_key() => found
                .plan
                .select_nearest(row)
                .map(|select| vec![("likeness".to_owned(), select)]),
            Met::Missing | Met::Several(_) => found.plan.select_by_key(row).map(|select| {
                let key = found.plan.describe_key(row);
                select.map(|select| (key, select)).into_iter().collect()
            }),
        };
        let Ok(selects) = selects else {
            return Vec::new();
        };
        let columns = &found.event.table.structure.columns;
        let mut seen = Vec::new();
        for (key, select) in selects {
            // Only for people: a row that cannot be read leaves the stop as it is.
            let Ok(rows) = self.session.rows(&select).await else {
                continue;
            };
            for cells in rows {
                let (values, same) = cells.split_at(columns.len().min(cells.len()));
                let differs = columns
                    .iter()
                    .zip(same)
                    .filter(|(_, same)| same.as_deref() != Some(b"1"))
                    .map(|(column, _)| column.name.clone())
                    .collect();
                seen.push(TargetRow {
                    key: key.clone(),
                    values: values.iter().map(|cell| shown(cell.as_deref())).collect(),
                    differs,
                });
            }
        }
        seen
    }
}

/// A cell as the text protocol has it, for people.
fn shown(cell: Option<&[u8]>) -> Option<String> {
    let bytes = cell?;
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => bytes
            .iter()
            .take(view::VALUE_CHARS)
            .fold("0x".to_owned(), |hex, byte| format!("{hex}{byte:02X}")),
    };
    Some(view::shorten(&text, view::VALUE_CHARS))
}

/// What it means that a change did not find, or found, its row.
fn describe(found: &MetRow<'_, '_>, target_rows: &[TargetRow], error: &Error) -> Error {
    let plan = found.plan;
    let row = plan.describe_key(identity(found.change));
    let verb = match found.change {
        RowChange::Insert { .. } => "an INSERT into",
        RowChange::Update { .. } => "an UPDATE of",
        RowChange::Delete { .. } => "a DELETE from",
    };
    let differs = target_rows
        .first()
        .map(|row| row.differs.join(", "))
        .filter(|columns| !columns.is_empty());
    let drift = |message: String| Error::new(ErrorKind::Drift, message);
    let shown = match found.met {
        Met::Missing => match differs {
            Some(columns) if !plan.has_key() => drift(format!(
                "{verb} {} found no such row on the target; the one most like it differs in {columns}",
                plan.target
            ))
            .with_fix(
                "something else changed the row on the target: put it back as the source had it, or \
                 copy the table anew; then retry",
            ),
            Some(columns) => drift(format!(
                "{verb} {} found the row with {row}, but it differs in {columns}",
                plan.target
            ))
            .with_fix(
                "something else changed the row on the target: put it back as the source had it, then \
                 retry; or let `on_drift` decide",
            ),
            None => drift(format!(
                "{verb} {} found no row with {row} on the target",
                plan.target
            ))
            .with_fix(
                "something else changed the target's table: put the row back as the source had it, \
                 or copy the table anew; then retry",
            ),
        },
        Met::Several(count) => drift(format!(
            "{verb} {} found {count} rows with {row} on the target, where the source has one",
            plan.target
        ))
        .with_fix("the key of the source does not hold on the target: copy the table anew"),
        Met::Collides => {
            let keys: Vec<&str> = target_rows.iter().map(|row| row.key.as_str()).collect();
            let key = match keys.as_slice() {
                [] => String::new(),
                keys => format!(" on the key {}", keys.join(", ")),
            };
            drift(format!(
                "{verb} {} collides with a row that is there{key} ({row})",
                plan.target
            ))
            .with_fix(
                "something else wrote to the target's table, or it has a unique key that the source \
                 lacks: remove the row or the key there, or copy the table anew; then retry",
            )
        }
        Met::Altered(warnings) => altered(warnings),
        Met::Refused => {
            let refused = Error::new(
                error.kind(),
                format!("the target refused {verb} {} ({row})", plan.target),
            );
            match error.fix() {
                Some(fix) => refused.with_fix(fix.to_owned()),
                None => refused,
            }
        }
    };
    match error.server() {
        Some(server) if matches!(found.met, Met::Collides | Met::Refused) => {
            shown.with_server(server.clone())
        }
        _ => shown,
    }
}
