use std::time::Duration;

use tower_layer::Layer;

use super::circuit::window::MAX_CALLS;
use super::settings::{CircuitBreakerSettings, MIN_LEASE, Settings, share};
use super::{CircuitBreaker, Handle, OpenBudget};
use crate::KeyBy;
use crate::layer_state::LayerState;
use crate::settings::ConfigError;
use crate::store::{ServiceNumbers, Store, WindowSpan};

/// Rejects calls to a provider that keeps failing; see the [module page](crate::circuit_breaker).
///
/// One layer value is one circuit: every service it makes, and every clone of those, shares it, unless
/// [`per_service`](Self::per_service) is set. A setter creates a new circuit, and the handles that were
/// given out follow it, unless a clone of the layer or a service still uses the state: these keep theirs.
#[must_use = "a layer does nothing until it wraps a service"]
#[derive(Clone, Debug)]
#[doc(alias = "AdvancedCircuitBreaker")]
pub struct CircuitBreakerLayer {
    handle: Handle,
    /// Present if each service has its own state.
    per_service: Option<ServiceNumbers>,
}

impl Default for CircuitBreakerLayer {
    fn default() -> Self {
        Self::new()
    }
}

impl CircuitBreakerLayer {
    /// Creates a layer that opens after 5 consecutive failures for 30 s, and closes after one successful
    /// probe.
    pub fn new() -> Self {
        Self::of(Settings::default())
    }

    /// Creates a layer with these settings.
    ///
    /// # Errors
    ///
    /// A setting is out of its range, or `shared_window` is set, which needs a
    /// [store](Self::from_settings_with_store).
    pub fn from_settings(settings: Settings) -> Result<Self, ConfigError> {
        settings.check()?;
        if settings.shared_window {
            return Err(ConfigError::expected("shared_window", "a store of shared limits", "none"));
        }
        Ok(Self::of(settings))
    }

    /// Creates a layer with these settings whose circuit is shared through `store`; see
    /// [`store`](Self::store).
    ///
    /// # Errors
    ///
    /// A setting is out of its range.
    pub fn from_settings_with_store(settings: Settings, store: Store) -> Result<Self, ConfigError> {
        settings.check()?;
        Ok(Self::of(settings).store(store))
    }

    fn of(settings: Settings) -> Self {
        Self { handle: Handle(LayerState::new(settings.into())), per_service: None }
    }

    /// Creates a layer that never opens, at the cost of a branch.
    pub fn disabled() -> Self {
        Self::new().set(|settings| settings.enabled = false)
    }
}

/// When it opens.
impl CircuitBreakerLayer {
    /// The number of consecutive failures that opens the circuit, 5 by default. Zero is raised to one.
    /// With `u32::MAX` only the rates open it. The failed attempts of one call do not open it alone:
    /// [`max_attempts_counted_per_call`](Self::max_attempts_counted_per_call).
    pub fn failure_threshold(self, failures: u32) -> Self {
        self.set(|settings| settings.failure_threshold = failures.max(1))
    }

    /// Counts the failures of a call up to its attempt of this number; later attempts change nothing unless
    /// they succeed or are probes. By default one fewer than the
    /// [`failure_threshold`](Self::failure_threshold), which the retries of one call do not reach then, and
    /// all attempts if that is 1. With 1, it takes as many calls as the threshold. Zero is raised to one.
    ///
    /// The number is that of the [`RetryLayer`](crate::RetryLayer) outside of this layer.
    pub fn max_attempts_counted_per_call(self, attempts: u32) -> Self {
        self.set(|settings| settings.max_attempts_counted_per_call = Some(attempts.max(1)))
    }

    /// Whether a 429 counts as a failure. By default it does not: a provider that limits its callers is
    /// working.
    pub fn count_rate_limited(self, count: bool) -> Self {
        self.set(|settings| settings.count_rate_limited = count)
    }

    /// The share of failed calls in the window that opens the circuit, from 0 (one failure) to 1. Off by default.
    /// With a window over time or one that is shared, every successful call takes a short lock to be counted.
    pub fn failure_rate_threshold(self, rate: f64) -> Self {
        self.set(|settings| settings.failure_rate_threshold = Some(share(rate)))
    }

    /// The time to the commit point from which a call is slow. The commit point is the response head, which
    /// for a stream behind the wire arrives with the first token. A call is also slow if it took this long to
    /// fail, or if its caller dropped it after waiting this long.
    ///
    /// The circuit opens when half of the calls in the window are slow
    /// ([`slow_call_rate_threshold`](Self::slow_call_rate_threshold) sets another share), and a slow probe
    /// opens it again. Off by default, and with zero.
    pub fn slow_call_threshold(self, slow: Duration) -> Self {
        self.set(|settings| settings.slow_call_threshold = Some(slow).filter(|slow| !slow.is_zero()))
    }

    /// The share of slow calls in the window that opens the circuit, from 0 (one slow call) to 1. The default
    /// is 0.5. Has no effect without [`slow_call_threshold`](Self::slow_call_threshold).
    pub fn slow_call_rate_threshold(self, rate: f64) -> Self {
        self.set(|settings| settings.slow_call_rate_threshold = Some(share(rate)))
    }

    /// The number of calls below which no rate is evaluated, 20 by default. A window that holds fewer
    /// calls is evaluated when it is full.
    pub fn minimum_throughput(self, calls: u32) -> Self {
        self.set(|settings| settings.minimum_throughput = calls)
    }

    /// Admits every call, and reports which calls it would have rejected (as an event, and in the
    /// [snapshot](Handle::snapshot)). This tries settings out on real traffic. The results of those calls are
    /// not counted, because they would not have been made.
    pub fn shadow(self, shadow: bool) -> Self {
        self.set(|settings| settings.shadow = shadow)
    }
}

/// The windows.
impl CircuitBreakerLayer {
    /// Computes the rates over this number of calls, a bit for each, 100 by default; at least one, at
    /// most 1 048 576.
    pub fn sliding_window_size(self, calls: u32) -> Self {
        self.set(|settings| settings.set_window(WindowSpan::Calls(calls.clamp(1, MAX_CALLS))))
    }

    /// Computes the rates over this time instead of a number of calls; at least 10 ms. The window advances in
    /// tenths, so that its cost does not depend on the number of calls.
    pub fn sliding_window(self, time: Duration) -> Self {
        self.set(|settings| settings.set_window(WindowSpan::Time(time)))
    }

    /// Computes the slow-call rate over this number of latest calls, instead of the window of the failure
    /// rate; at least one, at most 1 048 576. With as many as
    /// [`minimum_throughput`](Self::minimum_throughput) slowness opens the circuit sooner; the whole window
    /// is steadier.
    pub fn slow_call_window_size(self, calls: u32) -> Self {
        let calls = calls.clamp(1, MAX_CALLS);
        self.set(|settings| settings.slow_call_window_size = Some(calls))
    }

    /// Computes the rates over the calls of all processes that share the circuit through a
    /// [`store`](Self::store); see [`store`](crate::store#shared-windows). Without a store it has no effect,
    /// and without a rate either: consecutive failures are those of one process.
    pub fn shared_window(self, shared: bool) -> Self {
        self.set(|settings| settings.shared_window = shared)
    }
}

/// How long it stays open.
impl CircuitBreakerLayer {
    /// How long the circuit stays open, 30 s by default. It stays open for longer if the failure that
    /// opened it carried a longer wait.
    #[doc(alias = "cooldown_seconds")]
    pub fn cooldown(self, cooldown: Duration) -> Self {
        self.set(|settings| settings.cooldown = cooldown)
    }

    /// The factor by which the cooldown grows each time that the circuit opens again, up to
    /// [`max_cooldown`](Self::max_cooldown). The default and the minimum is 1, without growth. The growth is
    /// reset when the circuit has been closed for as long as it was last open.
    pub fn cooldown_growth(self, factor: f64) -> Self {
        self.set(|settings| settings.cooldown_growth = factor.max(1.0))
    }

    /// The upper limit of the growth: 5 minutes by default, or the cooldown if that is longer. A wait
    /// that the provider sent may be longer.
    pub fn max_cooldown(self, cooldown: Duration) -> Self {
        self.set(|settings| settings.max_cooldown = Some(cooldown))
    }

    /// Adds a random part of the cooldown, up to this share of it, from 0 to 1, so that not all processes
    /// come back at once. It is also added to a wait that the provider sent, and makes it no shorter. The
    /// default is none.
    pub fn cooldown_jitter(self, share_of_cooldown: f64) -> Self {
        self.set(|settings| settings.cooldown_jitter = share(share_of_cooldown))
    }

    /// Draws the jitter from this seed, so that a run can be repeated.
    pub fn seed(self, seed: u64) -> Self {
        self.set(|settings| settings.hooks.seed = Some(seed))
    }

    /// How long the circuit stays open when the account's quota is exhausted and the provider sent no time.
    /// 60 s by default.
    pub fn quota_cooldown(self, cooldown: Duration) -> Self {
        self.set(|settings| settings.quota_cooldown = cooldown)
    }
}

/// Probes and recovery.
impl CircuitBreakerLayer {
    /// The most concurrent probes while the circuit is half-open, 1 by default. Zero is raised to one.
    pub fn half_open_max(self, probes: u32) -> Self {
        self.set(|settings| settings.half_open_max = probes.max(1))
    }

    /// The time after which a probe without a response is given up, so that another may take its slot. The
    /// default is 60 s, and the minimum is 1 ms: with a lease of zero each probe would be given up before the
    /// next call.
    pub fn probe_lease(self, lease: Duration) -> Self {
        self.set(|settings| settings.probe_lease = lease.max(MIN_LEASE))
    }

    /// The number of consecutive successful probes that closes the circuit, 1 by default. Zero is raised
    /// to one.
    pub fn success_threshold(self, successes: u32) -> Self {
        self.set(|settings| settings.success_threshold = successes.max(1))
    }

    /// Ramps the traffic up over this time after the circuit has closed: a tenth of the calls at first,
    /// growing evenly to all. The other calls are rejected, to be retried within a second. Off by default.
    pub fn ramp_up(self, over: Duration) -> Self {
        self.set(|settings| settings.ramp_up = Some(over).filter(|over| !over.is_zero()))
    }

    /// While the circuit is open or half-open, admits attempts beside the probes, of calls that no other
    /// target can take: those of a stack without other targets, and of the last target of a chain. Without it
    /// such calls are rejected.
    ///
    /// The results of these attempts do not close the circuit, which its probes do as before. An exhausted
    /// quota and [`force_open`](Handle::force_open) reject them all. A response counts as a success with its
    /// head, unless that is slow; one whose body fails afterwards takes back what its head has added.
    ///
    /// Values out of range are taken as the nearest in it.
    pub fn open_budget(self, budget: OpenBudget) -> Self {
        self.set(|settings| settings.open_budget = Some(budget.clamped()))
    }
}

/// The scope of the circuit.
impl CircuitBreakerLayer {
    /// Gives every key its own circuit: per model, per host, or per credential if callers bring their own, so
    /// that the exhausted account of one caller does not block the others. See [`Handle::of`] for the circuit
    /// of a key.
    pub fn key_by(self, key: KeyBy) -> Self {
        self.set(|settings| settings.key_by = Some(key))
    }

    /// The most keys that have a circuit, 10 000 by default. Circuits in their initial state are dropped
    /// first, then the least used. Zero is raised to one.
    pub fn max_keys(self, keys: usize) -> Self {
        self.set(|settings| settings.max_keys = keys.max(1))
    }

    /// Shares the circuit with the other processes that use this store; see [`store`](crate::store#circuits).
    /// Each process counts the failures of its own calls, unless the [window is shared](Self::shared_window);
    /// when one opens the circuit, it is open in all. The layer needs a [name](Self::name), which is that of
    /// the shared state.
    pub fn store(self, store: Store) -> Self {
        if self.handle.0.settings().hooks.store.as_ref() == Some(&store) {
            return self;
        }
        self.set(|settings| settings.hooks.store = Some(store))
    }

    /// The name in events, usually `provider/model`. The first name set is kept.
    pub fn name(self, name: &str) -> Self {
        self.handle.0.name(name);
        self
    }

    /// Gives every service that this layer makes its own circuit. With a [`store`](Self::store) the services
    /// of one name are numbered in the order in which they are made, and processes share the circuit of each
    /// number.
    pub fn per_service(self) -> Self {
        Self { per_service: Some(ServiceNumbers::default()), ..self }
    }

    /// The circuit shared by the services of this layer (the template, after
    /// [`per_service`](Self::per_service)).
    #[must_use]
    pub fn handle(&self) -> Handle {
        Handle(self.handle.0.to_hand_out())
    }

    /// The handle for one stack of this name.
    pub(crate) fn for_stack(&self, name: &str) -> Handle {
        let handle = self.share_as(name);
        handle.0.name_of_stack(name);
        handle
    }

    /// The handle for one more service or stack, which gets this name if the layer has none.
    fn share_as(&self, name: &str) -> Handle {
        let Some(numbers) = &self.per_service else { return self.handle.clone() };
        let name = Some(self.handle.0.target()).filter(|own| !own.is_empty()).unwrap_or(name);
        Handle(self.handle.0.fresh(|settings| numbers.assign(name, &mut settings.hooks.store)))
    }

    fn set(self, change: impl FnOnce(&mut CircuitBreakerSettings)) -> Self {
        Self { handle: Handle(self.handle.0.replace(change)), ..self }
    }
}

impl<S> Layer<S> for CircuitBreakerLayer {
    type Service = CircuitBreaker<S>;

    fn layer(&self, inner: S) -> CircuitBreaker<S> {
        CircuitBreaker::new(inner, self.share_as("").by_thread())
    }
}
