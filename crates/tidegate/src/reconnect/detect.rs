//! Detects in the error of a client that the request was not processed.

use std::error::Error;
use std::io::{self, ErrorKind};

use hyper_util::client::legacy;
use tidegate_core::{NotProcessedReason, UploadError, chain};

use super::connections::UsedConnections;

/// The reason why the request was not processed, if the error shows one; see the [module page](super).
pub(super) fn not_processed(
    error: &(dyn Error + 'static),
    used: &UsedConnections,
) -> Option<NotProcessedReason> {
    let mut is_reused = false;
    for error in chain(error) {
        // The caller failed, and the connection closed because of it.
        if error.is::<UploadError>() {
            return None;
        }
        if let Some(error) = error.downcast_ref::<h2::Error>() {
            return refused_by_protocol(error);
        }
        if let Some(error) = error.downcast_ref::<legacy::Error>() {
            is_reused = error.connect_info().is_some_and(|connection| used.take(connection));
        } else if is_reused && is_closed(error) {
            return Some(NotProcessedReason::ConnectionClosed);
        }
    }
    None
}

/// `h2` reports a `GOAWAY` only to the streams that it excludes.
fn refused_by_protocol(error: &h2::Error) -> Option<NotProcessedReason> {
    if !error.is_remote() {
        None
    } else if error.is_go_away() {
        Some(NotProcessedReason::GoAway)
    } else if error.is_reset() && error.reason() == Some(h2::Reason::REFUSED_STREAM) {
        Some(NotProcessedReason::StreamRefused)
    } else {
        None
    }
}

/// Whether the connection of HTTP/1 was closed or reset, by the error of hyper or by that of the socket.
fn is_closed(error: &(dyn Error + 'static)) -> bool {
    if let Some(error) = error.downcast_ref::<hyper::Error>() {
        return error.is_incomplete_message() || error.is_canceled() || error.is_closed();
    }
    error.downcast_ref::<io::Error>().is_some_and(|error| {
        use ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
        matches!(error.kind(), BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof)
    })
}
