use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tower_layer::Layer;

use super::{Backpressure, Handle, Limit, Order};
use crate::KeyBy;
use crate::keyed::DEFAULT_MAX_KEYS;
use crate::shared_state::SharedState;

/// Bounds how many calls are in flight; see the [module page](crate::backpressure).
///
/// One layer value is one limit: every service it makes, and every clone of those, shares it, unless
/// [`per_service`](Self::per_service) asks for one each. A setter begins a new limit.
#[derive(Clone, Debug)]
pub struct BackpressureLayer {
    handle: Handle,
    per_service: bool,
}

/// What the user sets.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    /// `None`: no limit, no queue.
    pub(super) max_inflight: Option<usize>,
    pub(super) max_queued: usize,
    pub(super) queue_timeout: Duration,
    pub(super) order: Order,
    /// `None`: the limit stays where it is.
    pub(super) adaptive: Option<LimitFactory>,
    pub(super) min_inflight: usize,
    /// `None`: all calls share one limit.
    pub(super) key_by: Option<KeyBy>,
    pub(super) max_keys: usize,
}

/// Makes an algorithm without a past, one for each limit.
#[derive(Clone)]
pub(super) struct LimitFactory(Arc<dyn Fn() -> Box<dyn Limit> + Send + Sync>);

impl Default for BackpressureLayer {
    fn default() -> Self {
        Self::new()
    }
}

impl BackpressureLayer {
    /// At most 50 calls in flight, 64 queued, each for at most 10 s.
    #[must_use]
    pub fn new() -> Self {
        let settings = Settings {
            max_inflight: Some(50),
            max_queued: 64,
            queue_timeout: Duration::from_secs(10),
            order: Order::Fifo,
            adaptive: None,
            min_inflight: 1,
            key_by: None,
            max_keys: DEFAULT_MAX_KEYS,
        };
        Self { handle: Handle(SharedState::new(settings)), per_service: false }
    }

    /// At most `calls` in flight, from the call to the end of its body. Zero is taken as one. An adaptive limit is
    /// never higher.
    #[must_use]
    pub fn max_inflight(calls: usize) -> Self {
        Self::new().set(|settings| settings.max_inflight = Some(calls.max(1)))
    }

    /// Finds the limit by itself, between [`min_inflight`](Self::min_inflight) and
    /// [`max_inflight`](Self::max_inflight), from how long the provider takes and what it refuses. Begins at 20, or as
    /// near as the two allow; until it has seen the provider at ease once (16 answers), half of that is in force.
    ///
    /// [`Aimd`](super::Aimd), [`Gradient`](super::Gradient), [`Vegas`](super::Vegas), or your own; every limit
    /// has a clone of it.
    #[must_use]
    pub fn adaptive(self, algorithm: impl Limit + Clone + Sync) -> Self {
        let algorithm = LimitFactory(Arc::new(move || Box::new(algorithm.clone())));
        self.set(|settings| settings.adaptive = Some(algorithm))
    }

    /// An adaptive limit is never lower than this; 1 by default. Above the most, it is taken as that.
    #[must_use]
    pub fn min_inflight(self, calls: usize) -> Self {
        self.set(|settings| settings.min_inflight = calls)
    }

    /// Lets everything through, at the cost of a branch.
    #[must_use]
    pub fn disabled() -> Self {
        Self::new().set(|settings| settings.max_inflight = None)
    }

    /// At most `calls` of each [`Priority`](crate::Priority) wait for a permit; the next one is refused at once.
    /// Zero: nobody waits.
    ///
    /// A line for each, so that neither can take the places that the other would wait in.
    #[must_use]
    pub fn max_queued(self, calls: usize) -> Self {
        self.set(|settings| settings.max_queued = calls)
    }

    /// A call waits at most this long for a permit, and never past its deadline.
    #[must_use]
    pub fn queue_timeout(self, timeout: Duration) -> Self {
        self.set(|settings| settings.queue_timeout = timeout)
    }

    /// Who goes first among interactive calls that wait; first come first served by default.
    #[must_use]
    pub fn order(self, order: Order) -> Self {
        self.set(|settings| settings.order = order)
    }

    /// Bulkheads: a limit and a queue for each key, so that one tenant, model or host fills its own and no other's.
    #[must_use]
    pub fn key_by(self, key: KeyBy) -> Self {
        self.set(|settings| settings.key_by = Some(key))
    }

    /// So many keys are remembered, 10 000 by default; those in use always are. Zero is taken as one.
    #[must_use]
    pub fn max_keys(self, keys: usize) -> Self {
        self.set(|settings| settings.max_keys = keys)
    }

    /// The name in events, usually `provider/model`. The first name given holds.
    #[must_use]
    pub fn name(self, name: &str) -> Self {
        self.handle.0.name(name);
        self
    }

    /// Gives every service that this layer makes a limit of its own.
    #[must_use]
    pub fn per_service(self) -> Self {
        Self { per_service: true, ..self }
    }

    /// The limit shared by the services of this layer (the template, after [`per_service`](Self::per_service)).
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

impl<S> Layer<S> for BackpressureLayer {
    type Service = Backpressure<S>;

    fn layer(&self, inner: S) -> Backpressure<S> {
        Backpressure::new(inner, self.share())
    }
}

impl LimitFactory {
    pub(super) fn build(&self) -> Box<dyn Limit> {
        (self.0)()
    }
}

impl fmt::Debug for LimitFactory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LimitFactory")
    }
}
