use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;

use tower_layer::Layer;

use super::quota::{DAY, MINUTE, Quota, SECOND};
use super::settings::{Estimator, OnLimit, PerKey, HeaderClassifier, Settings};
use super::{Handle, RateLimit};
use crate::keyed::{DEFAULT_MAX_KEYS, Keyed};
use crate::shared_state::SharedState;
use crate::{Classifier, Estimate, KeyBy, LimitUnit, RequestHead};

/// Keeps to the provider's pace; see the [module page](crate::rate_limit).
///
/// One layer value is one limit: every service it makes, and every clone of those, shares it, unless
/// [`per_service`](Self::per_service) asks for one each. A setter begins a new limit.
#[derive(Clone, Debug)]
pub struct RateLimitLayer {
    handle: Handle,
    keys: Option<KeyedLimits>,
    per_service: bool,
}

/// What tells calls apart, and how many kinds of them are remembered.
#[derive(Clone, Debug)]
struct KeyedLimits {
    by: KeyBy,
    max: usize,
    states: Keyed<Handle>,
}

impl KeyedLimits {
    fn new(by: KeyBy, max: usize) -> Self {
        Self { states: Keyed::new(by.clone(), max), by, max }
    }

    /// The same, with nothing remembered.
    fn fresh(&self) -> Self {
        Self::new(self.by.clone(), self.max)
    }
}

impl Default for RateLimitLayer {
    fn default() -> Self {
        Self::new()
    }
}

/// The quotas.
impl RateLimitLayer {
    /// No quota of our own yet: keeps to what the provider announces, and closes when it says so.
    #[must_use]
    pub fn new() -> Self {
        Self::of(Handle(SharedState::new(Settings::default())))
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
        self.quota_of(LimitUnit::Requests, requests.into(), period)
    }

    /// At most so many tokens a second, prompts and answers together. Zero is taken as one.
    #[must_use]
    pub fn tokens_per_second(self, tokens: u64) -> Self {
        self.quota_of(LimitUnit::Tokens, tokens, SECOND)
    }

    /// At most so many tokens a minute, prompts and answers together. Zero is taken as one.
    #[must_use]
    pub fn tokens_per_minute(self, tokens: u64) -> Self {
        self.quota_of(LimitUnit::Tokens, tokens, MINUTE)
    }

    /// At most so many tokens a day, prompts and answers together. Zero is taken as one.
    #[must_use]
    pub fn tokens_per_day(self, tokens: u64) -> Self {
        self.quota_of(LimitUnit::Tokens, tokens, DAY)
    }

    /// At most so many tokens of prompts a minute. Zero is taken as one.
    #[must_use]
    pub fn input_tokens_per_minute(self, tokens: u64) -> Self {
        self.quota_of(LimitUnit::InputTokens, tokens, MINUTE)
    }

    /// At most so many tokens of answers a minute. Zero is taken as one.
    #[must_use]
    pub fn output_tokens_per_minute(self, tokens: u64) -> Self {
        self.quota_of(LimitUnit::OutputTokens, tokens, MINUTE)
    }

    /// One more quota in any currency: a call passes when every quota has room, and what costs more than a whole
    /// quota passes when that is full. Zero is taken as one.
    #[must_use]
    pub fn quota_of(self, unit: LimitUnit, amount: u64, period: Duration) -> Self {
        self.set(|settings| {
            settings.quotas.push(Quota::new(unit, amount, period));
            settings.quotas.sort_by_key(|quota| quota.period);
        })
    }

    /// So many requests of the finest quota of requests may come at once; by default as many as that quota holds.
    /// Zero is taken as one.
    #[must_use]
    pub fn burst_size(self, requests: u32) -> Self {
        self.set(|settings| settings.burst = NonZeroU64::new(requests.into()).or(Some(NonZeroU64::MIN)))
    }
}

/// What a call costs.
impl RateLimitLayer {
    /// An answer is taken to have so many tokens until it is known how many it has, where the request names no
    /// maximum. 500 by default.
    ///
    /// That is a page, and more than most answers have. It need not be the most that one may have: what an answer
    /// takes beyond is owed, and waited off by those who come after; what it does not take goes back. Many times
    /// too high keeps calls waiting for tokens that nobody uses, and many times too low lets a burst through that
    /// the provider refuses.
    #[must_use]
    pub fn default_output_tokens(self, tokens: u64) -> Self {
        self.set(|settings| settings.default_output = tokens)
    }

    /// Who tells how many tokens a request will take. By default a quick look at the JSON (with the feature
    /// `providers`), else a quarter of the length of the body. Asked only where a quota is in tokens.
    #[must_use]
    pub fn estimate(self, estimate: impl Estimate) -> Self {
        self.set(|settings| settings.estimate = Estimator(Arc::new(estimate)))
    }
}

/// What is learned.
impl RateLimitLayer {
    /// Whether the headers of answers are read for how the limits stand; by default they are. A 429 closes the gate
    /// in any case.
    #[must_use]
    pub fn follow_headers(self, follow: bool) -> Self {
        self.set(|settings| settings.follow_headers = follow)
    }

    /// Whether a quota that the provider announces holds though nobody configured it; by default it does. Otherwise
    /// what is announced only moves the quotas there are.
    #[must_use]
    pub fn adopt_reported_quotas(self, adopt: bool) -> Self {
        self.set(|settings| settings.adopt_reported_quotas = adopt)
    }

    /// Who reads the headers of answers. By default the classifier of the stack, and for a layer that is used alone
    /// whatever [any provider](crate::ReportedLimits::from_headers) may send.
    #[must_use]
    pub fn classifier(self, classifier: impl Classifier) -> Self {
        self.set(|settings| settings.classifier = Some(HeaderClassifier(Arc::new(classifier))))
    }

    /// How long a 429 that names no time closes the gate.
    #[must_use]
    pub fn default_retry_after(self, wait: Duration) -> Self {
        self.set(|settings| settings.default_retry_after = wait)
    }
}

/// Waiting.
impl RateLimitLayer {
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

    /// At most `calls` of each [`Priority`](crate::Priority) wait for their turn; the next one is refused at once.
    /// While both wait, batch calls get every fifth turn.
    #[must_use]
    pub fn max_waiting(self, calls: usize) -> Self {
        self.set(|settings| settings.max_waiting = calls)
    }
}

/// Whose limit it is.
impl RateLimitLayer {
    /// A limit for each key: a tenant, a credential, a model, or whatever tells calls apart. What is learned from an
    /// answer is learned for its key.
    ///
    /// A key that has been idle for long enough to be as new is forgotten. The limit that [`handle`](Self::handle)
    /// shows is then nobody's.
    #[must_use]
    pub fn key_by(mut self, key: KeyBy) -> Self {
        let max = self.keys.as_ref().map_or(DEFAULT_MAX_KEYS, |keys| keys.max);
        self.keys = Some(KeyedLimits::new(key, max));
        self
    }

    /// At most so many keys are remembered, 10 000 by default; past that the least used are forgotten, with what was
    /// counted against them. Zero is taken as one. Of no effect without [`key_by`](Self::key_by), which comes first.
    #[must_use]
    pub fn max_keys(mut self, keys: usize) -> Self {
        self.keys = self.keys.map(|it| KeyedLimits::new(it.by, keys));
        self
    }

    /// Other settings for some keys: asked at the first call with a key (and again when it has been forgotten) with
    /// the head of the request and this layer, answers with the layer for that key.
    ///
    /// ```
    /// use tidegate::{KeyBy, RateLimitLayer};
    ///
    /// let layer = RateLimitLayer::per_minute(60).key_by(KeyBy::tenant()).per_key(|head, usual| {
    ///     if head.headers.contains_key("x-premium") { RateLimitLayer::per_minute(600) } else { usual }
    /// });
    /// ```
    #[must_use]
    pub fn per_key(self, settings: impl Fn(&RequestHead<'_>, Self) -> Self + Send + Sync + 'static) -> Self {
        self.set(|it| it.per_key = Some(PerKey(Arc::new(settings))))
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

    /// How many keys are remembered.
    #[must_use]
    pub fn keys(&self) -> usize {
        self.keys.as_ref().map_or(0, |keys| keys.states.len())
    }

    /// A layer that shares this limit.
    pub(super) fn of(handle: Handle) -> Self {
        Self { handle, keys: None, per_service: false }
    }

    /// A limit like this one, without a past.
    pub(super) fn fresh(&self) -> Handle {
        Handle(self.handle.0.fresh(|_| ()))
    }

    /// This layer for one stack, whose parts all look at the same handle.
    #[cfg(feature = "stack")]
    pub(crate) fn for_stack(self) -> Self {
        let (handle, keys) = self.share();
        Self { handle, keys, per_service: false }
    }

    /// Has the headers of answers read by `classifier`, if nobody else was named.
    #[cfg(feature = "stack")]
    pub(crate) fn with_default_classifier(self, classifier: &Arc<dyn Classifier>) -> Self {
        self.handle.set_default_classifier(classifier);
        self
    }

    /// What one more service, or stack, is to look at.
    fn share(&self) -> (Handle, Option<KeyedLimits>) {
        match self.per_service {
            true => (self.fresh(), self.keys.as_ref().map(KeyedLimits::fresh)),
            false => (self.handle.clone(), self.keys.clone()),
        }
    }

    fn set(self, change: impl FnOnce(&mut Settings)) -> Self {
        let (handle, keys) = (Handle(self.handle.0.fresh(change)), self.keys.as_ref().map(KeyedLimits::fresh));
        Self { handle, keys, ..self }
    }
}

impl<S> Layer<S> for RateLimitLayer {
    type Service = RateLimit<S>;

    fn layer(&self, inner: S) -> RateLimit<S> {
        let (handle, keys) = self.share();
        RateLimit::new(inner, handle, keys.map(|keys| keys.states))
    }
}
