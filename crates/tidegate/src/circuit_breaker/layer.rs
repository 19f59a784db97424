use std::time::Duration;

use tower_layer::Layer;

use super::settings::{Settings, share};
use super::window::{MAX_CALLS, MIN_SPAN, Span};
use super::{CircuitBreaker, Handle};
use crate::KeyBy;
use crate::shared_state::SharedState;

/// Stops calling a provider that keeps failing; see the [module page](crate::circuit_breaker).
///
/// One layer value is one circuit: every service it makes, and every clone of those, shares it, unless
/// [`per_service`](Self::per_service) asks for one each. A setter begins a new circuit.
#[derive(Clone, Debug)]
pub struct CircuitBreakerLayer {
    handle: Handle,
    per_service: bool,
}

impl Default for CircuitBreakerLayer {
    fn default() -> Self {
        Self::new()
    }
}

impl CircuitBreakerLayer {
    /// The largest window by count: a bit for each call, 128 KiB.
    pub const MAX_WINDOW_SIZE: u32 = MAX_CALLS;

    /// The shortest lease of a probe: without any, each would be given up before the next call.
    pub const MIN_LEASE: Duration = Duration::from_millis(1);

    /// The shortest window by time: 10 ms.
    pub const MIN_WINDOW: Duration = MIN_SPAN;

    /// Opens after 5 consecutive failures for 30 s, and closes after one probe that succeeds.
    #[must_use]
    pub fn new() -> Self {
        Self { handle: Handle(SharedState::new(Settings::default())), per_service: false }
    }

    /// Never opens, at the cost of a branch.
    #[must_use]
    pub fn disabled() -> Self {
        Self::new().set(|settings| settings.enabled = false)
    }

    /// Opens after so many consecutive failures. Zero is taken as one; `u32::MAX` leaves it to the rates.
    #[must_use]
    pub fn failure_threshold(self, failures: u32) -> Self {
        self.set(|settings| settings.failure_threshold = failures.max(1))
    }

    /// Also opens when this share of the calls in the window has failed, from 0 to 1. Off by default: a call that
    /// goes well then takes a short lock to be counted.
    #[must_use]
    pub fn failure_rate_threshold(self, rate: f64) -> Self {
        self.set(|settings| settings.failure_rate_threshold = Some(share(rate)))
    }

    /// A call is slow that takes this long to its commit point: to the head of its answer, which for a stream
    /// behind the wire comes with the first token. Also slow are a call that took this long to fail, and one whose
    /// caller left after waiting this long.
    ///
    /// Opens when half of the calls in the window are slow
    /// ([`slow_call_rate_threshold`](Self::slow_call_rate_threshold) sets another share), and a slow probe opens
    /// again. Off by default.
    #[must_use]
    pub fn slow_call_threshold(self, slow: Duration) -> Self {
        self.set(|settings| settings.slow_call_threshold = Some(slow))
    }

    /// Opens when this share of the calls in the window is slow, from 0 to 1. 0.5 by default; means nothing
    /// without [`slow_call_threshold`](Self::slow_call_threshold).
    #[must_use]
    pub fn slow_call_rate_threshold(self, rate: f64) -> Self {
        self.set(|settings| settings.slow_call_rate_threshold = share(rate))
    }

    /// Judges no rate by fewer calls than these. 20 by default; a window that holds fewer is judged when full.
    #[must_use]
    pub fn minimum_throughput(self, calls: u32) -> Self {
        self.set(|settings| settings.minimum_throughput = calls)
    }

    /// Takes the rates of the last so many calls. 100 by default; at least one, at most
    /// [`MAX_WINDOW_SIZE`](Self::MAX_WINDOW_SIZE).
    #[must_use]
    pub fn sliding_window_size(self, calls: u32) -> Self {
        self.set(|settings| settings.window = Span::Calls(calls.clamp(1, Self::MAX_WINDOW_SIZE)))
    }

    /// Takes the rates of the calls of this last while, instead of a number of calls; at least
    /// [`MIN_WINDOW`](Self::MIN_WINDOW). Time passes in tenths of it, so that it costs the same at any number of calls.
    #[must_use]
    pub fn sliding_window(self, time: Duration) -> Self {
        self.set(|settings| settings.window = Span::Time(time))
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

    /// Each time that it opens again it stays open so many times as long, up to
    /// [`max_cooldown`](Self::max_cooldown). 1 by default, and at least: it does not grow. The growth is forgotten
    /// when the circuit has been closed for as long as it was last open.
    #[must_use]
    pub fn cooldown_growth(self, factor: f64) -> Self {
        self.set(|settings| settings.cooldown_growth = factor.max(1.0))
    }

    /// The cooldown grows no further; 5 minutes by default. A wait that the provider told may be longer.
    #[must_use]
    pub fn max_cooldown(self, cooldown: Duration) -> Self {
        self.set(|settings| settings.max_cooldown = cooldown)
    }

    /// Adds a random part of the cooldown, up to this share of it, from 0 to 1, so that not all processes come back
    /// at once. Also to a told wait, which it makes no shorter. None by default.
    #[must_use]
    pub fn cooldown_jitter(self, share_of_cooldown: f64) -> Self {
        self.set(|settings| settings.cooldown_jitter = share(share_of_cooldown))
    }

    /// After closing, lets the traffic come back over this long: a tenth of the calls at first, evenly growing to
    /// all. The others are refused and told to try again within a second. Off by default.
    #[must_use]
    pub fn ramp_up(self, over: Duration) -> Self {
        self.set(|settings| settings.ramp_up = Some(over).filter(|over| !over.is_zero()))
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

    /// A probe without an answer for this long is given up: another may take its place. 60 s by default, and at
    /// least [`MIN_LEASE`](Self::MIN_LEASE).
    #[must_use]
    pub fn probe_lease(self, lease: Duration) -> Self {
        self.set(|settings| settings.probe_lease = lease.max(Self::MIN_LEASE))
    }

    /// Counts a 429 as a failure. By default it is not: a provider that limits is a provider that works.
    #[must_use]
    pub fn count_rate_limited(self, count: bool) -> Self {
        self.set(|settings| settings.count_rate_limited = count)
    }

    /// Lets every call pass, and tells (as an event, and in the [snapshot](Handle::snapshot)) which it would have
    /// refused: for trying settings out on real traffic. What comes of those calls is not counted, as they would not
    /// have been made.
    #[must_use]
    pub fn shadow(self, shadow: bool) -> Self {
        self.set(|settings| settings.shadow = shadow)
    }

    /// Gives every key a circuit of its own: per model, per host, or per credential where callers bring their own,
    /// so that one caller's empty purse shuts nobody else out. See [`Handle::of`] for the circuit of a key.
    #[must_use]
    pub fn key_by(self, key: KeyBy) -> Self {
        self.set(|settings| settings.key_by = Some(key))
    }

    /// Keeps circuits for so many keys; 10 000 by default. Those that are as new go first, then those least used.
    #[must_use]
    pub fn max_keys(self, keys: usize) -> Self {
        self.set(|settings| settings.max_keys = keys.max(1))
    }

    /// Draws the jitter from this seed, so that a run can be repeated.
    #[must_use]
    pub fn seed(self, seed: u64) -> Self {
        self.set(|settings| settings.seed = Some(seed))
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
    pub(crate) fn for_stack(self) -> Self {
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
