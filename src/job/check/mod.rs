//! The checks before and beside a migration: connections, settings, tables, folders and privileges.
//!
//! All servers are looked at once, each by two sessions of its own. What is found
//! is put into [`facts`] first and judged afterwards: a server that cannot be reached is a failed row, and
//! nothing here ends the whole report. Called by `tideway check`, at a start, and live from the console;
//! it changes nothing anywhere.

mod account;
mod binlog;
mod concerned;
mod expiry;
mod facts;
mod local;
mod moment;
mod needs;
mod objects;
mod probes;
mod progress;
mod relations;
mod rows;
mod server;
mod shape;
mod tables;

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use futures_util::future::{join, join_all};
use tokio_util::sync::CancellationToken;

use crate::config::{Config, ServerConfig};
use crate::connect::Session;
use crate::model::{
    CheckReport, CheckState, Error, ErrorKind, GrantState, PrivilegeFigure, Result, ServerVersion,
    TableName, Timestamp,
};
use crate::privilege::{self, Requirement};
use crate::source::TableInfo;

pub use concerned::cell_text;
use facts::{ServerFacts, SourceFacts, TargetFacts};
pub use progress::Progress;
use rows::Rows;

/// The version of the report's JSON form.
const REPORT_VERSION: u32 = 1;

/// How long one server may take for all its answers. 50,000 tables on a slow disk take most of it.
const SERVER_TIMEOUT: Duration = Duration::from_mins(2);

/// Checks everything that `config` names. It never fails as a whole; when `stop` is cancelled, servers
/// that have not answered yet are shown as such.
pub async fn run(config: &Config, stop: &CancellationToken) -> CheckReport {
    watched(config, stop, &Progress::default()).await
}

/// The same, for somebody who looks at how far it is.
pub async fn watched(
    config: &Config,
    stop: &CancellationToken,
    progress: &Progress,
) -> CheckReport {
    // The judging, at the end.
    progress.expect(1);
    let sources = config
        .sources
        .iter()
        .map(|source| bounded(stop, Box::pin(SourceFacts::read(config, source, progress))));
    let targets = config
        .targets
        .iter()
        .map(|target| bounded(stop, Box::pin(TargetFacts::read(target, progress))));
    let (mut sources, mut targets) = join(join_all(sources), join_all(targets)).await;
    let needed = Needed::of(config, &sources, &targets);
    try_out(config, &needed, &mut sources, &mut targets, stop).await;
    let shapes = Box::pin(shape::read(config, &sources, &targets, stop, progress)).await;
    progress.step();
    report(config, &needed, &sources, &targets, &shapes)
}

/// What is needed on each server, in the configuration's order.
struct Needed {
    at_sources: Vec<Vec<Requirement>>,
    at_targets: Vec<Vec<Requirement>>,
}

impl Needed {
    fn of(
        config: &Config,
        sources: &[Result<SourceFacts>],
        targets: &[Result<TargetFacts>],
    ) -> Self {
        let at_sources = config
            .sources
            .iter()
            .zip(sources)
            .map(|(source, facts)| {
                let needs = needs::of_source(config, source, facts.as_ref().ok());
                let version = version_of(facts.as_ref().map(|f| &f.server));
                privilege::source_requirements(&needs, &version)
            })
            .collect();
        let at_targets = config
            .targets
            .iter()
            .zip(targets)
            .map(|(target, facts)| {
                let needs = needs::of_target(config, target, sources, facts.as_ref().ok());
                let version = version_of(facts.as_ref().map(|f| &f.server));
                privilege::target_requirements(&needs, &version)
            })
            .collect();
        Self {
            at_sources,
            at_targets,
        }
    }
}

/// Runs the probes on all servers at once, each on a connection of its own: reading the roles has
/// changed what the other one may do.
async fn try_out(
    config: &Config,
    needed: &Needed,
    sources: &mut [Result<SourceFacts>],
    targets: &mut [Result<TargetFacts>],
    stop: &CancellationToken,
) {
    let at_sources = config
        .sources
        .iter()
        .zip(sources)
        .zip(&needed.at_sources)
        .filter_map(|((source, facts), list)| {
            let SourceFacts { server, tables, .. } = facts.as_mut().ok()?;
            Some(try_one(&source.server, server, tables, list))
        });
    let at_targets = config
        .targets
        .iter()
        .zip(targets)
        .zip(&needed.at_targets)
        .filter_map(|((target, facts), list)| {
            let TargetFacts { server, tables, .. } = facts.as_mut().ok()?;
            Some(try_one(&target.server, server, tables, list))
        });
    let all = join(join_all(at_sources), join_all(at_targets));
    tokio::select! {
        biased;
        () = stop.cancelled() => {}
        // What was not tried by then rests on the grants alone, and says so.
        _ = tokio::time::timeout(SERVER_TIMEOUT, all) => {}
    }
}

async fn try_one(
    server: &ServerConfig,
    facts: &mut ServerFacts,
    tables: &[TableInfo],
    requirements: &[Requirement],
) {
    let Ok(account) = &mut facts.account else {
        return;
    };
    // A server that has gone meanwhile takes nothing from what is known.
    let Ok(mut session) = Session::open(server, &facts::setup()).await else {
        return;
    };
    let is_there = |table: &TableName| tables.binary_search_by(|have| have.name.cmp(table)).is_ok();
    probes::run(&mut session, account, requirements, is_there).await;
    session.close().await;
}

async fn bounded<T>(stop: &CancellationToken, facts: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::select! {
        biased;
        () = stop.cancelled() => Err(Error::new(ErrorKind::Refused, "the check was stopped")),
        answer = tokio::time::timeout(SERVER_TIMEOUT, facts) => answer.unwrap_or_else(|_| {
            Err(Error::new(
                ErrorKind::Connect,
                format!("no whole answer within {}", humantime::format_duration(SERVER_TIMEOUT)),
            )
            .with_fix("look whether the server is overloaded, then check again"))
        }),
    }
}

/// Judges what was found.
fn report(
    config: &Config,
    needed: &Needed,
    sources: &[Result<SourceFacts>],
    targets: &[Result<TargetFacts>],
    shapes: &HashMap<shape::Key, shape::Shape>,
) -> CheckReport {
    let mut rows = Rows::default();
    let mut privileges = Vec::new();
    let at_sources = sources.iter().zip(&needed.at_sources);
    for (source, (facts, list)) in config.sources.iter().zip(at_sources) {
        let scope = format!("source:{}", source.server.name);
        server::connection(
            &mut rows.of(&scope),
            &source.server,
            facts.as_ref().map(|f| &f.server),
        );
        if let Ok(facts) = facts {
            let rows = &mut rows.of(&scope);
            server::source(rows, config, source, facts);
            binlog::judge(rows, config, source, facts);
            expiry::judge(rows, config, source, facts);
            moment::judge(rows, config, source, facts);
        }
        privileges.extend(figures(list, facts.as_ref().map(|f| &f.server), &scope));
    }
    let at_targets = targets.iter().zip(&needed.at_targets);
    for (target, (facts, list)) in config.targets.iter().zip(at_targets) {
        let scope = format!("target:{}", target.server.name);
        server::connection(
            &mut rows.of(&scope),
            &target.server,
            facts.as_ref().map(|f| &f.server),
        );
        if let Ok(facts) = facts {
            server::target(&mut rows.of(&scope), config, target, facts);
        }
        privileges.extend(figures(list, facts.as_ref().map(|f| &f.server), &scope));
    }
    for task in &config.tasks {
        tables::task(
            &mut rows.of(&format!("task:{}", task.name)),
            config,
            task,
            sources,
            targets,
            shapes,
        );
    }
    local::folder(&mut rows, config, sources);

    let mut checks = rows.into_list();
    concerned::of_checks(config, &mut checks);
    concerned::of_cells(config, sources, targets, &mut privileges);
    let ok = checks.iter().all(|check| check.state != CheckState::Fail)
        && privileges
            .iter()
            .all(|cell| !cell.is_lacking() || cell.accepted.is_some());
    CheckReport {
        version: REPORT_VERSION,
        at: Timestamp::from(SystemTime::now()),
        ok,
        checks,
        privileges,
    }
}

/// A server that could not be asked is taken for the strictest.
fn version_of(facts: Result<&ServerFacts, &Error>) -> ServerVersion {
    facts.map_or_else(
        |_| ServerVersion::parse(""),
        |facts| facts.info.version.clone(),
    )
}

/// The cells of one server. Where its grants are not known, neither are they.
fn figures(
    requirements: &[Requirement],
    facts: Result<&ServerFacts, &Error>,
    scope: &str,
) -> Vec<PrivilegeFigure> {
    let unknown = |how: &str, evidence: &str| -> Vec<PrivilegeFigure> {
        let version = version_of(facts);
        requirements
            .iter()
            .map(|requirement| PrivilegeFigure {
                server: scope.to_owned(),
                account: String::new(),
                unit: requirement.unit,
                privilege: privilege::name::shown(requirement.want.privilege, &version),
                object: privilege::object_text(&requirement.want.object, true),
                state: GrantState::Unknown,
                how: how.to_owned(),
                evidence: evidence.to_owned(),
                why: requirement.why.clone(),
                in_minimum: requirement.in_minimum,
                instead: String::new(),
                grant: String::new(),
                streams: Vec::new(),
                accepted: None,
            })
            .collect()
    };
    // The reason stands once, in the row of the connection or of the account.
    match facts {
        Ok(ServerFacts {
            account: Ok(account),
            ..
        }) => requirements
            .iter()
            .map(|requirement| privilege::figure(requirement, account, scope))
            .collect(),
        Ok(_) => unknown(
            NOT_READ,
            "the grants cannot be read: see the check `account`",
        ),
        Err(_) => unknown(NOT_CONNECTED, "not connected: see the check `connection`"),
    }
}

/// How a privilege of a server is known that did not answer.
pub const NOT_CONNECTED: &str = "not connected";
/// The same, of one that does not say what is granted.
pub const NOT_READ: &str = "grants not read";
