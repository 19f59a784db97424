//! From a caller's request to somebody's answer.
//!
//! ```text
//! caller ─▶ read the body, up to the limit ─▶ which model? ─▶ which chain? ─▶ Fallback ─▶ target ─▶ its stack ─▶ provider
//!                                                                                        │
//!                             dialect, address, model and credentials are exchanged ───┘
//! ```
//!
//! The body of a request is read whole, since it may have to be sent again; that of an answer passes frame by frame.

mod asked;
mod chain;
mod ending;
mod headers;
mod reading;
mod refusal;
mod table;
mod target;

use std::time::Instant;

use axum::body::Body;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use http::{Extensions, HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode};
use tidegate::fallback::{FallbackInfo, FallbackKind};
use tidegate::{ErrorCode, FailureKind, Model, Outcome, Trail};

use self::asked::Asked;
pub(crate) use self::chain::Chain;
use self::ending::Ending;
use self::refusal::CODE;
pub(crate) use self::refusal::Refusal;
pub(crate) use self::table::Table;
pub(crate) use self::target::{Stack, Target, target};
use crate::endpoint::Endpoint;

const TARGET: HeaderName = HeaderName::from_static("x-tidegate-target");
const ATTEMPTS: HeaderName = HeaderName::from_static("x-tidegate-attempts");
const FALLBACK: HeaderName = HeaderName::from_static("x-tidegate-fallback");

/// No more of a model's name, or names of models, is repeated in an error.
const MAX_NAME: usize = 80;
const MAX_NAMES: usize = 20;

/// Answers calls by the routes of the file.
#[derive(Debug)]
pub(crate) struct Proxy {
    pub(crate) table: Table,
    pub(crate) body_limit: usize,
}

impl Proxy {
    pub(crate) async fn answer(&self, endpoint: Endpoint, request: Request<Body>) -> Response<Body> {
        let started = Instant::now();
        let trail = Trail::new();
        let mut response = match self.call(endpoint, request, &trail).await {
            Ok(response) => response,
            Err(refusal) => refusal.into_response(),
        };
        let headers = response.headers_mut();
        headers.insert(ATTEMPTS, HeaderValue::from(trail.attempts()));
        let target = trail.target();
        if let Some(name) = target.as_deref().and_then(|name| HeaderValue::from_str(name).ok()) {
            headers.insert(TARGET, name);
        }
        tracing::info!(
            layer = "gateway",
            path = endpoint.path(),
            target = target.as_deref(),
            attempts = trail.attempts(),
            code = response.headers().get(CODE).and_then(|code| code.to_str().ok()),
            status = response.status().as_u16(),
            head_ms = started.elapsed().as_millis() as u64,
            "answered",
        );
        response
    }

    async fn call(
        &self,
        endpoint: Endpoint,
        request: Request<Body>,
        trail: &Trail,
    ) -> Result<Response<Body>, Refusal> {
        let models = self.table.models(endpoint).ok_or_else(|| {
            Refusal::new(ErrorCode::NotFound, format_args!("no model is served at {endpoint}"))
        })?;
        let (head, body) = request.into_parts();
        let body = reading::read(&head.headers, body, self.body_limit).await?;
        let Asked { model, place } =
            Asked::read(&body).map_err(|mistake| Refusal::new(ErrorCode::InvalidRequest, mistake))?;
        let chain = models.pick(&model).ok_or_else(|| unknown(endpoint, &model, &models.names()))?;
        let mut extensions = Extensions::new();
        extensions.insert(place);
        extensions.insert(trail.clone());
        extensions.insert(Model(model.into()));
        if let Some(tenant) = headers::tenant(&head.headers) {
            extensions.insert(tenant);
        }
        let headers = headers::forwarded(head.headers);
        Ok(match chain.ask(headers, body.into(), extensions).await {
            Ok(answer) => pass(answer, endpoint),
            Err(error) => {
                let mut response = refusal::of_error(&error);
                if trail.target().is_some_and(|target| target != *chain.first()) {
                    mark(&mut response, FallbackKind::AlternativeModel);
                }
                response
            }
        })
    }
}

/// The provider's answer as it came, except for what belongs to the connection.
fn pass(answer: chain::Answer, endpoint: Endpoint) -> Response<Body> {
    let outcome = Outcome::of(&answer);
    let strategy = answer.extensions().get().map(FallbackInfo::strategy);
    let (mut head, body) = answer.into_parts();
    let mut response = match outcome.failure() {
        // An error event where a stream should have been: it has not begun, so its status can still tell.
        Some(failure) if failure.cause == FailureKind::InBand => refusal::of_error(&failure.clone().into()),
        // Nobody is sent elsewhere with a prompt: a base URL is at fault, or worse.
        _ if head.status.is_redirection() => {
            let message = "provider redirects, which its base_url should not";
            Refusal::new(ErrorCode::ServerError, message).status(StatusCode::BAD_GATEWAY).into_response()
        }
        _ => {
            let body = match is_readable_stream(&head.headers) && head.status.is_success() {
                true => {
                    // What is added at a broken end must not be cut off by a length told before.
                    head.headers.remove(CONTENT_LENGTH);
                    Body::new(Ending::new(body, endpoint))
                }
                false => Body::new(body),
            };
            // A new head: version and extensions are of the connection to the provider.
            let mut response = Response::new(body);
            *response.status_mut() = head.status;
            *response.headers_mut() = headers::returned(head.headers);
            response
        }
    };
    if let Some(failure) = outcome.failure() {
        response.headers_mut().insert(CODE, HeaderValue::from_static(failure.code.code()));
    }
    if let Some(strategy) = strategy {
        mark(&mut response, strategy);
    }
    response
}

/// Events, and not compressed ones: nothing can be added to those.
fn is_readable_stream(headers: &HeaderMap) -> bool {
    let is = |name: HeaderName, wanted: &str| {
        let value = headers.get(name)?.to_str().ok()?.split(';').next()?.trim();
        Some(value.eq_ignore_ascii_case(wanted))
    };
    is(CONTENT_TYPE, "text/event-stream") == Some(true) && is(CONTENT_ENCODING, "identity") != Some(false)
}

fn mark(response: &mut Response<Body>, strategy: FallbackKind) {
    response.headers_mut().insert(FALLBACK, HeaderValue::from_static(strategy.name()));
}

fn unknown(endpoint: Endpoint, model: &str, served: &[&str]) -> Refusal {
    let model: String = model.chars().take(MAX_NAME).collect();
    let more = if served.len() > MAX_NAMES { ", ..." } else { "" };
    let served = served.iter().take(MAX_NAMES).map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    let message = format!("model `{model}` is not served at {endpoint}, which serves {served}{more}");
    Refusal::new(ErrorCode::NotFound, message)
}
