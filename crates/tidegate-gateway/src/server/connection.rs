use std::io;
use std::net::Shutdown;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt, TryFutureExt};
use http::{Request, Version};
use http_body::Body as _;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulConnection;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::consume_budget;
use tokio::time::{Instant, sleep, timeout};
use tower::Service;

use super::tls::{self, ServerTls};
use crate::connections::CallerConnection;
use crate::half_close::{AwaitsResponse, HalfClose};
use crate::http_version::{self, HttpVersion};
use crate::paths;
use crate::service::GatewayService;
use crate::shared_stream::SharedStream;
use crate::slow_reader::WriteTimeout;
use crate::woken_body::WokenBody;

/// The time from the first byte of a connection to the version of HTTP, for the preface of HTTP/2, and between two of its pings.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);

/// A caller that has vanished without closing its connection is noticed after a minute, and a network in
/// between does not forget a connection on which an answer takes long: some do after 230 s.
const KEEP_ALIVE: TcpKeepalive = TcpKeepalive::new()
    .with_time(Duration::from_secs(30))
    .with_interval(Duration::from_secs(10))
    .with_retries(3);

/// The time for a handshake of TLS.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// The time for which a caller may leave a response unread. Then the connection is closed.
const WRITE_TIMEOUT: Duration = Duration::from_secs(60);

/// The time for which a caller may still send after the last response.
const DISCARD_TIME: Duration = Duration::from_secs(2);

/// The most bytes that are discarded after the last response.
const MAX_DISCARDED: usize = 64 * 1024 * 1024;

/// The bytes that are discarded at once.
const DISCARDED_PIECE: usize = 16 * 1024;

/// While the gateway stops, a connection without a complete request is closed after this time without any
/// progress.
const STOPPING_IDLE_TIME: Duration = Duration::from_millis(500);

/// The same for an HTTP/2 connection that may have buffered the rest of a response, which its caller reads.
const STOPPING_READ_TIME: Duration = Duration::from_secs(5);

/// The calls that one HTTP/2 connection may have in flight.
const MAX_STREAMS: u32 = 128;

/// The largest head of a request, in bytes.
const HEAD_LIMIT: usize = 64 * 1024;

/// The bytes of a connection, decrypted.
type ByteStream = Box<dyn ReadWrite>;

trait ReadWrite: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> ReadWrite for T {}

/// A connection that hyper serves, boxed once: each version of HTTP has a type of its own.
type Serving =
    Pin<Box<dyn GracefulConnection<Error = hyper::Error, Output = Result<(), hyper::Error>> + Send>>;

/// What happens while a connection is served.
enum Interruption {
    /// The caller has left or does not read, or the connection was evicted.
    Ended,
    /// The gateway stops, or an HTTP/2 connection is idle: no further request is read.
    Closing,
}

/// Each of them is polled only when it is woken, and not with each part of a response. They are boxed once per
/// connection.
type Interruptions<'a> = FuturesUnordered<BoxFuture<'a, Interruption>>;

/// Serves one connection, by the version of HTTP in which the caller begins, until it ends or is evicted.
/// `stopping` changes when the gateway stops, and is kept until the last response.
pub(super) async fn serve(
    stream: TcpStream,
    tls: Option<ServerTls>,
    service: GatewayService,
    connection: CallerConnection,
    idle_timeout: Duration,
    stopping: watch::Receiver<()>,
) {
    set_options(&stream);
    let socket = Arc::new(stream);
    let transfers = connection.transfers().clone();
    let stream = WriteTimeout::new(SharedStream(Arc::clone(&socket)), WRITE_TIMEOUT, transfers);
    let begun = tokio::select! {
        begun = begin(stream, tls, idle_timeout) => begun,
        // Nothing was received, so nothing is lost.
        () = stopped(stopping.clone()) => return,
        () = connection.evicted() => return,
    };
    let (stream, version) = match begun {
        Ok(begun) => begun,
        // The caller has left, sends nothing, or uses another protocol.
        Err(error) => return tracing::debug!(layer = "gateway", %error, "connection ended without a request"),
    };
    let caller = AwaitsResponse::default();
    let mut serving = serve_http(
        stream,
        Arc::clone(&socket),
        version,
        service,
        caller.clone(),
        connection.clone(),
        idle_timeout,
    );
    let (ended, closing) = (|()| Interruption::Ended, |()| Interruption::Closing);
    let mut interruptions = Interruptions::new();
    interruptions.push(stopped(stopping.clone()).map(closing).boxed());
    interruptions.push(idle_while_stopping(stopping.clone(), version, &connection).map(ended).boxed());
    interruptions.push(connection.evicted().map(ended).boxed());
    interruptions.push(match version {
        HttpVersion::Http1 => caller.left(&socket, &connection).map(ended).boxed(),
        // Over HTTP/1 a write is blocked then.
        HttpVersion::Http2 => connection.unread(WRITE_TIMEOUT).map(ended).boxed(),
    });
    if version == HttpVersion::Http2 {
        // Over HTTP/1 hyper has this timeout.
        interruptions.push(connection.idle(idle_timeout).map(closing).boxed());
        interruptions.push(left_open(&connection, idle_timeout).map(ended).boxed());
        interruptions.push(caller.preface_is_late(HEAD_TIMEOUT).map(ended).boxed());
    }
    let result = loop {
        tokio::select! {
            biased;
            result = &mut serving => break result,
            Some(interruption) = interruptions.next() => match interruption {
                Interruption::Closing => serving.as_mut().graceful_shutdown(),
                Interruption::Ended => return,
            },
        }
    };
    if let Err(error) = &result {
        tracing::debug!(layer = "gateway", %error, "connection broke");
    }
    if is_reset_when_dropped(&socket) {
        if result.is_err() {
            return;
        }
        reset_when_dropped(&socket, false);
    }
    drop(stopping);
    tokio::select! {
        () = close(&socket) => {}
        () = async { while let Some(Interruption::Closing) = interruptions.next().await {} } => {}
    }
}

/// Sets the options of the socket, as far as the system has them.
fn set_options(stream: &TcpStream) {
    // Frames of a stream are small and must not be delayed by Nagle's algorithm.
    let _ = stream.set_nodelay(true);
    let _ = SockRef::from(stream).set_tcp_keepalive(&KEEP_ALIVE);
}

/// Closes the sending side, which hyper leaves open after an error, and discards what the caller still sends,
/// such as the rest of a body that was not read. If the socket was closed with it, the connection would be
/// reset, and the response perhaps lost (RFC 9112, 9.6).
async fn close(socket: &TcpStream) {
    // Fails if the caller has left.
    let _ = SockRef::from(socket).shutdown(Shutdown::Write);
    let discarded = async {
        let (mut piece, mut discarded) = (vec![0; DISCARDED_PIECE], 0);
        while discarded < MAX_DISCARDED && socket.readable().await.is_ok() {
            match socket.try_read(&mut piece) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Ok(0) | Err(_) => return,
                Ok(length) => discarded += length,
            }
            // A caller that sends faster than this reads does not keep a thread.
            consume_budget().await;
        }
    };
    let _ = timeout(DISCARD_TIME, discarded).await;
}

/// Sets whether the connection is reset when the socket is dropped, for whatever reason: the caller reads an
/// error then, and not the end.
fn reset_when_dropped(socket: &TcpStream, resets: bool) {
    // Fails if the caller has left.
    let _ = SockRef::from(socket).set_linger(resets.then_some(Duration::ZERO));
}

fn is_reset_when_dropped(socket: &TcpStream) -> bool {
    SockRef::from(socket).linger().is_ok_and(|linger| linger.is_some())
}

/// Waits for the handshake of TLS, if any, and for the version of HTTP.
async fn begin(
    stream: WriteTimeout<SharedStream>,
    tls: Option<ServerTls>,
    idle_timeout: Duration,
) -> io::Result<(ByteStream, HttpVersion)> {
    // Load balancers open connections before they need them. A socket may be reported as readable before
    // anything has arrived.
    timeout(idle_timeout, stream.get_ref().0.peek(&mut [0])).await??;
    match tls {
        Some(tls) => {
            let stream = timeout(HANDSHAKE_TIMEOUT, tls.accept(stream)).await??;
            let version = tls::agreed_version(&stream);
            Ok((Box::new(stream), version))
        }
        None => {
            let version = timeout(HEAD_TIMEOUT, http_version::detect(&stream.get_ref().0)).await??;
            Ok((Box::new(stream), version))
        }
    }
}

fn serve_http(
    stream: ByteStream,
    socket: Arc<TcpStream>,
    version: HttpVersion,
    service: GatewayService,
    caller: AwaitsResponse,
    connection: CallerConnection,
    idle_timeout: Duration,
) -> Serving {
    let marking = caller.clone();
    let service = service_fn(move |request: Request<Incoming>| {
        connection.begin_request();
        let mut request = marking.mark(paths::normalize(request.map(Body::new)));
        request.extensions_mut().insert(connection.clone());
        let socket = (request.version() == Version::HTTP_10).then(|| Arc::clone(&socket));
        service.clone().call(request).map_ok(move |response| {
            // Over HTTP/1.0 a body without a length ends with the connection: a cut one would look complete.
            if let Some(socket) = socket.filter(|_| response.body().size_hint().exact().is_none()) {
                reset_when_dropped(&socket, true);
            }
            response.map(WokenBody::new)
        })
    });
    let stream = TokioIo::new(HalfClose::new(stream, caller));
    match version {
        HttpVersion::Http1 => Box::pin(
            http1::Builder::new()
                .timer(TokioTimer::new())
                // The time begins when the connection becomes idle.
                .header_read_timeout(idle_timeout)
                .max_header_size(HEAD_LIMIT)
                .serve_connection(stream, service),
        ),
        HttpVersion::Http2 => Box::pin(
            http2::Builder::new(TokioExecutor::new())
                .timer(TokioTimer::new())
                .max_header_list_size(HEAD_LIMIT as u32)
                .max_concurrent_streams(MAX_STREAMS)
                .keep_alive_interval(HEAD_TIMEOUT)
                .serve_connection(stream, service),
        ),
    }
}

/// Ready once the gateway stops and the connection has no complete request, and neither receives a part of
/// one nor sends the rest of a response.
async fn idle_while_stopping(
    stopping: watch::Receiver<()>,
    version: HttpVersion,
    connection: &CallerConnection,
) {
    stopped(stopping).await;
    let (mut before, mut progressed) = (None, Instant::now());
    loop {
        let transfers = connection.transfers().transfers();
        if transfers.is_none() || transfers != before {
            (before, progressed) = (transfers, Instant::now());
        }
        // What exceeds the window of a caller is held back without a blocked write. Such a connection ends by
        // itself, if the caller reads.
        let has_had_request = connection.has_had_request() && !connection.has_unread();
        let may_hold = version == HttpVersion::Http2 && has_had_request;
        let idle_time = if may_hold { STOPPING_READ_TIME } else { STOPPING_IDLE_TIME };
        if progressed.elapsed() >= idle_time && connection.is_idle(idle_time) {
            return;
        }
        // Pings are progress, too.
        if may_hold && connection.is_idle(WRITE_TIMEOUT) {
            return;
        }
        sleep(STOPPING_IDLE_TIME).await;
    }
}

/// Ready once an HTTP/2 connection has been idle for `idle_timeout`, and its caller has not read what was left
/// of its responses for [`WRITE_TIMEOUT`] after that.
async fn left_open(connection: &CallerConnection, idle_timeout: Duration) {
    connection.idle(idle_timeout).await;
    sleep(WRITE_TIMEOUT).await;
    // A request that was sent before the caller received the end is still served.
    connection.idle(WRITE_TIMEOUT).await;
}

/// Ready once the gateway stops.
async fn stopped(mut stopping: watch::Receiver<()>) {
    // An error if the gateway was dropped.
    let _ = stopping.changed().await;
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    async fn connected() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let caller = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (caller, listener.accept().await.unwrap().0)
    }

    /// Regression: all that a caller sent was discarded.
    #[tokio::test(start_paused = true)]
    async fn a_bounded_number_of_bytes_is_discarded() {
        let (mut caller, socket) = connected().await;
        let (mut sent, piece) = (0, vec![b' '; DISCARDED_PIECE]);
        let sending = async {
            while sent < 2 * MAX_DISCARDED
                && let Ok(length) = caller.write(&piece).await
            {
                sent += length;
            }
        };
        let closing = async {
            close(&socket).await;
            drop(socket);
        };
        let begun = Instant::now();
        tokio::join!(sending, closing);
        assert!(sent >= MAX_DISCARDED && begun.elapsed() < DISCARD_TIME, "{sent} {:?}", begun.elapsed());
    }

    #[tokio::test]
    async fn a_vanished_caller_is_noticed() {
        let (_caller, socket) = connected().await;
        set_options(&socket);
        assert!(SockRef::from(&socket).keepalive().unwrap());
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_reads_the_end_at_once_and_may_keep_its_side_open() {
        let (mut caller, socket) = connected().await;
        let begun = Instant::now();
        let reading = async {
            let read = timeout(DISCARD_TIME / 10, caller.read(&mut [0; 1])).await.expect("an end");
            assert_eq!(read.unwrap(), 0);
        };
        tokio::join!(reading, close(&socket));
        assert!(begun.elapsed() >= DISCARD_TIME);
    }
}
