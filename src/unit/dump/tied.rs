//! Tables that hang together by foreign keys whose work the source does not log.
//!
//! What such a key does to a child's rows is in no event, so in a dump without a lock nothing would
//! tell whether it is in a chunk already. Tables that it ties together are therefore read at one
//! moment, each in one piece, whose place is known exactly: what is before it is in all of them, and
//! what is behind is in none, so that the target's own keys do the rest. With them go all tables that
//! any other foreign key leads to, as the target checks these keys as soon as it is at that moment.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::TableName;
use crate::schema::{ForeignKey, Structure};

/// The groups of tables that must be read at one moment.
pub(super) fn groups<'a>(
    structures: impl IntoIterator<Item = &'a Structure>,
) -> Vec<BTreeSet<TableName>> {
    let structures: BTreeMap<&TableName, &Structure> = structures
        .into_iter()
        .map(|structure| (&structure.table, structure))
        .collect();
    let mut neighbors: BTreeMap<&TableName, BTreeSet<&TableName>> = BTreeMap::new();
    let mut cascading = BTreeSet::new();
    for (&table, structure) in &structures {
        for key in &structure.foreign_keys {
            // Of a parent that is not dumped, nothing is replicated either.
            let Some((&parent, _)) = structures.get_key_value(&key.parent) else {
                continue;
            };
            neighbors.entry(table).or_default().insert(parent);
            neighbors.entry(parent).or_default().insert(table);
            if changes_rows(key) {
                cascading.insert(table);
            }
        }
    }
    let mut groups: Vec<BTreeSet<TableName>> = Vec::new();
    for table in cascading {
        if groups.iter().any(|group| group.contains(table)) {
            continue;
        }
        let mut group = BTreeSet::from([table.clone()]);
        let mut open = vec![table];
        while let Some(table) = open.pop() {
            for &neighbor in neighbors.get(table).into_iter().flatten() {
                if group.insert(neighbor.clone()) {
                    open.push(neighbor);
                }
            }
        }
        groups.push(group);
    }
    groups
}

/// Whether the key changes or removes rows of the child.
fn changes_rows(key: &ForeignKey) -> bool {
    [&key.on_delete, &key.on_update].into_iter().any(|rule| {
        ["CASCADE", "SET NULL", "SET DEFAULT"]
            .iter()
            .any(|name| rule.eq_ignore_ascii_case(name))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(name: &str, keys: &[(&str, &str)]) -> Structure {
        Structure {
            table: TableName::new("d", name),
            columns: Vec::new(),
            keys: Vec::new(),
            foreign_keys: keys
                .iter()
                .map(|(parent, on_delete)| ForeignKey {
                    name: format!("{name}_{parent}"),
                    columns: vec!["p".into()],
                    parent: TableName::new("d", *parent),
                    parent_columns: vec!["id".into()],
                    on_delete: (*on_delete).to_owned(),
                    on_update: "RESTRICT".into(),
                })
                .collect(),
            engine: "InnoDB".into(),
            charset: "utf8mb4".into(),
            collation: "utf8mb4_bin".into(),
            versioned: false,
        }
    }

    fn names(tables: &[Structure]) -> Vec<String> {
        groups(tables)
            .iter()
            .map(|group| {
                let names: Vec<&str> = group.iter().map(|table| table.name.as_str()).collect();
                names.join(" ")
            })
            .collect()
    }

    #[test]
    fn only_what_a_cascade_ties_is_a_group() {
        assert!(names(&[table("a", &[]), table("b", &[("a", "RESTRICT")])]).is_empty());
        assert_eq!(
            names(&[
                table("a", &[]),
                table("b", &[("a", "CASCADE")]),
                table("c", &[("b", "NO ACTION")]),
                table("d", &[("e", "RESTRICT")]),
                table("e", &[]),
                table("tree", &[("tree", "SET NULL")]),
                table("lone", &[("elsewhere", "CASCADE")]),
            ]),
            ["a b c", "tree"]
        );
    }
}
