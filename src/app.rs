//! Puts the parts together, starts them in order, and ends them in the other order.

use std::future::Future;
use std::io::IsTerminal as _;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::config::{Config, ServerConfig, WorkerConfig};
use crate::control::Snapshot;
use crate::log::{self, LogGuard, LogOptions};
use crate::model::{Error, ErrorKind, Result};
use crate::runtime::{DataFolder, Options, Runtime};
use crate::{remote, terminal, ui};

/// When a worker without a console ends by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// When it is told to, or no stream can go on.
    Stopped,
    /// When everything the sources had is applied.
    CaughtUp,
}

/// The console, with the worker inside. Returns the exit code.
pub fn console(config: Config) -> Result<u8> {
    if !std::io::stdin().is_terminal() || !std::io::stdout().is_terminal() {
        return Err(
            Error::new(ErrorKind::Config, "the console needs a terminal")
                .with_fix("use `tideway run` for the worker alone"),
        );
    }
    terminal::install_panic_hook();
    // What is wrong with keys or theme is said before anything is drawn.
    let options = ui::Options::new(&config.console, config.worker.data_dir.clone())?;
    let config = with_passwords(config)?;
    let folder = DataFolder::open(&config.worker.data_dir)?;
    let log = start_log(&config.worker, false)?;
    with_threads(async {
        let end = CancellationToken::new();
        let mut worker = Worker::start(
            config,
            folder,
            &log,
            Options {
                has_console: true,
                ends_when_caught_up: false,
            },
        )
        .await?;
        let handle = worker.runtime.handle("console");
        let ui_end = end.clone();
        let (ended, mut ui_ended) = tokio::sync::oneshot::channel();
        // A thread of its own: no load here delays a key, no stuck terminal delays a row.
        let ui = std::thread::Builder::new()
            .name("console".into())
            .spawn(move || {
                let lost = CancellationToken::new();
                // The receiver is gone only when the process is.
                let _ = ended.send(ui::run(handle, &options, lost, ui_end));
            })
            .map_err(|error| {
                Error::new(ErrorKind::Internal, "cannot start the console's thread")
                    .with_source(error)
            })?;
        let shown = tokio::select! {
            shown = &mut ui_ended => Some(shown),
            () = worker.signals.any() => None,
            () = worker.runtime.ended() => None,
        };
        let last = worker.stop().await;
        end.cancel();
        let shown = match shown {
            Some(shown) => shown,
            None => ui_ended.await,
        };
        let _ = ui.join();
        shown.map_err(|_| Error::new(ErrorKind::Panicked, "the console ended by a defect"))??;
        Ok(u8::from(
            last.streams
                .iter()
                .any(|s| s.stage == crate::model::Stage::Failed),
        ))
    })
}

/// The worker without a console. Returns the last snapshot.
pub fn headless(config: Config, until: Until) -> Result<Arc<Snapshot>> {
    let config = with_passwords(config)?;
    let folder = DataFolder::open(&config.worker.data_dir)?;
    let log = start_log(&config.worker, true)?;
    let options = Options {
        has_console: false,
        ends_when_caught_up: until == Until::CaughtUp,
    };
    with_threads(async {
        let mut worker = Worker::start(config, folder, &log, options).await?;
        tokio::select! {
            () = worker.signals.any() => tracing::info!(unit = "app", "asked to stop: draining"),
            () = worker.runtime.ended() => {}
        }
        Ok(worker.stop().await)
    })
}

/// The runtime and its socket.
struct Worker {
    runtime: Runtime,
    signals: Signals,
    socket_stop: CancellationToken,
    socket: tokio::task::JoinSet<()>,
}

impl Worker {
    async fn start(
        config: Config,
        folder: DataFolder,
        log: &LogGuard,
        options: Options,
    ) -> Result<Self> {
        let signals = Signals::new()?;
        let data_dir = config.worker.data_dir.clone();
        let ring = Arc::clone(log.ring());
        let runtime = Runtime::start(Arc::new(config), folder, ring, options).await?;
        let socket_stop = CancellationToken::new();
        let server = remote::Server::bind(&data_dir)?;
        let mut socket = tokio::task::JoinSet::new();
        socket.spawn(server.serve(runtime.handle("socket"), socket_stop.clone()));
        Ok(Self {
            runtime,
            signals,
            socket_stop,
            socket,
        })
    }

    /// Drains and ends everything; the last snapshot says how it stands. Asked again meanwhile, it no
    /// longer waits for what is still draining.
    async fn stop(mut self) -> Arc<Snapshot> {
        let last = self.runtime.stop(asked_again()).await;
        self.socket_stop.cancel();
        while self.socket.join_next().await.is_some() {}
        last
    }
}

/// The signals that end the process cleanly.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Signals {
    fn new() -> Result<Self> {
        let listen = |kind| {
            signal(kind).map_err(|error| {
                Error::new(ErrorKind::Internal, "cannot listen for signals").with_source(error)
            })
        };
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
            hang_up: listen(SignalKind::hangup())?,
        })
    }

    /// Waits for any of them.
    async fn any(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
            _ = self.hang_up.recv() => {}
        }
    }
}

/// Waits for SIGTERM or SIGINT from now on: streams made earlier may still hold the first one. A
/// hang-up does not count, as a closing terminal may send several.
async fn asked_again() {
    let (Ok(mut terminate), Ok(mut interrupt)) = (
        signal(SignalKind::terminate()),
        signal(SignalKind::interrupt()),
    ) else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}

/// Starts the log: into the data folder, the ring of the log pane, and stderr where no console is.
fn start_log(worker: &WorkerConfig, is_on_stderr: bool) -> Result<LogGuard> {
    log::init(&LogOptions {
        folder: Some(worker.data_dir.join("log")),
        level: worker.log_level.clone(),
        is_json: worker.log_json,
        is_on_stderr,
    })
}

/// Runs on as many threads as there are cores. At the end a thread that is stuck in the system (a
/// disk that does not answer) is not waited for.
fn with_threads<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    let threads = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| {
            Error::new(ErrorKind::Internal, "cannot start the runtime").with_source(error)
        })?;
    let result = threads.block_on(work);
    threads.shutdown_timeout(Duration::from_secs(1));
    result
}

/// Fills in the passwords that are not configured, by asking at the terminal; an error without one.
pub fn with_passwords(mut config: Config) -> Result<Config> {
    let sources = config.sources.iter_mut().map(|source| &mut source.server);
    let targets = config.targets.iter_mut().map(|target| &mut target.server);
    for server in sources.chain(targets) {
        if server.password.is_none() {
            server.password = Some(ask(server)?);
        }
    }
    Ok(config)
}

fn ask(server: &ServerConfig) -> Result<crate::model::Secret> {
    let prompt = format!(
        "password of `{}` at `{}` ({}): ",
        server.user, server.name, server.address
    );
    terminal::ask_password(&prompt).map_err(|error| {
        Error::new(
            ErrorKind::Config,
            format!("no password for `{}`", server.name),
        )
        .with_source(error)
        .with_fix("set `password_file` or `password_env`, or start it from a terminal")
    })
}
