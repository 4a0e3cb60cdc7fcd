//! The life of a process: settings, logs, runtime, signals, drain, exit code.
//!
//! Order of the end: readiness fails and [`Lifecycle::draining`] fires; the public listener lets go
//! of its address, its requests finish and its sockets ([`Lifecycle::sockets`]) close;
//! [`Lifecycle::stopping`] fires and the background tasks end, which requests needed until then; the
//! operations listener, which could be asked all the while, goes last. All within the drain's time:
//! what is left then is cut off, and the exit is still 0.

use std::future::Future;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::config::{Command, Env, Program, Raw, SharedConfig, load};
use super::http::{self, App, Bound, HttpOptions};
use super::ops::{DRAINING, Readiness};
use super::{log, metrics, spans};

/// Exit code for settings that cannot be used (`EX_CONFIG` of sysexits.h).
pub const EXIT_CONFIG: u8 = 78;
/// Exit code for everything else that keeps a server from running.
pub const EXIT_FAILURE: u8 = 1;
/// The part of the drain's time that is kept for the exit itself.
const EXIT_RESERVE_MAX: Duration = Duration::from_secs(1);

/// What a running server has of its process. Clones share it.
#[derive(Clone)]
pub struct Lifecycle {
    /// What is in the way of readiness.
    pub readiness: Readiness,
    /// Renders the process's metrics.
    pub metrics: metrics::MetricsHandle,
    /// Fires when the server is told to end: sockets and streams end then.
    pub draining: CancellationToken,
    /// Fires when the last request was answered and the last socket closed: background tasks end then.
    pub stopping: CancellationToken,
    /// Changes when the process is told to read its files again (`SIGHUP`).
    pub reload: watch::Sender<u64>,
    /// Sockets, which HTTP does not know any more.
    pub sockets: TaskTracker,
    /// Background tasks; [`Lifecycle::spawn`] puts them here.
    pub tasks: TaskTracker,
    killed: CancellationToken,
    failed: Arc<AtomicBool>,
    drain: Duration,
}

impl Lifecycle {
    /// For a server that has so long to drain.
    pub fn new(drain: Duration) -> Self {
        Self {
            readiness: Readiness::new(),
            metrics: metrics::install(),
            draining: CancellationToken::new(),
            stopping: CancellationToken::new(),
            reload: watch::Sender::new(0),
            sockets: TaskTracker::new(),
            tasks: TaskTracker::new(),
            killed: CancellationToken::new(),
            failed: Arc::new(AtomicBool::new(false)),
            drain,
        }
    }

    /// Starts to end, as a signal would.
    pub fn shut_down(&self) {
        self.readiness.fail(DRAINING);
        self.draining.cancel();
    }

    /// Runs a background task that has to live until [`Lifecycle::stopping`] fires. When it ends or
    /// panics before, the server cannot do its work any more: it drains, and the exit code is 1.
    pub fn spawn(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let this = self.clone();
        let running = tokio::spawn(task);
        self.tasks.spawn(async move {
            let ended = running.await;
            if !this.stopping.is_cancelled() {
                let error = ended.err().map(|e| e.to_string()).unwrap_or_else(|| "it returned".to_owned());
                tracing::error!(task = name, error, "a background task ended before its time");
                this.failed.store(true, Ordering::Relaxed);
                this.shut_down();
            }
        });
    }

    /// Serves both listeners until the process is told to end, then drains. Returns when all is done.
    pub async fn serve<P: App, O: App>(
        &self,
        (public, app, options): (Bound, Arc<P>, HttpOptions),
        (ops, ops_app, ops_options): (Bound, Arc<O>, HttpOptions),
    ) {
        tracing::info!(public = %public.address(), operations = %ops.address(), "serving");
        let ops_draining = CancellationToken::new();
        let killed = self.killed.clone();
        let ops = tokio::spawn(ops.serve(ops_app, ops_options, ops_draining.clone(), killed.clone()));
        let public = tokio::spawn(public.serve(app, options, self.draining.clone(), killed.clone()));
        self.draining.cancelled().await;
        // The task that cancelled it may not have come so far yet.
        self.readiness.fail(DRAINING);
        let reserve = EXIT_RESERVE_MAX.min(self.drain / 4);
        let deadline = Instant::now() + (self.drain - reserve);
        tracing::info!(seconds = self.drain.as_secs(), "draining");
        let drained = tokio::time::timeout_at(deadline, async {
            let _ = public.await;
            self.sockets.close();
            self.sockets.wait().await;
            self.stopping.cancel();
            self.tasks.close();
            self.tasks.wait().await;
        });
        if drained.await.is_err() {
            tracing::warn!(sockets = self.sockets.len(), "the drain took too long: what is left is cut off");
        }
        self.stopping.cancel();
        ops_draining.cancel();
        let _ = tokio::time::timeout(reserve / 2, ops).await;
        self.killed.cancel();
        tracing::info!("ended");
    }

    /// Whether a background task has failed.
    pub fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Relaxed)
    }

    fn listen_to_signals(&self) -> std::io::Result<()> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut hang_up = signal(SignalKind::hangup())?;
        let reload = self.reload.clone();
        tokio::spawn(async move {
            while hang_up.recv().await.is_some() {
                tracing::info!(signal = "SIGHUP", "told to read files again");
                reload.send_modify(|count| *count += 1);
            }
        });
        let this = self.clone();
        tokio::spawn(async move {
            let mut wait =
                async || tokio::select! { _ = terminate.recv() => "SIGTERM", _ = interrupt.recv() => "SIGINT" };
            let name = wait().await;
            tracing::info!(signal = name, "told to end");
            this.shut_down();
            // Who asks twice does not want to wait.
            let name = wait().await;
            tracing::warn!(signal = name, "told again: ending at once");
            std::process::exit(EXIT_FAILURE.into());
        });
        Ok(())
    }
}

/// Takes an address, or says which could not be taken and why.
pub async fn bind(address: SocketAddr) -> anyhow::Result<Bound> {
    http::bind(address).await.with_context(|| format!("cannot listen on {address}"))
}

/// The whole of a server's `main`: reads and checks the settings, starts logs and runtime, runs.
///
/// `configure` reads the program's settings from `Raw`, which collects what is wrong; `shared` finds
/// the shared ones in the result; `run` binds, starts and calls [`Lifecycle::serve`]. An error of
/// `run` is a failed start: it is printed with its causes, and the exit code is 1.
pub fn main<C, F>(
    program: &Program,
    configure: impl FnOnce(&mut Raw, Env<'_>) -> C,
    shared: impl Fn(&C) -> &SharedConfig,
    run: impl FnOnce(C, Lifecycle) -> F,
) -> ExitCode
where
    F: Future<Output = anyhow::Result<()>> + Send + 'static,
{
    let args = std::env::args_os().map(|arg| arg.to_string_lossy().into_owned());
    main_with_args(program, args, configure, shared, run)
}

/// [`main`] with arguments from elsewhere, the program's name first.
pub fn main_with_args<C, F>(
    program: &Program,
    args: impl IntoIterator<Item = String>,
    configure: impl FnOnce(&mut Raw, Env<'_>) -> C,
    shared: impl Fn(&C) -> &SharedConfig,
    run: impl FnOnce(C, Lifecycle) -> F,
) -> ExitCode
where
    F: Future<Output = anyhow::Result<()>> + Send + 'static,
{
    let env = |name: &str| std::env::var(name).ok();
    let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    let (mut raw, check_only) = match load(program, args, &env, names) {
        Command::Print(text) => {
            println!("{}", text.trim_end());
            return ExitCode::SUCCESS;
        }
        Command::CheckConfig(raw) => (raw, true),
        Command::Run(raw) => (raw, false),
    };
    let config = configure(&mut raw, &env);
    if let Err(problems) = raw.finish() {
        eprintln!("{}: {problems}", program.name);
        return ExitCode::from(EXIT_CONFIG);
    }
    if check_only {
        raw.warnings().iter().for_each(|warning| eprintln!("warning: {warning}"));
        println!("configuration ok");
        return ExitCode::SUCCESS;
    }
    let settings = shared(&config);
    log::init(settings.log_format, &settings.log_filter);
    raw.warnings().iter().for_each(|warning| tracing::warn!("{warning}"));
    let exporting = match settings.spans.as_ref().map(|config| spans::init(program.name, config)).transpose() {
        Ok(exporting) => exporting,
        Err(error) => {
            eprintln!("{}: traces cannot be exported: {error}", program.name);
            return ExitCode::from(EXIT_FAILURE);
        }
    };
    let (drain, threads) = (settings.drain, settings.worker_threads);
    let ended = live(drain, threads, |life| run(config, life));
    drop(exporting);
    match ended {
        Ok(false) => ExitCode::SUCCESS,
        Ok(true) => ExitCode::from(EXIT_FAILURE),
        Err(error) => {
            // Not only into the log, which the settings may have turned off.
            eprintln!("{}: {error:#}", program.name);
            ExitCode::from(EXIT_FAILURE)
        }
    }
}

/// Runs a server on a runtime of its own; whether a background task has failed.
fn live<F>(drain: Duration, threads: usize, run: impl FnOnce(Lifecycle) -> F) -> anyhow::Result<bool>
where
    F: Future<Output = anyhow::Result<()>> + Send + 'static,
{
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.enable_all();
    if threads > 0 {
        builder.worker_threads(threads);
    }
    let runtime = builder.build().context("cannot start the runtime")?;
    let ended = runtime.block_on(async {
        let life = Lifecycle::new(drain);
        life.listen_to_signals().context("cannot listen to signals")?;
        tokio::spawn(life.metrics.clone().upkeep());
        // On a worker: this thread is none, and each wake-up of it would cross over.
        tokio::spawn(run(life.clone())).await.context("the server broke down")??;
        Ok(life.has_failed())
    });
    runtime.shutdown_timeout(EXIT_RESERVE_MAX / 4);
    ended
}
