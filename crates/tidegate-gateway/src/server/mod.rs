//! The listener: the limits of connections, their timeouts, and the graceful shutdown.
//!
//! ```text
//! serving ─▶ announcing: /readyz is 503, calls are accepted ─▶ draining: the listener is closed ─▶ cutting ─▶ ended
//!             └────────────── a cut-off ends both at once ──────────────┘
//! ```

mod connection;
mod descriptors;
mod listener;
mod tls;

use std::convert::Infallible;
use std::future::{Future, pending};
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{interval, sleep, timeout};

pub use self::descriptors::raise_descriptor_limit;
use self::listener::Listener;
pub(crate) use self::tls::ServerTls;
use crate::alerts::AlertTask;
use crate::config::{Config, ConfigSource, GatewayConfigError};
use crate::open_calls::{self, CallsInFlight};
use crate::pages::AppState;
use crate::reload;
use crate::running_config::Entrance;
use crate::service::GatewayService;

/// The time for the last bytes of calls that are cut, such as their error events.
const CUT_TIME: Duration = Duration::from_secs(1);

/// The time for the alerts that wait for the webhook when the gateway stops.
const POST_TIME: Duration = Duration::from_secs(5);

/// The settings of the listener.
#[derive(Debug)]
pub(crate) struct ServerSettings {
    pub(crate) listen: SocketAddr,
    /// Without it connections are not encrypted.
    pub(crate) tls: Option<ServerTls>,
    pub(crate) max_connections: usize,
    pub(crate) idle_timeout: Duration,
    pub(crate) notice: Duration,
    pub(crate) drain: Duration,
}

/// A handle to a running gateway. Dropping it stops the gateway at once.
#[derive(Debug)]
pub struct RunningGateway {
    addr: SocketAddr,
    phase: watch::Sender<StopPhase>,
    /// Serves all connections, and returns the number of calls that were cut.
    task: OwnedTask<usize>,
    state: Arc<AppState>,
}

/// How far a gateway has been stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd)]
enum StopPhase {
    Serving,
    Stopping,
    Cutting,
}

/// A task that is aborted when this is dropped.
#[derive(Debug)]
struct OwnedTask<T>(JoinHandle<T>);

impl RunningGateway {
    /// The address on which the gateway listens.
    #[must_use]
    pub const fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The URL of the gateway by its address: `http://127.0.0.1:8787`, or `https` with TLS.
    #[must_use]
    pub fn url(&self) -> String {
        let scheme = if self.state.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.addr)
    }

    /// Reads the files of the certificate again, for new connections. Without TLS it does nothing.
    ///
    /// # Errors
    ///
    /// The files are not valid. The old certificate stays in use.
    pub fn reload_certificate(&self) -> Result<(), GatewayConfigError> {
        self.state.tls.as_ref().map_or(Ok(()), ServerTls::reload)
    }

    /// Replaces the configuration; see [what changes](crate::config#reload).
    ///
    /// # Errors
    ///
    /// As [`Gateway::new`](crate::Gateway::new). The configuration is the same as before then.
    pub fn reload(&self, config: Config) -> Result<(), GatewayConfigError> {
        self.state.reload(Ok(config))
    }

    /// Reads the configuration of `source` again when its files have changed, and whenever `requested` is
    /// ready. `adjust` changes each configuration before it is used. `source` has been
    /// [read](ConfigSource::read) before. Is never ready: drop it to end it.
    pub async fn follow(
        &self,
        source: ConfigSource,
        adjust: impl Fn(&mut Config),
        requested: impl AsyncFnMut(),
    ) -> Infallible {
        reload::follow(&self.state, source, adjust, requested).await
    }

    /// Ready when the gateway serves no more: as long as it is not stopped, only because of a panic.
    pub async fn ended(&self) {
        self.phase.closed().await;
    }

    /// Stops the gateway, and returns the number of calls that were cut.
    ///
    /// During the notice time `/readyz` is 503 and calls are still accepted. Then the listener is closed, and
    /// calls in flight may continue for the drain time. What is left after that is cut: streams end in an
    /// error event.
    pub async fn stop(self) -> usize {
        self.stop_until(pending()).await
    }

    /// Like [`stop`](Self::stop); both times end at once when `cutoff` is ready.
    pub async fn stop_until(self, cutoff: impl Future<Output = ()>) -> usize {
        let Self { phase, mut task, .. } = self;
        phase.send_replace(StopPhase::Stopping);
        tokio::select! {
            cut = &mut task.0 => return cut.unwrap_or_default(),
            () = cutoff => {}
        }
        phase.send_replace(StopPhase::Cutting);
        (&mut task.0).await.unwrap_or_default()
    }
}

impl<T> Drop for OwnedTask<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

pub(crate) async fn bind(
    settings: ServerSettings,
    state: Arc<AppState>,
    alerts: AlertTask,
) -> io::Result<RunningGateway> {
    let socket = TcpListener::bind(settings.listen).await?;
    let addr = socket.local_addr()?;
    let (phase, phases) = watch::channel(StopPhase::Serving);
    let service = GatewayService::new(Arc::clone(&state), Entrance::Listener);
    let max_connections = descriptors::max_connections(settings.max_connections);
    let listener =
        Listener::new(socket, settings.tls.clone(), service, max_connections, settings.idle_timeout);
    let served = Arc::clone(&state);
    // Tasks of their own: neither their time nor a panic of theirs is at the cost of the calls.
    let AlertTask { watch, post } = alerts;
    let (watch, mut post) = (OwnedTask(tokio::spawn(watch)), OwnedTask(tokio::spawn(post)));
    let task = OwnedTask(tokio::spawn(async move {
        let calls = served.running().proxy.calls.clone();
        let cut = tokio::select! {
            cut = serve(listener, &settings, &served, phases) => cut,
            never = end_unread(&calls) => match never {},
        };
        // `post` ends with the queue.
        drop(watch);
        if !matches!(timeout(POST_TIME, &mut post.0).await, Ok(Ok(()))) {
            tracing::warn!(layer = "gateway", "the last alerts may be lost");
        }
        if let Some(tracer) = served.running().proxy.tracer.clone() {
            // Not an error: the runtime may stop meanwhile.
            let _ = spawn_blocking(move || tracer.shutdown()).await;
        }
        cut
    }));
    Ok(RunningGateway { addr, phase, task, state })
}

/// Ends calls that are left unread, at intervals.
async fn end_unread(calls: &CallsInFlight) -> Infallible {
    let mut checks = interval(open_calls::CHECK_INTERVAL);
    loop {
        checks.tick().await;
        calls.end_unread();
    }
}

/// Serves until the gateway is stopped, and returns the number of calls that were cut.
async fn serve(
    mut listener: Listener,
    settings: &ServerSettings,
    state: &AppState,
    mut phases: watch::Receiver<StopPhase>,
) -> usize {
    tokio::select! {
        () = listener.accept() => {}
        () = reached(&mut phases, StopPhase::Stopping) => {}
    }
    state.is_draining.store(true, Ordering::Relaxed);
    state.live.close();
    tokio::select! {
        () = listener.accept() => {}
        () = sleep(settings.notice) => {}
        () = reached(&mut phases, StopPhase::Cutting) => {}
    }
    let (mut connections, stopping) = listener.close();
    let mut ended = pin!(stopping.closed());
    tokio::select! {
        () = &mut ended => return 0,
        () = sleep(settings.drain) => {}
        () = reached(&mut phases, StopPhase::Cutting) => {}
    }
    let cut = state.running().proxy.calls.cut();
    tracing::warn!(layer = "gateway", calls = cut, "calls still in flight are cut");
    let _ = timeout(CUT_TIME, ended).await;
    connections.shutdown().await;
    cut
}

/// Ready once `phase` is reached. Not ready if the gateway is dropped, since its task is aborted then.
async fn reached(phases: &mut watch::Receiver<StopPhase>, phase: StopPhase) {
    if phases.wait_for(|current| *current >= phase).await.is_err() {
        pending().await
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::*;

    async fn gateway(alerts: AlertTask) -> RunningGateway {
        let file = "providers.p = { base_url = \"http://127.0.0.1:1/v1\", dialect = \"openai\" }\n\
                    routes = [{ path = \"/v1/chat/completions\", chain = [\"p/m\"] }]\n\
                    listen = \"127.0.0.1:0\"\nnotice = \"0s\"";
        let config = Config::parse(file, |_| None).unwrap();
        let settings = ServerSettings {
            listen: config.listen,
            tls: None,
            max_connections: config.max_connections,
            idle_timeout: config.idle_timeout,
            notice: config.notice,
            drain: config.drain,
        };
        bind(settings, Arc::new(AppState::new(config).unwrap()), alerts).await.unwrap()
    }

    async fn is_ready(gateway: &RunningGateway) -> bool {
        let mut caller = TcpStream::connect(gateway.addr()).await.unwrap();
        let request = b"GET /readyz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
        caller.write_all(request).await.unwrap();
        let mut response = String::new();
        caller.read_to_string(&mut response).await.unwrap();
        response.starts_with("HTTP/1.1 200")
    }

    /// Regression: the listener ended with the alerts, and nothing noticed.
    #[tokio::test]
    async fn a_panic_in_the_alerts_leaves_the_listener_and_one_in_the_listener_is_noticed() {
        let alerts = [
            AlertTask { watch: Box::pin(async { panic!("watch") }), post: Box::pin(pending()) },
            AlertTask { watch: Box::pin(pending()), post: Box::pin(async { panic!("post") }) },
        ];
        for alerts in alerts {
            let gateway = gateway(alerts).await;
            for _ in 0..3 {
                assert!(is_ready(&gateway).await);
            }
            tokio::select! {
                biased;
                () = gateway.ended() => panic!("it serves"),
                () = std::future::ready(()) => {}
            }
            gateway.task.0.abort();
            gateway.ended().await;
        }
    }
}
