//! `tideway check`.

use std::fmt::Write as _;

use crate::config::Config;
use crate::job::check;
use crate::model::{CheckReport, CheckState, GrantState, Result};

use super::{FINE, PROBLEM};

/// Runs the checks and prints what was found.
pub(super) fn check(config: Config, json: bool) -> Result<u8> {
    let config = crate::app::with_passwords(config)?;
    let report = super::small_runtime()?.block_on(check::run(
        &config,
        &tokio_util::sync::CancellationToken::new(),
    ));
    if json {
        super::print_json(&report)?;
    } else {
        super::print(text(&report).trim_end())?;
    }
    Ok(if report.ok { FINE } else { PROBLEM })
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
        if matches!(cell.state, GrantState::Missing | GrantState::Inactive)
            && !cell.grant.is_empty()
            && !grants.contains(&(cell.server.as_str(), cell.grant.as_str()))
        {
            grants.push((&cell.server, &cell.grant));
        }
    }
    if !grants.is_empty() {
        out.push_str("\nrun as an administrator:\n");
        let mut server = "";
        for (on, grant) in grants {
            if on != server {
                server = on;
                let _ = writeln!(out, "-- on {on}");
            }
            let _ = writeln!(out, "{grant}");
        }
    }
    let _ = writeln!(
        out,
        "{}",
        if report.ok {
            "all checks pass"
        } else {
            "something fails"
        }
    );
    out
}
