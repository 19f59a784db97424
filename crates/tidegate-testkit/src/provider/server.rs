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

use super::dialect::Dialect;
use super::respond::respond;
use super::{Log, Provider, Script};
use crate::Fault;

/// A provider that listens. It stops when this is dropped.
pub struct Server {
    addr: SocketAddr,
    dialect: &'static dyn Dialect,
    log: Log,
    script: Script,
    /// Set until it is told to stop.
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

    /// Where it listens.
    #[must_use]
    pub const fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// What a client of the dialect calls the base URL: `http://127.0.0.1:PORT/v1`, for OpenAI's.
    #[must_use]
    pub fn base_url(&self) -> String {
        format!("http://{}{}", self.addr, self.dialect.base())
    }

    /// Where `model` is asked for an answer, or for a stream.
    #[must_use]
    pub fn chat_url(&self, model: &str, is_stream: bool) -> String {
        format!("http://{}{}", self.addr, self.dialect.chat_path(model, is_stream))
    }

    /// What the provider has seen and done.
    #[must_use]
    pub const fn log(&self) -> &Log {
        &self.log
    }

    /// What it will reply.
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

/// More connections than this wait in the backlog of the socket.
const MAX_CONNECTIONS: usize = 1024;

async fn listen(listener: TcpListener, provider: Arc<Provider>, mut stopped: oneshot::Receiver<()>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            _ = &mut stopped => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept(), if connections.len() < MAX_CONNECTIONS => {
                // What fails here is the connection, or we are out of files for a while; never the listener.
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
        // Boxed, because hyper gives the socket back only from a connection that can be moved.
        Box::pin(async move { respond(&provider, request).await })
    });
    let mut connection =
        http1::Builder::new().timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), service);
    let served = poll_fn(|cx| connection.poll_without_shutdown(cx)).await;
    let mut stream = connection.into_parts().io.into_inner();
    match served {
        Ok(()) => drop(stream.shutdown().await),
        // Closing without a linger is what makes it a reset and not an end.
        Err(error) if Fault::find(&error) == Some(&Fault::reset()) => drop(stream.set_zero_linger()),
        Err(_) => {}
    }
}
