use std::io;
use std::time::Duration;

use tidegate::Outcome;
use tidegate::provider::FailureKind;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::connection::serve;
use super::tls::ServerTls;
use crate::connections::IdleConnections;
use crate::log_limit::LogLimit;
use crate::service::GatewayService;

/// Accepts connections, and closes idle ones when there are too many.
pub(super) struct Listener {
    socket: TcpListener,
    tls: Option<ServerTls>,
    service: GatewayService,
    max_connections: usize,
    idle_timeout: Duration,
    connections: JoinSet<()>,
    idle: IdleConnections,
    /// Evicted connections that have not ended yet. Another one that ends is taken for one of them.
    leaving: usize,
    /// Changes when the gateway stops. A connection that is served has a receiver.
    stopping: watch::Sender<()>,
    failures: LogLimit,
}

/// The wait after a failed accept, and between two attempts to make room when every connection has a call.
const PAUSE: Duration = Duration::from_millis(10);

/// The idle time after which a connection is closed for lack of descriptors. The error does not show whether
/// another connection waits, so that one which is about to send its request is spared.
const IDLE_TIME: Duration = Duration::from_secs(1);

/// The idle time after which a connection is closed when there are too many: another one does wait. A caller
/// sends its request sooner than this, and connections without requests are closed at this pace.
const FRESH_TIME: Duration = Duration::from_millis(250);

impl Listener {
    pub(super) fn new(
        socket: TcpListener,
        tls: Option<ServerTls>,
        service: GatewayService,
        max_connections: usize,
        idle_timeout: Duration,
    ) -> Self {
        Self {
            socket,
            tls,
            service,
            max_connections,
            idle_timeout,
            connections: JoinSet::new(),
            idle: IdleConnections::default(),
            leaving: 0,
            stopping: watch::channel(()).0,
            failures: LogLimit::default(),
        }
    }

    /// Accepts connections until the future is dropped.
    pub(super) async fn accept(&mut self) {
        loop {
            tokio::select! {
                biased;
                Some(_) = self.connections.join_next() => self.leaving = self.leaving.saturating_sub(1),
                // There is one connection too many. If all have calls, further ones wait in the backlog of
                // the socket.
                () = sleep(PAUSE), if self.connections.len() > self.max_connections => {
                    self.make_room(self.max_connections);
                }
                accepted = self.socket.accept(), if self.connections.len() <= self.max_connections => match accepted {
                    Ok((stream, _)) => {
                        // Before the new connection is idle as well.
                        self.make_room(self.max_connections - 1);
                        let connection = self.idle.insert();
                        let (tls, service) = (self.tls.clone(), self.service.clone());
                        let stopping = self.stopping.subscribe();
                        let serving =
                            serve(stream, tls, service, connection, self.idle_timeout, stopping);
                        self.connections.spawn(serving);
                    }
                    // The connection failed, or descriptors have run out. The socket is not affected.
                    Err(error) => {
                        if let Some(failures) = self.failures.count() {
                            tracing::warn!(layer = "gateway", %error, failures, "cannot accept a connection");
                        }
                        if is_exhausted(&error) {
                            self.idle.evict(IDLE_TIME);
                        }
                        sleep(PAUSE).await;
                    }
                },
            }
        }
    }

    /// Evicts an idle connection, if more than `most` are left without those that leave already.
    fn make_room(&mut self, most: usize) {
        if self.connections.len().saturating_sub(self.leaving) > most && self.idle.evict(FRESH_TIME) {
            self.leaving += 1;
        }
    }

    /// Closes the socket and the connections on which nothing was received. The other connections serve their
    /// last responses; the sender that is returned is [closed](watch::Sender::closed) after these, and not after
    /// what callers may still send.
    pub(super) fn close(self) -> (JoinSet<()>, watch::Sender<()>) {
        self.stopping.send_replace(());
        (self.connections, self.stopping)
    }
}

/// Whether the process has run out of descriptors, and the peer has not failed.
fn is_exhausted(error: &io::Error) -> bool {
    Outcome::of_error(error).failure().is_some_and(|failure| failure.kind == FailureKind::NotProcessed)
}
