//! Changes that trade places within a batch: what comes out is what the source's order makes.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;

use super::join::Join;
use super::order::{Order, Ties};
use super::plan::Plan;
use super::statement::{Checks, Origin, Style, Writer};
use super::statement_tests::{structure, texts};
use crate::model::value::{RowChange, Value};
use crate::model::{ServerVersion, TableName};
use crate::schema::{ColumnKind, ForeignKey, Key, KeyPart, Structure};
use crate::target::Packet;

/// `a INT PRIMARY KEY, b INT, u INT NULL UNIQUE, w INT NULL UNIQUE`.
fn table(name: &str) -> Structure {
    let mut table = structure("d", name);
    for name in ["u", "w"] {
        let mut column = table.columns[1].clone();
        column.name = name.into();
        table.columns.push(column);
        table.keys.push(unique(&[name]));
    }
    table
}

fn unique(columns: &[&str]) -> Key {
    Key {
        name: columns.join("_"),
        unique: true,
        parts: columns
            .iter()
            .map(|name| KeyPart {
                column: Some((*name).into()),
                prefix: None,
            })
            .collect(),
    }
}

fn laid(source: &Structure, target: &Structure, ties: &Ties) -> Arc<Plan> {
    let mut plan = Plan::new(source, target, false).unwrap();
    plan.order = Order::new(source, target, ties);
    plan.join = Join::of(&plan, target, &ServerVersion::parse("9.7.4"));
    Arc::new(plan)
}

type Cells = [Option<i64>; 4];

fn row(cells: &Cells) -> Vec<Option<Value<'static>>> {
    let value = |cell: &Option<i64>| Some(cell.map_or(Value::Null, Value::Int));
    cells.iter().map(value).collect()
}

fn insert(after: &Cells) -> RowChange<'static> {
    RowChange::Insert { after: row(after) }
}

fn update(before: &Cells, after: &Cells) -> RowChange<'static> {
    RowChange::Update {
        before: row(before),
        after: row(after),
    }
}

fn delete(before: &Cells) -> RowChange<'static> {
    RowChange::Delete {
        before: row(before),
    }
}

fn written(changes: &[(&Arc<Plan>, RowChange<'static>)]) -> Vec<String> {
    let mut writer = Writer::new(Style::Merged, Packet::new(), 1 << 20, 1 << 20);
    for (number, (plan, change)) in changes.iter().enumerate() {
        let origin = Origin {
            transaction: number,
            event: 0,
            row: 0,
        };
        writer
            .write(plan, Checks::default(), change, origin)
            .unwrap();
    }
    texts(&writer.finish().packets)
}

#[test]
fn changes_of_many_tables_gather() {
    let ties = Ties::default();
    let plans = ["x", "y"].map(|name| laid(&table(name), &table(name), &ties));
    let [x, y] = &plans;
    let at = |a| [Some(a), Some(0), None, None];
    let to = |a| [Some(a), Some(9), None, None];
    let made = written(&[
        (x, insert(&at(1))),
        (y, insert(&at(1))),
        (x, update(&at(5), &to(5))),
        (x, insert(&at(2))),
        (y, delete(&at(7))),
        (x, update(&at(6), &to(6))),
        // Behind its own INSERT.
        (x, update(&at(2), &to(2))),
        (y, delete(&at(8))),
    ]);
    assert_eq!(
        made,
        [
            "INSERT INTO `d`.`x` (`a`, `b`, `u`, `w`) VALUES (1, 0, NULL, NULL), (2, 0, NULL, NULL) =2",
            "INSERT INTO `d`.`y` (`a`, `b`, `u`, `w`) VALUES (1, 0, NULL, NULL) =1",
            "UPDATE (VALUES ROW(5, 9), ROW(6, 9), ROW(2, 9)) v (k0, c1) STRAIGHT_JOIN `d`.`x` t \
             ON t.`a` = v.k0 SET t.`b` = v.c1 =3",
            "DELETE FROM `d`.`y` WHERE `a` IN (7, 8) =2",
            "COMMIT",
        ]
    );
}

#[test]
fn a_unique_value_that_moves_keeps_the_order() {
    let x = laid(&table("x"), &table("x"), &Ties::default());
    let made = written(&[
        (&x, insert(&[Some(1), Some(0), Some(7), None])),
        (&x, delete(&[Some(1), Some(0), Some(7), None])),
        // The value is free only now.
        (&x, insert(&[Some(2), Some(0), Some(7), None])),
        (&x, insert(&[Some(3), Some(0), Some(8), None])),
    ]);
    assert_eq!(made.len(), 4, "{made:?}");
    assert!(made[2].contains("(2, 0, 7, NULL)"), "{made:?}");
}

#[test]
fn a_child_stays_behind_its_parent_and_before_its_end() {
    let mut child = table("child");
    child.foreign_keys.push(ForeignKey {
        name: "f".into(),
        columns: vec!["b".into()],
        parent: TableName::new("d", "parent"),
        parent_columns: vec!["a".into()],
        on_delete: "RESTRICT".into(),
        on_update: "RESTRICT".into(),
    });
    let parent = table("parent");
    let mut ties = Ties::default();
    ties.add(&child.table, &child.foreign_keys);
    ties.add(&parent.table, &[]);
    let (c, p) = (laid(&child, &child, &ties), laid(&parent, &parent, &ties));
    let parent_at = |a| [Some(a), Some(0), None, None];
    let child_of = |a, parent| [Some(a), Some(parent), None, None];
    let changes = [
        (&c, insert(&child_of(1, 1))),
        (&p, insert(&parent_at(2))),
        (&c, insert(&child_of(2, 2))),
        (&c, delete(&child_of(1, 1))),
        (&p, delete(&parent_at(1))),
    ];
    let made = written(&changes);
    let at = |text: &str| made.iter().position(|made| made.contains(text)).unwrap();
    assert!(at("`parent` (") < at("(2, 2, NULL, NULL)"), "{made:?}");
    assert!(at("DELETE FROM `d`.`child`") < at("DELETE FROM `d`.`parent`"));
    // A parent whose key stays is no concern of its children.
    let made = written(&[
        (&c, insert(&child_of(1, 1))),
        (&p, update(&parent_at(1), &[Some(1), Some(5), None, None])),
        (&c, insert(&child_of(2, 1))),
    ]);
    assert_eq!(made.len(), 3, "{made:?}");
    // A cascade changes rows of which the binlog may say nothing.
    let mut cascading = child.clone();
    cascading.foreign_keys[0].on_delete = "CASCADE".into();
    let mut ties = Ties::default();
    ties.add(&cascading.table, &cascading.foreign_keys);
    let (c, p) = (
        laid(&cascading, &cascading, &ties),
        laid(&parent, &parent, &ties),
    );
    let made = written(&[
        (&c, insert(&child_of(1, 1))),
        (&p, delete(&parent_at(9))),
        (&c, insert(&child_of(2, 2))),
    ]);
    assert_eq!(made.len(), 4, "{made:?}");
}

/// What the target may hold equal meets, whatever it is written like.
#[test]
fn values_that_may_be_equal_meet() {
    let text = |collation: &str| {
        let mut table = structure("d", "t");
        let column = &mut table.columns[0];
        column.kind = ColumnKind::Text {
            fixed: false,
            compressed: false,
        };
        column.charset = Some("utf8mb4".into());
        column.collation = Some(collation.into());
        table
    };
    let rows = |collation: &str, first: &str, second: &str| {
        let table = text(collation);
        let plan = laid(&table, &table, &Ties::default());
        let row = |key: &str| {
            vec![
                Some(Value::Bytes(key.as_bytes().to_vec().into())),
                Some(Value::Int(0)),
            ]
        };
        let changes = [
            (&plan, RowChange::Delete { before: row(first) }),
            (
                &plan,
                RowChange::Insert {
                    after: row("other"),
                },
            ),
            (
                &plan,
                RowChange::Delete {
                    before: row(second),
                },
            ),
        ];
        // Two statements and the COMMIT if they share one.
        written(&changes).len() == 3
    };
    let general = "utf8mb4_general_ci";
    assert!(rows(general, "a", "b"));
    for (first, second) in [
        ("a", "A"),
        ("a", "a "),
        ("e", "é"),
        ("é", "x"),
        ("ab", "a-b"),
    ] {
        assert!(!rows(general, first, second), "{first} {second}");
    }
    // It tells them apart, but for spaces at the end.
    assert!(rows("utf8mb4_bin", "a", "A"));
    assert!(rows("utf8mb4_bin", "e", "é"));
    assert!(!rows("utf8mb4_bin", "a", "a "));
    assert!(rows("utf8mb4_0900_ai_ci", "a", "b"));
    assert!(rows("utf8mb4_uca1400_ai_ci", "a", "b"));
    // `v` and `w`, or `i` and `y`, may be one letter.
    for collation in [
        "utf8mb4_lithuanian_ci",
        "utf8mb4_lt_0900_ai_ci",
        "utf8mb4_la_0900_ai_ci",
        "utf8mb4_swedish_ci",
        "utf8mb4_uca1400_lithuanian_ai_ci",
    ] {
        assert!(!rows(collation, "a", "b"), "{collation}");
    }
}

/// A table as a server holds it: what collides or is not found fails.
#[derive(Clone, Debug, Default, PartialEq)]
struct Model {
    rows: BTreeMap<i64, Cells>,
}

impl Model {
    fn insert(&mut self, row: Cells) -> bool {
        let is_free = |index: usize| {
            row[index].is_none() || self.rows.values().all(|other| other[index] != row[index])
        };
        let fits = is_free(0) && is_free(2) && is_free(3);
        if fits {
            self.rows.insert(row[0].unwrap(), row);
        }
        fits
    }

    fn set(&mut self, key: i64, columns: &[(usize, Option<i64>)]) -> bool {
        let Some(mut row) = self.rows.remove(&key) else {
            return false;
        };
        for (index, value) in columns {
            row[*index] = *value;
        }
        self.insert(row)
    }

    /// Runs one of our statements; `false` if the server would not.
    fn run(&mut self, statement: &str) -> bool {
        let column = |name: &str| match name.trim_start_matches("t.").trim_matches('`') {
            "a" => 0,
            "b" => 1,
            "u" => 2,
            _ => 3,
        };
        let number = |text: &str| -> Option<i64> {
            let text = text.trim();
            (text != "NULL").then(|| text.parse().unwrap())
        };
        let lists = |text: &str| -> Vec<Vec<Option<i64>>> {
            text.split('(')
                .skip(1)
                .map(|list| {
                    let list = list.split(')').next().unwrap();
                    list.split(',').map(number).collect()
                })
                .collect()
        };
        if let Some((_, values)) = statement.split_once(" VALUES (") {
            let rows = lists(&format!("({values}"));
            return rows
                .into_iter()
                .all(|row| self.insert(row.try_into().unwrap()));
        }
        if let Some((_, keys)) = statement.split_once(" IN (") {
            let keys = keys.split(')').next().unwrap().split(',').map(number);
            return keys
                .into_iter()
                .all(|key| self.rows.remove(&key.unwrap()).is_some());
        }
        if let Some((_, rest)) = statement.split_once("(VALUES ") {
            let (rows, rest) = rest.split_once(") v (").unwrap();
            let names: Vec<&str> = rest.split(')').next().unwrap().split(", ").collect();
            return lists(rows).into_iter().all(|row| {
                let set: Vec<(usize, Option<i64>)> = names
                    .iter()
                    .zip(&row)
                    .skip(1)
                    .map(|(name, value)| (name[1..].parse().unwrap(), *value))
                    .collect();
                self.set(row[0].unwrap(), &set)
            });
        }
        let (_, rest) = statement.split_once(" SET ").unwrap();
        let (sets, key) = rest.split_once(" WHERE `a` = ").unwrap();
        let set: Vec<(usize, Option<i64>)> = sets
            .split(", ")
            .map(|set| {
                let (name, value) = set.split_once(" = ").unwrap();
                (column(name), number(value))
            })
            .collect();
        self.set(number(key).unwrap(), &set)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Few keys, few unique values, NULLs among them: every batch ends as one change after the other
    /// does, and no statement on the way is refused.
    #[test]
    fn a_batch_ends_as_its_changes_do(
        tries in proptest::collection::vec(
            (0..3_u8, 0..6_i64, 0..4_i64, proptest::option::of(0..5_i64), proptest::option::of(0..5_i64)),
            1..60,
        ),
        at_once in 1..40_usize,
    ) {
        let plan = laid(&table("t"), &table("t"), &Ties::default());
        let (mut source, mut target) = (Model::default(), Model::default());
        let mut batch = Vec::new();
        let mut apply = |batch: &mut Vec<(&Arc<Plan>, RowChange<'static>)>, source: &Model| {
            for statement in written(&std::mem::take(batch)) {
                let Some((statement, _)) = statement.rsplit_once(" =") else { continue };
                prop_assert!(target.run(statement), "{statement}\n{target:?}");
            }
            prop_assert_eq!(source, &target);
            Ok(())
        };
        for (what, a, b, u, w) in tries {
            let after = [Some(a), Some(b), u, w];
            let before = source.rows.get(&a).copied();
            let mut next = source.clone();
            let change = match (what, before) {
                (0 | 1, None) => next.insert(after).then(|| insert(&after)),
                (0, Some(before)) => {
                    next.rows.remove(&a);
                    Some(delete(&before))
                }
                // Now and then only what no key has is changed, or the key itself is.
                (_, Some(before)) => {
                    let after = match what {
                        1 => [before[0], Some(b), before[2], before[3]],
                        _ => [Some((a + b) % 6), Some(b), u, w],
                    };
                    next.rows.remove(&a);
                    next.insert(after).then(|| update(&before, &after))
                }
                (_, None) => None,
            };
            if let Some(change) = change {
                source = next;
                batch.push((&plan, change));
            }
            if batch.len() >= at_once {
                apply(&mut batch, &source)?;
            }
        }
        apply(&mut batch, &source)?;
    }
}
