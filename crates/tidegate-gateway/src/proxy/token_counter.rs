use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request, Response, StatusCode, response};
use http_body_util::{BodyExt, Limited};
use serde::Deserialize;
use serde::de::IgnoredAny;
use tidegate::chain::{ProviderSettings, TargetAddress};
use tidegate::provider::{Failure, FailureKind};
use tidegate::{ErrorCode, Outcome, Payload, Trail};
use tokio::time::timeout;
use tower::ServiceExt;

use super::{CODE, headers};
use crate::client::ProviderClient;
use crate::config::TargetName;

/// Marks a count that the gateway has estimated.
const ESTIMATED: HeaderName = HeaderName::from_static("x-tidegate-estimated");

/// The time for a provider to count. After it the tokens are estimated, which takes no time.
const COUNT_TIMEOUT: Duration = Duration::from_secs(10);

/// The largest response of a provider to a count, in bytes.
const RESPONSE_LIMIT: usize = 64 * 1024;

/// The token count of a provider with Anthropic's API.
///
/// A count generates nothing and has a limit of its own at the provider. It therefore bypasses the gates of
/// the target, and its failures are not recorded in the circuit.
#[derive(Clone, Debug)]
pub(crate) struct TokenCounter {
    target: Arc<str>,
    address: TargetAddress,
    client: ProviderClient,
}

#[derive(Deserialize)]
struct TokenCount {
    #[serde(rename = "input_tokens")]
    _input_tokens: u64,
}

/// Any JSON object.
type JsonObject = BTreeMap<String, IgnoredAny>;

impl TokenCounter {
    /// The token count of `provider` for the model of `target`.
    pub(crate) fn new(target: &TargetName, provider: &ProviderSettings, client: ProviderClient) -> Self {
        let address = TargetAddress::new(&target.name, provider).below("/count_tokens");
        Self { target: Arc::clone(&target.name), address, client }
    }

    /// The count of the provider, or its reason for rejecting the request. `None` if the provider does not
    /// count, or not now.
    pub(super) async fn count(&self, mut request: Request<Payload>, trail: &Trail) -> Option<Response<Body>> {
        trail.enter(&self.target);
        self.address.address(&mut request).ok()?;
        let Ok(Ok((head, body))) = timeout(COUNT_TIMEOUT, self.send(request)).await else {
            let failure = Failure { kind: FailureKind::Transport, ..Failure::new(ErrorCode::ServerError) };
            trail.attempt(&failure.into());
            return None;
        };
        let outcome = Outcome::of_head(head.status, &head.headers, SystemTime::now());
        trail.attempt(&outcome);
        is_conclusive(head.status, &body).then(|| {
            let mut response = Response::new(Body::from(body));
            *response.status_mut() = head.status;
            *response.headers_mut() = headers::returned(head.headers);
            if let Some(failure) = outcome.failure() {
                response.headers_mut().insert(CODE, HeaderValue::from_static(failure.code.code()));
            }
            response
        })
    }

    async fn send(&self, request: Request<Payload>) -> Result<(response::Parts, Bytes), tidegate::BoxError> {
        let (head, body) = self.client.clone().oneshot(request).await?.into_parts();
        Ok((head, Limited::new(body, RESPONSE_LIMIT).collect().await?.to_bytes()))
    }
}

/// Whether the caller has to know this response. Other responses mean that the provider does not count.
fn is_conclusive(status: StatusCode, body: &[u8]) -> bool {
    match status {
        StatusCode::OK => serde_json::from_slice::<TokenCount>(body).is_ok(),
        StatusCode::BAD_REQUEST
        | StatusCode::UNAUTHORIZED
        | StatusCode::FORBIDDEN
        // Anything else is the page of a proxy, or of a challenge.
        | StatusCode::PAYLOAD_TOO_LARGE => serde_json::from_slice::<JsonObject>(body).is_ok(),
        _ => false,
    }
}

/// The response with an estimate of the tokens, marked as such.
pub(super) fn estimated(tokens: u64) -> Response<Body> {
    let mut response = Response::new(Body::from(serde_json::json!({"input_tokens": tokens}).to_string()));
    let headers = response.headers_mut();
    headers.insert(http::header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(ESTIMATED, HeaderValue::from_static("true"));
    response
}
