use std::fmt;

use crate::BoxError;

/// The provider did not process the request: its connection was lost, or refused the request, before the
/// request was started.
///
/// The attempt carries no information about the health of the provider, and the request may be sent again,
/// whatever its method. A client returns this error if it did not send the request again itself, or if that
/// failed in the same way.
#[derive(Debug, thiserror::Error)]
#[error("request was not processed: {reason}")]
pub struct NotProcessed {
    reason: NotProcessedReason,
    #[source]
    source: BoxError,
}

/// How it is known that a request was not processed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotProcessedReason {
    /// A connection that had served requests before was closed before the first byte of the response.
    ConnectionClosed,
    /// The HTTP/2 stream was reset with `REFUSED_STREAM`.
    StreamRefused,
    /// The HTTP/2 connection was closed with a `GOAWAY` that excludes the stream.
    GoAway,
    /// The server does not answer for this host over the connection: status 421.
    Misdirected,
}

impl NotProcessed {
    /// Wraps the error of the client.
    #[must_use]
    pub fn new(reason: NotProcessedReason, source: impl Into<BoxError>) -> Self {
        Self { reason, source: source.into() }
    }

    /// How it is known.
    #[must_use]
    pub const fn reason(&self) -> NotProcessedReason {
        self.reason
    }
}

impl fmt::Display for NotProcessedReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ConnectionClosed => "reused connection closed",
            Self::StreamRefused => "stream refused",
            Self::Misdirected => "misdirected",
            Self::GoAway => "connection going away",
        })
    }
}
