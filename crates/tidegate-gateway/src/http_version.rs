//! The version of HTTP of a connection, which shows in its first bytes if it has no TLS.

use std::io;
use std::time::Duration;

use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::time::sleep;

/// The version of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HttpVersion {
    Http1,
    /// With prior knowledge (RFC 9113, section 3.3), or agreed upon in the handshake of TLS.
    Http2,
}

/// The beginning of every HTTP/2 connection, and of no request of HTTP/1.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n";

/// The wait for the rest of a preface that arrives in parts. It doubles each time: bytes that are not
/// consumed keep the socket readable, so that it does not show when more have arrived.
const PART_INTERVAL: Duration = Duration::from_millis(5);

/// The longest wait for a further part.
const MAX_PART_INTERVAL: Duration = Duration::from_secs(1);

/// Ready once the first bytes have arrived. They are not consumed.
///
/// # Errors
///
/// The caller has left, or the connection is broken.
pub(crate) async fn detect(stream: &TcpStream) -> io::Result<HttpVersion> {
    let mut first = [0; PREFACE.len()];
    let mut wait = PART_INTERVAL;
    loop {
        let received = stream.peek(&mut first).await?;
        match of_prefix(&first[..received]) {
            Some(version) => return Ok(version),
            None if received == 0 || stream.ready(Interest::READABLE).await?.is_read_closed() => {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            None => sleep(wait).await,
        }
        wait = (wait * 2).min(MAX_PART_INTERVAL);
    }
}

/// The version of a connection that begins with these bytes; `None` if they may be the beginning of a
/// preface.
fn of_prefix(bytes: &[u8]) -> Option<HttpVersion> {
    if bytes.len() >= PREFACE.len() && bytes.starts_with(PREFACE) {
        return Some(HttpVersion::Http2);
    }
    (!PREFACE.starts_with(bytes)).then_some(HttpVersion::Http1)
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;
    use tokio::time::timeout;

    use super::*;

    /// Regression: the bytes that are not consumed hid that the caller had left, until a timeout.
    #[tokio::test]
    async fn a_caller_that_leaves_in_its_preface_is_noticed() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut caller = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (accepted, _) = listener.accept().await.unwrap();
        caller.write_all(&PREFACE[..1]).await.unwrap();
        drop(caller);
        let left = timeout(Duration::from_secs(5), detect(&accepted)).await.expect("an end");
        assert_eq!(left.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }

    #[tokio::test]
    async fn a_preface_in_parts_is_recognised() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut caller = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (accepted, _) = listener.accept().await.unwrap();
        let parts = async {
            for part in PREFACE.chunks(4) {
                caller.write_all(part).await.unwrap();
                tokio::task::yield_now().await;
            }
        };
        let (version, ()) = tokio::join!(timeout(Duration::from_secs(5), detect(&accepted)), parts);
        assert_eq!(version.expect("a version").unwrap(), HttpVersion::Http2);
    }

    #[test]
    fn a_preface_is_recognised_when_it_is_complete() {
        for end in 0..PREFACE.len() {
            assert_eq!(of_prefix(&PREFACE[..end]), None);
        }
        assert_eq!(of_prefix(PREFACE), Some(HttpVersion::Http2));
        for request in ["POST / HTTP/1.1\r\n", "PRI * HTTP/1.1\r\n", "PU", "\u{16}", "\r\n"] {
            assert_eq!(of_prefix(request.as_bytes()), Some(HttpVersion::Http1), "{request}");
        }
    }
}
