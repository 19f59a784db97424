//! The body of a request, up to the limit.

use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http::header::EXPECT;
use http::{HeaderMap, StatusCode};
use http_body::Body as _;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use tidegate::ErrorCode;
use tokio::time::timeout;

use super::Refusal;

/// A caller has this long to send its request body.
const PATIENCE: Duration = Duration::from_secs(120);

/// What is too long is read on for this long, and forgotten: many callers listen only when they have said it all,
/// and would see nothing but a broken connection.
const COURTESY: Duration = Duration::from_secs(2);

pub(super) async fn read(headers: &HeaderMap, mut body: Body, limit: usize) -> Result<Bytes, Refusal> {
    let is_long = body.size_hint().lower() > limit as u64;
    // Who asked before sending is told before sending.
    if is_long && headers.contains_key(EXPECT) {
        return Err(too_long(limit));
    }
    if !is_long {
        let read = timeout(PATIENCE, Limited::new(&mut body, limit).collect()).await;
        match read.map_err(|_| too_slow())? {
            Ok(body) => return Ok(body.to_bytes()),
            Err(error) if error.is::<LengthLimitError>() => {}
            Err(_) => return Err(Refusal::new(ErrorCode::InvalidRequest, "body broke off")),
        }
    }
    let rest = async { while let Some(Ok(_)) = body.frame().await {} };
    let _ = timeout(COURTESY, rest).await;
    Err(too_long(limit))
}

fn too_long(limit: usize) -> Refusal {
    Refusal::new(ErrorCode::RequestTooLarge, format_args!("body is larger than {limit} bytes"))
}

fn too_slow() -> Refusal {
    Refusal::new(ErrorCode::Timeout, "body did not arrive in time").status(StatusCode::REQUEST_TIMEOUT)
}
