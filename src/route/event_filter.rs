//! Which events are left out.

use regex::Regex;

use crate::model::{Error, ErrorKind, Result, TableName};

use super::pattern::{PatternError, TablePattern, reason};

/// A kind of event, as a filter names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum EventKind {
    /// Rows inserted.
    Insert,
    /// Rows updated.
    Update,
    /// Rows deleted.
    Delete,
    /// `CREATE DATABASE`.
    CreateDatabase,
    /// `ALTER DATABASE`.
    AlterDatabase,
    /// `DROP DATABASE`.
    DropDatabase,
    /// `CREATE TABLE`, of any form.
    CreateTable,
    /// `ALTER TABLE`.
    AlterTable,
    /// `DROP TABLE`.
    DropTable,
    /// `TRUNCATE TABLE`.
    TruncateTable,
    /// `RENAME TABLE`.
    RenameTable,
    /// `CREATE INDEX`.
    CreateIndex,
    /// `DROP INDEX`.
    DropIndex,
    /// `CREATE VIEW`.
    CreateView,
    /// `ALTER VIEW`.
    AlterView,
    /// `DROP VIEW`.
    DropView,
    /// `CREATE`, `ALTER` and `DROP TRIGGER`.
    Trigger,
    /// The same for procedures, functions and packages.
    Routine,
    /// The same for scheduled events.
    Event,
    /// The same for sequences.
    Sequence,
    /// Any other statement that is no row event.
    OtherDdl,
}

/// Every kind with its name, in the order of the documentation.
const KINDS: [(EventKind, &str); 21] = [
    (EventKind::Insert, "insert"),
    (EventKind::Update, "update"),
    (EventKind::Delete, "delete"),
    (EventKind::CreateDatabase, "create database"),
    (EventKind::AlterDatabase, "alter database"),
    (EventKind::DropDatabase, "drop database"),
    (EventKind::CreateTable, "create table"),
    (EventKind::AlterTable, "alter table"),
    (EventKind::DropTable, "drop table"),
    (EventKind::TruncateTable, "truncate table"),
    (EventKind::RenameTable, "rename table"),
    (EventKind::CreateIndex, "create index"),
    (EventKind::DropIndex, "drop index"),
    (EventKind::CreateView, "create view"),
    (EventKind::AlterView, "alter view"),
    (EventKind::DropView, "drop view"),
    (EventKind::Trigger, "trigger"),
    (EventKind::Routine, "routine"),
    (EventKind::Event, "event"),
    (EventKind::Sequence, "sequence"),
    (EventKind::OtherDdl, "other ddl"),
];

/// The names that stand for several kinds.
const ALL_DML: &str = "all dml";
const ALL_DDL: &str = "all ddl";

impl EventKind {
    /// The name in a configuration.
    pub fn name(self) -> &'static str {
        KINDS
            .iter()
            .find(|(kind, _)| *kind == self)
            .map_or("other ddl", |(_, name)| name)
    }

    /// The kind of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        KINDS
            .iter()
            .find(|(_, known)| *known == name)
            .map(|(kind, _)| *kind)
    }

    /// Whether it is about rows.
    pub fn is_dml(self) -> bool {
        matches!(self, Self::Insert | Self::Update | Self::Delete)
    }

    /// Every name that `events` may hold.
    pub fn names() -> impl Iterator<Item = &'static str> {
        KINDS
            .iter()
            .map(|(_, name)| *name)
            .chain([ALL_DML, ALL_DDL])
    }
}

/// What a filter does with an event it matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FilterAction {
    /// The event is passed over and counted.
    Ignore,
    /// The stream stops at it.
    Error,
}

/// One entry of `events`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kinds {
    One(EventKind),
    AllDml,
    AllDdl,
}

/// A rule that leaves events out, or forbids them: for those of some tables, of some kinds, and, for
/// statements, of some wording. All that is given must fit.
#[derive(Clone, Debug)]
pub struct EventFilter {
    tables: Vec<TablePattern>,
    /// Empty: every DDL kind, by its wording.
    kinds: Vec<Kinds>,
    /// Empty: any wording.
    sql: Vec<Regex>,
    action: FilterAction,
}

/// A fault in a filter.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// In `tables`.
    #[error("{0}")]
    Tables(PatternError),
    /// In `events`.
    #[error("{0}")]
    Events(PatternError),
    /// In `sql`.
    #[error("{0}")]
    Sql(PatternError),
    /// In how they go together.
    #[error("{0}")]
    Whole(String),
}

impl EventFilter {
    /// Reads a filter. Without `events` it is for DDL whose text matches one of `sql`; with both, the
    /// DDL must fit both, and rows, which have no text, only `events`.
    pub fn parse(
        tables: &[String],
        events: &[String],
        sql: &[String],
        action: FilterAction,
    ) -> Result<Self, FilterError> {
        if tables.is_empty() {
            return Err(FilterError::Whole(
                "the filter is for no table; write `tables = \"*.*\"` for all".to_owned(),
            ));
        }
        if events.is_empty() && sql.is_empty() {
            return Err(FilterError::Whole(
                "the filter names no event; give `events`, or `sql` for statements by their text"
                    .to_owned(),
            ));
        }
        let tables = each(tables, |text| {
            if text.trim_start().starts_with('!') {
                return Err(format!(
                    "`{text}` begins with `!`; a filter only says what it is for"
                ));
            }
            TablePattern::parse(text)
        })
        .map_err(FilterError::Tables)?;
        let kinds = each(events, parse_kinds).map_err(FilterError::Events)?;
        let sql = each(sql, |text| {
            Regex::new(text)
                .map_err(|error| format!("`{text}` is no regular expression: {}", reason(&error)))
        })
        .map_err(FilterError::Sql)?;
        if !sql.is_empty() && kinds.contains(&Kinds::AllDml) {
            return Err(FilterError::Whole(
                "`sql` is matched against statements, and rows have none; put `all dml` in a filter of its own"
                    .to_owned(),
            ));
        }
        Ok(Self {
            tables,
            kinds,
            sql,
            action,
        })
    }

    /// What to do with an event of `kind` on `table`, whose statement is `sql` if it is DDL; `None`: this
    /// filter says nothing about it.
    pub fn action(
        &self,
        table: &TableName,
        kind: EventKind,
        sql: Option<&str>,
    ) -> Option<FilterAction> {
        let fits = self.fits(kind, sql) && self.tables.iter().any(|p| p.matches(table));
        fits.then_some(self.action)
    }

    /// The same for a statement about a schema itself: patterns count that take its every table.
    pub fn schema_action(
        &self,
        schema: &str,
        kind: EventKind,
        sql: Option<&str>,
    ) -> Option<FilterAction> {
        let fits = self.fits(kind, sql) && self.tables.iter().any(|p| p.covers_schema(schema));
        fits.then_some(self.action)
    }

    /// What the first of `filters` that fits does with an event.
    pub fn first_action(
        filters: &[Self],
        table: &TableName,
        kind: EventKind,
        sql: Option<&str>,
    ) -> Option<FilterAction> {
        filters
            .iter()
            .find_map(|filter| filter.action(table, kind, sql))
    }

    /// The kinds of row changes of `table` that `filters` leave out.
    pub fn rows_left_out(filters: &[Self], table: &TableName) -> Vec<EventKind> {
        [EventKind::Insert, EventKind::Update, EventKind::Delete]
            .into_iter()
            .filter(|kind| {
                Self::first_action(filters, table, *kind, None) == Some(FilterAction::Ignore)
            })
            .collect()
    }

    /// Fails if `filters` leave changes of one of the tables out that a dump without a lock needs: what
    /// was read of the one moment and not of the other is made good by these.
    pub fn expect_all_changes<'a>(
        filters: &[Self],
        tables: impl IntoIterator<Item = &'a TableName>,
    ) -> Result<()> {
        for table in tables {
            let mut left_out = Self::rows_left_out(filters, table);
            let truncate = EventKind::TruncateTable;
            if Self::first_action(filters, table, truncate, None) == Some(FilterAction::Ignore) {
                left_out.push(truncate);
            }
            if left_out.is_empty() {
                continue;
            }
            let kinds: Vec<&str> = left_out.into_iter().map(EventKind::name).collect();
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!(
                    "a filter leaves changes of {table} out ({}), and a dump without a lock needs all of \
                     them to come to one moment",
                    kinds.join(", ")
                ),
            )
            .with_fix(
                "use `consistency = \"flush\"` or `\"snapshot\"`, or take the filter out until the stream is in sync",
            )
            .at(|c| c.table = Some(table.clone())));
        }
        Ok(())
    }

    /// The rule in canonical form, on one line.
    pub fn line(&self) -> String {
        let action = match self.action {
            FilterAction::Ignore => "ignore",
            FilterAction::Error => "error",
        };
        let tables: Vec<&str> = self.tables.iter().map(TablePattern::as_str).collect();
        let kinds: Vec<&str> = self
            .kinds
            .iter()
            .map(|kinds| match kinds {
                Kinds::One(kind) => kind.name(),
                Kinds::AllDml => ALL_DML,
                Kinds::AllDdl => ALL_DDL,
            })
            .collect();
        let mut line = format!("{action} on {}: {}", tables.join(", "), kinds.join(", "));
        for regex in &self.sql {
            line.push_str("; sql /");
            // One line a rule: a line break within an expression is written as its escape.
            line.push_str(&regex.as_str().replace('\n', "\\n"));
            line.push('/');
        }
        line
    }

    fn fits(&self, kind: EventKind, sql: Option<&str>) -> bool {
        let kind_fits = self.kinds.iter().any(|kinds| match kinds {
            Kinds::One(one) => *one == kind,
            Kinds::AllDml => kind.is_dml(),
            Kinds::AllDdl => !kind.is_dml(),
        });
        if kind.is_dml() {
            return kind_fits;
        }
        let text_fits =
            || sql.is_some_and(|text| self.sql.iter().any(|regex| regex.is_match(text)));
        (self.kinds.is_empty() || kind_fits) && (self.sql.is_empty() || text_fits())
    }
}

fn parse_kinds(text: &String) -> Result<Kinds, String> {
    let name = text.trim().to_ascii_lowercase();
    match name.as_str() {
        ALL_DML => Ok(Kinds::AllDml),
        ALL_DDL => Ok(Kinds::AllDdl),
        other => EventKind::from_name(other)
            .map(Kinds::One)
            .ok_or_else(|| format!("`{text}` is no kind of event")),
    }
}

fn each<T>(
    texts: &[String],
    mut read: impl FnMut(&String) -> Result<T, String>,
) -> Result<Vec<T>, PatternError> {
    texts
        .iter()
        .enumerate()
        .map(|(index, text)| read(text).map_err(|message| PatternError::new(index, message)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(tables: &str, events: &[&str], sql: &[&str]) -> Result<EventFilter, FilterError> {
        let owned = |texts: &[&str]| texts.iter().map(|&t| t.to_owned()).collect::<Vec<_>>();
        EventFilter::parse(
            &owned(&[tables]),
            &owned(events),
            &owned(sql),
            FilterAction::Ignore,
        )
    }

    #[test]
    fn kinds_and_tables_must_both_fit() {
        let f = filter("shop.audit", &["delete", "Truncate Table"], &[]).unwrap();
        let audit = TableName::new("shop", "audit");
        assert_eq!(
            f.action(&audit, EventKind::Delete, None),
            Some(FilterAction::Ignore)
        );
        assert!(f.action(&audit, EventKind::Insert, None).is_none());
        assert!(
            f.action(&audit, EventKind::TruncateTable, Some("truncate audit"))
                .is_some()
        );
        let other = TableName::new("shop", "orders");
        assert!(f.action(&other, EventKind::Delete, None).is_none());
    }

    #[test]
    fn wording_is_for_statements() {
        let t = TableName::new("shop", "t");
        let by_text = filter("shop.*", &[], &["(?i)drop +partition"]).unwrap();
        let sql = Some("ALTER TABLE t DROP PARTITION p1");
        assert!(by_text.action(&t, EventKind::AlterTable, sql).is_some());
        assert!(
            by_text
                .action(&t, EventKind::AlterTable, Some("ALTER TABLE t ADD c INT"))
                .is_none()
        );
        assert!(by_text.action(&t, EventKind::Delete, None).is_none());
        let both = filter("shop.*", &["drop table", "delete"], &["tmp"]).unwrap();
        assert!(
            both.action(&t, EventKind::AlterTable, Some("tmp"))
                .is_none()
        );
        assert!(
            both.action(&t, EventKind::DropTable, Some("drop tmp"))
                .is_some()
        );
        assert!(both.action(&t, EventKind::Delete, None).is_some());
    }

    #[test]
    fn schemas_need_a_pattern_for_all_of_them() {
        let some = filter("shop.a*", &["all ddl"], &[]).unwrap();
        assert!(
            some.schema_action("shop", EventKind::DropDatabase, None)
                .is_none()
        );
        let all = filter("shop.*", &["all ddl"], &[]).unwrap();
        assert!(
            all.schema_action("shop", EventKind::DropDatabase, None)
                .is_some()
        );
    }

    #[test]
    fn faults_are_named() {
        assert_eq!(
            filter("a.b", &["delete", "truncat table"], &[]).unwrap_err(),
            FilterError::Events(PatternError::new(1, "`truncat table` is no kind of event"))
        );
        assert!(matches!(
            filter("a", &["delete"], &[]),
            Err(FilterError::Tables(_))
        ));
        assert!(matches!(
            filter("!a.b", &["delete"], &[]),
            Err(FilterError::Tables(_))
        ));
        assert!(matches!(
            filter("a.b", &[], &["("]),
            Err(FilterError::Sql(_))
        ));
        assert!(matches!(
            filter("a.b", &[], &[]),
            Err(FilterError::Whole(_))
        ));
        assert!(matches!(
            filter("a.b", &["all dml"], &["x"]),
            Err(FilterError::Whole(_))
        ));
    }

    #[test]
    fn names_go_both_ways() {
        for (kind, name) in KINDS {
            assert_eq!(EventKind::from_name(name), Some(kind));
            assert_eq!(kind.name(), name);
        }
    }
}
