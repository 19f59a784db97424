use std::sync::Arc;
use std::time::Duration;

use tower_layer::Layer;

use super::quota::{DAY, MINUTE, Quota, SECOND};
use super::settings::{OnLimit, RateLimitSettings, Settings};
use super::{Handle, RateLimit};
use crate::layer_state::LayerState;
use crate::settings::{ConfigError, Hook};
use crate::store::{ServiceNumbers, Store};
use crate::{Classifier, Estimate, KeyBy, LimitUnit, RequestHead};

/// Limits the rate of requests to a provider; see the [module page](crate::rate_limit).
///
/// One layer value is one limit: every service it makes, and every clone of those, shares it, unless
/// [`per_service`](Self::per_service) is set. A setter creates a new limit, and the handles that were
/// given out follow it, unless a clone of the layer or a service still uses the state: these keep theirs.
#[must_use = "a layer does nothing until it wraps a service"]
#[derive(Clone, Debug)]
#[doc(alias = "RateLimiter")]
pub struct RateLimitLayer {
    handle: Handle,
    /// Present if each service has its own state.
    per_service: Option<ServiceNumbers>,
}

impl Default for RateLimitLayer {
    fn default() -> Self {
        Self::new()
    }
}

/// The quotas.
impl RateLimitLayer {
    /// Creates a layer without a configured quota. It follows the limits that the provider reports, and
    /// closes after a 429.
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
        Self::of_handle(Handle(LayerState::new(settings.into())))
    }

    /// At most `requests` a second. Zero is raised to one.
    pub fn per_second(requests: u32) -> Self {
        Self::new().quota(requests, SECOND)
    }

    /// At most `requests` a minute. Zero is raised to one.
    pub fn per_minute(requests: u32) -> Self {
        Self::new().quota(requests, MINUTE)
    }

    /// At most `requests` a day. Zero is raised to one.
    pub fn per_day(requests: u32) -> Self {
        Self::new().quota(requests, DAY)
    }

    /// Creates a layer that admits every call and ignores all reports, at the cost of a branch.
    pub fn disabled() -> Self {
        Self::new().set(|settings| settings.enabled = false)
    }

    /// Adds a request quota. A call passes when every quota has room. Zero requests are raised to one, and a
    /// period of zero to a nanosecond.
    pub fn quota(self, requests: u32, period: Duration) -> Self {
        self.quota_of(LimitUnit::Requests, requests.into(), period)
    }

    /// At most this many tokens a second, prompts and responses together. Zero is raised to one.
    pub fn tokens_per_second(self, tokens: u64) -> Self {
        self.quota_of(LimitUnit::Tokens, tokens, SECOND)
    }

    /// At most this many tokens a minute, prompts and responses together. Zero is raised to one.
    pub fn tokens_per_minute(self, tokens: u64) -> Self {
        self.quota_of(LimitUnit::Tokens, tokens, MINUTE)
    }

    /// At most this many tokens a day, prompts and responses together. Zero is raised to one.
    pub fn tokens_per_day(self, tokens: u64) -> Self {
        self.quota_of(LimitUnit::Tokens, tokens, DAY)
    }

    /// At most this many prompt tokens a minute. Zero is raised to one.
    pub fn input_tokens_per_minute(self, tokens: u64) -> Self {
        self.quota_of(LimitUnit::InputTokens, tokens, MINUTE)
    }

    /// At most this many response tokens a minute. Zero is raised to one.
    pub fn output_tokens_per_minute(self, tokens: u64) -> Self {
        self.quota_of(LimitUnit::OutputTokens, tokens, MINUTE)
    }

    /// Adds a quota in any unit. A call passes when every quota has room. A call that costs more than a whole
    /// quota passes when that quota is full. An amount of zero is raised to one, and a period of zero to a
    /// nanosecond.
    pub fn quota_of(self, unit: LimitUnit, amount: u64, period: Duration) -> Self {
        self.set(|settings| settings.quotas.push(Quota::new(unit, amount, period)))
    }

    /// The number of requests that may pass at once under the request quota with the shortest period. The
    /// default is the whole quota. Zero is raised to one.
    pub fn burst_size(self, requests: u32) -> Self {
        self.set(|settings| settings.burst_size = Some(requests.max(1)))
    }
}

/// The cost of a call.
impl RateLimitLayer {
    /// The tokens that are reserved for a response when the request sets no maximum, 500 by default.
    ///
    /// That is a page, and more than most responses have. It need not be the largest possible response: a
    /// response that takes more is charged afterwards and delays later calls, and what it does not take is
    /// returned. A value many times too high makes calls wait for tokens that are never used. A value many
    /// times too low admits a burst that the provider rejects.
    pub fn default_output_tokens(self, tokens: u64) -> Self {
        self.set(|settings| settings.default_output_tokens = tokens)
    }

    /// Sets the estimate of the tokens that a request will take. The default scans the JSON quickly (with the
    /// feature `providers`), or else takes a quarter of the length of the body. It is only used if a quota
    /// counts tokens.
    pub fn estimate(self, estimate: impl Estimate) -> Self {
        self.set(|settings| settings.hooks.estimate = Some(Hook(Arc::new(estimate))))
    }
}

/// The limits that the provider reports.
impl RateLimitLayer {
    /// Whether to read the limits in response headers. On by default. A 429 closes the gate in any case. Neither
    /// has an effect if [`follow_responses`](Self::follow_responses) is off.
    pub fn follow_headers(self, follow: bool) -> Self {
        self.set(|settings| settings.follow_headers = follow)
    }

    /// Whether responses change the limit: 429s and other waits of the provider, and the limits in headers. On
    /// by default. Turn it off for a limit of callers in front of several targets, which counts requests and
    /// tokens alone: what one of the providers reports is not a limit of the caller. It is no part of
    /// [`Settings`](super::Settings): the gates of a configuration belong to one target each.
    pub fn follow_responses(self, follow: bool) -> Self {
        self.set(|settings| settings.hooks.ignores_responses = !follow)
    }

    /// Whether a reported quota that is not configured is adopted. On by default. Otherwise a report only
    /// adjusts the configured quotas.
    pub fn adopt_reported_quotas(self, adopt: bool) -> Self {
        self.set(|settings| settings.adopt_reported_quotas = adopt)
    }

    /// Sets the classifier that reads the limits in response headers. The default is the classifier of the
    /// stack, and for a layer that is used alone the headers of [any
    /// provider](crate::ReportedLimits::from_headers).
    pub fn classifier(self, classifier: impl Classifier) -> Self {
        self.set(|settings| settings.hooks.classifier = Some(Hook(Arc::new(classifier))))
    }

    /// How long a 429 without a wait closes the gate, 1 s by default.
    pub fn default_retry_after(self, wait: Duration) -> Self {
        self.set(|settings| settings.default_retry_after = wait)
    }
}

/// Waiting.
impl RateLimitLayer {
    /// What happens to a call that finds no room, [`OnLimit::Wait`] by default.
    pub fn on_limit(self, on_limit: OnLimit) -> Self {
        self.set(|settings| settings.on_limit = on_limit)
    }

    /// The longest time that a call waits in the queue, 10 s by default. A call never waits past its
    /// deadline.
    pub fn max_wait(self, wait: Duration) -> Self {
        self.set(|settings| settings.max_wait = wait)
    }

    /// At most `calls` of each [`Priority`](crate::Priority) wait in the queue, 1024 by default. If it is
    /// full, the call that would be served last is rejected at once: the new one, unless its tenant has less
    /// in the queue. While both priorities wait, a fifth of the quota goes to batch calls.
    pub fn max_waiting(self, calls: usize) -> Self {
        self.set(|settings| settings.max_waiting = calls)
    }
}

/// The scope of the limit.
impl RateLimitLayer {
    /// Keeps a limit for each key: a tenant, a credential, a model, or any other part of a request. A report
    /// applies to the key of its request.
    ///
    /// A key that has been idle until its quotas are full again is dropped. See [`Handle::of`] for the limit
    /// of a key.
    pub fn key_by(self, key: KeyBy) -> Self {
        self.set(|settings| settings.key_by = Some(key))
    }

    /// The most keys that are kept, 10 000 by default. Beyond that the least used keys are dropped
    /// together with their counts. Zero is raised to one. Has no effect without [`key_by`](Self::key_by).
    pub fn max_keys(self, keys: usize) -> Self {
        self.set(|settings| settings.max_keys = keys.max(1))
    }

    /// Sets other settings for some keys. The closure runs at the first call with a key, again after the key
    /// was dropped, and whenever a handle looks at a key without a state (`peek_for`). It gets the head of the
    /// request and this layer, and returns the layer for that key. A new layer has the name, the store, the
    /// classifier and the estimate of this one, unless it has its own, and follows no responses if this one does
    /// not.
    ///
    /// ```
    /// use tidegate::{KeyBy, RateLimitLayer};
    /// let layer = RateLimitLayer::per_minute(60).key_by(KeyBy::tenant()).per_key(|head, default| {
    ///     if head.headers.contains_key("x-premium") { RateLimitLayer::per_minute(600) } else { default }
    /// });
    /// ```
    pub fn per_key(self, settings: impl Fn(&RequestHead<'_>, Self) -> Self + Send + Sync + 'static) -> Self {
        self.set(|it| it.hooks.per_key = Some(Hook(Arc::new(settings))))
    }

    /// Shares the configured quotas, and the time for which the provider closed the gate, with the other
    /// processes that use this store; see [`store`](crate::store). Quotas that the provider reports are those
    /// of this process. The layer needs a [name](Self::name), which is that of the shared state.
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

    /// Begins with the state of `other`: for a layer that takes its place while the program runs, with the same
    /// account of the provider. The quotas that both have are spent as far, the gate is closed as long, and
    /// what the provider has reported holds; with keys, for each of them. Calls in flight end with `other`.
    /// Quotas that are [shared](Self::store) are those of the store. Set the other settings and the name
    /// before.
    pub fn state_of(self, other: &Self) -> Self {
        self.handle.begin_as(&other.handle, true);
        self
    }

    /// As [`state_of`](Self::state_of) for another account of the provider: the quotas are spent as far, and
    /// nothing that was reported about the account of `other` holds.
    pub fn quotas_of(self, other: &Self) -> Self {
        self.handle.begin_as(&other.handle, false);
        self
    }

    /// Gives every service that this layer makes its own limit. With a [`store`](Self::store) the services of
    /// one name are numbered in the order in which they are made, and processes share the limit of each
    /// number.
    pub fn per_service(self) -> Self {
        Self { per_service: Some(ServiceNumbers::default()), ..self }
    }

    /// The limit shared by the services of this layer (the template, after
    /// [`per_service`](Self::per_service)).
    #[must_use]
    pub fn handle(&self) -> Handle {
        Handle(self.handle.0.to_hand_out())
    }

    /// Creates a layer that shares this limit.
    pub(super) fn of_handle(handle: Handle) -> Self {
        Self { handle, per_service: None }
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

    fn set(self, change: impl FnOnce(&mut RateLimitSettings)) -> Self {
        Self { handle: Handle(self.handle.0.replace(change)), ..self }
    }
}

impl<S> Layer<S> for RateLimitLayer {
    type Service = RateLimit<S>;

    fn layer(&self, inner: S) -> RateLimit<S> {
        RateLimit::new(inner, self.share_as("").by_thread())
    }
}
