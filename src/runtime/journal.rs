//! The record of what the operator asked for: one JSON object a line, on disk before it acts.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::control::{Command, Reply};
use crate::model::{Error, Result, Timestamp};

use super::clock;

/// The version of a line's form.
const VERSION: u32 = 1;

/// The journal's file, open for appending.
#[derive(Debug)]
pub(crate) struct Journal {
    path: PathBuf,
    file: File,
    next_id: u64,
}

/// A line.
#[derive(Serialize)]
struct Entry<'a> {
    version: u32,
    id: u64,
    at: Timestamp,
    /// `intent` before it acts, `outcome` after.
    phase: &'static str,
    origin: &'a str,
    user: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    ssh_connection: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    command: Option<&'a Command>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reply: Option<&'a Reply>,
}

impl Journal {
    /// Opens `journal.jsonl` in the data folder.
    pub(crate) fn open(data_dir: &Path) -> Result<Self> {
        let path = data_dir.join("journal.jsonl");
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(&path)
            .map_err(|error| Error::file("open the journal", &path, error))?;
        // Ids need only differ within the file: microseconds since 1970 do, across restarts too.
        Ok(Self {
            path,
            file,
            next_id: clock::now().0,
        })
    }

    /// Writes what is about to be done, and gives its id. On disk when this returns.
    pub(crate) fn intent(&mut self, origin: &str, command: &Command) -> Result<u64> {
        let id = self.next_id;
        self.next_id += 1;
        self.append(id, "intent", origin, Some(command), None)?;
        Ok(id)
    }

    /// Writes what came of it.
    pub(crate) fn outcome(&mut self, id: u64, origin: &str, reply: &Reply) -> Result<()> {
        self.append(id, "outcome", origin, None, Some(reply))
    }

    fn append(
        &mut self,
        id: u64,
        phase: &'static str,
        origin: &str,
        command: Option<&Command>,
        reply: Option<&Reply>,
    ) -> Result<()> {
        let user = std::env::var("USER").unwrap_or_else(|_| "?".to_owned());
        let ssh = std::env::var("SSH_CONNECTION").ok();
        let entry = Entry {
            version: VERSION,
            id,
            at: clock::now(),
            phase,
            origin,
            user: &user,
            ssh_connection: ssh.as_deref(),
            command,
            reply,
        };
        let failed = |error| Error::file("write the journal", &self.path, error);
        let mut line = serde_json::to_vec(&entry).map_err(|e| failed(e.into()))?;
        line.push(b'\n');
        self.file.write_all(&line).map_err(failed)?;
        self.file.sync_data().map_err(failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::Scope;

    #[test]
    fn intent_and_outcome_are_lines_with_one_id() {
        let folder = tempfile::tempdir().unwrap();
        let mut journal = Journal::open(folder.path()).unwrap();
        let id = journal
            .intent(
                "console",
                &Command::Pause {
                    scope: Scope::default(),
                },
            )
            .unwrap();
        journal
            .outcome(
                id,
                "console",
                &Reply::Done {
                    message: "paused".into(),
                },
            )
            .unwrap();
        let text = std::fs::read_to_string(folder.path().join("journal.jsonl")).unwrap();
        let lines: Vec<serde_json::Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[0]["id"], lines[1]["id"]);
        assert_eq!(lines[0]["command"]["command"], "pause");
        assert_eq!(lines[1]["reply"]["message"], "paused");
    }
}
