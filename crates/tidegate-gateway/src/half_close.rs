use std::future::pending;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::{HeaderMap, HeaderValue, Request, Version, header};
use http_body::Body;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::sleep;

use crate::connections::CallerConnection;

/// A connection on which a caller may close its sending side while it waits for the response.
///
/// The end of the data of a caller has two meanings. A caller that has announced its last request
/// (`Connection: close`, or HTTP/1.0 without `keep-alive`) has nothing more to send and still reads. Any
/// other caller has left, and its call is cancelled. A caller of the first kind that leaves is noticed at the
/// next write.
#[derive(Debug)]
pub(crate) struct HalfClose<T> {
    inner: T,
    caller: AwaitsResponse,
    /// Whether the end was reported as pending once, see [`poll_read`](Self::poll_read).
    has_yielded: bool,
}

/// The time between two checks of a connection whose bytes are not read.
const CHECK_INTERVAL: Duration = Duration::from_millis(500);

/// The unread bytes behind a request from which the connection is closed after its response. More than these,
/// the end of the connection among them, may not be received before they are read.
const MAX_PIPELINED: usize = 16 * 1024;

/// The length of the preface of HTTP/2.
const PREFACE: usize = 24;

/// The most bytes that are discarded in one [`CHECK_INTERVAL`].
const MAX_DISCARDED: usize = 4 * 1024 * 1024;

/// Whether a caller has sent its last request and waits for the response. It is an extension of such a
/// request.
#[derive(Clone, Debug, Default)]
pub(crate) struct AwaitsResponse(Arc<CallerState>);

#[derive(Debug, Default)]
struct CallerState {
    awaits_response: AtomicBool,
    /// The bytes that were read from the connection.
    received: AtomicUsize,
    /// Whether bytes were discarded, so that nothing more can be read.
    has_discarded: AtomicBool,
}

impl AwaitsResponse {
    /// Records that the request was received completely.
    pub(crate) fn set(&self) {
        self.0.awaits_response.store(true, Ordering::Relaxed);
    }

    fn is_set(&self) -> bool {
        self.0.awaits_response.load(Ordering::Relaxed)
    }

    /// Ready once the caller of `stream` has left, although bytes of it are unread.
    ///
    /// hyper reads nothing while it has bytes of the next request, and does not notice the end of the
    /// connection then. What a caller sends behind a request that is answered is discarded if it is long.
    pub(crate) async fn left(&self, stream: &TcpStream, connection: &CallerConnection) {
        while !is_closed(stream).await {
            let received = self.received();
            sleep(CHECK_INTERVAL).await;
            if received == self.received() && connection.has_call() && has_pipelined(stream) {
                self.discard(stream);
            }
        }
        // What the caller has sent before is still read.
        let mut received = None;
        loop {
            let now = Some(self.received());
            if self.is_set() {
                return pending().await;
            }
            if received == now {
                return;
            }
            received = now;
            sleep(CHECK_INTERVAL).await;
        }
    }

    /// Ready after `time`, unless the preface of HTTP/2 has arrived. From then on hyper sends pings.
    pub(crate) async fn preface_is_late(&self, time: Duration) {
        sleep(time).await;
        if self.received() >= PREFACE {
            pending().await
        }
    }

    fn received(&self) -> usize {
        self.0.received.load(Ordering::Relaxed)
    }

    /// Discards what was received. The connection ends with the requests before it.
    fn discard(&self, stream: &TcpStream) {
        self.0.has_discarded.store(true, Ordering::Relaxed);
        let mut discarded = 0;
        while discarded < MAX_DISCARDED
            && let Ok(read @ 1..) = stream.try_read(&mut [0; MAX_PIPELINED])
        {
            discarded += read;
        }
    }

    /// Adds this to `request` if it is the last one on its connection. Without a body it is received already.
    pub(crate) fn mark<B: Body>(&self, mut request: Request<B>) -> Request<B> {
        let has = |option| has_option(request.headers(), option);
        let is_last = has("close") || request.version() == Version::HTTP_10 && !has("keep-alive");
        self.0.awaits_response.store(is_last && request.body().is_end_stream(), Ordering::Relaxed);
        if is_last {
            request.extensions_mut().insert(self.clone());
        }
        request
    }
}

/// Waits for the next bytes or the end of a connection, and returns whether it is the end.
async fn is_closed(stream: &TcpStream) -> bool {
    stream.ready(Interest::READABLE).await.is_ok_and(|ready| ready.is_read_closed())
}

/// Whether more than a short request is unread.
fn has_pipelined(stream: &TcpStream) -> bool {
    let mut unread = [MaybeUninit::uninit(); MAX_PIPELINED];
    SockRef::from(stream).peek(&mut unread).is_ok_and(|length| length == MAX_PIPELINED)
}

/// Whether an option is in the `connection` header.
fn has_option(headers: &HeaderMap, option: &str) -> bool {
    let values =
        headers.get_all(header::CONNECTION).iter().filter_map(|value: &HeaderValue| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|it| it.trim().eq_ignore_ascii_case(option))
}

impl<T> HalfClose<T> {
    pub(crate) fn new(inner: T, caller: AwaitsResponse) -> Self {
        Self { inner, caller, has_yielded: false }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for HalfClose<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let has_discarded = self.caller.0.has_discarded.load(Ordering::Relaxed);
        let read = if has_discarded { Ok(()) } else { ready!(Pin::new(&mut self.inner).poll_read(cx, buf)) };
        let received = buf.filled().len() - before;
        let is_end = match read {
            Ok(()) => received == 0 && buf.remaining() > 0,
            // The end of a TLS connection without its alert. A request that is cut off by it is found by its
            // length.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => true,
            Err(error) => return Poll::Ready(Err(error)),
        };
        if !is_end {
            self.caller.0.received.fetch_add(received, Ordering::Relaxed);
            return Poll::Ready(Ok(()));
        }
        if self.caller.is_set() {
            // The response wakes the connection.
            return Poll::Pending;
        }
        // hyper reads ahead before it polls the service, which may be about to receive the end of the body.
        if !std::mem::replace(&mut self.has_yielded, true) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for HalfClose<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, data)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_request_of_a_connection_is_marked() {
        for (version, connection, expected) in [
            (Version::HTTP_11, None, false),
            (Version::HTTP_11, Some("keep-alive"), false),
            (Version::HTTP_11, Some("close"), true),
            (Version::HTTP_11, Some("x, Close"), true),
            (Version::HTTP_10, None, true),
            (Version::HTTP_10, Some("Keep-Alive"), false),
            (Version::HTTP_10, Some("x, keep-alive"), false),
            (Version::HTTP_10, Some("keep-alive, close"), true),
        ] {
            let mut request = Request::builder().version(version);
            if let Some(connection) = connection {
                request = request.header("connection", connection);
            }
            let request = AwaitsResponse::default().mark(request.body(String::new()).unwrap());
            let is_marked = request.extensions().get::<AwaitsResponse>().is_some();
            assert_eq!(is_marked, expected, "{version:?} {connection:?}");
        }
    }
}
