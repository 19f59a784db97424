//! The socket: who may connect, for how long, and how it ends.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::sleep;

use crate::pages::Board;
use crate::patient::Patient;

/// More connections than this wait in the backlog of the socket.
const MAX_CONNECTIONS: usize = 4096;

/// A head may take this long, and so may a connection without one.
const HEAD_PATIENCE: Duration = Duration::from_secs(30);

/// A caller may leave an answer unread for this long; then it holds a place that others wait for.
const WRITE_PATIENCE: Duration = Duration::from_secs(60);

/// The largest head of a request. hyper takes at most a hundred headers.
const HEAD_LIMIT: usize = 64 * 1024;

/// A gateway that listens. It stops at once when this is dropped.
#[derive(Debug)]
pub struct Running {
    addr: SocketAddr,
    stop: oneshot::Sender<()>,
    task: Task,
}

/// Ends with its handle, and the connections with it.
#[derive(Debug)]
struct Task(JoinHandle<()>);

impl Running {
    /// Where it listens.
    #[must_use]
    pub const fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Takes no more calls, and waits for those in flight; those that take longer than the drain time are cut.
    pub async fn stop(self) {
        let Self { stop, mut task, .. } = self;
        drop(stop);
        let _ = (&mut task.0).await;
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

pub(crate) async fn bind(
    addr: SocketAddr,
    drain: Duration,
    router: Router,
    board: Arc<Board>,
) -> io::Result<Running> {
    let listener = TcpListener::bind(addr).await?;
    let addr = listener.local_addr()?;
    let (stop, stopped) = oneshot::channel();
    let task = Task(tokio::spawn(async move {
        let (connections, graceful) = listen(listener, router, stopped).await;
        board.is_draining.store(true, Ordering::Relaxed);
        end(connections, graceful, drain).await;
    }));
    Ok(Running { addr, stop, task })
}

/// Accepts until told to stop. The listener is closed then.
async fn listen(
    listener: TcpListener,
    router: Router,
    mut stopped: oneshot::Receiver<()>,
) -> (JoinSet<()>, GracefulShutdown) {
    let (mut connections, graceful) = (JoinSet::new(), GracefulShutdown::new());
    loop {
        tokio::select! {
            biased;
            _ = &mut stopped => return (connections, graceful),
            Some(_) = connections.join_next() => {}
            accepted = listener.accept(), if connections.len() < MAX_CONNECTIONS => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(serve(stream, router.clone(), &graceful));
                }
                // What failed is the connection, or we are out of files for a while; never the listener.
                Err(error) => {
                    tracing::warn!(layer = "gateway", %error, "cannot accept a connection");
                    sleep(Duration::from_millis(10)).await;
                }
            },
        }
    }
}

fn serve(
    stream: TcpStream,
    router: Router,
    graceful: &GracefulShutdown,
) -> impl Future<Output = ()> + Send + 'static {
    // Frames of a stream are small and must not wait for each other.
    let _ = stream.set_nodelay(true);
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_PATIENCE)
        .max_header_size(HEAD_LIMIT)
        .serve_connection(
            TokioIo::new(Patient::new(stream, WRITE_PATIENCE)),
            TowerToHyperService::new(router),
        );
    let connection = graceful.watch(connection);
    async move {
        if let Err(error) = connection.await {
            tracing::debug!(layer = "gateway", %error, "connection broke");
        }
    }
}

async fn end(mut connections: JoinSet<()>, graceful: GracefulShutdown, drain: Duration) {
    tokio::select! {
        () = graceful.shutdown() => {}
        () = sleep(drain) => {
            tracing::warn!(layer = "gateway", "calls still in flight after {drain:?} are cut");
        }
    }
    connections.shutdown().await;
}
