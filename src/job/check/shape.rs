//! What the target makes of a task's tables: what it has under their names already, and what it cannot
//! take as it is. Read in a second round, as it needs both sides; in packets of many questions each,
//! whatever the number of tables.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use futures_util::future;
use futures_util::stream::{self, StreamExt as _};
use tokio_util::sync::CancellationToken;

use crate::config::{Config, Mode, SourceConfig, TargetConfig, TaskConfig};
use crate::connect::Session;
use crate::model::{Error, Flavor, Result, ServerVersion, TableName};
use crate::schema::tokens::{TokenKind, tokenize};
use crate::schema::{SqlMode, Structure, adapt_create_table, fit};
use crate::source::{self, NAMES_AT_ONCE, TableInfo};
use crate::target::checkpoint::Tables;

use super::facts::{SourceFacts, TargetFacts, is_table, setup};
use super::progress::Progress;
use super::relations::{self, Range};
use super::rows::{Scope, one_line, some};

/// How many questions go in one packet.
const AT_ONCE: usize = 200;

/// How many pairs of a task and a source are looked at at once, each on two connections.
const PAIRS_AT_ONCE: usize = 4;

/// Of more tables than these, each half is looked at on connections of its own.
const SHARED: usize = 500;

/// After so many tables that cannot be read, each of which is waited for, no more are tried.
const UNREAD: usize = 5;

/// What was found for one task and one of its sources.
#[derive(Debug, Default)]
pub(super) struct Shape {
    /// What is changed in CREATE TABLE for the target, each with the tables it is changed of: one change
    /// is often that of all tables.
    adapted: BTreeMap<String, Vec<TableName>>,
    /// Tables that the target cannot take, each with the reason.
    refused: Vec<String>,
    /// Tables whose CREATE TABLE could not be read, each with the reason.
    unread: Vec<String>,
    /// Collations that the target does not have, with how many tables use them.
    lacking: BTreeMap<String, usize>,
    /// Tables on the target that are unlike the source's, each with what differs.
    unlike: Vec<String>,
    /// Tables that the target does not have, where none is made.
    lacking_tables: Vec<String>,
    /// Tables on the target that hold rows of nobody known.
    filled: Vec<String>,
    /// Why tables on the target could not be asked for rows.
    unasked: Option<String>,
    /// Tables on the target that another task writes.
    taken: Vec<String>,
    /// The values of keys that count by themselves, of tables that meet others on the target.
    pub(super) ranges: Vec<Range>,
    /// Why it could not be looked at.
    trouble: Option<Error>,
}

impl Shape {
    /// Takes up what was found for more tables of the same task and source.
    fn append(&mut self, more: Self) {
        let Self {
            adapted,
            refused,
            unread,
            lacking,
            unlike,
            lacking_tables,
            filled,
            unasked,
            taken,
            ranges,
            trouble,
        } = more;
        for (change, tables) in adapted {
            self.adapted.entry(change).or_default().extend(tables);
        }
        for (collation, count) in lacking {
            *self.lacking.entry(collation).or_default() += count;
        }
        self.refused.extend(refused);
        self.unread.extend(unread);
        self.unlike.extend(unlike);
        self.lacking_tables.extend(lacking_tables);
        self.filled.extend(filled);
        self.unasked = self.unasked.take().or(unasked);
        self.taken.extend(taken);
        self.ranges.extend(ranges);
        self.trouble = self.trouble.take().or(trouble);
    }
}

/// A task and a source of it.
pub(super) type Key = (String, String);

/// Looks at all tasks on all their sources that answered.
pub(super) async fn read(
    config: &Config,
    sources: &[Result<SourceFacts>],
    targets: &[Result<TargetFacts>],
    stop: &CancellationToken,
    progress: &Progress,
) -> HashMap<Key, Shape> {
    let mut pairs = Vec::new();
    for task in &config.tasks {
        let target = config.targets.iter().zip(targets);
        let Some((to, Ok(target))) = target
            .filter(|(to, _)| to.server.name == task.target)
            .map(|(to, facts)| (to, facts.as_ref()))
            .next()
        else {
            continue;
        };
        let of_task: Vec<_> = config
            .sources
            .iter()
            .zip(sources)
            .filter(|(from, _)| task.sources.contains(&from.server.name))
            .filter_map(|(from, facts)| Some((from, facts.as_ref().ok()?)))
            .collect();
        let merged = relations::merged_targets(task, of_task.iter().map(|(_, facts)| *facts));
        for (from, source) in of_task {
            pairs.push((task, from, source, to, target, merged.clone()));
        }
    }
    progress.expect(pairs.len());
    let looks = pairs
        .into_iter()
        .map(|(task, from, source, to, target, merged)| async move {
            let tables: Vec<&TableInfo> = source.taken(task).collect();
            let part = if tables.len() > SHARED {
                tables.len().div_ceil(2)
            } else {
                SHARED
            };
            let looks = tables.chunks(part).map(|tables| {
                let look = Look {
                    config,
                    task,
                    source,
                    target,
                    progress,
                    tables,
                    shape: Shape::default(),
                };
                look.taken(from, to)
            });
            let look = async {
                let mut shape = Shape::default();
                for part in future::try_join_all(looks).await? {
                    shape.append(part);
                }
                if task.mode != Mode::Incremental && !merged.is_empty() {
                    let mut session = Session::open(&from.server, &setup()).await?;
                    shape.ranges =
                        relations::ranges(&mut session, task, source, &merged, AT_ONCE).await?;
                    session.close().await;
                }
                Ok(shape)
            };
            let shape = super::bounded(stop, Box::pin(look))
                .await
                .unwrap_or_else(|error| Shape {
                    trouble: Some(error),
                    ..Shape::default()
                });
            progress.step();
            ((task.name.clone(), from.server.name.clone()), shape)
        });
    stream::iter(looks)
        .buffer_unordered(PAIRS_AT_ONCE)
        .collect()
        .await
}

/// The table of this name among some by name.
fn find<'a>(tables: &'a [TableInfo], name: &TableName) -> Option<&'a TableInfo> {
    let at = tables.binary_search_by(|have| have.name.cmp(name)).ok()?;
    tables.get(at).filter(|info| is_table(info))
}

/// One look.
struct Look<'a> {
    config: &'a Config,
    task: &'a TaskConfig,
    source: &'a SourceFacts,
    target: &'a TargetFacts,
    progress: &'a Progress,
    /// Those of the task's tables that it is at.
    tables: &'a [&'a TableInfo],
    shape: Shape,
}

impl Look<'_> {
    /// Looks, on connections of its own.
    async fn taken(mut self, from: &SourceConfig, to: &TargetConfig) -> Result<Shape> {
        let mut session = Session::open(&from.server, &setup()).await?;
        let mut there = Session::open(&to.server, &setup()).await?;
        self.existing(&mut session, &mut there).await?;
        if self.task.mode != Mode::Incremental {
            self.creates(&mut session).await?;
        }
        session.close().await;
        there.close().await;
        Ok(self.shape)
    }

    fn pairs(&self) -> Vec<(TableName, TableName)> {
        let tables = self.tables.iter();
        tables
            .map(|table| (table.name.clone(), self.task.routes.target(&table.name)))
            .collect()
    }

    fn on_target(&self, table: &TableName) -> Option<&TableInfo> {
        find(&self.target.tables, table)
    }

    /// Tables that are on the target already.
    async fn existing(&mut self, from: &mut Session, to: &mut Session) -> Result<()> {
        let owners = self.owners(to).await?;
        let mut wanted = Vec::new();
        for (source, target) in self.pairs() {
            if self.on_target(&target).is_none() {
                let tables = &self.target.tables;
                let is_free = tables
                    .binary_search_by(|have| have.name.cmp(&target))
                    .is_err();
                // Something else under the name has a row of its own.
                if is_free && self.task.mode == Mode::Incremental {
                    self.shape.lacking_tables.push(target.to_string());
                }
                continue;
            }
            let of_others: BTreeSet<&str> = owners
                .get(&target)
                .into_iter()
                .flatten()
                .map(|(task, _)| task.as_str())
                .filter(|task| *task != self.task.name)
                .collect();
            if let Some(other) = of_others.first() {
                self.shape.taken.push(format!("{target} (task `{other}`)"));
            }
            // What a stream of this task has taken is its own business: it knows what it made of it.
            let is_known = owners
                .get(&target)
                .is_some_and(|all| all.iter().any(|(task, _)| *task == self.task.name));
            if !is_known {
                wanted.push((source, target));
            }
        }
        self.progress.expect(wanted.len());
        for chunk in wanted.chunks(NAMES_AT_ONCE) {
            self.compare(chunk, from, to).await?;
            for chunk in chunk.chunks(AT_ONCE) {
                self.progress.steps(chunk.len());
                if self.task.mode != Mode::Incremental && self.shape.unasked.is_none() {
                    self.ask_for_rows(chunk, to).await;
                }
            }
        }
        Ok(())
    }

    /// Compares some tables with what the target has in their place.
    async fn compare(
        &mut self,
        pairs: &[(TableName, TableName)],
        from: &mut Session,
        to: &mut Session,
    ) -> Result<()> {
        let by_name = |structures: Vec<Structure>| -> HashMap<TableName, Structure> {
            let named = structures.into_iter().map(|s| (s.table.clone(), s));
            named.collect()
        };
        // They were listed a moment ago, and listing them takes MariaDB longer than all else.
        let listed = |tables: &[TableInfo], name: &TableName| find(tables, name).cloned();
        let targets = pairs
            .iter()
            .filter_map(|(_, target)| listed(&self.target.tables, target));
        let sources = pairs
            .iter()
            .filter_map(|(source, _)| listed(&self.source.tables, source));
        let (theirs, ours) = tokio::try_join!(
            source::read_structures_in(to, targets),
            source::read_structures_in(from, sources)
        )?;
        let (theirs, ours) = (by_name(theirs), by_name(ours));
        for (source, target) in pairs {
            let (Some(ours), Some(theirs)) = (ours.get(source), theirs.get(target)) else {
                continue;
            };
            let differences = if self.task.mode == Mode::Incremental {
                unfit(ours, theirs)
            } else {
                fit::differences(ours, theirs)
            };
            if !differences.is_empty() {
                self.shape.unlike.push(format!(
                    "{target} (source | target): {}",
                    some(&differences)
                ));
            }
        }
        Ok(())
    }

    /// Asks which of some tables on the target hold rows.
    async fn ask_for_rows(&mut self, pairs: &[(TableName, TableName)], to: &mut Session) {
        let mut tables: Vec<&TableName> = pairs.iter().map(|(_, table)| table).collect();
        tables.sort();
        tables.dedup();
        let questions: Vec<String> = tables
            .iter()
            .enumerate()
            .map(|(at, table)| format!("SELECT {at}, EXISTS (SELECT 1 FROM {})", table.quoted()))
            .collect();
        // One statement for all of them.
        match to.rows(&questions.join(" UNION ALL ")).await {
            Ok(rows) => {
                for row in rows {
                    let cell = |at: usize| {
                        let bytes = row.get(at)?.as_deref()?;
                        std::str::from_utf8(bytes).ok()?.parse::<usize>().ok()
                    };
                    if let (Some(at), Some(1)) = (cell(0), cell(1))
                        && let Some(table) = tables.get(at)
                    {
                        self.shape.filled.push(table.to_string());
                    }
                }
            }
            // The server names the table.
            Err(failed) => self.shape.unasked = Some(one_line(&failed)),
        }
    }

    /// Who writes which target table, by the meta schema; nobody where there is none yet.
    async fn owners(&self, to: &mut Session) -> Result<BTreeMap<TableName, Vec<Key>>> {
        let schema = &self.config.worker.meta_schema;
        let mut owners: BTreeMap<TableName, Vec<Key>> = BTreeMap::new();
        if self.on_target(&TableName::new(schema, "owner")).is_none() {
            return Ok(owners);
        }
        let rows = to
            .rows(&format!(
                "SELECT `target_schema`, `target_table`, `task`, `source` FROM {}",
                Tables::new(schema).owner
            ))
            .await?;
        for row in rows {
            let mut cells = row
                .into_iter()
                .map(|cell| String::from_utf8_lossy(&cell.unwrap_or_default()).into_owned());
            let mut next = || cells.next().unwrap_or_default();
            let table = TableName::new(next(), next());
            owners.entry(table).or_default().push((next(), next()));
        }
        Ok(owners)
    }

    /// What a load would make of the statements that create the tables.
    async fn creates(&mut self, session: &mut Session) -> Result<()> {
        let (from, to) = (&self.source.server.info, &self.target.server.info);
        // Between two of one family the newer takes all that the older has.
        if from.flavor() == to.flavor() && to.version.number >= from.version.number {
            return Ok(());
        }
        let mut missing: Vec<TableName> = self
            .pairs()
            .into_iter()
            .filter(|(_, target)| self.on_target(target).is_none())
            .map(|(source, _)| source)
            .collect();
        self.progress.expect(missing.len());
        let mut at = 0;
        while at < missing.len() && self.shape.unread.len() < UNREAD {
            let end = missing.len().min(at + AT_ONCE);
            let chunk = missing.get(at..end).unwrap_or_default();
            let questions: Vec<String> = chunk
                .iter()
                .map(|table| format!("SHOW CREATE TABLE {}", table.quoted()))
                .collect();
            match session.results(&questions).await {
                Ok(answers) => {
                    for (table, rows) in chunk.iter().zip(answers) {
                        let row = rows.into_iter().next();
                        if let Some(text) = row.and_then(|row| row.into_iter().nth(1)?) {
                            self.create(table, &text, &from.version, &to.version);
                        }
                    }
                    self.progress.steps(end - at);
                    at = end;
                }
                Err(failed) if session.is_broken() => return Err(failed.error),
                // One table that is locked, or gone, says nothing of the others.
                Err(failed) => {
                    let table = missing.remove((at + failed.index).min(end - 1));
                    self.progress.step();
                    let reason = one_line(&failed.error);
                    self.shape.unread.push(format!("{table}: {reason}"));
                }
            }
        }
        Ok(())
    }

    fn create(&mut self, table: &TableName, text: &[u8], from: &ServerVersion, to: &ServerVersion) {
        match adapt_create_table(text, from, to) {
            Err(error) => self
                .shape
                .refused
                .push(format!("{table}: {}", one_line(&error))),
            Ok(adapted) => {
                for collation in collations(&adapted.sql, to.flavor) {
                    if !has_collation(&self.target.collations, &collation) {
                        *self.shape.lacking.entry(collation).or_default() += 1;
                    }
                }
                for note in adapted.notes {
                    self.shape
                        .adapted
                        .entry(note)
                        .or_default()
                        .push(table.clone());
                }
            }
        }
    }
}

/// MariaDB lists its newer collations once for all character sets, without the set's name in front.
fn has_collation(there: &HashSet<String>, collation: &str) -> bool {
    let of_any_set = collation.split_once('_').map(|(_, rest)| rest);
    there.contains(collation) || of_any_set.is_some_and(|rest| there.contains(rest))
}

/// What keeps rows of `ours` from going into `theirs` as they are, where the columns need not be the same.
fn unfit(ours: &Structure, theirs: &Structure) -> Vec<String> {
    let columns = ours.columns.iter().filter_map(|column| {
        let found = theirs
            .columns
            .iter()
            .find(|other| other.name.eq_ignore_ascii_case(&column.name));
        match found {
            None => Some(format!("`{}` {} | nothing", column.name, column.type_text)),
            Some(other) => fit::misfit(column, other).map(|reason| {
                format!(
                    "`{}` {} | {}: {reason}",
                    column.name, column.type_text, other.type_text
                )
            }),
        }
    });
    columns.collect()
}

/// The collations that a statement names.
fn collations(sql: &[u8], flavor: Flavor) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut is_next = false;
    for token in tokenize(sql, SqlMode::default(), flavor) {
        match token.kind {
            TokenKind::Space | TokenKind::Comment | TokenKind::Punctuation(b'=') => {}
            TokenKind::Word => {
                let word = String::from_utf8_lossy(token.bytes(sql)).to_ascii_lowercase();
                let is_collate = word == "collate";
                if is_next {
                    found.insert(word);
                }
                is_next = is_collate;
            }
            _ => is_next = false,
        }
    }
    found
}

/// The rows about it.
pub(super) fn judge(
    rows: &mut Scope<'_>,
    task: &TaskConfig,
    name: &str,
    target: &TargetFacts,
    shape: &Shape,
) {
    let to = &task.target;
    if let Some(error) = &shape.trouble {
        rows.warn(
            "target-structure",
            format!(
                "`{name}` and `{to}` could not be compared: {}",
                one_line(error)
            ),
            "tables that are there must be like the source's",
            error.fix().unwrap_or("check again"),
        );
        return;
    }
    if !shape.refused.is_empty() {
        rows.fail(
            "target-dialect",
            format!("{} of `{name}`: {}", shape.refused.len(), some(&shape.refused)),
            format!("`{to}` cannot take these tables as they are").as_str(),
            format!("create them on `{to}` by hand in a form that it takes, or leave them out of `task.tables`"),
        );
    }
    if !shape.unread.is_empty() {
        rows.warn(
            "target-dialect",
            format!("of `{name}` could not be read: {}", some(&shape.unread)),
            "whether the target can take these tables is not known",
            "wait until the DDL on them is done, then check again",
        );
    }
    if target.collations.is_empty() {
        rows.warn(
            "collations",
            format!("`{to}` does not tell its collations"),
            "a table is created with the collations that it has on the source",
            "check again",
        );
    } else if !shape.lacking.is_empty() {
        let list = shape
            .lacking
            .iter()
            .map(|(collation, tables)| format!("{collation} ({tables} tables)"));
        rows.fail(
            "collations",
            format!("`{to}` does not have: {}", some(list)),
            "a table is created with the collations that it has on the source, or one that compares alike",
            format!("create these tables on `{to}` by hand with a collation that it has"),
        );
    }
    if !shape.adapted.is_empty() {
        rows.warn(
            "target-adapted",
            adapted_text(name, &shape.adapted),
            "these tables are created in another form, as the target does not take the source's",
            "create them by hand beforehand where another form is wanted",
        );
    }
    if shape.unlike.is_empty() {
        rows.pass(
            "target-structure",
            "no table there is unlike its source",
            "tables that are there must be like the source's",
        );
    } else {
        rows.fail(
            "target-structure",
            format!("{} on `{to}`: {}", shape.unlike.len(), some(&shape.unlike)),
            "tables that are there must be like the source's",
            "drop the target's table, so that it is created like the source's, or alter it to be alike",
        );
    }
    if !shape.lacking_tables.is_empty() {
        let lacking = &shape.lacking_tables;
        rows.warn(
            "target-missing",
            format!("{} on `{to}`: {}", lacking.len(), some(lacking)),
            "`mode = \"incremental\"` makes no tables but those whose `CREATE TABLE` comes in the binlog: a \
             change of another's rows stops the stream",
            "make the tables on the target as they were at `start`, with their rows, or copy them with \
             `mode = \"all\"`",
        );
    }
    if !shape.filled.is_empty() {
        rows.fail(
            "target-rows",
            format!("{} on `{to}`: {}", shape.filled.len(), some(&shape.filled)),
            "these tables hold rows that no task of this worker has put there, and a copy does not mix its \
             rows with others",
            "find out whose they are; then empty or drop the tables, or route the source's to other names",
        );
    }
    if let Some(unasked) = &shape.unasked {
        rows.warn(
            "target-rows",
            format!("whether tables on `{to}` hold rows could not be asked: {unasked}"),
            "a copy does not mix its rows with others, and stops where it finds some",
            "mend what is named, then check again",
        );
    }
    if !shape.taken.is_empty() {
        rows.warn(
            "target-owner",
            format!("{} on `{to}`: {}", shape.taken.len(), some(&shape.taken)),
            "another task writes these tables: one that comes from the same source table is refused, and \
             rows of different ones meet",
            "route one of the two elsewhere, or make sure that their keys are apart",
        );
    }
}

/// What is changed of which tables.
fn adapted_text(name: &str, adapted: &BTreeMap<String, Vec<TableName>>) -> String {
    let tables: BTreeSet<&TableName> = adapted.values().flatten().collect();
    let changes = adapted.iter().map(|(note, of)| {
        if of.len() == 1 {
            format!("{note} ({})", some(of))
        } else {
            format!("{note} ({} tables: {})", of.len(), some(of))
        }
    });
    format!("{} of `{name}`: {}", tables.len(), some(changes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_of_many_tables_is_told_once() {
        let table = |name: &str| TableName::new("s", name);
        let adapted = BTreeMap::from([
            ("wrote x for y".to_owned(), vec![table("a"), table("b")]),
            ("left z out".to_owned(), vec![table("b")]),
        ]);
        assert_eq!(
            adapted_text("a", &adapted),
            "2 of `a`: left z out (s.b), wrote x for y (2 tables: s.a, s.b)"
        );
    }

    #[test]
    fn what_is_found_in_parts_is_told_as_one() {
        let table = |name: &str| TableName::new("s", name);
        let part = |name: &str| Shape {
            adapted: BTreeMap::from([("left z out".to_owned(), vec![table(name)])]),
            refused: vec![format!("s.{name}: no")],
            lacking: BTreeMap::from([("x_ci".to_owned(), 2)]),
            filled: vec![format!("s.{name}")],
            unasked: Some(name.to_owned()),
            ..Shape::default()
        };
        let mut shape = part("a");
        shape.append(part("b"));
        assert_eq!(shape.adapted["left z out"], [table("a"), table("b")]);
        assert_eq!(shape.refused, ["s.a: no", "s.b: no"]);
        assert_eq!(shape.lacking["x_ci"], 4);
        assert_eq!(shape.filled, ["s.a", "s.b"]);
        assert_eq!(shape.unasked.as_deref(), Some("a"));
    }

    #[test]
    fn a_collation_of_any_character_set_is_there() {
        let there = HashSet::from(["uca1400_ai_ci".to_owned(), "utf8mb4_bin".to_owned()]);
        assert!(has_collation(&there, "utf8mb4_uca1400_ai_ci"));
        assert!(has_collation(&there, "utf8mb4_bin"));
        assert!(!has_collation(&there, "utf8mb4_0900_ai_ci"));
    }

    #[test]
    fn collations_are_read_from_words_alone() {
        let sql = b"CREATE TABLE t (a TEXT COLLATE utf8mb4_bin COMMENT 'COLLATE x_ci', \
                    `collate y` INT) DEFAULT CHARSET=latin1 COLLATE=latin1_swedish_ci";
        let found: Vec<String> = collations(sql, Flavor::MySQL).into_iter().collect();
        assert_eq!(found, ["latin1_swedish_ci", "utf8mb4_bin"]);
    }
}
