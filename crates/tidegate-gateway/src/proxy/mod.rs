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

mod body_budget;
mod body_fields;
mod caller_limits;
mod caller_response;
mod content_coding;
mod details;
mod error_event_body;
mod gateway_error;
mod headers;
mod redacted_body;
mod redactor;
mod request_body;
mod responses_progress;
mod route_chain;
mod route_table;
mod target;
mod tenants;
mod token_counter;
mod unpack_permits;

use std::sync::Arc;

use axum::body::Body;
use bytes::Bytes;
use http::{Extensions, HeaderName, HeaderValue, Request, Response, Uri, request};
use http_body_util::BodyExt;
use tidegate::fallback::{FallbackKind, Uncached};
use tidegate::provider::{Estimate, UsageMeter};
use tidegate::providers::{ModelField, PromptEstimate};
use tidegate::{ErrorCode, Payload, Rejection};

pub(crate) use self::body_budget::BodyBudget;
use self::body_fields::FieldCheck;
pub(crate) use self::caller_limits::CallerLimits;
use self::caller_limits::{CallFailure, limit_error};
use self::caller_response::{forward, hidden_error, set_fallback_header, set_trail_headers};
pub(crate) use self::gateway_error::{CODE, GatewayError};
pub(crate) use self::headers::reaches_chain;
pub(crate) use self::redactor::Redactor;
pub(crate) use self::request_body::{BodyLimits, CallerBodies};
pub(crate) use self::route_chain::{CachedFor, ChainSettings, RouteChain};
pub(crate) use self::route_table::RouteTable;
pub(crate) use self::target::{AddressedTarget, BoxedBody, SharedStack, TargetStack};
pub(crate) use self::tenants::Tenants;
pub(crate) use self::token_counter::TokenCounter;
pub(crate) use self::unpack_permits::UnpackPermits;
use crate::access::{self, CallerRules};
use crate::call_trace::CallTracer;
use crate::calls::{BodyFailures, CallRecord, OngoingCall, RecentCalls, RecordedBody};
use crate::endpoint::{ApiDialect, COUNT_TOKENS, Endpoint};
use crate::half_close::AwaitsResponse;
use crate::open_calls::{CallInFlight, CallsInFlight};

/// The official clients do not repeat a call whose response has this header with the value `false`.
const SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");

/// The longest part of a model name, in characters, that an error message repeats.
pub(crate) const MAX_NAME: usize = 80;

/// The most model names that an error message lists.
const MAX_NAMES: usize = 20;

/// Forwards calls along the routes of the configuration.
#[derive(Debug)]
pub(crate) struct Proxy {
    pub(crate) routes: RouteTable,
    pub(crate) calls: CallsInFlight,
    pub(crate) recent_calls: RecentCalls,
    pub(crate) body_limits: BodyLimits,
    /// Whether a header keeps clients from repeating a call that the gateway has given up.
    pub(crate) stop_client_retries: bool,
    /// Whether a call may request a response in the background, outside of the limits of calls.
    pub(crate) allow_background: bool,
    pub(crate) redactor: Arc<Redactor>,
    /// Traces the calls, if they are exported.
    pub(crate) tracer: Option<Arc<dyn CallTracer>>,
    /// Derives the tenant of a request.
    pub(crate) tenants: Tenants,
    /// The limits of callers without any.
    pub(crate) unlimited: CallerLimits,
}

/// A request extension: the request has a path of Azure's API.
#[derive(Clone, Debug)]
pub(crate) struct OfAzure {
    /// The deployment in the path: the model of the request, whatever its body names.
    pub(crate) deployment: Option<String>,
}

/// A request whose body was read, and the chain for its model.
struct RoutedRequest<'a> {
    head: request::Parts,
    body: Bytes,
    model: ModelField,
    chain: &'a RouteChain,
}

impl Proxy {
    /// Forwards a call to the chain for its model.
    pub(crate) async fn handle(&self, endpoint: Endpoint, request: Request<Body>) -> Response<Body> {
        let recorded = self.record(endpoint.path(), &request);
        let call = self.calls.begin(request.extensions().get());
        let has_details = details::are_wanted(request.headers());
        let response = tokio::select! {
            biased;
            response = self.call(endpoint, request, recorded.record(), &call) => response,
            reason = call.ended() => Err(reason.into()),
        };
        self.finish(response, endpoint.dialect(), recorded, has_details).await
    }

    /// Counts the tokens of a request for messages, at a provider if one of its chain counts.
    pub(crate) async fn count_tokens(&self, request: Request<Body>) -> Response<Body> {
        let recorded = self.record(COUNT_TOKENS, &request);
        let call = self.calls.begin(request.extensions().get());
        let has_details = details::are_wanted(request.headers());
        let response = tokio::select! {
            biased;
            response = self.token_count(request, recorded.record(), &call) => response,
            reason = call.ended() => Err(reason.into()),
        };
        self.finish(response, ApiDialect::Anthropic, recorded, has_details).await
    }

    fn record(&self, path: &'static str, request: &Request<Body>) -> OngoingCall {
        let trace = self.tracer.as_ref().map(|tracer| tracer.begin(path, request.headers()));
        OngoingCall::begin(&self.recent_calls, path, request.extensions().get(), trace)
    }

    /// The response to the caller, with the headers about its attempts and without keys of providers. An
    /// error of the gateway itself repeats words of the caller and has no key.
    async fn finish(
        &self,
        response: Result<Response<Body>, GatewayError>,
        dialect: ApiDialect,
        call: OngoingCall,
        has_details: bool,
    ) -> Response<Body> {
        let mut response = match response {
            Ok(response) => self.redactor.redact_response(response, dialect).await,
            Err(error) => error.into_response(dialect),
        };
        if has_details {
            response = details::add(response, call.record().trail(), dialect).await;
        }
        set_trail_headers(response.headers_mut(), call.record().trail());
        RecordedBody::begin(response, call)
    }

    async fn token_count(
        &self,
        request: Request<Body>,
        record: &CallRecord,
        call: &CallInFlight,
    ) -> Result<Response<Body>, GatewayError> {
        let RoutedRequest { head, body, model, chain } =
            self.route(Endpoint::Messages, request, call).await?;
        record.set_route(&chain.settings.model, model.model());
        let estimate = PromptEstimate.estimate(&head.headers, &body).input;
        if let Some(counter) = &chain.settings.token_counter {
            let mut request = Request::new(Payload::from(body));
            *request.uri_mut() = endpoint_uri(Endpoint::Messages, &head.uri);
            let tenant = self.tenants.of(&head);
            *request.headers_mut() = headers::forwarded(head.headers, tenant.as_ref());
            request.extensions_mut().insert(model.span().clone());
            request.extensions_mut().insert(chain.model());
            if let Some(traced) = record.traced(&UsageMeter::new(0)) {
                request.extensions_mut().insert(traced);
            }
            let limits = head.extensions.get().map_or(&self.unlimited, CallerRules::limits);
            if let Some(response) = limits.count(counter, request, record.trail()).await {
                return Ok(response);
            }
        }
        Ok(token_counter::estimated(estimate))
    }

    /// Reads `request`, and selects the chain for its model, within the limit of refused calls of its caller.
    async fn route(
        &self,
        endpoint: Endpoint,
        request: Request<Body>,
        call: &CallInFlight,
    ) -> Result<RoutedRequest<'_>, GatewayError> {
        let (head, body) = request.into_parts();
        let limits = head.extensions.get().map_or(&self.unlimited, CallerRules::limits);
        limits.check_refusals().map_err(|error| *error)?;
        match self.read(endpoint, &head, body, call).await {
            Ok((body, model, chain)) => Ok(RoutedRequest { head, body, model, chain }),
            Err(error) => {
                if error.is_of_request() {
                    limits.record_refusal().await;
                }
                Err(error)
            }
        }
    }

    async fn read(
        &self,
        endpoint: Endpoint,
        head: &request::Parts,
        body: Body,
        call: &CallInFlight,
    ) -> Result<(Bytes, ModelField, &RouteChain), GatewayError> {
        let models = self.routes.models(endpoint).ok_or_else(|| {
            GatewayError::new(ErrorCode::NotFound, format_args!("no model is served at {endpoint}"))
        })?;
        if let Err(error) = access::check_content_type(&head.headers, &body) {
            access::discard(head.version, body).await;
            return Err(*error);
        }
        let received = || {
            head.extensions.get::<AwaitsResponse>().map(AwaitsResponse::set);
            call.received();
        };
        let rules = head.extensions.get::<CallerRules>();
        let of_caller = rules.map(|rules| self.body_limits.of_caller(rules.bodies()));
        let (limits, progressed) = (of_caller.as_ref().unwrap_or(&self.body_limits), || call.progressed());
        let (body, held) = request_body::read(&head.headers, body, limits, progressed, received).await?;
        let invalid = |error| GatewayError::new(ErrorCode::InvalidRequest, error);
        let body = match head.extensions.get() {
            Some(OfAzure { deployment: Some(name) }) => ModelField::set(&body, name).map_err(invalid)?,
            _ => body,
        };
        let body = held.into_body(body);
        let allow_models = !rules.is_some_and(CallerRules::has_routes);
        let check = FieldCheck { endpoint, allow_background: self.allow_background, allow_models };
        let mut checked = Ok(());
        let model = ModelField::read_with(&body, |key, value| {
            if checked.is_ok() {
                checked = check.check(key, value);
            }
        });
        let model = model.map_err(invalid)?;
        checked.map_err(|error| *error)?;
        let chain = models.pick(model.model());
        if let Some(rules) = rules {
            let route = chain.map(|chain| &*chain.settings.model);
            rules.check(endpoint, route, model.model()).map_err(|error| *error)?;
        }
        let chain = chain.ok_or_else(|| unknown_model(endpoint, model.model(), &models.names()))?;
        Ok((body, model, chain))
    }

    async fn call(
        &self,
        endpoint: Endpoint,
        request: Request<Body>,
        record: &Arc<CallRecord>,
        call: &CallInFlight,
    ) -> Result<Response<Body>, GatewayError> {
        let RoutedRequest { head, body, model, chain } = self.route(endpoint, request, call).await?;
        record.set_route(&chain.settings.model, model.model());
        let trail = record.trail();
        let mut extensions = Extensions::new();
        extensions.insert(model.span().clone());
        extensions.insert(trail.clone());
        extensions.insert(chain.model());
        let meter = UsageMeter::nested(0, &mut extensions);
        record.set_meter(meter.clone());
        if let Some(traced) = record.traced(&meter) {
            extensions.insert(traced);
        }
        let tenant = self.tenants.of(&head);
        let headers = headers::forwarded(head.headers, tenant.as_ref());
        if !chain.is_cached_for(tenant.as_ref(), &headers) {
            extensions.insert(Uncached);
        }
        if let Some(tenant) = tenant.clone() {
            extensions.insert(tenant);
        }
        let rules = head.extensions.get::<CallerRules>().cloned();
        if let Some(rules) = &rules {
            extensions.insert(rules.priority());
        }
        let limits = rules.as_ref().map_or(&self.unlimited, CallerRules::limits);
        let uri = match head.extensions.get::<OfAzure>() {
            // The version in its query is that of Azure's API.
            Some(_) => Uri::from_static(endpoint.path()),
            None => endpoint_uri(endpoint, &head.uri),
        };
        let mut is_rejected = false;
        let sent = match chain.request(uri, headers, body.into(), extensions) {
            Ok(request) => limits.send(chain.service(), request).await,
            Err(rejection) => Err(CallFailure::OfChain(rejection.into())),
        };
        let mut response = match sent {
            Ok(mut response) => {
                let error = hidden_error(&mut response);
                record.set_stream_outcome(response.extensions().get().cloned());
                let failures = BodyFailures::new(Arc::clone(record), call.clone());
                let response = response.map(|body| {
                    call.watch(body, chain.settings.attempt_time).map_err(move |error| failures.record(error))
                });
                forward(response, error, endpoint, meter, &self.redactor)
            }
            // The client may repeat the call, which has used nothing.
            Err(CallFailure::OfCaller(rejection)) => return Err(limit_error(&rejection)),
            Err(CallFailure::OfChain(error)) => {
                is_rejected = Rejection::find(&*error).is_some();
                let error = chain.response_to(&error);
                // No attempt was made, so the limits were refunded.
                if trail.attempts() == 0 && error.is_of_request() {
                    limits.record_refusal().await;
                }
                let mut response = error.into_response(endpoint.dialect());
                if trail.target().is_some_and(|target| chain.first_members().all(|first| *first != target)) {
                    set_fallback_header(&mut response, FallbackKind::AlternativeModel);
                }
                response
            }
        };
        // A client that repeats such a call multiplies the attempts of the chain.
        let is_given_up =
            response.headers().contains_key(CODE) && (is_rejected || chain.settings.repeats_attempts);
        if is_given_up && self.stop_client_retries {
            response.headers_mut().insert(SHOULD_RETRY, HeaderValue::from_static("false"));
        }
        Ok(response)
    }
}

/// The URI of a request below the gateway. Its path identifies the dialect of the caller, and each target
/// replaces it by its own address.
fn endpoint_uri(endpoint: Endpoint, uri: &Uri) -> Uri {
    let path = endpoint.path();
    let with_query = uri.query().and_then(|query| format!("{path}?{query}").parse().ok());
    with_query.unwrap_or_else(|| Uri::from_static(path))
}

/// At most the first characters of a text of the caller, for an error message.
pub(crate) fn shortened(text: &str) -> String {
    text.chars().take(MAX_NAME).collect()
}

fn unknown_model(endpoint: Endpoint, model: &str, served: &[&str]) -> GatewayError {
    let model = shortened(model);
    let more = if served.len() > MAX_NAMES { ", ..." } else { "" };
    let served = served.iter().take(MAX_NAMES).map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    let message = format!("model `{model}` is not served at {endpoint}, which serves {served}{more}");
    GatewayError::model_not_found(message)
}
