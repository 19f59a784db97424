//! What is recorded of one attempt and of one call when they have ended or are dropped.

use std::time::Instant;

use http::Extensions;
use tidegate_core::Usage;

use super::TargetMetrics;
use super::target::code_of;
use crate::chain_position::ChainPosition;
use crate::rejected::is_unsent;
use crate::{Error, ErrorCode, Failure, Outcome, Rejection, clock};

/// Records one attempt: its result, its failures, its first token, and its duration when it is dropped. Empty
/// after the attempt has turned out not to be one.
#[derive(Debug, Default)]
pub(crate) struct AttemptMetrics(Option<Running>);

#[derive(Debug)]
struct Running {
    target: TargetMetrics,
    began: Instant,
    result: RecordedResult,
    /// The tokens of the prompt that were read from the cache of the provider, and written to it.
    cached: [u64; 2],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RecordedResult {
    Pending,
    Success,
    Failed(ErrorCode),
}

impl AttemptMetrics {
    /// An attempt at `target` begins.
    pub(crate) fn start(target: TargetMetrics) -> Self {
        Self(Some(Running { target, began: clock::now(), result: RecordedResult::Pending, cached: [0; 2] }))
    }

    /// Records the result of the attempt. A neutral outcome is that of a request that was not sent.
    pub(crate) fn on_outcome(&mut self, outcome: &Outcome) {
        let Some(running) = &mut self.0 else { return };
        let result = match outcome {
            Outcome::Neutral => {
                self.0 = None;
                return;
            }
            Outcome::Success => RecordedResult::Success,
            Outcome::Failure(failure) => {
                running.target.record_failure(failure);
                RecordedResult::Failed(failure.code)
            }
        };
        running.target.record_attempt(code_of(outcome));
        running.result = result;
    }

    /// The first token of a stream has arrived.
    pub(crate) fn on_first_token(&self) {
        if let Some(running) = &self.0 {
            running.target.record_first_token(running.seconds());
        }
    }

    /// The provider has reported this usage, in place of an earlier one.
    pub(crate) fn on_usage(&mut self, usage: &Usage) {
        if let Some(running) = &mut self.0 {
            running.cached = [usage.cache_read, usage.cache_written].map(Option::unwrap_or_default);
        }
    }

    /// The body of the response has ended in `error`.
    pub(crate) fn on_body_error(&mut self, error: &Error) {
        if let Some(failure) = Outcome::of_error(&**error).failure() {
            self.on_body_failure(failure);
        }
    }

    /// The body of the response has failed. That of a failure was recorded at the head.
    pub(crate) fn on_body_failure(&mut self, failure: &Failure) {
        if let Some(running) = &mut self.0
            && running.result == RecordedResult::Success
        {
            running.target.record_failure(failure);
            running.target.record_broken(failure.code);
            running.result = RecordedResult::Failed(failure.code);
        }
    }
}

impl Running {
    fn seconds(&self) -> f64 {
        clock::now().saturating_duration_since(self.began).as_secs_f64()
    }
}

impl Drop for AttemptMetrics {
    fn drop(&mut self) {
        let Some(running) = &self.0 else { return };
        let code = match running.result {
            RecordedResult::Success => None,
            RecordedResult::Failed(code) => Some(code),
            RecordedResult::Pending => {
                running.target.record_attempt(Some(ErrorCode::Cancelled));
                Some(ErrorCode::Cancelled)
            }
        };
        running.target.record_duration(code, running.seconds());
        running.target.record_cached(running.cached);
    }
}

/// Records the result of one call of a stack, also if it is dropped without one.
#[derive(Debug)]
pub(crate) struct CallMetrics {
    /// `None` once the result is recorded.
    target: Option<TargetMetrics>,
    is_hedge: bool,
}

impl CallMetrics {
    /// A call of the stack of `target` begins, with a request that has these extensions.
    pub(crate) fn start(target: TargetMetrics, extensions: &Extensions) -> Self {
        Self { target: Some(target), is_hedge: ChainPosition::is_of_hedge(extensions) }
    }

    /// Records the result of the call.
    pub(crate) fn on_result<B>(&mut self, result: &Result<http::Response<B>, Error>) {
        let Some(target) = self.target.take() else { return };
        // A hedge that cannot be sent at once is not made.
        if self.is_hedge && result.as_ref().err().is_some_and(is_unsent) {
            return;
        }
        target.record_call(match result {
            Ok(response) => code_of(&Outcome::borrow(response)),
            Err(error) => error
                .rejection()
                .map(Rejection::code)
                .or_else(|| code_of(&Outcome::of_error(&**error)))
                .or(Some(ErrorCode::Unknown)),
        });
    }
}

impl Drop for CallMetrics {
    fn drop(&mut self) {
        if let Some(target) = &self.target {
            target.record_call(Some(ErrorCode::Cancelled));
        }
    }
}
