//! `[[task]]`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::model::Packing;
use crate::route::event_filter::{FilterAction, FilterError};
use crate::route::{EventFilter, EventKind, Route, Routes, Selection};

use super::RelayStart;
use super::accept::Acceptance;
use super::keys::nearest;
use super::reader::{Located, Problems, Section};
use super::server::read_name;

/// What is moved from one or more sources into one target.
#[derive(Clone, Debug)]
pub struct TaskConfig {
    /// The name.
    pub name: String,
    /// The sources' names.
    pub sources: Vec<String>,
    /// The target's name.
    pub target: String,
    /// Which parts of the work.
    pub mode: Mode,
    /// Which tables.
    pub selection: Selection,
    /// What they are called on the target.
    pub routes: Routes,
    /// Which of their events are left out.
    pub filters: Vec<EventFilter>,
    /// Which findings are accepted beforehand.
    pub accepted: Vec<Acceptance>,
    /// Where `incremental` begins without a checkpoint.
    pub start: RelayStart,
    /// Whether its streams start by themselves.
    pub is_autostart: bool,
    /// `[task.dump]`.
    pub dump: DumpConfig,
    /// `[task.load]`.
    pub load: LoadConfig,
    /// `[task.sync]`.
    pub sync: SyncConfig,
}

/// Which parts of the work a task does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Full copy, then replication.
    All,
    /// Full copy alone.
    Full,
    /// Replication alone.
    Incremental,
}

/// `[task.dump]`.
#[derive(Clone, Debug)]
pub struct DumpConfig {
    /// Connections that read.
    pub threads: usize,
    /// The size of a dump file that is aimed at, in bytes.
    pub chunk_bytes: u64,
    /// How consistency is had.
    pub consistency: Consistency,
    /// Bytes of dump files written in a second, at most; `None`: as many as come.
    pub rate_limit: Option<u64>,
    /// When the source is too busy to be read from.
    pub back_off: BackOff,
    /// How its files are packed.
    pub packing: Packing,
    /// What is taken besides tables and views.
    pub programs: Programs,
}

/// `programs` of `[task.dump]`: what a database runs by itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Programs {
    /// Triggers of the selected tables.
    pub triggers: bool,
    /// Procedures and functions of their databases.
    pub routines: bool,
    /// Events of their databases.
    pub events: bool,
}

impl Programs {
    /// Whether anything is wanted.
    pub fn any(self) -> bool {
        self.triggers || self.routines || self.events
    }

    fn read(section: &Section<'_>) -> Self {
        let mut programs = Self::default();
        for word in section.texts("programs", false).unwrap_or_default() {
            match word.value.as_str() {
                "triggers" => programs.triggers = true,
                "routines" => programs.routines = true,
                "events" => programs.events = true,
                other => section.fault_of(
                    &word,
                    format!("`{other}` is nothing that a dump can take"),
                    Some("name `triggers`, `routines` or `events`".to_owned()),
                ),
            }
        }
        programs
    }
}

/// `back_off` of `[task.dump]`: reading pauses while one of these is passed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BackOff {
    /// Threads that run at the source, ours left out.
    pub threads_running: Option<u64>,
    /// How far the source, itself a replica, may be behind.
    pub replica_lag: Option<Duration>,
}

impl BackOff {
    /// Whether anything is to be looked at.
    pub fn is_set(&self) -> bool {
        self.threads_running.is_some() || self.replica_lag.is_some()
    }

    fn read(section: &Section<'_>) -> Self {
        Self {
            threads_running: section
                .has("threads_running")
                .then(|| section.integer("threads_running", 1..=1_000_000, 100)),
            replica_lag: section.has("replica_lag").then(|| {
                let bounds = Duration::from_secs(1)..=Duration::from_hours(24 * 365);
                section.duration("replica_lag", bounds, Duration::from_mins(1))
            }),
        }
    }
}

/// How a dump is made consistent (design.md, section 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Consistency {
    /// The first that the grants allow.
    Auto,
    /// A short global read lock.
    Flush,
    /// What the flavor gives without RELOAD.
    Snapshot,
    /// No lock; sync mends the span.
    Fuzzy,
}

impl Consistency {
    /// By what the file calls them.
    const NAMES: [(&str, Self); 4] = [
        ("auto", Self::Auto),
        ("flush", Self::Flush),
        ("snapshot", Self::Snapshot),
        ("fuzzy", Self::Fuzzy),
    ];

    /// The one of this name.
    pub fn named(name: &str) -> Option<Self> {
        let (_, found) = Self::NAMES.iter().find(|(known, _)| *known == name)?;
        Some(*found)
    }
}

/// `[task.load]`.
#[derive(Clone, Debug)]
pub struct LoadConfig {
    /// Connections that write.
    pub threads: usize,
    /// What to do with a row whose key is there already.
    pub on_duplicate: OnDuplicate,
    /// The folder of a dump that is loaded in place of one made here.
    pub from: Option<PathBuf>,
}

/// What a load does with a row whose key is there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnDuplicate {
    /// Stop.
    Error,
    /// The dump's row replaces it.
    Replace,
    /// It stays.
    Ignore,
}

/// `[task.sync]`.
#[derive(Clone, Debug)]
pub struct SyncConfig {
    /// Apply workers.
    pub workers: usize,
    /// Whether commits keep the source's order even with several workers.
    pub is_strict_order: bool,
    /// What happens when the target is not what the binlog says was there.
    pub on_drift: DriftPolicy,
    /// Whether an UPDATE or DELETE must find the whole before image, not just the key.
    pub is_before_image_verified: bool,
    /// Rows in one target transaction, at most.
    pub batch_rows: usize,
    /// Bytes of statements in one target transaction, at most.
    pub batch_bytes: u64,
}

/// What happens at drift.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DriftPolicy {
    /// The stream stops and shows it.
    Pause,
    /// It is counted and kept as skipped SQL.
    Warn,
    /// The row is made what the source says.
    Repair,
}

/// A task as read, with the places of what is still to be checked against the rest.
pub(super) struct ReadTask {
    pub(super) task: TaskConfig,
    pub(super) name: Located<String>,
    pub(super) sources: Vec<Located<String>>,
    pub(super) target: Option<Located<String>>,
}

impl Default for DumpConfig {
    fn default() -> Self {
        Self {
            threads: 4,
            chunk_bytes: 64 << 20,
            consistency: Consistency::Auto,
            rate_limit: None,
            back_off: BackOff::default(),
            packing: Packing::None,
            programs: Programs::default(),
        }
    }
}

impl Default for LoadConfig {
    fn default() -> Self {
        Self {
            threads: 4,
            on_duplicate: OnDuplicate::Error,
            from: None,
        }
    }
}

impl Default for SyncConfig {
    fn default() -> Self {
        Self {
            workers: 8,
            is_strict_order: false,
            on_drift: DriftPolicy::Pause,
            is_before_image_verified: false,
            batch_rows: 5_000,
            batch_bytes: 8 << 20,
        }
    }
}

impl TaskConfig {
    /// Whether it makes a dump of its own here: what another tool has dumped is not dumped again.
    pub fn makes_dump(&self) -> bool {
        self.mode != Mode::Incremental && self.load.from.is_none()
    }

    /// The acceptance of the finding `name` of `server`, if the operator gave one.
    pub fn acceptance(&self, name: &str, server: Option<&str>, found: &str) -> Option<&Acceptance> {
        self.accepted
            .iter()
            .find(|accepted| accepted.is_for(name, server, found))
    }

    /// Reads one `[[task]]`; `None` where it has no name.
    pub(super) fn read(
        section: &Section<'_>,
        meta_schema: &str,
        folder: &Path,
        problems: &Problems<'_>,
    ) -> Option<ReadTask> {
        let name = read_name(section);
        let sources = read_sources(section);
        let target = section.required_text("target");
        let mode = section.word(
            "mode",
            &[
                ("all", Mode::All),
                ("full", Mode::Full),
                ("incremental", Mode::Incremental),
            ],
            Mode::All,
        );
        let selection = read_selection(section, meta_schema);
        let start = RelayStart::read(section, "start");
        if start != RelayStart::Auto && mode != Mode::Incremental {
            section.fault_at(
                "start",
                "`task.start` is for `mode = \"incremental\"`; a copy knows its own position",
                Some("take it out, or change the mode".to_owned()),
            );
        }
        let routes = read_routes(section, meta_schema);
        let filters = section
            .sections("filter")
            .iter()
            .filter_map(|filter| read_filter(filter, problems))
            .collect();
        let accepted = section
            .sections("accept")
            .iter()
            .filter_map(|accept| Acceptance::read(accept, problems))
            .collect();
        if !section.sections("on_event").is_empty() {
            section.not_yet("on_event", "decisions made beforehand");
        }
        let dump = section
            .section("dump")
            .map_or_else(DumpConfig::default, |dump| DumpConfig::read(&dump));
        let load = section
            .section("load")
            .map_or_else(LoadConfig::default, |load| LoadConfig::read(&load, folder));
        if load.from.is_some() && mode == Mode::Incremental {
            section.fault_at(
                "load",
                "`task.load.from` names a dump to load, and `mode = \"incremental\"` loads none",
                Some("take `from` out, or change the mode".to_owned()),
            );
        }
        let sync = section
            .section("sync")
            .map_or_else(SyncConfig::default, |sync| SyncConfig::read(&sync));
        if dump.consistency == Consistency::Fuzzy && mode != Mode::All {
            section.fault_at(
                "mode",
                "`task.dump.consistency = \"fuzzy\"` is for `mode = \"all\"`: replication makes its rows those \
                 of one moment",
                Some("use `auto`, `flush` or `snapshot`".to_owned()),
            );
        }
        if (dump.programs.triggers || dump.programs.events) && mode != Mode::Full {
            section.fault_at(
                "mode",
                "`programs` takes triggers or events, and `mode` lets changes follow: on the target they \
                 would do a second time what those changes have already",
                Some(
                    "use `mode = \"full\"`, or take them over at the cut-over".to_owned(),
                ),
            );
        }
        let is_autostart = section.flag("autostart", true);
        let name = name?;
        let task = Self {
            name: name.value.clone(),
            sources: sources.iter().map(|source| source.value.clone()).collect(),
            target: target
                .as_ref()
                .map_or_else(String::new, |target| target.value.clone()),
            mode,
            selection,
            routes,
            filters,
            accepted,
            start,
            is_autostart,
            dump,
            load,
            sync,
        };
        Some(ReadTask {
            task,
            name,
            sources,
            target,
        })
    }
}

impl DumpConfig {
    fn read(section: &Section<'_>) -> Self {
        let defaults = Self::default();
        let consistency = section.word("consistency", &Consistency::NAMES, defaults.consistency);
        Self {
            threads: count(section, "threads", 256, defaults.threads),
            chunk_bytes: section.size("chunk_size", 1 << 10..=1 << 40, defaults.chunk_bytes),
            consistency,
            rate_limit: section.size_or_none("rate_limit", 1 << 10..=1 << 40),
            back_off: section
                .section("back_off")
                .map_or_else(BackOff::default, |back_off| BackOff::read(&back_off)),
            packing: section.word(
                "compress",
                &[
                    ("none", Packing::None),
                    ("gzip", Packing::Gzip),
                    ("zstd", Packing::Zstd),
                ],
                defaults.packing,
            ),
            programs: Programs::read(section),
        }
    }
}

impl LoadConfig {
    fn read(section: &Section<'_>, folder: &Path) -> Self {
        let defaults = Self::default();
        Self {
            threads: count(section, "threads", 256, defaults.threads),
            from: section.path("from", folder).map(|from| from.value),
            on_duplicate: section.word(
                "on_duplicate",
                &[
                    ("error", OnDuplicate::Error),
                    ("replace", OnDuplicate::Replace),
                    ("ignore", OnDuplicate::Ignore),
                ],
                defaults.on_duplicate,
            ),
        }
    }
}

impl SyncConfig {
    fn read(section: &Section<'_>) -> Self {
        let defaults = Self::default();
        let on_drift = section.word(
            "on_drift",
            &[
                ("pause", DriftPolicy::Pause),
                ("warn", DriftPolicy::Warn),
                ("repair", DriftPolicy::Repair),
            ],
            defaults.on_drift,
        );
        let is_before_image_verified =
            section.word("verify", &[("key", false), ("before-image", true)], false);
        Self {
            workers: count(section, "workers", 256, defaults.workers),
            is_strict_order: section.word(
                "order",
                &[("transactions", false), ("strict", true)],
                defaults.is_strict_order,
            ),
            on_drift,
            is_before_image_verified,
            batch_rows: count(section, "batch_rows", 1_000_000, defaults.batch_rows),
            batch_bytes: section.size("batch_bytes", 1 << 10..=1 << 30, defaults.batch_bytes),
        }
    }
}

fn count(section: &Section<'_>, key: &str, most: u64, default: usize) -> usize {
    let number = section.integer(key, 1..=most, default as u64);
    usize::try_from(number).unwrap_or(default)
}

fn read_sources(section: &Section<'_>) -> Vec<Located<String>> {
    if !section.has("sources") {
        section.missing(
            "sources",
            "add `sources = [\"…\"]` here, with names of `[[source]]`",
        );
        return Vec::new();
    }
    let Some(sources) = section.texts("sources", false) else {
        return Vec::new();
    };
    if sources.is_empty() {
        section.fault_at("sources", "`task.sources` is empty", None);
    }
    for (index, source) in sources.iter().enumerate() {
        if sources[..index]
            .iter()
            .any(|before| before.value == source.value)
        {
            section.fault_of(
                source,
                format!("the source `{}` is named twice", source.value),
                Some("take one out".to_owned()),
            );
        }
    }
    sources
}

fn read_selection(section: &Section<'_>, meta_schema: &str) -> Selection {
    if !section.has("tables") {
        section.missing(
            "tables",
            "add `tables = [\"schema.*\"]` here, or `[\"*.*\"]` for all",
        );
        return Selection::default();
    }
    let Some(patterns) = section.texts("tables", false) else {
        return Selection::default();
    };
    let texts: Vec<String> = patterns.iter().map(|text| text.value.clone()).collect();
    match Selection::parse(&texts) {
        Ok(selection) => {
            for (pattern, located) in selection.rules().zip(&patterns) {
                if pattern.1
                    && pattern
                        .0
                        .exact_schema()
                        .is_some_and(|schema| schema.eq_ignore_ascii_case(meta_schema))
                {
                    section.fault_of(
                        located,
                        format!("`{meta_schema}` is `worker.meta_schema`, and is never taken"),
                        None,
                    );
                }
            }
            selection.without_schema(meta_schema)
        }
        Err(error) => {
            match patterns.get(error.index) {
                Some(pattern) => section.fault_of(pattern, error.message, None),
                None => section.fault_at("tables", error.message, None),
            }
            Selection::default()
        }
    }
}

fn read_routes(section: &Section<'_>, meta_schema: &str) -> Routes {
    let mut routes = Vec::new();
    for rule in section.sections("route") {
        let (from, to) = (rule.required_text("from"), rule.required_text("to"));
        let (Some(from), Some(to)) = (from, to) else {
            continue;
        };
        // Told apart so that each is shown at its own place.
        if let Err(message) = Route::parse(&from.value, "*.*") {
            rule.fault_of(&from, message, None);
        } else {
            match Route::parse(&from.value, &to.value) {
                Ok(route) => {
                    if route
                        .schema()
                        .is_some_and(|schema| schema.eq_ignore_ascii_case(meta_schema))
                    {
                        rule.fault_of(
                            &to,
                            format!("`{meta_schema}` is `worker.meta_schema`, for our own tables"),
                            None,
                        );
                    }
                    routes.push(route);
                }
                Err(message) => rule.fault_of(&to, message, None),
            }
        }
    }
    Routes::new(routes)
}

fn read_filter(section: &Section<'_>, problems: &Problems<'_>) -> Option<EventFilter> {
    let tables = section.texts("tables", true);
    if !section.has("tables") {
        section.missing("tables", "add `tables = \"schema.table\"` here");
    }
    let events = section.texts("events", false).unwrap_or_default();
    let sql = section.texts("sql", false).unwrap_or_default();
    if !section.has("action") {
        section.missing(
            "action",
            "add `action = \"ignore\"`, or `action = \"error\"`",
        );
    }
    let action = section.word(
        "action",
        &[
            ("ignore", FilterAction::Ignore),
            ("error", FilterAction::Error),
        ],
        FilterAction::Ignore,
    );
    let tables = tables?;
    let texts = |list: &[Located<String>]| -> Vec<String> {
        list.iter().map(|text| text.value.clone()).collect()
    };
    match EventFilter::parse(&texts(&tables), &texts(&events), &texts(&sql), action) {
        Ok(filter) => Some(filter),
        Err(error) => {
            let (list, index) = match &error {
                FilterError::Tables(e) => (&tables, e.index),
                FilterError::Events(e) => (&events, e.index),
                FilterError::Sql(e) => (&sql, e.index),
                FilterError::Whole(message) => {
                    section.fault(message.clone(), None);
                    return None;
                }
            };
            let located = list.get(index)?;
            let near = matches!(error, FilterError::Events(_))
                .then(|| nearest(&located.value, EventKind::names()))
                .flatten();
            problems.add(
                &located.at,
                located.key.clone(),
                error.to_string(),
                near,
                None,
            );
            None
        }
    }
}
