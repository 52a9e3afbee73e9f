//! The text of statements, and the guards behind them.

use std::sync::Arc;

use super::plan::Plan;
use super::statement::{Checks, Origin, Style, Writer};
use crate::config::{
    Consistency, DriftPolicy, DumpConfig, LoadConfig, Mode, OnDuplicate, RelayStart, SyncConfig,
    TaskConfig,
};
use crate::model::TableName;
use crate::model::value::{RowChange, Value};
use crate::route::{Routes, Selection};
use crate::schema::{Column, ColumnKind, Generated, Key, KeyPart, Structure};
use crate::target::Packet;

/// A task that takes these tables.
pub(super) fn task(tables: &str) -> TaskConfig {
    TaskConfig {
        name: "t".into(),
        sources: vec!["s".into()],
        target: "x".into(),
        mode: Mode::All,
        selection: Selection::parse(&[tables.to_owned()]).unwrap(),
        routes: Routes::default(),
        filters: Vec::new(),
        accepted: Vec::new(),
        start: RelayStart::Auto,
        is_autostart: true,
        dump: DumpConfig {
            threads: 1,
            chunk_bytes: 1,
            packing: crate::model::Packing::None,
            programs: crate::config::Programs::default(),
            consistency: Consistency::Auto,
            ..DumpConfig::default()
        },
        load: LoadConfig {
            from: None,
            threads: 1,
            on_duplicate: OnDuplicate::Error,
        },
        sync: SyncConfig {
            workers: 1,
            is_strict_order: false,
            on_drift: DriftPolicy::Pause,
            is_before_image_verified: false,
            batch_rows: 100,
            batch_bytes: 1 << 20,
        },
    }
}

fn column(name: &str) -> Column {
    Column {
        name: name.into(),
        type_text: "int(11)".into(),
        kind: ColumnKind::Integer {
            width: 4,
            unsigned: false,
        },
        nullable: name != "a",
        charset: None,
        collation: None,
        generated: Generated::No,
        invisible: false,
        auto_increment: false,
        auto_update: false,
    }
}

/// `a INT PRIMARY KEY, b INT`.
pub(super) fn structure(schema: &str, name: &str) -> Structure {
    Structure {
        table: TableName::new(schema, name),
        columns: vec![column("a"), column("b")],
        keys: vec![Key {
            name: "PRIMARY".into(),
            unique: true,
            parts: vec![KeyPart {
                column: Some("a".into()),
                prefix: None,
            }],
        }],
        foreign_keys: Vec::new(),
        engine: "InnoDB".into(),
        charset: "utf8mb4".into(),
        collation: "utf8mb4_general_ci".into(),
        versioned: false,
    }
}

fn keyless() -> Structure {
    let mut structure = structure("d", "t");
    structure.keys.clear();
    structure
}

fn row(a: i64, b: Option<i64>) -> Vec<Option<Value<'static>>> {
    vec![Some(Value::Int(a)), Some(b.map_or(Value::Null, Value::Int))]
}

fn insert(a: i64) -> RowChange<'static> {
    RowChange::Insert {
        after: row(a, Some(0)),
    }
}

fn delete(a: i64) -> RowChange<'static> {
    RowChange::Delete {
        before: row(a, None),
    }
}

fn update(a: i64, b: i64) -> RowChange<'static> {
    RowChange::Update {
        before: row(a, None),
        after: row(a, Some(b)),
    }
}

/// The statements with their guards as `=n`.
fn written(style: Style, plan: &Arc<Plan>, changes: &[RowChange<'_>]) -> Vec<String> {
    let mut writer = Writer::new(style, Packet::new(), 1 << 20, 1 << 30);
    for (number, change) in changes.iter().enumerate() {
        let origin = Origin {
            transaction: 0,
            event: 0,
            row: number as u32,
        };
        writer
            .write(plan, Checks::default(), change, origin)
            .unwrap();
    }
    texts(&writer.finish().packets)
}

pub(super) fn texts(packets: &[Packet]) -> Vec<String> {
    let mut all = Vec::new();
    for packet in packets {
        let text = String::from_utf8(packet.bytes().to_vec()).unwrap();
        for statement in text.split(';') {
            match statement.strip_prefix("SELECT IF(ROW_COUNT() = ") {
                Some(rest) => {
                    let last: &mut String = all.last_mut().unwrap();
                    last.push_str(" =");
                    last.push_str(rest.split(' ').next().unwrap());
                }
                None => all.push(statement.to_owned()),
            }
        }
    }
    all
}

fn plan(source: &Structure, target: &Structure) -> Arc<Plan> {
    Arc::new(Plan::new(source, target, false).unwrap())
}

#[test]
fn like_changes_share_a_statement() {
    let table = structure("d", "t");
    let plan = plan(&table, &structure("x", "y"));
    let changes = [
        insert(1),
        insert(2),
        update(1, 5),
        delete(1),
        delete(2),
        insert(1),
    ];
    assert_eq!(
        written(Style::Merged, &plan, &changes),
        [
            "INSERT INTO `x`.`y` (`a`, `b`) VALUES (1, 0), (2, 0) =2",
            "UPDATE `x`.`y` SET `b` = 5 WHERE `a` = 1 =1",
            "DELETE FROM `x`.`y` WHERE `a` IN (1, 2) =2",
            "INSERT INTO `x`.`y` (`a`, `b`) VALUES (1, 0) =1",
            "COMMIT",
        ]
    );
    let careful = written(Style::Careful, &plan, &changes);
    assert_eq!(careful.len(), 7);
    assert_eq!(careful[3], "DELETE FROM `x`.`y` WHERE `a` = 1 =1");
}

#[test]
fn without_a_key_every_column_counts() {
    let plan = plan(&keyless(), &keyless());
    assert_eq!(
        written(Style::Merged, &plan, &[delete(1), update(2, 3)]),
        [
            "DELETE FROM `d`.`t` WHERE `a` <=> 1 AND `b` IS NULL LIMIT 1 =1",
            "UPDATE `d`.`t` SET `b` = 3 WHERE `a` <=> 2 AND `b` IS NULL LIMIT 1 =1",
            "COMMIT",
        ]
    );
}

#[test]
fn a_key_must_be_one_on_both_sides() {
    let table = structure("d", "t");
    assert!(plan(&table, &table).has_key());
    assert!(!plan(&table, &keyless()).has_key());
    assert!(!plan(&keyless(), &table).has_key());
    // What can be NULL, is cut off, or is compared otherwise than equal tells no row.
    let spoilt: [fn(&mut Structure); 4] = [
        |table| table.columns[0].nullable = true,
        |table| table.keys[0].parts[0].prefix = Some(3),
        |table| table.keys[0].unique = false,
        |table| {
            table.columns[0].kind = ColumnKind::Double;
            table.columns[0].type_text = "double".into();
        },
    ];
    for spoil in spoilt {
        let mut other = structure("d", "t");
        spoil(&mut other);
        assert!(!plan(&table, &other).has_key(), "{other:?}");
    }
}

#[test]
fn columns_are_found_by_name() {
    let source = structure("d", "t");
    let mut target = structure("d", "t");
    target.columns.reverse();
    target.columns.push(column("extra"));
    target.columns[0].auto_update = true;
    let made = plan(&source, &target);
    assert_eq!(
        written(
            Style::Merged,
            &made,
            &[
                insert(1),
                RowChange::Update {
                    before: row(1, Some(2)),
                    after: row(7, Some(2)),
                }
            ]
        ),
        [
            "INSERT INTO `d`.`t` (`a`, `b`) VALUES (1, 0) =1",
            "UPDATE `d`.`t` SET `a` = 7, `b` = 2 WHERE `a` = 1 =1",
            "COMMIT",
        ]
    );
    target.columns.retain(|column| column.name != "b");
    let error = Plan::new(&source, &target, false).unwrap_err();
    assert!(error.message().contains("has no column `b`"));
    assert!(error.message().contains("source: a int(11), b int(11)"));
    target.engine = "MyISAM".into();
    assert!(Plan::new(&source, &target, false).is_err());
}

#[test]
fn generated_columns_are_left_out() {
    let mut source = structure("d", "t");
    source.columns[1].generated = Generated::Virtual;
    let plan = plan(&source, &source);
    assert_eq!(
        written(Style::Merged, &plan, &[insert(1), update(1, 2)]),
        ["INSERT INTO `d`.`t` (`a`) VALUES (1) =1", "COMMIT"]
    );
    let stored = structure("d", "t");
    assert!(Plan::new(&stored, &source, false).is_err());
}

#[test]
fn the_whole_row_can_be_asked_for() {
    let table = structure("d", "t");
    let plan = Arc::new(Plan::new(&table, &table, true).unwrap());
    assert_eq!(
        written(Style::Merged, &plan, &[delete(1)]),
        [
            "DELETE FROM `d`.`t` WHERE `a` = 1 AND `a` <=> 1 AND `b` IS NULL =1",
            "COMMIT"
        ]
    );
}

#[test]
fn checks_are_those_of_the_event() {
    let table = structure("d", "t");
    let plan = plan(&table, &table);
    let off = Checks {
        no_foreign_keys: true,
        relaxed_unique: false,
    };
    let mut writer = Writer::new(Style::Merged, Packet::new(), 1 << 20, 1 << 30);
    for (checks, key) in [(Checks::default(), 1), (off, 2), (off, 3)] {
        let origin = Origin {
            transaction: 0,
            event: 0,
            row: key,
        };
        writer
            .write(&plan, checks, &insert(i64::from(key)), origin)
            .unwrap();
    }
    let finished = writer.finish();
    assert_eq!(finished.origin(1).unwrap().row, 2);
    assert_eq!(
        texts(&finished.packets),
        [
            "INSERT INTO `d`.`t` (`a`, `b`) VALUES (1, 0) =1",
            "SET SESSION foreign_key_checks = 0, unique_checks = 1",
            "INSERT INTO `d`.`t` (`a`, `b`) VALUES (2, 0), (3, 0) =2",
            "SET SESSION foreign_key_checks = 1, unique_checks = 1",
            "COMMIT",
        ]
    );
}

#[test]
fn a_partial_row_names_the_setting() {
    let table = structure("d", "t");
    let plan = plan(&table, &table);
    let mut out = Vec::new();
    let error = plan
        .write_row(&mut out, &vec![Some(Value::Int(1)), None])
        .unwrap_err();
    assert!(error.fix().unwrap().contains("binlog_row_image = FULL"));
}

#[test]
fn packets_stay_below_their_size() {
    let table = structure("d", "t");
    let plan = plan(&table, &table);
    let mut writer = Writer::new(Style::Merged, Packet::new(), 400, 1 << 30);
    for key in 0..200 {
        let origin = Origin {
            transaction: 0,
            event: 0,
            row: key,
        };
        writer
            .write(&plan, Checks::default(), &insert(i64::from(key)), origin)
            .unwrap();
    }
    let finished = writer.finish();
    assert!(finished.packets.len() > 3);
    assert!(finished.packets.iter().all(|packet| packet.len() < 600));
}
