//! Reading of the request body, up to the limit.

use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http::header::EXPECT;
use http::{HeaderMap, StatusCode};
use http_body::Body as _;
use http_body_util::BodyExt;
use tidegate::{ErrorCode, Payload};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::GatewayError;
use super::content_coding::ContentCoding;

/// The time for a caller to send its request body.
const BODY_TIMEOUT: Duration = Duration::from_secs(120);

/// The time for which a body that is too large is still read and discarded. Many clients read the response
/// only after they have sent the whole body, and would otherwise see a closed connection.
const DISCARD_TIMEOUT: Duration = Duration::from_secs(2);

/// Reads a body and unpacks it.
pub(super) async fn read(headers: &HeaderMap, body: Body, limit: usize) -> Result<Bytes, GatewayError> {
    let codings = ContentCoding::all(headers).map_err(|error| *error)?;
    let mut bytes = read_packed(headers, body, limit).await?;
    // The last coding was applied to all others.
    for coding in codings.into_iter().rev() {
        // Unpacking may take a while, and is not done on a thread of the runtime.
        let unpacked = spawn_blocking(move || coding.unpack(&bytes, limit)).await;
        bytes =
            unpacked.map_err(|_| GatewayError::new(ErrorCode::ServerError, "body was not unpacked"))??;
    }
    Ok(bytes)
}

async fn read_packed(headers: &HeaderMap, body: Body, limit: usize) -> Result<Bytes, GatewayError> {
    let is_long = body.size_hint().lower() > limit as u64;
    // A caller that sent `Expect` has not sent the body yet, so nothing has to be discarded.
    if is_long && headers.contains_key(EXPECT) {
        return Err(too_long(limit));
    }
    let cap = if is_long { 0 } else { limit };
    let read = timeout(BODY_TIMEOUT, Payload::collect(body, cap)).await.map_err(|_| too_slow())?;
    let mut body = read.map_err(|_| GatewayError::new(ErrorCode::InvalidRequest, "body broke off"))?;
    if let Some(bytes) = body.bytes() {
        return Ok(bytes.clone());
    }
    let rest = async { while let Some(Ok(_)) = body.frame().await {} };
    let _ = timeout(DISCARD_TIMEOUT, rest).await;
    Err(too_long(limit))
}

fn too_long(limit: usize) -> GatewayError {
    GatewayError::new(ErrorCode::RequestTooLarge, format_args!("body is larger than {limit} bytes"))
}

fn too_slow() -> GatewayError {
    GatewayError::new(ErrorCode::Timeout, "body did not arrive in time").status(StatusCode::REQUEST_TIMEOUT)
}
