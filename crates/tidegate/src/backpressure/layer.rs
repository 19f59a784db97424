use std::sync::Arc;
use std::time::Duration;

use tower_layer::Layer;

use super::settings::{BackpressureSettings, Settings};
use super::{Backpressure, Handle, Limit, Order};
use crate::KeyBy;
use crate::layer_state::LayerState;
use crate::settings::{ConfigError, Hook};

/// Limits the number of calls in flight; see the [module page](crate::backpressure).
///
/// One layer value is one limit: every service it makes, and every clone of those, shares it, unless
/// [`per_service`](Self::per_service) is set. A setter creates a new limit, and the handles that were
/// given out follow it, unless a clone of the layer or a service still uses the state: these keep theirs.
#[must_use = "a layer does nothing until it wraps a service"]
#[derive(Clone, Debug)]
pub struct BackpressureLayer {
    handle: Handle,
    per_service: bool,
}

impl Default for BackpressureLayer {
    fn default() -> Self {
        Self::new()
    }
}

impl BackpressureLayer {
    /// At most 50 calls in flight; 64 queued per priority, each for at most 10 s.
    pub fn new() -> Self {
        Self::of(Settings::default())
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
        Self { handle: Handle(LayerState::new(settings.into())), per_service: false }
    }

    /// At most `calls` in flight, from the call to the end of its response body. Zero is raised to one. It
    /// is the upper bound of an adaptive limit.
    pub fn max_inflight(calls: usize) -> Self {
        Self::new().set(|settings| settings.max_inflight = calls.max(1))
    }

    /// No limit and no queue; the cost is one branch.
    pub fn disabled() -> Self {
        Self::new().set(|settings| settings.enabled = false)
    }

    /// Adjusts the limit between [`min_inflight`](Self::min_inflight) and
    /// [`max_inflight`](Self::max_inflight), based on the provider's latency and overload responses. It
    /// starts at 20, clamped to these bounds; until the unloaded provider has been measured once (16
    /// responses), half of that is in force.
    ///
    /// [`Aimd`](super::Aimd), [`Gradient`](super::Gradient), [`Vegas`](super::Vegas), or your own
    /// implementation of [`Limit`]; every limit gets a clone of it.
    pub fn adaptive(self, algorithm: impl Limit + Clone + Sync) -> Self {
        self.set(|settings| {
            settings.hooks.adaptive = Some(Hook(Arc::new(move || Box::new(algorithm.clone()))))
        })
    }

    /// The lower bound of an adaptive limit; 1 by default. A value above the maximum is treated as the
    /// maximum.
    pub fn min_inflight(self, calls: usize) -> Self {
        self.set(|settings| settings.min_inflight = calls)
    }

    /// Whether responses change the limit: by their times and losses, if it is adaptive, and by the times of
    /// answers, for which a queued call is rejected sooner. On by default. Turn it off for a limit of callers in
    /// front of several targets: what one of the providers does is no measure of the caller. An adaptive limit
    /// is then fixed at its upper bound. It is no part of [`Settings`](super::Settings): the gates of a
    /// configuration belong to one target each.
    pub fn follow_responses(self, follow: bool) -> Self {
        self.set(|settings| settings.hooks.ignores_responses = !follow)
    }

    /// At most `calls` of each [`Priority`](crate::Priority) are queued for a permit; 64 by default. If the
    /// queue is full, the last call in it or the new one is rejected at once: the new one, unless its
    /// [tenant](crate::backpressure#tenants) has fewer of them, or it comes back after a wait for its own
    /// rate. Zero disables the queue.
    ///
    /// Each priority has a queue of its own, so that neither can fill the queue of the other.
    pub fn max_queued(self, calls: usize) -> Self {
        self.set(|settings| settings.max_queued = calls)
    }

    /// The longest time that a call is queued for a permit, 10 s by default; never longer than its deadline.
    pub fn queue_timeout(self, timeout: Duration) -> Self {
        self.set(|settings| settings.queue_timeout = timeout)
    }

    /// The order in which queued interactive calls get permits; first come, first served by default.
    pub fn order(self, order: Order) -> Self {
        self.set(|settings| settings.order = order)
    }

    /// Bulkheads: a limit and a queue per key, so that one tenant, model or host cannot use up the limit of
    /// another.
    pub fn key_by(self, key: KeyBy) -> Self {
        self.set(|settings| settings.key_by = Some(key))
    }

    /// The most keys that are kept, 10 000 by default; keys in use are kept beyond that. Zero is raised to
    /// one.
    pub fn max_keys(self, keys: usize) -> Self {
        self.set(|settings| settings.max_keys = keys.max(1))
    }

    /// The name in events, usually `provider/model`. The first name set is kept.
    pub fn name(self, name: &str) -> Self {
        self.handle.0.name(name);
        self
    }

    /// Gives every service that this layer makes its own limit.
    pub fn per_service(self) -> Self {
        Self { per_service: true, ..self }
    }

    /// The limit shared by the services of this layer (the template, after
    /// [`per_service`](Self::per_service)).
    #[must_use]
    pub fn handle(&self) -> Handle {
        Handle(self.handle.0.to_hand_out())
    }

    /// The handle for one stack of this name.
    pub(crate) fn for_stack(&self, name: &str) -> Handle {
        let handle = self.share();
        handle.0.name_of_stack(name);
        handle
    }

    /// The handle for one more service or stack.
    fn share(&self) -> Handle {
        if self.per_service { Handle(self.handle.0.fresh(|_| ())) } else { self.handle.clone() }
    }

    fn set(self, change: impl FnOnce(&mut BackpressureSettings)) -> Self {
        Self { handle: Handle(self.handle.0.replace(change)), ..self }
    }
}

impl<S> Layer<S> for BackpressureLayer {
    type Service = Backpressure<S>;

    fn layer(&self, inner: S) -> Backpressure<S> {
        Backpressure::new(inner, self.share().by_thread())
    }
}
