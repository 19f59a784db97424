use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::{Request, Response};
use tidegate::backpressure::{self, Backpressure};
use tidegate::fallback::Fallback;
use tidegate::group::Group;
use tidegate::provider::{ErrorBody, HttpService};
use tidegate::rate_limit::{self, RateLimit};
use tidegate::store::Store;
use tidegate::{BackpressureLayer, Error, ErrorCode, Outcome, Payload, RateLimitLayer, Rejection};
use tower::util::{MapRequest, MapResponse};
use tower::{Layer, ServiceExt};

use super::gateway_error::GatewayError;
use super::target::AddressedTarget;

/// The limits of one caller, in front of the chains of all routes. Clones share what is used of them.
///
/// ```text
/// request ─▶ rate limit of the caller ─▶ permit of the caller ─▶ chain, with the gates of its targets
/// ```
#[derive(Clone, Debug)]
pub(crate) struct CallerLimits {
    rate_limit: RateLimitLayer,
    backpressure: BackpressureLayer,
}

/// Why there is no response.
#[derive(Debug)]
pub(super) enum CallFailure {
    /// A limit of the caller rejected the call, and no target was selected.
    OfCaller(Rejection),
    OfChain(Error),
}

type Chain = Fallback<Group<AddressedTarget>>;
type ChainBody = <Chain as HttpService<Payload>>::Body;

/// A chain whose responses are neutral for the limits of a caller: a 429 of one provider must not close them.
type NeutralChain = MapResponse<
    MapRequest<Chain, fn(Request<Payload>) -> Request<Payload>>,
    fn(Response<ChainBody>) -> Response<ChainBody>,
>;
pub(super) type LimitedBody = <RateLimit<Backpressure<NeutralChain>> as HttpService<Payload>>::Body;

/// A request extension: whether the limits of the caller have admitted the call.
#[derive(Clone, Debug, Default)]
struct Admitted(Arc<AtomicBool>);

/// A response extension: the outcome for the chain, while the limits of the caller see a neutral one.
#[derive(Clone, Debug)]
struct ChainOutcome(Outcome);

/// The wait that is reported to a caller with too many calls in flight.
const RETRY_AFTER: Duration = Duration::from_secs(1);

impl CallerLimits {
    /// The limits of the caller `name`, whose settings are valid. A part that is missing is no limit. The rate is that of all
    /// gateways that use `store`.
    pub(crate) fn new(
        name: &str,
        rate_limiter: Option<rate_limit::Settings>,
        backpressure: Option<backpressure::Settings>,
        store: Option<&Store>,
    ) -> Self {
        // In events and metrics.
        let name = format!("caller:{name}");
        let rate_limit = rate_limiter.and_then(|settings| RateLimitLayer::from_settings(settings).ok());
        let rate_limit = rate_limit.map(|layer| layer.follow_headers(false));
        let rate_limit = rate_limit.map(|layer| match store {
            Some(store) => layer.store(store.clone()),
            None => layer,
        });
        let backpressure = backpressure.and_then(|settings| BackpressureLayer::from_settings(settings).ok());
        Self {
            rate_limit: rate_limit.unwrap_or_else(RateLimitLayer::disabled).name(&name),
            backpressure: backpressure.unwrap_or_else(BackpressureLayer::disabled).name(&name),
        }
    }

    /// No limits.
    pub(crate) fn none() -> Self {
        Self { rate_limit: RateLimitLayer::disabled(), backpressure: BackpressureLayer::disabled() }
    }

    /// Sends a request along `chain` once these limits admit it.
    pub(super) async fn send(
        &self,
        chain: Chain,
        mut request: Request<Payload>,
    ) -> Result<Response<LimitedBody>, CallFailure> {
        let admitted = Admitted::default();
        request.extensions_mut().insert(admitted.clone());
        let chain = chain.map_request(admit as fn(_) -> _).map_response(make_neutral as fn(_) -> _);
        let service = self.rate_limit.layer(self.backpressure.layer(chain));
        match service.oneshot(request).await {
            Ok(response) => Ok(restore_outcome(response)),
            Err(error) => match Rejection::find(&error) {
                Some(rejection) if !admitted.0.load(Ordering::Relaxed) => {
                    Err(CallFailure::OfCaller(rejection.clone()))
                }
                _ => Err(CallFailure::OfChain(error)),
            },
        }
    }
}

fn admit(mut request: Request<Payload>) -> Request<Payload> {
    if let Some(Admitted(is_admitted)) = request.extensions_mut().remove() {
        is_admitted.store(true, Ordering::Relaxed);
    }
    request
}

fn make_neutral<B>(mut response: Response<B>) -> Response<B> {
    let outcome = ChainOutcome(Outcome::of(&response));
    response.extensions_mut().insert(outcome);
    response.extensions_mut().insert(Outcome::Neutral);
    response
}

fn restore_outcome<B>(mut response: Response<B>) -> Response<B> {
    if let Some(ChainOutcome(outcome)) = response.extensions_mut().remove() {
        response.extensions_mut().insert(outcome);
    }
    response
}

/// The response to a call that a limit of its caller rejected: 429, whichever limit it was.
pub(super) fn limit_error(rejection: &Rejection) -> GatewayError {
    if rejection.code() == ErrorCode::Timeout {
        return GatewayError::from_body(rejection.into());
    }
    let body = ErrorBody::new(ErrorCode::RateLimited, format!("limit of this caller: {rejection}"));
    GatewayError::from_body(body.with_retry_after(Some(rejection.retry_after().unwrap_or(RETRY_AFTER))))
}
