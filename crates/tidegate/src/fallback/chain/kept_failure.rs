use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::{Bytes, BytesMut};
use http::Response;
use http_body::Body;

use super::TargetResult;
use crate::fallback::body::BodySource;
use crate::{BoxError, Outcome};

/// The failed response of a target, kept for the caller without its body stream: it holds neither a
/// connection nor a permit.
pub(super) struct KeptFailure {
    pub(super) result: Result<Response<Bytes>, BoxError>,
    /// The target that failed.
    pub(super) target: Option<Arc<str>>,
}

/// The longest body that is kept: 64 KiB, which is as much as the wire reads to classify a failure.
const MAX_BODY: usize = 64 * 1024;

/// The most frames that are read, since frames may be empty.
const MAX_FRAMES: usize = 1024;

impl KeptFailure {
    /// Keeps the result. A response with a body that is not complete yet is kept as its failure.
    pub(super) fn new<B>(result: TargetResult<B>, target: Option<Arc<str>>) -> Self
    where
        B: Body<Data = Bytes, Error: Into<BoxError>>,
    {
        let result = result.and_then(|response| {
            let outcome = Outcome::of(&response);
            let (head, body) = response.into_parts();
            match (buffered_body(body), outcome) {
                (None, Outcome::Failure(failure)) => Err(failure.into()),
                (bytes, _) => Ok(Response::from_parts(head, bytes.unwrap_or_default())),
            }
        });
        Self { result, target }
    }
}

/// The whole body, if it is available without waiting: the wire has already read that of a failure.
fn buffered_body<B>(body: BodySource<B>) -> Option<Bytes>
where
    B: Body<Data = Bytes, Error: Into<BoxError>>,
{
    let mut body = pin!(body);
    let mut bytes = BytesMut::new();
    // No task is woken: frames that are not available yet are not read.
    let mut context = Context::from_waker(Waker::noop());
    for _ in 0..MAX_FRAMES {
        match body.as_mut().poll_frame(&mut context) {
            Poll::Ready(Some(Ok(frame))) => {
                bytes.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data));
            }
            Poll::Ready(None) => return Some(bytes.freeze()),
            Poll::Ready(Some(Err(_))) | Poll::Pending => return None,
        }
        if bytes.len() > MAX_BODY {
            return None;
        }
    }
    None
}
