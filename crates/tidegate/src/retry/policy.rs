//! Whether to ask again, as plain code.

use std::time::{Duration, Instant};

use super::backoff::{Backoff, AttemptHistory};
use super::codes::CodeSet;
use crate::retry_after::with_positive_jitter;
use crate::{Deadline, Failure, Outcome, Rejection};

/// When a call is worth another attempt.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct RetryPolicy {
    pub(super) max_retries: u32,
    pub(super) backoff: Backoff,
    /// Of the codes that may be retried, those that are.
    pub(super) codes: CodeSet,
    pub(super) retry_rejections: bool,
}

/// What to do about the result of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RetryDecision {
    /// Hand it to the caller.
    Return,
    /// Ask again after this long.
    RetryAfter(Duration),
}

/// What is known when an attempt has ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct RetryContext {
    pub(super) history: AttemptHistory,
    pub(super) deadline: Option<Deadline>,
    pub(super) now: Instant,
    /// Uniform in 0..1.
    pub(super) random: f64,
}

impl RetryPolicy {
    /// Judges an attempt that reached the provider.
    pub(super) fn decide(&self, outcome: &Outcome, context: RetryContext) -> RetryDecision {
        let Outcome::Failure(failure) = outcome else { return RetryDecision::Return };
        if context.history.number > self.max_retries || !self.may_be_retried(failure) {
            return RetryDecision::Return;
        }
        match failure.wait() {
            // Coming back earlier than told is futile, and later than this is not worth it.
            Some(hint_wait) if hint_wait > self.backoff.max => RetryDecision::Return,
            Some(hint_wait) => context.retry_if_in_time(with_positive_jitter(hint_wait, context.random)),
            None => context.retry_if_in_time(self.backoff.wait(context.history, context.random)),
        }
    }

    /// Judges an attempt that a gate of ours refused.
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
        self.codes.has(failure.code)
            && match failure.hint {
                Some(hint) if hint.forbids_retry() => false,
                Some(hint) if hint.should_retry == Some(true) => true,
                _ => failure.code.is_retryable(),
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
