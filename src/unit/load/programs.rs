//! Triggers, routines and events of a dump: made once all rows are in, so that nothing of it fires.
//!
//! They hold no data. One that the target does not take is left out with the reason.

use std::fmt::Write as _;

use crate::connect::Session;
use crate::dump_files::{DumpProgram, Manifest};
use crate::model::{Error, ErrorKind, Flavor, Result, table::quote_name};
use crate::schema::SqlMode;
use crate::schema::tokens::{Token, TokenKind, tokenize};
use crate::target::text::literal;

use super::{LoadJob, Meter};

/// `ER_SP_ALREADY_EXISTS`, `ER_TRG_ALREADY_EXISTS`, `ER_EVENT_ALREADY_EXISTS`.
const EXISTS: [u16; 3] = [1304, 1359, 1537];

/// Creates the programs of the dump, with a session that is used for nothing else behind it than what
/// does not depend on its modes.
pub(super) async fn create(
    session: &mut Session,
    job: &LoadJob,
    manifest: &Manifest,
    meter: &Meter,
) -> Result<()> {
    if manifest.programs.is_empty() {
        return Ok(());
    }
    let before = session
        .rows("SELECT @@session.sql_mode, @@session.time_zone, @@session.collation_connection")
        .await?;
    let before: Vec<String> = before
        .into_iter()
        .flatten()
        .map(|cell| String::from_utf8_lossy(&cell.unwrap_or_default()).into_owned())
        .collect();
    let mut is_without_definer = false;
    for program in &manifest.programs {
        let (kind, name) = (program.kind, &program.name);
        if let Some(why) = why_not(job, manifest, program) {
            meter.note(format!("left out: the {kind} {name}: {why}"));
            continue;
        }
        let text = without_definer(&program.create, manifest.header.flavor);
        is_without_definer |= text.len() < program.create.len();
        match make(session, program, &text).await {
            Ok(()) => {}
            Err(error) if error.server().is_some_and(|e| EXISTS.contains(&e.number)) => {
                meter.note(format!(
                    "the {kind} {name} is on the target already, and was left as it is"
                ));
            }
            Err(error) if is_final(&error) => return Err(error),
            Err(error) => {
                let why = error.cause().unwrap_or_else(|| error.to_string());
                meter.note(format!("left out: the {kind} {name}: {why}"));
            }
        }
    }
    if is_without_definer {
        meter.note(
            "triggers, routines and events are without their DEFINER: the account that loads is it",
        );
    }
    if let [sql_mode, zone, collation] = before.as_slice() {
        let restore = format!(
            "SET SESSION sql_mode = {}, time_zone = {}, collation_connection = {}",
            literal(sql_mode),
            literal(zone),
            literal(collation)
        );
        session.execute(restore.as_bytes()).await?;
    }
    Ok(())
}

async fn make(session: &mut Session, program: &DumpProgram, text: &str) -> Result<()> {
    let mut settings = format!(
        "SET SESSION sql_mode = {}, collation_connection = {}",
        literal(&program.sql_mode),
        literal(&program.collation)
    );
    if let Some(zone) = &program.time_zone {
        let _ = write!(settings, ", time_zone = {}", literal(zone));
    }
    session.execute(settings.as_bytes()).await?;
    let using = format!("USE {}", quote_name(&program.name.schema));
    session.execute(using.as_bytes()).await?;
    session.execute(text.as_bytes()).await.map(drop)
}

/// Why a program cannot be made as it is: its text names tables as the source does.
fn why_not(job: &LoadJob, manifest: &Manifest, program: &DumpProgram) -> Option<String> {
    let schema = &program.name.schema;
    let mut tables = manifest.tables.keys();
    let routed = tables.find(|table| {
        let is_near = table.schema == *schema || program.table.as_ref() == Some(table);
        is_near && job.task.routes.target(table) != **table
    })?;
    Some(format!(
        "its text names tables as the source does, and {routed} has another name on the target"
    ))
}

/// Whether the error is no refusal of this one program.
fn is_final(error: &Error) -> bool {
    error.server().is_none() || matches!(error.kind(), ErrorKind::Connect | ErrorKind::TargetBusy)
}

/// The text without `DEFINER = …`, who need not exist on the target.
fn without_definer(create: &str, flavor: Flavor) -> String {
    let sql = create.as_bytes();
    let tokens: Vec<Token> = tokenize(sql, SqlMode::default(), flavor)
        .into_iter()
        .filter(|token| token.kind.is_significant())
        .take(LOOKED_AT)
        .collect();
    let is = |index: usize, byte: u8| {
        tokens
            .get(index)
            .is_some_and(|token: &Token| token.kind == TokenKind::Punctuation(byte))
    };
    let found = tokens
        .iter()
        .position(|token| token.is_word(sql, "definer"));
    let Some(index) = found.filter(|index| is(index + 1, b'=')) else {
        return create.to_owned();
    };
    // `user`@`host`, or a role.
    let last = if is(index + 3, b'@') {
        index + 4
    } else {
        index + 2
    };
    let (Some(first), Some(last)) = (tokens.get(index), tokens.get(last)) else {
        return create.to_owned();
    };
    let before = create.get(..first.start).unwrap_or_default();
    let behind = create.get(last.end..).unwrap_or_default();
    format!("{before}{}", behind.trim_start())
}

/// The definer stands right behind CREATE, or behind OR REPLACE and the like.
const LOOKED_AT: usize = 12;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definer_goes_and_nothing_else() {
        for (create, expected) in [
            (
                "CREATE DEFINER=`root`@`%` TRIGGER `t` BEFORE INSERT ON `a` FOR EACH ROW SET @d = 'definer=x'",
                "CREATE TRIGGER `t` BEFORE INSERT ON `a` FOR EACH ROW SET @d = 'definer=x'",
            ),
            (
                "CREATE DEFINER=`admin` PROCEDURE `p`() SELECT 1",
                "CREATE PROCEDURE `p`() SELECT 1",
            ),
            (
                "CREATE FUNCTION `definer`() RETURNS int RETURN 1",
                "CREATE FUNCTION `definer`() RETURNS int RETURN 1",
            ),
        ] {
            assert_eq!(without_definer(create, Flavor::MariaDB), expected);
        }
    }
}
