//! Owns every long-running task of the process: none is started elsewhere, none outlives it.
//!
//! A task that panics does not take others with it: its panic becomes an error of kind
//! `Panicked`, told to whoever waits for it, with the text in the log.

use std::any::Any;
use std::future::Future;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::model::{Error, ErrorKind};

/// The owner of tasks. Clones own the same ones.
#[derive(Clone, Debug, Default)]
pub(crate) struct Supervisor {
    tracker: TaskTracker,
    stop: CancellationToken,
}

/// A task under way.
#[derive(Debug)]
pub(crate) struct Supervised<T> {
    name: String,
    handle: JoinHandle<T>,
}

impl Supervisor {
    /// The token that is cancelled when everything must end. Tasks take children of it.
    pub(crate) fn stop(&self) -> &CancellationToken {
        &self.stop
    }

    /// Starts a task; `name` is for the log.
    pub(crate) fn spawn<F>(&self, name: impl Into<String>, future: F) -> Supervised<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let handle = tokio::spawn(self.tracker.track_future(future));
        Supervised {
            name: name.into(),
            handle,
        }
    }

    /// Asks all tasks to end and waits until they have.
    pub(crate) async fn shut_down(&self) {
        self.stop.cancel();
        self.tracker.close();
        self.tracker.wait().await;
    }
}

impl<T> Supervised<T> {
    /// Waits for the task. Dropping the wait does not end the task: its token does.
    pub(crate) async fn join(&mut self) -> Result<T, Error> {
        match (&mut self.handle).await {
            Ok(value) => Ok(value),
            Err(error) if error.is_panic() => {
                let text = panic_text(error.into_panic().as_ref());
                tracing::error!(unit = "supervisor", "`{}` panicked: {text}", self.name);
                Err(Error::new(
                    ErrorKind::Panicked,
                    format!("`{}` ended by a defect of this program: {text}", self.name),
                )
                .with_fix(
                    "retry; nothing uncommitted was kept. Please report the log's last lines",
                ))
            }
            // The runtime itself is going down.
            Err(_) => Err(Error::new(
                ErrorKind::Internal,
                format!("`{}` was cut off", self.name),
            )),
        }
    }
}

/// The message of a panic, as far as it is text.
fn panic_text(panic: &(dyn Any + Send)) -> String {
    if let Some(text) = panic.downcast_ref::<&str>() {
        (*text).to_owned()
    } else if let Some(text) = panic.downcast_ref::<String>() {
        text.clone()
    } else {
        "no message".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_becomes_an_error_and_others_go_on() {
        let supervisor = Supervisor::default();
        let mut other = supervisor.spawn("other", async { 7 });
        let mut broken = supervisor.spawn("broken", async { panic!("row 3") });
        let error = broken.join().await.map(|(): ()| ()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Panicked);
        assert!(error.message().contains("row 3"));
        assert_eq!(other.join().await.unwrap(), 7);
        supervisor.shut_down().await;
    }
}
