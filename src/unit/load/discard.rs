//! Taking out of the target what was loaded of a dump that came to nothing.

use std::collections::BTreeSet;

use crate::connect::Session;
use crate::dump_files::names;
use crate::model::{Error, ErrorKind, Result, TableName};
use crate::target::checkpoint::{LoadStage, LoadState, StreamKey, configuration_text};
use crate::target::{Claim, State, execute};

use super::{LoadJob, Meter, locate};

/// How many rows one transaction takes out: within what TiDB takes, however wide they are.
const ROWS: u64 = 10_000;

/// `ER_NO_SUCH_TABLE`, `ER_BAD_TABLE_ERROR`.
const NO_TABLE: [u16; 2] = [1146, 1051];

/// Empties the tables into which rows of an unfinished dump were loaded, and makes the stream a new
/// one again; tables that the load had created itself, for itself alone, are dropped. Killed, it goes
/// on the next time: the checkpoint keeps its phase until nothing is left.
///
/// Every statement stands behind the stream's fence. A table with such rows was empty before, and
/// every other stream that writes it waits until this one has left it, so all its rows are this load's.
pub async fn discard(job: &LoadJob, key: StreamKey, meter: &Meter) -> Result<()> {
    discard_rows(job, key, meter)
        .await
        .map_err(|error| locate(job, error))
}

async fn discard_rows(job: &LoadJob, key: StreamKey, meter: &Meter) -> Result<()> {
    let mut session = execute::open(&job.target.server).await?;
    // Children may go before or after their parents.
    session
        .execute(b"SET SESSION foreign_key_checks = 0")
        .await?;
    let configuration = configuration_text(&job.task);
    let (mut claim, state) =
        Claim::take(&mut session, &job.meta_schema, key, &configuration, 0).await?;
    let Some(State::Load(state)) = state else {
        return Ok(());
    };
    if state.stage == LoadStage::Whole {
        return Err(Error::new(
            ErrorKind::Checkpoint,
            format!("the dump `{}` is whole: its rows stay", state.dump_id),
        ));
    }
    meter.note(format!(
        "what was loaded of the dump `{}`, which was not finished, is taken out of the target",
        state.dump_id
    ));
    claim.enter_stage(&mut session, LoadStage::Discard).await?;
    let owned = claim.owned_tables(&mut session).await?;
    let mut known = BTreeSet::new();
    for ((source, target), is_shared) in &owned {
        let mut has_rows = false;
        let prefix = names::data_prefix(source);
        // The names are in order, so those of one table are together.
        let of_table = state.parts.range(prefix.clone()..);
        for (file, parts) in of_table.take_while(|(file, _)| file.starts_with(&prefix)) {
            if is_part_of(file, &prefix) {
                known.insert(file.as_str());
                has_rows |= parts.iter().any(|part| part.end > 0);
            }
        }
        let table_file = names::table_file(source);
        let is_ours = state.parts.contains_key(&table_file) && !is_shared;
        if let Some((file, _)) = state.parts.get_key_value(&table_file) {
            known.insert(file);
        }
        if is_ours && drop_table(&mut session, &claim, target).await? {
            continue;
        }
        if has_rows {
            empty(&mut session, &claim, target).await?;
        }
    }
    expect_all_known(&state, &known)?;
    claim.forget_load(&mut session).await?;
    session.close().await;
    Ok(())
}

/// Whether the file has rows of the table whose files begin so.
fn is_part_of(file: &str, prefix: &str) -> bool {
    file.strip_prefix(prefix)
        .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
}

/// Drops a table; `false` if the account may not, and then it must be emptied.
async fn drop_table(session: &mut Session, claim: &Claim, table: &TableName) -> Result<bool> {
    let statement = format!("DROP TABLE IF EXISTS {}", table.quoted());
    match claim.run_fenced(session, &statement, true).await {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::Privilege => Ok(false),
        Err(error) => Err(error.at(|c| c.table = Some(table.clone()))),
    }
}

async fn empty(session: &mut Session, claim: &Claim, table: &TableName) -> Result<()> {
    let name = table.quoted();
    let (delete, look) = (
        format!("DELETE FROM {name} LIMIT {ROWS}"),
        format!("SELECT 1 FROM {name} LIMIT 1"),
    );
    let emptied = async {
        while !session.rows(&look).await?.is_empty() {
            claim.run_fenced(session, &delete, false).await?;
        }
        Ok::<(), Error>(())
    };
    match emptied.await {
        // It was dropped by hand: nothing of it is left.
        Err(error) if error.server().is_some_and(|e| NO_TABLE.contains(&e.number)) => Ok(()),
        other => other.map_err(|error| error.at(|c| c.table = Some(table.clone()))),
    }
}

/// Rows of a file that belongs to none of the stream's tables cannot be found again.
fn expect_all_known(state: &LoadState, known: &BTreeSet<&str>) -> Result<()> {
    match state
        .parts
        .keys()
        .find(|file| !known.contains(file.as_str()))
    {
        None => Ok(()),
        Some(file) => Err(Error::new(
            ErrorKind::Checkpoint,
            format!("rows of the dump file `{file}` are in the target, and it is not known where"),
        )
        .with_fix(
            "empty the task's tables on the target by hand, and delete the stream's rows in the \
             meta schema's `checkpoint` and `loaded`",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_told_apart_by_their_tables() {
        let prefix = names::data_prefix(&TableName::new("a", "b"));
        assert!(is_part_of("a.b.000000001.sql", &prefix));
        for other in ["a.b-schema.sql", "a.b.c.sql", "a.b2.000000001.sql", "x"] {
            assert!(!is_part_of(other, &prefix), "{other}");
        }
    }
}
