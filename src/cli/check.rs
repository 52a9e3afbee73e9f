//! `tideway check`.

use std::fmt::Write as _;
use std::io::{IsTerminal as _, Write as _};

use crate::config::Config;
use crate::job::check;
use crate::model::check::combined;
use crate::model::{CheckReport, CheckState, GrantState, Result};

use super::{FINE, PROBLEM};

/// Runs the checks and prints what was found.
pub(super) fn check(config: Config, json: bool) -> Result<u8> {
    let config = crate::app::with_passwords(config)?;
    let progress = check::Progress::default();
    let stop = tokio_util::sync::CancellationToken::new();
    let report = super::small_runtime()?.block_on(async {
        let checked = check::watched(&config, &stop, &progress);
        if std::io::stderr().is_terminal() {
            shown(checked, &progress).await
        } else {
            checked.await
        }
    });
    if json {
        super::print_json(&report)?;
    } else {
        super::print(text(&report).trim_end())?;
    }
    Ok(if report.ok { FINE } else { PROBLEM })
}

/// Waits for the report with a bar on the terminal, which is gone when it comes.
async fn shown(
    checked: impl Future<Output = CheckReport>,
    progress: &check::Progress,
) -> CheckReport {
    const CELLS: u64 = 40;
    let mut err = std::io::stderr();
    let mut tick = tokio::time::interval(std::time::Duration::from_millis(200));
    tick.tick().await;
    let mut checked = std::pin::pin!(checked);
    loop {
        tokio::select! {
            report = &mut checked => {
                // Nobody is left to be shown anything if the terminal has gone.
                let _ = write!(err, "\r\x1b[K");
                return report;
            }
            _ = tick.tick() => {
                let percent = progress.figure().percent();
                let full = percent * CELLS / 100;
                let bar: String = (0..CELLS).map(|cell| if cell < full { '#' } else { '.' }).collect();
                let _ = write!(err, "\rchecking [{bar}] {percent:>3}%");
                let _ = err.flush();
            }
        }
    }
}

/// The report in lines for people: what fails first, then the statements that mend it.
fn text(report: &CheckReport) -> String {
    let mut out = String::new();
    // Writing to a `String` cannot fail.
    for check in &report.checks {
        let word = match check.state {
            CheckState::Pass => "ok  ",
            CheckState::Warn => "warn",
            CheckState::Fail => "FAIL",
        };
        let _ = writeln!(
            out,
            "{word}  {:<18} {:<22} {}",
            check.scope, check.id, check.found
        );
        if check.state != CheckState::Pass {
            let _ = writeln!(out, "      why: {}", check.why);
            if !check.streams.is_empty() {
                let word = match check.state {
                    CheckState::Fail => "blocks",
                    _ => "asked before",
                };
                let _ = writeln!(out, "      {word}: {}", check.streams.join(", "));
            }
            if !check.mend.is_empty() {
                let _ = writeln!(out, "      fix: {}", check.mend);
            }
        }
    }
    let mut grants: Vec<(&str, &str)> = Vec::new();
    for cell in &report.privileges {
        if matches!(cell.how.as_str(), check::NOT_CONNECTED | check::NOT_READ) {
            // Said once, by the row of the connection or the account.
            continue;
        }
        let word = match cell.state {
            _ if cell.is_lacking() && cell.accepted.is_some() => "accepted",
            GrantState::Have => "have",
            GrantState::Missing => "MISS",
            GrantState::Inactive => "INACTIVE",
            GrantState::NotNeeded => "-",
            GrantState::Unknown => "?",
        };
        let _ = writeln!(
            out,
            "{word:<8}  {:<18} {:<5} {} on {}  ({})",
            cell.server, cell.unit, cell.privilege, cell.object, cell.evidence
        );
        if cell.is_lacking()
            && cell.accepted.is_none()
            && !cell.grant.is_empty()
            && !grants.contains(&(cell.server.as_str(), cell.grant.as_str()))
        {
            grants.push((&cell.server, &cell.grant));
        }
    }
    if !grants.is_empty() {
        out.push_str("\nrun as an administrator:\n");
        let mut servers: Vec<&str> = grants.iter().map(|(on, _)| *on).collect();
        servers.dedup();
        for server in servers {
            let _ = writeln!(out, "-- on {server}");
            let of_server = grants.iter().filter(|(on, _)| *on == server);
            for grant in combined(of_server.map(|(_, grant)| *grant)) {
                let _ = writeln!(out, "{grant}");
            }
        }
    }
    let _ = writeln!(out, "{}", closing(report));
    out
}

/// How many fail and how many warn, in a line.
fn closing(report: &CheckReport) -> String {
    let count = |state: CheckState| report.checks.iter().filter(|c| c.state == state).count();
    let missing = report.missing();
    let warned = match count(CheckState::Warn) {
        0 => String::new(),
        1 => "; 1 warning".to_owned(),
        many => format!("; {many} warnings"),
    };
    if report.ok {
        return match warned.as_str() {
            "" => "all checks pass".to_owned(),
            warned => format!("nothing fails{warned}"),
        };
    }
    let failed = match count(CheckState::Fail) {
        0 => None,
        1 => Some("1 check fails".to_owned()),
        many => Some(format!("{many} checks fail")),
    };
    let lacks = match missing.len() {
        0 => None,
        1 => Some("1 privilege is missing".to_owned()),
        many => Some(format!("{many} privileges are missing")),
    };
    let parts: Vec<String> = failed.into_iter().chain(lacks).collect();
    format!("{}{warned}", parts.join("; "))
}
