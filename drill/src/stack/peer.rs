//! What the stacks of other crates have in common: a client of plain requests, and decisions by the status alone.

use bytes::Bytes;
use http::uri::{Authority, Scheme};
use http::{Request, Response, Uri};
use http_body_util::BodyExt;
use tidegate::{BoxError, Payload};
use tower::ServiceExt;

use super::{AnswerBody, StackService, TargetPlan};
use crate::wire::{RecordedBody, RecordedClient};

/// The client.
pub(super) fn client(wire: RecordedClient) -> StackService {
    StackService::new(
        wire.map_request(|request: Request<Bytes>| request.map(Payload::from))
            .map_response(|response: Response<RecordedBody>| response.map(BodyExt::boxed_unsync)),
    )
}

/// Whether a response is worth another attempt.
pub(super) fn is_transient(response: &Response<AnswerBody>) -> bool {
    matches!(response.status().as_u16(), 408 | 429 | 500..)
}

/// Whether a response is a failure of the provider: what a circuit counts. A 429 is none.
pub(super) fn is_failure(result: &Result<Response<AnswerBody>, BoxError>) -> bool {
    result.as_ref().map_or(true, |response| response.status().is_server_error())
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
