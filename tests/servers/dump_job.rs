//! What the tests of the dump share: a task as a configuration file has it, and a dump.

use std::path::Path;
use std::sync::Arc;

use tideway::config::{Config, SourceConfig, TaskConfig};
use tideway::dump_files::{Manifest, feed};
use tideway::model::{Result, TransferFigure};
use tideway::unit::dump::{self, DumpJob, DumpOutcome};
use tokio_util::sync::CancellationToken;

use crate::support::Server;
use crate::support::server::PASSWORD;

/// A task of one source and one target.
pub(crate) struct Copy {
    pub(crate) source: SourceConfig,
    pub(crate) task: TaskConfig,
}

impl Copy {
    /// Copies `tables` from `source` to `target`; `dump` are lines of `[task.dump]`.
    pub(crate) fn new(source: &Server, target: &Server, tables: &[&str], dump: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let server = |kind: &str, server: &Server| {
            format!(
                "[[{kind}]]\nname = \"{kind}\"\nhost = \"127.0.0.1\"\nport = {}\nuser = \"tideway\"\n\
                 password = {PASSWORD:?}\n",
                server.port(),
            )
        };
        let text = format!(
            "[worker]\ndata_dir = \"{}\"\n{}{}[[task]]\nname = \"copy\"\nsources = [\"source\"]\n\
             target = \"target\"\nmode = \"full\"\ntables = {tables:?}\n[task.dump]\n{dump}\n",
            folder.path().join("data").display(),
            server("source", source),
            server("target", target),
        );
        let path = folder.path().join("tideway.toml");
        let config =
            Config::parse(&text, &path).unwrap_or_else(|errors| panic!("{errors}\n{text}"));
        Self {
            source: config.sources[0].clone(),
            task: config.tasks[0].clone(),
        }
    }

    /// Dumps into `folder`.
    pub(crate) async fn dump(&self, folder: &Path) -> Result<(Manifest, TransferFigure)> {
        let job = DumpJob {
            source: self.source.clone(),
            task: self.task.clone(),
            folder: folder.to_owned(),
            relay_from: None,
            relay: None,
            made_here: None,
        };
        let (feed, _) = feed::feed();
        let meter = Arc::new(dump::meter());
        match dump::run(job, feed, Arc::clone(&meter), CancellationToken::new()).await? {
            DumpOutcome::Complete(manifest) => Ok((*manifest, meter.figure())),
            DumpOutcome::Stopped => panic!("nobody stopped it"),
        }
    }
}
