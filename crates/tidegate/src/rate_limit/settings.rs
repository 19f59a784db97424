//! What the user sets.

use std::fmt;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::RateLimitLayer;
use super::quota::{Quota, SECOND};
use super::quota_set::QuotaSet;
use crate::{Classifier, Estimate, RequestHead};

#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) enabled: bool,
    /// Shortest period first. A call needs room in all of them.
    pub(super) quotas: Vec<Quota>,
    pub(super) burst: Option<NonZeroU64>,
    pub(super) on_limit: OnLimit,
    pub(super) max_wait: Duration,
    pub(super) max_waiting: usize,
    pub(super) default_retry_after: Duration,
    pub(super) default_output: u64,
    pub(super) estimate: Estimator,
    pub(super) follow_headers: bool,
    pub(super) adopt_reported_quotas: bool,
    pub(super) classifier: Option<HeaderClassifier>,
    pub(super) per_key: Option<PerKey>,
}

/// What happens to a call that finds no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum OnLimit {
    /// It waits, within `max_wait`, `max_waiting` and the deadline.
    #[default]
    Wait,
    /// It is rejected at once.
    Reject,
}

/// Estimates the cost of a request.
#[derive(Clone)]
pub(super) struct Estimator(pub(super) Arc<dyn Estimate>);

/// Reads the limits that response headers report.
#[derive(Clone)]
pub(super) struct HeaderClassifier(pub(super) Arc<dyn Classifier>);

/// Returns the settings of one key.
#[derive(Clone)]
pub(super) struct PerKey(pub(super) Arc<ForHead>);

type ForHead = dyn Fn(&RequestHead<'_>, RateLimitLayer) -> RateLimitLayer + Send + Sync;

impl Default for Settings {
    fn default() -> Self {
        Self {
            enabled: true,
            quotas: Vec::new(),
            burst: None,
            on_limit: OnLimit::Wait,
            max_wait: Duration::from_secs(10),
            max_waiting: 1024,
            default_retry_after: SECOND,
            default_output: 500,
            estimate: default_estimate(),
            follow_headers: true,
            adopt_reported_quotas: true,
            classifier: None,
            per_key: None,
        }
    }
}

impl Settings {
    /// Creates the quotas, with nothing spent.
    pub(super) fn quota_set(&self, now: Instant) -> QuotaSet {
        QuotaSet::new(&self.quotas, self.burst, now)
    }
}

#[cfg(feature = "providers")]
fn default_estimate() -> Estimator {
    Estimator(Arc::new(tidegate_providers::PromptEstimate))
}

#[cfg(not(feature = "providers"))]
fn default_estimate() -> Estimator {
    Estimator(Arc::new(crate::ByLength))
}

impl fmt::Debug for Estimator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Estimate")
    }
}

impl fmt::Debug for HeaderClassifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Classify")
    }
}

impl fmt::Debug for PerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PerKey")
    }
}
