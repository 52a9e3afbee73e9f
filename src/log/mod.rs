//! The program's own log: a file that rolls by size, a ring for the console's log pane, and stderr for
//! runs without a console. `app` opens it once, before anything can fail.
//!
//! Everything is written by one thread of its own, behind a bounded queue: a slow disk costs log lines,
//! which are counted, and never time. Row values are logged at `trace` alone, secrets never.

mod ring;
mod rolling;

use std::path::PathBuf;
use std::sync::Arc;

use tracing::Subscriber;
use tracing::level_filters::LevelFilter;
use tracing_appender::non_blocking::{NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;

use crate::model::{Error, ErrorKind, Result};

pub use ring::LogRing;
use rolling::RollingFile;

/// Lines the file's queue holds before it drops some.
const QUEUED_LINES: usize = 16_384;

/// Lines the ring keeps.
const RING_LINES: usize = 2_000;

/// Where the log goes.
#[derive(Clone, Debug)]
pub struct LogOptions {
    /// The folder of the log files; made if it is not there. `None`: no file.
    pub folder: Option<PathBuf>,
    /// `error`, `warn`, `info`, `debug` or `trace`.
    pub level: String,
    /// Whether the file has JSON lines.
    pub is_json: bool,
    /// Whether stderr has it too: for runs without a console.
    pub is_on_stderr: bool,
}

/// Keeps the log open: what is still queued is written when this is dropped.
#[derive(Debug)]
pub struct LogGuard {
    ring: Arc<LogRing>,
    file: Option<(NonBlocking, WorkerGuard)>,
}

impl LogGuard {
    /// The newest lines, for the console.
    pub fn ring(&self) -> &Arc<LogRing> {
        &self.ring
    }

    /// Lines the file lost because the disk could not keep up.
    pub fn dropped_from_file(&self) -> usize {
        self.file
            .as_ref()
            .map_or(0, |(writer, _)| writer.error_counter().dropped_lines())
    }
}

/// Opens the log for the whole process. A second call is an error.
pub fn init(options: &LogOptions) -> Result<LogGuard> {
    let ring = Arc::new(LogRing::new(RING_LINES));
    let file = match &options.folder {
        Some(folder) => {
            let (writer, guard) = NonBlockingBuilder::default()
                .buffered_lines_limit(QUEUED_LINES)
                .lossy(true)
                .thread_name("log")
                .finish(RollingFile::open(folder)?);
            Some((writer, guard))
        }
        None => None,
    };
    let layers = tracing_subscriber::registry()
        .with(ring::RingLayer::new(Arc::clone(&ring)).with_filter(filter(&options.level)))
        .with(
            file.as_ref()
                .map(|(writer, _)| file_layer(writer.clone(), options)),
        )
        .with(options.is_on_stderr.then(|| {
            tracing_subscriber::fmt::layer()
                .with_writer(std::io::stderr)
                .with_ansi(false)
                .with_target(false)
                .with_filter(filter(&options.level))
        }));
    layers.try_init().map_err(|error| {
        Error::new(ErrorKind::Internal, "the log was opened twice").with_source(error)
    })?;
    Ok(LogGuard { ring, file })
}

type Boxed<S> = Box<dyn Layer<S> + Send + Sync>;

fn file_layer<S>(writer: NonBlocking, options: &LogOptions) -> Boxed<S>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    let layer = tracing_subscriber::fmt::layer()
        .with_writer(writer)
        .with_ansi(false);
    if options.is_json {
        layer
            .json()
            .flatten_event(true)
            .with_filter(filter(&options.level))
            .boxed()
    } else {
        layer.with_filter(filter(&options.level)).boxed()
    }
}

/// Our own lines at the level asked for; of the libraries, what is wrong.
fn filter(level: &str) -> Targets {
    let own = level.parse().unwrap_or(LevelFilter::INFO);
    Targets::new()
        .with_default(own.min(LevelFilter::WARN))
        .with_target("tideway", own)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_quieter_than_we_are() {
        use tracing::Level;
        let filter = filter("debug");
        assert!(filter.would_enable("tideway::unit::sync", &Level::DEBUG));
        assert!(!filter.would_enable("tideway::unit::sync", &Level::TRACE));
        assert!(!filter.would_enable("rustls::conn", &Level::INFO));
    }

    #[test]
    fn a_file_line_is_written_when_the_guard_goes() {
        let folder = tempfile::tempdir().unwrap();
        let (writer, guard) = NonBlockingBuilder::default()
            .lossy(true)
            .finish(RollingFile::open(folder.path()).unwrap());
        let options = LogOptions {
            folder: Some(folder.path().to_owned()),
            level: "info".to_owned(),
            is_json: true,
            is_on_stderr: false,
        };
        let subscriber = tracing_subscriber::registry().with(file_layer(writer, &options));
        tracing::subscriber::with_default(subscriber, || {
            let span = tracing::info_span!("stream", task = "orders");
            let _entered = span.enter();
            tracing::info!(source = "a", "loaded");
            tracing::debug!("not this");
        });
        drop(guard);
        let text = std::fs::read_to_string(folder.path().join("tideway.log")).unwrap();
        assert_eq!(text.lines().count(), 1);
        let line: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(line["message"], "loaded");
        assert_eq!(line["source"], "a");
        assert_eq!(line["span"]["task"], "orders");
    }
}
