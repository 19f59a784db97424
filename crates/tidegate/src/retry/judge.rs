//! Whether to ask again, as plain code.

use std::time::{Duration, Instant};

use super::backoff::{Backoff, Past};
use super::codes::Codes;
use crate::after_hint::after_hint;
use crate::{Deadline, Failure, Outcome, Rejection};

/// When a call is worth another attempt.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Policy {
    pub(super) max_retries: u32,
    pub(super) backoff: Backoff,
    /// Of the codes that may be retried, those that are.
    pub(super) codes: Codes,
    pub(super) retry_rejections: bool,
}

/// What to do about the result of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Hand it to the caller.
    Return,
    /// Ask again after this long.
    Again(Duration),
}

/// What is known when an attempt has ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attempt {
    pub(super) past: Past,
    pub(super) deadline: Option<Deadline>,
    pub(super) now: Instant,
    /// Uniform in 0..1.
    pub(super) random: f64,
}

impl Policy {
    /// Judges an attempt that reached the provider.
    pub(super) fn judge(&self, outcome: &Outcome, attempt: Attempt) -> Verdict {
        let Outcome::Failure(failure) = outcome else { return Verdict::Return };
        if attempt.past.number > self.max_retries || !self.may_be_retried(failure) {
            return Verdict::Return;
        }
        match failure.wait() {
            // Coming back earlier than told is futile, and later than this is not worth it.
            Some(told) if told > self.backoff.max => Verdict::Return,
            Some(told) => attempt.in_time(after_hint(told, attempt.random)),
            None => attempt.in_time(self.backoff.wait(attempt.past, attempt.random)),
        }
    }

    /// Judges an attempt that a gate of ours refused.
    pub(super) fn judge_rejection(&self, rejection: &Rejection, attempt: Attempt) -> Verdict {
        let wait = rejection.retry_after().filter(|wait| *wait <= self.backoff.max);
        match (wait, attempt.deadline) {
            (Some(wait), Some(_)) if self.retry_rejections && attempt.past.number <= self.max_retries => {
                attempt.in_time(after_hint(wait, attempt.random))
            }
            _ => Verdict::Return,
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

impl Attempt {
    fn in_time(&self, wait: Duration) -> Verdict {
        match self.deadline {
            Some(deadline) if !deadline.allows(wait, self.now) => Verdict::Return,
            _ => Verdict::Again(wait),
        }
    }
}
