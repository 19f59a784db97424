//! Metrics through the `metrics` facade; every one is listed in `docs/metrics.md`.
//!
//! The counters of a target are registered when they are first used, and kept. The recorder has to be
//! installed before that: a counter that was used without a recorder stays without one. Without a recorder
//! nothing is allocated for them after their first use. Without the feature `metrics`, every type here is
//! empty.

#[cfg(feature = "metrics")]
mod attempt;
#[cfg(not(feature = "metrics"))]
mod disabled;
#[cfg(feature = "metrics")]
mod gauges;
#[cfg(feature = "metrics")]
mod names;
#[cfg(feature = "metrics")]
mod series;
#[cfg(feature = "metrics")]
mod target;

#[cfg(feature = "metrics")]
pub(crate) use self::{
    attempt::{AttemptMetrics, CallMetrics},
    series::ChoiceCounters,
    target::{TargetMetrics, TargetMetricsCell},
};
#[cfg(not(feature = "metrics"))]
pub(crate) use disabled::{AttemptMetrics, CallMetrics, ChoiceCounters, TargetMetrics, TargetMetricsCell};

/// The tokens of a call that has ended, as far as its rate limit counts them.
#[cfg_attr(not(feature = "metrics"), expect(dead_code, reason = "recorded with the feature"))]
#[derive(Clone, Copy, Debug)]
pub(crate) struct CallTokens {
    /// What the provider reported, else what was estimated and counted.
    pub(crate) used: TokenAmounts,
    /// What was reserved from the quotas.
    pub(crate) reserved: TokenAmounts,
    /// The output that was reserved for attempts of unknown use.
    pub(crate) possibly_billed: u64,
}

/// Tokens of prompts and of responses.
#[cfg_attr(not(feature = "metrics"), expect(dead_code, reason = "recorded with the feature"))]
#[derive(Clone, Copy, Debug)]
pub(crate) struct TokenAmounts {
    pub(crate) input: u64,
    pub(crate) output: u64,
}
