use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::{Bytes, BytesMut};
use http::Response;
use http_body::Body;

use super::Answer;
use crate::fallback::body::Source;
use crate::{BoxError, Outcome};

/// What a target said that failed, kept for the caller without what held it: neither a connection nor a permit.
pub(super) struct Said {
    pub(super) answer: Result<Response<Bytes>, BoxError>,
    /// Who said it.
    pub(super) target: Option<Arc<str>>,
}

/// No more of a failed answer is kept: 64 KiB, as much as the wire reads to understand it.
const MAX_BODY: usize = 64 * 1024;

/// Nor in more pieces, which may be empty.
const MAX_FRAMES: usize = 1024;

impl Said {
    /// Of an answer whose body is not at hand the failure is kept.
    pub(super) fn of<B>(answer: Answer<B>, target: Option<Arc<str>>) -> Self
    where
        B: Body<Data = Bytes, Error: Into<BoxError>>,
    {
        let answer = answer.and_then(|response| {
            let outcome = Outcome::of(&response);
            let (head, body) = response.into_parts();
            match (at_hand(body), outcome) {
                (None, Outcome::Failure(failure)) => Err(failure.into()),
                (bytes, _) => Ok(Response::from_parts(head, bytes.unwrap_or_default())),
            }
        });
        Self { answer, target }
    }
}

/// The whole body, if nobody has to be waited for: the wire has read that of a failure already.
fn at_hand<B>(body: Source<B>) -> Option<Bytes>
where
    B: Body<Data = Bytes, Error: Into<BoxError>>,
{
    let mut body = pin!(body);
    let mut bytes = BytesMut::new();
    // Nobody is to be woken: what is not here yet is left.
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
