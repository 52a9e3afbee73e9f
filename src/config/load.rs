//! A configuration file, read and checked as a whole.

use std::path::Path;

use toml::de::DeTable;

use crate::model::TableName;
use crate::route::TablePattern;

use super::error::ConfigErrors;
use super::keys::nearest;
use super::reader::{Located, Problems, Section, list};
use super::task::ReadTask;
use super::{Config, ConsoleConfig, Mode, SourceConfig, TargetConfig, TaskConfig, WorkerConfig};

impl Config {
    /// Reads the file at `path`. Either everything in it is right, or every problem is told.
    pub fn load(path: &Path) -> Result<Self, ConfigErrors> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| ConfigErrors::unreadable(path, &error))?;
        Self::parse(&text, path)
    }

    /// Reads and checks the file at `path` for those who log in nowhere: passwords are not read, so
    /// that nobody needs them to ask a running worker how it does.
    pub fn load_without_secrets(path: &Path) -> Result<Self, ConfigErrors> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| ConfigErrors::unreadable(path, &error))?;
        Self::parse_with(&text, path, Problems::new(path, &text).without_secrets())
    }

    /// Reads `text`, which stands in the file at `path`: messages name it, and relative paths start
    /// from its folder.
    pub fn parse(text: &str, path: &Path) -> Result<Self, ConfigErrors> {
        Self::parse_with(text, path, Problems::new(path, text))
    }

    fn parse_with(text: &str, path: &Path, problems: Problems<'_>) -> Result<Self, ConfigErrors> {
        let absolute =
            std::path::absolute(path).map_err(|error| ConfigErrors::unreadable(path, &error))?;
        let folder = absolute.parent().unwrap_or(&absolute);
        let (document, faults) = DeTable::parse_recoverable(text);
        for fault in &faults {
            let at = fault.span().unwrap_or(0..0);
            problems.add(
                &at,
                "",
                format!("no valid TOML: {}", fault.message()),
                None,
                None,
            );
        }
        if !faults.is_empty() {
            // What follows a fault of the syntax may have been misread: the rest is for the next try.
            return Err(problems.into_errors());
        }
        let config = read(
            &Section::root(&document, &problems),
            path,
            folder,
            &problems,
        );
        if problems.is_empty() {
            Ok(config)
        } else {
            Err(problems.into_errors())
        }
    }
}

fn read(root: &Section<'_>, path: &Path, folder: &Path, problems: &Problems<'_>) -> Config {
    let worker = WorkerConfig::read(root.section("worker").as_ref(), folder);
    let console = ConsoleConfig::read(root.section("console").as_ref());
    let (sources, source_names): (Vec<_>, Vec<_>) = root
        .sections("source")
        .iter()
        .filter_map(|section| SourceConfig::read(section, folder))
        .unzip();
    let (targets, target_names): (Vec<_>, Vec<_>) = root
        .sections("target")
        .iter()
        .filter_map(|section| TargetConfig::read(section, folder))
        .unzip();
    let tasks: Vec<ReadTask> = root
        .sections("task")
        .iter()
        .filter_map(|section| TaskConfig::read(section, &worker.meta_schema, folder, problems))
        .collect();

    for key in ["source", "target", "task"] {
        if root.sections_count(key) == 0 {
            problems.add(
                &(0..0),
                key,
                format!("there is no `[[{key}]]`"),
                None,
                Some("a migration needs a source, a target and a task".to_owned()),
            );
        }
    }
    let task_names: Vec<&Located<String>> = tasks.iter().map(|task| &task.name).collect();
    check_unique("source", &source_names.iter().collect::<Vec<_>>(), problems);
    check_unique("target", &target_names.iter().collect::<Vec<_>>(), problems);
    check_unique("task", &task_names, problems);
    // A reference is only wrong where all the names are known.
    let count = |key: &str| root.sections_count(key);
    let has_sources = !sources.is_empty() && sources.len() == count("source");
    let has_targets = !targets.is_empty() && targets.len() == count("target");
    for task in &tasks {
        for source in task.sources.iter().filter(|_| has_sources) {
            check_known("source", source, &source_names, problems);
        }
        if let Some(target) = task.target.as_ref().filter(|_| has_targets) {
            check_known("target", target, &target_names, problems);
        }
        check_relay(task, &sources, problems);
    }
    for (index, task) in tasks.iter().enumerate() {
        for earlier in &tasks[..index] {
            check_apart(earlier, task, problems);
        }
    }
    check_server_ids(&sources, &source_names, problems);

    Config {
        path: path.to_owned(),
        worker,
        console,
        sources,
        targets,
        tasks: tasks.into_iter().map(|read| read.task).collect(),
    }
}

fn check_unique(what: &str, names: &[&Located<String>], problems: &Problems<'_>) {
    for (index, name) in names.iter().enumerate() {
        if names[..index]
            .iter()
            .any(|before| before.value == name.value)
        {
            problems.add(
                &name.at,
                name.key.clone(),
                format!("there is another {what} of the name `{}`", name.value),
                None,
                Some("give one of them another name".to_owned()),
            );
        }
    }
}

fn check_known(
    what: &str,
    name: &Located<String>,
    known: &[Located<String>],
    problems: &Problems<'_>,
) {
    let names: Vec<&str> = known.iter().map(|name| name.value.as_str()).collect();
    if !names.contains(&name.value.as_str()) {
        problems.add(
            &name.at,
            name.key.clone(),
            format!("there is no {what} of the name `{}`", name.value),
            nearest(&name.value, names.iter().copied()),
            (!names.is_empty()).then(|| format!("known: {}", list(&names))),
        );
    }
}

/// Sync reads the relay log: without a relay there is none.
fn check_relay(read: &ReadTask, sources: &[SourceConfig], problems: &Problems<'_>) {
    if read.task.mode == Mode::Full {
        return;
    }
    for name in &read.sources {
        let is_off = sources
            .iter()
            .any(|source| source.server.name == name.value && !source.relay.is_enabled);
        if is_off {
            problems.add(
                &name.at,
                name.key.clone(),
                format!(
                    "the task `{}` replicates from `{}`, whose relay is not enabled",
                    read.task.name, name.value
                ),
                None,
                Some("set `source.relay.enabled = true`, or `mode = \"full\"`".to_owned()),
            );
        }
    }
}

/// Two tasks that write what one source has into one target's table undo each other's work.
fn check_apart(earlier: &ReadTask, later: &ReadTask, problems: &Problems<'_>) {
    let (a, b) = (&earlier.task, &later.task);
    let shares_source = a.sources.iter().any(|source| b.sources.contains(source));
    if a.target != b.target || !shares_source || a.name == b.name {
        return;
    }
    let both = probes(a).chain(probes(b)).find(|table| {
        a.selection.takes(table)
            && b.selection.takes(table)
            && a.routes.target(table) == b.routes.target(table)
    });
    if let Some(table) = both {
        let what = match (table.schema.as_str(), table.name.as_str()) {
            (ANY, _) => "any table".to_owned(),
            (schema, ANY) => format!("any table of `{schema}`"),
            _ => format!("the table `{table}`"),
        };
        problems.add(
            &later.name.at,
            "task.tables",
            format!(
                "the tasks `{}` and `{}` both write {what} from one source to `{}`",
                a.name, b.name, a.target
            ),
            None,
            Some("take it out of one task's `tables`".to_owned()),
        );
    }
}

/// Stands for a name that no pattern but `*` can mean: a noncharacter.
const ANY: &str = "\u{fdd0}";

/// Tables that tell what a selection surely takes: those it names, and one made-up table for each
/// pattern that takes a whole schema.
fn probes(task: &TaskConfig) -> impl Iterator<Item = TableName> {
    task.selection
        .rules()
        .filter(|(_, takes)| *takes)
        .filter_map(|(pattern, _)| pattern.exact().or_else(|| whole_schema(pattern)))
}

fn whole_schema(pattern: &TablePattern) -> Option<TableName> {
    let schema = pattern.exact_schema().unwrap_or(ANY);
    pattern
        .covers_schema(schema)
        .then(|| TableName::new(schema, ANY))
}

/// Two sources may use one id only if they are different servers; two entries of one server may not.
fn check_server_ids(sources: &[SourceConfig], names: &[Located<String>], problems: &Problems<'_>) {
    for (index, source) in sources.iter().enumerate() {
        let clash = source.server_id.and_then(|id| {
            sources[..index].iter().find(|before| {
                before.server_id == Some(id) && before.server.address == source.server.address
            })
        });
        if let (Some(before), Some(name)) = (clash, names.get(index)) {
            problems.add(
                &name.at,
                "source.server_id",
                format!(
                    "`{}` and `{}` are one server, and use the same `server_id`",
                    before.server.name, source.server.name
                ),
                None,
                Some("give each its own, or leave it out".to_owned()),
            );
        }
    }
}
