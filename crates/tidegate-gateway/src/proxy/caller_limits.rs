use std::convert::Infallible;
use std::future::ready;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::body::Body;
use http::{Request, Response};
use http_body_util::BodyExt;
use tidegate::backpressure;
use tidegate::fallback::Fallback;
use tidegate::group::Group;
use tidegate::provider::{ErrorBody, LimitUnit};
use tidegate::rate_limit::{self, OnLimit};
use tidegate::store::Store;
use tidegate::{BackpressureLayer, Error, ErrorCode, Outcome, Payload, RateLimitLayer, Rejection, Trail};
use tower::{Layer, ServiceExt, service_fn};

use super::gateway_error::GatewayError;
use super::target::{AddressedTarget, BoxedBody};
use super::token_counter::TokenCounter;

/// The limits of one caller, in front of the chains of all routes. Clones share what is used of them.
///
/// ```text
/// request ─▶ rate limit of the caller ─▶ permit of the caller ─▶ chain, with the gates of its targets
/// ```
#[derive(Clone, Debug)]
pub(crate) struct CallerLimits {
    /// Whether calls are neither counted nor held back.
    is_unlimited: bool,
    rate_limit: RateLimitLayer,
    backpressure: BackpressureLayer,
    /// The limits of token counts: as many as calls, and apart from them, as at Anthropic.
    counts: RateLimitLayer,
    counts_in_flight: BackpressureLayer,
    /// The limit of refused calls: as many as requests, and apart from them.
    refusals: RateLimitLayer,
}

/// Why there is no response.
#[derive(Debug)]
pub(super) enum CallFailure {
    /// A limit of the caller rejected the call, and no target was selected.
    OfCaller(Rejection),
    OfChain(Error),
}

type TargetChain = Fallback<Group<AddressedTarget>>;

/// A request extension: whether the limits of the caller have admitted the call.
#[derive(Clone, Debug, Default)]
struct AdmittedByCaller(Arc<AtomicBool>);

/// A response extension: the provider has not counted.
#[derive(Clone, Debug)]
struct NotCounted;

/// The wait that is reported to a caller with too many calls in flight.
const RETRY_AFTER: Duration = Duration::from_secs(1);

impl CallerLimits {
    /// The limits of the caller `name`, from valid settings. Without settings there is no limit. The rate is
    /// that of all gateways that use `store`.
    pub(crate) fn new(
        name: &str,
        rate_limiter: Option<rate_limit::Settings>,
        backpressure: Option<backpressure::Settings>,
        store: Option<&Store>,
    ) -> Self {
        // In events and metrics.
        let name = format!("caller:{name}");
        // The scopes of the store: another caller may have the name of the counts of this one.
        let rate_limit = |scope: &str, settings: Option<rate_limit::Settings>| {
            let layer = settings.and_then(|settings| RateLimitLayer::from_settings(settings).ok());
            // A 429 of one provider must change no limit of a caller.
            let layer = layer.unwrap_or_else(RateLimitLayer::disabled).follow_responses(false);
            match store {
                Some(store) => layer.store(store.scope(scope)),
                None => layer,
            }
        };
        let in_flight = |settings: Option<backpressure::Settings>| {
            let layer = settings.and_then(|settings| BackpressureLayer::from_settings(settings).ok());
            layer.unwrap_or_else(BackpressureLayer::disabled).follow_responses(false)
        };
        let without_queue = |settings| backpressure::Settings { max_queued: 0, ..settings };
        let of_refusals = |settings| rate_limit::Settings { key_by: None, ..requests_alone(settings) };
        let (counts, refusals) = (format!("{name}/counts"), format!("{name}/refused"));
        Self {
            is_unlimited: rate_limiter.is_none() && backpressure.is_none(),
            counts: rate_limit("counts", rate_limiter.clone().map(requests_alone)).name(&counts),
            counts_in_flight: in_flight(backpressure.clone().map(without_queue)).name(&counts),
            refusals: rate_limit("refused", rate_limiter.clone().map(of_refusals)).name(&refusals),
            rate_limit: rate_limit("", rate_limiter).name(&name),
            backpressure: in_flight(backpressure).name(&name),
        }
    }

    /// These rates with the permits of `previous`, whose settings are the same.
    pub(crate) fn with_calls_of(self, previous: &Self) -> Self {
        Self {
            backpressure: previous.backpressure.clone(),
            counts_in_flight: previous.counts_in_flight.clone(),
            ..self
        }
    }

    /// No limits.
    pub(crate) fn none() -> Self {
        Self {
            is_unlimited: true,
            rate_limit: RateLimitLayer::disabled(),
            backpressure: BackpressureLayer::disabled(),
            counts: RateLimitLayer::disabled(),
            counts_in_flight: BackpressureLayer::disabled(),
            refusals: RateLimitLayer::disabled(),
        }
    }

    /// Checks that the caller may have another call refused. A refused call costs no quota of the limits, and
    /// its body was received.
    ///
    /// # Errors
    ///
    /// It had too many.
    pub(super) fn check_refusals(&self) -> Result<(), Box<GatewayError>> {
        if self.is_unlimited {
            return Ok(());
        }
        let rejection = self.refusals.handle().peek(None);
        rejection.map_or(Ok(()), |rejection| Err(Box::new(limit_error(&rejection))))
    }

    /// Counts a call that was refused before these limits.
    pub(super) async fn record_refusal(&self) {
        if self.is_unlimited {
            return;
        }
        let refused = service_fn(|_: Request<Payload>| {
            let mut response = Response::new(Payload::empty());
            response.extensions_mut().insert(Outcome::Neutral);
            ready(Ok::<_, Infallible>(response))
        });
        // An error: others were refused meanwhile.
        let _ = self.refusals.layer(refused).oneshot(Request::new(Payload::empty())).await;
    }

    /// Sends a token count if these limits admit it now. `None` if they do not, or if the provider does not
    /// count.
    pub(super) async fn count(
        &self,
        counter: &TokenCounter,
        request: Request<Payload>,
        trail: &Trail,
    ) -> Option<Response<Body>> {
        let (counter, trail) = (counter.clone(), trail.clone());
        let count = service_fn(move |request| {
            let (counter, trail) = (counter.clone(), trail.clone());
            async move {
                let counted = counter.count(request, &trail).await;
                let mut response = counted.unwrap_or_else(|| {
                    let mut response = Response::new(Body::empty());
                    response.extensions_mut().insert(NotCounted);
                    response
                });
                response.extensions_mut().insert(Outcome::Neutral);
                Ok::<_, Infallible>(response)
            }
        });
        let service = self.counts.layer(self.counts_in_flight.layer(count));
        let response = service.oneshot(request).await.ok()?;
        response.extensions().get::<NotCounted>().is_none().then(|| response.map(Body::new))
    }

    /// Sends a request along `chain` once these limits admit it.
    pub(super) async fn send(
        &self,
        chain: TargetChain,
        request: Request<Payload>,
    ) -> Result<Response<BoxedBody>, CallFailure> {
        if self.is_unlimited {
            let response = chain.oneshot(request).await.map_err(CallFailure::OfChain)?;
            return Ok(response.map(BodyExt::boxed_unsync));
        }
        // Boxed for callers with limits alone, so that the future of the others has not its 2 KiB.
        Box::pin(self.send_within(chain, request)).await
    }

    async fn send_within(
        &self,
        chain: TargetChain,
        mut request: Request<Payload>,
    ) -> Result<Response<BoxedBody>, CallFailure> {
        let admitted = AdmittedByCaller::default();
        request.extensions_mut().insert(admitted.clone());
        let service = self.rate_limit.layer(self.backpressure.layer(chain.map_request(admit)));
        match service.oneshot(request).await {
            Ok(response) => Ok(response.map(BodyExt::boxed_unsync)),
            Err(error) => match Rejection::find(&error) {
                Some(rejection) if !admitted.0.load(Ordering::Relaxed) => {
                    Err(CallFailure::OfCaller(rejection.clone()))
                }
                _ => Err(CallFailure::OfChain(error)),
            },
        }
    }
}

/// The limit of the requests alone, for what does not wait: the tokens of a prompt can be estimated at once,
/// and a refused call has its response.
fn requests_alone(settings: rate_limit::Settings) -> rate_limit::Settings {
    let quotas = settings.quotas.into_iter().filter(|quota| quota.unit == LimitUnit::Requests);
    rate_limit::Settings {
        tokens_per_second: None,
        tokens_per_minute: None,
        tokens_per_day: None,
        input_tokens_per_minute: None,
        output_tokens_per_minute: None,
        quotas: quotas.collect(),
        on_limit: OnLimit::Reject,
        ..settings
    }
}

fn admit(mut request: Request<Payload>) -> Request<Payload> {
    if let Some(AdmittedByCaller(is_admitted)) = request.extensions_mut().remove() {
        is_admitted.store(true, Ordering::Relaxed);
    }
    request
}

/// The response to a call that a limit of its caller rejected: 429, whichever limit it was.
pub(super) fn limit_error(rejection: &Rejection) -> GatewayError {
    if rejection.code() == ErrorCode::Timeout {
        return GatewayError::from_body(rejection.into());
    }
    let body = ErrorBody::new(ErrorCode::RateLimited, format!("limit of this caller: {rejection}"));
    GatewayError::from_body(body.with_retry_after(Some(rejection.retry_after().unwrap_or(RETRY_AFTER))))
}
