//! Tasks that come into the configuration while the worker runs: their streams are added to the workers
//! of their sources, and nobody else is touched.

use std::sync::Arc;

use super::director::Director;
use super::runner::{Request, done, refused};
use super::skipped::SkippedFile;
use super::stream_work::{Controls, StreamWork};
use super::{Stream, start_runner};
use crate::config::{Config, Mode};
use crate::control::{Reply, Scope};
use crate::model::{Error, ErrorKind, Result, Stage};

impl Director {
    /// Starts what stands; a task that this process does not know is looked for in the configuration's
    /// file and taken up, whole. Nothing else of the file is: that comes with the next start of the
    /// process.
    pub(super) async fn start(&mut self, scope: &Scope) -> Reply {
        let is_known = |name: &str| self.config.tasks.iter().any(|task| task.name == name);
        match scope.task.clone().filter(|name| !is_known(name)) {
            None => self.ask(scope, || Request::Resume).await,
            Some(_) if scope.source.is_some() => refused(
                "a task that is new is taken up with all of its sources",
                "leave `--source` out",
            ),
            Some(name) => match self.take_up(&name).await {
                Ok(message) => done(message),
                Err(error) => {
                    let fix = error.fix().unwrap_or("see `tideway check`").to_owned();
                    refused(error.to_string(), fix)
                }
            },
        }
    }

    async fn take_up(&mut self, name: &str) -> Result<String> {
        let path = self.config.path.clone();
        let read = tokio::task::spawn_blocking(move || Config::load(&path)).await;
        let file = read.map_err(|why| {
            Error::new(ErrorKind::Panicked, "reading the configuration failed").with_source(why)
        })??;
        let Some(task) = file.tasks.iter().find(|task| task.name == name) else {
            return Err(Error::new(
                ErrorKind::Config,
                format!("no task `{name}` is in {}", file.path.display()),
            )
            .with_fix("see the names with `tideway status`, or add the task to the file"));
        };
        let sources: Vec<_> = task
            .sources
            .iter()
            .map(|source| {
                let of = |worker: &&super::Worker| worker.work.source_name() == source;
                self.workers.iter().find(of).ok_or_else(|| {
                    Error::new(
                        ErrorKind::Config,
                        format!("the source `{source}` is new; no worker of it runs"),
                    )
                    .with_fix("stop the process and start it again: it then has the new source")
                })
            })
            .collect::<Result<_>>()?;
        let mut config = Config::clone(&self.config);
        if let Some(target) = file.target(&task.target)
            && config.target(&task.target).is_none()
        {
            if target.server.password.is_none() {
                return Err(Error::new(
                    ErrorKind::Config,
                    format!("no password for the new target `{}`", task.target),
                )
                .with_fix("set its `password_file` or `password_env`"));
            }
            self.publisher.add_target(&target.server);
            config.targets.push(target.clone());
        }
        config.tasks.push(task.clone());
        let config = Arc::new(config);
        let Some(target) = config.target(&task.target) else {
            return Err(Error::new(ErrorKind::Internal, "a task without its target"));
        };
        let skipped = Arc::new(SkippedFile::new(self.folder.skipped(name)));
        let file = Arc::clone(&skipped);
        let loaded = tokio::task::spawn_blocking(move || file.load()).await;
        loaded.map_err(|why| {
            Error::new(ErrorKind::Panicked, "reading the skipped changes failed").with_source(why)
        })??;
        let mut added = Vec::new();
        for worker in sources {
            let source = worker.work.source_name();
            let work = Arc::new(StreamWork::new(
                &config,
                task,
                target,
                Arc::clone(&worker.work),
                self.folder.dump(name, source),
                Controls {
                    skipped: Arc::clone(&skipped),
                    hand: super::hand(&self.journal, name, source),
                    gate: super::gate(&config, &self.journal, self.options, task, source),
                },
            ));
            for purging in &self.purging {
                if purging.relay.source_name() == source {
                    purging.add(Arc::clone(&work));
                }
            }
            if task.mode != Mode::Full && worker.state.stage() == Stage::Stopped {
                // So far no task needed its relay. One that has ended is told of by its own state.
                let (reply, _its_state_tells) = tokio::sync::oneshot::channel();
                let _ = worker.requests.send((Request::Resume, reply)).await;
            }
            let (state, requests) = start_runner(&config, &self.supervisor, &work, true);
            added.push(Stream {
                work,
                state,
                requests,
            });
        }
        let labels: Vec<String> = added.iter().map(|stream| stream.work.label()).collect();
        self.streams.extend(added);
        self.config = Arc::clone(&config);
        Ok(format!("{} begins", labels.join(", ")))
    }
}
