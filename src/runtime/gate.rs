//! What a stream must pass before it begins: the checks of its own task.
//!
//! ```text
//!   failure, missing privilege   the stream stands until it is mended, or accepted by name
//!   warning                      the same where an operator sits before it; else it is logged
//! ```
//!
//! A stream that has a checkpoint has begun: what the checks find of it is shown, and keeps it from
//! nothing. What was accepted is in the journal, and holds for as long as the same is found.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

use crate::config::{Config, TaskConfig};
use crate::job::check;
use crate::model::{
    CheckReport, CheckState, Error, ErrorKind, Finding, PRIVILEGES, PrivilegeFigure, Result,
};
use crate::privilege;

/// The gate of one stream.
#[derive(Debug)]
pub(super) struct Gate {
    /// The stream's task alone.
    config: Arc<Config>,
    task: String,
    source: String,
    /// Whether somebody is there to be asked about warnings.
    asks: bool,
    /// Whether the run at hand is not known to have come through, or to need no gate.
    is_shut: AtomicBool,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    /// What the operator accepted.
    accepted: Vec<Finding>,
    /// What keeps the stream from beginning.
    open: Vec<Finding>,
}

/// How a stream came through.
#[derive(Debug)]
pub(super) enum Passed {
    /// With these remarks for the operator.
    With(Vec<String>),
    /// It was asked to stop.
    Stopped,
}

impl Gate {
    /// The gate of `task` on `source`; `accepted` is what the journal knows.
    pub(super) fn new(
        config: &Config,
        task: &TaskConfig,
        source: &str,
        asks: bool,
        accepted: Vec<Finding>,
    ) -> Self {
        Self {
            config: Arc::new(config.of_task(task)),
            task: task.name.clone(),
            source: source.to_owned(),
            asks,
            is_shut: AtomicBool::new(false),
            kept: Mutex::new(Kept {
                accepted,
                open: Vec::new(),
            }),
        }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        // Plain data: a panic while it was held left nothing half done.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A run begins: whether it has to come through here, and does, is to be seen.
    pub(super) fn shut(&self) {
        self.is_shut.store(true, Ordering::Relaxed);
    }

    /// It is through, or had begun before.
    pub(super) fn leave(&self) {
        self.is_shut.store(false, Ordering::Relaxed);
    }

    /// Whether the run at hand is still before it.
    pub(super) fn is_shut(&self) -> bool {
        self.is_shut.load(Ordering::Relaxed)
    }

    /// What keeps the stream from beginning.
    pub(super) fn open(&self) -> Vec<Finding> {
        self.kept().open.clone()
    }

    /// What of it is meant by `names`; by none: every warning. Where the operator has `seen` what that
    /// was, nothing else is meant.
    pub(super) fn named(&self, names: &[String], seen: &[Finding]) -> Result<Vec<Finding>> {
        let open = self.open();
        if open.is_empty() {
            return Err(Error::new(
                ErrorKind::Refused,
                "nothing that the checks found keeps this stream from beginning",
            )
            .with_fix("see what it stands at with `tideway status`"));
        }
        let is_meant = |finding: &&Finding| match names {
            [] => finding.state == CheckState::Warn,
            names => names.contains(&finding.name),
        };
        let meant: Vec<Finding> = open.iter().filter(is_meant).cloned().collect();
        let is_open = |name: &&String| !open.iter().any(|finding| finding.name == **name);
        if let Some(unknown) = names.iter().find(is_open) {
            return Err(Error::new(
                ErrorKind::Refused,
                format!("`{unknown}` is not among what was found"),
            )
            .with_fix(format!("name one of {}", listed(&open))));
        }
        let is_unseen = |one: &&Finding| !seen.iter().any(|known| known.is_like(one));
        if !seen.is_empty()
            && let Some(unseen) = meant.iter().find(is_unseen)
        {
            return Err(Error::new(
                ErrorKind::Refused,
                format!(
                    "`{}` ({}) has changed since it was looked at: {}",
                    unseen.name, unseen.scope, unseen.found
                ),
            )
            .with_fix("look at what is found now, then accept"));
        }
        if meant.is_empty() {
            return Err(Error::new(
                ErrorKind::Refused,
                "what was found are failures: each is accepted by its name alone",
            )
            .with_fix(format!("name one of {}", listed(&open))));
        }
        Ok(meant)
    }

    /// Takes findings as accepted; gives what is still open.
    pub(super) fn accept(&self, findings: &[Finding]) -> Vec<Finding> {
        let mut kept = self.kept();
        kept.accepted.extend_from_slice(findings);
        kept.open
            .retain(|open| !findings.iter().any(|accepted| accepted.is_like(open)));
        kept.open.clone()
    }

    /// Runs the checks, and passes if nothing is found that was not accepted.
    pub(super) async fn pass(&self, stop: &CancellationToken) -> Result<Passed> {
        let report = tokio::select! {
            () = stop.cancelled() => return Ok(Passed::Stopped),
            report = checked(Arc::clone(&self.config), stop.child_token(), Arc::default()) => report?,
        };
        let stream = format!("{}/{}", self.task, self.source);
        let unreached = report.checks.iter().find(|check| {
            check.id == "connection"
                && check.state == CheckState::Fail
                && check.streams.contains(&stream)
        });
        if let Some(check) = unreached {
            return Err(Error::new(
                ErrorKind::Connect,
                format!(
                    "the checks before the start got no answer from {}",
                    check.scope
                ),
            )
            .with_source(check.found.clone())
            .with_fix(check.mend.clone()));
        }
        let found = findings(&report, &stream);
        let mut kept = self.kept();
        let (known, new): (Vec<Finding>, Vec<Finding>) = found
            .into_iter()
            .partition(|one| kept.accepted.iter().any(|accepted| accepted.is_like(one)));
        let (open, passed): (Vec<Finding>, Vec<Finding>) = new
            .into_iter()
            .partition(|one| self.asks || one.state == CheckState::Fail);
        kept.open.clone_from(&open);
        drop(kept);
        if !open.is_empty() {
            return Err(self.standing(&open));
        }
        for one in &passed {
            tracing::warn!(
                unit = "check", source = %self.source, task = %self.task,
                "{}: {}", one.name, one.found
            );
        }
        let remark = |what: &str, list: &[Finding]| {
            (!list.is_empty()).then(|| format!("begins in spite of {what}: {}", listed(list)))
        };
        let remarks = [
            remark("what was accepted", &known),
            remark("warnings of the checks", &passed),
        ];
        Ok(Passed::With(remarks.into_iter().flatten().collect()))
    }

    /// Why the stream stands.
    fn standing(&self, open: &[Finding]) -> Error {
        let failed: Vec<Finding> = open
            .iter()
            .filter(|one| one.state == CheckState::Fail)
            .cloned()
            .collect();
        let message = match failed.len() {
            0 => format!("the checks ask before the start: {}", listed(open)),
            _ => format!("the checks keep it from beginning: {}", listed(&failed)),
        };
        // Failures first: they are the worse.
        let first = failed.first().or(open.first());
        let (cause, mend) = first.map_or(("", ""), |one| (&one.found, &one.mend));
        let how = format!(
            "or accept it: `tideway ctl accept {} --task {} --source {}`",
            first.map_or("", |one| &one.name),
            self.task,
            self.source
        );
        let fix = if mend.is_empty() {
            how
        } else {
            format!("{mend} {how}")
        };
        Error::new(ErrorKind::Checks, message)
            .with_source(cause.to_owned())
            .with_fix(fix)
    }
}

/// Runs the checks on a thread and a runtime of their own: reading the catalogue of 50,000 tables takes
/// the processor for longer than a stream should wait for it.
pub(super) async fn checked(
    config: Arc<Config>,
    stop: CancellationToken,
    progress: Arc<check::Progress>,
) -> Result<CheckReport> {
    let failed = |message: &str, source: Box<dyn std::error::Error + Send + Sync>| {
        Error::new(ErrorKind::Internal, message).with_source(source)
    };
    let run = move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        std::io::Result::Ok(runtime.block_on(check::watched(&config, &stop, &progress)))
    };
    match tokio::task::spawn_blocking(run).await {
        Ok(Ok(report)) => Ok(report),
        Ok(Err(error)) => Err(failed("the checks cannot be started", error.into())),
        Err(error) => Err(failed("the checks ended by a defect", error.into())),
    }
}

/// What a report has against a stream's beginning, failures first.
fn findings(report: &CheckReport, stream: &str) -> Vec<Finding> {
    let is_of_it = |streams: &[String]| streams.iter().any(|one| one == stream);
    let checks = report
        .checks
        .iter()
        .filter(|check| check.state != CheckState::Pass && is_of_it(&check.streams))
        .map(|check| Finding {
            name: check.id.clone(),
            scope: check.scope.clone(),
            state: check.state,
            found: check.found.clone(),
            why: check.why.clone(),
            mend: check.mend.clone(),
        });
    let lacking: Vec<&PrivilegeFigure> = report
        .privileges
        .iter()
        .filter(|cell| cell.is_lacking() && cell.accepted.is_none() && is_of_it(&cell.streams))
        .collect();
    let mut servers: Vec<&str> = lacking.iter().map(|cell| cell.server.as_str()).collect();
    servers.dedup();
    let privileges = servers.into_iter().map(|server| {
        let of_server = || lacking.iter().filter(|cell| cell.server == server);
        let words: Vec<String> = of_server().map(|cell| check::cell_text(cell)).collect();
        let grants = of_server().map(|cell| cell.grant.as_str());
        Finding {
            name: PRIVILEGES.to_owned(),
            scope: server.to_owned(),
            state: CheckState::Fail,
            found: format!("missing: {}", words.join(", ")),
            why: reasons(of_server()),
            mend: privilege::combined(grants.filter(|grant| !grant.is_empty())).join(" "),
        }
    });
    let mut all: Vec<Finding> = privileges.chain(checks).collect();
    all.sort_by_key(|one| one.state != CheckState::Fail);
    all
}

/// What privileges are needed for, each reason once.
fn reasons<'c>(cells: impl Iterator<Item = &'c &'c PrivilegeFigure>) -> String {
    let mut reasons: Vec<String> = Vec::new();
    for cell in cells {
        let reason = format!("{} {}", cell.privilege, cell.why);
        if !reasons.contains(&reason) {
            reasons.push(reason);
        }
    }
    reasons.join("; ")
}

/// The names of findings, each with what it is about.
fn listed(findings: &[Finding]) -> String {
    let names: Vec<String> = findings
        .iter()
        .map(|one| format!("`{}` ({})", one.name, one.scope))
        .collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> Config {
        let server = |kind: &str| {
            format!("[[{kind}]]\nname = \"a\"\nhost = \"h\"\nuser = \"u\"\npassword = \"p\"\n")
        };
        let text = format!(
            "{}{}[[task]]\nname = \"t\"\nsources = [\"a\"]\ntarget = \"a\"\ntables = [\"shop.*\"]\n",
            server("source"),
            server("target")
        );
        let path = std::path::Path::new("/tideway.toml");
        Config::parse(&text, path).unwrap_or_else(|errors| panic!("{errors}"))
    }

    fn finding(name: &str, found: &str) -> Finding {
        Finding {
            name: name.into(),
            scope: "worker".into(),
            state: CheckState::Warn,
            found: found.into(),
            why: String::new(),
            mend: String::new(),
        }
    }

    #[test]
    fn what_was_not_looked_at_is_not_accepted() {
        let gate = Gate {
            config: Arc::new(config()),
            task: "t".into(),
            source: "a".into(),
            asks: true,
            is_shut: AtomicBool::new(false),
            kept: Mutex::new(Kept {
                accepted: Vec::new(),
                open: vec![finding("disk", "7 MiB free"), finding("keys", "1: shop.b")],
            }),
        };
        let names = ["disk".to_owned(), "keys".to_owned()];
        let seen = [finding("disk", "90 MiB free"), finding("keys", "1: shop.b")];
        assert_eq!(gate.named(&names, &seen).unwrap().len(), 2);
        assert_eq!(gate.named(&names, &[]).unwrap().len(), 2);
        let other = [finding("disk", "90 MiB free"), finding("keys", "1: shop.a")];
        let error = gate.named(&names, &other).unwrap_err();
        assert!(error.message().contains("`keys` (worker) has changed"));
        assert_eq!(gate.named(&names[..1], &other).unwrap().len(), 1);
        let open = gate.accept(&seen[..1]);
        assert_eq!(open, [finding("keys", "1: shop.b")]);
    }
}
