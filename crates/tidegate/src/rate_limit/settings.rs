use std::num::NonZeroU64;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::RateLimitLayer;
use super::quota::{DAY, MINUTE, Quota, SECOND};
use super::quota_set::QuotaSet;
use crate::defaults::DefaultEstimate;
use crate::keyed::DEFAULT_MAX_KEYS;
use crate::settings::{ConfigError, DurationText, Hook, LayerSettings, at_least_one, more_than_no_time};
use crate::store::Store;
use crate::{Classifier, Estimate, KeyBy, LimitUnit, RequestHead};

/// The settings of a [`RateLimitLayer`], and their defaults; the part `rate_limiter` of a configuration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(inline))]
#[serde(default, deny_unknown_fields)]
#[doc(alias = "RateLimiterConfig")]
pub struct Settings {
    /// Whether there is a limit; `true` by default.
    pub enabled: bool,
    /// Requests a second, with fractions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests_per_second: Option<f64>,
    /// Requests a minute, with fractions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests_per_minute: Option<f64>,
    /// Requests a day, with fractions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests_per_day: Option<f64>,
    /// Tokens a second, input and output together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens_per_second: Option<u64>,
    /// Tokens a minute, input and output together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens_per_minute: Option<u64>,
    /// Tokens a day, input and output together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens_per_day: Option<u64>,
    /// Input tokens a minute.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input_tokens_per_minute: Option<u64>,
    /// Output tokens a minute.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_tokens_per_minute: Option<u64>,
    /// Further quotas, of any period: `[{ unit = "requests", amount = 100, period = "10s" }]`; none by
    /// default.
    pub quotas: Vec<Quota>,
    /// The burst of the request quota with the shortest period; by default as many as the quota.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub burst_size: Option<u32>,
    /// The estimated output tokens of a request without a maximum; 500 by default.
    pub default_output_tokens: u64,
    /// Whether the limits follow the rate-limit headers of responses; `true` by default.
    pub follow_headers: bool,
    /// Whether a quota that the provider reports and that is not configured is enforced; `true` by default.
    pub adopt_reported_quotas: bool,
    /// How long a 429 without a wait closes the gate; 1 s by default.
    #[serde(with = "DurationText")]
    pub default_retry_after: Duration,
    /// The longest wait in the queue; 10 s by default.
    #[serde(with = "DurationText")]
    pub max_wait: Duration,
    /// The number of calls of each priority that may wait; 1024 by default.
    pub max_waiting: usize,
    /// What happens to a call when the quota is used up: `"wait"` or `"reject"`. `"wait"` by default.
    pub on_limit: OnLimit,
    /// Keeps a limit for each key: `"tenant"`, `"credential"`, `"model"`, `"header:<name>"`, `"path"` or
    /// `"host"`. By default all calls share one limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_by: Option<KeyBy>,
    /// The most keys that are kept; 10 000 by default.
    pub max_keys: usize,
}

/// What happens to a call that finds no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum OnLimit {
    /// It waits, within `max_wait`, `max_waiting` and the deadline.
    #[default]
    Wait,
    /// It is rejected at once.
    Reject,
}

/// What only a program can set.
#[derive(Clone, Debug, Default)]
pub(super) struct RateLimitHooks {
    /// The [default](DefaultEstimate) if it is missing.
    pub(super) estimate: Option<Hook<dyn Estimate>>,
    pub(super) classifier: Option<Hook<dyn Classifier>>,
    pub(super) per_key: Option<Hook<PerKey>>,
    pub(super) store: Option<Store>,
    /// The limit is that of a key.
    pub(super) is_of_key: bool,
    /// Responses do not change the limit.
    pub(super) ignores_responses: bool,
}

impl RateLimitHooks {
    /// Takes what is not set from `template`.
    pub(super) fn inherit(&mut self, template: &Self) {
        let Self { estimate, classifier, store, ignores_responses, .. } = self;
        *ignores_responses |= template.ignores_responses;
        *estimate = estimate.take().or_else(|| template.estimate.clone());
        *classifier = classifier.take().or_else(|| template.classifier.clone());
        *store = store.take().or_else(|| template.store.clone());
    }

    pub(super) fn estimate(&self) -> &dyn Estimate {
        match &self.estimate {
            Some(estimate) => &*estimate.0,
            None => &DefaultEstimate,
        }
    }
}

pub(super) type RateLimitSettings = LayerSettings<Settings, RateLimitHooks>;

/// Makes the settings of one key.
pub(super) type PerKey = dyn Fn(&RequestHead<'_>, RateLimitLayer) -> RateLimitLayer + Send + Sync;

impl Default for Settings {
    fn default() -> Self {
        Self {
            enabled: true,
            requests_per_second: None,
            requests_per_minute: None,
            requests_per_day: None,
            tokens_per_second: None,
            tokens_per_minute: None,
            tokens_per_day: None,
            input_tokens_per_minute: None,
            output_tokens_per_minute: None,
            quotas: Vec::new(),
            burst_size: None,
            default_output_tokens: 500,
            follow_headers: true,
            adopt_reported_quotas: true,
            default_retry_after: SECOND,
            max_wait: Duration::from_secs(10),
            max_waiting: 1024,
            on_limit: OnLimit::Wait,
            key_by: None,
            max_keys: DEFAULT_MAX_KEYS,
        }
    }
}

impl Settings {
    /// The request quotas that have a setting of their own: its key, the amount and the period.
    fn request_rates(&self) -> [(&'static str, Option<f64>, Duration); 3] {
        [
            ("requests_per_second", self.requests_per_second, SECOND),
            ("requests_per_minute", self.requests_per_minute, MINUTE),
            ("requests_per_day", self.requests_per_day, DAY),
        ]
    }

    /// The token quotas that have a setting of their own: its key, the amount, the unit and the period.
    fn token_rates(&self) -> [(&'static str, Option<u64>, LimitUnit, Duration); 5] {
        [
            ("tokens_per_second", self.tokens_per_second, LimitUnit::Tokens, SECOND),
            ("tokens_per_minute", self.tokens_per_minute, LimitUnit::Tokens, MINUTE),
            ("tokens_per_day", self.tokens_per_day, LimitUnit::Tokens, DAY),
            ("input_tokens_per_minute", self.input_tokens_per_minute, LimitUnit::InputTokens, MINUTE),
            ("output_tokens_per_minute", self.output_tokens_per_minute, LimitUnit::OutputTokens, MINUTE),
        ]
    }

    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        let requests = self.request_rates().into_iter().map(|(key, count, period)| {
            match count.filter(|count| Quota::of_requests(*count, period).is_none()) {
                Some(count) => Err(ConfigError::expected(key, Quota::EXPECTED_REQUESTS, count)),
                None => Ok(()),
            }
        });
        let tokens =
            self.token_rates().into_iter().map(|(key, tokens, ..)| at_least_one(key, tokens.unwrap_or(1)));
        let quotas = self.quotas.iter().enumerate();
        let quotas =
            quotas.map(|(index, quota)| more_than_no_time(&format!("quotas[{index}].period"), quota.period));
        let bounds = [
            at_least_one("burst_size", self.burst_size.unwrap_or(1)),
            at_least_one("max_keys", self.max_keys),
        ];
        ConfigError::all(requests.chain(tokens).chain(quotas).chain(bounds))
    }

    /// The longest wait of a call that finds no room.
    pub(super) fn longest_wait(&self) -> Duration {
        match self.on_limit {
            OnLimit::Wait => self.max_wait,
            OnLimit::Reject => Duration::ZERO,
        }
    }

    /// Creates the quotas, with nothing spent.
    pub(super) fn quota_set(&self, now: Instant) -> QuotaSet {
        let requests = self
            .request_rates()
            .into_iter()
            .filter_map(|(_, count, period)| Quota::of_requests(count?, period));
        let tokens = self
            .token_rates()
            .into_iter()
            .filter_map(|(_, tokens, unit, period)| Some(Quota::new(unit, tokens?, period)));
        let mut quotas: Vec<_> = requests.chain(tokens).chain(self.quotas.iter().copied()).collect();
        quotas.sort_by_key(|quota| quota.period);
        let burst = self.burst_size.map(|burst| NonZeroU64::new(burst.into()).unwrap_or(NonZeroU64::MIN));
        QuotaSet::new(&quotas, burst, now)
    }
}
