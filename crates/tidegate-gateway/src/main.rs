//! The gateway as an executable.

mod log_record;
mod signals;
mod text_lines;

use std::convert::Infallible;
use std::fmt;
use std::future::{Future, pending};
use std::io::{self, IsTerminal, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use clap::Parser;
use tidegate::config::DurationText;
use tidegate_gateway::config::listen_address;
use tidegate_gateway::{
    Config, ConfigSource, Demo, Gateway, GatewayConfigError, LogFormat, LogWriter, PrometheusMetrics,
    RunningGateway, raise_descriptor_limit,
};
use tokio::runtime::Runtime;
use tracing::Level;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use self::log_record::JsonLines;
use self::signals::{HangUps, StopSignals};
use self::text_lines::TextLines;

/// Returns the memory of large bodies to the system within seconds, which glibc's allocator keeps. Without
/// huge pages, which nearly double the resident memory of an open stream.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Keeps calls to model providers alive. Without arguments it serves two scripted providers to play with.
#[derive(Parser)]
#[command(version)]
struct Args {
    /// Serves the providers and routes of this file
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Only checks the file. A variable with a secret that is not set is a warning
    #[arg(long, requires = "config")]
    check: bool,
    /// Prints the stack of each route and target, each setting with its origin
    #[arg(long, requires = "config")]
    explain: bool,
    /// Prints the JSON Schema of the file, for editors
    #[arg(long, conflicts_with = "config")]
    schema: bool,
    /// Prints a commented file with every key and its default
    #[arg(long, conflicts_with_all = ["config", "schema"])]
    example: bool,
    /// Listens on this address instead of that in the file [default: 127.0.0.1:8787]
    #[arg(long, value_name = "ADDR", value_parser = listen_address)]
    listen: Option<SocketAddr>,
    /// How long calls may continue after a stop signal [default: 10s]
    #[arg(long, value_name = "TIME", value_parser = duration)]
    drain: Option<Duration>,
    /// The format of the log instead of that in the file [default: text]
    #[arg(long, value_name = "FORMAT", value_enum)]
    log: Option<LogFormat>,
}

fn duration(text: &str) -> Result<Duration, String> {
    DurationText::parse(text).ok_or_else(|| format!("expected {}", DurationText::EXPECTED))
}

/// The error message and the exit status of the process.
struct ExitFailure {
    status: u8,
    message: String,
}

const BAD_CONFIG: u8 = 2;
const CANNOT_SERVE: u8 = 1;
const CALLS_CUT: u8 = 3;

/// The longest wait for the last log lines to be written.
const FLUSH_TIME: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    let args = Args::parse();
    let mut source = args.config.as_deref().map(ConfigSource::new);
    let config =
        source.as_mut().zip(args.config.as_deref()).map(|(source, path)| read_config(&args, source, path));
    let config = config.transpose();
    let of_file = config.as_ref().ok().and_then(Option::as_ref).map(|config| config.log);
    let format = args.log.or(of_file).unwrap_or_default();
    let log = match LogWriter::with_format(io::stderr(), format) {
        Ok(log) => log,
        Err(error) => {
            let _ = writeln!(io::stderr(), "tidegate-gateway: cannot start the log: {error}");
            return ExitCode::from(CANNOT_SERVE);
        }
    };
    init_tracing(log.clone(), format);
    log_panics();
    let code = match config.and_then(|config| serve(&args, source.zip(config), &log)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(ExitFailure { status, message }) => {
            for line in message.lines() {
                log.report(Level::ERROR, "tidegate-gateway", line);
            }
            ExitCode::from(status)
        }
    };
    log.flush_within(FLUSH_TIME);
    code
}

/// Sends events to `log`.
fn init_tracing(log: LogWriter, format: LogFormat) {
    let filter = EnvFilter::builder().with_default_directive(LevelFilter::INFO.into()).from_env_lossy();
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(move || log.clone())
        .log_internal_errors(false);
    match format {
        LogFormat::Text => {
            subscriber.with_ansi(io::stderr().is_terminal()).event_format(TextLines).init();
        }
        // The module is left out, since it has the name of the field `target`.
        LogFormat::Json => subscriber
            .json()
            .flatten_event(true)
            .with_target(false)
            .with_current_span(false)
            .with_span_list(false)
            .map_event_format(JsonLines)
            .init(),
    }
}

/// Logs the places of panics. The message of a panic may contain a part of a prompt.
fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let location = panic.location().map(ToString::to_string);
        tracing::error!(layer = "gateway", location, "panic");
    }));
}

fn read_config(args: &Args, source: &mut ConfigSource, path: &Path) -> Result<Config, ExitFailure> {
    let config = if args.check || args.explain { Config::read_without_secrets(path) } else { source.read() };
    config.map_err(|error| ExitFailure::in_file(path, &error))
}

/// Runs the program. Threads that are still blocked afterwards do not delay the end of the process.
fn serve(args: &Args, config: Option<(ConfigSource, Config)>, log: &LogWriter) -> Result<(), ExitFailure> {
    let runtime = Runtime::new().map_err(ExitFailure::cannot_serve)?;
    let result = runtime.block_on(run(args, config, log));
    runtime.shutdown_background();
    result
}

async fn run(
    args: &Args,
    config: Option<(ConfigSource, Config)>,
    log: &LogWriter,
) -> Result<(), ExitFailure> {
    if args.schema {
        return print_all(&Config::schema());
    }
    if args.example {
        return print_all(Config::EXAMPLE);
    }
    // Installed before anything is printed: a reader of the output may send a signal at once.
    let mut signals = StopSignals::new(config.is_none()).map_err(ExitFailure::cannot_serve)?;
    if let Err(error) = raise_descriptor_limit() {
        tracing::warn!(layer = "gateway", %error, "cannot raise the limit of file descriptors");
    }
    let (Some(path), Some((source, mut config))) = (&args.config, config) else {
        // Kept until the end, because the providers stop when the demo is dropped.
        let demo = Demo::start().await.map_err(ExitFailure::cannot_serve)?;
        let config = Config::from_text(&demo.config_text()).map_err(ExitFailure::bad_config)?;
        for warning in config.warnings() {
            log.report(Level::WARN, "warning", warning);
        }
        let running = start(args, config, log).await?;
        print(demo.instructions(running.addr()));
        until_signal(&running, &mut signals, pending()).await?;
        return stop(running, signals).await;
    };
    let hangups = HangUps::new().map_err(ExitFailure::cannot_serve)?;
    for warning in config.warnings() {
        log.report(Level::WARN, path.display(), format_args!("warning: {warning}"));
    }
    apply_args(args, &mut config);
    if args.check || args.explain {
        let explained = args.explain.then(|| config.explain());
        if args.check {
            Gateway::new(config).map_err(|error| ExitFailure::in_file(path, &error))?;
        }
        return print_all(&explained.unwrap_or_else(|| format!("{}: ok\n", path.display())));
    }
    let running = start(args, config, log).await?;
    print(format!("tidegate listens on {}", running.url()));
    reload_until_signal(args, &running, source, hangups, &mut signals).await?;
    stop(running, signals).await
}

/// Prints the text that the program was started for. A reader may leave before its end.
fn print_all(text: &str) -> Result<(), ExitFailure> {
    let mut output = io::stdout().lock();
    match output.write_all(text.as_bytes()).and_then(|()| output.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(ExitFailure::cannot_serve(format!("cannot write the output: {error}")))
        }
        _ => Ok(()),
    }
}

/// Prints a line on a thread of its own, since a pipe that is full would block this one.
fn print(line: String) {
    thread::spawn(move || {
        let _ = writeln!(io::stdout(), "{line}");
    });
}

/// Replaces the settings that have an argument.
fn apply_args(args: &Args, config: &mut Config) {
    config.listen = args.listen.unwrap_or(config.listen);
    config.drain = args.drain.unwrap_or(config.drain);
    config.log = args.log.unwrap_or(config.log);
}

async fn start(args: &Args, mut config: Config, log: &LogWriter) -> Result<RunningGateway, ExitFailure> {
    apply_args(args, &mut config);
    let listen = config.listen;
    let metrics = PrometheusMetrics::install().map_err(ExitFailure::cannot_serve)?;
    let gateway = Gateway::new(config).map_err(ExitFailure::bad_config)?.log(log.clone()).metrics(metrics);
    gateway.bind().await.map_err(|error| match error.raw_os_error() {
        Some(_) => ExitFailure::cannot_serve(format!(
            "cannot listen on {listen}: {error}; choose another with --listen ADDR"
        )),
        // It is not about the address.
        None => ExitFailure::cannot_serve(error),
    })
}

/// Reloads the file when it changes and at each SIGHUP, until a stop signal.
async fn reload_until_signal(
    args: &Args,
    running: &RunningGateway,
    source: ConfigSource,
    mut hangups: HangUps,
    signals: &mut StopSignals,
) -> Result<(), ExitFailure> {
    let reloads = running.follow(source, |config| apply_args(args, config), async || hangups.next().await);
    until_signal(running, signals, reloads).await
}

/// Waits for a stop signal, and meanwhile polls `reloads`.
///
/// # Errors
///
/// The gateway does not serve any more.
async fn until_signal(
    running: &RunningGateway,
    signals: &mut StopSignals,
    reloads: impl Future<Output = Infallible>,
) -> Result<(), ExitFailure> {
    tokio::select! {
        () = signals.next() => Ok(()),
        () = running.ended() => {
            Err(ExitFailure::cannot_serve("cannot serve any more: a panic, whose place is in the log"))
        }
        never = reloads => match never {},
    }
}

/// Stops the gateway. A second signal ends the calls in flight.
async fn stop(running: RunningGateway, mut signals: StopSignals) -> Result<(), ExitFailure> {
    tracing::info!(layer = "gateway", "stopping");
    match running.stop_until(signals.next()).await {
        0 => Ok(()),
        cut => Err(ExitFailure { status: CALLS_CUT, message: format!("{cut} calls were cut") }),
    }
}

impl ExitFailure {
    fn bad_config(message: impl fmt::Display) -> Self {
        Self { status: BAD_CONFIG, message: message.to_string() }
    }

    fn in_file(path: &Path, error: &GatewayConfigError) -> Self {
        let (error, path) = (error.to_string(), path.display());
        Self::bad_config(error.lines().map(|line| format!("{path}: {line}")).collect::<Vec<_>>().join("\n"))
    }

    fn cannot_serve(message: impl fmt::Display) -> Self {
        Self { status: CANNOT_SERVE, message: message.to_string() }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_panic_is_logged_with_its_place_and_without_its_message() {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = tracing_subscriber::fmt().with_writer(move || writer.clone()).finish();
        log_panics();
        let panics = || tracing::subscriber::with_default(subscriber, || panic!("the-prompt"));
        assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(panics)).is_err());
        drop(std::panic::take_hook());
        let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        assert!(text.contains("ERROR") && text.contains("panic") && text.contains("main.rs:"), "{text}");
        assert!(!text.contains("the-prompt"), "{text}");
    }
}
