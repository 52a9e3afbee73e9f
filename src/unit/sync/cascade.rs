//! Who changes a child's rows along with its parent's.
//!
//! A source that logs what its foreign keys do (MySQL from 9.6 on) is followed with the target's checks
//! off: everything comes by itself. All others log the parent's change alone, so the target must do
//! the rest, by the same foreign keys. Where it has not the same, a change that would set them in
//! motion stops the stream: nobody would do it, or the target would do too much.

use std::borrow::Borrow;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::applier::Applier;
use super::plan::is_same;
use crate::binlog::{RowAction, RowShape, RowsEvent};
use crate::connect::Session;
use crate::model::value::RowChange;
use crate::model::{Error, ErrorKind, Result, TableName};
use crate::schema::{ForeignKey, Structure};
use crate::source::structure::read_structures_of;

/// What a foreign key does to the rows of a child.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Cascade {
    /// The child.
    child: TableName,
    /// Its columns, in lower case.
    columns: Vec<String>,
    /// The parent's columns, in lower case.
    parent_columns: Vec<String>,
    on_delete: Action,
    on_update: Action,
}

/// What happens to a child's row; no more is told apart than matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Action {
    Nothing,
    Cascade,
    SetNull,
    SetDefault,
}

impl Action {
    fn of(text: &str) -> Self {
        match text.to_ascii_uppercase().as_str() {
            "CASCADE" => Self::Cascade,
            "SET NULL" => Self::SetNull,
            "SET DEFAULT" => Self::SetDefault,
            _ => Self::Nothing,
        }
    }

    fn sql(self) -> &'static str {
        match self {
            Self::Nothing => "RESTRICT",
            Self::Cascade => "CASCADE",
            Self::SetNull => "SET NULL",
            Self::SetDefault => "SET DEFAULT",
        }
    }
}

impl Cascade {
    /// What `key` of `child` does; `None` if it does nothing to the child's rows.
    fn of(child: TableName, key: &ForeignKey) -> Option<Self> {
        let (on_delete, on_update) = (Action::of(&key.on_delete), Action::of(&key.on_update));
        if on_delete == Action::Nothing && on_update == Action::Nothing {
            return None;
        }
        let lower = |names: &[String]| names.iter().map(|name| name.to_lowercase()).collect();
        Some(Self {
            child,
            columns: lower(&key.columns),
            parent_columns: lower(&key.parent_columns),
            on_delete,
            on_update,
        })
    }
}

/// Whether the key changes or removes rows of the child.
pub(super) fn changes_rows(key: &ForeignKey) -> bool {
    [&key.on_delete, &key.on_update]
        .into_iter()
        .any(|rule| Action::of(rule) != Action::Nothing)
}

/// The foreign keys that change children, by parent.
pub(super) type Graph = HashMap<TableName, Vec<Cascade>>;

/// The graph of `structures`; `name` gives what a child is called, or `None` to leave it out.
pub(super) fn graph(
    structures: impl IntoIterator<Item = impl Borrow<Structure>>,
    name: impl Fn(&TableName) -> Option<TableName>,
) -> Graph {
    let mut graph = Graph::new();
    for structure in structures {
        let structure: &Structure = structure.borrow();
        for key in &structure.foreign_keys {
            if let Some(child) = name(&structure.table)
                && let Some(cascade) = Cascade::of(child, key)
            {
                graph.entry(key.parent.clone()).or_default().push(cascade);
            }
        }
    }
    graph
}

/// The target's graph.
async fn target_graph(session: &mut Session) -> Result<Graph> {
    let children = session
        .names(
            "SELECT DISTINCT CONSTRAINT_SCHEMA, TABLE_NAME FROM information_schema.REFERENTIAL_CONSTRAINTS \
             WHERE DELETE_RULE NOT IN ('RESTRICT', 'NO ACTION') OR UPDATE_RULE NOT IN ('RESTRICT', 'NO ACTION')",
        )
        .await?;
    let children = read_structures_of(session, &children).await?;
    Ok(graph(&children, |child| Some(child.clone())))
}

/// A foreign key that only one side has.
#[derive(Debug)]
pub(super) struct Unmatched {
    cascade: Cascade,
    /// The parent's columns that set it in motion, by place at the source.
    columns: Vec<usize>,
    is_at_source: bool,
}

impl Unmatched {
    /// The stop, if the change would set the foreign key in motion.
    pub(super) fn check(
        &self,
        change: &RowChange<'_>,
        source: &TableName,
        target: &TableName,
    ) -> Result<()> {
        let cascade = &self.cascade;
        let is_hit = match change {
            RowChange::Insert { .. } => false,
            RowChange::Delete { .. } => cascade.on_delete != Action::Nothing,
            RowChange::Update { before, after } => {
                cascade.on_update != Action::Nothing
                    && self.columns.iter().any(|&column| {
                        match (before.get(column), after.get(column)) {
                            (Some(Some(old)), Some(Some(new))) => !is_same(old, new),
                            _ => true,
                        }
                    })
            }
        };
        if is_hit {
            return Err(self.error(source, target));
        }
        Ok(())
    }

    fn error(&self, source: &TableName, target: &TableName) -> Error {
        let quoted = |names: &[String]| {
            names
                .iter()
                .map(|name| crate::model::table::quote_name(name))
                .collect::<Vec<_>>()
                .join(", ")
        };
        let cascade = &self.cascade;
        let key = format!(
            "FOREIGN KEY ({}) REFERENCES {} ({}) ON DELETE {} ON UPDATE {}",
            quoted(&cascade.columns),
            target.quoted(),
            quoted(&cascade.parent_columns),
            cascade.on_delete.sql(),
            cascade.on_update.sql()
        );
        let error = if self.is_at_source {
            Error::new(
                ErrorKind::Structure,
                format!(
                    "a change of {source} also changes rows that are {} on the target, by a foreign key \
                     whose work the source does not log; the target has no such foreign key",
                    cascade.child
                ),
            )
            .with_fix(format!(
                "`ALTER TABLE {} ADD {key}` on the target, then retry",
                cascade.child.quoted()
            ))
        } else {
            Error::new(
                ErrorKind::Structure,
                format!(
                    "a change of {target} would also change rows of {} on the target, by a foreign key \
                     that the source has not: {key}",
                    cascade.child
                ),
            )
            .with_fix("drop that foreign key on the target, then retry")
        };
        error.at(|c| c.table = Some(source.clone()))
    }
}

/// A table that the task does not take, and whose changes change rows of tables that it takes.
#[derive(Debug)]
pub(super) struct Parent {
    pub(super) table: TableName,
    pub(super) cascades: Vec<Cascade>,
    /// How its rows are read, where its structure is known.
    pub(super) shape: Option<(Arc<Structure>, RowShape)>,
}

impl Parent {
    /// The stop, if the rows set one of its foreign keys in motion: what they do to the children is not
    /// logged, and nobody would do it on the target.
    pub(super) fn expect_still(&self, rows: &RowsEvent<'_>) -> Result<()> {
        let hit = match rows.action {
            RowAction::Insert => None,
            RowAction::Delete => self
                .cascades
                .iter()
                .find(|cascade| cascade.on_delete != Action::Nothing),
            RowAction::Update => self.rekeyed(rows)?,
        };
        let Some(cascade) = hit else { return Ok(()) };
        let parent = &self.table;
        Err(Error::new(
            ErrorKind::Structure,
            format!(
                "a change of {parent}, which the task does not take, changes rows that are {} on the \
                 target, by a foreign key whose work the source does not log",
                cascade.child
            ),
        )
        .with_fix(format!(
            "take `{parent}` into the task's `tables` and copy the tables anew, so that the target's \
             foreign key follows it; or make the foreign key one of the source's that changes no rows"
        ))
        .at(|c| c.table = Some(parent.clone())))
    }

    /// The foreign key whose columns an UPDATE changes.
    fn rekeyed(&self, rows: &RowsEvent<'_>) -> Result<Option<&Cascade>> {
        let updates: Vec<&Cascade> = self
            .cascades
            .iter()
            .filter(|cascade| cascade.on_update != Action::Nothing)
            .collect();
        if updates.is_empty() {
            return Ok(None);
        }
        let Some((structure, shape)) = &self.shape else {
            // It cannot be told which columns are changed.
            return Ok(updates.first().copied());
        };
        for change in rows.rows(shape)? {
            let RowChange::Update { before, after } = change? else {
                continue;
            };
            let hit = updates.iter().find(|cascade| {
                let columns = cascade.parent_columns.iter();
                columns
                    .filter_map(|name| structure.column_index(name))
                    .any(|column| match (before.get(column), after.get(column)) {
                        (Some(Some(old)), Some(Some(new))) => !is_same(old, new),
                        _ => true,
                    })
            });
            if let Some(cascade) = hit {
                return Ok(Some(*cascade));
            }
        }
        Ok(None)
    }
}

impl Applier {
    /// The foreign keys under a parent that are not the same on both sides.
    pub(super) async fn unmatched(
        &mut self,
        at_source: &[Cascade],
        source: &Structure,
        target: &TableName,
    ) -> Result<Vec<Unmatched>> {
        let there = if let Some(graph) = &self.target_graph {
            graph
        } else {
            let graph = target_graph(&mut self.session).await?;
            self.target_graph.insert(graph)
        };
        let there = there.get(target).map(Vec::as_slice).unwrap_or_default();
        let (here_set, there_set): (HashSet<_>, HashSet<_>) =
            (at_source.iter().collect(), there.iter().collect());
        let unmatched = |cascade: &Cascade, is_at_source| Unmatched {
            columns: cascade
                .parent_columns
                .iter()
                .filter_map(|name| source.column_index(name))
                .collect(),
            cascade: cascade.clone(),
            is_at_source,
        };
        Ok(here_set
            .difference(&there_set)
            .map(|cascade| unmatched(cascade, true))
            .chain(
                there_set
                    .difference(&here_set)
                    .filter(|cascade| self.tables.contains(&cascade.child))
                    .map(|cascade| unmatched(cascade, false)),
            )
            .collect())
    }
}
