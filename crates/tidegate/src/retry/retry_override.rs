use std::time::Duration;

use http::Extensions;

use super::policy::{CodeSet, RetryPolicy};
use super::{Jitter, LoadSignals, Strategy};
use crate::ErrorCode;

/// A retry policy for one call, in the extensions of its request.
///
/// Values that are not set remain those of the layer, as does the retry budget of all calls. The override
/// applies to every retry layer that the call passes, including those of the other targets of a chain.
///
/// ```
/// use http::Request;
/// use tidegate::retry::RetryOverride;
///
/// let mut request = Request::new("an embedding that can wait for tomorrow");
/// request.extensions_mut().insert(RetryOverride::off());
/// ```
#[must_use = "an override does nothing until it is in the extensions of a request"]
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[doc(alias = "custom_config")]
pub struct RetryOverride {
    max_retries: Option<u32>,
    strategy: Option<Strategy>,
    jitter: Option<Jitter>,
    initial_delay: Option<Duration>,
    max_delay: Option<Duration>,
    backoff_multiplier: Option<f64>,
    codes: Option<CodeSet>,
    load_signals: Option<LoadSignals>,
}

/// The policy of a call that has an override.
#[derive(Clone, Copy, Debug)]
pub(super) struct OverriddenPolicy {
    pub(super) policy: RetryPolicy,
    pub(super) load_signals: Option<LoadSignals>,
}

impl RetryOverride {
    /// Changes nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// The call is not retried.
    pub fn off() -> Self {
        Self::new().max_retries(0)
    }

    /// Whether the call is not retried, whatever the layer is set to.
    pub(crate) fn is_off(self) -> bool {
        self.max_retries == Some(0)
    }

    /// The override of this request, if it has one.
    #[must_use]
    pub fn of(extensions: &Extensions) -> Option<Self> {
        extensions.get().copied()
    }

    /// As [`RetryLayer::max_retries`](super::RetryLayer::max_retries).
    pub fn max_retries(self, retries: u32) -> Self {
        Self { max_retries: Some(retries), ..self }
    }

    /// As [`RetryLayer::strategy`](super::RetryLayer::strategy). A layer that is not adaptive itself measures
    /// the load only.
    pub fn strategy(self, strategy: Strategy) -> Self {
        Self { strategy: Some(strategy), ..self }
    }

    /// As [`RetryLayer::jitter`](super::RetryLayer::jitter).
    pub fn jitter(self, jitter: Jitter) -> Self {
        Self { jitter: Some(jitter), ..self }
    }

    /// As [`RetryLayer::initial_delay`](super::RetryLayer::initial_delay).
    pub fn initial_delay(self, delay: Duration) -> Self {
        Self { initial_delay: Some(delay), ..self }
    }

    /// As [`RetryLayer::max_delay`](super::RetryLayer::max_delay).
    pub fn max_delay(self, delay: Duration) -> Self {
        Self { max_delay: Some(delay), ..self }
    }

    /// As [`RetryLayer::backoff_multiplier`](super::RetryLayer::backoff_multiplier).
    pub fn backoff_multiplier(self, multiplier: f64) -> Self {
        Self { backoff_multiplier: Some(multiplier), ..self }
    }

    /// As [`RetryLayer::retry_on`](super::RetryLayer::retry_on), in place of the codes of the layer.
    pub fn retry_on(self, codes: impl IntoIterator<Item = ErrorCode>) -> Self {
        Self { codes: Some(codes.into_iter().collect()), ..self }
    }

    /// The signals that [`Strategy::Adaptive`] adapts to, instead of those that the layer measures.
    pub fn load_signals(self, load_signals: LoadSignals) -> Self {
        Self { load_signals: Some(load_signals), ..self }
    }

    pub(super) fn apply(self, mut policy: RetryPolicy) -> OverriddenPolicy {
        let backoff = &mut policy.backoff;
        backoff.strategy = self.strategy.unwrap_or(backoff.strategy);
        backoff.jitter = self.jitter.unwrap_or(backoff.jitter);
        backoff.initial = self.initial_delay.unwrap_or(backoff.initial);
        backoff.max = self.max_delay.unwrap_or(backoff.max);
        // `max` returns 1 for a NaN.
        backoff.multiplier = self.backoff_multiplier.map_or(backoff.multiplier, |by| by.max(1.0));
        policy.max_retries = self.max_retries.unwrap_or(policy.max_retries);
        policy.codes = self.codes.unwrap_or(policy.codes);
        OverriddenPolicy { policy, load_signals: self.load_signals }
    }
}
