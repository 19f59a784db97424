//! Handling of one call: from the caller's request to the response.
//!
//! ```text
//! caller ─▶ read the body, up to the limit ─▶ find model and chain ─▶ Fallback ─▶ target ─▶ its stack ─▶ provider
//!                                                                                   │
//!                           dialect, address, model and credentials are replaced ───┘
//! ```
//!
//! The body of a request is buffered, since it may have to be sent again. The body of a response is forwarded
//! frame by frame.

mod error_event_body;
mod gateway_error;
mod headers;
mod model_field;
mod request_body;
mod route_chain;
mod route_table;
mod target;

use std::time::Instant;

use axum::body::Body;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use http::{Extensions, HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode};
use tidegate::fallback::{FallbackInfo, FallbackKind};
use tidegate::key::Model;
use tidegate::provider::FailureKind;
use tidegate::{ErrorCode, Outcome, Trail};

use self::error_event_body::ErrorEventBody;
use self::gateway_error::CODE;
pub(crate) use self::gateway_error::GatewayError;
use self::model_field::ModelField;
pub(crate) use self::route_chain::RouteChain;
pub(crate) use self::route_table::RouteTable;
pub(crate) use self::target::{AddressedTarget, TargetStack, target};
use crate::endpoint::Endpoint;

const TARGET: HeaderName = HeaderName::from_static("x-tidegate-target");
const ATTEMPTS: HeaderName = HeaderName::from_static("x-tidegate-attempts");
const FALLBACK: HeaderName = HeaderName::from_static("x-tidegate-fallback");

/// The longest part of a model name, in characters, that an error message repeats.
const MAX_NAME: usize = 80;

/// The most model names that an error message lists.
const MAX_NAMES: usize = 20;

/// Forwards calls along the routes of the configuration.
#[derive(Debug)]
pub(crate) struct Proxy {
    pub(crate) routes: RouteTable,
    pub(crate) body_limit: usize,
}

impl Proxy {
    pub(crate) async fn handle(&self, endpoint: Endpoint, request: Request<Body>) -> Response<Body> {
        let started = Instant::now();
        let trail = Trail::new();
        let mut response = match self.call(endpoint, request, &trail).await {
            Ok(response) => response,
            Err(error) => error.into_response(),
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
    ) -> Result<Response<Body>, GatewayError> {
        let models = self.routes.models(endpoint).ok_or_else(|| {
            GatewayError::new(ErrorCode::NotFound, format_args!("no model is served at {endpoint}"))
        })?;
        let (head, body) = request.into_parts();
        let body = request_body::read(&head.headers, body, self.body_limit).await?;
        let ModelField { model, span } =
            ModelField::read(&body).map_err(|error| GatewayError::new(ErrorCode::InvalidRequest, error))?;
        let chain = models.pick(&model).ok_or_else(|| unknown_model(endpoint, &model, &models.names()))?;
        let mut extensions = Extensions::new();
        extensions.insert(span);
        extensions.insert(trail.clone());
        extensions.insert(Model(model.into()));
        if let Some(tenant) = headers::tenant(&head.headers) {
            extensions.insert(tenant);
        }
        let headers = headers::forwarded(head.headers);
        Ok(match chain.send(headers, body.into(), extensions).await {
            Ok(response) => forward(response, endpoint),
            Err(error) => {
                let mut response = gateway_error::of_error(&error);
                if trail.target().is_some_and(|target| target != *chain.first()) {
                    set_fallback_header(&mut response, FallbackKind::AlternativeModel);
                }
                response
            }
        })
    }
}

/// Forwards the provider's response unchanged, except for headers of the connection.
fn forward(response: route_chain::ChainResponse, endpoint: Endpoint) -> Response<Body> {
    let outcome = Outcome::of(&response);
    let fallback_kind = response.extensions().get().map(FallbackInfo::strategy);
    let (mut head, body) = response.into_parts();
    let mut response = match outcome.failure() {
        // An error event instead of a stream. The response has not begun, so its status can still report the
        // error.
        Some(failure) if failure.kind == FailureKind::InBand => {
            gateway_error::of_error(&failure.clone().into())
        }
        // A redirect is not forwarded, since it would send the prompt to another host. The base URL is
        // probably wrong.
        _ if head.status.is_redirection() => {
            let message = "provider redirects, which its base_url should not";
            GatewayError::new(ErrorCode::ServerError, message).status(StatusCode::BAD_GATEWAY).into_response()
        }
        _ => {
            let body = match is_readable_stream(&head.headers) && head.status.is_success() {
                true => {
                    // Without a length, an error event can be appended if the stream breaks off.
                    head.headers.remove(CONTENT_LENGTH);
                    Body::new(ErrorEventBody::new(body, endpoint))
                }
                false => Body::new(body),
            };
            // The head is new, because version and extensions belong to the connection to the provider.
            let mut response = Response::new(body);
            *response.status_mut() = head.status;
            *response.headers_mut() = headers::returned(head.headers);
            response
        }
    };
    if let Some(failure) = outcome.failure() {
        response.headers_mut().insert(CODE, HeaderValue::from_static(failure.code.code()));
    }
    if let Some(fallback_kind) = fallback_kind {
        set_fallback_header(&mut response, fallback_kind);
    }
    response
}

/// Whether the body is an event stream without compression. Nothing can be appended to a compressed one.
fn is_readable_stream(headers: &HeaderMap) -> bool {
    let is = |name: HeaderName, wanted: &str| {
        let value = headers.get(name)?.to_str().ok()?.split(';').next()?.trim();
        Some(value.eq_ignore_ascii_case(wanted))
    };
    is(CONTENT_TYPE, "text/event-stream") == Some(true) && is(CONTENT_ENCODING, "identity") != Some(false)
}

fn set_fallback_header(response: &mut Response<Body>, fallback_kind: FallbackKind) {
    response.headers_mut().insert(FALLBACK, HeaderValue::from_static(fallback_kind.name()));
}

fn unknown_model(endpoint: Endpoint, model: &str, served: &[&str]) -> GatewayError {
    let model: String = model.chars().take(MAX_NAME).collect();
    let more = if served.len() > MAX_NAMES { ", ..." } else { "" };
    let served = served.iter().take(MAX_NAMES).map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    let message = format!("model `{model}` is not served at {endpoint}, which serves {served}{more}");
    GatewayError::new(ErrorCode::NotFound, message)
}
