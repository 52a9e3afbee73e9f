//! What was found on the servers, before it is judged.

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::config::{Config, ServerConfig, SourceConfig, TargetConfig, TaskConfig};
use crate::connect::{Session, Setup};
use crate::model::{Flavor, Result, TableName};
use crate::privilege::Account;
use crate::schema::Structure;
use crate::source::{self, ServerInfo, TableInfo, TableType};

use super::account::{self, Identity};
use super::binlog::{self, Binlog};
use super::moment::Moment;
use super::objects::{self, Objects};
use super::progress::Progress;
use super::relations::{self, Parent};

/// What is asked of every server.
#[derive(Debug)]
pub(super) struct ServerFacts {
    pub(super) info: ServerInfo,
    /// The TLS version, where the line is encrypted.
    pub(super) tls: Option<String>,
    /// Who answered to our name.
    pub(super) identity: Identity,
    pub(super) account: Result<Account>,
}

/// A source.
#[derive(Debug)]
pub(super) struct SourceFacts {
    pub(super) server: ServerFacts,
    /// Its tables, of every kind, as far as the account may see them.
    pub(super) tables: Vec<TableInfo>,
    /// What matters here of the structures of those that a task takes.
    pub(super) structures: Result<HashMap<TableName, Brief>>,
    /// Ids of the replicas connected, where the account may know.
    pub(super) replica_ids: Option<Vec<u32>>,
    /// Its binlog; an error where the account may not know, or none is written.
    pub(super) binlog: Result<Binlog>,
    /// Whether it takes changes from another server, where the account may know.
    pub(super) is_replica: Option<bool>,
    /// Its triggers, events and routines.
    pub(super) objects: Objects,
    /// What goes on there.
    pub(super) moment: Moment,
    /// How many connections it takes, and has.
    pub(super) room: Room,
}

/// Of a table's structure, what is judged. The whole of it for 10,000 tables would take much memory.
#[derive(Clone, Debug)]
pub(super) struct Brief {
    /// Whether a key tells its rows apart.
    pub(super) has_row_key: bool,
    /// The tables it is the child of.
    pub(super) parents: Vec<Parent>,
    /// The column that is its key, where it counts by itself.
    pub(super) counter: Option<String>,
}

/// A target.
#[derive(Debug)]
pub(super) struct TargetFacts {
    pub(super) server: ServerFacts,
    /// Its tables, of every kind, as far as the account may see them.
    pub(super) tables: Vec<TableInfo>,
    /// Settings that keep it from being written to, as `name = value`.
    pub(super) read_only: Vec<String>,
    /// The engine of tables that name none.
    pub(super) default_engine: String,
    /// Its collations.
    pub(super) collations: HashSet<String>,
    /// Its tables with triggers, and how many each has, as far as the account may see them.
    pub(super) triggers: BTreeMap<TableName, usize>,
    /// What bounds a transaction, by the setting's name, in bytes.
    pub(super) transaction_limits: Vec<(String, u64)>,
    /// How many connections it takes, and has.
    pub(super) room: Room,
}

/// Connections of a server.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Room {
    /// `max_connections`; 0 where it has no bound or is not told.
    pub(super) most: u64,
    /// `max_user_connections`; 0 where it has no bound.
    pub(super) most_of_account: u64,
    /// Those open now, of all accounts.
    pub(super) open: u64,
}

impl Room {
    async fn read(session: &mut Session) -> Self {
        let mut figures: BTreeMap<String, u64> = BTreeMap::new();
        for question in [
            // The session's own bound is the account's, where it has one.
            "SHOW SESSION VARIABLES WHERE Variable_name IN ('max_connections', 'max_user_connections')",
            "SHOW GLOBAL STATUS LIKE 'Threads_connected'",
        ] {
            let rows = session.rows(question).await.unwrap_or_default();
            for (name, value) in rows.iter().filter_map(|row| pair(row)) {
                figures.insert(name.to_ascii_lowercase(), value.parse().unwrap_or(0));
            }
        }
        let figure = |name: &str| figures.get(name).copied().unwrap_or(0);
        Self {
            most: figure("max_connections"),
            most_of_account: figure("max_user_connections"),
            open: figure("threads_connected"),
        }
    }

    /// What is left for `needed` connections; `None`: enough.
    pub(super) fn short_of(self, needed: u64) -> Option<String> {
        if self.most > 0 && self.open.saturating_add(needed) > self.most {
            return Some(format!(
                "{needed} connections are needed, {} are open, and `max_connections` is {}",
                self.open, self.most
            ));
        }
        (self.most_of_account > 0 && needed > self.most_of_account).then(|| {
            format!(
                "{needed} connections are needed, and `max_user_connections` is {}",
                self.most_of_account
            )
        })
    }
}

/// A table that DDL holds is told of, not waited for (`lock_wait_timeout` is a year by default).
pub(super) const SHORT_WAIT: &str = "SET SESSION lock_wait_timeout = 2";

/// The session of every question here.
pub(super) fn setup() -> Setup {
    Setup::with(["SET NAMES utf8mb4", "SET SESSION sql_mode = ''", SHORT_WAIT])
}

impl ServerFacts {
    async fn read(server: &ServerConfig, session: &mut Session) -> Result<Self> {
        let info = ServerInfo::read(session).await?;
        let tls = session.tls().map(str::to_owned);
        // A second one: behind a balancer it may come to another server, and reading roles changes it.
        let (identity, account) = match Session::open(server, &setup()).await {
            Ok(mut second) => {
                let found = account::read(&mut second, &info).await;
                second.close().await;
                match found {
                    Ok((identity, account)) => (identity, Ok(account)),
                    Err(error) => (Identity::default(), Err(error)),
                }
            }
            Err(error) => (Identity::default(), Err(error)),
        };
        Ok(Self {
            info,
            tls,
            identity,
            account,
        })
    }
}

impl SourceFacts {
    pub(super) async fn read(
        config: &Config,
        source: &SourceConfig,
        progress: &Progress,
    ) -> Result<Self> {
        progress.expect(Self::QUESTIONS);
        let facts = Self::ask(config, source, progress).await;
        if facts.is_err() {
            progress.steps(Self::QUESTIONS);
        }
        facts
    }

    /// What is asked of a source, one after the other.
    const QUESTIONS: usize = 6;

    async fn ask(config: &Config, source: &SourceConfig, progress: &Progress) -> Result<Self> {
        let mut session = Session::open(&source.server, &setup()).await?;
        let server = ServerFacts::read(&source.server, &mut session).await?;
        progress.step();
        let tables = source::list_tables_with_sizes(&mut session).await?;
        progress.step();
        let tasks: Vec<&TaskConfig> = tasks_of_source(config, source).collect();
        let taken: Vec<&TableInfo> = tables
            .iter()
            .filter(|table| is_table(table))
            .filter(|table| tasks.iter().any(|task| task.selection.takes(&table.name)))
            .collect();
        let structures = briefs(&mut session, &taken).await;
        progress.step();
        let replica_ids = replica_ids(&mut session).await;
        let binlog = Binlog::read(&mut session).await;
        let is_replica = binlog::is_replica(&mut session).await;
        progress.step();
        let objects = Objects::read(&mut session).await;
        progress.step();
        let moment = Moment::read(&mut session).await;
        let room = Room::read(&mut session).await;
        session.close().await;
        progress.step();
        Ok(Self {
            server,
            tables,
            structures,
            replica_ids,
            binlog,
            is_replica,
            objects,
            moment,
            room,
        })
    }

    /// The tables that a task takes from here.
    pub(super) fn taken<'a>(&'a self, task: &'a TaskConfig) -> impl Iterator<Item = &'a TableInfo> {
        self.tables
            .iter()
            .filter(|table| is_table(table) && task.selection.takes(&table.name))
    }

    /// Whether the task's patterns take a view.
    pub(super) fn has_views(&self, task: &TaskConfig) -> bool {
        self.tables
            .iter()
            .any(|table| table.table_type == TableType::View && task.selection.takes(&table.name))
    }

    /// What is known of the structure of one of those.
    pub(super) fn brief(&self, table: &TableName) -> Option<&Brief> {
        self.structures.as_ref().ok()?.get(table)
    }
}

/// How many structures are held at once. The server goes through all its tables for each packet of them.
const STRUCTURES_AT_ONCE: usize = 10_000;

/// What is known of the structures of these tables.
async fn briefs(session: &mut Session, tables: &[&TableInfo]) -> Result<HashMap<TableName, Brief>> {
    let mut briefs = HashMap::with_capacity(tables.len());
    for chunk in tables.chunks(STRUCTURES_AT_ONCE) {
        let listed = chunk.iter().copied().cloned();
        let structures = source::read_structures_in(session, listed).await?;
        briefs.extend(structures.into_iter().map(brief));
    }
    Ok(briefs)
}

fn brief(structure: Structure) -> (TableName, Brief) {
    let brief = Brief {
        has_row_key: structure.row_key().is_some(),
        parents: relations::parents(&structure),
        counter: relations::counter(&structure),
    };
    (structure.table, brief)
}

impl TargetFacts {
    pub(super) async fn read(target: &TargetConfig, progress: &Progress) -> Result<Self> {
        progress.expect(Self::QUESTIONS);
        let facts = Self::ask(target, progress).await;
        if facts.is_err() {
            progress.steps(Self::QUESTIONS);
        }
        facts
    }

    /// What is asked of a target, one after the other.
    const QUESTIONS: usize = 3;

    async fn ask(target: &TargetConfig, progress: &Progress) -> Result<Self> {
        let mut session = Session::open(&target.server, &setup()).await?;
        let server = ServerFacts::read(&target.server, &mut session).await?;
        progress.step();
        let tables = source::list_tables(&mut session).await?;
        progress.step();
        let variables = session
            .rows(
                "SHOW GLOBAL VARIABLES WHERE Variable_name IN \
                 ('read_only', 'super_read_only', 'tidb_restricted_read_only', \
                  'tidb_super_read_only', 'default_storage_engine')",
            )
            .await?;
        let collations = session
            .rows("SHOW COLLATION")
            .await
            .unwrap_or_default()
            .iter()
            .filter_map(|row| row.first()?.as_deref())
            .map(|name| String::from_utf8_lossy(name).to_ascii_lowercase())
            .collect();
        let triggers = objects::triggers(&mut session).await;
        let room = Room::read(&mut session).await;
        let transaction_limits = transaction_limits(&mut session, &server.info).await;
        session.close().await;
        progress.step();
        let mut read_only = Vec::new();
        let mut default_engine = String::new();
        for (name, value) in variables.iter().filter_map(|row| pair(row)) {
            if name.eq_ignore_ascii_case("default_storage_engine") {
                default_engine = value;
            } else if !matches!(value.to_ascii_uppercase().as_str(), "OFF" | "0") {
                read_only.push(format!("{name} = {value}"));
            }
        }
        Ok(Self {
            server,
            tables,
            read_only,
            default_engine,
            collations,
            triggers,
            transaction_limits,
            room,
        })
    }
}

/// What bounds a transaction: the binlog's cache where there is a binlog, a group's or a cluster's message
/// where there is one (0 is no bound there), TiDB's own setting, which it tells to some accounts alone.
async fn transaction_limits(session: &mut Session, info: &ServerInfo) -> Vec<(String, u64)> {
    if info.flavor() == Flavor::TiDB {
        let rows = session
            .rows("SHOW CONFIG WHERE Type = 'tidb' AND Name = 'performance.txn-total-size-limit'")
            .await;
        let bytes = rows.iter().flatten().filter_map(|row| {
            std::str::from_utf8(row.get(3)?.as_deref()?)
                .ok()?
                .parse()
                .ok()
        });
        return bytes
            .map(|bytes| ("performance.txn-total-size-limit".to_owned(), bytes))
            .collect();
    }
    let rows = session
        .rows(
            "SHOW GLOBAL VARIABLES WHERE Variable_name IN ('max_binlog_cache_size', 'wsrep_on', \
             'wsrep_max_ws_size', 'group_replication_transaction_size_limit')",
        )
        .await
        .unwrap_or_default();
    let settings: BTreeMap<String, String> = rows.iter().filter_map(|row| pair(row)).collect();
    let is_cluster = settings.get("wsrep_on").is_some_and(|value| value == "ON");
    [
        ("max_binlog_cache_size", info.log_bin),
        ("wsrep_max_ws_size", is_cluster),
        ("group_replication_transaction_size_limit", true),
    ]
    .into_iter()
    .filter(|(_, counts)| *counts)
    .filter_map(|(name, _)| Some((name.to_owned(), settings.get(name)?.parse().ok()?)))
    .filter(|(_, bytes)| *bytes > 0)
    .collect()
}

/// Whether it is a table with rows of its own.
pub(super) fn is_table(table: &TableInfo) -> bool {
    matches!(table.table_type, TableType::Base | TableType::Versioned)
}

/// The tasks that read from `source`.
pub(super) fn tasks_of_source<'a>(
    config: &'a Config,
    source: &'a SourceConfig,
) -> impl Iterator<Item = &'a TaskConfig> {
    config
        .tasks
        .iter()
        .filter(|task| task.sources.contains(&source.server.name))
}

fn pair(row: &[Option<Vec<u8>>]) -> Option<(String, String)> {
    let text = |index: usize| {
        let bytes = row.get(index)?.as_ref()?;
        Some(String::from_utf8_lossy(bytes).into_owned())
    };
    Some((text(0)?, text(1)?))
}

/// The ids of the replicas connected. MySQL tells them to REPLICATION SLAVE, MariaDB 10.5 and later to
/// REPLICATION MASTER ADMIN alone: then a clash shows when the relay begins.
async fn replica_ids(session: &mut Session) -> Option<Vec<u32>> {
    let mut answer = session.rows("SHOW REPLICAS").await;
    if answer.is_err() {
        answer = session.rows("SHOW SLAVE HOSTS").await;
    }
    let rows = answer.ok()?;
    Some(
        rows.iter()
            .filter_map(|row| {
                let bytes = row.first()?.as_ref()?;
                std::str::from_utf8(bytes).ok()?.parse().ok()
            })
            .collect(),
    )
}
