//! `tideway compare`.

use std::fmt::Write as _;

use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::job::compare::{CompareJob, CompareReport, TableReport, run};
use crate::model::{Error, ErrorKind, Result};

use super::{FINE, PROBLEM};

/// Differing rows that are listed for each table.
const ROWS_LISTED: usize = 20;

/// Compares every table of the tasks, and prints what differs.
pub(super) fn compare(config: Config, task: Option<&str>, json: bool) -> Result<u8> {
    let config = crate::app::with_passwords(config)?;
    let tasks: Vec<_> = config
        .tasks
        .iter()
        .filter(|known| task.is_none_or(|asked| asked == known.name))
        .collect();
    if let (Some(asked), true) = (task, tasks.is_empty()) {
        let names: Vec<String> = config
            .tasks
            .iter()
            .map(|task| format!("`{}`", task.name))
            .collect();
        return Err(
            Error::new(ErrorKind::Config, format!("there is no task `{asked}`"))
                .with_fix(format!("the configuration has: {}", names.join(", "))),
        );
    }
    let mut is_equal = true;
    let runtime = super::small_runtime()?;
    for task in tasks {
        let job = CompareJob {
            task: task.clone(),
            sources: config
                .sources
                .iter()
                .filter(|source| task.sources.contains(&source.server.name))
                .cloned()
                .collect(),
            target: config.target(&task.target).cloned().ok_or_else(|| {
                Error::new(
                    ErrorKind::Config,
                    format!("there is no target `{}`", task.target),
                )
            })?,
            meta_schema: config.worker.meta_schema.clone(),
            rows_listed: ROWS_LISTED,
        };
        let show = |table: &TableReport| {
            if !json {
                // A reader that went away is noticed at the summary.
                let _ = super::print(line(table).trim_end());
            }
        };
        let report = runtime.block_on(run(&job, show, &CancellationToken::new()))?;
        is_equal &= report.equal && report.complete;
        if json {
            super::print_json(&report)?;
        } else {
            super::print(&summary(&report))?;
        }
    }
    Ok(if is_equal { FINE } else { PROBLEM })
}

/// A table's result, with its differing rows.
fn line(table: &TableReport) -> String {
    let mut out = String::new();
    let word = if table.equal { "equal  " } else { "DIFFERS" };
    // Writing to a `String` cannot fail.
    let _ = write!(out, "{word}  {:<40} ", table.target);
    let _ = if table.source_rows == table.target_rows {
        write!(out, "{:>12} rows", table.target_rows)
    } else {
        write!(
            out,
            "{:>12} rows on the source, {} on the target",
            table.source_rows, table.target_rows
        )
    };
    if table.missing + table.extra + table.differing > 0 {
        let _ = write!(
            out,
            "  ({} missing on the target, {} only there, {} with other values)",
            table.missing, table.extra, table.differing
        );
    }
    out.push('\n');
    if let Some(problem) = &table.problem {
        let _ = writeln!(out, "         {problem}");
    }
    for row in &table.rows {
        let _ = writeln!(out, "         {} {}", row.kind, row.key);
        for column in &row.columns {
            let shown = |value: &Option<String>| value.clone().unwrap_or_else(|| "NULL".to_owned());
            let _ = writeln!(
                out,
                "           {}: source {} target {}",
                column.name,
                shown(&column.source),
                shown(&column.target)
            );
        }
    }
    out
}

fn summary(report: &CompareReport) -> String {
    let rows: u64 = report.tables.iter().map(|table| table.target_rows).sum();
    let differing = report.tables.iter().filter(|table| !table.equal).count();
    if report.equal {
        format!(
            "task `{}`: {} tables, {rows} rows: equal",
            report.task,
            report.tables.len()
        )
    } else {
        format!(
            "task `{}`: {differing} of {} tables differ",
            report.task,
            report.tables.len()
        )
    }
}
