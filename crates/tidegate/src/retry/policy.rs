//! The retry decision, as plain code.

use std::time::{Duration, Instant};

use super::backoff::{AttemptHistory, Backoff};
use crate::durations::with_positive_jitter;
use crate::{Deadline, ErrorCode, Failure, Outcome, Rejection};

/// Which failures are retried, how often and after which waits.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct RetryPolicy {
    pub(super) max_retries: u32,
    pub(super) backoff: Backoff,
    /// The codes that are retried, out of the retryable ones.
    pub(super) codes: CodeSet,
    pub(super) retry_rejections: bool,
}

/// What follows the result of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RetryDecision {
    /// Return the result to the caller.
    Return,
    /// Retry after this wait.
    RetryAfter(Duration),
}

/// The state of the call when an attempt has ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct RetryContext {
    pub(super) history: AttemptHistory,
    pub(super) deadline: Option<Deadline>,
    pub(super) now: Instant,
    /// Uniform in 0..1.
    pub(super) random: f64,
}

impl RetryPolicy {
    /// Decides about an attempt that was sent to the provider.
    pub(super) fn decide(&self, outcome: &Outcome, context: RetryContext) -> RetryDecision {
        let Outcome::Failure(failure) = outcome else { return RetryDecision::Return };
        if context.history.number > self.max_retries || !self.may_be_retried(failure) {
            return RetryDecision::Return;
        }
        match failure.wait() {
            // An earlier retry would fail again, and a longer wait is not worth it.
            Some(hint_wait) if hint_wait > self.backoff.max => RetryDecision::Return,
            Some(hint_wait) => context.retry_if_in_time(with_positive_jitter(hint_wait, context.random)),
            // Zero is no wait that a busy provider means: the own back-off is the least.
            None if failure.retry_hint.is_some_and(|hint| hint.wait.is_some()) => {
                let base = self.backoff.base(context.history);
                context.retry_if_in_time(with_positive_jitter(base, context.random).min(self.backoff.max))
            }
            None => context.retry_if_in_time(self.backoff.wait(context.history, context.random)),
        }
    }

    /// Decides about an attempt that a gate rejected.
    pub(super) fn decide_on_rejection(&self, rejection: &Rejection, context: RetryContext) -> RetryDecision {
        let wait = rejection.retry_after().filter(|wait| *wait <= self.backoff.max);
        match (wait, context.deadline) {
            (Some(wait), Some(_)) if self.retry_rejections && context.history.number <= self.max_retries => {
                context.retry_if_in_time(with_positive_jitter(wait, context.random))
            }
            _ => RetryDecision::Return,
        }
    }

    fn may_be_retried(&self, failure: &Failure) -> bool {
        match failure.retry_hint {
            Some(hint) if hint.forbids_retry() => false,
            Some(hint) if hint.should_retry == Some(true) => hint.is_marked || self.codes.has(failure.code),
            _ => failure.code.is_retryable() && self.codes.has(failure.code),
        }
    }
}

impl RetryContext {
    fn retry_if_in_time(&self, wait: Duration) -> RetryDecision {
        match self.deadline {
            Some(deadline) if !deadline.allows(wait, self.now) => RetryDecision::Return,
            _ => RetryDecision::RetryAfter(wait),
        }
    }
}

/// A set of error codes, one bit each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CodeSet(u16);

impl CodeSet {
    pub(super) const ALL: Self = Self(u16::MAX);

    pub(super) fn has(self, code: ErrorCode) -> bool {
        self.0 & bit(code) != 0
    }
}

impl FromIterator<ErrorCode> for CodeSet {
    fn from_iter<I: IntoIterator<Item = ErrorCode>>(codes: I) -> Self {
        Self(codes.into_iter().fold(0, |set, code| set | bit(code)))
    }
}

const fn bit(code: ErrorCode) -> u16 {
    1 << code as u16
}
