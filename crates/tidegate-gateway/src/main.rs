//! The gateway as a program.

use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use tidegate_gateway::{Config, Demo, Gateway, Running};
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
    /// Listens here, whatever the file says [default: 127.0.0.1:8787]
    #[arg(long, value_name = "ADDR")]
    listen: Option<SocketAddr>,
    /// How long calls may go on after it is told to stop [default: 10s]
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    drain: Option<Duration>,
}

/// Why it ends, and with what status.
struct Failure {
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
        Err(Failure { status, message }) => {
            let _ = writeln!(io::stderr(), "tidegate-gateway: {message}");
            ExitCode::from(status)
        }
    }
}

async fn run(args: Args) -> Result<(), Failure> {
    let Some(path) = &args.config else {
        // Held to the end: the providers stop when it is dropped.
        let demo = Demo::start().await.map_err(Failure::cannot_serve)?;
        let config = Config::parse(&demo.file(), |variable| std::env::var_os(variable));
        let running = start(&args, config.map_err(Failure::bad_config)?).await?;
        let _ = writeln!(io::stdout(), "{}", demo.invitation(running.addr()));
        return until_told(running).await;
    };
    let in_file = |error| Failure::bad_config(format!("{}: {error}", path.display()));
    let config = Config::read(path).map_err(in_file)?;
    if args.check {
        Gateway::new(config).map_err(in_file)?;
        let _ = writeln!(io::stdout(), "{}: ok", path.display());
        return Ok(());
    }
    let running = start(&args, config).await?;
    let _ = writeln!(io::stdout(), "tidegate listens on http://{}", running.addr());
    until_told(running).await
}

async fn start(args: &Args, mut config: Config) -> Result<Running, Failure> {
    config.listen = args.listen.unwrap_or(config.listen);
    config.drain = args.drain.unwrap_or(config.drain);
    let listen = config.listen;
    let gateway = Gateway::new(config).map_err(Failure::bad_config)?;
    gateway.bind().await.map_err(|error| {
        Failure::cannot_serve(format!(
            "cannot listen on {listen}: {error}; choose another with --listen ADDR"
        ))
    })
}

/// Serves until SIGTERM or Ctrl-C; a second one does not wait for calls in flight.
async fn until_told(running: Running) -> Result<(), Failure> {
    let mut signals = Signals::new().map_err(Failure::cannot_serve)?;
    signals.next().await;
    tracing::info!(layer = "gateway", "stopping");
    tokio::select! {
        () = running.stop() => {}
        () = signals.next() => {}
    }
    Ok(())
}

impl Failure {
    fn bad_config(message: impl fmt::Display) -> Self {
        Self { status: BAD_CONFIG, message: message.to_string() }
    }

    fn cannot_serve(message: impl fmt::Display) -> Self {
        Self { status: CANNOT_SERVE, message: message.to_string() }
    }
}

/// What tells a program to stop.
#[cfg(unix)]
struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
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

/// What tells a program to stop.
#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self)
    }

    async fn next(&mut self) {
        let _ = tokio::signal::ctrl_c().await;
    }
}
