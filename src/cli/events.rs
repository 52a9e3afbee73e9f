//! `tideway events`.

use std::fmt::Write as _;
use std::io::{BufWriter, ErrorKind as IoKind, Write as _};
use std::path::Path;

use serde_json::json;

use crate::config::{Config, TaskConfig, relay_folder};
use crate::job::browse::{From, browse};
use crate::model::{Error, ErrorKind, EventRow, EventView, Result};
use crate::remote::Client;

use super::{FINE, PROBLEM};

/// What was asked for.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) source: Option<String>,
    pub(super) task: Option<String>,
    pub(super) from: Option<From>,
    /// How many at the most; all there are where it is 0.
    pub(super) count: u64,
    /// How many rows of an event, if any are wanted.
    pub(super) rows: Option<usize>,
    pub(super) json: bool,
}

/// Reads how many rows of an event are to be shown.
pub(super) fn row_count(text: &str) -> Result<usize, String> {
    if text == "all" {
        return Ok(usize::MAX);
    }
    let count = text.parse();
    count.map_err(|_| format!("`{text}` is neither a number nor `all`"))
}

/// Prints events of a relay log, whether a worker runs or not.
pub(super) fn events(config: &Path, wanted: Wanted) -> Result<u8> {
    let config = Config::load_without_secrets(config)?;
    let task = wanted.task.as_deref().map(|name| task_of(&config, name));
    let task = task.transpose()?;
    let source = source_of(&config, task, wanted.source.as_deref())?;
    let data_dir = &config.worker.data_dir;
    let from = match (wanted.from, task) {
        (Some(from), _) => Some(from),
        // Where the stream stands, if a worker is there to say so; else from the oldest on.
        (None, Some(task)) => standing(data_dir, &task.name, source),
        (None, None) => None,
    };
    let mut out = BufWriter::new(std::io::stdout().lock());
    let mut left = if wanted.count == 0 {
        u64::MAX
    } else {
        wanted.count
    };
    let folder = relay_folder(data_dir, source);
    let with_rows = wanted.rows.is_some();
    let mut code = FINE;
    let has_log = browse(&folder, from.as_ref(), wanted.rows.unwrap_or(0), |view| {
        let is_others = |task: &TaskConfig| {
            view.table
                .as_ref()
                .is_some_and(|table| !task.selection.takes(table))
        };
        if task.is_some_and(is_others) {
            return Ok(true);
        }
        let text = if wanted.json {
            line(&view, with_rows).to_string()
        } else {
            text(&view, with_rows)
        };
        if view.undecoded.is_some() {
            code = PROBLEM;
        }
        left -= 1;
        match writeln!(out, "{text}") {
            Ok(()) => Ok(left > 0),
            Err(e) if e.kind() == IoKind::BrokenPipe => Ok(false),
            Err(e) => Err(unwritten(e)),
        }
    });
    // What was decoded before an error is shown.
    let flushed = out.flush();
    if !has_log? {
        return Err(Error::new(
            ErrorKind::Checkpoint,
            format!("there is no relay log of `{source}` yet"),
        )
        .with_fix("start `tideway run`: it fetches the source's binlog"));
    }
    match flushed {
        Err(e) if e.kind() != IoKind::BrokenPipe => Err(unwritten(e)),
        _ => Ok(code),
    }
}

fn unwritten(error: std::io::Error) -> Error {
    Error::new(ErrorKind::File, "cannot write to stdout").with_source(error)
}

fn task_of<'c>(config: &'c Config, name: &str) -> Result<&'c TaskConfig> {
    config
        .tasks
        .iter()
        .find(|task| task.name == name)
        .ok_or_else(|| {
            let names: Vec<String> = config
                .tasks
                .iter()
                .map(|t| format!("`{}`", t.name))
                .collect();
            Error::new(ErrorKind::Config, format!("there is no task `{name}`"))
                .with_fix(format!("the configuration has: {}", names.join(", ")))
        })
}

/// The source that is meant: the one named, else the only one there is.
fn source_of<'c>(
    config: &'c Config,
    task: Option<&'c TaskConfig>,
    asked: Option<&str>,
) -> Result<&'c str> {
    let all: Vec<&str> = match task {
        Some(task) => task.sources.iter().map(String::as_str).collect(),
        None => config
            .sources
            .iter()
            .map(|s| s.server.name.as_str())
            .collect(),
    };
    let names = || {
        let names: Vec<String> = all.iter().map(|name| format!("`{name}`")).collect();
        names.join(", ")
    };
    match asked {
        Some(asked) => all
            .iter()
            .copied()
            .find(|name| *name == asked)
            .ok_or_else(|| {
                Error::new(ErrorKind::Config, format!("no source is called `{asked}`"))
                    .with_fix(format!("one of: {}", names()))
            }),
        None => match all.as_slice() {
            [only] => Ok(only),
            _ => Err(Error::new(
                ErrorKind::Config,
                "there are several sources, and `--source` does not say which is meant",
            )
            .with_fix(format!("one of: {}", names()))),
        },
    }
}

/// Where a running worker's stream stands.
fn standing(data_dir: &Path, task: &str, source: &str) -> Option<From> {
    let asked = super::small_runtime().ok()?.block_on(async {
        let mut client = Client::connect(data_dir).await?;
        client.snapshot().await
    });
    let snapshot = asked.ok()?;
    let stream = snapshot
        .streams
        .iter()
        .find(|stream| stream.task == task && stream.source == source)?;
    Some(From::place(&stream.position.as_ref()?.place))
}

fn line(view: &EventView, with_rows: bool) -> serde_json::Value {
    let mut line = json!({
        "folder": view.place.folder,
        "file": view.place.position.file,
        "offset": view.place.position.offset,
        "end_offset": view.end_offset,
        "inner": view.inner,
        "gtid": view.gtid,
        "time": view.time,
        "kind": view.kind,
        "schema": view.table.as_ref().map(|table| &table.schema),
        "table": view.table.as_ref().map(|table| &table.name),
        "rows": view.rows,
        "statement": view.statement,
        "undecoded": view.undecoded,
    });
    if with_rows && let Some(line) = line.as_object_mut() {
        let names: Vec<&String> = view.columns.iter().map(|(name, _)| name).collect();
        line.insert("columns".into(), json!(names));
        line.insert("images".into(), json!(view.images));
        line.insert("assumed".into(), json!(view.assumed));
    }
    line
}

/// An event in a line for people, and its rows in further ones.
fn text(view: &EventView, with_rows: bool) -> String {
    /// So much of a statement tells what it is.
    const STATEMENT: usize = 100;
    let position = &view.place.position;
    let inner = view
        .inner
        .map_or_else(String::new, |inner| format!("#{inner}"));
    // Writing to a `String` cannot fail.
    let mut text = format!("{position}{inner}  {}  {}", view.time, view.kind);
    if let Some(gtid) = &view.gtid {
        let _ = write!(text, "  {gtid}");
    }
    if let Some(table) = &view.table {
        let _ = write!(text, "  {table}");
    }
    if view.rows > 0 {
        let _ = write!(text, "  {} rows", view.rows);
    }
    if let Some(statement) = &view.statement {
        let one_line: Vec<&str> = statement.split_whitespace().collect();
        let one_line = one_line.join(" ");
        let shown: String = one_line.chars().take(STATEMENT).collect();
        let more = if shown.len() < one_line.len() {
            "…"
        } else {
            ""
        };
        let _ = write!(text, "  `{shown}{more}`");
    }
    if let Some(undecoded) = &view.undecoded {
        let _ = write!(text, "  cannot be decoded: {undecoded}");
    }
    if with_rows {
        if !view.assumed.is_empty() {
            let _ = write!(
                text,
                "\n    the binlog does not tell the sign or character set of {}: shown as signed, as UTF-8",
                view.assumed.join(", ")
            );
        }
        for row in &view.images {
            rows(&mut text, view, row);
        }
        let left = view.rows.saturating_sub(view.images.len() as u64);
        if left > 0 {
            let _ = write!(text, "\n    and {left} more rows");
        }
    }
    text
}

fn rows(text: &mut String, view: &EventView, row: &EventRow) {
    for (sign, image) in [('-', &row.before), ('+', &row.after)] {
        let Some(image) = image else { continue };
        let values: Vec<String> = view
            .columns
            .iter()
            .zip(image)
            .map(|((name, _), value)| format!("{name}={}", value.as_deref().unwrap_or("NULL")))
            .collect();
        let _ = write!(text, "\n    {sign} {}", values.join(", "));
    }
}
