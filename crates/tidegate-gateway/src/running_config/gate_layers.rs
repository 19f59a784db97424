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
    /// Whether they are those of the same target and, if the provider has several keys, of the same number.
    pub(super) has_same_name: bool,
    /// Whether the rules of the provider are the same, by which the rate limit reads its headers.
    pub(super) has_same_kind: bool,
    /// Whether the circuit, and what the provider has reported, are about the same server and account.
    pub(super) has_same_provider: bool,
}

/// The store through which the limits are shared, if there is one.
#[derive(Clone, Debug)]
pub(super) struct StoreOfLayers {
    pub(super) store: Option<Store>,
    /// Whether it is the same as before, as it is if there was none.
    pub(super) is_same: bool,
}

impl GateLayers {
    /// The layers of `policy` for the target `name`: those before where their settings are the same, and
    /// otherwise new ones. Retries and permits are those of the name, and limits and circuits those of the key.
    ///
    /// # Errors
    ///
    /// A setting is out of its range.
    pub(super) fn new(
        name: &str,
        policy: &ResilienceConfig,
        [of_name, of_key]: [Option<PreviousLayers<'_>>; 2],
        StoreOfLayers { store, is_same }: StoreOfLayers,
    ) -> Result<Self, ConfigError> {
        let (of_name, before) = (of_name.as_ref(), of_key.as_ref());
        let retry = of_name.filter(|it| it.policy.retry == policy.retry);
        let backpressure = of_name
            .filter(|it| has_same_queue(it.policy.backpressure.as_ref(), policy.backpressure.as_ref()));
        let rate_limit =
            before.filter(|it| it.has_same_kind && is_same && it.policy.rate_limiter == policy.rate_limiter);
        let circuit_breaker = before.filter(|it| {
            it.has_same_name
                && it.has_same_provider
                && is_same
                && it.policy.circuit_breaker == policy.circuit_breaker
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
                (Some(it), _) if it.has_same_name && it.has_same_provider => it.layers.rate_limit.clone(),
                (before, Some(settings)) => {
                    let layer = RateLimitLayer::from_settings(settings.clone())?.name(name);
                    let layer = store.iter().cloned().fold(layer, RateLimitLayer::store);
                    match before {
                        Some(it) if it.has_same_provider => layer.state_of(&it.layers.rate_limit),
                        Some(it) => layer.quotas_of(&it.layers.rate_limit),
                        None => layer,
                    }
                }
                (_, None) => RateLimitLayer::disabled(),
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
