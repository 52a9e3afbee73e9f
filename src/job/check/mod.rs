//! The checks before and beside a migration: connections, settings, tables, folders and privileges.
//!
//! All servers are looked at once, each by a session and a catalogue connection of its own. What is found
//! is put into [`facts`] first and judged afterwards: a server that cannot be reached is a failed row, and
//! nothing here ends the whole report. Called by `tideway check`, at a start, and live from the console;
//! it changes nothing anywhere.

mod account;
mod facts;
mod local;
mod needs;
mod rows;
mod server;
mod tables;

use std::time::{Duration, SystemTime};

use futures_util::future::{join, join_all};
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::model::{
    CheckReport, CheckState, Error, ErrorKind, GrantState, PrivilegeFigure, Result, ServerVersion,
    Timestamp,
};
use crate::privilege::{self, Requirement};

use facts::{ServerFacts, SourceFacts, TargetFacts};
use rows::Rows;

/// The version of the report's JSON form.
const REPORT_VERSION: u32 = 1;

/// How long one server may take for all its answers. 50,000 tables on a slow disk take most of it.
const SERVER_TIMEOUT: Duration = Duration::from_mins(2);

/// Checks everything that `config` names. It never fails as a whole; when `stop` is cancelled, servers
/// that have not answered yet are shown as such.
pub async fn run(config: &Config, stop: &CancellationToken) -> CheckReport {
    let sources = config
        .sources
        .iter()
        .map(|source| bounded(stop, Box::pin(SourceFacts::read(config, source))));
    let targets = config
        .targets
        .iter()
        .map(|target| bounded(stop, Box::pin(TargetFacts::read(config, target))));
    let (sources, targets) = join(join_all(sources), join_all(targets)).await;
    report(config, &sources, &targets)
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
    sources: &[Result<SourceFacts>],
    targets: &[Result<TargetFacts>],
) -> CheckReport {
    let mut rows = Rows::default();
    let mut privileges = Vec::new();
    for (source, facts) in config.sources.iter().zip(sources) {
        let scope = format!("source:{}", source.server.name);
        server::connection(
            &mut rows.of(&scope),
            &source.server,
            facts.as_ref().map(|f| &f.server),
        );
        if let Ok(facts) = facts {
            server::source(&mut rows.of(&scope), config, source, facts);
        }
        let needs = needs::of_source(config, source, facts.as_ref().ok());
        let version = version_of(facts.as_ref().map(|f| &f.server));
        let list = privilege::source_requirements(&needs, &version);
        privileges.extend(figures(&list, facts.as_ref().map(|f| &f.server), &scope));
    }
    for (target, facts) in config.targets.iter().zip(targets) {
        let scope = format!("target:{}", target.server.name);
        server::connection(
            &mut rows.of(&scope),
            &target.server,
            facts.as_ref().map(|f| &f.server),
        );
        if let Ok(facts) = facts {
            server::target(&mut rows.of(&scope), facts);
        }
        let needs = needs::of_target(config, target, sources);
        let version = version_of(facts.as_ref().map(|f| &f.server));
        let list = privilege::target_requirements(&needs, &version);
        privileges.extend(figures(&list, facts.as_ref().map(|f| &f.server), &scope));
    }
    for task in &config.tasks {
        tables::task(
            &mut rows.of(&format!("task:{}", task.name)),
            config,
            task,
            sources,
            targets,
        );
    }
    local::folder(&mut rows.of("worker"), config, sources);

    let checks = rows.into_list();
    let ok = checks.iter().all(|check| check.state != CheckState::Fail)
        && privileges
            .iter()
            .all(|cell| !matches!(cell.state, GrantState::Missing | GrantState::Inactive));
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
    let unknown = |evidence: String, current_user: &str| -> Vec<PrivilegeFigure> {
        requirements
            .iter()
            .map(|requirement| PrivilegeFigure {
                server: scope.to_owned(),
                account: current_user.to_owned(),
                unit: requirement.unit,
                privilege: requirement.want.privilege.to_owned(),
                object: privilege::object_text(&requirement.want.object, true),
                state: GrantState::Unknown,
                evidence: evidence.clone(),
                why: requirement.why.clone(),
                grant: String::new(),
            })
            .collect()
    };
    match facts {
        Ok(ServerFacts {
            account: Ok(account),
            ..
        }) => requirements
            .iter()
            .map(|requirement| privilege::figure(requirement, account, scope))
            .collect(),
        Ok(ServerFacts {
            account: Err(error),
            ..
        }) => unknown(
            format!("the grants cannot be read: {}", rows::one_line(error)),
            "",
        ),
        Err(error) => unknown(format!("not connected: {}", rows::one_line(error)), ""),
    }
}
