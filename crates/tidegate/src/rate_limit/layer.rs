use std::num::NonZeroU32;
use std::time::Duration;

use tower_layer::Layer;

use super::{Handle, RateLimit};
use crate::shared::Shared;

/// Keeps to the provider's pace; see the [module page](crate::rate_limit).
///
/// One layer value is one limit: every service it makes, and every clone of those, shares it, unless
/// [`per_service`](Self::per_service) asks for one each. A setter begins a new limit.
#[derive(Clone, Debug)]
pub struct RateLimitLayer {
    handle: Handle,
    per_service: bool,
}

/// What a call does that finds no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum OnLimit {
    /// Waits for its turn, within `max_wait`, `max_waiting` and the deadline.
    #[default]
    Wait,
    /// Is refused at once.
    Reject,
}

/// What the user sets.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) enabled: bool,
    /// Finest period first; all of them have to have room.
    pub(super) quotas: Vec<Quota>,
    pub(super) burst: Option<NonZeroU32>,
    pub(super) on_limit: OnLimit,
    pub(super) max_wait: Duration,
    pub(super) max_waiting: usize,
    pub(super) pause: Duration,
}

/// So many requests in every period.
#[derive(Clone, Copy, Debug)]
pub(super) struct Quota {
    pub(super) requests: NonZeroU32,
    pub(super) period: Duration,
}

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

impl Default for RateLimitLayer {
    fn default() -> Self {
        Self::new()
    }
}

impl RateLimitLayer {
    /// No quota of our own yet: closes only when the provider says so. When it opens again, nothing sets a pace:
    /// all who have waited go at once.
    #[must_use]
    pub fn new() -> Self {
        let settings = Settings {
            enabled: true,
            quotas: Vec::new(),
            burst: None,
            on_limit: OnLimit::Wait,
            max_wait: Duration::from_secs(10),
            max_waiting: 1024,
            pause: SECOND,
        };
        Self { handle: Handle(Shared::new(settings)), per_service: false }
    }

    /// At most `requests` a second. Zero is taken as one.
    #[must_use]
    pub fn per_second(requests: u32) -> Self {
        Self::new().quota(requests, SECOND)
    }

    /// At most `requests` a minute. Zero is taken as one.
    #[must_use]
    pub fn per_minute(requests: u32) -> Self {
        Self::new().quota(requests, MINUTE)
    }

    /// At most `requests` a day. Zero is taken as one.
    #[must_use]
    pub fn per_day(requests: u32) -> Self {
        Self::new().quota(requests, DAY)
    }

    /// Lets everything through and listens to nobody, at the cost of a branch.
    #[must_use]
    pub fn disabled() -> Self {
        Self::new().set(|settings| settings.enabled = false)
    }

    /// One more quota: a call passes when every quota has room. Zero requests are taken as one.
    #[must_use]
    pub fn quota(self, requests: u32, period: Duration) -> Self {
        let requests = NonZeroU32::new(requests).unwrap_or(NonZeroU32::MIN);
        self.set(|settings| {
            settings.quotas.push(Quota { requests, period });
            settings.quotas.sort_by_key(|quota| quota.period);
        })
    }

    /// So many requests of the finest quota may come at once; by default as many as that quota holds. Zero is
    /// taken as one.
    #[must_use]
    pub fn burst_size(self, requests: u32) -> Self {
        self.set(|settings| settings.burst = NonZeroU32::new(requests).or(Some(NonZeroU32::MIN)))
    }

    /// What a call does that finds no room.
    #[must_use]
    pub fn on_limit(self, on_limit: OnLimit) -> Self {
        self.set(|settings| settings.on_limit = on_limit)
    }

    /// A call waits at most this long for its turn, and never past its deadline.
    #[must_use]
    pub fn max_wait(self, wait: Duration) -> Self {
        self.set(|settings| settings.max_wait = wait)
    }

    /// At most `calls` wait for their turn; the next one is refused at once.
    #[must_use]
    pub fn max_waiting(self, calls: usize) -> Self {
        self.set(|settings| settings.max_waiting = calls)
    }

    /// How long a 429 that names no time closes the gate.
    #[must_use]
    pub fn pause(self, pause: Duration) -> Self {
        self.set(|settings| settings.pause = pause)
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
    pub(crate) fn for_one(self) -> Self {
        Self { handle: self.share(), per_service: false }
    }

    fn set(self, change: impl FnOnce(&mut Settings)) -> Self {
        Self { handle: Handle(self.handle.0.fresh(change)), ..self }
    }
}

impl<S> Layer<S> for RateLimitLayer {
    type Service = RateLimit<S>;

    fn layer(&self, inner: S) -> RateLimit<S> {
        RateLimit::new(inner, self.share())
    }
}
