use std::fmt;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, JoinSet};

use super::dialect::TestDialect;
use super::respond::respond;
use super::{Provider, RequestLog, Script};
use crate::Fault;

/// A provider that listens on a TCP port. It stops when this value is dropped.
pub struct Server {
    addr: SocketAddr,
    dialect: &'static dyn TestDialect,
    log: RequestLog,
    script: Script,
    /// Set until the server is stopped.
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

impl Server {
    pub(super) async fn bind(provider: Provider, addr: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(addr).await?;
        let addr = listener.local_addr()?;
        let (dialect, log, script) = (provider.dialect, provider.log.clone(), provider.script.clone());
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(listen(listener, Arc::new(provider), stopped));
        Ok(Self { addr, dialect, log, script, stop: Some(stop), task })
    }

    /// The address of the server.
    #[must_use]
    pub const fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The base URL for a client of the dialect: `http://127.0.0.1:PORT/v1` for OpenAI's.
    #[must_use]
    pub fn base_url(&self) -> String {
        format!("http://{}{}", self.addr, self.dialect.base())
    }

    /// The URL of a chat request or of a stream for `model`.
    #[must_use]
    pub fn chat_url(&self, model: &str, is_stream: bool) -> String {
        format!("http://{}{}", self.addr, self.dialect.chat_path(model, is_stream))
    }

    /// The record of requests and responses.
    #[must_use]
    pub const fn log(&self) -> &RequestLog {
        &self.log
    }

    /// The script of replies, which can be changed while the provider runs.
    #[must_use]
    pub const fn script(&self) -> &Script {
        &self.script
    }

    /// Closes the port and all connections, and waits until they are closed.
    pub async fn stop(mut self) {
        self.stop = None;
        let _ = (&mut self.task).await;
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("addr", &self.addr)
            .field("script", &self.script)
            .field("log", &self.log)
            .finish_non_exhaustive()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Further connections wait in the backlog of the socket.
const MAX_CONNECTIONS: usize = 1024;

async fn listen(listener: TcpListener, provider: Arc<Provider>, mut stopped: oneshot::Receiver<()>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            _ = &mut stopped => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept(), if connections.len() < MAX_CONNECTIONS => {
                // An error here concerns the connection, or the process is out of file descriptors for a
                // while. The listener itself does not fail.
                match accepted {
                    Ok((stream, _)) => drop(connections.spawn(serve(stream, Arc::clone(&provider)))),
                    Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
                }
            }
        }
    }
    drop(listener);
    connections.shutdown().await;
}

async fn serve(stream: TcpStream, provider: Arc<Provider>) {
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request| {
        let provider = Arc::clone(&provider);
        // Boxed, because hyper returns the socket only from a connection that is `Unpin`.
        Box::pin(async move { respond(&provider, request).await })
    });
    let mut connection =
        http1::Builder::new().timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), service);
    let served = poll_fn(|cx| connection.poll_without_shutdown(cx)).await;
    let mut stream = connection.into_parts().io.into_inner();
    match served {
        Ok(()) => drop(stream.shutdown().await),
        // Closing with a linger of zero sends a reset.
        Err(error) if Fault::find(&error) == Some(&Fault::reset()) => drop(stream.set_zero_linger()),
        Err(_) => {}
    }
}
