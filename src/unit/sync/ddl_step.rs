//! Cuts a statement into steps that are each recorded, and each decidable after a crash.
//!
//! Most statements are one step. A RENAME that leaves the tables looking as before (two equal tables
//! that trade places) is run pair by pair: each pair shows by which names are there. TiDB refuses many
//! ALTER TABLE of several clauses, so there each clause is a step.

use std::ops::Range;

use crate::model::{Flavor, TableName};
use crate::schema::cursor::Cursor;
use crate::schema::{Ddl, DdlKind, TableRole};

/// A statement, or a part of one, that runs on the target by itself.
#[derive(Debug)]
pub(super) struct Step {
    /// Its text.
    pub(super) text: Vec<u8>,
    /// The same, read.
    pub(super) ddl: Ddl,
}

impl Step {
    fn new(text: Vec<u8>, whole: &Ddl, flavor: Flavor) -> Self {
        let ddl = Ddl::read(&text, whole.default_schema(), whole.mode(), flavor);
        Self { text, ddl }
    }

    /// The tables that it changes, each once.
    pub(super) fn tables(&self) -> Vec<TableName> {
        let mut tables: Vec<TableName> = self.ddl.changed_tables().cloned().collect();
        tables.sort();
        tables.dedup();
        tables
    }

    /// Whether all that it does is to drop an index.
    pub(super) fn drops_index(&self) -> bool {
        match self.ddl.kind {
            DdlKind::DropIndex => true,
            DdlKind::AlterTable => {
                let mut c = self.ddl.body();
                let clauses = c.split_at_commas(c.at()..c.len()).len();
                clauses == 1 && c.eat(&["drop"]) && c.is_any(&["index", "key"])
            }
            _ => false,
        }
    }

    /// For messages.
    pub(super) fn shown(&self) -> String {
        String::from_utf8_lossy(&self.text).into_owned()
    }
}

/// The steps of a statement that is in the target's words. `looks_same`: the tables look alike before
/// and after it.
pub(super) fn steps(whole: Ddl, flavor: Flavor, looks_same: bool) -> Vec<Step> {
    let texts = match whole.kind {
        DdlKind::RenameTable if looks_same => pairs(&whole),
        DdlKind::AlterTable if flavor == Flavor::TiDB => clauses(&whole),
        _ => Vec::new(),
    };
    if texts.is_empty() {
        let text = whole.statement().to_vec();
        return vec![Step { text, ddl: whole }];
    }
    texts
        .into_iter()
        .map(|text| Step::new(text, &whole, flavor))
        .collect()
}

/// Whether a statement whose tables look alike before and after it would undo itself if it ran twice.
pub(super) fn trades_places(ddl: &Ddl) -> bool {
    ddl.kind == DdlKind::RenameTable
        || ddl
            .tables
            .iter()
            .any(|table| table.role == TableRole::Exchange)
}

/// The pairs of a RENAME TABLE, a statement each.
fn pairs(ddl: &Ddl) -> Vec<Vec<u8>> {
    let mut texts = Vec::new();
    let mut old = None;
    for table in &ddl.tables {
        match (table.role, old.take()) {
            (TableRole::Subject, _) => old = Some(&table.name),
            (TableRole::NewName, Some(from)) => texts.push(
                format!("RENAME TABLE {} TO {}", from.quoted(), table.name.quoted()).into_bytes(),
            ),
            _ => {}
        }
    }
    texts
}

/// The clauses of an ALTER TABLE, a statement each, the new name last; none where they hang together.
fn clauses(ddl: &Ddl) -> Vec<Vec<u8>> {
    let body = ddl.body();
    let parts = body.split_at_commas(body.at()..body.len());
    let mut kept: Vec<Range<usize>> = Vec::new();
    let mut last = None;
    let mut named: Vec<String> = Vec::new();
    for part in parts {
        let c = body.within(part.clone());
        if c.is_any(&["algorithm", "lock"]) {
            // TiDB's changes are all online; a step has no use for it.
            continue;
        }
        if c.is_any(&[
            "partition",
            "reorganize",
            "exchange",
            "coalesce",
            "truncate",
            "order",
        ]) || ((c.is("add") || c.is("drop")) && c.is_at(1, "partition"))
        {
            // Their lists have commas of their own.
            return Vec::new();
        }
        if trades_names(c.clone(), &mut named) {
            // A name that is given away and taken: the clauses mean something together only.
            return Vec::new();
        }
        let is_new_name =
            c.is("rename") && !c.is_at(1, "column") && !c.is_at(1, "index") && !c.is_at(1, "key");
        if is_new_name {
            last = Some(part);
        } else {
            kept.push(part);
        }
    }
    kept.extend(last);
    if kept.len() < 2 {
        return Vec::new();
    }
    let statement = ddl.statement();
    let head_end = body.peek().map_or(statement.len(), |token| token.start);
    let head = statement.get(..head_end).unwrap_or_default();
    kept.into_iter()
        .map(|part| {
            let mut text = head.to_vec();
            text.extend_from_slice(bytes_of(ddl, part));
            text
        })
        .collect()
}

/// Notes the names that a CHANGE or RENAME COLUMN clause gives away and takes; says whether one of
/// them was noted before.
fn trades_names(mut c: Cursor<'_>, noted: &mut Vec<String>) -> bool {
    let gives_names =
        c.eat(&["change"]) || (c.eat(&["rename"]) && c.is_any(&["column", "index", "key"]));
    if !gives_names {
        return false;
    }
    let _ = c.eat_any(&["column", "index", "key"]);
    let Some((old, _)) = c.name() else {
        return false;
    };
    c.eat(&["to"]);
    let Some((new, _)) = c.name() else {
        return false;
    };
    let (old, new) = (old.to_lowercase(), new.to_lowercase());
    let again = noted.contains(&old) || (new != old && noted.contains(&new));
    noted.extend([old, new]);
    again
}

fn bytes_of(ddl: &Ddl, part: Range<usize>) -> &[u8] {
    let mut c = ddl.cursor();
    c.go_to(part.start);
    let start = c.peek().map_or(0, |token| token.start);
    c.go_to(part.end.saturating_sub(1));
    let end = c.peek().map_or(start, |token| token.end);
    ddl.statement().get(start..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::SqlMode;

    fn cut(sql: &str, flavor: Flavor, looks_same: bool) -> Vec<String> {
        let whole = Ddl::read(sql.as_bytes(), "d", SqlMode::default(), flavor);
        steps(whole, flavor, looks_same)
            .iter()
            .map(Step::shown)
            .collect()
    }

    #[test]
    fn a_drop_of_an_index_alone_is_told() {
        let drops = |sql: &str| {
            let ddl = Ddl::read(sql.as_bytes(), "d", SqlMode::default(), Flavor::TiDB);
            Step::new(sql.as_bytes().to_vec(), &ddl, Flavor::TiDB).drops_index()
        };
        assert!(drops("ALTER TABLE d.t DROP KEY words"));
        assert!(drops("ALTER TABLE d.t DROP INDEX `a b`"));
        assert!(drops("DROP INDEX words ON d.t"));
        assert!(!drops("ALTER TABLE d.t DROP COLUMN words"));
        assert!(!drops("ALTER TABLE d.t DROP KEY words, DROP COLUMN a"));
        assert!(!drops("ALTER TABLE d.t DROP PRIMARY KEY"));
    }

    #[test]
    fn tables_that_trade_places_are_renamed_one_by_one() {
        let swap = "RENAME TABLE d.a TO d.x, d.b TO d.a, d.x TO d.b";
        assert_eq!(cut(swap, Flavor::MySQL, false), [swap]);
        assert_eq!(
            cut(swap, Flavor::MySQL, true),
            [
                "RENAME TABLE `d`.`a` TO `d`.`x`",
                "RENAME TABLE `d`.`b` TO `d`.`a`",
                "RENAME TABLE `d`.`x` TO `d`.`b`"
            ]
        );
    }

    #[test]
    fn tidb_gets_a_clause_at_a_time() {
        let many = "ALTER TABLE `d`.`t` ADD COLUMN (a INT, b INT), RENAME TO d.u, \
                    ADD KEY k (a, b) /* why */, ALGORITHM=INPLACE, DROP COLUMN c";
        assert_eq!(cut(many, Flavor::MySQL, false), [many]);
        assert_eq!(
            cut(many, Flavor::TiDB, false),
            [
                "ALTER TABLE `d`.`t` ADD COLUMN (a INT, b INT)",
                "ALTER TABLE `d`.`t` ADD KEY k (a, b)",
                "ALTER TABLE `d`.`t` DROP COLUMN c",
                "ALTER TABLE `d`.`t` RENAME TO d.u",
            ]
        );
        for whole in [
            "ALTER TABLE d.t ADD COLUMN a INT",
            "ALTER TABLE d.t RENAME COLUMN a TO b, RENAME COLUMN b TO a",
            "ALTER TABLE d.t CHANGE a b INT, CHANGE b a INT",
            "ALTER TABLE d.t DROP PARTITION p0, p1",
        ] {
            assert_eq!(cut(whole, Flavor::TiDB, false), [whole]);
        }
        assert_eq!(
            cut(
                "ALTER TABLE d.t RENAME COLUMN a TO b, CHANGE c e BIGINT NOT NULL",
                Flavor::TiDB,
                false
            )
            .len(),
            2
        );
    }
}
