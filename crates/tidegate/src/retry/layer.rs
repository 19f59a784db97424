use std::sync::Arc;
use std::time::Duration;

use tower_layer::Layer;

use super::settings::{RetryBudget, RetrySettings, Settings};
use super::{Handle, Jitter, Retry, Strategy};
use crate::ErrorCode;
use crate::attempt::AttemptGates;
use crate::layer_state::LayerState;
use crate::settings::{ConfigError, Hook};

/// Retries failed attempts; see the [module page](crate::retry).
///
/// One layer value is one retry budget: every service it makes, and every clone of those, shares it, unless
/// [`per_service`](Self::per_service) is set. A setter creates a new budget, and the handles that were
/// given out follow it, unless a clone of the layer or a service still uses the state: these keep theirs.
#[must_use = "a layer does nothing until it wraps a service"]
#[derive(Clone, Debug)]
#[doc(alias = "IntelligentRetryManager")]
pub struct RetryLayer {
    pub(super) handle: Handle,
    per_service: bool,
    pub(super) gates_below: Option<AttemptGates>,
}

impl Default for RetryLayer {
    fn default() -> Self {
        Self::exponential()
    }
}

impl RetryLayer {
    /// 3 retries after at most 1 s, 2 s and 4 s, with full jitter.
    pub fn exponential() -> Self {
        Self::new(Strategy::Exponential)
    }

    /// 3 retries with full jitter. The waits begin with 1 s and grow by `strategy` up to 30 s.
    pub fn new(strategy: Strategy) -> Self {
        Self::of(Settings { strategy, ..Settings::default() })
    }

    /// Creates a layer with these settings.
    ///
    /// # Errors
    ///
    /// A setting is out of its range.
    pub fn from_settings(settings: Settings) -> Result<Self, ConfigError> {
        settings.check()?;
        Ok(Self::of(settings))
    }

    /// A layer with these settings, which are valid.
    pub(crate) fn of(settings: Settings) -> Self {
        Self { handle: Handle(LayerState::new(settings.into())), per_service: false, gates_below: None }
    }

    /// Never retries, and keeps nothing for a retry, unless a request has a
    /// [`RetryOverride`](super::RetryOverride) with a number of retries. Setters turn nothing on.
    pub fn disabled() -> Self {
        Self::exponential().set(|settings| settings.enabled = false)
    }
}

/// What is retried, and how often.
impl RetryLayer {
    /// Attempts after the first, at most. 3 by default.
    pub fn max_retries(self, retries: u32) -> Self {
        self.set(|settings| settings.max_retries = retries)
    }

    /// Restricts retries to these codes, even where the provider demands a retry for another, and to errors
    /// that are marked as [retryable](super::RetryableError). All retryable codes by default.
    #[doc(alias = "retryable_exceptions")]
    pub fn retry_on(self, codes: impl IntoIterator<Item = ErrorCode>) -> Self {
        self.set(|settings| settings.retry_on = Some(codes.into_iter().collect()))
    }

    /// Retries a rejection by one of the gates, if its wait is at most [`max_delay`](Self::max_delay), and
    /// the call has a deadline that allows it. Without a deadline there is no such retry.
    ///
    /// Off by default: an open circuit is meant to fail at once, and a fallback can do better than wait.
    pub fn retry_rejections(self, retry: bool) -> Self {
        self.set(|settings| settings.retry_rejections = retry)
    }

    /// Retries add at most `ratio` (0 to 1) to the traffic, and `floor` a second on top. 0.2 and 10 by
    /// default.
    pub fn budget(self, ratio: f64, floor: u32) -> Self {
        self.set(|settings| settings.budget = Some(RetryBudget { ratio, floor }))
    }

    /// Removes the retry budget: only the number of retries per call is bounded.
    pub fn without_budget(self) -> Self {
        self.set(|settings| settings.budget = None)
    }
}

/// The waits.
impl RetryLayer {
    /// How the waits grow. Exponential by default.
    pub fn strategy(self, strategy: Strategy) -> Self {
        self.set(|settings| settings.strategy = strategy)
    }

    /// The random part of the waits. [`Jitter::Full`] by default.
    pub fn jitter(self, jitter: Jitter) -> Self {
        self.set(|settings| settings.jitter = jitter)
    }

    /// The wait after the first attempt, before its jitter; later waits grow from it. 1 s by default.
    #[doc(alias = "base_delay")]
    pub fn initial_delay(self, delay: Duration) -> Self {
        self.set(|settings| settings.initial_delay = delay)
    }

    /// The longest wait of the back-off, jitter included. A longer wait given by the provider ends the
    /// retries. 30 s by default.
    pub fn max_delay(self, delay: Duration) -> Self {
        self.set(|settings| settings.max_delay = delay)
    }

    /// Each wait is this many times the one before. Values below 1, and NaN, are taken as 1. 2 by default.
    pub fn backoff_multiplier(self, multiplier: f64) -> Self {
        // `max` returns 1 for a NaN.
        self.set(|settings| settings.backoff_multiplier = multiplier.max(1.0))
    }

    /// Sets a gauge of the load for [`Strategy::Adaptive`]: the used part of the capacity, 1 being all of it;
    /// `None` if it is unknown.
    ///
    /// In the stack, the default gauge is the part of `max_inflight` that is in flight. The gauge is read
    /// before each wait, so it should be cheap.
    pub fn load(self, load: impl Fn() -> Option<f64> + Send + Sync + 'static) -> Self {
        self.set(|settings| settings.hooks.load = Some(Hook(Arc::new(load))))
    }

    /// Reserves the last part of a call's time for a fallback. An attempt that has no response by then is cut
    /// off, and no wait or retry extends into the reserve. The reserve is at most half of the time that is
    /// left when the call arrives here. None by default.
    ///
    /// A stream may use the reserve once its first token has arrived, since no other target will be tried.
    /// The last target of a chain may use it as well.
    pub fn reserve_for_fallback(self, reserve: Duration) -> Self {
        self.set(|settings| settings.reserve_for_fallback = reserve)
    }

    /// Seeds the random numbers of the jitter, so that a run can be repeated.
    pub fn seed(self, seed: u64) -> Self {
        self.set(|settings| settings.hooks.seed = Some(seed))
    }
}

/// The request of an attempt.
impl RetryLayer {
    /// Sends an `Idempotency-Key`, the same with every attempt of a call, unless the request already has one
    /// or its method is idempotent.
    ///
    /// Off by default: no provider of models is known to document what it does with the header, and a proxy
    /// on the way may reject unknown headers. For an endpoint that honours it, the key prevents paying twice
    /// when a response was lost and the request is retried. Each other target of a chain gets its own key.
    pub fn idempotency_key(self, send: bool) -> Self {
        self.set(|settings| settings.idempotency_key = send)
    }

    /// Sends the number of the attempt as `x-tidegate-attempt`, counted from 1.
    ///
    /// Off by default: the providers do not use it, but your own servers and logs may. The providers' client
    /// libraries send `x-stainless-retry-count`; this layer does not, since the header identifies those
    /// libraries.
    pub fn attempt_header(self, send: bool) -> Self {
        self.set(|settings| settings.attempt_header = send)
    }

    /// Request bodies up to this size are buffered so that they can be sent again. 32 MiB by default.
    pub fn body_cap(self, bytes: usize) -> Self {
        self.set(|settings| settings.body_cap = bytes)
    }
}

/// The scope of the budget.
impl RetryLayer {
    /// The name in events, usually `provider/model`. The first name set is kept.
    pub fn name(self, name: &str) -> Self {
        self.handle.0.name(name);
        self
    }

    /// Gives every service that this layer makes its own budget.
    pub fn per_service(self) -> Self {
        Self { per_service: true, ..self }
    }

    /// The statistics shared by the services of this layer (those of the template, after
    /// [`per_service`](Self::per_service)).
    #[must_use]
    pub fn handle(&self) -> Handle {
        Handle(self.handle.0.to_hand_out())
    }

    /// The handle for one more service or stack.
    pub(crate) fn share(&self) -> Handle {
        if self.per_service { Handle(self.handle.0.fresh(|_| ())) } else { self.handle.clone() }
    }

    /// This layer for one stack of this name, all parts of which share one handle.
    pub(crate) fn for_stack(self, name: &str) -> Self {
        let handle = self.share();
        handle.0.name_of_stack(name);
        Self { handle, per_service: false, ..self }
    }

    /// The attempts of a whole call, which the stack limits.
    pub(crate) fn call_attempts(&self) -> Option<u32> {
        self.handle.0.settings().max_attempts
    }

    /// Checks these gates before a wait.
    pub(crate) fn gates_below(self, gates: AttemptGates) -> Self {
        Self { gates_below: Some(gates), ..self }
    }

    fn set(self, change: impl FnOnce(&mut RetrySettings)) -> Self {
        Self { handle: Handle(self.handle.0.replace(change)), ..self }
    }
}

impl<S> Layer<S> for RetryLayer {
    type Service = Retry<S>;

    fn layer(&self, inner: S) -> Retry<S> {
        Retry::new(inner, self.share(), self.gates_below.clone())
    }
}
