use tidegate::circuit_breaker::State;
use tidegate::config::ConfigError;
use tidegate::store::Store;
use tidegate::{
    BackpressureLayer, CircuitBreakerLayer, RateLimitLayer, ResilienceConfig, RetryLayer, backpressure,
};

/// The layers of one target under one policy. Clones share their state.
#[derive(Clone, Debug)]
pub(super) struct GateLayers {
    pub(super) retry: RetryLayer,
    pub(super) backpressure: BackpressureLayer,
    pub(super) rate_limit: RateLimitLayer,
    pub(super) circuit_breaker: CircuitBreakerLayer,
}

/// What a change of the configuration leaves of the layers of a target.
#[derive(Clone, Copy, Debug)]
pub(super) struct PreviousLayers<'a> {
    pub(super) layers: &'a GateLayers,
    pub(super) policy: &'a ResilienceConfig,
    /// Whether the rules of the provider are the same, by which the rate limit reads its headers.
    pub(super) has_same_kind: bool,
    /// Whether the circuit is about the same server and account.
    pub(super) has_same_provider: bool,
    /// Whether the limits are shared through the same store, or through none.
    pub(super) has_same_store: bool,
}

impl GateLayers {
    /// The layers of `policy`: those before where their settings are the same, and otherwise new ones.
    ///
    /// # Errors
    ///
    /// A setting is out of its range.
    pub(super) fn new(
        policy: &ResilienceConfig,
        previous: Option<PreviousLayers<'_>>,
        store: Option<Store>,
    ) -> Result<Self, ConfigError> {
        let before = previous.as_ref();
        let retry = before.filter(|it| it.policy.retry == policy.retry);
        let backpressure =
            before.filter(|it| has_same_queue(it.policy.backpressure.as_ref(), policy.backpressure.as_ref()));
        let rate_limit = before.filter(|it| {
            it.has_same_kind && it.has_same_store && it.policy.rate_limiter == policy.rate_limiter
        });
        let circuit_breaker = before.filter(|it| {
            it.has_same_provider && it.has_same_store && it.policy.circuit_breaker == policy.circuit_breaker
        });
        Ok(Self {
            retry: match (retry, &policy.retry) {
                (Some(it), _) => it.layers.retry.clone(),
                (None, Some(settings)) => RetryLayer::from_settings(settings.clone())?,
                (None, None) => RetryLayer::disabled(),
            },
            backpressure: match (backpressure, &policy.backpressure) {
                (Some(it), _) => it.layers.backpressure.clone(),
                (None, Some(settings)) => BackpressureLayer::from_settings(settings.clone())?,
                (None, None) => BackpressureLayer::disabled(),
            },
            rate_limit: match (rate_limit, &policy.rate_limiter) {
                (Some(it), _) => it.layers.rate_limit.clone(),
                (None, Some(settings)) => {
                    let layer = RateLimitLayer::from_settings(settings.clone())?;
                    store.iter().cloned().fold(layer, RateLimitLayer::store)
                }
                (None, None) => RateLimitLayer::disabled(),
            },
            circuit_breaker: match (circuit_breaker, &policy.circuit_breaker) {
                (Some(it), _) => it.layers.circuit_breaker.clone(),
                (None, Some(settings)) => {
                    let settings = settings.clone();
                    let layer = match store {
                        Some(store) => CircuitBreakerLayer::from_settings_with_store(settings, store),
                        None => CircuitBreakerLayer::from_settings(settings),
                    };
                    let layer = layer.map_err(|error| error.within("circuit_breaker"))?;
                    force_as_before(&layer, before);
                    layer
                }
                // The group of the target shares its cooldowns through the store of the circuit.
                (None, None) => {
                    let layer = CircuitBreakerLayer::disabled();
                    store.into_iter().fold(layer, CircuitBreakerLayer::store)
                }
            },
        })
    }

    /// Applies the limit of `policy` to the calls in flight, which may hold permits under another limit.
    pub(super) fn set_limit(&self, policy: &ResilienceConfig) {
        if let Some(settings) = &policy.backpressure {
            self.backpressure.handle().set_limit(settings.max_inflight);
        }
    }
}

/// Whether the settings are the same, except for a fixed limit, which can be changed in place.
fn has_same_queue(before: Option<&backpressure::Settings>, now: Option<&backpressure::Settings>) -> bool {
    match (before, now) {
        (Some(before), Some(now)) if now.adaptive.is_none() => {
            let (max_inflight, min_inflight) = (now.max_inflight, now.min_inflight);
            backpressure::Settings { max_inflight, min_inflight, ..before.clone() } == *now
        }
        (before, now) => before == now,
    }
}

/// A circuit that was forced by hand stays so.
fn force_as_before(layer: &CircuitBreakerLayer, before: Option<&PreviousLayers<'_>>) {
    match before.and_then(|it| it.layers.circuit_breaker.handle().forced()) {
        Some(State::Open) => layer.handle().force_open(),
        Some(_) => layer.handle().force_closed(),
        None => {}
    }
}
