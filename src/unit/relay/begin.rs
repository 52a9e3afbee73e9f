//! In which of the source's files a relay begins.

use std::path::Path;

use crate::connect::Session;
use crate::model::position::{FIRST_OFFSET, compare_files, file_number};
use crate::model::{Error, ErrorKind, Flavor, Position, Result, Timestamp};
use crate::relay_log::{FileHead, set_of};
use crate::source::{self, BinlogFile};

use super::peek::Peek;
use super::{RelayJob, name_privilege};

/// Where a relay begins while nothing is kept yet: always at a file's first byte, such that what is
/// asked for is in it or behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Begin {
    /// The file the source is writing.
    Now,
    /// The oldest file the source has.
    Oldest,
    /// This file.
    File(String),
    /// The file of this place, which must be an event's start.
    Position(Position),
    /// The file with the first transaction that is not in this set, in the source's own form.
    Behind(String),
    /// The file with the first transaction of this moment or later.
    At(Timestamp),
}

/// The first byte of the earliest file that any of the job's beginnings needs.
pub(super) async fn position(job: &RelayJob, session: &mut Session) -> Result<Position> {
    let mut earliest: Option<String> = None;
    for begin in &job.begin {
        let file = file_of(begin, job, session).await?;
        if earliest
            .as_ref()
            .is_none_or(|have| compare_files(&file, have).is_lt())
        {
            earliest = Some(file);
        }
    }
    let file = match earliest {
        Some(file) => file,
        None => file_of(&Begin::Now, job, session).await?,
    };
    Ok(Position::new(file, FIRST_OFFSET))
}

async fn file_of(begin: &Begin, job: &RelayJob, session: &mut Session) -> Result<String> {
    let peek = Peek {
        source: &job.source,
        server_id: job.server_id,
    };
    match begin {
        Begin::File(name) => Ok(name.clone()),
        Begin::Now => Ok(source::binlog_position(session)
            .await
            .map_err(name_privilege)?
            .file),
        Begin::Oldest => {
            let files = files(session).await?;
            Ok(files.into_iter().next().unwrap_or_default())
        }
        Begin::Position(position) => {
            let files = files(session).await?;
            if !files.contains(&position.file) {
                return Err(no_such_file(&position.file, &files));
            }
            peek.check_event_start(position).await?;
            Ok(position.file.clone())
        }
        Begin::Behind(text) => {
            let flavor = session.version().flavor;
            let set = set_of(flavor, text)?;
            if flavor == Flavor::MariaDB {
                return peek.maria_file(&set).await.map_err(|e| not_behind(text, e));
            }
            let files = files(session).await?;
            let found = peek
                .last_file(&files, |head| Ok(head.is_within(&set)))
                .await?;
            if let Some(file) = found {
                Ok(file.to_owned())
            } else {
                let oldest = files.first().map_or("", String::as_str);
                let before = peek.head(oldest).await?.gtid_set;
                let missing = before.map_or_else(String::new, |have| {
                    format!(": `{}` was purged there", have.without(&set))
                });
                Err(Error::new(
                    ErrorKind::Purged,
                    format!("the source no longer has everything behind `{text}`{missing}"),
                )
                .with_fix(format!(
                    "give a set that holds it; or begin at `{oldest}:{FIRST_OFFSET}`, the oldest \
                         the source has; or copy the tables anew"
                )))
            }
        }
        Begin::At(time) => {
            let files = files(session).await?;
            let fits = |head: FileHead| Ok(head.begun_at < *time);
            let found = peek.last_file(&files, fits).await?;
            let oldest = files.first().map_or("", String::as_str);
            let file = found.unwrap_or(oldest).to_owned();
            if found.is_none() {
                let head = peek.head(&file).await?;
                // The very first file of a server has everything.
                if !head.gtid_set.is_some_and(|set| set.is_empty()) {
                    return Err(Error::new(
                        ErrorKind::Purged,
                        format!(
                            "`start` is {time}, but the oldest binlog the source has, `{file}`, begins \
                             at {}",
                            head.begun_at
                        ),
                    )
                    .with_fix(format!(
                        "give a later time, or begin at `{file}:{FIRST_OFFSET}`; or copy the tables anew"
                    )));
                }
            }
            Ok(file)
        }
    }
}

/// MariaDB's refusal to begin behind a set.
fn not_behind(text: &str, error: Error) -> Error {
    if !matches!(error.kind(), ErrorKind::History | ErrorKind::Purged) {
        return error;
    }
    let explained = Error::new(
        error.kind(),
        format!("the source cannot begin behind `start = \"{text}\"`"),
    )
    .with_fix(
        "give a set that it has and has not purged, as `SELECT @@gtid_binlog_pos` there shows it; or a \
         place, or a time",
    );
    match error.server() {
        Some(server) => explained.with_server(server.clone()),
        None => explained.with_source(error),
    }
}

/// The names of the source's files, oldest first.
pub(super) async fn files(session: &mut Session) -> Result<Vec<String>> {
    let files = source::binary_logs(session).await.map_err(name_privilege)?;
    if files.is_empty() {
        return Err(Error::new(
            ErrorKind::Purged,
            "the source lists no binlog file",
        ));
    }
    Ok(files.into_iter().map(|file| file.name).collect())
}

fn no_such_file(file: &str, files: &[String]) -> Error {
    let (first, last) = (
        files.first().map_or("", String::as_str),
        files.last().map_or("", String::as_str),
    );
    Error::new(
        ErrorKind::Purged,
        format!("the source has no binlog file `{file}`: it has `{first}` to `{last}`"),
    )
    .with_fix(format!(
        "begin at `{first}:{FIRST_OFFSET}`, the oldest there is, or copy the tables anew"
    ))
}

/// What is missing at a source that no longer has the file that was asked for, and what can be done.
/// `kept` is the relay's own file where that was found damaged.
pub(super) fn purged(asked: &Position, kept: Option<&Path>, files: &[BinlogFile]) -> Option<Error> {
    let (oldest, newest) = (files.first()?, files.last()?);
    if compare_files(&asked.file, &newest.name).is_gt() {
        return Some(
            Error::new(
                ErrorKind::History,
                format!(
                    "the relay log has come to `{}`, but the source's newest binlog file is `{}`: it \
                     was reset or restored",
                    asked.file, newest.name
                ),
            )
            .with_fix(
                "move the relay log's folder away and start its tasks anew from a full copy; or point \
                 the configuration at the server that the relay log is of",
            ),
        );
    }
    let missing = match (file_number(&asked.file), file_number(&oldest.name)) {
        (Some((_, from)), Some((_, to))) if to > from => {
            format!(
                ", so the {} files from `{}` on are missing",
                to - from,
                asked.file
            )
        }
        _ => String::new(),
    };
    let kept = kept.map_or_else(String::new, |path| {
        format!(
            "; the relay's own was damaged in its middle, and is kept as `{}`",
            path.display()
        )
    });
    Some(
        Error::new(
            ErrorKind::Purged,
            format!(
                "the source no longer has `{}`, which was asked for from {} on; its oldest binlog file is \
                 `{}`{missing}{kept}",
                asked.file, asked.offset, oldest.name
            ),
        )
        .with_fix(
            "what is missing cannot be had any more, unless a backup of the source's binlog files has it \
             or another server of the same GTIDs still does (point the configuration at that one). Else \
             move the relay log's folder away and start its tasks anew from a full copy; and let the \
             source keep its binlog longer (`binlog_expire_logs_seconds`)",
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_purged_is_told_from_what_was_reset() {
        let files: Vec<BinlogFile> = ["bin.000007", "bin.000009"]
            .map(|name| BinlogFile {
                name: name.into(),
                size_bytes: 4,
            })
            .into();
        let error = purged(&Position::new("bin.000004", 900), None, &files).unwrap();
        assert_eq!(error.kind(), ErrorKind::Purged);
        assert!(error.message().contains("the 3 files from `bin.000004`"));
        let error = purged(&Position::new("bin.000012", 900), None, &files).unwrap();
        assert_eq!(error.kind(), ErrorKind::History);
        assert!(purged(&Position::new("bin.000012", 900), None, &[]).is_none());
    }
}
