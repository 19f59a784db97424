//! The listener: the limits of connections, their timeouts, and the graceful shutdown.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::Router;
use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{oneshot, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{sleep, timeout};
use tower::ServiceExt;

use crate::half_close::{AwaitsResponse, HalfClose};
use crate::http_version::{self, HttpVersion};
use crate::pages::AppState;
use crate::paths;
use crate::slow_reader::WriteTimeout;

/// The largest number of open connections. Further ones wait in the backlog of the socket.
const MAX_CONNECTIONS: usize = 4096;

/// The time for receiving the head of a request, which is also the idle time of a connection.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);

/// The time for which a caller may leave a response unread. Then the connection is closed, because its call
/// holds a permit that other calls wait for.
const WRITE_TIMEOUT: Duration = Duration::from_secs(60);

/// The calls that one HTTP/2 connection may have in flight.
const MAX_STREAMS: u32 = 128;

/// The largest head of a request, in bytes. hyper accepts at most a hundred headers.
const HEAD_LIMIT: usize = 64 * 1024;

/// A handle to a running gateway. Dropping it stops the gateway at once.
#[derive(Debug)]
pub struct RunningGateway {
    addr: SocketAddr,
    stop: oneshot::Sender<()>,
    task: ServerTask,
}

/// The task that serves all connections. It is aborted when this is dropped.
#[derive(Debug)]
struct ServerTask(JoinHandle<()>);

impl RunningGateway {
    /// The address on which the gateway listens.
    #[must_use]
    pub const fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Accepts no more calls, and waits for the calls in flight. Calls that take longer than the drain time
    /// are aborted.
    pub async fn stop(self) {
        let Self { stop, mut task, .. } = self;
        drop(stop);
        let _ = (&mut task.0).await;
    }
}

impl Drop for ServerTask {
    fn drop(&mut self) {
        self.0.abort();
    }
}

pub(crate) async fn bind(
    addr: SocketAddr,
    drain: Duration,
    router: Router,
    state: Arc<AppState>,
) -> io::Result<RunningGateway> {
    let listener = TcpListener::bind(addr).await?;
    let addr = listener.local_addr()?;
    let (stop, stopped) = oneshot::channel();
    let task = ServerTask(tokio::spawn(async move {
        let (connections, graceful) = listen(listener, router, stopped).await;
        state.is_draining.store(true, Ordering::Relaxed);
        drain_connections(connections, graceful, drain).await;
    }));
    Ok(RunningGateway { addr, stop, task })
}

/// Accepts connections until the stop signal, and then closes the listener.
async fn listen(
    listener: TcpListener,
    router: Router,
    mut stopped: oneshot::Receiver<()>,
) -> (JoinSet<()>, GracefulShutdown) {
    let (mut connections, graceful) = (JoinSet::new(), GracefulShutdown::new());
    let (_stopping, stopping) = watch::channel(());
    loop {
        tokio::select! {
            biased;
            _ = &mut stopped => return (connections, graceful),
            Some(_) = connections.join_next() => {}
            accepted = listener.accept(), if connections.len() < MAX_CONNECTIONS => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(serve(stream, router.clone(), graceful.watcher(), stopping.clone()));
                }
                // The connection failed, or the process is out of file descriptors for a while. The listener
                // is not affected.
                Err(error) => {
                    tracing::warn!(layer = "gateway", %error, "cannot accept a connection");
                    sleep(Duration::from_millis(10)).await;
                }
            },
        }
    }
}

/// Serves one connection, by the version of HTTP in which the caller begins.
async fn serve(stream: TcpStream, router: Router, watcher: Watcher, stopping: watch::Receiver<()>) {
    // Frames of a stream are small and must not be delayed by Nagle's algorithm.
    let _ = stream.set_nodelay(true);
    let version = tokio::select! {
        version = timeout(HEAD_TIMEOUT, http_version::detect(&stream)) => version,
        // Nothing was received, so nothing is lost.
        () = stopped(stopping) => return,
    };
    let caller = AwaitsResponse::default();
    let marking = caller.clone();
    let service =
        router.map_request(move |request: Request<Incoming>| marking.mark(paths::normalize(request)));
    let service = TowerToHyperService::new(service);
    let stream = TokioIo::new(HalfClose::new(WriteTimeout::new(stream, WRITE_TIMEOUT), caller));
    let result = match version {
        Ok(Ok(HttpVersion::Http1)) => {
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_TIMEOUT)
                .max_header_size(HEAD_LIMIT)
                .serve_connection(stream, service);
            watcher.watch(connection).await
        }
        Ok(Ok(HttpVersion::Http2)) => {
            let connection = http2::Builder::new(TokioExecutor::new())
                .timer(TokioTimer::new())
                .max_header_list_size(HEAD_LIMIT as u32)
                .max_concurrent_streams(MAX_STREAMS)
                .keep_alive_interval(HEAD_TIMEOUT)
                .serve_connection(stream, service);
            watcher.watch(connection).await
        }
        // The caller has left, or sends nothing.
        Ok(Err(_)) | Err(_) => Ok(()),
    };
    if let Err(error) = result {
        tracing::debug!(layer = "gateway", %error, "connection broke");
    }
}

/// Ready once the gateway stops.
async fn stopped(mut stopping: watch::Receiver<()>) {
    // The sender is dropped then.
    while stopping.changed().await.is_ok() {}
}

async fn drain_connections(mut connections: JoinSet<()>, graceful: GracefulShutdown, drain: Duration) {
    tokio::select! {
        () = graceful.shutdown() => {}
        () = sleep(drain) => {
            tracing::warn!(layer = "gateway", "calls still in flight after {drain:?} are cut");
        }
    }
    connections.shutdown().await;
}
