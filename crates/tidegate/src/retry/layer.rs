use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tower_layer::Layer;

use super::backoff::Backoff;
use super::codes::CodeSet;
use super::policy::RetryPolicy;
use super::{GatesBelow, Handle, Jitter, Retry, Strategy};
use crate::shared_state::SharedState;
use crate::{ErrorCode, Payload};

/// Asks again when that makes sense; see the [module page](crate::retry).
///
/// One layer value is one budget: every service it makes, and every clone of those, shares it, unless
/// [`per_service`](Self::per_service) asks for one each. A setter begins a new budget.
#[derive(Clone, Debug)]
pub struct RetryLayer {
    handle: Handle,
    per_service: bool,
    pub(super) gates_below: GatesBelow,
}

/// What the user sets.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) policy: RetryPolicy,
    /// Ratio of the traffic, and retries a second on top.
    pub(super) budget: Option<(f64, u32)>,
    pub(super) body_cap: usize,
    pub(super) seed: Option<u64>,
    pub(super) reserve: Duration,
    pub(super) load: Option<LoadGauge>,
    pub(super) idempotency_key: bool,
    pub(super) attempt_header: bool,
}

/// Tells how much of what we may use is in use.
#[derive(Clone)]
pub(super) struct LoadGauge(Arc<dyn Fn() -> Option<f64> + Send + Sync>);

impl Default for RetryLayer {
    fn default() -> Self {
        Self::exponential()
    }
}

impl RetryLayer {
    /// 3 retries, after 1 s, 2 s and 4 s at most, with full jitter.
    #[must_use]
    pub fn exponential() -> Self {
        Self::new(Strategy::Exponential)
    }

    /// 3 retries, whose waits begin with 1 s and grow as `strategy` says up to 30 s, with full jitter.
    #[must_use]
    pub fn new(strategy: Strategy) -> Self {
        let settings = Settings {
            policy: RetryPolicy {
                max_retries: 3,
                backoff: Backoff {
                    strategy,
                    jitter: Jitter::Full,
                    initial: Duration::from_secs(1),
                    max: Duration::from_secs(30),
                    multiplier: 2.0,
                },
                codes: CodeSet::ALL,
                retry_rejections: false,
            },
            budget: Some((0.2, 10)),
            body_cap: Payload::DEFAULT_CAP,
            seed: None,
            reserve: Duration::ZERO,
            load: None,
            idempotency_key: false,
            attempt_header: false,
        };
        Self { handle: Handle(SharedState::new(settings)), per_service: false, gates_below: GatesBelow::default() }
    }

    /// Never asks again, and keeps nothing to do so.
    #[must_use]
    pub fn disabled() -> Self {
        Self::exponential().max_retries(0)
    }

    /// At most so many attempts after the first.
    #[must_use]
    pub fn max_retries(self, retries: u32) -> Self {
        self.set(|settings| settings.policy.max_retries = retries)
    }

    /// How the waits grow. Exponentially by default.
    #[must_use]
    pub fn strategy(self, strategy: Strategy) -> Self {
        self.set(|settings| settings.policy.backoff.strategy = strategy)
    }

    /// What is random about the waits. All of them by default.
    #[must_use]
    pub fn jitter(self, jitter: Jitter) -> Self {
        self.set(|settings| settings.policy.backoff.jitter = jitter)
    }

    /// How much of what may be used is in use, 1 being all, for [`Strategy::Adaptive`]; `None` where that is not known.
    ///
    /// In the stack it is by default the part of `max_inflight` that is in flight. Asked before each wait, so it
    /// should be cheap.
    #[must_use]
    pub fn load(self, load: impl Fn() -> Option<f64> + Send + Sync + 'static) -> Self {
        self.set(|settings| settings.load = Some(LoadGauge(Arc::new(load))))
    }

    /// What the waits grow from: before its jitter, the wait after the first attempt. 1 s by default.
    #[must_use]
    pub fn initial_delay(self, delay: Duration) -> Self {
        self.set(|settings| settings.policy.backoff.initial = delay)
    }

    /// No wait of our own choice is longer than this, its jitter included; when the provider tells a longer one, the
    /// retrying ends. 30 s by default.
    #[must_use]
    pub fn max_delay(self, delay: Duration) -> Self {
        self.set(|settings| settings.policy.backoff.max = delay)
    }

    /// Each wait is this many times the one before. Below 1, and what is not a number, is taken as 1.
    #[must_use]
    pub fn backoff_multiplier(self, multiplier: f64) -> Self {
        // `max` answers 1 for a NaN.
        self.set(|settings| settings.policy.backoff.multiplier = multiplier.max(1.0))
    }

    /// Retries add at most `ratio` (0 to 1) to the traffic, and `floor` a second on top.
    #[must_use]
    pub fn budget(self, ratio: f64, floor: u32) -> Self {
        self.set(|settings| settings.budget = Some((ratio, floor)))
    }

    /// Retries are bounded by their count alone.
    #[must_use]
    pub fn without_budget(self) -> Self {
        self.set(|settings| settings.budget = None)
    }

    /// Waits for a gate of ours that refused, if it says for how long and the call has a deadline that allows it.
    ///
    /// Off by default: an open circuit is there to be told at once, and a fallback can do better than wait.
    #[must_use]
    pub fn retry_rejections(self, retry: bool) -> Self {
        self.set(|settings| settings.policy.retry_rejections = retry)
    }

    /// Of the codes that may be retried, only these are, even where the provider demands more. All of them by default.
    #[must_use]
    pub fn retry_on(self, codes: impl IntoIterator<Item = ErrorCode>) -> Self {
        self.set(|settings| settings.policy.codes = codes.into_iter().collect())
    }

    /// Keeps the last part of a call's time for a fallback: every attempt that has no answer by then is cut off, and no
    /// wait or retry goes into it. At most half of what is left when the call comes here. Nothing by default.
    ///
    /// A stream that has had its first token runs on into it, as nobody else will be asked; and the last target of a
    /// chain has it to itself.
    #[must_use]
    pub fn reserve_for_fallback(self, reserve: Duration) -> Self {
        self.set(|settings| settings.reserve = reserve)
    }

    /// Sends an `Idempotency-Key`, the same with every attempt of a call, unless the call has brought one or its
    /// method needs none.
    ///
    /// Off by default: we know of no provider of models that documents what it does with the header, and a proxy on the way may be
    /// strict about what it lets through. For an endpoint that honours it, this is what keeps a retry after a lost
    /// answer from being paid for twice. Another target of a chain gets a key of its own.
    #[must_use]
    pub fn idempotency_key(self, send: bool) -> Self {
        self.set(|settings| settings.idempotency_key = send)
    }

    /// Sends the number of the attempt as `x-tidegate-attempt`, counted from 1.
    ///
    /// Off by default, as the providers have no use for it; own servers and logs may. The providers' client
    /// libraries send theirs as `x-stainless-retry-count`: to send that here would be to say that they ask.
    #[must_use]
    pub fn attempt_header(self, send: bool) -> Self {
        self.set(|settings| settings.attempt_header = send)
    }

    /// Request bodies up to so many bytes are kept to be sent again; 32 MiB by default.
    #[must_use]
    pub fn body_cap(self, bytes: usize) -> Self {
        self.set(|settings| settings.body_cap = bytes)
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

    /// Gives every service that this layer makes a budget of its own.
    #[must_use]
    pub fn per_service(self) -> Self {
        Self { per_service: true, ..self }
    }

    /// The statistics shared by the services of this layer (the template, after [`per_service`](Self::per_service)).
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
        Self { handle: self.share(), per_service: false, ..self }
    }

    /// Asks these gates before it waits.
    #[cfg(feature = "stack")]
    pub(crate) fn gates_below(self, gates_below: GatesBelow) -> Self {
        Self { gates_below, ..self }
    }

    fn set(self, change: impl FnOnce(&mut Settings)) -> Self {
        Self { handle: Handle(self.handle.0.fresh(change)), ..self }
    }
}

impl LoadGauge {
    pub(super) fn read(&self) -> Option<f64> {
        (self.0)()
    }
}

impl fmt::Debug for LoadGauge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Load")
    }
}

impl<S> Layer<S> for RetryLayer {
    type Service = Retry<S>;

    fn layer(&self, inner: S) -> Retry<S> {
        Retry::new(inner, self.share(), self.gates_below.clone())
    }
}
