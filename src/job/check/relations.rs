//! Rows about what tables have to do with each other: foreign keys that lead out of what is moved, and
//! several tables that become one.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write as _;

use crate::config::{Config, Mode, TaskConfig};
use crate::connect::Session;
use crate::model::{Result, TableName, table::quote_name};
use crate::schema::Structure;

use super::facts::SourceFacts;
use super::rows::{Scope, some};
use super::shape;

/// The values of a table's key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Range {
    /// The target table that its rows go to.
    target: TableName,
    table: TableName,
    column: String,
    from: i128,
    to: i128,
}

/// Of a foreign key, what is judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Parent {
    table: TableName,
    /// What happens to the child's rows along with the parent's, as `ON DELETE CASCADE`.
    action: Option<String>,
}

/// The parents of a table.
pub(super) fn parents(structure: &Structure) -> Vec<Parent> {
    let acts = |text: &str| {
        let upper = text.to_ascii_uppercase();
        matches!(upper.as_str(), "CASCADE" | "SET NULL" | "SET DEFAULT").then_some(upper)
    };
    structure
        .foreign_keys
        .iter()
        .map(|key| {
            let on_delete = acts(&key.on_delete).map(|action| format!("ON DELETE {action}"));
            let on_update = || acts(&key.on_update).map(|action| format!("ON UPDATE {action}"));
            Parent {
                table: key.parent.clone(),
                action: on_delete.or_else(on_update),
            }
        })
        .collect()
}

/// The column that alone tells a table's rows apart, if it counts by itself.
pub(super) fn counter(structure: &Structure) -> Option<String> {
    let key = structure.row_key()?;
    let [part] = key.parts.as_slice() else {
        return None;
    };
    let name = part.column.as_deref()?;
    let column = structure.columns.get(structure.column_index(name)?)?;
    column.auto_increment.then(|| column.name.clone())
}

/// Foreign keys from tables that are moved to others that are not.
pub(super) fn foreign_keys(
    rows: &mut Scope<'_>,
    task: &TaskConfig,
    name: &str,
    facts: &SourceFacts,
) {
    let taken: BTreeSet<&TableName> = facts.taken(task).map(|table| &table.name).collect();
    let mut outside = Vec::new();
    let mut parents = BTreeSet::new();
    let mut count = 0;
    for child in &taken {
        for parent in facts
            .brief(child)
            .into_iter()
            .flat_map(|brief| &brief.parents)
        {
            count += 1;
            if taken.contains(&parent.table) {
                continue;
            }
            parents.insert(parent.table.clone());
            let action = parent.action.as_ref();
            let action = action.map_or_else(String::new, |text| format!(" ({text})"));
            outside.push(format!("{child} to {}{action}", parent.table));
        }
    }
    let why = "the target refuses a row whose parent it does not have, and what a source does to a child \
               along with its parent is not in most servers' binlogs";
    if outside.is_empty() {
        if count > 0 {
            rows.pass(
                "foreign-keys",
                format!("{count} of `{name}`, within what is moved"),
                why,
            );
        }
        return;
    }
    let all: Vec<String> = parents.iter().map(|table| format!("\"{table}\"")).collect();
    rows.warn(
        "foreign-keys",
        format!(
            "{} of `{name}` lead to tables that are not moved: {}",
            outside.len(),
            some(&outside)
        ),
        why,
        format!("add to `task.tables`: {}", all.join(", ")),
    );
}

/// The target tables that take the rows of several tables of a task.
pub(super) fn merged_targets<'a>(
    task: &TaskConfig,
    sources: impl Iterator<Item = &'a SourceFacts>,
) -> BTreeSet<TableName> {
    let mut counts: BTreeMap<TableName, usize> = BTreeMap::new();
    for facts in sources {
        for table in facts.taken(task) {
            *counts.entry(task.routes.target(&table.name)).or_default() += 1;
        }
    }
    counts
        .into_iter()
        .filter_map(|(table, count)| (count > 1).then_some(table))
        .collect()
}

/// Asks for the values of the keys that count by themselves, of tables that go to one of `targets`; `at_once`
/// in one statement. The server takes both ends from the index.
pub(super) async fn ranges(
    session: &mut Session,
    task: &TaskConfig,
    facts: &SourceFacts,
    targets: &BTreeSet<TableName>,
    at_once: usize,
) -> Result<Vec<Range>> {
    let mut wanted = Vec::new();
    for table in facts.taken(task) {
        let target = task.routes.target(&table.name);
        let counter = facts
            .brief(&table.name)
            .and_then(|brief| brief.counter.as_ref());
        if let Some(column) = counter.filter(|_| targets.contains(&target)) {
            wanted.push((target, &table.name, column));
        }
    }
    let mut found = Vec::new();
    for chunk in wanted.chunks(at_once) {
        let questions: Vec<String> = chunk
            .iter()
            .enumerate()
            .map(|(at, (_, table, column))| {
                let (column, table) = (quote_name(column), table.quoted());
                format!("SELECT {at}, MIN({column}), MAX({column}) FROM {table}")
            })
            .collect();
        for row in session.rows(&questions.join(" UNION ALL ")).await? {
            let cell = |at: usize| {
                let bytes = row.get(at)?.as_deref()?;
                std::str::from_utf8(bytes).ok()?.parse::<i128>().ok()
            };
            // A table without rows has no ends.
            let (Some(at), Some(from), Some(to)) = (cell(0), cell(1), cell(2)) else {
                continue;
            };
            let asked = usize::try_from(at).ok().and_then(|at| chunk.get(at));
            if let Some((target, table, column)) = asked {
                found.push(Range {
                    target: target.clone(),
                    table: (*table).clone(),
                    column: (*column).clone(),
                    from,
                    to,
                });
            }
        }
    }
    Ok(found)
}

/// Several tables that become one.
pub(super) fn merged(
    rows: &mut Scope<'_>,
    config: &Config,
    task: &TaskConfig,
    sources: &[(&str, &SourceFacts)],
    shapes: &HashMap<shape::Key, shape::Shape>,
) {
    let mut targets: BTreeMap<TableName, Vec<(&str, &TableName)>> = BTreeMap::new();
    for (name, facts) in sources {
        for table in facts.taken(task) {
            let from = targets.entry(task.routes.target(&table.name)).or_default();
            from.push((name, &table.name));
        }
    }
    targets.retain(|_, from| from.len() > 1);
    if targets.is_empty() {
        return;
    }
    let found: Vec<String> = targets
        .iter()
        .map(|(table, from)| format!("{table} from {}", from.len()))
        .collect();
    let mut found = format!("{} of `{}`: {}", targets.len(), task.target, some(&found));
    let ranges: Vec<(&str, &Range)> = sources
        .iter()
        .filter_map(|(name, _)| {
            let key = (task.name.clone(), (*name).to_owned());
            Some((*name, shapes.get(&key)?))
        })
        .flat_map(|(name, shape)| shape.ranges.iter().map(move |range| (name, range)))
        .collect();
    let clashes = clashes(&ranges);
    let counting = targets.values().flatten().any(|(name, table)| {
        let of = sources.iter().find(|(of, _)| of == name);
        let brief = of.and_then(|(_, facts)| facts.brief(table));
        brief.is_some_and(|brief| brief.counter.is_some())
    });
    if !clashes.is_empty() {
        let _ = write!(found, "; values of one key in several: {}", some(&clashes));
    }
    let replicates = task.mode != Mode::Full && counting && sources.len() > 1;
    let mend = if replicates {
        // Each counts past the others from now on; what is there already stays.
        let step = config.sources.len().max(sources.len());
        let statements: Vec<String> = sources
            .iter()
            .enumerate()
            .map(|(at, (name, _))| {
                format!(
                    "SET GLOBAL auto_increment_increment = {step}, GLOBAL auto_increment_offset = {}; -- on `{name}`",
                    at + 1
                )
            })
            .collect();
        format!("so that new rows do not clash:\n{}", statements.join("\n"))
    } else {
        "make sure that the keys' ranges are apart, or that a column of the key tells the sources apart"
            .to_owned()
    };
    rows.warn(
        "merged-tables",
        found,
        "rows of several tables meet in one: their keys must not clash",
        mend,
    );
}

/// The ranges that reach into one another, of each target table.
fn clashes(ranges: &[(&str, &Range)]) -> Vec<String> {
    let mut sorted: Vec<&(&str, &Range)> = ranges.iter().collect();
    sorted.sort_by_key(|(_, range)| (&range.target, range.from));
    let mut found = Vec::new();
    // The one that reaches furthest so far.
    let mut widest: Option<&(&str, &Range)> = None;
    for one in sorted {
        let (name, range) = one;
        let before = widest.filter(|(_, before)| before.target == range.target);
        if let Some((other, before)) = before
            && before.to >= range.from
        {
            found.push(format!(
                "`{}` of {other}:{} {}..{} and {name}:{} {}..{}",
                range.column,
                before.table,
                before.from,
                before.to,
                range.table,
                range.from,
                range.to
            ));
        }
        if before.is_none_or(|(_, before)| range.to >= before.to) {
            widest = Some(one);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_that_reach_into_one_another() {
        let range = |target: &str, from: i128, to: i128| Range {
            target: TableName::new("t", target),
            table: TableName::new("s", "x"),
            column: "id".into(),
            from,
            to,
        };
        let (a, b, c) = (range("x", 1, 9), range("x", 10, 20), range("x", 3, 4));
        let other = range("y", 1, 9);
        assert!(clashes(&[("a", &a), ("b", &b), ("d", &other)]).is_empty());
        assert_eq!(
            clashes(&[("a", &a), ("b", &b), ("c", &c)]),
            ["`id` of a:s.x 1..9 and c:s.x 3..4"]
        );
    }
}
