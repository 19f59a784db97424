//! The gateway as an executable.

use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use tidegate_gateway::{Config, Demo, Gateway, RunningGateway};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

/// Keeps calls to model providers alive. Without arguments it serves two scripted providers to play with.
#[derive(Parser)]
#[command(version)]
struct Args {
    /// Serves the providers and routes of this file
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Only checks the file
    #[arg(long, requires = "config")]
    check: bool,
    /// Listens on this address instead of that in the file [default: 127.0.0.1:8787]
    #[arg(long, value_name = "ADDR")]
    listen: Option<SocketAddr>,
    /// How long calls may continue after a stop signal [default: 10s]
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    drain: Option<Duration>,
}

/// The error message and the exit status of the process.
struct ExitFailure {
    status: u8,
    message: String,
}

const BAD_CONFIG: u8 = 2;
const CANNOT_SERVE: u8 = 1;

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    let filter = EnvFilter::builder().with_default_directive(LevelFilter::INFO.into()).from_env_lossy();
    tracing_subscriber::fmt()
        .compact()
        .with_env_filter(filter)
        .with_ansi(io::stderr().is_terminal())
        .with_writer(io::stderr)
        .init();
    match run(args).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(ExitFailure { status, message }) => {
            let _ = writeln!(io::stderr(), "tidegate-gateway: {message}");
            ExitCode::from(status)
        }
    }
}

async fn run(args: Args) -> Result<(), ExitFailure> {
    let Some(path) = &args.config else {
        // Kept until the end, because the providers stop when the demo is dropped.
        let demo = Demo::start().await.map_err(ExitFailure::cannot_serve)?;
        let config = Config::parse(&demo.config_text(), |variable| std::env::var_os(variable));
        let running = start(&args, config.map_err(ExitFailure::bad_config)?).await?;
        let _ = writeln!(io::stdout(), "{}", demo.instructions(running.addr()));
        return serve_until_signal(running).await;
    };
    let in_file = |error| ExitFailure::bad_config(format!("{}: {error}", path.display()));
    let config = Config::read(path).map_err(in_file)?;
    for warning in config.warnings() {
        let _ = writeln!(io::stderr(), "{}: warning: {warning}", path.display());
    }
    if args.check {
        Gateway::new(config).map_err(in_file)?;
        let _ = writeln!(io::stdout(), "{}: ok", path.display());
        return Ok(());
    }
    let running = start(&args, config).await?;
    let _ = writeln!(io::stdout(), "tidegate listens on http://{}", running.addr());
    serve_until_signal(running).await
}

async fn start(args: &Args, mut config: Config) -> Result<RunningGateway, ExitFailure> {
    config.listen = args.listen.unwrap_or(config.listen);
    config.drain = args.drain.unwrap_or(config.drain);
    let listen = config.listen;
    let gateway = Gateway::new(config).map_err(ExitFailure::bad_config)?;
    gateway.bind().await.map_err(|error| {
        ExitFailure::cannot_serve(format!(
            "cannot listen on {listen}: {error}; choose another with --listen ADDR"
        ))
    })
}

/// Serves until SIGTERM or Ctrl-C. A second signal aborts the calls in flight.
async fn serve_until_signal(running: RunningGateway) -> Result<(), ExitFailure> {
    let mut signals = StopSignals::new().map_err(ExitFailure::cannot_serve)?;
    signals.next().await;
    tracing::info!(layer = "gateway", "stopping");
    tokio::select! {
        () = running.stop() => {}
        () = signals.next() => {}
    }
    Ok(())
}

impl ExitFailure {
    fn bad_config(message: impl fmt::Display) -> Self {
        Self { status: BAD_CONFIG, message: message.to_string() }
    }

    fn cannot_serve(message: impl fmt::Display) -> Self {
        Self { status: CANNOT_SERVE, message: message.to_string() }
    }
}

/// The signals that stop the process: SIGTERM and SIGINT.
#[cfg(unix)]
struct StopSignals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl StopSignals {
    fn new() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// The signal that stops the process: Ctrl-C.
#[cfg(not(unix))]
struct StopSignals;

#[cfg(not(unix))]
impl StopSignals {
    fn new() -> io::Result<Self> {
        Ok(Self)
    }

    async fn next(&mut self) {
        let _ = tokio::signal::ctrl_c().await;
    }
}
