//! What a stream does for the operator's decisions, besides waiting for them.

use std::sync::Arc;

use super::StreamWork;
use crate::connect::Session;
use crate::control::LaterRowsFrom;
use crate::model::{Decision, Error, ErrorKind, LaterRows, Result, TableName};
use crate::runtime::clock;
use crate::target::checkpoint::{self, Reapplied};
use crate::unit::sync::Hand;

impl StreamWork {
    /// The decisions of the stream.
    pub(crate) fn hand(&self) -> &Arc<Hand> {
        &self.hand
    }

    /// The decisions that wait, oldest first.
    pub(crate) fn waiting_decisions(&self) -> Vec<Arc<Decision>> {
        self.hand.waiting()
    }

    /// How many events were skipped by hand on this stream and not applied since.
    pub(crate) fn skipped_events(&self) -> u64 {
        self.skipped.open_events(self.source_name())
    }

    /// Finds the structure by which a table's later rows are to be read.
    pub(crate) async fn later_rows(
        &self,
        from: &LaterRowsFrom,
        table: Option<&TableName>,
        is_understood: bool,
    ) -> Result<LaterRows> {
        match from {
            LaterRowsFrom::Source if is_understood => Ok(LaterRows::Source),
            // What the source has now may be of a later statement.
            LaterRowsFrom::Source => Err(Error::new(
                ErrorKind::Refused,
                "the statement could not be read, so nothing says how it left the table",
            )
            .with_fix("keep the structure from before it, or give a file with the `CREATE TABLE`")),
            LaterRowsFrom::Target => {
                let table = named(table)?;
                let mut session = self.target_session().await?;
                let target = self.task.routes.target(table);
                let text = shown(&mut session, &target, table).await?;
                session.close().await;
                Ok(LaterRows::Typed(vec![text]))
            }
            LaterRowsFrom::Keep => Ok(LaterRows::Keep),
            LaterRowsFrom::Typed { statement } => Ok(LaterRows::Typed(vec![statement.clone()])),
        }
    }
}

impl StreamWork {
    /// Applies what a decision left out, with the checks of drift; what came of it, in one line.
    pub(crate) async fn reapply(&self, id: &str) -> Result<String> {
        if self.hand.waiting().iter().any(|waiting| waiting.id == id) {
            return Err(Error::new(
                ErrorKind::Refused,
                format!("`{id}` has not taken effect as a whole yet"),
            )
            .with_fix("wait until its transaction is in, then ask again"));
        }
        let kept = {
            let (skipped, id) = (Arc::clone(&self.skipped), id.to_owned());
            blocking(move || skipped.of(&id)).await?
        };
        let mine: Vec<_> = kept
            .iter()
            .filter(|change| change.source == self.source_name())
            .collect();
        let Some(first) = mine.first() else {
            return Err(
                Error::new(ErrorKind::Refused, format!("nothing was kept under `{id}`"))
                    .with_fix("`tideway journal` shows what was skipped"),
            );
        };
        if let Some(change) = mine.iter().find(|change| change.place.row.is_none()) {
            let why = match &change.unread {
                Some(why) => format!("it could not be read ({why})"),
                None => "it is a statement, which no check of drift can guard".to_owned(),
            };
            return Err(Error::new(
                ErrorKind::Refused,
                format!(
                    "the event at {} cannot be applied again: {why}",
                    change.place
                ),
            )
            .with_fix("run by hand what it should do; the file of the skipped changes has it"));
        }
        let place = first.place.clone();
        let server = self.source.log().origin().map(|(server, _)| server);
        // An UPDATE of what the task does not take changes nothing.
        let mine: Vec<_> = mine
            .into_iter()
            .filter(|change| !change.sql.is_empty())
            .collect();
        let statements: Vec<&str> = mine.iter().map(|change| change.sql.as_str()).collect();
        let mut session = self.target_session().await?;
        checkpoint::prepare(&mut session, &self.meta_schema).await?;
        let what = checkpoint::Reapply {
            task: &self.task.name,
            source: self.source_name(),
            server: server.as_deref().unwrap_or_default(),
            id,
            place: &place.to_string(),
            statements: &statements,
        };
        let reapplied = checkpoint::reapply(&mut session, &self.meta_schema, &what).await?;
        session.close().await;
        let count = statements.len();
        if let Reapplied::Refused { number, error } = reapplied {
            let at = number
                .and_then(|number| mine.get(number))
                .map_or(place, |change| change.place.clone());
            return Err(Error::new(
                ErrorKind::Drift,
                format!(
                    "nothing of `{id}` was applied: the change at {at}: {}",
                    error.message()
                ),
            )
            .with_source(error)
            .with_fix("look at the row on both sides; compare the table if in doubt"));
        }
        // Also where it was applied before: the process may have ended before it was noted here.
        let noted = {
            let (skipped, id) = (Arc::clone(&self.skipped), id.to_owned());
            blocking(move || skipped.reapplied(&id, clock::now())).await
        };
        if matches!(reapplied, Reapplied::Before) {
            return Err(Error::new(
                ErrorKind::Refused,
                format!("what `{id}` left out was applied before"),
            )
            .with_fix("nothing is left to do"));
        }
        noted?;
        Ok(format!(
            "{id}: {count} changes that were left out are applied now"
        ))
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(why) => Err(
            Error::new(ErrorKind::Panicked, "the skipped changes could not be read")
                .with_source(why),
        ),
    }
}

fn named(table: Option<&TableName>) -> Result<&TableName> {
    table.ok_or_else(|| {
        Error::new(
            ErrorKind::Refused,
            "the event names no single table whose structure could be read",
        )
        .with_fix("keep the structures as they are, or give the `CREATE TABLE` yourself")
    })
}

/// The table's `CREATE TABLE` there, under the name that the source gives it.
async fn shown(session: &mut Session, there: &TableName, table: &TableName) -> Result<String> {
    let rows = session
        .rows(&format!("SHOW CREATE TABLE {}", there.quoted()))
        .await?;
    let text = rows
        .first()
        .and_then(|row| row.get(1)?.as_deref())
        .map(|cell| String::from_utf8_lossy(cell).into_owned())
        .unwrap_or_default();
    let body = text.find('(').and_then(|at| text.get(at..));
    match body {
        Some(body) if text.starts_with("CREATE TABLE") => {
            Ok(format!("CREATE TABLE {} {body}", table.quoted()))
        }
        _ => Err(Error::new(
            ErrorKind::Structure,
            format!("{there} is no table there whose structure could be read"),
        )
        .with_fix("give the `CREATE TABLE` yourself")),
    }
}
