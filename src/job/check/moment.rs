//! What goes on at a source just now that a start should not run into: long queries and transactions,
//! DDL that runs, and the tables of tools that change others online.

use std::collections::BTreeSet;

use crate::config::{Config, Consistency, Mode, SourceConfig, TaskConfig};
use crate::connect::Session;
use crate::model::TableName;
use crate::source::TableInfo;

use super::facts::{SourceFacts, is_table, tasks_of_source};
use super::rows::{Scope, some};

/// A transaction or query that has been open for so long is worth a word, in seconds.
const LONG_SECONDS: u64 = 60;

/// The first words of statements that change structures.
const DDL_WORDS: [&str; 7] = [
    "alter", "create", "drop", "rename", "truncate", "optimize", "repair",
];

/// What runs at a source.
#[derive(Debug, Default)]
pub(super) struct Moment {
    /// What the account may see of other accounts' work: all, with PROCESS.
    sees_all: bool,
    /// Queries that have been running for long, and transactions that have been open for long.
    long: Vec<String>,
    /// Statements that change structures.
    ddl: Vec<String>,
    /// How many XA transactions are prepared; `None` where the account may not ask.
    prepared: Option<usize>,
}

impl Moment {
    /// Looks. What the account may not see is left out, and that is said.
    pub(super) async fn read(session: &mut Session) -> Self {
        let mut moment = Self::default();
        let own = session.connection_id().to_string();
        let processes = session.rows("SHOW FULL PROCESSLIST").await;
        for row in processes.iter().flatten() {
            moment.process(row, &own);
        }
        // Needs PROCESS, with which the list above was whole.
        let transactions = session
            .rows(&format!(
                "SELECT trx_mysql_thread_id, TIMESTAMPDIFF(SECOND, trx_started, NOW()) \
                 FROM information_schema.INNODB_TRX \
                 WHERE trx_started < NOW() - INTERVAL {LONG_SECONDS} SECOND"
            ))
            .await;
        moment.sees_all = transactions.is_ok();
        let prepared = session.rows("XA RECOVER").await;
        moment.prepared = prepared.ok().map(|rows| rows.len());
        for row in transactions.iter().flatten() {
            moment.transaction(row);
        }
        moment
    }

    /// Takes a row of the process list: Id, User, Host, db, Command, Time, State, Info on all servers.
    fn process(&mut self, row: &[Option<Vec<u8>>], own: &str) {
        if cell(row, 0) == own || !matches!(cell(row, 4).as_str(), "Query" | "Execute") {
            return;
        }
        let who = format!("connection {} of `{}`", cell(row, 0), cell(row, 1));
        let seconds: u64 = cell(row, 5).parse().unwrap_or(0);
        let statement = cell(row, 7);
        let word = statement
            .trim_start()
            .split(|c: char| !c.is_ascii_alphabetic())
            .next()
            .unwrap_or_default()
            .to_ascii_lowercase();
        if DDL_WORDS.contains(&word.as_str()) {
            self.ddl.push(format!("{who}, for {seconds} s"));
        } else if seconds >= LONG_SECONDS {
            self.long.push(format!("{who}: a query for {seconds} s"));
        }
    }

    /// Takes an open transaction: its connection, and for how long it has been open.
    fn transaction(&mut self, row: &[Option<Vec<u8>>]) {
        let who = format!("connection {}", cell(row, 0));
        let known = format!("{who} ");
        let is_known = |list: &[String]| list.iter().any(|entry| entry.starts_with(&known));
        if !is_known(&self.long) && !is_known(&self.ddl) {
            self.long
                .push(format!("{who}: a transaction for {} s", cell(row, 1)));
        }
    }
}

fn cell(row: &[Option<Vec<u8>>], at: usize) -> String {
    let bytes = row.get(at).and_then(Option::as_deref).unwrap_or_default();
    String::from_utf8_lossy(bytes).into_owned()
}

/// The rows about it.
pub(super) fn judge(
    rows: &mut Scope<'_>,
    config: &Config,
    source: &SourceConfig,
    facts: &SourceFacts,
) {
    let may_lock = tasks_of_source(config, source).any(|task| {
        task.mode != Mode::Incremental
            && matches!(
                task.dump.consistency,
                Consistency::Auto | Consistency::Flush
            )
    });
    let moment = &facts.moment;
    let unseen = "not knowable: without PROCESS the account sees its own sessions alone";
    let why = if may_lock {
        "the read lock of a dump waits for statements that run, and writers wait behind it; what a long \
         transaction writes arrives in one piece when it commits"
    } else {
        "what a long transaction writes arrives in one piece when it commits"
    };
    if !moment.long.is_empty() {
        rows.warn(
            "long-transactions",
            format!("{}: {}", moment.long.len(), some(&moment.long)),
            why,
            "let them end, or end them with `KILL`, before the start",
        );
    } else if moment.sees_all {
        rows.pass("long-transactions", "none", why);
    } else {
        rows.pass("long-transactions", unseen, why);
    }
    let why = "a table whose structure changes while it is dumped makes the dump begin again";
    if !moment.ddl.is_empty() {
        rows.warn(
            "running-ddl",
            format!("{}: {}", moment.ddl.len(), some(&moment.ddl)),
            why,
            "wait until it is done, then start",
        );
    } else if moment.sees_all {
        rows.pass("running-ddl", "none", why);
    } else {
        rows.pass("running-ddl", unseen, why);
    }
    if tasks_of_source(config, source).any(TaskConfig::makes_dump) {
        prepared(rows, moment);
    }
    let tables = facts.tables.iter().filter(|table| is_table(table));
    let in_flight = online_changes(tables.filter(|table| {
        tasks_of_source(config, source).any(|task| {
            task.selection.takes(&table.name)
                || changed_by(&table.name).is_some_and(|base| task.selection.takes(&base))
        })
    }));
    if !in_flight.is_empty() {
        rows.warn(
            "online-ddl",
            format!("{}: {}", in_flight.len(), some(&in_flight)),
            "such a tool fills a copy of a table and then gives it the table's name: a rename that crosses \
             the selection stops the stream, and the copy would be moved too",
            "wait until the tool is done, or leave its tables out of `task.tables`",
        );
    }
}

/// Prepared XA transactions: none may be open while a dump begins.
fn prepared(rows: &mut Scope<'_>, moment: &Moment) {
    let why = "what an XA transaction has written is in the binlog from its prepare on, and to be read only \
               from its commit on: a dump that begins in between would miss it, and waits";
    match moment.prepared {
        Some(0) => rows.pass("prepared-xa", "none", why),
        Some(count) => rows.warn(
            "prepared-xa",
            format!("{count} prepared"),
            why,
            "XA RECOVER; -- lists them; end each with `XA COMMIT` or `XA ROLLBACK`",
        ),
        None => rows.pass(
            "prepared-xa",
            "not knowable: MySQL shows them with XA_RECOVER_ADMIN alone; there must be none",
            why,
        ),
    }
}

/// The table that a tool's table belongs to, by its name: `_t_gho`, `_t_ghc`, `_t_del` of gh-ost, `_t_new`
/// and `_t_old` of pt-online-schema-change.
fn changed_by(table: &TableName) -> Option<TableName> {
    let name = table.name.strip_prefix('_')?;
    ["_gho", "_ghc", "_del", "_new", "_old"]
        .iter()
        .find_map(|end| name.strip_suffix(end))
        .filter(|base| !base.is_empty())
        .map(|base| TableName::new(&table.schema, base))
}

/// The tools' tables among `tables`, where the table that each belongs to is there too.
fn online_changes<'a>(tables: impl Iterator<Item = &'a TableInfo>) -> Vec<String> {
    let names: BTreeSet<&TableName> = tables.map(|table| &table.name).collect();
    names
        .iter()
        .filter_map(|name| {
            let base = changed_by(name)?;
            names.contains(&base).then(|| format!("{name} (of {base})"))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_runs_for_long_or_changes_structures_is_listed_once() {
        let row = |cells: &[&str]| -> Vec<Option<Vec<u8>>> {
            let bytes = cells.iter().map(|cell| Some(cell.as_bytes().to_vec()));
            bytes.collect()
        };
        let process = |id: &str, command: &str, seconds: &str, statement: &str| {
            row(&[id, "app", "h", "db", command, seconds, "", statement])
        };
        let mut moment = Moment::default();
        moment.process(&process("1", "Query", "900", "SHOW PROCESSLIST"), "1");
        moment.process(&process("2", "Sleep", "900", ""), "1");
        moment.process(&process("3", "Query", "61", "SELECT 1"), "1");
        moment.process(&process("4", "Query", "5", "SELECT 1"), "1");
        moment.process(&process("5", "Query", "2", " ALTER TABLE t ADD c INT"), "1");
        for id in ["2", "3", "5"] {
            moment.transaction(&row(&[id, "950"]));
        }
        assert_eq!(
            moment.long,
            [
                "connection 3 of `app`: a query for 61 s",
                "connection 2: a transaction for 950 s"
            ]
        );
        assert_eq!(moment.ddl, ["connection 5 of `app`, for 2 s"]);
    }

    #[test]
    fn the_tables_of_tools_are_known_by_their_names() {
        let of = |name: &str| changed_by(&TableName::new("s", name)).map(|table| table.name);
        assert_eq!(of("_orders_gho").as_deref(), Some("orders"));
        assert_eq!(of("_orders_new").as_deref(), Some("orders"));
        assert_eq!(of("orders_new"), None);
        assert_eq!(of("__new"), None);
        assert_eq!(of("_archive"), None);
    }
}
