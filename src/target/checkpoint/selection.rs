//! A selection that was narrowed since the checkpoint was made: accepted by name, or refused.

use super::{Cells, Claim, Phase, StreamKey, Tables, configuration_text};
use crate::config::TaskConfig;
use crate::connect::Session;
use crate::model::{Error, ErrorKind, Result, TableName};
use crate::route::Selection;
use crate::target::text::literal;

/// The finding's name in `[[task.accept]]`.
const FINDING: &str = "selection";

/// Takes up a selection that differs from the checkpoint's, before the stream is claimed: one that only
/// leaves out more tables, if the operator accepts that. What it leaves out is given back. All other
/// differences are for [`Claim::take`] to refuse.
pub async fn take_up_selection(
    session: &mut Session,
    meta_schema: &str,
    key: StreamKey,
    task: &TaskConfig,
) -> Result<Vec<TableName>> {
    let mut claim = Claim {
        tables: Tables::new(meta_schema),
        key,
        epoch: 0,
        configuration: configuration_text(task),
        claimed_by: String::new(),
        phase: Phase::New,
        writers: 0,
        structures: 0,
    };
    session.execute(b"BEGIN").await?;
    match claim.try_narrow(session, meta_schema, task).await {
        Ok(gone) => {
            session.execute(b"COMMIT").await?;
            Ok(gone)
        }
        Err(error) => {
            if !session.is_broken() {
                session.execute(b"ROLLBACK").await?;
            }
            Err(claim.locate(error))
        }
    }
}

impl Claim {
    async fn try_narrow(
        &mut self,
        session: &mut Session,
        meta_schema: &str,
        task: &TaskConfig,
    ) -> Result<Vec<TableName>> {
        let rows = session
            .rows(&format!(
                "SELECT `configuration`, `structures` FROM {} WHERE {} AND `slot` = 0 \
                 AND `phase` = 'sync' FOR UPDATE",
                self.tables.checkpoint,
                self.stream()
            ))
            .await?;
        let Some(row) = rows.first() else {
            return Ok(Vec::new());
        };
        let before = Cells(row).text(0)?;
        let Some(former) =
            former_selection(&before, &self.configuration).filter(|_| before != self.configuration)
        else {
            return Ok(Vec::new());
        };
        let former = former.without_schema(meta_schema);
        self.structures = Cells(row).number(1)?;
        let (known, _) = self.read_structures(session).await?;
        let (mut gone, mut new) = (Vec::new(), Vec::new());
        for table in known.tables() {
            match (former.takes(&table), task.selection.takes(&table)) {
                (true, false) => gone.push(table),
                (false, true) => new.push(table),
                _ => {}
            }
        }
        if !new.is_empty() {
            return Err(Error::new(
                ErrorKind::Checkpoint,
                format!(
                    "`tables` now also takes {}, whose rows up to here are not on the target",
                    list(&new)
                ),
            )
            .with_fix(
                "leave `tables` as it was, and give what is new a task of its own, which copies it first",
            ));
        }
        let found = format!("left out: {}", list(&gone));
        let Some(accepted) = task.acceptance(FINDING, Some(&self.key.source), &found) else {
            return Err(Error::new(
                ErrorKind::Checkpoint,
                format!(
                    "`tables` takes less than the checkpoint was made with; {found}: what the target has \
                     of them would stay as it is, and not follow the source any more"
                ),
            )
            .with_fix(
                "put `tables` back, or add `[[task.accept]]` with `name = \"selection\"` and a `reason`",
            ));
        };
        tracing::warn!(task = %self.key.task, source = %self.key.source, reason = %accepted.reason, "{found}, as accepted");
        let update = format!(
            "UPDATE {} SET `configuration` = {} WHERE {} AND `slot` = 0",
            self.tables.checkpoint,
            literal(&self.configuration),
            self.stream()
        );
        session.execute(update.as_bytes()).await?;
        for table in &gone {
            let delete = format!(
                "DELETE FROM {} WHERE `task` = {} AND `source` = {} AND `server` = {} \
                 AND `source_schema` = {} AND `source_table` = {}",
                self.tables.owner,
                literal(&self.key.task),
                literal(&self.key.source),
                literal(&self.key.server),
                literal(&table.schema),
                literal(&table.name)
            );
            session.execute(delete.as_bytes()).await?;
        }
        Ok(gone)
    }
}

/// The selection of a stored configuration, if it differs from the present one in nothing else.
fn former_selection(before: &str, now: &str) -> Option<Selection> {
    let split = |text: &str| -> (Vec<String>, Vec<String>) {
        text.lines()
            .map(str::to_owned)
            .partition(|line| line.starts_with("table "))
    };
    let ((tables, rest), (_, rest_now)) = (split(before), split(now));
    if rest != rest_now {
        return None;
    }
    let patterns: Option<Vec<String>> = tables
        .iter()
        .map(|line| {
            if let Some(pattern) = line.strip_prefix("table take ") {
                Some(pattern.to_owned())
            } else {
                let pattern = line.strip_prefix("table leave ")?;
                Some(format!("!{pattern}"))
            }
        })
        .collect();
    Selection::parse(&patterns?).ok()
}

/// The first few tables, for a message.
fn list(tables: &[TableName]) -> String {
    const SHOWN: usize = 10;
    let mut names: Vec<String> = tables.iter().take(SHOWN).map(ToString::to_string).collect();
    if tables.len() > SHOWN {
        names.push(format!("and {} more", tables.len() - SHOWN));
    }
    if names.is_empty() {
        names.push("no table that is there now".to_owned());
    }
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_tables_may_differ() {
        let before = "table take shop.*\ntable leave shop.tmp_*\nroute a.* -> b.*";
        let same_rest = "table take shop.*\nroute a.* -> b.*";
        let former = former_selection(before, same_rest).unwrap();
        assert!(former.takes(&TableName::new("shop", "orders")));
        assert!(!former.takes(&TableName::new("shop", "tmp_1")));
        assert!(former_selection(before, "table take shop.*").is_none());
    }
}
