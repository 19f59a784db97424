use std::sync::Arc;
use std::task::{Context, Waker};

use bytes::Bytes;
use http::Response;
use http_body::Body;

use super::TargetResult;
use crate::buffered_body::{BufferedBody, ERROR_BODY_LIMIT};
use crate::fallback::body_source::BodySource;
use crate::{Error, ErrorCode, FailureKind, Outcome};

/// The failed response of a target, kept for the caller without its body stream: it holds neither a
/// connection nor a permit.
pub(super) struct KeptFailure {
    pub(super) result: Result<Response<Bytes>, Error>,
    /// The target that failed.
    pub(super) target: Option<Arc<str>>,
    pub(super) rank: FailureRank,
}

/// How useful a failure is to the caller. If all targets fail, one of the highest rank is returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum FailureRank {
    /// Anything else, our own rejections included.
    Other,
    /// A limit, with the time to wait.
    Wait,
    /// The request has to be changed: it is too long, or the content policy refuses it.
    Request,
}

impl FailureRank {
    pub(super) fn of(outcome: &Outcome) -> Self {
        let Some(failure) = outcome.failure() else { return Self::Other };
        match (failure.kind, failure.code) {
            (FailureKind::ContextLength | FailureKind::ContentFilter, _)
            | (_, ErrorCode::RequestTooLarge) => Self::Request,
            (_, ErrorCode::RateLimited) if failure.wait().is_some() => Self::Wait,
            _ => Self::Other,
        }
    }
}

impl KeptFailure {
    /// Keeps the result. A response with a body that is not complete yet is kept as its failure.
    pub(super) fn new<B>(result: TargetResult<B>, target: Option<Arc<str>>, rank: FailureRank) -> Self
    where
        B: Body<Data = Bytes>,
    {
        let result = result.and_then(|response| {
            let outcome = Outcome::of(&response);
            let (head, body) = response.into_parts();
            match (available_body(body), outcome) {
                (None, Outcome::Failure(failure)) => Err(failure.into()),
                (bytes, _) => Ok(Response::from_parts(head, bytes.unwrap_or_default())),
            }
        });
        Self { result, target, rank }
    }
}

/// The whole body, if it is available without waiting: the wire has already read that of a failure.
fn available_body<B>(body: BodySource<B>) -> Option<Bytes>
where
    B: Body<Data = Bytes>,
{
    let mut body = BufferedBody::up_to(body, ERROR_BODY_LIMIT);
    // No task is woken: frames that are not available yet are not read.
    let _ = body.poll_read(&mut Context::from_waker(Waker::noop()));
    body.is_whole().then(|| body.bytes().into_owned().into())
}
