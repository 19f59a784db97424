use std::time::Duration;

use tower_layer::Layer;

use super::{CircuitBreaker, Handle};
use crate::shared::Shared;

/// Stops calling a provider that keeps failing; see the [module page](crate::circuit_breaker).
///
/// One layer value is one circuit: every service it makes, and every clone of those, shares it, unless
/// [`per_service`](Self::per_service) asks for one each. A setter begins a new circuit.
#[derive(Clone, Debug)]
pub struct CircuitBreakerLayer {
    handle: Handle,
    per_service: bool,
}

/// What the user sets.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) enabled: bool,
    pub(super) failure_threshold: u32,
    pub(super) success_threshold: u32,
    pub(super) cooldown: Duration,
    pub(super) quota_cooldown: Duration,
    pub(super) half_open_max: u32,
    pub(super) probe_lease: Duration,
    pub(super) count_rate_limited: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            enabled: true,
            failure_threshold: 5,
            success_threshold: 1,
            cooldown: Duration::from_secs(30),
            quota_cooldown: Duration::from_secs(60),
            half_open_max: 1,
            probe_lease: Duration::from_secs(60),
            count_rate_limited: false,
        }
    }
}

impl Default for CircuitBreakerLayer {
    fn default() -> Self {
        Self::new()
    }
}

impl CircuitBreakerLayer {
    /// Opens after 5 consecutive failures for 30 s, and closes after one probe that succeeds.
    #[must_use]
    pub fn new() -> Self {
        Self { handle: Handle(Shared::new(Settings::default())), per_service: false }
    }

    /// Never opens, at the cost of a branch.
    #[must_use]
    pub fn disabled() -> Self {
        Self::new().set(|settings| settings.enabled = false)
    }

    /// Opens after so many consecutive failures. Zero is taken as one.
    #[must_use]
    pub fn failure_threshold(self, failures: u32) -> Self {
        self.set(|settings| settings.failure_threshold = failures.max(1))
    }

    /// Closes after so many successful probes in a row. Zero is taken as one.
    #[must_use]
    pub fn success_threshold(self, successes: u32) -> Self {
        self.set(|settings| settings.success_threshold = successes.max(1))
    }

    /// Stays open this long; longer if the failure that opened it told a longer wait.
    #[must_use]
    pub fn cooldown(self, cooldown: Duration) -> Self {
        self.set(|settings| settings.cooldown = cooldown)
    }

    /// Stays open this long when the account's quota ran out and the provider told no time.
    #[must_use]
    pub fn quota_cooldown(self, cooldown: Duration) -> Self {
        self.set(|settings| settings.quota_cooldown = cooldown)
    }

    /// At most so many probes at once while half-open. Zero is taken as one.
    #[must_use]
    pub fn half_open_max(self, probes: u32) -> Self {
        self.set(|settings| settings.half_open_max = probes.max(1))
    }

    /// A probe without an answer for this long is given up: another may take its place. 60 s by default.
    #[must_use]
    pub fn probe_lease(self, lease: Duration) -> Self {
        self.set(|settings| settings.probe_lease = lease)
    }

    /// Counts a 429 as a failure. By default it is not: a provider that limits is a provider that works.
    #[must_use]
    pub fn count_rate_limited(self, count: bool) -> Self {
        self.set(|settings| settings.count_rate_limited = count)
    }

    /// The name in events, usually `provider/model`. The first name given holds.
    #[must_use]
    pub fn name(self, name: &str) -> Self {
        self.handle.0.name(name);
        self
    }

    /// Gives every service that this layer makes a circuit of its own.
    #[must_use]
    pub fn per_service(self) -> Self {
        Self { per_service: true, ..self }
    }

    /// The circuit shared by the services of this layer (the template, after [`per_service`](Self::per_service)).
    #[must_use]
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// The handle for one more service, or stack.
    pub(crate) fn share(&self) -> Handle {
        if self.per_service { Handle(self.handle.0.fresh(|_| ())) } else { self.handle.clone() }
    }

    /// This layer for one stack, whose parts all look at the same handle.
    #[cfg(feature = "stack")]
    pub(crate) fn for_one(self) -> Self {
        Self { handle: self.share(), per_service: false }
    }

    fn set(self, change: impl FnOnce(&mut Settings)) -> Self {
        Self { handle: Handle(self.handle.0.fresh(change)), ..self }
    }
}

impl<S> Layer<S> for CircuitBreakerLayer {
    type Service = CircuitBreaker<S>;

    fn layer(&self, inner: S) -> CircuitBreaker<S> {
        CircuitBreaker::new(inner, self.share())
    }
}
