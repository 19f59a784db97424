use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;

use super::Strategy;
use super::policy::RetryPolicy;
use crate::durations::millis;
use crate::thread_shard::PerThread;

/// The retries since the start, in numbers.
///
/// An *operation* is a call that was retried and has ended. Calls that needed one attempt are excluded, since
/// they would hide the rates of the others. Serialised with the two rates as fields.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(into = "WithRates")]
pub struct Statistics {
    /// Attempts of all calls that have ended. An attempt that a gate rejected is not counted.
    pub total_attempts: u64,
    /// Attempts after the first, including those that are still being waited for.
    pub retries: u64,
    /// Calls that succeeded after at least one retry.
    pub successful_retries: u64,
    /// Calls that failed, or were dropped, after at least one retry.
    pub failed_after_retries: u64,
    /// The attempts of these calls together.
    pub operation_attempts: u64,
    /// Retries that the policy allowed and the budget did not.
    pub out_of_budget: u64,
    /// The configured policy.
    pub config: Configured,
}

/// The policy that the [`Statistics`] describe.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Configured {
    /// Attempts of a call, the first included: one more than `max_retries`, or `max_attempts` if that is less.
    pub max_attempts: u32,
    /// How the waits grow.
    pub strategy: Strategy,
    /// The wait that the waits grow from, in milliseconds.
    pub initial_delay_ms: u64,
    /// The longest wait, in milliseconds.
    pub max_delay_ms: u64,
}

impl Statistics {
    /// The part of the operations that succeeded, 0 to 1; 1 if there were none.
    #[must_use]
    pub fn retry_success_rate(&self) -> f64 {
        match self.operations() {
            0 => 1.0,
            operations => self.successful_retries as f64 / operations as f64,
        }
    }

    /// The average number of attempts of an operation: at least 2, or 0 if there were none.
    #[must_use]
    pub fn avg_attempts_per_operation(&self) -> f64 {
        self.operation_attempts as f64 / self.operations().max(1) as f64
    }

    fn operations(&self) -> u64 {
        self.successful_retries.saturating_add(self.failed_after_retries)
    }
}

impl Configured {
    fn new(policy: &RetryPolicy, max_attempts: Option<u32>) -> Self {
        Self {
            max_attempts: policy.max_retries.saturating_add(1).min(max_attempts.unwrap_or(u32::MAX)),
            strategy: policy.backoff.strategy,
            initial_delay_ms: millis(policy.backoff.initial),
            max_delay_ms: millis(policy.backoff.max),
        }
    }
}

/// The statistics as they are serialised.
#[derive(Serialize)]
struct WithRates {
    total_attempts: u64,
    retries: u64,
    successful_retries: u64,
    failed_after_retries: u64,
    retry_success_rate: f64,
    avg_attempts_per_operation: f64,
    out_of_budget: u64,
    config: Configured,
}

impl From<Statistics> for WithRates {
    fn from(statistics: Statistics) -> Self {
        Self {
            total_attempts: statistics.total_attempts,
            retries: statistics.retries,
            successful_retries: statistics.successful_retries,
            failed_after_retries: statistics.failed_after_retries,
            retry_success_rate: statistics.retry_success_rate(),
            avg_attempts_per_operation: statistics.avg_attempts_per_operation(),
            out_of_budget: statistics.out_of_budget,
            config: statistics.config,
        }
    }
}

/// The statistics as they are counted.
#[derive(Debug, Default)]
pub(super) struct Counters {
    attempts: PerThread<AtomicU64>,
    retries: AtomicU64,
    successful: AtomicU64,
    failed: AtomicU64,
    operation_attempts: AtomicU64,
    out_of_budget: AtomicU64,
}

impl Counters {
    /// Counts an attempt that has ended.
    pub(super) fn record_attempt(&self) {
        self.attempts.of_thread().fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a retry that the policy allows, by whether the budget covers it.
    pub(super) fn record_retry_decision(&self, is_affordable: bool) {
        let counter = if is_affordable { &self.retries } else { &self.out_of_budget };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a retried call that has ended.
    pub(super) fn record_retried_call(&self, is_success: bool, attempts: u32) {
        let counter = if is_success { &self.successful } else { &self.failed };
        counter.fetch_add(1, Ordering::Relaxed);
        self.operation_attempts.fetch_add(attempts.into(), Ordering::Relaxed);
    }

    pub(super) fn read(&self, policy: &RetryPolicy, max_attempts: Option<u32>) -> Statistics {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Statistics {
            total_attempts: self.attempts.iter().map(read).sum(),
            retries: read(&self.retries),
            successful_retries: read(&self.successful),
            failed_after_retries: read(&self.failed),
            operation_attempts: read(&self.operation_attempts),
            out_of_budget: read(&self.out_of_budget),
            config: Configured::new(policy, max_attempts),
        }
    }
}
