//! What the stacks of other crates have in common: a client of plain requests, and decisions by the status
//! and by bodies that are no streams.

use std::error::Error;
use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::uri::{Authority, Scheme};
use http::{Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Full};
use memchr::memmem;
use serde::de::IgnoredAny;
use tidegate::{BoxError, Payload};
use tokio::time::timeout;
use tower::{ServiceExt, service_fn};

use super::{AnswerBody, StackService, TargetPlan};
use crate::wire::{RecordedBody, RecordedClient};

/// The client.
pub(super) fn client(wire: RecordedClient) -> StackService {
    StackService::new(
        wire.map_request(|request: Request<Bytes>| request.map(Payload::from))
            .map_response(|response: Response<RecordedBody>| response.map(BodyExt::boxed_unsync)),
    )
}

/// Reads what is no stream to its end as a part of the attempt, so that a broken answer, and a success that
/// is neither JSON nor a stream, are errors. `limit` bounds the time after the head.
pub(super) fn whole_answers(attempt: StackService, limit: Duration) -> StackService {
    StackService::new(service_fn(move |request: Request<Bytes>| {
        let attempt = attempt.clone();
        async move {
            let (mut head, body) = attempt.oneshot(request).await?.into_parts();
            let content_type = head.headers.get(CONTENT_TYPE);
            if content_type.is_some_and(|value| value.as_bytes().starts_with(b"text/event-stream")) {
                return Ok(Response::from_parts(head, body));
            }
            let body = timeout(limit, body.collect()).await??.to_bytes();
            if head.status.is_success() {
                serde_json::from_slice::<IgnoredAny>(&body)?;
            }
            if head.status == StatusCode::TOO_MANY_REQUESTS
                && memmem::find(&body, b"insufficient_quota").is_some()
            {
                head.extensions.insert(QuotaExhausted);
            }
            let body = Full::new(body).map_err(BoxError::from).boxed_unsync();
            Ok::<_, BoxError>(Response::from_parts(head, body))
        }
    }))
}

/// Marks a 429 that no wait ends.
#[derive(Clone, Copy, Debug)]
struct QuotaExhausted;

/// The circuit of a stack is open.
#[derive(Clone, Copy, Debug)]
pub(super) struct CircuitOpen;

/// The wait for a limit of a stack would be too long.
#[derive(Clone, Copy, Debug)]
pub(super) struct LimitReached;

impl fmt::Display for CircuitOpen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("circuit open")
    }
}

impl fmt::Display for LimitReached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("rate limit reached")
    }
}

impl Error for CircuitOpen {}
impl Error for LimitReached {}

/// Whether a response is worth another attempt. An exhausted quota is not, as in async-openai.
pub(super) fn is_transient(response: &Response<AnswerBody>) -> bool {
    let is_exhausted = response.extensions().get::<QuotaExhausted>().is_some();
    matches!(response.status().as_u16(), 408 | 429 | 500..) && !is_exhausted
}

/// Whether a response is a failure of the provider: what a circuit counts. A 429 is none, and a limit of the
/// stack is none.
pub(super) fn is_failure(result: &Result<Response<AnswerBody>, BoxError>) -> bool {
    result
        .as_ref()
        .map_or_else(|error| !error.is::<LimitReached>(), |response| response.status().is_server_error())
}

/// The service, for requests that it addresses to this target.
pub(super) fn addressed(service: StackService, target: &TargetPlan) -> StackService {
    let authority = target.authority.clone();
    StackService::new(service.map_request(move |request| readdress(request, &authority)))
}

fn readdress(mut request: Request<Bytes>, authority: &str) -> Request<Bytes> {
    let mut parts = std::mem::take(request.uri_mut()).into_parts();
    parts.scheme = Some(Scheme::HTTP);
    parts.authority = authority.parse::<Authority>().ok();
    *request.uri_mut() = Uri::from_parts(parts).unwrap_or_default();
    request
}

#[cfg(test)]
mod tests {
    use tidegate_testkit::{Provider, Reply};

    use super::*;

    /// What becomes of this reply.
    async fn whole(reply: Reply, is_stream: bool) -> Result<Response<AnswerBody>, BoxError> {
        let provider = Provider::openai().otherwise_with(move |_| reply.clone()).service();
        let attempt = provider
            .map_request(|request: Request<Bytes>| request.map(Full::new))
            .map_response(|response| response.map(|body| body.map_err(BoxError::from).boxed_unsync()));
        let body = format!(r#"{{"model":"m","stream":{is_stream},"messages":[]}}"#);
        let request = Request::post("http://one.test/v1/chat/completions").body(Bytes::from(body))?;
        whole_answers(StackService::new(attempt), Duration::from_secs(10)).oneshot(request).await
    }

    #[tokio::test(start_paused = true)]
    async fn a_broken_answer_is_an_error_unless_it_is_a_stream() {
        let answer = Reply::ok().tokens(20);
        assert_eq!(whole(answer.clone(), false).await.unwrap().status(), 200);
        for broken in [answer.clone().cut_after(3), answer.clone().stall_after(3), Reply::raw("")] {
            let result = tokio::time::timeout(Duration::from_secs(60), whole(broken, false)).await;
            assert!(is_failure(&result.expect("a bound")));
        }
        assert!(is_failure(&whole(Reply::raw(""), true).await));
        assert!(!is_failure(&whole(answer.cut_after(3), true).await));
    }

    #[tokio::test(start_paused = true)]
    async fn an_exhausted_quota_is_not_transient() {
        let is_transient_at =
            |code| async move { is_transient(&whole(Reply::error(429, code), true).await.unwrap()) };
        assert!(is_transient_at("rate_limit_exceeded").await);
        assert!(!is_transient_at("insufficient_quota").await);
    }
}
