//! The version of HTTP of a connection, which shows in its first bytes if it has no TLS.

use std::io;
use std::time::Duration;

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

/// The wait for the rest of a preface that arrives in parts.
const PART_INTERVAL: Duration = Duration::from_millis(5);

/// Ready once the first bytes have arrived. They are not consumed.
///
/// # Errors
///
/// The caller has left, or the connection is broken.
pub(crate) async fn detect(stream: &TcpStream) -> io::Result<HttpVersion> {
    let mut first = [0; PREFACE.len()];
    loop {
        let received = stream.peek(&mut first).await?;
        match of_prefix(&first[..received]) {
            Some(version) => return Ok(version),
            None if received == 0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            None => sleep(PART_INTERVAL).await,
        }
    }
}

/// The version of a connection that begins with these bytes; `None` if they may be the beginning of a preface.
fn of_prefix(bytes: &[u8]) -> Option<HttpVersion> {
    if bytes.len() >= PREFACE.len() && bytes.starts_with(PREFACE) {
        return Some(HttpVersion::Http2);
    }
    (!PREFACE.starts_with(bytes)).then_some(HttpVersion::Http1)
}

#[cfg(test)]
mod tests {
    use super::*;

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
