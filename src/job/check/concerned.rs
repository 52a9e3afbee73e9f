//! Which streams a finding is about, and whether the configuration accepts it by name.

use std::collections::HashSet;

use crate::config::{Acceptance, Config, Mode, TaskConfig};
use crate::model::{
    CheckFigure, CheckState, GrantState, PRIVILEGES, PrivilegeFigure, Result, ServerVersion, Unit,
};
use crate::privilege::{self, Requirement, name::shown};

use super::facts::{SourceFacts, TargetFacts};
use super::{needs, version_of};

/// Fills in the streams of each row, and takes a row as known where the task of each of them accepts it.
pub(super) fn of_checks(config: &Config, checks: &mut [CheckFigure]) {
    for check in checks {
        let streams: Vec<(&TaskConfig, &String)> = streams(config)
            .filter(|(task, source)| is_about(check, task, source))
            .collect();
        check.streams = streams.iter().map(|(t, s)| name(t, s)).collect();
        if check.state == CheckState::Pass {
            continue;
        }
        let (kind, server) = check.scope.split_once(':').unwrap_or((&check.scope, ""));
        let accepted = by_all(&streams, |task, source| {
            let servers = match kind {
                "task" | "worker" => vec![source, task.target.as_str()],
                _ => vec![server],
            };
            acceptance(task, &check.id, &servers, &check.found)
        });
        if let Some(reason) = accepted {
            check.state = CheckState::Pass;
            check.found = format!("{}; accepted: {reason}", check.found);
            check.accepted = Some(reason);
        }
    }
}

/// The same for what is missing of privileges. A cell is about the streams that need it by themselves.
pub(super) fn of_cells(
    config: &Config,
    sources: &[Result<SourceFacts>],
    targets: &[Result<TargetFacts>],
    cells: &mut [PrivilegeFigure],
) {
    let mut alone = Config {
        tasks: Vec::new(),
        ..config.clone()
    };
    for (task, source) in streams(config) {
        alone.tasks = vec![TaskConfig {
            sources: vec![source.clone()],
            ..task.clone()
        }];
        let wanted = wanted(&alone, sources, targets);
        for cell in cells.iter_mut() {
            let key = (
                cell.server.clone(),
                cell.unit,
                cell.privilege.clone(),
                cell.object.clone(),
            );
            if cell.state != GrantState::NotNeeded && wanted.contains(&key) {
                cell.streams.push(name(task, source));
            }
        }
    }
    for cell in cells.iter_mut().filter(|cell| cell.is_lacking()) {
        let of_server = |task: &TaskConfig, source: &str| match cell.server.split_once(':') {
            Some(("source", server)) => source == server,
            Some((_, server)) => task.target == server,
            None => true,
        };
        if cell.streams.is_empty() {
            // Several tasks together ask for it on a wider object than each does.
            cell.streams = streams(config)
                .filter(|(task, source)| of_server(task, source))
                .map(|(task, source)| name(task, source))
                .collect();
        }
        let concerned: Vec<(&TaskConfig, &String)> = streams(config)
            .filter(|(task, source)| cell.streams.contains(&name(task, source)))
            .collect();
        let server = cell.server.split_once(':').map_or("", |(_, server)| server);
        let found = cell_text(cell);
        cell.accepted = by_all(&concerned, |task, _| {
            acceptance(task, PRIVILEGES, &[server], &found)
        });
    }
}

/// A missing privilege in the words that an acceptance goes by.
pub fn cell_text(cell: &PrivilegeFigure) -> String {
    format!("{} on {} ({})", cell.privilege, cell.object, cell.unit)
}

/// What the one stream of `alone` needs: server, unit, privilege and object.
fn wanted(
    alone: &Config,
    sources: &[Result<SourceFacts>],
    targets: &[Result<TargetFacts>],
) -> HashSet<(String, Unit, String, String)> {
    let mut wanted = HashSet::new();
    let mut add = |server: String, list: Vec<Requirement>, version: &ServerVersion| {
        for requirement in list.into_iter().filter(|r| r.not_needed.is_none()) {
            wanted.insert((
                server.clone(),
                requirement.unit,
                shown(requirement.want.privilege, version),
                privilege::object_text(&requirement.want.object, true),
            ));
        }
    };
    for (source, facts) in alone.sources.iter().zip(sources) {
        let version = version_of(facts.as_ref().map(|facts| &facts.server));
        let needs = needs::of_source(alone, source, facts.as_ref().ok());
        let list = privilege::source_requirements(&needs, &version);
        add(format!("source:{}", source.server.name), list, &version);
    }
    for (target, facts) in alone.targets.iter().zip(targets) {
        let version = version_of(facts.as_ref().map(|facts| &facts.server));
        let needs = needs::of_target(alone, target, sources, facts.as_ref().ok());
        let list = privilege::target_requirements(&needs, &version);
        add(format!("target:{}", target.server.name), list, &version);
    }
    wanted
}

fn streams(config: &Config) -> impl Iterator<Item = (&TaskConfig, &String)> {
    let tasks = config.tasks.iter();
    tasks.flat_map(|task| task.sources.iter().map(move |source| (task, source)))
}

fn name(task: &TaskConfig, source: &str) -> String {
    format!("{}/{source}", task.name)
}

/// Whether a row has to do with a stream.
fn is_about(check: &CheckFigure, task: &TaskConfig, source: &str) -> bool {
    let is_in_scope = match check.scope.split_once(':') {
        Some(("source", name)) => source == name,
        Some(("target", name)) => task.target == name,
        Some(("task", name)) => task.name == name,
        _ => true,
    };
    let is_its_source = check.source.as_deref().is_none_or(|only| only == source);
    is_in_scope && is_its_source && matters(&check.id, task.mode)
}

/// A copy alone needs no binlog, and replication alone waits for no lock.
fn matters(id: &str, mode: Mode) -> bool {
    let is_of_binlog = id.starts_with("binlog-")
        || matches!(
            id,
            "log-bin" | "relay-dir" | "replica-updates" | "server-id" | "gtid" | "clock"
        );
    let is_of_dump = matches!(id, "running-ddl" | "prepared-xa" | "engines");
    match mode {
        Mode::All => true,
        Mode::Full => !is_of_binlog,
        Mode::Incremental => !is_of_dump,
    }
}

fn acceptance<'t>(
    task: &'t TaskConfig,
    id: &str,
    servers: &[&str],
    found: &str,
) -> Option<&'t Acceptance> {
    let of = |server| task.acceptance(id, server, found);
    of(None).or_else(|| servers.iter().find_map(|server| of(Some(*server))))
}

/// The reason, where each stream's task accepts it.
fn by_all<'t>(
    streams: &[(&'t TaskConfig, &'t String)],
    accepted: impl Fn(&'t TaskConfig, &'t str) -> Option<&'t Acceptance>,
) -> Option<String> {
    let mut reason = None;
    for (task, source) in streams {
        let acceptance = accepted(task, source)?;
        reason.get_or_insert_with(|| acceptance.reason.clone());
    }
    reason
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_concerns_those_who_use_it() {
        for (id, mode, expected) in [
            ("log-bin", Mode::Full, false),
            ("log-bin", Mode::Incremental, true),
            ("running-ddl", Mode::Incremental, false),
            ("running-ddl", Mode::Full, true),
            ("keys", Mode::Full, true),
            ("binlog-format", Mode::All, true),
        ] {
            assert_eq!(matters(id, mode), expected, "{id} {mode:?}");
        }
    }
}
